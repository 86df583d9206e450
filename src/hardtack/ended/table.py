"""The list in memory: records of 23 bytes in buckets of `bytes`, and bits that say where there is none; 30 bytes an entry.

A bucket is replaced, never changed: a reader needs no lock and sees it before or after. There is nothing that doubles as a
whole: a table of a million that grows at once holds the interpreter's lock for a third of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from hardtack.ended.entries import HASH, ID, All, Entry, Limits, Provider, Session, Subject

RECORD: Final = 23
SHARDS: Final = 256
BIT_OF: Final = bytes(1 << (byte & 7) for byte in range(256))
_FULL: Final = 16  # records in a bucket, on the average, before a shard has more: so a bucket stays in the small blocks
_SIZES: Final = 8
_MOST: Final = 1 << 16
OWNER: Final = 10  # bytes of the owner's hash that are kept: 80 bits of a keyed hash
_SECOND: Final = 1_000_000
_HOUR: Final = 3600 * _SECOND
_BOUND: Final = b"\1"
_CHANGED: Final = b"\2"
_CLAIM: Final = int.from_bytes(b"htkclaim", "big")

Forgotten = Callable[[bytes], bool]


class Records:
    """Records by the bytes that they begin with, which are random. One writes at a time; reading needs no lock."""

    def __init__(self) -> None:
        self.shards: list[list[bytes]] = [[b""] for _ in range(SHARDS)]
        """The buckets, by the first byte of a key, and by the next two."""
        self.bits: list[bytearray] = [bytearray(1) for _ in range(SHARDS)]
        """Where records may be, by the same bytes, and the bit by the fourth. `EndedSessions.check` looks here itself.

        A bucket is elsewhere in memory for nearly every key, and these are less than a megabyte for a million: of ten keys that
        are not there, eight need no look into a bucket. The bit of a record that was forgotten stays until they are set anew.
        """
        self._counts = [0] * SHARDS
        self._marked = [0] * SHARDS  # records that have set their bit, those forgotten since among them
        self._next = 0

    def find(self, key: bytes) -> list[bytes]:
        """The records that begin with the key."""
        shard = self.shards[key[0]]
        bucket = shard[(key[1] | key[2] << 8) % len(shard)]
        found = []
        at = bucket.find(key)
        while at >= 0:
            if at % RECORD == 0:
                found.append(bucket[at : at + RECORD])
            at = bucket.find(key, at + 1)
        return found

    def add(self, record: bytes, same: int = RECORD) -> None:
        """Add a record, unless there is one whose first `same` bytes are the same."""
        number = record[0]
        where = record[1] | record[2] << 8
        shard = self.shards[number]
        index = where % len(shard)
        bucket = shard[index]
        if record[:8] in bucket and any(each.startswith(record[:same]) for each in self.find(record[:8])):
            return
        shard[index] = bucket + record
        bits = self.bits[number]
        bits[where & (len(bits) - 1)] |= BIT_OF[record[3]]
        self._counts[number] += 1
        self._marked[number] += 1
        # A shard is some ten thousand records, and either of these a few milliseconds.
        if self._counts[number] > _FULL * len(shard) and len(shard) < _MOST:
            self._grow(number)
        if self._marked[number] > 2 * len(bits) and len(bits) < _MOST:
            self._mark(number, self.dump(number))

    def _grow(self, number: int) -> None:
        """Give a shard twice the buckets, or nearly twice while there are few."""
        old = self.shards[number]
        size = len(old)
        if size < _SIZES:
            self._lay_out(number, b"".join(old))
            return
        new = old * 2
        for index, bucket in enumerate(old):
            halves: tuple[list[bytes], list[bytes]] = [], []
            for record in split(bucket):
                halves[(record[1] | record[2] << 8) % (2 * size) >= size].append(record)
            new[index], new[index + size] = map(b"".join, halves)
        self.shards[number] = new

    def _lay_out(self, number: int, raw: bytes) -> None:
        """Put the records of a shard into as many buckets as there should be."""
        count = len(raw) // RECORD
        # The last of each eight shards has nearly twice as many buckets as the first. With equal shards all buckets would grow
        # in step, and leave the blocks of each size behind: a third more memory.
        size, doubled = 1, 0
        while count > _FULL * size and size < _MOST:
            doubled += 1
            size = (_SIZES + number % _SIZES << doubled) // _SIZES
        buckets: list[list[bytes]] = [[] for _ in range(size)]
        for record, low, high in zip(split(raw), raw[1::RECORD], raw[2::RECORD], strict=True):
            buckets[(low | high << 8) % size].append(record)
        self.shards[number] = list(map(b"".join, buckets))
        self._counts[number] = count

    def _mark(self, number: int, raw: bytes) -> None:
        """Set the bits of a shard's records, and of no others: with room for a quarter more, four to thirteen for each."""
        count = len(raw) // RECORD
        size = 1
        while size * 8 < count * 5 and size < _MOST:
            size *= 2
        bits, mask = bytearray(size), size - 1
        for low, high, byte in zip(raw[1::RECORD], raw[2::RECORD], raw[3::RECORD], strict=True):
            bits[(low | high << 8) & mask] |= BIT_OF[byte]
        self.bits[number] = bits
        self._marked[number] = count

    def forget(self, forgotten: Forgotten) -> None:
        """Go on with the next shard, and drop what is forgotten there."""
        number = self._next
        self._next = (number + 1) % SHARDS
        shard = self.shards[number]
        count = 0
        for index, bucket in enumerate(shard):
            kept = [record for record in split(bucket) if not forgotten(record)]
            count += len(kept)
            if len(kept) * RECORD < len(bucket):
                shard[index] = b"".join(kept)
        self._counts[number] = count

    def __len__(self) -> int:
        return sum(self._counts)

    def __iter__(self) -> Iterator[bytes]:
        for shard in list(self.shards):
            for bucket in list(shard):
                yield from split(bucket)

    def dump(self, number: int) -> bytes:
        """The records of one shard."""
        return b"".join(self.shards[number])

    def load(self, number: int, raw: bytes) -> None:
        """Add what `dump` returned."""
        if self._counts[number]:
            for record in split(raw):
                self.add(record)
        else:
            self._lay_out(number, raw)
            self._mark(number, raw)


def split(bucket: bytes) -> Iterator[bytes]:
    """The records of a bucket."""
    return (bucket[at : at + RECORD] for at in range(0, len(bucket), RECORD))


class Table:
    """All that was ended, by what it was ended by. Times are the channel's, in microseconds.

    The records: `sessions`: id 8, owner 10, flags 1, seconds 4. `subjects` and `providers`: hash 16, time 7. `spared`: id 8,
    the beginning of the hash 8, time 7.
    """

    def __init__(self) -> None:
        self.sessions = Records()
        self.subjects = Records()
        self.spared = Records()
        self.providers = Records()
        self.all_drawn = 0
        """Sessions whose id was drawn before have ended."""
        self.all_seen = 0
        """Sessions that were last seen before have ended."""
        self.limits: dict[tuple[int, int, int], Limits] = {}
        self.named = False
        """Whether anything was ended by another name than its id: else a check has only one place to look."""

    def records(self) -> tuple[Records, ...]:
        """All four, for a snapshot."""
        return self.sessions, self.subjects, self.spared, self.providers

    def add(self, entry: Entry) -> None:
        """Take an entry in; twice is once."""
        if isinstance(entry, Session):
            entries = [entry]
            for each in entries:  # grows: an end reaches what its successor goes on as, and so on
                self._add_session(each)
                entries += [reached for reached in self._reached(each) if reached not in entries]
        elif isinstance(entry, Subject):
            time = entry.time.to_bytes(7, "big")
            for spared in entry.spared:  # first: who finds the entry must find whom it spares
                self.spared.add(spared + entry.hash[:8] + time)
            self.subjects.add(entry.hash + time)
            self.named = True
        elif isinstance(entry, Provider):
            self.providers.add(entry.hash + entry.time.to_bytes(7, "big"))
            self.named = True
        elif isinstance(entry, All):
            if entry.unseen:
                self.all_seen = max(self.all_seen, entry.time)
            else:
                self.all_drawn = max(self.all_drawn, entry.time)
            self.named = True
        elif isinstance(entry, Limits):
            known = self.limits.get(entry[1:])
            if known is None or known.time < entry.time:
                self.limits = {**self.limits, entry[1:]: entry}

    def _add_session(self, entry: Session) -> None:
        flags = bytes([entry.changed | entry.brief << 1])
        seconds = min(entry.time // _SECOND, 0xFFFFFFFF).to_bytes(4, "big")
        self.sessions.add(entry.id + entry.owner[:OWNER] + flags + seconds, same=RECORD - 4)

    def _reached(self, entry: Session) -> Iterator[Session]:
        """What else ends by an entry: the end of an id reaches its session under each that it got, see `_counts`.

        A server that ends a session may not have read yet that it goes on under another id.
        """
        if not entry.changed:
            name = claim_name(entry.id)
            for claim, _, _ in self.find_session(name):
                if self._counts(name, claim):
                    yield entry._replace(id=claim[:ID])
        elif self._counts(entry.id, entry.owner[:OWNER]):
            for owner, changed, at in self.find_session(claim_name(entry.id)):
                if not changed:
                    yield Session(at * _SECOND, entry.owner[:ID], owner + bytes(HASH - OWNER))

    def _counts(self, name: bytes, claim: bytes) -> bool:
        """Whether a session goes on as a claim says: as each that gave it another id, and as the first that has bound it."""
        return bool(successor_in(claim)) and (not bound_successor(claim) or claim == self.find_claim(name))

    def find_session(self, id: bytes) -> list[tuple[bytes, bool, int]]:
        """For each entry of an id: the beginning of the owner's hash, whether it was changed, and when, in seconds."""
        return [(each[8:18], bool(each[18] & 1), int.from_bytes(each[19:], "big")) for each in self.sessions.find(id)]

    def find_claim(self, name: bytes) -> bytes:
        """The first 10 bytes of the first claim of this name, in the channel's order; empty: there is none."""
        found = self.sessions.find(name)
        return found[0][8:18] if found else b""

    def find_subject(self, hash: bytes, id: bytes, drawn: int) -> int | None:
        """When this session of the user was ended, or None."""
        for record in self.subjects.find(hash):
            time = int.from_bytes(record[16:], "big")
            if drawn < time and id + hash[:8] + record[16:] not in self.spared.find(id):
                return time
        return None

    def latest_that_spares(self, hash: bytes, id: bytes) -> int:
        """When sessions of this user were ended last, but for this one; 0: they never were."""
        times = [record[16:] for record in self.spared.find(id) if record[8:16] == hash[:8]]
        return max((int.from_bytes(time, "big") for time in times), default=0)

    def latest_of_subject(self, hash: bytes) -> int:
        """When sessions of this user were ended last; 0: they never were."""
        return max((int.from_bytes(record[16:], "big") for record in self.subjects.find(hash)), default=0)

    def find_provider(self, hash: bytes, drawn: int) -> int | None:
        """When the sessions of this login at the provider were ended, or None."""
        times = [int.from_bytes(record[16:], "big") for record in self.providers.find(hash)]
        return next((time for time in times if drawn < time), None)

    @property
    def life(self) -> int:
        """Seconds for which a copy can be alive, by the longest limits that were told; 0: none were."""
        return max((each.life for each in self.limits.values()), default=0)

    def forget(self, now: int, brief: int) -> None:
        """Drop in a part of the table what no copy can be alive of; `brief`: seconds for anonymous sessions."""
        life = self.life
        if not life:
            return
        before = max(now - life * _SECOND, 0)
        old = _seconds(before)
        oldest = (old, old, *[max(old, _seconds(max(now - brief * _SECOND, 0)))] * 2)
        time = before.to_bytes(7, "big")
        self.sessions.forget(lambda record: record[19:] < oldest[record[18]])
        self.subjects.forget(lambda record: record[16:] < time)
        self.providers.forget(lambda record: record[16:] < time)
        # Later than the entry that spares them, in whatever order the parts of the table come: else it would end them.
        before = max(before - _HOUR, 0)
        earlier = before.to_bytes(7, "big")
        self.spared.forget(lambda record: record[16:] < earlier)
        if any(each.time < before for each in self.limits.values()):  # which are told again long before
            self.limits = {name: each for name, each in self.limits.items() if each.time >= before}

    def entries(self) -> Iterator[Entry]:
        """What is in the table, as entries. Of an owner's hash there are 10 bytes left, which are what is compared."""
        for record in self.sessions:
            owner = record[8:18] + bytes(6)
            time = int.from_bytes(record[19:], "big") * _SECOND
            yield Session(time, record[:8], owner, bool(record[18] & 1), bool(record[18] & 2))
        spared: dict[bytes, list[bytes]] = {}
        for record in self.spared:
            spared.setdefault(record[8:], []).append(record[:8])
        for record in self.subjects:
            time = int.from_bytes(record[16:], "big")
            yield Subject(time, record[:16], tuple(spared.get(record[:8] + record[16:], ())))
        for record in self.providers:
            yield Provider(int.from_bytes(record[16:], "big"), record[:16])
        if self.all_drawn:
            yield All(self.all_drawn)
        if self.all_seen:
            yield All(self.all_seen, unseen=True)
        yield from self.limits.values()

    def __len__(self) -> int:
        return len(self.sessions) + len(self.subjects) + len(self.providers)


def claim_name(id: bytes) -> bytes:
    """The name under which an id, of 8 bytes, is claimed; of such a name, the id."""
    return (int.from_bytes(id, "big") ^ _CLAIM).to_bytes(ID, "big")


def claim_of(successor: bytes, *, binds: bool) -> bytes:
    """What a claim has in the place of an owner: 9 bytes of the id that it is for, and whether the session is bound by it."""
    return successor[: OWNER - 1] + (_BOUND if binds else _CHANGED) + bytes(HASH - OWNER)


def successor_in(claim: bytes) -> bytes:
    """The beginning of the id that a claim is for; of anything else, nothing."""
    return claim[: OWNER - 1] if claim[OWNER - 1 : OWNER] in (_BOUND, _CHANGED) else b""


def bound_successor(claim: bytes) -> bytes:
    """The same, where the session is bound by the claim."""
    return claim[: OWNER - 1] if claim[OWNER - 1 :].startswith(_BOUND) else b""


def _seconds(time: int) -> bytes:
    return (time // _SECOND).to_bytes(4, "big")

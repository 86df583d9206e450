"""The list in memory: records of 23 bytes in buckets of `bytes`, at most 30 bytes an entry.

A bucket is replaced, never changed: a reader needs no lock and sees it before or after. There is nothing that doubles as a
whole: a table of a million that grows at once holds the interpreter's lock for a third of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final

from hardtack.ended.entries import HASH, ID, All, Entry, Limits, Provider, Session, Subject

RECORD: Final = 23
SHARDS: Final = 256
_FULL: Final = 16  # records in a bucket, on the average, before a shard is split: so a bucket stays in the small blocks
OWNER: Final = 10  # bytes of the owner's hash that are kept: 80 bits of a keyed hash
_SECOND: Final = 1_000_000
_HOUR: Final = 3600 * _SECOND
_BOUND: Final = b"\1"
_CHANGED: Final = b"\2"
_CLAIM: Final = int.from_bytes(b"htkclaim", "big")


def _unequal() -> bytes:
    """The shard of each first two bytes. The last has twice as many as the first.

    With equal shards all buckets would grow in step, and leave the blocks of each size behind: a third more memory.
    """
    sizes = [2 ** (number / SHARDS) for number in range(SHARDS)]
    ends = [round(65536 * total / sum(sizes)) for total in accumulate(sizes)]
    return b"".join(bytes([n]) * (end - begin) for n, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)))


SHARD_OF: Final = _unequal()

Forgotten = Callable[[bytes], bool]


class Records:
    """Records by the bytes that they begin with, which are random. One writes at a time; reading needs no lock."""

    def __init__(self) -> None:
        self.shards: list[list[bytes]] = [[b""] for _ in range(SHARDS)]
        """The buckets, by the first two bytes of a key, and by the next two: `EndedSessions.check` looks there itself."""
        self._counts = [0] * SHARDS
        self._next = 0

    def find(self, key: bytes) -> list[bytes]:
        """The records that begin with the key."""
        shard = self.shards[SHARD_OF[key[0] << 8 | key[1]]]
        bucket = shard[(key[2] | key[3] << 8) & (len(shard) - 1)]
        found = []
        at = bucket.find(key)
        while at >= 0:
            if at % RECORD == 0:
                found.append(bucket[at : at + RECORD])
            at = bucket.find(key, at + 1)
        return found

    def add(self, record: bytes, same: int = RECORD) -> None:
        """Add a record, unless there is one whose first `same` bytes are the same."""
        number = SHARD_OF[record[0] << 8 | record[1]]
        shard = self.shards[number]
        index = _index(record, len(shard))
        bucket = shard[index]
        if record[:8] in bucket and any(each.startswith(record[:same]) for each in self.find(record[:8])):
            return
        shard[index] = bucket + record
        self._counts[number] += 1
        if self._counts[number] > _FULL * len(shard) and len(shard) < 1 << 16:
            self._split(number)

    def _split(self, number: int) -> None:
        """Give a shard twice the buckets: some thousand records, a few milliseconds."""
        old = self.shards[number]
        size = len(old)
        new = old * 2
        for index, bucket in enumerate(old):
            halves: tuple[list[bytes], list[bytes]] = [], []
            for record in split(bucket):
                halves[_index(record, 2 * size) >= size].append(record)
            new[index], new[index + size] = map(b"".join, halves)
        self.shards[number] = new

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
            return
        size = 1
        while len(raw) > _FULL * RECORD * size and size < 1 << 16:
            size *= 2
        buckets: list[list[bytes]] = [[] for _ in range(size)]
        for record in split(raw):
            buckets[_index(record, size)].append(record)
        self.shards[number] = list(map(b"".join, buckets))
        self._counts[number] = len(raw) // RECORD


def _index(record: bytes, size: int) -> int:
    return (record[2] | record[3] << 8) & (size - 1)


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
        """What else ends by an entry: the end of an id reaches its session under the id that was claimed for it first.

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

"""Follower: reads the channel into the table, appends to it, and knows what to do when it was lost. It has no thread."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from hardtack.ended.entries import All, Codec, Entry, Limits, Origin, Skipped
from hardtack.ended.protocol import Batch, Channel, Make
from hardtack.ended.table import Table
from hardtack.errors import StoreUnavailable
from hardtack.events import ChannelLost, EndsKept, EntriesSkipped, Event, LimitsRaised

if TYPE_CHECKING:
    from hardtack.ended.snapshot import Snapshots

Append = Callable[[Make, int | None], None]
"""One of a channel's methods that append."""

SECOND: Final = 1_000_000
AHEAD: Final = 60 * SECOND
"""How far ahead of the channel's clock an entry may be."""
RECENT: Final = 60.0
"""Seconds for which what was appended is kept, to be appended again where the channel lost its end (a fail-over)."""
MAX_WAITING: Final = 100_000
_SWEEP: Final = 0.25
_RESIGN: Final = 3600 * SECOND

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds by a clock that nobody sets, and that counts while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


class Follower:
    """What one process knows of a channel. `turn` is called again and again; everything else from any thread."""

    def __init__(
        self,
        channel: Channel,
        codec: Codec,
        table: Table,
        max_stale: int,
        emit: Callable[[Event], object],
        snapshots: Snapshots | None = None,
    ) -> None:
        self.channel = channel
        self.table = table
        self.fresh_at = float("-inf")
        """When the last read began that came to the end of the channel, by `clock`."""
        self.own: Limits | None = None
        """The limits of this application, which the channel is told before anything counts as fresh."""
        self.codec = codec
        self._max_stale = max_stale
        self._emit = emit
        self._snapshots = snapshots
        self._lock = threading.RLock()  # a listener that is told of something may end a session
        self._position = ""
        self._identity: bytes | None = None
        self._whole = False  # the table has all that the channel of this identity had
        self._told_lost = False
        self._newest = 0  # of the entries' times
        self._now = 0  # the channel's time when it was read last, and when that was
        self._now_at = 0.0
        self._highest = 0  # the channel's clock may go back, where a replica takes over
        self._swept_at = 0.0
        self._waiting: deque[Entry] = deque()
        self._recent: deque[tuple[float, Entry]] = deque()

    @property
    def waiting(self) -> int:
        """How many entries could not be appended yet."""
        return len(self._waiting)

    def tell(self, own: Limits) -> None:
        """Tell the channel these limits in the next turn; until then nothing is fresh."""
        self.own = own
        self.fresh_at = float("-inf")

    def inherit(self, other: Follower) -> None:
        """Go on in the child of a fork, from where the parent was. What the parent keeps back is the parent's to append."""
        self._identity, self._position, self._whole = other._identity, other._position, other._whole
        self._newest, self._now, self._now_at, self._highest = other._newest, other._now, other._now_at, other._highest
        self.fresh_at = other.fresh_at

    # --- The channel's time

    def estimate(self) -> int:
        """The channel's time, as far as it is known without asking; where nothing was read, this machine's."""
        if not self._now:
            return time.time_ns() // 1000
        return max(self._now + int((clock() - self._now_at) * SECOND), self._highest)

    def draw_after(self, previous: int) -> int:
        """A time after all that was read, and appended, here: for a login, which has read all."""
        return max(previous + 1, self._newest)

    def _see(self, now: int) -> None:
        self._now, self._now_at = now, clock()
        self._highest = max(self._highest, now)

    # --- Reading

    def begin(self) -> None:
        """Come to the end of the channel for the first time: with a snapshot, or one process of the machine at a time.

        Raises `StoreUnavailable`.
        """
        if self._whole or self._snapshots is None or self._load():
            self.read_to_end()
            return
        with self._snapshots.first():
            self._load()
            self.read_to_end()

    def _load(self) -> bool:
        assert self._snapshots is not None
        with self._lock:
            found = None if self._position else self._snapshots.load(self.table)
            if found is not None:
                self._identity, self._position, self._newest = found
        return found is not None

    def turn(self, wait: float) -> bool:
        """Read once, waiting for up to `wait` seconds, and do what is due; whether there were entries, and these are all.

        Raises `StoreUnavailable` where the channel cannot be used, or its list is not known to be whole.
        """
        self.codec.refresh()
        position, began = self._position, clock()
        batch = self.channel.read(position, wait)
        if batch.origin is None:
            self._lost()
        with self._lock:
            self._see(batch.now)
            complete = self._take(batch, position)
        if complete:
            self._keep_up(batch)
            self._whole = True
            self.fresh_at = max(self.fresh_at, began)
        return bool(batch.entries) and complete

    def read_to_end(self) -> None:
        """Read all that there is now."""
        began = clock()
        while self.fresh_at < began:
            self.turn(0)

    def _take(self, batch: Batch, position: str) -> bool:
        """Take in what was read at a position; whether this is all."""
        assert batch.origin is not None
        identity = self._identity_in(batch.origin)
        if self._identity not in (None, identity):
            # Another channel, where the position means nothing. What was ended stays ended.
            self._identity, self._position, self._whole = identity, "", False
            self._append_again()
            return False
        self._identity = identity
        self._told_lost = False
        if batch.restarted:
            self._append_again()
        self._add(batch.entries, batch.now + AHEAD)
        if self._position == position:  # else another thread has read on
            self._position = batch.position
        return batch.complete

    def _identity_in(self, origin: bytes) -> bytes:
        try:
            entry = self.codec.open(origin)
        except Skipped:
            entry = None
        if not isinstance(entry, Origin):
            # Fail closed: with another key every entry would be skipped, and nobody be ended.
            self._emit(EntriesSkipped("origin", 1))
            raise StoreUnavailable("the list of ended sessions was made with another key, or for another purpose")
        return entry.identity

    def _add(self, entries: Sequence[bytes], latest: int) -> None:
        skipped: dict[str, int] = {}
        for raw in entries:
            try:
                entry = self.codec.open(raw)
            except Skipped as problem:
                skipped[problem.reason] = skipped.get(problem.reason, 0) + 1
                continue
            if entry.time > latest:
                skipped["ahead"] = skipped.get("ahead", 0) + 1
                continue
            self._know(entry)
        for reason, count in skipped.items():
            self._emit(EntriesSkipped(reason, count))  # type: ignore[arg-type]

    def _know(self, entry: Entry) -> None:
        self.table.add(entry)
        self._newest = max(self._newest, entry.time)

    # --- What is due

    def _keep_up(self, batch: Batch) -> None:
        """Append what was kept back, tell the limits, forget, and leave a snapshot."""
        while self._waiting:
            with self._lock:
                entries = [self._waiting.popleft() for _ in range(min(len(self._waiting), 1000))]
            self.append(entries, again=True)
        self._tell_limits(batch.now)
        self._sign_again(batch)
        now = clock()
        if now - self._swept_at >= _SWEEP:
            self._swept_at = now
            with self._lock:
                self.table.forget(batch.now, self._max_stale + 120)
                while self._recent and self._recent[0][0] < now - RECENT:
                    self._recent.popleft()
        if self._snapshots is not None and self._identity is not None:
            self._snapshots.save(self.table, self._identity, batch.position, self._newest)

    def _tell_limits(self, now: int) -> None:
        own = self.own
        if own is None:
            return
        known = self.table.limits.get(own[1:])
        if known is not None and now - known.time < own.life * SECOND // 2:
            return
        before = self.table.life
        entries: list[Entry] = [own]
        if known is None and 0 < before < own.life:
            # What was ended longer ago than the others remembered would come back to life under these limits.
            entries.insert(0, All(max(now - before * SECOND, 1), unseen=True))
            self._emit(LimitsRaised(before, own.life))
        self.append(entries)

    def _sign_again(self, batch: Batch) -> None:
        """Put the identity under the key that seals now, before the old key is dropped; not while two deploys disagree."""
        origin, identity = batch.origin, self._identity
        assert origin is not None
        assert identity is not None
        if not self.codec.is_current(origin) and batch.now - int.from_bytes(origin[7:15], "big") > _RESIGN:
            self.channel.reset(origin, self.codec.seal(Origin(batch.now, identity)), ())

    # --- A channel that was lost

    def _lost(self) -> None:
        """Write the list back whole, if it is known here."""
        if self._whole or self.channel.alone:
            if self.create() and self._whole:
                self._emit(ChannelLost(restored=True))
            problem = "the list of ended sessions is being written back"
        else:
            if not self._told_lost:
                self._told_lost = True
                self._emit(ChannelLost(restored=False))
            problem = (
                "the list of ended sessions has no identity: it was lost, or never created; "
                "create it by: hardtack ended URL --create"
            )
        raise StoreUnavailable(problem)

    def create(self) -> bool:
        """Give a channel that has no identity a new one, and all that is known here. False: it has one."""
        now = self.estimate()
        origin = Origin(now, secrets.token_bytes(16))
        limits = [] if self.own is None else [self.own._replace(time=now)]
        entries = map(self.codec.seal, chain([origin], limits, self.table.entries()))
        return self.channel.reset(None, self.codec.seal(origin), entries)

    # --- Appending

    def append(self, entries: Sequence[Entry], *, again: bool = False) -> None:
        """Append entries; those without a time get the channel's. Raises `StoreUnavailable`: then they are kept back.

        `again`: they were kept back before, and that was told.
        """
        try:
            made = self._write(entries, self.channel.append)
        except StoreUnavailable:
            self._keep_back(entries, again)
            raise
        now = clock()
        self.codec.refresh()
        with self._lock:
            for entry in made:
                self._know(entry)
                self._recent.append((now, entry))

    def claim(self, entries: Sequence[Entry]) -> None:
        """Append entries of which the first of a name counts, and read to the end, so that the table has them in their order.

        Raises `StoreUnavailable`: they are not kept back, and may have been appended all the same.
        """
        made = self._write(entries, getattr(self.channel, "append_in_turn", self.channel.append))
        self.read_to_end()
        now = clock()
        with self._lock:  # only now: what is appended again counts here as the first, and nobody may have been told so
            self._recent.extend((now, entry) for entry in made)

    def _write(self, entries: Sequence[Entry], append: Append) -> list[Entry]:
        """Append by this method of the channel; the entries with their times."""
        made: list[Entry] = []

        def make(now: int) -> list[bytes]:
            # After all that were drawn: the clock may be that of a replica which took over and is behind.
            time = max(now, min(self.estimate() if self._now else now, now + AHEAD * 5 // 6)) + 1
            made[:] = [entry if entry.time else _timed(entry, time) for entry in entries]
            return [self.codec.seal(entry) for entry in made]

        append(make, self.table.life + 3600 if self._whole and self.table.life else None)
        return made

    def _keep_back(self, entries: Sequence[Entry], again: bool) -> None:
        """Know at once what could not be appended, and append it later, with the time of now."""
        time, known = self.estimate(), self._now > 0
        with self._lock:
            for entry in entries:
                timed = entry if entry.time else _timed(entry, time)
                self._know(timed)
                self._waiting.append(timed if known else entry)
            lost = max(len(self._waiting) - MAX_WAITING, 0)
            for _ in range(lost):
                self._waiting.popleft()
        if not again:
            self._emit(EndsKept(len(self._waiting), lost))

    def _append_again(self) -> None:
        """The end of the channel may be gone, and what this process has appended there."""
        self._waiting.extend(entry for _, entry in self._recent)
        self._recent.clear()


def _timed(entry: Entry, time: int) -> Entry:
    return entry._replace(time=time)

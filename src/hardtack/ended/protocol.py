"""The channel: where entries are appended, and read from a position by every process.

`hardtack.testing.ChannelContract` has the tests that a channel must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

Make = Callable[[int], Sequence[bytes]]
"""Makes entries when it is told the channel's time, in microseconds since 1970."""


class Batch(NamedTuple):
    """What one read returned.

    Attributes:
        entries: at most some thousands, in their order.
        position: where the next read goes on: text that means something to the channel alone.
        now: the channel's time after the entries were read, in microseconds since 1970. What is a minute ahead of it is skipped
            for good: an earlier time would lose what was appended while the process stood still between the two.
        origin: the channel's identity as `reset` wrote it; None where there is none: the channel is new, or was lost.
        complete: whether this was all that there was.
        restarted: whether the entry at the given position is gone, and this is the beginning instead.
    """

    entries: Sequence[bytes]
    position: str
    now: int
    origin: bytes | None
    complete: bool = True
    restarted: bool = False


@runtime_checkable
class Channel(Protocol):
    """Keeps entries, which are bytes that it does not understand. Safe to use from many threads.

    Every method raises `StoreUnavailable` where the channel cannot be reached, does not answer within some two seconds,
    answers nonsense, or does not take writes: the follower of a replica that was cut off must know that it is stale.
    All processes that share the list see one clock, and it is the channel's.

    `append_in_turn`, with the arguments of `append`, is for a channel whose appends can overtake each other: entries that were
    all appended by it can be read in one order alone. Who has read one of them has read, or can read no more, each that comes
    before it. Where there is none, that must hold for `append`.
    """

    alone: bool
    """True where no other process can see it: an empty one is then new, and cannot have been lost."""

    def append(self, make: Make, keep: int | None) -> None:
        """Append what `make` returns for the time now; afterwards every `read` finds it.

        Entries that were appended more than `keep` seconds ago may be dropped; None: none. A call that failed may have
        appended all the same: adding an entry twice is adding it once.
        """
        ...

    def read(self, position: str, wait: float) -> Batch:
        """What was appended after `position`; `""` is the beginning.

        Where there is nothing, wait for up to `wait` seconds. An entry that was appended must not be passed over, even if
        one that was appended later could be read first.
        """
        ...

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        """Give the channel a new identity, and append the entries, as one step for whoever reads the identity.

        False, and nothing is done, where the identity is not `old` (any more): of all who try, one succeeds. `entries` is
        not asked before that is clear. Creates what the channel needs: a file, a table.
        """
        ...

    def close(self) -> None:
        """Release what was opened."""
        ...


@runtime_checkable
class WakingChannel(Protocol):
    """What a channel may also do, so that a list which is closed need not wait for the end of a read."""

    def wake(self) -> None:
        """Let each `read` that waits for entries return at once."""
        ...

"""What the list of ended sessions tells."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from hardtack.events import Event


@dataclass(frozen=True, slots=True)
class ListStale(Event):
    """The channel was not read for longer than `max_stale`: see that it can be reached and takes writes.

    `age`: seconds since it was read to its end; -1: it never was. `policy`: what requests get meanwhile.
    """

    level = logging.ERROR
    age: int
    policy: Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class ListFresh(Event):
    """The channel is read again, after it was stale. `age` as in `ListStale`."""

    level = logging.WARNING
    age: int


@dataclass(frozen=True, slots=True)
class ChannelLost(Event):
    """The channel has no identity: it was emptied, or never created.

    `restored`: this process had the whole list, and wrote it back. Where none has, and the channel is new, create it with
    `hardtack ended URL --create`; if it was lost, add `--all`, since what was ended before would come back.
    """

    level = logging.ERROR
    restored: bool


@dataclass(frozen=True, slots=True)
class EntriesSkipped(Event):
    """Entries of the channel were not used.

    Reasons: `torn` (incomplete), `foreign` (no key of ours: another application on this channel, a missing key, or somebody
    who can write to it), `version` (of a newer hardtack), `ahead` (more than a minute ahead of the channel's clock).
    `origin`: the channel itself was made with a key that is not ours; nobody gets in until that is put right.
    """

    level = logging.ERROR
    reason: Literal["torn", "foreign", "version", "ahead", "origin"]
    count: int


@dataclass(frozen=True, slots=True)
class EndsKept(Event):
    """Ends could not be appended, and are known in this process alone until the channel is back.

    `lost`: how many were given up, because too many were waiting.
    """

    level = logging.ERROR
    waiting: int
    lost: int = 0


@dataclass(frozen=True, slots=True)
class LimitsRaised(Event):
    """Sessions may live longer than the list remembered: those not seen within the old limits were ended, once.

    Seconds that a copy can live: `before` and `after`.
    """

    level = logging.WARNING
    before: int
    after: int

"""Tombstones: what stands for a minute under an id whose session was ended, or goes on under another.

A slow request must neither revive the session nor set a cookie; a logout must reach the session under its new id.
"""

from __future__ import annotations

from typing import Final

from hardtack.protocols import Dead
from hardtack.record import Record

TOMBSTONE_SECONDS: Final = 60
"""How long a dead id is remembered: longer than any request that began before runs on."""


def tombstone(raw_key: bytes, now: int, *, changed: bool, successor: bytes = b"", until: int = 0) -> Record:
    """What is stored under a dead id. `changed` and `successor` as in `Dead`; `until`: it stands longer than usual."""
    data: dict[str, object] = {"changed": True} if changed else {}
    if successor:
        data["successor"] = successor
    return Record(raw_key, now, None, now, None, {"ended": max(until, now + TOMBSTONE_SECONDS)}, data)


def dead(record: Record, now: int) -> Dead | None:
    """What a stored record says of a dead id; None for one of a session, and for a tombstone that is over.

    One of a clock that is ahead by more than a tombstone lasts was made long ago, for all that is known: else what comes with
    that id would count as just changed until the time that it says.
    """
    until = record.options.get("ended")
    if until is None or now >= until:
        return None
    # One that stands longer keeps an old cookie dead. Where its session went is for requests that began before, and no others.
    successor = record.data.get("successor", b"") if now < record.created + TOMBSTONE_SECONDS else b""
    changed = bool(record.data.get("changed", successor))
    made = record.created if record.created <= now + TOMBSTONE_SECONDS else now - TOMBSTONE_SECONDS
    return Dead(record.id, changed, min(made, now), successor if type(successor) is bytes else b"")

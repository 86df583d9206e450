"""What the commands show of a session without its values: times, and what a value is."""

from __future__ import annotations

import datetime as dt

from hardtack.lifetime import LATEST


def moment(seconds: int) -> str:
    """A time in Unix seconds, for a reader."""
    return f"{dt.datetime.fromtimestamp(min(seconds, LATEST), dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def kind(value: object) -> str:
    """What a value is, and how long, without it."""
    name = type(value).__name__
    if isinstance(value, str | bytes | list | dict):
        unit = {"str": "characters", "bytes": "bytes", "list": "items"}.get(name, "keys")
        return f"{name} of {len(value)} {unit}"
    return name

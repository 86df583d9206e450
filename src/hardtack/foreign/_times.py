"""Times in the cookies of other languages' stacks: read strictly, and enforced."""

from __future__ import annotations

import datetime as dt

from hardtack.errors import InvalidToken
from hardtack.foreign._text import EXACT_IN_A_DOUBLE
from hardtack.foreign.base import malformed
from hardtack.protocols import Context

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def iso_seconds(value: object) -> int:
    """The whole Unix seconds of an ISO 8601 time with its zone, or `InvalidToken("malformed")`."""
    try:
        moment = dt.datetime.fromisoformat(value)  # type: ignore[arg-type]  # a TypeError is caught
    except (TypeError, ValueError):
        malformed("its time is not one of ISO 8601")
    if moment.tzinfo is None:
        malformed("its time has no zone")
    return (moment - _EPOCH) // dt.timedelta(seconds=1)


def iso_text(seconds: int) -> str:
    """A time as JavaScript and Rails write it: in UTC, with milliseconds."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def seconds_of(value: object, *, per_second: int = 1) -> int:
    """The whole Unix seconds of a JSON number, which may count milliseconds, or `InvalidToken("malformed")`."""
    if not ((type(value) is int or type(value) is float) and 0 <= value <= EXACT_IN_A_DOUBLE):
        malformed("its time is not a number")
    return int(value // per_second)


def not_expired(expires: int, context: Context) -> int:
    """When it ends; `InvalidToken("expired")` where that was."""
    if context.now >= expires:
        raise InvalidToken("expired")
    return expires


def began(created: int, context: Context) -> int:
    """When it was made. No other system refuses a time that is ahead of its own clock, and it counts as now."""
    return min(created, context.now)

"""Durations ("1 hour") and the deadlines of a session.

The grammar is that of Dancer2's configuration plus ISO 8601, except that text which is not understood, or which is
negative, is an error instead of being passed through.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, NamedTuple

from hardtack.errors import ConfigError
from hardtack.tokens.keys import quoted

if TYPE_CHECKING:
    from hardtack.record import Record

Duration = str | int | dt.timedelta

Until = int | dt.date | dt.datetime
"""When something is no longer read: Unix seconds, an aware datetime, or a date (it is read up to the end of it, UTC)."""

LATEST = 253402300799
"""The last second that a datetime can say: a deadline after it is shown as this."""

SKEW = 60
"""Seconds by which the clock of another system may run ahead of ours."""

MAX_SKEW = 300
"""Seconds by which the clock of another of our servers may run ahead: what it has sealed counts as made now."""

_DAY = 86400
_MOST = 100 * 365 * _DAY
_UNITS = {
    1: "s second seconds sec secs",
    60: "m minute minutes min mins",
    3600: "h hr hour hours",
    _DAY: "d day days",
    7 * _DAY: "w week weeks",
    30 * _DAY: "M month months",
    365 * _DAY: "y year years",
}
_SECONDS = {name: seconds for seconds, names in _UNITS.items() for name in names.split()}

_NUMBER = r"[-+]?[0-9]+(?:[.,][0-9]+)?"
_PLAIN = re.compile(rf"\s*({_NUMBER})\s*")
_CLOCK = re.compile(r"\b([0-9]+):([0-9]{2}):([0-9]{2})\b", re.ASCII)
_CLOCK_SHORT = re.compile(r"\b([0-9]+):([0-9]{2})\b", re.ASCII)
_PART = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]+)(?:\s*(?:,|and)\s*)*")
_ISO = re.compile(
    r"P(?!$)(?:([0-9.,]+)W|(?:([0-9.,]+)Y)?(?:([0-9.,]+)M)?(?:([0-9.,]+)D)?"
    r"(?:T(?!$)(?:([0-9.,]+)H)?(?:([0-9.,]+)M)?(?:([0-9.,]+)S)?)?)"
)
_ISO_SECONDS = (7 * _DAY, 365 * _DAY, 30 * _DAY, _DAY, 3600, 60, 1)


def seconds(duration: Duration, setting: str = "duration") -> int:
    """A duration in whole seconds: `"1 hour"`, `"2 days"`, `"1h 30m"`, `"90"`, `"PT1H"`, 3600 or a timedelta.

    A year has 365 days, a month (`M`, `month`) 30. Fractions are rounded half to even. Raises `ConfigError`, which names
    `setting` and quotes what was given, also for more than 100 years.
    """
    if isinstance(duration, dt.timedelta):
        result: float | None = duration.total_seconds()
    elif isinstance(duration, str):
        result = _parse(duration)
    elif isinstance(duration, int) and not isinstance(duration, bool):
        result = duration
    else:
        result = None
    if result is not None and result > _MOST:
        message = f"{setting}={quoted(duration)} is more than 100 years; write what was meant, such as '1 year'"
        raise ConfigError(message)
    if result is None or result < 0:
        message = (
            f"{setting}={quoted(duration)} is not a duration; write seconds, a timedelta, or text such as '1 hour', "
            "'2 days', '1h 30m' or 'PT1H' (not negative; one letter: s m h d w M y)"
        )
        raise ConfigError(message)
    return round(result)


def unix_seconds(until: Until | None) -> int | None:
    """`until` in Unix seconds; raises `ConfigError`."""
    if until is None or type(until) is int:
        return until
    if isinstance(until, dt.datetime) and until.tzinfo is not None:
        return int(until.timestamp())
    if isinstance(until, dt.date) and not isinstance(until, dt.datetime):
        midnight = dt.datetime(until.year, until.month, until.day, tzinfo=dt.UTC)
        return int(midnight.timestamp()) + 86400
    message = "until is neither Unix seconds, a date nor a datetime with a time zone; write datetime.date(2027, 1, 31)"
    raise ConfigError(message)


def _parse(text: str) -> float | None:
    if not text.isascii() or len(text) > 200:
        return None
    text = text.strip()
    if not text:
        return 0
    if plain := _PLAIN.fullmatch(text):
        return _number(plain[1])
    if iso := _ISO.fullmatch(text):
        return _parse_iso(iso)
    total = 0.0
    clock = _CLOCK.search(text) or _CLOCK_SHORT.search(text)
    if clock:
        parts = [int(part) for part in clock.groups()]
        total = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
        text = (text[: clock.start()] + text[clock.end() :]).strip(" -")  # Dancer2 ignores a sign before a clock
    position = 0
    while part := _PART.match(text, position):
        unit = part[2] if len(part[2]) == 1 else part[2].lower()
        if unit not in _SECONDS:
            return None
        total += _number(part[1]) * _SECONDS[unit]
        position = part.end()
    if text[position:].strip() or not (clock or position):
        return None
    return total


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _parse_iso(match: re.Match[str]) -> float | None:
    try:
        return sum(_number(amount) * unit for amount, unit in zip(match.groups(), _ISO_SECONDS, strict=True) if amount)
    except ValueError:  # "1.2.3"
        return None


class Deadlines(NamedTuple):
    """When a session ends, in Unix seconds: it is expired from that second on."""

    absolute: int
    idle: int | None

    @property
    def nearest(self) -> int:
        """The one that comes first."""
        return self.absolute if self.idle is None else min(self.absolute, self.idle)


def deadlines(record: Record, lifetime: int, idle_timeout: int | None) -> Deadlines:
    """The deadlines of a session under a manager's limits, in seconds.

    The absolute one runs from the login, before one from the beginning (ASVS 7.3.2); a lifetime given at login and the
    expiry of a cookie that was taken over can only shorten it. The idle one runs from the last renewal (ASVS 7.3.1).
    """
    return Deadlines(absolute_deadline(record, lifetime), None if idle_timeout is None else record.seen + idle_timeout)


def absolute_deadline(record: Record, lifetime: int) -> int:
    """The absolute one of `deadlines`."""
    begin = record.created if record.authenticated is None else record.authenticated
    options = record.options
    if not options:
        return begin + lifetime
    deadline: int = begin + min(lifetime, options.get("lifetime", lifetime))
    earliest: int = min(deadline, options.get("expires", deadline))
    return earliest

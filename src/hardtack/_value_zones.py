"""The zone of a datetime or time, as it is kept: by its key in the IANA database, or by its offset."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo


def zone_of(value: Any) -> Any:
    """None, an offset in microseconds, [offset, name], or a key of the IANA database.

    A zone that is neither a `datetime.timezone` nor in the database is kept as the offset that it has at that time.
    """
    zone = value.tzinfo
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        offset = zone.utcoffset(None) // _MICROSECOND
        name = zone.tzname(None)
        return offset if name == dt.timezone(zone.utcoffset(None)).tzname(None) else [offset, name]
    if isinstance(zone, ZoneInfo) and _is_known(zone, value):
        return zone.key
    offset = value.utcoffset()
    return None if offset is None else offset // _MICROSECOND


_MICROSECOND = dt.timedelta(microseconds=1)


def is_exact(value: Any, kept_as: Any) -> bool:
    """Whether the zone of a datetime or time comes out as it went in, where `zone_of` says that it is `kept_as` this."""
    kind = type(value.tzinfo)
    return value.tzinfo is None or kind is dt.timezone or (kind is ZoneInfo and type(kept_as) is str)


def _is_known(zone: ZoneInfo, value: Any) -> bool:
    """Whether the database has the zone under its key, and it means the same there."""
    if not zone.key:
        return False
    try:
        known = ZoneInfo(zone.key)
    except (OSError, ValueError, LookupError):
        return False
    return known is zone or value.replace(tzinfo=known).utcoffset() == value.utcoffset()


def build_zone(zone: Any) -> dt.tzinfo | None:
    """What `zone_of` was told of. Raises anything at all on what it did not return."""
    if zone is None:
        return None
    if type(zone) is str:
        return ZoneInfo(zone)
    if type(zone) is list:
        return dt.timezone(dt.timedelta(microseconds=zone[0]), zone[1])
    return dt.UTC if zone == 0 else dt.timezone(dt.timedelta(microseconds=zone))

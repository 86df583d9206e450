"""The MessagePack and JSON forms of the values that those do not have: what `values` hands on.

It is imported when such a value is met, or something that cannot be kept: decimal and zoneinfo take a fifth of the time that
importing hardtack takes.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from ormsgpack import Ext, packb, unpackb

from hardtack._value_kinds import LEAVES, is_markup, make_markup, plain_copy, real
from hardtack._value_walk import plain
from hardtack._value_zones import build_zone, is_exact, zone_of
from hardtack.values import OPTIONS, decode_bytes, encode_bytes, unpack

TUPLE, SET, FROZENSET, BIG_INT, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, MARKUP, MAP = range(1, 13)


def _clock(value: Any) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, zone_of(value)]


def _exact_clock(value: Any) -> list[Any]:
    written = _clock(value)
    if not is_exact(value, written[-1]):
        raise TypeError
    return written


def _build_clock(kind: Callable[[str], Any], fields: list[Any]) -> Any:
    text, fold, zone = fields
    return kind(text).replace(fold=fold, tzinfo=build_zone(zone))


def _delta(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _big_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


# --- MessagePack


def _writers(
    pack_nested: Callable[[Any], bytes], clock: Callable[[Any], list[Any]]
) -> dict[type, tuple[int, Callable[[Any], bytes]]]:
    """How each type that MessagePack does not know becomes an extension; `pack_nested` writes what is in it."""

    def members(value: Any) -> bytes:
        written = sorted(map(pack_nested, value))
        if len(set(written)) != len(written):  # members of a subclass that were not equal, and would be
            raise TypeError
        return packb([None] * len(written))[: -len(written) or None] + b"".join(written)

    return {
        tuple: (TUPLE, lambda value: pack_nested(list(value))),
        set: (SET, members),
        frozenset: (FROZENSET, members),
        int: (BIG_INT, _big_int),
        real.datetime: (DATETIME, lambda value: packb(clock(value))),
        real.date: (DATE, lambda value: value.isoformat().encode()),
        dt.time: (TIME, lambda value: packb(clock(value))),
        dt.timedelta: (TIMEDELTA, lambda value: packb(_delta(value))),
        Decimal: (DECIMAL, lambda value: str(value).encode()),
        UUID: (UUID_, lambda value: value.bytes),
    }


def _extension(value: Any, writers: dict[type, tuple[int, Callable[[Any], bytes]]]) -> Ext | None:
    writer = writers.get(type(value))
    if writer is not None:
        return Ext(writer[0], writer[1](value))
    if is_markup(value):
        return Ext(MARKUP, str.__str__(value).encode())
    return None


def default(value: Any) -> Any:
    """The extension for a value, or its plain copy in a type that is kept; `TypeError` where it has neither."""
    return _extension(value, _FAST) or plain_copy(value)


def strict_default(value: Any) -> Ext:
    """The extension for a value; `TypeError` where it has none."""
    return _exactly(value, _STRICT)


def _exactly(value: Any, writers: dict[type, tuple[int, Callable[[Any], bytes]]]) -> Ext:
    extension = _extension(value, writers)
    if extension is None:
        raise TypeError
    return extension


_FAST = _writers(lambda value: packb(value, default, OPTIONS), _clock)
_STRICT = _writers(lambda value: packb(value, strict_default, OPTIONS), _exact_clock)


# The slow way is for data that has dicts with other than str keys somewhere; it is in plain types by then.


def pack_last(fields: list[Any], *, strict: bool) -> bytes:
    """The MessagePack array of fields that are trusted, and data that is checked: the last. Raises `UnsupportedValue`."""
    return packb([*fields[:-1], _with_maps(plain(fields[-1], strict=strict))], _default_slow, OPTIONS)


def pack_slowly(value: Any) -> bytes:
    """The MessagePack form of a value in plain types."""
    return packb(_with_maps(value), _default_slow, OPTIONS)


def _default_slow(value: Any) -> Ext:
    return _exactly(value, _SLOW)


_SLOW = _writers(pack_slowly, _clock)


def _with_maps(value: Any) -> Any:
    """The same tree, in which each dict that has a key other than str is an extension; other types are left alone."""
    if type(value) is dict:
        if all(type(key) is str for key in value):
            return {key: _with_maps(item) for key, item in value.items()}
        return Ext(MAP, pack_slowly([part for item in value.items() for part in item]))
    if type(value) is list:
        return [_with_maps(item) for item in value]
    return value


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    return {_scalar(key): item for key, item in zip(flat[::2], flat[1::2], strict=True)}


def _scalar(key: Any) -> Any:
    """A key that may be one: what another writer took for a key could not be written again."""
    if type(key) not in LEAVES and not is_markup(key):
        raise ValueError
    return key


_UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    TUPLE: lambda raw: tuple(unpack(raw)),
    SET: lambda raw: set(unpack(raw)),
    FROZENSET: lambda raw: frozenset(unpack(raw)),
    BIG_INT: lambda raw: int.from_bytes(raw, "big", signed=True),
    DATETIME: lambda raw: _build_clock(real.datetime.fromisoformat, unpackb(raw)),
    DATE: lambda raw: real.date.fromisoformat(raw.decode()),
    TIME: lambda raw: _build_clock(dt.time.fromisoformat, unpackb(raw)),
    TIMEDELTA: lambda raw: dt.timedelta(*unpackb(raw)),
    DECIMAL: lambda raw: Decimal(raw.decode()),
    UUID_: lambda raw: UUID(bytes=raw),
    MARKUP: lambda raw: make_markup(raw.decode()),
    MAP: lambda raw: _pairs(unpack(raw)),
}


def ext_hook(code: int, raw: bytes) -> Any:
    """The value of an extension that `pack` wrote."""
    return _UNPACKERS[code](raw)


# --- JSON: a dict with one key that begins with "$" is a tag; a dict that would read as one is wrapped in {"$": …}


_LONGEST_JSON_INT = 4096
"""Bits of an integer that is written in decimal: Python refuses to read or write very long ones (CVE-2020-10735)."""


def to_json(value: Any, *, strict: bool) -> Any:
    """The tree as JSON can carry it. Raises `UnsupportedValue`, with the path and the type."""
    return _to_json(plain(value, strict=strict))


def _to_json(value: Any) -> Any:
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return {"$float": str(value)}
    if kind is int and value.bit_length() > _LONGEST_JSON_INT:
        return {"$int": hex(value)}
    if kind in (type(None), bool, int, float, str):
        return value
    if kind is list:
        return [_to_json(item) for item in value]
    if kind is dict:
        if not all(type(key) is str for key in value):
            return {"$map": [[_to_json(key), _to_json(item)] for key, item in value.items()]}
        members = {key: _to_json(item) for key, item in value.items()}
        return {"$": members} if _is_tag(members) else members
    if kind in (set, frozenset):
        return {f"${kind.__name__}": [_to_json(item) for item in sorted(value, key=pack_slowly)]}
    if kind is bytes:
        return {"$bytes": encode_bytes(value)}
    return _leaf_to_json(value)


def _leaf_to_json(value: Any) -> dict[str, Any]:
    kind = type(value)
    if kind is tuple:
        return {"$tuple": [_to_json(item) for item in value]}
    if kind is real.datetime:
        return {"$datetime": _clock(value)}
    if kind is real.date:
        return {"$date": value.isoformat()}
    if kind is dt.time:
        return {"$time": _clock(value)}
    if kind is dt.timedelta:
        return {"$timedelta": _delta(value)}
    if kind is Decimal:
        return {"$decimal": str(value)}
    if kind is UUID:
        return {"$uuid": str(value)}
    return {"$markup": str.__str__(value)}


def _is_tag(members: dict[str, Any]) -> bool:
    return len(members) == 1 and next(iter(members)).startswith("$")


_TAGS: dict[str, Callable[[Any], Any]] = {
    "$": lambda members: {key: from_json(item) for key, item in members.items()},
    "$map": lambda pairs: {_scalar(from_json(key)): from_json(item) for key, item in pairs},
    "$tuple": lambda items: tuple(map(from_json, items)),
    "$set": lambda items: set(map(from_json, items)),
    "$frozenset": lambda items: frozenset(map(from_json, items)),
    "$bytes": decode_bytes,
    "$float": float,
    "$int": lambda text: int(text, 16),
    "$datetime": lambda fields: _build_clock(real.datetime.fromisoformat, fields),
    "$date": real.date.fromisoformat,
    "$time": lambda fields: _build_clock(dt.time.fromisoformat, fields),
    "$timedelta": lambda fields: dt.timedelta(*fields),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$markup": make_markup,
}


def from_json(value: Any) -> Any:
    """What `to_json` was given. Raises anything at all on a tree that `to_json` did not return."""
    if type(value) is list:
        return [from_json(item) for item in value]
    if type(value) is dict:
        if _is_tag(value):
            ((tag, content),) = value.items()
            return _TAGS[tag](content)
        return {key: from_json(item) for key, item in value.items()}
    return value

"""The values that MessagePack and JSON do not have, and the thorough way with all of them: what `values` hands on.

It is imported when such a value is met, or something that cannot be kept: decimal and zoneinfo take a fifth of the time that
importing hardtack takes.
"""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from ormsgpack import Ext, packb, unpackb

from hardtack.errors import UnsupportedValue
from hardtack.values import MAX_DEPTH, OPTIONS, decode_bytes, encode_bytes, unpack

TUPLE, SET, FROZENSET, BIG_INT, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, MARKUP, MAP = range(1, 13)


def check(data: object) -> None:
    """Raise the `UnsupportedValue` of the first value that cannot be kept."""
    _check(data, "", 1, set())


def _check(value: Any, path: str, depth: int, parents: set[int]) -> None:
    kind: Any = type(value)
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnsupportedValue(
                path or "(root)", "str", "it has a lone surrogate, which UTF-8 cannot carry"
            ) from None
    elif kind in (dict, list, tuple, set, frozenset):
        _check_container(value, path, depth, parents)
    elif kind in (dt.datetime, dt.time):
        _zone(value, path)
    elif kind not in _LEAVES and not _is_markup(value):
        raise UnsupportedValue(path or "(root)", _type_name(value), _advice(value))
    elif kind is not str and _is_markup(value):
        _check(str.__str__(value), path, depth, parents)


def _check_container(value: Any, path: str, depth: int, parents: set[int]) -> None:
    if id(value) in parents:
        raise UnsupportedValue(path or "(root)", _type_name(value), "it contains itself")
    if depth > MAX_DEPTH:
        raise UnsupportedValue(path, _type_name(value), f"it is nested more than {MAX_DEPTH} levels deep")
    parents.add(id(value))
    if type(value) is dict:
        for key, item in value.items():
            if type(key) not in (str, int):
                problem = f"a key is of type {_type_name(key)}; keys are str or int"
                raise UnsupportedValue(path or "(root)", "dict", problem)
            if type(key) is str:
                _check(key, f"{path or '(root)'} (a key)", depth, parents)
            _check(item, _member(path, key), depth + 1, parents)
    else:
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1, parents)
    parents.remove(id(value))


def _member(path: str, key: str | int) -> str:
    if type(key) is str and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


_LEAVES = frozenset({type(None), bool, int, float, str, bytes, dt.date, dt.timedelta, Decimal, UUID})


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _advice(value: object) -> str:
    for base in type(value).__mro__[1:]:
        if base in _LEAVES or base in (dict, list, tuple, set, frozenset):
            return f"a subclass would come back as {base.__name__}; convert it with {base.__name__}(…) first"
    if isinstance(value, bytearray | memoryview):
        return "it would come back as bytes; convert it with bytes(…) first"
    return "store an id, or plain values, and build the object again when it is needed"


def _is_markup(value: object) -> bool:
    # Markup can only exist where markupsafe was imported: the core need not depend on it.
    module = sys.modules.get("markupsafe")
    return module is not None and type(value) is module.Markup


def _markup(text: str) -> str:
    try:
        from markupsafe import Markup
    except ImportError:  # plain text is escaped wherever it is shown: the safe reading
        return text
    return Markup(text)  # noqa: S704 - it was Markup when it went in


def _zone(value: Any, path: str) -> Any:
    """The zone of a datetime or time: None, an offset in microseconds, [offset, name], or a key of the IANA database."""
    zone = value.tzinfo
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        offset = zone.utcoffset(None) // dt.timedelta(microseconds=1)
        name = zone.tzname(None)
        _check(name, f"{path or '(root)'} (the name of its zone)", 1, set())
        return offset if name == dt.timezone(zone.utcoffset(None)).tzname(None) else [offset, name]
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    problem = "its zone is neither a datetime.timezone nor a zoneinfo.ZoneInfo with a key; use astimezone(…)"
    raise UnsupportedValue(path or "(root)", f"{_type_name(value)} with {_type_name(zone)}", problem)


def _build_zone(zone: Any) -> dt.tzinfo | None:
    if zone is None:
        return None
    if type(zone) is str:
        return ZoneInfo(zone)
    if type(zone) is list:
        return dt.timezone(dt.timedelta(microseconds=zone[0]), zone[1])
    return dt.UTC if zone == 0 else dt.timezone(dt.timedelta(microseconds=zone))


def _clock(value: Any) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value, "")]


def _build_clock(kind: Callable[[str], Any], fields: list[Any]) -> Any:
    text, fold, zone = fields
    return kind(text).replace(fold=fold, tzinfo=_build_zone(zone))


def _delta(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _big_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


# --- MessagePack


def _writers(pack_nested: Callable[[Any], bytes]) -> dict[type, tuple[int, Callable[[Any], bytes]]]:
    """How each type that MessagePack does not know becomes an extension; `pack_nested` writes what is in it."""

    def members(value: Any) -> bytes:
        written = sorted(map(pack_nested, value))
        return packb([None] * len(written))[: -len(written) or None] + b"".join(written)

    return {
        tuple: (TUPLE, lambda value: pack_nested(list(value))),
        set: (SET, members),
        frozenset: (FROZENSET, members),
        int: (BIG_INT, _big_int),
        dt.datetime: (DATETIME, lambda value: packb(_clock(value))),
        dt.date: (DATE, lambda value: value.isoformat().encode()),
        dt.time: (TIME, lambda value: packb(_clock(value))),
        dt.timedelta: (TIMEDELTA, lambda value: packb(_delta(value))),
        Decimal: (DECIMAL, lambda value: str(value).encode()),
        UUID: (UUID_, lambda value: value.bytes),
    }


def _extension(value: Any, writers: dict[type, tuple[int, Callable[[Any], bytes]]]) -> Ext:
    writer = writers.get(type(value))
    if writer is not None:
        return Ext(writer[0], writer[1](value))
    if _is_markup(value):
        return Ext(MARKUP, str.__str__(value).encode())
    raise TypeError


_FAST = _writers(lambda value: packb(value, default, OPTIONS))


def default(value: Any) -> Ext:
    """The extension for a value; `TypeError` where it has none."""
    return _extension(value, _FAST)


# The slow way is for data that was checked, and has dicts with other than str keys somewhere.


def pack_last(fields: list[Any]) -> bytes:
    """The MessagePack array of fields that are trusted, and data that is checked: the last. Raises `UnsupportedValue`."""
    data = fields[-1]
    check(data)
    return packb([*fields[:-1], _without_int_keys(data)], _default_slow, OPTIONS)


def _pack_slowly(value: Any) -> bytes:
    return packb(_without_int_keys(value), _default_slow, OPTIONS)


_SLOW = _writers(_pack_slowly)


def _default_slow(value: Any) -> Ext:
    return _extension(value, _SLOW)


def _without_int_keys(value: Any) -> Any:
    """The same tree, in which each dict that has a key other than str is an extension; other types are left alone."""
    if type(value) is dict:
        if all(type(key) is str for key in value):
            return {key: _without_int_keys(item) for key, item in value.items()}
        return Ext(MAP, _pack_slowly([part for item in value.items() for part in item]))
    if type(value) is list:
        return [_without_int_keys(item) for item in value]
    return value


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    if not {str, int}.issuperset(map(type, flat[::2])):
        raise ValueError
    return dict(zip(flat[::2], flat[1::2], strict=True))


_UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    TUPLE: lambda raw: tuple(unpack(raw)),
    SET: lambda raw: set(unpack(raw)),
    FROZENSET: lambda raw: frozenset(unpack(raw)),
    BIG_INT: lambda raw: int.from_bytes(raw, "big", signed=True),
    DATETIME: lambda raw: _build_clock(dt.datetime.fromisoformat, unpackb(raw)),
    DATE: lambda raw: dt.date.fromisoformat(raw.decode()),
    TIME: lambda raw: _build_clock(dt.time.fromisoformat, unpackb(raw)),
    TIMEDELTA: lambda raw: dt.timedelta(*unpackb(raw)),
    DECIMAL: lambda raw: Decimal(raw.decode()),
    UUID_: lambda raw: UUID(bytes=raw),
    MARKUP: lambda raw: _markup(raw.decode()),
    MAP: lambda raw: _pairs(unpack(raw)),
}


def ext_hook(code: int, raw: bytes) -> Any:
    """The value of an extension that `pack` wrote."""
    return _UNPACKERS[code](raw)


# --- JSON: a dict with one key that begins with "$" is a tag; a dict that would read as one is wrapped in {"$": …}


_LONGEST_JSON_INT = 4096
"""Bits of an integer that is written in decimal: Python refuses to read or write very long ones (CVE-2020-10735)."""


def to_json(value: Any) -> Any:
    """The tree as JSON can carry it. Raises `UnsupportedValue`, with the path and the type."""
    check(value)
    return _to_json(value)


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
            return {"$map": [[key, _to_json(item)] for key, item in value.items()]}
        members = {key: _to_json(item) for key, item in value.items()}
        return {"$": members} if _is_tag(members) else members
    if kind in (set, frozenset):
        return {f"${kind.__name__}": [_to_json(item) for item in sorted(value, key=_pack_slowly)]}
    if kind is bytes:
        return {"$bytes": encode_bytes(value)}
    return _leaf_to_json(value)


def _leaf_to_json(value: Any) -> dict[str, Any]:
    kind = type(value)
    if kind is tuple:
        return {"$tuple": [_to_json(item) for item in value]}
    if kind is dt.datetime:
        return {"$datetime": _clock(value)}
    if kind is dt.date:
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
    "$map": lambda pairs: {key: from_json(item) for key, item in pairs},
    "$tuple": lambda items: tuple(map(from_json, items)),
    "$set": lambda items: set(map(from_json, items)),
    "$frozenset": lambda items: frozenset(map(from_json, items)),
    "$bytes": decode_bytes,
    "$float": float,
    "$int": lambda text: int(text, 16),
    "$datetime": lambda fields: _build_clock(dt.datetime.fromisoformat, fields),
    "$date": dt.date.fromisoformat,
    "$time": lambda fields: _build_clock(dt.time.fromisoformat, fields),
    "$timedelta": lambda fields: dt.timedelta(*fields),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$markup": _markup,
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

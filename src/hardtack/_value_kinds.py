"""The types that a session keeps, and what becomes of a value of another: its plain copy in the nearest of them, if equal."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

logger = logging.getLogger("hardtack")


class _Real(NamedTuple):
    date: type[dt.date]
    datetime: type[dt.datetime]


def _find(kind: type, name: str) -> Any:
    return next(base for base in kind.__mro__ if (base.__module__, base.__qualname__) == ("datetime", name))


real: Final = _Real(_find(dt.date, "date"), _find(dt.datetime, "datetime"))
"""The classes themselves: a test with a frozen clock puts subclasses in their place, in every module that has them as an
attribute, and may have done so before this one was imported."""

CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})
LEAVES: Final = frozenset(
    {type(None), bool, int, float, str, bytes, real.date, real.datetime, dt.time, dt.timedelta, Decimal, UUID}
)
KEPT: Final = CONTAINERS | LEAVES
"""Every type that is kept as it is, but markupsafe's Markup."""


def is_markup(value: object) -> bool:
    """Whether a value is a Markup, and no subclass. It can only be where markupsafe was imported: we need not depend on it."""
    module = sys.modules.get("markupsafe")
    return module is not None and type(value) is module.Markup


def make_markup(text: str) -> str:
    """The text as Markup."""
    try:
        from markupsafe import Markup
    except ImportError:  # plain text is escaped wherever it is shown: the safe reading
        return text
    return Markup(text)  # noqa: S704 - it was Markup when it went in


def type_name(value: object) -> str:
    """The name of a value's type, with its module."""
    return _name(type(value))


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# --- Plain copies. What a subclass overrides is not asked for its content, so that what is stored is what it is underneath;
# whether that is all that it shows is compared afterwards.


def _plain_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    shown = {key: value[key] for key in value}
    if shown != dict(dict.items(value)):  # of several values under a key, a QueryDict shows the last
        raise ValueError
    return shown


def _plain_list(value: list[Any]) -> list[Any]:
    members = list.__getitem__(value, slice(None))
    if [*value] != members:
        raise ValueError
    return members


def _plain_tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    members = tuple.__getitem__(value, slice(None))
    if (*value,) != members:
        raise ValueError
    return members


def _plain_time(value: dt.time) -> dt.time:
    return real.datetime.timetz(real.datetime.combine(real.date(2000, 1, 1), value))


def _plain_datetime(value: dt.datetime) -> dt.datetime:
    return real.datetime.combine(real.datetime.date(value), real.datetime.timetz(value))


_COPIES: Final[dict[type, Callable[[Any], Any]]] = {
    dict: _plain_dict,
    list: _plain_list,
    tuple: _plain_tuple,
    set: lambda value: set[Any]().union(value),
    frozenset: lambda value: frozenset[Any]().union(value),
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
    bytearray: lambda value: bytes(memoryview(value)),
    memoryview: lambda value: value.tobytes(),
    real.datetime: _plain_datetime,
    real.date: lambda value: real.date.fromordinal(real.date.toordinal(value)),
    dt.time: _plain_time,
    dt.timedelta: dt.timedelta.__pos__,
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
}


def nearest(value: object) -> type | None:
    """The type that a value would be kept as: that of its bases, such as str for a member of a StrEnum; None: there is none."""
    kind: Any = type(value)
    found = _nearest(kind)
    return None if found is None else found[0]


@lru_cache(maxsize=256)
def _nearest(kind: Any) -> tuple[type, Callable[[Any], Any]] | None:
    markup: Any = getattr(sys.modules.get("markupsafe"), "Markup", None)
    for base in kind.__mro__:
        if base in _COPIES:
            return (bytes if base in (bytearray, memoryview) else base), _COPIES[base]
        if base is markup:
            return base, lambda value: make_markup(str.__str__(value))
    return None


def plain_copy(value: Any) -> Any:
    """The equal value of the nearest kept type. Raises `TypeError` where there is none, or it is not equal."""
    kind: Any = type(value)
    found = _nearest(kind)
    if found is None:
        raise TypeError
    kept_as, copied = found
    try:
        copy = copied(value)
        equal = _equal(copy, value)
    except Exception as error:  # whatever a class of somebody else raises where it is read or compared
        raise TypeError from error
    if not equal:
        raise TypeError
    _tell(kind, kept_as)
    return copy


def _equal(copy: Any, value: Any) -> bool:
    return bool(copy == value) or bool(copy != copy and value != value)  # the latter: NaN


@lru_cache(maxsize=256)
def _tell(kind: Any, kept_as: Any) -> None:
    logger.info("values of type %s are kept in the session as %s, and come out as that", _name(kind), kept_as.__name__)

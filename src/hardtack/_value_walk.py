"""The thorough way through a session's data: its plain copy, or the error that names the first value that cannot be kept."""

from __future__ import annotations

import datetime as dt
import enum
import sys
from collections import deque
from collections.abc import Mapping, MappingView, Sequence, Set
from typing import Any, NoReturn

from hardtack._value_kinds import CONTAINERS, KEPT, is_markup, nearest, plain_copy, real, type_name
from hardtack._value_zones import build_zone, is_exact, zone_of
from hardtack.errors import UnsupportedValue
from hardtack.values import MAX_DEPTH

_ROOT = "(root)"


def plain(data: Any, *, strict: bool = False) -> Any:
    """The same tree in types that are kept. Raises the `UnsupportedValue` of the first value that none is equal to.

    `strict`: also of the first that is not of such a type already.
    """
    return _Walk(strict=strict).copy(data, "", 1)


class _Walk:
    """One way through a tree; knows the containers that it is in."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._parents: set[int] = set()

    def copy(self, value: Any, path: str, depth: int) -> Any:
        found = value
        if type(value) not in KEPT and not is_markup(value):
            found = self._nearest(value, path)
        kind = type(found)
        if kind in CONTAINERS:
            return self._container(value, found, path, depth)
        if kind is str or is_markup(found):
            _check_text(found, path)
        elif kind is real.datetime or kind is dt.time:
            return self._in_its_zone(found, path)
        return found

    def _nearest(self, value: Any, path: str) -> Any:
        try:
            if not self._strict:
                return plain_copy(value)
        except TypeError:
            pass
        raise UnsupportedValue(path or _ROOT, type_name(value), _advice(value, strict=self._strict)) from None

    def _container(self, original: Any, value: Any, path: str, depth: int) -> Any:
        if id(original) in self._parents:
            raise UnsupportedValue(path or _ROOT, type_name(original), "it contains itself")
        if depth > MAX_DEPTH:
            raise UnsupportedValue(path, type_name(original), f"it is nested more than {MAX_DEPTH} levels deep")
        self._parents.add(id(original))
        if type(value) is dict:
            copy: Any = self._dict(value, path, depth)
        else:
            copy = type(value)(self.copy(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
        self._parents.remove(id(original))
        if len(copy) != len(value):  # a subclass may hold values apart that are equal
            raise UnsupportedValue(path or _ROOT, type_name(original), "two of its keys or members would become one")
        return copy

    def _dict(self, value: dict[Any, Any], path: str, depth: int) -> dict[Any, Any]:
        copy = {}
        for key, item in value.items():
            kept = key if type(key) is str and key.isascii() else self._key(key, path, depth)
            copy[kept] = self.copy(item, _member(path, kept), depth + 1)
        return copy

    def _key(self, key: Any, path: str, depth: int) -> Any:
        if nearest(key) in CONTAINERS:
            problem = (
                f"a key is of type {type_name(key)}; a key is text, a number, bytes, a date or time, a UUID or None"
            )
            raise UnsupportedValue(path or _ROOT, "dict", problem)
        return self.copy(key, f"{path or _ROOT} (a key)", depth)

    def _in_its_zone(self, value: Any, path: str) -> Any:
        if value.tzinfo is None:
            return value
        try:
            zone = zone_of(value)
        except Exception:  # whatever another's tzinfo raises
            self._refuse_zone(value, path, "its zone does not tell its offset; use astimezone(…)")
        if type(zone) is list:
            _check_text(zone[1], f"{path or _ROOT} (the name of its zone)")
        if is_exact(value, zone):
            return value
        if self._strict:
            problem = "its zone is neither a datetime.timezone nor a zoneinfo.ZoneInfo of the IANA database; use astimezone(…)"
            self._refuse_zone(value, path, problem)
        return value.replace(tzinfo=build_zone(zone))

    @staticmethod
    def _refuse_zone(value: Any, path: str, problem: str) -> NoReturn:
        raise UnsupportedValue(path or _ROOT, f"{type_name(value)} with {type_name(value.tzinfo)}", problem) from None


def _check_text(text: str, path: str) -> None:
    try:
        str.encode(text)
    except UnicodeEncodeError:
        problem = "it has a lone surrogate, which UTF-8 cannot carry"
        raise UnsupportedValue(path or _ROOT, "str", problem) from None


def _member(path: str, key: Any) -> str:
    if type(key) is str and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


# --- What to do instead. Nobody tries it before he is told: none of it may raise for the value that it is said of.

_MADE_BY_CALL = frozenset({str, int, float, bytes, list, tuple, dict, set, frozenset})


def _advice(value: object, *, strict: bool) -> str:
    if isinstance(value, enum.Enum):  # str() of a member of (str, Enum) is 'Color.RED'
        return "store its .value"
    base = nearest(value)
    if base is not None:
        name = base.__name__
        if not strict:
            return f"as {name} it would not be equal to what it is; store a plain {name} of what you need of it"
        made = f"convert it with {name}(…) first" if base in _MADE_BY_CALL else f"store a plain {name}"
        return f"it would come back as {name}; {made}"
    if isinstance(value, Mapping):
        return "store a plain dict of what you need of it"
    if isinstance(value, Sequence | Set | MappingView | deque):
        return "convert it with list(…) first"
    return _advice_by_library(value)


def _advice_by_library(value: object) -> str:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
        return f"convert it with .{'item' if isinstance(value, numpy.generic) else 'tolist'}() first"
    lazy = sys.modules.get("django.utils.functional")
    if lazy is not None and isinstance(value, lazy.Promise):
        return "convert it with str(…) first"
    return "store an id, or plain values, and build the object again when it is needed"

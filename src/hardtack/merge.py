"""Three-way merge of session data: what two requests changed at once, without losing either.

Key by key, into nested dicts; lists that both only appended to are joined. Only where both changed the same leaf is there a
conflict, and the later write wins.
"""

from __future__ import annotations

from typing import Any

from hardtack import values

_MISSING: Any = object()
_BOTH: Any = object()

_SCALARS = frozenset({str, bytes, int, bool})
"""What `==` compares exactly, within one type; not float, where 0.0 == -0.0 and nan != nan."""


def merge(base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is left when `mine` is saved after `theirs`, and the paths at which `mine` has won over `theirs`."""
    conflicts: list[str] = []
    return _merge_dicts(base, theirs, mine, "", conflicts), conflicts


def _merge_dicts(base: Any, theirs: Any, mine: Any, path: str, conflicts: list[str]) -> dict[Any, Any]:
    merged = {}
    for key in {**theirs, **mine}:  # their order first, then what is new in mine
        values_of_key = base.get(key, _MISSING), theirs.get(key, _MISSING), mine.get(key, _MISSING)
        value = _unchanged(*values_of_key)
        if value is _BOTH:
            value = _merge_values(*values_of_key, f"{path}.{key}" if path else str(key), conflicts)
        if value is not _MISSING:
            merged[key] = value
    return merged


def _unchanged(base: Any, theirs: Any, mine: Any) -> Any:
    """The value where at most one side has changed it, or both alike."""
    if _same(mine, base):
        return theirs
    if _same(theirs, base) or _same(theirs, mine):
        return mine
    return _BOTH


def _merge_values(base: Any, theirs: Any, mine: Any, path: str, conflicts: list[str]) -> Any:
    """The value where both sides have changed it, each in its own way."""
    if type(theirs) is dict and type(mine) is dict:
        return _merge_dicts(base if type(base) is dict else {}, theirs, mine, path, conflicts)
    if type(theirs) is list and type(mine) is list and (base is _MISSING or type(base) is list):
        common = [] if base is _MISSING else base
        size = len(common)
        if _same(theirs[:size], common) and _same(mine[:size], common):
            return theirs + mine[size:]
    conflicts.append(path)
    return mine


def _same(one: Any, other: Any) -> bool:
    """Equal, type by type: 1, 1.0 and True are different values, and so are a tuple and a list."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _SCALARS:  # a merge looks at every key: their encodings would be most of its time
        return bool(one == other)
    return values.pack({"": one}) == values.pack({"": other})

"""Three-way merge of session data: what two requests changed at once, without losing either.

Key by key, into nested dicts; lists that both only appended to are joined. Only where both changed the same leaf is there a
conflict, and the later write wins.
"""

from __future__ import annotations

from typing import Any

from hardtack import values

_MISSING: Any = object()


def merge(base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is left when `mine` is saved after `theirs`, and the paths at which `mine` has won over `theirs`."""
    conflicts: list[str] = []
    return _merge_dicts(base, theirs, mine, "", conflicts), conflicts


def _merge_dicts(base: Any, theirs: Any, mine: Any, path: str, conflicts: list[str]) -> dict[Any, Any]:
    merged = {}
    for key in {**theirs, **mine}:  # their order first, then what is new in mine
        value = _merge_values(
            base.get(key, _MISSING),
            theirs.get(key, _MISSING),
            mine.get(key, _MISSING),
            f"{path}.{key}" if path else str(key),
            conflicts,
        )
        if value is not _MISSING:
            merged[key] = value
    return merged


def _merge_values(base: Any, theirs: Any, mine: Any, path: str, conflicts: list[str]) -> Any:
    if _same(mine, base):
        return theirs
    if _same(theirs, base) or _same(theirs, mine):
        return mine
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
    if one is _MISSING or other is _MISSING:
        return False
    return type(one) is type(other) and values.pack({"": one}) == values.pack({"": other})

"""What parallel requests make of one session: what is stale, what is laid over, and what of declared keys is joined.

Everything here costs time in proportion to the size of the session, whatever an attacker puts into it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from hardtack import values

if TYPE_CHECKING:
    from hardtack.tracking import Tracking

_MISSING: Any = object()

_SCALARS = frozenset({str, bytes, int, bool, type(None)})
"""What `==` compares exactly, within one type; not float, where 0.0 == -0.0 and nan != nan."""

_COLLECTIONS = frozenset({dict, list, set, frozenset})


class Declared(NamedTuple):
    """The keys whose parallel changes are joined: those of the application, and those of hardtack and the adapters.

    Of the latter one that ends with "_" stands for all that begin with it: an application's own `_once_only` is not `_once`.
    """

    names: frozenset[str] = frozenset()
    joined: tuple[str, ...] = ()

    def has(self, name: object) -> bool:
        """Whether a key is one of them."""
        if name in self.names or name in self.joined:
            return True
        return isinstance(name, str) and any(each[-1:] == "_" and name.startswith(each) for each in self.joined)


class Merged(NamedTuple):
    """What is to be stored, and the declared keys at which the later write has won."""

    data: dict[str, Any]
    overwritten: list[str]


class Stale(NamedTuple):
    """This request had read what another has changed since: the keys."""

    paths: list[str]


def assigned_in(
    mine: dict[str, Any], base: dict[str, Any], tracking: Tracking | None, declared: Declared
) -> dict[str, Any]:
    """What a request has assigned, of all that it wants to save; without tracking, what differs from its `base`.

    Of keys that are joined only what it has added: a message or a one-time value of the session that ended is not taken along.
    """
    assigned = {}
    for name, value in mine.items():
        before = base.get(name, _MISSING)
        if declared.has(name):
            if type(value) is type(before) and type(value) in _COLLECTIONS:
                value = join(before, type(value)(), value, name, [])
                if not value:
                    continue
            elif same(before, value):
                continue
        elif same(before, value) if tracking is None else name not in tracking.assigned:
            continue
        assigned[name] = value
    return assigned


def merge(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any], tracking: Tracking | None, declared: Declared
) -> Merged | Stale:
    """What is left when `mine`, which began as `base`, is saved after `theirs`.

    Without tracking, this request counts as having read everything.
    """
    changed = {name for name in {**base, **mine} if not same(base.get(name, _MISSING), mine.get(name, _MISSING))}
    written = changed if tracking is None else changed | tracking.assigned
    joined = {name for name in changed if declared.has(name)}
    stale = changed_reads(base, theirs, tracking, Declared(frozenset(joined), declared.joined))
    if stale:
        return Stale(stale)
    merged = dict(theirs)
    overwritten: list[str] = []
    for name in [*mine, *(name for name in written if name not in mine)]:
        if name in joined:
            before, now, wanted = (found.get(name, _MISSING) for found in (base, theirs, mine))
            value = join_key(before, now, wanted, name, overwritten)
        elif name in written:
            value = mine.get(name, _MISSING)
            if tracking is not None and name in base and name not in tracking.order:
                merged.pop(name, None)  # it was deleted and put in anew: it stands last, for whoever iterates
        else:
            continue
        if value is _MISSING:
            merged.pop(name, None)
        else:
            merged[name] = value
    return Merged(merged, overwritten)


def changed_reads(
    base: dict[str, Any], theirs: dict[str, Any], tracking: Tracking | None, exempt: Declared
) -> list[str]:
    """What was read of `base` and differs in `theirs`, but for the exempt keys. Without tracking, everything was read."""
    everything = tracking is None or tracking.everything
    noted: Iterable[str] = {**base, **theirs} if everything else tracking.noted  # type: ignore[union-attr]
    stale = [
        name
        for name in noted
        if not exempt.has(name) and not same(base.get(name, _MISSING), theirs.get(name, _MISSING))
    ]
    if tracking is None:
        return stale
    if tracking.names or tracking.number or everything:
        before, now = ([name for name in names if not exempt.has(name)] for names in (base, theirs))
        names_differ = (tracking.names or everything) and before != now
        if names_differ or (tracking.number and _counts_differently(before, now, tracking.assigned)):
            stale += [name for name in {**base, **theirs} if (name in base) != (name in theirs) and name not in stale]
            stale = stale or list(theirs)  # the same names in another order
    return stale


def _counts_differently(before: list[str], now: list[str], assigned: set[str]) -> bool:
    """Whether `len` would have been another: by their number, or since a key that this request assigned came or went."""
    return len(before) != len(now) or any(name in assigned for name in {*before} ^ {*now})


def join_key(base: Any, theirs: Any, mine: Any, path: str, overwritten: list[str]) -> Any:
    """Both changes of one declared key. To delete it is to take away what was in it: what came late stays."""
    if mine is _MISSING and type(base) is type(theirs) and type(base) in _COLLECTIONS:
        joined = join(base, theirs, type(base)(), path, overwritten)
    elif theirs is _MISSING and type(base) is type(mine) and type(base) in _COLLECTIONS:
        joined = join(base, type(base)(), mine, path, overwritten)
    else:
        return join(base, theirs, mine, path, overwritten)
    return joined or _MISSING


def join(base: Any, theirs: Any, mine: Any, path: str, overwritten: list[str]) -> Any:
    """Theirs, without what mine took away, with what mine added; a deletion beats a change."""
    if type(theirs) is dict and type(mine) is dict and (base is _MISSING or type(base) is dict):
        # Not compared as a whole first: that would encode what is nested once for each level.
        return _join_dicts({} if base is _MISSING else base, theirs, mine, path, overwritten)
    if same(mine, base):
        return theirs
    if same(theirs, base):
        return mine
    if mine is _MISSING or theirs is _MISSING:
        return _MISSING
    joined = _join_alike(base, theirs, mine)
    if joined is not _MISSING:
        return joined
    if not same(theirs, mine):
        overwritten.append(path)
    return mine


def _join_alike(base: Any, theirs: Any, mine: Any) -> Any:
    """The join of two values of one type that can be joined without a name for each part; `_MISSING` where they cannot."""
    kinds: set[type] = {type(theirs), type(mine)} | (set() if base is _MISSING else {type(base)})
    if kinds == {list}:
        return _join_lists([] if base is _MISSING else base, theirs, mine)
    if kinds == {int}:
        return theirs + mine - (0 if base is _MISSING else base)
    if kinds in ({set}, {frozenset}):
        begun = set() if base is _MISSING else base
        return type(mine)((theirs - (begun - mine)) | (mine - begun))
    return _MISSING


def _join_dicts(base: Any, theirs: Any, mine: Any, path: str, overwritten: list[str]) -> dict[Any, Any]:
    merged = {}
    for key in {**theirs, **mine}:  # their order first, then what is new in mine
        value = join(
            base.get(key, _MISSING), theirs.get(key, _MISSING), mine.get(key, _MISSING), f"{path}.{key}", overwritten
        )
        if value is not _MISSING:
            merged[key] = value
    return merged


def _join_lists(base: list[Any], theirs: list[Any], mine: list[Any]) -> list[Any]:
    """As multisets: an item that stands twice in one and once in the other was added or taken away once."""
    before = Counter(map(_encoding, base))
    coded = [(_encoding(item), item) for item in mine]
    after = Counter(code for code, _ in coded)
    gone, added = before - after, after - before
    joined = []
    for item in theirs:
        code = _encoding(item)
        if gone[code] > 0:
            gone[code] -= 1
        else:
            joined.append(item)
    # What mine added stands last in it, mostly: so take the last ones of each kind.
    new = []
    for code, item in reversed(coded):
        if added[code] > 0:
            added[code] -= 1
            new.append(item)
    return joined + new[::-1]


def _encoding(value: Any) -> bytes:
    return values.pack({"": value})


def same(one: Any, other: Any) -> bool:
    """Equal, type by type: 1, 1.0 and True are different values, and so are a tuple and a list."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _SCALARS:  # a merge looks at every key: their encodings would be most of its time
        return bool(one == other)
    return _encoding(one) == _encoding(other)


def join_options(base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any]:
    """Theirs, with what this request changed."""
    merged = dict(theirs)
    for name in {**base, **mine}:
        if base.get(name) != mine.get(name):
            if name in mine:
                merged[name] = mine[name]
            else:
                merged.pop(name, None)
    return merged

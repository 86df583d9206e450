"""One cookie format of each kind of the other languages' stacks, with what it carries: the contract tests run over all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.rails import RailsCookie, RailsSignedCookie

SECRET = "a secret of forty characters and no less"
OTHER = "another secret of forty characters, also"
UNTIL = 1 << 40


def _json(integers: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    leaves = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    trees = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
    )
    return st.dictionaries(keys, trees, max_size=5)


DOUBLES = st.integers(-(1 << 53) + 1, (1 << 53) - 1)
WIDE = _json(st.integers(), st.text())
JAVASCRIPT = _json(DOUBLES, st.text())


@dataclass(frozen=True)
class Format:
    """A format as its contract test needs it.

    Attributes:
        make: the format under a secret and older ones.
        carries: data that comes back equal.
        sample: some of it, small.
        adds: keys that the writer adds where they are not in the data.
    """

    name: str
    make: Callable[[str, list[str]], ForeignCookie]
    carries: st.SearchStrategy[dict[str, Any]] = JAVASCRIPT
    sample: dict[str, Any] = field(default_factory=lambda: {"a": 1})
    adds: frozenset[str] = frozenset()

    @property
    def cookie(self) -> ForeignCookie:
        return self.make(SECRET, [])

    @property
    def stranger(self) -> ForeignCookie:
        return self.make(OTHER, [])

    @property
    def rotated(self) -> ForeignCookie:
        return self.make(OTHER, [SECRET])


FORMATS = [
    Format(
        "rails",
        lambda secret, old: RailsCookie(secret, old_secrets=old, until=UNTIL),
        WIDE,
        adds=frozenset({"session_id"}),
    ),
    Format(
        "rails-expire-after",
        lambda secret, old: RailsCookie(secret, old_secrets=old, digest="sha1", expire_after="1 day"),
        WIDE,
        adds=frozenset({"session_id"}),
    ),
    Format(
        "rails-signed",
        lambda secret, old: RailsSignedCookie(secret, old_secrets=old, metadata=False, until=UNTIL),
        WIDE,
        adds=frozenset({"session_id"}),
    ),
]

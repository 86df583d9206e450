"""hypothesis strategies for what a session may hold, and equality that sees types."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from markupsafe import Markup

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers() | st.integers(-(2**64) - 5, 2**64 + 5)

offsets = st.integers(-86_399, 86_399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
named = st.integers(-1000, 1000).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes), "Here"))
zones = st.none() | offsets | named | st.sampled_from([dt.UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")])


@st.composite
def datetimes(draw: st.DrawFn) -> dt.datetime:
    naive = draw(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)))
    return naive.replace(tzinfo=draw(zones), fold=draw(st.integers(0, 1)))


@st.composite
def times(draw: st.DrawFn) -> dt.time:
    return draw(st.times()).replace(tzinfo=draw(zones), fold=draw(st.integers(0, 1)))


hashable = (
    st.none()
    | st.booleans()
    | integers
    | st.floats(allow_nan=False)
    | text
    | st.binary(max_size=200)
    | st.dates()
    | datetimes()
    | times()
    | st.timedeltas()
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.uuids()
    | text.map(Markup)
)
members = st.recursive(
    hashable,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values: st.SearchStrategy[Any] = st.recursive(
    hashable | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(text | integers | st.sampled_from(["$", "$tuple", "$map"]), inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(members, max_size=4)
        | st.frozensets(members, max_size=3)
    ),
    max_leaves=12,
)
sessions: st.SearchStrategy[dict[str, Any]] = st.dictionaries(text | st.sampled_from(["$", "$set"]), values, max_size=5)


def same(one: Any, other: Any) -> bool:
    """Equal, with equal types throughout; NaN equals NaN, and zones and folds count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(mine, theirs) for mine, theirs in zip(one.items(), other.items(), strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(same(mine, theirs) for theirs in other) for mine in one)
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, dt.datetime | dt.time):
        return repr(one) == repr(other)
    return bool(one == other)

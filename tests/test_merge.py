"""The three-way merge: nothing of two changes is lost, and what cannot be kept is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import same, sessions, text, values

from hardtack.merge import merge

many = settings(max_examples=200, deadline=None)

CASES: list[tuple[str, Any, Any, Any, Any, list[str]]] = [
    # what is merged, base, theirs, mine, the result, the paths that were overwritten
    ("nobody changed anything", {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}, []),
    ("only they changed", {"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}, []),
    ("only I changed", {"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, []),
    ("both changed to the same", {"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, []),
    ("both changed to different values", {"a": 1}, {"a": 2}, {"a": 3}, {"a": 3}, ["a"]),
    ("both added different keys", {}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}, []),
    ("both added the same", {}, {"a": 1}, {"a": 1}, {"a": 1}, []),
    ("both added one key with different values", {}, {"a": 1}, {"a": 2}, {"a": 2}, ["a"]),
    ("they deleted", {"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 1}, {"b": 1}, []),
    ("I deleted", {"a": 1, "b": 1}, {"a": 1, "b": 1}, {"b": 1}, {"b": 1}, []),
    ("both deleted", {"a": 1}, {}, {}, {}, []),
    ("they deleted what I changed", {"a": 1}, {}, {"a": 2}, {"a": 2}, ["a"]),
    ("I deleted what they changed", {"a": 1}, {"a": 2}, {}, {}, ["a"]),
    ("nested dicts", {"c": {"x": 1}}, {"c": {"x": 1, "y": 2}}, {"c": {"x": 3}}, {"c": {"x": 3, "y": 2}}, []),
    ("a nested conflict", {"c": {"x": 1}}, {"c": {"x": 2}}, {"c": {"x": 3}}, {"c": {"x": 3}}, ["c.x"]),
    ("deep", {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, {"a": {"b": {}}}, {"a": {"b": {}}}, ["a.b.c"]),
    ("both added a dict", {}, {"c": {"x": 1}}, {"c": {"y": 2}}, {"c": {"x": 1, "y": 2}}, []),
    ("a value became a dict for both", {"c": 0}, {"c": {"x": 1}}, {"c": {"y": 2}}, {"c": {"x": 1, "y": 2}}, []),
    ("int keys", {"c": {1: "a"}}, {"c": {1: "b"}}, {"c": {1: "c"}}, {"c": {1: "c"}}, ["c.1"]),
    ("both appended", {"l": [1]}, {"l": [1, 2]}, {"l": [1, 3]}, {"l": [1, 2, 3]}, []),
    ("both appended the same", {"l": [1]}, {"l": [1, 2]}, {"l": [1, 2]}, {"l": [1, 2]}, []),
    ("both began a list", {}, {"l": [1]}, {"l": [2]}, {"l": [1, 2]}, []),
    ("I appended, they removed", {"l": [1]}, {"l": []}, {"l": [1, 2]}, {"l": [1, 2]}, ["l"]),
    ("they appended, I changed the first", {"l": [1]}, {"l": [1, 2]}, {"l": [9]}, {"l": [9]}, ["l"]),
    ("a value became a list for both", {"l": 0}, {"l": [1]}, {"l": [2]}, {"l": [2]}, ["l"]),
    ("tuples are not joined", {"t": (1,)}, {"t": (1, 2)}, {"t": (1, 3)}, {"t": (1, 3)}, ["t"]),
    ("a list and a dict", {}, {"a": [1]}, {"a": {"x": 1}}, {"a": {"x": 1}}, ["a"]),
    ("two conflicts", {}, {"a": 1, "b": {"c": 1}}, {"a": 2, "b": {"c": 2}}, {"a": 2, "b": {"c": 2}}, ["a", "b.c"]),
]


@pytest.mark.parametrize(
    ("base", "theirs", "mine", "result", "paths"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_merges(base: Any, theirs: Any, mine: Any, result: Any, paths: list[str]) -> None:
    """The table above, and nothing that was given is changed by it."""
    before = copy.deepcopy((base, theirs, mine))

    merged, conflicts = merge(base, theirs, mine)

    assert same(merged, result)
    assert conflicts == paths
    assert (base, theirs, mine) == before


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ((1,), [1]), ({1}, frozenset([1]))]
)
def test_equality_sees_types(one: Any, other: Any) -> None:
    """`1 == True == 1.0` to Python: here a change from one to the other is a change, and is not lost."""
    assert same(merge({"a": one}, {"a": one}, {"a": other})[0], {"a": other})
    assert same(merge({"a": one}, {"a": other}, {"a": one})[0], {"a": other})


def test_equality_sees_types_in_lists() -> None:
    """A list whose first item changed its type was not appended to."""
    merged, conflicts = merge({"l": [1]}, {"l": [True, 2]}, {"l": [1, 3]})

    assert same(merged, {"l": [1, 3]})
    assert conflicts == ["l"]


def test_not_a_number_equals_itself() -> None:
    """A NaN that nobody touched is no conflict."""
    merged, conflicts = merge({"n": float("nan")}, {"n": float("nan"), "a": 1}, {"n": float("nan"), "b": 2})

    assert set(merged) == {"n", "a", "b"}
    assert conflicts == []


@many
@given(base=sessions, mine=sessions)
def test_my_change_alone_is_kept_as_it_is(base: dict[str, Any], mine: dict[str, Any]) -> None:
    """Where they changed nothing, the result is mine, and there is no conflict."""
    merged, conflicts = merge(base, base, mine)

    assert same_but_for_order(merged, mine)
    assert conflicts == []


@many
@given(base=sessions, theirs=sessions)
def test_their_change_alone_is_kept_as_it_is(base: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Where I changed nothing, the result is theirs."""
    merged, conflicts = merge(base, theirs, base)

    assert same_but_for_order(merged, theirs)
    assert conflicts == []


@many
@given(base=sessions, both=sessions)
def test_the_same_change_twice_is_one(base: dict[str, Any], both: dict[str, Any]) -> None:
    """Where both did the same, that is the result."""
    merged, conflicts = merge(base, both, both)

    assert same_but_for_order(merged, both)
    assert conflicts == []


@many
@given(base=sessions, theirs=sessions, mine=sessions)
def test_changes_to_different_keys_are_both_kept(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    """Keys that only one of the two touched have the value that he gave them."""
    their_keys = {f"theirs {key}": value for key, value in theirs.items()}
    my_keys = {f"mine {key}": value for key, value in mine.items()}

    merged, conflicts = merge(base, base | their_keys, base | my_keys)

    assert same_but_for_order(merged, base | their_keys | my_keys)
    assert conflicts == []


@many
@given(base=st.lists(values, max_size=3), theirs=st.lists(values, max_size=3), mine=st.lists(values, max_size=3))
def test_appended_items_are_all_there(base: list[Any], theirs: list[Any], mine: list[Any]) -> None:
    """Two requests that each append keep what both have appended, theirs first."""
    merged, conflicts = merge({"l": base}, {"l": base + theirs}, {"l": base + mine})

    joined = base + theirs if same(theirs, mine) else base + theirs + mine
    assert same_but_for_order(merged["l"], joined)
    assert conflicts == []


@many
@given(key=text, base=values, theirs=values, mine=values)
def test_a_conflict_is_won_by_mine_and_named(key: str, base: Any, theirs: Any, mine: Any) -> None:
    """Either nothing is lost, or the path of what is lost is told, and the value there is mine."""
    merged, conflicts = merge({key: base}, {key: theirs}, {key: mine})

    if not conflicts:
        assert key in merged
    elif conflicts == [key]:
        assert same_but_for_order(merged, {key: mine})
    else:
        assert all(path.startswith(key) for path in conflicts)


def same_but_for_order(one: Any, other: Any) -> bool:
    """Equal, type by type, whatever the order of keys and NaN."""
    if type(one) is dict and type(other) is dict:
        return sorted(map(repr, one)) == sorted(map(repr, other)) and all(
            same_but_for_order(one[key], other[key]) for key in one
        )
    if type(one) in (list, tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(same_but_for_order, one, other))
    return same(one, other)

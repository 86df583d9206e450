"""What parallel requests make of one session: stale where one had read what another changed, else both are kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import same, sessions, text, values

from hardtack import values as encoding
from hardtack.merge import Declared, Merged, Stale, assigned_in, changed_reads, join, merge
from hardtack.tracking import Tracking

many = settings(max_examples=200, deadline=None)

NOTHING = Declared()


def noted(base: dict[str, Any], *read: str, assigned: tuple[str, ...] = (), **flags: bool) -> Tracking:
    """What a request that read and assigned this has noted."""
    tracking = Tracking(dict(base))
    tracking.noted.update(read)
    tracking.assigned.update(assigned)
    for flag, value in flags.items():
        setattr(tracking, flag, value)
    return tracking


def blind(base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any], *declared: str) -> Merged:
    """The merge of a request that read nothing."""
    outcome = merge(base, theirs, mine, noted(base), Declared(frozenset(declared)))
    assert isinstance(outcome, Merged)
    return outcome


LAID: list[tuple[str, Any, Any, Any, Any]] = [
    # what is laid over what, base, theirs, mine, the result
    ("nobody changed anything", {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}),
    ("only they changed", {"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}),
    ("only I changed", {"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}),
    ("both changed to different values", {"a": 1}, {"a": 2}, {"a": 3}, {"a": 3}),
    ("both added different keys", {}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    ("they deleted", {"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 1}, {"b": 1}),
    ("I deleted", {"a": 1, "b": 1}, {"a": 1, "b": 1}, {"b": 1}, {"b": 1}),
    ("they deleted what I changed", {"a": 1}, {}, {"a": 2}, {"a": 2}),
    ("I deleted what they changed", {"a": 1}, {"a": 2}, {}, {}),
    (
        "a nested change is one of the whole key",
        {"c": {"x": 1}},
        {"c": {"x": 1, "y": 2}},
        {"c": {"x": 3}},
        {"c": {"x": 3}},
    ),
]


@pytest.mark.parametrize(("base", "theirs", "mine", "result"), [row[1:] for row in LAID], ids=[row[0] for row in LAID])
def test_a_request_that_read_nothing_is_laid_over(base: Any, theirs: Any, mine: Any, result: Any) -> None:
    """Some order of the two requests would have stored that; and nothing that was given is changed by it."""
    before = copy.deepcopy((base, theirs, mine))

    merged = blind(base, theirs, mine)

    assert same(merged.data, result)
    assert merged.overwritten == []
    assert (base, theirs, mine) == before


def test_what_was_assigned_counts_also_where_it_is_equal() -> None:
    """A request that assigned what was there before comes after one that assigned something else."""
    base = {"a": 1}
    outcome = merge(base, {"a": 2}, {"a": 1, "b": 1}, noted(base, assigned=("a", "b")), NOTHING)

    assert outcome == Merged({"a": 1, "b": 1}, [])


def test_a_key_that_was_deleted_and_put_in_anew_stands_last() -> None:
    """For whoever iterates, as it would in any dict."""
    base = {"a": 1, "b": 1}
    tracking = noted(base, assigned=("a",))
    tracking.order.pop("a")

    outcome = merge(base, {"a": 1, "b": 1, "c": 1}, {"b": 1, "a": 2}, tracking, NOTHING)

    assert isinstance(outcome, Merged)
    assert list(outcome.data) == ["b", "c", "a"]


STALE: list[tuple[str, Any, Any, Any, list[str]]] = [
    # what was read, what was noted, base, theirs, the keys that make it stale
    ("a value", {"read": ("a",)}, {"a": 1}, {"a": 2}, ["a"]),
    ("another value", {"read": ("b",)}, {"a": 1, "b": 1}, {"a": 2, "b": 1}, []),
    ("a missing key", {"read": ("b",)}, {"a": 1}, {"a": 1, "b": 1}, ["b"]),
    ("the names", {"names": True}, {"a": 1}, {"a": 2}, []),
    ("the names, of which one came", {"names": True}, {"a": 1}, {"a": 1, "b": 1}, ["b"]),
    ("the names, of which one went", {"names": True}, {"a": 1, "b": 1}, {"a": 1}, ["b"]),
    ("the names, in another order", {"names": True}, {"a": 1, "b": 1}, {"b": 1, "a": 1}, ["b", "a"]),
    ("their number", {"number": True}, {"a": 1}, {"b": 1}, []),
    ("their number, which changed", {"number": True}, {"a": 1}, {}, ["a"]),
    ("everything", {"everything": True}, {"a": 1, "b": 1}, {"a": 1, "b": 2}, ["b"]),
    ("another type", {"read": ("a",)}, {"a": 1}, {"a": True}, ["a"]),
    ("zero of another sign", {"read": ("a",)}, {"a": 0.0}, {"a": -0.0}, ["a"]),
    ("no number", {"read": ("a",)}, {"a": float("nan")}, {"a": float("nan")}, []),
]


@pytest.mark.parametrize(("what", "base", "theirs", "stale"), [row[1:] for row in STALE], ids=[row[0] for row in STALE])
def test_a_request_that_read_what_another_changed_is_stale(what: Any, base: Any, theirs: Any, stale: list[str]) -> None:
    """By value, and by what it asked for: names are not values."""
    tracking = noted(base, *what.pop("read", ()), **what) if isinstance(what, dict) else what
    outcome = merge(base, theirs, {**base, "mine": 1}, tracking, NOTHING)

    assert outcome == (Stale(stale) if stale else Merged({**theirs, "mine": 1}, []))


def test_their_number_counts_without_what_this_request_assigned_itself() -> None:
    """`len()` before and after an own assignment are two numbers: a key of its own that came or went is a change."""
    base = {"a": 1, "b": 1}
    tracking = noted(base, assigned=("c",), number=True)

    assert merge(base, {"a": 1, "c": 1}, {"a": 1, "b": 1}, tracking, NOTHING) == Stale(["b", "c"])


def test_without_tracking_a_request_has_read_everything() -> None:
    """What another author's engine saves is not laid over what it never saw."""
    assert merge({"a": 1}, {"a": 2}, {"a": 1, "b": 1}, None, NOTHING) == Stale(["a"])


def test_flash_messages_make_nobody_stale() -> None:
    """Each page asks for them, and nobody's decision rests on them."""
    declared = Declared(frozenset(), ("_flashes",))
    base: dict[str, Any] = {"_flashes": [["message", "one"]]}
    theirs: dict[str, Any] = {"_flashes": [["message", "one"], ["message", "two"]]}

    outcome = merge(base, theirs, {"a": 1}, noted(base, "_flashes"), declared)

    assert outcome == Merged({"_flashes": [["message", "two"]], "a": 1}, [])
    assert changed_reads(base, theirs, noted(base, "_flashes"), Declared(joined=("_flashes",))) == []


def test_a_declared_key_that_was_only_read_counts_as_read() -> None:
    """A total beside a cart rests on the cart; whoever changes the cart joins it instead."""
    base = {"cart": ["bread"]}
    theirs = {"cart": ["bread", "milk"]}
    declared = Declared(frozenset({"cart"}))

    assert merge(base, theirs, {**base, "total": 1}, noted(base, "cart"), declared) == Stale(["cart"])
    both = merge(base, theirs, {"cart": ["bread", "eggs"]}, noted(base, "cart"), declared)
    assert both == Merged({"cart": ["bread", "milk", "eggs"]}, [])


JOINED: list[tuple[str, Any, Any, Any, Any, list[str]]] = [
    # what is joined, base, theirs, mine, the result, the paths that were overwritten
    ("both appended", [1], [1, 2], [1, 3], [1, 2, 3], []),
    ("both appended the same", [1], [1, 2], [1, 2], [1, 2, 2], []),
    ("I took one away, they another", [1, 2, 3], [1, 2], [2, 3], [2], []),
    ("both took the same away", [1, 2], [2], [2], [2], []),
    ("one of two equal ones", [1, 1], [1, 1, 2], [1], [1, 2], []),
    ("I put one in front", [1], [1, 2], [0, 1], [1, 2, 0], []),
    ("counters", 5, 7, 6, 8, []),
    ("sets", {1, 2}, {1, 2, 3}, {2}, {2, 3}, []),
    ("frozen sets", frozenset({1}), frozenset({1, 2}), frozenset({1, 3}), frozenset({1, 2, 3}), []),
    ("dicts by key", {"x": 1}, {"x": 1, "y": 2}, {"x": 1, "z": 3}, {"x": 1, "y": 2, "z": 3}, []),
    ("counters in a dict", {"x": 1}, {"x": 2}, {"x": 3}, {"x": 4}, []),
    ("deep", {"a": {"b": [1]}}, {"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, {"a": {"b": [1, 2, 3]}}, []),
    ("a deletion beats a change", {"x": 1, "y": 1}, {"x": 2, "y": 1}, {"y": 1}, {"y": 1}, []),
    ("their deletion beats my change", {"x": 1, "y": 1}, {"y": 1}, {"x": 2, "y": 1}, {"y": 1}, []),
    ("text", "a", "b", "c", "c", ["k"]),
    ("text that became the same", "a", "b", "b", "b", []),
    ("flags are no counters", False, True, True, True, []),
    ("other types", 1, "b", 2, 2, ["k"]),
    ("a nested conflict", {"x": "a"}, {"x": "b"}, {"x": "c"}, {"x": "c"}, ["k.x"]),
    ("only they", [1], [2], [1], [2], []),
    ("only I", [1], [1], [2], [2], []),
]


@pytest.mark.parametrize(
    ("base", "theirs", "mine", "result", "overwritten"), [row[1:] for row in JOINED], ids=[row[0] for row in JOINED]
)
def test_declared_keys_are_joined(base: Any, theirs: Any, mine: Any, result: Any, overwritten: list[str]) -> None:
    """Theirs, without what mine took away, with what mine added; where that cannot be, the later write."""
    merged = blind({"k": base}, {"k": theirs}, {"k": mine}, "k")

    assert same(merged.data, {"k": result})
    assert merged.overwritten == overwritten


@pytest.mark.parametrize(
    ("base", "theirs", "mine", "result"),
    [
        ({}, {"k": [1]}, {"k": [2]}, {"k": [1, 2]}),
        ({}, {"k": 1}, {"k": 1}, {"k": 2}),
        ({}, {"k": {"x": 1}}, {"k": {"y": 2}}, {"k": {"x": 1, "y": 2}}),
        ({}, {"k": {1}}, {"k": {2}}, {"k": {1, 2}}),
        ({"k": [1]}, {"k": [1, 2]}, {}, {"k": [2]}),
        ({"k": [1]}, {}, {"k": [1, 2]}, {"k": [2]}),
        ({"k": [1]}, {"k": [1]}, {}, {}),
        ({"k": {"x": 1}}, {"k": {"x": 2}}, {}, {}),
        ({"k": 1}, {"k": 2}, {}, {}),
    ],
)
def test_a_declared_key_that_came_or_went(base: Any, theirs: Any, mine: Any, result: Any) -> None:
    """To delete it is to take away what was in it: a checkout leaves what came late in the cart."""
    assert same(blind(base, theirs, mine, "k").data, result)


@many
@given(base=sessions, mine=sessions)
def test_my_change_alone_is_kept_as_it_is(base: dict[str, Any], mine: dict[str, Any]) -> None:
    """Where they changed nothing, the result is mine, whatever was read."""
    outcome = merge(base, base, mine, noted(base, *base, everything=True), NOTHING)

    assert isinstance(outcome, Merged)
    assert same_but_for_order(outcome.data, mine)


@many
@given(base=sessions, theirs=sessions)
def test_their_change_alone_is_kept_as_it_is(base: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Where I changed nothing, the result is theirs."""
    assert same_but_for_order(blind(base, theirs, base).data, theirs)


@many
@given(base=st.lists(values, max_size=3), theirs=st.lists(values, max_size=3), mine=st.lists(values, max_size=3))
def test_appended_items_are_all_there(base: list[Any], theirs: list[Any], mine: list[Any]) -> None:
    """Two requests that each append keep what both have appended, theirs first."""
    joined = blind({"l": base}, {"l": base + theirs}, {"l": base + mine}, "l")

    assert same_but_for_order(joined.data["l"], base + theirs + mine)
    assert joined.overwritten == []


@many
@given(key=text, base=values, theirs=values, mine=values)
def test_what_is_overwritten_is_named(key: str, base: Any, theirs: Any, mine: Any) -> None:
    """Either both changes are kept, or the path of what is lost is told."""
    merged = blind({key: base}, {key: theirs}, {key: mine}, key)

    assert all(path.startswith(key) for path in merged.overwritten)
    if merged.overwritten == [key]:
        assert same_but_for_order(merged.data, {key: mine})


def test_joining_encodes_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker chooses how deep his session is nested, and how many of his requests meet: each level is looked at once."""
    encoded: list[int] = []
    pack = encoding.pack

    def counted(data: dict[str, Any]) -> bytes:
        packed: bytes = pack(data)
        encoded.append(len(packed))
        return packed

    def nested(depth: int) -> Any:
        value: Any = {"list": ["x" * 200] * 4}
        for number in range(depth):
            value = {"in": value, "beside": [number] * 4}
        return value

    def cost(depth: int) -> int:
        base, theirs, mine = nested(depth), nested(depth), nested(depth)
        theirs["beside"].append(1)
        mine["beside"].append(2)
        encoded.clear()
        join(base, theirs, mine, "k", [])
        return sum(encoded)

    monkeypatch.setattr(encoding, "pack", counted)

    assert cost(60) < 4 * cost(15)


def same_but_for_order(one: Any, other: Any) -> bool:
    """Equal, type by type, whatever the order of keys and NaN."""
    if type(one) is dict and type(other) is dict:
        return sorted(map(repr, one)) == sorted(map(repr, other)) and all(
            same_but_for_order(one[key], other[key]) for key in one
        )
    if type(one) in (list, tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(same_but_for_order, one, other))
    return same(one, other)


@pytest.mark.parametrize(
    ("base", "mine", "kept"),
    [
        ({"cart": ["a"]}, {"cart": ["a", "b"]}, {"cart": ["b"]}),
        ({"cart": ["a"]}, {"cart": ["a"]}, {}),
        ({"cart": {"a": 1}}, {"cart": {"a": 1, "b": 2}}, {"cart": {"b": 2}}),
        ({"cart": 5}, {"cart": 5}, {}),
        ({"cart": 5}, {"cart": "x"}, {"cart": "x"}),
        ({}, {"cart": ["a"]}, {"cart": ["a"]}),
    ],
)
def test_of_a_declared_key_only_what_was_added_was_assigned(
    base: dict[str, Any], mine: dict[str, Any], kept: dict[str, Any]
) -> None:
    """A session that begins in the place of one that was ended takes nothing of it along."""
    for tracking in (None, noted(base)):
        assert assigned_in(mine, base, tracking, Declared(frozenset({"cart"}))) == kept

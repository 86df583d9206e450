"""A session on a store behaves as a dict does, while it notes what was asked for and hides what was not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from tests.kit import Site

from hardtack import Session, StoreEngine, values
from hardtack.adapters import data_of, is_empty, look, peek
from hardtack.session import SENTINEL, Tracked, reveal, state_of
from hardtack.stores.memory import MemoryStore

START = {"a": 1, "b": [2], "c": {"d": 3}}


def loaded() -> Any:
    """A session that was loaded from a store, and of which nobody asked for anything yet."""
    site = Site(StoreEngine(MemoryStore()))
    site.visit(**START)
    session = site.open()
    assert session.subject is None  # which loads it
    assert isinstance(session, Tracked)
    return session


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("iter", list),
    ("reversed", lambda data: list(reversed(data))),
    ("keys", lambda data: list(data.keys())),
    ("keys-reversed", lambda data: list(reversed(data.keys()))),
    ("keys-set", lambda data: data.keys() & {"a", "z"}),
    ("keys-in", lambda data: ("a" in data.keys(), "z" in data.keys())),  # noqa: SIM118
    ("values", lambda data: list(data.values())),
    ("items", lambda data: list(data.items())),
    ("len", len),
    ("bool", bool),
    ("copy", lambda data: data.copy()),
    ("dict", dict),
    ("star", lambda data: {**data}),
    ("json", json.dumps),
    ("get", lambda data: (data.get("a"), data.get("z"), data.get("z", 5))),
    ("in", lambda data: ("a" in data, "z" in data)),
    ("pop", lambda data: (data.pop("a"), data.pop("z", 7), dict(data))),
    ("popitem", lambda data: (data.popitem(), data.popitem(), dict(data))),
    ("setdefault", lambda data: (data.setdefault("a", 5), data.setdefault("z", 5), dict(data))),
    ("update", lambda data: (data.update({"z": 1}, a=2), dict(data))),
    ("update-pairs", lambda data: (data.update([("z", 1)]), dict(data))),
    ("del", lambda data: (data.__delitem__("b"), dict(data))),
    ("or", lambda data: data | {"a": 9}),
    ("ror", lambda data: {"z": 9} | data),
    ("ior", lambda data: dict(data.__ior__({"z": 9}))),
    ("eq", lambda data: (data == START, data == {}, data != START, dict(START) == data)),
    ("order-after-writes", lambda data: (data.__setitem__("z", 1), data.__setitem__("a", 2), list(data))),
    ("read-then-all", lambda data: (data["b"], list(data.items()))),
]


@pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])
def test_it_behaves_as_a_dict(call: Callable[[Any], Any]) -> None:
    """In what it returns, in its order, and in what it holds afterwards."""
    session, plain = loaded(), {"a": 1, "b": [2], "c": {"d": 3}}

    assert call(session) == call(plain)
    assert dict(session) == plain
    assert list(session) == list(plain)


@pytest.mark.parametrize(
    "call",
    [lambda data: data["z"], lambda data: data.pop("z"), lambda data: data.__delitem__("z")],
    ids=["item", "pop", "del"],
)
def test_a_missing_key_is_a_key_error(call: Callable[[Any], Any]) -> None:
    """With its name."""
    with pytest.raises(KeyError, match="z"):
        call(loaded())


def test_an_empty_one_has_nothing_to_pop() -> None:
    """As a dict."""
    session = loaded()
    for name in START:
        del session[name]

    with pytest.raises(KeyError, match="empty"):
        session.popitem()


def test_two_sessions_are_compared_by_all_that_they_hold() -> None:
    """Also where nobody has asked for any of it."""
    one, other = loaded(), loaded()

    assert one == other
    del other["a"]
    assert one != other


def test_it_is_shown_with_all_that_it_holds() -> None:
    """For whoever debugs."""
    assert repr(loaded()) == str(loaded()) == f"<Session {START!r}>"


def test_it_has_no_hash() -> None:
    """As a dict."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(loaded())


def test_code_that_reads_past_the_methods_fails_loudly() -> None:
    """It could not be noted: better no page than one whose save is judged by less than it has read."""
    with pytest.raises(TypeError):
        msgspec.json.encode(loaded())

    session = loaded()
    assert msgspec.json.decode(msgspec.json.encode(dict(session))) == START


@pytest.mark.parametrize(
    ("reads", "other_writes", "kept"),
    [
        (lambda data: data.get("z"), {"z": 1}, False),
        (lambda data: data.get("z"), {"y": 1}, True),
        (lambda data: "z" in data, {"z": 1}, False),
        (list, {"z": 1}, False),
        (list, {"a": 5}, True),
        (len, {"z": 1}, False),
        (len, {"a": 5}, True),
        (lambda data: data.items(), {"a": 5}, False),
        (lambda data: data.values(), {"c": {}}, False),
        (lambda data: data["b"], {"b": [3]}, False),
        (lambda data: data["b"], {"b": [2]}, True),
        (lambda data: data.setdefault("b", []), {"b": []}, False),
        (lambda data: None, {"a": 5, "z": 1}, True),
    ],
)
def test_a_change_is_kept_where_what_was_read_still_holds(
    reads: Callable[[Any], Any], other_writes: dict[str, Any], *, kept: bool
) -> None:
    """Compared by value, and names are not values."""
    site = Site(StoreEngine(MemoryStore()))
    site.visit(**START)
    session, other = site.open(), site.open()
    reads(session)
    session["mine"] = True
    other.update(other_writes)
    site.commit(other)

    changes = site.commit(session)

    assert changes.dropped == ("" if kept else "stale")
    expected = {**START, **other_writes, **({"mine": True} if kept else {})}
    assert dict(site.open()) == expected


def test_a_passive_request_moves_no_deadline() -> None:
    """A page that polls is no activity of the user."""
    site = Site(StoreEngine(MemoryStore()), idle_timeout="1 hour")
    site.visit(n=1)
    found = []
    for _ in range(3):
        site.clock.now += 1_200
        session = site.open()
        session.passive()
        found.append(session.get("n"))
        site.commit(session)

    assert found == [1, 1, None]


# --- several threads of one request


class Met(str):
    """A name at whose nth use something else happens first, as if another thread came in between."""

    def meets(self, nth: int, action: Callable[[], object]) -> Met:
        self.left, self.action = nth, action
        return self

    def __hash__(self) -> int:
        self.left -= 1
        if self.left == 0:
            self.action()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


@pytest.mark.parametrize(
    "theirs",
    [lambda session: session["b"], lambda session: session.get("b"), dict, list, len, lambda session: data_of(session)],
    ids=["item", "get", "dict", "list", "len", "save"],
)
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        (lambda session, name: session[name], [2]),
        (lambda session, name: session.get(name), [2]),
        (lambda session, name: name in session, True),
    ],
    ids=["item", "get", "in"],
)
def test_what_another_thread_reads_meanwhile_is_still_there(
    mine: Callable[[Any, Any], Any], expected: Any, nth: int, theirs: Callable[[Any], object]
) -> None:
    """Nothing looks missing, and nothing fails, wherever the other comes in between."""
    session = loaded()

    name = Met("b").meets(nth, lambda: theirs(session))

    found = mine(session, name)
    name.left = 0

    assert found == expected
    assert dict(session) == {"a": 1, "b": [2], "c": {"d": 3}}


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_what_another_thread_assigns_meanwhile_stays(nth: int) -> None:
    """Who reads at the same time must not put back what was there before."""
    session = loaded()

    session.get(Met("b").meets(nth, lambda: session.__setitem__("b", 5)))

    assert data_of(session)["b"] == 5


@pytest.mark.parametrize(
    "read",
    [
        lambda session: session["z"],
        lambda session: session.get("z"),
        lambda session: "z" in session,
        lambda session: data_of(session)["z"],
    ],
)
def test_a_key_is_looked_for_again_where_the_session_was_put_together_meanwhile(read: Callable[[Any], Any]) -> None:
    """While all of it is put into its storage, a key is in neither place for a moment."""
    session = loaded()
    tracking: Any = state_of(session).tracking

    class Gone(dict[str, Any]):
        """What is hidden, before another thread has put all in its place."""

        def _leave(self) -> None:
            tracking.hidden = {"z": 7}

        def get(self, name: str, default: Any = None) -> Any:
            self._leave()
            return default

        def __iter__(self) -> Iterator[str]:
            return iter(self.keys())

        def keys(self) -> Any:
            self._leave()
            return ()

        def __contains__(self, name: object) -> bool:
            self._leave()
            return False

    tracking.hidden = Gone()

    assert read(session) in (7, True)


def test_what_is_not_loaded_is_no_key() -> None:
    """What stands for it in the dict's own storage is nobody's to ask for."""
    assert SENTINEL not in loaded()


def test_two_threads_put_a_session_together_once() -> None:
    """The second finds it done when its turn comes."""
    session = loaded()
    state = state_of(session)
    given = state.lock

    class Later:
        """The lock of the first thread, which is done when the second gets it."""

        def __enter__(self) -> None:
            state.lock = given
            reveal(session)

        def __exit__(self, *details: object) -> None:
            pass

    lock: Any = Later()
    state.lock = lock
    reveal(session)

    assert list(dict.items(session)) == list(START.items())


def test_threads_read_one_session() -> None:
    """One by key, one as a whole, one by names: each sees all that is there, and so does the commit."""
    names = [f"k{number}" for number in range(60)]
    site = Site(StoreEngine(MemoryStore()))
    site.visit(**dict.fromkeys(names, 1))
    before, wrong = sys.getswitchinterval(), []
    readers: list[Callable[[Any], bool]] = [
        lambda session: all(session.get(name) == 1 for name in names),
        lambda session: all(session[name] == 1 for name in reversed(names)),
        lambda session: dict(session) == dict.fromkeys(names, 1),
        lambda session: len(session) == 60 and list(session) == names,
        lambda session: data_of(session) == dict.fromkeys(names, 1),
    ]
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(readers)) as pool:
            for _ in range(30):
                session = site.open()
                session.get("k0")
                wrong += [
                    n for n, found in enumerate(pool.map(lambda read, it=session: read(it), readers)) if not found
                ]
    finally:
        sys.setswitchinterval(before)

    assert wrong == []


def _added_by_hand(session: Any) -> None:
    dict.__setitem__(session, "z", 5)


def _removed_by_hand(session: Any) -> None:
    assert session["a"] == 1
    dict.pop(session, "a")


def _replaced_by_hand(session: Any) -> None:
    assert session["a"] == 1
    dict.__setitem__(session, "a", 2)


CHANGES: list[tuple[str, Callable[[Any], Any], dict[str, Any]]] = [
    ("what was asked for", lambda session: session["b"].append(3), {"b": [2, 3]}),
    ("what was asked for with get", lambda session: session.get("c").update(e=4), {"c": {"d": 3, "e": 4}}),
    ("what an adapter asked for", lambda session: peek(session, "b").append(3), {"b": [2, 3]}),
    ("what an adapter took all of", lambda session: data_of(session)["b"].append(3), {"b": [2, 3]}),
    (
        "what a loop was over",
        lambda session: next(value for value in session.values() if value == [2]).append(3),
        {"b": [2, 3]},
    ),
    ("past the methods: another value", _replaced_by_hand, {"a": 2}),
    ("past the methods: one more", _added_by_hand, {"z": 5}),
    ("past the methods: one less", _removed_by_hand, {"a": None}),
]


@pytest.mark.parametrize("late", [False, True], ids=["before the commit", "after it"])
@pytest.mark.parametrize(("change", "kept"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_no_change_is_missed_by_who_did_not_ask_for_all(
    change: Callable[[Any], Any], kept: dict[str, Any], late: bool
) -> None:
    """A commit looks at nothing that nobody has asked for; whatever could be changed all the same is compared."""
    site = Site(StoreEngine(MemoryStore()))
    site.visit(a=1, b=[2], c={"d": 3})
    session = site.open()
    assert "a" in session
    if late:
        site.sessions.commit(session)
    change(session)
    if not late:
        site.sessions.commit(session)
    site.sessions.finish(session)

    found = site.open()
    assert {name: found.get(name) for name in kept} == kept


def test_a_look_of_an_adapter_before_it_is_loaded_is_one_that_could_change_it() -> None:
    """The mapping that `look` returns is what the session holds, with what is nested in it."""
    site = Site(StoreEngine(MemoryStore()))
    site.visit(b=[2])
    session = site.open()
    look(session)["b"].append(3)
    assert "a" not in session
    site.sessions.commit(session)

    assert site.open()["b"] == [2, 3]


def test_what_was_only_read_is_not_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers and text cannot have changed, and what nobody has asked for neither: a commit does not look at them."""
    site = Site(StoreEngine(MemoryStore()))
    site.visit(a=1, b=[2], name="alice")
    session = site.open()
    assert (session["a"], session.get("name"), session.get("z")) == (1, "alice", None)

    def fail(*_: Any) -> None:
        raise AssertionError("it was packed")

    monkeypatch.setattr(values, "pack_unless", fail)
    monkeypatch.setattr(values, "is_packed_as", fail)
    assert site.sessions.commit(session).set_cookies == []
    site.sessions.finish(session)
    assert dict(session) == {"a": 1, "b": [2], "name": "alice"}


def test_whether_a_session_is_empty_is_no_look() -> None:
    """What an adapter asks for itself is noted by nobody."""
    session = loaded()

    assert not is_empty(session)
    assert session._state.tracking.noted == set()
    assert is_empty(Session())
    assert not is_empty(Session({"a": 1}))

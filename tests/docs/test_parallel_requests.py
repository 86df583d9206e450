"""What the tables of docs/parallel-requests.md say is so; what its examples show runs with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.kit import Site

from hardtack import Request, Session, StoreEngine
from hardtack.errors import SessionConflict
from hardtack.events import Conflict
from hardtack.stores.memory import MemoryStore

POST = Request(method="POST")


def site_with(data: dict[str, Any], **settings: Any) -> Site:
    """A site with a stored session."""
    site = Site(StoreEngine(MemoryStore(), **settings))
    site.visit(**data)
    return site


def dropped_after(site: Site, mine: Callable[[Any], Any], theirs: Callable[[Any], Any]) -> str:
    """Why a request was not saved that did `mine`, and then wrote, while another did `theirs`."""
    one, other = site.open(), site.open()
    mine(one)
    one["written"] = True
    theirs(other)
    site.sessions.commit(other)
    return site.sessions.commit(one).dropped


@dataclass
class Fields:
    """A type for `view`."""

    a: int = 0


def assign(name: str, value: object) -> Callable[[Any], Any]:
    return lambda session: session.__setitem__(name, value)


READS: list[tuple[str, Callable[[Any], Any], dict[str, str]]] = [
    ("session['a']", lambda session: session["a"], {"value": "stale", "new": "", "exchange": ""}),
    ("get of what is not there", lambda session: session.get("new"), {"value": "", "new": "stale", "exchange": ""}),
    ("in", lambda session: "new" in session, {"value": "", "new": "stale", "exchange": ""}),
    ("view", lambda session: session.view(Fields), {"value": "stale", "new": "", "exchange": ""}),
    ("iteration", list, {"value": "", "new": "stale", "exchange": "stale"}),
    ("keys", lambda session: list(session.keys()), {"value": "", "new": "stale", "exchange": "stale"}),
    ("len", len, {"value": "", "new": "stale", "exchange": ""}),
    ("bool", bool, {"value": "", "new": "stale", "exchange": ""}),
    ("items", lambda session: list(session.items()), {"value": "stale", "new": "stale", "exchange": "stale"}),
    ("copy", lambda session: session.copy(), {"value": "stale", "new": "stale", "exchange": "stale"}),
    (
        "repr",
        lambda session: (session.get("seen"), repr(session)),
        {"value": "stale", "new": "stale", "exchange": "stale"},
    ),
    (
        "assigned before",
        lambda session: (assign("a", 5)(session), session["a"]),
        {"value": "", "new": "", "exchange": ""},
    ),
    ("nothing", lambda session: None, {"value": "", "new": "", "exchange": ""}),
]


def exchange(session: Any) -> None:
    """Another name in the place of one: as many as before."""
    session["c"] = 1
    del session["b"]


@pytest.mark.parametrize(("read", "answers"), [case[1:] for case in READS], ids=[case[0] for case in READS])
@pytest.mark.parametrize("change", ["value", "new", "exchange"])
def test_what_counts_as_read(read: Callable[[Any], Any], answers: dict[str, str], change: str) -> None:
    """A key, the names, their number, or everything: as the page's table says."""
    theirs = {"value": assign("a", 2), "new": assign("new", 1), "exchange": exchange}[change]

    assert dropped_after(site_with({"a": 1, "b": 1}), read, theirs) == answers[change]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", None])
def test_a_stale_request_under_a_safe_method_is_dropped_without_an_error(method: str | None) -> None:
    """The response goes out without a cookie, an event says what was read, and further changes raise."""
    site = site_with({"a": 1})
    one = site.sessions.open(site.jar.header, None if method is None else Request(method=method))
    one["a"] += 1
    site.visit(a=7)

    changes = site.sessions.commit(one)

    assert (changes.dropped, changes.set_cookies) == ("stale", [])
    assert [(event.outcome, event.paths) for event in site.told(Conflict)] == [("stale", ("a",))]
    with pytest.raises(SessionConflict):
        one["a"] = 3
    assert site.open()["a"] == 7


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "MKCOL"])
def test_a_stale_request_under_an_unsafe_method_is_an_error(method: str) -> None:
    """No browser is told "added"."""
    site = site_with({"a": 1})
    one = site.sessions.open(site.jar.header, Request(method=method))
    one["a"] += 1
    site.visit(a=7)

    with pytest.raises(SessionConflict) as caught:
        site.sessions.commit(one)

    assert caught.value.paths == ("a",)


@pytest.mark.parametrize("change", [Session.regenerate, lambda session: session.confirm("totp")])
def test_a_stale_change_of_the_id_is_an_error_under_any_method(change: Callable[[Any], Any]) -> None:
    """Neither shows a credential."""
    site = Site(StoreEngine(MemoryStore()))
    session = site.open()
    session["a"] = 1
    session.login("alice")
    site.commit(session)
    one = site.open()
    one["a"] += 1
    change(one)
    site.visit(a=7)

    with pytest.raises(SessionConflict):
        site.sessions.commit(one)


def test_a_stale_login_counts() -> None:
    """It begins with the data of its request as a whole."""
    site = site_with({"a": 1, "b": 1})
    one = site.sessions.open(site.jar.header, POST)
    one["a"] += 1
    one.login("alice")
    site.visit(a=7, b=7)

    site.commit(one)

    assert (dict(site.open()), site.open().subject) == ({"a": 2, "b": 1}, "alice")


JOINED: list[tuple[Any, Any, Any, Any]] = [
    (["x", "y"], ["x", "y", "t"], ["y", "m", "m"], ["y", "t", "m", "m"]),
    ({"x": {"n": 1}}, {"x": {"n": 1, "t": 1}}, {"x": {"n": 1, "m": 1}}, {"x": {"n": 1, "t": 1, "m": 1}}),
    ({"x", "y"}, {"x", "y", "t"}, {"y", "m"}, {"y", "t", "m"}),
    (5, 6, 6, 7),
    ("begun", "theirs", "mine", "mine"),
    (["x"], ["x", "late"], None, ["late"]),
    ("begun", "theirs", None, None),
]


@pytest.mark.parametrize(("begun", "theirs", "mine", "joined"), JOINED)
def test_how_declared_keys_are_joined(begun: Any, theirs: Any, mine: Any, joined: Any) -> None:
    """As the page's table says; None stands for a deletion."""
    site = site_with({"key": begun}, merge=["key"])
    one, other = site.open(), site.open()
    other["key"] = theirs
    if mine is None:
        del one["key"]
    else:
        one["key"] = mine
    site.commit(other)

    assert site.sessions.commit(one).dropped == ""

    assert site.open().get("key") == joined


def test_a_declared_key_that_is_only_read_counts_as_read() -> None:
    """What was decided by it may be wrong by now."""
    site = site_with({"cart": ["bread"]}, merge=["cart"])

    assert dropped_after(site, lambda session: session["cart"], assign("cart", [])) == "stale"


def ended(site: Site, *, moved: bool) -> str:
    """The header that a browser still sends whose session was ended, or got a new id."""
    old = site.jar.header
    session = site.open()
    if moved:
        session.regenerate()
    else:
        session.logout()
    site.commit(session)
    return old


@pytest.mark.parametrize("moved", [True, False])
def test_what_was_loaded_before_is_not_saved_afterwards(moved: bool) -> None:
    """Nor does it set a cookie; under an unsafe method that is an error."""
    site = site_with({"a": 1})
    quiet, loud = site.open(), site.sessions.open(site.jar.header, POST)
    for session in (quiet, loud):
        session["late"] = True
    ended(site, moved=moved)

    changes = site.sessions.commit(quiet)

    assert (changes.dropped, changes.set_cookies) == ("dead", [])
    with pytest.raises(SessionConflict):
        site.sessions.commit(loud)


@pytest.mark.parametrize(("moved", "seconds", "dropped"), [(True, 9, "dead"), (True, 10, ""), (False, 0, "")])
def test_what_arrives_with_a_dead_id(moved: bool, seconds: int, dropped: str) -> None:
    """It is nobody's; soon after a change of the id what it puts in is not saved, later and after an end it is."""
    site = site_with({"a": 1})
    old = ended(site, moved=moved)
    site.clock.now += seconds
    session = site.sessions.open(old)

    assert dict(session) == {}
    session["new"] = 1
    changes = site.sessions.commit(session)

    assert (changes.dropped, bool(changes.set_cookies)) == (dropped, not dropped)


def test_a_login_from_a_session_that_was_ended_takes_along_what_it_assigned() -> None:
    """And nothing that it loaded."""
    site = site_with({"a": 1})
    one = site.sessions.open(site.jar.header, POST)
    assert one["a"] == 1
    one["b"] = 2
    one.login("alice")
    ended(site, moved=False)

    site.commit(one)

    assert (dict(site.open()), site.open().subject) == ({"b": 2}, "alice")


def test_a_new_id_for_a_session_that_was_ended_is_nobodys() -> None:
    """`regenerate` shows no credential."""
    site = Site(StoreEngine(MemoryStore()))
    session = site.open()
    session["a"] = 1
    session.login("alice")
    site.commit(session)
    one = site.open()
    one["b"] = 2
    one.regenerate()
    ended(site, moved=False)

    site.commit(one)

    assert (dict(site.open()), site.open().subject) == ({"b": 2}, None)


def test_a_logout_follows_to_the_new_id() -> None:
    """Whoever clicks "Log out" is logged out."""
    site = site_with({"a": 1})
    leaving = site.open()
    leaving.logout()
    ended(site, moved=True)

    site.sessions.commit(leaving)

    assert dict(site.open()) == {}


def test_an_abort_ends_what_the_handler_ended_and_saves_nothing() -> None:
    """A login that failed ends nobody's session."""
    site = site_with({"a": 1})
    logout, login = site.open(), site.open()
    login.login("bob")
    login["b"] = 1

    assert site.sessions.abort(login).set_cookies == []
    assert dict(site.open()) == {"a": 1}
    logout.logout()
    assert "Max-Age=0" in site.sessions.abort(logout).set_cookies[0]
    assert dict(site.open()) == {}


def test_a_value_is_taken_once() -> None:
    """Of two requests that take it at once the second is told."""
    site = Site(StoreEngine(MemoryStore()))
    session = site.open()
    name = session.once.put("state")
    site.commit(session)
    one, other = site.open(), site.open()
    assert one.once.take(name) == other.once.take(name) == "state"
    site.sessions.commit(one)

    with pytest.raises(SessionConflict):
        site.sessions.commit(other)

"""The contract of an engine as a pytest class: inherit it, give it one fixture, and your engine or store is tested.

    import pytest
    from hardtack import StoreEngine
    from hardtack.testing import EngineContract

    class TestMyStoreInAnEngine(EngineContract):
        @pytest.fixture
        def engine(self):
            return StoreEngine(MyStore())

Each test closes the engine, and its store with it. The tests go through a `SessionManager`, as an application does. An
engine whose store only async code can reach is driven on an event loop in another thread; set `asynchronous = True` to
drive any other in the same way.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from hardtack._extras import explain
from hardtack.changes import Changes
from hardtack.ended import EndedSessions
from hardtack.events import Destroyed, Event, Expired, IdChanged
from hardtack.manager import SessionManager
from hardtack.protocols import is_async
from hardtack.session import Session

try:
    import pytest
    from anyio.from_thread import BlockingPortal, start_blocking_portal
except ImportError as error:
    message = explain("hardtack.testing", "testing", error)
    raise ImportError(message) from error

START = 4_000_000_000
"""Where the clock of the tests stands: far ahead, so that a store which looks at the real clock forgets nothing."""

LIFETIME = 10_000
IDLE_TIMEOUT = 1_000

EVERY_TYPE: dict[str, Any] = {
    "none": None,
    "bool": True,
    "int": 2**80,
    "float": -0.0,
    "str": "Zoë 北京 \x00",
    "bytes": bytes(range(256)),
    "nested": {"list": [1, (2, "two"), {"three": [3]}], 7: "an int key"},
    "sets": [{1, 2}, frozenset({"a"})],
    "times": [dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC), dt.date(2024, 2, 29), dt.time(1, 2), dt.timedelta(-1)],
    "others": [Decimal("1.10"), UUID(int=5)],
}

MALFORMED = (
    "",
    "x",
    "=",
    "A" * 43,
    "A" * 100_000,
    '"quoted"',
    "%00%ff",
    "\xff\x00",
    "../../etc/passwd",
    "e30.e30.e30",
    "-" * 300,
)
"""Values of a cookie that no engine has made."""


class Site:
    """One manager and one browser: what the tests of the contract work with."""

    def __init__(self, engine: Any, portal: BlockingPortal | None, ended: EndedSessions | None = None) -> None:
        self.now = START
        self.events: list[Event] = []
        self.cookies: dict[str, str] = {}
        self.sessions = SessionManager(
            engine,
            lifetime=LIFETIME,
            idle_timeout=IDLE_TIMEOUT,
            ended=ended,
            on_event=self.events.append,
            clock=lambda: self.now,
        )
        self._portal = portal

    @property
    def header(self) -> str:
        """What the browser sends."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def open(self, header: str | None = None) -> Session:
        """The session that a Cookie header opens: the browser's, if nothing else is said."""
        header = self.header if header is None else header
        if self._portal is None:
            return self.sessions.open(header)
        return self._portal.call(self.sessions.aopen, header)

    def commit(self, session: Session) -> Changes:
        """The response, which the browser takes."""
        if self._portal is None:
            changes = self.sessions.commit(session)
            self.sessions.finish(session)
        else:
            changes = self._portal.call(self.sessions.acommit, session)
            self._portal.call(self.sessions.afinish, session)
        for line in changes.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0;" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return changes

    def visit(self, **data: Any) -> Session:
        """A request that opens the session, changes it and commits it."""
        session = self.open()
        session.update(data)
        self.commit(session)
        return session

    def told(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if type(event) is kind]


class EngineContract:
    """What every engine must do. The class that inherits it has a fixture `engine`, which returns the engine.

    Attributes:
        asynchronous: whether the manager's async methods are tested, where both kinds would do.
    """

    asynchronous: ClassVar[bool] = False

    @pytest.fixture
    def ended(self) -> EndedSessions | None:
        """The list of ended sessions of the manager: none; a class that tests one returns it."""
        return None

    @pytest.fixture
    def site(self, engine: Any, ended: EndedSessions | None) -> Iterator[Site]:
        """A manager on the engine, and a browser."""
        if not self.asynchronous and (engine.store is None or not is_async(engine.store)):
            site = Site(engine, None, ended)
            yield site
            site.sessions.close()
            return
        with start_blocking_portal() as portal:
            site = Site(engine, portal, ended)
            yield site
            portal.call(site.sessions.aclose)

    def test_a_session_comes_back_as_it_was_stored(self, site: Site) -> None:
        """Data of every type, with its type, under one id."""
        before = site.visit(**EVERY_TYPE)

        after = site.open()

        assert repr(sorted(after.items())) == repr(sorted(EVERY_TYPE.items()))
        assert after.id == before.id
        assert not after.is_new

    def test_reading_never_creates(self, site: Site) -> None:
        """A request that only looks stores nothing and sets no cookie, however it looks."""
        session = site.open()

        assert session.is_new
        assert (session.get("a"), len(session), session.subject, bool(session.id)) == (None, 0, None, True)
        assert site.commit(session).set_cookies == []
        assert site.events == []

    def test_nothing_is_sent_where_nothing_changed(self, site: Site) -> None:
        """A request that reads, or puts back what was there, sets no cookie."""
        site.visit(a=[1])
        session = site.open()
        session["a"] = [1]

        assert site.commit(session).set_cookies == []
        assert dict(site.open()) == {"a": [1]}

    def test_a_nested_change_is_saved(self, site: Site) -> None:
        """Nothing needs to be marked."""
        site.visit(cart={"items": []})
        session = site.open()
        session["cart"]["items"].append("bread")
        site.commit(session)

        assert dict(site.open()) == {"cart": {"items": ["bread"]}}

    def test_a_session_that_was_emptied_is_ended(self, site: Site) -> None:
        """The browser's cookie is cleared."""
        site.visit(a=1)
        session = site.open()
        session.clear()
        site.commit(session)

        assert site.cookies == {}
        assert site.told(Destroyed) != []

    def test_regenerate_keeps_the_data_under_a_new_id(self, site: Site) -> None:
        """Creation time and data stay; the engine says truly whether the old cookie still opens anything."""
        before = site.visit(a=1)
        old = site.header
        site.now += 10
        session = site.open()
        session.regenerate()
        site.commit(session)

        after = site.open()

        assert after.id not in ("", before.id)
        assert dict(after) == {"a": 1}
        assert after.created_at == before.created_at
        assert bool(dict(site.open(old))) == site.sessions.core.old_still_valid
        assert site.told(IdChanged) == [IdChanged(before.id, after.id, site.sessions.core.old_still_valid)]

    def test_login_keeps_the_data_and_changes_the_id(self, site: Site) -> None:
        """The cart is there after the login, under an id that nobody knew before, and belongs to the user."""
        before = site.visit(cart=["bread"])
        site.now += 10
        session = site.open()
        session.login("alice")
        site.commit(session)

        after = site.open()

        assert after.id != before.id
        assert dict(after) == {"cart": ["bread"]}
        assert (before.subject, after.subject) == (None, "alice")
        assert after.authenticated_at == dt.datetime.fromtimestamp(site.now, dt.UTC)

    def test_login_of_another_user_drops_the_data(self, site: Site) -> None:
        """What belonged to one user is not shown to the next."""
        for subject in ("alice", "bob"):
            session = site.open()
            session.login(subject)
            assert dict(session) == {}
            session["secret"] = subject
            site.commit(session)

        assert (site.open().subject, dict(site.open())) == ("bob", {"secret": "bob"})

    def test_logout_ends_the_session(self, site: Site) -> None:
        """Data gone, cookie cleared; the engine says truly whether a copy of the cookie still opens anything."""
        site.visit(a=1)
        old = site.header
        session = site.open()
        session.logout()
        site.commit(session)

        assert site.cookies == {}
        assert dict(session) == {}
        assert bool(dict(site.open(old))) == site.sessions.core.old_still_valid
        assert [event.old_still_valid for event in site.told(Destroyed)] == [site.sessions.core.old_still_valid]

    def test_what_was_ended_stays_dead(self, site: Site) -> None:
        """Where the server ends sessions, a request that began before the logout saves nothing and sets no cookie."""
        site.visit(a=1)
        old = site.header
        slow, leaving = site.open(), site.open()
        slow["late"] = 1
        leaving.logout()
        site.commit(leaving)

        changes = site.commit(slow)

        if not site.sessions.core.old_still_valid:
            assert changes.set_cookies == []
            assert dict(site.open(old)) == {}
            assert site.cookies == {}
        assert site.open().get("late") == (1 if site.sessions.core.old_still_valid else None)

    def test_a_request_can_begin_anew_after_a_logout(self, site: Site) -> None:
        """The same request may start another session, under another id, which has none of the data."""
        before = site.visit(a=1)
        session = site.open()
        session.logout()
        session["b"] = 2
        site.commit(session)

        after = site.open()

        assert dict(after) == {"b": 2}
        assert after.id != before.id

    def test_parallel_changes_of_a_stored_session_are_merged(self, site: Site) -> None:
        """Two requests load the same state and change other keys: on a store both changes are there, in a cookie the last."""
        site.visit(cart=["bread"], prefs={"theme": "dark"})
        one, two = site.open(), site.open()
        one["cart"].append("milk")
        two["prefs"]["lang"] = "de"
        site.commit(one)
        site.commit(two)

        after = dict(site.open())

        cart = ["bread"] if site.sessions.engine.store is None else ["bread", "milk"]
        assert after == {"cart": cart, "prefs": {"theme": "dark", "lang": "de"}}

    def test_a_change_of_what_another_request_changed_is_not_laid_over_it(self, site: Site) -> None:
        """Two requests read and change one key: on a store the later one is told that it was dropped, and nothing is torn."""
        site.visit(n=1)
        one, two = site.open(), site.open()
        one["n"] += 1
        two["n"] += 10
        two["other"] = True
        site.commit(one)
        changes = site.commit(two)

        after = dict(site.open())

        stored = site.sessions.engine.store is not None
        assert changes.dropped == ("stale" if stored else "")
        assert after == ({"n": 2} if stored else {"n": 11, "other": True})

    def test_the_idle_deadline(self, site: Site) -> None:
        """A session that is used lives on; one that is not is gone at its deadline, to the second."""
        site.visit(a=1)
        site.now += IDLE_TIMEOUT - 1
        site.visit()
        site.now += IDLE_TIMEOUT - 1

        before = dict(site.open())
        site.now += 1
        after = dict(site.open())

        assert (before, after) == ({"a": 1}, {})
        assert [event.deadline for event in site.told(Expired)] == ["idle"]

    def test_the_absolute_deadline(self, site: Site) -> None:
        """Use does not move it: neither renewals nor a new id."""
        site.visit(a=1)
        for _ in range(LIFETIME // (IDLE_TIMEOUT // 2) - 1):
            site.now += IDLE_TIMEOUT // 2
            session = site.open()
            session.regenerate()
            site.commit(session)
        site.now = START + LIFETIME - 1

        before = dict(site.open())
        site.now += 1
        after = dict(site.open())

        assert (before, after) == ({"a": 1}, {})
        assert [event.deadline for event in site.told(Expired)] == ["absolute"]

    @pytest.mark.parametrize("value", MALFORMED, ids=range(len(MALFORMED)))
    def test_a_malformed_cookie_never_raises(self, site: Site, value: str) -> None:
        """The request gets a new, empty session, which can be stored, under an id of its own."""
        name = site.sessions.cookie.name
        for header in (f"{name}={value}", f"{name}={value}; {name}={value[::-1]}", f"{name}.0={value}", value):
            session = site.open(header)
            assert dict(session) == {}
            session["a"] = 1
            site.commit(session)
            assert dict(site.open()) == {"a": 1}
            assert site.cookies[name] != value

    def test_a_cookie_that_was_changed_opens_nothing(self, site: Site) -> None:
        """Whatever character of it: there is one spelling, and no session under another."""
        site.visit(a=1)
        name = site.sessions.cookie.name
        value = site.cookies[name]

        for position in (0, 1, len(value) // 2, len(value) - 2, len(value) - 1):
            other = "A" if value[position] != "A" else "B"
            changed = f"{value[:position]}{other}{value[position + 1 :]}"
            assert dict(site.open(f"{name}={changed}")) == {}
        assert dict(site.open(f"{name}={value}A")) == dict(site.open(f"{name}={value[:-1]}")) == {}

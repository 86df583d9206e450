"""A live site moves from one engine of ours to another: what goes on, what ends, and what an old cookie can no longer do."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kit import KEY, OTHER_KEY, START, Clock, Jar, NoKeys

from hardtack import (
    Cookie,
    CookieEngine,
    EncryptedToken,
    Key,
    Keyring,
    SessionManager,
    SignedToken,
    StoreEngine,
    values,
)
from hardtack import record as records
from hardtack.adapters import blocks, waits
from hardtack.binding import DeviceBinding
from hardtack.ended import EndedSessions
from hardtack.errors import ConfigError, SessionConflict, SessionNotLoaded, SessionTooLarge, StoreFull, StoreUnavailable
from hardtack.events import Expired, Rejected, StoreFailed, TakenOver
from hardtack.foreign.flask import FlaskCookie
from hardtack.protocols import Entry, VersionConflict
from hardtack.record import LEFT, MOVED
from hardtack.request import Request
from hardtack.stores.file import FileStore
from hardtack.stores.memory import MemoryStore

DAY = 86400
NAME = "__Host-Http-session"


class Store(MemoryStore):
    """Forgets by the clock of the test."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def get(self, key: str) -> Entry | None:
        self._forget_expired(self._clock())
        return super().get(key)

    def count(self, subject: str | None = None) -> int:
        self._forget_expired(self._clock())
        return super().count(subject)

    def only(self) -> tuple[str, Entry]:
        """The key of the one entry, and the entry."""
        (key,) = self._slots
        entry = self.get(key)
        assert entry is not None
        return key, entry


class Place:
    """The engines of one test, each made once, and a clock, a list of events and a browser for all of their managers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        self.jar = Jar()
        self.stores = {name: Store(self.clock) for name in ("store", "other", "sealed")}
        self.engines: dict[str, Callable[[], Any]] = {
            "cookie": lambda: CookieEngine(KEY),
            "signed": lambda: CookieEngine(SignedToken(KEY)),
            "chunked": lambda: CookieEngine(Keyring(OTHER_KEY), overflow="chunk"),
            "store": lambda: StoreEngine(self.stores["store"]),
            "other": lambda: StoreEngine(self.stores["other"]),
            "sealed": lambda: StoreEngine(self.stores["sealed"], seal=KEY),
        }

    def manager(self, name: str, *accepted: str, **options: Any) -> SessionManager:
        options.setdefault("lifetime", "14 days")
        return SessionManager(
            self.engines[name](),
            accept=[self.engines[each]() for each in accepted],
            clock=self.clock,
            on_event=self.events.append,
            **options,
        )

    def login(self, sessions: SessionManager, subject: str = "alice", **data: Any) -> Any:
        session = sessions.open(self.jar.header)
        session.login(subject)
        session.update(data)
        self.jar.take(sessions.commit(session))
        return session

    def visit(self, sessions: SessionManager, header: str | None = None, **data: Any) -> Any:
        session = sessions.open(self.jar.header if header is None else header)
        session.update(data)
        changes = sessions.commit(session)
        if header is None:
            self.jar.take(changes)
        return session

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if type(event) is Rejected]


@pytest.fixture
def place() -> Place:
    return Place()


ENGINES = ["cookie", "signed", "chunked", "store", "other", "sealed"]
PAIRS = [(old, new) for old in ENGINES for new in ENGINES if old != new]
CROSS = [("cookie", "store"), ("store", "cookie"), ("store", "other")]


# --- what goes on


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_session_goes_on_in_another_engine_with_all_that_it_is(place: Place, old: str, new: str) -> None:
    """After its first request there, which only reads, the old engine is not needed any more."""
    sessions = place.manager(old)
    before = sessions.open("")
    before.login("alice")
    before["cart"] = (1, 2)
    token = before.csrf_token()
    place.jar.take(sessions.commit(before))
    place.events.clear()

    moved = place.visit(place.manager(new, old))
    after = place.visit(place.manager(new))

    assert (moved.subject, dict(moved)) == (after.subject, dict(after)) == ("alice", {"cart": (1, 2)})
    assert after.created_at == before.created_at
    assert after.authenticated_at == before.authenticated_at
    assert moved.check_csrf(token)
    assert after.check_csrf(token)
    assert [event.format for event in place.events if type(event) is TakenOver]
    assert place.reasons() == []  # the manager's own engine could not read it, which is no news


@pytest.mark.parametrize("accepted", [EncryptedToken(OTHER_KEY), CookieEngine(OTHER_KEY)], ids=["token", "engine"])
def test_tokens_under_a_ring_that_is_given_up_are_accepted(place: Place, accepted: Any) -> None:
    """A token format stands for the cookies that it reads."""
    old = SessionManager(CookieEngine(OTHER_KEY), clock=place.clock)
    place.login(old, a=1)
    new = SessionManager(CookieEngine(KEY), accept=[accepted], clock=place.clock)

    assert dict(place.visit(new)) == {"a": 1}
    assert dict(place.visit(place.manager("cookie"))) == {"a": 1}
    assert len(new.accept) == 1


def test_a_session_keeps_its_id_between_stores_and_between_cookies(place: Place) -> None:
    """What was noted by its id, in an audit log or a list of devices, is still it."""
    for old, new in [("store", "other"), ("cookie", "signed")]:
        place.jar = Jar()
        before = place.login(place.manager(old))

        assert place.visit(place.manager(new, old)).id == before.id


def test_between_stores_no_cookie_is_set(place: Place) -> None:
    """The id is what it was, so the browser has it already."""
    place.login(place.manager("store"))
    new = place.manager("other", "store")
    session = new.open(place.jar.header)

    assert session.subject == "alice"
    assert new.commit(session).set_cookies == []


def test_the_old_record_ends_when_the_new_one_is_saved(place: Place) -> None:
    """And not before: what cannot be saved has lost nothing."""
    place.login(place.manager("store"))
    new = place.manager("other", "store")
    session = new.open(place.jar.header)
    assert session.subject == "alice"
    assert place.stores["store"].count() == 1

    new.commit(session)

    assert place.stores["store"].count() == 0
    assert place.stores["other"].count() == 1


@pytest.mark.parametrize(("old", "new"), CROSS)
def test_what_a_first_request_changes_is_kept(place: Place, old: str, new: str) -> None:
    """Also a new id, and a login."""
    place.login(place.manager(old), a=1)
    moving = place.manager(new, old)
    place.visit(moving, b=2)
    assert dict(place.visit(place.manager(new))) == {"a": 1, "b": 2}

    place.jar = Jar()
    before = place.login(place.manager(old), a=1)
    session = moving.open(place.jar.header)
    session.regenerate()
    place.jar.take(moving.commit(session))
    after = place.visit(place.manager(new))
    assert (dict(after), after.subject) == ({"a": 1}, "alice")
    assert after.id != before.id

    place.jar = Jar()
    place.login(place.manager(old), a=1)
    place.login(moving, "bob", b=2)
    after = place.visit(place.manager(new))
    assert (dict(after), after.subject) == ({"b": 2}, "bob")


@pytest.mark.parametrize(("old", "new"), CROSS)
def test_update_works_before_the_first_commit(place: Place, old: str, new: str) -> None:
    """A counter that the first request in the new engine counts up."""
    place.login(place.manager(old), n=1)
    moving = place.manager(new, old)
    session = moving.open(place.jar.header)
    assert session["n"] == 1

    if new == "cookie":
        with pytest.raises(ConfigError):
            moving.update(session, lambda data: data.update(n=2))
        return
    moving.update(session, lambda data: data.update(n=data["n"] + 1))
    place.jar.take(moving.commit(session))

    assert place.visit(place.manager(new))["n"] == 2


def test_update_finds_what_a_parallel_request_has_moved(place: Place) -> None:
    """Both counted."""
    place.login(place.manager("cookie"), n=1)
    moving = place.manager("store", "cookie")
    first, second = moving.open(place.jar.header), moving.open(place.jar.header)
    assert first["n"] == second["n"] == 1

    for session in (first, second):
        moving.update(session, lambda data: data.update(n=data["n"] + 1))
    place.jar.take(moving.commit(first))
    moving.commit(second)

    assert place.visit(place.manager("store"))["n"] == 3


def test_update_says_that_a_session_was_ended_meanwhile(place: Place) -> None:
    """As it does of a session that was not moved."""
    place.login(place.manager("cookie"), n=1)
    moving = place.manager("store", "cookie")
    first, second = moving.open(place.jar.header), moving.open(place.jar.header)
    assert first["n"] == second["n"] == 1
    first.destroy()
    moving.commit(first)

    with pytest.raises(SessionConflict):
        moving.update(second, lambda data: data.update(n=2))


# --- under other names


@pytest.mark.parametrize(
    ("old", "new"), [("cookie", "cookie"), ("store", "store"), ("cookie", "store"), ("store", "other")]
)
def test_a_cookie_that_changed_its_name_is_read_where_it_formerly_was(place: Place, old: str, new: str) -> None:
    """And cleared there."""
    place.login(place.manager(old, cookie=Cookie("__Host-old")), a=1)
    new_cookie = Cookie(formerly=[Cookie("__Host-old")])
    moving = (
        place.manager(new, old, cookie=new_cookie)
        if old != new
        else SessionManager(engine := place.engines[old](), accept=[engine], cookie=new_cookie, clock=place.clock)
    )

    assert place.visit(moving).subject == "alice"
    assert list(place.jar.cookies) == [NAME]
    assert dict(place.visit(place.manager(new))) == {"a": 1}


def test_a_store_under_a_former_name_is_the_same_store(place: Place) -> None:
    """A second engine on the store that sessions are kept in changes where the cookie is looked for, and nothing else."""
    place.login(place.manager("store", cookie=Cookie("__Host-old")), a=1)
    store = place.stores["store"]
    cookie = Cookie(formerly=[Cookie("__Host-old")])
    moving = SessionManager(StoreEngine(store), accept=[StoreEngine(store)], cookie=cookie, clock=place.clock)

    assert dict(place.visit(moving)) == {"a": 1}
    assert list(place.jar.cookies) == [NAME]
    assert store.count() == 1
    assert dict(place.visit(moving)) == {"a": 1}


def test_the_former_default_name_is_read_in_the_accepted_engine_too(place: Place) -> None:
    """Who comes from an early release and from cookies at once."""
    place.login(place.manager("cookie", cookie=Cookie("__Host-session")), a=1)

    assert dict(place.visit(place.manager("store", "cookie"))) == {"a": 1}
    assert list(place.jar.cookies) == [NAME]


# --- deadlines


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_move_extends_no_deadline(place: Place, old: str, new: str) -> None:
    """The session is as old in the new engine as it was in the old one."""
    place.login(place.manager(old))
    place.clock.now += 13 * DAY
    assert place.visit(place.manager(new, old)).subject == "alice"
    place.clock.now += DAY - 1
    assert place.visit(place.manager(new)).subject == "alice"

    place.clock.now += 1

    assert place.visit(place.manager(new)).subject is None


@pytest.mark.parametrize(("old", "new"), CROSS)
@pytest.mark.parametrize("limit", [{"idle_timeout": "1 hour"}, {"lifetime": "1 hour"}], ids=["idle", "absolute"])
def test_a_session_that_is_over_does_not_come_back_by_a_move(
    place: Place, old: str, new: str, limit: dict[str, Any]
) -> None:
    """Both deadlines are those of the new manager, from the old session's times."""
    place.login(place.manager(old))
    place.clock.now += 3600

    session = place.visit(place.manager(new, old, **limit))

    assert session.subject is None
    expected = "idle" if "idle_timeout" in limit else "absolute"
    assert [event.deadline for event in place.events if type(event) is Expired] == [expected]


@pytest.mark.parametrize(("old", "new"), CROSS)
def test_a_request_that_is_no_activity_moves_a_session_and_not_its_idle_deadline(
    place: Place, old: str, new: str
) -> None:
    """Polling keeps nobody logged in."""
    place.login(place.manager(old))
    place.clock.now += 3000
    moving = place.manager(new, old, idle_timeout="1 hour")
    session = moving.open(place.jar.header)
    session.passive()
    assert session.subject == "alice"
    place.jar.take(moving.commit(session))

    place.clock.now += 600

    assert place.visit(place.manager(new, idle_timeout="1 hour")).subject is None


def test_an_accepted_engine_ends_at_its_date(place: Place) -> None:
    """From then on what is left in it is not read."""
    place.login(place.manager("store"))
    engines: list[tuple[Any, str]] = [
        (StoreEngine(place.stores["store"], until=START + 10), "store"),
        (CookieEngine(KEY, until=START + 10), "cookie"),
    ]
    for engine, old in engines:
        place.jar, place.clock.now = Jar(), START
        place.login(place.manager(old))
        moving = SessionManager(StoreEngine(place.stores["other"]), accept=[engine], clock=place.clock)
        place.clock.now = START + 9
        assert moving.open(place.jar.header).subject == "alice"

        place.clock.now = START + 10

        assert moving.open(place.jar.header).subject is None


# --- what must not fall through


def test_a_failed_mac_under_a_known_key_is_read_by_nobody_else(place: Place) -> None:
    """Not even where another engine could: who asks for less must not be asked second."""
    asked = []

    class Gullible:
        native = True
        name = "gullible"

        def open(self, cookies: Any, context: Any) -> Any:
            asked.append(context.cookie_name)
            raise AssertionError

        def seal(self, record: Any, context: Any) -> Any:
            raise AssertionError

    place.login(place.manager("cookie"))
    value = place.jar.cookies[NAME]
    broken = f"{NAME}={value[:-2]}{'AA' if value[-2:] != 'AA' else 'AB'}"
    gullible: Any = Gullible()
    moving = SessionManager(CookieEngine(KEY), accept=[gullible], clock=place.clock, on_event=place.events.append)

    assert moving.open(broken).subject is None
    assert place.reasons() in (["tampered"], ["malformed"])
    assert asked == [] or place.reasons() == ["malformed"]


@pytest.mark.parametrize("reason", ["tampered", "wrong_record"])
def test_a_record_that_was_changed_is_read_by_no_other_engine(place: Place, reason: str) -> None:
    """A sealed record whose MAC fails, or an entry of another session."""
    old, sealed = place.manager("store"), place.manager("sealed")
    place.login(old)
    header = place.jar.header
    key = place.stores["store"].only()[0]
    entry = place.stores["store"].get(key)
    assert entry is not None
    place.login(sealed)
    _, theirs = place.stores["sealed"].only()
    data = theirs.data if reason == "tampered" else entry.data
    target = place.stores["sealed" if reason == "tampered" else "other"]
    if reason == "tampered":
        target.put(key, data, expires_at=START + DAY, if_version=None, subject=None)
        moving = place.manager("sealed", "store")
    else:
        record = bytearray(entry.data)
        record[3] ^= 1
        target.put(key, bytes(record), expires_at=START + DAY, if_version=None, subject=None)
        moving = place.manager("other", "store")
    place.events.clear()

    assert moving.open(header).subject is None
    assert [event.error for event in place.events if type(event) is StoreFailed] == [reason]


def test_an_expired_session_of_ones_own_is_not_looked_for_elsewhere(place: Place) -> None:
    """It was known, and is over."""
    place.login(place.manager("cookie"))
    place.clock.now += 15 * DAY
    moving = place.manager("cookie", "signed")

    assert moving.open(place.jar.header).subject is None
    assert [event.deadline for event in place.events if type(event) is Expired] == ["absolute"]


def test_what_no_engine_can_read_is_told_once(place: Place) -> None:
    """By the reason that says most."""
    place.visit(place.manager("store", "cookie", "signed"), f"{NAME}=junk")
    assert place.reasons() == ["malformed"]

    place.events.clear()
    place.login(place.manager("cookie"))
    other_purpose = SessionManager(
        StoreEngine(MemoryStore()),
        accept=[CookieEngine(KEY)],
        purpose="b",
        clock=place.clock,
        on_event=place.events.append,
    )
    place.events.clear()
    place.visit(other_purpose, place.jar.header)
    assert place.reasons() == ["tampered"]


def test_an_id_that_a_client_invents_is_in_no_engine(place: Place) -> None:
    """Nor is one made of the public id of a session, which stands in logs."""
    session = place.login(place.manager("cookie"))
    moving = place.manager("store", "cookie")
    moved = place.visit(moving)
    for invented in (session.id, moved.id, values.encode_bytes(bytes(32))):
        assert moving.open(f"{NAME}={invented}").subject is None


# --- planted cookies


def test_another_engines_cookie_planted_beside_ours_makes_both_useless(place: Place) -> None:
    """A sibling subdomain must not be able to choose the session, in whichever form its cookie is."""
    moving = place.manager("store", "cookie")
    place.login(moving)
    victim = place.jar.header
    place.jar = Jar()
    place.login(place.manager("cookie"), "mallory")
    planted = place.jar.header

    for header in (f"{victim}; {planted}", f"{planted}; {victim}"):
        session = moving.open(header, Request(method="GET", scheme="https", host="www.example.org"))
        assert session.subject is None
        assert place.reasons()[-1] == "ambiguous"
        assert any("Domain=example.org" in line for line in moving.commit(session).set_cookies)


@pytest.mark.parametrize("old", ["cookie", "signed", "chunked"])
def test_junk_beside_an_old_cookie_does_no_harm(place: Place, old: str) -> None:
    """Whatever the session holds: what is not equal to itself has made the last cookie stand for the one that was loaded."""
    place.login(place.manager(old), number=float("nan"))
    sessions = place.manager("store", old)

    for junk in ("x", "", "AAAA", "ht1.AAAA.AAAA.AAAA"):
        session = sessions.open(f"{place.jar.header}; {NAME}={junk}")
        assert session.subject == "alice"
        sessions.commit(session)

    assert place.stores["store"].count() == 1


@pytest.mark.parametrize("token", [EncryptedToken, SignedToken])
def test_copies_of_a_cookie_under_two_keys_are_one_session(place: Place, token: Any) -> None:
    """A key is replaced, and then the site moves: an older copy is the same session there, and dies with it."""
    ring = Keyring(OTHER_KEY, accept=[KEY])
    before = SessionManager(CookieEngine(token(KEY)), clock=place.clock)
    place.login(before)
    copied = place.jar.header
    place.visit(SessionManager(CookieEngine(token(ring)), clock=place.clock), a=1)
    assert place.jar.header != copied
    store = StoreEngine(place.stores["store"])
    sessions = SessionManager(store, accept=[token(ring)], clock=place.clock, on_event=place.events.append)
    renewed = place.jar.header
    session = place.visit(sessions, a=2)

    for header in (copied, renewed, f"{copied}; {place.jar.header}", f"{copied}; {renewed}"):
        again = sessions.open(header)
        assert (again.id, dict(again)) == (session.id, {"a": 2})

    gone = sessions.open(place.jar.header)
    gone.logout()
    place.jar.take(sessions.commit(gone))
    place.clock.now += DAY
    assert [sessions.open(header).subject for header in (copied, renewed)] == [None, None]


def test_a_logout_in_the_old_form_reaches_what_a_copy_under_another_key_has_stored(place: Place) -> None:
    """The deploy beside has stored the session by a copy of its cookie that was sealed under the key from before."""
    ring = Keyring(OTHER_KEY, accept=[KEY])
    place.login(place.manager("cookie"))
    place.visit(
        SessionManager(StoreEngine(place.stores["store"]), accept=[CookieEngine(ring)], clock=place.clock),
        header=place.jar.header,
        a=1,
    )
    assert place.stores["store"].count() == 1
    older = SessionManager(CookieEngine(ring), accept=[StoreEngine(place.stores["store"])], clock=place.clock)
    place.visit(older)

    stored = SessionManager(StoreEngine(place.stores["store"]), accept=[CookieEngine(ring)], clock=place.clock)
    header = place.jar.header
    assert stored.open(header).subject == "alice"

    session = older.open(header)
    session.logout()
    older.commit(session)

    assert place.stores["store"].count() == 2  # what is left is that both ids are dead
    assert stored.open(header).subject is None
    assert stored.list("alice") == []


@pytest.mark.parametrize("call", ["logout", "regenerate"])
@pytest.mark.parametrize("stored", [False, True], ids=["in the cookie alone", "stored too"])
def test_a_copy_of_a_cookie_that_ended_in_the_old_form_begins_nothing_in_the_new_one(
    place: Place, call: str, stored: bool
) -> None:
    """The deploy beside reads cookies, and knows no session of this one: for as long as copies of it can live it is told dead.

    A new id leaves the old cookie dead as well: what it goes on as may be logged out, and the copy must not outlive that.
    """
    older, newer = place.manager("cookie", "store"), place.manager("store", "cookie")
    place.login(older)
    copy = place.jar.header
    if stored:
        assert place.visit(newer, copy, a=1).subject == "alice"
    session = older.open(copy)
    getattr(session, call)()
    place.jar.take(older.commit(session))

    for later in (0, 61, 13 * DAY):
        place.clock.now = START + later
        assert place.visit(newer, copy).subject is None
    assert newer.open(place.jar.header).subject == (None if call == "logout" else "alice")
    place.clock.now = START + 14 * DAY
    assert newer.open(copy).subject is None  # it has ended by itself
    assert place.stores["store"].count() == 0


@pytest.mark.parametrize("trouble", ["full", "never the same"])
def test_an_end_in_the_old_form_is_not_lost_to_a_store_that_keeps_no_grave(place: Place, trouble: str) -> None:
    """What is stored is deleted then: that is less than to remember it, and more than to leave it."""
    store = Failing(place.clock)
    older = SessionManager(CookieEngine(KEY), accept=[StoreEngine(store)], clock=place.clock)
    newer = SessionManager(StoreEngine(store), accept=[CookieEngine(KEY)], clock=place.clock)
    place.login(older)
    place.visit(newer, place.jar.header, a=1)
    (key,) = store._slots
    store.failing["put"] = StoreFull("full") if trouble == "full" else VersionConflict()
    session = older.open(place.jar.header)
    session.logout()
    older.commit(session)

    assert store.get(key) is None


def test_two_old_cookies_of_two_sessions_are_used_by_none(place: Place) -> None:
    """In one engine, and in two."""
    headers = []
    for name, subject in [("cookie", "alice"), ("cookie", "mallory"), ("signed", "mallory")]:
        place.jar = Jar()
        place.login(place.manager(name), subject)
        headers.append(place.jar.header)
    moving = place.manager("store", "cookie", "signed")

    assert moving.open(f"{headers[0]}; {headers[1]}").subject is None
    assert moving.open(f"{headers[0]}; {headers[2]}").subject is None
    assert place.reasons() == ["ambiguous", "ambiguous"]


def test_the_old_cookie_of_the_same_session_beside_the_new_one_does_no_harm(place: Place) -> None:
    """The browser has both where the cookie's Domain was changed as well."""
    place.login(place.manager("cookie"))
    old = place.jar.header
    moving = place.manager("store", "cookie")
    place.visit(moving)

    assert moving.open(f"{old}; {place.jar.header}").subject == "alice"
    assert place.reasons() == ["malformed"] or place.reasons() == []


# --- ended sessions do not come back


@pytest.mark.parametrize("later", [0, 30, 61, 3600, 10 * DAY])
@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair[1] in ("store", "other", "sealed")])
def test_a_session_that_was_moved_and_logged_out_does_not_come_back_by_its_old_cookie(
    place: Place, old: str, new: str, later: int
) -> None:
    """Whoever has copied the old cookie has nothing, for as long as it would have lived, and without a list."""
    place.login(place.manager(old))
    stolen = place.jar.header
    moving = place.manager(new, old)
    place.visit(moving)
    session = moving.open(place.jar.header)
    session.logout()
    moving.commit(session)

    place.clock.now += later

    assert moving.open(stolen).subject is None
    assert place.visit(moving, stolen, a=1).subject is None


@pytest.mark.parametrize("later", [0, 30, 61, 3600, 10 * DAY])
@pytest.mark.parametrize("new", ["cookie", "signed"])
def test_a_session_that_was_moved_to_a_cookie_and_logged_out_does_not_come_back_by_its_old_record(
    place: Place, new: str, later: int
) -> None:
    """The record is kept for requests that are on their way, and goes with the logout all the same."""
    place.login(place.manager("store"))
    stolen = place.jar.header
    moving = place.manager(new, "store")
    place.visit(moving)
    assert moving.open(stolen).subject == "alice"  # on its way
    session = moving.open(place.jar.header)
    session.logout()
    moving.commit(session)

    place.clock.now += later

    assert moving.open(stolen).subject is None
    assert place.manager("store").open(stolen).subject is None


@pytest.mark.parametrize(("old", "new"), CROSS)
@pytest.mark.parametrize("call", ["regenerate", "login"])
def test_a_new_id_leaves_the_old_cookie_dead(place: Place, old: str, new: str, call: str) -> None:
    """Fixation: who knows the cookie from before the login does not get the session of after it."""
    sessions = place.manager(old)
    place.visit(sessions, a=1)
    stolen = place.jar.header
    moving = place.manager(new, old)
    place.visit(moving)
    session = moving.open(place.jar.header)
    session.login("alice") if call == "login" else session.regenerate()
    place.jar.take(moving.commit(session))

    for later in (0, 61, 3600):
        place.clock.now = START + later
        if old == "cookie" and later == 0:
            assert moving.open(stolen).subject is None
        else:
            assert dict(moving.open(stolen)) == {}
    assert place.visit(moving)["a"] == 1


@pytest.mark.parametrize(("old", "new"), CROSS)
def test_a_logout_with_the_first_request_ends_the_old_session(place: Place, old: str, new: str) -> None:
    """Nothing was saved in the new engine yet."""
    place.login(place.manager(old))
    stolen = place.jar.header
    moving = place.manager(new, old)
    session = moving.open(stolen)
    session.logout()
    changes = moving.commit(session)
    assert any("Max-Age=0" in line for line in changes.set_cookies)

    for later in (0, 61, 3600):
        place.clock.now = START + later
        if old == "cookie":
            assert moving.open(stolen).subject is None
        else:
            assert place.manager(old).open(stolen).subject is None
            assert moving.open(stolen).subject is None


@pytest.mark.parametrize(("old", "new"), CROSS)
@pytest.mark.parametrize("first", ["logout", "visit"])
def test_a_parallel_request_does_not_bring_a_session_back_that_was_ended(
    place: Place, old: str, new: str, first: str
) -> None:
    """It had read it before the logout."""
    place.login(place.manager(old), a=1)
    stolen = place.jar.header
    moving = place.manager(new, old)
    slow = moving.open(stolen)
    assert slow["a"] == 1
    if first == "visit":
        place.visit(moving)
    ending = moving.open(place.jar.header)
    ending.logout()
    moving.commit(ending)
    slow["b"] = 2

    changes = moving.commit(slow)

    if new == "cookie":
        return  # a cookie that was on its way is good without a list, as ever
    assert changes.dropped == "dead"
    assert moving.open(stolen).subject is None


# --- with a list of ended sessions


def _list(place: Place) -> EndedSessions:
    return EndedSessions.from_url("memory://", key=KEY)


@pytest.mark.parametrize(("old", "new"), [*CROSS, ("cookie", "signed")])
def test_what_the_list_has_ended_is_not_moved(place: Place, old: str, new: str) -> None:
    """The session's own id, all of a user's, and everybody's."""
    ended = _list(place)
    old_site = place.manager(old, ended=ended)
    new_site = place.manager(new, old, ended=ended)
    for end in (
        lambda session: old_site.end(session.id),
        lambda session: old_site.end_all("alice"),
        lambda session: new_site.end_all("alice"),
        lambda session: new_site.end_everything(),
        lambda session: new_site.end(session.id),
    ):
        place.jar = Jar()
        session = place.login(old_site)
        header = place.jar.header
        end(session)

        assert new_site.open(header).subject is None
    new_site.close()


@pytest.mark.parametrize(("old", "new"), [*CROSS, ("cookie", "signed")])
def test_a_logout_after_the_move_is_told_of_both_ids(place: Place, old: str, new: str) -> None:
    """So that the deploy that still writes the old form knows it too."""
    ended = _list(place)
    old_site = place.manager(old, new, ended=ended)
    new_site = place.manager(new, old, ended=ended)
    place.login(old_site)
    stolen = place.jar.header
    place.visit(new_site)
    moved = place.jar.header
    session = new_site.open(moved)
    assert session.subject == "alice"
    session.logout()
    new_site.commit(session)

    for site in (old_site, new_site):
        for header in (stolen, moved):
            assert site.open(header).subject is None
    new_site.close()


@pytest.mark.parametrize(("old", "new"), [("cookie", "store"), ("store", "cookie")])
@pytest.mark.parametrize("asks", ["old", "new"])
def test_an_end_by_either_id_reaches_both_forms(place: Place, old: str, new: str, asks: str) -> None:
    """A list of devices shows the one, and the browser has the other by now."""
    ended = _list(place)
    sites = {"old": place.manager(old, new, ended=ended), "new": place.manager(new, old, ended=ended)}
    for id_of in ("before", "after"):
        place.jar = Jar()
        before = place.login(sites["old"])
        stolen = place.jar.header
        after = place.visit(sites["new"])
        assert after.subject == "alice"

        sites[asks].end(before.id if id_of == "before" else after.id)

        for site in sites.values():
            if (old, id_of, site) == ("cookie", "after", sites["old"]) and asks == "old":
                continue  # of an id in a store this deploy cannot know which cookie it came from
            assert site.open(place.jar.header).subject is None, id_of
            assert site.open(stolen).subject is None, id_of
    sites["new"].close()


@pytest.mark.parametrize(("old", "new"), [("cookie", "store"), ("store", "cookie")])
def test_what_an_end_of_all_others_has_spared_moves(place: Place, old: str, new: str) -> None:
    """By the id that it had before, also where it was stored already."""
    ended = _list(place)
    old_site, new_site = place.manager(old, ended=ended), place.manager(new, old, ended=ended)
    for stored in (False, True):
        place.jar = Jar()
        session = place.login(old_site)
        if stored:
            place.visit(new_site, place.jar.header)
        old_site.end_all("alice", keep=session.id)

        assert place.visit(new_site).subject == "alice"
        assert place.visit(new_site).subject == "alice"
    new_site.close()


def test_a_logout_in_the_old_form_reaches_what_was_stored(place: Place) -> None:
    """Without a list: whoever has copied the new cookie has nothing, once the browser has logged out by its old one."""
    old, new = place.manager("cookie", "store"), place.manager("store", "cookie")
    place.login(old)
    copied = Jar()
    session = new.open(place.jar.header)
    assert session.subject == "alice"
    copied.take(new.commit(session))
    assert new.open(copied.header).subject == "alice"

    session = old.open(place.jar.header)
    session.logout()
    old.commit(session)

    assert new.open(copied.header).subject is None
    assert old.open(copied.header).subject is None


def test_a_record_that_was_left_and_is_used_again_is_a_session_of_a_list(place: Place) -> None:
    """The deploy that keeps sessions in the store goes on with it."""
    old, new = place.manager("store", "cookie"), place.manager("cookie", "store")
    place.login(old)
    header = place.jar.header
    place.visit(new)
    assert old.list("alice") == []

    place.visit(old, header, a=1)

    assert len(old.list("alice")) == 1


def test_a_registry_lists_what_has_moved_to_cookies(place: Place) -> None:
    """At the price of one write, as for a login."""
    ended = _list(place)
    before = place.login(place.manager("store", ended=ended))
    site = place.manager("cookie", "store", ended=ended, registry=Store(place.clock))
    assert [info.id for info in site.list("alice")] == [before.id]

    moved = place.visit(site)

    assert [info.id for info in site.list("alice")] == [moved.id]
    assert site.count("alice") == 1
    site.end_all("alice")
    assert site.list("alice") == []
    site.close()


# --- administration


@pytest.mark.parametrize(("old", "new"), [("store", "cookie"), ("store", "other")])
@pytest.mark.parametrize("by", ["end", "end_all", "the-old-deploy", "a-new-id"])
def test_a_request_on_its_way_does_not_move_what_was_ended_meanwhile(place: Place, old: str, new: str, by: str) -> None:
    """It has read the session where it was, and stores it here after the end, which could not find it here yet."""
    before = place.manager(old)
    held = place.login(before)
    stolen = place.jar.header
    moving = place.manager(new, old)
    late = moving.open(stolen)
    assert late.subject == "alice"

    ending = before if new == "cookie" or by == "the-old-deploy" else moving
    if by == "a-new-id":
        session = before.open(stolen)
        session.regenerate()
        place.jar.take(before.commit(session))
    elif by == "end":
        assert ending.end(held.id, "alice")
    else:
        assert ending.end_all("alice") == 1

    late["late"] = True
    changes = moving.commit(late)

    assert (changes.dropped, changes.set_cookies) == ("dead", [])
    for later in (0, 61, 3600):
        place.clock.now = START + later
        assert moving.open(stolen).subject is None
    if by == "a-new-id":
        assert moving.open(place.jar.header).subject == "alice"
    else:
        assert place.stores["other"].count() == place.stores["store"].count() == 0


def test_a_request_on_its_way_does_not_make_a_cookie_of_what_was_logged_out(place: Place) -> None:
    """Without a list nobody could end that cookie."""
    place.login(place.manager("store"))
    moving = place.manager("cookie", "store")
    late, session = moving.open(place.jar.header), moving.open(place.jar.header)
    assert late.subject == "alice"
    session.logout()
    moving.commit(session)

    changes = moving.commit(late)

    assert (changes.dropped, changes.set_cookies) == ("dead", [])


@pytest.mark.parametrize("new", ["cookie", "other"])
def test_a_move_goes_on_where_nobody_can_say_whether_it_was_ended_meanwhile(place: Place, new: str) -> None:
    """Down after the deploy beside has saved it: a session is not lost for that."""
    store, moving = _failing(place, place.engines[new]())
    late = moving.open(place.jar.header)
    assert late.subject == "alice"
    place.visit(SessionManager(StoreEngine(store), clock=place.clock), b=2)
    changed = VersionConflict("by the deploy beside")
    store.failing.update(put=changed, delete=changed, get=StoreUnavailable("down"))
    late["c"] = 3

    place.jar.take(moving.commit(late))

    assert [event.operation for event in place.events if type(event) is StoreFailed] == ["save"]
    assert place.manager(new).open(place.jar.header).subject == "alice"


def test_a_move_goes_on_where_the_old_store_is_full(place: Place) -> None:
    """What is left there in the place of the session needs room; the session itself is in its cookie."""
    store, moving = _failing(place, place.engines["cookie"]())
    store.failing["put"] = StoreFull("full")

    assert place.visit(moving).subject == "alice"

    assert [event for event in place.events if type(event) is StoreFailed] == []
    assert place.visit(place.manager("cookie")).subject == "alice"


@pytest.mark.parametrize("call", ["end", "end_all"])
def test_an_end_reaches_a_session_that_moves_between_its_two_questions(place: Place, call: str) -> None:
    """It is here no longer after this store was asked, and there not yet before that one was."""
    held = place.login(place.manager("store"))
    moving = place.manager("other", "store")
    late = moving.open(place.jar.header)
    assert late.subject == "alice"
    store = place.stores["store"]
    asked = {"end": "get", "end_all": "find"}[call]
    ask = getattr(store, asked)

    def moved_first(*args: Any) -> Any:
        setattr(store, asked, ask)
        moving.commit(late)
        return ask(*args)

    setattr(store, asked, moved_first)

    if call == "end":
        assert moving.end(held.id, "alice")
    else:
        assert moving.end_all("alice") == 1

    assert moving.open(place.jar.header).subject is None


def test_list_count_and_end_reach_accepted_stores(place: Place) -> None:
    """A page of devices shows those that were not back since the move."""
    old = place.manager("store")
    first = place.login(old)
    place.jar = Jar()
    second = place.login(old)
    stays = place.jar.header
    site = place.manager("other", "store")
    assert {info.id for info in site.list("alice")} == {first.id, second.id}
    place.visit(site)
    assert {info.id for info in site.list("alice")} == {first.id, second.id}
    assert site.count("alice") == site.count() == 2

    assert site.end(first.id) is True
    assert site.end(first.id) is False
    assert site.end_all("alice") == 1

    assert site.open(stays).subject is None
    assert site.list("alice") == []
    assert site.count() == 2  # a tombstone in each


def test_a_record_that_was_left_is_no_session_of_a_list(place: Place) -> None:
    """It is read for a minute, by requests that are on their way."""
    place.login(place.manager("store"))
    old = place.manager("store")
    place.visit(place.manager("cookie", "store"))

    assert old.list("alice") == []
    place.clock.now += 61
    assert place.stores["store"].count() == 0


def test_close_closes_accepted_stores(place: Place) -> None:
    """As far as hardtack has opened them."""
    closed = []

    class Closing(MemoryStore):
        def close(self) -> None:
            closed.append(self)

    old, new = Closing(), Closing()
    SessionManager(StoreEngine(new), accept=[StoreEngine(old)]).close()

    assert closed == [old, new]


# --- parallel requests, and two versions at once


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_parallel_first_requests_make_one_session(place: Place, old: str, new: str) -> None:
    """Six of a page, each with the old cookie, in any order of loading and saving."""
    place.login(place.manager(old), a=1)
    header = place.jar.header
    moving = place.manager(new, old)
    opened = [moving.open(header) for _ in range(3)]
    for session in opened:
        assert session.subject == "alice"
    late = [moving.open(header) for _ in range(3)]

    for session in opened:
        place.jar.take(moving.commit(session))
    for session in late:
        assert session.subject == "alice"
        place.jar.take(moving.commit(session))

    assert len({session.id for session in (*opened, *late)}) == 1
    assert place.visit(place.manager(new)).subject == "alice"


@pytest.mark.parametrize("old", ["cookie", "store"])
def test_what_parallel_first_requests_change_is_merged_on_a_store(place: Place, old: str) -> None:
    """As of any two requests."""
    place.login(place.manager(old))
    moving = place.manager("other", old)
    first, second = moving.open(place.jar.header), moving.open(place.jar.header)
    first["a"] = 1
    second["b"] = 2

    moving.commit(first)
    place.jar.take(moving.commit(second))

    assert dict(place.visit(moving)) == {"a": 1, "b": 2}


def test_a_request_on_its_way_does_not_overwrite_the_cookie_that_was_just_set(place: Place) -> None:
    """What it only reads sets none, for some seconds; after those the answer with the new cookie was lost, and it does."""
    place.login(place.manager("store"))
    late = place.jar.header
    moving = place.manager("cookie", "store")
    place.visit(moving, a=1)

    session = moving.open(late)
    assert session.subject == "alice"
    assert moving.commit(session).set_cookies == []

    place.clock.now += 11
    session = moving.open(late)
    assert session.subject == "alice"
    assert len(moving.commit(session).set_cookies) == 1


def test_the_newer_of_a_cookie_and_its_record_wins(place: Place) -> None:
    """The deploy that writes cookies has changed the session since it was stored."""
    old, new = place.manager("cookie", "store"), place.manager("store", "cookie")
    place.login(old, n=1)
    before = place.jar.header
    place.visit(new, before)  # stored; the answer is lost
    place.clock.now += 5
    place.visit(old, n=2)

    assert place.visit(new)["n"] == 2
    assert place.visit(new)["n"] == 2


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("old", "new"), [("cookie", "store"), ("store", "other"), ("cookie", "signed")])
def test_two_versions_of_a_deploy_serve_one_browser(place: Place, old: str, new: str, seed: int) -> None:
    """Each takes over what the other writes, request by request, and also those that are on their way: nobody is logged out."""
    choose = random.Random(f"{old} {new} {seed}")
    sites = [place.manager(old, new, idle_timeout="1 hour"), place.manager(new, old, idle_timeout="1 hour")]
    place.login(sites[0])
    ids = set()
    for step in range(40):
        place.clock.now += choose.randrange(0, 30)
        count = choose.randrange(1, 4)
        header = place.jar.header
        opened = [(site := choose.choice(sites), site.open(header)) for _ in range(count)]
        choose.shuffle(opened)
        for site, session in opened:
            assert session.subject == "alice", (step, place.events[-6:])
            ids.add(session.id)
            if choose.random() < 0.3:
                session["n"] = step
            place.jar.take(site.commit(session))
    assert len(ids) <= 2


# --- seals


def test_a_store_is_sealed_while_the_site_runs(place: Place) -> None:
    """Three deploys: read both, write sealed and read both until a date, and drop."""
    store = Store(place.clock)
    until = dt.datetime.fromtimestamp(START + 20 * DAY, dt.UTC)
    plain, sealed, other = StoreEngine(store), StoreEngine(store, seal=KEY), StoreEngine(store, seal=OTHER_KEY)
    first = SessionManager(plain, accept=[sealed, other], clock=place.clock)
    SessionManager(plain, accept=[sealed, other], purpose="another application on the same engine")
    second = SessionManager(
        sealed,
        accept=[StoreEngine(store, until=until)],
        clock=place.clock,
        on_event=place.events.append,
        lifetime="90 days",
    )
    place.login(first, n=0)
    assert store.only()[1].data[:1] != b"\x01"

    for step in range(6):
        assert place.visit((second, first)[step % 2], n=step + 1)["n"] == step + 1
    together = [second.open(place.jar.header), first.open(place.jar.header)]
    together[0]["a"] = 1
    together[1]["b"] = 2
    second.commit(together[0])
    first.commit(together[1])
    assert dict(place.visit(second)) == {"n": 6, "a": 1, "b": 2}
    assert store.only()[1].data[:1] == b"\x01"
    assert place.visit(SessionManager(StoreEngine(store, seal=KEY), clock=place.clock)).subject == "alice"
    assert [event for event in place.events if type(event) in (Rejected, StoreFailed)] == []

    place.jar = Jar()
    place.login(SessionManager(StoreEngine(store), clock=place.clock, lifetime="90 days"))
    assert second.open(place.jar.header).subject == "alice"
    place.clock.now = START + 20 * DAY
    assert second.open(place.jar.header).subject is None


def test_a_seal_is_taken_off_while_the_site_runs(place: Place) -> None:
    """The way back."""
    store = Store(place.clock)
    place.login(SessionManager(StoreEngine(store, seal=KEY), clock=place.clock), n=1)
    moving = SessionManager(StoreEngine(store), accept=[StoreEngine(store, seal=KEY)], clock=place.clock)

    assert place.visit(moving)["n"] == 1
    assert place.visit(SessionManager(StoreEngine(store), clock=place.clock))["n"] == 1


def test_the_seal_of_another_ring_is_read_beside(place: Place) -> None:
    """And what was changed under it is not."""
    store = Store(place.clock)
    place.login(SessionManager(StoreEngine(store, seal=OTHER_KEY), clock=place.clock), n=1)
    moving = SessionManager(
        StoreEngine(store, seal=KEY),
        accept=[StoreEngine(store), StoreEngine(store, seal=OTHER_KEY)],
        clock=place.clock,
        on_event=place.events.append,
    )
    assert moving.open(place.jar.header)["n"] == 1
    key, entry = store.only()
    store.put(key, entry.data[:-1] + b"!", expires_at=START + DAY, if_version=entry.version, subject=None)

    assert moving.open(place.jar.header).subject is None
    assert [event.error for event in place.events if type(event) is StoreFailed] == ["unknown_key"]


def test_unsealed_records_that_are_read_for_ever_are_warned_of(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can write to the store could log in as anyone until then."""
    store = MemoryStore()
    with caplog.at_level(logging.WARNING, "hardtack"):
        SessionManager(StoreEngine(store, seal=KEY), accept=[StoreEngine(store, until=dt.date(2099, 1, 1))])
        assert caplog.records == []
        SessionManager(StoreEngine(store, seal=KEY), accept=[StoreEngine(store)])

    assert "until=" in caplog.text


# --- stores that fail


class Failing(Store):
    """Fails at what it is told to fail at."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.failing: dict[str, Exception] = {}

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing[call]

    def get(self, *arguments: Any, **options: Any) -> Any:
        self._fail("get")
        return super().get(*arguments, **options)

    def put(self, *arguments: Any, **options: Any) -> Any:
        self._fail("put")
        return super().put(*arguments, **options)

    def delete(self, *arguments: Any, **options: Any) -> Any:
        self._fail("delete")
        return super().delete(*arguments, **options)


def _failing(place: Place, new: Any) -> tuple[Failing, SessionManager]:
    store = Failing(place.clock)
    place.login(SessionManager(StoreEngine(store), clock=place.clock), a=1)
    return store, SessionManager(new, accept=[StoreEngine(store)], clock=place.clock, on_event=place.events.append)


@pytest.mark.parametrize("new", ["other", "cookie"])
def test_an_old_store_that_is_down_fails_only_those_that_it_may_have(place: Place, new: str) -> None:
    """With the answer for a store that is down; who has moved, or comes without a cookie, notices nothing."""
    store, moving = _failing(place, place.engines[new]())
    store.failing["get"] = StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        moving.open(place.jar.header).get("a")
    assert moving.open("").get("a") is None
    place.jar = Jar()
    place.login(moving)
    assert moving.open(place.jar.header).subject == "alice"


@pytest.mark.parametrize("new", ["other", "cookie"])
def test_an_old_record_that_cannot_be_removed_goes_with_the_logout(place: Place, new: str) -> None:
    """The move counts all the same; a logout that cannot reach it is an error, which clears the cookie."""
    store, moving = _failing(place, place.engines[new]())
    stolen = place.jar.header
    store.failing.update(put=StoreUnavailable("down"), delete=StoreUnavailable("down"))
    assert place.visit(moving).subject == "alice"
    assert [event.operation for event in place.events if type(event) is StoreFailed] == ["save"]
    session = moving.open(place.jar.header)
    session.logout()

    with pytest.raises(StoreUnavailable) as raised:
        moving.commit(session)
    assert any("Max-Age=0" in line for line in raised.value.set_cookies)

    store.failing.clear()
    session = moving.open(place.jar.header)
    session.logout()
    moving.commit(session)
    assert SessionManager(StoreEngine(store), clock=place.clock).open(stolen).subject is None


@pytest.mark.parametrize("new", ["other", "cookie"])
def test_a_login_is_not_lost_to_an_old_store_that_is_down(place: Place, new: str) -> None:
    """It is told of."""
    store, moving = _failing(place, place.engines[new]())
    store.failing |= {call: StoreUnavailable("down") for call in ("put", "delete")}
    place.login(moving, "bob")

    assert place.visit(moving).subject == "bob"
    assert [event.operation for event in place.events if type(event) is StoreFailed] == ["save"]


@pytest.mark.parametrize("call", ["regenerate", "login", "logout"])
@pytest.mark.parametrize("moved", [False, True], ids=["first-request", "moved-before"])
def test_an_old_store_that_could_not_be_told_brings_nothing_back(place: Place, call: str, moved: bool) -> None:
    """Whoever has copied the cookie waits until the store is back, and until a dead id is usually forgotten."""
    store, moving = _failing(place, place.engines["other"]())
    stolen = place.jar.header
    store.failing.update(put=StoreUnavailable("down"), delete=StoreUnavailable("down"))
    if moved:
        place.visit(moving, a=1)
    session = moving.open(stolen)
    if call == "logout":
        session.logout()
        with pytest.raises(StoreUnavailable):
            moving.commit(session)
        again = moving.open(stolen)  # the user tries it again, and it still is down
        again.logout()
        with pytest.raises(StoreUnavailable):
            moving.commit(again)
    else:
        session.regenerate() if call == "regenerate" else session.login("alice")
        place.jar.take(moving.commit(session))
    store.failing.clear()

    for later in (30, 61, DAY, 13 * DAY):
        place.clock.now = START + later
        assert moving.open(stolen).subject is None
    if call != "logout":
        assert moving.open(place.jar.header).subject == "alice"
    place.clock.now = START + 15 * DAY
    assert place.stores["other"].count() == 0


def test_a_record_that_is_written_meanwhile_stays(place: Place) -> None:
    """By the deploy that writes to it: the compare-and-set says so, and it goes with the logout."""
    place.login(place.manager("store"), a=1)
    header = place.jar.header
    moving = place.manager("other", "store")
    session = moving.open(header)
    assert session["a"] == 1
    place.visit(place.manager("store"), header, b=2)

    moving.commit(session)

    assert place.stores["store"].count() == 1
    session = moving.open(header)
    session.logout()
    moving.commit(session)
    assert place.manager("store").open(header).subject is None


def test_a_new_store_that_is_full_does_not_keep_a_logout_from_the_old_one(place: Place) -> None:
    """What is not stored cannot be buried; a new id that cannot be kept is an error."""
    full = Failing(place.clock)
    full.failing["put"] = StoreFull("full")
    place.login(place.manager("store"), a=1)
    moving = SessionManager(StoreEngine(full), accept=[StoreEngine(place.stores["store"])], clock=place.clock)
    session = moving.open(place.jar.header)
    session.regenerate()
    with pytest.raises(StoreFull):
        moving.commit(session)
    assert moving.open(place.jar.header)["a"] == 1

    session = moving.open(place.jar.header)
    session.logout()
    moving.commit(session)

    assert moving.open(place.jar.header).subject is None
    assert place.stores["store"].count() == 0


@pytest.mark.parametrize("old", ["cookie", "store"])
def test_a_new_id_in_a_request_that_was_overtaken(place: Place, old: str) -> None:
    """A parallel request has moved the session: both count; where one has ended it, nobody comes out as somebody."""
    place.login(place.manager(old), a=1)
    header = place.jar.header
    moving = place.manager("other", old)
    slow = moving.open(header)
    slow.regenerate()
    slow["c"] = 3
    place.visit(moving, b=2)
    place.jar.take(moving.commit(slow))
    assert dict(place.visit(moving)) == {"a": 1, "b": 2, "c": 3}

    place.jar = Jar()
    place.login(place.manager(old), a=1)
    slow = moving.open(place.jar.header)
    slow.regenerate()
    slow["c"] = 3
    fast = moving.open(place.jar.header)
    fast.logout()
    moving.commit(fast)
    place.jar.take(moving.commit(slow))
    after = place.visit(moving)
    assert (after.subject, dict(after)) == (None, {"c": 3})


def test_a_logout_in_a_request_that_was_overtaken(place: Place) -> None:
    """It ends what the other has stored."""
    place.login(place.manager("cookie"), a=1)
    header = place.jar.header
    moving = place.manager("store", "cookie")
    slow = moving.open(header)
    slow.logout()
    place.visit(moving)

    moving.commit(slow)

    assert place.visit(moving).subject is None


class Racing(Store):
    """Calls what the test gives, once, before it answers."""

    before: Callable[[], object] | None = None

    def get(self, key: str) -> Entry | None:
        call, self.before = self.before, None
        if call is not None:
            call()
        return super().get(key)


@pytest.mark.parametrize("call", ["visit", "logout"])
def test_a_session_that_a_parallel_request_moves_between_two_questions(place: Place, call: str) -> None:
    """The new store did not have it yet, and the old one has it no longer: the new one is asked once more."""
    racing = Racing(place.clock)
    place.login(SessionManager(StoreEngine(racing), clock=place.clock), a=1)
    header = place.jar.header
    moving = SessionManager(
        place.engines["other"](), accept=[StoreEngine(racing)], clock=place.clock, on_event=place.events.append
    )

    def other_request() -> None:
        session = moving.open(header)
        session["b"] = 2
        if call == "logout":
            session.logout()
        moving.commit(session)

    racing.before = other_request

    assert moving.open(header).subject == ("alice" if call == "visit" else None)
    assert place.reasons() == ([] if call == "visit" else ["ended"])


# --- sizes


def test_a_session_that_is_too_large_for_a_cookie_stays_in_its_store_while_it_is_only_read(place: Place) -> None:
    """And is an error as soon as it is to be saved."""
    place.login(place.manager("store"), text="x" * 5000)
    moving = place.manager("cookie", "store")

    for _ in range(2):
        session = moving.open(place.jar.header)
        assert session.subject == "alice"
        assert moving.commit(session).set_cookies == []
    session = moving.open(place.jar.header)
    session["a"] = 1
    with pytest.raises(SessionTooLarge):
        moving.commit(session)


def test_chunks_move_as_one(place: Place) -> None:
    """And are cleared."""
    place.login(place.manager("chunked"), text="x" * 4500)
    assert sorted(place.jar.cookies) == [f"{NAME}.0", f"{NAME}.1"]

    assert len(place.visit(place.manager("store", "chunked"))["text"]) == 4500
    assert list(place.jar.cookies) == [NAME]


# --- what nobody sends


@pytest.mark.parametrize("option", ["", "AAAA", "!", 7, [1], "A" * 43])
def test_an_option_of_another_form_is_nothing(place: Place, option: Any) -> None:
    """A store that somebody else writes to; sealed cookies have nothing of that."""
    place.login(place.manager("store"))
    key, entry = place.stores["store"].only()
    engine = place.manager("store").engine
    record, _ = engine.decode(values.decode_bytes(key), entry.data, place.manager("store").core, START)  # type: ignore[attr-defined]
    record.options = {MOVED: option, LEFT: option}
    place.stores["store"].put(
        key, records.pack(record), expires_at=START + DAY, if_version=entry.version, subject="alice"
    )

    assert place.visit(place.manager("cookie", "store")).subject == "alice"
    assert place.visit(place.manager("cookie")).subject == "alice"


# --- settings


@pytest.mark.parametrize(
    "engine", [CookieEngine(KEY, until=1), StoreEngine(MemoryStore(), until=1)], ids=["cookie", "store"]
)
def test_an_end_is_for_accepted_engines(engine: Any) -> None:
    """The one that sessions are written with has none."""
    with pytest.raises(ConfigError, match="until="):
        SessionManager(engine)


@pytest.mark.parametrize(
    "given", [KEY, MemoryStore(), "redis://localhost", CookieEngine], ids=["key", "store", "url", "class"]
)
def test_accept_says_what_it_takes(given: Any) -> None:
    """A store or a key in the place of an engine."""
    with pytest.raises(ConfigError, match="accept"):
        SessionManager(Key.generate(), accept=[given])


# --- stores that only async code can reach


class Awaited:
    """A store that is awaited."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def get(self, *arguments: Any, **options: Any) -> Any:
        return self._store.get(*arguments, **options)

    async def put(self, *arguments: Any, **options: Any) -> Any:
        return self._store.put(*arguments, **options)

    async def delete(self, *arguments: Any, **options: Any) -> Any:
        return self._store.delete(*arguments, **options)

    async def close(self) -> None:
        self._store.close()


@pytest.mark.parametrize("new", ["store", "awaited", "cookie"])
def test_an_accepted_store_may_be_awaited(place: Place, new: str) -> None:
    """It is asked before the handler runs, also where the manager's own sessions are in cookies."""
    asyncio.run(_await(place, new))


async def _await(place: Place, new: str) -> None:
    place.login(place.manager("store"), a=1)
    old = StoreEngine(Awaited(place.stores["store"]))
    engine = (
        StoreEngine(Awaited(place.stores["other"]))
        if new == "awaited"
        else place.engines[{"store": "other"}.get(new, new)]()
    )
    moving = SessionManager(engine, accept=[old], clock=place.clock)
    unread = moving.open(place.jar.header)
    with pytest.raises(SessionNotLoaded):
        unread.get("a")
    with pytest.raises(ConfigError, match="Awaited"):
        moving.core.sync_store()
    assert waits(moving)
    assert blocks(moving)

    session = await moving.aopen(place.jar.header)
    assert session["a"] == 1
    place.jar.take(await moving.acommit(session))

    session = await moving.aopen(place.jar.header)
    assert session["a"] == 1
    elsewhere = SessionManager(
        engine, cookie=Cookie("b", formerly=[Cookie("a"), Cookie("c")]), accept=[old], clock=place.clock
    )
    assert (await elsewhere.aopen("d=1; c=2")).subject is None
    session.logout()
    await moving.acommit(session)
    assert place.manager("store").open(place.jar.header).subject is None
    await moving.aclose()


# --- with what else a session may have


@pytest.mark.parametrize(("old", "new"), CROSS)
def test_somebody_who_acts_as_another_is_logged_out_by_a_move(place: Place, old: str, new: str) -> None:
    """Her own session waits where the new engine does not look: acting without a way back is what must not be."""
    sessions = place.manager(old)
    place.login(sessions, "admin")
    session = sessions.open(place.jar.header)
    session.impersonate("alice")
    place.jar.take(sessions.commit(session))

    assert place.visit(place.manager(new, old)).subject is None
    assert place.reasons() == ["actor_ended"]


def test_engines_of_other_programs_move_nothing(place: Place, tmp_path: Path) -> None:
    """Their ids are no others', so what is moved would be another session for each request."""

    class Custom:
        store = None

        def load(self) -> None: ...

        def save(self) -> None: ...

        def bind(self, policy: Any) -> None: ...

    custom: Any = Custom()
    shared = StoreEngine(FileStore(tmp_path, "json", layout="dancer2"))
    for engine in (custom, shared):
        with pytest.raises(ConfigError, match="moves sessions to hardtack's own engines"):
            SessionManager(engine, accept=[CookieEngine(KEY)])
    with pytest.raises(ConfigError, match="layout="):
        SessionManager(KEY, accept=[shared])


def test_a_foreign_format_in_an_engine_is_the_format(place: Place) -> None:
    """What it reads is taken over as ever."""
    flask = FlaskCookie("secret", subject=lambda data: data.get("user"))
    old = SessionManager(CookieEngine(flask), cookie=Cookie("session"), clock=place.clock)
    place.visit(old, user="alice")
    new = SessionManager(KEY, accept=[CookieEngine(flask)], clock=place.clock)

    assert place.visit(new).subject == "alice"
    assert list(place.jar.cookies) == [NAME]
    assert new.accept == (flask,)


def test_the_way_back_to_another_systems_cookie(place: Place) -> None:
    """The first deploy of a move from Flask, and the last of the way back: Flask's form is written, and ours accepted."""
    flask = FlaskCookie("secret")
    cookie = Cookie("session", formerly=[Cookie()])
    back = SessionManager(CookieEngine(flask), cookie=cookie, accept=[CookieEngine(KEY)], clock=place.clock)
    place.login(place.manager("cookie"), user="alice")

    assert place.visit(back)["user"] == "alice"
    assert list(place.jar.cookies) == ["session"]
    assert (
        place.visit(SessionManager(CookieEngine(flask), cookie=Cookie("session"), clock=place.clock))["user"] == "alice"
    )


def test_a_format_that_names_no_key_moves_by_its_cookie(place: Place) -> None:
    """The id in the store is made of the cookie's value: parallel requests come with the same."""
    place.login(SessionManager(CookieEngine(NoKeys()), clock=place.clock), a=1)
    moving = SessionManager(
        StoreEngine(place.stores["store"]), accept=[NoKeys()], clock=place.clock, on_event=place.events.append
    )
    first, second = moving.open(place.jar.header), moving.open(place.jar.header)
    assert first.id == second.id
    assert dict(first) == {"a": 1}


def test_a_bound_session_stays_bound(place: Place) -> None:
    """The binding is in the record; a manager that binds stores what it moves at once."""
    place.login(place.manager("cookie"), a=1)
    moving = place.manager("store", "cookie", binding=DeviceBinding(keys=KEY))

    assert place.visit(moving)["a"] == 1
    assert place.visit(place.manager("store"))["a"] == 1
    place.jar = Jar()
    place.login(place.manager("store"), a=1)
    ended = _list(place)
    moving = place.manager("cookie", "store", binding=DeviceBinding(keys=KEY), ended=ended)
    assert place.visit(moving)["a"] == 1
    moving.close()


def test_a_logout_from_another_systems_cookie_knows_of_no_record(place: Place) -> None:
    """Its form says nothing of where the session was."""
    flask = CookieEngine(FlaskCookie("secret"))
    site = SessionManager(
        flask, accept=[StoreEngine(place.stores["store"])], cookie=Cookie("session"), clock=place.clock
    )
    place.visit(site, user="alice")
    session = site.open(place.jar.header)
    assert session["user"] == "alice"
    session.logout()
    place.jar.take(site.commit(session))

    assert place.jar.cookies == {}


def test_a_logout_after_the_headers_of_a_login(place: Place) -> None:
    """The request has brought no cookie, so nothing of it can be in the other engine."""
    ended = _list(place)
    site = place.manager("cookie", "store", ended=ended)
    session = site.open("")
    session.login("alice")
    place.jar.take(site.commit(session))
    session.logout()
    site.finish(session)

    assert site.open(place.jar.header).subject is None
    site.close()


class Plain:
    """A store that can do what it must, and nothing beside."""

    blocking = False

    def __init__(self, store: MemoryStore) -> None:
        self.get, self.put, self.delete, self.close = store.get, store.put, store.delete, store.close


def test_end_all_leaves_what_cannot_be_found_to_the_list(place: Place) -> None:
    """An accepted store without `find` is no obstacle where there is a list; without one it is said."""
    ended = _list(place)
    plain = StoreEngine(Plain(place.stores["store"]))
    site = SessionManager(place.engines["other"](), accept=[plain], ended=ended, clock=place.clock)
    place.login(place.manager("store", ended=ended))

    site.end_all("alice")

    assert site.list("alice") == []
    assert site.open(place.jar.header).subject is None
    site.close()
    with pytest.raises(ConfigError, match="find"):
        SessionManager(place.engines["other"](), accept=[plain]).end_all("alice")


def test_end_all_says_that_an_old_store_is_down(place: Place) -> None:
    """The list was told all the same."""
    ended = _list(place)
    store = Failing(place.clock)
    place.login(SessionManager(StoreEngine(store), ended=ended, clock=place.clock))
    site = SessionManager(place.engines["other"](), accept=[StoreEngine(store)], ended=ended, clock=place.clock)
    store.failing["get"] = StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        site.end_all("alice")

    store.failing.clear()
    assert site.open(place.jar.header).subject is None
    site.close()

"""What an adapter of a framework may ask of a session and of its manager, beside opening and committing."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.kit import KEY, START, Site

from hardtack import Cookie, CookieEngine, Key, SessionManager, StoreEngine, adapters
from hardtack.adapters import Answer
from hardtack.binding import DeviceBinding
from hardtack.errors import (
    ConfigError,
    CrossSiteRequest,
    HardtackError,
    InvalidToken,
    SessionConflict,
    SessionFinished,
    SessionNotLoaded,
    SessionTooLarge,
    StoreUnavailable,
    TooManySessions,
    UnsupportedValue,
)
from hardtack.events import LoggedIn, Opened, StoreFailed
from hardtack.protocols import Context
from hardtack.record import Record
from hardtack.request import Request
from hardtack.session import SENTINEL, Session, state_of
from hardtack.state import State
from hardtack.stores.memory import MemoryStore


def stored(**options: Any) -> Site:
    return Site(StoreEngine(MemoryStore()), **options)


class Theirs:
    """A token format of another system."""

    cookie_name = "theirs"
    path = "/app"
    authenticates_time = True
    format_name = "theirs"

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        value = cookies[self.cookie_name][-1]
        if not value.startswith("ok"):
            raise InvalidToken("malformed")
        return Record(b"x" * 16, START - 100, None, START - 50, None, {}, {"user": value})


class AsyncStore:
    """A store that only async code can reach."""

    def __init__(self) -> None:
        self.kept = MemoryStore()

    async def get(self, key: str) -> Any:
        return self.kept.get(key)

    async def put(self, key: str, data: bytes, **options: Any) -> Any:
        return self.kept.put(key, data, **options)

    async def delete(self, key: str, **options: Any) -> bool:
        return self.kept.delete(key, **options)

    async def close(self) -> None:
        self.kept.close()


class Down(MemoryStore):
    """A store that cannot be reached while it is `down`."""

    down = False

    def get(self, key: str) -> Any:
        if self.down:
            raise StoreUnavailable("down")
        return super().get(key)


# --- the manager


def test_an_adapter_takes_a_manager() -> None:
    """And names what it was given in its place."""
    sessions = SessionManager(KEY)

    assert adapters.check_manager(sessions, "install()") is sessions
    with pytest.raises(ConfigError, match=r"^install\(\) takes a SessionManager, not str$"):
        adapters.check_manager("sessions", "install()")
    with pytest.raises(ConfigError, match=r"^install\(\) takes a SessionManager, not the class SessionManager$"):
        adapters.check_manager(SessionManager, "install()")


def test_a_sync_adapter_refuses_an_async_store() -> None:
    """When the application starts, not with its first request."""
    sessions = SessionManager(StoreEngine(AsyncStore()))

    assert adapters.check_manager(sessions, "Middleware(app, sessions)") is sessions
    with pytest.raises(ConfigError, match=r"^AsyncStore is for async code, and Middleware is not: use the sync twin"):
        adapters.check_manager(sessions, "Middleware(app, sessions)", sync=True)


def test_idle_deadline_that_moves_with_saves_alone() -> None:
    """A request that only reads renews nothing, and one that saves moves it each time."""
    site = stored(idle_timeout=100)
    adapters.renew_only_when_saved(site.sessions)
    site.visit(n=1)
    site.clock.now += 50
    site.open().get("n")

    session = site.open()
    assert session["n"] == 1
    assert not adapters.renewal_due(session)
    site.commit(session)
    assert site.open().seen_at.timestamp() == START
    site.clock.now += 1
    site.visit(n=2)
    assert site.open().seen_at.timestamp() == START + 51


@pytest.mark.parametrize("make", [Site, stored], ids=["cookie", "store"])
def test_a_session_that_goes_on_as_it_is(make: Callable[..., Site]) -> None:
    """It says what a commit would, and the session is committed: a later change is told as any late one is."""
    site = make()
    site.visit(n=1, deep={"a": [1]})
    for look in (lambda session: session["n"], lambda session: session["deep"], dict):
        session, committed = site.open(), site.open()
        look(session)
        look(committed)
        changes, expected = adapters.rest(session), site.sessions.commit(committed)
        assert changes is not None
        assert list(changes) == list(expected)
        session["n"] = 2
        site.sessions.finish(session)
        with pytest.raises(SessionFinished):
            session["n"] = 3


def _changed_inside(session: Session) -> None:
    session["deep"]["a"].append(2)


def _cannot_be_kept(session: Session) -> None:
    session["deep"]["a"].append(object())


@dataclasses.dataclass
class _Counted:
    n: int


def _changed_in_a_view(session: Session) -> None:
    session.view(_Counted).n = 2


@pytest.mark.parametrize(
    "change",
    [
        _changed_inside,
        _cannot_be_kept,
        _changed_in_a_view,
        lambda session: session.update(n=2),
        lambda session: session.login("bob"),
        lambda session: session.logout(),
        lambda session: session.regenerate(),
        lambda session: setattr(session, "modified", True),
    ],
    ids=["inside", "unsupported", "view", "assigned", "login", "logout", "regenerate", "forced"],
)
@pytest.mark.parametrize("make", [Site, stored], ids=["cookie", "store"])
def test_a_session_that_does_not_go_on_as_it_is(make: Callable[..., Site], change: Callable[[Session], object]) -> None:
    """It is left for a commit, as if nobody had asked."""
    site = make()
    site.visit(n=1, deep={"a": [1]})
    session = site.open()
    change(session)

    assert adapters.rest(session) is None
    if change is _cannot_be_kept:
        with pytest.raises(UnsupportedValue):
            site.sessions.commit(session)
        return
    site.commit(session)
    assert dict(site.open()) == dict(session)


def test_what_has_to_be_committed_though_nothing_was_changed() -> None:
    """One that is due to be renewed, one that a key which issues no longer has sealed, nobody's, and one that is bound."""
    site = stored(idle_timeout=100)
    site.visit(n=1)
    site.clock.now += 50
    due = site.open()
    assert due["n"] == 1
    assert adapters.rest(due) is None
    assert adapters.rest(site.sessions.open()) is None
    assert adapters.rest(Session()) is None
    bound = stored(binding=DeviceBinding(keys=KEY))
    bound.visit(n=1)
    session = bound.open()
    assert session["n"] == 1
    assert adapters.rest(session) is None


def test_sessions_that_end_at_once() -> None:
    """What was stored is not found by the next request."""
    site = stored()
    adapters.end_at_once(site.sessions)

    session = site.open()
    session["n"] = 1
    lines = site.sessions.commit(session).set_cookies

    assert dict(site.sessions.open(lines[0].partition(";")[0])) == {}


def test_another_cookie_for_the_same_sessions() -> None:
    """A path's own cookie holds what the manager's does, and the manager keeps its own."""
    site = stored(idle_timeout=100)
    adapters.renew_only_when_saved(site.sessions)

    other = adapters.with_cookie(site.sessions, Cookie("other", path="/shop"))

    session = other.open()
    session["n"] = 1
    line = other.commit(session).set_cookies[0]
    assert line.startswith("other=")
    assert "Path=/shop" in line
    assert site.sessions.cookie.name != "other"
    assert other.core.always_renews
    assert other.open(line.partition(";")[0])["n"] == 1


def test_the_cookie_on_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Once, and only where the browser drops it."""
    sessions = SessionManager(KEY)
    with caplog.at_level(logging.WARNING):
        adapters.warn_plain_http(sessions, "https", "example.org")
        assert not caplog.messages
        for _ in range(2):
            adapters.warn_plain_http(sessions, "http", "example.org")

    assert len(caplog.messages) == 1


# --- the session


def test_modified_can_be_assigned() -> None:
    """True forces a save, False withdraws that force."""
    site = stored()
    site.visit(n=1)
    session = site.open()

    adapters.mark_modified(session, modified=True)
    assert session.modified
    adapters.mark_modified(session, modified=False)
    assert not session.modified


def test_modified_cannot_be_assigned_after_the_request() -> None:
    """As no other change can be made then; to withdraw a force changes nothing."""
    site = stored()
    session = site.visit(n=1)
    site.sessions.finish(session)

    with pytest.raises(SessionFinished):
        adapters.mark_modified(session, modified=True)
    adapters.mark_modified(session, modified=False)


def test_the_clock_is_the_managers() -> None:
    """Or the machine's, for a session of no manager."""
    assert adapters.now_of(Site().open()) == START
    assert 1_700_000_000 < adapters.now_of(Session()) < START


def test_changes_are_shown_without_their_cookies() -> None:
    """The value of a cookie is a credential: a log has their number alone."""
    changes = adapters.Changes(["session=secret"], accessed=True)

    assert repr(changes) == "<Changes accessed=True no_store=False dropped='' set_cookies=1>"


def test_what_was_refused_is_not_saved_later() -> None:
    """The session can be read, and a write says that it comes too late."""
    site = stored()
    session = site.open()
    session["n"] = 1
    adapters.discard(session)
    site.sessions.finish(session)

    assert session["n"] == 1
    with pytest.raises(SessionFinished):
        session["n"] = 2


def test_the_id_as_far_as_it_is_known() -> None:
    """Asking loads nothing, and is no look."""
    site = stored()
    assert adapters.known_id(site.open()) is None
    known = site.visit(n=1).id
    session = site.open()
    assert adapters.known_id(session) is None

    adapters.look(session)

    assert adapters.known_id(session) == known
    assert adapters.is_unread(session)
    assert not session.accessed


def test_a_session_of_one_cookie() -> None:
    """Who knows its value alone can send no second one, until the request is known that the session is of."""
    sessions = SessionManager(CookieEngine(Key.generate(), overflow="chunk"), cookie=Cookie.for_development(name="sid"))
    first = sessions.open()
    first["big"] = os.urandom(3000)
    chunks = [line.partition(";")[0] for line in sessions.commit(first).set_cookies]
    header = "; ".join(["other=1", *chunks, "sid.x=1"])
    session = sessions.open()
    adapters.limit_to_one_cookie(session, "; two need more")
    session["big"] = os.urandom(3000)
    with pytest.raises(SessionTooLarge, match="two need more"):
        sessions.commit(session)

    adapters.join_request(session, header, Request(passive=True))

    names = [line.partition("=")[0] for line in sessions.commit(session).set_cookies]
    assert names == ["sid.0", "sid.1"]
    assert state_of(session).passive
    session["big"] = b""
    changed = sessions.commit(session).set_cookies
    assert [(line.partition("=")[0], "Max-Age=0" in line) for line in changed] == [
        ("sid", False),
        ("sid.0", True),
        ("sid.1", True),
    ]


def test_a_session_joins_a_request_that_has_other_cookies() -> None:
    """What the browser has of the name is cleared when it is no longer written, and what the response has set already."""
    sessions = SessionManager(CookieEngine(Key.generate(), overflow="chunk"), cookie=Cookie.for_development(name="sid"))
    session = sessions.open()
    session["n"] = 1

    adapters.join_request(session, "sid.0=2abcdef; sid.9=1; mine=1", None, ["sid.1"])

    lines = sessions.commit(session).set_cookies
    assert [line.partition("=")[0] for line in lines] == ["sid", "sid.0", "sid.1"]


def test_a_session_in_a_store_joins_a_request() -> None:
    """It keeps the cookie that it has; one that is made by hand has none."""
    site = stored()
    site.visit(n=1)
    session = site.open()
    session["n"] = 2
    adapters.join_request(session, "other=1", Request("POST"))

    assert not site.commit(session).set_cookies
    assert site.visit()["n"] == 2
    made = Session({"n": 1})
    adapters.join_request(made, "sid=1")
    assert made == {"n": 1}


def test_looking_is_no_look_of_the_handler() -> None:
    """The response does not come to depend on the cookie, and nobody is told that the session was opened."""
    site = stored()
    site.visit(n=1)
    site.events.clear()
    session = site.open()

    assert [dict(adapters.look(session)) for _ in range(2)] == [{"n": 1}, {"n": 1}]
    assert not session.accessed
    assert not site.told(Opened)
    assert not site.commit(session)

    session = site.open()
    session["n"] = 2
    assert adapters.look(session) == {"n": 2}


def test_looking_where_there_is_nothing() -> None:
    """No cookie, or no manager: an empty session."""
    assert adapters.look(stored().open()) == {}
    assert adapters.look(Session({"n": 1})) == {"n": 1}


def test_looking_at_what_is_taken_over() -> None:
    """What another system's cookie holds is seen before it is stored; what does not open is nothing."""
    site = stored(accept=[Theirs()])

    session = site.sessions.open("theirs=ok1")

    assert adapters.look(session) == {"user": "ok1"}
    assert not session.accessed
    assert adapters.loaded_from_taken_over(session)
    assert adapters.look(site.sessions.open("theirs=no")) == {}
    assert not adapters.loaded_from_taken_over(site.sessions.open("theirs=no"))
    site.commit(session)
    assert not adapters.loaded_from_taken_over(site.open())


def test_preloading_is_no_look() -> None:
    """Nor does it load twice, or without a cookie, or without a manager."""

    async def story() -> None:
        sessions = SessionManager(StoreEngine(AsyncStore()))
        session = await sessions.aopen()
        session["n"] = 1
        header = (await sessions.acommit(session)).set_cookies[0].partition(";")[0]
        session = sessions.open(header)
        await adapters.preload(session)
        await adapters.preload(session)
        assert adapters.known_id(session) is not None
        assert not session.accessed
        assert session["n"] == 1
        for empty in (sessions.open(), Session()):
            await adapters.preload(empty)
            assert adapters.known_id(empty) is None

    asyncio.run(story())


def test_preloading_from_a_store_that_is_down_raises_nothing() -> None:
    """Whoever looks at the session is told."""
    store = Down()
    site = Site(StoreEngine(store))
    site.visit(n=1)
    store.down = True
    session = site.open()

    asyncio.run(adapters.preload(session))

    with pytest.raises(StoreUnavailable):
        session.get("n")


def test_a_session_that_is_handed_out_is_loaded() -> None:
    """C code that reads a dict past its methods finds all of it, where nobody notes what is read; that is a look."""
    site = Site(StoreEngine(MemoryStore(), on_conflict="last_write_wins"))
    site.visit(n=1)
    session = site.open()

    adapters.hand_out(session)

    assert dict.copy(session) == {"n": 1}
    assert site.sessions.commit(session).accessed
    adapters.hand_out(session)  # once more, which changes nothing
    assert dict.copy(session) == {"n": 1}


def test_a_session_that_cannot_be_loaded_is_handed_out_unread() -> None:
    """Who only names it is served, and who uses it is told; the store is asked once for both."""
    store = Down()
    site = Site(StoreEngine(store))
    site.visit(n=1)
    store.down = True
    named, used = site.open(), site.open()

    for session in (named, used):
        adapters.hand_out(session)
        adapters.hand_out(session)
        assert adapters.is_unread(session)
        assert list(dict.keys(session)) == [SENTINEL]  # and C code finds no empty session
    changes = site.sessions.commit(named, 200)
    with pytest.raises(StoreUnavailable):
        used.get("n")
    adapters.hand_out(used)

    assert (changes.accessed, changes.set_cookies) == (True, [])
    assert used.degraded
    assert used.get("n") is None
    with pytest.raises(StoreUnavailable):
        site.sessions.commit(used, 200)
    assert len([event for event in site.events if isinstance(event, StoreFailed)]) == 2


def test_a_logout_as_the_first_use_of_what_was_handed_out_clears_the_cookie() -> None:
    """By the error, and by whatever page the application makes of it."""
    store = Down()
    site = Site(StoreEngine(store))
    site.visit(n=1)
    store.down = True
    session = site.open()

    adapters.hand_out(session)
    with pytest.raises(StoreUnavailable) as caught:
        session.logout()

    assert "Max-Age=0" in caught.value.set_cookies[0]
    assert site.sessions.commit(session, 502).set_cookies == list(caught.value.set_cookies)


def test_a_session_that_only_async_code_can_load_is_not_handed_out_before() -> None:
    """That is a mistake of the adapter, and said at once."""
    site = Site(StoreEngine(AsyncStore()))
    session = site.sessions.open(f"{Cookie().name}={'A' * 43}")

    with pytest.raises(SessionNotLoaded):
        adapters.hand_out(session)


def test_data_can_be_replaced() -> None:
    """What is not in it goes, and the session and its user stay."""
    site = stored()
    session = site.open()
    session.login("alice")
    session.update(a=1, b=2)
    site.commit(session)
    session = site.open()
    before = session.id

    adapters.replace_data(session, {"b": 3, "c": 4})
    site.commit(session)

    session = site.open()
    assert dict(session) == {"b": 3, "c": 4}
    assert (session.subject, session.id) == ("alice", before)


def test_an_empty_session_can_be_created() -> None:
    """It is stored with the commit; one that is stored already stays as it is."""
    site = stored()
    session = site.open()
    adapters.create_empty(session)
    assert site.commit(session).set_cookies
    session = site.open()
    assert not session.is_new

    adapters.create_empty(session)

    assert site.commit(session).set_cookies == []


def test_a_session_made_by_hand_can_be_attached() -> None:
    """Then the manager commits it."""
    site = stored()
    session = Session({"n": 1})
    assert adapters.is_unattached(session)

    adapters.attach(session, site.sessions)
    adapters.mark_accessed(session)
    site.commit(session)

    assert not adapters.is_unattached(session)
    assert site.open()["n"] == 1


def test_an_empty_session_made_by_hand_has_nothing_to_say() -> None:
    """It has come from no request: there is no cookie to clear."""
    site = stored()
    session = Session()
    adapters.attach(session, site.sessions)
    adapters.mark_accessed(session)

    assert site.commit(session).set_cookies == []


def test_a_look_can_be_taken_back() -> None:
    """Where the framework knows better: the response has nothing to say."""
    session = Site().open()
    session.get("n")

    adapters.mark_accessed(session, False)

    assert not session.accessed


def test_a_state_that_knows_more() -> None:
    """The session works on it from then on."""
    session = Session()
    old = adapters.state_of(session)
    state = State(None, "", None)
    state.meta = old.meta
    state.accessed = True

    adapters.replace_state(session, state)

    assert adapters.state_of(session) is state
    assert session.accessed


def test_what_is_taken_as_loaded_is_unchanged() -> None:
    """A nested change counts from there."""
    session = Session({"cart": [1]})
    assert session.modified

    adapters.take_as_loaded(session)
    before = session.modified
    session["cart"].append(2)

    assert (before, session.modified) == (False, True)


def test_a_save_can_be_forced() -> None:
    """Of a session that nobody changed."""
    site = stored()
    site.visit(n=1)
    session = site.open()
    assert not session.modified

    adapters.force_save(session)

    assert session.modified


def test_what_is_known_of_the_cookie() -> None:
    """Its value and its age, of a session in a store that a manager opened; otherwise nothing."""
    site = stored(persistent=True, lifetime=1000)
    fresh = site.open()
    assert (adapters.cookie_value(fresh), adapters.max_age_of(fresh)) == (None, None)
    site.visit(n=1)
    site.clock.now += 10
    session = site.open()
    session.get("n")

    assert f"{site.sessions.cookie.name}={adapters.cookie_value(session)}" == site.jar.header
    assert adapters.max_age_of(session) == 990
    assert (adapters.cookie_value(Session()), adapters.max_age_of(Session())) == (None, None)
    in_cookie = Site()
    in_cookie.visit(n=1)
    session = in_cookie.open()
    session.get("n")
    assert adapters.cookie_value(session) is None
    assert not adapters.renewal_due(Session())


# --- the fields of a session


def opened(site: Site) -> tuple[Any, ...]:
    session = site.open()
    return session.subject, session.expires_at.timestamp()


def test_fields_of_a_framework_become_the_records() -> None:
    """The user has logged in, and the session ends when the framework says."""
    site = stored(lifetime=1000)
    session = site.open()
    adapters.set_fields(session, subject="alice", expires=START + 500)
    site.commit(session)

    assert opened(site) == ("alice", START + 500)
    assert [event.subject for event in site.told(LoggedIn)] == ["alice"]

    session = site.open()
    adapters.set_fields(session, subject=None)
    site.commit(session)

    assert opened(site) == (None, START + 1000)
    assert site.open().authenticated_at is None


def test_fields_that_are_as_they_were_save_nothing() -> None:
    """The same user and the same deadline."""
    site = stored()
    session = site.open()
    adapters.set_fields(session, subject="alice", expires=START + 500)
    site.commit(session)
    session = site.open()

    adapters.set_fields(session, subject="alice", expires=START + 500)

    assert not session.modified


def test_a_deadline_that_moves_is_a_renewal() -> None:
    """A parallel request that changes data is not made stale by it, nor makes it so."""
    site = stored(lifetime=1000)
    session = site.open()
    session["n"] = 1
    adapters.set_fields(session, subject="alice", expires=START + 500)
    site.commit(session)
    one, other = site.open(), site.open()
    one["n"] = one["n"] + 1
    assert other["n"] == 1
    adapters.set_fields(other, subject="alice", expires=START + 600)
    for each in (one, other):
        assert not site.commit(each).dropped

    assert opened(site) == ("alice", START + 600)
    assert site.open()["n"] == 2


def test_fields_can_be_set_twice_in_a_request() -> None:
    """The last ones count."""
    site = stored(lifetime=1000)
    session = site.open()
    adapters.set_fields(session, subject="alice", expires=START + 500)
    adapters.set_fields(session, subject="bob", expires=START + 400)
    site.commit(session)

    assert opened(site) == ("bob", START + 400)


# --- errors as responses


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailable("x"), 503), (SessionConflict("x"), 409), (CrossSiteRequest("x"), 403)]
)
def test_an_error_of_a_session_has_an_answer(error: HardtackError, status: int) -> None:
    """That no cache keeps, with the cookies of the error; only a store that is down is worth another try soon."""
    error.set_cookies = ["session=; Max-Age=0"]

    answer = adapters.answer_to(error)

    assert answer is not None
    headers = dict(answer.headers)
    assert answer.status == status
    assert headers["Set-Cookie"] == "session=; Max-Age=0"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Length"] == str(len(answer.text))
    assert ("Retry-After" in headers) == (status == 503)


@pytest.mark.parametrize("error", [ConfigError("x"), KeyError("x")])
def test_a_fault_of_the_application_has_none(error: Exception) -> None:
    """It is the framework's to show."""
    assert adapters.answer_to(error) is None
    assert adapters.cookies_of(error) == []


def test_an_error_is_the_frameworks_own_too() -> None:
    """Whichever of the two the application handles; a status that the framework lacks has no such class."""

    class Http(Exception):
        answer: Answer

    class Conflict(Http):
        pass

    class Forbidden(Http):
        pass

    def init(error: Any, answer: Answer) -> None:
        error.answer = answer

    made = adapters.http_errors({409: Conflict, 403: Forbidden}, init)
    cause = SessionConflict("lost", ["cart"])
    cause.set_cookies = ["session=; Max-Age=0"]
    conflict: Any = made[SessionConflict]
    refused: Any = made[CrossSiteRequest]

    error, other = conflict(cause), refused(CrossSiteRequest("from elsewhere"))

    assert set(made) == {SessionConflict, TooManySessions, CrossSiteRequest}
    assert isinstance(error, SessionConflict)
    assert isinstance(error, Conflict)
    assert (error.answer.status, other.answer.status) == (409, 403)
    assert (str(error), list(error.paths), error.set_cookies) == ("lost", ["cart"], ["session=; Max-Age=0"])
    assert isinstance(other, Forbidden)


def test_a_cookie_engine_has_no_store_to_wait_for() -> None:
    """A manager on cookies never waits; one on memory waits and does not block; an async store blocks an event loop."""
    managers = [SessionManager(engine) for engine in (CookieEngine(KEY), StoreEngine(MemoryStore()))]

    assert [adapters.waits(each) for each in managers] == [False, True]
    assert [adapters.blocks(each) for each in managers] == [False, False]
    assert adapters.blocks(SessionManager(StoreEngine(AsyncStore())))


def test_an_end_of_ones_own_can_follow() -> None:
    """What the session became meanwhile ends as well, as with a logout; or what this request knows alone."""
    for follows in (True, False):
        site = stored()
        site.visit(n=1)
        one, other = site.open(), site.open()
        assert one["n"] == other["n"]
        one.regenerate()
        site.commit(one)

        adapters.end_own(other, follows=follows)
        site.sessions.commit(other)

        assert bool(site.open()) is not follows


def test_the_lines_that_clear_what_is_taken_over() -> None:
    """Of each cookie that the request carries, and of no other."""
    site = stored(accept=[Theirs()])

    assert len(adapters.foreign_lines(site.sessions, "theirs=ok1; other=1")) == 1
    assert adapters.foreign_lines(site.sessions, "other=1") == ()


def test_a_logout_that_cannot_be_carried_out_clears_the_cookie() -> None:
    """With the answer to the error, so that the browser at least has it no more."""
    store = Down()
    site = Site(StoreEngine(store, on_store_error="anonymous"))
    site.visit(n=1)
    store.down = True
    session = site.open()
    assert session.degraded
    assert dict(session) == {}

    with pytest.raises(StoreUnavailable) as failed:
        session.destroy()

    (line,) = adapters.cookies_of(failed.value)
    assert line.startswith(f"{site.sessions.cookie.name}=; ")
    assert "Max-Age=0" in line


def test_a_logout_that_another_site_sent_clears_no_cookie() -> None:
    """It is refused, and the user stays logged in."""
    site = stored(cross_site="refuse")
    site.visit(n=1)
    request = Request("POST", "https", "example.org", "https://evil.example", "cross-site", "/logout")
    session = site.sessions.open(site.jar.header, request)

    with pytest.raises(CrossSiteRequest) as refused:
        session.destroy()

    assert adapters.cookies_of(refused.value) == []
    assert site.open()["n"] == 1


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize(
    ("headers", "cookie"),
    [
        ([], b""),
        ([(b"cookie", b"a=1")], b"a=1"),
        ([(b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2")], b"a=1; b=2"),
        ([(b"x", b"1"), (b"x", b"2"), (b"cookie", b"a=1")], b"a=1"),
    ],
)
def test_the_cookie_header_of_a_scope(kind: Any, headers: list[tuple[bytes, bytes]], cookie: bytes) -> None:
    """HTTP/2 may have split it (RFC 9113 8.2.3), and a server may give any sequence of headers."""
    assert adapters.cookie_header({"headers": kind(headers)}) == cookie

"""The list of ended sessions in a manager: what a request with an ended session gets, on both engines."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import pytest
from tests.ended.kit import eventually
from tests.kit import KEY, START, Clock, Jar, Site

from hardtack import CookieEngine, EndedSessions, Request, SessionManager, StoreEngine
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.entries import Subject
from hardtack.ended.follower import clock
from hardtack.errors import ConfigError, SessionConflict, SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.events import Conflict, Destroyed, IdChanged, LateWrite, LoggedOut, Rejected
from hardtack.foreign.mojolicious import MojoliciousCookie
from hardtack.foreign.starlette import StarletteCookie
from hardtack.foreign.trickster import TricksterCookie
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import RedisStore

POST = Request(method="POST")
GET = Request(method="GET")

Make = Callable[..., Any]


class Away(MemoryChannel):
    """A channel that can be cut off, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.appends = 0
        self.reads = 0

    def append(self, make: Any, keep: int | None) -> None:
        if self.away:
            raise StoreUnavailable("the channel is away")
        self.appends += 1
        super().append(make, keep)

    def read(self, position: str, wait: float) -> Any:
        if self.away:
            raise StoreUnavailable("the channel is away")
        self.reads += not wait  # the thread's own wait for entries
        return super().read(position, wait)


@pytest.fixture
def channel() -> Away:
    """One channel, which the managers of a test share."""
    return Away()


def begun(site: Site) -> Site:
    """The site, once its list was read: its first request waits for that for a second, which a busy machine exceeds."""
    begin(site.sessions)
    return site


def begin(sessions: SessionManager) -> SessionManager:
    assert sessions.core.ended is not None
    sessions.core.ended.start(timeout=30)
    return sessions


@pytest.fixture(params=["cookie", "store"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    """Both engines."""
    kind: str = request.param
    return kind


@pytest.fixture
def make_site(channel: Away, engine_kind: str) -> Iterator[Make]:
    """Makes sites that share the channel, and a store where there is one."""
    made: list[Site] = []
    store = MemoryStore()

    def make(**options: Any) -> Site:
        listed = {name: options.pop(name) for name in ("max_stale", "on_stale") if name in options}
        ended = EndedSessions(lambda purpose: channel, key=KEY, **listed)
        engine = CookieEngine(KEY) if engine_kind == "cookie" else StoreEngine(store)
        made.append(begun(Site(engine, ended=ended, **options)))
        return made[-1]

    yield make
    for each in made:
        each.sessions.close()


@pytest.fixture
def site(make_site: Make) -> Any:
    """One of them."""
    return make_site()


@pytest.fixture
def cookies(channel: Away) -> Iterator[Site]:
    """One whose sessions are in cookies."""
    site = begun(Site(CookieEngine(KEY), ended=EndedSessions(lambda purpose: channel)))
    yield site
    site.sessions.close()


def log_in(site: Site, subject: str = "alice", jar: Jar | None = None, **data: Any) -> str:
    """Log in, and return the session's id."""
    jar = site.jar if jar is None else jar
    session = site.sessions.open(jar.header)
    session.login(subject)
    session.update(data)
    jar.take(site.sessions.commit(session))
    found: str = session.id
    return found


def who(site: Site, header: str | None = None) -> str | None:
    """Who is logged in with a Cookie header."""
    subject: str | None = site.sessions.open(site.jar.header if header is None else header).subject
    return subject


# --- a session that was ended


def test_a_copy_of_the_cookie_dies_with_the_logout(site: Any) -> None:
    """In the same process at once, and an event says why."""
    log_in(site)
    copied = site.jar.header
    session = site.open()
    session.logout()
    site.commit(session)

    assert who(site, copied) is None
    assert not site.told(Destroyed)[-1].old_still_valid
    assert site.told(Rejected)


def test_a_copy_of_the_old_id_dies_with_a_new_one(cookies: Site) -> None:
    """Neither it nor a slow request brings the old session back."""
    before = cookies.visit(a=1)
    copied = cookies.jar.header
    slow = cookies.open()
    slow["late"] = 1
    new_id = log_in(cookies)

    assert cookies.sessions.commit(slow).set_cookies == []
    assert dict(cookies.sessions.open(copied)) == {}
    assert [event.reason for event in cookies.told(Rejected)] == ["revoked"]
    assert cookies.told(IdChanged) == [IdChanged(before.id, new_id, old_still_valid=False)]
    assert dict(cookies.open()) == {"a": 1}


@pytest.mark.parametrize(("change", "ended"), [("regenerate", False), ("logout", True)])
@pytest.mark.parametrize("value", [object(), "x" * 5000], ids=["unsupported", "too large"])
def test_what_cannot_be_kept_ends_nothing_but_at_a_logout(
    change: str, ended: bool, value: object, cookies: Site
) -> None:
    """The request fails, and nothing of it is saved; an end happens whatever else the request did."""
    cookies.visit(a=1)
    session = cookies.open()
    getattr(session, change)()
    session["b"] = value

    with pytest.raises((UnsupportedValue, SessionTooLarge)) as caught:
        cookies.sessions.commit(session)

    assert bool(caught.value.set_cookies) is ended
    assert dict(cookies.open()) == ({} if ended else {"a": 1})


def test_a_slow_request_of_an_ended_session_is_told(site: Any) -> None:
    """As an error where it asked for a change, and once: finish does not tell it again."""
    log_in(site)
    slow = [site.sessions.open(site.jar.header, request) for request in (GET, POST)]
    assert [each.subject for each in slow] == ["alice", "alice"]
    site.sessions.end(slow[0].id)
    for each in slow:
        each["late"] = 1

    assert site.sessions.commit(slow[0]).dropped == "dead"
    with pytest.raises(SessionConflict):
        site.sessions.commit(slow[1])

    site.sessions.finish(slow[0])
    assert [event.outcome for event in site.told(Conflict)] == ["dropped", "dropped"]
    assert site.told(LateWrite) == []


def test_a_logout_in_the_page_for_a_conflict_clears_the_cookie(site: Any) -> None:
    """The session is over already; nobody else tells the browser."""
    log_in(site)
    slow = site.sessions.open(site.jar.header, POST)
    slow["late"] = 1
    site.sessions.end(slow.id)
    with pytest.raises(SessionConflict):
        site.sessions.commit(slow)

    slow.logout()

    assert "Max-Age=0" in site.sessions.abort(slow).set_cookies[0]


def test_a_slow_request_does_not_replace_the_cookie_of_a_faster_login(cookies: Site) -> None:
    """It came with the old id after the login was committed, and its response arrives last."""
    cookies.visit(a=1)
    old = cookies.jar.header
    log_in(cookies)

    late = cookies.sessions.open(old)
    late["seen"] = 1
    changes = cookies.sessions.commit(late)

    assert (changes.dropped, changes.set_cookies) == ("dead", [])


def test_after_an_end_a_late_request_begins_anew(cookies: Site) -> None:
    """The login form that is shown after a logout stores something: it must not be dropped for a minute."""
    log_in(cookies)
    old = cookies.jar.header
    session = cookies.open()
    session.logout()
    cookies.commit(session)

    late = cookies.sessions.open(old)
    late["csrf"] = 1
    changes = cookies.commit(late)

    assert changes.dropped == ""
    assert dict(cookies.open()) == {"csrf": 1}


def test_ten_seconds_after_a_change_what_comes_begins_anew(cookies: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser did not get the new cookie: the visitor must not be locked out."""
    cookies.visit(a=1)
    old = cookies.jar.header
    session = cookies.open()
    session.regenerate()
    cookies.commit(session)
    follower = cookies.sessions.core.ended._parts[0]  # type: ignore[union-attr, index]
    now = follower.estimate()
    monkeypatch.setattr(follower, "estimate", lambda: now + 11_000_000)

    late = cookies.sessions.open(old)
    late["b"] = 1
    changes = cookies.sessions.commit(late)

    assert changes.dropped == ""
    assert changes.set_cookies != []


def test_a_logout_of_a_session_that_has_a_new_id_clears_the_cookie(cookies: Site) -> None:
    """The page says "logged out", so the browser forgets the cookie."""
    cookies.visit(a=1)
    leaving, renewed = cookies.open(), cookies.open()
    leaving.logout()
    renewed.regenerate()
    cookies.commit(renewed)
    cookies.commit(leaving)

    assert cookies.jar.cookies == {}


def test_a_flush_of_a_session_that_has_a_new_id_leaves_its_cookie_alone(cookies: Site) -> None:
    """A framework's own, which is no logout: the browser has got, or is about to get, the cookie of what goes on."""
    from hardtack.adapters import end_own

    log_in(cookies)
    flushed, arrived_late = cookies.open(), cookies.jar.header
    session = cookies.open()
    session.regenerate()
    cookies.commit(session)
    end_own(flushed, follows=False)
    later = cookies.sessions.open(arrived_late)
    end_own(later, follows=False)

    assert cookies.sessions.commit(flushed).set_cookies == []
    assert cookies.sessions.commit(later).set_cookies == []
    assert who(cookies) == "alice"


def test_a_plain_save_tells_nothing(site: Any, channel: Away) -> None:
    """A change of data ends nothing."""
    site.visit(a=1)
    site.visit(a=2)

    assert channel.appends <= 1  # the limits
    assert dict(site.open()) == {"a": 2}


# --- logins on a dead id


def test_a_login_with_an_ended_session_takes_nothing_along(site: Any) -> None:
    """Who was logged out everywhere must not find what was loaded in the next session; what the request assigned is there."""
    log_in(site, cart=1)
    session = site.open()
    session["next"] = "/pay"  # which loads it
    site.sessions.end_all("alice")
    session.login("alice")
    site.commit(session)

    assert who(site) == "alice"
    assert dict(site.open()) == {"next": "/pay"}


def test_a_login_with_a_changed_id_takes_its_data_along(cookies: Site) -> None:
    """Two clicks on "Log in": both count."""
    cookies.visit(cart=1)
    first, second = cookies.open(), cookies.open()
    first.login("alice")
    second.login("alice")
    cookies.commit(first)
    cookies.commit(second)

    assert (who(cookies), dict(cookies.open())) == ("alice", {"cart": 1})


def test_a_login_as_somebody_else_with_an_ended_session(site: Any) -> None:
    """The other's is ended already."""
    log_in(site, "bob", secret=1)
    session = site.open()
    session.login("alice")
    session["own"] = 1
    site.sessions.end_all("bob")
    site.commit(session)

    assert (who(site), dict(site.open())) == ("alice", {"own": 1})


@pytest.mark.parametrize("change", ["regenerate", "confirm"])
def test_a_new_id_of_an_ended_session_is_nobodys(change: str, site: Any) -> None:
    """Who trickles a request past `end_all` must not come out of it as alice; what the request assigned is kept."""
    log_in(site, cart=1)
    session = site.open()
    getattr(session, change)()
    session["step"] = 2
    site.sessions.end_all("alice")
    site.commit(session)

    assert (who(site), dict(site.open())) == (None, {"step": 2})


def test_a_new_id_of_an_ended_session_without_anything_to_keep(site: Any) -> None:
    """Nothing begins."""
    log_in(site)
    session = site.open()
    session.regenerate()
    site.sessions.end_all("alice")

    assert site.commit(session).dropped == "dead"
    assert who(site) is None


def test_a_framework_that_logs_in_under_the_same_id(site: Any) -> None:
    """The id is dead: it gets another."""
    from hardtack.adapters import set_fields

    log_in(site, "alice")
    session = site.open()
    assert session.subject == "alice"
    site.sessions.end_all("alice")
    set_fields(session, subject=None)
    set_fields(session, subject="bob")
    site.commit(session)

    assert who(site) == "bob"


# --- ends from outside of a request


def test_end_ends_what_matches_both(site: Any) -> None:
    """An id is public: of another user's session it ends nothing."""
    session_id = log_in(site)

    site.sessions.end(session_id, "bob")
    assert who(site) == "alice"

    assert site.sessions.end(session_id, "alice")
    assert who(site) is None
    assert site.told(LoggedOut)[-1] == LoggedOut(session_id, "alice", "ended")


def test_under_async_code(site: Any) -> None:
    """The same, by the async methods."""

    async def run() -> None:
        sessions = site.sessions
        await sessions.astart()
        ends: list[Callable[[Any], Any]] = [
            lambda it: sessions.aend(it.id, "alice"),
            lambda it: sessions.aend_all("alice"),
            lambda it: sessions.aend_all(sid="s"),
            lambda it: sessions.aend_everything(),
        ]
        for end in ends:
            session = await sessions.aopen()
            session.login("alice", sid="s")
            site.jar.take(await sessions.acommit(session))
            copied = site.jar.header
            session = await sessions.aopen(copied)
            assert session.subject == "alice"
            await end(session)
            assert (await sessions.aopen(copied)).subject is None
        await sessions.aclose()

    anyio.run(run)


def test_async_code_waits_for_a_stale_list_before_the_handler(site: Any, channel: Away) -> None:
    """On the event loop nobody waits; who has no session is served."""
    log_in(site)
    _stale(site, channel)

    async def run() -> None:
        with pytest.raises(StoreUnavailable):
            await site.sessions.aopen(site.jar.header)
        assert (await site.sessions.aopen("")).subject is None

    anyio.run(run)


@pytest.mark.parametrize("given", ["", "!", "AAAA", "A" * 60])
def test_end_of_what_is_no_id(given: str, cookies: Site, channel: Away) -> None:
    """Is told to nobody."""
    assert cookies.sessions.end(given) is False
    assert channel.appends == 0


def test_end_all_ends_all_but_the_kept(site: Any) -> None:
    """Which goes on, also with its next id."""
    jars = [Jar() for _ in range(3)]
    ids = [log_in(site, jar=jar) for jar in jars]

    site.sessions.end_all("alice", keep=ids[1])

    assert [who(site, jar.header) for jar in jars] == [None, "alice", None]
    session = site.sessions.open(jars[1].header)
    session.confirm("totp")
    jars[1].take(site.sessions.commit(session))
    assert who(site, jars[1].header) == "alice"

    site.sessions.end_all("alice", keep="no id at all")
    assert who(site, jars[1].header) is None


def test_end_all_in_the_request_that_gets_a_new_id(site: Any) -> None:
    """It is kept by its new id, which is not stored yet."""
    log_in(site)
    session = site.open()
    session.regenerate()
    site.sessions.end_all("alice", keep=session.id)
    site.commit(session)

    assert who(site) == "alice"


@pytest.mark.parametrize("skew", [-300, 0, 300])
def test_a_login_after_end_all_lives_and_one_before_is_dead(skew: int, make_site: Make) -> None:
    """In one request, in the next, and from a server whose clock is five minutes off."""
    here, there = make_site(), make_site()
    there.clock.now = START + skew
    before = Jar()
    log_in(there, jar=before)

    session = here.open()
    here.sessions.end_all("alice")
    session.login("alice")
    here.commit(session)
    log_in(there)

    assert [who(there, header) for header in (before.header, there.jar.header)] == [None, "alice"]
    assert who(here) == "alice"


def test_end_everything(site: Any, make_site: Make) -> None:
    """Anonymous sessions too; not who comes afterwards, whatever their server's clock says."""
    anonymous, later = Jar(), make_site()
    anonymous.take(site.sessions.commit(_put(site.sessions.open(), a=1)))
    log_in(site)

    site.sessions.end_everything()

    assert who(site) is None
    assert dict(site.sessions.open(anonymous.header)) == {}
    later.clock.now = START - 300
    later.visit(b=1)
    assert dict(later.open()) == {"b": 1}


def test_the_sessions_of_a_login_at_a_provider(site: Any) -> None:
    """OpenID Connect back-channel logout."""
    for jar, sid in ((site.jar, "s1"), (other := Jar(), "s2")):
        session = site.sessions.open()
        session.login("alice", sid=sid)
        jar.take(site.sessions.commit(session))

    assert site.sessions.end_all(sid="s1") == 0

    assert (who(site), who(site, other.header)) == (None, "alice")


@pytest.mark.parametrize(
    "given", [{}, {"subject": "a", "sid": "b"}, {"sid": "b", "keep": "c"}, {"sid": ""}, {"sid": 1}]
)
def test_end_all_of_what_is_not_clear(given: dict[str, Any], site: Any) -> None:
    """Nobody is ended by mistake."""
    with pytest.raises(TypeError, match="end_all"):
        site.sessions.end_all(**given)


@pytest.mark.parametrize("call", [lambda it: it.end_everything(), lambda it: it.end_all(sid="s")])
def test_what_needs_a_list(call: Any) -> None:
    """Says so."""
    with pytest.raises(ConfigError, match="ended=EndedSessions"):
        call(SessionManager(StoreEngine(MemoryStore())))


def test_stored_sessions_that_are_on_the_list_are_not_listed(make_site: Make, engine_kind: str) -> None:
    """Of a store whose index has lost them, as one that evicts."""
    if engine_kind == "cookie":
        pytest.skip("cookies are not listed")
    site = make_site()
    log_in(site)
    assert len(site.sessions.list("alice")) == site.sessions.count("alice") == 1

    site.sessions.core.ended.end_subject("alice")

    assert site.sessions.list("alice") == []
    assert site.sessions.count("alice") == 0
    assert who(site) is None


@pytest.mark.program("redis")
def test_no_stored_session_outruns_its_end(redis_server: Any, channel: Away) -> None:
    """Sessions get new ids as fast as they can, on a store, while all of their user are ended."""
    store = RedisStore.from_url(redis_server.url)
    site = begun(Site(StoreEngine(store), purpose="race", ended=EndedSessions(lambda purpose: channel, key=KEY)))
    jars = [Jar() for _ in range(4)]

    def race(jar: Jar) -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            session = site.sessions.open(jar.header)
            if session.subject is None:
                return
            session.regenerate()
            with suppress(SessionConflict):
                jar.take(site.sessions.commit(session))
        pytest.fail("it was never ended")

    for _ in range(5):
        for jar in jars:
            log_in(site, jar=jar)
        with ThreadPoolExecutor() as pool:
            racing = [pool.submit(race, jar) for jar in jars]
            time.sleep(0.02)
            site.sessions.end_all("alice")
            for each in racing:
                each.result()
        assert site.sessions.list("alice") == []
    site.sessions.close()


def test_a_store_that_is_down_does_not_keep_the_list_from_being_told(channel: Away) -> None:
    """The end is known to all, and the caller that it was not done in full."""

    class Down(MemoryStore):
        def find(self, subject: str) -> Any:
            raise StoreUnavailable("the store is away")

    site = begun(Site(StoreEngine(Down()), ended=EndedSessions(lambda purpose: channel, key=KEY)))
    log_in(site)

    with pytest.raises(StoreUnavailable, match="the store is away"):
        site.sessions.end_all("alice")

    assert who(site) is None
    site.sessions.close()


def test_a_store_that_cannot_find_sessions(channel: Away) -> None:
    """The list ends them."""

    class Plain:
        """A store without find()."""

        blocking = False

        def __init__(self) -> None:
            store = MemoryStore()
            self.get, self.put, self.delete, self.close = store.get, store.put, store.delete, store.close

    site = begun(Site(StoreEngine(Plain()), ended=EndedSessions(lambda purpose: channel, key=KEY)))
    log_in(site)

    assert site.sessions.end_all("alice") == 0
    assert who(site) is None
    site.sessions.close()


# --- cookies of other systems


DATED = StarletteCookie("k" * 32, subject=lambda data: data["user"])
UNDATED = TricksterCookie("k" * 32, until=dt.date(2100, 1, 1), subject=lambda data: data["user"])


@pytest.fixture
def move(channel: Away, engine_kind: str) -> Iterator[Make]:
    """Makes a manager that takes over the cookies of a format, and such a cookie of alice, made a minute ago."""
    made: list[SessionManager] = []

    def make(token: Any, clock: Callable[[], float] = time.time) -> tuple[SessionManager, str]:
        other = SessionManager(CookieEngine(token), clock=lambda: time.time() - 60)
        session = other.open()
        session["user"] = "alice"
        header = other.commit(session).set_cookies[0].partition(";")[0]
        engine = CookieEngine(KEY) if engine_kind == "cookie" else StoreEngine(MemoryStore())
        ended = EndedSessions(lambda purpose: channel, key=KEY)
        made.append(begin(SessionManager(engine, accept=[token], ended=ended, clock=clock)))
        return made[-1], header

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("token", [DATED, UNDATED], ids=["dated", "undated"])
def test_what_is_taken_over_can_be_ended(token: Any, move: Make) -> None:
    """Neither the old cookie nor the new one is good after `end_all`, and the old one is cleared."""
    sessions, old = move(token)
    session = sessions.open(old)
    assert session.subject == "alice"
    new = next(line for line in sessions.commit(session).set_cookies if "Max-Age=0" not in line).partition(";")[0]

    sessions.end_all("alice")

    assert sessions.open(new).subject is None
    session = sessions.open(old)
    assert session.subject is None
    assert all("Max-Age=0" in line for line in sessions.commit(session).set_cookies)


def test_a_logout_ends_the_copies_of_what_was_taken_over(move: Make) -> None:
    """The new session's id is made of the old cookie."""
    sessions, old = move(DATED)
    session = sessions.open(old)
    assert session.subject == "alice"
    sessions.commit(session)
    session = sessions.open(old)
    session.logout()
    sessions.commit(session)

    assert sessions.open(old).subject is None


def test_a_cookie_that_says_when_it_was_made_is_younger_than_an_end(move: Make, channel: Away) -> None:
    """Another may be older than it, and is refused."""
    for token, subject in ((DATED, "alice"), (UNDATED, None)):
        sessions, old = move(token)
        sessions.core.ended._append(Subject(int(time.time() - 3600) * 1_000_000, _hash(sessions, "alice")))

        assert sessions.open(old).subject == subject


@pytest.mark.parametrize(
    ("token", "subject", "early"),
    [
        (DATED, "alice", 0),
        (DATED, None, 1),
        (MojoliciousCookie("k" * 32, default_expiration=3600, subject=lambda data: data["user"]), None, 0),
        (MojoliciousCookie("k" * 32, default_expiration=1, subject=lambda data: data["user"]), None, 0),
        (UNDATED, None, 0),
    ],
    ids=["dated", "ahead of us", "with an end alone", "about to end", "undated"],
)
def test_a_login_at_the_other_system_leads_here_within_the_second(
    token: Any, subject: str | None, early: int, move: Make
) -> None:
    """Of one whose sessions were all ended before: a cookie that says it was made now is as good as one of a second ago."""
    now = Clock(int(time.time()) - 30)
    sessions, _ = move(token, now)
    sessions.core.ended._append(Subject(int(time.time() - 3600) * 1_000_000, _hash(sessions, "alice")))
    there = SessionManager(CookieEngine(token), clock=lambda: now() + early)
    session = there.open()
    session["user"] = "alice"
    header = there.commit(session).set_cookies[0].partition(";")[0]

    assert sessions.open(header).subject == subject
    there.close()


def test_ends_are_kept_as_long_as_cookies_of_other_systems_are_read(move: Make) -> None:
    """Till the date that was given, whatever the idle timeout."""
    sessions, _ = move(UNDATED)

    assert sessions.core.ended.life > 70 * 365 * 86400


def _hash(sessions: SessionManager, subject: str) -> bytes:
    ended: Any = sessions.core.ended
    found: bytes = ended._get_codec().hash_subject(subject)
    return found


# --- other processes


def test_what_one_manager_ends_another_refuses(make_site: Make) -> None:
    """As soon as it has read of it."""
    here, there = make_site(), make_site()
    there.sessions.start()
    session_id = log_in(here)
    assert who(there, here.jar.header) == "alice"

    here.sessions.end(session_id)

    eventually(lambda: who(there, here.jar.header) is None)


def test_requests_ask_the_channel_at_logins_only(site: Any, channel: Away) -> None:
    """Reads and saves ask nothing; a login asks once."""
    site.sessions.start()
    site.visit(a=1)
    before = channel.reads, channel.appends

    for n in range(20):
        site.visit(n=n)
    assert (channel.reads, channel.appends) == before

    jar = Jar()
    log_in(site, jar=jar)
    assert (channel.reads, channel.appends) == (before[0] + 1, before[1])


# --- a deploy that has not reached all servers


@pytest.fixture
def deploying(make_site: Make, engine_kind: str) -> tuple[Site, Site]:
    """A server that does not have the list yet, and one that does, by the time that it is."""
    new = make_site()
    old = Site(CookieEngine(KEY) if engine_kind == "cookie" else StoreEngine(new.sessions.engine.store))
    new.clock.now = old.clock.now = time.time()
    return old, new


@pytest.mark.parametrize("change", ["regenerate", "confirm"])
def test_nobody_is_logged_out_by_a_server_without_the_list(change: str, deploying: tuple[Site, Site]) -> None:
    """Sessions of both go on at both, and get new ids at both, while another user's end."""
    old, new = deploying
    jars = [Jar() for _ in range(4)]
    for site, jar, name in zip((old, new, old, new), jars, ("bob", "carol", "alice", "alice"), strict=True):
        log_in(site, name, jar)

    new.sessions.end_all("alice")

    for site in (old, new, new, old, old):
        for jar, name in zip(jars[:2], ("bob", "carol"), strict=True):
            assert [who(old, jar.header), who(new, jar.header)] == [name, name]
            session = site.sessions.open(jar.header)
            getattr(session, change)()
            jar.take(site.sessions.commit(session))
    assert [who(new, jar.header) for jar in jars] == ["bob", "carol", None, None]


def test_a_login_at_a_server_without_the_list_counts_by_the_second(deploying: tuple[Site, Site]) -> None:
    """It says no more: in the second of an end it may have been before it, and is refused; afterwards it goes on."""
    old, new = deploying
    new.sessions.end_all("alice")
    refused, lives = Jar(), Jar()

    old.clock.now = new.clock.now = int(time.time()) - 1
    log_in(old, jar=refused)
    old.clock.now = new.clock.now = int(time.time()) + 2
    log_in(old, jar=lives)

    assert [who(new, jar.header) for jar in (refused, lives)] == [None, "alice"]


def test_what_was_kept_stays_if_its_id_changes_where_the_list_is(deploying: tuple[Site, Site]) -> None:
    """A server without the list gives a new id, and cannot say that it belongs to who was spared: the end counts."""
    old, new = deploying
    kept, changed = Jar(), Jar()
    for jar, site in ((kept, new), (changed, old)):
        new.sessions.end_all("alice", keep=log_in(new, jar=jar))
        session = site.sessions.open(jar.header)
        session.confirm("totp")
        jar.take(site.sessions.commit(session))
        assert who(new, jar.header) == ("alice" if site is new else None)


# --- a channel that is away


def _stale(site: Site, channel: Away) -> None:
    """Cut the channel off for longer than `max_stale`."""
    channel.away = True
    follower = site.sessions.core.ended._parts[0]  # type: ignore[union-attr, index]
    eventually(lambda: site.sessions.core.ended._parts[1].failure)  # type: ignore[union-attr, index]
    follower.fresh_at -= 3600


def test_a_stale_list_is_closed_to_sessions_and_keeps_their_cookie(site: Any, channel: Away) -> None:
    """A 503; who comes without a session is served, and all are again when the channel is back."""
    log_in(site)
    _stale(site, channel)

    with pytest.raises(StoreUnavailable) as refused:
        who(site)
    session = site.open()
    with pytest.raises(StoreUnavailable):
        dict(session)
    with pytest.raises(StoreUnavailable) as committed:
        site.sessions.commit(session)

    assert refused.value.set_cookies == committed.value.set_cookies == ()
    site.sessions.commit(_put(site.sessions.open(), a=1))
    assert who(site, f"{site.sessions.cookie.name}=nonsense") is None
    channel.away = False
    eventually(lambda: site.sessions.core.ended.is_fresh)
    assert who(site) == "alice"


def test_a_login_with_a_stale_list_is_refused(site: Any, channel: Away) -> None:
    """It could not be told from one before an end."""
    log_in(site)
    _stale(site, channel)
    session = site.sessions.open()
    session.login("alice")

    with pytest.raises(StoreUnavailable):
        site.sessions.commit(session)


def test_an_open_list_renews_nothing(make_site: Make, channel: Away) -> None:
    """So that no copy outlives the entry that ended it; and no id changes, since the new one would."""
    site = make_site(on_stale="open", idle_timeout="10 minutes")
    log_in(site)
    _stale(site, channel)
    site.clock.now += 300

    site.visit(a=1)
    session = site.open()
    assert (session.subject, session["a"], session.seen_at.timestamp()) == ("alice", 1, START)
    assert site.commit(session).set_cookies == []
    session = site.open()
    session.regenerate()
    with pytest.raises(StoreUnavailable, match="new id"):
        site.commit(session)


def test_an_open_list_that_is_stale_for_an_hour_renews_nothing(make_site: Make, channel: Away) -> None:
    """What another server has ended is served here meanwhile, gets no later deadline, and is refused when the list is back."""
    site = make_site(on_stale="open", idle_timeout="2 hours")
    log_in(site)
    deadline = site.open().expires_at
    _stale(site, channel)
    codec = site.sessions.core.ended._codec
    entry = Subject(0, codec.hash_subject("alice"), ())
    MemoryChannel.append(channel, lambda now: [codec.seal(entry._replace(time=now))], None)  # away from here only

    for _ in range(12):
        site.clock.now += 300
        session = site.open()
        assert (session.subject, session.seen_at.timestamp(), session.expires_at) == ("alice", START, deadline)
        assert site.commit(session).set_cookies == []

    channel.away = False
    eventually(lambda: who(site) is None)


def test_a_request_that_goes_on_while_the_list_becomes_stale_renews_nothing(make_site: Make, channel: Away) -> None:
    """Its data is saved."""
    site = make_site(idle_timeout="10 minutes")
    log_in(site)
    site.clock.now += 300
    session = site.open()
    session["a"] = 1
    _stale(site, channel)
    site.commit(session)

    channel.away = False
    eventually(lambda: site.sessions.core.ended.is_fresh)
    assert (site.open()["a"], site.open().seen_at.timestamp()) == (1, START)


def test_an_end_that_cannot_be_told(cookies: Site, channel: Away) -> None:
    """A 503 that clears the cookie; this process knows it, and tells it when the channel is back."""
    log_in(cookies)
    copied = cookies.jar.header
    channel.away = True
    session = cookies.open()
    session.logout()

    with pytest.raises(StoreUnavailable) as caught:
        cookies.sessions.commit(session)

    assert any("Max-Age=0" in line for line in caught.value.set_cookies)
    assert who(cookies, copied) is None
    channel.away = False
    other = begun(Site(CookieEngine(KEY), ended=EndedSessions(lambda purpose: channel)))
    eventually(lambda: who(other, copied) is None)
    other.sessions.close()


@pytest.mark.parametrize("call", ["end", "end_all", "end_everything"])
def test_an_end_from_outside_that_cannot_be_told(call: str, site: Any, channel: Away) -> None:
    """Raises, and is known here all the same."""
    session_id = log_in(site)
    channel.away = True
    given = {"end": [session_id], "end_all": ["alice"], "end_everything": []}[call]

    with pytest.raises(StoreUnavailable):
        getattr(site.sessions, call)(*given)

    assert who(site) is None


def test_a_channel_that_is_away_for_a_moment_loses_no_login(site: Any, channel: Away) -> None:
    """Logins go on for `max_stale`, and so do new ids and, in a store, logouts; what was to be told is told later."""
    site.sessions.start()
    site.visit(a=1)
    channel.away = True
    log_in(site)
    session = site.open()
    session.regenerate()
    site.commit(session)

    assert who(site) == "alice"
    channel.away = False
    eventually(lambda: site.sessions.core.ended.stats().waiting == 0)


def test_a_channel_that_was_emptied_is_written_back(make_site: Make, channel: Away) -> None:
    """Nothing that was ended comes back, in a process that starts later either."""
    site = make_site()
    log_in(site)
    copied = site.jar.header
    site.sessions.end_all("alice")

    channel.empty()
    eventually(lambda: channel._entries)
    new = make_site()

    eventually(lambda: new.sessions.core.ended.is_fresh or not new.sessions.start())
    assert who(new, copied) is None


# --- values that are taken once


def test_once_in_a_cookie(cookies: Site) -> None:
    """A name is taken once, with whatever copy of the cookie."""
    session = cookies.open()
    name = session.once.put("verifier")
    cookies.commit(session)
    copied = cookies.jar.header
    session = cookies.open()
    assert session.once.take(name) == "verifier"
    cookies.commit(session)

    assert cookies.sessions.open(copied).once.take(name, "gone") == "gone"
    cookies.sessions.end_everything()
    session = cookies.sessions.open()
    name = session.once.put("other")
    assert session.once.take(name) == "other"


def test_two_requests_that_take_a_value_at_once(cookies: Site) -> None:
    """One of them gets a conflict."""
    session = cookies.open()
    name = session.once.put("verifier")
    cookies.commit(session)
    one, other = cookies.open(), cookies.open()
    assert one.once.take(name) == other.once.take(name) == "verifier"
    cookies.commit(one)

    with pytest.raises(SessionConflict) as caught:
        cookies.commit(other)

    assert caught.value.paths == ("_once",)


def test_what_a_request_that_failed_has_taken_is_gone(cookies: Site) -> None:
    """Like an end."""
    session = cookies.open()
    name = session.once.put("verifier")
    cookies.commit(session)
    session = cookies.open()
    session.once.take(name)
    cookies.sessions.abort(session)

    assert cookies.open().once.take(name) is None


def test_what_is_taken_in_a_stream_is_gone(cookies: Site) -> None:
    """The cookie cannot be changed any more, and that is told; the value is taken."""
    session = cookies.open()
    name = session.once.put("verifier")
    cookies.commit(session)
    session = cookies.open()
    dict(session)
    cookies.commit(session)
    session.once.take(name)
    cookies.sessions.finish(session)

    assert cookies.open().once.take(name) is None


def test_a_value_does_not_outlive_what_the_list_remembers(channel: Away) -> None:
    """A copy of the cookie could take it again."""
    site = begun(Site(CookieEngine(KEY), ended=EndedSessions(lambda purpose: channel), idle_timeout="1 minute"))
    session = site.open()
    name = session.once.put("verifier", ttl="1 day")

    assert session["_once"][name][0] == START + 60 + 60 + 60
    site.sessions.close()


def test_once_in_a_cookie_needs_a_list() -> None:
    """Without one it stays an error."""
    with pytest.raises(ConfigError, match="list of ended sessions"):
        _ = Site().open().once


# --- in streams


def test_a_logout_in_a_stream_is_on_the_list(cookies: Site) -> None:
    """The cookie cannot be cleared any more: it opens nothing."""
    log_in(cookies)
    session = cookies.open()
    assert session.subject == "alice"
    cookies.commit(session)
    session.logout()
    cookies.sessions.finish(session)

    assert who(cookies) is None
    assert cookies.told(LateWrite) == []


def test_a_logout_of_a_request_that_fails_is_on_the_list(cookies: Site) -> None:
    """Whatever the handler did afterwards."""
    log_in(cookies)
    session = cookies.open()
    session.logout()
    cookies.sessions.abort(session)

    assert who(cookies) is None


# --- who acts as another


def _act(site: Site) -> str:
    """The cookies of an administrator who acts as alice."""
    log_in(site, "admin")
    session = site.open()
    session.impersonate("alice")
    site.commit(session)
    assert (who(site), site.open().actor) == ("alice", "admin")
    return site.jar.header


@pytest.mark.parametrize("subject", ["admin", "alice"])
def test_end_all_of_who_acts_and_of_whom(subject: str, site: Any) -> None:
    """Both end the session in which one acts as the other."""
    acting = _act(site)

    site.sessions.end_all(subject)

    assert who(site, acting) is None


def test_a_copy_of_what_acted_is_worth_nothing_when_that_stopped(site: Any) -> None:
    """The session in which she acted is on the list; her own goes on."""
    acting = _act(site)
    session = site.open()
    session.stop_impersonating()
    site.commit(session)

    assert (who(site), who(site, acting)) == ("admin", None)


def test_her_own_session_was_ended_by_its_id(cookies: Site) -> None:
    """The other is worth nothing without it."""
    own_id = log_in(cookies, "admin")
    session = cookies.open()
    session.impersonate("alice")
    cookies.commit(session)

    cookies.sessions.end(own_id)

    assert who(cookies) is None
    assert cookies.told(Rejected)[-1].reason == "actor_ended"


def test_who_acts_is_ended_by_what_was_not_read_yet(make_site: Make) -> None:
    """Also where she began to act in a process that had not heard of it."""
    here, there = make_site(), make_site()
    there.sessions.start()
    log_in(there, "admin")
    ended = there.sessions.core.ended
    session = there.open()
    session.impersonate("alice")
    ended.close()  # it reads nothing more
    here.sessions.end_all("alice")
    ended._fresh = ended._running()[0]
    ended._fresh.fresh_at = clock()
    there.commit(session)

    assert who(here, there.jar.header) is None


# --- settings


def test_a_list_for_what_does_not_carry_an_id() -> None:
    """A foreign format, and a store that another program reads."""
    from hardtack.foreign.flask import FlaskCookie

    with pytest.raises(ConfigError, match=r"ended= cannot be used with FlaskCookie"):
        SessionManager(CookieEngine(FlaskCookie("x" * 32)), ended=EndedSessions.from_url("memory://"))


@pytest.mark.parametrize("given", ["redis://localhost", EndedSessions, 1])
def test_something_else_than_a_list(given: Any) -> None:
    """Says what to write."""
    with pytest.raises(ConfigError, match=r"ended=.* must be a EndedSessions"):
        SessionManager(KEY, ended=given)


def test_a_store_without_a_key_needs_one_for_the_list() -> None:
    """Else whoever can write to the channel could log anybody out."""
    with pytest.raises(ConfigError, match="needs a key"):
        SessionManager(StoreEngine(MemoryStore()), ended=EndedSessions.from_url("memory://"))


def test_one_list_for_two_managers() -> None:
    """Is refused, unless they are the same to it."""
    ended = EndedSessions.from_url("memory://")
    SessionManager(KEY, ended=ended)

    with pytest.raises(ConfigError, match="another manager"):
        SessionManager(KEY, ended=ended, purpose="other")


def test_a_manager_without_a_list_has_nothing_to_start() -> None:
    """So that an application may call it anyway."""
    SessionManager(KEY).start()


def _put(session: Any, **data: Any) -> Any:
    session.update(data)
    return session

"""`keep_until=`: another system's cookie stays beside ours until a date, and leads; nothing that ends comes back from it."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.kit import KEY, OTHER_KEY, START, Clock, Jar, Site

from hardtack import Cookie, CookieEngine, EndedSessions, Request, SessionManager, StoreEngine
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.events import Destroyed, LoggedOut, Rejected, TakenOver
from hardtack.foreign.beaker import BeakerCookie
from hardtack.foreign.dancer import DancerCookie, DancerLegacyCookie
from hardtack.foreign.django import DjangoSignedCookie
from hardtack.foreign.flask import FlaskCookie
from hardtack.foreign.mojolicious import MojoliciousCookie
from hardtack.foreign.rack import RackHmacCookie
from hardtack.foreign.starlette import StarletteCookie
from hardtack.protocols import Context
from hardtack.record import KEPT, Record
from hardtack.stores.memory import MemoryStore

DAY = 86400
UNTIL = START + 10 * DAY
FORMATS: dict[str, tuple[type[Any], str]] = {
    "flask": (FlaskCookie, "session"),
    "starlette": (StarletteCookie, "session"),
    "django": (DjangoSignedCookie, "sessionid"),
    "dancer": (DancerCookie, "dancer.session"),
}
TIMED = {"flask", "starlette", "django"}
ENGINES: dict[str, Callable[[], Any]] = {
    "cookie": lambda: CookieEngine(KEY),
    "store": lambda: StoreEngine(MemoryStore()),
}


def user_of(data: dict[str, Any]) -> str | None:
    """Whom the data of the other system belongs to."""
    user: str | None = data.get("user")
    return user


class Old:
    """The other system beside a manager: it has the same browser, and reads its own cookie alone."""

    def __init__(
        self, system: str = "flask", engine: str = "cookie", keep_until: Any = UNTIL, beside: Any = (), **options: Any
    ) -> None:
        make, self.name = FORMATS.get(system, (RackHmacCookie, "rack.session"))
        settings: dict[str, Any] = {} if system in TIMED else {"until": START + 400 * DAY}
        self.format = make("secret", subject=user_of, keep_until=keep_until, **settings)
        cookie = Cookie(name="__Host-ours")
        self.site = Site(ENGINES[engine](), cookie=cookie, accept=[self.format, *beside], **options)
        self.ours = cookie.name
        self.jar = self.site.jar

    def context(self) -> Context:
        return Context(self.name, "", int(self.site.clock.now))

    def cookie(self, **data: Any) -> str:
        """The cookie that it writes now."""
        sealed: dict[str, str] = self.format.seal(
            Record(b"i" * 16, int(self.site.clock.now), None, 0, None, {}, data), self.context()
        )
        return sealed[self.name]

    def write(self, **data: Any) -> None:
        self.jar.cookies[self.name] = self.cookie(**data)

    def user(self) -> str | None:
        """Who it sees."""
        value = self.jar.cookies.get(self.name)
        return None if value is None else user_of(self.format.open({self.name: [value]}, self.context()).data)

    def visit(self, **changes: Any) -> Any:
        """One request to the manager that looks at the session."""
        session = self.site.open()
        session.get("user")
        session.update(changes)
        self.site.commit(session)
        return session

    def logged_in(self) -> Any:
        """A session of alice's that was taken over."""
        self.write(user="alice")
        return self.visit()


every = pytest.mark.parametrize(("system", "engine"), [(system, engine) for system in FORMATS for engine in ENGINES])
both = pytest.mark.parametrize("engine", list(ENGINES))


@every
def test_both_systems_know_the_user(system: str, engine: str) -> None:
    """The cookie stays, whatever is changed here, and makes one session, with one id and one beginning."""
    old = Old(system, engine)
    first = old.logged_in()
    before = old.jar.cookies[old.name]
    for count in range(3):
        old.site.clock.now += 60
        again = old.visit(count=count)
        assert (again.id, again.subject, again.created_at) == (first.id, "alice", first.created_at)

    assert old.jar.cookies[old.name] == before
    assert old.user() == "alice"
    assert len(old.site.told(TakenOver)) == 1
    assert old.visit()["count"] == 2


@every
def test_a_logout_here_ends_both(system: str, engine: str) -> None:
    """Both cookies are cleared, and nobody is logged in again."""
    old = Old(system, engine)
    old.logged_in()
    session = old.site.open()
    session.logout()
    old.site.commit(session)

    assert old.jar.cookies == {}
    assert old.visit().subject is None


@every
def test_a_logout_there_ends_ours(system: str, engine: str) -> None:
    """Its cookie is gone: our session is ended, its cookie cleared, and a copy of it is worth nothing."""
    old = Old(system, engine)
    session = old.logged_in()
    copy = old.jar.cookies[old.ours]
    del old.jar.cookies[old.name]

    assert old.visit().subject is None
    assert old.jar.cookies == {}
    assert [event.id for event in old.site.told(Destroyed)] == [session.id]
    assert [(event.subject, event.cause) for event in old.site.told(LoggedOut)] == [("alice", "elsewhere")]
    old.jar.cookies[old.ours] = copy
    assert old.visit().subject is None


@every
def test_a_logout_there_that_leaves_a_cookie_without_a_user(system: str, engine: str) -> None:
    """A message for the visitor, such as "you are logged out": what is there is taken over, and nobody is logged in."""
    old = Old(system, engine)
    first = old.logged_in()
    old.site.clock.now += 60
    old.write(message="bye")
    session = old.visit()

    assert (session.subject, dict(session)) == (None, {"message": "bye"})
    assert session.id != first.id
    assert old.visit().id == session.id


@every
def test_another_user_logs_in_there(system: str, engine: str) -> None:
    """The old cookie leads: alice's session ends, and bob's is taken over, under another id."""
    old = Old(system, engine)
    first = old.logged_in()
    old.visit(private="alice's")
    old.site.clock.now += 60
    old.write(user="bob")
    session = old.visit()

    assert (session.subject, dict(session)) == ("bob", {"user": "bob"})
    assert session.id != first.id
    assert old.user() == "bob"
    assert old.visit().id == session.id


@every
def test_what_was_changed_there_later_goes_on_here(system: str, engine: str) -> None:
    """The newer wins: its data, under our id and our times."""
    old = Old(system, engine)
    first = old.logged_in()
    old.visit(cart=1)
    old.site.clock.now += 60
    old.write(user="alice", cart=2)
    session = old.visit()

    assert (session.id, session.created_at, session["cart"]) == (first.id, first.created_at, 2)
    old.site.clock.now += 60
    assert old.visit(cart=3)["cart"] == 3
    assert old.visit()["cart"] == 3


def test_a_cookie_that_was_only_signed_again_changes_nothing() -> None:
    """Starlette signs its cookie with each response, and Flask a permanent one: what was changed here stays."""
    old = Old("starlette")
    old.logged_in()
    old.visit(cart=1)
    old.site.clock.now += 60
    old.write(user="alice")

    assert old.visit()["cart"] == 1


@both
def test_an_older_cookie_does_not_win(engine: str) -> None:
    """A request on its way still has the cookie of before; and ours wins where it was saved after theirs."""
    old = Old(engine=engine)
    old.write(user="alice", cart=0)
    older = old.jar.cookies[old.name]
    old.site.clock.now += 60
    old.write(user="alice", cart=1)
    between = old.cookie(user="alice", cart=9)
    old.visit()
    old.visit(cart=5)
    newest = old.jar.cookies[old.name]
    old.jar.cookies[old.name] = older
    assert old.visit()["cart"] == 5
    old.jar.cookies[old.name] = newest
    assert old.visit()["cart"] == 5
    old.site.clock.now += 60
    old.visit(cart=2)
    old.jar.cookies[old.name] = between
    assert old.visit()["cart"] == 2
    old.site.clock.now += 60
    old.jar.cookies[old.name] = old.cookie(user="alice", cart=9)
    assert old.visit()["cart"] == 2  # what was in it was older: to sign it again makes it no newer


@both
def test_who_is_logged_out_here_stays_so(engine: str) -> None:
    """A copy of the old cookie that comes after the logout, with our old one, logs nobody in."""
    old = Old(engine=engine, ended=EndedSessions.from_url("memory://", key=KEY))
    old.logged_in()
    copy = dict(old.jar.cookies)
    session = old.site.open()
    session.logout()
    old.site.commit(session)
    old.jar.cookies = dict(copy)
    assert old.visit().subject is None
    assert old.jar.cookies == {}

    old.jar.cookies = {old.name: copy[old.name]}  # and without ours
    assert old.visit().subject is None
    assert old.jar.cookies == {}


@both
def test_ended_from_the_server(engine: str) -> None:
    """`end_all` reaches the session, and the cookie beside it is cleared with ours, however often it was written since."""
    old = Old(engine=engine, ended=EndedSessions.from_url("memory://", key=KEY))
    old.site.clock.now = int(time.time()) - 60  # the list's own clock is the machine's
    old.logged_in()
    old.site.sessions.end_all("alice")
    old.site.clock.now += 60
    old.write(user="alice", cart=1)

    assert old.visit().subject is None
    assert old.jar.cookies == {}


@both
@pytest.mark.parametrize("after", [2 * 3600, 15 * DAY], ids=["idle", "absolute"])
def test_deadlines_hold(engine: str, after: int) -> None:
    """What is over here does not begin anew from the cookie beside it, though that was written a moment ago."""
    old = Old(engine=engine, idle_timeout="1 hour", keep_until=START + 100 * DAY)
    old.logged_in()
    old.site.clock.now += after
    old.write(user="alice")

    assert old.visit().subject is None
    assert old.jar.cookies == {}


@both
def test_the_absolute_deadline_does_not_move(engine: str) -> None:
    """However often the other system writes, the session ends a lifetime after it was taken over."""
    old = Old(engine=engine, idle_timeout="3 days", keep_until=START + 100 * DAY)
    old.logged_in()
    for count in range(13):
        old.site.clock.now += DAY
        old.write(user="alice", count=count)
        assert old.visit()["count"] == count
    old.site.clock.now += DAY
    old.write(user="alice", count=14)

    assert old.visit().subject is None
    assert old.jar.cookies == {}


@both
def test_idle_there_and_used_here(engine: str) -> None:
    """The idle timeout is ours: nobody writes the other cookie meanwhile, and the session goes on."""
    old = Old(engine=engine, idle_timeout="1 hour")
    old.logged_in()
    for _ in range(4):
        old.site.clock.now += 1800
        assert old.visit().subject == "alice"


def test_a_change_of_user_to_a_cookie_that_is_too_old() -> None:
    """It leads, and is too old to begin a session: nobody is logged in, and both are cleared."""
    old = Old(idle_timeout="1 hour")
    bob = old.cookie(user="bob")
    old.site.clock.now += 3000
    old.logged_in()
    old.site.clock.now += 1000
    old.jar.cookies[old.name] = bob

    assert old.visit().subject is None
    assert old.jar.cookies == {}


@both
def test_a_new_id_keeps_the_cookie(engine: str) -> None:
    """`regenerate` changes nothing of who leads; and a request with the id of before, on its way, ends nothing."""
    old = Old(engine=engine)
    old.logged_in()
    before = dict(old.jar.cookies)
    session = old.site.open()
    session.regenerate()
    old.site.commit(session)
    after = dict(old.jar.cookies)
    old.jar.cookies = before
    old.visit()
    assert old.name in old.jar.cookies
    old.jar.cookies = {old.name: before[old.name]}  # a first request, of before ours was set
    old.visit()
    assert old.name in old.jar.cookies

    old.jar.cookies = after
    assert old.visit().subject == "alice"
    del old.jar.cookies[old.name]
    assert old.visit().subject is None


@both
def test_a_login_here_clears_the_cookie(engine: str) -> None:
    """Who logs in here is not led by what was there; and nothing is missed later."""
    old = Old(engine=engine)
    old.logged_in()
    session = old.site.open()
    session.login("bob")
    old.site.commit(session)

    assert list(old.jar.cookies) == [old.ours]
    assert old.visit().subject == "bob"


@both
def test_logged_in_here_and_a_visitor_there(engine: str) -> None:
    """The other system's cookie of a visitor says nothing against a login here."""
    old = Old(engine=engine)
    session = old.site.open()
    session.login("alice")
    old.site.commit(session)
    old.write(token="t")

    assert old.visit().subject == "alice"
    assert old.name in old.jar.cookies


@both
def test_logged_in_here_and_then_there(engine: str) -> None:
    """The same user: from then on a logout there ends both."""
    old = Old(engine=engine)
    session = old.site.open()
    session.login("alice")
    old.site.commit(session)
    old.site.clock.now += 60
    old.write(user="alice", cart=1)

    assert old.visit()["cart"] == 1
    del old.jar.cookies[old.name]
    assert old.visit().subject is None


@both
def test_another_users_cookie_beside_a_login_here(engine: str) -> None:
    """It may have been planted: neither is used, and both are cleared."""
    old = Old(engine=engine)
    session = old.site.open()
    session.login("alice")
    old.site.commit(session)
    old.site.clock.now += 60
    old.write(user="mallory")

    assert old.visit().subject is None
    assert [event.reason for event in old.site.told(Rejected)] == ["other_subject"]
    assert old.jar.cookies == {}


@both
def test_a_visitor_here_logs_in_there(engine: str) -> None:
    """A session of nobody's gives way to the login."""
    old = Old(engine=engine)
    old.visit(cart=1)
    old.write(user="alice")

    assert old.visit().subject == "alice"
    assert set(old.jar.cookies) == {old.ours, old.name}


@both
@pytest.mark.parametrize(
    "request_", [None, Request(scheme="https", host="shop.example.org", path="/")], ids=["", "host"]
)
def test_a_second_cookie_was_planted(engine: str, request_: Request | None) -> None:
    """Two good cookies of that name: none is used, ours is not ended, and the other is cleared where it may have been set."""
    old = Old(engine=engine)
    old.logged_in()
    planted = old.cookie(user="mallory")
    session = old.site.sessions.open(f"{old.name}={planted}; {old.jar.header}", request_)
    assert session.subject is None
    changes = old.site.sessions.commit(session)

    lines = [line for line in changes.set_cookies if line.startswith(f"{old.name}=")]
    assert any("Domain=example.org" in line for line in lines) == (request_ is not None)
    assert all("Domain=" in line or "Path=/;" not in line for line in lines)
    assert old.visit().subject == "alice"


def test_planted_beside_a_login_here() -> None:
    """Two cookies of others beside a session that none of them leads are nothing to it."""
    old = Old()
    session = old.site.open()
    session.login("alice")
    old.site.commit(session)
    header = f"{old.jar.header}; session={old.cookie(user='bob')}; session={old.cookie(user='eve')}"

    assert old.site.sessions.open(header).subject == "alice"


@pytest.mark.parametrize("value", ["", "junk", "eyJ1c2VyIjoiYWxpY2UifQ.aaaa.bbbb"])
def test_a_cookie_that_is_not_good_is_gone(value: str) -> None:
    """Nobody who can write to the cookie keeps a session alive that was ended there."""
    old = Old()
    old.logged_in()
    old.jar.cookies[old.name] = value

    assert old.visit().subject is None
    assert old.jar.cookies == {}


@both
def test_after_the_date(engine: str) -> None:
    """Ours goes on by itself, and what is left of the other is cleared."""
    old = Old(engine=engine)
    old.logged_in()
    old.site.clock.now = UNTIL
    assert old.visit().subject == "alice"
    assert list(old.jar.cookies) == [old.ours]
    assert old.visit().subject == "alice"


def test_the_format_is_read_no_longer() -> None:
    """`until` ends before `keep_until`: nothing leads any more, and nobody is logged out."""
    old = Old("dancer", keep_until=START + 800 * DAY, lifetime="500 days", idle_timeout=None)
    old.logged_in()
    old.site.clock.now = START + 400 * DAY

    assert old.visit().subject == "alice"


@both
def test_the_way_back_and_forward(engine: str) -> None:
    """The other system alone, with what it changes, and then both again."""
    old = Old(engine=engine)
    first = old.logged_in()
    assert old.user() == "alice"
    old.site.clock.now += DAY
    old.write(user="alice", cart=5)

    session = old.visit()
    assert (session.id, session.subject, session["cart"]) == (first.id, "alice", 5)


def test_data_that_does_not_fit_our_cookie() -> None:
    """Compressed, the other cookie holds more than ours can: who only reads gets it all the same."""
    old = Old()
    old.logged_in()
    old.site.clock.now += 60
    old.write(user="alice", text="x" * 5000)

    assert len(old.visit()["text"]) == 5000
    assert [event.reason for event in old.site.told(Rejected)] == ["too_large"]
    assert old.visit().subject == "alice"


@both
def test_who_acts_as_another(engine: str) -> None:
    """The cookie beside is hers who acts: hers says nothing against it, and a logout there ends it."""
    old = Old(engine=engine)
    old.logged_in()
    session = old.site.open()
    session.impersonate("bob")
    old.site.commit(session)
    assert (old.visit().subject, old.visit().actor) == ("bob", "alice")
    old.site.clock.now += 60
    old.write(user="alice", cart=1)
    assert old.visit().subject == "bob"

    del old.jar.cookies[old.name]
    assert old.visit().subject is None


@both
def test_who_acts_and_stops(engine: str) -> None:
    """Her own session goes on, and is led as before."""
    old = Old(engine=engine)
    old.logged_in()
    for call in ("impersonate", "stop_impersonating"):
        session = old.site.open()
        getattr(session, call)(*(["bob"] if call == "impersonate" else []))
        old.site.commit(session)

    assert (old.visit().subject, old.visit().actor) == ("alice", None)
    del old.jar.cookies[old.name]
    assert old.visit().subject is None


def test_async_with_a_list() -> None:
    """Async code loads before the handler runs: to end ours, the list is told."""

    async def play() -> None:
        old = Old(ended=EndedSessions.from_url("memory://", key=KEY))
        old.write(user="alice")
        session = await old.site.sessions.aopen(old.jar.header)
        assert session.subject == "alice"
        old.jar.take(await old.site.sessions.acommit(session))
        assert set(old.jar.cookies) == {old.ours, old.name}
        assert old.site.sessions.core.loads_first(old.jar.header)
        del old.jar.cookies[old.name]
        session = await old.site.sessions.aopen(old.jar.header)
        assert session.subject is None
        old.jar.take(await old.site.sessions.acommit(session))
        assert old.jar.cookies == {}

    asyncio.run(play())


def test_a_logout_while_the_store_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error clears both cookies: the other would log the user in again."""
    old = Old(engine="store")
    old.logged_in()

    def fail(*_: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(old.site.sessions.engine.store, "get", fail)
    session = old.site.open()
    with pytest.raises(StoreUnavailable) as caught:
        session.logout()

    assert {line.partition("=")[0] for line in caught.value.set_cookies} == {old.ours, old.name}


class Beside:
    """Two deploys beside each other: one writes Flask's cookie, the other keeps it and has sessions in a store."""

    def __init__(self, store: Any) -> None:
        self.clock, self.jar = Clock(), Jar()
        ours = Cookie(name="__Host-ours")
        self.writes = SessionManager(
            CookieEngine(FlaskCookie("secret", subject=user_of)),
            cookie=Cookie(name="session", formerly=[ours]),
            accept=[StoreEngine(store)],
            clock=self.clock,
        )
        self.keeps = SessionManager(
            StoreEngine(store),
            cookie=ours,
            accept=[FlaskCookie("secret", subject=user_of, keep_until=UNTIL)],
            clock=self.clock,
        )

    def visit(self, sessions: SessionManager, header: str | None = None, **changes: Any) -> str | None:
        """Whom a request finds logged in; with the cookies of the browser, or with a copy that the browser knows nothing of."""
        session = sessions.open(self.jar.header if header is None else header)
        found = user_of(session)
        session.update(changes)
        changed = sessions.commit(session)
        if header is None:
            self.jar.take(changed)
        return found

    def logout(self, sessions: SessionManager) -> None:
        session = sessions.open(self.jar.header)
        session.logout()
        self.jar.take(sessions.commit(session))


@pytest.mark.parametrize("where", ["writes", "keeps"])
@pytest.mark.parametrize("changed", [False, True], ids=["as it began", "written anew"])
def test_a_logout_beside_is_undone_by_no_copy(where: str, changed: bool) -> None:
    """On either side: neither by Flask's cookie, nor by ours, nor by both, for as long as a copy can live."""
    beside = Beside(MemoryStore())
    beside.visit(beside.writes, user="alice")
    first = beside.jar.header
    assert beside.visit(beside.keeps) == "alice"
    if changed:
        beside.clock.now += 60
        both = dict(beside.jar.cookies)
        beside.visit(beside.writes, cart=1)
        beside.jar.cookies = {**both, **beside.jar.cookies}
        assert beside.visit(beside.keeps) == "alice"
    assert set(beside.jar.cookies) == {"session", "__Host-ours"}
    copies = [beside.jar.header, *beside.jar.header.split("; ")]
    beside.logout(getattr(beside, where))

    assert beside.jar.cookies == {}
    for later in (0, 61, 9 * DAY):
        beside.clock.now = START + later
        assert [beside.visit(beside.keeps, copy, seen=later) for copy in copies] == [None] * 3
        if where == "keeps":
            assert beside.visit(beside.keeps, first, seen=later) is None  # the session began with that one
    beside.visit(beside.writes, user="alice")
    assert beside.visit(beside.keeps) == "alice"  # a new login there is another cookie


def test_a_logout_beside_before_anything_is_stored() -> None:
    """The deploy that keeps Flask's cookie has never seen the session: a copy begins none there either."""
    beside = Beside(MemoryStore())
    beside.visit(beside.writes, user="alice")
    copy = beside.jar.header
    beside.logout(beside.writes)

    assert beside.visit(beside.keeps, copy) is None


@pytest.mark.parametrize("where", ["writes", "keeps"])
def test_a_logout_with_cookies_that_somebody_invented_fills_no_store(where: str) -> None:
    """One who has one session sends with each logout, and a copy of it, others that nobody has made: they leave nothing."""
    store = MemoryStore()
    beside = Beside(store)
    sessions = getattr(beside, where)
    beside.visit(beside.writes, user="alice")
    beside.visit(sessions)
    copy, invented = beside.jar.header, FlaskCookie("another secret")
    for turn in range(5):
        record = Record(b"i" * 16, START + turn, None, 0, None, {}, {"user": "bob"})
        junk = [f"session={invented.seal(record, Context('session', '', START))['session']}", f"session=junk{turn}"]
        secret = "" if where == "keeps" else f"; __Host-ours={'A' * 41}{turn}A"
        session = sessions.open("; ".join([*junk, copy]) + secret)
        session.logout()
        sessions.commit(session)

    kept = sum(slot.expires_at > START + 60 for slot in store._slots.values())
    assert kept == 1  # what a copy of the cookie would begin, which was buried
    assert beside.visit(beside.keeps, copy) is None


@pytest.mark.parametrize("more", [[], [StoreEngine(MemoryStore())]], ids=["cookies", "cookies and a store"])
def test_a_logout_beside_cookies_asks_no_store(more: list[Any]) -> None:
    """The deploy beside has sessions in cookies: there is nothing to bury them in, and both cookies are cleared."""
    flask, jar, clock = FlaskCookie("secret", subject=user_of), Jar(), Clock()
    cookie = Cookie(name="session", formerly=[Cookie(name="__Host-ours")])
    sessions = SessionManager(CookieEngine(flask), cookie=cookie, accept=[CookieEngine(KEY), *more], clock=clock)
    for ends in (False, True):
        session = sessions.open(jar.header)
        session["user"] = "alice"
        if ends:
            session.logout()
        jar.take(sessions.commit(session))

    assert jar.cookies == {}


@both
def test_a_logout_here_ends_both_where_an_engine_of_ours_is_accepted_too(engine: str) -> None:
    """A site that moves from Flask, and from one engine to another: no copy of either cookie begins anything."""
    old = Old(engine=engine, beside=[StoreEngine(MemoryStore()), CookieEngine(OTHER_KEY)])
    old.logged_in()
    copies = [old.jar.header, *old.jar.header.split("; ")]
    session = old.site.open()
    session.logout()
    old.site.commit(session)

    assert old.jar.cookies == {}
    subjects = [old.site.sessions.open(copy).subject for copy in copies]
    # Without a store or a list Flask's cookie lives on where it was copied, as under Flask itself.
    assert subjects == ([None] * 3 if engine == "store" else ["alice", "alice", None])


@both
def test_a_logout_after_the_date_buries_nothing(engine: str) -> None:
    """The cookie is kept no longer, and was cleared."""
    old = Old(engine=engine)
    old.logged_in()
    old.site.clock.now = UNTIL
    session = old.site.open()
    session.logout()
    old.site.commit(session)

    assert old.jar.cookies == {}
    assert len(getattr(old.site.sessions.engine.store, "_slots", "-")) == 1  # of the session itself


def test_a_cookie_without_a_time_is_not_buried() -> None:
    """The next login there makes the very same cookie, which is to log in."""
    old = Old("rack", "store")
    old.logged_in()
    again = old.jar.cookies[old.name]
    session = old.site.open()
    session.logout()
    old.site.commit(session)
    store: Any = old.site.sessions.engine.store
    assert [slot.expires_at - START for slot in store._slots.values()] == [60]

    old.write(user="alice")
    assert old.jar.cookies == {old.name: again}
    store._slots.clear()  # a minute later
    assert old.visit().subject == "alice"


@pytest.mark.parametrize("again", [False, True], ids=["the last", "the one before"])
def test_the_list_knows_of_the_cookie_that_was_kept(again: bool) -> None:
    """A session in our cookie was ended here: the list has what a copy of Flask's would begin, though it was written since."""
    old = Old(engine="cookie", ended=EndedSessions.from_url("memory://", key=KEY))
    old.logged_in()
    first = old.jar.cookies[old.name]
    old.site.clock.now += 60
    old.write(user="alice", cart=1)
    assert old.visit()["cart"] == 1
    last = old.jar.cookies[old.name]
    session = old.site.open()
    session.logout()
    old.site.commit(session)
    old.site.clock.now += 120

    old.jar.cookies = {old.name: first if again else last}
    assert old.visit().subject is None


def test_a_logout_beside_while_the_store_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error, and clears the cookies: what is stored goes on."""
    store = MemoryStore()
    beside = Beside(store)
    beside.visit(beside.writes, user="alice")
    beside.visit(beside.keeps)

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(store, "put", fail)
    with pytest.raises(StoreUnavailable) as caught:
        beside.logout(beside.writes)

    assert any(line.startswith("session=;") for line in caught.value.set_cookies)


def test_a_mark_that_nobody_here_has_made() -> None:
    """What it should be is not known: it leads nothing."""
    site = Old().site
    record = Record(b"i" * 16, START, START, START, "alice", {KEPT: ["session", 5]}, {"user": "alice"})
    sealed = CookieEngine(KEY).token.seal(record, Context("__Host-ours", "", START))
    site.jar.cookies = dict(sealed)

    assert site.open().subject == "alice"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: {"accept": [FlaskCookie("secret", keep_until=UNTIL)]}, "needs subject="),
        (
            lambda: {
                "accept": [FlaskCookie("secret", keep_until=UNTIL, subject=user_of)],
                "cookie": Cookie(name="session"),
            },
            "needs another cookie name than 'session'",
        ),
        (
            lambda: {
                "engine": CookieEngine(StarletteCookie("secret", cookie_name="other")),
                "accept": [FlaskCookie("secret", keep_until=UNTIL, subject=user_of)],
            },
            "in hardtack's own form",
        ),
        (lambda: {"engine": CookieEngine(FlaskCookie("secret", keep_until=UNTIL))}, r"is for accept=\[…\]"),
    ],
    ids=["no subject", "the same name", "another system's engine", "the engine's own"],
)
def test_settings_that_cannot_be(make: Any, told: str) -> None:
    """What could not be kept, or not be followed, is told when the manager is made."""
    settings: dict[str, Any] = {"engine": CookieEngine(KEY), **make()}
    with pytest.raises(ConfigError, match=told):
        SessionManager(settings.pop("engine"), **settings)


def test_a_date() -> None:
    """The whole of the day, in UTC; and in every format that can be trusted."""
    day = dt.date(2030, 1, 31)
    expected = int(dt.datetime(2030, 2, 1, tzinfo=dt.UTC).timestamp())
    for made in (
        FlaskCookie("s", keep_until=day),
        MojoliciousCookie("s", keep_until=day),
        BeakerCookie("s", keep_until=day),
    ):
        assert made.keep_until == expected
    with pytest.raises(TypeError):
        DancerLegacyCookie("s", only={"cart"}, until=day, keep_until=day)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="date"):
        FlaskCookie("s", keep_until="soon")  # type: ignore[arg-type]

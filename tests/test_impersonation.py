"""Log in as another user, with a way back: two sessions of one browser, of which one waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.kit import KEY, Jar, Site

from hardtack import CookieEngine, EndedSessions, StoreEngine
from hardtack.changes import Changes
from hardtack.errors import ConfigError, SessionConflict, SessionTooLarge, StoreUnavailable
from hardtack.events import Destroyed, Event, IdChanged, LoggedIn, LoggedOut, Rejected
from hardtack.foreign.flask import FlaskCookie
from hardtack.request import Request
from hardtack.session import Session, state_of
from hardtack.stores.file import FileStore
from hardtack.stores.memory import MemoryStore

POST = Request(method="POST")


@pytest.fixture(params=["store", "files", "cookie", "chunks", "listed", "listed store"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site whose administrator is logged in, on each kind of engine."""
    engines: dict[str, Any] = {
        "store": lambda: StoreEngine(MemoryStore()),
        "files": lambda: StoreEngine(FileStore(tmp_path)),
        "cookie": lambda: CookieEngine(KEY),
        "chunks": lambda: CookieEngine(KEY, overflow="chunk"),
        "listed": lambda: CookieEngine(KEY),
        "listed store": lambda: StoreEngine(MemoryStore()),
    }
    listed = EndedSessions.from_url("memory://", KEY) if request.param.startswith("listed") else None
    site = logged_in(Site(engines[request.param](), ended=listed))
    yield site
    if listed is not None:
        listed.close()


@pytest.fixture
def stored() -> Site:
    """The same on a store, which knows what became of a session."""
    return logged_in(Site(StoreEngine(MemoryStore())))


def logged_in(site: Site) -> Site:
    session = site.open()
    session.login("admin")
    session["theme"] = "dark"
    site.commit(session)
    return site


def act(site: Site, **options: Any) -> Any:
    """One request that begins to act as bob."""
    session = site.open()
    session.impersonate("bob", **options)
    site.commit(session)
    return session


def stop(site: Site) -> Any:
    session = site.open()
    session.stop_impersonating()
    site.commit(session)
    return session


def who(site: Site) -> tuple[str | None, str | None, dict[str, Any]]:
    """What the next request sees."""
    session = site.open()
    return session.subject, session.actor, dict(session)


# --- there and back


def test_it_begins_as_another_users_with_nothing_in_it(site: Site) -> None:
    """In the request that asks for it and in the next one; who acts is known in both."""
    session = act(site)

    assert (session.subject, session.actor, dict(session)) == ("bob", "admin", {})
    assert who(site) == ("bob", "admin", {})


def test_both_sessions_have_to_fit_into_one_answer() -> None:
    """On cookies that sets two, and nginx reads all headers of an answer into one buffer; what fits is sent."""
    site = logged_in(Site(CookieEngine(KEY)))
    site.visit(text="x" * 1500)

    def begin(size: int) -> Changes:
        session = site.open()
        session.impersonate("bob")
        session["text"] = "x" * size
        return site.sessions.commit(session)

    assert 2500 < sum(map(len, begin(200).set_cookies)) <= 3600
    with pytest.raises(
        SessionTooLarge, match="of them are the session that waits meanwhile; nginx answers 502"
    ) as caught:
        begin(1500)
    assert caught.value.size > caught.value.limit == 3600
    assert who(site) == ("admin", None, {"theme": "dark", "text": "x" * 1500})


def test_stopping_brings_back_what_waited(site: Site) -> None:
    """Her data and her login, under a new id, and nothing of what was done as the other."""
    began = site.open().authenticated_at
    old = site.open().id
    act(site)
    site.visit(cart=["apple"])

    session = stop(site)

    assert (session.subject, session.actor, dict(session)) == ("admin", None, {"theme": "dark"})
    assert who(site) == ("admin", None, {"theme": "dark"})
    assert (site.open().authenticated_at, site.open().id != old) == (began, True)
    assert len(site.jar.cookies) == 1


def test_what_was_done_before_in_the_same_request_is_hers(site: Site) -> None:
    """Middleware that notes the time of a visit, and then the view that begins to act."""
    session = site.open()
    session["last"] = 7
    session.impersonate("bob")
    session["banner"] = "you are bob"
    site.commit(session)
    assert who(site) == ("bob", "admin", {"banner": "you are bob"})

    assert dict(stop(site)) == {"theme": "dark", "last": 7}


def test_a_login_and_an_impersonation_in_one_request(site: Site) -> None:
    """Such as a support desk's link that logs in by a ticket; her own session is stored first."""
    site.jar.cookies.clear()
    session = site.open()
    session.login("agent", at_most=3) if site.sessions.engine.store else session.login("agent")
    session.impersonate("bob")
    site.commit(session)
    assert who(site) == ("bob", "agent", {})

    assert stop(site).subject == "agent"


def test_what_was_begun_in_a_request_can_be_taken_back_in_it(site: Site) -> None:
    """As if nothing had been asked."""
    session = site.open()
    old = session.id
    session.impersonate("bob")
    session["x"] = 1
    session.stop_impersonating()
    site.commit(session)

    assert who(site) == ("admin", None, {"theme": "dark"})
    assert site.open().id == old


def test_from_one_user_to_the_next(site: Site) -> None:
    """Stopping and beginning in one request: the first one's session ends."""
    bob = act(site).id
    session = site.open()
    session.stop_impersonating()
    session.impersonate("carol")
    site.commit(session)

    assert who(site) == ("carol", "admin", {})
    assert bob in [event.id for event in site.told(Destroyed)]
    assert stop(site).subject == "admin"


def test_what_was_begun_after_stopping_can_be_taken_back(site: Site) -> None:
    """Stopping stays asked for."""
    act(site)
    session = site.open()
    session.stop_impersonating()
    session.impersonate("carol")
    session.stop_impersonating()
    site.commit(session)

    assert who(site) == ("admin", None, {"theme": "dark"})
    assert [(event.subject, event.cause) for event in site.told(LoggedOut)] == [("bob", "stopped")]


def test_stopping_where_nobody_acts_does_nothing(site: Site) -> None:
    """A second click on the button."""
    act(site)
    stop(site)

    stop(site)

    assert who(site) == ("admin", None, {"theme": "dark"})


def test_a_second_commit_adds_nothing(site: Site) -> None:
    """Some frameworks commit twice."""
    session = site.open()
    session.impersonate("bob")
    first = site.commit(session).set_cookies
    second = site.commit(session).set_cookies

    assert (bool(first), second) == (True, [])


def test_stopping_after_the_commit_of_the_beginning(site: Site) -> None:
    """Django's views save the session before the middleware does."""
    session = act(site)
    session.stop_impersonating()
    site.commit(session)

    assert (session.subject, who(site)) == ("admin", ("admin", None, {"theme": "dark"}))


# --- its end


def test_a_logout_ends_both(site: Site) -> None:
    """The browser holds no cookie of either, and each is told."""
    act(site)
    session = site.open()
    session.logout()
    site.commit(session)

    assert site.jar.cookies == {}
    assert {(event.subject, event.cause) for event in site.told(LoggedOut)} == {("bob", "logout"), ("admin", "logout")}


def test_a_logout_in_the_request_that_begins_ends_hers(site: Site) -> None:
    """Nothing was begun yet."""
    session = site.open()
    session.impersonate("bob")
    session.logout()
    site.commit(session)

    assert (site.jar.cookies, who(site)[0]) == ({}, None)


def test_a_logout_after_stopping_ends_both(site: Site) -> None:
    """In one request."""
    bob = act(site).id
    session = site.open()
    session.stop_impersonating()
    session.logout()
    site.commit(session)

    assert (site.jar.cookies, bob in [event.id for event in site.told(Destroyed)]) == ({}, True)
    assert {event.subject for event in site.told(LoggedOut)} == {"admin", "bob"}


def test_a_logout_counts_where_the_handler_fails(site: Site) -> None:
    """Both have ended."""
    act(site)
    session = site.open()
    session.logout()
    site.jar.take(site.sessions.abort(session))

    assert (site.jar.cookies, len(site.told(LoggedOut))) == ({}, 2)


def test_a_failed_handler_neither_begins_nor_stops(site: Site) -> None:
    """Both ask for a change of whom the browser is; neither is an end."""
    session = site.open()
    session.impersonate("bob")
    site.jar.take(site.sessions.abort(session))
    assert who(site)[0] == "admin"
    act(site)
    session = site.open()
    session.stop_impersonating()
    site.jar.take(site.sessions.abort(session))

    assert who(site)[:2] == ("bob", "admin")


@pytest.mark.parametrize("subject", ["bob", "carol", "admin"])
def test_a_login_ends_both(site: Site, subject: str) -> None:
    """Whoever shows a credential in this browser is there as himself, with nothing of what was done as another."""
    act(site)
    site.visit(cart=["apple"])
    session = site.open()
    session.login(subject)
    site.commit(session)

    assert who(site) == (subject, None, {})
    assert {event.subject for event in site.told(LoggedOut)} == {"admin", "bob"}
    assert len(site.jar.cookies) == 1


def test_it_ends_after_its_lifetime(site: Site) -> None:
    """Thirty minutes, if nothing else is said; hers is in no danger of that by itself."""
    act(site)
    site.clock.now += 30 * 60 - 1
    before = who(site)[0]
    site.clock.now += 1

    assert (before, who(site)[0]) == ("bob", None)


def test_it_outlives_neither_hers_nor_what_was_asked_for(site: Site) -> None:
    """A minute, where that is asked for; an hour of ten days only if hers lasts as long."""
    act(site, lifetime="1 minute")
    assert site.open().expires_at.timestamp() == site.clock.now + 60
    stop(site)
    site.clock.now += 14 * 86_400 - 100
    act(site)

    assert site.open().expires_at.timestamp() == site.clock.now + 100


def test_acting_keeps_hers_from_being_idle() -> None:
    """Her browser was in use all the time; on a cookie engine and in a store."""
    for engine in (CookieEngine(KEY), StoreEngine(MemoryStore())):
        site = logged_in(Site(engine, idle_timeout="10 minutes", persistent=True))
        act(site)
        for minute in range(3):
            site.clock.now += 500
            site.visit(minute=minute)

        assert stop(site).subject == "admin"


def test_the_browser_that_keeps_hers_keeps_this_one(site: Site) -> None:
    """ "Remember me" is the login's own."""
    session = site.open()
    session.login("admin", persistent=True)
    site.commit(session)
    session = site.open()
    session.impersonate("bob")

    assert all("Max-Age" in line for line in site.commit(session).set_cookies)


def test_without_hers_it_is_nobodys(site: Site) -> None:
    """Where the cookie with hers was taken away, or what is stored: no way to go on as the other alone."""
    act(site)
    if site.sessions.engine.store is None:
        site.jar.cookies = {name: value for name, value in site.jar.cookies.items() if not name.endswith("-actor")}
    else:
        site.sessions.end_all("admin")

    assert who(site)[:2] == (None, None)
    assert site.told(Rejected)[-1].reason in ("actor_ended", "revoked")  # a list has the user who acts as well
    stop(site)
    assert who(site)[0] is None


@pytest.mark.parametrize("actor", [["admin"], ["admin", "?"], [7, ""], []])
def test_an_option_of_another_form_brings_nobody_in(stored: Site, actor: list[Any]) -> None:
    """Such as one that a version to come has written."""
    act(stored)
    session = stored.open()
    assert session.subject == "bob"
    state_of(session).meta = state_of(session).meta.with_changes(options={"actor": actor})
    session["x"] = 1
    stored.commit(session)

    assert who(stored)[0] is None


def test_anothers_session_does_not_wait_in_its_place() -> None:
    """A cookie of somebody else's in the place of hers brings nobody in."""
    site, other = logged_in(Site(CookieEngine(KEY))), Site(CookieEngine(KEY))
    act(site)
    session = other.open()
    session.login("mallory")
    other.commit(session)
    act(other)
    name = "__Host-Http-session-actor"
    site.jar.cookies[name] = other.jar.cookies[name]

    assert who(site)[0] is None


# --- between two requests


def test_who_was_logged_out_meanwhile_does_not_begin(stored: Site) -> None:
    """A request that was loaded before `end_all`: nobody acts as bob; what it has put in is nobody's."""
    for keeps in (False, True):
        logged_in(stored)
        session = stored.open()
        session.impersonate("bob")
        if keeps:
            session["note"] = 1
        stored.sessions.end_all("admin")
        stored.commit(session)

        assert who(stored) == (None, None, {"note": 1} if keeps else {})


def test_who_was_logged_out_meanwhile_is_told(stored: Site) -> None:
    """Under POST the page would say that it had worked."""
    session = stored.sessions.open(stored.jar.header, POST)
    session.impersonate("bob")
    stored.sessions.end_all("admin")

    with pytest.raises(SessionConflict):
        stored.sessions.commit(session)


def test_what_was_read_and_changed_meanwhile_is_a_conflict(stored: Site) -> None:
    """The role that the handler checked was taken away before the commit."""
    session = stored.open()
    assert session["theme"] == "dark"
    session.impersonate("bob")
    stored.visit(theme="light")

    with pytest.raises(SessionConflict, match="nobody acts"):
        stored.sessions.commit(session)
    assert who(stored)[0] == "admin"


def test_hers_is_ended_between_load_and_stop(stored: Site) -> None:
    """Stopping leaves nobody, and the page is not told otherwise."""
    act(stored)
    session = stored.open()
    assert session.subject == "bob"
    session.stop_impersonating()
    stored.sessions.end_all("admin")

    with pytest.raises(SessionConflict):
        stored.sessions.commit(session)
    assert who(stored)[0] is None


def test_a_new_id_keeps_the_way_back(site: Site) -> None:
    """`regenerate` and `confirm` while acting."""
    act(site)
    for change, arguments in (("regenerate", []), ("confirm", ["totp"])):
        session = site.open()
        getattr(session, change)(*arguments)
        site.commit(session)
        assert who(site)[:2] == ("bob", "admin")

    assert stop(site).subject == "admin"


def test_what_was_confirmed_is_not_carried(site: Site) -> None:
    """Neither to the other's session nor back."""
    session = site.open()
    session.confirm("password")
    site.commit(session)
    assert act(site).confirmed() is False
    session = site.open()
    session.confirm("totp")
    site.commit(session)

    back = stop(site)

    assert (back.confirmed(by="password"), back.confirmed(by="totp")) == (True, False)


# --- who sees it


def test_both_users_lists_show_it(stored: Site) -> None:
    """Under the user with who acts, under the one who acts beside her own; after a new id as well."""
    act(stored)
    session = stored.open()
    session.regenerate()
    stored.commit(session)
    now = stored.open().id

    assert [(info.id, info.actor) for info in stored.sessions.list("bob")] == [(now, "admin")]
    assert {(info.id == now, info.actor) for info in stored.sessions.list("admin")} == {(True, "admin"), (False, None)}
    stop(stored)
    assert [info.actor for info in stored.sessions.list("admin")] == [None]


def test_a_list_shows_none_that_has_ended(stored: Site) -> None:
    """Bob's sessions were ended; the administrator's own goes on."""
    act(stored)
    stored.sessions.end_all("bob")

    assert [info.actor for info in stored.sessions.list("admin")] == [None]


def test_a_user_ends_it_with_all_of_his(stored: Site) -> None:
    """`end_all` of either."""
    for subject in ("bob", "admin"):
        logged_in(stored)
        act(stored)
        stored.sessions.end_all(subject)
        assert who(stored)[0] is None


def test_it_does_not_count_among_the_users_own(stored: Site) -> None:
    """The user's one session does not end because somebody acts as him, nor the other way around."""
    bob = Jar()
    session = stored.sessions.open("")
    session.login("bob", at_most=1)
    bob.take(stored.sessions.commit(session))
    act(stored)
    session = stored.sessions.open("")
    session.login("bob", at_most=1)
    bob.take(stored.sessions.commit(session))

    assert (who(stored)[0], stored.sessions.open(bob.header).subject) == ("bob", "bob")


def test_both_are_in_every_event(site: Site) -> None:
    """Of the session in which somebody acts."""
    act(site)
    site.events.clear()
    site.visit(x=1)
    session = site.open()
    session.regenerate()
    site.commit(session)
    stop(site)
    told = [event for event in site.events if not isinstance(event, IdChanged) or event.acting]

    assert {event.acting for event in told} == {("admin", "bob")}
    assert all("admin acts as bob" in str(event) for event in told)


def test_a_beginning_is_a_login_with_an_actor(site: Site) -> None:
    """For the audit log; its end has a cause of its own."""
    act(site)
    stop(site)

    assert [(event.subject, event.actor) for event in site.told(LoggedIn)] == [("admin", None), ("bob", "admin")]
    assert [(event.subject, event.cause) for event in site.told(LoggedOut)] == [("bob", "stopped")]


# --- what is refused


def test_nobody_acts_without_a_login() -> None:
    """There would be no way back."""
    with pytest.raises(ConfigError, match="call login"):
        Site().open().impersonate("bob")


def test_no_impersonation_within_one(site: Site) -> None:
    """Nor of oneself."""
    act(site)
    with pytest.raises(ConfigError, match="stop_impersonating"):
        site.open().impersonate("carol")
    stop(site)
    with pytest.raises(ConfigError, match="already"):
        site.open().impersonate("admin")


@pytest.mark.parametrize("lifetime", [0, "soon"])
def test_a_lifetime_is_a_duration(site: Site, lifetime: Any) -> None:
    """Of a second or more; the session stays what it was."""
    session = site.open()
    with pytest.raises(ConfigError, match=r"impersonate\(lifetime\)"):
        session.impersonate("bob", lifetime=lifetime)

    assert session.subject == "admin"


def test_other_systems_sessions_have_no_place_for_it() -> None:
    """A cookie that Flask reads as well says nothing of who acts."""
    site = Site(CookieEngine(FlaskCookie("a secret of some length")))
    session = site.open()
    session.login("admin")

    with pytest.raises(ConfigError, match="own form"):
        session.impersonate("bob")


def test_a_session_made_by_hand_acts_too() -> None:
    """Such as one in a test of a handler."""
    session = Session({"x": 1})
    session.login("admin")
    session.impersonate("bob")
    assert (session.subject, session.actor, dict(session)) == ("bob", "admin", {})
    session.stop_impersonating()

    assert (session.subject, dict(session)) == ("admin", {"x": 1})


def test_a_store_that_is_down_brings_nobody_in(stored: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit fails, and she is who she was."""
    session = stored.open()
    session.impersonate("bob")
    with monkeypatch.context() as patch:
        patch.setattr(stored.sessions.engine.store, "put", _down)
        with pytest.raises(StoreUnavailable):
            stored.sessions.commit(session)

    assert who(stored)[0] == "admin"


def _down(*args: Any, **named: Any) -> Any:
    raise StoreUnavailable("the store is down")


def test_under_async_code() -> None:
    """There and back, and out."""
    site = Site(StoreEngine(MemoryStore()))

    async def visit(*names: str) -> Any:
        session = await site.sessions.aopen(site.jar.header)
        for name in names:
            getattr(session, name)(*{"login": ["admin"], "impersonate": ["bob"]}.get(name, []))
        site.jar.take(await site.sessions.acommit(session))
        await site.sessions.afinish(session)
        return session

    async def main() -> list[str | None]:
        await visit("login")
        return [(await visit(name)).subject for name in ("impersonate", "stop_impersonating", "impersonate", "logout")]

    assert anyio.run(main) == ["bob", "admin", "bob", None]
    assert site.jar.cookies == {}


def test_events_say_it_by_themselves() -> None:
    """An event that belongs to nobody who acts says nothing of it."""
    assert (Event.acting, "acts as" in str(LoggedOut("i", "bob", "stopped"))) == (None, False)


def test_a_login_that_begins_to_act_in_the_same_request_is_told_too(stored: Site) -> None:
    """Who looks for her later, in the audit log, must find that she came."""
    session = stored.open()
    session.login("root", label="Firefox")
    session.impersonate("bob")
    stored.commit(session)

    told = [(event.subject, event.actor, event.label) for event in stored.told(LoggedIn)]
    assert told == [("admin", None, None), ("root", None, "Firefox"), ("bob", "root", None)]

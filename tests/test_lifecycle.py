"""The life of a session within a request, where something comes in between: loads, commits, ends, and limits of logins."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.kit import KEY, START, Jar, Site

from hardtack import Cookie, CookieEngine, EndedSessions, Request, Session, StoreEngine
from hardtack.adapters import end_own
from hardtack.errors import (
    ConfigError,
    SessionConflict,
    SessionFinished,
    SessionTooLarge,
    StoreFull,
    StoreUnavailable,
    TooManySessions,
)
from hardtack.events import Destroyed, LateWrite, LoggedOut, Rejected, TakenOver
from hardtack.protocols import Context, Entry, VersionConflict
from hardtack.record import Record
from hardtack.stores.memory import MemoryStore

NAME, FORMER = "__Host-Http-session", "__Host-session"


class Meanwhile(MemoryStore):
    """A store in memory that does something else before the nth call of a method: `before["get", 1] = function`."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[tuple[str, int], Callable[[], object]] = {}

    def _count(self, method: str) -> None:
        self.before = {(name, n - (name == method)): call for (name, n), call in self.before.items()}
        due = self.before.pop((method, 0), None)
        if due is not None:
            due()

    def get(self, key: str) -> Entry | None:
        self._count("get")
        return super().get(key)

    def find(self, subject: str) -> list[str]:
        self._count("find")
        return super().find(subject)

    def rename(self, *args: Any, **options: Any) -> Any:
        self._count("rename")
        return super().rename(*args, **options)

    def delete(self, key: str, *, if_version: Any = None) -> bool:
        self._count("delete")
        return super().delete(key, if_version=if_version)

    def put(self, key: str, data: bytes, *, expires_at: int, if_version: Any, subject: str | None) -> Any:
        self._count("put")
        return super().put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)


class Theirs:
    """Another system's cookie: its data in plain sight."""

    cookie_name = "theirs"
    path = "/"
    domain = None
    authenticates_time = True
    distinct = True
    format_name = "theirs"

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        data = {"user": cookies[self.cookie_name][-1]}
        return Record(b"x" * 16, START - 100, None, START - 50, None, {}, data)

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        return {self.cookie_name: record.data["user"]}


def racing(**options: Any) -> tuple[Site, Meanwhile]:
    store = Meanwhile()
    return Site(StoreEngine(store), **options), store


def fail() -> None:
    raise StoreUnavailable("down")


def full() -> None:
    raise StoreFull("no room")


def collide() -> None:
    raise VersionConflict("changed")


def log_in(site: Site, **options: Any) -> Jar:
    """Another browser of alice."""
    site.clock.now += 1
    jar = Jar()
    session = site.sessions.open("")
    session.login("alice", **options)
    jar.take(site.sessions.commit(session))
    return jar


# --- a limit of logins


REFUSE: dict[str, Any] = {"at_most": 1, "beyond": "refuse"}


@pytest.mark.parametrize("late", [0, -2])
def test_of_two_logins_at_once_the_later_is_refused(late: int) -> None:
    """It is counted again after its own write, in one order for both: one is left, whichever was written first."""
    site, store = racing()

    def other() -> None:
        site.clock.now += late
        log_in(site, **REFUSE)

    store.before["put", 1] = other
    refused = False
    try:
        log_in(site, **REFUSE)
    except TooManySessions:
        refused = True

    assert (site.sessions.count("alice"), refused) == (1, late < 0)


def test_a_refused_login_leaves_the_session_that_it_began_from() -> None:
    """With what was in it, under the id that the browser has."""
    site, store = racing()
    site.visit(cart=["apple"])

    def other() -> None:
        site.clock.now -= 5
        log_in(site, **REFUSE)

    session = site.open()
    session.login("alice", **REFUSE)
    store.before["rename", 1] = other
    with pytest.raises(TooManySessions):
        site.commit(session)

    assert (site.open().subject, dict(site.open())) == (None, {"cart": ["apple"]})
    assert site.sessions.count("alice") == 1


def test_a_refused_login_that_was_ended_meanwhile_begins_nothing() -> None:
    """Others have ended what it began from, and taken its place."""
    site, store = racing()
    site.visit(cart=["apple"])
    old = site.open().id

    def others() -> None:
        site.clock.now -= 5
        log_in(site)
        log_in(site)
        store.before["delete", 1] = lambda: site.sessions.end(old)

    session = site.open()
    session.login("alice", **REFUSE)
    store.before["rename", 1] = others
    with pytest.raises(TooManySessions):
        site.commit(session)

    assert (dict(site.open()), site.sessions.count("alice")) == ({}, 2)


def test_a_refused_login_brings_back_nothing_that_was_forgotten() -> None:
    """The store knows nothing any more of what it began from, not even that its id was changed."""
    site, store = racing()
    site.visit(cart=["apple"])
    old = site.open().id

    def others() -> None:
        site.clock.now -= 5
        log_in(site, **REFUSE)
        store.before["delete", 1] = lambda: MemoryStore.delete(store, old)

    session = site.open()
    session.login("alice", **REFUSE)
    store.before["rename", 1] = others
    with pytest.raises(TooManySessions):
        site.commit(session)

    assert (dict(site.open()), site.sessions.count("alice")) == ({}, 1)


def test_a_logout_is_carried_out_where_the_login_after_it_is_refused() -> None:
    """The user has asked for it first."""
    site, _ = racing()
    log_in(site)
    session = site.open()
    session.login("carol")
    site.commit(session)
    session = site.open()
    session.logout()
    session.login("alice", **REFUSE)
    with pytest.raises(TooManySessions) as caught:
        site.commit(session)

    assert ["Max-Age=0" in line for line in caught.value.set_cookies] == [True]
    assert site.sessions.count("carol") == 0
    assert [event.subject for event in site.told(LoggedOut)] == ["carol"]


def test_a_logout_is_carried_out_where_the_handler_fails_after_a_limited_login() -> None:
    """Of the login nothing is."""
    site, _ = racing()
    session = site.open()
    session.login("carol")
    site.commit(session)
    session = site.open()
    session.logout()
    session.login("alice", at_most=1)
    site.jar.take(site.sessions.abort(session))

    assert [site.sessions.count(subject) for subject in ("carol", "alice")] == [0, 0]


def test_a_second_click_on_log_in_is_not_refused() -> None:
    """The session of the first click, whose answer was lost, does not count: it ends with the second."""
    site, _ = racing()
    site.visit(cart=["apple"])
    header = site.jar.header
    second = site.sessions.open(header)
    second.login("alice", **REFUSE)
    first = site.sessions.open(header)
    first.login("alice", **REFUSE)
    site.sessions.commit(first)
    site.commit(second)  # it was loaded before the first was stored
    third = site.sessions.open(header)
    third.login("alice", **REFUSE)
    site.commit(third)

    assert (site.open().subject, site.sessions.count("alice")) == ("alice", 1)


def test_a_session_that_ended_meanwhile_is_not_told_twice() -> None:
    """The limit finds the oldest login already ended, by somebody else."""
    site, store = racing()
    log_in(site)
    (old,) = site.sessions.list("alice")
    # Two records are read to be counted; before the next read, which is to end the oldest, another ends it.
    store.before["put", 1] = lambda: store.before.update({("get", 3): lambda: site.sessions.end(old.id)})

    log_in(site, at_most=1)

    assert [event.id for event in site.told(Destroyed)] == [old.id]
    assert [event.cause for event in site.told(LoggedOut)] == ["ended"]
    assert site.sessions.count("alice") == 1


# --- what is taken over, and ended in the request that brought it


@pytest.mark.parametrize("stored_first", [False, True])
def test_a_logout_ends_what_a_parallel_first_request_stores(stored_first: bool) -> None:
    """Both came with the other system's cookie: nobody is logged in by it afterwards."""
    site, _ = racing(accept=[Theirs()])
    out, other = (site.sessions.open("theirs=ann") for _ in range(2))
    assert out["user"] == "ann"
    out.logout()
    other["n"] = 1
    jar = Jar()
    if stored_first:
        jar.take(site.sessions.commit(other))
        site.sessions.commit(out)
    else:
        site.sessions.commit(out)
        jar.take(site.sessions.commit(other))

    assert dict(site.sessions.open(jar.header)) == {}
    assert dict(site.sessions.open("theirs=ann")) == {}


def test_a_logout_of_what_was_just_brought_needs_no_room() -> None:
    """Where the store is full, it cannot be remembered that the session ended; nothing was stored either."""
    site, store = racing(accept=[Theirs()])
    session = site.sessions.open("theirs=ann")
    assert session["user"] == "ann"
    session.logout()
    store.before["put", 1] = full

    assert "theirs=" in site.sessions.commit(session).set_cookies[-1]


# --- loading


@pytest.mark.parametrize("make", [lambda: CookieEngine(KEY), lambda: StoreEngine(MemoryStore())])
def test_a_session_under_the_former_default_name_goes_on(make: Callable[[], Any]) -> None:
    """It is read under the old name, and the next commit gives it today's."""
    site = Site(make())
    site.visit(n=1)
    header = f"{FORMER}={site.jar.cookies[NAME]}"
    if not isinstance(site.sessions.engine, StoreEngine):  # the name is part of what a cookie is sealed for
        former = Site(make(), cookie=Cookie(name=FORMER))
        former.visit(n=1)
        header = former.jar.header
    session = site.sessions.open(header)
    found = dict(session)

    site.commit(session)

    assert found == {"n": 1}
    assert dict(site.open()) == {"n": 1}


@pytest.mark.parametrize("engine", ["store", "cookie", "cookie, chunked", "cookie and a format to take over"])
@pytest.mark.parametrize("call", ["commit", "abort"])
def test_a_logout_clears_the_former_default_name_too(engine: str, call: str) -> None:
    """A browser can have both since the change of name: the next page would be that of the other session's user."""
    store = MemoryStore()
    overflow: Any = "chunk" if engine == "cookie, chunked" else "raise"

    def make() -> Any:
        return StoreEngine(store) if engine == "store" else CookieEngine(KEY, overflow=overflow)

    site = Site(make(), accept=[Theirs()] if "take over" in engine else ())
    former = Site(make(), cookie=Cookie(name=FORMER))
    for each, name in ((site, "alice"), (former, "bob")):
        session = each.open()
        session.login(name)
        session["x"] = "x" * (4000 if engine == "cookie, chunked" else 1)
        each.commit(session)
    site.jar.cookies |= former.jar.cookies
    session = site.open()
    assert session.subject == "alice"
    session.logout()

    site.jar.take(getattr(site.sessions, call)(session))

    assert site.jar.cookies == {}


def test_a_logout_while_the_store_is_down_clears_the_former_default_name_too() -> None:
    """And no cookie that only contains it in its name."""
    site, store = racing()
    site.visit(n=1)

    def fail() -> None:
        raise StoreUnavailable("down")

    store.before["get", 1] = fail
    session = site.sessions.open(f"{site.jar.header}; {FORMER}=x; {FORMER}-2=y; a{FORMER}=z")

    with pytest.raises(StoreUnavailable) as caught:
        session.logout()

    assert [line.partition("=")[0] for line in caught.value.set_cookies] == [NAME, FORMER]


def test_an_unknown_session_under_the_former_name_is_nobodys() -> None:
    """It was read, and no session began."""
    site, _ = racing()

    session = site.sessions.open(f"{FORMER}={'A' * 43}")

    assert (dict(session), session.subject) == ({}, None)
    assert [event.reason for event in site.told(Rejected)] == ["unknown_id"]


def test_async_code_loads_what_is_under_the_former_name() -> None:
    """`aopen` asks the store, also where today's cookie is not there."""
    site, _ = racing()
    site.visit(n=1)

    async def request() -> tuple[dict[str, Any], dict[str, Any]]:
        session = await site.sessions.aopen(f"{FORMER}={site.jar.cookies[NAME]}")
        before = dict(session)
        await site.sessions.core.aload(session)
        site.sessions.core.load(session)
        return before, dict(session)

    assert asyncio.run(request()) == ({"n": 1}, {"n": 1})


def test_a_task_whose_load_fails_takes_nothing_from_the_one_before_it() -> None:
    """Another task of the request has loaded the session meanwhile: it stays as that has found it."""
    site, store = racing()
    site.visit(n=1)

    async def request() -> dict[str, Any]:
        session = site.sessions.open(site.jar.header)

        def faster() -> None:
            assert session["n"] == 1
            raise StoreUnavailable("down")

        store.before["get", 1] = faster
        await site.sessions.core.aload(session)
        return dict(session)

    assert asyncio.run(request()) == {"n": 1}


# --- committing


def test_a_commit_after_the_request_says_nothing() -> None:
    """And one of a session that was changed since is an error: a handler kept it for later."""
    site, _ = racing()
    session = site.visit(a=[1])
    site.sessions.finish(session)
    assert site.sessions.commit(session).set_cookies == []
    session["a"].append(2)

    with pytest.raises(SessionFinished, match="request is over"):
        site.sessions.commit(session)


CALLS = ("commit", "abort", "finish", "acommit", "aabort", "afinish")


def call(site: Site, name: str, given: Any) -> Any:
    """One of the calls, whether it is for async code or not."""
    made = getattr(site.sessions, name)(given)
    return asyncio.run(made) if name.startswith("a") and name != "abort" else made


@pytest.mark.parametrize("name", CALLS)
def test_a_session_of_another_manager_is_refused(name: str) -> None:
    """Its cookie would be sealed under another's key, or stored in another's store."""
    session = Site().open()
    session["a"] = 1

    with pytest.raises(ConfigError, match="another SessionManager"):
        call(Site(), name, session)


@pytest.mark.parametrize("name", CALLS)
def test_a_session_made_by_hand_is_refused(name: str) -> None:
    """It has no cookie: whoever thinks that it is kept has to be told."""
    with pytest.raises(ConfigError, match="made by hand"):
        call(Site(), name, Session({"a": 1}))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("given", [{}, {"a": 1}, None])
def test_what_is_no_session_is_refused(name: str, given: Any) -> None:
    """With what is to be given, in the place of a private name."""
    with pytest.raises(TypeError, match=rf"take the session that open\(\) has returned, not {type(given).__name__}$"):
        call(Site(), name, given)


@pytest.mark.parametrize("make", [lambda: CookieEngine(KEY), lambda: StoreEngine(MemoryStore())])
@pytest.mark.parametrize("more", [{}, {"more": 2}])
def test_data_put_back_after_an_end_is_warned_of_once(
    make: Callable[[], Any], more: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An old idiom against fixation: here it logs the user out."""
    site = Site(make())
    for _ in range(2):
        session = site.open()
        session.login("alice")
        session["cart"] = ["bread"]
        site.commit(session)
        session = site.open()
        saved = dict(session)
        session.clear()
        session.update(saved | more)
        site.commit(session)

    assert site.open().subject is None
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "session.regenerate()" in warning


@pytest.mark.parametrize("make", [lambda: CookieEngine(KEY), lambda: StoreEngine(MemoryStore())])
@pytest.mark.parametrize(
    ("subject", "then"),
    [
        ("alice", lambda session, saved: session.update(cart=["butter"])),
        ("alice", lambda session, saved: session.update(other=1)),
        ("alice", lambda session, saved: (session.update(saved), session.login("alice"))),
        (None, lambda session, saved: session.update(saved)),
    ],
)
def test_other_data_after_an_end_is_no_reason_to_warn(
    make: Callable[[], Any], subject: str | None, then: Callable[[Any, Any], object], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor data of a session that was nobody's, nor of one that somebody logs in to."""
    site = Site(make())
    session = site.open()
    session["cart"] = ["bread"]
    if subject is not None:
        session.login(subject)
    site.commit(session)
    session = site.open()
    saved = dict(session)
    session.clear()
    then(session, saved)

    site.commit(session)

    assert [record for record in caplog.records if record.levelno == logging.WARNING] == []


def test_a_page_that_tells_of_the_store_may_be_sent() -> None:
    """With a 5xx only: one that takes "nobody" for an answer must not be."""
    site, store = racing()
    site.visit(n=1)
    store.before["get", 1] = fail
    session = site.open()
    with pytest.raises(StoreUnavailable):
        session.get("n")

    with pytest.raises(StoreUnavailable):
        site.sessions.commit(session, 200)

    assert site.sessions.commit(session, 503).no_store


@pytest.mark.parametrize("listed", [False, True])
def test_who_only_reads_keeps_a_cookie_that_ours_would_outgrow(listed: bool) -> None:
    """Another system's cookie can be smaller by compression; who writes is told that it is too large."""
    ended = EndedSessions.from_url("memory://") if listed else None
    site = Site(accept=[Theirs()], ended=ended)
    header = f"theirs={secrets.token_hex(4_000)}"
    session = site.sessions.open(header)
    assert len(session["user"]) == 8_000

    changes = site.sessions.commit(session)

    assert changes.set_cookies == []
    assert [event.reason for event in site.told(Rejected)] == ["too_large"]
    site.sessions.close()


def test_planted_cookies_are_cleared_beside_a_new_session() -> None:
    """Two sessions cancel each other; what is stored then takes our place, and the others are cleared in theirs."""
    site, _ = racing()
    values: list[str] = []
    for n in range(2):
        jar = Jar()
        session = site.sessions.open("")
        session["n"] = n
        jar.take(site.sessions.commit(session))
        values.append(jar.cookies[NAME])
    header = "; ".join(f"{NAME}={value}" for value in values)
    session = site.sessions.open(header, Request("GET", "https", "www.shop.example", path="/a/b"))
    session["n"] = 3

    lines = site.sessions.commit(session).set_cookies

    assert len([line for line in lines if "Max-Age=0" not in line]) == 1
    assert any("Domain=shop.example" in line and "Max-Age=0" in line for line in lines)


@pytest.fixture(params=["store", "cookie"])
def disputed(request: pytest.FixtureRequest) -> tuple[Site, str]:
    """A site, on a store or on cookies, and the header of a browser with two sessions."""
    engine = StoreEngine(MemoryStore()) if request.param == "store" else CookieEngine(KEY, max_set_cookie=500)
    site = Site(engine, cookie=Cookie("sid", formerly=[Cookie("sid", path="/old")]))
    values = []
    for name in ("alice", "mallory"):
        session = site.sessions.open("")
        session.login(name)
        values.append(site.jar.take(site.sessions.commit(session)).set_cookies[0].partition(";")[0])
    return site, "; ".join(values)


def cleared(lines: Sequence[str]) -> list[str]:
    return [line.partition("Max-Age=0; ")[2].partition("; Secure")[0] for line in lines if "Max-Age=0" in line]


@pytest.mark.parametrize("call", ["commit", "abort"])
def test_a_logout_beside_a_planted_cookie_clears_both(disputed: tuple[Site, str], call: str) -> None:
    """Ours alone would leave the planted one, and the next page would be that user's; ours left would undo the logout."""
    site, header = disputed
    session = site.sessions.open(header, Request("POST", host="www.shop.example", path="/a"))
    session.logout()

    lines = getattr(site.sessions, call)(session).set_cookies

    assert cleared(lines)[:4] == [
        "Path=/",
        "Path=/old",
        "Path=/; Domain=shop.example",
        "Path=/; Domain=www.shop.example",
    ]


@pytest.mark.parametrize("request_", [None, Request(host="192.0.2.1", path="/a/b")])
def test_a_logout_leaves_ours_where_planted_cookies_cannot_be_reached(
    disputed: tuple[Site, str], request_: Request | None
) -> None:
    """Nobody is logged in as long as both are there; with ours gone it would be the other's user."""
    site, header = disputed
    session = site.sessions.open(header, request_)
    session.logout()

    assert cleared(site.sessions.commit(session).set_cookies) == ["Path=/old"]
    assert site.sessions.open(header, request_).subject is None


def test_a_logout_beside_a_planted_cookie_clears_both_also_where_the_commit_fails(disputed: tuple[Site, str]) -> None:
    """What was put in after it cannot be kept; the end is carried out all the same."""
    site, header = disputed
    session = site.sessions.open(header, Request("POST", host="www.shop.example", path="/"))
    session.logout()
    session["x"] = "x" * 300_000

    with pytest.raises(SessionTooLarge) as caught:
        site.sessions.commit(session)

    assert "Path=/" in cleared(caught.value.set_cookies)
    assert "Path=/; Domain=shop.example" in cleared(caught.value.set_cookies)


def test_a_request_that_fails_during_its_commit_is_over() -> None:
    """What was under way is saved, and the session takes no further change."""
    site, store = racing()
    session = site.open()
    session["n"] = 1
    store.before["put", 1] = lambda: site.sessions.abort(session)

    site.commit(session)

    assert dict(site.open()) == {"n": 1}
    with pytest.raises(SessionFinished):
        session["n"] = 2


def test_an_end_of_nothing_is_aborted_too() -> None:
    """The cookie that opens nothing here is cleared with the page of the error."""
    site, _ = racing()
    session = site.sessions.open(f"{NAME}={'A' * 43}")
    session.clear()

    (line,) = site.sessions.abort(session).set_cookies

    assert line.startswith(f"{NAME}=;")


def test_a_late_value_that_cannot_be_kept_is_an_event() -> None:
    """After the headers nobody can be told by an error."""
    site, _ = racing()
    session = site.visit(n=1)
    session["n"] = object()

    site.sessions.finish(session)

    assert len(site.told(LateWrite)) == 1
    assert dict(site.open()) == {"n": 1}


# --- update of the request's own session


def test_update_without_notes_shows_the_result() -> None:
    """Where the last write wins nothing is noted, and what was changed before stays changed."""
    site = Site(StoreEngine(MemoryStore(), on_conflict="last_write_wins"))
    site.visit(n=1)
    session = site.open()
    session["m"] = 1

    site.sessions.update(session, lambda data: data.update(n=2))

    assert dict(session) == {"n": 2, "m": 1}
    site.commit(session)
    assert dict(site.open()) == {"n": 2, "m": 1}


def test_update_after_a_login_keeps_the_login() -> None:
    """What was stored has no subject yet: the session shows the result, and still logs in."""
    site, _ = racing()
    site.visit(n=1)
    session = site.open()
    session.login("alice")

    site.sessions.update(session, lambda data: data.update(n=2))
    site.commit(session)

    again = site.open()
    assert (dict(again), again.subject) == ({"n": 2}, "alice")


# --- taking over


def test_parallel_first_requests_make_one_session() -> None:
    """The second finds what the first has stored, and gets the same cookie."""
    site, _ = racing(accept=[Theirs()])
    first = site.sessions.open("theirs=alice")
    assert first["user"] == "alice"
    first["n"] = 1
    lines = site.sessions.commit(first).set_cookies

    second = site.sessions.open("theirs=alice")

    assert dict(second) == {"user": "alice", "n": 1}
    assert site.sessions.commit(second).set_cookies == lines
    assert len(site.told(TakenOver)) == 1


def test_parallel_first_requests_are_merged() -> None:
    """Neither had seen the other: what each assigned is kept, in one session."""
    site, _ = racing(accept=[Theirs()])
    first, second = site.sessions.open("theirs=alice"), site.sessions.open("theirs=alice")
    first["a"], second["b"] = 1, 2

    site.commit(first)
    site.commit(second)

    assert dict(site.open()) == {"user": "alice", "a": 1, "b": 2}


def test_a_stale_first_request_is_not_saved() -> None:
    """What it had read of the other system's data was changed by the first."""
    site, _ = racing(accept=[Theirs()])
    first = site.sessions.open("theirs=alice")
    second = site.sessions.open("theirs=alice")
    first["user"] = "bob"
    second["greeting"] = "hello " + second["user"]
    site.commit(first)

    assert site.sessions.commit(second).dropped == "stale"
    assert dict(site.open()) == {"user": "bob"}


def test_a_first_request_is_not_tried_for_ever() -> None:
    """After sixteen lost races it is a conflict."""
    site, store = racing(accept=[Theirs()])
    first, second = site.sessions.open("theirs=alice"), site.sessions.open("theirs=alice")
    first["a"], second["b"] = 1, 2
    site.commit(first)
    store.before.update({("put", n): collide for n in range(1, 17)})

    with pytest.raises(SessionConflict, match="again and again"):
        site.sessions.commit(second)

    assert dict(site.open()) == {"user": "alice", "a": 1}


# --- ends of a framework


def test_a_frameworks_flush_of_an_old_id_clears_no_cookie() -> None:
    """The browser is about to get the cookie under which the session goes on."""
    site, _ = racing()
    site.visit(n=1)
    old = site.jar.header
    session = site.open()
    session.login("alice")
    site.commit(session)
    late = site.sessions.open(old)

    end_own(late, follows=False)

    assert site.sessions.commit(late).set_cookies == []
    assert site.open().subject == "alice"


def test_a_logout_and_login_with_a_dead_id_ends_the_login_before() -> None:
    """The first answer got lost: each click would leave a session that nobody has the cookie of."""
    site, _ = racing()
    site.visit(n=1)
    old = site.jar.header
    session = site.open()
    session.login("alice")
    site.sessions.commit(session)
    again = site.sessions.open(old)
    again.logout()
    again.login("alice")

    site.commit(again)

    assert site.open().subject == "alice"
    assert site.sessions.count("alice") == 1

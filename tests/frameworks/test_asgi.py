"""The ASGI middleware: when it saves, what it sends, and what it lets pass."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import runpy
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from starlette.middleware.sessions import SessionMiddleware as StarletteSessionMiddleware
from tests.frameworks.gateway_kit import (
    BODY,
    OK,
    UNAVAILABLE,
    App,
    AsyncMemoryStore,
    Message,
    Receive,
    Scope,
    Send,
    UnreliableStore,
    call,
    cookie_of,
    data_of,
    manager,
    receive,
    scope_of,
    set_cookies,
    values,
)
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

from hardtack import SessionManager, StoreEngine
from hardtack.errors import ConfigError, SessionFinished, SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.events import Event, LateWrite
from hardtack.frameworks.asgi import SESSIONS, SessionMiddleware
from hardtack.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
CLEARED = "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"


@pytest.fixture(params=["cookie", "store", "async store"])
def sessions(request: pytest.FixtureRequest) -> SessionManager:
    """A manager of each engine."""
    store: dict[str, Callable[[], Any]] = {"store": MemoryStore, "async store": AsyncMemoryStore}
    return manager(store.get(request.param, lambda: None)())


async def untouched(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that has no use for sessions."""
    await send(OK)
    await send(BODY)


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that counts visits."""
    session = scope["session"]
    session["visits"] = session.get("visits", 0) + 1
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(session["visits"]).encode()})


async def read(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that looks into the session."""
    scope["session"].get("visits")
    await send(OK)
    await send(BODY)


async def log_out(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that ends the session."""
    scope["session"].logout()
    await send(OK)
    await send(BODY)


async def overfill(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that puts more into the session than a cookie holds."""
    scope["session"]["much"] = "x" * 10_000
    await send(OK)
    await send(BODY)


async def write_late(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that changes the session after the headers left."""
    scope["session"]["early"] = 1
    await send(OK)
    scope["session"]["late"] = 2
    await send(BODY)


async def test_a_session_lasts_from_request_to_request(sessions: SessionManager) -> None:
    """A real client gets the cookie and brings it back."""
    transport = httpx.ASGITransport(app=SessionMiddleware(count, sessions))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        bodies = [(await client.get("/")).text for _ in range(3)]

    assert bodies == ["1", "2", "3"]


async def test_an_untouched_session_leaves_the_response_alone(sessions: SessionManager) -> None:
    """Not a header is added, and the very message is passed on."""
    sent = await call(SessionMiddleware(untouched, sessions), scope_of())

    assert sent[0] is OK
    assert OK["headers"] == [(b"content-type", b"text/plain")]


async def test_reading_makes_the_response_private_and_sets_no_cookie(sessions: SessionManager) -> None:
    """A cache must not hand the page to someone else."""
    sent = await call(SessionMiddleware(read, sessions), scope_of())

    assert sent[0]["headers"] == [
        (b"content-type", b"text/plain"),
        (b"vary", b"Cookie"),
        (b"cache-control", b"private"),
    ]


async def test_the_manager_is_in_the_state(sessions: SessionManager) -> None:
    """Handlers reach `list`, `end` and `update`; what a lifespan put there stays."""
    state = {"database": 1}

    await call(SessionMiddleware(untouched, sessions), scope_of(state=state))

    assert state == {"database": 1, SESSIONS: sessions}


async def test_several_cookie_headers_are_one() -> None:
    """HTTP/2 may send a header for each cookie."""
    sessions = manager()
    cookie = cookie_of(sessions, visits=4)

    sent = await call(SessionMiddleware(count, sessions), scope_of("theme=dark", cookie, "lang=de"))

    assert sent[1]["body"] == b"5"


@pytest.mark.parametrize(
    ("start", "vary"),
    [
        (dict, "Cookie"),
        (lambda: {"headers": None}, "Cookie"),
        (lambda: {"headers": ((b"vary", b"Accept"),)}, "Accept, Cookie"),
        (lambda: {"headers": iter([(b"vary", b"Accept")])}, "Accept, Cookie"),
    ],
)
async def test_headers_may_be_absent_or_any_iterable(start: Callable[[], dict[str, Any]], vary: str) -> None:
    """The ASGI specification asks for an iterable, and has a default."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"] = 1
        await send({"type": "http.response.start", "status": 200, **start()})

    sent = await call(SessionMiddleware(app, manager()), scope_of())

    assert len(set_cookies(sent[0])) == 1
    assert values(sent[0], b"vary") == [vary]


async def test_one_message_for_all_users_takes_no_cookie_from_the_first() -> None:
    """An application that sends a constant message must not hand out another user's session with it."""
    headers: list[tuple[bytes, bytes]] = []
    start = {"type": "http.response.start", "status": 200, "headers": headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/login":
            scope["session"].login("alice")
        await send(start)

    wrapped = SessionMiddleware(app, manager())
    first = await call(wrapped, scope_of(path="/login"))
    second = await call(wrapped, scope_of(path="/"))

    assert len(set_cookies(first[0])) == 1
    assert second == [start]
    assert headers == []


async def test_only_the_response_itself_gets_the_cookie(sessions: SessionManager) -> None:
    """Early hints and 1xx come before it, trailers after it."""
    hint = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}
    informational = {"type": "http.response.start", "status": 103, "headers": []}
    path = {"type": "http.response.pathsend", "path": "/tmp/file"}
    trailers = {"type": "http.response.trailers", "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(hint)
        await send(informational)
        scope["session"]["a"] = 1
        await send(OK)
        await send(path)
        await send(trailers)

    sent = await call(SessionMiddleware(app, sessions), scope_of())

    assert [len(set_cookies(message)) for message in sent] == [0, 0, 1, 0, 0]
    assert sent[0] is hint
    assert sent[1] is informational
    assert sent[3] is path
    assert sent[4] is trailers


@pytest.mark.parametrize("kind", ["lifespan", "something new"])
async def test_other_scopes_pass_through(kind: str) -> None:
    """They have no cookies."""
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    await call(SessionMiddleware(app, manager()), {"type": kind})

    assert scopes == [{"type": kind}]


async def test_the_record_is_stored_before_the_browser_can_use_it() -> None:
    """The next request must not overtake the write."""
    store = MemoryStore()
    sessions = manager(store)
    found: list[dict[str, Any]] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            found.append(data_of(sessions, set_cookies(message)[0].partition(";")[0]))

    await SessionMiddleware(count, sessions)(scope_of(), receive, send)

    assert found == [{"visits": 1}]


async def test_two_middlewares_on_one_request_are_refused() -> None:
    """Each would overwrite what the other had done."""
    sessions = manager()
    app = SessionMiddleware(SessionMiddleware(count, sessions), sessions)

    with pytest.raises(ConfigError, match="two session middlewares"):
        await call(app, scope_of())


async def test_a_middleware_of_another_kind_is_refused() -> None:
    """Starlette's own would sign the encrypted session into a cookie that everybody can read."""
    app = StarletteSessionMiddleware(SessionMiddleware(count, manager()), secret_key="s")

    with pytest.raises(ConfigError, match="two session middlewares"):
        await call(app, scope_of())


async def test_a_middleware_of_another_kind_inside_is_refused() -> None:
    """Its session would be in the scope in the place of ours, which would be empty and never saved."""
    inner = StarletteSessionMiddleware(count, secret_key="secret")

    with pytest.raises(ConfigError, match="replaced: by another session middleware"):
        await call(SessionMiddleware(inner, manager()), scope_of())


async def test_an_object_of_the_applications_own_is_refused(sessions: SessionManager) -> None:
    """It would not be saved; and what is stored would stay, where the application wanted to clear it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"] = {}
        await untouched(scope, receive, send)

    with pytest.raises(ConfigError, match="replaced"):
        await call(SessionMiddleware(app, sessions), scope_of())


async def test_an_application_may_take_the_session_out_of_its_scope() -> None:
    """What it did to the session before is saved."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope.pop("session")["visits"] = 1
        await untouched(scope, receive, send)

    sent = await call(SessionMiddleware(app, manager()), scope_of())

    assert len(set_cookies(sent[0])) == 1


def test_the_manager_must_be_one() -> None:
    """A secret in its place is refused by name."""
    with pytest.raises(ConfigError, match="takes a SessionManager, not str"):
        SessionMiddleware(count, "secret")  # type: ignore[arg-type]


# --- exceptions


@pytest.mark.parametrize("first", ["raise", "answer"])
async def test_an_exception_saves_nothing_more(first: str) -> None:
    """Before the response nothing at all, after its headers nothing that came later."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if first == "answer":
            await send(OK)
        scope["session"]["visits"] = 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(SessionMiddleware(app, sessions), scope_of(cookie))

    assert data_of(sessions, cookie) == {"visits": 1}


@pytest.mark.parametrize(
    ("status", "options", "committed"),
    [(401, {}, True), (503, {}, True), (500, {}, False), (500, {"commit_on_500": True}, True)],
)
async def test_an_error_page_of_the_application_is_committed(
    sessions: SessionManager, status: int, options: dict[str, Any], committed: bool
) -> None:
    """It is a response like any other: the number of failed logins has to stay.

    But for 500, which is what a framework inside makes of an exception that nothing handled.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["failures"] = 1
        await send({"type": "http.response.start", "status": status, "headers": []})

    sent = await call(SessionMiddleware(app, sessions, **options), scope_of())

    assert len(set_cookies(sent[0])) == committed


@pytest.mark.parametrize("store", [None, MemoryStore()])
async def test_a_logout_before_an_exception_is_carried_out(store: Any) -> None:
    """The page for the exception is ours then: no other could clear the cookie."""
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"].logout()
        raise ZeroDivisionError

    sent: list[Message] = []
    with pytest.raises(ZeroDivisionError):
        await call(SessionMiddleware(app, sessions), scope_of(cookie), sent=sent)

    assert sent[0]["status"] == 500
    assert "Max-Age=0" in set_cookies(sent[0])[0]


async def test_a_logout_before_a_cancellation_is_carried_out() -> None:
    """A client that has gone away cancels the handler of some servers."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"].logout()
        await anyio.sleep(60)

    with anyio.move_on_after(0.05):
        await call(SessionMiddleware(app, sessions), scope_of(cookie))

    assert data_of(sessions, cookie) == {}


@pytest.mark.parametrize("swallowed", [False, True], ids=["raised", "unanswered"])
@pytest.mark.parametrize("then", ["nothing", "unsupported"])
async def test_what_was_ended_is_cleared_whatever_failed_after(swallowed: bool, then: str) -> None:
    """In a cookie engine the cookie is all there is: one that stays is a user who stays logged in."""
    sessions = manager()
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"].logout()
        try:
            if then == "unsupported":
                scope["session"]["value"] = object()
                await send(OK)
            raise ZeroDivisionError
        except (ZeroDivisionError, UnsupportedValue):
            if not swallowed:
                raise

    sent: list[Message] = []
    with contextlib.suppress(ZeroDivisionError, UnsupportedValue):
        await call(SessionMiddleware(app, sessions), scope_of(cookie), sent=sent)

    assert sent[0]["status"] == 500
    assert set_cookies(sent[0]) == [CLEARED]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
async def test_a_logout_before_a_failure_that_the_store_did_not_hear_of_is_a_503(error: type[BaseException]) -> None:
    """Copies of the cookie are good still. What failed goes on, so that it is logged, and what is no error is not answered."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"].logout()
        store.writable = False
        raise error

    sent: list[Message] = []
    with pytest.raises(error):
        await call(SessionMiddleware(app, sessions), scope_of(cookie), sent=sent)

    assert [message.get("status") for message in sent] == ([503, None] if error is ZeroDivisionError else [])
    assert [line for message in sent for line in set_cookies(message)] == [CLEARED] * bool(sent)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_logout_before_its_task_is_cancelled_is_carried_out() -> None:
    """asyncio's own cancellation, as servers and timeouts use it; the task is cancelled, and nothing is answered."""
    sessions = manager(AsyncMemoryStore())
    first = await call(SessionMiddleware(count, sessions), scope_of())
    cookie = set_cookies(first[0])[0].partition(";")[0]
    left = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"].logout()
        left.set()
        await asyncio.sleep(60)

    sent: list[Message] = []
    task = asyncio.ensure_future(call(SessionMiddleware(app, sessions), scope_of(cookie), sent=sent))
    await left.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sent == []
    assert dict(await sessions.aopen(cookie)) == {}


async def test_a_request_may_be_no_activity_of_the_user() -> None:
    """A page that polls does not keep an abandoned session alive."""
    now = [4_000_000_000.0]
    sessions = manager(MemoryStore(), idle_timeout="1 hour", clock=lambda: now[0])
    cookie = cookie_of(sessions, visits=1)
    app = SessionMiddleware(read, sessions, passive=lambda scope: scope["path"] == "/poll")

    seen = []
    for path in ("/poll", "/"):
        now[0] += 1000
        await call(app, scope_of(cookie, path=path))
        seen.append(sessions.open(cookie).seen_at)

    assert [int(each.timestamp()) - 4_000_000_000 for each in seen if each is not None] == [0, 2000]


async def test_nothing_of_ours_runs_for_a_message_that_the_session_has_no_part_in() -> None:
    """What the server returned is handed on: a coroutine for each piece of a body would cost time."""
    returned: list[Any] = []

    class Done:
        def __await__(self) -> Iterator[Any]:
            return iter(())

    def send(message: Message) -> Done:
        done = Done()
        returned.append(done)
        return done

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert [send(OK), send(BODY)] == returned

    await SessionMiddleware(app, manager())(scope_of(), receive, send)  # type: ignore[arg-type]

    assert len(returned) == 2


@pytest.mark.parametrize(("method", "status"), [("POST", 409), ("GET", 200)])
async def test_a_save_that_was_dropped_is_told_where_the_browser_asked_for_a_change(method: str, status: int) -> None:
    """A form must not be told "added"; a page that was only looked at is shown."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, n=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["n"] += 1
        other = sessions.open(cookie)
        other["n"] += 1
        sessions.commit(other)
        await send(OK)
        await send(BODY)

    sent = await call(SessionMiddleware(app, sessions), {**scope_of(cookie), "method": method})

    assert sent[0]["status"] == status
    assert data_of(sessions, cookie) == {"n": 2}


async def test_a_request_of_another_site_is_served_without_the_session() -> None:
    """It is nobody's, clears nothing, and a write in it is 403."""
    sessions = manager(MemoryStore(), cross_site="refuse")
    cookie = cookie_of(sessions, user="alice")
    elsewhere = [(b"sec-fetch-site", b"cross-site"), (b"origin", b"https://evil.example")]

    def scope() -> Scope:
        plain = scope_of(cookie, method="POST")
        return {**plain, "headers": [*plain["headers"], *elsewhere]}

    seen: list[Any] = []

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["session"].get("user"))
        await send(OK)
        await send(BODY)

    async def writing(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["user"] = "mallory"

    read = await call(SessionMiddleware(reading, sessions), scope())
    written = await call(SessionMiddleware(writing, sessions), scope())

    assert seen == [None]
    assert (read[0]["status"], set_cookies(read[0])) == (200, [])
    assert written[0]["status"] == 403
    assert data_of(sessions, cookie) == {"user": "alice"}


async def test_a_session_that_is_too_large_fails_before_anything_was_sent() -> None:
    """The server or an error middleware can still answer 500."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(SessionTooLarge):
        await SessionMiddleware(overfill, manager())(scope_of(), receive, send)

    assert sent == []


async def test_after_a_failed_commit_an_error_page_saves_nothing_and_is_nobody_elses() -> None:
    """Half of what the handler wanted would be worse than nothing; and what the page shows may be of the session."""
    page = {"type": "http.response.start", "status": 404, "headers": [(b"cache-control", b"max-age=60")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await overfill(scope, receive, send)
        except SessionTooLarge:
            del scope["session"]["much"]
            scope["session"]["less"] = 1
            await send(page)

    sent = await call(SessionMiddleware(app, manager()), scope_of())

    assert [message["status"] for message in sent] == [404]
    assert set_cookies(sent[0]) == []
    assert values(sent[0], b"vary") == ["Cookie"]
    assert values(sent[0], b"cache-control") == ["private, no-store"]


async def test_a_request_that_is_cancelled_while_it_saves_sends_nothing() -> None:
    """The cancellation reaches the application, and no header leaves."""

    class SlowStore(AsyncMemoryStore):
        async def put(self, key: str, data: bytes, **options: Any) -> Any:
            await anyio.sleep_forever()

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    app = SessionMiddleware(count, manager(SlowStore()))
    with anyio.move_on_after(0.02) as cancelled:
        await app(scope_of(), receive, send)

    assert cancelled.cancelled_caught
    assert sent == []


# --- a store that is down


def is_refusal(sent: list[Message]) -> bool:
    """Whether the answer is our 503, and nothing else."""
    start, body = sent
    return (
        start["status"] == 503
        and values(start, b"retry-after") == ["5"]
        and values(start, b"cache-control") == ["no-store"]
        and values(start, b"content-length") == [str(len(UNAVAILABLE))]
        and body == {"type": "http.response.body", "body": UNAVAILABLE}
    )


async def test_a_session_that_cannot_be_read_is_a_503() -> None:
    """Once the application asks for it."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.readable = False

    sent = await call(SessionMiddleware(read, sessions), scope_of(cookie))

    assert is_refusal(sent)
    assert set_cookies(sent[0]) == []


async def test_an_untouched_session_does_without_the_store() -> None:
    """A page that needs no session is served, also to who has one."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.readable = store.writable = False

    sent = await call(SessionMiddleware(untouched, sessions), scope_of(cookie))

    assert sent[0] is OK


async def test_a_page_that_takes_nobody_for_an_answer_is_not_sent() -> None:
    """An application that goes on after the store has failed sees an empty session: its page may only be about the error."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, mfa_required=True)
    store.readable = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        session = scope["session"]
        with contextlib.suppress(StoreUnavailable):
            session.get("mfa_required")
        status = int(scope["path"][1:]) if not session.get("mfa_required") else 401
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send(BODY)

    welcome = await call(SessionMiddleware(app, sessions), scope_of(cookie, path="/200"))
    own_page = await call(SessionMiddleware(app, sessions), scope_of(cookie, path="/502"))

    assert is_refusal(welcome)
    assert own_page[0]["status"] == 502
    assert values(own_page[0], b"cache-control") == ["private, no-store"]


async def test_a_session_that_cannot_be_saved_is_a_503() -> None:
    """Nothing of the application's own response is sent."""
    store = UnreliableStore()
    store.writable = False

    sent = await call(SessionMiddleware(count, manager(store)), scope_of())

    assert is_refusal(sent)
    assert set_cookies(sent[0]) == []


async def test_a_logout_that_the_store_does_not_hear_of_clears_the_cookie_all_the_same() -> None:
    """The user must not stay logged in at this browser."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.writable = False

    sent = await call(SessionMiddleware(log_out, sessions), scope_of(cookie))

    assert is_refusal(sent)
    assert set_cookies(sent[0]) == [CLEARED]


async def test_the_applications_own_page_for_a_store_that_is_down_clears_the_cookie_too() -> None:
    """Frameworks turn exceptions into pages of their own."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.writable = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await log_out(scope, receive, send)
        except StoreUnavailable:
            await send({"type": "http.response.start", "status": 500})

    sent = await call(SessionMiddleware(app, sessions), scope_of(cookie))

    assert sent[0]["status"] == 500
    assert values(sent[0], b"cache-control") == ["private, no-store"]
    assert set_cookies(sent[0]) == [CLEARED]


@pytest.mark.parametrize("outcome", ["swallowed", "wrapped"])
async def test_a_failed_commit_is_a_503_whatever_the_application_makes_of_it(outcome: str) -> None:
    """Task groups wrap exceptions, and some code ignores them."""
    store = UnreliableStore()
    store.writable = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await count(scope, receive, send)
        except StoreUnavailable as error:
            if outcome == "wrapped":
                raise ExceptionGroup("several", [error]) from None

    sent = await call(SessionMiddleware(app, manager(store)), scope_of())

    assert is_refusal(sent)


async def test_a_store_that_fails_inside_the_application_is_a_503() -> None:
    """Such as when it lists the sessions of a user."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise StoreUnavailable("down")

    assert is_refusal(await call(SessionMiddleware(app, manager()), scope_of()))


async def test_a_store_that_fails_after_the_headers_is_an_exception() -> None:
    """A second response cannot be sent."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(OK)
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        await call(SessionMiddleware(app, manager()), scope_of())


async def test_an_application_that_answers_nothing_is_left_to_the_server() -> None:
    """It is the server that knows what to say then."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"] = 1

    assert await call(SessionMiddleware(app, manager()), scope_of()) == []


async def test_a_site_may_go_on_without_its_store() -> None:
    """`on_store_error="anonymous"`: an empty session, which no cache keeps and which clears no cookie."""
    store = UnreliableStore()
    cookie = cookie_of(manager(store), visits=1)
    store.readable = False
    sessions = SessionManager(StoreEngine(store, on_store_error="anonymous"), cookie=manager().cookie)

    sent = await call(SessionMiddleware(read, sessions), scope_of(cookie))

    assert sent[0]["status"] == 200
    assert values(sent[0], b"cache-control") == ["private, no-store"]
    assert set_cookies(sent[0]) == []


# --- late changes, parallel requests


async def test_a_late_change_is_saved_in_a_store() -> None:
    """It needs no new cookie."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, early=0)

    await call(SessionMiddleware(write_late, sessions), scope_of(cookie))

    assert data_of(sessions, cookie) == {"early": 1, "late": 2}


async def test_a_late_change_cannot_be_kept_in_a_cookie() -> None:
    """The cookie has left; an event says what was lost."""
    events: list[Event] = []

    sent = await call(SessionMiddleware(write_late, manager(events=events)), scope_of())

    assert [type(event) for event in events if isinstance(event, LateWrite)] == [LateWrite]
    assert data_of(manager(), set_cookies(sent[0])[0].partition(";")[0]) == {"early": 1}


async def test_a_session_first_touched_after_the_headers_is_late_too() -> None:
    """Nothing else would say why the change is gone."""
    events: list[Event] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(OK)
        scope["session"]["late"] = 2

    await call(SessionMiddleware(app, manager(events=events)), scope_of())

    assert LateWrite in [type(event) for event in events]


async def test_a_session_that_is_touched_when_its_request_is_over_can_only_be_read() -> None:
    """A task that the handler left behind would write into nothing."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)
    kept: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kept.append(scope["session"])
        await untouched(scope, receive, send)

    await call(SessionMiddleware(app, sessions), scope_of(cookie))

    with pytest.raises(SessionFinished):
        kept[0]["visits"] = 2
    assert kept[0]["visits"] == 1


async def test_parallel_requests_lose_nothing() -> None:
    """Both read before either wrote; the store merges what they did."""
    sessions = manager(AsyncMemoryStore())
    app = SessionMiddleware(count, sessions)
    first = await call(app, scope_of())
    cookie = set_cookies(first[0])[0].partition(";")[0]
    both_read = anyio.Event()
    readers = 0

    async def add(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal readers
        scope["session"][scope["path"]] = True
        readers += 1
        if readers == 2:
            both_read.set()
        await both_read.wait()
        await send(OK)

    async with anyio.create_task_group() as group:
        group.start_soon(call, SessionMiddleware(add, sessions), scope_of(cookie, path="/a"))
        group.start_soon(call, SessionMiddleware(add, sessions), scope_of(cookie, path="/b"))

    session = await sessions.aopen(cookie)
    assert session == {"visits": 1, "/a": True, "/b": True}


# --- plain http


@pytest.mark.parametrize(("host", "warnings"), [([(b"host", b"example.org")], 1), ([(b"host", b"localhost:8000")], 1)])
async def test_a_secure_cookie_on_plain_http_is_warned_of_once(
    host: list[tuple[bytes, bytes]], warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Browsers drop it without a word, on localhost as well some of them."""
    app = SessionMiddleware(count, manager(cookie=None))

    with caplog.at_level(logging.WARNING, "hardtack"):
        for _ in range(2):
            await call(app, {**scope_of(), "headers": host})

    assert caplog.text.count("Secure session cookie") == warnings


async def test_a_request_without_a_host_is_served() -> None:
    """HTTP/1.0 has none."""
    sent = await call(SessionMiddleware(count, manager()), {"type": "http", "path": "/", "headers": []})

    assert len(set_cookies(sent[0])) == 1


# --- websockets


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    """A websocket that counts before it is accepted, and again while it runs."""
    scope["session"]["before"] = 1
    await send({"type": "websocket.accept", "subprotocol": None})
    scope["session"]["while"] = 2
    await send({"type": "websocket.close"})


async def test_a_websocket_sets_its_cookie_when_it_is_accepted(sessions: SessionManager) -> None:
    """That is the last time that headers are sent; they are those of a handshake, which no cache keeps."""
    sent = await call(SessionMiddleware(accept, sessions), scope_of(kind="websocket", scheme="ws"))

    assert [len(set_cookies(message)) for message in sent] == [1, 0]
    assert [key for key, _ in sent[0]["headers"]] == [b"set-cookie"]
    session = await sessions.aopen(set_cookies(sent[0])[0].partition(";")[0])
    assert session["before"] == 1
    assert ("while" in session) == (sessions.engine.store is not None)


async def test_a_late_change_of_a_websocket_is_merged() -> None:
    """Another request saved while the connection was open: neither is lost."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "headers": [(b"x-a", b"b")]})
        scope["session"]["room"] = "tea"
        other = sessions.open(cookie)
        other["visits"] = 2
        sessions.commit(other)

    sent = await call(SessionMiddleware(app, sessions), scope_of(cookie, kind="websocket"))

    assert sent == [{"type": "websocket.accept", "headers": [(b"x-a", b"b")]}]
    assert data_of(sessions, cookie) == {"visits": 2, "room": "tea"}


async def test_a_denied_websocket_sets_its_cookie_with_the_denial() -> None:
    """It is a whole response, with everything that belongs to one."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["denied"] = 1
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})

    sent = await call(SessionMiddleware(app, manager()), scope_of(kind="websocket"))

    assert [key for key, _ in sent[0]["headers"]] == [b"vary", b"cache-control", b"set-cookie"]


async def test_a_websocket_closed_before_it_was_accepted_saves_nothing() -> None:
    """Such a close cannot carry a cookie."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["visits"] = 2
        await send({"type": "websocket.close"})

    sent = await call(SessionMiddleware(app, sessions), scope_of(cookie, kind="websocket"))

    assert sent == [{"type": "websocket.close"}]
    assert data_of(sessions, cookie) == {"visits": 1}


@pytest.mark.parametrize("fails", ["open", "commit"])
@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_websocket_whose_store_is_down_is_refused(fails: str, extensions: dict[str, Any]) -> None:
    """With a 503 where the server can send one, with a close otherwise."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.readable, store.writable = fails != "open", False

    sent = await call(SessionMiddleware(accept, sessions), scope_of(cookie, kind="websocket", extensions=extensions))

    if extensions:
        assert [message["type"] for message in sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert sent[0]["status"] == 503
    else:
        assert sent == [{"type": "websocket.close", "code": 1011}]


class Left(Exception):
    """What a framework raises when the client of a websocket has left."""


@pytest.mark.parametrize(("error", "saved"), [(Left, "tea"), (ZeroDivisionError, "none")])
async def test_a_client_that_leaves_is_no_failure(error: type[Exception], saved: str) -> None:
    """What the websocket did until then is saved; after a failure it is not."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, room="none")

    class Middleware(SessionMiddleware):
        disconnected = (Left,)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        scope["session"]["room"] = "tea"
        raise error

    with pytest.raises(error):
        await call(Middleware(app, sessions), scope_of(cookie, kind="websocket"))

    assert data_of(sessions, cookie) == {"room": saved}


@pytest.mark.parametrize("then", ["return", "raise", "cancel"])
async def test_a_logout_in_a_websocket_ends_what_is_stored(then: str) -> None:
    """Its cookie cannot be cleared any more; it opens nothing, however the connection ends."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        scope["session"].logout()
        if then == "raise":
            raise ZeroDivisionError
        if then == "cancel":
            await anyio.sleep(60)

    with anyio.move_on_after(0.05), contextlib.suppress(ZeroDivisionError):
        await call(SessionMiddleware(app, sessions), scope_of(cookie, kind="websocket"))

    assert data_of(sessions, cookie) == {}


async def test_a_websocket_whose_client_left_before_it_was_accepted_saves_nothing() -> None:
    """But what it ended is ended."""
    sessions = manager(MemoryStore())
    kept, ended = cookie_of(sessions, visits=1), cookie_of(sessions, visits=1)

    class Middleware(SessionMiddleware):
        disconnected = (Left,)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/logout":
            scope["session"].logout()
        scope["session"]["visits"] = 2
        raise Left

    for path, cookie in (("/", kept), ("/logout", ended)):
        with pytest.raises(Left):
            await call(Middleware(app, sessions), scope_of(cookie, kind="websocket", path=path))

    assert (data_of(sessions, kept), data_of(sessions, ended)) == ({"visits": 1}, {})


@pytest.mark.parametrize("example", sorted(ROOT.glob("examples/*/app.py")), ids=lambda path: path.parent.name)
async def test_an_example_says_what_its_server_needs(example: Path) -> None:
    """No extra brings uvicorn, but that of the demo."""
    text = example.read_text("utf-8").split('"""')[1]

    assert ("`uvicorn " in text) == bool(re.search(r"^    pip install .* uvicorn\b", text, re.MULTILINE))


async def test_the_example_counts_and_forgets() -> None:
    """examples/asgi runs."""
    app = runpy.run_path(str(ROOT / "examples/asgi/app.py"))["app"]

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        texts = [(await client.get(path)).text for path in ("/", "/", "/forget", "/")]

    assert texts == ["Visit 1.\n", "Visit 2.\n", "Forgotten.\n", "Visit 1.\n"]
    assert await call(app, {"type": "lifespan"}) == []


# --- a real server


@contextlib.contextmanager
def served(app: App) -> Iterator[str]:
    """An application under uvicorn; its address, without the scheme."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="websockets-sansio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield "{}:{}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            thread.join()


def test_under_uvicorn_requests_and_websockets_share_a_session() -> None:
    """Over real connections; what the websocket does late is in the store when it is closed."""
    sessions = manager(MemoryStore())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (accept if scope["type"] == "websocket" else count)(scope, receive, send)

    with served(SessionMiddleware(app, sessions)) as address:
        first = httpx.get(f"http://{address}/")
        cookie = first.headers["set-cookie"].partition(";")[0]
        websocket = connect(f"ws://{address}/", additional_headers={"Cookie": cookie})
        with websocket, pytest.raises(ConnectionClosedOK):
            websocket.recv()
        second = httpx.get(f"http://{address}/", headers={"Cookie": cookie})

    assert (first.text, second.text) == ("1", "2")
    assert data_of(sessions, cookie) == {"visits": 2, "before": 1, "while": 2}


def test_under_uvicorn_a_store_that_is_down_refuses_both() -> None:
    """uvicorn can send the 503 to a websocket as well."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.readable = False

    with served(SessionMiddleware(count, sessions)) as address:
        response = httpx.get(f"http://{address}/", headers={"Cookie": cookie})
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"ws://{address}/", additional_headers={"Cookie": cookie}),
        ):
            pass

    assert (response.status_code, response.content) == (503, UNAVAILABLE)
    assert (refused.value.response.status_code, refused.value.response.body) == (503, UNAVAILABLE)

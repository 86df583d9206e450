"""Each line of the log about a request that was not as usual names its path and its client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import httpx
import pytest
from tests.kit import Clock

from hardtack import Cookie, CookieEngine, Key, Request, Session, SessionManager, StoreEngine
from hardtack.events import CacheControlReplaced, Event, Expired, Rejected, StoreFailed
from hardtack.foreign.starlette import StarletteCookie
from hardtack.frameworks import asgi, wsgi
from hardtack.protocols import Context, Held, Policy
from hardtack.stores.memory import MemoryStore

ONE, OTHER = Key.generate(), Key.generate()
SECRET = "of the other system, and long enough for it"
NAME = "__Host-Http-session"
CLIENT = "203.0.113.7"

Told = list[Event]
Prepared = tuple[SessionManager, str]
"""The manager of the application, and the Cookie header that a browser brings it."""


def login(sessions: SessionManager, **also: int) -> str:
    """A user logs in; the Cookie header of the requests to come."""
    session = sessions.open(None)
    session.login("ada")
    session.update(also)
    return sessions.commit(session).set_cookies[0].partition(";")[0]


def tampered(told: Told) -> Prepared:
    """One character of the cookie is another."""
    sessions = SessionManager(ONE, on_event=told.append)
    header = login(sessions)
    at = len(header) - 10
    return sessions, f"{header[:at]}{'B' if header[at] == 'A' else 'A'}{header[at + 1 :]}"


def unknown_key(told: Told) -> Prepared:
    """Another server sealed the cookie."""
    return SessionManager(ONE, on_event=told.append), login(SessionManager(OTHER))


def malformed(told: Told) -> Prepared:
    """No cookie of a store."""
    return SessionManager(StoreEngine(MemoryStore()), on_event=told.append), f"{NAME}=x"


def unknown_id(told: Told) -> Prepared:
    """The store has been emptied."""
    return SessionManager(StoreEngine(MemoryStore()), on_event=told.append), f"{NAME}={'A' * 43}"


def ambiguous(told: Told) -> Prepared:
    """Somebody has planted a session of his own."""
    sessions = SessionManager(ONE, on_event=told.append)
    return sessions, f"{login(sessions)}; {login(sessions)}"


def ambiguous_in_a_store(told: Told) -> Prepared:
    """The same, in a store."""
    sessions = SessionManager(StoreEngine(MemoryStore()), on_event=told.append)
    return sessions, f"{login(sessions)}; {login(sessions)}"


def expired(told: Told) -> Prepared:
    """The user was away for a day, with a lifetime of an hour."""
    clock = Clock()
    sessions = SessionManager(ONE, lifetime="1 hour", clock=clock, on_event=told.append)
    header = login(sessions)
    clock.now += 86400
    return sessions, header


def idle(told: Told) -> Prepared:
    """The same, with an idle timeout, and in a store of which nothing was deleted yet."""
    clock, store = Clock(), MemoryStore()
    header = login(SessionManager(StoreEngine(store), lifetime="7 days", clock=clock))
    clock.now += 86400
    sessions = SessionManager(
        StoreEngine(store), lifetime="7 days", idle_timeout="1 hour", clock=clock, on_event=told.append
    )
    return sessions, header


def future(told: Told) -> Prepared:
    """The clock of another server is ahead."""
    clock = Clock()
    header = login(SessionManager(ONE, clock=Clock(clock.now + 3600)))
    return SessionManager(ONE, clock=clock, on_event=told.append), header


def undecodable(told: Told) -> Prepared:
    """The store has the record, and another key sealed it."""
    store = MemoryStore()
    header = login(SessionManager(StoreEngine(store, seal=OTHER)))
    return SessionManager(StoreEngine(store, seal=ONE), on_event=told.append), header


def elsewhere(told: Told) -> Prepared:
    """Sessions move to a store; nobody can read this one's cookie."""
    sessions = SessionManager(StoreEngine(MemoryStore()), accept=[CookieEngine(ONE)], on_event=told.append)
    return sessions, login(SessionManager(OTHER))


def ambiguous_elsewhere(told: Told) -> Prepared:
    """Sessions move to a store; somebody has planted one of the old cookies."""
    sessions = SessionManager(StoreEngine(MemoryStore()), accept=[CookieEngine(ONE)], on_event=told.append)
    other = SessionManager(ONE)
    return sessions, f"{login(other)}; {login(other)}"


def formerly_named(told: Told) -> Prepared:
    """A cookie under the name that was the default before."""
    sessions = SessionManager(ONE, on_event=told.append)
    return sessions, login(SessionManager(OTHER, cookie=Cookie("__Host-session")))


def foreign(told: Told) -> Prepared:
    """Another system's cookie, whose signature does not fit."""
    sessions = SessionManager(ONE, accept=[StarletteCookie(SECRET)], on_event=told.append)
    return sessions, "session=eyJhIjogMX0=.aSnfwg.AAAAAAAAAAAAAAAAAAAAAAAAAAA"


def in_wsgi(sessions: SessionManager, header: str, path: str) -> httpx.Response:
    """A WSGI application that looks at its session gets one request."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        session: Session = environ["hardtack.session"]
        session["seen"] = session.get("seen", 0) + 1
        start_response("200 OK", [("Cache-Control", "public")])
        return [b""]

    transport = httpx.WSGITransport(wsgi.SessionMiddleware(app, sessions), remote_addr=CLIENT)
    with httpx.Client(transport=transport, base_url="https://shop.test") as client:
        return client.get(path, headers={"Cookie": header})


def in_asgi(sessions: SessionManager, header: str, path: str) -> httpx.Response:
    """The same of an ASGI application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session: Session = scope["session"]
        session["seen"] = session.get("seen", 0) + 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"public")]})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(asgi.SessionMiddleware(app, sessions), client=(CLIENT, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.test") as client:
            return await client.get(path, headers={"Cookie": header})

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [in_wsgi, in_asgi])
@pytest.mark.parametrize(
    ("prepare", "kind", "said"),
    [
        (tampered, Rejected, "(tampered)"),
        (unknown_key, Rejected, "(unknown_key)"),
        (malformed, Rejected, "(malformed)"),
        (unknown_id, Rejected, "(unknown_id)"),
        (ambiguous, Rejected, "(ambiguous)"),
        (ambiguous_in_a_store, Rejected, "(ambiguous)"),
        (expired, Expired, "after its absolute deadline"),
        (idle, Expired, "after its idle deadline"),
        (future, Rejected, "(future)"),
        (undecodable, StoreFailed, "a stored session cannot be read (unknown_key)"),
        (elsewhere, Rejected, "(malformed)"),
        (ambiguous_elsewhere, Rejected, "(ambiguous)"),
        (formerly_named, Rejected, "(unknown_key)"),
        (foreign, Rejected, "cookie session was not used"),
    ],
)
def test_the_line_has_the_path_and_the_client(
    prepare: Callable[[Told], Prepared],
    kind: type[Event],
    said: str,
    ask: Callable[[SessionManager, str, str], httpx.Response],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a cookie that was not used, of a session that was over, and of a record that nobody can read."""
    told: Told = []
    sessions, header = prepare(told)
    told.clear()

    with caplog.at_level(logging.INFO, "hardtack"):
        answer = ask(sessions, header, "/cart/add")

    assert answer.status_code == 200
    [line] = {line for line in caplog.messages if said in line}
    assert line.endswith(f" [GET /cart/add from {CLIENT}]")
    [event] = {event for event in told if type(event) is kind and said in str(event)}
    assert event.request is not None
    assert (event.request.path, event.request.client) == ("/cart/add", CLIENT)


@pytest.mark.parametrize("ask", [in_wsgi, in_asgi])
def test_the_line_about_caches_has_the_path_and_the_client(
    ask: Callable[[SessionManager, str, str], httpx.Response], caplog: pytest.LogCaptureFixture
) -> None:
    """It is the path that says which page must not be for everybody."""
    told: Told = []

    ask(SessionManager(ONE, on_event=told.append), "", "/cart/add")

    [line] = [line for line in caplog.messages if "said 'public' to caches" in line]
    assert line.endswith(f" [GET /cart/add from {CLIENT}]")
    [event] = [event for event in told if type(event) is CacheControlReplaced]
    assert event.request is not None


def test_an_address_is_masked_where_that_was_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """In the line of a cookie that was not used, as in all others."""
    in_wsgi(SessionManager(ONE, mask_addresses=True), login(SessionManager(OTHER)), "/")

    assert "(unknown_key)" in caplog.text
    assert "[GET / from 203.0.113.0]" in caplog.text
    assert CLIENT not in caplog.text


def test_nobody_tells_a_request_that_is_not_known() -> None:
    """An adapter may leave it out."""
    told: Told = []
    session = SessionManager(ONE, on_event=told.append).open(login(SessionManager(OTHER)))

    assert session.subject is None
    assert [(type(event), event.request) for event in told] == [(Rejected, None)]


def test_an_engine_is_told_of_the_managers_settings() -> None:
    """By what it is given while it loads a request's session, as by the manager itself."""

    class Asks(CookieEngine):
        asked: ClassVar[list[object]] = []

        def load_now(self, header: str, context: Context, policy: Policy) -> Held:
            self.asked.extend([policy.cookie, policy.purpose, policy.lifetime, policy.idle_timeout])
            return super().load_now(header, context, policy)

    sessions = SessionManager(Asks(ONE), purpose="shop", lifetime="2 hours", idle_timeout="1 hour")
    assert sessions.open(None, Request(path="/")).subject is None

    assert Asks.asked == [sessions.cookie, "shop", 7200, 3600]

"""How often a request goes to the server, counted by a real Redis: never more than the load and the save need."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.servers import RedisServer

from hardtack import Session, SessionManager, StoreEngine
from hardtack.frameworks.asgi import SessionMiddleware as ASGIMiddleware
from hardtack.frameworks.wsgi import SESSION
from hardtack.frameworks.wsgi import SessionMiddleware as WSGIMiddleware
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.testing import cookie_header

BASE = "https://shop.example"


class Monitor:
    """What Redis was sent: it tells every command to a connection that asks for it by MONITOR."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._connection = socket.create_connection((server.host, server.port), timeout=10)
        self._lines = self._connection.makefile("rb")
        self._connection.sendall(b"MONITOR\r\n")
        assert self._lines.readline() == b"+OK\r\n"

    def commands(self) -> list[str]:
        """The names of the commands since the last call, each a round trip; what a script does inside is none."""
        assert self._server.answers(b"ECHO end-of-the-count\r\n", b"$")
        names = []
        while b'"end-of-the-count"' not in (line := self._lines.readline()):
            if b" lua] " not in line:
                names.append(line.split(b'"')[1].decode())
        return names

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._connection.close()


Handler = Callable[[Session], object]
Visit = Callable[[Handler, str], httpx.Response]
"""One request with a Cookie header, whose handler is given the session."""


@contextmanager
def wsgi(server: RedisServer) -> Iterator[Visit]:
    """A WSGI application on a `RedisStore`."""
    store = RedisStore.from_url(server.url)
    sessions = SessionManager(StoreEngine(store))

    def visit(handler: Handler, header: str) -> httpx.Response:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            handler(environ[SESSION])
            start_response("200 OK", [])
            return [b""]

        transport = httpx.WSGITransport(app=WSGIMiddleware(application, sessions))
        with httpx.Client(transport=transport, base_url=BASE) as client:
            return client.get("/", headers={"Cookie": header} if header else {})

    with sessions:
        visit(lambda session: session.update(warm=1), "")  # the first save asks for the eviction policy
        yield visit


@contextmanager
def asgi(server: RedisServer, kind: type[RedisStore | AsyncRedisStore]) -> Iterator[Visit]:
    """An ASGI application on either store."""
    with asyncio.Runner() as runner:
        store = kind.from_url(server.url)
        sessions = SessionManager(StoreEngine(store))

        async def request(handler: Handler, header: str) -> httpx.Response:
            async def application(scope: Any, receive: Any, send: Any) -> None:
                handler(scope["session"])
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})

            transport = httpx.ASGITransport(app=ASGIMiddleware(application, sessions))
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
                return await client.get("/", headers={"Cookie": header} if header else {})

        def visit(handler: Handler, header: str) -> httpx.Response:
            return runner.run(request(handler, header))

        visit(lambda session: session.update(warm=1), "")
        yield visit
        runner.run(sessions.aclose())


@pytest.fixture(params=["wsgi", "asgi", "asgi-async"])
def visit(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Visit]:
    """An application on Redis, whose connection is open and whose scripts are known."""
    kinds: dict[str, type[RedisStore | AsyncRedisStore]] = {"asgi": RedisStore, "asgi-async": AsyncRedisStore}
    with wsgi(redis_server) if request.param == "wsgi" else asgi(redis_server, kinds[request.param]) as visit:
        yield visit


@pytest.fixture
def cookie(redis_server: RedisServer) -> str:
    """The Cookie header of a session that alice has."""
    with SessionManager(StoreEngine(RedisStore.from_url(redis_server.url))) as sessions:
        # A rename, so that its script is known as well.
        header = cookie_header(sessions, {"n": 1}, "alice")
        session = sessions.open(header)
        session.regenerate()
        return sessions.commit(session).set_cookies[0].partition(";")[0]


@pytest.fixture
def monitor(redis_server: RedisServer, visit: Visit, cookie: str) -> Iterator[Monitor]:
    """What the server is sent from now on; everything is connected and stored by now."""
    monitor = Monitor(redis_server)
    yield monitor
    monitor.close()


def read(session: Session) -> None:
    """A handler that reads."""
    session.get("n")


def write(session: Session) -> None:
    """A handler that changes the data."""
    session["n"] = 2


def test_a_request_without_a_cookie_asks_nothing(visit: Visit, monitor: Monitor) -> None:
    """Neither where the handler leaves the session alone nor where it reads it."""
    visit(lambda session: None, "")
    visit(read, "other=1")

    assert monitor.commands() == []


def test_a_cookie_that_cannot_be_one_of_ours_asks_nothing(visit: Visit, monitor: Monitor) -> None:
    """Its form is checked before any look-up."""
    visit(read, "__Host-Http-session=junk")

    assert monitor.commands() == []


def test_a_read_is_one_round_trip(visit: Visit, monitor: Monitor, cookie: str) -> None:
    """One GET loads the session, and nothing is saved."""
    visit(read, cookie)

    assert monitor.commands() == ["GET"]


def test_a_write_is_one_more(visit: Visit, monitor: Monitor, cookie: str) -> None:
    """One GET loads the session, and one script compares, saves, sets the expiry and keeps the list of alice's."""
    visit(write, cookie)

    assert monitor.commands() == ["GET", "EVALSHA"]


def test_a_new_session_is_one_round_trip(visit: Visit, monitor: Monitor) -> None:
    """There is nothing to load."""
    response = visit(write, "")

    assert "set-cookie" in response.headers
    assert monitor.commands() == ["EVALSHA"]


@pytest.mark.parametrize(
    "change", [lambda session: session.regenerate(), lambda session: session.logout()], ids=["regenerate", "logout"]
)
def test_a_new_id_and_a_logout_are_one_more_each(visit: Visit, monitor: Monitor, cookie: str, change: Handler) -> None:
    """Renaming, and leaving a tombstone, are one script each."""
    visit(change, cookie)

    assert monitor.commands() == ["GET", "EVALSHA"]


def test_an_untouched_session_is_loaded_under_async_frameworks_only(
    request: pytest.FixtureRequest, visit: Visit, monitor: Monitor, cookie: str
) -> None:
    """There it cannot be waited for at the first touch, and one GET comes before the handler; elsewhere none does."""
    visit(lambda session: None, cookie)

    assert monitor.commands() == ([] if request.node.callspec.params["visit"] == "wsgi" else ["GET"])

"""A store that is gone, hangs or answers nonsense: 503 by every middleware, or an anonymous session where that is wanted."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiomcache
import httpx
import pymemcache  # type: ignore[import-untyped]
import pytest
import redis
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from tests.guarantees.kit import NAME
from tests.servers import MemcachedServer, RedisServer

from hardtack import Session, SessionManager, StoreEngine
from hardtack.frameworks.asgi import SessionMiddleware as ASGIMiddleware
from hardtack.frameworks.wsgi import SESSION
from hardtack.frameworks.wsgi import SessionMiddleware as WSGIMiddleware
from hardtack.stores.file import FileStore
from hardtack.stores.memcached import AsyncMemcachedStore, MemcachedStore
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing import cookie_header

HOST = "127.0.0.1"
TIMEOUT = 0.3
"""Seconds that the clients wait, where their driver takes fractions."""

TIMEOUTS: dict[str, Any] = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": None}
"""For redis-py, which tries again three times by itself."""

PATIENCE = 8
"""Seconds within which a request is answered, whatever the store does: psycopg waits 2 at least, and may try twice."""

STRANGER = f"{NAME}={'A' * 43}"
"""A well-formed cookie, so that the store is asked."""

Handler = Callable[[Session], object]


# --- stores on a port where something is wrong


def redis_store(port: int) -> RedisStore:
    """On a client with timeouts."""
    return RedisStore(redis.Redis(port=port, **TIMEOUTS))


def async_redis_store(port: int) -> AsyncRedisStore:
    """On a client with timeouts."""
    return AsyncRedisStore(redis.asyncio.Redis(port=port, **TIMEOUTS))


def memcached_store(port: int) -> MemcachedStore:
    """On a client with timeouts."""
    return MemcachedStore(pymemcache.PooledClient((HOST, port), timeout=TIMEOUT, connect_timeout=TIMEOUT))


def async_memcached_store(port: int) -> AsyncMemcachedStore:
    """With the timeout of the store: the client has none."""
    return AsyncMemcachedStore(aiomcache.Client(HOST, port), timeout=TIMEOUT)


def sql_store(url: str, **arguments: Any) -> SQLAlchemyStore:
    """On an engine whose driver is given timeouts."""
    return SQLAlchemyStore(sa.create_engine(url, connect_args=arguments))


def postgresql_store(port: int) -> SQLAlchemyStore:
    """psycopg."""
    return sql_store(f"postgresql+psycopg://hardtack@{HOST}:{port}/postgres", connect_timeout=2)


def mariadb_store(port: int) -> SQLAlchemyStore:
    """PyMySQL."""
    url = f"mysql+pymysql://hardtack@{HOST}:{port}/test"
    return sql_store(url, connect_timeout=1, read_timeout=1, write_timeout=1)


def async_postgresql_store(port: int) -> AsyncSQLAlchemyStore:
    """asyncpg."""
    url = f"postgresql+asyncpg://hardtack@{HOST}:{port}/postgres"
    return AsyncSQLAlchemyStore(create_async_engine(url), timeout=TIMEOUT)


def async_mariadb_store(port: int) -> AsyncSQLAlchemyStore:
    """asyncmy."""
    return AsyncSQLAlchemyStore(create_async_engine(f"mysql+asyncmy://hardtack@{HOST}:{port}/test"), timeout=TIMEOUT)


SYNC = [redis_store, memcached_store, postgresql_store, mariadb_store]
ASYNC = [async_redis_store, async_memcached_store, async_postgresql_store, async_mariadb_store]


# --- stores on a disk where something is wrong


@contextmanager
def file_gone(directory: Path) -> Iterator[FileStore]:
    """The directory is not there: not mounted, say."""
    store = FileStore(directory / "sessions")
    shutil.rmtree(directory / "sessions")
    yield store


@contextmanager
def file_locked(directory: Path) -> Iterator[FileStore]:
    """Another process holds every lock, and does not let go."""
    store = FileStore(directory / "sessions", lock_timeout=TIMEOUT)
    with ExitStack() as stack:
        for number in range(256):
            path = directory / "sessions" / ".locks" / f"{number:02x}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield store


@contextmanager
def sqlite_gone(directory: Path) -> Iterator[SQLiteStore]:
    """The directory of the database is not there."""
    (directory / "database").mkdir()
    store = SQLiteStore(directory / "database" / "sessions.sqlite")
    shutil.rmtree(directory / "database")
    yield store


@contextmanager
def sqlite_locked(directory: Path) -> Iterator[SQLiteStore]:
    """Another process writes, and does not come to an end."""
    store = SQLiteStore(directory / "sessions.sqlite", timeout=TIMEOUT)
    store.sweep(0)
    writer = sqlite3.connect(directory / "sessions.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    yield store
    writer.close()
    store.close()


@contextmanager
def sqlite_nonsense(directory: Path) -> Iterator[SQLiteStore]:
    """The file is something else."""
    store = SQLiteStore(directory / "sessions.sqlite")
    (directory / "sessions.sqlite").write_bytes(b"HTTP/1.1 400 Bad Request\r\n" * 1000)
    yield store


UNREADABLE = [file_gone, sqlite_gone, sqlite_nonsense]
UNWRITABLE = [file_locked, sqlite_locked]
"""Readers take no lock: only the save fails. A damaged session file is one session that cannot be read, and no failure."""


# --- requests through the middlewares


class Answer(NamedTuple):
    """What the browser got, and how many seconds it waited."""

    status: int
    headers: httpx.Headers
    body: str
    seconds: float


def request_wsgi(sessions: SessionManager, handler: Handler, header: str) -> Answer:
    """One request through the WSGI middleware."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        handler(environ[SESSION])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    begin = time.monotonic()
    transport = httpx.WSGITransport(app=WSGIMiddleware(application, sessions))
    with httpx.Client(transport=transport, base_url="https://shop.example") as client:
        response = client.get("/", headers={"Cookie": header})
    return Answer(response.status_code, response.headers, response.text, time.monotonic() - begin)


async def request_asgi(sessions: SessionManager, handler: Handler, header: str) -> Answer:
    """One request through the ASGI middleware."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        handler(scope["session"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    begin = time.monotonic()
    transport = httpx.ASGITransport(app=ASGIMiddleware(application, sessions))
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
        response = await client.get("/", headers={"Cookie": header})
    return Answer(response.status_code, response.headers, response.text, time.monotonic() - begin)


Ask = Callable[[Callable[[], Any], dict[str, Any], Handler], Answer]
"""A request of a stranger, given what makes the store, the options of the engine, and the handler."""


def ask_wsgi(make: Callable[[], Any], options: dict[str, Any], handler: Handler) -> Answer:
    """By WSGI."""
    return request_wsgi(SessionManager(StoreEngine(make(), **options)), handler, STRANGER)


def ask_asgi(make: Callable[[], Any], options: dict[str, Any], handler: Handler) -> Answer:
    """By ASGI; the store is made and closed on the event loop."""

    async def ask() -> Answer:
        store = make()
        answer = await request_asgi(SessionManager(StoreEngine(store, **options)), handler, STRANGER)
        await close_client(store)
        return answer

    return asyncio.run(ask())


async def close_client(store: Any) -> None:
    """A client that the test made is the test's to close."""
    if isinstance(store, AsyncRedisStore):
        await store._client.aclose()
    elif isinstance(store, AsyncMemcachedStore):
        await store._client.close()
    elif isinstance(store, AsyncSQLAlchemyStore):
        await store._engine.dispose()


def write(session: Session) -> None:
    """A handler that changes the session."""
    session["a"] = 1


def look(session: Session) -> tuple[bool, dict[str, Any]]:
    """Whether the session is degraded, and its data; under sync code it is loaded by being looked at."""
    data = dict(session)
    return session.degraded, data


def assert_unavailable(answer: Answer) -> None:
    """503, told to nobody's cache, which neither sets a cookie nor clears one, soon enough."""
    assert answer.status == 503
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Retry-After" in answer.headers
    assert answer.seconds < PATIENCE


def assert_anonymous(answer: Answer, told: list[tuple[bool, dict[str, Any]]]) -> None:
    """200 with an empty, degraded session, told to nobody's cache, whose cookie stays as it is."""
    assert told == [(True, {})]
    assert (answer.status, answer.body) == (200, "done")
    assert "Set-Cookie" not in answer.headers
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.seconds < PATIENCE


CALLS = [
    *((ask_wsgi, make) for make in SYNC),
    *((ask_asgi, make) for make in (*SYNC, *ASYNC)),
]

by_each_way_on_each_server = pytest.mark.parametrize(
    ("ask", "make"), CALLS, ids=lambda function: function.__name__.removeprefix("ask_")
)
by_each_way = pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi], ids=lambda ask: ask.__name__.removeprefix("ask_"))


@by_each_way_on_each_server
def test_a_server_that_fails_is_a_503(broken_port: int, ask: Ask, make: Callable[[int], Any]) -> None:
    """Whether it refuses, hangs, answers nonsense or hangs up, and soon: the client's timeout ends the waiting."""
    assert_unavailable(ask(lambda: make(broken_port), {}, write))


@by_each_way_on_each_server
def test_anonymous_sessions_for_a_server_that_fails(broken_port: int, ask: Ask, make: Callable[[int], Any]) -> None:
    """With on_store_error="anonymous" the request goes on with an empty, degraded session."""
    told: list[tuple[bool, dict[str, Any]]] = []

    answer = ask(
        lambda: make(broken_port),
        {"on_store_error": "anonymous"},
        lambda session: told.append(look(session)),
    )

    assert_anonymous(answer, told)


@by_each_way_on_each_server
def test_a_write_to_an_anonymous_session_is_a_503(refusing_port: int, ask: Ask, make: Callable[[int], Any]) -> None:
    """What would get lost is refused all the same."""
    assert_unavailable(ask(lambda: make(refusing_port), {"on_store_error": "anonymous"}, write))


@by_each_way
@pytest.mark.parametrize("failing", [*UNREADABLE, *UNWRITABLE])
def test_a_disk_that_fails_is_a_503(
    tmp_path: Path, ask: Ask, failing: Callable[[Path], AbstractContextManager[Any]]
) -> None:
    """Gone, locked by another process for ever, or full of something else."""
    with failing(tmp_path) as store:
        assert_unavailable(ask(lambda: store, {}, write))


@by_each_way
@pytest.mark.parametrize("failing", UNREADABLE)
def test_anonymous_sessions_for_a_disk_that_fails(
    tmp_path: Path, ask: Ask, failing: Callable[[Path], AbstractContextManager[Any]]
) -> None:
    """The same as for a server."""
    told: list[tuple[bool, dict[str, Any]]] = []
    with failing(tmp_path) as store:
        answer = ask(lambda: store, {"on_store_error": "anonymous"}, lambda session: told.append(look(session)))

    assert_anonymous(answer, told)


# --- a store that fails between the load and the save


@pytest.mark.parametrize("middleware", ["wsgi", "asgi"])
@pytest.mark.parametrize(("name", "make"), [("redis", redis_store), ("memcached", memcached_store)])
def test_a_logout_that_the_store_does_not_hear_of_clears_the_cookie(
    request: pytest.FixtureRequest, name: str, make: Callable[[int], Any], middleware: str
) -> None:
    """It is a 503, for the session may live on; but the browser at least has forgotten it."""
    server: RedisServer | MemcachedServer = request.getfixturevalue(f"{name}_server")
    sessions = SessionManager(StoreEngine(make(server.port)))
    header = cookie_header(sessions, {"a": 1})
    with ExitStack() as stack:

        def leave(session: Session) -> None:
            assert session["a"] == 1
            stack.enter_context(server.frozen())
            session.logout()

        if middleware == "wsgi":
            answer = request_wsgi(sessions, leave, header)
        else:
            answer = asyncio.run(request_asgi(sessions, leave, header))

    assert answer.status == 503
    assert answer.headers["Set-Cookie"].startswith(f"{NAME}=;")
    assert "Max-Age=0;" in answer.headers["Set-Cookie"]
    assert answer.headers["Cache-Control"] == "no-store"
    sessions.engine.store._client.close()  # type: ignore[union-attr]

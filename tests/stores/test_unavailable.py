"""What a StoreUnavailable says of the server, sync and async: where it is and its error's code; no password, no data."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel
from sqlalchemy.engine import make_url
from tests.servers import MariaDBServer, PostgreSQLServer, RedisServer

from hardtack.errors import StoreUnavailable
from hardtack.stores import from_url
from hardtack.stores._redis_calls import code_of
from hardtack.stores._redis_clients import servers_of
from hardtack.stores._sql_logic import place, said_by
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from hardtack.testing.stores import create, new_key


def said_of(url: str, *, asynchronous: bool) -> str:
    """The message of a read, or of the store that cannot be made."""

    async def main() -> None:
        store: Any = from_url(url, asynchronous=asynchronous)
        try:
            found = store.get("key")
            if asynchronous:
                await found
        finally:
            closed = store.close()
            if asynchronous:
                await closed

    with pytest.raises(StoreUnavailable) as raised:
        asyncio.run(main())
    return str(raised.value)


REDIS = "redis://user:hunter2@127.0.0.1:{port}/0?client_name=hunter2"


@pytest.mark.parametrize(
    ("url", "asynchronous", "said"),
    [
        (REDIS, False, "Redis at 127.0.0.1:{port} cannot be used: ConnectionError"),
        (REDIS, True, "Redis at 127.0.0.1:{port} cannot be used: ConnectionError"),
        ("redis+cluster://user:hunter2@127.0.0.1:{port}", False, "Redis at 127.0.0.1:{port} cannot be used"),
        ("redis+cluster://user:hunter2@127.0.0.1:{port}", True, "Redis at 127.0.0.1:{port} cannot be used"),
        ("redis+sentinel://user:hunter2@127.0.0.1:{port}/main", False, "Redis at Sentinel 127.0.0.1:{port} cannot"),
        ("redis+sentinel://user:hunter2@127.0.0.1:{port}/main", True, "Redis at Sentinel 127.0.0.1:{port} cannot"),
        ("unix://user:hunter2@/nowhere/redis.sock", False, "Redis at /nowhere/redis.sock cannot be used"),
        ("unix://user:hunter2@/nowhere/redis.sock", True, "Redis at /nowhere/redis.sock cannot be used"),
        ("memcached://127.0.0.1:{port}", False, "memcached at 127.0.0.1:{port} cannot be used: ConnectionRefusedError"),
        ("memcached://127.0.0.1:{port}", True, "memcached at 127.0.0.1:{port} cannot be used: ConnectionRefusedError"),
        ("memcached+unix:///nowhere/m.sock", False, "memcached at /nowhere/m.sock cannot be used: FileNotFoundError"),
        ("memcached+unix:///nowhere/m.sock", True, "memcached at /nowhere/m.sock cannot be used: FileNotFoundError"),
        *(
            (f"postgresql+{driver}://user:hunter2@127.0.0.1:{{port}}/test", asynchronous, f"127.0.0.1:{{port}} {error}")
            for driver, asynchronous, error in (
                ("psycopg", False, "cannot be used: OperationalError"),
                ("psycopg_async", True, "cannot be used: OperationalError"),
                ("asyncpg", True, "cannot be used: ConnectionRefusedError"),
            )
        ),
        # As people write it who do not know of %40.
        ("postgresql+psycopg://user:hun@hunter2@127.0.0.1:{port}/test", False, "at 127.0.0.1:{port} cannot be used"),
        ("mysql+pymysql://user:hunter2@127.0.0.1:{port}/test", False, "127.0.0.1:{port} cannot be used: Opera"),
        ("mysql+asyncmy://user:hunter2@127.0.0.1:{port}/test", True, "127.0.0.1:{port} cannot be used: Opera"),
        ("sqlite+pysqlite:////nowhere/x", False, "sessions cannot be used: OperationalError (SQLITE_CANTOPEN)"),
    ],
)
def test_a_server_that_is_not_there(url: str, asynchronous: bool, said: str, refusing_port: int) -> None:
    """Its host and port, or its socket, are named: who reads the log sees which one is down."""
    message = said_of(url.format(port=refusing_port), asynchronous=asynchronous)

    assert said.format(port=refusing_port) in message
    assert "hunter2" not in message
    assert "user" not in message


@pytest.mark.parametrize(
    ("url", "asynchronous", "said"),
    [
        ("redis://user:hunter2@{}/0?socket_timeout=0.2&breaker=1", False, "Redis at {}"),
        ("redis://user:hunter2@{}/0?socket_timeout=0.2&breaker=1", True, "Redis at {}"),
        ("memcached://{}?timeout=0.2&breaker=1", False, "memcached at {}"),
        ("memcached://{}?timeout=0.2&breaker=1", True, "memcached at {}"),
        ("mysql+pymysql://user:hunter2@{}/x?read_timeout=1&breaker=1", False, "the database of the sessions at {}"),
        ("postgresql+asyncpg://user:hunter2@{}/x?timeout=0.2&breaker=1", True, "the database of the sessions at {}"),
    ],
)
def test_a_server_that_hangs_is_named(url: str, asynchronous: bool, said: str) -> None:
    """In what the log says of it, and in what those are told who do not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"

        async def main() -> list[str]:
            store: Any = from_url(url.format(place), asynchronous=asynchronous)
            said: list[str] = []
            store.listen(lambda server, hangs: said.append(server))
            for _ in range(2):
                try:
                    found = store.get("key")
                    if asynchronous:
                        await found
                except StoreUnavailable as error:
                    said.append(str(error))
            closed = store.close()
            if asynchronous:
                await closed
            return said

        hangs, _, refused = asyncio.run(main())

    assert hangs == said.format(place)
    assert refused.startswith(f"{hangs} did not answer 1 times in a row")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://u:hunter2@db/x", " at db:5432"),
        ("postgresql+psycopg://u:hunter2@[::1]:1/x", " at [::1]:1"),
        ("postgresql+psycopg://u:hunter2@/x?host=a:1&host=b&host=/run/postgresql", " at a:1, b:5432, /run/postgresql"),
        ("postgresql+psycopg://u:hunter2@/x?host=a,b&port=1,2", " at a:1, b:2"),
        ("mysql+pymysql://u:hunter2@localhost/x?unix_socket=/run/mysqld.sock", " at /run/mysqld.sock"),
        ("mariadb+pymysql://u:hunter2@db/x?ssl_ca=hunter2", " at db:3306"),
        ("postgresql+psycopg:///x?password=hunter2", ""),
        ("sqlite+pysqlite:////var/x", ""),
    ],
)
def test_what_a_url_of_a_database_says_of_its_server(url: str, said: str) -> None:
    """Several hosts, sockets and what the driver has where the URL has no port."""
    assert place(make_url(url)) == said


def test_where_a_client_of_redis_leads_to() -> None:
    """Of Sentinel the master, once it is known; nothing where the client is of another making."""
    sync_kind: Any = Sentinel  # which has no types
    async_kind: Any = AsyncSentinel
    sentinel: Any = sync_kind([("one", 1)]).master_for("main")
    sentinel.connection_pool.proxy.master_address = ("two", 2)
    asynchronous: Any = async_kind([("one", 1)]).master_for("main")
    asynchronous.connection_pool.master_address = ("::1", 2)

    assert servers_of(sentinel) == ["two:2", "Sentinel one:1"]
    assert servers_of(asynchronous) == ["[::1]:2", "Sentinel one:1"]
    assert servers_of(redis.Redis()) == ["localhost:6379"]
    assert servers_of(object()) == []


# --- the code of an error


class UnwritableServer(RedisServer):
    """redis-server that saves itself to a directory that is gone, and takes no writes until it could."""

    stop_signal = "SIGKILL"  # it would not end without that either

    def prepare(self) -> None:
        (self.directory / "data").mkdir()

    def command(self) -> list[str]:
        return [*super().command(), "--dir", "data"]


@pytest.fixture
def unwritable() -> Iterator[RedisServer]:
    server = UnwritableServer()
    shutil.rmtree(server.directory / "data")
    with redis.Redis(port=server.port) as client:
        client.config_set("save", "3600 1000")
        deadline = time.monotonic() + 30
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            assert time.monotonic() < deadline
            time.sleep(0.01)
    yield server
    server.remove()


@pytest.mark.program("redis")
def test_a_redis_that_cannot_save_itself_says_misconf(unwritable: RedisServer) -> None:
    """The word that leads to the cause; not the text, which names the script."""
    said = rf"^Redis at 127\.0\.0\.1:{unwritable.port} cannot be used: \w+ \(MISCONF\)$"
    store = RedisStore.from_url(unwritable.url)

    async def main() -> None:
        other = AsyncRedisStore.from_url(unwritable.url)
        with pytest.raises(StoreUnavailable, match=said):
            await other.put("key", b"secret", expires_at=2**31, if_version=None, subject=None)
        await other.close()

    with pytest.raises(StoreUnavailable, match=said):
        create(store, new_key(), b"secret")
    asyncio.run(main())

    store.close()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", "MISCONF"),
        ("Error running script (call to f_0a1): @user_script:2: @user_script: 2: -MISCONF Redis is", "MISCONF"),
        (
            "unknown command 'EVALSHA', with args beginning with: 'SECRET ' @user_script:2: @user_script: 2: -SECRET ",
            None,
        ),
        ("ERR something", None),
        ("", None),
    ],
)
def test_the_code_is_the_first_word_of_what_redis_says(text: str, code: str | None) -> None:
    """Or of what a script was told, as Redis before 7 quotes it; nothing from further behind."""
    assert code_of(redis.ResponseError(text)) == code
    assert code_of(ConnectionError(text)) is None


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_a_database_says_its_code(database: str, request: pytest.FixtureRequest) -> None:
    """SQLSTATE, or MySQL's number."""
    server: PostgreSQLServer | MariaDBServer = request.getfixturevalue(f"{database}_server")
    said = rf"at 127\.0\.0\.1:{server.port} cannot be used: \w+ \((42P01|1146)\); it has no table for them"
    store = SQLAlchemyStore.from_url(server.url)
    with store._engine.begin() as connection:
        store.table.drop(connection, checkfirst=True)

    async def main(url: str) -> None:
        other = AsyncSQLAlchemyStore.from_url(url)
        with pytest.raises(StoreUnavailable, match=said):
            await other.get("key")
        await other.close()

    with pytest.raises(StoreUnavailable, match=said):
        store.get("key")
    for url in {server.async_url, server.url.replace("pymysql", "aiomysql")}:
        asyncio.run(main(url))

    store.create_table()
    store.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError"),
        (ValueError("secret"), "ValueError"),
        (ValueError(), "ValueError"),
        (ValueError(2013, "secret"), "ValueError (2013)"),
        (None, "NoneType"),
    ],
)
def test_of_an_error_of_a_driver_only_its_name_and_code_are_told(error: Exception | None, said: str) -> None:
    """Never its text."""
    assert said_by(error) == said

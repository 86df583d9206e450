"""The connections that RedisStore and AsyncRedisStore take from a pool of redis-py, and give back to it, past its meters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.connection import Connection as AsyncConnection
from redis.connection import Connection, PythonRespSerializer
from tests.servers import RedisServer

from hardtack.protocols import Entry
from hardtack.stores._redis_calls import AsyncCaller, Caller, _pack
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.testing.stores import create, in_an_hour, new_key, read

pytestmark = pytest.mark.program("redis")


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """A client of its own pool."""
    with redis.Redis(port=redis_server.port) as client:
        yield client


def idle_of(client: Any) -> list[Any]:
    """The connections that wait in the pool, where none is in use."""
    assert client.connection_pool._in_use_connections == set()
    return list(client.connection_pool._available_connections)


def kill_all(server: RedisServer) -> None:
    """Have the server close every connection of clients but this one's."""
    with redis.Redis(port=server.port) as other:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def marked(method: Any) -> Any:
    """`send_packed_command` that has the connection renewed when it is given back, as a server in maintenance does."""

    def send(self: Any, *args: Any, **options: Any) -> Any:
        self.mark_for_reconnect()
        return method(self, *args, **options)

    return send


# --- sync


def test_one_connection_after_another_is_one_connection(client: Any) -> None:
    """It goes to those in use and back, so that the pool's own methods and its other users find it."""
    store = RedisStore(client)
    create(store, key := new_key())

    for _ in range(3):
        read(store, key)

    (connection,) = idle_of(client)
    assert connection.is_connected
    assert client.ping()
    assert idle_of(client) == [connection]


def test_who_uses_the_same_pool_never_gets_a_connection_that_a_call_uses(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a call lasts its connection is the pool's, and in use."""
    store = RedisStore(client)
    create(store, key := new_key())
    taken = []

    def look(self: Any, *args: Any, **options: Any) -> Any:
        pool = client.connection_pool
        taken.append((self in pool._in_use_connections, self in pool._available_connections))
        return read_response(self, *args, **options)

    read_response = Connection.read_response
    monkeypatch.setattr(Connection, "read_response", look)
    read(store, key)

    assert taken == [(True, False)]


def test_a_connection_that_the_server_has_closed_is_opened_again(redis_server: RedisServer, client: Any) -> None:
    """It is seen before the command is sent."""
    store = RedisStore(client)
    version = create(store, key := new_key())
    kill_all(redis_server)

    assert read(store, key) == Entry(b"data", version)
    assert len(idle_of(client)) == 1


def test_a_connection_that_is_to_be_renewed_is_closed_when_it_comes_back(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is about to go has said so meanwhile: the pool sees to that."""
    store = RedisStore(client)
    version = create(store, key := new_key())
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "send_packed_command", marked(Connection.send_packed_command))
        assert read(store, key) == Entry(b"data", version)

    assert [each.is_connected for each in idle_of(client)] == [False]
    assert read(store, key) == Entry(b"data", version)


def test_an_interrupt_while_a_connection_is_looked_at_loses_none(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes back to the pool, to which nothing was sent."""
    store = RedisStore(client)
    version = create(store, key := new_key())
    before = idle_of(client)

    def interrupt(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "can_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.get(key)

    assert idle_of(client) == before
    assert read(store, key) == Entry(b"data", version)


@pytest.mark.parametrize(
    "settings",
    [
        {"credential_provider": redis.UsernamePasswordCredentialProvider("default", "")},
        {"connection_class": type("Other", (Connection,), {})},
        {"command_packer": PythonRespSerializer(6000, lambda each: str(each).encode())},
    ],
    ids=["credentials", "connection", "packer"],
)
def test_a_pool_that_has_more_to_do_is_asked(settings: dict[str, Any]) -> None:
    """Tokens to renew, connections or a way to write commands that are not redis-py's own."""
    simple = Caller(redis.Redis(connection_pool=redis.ConnectionPool()))
    other = Caller(redis.Redis(connection_pool=redis.ConnectionPool(**settings)))
    blocking = Caller(redis.Redis(connection_pool=redis.BlockingConnectionPool()))  # type: ignore[no-untyped-call]
    another = AsyncCaller(redis.asyncio.Redis(connection_pool=redis.asyncio.BlockingConnectionPool()))

    has_meters = hasattr(Connection, "should_reconnect") and hasattr(Connection, "is_connected")
    assert [each._simple for each in (simple, other, blocking, another)] == [has_meters, False, False, False]


def test_a_blocking_pool_is_asked_and_serves(redis_server: RedisServer) -> None:
    """Its own rules hold: one connection is enough for one call after another."""
    pool = redis.BlockingConnectionPool(port=redis_server.port, max_connections=1, timeout=5)  # type: ignore[no-untyped-call]
    store = RedisStore(redis.Redis(connection_pool=pool))

    version = create(store, key := new_key())

    assert read(store, key) == Entry(b"data", version)
    pool.disconnect()


class Place(str, Enum):  # noqa: UP042 - whose str() is not its value
    """A key that says another thing of itself than it is."""

    SHOP = "shop:"


class Raw(bytes):
    """Bytes of another class."""


@pytest.mark.parametrize(
    "command",
    [
        ("GET", b"k\r\n$1"),
        ("EVALSHA", "0f", 2, b"", b"\x00\xff", 1 << 40),
        ("SET", "é", b"x" * 100_000),
        ("SET", Place.SHOP, Raw(b"\xff"), memoryview(b"abc")),
    ],
    ids=["separators", "numbers", "large", "subclasses"],
)
def test_a_command_is_packed_as_redis_py_does_it(command: tuple[Any, ...]) -> None:
    """To the byte: an argument may hold what separates arguments."""
    theirs = b"".join(redis.Redis().connection_pool.connection_class().pack_command(*command))

    assert _pack(command) == theirs


# --- async


async def filled(store: AsyncRedisStore) -> tuple[str, Entry]:
    """A key and its entry."""
    key = new_key()
    version = await store.put(key, b"data", expires_at=in_an_hour(), if_version=None, subject=None)
    return key, Entry(b"data", version)


def test_one_async_connection_after_another_is_one_connection(redis_server: RedisServer) -> None:
    """The same."""

    async def main() -> None:
        client = redis.asyncio.Redis(port=redis_server.port)
        store = AsyncRedisStore(client)
        key, entry = await filled(store)
        assert [await store.get(key) for _ in range(3)] == [entry] * 3
        (connection,) = idle_of(client)
        assert await client.ping()
        assert idle_of(client) == [connection]
        await client.aclose()

    asyncio.run(main())


def test_an_async_connection_that_the_server_has_closed_is_opened_again(redis_server: RedisServer) -> None:
    """Whether the event loop knows of it by then, or finds it out only by the answer."""

    async def main() -> None:
        client = redis.asyncio.Redis(port=redis_server.port)
        store = AsyncRedisStore(client)
        key, entry = await filled(store)
        (connection,) = idle_of(client)
        kill_all(redis_server)
        assert await store.get(key) == entry
        kill_all(redis_server)
        while not await connection.can_read():
            await asyncio.sleep(0.01)
        assert await store.get(key) == entry
        assert len(idle_of(client)) == 1
        await client.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("error", [redis.ConnectionError, ConnectionResetError])
def test_an_async_connection_that_breaks_while_it_is_looked_at_is_left_to_the_pool(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Once, as it would be with a server that closes it at that moment."""
    errors, can_read = [error("closed")], AsyncConnection.can_read

    async def breaks(connection: Any, *args: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return await can_read(connection, *args, **options)

    async def main() -> None:
        client = redis.asyncio.Redis(port=redis_server.port)
        store = AsyncRedisStore(client)
        key, entry = await filled(store)
        monkeypatch.setattr(AsyncConnection, "can_read", breaks)
        assert await store.get(key) == entry
        assert not errors
        assert len(idle_of(client)) == 1
        await client.aclose()

    asyncio.run(main())


def test_an_async_connection_that_is_closing_is_not_written_to(redis_server: RedisServer) -> None:
    """What is written to it would be lost without an error: redis-py sees to it, and opens another."""

    async def main() -> None:
        client = redis.asyncio.Redis(port=redis_server.port)
        store = AsyncRedisStore(client)
        key, entry = await filled(store)
        (connection,) = idle_of(client)
        connection._writer.close()
        assert await store.get(key) == entry
        await client.aclose()

    asyncio.run(main())


def test_async_calls_at_once_have_a_connection_each(redis_server: RedisServer) -> None:
    """No answer goes to another's call."""

    async def main() -> None:
        client = redis.asyncio.Redis(port=redis_server.port)
        store = AsyncRedisStore(client)
        keys = [new_key() for _ in range(20)]
        for key in keys:
            await store.put(key, key.encode(), expires_at=in_an_hour(), if_version=None, subject=None)
        for _ in range(5):
            entries = await asyncio.gather(*map(store.get, keys))
            assert [entry.data.decode() for entry in entries if entry is not None] == keys
        assert 2 <= len(idle_of(client)) <= len(keys)
        await client.aclose()

    asyncio.run(main())


def test_an_async_pool_that_is_locked_is_waited_for(redis_server: RedisServer) -> None:
    """Who holds its lock looks at all of its connections, and waits meanwhile."""

    async def main() -> None:
        client = redis.asyncio.Redis(port=redis_server.port)
        store = AsyncRedisStore(client)
        key, entry = await filled(store)
        async with client.connection_pool._lock:
            call = asyncio.ensure_future(store.get(key))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not call.done()
            assert len(idle_of(client)) == 1
        assert await call == entry
        await client.aclose()

    asyncio.run(main())


def test_an_async_connection_that_is_to_be_renewed_is_closed_when_it_comes_back(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same."""

    async def main() -> None:
        client = redis.asyncio.Redis(port=redis_server.port)
        store = AsyncRedisStore(client)
        key, entry = await filled(store)
        with monkeypatch.context() as patch:
            patch.setattr(AsyncConnection, "read_response", marked(AsyncConnection.read_response))
            assert await store.get(key) == entry
        assert [each.is_connected for each in idle_of(client)] == [False]
        assert await store.get(key) == entry
        await client.aclose()

    asyncio.run(main())


def test_an_async_connection_with_a_health_check_is_checked(redis_server: RedisServer) -> None:
    """By redis-py, before the command is sent."""

    async def main() -> None:
        store = AsyncRedisStore.from_url(f"{redis_server.url}?health_check_interval=1")
        key, entry = await filled(store)
        connection = store._client.connection_pool._available_connections[0]
        connection.next_health_check = 0
        assert await store.get(key) == entry
        assert connection.next_health_check > 0
        await store.close()

    asyncio.run(main())

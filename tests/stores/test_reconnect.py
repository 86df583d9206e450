"""Stores that give their connections up: none that is open then is used again, and the store works on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomcache
import pymemcache  # type: ignore[import-untyped]
import pytest
import redis
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool
from tests.servers import MemcachedServer, RedisCluster, RedisServer
from tests.stores.switch import Switch, switch

from hardtack import SessionManager, StoreEngine
from hardtack.errors import StoreUnavailable
from hardtack.events import Event, StoreHangs
from hardtack.protocols import store_traits
from hardtack.stores import from_url
from hardtack.stores.breaker import Breaker
from hardtack.stores.memcached import AsyncMemcachedStore, MemcachedStore
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from hardtack.testing.stores import create, new_key, read

pytestmark = [pytest.mark.program(name) for name in ("redis", "memcached", "postgresql")]

KEY = new_key()
"""That of no entry."""

SERVERS = ("redis", "memcached", "postgresql")


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Switch]]:
    """A server, and an address before it."""
    server = request.getfixturevalue(f"{request.param}_server")
    with switch(server.port) as address:
        yield server, address


def url_of(server: Any, address: Switch, *, asynchronous: bool) -> str:
    """The URL of the server at that address."""
    url: str = getattr(server, "async_url", server.url) if asynchronous else server.url
    return url.replace(f":{server.port}", f":{address.port}")


def test_connections_that_wait_are_closed(place: tuple[Any, Switch]) -> None:
    """The next call opens another."""
    server, address = place
    store: Any = from_url(url_of(server, address, asynchronous=False))
    if hasattr(store, "create_table"):
        store.create_table()
    store.get(KEY)
    before = address.accepted
    store.get(KEY)
    used_again = address.accepted == before

    store.reconnect()
    store.get(KEY)

    assert used_again
    assert address.accepted == before + 1
    store.close()


def test_async_connections_that_wait_are_closed(place: tuple[Any, Switch]) -> None:
    """The same with coroutines."""
    server, address = place

    async def main() -> int:
        store: Any = from_url(url_of(server, address, asynchronous=True), asynchronous=True)
        if hasattr(store, "create_table"):
            await store.create_table()
        await store.get(KEY)
        before = address.accepted
        await store.reconnect()
        await store.get(KEY)
        await store.close()
        return address.accepted - before

    assert asyncio.run(main()) >= 1


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_a_connection_that_a_call_is_using_is_not_used_thereafter(request: pytest.FixtureRequest, kind: str) -> None:
    """Nor does the call fail: it knows what it asked for."""
    server: RedisServer | MemcachedServer = request.getfixturevalue(f"{kind}_server")
    with switch(server.port) as address:
        store: Any = from_url(url_of(server, address, asynchronous=False))
        key = new_key()
        create(store, key)
        found: list[Any] = []
        with server.frozen():
            thread = threading.Thread(target=lambda: found.append(store.get(key)))
            thread.start()
            time.sleep(0.1)
            store.reconnect()
        thread.join()
        before = address.accepted

        entry = read(store, key)

        assert found == [entry]
        assert address.accepted == before + 1
        store.close()


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_an_async_connection_that_a_call_is_using_is_not_used_thereafter(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """The same with coroutines."""
    server: RedisServer | MemcachedServer = request.getfixturevalue(f"{kind}_server")

    async def main(address: Switch) -> tuple[Any, int]:
        store: Any = from_url(url_of(server, address, asynchronous=True), asynchronous=True)
        await store.get(KEY)
        with server.frozen():
            call = asyncio.create_task(store.get(KEY))
            await asyncio.sleep(0.1)
            await store.reconnect()
        found = await call
        before = address.accepted
        await store.get(KEY)
        await store.close()
        return found, address.accepted - before

    with switch(server.port) as address:
        assert asyncio.run(main(address)) == (None, 1)


def _single(port: int) -> RedisStore:
    return RedisStore(redis.Redis(port=port, single_connection_client=True))


GIVEN: dict[str, tuple[str, Callable[[int], Any]]] = {
    "single": ("redis", _single),
    "Client": ("memcached", lambda port: MemcachedStore(pymemcache.Client(("127.0.0.1", port)))),
    "HashClient": ("memcached", lambda port: MemcachedStore(pymemcache.HashClient([("127.0.0.1", port)]))),
}


@pytest.mark.parametrize("name", GIVEN)
def test_those_of_a_client_that_was_given_are_closed_too(request: pytest.FixtureRequest, name: str) -> None:
    """Whatever its kind."""
    kind, make = GIVEN[name]
    with switch(request.getfixturevalue(f"{kind}_server").port) as address:
        store = make(address.port)
        store.get(KEY)
        before = address.accepted

        store.reconnect()

        assert store.get(KEY) is None
        assert address.accepted == before + 1
        store.close()
        getattr(store._client, "close", lambda: None)()


def test_those_of_an_async_client_that_was_given_are_closed_too(
    redis_server: RedisServer, memcached_server: MemcachedServer
) -> None:
    """Of one connection, and of aiomcache."""

    async def main(store: Any, client: Any, address: Switch) -> int:
        await store.get(KEY)
        before = address.accepted
        await store.reconnect()
        await store.get(KEY)
        await store.close()
        await getattr(client, "aclose", client.close)()
        return address.accepted - before

    with switch(redis_server.port) as address:
        single = redis.asyncio.Redis(port=address.port, single_connection_client=True)
        assert asyncio.run(main(AsyncRedisStore(single), single, address)) == 1
    with switch(memcached_server.port) as address:
        client = aiomcache.Client("127.0.0.1", address.port)
        assert asyncio.run(main(AsyncMemcachedStore(client), client, address)) == 1


def test_a_cluster_is_found_again() -> None:
    """Sync and async."""
    cluster = RedisCluster()
    store: Any = from_url(cluster.url)
    key = new_key()
    create(store, key)

    async def main() -> Any:
        store: Any = from_url(cluster.url, asynchronous=True)
        await store.get(key)
        await store.reconnect()
        entry = await store.get(key)
        await store.close()
        return entry

    store.reconnect()

    assert read(store, key) == asyncio.run(main())
    store.close()
    cluster.remove()


def test_a_client_without_connections_of_its_own_is_left_alone(redis_server: RedisServer) -> None:
    """What behaves like a client of redis-py."""

    class Client:
        def execute_command(self, *command: Any, **options: Any) -> None:
            return None

    class AsyncClient:
        async def execute_command(self, *command: Any, **options: Any) -> None:
            return None

    RedisStore(Client()).reconnect()
    asyncio.run(AsyncRedisStore(AsyncClient()).reconnect())


def test_sqlite_opens_its_file_again(tmp_path: Path) -> None:
    """The connections that waited are closed."""
    store: Any = from_url(f"sqlite:///{tmp_path / 'sessions.sqlite'}")
    key = new_key()
    version = create(store, key)
    before = list(store._connections.idle)

    store.reconnect()

    assert store.get(key) == (b"data", version)
    assert not set(before) & set(store._connections.idle)
    store.close()


def test_a_database_that_is_its_connection_is_kept() -> None:
    """SQLite in memory on one connection for all would be gone with it; sync and async."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    store = SQLAlchemyStore(engine)
    store.create_table()
    key = new_key()
    version = create(store, key)

    async def main() -> Any:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        store = AsyncSQLAlchemyStore(engine)
        await store.create_table()
        await store.put(key, b"", expires_at=int(time.time()) + 60, if_version=None, subject=None)
        await store.reconnect()
        entry = await store.get(key)
        await engine.dispose()
        return entry

    store.reconnect()

    assert store.get(key) == (b"data", version)
    assert asyncio.run(main()) is not None
    engine.dispose()


@pytest.mark.parametrize("url", ["memory://", "file://{}"])
def test_what_has_no_connections_gives_up_none(url: str, tmp_path: Path) -> None:
    """The engine asks once more all the same."""
    assert not store_traits(from_url(url.format(tmp_path))).reconnects


def test_a_manager_tells_of_a_server_that_hangs(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """By an event, once; and the store, which outlives the manager, tells nobody then."""
    told: list[Event] = []
    store = RedisStore.from_url(f"{redis_server.url}?socket_timeout=0.2", breaker=Breaker(1, 0.01))
    sessions = SessionManager(StoreEngine(store), on_event=told.append)

    def hang() -> None:
        with redis_server.frozen(), pytest.raises(StoreUnavailable):
            store.get(KEY)
        time.sleep(0.02)
        store.get(KEY)

    hang()
    place = f"Redis at 127.0.0.1:{redis_server.port}"
    assert told == [StoreHangs(place, True), StoreHangs(place, False)]
    assert caplog.text.count(f"{place} did not answer several times in a row") == 1
    del sessions
    hang()
    assert len(told) == 2
    store.close()


def test_an_async_store_tells_as_well(redis_server: RedisServer) -> None:
    """The same, async."""
    told: list[tuple[str, bool]] = []

    async def main() -> None:
        store: Any = from_url(f"{redis_server.url}?socket_timeout=0.2&breaker=1", asynchronous=True)
        store.listen(lambda *news: told.append(news))
        with redis_server.frozen(), pytest.raises(StoreUnavailable):
            await store.get(KEY)
        await store.close()

    asyncio.run(main())

    assert told == [(f"Redis at 127.0.0.1:{redis_server.port}", True)]


def test_each_memcached_is_told_of_by_its_name(memcached_server: MemcachedServer) -> None:
    """Sync and async."""
    told: list[tuple[str, bool]] = []
    store: Any = from_url(f"{memcached_server.url}?timeout=0.2&breaker=1")
    store.listen(lambda *news: told.append(news))

    async def main() -> None:
        store: Any = from_url(f"{memcached_server.url}?timeout=0.2&breaker=1", asynchronous=True)
        store.listen(lambda *news: told.append(news))
        with pytest.raises(StoreUnavailable):
            await store.get(KEY)
        await store.close()

    with memcached_server.frozen():
        with pytest.raises(StoreUnavailable):
            store.get(KEY)
        asyncio.run(main())

    place = f"memcached at 127.0.0.1:{memcached_server.port}"
    assert told == [(place, True), (place, True)]
    store.close()

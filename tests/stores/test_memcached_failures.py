"""Memcached stores where connections break, calls are broken off, and servers are full, hang or are several."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiomcache
import pymemcache  # type: ignore[import-untyped]
import pytest
from pymemcache.client.base import Client  # type: ignore[import-untyped]
from pymemcache.exceptions import MemcacheServerError  # type: ignore[import-untyped]
from tests.servers import MemcachedServer
from tests.stores.interrupt import interrupted
from tests.stores.switch import Switch, switch

from hardtack.errors import ConfigError, StoreFull, StoreUnavailable
from hardtack.protocols import Entry, VersionConflict
from hardtack.stores.breaker import Breaker
from hardtack.stores.memcached import AsyncMemcachedStore, MemcachedStore
from hardtack.testing.stores import create, in_an_hour, new_key, read

pytestmark = pytest.mark.program("memcached")


@pytest.fixture
def address(memcached_server: MemcachedServer) -> Iterator[Switch]:
    """An address that leads to the server, and whose connections can be dropped."""
    with switch(memcached_server.port) as address:
        yield address


@pytest.fixture
def store(address: Switch) -> Iterator[MemcachedStore]:
    """A store at that address."""
    store = MemcachedStore.from_url(f"memcached://127.0.0.1:{address.port}")
    yield store
    store.close()


class Clients:
    """Each kind of client of pymemcache, for a port."""

    plain = staticmethod(lambda port: pymemcache.Client(("127.0.0.1", port), timeout=5))
    pooled = staticmethod(lambda port: pymemcache.PooledClient(("127.0.0.1", port), timeout=5, max_pool_size=2))
    hashed = staticmethod(lambda port: pymemcache.HashClient([("127.0.0.1", port)], timeout=5))
    hashed_pooled = staticmethod(
        lambda port: pymemcache.HashClient([("127.0.0.1", port)], use_pooling=True, max_pool_size=2, timeout=5)
    )


KINDS = ["plain", "pooled", "hashed", "hashed_pooled"]


async def acreate(store: AsyncMemcachedStore, key: str, data: bytes = b"data") -> Any:
    """Put a new entry that lives for an hour."""
    return await store.put(key, data, expires_at=in_an_hour(), if_version=None, subject=None)


def put(store: MemcachedStore, key: str, data: bytes, version: Any) -> Any:
    """Save over that version."""
    return store.put(key, data, expires_at=in_an_hour(), if_version=version, subject=None)


# --- connections that the server closes


def test_connections_that_were_idle_too_long_cost_nothing(store: MemcachedStore, address: Switch) -> None:
    """All that the store has, and for every kind of call."""
    keys = [new_key() for _ in range(4)]
    versions = [create(store, key) for key in keys]
    start = threading.Barrier(5)

    def use() -> None:
        start.wait()
        for _ in range(20):
            store.get(keys[0])

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def after_a_drop(call: Callable[[], Any]) -> Any:
        address.drop()
        time.sleep(0.05)
        return call()

    assert after_a_drop(lambda: read(store, keys[0]).data) == b"data"
    assert after_a_drop(lambda: put(store, keys[0], b"saved", versions[0])) != versions[0]
    assert after_a_drop(lambda: create(store, new_key()))
    assert after_a_drop(lambda: store.delete(keys[1]))
    assert after_a_drop(lambda: store.delete(keys[2], if_version=versions[2]))
    loaded = read(store, keys[3])
    assert after_a_drop(lambda: put(store, keys[3], b"saved", loaded.version)) != loaded.version


@pytest.fixture
def losing_answers(address: Switch) -> Callable[[Any], None]:
    """Makes a store lose the answer to its next call on a connection that was used before, after the call was carried out."""

    def lose(store: MemcachedStore) -> None:
        store.get("used-before")
        server = store._servers.here().of(b"")
        real = server._ask

        def ask(connection: Any, question: Any) -> Any:
            server._ask = real  # type: ignore[method-assign]
            assert connection.since is not None

            def lost(connection: Any) -> Any:
                question(connection)
                raise ConnectionResetError

            return real(connection, lost)

        server._ask = ask  # type: ignore[method-assign,assignment]

    return lose


def test_a_write_whose_answer_was_lost_is_known_by_its_version(
    store: MemcachedStore, losing_answers: Callable[[Any], None]
) -> None:
    """It is sent once more, refused, and found to be carried out: no conflict with ourselves."""
    key, gone = new_key(), new_key()

    losing_answers(store)
    version = create(store, key, b"created")
    assert read(store, key) == Entry(b"created", version)
    store.put(gone, b"", expires_at=in_an_hour(), if_version=None, subject=None)
    first = read(store, gone).version

    loaded = read(store, key)
    losing_answers(store)
    version = put(store, key, b"saved", loaded.version)
    assert read(store, key) == Entry(b"saved", version)

    server = store._servers.here().of(b"")
    real = server.perform

    def lose_the_cas(command: str, *arguments: Any) -> Any:
        if command == "cas":
            server.perform = real  # type: ignore[method-assign]
            losing_answers(store)
        return real(command, *arguments)

    server.perform = lose_the_cas  # type: ignore[method-assign,assignment]
    version = put(store, key, b"looked", bytes(version))
    assert read(store, key) == Entry(b"looked", version)

    server.perform = lose_the_cas  # type: ignore[method-assign,assignment]
    assert store.delete(gone, if_version=bytes(first))
    assert store.get(gone) is None

    losing_answers(store)
    assert store.delete(key) is True


def test_a_write_that_was_lost_and_overtaken_is_a_conflict(
    store: MemcachedStore, losing_answers: Callable[[Any], None]
) -> None:
    """Sent twice or not: what another has there stays."""
    key = new_key()
    theirs = create(store, key, b"theirs")

    losing_answers(store)
    with pytest.raises(VersionConflict):
        create(store, key, b"mine")

    assert read(store, key) == Entry(b"theirs", theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_down_is_unavailable_each_time(refusing_port: int, kind: str) -> None:
    """A HashClient gives the server up, and answers that there is no session."""
    store = MemcachedStore(getattr(Clients, kind)(refusing_port))

    for _ in range(6):
        with pytest.raises(StoreUnavailable, match="ConnectionRefusedError"):
            store.get(new_key())


def test_async_connections_that_were_idle_too_long_cost_nothing(address: Switch) -> None:
    """The same, async; the writes too."""

    async def main() -> None:
        store = AsyncMemcachedStore.from_url(f"memcached://127.0.0.1:{address.port}")
        key, gone = new_key(), new_key()
        version = await acreate(store, key, b"")
        await acreate(store, gone)
        await asyncio.gather(*[store.get(key) for _ in range(5)])

        for noticed in (True, False):
            address.drop()
            await asyncio.sleep(0.1 if noticed else 0)
            assert await store.get(key) == Entry(b"", version)
            address.drop()
            version = await store.put(key, b"", expires_at=in_an_hour(), if_version=version, subject=None)
            address.drop()
            loaded = await store.get(key)
            assert loaded is not None
            address.drop()
            version = await store.put(key, b"", expires_at=in_an_hour(), if_version=loaded.version, subject=None)
        address.drop()
        assert await store.delete(gone)
        assert await store.delete(key, if_version=version)
        await store.close()

    asyncio.run(main())


def test_an_async_write_whose_answer_was_lost_is_known_by_its_version(address: Switch) -> None:
    """The same, async."""

    async def main() -> None:
        store = AsyncMemcachedStore.from_url(f"memcached://127.0.0.1:{address.port}")
        key = new_key()
        await store.get(key)
        server = store._servers.here().of(b"")
        real = server._ask

        async def lose(connection: Any, *arguments: Any) -> Any:
            server._ask = real  # type: ignore[method-assign]
            await real(connection, *arguments)
            raise ConnectionResetError

        server._ask = lose  # type: ignore[method-assign,assignment]
        version = await acreate(store, key, b"created")

        assert await store.get(key) == Entry(b"created", version)
        await store.close()

    asyncio.run(main())


# --- calls that are broken off


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_calls_leave_nothing_behind(memcached_server: MemcachedServer, kind: str) -> None:
    """Neither an answer for the next caller nor a pool without connections."""
    store = MemcachedStore(getattr(Clients, kind)(memcached_server.port))
    mine, other = new_key(), new_key()
    create(store, mine, b"mine")
    create(store, other, b"other")

    with memcached_server.frozen():
        for _ in range(5):
            assert interrupted(lambda: store.get(other), 0.05)

    assert [read(store, mine).data for _ in range(5)] == [b"mine"] * 5
    store.close()


def test_one_that_is_cancelled_holds_up_nobody(memcached_server: MemcachedServer) -> None:
    """Its connection is given up, and those who wait for one get a new one."""

    async def main() -> None:
        store = AsyncMemcachedStore(
            aiomcache.Client(memcached_server.host, memcached_server.port, pool_size=1), timeout=5
        )
        mine, other = new_key(), new_key()
        await acreate(store, mine, b"mine")
        await acreate(store, other, b"other")
        with memcached_server.frozen():
            calls = [asyncio.create_task(store.get(other if each == 0 else mine)) for each in range(5)]
            await asyncio.sleep(0.1)
            calls[0].cancel()
            await asyncio.sleep(0.05)
        started = time.monotonic()
        entries = await asyncio.gather(*calls, return_exceptions=True)

        assert isinstance(entries[0], asyncio.CancelledError)
        assert [entry.data for entry in entries[1:] if isinstance(entry, Entry)] == [b"mine"] * 4
        assert time.monotonic() - started < 9
        await store.close()

    asyncio.run(main())


def test_calls_at_once_have_connections_of_their_own(address: Switch) -> None:
    """An async store from a URL has several, and keeps them."""

    async def main() -> None:
        store = AsyncMemcachedStore.from_url(f"memcached://127.0.0.1:{address.port}")
        for _ in range(3):
            await asyncio.gather(*[store.get("nothing") for _ in range(10)])
        await store.close()

    asyncio.run(main())

    assert 2 <= address.accepted <= 10


@pytest.mark.parametrize("error", [TypeError, RuntimeError, KeyError, AttributeError])
def test_an_error_that_is_none_of_pymemcache_is_unavailable(
    store: MemcachedStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """And the connection is given up, whose state nobody knows."""
    key = new_key()
    create(store, key)

    def fail(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(Client, "gets", fail)
    with pytest.raises(StoreUnavailable, match=rf"^memcached at \S+ cannot be used: {error.__name__}$"):
        store.get(key)

    assert read(store, key).data == b"data"


# --- a server that is full, or hangs


class FullServer(MemcachedServer):
    """memcached with little memory, which it does not free by itself."""

    def command(self) -> list[str]:
        return [*super().command(), "-M", "-m", "2"]

    def fill(self) -> None:
        """Until nothing more is taken, of whatever size."""
        client = pymemcache.Client((self.host, self.port))
        for size in (500_000, 50_000, 5000, 1000, 500, 100, 50, 1, 0):
            for _ in range(100_000):
                try:
                    client.set(f"hardtack:{new_key()}", b"x" * size, noreply=False)
                except MemcacheServerError:
                    break
        client.close()


def test_a_full_server_still_deletes() -> None:
    """A save is a StoreFull; a delete under a version is carried out, which otherwise would take room as well."""
    server = FullServer()
    store = MemcachedStore.from_url(server.url)
    keys = [new_key() for _ in range(4)]
    versions = [create(store, key, b"x" * 100) for key in keys]
    server.fill()

    def create_many() -> None:
        for _ in range(10_000):  # a server that rearranges its memory finds room for some more
            create(store, new_key(), b"x" * 100)

    with pytest.raises(StoreFull, match=f"memcached at 127.0.0.1:{server.port} is full"):
        create_many()
    with pytest.raises(VersionConflict):
        store.delete(keys[0], if_version=versions[1])
    assert store.delete(keys[0], if_version=versions[0])
    assert store.get(keys[0]) is None
    assert store.delete(keys[1])
    store.close()

    async def main() -> None:
        store = AsyncMemcachedStore.from_url(server.url)

        async def create_many() -> None:
            for _ in range(10_000):
                await acreate(store, new_key(), b"x" * 100)

        with pytest.raises(StoreFull, match=f"memcached at 127.0.0.1:{server.port} is full"):
            await create_many()
        assert await store.delete(keys[2], if_version=versions[2])
        assert await store.get(keys[2]) is None
        await store.close()

    asyncio.run(main())
    server.remove()


def test_an_error_in_a_delete_that_is_not_of_room_is_unavailable(
    store: MemcachedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other way is tried then."""
    key = new_key()
    version = create(store, key)

    def fail(*args: Any, **options: Any) -> Any:
        raise MemcacheServerError(b"busy")

    monkeypatch.setattr(Client, "cas", fail)
    with pytest.raises(StoreUnavailable) as raised:
        store.delete(key, if_version=version)

    assert not isinstance(raised.value, StoreFull)


def test_a_server_that_hangs_is_left_alone_for_a_moment(memcached_server: MemcachedServer) -> None:
    """After some timeouts in a row calls fail at once; when it answers again, one call finds out."""
    url = f"{memcached_server.url}?timeout=0.7"
    store = MemcachedStore.from_url(url, breaker=Breaker(timeouts=2, pause=1))
    store.get("nothing")

    with memcached_server.frozen():
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="TimeoutError"):
                store.get("nothing")
        with pytest.raises(StoreUnavailable, match="is left alone for a moment"):
            store.get("nothing")
    time.sleep(1)

    assert store.get("nothing") is None
    store.close()


# --- several servers


@pytest.fixture(scope="module")
def second() -> Iterator[MemcachedServer]:
    """Another server."""
    server = MemcachedServer()
    yield server
    server.remove()


def test_several_servers_share_the_sessions(memcached_server: MemcachedServer, second: MemcachedServer) -> None:
    """By the same rule in the sync store, the async one and a HashClient; the options are those of the URL."""
    url = f"memcached://127.0.0.1:{memcached_server.port},127.0.0.1:{second.port}?timeout=3&max_size=2000&breaker=3"
    store = MemcachedStore.from_url(url)
    addresses = [("127.0.0.1", memcached_server.port), ("127.0.0.1", second.port)]
    hashed = MemcachedStore(pymemcache.HashClient(addresses, timeout=3))
    keys = [new_key() for _ in range(40)]
    for key in keys:
        create(store, key)

    async def main() -> list[bool]:
        store = AsyncMemcachedStore.from_url(url)
        found = [await store.get(key) is not None for key in keys]
        await store.close()
        return found

    counts = []
    for address in addresses:
        client = pymemcache.Client(address)
        counts.append(sum(client.get(f"hardtack:{key}") is not None for key in keys))
        client.close()

    assert sum(counts) == 40
    assert min(counts) > 3
    assert asyncio.run(main()) == [True] * 40
    assert all(hashed.get(key) for key in keys)
    hashed.close()
    store.close()


def test_a_server_that_hangs_takes_no_other_with_it(memcached_server: MemcachedServer) -> None:
    """Each has a breaker of its own, and its sessions are not looked for elsewhere."""
    hanging = MemcachedServer()
    url = f"memcached://127.0.0.1:{memcached_server.port},127.0.0.1:{hanging.port}?timeout=0.7&breaker=1"
    store = MemcachedStore.from_url(url)
    servers = store._servers.here()
    key_of: dict[int, str] = {}
    while len(key_of) < 2:
        key = new_key()
        key_of[id(servers.of(f"hardtack:{key}".encode()))] = key
    for key in key_of.values():
        create(store, key)

    answers = []
    with hanging.frozen():
        for _ in range(2):
            for key in key_of.values():
                try:
                    answers.append(store.get(key) is not None)
                except StoreUnavailable as error:
                    answers.append("left alone" in str(error))

    assert sorted(answers) == [False, True, True, True]  # a timeout, and then at once; the other answers twice
    store.close()
    hanging.remove()


def test_a_system_without_poll_finds_out_by_sending(
    store: MemcachedStore, address: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was closed is not seen before; the call is sent once more."""
    monkeypatch.setattr("hardtack.stores._memcached_sync._POLL", None)
    key = new_key()
    create(store, key)
    address.drop()

    assert read(store, key).data == b"data"


def test_a_client_without_servers_is_refused() -> None:
    """When the store is made."""
    with pytest.raises(ConfigError, match="client has no servers"):
        MemcachedStore(pymemcache.HashClient([]))


# --- event loops


@pytest.mark.parametrize("kind", ["url", "given"])
def test_an_async_store_works_in_one_event_loop_after_another(memcached_server: MemcachedServer, kind: str) -> None:
    """A test client has one for each request; the connections of those that are closed leave no warning."""
    client = aiomcache.Client(memcached_server.host, memcached_server.port)
    store = AsyncMemcachedStore.from_url(memcached_server.url) if kind == "url" else AsyncMemcachedStore(client)
    key = new_key()

    async def read_and_write() -> bool:
        before = await store.get(key)
        version = None if before is None else before.version
        await store.put(key, b"", expires_at=in_an_hour(), if_version=version, subject=None)
        return before is None

    assert [asyncio.run(read_and_write()) for _ in range(4)] == [True, False, False, False]
    asyncio.run(store.close())
    gc.collect()


def test_a_call_that_a_closed_event_loop_has_left_leaves_no_warning(memcached_server: MemcachedServer) -> None:
    """Its connection was in use."""
    store = AsyncMemcachedStore.from_url(memcached_server.url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.get("nothing"))
    with memcached_server.frozen():
        task = loop.create_task(store.get("nothing"))
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
    asyncio.run(store.get("nothing"))

    assert not task.done()
    asyncio.run(store.close())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    gc.collect()

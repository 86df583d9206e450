"""MemcachedStore and AsyncMemcachedStore: the contract, the limits of memcached, failures, and cancelled callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiomcache
import pymemcache  # type: ignore[import-untyped]
import pytest
from pymemcache.client.hash import HashClient  # type: ignore[import-untyped]
from pymemcache.serde import pickle_serde  # type: ignore[import-untyped]
from tests.servers import MemcachedServer

from hardtack.errors import ConfigError, StoreError, StoreUnavailable
from hardtack.protocols import Entry, VersionConflict
from hardtack.stores.memcached import AsyncMemcachedStore, MemcachedStore
from hardtack.testing import AsyncStoreContract, StoreContract
from hardtack.testing.stores import create, in_an_hour, new_key, read


@pytest.fixture
def store(memcached_server: MemcachedServer) -> Iterator[MemcachedStore]:
    """A store on the server."""
    store = MemcachedStore.from_url(memcached_server.url)
    yield store
    store.close()


class TestMemcachedStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store(self, memcached_server: MemcachedServer) -> Iterator[MemcachedStore]:
        """A store with a client of its own."""
        store = MemcachedStore.from_url(memcached_server.url)
        yield store
        store.close()

    @pytest.fixture
    def break_store(self, memcached_server: MemcachedServer) -> Any:
        """The server is stopped."""
        return memcached_server.gone


class TestMemcachedStoreOnAHashClient(StoreContract):
    """The contract, on a client of the application for several servers, which does not wait for answers by default."""

    @pytest.fixture
    def store(self, memcached_server: MemcachedServer) -> Iterator[MemcachedStore]:
        """A store on a HashClient."""
        address = (memcached_server.host, memcached_server.port)
        client = HashClient([address], use_pooling=True, timeout=5, connect_timeout=5, default_noreply=True)
        yield MemcachedStore(client, prefix="hashed:")
        client.close()

    @pytest.fixture
    def break_store(self, memcached_server: MemcachedServer) -> Any:
        """The server is stopped."""
        return memcached_server.gone


class TestAsyncMemcachedStore(AsyncStoreContract):
    """The contract, async."""

    @pytest.fixture
    def store(self, memcached_server: MemcachedServer) -> AsyncMemcachedStore:
        """A store with a client of its own."""
        return AsyncMemcachedStore.from_url(memcached_server.url)

    @pytest.fixture
    def break_store(self, memcached_server: MemcachedServer) -> Any:
        """The server is stopped."""
        return memcached_server.gone


@pytest.mark.parametrize("key", ["", "a b", "a\nflush_all", "a\x00", "é", "k" * 242])
def test_a_key_that_memcached_cannot_take_does_not_exist(store: MemcachedStore, key: str) -> None:
    """No key can smuggle in a command: nothing is there to read or delete, and nothing can be put."""
    if key:
        assert store.get(key) is None
        assert store.delete(key) is False
        assert store.delete(key, if_version=b"12345678") is False
        with pytest.raises(StoreError, match="up to 250 characters"):
            create(store, key)


def test_the_longest_key_is_accepted(store: MemcachedStore) -> None:
    """250 bytes with the prefix."""
    key = (new_key() * 6)[: 250 - len("hardtack:")]

    create(store, key)

    assert read(store, key).data == b"data"


def test_a_session_that_is_too_big_is_refused_and_the_old_one_stays(store: MemcachedStore) -> None:
    """memcached would delete the old one: it is not sent at all."""
    key = new_key()
    version = create(store, key, b"old")

    with pytest.raises(StoreError, match="takes 1048073 bytes, and memcached takes 1048064") as raised:
        store.put(key, b"x" * (1024 * 1024 - 511), expires_at=in_an_hour(), if_version=version, subject=None)

    assert not isinstance(raised.value, StoreUnavailable)
    assert read(store, key) == Entry(b"old", version)


def test_the_biggest_session_is_accepted(store: MemcachedStore) -> None:
    """The default of `max_size` fits the default of the server."""
    key = (new_key() * 6)[: 250 - len("hardtack:")]

    create(store, key, b"x" * (1024 * 1024 - 512 - 8))

    assert len(read(store, key).data) == 1024 * 1024 - 512 - 8


@pytest.mark.parametrize("expires_at", [0, 1, 30 * 86400, 30 * 86400 + 1])
def test_a_small_expiry_is_a_date_long_past(store: MemcachedStore, expires_at: int) -> None:
    """memcached takes up to 30 days for a duration, and 0 for never."""
    key = new_key()

    store.put(key, b"data", expires_at=expires_at, if_version=None, subject=None)

    assert store.get(key) is None


def test_an_expiry_beyond_32_bits_is_kept_as_long_as_memcached_can(store: MemcachedStore) -> None:
    """The server reads 32 bits; it does not refuse the session, and does not forget it at once."""
    key = new_key()

    store.put(key, b"data", expires_at=2**40, if_version=None, subject=None)

    assert read(store, key).data == b"data"


def test_a_delete_that_loses_a_race_is_a_conflict(store: MemcachedStore) -> None:
    """A save between the look and the delete is not lost."""
    key = new_key()
    version = create(store, key)
    server = store._servers.here().of(b"")
    real = server.perform

    def and_somebody_saves(*args: Any) -> Any:
        answer = real(*args)
        server.perform = real  # type: ignore[method-assign]
        store.put(key, b"saved", expires_at=in_an_hour(), if_version=version, subject=None)
        return answer

    server.perform = and_somebody_saves  # type: ignore[method-assign,assignment]

    with pytest.raises(VersionConflict):
        store.delete(key, if_version=version)
    assert read(store, key).data == b"saved"


def test_a_save_that_loses_a_race_is_a_conflict(store: MemcachedStore) -> None:
    """A save between the look and the save is not overwritten."""
    key = new_key()
    version = create(store, key)
    server = store._servers.here().of(b"")
    real = server.perform

    def and_somebody_deletes(*args: Any) -> Any:
        answer = real(*args)
        server.perform = real  # type: ignore[method-assign]
        store.delete(key)
        return answer

    server.perform = and_somebody_deletes  # type: ignore[method-assign,assignment]

    with pytest.raises(VersionConflict):
        store.put(key, b"late", expires_at=in_an_hour(), if_version=version, subject=None)
    assert store.get(key) is None


@pytest.mark.program("memcached")
def test_a_version_does_not_come_back_when_the_server_restarts() -> None:
    """memcached's own cas numbers begin anew: a slow writer from before must not match by them."""
    server = MemcachedServer()
    store = MemcachedStore.from_url(server.url)
    old = create(store, "key", b"before")

    server.stop()
    server.start()
    assert store.get("key") is None
    new = create(store, "key", b"after")

    with pytest.raises(VersionConflict):
        store.put("key", b"late", expires_at=in_an_hour(), if_version=old, subject=None)
    assert read(store, "key") == Entry(b"after", new)
    store.close()
    server.remove()


def commands(server: MemcachedServer) -> dict[str, int]:
    """How many commands of each kind the server was sent."""
    client = pymemcache.Client((server.host, server.port))
    numbers = {key.decode(): value for key, value in client.stats().items() if key in (b"cmd_get", b"cmd_set")}
    client.close()
    return numbers


def test_a_load_and_a_save_are_one_round_trip_each(memcached_server: MemcachedServer, store: MemcachedStore) -> None:
    """The save knows the cas number from the load."""
    key = new_key()
    create(store, key)
    before = commands(memcached_server)

    version = store.get(key).version  # type: ignore[union-attr]
    store.put(key, b"saved", expires_at=in_an_hour(), if_version=version, subject=None)

    after = commands(memcached_server)
    assert {name: after[name] - before[name] for name in after} == {"cmd_get": 1, "cmd_set": 1}


def test_a_save_over_another_save_is_a_conflict_at_once(store: MemcachedStore) -> None:
    """The server compares the cas numbers."""
    key = new_key()
    create(store, key)
    slow = read(store, key).version
    store.put(key, b"first", expires_at=in_an_hour(), if_version=read(store, key).version, subject=None)

    with pytest.raises(VersionConflict):
        store.put(key, b"slow", expires_at=in_an_hour(), if_version=slow, subject=None)

    assert read(store, key).data == b"first"


@pytest.mark.program("memcached")
def test_a_cas_number_from_before_a_restart_saves_nothing() -> None:
    """The restarted server counts from the beginning, and has given the number of the loaded entry to another."""
    server = MemcachedServer()
    store = MemcachedStore.from_url(server.url)
    create(store, "key", b"before")
    read(store, "key")
    old = read(store, "key").version
    client = pymemcache.Client((server.host, server.port))
    number = client.gets("hardtack:key")[1]

    server.stop()
    server.start()
    other = MemcachedStore.from_url(server.url)
    new = create(other, "key", b"after")
    client.close()
    assert client.gets("hardtack:key")[1] == number
    client.close()
    for _ in range(2):  # a new connection, which has been used the second time
        with pytest.raises(VersionConflict):
            store.put("key", b"late", expires_at=in_an_hour(), if_version=old, subject=None)

    assert read(other, "key") == Entry(b"after", new)
    other.close()
    store.close()
    server.remove()


def test_a_serializer_is_refused(memcached_server: MemcachedServer) -> None:
    """A client that unpickles what the server holds is noticed."""
    address = (memcached_server.host, memcached_server.port)
    client = pymemcache.PooledClient(address, serde=pickle_serde)
    client.set("hardtack:key", {"not": "bytes"}, noreply=False)

    store = MemcachedStore(client)
    with pytest.raises(StoreUnavailable, match="give no serializer"):
        store.get("key")

    store.close()
    client.close()


def test_a_client_that_hides_errors_is_refused() -> None:
    """With ignore_exc a dead server has no sessions, and everybody is logged out."""
    client = pymemcache.PooledClient(("127.0.0.1", 1), ignore_exc=True)

    with pytest.raises(ConfigError, match="ignore_exc"):
        MemcachedStore(client)


@pytest.mark.parametrize("prefix", ["a b:", "é:", "x" * 248])
def test_a_prefix_that_no_key_can_have_is_refused(prefix: str) -> None:
    """Found when the store is made, not with the first session."""
    with pytest.raises(ConfigError, match="prefix is"):
        MemcachedStore(pymemcache.PooledClient(("127.0.0.1", 1)), prefix=prefix)


def test_a_broken_server_is_unavailable(broken_port: int) -> None:
    """Refused, hanging, nonsense, hung up: StoreUnavailable from the cause, in time."""
    store = MemcachedStore.from_url(f"memcached://127.0.0.1:{broken_port}", timeout=0.3)
    started = time.monotonic()

    for attempt in (
        lambda: store.get("key"),
        lambda: create(store, "key"),
        lambda: store.delete("key"),
        lambda: store.delete("key", if_version=b"12345678"),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            attempt()
        assert raised.value.__cause__ is not None

    assert time.monotonic() - started < 9
    store.close()


def test_a_broken_server_is_unavailable_to_async_callers(broken_port: int) -> None:
    """The same, async; a server that hangs up does not stop the event loop."""

    async def main() -> None:
        store = AsyncMemcachedStore.from_url(f"memcached://127.0.0.1:{broken_port}", timeout=0.3)
        for attempt in (
            store.get("key"),
            store.put("key", b"", expires_at=in_an_hour(), if_version=None, subject=None),
            store.delete("key"),
        ):
            with pytest.raises(StoreUnavailable) as raised:
                await attempt
            assert raised.value.__cause__ is not None
        await store.close()

    started = time.monotonic()
    asyncio.run(main())

    assert time.monotonic() - started < 9


def test_a_client_of_the_application_stays_open(memcached_server: MemcachedServer) -> None:
    """`close` closes what the store made, and nothing else."""

    async def main() -> bytes:
        client = aiomcache.Client(memcached_server.host, memcached_server.port)
        await client.set(b"mine", b"there")
        connections = client._pool.size()
        store = AsyncMemcachedStore(client)
        await store.get("mine")
        await store.close()
        assert client._pool.size() == connections
        await client.close()
        return b"there"

    asyncio.run(main())
    client = pymemcache.PooledClient((memcached_server.host, memcached_server.port))
    client.version()
    MemcachedStore(client).close()

    assert client.client_pool.free
    client.close()


@pytest.mark.parametrize(
    "url",
    [
        "memcached://",
        "memcached://:11211",
        "memcached://user:hunter2@host",
        "memcached://host:hunter2",
        "memcached://host/path",
        "memcached://[::1",
        "memcached://host:0",
        "memcached://host,:1",
        "memcached+unix://host/path",
        "memcached+unix://",
        "memcached://host#part",
        "redis://host",
    ],
)
def test_a_url_that_cannot_be_read_is_a_config_error_without_its_password(url: str) -> None:
    """The message says what a URL looks like."""
    for store in (MemcachedStore, AsyncMemcachedStore):
        with pytest.raises(ConfigError, match=r"memcached://host:11211|has a user or a password") as raised:
            store.from_url(url)
        assert "hunter2" not in str(raised.value)
        assert raised.value.__cause__ is None


def test_the_port_may_be_left_out() -> None:
    """11211 is memcached's own."""
    store = MemcachedStore.from_url("memcached://localhost")

    assert [each.server for each in store._client.clients.values()] == [("localhost", 11211)]


@pytest.mark.parametrize(
    ("kind", "client", "advice"),
    [
        (MemcachedStore, "localhost:11211", r"MemcachedStore\.from_url\(url\)"),
        (AsyncMemcachedStore, "memcached://localhost", r"AsyncMemcachedStore\.from_url\(url\)"),
        (MemcachedStore, None, r"client is of type NoneType; MemcachedStore takes a pymemcache\.PooledClient"),
        (AsyncMemcachedStore, None, r"client is of type NoneType; AsyncMemcachedStore takes an aiomcache\.Client"),
        (AsyncMemcachedStore, pymemcache.PooledClient(("localhost", 1)), "use MemcachedStore"),
        (AsyncMemcachedStore, HashClient([]), "use MemcachedStore"),
    ],
)
def test_a_client_of_another_kind_is_refused(kind: Any, client: Any, advice: str) -> None:
    """When the store is made, and not by the first request."""
    with pytest.raises(ConfigError, match=advice):
        kind(client)


def test_a_client_of_aiomcache_is_for_the_async_store() -> None:
    """The message names it."""

    async def main() -> None:
        MemcachedStore(aiomcache.Client("localhost", 1))

    with pytest.raises(ConfigError, match="use AsyncMemcachedStore"):
        asyncio.run(main())


def test_the_answer_to_another_question_is_unavailable(port_that_answers: Callable[[bytes], int]) -> None:
    """As a client gets it whose connection two processes read from."""
    port = port_that_answers(b"VALUE other 0 1 5\r\nx\r\nEND\r\n")
    store = MemcachedStore.from_url(f"memcached://127.0.0.1:{port}")

    with pytest.raises(StoreUnavailable):
        store.get(new_key())
    store.close()

    async def main() -> None:
        store = AsyncMemcachedStore.from_url(f"memcached://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable):
            await store.get(new_key())
        await store.close()

    asyncio.run(main())

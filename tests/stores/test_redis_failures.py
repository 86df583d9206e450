"""RedisStore and AsyncRedisStore where the server changes its role, is full or hangs, and where a call is broken off."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import OutOfMemoryError
from redis.retry import Retry
from tests.servers import RedisCluster, RedisServer, SentinelServer
from tests.stores.interrupt import Interrupted, interrupted
from tests.stores.switch import switch

from hardtack.errors import StoreError, StoreFull, StoreUnavailable
from hardtack.protocols import Entry, VersionConflict
from hardtack.stores._redis_calls import is_elsewhere, is_full
from hardtack.stores.breaker import Breaker
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.testing.stores import create, in_an_hour, new_key, read

pytestmark = pytest.mark.program("redis")


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    """A store on the server."""
    store = RedisStore.from_url(redis_server.url)
    yield store
    store.close()


async def acreate(store: AsyncRedisStore, key: str, data: bytes = b"data") -> Any:
    """Put a new entry that lives for an hour."""
    return await store.put(key, data, expires_at=in_an_hour(), if_version=None, subject=None)


# --- failover behind one address


@pytest.fixture(scope="module")
def replica(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A replica of the server."""
    replica = RedisServer()
    with redis.Redis(port=replica.port) as client:
        client.replicaof("127.0.0.1", str(redis_server.port))
        deadline = time.monotonic() + 30
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield replica
    replica.remove()


class Instrumented(redis.Redis):
    """A client whose calls somebody watches: it is asked as it is."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        execute: Any = super().execute_command
        return execute(*args, **options)


@pytest.mark.parametrize("kind", ["url", "given", "instrumented"])
def test_a_write_to_a_demoted_server_goes_to_the_new_one(
    redis_server: RedisServer, replica: RedisServer, kind: str
) -> None:
    """READONLY: nothing was written, the connections are closed, and a new one leads to the primary."""
    with switch(replica.port) as address:
        client: Any = {"given": redis.Redis, "instrumented": Instrumented}.get(kind, redis.Redis)(port=address.port)
        store = RedisStore.from_url(f"redis://127.0.0.1:{address.port}") if kind == "url" else RedisStore(client)
        assert store.get("nothing") is None
        address.target = redis_server.port
        keys = [new_key() for _ in range(3)]

        versions = [create(store, key) for key in keys]

        assert [read(store, key) for key in keys] == [Entry(b"data", version) for version in versions]
        assert address.accepted == 2
        store.close()
        client.close()


def test_an_async_write_to_a_demoted_server_goes_to_the_new_one(
    redis_server: RedisServer, replica: RedisServer
) -> None:
    """The same, async, and for a client whose calls somebody watches."""

    class Watched(redis.asyncio.Redis):
        async def execute_command(self, *args: Any, **options: Any) -> Any:
            execute: Any = super().execute_command
            return await execute(*args, **options)

    async def main(by_url: bool) -> None:
        with switch(replica.port) as address:
            client = Watched(port=address.port)
            url = f"redis://127.0.0.1:{address.port}"
            store = AsyncRedisStore.from_url(url) if by_url else AsyncRedisStore(client)
            assert await store.get("nothing") is None
            address.target = redis_server.port
            key = new_key()

            version = await acreate(store, key)

            assert await store.get(key) == Entry(b"data", version)
            await store.close()
            await client.aclose()

    asyncio.run(main(True))
    asyncio.run(main(False))


def test_the_other_connections_to_a_demoted_server_are_given_up_too(
    redis_server: RedisServer, replica: RedisServer
) -> None:
    """They would read what is old."""
    with switch(replica.port) as address:
        store = RedisStore.from_url(f"redis://127.0.0.1:{address.port}")
        pool = store._client.connection_pool
        taken = [pool.get_connection() for _ in range(4)]
        for connection in taken:
            pool.release(connection)
        address.target = redis_server.port

        create(store, new_key())

        assert sum(connection.is_connected for connection in taken) == 1
        store.close()


def test_a_server_that_stays_a_replica_is_unavailable(replica: RedisServer) -> None:
    """One more try is made, not more."""
    store = RedisStore.from_url(replica.url)

    with pytest.raises(StoreUnavailable, match="ReadOnlyError"):
        create(store, new_key())

    store.close()


@pytest.mark.parametrize(
    "answer", ["MASTERDOWN Link with MASTER is down", "LOADING Redis is loading the dataset in memory"]
)
@pytest.mark.parametrize("kind", [redis.Redis, Instrumented])
def test_a_server_that_is_not_ready_is_left_for_another(
    redis_server: RedisServer, port_that_answers: Any, answer: str, kind: Any
) -> None:
    """MASTERDOWN and LOADING mean that nothing was read or written."""
    busy = port_that_answers(f"-{answer}\r\n".encode())
    with switch(busy) as address:
        # Without a greeting, which the fake server would refuse.
        client = kind(port=address.port, protocol=2, driver_info=None, retry=None)
        connection = client.connection_pool.get_connection()  # which is healthy, and stays where it is
        client.connection_pool.release(connection)
        address.target = redis_server.port
        store = RedisStore(client)
        key = new_key()

        version = create(store, key)

        assert read(store, key) == Entry(b"data", version)
        client.close()


def test_redis_6_quotes_the_answer_within_that_of_the_script() -> None:
    """It is known there as well."""

    def quoted(text: str) -> redis.ResponseError:
        return redis.ResponseError(f"Error running script (call to f_0): @user_script:2: @user_script: 2: -{text}")

    demoted, full = quoted("READONLY You can't write"), quoted("OOM command not allowed")

    assert [is_elsewhere(demoted), is_full(demoted)] == [True, False]
    assert [is_elsewhere(full), is_full(full)] == [False, True]
    assert [is_elsewhere(redis.ResponseError("WRONGTYPE")), is_elsewhere(TypeError())] == [False, False]


# --- a server without room


def fill(server: RedisServer) -> None:
    """Take the room that is left away, and the scripts that the server knows."""
    with redis.Redis(port=server.port) as client:
        client.script_flush()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")


def test_a_full_server_still_deletes() -> None:
    """What would grow is a StoreFull; DEL and the scripts that delete are carried out, also those that it must be sent."""
    server = RedisServer()
    store = RedisStore.from_url(server.url)
    key, gone = new_key(), new_key()
    version, of_gone = create(store, key, b"data", "alice"), create(store, gone, b"data", "alice")
    fill(server)

    writes: list[Any] = [
        lambda: create(store, new_key(), b"x" * 5000),
        lambda: store.put(key, b"x" * 5000, expires_at=in_an_hour(), if_version=version, subject="alice"),
        lambda: store.rename(key, new_key(), b"", expires_at=in_an_hour(), if_version=version, subject="alice"),
    ]
    for write in writes:
        with pytest.raises(StoreFull, match=f"Redis at 127.0.0.1:{server.port} is full") as raised:
            write()
        assert isinstance(raised.value.__cause__, OutOfMemoryError)
    with pytest.raises(VersionConflict):
        store.delete(key, if_version=of_gone)

    assert store.delete(gone, if_version=of_gone)
    assert list(store.find("alice")) == [key]
    assert store.delete(key)
    assert store.get(key) is None
    store.close()
    server.remove()


# --- calls that are broken off


def test_an_interrupted_call_gives_its_connection_up(redis_server: RedisServer, store: RedisStore) -> None:
    """The answer that is still to come is not the next caller's."""
    mine, other = new_key(), new_key()
    create(store, mine, b"mine")
    create(store, other, b"other")

    with redis_server.frozen():
        assert interrupted(lambda: store.get(other))

    assert read(store, mine).data == b"mine"


def test_a_call_interrupted_before_it_reads_gives_its_connection_up(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the command and its answer redis-py itself would keep the connection."""
    mine, other = new_key(), new_key()
    create(store, mine, b"mine")
    create(store, other, b"other")

    def interrupt(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        raise Interrupted

    monkeypatch.setattr(Connection, "read_response", interrupt)
    with pytest.raises(Interrupted):
        store.get(other)

    assert not any(each.is_connected for each in store._client.connection_pool._available_connections)
    assert read(store, mine).data == b"mine"


@pytest.mark.parametrize("error", [TypeError, RuntimeError, ValueError, AttributeError, IndexError])
def test_an_error_that_is_none_of_redis_py_is_unavailable(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """And the connection is given up, whose state nobody knows."""
    key = new_key()
    create(store, key)

    def fail(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(Connection, "read_response", fail)
    with pytest.raises(StoreUnavailable, match=rf"^Redis at \S+ cannot be used: {error.__name__}$"):
        store.get(key)

    assert read(store, key).data == b"data"


def test_an_error_that_the_server_answers_is_unavailable_and_keeps_the_connection(redis_server: RedisServer) -> None:
    """It was the answer: the next call is made on the same connection; async."""

    async def main() -> None:
        store = AsyncRedisStore.from_url(redis_server.url)
        key = new_key()
        await store._client.rpush(f"hardtack:{key}", "x")
        with pytest.raises(StoreUnavailable, match="ResponseError"):
            await store.get(key)
        assert [each.is_connected for each in store._client.connection_pool._available_connections] == [True]
        await store.close()

    asyncio.run(main())


def test_a_cancelled_call_gives_its_connection_up(redis_server: RedisServer) -> None:
    """The same, async."""

    async def main() -> bytes:
        store = AsyncRedisStore.from_url(redis_server.url)
        mine, other = new_key(), new_key()
        await acreate(store, mine, b"mine")
        await acreate(store, other, b"other")
        with redis_server.frozen(), pytest.raises(TimeoutError):
            await asyncio.wait_for(store.get(other), 0.1)
        entry = await store.get(mine)
        await store.close()
        assert entry is not None
        return entry.data

    assert asyncio.run(main()) == b"mine"


# --- a server that hangs


def test_a_server_that_hangs_is_left_alone_for_a_moment(redis_server: RedisServer) -> None:
    """After some timeouts in a row calls fail at once; when it answers again, one call finds out."""
    changes: list[bool] = []
    breaker = Breaker(timeouts=2, pause=2, on_change=changes.append)
    client = redis.Redis(port=redis_server.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
    store = RedisStore(client, breaker=breaker)
    store.get("key")

    with redis_server.frozen():
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="TimeoutError"):
                store.get("key")
        for _ in range(50):  # which would take 15 s, and not say this for longer than the pause, if each asked
            with pytest.raises(StoreUnavailable, match="is left alone for a moment"):
                store.get("key")
    time.sleep(2)

    assert store.get("key") is None
    assert changes == [True, False]
    client.close()


@pytest.mark.parametrize(("option", "refused"), [("&breaker=2", True), ("&breaker=0", False)])
def test_the_url_says_when_a_server_is_left_alone(redis_server: RedisServer, option: str, refused: bool) -> None:
    """Or that it never is; async."""

    async def main() -> bool:
        store = AsyncRedisStore.from_url(f"{redis_server.url}?socket_timeout=0.3{option}", breaker=1)
        await store.get("key")
        errors = []
        with redis_server.frozen():
            for _ in range(3):
                with pytest.raises(StoreUnavailable) as raised:
                    await store.get("key")
                errors.append("left alone" in str(raised.value))
        await store.close()
        assert errors[:2] == [False, False]
        return errors[2]

    assert asyncio.run(main()) is refused


# --- event loops


@pytest.mark.parametrize("kind", ["url", "given", "single", "blocking", "sentinel", "cluster"])
def test_an_async_store_works_in_one_event_loop_after_another(
    request: pytest.FixtureRequest, redis_server: RedisServer, kind: str
) -> None:
    """A test client has one for each request; the connections of those that are closed leave no warning."""
    sentinel = cluster = None
    if kind == "sentinel":
        sentinel = SentinelServer(redis_server)
        make: Any = AsyncSentinel
        client: Any = make([(sentinel.host, sentinel.port)], socket_timeout=5).master_for("main", socket_timeout=5)
    elif kind == "single":
        client = redis.asyncio.Redis(port=redis_server.port, single_connection_client=True)
    elif kind == "blocking":
        pool = redis.asyncio.BlockingConnectionPool(port=redis_server.port, timeout=3)
        client = redis.asyncio.Redis(connection_pool=pool)
    else:
        client = redis.asyncio.Redis(port=redis_server.port)
    if kind == "cluster":
        cluster = RedisCluster()
    url = redis_server.url if cluster is None else cluster.url
    store = AsyncRedisStore.from_url(url) if kind in ("url", "cluster") else AsyncRedisStore(client)
    key = new_key()

    async def read_and_write() -> bool:
        before = await store.get(key)
        await store.put(
            key, b"", expires_at=in_an_hour(), if_version=None if before is None else before.version, subject=None
        )
        return before is None

    assert [asyncio.run(read_and_write()) for _ in range(4)] == [True, False, False, False]
    asyncio.run(store.close())
    gc.collect()
    for server in (sentinel, cluster):
        if server is not None:
            server.remove()


def test_two_event_loops_at_once_have_connections_of_their_own(redis_server: RedisServer) -> None:
    """Each keeps its own while the other runs."""
    store = AsyncRedisStore.from_url(redis_server.url)
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()

    for _ in range(3):
        for loop in (one, two):
            assert loop.run_until_complete(store.get("key")) is None

    callers = [caller.client.connection_pool for caller in store._callers._clients.values()]
    assert len(callers) == 2
    for loop in (one, two):
        loop.run_until_complete(store.close())
        loop.close()


def test_a_given_client_of_a_cluster_is_for_one_event_loop() -> None:
    """Its settings cannot be had again: the error says what to do."""
    cluster = RedisCluster()
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    store = AsyncRedisStore(client)

    async def use(close: bool) -> None:
        try:
            await store.get("key")
        finally:
            if close:
                await client.aclose()

    asyncio.run(use(True))

    with pytest.raises(StoreError, match=r"of another process or event loop; .*from_url"):
        asyncio.run(use(False))
    cluster.remove()


def test_without_asyncio_an_async_store_says_so(redis_server: RedisServer) -> None:
    """As under trio."""
    store = AsyncRedisStore.from_url(redis_server.url)
    steps = store.get("key")

    with pytest.raises(StoreError, match="no event loop of asyncio is running"):
        steps.send(None)

"""RedisStore and AsyncRedisStore: the contract on a server, behind Sentinel and on a Cluster, round trips, and failures."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.crc import key_slot
from redis.sentinel import Sentinel
from tests.servers import RedisCluster, RedisServer, SentinelServer

from hardtack.errors import ConfigError, StoreError, StoreUnavailable
from hardtack.protocols import Entry, Tombstone, VersionConflict
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.testing import AsyncStoreContract, FindsContract, RenamesContract, StoreContract
from hardtack.testing.stores import create, in_an_hour, new_key, read


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """A client of the server, to look behind the store."""
    with redis.Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    """A store on the server."""
    store = RedisStore.from_url(redis_server.url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters."""
    cluster = RedisCluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="class")
def sentinel(redis_server: RedisServer) -> Iterator[SentinelServer]:
    """A Sentinel for the server, stopped after its class: what it asks the server would be counted as a store's."""
    sentinel = SentinelServer(redis_server)
    yield sentinel
    sentinel.remove()


class TestRedisStore(StoreContract, RenamesContract, FindsContract):
    """The contract."""

    @pytest.fixture
    def store(self, redis_server: RedisServer) -> Iterator[RedisStore]:
        """A store with a client of its own."""
        store = RedisStore.from_url(redis_server.url)
        yield store
        store.close()

    @pytest.fixture
    def break_store(self, redis_server: RedisServer) -> Any:
        """The server is stopped."""
        return redis_server.gone


class TestRedisStoreOnADecodingClient(StoreContract, RenamesContract, FindsContract):
    """The contract, on a client of the application that decodes what it is answered."""

    @pytest.fixture
    def store(self, redis_server: RedisServer) -> Iterator[RedisStore]:
        """A store on a client made with decode_responses=True."""
        with redis.Redis(port=redis_server.port, decode_responses=True) as client:
            yield RedisStore(client, prefix="decoding:")


class TestRedisStoreBehindSentinel(StoreContract, RenamesContract, FindsContract):
    """The contract, on a client that asks a Sentinel for the master."""

    @pytest.fixture
    def store(self, sentinel: SentinelServer) -> Iterator[RedisStore]:
        """A store on the client of a master."""
        make: Any = Sentinel
        sentinels = make([(sentinel.host, sentinel.port)], socket_timeout=5)
        client = sentinels.master_for("main", socket_timeout=5)
        yield RedisStore(client, prefix="sentinel:")
        client.close()
        for known in sentinels.sentinels:
            known.close()


class TestRedisStoreOnAClusterInOneSlot(StoreContract, RenamesContract, FindsContract):
    """The contract, on a Cluster with a hash tag: everything is in one slot, and can be renamed."""

    @pytest.fixture
    def store(self, redis_cluster: RedisCluster) -> Iterator[RedisStore]:
        """A store whose prefix is a hash tag."""
        store = RedisStore.from_url(redis_cluster.url, prefix="{hardtack}:")
        yield store
        store.close()


class _WithoutRename:
    """The capability tests of a Cluster: `rename` is there and says that it cannot."""

    def test_every_capability_of_the_store_is_tested(self, tested_store: Any) -> None:
        """Rename is tested here."""
        old, new = _keys_of_two_slots()
        version = create(tested_store, old)

        with pytest.raises(NotImplementedError, match="two slots"):
            tested_store.rename(old, new, b"", expires_at=in_an_hour(), if_version=version, subject=None)

        assert read(tested_store, old) == Entry(b"data", version)

    def test_find_follows_a_rename(self, tested_store: Any) -> None:
        """There is none to follow: the engine creates and deletes."""
        old, new = _keys_of_two_slots()
        subject = new_key()
        version = create(tested_store, old, b"data", subject)

        create(tested_store, new, b"data", subject)
        tested_store.delete(old, if_version=version)

        assert list(tested_store.find(subject)) == [new]


class TestRedisStoreOnACluster(_WithoutRename, StoreContract, FindsContract):
    """The contract, on a Cluster whose nodes share the sessions."""

    @pytest.fixture
    def store(self, redis_cluster: RedisCluster) -> Iterator[RedisStore]:
        """A store on the Cluster."""
        store = RedisStore.from_url(redis_cluster.url)
        yield store
        store.close()


class TestAsyncRedisStore(AsyncStoreContract, RenamesContract, FindsContract):
    """The contract, async."""

    @pytest.fixture
    def store(self, redis_server: RedisServer) -> AsyncRedisStore:
        """A store with a client of its own."""
        return AsyncRedisStore.from_url(redis_server.url)

    @pytest.fixture
    def break_store(self, redis_server: RedisServer) -> Any:
        """The server is stopped."""
        return redis_server.gone


class TestAsyncRedisStoreOnACluster(_WithoutRename, AsyncStoreContract, FindsContract):
    """The contract, async, on a Cluster."""

    @pytest.fixture
    def store(self, redis_cluster: RedisCluster) -> AsyncRedisStore:
        """A store on the Cluster."""
        return AsyncRedisStore.from_url(redis_cluster.url)


def _keys_of_two_slots() -> tuple[str, str]:
    old = new_key()
    while True:
        new = new_key()
        if key_slot(f"hardtack:{old}".encode()) != key_slot(f"hardtack:{new}".encode()):
            return old, new


def counted(client: Any, action: Callable[[], Any]) -> dict[str, int]:
    """The commands that were sent while `action` ran, by MONITOR: lines of scripts are marked `lua`."""
    sent: dict[str, int] = {}
    with client.monitor() as monitor:
        action()
        client.echo("the end")
        for line in monitor.listen():
            name = line["command"].split()[0].upper()
            if name == "ECHO":
                return sent
            if line["client_type"] != "lua" and name not in ("HELLO", "CLIENT"):  # a new connection
                sent[name] = sent.get(name, 0) + 1
    return sent


def test_a_read_and_a_write_are_one_round_trip_each(store: RedisStore, client: Any) -> None:
    """One GET to read; one EVALSHA to create, to save, to rename and to delete under a version, subject and all."""
    create(store, new_key(), b"data", "alice")  # the script is loaded, and the memory policy looked at
    old, new = new_key(), new_key()
    version = create(store, old, b"data", "alice")
    store.delete(new_key(), if_version=version)
    renaming: dict[str, Any] = {"expires_at": in_an_hour(), "subject": "alice"}

    reading = counted(client, lambda: store.get(old))
    creating = counted(client, lambda: create(store, new_key(), b"data", "alice"))
    saving = counted(client, lambda: store.put(old, b"", if_version=version, **renaming))
    version = read(store, old).version
    store.rename(old, new, b"", if_version=version, **renaming)
    version = read(store, new).version
    moving = counted(client, lambda: store.rename(new, old, b"", if_version=version, **renaming))
    deleting = counted(client, lambda: store.delete(new_key(), if_version=version))

    assert reading == {"GET": 1}
    assert [creating, saving, moving, deleting] == [{"EVALSHA": 1}] * 4


def test_a_script_is_sent_again_when_the_server_forgot_it(store: RedisStore, client: Any) -> None:
    """A restarted server knows no scripts: the store sends the source once, and nobody notices."""
    create(store, new_key())
    client.script_flush()

    first = counted(client, lambda: create(store, new_key()))
    second = counted(client, lambda: create(store, new_key()))

    assert first == {"EVALSHA": 1, "EVAL": 1}
    assert second == {"EVALSHA": 1}


def test_a_command_that_is_sent_twice_is_no_conflict(store: RedisStore) -> None:
    """redis-py repeats a command whose answer was lost: the second time finds its own work."""
    caller = store._callers.here()
    real = caller.call
    caller.call = lambda *command: [real(*command), real(*command)][1]
    old, new = new_key(), new_key()

    version = create(store, old)
    renamed = store.rename(old, new, b"new", expires_at=in_an_hour(), if_version=version, subject=None)

    assert read(store, new) == Entry(b"new", renamed)


def test_the_server_forgets_what_expired(store: RedisStore, client: Any) -> None:
    """The entry and the subject's set have a TTL of the server."""
    key, subject = new_key(), new_key()
    before = set(client.keys())
    expires_at = int(time.time()) + 100

    store.put(key, b"data", expires_at=expires_at, if_version=None, subject=subject)

    made = set(client.keys()) - before
    assert len(made) == 2
    assert [client.expiretime(name) for name in made] == [expires_at] * 2


def test_the_subjects_set_lives_as_long_as_its_longest_session(store: RedisStore, client: Any) -> None:
    """A short session does not take the longer ones with it, and expired keys leave the set."""
    subject = new_key()
    before = set(client.keys())
    now = int(time.time())
    for seconds in (1, 5000, 100):
        store.put(new_key(), b"", expires_at=now + seconds, if_version=None, subject=subject)
    time.sleep(1.1)
    store.put(new_key(), b"", expires_at=now + 50, if_version=None, subject=subject)

    (index,) = (name for name in set(client.keys()) - before if b"subject:" in name)
    assert client.expiretime(index) == now + 5000
    assert client.zcard(index) == 3


def test_a_save_that_changes_nothing_of_the_subjects_set_leaves_it_alone(store: RedisStore, client: Any) -> None:
    """One that ends later, or comes after the key was lost from the set, does."""
    key, subject = new_key(), new_key()
    later = in_an_hour() + 100
    version = store.put(key, b"", expires_at=later, if_version=None, subject=subject)
    client.zadd(index_of(subject), {"expired": 1})

    version = store.put(key, b"other", expires_at=later, if_version=version, subject=subject)
    assert client.zrange(index_of(subject), 0, -1) == [b"expired", key.encode()]

    version = store.put(key, b"other", expires_at=later + 5, if_version=version, subject=subject)
    assert client.zrange(index_of(subject), 0, -1, withscores=True) == [(key.encode(), later + 5)]
    assert client.expiretime(index_of(subject)) == later + 5

    client.zrem(index_of(subject), key)
    store.put(key, b"other", expires_at=later + 5, if_version=version, subject=subject)
    assert list(store.find(subject)) == [key]


@pytest.mark.parametrize("expires_at", [1, 0, -5])
def test_an_entry_that_has_expired_already_is_none(store: RedisStore, expires_at: int) -> None:
    """Also by a time that SET refuses: as on a Redis that has no EXAT, it is set by a command of its own."""
    key, subject = new_key(), new_key()
    version = create(store, key, b"data", subject)

    store.put(key, b"gone", expires_at=expires_at, if_version=version, subject=subject)

    assert store.get(key) is None
    assert list(store.find(subject)) == []


def index_of(subject: str) -> bytes:
    """The name of a subject's set, under the store's usual prefix."""
    return b"hardtack:subject:" + hashlib.sha256(subject.encode()).hexdigest().encode()


def test_a_session_that_changes_its_key_leaves_nothing_in_the_subjects_set(store: RedisStore, client: Any) -> None:
    """The set would grow with every `regenerate` until the first of its keys expires."""
    subject = new_key()
    key = new_key()
    version = create(store, key, b"data", subject)

    for _ in range(3):
        key, old = new_key(), key
        version = store.rename(old, key, b"", expires_at=in_an_hour(), if_version=version, subject=subject)

    assert client.zrange(index_of(subject), 0, -1) == [key.encode()]


@pytest.mark.parametrize("where", ["redis_server", "redis_cluster"])
def test_find_forgets_the_keys_that_are_no_longer_the_subjects(
    request: pytest.FixtureRequest, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of sessions that ended, or went to another subject; in several steps where there are many."""
    monkeypatch.setattr("hardtack.stores.redis._BATCH", 2)
    store = RedisStore.from_url(request.getfixturevalue(where).url, prefix="{hardtack}:")
    subject = new_key()
    kept, given = new_key(), new_key()
    create(store, kept, b"data", subject)
    version = create(store, given, b"data", subject)
    store.put(given, b"", expires_at=in_an_hour(), if_version=version, subject="another")
    for _ in range(4):
        ended = new_key()
        create(store, ended, b"data", subject)
        store.delete(ended)
    index = b"{hardtack}:" + index_of(subject).removeprefix(b"hardtack:")
    before = store._client.zcard(index)

    found = list(store.find(subject))

    assert (before, found) == (6, [kept])
    assert store._client.zrange(index, 0, -1) == [kept.encode()]
    store.close()


def test_find_forgets_no_key_that_was_written_meanwhile(store: RedisStore, client: Any) -> None:
    """Between the look at the entry and the script, another request may write it."""
    subject, key = new_key(), new_key()
    create(store, key, b"data", subject)
    store.delete(key)
    caller = store._callers.here()
    real = caller.call

    def late(*command: Any) -> Any:
        if command[0] == "EVALSHA":
            caller.call = real
            create(store, key, b"data", subject)
        return real(*command)

    caller.call = late

    assert list(store.find(subject)) == []
    assert list(store.find(subject)) == [key]


def test_find_need_not_be_allowed_to_forget(store: RedisStore, client: Any, redis_server: RedisServer) -> None:
    """Under an ACL from before, what was asked for is found all the same."""
    subject, key, ended = new_key(), new_key(), new_key()
    create(store, key, b"data", subject)
    create(store, ended, b"data", subject)
    store.delete(ended)
    client.acl_setuser("finder", enabled=True, nopass=True, keys=["*"], commands=["+zrange", "+getrange"])

    limited = RedisStore.from_url(f"redis://finder:any@127.0.0.1:{redis_server.port}/0")

    assert list(limited.find(subject)) == [key]
    assert client.zcard(index_of(subject)) == 2
    limited.close()
    client.acl_deluser("finder")


def test_a_cluster_keeps_the_keys_whose_entry_may_be_about_to_come(redis_cluster: RedisCluster) -> None:
    """The subject's set is in another slot, and is written before the entry."""
    store = RedisStore.from_url(redis_cluster.url)
    subject = new_key()
    for _ in range(8):
        ended = new_key()
        create(store, ended, b"data", subject)
        store.delete(ended)

    assert list(store.find(subject)) == []
    assert store._client.zcard(index_of(subject)) == 8
    store.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_a_policy_that_drops_sessions_is_warned_of_once(
    redis_server: RedisServer, client: Any, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    """The first write asks, later ones do not."""
    with closing(RedisStore.from_url(redis_server.url)) as other:
        create(other, new_key())  # the server knows the script then
    store = RedisStore.from_url(redis_server.url)
    client.config_set("maxmemory-policy", policy)

    with caplog.at_level(logging.WARNING, "hardtack"):
        first = counted(client, lambda: create(store, new_key()))
        second = counted(client, lambda: create(store, new_key()))
    client.config_set("maxmemory-policy", "noeviction")
    store.close()

    assert first == {"EVALSHA": 1, "INFO": 1}
    assert second == {"EVALSHA": 1}
    said = f"Redis at 127.0.0.1:{redis_server.port} has maxmemory-policy {policy}: "
    assert [record.message[: len(said)] for record in caplog.records] == [said]


def test_without_eviction_there_is_no_warning(store: RedisStore, caplog: pytest.LogCaptureFixture) -> None:
    """The default policy says nothing."""
    with caplog.at_level(logging.WARNING, "hardtack"):
        create(store, new_key())

    assert not caplog.records


def test_info_may_be_forbidden(redis_server: RedisServer, client: Any) -> None:
    """A user who may just read and write sessions is enough."""
    client.acl_setuser(
        "app",
        enabled=True,
        nopass=True,
        keys=["hardtack:*"],
        commands=["+get", "+evalsha", "+eval", "+set", "+getrange", "+expireat"],
    )
    store = RedisStore.from_url(f"redis://app:any@127.0.0.1:{redis_server.port}/0")
    key = new_key()

    version = create(store, key)

    assert read(store, key) == Entry(b"data", version)
    store.close()
    client.acl_deluser("app")


def test_a_foreign_value_under_a_key_can_be_replaced(store: RedisStore, client: Any) -> None:
    """Something too short to be ours is an entry of no data, not an error for ever."""
    key = new_key()
    client.set(f"hardtack:{key}", "x")

    entry = read(store, key)
    version = store.put(key, b"new", expires_at=in_an_hour(), if_version=entry.version, subject=None)

    assert entry.data == b""
    assert read(store, key) == Entry(b"new", version)


def test_a_value_of_another_type_is_unavailable(store: RedisStore, client: Any) -> None:
    """An error that the server answers is a StoreUnavailable that quotes no command."""
    key = new_key()
    client.rpush(f"hardtack:{key}", "x")

    with pytest.raises(
        StoreUnavailable, match=r"^Redis at 127\.0\.0\.1:\d+ cannot be used: ResponseError \(WRONGTYPE\)$"
    ) as raised:
        create(store, key, b"secret")

    assert isinstance(raised.value.__cause__, redis.ResponseError)


@pytest.mark.parametrize("answer", [5, [b"x"], "text"])
def test_an_answer_of_the_wrong_kind_is_unavailable(store: RedisStore, answer: Any) -> None:
    """A proxy that answers something else is not taken for Redis."""
    store._callers.here().call = lambda *command: answer

    with pytest.raises(StoreUnavailable, match="Redis answered a GET"):
        store.get("key")
    with pytest.raises(StoreUnavailable, match="Redis answered a script"):
        create(store, "key")


def test_a_broken_server_is_unavailable(broken_port: int) -> None:
    """Refused, hanging, nonsense, hung up: StoreUnavailable from the cause, in time, and without the password."""
    store = RedisStore.from_url(
        f"redis://:hunter2@127.0.0.1:{broken_port}/0?socket_timeout=0.3&socket_connect_timeout=0.3"
    )
    started = time.monotonic()

    for attempt in (lambda: store.get("key"), lambda: create(store, "key"), lambda: store.delete("key")):
        with pytest.raises(StoreUnavailable) as raised:
            attempt()
        assert raised.value.__cause__ is not None
        assert "hunter2" not in str(raised.value)

    assert time.monotonic() - started < 9
    store.close()


def test_a_broken_server_is_unavailable_to_async_callers(broken_port: int) -> None:
    """The same, async."""

    async def main() -> None:
        store = AsyncRedisStore.from_url(
            f"redis://127.0.0.1:{broken_port}/0?socket_timeout=0.3&socket_connect_timeout=0.3"
        )
        with pytest.raises(StoreUnavailable):
            await store.get("key")
        await store.close()

    started = time.monotonic()
    asyncio.run(main())

    assert time.monotonic() - started < 9


def test_a_broken_cluster_is_unavailable(refusing_port: int) -> None:
    """A Cluster is asked for its nodes when the store is made."""
    with pytest.raises(StoreUnavailable, match="RedisClusterException"):
        RedisStore.from_url(f"redis+cluster://127.0.0.1:{refusing_port}")


@pytest.mark.program("redis")
def test_a_server_that_comes_back_is_used_again() -> None:
    """After a restart the first call works: the connection that broke is replaced."""
    server = RedisServer()
    store = RedisStore.from_url(server.url)
    create(store, new_key())

    server.stop()
    with pytest.raises(StoreUnavailable):
        store.get("key")
    server.start()
    create(store, new_key())
    server.stop()
    server.start()
    create(store, new_key())

    store.close()
    server.remove()


def test_a_server_that_loads_or_only_reads_is_unavailable(redis_server: RedisServer) -> None:
    """READONLY, which a replica answers to writes after a failover."""
    replica = RedisServer()
    with redis.Redis(port=replica.port) as client:
        client.replicaof("127.0.0.1", str(redis_server.port))
    store = RedisStore.from_url(replica.url)

    with pytest.raises(StoreUnavailable, match=r"ReadOnlyError|ResponseError"):
        create(store, new_key())

    store.close()
    replica.remove()


def test_a_client_of_the_application_stays_open(client: Any) -> None:
    """`close` closes what the store made, and nothing else."""
    RedisStore(client).close()

    assert client.ping()


def test_an_async_client_of_the_application_stays_open(redis_server: RedisServer) -> None:
    """The same, async."""

    async def main() -> bool:
        async with redis.asyncio.Redis(port=redis_server.port) as client:
            await client.ping()
            await AsyncRedisStore(client).close()
            return bool(client.connection_pool._available_connections)

    assert asyncio.run(main())


@pytest.mark.parametrize("url", ["redis://:hunter2@host:port/0", "redis://:part?hunter2@host"])
def test_a_url_that_cannot_be_read_is_a_config_error_without_its_password(url: str) -> None:
    """The message says what a URL looks like."""
    with pytest.raises(ConfigError, match=r"redis://user:password@host:6379/0|unknown") as raised:
        RedisStore.from_url(url)

    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_conflicts_on_a_cluster_leave_no_session_with_another_subject(redis_cluster: RedisCluster) -> None:
    """The subject's set is written before the entry there: `find` does not believe it."""
    store = RedisStore.from_url(redis_cluster.url)
    key, subject = new_key(), new_key()
    create(store, key)

    with pytest.raises(VersionConflict):
        create(store, key, b"", subject)

    assert list(store.find(subject)) == []
    store.close()


@pytest.mark.parametrize(
    ("kind", "client", "advice"),
    [
        (RedisStore, "redis://:hunter2@localhost", r"RedisStore\.from_url\(url\)"),
        (AsyncRedisStore, b"redis://:hunter2@localhost", r"AsyncRedisStore\.from_url\(url\)"),
        (RedisStore, None, r"client is of type NoneType; RedisStore takes a redis\.Redis"),
        (AsyncRedisStore, 5, r"client is of type int; AsyncRedisStore takes a redis\.asyncio\.Redis"),
        (RedisStore, redis.asyncio.Redis(), "use AsyncRedisStore"),
        (AsyncRedisStore, redis.Redis(), "use RedisStore"),
    ],
)
def test_a_client_of_another_kind_is_refused(kind: Any, client: Any, advice: str) -> None:
    """When the store is made, and not by the first request."""
    with pytest.raises(ConfigError, match=advice) as raised:
        kind(client)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("reply", [b":5\r\n", b"+OK\r\n", b"$-1\r\n", b"*0\r\n"])
def test_a_greeting_that_is_none_is_unavailable(port_that_answers: Callable[[bytes], int], reply: bytes) -> None:
    """redis-py takes what comes for a mapping."""
    store = RedisStore.from_url(f"redis://127.0.0.1:{port_that_answers(reply)}?protocol=3")

    with pytest.raises(StoreUnavailable):
        store.get(new_key())
    store.close()


# --- what find and count see


def test_a_session_that_renames_itself_is_found_at_every_moment(store: RedisStore, redis_server: RedisServer) -> None:
    """By its old key or by its new one: the list of a user's sessions never misses it."""
    subject, key = new_key(), new_key()
    version = create(store, key, b"data", subject)
    done = threading.Event()

    def rename_often() -> None:
        nonlocal key, version
        while not done.is_set():
            old, key = key, new_key()
            version = store.rename(
                old,
                key,
                b"data",
                expires_at=in_an_hour(),
                if_version=version,
                subject=subject,
                tombstone=Tombstone(b"gone", in_an_hour()),
            )

    thread = threading.Thread(target=rename_often)
    thread.start()
    try:
        found = [len(list(store.find(subject))) for _ in range(300)]
    finally:
        done.set()
        thread.join()

    assert 0 not in found
    assert list(store.find(subject)) == [key]


def test_a_session_that_moves_on_a_cluster_is_found_at_every_moment(redis_cluster: RedisCluster) -> None:
    """There the engine creates under the new key, and then takes the old one's subject away."""
    store = RedisStore.from_url(redis_cluster.url)
    subject, old = new_key(), new_key()
    version = create(store, old, b"data", subject)
    new = new_key()
    caller = store._callers.here()
    real = caller.call

    def late(*command: Any) -> Any:
        if command[0] == "GETRANGE":  # after the list was read
            caller.call = real
            create(store, new, b"data", subject)
            store.put(old, b"gone", expires_at=in_an_hour(), if_version=version, subject=None)
        return real(*command)

    caller.call = late

    assert list(store.find(subject)) == [new]
    store.close()


def test_count_counts_a_subjects_entries_and_all(client: Any) -> None:
    """Beside keys of others, and with a prefix that has characters of a pattern."""
    store = RedisStore(client, prefix="[c]ount*:")
    other = RedisStore(client, prefix="count:")
    create(other, new_key())
    for subject in ("alice", "alice", None):
        create(store, new_key(), b"data", subject)

    assert [store.count(), store.count("alice"), store.count("bob")] == [3, 2, 0]


def test_count_takes_several_steps_and_has_an_end(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis with more keys than can be looked at is not looked at for ever."""
    monkeypatch.setattr("hardtack.stores.redis._BATCH", 10)
    store = RedisStore.from_url(f"redis://127.0.0.1:{redis_server.port}/9")
    for _ in range(50):
        create(store, new_key())

    assert store.count() == 50
    monkeypatch.setattr("hardtack.stores.redis._COUNT_STEPS", 2)
    with pytest.raises(StoreError, match="this Redis has more than 20 keys"):
        store.count()
    store.close()


def test_count_of_a_cluster_is_that_of_a_subject(redis_cluster: RedisCluster) -> None:
    """All are spread over the nodes."""
    store = RedisStore.from_url(redis_cluster.url)
    subject = new_key()
    create(store, new_key(), b"data", subject)

    assert store.count(subject) == 1
    with pytest.raises(NotImplementedError, match="not counted"):
        store.count()
    store.close()


def test_count_async(redis_server: RedisServer) -> None:
    """The same, async."""

    async def main() -> int:
        store = AsyncRedisStore.from_url(redis_server.url, prefix="async-count:")
        await store.put(new_key(), b"", expires_at=in_an_hour(), if_version=None, subject=None)
        count = await store.count()
        await store.close()
        return count

    assert asyncio.run(main()) == 1

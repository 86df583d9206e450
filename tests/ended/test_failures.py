"""Channels that are stopped, emptied, cut off, torn and written to by others: nobody who was ended comes back unnoticed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
import sqlalchemy as sa
from tests.ended.kit import KEY, OTHER_KEY, eventually, new_id
from tests.servers import MariaDBServer, PostgreSQLServer, PostgreSQLStandby, RedisServer, SentinelServer
from tests.stores.conftest import broken_port, hanging_port, hanging_up_port, nonsense_port, refusing_port
from tests.stores.switch import switch

from hardtack import Keyring, values
from hardtack.ended.channels import file as file_module
from hardtack.ended.channels import open_channel
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.channels.redis import RedisChannel
from hardtack.ended.entries import Codec, Origin, Session
from hardtack.errors import StoreUnavailable
from hardtack.events import ChannelLost, EndsKept, EntriesSkipped, ListFresh, ListStale

__all__ = ["broken_port", "hanging_port", "hanging_up_port", "nonsense_port", "refusing_port"]

Make = Callable[..., Any]
Url = Callable[[str], str]
SECOND = 1_000_000


class Flaky(MemoryChannel):
    """A channel in memory that other processes share, and that can be away."""

    alone = False
    away = False
    broken: Exception | None = None

    def append(self, make: Any, keep: Any) -> None:
        self._check()
        super().append(make, keep)

    def read(self, position: str, wait: float) -> Any:
        self._check()
        return super().read(position, wait)

    def replace(self, origin: bytes, entries: list[bytes]) -> None:
        """Be another channel from one moment to the next: between two steps a process could write its own list back."""
        with self._condition:
            self.empty()
            assert self.reset(None, origin, entries)

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken
        if self.away:
            raise StoreUnavailable("the channel is away")


@pytest.fixture
def flaky(make_list: Make) -> Flaky:
    """Such a channel, created."""
    channel = Flaky()
    make_list(channel).create()
    return channel


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    server = RedisServer()
    yield server
    server.remove()


def is_closed(ended: Any) -> bool:
    """Whether a request with a session gets a 503."""
    try:
        assert ended.ensure_fresh()
    except StoreUnavailable:
        return True
    return False


# --- stopped


@pytest.mark.program("redis")
def test_closed_exactly_after_max_stale_and_open_soon_after(own_redis: RedisServer, make_list: Make) -> None:
    """While Redis is stopped, requests go on for so long, and then get a 503; soon after it is back, they go on."""
    ended = make_list(own_redis.url, max_stale=5)
    ended.create()
    ended.start()
    handle = new_id()
    ended.end_session(handle)

    own_redis.stop()
    stopped = time.monotonic()
    while not is_closed(ended):
        assert ended.check(handle)
        time.sleep(0.05)
    closed_after = time.monotonic() - stopped
    began = time.monotonic()
    assert is_closed(ended)
    refused_in = time.monotonic() - began
    eventually(lambda: ended.told.of(ListStale))
    own_redis.start()

    assert eventually(lambda: not is_closed(ended)) < 5
    assert 4 < closed_after < 8
    assert refused_in < 1  # nobody waits where turns have failed for longer than that
    assert [(type(each).__name__, each.policy) for each in ended.told.of(ListStale)] == [("ListStale", "closed")]
    eventually(lambda: ended.told.of(ListFresh))
    assert ended.check(handle)
    assert ended.draw_time()


def test_open_goes_on_and_says_that_nothing_may_be_renewed(flaky: Flaky, make_list: Make) -> None:
    """With `on_stale="open"`: what was ended before stays so."""
    ended = make_list(flaky, max_stale=5, on_stale="open")
    ended.start()
    handle = new_id()
    ended.end_session(handle)

    flaky.away = True
    ended._max_stale = 0  # as if that time were over
    ended._parts[1]._max_stale = 0

    eventually(lambda: not ended.ensure_fresh())
    assert ended.check(handle)
    assert ended.draw_time() > 0
    eventually(lambda: ended.told.of(ListStale))
    assert ended.told.of(ListStale)[0].policy == "open"


def test_a_list_that_was_never_read_is_stale(make_list: Make, refusing_port: int) -> None:
    """A process that starts without its channel lets nobody in, and tells it after `max_stale`; a start says why."""
    ended = make_list(f"redis://127.0.0.1:{refusing_port}/0")
    ended._max_stale = 0

    with pytest.raises(StoreUnavailable, match="ConnectionError"):
        ended.start(0.3)
    with pytest.raises(StoreUnavailable, match=r"stale: .*ConnectionError"):
        ended.ensure_fresh()
    with pytest.raises(StoreUnavailable, match="ConnectionError"):
        anyio.run(ended.aensure_fresh)
    with pytest.raises(StoreUnavailable):
        ended.draw_time()
    eventually(lambda: ended.told.of(ListStale))
    assert ended.told.of(ListStale)[0].age == -1


def test_a_request_waits_for_the_first_read(flaky: Flaky, make_list: Make) -> None:
    """The first request of a process is not refused because the channel has not been read yet."""
    assert make_list(flaky).ensure_fresh()


def test_a_read_that_takes_too_long(flaky: Flaky, make_list: Make, monkeypatch: Any) -> None:
    """A request does not wait longer than a second, even where nothing has failed."""
    ended = make_list(flaky)

    def slow(position: str, wait: float) -> Any:
        time.sleep(3)
        return MemoryChannel.read(flaky, "", 0)

    monkeypatch.setattr(flaky, "read", slow)
    began = time.monotonic()

    with pytest.raises(StoreUnavailable, match="still being read"):
        ended.ensure_fresh()
    assert time.monotonic() - began < 2.8
    with pytest.raises(StoreUnavailable, match="in time"):
        ended.start(0.1)


def test_an_unknown_fault_stops_nothing(flaky: Flaky, make_list: Make, caplog: Any) -> None:
    """Whatever a channel raises, the next turn is tried; and it is logged."""
    ended = make_list(flaky)
    ended.start()
    flaky.broken = ZeroDivisionError("oops")
    eventually(lambda: ended._parts[1].failure)
    flaky.broken = None
    handle = new_id()

    eventually(lambda: ended._parts[1].failure is None)
    ended.end_session(handle)

    assert ended.check(handle)
    assert "oops" in caplog.text


def test_a_login_while_the_channel_is_away(flaky: Flaky, make_list: Make) -> None:
    """Goes on by the time that is known, as long as the list is not stale; then it is refused."""
    ended = make_list(flaky)
    ended.start()
    before = ended.draw_time()
    flaky.away = True

    assert before < ended.draw_time() < before + 60 * SECOND

    ended._max_stale = 0
    eventually(lambda: is_closed(ended))
    with pytest.raises(StoreUnavailable):
        ended.draw_time()


@pytest.mark.parametrize("name", ["redis", "postgresql", "mysql"])
@pytest.mark.parametrize("problem", ["hanging_port", "nonsense_port", "hanging_up_port"])
def test_a_server_that_misbehaves(name: str, problem: str, request: Any) -> None:
    """Is one that cannot be used, within some seconds, and no password is told."""
    port = request.getfixturevalue(problem)
    driver = {"redis": "redis", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}[name]
    channel = open_channel(f"{driver}://user:hunter2@127.0.0.1:{port}/0", "")
    began = time.monotonic()

    for call in (lambda: channel.read("", 0), lambda: channel.append(lambda now: [], None)):
        with pytest.raises(StoreUnavailable) as error:
            call()
        assert "hunter2" not in str(error.value)

    channel.close()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["redis", "postgresql", "mariadb"])
def test_a_server_that_hangs(name: str, channel_url: Url, request: Any, purpose: str) -> None:
    """One that answered before and does not any more."""
    channel = open_channel(channel_url(name), purpose)
    channel.reset(None, b"origin", [])
    channel.read("", 0)
    began = time.monotonic()

    with frozen(request.getfixturevalue(f"{name}_server")), pytest.raises(StoreUnavailable):
        channel.read("", 0)

    assert time.monotonic() - began < 15
    eventually(lambda: _reads(channel))
    channel.close()


@contextmanager
def frozen(server: Any) -> Iterator[None]:
    """The server hangs, with the processes that it has for each connection, which are of no group of its own."""
    children = Path(f"/proc/{server._process.pid}/task/{server._process.pid}/children").read_text().split()
    with server.frozen():
        for child in children:
            os.kill(int(child), signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                os.kill(int(child), signal.SIGCONT)


def _reads(channel: Any) -> bool:
    try:
        return channel.read("", 0).origin is not None
    except StoreUnavailable:
        return False


# --- what could not be appended


def test_what_could_not_be_appended_is_known_and_kept(flaky: Flaky, make_list: Make) -> None:
    """The caller gets an error; this process refuses at once, and all others when the channel is back."""
    one, two = make_list(flaky), make_list(flaky)
    one.start()
    two.start()
    handle, drawn = new_id(), one.draw_time()
    flaky.away = True

    with pytest.raises(StoreUnavailable):
        one.end_session(handle)
    with pytest.raises(StoreUnavailable):
        one.end_subject("alice")

    assert one.check(handle)
    assert one.check(new_id(), "alice", drawn=drawn)
    assert one.stats().waiting == 2
    assert one.told.of(EndsKept) == [EndsKept(1), EndsKept(2)]
    logged_in = one.draw_time()

    flaky.away = False

    eventually(lambda: two.check(handle))
    eventually(lambda: two.check(new_id(), "alice", drawn=drawn))
    for each in (one, two):  # an end reaches to the time of its call
        assert each.check(new_id(), "alice", drawn=logged_in) is None
    assert one.stats().waiting == 0


def test_an_end_before_anything_was_read(flaky: Flaky, make_list: Make) -> None:
    """Gets the channel's time when the channel is there; until then this machine's."""
    ended = make_list(flaky)
    flaky.away = True
    with pytest.raises(StoreUnavailable):
        ended.end_subject("alice")
    assert ended.check(new_id(), "alice", drawn=1)

    flaky.away = False
    ended.start()

    other = make_list(flaky)
    other.start()
    eventually(lambda: other.check(new_id(), "alice", drawn=1))


def test_not_more_is_kept_than_fits(flaky: Flaky, make_list: Make, monkeypatch: Any) -> None:
    """The oldest are given up, and that is told; here they stay known."""
    monkeypatch.setattr("hardtack.ended.follower.MAX_WAITING", 3)
    ended = make_list(flaky)
    ended.start()
    flaky.away = True
    ids = [new_id() for _ in range(5)]

    for handle in ids:
        with pytest.raises(StoreUnavailable):
            ended.end_session(handle)

    assert ended.told.of(EndsKept)[-1] == EndsKept(3, lost=1)
    assert all(map(ended.check, ids))


def test_what_is_kept_may_fail_again(flaky: Flaky, make_list: Make, monkeypatch: Any) -> None:
    """A server that can be read and not be written to: it is kept on, and nothing counts as fresh."""
    ended = make_list(flaky)
    handle = new_id()
    real = flaky.append
    full = StoreUnavailable("the disk is full")
    monkeypatch.setattr(flaky, "append", lambda make, keep: (_ for _ in ()).throw(full))

    with pytest.raises(StoreUnavailable, match="disk is full"):
        ended.end_session(handle)
    assert is_closed(ended)
    monkeypatch.setattr(flaky, "append", real)

    eventually(lambda: not is_closed(ended))
    assert ended.stats().waiting == 0


# --- lost


def empty_redis(url: str, purpose: str) -> None:
    """FLUSHALL."""
    with redis.Redis.from_url(url) as client:
        client.flushall()


def drop_tables(url: str, purpose: str) -> None:
    """The tables of this purpose are gone."""
    channel: Any = open_channel(url, purpose)
    channel._metadata.drop_all(channel._engine)
    channel.close()


def delete_file(url: str, purpose: str) -> None:
    """The file is gone. SQLite's log goes first, or it might be that of a file which a process has made anew by then."""
    path = Path("/" + url.partition(":///")[2].lstrip("/"))
    for each in sorted(path.parent.glob(f"{path.name}*"), reverse=True):
        if each.suffix != ".lock":
            each.unlink(missing_ok=True)  # who closes a database last removes its log


LOSSES = {
    "redis": empty_redis,
    "postgresql": drop_tables,
    "mariadb": drop_tables,
    "sqlite": delete_file,
    "file": delete_file,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_lost_channel_is_written_back(name: str, channel_url: Url, make_list: Make, purpose: str) -> None:
    """By one of the processes that have the list, whole; a new process then knows all that was ended."""
    url = channel_url(name)
    lists = [make_list(url, max_stale=30) for _ in range(3)]
    lists[0].create()
    for each in lists:
        each.start()
    ids = [new_id() for _ in range(100)]
    drawn = lists[0].draw_time()
    for number, handle in enumerate(ids):
        lists[number % 3].end_session(handle, "changed" if number % 2 else "ended", "alice")
    lists[0].end_subject("bob", keep=ids[0])
    lists[1].end_provider("op", "1")
    lists[2].end_everything()
    eventually(lambda: all(each.stats()[:3] == (100, 1, 1) and each.check(new_id()) for each in lists))

    LOSSES[name](url, purpose)

    eventually(lambda: any(each.told.of(ChannelLost) for each in lists))
    assert [event.restored for each in lists for event in each.told.of(ChannelLost)] == [True]
    new = make_list(url)
    new.start()
    assert all(new.check(handle, "alice") for handle in ids)
    assert new.check(new_id(), "bob", drawn=drawn).cause == "all"
    assert new.stats()[:3] == (100, 1, 1)
    for each in lists:
        assert each.draw_time()
        assert each.ensure_fresh()
    later = new_id()
    new.end_session(later)
    eventually(lambda: all(each.check(later) for each in lists))


@pytest.mark.parametrize("name", ["file", "sqlite", "redis"])
def test_a_process_without_the_list_is_stale(name: str, channel_url: Url, make_list: Make, purpose: str) -> None:
    """An empty channel does not mean that nobody was ended: it says how to create one, and tells it once."""
    ended = make_list(channel_url(name))

    with pytest.raises(StoreUnavailable, match="hardtack ended URL --create"):
        ended.start(0.5)
    assert is_closed(ended)
    assert ended.told.of(ChannelLost) == [ChannelLost(restored=False)]

    assert ended.create()
    assert not make_list(channel_url(name)).create()

    eventually(lambda: not is_closed(ended))


@pytest.mark.program("redis")
def test_redis_without_its_stream_has_no_identity(channel_url: Url, make_list: Make, purpose: str) -> None:
    """One of two keys may be evicted: the other must not vouch for it."""
    url = channel_url("redis")
    ended = make_list(url)
    ended.create()
    ended.start()
    handle = new_id()
    ended.end_session(handle)
    channel: Any = open_channel(url, purpose)

    with redis.Redis.from_url(url) as client:
        client.delete(channel.stream)

    eventually(lambda: ended.told.of(ChannelLost))
    new = make_list(url)
    new.start()
    assert new.check(handle)
    channel.close()


@pytest.mark.program("redis")
def test_a_restore_that_nobody_finished(channel_url: Url, purpose: str) -> None:
    """Its lock ends by itself; until then nobody else begins, and it cannot be finished by who has lost it."""
    channel: Any = open_channel(channel_url("redis"), purpose)

    def stolen() -> Iterator[bytes]:
        with redis.Redis.from_url(channel_url("redis")) as client:
            assert 0 < client.ttl(channel._lock) <= 60
            assert not channel.reset(None, b"other", [])
            client.delete(channel._lock)
        yield b"entry"

    assert not channel.reset(None, b"origin", stolen())
    assert channel.read("", 0).origin is None
    channel.close()


def test_another_channel_in_the_place_of_the_one_before(flaky: Flaky, make_list: Make) -> None:
    """What was ended stays ended, what the new one has is read, and what this process appended just now is told there too."""
    ended, handle, other_id = make_list(flaky), new_id(), new_id()
    ended.start()
    ended.end_session(handle)

    codec = ended._get_codec()
    flaky.replace(codec.seal(_origin()), [codec.seal(Session(1, other_id[:8]))])

    eventually(lambda: ended.check(other_id))
    assert ended.check(handle)
    new = make_list(flaky)
    new.start()
    eventually(lambda: new.check(handle))


def _origin() -> Origin:
    return Origin(time.time_ns() // 1000, os.urandom(16))


def test_what_was_appended_long_ago_is_not_kept(flaky: Flaky, make_list: Make, monkeypatch: Any) -> None:
    """A replica that took over had it by then."""
    monkeypatch.setattr("hardtack.ended.follower.RECENT", 0)
    ended = make_list(flaky)
    ended.start()

    ended.end_session(new_id())

    eventually(lambda: not ended._parts[0]._recent)


def test_a_channel_of_another_key_lets_nobody_in(flaky: Flaky, make_list: Make) -> None:
    """With a wrong key every entry would be skipped, and nobody ended: fail closed, and leave the channel alone."""
    before = flaky.read("", 0)

    ended = make_list(flaky, key=OTHER_KEY)

    with pytest.raises(StoreUnavailable, match="another key"):
        ended.start(0.2)
    assert EntriesSkipped("origin", 1) in ended.told
    assert flaky.read("", 0)[:2] == before[:2]


def test_an_identity_that_is_none(flaky: Flaky, make_list: Make, purpose: str) -> None:
    """An entry of another kind in its place was not made by hardtack."""
    codec = Codec(Keyring(KEY), purpose)
    flaky.reset(flaky.read("", 0).origin, codec.seal(Session(1, b"12345678")), [])

    with pytest.raises(StoreUnavailable, match="another key"):
        make_list(flaky).start(0.2)


# --- cut off


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A Redis and its replica, in step."""
    master, replica = RedisServer(), RedisServer()
    with redis.Redis.from_url(replica.url) as client:
        client.replicaof(master.host, master.port)
        eventually(lambda: client.info("replication")["master_link_status"] == "up")
    yield master, replica
    master.remove()
    replica.remove()


@pytest.mark.program("redis")
def test_the_follower_of_a_replica_is_stale(pair: Any, make_list: Make, purpose: str) -> None:
    """It answers, and may have been cut off from what happens: only a server that takes writes is a sign of life."""
    master, replica = pair
    make_list(master.url).create()

    ended = make_list(replica.url)

    with pytest.raises(StoreUnavailable, match="replica"):
        ended.start(0.3)
    with pytest.raises(StoreUnavailable, match="ReadOnlyError"):
        ended.end_everything()


@pytest.mark.program("redis")
def test_a_list_goes_with_a_fail_over_behind_one_address(pair: Any, make_list: Make) -> None:
    """Its connections stand, and lead to a server that is a replica now: the first end after it is carried out."""
    master, replica = pair
    with switch(master.port) as address:
        ended = make_list(f"redis://127.0.0.1:{address.port}")
        ended.create()
        ended.start()
        with redis.Redis.from_url(replica.url) as new, redis.Redis.from_url(master.url) as old:
            eventually(lambda: new.keys("*origin"))
            new.execute_command("REPLICAOF", "NO", "ONE")
            old.replicaof(replica.host, str(replica.port))
        address.target = replica.port
        mine, theirs = new_id(), new_id()

        ended.end_session(mine)
        ended.end_subject("alice")

        other = make_list(replica.url)
        other.start()
        assert other.check(mine)
        other.end_session(theirs)
        eventually(lambda: ended.check(theirs))
        ended.close()


@pytest.mark.program("redis")
def test_entries_that_a_fail_over_lost_are_appended_again(pair: Any, make_list: Make) -> None:
    """By the process that had appended them; those who had read them know them anyway, and who follows learns them."""
    master, replica = pair
    node = [redis.Redis.from_url(master.url, protocol=2)]

    def channel() -> Any:
        return RedisChannel(lambda: node[0])

    writer, reader = make_list(channel()), make_list(channel())
    writer.create()
    writer.start()
    reader.start()
    with redis.Redis.from_url(replica.url) as client:
        eventually(lambda: client.exists(*client.keys("*origin")) if client.keys("*origin") else 0)
        client.execute_command("REPLICAOF", "NO", "ONE")  # from here on it gets nothing, and takes writes
    lost = new_id()
    writer.end_session(lost)
    eventually(lambda: reader.check(lost))

    old, node[0] = node[0], redis.Redis.from_url(replica.url, protocol=2)

    def known_to_a_new_process() -> bool:
        new = make_list(channel())
        new.start()
        return bool(new.check(lost))

    eventually(known_to_a_new_process)
    later = new_id()
    writer.end_session(later)
    eventually(lambda: reader.check(later))
    old.close()
    for each in (writer, reader):
        each.close()
    node[0].close()


def test_the_follower_of_a_standby_is_stale(postgresql_server: PostgreSQLServer, make_list: Make) -> None:
    """`pg_is_in_recovery`: it has the tables and the entries, and is no sign of life."""
    make_list(postgresql_server.url).create()
    standby = PostgreSQLStandby(postgresql_server)
    try:
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            make_list(standby.url).start(1)
    finally:
        standby.remove()


def test_the_follower_of_a_read_only_mariadb_is_stale(mariadb_server: MariaDBServer, make_list: Make) -> None:
    """As its replicas are set."""
    ended = make_list(mariadb_server.url)
    ended.create()
    engine = sa.create_engine(mariadb_server.url)
    with engine.begin() as connection:
        connection.execute(sa.text("SET GLOBAL read_only = 1"))
    try:
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            ended.start(0.5)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("SET GLOBAL read_only = 0"))
        engine.dispose()


def test_behind_sentinel(redis_server: RedisServer, make_list: Make) -> None:
    """The master is asked for by its name."""
    sentinel = SentinelServer(redis_server)
    try:
        ended = make_list(f"redis+sentinel://{sentinel.host}:{sentinel.port}/main/0")
        ended.create()
        ended.start()
        ended.end_everything()
        other = make_list(f"redis+sentinel://127.0.0.1:{sentinel.port},:{sentinel.port}/main")
        other.start()
        assert other.check(new_id())
        ended.close()
        other.close()
    finally:
        sentinel.remove()


# --- torn, and written to by others


def test_a_torn_line_spoils_no_other(channel_url: Url, make_list: Make, purpose: str) -> None:
    """A writer that was killed in the middle of a line: the next one begins its own; the torn one is skipped and told."""
    ended = make_list(channel_url("file"))
    ended.create()
    ended.start()
    first, second = new_id(), new_id()
    ended.end_session(first)
    path: Path = open_channel(channel_url("file"), purpose)._path  # type: ignore[attr-defined]
    line = path.read_bytes().splitlines(keepends=True)[-1]

    with path.open("ab") as file:
        file.write(line[:40])
    time.sleep(0.3)
    assert ended.told.of(EntriesSkipped) == []  # it may still be being written
    ended.end_session(second)

    eventually(lambda: ended.told.of(EntriesSkipped))
    assert ended.told.of(EntriesSkipped) == [EntriesSkipped("torn", 1)]
    new = make_list(channel_url("file"))
    new.start()
    assert new.check(first)
    assert new.check(second)


def test_a_line_that_comes_in_two_parts(channel_url: Url, make_list: Make, purpose: str) -> None:
    """Is read when it is whole."""
    ended = make_list(channel_url("file"))
    ended.create()
    ended.start()
    path: Path = open_channel(channel_url("file"), purpose)._path  # type: ignore[attr-defined]
    handle = new_id()
    line = (
        b"1 "
        + values.encode_bytes(ended._get_codec().seal(Session(time.time_ns() // 1000, handle[:8]))).encode()
        + b"\n"
    )
    with path.open("ab", buffering=0) as file:
        file.write(line[:30])
        time.sleep(0.3)
        file.write(line[30:])

    eventually(lambda: ended.check(handle))
    assert ended.told.of(EntriesSkipped) == []


NOISE = [b"", b"\0" * 300, b"\xff" * 40, b"\n", b"not an entry", b"1 !!!!\n2 ====\n\r\n3\n" * 10, b"x" * 70_000]


def write_noise(url: str, purpose: str, noise: bytes) -> None:
    """Write something into the channel, as somebody without the key can."""
    if url.startswith("file"):
        path = open_channel(url, purpose)._path  # type: ignore[attr-defined]
        with path.open("ab") as file:
            file.write(noise + b"\n")
        return
    channel = open_channel(url, purpose)
    channel.append(lambda now: [noise], None)
    channel.close()


def test_somebody_without_the_key(shared_url: str, make_list: Make, purpose: str) -> None:
    """Can neither log anybody out nor in, on any channel; what he writes is skipped, and told."""
    ended = make_list(shared_url)
    ended.create()
    ended.start()
    first, second, victim = new_id(), new_id(), new_id()
    ended.end_session(first)
    forger = Codec(Keyring(OTHER_KEY), purpose)

    for noise in [*NOISE, forger.seal(Session(1, victim[:8])), forger.seal(_origin())]:
        write_noise(shared_url, purpose, noise)
    ended.end_session(second)

    eventually(lambda: ended.told.of(EntriesSkipped))
    new = make_list(shared_url)
    new.start()
    for each in (ended, new):
        assert each.check(first)
        assert each.check(second)
        assert each.check(victim) is None
    assert {event.reason for event in new.told.of(EntriesSkipped)} >= {"torn"}


def test_a_line_longer_than_what_is_read_at_once(
    channel_url: Url, make_list: Make, purpose: str, monkeypatch: Any
) -> None:
    """It is skipped in parts, and does not stop the list."""
    monkeypatch.setattr(file_module, "_READ", 1000)
    ended = make_list(channel_url("file"))
    ended.create()
    write_noise(channel_url("file"), purpose, b"y" * 5000)
    handle = new_id()
    ended.end_session(handle)

    ended.start()

    assert ended.check(handle)
    assert ended.told.of(EntriesSkipped)


def test_a_file_with_another_first_line(channel_url: Url, make_list: Make, purpose: str) -> None:
    """Has lost its identity: it is written back, and the lines that can be read stay."""
    ended = make_list(channel_url("file"))
    ended.create()
    ended.start()
    handle = new_id()
    ended.end_session(handle)
    path: Path = open_channel(channel_url("file"), purpose)._path  # type: ignore[attr-defined]

    path.write_bytes(b"somebody was here\n" + b"".join(path.read_bytes().splitlines(keepends=True)[1:]))

    eventually(lambda: ended.told.of(ChannelLost))
    new = make_list(channel_url("file"))
    new.start()
    assert new.check(handle)


def test_a_file_that_cannot_be_written_to(channel_url: Url, make_list: Make, purpose: str, monkeypatch: Any) -> None:
    """Is no sign of life: a disk that became read-only."""
    ended = make_list(channel_url("file"))
    ended.create()
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(StoreUnavailable, match="Permission denied"):
        ended.start(0.3)


def test_a_thread_that_ended_is_started_again(flaky: Flaky, make_list: Make, monkeypatch: Any) -> None:
    """As a greenlet that was killed: the next request that finds the list stale starts it."""
    ended = make_list(flaky)
    ended.start()
    ended._parts[1].stop()
    handle = new_id()
    flaky.append(lambda now: [ended._get_codec().seal(Session(now, handle[:8]))], None)

    ended._parts[0].fresh_at = float("-inf")

    assert ended.ensure_fresh()
    assert ended.check(handle)

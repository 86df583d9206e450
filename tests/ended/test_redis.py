"""RedisChannel: what is dropped, whom it finds, and URLs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import BusyLoadingError, MovedError, OutOfMemoryError, ReadOnlyError, ResponseError
from tests.ended.kit import eventually, new_id
from tests.servers import RedisCluster, RedisServer, free_port

from hardtack.ended.channels import open_channel
from hardtack.ended.channels.redis import RedisChannel
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.testing.channels import put, read_all

Url = Callable[[str], str]


@pytest.fixture
def channel(redis_server: RedisServer, purpose: str) -> Any:
    """A stream, created."""
    channel = open_channel(redis_server.url, purpose)
    assert channel.reset(None, b"identity", [])
    yield channel
    channel.close()


def test_old_entries_are_dropped_by_the_server(channel: Any, redis_server: RedisServer) -> None:
    """Whole nodes of the stream at a time, which costs nothing."""
    put(channel, *(b"old" for _ in range(500)))
    time.sleep(1.1)

    put(channel, b"new", keep=1)

    with redis.Redis.from_url(redis_server.url) as client:
        assert client.xlen(channel.stream) < 200
    assert read_all(channel)[0][-1] == b"new"


def test_a_server_without_minid(channel: RedisChannel, monkeypatch: Any) -> None:
    """Redis before 6.2 says that it does not know the word; we say which one is needed."""

    def fail(*_: Any) -> None:
        raise ResponseError("ERR syntax error near MINID")

    monkeypatch.setattr(channel, "_add", fail)

    with pytest.raises(StoreUnavailable, match=r"6\.2 or later"):
        put(channel, b"entry", keep=1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ReadOnlyError("You can't write"), "cannot be used: ReadOnlyError"),
        (OutOfMemoryError("command not allowed"), "cannot be used: OutOfMemoryError"),
        (ResponseError("MISCONF Redis is configured to save"), r"cannot be used: ResponseError \(MISCONF\)$"),
    ],
    ids=["READONLY", "OOM", "MISCONF"],
)
def test_another_error_of_an_append_is_none_of_the_version(
    channel: RedisChannel, monkeypatch: Any, error: ResponseError, said: str
) -> None:
    """redis-py puts the command before what the server said, and MINID is in it."""

    def fail(node: Any, *_: Any) -> None:
        text = f"Command # 1 (XADD s MINID ~ 1 * e SECRET x) of pipeline caused error: {error}"
        raise type(error)(text)

    monkeypatch.setattr(channel, "_add", fail)

    with pytest.raises(StoreUnavailable, match=said) as raised:
        put(channel, b"entry", keep=1)
    assert str(raised.value).startswith("Redis at 127.0.0.1:")


def test_a_list_is_not_begun_twice_with_what_is_there_once(channel: RedisChannel) -> None:
    """Where the keys move while entries are sent: the second time they would be none, and the list look whole."""
    refreshed: list[bool] = []
    channel._refresh = lambda: refreshed.append(True)

    def entries() -> Iterator[bytes]:
        yield b"entry"
        raise MovedError("1 127.0.0.1:1")

    with pytest.raises(StoreUnavailable, match="MovedError"):
        channel.reset(b"identity", b"new", entries())

    assert refreshed == [True]
    assert channel.read("", 0).origin == b"identity"


def test_a_cluster_that_cannot_be_asked_for_the_node_is_unavailable(channel: RedisChannel, monkeypatch: Any) -> None:
    """What was asked is not known then."""

    def fail() -> None:
        raise BusyLoadingError

    monkeypatch.setattr(channel, "_node", fail)

    with pytest.raises(StoreUnavailable, match=r"^Redis, which has the ended sessions, cannot be used: BusyLoading"):
        put(channel, b"entry")


def test_keys_that_have_moved_are_looked_for_once(channel: RedisChannel) -> None:
    """To another node of a Cluster, while it is resharded."""
    refreshed: list[bool] = []
    real = channel._node

    def moved() -> Any:
        if not refreshed:
            raise MovedError("1 127.0.0.1:1")
        return real()

    channel._node = moved
    channel._refresh = lambda: refreshed.append(True)

    put(channel, b"entry")

    assert refreshed == [True]
    assert read_all(channel)[0][-1] == b"entry"


@pytest.mark.program("redis")
def test_a_cluster_that_changes_is_looked_at_again(channel_url: Url, purpose: str) -> None:
    """After any fault; also where none of its nodes can be asked."""
    channel: Any = open_channel(channel_url("redis_cluster"), purpose)
    channel.reset(None, b"identity", [])
    real = channel._node

    def fail() -> Any:
        raise redis.ConnectionError

    channel._node = fail
    with pytest.raises(StoreUnavailable):
        put(channel, b"entry")
    channel._node = real
    put(channel, b"entry")

    assert read_all(channel)[0][-1] == b"entry"
    channel.close()


def test_a_cluster_that_is_not_there() -> None:
    """Cannot be opened yet."""
    with pytest.raises(StoreUnavailable):
        open_channel(f"redis+cluster://127.0.0.1:{free_port()}", "")


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@localhost:port/0",
        "redis://user:hunter2@localhost/0?colour=blue",
        "redis://user:hunter2@localhost/0?decode_responses=true",
        "redis+sentinel://user:hunter2@localhost:26379",
        "redis+sentinel://user:hunter2@localhost:26379/main?colour=blue",
        "redis+sentinel://user:hunter2@localhost:port/main",
        "redis+sentinel://user:hunter2@localhost:26379/main/x",
        "redis+cluster://user:hunter2@localhost,other:port",
        "unix://user:hunter2@localhost/run/redis.sock",
        "unix://user:hunter2@/",
        "redis+unix://user:hunter2@/run/redis.sock?db=one",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    """Say what they must be like, and show no password."""
    with pytest.raises(ConfigError, match="redis-py") as error:
        open_channel(url, "")

    assert "hunter2" not in str(error.value)


def test_a_cluster_is_found_by_any_of_its_nodes(redis_cluster: RedisCluster, purpose: str) -> None:
    """The first one in the URL may be away."""
    (known, *_) = redis_cluster.nodes
    channel = open_channel(f"redis+cluster://127.0.0.1:{free_port()},{known.host}:{known.port}", purpose)

    assert channel.reset(None, b"identity", [])

    assert channel.read("", 0).origin == b"identity"
    channel.close()


class RedisOnASocket(RedisServer):
    """redis-server that listens on a Unix socket as well, with a user who has a password."""

    @property
    def socket(self) -> str:
        return f"{self.directory}/redis.sock"

    def command(self) -> list[str]:
        user = ("app", "on", ">se/cret", "~*", "&*", "+@all")
        return [*super().command(), "--unixsocket", "redis.sock", "--user", *user]


@pytest.fixture(scope="module")
def socket_server() -> Iterator[RedisOnASocket]:
    server = RedisOnASocket()
    yield server
    server.remove()


@pytest.mark.program("redis")
@pytest.mark.parametrize("scheme", ["unix", "redis+unix", "UNIX"])
def test_a_server_on_a_unix_socket(scheme: str, socket_server: RedisOnASocket, make_list: Any) -> None:
    """By the socket's path, a user and a database, as a store has it: what one list ends, another refuses."""
    url = f"{scheme}://app:se%2Fcret@{socket_server.socket}?db=1"
    ender, other = make_list(url), make_list(url)
    ender.create()
    other.start()
    handle = new_id()

    ender.end_session(handle)

    eventually(lambda: other.check(handle))
    with redis.Redis(unix_socket_path=socket_server.socket, db=1) as client:
        assert list(client.scan_iter("*hardtack:ended*"))
    with redis.Redis(unix_socket_path=socket_server.socket, db=0) as client:
        assert client.dbsize() == 0


@pytest.mark.program("redis")
def test_a_wrong_password_on_a_unix_socket(socket_server: RedisOnASocket) -> None:
    """Nobody gets in, and the message shows neither."""
    channel = open_channel(f"unix://app:hunter2@{socket_server.socket}", "")

    with pytest.raises(StoreUnavailable) as error:
        put(channel, b"entry")

    assert "hunter2" not in str(error.value)
    channel.close()


def test_the_login_at_a_server_behind_sentinel() -> None:
    """User and password are the server's; those of the Sentinels are options."""
    channel: Any = open_channel(
        "rediss+sentinel://us%40er:pass@one:1,two/main/3?sentinel_username=s&sentinel_password=p", ""
    )

    pool = channel._node().connection_pool
    options = pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("us@er", "pass", 3)
    assert [each.connection_pool.connection_kwargs["host"] for each in pool.sentinel_manager.sentinels] == [
        "one",
        "two",
    ]
    assert pool.sentinel_manager.sentinel_kwargs["password"] == "p"
    channel.close()

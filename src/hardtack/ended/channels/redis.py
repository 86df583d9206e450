"""RedisChannel: a stream in Redis 6.2 or Valkey, alone, behind Sentinel, or in a Cluster.

One script reads the clock, the identity and the stream at one moment. The server forgets what was added too long ago.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from hardtack.ended.protocol import Batch, Make
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.stores._common import at

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode
    from redis.exceptions import (
        BusyLoadingError,
        MovedError,
        ReadOnlyError,
        RedisClusterException,
        RedisError,
        ResponseError,
    )
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    from hardtack.stores._redis_calls import code_of, is_elsewhere
    from hardtack.stores._redis_clients import servers_of
except ImportError as error:
    message = "RedisChannel needs redis-py: pip install 'hardtack[redis]'"
    raise ImportError(message) from error

TIMEOUT: Final = 2.0
"""Seconds to wait for a connection, and for an answer."""
BATCH: Final = 2000

_T = TypeVar("_T")
_Sentinel: Any = Sentinel  # which has no types
_ClusterNode: Any = ClusterNode
# redis-py takes the answer to its HELLO for a mapping without looking: nonsense is an AttributeError.
_ERRORS: Final = (RedisError, RedisClusterException, OSError, AttributeError)

# An identity without a stream is none: one of the two was evicted or deleted.
_READ: Final = """\
local now = redis.call('TIME')
local origin = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('GET', KEYS[2])
local from, restarted = ARGV[1], 0
if from ~= '' and #redis.call('XRANGE', KEYS[1], from, from) == 0 then from, restarted = '', 1 end
local found = redis.call('XRANGE', KEYS[1], from == '' and '-' or '(' .. from, '+', 'COUNT', ARGV[2])
local ids, entries = {}, {}
for n, each in ipairs(found) do ids[n] = each[1]; entries[n] = each[2][2] end
return {now[1], now[2], origin, from, restarted, ids, entries}
"""
_BEGIN_RESET: Final = """\
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
return redis.call('SET', KEYS[3], ARGV[2], 'NX', 'EX', 60) and 1 or 0
"""
_END_RESET: Final = """\
if redis.call('GET', KEYS[3]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[3])
redis.call('XADD', KEYS[1], '*', 'e', ARGV[1])
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""


class RedisChannel:
    """Keeps entries in a stream, and the channel's identity in a key beside it.

    Args:
        node: returns the `redis.Redis` of the server that has these keys and takes writes.
        refresh: called after an error, to look for that server anew.
        close: closes the client.
        suffix: what the names of the keys end with.
    """

    alone = False

    def __init__(
        self,
        node: Callable[[], Any],
        refresh: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
        suffix: str = "",
    ) -> None:
        self._node = self.node = node
        self._refresh = refresh
        self._close = close
        self.stream, self.identity, self._lock = _names(suffix)

    @classmethod
    def from_url(cls, url: str, suffix: str = "") -> RedisChannel:
        """The channel of a URL. Raises `ConfigError`, and `StoreUnavailable` where a Cluster is down."""
        scheme, _, rest = url.partition("://")
        scheme, _, kind = scheme.lower().partition("+")
        try:
            if kind == "sentinel":
                client = _from_sentinel(url, ssl=scheme == "rediss")
            elif kind == "cluster":
                rest, others = _cluster_hosts(url)
                client = redis.RedisCluster.from_url(f"{scheme}://{rest}", startup_nodes=others, **_timeouts())
                node = partial(_node_of, client, _names(suffix)[0])
                return cls(node, partial(_look_up, client), client.close, suffix)
            else:
                if "unix" in (scheme, kind):
                    scheme = "unix"
                    _check_socket(url)
                client = redis.Redis.from_url(f"{scheme}://{rest}", **_timeouts())
                _check_options(client.connection_pool)
        except (ValueError, TypeError):
            # Not the reason itself: it may quote the URL, and the password with it.
            raise ConfigError(_BAD_URL) from None
        except _ERRORS as error:
            raise _unavailable(error) from error
        return cls(lambda: client, close=client.close, suffix=suffix)

    def append(self, make: Make, keep: int | None) -> None:
        """Append; see `Channel`."""

        def call(node: Any) -> None:
            seconds, microseconds = node.execute_command("TIME")
            now = int(seconds) * 1_000_000 + int(microseconds)
            trim = () if keep is None else ("MINID", "~", now // 1000 - keep * 1000)
            self._add(node, make(now), *trim)

        self._call(call)

    def _add(self, node: Any, entries: Iterable[bytes], *trim: Any) -> None:
        entries = iter(entries)
        while some := list(islice(entries, BATCH)):
            pipeline = node.pipeline(transaction=False)
            for raw in some:
                pipeline.execute_command("XADD", self.stream, *trim, "*", "e", raw)
            pipeline.execute()

    def read(self, position: str, wait: float) -> Batch:
        """Read; see `Channel`."""

        def call(node: Any) -> Batch:
            nonlocal wait
            if wait and position:
                block, wait = int(wait * 1000), 0  # not once more where another server is asked
                node.execute_command("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", self.stream, position)
            pipeline = node.pipeline(transaction=False)
            pipeline.execute_command("ROLE")
            pipeline.execute_command("EVAL", _READ, 2, self.stream, self.identity, position, BATCH)
            role, found = pipeline.execute()
            if role[0] != b"master":
                raise _ReplicaError
            seconds, microseconds, origin, start, restarted, ids, entries = found
            now = int(seconds) * 1_000_000 + int(microseconds)
            after = (ids[-1] if ids else start).decode()
            return Batch(entries, after, now, origin, len(ids) < BATCH, bool(restarted))

        return self._call(call)

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        """Give a new identity; see `Channel`.

        The entries come first and the identity last, under a lock that ends by itself; nobody reads what has no identity.
        """
        token = secrets.token_hex(8)
        keys = (3, self.stream, self.identity, self._lock)

        def fill(node: Any) -> bool:
            self._add(node, entries)
            return bool(node.execute_command("EVAL", _END_RESET, *keys, new, token))

        if not self._call(lambda node: node.execute_command("EVAL", _BEGIN_RESET, *keys, old or b"", token)):
            return False
        return self._call(fill, tries=1)  # `entries` may be asked for only once

    def _call(self, call: Callable[[Any], _T], tries: int = 2) -> _T:
        node = None
        try:
            while True:
                tries -= 1
                try:
                    node = self._node()
                    return call(node)
                except MovedError:  # to another node of the Cluster
                    if not tries:
                        raise
                    self._refresh()
                except (ResponseError, BusyLoadingError) as error:
                    if node is None or not is_elsewhere(error):
                        raise
                    # After a failover behind one address a healthy connection leads to the wrong server, and so do its
                    # neighbours. Those that somebody is using come here by themselves.
                    node.connection_pool.disconnect(inuse_connections=False)
                    if not tries:
                        raise
        except (
            *_ERRORS,
            ValueError,
            TypeError,
            IndexError,
        ) as error:  # the last three: nonsense in the place of an answer
            self._refresh()
            raise _unavailable(error, node) from error

    def close(self) -> None:
        """Close the client."""
        self._close()


def _names(suffix: str) -> tuple[str, str, str]:
    # In braces: a Cluster keeps them together.
    stem = f"{{hardtack:ended{suffix}}}"
    return f"{stem}:entries", f"{stem}:origin", f"{stem}:lock"


def _timeouts() -> dict[str, Any]:
    # One more attempt after a broken connection: the server closes those that were idle.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "protocol": 2, "retry": retry}


def _check_options(pool: Any) -> None:
    """Raise `TypeError` or `ValueError` for options that make no connection, which the pool itself finds out later."""
    pool.connection_class(**pool.connection_kwargs)  # which connects to nothing yet
    if pool.connection_kwargs.get("decode_responses"):
        raise ValueError


def _cluster_hosts(url: str) -> tuple[str, list[Any]]:
    """What follows the scheme, with the first host alone, as redis-py reads it; and the nodes that the others are."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    first, *others = hosts.split(",")
    rest = parts._replace(scheme="", netloc=f"{login}{at}{first}").geturl().removeprefix("//")
    return rest, [_ClusterNode(*_address(each, 6379)) for each in others]


def _check_socket(url: str) -> None:
    """Raise `ValueError` unless the URL names a socket: redis-py passes over what stands in the place of a host."""
    parts = urlsplit(url)
    if parts.netloc.rpartition("@")[2] or len(parts.path) < 2:
        raise ValueError


def _node_of(cluster: Any, key: str) -> Any:
    return cluster.get_redis_connection(cluster.get_node_from_key(key))


def _look_up(cluster: Any) -> None:
    with suppress(*_ERRORS):
        cluster.nodes_manager.initialize()


def _from_sentinel(url: str, ssl: bool) -> Any:
    """The client of the master that the Sentinels name: `redis+sentinel://[user:password@]host:port,host:port/service[/0]`.

    User and password are the server's; the Sentinels' own are `?sentinel_username=…&sentinel_password=…`.
    """
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    query = dict(parse_qsl(parts.query))
    own = {name: query.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    addresses = [_address(each) for each in hosts.split(",")]
    if not service or query:
        raise ValueError
    options = _timeouts() | {"username": unquote(user) or None, "password": unquote(password) or None, "ssl": ssl}
    sentinel: Any = _Sentinel(addresses, sentinel_kwargs={**_timeouts(), **own, "ssl": ssl})
    return sentinel.master_for(unquote(service), db=int(database or 0), **options)


def _address(text: str, port_of_its_own: int = 26379) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host or "127.0.0.1", int(port or port_of_its_own)


class _ReplicaError(ReadOnlyError):
    """The server answers, and may have been cut off from what happens."""


def _unavailable(error: BaseException, node: Any = None) -> StoreUnavailable:
    # The name and the code only: an error of the server may quote the command. Those of a pipeline begin with it.
    text = str(error)
    code = code_of(error, text.rpartition("caused error: ")[2])
    if isinstance(error, _ReplicaError):
        what = "it is a replica, and takes no writes"
    elif type(error) is ResponseError and code is None and "MINID" in text:
        what = "it must be 6.2 or later"
    else:
        what = type(error).__name__ + (f" ({code})" if code else "")
    return StoreUnavailable(f"Redis{at(*servers_of(node))}, which has the ended sessions, cannot be used: {what}")


_BAD_URL: Final = (
    "the URL of the list of ended sessions is not one that redis-py understands: redis://user:password@host:port/0, "
    "redis+cluster://host:port,host:port, redis+sentinel://host:port,host:port/service/0, "
    "unix://user:password@/run/redis/redis.sock?db=0"
)

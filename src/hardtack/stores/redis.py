"""RedisStore and AsyncRedisStore: sessions in Redis or Valkey, through redis-py; alone, behind Sentinel, or a Cluster.

An entry is one string: its version (8 bytes), the SHA-256 of its subject (32 bytes, zeros for none), its data. A read is
one GET, a write is one EVALSHA. The keys of a subject are a sorted set beside it, scored by expiry. That set may hold
keys that were deleted or went to another subject: `find` asks each entry, so it never returns what is not the subject's,
and takes those keys out.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from hardtack._extras import explain
from hardtack.errors import ConfigError, HardtackError, StoreError, StoreFull, StoreUnavailable
from hardtack.protocols import Entry, Tombstone, Version, VersionConflict
from hardtack.stores._clients import LoopClients, ProcessClients, drop
from hardtack.stores._common import VERSION_BYTES, Translation, at, check_client, new_version_bytes, subject_digest
from hardtack.stores._shared_redis import logic
from hardtack.stores._shares import SharesLayout
from hardtack.stores._steps import AsyncSteppedRenamingStore, Request, SteppedRenamingStore, Steps
from hardtack.stores._url import whole_number
from hardtack.stores.breaker import TIMEOUTS, Breaker, as_breaker
from hardtack.stores.shared_layout import SharedLayout

try:
    import redis
    import redis.asyncio
    from redis.crc import key_slot
    from redis.exceptions import NoScriptError, ResponseError

    from hardtack.stores._redis_calls import AsyncCaller, Caller, code_of, is_full
    from hardtack.stores._redis_clients import TIMEOUT, another, recipe, servers_of, servers_of_url
except ImportError as error:
    message = explain("RedisStore", "redis", error)
    raise ImportError(message) from error

__all__ = ["TIMEOUT", "AsyncRedisStore", "RedisStore"]

_log = logging.getLogger("hardtack")

_HEAD = VERSION_BYTES + 32
_SUBJECT = (VERSION_BYTES, _HEAD - 1)
_BATCH = 1000  # keys that one script, or one step of a count, looks at: the server does nothing else meanwhile
_COUNT_STEPS = 1000  # a count looks at so many times as many keys, and gives up
_NO_SUBJECT = bytes(32)


class _Script:
    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


_SAVE = """\
local function save(key, value, expires_at)
  if redis.pcall('SET', key, value, 'EXAT', expires_at).err then -- Redis before 6.2, or a time that is none
    redis.call('SET', key, value)
    redis.call('EXPIREAT', key, expires_at)
  end
end
local function version(value)
  return string.sub(value, 1, 8)
end
"""
# Most saves change neither whose a session is nor when it ends: then the set is as it should be.
_KEEP_INDEX = """\
local function index(key, member, expires_at)
  if redis.call('ZADD', key, 'CH', expires_at, member) == 0 then return end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', redis.call('TIME')[1])
  local latest = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  if latest then redis.call('EXPIREAT', key, latest) end
end
"""

# Each script that writes first looks whether it has been carried out already: redis-py sends a command again when the
# connection broke before the answer, and that must not look like a conflict with ourselves.

_PUT = _Script(
    _SAVE
    + _KEEP_INDEX
    + """\
local old = redis.call('GETRANGE', KEYS[1], 0, 7)
if old ~= ARGV[1] then return old == version(ARGV[2]) and 1 or 0 end
save(KEYS[1], ARGV[2], ARGV[3])
if KEYS[2] then index(KEYS[2], ARGV[4], ARGV[3]) end
return 1
"""
)
_RENAME = _Script(
    _SAVE
    + _KEEP_INDEX
    + """\
if redis.call('GETRANGE', KEYS[2], 0, 7) == version(ARGV[2]) then return 1 end
if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
save(KEYS[2], ARGV[2], ARGV[3])
if KEYS[3] then
  redis.call('ZREM', KEYS[3], ARGV[7])
  index(KEYS[3], ARGV[4], ARGV[3])
end
if ARGV[5] == '' then redis.call('DEL', KEYS[1]) else save(KEYS[1], ARGV[5], ARGV[6]) end
return 1
"""
)
_INDEX = _Script(
    _KEEP_INDEX
    + """\
index(KEYS[1], ARGV[1], ARGV[2])
return 1
"""
)
# Looks again: meanwhile the key may have been written for this subject, or by one who wrote the set first.
_FORGET = _Script(
    """\
for n = 2, #KEYS do
  if redis.call('GETRANGE', KEYS[n], ARGV[1], ARGV[2]) ~= ARGV[3] then redis.call('ZREM', KEYS[1], ARGV[n + 2]) end
end
return 1
"""
)
_DELETE = _Script(
    """\
local old = redis.call('GETRANGE', KEYS[1], 0, 7)
if old ~= '' and old ~= ARGV[1] then return 2 end
return redis.call('DEL', KEYS[1])
"""
)


class _Logic:
    """What is sent to Redis, for both twins."""

    def __init__(self, prefix: str, cluster: bool, servers: Callable[[], list[str]]) -> None:
        self._servers = servers
        self._prefix = prefix.encode()
        self._cluster = cluster
        self._eviction_checked = False

    def get(self, key: str) -> Steps[Entry | None]:
        value = yield Request("GET", self._key(key))
        if value is None:
            return None
        if not isinstance(value, bytes):
            raise StoreUnavailable("Redis answered a GET with something that is no string")
        return Entry(value[_HEAD:], value[:VERSION_BYTES])

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Steps[Version]:
        value = _value(data, subject)
        keys = [self._key(key)]
        if subject is not None:
            yield from self._add_index(keys, key, expires_at, subject)
        try:  # as `_change` does, without two generators more for each request
            reply = yield Request("EVALSHA", _PUT.digest, len(keys), *keys, if_version or b"", value, expires_at, key)
        except NoScriptError:
            reply = yield Request("EVAL", _PUT.source, len(keys), *keys, if_version or b"", value, expires_at, key)
        if reply != 1:
            self._refuse(reply)
        if not self._eviction_checked:
            yield from self._warn_of_eviction()
        return value[:VERSION_BYTES]

    def delete(self, key: str, *, if_version: Version | None) -> Steps[bool]:
        if if_version is None:
            return bool((yield Request("DEL", self._key(key))))
        reply = yield from self._run_script(_DELETE, [self._key(key)], if_version)
        if reply == 2:
            raise VersionConflict("the entry was changed")
        return bool(reply)

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None,
    ) -> Steps[Version]:
        value = _value(data, subject)
        keys = [self._key(old), self._key(new)]
        if not self._in_one_slot(*keys):
            raise NotImplementedError("the keys are in two slots of the Redis Cluster")
        if subject is not None:
            yield from self._add_index(keys, new, expires_at, subject)
        left, until = (b"", 0) if tombstone is None else (_value(tombstone.data, None), tombstone.expires_at)
        yield from self._change(_RENAME, keys, if_version, value, expires_at, new, left, until, old)
        return value[:VERSION_BYTES]

    def find(self, subject: str) -> Steps[list[str]]:
        digest = subject_digest(subject)
        seen: dict[bytes, bool] = {}
        # Until nothing new is listed: a session that got a new key meanwhile was listed under it before it lost the old.
        while new := [key for key in (yield Request("ZRANGE", self._index(digest), 0, -1)) if key not in seen]:
            for member in new:
                seen[member] = (yield Request("GETRANGE", self._prefix + member, *_SUBJECT)) == digest
        stale = [member for member, is_theirs in seen.items() if not is_theirs]
        for start in range(0, len(stale), _BATCH):
            yield from self._forget(digest, stale[start : start + _BATCH])
        return [member.decode() for member, is_theirs in seen.items() if is_theirs]

    def count(self, subject: str | None) -> Steps[int]:
        if subject is not None:
            return len((yield from self.find(subject)))
        if self._cluster:
            raise NotImplementedError("the sessions of a Redis Cluster are not counted: each node has a part")
        pattern = re.sub(rb"([\\*?\[\]^-])", rb"\\\1", self._prefix) + b"*"
        cursor, number = 0, 0
        for _ in range(_COUNT_STEPS):
            reply = yield Request("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH)
            cursor = int(reply[0])
            number += sum(not key.startswith(self._prefix + b"subject:") for key in reply[1])
            if cursor == 0:
                return number
        message = f"this Redis has more than {_COUNT_STEPS * _BATCH} keys: they are not all looked at to count sessions"
        raise StoreError(message)

    def _forget(self, digest: bytes, stale: list[bytes]) -> Steps[None]:
        """Take keys out of a subject's set: it would grow with every login and every `regenerate`."""
        index = self._index(digest)
        keys = [self._prefix + member for member in stale]
        if not self._in_one_slot(index, *keys):
            return  # the set is written before the entry there: one that is not there may be about to come
        with suppress(ResponseError):  # it may be forbidden; what was asked for has been found all the same
            yield from self._run_script(_FORGET, [index, *keys], *_SUBJECT, digest, *stale)

    def _add_index(self, keys: list[bytes], member: str, expires_at: int, subject: str) -> Steps[None]:
        """Have the script keep the subject's set too; in another slot of a Cluster it takes a command of its own.

        That one comes first: a key in the set that has no entry is harmless, an entry that `find` misses is not.
        """
        index = self._index(subject_digest(subject))
        if self._in_one_slot(*keys, index):
            keys.append(index)
        else:
            yield from self._run_script(_INDEX, [index], member, expires_at)

    def _change(self, script: _Script, keys: list[bytes], *arguments: Any) -> Steps[None]:
        reply = yield from self._run_script(script, keys, *arguments)
        if reply != 1:
            self._refuse(reply)

    @staticmethod
    def _refuse(reply: Any) -> NoReturn:
        if reply == 0:
            raise VersionConflict("the entry was changed, is gone, or exists already")
        raise StoreUnavailable("Redis answered a script with something that the script does not return")

    @staticmethod
    def _run_script(script: _Script, keys: list[bytes], *arguments: Any) -> Steps[Any]:
        try:
            return (yield Request("EVALSHA", script.digest, len(keys), *keys, *arguments))
        except NoScriptError:  # the server was restarted, or never saw it; EVAL also keeps it for the next time
            return (yield Request("EVAL", script.source, len(keys), *keys, *arguments))

    def _warn_of_eviction(self) -> Steps[None]:
        self._eviction_checked = True
        try:
            reply = yield Request("INFO", "memory")
        except Exception:  # it may be forbidden, and the session has been saved all the same
            return
        policy = re.search(r"(allkeys|volatile)-[a-z]+", str(reply))
        if policy:
            _log.warning(
                "Redis%s has maxmemory-policy %s: when its memory is full it drops sessions that have not expired, and "
                "logs users out; set it to noeviction",
                at(*self._servers()),
                policy[0],
            )

    def _in_one_slot(self, *keys: bytes) -> bool:
        return not self._cluster or len(set(map(key_slot, keys))) == 1

    def _key(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def _index(self, digest: bytes) -> bytes:
        return self._prefix + b"subject:" + digest.hex().encode()


def _value(data: bytes, subject: str | None) -> bytes:
    return new_version_bytes() + (_NO_SUBJECT if subject is None else subject_digest(subject)) + data


def _translate(servers: Callable[[], list[str]], error: BaseException) -> None:
    # Whatever a driver raises: redis-py takes the answer to its HELLO for a mapping without looking, asyncio has a
    # RuntimeError for a loop that is closed. What stops the thread or the task is not for us.
    if not isinstance(error, Exception) or isinstance(error, HardtackError | NotImplementedError):
        return
    # The name and the code only: an error of the server may quote the command, and the session with it.
    name, code, where = type(error).__name__, code_of(error), at(*servers())
    if is_full(error):
        message = f"Redis{where} is full, and takes no session until something is deleted: {name}"
        raise StoreFull(message) from error
    message = f"Redis{where} cannot be used: {name}{(code and f' ({code})') or ''}"
    raise StoreUnavailable(message) from error


_OPTIONS = {"breaker": whole_number}


class RedisStore(SharesLayout, SteppedRenamingStore):
    """Keeps sessions in Redis 5 or later, or Valkey.

    Redis forgets what has expired by itself: there is no `sweep`. On a Cluster `rename` works where all keys are in one
    slot (give `prefix` a hash tag, such as `{hardtack}:`, which puts all sessions on one node), else it raises
    `NotImplementedError`, and the engine creates and deletes instead.

    After a fork the child makes connections of its own. A server that answers READONLY, MASTERDOWN or LOADING is not the
    one to ask: the connections to it are closed, and the command is sent once more on a new one.

    Args:
        client: a `redis.Redis` or `redis.RedisCluster`, e.g. from `Sentinel.master_for`. It should have a
            `socket_timeout` and a `socket_connect_timeout`: without them a request waits as long as the server hangs.
        prefix: what all keys begin with.
        breaker: a `Breaker`, or after how many timeouts in a row the server is left alone for a second; 0 for never.
        layout: that of another system with which the store is shared, such as `hardtack.foreign.layouts.ExpressLayout`:
            its keys begin as that system has it.

    Raises `ConfigError` where the client is none, or is for `AsyncRedisStore`.
    """

    def __init__(
        self,
        client: Any,
        prefix: str = "hardtack:",
        breaker: Breaker | int = TIMEOUTS,
        *,
        layout: SharedLayout | None = None,
    ) -> None:
        if isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
            raise ConfigError("client is one of redis.asyncio; use AsyncRedisStore")
        check_client(client, "RedisStore", "client", ("execute_command",), "a redis.Redis or redis.RedisCluster")
        self._client = client
        servers = partial(servers_of, client)
        self._translation = Translation(partial(_translate, servers))
        self._owned = False
        cluster = isinstance(client, redis.RedisCluster)
        # The nodes of a Cluster have pools of redis-py, which look at the process themselves.
        self._callers = ProcessClients(Caller(client), lambda: Caller(client if cluster else another(client)))
        self._breaker = as_breaker(breaker, f"Redis{at(*servers())}")
        self._logic = logic(_Logic(prefix, cluster, servers), layout, cluster=cluster)

    @classmethod
    def from_url(cls, url: str, prefix: str = "hardtack:", breaker: Breaker | int = TIMEOUTS) -> RedisStore:
        """A store with a client of its own.

        For `redis://host:6379/0`, `rediss://` (TLS), `unix:///path/to/socket`, `redis+cluster://host1,host2`,
        `redis+sentinel://host1,host2/service` and their `rediss+…`. Connecting and answers may take `TIMEOUT` seconds, if
        the URL has no `socket_timeout` and `socket_connect_timeout`. Its option `breaker` wins.

        Raises:
            ConfigError: the URL cannot be read, or an option is unknown or wrong; it is named.
            StoreUnavailable: a Cluster cannot be reached: it is asked for its nodes at once.
        """
        make, options = recipe(url, _OPTIONS, asynchronous=False)
        with Translation(partial(_translate, partial(servers_of_url, url))):
            store = cls(make(), prefix, options.get("breaker", breaker))
        store._owned = True
        store._callers = ProcessClients(store._callers.here(), lambda: Caller(make()))
        return store

    def count(self, subject: str | None = None) -> int:
        """How many entries there are of a subject, or of all: tombstones of the last minute are among those.

        All are counted by SCAN, which sees what changes meanwhile once, twice or not at all. Raises `StoreError` where
        Redis has more than a million keys, `NotImplementedError` on a Cluster, `StoreUnavailable`.
        """
        return int(self._run(self._logic.count(subject)))

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Have it told when the server is left alone, and when no longer; see `TellsOfHanging`."""
        self._breaker.listen(listener)

    def reconnect(self) -> None:
        """Use none of the connections that are open now again; see `Reconnects`."""
        with self._translation:
            self._callers.here().reconnect()

    def close(self) -> None:
        """Close the connections that the store made, not a client that it was given."""
        caller = self._callers.here()
        if self._owned or caller.client is not self._client:
            caller.close()

    def _perform(self, *command: Any) -> Any:
        with self._breaker:
            return self._callers.here().call(*command)


class AsyncRedisStore(SharesLayout, AsyncSteppedRenamingStore):
    """`RedisStore` with coroutines, on a `redis.asyncio.Redis` or `redis.asyncio.RedisCluster`. Raises `ConfigError`.

    Each event loop has connections of its own. Those of a client that was given are for the first loop that uses it;
    for another one, or after a fork, the store makes a client with the same settings, which it cannot for that of a Cluster:
    that raises `StoreError`.
    """

    def __init__(
        self,
        client: Any,
        prefix: str = "hardtack:",
        breaker: Breaker | int = TIMEOUTS,
        *,
        layout: SharedLayout | None = None,
    ) -> None:
        if isinstance(client, redis.Redis | redis.RedisCluster):
            raise ConfigError("client is not one of redis.asyncio; use RedisStore, or redis.asyncio.Redis(…)")
        check_client(client, "AsyncRedisStore", "client", ("execute_command",), "a redis.asyncio.Redis or RedisCluster")
        self._client = client
        servers = partial(servers_of, client)
        self._translation = Translation(partial(_translate, servers))
        self._owned = False
        self._callers = LoopClients(AsyncCaller(client), lambda: AsyncCaller(another(client)), _discard)
        self._breaker = as_breaker(breaker, f"Redis{at(*servers())}")
        cluster = isinstance(client, redis.asyncio.RedisCluster)
        self._logic = logic(_Logic(prefix, cluster, servers), layout, cluster=cluster)

    @classmethod
    def from_url(cls, url: str, prefix: str = "hardtack:", breaker: Breaker | int = TIMEOUTS) -> AsyncRedisStore:
        """A store with a client of its own in each event loop; see `RedisStore.from_url`."""
        make, options = recipe(url, _OPTIONS, asynchronous=True)
        client = make()
        store = cls(client, prefix, options.get("breaker", breaker))
        store._owned = True
        store._callers = LoopClients(AsyncCaller(client), lambda: AsyncCaller(make()), _discard)
        return store

    async def count(self, subject: str | None = None) -> int:
        """How many entries there are; see `RedisStore.count`."""
        return int(await self._run(self._logic.count(subject)))

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Have it told when the server is left alone, and when no longer; see `TellsOfHanging`."""
        self._breaker.listen(listener)

    async def reconnect(self) -> None:
        """Use none of the connections that are open now again; see `Reconnects`."""
        with self._translation:
            await self._callers.here().reconnect()

    async def close(self) -> None:
        """Close the connections that the store made in this event loop, not a client that it was given."""
        caller = self._callers.take()
        if caller is not None and (self._owned or caller.client is not self._client):
            await caller.close()

    async def _perform(self, *command: Any) -> Any:
        with self._breaker:
            return await self._callers.here().call(*command)


def _discard(caller: AsyncCaller) -> None:
    for writer in caller.take_writers():
        drop(writer)

"""One command and its answer, on a connection that is given up unless it is known to be in order.

`execute_command` of redis-py leaves a connection in the pool when something that is no error of the network arrives
between the command and its answer (the timeout of a worker, Ctrl-C): the next caller then reads an answer that is not its
own. It also counts and measures, which costs as much as the rest of the call. So the connection is taken from the pool
here, and from a pool that is redis-py's own past its counting as well. A client that is not of redis-py's own making is
asked by its `execute_command`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

_ELSEWHERE = (ReadOnlyError, MasterDownError, BusyLoadingError)
"""What a server answers that is the wrong one since a failover, or not ready yet. Nothing was written: a write is refused
before it is carried out, and what a script of ours writes first is refused."""

_QUOTED = re.compile(r"-(READONLY|MASTERDOWN|LOADING|OOM)\b")
"""The same, as Redis before 7 quotes it within the error of a script."""

_CODE = re.compile(
    r"(?:Error running script \(call to f_\w+\): @user_script: ?\d+: @user_script: ?\d+: -)?(?!ERR\b)([A-Z]{3,20})(?: |$)"
)

# Without this option a client made with decode_responses=True would decode sessions as UTF-8.
_AS_BYTES: dict[str, Any] = {"NEVER_DECODE": True}

# redis-py before 5.3 wants the name of the command, and from then on warns of it.
_WANTS_NAME = (
    inspect.signature(redis.ConnectionPool.get_connection).parameters["command_name"].default is inspect.Parameter.empty
)


def is_elsewhere(error: BaseException) -> bool:
    """Whether the server says that it is not the one to ask, or not yet."""
    return isinstance(error, _ELSEWHERE) or _quoted(error) not in (None, "OOM")


def is_full(error: BaseException) -> bool:
    """Whether the server says that it takes no more."""
    return isinstance(error, OutOfMemoryError) or _quoted(error) == "OOM"


def code_of(error: BaseException, said: str | None = None) -> str | None:
    """The word in capitals by which the server says what kind of error it is, such as MISCONF; None where it says ERR, or none.

    Only that: what follows may quote the command, and the session with it. `said`: the server's text, where redis-py has put
    another before it.
    """
    if not isinstance(error, ResponseError):
        return None
    # redis-py takes some of them out of the text, and the newer ones keep it beside.
    found = _CODE.match(str(error) if said is None else said) or _CODE.match(getattr(error, "status_code", None) or "")
    return found and found[1]


def _quoted(error: BaseException) -> str | None:
    found = _QUOTED.search(str(error)) if isinstance(error, ResponseError) else None
    return found and found[1]


def _is_plain(client: Any, kind: Any) -> bool:
    """Whether taking a connection leaves nothing out: no cache, no single connection, no instrument around the calls."""
    method = type(client).execute_command
    return (
        isinstance(client, kind)
        and inspect.unwrap(method) is method
        and method.__module__ == kind.__module__
        and not getattr(client, "single_connection_client", False)
        and client.connection is None
        and getattr(client.connection_pool, "cache", None) is None
    )


_Ask = Callable[[Any, tuple[Any, ...]], Any]
_PARTS = ("_lock", "_available_connections", "_in_use_connections")


def _is_simple(pool: Any, kind: Any) -> bool:
    """Whether a connection may go from the pool's idle ones to those in use, and back, as the pool itself moves it.

    The pool tells its meters each time, and the listener that renews the token of a credential provider: that is half of
    what a call costs. A pool of another kind, or whose connections are, is asked by its methods.
    """
    connection = getattr(pool, "connection_class", None)
    return (
        type(pool) is kind
        and all(hasattr(pool, name) for name in _PARTS)
        and hasattr(connection, "should_reconnect")  # older ones have no meters to leave out
        and hasattr(connection, "is_connected")
        and connection.__module__ == kind.__module__
        and pool.connection_kwargs.get("credential_provider") is None
        and pool.connection_kwargs.get("command_packer") is None
        # One that came over a fork is renewed when it is asked.
        and getattr(pool, "pid", os.getpid()) == os.getpid()
    )


def _pack(command: tuple[Any, ...]) -> bytes:
    """A command as it is sent: an array of strings. What redis-py does to each argument takes four times as long."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        if type(argument) is bytes:
            raw = argument
        elif isinstance(argument, str):
            raw = str.encode(argument)  # of a member of an enum the value, and not what str() says
        elif isinstance(argument, bytes | bytearray | memoryview):
            raw = bytes(argument)
        else:
            raw = str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


class Caller:
    """Calls on a sync client; safe to use from many threads.

    Args:
        client: a `redis.Redis`, a `redis.RedisCluster`, or what behaves like one.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._pool: Any = getattr(client, "connection_pool", None)
        self._cluster = isinstance(client, redis.RedisCluster)
        self._plain = _is_plain(client, redis.Redis)
        self._simple = self._plain and _is_simple(self._pool, redis.ConnectionPool)
        self._generation = object()
        """Another one since the connections that were open then are not to be used again."""
        self.call = self._on_a_connection if self._plain else self._by_the_client

    def _on_a_connection(self, *command: Any) -> Any:
        pool, generation = self._pool, self._generation
        ask: _Ask = _ask
        connection = None
        if self._simple:
            ask, command = _ask_packed, (_pack(command),)
            connection = self._take()
        if connection is None:
            connection = pool.get_connection(command[0]) if _WANTS_NAME else pool.get_connection()
        try:
            try:
                return connection.retry.call_with_retry(
                    lambda: ask(connection, command), lambda error: connection.disconnect()
                )
            except (ResponseError, BusyLoadingError) as error:
                if not is_elsewhere(error):
                    raise
            # After a failover behind one address a healthy connection leads to the wrong server, and so do its neighbours.
            connection.disconnect()
            pool.disconnect(inuse_connections=False)
            return ask(connection, command)
        except ResponseError:
            raise  # that was the answer
        except BaseException:
            connection.disconnect()
            raise
        finally:
            if generation is not self._generation:
                connection.disconnect()
            self._give_back(connection)

    def _take(self) -> Any:
        """A connection of the pool's that is open and in order; None where the pool has to see to it."""
        pool = self._pool
        with pool._lock:
            if not pool._available_connections:
                return None
            connection = pool._available_connections.pop()
            pool._in_use_connections.add(connection)
        is_sound = False
        try:
            is_sound = connection.is_connected and not connection.can_read()
        except (RedisError, OSError):  # the server has closed it
            pass
        finally:
            if not is_sound:
                self._give_back(connection)
        return connection if is_sound else None

    def _give_back(self, connection: Any) -> None:
        pool = self._pool
        if self._simple:
            with pool._lock:
                if connection in pool._in_use_connections and not connection.should_reconnect():
                    pool._in_use_connections.remove(connection)
                    pool._available_connections.append(connection)
                    return
        pool.release(connection)

    def _by_the_client(self, *command: Any) -> Any:
        try:
            return self.client.execute_command(*command, **_AS_BYTES)
        except (ResponseError, BusyLoadingError) as error:
            if self._pool is None or not is_elsewhere(error):
                raise
        self._pool.disconnect()
        return self.client.execute_command(*command, **_AS_BYTES)

    def reconnect(self) -> None:
        """Close the connections that no call is using now, and those that one is using thereafter."""
        self._generation = object()
        if self._cluster:
            self.client.disconnect_connection_pools()
        elif self._pool is not None:
            self._pool.disconnect(inuse_connections=not self._plain)

    def close(self) -> None:
        """Close the client and its connections, and those to its Sentinels."""
        self.client.close()
        if self._pool is not None:
            self._pool.disconnect()
        for sentinel in _sentinels(self._pool):
            sentinel.close()


def _ask(connection: Any, command: tuple[Any, ...]) -> Any:
    connection.send_command(*command)
    return connection.read_response(disable_decoding=True)


def _ask_packed(connection: Any, packed: tuple[Any, ...]) -> Any:
    connection.send_packed_command(packed)
    return connection.read_response(disable_decoding=True)


class AsyncCaller:
    """`Caller` with coroutines, on one event loop."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._pool: Any = getattr(client, "connection_pool", None)
        self._cluster = isinstance(client, redis.asyncio.RedisCluster)
        self._plain = _is_plain(client, redis.asyncio.Redis)
        self._simple = self._plain and _is_simple(self._pool, redis.asyncio.ConnectionPool)
        self._generation = object()
        self.call = self._on_a_connection if self._plain else self._by_the_client

    async def _on_a_connection(self, *command: Any) -> Any:
        pool, generation = self._pool, self._generation
        ask: _Ask = _ask_async
        connection = None
        if self._simple:
            ask, command = _ask_packed_async, (_pack(command),)
            connection = await self._take()
        if connection is None:
            connection = await (pool.get_connection(command[0]) if _WANTS_NAME else pool.get_connection())
        try:
            try:
                return await connection.retry.call_with_retry(
                    lambda: ask(connection, command), lambda error: connection.disconnect()
                )
            except (ResponseError, BusyLoadingError) as error:
                if not is_elsewhere(error):
                    raise
            await connection.disconnect()
            await pool.disconnect(inuse_connections=False)
            return await ask(connection, command)
        except ResponseError:
            raise
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            if generation is not self._generation:
                await connection.disconnect(nowait=True)
            await self._give_back(connection)

    async def _take(self) -> Any:
        """See `Caller._take`. Nobody comes between the steps of what does not wait, but for who holds the pool's lock."""
        pool = self._pool
        if not pool._available_connections or pool._lock.locked():
            return None
        connection = pool.get_available_connection()
        is_sound = False
        try:
            is_sound = connection.is_connected and not await connection.can_read()
        except (RedisError, OSError):
            pass
        finally:
            if not is_sound:
                await self._give_back(connection)
        return connection if is_sound else None

    async def _give_back(self, connection: Any) -> None:
        pool = self._pool
        if not self._simple or pool._lock.locked() or connection.should_reconnect():
            await pool.release(connection)
            return
        pool._in_use_connections.remove(connection)
        pool._available_connections.append(connection)

    async def _by_the_client(self, *command: Any) -> Any:
        if self._cluster:  # the first tasks at once must not each find the nodes, and close the others' connections
            await self.client.initialize()
        try:
            return await self.client.execute_command(*command, **_AS_BYTES)
        except (ResponseError, BusyLoadingError) as error:
            if self._pool is None or not is_elsewhere(error):
                raise
        await self._pool.disconnect()
        return await self.client.execute_command(*command, **_AS_BYTES)

    async def reconnect(self) -> None:
        """See `Caller.reconnect`."""
        self._generation = object()
        if self._cluster:
            await self.client.aclose()  # the next call opens it again
        elif self._pool is not None:
            await self._pool.disconnect(inuse_connections=not self._plain)

    async def close(self) -> None:
        """Close the client and its connections, and those to its Sentinels."""
        await self.client.aclose()
        if self._pool is not None:
            await self._pool.disconnect()
        for sentinel in _sentinels(self._pool):
            await sentinel.aclose()

    def take_writers(self) -> list[Any]:
        """The streams that the client has opened, and has no more: to be dropped where its event loop is closed."""
        if self._cluster:
            manager = self.client.nodes_manager
            nodes = [*manager.nodes_cache.values(), *manager.startup_nodes.values()]
            connections = [each for node in nodes for each in node._connections]
            self.client._initialize = True  # what has no nodes does not warn that it was not closed
        else:
            self.client.connection = None  # of one that has a single connection, which is in the pool as well
            pools = [self._pool, *(each.connection_pool for each in _sentinels(self._pool))]
            connections = [each for pool in pools for each in (*pool._available_connections, *pool._in_use_connections)]
        writers = [each._writer for each in connections if each._writer is not None]
        for each in connections:
            each._writer = each._reader = None
        return writers


async def _ask_async(connection: Any, command: tuple[Any, ...]) -> Any:
    await connection.send_command(*command)
    return await connection.read_response(disable_decoding=True)


async def _ask_packed_async(connection: Any, packed: tuple[Any, ...]) -> Any:
    writer = connection._writer
    if writer is None or writer.is_closing() or connection.health_check_interval:
        await connection.send_packed_command(packed)
    else:
        # Nobody needs to wait until it is sent, in a task of its own at that: the answer comes later, and has its timeout.
        writer.write(packed[0])
    return await connection.read_response(disable_decoding=True)


def _sentinels(pool: Any) -> list[Any]:
    manager = getattr(pool, "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)

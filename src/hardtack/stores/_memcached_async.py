"""Connections to one memcached for the tasks of an event loop, with the protocol of aiomcache.

The pool of aiomcache is not used: it never grows to its size, lets those wait for ever who wait for a connection that is
given up, and gives one whose answer was not read to the next caller.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiomcache.exceptions import ClientException

from hardtack.stores._common import address
from hardtack.stores._memcached_calls import LOST, UNKNOWN, WRITES, Ticket

T = TypeVar("T")


class _Connection:
    """A connection, with the attributes that aiomcache asks for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, home: list[_Connection]) -> None:
        self.reader = reader
        self.writer = writer
        self.home = home
        """Where it waits for its next call."""
        self.since: int | None = None
        """The moment at which it was open for certain; None before the first answer."""

    def is_sound(self) -> bool:
        """Whether the server has not closed it."""
        return not (self.reader.at_eof() or self.reader.exception() or self.writer.is_closing())


class AsyncServer:
    """One memcached, from one event loop.

    Args:
        client: an `aiomcache.Client` that has no connections.
        address: where the server is, for messages.
        connect: opens one.
        limit: how many connections there are at most.
        timeout: seconds for a call, waiting for a connection included.
        breaker: around each call.
    """

    def __init__(
        self, client: Any, address: str, connect: Callable[[], Any], limit: int, timeout: float, breaker: Any
    ) -> None:
        self._client = client
        self.address = address
        self._connect = connect
        self._timeout = timeout
        self._breaker = breaker
        self._free = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []
        self._in_use: set[_Connection] = set()
        self._moments = itertools.count()

    async def perform(self, command: str, name: bytes, *arguments: Any) -> Any:
        """Carry out a request of the logic."""
        with self._breaker:
            async with asyncio.timeout(self._timeout), self._free:
                return await self._call(command, name, *arguments)

    def close(self) -> None:
        """Close the connections that no call is using now, and those that one is using thereafter."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.writer.close()

    def take_writers(self) -> list[asyncio.StreamWriter]:
        """The streams that are open, to be dropped where the event loop is closed."""
        return [connection.writer for connection in (*self._idle, *self._in_use)]

    async def _call(self, command: str, *arguments: Any) -> Any:
        connection = await self._take()
        used_before = connection.since is not None
        try:
            return await self._ask(connection, command, *arguments)
        except Exception as error:
            # A timeout is none of it: the server hangs. aiomcache calls the end of what it reads by other names.
            lost = isinstance(error, ConnectionError | EOFError) or connection.reader.at_eof()
            if not (used_before and lost):
                raise
        # The server closes what is idle, or was restarted; then the others are as old. A write may be sent twice: it is the
        # same value, under the same condition.
        self.close()
        answer = await self._ask(await self._open(), command, *arguments)
        return LOST if command in WRITES and not answer else answer

    async def _ask(self, connection: _Connection, command: str, name: bytes, *arguments: Any) -> Any:
        answer: Any
        self._in_use.add(connection)
        try:
            if command == "load":
                answer = await self._load(connection, name)
            elif command == "gets":
                answer = await self._gets(connection, name)
            elif command == "save":
                answer = await self._save(connection, name, *arguments)
            elif command == "delete_under":
                number = b"%d" % arguments[0]
                reply = await self._client._execute_simple_command(connection, b"md " + name + b" C" + number + b"\r\n")
                answer = reply.startswith(b"HD")
            else:
                answer = await self._send(connection, command, name, *arguments)
        except BaseException:
            connection.writer.transport.abort()  # the answer may come yet, and is not the next caller's
            raise
        finally:
            self._in_use.discard(connection)
        if connection.home is not self._idle:
            connection.writer.close()
            return answer
        if connection.since is None and answer is not UNKNOWN:
            connection.since = next(self._moments)
        connection.home.append(connection)
        return answer

    def _send(self, connection: _Connection, command: str, *arguments: Any) -> Awaitable[Any]:
        """A method of the client, without its own way to take a connection."""
        method = getattr(type(self._client), command).__wrapped__
        sent: Awaitable[Any] = method(self._client, connection, *arguments)
        return sent

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_sound():
                return connection
            connection.writer.close()
        return await self._open()

    async def _open(self) -> _Connection:
        home = self._idle
        reader, writer = await self._connect()
        return _Connection(reader, writer, home)

    async def _load(self, connection: _Connection, name: bytes) -> tuple[Any, Ticket | None]:
        """The value, and the ticket to save over it."""
        moment = next(self._moments)
        value, number = await self._gets(connection, name)
        return value, Ticket(number, moment)

    async def _gets(self, connection: _Connection, name: bytes) -> tuple[Any, Any]:
        """The value and its cas number. To aiomcache an answer that names another key is that there is none."""
        values, numbers = await self._client._multi_get(connection, name)
        if values.keys() - {name}:
            raise ClientException("the server answered with another key")
        return values.get(name), numbers.get(name)

    async def _save(self, connection: _Connection, name: bytes, value: bytes, ticket: Ticket, expiry: int) -> Any:
        """See `_memcached_sync.Server`."""
        if connection.since is None or connection.since >= ticket.moment:
            return UNKNOWN
        return await self._send(connection, "cas", name, value, ticket.number, expiry)


def address_of(client: Any) -> str:
    """Where the server of an `aiomcache.Client` is."""
    return address(client._pool._host, client._pool._port)


def async_server(client: Any, where: Any, timeout: float, breaker: Any) -> AsyncServer:
    """The server of an `aiomcache.Client`, or at another place: a host and a port, or the path of a socket."""
    pool = client._pool
    client = copy.copy(client)
    client._execute_simple_command = _execute
    options = dict(pool.conn_args)
    if isinstance(where, str):
        return AsyncServer(
            client,
            address(where),
            lambda: asyncio.open_unix_connection(where, **options),
            pool._maxsize,
            timeout,
            breaker,
        )
    host, port = where or (pool._host, pool._port)
    return AsyncServer(
        client,
        address(host, port),
        lambda: asyncio.open_connection(host, port, **options),
        pool._maxsize,
        timeout,
        breaker,
    )


async def _execute(connection: Any, command: bytes) -> bytes:
    """What aiomcache does, but for the end of the connection, which it reads for ever, and blocks the event loop."""
    connection.writer.write(command)
    await connection.writer.drain()
    line: bytes = await connection.reader.readuntil(b"\r\n")
    return line[:-2]

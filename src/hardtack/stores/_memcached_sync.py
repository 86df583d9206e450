"""Connections to one memcached by pymemcache, for threads: each is used by one call at a time.

The pools of pymemcache are not used: they take back a connection whose answer was not read when what interrupted the
call is no `Exception`, count it as in use for ever, and carry everything over a fork.
"""

from __future__ import annotations

import copy
import itertools
import select
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pymemcache  # type: ignore[import-untyped]
from pymemcache.exceptions import MemcacheUnexpectedCloseError  # type: ignore[import-untyped]

from hardtack.errors import ConfigError
from hardtack.stores._common import address, at
from hardtack.stores._memcached_calls import LOST, UNKNOWN, Servers, Ticket

T = TypeVar("T")

_LOST = (MemcacheUnexpectedCloseError, ConnectionError)
"""What it is called when the server has closed the connection; a timeout is none of it: the server hangs."""

_POLL: Any = getattr(select, "poll", None)  # not on Windows: there the second sending has to do


class _Connection:
    """A client of pymemcache, which is one connection, used once or never before."""

    __slots__ = ("_readable", "client", "home", "since")

    def __init__(self, client: Any, home: deque[_Connection]) -> None:
        self.client = client
        self.home = home
        """Where it waits for its next call."""
        self.since: int | None = None
        """The moment at which it was open for certain; None before the first answer."""
        self._readable: Any = None

    def __del__(self) -> None:
        self.client.close()

    def is_sound(self) -> bool:
        """Whether the server has neither closed it nor said what nobody asked for."""
        if self._readable is None:
            self._readable = _POLL and _POLL()
            if self._readable:
                self._readable.register(self.client.sock, select.POLLIN)
        return not (self._readable and self._readable.poll(0))


class Server:
    """One memcached.

    Args:
        prototype: a `pymemcache.Client` that is never used itself.
        breaker: one like it is around each call.
    """

    def __init__(self, prototype: Any, breaker: Any) -> None:
        self._prototype = prototype
        self.address = address(*where) if isinstance(where := prototype.server, tuple) else address(where)
        self._breaker = breaker.another(f"memcached{at(self.address)}")
        # Its pop and append are one step each: there is no lock that a fork could leave locked.
        self._idle: deque[_Connection] = deque()
        self._moments = itertools.count()

    def perform(self, command: str, name: bytes, *arguments: Any) -> Any:
        """Carry out a request of the logic."""
        with self._breaker:
            if command == "load":
                return self._call(lambda connection: self._load(connection, name))
            if command == "save":
                return self._call(lambda connection: self._save(connection, name, *arguments), writes=True)
            if command == "delete_under":
                return self._call(lambda connection: _delete_under(connection, name, *arguments), writes=True)
            if command == "gets":
                return self._call(lambda connection: connection.client.gets(name))
            # The answer is what decides: a client that is told not to wait for it says yes to everything.
            return self._call(
                lambda connection: getattr(connection.client, command)(name, *arguments, noreply=False), writes=True
            )

    def close(self) -> None:
        """Close the connections that no call is using now, and those that one is using thereafter."""
        idle, self._idle = self._idle, deque()
        with suppress(IndexError):  # another thread may be faster
            while True:
                idle.pop().client.close()

    def _call(self, ask: Callable[[_Connection], T], *, writes: bool = False) -> T | Any:
        connection = self._take()
        used_before = connection.since is not None
        try:
            return self._ask(connection, ask)
        except _LOST:
            if not used_before:
                raise
        # The server closes what is idle, or was restarted; then the others are as old. A write may be sent twice: it is the
        # same value, under the same condition.
        self.close()
        answer = self._ask(self._new(), ask)
        return LOST if writes and not answer else answer

    def _ask(self, connection: _Connection, ask: Callable[[_Connection], T]) -> T:
        try:
            answer = ask(connection)
        except BaseException:
            connection.client.close()  # the answer may come yet, and is not the next caller's
            raise
        if connection.home is not self._idle:
            connection.client.close()
        elif connection.client.sock is not None:
            if connection.since is None:
                connection.since = next(self._moments)
            connection.home.append(connection)
        return answer

    def _take(self) -> _Connection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._new()
            if connection.is_sound():
                return connection
            connection.client.close()

    def _new(self) -> _Connection:
        client = copy.copy(self._prototype)
        client.sock = None
        return _Connection(client, self._idle)

    def _load(self, connection: _Connection, name: bytes) -> tuple[Any, Ticket | None]:
        """The value, and the ticket to save over it."""
        moment = next(self._moments)
        value, number = connection.client.gets(name)
        return value, Ticket(number, moment)

    @staticmethod
    def _save(connection: _Connection, name: bytes, value: bytes, ticket: Ticket, expiry: int) -> Any:
        """Compare-and-set; `UNKNOWN`, and nothing was sent, where it may be of another server process.

        A connection that was open before the load, and still is, leads to the process that was loaded from: a restart
        would have closed it. (A proxy hides a restart. Then the key must have been created again, too, and have come to
        the same cas number, to be taken for the entry that was loaded; hardtack never creates a key twice.)
        """
        if connection.since is None or connection.since >= ticket.moment:
            return UNKNOWN
        return connection.client.cas(name, value, ticket.number, expiry, noreply=False)


def _delete_under(connection: _Connection, name: bytes, number: bytes) -> bool:
    client = connection.client
    answer: bytes = client.raw_command(b"md " + client.key_prefix + name + b" C" + number)
    return answer.startswith(b"HD")


def servers_of(client: Any, breaker: Any) -> Servers[Server]:
    """The servers that a client of pymemcache speaks to. Raises `ConfigError`."""
    clients = client.clients if isinstance(client, pymemcache.HashClient) else {"": client}
    if not clients:
        raise ConfigError("client has no servers")
    servers = {name: Server(_prototype(each), breaker) for name, each in clients.items()}
    return Servers(servers, copy.deepcopy(getattr(client, "hasher", None)))


def _prototype(client: Any) -> Any:
    return client._create_client() if isinstance(client, pymemcache.PooledClient) else client

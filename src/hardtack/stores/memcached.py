"""MemcachedStore and AsyncMemcachedStore: sessions in memcached. It is a cache: it may forget a session at any time.

A value is its version (8 random bytes) and the data. memcached's own cas number is no version: it begins anew when the
server does. So a save asks for the entry and its cas number, compares the version, and saves under the cas number. The
first of these is left out where the number is known from the load, and a connection shows that the server is still the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hardtack._extras import explain
from hardtack.errors import ConfigError, HardtackError, StoreError, StoreFull, StoreUnavailable
from hardtack.protocols import Entry, Version, VersionConflict
from hardtack.stores import _url
from hardtack.stores._clients import LoopClients, ProcessClients, drop
from hardtack.stores._common import VERSION_BYTES, Translation, at, check_client, check_seconds, new_version_bytes
from hardtack.stores._steps import AsyncSteppedStore, Request, SteppedStore, Steps
from hardtack.stores.breaker import TIMEOUTS, Breaker, as_breaker

try:
    import aiomcache
    import pymemcache  # type: ignore[import-untyped]

    from hardtack.stores._memcached_async import AsyncServer, address_of, async_server
    from hardtack.stores._memcached_calls import LOST, UNKNOWN, Servers, Ticket, is_full, place
    from hardtack.stores._memcached_sync import Server, servers_of
except ImportError as error:
    message = explain("MemcachedStore", "memcached", error)
    raise ImportError(message) from error

__all__ = ["MAX_SIZE", "TIMEOUT", "AsyncMemcachedStore", "MemcachedStore"]

TIMEOUT = 5.0
"""Seconds to wait for a connection and for an answer, where nothing else is said."""

MAX_SIZE = 1024 * 1024 - 512
"""Bytes of a value that a server takes by default: 1 MB for the item, some of it for the key and the head."""

_KEY = re.compile(rb"[\x21-\x7e]{1,250}")
_THIRTY_DAYS = 30 * 86400
_LAST_SECOND = 2**31 - 1  # the server reads 32 bits


class _Version(bytes):
    """The version of an entry, as bytes; where it was loaded from memcached, with the ticket to save over it."""

    ticket: Ticket | None = None


class _Logic:
    """What is sent to memcached, for both twins."""

    def __init__(self, prefix: str, max_size: int) -> None:
        if not _KEY.fullmatch(f"{prefix}key".encode()):
            message = f"prefix is {prefix!r}; it must be up to 200 ASCII characters without spaces"
            raise ConfigError(message)
        self._prefix = prefix.encode()
        self._max_size = max_size

    def get(self, key: str) -> Steps[Entry | None]:
        name = self._key(key)
        if name is None:
            return None
        value, ticket = yield Request("load", name)
        if value is None:
            return None
        entry = _entry(value)
        entry.version.ticket = ticket
        return entry

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Steps[Version]:
        name = self._key(key)
        if name is None:
            raise StoreError("a key of memcached is up to 250 characters of ASCII without spaces, the prefix included")
        version = new_version_bytes()
        value = version + data
        if len(value) > self._max_size:
            # Not sent: memcached would refuse it, and delete the older session under this key.
            message = f"the session takes {len(value)} bytes, and memcached takes {self._max_size}; see -I and max_size"
            raise StoreError(message)
        expiry = _expiry(expires_at)
        if if_version is None:
            saved = yield Request("add", name, value, expiry)
        else:
            ticket = getattr(if_version, "ticket", None)
            saved = UNKNOWN if ticket is None else (yield Request("save", name, value, ticket, expiry))
            if saved is UNKNOWN:
                entry, number = yield from self._look(name)
                saved = entry is not None and entry.version == if_version
                if saved:
                    saved = yield Request("cas", name, value, number, expiry)
                elif entry is not None and entry.version == version:  # a ticket's first sending had been carried out
                    saved = True
        if saved is LOST:  # it was sent twice: where the first was carried out, the second found it done
            entry, _ = yield from self._look(name)
            saved = entry is not None and entry.version == version
        if not saved:
            raise VersionConflict("the entry was changed, is gone, or exists already")
        return version

    def delete(self, key: str, *, if_version: Version | None) -> Steps[bool]:
        name = self._key(key)
        if name is None:
            return False
        entry, number = yield from self._look(name)
        if entry is None:
            return False
        if if_version is None:
            return bool((yield Request("delete", name)))  # also where it was sent twice: it was there, and is gone
        deleted = entry.version == if_version and (yield from self._delete_under(name, number))
        if deleted is LOST:
            entry, _ = yield from self._look(name)
            deleted = entry is None
        if not deleted:
            raise VersionConflict("the entry was changed")
        return True

    @staticmethod
    def _delete_under(name: bytes, number: Any) -> Steps[Any]:
        """A delete has no condition, a cas has: save nothing, expired since 1970."""
        with suppress(StoreFull):
            return (yield Request("cas", name, b"", number, _expiry(0)))
        # Nothing takes room as well. A server from 1.6 on can delete under a condition.
        return (yield Request("delete_under", name, number))

    def _look(self, name: bytes) -> Steps[tuple[Entry | None, Any]]:
        """The entry and memcached's cas number."""
        value, number = yield Request("gets", name)
        return (None, None) if value is None else (_entry(value), number)

    def _key(self, key: str) -> bytes | None:
        name = self._prefix + key.encode()
        return name if _KEY.fullmatch(name) else None


def _entry(value: Any) -> Entry:
    if not isinstance(value, bytes):
        raise StoreUnavailable("memcached answered a gets with something that is no bytes: give no serializer")
    return Entry(value[VERSION_BYTES:], _Version(value[:VERSION_BYTES]))


def _expiry(expires_at: int) -> int:
    """Always a date, which memcached tells from a duration by its being beyond 30 days."""
    return min(max(expires_at, _THIRTY_DAYS + 1), _LAST_SECOND)


def _translate(error: BaseException, server: str = "") -> None:
    # Whatever a client raises: pymemcache takes an answer apart without looking, asyncio has a RuntimeError for a loop that
    # is closed. What stops the thread or the task is not for us.
    if not isinstance(error, Exception) or isinstance(error, HardtackError):
        return
    name, where = type(error).__name__, server and at(server)
    if is_full(error):
        message = f"memcached{where} is full, and takes no session until something is deleted: {name}"
        raise StoreFull(message) from error
    message = f"memcached{where} cannot be used: {name}"
    raise StoreUnavailable(message) from error


_TRANSLATION = Translation(_translate)


class MemcachedStore(SteppedStore):
    """Keeps sessions in memcached, through pymemcache.

    There is no `rename`, `find`, `sweep` or `count`: the engine creates and deletes instead of a rename.

    The store takes from a client where the servers are and how to reach them, and has connections of its own: one for each
    thread that is in a call, and after a fork others. Of several servers each has its part of the sessions, as a
    `HashClient` distributes them; where one is down, its sessions are `StoreUnavailable`, and are not looked for elsewhere.

    A command that was sent on a connection that the server has closed is sent once more. A save whose first sending had been
    carried out is known by its version.

    Args:
        client: a `pymemcache.Client`, `PooledClient` or `HashClient`. It should have a `timeout` and a `connect_timeout`.
        prefix: what all keys begin with.
        max_size: the size in bytes of the biggest value that the server takes.
        breaker: a `Breaker`, or after how many timeouts in a row a server is left alone for a second; 0 for never.

    Raises:
        ConfigError: the client is none, or has `ignore_exc=True`, which makes a dead server look like one without sessions.
    """

    def __init__(
        self, client: Any, prefix: str = "hardtack:", max_size: int = MAX_SIZE, breaker: Breaker | int = TIMEOUTS
    ) -> None:
        if isinstance(client, aiomcache.FlagClient):
            raise ConfigError("client is one of aiomcache; use AsyncMemcachedStore")
        check_client(client, "MemcachedStore", "client", ("gets", "cas"), "a pymemcache.PooledClient or HashClient")
        if getattr(client, "ignore_exc", False):
            raise ConfigError("client has ignore_exc=True, and a server that is down would log everybody out; omit it")
        self._client = client
        self._logic = _Logic(prefix, max_size)
        self._breaker = one = as_breaker(breaker, "memcached")
        first = servers_of(client, one)
        self._servers: ProcessClients[Servers[Server]] = ProcessClients(first, lambda: servers_of(client, one))

    @classmethod
    def from_url(
        cls, url: str, prefix: str = "hardtack:", timeout: float = TIMEOUT, breaker: Breaker | int = TIMEOUTS
    ) -> MemcachedStore:
        """A store for `memcached://host1:11211,host2:11211`, or `memcached+unix:///path/to/socket`.

        The options `timeout` (seconds to wait for a connection, and for an answer), `max_size` and `breaker` of the URL win.
        Raises `ConfigError`.
        """
        places, options = _read(url, timeout, breaker)
        timeouts = {"timeout": options["timeout"], "connect_timeout": options["timeout"]}
        clients = {name: pymemcache.Client(where, no_delay=True, **timeouts) for name, where in places.items()}
        client = pymemcache.HashClient([])
        for name, each in clients.items():
            client.clients[name] = each
            client.hasher.add_node(name)
        return cls(client, prefix, options["max_size"], options["breaker"])

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Have it told when a server is left alone, and when no longer; see `TellsOfHanging`."""
        self._breaker.listen(listener)

    def reconnect(self) -> None:
        """Use none of the connections that are open now again; see `Reconnects`."""
        self.close()

    def close(self) -> None:
        """Close the connections of the store."""
        for server in self._servers.here().all():
            server.close()

    def _perform(self, *request: Any) -> Any:
        command, name, *arguments = request
        server = self._servers.here().of(name)
        try:
            return server.perform(command, name, *arguments)
        except Exception as error:
            _translate(error, server.address)
            raise

    _translation = _TRANSLATION


class AsyncMemcachedStore(AsyncSteppedStore):
    """`MemcachedStore` with coroutines, on the protocol of an `aiomcache.Client`, with connections for each event loop.

    Args:
        client: the client. It says where the server is, and how many connections there may be; the store has its own.
        prefix: what all keys begin with.
        max_size: the size in bytes of the biggest value that the server takes.
        timeout: seconds for one operation, waiting for a connection included: aiomcache has no timeouts.
        breaker: see `MemcachedStore`.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        client: Any,
        prefix: str = "hardtack:",
        max_size: int = MAX_SIZE,
        timeout: float = TIMEOUT,
        breaker: Breaker | int = TIMEOUTS,
    ) -> None:
        if isinstance(client, pymemcache.Client | pymemcache.PooledClient | pymemcache.HashClient):
            raise ConfigError("client is one of pymemcache; use MemcachedStore, or an aiomcache.Client")
        check_client(client, "AsyncMemcachedStore", "client", ("gets", "_multi_get"), "an aiomcache.Client")
        check_seconds(timeout, "timeout")
        self._client = client
        self._logic = _Logic(prefix, max_size)
        self._breaker = one = as_breaker(breaker, f"memcached{at(address_of(client))}")
        self._set(lambda: Servers({"": async_server(client, None, timeout, one)}, None))

    @classmethod
    def from_url(
        cls, url: str, prefix: str = "hardtack:", timeout: float = TIMEOUT, breaker: Breaker | int = TIMEOUTS
    ) -> AsyncMemcachedStore:
        """See `MemcachedStore.from_url`; here `timeout` is that of a whole operation. Raises `ConfigError`."""
        places, options = _read(url, timeout, breaker)
        client = aiomcache.Client("", pool_size=CONNECTIONS)
        store = cls(client, prefix, options["max_size"], options["timeout"], options["breaker"])
        breakers = {name: store._breaker.another(f"memcached{at(name)}") for name in places}

        def make() -> Servers[AsyncServer]:
            return place(
                {
                    name: async_server(client, where, options["timeout"], breakers[name])
                    for name, where in places.items()
                }
            )

        store._set(make)
        return store

    def _set(self, make: Callable[[], Servers[AsyncServer]]) -> None:
        self._servers = LoopClients(make(), make, _discard)

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Have it told when a server is left alone, and when no longer; see `TellsOfHanging`."""
        self._breaker.listen(listener)

    async def reconnect(self) -> None:
        """Use none of the connections that are open now again; see `Reconnects`."""
        for server in self._servers.here().all():
            server.close()

    async def close(self) -> None:
        """Close the connections of the store in this event loop."""
        servers = self._servers.take()
        if servers is not None:
            for server in servers.all():
                server.close()

    async def _perform(self, *request: Any) -> Any:
        command, name, *arguments = request
        server = self._servers.here().of(name)
        try:
            return await server.perform(command, name, *arguments)
        except Exception as error:
            _translate(error, server.address)
            raise

    _translation = _TRANSLATION


CONNECTIONS = 20
"""How many connections to a server an async store made by `from_url` has at most, in each event loop."""

_OPTIONS: dict[str, _url.Reader] = {
    "timeout": _url.seconds,
    "max_size": _url.positive_number,
    "breaker": _url.whole_number,
}
_EXAMPLE = "memcached://host:11211, memcached://host1,host2, memcached+unix:///path/to/socket"


def _read(url: str, timeout: float, breaker: Breaker | int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where the servers are, by the names that they are hashed by; and the options."""
    check_seconds(timeout, "timeout")
    parts = _url.split(url, _EXAMPLE)
    defaults = {"timeout": timeout, "max_size": MAX_SIZE, "breaker": breaker}
    options = defaults | _url.read_options(parts.options, _OPTIONS)
    if parts.username or parts.password:
        raise ConfigError("the store's URL has a user or a password, and memcached's protocol of text has none")
    if parts.scheme == "memcached+unix" and not parts.hosts and len(parts.path) > 1:
        return {parts.path: parts.path}, options
    if parts.scheme == "memcached" and parts.hosts and parts.path in ("", "/"):
        addresses = [(host, port or 11211) for host, port in parts.hosts]
        return {f"{host}:{port}": (host, port) for host, port in addresses}, options
    message = f"the store's URL is not one of memcached: {_EXAMPLE}"
    raise ConfigError(message)


def _discard(servers: Servers[AsyncServer]) -> None:
    for server in servers.all():
        for writer in server.take_writers():
            drop(writer)

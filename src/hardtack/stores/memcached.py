"""MemcachedStore and AsyncMemcachedStore: sessions in memcached. It is a cache: it may forget a session at any time.

A value is its version (8 random bytes) and the data. memcached's own cas number is no version: it begins anew when the
server does. So a save asks for the entry and its cas number, compares the version, and saves under the cas number. The
first of these is left out where the number is known from the load, and a connection shows that the server is still the same.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from hardtack._extras import explain
from hardtack.errors import ConfigError, StoreError, StoreUnavailable
from hardtack.protocols import Entry, Version, VersionConflict
from hardtack.stores._common import VERSION_BYTES, Translation, check_client, new_version_bytes
from hardtack.stores._steps import AsyncSteppedStore, Request, SteppedStore, Steps

try:
    import aiomcache
    import pymemcache  # type: ignore[import-untyped]
    from aiomcache.exceptions import ClientException
    from pymemcache.exceptions import MemcacheError  # type: ignore[import-untyped]
except ImportError as error:
    message = explain("MemcachedStore", "memcached", error)
    raise ImportError(message) from error

TIMEOUT = 5.0
"""Seconds to wait for a connection and for an answer, where nothing else is said."""

MAX_SIZE = 1024 * 1024 - 512
"""Bytes of a value that a server takes by default: 1 MB for the item, some of it for the key and the head."""

_KEY = re.compile(rb"[\x21-\x7e]{1,250}")
_THIRTY_DAYS = 30 * 86400
_LAST_SECOND = 2**31 - 1  # the server reads 32 bits


class _Ticket(NamedTuple):
    """A cas number, and when the store asked for it, by its own count."""

    number: Any
    moment: int


class _Version(bytes):
    """The version of an entry, as bytes; where it was loaded from memcached, with the ticket to save over it."""

    ticket: _Ticket | None = None


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
            saved = _UNKNOWN if ticket is None else (yield Request("save", name, value, ticket, expiry))
            if saved is _UNKNOWN:
                entry, number = yield from self._look(name)
                saved = entry is not None and entry.version == if_version
                if saved:
                    saved = yield Request("cas", name, value, number, expiry)
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
            return bool((yield Request("delete", name)))
        # A delete has no condition, a cas has: save nothing, expired since 1970.
        if entry.version != if_version or not (yield Request("cas", name, b"", number, _expiry(0))):
            raise VersionConflict("the entry was changed")
        return True

    def _look(self, name: bytes) -> Steps[tuple[Entry | None, Any]]:
        """The entry and memcached's cas number."""
        value, number = yield Request("gets", name)
        return (None, None) if value is None else (_entry(value), number)

    def _key(self, key: str) -> bytes | None:
        name = self._prefix + key.encode()
        return name if _KEY.fullmatch(name) else None


_UNKNOWN = object()
"""The answer to a save by a ticket that may be of another server process."""


def _entry(value: Any) -> Entry:
    if not isinstance(value, bytes):
        raise StoreUnavailable("memcached answered a gets with something that is no bytes: give no serializer")
    return Entry(value[VERSION_BYTES:], _Version(value[:VERSION_BYTES]))


def _expiry(expires_at: int) -> int:
    """Always a date, which memcached tells from a duration by its being beyond 30 days."""
    return min(max(expires_at, _THIRTY_DAYS + 1), _LAST_SECOND)


def _unavailable(*errors: type[Exception]) -> Callable[[BaseException], None]:
    def translate(error: BaseException) -> None:
        if isinstance(error, errors):
            message = f"memcached cannot be used: {type(error).__name__}"
            raise StoreUnavailable(message) from error

    return translate


class MemcachedStore(SteppedStore):
    """Keeps sessions in memcached, through pymemcache.

    There is no `rename`, `find` or `sweep`: the engine creates and deletes instead of a rename.

    Args:
        client: a `pymemcache.PooledClient`, or a `HashClient` with `use_pooling=True` for several servers. A plain
            `Client` must not be shared by threads. It should have a `timeout` and a `connect_timeout`.
        prefix: what all keys begin with.
        max_size: the size in bytes of the biggest value that the server takes.

    Raises:
        ConfigError: the client is none, or has `ignore_exc=True`, which makes a dead server look like one without sessions.
    """

    def __init__(self, client: Any, prefix: str = "hardtack:", max_size: int = MAX_SIZE) -> None:
        if isinstance(client, aiomcache.FlagClient):
            raise ConfigError("client is one of aiomcache; use AsyncMemcachedStore")
        check_client(client, "MemcachedStore", "client", ("gets", "cas"), "a pymemcache.PooledClient or HashClient")
        if getattr(client, "ignore_exc", False):
            raise ConfigError("client has ignore_exc=True, and a server that is down would log everybody out; omit it")
        self._client = client
        self._owned = False
        self._logic = _Logic(prefix, max_size)
        # A HashClient does not say on which connection it asks: it saves in two round trips.
        self._pool: Any = client.client_pool if isinstance(client, pymemcache.PooledClient) else None
        self._moments = itertools.count()
        self._open_since: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @classmethod
    def from_url(cls, url: str, prefix: str = "hardtack:", timeout: float = TIMEOUT) -> MemcachedStore:
        """A store with a client of its own, for `memcached://host:port`. Raises `ConfigError`."""
        client = pymemcache.PooledClient(_address(url), timeout=timeout, connect_timeout=timeout, no_delay=True)
        store = cls(client, prefix)
        store._owned = True
        return store

    def close(self) -> None:
        """Close the client, if the store made it."""
        if self._owned:
            self._client.close()

    def _perform(self, *request: Any) -> Any:
        command, *arguments = request
        if command == "load":
            return self._load(*arguments)
        if command == "save":
            return self._save(*arguments)
        # The answer is what decides: a client that is told not to wait for it says yes to everything.
        options = {} if command == "gets" else {"noreply": False}
        return getattr(self._client, command)(*arguments, **options)

    def _load(self, name: bytes) -> tuple[Any, _Ticket | None]:
        """The value, and the ticket to save over it."""
        if self._pool is None:
            return self._client.gets(name)[0], None
        with self._pool.get_and_release(destroy_on_fail=True) as connection:
            if connection.sock is not None:
                self._open_since.setdefault(connection.sock, next(self._moments))
            moment = next(self._moments)
            value, number = connection.gets(name)
        return value, _Ticket(number, moment)

    def _save(self, name: bytes, value: bytes, ticket: _Ticket, expiry: int) -> Any:
        """Save by a ticket; `_UNKNOWN`, and nothing was sent, where it may be of another server process.

        A connection that was open before the load, and still is, leads to the process that was loaded from: a restart
        would have closed it. (A proxy hides a restart. Then the key must have been created again, too, and have come to
        the same cas number, to be taken for the entry that was loaded; hardtack never creates a key twice.)
        """
        with self._pool.get_and_release(destroy_on_fail=True) as connection:
            # From here on it is not opened anew: where it breaks, the client raises.
            if connection.sock is None or self._open_since.get(connection.sock, ticket.moment) >= ticket.moment:
                return _UNKNOWN
            return connection.cas(name, value, ticket.number, expiry, noreply=False)

    # pymemcache takes an answer apart without looking: nonsense is an IndexError, KeyError or ValueError.
    _translation = Translation(_unavailable(MemcacheError, OSError, LookupError, ValueError))


class AsyncMemcachedStore(AsyncSteppedStore):
    """`MemcachedStore` with coroutines, on an `aiomcache.Client`.

    Args:
        client: the client.
        prefix: what all keys begin with.
        max_size: the size in bytes of the biggest value that the server takes.
        timeout: seconds for one operation, waiting for a connection included: aiomcache has no timeouts.

    Raises `ConfigError`.
    """

    def __init__(
        self, client: Any, prefix: str = "hardtack:", max_size: int = MAX_SIZE, timeout: float = TIMEOUT
    ) -> None:
        if isinstance(client, pymemcache.Client | pymemcache.PooledClient | pymemcache.HashClient):
            raise ConfigError("client is one of pymemcache; use MemcachedStore, or an aiomcache.Client")
        check_client(client, "AsyncMemcachedStore", "client", ("gets", "_multi_get"), "an aiomcache.Client")
        _repair(client)
        self._client = client
        self._owned = False
        self._timeout = timeout
        self._logic = _Logic(prefix, max_size)

    @classmethod
    def from_url(cls, url: str, prefix: str = "hardtack:", timeout: float = TIMEOUT) -> AsyncMemcachedStore:
        """A store with a client of its own, for `memcached://host:port`. Raises `ConfigError`."""
        store = cls(aiomcache.Client(*_address(url), pool_size=20, pool_minsize=1), prefix, timeout=timeout)
        store._owned = True
        return store

    async def close(self) -> None:
        """Close the client, if the store made it."""
        if self._owned:
            await self._client.close()

    async def _perform(self, *request: Any) -> Any:
        command, *arguments = request
        async with asyncio.timeout(self._timeout):
            if command == "load":
                return (await self._client.gets(*arguments))[0], None
            return await getattr(self._client, command)(*arguments)

    _translation = Translation(_unavailable(ClientException, OSError, EOFError, IndexError, ValueError))


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme == "memcached" and parts.hostname and not parts.username and parts.path in ("", "/"):
            return parts.hostname, parts.port or 11211
    except ValueError:  # a port that is none; not shown, as the rest of the URL
        pass
    raise ConfigError("url is not one of memcached: memcached://host:port") from None


def _repair(client: Any) -> None:
    """Mend two faults of aiomcache 0.8, for its connections are shared by all requests.

    When a caller is cancelled, or its time is up, the connection goes back to the pool with the answer unread, and the
    next caller takes it for his own. And when the server closes the connection before an answer, the client reads the
    end of it for ever and blocks the whole event loop.
    """
    read = client._multi_get

    async def execute(connection: Any, command: bytes) -> bytes:
        with _closed_on_failure(connection):
            connection.writer.write(command)
            await connection.writer.drain()
            line: bytes = await connection.reader.readuntil(b"\r\n")
            return line[:-2]

    async def multi_get(connection: Any, *keys: bytes, with_cas: bool = True) -> Any:
        with _closed_on_failure(connection):
            return await read(connection, *keys, with_cas=with_cas)

    client._execute_simple_command = execute
    client._multi_get = multi_get


@contextmanager
def _closed_on_failure(connection: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # The pool closes a connection whose reader has an exception.
        connection.reader.set_exception(ConnectionError("the answer was not read"))
        raise

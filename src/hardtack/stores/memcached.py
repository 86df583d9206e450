"""MemcachedStore and AsyncMemcachedStore: sessions in memcached. It is a cache: it may forget a session at any time.

A value is its version (8 random bytes) and the data. memcached's own cas number is no version: it begins anew when the
server does. So a save asks for the entry and its cas number, compares the version, and saves under the cas number.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from hardtack.errors import ConfigError, StoreError, StoreUnavailable
from hardtack.protocols import Entry, Version, VersionConflict
from hardtack.stores._common import VERSION_BYTES, new_version_bytes
from hardtack.stores._steps import AsyncSteppedStore, Request, SteppedStore, Steps

try:
    import aiomcache
    import pymemcache  # type: ignore[import-untyped]
    from aiomcache.exceptions import ClientException
    from pymemcache.exceptions import MemcacheError  # type: ignore[import-untyped]
except ImportError as error:
    message = "MemcachedStore needs pymemcache and aiomcache: pip install 'hardtack[memcached]'"
    raise ImportError(message) from error

TIMEOUT = 5.0
"""Seconds to wait for a connection and for an answer, where nothing else is said."""

MAX_SIZE = 1024 * 1024 - 512
"""Bytes of a value that a server takes by default: 1 MB for the item, some of it for the key and the head."""

_KEY = re.compile(rb"[\x21-\x7e]{1,250}")
_THIRTY_DAYS = 30 * 86400
_LAST_SECOND = 2**31 - 1  # the server reads 32 bits


class _Logic:
    """What is sent to memcached, for both twins."""

    def __init__(self, prefix: str, max_size: int) -> None:
        if not _KEY.fullmatch(f"{prefix}key".encode()):
            message = f"prefix is {prefix!r}; it must be up to 200 ASCII characters without spaces"
            raise ConfigError(message)
        self._prefix = prefix.encode()
        self._max_size = max_size

    def get(self, key: str) -> Steps[Entry | None]:
        entry, _ = yield from self._load(key)
        return entry

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Steps[Version]:
        if self._key(key) is None:
            raise StoreError("a key of memcached is up to 250 characters of ASCII without spaces, the prefix included")
        version = new_version_bytes()
        value = version + data
        if len(value) > self._max_size:
            # Not sent: memcached would refuse it, and delete the older session under this key.
            message = f"the session takes {len(value)} bytes, and memcached takes {self._max_size}; see -I and max_size"
            raise StoreError(message)
        if if_version is None:
            saved = yield Request("add", self._key(key), value, _expiry(expires_at))
        else:
            entry, number = yield from self._load(key)
            saved = entry is not None and entry.version == if_version
            if saved:
                saved = yield Request("cas", self._key(key), value, number, _expiry(expires_at))
        if not saved:
            raise VersionConflict("the entry was changed, is gone, or exists already")
        return version

    def delete(self, key: str, *, if_version: Version | None) -> Steps[bool]:
        entry, number = yield from self._load(key)
        if entry is None:
            return False
        if if_version is None:
            return bool((yield Request("delete", self._key(key))))
        # A delete has no condition, a cas has: save nothing, expired since 1970.
        if entry.version != if_version or not (yield Request("cas", self._key(key), b"", number, _expiry(0))):
            raise VersionConflict("the entry was changed")
        return True

    def _load(self, key: str) -> Steps[tuple[Entry | None, Any]]:
        """The entry and memcached's cas number."""
        name = self._key(key)
        if name is None:
            return None, None
        value, number = yield Request("gets", name)
        if value is None:
            return None, None
        if not isinstance(value, bytes):
            raise StoreUnavailable("memcached answered a gets with something that is no bytes: give no serializer")
        return Entry(value[VERSION_BYTES:], value[:VERSION_BYTES]), number

    def _key(self, key: str) -> bytes | None:
        name = self._prefix + key.encode()
        return name if _KEY.fullmatch(name) else None


def _expiry(expires_at: int) -> int:
    """Always a date, which memcached tells from a duration by its being beyond 30 days."""
    return min(max(expires_at, _THIRTY_DAYS + 1), _LAST_SECOND)


class MemcachedStore(SteppedStore):
    """Keeps sessions in memcached, through pymemcache.

    There is no `rename`, `find` or `sweep`: the engine creates and deletes instead of a rename.

    Args:
        client: a `pymemcache.PooledClient`, or a `HashClient` with `use_pooling=True` for several servers. A plain
            `Client` must not be shared by threads. It should have a `timeout` and a `connect_timeout`.
        prefix: what all keys begin with.
        max_size: the size in bytes of the biggest value that the server takes.

    Raises:
        ConfigError: the client has `ignore_exc=True`, which makes a dead server look like one without sessions.
    """

    def __init__(self, client: Any, prefix: str = "hardtack:", max_size: int = MAX_SIZE) -> None:
        if getattr(client, "ignore_exc", False):
            raise ConfigError("client has ignore_exc=True, and a server that is down would log everybody out; omit it")
        self._client = client
        self._owned = False
        self._logic = _Logic(prefix, max_size)

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
        # The answer is what decides: a client that is told not to wait for it says yes to everything.
        options = {} if command == "gets" else {"noreply": False}
        return getattr(self._client, command)(*arguments, **options)

    @staticmethod
    @contextmanager
    def _translated() -> Iterator[None]:
        # pymemcache takes an answer apart without looking: nonsense is an IndexError or ValueError.
        with _unavailable(MemcacheError, OSError, IndexError, ValueError):
            yield


class AsyncMemcachedStore(AsyncSteppedStore):
    """`MemcachedStore` with coroutines, on an `aiomcache.Client`.

    Args:
        client: the client.
        prefix: what all keys begin with.
        max_size: the size in bytes of the biggest value that the server takes.
        timeout: seconds for one operation, waiting for a connection included: aiomcache has no timeouts.
    """

    def __init__(
        self, client: Any, prefix: str = "hardtack:", max_size: int = MAX_SIZE, timeout: float = TIMEOUT
    ) -> None:
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
            return await getattr(self._client, command)(*arguments)

    @staticmethod
    @contextmanager
    def _translated() -> Iterator[None]:
        with _unavailable(ClientException, OSError, EOFError, IndexError, ValueError):
            yield


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme == "memcached" and parts.hostname and not parts.username and parts.path in ("", "/"):
            return parts.hostname, parts.port or 11211
    except ValueError:  # a port that is none; not shown, as the rest of the URL
        pass
    raise ConfigError("url is not one of memcached: memcached://host:port") from None


@contextmanager
def _unavailable(*errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        message = f"memcached cannot be used: {type(error).__name__}"
        raise StoreUnavailable(message) from error


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

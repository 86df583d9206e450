"""Which store a URL names: those of hardtack, and those that installed packages register by their scheme.

A package registers one by the entry point group `hardtack.stores`. The entry point's name is the scheme; its object is
anything that has `from_url(url, asynchronous)`, such as a class or a module:

    [project.entry-points."hardtack.stores"]
    dynamodb = "hardtack_dynamodb:DynamoDBStore"
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from hardtack.errors import ConfigError

if TYPE_CHECKING:
    from hardtack.protocols import AsyncStore, Store

GROUP: Final = "hardtack.stores"
"""The group of the entry points; their names are schemes."""


class StoreFactory(Protocol):
    """What an entry point of the group `hardtack.stores` leads to."""

    def from_url(self, url: str, asynchronous: bool) -> Store | AsyncStore:
        """A new store for the URL, whose scheme is the entry point's name; nothing of it has been decoded.

        `asynchronous` asks for an `AsyncStore`, where there is one; a sync store is used from worker threads.

        Raises:
            ConfigError: the URL cannot be understood. The message shows no password.
            ImportError: a package is missing; the message names it.
        """
        ...


def from_url(url: str, *, asynchronous: bool = False) -> Store | AsyncStore:
    """The store that the URL names; a driver is imported only when its scheme is asked for.

    - `memory://`
    - `file:///var/lib/app/sessions`, with `?format=yaml` for YAML
    - `sqlite:///relative/path`, `sqlite:////absolute/path`
    - `redis://user:password@host:6379/0`, `rediss://…` (TLS), `unix:///path/to/socket`, `redis+cluster://host1,host2`,
      `redis+sentinel://host1,host2/service`
    - `memcached://host1:11211,host2:11211`, `memcached+unix:///path/to/socket`
    - what SQLAlchemy understands: `postgresql+psycopg://…`, `mysql+pymysql://…`, `sqlite+pysqlite://…`; and with async
      drivers, which give an async store: `postgresql+asyncpg://…`, `mysql+asyncmy://…`, `sqlite+aiosqlite://…`
    - any scheme that an installed package has registered as an entry point of the group `hardtack.stores`

    `asynchronous=True` gives the async twin for Redis and memcached, and refuses a sync driver of SQLAlchemy. Memory,
    file and SQLite have no async twin: the engine runs them in a worker thread where they can block.

    Raises:
        ConfigError: the URL names no store, or cannot be understood. The message shows no password.
        ImportError: a package is missing; the message names the extra that installs it.
    """
    if not isinstance(url, str) or not url:
        message = (
            "the store's URL is missing" if not url else f"the store's URL is of type {type(url).__name__}, not text"
        )
        message += f"; where it is read from must have one, such as one that begins with {_known()}"
        raise ConfigError(message)
    scheme = url.partition(":")[0].lower()
    if scheme in _STORES:
        module, *names = _STORES[scheme]
        store: Any = getattr(import_module(f"hardtack.stores.{module}"), names[-1 if asynchronous else 0])
        made: Store | AsyncStore = store.from_url(url)
        return made
    if scheme.partition("+")[0] in _SQL:
        return _sqlalchemy_store(url, asynchronous)
    if "://" in url and (found := _registered(scheme)) is not None:
        return _from_entry_point(found, url, asynchronous)
    return _refuse(url, scheme)


_REDIS = ("redis", "RedisStore", "AsyncRedisStore")
_MEMCACHED = ("memcached", "MemcachedStore", "AsyncMemcachedStore")
_STORES: Final[dict[str, tuple[str, ...]]] = {
    "memory": ("memory", "MemoryStore"),
    "file": ("file", "FileStore"),
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "redis+sentinel": _REDIS,
    "rediss+sentinel": _REDIS,
    "unix": _REDIS,
    "redis+unix": _REDIS,
    "memcached": _MEMCACHED,
    "memcached+unix": _MEMCACHED,
    "sqlite": ("sqlite", "SQLiteStore"),
}
"""Schemes, with the module and the names of the class and of its async twin."""

_SQL: Final = ("postgresql", "mysql", "mariadb", "sqlite")

_NEAR: Final = {
    **dict.fromkeys(("postgres", "pgsql", "psql", "pg"), "postgresql+psycopg://, or postgresql+asyncpg:// for async"),
    "mysql2": "mysql+pymysql://, or mysql+asyncmy:// for async",
    "sqlite3": "sqlite://",
    "memcache": "memcached://",
    "valkey": "redis://",
    "valkeys": "rediss://",
    "sentinel": "redis+sentinel://",
    "redis-sentinel": "redis+sentinel://",
    "rediscluster": "redis+cluster://",
    "redis-cluster": "redis+cluster://",
    "redis+socket": "unix://",
    "mem": "memory://",
}
"""What others call it, and what to write here."""


def _known() -> str:
    return ", ".join(
        f"{name}://" for name in dict.fromkeys((*_STORES, *_SQL, *sorted(_names(entry_points(group=GROUP)))))
    )


def _names(points: Iterable[EntryPoint]) -> set[str]:
    return {point.name.lower() for point in points}


def _refuse(url: str, scheme: str) -> NoReturn:
    # The scheme alone: the rest may hold a password, and something that is no URL may be one.
    problem = f"begins with {scheme!r}" if "://" in url else "has no scheme"
    base, plus, driver = scheme.partition("+")
    advice = ""
    if "://" in url:
        if base == "postgres" and plus:
            advice = f"; write postgresql+{driver}://"
        elif scheme in _NEAR:
            advice = f"; write {_NEAR[scheme]}"
        elif near := difflib.get_close_matches(scheme, _STORES, 1, 0.8):
            advice = f"; did you mean {near[0]}://?"
    message = f"the store's URL {problem}{advice}; it must begin with one of {_known()}"
    raise ConfigError(message)


def _sqlalchemy_store(url: str, asynchronous: bool) -> Store | AsyncStore:
    from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, is_async

    if is_async(url):
        return AsyncSQLAlchemyStore.from_url(url)
    if asynchronous:
        raise ConfigError(
            "asynchronous=True needs an async driver: postgresql+asyncpg, mysql+asyncmy, sqlite+aiosqlite"
        )
    return SQLAlchemyStore.from_url(url)


# --- of other packages


def _registered(scheme: str) -> EntryPoint | None:
    """The entry point of the scheme. Raises `ConfigError` where packages disagree about it."""
    found = {point.value: point for point in entry_points(group=GROUP) if point.name.lower() == scheme}
    if len(found) > 1:
        # Neither is taken: which of them comes first depends on the path, and sessions would be in another place tomorrow.
        origins = " and ".join(sorted(map(_origin, found.values())))
        message = f"{scheme}:// is registered more than once, by {origins}; uninstall one"
        raise ConfigError(message)
    return next(iter(found.values()), None)


def _from_entry_point(point: EntryPoint, url: str, asynchronous: bool) -> Store | AsyncStore:
    make = _factory(point)
    store = make(url, asynchronous=asynchronous)
    for method in ("get", "put", "delete", "close"):
        if not callable(getattr(store, method, None)):
            message = f"{_origin(point)} gives no store for {point.name}://: {type(store).__name__} has no {method}()"
            raise ConfigError(message)
    made: Store | AsyncStore = store
    return made


def _factory(point: EntryPoint) -> Callable[..., Any]:
    try:
        make: Any = getattr(point.load(), "from_url", None)
    except (ImportError, AttributeError) as error:
        message = f"{_origin(point)} registers {point.name}://, and cannot be loaded: {type(error).__name__}: {error}"
        raise ConfigError(message) from error
    if not callable(make):
        message = (
            f"{_origin(point)} registers {point.name}:// with {point.value}, which has no from_url(url, asynchronous)"
        )
        raise ConfigError(message)
    factory: Callable[..., Any] = make
    return factory


def _origin(point: EntryPoint) -> str:
    """The package that has the entry point."""
    return point.value if point.dist is None else f"the package {point.dist.name}"

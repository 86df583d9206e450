"""Stores keep sessions on the server; `from_url` makes the one that a URL names. Each store has a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardtack.errors import ConfigError

if TYPE_CHECKING:
    from hardtack.protocols import AsyncStore, Store

__all__ = ["from_url"]

_REDIS = ("redis", "rediss", "redis+cluster", "rediss+cluster")
_SQL = ("postgresql", "mysql", "mariadb", "sqlite")
_KNOWN = ", ".join(f"{name}://" for name in ("memory", "file", *_REDIS, "memcached", *_SQL))


def from_url(url: str, *, asynchronous: bool = False) -> Store | AsyncStore:
    """The store that the URL names; a driver is imported only when its scheme is asked for.

    - `memory://`
    - `file:///var/lib/app/sessions`, with `?format=yaml` for YAML
    - `sqlite:///relative/path`, `sqlite:////absolute/path`
    - `redis://user:password@host:6379/0`, `rediss://…` (TLS), `redis+cluster://…`, `rediss+cluster://…`
    - `memcached://host:11211`
    - what SQLAlchemy understands: `postgresql+psycopg://…`, `mysql+pymysql://…`, `sqlite+pysqlite://…`; and with async
      drivers, which give an async store: `postgresql+asyncpg://…`, `mysql+asyncmy://…`, `sqlite+aiosqlite://…`

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
        message += f"; where it is read from must have one, such as one that begins with {_KNOWN}"
        raise ConfigError(message)
    scheme = url.partition(":")[0].lower()
    if scheme == "memory":
        from hardtack.stores.memory import MemoryStore

        return MemoryStore.from_url(url)
    if scheme == "file":
        from hardtack.stores.file import FileStore

        return FileStore.from_url(url)
    if scheme == "sqlite":
        from hardtack.stores.sqlite import SQLiteStore

        return SQLiteStore.from_url(url)
    if scheme in _REDIS:
        from hardtack.stores.redis import AsyncRedisStore, RedisStore

        return AsyncRedisStore.from_url(url) if asynchronous else RedisStore.from_url(url)
    if scheme == "memcached":
        from hardtack.stores.memcached import AsyncMemcachedStore, MemcachedStore

        return AsyncMemcachedStore.from_url(url) if asynchronous else MemcachedStore.from_url(url)
    if scheme.partition("+")[0] in _SQL:
        return _sqlalchemy_store(url, asynchronous)
    # The scheme alone: the rest may hold a password, and something that is no URL may be one.
    problem = f"begins with {scheme!r}" if "://" in url else "has no scheme"
    message = f"the store's URL {problem}; it must begin with one of {_KNOWN}"
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

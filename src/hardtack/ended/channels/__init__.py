"""The channels; `open_channel` makes the one that a URL names. Each has a module of its own."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from hardtack.ended.protocol import Channel
from hardtack.errors import ConfigError

_REDIS = (
    *("redis", "rediss", "unix", "redis+unix"),
    *("redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"),
)
_SQL = ("postgresql", "mysql", "mariadb", "sqlite")
_KNOWN = ", ".join(f"{name}://" for name in ("memory", "file", *_REDIS, *_SQL))


def check_url(url: str) -> None:
    """Raise `ConfigError` unless the URL is for a channel, with options that its database's driver takes.

    The message shows no password.
    """
    if not isinstance(url, str) or not url:
        message = f"the URL of the list of ended sessions must be text that begins with one of {_KNOWN}"
        raise ConfigError(message)
    scheme = url.partition(":")[0].lower()
    if scheme not in ("memory", "file", *_REDIS) and scheme.partition("+")[0] not in _SQL:
        # The scheme alone: the rest may hold a password, and something that is no URL may be one.
        problem = f"begins with {scheme!r}" if "://" in url else "has no scheme"
        message = f"the URL of the list of ended sessions {problem}; it must begin with one of {_KNOWN}"
        raise ConfigError(message)
    if scheme.partition("+")[0] in _SQL:
        with suppress(ImportError):  # of a package: who opens it is told
            from hardtack.ended.channels.sql import check_options

            check_options(url)


def open_channel(url: str, purpose: str) -> Channel:
    """The channel of a URL, for one purpose; a driver is imported only when its scheme is asked for.

    - `memory://`: for tests, and for one process alone
    - `file:///var/lib/app/ended`, on a local disk
    - `redis://host:6379/0`, `rediss://…`, `redis+cluster://…`, `redis+sentinel://host:26379,host:26379/service/0`
    - `unix:///run/redis/redis.sock?db=0`, a Redis on a Unix socket
    - what SQLAlchemy understands, with a sync driver: `postgresql+psycopg://…`, `mysql+pymysql://…`, `sqlite:///path`

    Raises `ConfigError`, and `ImportError` where a package is missing.
    """
    check_url(url)
    scheme = url.partition(":")[0].lower()
    # Purposes are any text; names of tables and streams are not.
    suffix = f"_{hashlib.sha256(purpose.encode()).hexdigest()[:12]}" if purpose else ""
    if scheme == "memory":
        from hardtack.ended.channels.memory import MemoryChannel

        return MemoryChannel()
    if scheme == "file":
        from hardtack.ended.channels.file import FileChannel

        return FileChannel.from_url(url, suffix)
    if scheme in _REDIS:
        from hardtack.ended.channels.redis import RedisChannel

        return RedisChannel.from_url(url, suffix)
    from hardtack.ended.channels.sql import SQLChannel

    return SQLChannel.from_url(url, suffix)

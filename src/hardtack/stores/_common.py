"""What every store needs: versions that never come back, a digest of the subject, errors of our own, and checked settings."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

from hardtack.errors import ConfigError

VERSION_BYTES = 8


def new_version_bytes() -> bytes:
    """Eight random bytes: unlike a counter, they stay unique over a delete, a restart and a fail-over."""
    return os.urandom(VERSION_BYTES)  # what secrets.token_bytes does, without its two calls


def new_version() -> int:
    """A random version that fits into a signed 64-bit column."""
    return int.from_bytes(os.urandom(8), "big") >> 1  # what secrets.randbits(63) does, without its three calls


def subject_digest(subject: str) -> bytes:
    """SHA-256 of the subject: of one length for every subject, and exact where a database's collation is not."""
    return hashlib.sha256(subject.encode()).digest()


def is_full_disk(error: OSError) -> bool:
    """Whether the disk has no room, or the user none that is left of a quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def check_count(value: Any, setting: str) -> None:
    """Raise `ConfigError` unless the value is a whole number of 1 or more."""
    if type(value) is not int or value < 1:
        message = f"{setting} is {value!r}; it must be 1 or more, a whole number"
        raise ConfigError(message)


def check_seconds(value: Any, setting: str) -> None:
    """Raise `ConfigError` unless the value is a number of seconds."""
    if type(value) not in (int, float) or not value >= 0:
        message = f"{setting} is {value!r}; it must be a number of seconds"
        raise ConfigError(message)


def check_client(value: Any, store: str, setting: str, methods: tuple[str, ...], kind: str) -> None:
    """Raise `ConfigError` where the value is a URL, or lacks what the store asks of every client."""
    if isinstance(value, str | bytes):  # not shown: it may hold a password
        message = f"{setting} is text; with a URL it is {store}.from_url(url)"
        raise ConfigError(message)
    if not all(hasattr(value, name) for name in methods):
        message = f"{setting} is of type {type(value).__name__}; {store} takes {kind}"
        raise ConfigError(message)


def at(*servers: str) -> str:
    """What a message says after the name of the server: where it is, as far as it is known."""
    return f" at {', '.join(servers)}" if servers else ""


def address(host: Any, port: Any = None) -> str:
    """A host with its port, or the path of a socket, as people write them: for logs, and without user and password."""
    if port is None:
        return str(host)
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class Translation:
    """A context in which a driver's errors become ours; it may be used by many at once.

    Not one of `contextlib`, which takes a microsecond for each use, where a read of SQLite takes five.
    """

    __slots__ = ("_translate",)

    def __init__(self, translate: Callable[[BaseException], None]) -> None:
        """`translate` is given each error, and raises another or returns."""
        self._translate = translate

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._translate(error)

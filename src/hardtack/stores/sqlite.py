"""SQLiteStore: sessions in one SQLite file, shared by the threads and processes of one machine; the embedded default."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.protocols import Entry, Tombstone, Version, VersionConflict
from hardtack.stores._common import check_count, check_seconds, new_version

SCHEMA = """\
CREATE TABLE IF NOT EXISTS hardtack_sessions (
    key TEXT NOT NULL PRIMARY KEY,
    data BLOB NOT NULL,
    version INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    subject TEXT
);
CREATE INDEX IF NOT EXISTS hardtack_sessions_expires_at ON hardtack_sessions (expires_at);
CREATE INDEX IF NOT EXISTS hardtack_sessions_subject ON hardtack_sessions (subject) WHERE subject IS NOT NULL;
"""

_GET = "SELECT data, version FROM hardtack_sessions WHERE key = ? AND expires_at > ?"
_CREATE = """\
INSERT INTO hardtack_sessions (key, data, version, expires_at, subject) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE
SET data = excluded.data, version = excluded.version, expires_at = excluded.expires_at, subject = excluded.subject
WHERE hardtack_sessions.expires_at <= ?"""
_SAVE = """\
UPDATE hardtack_sessions SET data = ?, version = ?, expires_at = ?, subject = ?
WHERE key = ? AND version = ? AND expires_at > ?"""
_DELETE = "DELETE FROM hardtack_sessions WHERE key = ? AND expires_at > ?"
_DELETE_VERSION = "DELETE FROM hardtack_sessions WHERE key = ? AND expires_at > ? AND version = ?"
_FIND = "SELECT key FROM hardtack_sessions WHERE subject = ?"
_SWEEP = """\
DELETE FROM hardtack_sessions
WHERE key IN (SELECT key FROM hardtack_sessions WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"""


class SQLiteStore:
    """Keeps sessions in an SQLite file, in WAL mode: readers and the one writer do not wait for each other.

    What was committed survives the end of the process, SIGKILL included. With `synchronous="NORMAL"` a power failure
    can take back the last commits, a logout among them; with `"FULL"` it cannot, and each commit waits for the disk.

    Connections are opened when needed, used by one thread at a time, and not carried over a fork.

    Args:
        path: the file; it is made, with mode 0600, if it is not there. Its directory must be on a local disk.
        timeout: seconds to wait for another writer before `StoreUnavailable`.
        synchronous: `NORMAL` or `FULL`.
        batch: how many entries `sweep` deletes at a time.

    Raises:
        ConfigError: a setting is wrong, or the file cannot be made.
    """

    blocking = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = 5.0,
        synchronous: str = "NORMAL",
        batch: int = 1000,
    ) -> None:
        if synchronous not in ("NORMAL", "FULL"):
            message = f"synchronous is {synchronous!r}; it must be 'NORMAL' or 'FULL'"
            raise ConfigError(message)
        if not isinstance(path, str | os.PathLike):
            message = f"path is of type {type(path).__name__}; it must be the path of a file"
            raise ConfigError(message)
        check_seconds(timeout, "timeout")
        check_count(batch, "batch")
        if str(path) in ("", ":memory:"):
            raise ConfigError("path must be a file: every connection would have a database of its own; use MemoryStore")
        self._path = Path(path).absolute()
        self._timeout = timeout
        self._synchronous = synchronous
        self._batch = batch
        self._idle: deque[sqlite3.Connection] = deque()
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
            problem = error.strerror if isinstance(error, OSError) else error
            message = f"path is {str(self._path)!r}, and no database can be kept there: {problem}"
            raise ConfigError(message) from error
        _stores.add(self)

    @classmethod
    def from_url(cls, url: str) -> SQLiteStore:
        """The store of `sqlite:///relative/path` or `sqlite:////absolute/path`. Raises `ConfigError`."""
        parts = urlsplit(url)
        if parts.netloc or parts.query or not parts.path[1:]:
            raise ConfigError("the store's URL must be like sqlite:///relative/path or sqlite:////absolute/path")
        return cls(unquote(parts.path[1:]))

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or it has expired."""
        with self._connection() as connection:
            row = connection.execute(_GET, (key, time.time())).fetchone()
        return None if row is None else Entry(*row)

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        """Compare-and-set; see `Store.put`. Raises `VersionConflict`."""
        with self._connection() as connection:
            return _put(connection, key, data, expires_at, if_version, subject)

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        with self._connection() as connection:
            if if_version is None:
                return connection.execute(_DELETE, (key, time.time())).rowcount == 1
            if connection.execute(_DELETE_VERSION, (key, time.time(), if_version)).rowcount == 1:
                return True
            if connection.execute(_GET, (key, time.time())).fetchone() is not None:
                raise VersionConflict("the entry was changed")
            return False

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None = None,
    ) -> Version:
        """Move an entry to a new key in one transaction; see `Renames`. Raises `VersionConflict`."""
        with self._connection() as connection, _transaction(connection):
            version = _put(connection, new, data, expires_at, None, subject)
            if tombstone is not None:
                _put(connection, old, tombstone.data, tombstone.expires_at, if_version, None)
            elif connection.execute(_DELETE_VERSION, (old, time.time(), if_version)).rowcount != 1:
                raise VersionConflict("the entry was changed or is gone")
            return version

    def find(self, subject: str) -> list[str]:
        """The keys of the subject's entries."""
        with self._connection() as connection:
            return [key for (key,) in connection.execute(_FIND, (subject,))]

    def sweep(self, now: float) -> int:
        """Delete what expired at `now`, in batches that let other writers in between; returns how many."""
        swept = 0
        while True:
            with self._connection() as connection:
                gone = connection.execute(_SWEEP, (now, self._batch)).rowcount
            swept += gone
            if gone < self._batch:
                return swept

    def close(self) -> None:
        """Close the connections that are not in use."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _connection(self) -> _Lease:
        return _Lease(self)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.executescript(SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


class _Lease:
    """A connection for this thread alone, given back afterwards; after an error it is closed instead.

    Not one of `contextlib`, which takes as long as half of a read.
    """

    __slots__ = ("_connection", "_store")

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = self._store._idle.pop()
        except IndexError:
            try:
                self._connection = self._store._connect()
            except sqlite3.Error as error:
                raise _unavailable(error) from error
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, VersionConflict):
            self._store._idle.append(self._connection)
            return
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise _unavailable(error) from error


def _put(
    connection: sqlite3.Connection,
    key: str,
    data: bytes,
    expires_at: int,
    if_version: Version | None,
    subject: str | None,
) -> int:
    version = new_version()
    if if_version is None:
        parameters: tuple[Any, ...] = (key, data, version, expires_at, subject, time.time())
        if connection.execute(_CREATE, parameters).rowcount != 1:
            raise VersionConflict("the entry exists already")
    else:
        parameters = (data, version, expires_at, subject, key, if_version, time.time())
        if connection.execute(_SAVE, parameters).rowcount != 1:
            raise VersionConflict("the entry was changed or is gone")
    return version


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")  # takes the write lock at once: a reader that becomes a writer may fail
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    return StoreUnavailable(f"the SQLite database of the sessions cannot be used: {error}")


def _leave_connections_to_the_parent() -> None:
    for store in list(_stores):
        _inherited.append(store._idle)
        store._idle = deque()


_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
# SQLite forbids to use a connection in the child of a fork, and to close it too: so those that came over are kept.
_inherited: list[deque[sqlite3.Connection]] = []
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_leave_connections_to_the_parent)

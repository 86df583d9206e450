"""SQLiteStore: sessions in one SQLite file, shared by the threads and processes of one machine; the embedded default."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hardtack.errors import ConfigError, StoreFull
from hardtack.protocols import Entry, Progress, Tombstone, Version, VersionConflict
from hardtack.stores import _forks
from hardtack.stores._common import check_count, check_seconds, new_version
from hardtack.stores._sqlite_connections import CHECKPOINT, SCHEMA, Connections, Lease, give_up
from hardtack.stores._sqlite_log import Log

__all__ = ["SCHEMA", "SQLiteStore"]

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
_COUNT = "SELECT count(*) FROM hardtack_sessions WHERE expires_at > ?"
_COUNT_DEAD = "SELECT count(*) FROM hardtack_sessions WHERE expires_at <= ?"
_SWEEP = """\
DELETE FROM hardtack_sessions
WHERE rowid IN (SELECT rowid FROM hardtack_sessions WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"""
_INCREMENTAL = 2
_SHORTEN = "PRAGMA incremental_vacuum({})"

_KEPT_FREE = 100
"""How many free pages of the file a sweep leaves to the sessions to come."""

_PAUSE = 9
"""Times as long as a step of a sweep took, it waits before the next."""

_STEP = 0.0005
"""Seconds that a step takes which shortens the file: the more pages are free, the longer SQLite looks for each of them."""

_LONGEST_PAUSE = 2.0
"""Seconds; a step may also have waited, for somebody who held the file for long."""

_URL = (
    "the store's URL must be like sqlite:///relative/path or sqlite:////absolute/path: three slashes, and the path after "
    "them, without options"
)


class SQLiteStore:
    """Keeps sessions in an SQLite file, in WAL mode: readers and the one writer do not wait for each other.

    What was committed survives the end of the process, SIGKILL included. With `synchronous="NORMAL"` a power failure
    can take back the last commits, a logout among them; with `"FULL"` it cannot, and each commit waits for the disk.

    Connections are opened when needed, used by one thread at a time, and not carried over a fork. A file that is replaced
    or deleted in use is noticed by the next call, which goes on with the one that is there then.

    Args:
        path: the file; it is made, with mode 0600, if it is not there. Its directory must be on a local disk. A relative
            path is taken from the directory that is current when the store is made.
        timeout: seconds to wait for another writer before `StoreUnavailable`.
        synchronous: `NORMAL` or `FULL`.
        batch: how many entries `sweep` deletes at a time; meanwhile who saves waits.
        reads_on_loop: under async frameworks read on the event loop, and not in a worker thread, which takes several times
            as long as the read. In WAL mode a reader waits for no writer. The event loop does wait for the disk where
            the file is not in memory, and up to `timeout` where another program locks the whole file.

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
        batch: int = 5,
        reads_on_loop: bool = False,
    ) -> None:
        if synchronous not in ("NORMAL", "FULL"):
            message = f"synchronous is {synchronous!r}; it must be 'NORMAL' or 'FULL'"
            raise ConfigError(message)
        if not isinstance(path, str | os.PathLike):
            message = f"path is of type {type(path).__name__}; it must be the path of a file"
            raise ConfigError(message)
        if not isinstance(reads_on_loop, bool):
            message = f"reads_on_loop is {reads_on_loop!r}; it must be True or False"
            raise ConfigError(message)
        check_seconds(timeout, "timeout")
        check_count(batch, "batch")
        if str(path) in ("", ":memory:"):
            raise ConfigError("path must be a file: every connection would have a database of its own; use MemoryStore")
        self._batch = batch
        self.blocking_get = not reads_on_loop
        self._connections = Connections(Path(path).absolute(), timeout, synchronous)

    @classmethod
    def from_url(cls, url: str) -> SQLiteStore:
        """The store of `sqlite:///relative/path` or `sqlite:////absolute/path`. Raises `ConfigError`."""
        path = url[len("sqlite:///") :]
        if not url.lower().startswith("sqlite:///") or not path or "?" in path or "#" in path:
            raise ConfigError(_URL)
        return cls(unquote(path))

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or it has expired."""
        # Without the lease of the others, which takes as long as a tenth of the read.
        idle, connection = self._connections.take()
        try:
            row = connection.execute(_GET, (key, time.time())).fetchone()
        except BaseException as error:
            give_up(connection, error)
        self._connections.give_back(idle, connection)
        return None if row is None else Entry(*row)

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        """Compare-and-set; see `Store.put`. Raises `VersionConflict`."""

        def save(connection: sqlite3.Connection) -> int:
            return _put(connection, key, data, expires_at, if_version, subject)

        return self._save(save)

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        try:
            return self._delete(key, if_version)
        except StoreFull:
            self._connections.reserve.use()
        deleted = self._delete(key, if_version)
        with suppress(StoreFull):
            self._write_back()
        return deleted

    def _delete(self, key: str, if_version: Version | None) -> bool:
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

        def save(connection: sqlite3.Connection) -> int:
            with _transaction(connection):
                version = _put(connection, new, data, expires_at, None, subject)
                if tombstone is not None:
                    _put(connection, old, tombstone.data, tombstone.expires_at, if_version, None)
                elif connection.execute(_DELETE_VERSION, (old, time.time(), if_version)).rowcount != 1:
                    raise VersionConflict("the entry was changed or is gone")
                return version

        return self._save(save)

    def find(self, subject: str) -> list[str]:
        """The keys of the subject's entries."""
        with self._connection() as connection:
            return [key for (key,) in connection.execute(_FIND, (subject,))]

    def count(self, subject: str | None = None) -> int:
        """How many entries there are, or how many of the subject's; see `Counts`. Looks at each of them."""
        statement, values = (_COUNT, ()) if subject is None else (f"{_COUNT} AND subject = ?", (subject,))
        with self._connection() as connection:
            number: int = connection.execute(statement, (time.time(), *values)).fetchone()[0]
            return number

    def sweep(self, now: float, progress: Progress | None = None) -> int:
        """Delete what expired at `now`, then shorten the file; returns how many were deleted.

        In small transactions, with pauses of nine times their length: a request that saves seldom finds one in its way.
        `progress` as in `Sweeps`.
        """
        swept = total = 0
        if progress is not None:
            with self._connection() as connection:
                total = connection.execute(_COUNT_DEAD, (now,)).fetchone()[0]

        def sweep(connection: sqlite3.Connection) -> int:
            return connection.execute(_SWEEP, (now, self._batch)).rowcount

        gone = self._batch
        with Log(self._connections) as log:
            while gone >= self._batch:
                with _Step(), _forks.held_off():
                    gone = self._save(sweep, log.begin_anew)
                swept += gone
                log.follow()
                if progress is not None:
                    progress(swept, total)
            self._shorten(log)
        self._connections.reserve.keep()
        return swept

    def reconnect(self) -> None:
        """Use none of the connections that are open now again; see `Reconnects`."""
        self._connections.renew()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._connections.idle.close()

    def _connection(self) -> Lease:
        return Lease(self._connections)

    def _save(self, save: Callable[[sqlite3.Connection], int], write_back: Callable[[], object] | None = None) -> int:
        """Save; where the disk is full, once more over a log that was written back: it may be the log that has filled it."""
        try:
            with self._connection() as connection:
                return save(connection)
        except StoreFull:
            (write_back or self._write_back)()
        with self._connection() as connection:
            return save(connection)

    def _write_back(self) -> None:
        """Write the log to the file. The next one who saves then writes over the log."""
        with self._connection() as connection:
            connection.execute(CHECKPOINT)

    def _shorten(self, log: Log) -> None:
        """Give the free pages at the end of the file back to the file system, where the file was made for it."""
        pages, done = 1, False
        while not done:
            with _Step() as step, _forks.held_off(), self._connection() as connection:
                done = _spare(connection) <= _KEPT_FREE
                if not done:
                    # A script runs to its end: `execute` stops at what would be the first row, which is the first page.
                    connection.executescript(_SHORTEN.format(pages))
            pages = pages + 1 if step.took < _STEP else max(1, pages // 2)
            log.follow()


class _Step:
    """A step of a sweep, and the pause after it."""

    took = 0.0
    """Seconds."""

    def __enter__(self) -> _Step:
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.took = time.monotonic() - self._began
        if kind is None:
            time.sleep(min(_LONGEST_PAUSE, _PAUSE * self.took))


def _spare(connection: sqlite3.Connection) -> int:
    """How many free pages the file could be shortened by; none where it was not made for it."""
    if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
        return 0
    number: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return number


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

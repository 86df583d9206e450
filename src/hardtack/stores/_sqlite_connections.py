"""The connections of an SQLiteStore: used by one thread at a time, in the process that opened them, to the file there is."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from hardtack.errors import ConfigError, StoreFull, StoreUnavailable
from hardtack.protocols import VersionConflict
from hardtack.stores import _forks
from hardtack.stores._common import is_full_disk

_log = logging.getLogger("hardtack")

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

CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
"""Write the log to the file, as far as nobody reads an older state; the answer: busy, pages of the log, those in the file."""

RESERVE = 256 * 1024
"""Bytes of a file beside the database, which is deleted where the disk is full: SQLite needs room to delete as well."""

CHECKPOINT_AFTER = 4000
"""Pages of the log, four times SQLite's default: 16 MB. Who then saves writes them to the file and waits for the disk, and
who saves next waits for it as well, while nobody else can save."""

_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)

_ATTEMPTS = 10
"""How often a connection is opened anew where the file is replaced just then."""
_PAUSE = 0.005
"""Seconds until a file is tried again that somebody else has locked."""
_LONGEST = 1_000_000
"""Seconds that SQLite waits at most: it counts milliseconds in 32 bits, and does not wait at all for what is beyond."""


class Idle(deque[sqlite3.Connection]):
    """The connections that nobody uses, all of one process and to one file."""

    def __init__(self, device: int, inode: int) -> None:
        super().__init__()
        self.device = device
        self.inode = inode
        self.process = os.getpid()

    def usable(self, file: os.stat_result) -> bool:
        """Whether this process opened them, and to this file."""
        return self.inode == file.st_ino and self.device == file.st_dev and self.process == os.getpid()

    def close(self) -> None:
        """Close them all."""
        with suppress(IndexError):
            while True:
                self.pop().close()


class Connections:
    """Opens, lends and takes back connections; see `SQLiteStore` for the settings."""

    def __init__(self, path: Path, timeout: float, synchronous: str) -> None:
        self.path = path
        self._name = str(path)  # of a Path the system would be asked by a call of Python's more, for each request
        self._timeout = min(timeout, _LONGEST)
        self._synchronous = synchronous
        try:
            file = self._file()
            if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError(0, "it is no file that can be read and written")
        except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
            problem = error.strerror if isinstance(error, OSError) else error
            message = f"path is {str(self.path)!r}, and no database can be kept there: {problem}"
            raise ConfigError(message) from error
        self.idle = Idle(file.st_dev, file.st_ino)
        self._reserve = path.with_name(f"{path.name}-reserve")
        self.keep_reserve()
        _forks.watch(self)

    def take(self) -> tuple[Idle, sqlite3.Connection]:
        """A connection for this thread alone, and where it belongs. Raises `StoreUnavailable`.

        Each time it looks whether the file is still there. After a restore, or a cleaner of temporary files, the
        connections would go on with the old one, and other processes with the new: a logout in one would not hold in
        the other.
        """
        idle = self.idle
        try:
            if idle.usable(os.stat(self._name)):
                return idle, idle.pop()
        except (IndexError, OSError):  # none is idle, or there is no file
            pass
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error) from error

    def give_back(self, idle: Idle, connection: sqlite3.Connection) -> None:
        """For the next one; not where the file is another one by now."""
        if idle is self.idle:
            idle.append(connection)
        else:
            connection.close()

    def renew(self) -> None:
        """Close what is not in use; what is will not be used again."""
        before = self.idle
        self.idle = Idle(before.device, before.inode)
        before.close()

    def keep_reserve(self) -> None:
        """Set `RESERVE` aside, where that much is left."""
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # which Windows lacks
        with suppress(OSError), os.fdopen(os.open(self._reserve, flags, 0o600), "wb") as file:
            if os.fstat(file.fileno()).st_size < RESERVE:
                file.write(os.urandom(RESERVE))  # not zeros, which some file systems do not keep

    def use_reserve(self) -> None:
        """Give the room back: somebody wants to be logged out."""
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def before_fork(self) -> None:
        """Close what is not in use.

        In every process SQLite counts its locks on a file. A child has the count of its parent, but not the locks, and
        takes none for connections of its own: the parent then removes the log that the child still writes to.
        """
        self.idle.close()

    def after_fork(self) -> None:
        """Close what came over after all, for the same reason, and keep nothing of it."""
        self.renew()

    def _open(self) -> tuple[Idle, sqlite3.Connection]:
        if self.idle.process != os.getpid():
            self.after_fork()
        for _ in range(_ATTEMPTS):
            idle = self._idle_for(self._file())
            connection = self._connect()
            with suppress(FileNotFoundError):
                if idle.usable(self.path.stat()):  # else it may be open to either
                    return idle, connection
            connection.close()
        raise FileNotFoundError(0, "its file is replaced all the time")

    def _idle_for(self, file: os.stat_result) -> Idle:
        """Where connections to this file belong. Those to another one are closed: they would never be used again."""
        idle = self.idle
        if not idle.usable(file):
            _log.warning(
                "the SQLite file of the sessions was replaced or deleted: going on with the one that is there now"
            )
            self.idle = Idle(file.st_dev, file.st_ino)
            idle.close()
        return self.idle

    def _file(self) -> os.stat_result:
        """The file, made where there is none.

        One that is there is not opened: closing it would give up the locks that SQLite holds on it in this process.
        """
        with suppress(FileNotFoundError):
            return self.path.stat()
        with _alone_in(self.path.parent), suppress(FileExistsError):
            if not self.path.exists():
                # What is left of a database that was deleted, and would be taken for the log of the new one.
                for end in ("-wal", "-shm"):
                    self.path.with_name(f"{self.path.name}{end}").unlink(missing_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return self.path.stat()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # a sweep can then shorten the file
            self._write_ahead(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_AFTER}")
            connection.executescript(SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Let the file have a log that is written ahead. Of several who do that to a new file SQLite lets nobody wait."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
            else:
                return


class Lease:
    """A connection for this thread alone, given back afterwards; after an error it is closed instead.

    Not one of `contextlib`, which takes as long as half of a read.
    """

    __slots__ = ("_connection", "_connections", "_idle")

    _idle: Idle
    _connection: sqlite3.Connection

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __enter__(self) -> sqlite3.Connection:
        self._idle, self._connection = self._connections.take()
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, VersionConflict):
            self._connections.give_back(self._idle, self._connection)
        else:
            give_up(self._connection, error)


def give_up(connection: sqlite3.Connection, error: BaseException) -> NoReturn:
    """Close a connection that failed. An error that is not sqlite3's own, of a call that was interrupted, is no other."""
    connection.close()
    if isinstance(error, Exception):
        raise unavailable(error) from error
    raise error


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory: of two processes that find no file one may have made it, and begun to write, already."""
    try:
        import fcntl
    except ImportError:  # Windows, where a file that is open cannot be deleted
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def unavailable(error: BaseException) -> StoreUnavailable:
    """What a caller is told of an error."""
    if isinstance(error, OSError):
        problem, full = error.strerror, is_full_disk(error)
    else:
        problem, full = str(error), getattr(error, "sqlite_errorcode", None) in _FULL
    message = f"the SQLite database of the sessions cannot be used: {problem}"
    return StoreFull(message) if full else StoreUnavailable(message)

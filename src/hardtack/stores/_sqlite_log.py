"""The log of an SQLite file while a sweep writes much to it: no request has to write it to the file, or waits for the disk."""

from __future__ import annotations

import shutil
import sqlite3

from hardtack.stores import _forks
from hardtack.stores._full_disk import real
from hardtack.stores._sqlite_connections import CHECKPOINT, Connections, Lease, give_up

_AT_ONCE = 1000
"""Pages of the log that are written to the file at a time, in some hundredths of a second."""

_LONGEST = 25_000
"""Pages of the log until it is begun anew, 100 MB: whoever writes first then waits for the disk, and all others for him."""

_SHARE = 4
"""The log may grow to this part of what is free on the disk."""

_ATTEMPTS = 5
"""How often the log is written to the file until nobody has added to it meanwhile."""

_WAIT = 0.02
"""Seconds to wait for those who read from the log: all who save wait as well."""


class Log:
    """Follows the log of a file during a sweep, as a context.

    Who commits when the log has `CHECKPOINT_AFTER` pages writes to the file what of it may be written: all that no reader
    still needs in its old state. So there is always a reader here, of a state that has been written already: for others
    nothing is left. Only the sweep itself, in its own time, lets the reader go on and writes the next part.

    The reader is open all the time, and no child of a fork may have it: see `Connections.before_fork`.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._reader: sqlite3.Connection | None = None
        self._pages = self._written = self._longest = 0
        self._too_long = False
        _forks.watch(self)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with _forks.held_off():
            self._release()
            if kind is None:
                self._write_all()
                self._when_all_is_written("TRUNCATE")

    def before_fork(self) -> None:
        """Go on without a reader until the next step."""
        self._release()

    def after_fork(self) -> None:
        """Nothing: the sweep is the parent's."""

    def follow(self) -> None:
        """After each step: write a part of the log to the file, where there is enough of it."""
        with _forks.held_off():
            self._follow()

    def _follow(self) -> None:
        if self._reader is None and not self._too_long:
            free = shutil.disk_usage(real(self._connections.path).parent).free
            with Lease(self._connections) as connection:
                ((page_size,),) = connection.execute("PRAGMA page_size")
            self._longest = min(_LONGEST, free // _SHARE // page_size)
            self._read_on()
            return
        before = self._pages
        self._write()
        if self._pages < before:
            self._too_long = False
        elif self._pages >= self._longest:
            self.begin_anew()
        elif self._pages - self._written >= _AT_ONCE and not self._too_long:
            self._read_on()

    def begin_anew(self) -> None:
        """Where somebody reads from the log, stay without a reader until it succeeds: it may be another sweep."""
        self._release()
        self._too_long = not self._write_all() and not self._when_all_is_written("RESTART")
        self._longest = self._pages + _AT_ONCE  # until it is tried again

    def _read_on(self) -> None:
        """Read what is there now instead, and write to the file all up to it.

        In this order: who reads a state that is wholly in the file needs no log, and keeps nobody from writing it.
        """
        _, reader = self._connections.take()
        try:
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM hardtack_sessions LIMIT 1").fetchone()
            self._release()
            self._reader = reader
        except BaseException as error:
            give_up(reader, error)
        self._write()

    def _release(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _write(self) -> None:
        with Lease(self._connections) as connection:
            _, pages, written = connection.execute(CHECKPOINT).fetchone()
        if pages >= 0:  # else somebody else does it just now
            self._pages, self._written = pages, written

    def _write_all(self) -> bool:
        """Whether the whole log is in the file, so that whoever writes next begins it anew."""
        for _ in range(_ATTEMPTS):
            self._write()
            if self._pages == self._written:
                return True
        return False

    def _when_all_is_written(self, mode: str) -> bool:
        """Whether the log is begun anew. What was added meanwhile is written while those who save wait, but not for long."""
        with Lease(self._connections) as connection:
            ((timeout,),) = connection.execute("PRAGMA busy_timeout")
            connection.execute(f"PRAGMA busy_timeout = {int(_WAIT * 1000)}")
            ((busy, *_),) = connection.execute(f"PRAGMA wal_checkpoint({mode})")
            connection.execute(f"PRAGMA busy_timeout = {timeout}")
        return not busy

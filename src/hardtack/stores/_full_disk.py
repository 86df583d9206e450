"""What databases of SQLite need where the disk is full: how they say so, and room that was kept for those who log out."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

RESERVE = 256 * 1024
"""Bytes of a file beside the database, which is deleted where the disk is full: SQLite needs room to delete as well."""

FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
"""The codes of SQLite's errors."""


class Reserve:
    """The room that is kept beside a database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.keep()

    def keep(self) -> None:
        """Set `RESERVE` aside, where that much is left; not before there is a database.

        Nothing that is there is opened. It may be a pipe, which would be waited at for ever, or a link to another file, which
        would be written over.
        """
        with suppress(OSError):
            path = self._path()
            if not self._database.exists() or _is_kept(path):
                return
            path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(os.urandom(RESERVE))  # not zeros, which some file systems do not keep

    def use(self) -> None:
        """Give the room back: somebody wants to be logged out."""
        with suppress(OSError):
            self._path().unlink(missing_ok=True)

    def _path(self) -> Path:
        return real(self._database, "-reserve")


def real(database: Path, end: str = "") -> Path:
    """Where the file of a database is, and what has its name with this `end`: SQLite's log is not beside a link to it."""
    return Path(f"{os.path.realpath(database)}{end}")


def _is_kept(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size >= RESERVE

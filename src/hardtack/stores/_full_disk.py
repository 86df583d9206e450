"""What databases of SQLite need where the disk is full: how they say so, and room that was kept for those who log out."""

from __future__ import annotations

import os
import sqlite3
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
        self._path = database.with_name(f"{database.name}-reserve")
        self.keep()

    def keep(self) -> None:
        """Set `RESERVE` aside, where that much is left; not before there is a database."""
        if not self._database.exists():
            return
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # which Windows lacks
        with suppress(OSError), os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
            if os.fstat(file.fileno()).st_size < RESERVE:
                file.write(os.urandom(RESERVE))  # not zeros, which some file systems do not keep

    def use(self) -> None:
        """Give the room back: somebody wants to be logged out."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

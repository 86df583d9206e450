"""Stores of files on a full disk, and databases that say that they are full."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from hardtack.errors import StoreFull
from hardtack.protocols import VersionConflict
from hardtack.stores._sqlite_connections import RESERVE
from hardtack.stores.file import FileStore
from hardtack.stores.sqlalchemy import SQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing.stores import create, in_an_hour, new_key


def on_a_small_disk(url: str, directory: Path, *more: str) -> list[str]:
    """What the program prints; the test is skipped where nobody may mount."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there are no namespaces of Linux")
    alone = [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "mount", "-t", "tmpfs", "tmpfs", directory], capture_output=True).returncode != 0:
        pytest.skip("nothing may be mounted here")
    command = [*alone, sys.executable, "-m", "tests.stores.full_disk", url, str(directory), *more]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_on_a_full_disk_users_of_a_file_store_are_logged_out(tmp_path: Path) -> None:
    """A save is a StoreFull, and an end deletes the file."""
    assert on_a_small_disk(f"file://{tmp_path}/sessions", tmp_path) == [
        "full: the directory of the sessions cannot be used: No space left on device",
        "logged in: 0",
        "afterwards: alice []",
    ]


def test_on_a_full_disk_users_of_sqlite_are_logged_out(tmp_path: Path) -> None:
    """SQLite needs room to delete as well, which was kept for it, and is again when there is some."""
    assert on_a_small_disk(f"sqlite:///{tmp_path}/s", tmp_path) == [
        "full: the SQLite database of the sessions cannot be used: database or disk is full",
        "logged in: 0",
        "afterwards: alice ['s-reserve']",
    ]


def test_what_is_over_is_swept_from_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    """That is when it is needed; SQLite's log is begun anew where it finds no more room."""
    assert on_a_small_disk(f"sqlite:///{tmp_path}/s", tmp_path, "sweep") == ["swept: 300"]


def test_sqlites_log_does_not_fill_the_disk_for_good(tmp_path: Path) -> None:
    """It grows to 16 MB before it is written over: where there is less, it is as soon as there is no room for more."""
    assert on_a_small_disk(f"sqlite:///{tmp_path}/s", tmp_path, "log") == ["refused: 0", "number: 399"]


def test_the_reserve_of_sqlite_is_kept(tmp_path: Path) -> None:
    """It is for its owner only, takes room, and is not written again and again."""
    path = tmp_path / "sessions.sqlite"
    reserve = tmp_path / "sessions.sqlite-reserve"

    SQLiteStore(path).close()
    first = reserve.stat()
    SQLiteStore(path).close()

    assert (first.st_size, first.st_mode & 0o777) == (RESERVE, 0o600)
    assert first.st_blocks * 512 >= RESERVE
    assert reserve.stat().st_mtime_ns == first.st_mtime_ns


def test_a_conflict_on_a_full_disk_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the room of the reserve the versions are compared."""
    store = SQLiteStore(tmp_path / "sessions.sqlite")
    key = new_key()
    version = create(store, key)
    real = store._delete
    calls: list[Any] = []

    def full_once(*arguments: Any) -> bool:
        calls.append(arguments)
        if len(calls) % 2:
            raise StoreFull("full")
        return real(*arguments)

    monkeypatch.setattr(store, "_delete", full_once)

    with pytest.raises(VersionConflict):
        store.delete(key, if_version=version + 1)
    assert not (tmp_path / "sessions.sqlite-reserve").exists()
    assert store.delete(key, if_version=version)
    store.close()


class Full(Exception):
    """What a driver raises."""

    def __init__(self, *arguments: Any, sqlstate: str | None = None) -> None:
        super().__init__(*arguments)
        self.sqlstate = sqlstate


def sqlite_full() -> sqlite3.OperationalError:
    """The error of a database that may have no more pages."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA max_page_count = 2")
    try:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    except sqlite3.OperationalError as error:
        return error
    finally:
        connection.close()
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [Full("disk", sqlstate="53100"), Full(1021, "disk"), Full(1114, "table"), sqlite_full()],
    ids=["PostgreSQL", "MySQL, disk", "MySQL, table", "SQLite"],
)
def test_a_database_that_is_full_is_known(tmp_path: Path, error: Exception) -> None:
    """By the code of each."""
    engine = sa.create_engine(f"sqlite+pysqlite:///{tmp_path / 'sessions.sqlite'}")
    store = SQLAlchemyStore(engine)
    store.create_table()

    def fail(*arguments: Any) -> None:
        raise OperationalError("statement", {}, error)

    event.listen(engine, "before_cursor_execute", fail)

    with pytest.raises(StoreFull, match="is full"):
        store.put(new_key(), b"", expires_at=in_an_hour(), if_version=None, subject=None)
    engine.dispose()


def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has room, and the user has none."""
    store = FileStore(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(StoreFull, match="Disk quota exceeded"):
        create(store, new_key())

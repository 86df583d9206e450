"""Stores of files on a full disk, and databases that say that they are full."""

from __future__ import annotations

import asyncio
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
from sqlalchemy.ext.asyncio import create_async_engine

from hardtack.cli.doctor_servers import awaited
from hardtack.errors import StoreFull
from hardtack.protocols import VersionConflict
from hardtack.stores._full_disk import RESERVE
from hardtack.stores.file import FileStore
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing.stores import create, in_an_hour, new_key


def on_a_small_disk(url: str, directory: Path, what: str = "") -> list[str]:
    """What the program prints; the test is skipped where nobody may mount."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there are no namespaces of Linux")
    alone = [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "mount", "-t", "tmpfs", "tmpfs", directory], capture_output=True).returncode != 0:
        pytest.skip("nothing may be mounted here")
    command = [*alone, sys.executable, "-m", "tests.stores.full_disk", url, str(directory), what]
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


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_on_a_full_disk_users_of_sqlite_by_sqlalchemy_are_logged_out(tmp_path: Path, journal: str) -> None:
    """As those of SQLiteStore are: the store of a URL keeps room, too, whatever journal the database has."""
    assert on_a_small_disk(f"sqlite+pysqlite:///{tmp_path}/s", tmp_path, journal) == [
        "full: the database of the sessions is full",
        "logged in: 0",
        "afterwards: alice ['s-reserve']",
    ]


def test_an_async_store_of_sqlite_keeps_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used where a deletion finds none, and kept again by a sweep."""
    reserve = tmp_path / "s-reserve"
    fullness: list[str] = []

    async def main() -> None:
        store = AsyncSQLAlchemyStore.from_url(f"sqlite+aiosqlite:///{tmp_path}/s")
        assert not reserve.exists()  # nor a database
        await store.create_table()
        key = new_key()
        version = await store.put(key, b"", expires_at=in_an_hour(), if_version=None, subject=None)
        perform = store._perform

        async def full_at_first(*statements: Any) -> Any:
            if reserve.exists():
                fullness.append("full")
                raise StoreFull("full")
            return await perform(*statements)

        monkeypatch.setattr(store, "_perform", full_at_first)
        with pytest.raises(StoreFull):
            await store.put(new_key(), b"", expires_at=in_an_hour(), if_version=None, subject=None)
        assert await store.delete(key, if_version=version)
        assert not reserve.exists()
        assert await store.get(key) is None
        await store.sweep(0)
        await store.close()

    asyncio.run(main())

    assert fullness == ["full", "full"]
    assert reserve.stat().st_size == RESERVE


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_engine_of_the_applications_keeps_no_room(kind: str, tmp_path: Path) -> None:
    """Its database is not the store's alone: a deletion that finds none fails."""
    url = f"sqlite+{'pysqlite' if kind == 'sync' else 'aiosqlite'}:///{tmp_path}/s"

    def fail(*arguments: Any) -> None:
        raise StoreFull("full")

    async def main() -> None:
        if kind == "sync":
            engine = sa.create_engine(url)
            store: Any = SQLAlchemyStore(engine)
        else:
            store = AsyncSQLAlchemyStore(create_async_engine(url))
        store._perform = fail
        with pytest.raises(StoreFull):
            await awaited(store.delete(new_key()))
        await awaited(store._engine.dispose())

    asyncio.run(main())

    assert not (tmp_path / "s-reserve").exists()


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


def test_the_room_of_a_link_is_that_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's log is there, which may be another disk than that of the link."""
    (tmp_path / "disk").mkdir()
    SQLiteStore(tmp_path / "disk" / "real").close()
    link = tmp_path / "sessions.sqlite"
    link.symlink_to("disk/real")
    (tmp_path / "disk" / "real-reserve").unlink()
    looked_at: list[Path] = []
    disk_usage = shutil.disk_usage

    def usage(path: Path) -> Any:
        looked_at.append(path)
        return disk_usage(path)

    monkeypatch.setattr("shutil.disk_usage", usage)
    store = SQLiteStore(link)
    store.sweep(0)

    assert (tmp_path / "disk" / "real-reserve").stat().st_size == RESERVE
    assert set(looked_at) == {tmp_path / "disk"}
    store._connections.reserve.use()
    assert [each.name for each in (tmp_path / "disk").glob("*-reserve")] == []
    assert list(tmp_path.glob("*-reserve")) == []
    store.close()


@pytest.mark.parametrize("planted", ["pipe", "link", "hard link"])
def test_what_was_planted_in_the_place_of_the_reserve_is_not_written_to(planted: str, tmp_path: Path) -> None:
    """In a directory where other users can: a pipe was waited at for ever, and a file that has another name overwritten."""
    path, reserve, other = (tmp_path / name for name in ("sessions.sqlite", "sessions.sqlite-reserve", "other"))
    other.write_text("precious")
    if planted == "pipe":
        os.mkfifo(reserve)
    elif planted == "link":
        reserve.symlink_to(other)
    else:
        reserve.hardlink_to(other)
    opening = f"from hardtack.stores.sqlite import SQLiteStore; SQLiteStore({str(path)!r}).close()"

    subprocess.run([sys.executable, "-c", opening], check=True, timeout=30)

    assert reserve.is_file()
    assert not reserve.is_symlink()
    assert reserve.stat().st_size == RESERVE
    assert other.read_text() == "precious"


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

"""SQLiteStore: the contract, forks and threads, and databases that are locked, damaged or gone."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.protocols import VersionConflict
from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing import FindsContract, RenamesContract, StoreContract, SweepsContract
from hardtack.testing.stores import create, in_an_hour, read


class TestSQLiteStore(StoreContract, RenamesContract, FindsContract, SweepsContract):
    """The contract, with small batches, so that a sweep takes several."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SQLiteStore]:
        """A store in a fresh file."""
        store = SQLiteStore(tmp_path / "sessions.sqlite", batch=20)
        yield store
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "sessions.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """A store that does not wait long."""
    store = SQLiteStore(path, timeout=0.1)
    yield store
    store.close()


def test_the_file_is_for_its_owner_only(path: Path, store: SQLiteStore) -> None:
    """The database and the files beside it have mode 0600, whatever the umask allows."""
    create(store, "key")

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes == {f"{path.name}{end}": 0o600 for end in ("", "-wal", "-shm")}


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_every_connection_is_durable_as_asked(path: Path, synchronous: str, number: int) -> None:
    """WAL, and `synchronous` as given."""
    store = SQLiteStore(path, synchronous=synchronous)

    with store._connection() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (number,)

    store.close()


def test_connections_are_used_again(store: SQLiteStore) -> None:
    """One thread after the other needs one connection; a conflict keeps it too."""
    create(store, "key")
    with pytest.raises(VersionConflict):
        create(store, "key")

    assert len(store._idle) == 1


def test_threads_that_come_and_go_leave_no_connections(store: SQLiteStore) -> None:
    """As many connections as threads at a time, not as threads ever."""
    for _ in range(20):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(store.get, "key").result()

    assert len(store._idle) == 1


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_does_not_use_the_connections_of_its_parent(store: SQLiteStore) -> None:
    """After a fork the child opens its own; both write, and both see everything."""
    create(store, "before")
    inherited = store._idle[0]

    child = os.fork()
    if child == 0:
        code = 1
        try:
            create(store, "child")
            code = 0 if store.get("before") is not None and store._idle[0] is not inherited else 2
        finally:
            os._exit(code)
    create(store, "parent")
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert all(store.get(key) is not None for key in ("before", "child", "parent"))
    assert store._idle[0] is inherited


def test_a_fork_leaves_the_connections_to_the_parent(store: SQLiteStore) -> None:
    """What the child's hook does, seen from here: the pool is empty, and nothing was closed."""
    from hardtack.stores import sqlite

    create(store, "key")
    inherited = store._idle[0]

    sqlite._leave_connections_to_the_parent()

    assert not store._idle
    assert inherited.execute("SELECT 1").fetchone() == (1,)
    while sqlite._inherited:
        for connection in sqlite._inherited.pop():
            connection.close()


def _open_and_create(path: Path, key: str) -> None:
    store = SQLiteStore(path)
    create(store, key)
    store.close()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_many_processes_may_make_the_file_at_once(path: Path) -> None:
    """The first requests of many workers all find a working database."""
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_open_and_create, args=(path, f"k{number}")) for number in range(12)]

    for child in children:
        child.start()
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0] * 12
    store = SQLiteStore(path)
    assert all(store.get(f"k{number}") is not None for number in range(12))
    store.close()


def test_a_locked_database_is_unavailable_for_writers_only(path: Path, store: SQLiteStore) -> None:
    """After the timeout a write fails; reads go on, and so does everything once the lock is gone."""
    version = create(store, "key")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="locked"):
        create(store, "new")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.rename("key", "new", b"", expires_at=in_an_hour(), if_version=version, subject=None)
    data = read(store, "key").data
    other.close()

    assert data == b"data"
    create(store, "new")


def test_a_file_that_is_no_database_is_unavailable(path: Path, store: SQLiteStore) -> None:
    """A damaged file raises StoreUnavailable with the cause, not sqlite3's own error."""
    path.write_bytes(b"nonsense" * 1000)

    with pytest.raises(StoreUnavailable, match="not a database") as raised:
        store.get("key")

    assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)


def test_an_error_in_use_closes_the_connection(path: Path, store: SQLiteStore) -> None:
    """A connection that failed is not used again."""
    create(store, "key")
    with store._connection() as connection:
        connection.execute("DROP TABLE hardtack_sessions")

    with pytest.raises(StoreUnavailable, match="no such table"):
        store.get("key")

    assert not store._idle
    assert store.get("key") is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"path": ":memory:"}, "path must be a file"),
        ({"path": ""}, "path must be a file"),
        ({"path": "/nonexistent/sessions.sqlite"}, "path is '/nonexistent/sessions.sqlite'"),
        ({"path": "x", "synchronous": "OFF"}, "synchronous is 'OFF'"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], said: str) -> None:
    """The message says what is wrong, at start-up."""
    with pytest.raises(ConfigError, match=said):
        SQLiteStore(**settings)


def test_a_sweep_lets_other_writers_in(path: Path) -> None:
    """A writer with a short timeout succeeds while many entries are swept in batches."""
    store = SQLiteStore(path, batch=10)
    now = int(time.time())
    for number in range(300):
        store.put(f"k{number}", b"x" * 1000, expires_at=now + 60, if_version=None, subject=None)

    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(store.sweep, now + 60)
        created = 0
        while not sweep.done():
            create(store, f"live{created}")
            created += 1

    assert sweep.result() == 300
    assert all(store.get(f"live{number}") is not None for number in range(created))
    store.close()


def test_a_call_that_was_interrupted_gives_no_connection_back(store: SQLiteStore) -> None:
    """It may be in the middle of a statement: the next call opens one of its own."""
    create(store, "key")

    with pytest.raises(KeyboardInterrupt), store._connection() as connection:
        raise KeyboardInterrupt

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    assert read(store, "key").data == b"data"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"path": None}, "path is of type NoneType"),
        ({"path": "/a\0b"}, "no database can be kept there: .*null"),
        ({"timeout": "5"}, "timeout is '5'; it must be a number of seconds"),
        ({"timeout": -1}, "timeout is -1"),
        ({"batch": 0}, "batch is 0; it must be 1 or more"),
        ({"batch": "5"}, "batch is '5'; it must be 1 or more"),
    ],
)
def test_a_setting_of_another_kind_is_refused(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    """When the store is made; with batch=0 a sweep would never end."""
    arguments: dict[str, Any] = {"path": tmp_path / "sessions.sqlite", **settings}

    with pytest.raises(ConfigError, match=problem):
        SQLiteStore(**arguments)

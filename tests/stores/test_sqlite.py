"""SQLiteStore: the contract, forks and threads, and databases that are locked, damaged or gone."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hardtack import SessionManager, StoreEngine
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.protocols import VersionConflict
from hardtack.stores import _sqlite_connections
from hardtack.stores._sqlite_log import Log
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
    def break_store(self, tmp_path: Path) -> Any:
        """There is a directory in the place of the file."""

        @contextmanager
        def broken() -> Iterator[None]:
            path = tmp_path / "sessions.sqlite"
            path.rename(tmp_path / "away")
            path.mkdir()
            yield
            path.rmdir()
            (tmp_path / "away").rename(path)

        return broken


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

    assert modes == {f"{path.name}{end}": 0o600 for end in ("", "-wal", "-shm", "-reserve")}


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_every_connection_is_durable_as_asked(path: Path, synchronous: str, number: int) -> None:
    """WAL, `synchronous` as given, and a log that is seldom written to the file by a request."""
    store = SQLiteStore(path, synchronous=synchronous)

    with store._connection() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (number,)
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (4000,)

    store.close()


@contextmanager
def written_to_without_a_log(path: Path) -> Iterator[sqlite3.Connection]:
    """A new file that somebody else is writing to: SQLite says at once that it is locked to whoever changes its journal."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE others (a)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO others VALUES (1)")
        yield other


def test_the_first_of_many_waits_for_another_one(path: Path) -> None:
    """As the threads and processes of a new site do, which all open the new file with their first requests."""
    store = SQLiteStore(path)
    with written_to_without_a_log(path) as other:
        release = threading.Timer(0.2, other.execute, ["COMMIT"])
        release.start()
        create(store, "key")
        release.join()

    assert read(store, "key").data == b"data"
    store.close()


def test_whoever_holds_a_new_file_for_good_is_not_waited_for_for_ever(path: Path) -> None:
    """`timeout` is for that as well; and what no waiting helps against is told at once."""
    store = SQLiteStore(path, timeout=0.1)
    with written_to_without_a_log(path), pytest.raises(StoreUnavailable, match="locked"):
        create(store, "key")

    path.write_bytes(b"no database, but a text " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        create(store, "key")
    store.close()


@pytest.mark.parametrize("timeout", [float("inf"), 10**9], ids=["for ever", "for decades"])
def test_a_timeout_beyond_what_sqlite_counts_is_a_long_one(path: Path, timeout: float) -> None:
    """It was none: SQLite counts in 32 bits, and each writer who had to wait for another was told that the file is locked."""
    store = SQLiteStore(path, timeout=timeout)
    _, connection = store._connections.take()

    assert connection.execute("PRAGMA busy_timeout").fetchone() == (10**9,)
    connection.close()
    store.close()


def test_connections_are_used_again(store: SQLiteStore) -> None:
    """One thread after the other needs one connection; a conflict keeps it too."""
    create(store, "key")
    with pytest.raises(VersionConflict):
        create(store, "key")

    assert len(store._connections.idle) == 1


def test_threads_that_come_and_go_leave_no_connections(store: SQLiteStore) -> None:
    """As many connections as threads at a time, not as threads ever."""
    for _ in range(20):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(store.get, "key").result()

    assert len(store._connections.idle) == 1


@pytest.mark.parametrize("kind", ["python", "c", "pause", "step"])
def test_a_child_keeps_what_it_wrote_when_the_parent_closes(path: Path, kind: str) -> None:
    """It takes locks of its own: else the parent would remove the log that the child still writes to.

    Also where a server in C forks without telling Python, as uWSGI does: in a process without other threads, for such
    a child waits for ever for a thread that wanted to run when it was forked. And where a thread sweeps meanwhile.
    """
    command = [sys.executable, "-m", "tests.stores.outliving", str(path), kind]

    subprocess.run(command, check=True, timeout=90)

    with closing(SQLiteStore(path)) as store:
        assert all(store.get(key) is not None for key in ("before", "first", "second", "parent"))


def test_connections_are_not_used_after_a_fork(store: SQLiteStore) -> None:
    """What the child's handler does, seen from here: nothing is left of what came over."""
    create(store, "key")
    (inherited,) = store._connections.idle

    store._connections.after_fork()

    assert not store._connections.idle
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        inherited.execute("SELECT 1")


def _delete(path: Path, *ends: str) -> None:
    for end in ends:
        path.with_name(f"{path.name}{end}").unlink()


@pytest.mark.parametrize("ends", [["", "-wal", "-shm"], [""]], ids=["all of it", "without its log"])
def test_a_file_that_was_deleted_is_made_again(
    path: Path, store: SQLiteStore, caplog: pytest.LogCaptureFixture, ends: list[str]
) -> None:
    """By the next call, which logs it; connections and processes then share the new one."""
    create(store, "old")
    with store._connection() as busy, caplog.at_level(logging.WARNING, "hardtack"):
        store._connections.give_back(*store._connections.take())
        _delete(path, *ends)

        create(store, "new")
    other = SQLiteStore(path)

    assert "was replaced or deleted" in caplog.text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.get("new") is not None for each in (store, other)] == [True, True]
    assert store.get("old") is None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        busy.execute("SELECT 1")
    other.close()


def test_a_file_that_was_replaced_is_read_at_once(path: Path, store: SQLiteStore, tmp_path: Path) -> None:
    """A restore from a backup counts for every process, and not only for those that open the file after it."""
    backup = SQLiteStore(tmp_path / "backup.sqlite")
    create(backup, "restored")
    backup.close()
    create(store, "lost")

    (tmp_path / "backup.sqlite").replace(path)
    _delete(path, "-wal", "-shm")

    assert store.get("lost") is None
    assert store.get("restored") is not None


def test_a_directory_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    """A file system that is not mounted: no file can be made there."""
    (tmp_path / "mounted").mkdir()
    store = SQLiteStore(tmp_path / "mounted" / "sessions.sqlite")
    create(store, "key")

    (tmp_path / "mounted").rename(tmp_path / "elsewhere")

    with closing(store), pytest.raises(StoreUnavailable, match="No such file or directory"):
        store.get("key")


def test_a_file_that_is_replaced_all_the_time_is_unavailable(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than to go on with a connection of which nobody knows what it is open to."""
    connect = store._connections._connect

    def replaced_meanwhile() -> sqlite3.Connection:
        connection = connect()
        path.unlink()
        return connection

    monkeypatch.setattr(store._connections, "_connect", replaced_meanwhile)

    with pytest.raises(StoreUnavailable, match="replaced all the time"):
        store.get("key")


def test_a_second_store_does_not_give_up_the_locks_of_the_first(path: Path, store: SQLiteStore) -> None:
    """Who closes a file gives up all locks that the process has on it: so a file that is there is not opened to see."""
    create(store, "key")
    SQLiteStore(path)

    locks = [
        line.split()[3] for line in Path("/proc/locks").read_text().splitlines() if f":{path.stat().st_ino} " in line
    ]

    assert locks == ["READ"]


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

    assert not store._connections.idle
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


@pytest.mark.slow
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
        ({"reads_on_loop": 1}, "reads_on_loop is 1; it must be True or False"),
        ({"path": "/tmp"}, "path is '/tmp', and no database can be kept there: it is no file"),
    ],
)
def test_a_setting_of_another_kind_is_refused(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    """When the store is made; with batch=0 a sweep would never end."""
    arguments: dict[str, Any] = {"path": tmp_path / "sessions.sqlite", **settings}

    with pytest.raises(ConfigError, match=problem):
        SQLiteStore(**arguments)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:sessions.db",
        "sqlite:/sessions.db",
        "sqlite://sessions.db",
        "sqlite:///",
        "sqlite:///x?timeout=5",
        "sqlite:///x#y",
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    """It says how it is written; `sqlite:sessions.db` would else be a file named `essions.db`."""
    with pytest.raises(ConfigError, match="sqlite:///relative/path or sqlite:////absolute/path: three slashes"):
        SQLiteStore.from_url(url)


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not follow a later change of directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("sessions.sqlite")

    monkeypatch.chdir("elsewhere")
    create(store, "key")

    assert list((tmp_path / "elsewhere").iterdir()) == []
    store.close()


@pytest.mark.parametrize("call", ["get", "delete", "find"])
def test_an_error_that_is_not_the_drivers_is_unavailable(store: SQLiteStore, call: str) -> None:
    """Whatever comes out of a call, its connection is given up, and the next call has another."""

    class Broken(sqlite3.Connection):
        def execute(self, *arguments: Any) -> Any:
            raise TypeError("broken")

    create(store, "key")
    store._connections.idle.close()
    connection = sqlite3.connect(":memory:", factory=Broken)
    store._connections.idle.append(connection)

    with pytest.raises(StoreUnavailable, match="broken") as raised:
        getattr(store, call)("key")

    assert isinstance(raised.value.__cause__, TypeError)
    assert store.get("key") is not None


def test_a_full_disk_is_unavailable(store: SQLiteStore) -> None:
    """The save fails, and what was there stays."""
    version = create(store, "key")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(StoreUnavailable):
            create(store, "big", b"x" * 400_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert store.get("key") == (b"data", version)


def test_count_is_of_what_lives(store: SQLiteStore) -> None:
    """All, or those of one subject; what has expired is not counted."""
    for key, subject in (("a", "alice"), ("b", "alice"), ("c", None)):
        create(store, key, b"", subject)
    store.put("d", b"", expires_at=int(time.time()) - 5, if_version=None, subject="alice")

    assert (store.count(), store.count("alice"), store.count("bob")) == (3, 2, 0)


@pytest.mark.slow
def test_a_sweep_shortens_the_file(path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted is given back to the file system, but for some room."""
    now = int(time.time())
    for number in range(200):
        store.put(f"k{number}", b"x" * 20_000, expires_at=now + 60, if_version=None, subject=None)
    create(store, "live", b"x" * 20_000)
    store.close()
    before = path.stat().st_size
    pauses: list[float] = []
    monkeypatch.setattr("hardtack.stores.sqlite.time.sleep", pauses.append)
    monkeypatch.setattr("hardtack.stores.sqlite._STEP", 60.0)  # so that each step gives back a page more than the last

    swept = store.sweep(now + 60)
    store.close()

    assert swept == 200
    assert len(pauses) < 200 / 5 + 2 + (2 * before / 4096) ** 0.5, "each step gives back as many pages as it says"
    assert path.stat().st_size < before / 4
    assert store.get("live") is not None


_sleep = time.sleep


@dataclass
class Followed:
    """The log of a file during sweeps: its pages and those in the file, after each look of the sweep, and for others."""

    store: SQLiteStore
    path: Path
    now: int
    seen: list[tuple[int, int]] = field(default_factory=list)
    for_others: list[tuple[int, int]] = field(default_factory=list)

    def sweep(self) -> int:
        """Meanwhile somebody else wants to write the log to the file after every step."""
        with closing(sqlite3.connect(self.path)) as other:

            def progress(*_: int) -> None:
                _, pages, written = other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self.for_others.append((pages, written))

            return self.store.sweep(self.now, progress)


@pytest.fixture
def followed(path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> Followed:
    """A file with two thousand entries that have ended, and a sweep that does not rest."""
    now = int(time.time())
    for number in range(2000):
        store.put(f"{number * 7919 % 2000:043}", b"x" * 600, expires_at=now + 60, if_version=None, subject=f"{number}")
    with store._connection() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    followed = Followed(store, path, now + 60)
    write = Log._write

    def seen(log: Log) -> None:
        write(log)
        followed.seen.append((log._pages, log._written))

    monkeypatch.setattr(Log, "_write", seen)
    monkeypatch.setattr("hardtack.stores.sqlite.time.sleep", lambda _: None)
    monkeypatch.setattr("hardtack.stores._sqlite_log._AT_ONCE", 60)
    return followed


def test_a_sweep_leaves_nothing_of_the_log_to_be_written_by_a_request(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saves when the log is long writes what may be written, and waits for the disk."""
    monkeypatch.setattr("hardtack.stores._sqlite_log._LONGEST", 500)
    after_steps: list[int] = []
    follow = Log.follow

    def followed_on(log: Log) -> None:
        follow(log)
        after_steps.append(followed.seen[-1][1])

    monkeypatch.setattr(Log, "follow", followed_on)
    assert followed.sweep() == 2000

    steps = len(followed.for_others)
    assert steps > 2000 / 5
    assert [written for _, written in followed.for_others] == after_steps[:steps]
    longest = max(pages for pages, _ in followed.seen)
    assert 500 <= longest < 600, "it is begun anew"
    assert max(pages - written for pages, written in followed.seen) < 100


def test_two_sweeps_begin_the_log_anew_as_well(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a reader, and goes on without it until the other's is gone."""
    monkeypatch.setattr("hardtack.stores.sqlite.time.sleep", _sleep)
    monkeypatch.setattr("hardtack.stores._sqlite_log._AT_ONCE", 150)
    monkeypatch.setattr("hardtack.stores._sqlite_log._LONGEST", 300)
    with (
        closing(SQLiteStore(followed.path, timeout=30)) as one,
        closing(SQLiteStore(followed.path, timeout=30)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        assert sum(pool.map(lambda each: each.sweep(followed.now), (one, other))) == 2000
    lengths = [pages for pages, _ in followed.seen]
    begun = sum(after < before / 2 for before, after in itertools.pairwise(lengths))
    assert begun > 2, "once or twice it is when they end"


def test_a_sweep_gives_the_room_of_the_log_back(followed: Followed) -> None:
    """It grows longer than requests let it."""
    followed.sweep()
    assert max(pages for pages, _ in followed.seen) > 1000
    assert followed.path.with_name(f"{followed.path.name}-wal").stat().st_size == 0


def test_a_sweep_does_not_wait_for_a_reader_to_give_the_room_of_the_log_back(followed: Followed) -> None:
    """All who save would wait with it."""
    with closing(sqlite3.connect(followed.path)) as other, closing(SQLiteStore(followed.path, timeout=30)) as patient:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM hardtack_sessions").fetchone()
        began = time.monotonic()
        patient.sweep(followed.now)
        assert time.monotonic() - began < 20
        timeouts = [each.execute("PRAGMA busy_timeout").fetchone() for each in patient._connections.idle]
    assert set(timeouts) == {(30000,)}
    assert followed.path.with_name(f"{followed.path.name}-wal").stat().st_size > 1_000_000


def test_the_log_does_not_grow_where_there_is_no_room(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sweeps may do it because the disk is nearly full."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=200 * 4 * 4096))
    assert followed.sweep() == 2000
    assert max(pages for pages, _ in followed.seen) < 300


def test_the_log_of_a_file_of_large_pages_does_not_grow_either(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made the file chose the size of its pages."""
    monkeypatch.setattr("hardtack.stores.sqlite.time.sleep", lambda _: None)
    monkeypatch.setattr("hardtack.stores._sqlite_log._AT_ONCE", 60)
    room = 200 * 4096
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4 * room))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA page_size = 32768")
        other.execute("CREATE TABLE other (a)")
    log = path.with_name(f"{path.name}-wal")
    sizes = []
    with closing(SQLiteStore(path)) as store:
        for number in range(500):
            store.put(f"{number * 7919 % 500:043}", b"x" * 600, expires_at=1, if_version=None, subject=f"{number}")
        with store._connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        assert store.sweep(time.time(), lambda *_: sizes.append(log.stat().st_size)) == 500
    assert room < max(sizes) < 3 * room


def test_a_sweep_that_fails_keeps_nobody_from_writing_the_log(followed: Followed) -> None:
    """Its reader goes with it."""

    def fail(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        followed.store.sweep(followed.now, fail)
    create(followed.store, "key")
    with followed.store._connection() as connection:
        _, pages, written = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert pages == written > 0


def test_a_file_that_was_not_made_for_it_keeps_its_length(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an earlier version: the sweep ends all the same."""
    monkeypatch.setattr("hardtack.stores.sqlite.time.sleep", lambda _: None)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE other (a)")
    other.close()
    now = int(time.time())
    for number in range(150):
        store.put(f"k{number}", b"x" * 10_000, expires_at=now + 60, if_version=None, subject=None)

    assert store.sweep(now + 60) == 150
    assert path.stat().st_size > 1_000_000


def test_a_sweep_waits_between_its_batches(path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In proportion to what each took: most of the time nobody holds the lock that those who save need."""
    waited: list[float] = []
    monkeypatch.setattr("hardtack.stores.sqlite.time.sleep", waited.append)
    now = int(time.time())
    for number in range(100):
        store.put(f"k{number}", b"", expires_at=now + 60, if_version=None, subject=None)
    store.sweep(now + 60)

    assert len(waited) == 100 / 5 + 2, "one batch that finds nothing, and a look for free pages"
    assert all(pause > 0 for pause in waited)


def test_a_sweep_that_had_to_wait_for_the_file_does_not_rest_for_minutes(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that took 5 seconds has waited for somebody else, such as a backup."""
    waited: list[float] = []
    monkeypatch.setattr("hardtack.stores.sqlite.time.sleep", waited.append)
    monkeypatch.setattr("hardtack.stores.sqlite.time.monotonic", itertools.count(0, 5).__next__)
    store.sweep(time.time())

    assert set(waited) == {2.0}


@pytest.mark.parametrize("on_loop", [True, False])
def test_reads_may_be_on_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch, on_loop: bool) -> None:
    """Where the setting says so; saves are never."""
    store = SQLiteStore(path, reads_on_loop=on_loop)
    threads: dict[str, int] = {}
    for name in ("get", "put"):
        method = getattr(store, name)

        def noted(*arguments: Any, _name: str = name, _method: Any = method, **named: Any) -> Any:
            threads[_name] = threading.get_ident()
            return _method(*arguments, **named)

        monkeypatch.setattr(store, name, noted)

    async def main() -> tuple[int, Any]:
        sessions = SessionManager(StoreEngine(store))
        session = await sessions.aopen()
        session["a"] = 1
        cookie = (await sessions.acommit(session)).set_cookies[0].partition(";")[0]
        return threading.get_ident(), (await sessions.aopen(cookie))["a"]

    loop, value = asyncio.run(main())

    assert value == 1
    assert (threads["get"] == loop) is on_loop
    assert threads["put"] != loop
    store.close()


def test_a_file_that_another_process_makes_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the lock: what it has begun to write is not removed."""
    path = tmp_path / "sessions.db"
    first = SQLiteStore(path)
    first.put("key", b"mine", expires_at=in_an_hour(), if_version=None, subject=None)
    saved = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    first.close()
    path.unlink()
    real = _sqlite_connections._alone_in

    @contextmanager
    def alone(directory: Path) -> Iterator[None]:
        with real(directory):
            path.write_bytes(saved[0])
            Path(f"{path}-wal").write_bytes(saved[1])
            yield

    monkeypatch.setattr(_sqlite_connections, "_alone_in", alone)
    second = SQLiteStore(path)

    entry = second.get("key")

    assert entry is not None
    assert entry.data == b"mine"
    second.close()


def test_without_locks_on_directories_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, which deletes no file that is open."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    store = SQLiteStore(tmp_path / "sessions.db")

    assert store.get("key") is None
    store.close()

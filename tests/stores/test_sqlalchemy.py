"""SQLAlchemyStore and AsyncSQLAlchemyStore: the contract on real databases, lost races, failures, and the table."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from tests.servers import MariaDBServer, PostgreSQLServer

from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.protocols import Entry, VersionConflict
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, is_async, sessions_table
from hardtack.testing import AsyncStoreContract, FindsContract, RenamesContract, StoreContract, SweepsContract
from hardtack.testing.stores import create, in_an_hour, new_key, read


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQLServer) -> str:
    """A PostgreSQL database."""
    return postgresql_server.url


@pytest.fixture
def mariadb_url(mariadb_server: MariaDBServer) -> str:
    """A MariaDB database."""
    return mariadb_server.url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An SQLite database."""
    return f"sqlite+pysqlite:///{tmp_path / 'sessions.sqlite'}"


DATABASES = ["postgresql_url", "mariadb_url", "sqlite_url"]

ASYNC_DRIVERS = {"+psycopg": "+asyncpg", "+pymysql": "+asyncmy", "+pysqlite": "+aiosqlite"}


def async_url(url: str) -> str:
    """The URL for an async driver."""
    for driver, twin in ASYNC_DRIVERS.items():
        url = url.replace(driver, twin)
    return url


def made(url: str) -> SQLAlchemyStore:
    """A store whose table exists, with small batches."""
    store = SQLAlchemyStore.from_url(url)
    store._logic._batch = 20
    store.create_table()
    return store


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    """Each database."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def store(url: str) -> Iterator[SQLAlchemyStore]:
    """A store on each database."""
    store = made(url)
    yield store
    store.close()


@contextmanager
def without_table(url: str) -> Iterator[None]:
    """Meanwhile the table of the sessions has another name."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hardtack_sessions RENAME TO away")
    yield
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO hardtack_sessions")
    engine.dispose()


class _Contract(StoreContract, RenamesContract, FindsContract, SweepsContract):
    threads = 16
    crowd = 0  # a thousand are one statement, and writing them takes a second for each thousand

    @pytest.fixture
    def break_store(self, url: str) -> Any:
        """The table has another name."""
        return partial(without_table, url)

    @pytest.fixture
    def store(self, url: str) -> Iterator[SQLAlchemyStore]:
        """A store whose table exists."""
        engine = sa.create_engine(url)
        store = SQLAlchemyStore(engine, batch=20)
        store.create_table()
        yield store
        engine.dispose()


class _AsyncContract(AsyncStoreContract, RenamesContract, FindsContract, SweepsContract):
    threads = 16
    crowd = 0

    @pytest.fixture
    def break_store(self, url: str) -> Any:
        """The table has another name."""
        return partial(without_table, url)

    @pytest.fixture
    def store(self, url: str) -> Coroutine[Any, Any, AsyncSQLAlchemyStore]:
        """A coroutine that makes the table on the contract's event loop, and returns the store."""

        async def make() -> AsyncSQLAlchemyStore:
            store = AsyncSQLAlchemyStore.from_url(async_url(url))
            store._logic._batch = 20
            await store.create_table()
            return store

        return make()


class TestPostgreSQL(_Contract):
    """The contract, by psycopg."""

    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        """The database."""
        return postgresql_url

    @pytest.fixture
    def break_store(self, postgresql_server: PostgreSQLServer) -> Any:
        """The server is stopped."""
        return postgresql_server.gone


class TestMariaDB(_Contract):
    """The contract, by PyMySQL."""

    @pytest.fixture
    def url(self, mariadb_url: str) -> str:
        """The database."""
        return mariadb_url


class TestSQLite(_Contract):
    """The contract, by sqlite3."""

    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        """The database."""
        return sqlite_url


class TestAsyncPostgreSQL(_AsyncContract):
    """The contract, by asyncpg."""

    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        """The database."""
        return postgresql_url

    @pytest.fixture
    def break_store(self, postgresql_server: PostgreSQLServer) -> Any:
        """The server is stopped."""
        return postgresql_server.gone


class TestAsyncMariaDB(_AsyncContract):
    """The contract, by asyncmy."""

    @pytest.fixture
    def url(self, mariadb_url: str) -> str:
        """The database."""
        return mariadb_url


class TestAsyncSQLite(_AsyncContract):
    """The contract, by aiosqlite."""

    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        """The database."""
        return sqlite_url


def failure(cause: Exception) -> OperationalError:
    """SQLAlchemy's error around one of a driver."""
    return OperationalError("UPDATE …", {"data": b"secret"}, cause)


def test_a_read_a_save_and_a_delete_are_one_statement_each(store: SQLAlchemyStore) -> None:
    """And a create is one, where nothing is in the way."""
    sent: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: sent.append(args[2].split()[0]))
    key = new_key()

    version = create(store, key)
    store.get(key)
    version = store.put(key, b"", expires_at=in_an_hour(), if_version=version, subject="alice")
    store.delete(key, if_version=version)
    store.delete(key)

    assert [verb for verb in sent if verb != "PRAGMA"] == ["INSERT", "SELECT", "UPDATE", "DELETE", "DELETE"]


def test_what_ddl_returns_makes_the_table(store: SQLAlchemyStore) -> None:
    """The statements for a migration are those of `create_table`."""
    with store._engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE hardtack_sessions"))
        for statement in store.ddl().split(";\n"):
            if statement:
                connection.execute(sa.text(statement))

    store.create_table()
    create(store, new_key())

    assert store.ddl().count("CREATE") == 3


def test_the_table_may_have_another_name_in_your_metadata(sqlite_url: str) -> None:
    """Alembic then sees it."""
    metadata = sa.MetaData()
    engine = sa.create_engine(sqlite_url)
    store = SQLAlchemyStore(engine, sessions_table(metadata, "app_sessions"))
    metadata.create_all(engine)

    create(store, "key")

    assert sa.inspect(engine).get_table_names() == ["app_sessions"]
    engine.dispose()


def test_an_async_store_makes_its_table(sqlite_url: str) -> None:
    """Async, as often as one likes."""

    async def main() -> Entry | None:
        store = AsyncSQLAlchemyStore.from_url(async_url(sqlite_url))
        await store.create_table()
        await store.create_table()
        await store.put("key", b"data", expires_at=in_an_hour(), if_version=None, subject=None)
        entry = await store.get("key")
        await store.close()
        return entry

    entry = asyncio.run(main())

    assert entry is not None
    assert entry.data == b"data"


def test_a_missing_table_is_unavailable_and_quotes_nothing(sqlite_url: str) -> None:
    """Neither the message nor its cause shows the session, as SQLAlchemy's own error does."""
    store = SQLAlchemyStore.from_url(sqlite_url)

    with pytest.raises(StoreUnavailable, match="OperationalError") as raised:
        create(store, "key", b"secret")

    assert "secret" not in f"{raised.value}{raised.value.__cause__}"
    store.close()


class _PostgreSQLError(Exception):
    sqlstate = "40P01"


class _OldPostgreSQLError(Exception):
    pgcode = "40001"


@pytest.mark.parametrize(
    "cause",
    [_PostgreSQLError(), _OldPostgreSQLError(), Exception(1213, "Deadlock"), Exception(1020, "Record has changed")],
)
def test_a_lost_race_is_a_conflict(store: SQLAlchemyStore, cause: Exception) -> None:
    """Deadlocks and serialization failures are for the engine to try again, not for the user to see."""
    with pytest.raises(VersionConflict, match="faster") as raised, store._translation:
        raise failure(cause)

    assert raised.value.__cause__ is cause


def test_a_real_deadlock_is_a_conflict(postgresql_url: str) -> None:
    """Two transactions that lock two rows crosswise: the database ends one, and that is a VersionConflict."""
    store = made(postgresql_url)
    other = sa.create_engine(postgresql_url)
    both = [(key, create(store, key)) for key in (new_key(), new_key())]
    update = sa.text("UPDATE hardtack_sessions SET version = version WHERE key = :key")
    moving = [
        (store._logic._update, {"data": b"", "at": key, "if_version": version, "now": 0}) for key, version in both
    ]
    first_row_is_locked = threading.Event()
    event.listen(store._engine, "after_cursor_execute", lambda *args: first_row_is_locked.set())

    with other.begin() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(sa.text("SET deadlock_timeout = '10s'"))  # so that it is the store that loses
        connection.execute(update, {"key": both[1][0]})
        losing = pool.submit(_in_store, store, moving)
        first_row_is_locked.wait()
        connection.execute(update, {"key": both[0][0]})
        with pytest.raises(VersionConflict, match="faster"):
            losing.result()

    other.dispose()
    store.close()


def _in_store(store: SQLAlchemyStore, moving: list[Any]) -> None:
    with store._translation:
        store._perform(*moving)


def test_a_sweep_goes_on_after_a_deadlock(sqlite_url: str) -> None:
    """Somebody saved while a batch was deleted: the sweep looks again; another error ends it."""
    store = made(sqlite_url)
    steps = store._logic.sweep(100.0)
    row = type("Row", (), {"key": "key"})

    next(steps)
    steps.send([row])
    again = steps.throw(failure(_PostgreSQLError()))
    assert again.arguments[0][0] is store._logic._select_dead
    steps.send([row])
    with pytest.raises(StopIteration) as stop:
        steps.send(1)
    assert stop.value.value == 1

    steps = store._logic.sweep(100.0)
    next(steps)
    steps.send([row])
    with pytest.raises(DBAPIError):
        steps.throw(failure(Exception("disk full")))
    store.close()


@pytest.mark.parametrize("url", ["postgresql_url", "mariadb_url"])
def test_an_answer_that_does_not_come_is_not_waited_for(
    url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that hangs when the connection stands already: a 503 in time, and no late answer for the next caller."""
    monkeypatch.setattr("hardtack.stores._sql_engines.TIMEOUT", 1.0)
    address = request.getfixturevalue(url)
    store = made(address)
    key, other = new_key(), new_key()
    create(store, key, b"one")
    create(store, other, b"other")
    lock = "LOCK TABLES hardtack_sessions WRITE" if url == "mariadb_url" else "LOCK TABLE hardtack_sessions"

    engine = sa.create_engine(address)
    with engine.connect() as connection:
        connection.execute(sa.text(lock))
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.get(key)
        waited = time.monotonic() - started
        connection.rollback()
    engine.dispose()

    assert 0.9 < waited < 4
    assert (read(store, other).data, read(store, key).data) == (b"other", b"one")
    store.close()


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_broken_server_is_unavailable(broken_port: int, driver: str) -> None:
    """Refused, hanging, nonsense, hung up: StoreUnavailable from the cause, in time, and without the password."""
    options = "connect_timeout=1&read_timeout=1" if "mysql" in driver else "connect_timeout=2"
    store = SQLAlchemyStore.from_url(f"{driver}://user:hunter2@127.0.0.1:{broken_port}/db?{options}")
    started = time.monotonic()

    with pytest.raises(StoreUnavailable) as raised:
        create(store, "key")

    assert raised.value.__cause__ is not None
    assert "hunter2" not in str(raised.value)
    assert time.monotonic() - started < 9
    store.close()


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg", "mysql+asyncmy", "mysql+aiomysql"])
def test_a_broken_server_is_unavailable_to_async_callers(broken_port: int, driver: str) -> None:
    """The same, async, whatever the driver knows of timeouts."""

    async def main() -> None:
        url = f"{driver}://user:hunter2@127.0.0.1:{broken_port}/db"
        store = AsyncSQLAlchemyStore.from_url(url, timeout=0.5)
        with pytest.raises(StoreUnavailable) as raised:
            await store.get("key")
        assert raised.value.__cause__ is not None
        await store.close()

    started = time.monotonic()
    asyncio.run(main())

    assert time.monotonic() - started < 9


@pytest.mark.program("mariadb")
def test_a_database_that_comes_back_is_used_again() -> None:
    """After a restart the first call works: connections are checked before they are used."""
    server = MariaDBServer()
    store = made(server.url)
    create(store, "key")

    server.stop()
    with pytest.raises(StoreUnavailable):
        store.get("key")
    server.start()

    assert read(store, "key").data == b"data"
    store.close()
    server.remove()


def test_a_locked_sqlite_database_is_unavailable(sqlite_url: str) -> None:
    """A lock that somebody holds for too long is no conflict."""
    store = made(f"{sqlite_url}?timeout=0.1")
    other = sa.create_engine(sqlite_url)

    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            create(store, "key")

    other.dispose()
    store.close()


def test_an_engine_of_the_application_stays_open(sqlite_url: str) -> None:
    """`close` closes what the store made, and nothing else."""
    engine = sa.create_engine(sqlite_url)
    with engine.connect():
        pass

    SQLAlchemyStore(engine).close()

    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    engine.dispose()


def test_an_async_engine_of_the_application_stays_open(sqlite_url: str) -> None:
    """The same, async."""

    async def main() -> int:
        engine = create_async_engine(async_url(sqlite_url), poolclass=sa.AsyncAdaptedQueuePool)
        async with engine.connect():
            pass
        await AsyncSQLAlchemyStore(engine).close()
        open_connections: int = engine.pool.checkedin()  # type: ignore[attr-defined]
        await engine.dispose()
        return open_connections

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("make", [SQLAlchemyStore.from_url, AsyncSQLAlchemyStore.from_url, is_async])
@pytest.mark.parametrize("url", ["nonsense:hunter2", "unknown://:hunter2@host/db", "oracle+nothing://:hunter2@host/db"])
def test_a_url_that_cannot_be_read_is_a_config_error_without_its_password(make: Callable[[str], Any], url: str) -> None:
    """The message says what a URL looks like, and which drivers there are."""
    with pytest.raises(ConfigError, match=r"postgresql\+psycopg://user:password@host/database") as raised:
        make(url)

    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_drivers_are_known_to_be_sync_or_async() -> None:
    """So that a URL alone picks the store."""
    assert is_async("postgresql+asyncpg://host/db")
    assert not is_async("postgresql+psycopg2://host/db")


@pytest.mark.parametrize("database", DATABASES)
def test_a_missing_table_is_said_to_be(request: pytest.FixtureRequest, database: str) -> None:
    """The message says how it is made, with sync and async drivers."""
    url = request.getfixturevalue(database)
    table = sessions_table(sa.MetaData(), "there_is_none")
    engine = sa.create_engine(url)

    async def aget() -> None:
        engine = create_async_engine(async_url(url))
        try:
            await AsyncSQLAlchemyStore(engine, table).get("key")
        finally:
            await engine.dispose()

    with pytest.raises(StoreUnavailable, match=r"create_table\(\)"):
        SQLAlchemyStore(engine, table).get("key")
    with pytest.raises(StoreUnavailable, match=r"create_table\(\)"):
        asyncio.run(aget())
    engine.dispose()


@pytest.mark.parametrize(
    ("kind", "engine", "advice"),
    [
        (SQLAlchemyStore, "postgresql://:hunter2@host/db", r"SQLAlchemyStore\.from_url\(url\)"),
        (AsyncSQLAlchemyStore, "postgresql://:hunter2@host/db", r"AsyncSQLAlchemyStore\.from_url\(url\)"),
        (SQLAlchemyStore, None, "engine is of type NoneType; SQLAlchemyStore takes an engine"),
        (SQLAlchemyStore, create_async_engine("sqlite+aiosqlite://"), "use AsyncSQLAlchemyStore"),
        (AsyncSQLAlchemyStore, sa.create_engine("sqlite://"), "use SQLAlchemyStore"),
    ],
)
def test_an_engine_of_another_kind_is_refused(kind: Any, engine: Any, advice: str) -> None:
    """When the store is made, and not by the first request."""
    with pytest.raises(ConfigError, match=advice) as raised:
        kind(engine)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("batch", [0, -1, "5"])
def test_a_batch_has_entries(batch: Any) -> None:
    """With batch=0 a sweep would never end."""
    with pytest.raises(ConfigError, match=r"batch is .*; it must be 1 or more"):
        SQLAlchemyStore(sa.create_engine("sqlite://"), batch=batch)


@pytest.mark.parametrize("driver", ["pysqlite", "aiosqlite"])
def test_a_file_of_sqlite_that_was_replaced_is_opened_anew(driver: str, tmp_path: Path) -> None:
    """A backup that was put back, or a release that brings its own: the next save goes into it, without a restart."""
    file, other = tmp_path / "sessions.db", tmp_path / "other.db"
    url = f"sqlite+{driver}:///{file}"
    for path in (file, other):
        with closing(SQLAlchemyStore.from_url(f"sqlite+pysqlite:///{path}")) as made:
            made.create_table()
    save: dict[str, Any] = {"expires_at": int(time.time()) + 60, "if_version": None, "subject": None}

    async def story() -> Any:
        store = AsyncSQLAlchemyStore.from_url(url)
        await store.put("a", b"old", **save)
        other.replace(file)
        await store.put("b", b"new", **save)
        found = await store.get("a"), await store.get("b")
        await store.close()
        return found

    if driver == "aiosqlite":
        found = asyncio.run(story())
    else:
        store = SQLAlchemyStore.from_url(url)
        store.put("a", b"old", **save)
        other.replace(file)
        store.put("b", b"new", **save)
        found = store.get("a"), store.get("b")
        store.close()

    gone, kept = found
    assert gone is None
    assert kept is not None
    assert kept.data == b"new"

"""SQLAlchemyStore where something goes wrong: a fail-over, drivers that break, several event loops, races for the table."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, QueuePool
from tests.servers import MariaDBServer, PostgreSQLServer
from tests.stores.switch import Switch, switch

from hardtack import SessionManager, StoreEngine, events
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.protocols import Entry
from hardtack.stores import _sql_engines
from hardtack.stores.breaker import Breaker
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, sessions_table
from hardtack.testing.stores import create, in_an_hour, new_key, read


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each database."""
    if request.param == "sqlite":
        return f"sqlite+pysqlite:///{tmp_path / 'sessions.sqlite'}"
    found: str = request.getfixturevalue(f"{request.param}_server").url
    return found


def async_url(url: str) -> str:
    """The URL for an async driver."""
    return url.replace("psycopg", "asyncpg").replace("pymysql", "asyncmy").replace("pysqlite", "aiosqlite")


async def acreate(store: AsyncSQLAlchemyStore, key: str, data: bytes = b"data") -> Any:
    """`create` with a coroutine."""
    return await store.put(key, data, expires_at=in_an_hour(), if_version=None, subject=None)


# --- the table


def test_the_table_may_be_created_by_all_workers_at_once(url: str) -> None:
    """It succeeds in each: those that lose the race find that there is one."""
    engine = sa.create_engine(url, poolclass=NullPool)
    for _ in range(3):
        sessions_table(sa.MetaData()).drop(engine, checkfirst=True)
        stores = [SQLAlchemyStore.from_url(url) for _ in range(8)]
        for store in stores:
            with suppress(StoreUnavailable):
                store.get("key")  # connect first
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(SQLAlchemyStore.create_table, stores))

        assert sorted(index["name"] or "" for index in sa.inspect(engine).get_indexes("hardtack_sessions")) == [
            "ix_hardtack_sessions_expires_at",
            "ix_hardtack_sessions_subject_hash",
        ]
        for store in stores:
            create(store, new_key())
            store.close()
    engine.dispose()


def test_async_workers_may_create_the_table_at_once(url: str) -> None:
    """The same with coroutines."""

    async def main() -> None:
        stores = [AsyncSQLAlchemyStore.from_url(async_url(url)) for _ in range(6)]
        for store in stores:
            with suppress(StoreUnavailable):
                await store.get("key")
        await asyncio.gather(*[store.create_table() for store in stores])
        for store in stores:
            await acreate(store, new_key())
            await store.close()

    engine = sa.create_engine(url)
    sessions_table(sa.MetaData()).drop(engine, checkfirst=True)
    engine.dispose()

    asyncio.run(main())


def test_a_table_that_cannot_be_created_is_unavailable(tmp_path: Path) -> None:
    """Neither an error of SQLAlchemy nor a conflict; and where it never comes to be, it is not tried for ever."""
    (tmp_path / "broken.sqlite").write_bytes(b"nonsense" * 1000)
    store = SQLAlchemyStore.from_url(f"sqlite+pysqlite:///{tmp_path / 'broken.sqlite'}")
    astore = AsyncSQLAlchemyStore.from_url(f"sqlite+aiosqlite:///{tmp_path / 'broken.sqlite'}")

    async def main() -> None:
        with pytest.raises(StoreUnavailable):
            await astore.create_table()
        await astore.close()

    with pytest.raises(StoreUnavailable):
        store.create_table()
    asyncio.run(main())
    store.close()


# --- a server that hangs


def is_left_alone(store: SQLAlchemyStore) -> bool:
    """Whether a call fails, and without asking."""
    with pytest.raises(StoreUnavailable) as raised:
        store.get("key")
    return "left alone for a moment" in str(raised.value)


@pytest.mark.parametrize("server_of", ["postgresql", "mariadb"])
def test_a_database_that_hangs_is_left_alone_for_a_moment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server_of: str
) -> None:
    """After some timeouts in a row calls fail at once; when it answers again, one call finds out. A manager tells of both."""
    monkeypatch.setattr(_sql_engines, "TIMEOUT", 1.0)
    server = request.getfixturevalue(f"{server_of}_server")
    store = SQLAlchemyStore.from_url(server.url, breaker=Breaker(timeouts=2, pause=5, name=server_of))
    store.create_table()
    told: list[events.Event] = []
    sessions = SessionManager(StoreEngine(store), on_event=told.append)
    assert store.get("key") is None

    with server.frozen():
        waited = [is_left_alone(store) for _ in range(2)]
        refused = [is_left_alone(store) for _ in range(50)]  # which would take minutes if each asked
    eventually(lambda: store.get("key") is None)

    assert (waited, refused) == ([False] * 2, [True] * 50)
    hangs = [event for event in told if isinstance(event, events.StoreHangs)]
    assert hangs == [events.StoreHangs(server_of, hangs) for hangs in (True, False)]
    sessions.close()


def eventually(check: Callable[[], bool]) -> None:
    """Wait until it is so, and the store can be asked."""
    deadline = time.monotonic() + 60
    while True:
        with suppress(StoreUnavailable):
            if check():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://127.0.0.1:{port}/test?connect_timeout=1",
        "mysql+pymysql://application@127.0.0.1:{port}/test?connect_timeout=1",
    ],
    ids=["psycopg", "pymysql"],
)
@pytest.mark.parametrize(("option", "refused"), [("&breaker=1", True), ("&breaker=0", False)], ids=["one", "never"])
def test_the_url_says_when_a_database_is_left_alone(hanging_port: int, url: str, option: str, refused: bool) -> None:
    """Or that it never is. Who waits for a connection waits as well."""
    store = SQLAlchemyStore.from_url(url.format(port=hanging_port) + option, breaker=7)

    assert not is_left_alone(store)
    assert is_left_alone(store) is refused
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://application@127.0.0.1:{port}/test?timeout=0.5",
        "postgresql+psycopg://application@127.0.0.1:{port}/test?connect_timeout=1",
        "mysql+asyncmy://application@127.0.0.1:{port}/test?connect_timeout=1",
        "mysql+aiomysql://application@127.0.0.1:{port}/test?connect_timeout=1",
    ],
    ids=["asyncpg", "psycopg", "asyncmy", "aiomysql"],
)
@pytest.mark.parametrize(("option", "refused"), [("&breaker=1", True), ("&breaker=0", False)], ids=["one", "never"])
def test_async_code_leaves_a_database_alone_too(hanging_port: int, url: str, option: str, refused: bool) -> None:
    """In each event loop alike."""
    store = AsyncSQLAlchemyStore.from_url(url.format(port=hanging_port) + option, timeout=1.0, breaker=7)

    async def errors() -> list[bool]:
        told = []
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as raised:
                await store.get("key")
            told.append("left alone for a moment" in str(raised.value))
        return told

    async def main() -> list[bool]:
        with ThreadPoolExecutor(1) as pool:
            first = await errors()
            elsewhere = await asyncio.get_running_loop().run_in_executor(pool, asyncio.run, errors())
        await store.close()
        return [*first, *elsewhere]

    assert asyncio.run(main()) == ([False, True, True, True] if refused else [False] * 4)


def test_an_exhausted_pool_counts_as_a_timeout(tmp_path: Path) -> None:
    """Whoever waits for one of its connections waits as long as for an answer."""
    engine = sa.create_engine(
        f"sqlite+pysqlite:///{tmp_path / 'sessions.sqlite'}",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.1,
    )
    store = SQLAlchemyStore(engine, breaker=Breaker(timeouts=2, pause=60))
    store.create_table()

    with engine.connect():
        refused = [is_left_alone(store) for _ in range(3)]

    assert refused == [False, False, True]
    engine.dispose()


def test_a_database_that_is_gone_is_asked_each_time(refusing_port: int) -> None:
    """A connection that is refused costs no time."""
    store = SQLAlchemyStore.from_url(f"postgresql+psycopg://127.0.0.1:{refusing_port}/test", breaker=1)

    assert [is_left_alone(store) for _ in range(3)] == [False] * 3
    store.close()


@pytest.mark.parametrize("option", ["breaker=x", "breaker=-1", "breaker=1&breaker=2", "breaker=%C2%B2"])
@pytest.mark.parametrize("store", [SQLAlchemyStore, AsyncSQLAlchemyStore])
def test_an_option_that_is_no_number_of_timeouts_is_refused(store: Any, option: str) -> None:
    """When the store is made."""
    with pytest.raises(ConfigError, match="url: its option breaker must be a whole number"):
        store.from_url(f"postgresql+psycopg://localhost/test?{option}")
    with pytest.raises(ConfigError, match="breaker is 'no'; it must be a Breaker, or a whole number"):
        store.from_url("postgresql+psycopg://localhost/test", breaker="no")
    with pytest.raises(ConfigError, match="url is not one that SQLAlchemy understands"):
        store.from_url("nonsense", breaker=1)


# --- a server that was demoted


@pytest.fixture(scope="module")
def read_only_mariadb() -> Iterator[MariaDBServer]:
    """A server that was the primary: whoever has no special rights can only read."""
    server = MariaDBServer()
    store = SQLAlchemyStore.from_url(server.url)
    store.create_table()
    with store._engine.begin() as connection:
        connection.exec_driver_sql("SET GLOBAL read_only = 1")
    store.close()
    yield server
    server.remove()


@pytest.fixture
def failover(
    request: pytest.FixtureRequest, mariadb_server: MariaDBServer, read_only_mariadb: MariaDBServer
) -> Iterator[tuple[Switch, MariaDBServer]]:
    """One address before a server that is read-only; and the server that will be there next."""
    store = SQLAlchemyStore.from_url(mariadb_server.url)
    store.create_table()
    store.close()
    with switch(read_only_mariadb.port) as address:
        yield address, mariadb_server


def test_a_write_to_a_demoted_mariadb_goes_to_the_new_one(failover: tuple[Switch, MariaDBServer]) -> None:
    """The connections to the old one are given up, and nothing had been written: so it is tried once more."""
    address, primary = failover
    store = SQLAlchemyStore.from_url(f"mysql+pymysql://application@127.0.0.1:{address.port}/test")
    key = new_key()
    assert store.get(key) is None
    with pytest.raises(StoreUnavailable):  # as long as there is no other
        create(store, key)
    assert store.get(key) is None
    address.target = primary.port

    create(store, key)

    assert read(store, key).data == b"data"
    store.close()


def test_an_async_write_to_a_demoted_mariadb_goes_to_the_new_one(failover: tuple[Switch, MariaDBServer]) -> None:
    """The same with coroutines."""
    address, primary = failover

    async def main() -> Entry | None:
        store = AsyncSQLAlchemyStore.from_url(f"mysql+asyncmy://application@127.0.0.1:{address.port}/test")
        key = new_key()
        assert await store.get(key) is None
        address.target = primary.port
        await acreate(store, key)
        entry = await store.get(key)
        await store.close()
        return entry

    assert asyncio.run(main()) is not None


@pytest.fixture
def demoted_postgresql(postgresql_server: PostgreSQLServer) -> Iterator[Callable[[], None]]:
    """New connections can only read, until this is called: those that stand stay as they are."""
    engine = sa.create_engine(postgresql_server.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    SQLAlchemyStore(engine).create_table()

    def set_role(clause: str) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(f"ALTER ROLE hardtack {clause}")

    set_role("SET default_transaction_read_only = on")
    yield lambda: set_role("RESET default_transaction_read_only")
    set_role("RESET default_transaction_read_only")
    engine.dispose()


@pytest.mark.parametrize("given", [False, True], ids=["by url", "given an engine"])
def test_a_write_to_a_demoted_postgresql_goes_to_the_new_one(
    postgresql_server: PostgreSQLServer, demoted_postgresql: Callable[[], None], given: bool
) -> None:
    """Its SQLSTATE is 25006; of the engine that was given too the connections are given up."""
    engine = sa.create_engine(postgresql_server.url)
    store = SQLAlchemyStore(engine) if given else SQLAlchemyStore.from_url(postgresql_server.url)
    key = new_key()
    assert store.get(key) is None
    demoted_postgresql()

    version = create(store, key)

    assert store.get(key) == (b"data", version)
    store.close()
    engine.dispose()


def test_an_async_write_to_a_demoted_postgresql_goes_to_the_new_one(
    postgresql_server: PostgreSQLServer, demoted_postgresql: Callable[[], None]
) -> None:
    """The same with asyncpg."""

    async def main() -> Entry | None:
        store = AsyncSQLAlchemyStore.from_url(postgresql_server.async_url)
        key = new_key()
        assert await store.get(key) is None
        demoted_postgresql()
        await acreate(store, key)
        entry = await store.get(key)
        await store.close()
        return entry

    assert asyncio.run(main()) is not None


# --- drivers that break


@pytest.mark.parametrize("error", [TypeError("NoneType"), RuntimeError("Event loop is closed"), AttributeError("recv")])
def test_an_error_that_is_not_the_drivers_is_unavailable(url: str, error: Exception) -> None:
    """And its connection is given up: it may be in the middle of an answer."""
    store = SQLAlchemyStore.from_url(url)
    store.create_table()
    key = new_key()
    create(store, key)
    broken: list[Any] = []

    @event.listens_for(store._engine, "before_cursor_execute")
    def fail(connection: Any, *arguments: Any) -> None:
        if not broken:
            broken.append(connection.connection.driver_connection)
            raise error

    with pytest.raises(StoreUnavailable) as raised:
        store.get(key)

    assert raised.value.__cause__ is error
    with store._engine.connect() as connection:
        assert connection.connection.driver_connection is not broken[0]
    assert read(store, key).data == b"data"
    store.close()


def test_an_async_error_that_is_not_the_drivers_is_unavailable(url: str) -> None:
    """The same with coroutines."""

    async def main() -> None:
        store = AsyncSQLAlchemyStore.from_url(async_url(url))
        await store.create_table()
        key = new_key()
        await acreate(store, key)
        broken: list[Any] = []

        @event.listens_for(store._engine.sync_engine, "before_cursor_execute")
        def fail(connection: Any, *arguments: Any) -> None:
            if not broken:
                broken.append(connection.connection.driver_connection)
                raise RuntimeError("Event loop is closed")

        with pytest.raises(StoreUnavailable) as raised:
            await store.get(key)
        assert isinstance(raised.value.__cause__, RuntimeError)
        async with store._engine.connect() as connection:
            assert (await connection.get_raw_connection()).driver_connection is not broken[0]
        assert await store.get(key) is not None
        await store.close()

    asyncio.run(main())


def test_a_read_that_was_interrupted_gives_no_connection_back(url: str) -> None:
    """Its answer may come yet, and is not the next caller's."""
    store = SQLAlchemyStore.from_url(url)
    store.create_table()
    broken: list[Any] = []

    @event.listens_for(store._engine, "after_cursor_execute")
    def interrupt(connection: Any, *arguments: Any) -> None:
        if not broken:
            broken.append(connection.connection.driver_connection)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get("key")

    with store._engine.connect() as connection:
        assert connection.connection.driver_connection is not broken[0]
    store.close()


# --- counting


def test_count_is_of_what_lives(url: str) -> None:
    """All, or those of one subject; what has expired is not counted."""
    store = SQLAlchemyStore.from_url(url)
    store.create_table()
    before, subject = store.count(), new_key()

    for number in range(3):
        create(store, new_key(), b"", subject if number else None)
    store.put(new_key(), b"", expires_at=1, if_version=None, subject=subject)

    assert (store.count() - before, store.count(subject)) == (3, 2)
    store.close()


def test_async_count_is_of_what_lives(url: str) -> None:
    """The same with coroutines."""

    async def main() -> int:
        store = AsyncSQLAlchemyStore.from_url(async_url(url))
        await store.create_table()
        before = await store.count()
        await acreate(store, new_key())
        after = await store.count()
        await store.close()
        return after - before

    assert asyncio.run(main()) == 1


# --- event loops


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the connections of a loop that is closed cannot be closed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # aiosqlite's threads tell that loop
def test_a_store_works_in_one_event_loop_after_the_other(url: str) -> None:
    """A test client and `asyncio.run` have a new loop each time; after some the store keeps no connections any more."""
    store = AsyncSQLAlchemyStore.from_url(async_url(url))
    asyncio.run(store.create_table())
    key = new_key()
    asyncio.run(acreate(store, key))

    found = [asyncio.run(store.get(key)) for _ in range(4)]
    asyncio.run(store.close())
    gc.collect()

    assert [entry is not None for entry in found] == [True] * 4


def test_a_store_works_in_two_event_loops_at_once(url: str) -> None:
    """Threads that run a loop each: the second one's calls have connections of their own."""
    store = AsyncSQLAlchemyStore.from_url(async_url(url))

    async def main() -> list[Any]:
        await store.create_table()
        key = new_key()
        await acreate(store, key)

        async def read_twice() -> Any:
            await store.get(key)
            return await store.get(key)

        results = await asyncio.gather(
            *[asyncio.to_thread(lambda: asyncio.run(read_twice())) for _ in range(3)], store.get(key)
        )
        await store.close()
        return results

    assert all(entry is not None for entry in asyncio.run(main()))


def test_an_engine_that_was_given_is_for_one_event_loop_at_a_time(url: str) -> None:
    """In another one it says what to do, and with a NullPool it works."""

    async def main() -> None:
        engine = create_async_engine(
            async_url(url), poolclass=AsyncAdaptedQueuePool
        )  # old versions pool no SQLite file
        unpooled = create_async_engine(async_url(url), poolclass=NullPool)
        store, free = AsyncSQLAlchemyStore(engine), AsyncSQLAlchemyStore(unpooled)
        await store.create_table()
        await free.get("key")
        with pytest.raises(StoreUnavailable, match="NullPool"):
            await asyncio.to_thread(lambda: asyncio.run(store.get("key")))
        assert await asyncio.to_thread(lambda: asyncio.run(free.get("key"))) is None
        await engine.dispose()
        await unpooled.dispose()

    asyncio.run(main())


def test_calls_that_are_cancelled_leave_no_sqlite_connection_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever moment: while it connects, while it reads, while it gives the connection back."""
    open_now: set[int] = set()
    connect = sqlite3.connect

    class Counted(sqlite3.Connection):
        def close(self) -> None:
            open_now.discard(id(self))
            super().close()

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options, factory=Counted)
        open_now.add(id(connection))
        kept.append(connection)
        return connection

    kept: list[sqlite3.Connection] = []
    monkeypatch.setattr(sqlite3, "connect", counted)

    async def main() -> None:
        store = AsyncSQLAlchemyStore.from_url(f"sqlite+aiosqlite:///{tmp_path / 'sessions.sqlite'}")
        await store.create_table()
        for attempt in range(80):
            task = asyncio.create_task(store.get("key"))
            await asyncio.sleep(attempt * 0.0001)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if attempt % 10 == 0:
                await store._engine.dispose()  # so that some are cancelled while they connect
        assert await store.get("key") is None
        await store.close()
        await asyncio.sleep(0.2)

    asyncio.run(main())

    assert open_now == set()

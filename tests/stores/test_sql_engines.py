"""SQLAlchemyStore by URL: its options, databases in memory, and a pooler before PostgreSQL."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool
from tests.servers import MariaDBServer, PgBouncerServer, PostgreSQLServer, certify

from hardtack.ended.channels import open_channel
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.protocols import Tombstone
from hardtack.stores import from_url
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from hardtack.testing.stores import create, in_an_hour, new_key, read

PSYCOPG = "postgresql+psycopg://h/d"
ASYNCPG = "postgresql+asyncpg://h/d"
PYMYSQL = "mysql+pymysql://h/d"
PYMYSQL_TRIES_TLS = hasattr(pymysql.Connection(defer_connect=True), "ctx")  # 1.2 does, 1.1 does not


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"{PSYCOPG}?prepare_threshold=often", "option prepare_threshold must be a whole number or none"),
        (f"{PSYCOPG}?connect_timeout=soon", "option connect_timeout must be a whole number"),
        (f"{PSYCOPG}?keepalives=1&keepalives=2", "option keepalives must be a whole number"),
        (f"{PSYCOPG}?prepare_treshold=0", "psycopg takes no option prepare_treshold in a URL"),
        (f"{PSYCOPG}?autocommit=1", "takes no option autocommit"),
        (
            f"{ASYNCPG}?prepared_statement_cache_size=none",
            "option prepared_statement_cache_size must be a whole number",
        ),
        (f"{ASYNCPG}?statement_cache_size=x", "option statement_cache_size must be a whole number"),
        (f"{ASYNCPG}?timeout=1s", "option timeout must be a number of seconds"),
        (f"{ASYNCPG}?statement_cache_size=-1", "option statement_cache_size must be a whole number"),
        (f"{ASYNCPG}?timeout=-1", "option timeout must be a number of seconds"),
        (f"{ASYNCPG}?timeout=inf", "option timeout must be a number of seconds"),
        (f"{ASYNCPG}?command_timeout=0", "option command_timeout must be a number of seconds above 0"),
        (f"{ASYNCPG}?ssl=true", "option ssl must be one of disable, allow, prefer"),
        (f"{ASYNCPG}?target_session_attrs=master", "option target_session_attrs must be one of any, primary"),
        (f"{PSYCOPG}?sslmode=on", "option sslmode must be one of disable, allow, prefer"),
        (f"{PSYCOPG}?prepare_threshold=-5", "option prepare_threshold must be a whole number or none"),
        (f"{PYMYSQL}?connect_timeout=0", "option connect_timeout must be a whole number from 1"),
        (f"{PYMYSQL}?read_timeout=-1", "option read_timeout must be a whole number"),
        (f"{PYMYSQL}?defer_connect=1", "pymysql takes no option defer_connect"),
        (f"{ASYNCPG}?direct_tls=perhaps", "option direct_tls must be true or false"),
        (f"{ASYNCPG}?sslmode=require", "asyncpg takes no option sslmode"),
        (f"{ASYNCPG}?server_settings=x", "asyncpg takes no option server_settings"),
        (f"{PYMYSQL}?read_timeout=x", "option read_timeout must be a whole number"),
        (f"{PYMYSQL}?read_timeot=5", "pymysql takes no option read_timeot"),
        (f"{PYMYSQL}?ssl=true", "pymysql takes no option ssl"),
        *(
            (
                f"mysql+{driver}://h/d?charset={names}",
                f"option charset must be one that {driver} knows, such as utf8mb4",
            )
            for driver in ("pymysql", "aiomysql", "asyncmy")
            for names in ("klingon", "utf8&charset=utf8")
        ),
        ("mysql+asyncmy://h/d?write_timeout=5", "asyncmy takes no option write_timeout"),
        ("mysql+aiomysql://h/d?nonsense=5", "aiomysql takes no option nonsense"),
        ("sqlite+pysqlite:///x?timeout=x", "option timeout must be a number of seconds"),
        ("sqlite+pysqlite:///x?timeuot=5", "pysqlite takes no option timeuot"),
        ("sqlite+aiosqlite:///x?timeuot=5", "aiosqlite takes no option timeuot"),
    ],
)
def test_an_option_that_cannot_be_is_found_at_once(url: str, said: str) -> None:
    """When the store is made, and not as a TypeError of every request; the option is named, its value is not shown."""
    with pytest.raises(ConfigError, match=said):
        from_url(url)


def test_an_option_that_psycopg2_does_not_know_is_found_at_once() -> None:
    """Where that driver is installed; what it knows is taken."""
    pytest.importorskip("psycopg2")

    from_url("postgresql+psycopg2://h/d?sslmode=require")
    with pytest.raises(ConfigError, match="psycopg2 takes no option prepare_threshold"):
        from_url("postgresql+psycopg2://h/d?prepare_threshold=5")


@pytest.mark.parametrize(
    "url",
    [
        f"{PSYCOPG}?prepare_threshold=none&sslmode=require&target_session_attrs=read-write",
        f"{PSYCOPG}?host=a:1&host=b:2",
        f"{ASYNCPG}?prepared_statement_cache_size=0&ssl=require&direct_tls=false",
        f"{PYMYSQL}?charset=utf8mb4&ssl_ca=/ca.pem&local_infile=0",
        "mysql+asyncmy://h/d?stmt_cache_size=5",
        "mysql+aiomysql://h/d?charset=latin1",
        "mysql+asyncmy://h/d?charset=utf8",
    ],
)
def test_options_of_the_driver_are_taken(url: str) -> None:
    """Those that it takes as text, and those that SQLAlchemy takes for it."""
    from_url(url)


def test_a_threshold_reaches_psycopg(postgresql_server: PostgreSQLServer) -> None:
    """As a number, or None for never."""
    for text, value in (("0", 0), ("none", None), ("7", 7)):
        store = SQLAlchemyStore.from_url(f"{postgresql_server.url}?prepare_threshold={text}")
        with store._engine.connect() as connection:
            driver_connection: Any = connection.connection.driver_connection
            assert driver_connection.prepare_threshold == value
        store.close()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+pysqlite://",
        "sqlite+pysqlite:///:memory:",
        "sqlite+aiosqlite://",
        "sqlite+pysqlite:///file:x?mode=memory&uri=true",
        "sqlite+pysqlite:///file::memory:?uri=true",
    ],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    """Each thread would have an empty one of its own."""
    with pytest.raises(ConfigError, match="use memory://, or name a file"):
        from_url(url)


def test_an_engine_in_memory_is_one_for_all_threads_or_refused() -> None:
    """SQLAlchemy gives each thread a database of its own, unless told otherwise."""
    with pytest.raises(ConfigError, match="StaticPool"):
        SQLAlchemyStore(sa.create_engine("sqlite://"))
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    store = SQLAlchemyStore(engine)
    store.create_table()
    create(store, "key")

    with ThreadPoolExecutor(1) as pool:
        entry = pool.submit(store.get, "key").result()
    store.before_fork()
    store.after_fork()  # what a child has in memory is a copy of its own

    assert entry is not None
    assert store.get("key") is not None
    engine.dispose()


@pytest.mark.parametrize("path", ["sessions.sqlite", "file:sessions.sqlite?uri=true"])
def test_a_relative_path_stays_where_it_was(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not follow a later change of directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = SQLAlchemyStore.from_url(f"sqlite+pysqlite:///{path}")

    monkeypatch.chdir("elsewhere")
    store.create_table()

    store.close()
    assert (tmp_path / "sessions.sqlite").is_file()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("autocommit", [1, None, "yes"])
def test_autocommit_is_true_or_false(autocommit: Any) -> None:
    """Nothing that may mean either."""
    with pytest.raises(ConfigError, match=r"autocommit is .*; it must be True or False"):
        SQLAlchemyStore(sa.create_engine("sqlite:///x"), autocommit=autocommit)


# --- round trips


def test_an_engine_that_was_given_is_used_as_it_is(postgresql_server: PostgreSQLServer) -> None:
    """Its transactions are its own; with `autocommit` a single statement is sent without one, and a rename is not."""
    engine = sa.create_engine(postgresql_server.url)
    SQLAlchemyStore(engine).create_table()
    seen: list[tuple[str, str]] = []

    @event.listens_for(engine, "after_cursor_execute")
    def note(connection: sa.Connection, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append((statement.split()[0], connection.get_execution_options().get("isolation_level", "its own")))

    create(SQLAlchemyStore(engine), new_key())
    store, old = SQLAlchemyStore(engine, autocommit=True), new_key()
    version = create(store, old)
    gone = Tombstone(b"", in_an_hour())
    store.rename(old, new_key(), b"", expires_at=in_an_hour(), if_version=version, subject=None, tombstone=gone)

    assert seen == [
        ("INSERT", "its own"),
        ("INSERT", "AUTOCOMMIT"),
        ("UPDATE", "its own"),
        ("INSERT", "its own"),
    ]
    engine.dispose()


# --- a pooler


@pytest.fixture(scope="module")
def pgbouncer(postgresql_server: PostgreSQLServer) -> Iterator[PgBouncerServer]:
    """A pooler in transaction mode, before a database that has the table."""
    store = SQLAlchemyStore.from_url(postgresql_server.url)
    store.create_table()
    store.close()
    server = PgBouncerServer(postgresql_server)
    yield server
    server.remove()


def _save_often(store: SQLAlchemyStore, number: int) -> None:
    key = f"{number}{new_key()}"[:43]
    version = create(store, key, b"0")
    for turn in range(20):
        assert read(store, key).data == b"%d" % turn
        data = b"%d" % (turn + 1)
        version = store.put(key, data, expires_at=in_an_hour(), if_version=version, subject="alice")
    store.delete(key, if_version=version)


async def _asave_often(store: AsyncSQLAlchemyStore, number: int) -> None:
    key = f"{number}{new_key()}"[:43]
    version = await store.put(key, b"0", expires_at=in_an_hour(), if_version=None, subject=None)
    for turn in range(20):
        entry = await store.get(key)
        assert entry is not None
        assert entry.data == b"%d" % turn
        data = b"%d" % (turn + 1)
        version = await store.put(key, data, expires_at=in_an_hour(), if_version=version, subject="alice")
    new = new_key()
    version = await store.rename(key, new, b"", expires_at=in_an_hour(), if_version=version, subject=None)
    await store.delete(new, if_version=version)


def test_psycopg_works_behind_a_pooler(pgbouncer: PgBouncerServer) -> None:
    """By its URL alone: nothing is prepared that another server process does not know."""
    store = SQLAlchemyStore.from_url(pgbouncer.url)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _save_often(store, number), range(8)))

    store.close()


@pytest.mark.parametrize(
    "query", ["", "?prepared_statement_cache_size=0", "?statement_cache_size=0&prepared_statement_cache_size=0"]
)
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_async_drivers_work_behind_a_pooler(pgbouncer: PgBouncerServer, driver: str, query: str) -> None:
    """By their URL alone, and with what is told to do for a pooler elsewhere."""
    if query and driver == "psycopg":
        query = "?prepare_threshold=none"

    async def main() -> None:
        store = AsyncSQLAlchemyStore.from_url(f"{pgbouncer.url.replace('psycopg', driver)}{query}")
        await asyncio.gather(*[_asave_often(store, number) for number in range(8)])
        await store.close()

    asyncio.run(main())


def test_psycopg_prepares_where_nothing_is_in_between(
    postgresql_server: PostgreSQLServer, pgbouncer: PgBouncerServer
) -> None:
    """A statement that is prepared costs the database less."""
    thresholds = []
    for server in (postgresql_server, pgbouncer):
        store = SQLAlchemyStore.from_url(server.url)
        with store._engine.connect() as connection:
            driver_connection: Any = connection.connection.driver_connection
            thresholds.append(driver_connection.prepare_threshold)
        store.close()

    assert thresholds == [5, None]


def test_asyncpg_takes_one_round_trip_where_nothing_is_in_between(
    postgresql_server: PostgreSQLServer, pgbouncer: PgBouncerServer
) -> None:
    """From the second statement on, when this is known; behind a pooler every statement is in a transaction."""

    async def seen(url: str) -> list[str]:
        store = AsyncSQLAlchemyStore.from_url(url)
        levels: list[str] = []
        event.listen(
            store._engine.sync_engine,
            "before_cursor_execute",
            lambda connection, *_: levels.append(connection.get_execution_options().get("isolation_level", "")),
        )
        for _ in range(3):
            await store.get("key")
        await store.close()
        return levels[-3:]

    assert asyncio.run(seen(postgresql_server.async_url)) == ["", "AUTOCOMMIT", "AUTOCOMMIT"]
    assert asyncio.run(seen(pgbouncer.async_url)) == ["", "", ""]


def test_a_connection_that_breaks_while_it_is_asked_is_not_used(
    postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of it then."""
    from hardtack.errors import StoreUnavailable

    async def broken(connection: Any) -> bool:
        raise ConnectionResetError

    async def main() -> None:
        store = AsyncSQLAlchemyStore.from_url(postgresql_server.async_url)
        with pytest.raises(StoreUnavailable):
            await store.get("key")
        await store.close()

    monkeypatch.setattr("hardtack.stores._sql_engines._answers_as_another", broken)

    asyncio.run(main())


# --- TLS to MariaDB


class MariaDBWithTLS(MariaDBServer):
    """With a certificate that PyMySQL cannot check, as MariaDB and MySQL make themselves one."""

    def prepare(self) -> None:
        super().prepare()
        certify(self.directory)

    def command(self) -> list[str]:
        files = [f"--ssl-cert={self.directory}/certificate.pem", f"--ssl-key={self.directory}/key.pem"]
        return [each for each in super().command() if each != "--skip-ssl"] + files


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """The TLS contexts that are made meanwhile."""
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def recorded(*args: Any, **options: Any) -> ssl.SSLContext:
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", recorded)
    return made


def new_list(url: str) -> Any:
    """A list of ended sessions."""
    return open_channel(url, "test")


@pytest.mark.parametrize("make", [SQLAlchemyStore.from_url, new_list], ids=["store", "list"])
def test_pymysql_makes_one_tls_context_for_all_connections(
    refusing_port: int, contexts: list[ssl.SSLContext], make: Callable[[str], Any]
) -> None:
    """Each reads all certificates of the system: while a server was gone, that was most of what a request cost."""
    store = make(f"mysql+pymysql://127.0.0.1:{refusing_port}/test")
    engine: sa.Engine = store._engine

    for _ in range(3):
        with pytest.raises(OperationalError):
            engine.connect()

    assert len(contexts) == (1 if PYMYSQL_TRIES_TLS else 0)
    store.close()


def test_certificates_of_a_url_are_read_for_each_connection_of_pymysql(
    refusing_port: int, contexts: list[ssl.SSLContext], tmp_path: Path
) -> None:
    """They may be renewed while the site runs."""
    certify(tmp_path)
    store = SQLAlchemyStore.from_url(
        f"mysql+pymysql://127.0.0.1:{refusing_port}/test?ssl_ca={tmp_path}/certificate.pem"
    )

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.get("key")

    assert len(contexts) == 3
    store.close()


@pytest.mark.program("mariadb")
@pytest.mark.skipif(not PYMYSQL_TRIES_TLS, reason="this PyMySQL tries TLS only where it is told to")
def test_two_connections_of_pymysql_have_tls_with_one_context(contexts: list[ssl.SSLContext]) -> None:
    """As each would have it with its own."""
    server = MariaDBWithTLS()
    contexts.clear()
    store = SQLAlchemyStore.from_url(server.url)
    question = sa.text("SHOW STATUS LIKE 'Ssl_cipher'")

    with store._engine.connect() as one, store._engine.connect() as other:
        ciphers = [each.execute(question).one()[1] for each in (one, other)]

    assert all(ciphers)
    assert len(contexts) == 1
    store.close()
    server.remove()

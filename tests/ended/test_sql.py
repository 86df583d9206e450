"""SQLChannel: commits that overtake each other, rows that were dropped, and URLs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool
from tests.ended.kit import eventually, new_id
from tests.servers import MariaDBServer, PgBouncerServer, PostgreSQLServer
from tests.stores.switch import switch

from hardtack.ended import EndedSessions
from hardtack.ended.channels import sql
from hardtack.ended.channels.sql import SQLChannel
from hardtack.ended.follower import clock
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.testing.channels import put, read_all

Url = Callable[[str], str]

pytestmark = [pytest.mark.program(name) for name in ("postgresql", "mariadb")]


@pytest.fixture(params=["postgresql", "mariadb"])
def channel(request: pytest.FixtureRequest, channel_url: Url) -> Iterator[SQLChannel]:
    """A channel on a server, created, with tables of its own."""
    channel = SQLChannel(channel_url(request.param), f"_{time.time_ns()}")
    assert channel.reset(None, b"identity", [b"first"])
    yield channel
    channel._metadata.drop_all(channel._engine)
    channel.close()


def insert(connection: Any, channel: SQLChannel, entry: bytes) -> None:
    """A row, in a transaction that goes on."""
    connection.execute(sa.insert(channel.table), {"entry": entry, "added": time.time_ns() // 1000})


def test_a_commit_that_was_overtaken_is_not_passed_over(channel: SQLChannel) -> None:
    """A row whose number is lower than that of one which was read already."""
    _, position = read_all(channel)
    slow = channel._engine.connect()
    insert(slow, channel, b"slow")

    put(channel, b"fast")
    entries, position = read_all(channel, position)
    assert entries == [b"fast"]
    slow.commit()
    slow.close()

    entries, position = read_all(channel, position)
    assert b"slow" in entries
    assert read_all(channel, position)[0] == []


def test_what_is_appended_while_the_reader_stands_still_is_not_ahead_of_its_time(
    channel: SQLChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was suspended between two questions: such entries would be skipped, and never be read again."""
    _, position = read_all(channel)
    stood, rows = [0.0], channel._rows

    def suspended(*arguments: Any) -> Any:
        stood[0] += 600
        return rows(*arguments)

    monkeypatch.setattr(sql, "clock", lambda: clock() + stood[0])
    monkeypatch.setattr(channel, "_rows", suspended)

    assert channel.read(position, 0).now >= time.time_ns() // 1000 + 590_000_000


def test_who_appends_in_turn_waits_for_who_was_before_him(channel: SQLChannel) -> None:
    """So that what came later cannot be read first; what has no turn goes on."""
    _, position = read_all(channel)
    slow = channel._engine.connect()
    slow.execute(sa.select(channel.origins.c.one).with_for_update()).all()
    insert(slow, channel, b"slow")
    done = threading.Event()

    def append() -> None:
        channel.append_in_turn(lambda now: [b"next"], None)
        done.set()

    thread = threading.Thread(target=append)
    thread.start()
    put(channel, b"plain")
    assert not done.wait(0.2)
    assert read_all(channel, position)[0] == [b"plain"]
    slow.commit()
    slow.close()
    thread.join()

    entries = read_all(channel, position)[0]
    assert entries.index(b"slow") < entries.index(b"next")


def test_a_row_that_never_comes_is_not_waited_for(channel: SQLChannel, monkeypatch: Any) -> None:
    """It was rolled back: what comes after it is read at once, once more for a while, and then no more."""
    _, position = read_all(channel)
    with channel._engine.connect() as connection:
        insert(connection, channel, b"never")
        connection.rollback()
    put(channel, b"next")

    entries, held = read_all(channel, position)
    assert (entries, held) == ([b"next"], position)
    began = time.monotonic()
    assert channel.read(held, 0.3).entries == [b"next"]
    assert time.monotonic() - began > 0.2  # the same rows are no reason to return at once
    monkeypatch.setattr(sql, "OVERTAKEN", 0)

    entries, position = read_all(channel, held)
    assert entries == [b"next"]
    assert read_all(channel, position) == ([], position)


def test_so_many_rows_that_nobody_can_wait_for_one(channel: SQLChannel, monkeypatch: Any) -> None:
    """A read that does not come to the end goes on behind a gap."""
    monkeypatch.setattr(sql, "BATCH", 3)
    _, position = read_all(channel)
    with channel._engine.connect() as connection:
        insert(connection, channel, b"never")
        connection.rollback()

    put(channel, *(b"%d" % number for number in range(10)))

    assert read_all(channel, position)[0] == [b"%d" % number for number in range(10)]


def test_old_rows_are_dropped(channel: SQLChannel, monkeypatch: Any) -> None:
    """Some at a time; who was there begins again."""
    monkeypatch.setattr(sql, "_TRIM_EVERY", 2)
    monkeypatch.setattr(sql, "_TRIM", 4)
    put(channel, *(b"%d" % number for number in range(6)))
    _, position = read_all(channel)
    time.sleep(1.01)

    for _ in range(6):
        put(channel, b"new", keep=1)

    assert read_all(channel)[0] == [b"new"] * 6
    assert channel.read(position, 0).restarted


def test_a_second_process_creates_the_same_tables(channel: SQLChannel, monkeypatch: Any) -> None:
    """It comes too late for the identity. Where it can create none, it says so."""
    suffix = channel.table.name.removeprefix("hardtack_ended")
    other = SQLChannel(channel._engine.url.render_as_string(hide_password=False), suffix)

    assert not other.reset(None, b"mine", [])

    def fail(*_: Any) -> None:
        raise exc.OperationalError("CREATE", {}, Exception("denied"))

    monkeypatch.setattr(other._metadata, "create_all", fail)
    assert not other.reset(None, b"mine", [])
    channel._metadata.drop_all(channel._engine)
    monkeypatch.setattr(sql, "TIMEOUT", 0.1)
    with pytest.raises(StoreUnavailable, match="--create"):
        other.reset(None, b"mine", [])
    with pytest.raises(StoreUnavailable, match="--create"):
        put(other, b"entry")
    other.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://user:hunter2@localhost/x",
        "postgresql+nothing://user:hunter2@localhost/x",
        "mysql+pymysql://user:hunter2@localhost:port/x",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    """Say what they must be like, and show no password."""
    with pytest.raises(ConfigError, match=r"postgresql\+psycopg://") as error:
        SQLChannel.from_url(url)

    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql+psycopg://user:hunter2@localhost/x?connect_timeout=soon",
            "connect_timeout must be a whole number",
        ),
        ("postgresql+psycopg://user:hunter2@localhost/x?prepare_threshold=often", "a whole number or none"),
        ("postgresql+psycopg://user:hunter2@localhost/x?colour=hunter2", "psycopg takes no option colour"),
        ("mysql+pymysql://user:hunter2@localhost/x?read_timeot=5", "pymysql takes no option read_timeot"),
        ("sqlite:////nowhere/x?timeuot=5", "pysqlite takes no option timeuot"),
    ],
)
def test_an_option_that_cannot_be_is_found_when_the_list_is_made(url: str, said: str) -> None:
    """As those of a store are; the option is named, its value is not shown."""
    with pytest.raises(ConfigError, match=said) as error:
        EndedSessions.from_url(url)

    assert "hunter2" not in str(error.value)


def test_a_list_makes_one_engine(make_list: Any, channel_url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What checks its URL makes none."""
    made: list[Any] = []
    create = sa.create_engine

    def counted(*given: Any, **options: Any) -> Any:
        made.append(given)
        return create(*given, **options)

    monkeypatch.setattr(sa, "create_engine", counted)

    ended = make_list(channel_url("sqlite"))
    checked = len(made)
    ended.create()

    assert (checked, len(made)) == (0, 1)


def test_timeouts_are_set_at_the_server(postgresql_server: PostgreSQLServer) -> None:
    """For good, whatever is rolled back; those of the URL's options are left as they are."""
    shown = []
    for query in ("", "?connect_timeout=7&options=-c%20lock_timeout%3D7s"):
        channel = SQLChannel(f"{postgresql_server.url}{query}")
        with channel._engine.connect() as connection:
            connection.rollback()
            names = ("statement_timeout", "lock_timeout")
            shown.append([connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names])
        channel.close()

    assert shown == [["2s", "2s"], ["0", "7s"]]


@pytest.fixture(scope="module")
def pgbouncer(postgresql_server: PostgreSQLServer) -> Iterator[PgBouncerServer]:
    """A pooler in transaction mode."""
    server = PgBouncerServer(postgresql_server)
    yield server
    server.remove()


@pytest.mark.parametrize("query", ["", "?prepare_threshold=none"])
def test_a_list_behind_a_pooler(pgbouncer: PgBouncerServer, make_list: Any, query: str) -> None:
    """By its URL alone, and with what is told to do for a pooler elsewhere: what one ends another refuses."""
    ender, other = make_list(f"{pgbouncer.url}{query}"), make_list(pgbouncer.url)
    ender.create()
    other.start()

    for _ in range(20):  # more often than psycopg needs to prepare a statement
        handle = new_id()
        ender.end_session(handle)
        eventually(lambda: other.check(handle))  # noqa: B023 - it is called here

    channel = SQLChannel(pgbouncer.url)
    with channel._engine.connect() as connection:
        driver_connection: Any = connection.connection.driver_connection
        assert driver_connection.prepare_threshold is None
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0"
    channel.close()


def test_a_pool_that_is_empty(channel: SQLChannel, monkeypatch: Any) -> None:
    """Is a channel that cannot be used now."""

    def fail() -> None:
        raise exc.TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(channel._engine, "connect", fail)
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            put(channel, b"entry")


# --- a server that was demoted


@pytest.fixture(scope="module")
def read_only_mariadb() -> Iterator[MariaDBServer]:
    """A server that was the primary: whoever has no special rights can only read."""
    server = MariaDBServer()
    yield server
    server.remove()


@pytest.fixture
def behind_one_address(mariadb_server: MariaDBServer, read_only_mariadb: MariaDBServer) -> Iterator[Any]:
    """An address before a server that is read-only, the one that comes next, and the suffix of a channel on both."""
    suffix = f"_{time.time_ns()}"
    made = [SQLChannel(server.url, suffix) for server in (mariadb_server, read_only_mariadb)]
    for each in made:
        assert each.reset(None, b"identity", [b"first"])
    with made[1]._engine.begin() as connection:
        connection.exec_driver_sql("SET GLOBAL read_only = 1")
    with switch(read_only_mariadb.port) as address:
        yield address, mariadb_server, suffix
    with made[1]._engine.begin() as connection:
        connection.exec_driver_sql("SET GLOBAL read_only = 0")
    for each in made:
        each._metadata.drop_all(each._engine)
        each.close()


@pytest.mark.parametrize("first", ["append", "read"])
def test_a_demoted_mariadb_is_left_for_the_new_one(behind_one_address: Any, first: str) -> None:
    """As long as there is no other it is unavailable; then the first call is carried out on a new connection."""
    address, primary, suffix = behind_one_address
    channel = SQLChannel(f"mysql+pymysql://application@127.0.0.1:{address.port}/test", suffix)
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: put(channel, b"entry"),
        "read": lambda: channel.read("", 0),
    }
    for call in calls.values():
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            call()
    engine = channel._engine  # a connection that stands, and leads to the old one
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    address.target = primary.port

    calls[first]()
    put(channel, b"last")

    assert read_all(channel)[0][-1] == b"last"
    channel.close()


def test_a_demoted_postgresql_is_left_for_the_new_one(postgresql_server: PostgreSQLServer) -> None:
    """Which refuses the write itself: 25006. New connections can write, those that stand stay as they are."""
    admin = sa.create_engine(postgresql_server.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def set_role(clause: str) -> None:
        with admin.connect() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(f"ALTER ROLE hardtack {clause}")

    suffix = f"_{time.time_ns()}"
    other = SQLChannel(postgresql_server.url, suffix)
    assert other.reset(None, b"identity", [])
    set_role("SET default_transaction_read_only = on")
    channel = SQLChannel(postgresql_server.url, suffix)
    try:
        assert channel.read("", 0).origin == b"identity"
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            put(channel, b"entry")
        assert channel.read("", 0).origin == b"identity"
    finally:
        set_role("RESET default_transaction_read_only")

    put(channel, b"entry")

    assert read_all(channel)[0] == [b"entry"]
    other._metadata.drop_all(other._engine)
    other.close()
    channel.close()


def test_a_position_of_another_channel(channel: SQLChannel) -> None:
    """Is the beginning."""
    assert read_all(channel, "3f:120")[0] == [b"first"]

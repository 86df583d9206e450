"""Breaker: when it opens, whom it lets try, and when it closes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.events import StoreHangs
from hardtack.stores.breaker import _LONGEST_TRY, Breaker, as_breaker


def time_out(breaker: Any, times: int = 1) -> None:
    """So many calls that end by a timeout."""
    for _ in range(times):
        with suppress(TimeoutError), breaker:
            raise TimeoutError


def is_refused(breaker: Any) -> bool:
    """Whether a call that would be answered is not let through."""
    try:
        with breaker:
            return False
    except StoreUnavailable:
        return True


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time that breakers see, so that no test depends on how fast it runs."""
    ahead = [0.0]
    real = time.monotonic
    monkeypatch.setattr("hardtack.stores.breaker.time", SimpleNamespace(monotonic=lambda: real() + ahead[0]))

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


def test_it_opens_after_so_many_timeouts_in_a_row() -> None:
    """And then refuses without a call."""
    breaker = Breaker(timeouts=3, pause=60)

    time_out(breaker, 2)
    before = is_refused(breaker)
    time_out(breaker, 3)

    assert not before
    assert breaker.is_open
    with pytest.raises(StoreUnavailable, match="the store did not answer 3 times in a row, and is left alone"), breaker:
        pytest.fail("the call was made")


def test_an_answer_begins_the_row_anew() -> None:
    """Timeouts with answers between them are a slow server, not one that hangs."""
    breaker = Breaker(timeouts=2, pause=60)

    for _ in range(3):
        time_out(breaker)
        with breaker:
            pass

    assert not breaker.is_open


def test_another_error_neither_opens_nor_begins_anew() -> None:
    """A connection that is refused costs no time; one that no pool had left says nothing of the server."""
    breaker = Breaker(timeouts=2, pause=60)

    time_out(breaker)
    for _ in range(5):
        with suppress(ConnectionRefusedError), breaker:
            raise ConnectionRefusedError
    closed = not breaker.is_open
    time_out(breaker)

    assert closed
    assert breaker.is_open


def test_a_timeout_is_known_by_what_it_was_raised_from() -> None:
    """Every driver has an error of its own for it."""
    breaker = Breaker(timeouts=1, pause=60)

    with suppress(LookupError), breaker:
        try:
            raise TimeoutError
        except TimeoutError:
            raise LookupError from None

    assert breaker.is_open


def test_a_ring_of_causes_is_left() -> None:
    """An error may be its own cause, by way of another."""
    breaker = Breaker(timeouts=1)
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first

    with suppress(ValueError), breaker:
        raise first

    assert not breaker.is_open


def test_one_call_tries_after_the_pause(moved: Callable[[float], None]) -> None:
    """The others are refused until it is back; answered, all go through."""
    breaker = Breaker(timeouts=1, pause=60)
    time_out(breaker)
    moved(60)

    with breaker:
        others = [is_refused(breaker) for _ in range(3)]

    assert others == [True] * 3
    assert not is_refused(breaker)
    assert not breaker.is_open


def test_of_many_threads_one_tries() -> None:
    """Also where all see at once that the pause is over."""
    for _ in range(20):
        breaker = Breaker(timeouts=1, pause=0)
        time_out(breaker)
        start = threading.Barrier(8)
        refused = threading.Semaphore(0)

        def attempt(_: int) -> bool:
            start.wait()  # noqa: B023
            with suppress(StoreUnavailable), breaker:  # noqa: B023
                return all(refused.acquire(timeout=10) for _ in range(7))  # noqa: B023
            refused.release()  # noqa: B023
            return False

        with ThreadPoolExecutor(8) as pool:
            tried = list(pool.map(attempt, range(8)))

        assert tried.count(True) == 1


def test_who_comes_in_the_same_moment_as_another_is_refused() -> None:
    """Both saw that the pause was over; the other was faster."""
    breaker = Breaker(timeouts=1, pause=0)
    time_out(breaker)
    due = breaker._next_try
    assert due is not None

    breaker._winners[os.getpid(), due] = object()

    assert is_refused(breaker)


def test_a_try_that_times_out_begins_another_pause(moved: Callable[[float], None]) -> None:
    """One call waits, and not one more."""
    breaker = Breaker(timeouts=5, pause=60)
    time_out(breaker, 5)
    moved(60)

    time_out(breaker)

    assert is_refused(breaker)
    moved(60)
    assert not is_refused(breaker)


def test_a_try_that_is_refused_closes() -> None:
    """The server is down, which every call finds out at once."""
    breaker = Breaker(timeouts=1, pause=0)
    time_out(breaker)

    with suppress(ConnectionRefusedError), breaker:
        raise ConnectionRefusedError

    assert not breaker.is_open


def test_a_try_that_is_cancelled_leaves_it_to_the_next() -> None:
    """The request went away: nothing is known."""
    breaker = Breaker(timeouts=1, pause=0)
    time_out(breaker)

    with suppress(asyncio.CancelledError), breaker:
        raise asyncio.CancelledError
    open_still = breaker.is_open
    with breaker:
        pass

    assert open_still
    assert not breaker.is_open


def test_a_cancelled_call_is_no_timeout() -> None:
    """Visitors who close their browsers open nothing."""
    breaker = Breaker(timeouts=1)

    with suppress(KeyboardInterrupt), breaker:
        raise KeyboardInterrupt

    assert not breaker.is_open


def test_a_try_whose_thread_a_fork_has_lost_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, moved: Callable[[float], None]
) -> None:
    """The child has no thread that could come back; another one tries after a while."""
    breaker = Breaker(timeouts=1, pause=0)
    time_out(breaker)
    breaker.__enter__()
    refused = is_refused(breaker)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    moved(_LONGEST_TRY)

    assert refused
    assert not is_refused(breaker)


@pytest.mark.parametrize("hook", ["good", "bad"])
def test_the_log_and_a_hook_tell_of_it(caplog: pytest.LogCaptureFixture, hook: str) -> None:
    """Once when it opens, once when it closes; a hook that fails is logged, and hurts no call."""
    told: list[bool] = []

    def tell(is_open: bool) -> None:
        told.append(is_open)
        if hook == "bad":
            raise ValueError

    breaker = Breaker(timeouts=2, pause=0, on_change=tell, name="Redis")
    with caplog.at_level(logging.WARNING, "hardtack"):
        time_out(breaker, 4)
        with breaker:
            pass

    assert told == [True, False]
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == [str(StoreHangs("Redis", True)), "Redis no longer hangs"]
    assert ("on_change of the breaker failed" in caplog.text) == (hook == "bad")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Breaker(timeouts=0), "timeouts is 0"),
        (lambda: Breaker(pause=-1), "pause is -1"),
        (lambda: as_breaker("5", "Redis"), "breaker is '5'; it must be a Breaker, or a whole number"),
        (lambda: as_breaker(-1, "Redis"), "breaker is -1"),
        (lambda: as_breaker(True, "Redis"), "breaker is True"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(make: Callable[[], Any], message: str) -> None:
    """When the store is made."""
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_store_takes_a_breaker_a_number_or_none() -> None:
    """The breaker itself, which gets a name if it has none; one with that many timeouts; or one that never opens."""
    breaker = Breaker()
    of_a_number, none = as_breaker(2, "Redis"), as_breaker(0, "Redis")
    time_out(of_a_number, 2)
    time_out(none, 100)

    assert as_breaker(breaker, "Redis") is breaker
    assert breaker.name == "Redis"
    assert as_breaker(Breaker(name="our Redis"), "Redis").name == "our Redis"
    assert is_refused(of_a_number)
    assert not is_refused(none)
    assert as_breaker(none, "Redis") is none
    assert none.another("another") is none


def test_those_who_listen_are_told_of_each_server() -> None:
    """By its name; and also those who come after the breaker of the server was made. One that never opens tells nobody."""
    breaker = Breaker(timeouts=1, pause=0)
    another = breaker.another("another server")
    told: list[tuple[str, bool]] = []
    breaker.listen(lambda server, hangs: told.append((server, hangs)))
    as_breaker(0, "Redis").listen(lambda server, hangs: pytest.fail("it never opens"))

    time_out(another)
    with another:
        pass

    assert told == [("another server", True), ("another server", False)]


def test_another_server_has_a_breaker_of_its_own() -> None:
    """With the same settings: one server that hangs takes no other with it."""
    breaker = Breaker(timeouts=1, pause=60)

    another = breaker.another("another server")
    time_out(breaker)

    assert is_refused(breaker)
    assert not is_refused(another)
    time_out(another)
    with pytest.raises(StoreUnavailable, match="another server"), another:
        pass


GREETING = "Lost connection to server at 'handshake: reading initial communication packet', system error: "
LIBPQ = 'connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("driver", "arguments", "attributes", "counts"),
    [
        ("psycopg2", (f"{LIBPQ}timeout expired\n",), {"pgcode": None}, True),
        ("psycopg2", ("could not receive data from server: Connection timed out\n",), {"pgcode": None}, True),
        ("psycopg2", ("canceling statement due to statement timeout\n",), {"pgcode": "57014"}, True),
        ("psycopg2", ("canceling statement due to lock timeout\n",), {"pgcode": "55P03"}, False),
        ("psycopg2", ("server closed the connection unexpectedly\n",), {"pgcode": None}, False),
        ("psycopg2", (f"{LIBPQ}Connection refused\n",), {"pgcode": None}, False),
        ("psycopg", ("canceling statement due to statement timeout",), {"sqlstate": "57014"}, True),
        ("asyncpg", ("canceling statement due to statement timeout",), {"sqlstate": "57014"}, True),
        ("psycopg", ("the connection is closed",), {"sqlstate": None}, False),
        ("MySQLdb", (2013, f"{GREETING}{errno.ETIMEDOUT}"), {}, True),
        ("MySQLdb", (2013, f"{GREETING}{errno.EAGAIN}"), {}, False),
        ("MySQLdb", (2013, "Lost connection to server during query"), {}, True),
        ("MySQLdb", (1969, "Query execution was interrupted (max_statement_time exceeded)"), {}, True),
        ("MySQLdb", (2006, "Server has gone away"), {}, False),
        ("MySQLdb", (2002, "Can't connect to server on '127.0.0.1' (115)"), {}, False),
        ("MySQLdb", (1927, "Connection was killed"), {}, False),
        ("MySQLdb", (1205, "Lock wait timeout exceeded; try restarting transaction"), {}, False),
        ("pymysql", (3024, "Query execution was interrupted, maximum statement execution time exceeded"), {}, True),
        ("pymysql", (2013, "Lost connection to MySQL server during query"), {}, False),
        ("MySQLdb", (), {}, False),
        ("another", (1969, "timeout expired"), {}, False),
    ],
)
def test_what_drivers_call_a_timeout(driver: str, arguments: Any, attributes: Any, counts: bool) -> None:
    """Each text and code as the driver has it from a real server; errors of connections that broke are no timeouts."""
    kind = type("OperationalError", (Exception,), {"__module__": f"{driver}.errors", **attributes})
    breaker = Breaker(timeouts=1, pause=60)
    with suppress(StoreUnavailable), breaker:
        raise StoreUnavailable("the database of the sessions cannot be used") from kind(*arguments)

    assert breaker.is_open is counts


LOCKS = {
    "postgresql": ("options=-c%20statement_timeout%3D200", "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"),
    "mariadb": ("init_command=SET%20max_statement_time%3D0.2", "LOCK TABLES {} WRITE"),
}


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_a_statement_that_its_database_gives_up_counts(database: str, request: pytest.FixtureRequest) -> None:
    """The server itself ends what takes too long: that is a timeout as well, of a real server."""
    import sqlalchemy

    from hardtack.stores.sqlalchemy import SQLAlchemyStore

    url = request.getfixturevalue(f"{database}_server").url
    option, lock = LOCKS[database]
    store = SQLAlchemyStore.from_url(f"{url}?{option}", breaker=Breaker(timeouts=2, pause=60))
    store.create_table()
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(lock.format(store.table.name)))
            for said in ("cannot be used", "cannot be used", "did not answer 2 times in a row"):
                with pytest.raises(StoreUnavailable, match=said):
                    store.get("A" * 43)
    finally:
        engine.dispose()
        store.close()

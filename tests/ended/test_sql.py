"""SQLChannel: commits that overtake each other, rows that were dropped, and URLs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

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


def test_a_pool_that_is_empty(channel: SQLChannel, monkeypatch: Any) -> None:
    """Is a channel that cannot be used now."""

    def fail() -> None:
        raise exc.TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(channel._engine, "begin", fail)
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            put(channel, b"entry")


def test_a_position_of_another_channel(channel: SQLChannel) -> None:
    """Is the beginning."""
    assert read_all(channel, "3f:120")[0] == [b"first"]

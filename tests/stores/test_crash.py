"""SIGKILL at any moment: every session that FileStore and SQLiteStore acknowledged reads back whole, old or new.

A child writes in a loop and says, over a pipe, which state of which session it is about to write and which has been
acknowledged. It is killed after a random time, hundreds of times a store.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.kit import fork

from hardtack.protocols import Tombstone
from hardtack.record import Record, pack, unpack
from hardtack.stores.file import FileStore
from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing.stores import in_an_hour

# A child that is forked beside the threads of other tests has none of them, and needs none.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")]

KILLS = {"json": 500, "yaml": 100, "sqlite": 500}
LONGEST = {"json": 0.02, "yaml": 0.08, "sqlite": 0.02}
"""Seconds that a child may live after its first write began: long enough for several."""
KEYS = [f"session{number}" for number in range(4)]

STORES: dict[str, Callable[[Path], Any]] = {
    "json": lambda directory: FileStore(directory / "json"),
    "yaml": lambda directory: FileStore(directory / "yaml", "yaml"),
    "sqlite": lambda directory: SQLiteStore(directory / "sessions.sqlite"),
}


def state(number: int) -> bytes:
    """A record that is all of one number: a mixture of two would show."""
    return pack(Record(bytes(32), 1, None, number, None, {}, {"number": number, "filling": [number] * 20}))


def number_of(data: bytes) -> int:
    """The number of a record that is whole."""
    record = unpack(data)
    assert record.data == {"number": record.seen, "filling": [record.seen] * 20}
    return record.seen


def in_child(work: Callable[[int], None], seconds: float) -> bytes:
    """Fork a child that works with the write end of a pipe; kill it a time after it began; what it has said."""
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        try:
            os.close(reader)
            work(writer)
        finally:
            os._exit(1)
    os.close(writer)
    select.select([reader], [], [])  # it has begun
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as said:
        lines = said.read()
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the child failed by itself"
    return lines


def write_for_ever(store: Any, first: int, writer: int) -> None:
    """Save one session after the other; a line before each write and one after it."""
    number = first
    while True:
        key = KEYS[number % len(KEYS)]
        entry = store.get(key)
        os.write(writer, b"begin %d\n" % number)
        store.put(key, state(number), expires_at=in_an_hour(), if_version=entry and entry.version, subject=None)
        os.write(writer, b"done %d\n" % number)
        number += 1


@pytest.mark.parametrize("kind", STORES)
def test_a_killed_writer_leaves_every_session_whole(tmp_path: Path, kind: str) -> None:
    """What was acknowledged is there; what was under way is there or not; nothing is half there."""
    store = STORES[kind](tmp_path)
    chance = random.Random(1)
    acknowledged: dict[str, int] = {}
    number = acknowledged_writes = 0

    for _ in range(KILLS[kind]):
        begun: dict[str, int] = {}
        said = in_child(partial(write_for_ever, store, number), chance.uniform(0, LONGEST[kind]))
        for line in said.split(b"\n")[:-1]:
            word, _, text = line.partition(b" ")
            number = int(text)
            key = KEYS[number % len(KEYS)]
            if word == b"begin":
                begun[key] = number
            else:
                acknowledged[key] = begun.pop(key)
                acknowledged_writes += 1
        number += 1
        for key in KEYS:
            entry = store.get(key)
            found = None if entry is None else number_of(entry.data)
            assert found in {acknowledged.get(key), begun.get(key, acknowledged.get(key))}
            if found is not None:
                acknowledged[key] = found

    assert acknowledged_writes > KILLS[kind] // 2
    store.sweep(time.time())
    store.close()
    assert not list(tmp_path.rglob(".*.tmp"))


def rename_for_ever(store: Any, key: str, first: int, writer: int) -> None:
    """Rename one session again and again, every other time with a tombstone; a line before each and one after it."""
    version = store.get(key).version
    number = first
    while True:
        new = f"renamed{number}"
        os.write(writer, b"begin %s\n" % new.encode())
        tombstone = Tombstone(b"ended", in_an_hour()) if number % 2 else None
        version = store.rename(
            key, new, state(7), expires_at=in_an_hour(), if_version=version, subject=None, tombstone=tombstone
        )
        os.write(writer, b"done %s\n" % new.encode())
        key = new
        number += 1


@pytest.mark.parametrize("kind", STORES)
def test_a_killed_rename_loses_no_session(tmp_path: Path, kind: str) -> None:
    """The session is under the old key or the new one, whole; what was acknowledged is under the new one alone."""
    store = STORES[kind](tmp_path)
    chance = random.Random(2)
    current = "renamed0"
    store.put(current, state(7), expires_at=in_an_hour(), if_version=None, subject=None)

    for attempt in range(KILLS[kind] // 5):
        said = in_child(
            partial(rename_for_ever, store, current, 1 + attempt * 1_000_000), chance.uniform(0, LONGEST[kind])
        )
        lines = [line.decode().split(" ") for line in said.split(b"\n")[:-1]]
        done = [name for word, name in lines if word == "done"]
        begun = [name for word, name in lines if word == "begin" and name not in done]
        for gone in [current, *done][:-1]:
            entry = store.get(gone)
            assert entry is None or entry.data == b"ended"
        current = [current, *done][-1]
        new = next((name for name in begun if store.get(name) is not None), current)
        entry = store.get(new)
        assert number_of(entry.data) == 7
        current = new

    store.close()

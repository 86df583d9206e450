"""What the list of ended sessions costs: memory, a check, an add, forgetting, and a cold start.

    python -m benchmarks.ended [ENTRIES]

ENTRIES is three million by default: 100 million users who stay for two hours without doing anything, of whom 420 a second
leave. Memory is what the process has more than before; each size has a process of its own. Times are of the processor, so that
what else the machine does shows as little as it can.
"""

from __future__ import annotations

import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hardtack import Key, Keyring
from hardtack.ended import EndedSessions
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.entries import Codec, Limits, Origin, Session, Subject
from hardtack.ended.follower import Follower
from hardtack.ended.snapshot import Snapshots
from hardtack.ended.table import SHARDS, Table

SECOND = 1_000_000
NOW = 1_795_817_486 * SECOND
IDLE = 7200
KEY = Key.generate()


def memory() -> int:
    """Bytes that this process has in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def fill(table: Table, count: int) -> tuple[float, float]:
    """Add sessions, evenly over the time that they are kept; microseconds an add, and the slowest in milliseconds."""
    slowest = 0.0
    spent = 0.0
    step = IDLE * SECOND // count
    for number in range(count):
        entry = Session(NOW + number * step, os.urandom(8), os.urandom(16))
        began = time.thread_time()
        table.add(entry)
        took = time.thread_time() - began
        spent += took
        slowest = max(slowest, took)
    return spent / count * 1e6, slowest * 1e3


def check(table: Table, *, named: bool) -> float:
    """Microseconds a check of a session that goes on, the call included; the median of 20 rounds."""
    ended = EndedSessions(lambda purpose: MemoryChannel())
    ended.bind(KEY, "", 86400, IDLE)
    ended._table = table
    table.named = named
    ids = [os.urandom(16) for _ in range(10_000)]
    rounds = []
    for _ in range(20):
        began = time.thread_time()
        for handle in ids:
            ended.check(handle, "alice", None, NOW)
        rounds.append((time.thread_time() - began) / len(ids) * 1e6)
    table.named = False
    return statistics.median(rounds)


def forget(table: Table) -> tuple[float, float]:
    """Once through the table, a part at a time: milliseconds a part, and the slowest."""
    parts = []
    for _ in range(SHARDS):
        began = time.thread_time()
        table.forget(NOW + (IDLE + 120) * SECOND, 180)
        parts.append((time.thread_time() - began) * 1e3)
    return statistics.median(parts), max(parts)


def cold_start(table: Table, count: int, directory: Path) -> tuple[float, float, float]:
    """Seconds to write a snapshot, to begin with it, and to read a tenth as many entries from a channel."""
    snapshots = Snapshots(directory, b"k" * 32, "")
    began = time.perf_counter()
    snapshots.write(table, b"i" * 16, "x:1", NOW)
    written = time.perf_counter() - began
    began = time.perf_counter()
    assert snapshots.load(Table()) is not None
    loaded = time.perf_counter() - began

    codec, channel = Codec(Keyring(KEY), ""), MemoryChannel()
    entries = [codec.seal(Session(NOW, os.urandom(8), os.urandom(16))) for _ in range(count // 10)]
    channel.reset(None, codec.seal(Origin(NOW, b"i" * 16)), entries)
    del entries
    follower = Follower(channel, codec, Table(), 60, print)
    began = time.perf_counter()
    follower.read_to_end()
    return written, loaded, time.perf_counter() - began


def measure(size: int) -> Table:
    """Print a line for a table of a size."""
    gc.collect()
    before = memory()
    table = Table()
    table.add(Limits(NOW, 86400 * 14, IDLE, 60))
    add, slowest = fill(table, size)
    took = memory() - before
    print(f"{size:>9,} sessions: {took / 1e6:6.1f} MB, {took / size:5.1f} bytes an entry", end="; ")
    print(f"add {add:.2f} µs, the slowest {slowest:.1f} ms", end="; ")
    print(f"check {check(table, named=False):.2f} µs", end=", ")
    table.add(Subject(NOW, os.urandom(16)))
    print(f"{check(table, named=True):.2f} µs where users were ended too", flush=True)
    return table


def main(count: int) -> None:
    """Measure, and print."""
    for size in (10_000, 100_000, 1_000_000):
        subprocess.run([sys.executable, "-m", "benchmarks.ended", str(size), "alone"], check=True)
    table = measure(count)
    median, slowest = forget(table)
    print(
        f"forgetting: {SHARDS} parts, {median:.1f} ms each, the slowest {slowest:.1f} ms; left: {len(table):,} sessions"
    )
    with tempfile.TemporaryDirectory() as directory:
        written, loaded, read = cold_start(table, count, Path(directory))
    print(f"snapshot: written in {written:.2f} s, begun with in {loaded:.2f} s; read from a channel: {read * 10:.1f} s")


if __name__ == "__main__":
    if sys.argv[2:] == ["alone"]:
        measure(int(sys.argv[1]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000)

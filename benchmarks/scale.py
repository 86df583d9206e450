"""What many sessions cost: a sweep of a million rows beside live requests, and ten million sessions beside ten thousand.

    python -m benchmarks.scale sweep [ROWS]
    python -m benchmarks.scale many [SESSIONS] [redis|postgresql ...]

`sweep`: an SQLite file with ROWS sessions that have ended, and a thousand that have not. A hundred requests a second come
at set times, whether the one before was answered or not, so that one that waits is not counted as one; each opens a session,
changes it and saves it. They come for a while by themselves, and then while `hardtack sweep` runs in a process of its own.

`many`: the same store twice on one server, with ten thousand sessions and with SESSIONS, by default ten million. They are
written by the server itself, and not by requests: a third without a subject, the others with one to three of a subject each.
Then both are read, written, asked for all sessions of a subject to be ended, and swept, in turns.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import redis
import sqlalchemy as sa
from tests import needs
from tests.servers import PostgreSQLServer, RedisServer

from benchmarks.interleave import PAYLOADS
from hardtack import SessionManager, StoreEngine
from hardtack.protocols import Store
from hardtack.stores.redis import RedisStore
from hardtack.stores.sqlalchemy import SQLAlchemyStore, sessions_table
from hardtack.stores.sqlite import SQLiteStore

LIFETIME = 14 * 86400
LIVE = 1000
THREADS = 4
RATE = 100  # a second, of all threads together
BY_THEMSELVES = 20  # seconds
FEW = 10_000
ROUNDS = 400


def manager_of(store: Store) -> SessionManager:
    """Sessions that a subject can be asked for."""
    return SessionManager(StoreEngine(store), lifetime=LIFETIME)


def make(sessions: SessionManager, count: int, subject: str = "") -> list[str]:
    """Make so many sessions of payload M, each with a subject of its own; returns their Cookie headers."""
    headers = []
    for number in range(count):
        session = sessions.open(None)
        session.update(PAYLOADS["M"])
        session.login(f"{subject}{number}")
        (cookie, *_) = sessions.commit(session).set_cookies
        headers.append(cookie.partition(";")[0])
    return headers


def use(sessions: SessionManager, header: str) -> None:
    """One request: open, change, save."""
    session = sessions.open(header)
    session["visits"] = session.get("visits", 0) + 1
    sessions.commit(session)


def percentile(times: list[float], share: float) -> float:
    """Of `times` in seconds, in milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1e3


# --- a sweep


def requests(sessions: SessionManager, headers: list[str], stop: threading.Event, waits: list[float]) -> None:
    """Every `THREADS` / `RATE` seconds one; what it took since the time that it was due."""
    due = time.perf_counter() + random.random() * THREADS / RATE
    while not stop.is_set():
        time.sleep(max(0.0, due - time.perf_counter()))
        use(sessions, random.choice(headers))
        waits.append(time.perf_counter() - due)
        due += THREADS / RATE


def under_load(sessions: SessionManager, headers: list[str], meanwhile: Callable[[], object]) -> list[float]:
    """The waits of all requests that came while this ran. Each thread has sessions of its own, so that none conflicts."""
    stop, waits = threading.Event(), list[float]()
    threads = [
        threading.Thread(target=requests, args=(sessions, headers[number::THREADS], stop, waits))
        for number in range(THREADS)
    ]
    for each in threads:
        each.start()
    meanwhile()
    stop.set()
    for each in threads:
        each.join()
    return waits


def sweep(rows: int = 1_000_000) -> None:
    """The percentiles before and meanwhile, and the size of the file before and after."""
    folder = Path(tempfile.mkdtemp(prefix="hardtack-sweep-"))
    try:
        path = folder / "sessions.sqlite"
        store = SQLiteStore(path)
        sessions = manager_of(store)
        headers = make(sessions, LIVE)
        with store._connection() as connection:
            (data,) = connection.execute("SELECT data FROM hardtack_sessions LIMIT 1").fetchone()
            past = int(time.time()) - 3600
            connection.execute("BEGIN")
            values = ((os.urandom(16).hex(), data, 1, past - number % 86400, f"{number}") for number in range(rows))
            connection.executemany("INSERT INTO hardtack_sessions VALUES (?, ?, ?, ?, ?)", values)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.sync()  # else the first requests wait for the disk to take what was made
        size = path.stat().st_size
        before = under_load(sessions, headers, lambda: time.sleep(BY_THEMSELVES))
        command = [sys.executable, "-m", "hardtack", "sweep", f"sqlite:///{path}"]
        began = time.perf_counter()
        meanwhile = under_load(sessions, headers, lambda: subprocess.run(command, check=True))
        took = time.perf_counter() - began
        print(
            f"{rows:,} rows swept in {took:.0f} s, {size / 1e6:.0f} MB before, {path.stat().st_size / 1e6:.1f} MB after"
        )
        for name, times in (("by themselves", before), ("meanwhile", meanwhile)):
            figures = (f"{percentile(times, share):.1f}" for share in (0.5, 0.99, 0.999, 1))
            print(f"{name}: {len(times):,} requests; median, p99, p99.9, slowest in ms: {', '.join(figures)}")
        print(f"p99 meanwhile: {percentile(meanwhile, 0.99) / percentile(before, 0.99):.2f} times of what it was")
        store.close()
    finally:
        shutil.rmtree(folder)


# --- many


_FILL_REDIS = """\
local function name(n) return string.format('%020d', n) .. string.rep('x', 23) end
for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local key = ARGV[3] .. name(n)
  redis.call('SET', key, ARGV[4])
  redis.call('EXPIREAT', key, ARGV[5])
  if n % 3 > 0 then
    local subject = ARGV[3] .. 'subject:' .. redis.sha1hex(n - n % 3) .. string.rep('x', 24)
    redis.call('ZADD', subject, ARGV[5], name(n))
    redis.call('EXPIREAT', subject, ARGV[5])
  end
end
"""

_FILL_POSTGRESQL = """\
INSERT INTO {table} (key, data, version, expires_at, subject_hash)
SELECT lpad(n::text, 20, '0') || repeat('x', 23), :data, n, :end + n % 86400,
  CASE WHEN n % 3 > 0 THEN encode(sha256((n - n % 3)::text::bytea), 'hex') END
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n"""


@contextlib.contextmanager
def redis_stores(many: int) -> Iterator[dict[str, Store]]:
    """Both of one Redis, under two prefixes."""
    server = RedisServer()
    client = redis.Redis.from_url(server.url)
    stores = {}
    for name, count in (("few", FEW), ("many", many)):
        stores[name] = RedisStore(client, prefix=f"{name}:")
        make(manager_of(stores[name]), 1, "sample")
        sample = next(each for each in client.scan_iter(f"{name}:*") if b"subject" not in each)
        value = client.get(sample) or b""
        for first in range(0, count, 20_000):
            arguments = (first, min(first + 20_000, count) - 1, f"{name}:", value, int(time.time()) + LIFETIME)
            client.eval(_FILL_REDIS, 0, *arguments)
    memory: Any = client.info("memory")
    print(f"Redis has {memory['used_memory'] / 1e9:.1f} GB for {client.dbsize():,} keys")
    yield stores
    client.close()
    server.remove()


@contextlib.contextmanager
def postgresql_stores(many: int) -> Iterator[dict[str, Store]]:
    """Both in one database, as two tables."""
    server = PostgreSQLServer()
    engine = sa.create_engine(server.url)
    stores: dict[str, Any] = {}
    for name, count in (("few", FEW), ("many", many)):
        stores[name] = SQLAlchemyStore(engine, sessions_table(sa.MetaData(), f"sessions_{name}"))
        stores[name].create_table()
        make(manager_of(stores[name]), 1, "sample")
        for first in range(0, count, 1_000_000):
            with engine.begin() as connection:
                data = connection.execute(sa.text(f"SELECT data FROM sessions_{name} LIMIT 1")).scalar_one()
                values = {"data": data, "end": int(time.time()) + LIFETIME, "first": first}
                values["last"] = min(first + 1_000_000, count) - 1
                connection.execute(sa.text(_FILL_POSTGRESQL.format(table=f"sessions_{name}")), values)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
        size = connection.execute(sa.text("SELECT pg_total_relation_size('sessions_many')")).scalar_one()
        print(f"PostgreSQL has {size / 1e9:.1f} GB for the table and its indexes")
    engine.dispose()
    yield stores
    server.remove()


SERVERS = {"redis": redis_stores, "postgresql": postgresql_stores}


def timed(call: Callable[[], object]) -> float:
    """Microseconds."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e6


def compare(stores: dict[str, Store]) -> None:
    """Each operation on both, in turns; the medians, and their ratio."""
    sites = {name: manager_of(store) for name, store in stores.items()}
    headers = {name: make(site, ROUNDS, "user") for name, site in sites.items()}
    times: dict[str, dict[str, list[float]]] = {}
    for number in range(ROUNDS):
        for name, site in sites.items():
            header = headers[name][number]
            operations: dict[str, Callable[[], object]] = {
                "read": lambda site=site, header=header: site.open(header).get("user_id"),
                "write": lambda site=site, header=header: use(site, header),
                "end_all": lambda site=site, number=number: site.end_all(f"user{number}"),
            }
            for operation, call in operations.items():
                times.setdefault(operation, {}).setdefault(name, []).append(timed(call))
    for operation, of in times.items():
        few, many = median(of["few"]), median(of["many"])
        print(f"{operation}: {few:.0f} µs of few, {many:.0f} µs of many: {many / few:.2f} times")


def compare_sweeps(stores: dict[str, Any]) -> None:
    """A thousand rows that have ended, among the others; microseconds a row."""
    costs: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(5):
        for name, store in stores.items():
            past = int(time.time()) + 1
            for number in range(1000):
                key = f"ended{number}".ljust(43, "x")
                store.put(key, b"x" * 300, expires_at=past, if_version=None, subject=None)
            time.sleep(2)
            costs[name].append(timed(lambda store=store: store.sweep(time.time())) / 1000)
    few, many = median(costs["few"]), median(costs["many"])
    print(f"sweep: {few:.1f} µs a row of few, {many:.1f} µs of many: {many / few:.2f} times")


def many(sessions: int = 10_000_000, *names: str) -> None:
    """Each server in its turn."""
    for name in names or SERVERS:
        needs.allow(name)
        print(f"{name}: {FEW:,} sessions and {sessions:,}")
        with SERVERS[name](sessions) as stores:
            compare(stores)
            if hasattr(next(iter(stores.values())), "sweep"):
                compare_sweeps(stores)


if __name__ == "__main__":
    logging.disable()  # of users who log in and are never seen again
    what, *rest = sys.argv[1:] or ["sweep"]
    size = int(rest[0].replace("_", "")) if rest else None
    if what == "sweep":
        sweep(size or 1_000_000)
    else:
        many(size or 10_000_000, *rest[1:])

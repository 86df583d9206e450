"""What a session in a store costs: opening and saving payload M, beside the raw client calls and the peers' own stores.

    python -m benchmarks.stores                     every store
    python -m benchmarks.stores redis sqlite        those with such a name: memory, file, sqlite, postgresql, redis, memcached

One turn of hardtack is `open`, a read, a change and `commit` of a session that is in the store. One turn of the raw calls
is what the store does with its client meanwhile, on the same client with the same bytes, and nothing else. One turn of a
peer is a load, a read, a change and a save by its own classes. All that use one server are measured in turns; the ratios
are medians over the rounds. Every server is real, started for this run; one that cannot be had is named. The servers have
cores of their own where there are two: on one core a client and its server take turns without any time on the way, which
no deployment has, and which the scheduler chooses or not from run to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pymemcache  # type: ignore[import-untyped]
import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import event
from tests import needs
from tests.servers import MemcachedServer, PostgreSQLServer, RedisServer, Server

from benchmarks import store_peers
from benchmarks.interleave import PAYLOADS, Times, interleave
from hardtack import SessionManager, StoreEngine
from hardtack.protocols import AsyncStore, Store
from hardtack.stores import redis as redis_store
from hardtack.stores import sqlite as sqlite_store
from hardtack.stores.file import FileStore
from hardtack.stores.memcached import MemcachedStore
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.stores.sqlalchemy import SQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore

PAYLOAD = PAYLOADS["M"]
LIFETIME = 14 * 86400
ROUNDS, SECONDS = 200, 0.003  # short turns, so that all see the same of what else the machine does
LOCAL = 60, 0.02  # long ones, so that each has its share of SQLite's checkpoints
OURS, RAW = "hardtack", "raw"
TARGETS = {"RedisStore": 1.25, "AsyncRedisStore": 1.25, "MemcachedStore": 1.3, "SQLiteStore": 2.5}

Call = Callable[[], object]


class Result(NamedTuple):
    """What was measured of one store: `raw` and the peers are names in `times`, beside `hardtack`."""

    store: str
    raw: list[str]
    peers: list[str]
    times: Times


# --- hardtack


def cookie_of(changes: Any) -> str:
    return str(changes.set_cookies[0].partition(";")[0])


def ours(store: Store) -> tuple[Call, str]:
    """A turn of hardtack, and the store's key of the session that it works on."""
    sessions = SessionManager(StoreEngine(store))
    session = sessions.open(None)
    session.update(PAYLOAD)
    header = cookie_of(sessions.commit(session))
    key = session.id

    def turn() -> None:
        session = sessions.open(header)
        session["user_id"] += 1
        sessions.commit(session)

    return turn, key


def stored(store: Store, key: str) -> bytes:
    """The bytes that hardtack keeps under a key: the raw calls move the same."""
    entry = store.get(key)
    assert entry is not None
    return entry.data


def expiry() -> int:
    return int(time.time()) + LIFETIME


# --- the stores that need no server


def measure_memory(directory: Path) -> Result:
    turn, _ = ours(MemoryStore())
    return Result("MemoryStore", [], [], interleave({OURS: turn}, *LOCAL))


def measure_file(directory: Path) -> Result:
    store = FileStore(directory / "files")
    turn, key = ours(store)
    path = directory / "files" / f"{key}.json"
    content, target, temporary = path.read_bytes(), directory / "raw.json", directory / "raw.tmp"
    target.write_bytes(content)

    def raw() -> None:
        """Read; write beside, sync, move over, sync the directory."""
        target.read_bytes()
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    return Result("FileStore", [RAW], [], interleave({OURS: turn, RAW: raw}, *LOCAL))


def raw_sqlite(path: Path, key: str, data: bytes) -> Call:
    """The store's own two statements, in a file like the store's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(sqlite_store.SCHEMA)
    until = expiry()
    insert = "INSERT INTO hardtack_sessions (key, data, version, expires_at) VALUES (?, ?, ?, ?)"
    connection.execute(insert, (key, data, 2**62, until))
    select, update = sqlite_store._GET, sqlite_store._SAVE

    def raw() -> None:
        now = time.time()
        _, version = connection.execute(select, (key, now)).fetchone()
        saved = connection.execute(update, (data, version ^ 1, until, None, key, version, now))
        assert saved.rowcount == 1

    return raw


def sqlite_calls(directory: Path) -> dict[str, Call]:
    """A turn of hardtack on SQLite, and one of the raw calls."""
    store = SQLiteStore(directory / "sessions.sqlite")
    turn, key = ours(store)
    return {OURS: turn, RAW: raw_sqlite(directory / "raw.sqlite", key, stored(store, key))}


def measure_sqlite(directory: Path) -> Result:
    calls = sqlite_calls(directory) | {"Django db": store_peers.django_db("default")}
    return Result("SQLiteStore", [RAW], ["Django db"], interleave(calls, *LOCAL))


def measure_sqlalchemy_sqlite(directory: Path) -> Result:
    engine = sa.create_engine(f"sqlite:///{directory / 'alchemy.sqlite'}")

    @event.listens_for(engine, "connect")
    def as_in_our_store(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    store = SQLAlchemyStore(engine)
    store.create_table()
    turn, key = ours(store)
    calls = {
        OURS: turn,
        "by Core": raw_core(engine, store, key),
        "by sqlite3": raw_sqlite(directory / "raw-alchemy.sqlite", key, stored(store, key)),
    }
    return Result("SQLAlchemyStore, SQLite", ["by Core", "by sqlite3"], [], interleave(calls, *LOCAL))


def raw_core(engine: sa.Engine, store: SQLAlchemyStore, key: str) -> Call:
    """The two statements by SQLAlchemy Core, each in a transaction as the store's, on a row of their own."""
    column = store.table.c
    row = {"key": f"raw-{key}"[:43], "data": stored(store, key), "version": 2**62, "expires_at": expiry()}
    with engine.begin() as connection:
        connection.execute(sa.insert(store.table), row)
    live = (column.key == sa.bindparam("at")) & (column.expires_at > sa.bindparam("now"))
    select = sa.select(column.data, column.version).where(live)
    update = sa.update(store.table).where(live, column.version == sa.bindparam("if_version"))
    new = {"data": row["data"], "expires_at": row["expires_at"], "subject_hash": None}
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    def raw() -> None:
        at = {"at": row["key"], "now": int(time.time())}
        with engine.begin() as connection:
            _, version = connection.execute(select, at).one()
        with engine.begin() as connection:
            saved = connection.execute(update, {**new, **at, "if_version": version, "version": version ^ 1})
        assert saved.rowcount == 1

    return raw


# --- the stores on servers


def measure_postgresql(server: Server) -> Result:
    import psycopg

    engine = sa.create_engine(server.url)
    store = SQLAlchemyStore(engine, autocommit=True)
    store.create_table()
    turn, key = ours(store)
    core = raw_core(engine, store, key)
    connection = psycopg.connect(
        f"host={server.host} port={server.port} user=hardtack dbname=postgres", autocommit=True
    )
    name, data, until = f"raw-{key}"[:43], stored(store, key), expiry()
    select = "SELECT data, version FROM hardtack_sessions WHERE key = %s AND expires_at > %s"
    update = (
        "UPDATE hardtack_sessions SET data = %s, version = %s, expires_at = %s, subject_hash = %s "
        "WHERE key = %s AND expires_at > %s AND version = %s"
    )

    def driver() -> None:
        now = int(time.time())
        row = connection.execute(select, (name, now)).fetchone()
        assert row is not None
        saved = connection.execute(update, (data, row[1] ^ 1, until, None, name, now, row[1]))
        assert saved.rowcount == 1

    peer = store_peers.django_db("postgresql")
    calls = {OURS: turn, "by Core": core, "by psycopg": driver, "Django db": peer}
    times = interleave(calls, ROUNDS, SECONDS)
    connection.close()
    engine.dispose()
    return Result("SQLAlchemyStore, PostgreSQL", ["by Core", "by psycopg"], ["Django db"], times)


def redis_client(server: Server) -> Any:
    retry = Retry(NoBackoff(), 1)
    return redis.Redis.from_url(server.url, socket_timeout=5, socket_connect_timeout=5, retry=retry)


def two_values(data: bytes) -> tuple[bytes, bytes]:
    """What RedisStore stores: version, no subject, data. Two, because a save changes the version."""
    return b"version1" + bytes(32) + data, b"version2" + bytes(32) + data


def redis_calls(client: Any) -> dict[str, Call]:
    """A turn of hardtack on Redis, one of the raw calls, and one of Flask-Session."""
    store = RedisStore(client)
    turn, key = ours(store)
    first, second = two_values(stored(store, key))
    name, digest, until = f"hardtack:raw-{key}"[:52], redis_store._PUT.digest, expiry()
    client.set(name, first, ex=LIFETIME)

    def raw() -> None:
        version = client.get(name)[:8]
        value = second if version == b"version1" else first
        assert client.evalsha(digest, 1, name, version, value, until, key) == 1

    return {OURS: turn, RAW: raw, "Flask-Session": store_peers.flask_session(client)}


def measure_redis(server: Server) -> Result:
    client = redis_client(server)
    calls = redis_calls(client) | {"Django cache": store_peers.django_cache("redis")}
    times = interleave(calls, ROUNDS, SECONDS)
    client.close()
    return Result("RedisStore", [RAW], ["Flask-Session", "Django cache"], times)


def memcached_client(server: Server) -> Any:
    return pymemcache.PooledClient((server.host, server.port), timeout=5, connect_timeout=5, no_delay=True)


def memcached_calls(client: Any) -> dict[str, Call]:
    """A turn of hardtack on memcached, and one of the raw calls."""
    store = MemcachedStore(client)
    turn, key = ours(store)
    value, name, until = b"version1" + stored(store, key), f"hardtack:raw-{key}"[:52].encode(), expiry()
    client.set(name, value, until, noreply=False)

    def raw() -> None:
        _, number = client.gets(name)
        assert client.cas(name, value, number, until, noreply=False)

    return {OURS: turn, RAW: raw}


def measure_memcached(server: Server) -> Result:
    client = memcached_client(server)
    calls = memcached_calls(client) | {"Django cache": store_peers.django_cache("memcached")}
    times = interleave(calls, ROUNDS, SECONDS)
    client.close()
    return Result("MemcachedStore", [RAW], ["Django cache"], times)


# --- the async store: many turns in one run of the event loop, which would cost more than a turn


def measure_async_redis(server: Server) -> Result:
    return Result("AsyncRedisStore", [RAW], ["starsessions"], Times(asyncio.run(async_rounds(server))))


def async_redis_client(server: Server) -> Any:
    retry = redis.asyncio.retry.Retry(NoBackoff(), 1)
    return redis.asyncio.Redis.from_url(server.url, socket_timeout=5, socket_connect_timeout=5, retry=retry)


async def async_rounds(server: Server, turns: int = 10) -> list[dict[str, float]]:
    client = async_redis_client(server)
    functions = await async_turns(client)
    measured = []
    for _ in range(ROUNDS):
        times = {}
        for name, function in functions.items():
            begin = time.perf_counter_ns()
            for _ in range(turns):
                await function()
            times[name] = (time.perf_counter_ns() - begin) / turns / 1000
        measured.append(times)
    await client.aclose()
    return measured


async def async_turns(client: Any) -> Mapping[str, Callable[[], Awaitable[object]]]:
    store: AsyncStore = AsyncRedisStore(client)
    sessions = SessionManager(StoreEngine(store))
    session = await sessions.aopen(None)
    session.update(PAYLOAD)
    header = cookie_of(await sessions.acommit(session))
    entry = await store.get(session.id)
    assert entry is not None
    first, second = two_values(entry.data)
    name, key, digest, until = f"hardtack:raw-{session.id}"[:52], session.id, redis_store._PUT.digest, expiry()
    await client.set(name, first, ex=LIFETIME)

    async def turn() -> None:
        session = await sessions.aopen(header)
        session["user_id"] += 1
        await sessions.acommit(session)

    async def raw() -> None:
        version = (await client.get(name))[:8]
        value = second if version == b"version1" else first
        assert await client.evalsha(digest, 1, name, version, value, until, key) == 1

    return {OURS: turn, RAW: raw, "starsessions": await store_peers.starsessions(client)}


# --- the table


@contextlib.contextmanager
def servers(missing: list[str]) -> Iterator[dict[type[Server], Server]]:
    """The servers that can be started here; `missing` gets the reason for each of the others."""
    started: dict[type[Server], Server] = {}
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[1:] or cores)  # the servers inherit it
    try:
        kinds: dict[Any, str] = {RedisServer: "redis", MemcachedServer: "memcached", PostgreSQLServer: "postgresql"}
        for kind, program in kinds.items():
            try:
                needs.allow(program)
                started[kind] = kind()
            except (pytest.skip.Exception, pytest.fail.Exception) as error:  # how the tests are told of it
                missing.append(f"{kind.__name__} cannot be had, and its stores are not measured: {error}")
        os.sched_setaffinity(0, cores[:1])
        yield started
    finally:
        os.sched_setaffinity(0, cores)
        for server in started.values():
            server.remove()


def measure(missing: list[str], only: list[str]) -> Iterator[Result]:
    """Every store that can be measured here, or those alone whose names are asked for."""

    def asked(function: Callable[[Any], Result]) -> bool:
        return not only or any(name in function.__name__ for name in only)

    with tempfile.TemporaryDirectory(prefix="hardtack-benchmark-") as name, servers(missing) as started:
        directory = Path(name)
        store_peers.configure_django(directory, started)
        for local in (measure_memory, measure_file, measure_sqlite, measure_sqlalchemy_sqlite):
            if asked(local):
                yield local(directory)
        on_servers: list[tuple[Any, Callable[[Any], Result]]] = [
            (PostgreSQLServer, measure_postgresql),
            (RedisServer, measure_redis),
            (RedisServer, measure_async_redis),
            (MemcachedServer, measure_memcached),
        ]
        for kind, measure_one in on_servers:
            if kind in started and asked(measure_one):
                yield measure_one(started[kind])


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns of plain text, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def raw_rows(results: list[Result]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("store", "hardtack µs", "beside", "µs", "ratio", "target", "held")]
    for store, raw, _, times in results:
        limit = TARGETS.get(store)
        ours = f"{times.of(OURS):.1f}"
        for name in raw:
            ratio = times.ratio(OURS, name)
            verdict = ("", "") if limit is None else (f"≤ {limit}", "yes" if ratio <= limit else "NO")
            rows.append((store, ours, name, f"{times.of(name):.1f}", f"{ratio:.2f}", *verdict))
        if not raw:
            rows.append((store, ours, "nothing", "", "", "", ""))
    return rows


def peer_rows(results: list[Result]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("store", "hardtack µs", "peer", "µs", "in times of hardtack")]
    for store, _, peers, times in results:
        for name in peers:
            ratio = f"{times.ratio(name, OURS):.2f}"
            rows.append((store, f"{times.of(OURS):.1f}", name, f"{times.of(name):.1f}", ratio))
    return rows


def main(only: list[str]) -> None:
    """Print what was measured."""
    missing: list[str] = []
    results = list(measure(missing, only))
    print("One open and one commit of M, beside what the store asks of its client:\n")
    print(table(raw_rows(results)))
    print("\nThe same beside the peers' own stores on the same server:\n")
    print(table(peer_rows(results)))
    for reason in missing:
        print(f"\n{reason}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""What `hardtack doctor` says of the server of a store: whether it takes writes, its clock, what it forgets, its table."""

from __future__ import annotations

import inspect
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

from hardtack.cli.doctor_settings import others_may
from hardtack.cli.findings import Finding, good, look, wrong
from hardtack.errors import StoreError
from hardtack.protocols import is_async
from hardtack.stores.file import FileStore
from hardtack.stores.memory import MemoryStore
from hardtack.stores.sqlite import SQLiteStore

CLOCKS: Final = 5
"""Seconds between two clocks that are worth a look."""

_WRONG_CLOCKS: Final = 60
_INDEXED: Final = ("expires_at", "subject_hash")


async def check_store(store: Any) -> AsyncIterator[Finding]:
    """What is to be said of a store. A session of a minute is written and deleted."""
    if isinstance(store, MemoryStore):
        yield wrong(
            "each process has a MemoryStore of its own, which is empty after a start",
            "set store to one that all workers share, where there is more than one",
        )
        return
    kind = type(store).__name__
    if hasattr(store, "table"):
        findings = await _table(store)
        for finding in findings:
            yield finding
        if any(finding.level == "wrong" for finding in findings):
            return
    try:
        await _probe(store)
    except StoreError as error:
        yield wrong(
            f"{kind} cannot be used: {error}", "see that its server runs, can be reached, takes writes and has room"
        )
        return
    yield good(f"{kind} takes a session, and gives it back")
    for finding in _files(store):
        yield finding
    if kind in ("RedisStore", "AsyncRedisStore"):
        async for finding in _redis(store):
            yield finding


def _files(store: Any) -> Iterator[Finding]:
    """Who else may touch a store that is a file of SQLite or a folder of files; Windows has no such permissions."""
    path = _path_of(store)
    if path is None or os.name != "posix" or not path.exists():
        return
    folder = path.resolve().parent
    # SQLite plays back a journal that is beside its file, which in a folder like /tmp anybody may create.
    others = others_may(path, sticky=path.is_dir())
    if others == "write":
        yield wrong(f"other users may write {path}, and with it the sessions", f"chmod go-w {path}")
    elif others == "replace":
        yield wrong(
            f"other users may write {folder}, and put other sessions in the place of {path}",
            f"chmod go-w {folder}, or give the store a folder of its own",
        )
    elif others == "read":
        yield look(
            f"every user of this machine may read {path}, and with it the sessions",
            f"chmod o-r {path}; in a container there is nobody else",
        )
    else:
        yield good(f"nobody else may write {path}")


def _path_of(store: Any) -> Path | None:
    """Where a store keeps its sessions, if that is on this machine's disk."""
    if isinstance(store, FileStore):
        return store._directory
    if isinstance(store, SQLiteStore):
        return store._connections.path
    engine = getattr(store, "_engine", None)
    if engine is None or engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    return Path(engine.url.database)


async def _probe(store: Any) -> None:
    """Write a session that opens nothing, read it, and delete it."""
    key = secrets.token_urlsafe(32)
    put = {"expires_at": int(time.time()) + 60, "if_version": None, "subject": None}
    await awaited(store.put(key, b"hardtack doctor", **put))
    try:
        entry = await awaited(store.get(key))
    finally:
        await awaited(store.delete(key))
    if entry is None or entry.data != b"hardtack doctor":
        raise StoreError("what was written could not be read")


# --- Redis


async def _redis(store: Any) -> AsyncIterator[Finding]:
    try:
        seconds = int((await awaited(store._perform("TIME")))[0])
        memory = str(await awaited(store._perform("INFO", "memory")))
    except Exception as error:
        yield look(
            f"Redis does not say its time and its policy ({type(error).__name__})", "allow TIME and INFO to its user"
        )
        return
    yield clock("Redis", seconds - time.time())
    yield eviction(memory, "Redis", "sessions, and logs users out")


def eviction(memory: str, server: str, loss: str) -> Finding:
    """What is to be said of a Redis that says this of its memory; `loss`: what it drops where it evicts."""
    policy = re.search(r"(allkeys|volatile)-[a-z]+", memory)
    if policy:
        return wrong(
            f"{server} has maxmemory-policy {policy[0]}: when its memory is full it drops {loss}",
            "maxmemory-policy noeviction, and memory enough",
        )
    return good(f"{server} drops nothing before its end")


def clock(name: str, ahead: float) -> Finding:
    """What is to be said of a clock that is this many seconds ahead of ours."""
    direction = "ahead of" if ahead > 0 else "behind"
    if abs(ahead) > CLOCKS:
        far = wrong if abs(ahead) > _WRONG_CLOCKS else look
        return far(
            f"the clock of {name} is {abs(ahead):.0f} seconds {direction} this one's: sessions end at the wrong time",
            "set the clocks of all servers (NTP)",
        )
    return good(f"the clock of {name} agrees with this one's")


# --- Databases


async def _table(store: Any) -> list[Finding]:
    """The table of an SQLAlchemy store, and its server's clock."""
    try:
        if is_async(store):
            async with store._engine.connect() as connection:
                return list(await connection.run_sync(lambda sync: list(_look(sync, store.table))))
        with store._engine.connect() as connection:
            return list(_look(connection, store.table))
    except Exception as error:  # a driver's own errors may hold the URL
        return [
            wrong(
                f"the database cannot be reached ({type(error).__name__})",
                "see that its server runs, and that the URL has its host, its user and its password",
            )
        ]


_TIMES: Final = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(now(6))",
    "mariadb": "SELECT unix_timestamp(now(6))",
}


def _look(connection: Any, table: Any) -> Iterator[Finding]:
    import sqlalchemy as sa

    dialect = connection.dialect.name
    if dialect in _TIMES:
        yield clock("the database", float(connection.execute(sa.text(_TIMES[dialect])).scalar_one()) - time.time())
    found = sa.inspect(connection)
    if not found.has_table(table.name, schema=table.schema):
        yield wrong(f"there is no table {table.name}", "hardtack create-table URL, or a migration: docs/stores.md")
        return
    there = {column["name"] for column in found.get_columns(table.name, schema=table.schema)}
    missing = [column.name for column in table.columns if column.name not in there]
    if missing:
        yield wrong(f"the table {table.name} lacks {', '.join(missing)}", "add them as store.ddl() has them")
        return
    indexed = {index["column_names"][0] for index in found.get_indexes(table.name, schema=table.schema)}
    wanted = [name for name in _INDEXED if name in there and name not in indexed]
    if wanted:
        yield wrong(
            f"the table {table.name} has no index of {', '.join(wanted)}: ending a user's sessions and sweeping read all rows",
            "hardtack create-table URL adds it",
        )
    else:
        yield good(f"the table {table.name} has its columns and indexes")
    yield _unswept(connection, table)


def _unswept(connection: Any, table: Any) -> Finding:
    import sqlalchemy as sa

    old = int(time.time()) - 7 * 86400
    dead = sa.select(sa.literal(1)).select_from(table).where(table.c.expires_at < old).limit(1)
    if connection.execute(dead).first() is None:
        return good("nothing lies there that expired more than a week ago")
    return look(
        "sessions that expired more than a week ago are still there", "hardtack sweep URL, from cron once a day"
    )


async def awaited(result: Any) -> Any:
    """The result of a store's method, sync or async."""
    return await result if inspect.isawaitable(result) else result

"""SQLAlchemyStore and AsyncSQLAlchemyStore: sessions in a table of PostgreSQL, MySQL, MariaDB or SQLite.

A read, a save and a delete are one statement each; a rename is one transaction. The subject is kept as the SHA-256 of
its UTF-8, in hexadecimal: a collation that takes `alice ` for `ALICE` cannot confuse it, and an index can hold it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from typing import Any

from hardtack._extras import explain
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.protocols import Entry, Tombstone, Version, VersionConflict
from hardtack.stores._common import Translation, check_client, check_count, new_version, subject_digest
from hardtack.stores._steps import AsyncSteppedRenamingStore, Request, SteppedRenamingStore, Steps

try:
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.dialects import mysql
    from sqlalchemy.engine import URL, Connection, Engine, make_url
    from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
    from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement
except ImportError as error:
    message = explain("SQLAlchemyStore", "sqlalchemy", error) + ", and your database's driver"
    raise ImportError(message) from error

TIMEOUT = 5.0
"""Seconds to wait for a connection, and for an answer where the driver can say so, with an engine made by `from_url`."""

BATCH = 1000
"""How many entries `sweep` deletes at a time."""

# Lost races, to be tried again: serialization failure and deadlock in PostgreSQL; deadlock, and "record has changed
# since last read", in MySQL and MariaDB.
_CONFLICTS = ("40001", "40P01", 1213, 1020)
_NO_TABLE = ("42P01", 1146)  # PostgreSQL, MySQL; SQLite has no code for it


def sessions_table(metadata: sa.MetaData, name: str = "hardtack_sessions") -> sa.Table:
    """The table of the sessions, for your own metadata: migrations by Alembic then see it."""
    return sa.Table(
        name,
        metadata,
        sa.Column("key", _exact_text(128), primary_key=True),
        sa.Column("data", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("subject_hash", _exact_text(64), index=True),
    )


def _exact_text(length: int) -> Any:
    # The collations that MySQL has by default take A for a.
    exact = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(exact, "mysql", "mariadb")


class _Logic:
    """The statements, built once, and what is done with them, for both twins."""

    def __init__(self, table: sa.Table, batch: int) -> None:
        column = table.c
        live = column.expires_at > sa.bindparam("now")
        here = (column.key == sa.bindparam("at")) & live
        this_version = column.version == sa.bindparam("if_version")
        dead = column.expires_at <= sa.bindparam("now")
        self._select = sa.select(column.data, column.version).where(here)
        self._insert = sa.insert(table)
        self._update = sa.update(table).where(here, this_version)
        self._replace_dead = sa.update(table).where(column.key == sa.bindparam("at"), dead)
        self._delete = sa.delete(table).where(here)
        self._delete_version = sa.delete(table).where(here, this_version)
        self._find = sa.select(column.key).where(column.subject_hash == sa.bindparam("subject"))
        self._select_dead = sa.select(column.key).where(dead).limit(batch)
        self._delete_dead = sa.delete(table).where(column.key.in_(sa.bindparam("keys", expanding=True)), dead)
        self._batch = batch

    def get(self, key: str) -> Steps[Entry | None]:
        rows = yield Request((self._select, {"at": key, "now": _now()}))
        return Entry(bytes(rows[0].data), rows[0].version) if rows else None

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Steps[Version]:
        row = _row(data, expires_at, subject)
        if if_version is not None:
            saved = yield Request((self._update, row | _at(key, if_version)))
        else:
            try:
                saved = yield Request((self._insert, row | {"key": key}))
            except IntegrityError:  # there is one; it may have expired
                saved = yield Request((self._replace_dead, row | {"at": key, "now": _now()}))
        if not saved:
            raise VersionConflict("the entry was changed, is gone, or exists already")
        return row["version"]

    def delete(self, key: str, *, if_version: Version | None) -> Steps[bool]:
        if if_version is None:
            return bool((yield Request((self._delete, {"at": key, "now": _now()}))))
        if (yield Request((self._delete_version, _at(key, if_version)))):
            return True
        if (yield from self.get(key)) is not None:
            raise VersionConflict("the entry was changed")
        return False

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None,
    ) -> Steps[Version]:
        row = _row(data, expires_at, subject)
        moving: list[tuple[Any, Any]] = [(self._update, row | {"key": new} | _at(old, if_version))]
        if tombstone is not None:
            moving.append((self._insert, _row(tombstone.data, tombstone.expires_at, None) | {"key": old}))
        try:
            moved = yield Request(*moving)
        except IntegrityError:  # there is an entry under the new key; it may have expired
            in_the_way = (self._delete_dead, {"keys": [new], "now": _now()})
            moved = (yield Request(in_the_way)) and (yield Request(*moving))
        if not moved:
            raise VersionConflict("the entry was changed or is gone, or the new key exists already")
        return row["version"]

    def find(self, subject: str) -> Steps[list[str]]:
        rows = yield Request((self._find, {"subject": subject_digest(subject).hex()}))
        return [row.key for row in rows]

    def sweep(self, now: float) -> Steps[int]:
        swept = 0
        while True:
            rows = yield Request((self._select_dead, {"now": int(now)}))
            # By key and expiry: what was written again meanwhile stays.
            dead = (self._delete_dead, {"keys": [row.key for row in rows], "now": int(now)})
            try:
                swept += (yield Request(dead)) if rows else 0
            except DBAPIError as error:
                if not _lost_race(error):
                    raise
                continue  # a deadlock with somebody who saved: look again
            if len(rows) < self._batch:
                return swept


def _now() -> int:
    return int(time.time())


def _at(key: str, version: Version) -> dict[str, Any]:
    return {"at": key, "if_version": version, "now": _now()}


def _row(data: bytes, expires_at: int, subject: str | None) -> dict[str, Any]:
    digest = None if subject is None else subject_digest(subject).hex()
    return {"data": data, "version": new_version(), "expires_at": expires_at, "subject_hash": digest}


def _execute(connection: Connection, *statements: tuple[Any, Mapping[str, Any]]) -> Any:
    """The rows, or how many rows were changed; where one statement changes none, the next are left out."""
    changed = 0
    for statement, parameters in statements:
        result = connection.execute(statement, parameters)
        if result.returns_rows:
            return result.all()
        changed = result.rowcount
        if not changed:
            break
    return changed


def _has_code(error: DBAPIError, codes: tuple[str | int, ...]) -> bool:
    """Whether it is one of these errors, by the codes of PostgreSQL, MySQL and MariaDB."""
    found = (
        getattr(error.orig, "sqlstate", None),
        getattr(error.orig, "pgcode", None),
        *getattr(error.orig, "args", ()),
    )
    return any(code in codes for code in found)


def _lost_race(error: DBAPIError) -> bool:
    return _has_code(error, _CONFLICTS)


def _translate(error: BaseException) -> None:
    if isinstance(error, DBAPIError):
        # From the driver's own error: SQLAlchemy's shows the parameters, and the session with them.
        if isinstance(error, IntegrityError) or _lost_race(error):
            raise VersionConflict("another request was faster") from error.orig
        message = f"the database of the sessions cannot be used: {type(error.orig).__name__}"
        if _has_code(error, _NO_TABLE) or str(error.orig).startswith("no such table"):
            message += "; it has no table for them: create that once, by create_table() or with what ddl() returns"
        raise StoreUnavailable(message) from error.orig
    if isinstance(error, SQLAlchemyError | OSError):
        message = f"the database of the sessions cannot be used: {type(error).__name__}"
        raise StoreUnavailable(message) from error


class _Common:
    """What both twins make of an engine."""

    _logic: Any

    def __init__(self, engine: Any, table: sa.Table | None, batch: int) -> None:
        check_client(engine, type(self).__name__, "engine", ("dialect", "execution_options"), "an engine of SQLAlchemy")
        check_count(batch, "batch")
        self.table = sessions_table(sa.MetaData()) if table is None else table
        self._engine = engine
        # Without BEGIN and COMMIT a statement is one round trip. Not elsewhere: MySQL's drivers need two to switch.
        postgresql = engine.dialect.name == "postgresql"
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT") if postgresql else engine
        self._owned = False
        self._logic = _Logic(self.table, batch)

    def _engine_for(self, statements: tuple[Any, ...]) -> Any:
        return self._single if len(statements) == 1 else self._engine

    def ddl(self) -> str:
        """The CREATE TABLE and CREATE INDEX statements for this database, for a migration."""
        indexes = sorted(self.table.indexes, key=lambda index: str(index.name))
        parts: list[DDLElement] = [CreateTable(self.table), *map(CreateIndex, indexes)]
        return "".join(f"{str(part.compile(dialect=self._engine.dialect)).strip()};\n" for part in parts)

    _translation = Translation(_translate)


class SQLAlchemyStore(_Common, SteppedRenamingStore):
    """Keeps sessions in a table of a database that SQLAlchemy 2 speaks to.

    Create the table once, with `create_table()` or by a migration with what `ddl()` returns.

    Args:
        engine: the engine of the application. Give its driver timeouts: without them a request waits as long as the
            database hangs.
        table: made by `sessions_table`, where it should have another name or be in your metadata.
        batch: how many entries `sweep` deletes at a time.

    Raises `ConfigError`.
    """

    def __init__(self, engine: Engine, table: sa.Table | None = None, batch: int = BATCH) -> None:
        if isinstance(engine, AsyncEngine):
            raise ConfigError("engine is an AsyncEngine; use AsyncSQLAlchemyStore")
        super().__init__(engine, table, batch)

    @classmethod
    def from_url(cls, url: str) -> SQLAlchemyStore:
        """A store with an engine of its own, which has timeouts and checks a connection before it is used.

        Raises `ConfigError` where the URL cannot be read or its driver is not installed.
        """
        engine = _engine_from_url(url, sa.create_engine)
        if engine.dialect.driver == "psycopg":
            _limit_waiting(engine)
        store = cls(engine)
        store._owned = True
        return store

    def create_table(self) -> None:
        """Create the table and its indexes where they do not exist."""
        with self._translation, self._engine.begin() as connection:
            self.table.create(connection, checkfirst=True)

    def sweep(self, now: float) -> int:
        """Delete what expired at `now`, in batches; returns how many."""
        return int(self._run(self._logic.sweep(now)))

    def close(self) -> None:
        """Close the engine's connections, if the store made it."""
        if self._owned:
            self._engine.dispose()

    def _perform(self, *statements: tuple[Any, Mapping[str, Any]]) -> Any:
        with self._engine_for(statements).begin() as connection:
            return _execute(connection, *statements)


class AsyncSQLAlchemyStore(_Common, AsyncSteppedRenamingStore):
    """`SQLAlchemyStore` with coroutines, on an `AsyncEngine`: asyncpg, psycopg, asyncmy, aiomysql, aiosqlite.

    Args:
        engine: the engine of the application.
        table: see `SQLAlchemyStore`.
        batch: see `SQLAlchemyStore`.
        timeout: seconds for one statement or rename, waiting for a connection included.

    Raises `ConfigError`.
    """

    def __init__(
        self, engine: AsyncEngine, table: sa.Table | None = None, batch: int = BATCH, timeout: float = 2 * TIMEOUT
    ) -> None:
        if isinstance(engine, Engine):
            raise ConfigError("engine is an Engine; use SQLAlchemyStore, or create_async_engine() and an async driver")
        super().__init__(engine, table, batch)
        self._timeout = timeout

    @classmethod
    def from_url(cls, url: str, timeout: float = 2 * TIMEOUT) -> AsyncSQLAlchemyStore:
        """A store with an engine of its own; see `SQLAlchemyStore.from_url`."""
        store = cls(_engine_from_url(url, create_async_engine), timeout=timeout)
        store._owned = True
        return store

    async def create_table(self) -> None:
        """Create the table and its indexes where they do not exist."""
        with self._translation:
            async with self._engine.begin() as connection:
                await connection.run_sync(self.table.create, checkfirst=True)

    async def sweep(self, now: float) -> int:
        """Delete what expired at `now`, in batches; returns how many."""
        return int(await self._run(self._logic.sweep(now)))

    async def close(self) -> None:
        """Close the engine's connections, if the store made it."""
        if self._owned:
            await self._engine.dispose()

    async def _perform(self, *statements: tuple[Any, Mapping[str, Any]]) -> Any:
        async with asyncio.timeout(self._timeout), self._engine_for(statements).begin() as connection:
            return await connection.run_sync(_execute, *statements)


# What each driver calls the seconds that it waits for a connection, and for an answer.
_TIMEOUTS = {
    "psycopg": ("connect_timeout",),
    "psycopg2": ("connect_timeout",),
    "asyncpg": ("timeout", "command_timeout"),
    "pymysql": ("connect_timeout", "read_timeout", "write_timeout"),
    "mysqldb": ("connect_timeout", "read_timeout", "write_timeout"),
    "aiomysql": ("connect_timeout",),
    "asyncmy": ("connect_timeout",),
}


def is_async(url: str) -> bool:
    """Whether the URL names a driver that only an async engine can use. Raises `ConfigError`."""
    try:
        return bool(make_url(url).get_dialect().is_async)
    except (SQLAlchemyError, ImportError, ValueError):
        raise _bad_url() from None


def _engine_from_url(url: str, create: Any) -> Any:
    try:
        parsed: URL = make_url(url)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if parsed.get_backend_name() != "sqlite":
            options["pool_timeout"] = TIMEOUT
        names = _TIMEOUTS.get(parsed.get_driver_name(), ())
        options["connect_args"] = {name: int(TIMEOUT) for name in names if name not in parsed.query}
        return create(parsed, **options)
    except (SQLAlchemyError, ImportError, ValueError):
        # Not the reason itself: it may quote the URL, and the password with it.
        raise _bad_url() from None


def _limit_waiting(engine: Engine) -> None:
    """Give psycopg what it lacks, a timeout for an answer: a server that hangs would hold the request for ever.

    `statement_timeout` is no help there: the server itself would have to end the statement.
    """
    import psycopg

    def limited(steps: Generator[Any, Any, Any], connection: Any) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + TIMEOUT
        try:
            awaited = next(steps)
            while True:
                ready = yield awaited
                if not ready and time.monotonic() > deadline:
                    connection.pgconn.finish()  # the answer may come yet, and is not the next caller's
                    message = f"no answer within {TIMEOUT:g} seconds"
                    raise psycopg.OperationalError(message)
                awaited = steps.send(ready)
        except StopIteration as done:
            return done.value

    class ImpatientConnection(psycopg.Connection[Any]):
        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            return super().wait(limited(gen, self), *args, **options)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, options: Any) -> Any:
        return ImpatientConnection.connect(*args, **options)


def _bad_url() -> ConfigError:
    return ConfigError(
        "url is not one that SQLAlchemy understands, or its driver is not installed: "
        "postgresql+psycopg://user:password@host/database, mysql+pymysql://…, postgresql+asyncpg://…, mysql+asyncmy://…; "
        "in a password @, : and / are written %40, %3A and %2F"
    )

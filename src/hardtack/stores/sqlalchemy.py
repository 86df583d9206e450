"""SQLAlchemyStore and AsyncSQLAlchemyStore: sessions in a table of PostgreSQL, MySQL, MariaDB or SQLite.

A read, a save and a delete are one statement each; a rename is one transaction.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from hardtack._extras import explain
from hardtack.errors import ConfigError, StoreFull, StoreUnavailable
from hardtack.protocols import Progress, Version
from hardtack.stores import _forks
from hardtack.stores._common import Translation, check_client, check_count
from hardtack.stores._full_disk import Reserve
from hardtack.stores._shares import SharesLayout
from hardtack.stores._sqlite_connections import CHECKPOINT
from hardtack.stores._steps import AsyncSteppedRenamingStore, SteppedRenamingStore
from hardtack.stores.breaker import TIMEOUTS, Breaker, as_breaker
from hardtack.stores.shared_layout import SharedTable

try:
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.engine import URL, Engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
    from sqlalchemy.pool import NullPool, SingletonThreadPool, StaticPool
    from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

    from hardtack.stores._shared_sql import SharedLogic, ended_table
    from hardtack.stores._sql_engines import (
        TIMEOUT,
        Pooler,
        close_when_cancelled,
        engine_from_url,
        is_async,
        reserve_beside,
    )
    from hardtack.stores._sql_logic import (
        Foreign,
        Logic,
        breaks_connection,
        create_missing,
        created_meanwhile,
        execute,
        is_read_only,
        place,
        sessions_table,
        translate,
    )
    from hardtack.stores._sql_options import take_breaker
except ImportError as error:
    message = explain("SQLAlchemyStore", "sqlalchemy", error) + ", and your database's driver"
    raise ImportError(message) from error

__all__ = ["AsyncSQLAlchemyStore", "SQLAlchemyStore", "is_async", "sessions_table"]

BATCH = 1000
"""How many entries `sweep` deletes at a time."""

_CREATIONS = 10
"""How often `create_table` tries, where other processes create the table too."""


class _Common(SharesLayout):
    """What both twins make of an engine."""

    _logic: Logic  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        engine: Any,
        table: sa.Table | None,
        batch: int,
        autocommit: bool,
        layout: SharedTable | None,
        breaker: Breaker | int,
    ) -> None:
        check_client(engine, type(self).__name__, "engine", ("dialect", "execution_options"), "an engine of SQLAlchemy")
        check_count(batch, "batch")
        if not isinstance(autocommit, bool):
            message = f"autocommit is {autocommit!r}; it must be True or False"
            raise ConfigError(message)
        if isinstance(engine.pool, SingletonThreadPool):
            raise ConfigError(
                "engine is of a database of SQLite in memory, of which each thread has one of its own; use MemoryStore, "
                "or create_engine(…, poolclass=StaticPool)"
            )
        if layout is not None and table is not None:
            raise ConfigError(
                "table= is not for layout=: the table is the other system's, and the layout says its name"
            )
        self.table = _table(layout) if table is None else table
        self._engine = engine
        where = place(engine.url)
        self._translation = Translation(partial(translate, where))
        self._foreign = Foreign(where)
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._autocommit = autocommit
        self._pooler: Pooler | None = None  # of an engine made from a URL
        self._reserve: Reserve | None = None  # beside a file of SQLite that no engine of the application's has
        self._logic = Logic(self.table, batch)
        if layout is not None:
            self._logic = SharedLogic(layout, self.table, batch, engine.dialect.name)
        self._breaker = as_breaker(breaker, f"the database of the sessions{where}")
        self._process = os.getpid()
        _forks.watch(self)

    @property
    def _owned(self) -> bool:
        return self._pooler is not None

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Have it told when the database is left alone, and when no longer; see `TellsOfHanging`."""
        self._breaker.listen(listener)

    def _alone(self, statements: tuple[Any, ...]) -> bool:
        """Whether they are one statement, which may be sent without BEGIN and COMMIT: in one round trip."""
        return len(statements) == 1 and (self._autocommit if self._pooler is None else self._pooler.direct)

    def before_fork(self) -> None:
        """Close the connections to an SQLite file that nobody uses; see `hardtack.stores._sqlite_connections`."""
        if self._is_local():
            self._engine.dispose()

    def after_fork(self) -> None:
        """Let go of the connections of the parent, without a word to the database: it would end those of the parent."""
        engine = getattr(self._engine, "sync_engine", self._engine)
        if self._is_local():
            engine.dispose()
        elif engine.dialect.name != "sqlite" or not isinstance(engine.pool, StaticPool):  # that is a copy of its own
            _forks.leave_alone(engine.pool)
            engine.dispose(close=False)
        self._process = os.getpid()

    def _is_local(self) -> bool:
        engine = self._engine
        return (
            isinstance(engine, Engine) and engine.dialect.name == "sqlite" and not isinstance(engine.pool, StaticPool)
        )

    def ddl(self) -> str:
        """The CREATE TABLE and CREATE INDEX statements for this database, for a migration."""
        indexes = sorted(self.table.indexes, key=lambda index: str(index.name))
        parts: list[DDLElement] = [CreateTable(self.table), *map(CreateIndex, indexes)]
        return "".join(f"{str(part.compile(dialect=self._engine.dialect)).strip()};\n" for part in parts)


def _table(layout: SharedTable | None) -> sa.Table:
    return sessions_table(sa.MetaData()) if layout is None else ended_table()


class SQLAlchemyStore(_Common, SteppedRenamingStore):  # type: ignore[misc]
    """Keeps sessions in a table of a database that SQLAlchemy 2 speaks to.

    Create the table once, with `create_table()` or by a migration with what `ddl()` returns.

    Args:
        engine: the engine of the application. Give its driver timeouts: without them a request waits as long as the
            database hangs.
        table: made by `sessions_table`, where it should have another name or be in your metadata.
        batch: how many entries `sweep` deletes at a time.
        autocommit: send a single statement without BEGIN and COMMIT, where the engine would send them: one round trip
            for three. A rename stays a transaction. Not with asyncpg behind a pooler, nor with MySQL, whose drivers
            need two round trips to switch.
        layout: that of another system whose table is shared, such as `hardtack.foreign.layouts.DjangoTable`;
            `create_table` then makes the table of ended ids alone.
        breaker: a `Breaker`, or after how many timeouts in a row the database is left alone for a second; 0 for never.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        engine: Engine,
        table: sa.Table | None = None,
        batch: int = BATCH,
        *,
        autocommit: bool = False,
        layout: SharedTable | None = None,
        breaker: Breaker | int = TIMEOUTS,
    ) -> None:
        if isinstance(engine, AsyncEngine):
            raise ConfigError("engine is an AsyncEngine; use AsyncSQLAlchemyStore")
        super().__init__(engine, table, batch, autocommit, layout, breaker)

    @classmethod
    def from_url(cls, url: str, breaker: Breaker | int = TIMEOUTS) -> SQLAlchemyStore:
        """A store with an engine of its own, which has timeouts and checks a connection before it is used.

        The option `breaker` of the URL wins.

        Raises `ConfigError` where the URL cannot be read, has an option that the driver does not take, or its driver is
        not installed.
        """
        plain, given = take_breaker(url)
        engine, pooler = engine_from_url(plain, sa.create_engine)
        store = cls(engine, breaker=breaker if given is None else given)
        store._pooler = pooler
        store._reserve = reserve_beside(engine.url)
        return store

    def create_table(self) -> None:
        """Create the table and its indexes where they do not exist; several processes may do so at once."""
        with self._translation, self._foreign:
            attempt = 0
            while True:
                try:
                    with self._engine.begin() as connection:
                        create_missing(connection, self.table)
                    break
                except DBAPIError as error:
                    attempt += 1
                    if not created_meanwhile(error) or attempt == _CREATIONS:
                        raise
                time.sleep(0.02 * attempt)
        if self._reserve is not None:
            self._reserve.keep()

    def count(self, subject: str | None = None) -> int:
        """How many entries there are, or how many of the subject's; see `Counts`."""
        return int(self._run(self._logic.count(subject)))

    def sweep(self, now: float, progress: Progress | None = None) -> int:
        """Delete what expired at `now`, in batches; returns how many. `progress` as in `Sweeps`."""
        swept = int(self._run(self._logic.sweep(now, progress)))
        if self._reserve is not None:
            self._reserve.keep()
        return swept

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        try:
            return super().delete(key, if_version=if_version)
        except StoreFull:
            if self._reserve is None:
                raise
        self._reserve.use()
        deleted = super().delete(key, if_version=if_version)
        with suppress(StoreFull), self._translation:
            self._perform((sa.text(CHECKPOINT), {}))
        return deleted

    def reconnect(self) -> None:
        """Use none of the connections that are open now again; see `Reconnects`."""
        with self._translation, self._foreign:
            if not isinstance(self._engine.pool, StaticPool):  # the one that there is may be the database
                self._engine.dispose()

    def close(self) -> None:
        """Close the engine's connections, if the store made it."""
        if self._owned:
            self._engine.dispose()

    def _perform(self, *statements: tuple[Any, Mapping[str, Any]]) -> Any:
        if self._process != os.getpid():
            self.after_fork()
        with self._breaker, self._foreign:
            try:
                return self._attempt(statements)
            except DBAPIError as error:
                if not is_read_only(error):
                    raise
            self._engine.dispose()  # the others are to the same server
            return self._attempt(statements)

    def _attempt(self, statements: tuple[Any, ...]) -> Any:
        engine = self._single if self._alone(statements) else self._engine
        with engine.connect() as connection:
            try:
                with connection.begin():
                    return execute(connection, *statements)
            except BaseException as error:
                if breaks_connection(error):
                    connection.invalidate()
                raise


class AsyncSQLAlchemyStore(_Common, AsyncSteppedRenamingStore):  # type: ignore[misc]
    """`SQLAlchemyStore` with coroutines, on an `AsyncEngine`: asyncpg, psycopg, asyncmy, aiomysql, aiosqlite.

    The connections belong to the event loop in which they were opened, the first one. In another one that runs at the same
    time a store made by `from_url` opens one for each call, and a store on your engine needs `poolclass=NullPool`.

    Args:
        engine: the engine of the application.
        table: see `SQLAlchemyStore`.
        batch: see `SQLAlchemyStore`.
        timeout: seconds for one statement or rename, waiting for a connection included.
        autocommit, layout, breaker: see `SQLAlchemyStore`.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        table: sa.Table | None = None,
        batch: int = BATCH,
        timeout: float = 2 * TIMEOUT,
        *,
        autocommit: bool = False,
        layout: SharedTable | None = None,
        breaker: Breaker | int = TIMEOUTS,
    ) -> None:
        if isinstance(engine, Engine):
            raise ConfigError("engine is an Engine; use SQLAlchemyStore, or create_async_engine() and an async driver")
        super().__init__(engine, table, batch, autocommit, layout, breaker)
        self._timeout = timeout
        self._url: str | URL = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops = 0
        self._elsewhere: weakref.WeakKeyDictionary[Any, AsyncSQLAlchemyStore] = weakref.WeakKeyDictionary()
        if engine.dialect.driver == "aiosqlite":
            event.listen(engine.sync_engine, "do_connect", close_when_cancelled)

    @classmethod
    def from_url(
        cls, url: str, timeout: float = 2 * TIMEOUT, breaker: Breaker | int = TIMEOUTS
    ) -> AsyncSQLAlchemyStore:
        """A store with an engine of its own; see `SQLAlchemyStore.from_url`."""
        plain, given = take_breaker(url)
        store = cls._from_url(plain, timeout, breaker if given is None else given)
        store._reserve = reserve_beside(store._engine.url)
        return store

    @classmethod
    def _from_url(cls, url: str | URL, timeout: float, breaker: Breaker | int, **settings: Any) -> AsyncSQLAlchemyStore:
        engine, pooler = engine_from_url(url, create_async_engine, **settings)
        store = cls(engine, timeout=timeout, breaker=breaker)
        store._pooler = pooler
        store._url = url
        return store

    async def create_table(self) -> None:
        """Create the table and its indexes where they do not exist; several processes may do so at once."""
        with self._translation, self._foreign:
            here = self._here()
            attempt = 0
            while True:
                try:
                    async with here._engine.begin() as connection:
                        await connection.run_sync(create_missing, self.table)
                    break
                except DBAPIError as error:
                    attempt += 1
                    if not created_meanwhile(error) or attempt == _CREATIONS:
                        raise
                await asyncio.sleep(0.02 * attempt)
        if self._reserve is not None:
            await asyncio.to_thread(self._reserve.keep)

    async def count(self, subject: str | None = None) -> int:
        """How many entries there are, or how many of the subject's; see `Counts`."""
        return int(await self._run(self._logic.count(subject)))

    async def sweep(self, now: float, progress: Progress | None = None) -> int:
        """Delete what expired at `now`, in batches; returns how many. `progress` as in `Sweeps`."""
        swept = int(await self._run(self._logic.sweep(now, progress)))
        if self._reserve is not None:
            await asyncio.to_thread(self._reserve.keep)
        return swept

    async def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        try:
            return await super().delete(key, if_version=if_version)
        except StoreFull:
            if self._reserve is None:
                raise
        self._reserve.use()
        deleted = await super().delete(key, if_version=if_version)
        with suppress(StoreFull), self._translation:
            await self._perform((sa.text(CHECKPOINT), {}))
        return deleted

    async def reconnect(self) -> None:
        """Use none of the connections that are open now again; see `Reconnects`."""
        with self._translation, self._foreign:
            here = self._here()
            if not isinstance(here._engine.pool, StaticPool):
                await here._engine.dispose()

    async def close(self) -> None:
        """Close the engine's connections, if the store made it."""
        if self._owned:
            elsewhere = self._loop is not None and self._loop is not asyncio.get_running_loop()
            await self._engine.dispose(close=not elsewhere)

    def after_fork(self) -> None:
        """See `_Common.after_fork`. The loop is the parent's too."""
        super().after_fork()
        self._loop = None

    async def _perform(self, *statements: tuple[Any, Mapping[str, Any]]) -> Any:
        with self._breaker, self._foreign:
            here = self._here()
            async with asyncio.timeout(self._timeout):
                try:
                    return await here._attempt(statements)
                except DBAPIError as error:
                    if not is_read_only(error):
                        raise
                await here._engine.dispose()  # the others are to the same server
                return await here._attempt(statements)

    async def _attempt(self, statements: tuple[Any, ...]) -> Any:
        engine = self._single if self._alone(statements) else self._engine
        async with engine.connect() as connection:
            try:
                async with connection.begin():
                    return await connection.run_sync(execute, *statements)
            except BaseException as error:
                if breaks_connection(error):
                    await connection.invalidate()
                raise

    def _here(self) -> AsyncSQLAlchemyStore:
        """The store whose engine may be used in the running event loop."""
        if self._process != os.getpid():
            self.after_fork()
        loop = asyncio.get_running_loop()
        if loop is self._loop or isinstance(self._engine.pool, NullPool):
            return self
        if self._loop is None:
            self._loop = loop
            return self
        if self._loop.is_closed() and (self._loops < _POOLED_LOOPS or not self._owned):
            # Its connections can no longer be used, nor closed.
            self._engine.sync_engine.dispose(close=False)
            self._loop = loop
            self._loops += 1
            return self
        if not self._owned:
            raise StoreUnavailable(
                "the engine that the store was given is used in another event loop; use AsyncSQLAlchemyStore.from_url(url), "
                "or create_async_engine(…, poolclass=NullPool)"
            )
        if loop not in self._elsewhere:
            self._elsewhere[loop] = self._from_url(self._url, self._timeout, 0, poolclass=NullPool)
        return self._elsewhere[loop]


_POOLED_LOOPS = 2
"""So many event loops that follow one another have a pool: one that creates the table, and the one that serves. Where each
request has its own (a test client), a pool would leave a connection behind in each.
"""

"""Engines of SQLAlchemy made from a URL: with timeouts, checked options, and fit for a connection pooler in between."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from hardtack.errors import ConfigError
from hardtack.stores import _sql_options
from hardtack.stores._full_disk import Reserve

E = TypeVar("E")

TIMEOUT = 5.0
"""Seconds to wait for a connection, and for an answer where the driver can say so, with an engine made by `from_url`."""

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


def engine_from_url(url: str | URL, create: Callable[..., E], **settings: Any) -> tuple[E, Pooler]:
    """An engine, made by `create_engine` or `create_async_engine`, and what is known of a pooler before its database.

    Raises `ConfigError`.
    """
    try:
        parsed = make_url(url)
        typed = _sql_options.typed(parsed)
        if parsed.get_backend_name() == "sqlite":
            parsed = _on_disk(parsed)
        elif "poolclass" not in settings:
            settings["pool_timeout"] = TIMEOUT
        names = _TIMEOUTS.get(parsed.get_driver_name(), ())
        settings["connect_args"] = {name: int(TIMEOUT) for name in names} | typed
        engine = create(parsed, pool_pre_ping=True, **settings)
        sync: Engine = getattr(engine, "sync_engine", engine)  # type: ignore[arg-type]
        _sql_options.check(sync.dialect, parsed)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        # Not the reason itself: it may quote the URL, and the password with it.
        raise _bad_url() from None
    if sync.dialect.driver == "psycopg" and sync is engine:
        limit_waiting(sync, TIMEOUT)
    elif sync.dialect.driver == "pymysql":
        share_tls_context(sync)
    return engine, Pooler(sync, typed)


def _on_disk(url: URL) -> URL:
    """The URL of an SQLite file that does not move with the current directory. Raises `ConfigError`."""
    name = url.database or ":memory:"
    if ":memory:" in name or url.query.get("mode") == "memory":
        raise ConfigError(
            "url names a database of SQLite in memory, and each connection would have one of its own; "
            "use memory://, or name a file: sqlite+pysqlite:////absolute/path"
        )
    if name.startswith("file:") and not name.startswith("file:/"):
        return url.set(database=f"file:{os.path.abspath(name.removeprefix('file:'))}")
    return url


def reserve_beside(url: URL) -> Reserve | None:
    """The room that is kept beside the file of an SQLite database, where the URL is that of one."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name.startswith("file:"):
        return None
    return Reserve(Path(name).absolute())


def close_when_cancelled(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> None:
    """Have aiosqlite open its connections by a function of ours: where the call that waits is cancelled, its thread opens
    one all the same, and nobody closes it. A listener to `do_connect`.
    """
    options.setdefault("async_creator_fn", _connect_aiosqlite)


async def _connect_aiosqlite(*args: Any, **options: Any) -> Any:
    import aiosqlite

    connection = aiosqlite.connect(*args, **options)
    thread: Any = getattr(connection, "_thread", connection)
    thread.daemon = True  # as SQLAlchemy does: else it keeps the process alive
    connecting = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(lambda done: done.cancelled() or done.exception() or connection.stop())
        raise


class Pooler:
    """Looks at each new connection to PostgreSQL whether a pooler (pgbouncer in transaction mode) is in between.

    There each transaction may go to another server process, where a statement that was prepared before is unknown, or is
    another one. So where the process that answers is not the one that greeted, nothing is prepared under a name.

    Attributes:
        direct: whether a statement may be sent outside of a transaction. asyncpg always prepares what it sends, in a step
            of its own; so with it only where it is known that nothing is in between.
    """

    def __init__(self, engine: Engine, typed: dict[str, Any]) -> None:
        driver = engine.dialect.driver
        self.direct = engine.dialect.name == "postgresql" and driver != "asyncpg"
        if driver == "asyncpg":
            self._suspected = 0 in (typed.get("prepared_statement_cache_size"), typed.get("statement_cache_size"))
            event.listen(engine, "do_connect", self._connect_asyncpg)
        elif driver == "psycopg" and "prepare_threshold" not in typed:
            event.listen(engine, "connect", _prepare_nothing_behind_a_pooler)

    def _connect_asyncpg(self, dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> Any:
        if not self._suspected:
            connection = dialect.loaded_dbapi.connect(*args, **options)
            try:
                self._suspected = connection.run_async(_answers_as_another)
            except BaseException:
                connection.terminate()
                raise
            if not self._suspected:
                self.direct = True
                return connection
            connection.close()
        self.direct = False
        unnamed = {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        return dialect.loaded_dbapi.connect(*args, **options | unnamed)


async def _answers_as_another(connection: Any) -> bool:
    # Without parameters asyncpg sends it as it is; of the answer it returns how many rows there are.
    found: str = await connection.execute(f"SELECT 1 WHERE pg_backend_pid() = {connection.get_server_pid()}")
    return found != "SELECT 1"


def _prepare_nothing_behind_a_pooler(connection: Any, record: Any) -> None:
    if is_behind_a_pooler(connection):
        record.driver_connection.prepare_threshold = None


def is_behind_a_pooler(connection: Any) -> bool:
    """Whether a process of PostgreSQL answers that is not the one that greeted; for psycopg and psycopg2."""
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    (process,) = cursor.fetchone()
    cursor.close()
    connection.rollback()
    return bool(process != connection.info.backend_pid)


def limit_waiting(engine: Engine, seconds: float) -> None:
    """Give psycopg what it lacks, a timeout for an answer: a server that hangs would hold who asks for ever.

    `statement_timeout` is no help there: the server itself would have to end the statement.
    """
    import psycopg

    def limited(steps: Generator[Any, Any, Any], connection: Any) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + seconds
        try:
            awaited = next(steps)
            while True:
                ready = yield awaited
                if not ready and time.monotonic() > deadline:
                    connection.pgconn.finish()  # the answer may come yet, and is not the next caller's
                    message = f"no answer within {seconds:g} seconds"
                    raise psycopg.OperationalError(message) from TimeoutError(message)
                awaited = steps.send(ready)
        except StopIteration as done:
            return done.value

    class ImpatientConnection(psycopg.Connection[Any]):
        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            return super().wait(limited(gen, self), *args, **options)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, options: Any) -> Any:
        return ImpatientConnection.connect(*args, **options)


def share_tls_context(engine: Engine) -> None:
    """Have PyMySQL make the TLS context of a URL without TLS options once: from 1.2 on it tries TLS there, and checks nothing.

    It would read all certificates that the system trusts for each connection, also where the server is gone and none comes of
    it: that is most of what a request costs which is answered with 503.
    """
    import pymysql.connections

    parent: Any = pymysql.connections.Connection
    made: list[Any] = []

    class SharingConnection(parent):  # type: ignore[misc]
        def _create_ssl_ctx(self, options: Any) -> Any:
            if options:
                return super()._create_ssl_ctx(options)
            if not made:
                made.append(super()._create_ssl_ctx(options))
            return made[0]

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, options: Any) -> Any:
        return SharingConnection(*args, **options)


def _bad_url() -> ConfigError:
    return ConfigError(
        "url is not one that SQLAlchemy understands, or its driver is not installed: "
        "postgresql+psycopg://user:password@host/database, mysql+pymysql://…, postgresql+asyncpg://…, mysql+asyncmy://…; "
        "in a password @, : and / are written %40, %3A and %2F"
    )

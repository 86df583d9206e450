"""SQLChannel: a table in PostgreSQL, MySQL, MariaDB or SQLite, polled by the number of the row."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from hardtack.ended.follower import clock
from hardtack.ended.protocol import Batch, Make
from hardtack.errors import ConfigError, StoreUnavailable

try:
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.dialects import mysql
    from sqlalchemy.engine import URL, Connection, make_url
    from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    from hardtack.stores import _sql_options
    from hardtack.stores._sql_engines import is_behind_a_pooler, limit_waiting, share_tls_context
    from hardtack.stores._sql_logic import is_read_only, place, said_by
except ImportError as error:
    message = "SQLChannel needs SQLAlchemy: pip install 'hardtack[sqlalchemy]', and your database's driver"
    raise ImportError(message) from error

_T = TypeVar("_T")

POLL: Final = 0.25
"""Seconds between two looks at the table."""
TIMEOUT: Final = 2
"""Seconds to wait for a connection, and for an answer where the driver can say so."""
SQLITE_TIMEOUT: Final = 5
"""Seconds to wait for other writers of an SQLite file, who are served in no order."""
OVERTAKEN: Final = 10
"""Seconds for which a missing row is waited for: its transaction may have begun before, and end after, another's."""
BATCH: Final = 10_000

_TRIM_EVERY: Final = 100  # appends
_TRIM: Final = 1000  # rows
_NO_TABLE: Final = ("42P01", 1146)  # PostgreSQL, MySQL; SQLite has no code for it

_CLOCKS: Final = {
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint), NOT pg_is_in_recovery()",
    "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)), NOT @@global.read_only",
}
_CLOCKS_OF = {**_CLOCKS, "mariadb": _CLOCKS["mysql"]}

# What each driver calls the seconds that it waits for a connection, and for an answer.
_TIMEOUTS: Final = {
    "psycopg": ("connect_timeout",),
    "psycopg2": ("connect_timeout",),
    "pymysql": ("connect_timeout", "read_timeout", "write_timeout"),
    "mysqldb": ("connect_timeout", "read_timeout", "write_timeout"),
}


class SQLChannel:
    """Keeps entries in a table, and the channel's identity in another one.

    A position is the number of a row, up to which all were read. Rows after a gap are read again until it is filled, or
    too old for that: transactions that began earlier may commit later.

    Args:
        url: what SQLAlchemy understands, with a sync driver.
        suffix: what the tables' names end with.

    Raises `ConfigError`.
    """

    alone = False

    def __init__(self, url: str, suffix: str = "") -> None:
        self._engine = _engine(url)
        self._where = place(self._engine.url)
        # Without BEGIN and COMMIT a poll is two round trips less. Not elsewhere: MySQL's drivers need as many to switch.
        postgresql = self._engine.dialect.name == "postgresql"
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT") if postgresql else self._engine
        self._clock = _CLOCKS_OF.get(self._engine.dialect.name)
        self._metadata = sa.MetaData()
        self.table = sa.Table(
            f"hardtack_ended{suffix}",
            self._metadata,
            sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
            sa.Column("entry", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
            sa.Column("added", sa.BigInteger, nullable=False, index=True),
            sqlite_autoincrement=True,  # a number must not come back
        )
        self.origins = sa.Table(
            f"hardtack_ended_origin{suffix}",
            self._metadata,
            sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("origin", sa.LargeBinary, nullable=False),
        )
        self._appended = 0
        database = self._engine.url.database
        self.file = Path(database) if database and self._engine.dialect.name == "sqlite" else None
        """The file of an SQLite database; None: it is another one."""

    @classmethod
    def from_url(cls, url: str, suffix: str = "") -> SQLChannel:
        """The channel of a URL. Raises `ConfigError`."""
        return cls(url, suffix)

    def append(self, make: Make, keep: int | None) -> None:
        """Append; see `Channel`."""
        self._append(make, keep)

    def append_in_turn(self, make: Make, keep: int | None) -> None:
        """Append after whoever does the same has committed; see `Channel`.

        Not for all entries: who hangs with the lock would keep everybody from ending anything.
        """
        self._append(make, keep, in_turn=True)

    def _append(self, make: Make, keep: int | None, *, in_turn: bool = False) -> None:
        now = self._once_more(lambda: self._add(make, in_turn=in_turn))
        self._appended += 1
        if keep is not None and self._appended % _TRIM_EVERY == 1:
            before = now - keep * 1_000_000
            self._once_more(lambda: self._trim(before))

    def _add(self, make: Make, *, in_turn: bool) -> int:
        """Append, and return the channel's time."""
        with self._connection() as connection:
            if in_turn:  # SQLite has no such lock, and needs none: one writes at a time
                connection.execute(sa.select(self.origins.c.one).with_for_update()).all()
            now = self._now(connection)
            self._insert(connection, now, make(now))
        return now

    def _insert(self, connection: Connection, now: int, entries: Iterable[bytes]) -> None:
        entries = iter(entries)
        while rows := [{"entry": raw, "added": now} for raw in islice(entries, BATCH)]:
            connection.execute(sa.insert(self.table), rows)

    def _trim(self, before: int) -> None:
        old = sa.select(self.table.c.id).where(self.table.c.added < before).limit(_TRIM)
        with self._connection() as connection:
            ids = list(connection.scalars(old))
            if ids:
                connection.execute(sa.delete(self.table).where(self.table.c.id.in_(ids)))

    def read(self, position: str, wait: float) -> Batch:
        """Read; see `Channel`."""
        deadline = time.monotonic() + wait
        while True:
            batch = self._once_more(lambda: self._look(position))
            left = deadline - time.monotonic()
            # After a gap the same rows come again: that is no reason to return at once.
            if batch.position != position or batch.restarted or batch.origin is None or left <= 0:
                return batch
            time.sleep(min(POLL, left))

    def _look(self, position: str) -> Batch:
        try:
            with self._connection(self._reader) as connection:
                now, asked = self._now(connection), clock()
                origin = connection.scalar(sa.select(self.origins.c.origin))
                low = int(position) if position.isdecimal() else 0
                rows = self._rows(connection, low)
                # The row of the position itself comes first, if it is still there: where a backup was put back, it is not.
                restarted = low > 0 and (not rows or rows[0].id != low)
                if restarted:
                    low, rows = 0, self._rows(connection, 0)
        except _NoTableError:
            return Batch([], "", time.time_ns() // 1000, None)
        if low:
            del rows[:1]
        complete = len(rows) < BATCH
        # Of so many that this is not all, none can be waited for.
        low = _before_gap(low, rows, now - OVERTAKEN * 1_000_000) if complete else rows[-1].id
        entries = [bytes(row.entry) for row in rows]
        # This process may have stood still between the two questions: what was ended meanwhile is not from ahead of its time.
        now += int((clock() - asked) * 1_000_000)
        return Batch(entries, str(low or ""), now, None if origin is None else bytes(origin), complete, restarted)

    def _rows(self, connection: Connection, low: int) -> list[Any]:
        query = sa.select(self.table).where(self.table.c.id >= low).order_by(self.table.c.id)
        return list(connection.execute(query.limit(BATCH + 1)).all())

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        """Give a new identity; see `Channel`."""
        self._create()
        try:
            with self._connection() as connection:
                now = self._now(connection)
                # First: another one who tries waits here until we have committed, and then finds that he comes too late.
                if old is None:
                    connection.execute(sa.insert(self.origins), {"one": 1, "origin": new})
                else:
                    replace = sa.update(self.origins).where(self.origins.c.origin == old).values(origin=new)
                    if not connection.execute(replace).rowcount:
                        return False
                self._insert(connection, now, entries)
        except _DuplicateError:
            return False
        return True

    def _create(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not self._has_created():
            if time.monotonic() > deadline:
                raise _NoTableError
            time.sleep(0.02)

    def _has_created(self) -> bool:
        """Whether the tables are there now: created by us, or by another one at the same moment."""
        try:
            with self._connection() as connection:
                self._metadata.create_all(connection)
        except StoreUnavailable:
            try:
                with self._connection() as connection:
                    for table in self._metadata.sorted_tables:
                        connection.execute(sa.select(table).limit(0))
            except _NoTableError:
                return False
        return True

    def _now(self, connection: Connection) -> int:
        """The channel's time. Raises `StoreUnavailable` where the server takes no writes."""
        if self._clock is None:  # SQLite: the database's clock is this machine's
            return time.time_ns() // 1000
        now, writes = connection.execute(sa.text(self._clock)).one()
        if not writes:
            raise _ReadOnlyError
        return int(now)

    @staticmethod
    def _once_more(call: Callable[[], _T]) -> _T:
        """Call it, and again where the server takes no writes: after a failover a new connection leads to another one."""
        try:
            return call()
        except _ReadOnlyError:
            return call()

    @contextmanager
    def _connection(self, engine: Any = None) -> Iterator[Connection]:
        try:
            with (engine or self._engine).connect() as connection:
                try:
                    with connection.begin():
                        yield connection
                except (_ReadOnlyError, DBAPIError) as error:
                    if isinstance(error, _ReadOnlyError) or is_read_only(error):
                        connection.invalidate()
                        self._engine.dispose()  # the others are to the same server
                    raise
        except DBAPIError as error:
            if is_read_only(error):
                raise _ReadOnlyError from error.orig
            if isinstance(error, IntegrityError):
                raise _DuplicateError from error.orig
            if _no_table(error):
                raise _NoTableError from error.orig
            # From the driver's own error: SQLAlchemy's shows the parameters.
            message = f"the database of the ended sessions{self._where} cannot be used: {said_by(error.orig)}"
            raise StoreUnavailable(message) from error.orig
        except (SQLAlchemyError, OSError) as error:
            message = f"the database of the ended sessions{self._where} cannot be used: {type(error).__name__}"
            raise StoreUnavailable(message) from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


class _NoTableError(StoreUnavailable):
    def __init__(self) -> None:
        super().__init__("the list of ended sessions has no table; create it by: hardtack ended URL --create")


class _ReadOnlyError(StoreUnavailable):
    def __init__(self) -> None:
        super().__init__("the database of the ended sessions takes no writes: it is a replica, or read-only")


class _DuplicateError(StoreUnavailable):
    def __init__(self) -> None:
        super().__init__("the list of ended sessions has that row")


def _before_gap(low: int, rows: Sequence[Any], old: int) -> int:
    """The last row before a gap that may yet be filled: one whose next row is not old. Before the first row there is none."""
    for row in rows:
        if low and row.id != low + 1 and row.added > old:
            break
        low = row.id
    return low


def _no_table(error: DBAPIError) -> bool:
    orig = error.orig
    codes = (getattr(orig, "sqlstate", None), getattr(orig, "pgcode", None), *getattr(orig, "args", ()))
    return any(code in _NO_TABLE for code in codes) or str(orig).startswith("no such table")


def check_options(url: str) -> None:
    """Raise `ConfigError` for a URL that cannot be used. Connects to nothing."""
    _engine(url).dispose()


def _engine(url: str) -> Any:
    try:
        parsed: URL = make_url(url)
        typed = _sql_options.typed(parsed)
        options: dict[str, Any] = {"pool_pre_ping": True, "pool_timeout": TIMEOUT, "pool_size": 2, "max_overflow": 8}
        arguments: dict[str, Any] = dict.fromkeys(_TIMEOUTS.get(parsed.get_driver_name(), ()), TIMEOUT)
        if parsed.get_backend_name() == "sqlite":
            # A connection that stays open would go on reading a file that was deleted.
            options, arguments = {"poolclass": NullPool}, {"timeout": SQLITE_TIMEOUT}
        engine = sa.create_engine(parsed, connect_args=arguments | typed, **options)
        if engine.dialect.is_async:
            raise ConfigError(_BAD_URL)
        _sql_options.check(engine, parsed)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        # Not the reason itself: it may quote the URL, and the password with it.
        raise ConfigError(_BAD_URL) from None
    if engine.dialect.driver == "psycopg":
        limit_waiting(engine, TIMEOUT)
    elif engine.dialect.driver == "pymysql":
        share_tls_context(engine)
    if engine.dialect.name == "postgresql":
        prepares = engine.dialect.driver == "psycopg" and "prepare_threshold" not in typed
        event.listen(engine, "connect", partial(_limit_statements, prepares, "options" not in parsed.query))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _write_ahead)
    return engine


def _limit_statements(prepares: bool, limits: bool, connection: Any, record: Any) -> None:
    """Set timeouts at the server, and behind a pooler none: pgbouncer takes no `options`, and what is set afterwards would
    stay with a connection that the next one gets. There nothing is prepared under a name either.
    """
    if is_behind_a_pooler(connection):
        if prepares:
            record.driver_connection.prepare_threshold = None
    elif limits:
        cursor = connection.cursor()
        cursor.execute(f"SET statement_timeout = '{TIMEOUT}s'")
        cursor.execute(f"SET lock_timeout = '{TIMEOUT}s'")
        cursor.close()
        connection.commit()


def _write_ahead(connection: Any, record: Any) -> None:
    """So that those who poll do not keep out who appends."""
    with suppress(sqlite3.OperationalError):  # another process is doing that, and then it is done
        connection.execute("PRAGMA journal_mode = WAL")


_BAD_URL: Final = (
    "the URL of the list of ended sessions is not one that SQLAlchemy understands, or its driver is async or not installed: "
    "postgresql+psycopg://user:password@host/database, mysql+pymysql://…, sqlite:////var/lib/app/ended.sqlite; "
    "in a password @, : and / are written %40, %3A and %2F"
)

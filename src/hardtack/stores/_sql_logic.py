"""What SQLAlchemyStore and its async twin say to the database: the table, the statements, and what is made of errors.

The subject is kept as the SHA-256 of its UTF-8, in hexadecimal: a collation that takes `alice ` for `ALICE` cannot
confuse it, and an index can hold it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import zip_longest
from sqlite3 import SQLITE_READONLY_DBMOVED
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from hardtack.errors import HardtackError, StoreFull, StoreUnavailable
from hardtack.protocols import Entry, Progress, Tombstone, Version, VersionConflict
from hardtack.stores._common import address, at, new_version, subject_digest
from hardtack.stores._full_disk import FULL
from hardtack.stores._steps import Request, Steps

# Lost races, to be tried again: serialization failure and deadlock in PostgreSQL; deadlock, and "record has changed
# since last read", in MySQL and MariaDB.
_CONFLICTS = ("40001", "40P01", 1213, 1020)
_NO_TABLE = ("42P01", 1146)  # PostgreSQL, MySQL; SQLite has no code for it
_TABLE_EXISTS = ("42P07", "42710", 1050, 1061)
_READ_ONLY = ("25006", 1290, 1836)
_FULL = ("53100", 1021, 1114)
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


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


def create_missing(connection: Connection, table: sa.Table) -> None:
    """Create the table and its indexes: those that another process has begun with, and not brought to an end, too."""
    table.create(connection, checkfirst=True)
    for index in table.indexes:
        index.create(connection, checkfirst=True)


class Logic:
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
        self._count = sa.select(sa.func.count()).select_from(table).where(column.expires_at > sa.bindparam("now"))
        self._count_subject = self._count.where(column.subject_hash == sa.bindparam("subject"))
        self._find = sa.select(column.key).where(column.subject_hash == sa.bindparam("subject"))
        self._count_dead = sa.select(sa.func.count()).select_from(table).where(dead)
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

    def count(self, subject: str | None) -> Steps[int]:
        if subject is None:
            rows = yield Request((self._count, {"now": _now()}))
        else:
            rows = yield Request((self._count_subject, {"now": _now(), "subject": subject_digest(subject).hex()}))
        number: int = rows[0][0]
        return number

    def sweep(self, now: float, progress: Progress | None = None) -> Steps[int]:
        swept = total = 0
        if progress is not None:
            total = (yield Request((self._count_dead, {"now": int(now)})))[0][0]
        while True:
            rows = yield Request((self._select_dead, {"now": int(now)}))
            # By key and expiry: what was written again meanwhile stays.
            dead = (self._delete_dead, {"keys": [row.key for row in rows], "now": int(now)})
            try:
                swept += (yield Request(dead)) if rows else 0
            except DBAPIError as error:
                if not lost_race(error):
                    raise
                continue  # a deadlock with somebody who saved: look again
            if progress is not None:
                progress(swept, total)
            if len(rows) < self._batch:
                return swept


def _now() -> int:
    return int(time.time())


def _at(key: str, version: Version) -> dict[str, Any]:
    return {"at": key, "if_version": version, "now": _now()}


def _row(data: bytes, expires_at: int, subject: str | None) -> dict[str, Any]:
    digest = None if subject is None else subject_digest(subject).hex()
    return {"data": data, "version": new_version(), "expires_at": expires_at, "subject_hash": digest}


def execute(connection: Connection, *statements: tuple[Any, Mapping[str, Any]]) -> Any:
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


def lost_race(error: DBAPIError) -> bool:
    """Whether the database ended a transaction for the sake of another."""
    return _has_code(error, _CONFLICTS)


def is_read_only(error: BaseException) -> bool:
    """Whether the server takes no writes: it was the primary, and another one is by now. Nothing was written.

    So it is with a file of SQLite in whose place another was put: the connection still has the old one.
    """
    if not isinstance(error, DBAPIError):
        return False
    moved = getattr(error.orig, "sqlite_errorcode", None) == SQLITE_READONLY_DBMOVED
    return moved or _has_code(error, _READ_ONLY)


def created_meanwhile(error: DBAPIError) -> bool:
    """Whether a CREATE failed because another process was at it, or has done it."""
    said = str(error.orig)
    by_another = _has_code(error, _TABLE_EXISTS) or "already exists" in said or "database is locked" in said
    return by_another or isinstance(error, IntegrityError) or lost_race(error)  # PostgreSQL's own catalogue is unique


def breaks_connection(error: BaseException) -> bool:
    """Whether the connection may be in the middle of something, or is to the wrong server, and must not be used again.

    Of errors of the driver SQLAlchemy knows by itself.
    """
    return is_read_only(error) or not isinstance(error, DBAPIError)


def place(url: URL) -> str:
    """Where the server of a URL is, as messages say it: hosts with ports, or the path of a socket; nothing else of it."""
    sockets = _values(url, "unix_socket")
    hosts, ports = ([each for text in _values(url, name) for each in text.split(",")] for name in ("host", "port"))
    if not hosts and url.host:
        # In a URL with an @ that is not written %40 the end of the password is before the host.
        hosts, ports = [url.host.rpartition("@")[2]], [] if url.port is None else [str(url.port)]
    default = _PORTS.get(url.get_backend_name())
    servers = [
        each if each.startswith("/") or each.count(":") == 1 else address(each, port or default)
        for each, port in zip_longest(hosts, ports[: len(hosts)])
    ]
    return at(*(sockets or servers))


def _values(url: URL, name: str) -> tuple[str, ...]:
    found = url.query.get(name, ())
    return (found,) if isinstance(found, str) else found


def said_by(error: BaseException | None) -> str:
    """The name of a driver's error and its code: MySQL's or SQLite's own, or SQLSTATE. The text may hold what was saved."""
    first: Any = next(iter(getattr(error, "args", ())), None)
    codes = (
        first if type(first) is int and not isinstance(error, OSError) else None,
        *(getattr(error, name, None) for name in ("sqlstate", "pgcode", "sqlite_errorname")),
    )
    code = next((each for each in codes if each is not None), None)
    return type(error).__name__ + ("" if code is None else f" ({code})")


def translate(where: str, error: BaseException) -> None:
    """Raise the error of ours that this one of the database or of SQLAlchemy means."""
    if isinstance(error, DBAPIError):
        # From the driver's own error: SQLAlchemy's shows the parameters, and the session with them.
        if isinstance(error, IntegrityError) or lost_race(error):
            raise VersionConflict("another request was faster") from error.orig
        if _has_code(error, _FULL) or getattr(error.orig, "sqlite_errorcode", None) in FULL:
            message = f"the database of the sessions{where} is full"
            raise StoreFull(message) from error.orig
        message = f"the database of the sessions{where} cannot be used: {said_by(error.orig)}"
        if _has_code(error, _NO_TABLE) or str(error.orig).startswith("no such table"):
            message += "; it has no table for them: create that once, by create_table() or with what ddl() returns"
        raise StoreUnavailable(message) from error.orig
    if isinstance(error, SQLAlchemyError | OSError):
        raise _unavailable(where, error) from error


def _unavailable(where: str, error: BaseException) -> StoreUnavailable:
    """What a caller is told of an error that has no meaning of its own."""
    return StoreUnavailable(f"the database of the sessions{where} cannot be used: {type(error).__name__}")


class Foreign:
    """A context around the calls of a driver: what comes out of one, and is no error of a driver, is `StoreUnavailable`.

    A broken connection may raise anything: TypeError, AttributeError, "Event loop is closed".
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, SQLAlchemyError | OSError | HardtackError):
            raise _unavailable(self._where, error) from error

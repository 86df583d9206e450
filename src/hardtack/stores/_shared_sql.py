"""A table shared with another system: its rows in its form, and beside it the ids that were ended, in a table of our own.

The version of a row is the text in it: it changes whenever somebody writes. An id that was ended is remembered where the
other system does not take it for a session; for as long as it is there, what is under the id is none.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError

from hardtack import record as records
from hardtack.errors import ConfigError, InvalidToken
from hardtack.protocols import Entry, NativeIds, Tombstone, Version, VersionConflict
from hardtack.stores._common import new_version, new_version_bytes
from hardtack.stores._sql_logic import Logic, sessions_table
from hardtack.stores._steps import Request, Steps
from hardtack.stores.file_layout import Content, Damaged
from hardtack.stores.shared_layout import SharedTable

_log = logging.getLogger("hardtack")

ENDED = "hardtack_ended"
"""The table of the ids that were ended."""


def ended_table() -> sa.Table:
    """The table that `create_table` makes: the other one is the other system's."""
    return sessions_table(sa.MetaData(), ENDED)


class _Json(sa.types.UserDefinedType[str]):
    """A column of the type json whose text a driver does not parse, since the version of a row is the text."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[str]:
        return sa.cast(sa.type_coerce(bindvalue, sa.Text()), self)


class SharedLogic(Logic):
    """The statements, and what is done with them, for both twins."""

    def __init__(self, layout: SharedTable, ended: sa.Table, batch: int, dialect: str) -> None:
        if not isinstance(layout, SharedTable):
            message = f"layout={type(layout).__name__} must be a table of hardtack.foreign.layouts, such as DjangoTable"
            raise ConfigError(message)
        super().__init__(ended, batch)
        self._layout = layout
        is_json = layout.is_json and dialect == "postgresql"
        time_type: Any = sa.DateTime(timezone=True) if layout.time_is_date else sa.BigInteger()
        table = sa.table(
            layout.table,
            sa.column(layout.key_column, sa.String()),
            sa.column(layout.data_column, _Json() if is_json else sa.Text()),
            sa.column(layout.time_column, time_type),
        )
        key: sa.ColumnElement[Any] = table.c[layout.key_column]
        data: sa.ColumnElement[Any] = table.c[layout.data_column]
        moment: sa.ColumnElement[Any] = table.c[layout.time_column]
        if is_json:
            data, moment = sa.cast(data, sa.Text()), sa.cast(moment, sa.DateTime(timezone=True))
        # The collations that MySQL has by default take A for a, and the version is the text.
        exact: Any = sa.cast(data, mysql.BINARY()) if dialect in ("mysql", "mariadb") else data
        here = key == sa.bindparam("at")
        this = exact == sa.bindparam("if_version", type_=sa.String())
        columns = [key.label("key"), data.label("data"), moment.label("time")]
        self._rows = sa.select(*columns)
        self._row = self._rows.where(here)
        self._keys = sa.select(key.label("key"))
        self._create = sa.insert(table)
        self._change = sa.update(table).where(here, this)
        self._remove = sa.delete(table).where(here)
        self._remove_this = sa.delete(table).where(here, this)
        column = ended.c
        self._end = sa.insert(ended)
        self._end_again = sa.update(ended).where(column.key == sa.bindparam("at"))
        self._revive = sa.delete(ended).where(
            column.key == sa.bindparam("at"), column.version == sa.bindparam("if_version")
        )

    @property
    def ids(self) -> NativeIds:
        """The other system's."""
        return self._layout.ids

    def get(self, key: str) -> Steps[Entry | None]:
        ended = yield from super().get(key)
        if ended is not None:
            return Entry(ended.data, ("ended", ended.version))
        rows = yield Request((self._row, {"at": key}))
        if not rows:
            return None
        content = self._decoded(rows[0])
        version = ("row", rows[0].data)
        if content is None:
            return Entry(b"", version)  # it cannot be read, but replaced and deleted
        return Entry(content.data, version) if content.expires_at > time.time() else None

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Steps[Version]:
        if _is_tombstone(data):
            return (yield from self._bury(key, data, expires_at, if_version))
        now = int(time.time())
        kind, previous = if_version or ("", "")
        content = Content(data, expires_at, subject, new_version_bytes().hex())
        text = self._layout.encode(content, previous.encode() if kind == "row" else None, now).decode()
        row = {self._layout.data_column: text, self._layout.time_column: self._layout.time(text, expires_at, now)}
        create = (self._create, {self._layout.key_column: key, **row})
        if kind == "row":
            saved = yield Request((self._change, {**row, "at": key, "if_version": previous}))
        elif kind == "ended":
            saved = yield Request((self._revive, {"at": key, "if_version": previous}), create)
        else:
            saved = yield from self._begin(key, create)
        if not saved:
            raise VersionConflict("the entry was changed, is gone, or exists already")
        return ("row", text)

    def delete(self, key: str, *, if_version: Version | None) -> Steps[bool]:
        entry = yield from self.get(key)
        if if_version is not None and entry is not None and entry.version != if_version:
            raise VersionConflict("the entry was changed")
        if if_version is not None and if_version[0] == "row":
            removed = yield Request((self._remove_this, {"at": key, "if_version": if_version[1]}))
            return bool(removed)
        yield Request((self._remove, {"at": key}))
        yield from super().delete(key, if_version=None)
        return entry is not None

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
        yield from ()
        raise NotImplementedError("the other system begins its own members anew under a new id")

    def find(self, subject: str) -> Steps[list[str]]:
        """Reads every row: for now and then, not for every request."""
        contents = yield from self._contents()
        return [key for key, content in contents if content.subject == subject]

    def count(self, subject: str | None) -> Steps[int]:
        """Reads every row, as `find` does."""
        contents = yield from self._contents()
        return sum(1 for _, content in contents if subject is None or content.subject == subject)

    def resolve(self, handle: bytes) -> Steps[str | None]:
        """The id with that public handle. Reads every key."""
        rows = yield Request((self._keys, {}))
        return next((row.key for row in rows if self._layout.ids.handle(row.key) == handle), None)

    def _contents(self) -> Steps[list[tuple[str, Content]]]:
        rows = yield Request((self._rows, {}))
        decoded = [(row.key, self._decoded(row)) for row in rows if self._layout.ids.accepts(row.key)]
        now = time.time()
        return [(key, content) for key, content in decoded if content is not None and content.expires_at > now]

    def _begin(self, key: str, create: Any) -> Steps[int]:
        """Insert a row, also where one has expired that the other system has not taken away yet."""
        try:
            return int((yield Request(create)))
        except IntegrityError:
            if (yield from self.get(key)) is not None:
                return 0
        return int((yield Request((self._remove, {"at": key}), create)))

    def _bury(self, key: str, data: bytes, expires_at: int, version: Version | None) -> Steps[Version]:
        kind, previous = version or ("", None)
        entry = {"data": data, "version": new_version(), "expires_at": expires_at, "subject_hash": None}
        first = [] if kind != "row" else [(self._remove_this, {"at": key, "if_version": previous})]
        try:
            changed = yield Request(*first, (self._end, {**entry, "key": key}))
        except IntegrityError:  # it was ended once before
            changed = yield Request(*first, (self._end_again, {**entry, "at": key}))
        if not changed:
            raise VersionConflict("the entry was changed or is gone")
        return ("ended", entry["version"])

    def _decoded(self, row: Any) -> Content | None:
        try:
            content = self._layout.decode(row.data.encode(), row.key, int(time.time()))
            return content._replace(expires_at=min(content.expires_at, self._layout.ends_at(_seconds(row.time))))
        except (Damaged, AttributeError, TypeError):
            # Not its key: that is a login.
            _log.warning(
                "a row of another system is damaged, or of a form that is refused: %s", type(self._layout).__name__
            )
            return None


def _seconds(moment: Any) -> int:
    """Unix seconds of what is in the column: a number, or a date, which is in UTC where it has no zone."""
    if isinstance(moment, dt.datetime):
        return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp())
    return int(moment)


def _is_tombstone(data: bytes) -> bool:
    try:
        return "ended" in records.unpack(data).options
    except InvalidToken:
        return False

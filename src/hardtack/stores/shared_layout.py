"""What the stores that are shared with another system have in common: the entry is the other system's, its id the cookie's.

A layout turns a record into what that system keeps under its own key, and back. What hardtack knows beside the data (times,
subject, options) is one line of JSON in them, under `__hardtack`, which the other system carries along like any other key;
its own members that are no data are hidden from the application, and kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final

from hardtack import record as records
from hardtack.errors import ConfigError, InvalidToken, StoreError, UnsupportedValue
from hardtack.foreign.base import parse_json
from hardtack.record import Record
from hardtack.stores.file_layout import Content, Damaged

STAMP: Final = "__hardtack"

NEVER: Final = 1 << 62
"""The expiry of an entry that does not say one: its session's deadlines are the engine's to enforce."""

FindSubject = Callable[[dict[str, Any]], str | None]


class Ids:
    """Ids of another system, as `hardtack.protocols.NativeIds`: the id is what the cookie carries, and the store's key."""

    def __init__(self, rule: str, draw: Callable[[], str]) -> None:
        self.pattern = re.compile(rule)
        self._draw = draw

    def accepts(self, text: str) -> bool:
        """Whether a text may be an id at all. Checked before it becomes a key."""
        return self.pattern.fullmatch(text) is not None

    def new_id(self) -> str:
        """A new id of the other system's form."""
        return self._draw()

    def handle(self, text: str) -> bytes:
        """The public handle of an id: 32 bytes that do not lead back to it."""
        return hashlib.sha256(b"hardtack/1 native id" + text.encode()).digest()


class SharedLayout(ABC):
    """Entries that another system reads and writes.

    A subclass says what an entry is made of (`load`, `dump`), which of its members are no data (`hidden`, `members`), and
    what it cannot carry (`check`).

    Args:
        prefix: what the other system puts before an id to make a key of it.
        subject: who the user is, by the data, where the other system has written the entry.
    """

    ids: Ids

    hidden: ClassVar[tuple[str, ...]] = ()
    """Members that are the other system's own."""

    store_decides: ClassVar[bool] = False
    """A mere use moves the end in the store alone, not that in the entry: what the store still has has not ended."""

    def __init__(self, prefix: str = "", subject: FindSubject | None = None) -> None:
        if type(prefix) is not str:
            raise ConfigError("prefix is text: what the other system puts before an id to make a key of it")
        if subject is not None and not callable(subject):
            raise ConfigError("subject is a function that takes the data and returns the user's id as a str, or None")
        self.prefix = prefix
        self._find_subject = subject

    @abstractmethod
    def load(self, raw: bytes) -> dict[str, Any]:
        """The members of an entry. Whatever it raises, the entry is damaged."""

    @abstractmethod
    def dump(self, tree: dict[str, Any]) -> bytes:
        """The bytes of an entry. Raises `UnsupportedValue`."""

    @abstractmethod
    def check(self, data: dict[str, Any]) -> None:
        """Raise the `UnsupportedValue` of what the other system would not get back equal."""

    def members(self, previous: dict[str, Any] | None, content: Content, now: int) -> dict[str, Any]:
        """The other system's own members of an entry that is written: those of `previous`, what was there, or new ones."""
        return {name: previous[name] for name in self.hidden if previous is not None and name in previous}

    def ends(self, tree: dict[str, Any]) -> int:
        """When the other system lets it end, in Unix seconds."""
        return NEVER

    def encode(self, content: Content, previous: bytes | None, now: int) -> bytes:
        """The bytes of an entry. Raises `UnsupportedValue`, and `StoreError` for what is no record."""
        try:
            record = records.unpack(content.data)
        except InvalidToken:
            raise StoreError(
                "a store that is shared with another system keeps plain records: it cannot be sealed"
            ) from None
        data = record.data
        for name in (STAMP, *self.hidden):
            if name in data:
                raise UnsupportedValue(
                    name, type(data[name]).__name__, "this key is taken in the other system's sessions"
                )
        self.check(data)
        tree = {**self.members(self._previous(previous), content, now), **data}
        stamp = {
            "created": record.created,
            "authenticated": record.authenticated,
            "seen": record.seen,
            "subject": record.subject,
            "options": record.options,
            "expires_at": content.expires_at,
            "version": content.version,
            "digest": digest(self._data(self.load(self.dump(tree)))),
        }
        return self.dump({**tree, STAMP: json.dumps(stamp)})

    def decode(self, raw: bytes, key: str, now: int) -> Content:
        """What `encode` was given, or what the other system wrote; raises `Damaged` for anything else.

        `now` stands for when the other system wrote it, which most of them do not say.
        """
        try:
            tree = self.load(raw)
            ends = self.ends(tree)
            data = self._data(tree)
            stamp = data.pop(STAMP, None)
            if stamp is None:
                record = Record(self.ids.handle(key), now, None, now, None, {}, data)
                believed, expires_at, version = False, ends, ""
            else:
                stamp = parse_json(stamp)
                record = self._stamped(data, stamp, key)
                believed = stamp["digest"] == digest(data)
                expires_at, version = min(ends, stamp["expires_at"]) if believed else ends, str(stamp["version"])
                if not believed:
                    record.seen = max(record.seen, now)
            content = Content(records.pack(record), expires_at, record.subject, version)
        except Exception as error:  # whatever a parser raises on an entry that was cut, edited or planted
            raise Damaged from error
        # An error of the application's function is the application's to see: the entry is not damaged.
        return content if believed else self._with_subject(content, record, now)

    def _previous(self, raw: bytes | None) -> dict[str, Any] | None:
        """The members of an entry that are kept, or None where there are none that could be written again."""
        if raw is None or not self.hidden:
            return None
        try:
            tree = self.load(raw)
            own = {name: tree[name] for name in self.hidden if name in tree}
            self.load(self.dump(own))
        except Exception:  # it is damaged, and about to be replaced
            return None
        return own

    def _data(self, tree: dict[str, Any]) -> dict[str, Any]:
        return {name: item for name, item in tree.items() if name not in self.hidden}

    def _stamped(self, data: dict[str, Any], stamp: dict[str, Any], key: str) -> Record:
        """The record of an entry that hardtack has written, or the other system after it."""
        fields = [stamp[name] for name in ("created", "authenticated", "seen", "subject", "options")]
        return records.check([self.ids.handle(key), *fields, data])

    def _with_subject(self, content: Content, record: Record, now: int) -> Content:
        """The content of what the other system wrote, with the user whom the application's function sees in the data.

        That system may have logged the user out, or another one in, and knows nothing of our subject.
        """
        subject = records.find_subject(self._find_subject, record.data, type(self).__name__)
        if subject is None or subject != record.subject:
            record.authenticated = None if subject is None else now
        record.subject = subject
        return content._replace(data=records.pack(record), subject=subject)


class SharedFile(SharedLayout):
    """Files that another system reads and writes, each named by the id; they have no members that are hidden."""

    @abstractmethod
    def ends_at(self, moment: int) -> int:
        """When a file ends that was written at this Unix second."""


class SharedTable(SharedLayout):
    """Rows that another system reads and writes: a key, text, and a time."""

    table: str
    key_column: ClassVar[str]
    data_column: ClassVar[str]
    time_column: ClassVar[str]

    time_is_date: ClassVar[bool]
    """The column holds a date; else Unix seconds."""

    is_json: ClassVar[bool] = False
    """In PostgreSQL the text is in a column of the type json, and the date in one without a time zone: the connection's."""

    @abstractmethod
    def time(self, text: str, expires_at: int, now: int) -> Any:
        """What the column holds of an entry with this text that is written now and ends at `expires_at`."""

    @abstractmethod
    def ends_at(self, moment: int) -> int:
        """When an entry ends, by what the column holds, in Unix seconds."""


def digest(data: dict[str, Any]) -> str:
    """What tells whether the other system has changed the data since hardtack wrote them."""
    return hashlib.blake2b(json.dumps(data, sort_keys=True, default=repr).encode(), digest_size=16).hexdigest()

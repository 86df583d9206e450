"""Record: what is kept of a session, and its MessagePack and JSON encodings.

Both encodings are an array of seven: id, created, authenticated, seen, subject, options, data.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ormsgpack

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken

MOVED: Final = "x-moved"
"""The option of a session that came from another engine: what it is there, so that it is the same each time it comes. In
a store the id of its cookie; in a cookie the 32 bytes of its id in the store, which the same browser has had before."""

LEFT: Final = "x-left"
"""The option of a record in a store whose session went on in a cookie: when. It is read for as long as requests are on
their way."""


AFTER: Final = "x-after"
"""The option of a session that got a new id where both are seen for a moment: the ids that it had, for who lists sessions."""

KEPT: Final = "x-kept"
"""The option of a session that was taken over from a cookie that stays beside ours, and leads: that cookie's name, a
digest of what was in it, and when that was written."""


@dataclass(slots=True)
class Record:
    """What is kept of a session. Times are whole Unix seconds.

    Attributes:
        id: 16 random bytes in a cookie; the 32 bytes of the store's key in a store.
        created: when the session began; never moves.
        authenticated: when the user logged in, or None.
        seen: when the session was last renewed; never moves back.
        subject: the user whom the session belongs to, or None.
        options: `persistent` (bool), `lifetime` (seconds; shortens the manager's), `expires` (an absolute deadline, in
            Unix seconds), `ended` (a tombstone: the session was ended, and this is remembered until then), `confirmed`
            (methods of step-up, and when each was used), `actor` (who acts as the subject), `sid` (the provider's session),
            `csrf` (16 bytes, base64url), `drawn` (when the id was drawn), `binding` (the device's key). Those that begin
            with `x-` describe, such as `x-label`, and are ignored by who does not know them; others that are unknown
            restrict, and the record is refused.
        data: what the application keeps.
        plain: the MessagePack array that the record was read from, or last written as: what changes are compared with.
        prepared: the encoding of `data` that was made to compare it, and is to be written next instead of a second one.
    """

    id: bytes
    created: int
    authenticated: int | None
    seen: int
    subject: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    plain: bytes | None = field(default=None, compare=False, repr=False)
    prepared: bytes | None = field(default=None, compare=False, repr=False)

    def with_changes(self, **fields: Any) -> Record:
        """A copy with other fields, of which nothing was read or written yet."""
        return replace(self, plain=None, prepared=None, **fields)

    def is_kept_as(self, data: dict[str, Any]) -> bool:
        """Whether the data is what was read, or last written. Raises `UnsupportedValue` for what cannot be kept."""
        return values.is_packed_as(self._fields(data), self.plain)

    def packed_unless_kept(self, data: dict[str, Any], strict: bool = False) -> bytes | None:
        """The encoding of the data, or None where it is what was read, or last written. Raises `UnsupportedValue`."""
        fields = [self.id, self.created, self.authenticated, self.seen, self.subject, self.options, data]
        plain = values.pack_unless(fields, self.plain, 2 + len(self.id), strict)
        return None if plain is None else plain[len(self._head()) :]

    def keep(self, packed: bytes) -> None:
        """Remember the encoding of the data, by one who has it at hand, as `pack` does."""
        self.plain = self._head() + packed

    def kept_data(self) -> bytes:
        """The MessagePack encoding of the data as it was read, or last written, whatever became of `data` since."""
        plain = pack(self) if self.plain is None else self.plain
        head = self._head()
        if plain.startswith(head):
            return plain[len(head) :]
        # Another program's longer spelling of the same fields: where the data begins is not known.
        return values.pack(values.unpack(plain)[6])

    def own_data(self) -> dict[str, Any]:
        """The data as it was read, or last written, in objects that nobody else has."""
        data: dict[str, Any] = values.unpack(self.kept_data())
        return data

    def _fields(self, data: Any) -> list[Any]:
        return [self.id, self.created, self.authenticated, self.seen, self.subject, self.options, data]

    def overhead(self) -> int:
        """Bytes of its encoding that are not data."""
        return len(self._head())

    def _head(self) -> bytes:
        """What stands before the data, which is the last element: here a None of one byte."""
        fields = [self.id, self.created, self.authenticated, self.seen, self.subject, self.options, None]
        return ormsgpack.packb(fields)[:-1]


def pack(record: Record) -> bytes:
    """The MessagePack array of seven, which the record remembers. Raises `UnsupportedValue`."""
    prepared = record.prepared
    if prepared is None:
        plain = values.pack_last(record._fields(record.data), 2 + len(record.id))
    else:
        plain = record._head() + prepared
        record.prepared = None
    record.plain = plain
    return plain


# The decoder stops where an array ends, and does not tell of bytes that follow. So it is given the record and a second value,
# which nobody can know: with anything between the two, that is not the second.
_PAIR: Final = b"\x92"
_END: Final = secrets.token_bytes(8)
_PACKED_END: Final = ormsgpack.packb(_END)


def unpack(plain: bytes) -> Record:
    """The record; `InvalidToken("malformed")` for everything that `pack` would not have written."""
    try:
        fields, end = ormsgpack.unpackb(_PAIR + plain + _PACKED_END, ext_hook=values.ext_hook)
    except Exception:  # whatever a decoder raises on bytes that it cannot read
        raise InvalidToken("malformed", "the record cannot be decoded") from None
    if end != _END:
        raise InvalidToken("malformed", "something follows the record")
    return check(fields, plain)


def to_json(record: Record) -> list[Any]:
    """The array of seven as JSON can carry it: the id as base64url, other types tagged."""
    return [
        values.encode_bytes(record.id),
        record.created,
        record.authenticated,
        record.seen,
        record.subject,
        record.options,
        values.to_json(record.data),
    ]


def from_json(fields: Any) -> Record:
    """The record of a parsed JSON array; `InvalidToken("malformed")` for everything that `to_json` would not return."""
    try:
        identifier, created, authenticated, seen, subject, options, data = fields
        decoded = [
            values.decode_bytes(identifier),
            created,
            authenticated,
            seen,
            subject,
            options,
            values.from_json(data),
        ]
    except Exception:
        raise InvalidToken("malformed", "the record cannot be decoded") from None
    return check(decoded)


def check(fields: Any, plain: bytes | None = None) -> Record:
    """The record of seven decoded fields, each of its exact type and range."""
    if type(fields) is not list or len(fields) != 7:
        raise InvalidToken("malformed", "a record is an array of seven")
    identifier, created, authenticated, seen, subject, options, data = fields
    if (
        type(identifier) is bytes
        and type(created) is int
        and (authenticated is None or (type(authenticated) is int and authenticated >= 0))
        and type(seen) is int
        and (subject is None or type(subject) is str)
        and type(options) is dict
        and type(data) is dict
        and created >= 0
        and seen >= 0
        and len(identifier) in (16, 32)
        and (not options or _good_options(options))
    ):
        return Record(identifier, created, authenticated, seen, subject, options, data, plain)
    raise InvalidToken("malformed", "a field of the record has the wrong type")


_OPTION_TYPES: Mapping[str, type] = {
    "persistent": bool,
    "lifetime": int,
    "expires": int,
    "ended": int,
    "drawn": int,
    "confirmed": dict,
    "actor": list,
    "sid": str,
    "csrf": str,
    "binding": list,
}


def _good_options(options: dict[Any, Any]) -> bool:
    # Unknown options are refused: a newer version's restriction must not be dropped by an older server.
    for key, value in options.items():
        if type(key) is not str or (not key.startswith("x-") and type(value) is not _OPTION_TYPES.get(key)):
            return False
    if "confirmed" not in options:
        return True
    return all(type(method) is str and type(at) is int for method, at in options["confirmed"].items())


def find_subject(function: Callable[[dict[str, Any]], Any] | None, data: dict[str, Any], owner: str) -> str | None:
    """Who the user is, by the `subject=` function that `owner` was given, where another system has written the data.

    Raises `ConfigError` for what is no subject: a number would be kept, and the session refused ever after.
    """
    subject = None if function is None else function(data)
    if subject is None or (type(subject) is str and subject):
        return subject
    message = (
        f"subject= of {owner} must return the user's id as a str that is not empty, or None, not "
        f"{type(subject).__name__}; use str(…)"
    )
    raise ConfigError(message)

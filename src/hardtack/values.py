"""What a session may hold, and its MessagePack and JSON forms: what goes in comes out equal, in the nearest built-in type.

None, bool, int of any size, float, str, bytes, list, tuple, dict, set, frozenset, datetime (with its zone), date, time,
timedelta, Decimal, UUID and markupsafe's Markup keep their types; a subclass of one of them comes out as that, if the plain
copy is equal to it, and bytearray and memoryview as bytes. Keys of a dict are any of the types that are no container.
Anything else is an `UnsupportedValue`. docs/values.md lists what that means for the objects of other libraries;
docs/token-format.md describes both forms to the byte. No class is ever built from a name in the data.

`strict=True`, wherever it may be said, refuses what would change its type.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import ormsgpack
from ormsgpack import Ext, packb, unpackb
from pybase64 import b64decode, b64encode_as_string

MAX_DEPTH: Final = 64

# Everything that MessagePack would flatten without asking comes to `default` instead.
OPTIONS: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)

# Every array and map begins with one of these bytes, so that few of them prove that the data is not too deep; bytes begin
# with one of the last three. What is left of an encoding without all others is looked at, at the speed of C.
_TELLING = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF, 0xC4, 0xC5, 0xC6])
_TELLING_NOTHING = bytes(set(range(256)) - set(_TELLING))
_MOST_MARKS: Final = 64
_BRANCHES = (dict, list, tuple, set, frozenset)
_PLAIN_LEAVES = frozenset({type(None), bool, int, float, str, bytes})
_LOOKED_AT = frozenset[type]({memoryview})
_REFUSED_IF_STRICT = frozenset[type]({memoryview, bytearray})


def pack(data: dict[str, Any], *, strict: bool = False) -> bytes:
    """The MessagePack form. Raises `UnsupportedValue`, with the path and the type."""
    return pack_last([data], 1, strict=strict)[1:]


def is_packed_as(fields: list[Any], packed: bytes | None, *, strict: bool = False) -> bool:
    """Whether `pack_last` wrote this for the fields: nothing that it would refuse can be, so nothing needs checking."""
    try:
        return packb(fields, strict_default if strict else default, OPTIONS) == packed
    except TypeError:  # keys other than str, or something that cannot be kept
        return pack_last(fields, 0, strict=strict) == packed


def pack_unless(fields: list[Any], packed: bytes | None, start: int, strict: bool = False) -> bytes | None:
    """What `pack_last` writes, or None where that is `packed`: it was checked when it was written."""
    try:
        new = packb(fields, strict_default if strict else default, OPTIONS)
    except TypeError:
        new = pack_last(fields, start, strict=strict)
        return None if new == packed else new
    if new == packed:
        return None
    _check_packed(fields, new, start, strict=strict)
    return new


def pack_last(fields: list[Any], start: int, *, strict: bool = False) -> bytes:
    """The MessagePack array of fields that are trusted, and data that is checked: the last, not before byte `start`."""
    try:
        packed = packb(fields, strict_default if strict else default, OPTIONS)
    except TypeError:  # a dict with other than str keys, or something that cannot be kept
        slowly: bytes = _others().pack_last(fields, strict=strict)
        return slowly
    _check_packed(fields, packed, start, strict=strict)
    return packed


def _check_packed(fields: list[Any], packed: bytes, start: int, *, strict: bool) -> None:
    # What MessagePack would write and should not: data nested too deep, and a memoryview of other than bytes (`strict`: any,
    # and a bytearray), written as bytes. Both show in the encoding; only an encoding that may hold them is worth a look at
    # the data in Python.
    body = packed[start:]
    telling = body.translate(None, _TELLING_NOTHING)
    if (len(telling) > MAX_DEPTH and _is_deep(fields[-1])) or (
        (
            (0xC4 in telling and _has_bytes(body, b"\xc4", 0))
            or (0xC5 in telling and _has_bytes(body, b"\xc5", 8))
            or (0xC6 in telling and _has_bytes(body, b"\xc6", 24))
        )
        and _holds(fields[-1], _REFUSED_IF_STRICT if strict else _LOOKED_AT)
    ):
        check(fields[-1], strict=strict)


def _has_bytes(rest: bytes, mark: bytes, shift: int) -> bool:
    """Whether there may be bytes, announced by a mark and a length, of which the first byte counts `1 << shift` each.

    Mostly the mark is the first byte of a letter such as "ł" instead: what follows is more, as a length, than there is.
    Where many are, the data is worth a look in any case: a step of this search costs more than one value there.
    """
    for _ in range(_MOST_MARKS):
        _, found, rest = rest.partition(mark)
        if not found:
            return False
        if rest and rest[0] << shift < len(rest):
            return True
    return True


def _is_deep(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for branch in level
            for member in (branch.values() if isinstance(branch, dict) else branch)
            if type(member) not in _PLAIN_LEAVES and isinstance(member, _BRANCHES)
        ]
        if not level:
            return False
    return True


def _holds(value: Any, suspects: frozenset[type]) -> bool:
    """Whether a tree has a value of one of these types in it: a quick look before the thorough one."""
    members = value.values() if isinstance(value, dict) else value
    kinds = set(map(type, members))
    if kinds <= _PLAIN_LEAVES:
        return False
    if not kinds.isdisjoint(suspects):
        return True
    for member in members:
        if type(member) not in _PLAIN_LEAVES and isinstance(member, _BRANCHES) and _holds(member, suspects):
            return True
    return False


def unpack(packed: bytes) -> Any:
    """What `pack` was given. Raises anything at all on bytes that `pack` did not write."""
    return unpackb(packed, ext_hook=ext_hook)


# --- what is rare, or thorough

# Not imported before it is needed: what it knows of decimal and zoneinfo takes a fifth of hardtack's import.


@cache
def _others() -> Any:
    from hardtack import _value_types

    return _value_types


def default(value: Any) -> Any:
    """The extension for a value that MessagePack does not have, or its plain copy; `TypeError` where it has neither."""
    return _others().default(value)


def strict_default(value: Any) -> Ext:
    """The extension for a value that MessagePack does not have; `TypeError` where there is none."""
    extension: Ext = _others().strict_default(value)
    return extension


def ext_hook(code: int, raw: bytes) -> Any:
    """The value of an extension that `pack` wrote."""
    return _others().ext_hook(code, raw)


def plain(data: Any, *, strict: bool = False) -> Any:
    """The same tree in the types that are kept, as it will come out. Raises the `UnsupportedValue` of what is not kept."""
    return _others().plain(data, strict=strict)


def check(data: object, *, strict: bool = False) -> None:
    """Raise the `UnsupportedValue` of the first value that cannot be kept."""
    plain(data, strict=strict)


def to_json(value: Any, *, strict: bool = False) -> Any:
    """The tree as JSON can carry it. Raises `UnsupportedValue`, with the path and the type."""
    return _others().to_json(value, strict=strict)


def from_json(value: Any) -> Any:
    """What `to_json` was given. Raises anything at all on a tree that `to_json` did not return."""
    return _others().from_json(value)


# --- bytes as text


LAST_CHARACTERS: Final = ("", "", "AQgw", "AEIMQUYcgkosw048")
"""What may stand last in a text of so many characters beyond a multiple of four: whose bits beyond the last byte are zero."""
_PADDING: Final = ("", "", "==", "=")


def encode_bytes(raw: bytes) -> str:
    """Base64url without padding."""
    return b64encode_as_string(raw, b"-_").rstrip("=")


def decode_bytes(text: str) -> bytes:
    """Bytes from base64url without padding, in its one canonical spelling; `ValueError` otherwise."""
    # Decoders read other spellings as well, and warn of the other alphabet's characters.
    beyond = len(text) & 3
    if "+" not in text and "/" not in text and "=" not in text and (not beyond or text[-1] in LAST_CHARACTERS[beyond]):
        return b64decode(text + _PADDING[beyond], b"-_", validate=True)
    message = "not canonical base64url"
    raise ValueError(message)

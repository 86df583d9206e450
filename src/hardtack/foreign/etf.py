"""Erlang's external term format, for plain data: what Plug keeps a session in. Read bounded, and never an atom made.

nil, true and false are None and bools; a binary is a str where it is UTF-8, else bytes; a charlist (a list of small
integers, which Erlang writes as a string) is a list of ints. Keys of maps are binaries. Everything else that the format
knows is refused: other atoms, tuples, functions, processes, references.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from typing import Any

from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign._text import is_utf8
from hardtack.foreign.base import check_plain, malformed

MAX_DEPTH = 64
MAX_INFLATED = 1 << 18
"""Bytes that a compressed term may take: 64 times what a browser keeps of a cookie."""

_VERSION = 131
_COMPRESSED = 80
_ATOMS: dict[bytes, Any] = {b"nil": None, b"true": True, b"false": False}
_BIG_DIGITS = 128


def read(document: bytes, *, atom_keys: Collection[str] = ()) -> Any:
    """The value of a whole term.

    `atom_keys`: atoms that may be keys of maps; they are read as text.

    Raises `InvalidToken`: `unsafe` for what is no plain data, else `malformed` or `too_large`.
    """
    reader = _reader(document, atom_keys)
    value = reader.term(0)
    reader.end()
    return value


def read_token(document: bytes, *, atom_keys: Collection[str] = ()) -> tuple[Any, int, int | None]:
    """Content, time of signing (milliseconds) and age (seconds, None for no limit) of a `Plug.Crypto` token.

    Those of plug_crypto 1.1 and before, `{data, signed}`, and of Phoenix before it, `%{data: …, signed: …}`, say no age: it is
    `DEFAULT_AGE`, as there.

    Raises `InvalidToken`.
    """
    reader = _reader(document, atom_keys)
    head = reader.body[:2]
    max_age: Any = DEFAULT_AGE
    endless = False
    if head in (b"\x68\x03", b"\x68\x02"):
        reader.at = 2
        content, signed_at = reader.term(1), reader.term(1)
        if head == b"\x68\x03":
            endless = reader.skip(_INFINITY)
            max_age = 0 if endless else reader.term(1)  # nil, which is None, is no age
    elif reader.body[:5] == b"\x74\x00\x00\x00\x02":
        reader.at = 5
        members = {reader.atom_key(_MEMBERS): reader.term(1) for _ in _MEMBERS}
        if len(members) != len(_MEMBERS):
            malformed("a map has a key twice")
        content, signed_at = members["data"], members["signed"]
    else:
        malformed("it is not a token of Plug.Crypto")
    reader.end()
    if type(max_age) is not int:
        malformed("its age is not a number")
    if type(signed_at) is not int:
        malformed("its time is not a number")
    return content, signed_at, None if endless else max_age


def write_token(content: Any, signed_at: int, max_age: int) -> bytes:
    """What `read_token` and `Plug.Crypto` read. Raises `UnsupportedValue`, as `write` does."""
    tail = _written_int(signed_at, "") + _written_int(max_age, "")
    return b"".join((bytes((_VERSION,)), b"\x68\x03", write(content)[1:], tail))


DEFAULT_AGE = 86400
"""Seconds that a token lives which does not say how many."""

_MEMBERS = frozenset({b"data", b"signed"})
_INFINITY = (b"\x64\x00\x08infinity", b"\x77\x08infinity")


def _reader(document: bytes, atom_keys: Collection[str]) -> _Reader:
    if document[:1] != bytes((_VERSION,)):
        malformed("it does not begin as a term")
    body = document[1:]
    if body[:1] == bytes((_COMPRESSED,)):
        body = _inflate(body[1:])
    return _Reader(body, frozenset(key.encode() for key in atom_keys))


def _inflate(packed: bytes) -> bytes:
    """The term that zlib packed, of exactly the length that is said before it, and no more than `MAX_INFLATED`."""
    if len(packed) < 4:
        malformed("a compressed term has no length")
    (size,) = struct.unpack_from(">I", packed)
    if size > MAX_INFLATED:
        raise InvalidToken("too_large", f"more than {MAX_INFLATED} bytes uncompressed")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed[4:], size + 1)
    except zlib.error:
        malformed("not zlib")
    if len(plain) != size or not inflater.eof or inflater.unused_data:
        malformed("a compressed term does not have its length")
    return plain


class _Reader:
    """Walks through the bytes of a term. `at` is where it stands."""

    def __init__(self, body: bytes, atom_keys: frozenset[bytes]) -> None:
        self.body = body
        self.at = 0
        self._atom_keys = atom_keys

    def term(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            malformed(f"more than {MAX_DEPTH} levels")
        tag = self._number(1)
        if tag in _ATOM_SIZES:
            return self._atom(tag)
        if tag == 109:
            return self._binary()
        if tag in (108, 116):
            return self._list(depth) if tag == 108 else self._map(depth)
        if tag == 106:
            return []
        if tag == 107:
            return list(self._take(self._number(2)))
        return self._numeric(tag)

    def end(self) -> None:
        if self.at != len(self.body):
            malformed("something follows the term")

    def _numeric(self, tag: int) -> int | float:
        if tag == 97:
            return self._number(1)
        if tag == 98:
            return int.from_bytes(self._take(4), "big", signed=True)
        if tag in (110, 111):
            return self._big(self._number(1 if tag == 110 else 4))
        if tag == 70:
            number: float = struct.unpack(">d", self._take(8))[0]
            if number - number != 0:
                malformed("a float is not finite")
            return number
        if tag not in _UNSAFE:
            malformed("not a term")
        raise InvalidToken("unsafe", f"it has {_UNSAFE[tag]} in it; keep plain data in the session")

    def _atom(self, tag: int) -> Any:
        name = self._take(self._number(_ATOM_SIZES[tag]))
        if name not in _ATOMS:
            raise InvalidToken("unsafe", "it has an atom in it beside nil, true and false; keep text in the session")
        return _ATOMS[name]

    def _binary(self) -> str | bytes:
        raw = self._take(self._number(4))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    def _big(self, digits: int) -> int:
        if not 0 < digits <= _BIG_DIGITS:
            malformed(f"an integer has no digits, or more than {_BIG_DIGITS} bytes")
        sign = self._number(1)
        magnitude = int.from_bytes(self._take(digits), "little")
        if sign > 1:
            malformed("an integer has no sign")
        return -magnitude if sign else magnitude

    def _list(self, depth: int) -> list[Any]:
        count = self._count(1)
        items = [self.term(depth + 1) for _ in range(count)]
        if self._number(1) != 106:
            raise InvalidToken("unsafe", "it has an improper list in it; keep plain data in the session")
        return items

    def _map(self, depth: int) -> dict[str, Any]:
        count = self._count(2)
        items = {}
        for _ in range(count):
            key = self._key()
            items[key] = self.term(depth + 1)
        if len(items) != count:
            malformed("a map has a key twice")
        return items

    def skip(self, endings: Collection[bytes]) -> bool:
        """Whether all that is left is one of these bytes; if so, go to the end."""
        found = self.body[self.at :] in endings
        if found:
            self.at = len(self.body)
        return found

    def atom_key(self, names: Collection[bytes]) -> str:
        """A key of a map that is one of these atoms."""
        tag = self._number(1)
        if tag not in _ATOM_SIZES:
            malformed("it is not a token of Plug.Crypto")
        name = self._take(self._number(_ATOM_SIZES[tag]))
        if name not in names:
            raise InvalidToken("unsafe", "an atom is a key of the token itself, beside data and signed")
        return name.decode()

    def _key(self) -> str:
        tag = self._number(1)
        if tag in _ATOM_SIZES:
            name = self._take(self._number(_ATOM_SIZES[tag]))
            if name not in self._atom_keys:
                raise InvalidToken("unsafe", "a key is an atom; name it in atom_keys=[…] where it may be one")
            return name.decode()
        key = self._binary() if tag == 109 else b""
        if not isinstance(key, str):
            malformed("a key is not text")
        return key

    def _count(self, shortest: int) -> int:
        """A number of items, each of which takes bytes: no more of them than there can be."""
        count = self._number(4)
        if count * shortest > len(self.body) - self.at:
            malformed("more items than bytes")
        return count

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, size: int) -> bytes:
        taken = self.body[self.at : self.at + size]
        if len(taken) != size:
            malformed("it ends too early")
        self.at += size
        return taken


_ATOM_SIZES = {100: 2, 115: 1, 118: 2, 119: 1}
"""Tags of atoms, old and new, with the bytes of their lengths."""

_UNSAFE = {
    **dict.fromkeys((104, 105), "a tuple"),
    **dict.fromkeys((112, 113, 117), "a function"),
    **dict.fromkeys((88, 103, 89, 102, 120), "a process or a port"),
    **dict.fromkeys((90, 101, 114), "a reference"),
    77: "a bit string",
    82: "an atom of a cache",
    99: "a float of the old form",
}


def write(value: Any) -> bytes:
    """The term that `read` and Erlang read. Raises `UnsupportedValue` for what would not come back equal.

    Those are bytes that are UTF-8 (they would be text), floats that are not finite, and integers of more than 128 bytes.
    """
    check_plain(value, finite=True, wide=True)
    return b"".join((bytes((_VERSION,)), *_written(value, "")))


def _written(value: Any, path: str) -> list[bytes]:
    kind = type(value)
    if value is None or kind is bool:
        name = {None: b"nil", True: b"true", False: b"false"}[value]
        return [struct.pack(">BH", 100, len(name)), name]
    if kind is int:
        return [_written_int(value, path)]
    if kind is float:
        return [struct.pack(">Bd", 70, value)]
    if kind is dict:
        parts = [struct.pack(">BI", 116, len(value))]
        for key, item in value.items():
            parts += [*_written(key, path), *_written(item, f"{path}.{key}" if path else key)]
        return parts
    if kind is list:
        if not value:
            return [b"\x6a"]
        parts = [struct.pack(">BI", 108, len(value))]
        for index, item in enumerate(value):
            parts += _written(item, f"{path}[{index}]")
        return [*parts, b"\x6a"]
    raw = value.encode() if kind is str else value
    if kind is bytes and is_utf8(raw):
        raise UnsupportedValue(
            path or "(root)", "bytes", "Elixir does not tell bytes that are UTF-8 from text; use a str"
        )
    return [struct.pack(">BI", 109, len(raw)), raw]


def _written_int(value: int, path: str) -> bytes:
    if 0 <= value < 256:
        return bytes((97, value))
    if -(1 << 31) <= value < 1 << 31:
        return struct.pack(">Bi", 98, value)
    magnitude = abs(value)
    digits = (magnitude.bit_length() + 7) // 8
    if digits > _BIG_DIGITS:
        raise UnsupportedValue(path or "(root)", "int", f"it takes more than {_BIG_DIGITS} bytes")
    return bytes((110, digits, value < 0)) + magnitude.to_bytes(digits, "little")

"""Sereal documents (protocols 1 to 5) to and from plain data: hashes, arrays, text, numbers, booleans and undef.

The format: github.com/Sereal/Sereal, sereal_spec.pod. Objects, code, regular expressions, references to scalars and
structures that contain themselves are refused, each with its own reason. A Perl string without the UTF-8 flag is read
as Latin-1 text, because Perl does not know which of them are bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from hardtack.errors import InvalidToken
from hardtack.foreign.base import check_plain, malformed
from hardtack.foreign.perl import snappy
from hardtack.foreign.perl.reader import DECODER_ERRORS, ITEM, JSON_BOOLEAN, LIMIT, Reader, truncated
from hardtack.values import MAX_DEPTH

_MAGIC: Final = b"=\xf3rl"
_MAGIC_OLD: Final = b"=srl"  # protocols 1 and 2

# The tags, each a constant of its own: the compiler has no other.
_VARINT: Final = 0x20
_ZIGZAG: Final = 0x21
_FLOAT: Final = 0x22
_DOUBLE: Final = 0x23
_UNDEF: Final = 0x25
_BINARY: Final = 0x26
_UTF8: Final = 0x27
_REFN: Final = 0x28
_REFP: Final = 0x29
_HASH: Final = 0x2A
_ARRAY: Final = 0x2B
_OBJECT: Final = 0x2C
_OBJECTV: Final = 0x2D
_ALIAS: Final = 0x2E
_COPY: Final = 0x2F
_WEAKEN: Final = 0x30
_REGEXP: Final = 0x31
_FREEZE: Final = 0x32
_FREEZEV: Final = 0x33
_NO: Final = 0x34
_YES: Final = 0x35
_CANONICAL_UNDEF: Final = 0x39
_FALSE: Final = 0x3A
_TRUE: Final = 0x3B
_PAD: Final = 0x3F
_ARRAYREF: Final = 0x40
_HASHREF: Final = 0x50
_SHORT: Final = 0x60
_TRACK: Final = 0x80

_CONSTANTS: Final = {_UNDEF: None, _CANONICAL_UNDEF: None, _FALSE: False, _TRUE: True, _NO: False, _YES: True}
_UNPACK_DOUBLE: Final = struct.Struct("<d").unpack_from
_FLOATS: Final = {_FLOAT: struct.Struct("<f"), _DOUBLE: struct.Struct("<d")}
_REFUSED: Final = {
    _WEAKEN: "weak",
    _REGEXP: "regexp",
    _FREEZE: "hook",
    _FREEZEV: "hook",
}


def read(document: bytes, *, limit: int = LIMIT) -> dict[str, Any]:
    """The hash that a document holds; raises nothing but `InvalidToken`."""
    try:
        body, shift = _open(document, limit)
        reader = _Sereal(body, limit, shift)
        data = reader.value(1)
    except (*DECODER_ERRORS, struct.error):
        malformed("the Sereal document is damaged")
    if type(data) is not dict:
        malformed("the Sereal document does not hold a hash")
    if reader.pos != len(body):
        malformed("something follows the Sereal document")
    return data


def _open(document: bytes, limit: int) -> tuple[bytes, int]:
    """The body, uncompressed, and how far offsets count before its first byte."""
    version, encoding = document[4] & 15, document[4] >> 4
    if document[:4] != (_MAGIC_OLD if version < 3 else _MAGIC) or not 1 <= version <= 5:
        malformed("not a Sereal document of protocol 1 to 5")
    suffix, pos = _varint(document, 5)
    pos += suffix
    if pos > len(document):
        truncated()
    shift = pos if version == 1 else 1
    if encoding == 0:
        if len(document) - pos > limit:
            raise InvalidToken("too_large", "it is larger than a session may be")
        return document[pos:], shift
    if encoding == 1 and version == 1:
        return snappy.decompress(document[pos:], limit), shift
    if encoding == 2:
        block = _rest(document, pos)
        return snappy.decompress(block, limit), shift
    if encoding == 3 and version >= 3:
        size, pos = _varint(document, pos)
        return _inflate(_rest(document, pos), size, limit), shift
    raise InvalidToken("unsupported", "a compression other than Snappy and zlib")


def _rest(document: bytes, pos: int) -> bytes:
    length, pos = _varint(document, pos)
    if length != len(document) - pos:
        malformed("the compressed document does not have its length")
    return document[pos:]


def _inflate(block: bytes, size: int, limit: int) -> bytes:
    if size > limit:
        raise InvalidToken("too_large", "it is larger than a session may be")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(block, size + 1)
    except zlib.error:
        malformed("the zlib block is damaged")
    if len(plain) != size or not inflater.eof or inflater.unused_data:
        malformed("the zlib block does not have its length")
    return plain


def _varint(raw: bytes, pos: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = raw[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, pos
        shift += 7
    raise InvalidToken("malformed", "a number has more than 64 bits")


class _Sereal(Reader):
    """Reads one body. `values` and `referents` hold, by its place, what is finished and may be pointed to later."""

    __slots__ = ("copying", "keys", "open", "referents", "shift", "text", "values")

    def __init__(self, body: bytes, limit: int, shift: int) -> None:
        super().__init__(body, limit)
        self.text = body.decode("latin-1")
        self.keys: dict[int, str] = {}  # short keys that were copied before, by their offset
        self.shift = shift
        self.values: dict[int, Any] = {}
        self.referents: dict[int, Any] = {}
        self.open: set[int] = set()
        self.copying = False

    def value(self, depth: int) -> Any:
        """The next item."""
        tag = self.body[self.pos]
        self.pos += 1
        return _READERS[tag](self, tag, depth)

    def tracked(self, tag: int, depth: int) -> Any:
        """An item that something later points to."""
        place = self.pos - 1
        tag &= 0x7F
        if self.copying:  # nothing points into a copy
            return _READERS[tag](self, tag, depth)
        result: Any
        if tag >= _HASHREF and tag < _SHORT:
            # One byte is both the hash, for another reference, and the reference to it, for an alias.
            result = self.values[place] = self._hash(tag - _HASHREF, depth, place)
            return result
        if tag >= _ARRAYREF and tag < _HASHREF:
            result = self.values[place] = self._array(tag - _ARRAYREF, depth, place)
            return result
        self.open.add(place)
        result = self.values[place] = _READERS[tag](self, tag, depth)
        self.open.discard(place)
        return result

    def short(self, tag: int, depth: int) -> str:
        return self.take(tag - _SHORT).decode("latin-1")

    def small(self, tag: int, depth: int) -> int:
        return tag if tag < 0x10 else tag - 0x20

    def varint(self, tag: int, depth: int) -> int:
        return self._number()

    def zigzag(self, tag: int, depth: int) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)

    def float_(self, tag: int, depth: int) -> float:
        number: float = _FLOATS[tag].unpack(self.take(_FLOATS[tag].size))[0]
        return number

    def constant(self, tag: int, depth: int) -> bool | None:
        return _CONSTANTS[tag]

    def binary(self, tag: int, depth: int) -> str:
        return self.take(self._number()).decode("latin-1")

    def utf8(self, tag: int, depth: int) -> str:
        return self.take(self._number()).decode()

    def reference(self, tag: int, depth: int) -> Any:
        place, tag = self._tag()
        track = place if tag & _TRACK else None
        if tag & 0x7F == _HASH:
            return self._hash(self._number(), depth, track)
        if tag & 0x7F == _ARRAY:
            return self._array(self._number(), depth, track)
        if tag & 0x7F in (_OBJECT, _OBJECTV, _FREEZE, _FREEZEV):
            raise InvalidToken("object", "a reference to an object")
        raise InvalidToken("reference", "a reference to something other than a hash or an array")

    def referent(self, tag: int, depth: int) -> Any:
        return self._again(self.referents, depth)

    def alias(self, tag: int, depth: int) -> Any:
        return self._again(self.values, depth)

    def hash_reference(self, tag: int, depth: int) -> dict[str, Any]:
        return self._pairs(tag - _HASHREF, depth)

    def array_reference(self, tag: int, depth: int) -> list[Any]:
        return self._array(tag - _ARRAYREF, depth, None)

    def padding(self, tag: int, depth: int) -> Any:
        self.pos, _ = self._tag()
        return self.value(depth)

    def refused(self, tag: int, depth: int) -> None:
        if tag in (_HASH, _ARRAY):
            malformed("a hash or array stands where a reference should")
        raise InvalidToken(_REFUSED.get(tag, "unsupported"), f"Sereal tag {tag:#04x}")

    def _tag(self) -> tuple[int, int]:
        """The place and the tag of the next item, padding skipped."""
        while True:
            place = self.pos
            tag = self.body[place]
            self.pos = place + 1
            if tag & 0x7F != _PAD:
                return place, tag & 0x7F if self.copying else tag

    def _number(self) -> int:
        byte = self.body[self.pos]
        if byte < 0x80:
            self.pos += 1
            return byte
        number, self.pos = _varint(self.body, self.pos)
        return number

    def _offset(self) -> int:
        place = self.pos - 1
        offset = self._number() - self.shift
        if not 0 <= offset < place:
            malformed("an offset does not point back")
        return offset

    # A session is mostly short text and small numbers, in hashes whose keys repeat. `_pairs` and `_array` read these by
    # themselves and leave the rest to `_READERS` and `_text`: a cookie then takes a third of the time.

    def _hash(self, count: int, depth: int, track: int | None) -> dict[str, Any]:
        if track is None:
            return self._pairs(count, depth)
        self.open.add(track)
        result = self._pairs(count, depth)
        self._finish(track, result)
        return result

    def _pairs(self, count: int, depth: int) -> dict[str, Any]:
        self.left -= ITEM * (2 * count + 1)
        if self.left < 0 or depth > MAX_DEPTH:
            self.enter(0, depth)
        body, text, pos, keys = self.body, self.text, self.pos, self.keys
        result: dict[str, Any] = {}
        for _ in range(count):
            tag = body[pos]
            if _SHORT <= tag < _TRACK:
                end = pos + tag - _SHORT + 1
                key = text[pos + 1 : end]
                pos = end
            else:
                offset = body[pos + 1]
                end = pos + 2
                if offset >= 0x80:
                    offset += (body[end] - 1) << 7
                    end += 1
                known = keys.get(offset) if tag == _COPY and offset < 1 << 14 else None  # a longer one has three bytes
                if known is not None:
                    key = known
                    pos = end
                else:
                    self.pos = pos
                    key = self._text()
                    pos = self.pos
            tag = body[pos]
            if _SHORT <= tag < _TRACK:
                end = pos + tag - _SHORT + 1
                result[key] = text[pos + 1 : end]
                pos = end
            elif tag < 0x10:
                result[key] = tag
                pos += 1
            elif tag == _BINARY and body[pos + 1] < 0x80:
                end = pos + body[pos + 1] + 2
                result[key] = text[pos + 2 : end]
                pos = end
            elif tag == _DOUBLE:
                result[key] = _UNPACK_DOUBLE(body, pos + 1)[0]
                pos += 9
            elif tag == _VARINT and body[pos + 1] >= 0x80 > body[pos + 2]:
                result[key] = body[pos + 1] & 0x7F | body[pos + 2] << 7
                pos += 3
            elif _HASHREF <= tag < _SHORT:
                self.pos = pos + 1
                result[key] = self._pairs(tag - _HASHREF, depth + 1)
                pos = self.pos
            else:
                self.pos = pos + 1
                result[key] = _READERS[tag](self, tag, depth + 1)
                pos = self.pos
        self.pos = pos
        return result

    def _array(self, count: int, depth: int, track: int | None) -> list[Any]:
        self.enter(count, depth)
        if track is not None:
            self.open.add(track)
        body, text, pos = self.body, self.text, self.pos
        result: list[Any] = []
        for _ in range(count):
            tag = body[pos]
            if _SHORT <= tag < _TRACK:
                end = pos + tag - _SHORT + 1
                result.append(text[pos + 1 : end])
                pos = end
            else:
                self.pos = pos + 1
                result.append(_READERS[tag](self, tag, depth + 1))
                pos = self.pos
        self.pos = pos
        if track is not None:
            self._finish(track, result)
        return result

    def _finish(self, track: int, result: Any) -> None:
        self.open.discard(track)
        self.referents[track] = result

    def _text(self) -> str:
        """A hash key or the name of a class."""
        _, tag = self._tag()
        if tag & 0x7F == _COPY:
            return self._text_again()
        return self._plain_text(tag & 0x7F)

    def _text_again(self) -> str:
        """Text that is pointed to."""
        offset = self._offset()
        back, self.pos = self.pos, offset
        _, tag = self._tag()
        text = self._plain_text(tag & 0x7F)
        self.pos = back
        self.pay(len(text))
        if len(text) < ITEM:
            self.keys[offset + self.shift] = text
        return text

    def _plain_text(self, kind: int) -> str:
        if kind >= _SHORT:
            return self.take(kind - _SHORT).decode("latin-1")
        if kind == _BINARY:
            return self.take(self._number()).decode("latin-1")
        if kind == _UTF8:
            return self.take(self._number()).decode()
        raise InvalidToken("malformed", "a hash key is not text")

    def copy(self, tag: int, depth: int) -> Any:
        if self.copying:
            malformed("a copy inside a copy")
        before = self.pos - 1
        offset = self._offset()
        back, self.pos, self.copying = self.pos, offset, True
        result = self.value(depth)
        if self.pos > before:
            malformed("a copy of something unfinished")
        self.pay(self.pos - offset)
        self.pos, self.copying = back, False
        return result

    def _again(self, finished: dict[int, Any], depth: int) -> Any:
        """What was read before, for an alias or a second reference."""
        offset = self._offset()
        if offset in finished:
            return self.repeat(finished[offset], depth)
        if offset in self.open:
            raise InvalidToken("cycle", "it contains itself")
        if offset in self.values:
            raise InvalidToken("reference", "a reference to a scalar")
        raise InvalidToken("malformed", "an offset points to nothing")

    def boolean(self, tag: int, depth: int) -> bool:
        """An object: `JSON::PP::Boolean` is a bool, every other class is refused."""
        name = self._text() if tag == _OBJECT else self._text_again()
        if name == JSON_BOOLEAN:
            _, reference = self._tag()
            place, content = self._tag()
            if reference == _REFN and content & 0x7F in (0, 1):
                result = content & 0x7F == 1
                if content & _TRACK:
                    self.referents[place] = result
                return result
        raise InvalidToken("object", "an object of some class")


_Read = Callable[[_Sereal, int, int], Any]

_OTHERS: Final[dict[int, _Read]] = {
    _VARINT: _Sereal.varint,
    _ZIGZAG: _Sereal.zigzag,
    _FLOAT: _Sereal.float_,
    _DOUBLE: _Sereal.float_,
    _BINARY: _Sereal.binary,
    _UTF8: _Sereal.utf8,
    _REFN: _Sereal.reference,
    _REFP: _Sereal.referent,
    _ALIAS: _Sereal.alias,
    _COPY: _Sereal.copy,
    _OBJECT: _Sereal.boolean,
    _OBJECTV: _Sereal.boolean,
    _PAD: _Sereal.padding,
}


def _reader(tag: int) -> _Read:
    if tag >= _TRACK:
        return _Sereal.tracked
    if tag >= _SHORT:
        return _Sereal.short
    if tag >= _HASHREF:
        return _Sereal.hash_reference
    if tag >= _ARRAYREF:
        return _Sereal.array_reference
    if tag < _VARINT:
        return _Sereal.small
    if tag in _CONSTANTS:
        return _Sereal.constant
    return _OTHERS.get(tag, _Sereal.refused)


_READERS: Final = [_reader(tag) for tag in range(256)]


# --- writing


def write(data: dict[str, Any]) -> bytes:
    """A document of protocol 5, not compressed, that every Sereal 5 reads; raises `UnsupportedValue`.

    Text comes back as text, bytes as Latin-1 text, True and False as Perl's booleans (1 and '' before Perl 5.36).
    """
    out = bytearray(_MAGIC + b"\x05\x00\x28\x2a")
    _write_varint(out, len(data))
    try:
        _write_hash(out, data, 1)
    except (_UnwritableError, UnicodeEncodeError):
        check_plain(data)  # finds out what and where it is
        raise  # pragma: no cover - check_plain refuses whatever the writer does
    return bytes(out)


class _UnwritableError(Exception):
    """A value that Sereal, or this module, cannot carry."""


def _write_hash(out: bytearray, data: dict[str, Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _UnwritableError
    for key, item in data.items():
        if type(key) is not str:
            raise _UnwritableError
        if len(key) < 32:
            out += _short_key(key)
        else:
            _write_text(out, key)
        kind = type(item)
        if kind is str:
            size = len(item)
            if size < 32 and item.isascii():
                out.append(_SHORT + size)
                out += item.encode()
            else:
                _write_text(out, item)
        elif kind is int:
            _write_int(out, item)
        else:
            _write(out, item, depth)


@lru_cache(1024)
def _short_key(key: str) -> bytes:
    """A short key as it is written: sessions have the same keys again and again."""
    out = bytearray()
    _write_text(out, key)
    return bytes(out)


def _write(out: bytearray, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        _write_text(out, value)
    elif kind is int:
        _write_int(out, value)
    elif kind is dict:
        _write_head(out, _HASHREF, _HASH, len(value))
        _write_hash(out, value, depth + 1)
    elif kind is list:
        if depth >= MAX_DEPTH:
            raise _UnwritableError
        _write_head(out, _ARRAYREF, _ARRAY, len(value))
        for item in value:
            _write(out, item, depth + 1)
    elif kind is float:
        out.append(_DOUBLE)
        out += struct.pack("<d", value)
    elif kind is bytes:
        _write_binary(out, value)
    elif value is None or kind is bool:
        out.append(_UNDEF if value is None else _YES if value else _NO)
    else:
        raise _UnwritableError


def _write_text(out: bytearray, text: str) -> None:
    raw = text.encode()
    if len(raw) == len(text):
        _write_binary(out, raw)
    else:
        out.append(_UTF8)
        _write_varint(out, len(raw))
        out += raw


def _write_binary(out: bytearray, raw: bytes) -> None:
    size = len(raw)
    if size < 32:
        out.append(_SHORT + size)
    else:
        out.append(_BINARY)
        _write_varint(out, size)
    out += raw


def _write_int(out: bytearray, value: int) -> None:
    if 0 <= value < 16:
        out.append(value)
    elif 0 < value < 1 << 64:
        out.append(_VARINT)
        _write_varint(out, value)
    elif -(1 << 63) <= value < 0:
        if value >= -16:
            out.append(value + 32)
        else:
            out.append(_ZIGZAG)
            _write_varint(out, -2 * value - 1)
    else:
        raise _UnwritableError


def _write_head(out: bytearray, short: int, long: int, count: int) -> None:
    if count < 16:
        out.append(short + count)
    else:
        out += bytes((_REFN, long))
        _write_varint(out, count)


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)

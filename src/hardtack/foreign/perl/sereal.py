"""Sereal documents (protocols 1 to 5) to and from plain data: hashes, arrays, text, numbers, booleans and undef.

The format: github.com/Sereal/Sereal, sereal_spec.pod. Objects, code, regular expressions, references to scalars and
structures that contain themselves are refused, each with its own reason. A Perl string without the UTF-8 flag is read
as Latin-1 text, because Perl does not know which of them are bytes.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

from hardtack.errors import InvalidToken
from hardtack.foreign.base import check_plain, malformed
from hardtack.foreign.perl import snappy
from hardtack.foreign.perl.reader import DECODER_ERRORS, ITEM, JSON_BOOLEAN, LIMIT, Reader, truncated
from hardtack.values import MAX_DEPTH

_MAGIC = b"=\xf3rl"
_MAGIC_OLD = b"=srl"  # protocols 1 and 2

_VARINT, _ZIGZAG, _FLOAT, _DOUBLE, _LONG_DOUBLE, _UNDEF, _BINARY, _UTF8 = range(0x20, 0x28)
_REFN, _REFP, _HASH, _ARRAY, _OBJECT, _OBJECTV, _ALIAS, _COPY = range(0x28, 0x30)
_WEAKEN, _REGEXP, _FREEZE, _FREEZEV, _NO, _YES = range(0x30, 0x36)
_CANONICAL_UNDEF, _FALSE, _TRUE = 0x39, 0x3A, 0x3B
_PAD, _ARRAYREF, _HASHREF, _SHORT = 0x3F, 0x40, 0x50, 0x60
_TRACK = 0x80

_CONSTANTS = {_UNDEF: None, _CANONICAL_UNDEF: None, _FALSE: False, _TRUE: True, _NO: False, _YES: True}
_REFUSED = {
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
    except DECODER_ERRORS:
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
        place, tag = self._tag()
        kind = tag & 0x7F
        if kind >= _ARRAYREF:
            if kind >= _SHORT:
                result: Any = self.take(kind - _SHORT).decode("latin-1")
            else:
                read = self._array if kind < _HASHREF else self._hash
                return read(kind & 15, depth, place if tag & _TRACK else None)
        elif kind < 0x20:
            result = kind if kind < 0x10 else kind - 0x20
        else:
            if tag & _TRACK:
                self.open.add(place)
            result = self._other(kind, depth)
        if tag & _TRACK:
            self.open.discard(place)
            self.values[place] = result
        return result

    def _tag(self) -> tuple[int, int]:
        """The place and the tag of the next item, padding skipped."""
        while True:
            place = self.pos
            tag = self.body[place]
            self.pos = place + 1
            if tag & 0x7F != _PAD:
                return place, tag & 0x7F if self.copying else tag  # nothing points into a copy

    def _other(self, kind: int, depth: int) -> Any:  # noqa: C901 - one line for each tag
        if kind == _VARINT:
            return self._number()
        if kind == _ZIGZAG:
            number = self._number()
            return number >> 1 ^ -(number & 1)
        if kind == _BINARY:
            return self.take(self._number()).decode("latin-1")
        if kind == _UTF8:
            return self.take(self._number()).decode()
        if kind == _REFN:
            return self._reference(depth)
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == _DOUBLE:
            return struct.unpack("<d", self.take(8))[0]
        if kind == _FLOAT:
            return struct.unpack("<f", self.take(4))[0]
        if kind == _COPY:
            return self._copy(depth)
        if kind == _ALIAS:
            return self._again(self.values, depth)
        if kind == _REFP:
            return self._again(self.referents, depth)
        if kind in (_OBJECT, _OBJECTV):
            return self._boolean(kind)
        return self._refuse(kind)

    def _refuse(self, kind: int) -> None:
        if kind in (_HASH, _ARRAY):
            malformed("a hash or array stands where a reference should")
        raise InvalidToken(_REFUSED.get(kind, "unsupported"), f"Sereal tag {kind:#04x}")

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

    def _reference(self, depth: int) -> Any:
        place, tag = self._tag()
        track = place if tag & _TRACK else None
        if tag & 0x7F == _HASH:
            return self._hash(self._number(), depth, track)
        if tag & 0x7F == _ARRAY:
            return self._array(self._number(), depth, track)
        if tag & 0x7F in (_OBJECT, _OBJECTV, _FREEZE, _FREEZEV):
            raise InvalidToken("object", "a reference to an object")
        raise InvalidToken("reference", "a reference to something other than a hash or an array")

    # A session is mostly short text and small numbers, in hashes whose keys repeat. `_hash` and `_array` read these by
    # themselves and leave the rest to `value` and `_text`: a cookie then takes a third of the time.

    def _hash(self, count: int, depth: int, track: int | None) -> dict[str, Any]:
        self.left -= ITEM * (2 * count + 1)
        if self.left < 0 or depth > MAX_DEPTH:
            self.enter(0, depth)
        if track is not None:
            self.open.add(track)
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
                if tag == _COPY and offset in keys and offset < 1 << 14:  # a longer offset has three bytes
                    key = keys[offset]
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
            elif tag == _VARINT and body[pos + 1] >= 0x80 > body[pos + 2]:
                result[key] = body[pos + 1] & 0x7F | body[pos + 2] << 7
                pos += 3
            else:
                self.pos = pos
                result[key] = self.value(depth + 1)
                pos = self.pos
        self.pos = pos
        if track is not None:
            self._finish(track, result)
        return result

    def _array(self, count: int, depth: int, track: int | None) -> list[Any]:
        self.enter(count, depth)
        if track is not None:
            self.open.add(track)
        body, text = self.body, self.text
        result: list[Any] = []
        for _ in range(count):
            pos = self.pos
            tag = body[pos]
            if _SHORT <= tag < _TRACK:
                self.pos = end = pos + tag - _SHORT + 1
                result.append(text[pos + 1 : end])
            elif _HASHREF <= tag < _SHORT:
                self.pos = pos + 1
                result.append(self._hash(tag - _HASHREF, depth + 1, None))
            else:
                result.append(self.value(depth + 1))
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

    def _copy(self, depth: int) -> Any:
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

    def _boolean(self, kind: int) -> bool:
        """An object: `JSON::PP::Boolean` is a bool, every other class is refused."""
        name = self._text() if kind == _OBJECT else self._text_again()
        if name == JSON_BOOLEAN:
            _, tag = self._tag()
            place, content = self._tag()
            if tag == _REFN and content & 0x7F in (0, 1):
                result = content & 0x7F == 1
                if content & _TRACK:
                    self.referents[place] = result
                return result
        raise InvalidToken("object", "an object of some class")


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
        size = len(key)
        if size < 32 and key.isascii():
            out.append(_SHORT + size)
            out += key.encode()
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

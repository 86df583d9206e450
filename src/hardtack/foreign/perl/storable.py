"""Storable images (`freeze`, `nfreeze`) to and from plain data: hashes, arrays, text, numbers, booleans and undef.

The format: Storable.xs of perl. Objects, hooks, code, regular expressions, tied and restricted hashes, references to
scalars and structures that contain themselves are refused, each with its own reason. A Perl string without the UTF-8
flag is read as Latin-1 text, because Perl does not know which of them are bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any

from hardtack.errors import InvalidToken
from hardtack.foreign.base import check_plain, malformed
from hardtack.foreign.perl.reader import DECODER_ERRORS, JSON_BOOLEAN, LIMIT, Reader

_NATIVE = b"\x0812345678\x04\x08\x08\x08"  # byte order, sizes of int, long, pointer and double: 64 bits, little-endian
_MINOR = 12  # Storable 3.27 and later; 3.0 to 3.26 write 11

_OBJECT, _LSCALAR, _ARRAY, _HASH, _REF, _UNDEF, _INTEGER, _DOUBLE, _BYTE, _NETINT, _SCALAR = range(11)
_SV_UNDEF, _SV_YES, _SV_NO, _BLESS, _IX_BLESS, _HOOK, _OVERLOAD = range(14, 21)
_UTF8STR, _LUTF8STR, _FLAG_HASH = 23, 24, 25
_SVUNDEF_ELEM, _BOOLEAN_TRUE, _BOOLEAN_FALSE = 31, 34, 35

_CONSTANTS = {
    _UNDEF: None,
    _SV_UNDEF: None,
    _SVUNDEF_ELEM: None,
    _SV_YES: True,
    _SV_NO: False,
    _BOOLEAN_TRUE: True,
    _BOOLEAN_FALSE: False,
}
_REFUSED = {
    11: "tied",
    12: "tied",
    13: "tied",
    _BLESS: "object",
    _IX_BLESS: "object",
    _HOOK: "hook",
    21: "tied",
    22: "tied",
    26: "code",
    27: "weak",
    28: "weak",
    29: "vstring",
    30: "vstring",
    32: "regexp",
    33: "too_large",
}
_KEY_IS_UTF8, _KEY_WAS_UTF8 = 1, 2
_OPEN = object()  # an item that is being read: whatever points to it closes a cycle


class _Referent:
    """A hash, an array or the scalar of an object, which only a reference can point to."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def read(image: bytes, *, classes: Collection[str] = (), limit: int = LIMIT) -> dict[str, Any]:
    """The hash that an image holds; raises nothing but `InvalidToken`.

    `classes` may name the class that the outermost hash is blessed into; it is read as the plain hash that it is.
    """
    return read_root(image, classes, limit)[0]


def read_root(image: bytes, classes: Collection[str], limit: int = LIMIT) -> tuple[dict[str, Any], str | None]:
    """What `read` returns, and the one of `classes` that the outermost hash is blessed into, or None."""
    if len(image) > limit:
        raise InvalidToken("too_large", "it is larger than a session may be")
    try:
        reader = _Storable(image, limit)
        data, blessed = reader.root(classes)
    except DECODER_ERRORS:
        malformed("the Storable image is damaged")
    if reader.pos != len(image):
        malformed("something follows the Storable image")
    return data, blessed


class _Storable(Reader):
    """Reads one image. `seen` holds the items in the order in which Storable numbers them."""

    __slots__ = ("classes", "network", "seen")

    def __init__(self, image: bytes, limit: int) -> None:
        super().__init__(image, limit)
        self.network = image[0] == 0x05
        self.seen: list[Any] = []
        self.classes: list[str] = []
        self.pos = 2
        if image[0] not in (0x04, 0x05) or image[1] > _MINOR:
            malformed("not a Storable image of major version 2")
        if not self.network and self.take(len(_NATIVE)) != _NATIVE:
            malformed("a Storable image of another architecture")

    def root(self, classes: Collection[str]) -> tuple[dict[str, Any], str | None]:
        blessed = None
        kind = self._kind()
        if kind == _BLESS:
            blessed = self._class()
            if blessed not in classes:
                raise InvalidToken("object", "an object of some class")
            kind = self._kind()
        result = self._container(kind, 1)
        if type(result) is not dict:
            malformed("the Storable image does not hold a hash")
        return result, blessed

    def value(self, depth: int) -> Any:
        """The next item that can stand in a hash or an array."""
        kind = self._kind()
        if kind == _OBJECT:
            return self._again(depth, referent=False)
        number = len(self.seen)
        self.seen.append(_OPEN)
        result = self._reference(depth) if kind in (_REF, _OVERLOAD) else self._scalar(kind)
        self.seen[number] = result
        return result

    def _kind(self) -> int:
        kind = self.body[self.pos]
        self.pos += 1
        return kind

    def _scalar(self, kind: int) -> Any:
        if kind == _SCALAR:
            return self.take(self._byte()).decode("latin-1")
        if kind == _UTF8STR:
            return self.take(self._byte()).decode()
        if kind == _BYTE:
            return self._byte() - 128
        if kind == _INTEGER:
            return int.from_bytes(self.take(8), self._order(), signed=True)
        if kind == _NETINT:
            return int.from_bytes(self.take(4), "big", signed=True)
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == _DOUBLE:
            return struct.unpack(">d" if self.network else "<d", self.take(8))[0]
        if kind == _LSCALAR:
            return self.take(self._length()).decode("latin-1")
        if kind == _LUTF8STR:
            return self.take(self._length()).decode()
        if kind in (_ARRAY, _HASH, _FLAG_HASH):
            malformed("a hash or array stands where a reference should")
        raise InvalidToken(_REFUSED.get(kind, "unsupported"), f"Storable type {kind}")

    def _byte(self) -> int:
        byte = self.body[self.pos]
        self.pos += 1
        return byte

    def _order(self) -> Any:
        return "big" if self.network else "little"

    def _length(self) -> int:
        length = int.from_bytes(self.take(4), self._order(), signed=True)
        if length < 0:
            malformed("a length is negative")
        return length

    def _reference(self, depth: int) -> Any:
        kind = self._kind()
        if kind == _OBJECT:
            return self._again(depth, referent=True)
        if kind in (_BLESS, _IX_BLESS):
            return self._boolean(kind)
        if kind in (_ARRAY, _HASH, _FLAG_HASH):
            return self._container(kind, depth)
        if kind in _REFUSED:
            raise InvalidToken(_REFUSED[kind], f"Storable type {kind}")
        raise InvalidToken("reference", "a reference to something other than a hash or an array")

    def _container(self, kind: int, depth: int) -> Any:
        number = len(self.seen)
        self.seen.append(_OPEN)
        result: Any
        if kind == _ARRAY:
            count = self._length()
            self.enter(count, depth)
            result = [self.value(depth + 1) for _ in range(count)]
        elif kind in (_HASH, _FLAG_HASH):
            result = self._hash(kind == _FLAG_HASH, depth)
        elif kind in _REFUSED:
            raise InvalidToken(_REFUSED[kind], f"Storable type {kind}")
        else:
            malformed("the Storable image does not hold a hash")
        self.seen[number] = _Referent(result)
        return result

    def _hash(self, flagged: bool, depth: int) -> dict[str, Any]:
        if flagged and self._byte():
            raise InvalidToken("restricted", "a restricted hash")
        count = self._length()
        self.enter(2 * count, depth)
        result: dict[str, Any] = {}
        for _ in range(count):
            item = self.value(depth + 1)
            flags = self._byte() if flagged else 0
            if flags & ~(_KEY_IS_UTF8 | _KEY_WAS_UTF8):
                raise InvalidToken("restricted", "a restricted hash")
            key = self.take(self._length())
            result[key.decode() if flags & _KEY_IS_UTF8 else key.decode("latin-1")] = item
        return result

    def _again(self, depth: int, *, referent: bool) -> Any:
        """What was read before, for an alias or a second reference."""
        number = int.from_bytes(self.take(4), "big")
        if number >= len(self.seen):
            malformed("an item points to nothing")
        found = self.seen[number]
        if found is _OPEN:
            raise InvalidToken("cycle", "it contains itself")
        if type(found) is _Referent:
            if referent:
                return self.repeat(found.value, depth)
            malformed("a hash or array stands where a reference should")
        if referent:
            raise InvalidToken("reference", "a reference to a scalar")
        return self.repeat(found, depth)

    def _boolean(self, kind: int) -> bool:
        """An object: `JSON::PP::Boolean` is a bool, every other class is refused."""
        name = self._class() if kind == _BLESS else self._known_class()
        if name != JSON_BOOLEAN or self._kind() != _BYTE:
            raise InvalidToken("object", "an object of some class")
        content = self._byte() - 128
        if content not in (0, 1):
            raise InvalidToken("object", "an object of some class")
        self.seen.append(_Referent(content == 1))
        return content == 1

    def _class(self) -> str:
        length = self._byte()
        name = self.take(self._length() if length & 0x80 else length).decode()
        self.classes.append(name)
        return name

    def _known_class(self) -> str:
        number = self._byte()
        return self.classes[self._length() if number & 0x80 else number]


# --- writing


def write(data: dict[str, Any], *, network: bool = True) -> bytes:
    """The image that `nfreeze` (or, with `network=False`, `freeze` on 64-bit little-endian Perl) would make.

    As Storable itself does it, network order turns floats, and integers of more than 32 bits, into text. Booleans
    become 1 and 0, bytes Latin-1 text. Raises `UnsupportedValue`.
    """
    check_plain(data)
    out = bytearray(b"\x05\x0b" if network else b"\x04\x0b" + _NATIVE)
    _write_container(out, data, network)
    return bytes(out)


def _write_container(out: bytearray, value: Any, network: bool) -> None:
    order: Any = "big" if network else "little"
    if type(value) is list:
        out.append(_ARRAY)
        out += len(value).to_bytes(4, order)
        for item in value:
            _write(out, item, network)
        return
    flagged = not all(key.isascii() for key in value)
    out += bytes((_FLAG_HASH, 0) if flagged else (_HASH,))
    out += len(value).to_bytes(4, order)
    for key, item in value.items():
        _write(out, item, network)
        raw = key.encode()
        if flagged:
            out.append(0 if key.isascii() else _KEY_IS_UTF8)
        out += len(raw).to_bytes(4, order) + raw


def _write(out: bytearray, value: Any, network: bool) -> None:
    kind = type(value)
    if kind in (dict, list):
        out.append(_REF)
        _write_container(out, value, network)
    elif kind is str:
        _write_text(out, value.encode(), _SCALAR if value.isascii() else _UTF8STR, network)
    elif kind is bytes:
        _write_text(out, value, _SCALAR, network)
    elif kind in (int, bool):
        _write_int(out, int(value), network)
    elif kind is float:
        _write_float(out, value, network)
    else:
        out.append(_UNDEF)


def _write_text(out: bytearray, raw: bytes, short: int, network: bool) -> None:
    if len(raw) < 256:
        out += bytes((short, len(raw)))
    else:
        out.append(_LSCALAR if short == _SCALAR else _LUTF8STR)
        out += len(raw).to_bytes(4, "big" if network else "little")
    out += raw


def _write_int(out: bytearray, value: int, network: bool) -> None:
    if -128 <= value < 128:
        out += bytes((_BYTE, value + 128))
    elif network and -(1 << 31) <= value < 1 << 31:
        out.append(_NETINT)
        out += value.to_bytes(4, "big", signed=True)
    elif network or value >= 1 << 63:
        _write_text(out, str(value).encode(), _SCALAR, network)
    else:
        out.append(_INTEGER)
        out += value.to_bytes(8, "little", signed=True)


def _write_float(out: bytearray, value: float, network: bool) -> None:
    if network:
        _write_text(out, repr(value).encode(), _SCALAR, network)
    else:
        out.append(_DOUBLE)
        out += struct.pack("<d", value)

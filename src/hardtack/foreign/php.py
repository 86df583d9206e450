"""PHP's `serialize`, for plain data: what Laravel keeps a session in. Read bounded, and never an object.

    null  N;    bool  b:1;    int  i:42;    float  d:1.5;    string  s:LENGTH IN BYTES:"…";    array  a:COUNT:{key item …}

A string that is UTF-8 is a str, another one bytes. An array whose keys are 0, 1, 2 … is a list, as `json_encode` has it;
an empty one too, since PHP does not tell which it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from hardtack.errors import UnsupportedValue
from hardtack.foreign import php_reader
from hardtack.foreign._speedups import compiled
from hardtack.foreign._text import is_utf8
from hardtack.foreign.base import check_plain

_ARRAY = re.compile(rb"a:(0|[1-9][0-9]{0,8}):\{")
# Most of what a session holds, a key and a value at once, and the arrays that end after it. Found from the first pair to the
# last by one search, which is some three times as fast as a match for each; what is not so takes all that is left.
_PAIRS = re.compile(
    r'(?:i:(0|[1-9][0-9]{0,17});|s:([1-9][0-9]{0,8}):"([A-Za-z_][^"]*)";)'
    r'(?:i:(0|-?[1-9][0-9]{0,17});|s:(0|[1-9][0-9]{0,8}):"([^"]*(?:"(?!;)[^"]*)*)";|a:([1-9][0-9]{0,8}):\{'
    r"|(N;|b:[01];|a:0:\{\}|d:-?[0-9]{1,400}(?:\.[0-9]{1,400})?;))(\}*)|(.).*",
    re.DOTALL,
)
_CONSTANTS = {"N;": None, "b:0;": False, "b:1;": True}


def read(document: bytes) -> Any:
    """The value of a whole document.

    Raises `InvalidToken`: `unsafe` for objects, references and everything else that PHP would build by a name, else
    `malformed`.
    """
    return _read(document)


def read_in_python(document: bytes) -> Any:
    """What `read` returns, without compiled code: by one search where that finds all, else piece by piece."""
    found = _plain_array(document)
    return php_reader.read(document) if found is None else found


def choose() -> Callable[[bytes], Any]:
    """The reader: compiled where `hardtack-speedups` is installed, which needs no search, or that of Python."""
    chosen = compiled("php_reader", php_reader)
    return read_in_python if chosen is php_reader else chosen.read


_read = choose()


def _plain_array(document: bytes) -> list[Any] | dict[str, Any] | None:
    """The value of a document that is as most sessions are, or None: `php_reader` reads all others, and says what is wrong."""
    head = _ARRAY.match(document)
    if not head:
        return None
    try:
        # In Latin-1 each byte is a character, so that lengths are those of bytes.
        return _joined(_PAIRS.findall(document.decode("latin-1"), head.end()), int(head[1]))
    except UnicodeDecodeError:
        return None


def _joined(pairs: list[tuple[str, ...]], count: int) -> list[Any] | dict[str, Any] | None:
    """The array of `count` items that these pairs are, or None."""
    items: dict[str, Any] = {}
    root: dict[str, Any] = {"": items}
    above = [(root, "", 1)]
    for number, key_size, key_text, integer, size, text, inner, other, ends, _ in pairs:
        key = number
        if key_size and int(key_size) == len(key_text):
            key = key_text if key_text.isascii() else key_text.encode("latin-1").decode()
        if not key or key in items:  # without a key it is no pair
            return None
        if size:
            # A text that has its length, and no quote and semicolon in it, ends where it says.
            if int(size) != len(text):
                return None
            items[key] = text if text.isascii() else text.encode("latin-1").decode()
        elif integer:
            items[key] = int(integer)
        elif inner:
            above.append((items, key, count))
            items, count = {}, int(inner)
            if len(above) > php_reader.MAX_DEPTH:
                return None
        else:
            items[key] = _other(other)
        for _ in ends:
            if len(items) != count or not above:
                return None
            array = items
            items, key, count = above.pop()
            items[key] = _list_or_mapping(array)
    return root[""] if items is root and len(root) == 1 else None


def _other(text: str) -> Any:
    """An empty array, a float, or one of the constants."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return [] if text[0] == "a" else float(text[2:-1])


def _list_or_mapping(items: dict[str, Any]) -> list[Any] | dict[str, Any]:
    is_list = "0" in items and list(items) == [*map(str, range(len(items)))]
    return list(items.values()) if is_list else items


def write(value: Any) -> bytes:
    """The document that `read` and PHP read. Raises `UnsupportedValue` for what would not come back equal.

    That are mappings that come back as lists, below the first level (empty ones, and those with the keys "0", "1", "2" …),
    and bytes that are UTF-8, which come back as text.
    """
    check_plain(value)
    return b"".join(_written(value, ""))


def _written(value: Any, path: str) -> list[bytes]:
    kind = type(value)
    if value is None:
        return [b"N;"]
    if kind is bool:
        return [b"b:1;" if value else b"b:0;"]
    if kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise UnsupportedValue(path or "(root)", "int", "PHP's integers have 64 bits with a sign")
        return [b"i:%d;" % value]
    if kind is float:
        return [f"d:{_float(value)};".encode()]
    if kind is dict:
        return _mapping(value, path)
    if kind is list:
        parts = [b"a:%d:{" % len(value)]
        for index, item in enumerate(value):
            parts += [b"i:%d;" % index, *_written(item, f"{path}[{index}]")]
        return [*parts, b"}"]
    raw = value.encode() if kind is str else value
    if kind is bytes and is_utf8(raw):
        raise UnsupportedValue(path or "(root)", "bytes", "PHP does not tell bytes that are UTF-8 from text; use a str")
    return [b's:%d:"' % len(raw), raw, b'";']


def _mapping(value: dict[str, Any], path: str) -> list[bytes]:
    if list(value) == [str(index) for index in range(len(value))] and (path or value):
        problem = (
            "PHP does not tell it from a list: its keys are 0, 1, 2 …, or it is empty; leave it out, or use a list"
        )
        raise UnsupportedValue(path or "(root)", "dict", problem)
    parts = [b"a:%d:{" % len(value)]
    for key, item in value.items():
        parts += [_written_key(key), *_written(item, f"{path}.{key}" if path else key or "(empty)")]
    return [*parts, b"}"]


def _written_key(key: str) -> bytes:
    if php_reader.is_number(key):
        return b"i:%b;" % key.encode()
    raw = key.encode()
    return b's:%d:"%b";' % (len(raw), raw)


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value).replace("e", "E")
    return "NAN" if math.isnan(value) else "INF" if value > 0 else "-INF"

"""Percent-encoding, and JSON as other languages read it: what would come back as another value is not written."""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterator
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes

from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign.base import UNREAD, check_plain, decode_json, has_long_number, malformed, quick_json

JAVASCRIPT_SAFE = "!~*'()"
"""What `encodeURIComponent` leaves as it is, beside letters, digits and `-_.`."""


def percent_decode(value: str) -> str:
    """The value without its percent-encoding, or `InvalidToken("malformed")`."""
    if not value.isascii():
        malformed("it is not ASCII")
    first = value.find("%")
    if first < 0:
        return value
    text = value[first:] if first > _FAR else value
    try:
        # An escape of Python's has "\x" for "%", and these have a decoder in C, six times as fast: pickle's for its texts.
        raw = codecs.escape_decode(text.encode().replace(b"\\", rb"\\").replace(b"%", rb"\x"))[0]
    except ValueError:  # a "%" that begins no escape stays as it is
        raw = unquote_to_bytes(text)
    try:
        return value[:first] + raw.decode() if first > _FAR else raw.decode()
    except UnicodeDecodeError:
        malformed("its percent-encoding is not UTF-8")


_FAR = 256
"""Characters before the first escape from which on they are left out of the decoding, rather than decoded with the rest."""


def percent_encode(value: str, *, safe: str = "") -> str:
    """The value as it may stand in a Cookie header."""
    return quote(value, safe=safe)


def is_utf8(raw: bytes) -> bool:
    """Whether bytes are text."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


EXACT_IN_A_DOUBLE = (1 << 53) - 1
"""JavaScript and Go read every JSON number as a double: beyond this an int would come back as another one."""


def write_json(data: dict[str, Any], *, largest_int: int | None = None, wide: bool = True) -> str:
    """Compact JSON of a session; `UnsupportedValue` for what would not come back equal.

    `largest_int`: the greatest magnitude that the other system keeps exactly. `wide`: it keeps more than 64 bits.
    """
    check_plain(data, finite=True, binary=False, wide=wide)
    if largest_int is not None and any(abs(number) > largest_int for number in _ints(data)):
        raise UnsupportedValue(
            "(root)", "int", f"the other system rounds whole numbers beyond {largest_int}; use a str"
        )
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    except ValueError:  # Python refuses to print an int of more than 4300 digits, and to read it
        raise UnsupportedValue("(root)", "int", "it has too many digits for JSON") from None


def write_javascript(data: dict[str, Any], *, reserved: Collection[str] = ()) -> str:
    """Compact JSON of a session for JavaScript. `reserved`: keys that the other system keeps for itself."""
    for key in data:
        if key in reserved:
            raise UnsupportedValue(key, "dict", "the other system keeps this key for itself; use another")
    text = write_json(data, largest_int=EXACT_IN_A_DOUBLE)
    if "__proto__" in text and _has_key(data, "__proto__"):
        raise UnsupportedValue("(root)", "dict", "JavaScript does not read __proto__ as a key; use another")
    return text


def read_javascript(text: str | bytes) -> Any:
    """What JavaScript makes of JSON: a whole number that a double does not hold is a float, as it is there.

    Raises `InvalidToken("malformed")`.
    """
    try:
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        decoder = _DECODER
        if has_long_number(raw):
            decoder = _WITH_LONG_NUMBERS
        elif (value := quick_json(raw)) is not UNREAD:
            return value
        return decode_json(decoder, raw.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError):
        raise InvalidToken("malformed", "not JSON") from None


def _number(text: str) -> int | float:
    """JavaScript writes 2**60 as 1152921504606847000: read as an int it would be another number than there."""
    number = float(text)
    return int(text) if abs(number) <= EXACT_IN_A_DOUBLE else number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_WITH_LONG_NUMBERS = json.JSONDecoder(parse_int=_number, parse_constant=_no_constant)


def _has_key(value: Any, name: str) -> bool:
    if type(value) is dict:
        return name in value or any(_has_key(item, name) for item in value.values())
    return type(value) is list and any(_has_key(item, name) for item in value)


def _ints(value: Any) -> Iterator[int]:
    if type(value) is dict:
        value = list(value.values())
    if type(value) is list:
        for item in value:
            yield from _ints(item)
    elif type(value) is int:
        yield value

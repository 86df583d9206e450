"""The reader of PHP's `serialize`, piece by piece: `php` says what it reads. `hardtack-speedups` has it compiled.

A place in the document goes from its first byte to its last. What is read of another kind than is due ends it at once, as
does the end of the document, which is an `IndexError` here.
"""

from __future__ import annotations

import re
from typing import Any, Final

from hardtack.errors import InvalidToken
from hardtack.foreign.base import malformed

MAX_DEPTH: Final = 64

_A: Final = 0x61
_B: Final = 0x62
_D: Final = 0x64
_I: Final = 0x69
_N: Final = 0x4E
_S: Final = 0x73
_OBJECTS: Final = b"OCErR"
_COLON: Final = 0x3A
_SEMICOLON: Final = 0x3B
_QUOTE: Final = 0x22
_OPEN: Final = 0x7B
_CLOSE: Final = 0x7D
_MINUS: Final = 0x2D
_ZERO: Final = 0x30
_NINE: Final = 0x39

_LARGEST: Final = (1 << 63) - 1
_SMALL: Final = 1 << 60  # what is less, compiled code has in a register
_SHORTEST_ITEM: Final = 6  # bytes of an array's item: `i:0;N;`
_NO_INT: Final = "an integer is not one of 64 bits"
_NO_KIND: Final = "not what PHP's serialize writes"
_TOO_MANY: Final = "an array has more items than bytes"
_FLOAT = re.compile(rb"(NAN|-?INF|-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:E[+-]?[0-9]{1,4})?);")
_HIGH: Final = b"\x80"
_HIGH_BITS: Final = bytes([byte & 0x80 for byte in range(256)])
_CANONICAL_INT = re.compile(r"0|-?[1-9][0-9]{0,18}")


def read(document: bytes) -> Any:
    """The value of a whole document.

    Raises `InvalidToken`: `unsafe` for objects, references and everything else that PHP would build by a name, else
    `malformed`.
    """
    reader = _Reader(document)
    try:
        value = reader.value(0)
    except IndexError:
        malformed("it ends too soon")
    if reader.at != len(document):
        malformed("something follows the value")
    return value


def is_number(key: str) -> bool:
    """Whether PHP makes an integer of this key, in every array."""
    return _CANONICAL_INT.fullmatch(key) is not None and -_LARGEST - 1 <= int(key) <= _LARGEST


class _Reader:
    __slots__ = ("at", "body", "first", "high", "text", "wide")

    def __init__(self, body: bytes) -> None:
        self.first = 0  # byte of the string that was read last, or the quote behind an empty one
        self.body = body
        self.text = body.decode("latin-1")  # a character for each byte, so that most parts need not be decoded again
        self.at = 0
        # Where a byte that is not ASCII stands, the next one or the one before: a string that ends there has none.
        self.wide = len(body) if self.text.isascii() else -1
        self.high = b"" if self.wide > 0 else body.translate(_HIGH_BITS)

    def value(self, depth: int) -> Any:
        at = self.at
        kind, mark = self.body[at], self.body[at + 1]
        self.at = at + 2
        if mark == _COLON:
            if kind == _S:
                return self.string()
            if kind == _A:
                return self.array(depth)
            if kind == _I:
                return self.integer()
            if kind == _B:
                return self.boolean()
            if kind == _D:
                return self.double()
            if kind in _OBJECTS:
                raise InvalidToken("unsafe", "it has a PHP object or a reference in it; keep plain data in the session")
        elif kind == _N and mark == _SEMICOLON:
            return None
        return malformed(_NO_KIND)

    def digits(self, most: int, problem: str) -> int:
        """A whole number in its one spelling, of at most `most` digits."""
        body, start = self.body, self.at
        number = body[start] - _ZERO
        if not 0 <= number <= 9:
            malformed(problem)
        end = start + 1
        if number:
            digit = body[end] - _ZERO
            while 0 <= digit <= 9 and end - start < most:
                number = number * 10 + digit
                end += 1
                digit = body[end] - _ZERO
        self.at = end
        return number

    def integer(self) -> int:
        body, at = self.body, self.at
        digit = body[at] - _ZERO
        if 0 <= digit <= 9 and body[at + 1] == _SEMICOLON:  # most are short
            self.at = at + 2
            return digit
        is_negative = body[at] == _MINUS
        if is_negative:
            self.at += 1
        number = self.digits(19, _NO_INT)
        if self.body[self.at] != _SEMICOLON or (is_negative and not number):
            malformed(_NO_INT)
        if number >= _SMALL and number > _LARGEST + is_negative:
            malformed(_NO_INT)
        self.at += 1
        return -number if is_negative else number

    def boolean(self) -> bool:
        digit = self.body[self.at] - _ZERO
        if not 0 <= digit <= 1 or self.body[self.at + 1] != _SEMICOLON:
            malformed(_NO_KIND)
        self.at += 2
        return digit == 1

    def double(self) -> float:
        found = _FLOAT.match(self.body, self.at)
        if found is None:
            malformed(_NO_KIND)
        self.at = found.end()
        return float(found[1].replace(b"INF", b"inf"))

    def string(self) -> str | bytes:
        body, at = self.body, self.at
        size = body[at] - _ZERO
        if 0 <= size <= 9 and body[at + 1] == _COLON:
            start = at + 3
        else:
            size = self.digits(9, "a string has no length")
            start = self.at + 2
        end = start + size
        if body[start - 2] != _COLON or body[start - 1] != _QUOTE:
            malformed("a string has no length")
        if body[end] != _QUOTE or body[end + 1] != _SEMICOLON:
            malformed("a string does not have its length")
        self.at = end + 2
        self.first = body[start]
        if end <= self.wide:
            return self.text[start:end]
        return self.wide_string(start, end)

    def wide_string(self, start: int, end: int) -> str | bytes:
        """A string with bytes in it that are not ASCII, or behind the last such byte that was found."""
        if self.wide < start:
            found = self.high.find(_HIGH, start)
            self.wide = len(self.body) if found < 0 else found
            if end <= self.wide:
                return self.text[start:end]
        raw = self.body[start:end]
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    def array(self, depth: int) -> list[Any] | dict[str, Any]:
        count = self.digits(9, _TOO_MANY)
        at = self.at + 2
        if self.body[at - 2] != _COLON or self.body[at - 1] != _OPEN:
            malformed(_TOO_MANY)
        if depth + (count > 0) > MAX_DEPTH:
            malformed(f"more than {MAX_DEPTH} levels")
        if count * _SHORTEST_ITEM > len(self.body) - at:
            malformed(_TOO_MANY)
        self.at = at
        items = self.items(count, depth + 1)
        if len(items) != count or self.body[self.at] != _CLOSE:
            malformed("an array does not have its number of items")
        self.at += 1
        return items

    def items(self, count: int, depth: int) -> list[Any] | dict[str, Any]:
        """The items of an array: a list for as long as their keys count them."""
        listed: list[Any] = []
        while len(listed) < count and self.is_next(len(listed)):
            listed.append(self.value(depth))
        if len(listed) == count:
            return listed
        items: dict[str, Any] = {str(index): value for index, value in enumerate(listed)} if listed else {}
        for _ in range(count - len(listed)):
            key = self.key()
            items[key] = self.value(depth)
        return items

    def is_next(self, index: int) -> bool:
        """Whether the key is this one, which is then read."""
        start = self.at
        if self.body[start] == _I and self.body[start + 1] == _COLON:
            self.at = start + 2
            if self.integer() == index:
                return True
            self.at = start
        return False

    def key(self) -> str:
        kind, mark = self.body[self.at], self.body[self.at + 1]
        self.at += 2
        if mark == _COLON:
            if kind == _I:
                return str(self.integer())
            if kind == _S:
                key = self.string()
                # A string that is a number is none in any array of PHP; few keys begin as one does.
                if isinstance(key, str) and (self.first > _NINE or not is_number(key)):
                    return key
        return malformed("a key is neither an integer nor text")

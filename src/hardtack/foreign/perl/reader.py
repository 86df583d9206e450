"""What the readers of Sereal and Storable share: a place in the bytes, and a budget that no document can exceed.

A document of a few bytes can name the same array again and again, each time inside the last: expanded, it would fill
the memory. So everything that is read is paid for, and so is everything that is repeated.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from hardtack.errors import InvalidToken
from hardtack.values import MAX_DEPTH

LIMIT: Final = 1 << 20
"""Bytes of a document once it is uncompressed; and what its members (16 each) and all that is repeated may cost."""

ITEM: Final = 16

JSON_BOOLEAN: Final = "JSON::PP::Boolean"
"""The one class that is understood: what Perl's JSON modules return for true and false, and so what sessions hold."""

DECODER_ERRORS: Final = (IndexError, UnicodeDecodeError)
"""What reading beyond the end, or text that is not UTF-8, raises; both are the `malformed` of a whole document."""


class Reader:
    """A place in a document, and what may still be read."""

    __slots__ = ("body", "left", "pos")

    def __init__(self, body: bytes, limit: int) -> None:
        self.body = body
        self.pos = 0
        self.left = limit

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start = self.pos
        self.pos = end = start + count
        if end > len(self.body):
            truncated()
        return self.body[start:end]

    def pay(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise InvalidToken("too_large", "it holds more than a session may")

    def enter(self, count: int, depth: int) -> None:
        """Pay for a container of `count` items before it is read; it must not be too deep.

        Nothing is reserved for the items, so that a count alone costs no memory.
        """
        self.pay(ITEM * (count + 1))
        if depth > MAX_DEPTH:
            raise InvalidToken("deep", f"it is nested more than {MAX_DEPTH} levels deep")

    def repeat(self, value: Any, depth: int) -> Any:
        """A copy of what was read before, paid for again."""
        self.pay(ITEM)
        if type(value) is str:
            self.pay(len(value))
        elif type(value) is dict:
            self.enter(0, depth)
            return {self.repeat(key, depth): self.repeat(item, depth + 1) for key, item in value.items()}
        elif type(value) is list:
            self.enter(0, depth)
            return [self.repeat(item, depth + 1) for item in value]
        return value


def truncated() -> NoReturn:
    raise InvalidToken("malformed", "it ends too early")

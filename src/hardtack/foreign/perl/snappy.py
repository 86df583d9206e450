"""Raw Snappy decompression, with a bound on what comes out (github.com/google/snappy, format_description.txt)."""

from __future__ import annotations

from typing import Final

from hardtack.errors import InvalidToken
from hardtack.foreign.base import malformed

_LITERAL: Final = 0
_NEAR: Final = 1  # copies of kind 2 have an offset of two bytes
_FAR: Final = 3


def decompress(block: bytes, limit: int) -> bytes:
    """The plain bytes of one block; `InvalidToken` where there would be more than `limit`, or where it is damaged."""
    try:
        size, pos = _length(block)
        if size > limit:
            raise InvalidToken("too_large", "it is larger than a session may be")
        return _expand(block, pos, size)
    except IndexError:
        malformed("the Snappy block ends too early")


def _length(block: bytes) -> tuple[int, int]:
    size = 0
    for pos in range(5):
        size |= (block[pos] & 0x7F) << 7 * pos
        if block[pos] < 0x80:
            return size, pos + 1
    raise InvalidToken("malformed", "the Snappy block has no length")


def _expand(block: bytes, pos: int, size: int) -> bytes:
    out = bytearray()
    end, done = len(block), 0
    while pos < end and done <= size:
        tag = block[pos]
        kind = tag & 3
        pos += 1
        if kind == _LITERAL:
            length = (tag >> 2) + 1
            if length > 60:
                pos, length = _long_literal(block, pos, length - 60)
            out += block[pos : pos + length]
            pos += length
            done += length
            continue
        if kind == _NEAR:
            length = (tag >> 2 & 7) + 4
            offset = (tag & 0xE0) << 3 | block[pos]
            pos += 1
        else:
            length = (tag >> 2) + 1
            offset = block[pos] | block[pos + 1] << 8
            pos += 2
            if kind == _FAR:
                offset |= (block[pos] | block[pos + 1] << 8) << 16
                pos += 2
        start = done - offset
        if offset == 0 or start < 0:
            malformed("the Snappy block copies from before its start")
        if length <= offset:
            out += out[start : start + length]
        else:  # a copy that reaches into itself repeats a pattern
            out += (out[start:] * (length // offset + 1))[:length]
        done += length
    if len(out) != size or pos != end:
        malformed("the Snappy block does not have its length")
    return bytes(out)


def _long_literal(block: bytes, pos: int, extra: int) -> tuple[int, int]:
    """Where a literal begins whose length stands in bytes of its own, and that length."""
    if pos + extra > len(block):
        raise IndexError
    return pos + extra, int.from_bytes(block[pos : pos + extra], "little") + 1

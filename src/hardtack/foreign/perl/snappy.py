"""Raw Snappy decompression, with a bound on what comes out (github.com/google/snappy, format_description.txt)."""

from __future__ import annotations

from hardtack.errors import InvalidToken
from hardtack.foreign.base import malformed


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
    while pos < len(block):
        tag = block[pos]
        pos += 1
        if tag & 3 == 0:
            pos, length = _literal(block, pos, tag >> 2)
            out += block[pos : pos + length]
            pos += length
        else:
            pos, length, offset = _copy(block, pos, tag)
            _repeat(out, length, offset)
        if len(out) > size:
            break
    if len(out) != size or pos > len(block):
        malformed("the Snappy block does not have its length")
    return bytes(out)


def _literal(block: bytes, pos: int, code: int) -> tuple[int, int]:
    if code < 60:
        return pos, code + 1
    extra = code - 59
    if pos + extra > len(block):
        raise IndexError
    return pos + extra, int.from_bytes(block[pos : pos + extra], "little") + 1


def _copy(block: bytes, pos: int, tag: int) -> tuple[int, int, int]:
    if tag & 3 == 1:
        return pos + 1, (tag >> 2 & 7) + 4, (tag & 0xE0) << 3 | block[pos]
    extra = 2 if tag & 3 == 2 else 4
    if pos + extra > len(block):
        raise IndexError
    return pos + extra, (tag >> 2) + 1, int.from_bytes(block[pos : pos + extra], "little")


def _repeat(out: bytearray, length: int, offset: int) -> None:
    if not 0 < offset <= len(out):
        malformed("the Snappy block copies from before its start")
    piece = out[-offset:][:length]
    out += (piece * (length // len(piece) + 1))[:length]  # where a copy reaches into itself, it repeats a pattern

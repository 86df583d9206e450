"""Raw Snappy blocks: every kind of element, and every way in which one can be damaged."""

from __future__ import annotations

import pytest

from hardtack.errors import InvalidToken
from hardtack.foreign.perl.snappy import decompress

GOOD = {
    b"\x00": b"",
    b"\x03\x08abc": b"abc",
    b"\x3d\xf0\x3c" + b"x" * 61: b"x" * 61,
    b"\x80\x02\xf4\xff\x00" + b"x" * 256: b"x" * 256,
    b"\x08\x00a\x0d\x01": b"a" * 8,  # a copy with an offset of one byte, which reaches into itself
    b"\x07\x04ab\x12\x02\x00": b"abababa",
    b"\x07\x04ab\x13\x02\x00\x00\x00": b"abababa",
}


@pytest.mark.parametrize(("block", "plain"), GOOD.items(), ids=[block[:8].hex() for block in GOOD])
def test_elements(block: bytes, plain: bytes) -> None:
    """Literals and copies of every size are expanded."""
    assert decompress(block, 1000) == plain


BAD = {
    b"": "empty",
    b"\x80": "a length that does not end",
    b"\xff\xff\xff\xff\xff": "a length of more than five bytes",
    b"\x03\x08ab": "a literal that ends too early",
    b"\x03\xf0": "a literal without a length",
    b"\x03\xf4\x02": "a literal with half a length",
    b"\x02\x08abc": "more than the length",
    b"\x04\x08abc": "less than the length",
    b"\x08\x00a\x0d": "a copy without an offset",
    b"\x08\x00a\x0e\x01": "a copy with half an offset",
    b"\x08\x00a\x0f\x01\x00": "a copy with a part of an offset",
    b"\x08\x00a\x0d\x02": "a copy from before the start",
    b"\x08\x00a\x0d\x00": "a copy from nowhere",
    b"\x05\x00a\x16\x01\x00": "a copy beyond the length",
}


@pytest.mark.parametrize("block", BAD, ids=BAD.values())
def test_damage(block: bytes) -> None:
    """A damaged block is malformed."""
    with pytest.raises(InvalidToken, match="malformed"):
        decompress(block, 1000)


def test_the_limit_comes_first() -> None:
    """A block that says it is larger than the limit is not expanded."""
    with pytest.raises(InvalidToken, match="too_large"):
        decompress(b"\xe9\x07\x00a", 1000)

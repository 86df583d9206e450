"""Percent-encoding and JavaScript's JSON, read by a faster way than the standard library's, and to the same end."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hardtack.errors import InvalidToken
from hardtack.foreign._text import percent_decode, read_javascript

PIECES = [
    "%", "%%", "%2", "2", "22", "5", "B", "a", "=", "+", '"', "%22", "%2C", "%3A", "%7B", "%7D", "%5B", "%5D", "%20",
    "%3D", "%2B", "%2F", "%25", "%2525", "%C3", "%AB", "%c3%ab", "%E2%82%AC", "%7b", "%00", "\n", "\r", "\r\n", " ", "_",
]  # fmt: skip


HEADS = ["", "=", "x" * 256, "x" * 257, "=" * 300]  # what stands far before the first escape is not decoded


@given(st.sampled_from(HEADS), st.lists(st.sampled_from(PIECES)).map("".join))
@example("", "%\n").via("a line's end after a part of an escape")
@example("", "%\r").via("the other line's end")
@example("", "%zz=42").via("no escape, and what would be one in quoted-printable")
@example("", "%%41").via("an escape after a part of one")
@example("x" * 300, "%C3%AB%2F").via("escapes at the end of a long value")
def test_percent_encoding_is_read_as_by_the_standard_library(head: str, tail: str) -> None:
    """Also where an escape is cut off, is none, or makes another one."""
    value = head + tail
    try:
        expected = unquote(value, errors="strict")
    except UnicodeDecodeError:
        with pytest.raises(InvalidToken, match="UTF-8"):
            percent_decode(value)
    else:
        assert percent_decode(value) == expected


@pytest.mark.parametrize("convert", [str, str.encode], ids=["str", "bytes"])
def test_a_number_that_a_double_does_not_hold_is_a_float(convert: Callable[[str], str | bytes]) -> None:
    """As it is in JavaScript; digits in a text are no number."""
    text = '{"a":1152921504606847000,"b":9007199254740991,"c":"1152921504606847000","d":-9007199254740993}'

    data = read_javascript(convert(text))

    assert data == {"a": float(1 << 60), "b": (1 << 53) - 1, "c": "1152921504606847000", "d": -float((1 << 53) + 1)}
    assert [type(item) for item in data.values()] == [float, int, str, float]


@pytest.mark.parametrize("raw", ['{"a":1}'.encode("utf-16"), b'\xef\xbb\xbf{"a":1}', b'{"a":"\xff"}'])
def test_bytes_are_utf_8(raw: bytes) -> None:
    """No other encoding is guessed, and what is no text is refused."""
    with pytest.raises(InvalidToken, match="not JSON"):
        read_javascript(raw)

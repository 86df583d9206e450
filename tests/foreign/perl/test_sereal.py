"""The Sereal reader, byte by byte: what it reads, what it refuses and why, and that no document can exceed its bounds."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign.perl import sereal

HEAD = b"=\xf3rl\x05\x00"
BOOLEAN = b"\x71JSON::PP::Boolean"


def body(text: bytes) -> bytes:
    """A document whose hash has one key, `a`, and the given item under it."""
    return HEAD + b"\x51\x61a" + text


def refused(document: bytes, **options: Any) -> str:
    with pytest.raises(InvalidToken) as caught:
        sereal.read(document, **options)
    return caught.value.reason


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


ITEMS = {
    b"\x0f": 15,
    b"\x10": -16,
    b"\x1f": -1,
    b"\x20\x10": 16,
    b"\x20\x80\x01": 128,
    b"\x20\x80\x80\x01": 16384,
    b"\x20" + b"\xff" * 9 + b"\x01": 2**64 - 1,
    b"\x21\x22": 17,
    b"\x21\x21": -17,
    b"\x22\x00\x00\xc0\x3f": 1.5,
    b"\x23\x00\x00\x00\x00\x00\x00\xf8\x3f": 1.5,
    b"\x25": None,
    b"\x39": None,
    b"\x26\x02\xe9b": "éb",
    b"\x27\x03\xc3\xa9b": "éb",
    b"\x62\xe9b": "éb",
    b"\x28\x2a\x01\x61b\x01": {"b": 1},
    b"\x28\x2b\x02\x01\x02": [1, 2],
    b"\x28\x3f\x2b\x01\x01": [1],
    b"\x42\x61b\x50": ["b", {}],
    b"\x34": False,
    b"\x35": True,
    b"\x3a": False,
    b"\x3b": True,
    b"\x3f\x3f\x01": 1,
    b"\x42\x81\x2e\x05": [1, 1],  # an alias
    b"\x42\x28\xaa\x01\x61b\x01\x29\x06": [{"b": 1}, {"b": 1}],  # a second reference
    b"\x42\xa8\x2b\x01\x01\x2e\x05": [[1], [1]],  # an alias of a reference
    b"\x42\xd1\x61b\x01\x2e\x05": [{"b": 1}, {"b": 1}],  # an alias of a short one
    b"\x42\xc1\x01\x2e\x05": [[1], [1]],
    b"\x43\xc1\x01\x2e\x05\x29\x05": [[1], [1], [1]],
    b"\x42\xd1\x61b\x01\x29\x05": [{"b": 1}, {"b": 1}],
    b"\x42\xc1\x01\x29\x05": [[1], [1]],
    b"\x42\x62bc\x2f\x05": ["bc", "bc"],
    b"\x42\x28\x2b\x01\x01\x2f\x05": [[1], [1]],
    b"\x42\x28\xab\x01\x01\x2f\x05": [[1], [1]],
    b"\x42\x41\x81\x2f\x05": [[1], [1]],
    b"\xbf\x01": 1,
    b"\x42\x51\x26\x01b\x01\x51\x2f\x06\x02": [{"b": 1}, {"b": 2}],  # a key again
    b"\x43\x51\x61b\x01\x51\x2f\x06\x02\x51\x2f\x06\x03": [{"b": 1}, {"b": 2}, {"b": 3}],
    b"\x42\x51\x27\x02\xc3\xa9\x01\x51\x2f\x06\x02": [{"é": 1}, {"é": 2}],
    b"\x2c" + BOOLEAN + b"\x28\x00": False,
    b"\x42\x2c" + BOOLEAN + b"\x28\x01\x2d\x06\x28\x00": [True, False],
    b"\x42\x2c" + BOOLEAN + b"\x28\x81\x29\x19": [True, True],
}


@pytest.mark.parametrize(("item", "value"), ITEMS.items(), ids=[item.hex() for item in ITEMS])
def test_every_tag_is_read(item: bytes, value: object) -> None:
    """Each tag gives its value, of its type."""
    result = sereal.read(body(item))["a"]

    assert result == value
    assert type(result) is type(value)


REFUSED = {
    "object": b"\x2c\x61X\x28\x2a\x00",
    "an object again": (b"\x42\x01\x2d\x02\x28\x00", "object"),
    "a boolean that is a hash": (b"\x2c" + BOOLEAN + b"\x28\x2a\x00", "object"),
    "a boolean that is a number": (b"\x2c" + BOOLEAN + b"\x01\x01", "object"),
    "a reference to an object": (b"\x28\x2c\x61X\x28\x2a\x00", "object"),
    "hook": b"\x32\x61X\x28\x2a\x00",
    "a second hook": (b"\x33\x01\x00", "hook"),
    "regexp": b"\x31\x61x\x60",
    "weak": b"\x30\x28\x2a\x00",
    "reference": b"\x28\x01",
    "a second reference to a scalar": (b"\x42\x81\x29\x05", "reference"),
    "cycle": b"\xa8\xaa\x01\x61b\x29\x05",
    "a cycle of an array": (b"\x28\xab\x01\x29\x05", "cycle"),
    "a cycle of aliases": (b"\xa8\x2b\x01\x2e\x04", "cycle"),
    "an array that holds an alias of itself": (b"\xc1\x2e\x04", "cycle"),
    "a hash that holds an alias of itself": (b"\xd1\x61b\x2e\x04", "cycle"),
    "long double": (b"\x24" + bytes(16), "unsupported"),
    "many": (b"\x3c", "unsupported"),
    "packet start": (b"\x3d", "unsupported"),
    "extend": (b"\x3e", "unsupported"),
    "reserved": (b"\x36", "unsupported"),
    "a bare hash": (b"\x2a\x00", "malformed"),
    "a bare array": (b"\x2b\x00", "malformed"),
    "a copy inside a copy": (b"\x42\x41\x2f\x02\x2f\x05", "malformed"),
    "a copy of something unfinished": (b"\x42\x2f\x04\x01", "malformed"),
    "a copy of what overlaps it": (b"\x44\x62\x26\x04\x2f\x06\x01\x01", "malformed"),
    "an offset forward": (b"\x2f\x20", "malformed"),
    "an offset before the start": (b"\x2f\x00", "malformed"),
    "a second reference to nothing": (b"\x42\x01\x29\x05", "malformed"),
    "text that is not UTF-8": (b"\x27\x01\xe9", "malformed"),
    "a surrogate": (b"\x27\x03\xed\xa0\x80", "malformed"),
    "text that ends too early": (b"\x26\x20abc", "malformed"),
    "short text that ends too early": (b"\x7fabc", "malformed"),
    "a float that ends too early": (b"\x23\x00", "malformed"),
    "a number that does not end": (b"\x20\xff", "malformed"),
    "a number of 65 bits": (b"\x20" + b"\xff" * 9 + b"\x02", "malformed"),
    "a number of 11 bytes": (b"\x20" + b"\x80" * 10 + b"\x00", "malformed"),
    "a key that is a number": (b"\x51\x01\x01", "malformed"),
    "a key that is a copy of a number": (b"\x42\x20\x10\x51\x2f\x05\x01", "malformed"),
    "a hash with more members than bytes": (b"\x28\x2a\x7f\x61b\x01", "malformed"),
    "an array with more members than bytes": (b"\x28\x2b\x7f\x01", "malformed"),
    "an array of 2^60 members": (b"\x28\x2b" + varint(2**60), "too_large"),
    "a hash of 2^60 members": (b"\x28\x2a" + varint(2**60), "too_large"),
    "something after the end": (b"\x01\x01", "malformed"),
    "nothing": (b"", "malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    """Each thing that is no plain data has its own reason, each damage is malformed."""
    case = REFUSED[name]
    item, reason = case if isinstance(case, tuple) else (case, name)

    assert refused(body(item)) == reason


HEADERS = {
    b"": "empty",
    b"=\xf3rl": "no version",
    b"=srl\x05\x00\x50": "the old magic with a new version",
    b"=\xf3rl\x02\x00\x50": "the new magic with an old version",
    b"=\xc3\xb3rl\x05\x00\x50": "a document that was encoded as UTF-8",
    b"=\xf3rl\x06\x00\x50": "version 6",
    b"=srl\x00\x00\x50": "version 0",
    b"=\xf3rl\x05\x7f\x50": "a header longer than the document",
    b"=\xf3rl\x25\x00\x04\x01\x00\x50": "a compressed length that is too long",
    b"=\xf3rl\x05\x00\x40": "an array",
    b"=\xf3rl\x05\x00\x01": "a number",
}


@pytest.mark.parametrize("document", HEADERS, ids=HEADERS.values())
def test_header_that_is_refused(document: bytes) -> None:
    """A document begins with its magic, its version and its header, and holds a hash."""
    assert refused(document) == "malformed"


@pytest.mark.parametrize("head", [b"=srl\x01\x00", b"=srl\x02\x00", b"=\xf3rl\x03\x00", b"=\xf3rl\x04\x03xyz"])
def test_every_version_is_read(head: bytes) -> None:
    """Protocols 1 to 4 are read like 5, user headers skipped."""
    assert sereal.read(head + b"\x51\x61a\x01") == {"a": 1}


def test_offsets_of_version_1_count_from_the_document() -> None:
    """A key of protocol 1 that is repeated is found."""
    assert sereal.read(b"=srl\x01\x00\x51\x61a\x51\x2f\x07\x01") == {"a": {"a": 1}}


@pytest.mark.parametrize("encoding", [0x10, 0x45, 0x35 - 0x10 + 0x30, 0xF5])
def test_unknown_compression_is_refused(encoding: int) -> None:
    """Zstandard, and whatever a version does not know, is unsupported."""
    head = b"=\xf3rl" + bytes((encoding & 0xF0 | 5, 0))

    assert refused(head + b"\x51\x61a\x01") == "unsupported"


def test_zlib_is_read() -> None:
    """A document in zlib is read as it was."""
    packed = zlib.compress(b"\x51\x61a\x01")

    assert sereal.read(b"=\xf3rl\x35\x00\x04" + varint(len(packed)) + packed) == {"a": 1}


@pytest.mark.parametrize("size", [3, 5])
def test_zlib_of_another_length_is_refused(size: int) -> None:
    """The length in the header must be the length of what comes out."""
    packed = zlib.compress(b"\x51\x61a\x01")

    assert refused(b"=\xf3rl\x35\x00" + varint(size) + varint(len(packed)) + packed) == "malformed"


def test_damaged_zlib_is_refused() -> None:
    """What zlib cannot read is malformed, and so is something behind it."""
    packed = zlib.compress(b"\x51\x61a\x01")

    assert refused(b"=\xf3rl\x35\x00\x04\x04abcd") == "malformed"
    assert refused(b"=\xf3rl\x35\x00\x04" + varint(len(packed) + 1) + packed + b"x") == "malformed"


def test_snappy_of_version_1_has_no_length() -> None:
    """Protocol 1 knows a Snappy block without a length."""
    assert sereal.read(b"=srl\x11\x00\x04\x0c\x51\x61a\x01") == {"a": 1}


def test_what_is_too_large() -> None:
    """Bodies, and what they would be uncompressed, are bounded before anything is read."""
    packed = zlib.compress(bytes(1000))
    snappy = varint(10**9) + b"\x00a"

    assert refused(HEAD + b"\x50" + bytes(200), limit=100) == "too_large"
    assert refused(b"=\xf3rl\x35\x00" + varint(1000) + varint(len(packed)) + packed, limit=100) == "too_large"
    assert refused(b"=\xf3rl\x25\x00" + varint(len(snappy)) + snappy) == "too_large"


def nested(levels: int) -> bytes:
    return HEAD + b"\x51\x61a" + b"\x41" * (levels - 1) + b"\x01"


def test_depth_is_bounded() -> None:
    """64 levels are read, 65 are not."""
    sereal.read(nested(64))

    assert refused(nested(65)) == "deep"
    assert refused(HEAD + b"\x51\x61a" * 65 + b"\x01") == "deep"


def bomb(levels: int, again: bytes, before: bytes, array: bytes) -> bytes:
    """Arrays that each hold the one before, ten times."""
    out = bytearray(b"\x28\x2a" + varint(levels))
    place = 0
    for level in range(levels):
        out += b"\x61" + bytes((97 + level,)) + before
        items = b"".join(again + varint(place) for _ in range(10)) if place else b"\x01" * 10
        place = len(out) + 1
        out += array + items
    return HEAD + bytes(out)


@pytest.mark.parametrize(
    "form",
    [(b"\x29", b"\x28", b"\xab\x0a"), (b"\x29", b"", b"\xca"), (b"\x2e", b"", b"\xca")],
    ids=["a reference", "a reference to a short array", "an alias"],
)
def test_references_cannot_fill_the_memory(form: tuple[bytes, bytes, bytes]) -> None:
    """A document of half a kilobyte that would be 10^12 items is refused, and little memory is used for that."""
    document = bomb(12, *form)
    assert len(sereal.read(bomb(3, *form))["c"][9][9]) == 10
    tracemalloc.start()

    reason = refused(document)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(document) < 700
    assert reason == "too_large"
    assert peak < 16 << 20


def test_copies_cannot_fill_the_memory() -> None:
    """Copies of a long text, and of a hash, are paid for."""
    text = b"\x26" + varint(4000) + b"x" * 4000
    many = b"\x28\x2b" + varint(1001) + text + b"\x2f\x08" * 1000
    hashes = (
        b"\x28\x2b" + varint(1001) + b"\x51\x26" + varint(4000) + b"k" * 4000 + b"\x01" + b"\x51\x2f\x09\x01" * 1000
    )

    assert refused(body(many)) == "too_large"
    assert refused(body(hashes)) == "too_large"


def test_references_to_a_long_array_cannot_fill_the_memory() -> None:
    """Each number of an array is paid for each time that the array is there."""
    numbers = b"\x28\xab" + varint(1000) + b"\x01" * 1000
    few = b"\x28\x2b" + varint(11) + numbers + b"\x29\x08" * 10
    many = b"\x28\x2b" + varint(1001) + numbers + b"\x29\x09" * 1000

    assert sereal.read(body(few)) == {"a": [[1] * 1000] * 11}
    assert refused(body(many)) == "too_large"


def test_references_count_as_depth() -> None:
    """What is pointed to counts with the levels above it."""
    deep = b"\x28\x2a\x02\x61a\x28\xab\x01" + b"\x41" * 40 + b"\x01" + b"\x61b" + b"\x41" * 40

    assert refused(HEAD + deep + b"\x29\x07") == "deep"
    assert refused(HEAD + deep.replace(b"\x28\xab\x01", b"\x28\xaa\x01\x61c") + b"\x29\x07") == "deep"


@given(st.binary(max_size=60))
def test_nothing_but_invalid_token(raw: bytes) -> None:
    """Whatever stands in a document: it is read as a dict or is an InvalidToken."""
    try:
        data = sereal.read(HEAD + b"\x52" + raw)
    except InvalidToken as error:
        assert error.reason  # noqa: PT017
    else:
        assert type(data) is dict


UNSUPPORTED = [
    ({"a": {"b": [1, 2**64]}}, "a.b[1]"),
    ({"a": -(2**63) - 1}, "a"),
    ({"a": (1,)}, "a"),
    ({"a": {"b": {1: 2}}}, "a.b"),
    ({"a": {1}}, "a"),
    ({"a": object}, "a"),
    ({"a": "\ud800"}, "a"),
    ({"\ud800" * 40: 1}, "(root) (a key)"),
    ({1: 2}, "(root)"),
]


@pytest.mark.parametrize(("data", "path"), UNSUPPORTED, ids=repr)
def test_what_cannot_be_written_is_named(data: dict[str, Any], path: str) -> None:
    """A value that Perl could not read back the same is refused with its path."""
    with pytest.raises(UnsupportedValue) as caught:
        sereal.write(data)

    assert caught.value.path == path


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_writing_is_bounded_in_depth(wrap: Any) -> None:
    """64 levels are written and read, 65 are not, and a session that contains itself is no endless loop."""
    data: Any = wrap(1)
    for _ in range(62):
        data = wrap(data)

    assert sereal.read(sereal.write({"a": data})) == {"a": data}
    with pytest.raises(UnsupportedValue):
        sereal.write({"a": wrap(data)})


WRITTEN: dict[str, Any] = {
    "numbers": [0, 15, 16, 127, 128, 2**64 - 1, -1, -16, -17, -(2**63), 1.5, float("inf")],
    "number": 300,
    "constants": [None, True, False],
    "none": None,
    "text": ["", "a" * 31, "a" * 32, "a" * 200, "é", "č" * 40, "é" * 20],
    "k" * 40: "v" * 40,
    "ž": "ž",
    "many": list(range(16)),
    "hash": {str(number): {} for number in range(16)},
    "float": 0.1,
    "short": "text",
}


def test_round_trip() -> None:
    """What is written is read the same, types included."""
    result = sereal.read(sereal.write(WRITTEN))

    assert result == WRITTEN
    assert repr(result) == repr(WRITTEN)


def test_bytes_are_written_as_binary() -> None:
    """Bytes are Perl's text without the UTF-8 flag, and read as Latin-1 text."""
    data = {"short": b"\xe9", "long": bytes(range(256))}

    result = sereal.read(sereal.write(data))

    assert result == {"short": "é", "long": bytes(range(256)).decode("latin-1")}

"""The Storable reader, byte by byte: what it reads, what it refuses and why, and that no image can exceed its bounds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign.perl import storable

NETWORK = b"\x05\x0b"
NATIVE = b"\x04\x0b\x0812345678\x04\x08\x08\x08"
BOOLEAN = b"\x11\x11JSON::PP::Boolean"


def refused(image: bytes, **options: Any) -> str:
    with pytest.raises(InvalidToken) as caught:
        storable.read(image, **options)
    return caught.value.reason


def network(item: bytes) -> bytes:
    """An image in network order whose hash has one key, `a`, and the given item under it."""
    return NETWORK + b"\x03\x00\x00\x00\x01" + item + b"\x00\x00\x00\x01a"


def native(item: bytes) -> bytes:
    return NATIVE + b"\x03\x01\x00\x00\x00" + item + b"\x01\x00\x00\x00a"


ITEMS: dict[bytes, Any] = {
    b"\x05": None,
    b"\x0e": None,
    b"\x1f": None,
    b"\x0f": True,
    b"\x10": False,
    b"\x22": True,
    b"\x23": False,
    b"\x08\x00": -128,
    b"\x08\xff": 127,
    b"\x09\xff\xff\xff\x00": -256,
    b"\x06\x00\x00\x00\x00\x00\x00\x01\x00": 256,
    b"\x07\x3f\xf8\x00\x00\x00\x00\x00\x00": 1.5,
    b"\x0a\x02\xe9b": "éb",
    b"\x01\x00\x00\x00\x02\xe9b": "éb",
    b"\x17\x03\xc3\xa9b": "éb",
    b"\x18\x00\x00\x00\x03\xc3\xa9b": "éb",
    b"\x04\x02\x00\x00\x00\x01\x05": [None],
    b"\x04\x03\x00\x00\x00\x01\x05\x00\x00\x00\x01b": {"b": None},
    b"\x04\x19\x00\x00\x00\x00\x02\x05\x01\x00\x00\x00\x02\xc3\xa9\x05\x02\x00\x00\x00\x01\xe8": {"é": None, "è": None},
    b"\x04\x02\x00\x00\x00\x02\x04\x02\x00\x00\x00\x00\x04\x00\x00\x00\x00\x04": [[], []],  # the same array twice
    b"\x04\x02\x00\x00\x00\x02\x04\x03\x00\x00\x00\x00\x00\x00\x00\x00\x03": [{}, {}],  # the same reference twice
    b"\x04\x02\x00\x00\x00\x02\x0a\x01b\x00\x00\x00\x00\x03": ["b", "b"],  # the same scalar twice
    b"\x14" + BOOLEAN + b"\x08\x81": True,
    b"\x04\x02\x00\x00\x00\x02\x14" + BOOLEAN + b"\x08\x81\x14\x00\x00\x00\x00\x04": [True, True],
    b"\x04\x02\x00\x00\x00\x02\x14" + BOOLEAN + b"\x08\x81\x14\x12\x00\x08\x80": [True, False],
    b"\x04\x11\x80\x00\x00\x00\x11JSON::PP::Boolean\x08\x80": False,
    b"\x04\x02\x00\x00\x00\x02\x14" + BOOLEAN + b"\x08\x81\x14\x12\x80\x00\x00\x00\x00\x08\x80": [True, False],
}


@pytest.mark.parametrize(("item", "value"), ITEMS.items(), ids=[item.hex() for item in ITEMS])
def test_every_type_is_read(item: bytes, value: object) -> None:
    """Each type gives its value, of its type."""
    result = storable.read(network(item))["a"]

    assert result == value
    assert type(result) is type(value)


NATIVE_ITEMS = {
    b"\x06\x00\x01\x00\x00\x00\x00\x00\x00": 256,
    b"\x07\x00\x00\x00\x00\x00\x00\xf8\x3f": 1.5,
    b"\x01\x02\x00\x00\x00ab": "ab",
    b"\x09\x00\x00\x01\x00": 256,
}


@pytest.mark.parametrize(("item", "value"), NATIVE_ITEMS.items(), ids=[item.hex() for item in NATIVE_ITEMS])
def test_native_order(item: bytes, value: object) -> None:
    """Lengths and numbers are little-endian in native order, apart from those of the network's own type."""
    assert storable.read(native(item)) == {"a": value}


REFUSED = {
    "object": b"\x04\x11\x04Some\x03\x00\x00\x00\x00",
    "a bare object": (b"\x11\x04Some\x03\x00\x00\x00\x00", "object"),
    "an object of a known class": (b"\x04\x12\x00\x03\x00\x00\x00\x00", "malformed"),
    "a boolean that is a hash": (b"\x14" + BOOLEAN + b"\x03\x00\x00\x00\x00", "object"),
    "a boolean that is two": (b"\x14" + BOOLEAN + b"\x08\x82", "object"),
    "an object that is a number": (b"\x14\x11\x04Some\x08\x81", "object"),
    "hook": b"\x04\x13\x00",
    "a bare hook": (b"\x13\x00", "hook"),
    "code": b"\x04\x1a\x0a\x01x",
    "bare code": (b"\x1a\x0a\x01x", "code"),
    "regexp": b"\x04\x20\x00\x01x\x00",
    "tied": b"\x04\x0b\x05",
    "a tied array": (b"\x0c\x05", "tied"),
    "a tied scalar": (b"\x0d\x05", "tied"),
    "a tied key": (b"\x15\x05", "tied"),
    "a tied index": (b"\x16\x05", "tied"),
    "weak": b"\x1b\x03\x00\x00\x00\x00",
    "a weak overload": (b"\x1c\x05", "weak"),
    "vstring": b"\x1d\x01v\x0a\x01x",
    "a long vstring": (b"\x1e\x00\x00\x00\x01v", "vstring"),
    "a large object": (b"\x21\x03", "too_large"),
    "a type that does not exist": (b"\x24", "unsupported"),
    "reference": b"\x04\x0a\x01x",
    "a reference to a reference": (b"\x04\x04\x05", "reference"),
    "a second reference to a scalar": (
        b"\x04\x02\x00\x00\x00\x02\x0a\x01b\x04\x00\x00\x00\x00\x03",
        "reference",
    ),
    "cycle": b"\x04\x00\x00\x00\x00\x00",
    "a cycle of references": (b"\x04\x02\x00\x00\x00\x01\x00\x00\x00\x00\x01", "cycle"),
    "an alias of a hash": (b"\x04\x02\x00\x00\x00\x02\x04\x03\x00\x00\x00\x00\x00\x00\x00\x00\x04", "malformed"),
    "an alias of nothing": (b"\x00\x00\x00\x00\x09", "malformed"),
    "a bare hash": (b"\x03\x00\x00\x00\x00", "malformed"),
    "a bare array": (b"\x02\x00\x00\x00\x00", "malformed"),
    "restricted": b"\x04\x19\x80\x00\x00\x00\x00",
    "a locked key": (b"\x04\x19\x00\x00\x00\x00\x01\x05\x04\x00\x00\x00\x01b", "restricted"),
    "a placeholder": (b"\x04\x19\x00\x00\x00\x00\x01\x0e\x10\x00\x00\x00\x01b", "restricted"),
    "a key that is a scalar": (b"\x04\x19\x00\x00\x00\x00\x01\x05\x08\x00\x00\x00\x01b", "restricted"),
    "text that is not UTF-8": (b"\x17\x01\xe9", "malformed"),
    "a key that is not UTF-8": (b"\x04\x19\x00\x00\x00\x00\x01\x05\x01\x00\x00\x00\x01\xe9", "malformed"),
    "a negative length": (b"\x01\xff\xff\xff\xff", "malformed"),
    "text that ends too early": (b"\x0a\x7fabc", "malformed"),
    "an array of 2^31 - 1 members": (b"\x04\x02\x7f\xff\xff\xff", "too_large"),
    "a hash of 2^31 - 1 members": (b"\x04\x03\x7f\xff\xff\xff", "too_large"),
    "a number that ends too early": (b"\x09\x00", "malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    """Each thing that is no plain data has its own reason, each damage is malformed."""
    case = REFUSED[name]
    item, reason = case if isinstance(case, tuple) else (case, name)

    assert refused(network(item)) == reason


ROOTS = {
    b"": "malformed",
    b"\x05": "malformed",
    b"\x05\x0d\x03\x00\x00\x00\x00": "malformed",  # a later minor version
    b"\x07\x0b\x03\x00\x00\x00\x00": "malformed",  # a later major version
    b"pst0\x05\x0b\x03\x00\x00\x00\x00": "malformed",  # a file, not an image in memory
    b"\x04\x0b\x0887654321\x04\x08\x08\x08\x03\x00\x00\x00\x00": "malformed",  # big-endian
    b"\x04\x0b\x041234\x04\x04\x04\x08\x03\x00\x00\x00\x00": "malformed",  # 32 bits
    NETWORK + b"\x02\x00\x00\x00\x00": "malformed",  # an array
    NETWORK + b"\x0a\x01x": "malformed",
    NETWORK + b"\x03\x00\x00\x00\x00\x00": "malformed",  # something behind it
    NETWORK + b"\x11\x04Some\x03\x00\x00\x00\x00": "object",
    NETWORK + b"\x11\x01\xe9\x03\x00\x00\x00\x00": "malformed",  # the name of a class that is not UTF-8
    NETWORK + b"\x13\x00": "hook",
}


@pytest.mark.parametrize(("image", "reason"), ROOTS.items(), ids=[image.hex() for image in ROOTS])
def test_root_that_is_refused(image: bytes, reason: str) -> None:
    """An image begins with its header and holds one plain hash."""
    assert refused(image) == reason


def test_the_root_may_be_of_one_class() -> None:
    """An object of the class that is asked for is read as its hash; inside, it is still refused."""
    root = NETWORK + b"\x11\x04Some\x03\x00\x00\x00\x00"
    inside = network(b"\x04\x11\x04Some\x03\x00\x00\x00\x00")

    assert storable.read(root, classes=["Some"]) == {}
    assert refused(root, classes=["Other"]) == "object"
    assert refused(inside, classes=["Some"]) == "object"


def nested(levels: int) -> bytes:
    return network(b"\x04\x02\x00\x00\x00\x01" * (levels - 1) + b"\x05")


def test_depth_is_bounded() -> None:
    """64 levels are read, 65 are not."""
    storable.read(nested(64))

    assert refused(nested(65)) == "deep"


def bomb(levels: int) -> bytes:
    """Arrays that each hold the one before, ten times."""
    out = bytearray(NETWORK + b"\x03" + levels.to_bytes(4, "big"))
    number = 1  # of the next item; the outermost hash is 0
    before = b""
    for level in range(levels):
        reference = b"\x04\x00" + before
        out += b"\x04\x02\x00\x00\x00\x0a" + (b"\x05" if not before else reference) * 10
        before = (number + 1).to_bytes(4, "big")
        number += 12
        out += b"\x00\x00\x00\x01" + bytes((97 + level,))
    return bytes(out)


def test_references_cannot_fill_the_memory() -> None:
    """An image of less than a kilobyte that would be 10^12 items is refused, and little memory is used for that."""
    image = bomb(12)
    tracemalloc.start()

    reason = refused(image)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(image) < 1000
    assert reason == "too_large"
    assert peak < 16 << 20
    assert storable.read(bomb(3))["c"][0][9] == [None] * 10


def test_the_image_itself_is_bounded() -> None:
    """More bytes than the limit are not looked at."""
    assert refused(bytes(101), limit=100) == "too_large"


@given(st.binary(max_size=60), st.sampled_from([NETWORK, NATIVE]))
def test_nothing_but_invalid_token(raw: bytes, head: bytes) -> None:
    """Whatever stands in an image: it is read as a dict or is an InvalidToken."""
    try:
        data = storable.read(head + b"\x03" + raw)
    except InvalidToken as error:
        assert error.reason  # noqa: PT017
    else:
        assert type(data) is dict


WRITTEN: dict[str, Any] = {
    "none": None,
    "small": [-128, 127, 0],
    "wide": [-129, 128, 2**31 - 1, -(2**31)],
    "text": ["", "a", "é", "a" * 255, "a" * 256, "č" * 128],
    "hash": {"é": {}, "a": []},
}


@pytest.mark.parametrize("order", [True, False])
def test_round_trip(order: bool) -> None:
    """What is written in either order is read the same, where the order can carry it."""
    assert storable.read(storable.write(WRITTEN, network=order)) == WRITTEN


def test_native_order_keeps_numbers() -> None:
    """Floats and 64-bit integers stay numbers in native order; beyond 2^63 Storable itself writes text."""
    data = {"f": 0.1, "i": 2**63 - 1, "n": -(2**63)}

    assert storable.read(storable.write(data, network=False)) == data
    assert storable.read(storable.write({"u": 2**63}, network=False)) == {"u": "9223372036854775808"}


def test_network_order_makes_text_of_numbers() -> None:
    """Floats and integers of more than 32 bits are text in network order, as Storable itself writes them."""
    data = {"f": 0.1, "i": 2**31}

    assert storable.read(storable.write(data)) == {"f": "0.1", "i": "2147483648"}


def test_booleans_and_bytes() -> None:
    """Booleans become 1 and 0, bytes the Latin-1 text that Perl has for them."""
    data = {"t": True, "f": False, "b": b"\xe9", "l": b"\xe9" * 300}

    result = storable.read(storable.write(data))

    assert result == {"t": 1, "f": 0, "b": "é", "l": "é" * 300}
    assert type(result["t"]) is int


def test_what_cannot_be_written_is_named() -> None:
    """A value that Perl could not read back is refused with its path."""
    with pytest.raises(UnsupportedValue) as caught:
        storable.write({"a": [{"b": {1, 2}}]})

    assert caught.value.path == "a[0].b"

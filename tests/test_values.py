"""What a session may hold: round trips with types, and everything else refused with its path."""

from __future__ import annotations

import array
import base64
import datetime as dt
import json
import string
import subprocess
import sys
from collections import ChainMap, deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
import pytest
from hypothesis import given, settings
from markupsafe import Markup
from tests.strategies import same, sessions
from tests.subclasses import Apart, Broken, Color, ManyValued, Nobody, NoZone, Pair, Point, Shouted, Twice, Word

from hardtack import values
from hardtack.errors import UnsupportedValue


@settings(max_examples=500, deadline=None)
@given(data=sessions)
def test_messagepack_keeps_values_and_types(data: dict[str, Any]) -> None:
    """What goes into MessagePack comes out, and is written the same way again."""
    packed = values.pack(data)

    back = values.unpack(packed)

    assert same(back, data)
    assert values.pack(back) == packed


@settings(max_examples=500, deadline=None)
@given(data=sessions)
def test_json_keeps_values_and_types(data: dict[str, Any]) -> None:
    """What goes into JSON comes out, through real JSON text."""
    text = json.dumps(values.to_json(data), allow_nan=False)

    assert same(values.from_json(json.loads(text)), data)


BOTH_FORMS: list[Callable[[dict[str, Any]], Any]] = [values.pack, values.to_json]


UNSUPPORTED: list[tuple[Any, str, str]] = [
    (object(), "object", "store an id"),
    (1j, "complex", "store an id"),
    (lambda: None, "function", "store an id"),
    (Point(), "tests.subclasses.Point", "store an id"),
    (range(3), "range", r"list\(…\)"),
    (deque([1]), "collections.deque", r"list\(…\)"),
    ({"a": 1}.keys(), "dict_keys", r"list\(…\)"),
    (ChainMap({"a": 1}), "collections.ChainMap", "a plain dict"),
    (Color.RED, "tests.subclasses.Color", r"store its \.value"),
    (ManyValued(a=["1", "2"]), "tests.subclasses.ManyValued", "as dict it would not be equal"),
    (Shouted(["a"]), "tests.subclasses.Shouted", "as list it would not be equal"),
    (Twice([1]), "tests.subclasses.Twice", "as tuple it would not be equal"),
    (Nobody("x"), "tests.subclasses.Nobody", "as str it would not be equal"),
    (Broken(1), "tests.subclasses.Broken", "as int it would not be equal"),
    ({Apart("x"): 1, "x": 2}, "dict", "would become one"),
    ({Apart("x"), "x"}, "set", "would become one"),
    (memoryview(b"ab").cast("c"), "memoryview", "as bytes it would not be equal"),
    (memoryview(array.array("i", [1] * 100)), "memoryview", "as bytes it would not be equal"),
    ((memoryview(array.array("i", [1] * 100_000)),), "memoryview", "as bytes it would not be equal"),
    ("\ud800", "str", "surrogate"),
    (Markup("\ud800"), "str", "surrogate"),
    (Word("\ud800"), "str", "surrogate"),
    ({"\ud800": 1}, "str", "surrogate"),
    ({Color.RED: 1}, "tests.subclasses.Color", r"store its \.value"),
    ({(1, 2): 1}, "dict", "a key is of type tuple"),
    ({Pair(1, 2): 1}, "dict", "a key is of type tests.subclasses.Pair"),
    ({frozenset(): 1}, "dict", "a key is of type frozenset"),
    ({1j: 1}, "complex", "store an id"),
    (dt.datetime(2024, 1, 1, tzinfo=NoZone()), "datetime.datetime with tests.subclasses.NoZone", "astimezone"),
    (dt.time(1, tzinfo=NoZone()), "datetime.time with tests.subclasses.NoZone", "astimezone"),
    (dt.time(1, tzinfo=dt.timezone(dt.timedelta(0), "\ud800")), "str", "surrogate"),
]


def nearest(value: Any) -> str:
    """Where the value of `test_everything_else_is_refused` is named: in a tuple, its first member."""
    return "[0]" if type(value) is tuple else ""


@pytest.mark.parametrize("form", BOTH_FORMS, ids=["messagepack", "json"])
@pytest.mark.parametrize(
    ("value", "type_name", "problem"), UNSUPPORTED, ids=[str(index) for index in range(len(UNSUPPORTED))]
)
def test_everything_else_is_refused(form: Callable[[Any], Any], value: Any, type_name: str, problem: str) -> None:
    """A value of another type is an error with path, type and advice, wherever it stands."""
    for data, path in (
        ({"a": value}, "a"),
        ({"a": [1, {"b c": value}]}, "a[1]['b c']"),
        ({"a": ({1: value},)}, "a[0][1]"),
    ):
        with pytest.raises(UnsupportedValue, match=problem) as caught:
            form(data)

        named = caught.value.path.removesuffix(" (a key)").removesuffix(" (the name of its zone)")
        assert named == path + nearest(value)
        assert caught.value.type_name == type_name


def nested(depth: int, wrap: Callable[[Any], Any]) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = wrap(value)
    return {"a": value}


WRAPS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: {"k": inner},
    lambda inner: (inner,),
    lambda inner: {1: inner},
    lambda inner: frozenset([inner]),
]


@pytest.mark.parametrize("form", BOTH_FORMS, ids=["messagepack", "json"])
@pytest.mark.parametrize("wrap", WRAPS, ids=["list", "dict", "tuple", "int keys", "frozenset"])
def test_depth_is_limited(form: Callable[[Any], Any], wrap: Callable[[Any], Any]) -> None:
    """64 levels are kept, 65 and 500 are refused, of every container."""
    form(nested(64, wrap))

    for depth in (65, 500):
        with pytest.raises(UnsupportedValue, match="64 levels"):
            form(nested(depth, wrap))


@pytest.mark.parametrize("form", BOTH_FORMS, ids=["messagepack", "json"])
def test_many_containers_are_not_deep(form: Callable[[Any], Any]) -> None:
    """Width is not depth: a thousand small lists and strings of every kind are kept."""
    form({"a": [[index, {"k": (index, {1: "Łódź, Ďábel, ƒ"})}] for index in range(1000)], "b": b"\xc4\xc5\xc6" * 50})


@pytest.mark.parametrize("form", BOTH_FORMS, ids=["messagepack", "json"])
def test_cycles_are_refused(form: Callable[[Any], Any]) -> None:
    """A value that contains itself is told, instead of a recursion error."""
    data: dict[str, Any] = {"a": []}
    data["a"].append(data["a"])

    with pytest.raises(UnsupportedValue, match="contains itself"):
        form(data)


def test_the_same_object_twice_is_no_cycle() -> None:
    """One list in two places is two lists when it comes back."""
    shared = [1]

    assert values.unpack(values.pack({"a": shared, "b": [shared, {1: shared}]})) == {"a": [1], "b": [[1], {1: [1]}]}


def test_sets_are_written_in_one_order() -> None:
    """Sets of equal members are written the same way, whatever order they were filled in."""
    forwards, backwards = {str(number) for number in range(50)}, {str(number) for number in reversed(range(50))}

    assert values.pack({"s": forwards}) == values.pack({"s": backwards})
    assert values.to_json({"s": forwards}) == values.to_json({"s": backwards})
    assert values.unpack(values.pack({"s": set(), "f": frozenset()})) == {"s": set(), "f": frozenset()}


@pytest.mark.parametrize("letter", ["ą", "ł", "ƒ", "Ŀ"])
@pytest.mark.parametrize("length", [1, 100, 190, 40_000])
@pytest.mark.parametrize("rest", [0, 200])
def test_letters_that_look_like_binary_are_kept(letter: str, length: int, rest: int) -> None:
    """The first byte of these letters is what announces binary data in MessagePack."""
    data = {"text": letter * length + "x" * rest}

    assert values.unpack(values.pack(data)) == data


@pytest.mark.parametrize("length", [0, 1, 127, 128, 191, 192, 255, 256, 65_535, 65_536])
def test_memoryviews_of_every_length_are_seen(length: int) -> None:
    """MessagePack writes a memoryview of anything as its bytes: none slips through that is not equal to them."""
    data = {"pad": "ł" * 50, "a": ({"b": memoryview(bytes(length + 1)).cast("c")},), "z": "ą" * 200}

    with pytest.raises(UnsupportedValue, match="memoryview"):
        values.pack(data)


def test_dicts_that_read_as_tags_are_escaped() -> None:
    """In JSON, a user's own {"$tuple": …} stays a dict."""
    data = {"$tuple": [1, 2]}

    assert values.to_json(data) == {"$": {"$tuple": [1, 2]}}
    assert values.from_json(values.to_json(data)) == data


@pytest.mark.parametrize("bits", [4095, 4096, 4097, 100_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_of_any_size(bits: int, sign: int) -> None:
    """Also such as Python refuses to write in decimal."""
    data = {"n": sign * (2**bits - 1)}

    assert values.unpack(values.pack(data)) == data
    assert values.from_json(json.loads(json.dumps(values.to_json(data)))) == data


def test_known_encodings() -> None:
    """The encodings that docs/token-format.md publishes, type by type."""
    data = {
        "date": dt.date(2024, 2, 29),
        "when": dt.datetime(2024, 2, 29, 12, 30, 15, 250, ZoneInfo("Europe/Berlin")),
        "utc": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        "delta": dt.timedelta(days=-1, seconds=5, microseconds=7),
        "price": Decimal("1.10"),
        "id": UUID("12345678-1234-5678-1234-567812345678"),
        "big": 2**70,
        "names": {1: "one"},
    }

    assert values.to_json(data) == {
        "date": {"$date": "2024-02-29"},
        "when": {"$datetime": ["2024-02-29T12:30:15.000250", 0, "Europe/Berlin"]},
        "utc": {"$datetime": ["2024-01-01T00:00:00", 0, 0]},
        "delta": {"$timedelta": [-1, 5, 7]},
        "price": {"$decimal": "1.10"},
        "id": {"$uuid": "12345678-1234-5678-1234-567812345678"},
        "big": 2**70,
        "names": {"$map": [[1, "one"]]},
    }


def test_markup_without_markupsafe_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without markupsafe reads Markup as text, which every template escapes."""
    packed = values.pack({"m": Markup("<b>")})
    monkeypatch.setitem(sys.modules, "markupsafe", None)

    assert type(values.unpack(packed)["m"]) is str


def test_decode_bytes_takes_one_spelling() -> None:
    """Base64url without padding, in its canonical spelling."""
    assert values.decode_bytes("_-8") == b"\xff\xef"
    for text in (
        "_-9",
        "_-8=",
        "/+8",
        "_",
        "_-8\n",
        "é",
        "AA==",
        "A=AA",
        "AA=A",
        "=AAA",
        "AAAA=",
        "AAAAA",
        "AA\0A",
        " AAA",
    ):
        with pytest.raises(ValueError):
            values.decode_bytes(text)


@pytest.mark.parametrize("beginning", ["A", "_-", "AAAAb", "AAAA-_"], ids=["1", "2", "5", "6"])
def test_decode_bytes_takes_no_bits_beyond_the_last_byte(beginning: str) -> None:
    """Else a text that is not what was written would be read as that."""
    for character in string.ascii_letters + string.digits + "-_":
        text = beginning + character
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

        if base64.urlsafe_b64encode(raw).decode().rstrip("=") == text:
            assert values.decode_bytes(text) == raw
        else:
            with pytest.raises(ValueError):
                values.decode_bytes(text)


def test_what_is_written_as_what_was_stored_changes_nothing() -> None:
    """A bytearray with the content of the stored bytes, or a subclass, is written alike; what cannot be kept is refused."""
    packed = values.pack_last([{"a": b"x", "b": "y"}], 0)

    assert values.is_packed_as([{"a": bytearray(b"x"), "b": Word("y")}], packed)
    assert not values.is_packed_as([{"a": b"y", "b": "y"}], packed)
    assert values.is_packed_as([{"a": {1: 2}}], values.pack_last([{"a": {1: 2}}], 0))
    with pytest.raises(UnsupportedValue):
        values.is_packed_as([{"a": object()}], packed)
    with pytest.raises(UnsupportedValue):
        values.is_packed_as([{"a": b"x", "b": Word("y")}], packed, strict=True)


def test_what_is_written_with_the_help_of_another_step_is_compared_too() -> None:
    """A number of more than 64 bits is no error of what was stored."""
    packed = values.pack_last([2**70], 0)

    assert values.pack_unless([2**70], packed, 0) is None
    assert values.pack_unless([2**70 + 1], packed, 0) is not None


def test_what_few_sessions_hold_is_not_imported_with_hardtack() -> None:
    """decimal and zoneinfo took a fifth of its import."""
    program = (
        "import sys; before = set(sys.modules); import hardtack; "
        "print({'decimal', 'zoneinfo'} & set(sys.modules) - before)"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout == "set()\n"


@pytest.mark.parametrize(
    "key", [[1], ormsgpack.Ext(1, b"\x90"), ormsgpack.Ext(3, b"\x90")], ids=["list", "tuple", "set"]
)
def test_a_key_that_another_writer_took_for_one_is_not_read(key: Any) -> None:
    """What would come in could not be written again: each request of the session would fail."""
    packed = ormsgpack.packb({"a": ormsgpack.Ext(12, ormsgpack.packb([key, 1]))})

    with pytest.raises((ValueError, TypeError)):
        values.unpack(packed)
    with pytest.raises((ValueError, TypeError)):
        values.from_json({"$map": [[{"$tuple": []}, 1]]})

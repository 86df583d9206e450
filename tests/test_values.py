"""What a session may hold: round trips with types, and everything else refused with its path."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
import pytest
from hypothesis import given, settings
from markupsafe import Markup
from tests.strategies import same, sessions

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


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Word(str):
    __slots__ = ()


class Pair(NamedTuple):
    one: int
    two: int


@dataclasses.dataclass
class Point:
    x: int = 0


class FixedZone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def dst(self, when: dt.datetime | None) -> None:
        return None

    def tzname(self, when: dt.datetime | None) -> str:
        return "fixed"


UNSUPPORTED: list[tuple[Any, str, str]] = [
    (object(), "object", "store an id"),
    (1j, "complex", "store an id"),
    (range(3), "range", "store an id"),
    (Color.RED, "tests.test_values.Color", "store an id"),
    (Level.LOW, "tests.test_values.Level", "come back as int"),
    (Word("x"), "tests.test_values.Word", "come back as str"),
    (Pair(1, 2), "tests.test_values.Pair", "come back as tuple"),
    (Point(), "tests.test_values.Point", "store an id"),
    (OrderedDict(a=1), "collections.OrderedDict", "come back as dict"),
    (Counter("ab"), "collections.Counter", "come back as dict"),
    (defaultdict(list), "collections.defaultdict", "come back as dict"),
    (bytearray(b"x"), "bytearray", "come back as bytes"),
    (bytearray(200), "bytearray", "come back as bytes"),
    (bytearray(300), "bytearray", "come back as bytes"),
    (bytearray(70_000), "bytearray", "come back as bytes"),
    (memoryview(b"x"), "memoryview", "come back as bytes"),
    ("\ud800", "str", "surrogate"),
    (Markup("\ud800"), "str", "surrogate"),
    ({"\ud800": 1}, "str", "surrogate"),
    ({1.5: 1}, "dict", "a key is of type float"),
    ({None: 1}, "dict", "a key is of type NoneType"),
    ({True: 1}, "dict", "a key is of type bool"),
    ({b"k": 1}, "dict", "a key is of type bytes"),
    ({Word("k"): 1}, "dict", "a key is of type tests.test_values.Word"),
    (dt.datetime(2024, 1, 1, tzinfo=FixedZone()), "datetime.datetime with tests.test_values.FixedZone", "zone"),
    (dt.time(1, tzinfo=FixedZone()), "datetime.time with tests.test_values.FixedZone", "zone"),
    (lambda: None, "function", "store an id"),
]


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

        assert caught.value.path.removesuffix(" (a key)") == path
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
def test_letters_that_look_like_binary_are_kept(letter: str, length: int) -> None:
    """The first byte of these letters is what announces binary data in MessagePack."""
    data = {"text": letter * length + "x" * 200}

    assert values.unpack(values.pack(data)) == data


@pytest.mark.parametrize("length", [0, 1, 127, 128, 191, 192, 255, 256, 65_535, 65_536])
def test_bytearrays_of_every_length_are_seen(length: int) -> None:
    """MessagePack writes a bytearray as bytes: none slips through."""
    data = {"pad": "ł" * 50, "a": bytearray(length), "z": "ą" * 200}

    with pytest.raises(UnsupportedValue, match="bytearray"):
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
    for text in ("_-9", "_-8=", "/+8", "_", "_-8\n", "é"):
        with pytest.raises(ValueError):
            values.decode_bytes(text)


def test_bytearray_is_not_taken_for_the_bytes_that_were_stored() -> None:
    """A bytearray with the content of the stored bytes is written alike, so it changes nothing; another one is refused."""
    packed = values.pack_last([{"a": b"x"}], 0)

    assert values.is_packed_as([{"a": bytearray(b"x")}], packed)
    assert not values.is_packed_as([{"a": b"y"}], packed)
    assert values.is_packed_as([{"a": {1: 2}}], values.pack_last([{"a": {1: 2}}], 0))
    with pytest.raises(UnsupportedValue):
        values.is_packed_as([{"a": object()}], packed)


def test_what_few_sessions_hold_is_not_imported_with_hardtack() -> None:
    """decimal and zoneinfo took a fifth of its import."""
    program = (
        "import sys; before = set(sys.modules); import hardtack; "
        "print({'decimal', 'zoneinfo'} & set(sys.modules) - before)"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout == "set()\n"


def test_a_key_that_another_writer_took_for_one_is_not_read() -> None:
    """What would come in could not be written again: each request of the session would fail."""
    packed = ormsgpack.packb({"a": ormsgpack.Ext(12, ormsgpack.packb([True, 1]))})

    with pytest.raises(ValueError):
        values.unpack(packed)

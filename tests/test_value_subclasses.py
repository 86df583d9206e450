"""What becomes of a subclass of what a session keeps: it comes out as that type, equal to what went in, or is refused."""

from __future__ import annotations

import datetime as dt
import enum
import io
import json
import logging
import re
import struct
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from tests.strategies import same, sessions
from tests.subclasses import (
    Anywhere,
    Berlin,
    Buffer,
    Claims,
    Color,
    Day,
    Elsewhere,
    Frozen,
    Hour,
    Html,
    Identifier,
    Keyless,
    Level,
    Moment,
    Names,
    Number,
    Pair,
    Permission,
    Price,
    Raw,
    Role,
    Rows,
    Size,
    Span,
    Spot,
    Unheard,
    Word,
    turned,
)
from tests.test_values import BOTH_FORMS, UNSUPPORTED, nested

from hardtack import values
from hardtack.errors import UnsupportedValue

WRAPS: list[Callable[[Any], Any]] = [
    lambda inner: inner,
    lambda inner: [inner],
    lambda inner: {"k": inner},
    lambda inner: (inner,),
    lambda inner: {1: inner},
    lambda inner: ({"k": [inner]},),
]

NOON = dt.datetime(2031, 5, 9, 12, 30, 15, 10)
PLUS_2, MINUS_7 = dt.timezone(dt.timedelta(hours=2)), dt.timezone(dt.timedelta(hours=-7))


def of_its_own(key: str | None) -> ZoneInfo:
    """Berlin's time from a file, under whatever key."""
    return ZoneInfo.from_file(io.BytesIO(berlin()), key)


def berlin() -> bytes:
    """A file of a zone that is two hours ahead all the year."""
    header = b"TZif2" + bytes(15)
    old = header + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbB", 7200, 0, 0) + b"TWO\0"
    return old + old + b"\n<TWO>-2\n"


KEPT: list[tuple[Any, Any]] = [
    (Word("x"), "x"),
    (Level.LOW, 1),
    (Role.ADMIN, "admin"),
    (Permission.READ | Permission.WRITE, 3),
    (Size.HALF, 0.5),
    (Spot.ORIGIN, (0, 0)),
    (Number(1.5), 1.5),
    (Number("nan"), float("nan")),
    (Price("1.80"), Decimal("1.80")),
    (Price("NaN"), Decimal("NaN")),
    (Raw(b"x"), b"x"),
    (bytearray(b"x"), b"x"),
    (Buffer(b"x" * 300), b"x" * 300),
    (memoryview(b"x" * 70_000), b"x" * 70_000),
    (memoryview(b"abcd")[::2], b"ac"),
    (Html("<b>"), Markup("<b>")),
    (Pair(1, 2), (1, 2)),
    (Rows([Word("x")]), ["x"]),
    (Names([Level.LOW]), {1}),
    (Frozen([Level.LOW]), frozenset([1])),
    (Claims(sub="ada", roles=[Role.ADMIN]), {"sub": "ada", "roles": ["admin"]}),
    (Claims({1: Pair(1, 2)}), {1: (1, 2)}),
    (turned(), {"b": 2, "a": 1}),
    (Counter("ab"), {"a": 1, "b": 1}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    ({Role.ADMIN: 1, Word("x"): 2}, {"admin": 1, "x": 2}),
    ({Level.LOW: 1}, {1: 1}),
    (Moment(2031, 5, 9, fold=1, tzinfo=dt.UTC), dt.datetime(2031, 5, 9, fold=1, tzinfo=dt.UTC)),
    (Day(2031, 5, 9), dt.date(2031, 5, 9)),
    (Hour(7, 8, 9, 10, fold=1), dt.time(7, 8, 9, 10, fold=1)),
    (Span(days=-1, microseconds=5), dt.timedelta(days=-1, microseconds=5)),
    (Identifier(int=5), UUID(int=5)),
    (NOON.replace(tzinfo=Anywhere()), NOON.replace(tzinfo=PLUS_2)),
    (dt.time(7, tzinfo=Anywhere()), dt.time(7)),
    (NOON.replace(tzinfo=Berlin("Europe/Berlin")), NOON.replace(tzinfo=ZoneInfo("Europe/Berlin"))),
    (NOON.replace(tzinfo=Elsewhere("Europe/Berlin")), NOON.replace(tzinfo=MINUS_7)),
    (NOON.replace(tzinfo=Unheard("Europe/Berlin")), NOON.replace(tzinfo=MINUS_7)),
    (NOON.replace(tzinfo=Keyless("Europe/Berlin")), NOON.replace(tzinfo=MINUS_7)),
    (NOON.replace(tzinfo=of_its_own("Nowhere/Land")), NOON.replace(tzinfo=PLUS_2)),
    (NOON.replace(tzinfo=of_its_own(None)), NOON.replace(tzinfo=PLUS_2)),
    (NOON.replace(tzinfo=of_its_own("Asia/Tokyo")), NOON.replace(tzinfo=PLUS_2)),
    (NOON.replace(tzinfo=of_its_own("Europe/Berlin")), NOON.replace(tzinfo=ZoneInfo("Europe/Berlin"))),
    (dt.time(7, tzinfo=ZoneInfo("Europe/Berlin")), dt.time(7, tzinfo=ZoneInfo("Europe/Berlin"))),
    (NOON.replace(tzinfo=PLUS_2), NOON.replace(tzinfo=PLUS_2)),
    ({None: 1, True: 2, 2.5: 3, b"k": 4}, {None: 1, True: 2, 2.5: 3, b"k": 4}),
    ({NOON: 1, NOON.date(): 2, NOON.time(): 3}, {NOON: 1, NOON.date(): 2, NOON.time(): 3}),
    ({dt.timedelta(1): 1, Decimal(5): 2, UUID(int=5): 3}, {dt.timedelta(1): 1, Decimal(5): 2, UUID(int=5): 3}),
    ({Markup("<b>"): 1, 2**70: 2, float("inf"): 3}, {Markup("<b>"): 1, 2**70: 2, float("inf"): 3}),
]


def through_messagepack(data: Any) -> Any:
    return values.unpack(values.pack(data))


def through_json(data: Any) -> Any:
    return values.from_json(json.loads(json.dumps(values.to_json(data), allow_nan=False)))


THROUGH: list[Callable[[Any], Any]] = [through_messagepack, through_json]


@pytest.mark.parametrize("through", THROUGH, ids=["messagepack", "json"])
@pytest.mark.parametrize(
    ("value", "expected"), KEPT, ids=[f"{i} {type(each[0]).__name__}" for i, each in enumerate(KEPT)]
)
def test_a_subclass_comes_out_as_what_it_is_underneath(
    through: Callable[[Any], Any], value: Any, expected: Any
) -> None:
    """In the nearest built-in type, equal to what went in, wherever it stands; and so it stays."""
    for wrap in WRAPS:
        data = {"a": wrap(value)}

        back = through(data)

        assert same(back["a"], wrap(expected))
        assert same(through(back), back)
        assert values.is_packed_as([data], values.pack_last([back], 0))
        assert same(values.plain(data), back)


CHANGED = [each for each in KEPT if not same(*each)]


@pytest.mark.parametrize("form", [partial(values.pack, strict=True), partial(values.to_json, strict=True)])
@pytest.mark.parametrize("value", [each[0] for each in CHANGED], ids=[type(each[0]).__name__ for each in CHANGED])
def test_strictly_a_subclass_is_refused(form: Callable[[Any], Any], value: Any) -> None:
    """Who wants to get back what was put in, or an error, says so; and is told what to do instead."""
    with pytest.raises(
        UnsupportedValue, match=r"come back as|store its \.value|neither a datetime\.timezone"
    ) as caught:
        form({"pad": "ł" * 50, "a": [value]})

    assert caught.value.path.startswith("a[0]")


@pytest.mark.parametrize("value", [each[1] for each in KEPT if same(*each)])
def test_strictly_what_keeps_its_type_is_kept(value: Any) -> None:
    """Strictness is about types, not about keys."""
    data = {"a": value, "b": b"x", "c": (1, {2})}

    assert same(values.unpack(values.pack(data, strict=True)), data)
    assert same(values.from_json(values.to_json(data, strict=True)), data)


@pytest.mark.parametrize("value", [Role.ADMIN, Level.LOW, Color.RED, Spot.ORIGIN])
def test_an_enum_is_told_to_store_its_value(value: enum.Enum) -> None:
    """str() of a member of (str, Enum) is 'Role.ADMIN'."""
    with pytest.raises(UnsupportedValue, match=r"store its \.value"):
        values.check({"a": value}, strict=True)


CALLS = {
    "dict": dict,
    "list": list,
    "tuple": tuple,
    "str": str,
    "int": int,
    "float": float,
    "bytes": bytes,
    "set": set,
    "frozenset": frozenset,
}


@pytest.mark.parametrize("value", [each[0] for each in CHANGED] + [each[0] for each in UNSUPPORTED])
def test_advice_can_be_followed(value: Any) -> None:
    """What a message says to call does not raise, and gives what is kept."""
    with pytest.raises(UnsupportedValue) as refused:
        values.check({"a": value}, strict=True)

    call = re.search(r"convert it with (\w+)\(…\)", refused.value.problem)
    if call and refused.value.path == "a":
        CALLS[call[1]](value)
    if ".value" in refused.value.problem and isinstance(value, enum.Enum):
        values.check({"a": value.value})


def test_advice_for_what_libraries_make() -> None:
    """An array or a number of numpy, and a translation of Django that is still to be looked up."""
    numpy = pytest.importorskip("numpy")
    lazy = pytest.importorskip("django.utils.functional")
    promise = lazy.lazy(str, str)("x")

    for value, call in ((numpy.zeros(2), ".tolist()"), (numpy.int64(1), ".item()"), (promise, "str(…)")):
        with pytest.raises(UnsupportedValue, match=re.escape(f"convert it with {call} first")):
            values.check({"a": value}, strict=True)


def test_keeping_as_another_type_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """For each type one line in the log, of the types alone."""

    class Told(str):
        __slots__ = ()

    caplog.set_level(logging.INFO, "hardtack")

    for _ in range(3):
        values.pack({"a": Told("secret"), "b": [Told("other")], "c": {1: Told("third")}})

    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "Told are kept in the session as str" in record.getMessage()
    assert "secret" not in caplog.text


@pytest.mark.parametrize("form", BOTH_FORMS, ids=["messagepack", "json"])
def test_depth_and_cycles_are_seen_in_subclasses(form: Callable[[dict[str, Any]], Any]) -> None:
    """A subclass is no way past the limits."""
    wraps: list[Callable[[Any], Any]] = [
        lambda inner: Claims(a=inner),
        lambda inner: Rows([inner]),
        lambda inner: Pair(inner, 1),
    ]
    cycle = Claims()
    cycle["a"] = Rows([cycle])

    for wrap in wraps:
        form(nested(64, wrap))
        for depth in (65, 500):
            with pytest.raises(UnsupportedValue, match="64 levels"):
                form(nested(depth, wrap))
    with pytest.raises(UnsupportedValue, match="contains itself"):
        form({"a": cycle})


UNDER_A_FAKE_CLOCK = """
import datetime
real, real_day = datetime.datetime, datetime.date
class FakeDate(datetime.date): pass
class FakeDatetime(datetime.datetime, FakeDate): pass
{before}
from hardtack import values
values.pack({{"a": real(2031, 5, 9)}}) if {early} else None
datetime.datetime, datetime.date = FakeDatetime, FakeDate
data = {{"fake": FakeDatetime(2031, 5, 9, tzinfo=datetime.UTC), "real": real(2031, 5, 9)}}
data |= {{"fake day": FakeDate(2031, 5, 9), "day": real_day(2031, 5, 9)}}
back = values.unpack(values.pack(data))
assert back == data == values.from_json(values.to_json(data)), back
assert [type(each) for each in back.values()] == [real, real, real_day, real_day], back
"""


@pytest.mark.parametrize("early", [True, False], ids=["used before", "used after"])
@pytest.mark.parametrize(
    "before", ["", "datetime.datetime, datetime.date = FakeDatetime, FakeDate"], ids=["imported before", "after"]
)
@pytest.mark.slow
def test_a_frozen_clock_changes_no_types(early: bool, before: str) -> None:
    """Tests put their own classes in the place of datetime's: whenever they do, sessions with dates are kept."""
    program = UNDER_A_FAKE_CLOCK.format(early=early, before=before)

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


FROZEN = """
import datetime
from freezegun import freeze_time
if {early}:
    from hardtack import values
    values.pack({{"day": datetime.date.today(), "now": datetime.datetime.now()}})
with freeze_time("2031-05-09 12:30"):
    from hardtack import Key, SessionManager
    now = datetime.datetime.now(datetime.UTC)
    sessions = SessionManager(Key.generate(), clock=lambda: 1_936_009_800)
    session = sessions.open(None)
    session["day"], session["now"] = datetime.date.today(), now
    (line,) = sessions.commit(session).set_cookies
    assert sessions.open(line.partition(";")[0]) == {{"day": datetime.date(2031, 5, 9), "now": now}}
again = sessions.open(line.partition(";")[0])
assert [type(each) for each in again.values()] == [datetime.date, datetime.datetime], again
again["later"] = datetime.datetime(2031, 5, 10)
assert sessions.commit(again).set_cookies
"""


@pytest.mark.parametrize("early", [True, False], ids=["imported before", "imported while frozen"])
@pytest.mark.slow
def test_a_session_with_dates_under_freezegun(early: bool) -> None:
    """As an application's tests have it, from the cookie and back."""
    pytest.importorskip("freezegun")

    subprocess.run([sys.executable, "-c", FROZEN.format(early=early)], check=True, timeout=60)


# --- any subclass


def _under(kind: type) -> type:
    return type(f"Some{kind.__name__.title()}", (kind,), {"__slots__": ()} if kind in (str, bytes, tuple, int) else {})


SUBCLASSES = {
    kind: _under(kind) for kind in (str, int, float, bytes, list, tuple, dict, set, frozenset, Decimal, dt.date)
}


def _disguised(value: Any, draw: Callable[[Any], Any]) -> Any:
    """The tree with some of its values in subclasses."""
    kind = type(value)
    if kind is dict:
        value = {_disguised(key, draw): _disguised(item, draw) for key, item in value.items()}
    elif kind in (list, tuple, set, frozenset):
        value = kind(_disguised(item, draw) for item in value)
    return SUBCLASSES[kind](value) if kind in SUBCLASSES and kind is not dt.date and draw(st.booleans()) else value


@settings(max_examples=300, deadline=None)
@given(pure=st.data(), plain=sessions)
def test_any_subclass_comes_out_equal(pure: st.DataObject, plain: dict[str, Any]) -> None:
    """Whatever is made of subclasses comes out equal to what went in, and as what it would have been without them."""
    disguised = dict(_disguised(plain, pure.draw))

    for through in THROUGH:
        assert same(through(disguised), through(plain))
    assert values.pack(disguised) == values.pack(plain)

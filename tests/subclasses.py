"""Values of other types than a session keeps, such as applications and libraries put into it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup


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


class Role(str, enum.Enum):  # noqa: UP042 - str() of a StrEnum's member is its value
    ADMIN = "admin"


class Claims(dict[Any, Any]):
    """As an OAuth library's: attributes beside a dict."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


class ManyValued(dict[str, Any]):
    """As a QueryDict: shows the last of several values."""

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key)[-1]


class Shouted(list[str]):
    """Shows other members than it has underneath."""

    def __iter__(self) -> Iterator[str]:
        return map(str.upper, super().__iter__())


class Twice(tuple[int, ...]):
    __slots__ = ()

    def __iter__(self) -> Iterator[int]:
        return (2 * each for each in super().__iter__())


class Nobody(str):
    """Equal to nothing."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return False


class Broken(int):
    """Cannot be compared."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class Apart(str):
    """Equal to its text, and in a dict beside it."""

    __slots__ = ()

    def __hash__(self) -> int:
        return super().__hash__() ^ 1

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True


class NoZone(dt.tzinfo):
    """Does not say what it is."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        raise NotImplementedError

    dst = utcoffset

    def tzname(self, when: dt.datetime | None) -> str | None:
        raise NotImplementedError


class Anywhere(dt.tzinfo):
    """A zone of another library."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return None if when is None else dt.timedelta(hours=2)

    def dst(self, when: dt.datetime | None) -> None:
        return None

    def tzname(self, when: dt.datetime | None) -> str:
        return "anywhere"


class Berlin(ZoneInfo):
    pass


class Elsewhere(ZoneInfo):
    """Says that it is Berlin, and has another time."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return dt.timedelta(hours=-7)


class Unheard(ZoneInfo):
    """A zone that the database does not have."""

    @property
    def key(self) -> str:
        return "Nowhere/Land"

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return dt.timedelta(hours=-7)


class Keyless(Unheard):
    @property
    def key(self) -> str:
        return ""


class Moment(dt.datetime):
    pass


class Day(dt.date):
    pass


class Hour(dt.time):
    pass


class Span(dt.timedelta):
    pass


class Price(Decimal):
    pass


class Identifier(UUID):
    pass


class Html(Markup):
    __slots__ = ()


class Number(float):
    pass


class Raw(bytes):
    pass


class Buffer(bytearray):
    pass


class Rows(list[Any]):
    pass


class Names(set[Any]):
    pass


class Frozen(frozenset[Any]):
    pass


class Permission(enum.IntFlag):
    READ = 1
    WRITE = 2


class Size(float, enum.Enum):
    HALF = 0.5


class Spot(tuple[int, int], enum.Enum):
    ORIGIN = (0, 0)


def turned() -> OrderedDict[str, int]:
    ordered = OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    return ordered

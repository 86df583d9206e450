"""What the tests of the Python frameworks' cookies share: reading and sealing in one call, made-up data, mutations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from hardtack.errors import InvalidToken
from hardtack.foreign.base import ForeignCookie
from hardtack.protocols import Context
from hardtack.record import Record

DAY = 86400
DATA: dict[str, Any] = {"user_id": 42, "name": "zoë", "roles": ["a", "b"], "nested": {"k": None, "f": 1.5}}

_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_trees = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
json_data = st.dictionaries(st.text(), _trees, max_size=5)


def now() -> int:
    """The clock that the real frameworks read."""
    return int(time.time())


def read(cookie: ForeignCookie, value: str, at: int | None = None) -> Record:
    """The record of one cookie value, by default now."""
    context = Context(cookie.cookie_name, "", now() if at is None else at)
    return cookie.open({cookie.cookie_name: [value]}, context)


def refused(cookie: ForeignCookie, value: str, at: int | None = None) -> str:
    """The reason why a cookie value is refused."""
    with pytest.raises(InvalidToken) as caught:
        read(cookie, value, at)
    return caught.value.reason


def record_of(data: dict[str, Any], created: int | None = None) -> Record:
    began = now() if created is None else created
    return Record(bytes(16), began, None, began, None, {}, data)


def sealed(cookie: ForeignCookie, data: dict[str, Any], at: int | None = None) -> str:
    """The one cookie value that holds the data, by default made now."""
    moment = now() if at is None else at
    ((name, value),) = cookie.seal(record_of(data), Context(cookie.cookie_name, "", moment)).items()
    assert name == cookie.cookie_name
    return value


def mutations(value: str) -> Iterator[str]:
    """The value with each character flipped, left out, or doubled, and with something before and after it."""
    for index, character in enumerate(value):
        for other in ("A", "B", "é", character.swapcase(), chr(ord(character) ^ 1)):
            if other != character:
                yield value[:index] + other + value[index + 1 :]
        yield value[:index] + value[index + 1 :]
        yield value[:index] + character + value[index:]
    for more in ("=", "\n", " ", ".", "|", ":", "\0", "\ud800"):
        yield value + more
        yield more + value
    yield ""
    yield value + value
    yield f'"{value}"'


def assert_every_mutation_refused(cookie: ForeignCookie, value: str, data: dict[str, Any]) -> None:
    """Whatever is changed in a cookie: it is refused, or it is another spelling of the same session."""
    at = now()  # one moment for all: some formats have the record begin when it is read
    original = read(cookie, value, at)
    assert original.data == data
    for changed in mutations(value):
        try:
            record = read(cookie, changed, at)
        except InvalidToken as error:
            assert error.reason  # noqa: PT017 - most are refused, and the others are compared below
        else:
            assert record == original
            assert cookie.spelled({cookie.cookie_name: [changed]}) == cookie.spelled({cookie.cookie_name: [value]})

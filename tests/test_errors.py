"""The errors: one tree, messages that say what to do, and data that survives a process boundary."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from hardtack import errors
from hardtack.errors import (
    ConfigError,
    HardtackError,
    InvalidToken,
    ProofNeeded,
    SessionConflict,
    SessionNotLoaded,
    SessionTooLarge,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnsupportedValue,
)
from hardtack.protocols import VersionConflict

ERRORS: list[HardtackError] = [
    HardtackError("something"),
    ConfigError("lifetime=0 must be a second or more"),
    ProofNeeded("the device has to prove its key", "/delete?again=1"),
    SessionTooLarge(5000, 4096, [("cart", 3000), ("name", 12)]),
    SessionTooLarge(5000, 4096, [("cart", 3000)], "; 3 cookies are allowed"),
    UnsupportedValue("cart[2].price", "decimal.Context", "store an id"),
    StoreError("no"),
    StoreFull("the store takes no more"),
    StoreUnavailable("the store cannot be reached"),
    SessionConflict("another request changed the session meanwhile"),
    SessionNotLoaded("await session.load() first"),
    InvalidToken("tampered", "the token was changed"),
    InvalidToken("missing"),
    VersionConflict("changed"),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_survives_pickle(error: HardtackError, protocol: int) -> None:
    """An error that crosses a process boundary says the same on the other side, and carries the same data."""
    found = pickle.loads(pickle.dumps(error, protocol))

    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_survives_copy(error: HardtackError) -> None:
    """The same with `copy` and `deepcopy`."""
    for found in (copy.copy(error), copy.deepcopy(error)):
        assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_lines_to_set_survive_pickle() -> None:
    """The cookie that a failed logout clears goes with the error."""
    error = StoreUnavailable("down")
    error.set_cookies = ["__Host-Http-session=; Max-Age=0"]

    assert pickle.loads(pickle.dumps(error)).set_cookies == error.set_cookies
    assert StoreUnavailable("down").set_cookies == ()


def test_all_errors_are_one_tree() -> None:
    """Whoever catches `HardtackError` catches them all."""
    found = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]

    assert found
    assert all(issubclass(each, HardtackError) for each in found)


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (ConfigError, ValueError),
        (UnsupportedValue, TypeError),
        (StoreUnavailable, StoreError),
        (StoreFull, StoreUnavailable),
    ],
)
def test_errors_are_also_what_python_calls_them(kind: type[HardtackError], base: type[Exception]) -> None:
    """A wrong setting is a `ValueError`, a value of a wrong type a `TypeError`."""
    assert issubclass(kind, base)


MESSAGES: list[tuple[HardtackError, str]] = [
    (
        SessionTooLarge(5000, 4096, [("cart", 3000), ("name", 12)]),
        "the session takes 5000 bytes of Set-Cookie, and 4096 are allowed; its biggest keys are 'cart' (3000 bytes), "
        "'name' (12 bytes); keep less in the session, use CookieEngine(…, overflow='chunk'), or keep it in a store with "
        "StoreEngine",
    ),
    (
        SessionTooLarge(5000, 4096, advice="; 3 cookies are allowed"),
        "the session takes 5000 bytes of Set-Cookie, and 4096 are allowed; 3 cookies are allowed",
    ),
    (
        UnsupportedValue("cart[2].price", "decimal.Context", "store an id"),
        "session value cart[2].price (decimal.Context) cannot be kept: store an id",
    ),
    (InvalidToken("tampered", "the token was changed"), "tampered: the token was changed"),
    (InvalidToken("missing"), "missing"),
]


@pytest.mark.parametrize(("error", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_messages_say_what_is_wrong_and_what_to_do(error: HardtackError, message: str) -> None:
    """The whole text, as users read it."""
    assert str(error) == message


def test_errors_carry_data() -> None:
    """Programs need not read messages."""
    large = SessionTooLarge(5000, 4096, [("cart", 3000)])
    value = UnsupportedValue("cart[2].price", "decimal.Context", "store an id")
    token = InvalidToken("tampered", "the token was changed")

    found: list[Any] = [
        large.size,
        large.limit,
        large.biggest,
        value.path,
        value.type_name,
        value.problem,
        token.reason,
    ]

    assert found == [5000, 4096, [("cart", 3000)], "cart[2].price", "decimal.Context", "store an id", "tampered"]
    assert token.detail == "the token was changed"

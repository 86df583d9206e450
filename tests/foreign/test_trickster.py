"""TricksterCookie: the signature that the original does not insist on, and the JSON under it."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from tests.foreign.python_support import assert_every_mutation_refused, read, refused, sealed

from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.trickster import TricksterCookie

COOKIE = TricksterCookie("trickster secret")


def made(escaped: str) -> str:
    """A value with a true MAC over whatever is put into it."""
    return f"{escaped}.{hmac.digest(b'trickster secret', escaped.encode(), 'sha256').hex()}"


def test_round_trip() -> None:
    """What is written is read: percent-encoded JSON and a signature."""
    data = {"user": "Žofie", "n": [1, 1.5, None, True], "o": {"a.b": "c d~"}}

    value = sealed(COOKIE, data)

    assert value.startswith("%7B%22user%22%3A%22%C5%BDofie%22%2C")
    assert read(COOKIE, value).data == data


def test_every_mutation_is_refused() -> None:
    """No character can be changed, left out or added."""
    assert_every_mutation_refused(COOKIE, sealed(COOKIE, {"a": "b.c"}), {"a": "b.c"})


REFUSED = {
    "": "unsigned",
    "%7B%22user_id%22%3A1%7D": "unsigned",
    '{"user_id":1}': "unsigned",
    "%7B%7D.": "unsigned",
    "%7B%7D.ž": "tampered",
    ".": "unsigned",
    made(""): "malformed",
    made("%5B%5D"): "malformed",
    made("%7B"): "malformed",
    made("%FF"): "malformed",
    made("%7B%22a%22%3ANaN%7D"): "malformed",
}


@pytest.mark.parametrize(("value", "reason"), REFUSED.items())
def test_what_is_refused(value: str, reason: str) -> None:
    """A value without a signature, which the original trusts, is refused like one with a wrong signature."""
    assert refused(COOKIE, value) == reason


@pytest.mark.parametrize("value", [float("nan"), b"x", (1,), 1 << 64])
def test_what_json_cannot_carry(value: Any) -> None:
    """What would come back as something else is not written."""
    with pytest.raises(UnsupportedValue):
        sealed(COOKIE, {"a": value})


def test_it_authenticates_no_time() -> None:
    """Taking over needs a date, because nothing in the cookie says when it ends."""
    assert not COOKIE.authenticates_time


def test_secret_is_required() -> None:
    """Trickster works without a secret, and then trusts everything: here it is a ConfigError."""
    with pytest.raises(ConfigError, match="secret"):
        TricksterCookie("")

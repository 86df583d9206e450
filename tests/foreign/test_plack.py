"""PlackCookie: its three fields, the spellings of a cookie value, and the Storable that it must refuse."""

from __future__ import annotations

import base64
import hmac
from urllib.parse import unquote

import pytest
from tests.foreign.python_support import assert_every_mutation_refused, read, refused, sealed

from hardtack.errors import ConfigError
from hardtack.foreign.plack import PlackCookie

NOW = 1_700_000_000
COOKIE = PlackCookie("plack secret")


def made(encoded: str, time: str = "1.5") -> str:
    """A value with a true MAC over whatever is put into it."""
    return f"{time}:{encoded}:{hmac.digest(b'plack secret', encoded.encode(), 'sha1').hex()}"


def test_round_trip() -> None:
    """What is written is read, percent-encoded as Plack does it or not; the time is that of the request."""
    value = sealed(COOKIE, {"user": "alice", "n": [1, None]}, NOW)

    record = read(COOKIE, value, NOW + 5)

    assert unquote(value).startswith(f"{NOW}.00000:BQs")
    assert ":" not in value
    assert record.data == {"user": "alice", "n": [1, None]}
    assert (record.created, record.options) == (NOW + 5, {})
    assert read(COOKIE, unquote(value), NOW + 5) == record


def test_every_mutation_is_refused() -> None:
    """No character can be changed but those of the time, which nothing protects and nothing reads."""
    value = unquote(sealed(COOKIE, {"a": 1}))
    time, rest = value.split(":", 1)

    assert_every_mutation_refused(COOKIE, value, {"a": 1})
    assert read(COOKIE, f"{int(float(time)) + 10**6}:{rest}", NOW) == read(COOKIE, value, NOW)


def test_it_authenticates_no_time() -> None:
    """Taking over needs a date, because nothing in the cookie says when it ends."""
    assert not COOKIE.authenticates_time


REFUSED = {
    "": "malformed",
    "a:b": "malformed",
    "a:b:c:d": "malformed",
    "1:BQsD:": "tampered",
    "1:BQsD:ž": "tampered",
    made("B*"): "malformed",
    made(""): "malformed",
    made(base64.b64encode(b"\x05\x0b\x02\x00\x00\x00\x00").decode()): "malformed",
    made(base64.b64encode(b"\x05\x0b\x13\x00").decode()): "hook",
    made(base64.b64encode(b"\x05\x0b\x11\x01X\x03\x00\x00\x00\x00").decode()): "object",
}


@pytest.mark.parametrize(("value", "reason"), REFUSED.items())
def test_what_is_refused(value: str, reason: str) -> None:
    """The MAC comes first, and authentic objects and code are refused as well."""
    assert refused(COOKIE, value) == reason


def test_secret_is_required() -> None:
    """Without a secret nothing is authenticated."""
    with pytest.raises(ConfigError, match="secret"):
        PlackCookie("")

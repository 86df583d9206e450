"""TornadoCookie against Tornado's signed cookies, in both directions, and everything that it must refuse."""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from tests.foreign.python_support import DATA, DAY, assert_every_mutation_refused, json_data, read, refused, sealed
from tornado import httpclient, httpserver, netutil, web

from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.tornado import TornadoCookie

SECRET = "dev"
COOKIE = TornadoCookie(SECRET)


def created(payload: str | bytes, name: str = "session", **settings: Any) -> str:
    """What Tornado itself signs."""
    return web.create_signed_value(SECRET, name, payload, **settings).decode()


def signed(text: str) -> str:
    """Any text at all under a good signature."""
    return text + hmac.digest(SECRET.encode(), text.encode(), "sha256").hex()


class _Handler(web.RequestHandler):
    def get(self) -> None:
        self.write(self.get_signed_cookie("session") or b"null")
        self.set_signed_cookie("session", json.dumps(DATA))


async def _application(cookie: str | None) -> tuple[bytes, str]:
    """What a real application sees of the cookie, and the value that it sets, as it is on the wire."""
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    server = httpserver.HTTPServer(web.Application([("/", _Handler)], cookie_secret=SECRET))
    server.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
    headers = {} if cookie is None else {"Cookie": f"session={cookie}"}
    response = await httpclient.AsyncHTTPClient(force_instance=True).fetch(url, headers=headers)
    server.stop()
    await server.close_all_connections()
    return response.body, response.headers["Set-Cookie"].partition("=")[2].partition(";")[0]


def test_reads_what_tornado_writes() -> None:
    """The Set-Cookie of a real response opens, with the quotes that http.cookies puts around it."""
    _, value = asyncio.run(_application(None))

    assert value.startswith('"')
    assert read(COOKIE, value).data == DATA


def test_tornado_reads_what_is_written() -> None:
    """A real application gets the value of our cookie."""
    body, _ = asyncio.run(_application(sealed(COOKIE, DATA)))

    assert json.loads(body) == DATA


@given(json_data)
def test_round_trip_with_its_functions(data: dict[str, Any]) -> None:
    """Whatever JSON carries comes out as it went in, both ways."""
    ours = web.decode_signed_value(SECRET, "session", sealed(COOKIE, data), min_version=2)

    assert read(COOKIE, created(json.dumps(data))).data == data
    assert ours is not None
    assert json.loads(ours) == data


def test_is_tornados_own_text() -> None:
    """The same data at the same time is the same cookie, byte for byte."""
    assert sealed(COOKIE, DATA, 1_700_000_000) == created(json.dumps(DATA), clock=lambda: 1_700_000_000)


def test_times() -> None:
    """The session counts as created when it was signed, and ends a max_age later, that second included."""
    value = sealed(COOKIE, DATA, 1_700_000_000)

    record = read(COOKIE, value, 1_700_000_000 + 31 * DAY)

    assert record.created == 1_700_000_000
    assert record.options == {"expires": 1_700_000_000 + 31 * DAY}
    assert refused(COOKIE, value, 1_700_000_001 + 31 * DAY) == "expired"
    assert read(COOKIE, value, 1_699_999_940).created == 1_699_999_940
    assert refused(COOKIE, value, 1_699_999_939) == "future"


def test_key_versions() -> None:
    """The version in the cookie picks the one secret that is tried."""
    secrets = {0: "old", 7: SECRET}
    cookie = TornadoCookie(secrets, key_version=7)
    old = web.create_signed_value({0: "old"}, "session", b'{"a":1}', version=2, key_version=0).decode()

    assert read(cookie, old).data == {"a": 1}
    assert web.decode_signed_value({7: SECRET}, "session", sealed(cookie, DATA)) is not None
    assert refused(TornadoCookie({0: SECRET}, key_version=0), sealed(cookie, DATA)) == "unknown_key"
    assert refused(TornadoCookie({7: "other"}, key_version=7), sealed(cookie, DATA)) == "tampered"


def test_one_secret_has_whatever_version_it_is_given() -> None:
    """As in Tornado, where a single secret opens every version."""
    value = sealed(TornadoCookie(SECRET, key_version=3), DATA)

    assert value.startswith("2|1:3|")
    assert read(COOKIE, value).data == DATA
    assert web.get_signature_key_version(value) == 3


def test_version_1_is_refused() -> None:
    """Its signature covers the fields without their borders, so that digits can move from one to the next."""
    assert refused(COOKIE, created(json.dumps(DATA), version=1)) == "malformed"


def test_another_name_is_refused() -> None:
    """A value that was signed for another cookie is no session."""
    assert refused(COOKIE, created(json.dumps(DATA), name="flash")) == "wrong_purpose"


def test_another_secret_is_refused() -> None:
    """Neither side opens the cookies of another secret."""
    assert refused(TornadoCookie("other"), created("{}")) == "tampered"
    assert web.decode_signed_value("other", "session", sealed(COOKIE, DATA)) is None


def test_every_mutation_is_refused() -> None:
    """No character of the cookie can be changed."""
    assert_every_mutation_refused(COOKIE, sealed(COOKIE, {"a": 1}), {"a": 1})


@pytest.mark.parametrize("payload", [b"zoe", b"", b"[1]", b"null", b"\xff", b"\x80\x04}\x94."])
def test_an_authentic_value_that_is_no_json_object_is_refused(payload: bytes) -> None:
    """Many applications sign a bare user name: that is no session."""
    assert refused(COOKIE, created(payload)) == "malformed"


@pytest.mark.parametrize(
    "text",
    [
        "2|1:0|",
        "2|1:0|1:9|7:session|4:e30=|1:x|",
        "2|1:0|1:9|7:session|5:e30=|",
        "2|1:0|1:9|7:session|3:e30=|",
        "2|1:0|1:9|7:session|x:e30=|",
        "2|1:0|1:9|7:session|000004:e30=|",
        "2|1:0|1:9|7:session|4:e30=",
        "2|1:0|1:x|7:session|4:e30=|",
        "2|1:0|16:1111111111111111|7:session|4:e30=|",
        "2|1:0|1:9|7:session|3:e30|",
        "2|1:0|1:9|7:session|4:e31=|",
        "2|2:0|1:9|7:session|4:e30=|",
    ],
)
def test_authentic_fields_that_do_not_fit_are_refused(text: str) -> None:
    """Each length and each field is checked, even where the signature is good."""
    assert refused(COOKIE, signed(text), 10) in {"malformed", "tampered"}


def test_the_fields_of_that_test_are_right_otherwise() -> None:
    """The same text with every length right opens: each case above fails by its one mistake."""
    assert read(COOKIE, signed("2|1:0|1:9|7:session|4:e30=|"), 10).data == {}


@pytest.mark.parametrize("value", ["", "2", "2|", "2|1:0", "3|1:0|1:9|", "é|", "|||||", "2|1:é|"])
def test_what_is_no_signed_value_is_refused(value: str) -> None:
    """Text of another shape is refused before anything is computed."""
    assert refused(COOKIE, value) == "malformed"


def test_what_json_cannot_carry_is_not_written() -> None:
    """Tornado would get a tuple back as a list."""
    with pytest.raises(UnsupportedValue):
        sealed(COOKIE, {"a": ()})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secret": ""}, "secret is empty"),
        ({"secret": {0: ""}, "key_version": 0}, "secret is empty"),
        ({"secret": {}}, "key_version=None"),
        ({"secret": {0: "s"}}, r"key_version=None does not say which.*\[0\]"),
        ({"secret": {0: "s"}, "key_version": 1}, "key_version=1"),
        ({"secret": {-1: "s"}, "key_version": -1}, "key version -1"),
        ({"secret": {"0": "s"}, "key_version": 0}, "key version '0'"),
        ({"secret": "s", "key_version": -1}, "key version -1"),
        ({"secret": "s", "max_age": "soon"}, "max_age='soon'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    """A setting that cannot work is refused at once, by name."""
    with pytest.raises(ConfigError, match=message):
        TornadoCookie(**settings)

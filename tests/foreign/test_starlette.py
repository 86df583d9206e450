"""StarletteCookie against Starlette's SessionMiddleware, in both directions, and everything that it must refuse."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from itsdangerous import BadSignature, TimestampSigner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.foreign.python_support import (
    DATA,
    DAY,
    assert_every_mutation_refused,
    json_data,
    read,
    refused,
    sealed,
)

from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.starlette import StarletteCookie

SECRET = "dev"
COOKIE = StarletteCookie(SECRET)


def signed(payload: bytes) -> str:
    """Any payload at all under a good signature of now."""
    return TimestampSigner(SECRET).sign(payload).decode()


async def _set(request: Request) -> JSONResponse:
    request.session.update(await request.json())
    return JSONResponse(None)


async def _get(request: Request) -> JSONResponse:
    return JSONResponse(request.session)


@pytest.fixture(scope="module")
def app() -> Starlette:
    """An application of which POST sets the session and GET shows it."""
    routes = [Route("/", _set, methods=["POST"]), Route("/", _get)]
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key=SECRET)])


async def _request(app: Starlette, method: str, cookies: dict[str, str], json: object = None) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as client:
        return await client.request(method, "/", json=json)


def test_reads_what_the_middleware_writes(app: Starlette) -> None:
    """The Set-Cookie of a real response opens."""
    response = asyncio.run(_request(app, "POST", {}, DATA))

    assert read(COOKIE, response.cookies["session"]).data == DATA


def test_the_middleware_reads_what_is_written(app: Starlette) -> None:
    """A real application gets the session of our cookie."""
    response = asyncio.run(_request(app, "GET", {"session": sealed(COOKIE, DATA)}))

    assert response.json() == DATA


@given(json_data)
def test_round_trip_with_its_signer(data: dict[str, Any]) -> None:
    """Whatever JSON carries comes out as it went in, both ways."""

    theirs = signed(base64.b64encode(json.dumps(data).encode()))
    ours = sealed(COOKIE, data)

    assert read(COOKIE, theirs).data == data
    assert json.loads(base64.b64decode(TimestampSigner(SECRET).unsign(ours, max_age=14 * DAY))) == data


def test_times() -> None:
    """The session counts as created when it was signed, and ends a max_age later, that second included."""
    value = sealed(COOKIE, DATA, 1_700_000_000)

    record = read(COOKIE, value, 1_700_000_000 + 14 * DAY)

    assert record.created == 1_700_000_000
    assert record.options == {"expires": 1_700_000_000 + 14 * DAY}
    assert refused(COOKIE, value, 1_700_000_001 + 14 * DAY) == "expired"
    assert read(COOKIE, value, 1_699_999_940).created == 1_699_999_940
    assert refused(COOKIE, value, 1_699_999_939) == "future"


def test_without_max_age_there_is_no_end() -> None:
    """max_age=None as in Starlette: the time is read and sets no deadline."""
    cookie = StarletteCookie(SECRET, max_age=None)

    record = read(cookie, sealed(cookie, DATA, 1_000_000_000))

    assert record.created == 1_000_000_000
    assert record.options == {}


def test_every_mutation_is_refused() -> None:
    """No character of the cookie can be changed."""
    assert_every_mutation_refused(COOKIE, sealed(COOKIE, {"a": [1]}), {"a": [1]})


def test_a_cleared_cookie_is_refused() -> None:
    """The value that Starlette clears with is no session."""
    assert refused(COOKIE, "null") == "malformed"


def test_another_secret_is_refused() -> None:
    """Neither side opens the cookies of another secret."""
    assert refused(StarletteCookie("other"), signed(b"e30=")) == "tampered"
    with pytest.raises(BadSignature):
        TimestampSigner("other").unsign(sealed(COOKIE, DATA))


@pytest.mark.parametrize("payload", [b"", b"!", b"e30", b"e31=", b"WzFd", b"bnVsbA==", b"gAR9lC4=", b"/////w=="])
def test_authentic_payload_that_is_no_session_is_refused(payload: bytes) -> None:
    """Missing padding, stray bits, a list, null, a pickle, not UTF-8: each is refused with one word."""
    assert refused(COOKIE, signed(payload)) == "malformed"


def test_what_json_cannot_carry_is_not_written() -> None:
    """Starlette would get a tuple back as a list."""
    with pytest.raises(UnsupportedValue) as caught:
        sealed(COOKIE, {"a": {"b": (1,)}})

    assert (caught.value.path, caught.value.type_name) == ("a.b", "tuple")


@pytest.mark.parametrize(("secret", "max_age"), [("", 60), ("s", "soon")])
def test_wrong_settings_are_refused(secret: str, max_age: str | int) -> None:
    """A setting that cannot work is refused at once."""
    with pytest.raises(ConfigError):
        StarletteCookie(secret, max_age=max_age)

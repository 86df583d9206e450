"""AiohttpSessionCookie against aiohttp-session's EncryptedCookieStorage, in both directions."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp_session
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from cryptography.fernet import Fernet
from hypothesis import given
from tests.foreign.python_support import DATA, assert_every_mutation_refused, json_data, now, read, refused, sealed

from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.aiohttp_session import AiohttpSessionCookie

KEY = bytes(range(32))
FERNET = Fernet(base64.urlsafe_b64encode(KEY))
COOKIE = AiohttpSessionCookie(KEY)


def encrypted(content: object, at: int | None = None) -> str:
    """Any content at all in a good Fernet token."""
    return FERNET.encrypt_at_time(json.dumps(content).encode(), now() if at is None else at).decode()


async def _application(cookie: str | None, changes: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """What a real application sees of the cookie, and the value that it sets after the changes, as on the wire."""

    async def handler(request: web.Request) -> web.Response:
        session = await aiohttp_session.get_session(request)
        seen = dict(session)
        session.update(changes)
        return web.json_response(seen)

    app = web.Application()
    aiohttp_session.setup(app, EncryptedCookieStorage(KEY, max_age=3600))
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app)) as client:
        headers = {} if cookie is None else {"Cookie": f"AIOHTTP_SESSION={cookie}"}
        response = await client.get("/", headers=headers)
        line = response.headers.get("Set-Cookie")
        return await response.json(), line and line.partition("=")[2].partition(";")[0]


@pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")
def test_reads_what_the_storage_writes() -> None:
    """The Set-Cookie of a real response opens, with the quotes that http.cookies puts around it."""
    _, value = asyncio.run(_application(None, DATA))

    assert value is not None
    assert value.startswith('"')
    record = read(COOKIE, value)
    assert record.data == DATA
    assert now() - 5 <= record.created <= now()


@pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")
def test_the_storage_reads_what_is_written() -> None:
    """A real application gets the session of our cookie."""
    seen, _ = asyncio.run(_application(sealed(COOKIE, DATA), {}))

    assert seen == DATA


@given(json_data)
def test_round_trip_with_its_encryption(data: dict[str, Any]) -> None:
    """Whatever JSON carries comes out as it went in, both ways."""
    content = {"created": now(), "session": data}

    assert read(COOKIE, encrypted(content)).data == data
    assert json.loads(FERNET.decrypt(sealed(COOKIE, data)))["session"] == data


def test_the_earlier_time_counts() -> None:
    """The session began at the last change, even where it was sealed anew later."""
    cookie = AiohttpSessionCookie(KEY, max_age=100)
    value = encrypted({"created": 1000, "session": DATA}, 1050)

    record = read(cookie, value, 1100)

    assert (record.created, record.options) == (1000, {"expires": 1100})
    assert refused(cookie, value, 1101) == "expired"


def test_a_time_in_the_future_is_refused() -> None:
    """Both times may be 60 seconds ahead, and no more."""
    content = {"created": 1000, "session": {}}

    assert read(COOKIE, encrypted(content, 1000), 940).created == 940
    assert refused(COOKIE, encrypted(content, 900), 939) == "future"
    assert refused(COOKIE, encrypted(content, 1061), 1000) == "future"


def test_writing_moves_the_time_as_the_storage_does() -> None:
    """Two stacks must not end one session at two different times."""
    content = json.loads(FERNET.decrypt(sealed(COOKIE, DATA, 5000)))

    assert content["created"] == 5000
    assert FERNET.extract_timestamp(sealed(COOKIE, DATA, 5000)) == 5000


def test_every_mutation_is_refused() -> None:
    """No character of the cookie can be changed."""
    assert_every_mutation_refused(COOKIE, sealed(COOKIE, {"a": 1}), {"a": 1})


def test_another_key_is_refused() -> None:
    """A token of another key is tampered with, as far as anyone can tell."""
    assert refused(AiohttpSessionCookie(bytes(32)), sealed(COOKIE, DATA)) == "tampered"


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"created": 1},
        {"created": "1", "session": {}},
        {"created": -1, "session": {}},
        {"created": True, "session": {}},
        {"created": 1, "session": []},
        {"created": 1, "session": {}, "more": 1},
    ],
)
def test_authentic_content_that_is_no_session_is_refused(content: object) -> None:
    """Each is refused with one word."""
    assert refused(COOKIE, encrypted(content)) == "malformed"


@pytest.mark.parametrize("plain", [b"", b"\xff", b"{", b"\x80\x04}\x94."])
def test_authentic_bytes_that_are_not_json_are_refused(plain: bytes) -> None:
    """Each is refused with one word."""
    assert refused(COOKIE, FERNET.encrypt(plain).decode()) == "malformed"


@pytest.mark.parametrize("value", ["", '"', '""', "gAAA", "gAAAAAA=", "é", "A" * 100])
def test_what_is_no_token_is_refused(value: str) -> None:
    """Text that no key made is refused whatever it looks like."""
    assert refused(COOKIE, value) in {"malformed", "tampered"}


@pytest.mark.parametrize("secret", [KEY, base64.urlsafe_b64encode(KEY), base64.urlsafe_b64encode(KEY).decode(), FERNET])
def test_a_key_in_each_of_its_forms(secret: Any) -> None:
    """32 bytes, their base64url, and the Fernet object are one key."""
    assert read(AiohttpSessionCookie(secret), sealed(COOKIE, DATA)).data == DATA


@pytest.mark.parametrize("secret", ["", b"", b"short", "not base64!", "é", None, b"x" * 44])
def test_what_is_no_key_is_refused(secret: Any) -> None:
    """The error says what a key is, and does not show what was given."""
    with pytest.raises(ConfigError, match="32 bytes") as caught:
        AiohttpSessionCookie(secret)

    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_json_cannot_carry_is_not_written() -> None:
    """A key that is no text would come back as text."""
    with pytest.raises(UnsupportedValue):
        sealed(COOKIE, {"a": {1: 2}})

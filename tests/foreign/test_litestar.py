"""LitestarCookie against Litestar's client-side sessions, in both directions, in one cookie and in chunks."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from litestar import Litestar, Request, get, post
from litestar.middleware.session.client_side import ClientSideSessionBackend, CookieBackendConfig
from litestar.testing import TestClient
from tests.foreign.python_support import (
    DATA,
    DAY,
    assert_every_mutation_refused,
    json_data,
    now,
    read,
    record_of,
    refused,
    sealed,
)

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign.litestar import LitestarCookie
from hardtack.protocols import Context
from hardtack.record import Record

KEY = bytes(range(32))
COOKIE = LitestarCookie(KEY)
CONFIG = CookieBackendConfig(secret=KEY)
REAL = ClientSideSessionBackend(CONFIG)
BIG = {"pad": os.urandom(4500).hex()}


def encrypted(plain: bytes, associated: bytes) -> str:
    """Any content and any associated data at all under a good key."""
    nonce = os.urandom(12)
    raw = nonce + AESGCM(KEY).encrypt(nonce, plain, associated) + b"additional_authenticated_data=" + associated
    return base64.b64encode(raw).decode()


def read_chunks(cookies: Mapping[str, str]) -> Record:
    return COOKIE.open({name: [value] for name, value in cookies.items()}, Context("session", "", now()))


def chunks_refused(cookies: Mapping[str, str]) -> str:
    with pytest.raises(InvalidToken) as caught:
        read_chunks(cookies)
    return caught.value.reason


@post("/")
async def _set(request: Request[Any, Any, Any]) -> None:
    request.set_session(await request.json())


@get("/")
async def _get(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return dict(request.session)


@pytest.fixture
def client() -> TestClient[Litestar]:
    """A real application of which POST sets the session and GET shows it."""
    return TestClient(Litestar([_set, _get], middleware=[CONFIG.middleware]))


@pytest.mark.parametrize("data", [DATA, BIG], ids=["one", "chunks"])
def test_reads_what_the_middleware_writes(client: TestClient[Litestar], data: dict[str, Any]) -> None:
    """The Set-Cookie lines of a real response open, with the quotes that http.cookies puts around them."""
    response = client.post("/", json=data)

    lines = response.headers.get_list("set-cookie")
    cookies = {name: rest.partition(";")[0] for name, _, rest in (line.partition("=") for line in lines)}

    assert len(cookies) == (1 if data is DATA else 4)
    assert next(iter(cookies.values())).startswith('"')
    assert read_chunks(cookies).data == data


@pytest.mark.parametrize("data", [DATA, BIG], ids=["one", "chunks"])
def test_the_middleware_reads_what_is_written(client: TestClient[Litestar], data: dict[str, Any]) -> None:
    """A real application gets the session of our cookies."""
    cookies = COOKIE.seal(record_of(data), Context("session", "", now()))
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    client.cookies.clear()

    assert client.get("/", headers={"Cookie": header}).json() == data


@given(json_data)
def test_round_trip_with_its_backend(data: dict[str, Any]) -> None:
    """Whatever JSON carries comes out as it went in, both ways."""
    finite = _finite(data)

    assert read(COOKIE, REAL.dump_data(finite)[0].decode()).data == finite
    assert REAL.load_data([sealed(COOKIE, finite).encode()]) == finite


def _finite(value: Any) -> Any:
    """The same data without infinities, which msgspec does not write."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return 0.5 if isinstance(value, float) and abs(value) == float("inf") else value


def test_the_end_is_carried_over_and_the_beginning_unknown() -> None:
    """Litestar seals when the session ends, and refuses it from that second on."""
    value = sealed(LitestarCookie(KEY, max_age=100), DATA, 1000)

    record = read(COOKIE, value, 1099)

    assert (record.created, record.options) == (1099, {"expires": 1100})
    assert refused(COOKIE, value, 1100) == "expired"


def test_the_default_is_fourteen_days() -> None:
    """As in Litestar."""
    assert read(COOKIE, sealed(COOKIE, DATA, 1000), 1000).options == {"expires": 1000 + 14 * DAY}


def test_every_mutation_is_refused() -> None:
    """No character of the cookie can be changed: the end is authenticated as well."""
    assert_every_mutation_refused(COOKIE, sealed(COOKIE, {"a": 1}), {"a": 1})


def test_names_of_the_cookies_are_those_of_litestar() -> None:
    """All of them are cleared on takeover, and no other cookie is."""
    ours = ["session", "session-0", "session-2", "session-10"]
    names = [*reversed(ours), "session-01", "session-x", "session-", "sessions", "xs-1", "session-12345"]

    assert COOKIE.cookie_names({name: [""] for name in names}) == ours


def test_chunks_in_any_order() -> None:
    """A browser may send them in any order."""
    cookies = COOKIE.seal(record_of(BIG), Context("session", "", now()))

    assert list(cookies) == ["session-0", "session-1", "session-2", "session-3"]
    assert {len(value) for value in list(cookies.values())[:-1]} == {3840}
    assert read_chunks(dict(reversed(cookies.items()))).data == BIG


def test_a_missing_chunk_is_refused() -> None:
    """The first, one in the middle, or the last."""
    cookies = COOKIE.seal(record_of(BIG), Context("session", "", now()))
    reasons = [
        chunks_refused({name: value for name, value in cookies.items() if name != missing}) for missing in cookies
    ]

    assert reasons[:3] == ["incomplete"] * 3
    assert reasons[3] in {"malformed", "tampered"}


def test_a_chunk_of_another_session_is_refused() -> None:
    """Chunks of two sessions do not mix."""
    one = COOKIE.seal(record_of(BIG), Context("session", "", now()))
    other = COOKIE.seal(record_of(BIG), Context("session", "", now()))

    assert chunks_refused({**one, "session-1": other["session-1"]}) == "tampered"


def test_both_forms_at_once_are_refused() -> None:
    """A whole cookie beside chunks: one of them is a leftover, or was planted."""
    whole = sealed(COOKIE, DATA)

    assert chunks_refused({"session": whole, "session-0": whole}) == "ambiguous"


def test_too_many_and_too_long_chunks_are_refused() -> None:
    """Before anything is decoded."""
    assert chunks_refused({f"session-{number}": "AAAA" for number in range(11)}) == "too_large"
    assert chunks_refused({"session-0": "A" * 4033}) == "too_large"
    assert chunks_refused({"session": "A" * 8193}) == "too_large"


def test_more_than_litestar_can_read_is_not_written() -> None:
    """Litestar sorts its chunks by name as text: with eleven of them it reads none."""
    with pytest.raises(UnsupportedValue, match="more than 10 cookies"):
        COOKIE.seal(record_of({"pad": "x" * 31_000}), Context("session", "", now()))


def test_no_cookie_is_missing() -> None:
    """Another cookie's value is not read."""
    assert chunks_refused({"sessions": sealed(COOKIE, DATA)}) == "missing"


def test_another_key_is_refused() -> None:
    """AES-GCM authenticates under one key."""
    assert refused(LitestarCookie(bytes(32)), sealed(COOKIE, DATA)) == "tampered"


def test_the_last_marker_counts() -> None:
    """A ciphertext that happens to hold the marker is still found authentic: here only its content is no session."""
    nonce, marker = bytes(12), b"additional_authenticated_data="
    associated = b'{"expires_at":%d}' % (now() + 100)
    cipher = AESGCM(KEY)
    stream = cipher.encrypt(nonce, bytes(64), None)
    plain = bytes(32) + bytes(key ^ wanted for key, wanted in zip(stream[32:], marker, strict=False))
    raw = nonce + cipher.encrypt(nonce, plain, associated) + marker + associated

    assert raw.count(marker) == 2
    assert refused(COOKIE, base64.b64encode(raw).decode()) == "malformed"


@pytest.mark.parametrize("associated", [b"", b"{}", b"[]", b'{"expires_at":"9"}', b'{"expires_at":-1}', b"{"])
def test_an_authentic_cookie_without_an_end_is_refused(associated: bytes) -> None:
    """The end is required and a number."""
    assert refused(COOKIE, encrypted(b"{}", associated)) == "malformed"


@pytest.mark.parametrize("plain", [b"", b"[]", b"null", b'{"a":NaN}', b"\x80\x04}\x94."])
def test_authentic_bytes_that_are_no_session_are_refused(plain: bytes) -> None:
    """Each is refused with one word."""
    assert refused(COOKIE, encrypted(plain, b'{"expires_at":%d}' % (now() + 100))) == "malformed"


@pytest.mark.parametrize(
    "raw", [b"", b"additional_authenticated_data={}", b"x" * 27 + b"additional_authenticated_data={}", b"x" * 60]
)
def test_what_is_too_short_or_has_no_marker_is_refused(raw: bytes) -> None:
    """Nonce and tag are 28 bytes."""
    assert refused(COOKIE, base64.b64encode(raw).decode()) == "malformed"


@pytest.mark.parametrize("value", [(1,), float("nan"), float("-inf"), b""])
def test_what_json_cannot_carry_is_not_written(value: object) -> None:
    """msgspec, which Litestar reads with, knows no NaN."""
    with pytest.raises(UnsupportedValue):
        sealed(COOKIE, {"a": value})


@pytest.mark.parametrize("length", [16, 24, 32])
def test_keys_of_three_lengths(length: int) -> None:
    """As in Litestar."""
    cookie = LitestarCookie("k" * length)
    backend = ClientSideSessionBackend(CookieBackendConfig(secret=b"k" * length))

    assert backend.load_data([sealed(cookie, DATA).encode()]) == DATA


@pytest.mark.parametrize("secret", ["", "short", b"x" * 33])
def test_other_keys_are_refused(secret: Any) -> None:
    """A setting that cannot work is refused at once."""
    with pytest.raises(ConfigError, match="secret"):
        LitestarCookie(secret)

"""The encrypted JWTs of Auth.js and NextAuth beyond the golden ones: headers, claims, times and chunks."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.foreign.web_support import NOW, read, refused, seal, wrong_setting

from hardtack import CookieEngine, SessionManager, values
from hardtack.errors import SessionTooLarge, UnsupportedValue
from hardtack.foreign.authjs import AuthjsCookie, NextAuthCookie, authjs_subject

SECRET = "authjs-secret-0123456789"
COOKIE = AuthjsCookie(SECRET)
NEXT = NextAuthCookie(SECRET)
KEY = NEXT._keys["A256GCM"][0].raw


def encrypted(claims: Any, header: Any = None, key: bytes = KEY) -> str:
    """Any claims and any header at all under a good key."""
    head = values.encode_bytes(json.dumps(header or {"alg": "dir", "enc": "A256GCM"}).encode())
    iv = os.urandom(12)
    sealed = AESGCM(key).encrypt(iv, json.dumps(claims).encode(), head.encode())
    return ".".join((head, "", *map(values.encode_bytes, (iv, sealed[:-16], sealed[-16:]))))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ([], "malformed"),
        ({"exp": NOW - 15}, "expired"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"iat": "soon"}, "malformed"),
        ({"iat": NOW, "nbf": NOW + 16}, "future"),
        ({"sub": "42"}, "undated"),
    ],
)
def test_claims_that_are_refused(claims: Any, reason: str) -> None:
    """Each time is checked, and one must be there."""
    assert refused(NEXT, encrypted(claims)) == reason


def test_claims_that_are_read() -> None:
    """Fifteen seconds of grace, as the original allows; the times are carried over."""
    record = read(NEXT, encrypted({"sub": "42", "iat": NOW - 100, "nbf": NOW + 15, "exp": NOW - 14}))

    assert (record.created, record.options) == (NOW - 100, {"expires": NOW + 1})
    assert read(NEXT, encrypted({"iat": NOW + 50})).created == NOW
    assert read(NEXT, encrypted({"exp": NOW + 50})).created == NOW


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ([1], "malformed"),
        ({"alg": "none"}, "malformed"),
        ({"alg": "dir"}, "malformed"),
        ({"alg": "dir", "enc": "A128GCM"}, "malformed"),
        ({"alg": "dir", "enc": ["A256GCM"]}, "malformed"),
        ({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}, "malformed"),
        ({"alg": "dir", "enc": "A256GCM", "crit": ["exp"]}, "malformed"),
        ({"alg": "dir", "enc": "A256GCM", "kid": "another"}, "unknown_key"),
        ({"alg": "dir", "enc": "A256GCM", "kid": 1}, "unknown_key"),
    ],
)
def test_headers_that_are_refused(header: Any, reason: str) -> None:
    """A direct key, a cipher of the two, and nothing that would ask for more."""
    assert refused(NEXT, encrypted({"iat": NOW}, header)) == reason


def test_auth_js_reads_the_other_cipher_as_well() -> None:
    """With a key of its own length, named or not."""
    key = COOKIE._keys["A256GCM"][0]
    named = {"alg": "dir", "enc": "A256GCM", "kid": key.thumbprint}

    assert read(COOKIE, encrypted({"iat": NOW, "a": 1}, named, key.raw)).data == {"iat": NOW, "a": 1}
    assert read(COOKIE, encrypted({"iat": NOW, "a": 1}, None, key.raw)).data == {"iat": NOW, "a": 1}


@pytest.mark.parametrize("value", ["", "a.b.c", "e30.AA.AA.AA.AA", "e30..!.AA.AA", "é....", "e30...."])
def test_another_shape_is_of_no_format(value: str) -> None:
    """Five parts, of which the second is empty."""
    assert refused(COOKIE, value) == "malformed"


def test_a_short_tag_is_refused() -> None:
    """It could be guessed."""
    head, _, iv, ciphertext, tag = encrypted({"iat": NOW}).split(".")

    assert refused(NEXT, ".".join((head, "", iv, ciphertext, tag[:16]))) == "malformed"


def test_times_are_written_anew() -> None:
    """`iat`, `exp` and `jti` of the cookie that was read are not copied."""
    record = read(COOKIE, seal(COOKIE, {"sub": "42", "iat": 1, "exp": 2, "jti": "x"}))

    assert (record.data["iat"], record.data["exp"]) == (NOW, NOW + 30 * 86400)
    assert record.data["jti"] != "x"


def test_a_claim_that_restricts_cannot_be_a_key() -> None:
    """`nbf` would keep the session from being read."""
    with pytest.raises(UnsupportedValue):
        seal(COOKIE, {"nbf": 1})


BIG = {"pad": "x" * 6000}


@pytest.mark.parametrize("cookie", [COOKIE, NEXT])
def test_chunks(cookie: AuthjsCookie | NextAuthCookie) -> None:
    """They are counted from zero, and others whose names begin alike are left alone."""
    cookies = seal(cookie, BIG)
    name = cookie.cookie_name

    assert list(cookies) == [f"{name}.0", f"{name}.1", f"{name}.2"]
    assert read(cookie, {**cookies, f"{name}.x": "planted", f"{name}x": "planted"}).data["pad"] == BIG["pad"]
    assert refused(cookie, {**cookies, name: "whole"}) == "ambiguous"
    del cookies[f"{name}.1"]
    assert refused(cookie, cookies) == "incomplete"


def test_chunks_are_sorted_by_their_numbers() -> None:
    """Ten comes after nine."""
    cookies = seal(COOKIE, {"pad": "x" * 26_000})
    names = list(cookies)

    assert len(names) == 10
    assert COOKIE.cookie_names({name: [""] for name in reversed(names)}) == names
    assert refused(COOKIE, {**cookies, f"{COOKIE.cookie_name}.10": "x"}) == "too_large"


def test_no_more_is_cleared_than_chunks_are_read() -> None:
    """Another can plant a hundred beside them: as many Set-Cookie lines are an answer that proxies do not take."""
    name = COOKIE.cookie_name
    planted = {f"{name}.{number}": ["x"] for number in range(99, -1, -1)}

    assert COOKIE.cookie_names(planted) == [f"{name}.{number}" for number in range(11)]


def test_the_name_is_the_salt() -> None:
    """A cookie under another name has another key."""
    secure = AuthjsCookie(SECRET, cookie_name="__Secure-authjs.session-token")
    ((_, value),) = seal(COOKIE, {"a": 1}).items()

    assert refused(secure, value) == "unknown_key"


def test_the_subject_is_the_claim_sub() -> None:
    """Or nobody, where it is no text."""
    assert authjs_subject({"sub": "42"}) == "42"
    assert authjs_subject({"sub": 42}) is None
    assert authjs_subject({}) is None


def test_settings_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(AuthjsCookie, "secret is empty", "")
    wrong_setting(NextAuthCookie, "max_age", SECRET, max_age="soon")


def test_a_session_that_is_too_large_for_nginx_is_told_what_helps() -> None:
    """Chunks of the system's own, where the engine allows lines of their length; hardtack's own it would not find."""
    small = SessionManager(CookieEngine(COOKIE))
    session = small.open(None)
    session["pad"] = "x" * 6000
    with pytest.raises(SessionTooLarge, match="max_set_cookie=4096") as caught:
        small.commit(session)
    assert "overflow" not in str(caught.value)

    manager = SessionManager(CookieEngine(COOKIE, max_set_cookie=4096))
    large = manager.open(None)
    large["pad"] = "x" * 6000
    names = [line.partition("=")[0] for line in manager.commit(large).set_cookies]
    assert names == ["authjs.session-token.0", "authjs.session-token.1", "authjs.session-token.2"]

"""DjangoSignedCookie against django.core.signing and Django's own session store, in both directions."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from django.core.signing import (  # type: ignore[import-untyped]
    BadSignature,
    JSONSerializer,
    Signer,
    TimestampSigner,
    b62_encode,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.foreign.python_support import DATA, DAY, assert_every_mutation_refused, json_data, read, refused, sealed

from hardtack import values
from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.django import DjangoSignedCookie, decode_base62, encode_base62

SECRET = "dev"
SALT = "django.contrib.sessions.backends.signed_cookies"
COOKIE = DjangoSignedCookie(SECRET)


def signer(secret: str = SECRET, **settings: Any) -> TimestampSigner:
    """The signer that Django's session store uses."""
    return TimestampSigner(key=secret, salt=SALT, fallback_keys=[], **settings)


class PickleSerializer(JSONSerializer):  # type: ignore[misc]
    """What Django had under this name until 5.0."""

    def dumps(self, obj: object) -> bytes:
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)


@given(json_data)
def test_round_trip(data: dict[str, Any]) -> None:
    """Whatever JSON carries comes out as it went in, both ways."""
    theirs = signer().sign_object(data, compress=True)
    ours = sealed(COOKIE, data)

    assert read(COOKIE, theirs).data == data
    assert signer().unsign_object(ours, max_age=14 * DAY) == data
    assert ours.split(":")[0] == theirs.split(":")[0]


_SESSION_STORE = """
import json, sys
import django
from django.conf import settings
settings.configure(SECRET_KEY="dev", SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse
from django.test import RequestFactory
def view(request):
    seen = dict(request.session)
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(json.dumps(seen))
request = RequestFactory().get("/")
request.COOKIES["sessionid"] = sys.argv[1]
response = SessionMiddleware(view)(request)
print(json.dumps([json.loads(response.content), response.cookies["sessionid"].value]))
"""


def test_round_trip_through_an_application() -> None:
    """Django's session middleware opens our cookie, and we read what its response sets.

    In a process of its own, because Django's settings are for a whole process.
    """
    command = [sys.executable, "-c", _SESSION_STORE, sealed(COOKIE, DATA)]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout

    seen, value = json.loads(output)

    assert seen == DATA
    assert read(COOKIE, value).data == {**DATA, "count": 1}


def test_times() -> None:
    """The session counts as created when it was signed, and ends a max_age later, that second included."""
    value = sealed(COOKIE, DATA, 1_700_000_000)

    record = read(COOKIE, value, 1_700_000_000 + 14 * DAY)

    assert record.created == 1_700_000_000
    assert record.options == {"expires": 1_700_000_000 + 14 * DAY}
    assert refused(COOKIE, value, 1_700_000_001 + 14 * DAY) == "expired"
    assert read(COOKIE, value, 1_699_999_940).created == 1_699_999_940
    assert refused(COOKIE, value, 1_699_999_939) == "future"


def test_fallbacks_are_read_and_never_signed_with() -> None:
    """A fallback opens a session, and never signs one."""
    cookie = DjangoSignedCookie("new", fallbacks=["older", SECRET])

    assert read(cookie, signer().sign_object(DATA)).data == DATA
    assert signer("new").unsign_object(sealed(cookie, DATA)) == DATA
    with pytest.raises(BadSignature):
        signer().unsign_object(sealed(cookie, DATA))


def test_sha1_of_old_releases() -> None:
    """Cookies signed before Django 3.1 are read with digest="sha1"."""
    value = signer(algorithm="sha1").sign_object(DATA)

    assert refused(COOKIE, value) == "tampered"
    assert read(DjangoSignedCookie(SECRET, digest="sha1"), value).data == DATA


@pytest.mark.parametrize("data", [{"a": 1}, {"pad": "x" * 200}], ids=["plain", "compressed"])
def test_every_mutation_is_refused(data: dict[str, Any]) -> None:
    """No character of the cookie can be changed."""
    assert_every_mutation_refused(COOKIE, sealed(COOKIE, data), data)


@pytest.mark.parametrize("data", [{"a": 1}, {"pad": "x" * 200}], ids=["plain", "compressed"])
def test_a_pickle_is_refused_with_its_own_reason(data: dict[str, Any]) -> None:
    """An authentic pickle is never read: it could run code."""
    value = signer().sign_object(data, serializer=PickleSerializer, compress=True)

    assert refused(COOKIE, value) == "unsafe"


def test_another_salt_is_refused() -> None:
    """A password-reset token is signed with the same secret, and is no session."""
    token = TimestampSigner(key=SECRET, salt="other", fallback_keys=[]).sign_object({"_auth_user_id": "1"})

    assert refused(COOKIE, token) == "tampered"


@pytest.mark.parametrize("payload", ["", "!", "e31", "WzFd", ".AAAA", "bnVsbA"])
def test_authentic_payload_that_is_no_session_is_refused(payload: str) -> None:
    """Neither base64, zlib nor JSON can make the reader raise anything else."""
    assert refused(COOKIE, signer().sign(payload)) == "malformed"


@pytest.mark.parametrize("stamp", ["", "-1", "!", "zzzzzzzzzzz", "é"])
def test_an_authentic_time_that_is_none_is_refused(stamp: str) -> None:
    """Negative, too long, or no number in base 62."""
    value = Signer(key=SECRET, salt=SALT, fallback_keys=[]).sign(f"e30:{stamp}")

    assert refused(COOKIE, value) == "malformed"


def test_what_is_signed_without_a_time_is_refused() -> None:
    """Django's plain Signer writes no time."""
    assert refused(COOKIE, Signer(key=SECRET, salt=SALT, fallback_keys=[]).sign_object({})) == "malformed"


def test_the_bytes_are_latin_1_as_in_django() -> None:
    """A serializer that left other characters unescaped is read as Django reads it."""

    class Unescaped(JSONSerializer):  # type: ignore[misc]
        def dumps(self, obj: object) -> bytes:
            return json.dumps(obj, ensure_ascii=False).encode("latin-1")

    assert read(COOKIE, signer().sign_object({"a": "zoë"}, serializer=Unescaped)).data == {"a": "zoë"}


@given(st.integers(min_value=0, max_value=62**10 - 1))
def test_base_62(number: int) -> None:
    """The numbers are Django's."""
    assert encode_base62(number) == b62_encode(number)
    assert decode_base62(encode_base62(number)) == number


def test_what_json_cannot_carry_is_not_written() -> None:
    """Django would fail on bytes."""
    with pytest.raises(UnsupportedValue) as caught:
        sealed(COOKIE, {"a": [b""]})

    assert (caught.value.path, caught.value.type_name) == ("a[0]", "bytes")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secret": b""}, "secret is empty"),
        ({"fallbacks": SECRET}, "fallbacks is a list of secrets, not str"),
        ({"digest": "md5"}, "digest='md5'"),
        ({"max_age": -1}, "max_age=-1"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    """A setting that cannot work is refused at once, by name."""
    arguments: dict[str, Any] = {"secret": SECRET, **settings}
    with pytest.raises(ConfigError, match=message):
        DjangoSignedCookie(**arguments)


def test_the_payload_is_what_encode_payload_makes() -> None:
    """An uncompressed payload is plain base64url of the JSON."""
    assert values.decode_bytes(sealed(COOKIE, {"a": 1}).split(":")[0]) == b'{"a":1}'

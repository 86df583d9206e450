"""SessionStorageSecureCookie: both protocols, every field, expiry, secrets, and what it remembers."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from tests.foreign.python_support import assert_every_mutation_refused, read, record_of, refused, sealed

from hardtack import values
from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign import session_storage_secure as module
from hardtack.foreign.perl import cbc
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.protocols import Context

SECRET = "serenade viscount secretary frail"
NOW = 1_700_000_000
DATA: dict[str, Any] = {"user": "alice", "n": [1, None, True, 1.5]}
CONTEXT = Context("session", "", NOW)


def made(expires: str, document: bytes, secret: str = SECRET) -> str:
    """A value with a true MAC over whatever is put into it."""
    salt = bytes(32)
    key = hmac.digest(secret.encode(), salt, "sha256")
    signed = f"{expires}~{values.encode_bytes(cbc.seal_ecb_iv(key, salt, document))}"
    return resealed(salt, signed, secret)


def resealed(salt: bytes, signed: str, secret: str = SECRET) -> str:
    key = hmac.digest(secret.encode(), salt, "sha256")
    mac = values.encode_bytes(hmac.digest(key, signed.encode(), "sha256"))
    return f"{values.encode_bytes(salt)}~{signed}~{mac}~2"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("separator", ["~", ":", "::"])
def test_round_trip(version: Any, separator: str) -> None:
    """What is written is read, whichever protocol a reader itself writes."""
    cookie = SessionStorageSecureCookie(SECRET, protocol_version=version, separator=separator)
    other = SessionStorageSecureCookie(SECRET, protocol_version=3 - version, separator=separator)

    value = sealed(cookie, DATA, NOW)

    assert read(cookie, value, NOW).data == DATA
    assert read(other, value, NOW).data == DATA
    assert value.count(separator) == 2 + version


@pytest.mark.parametrize("version", [1, 2])
def test_every_mutation_is_refused(version: Any) -> None:
    """No character of a value can be changed, left out or added."""
    cookie = SessionStorageSecureCookie(SECRET, protocol_version=version)

    assert_every_mutation_refused(cookie, sealed(cookie, {"a": 1}), {"a": 1})


def test_each_value_has_its_own_salt() -> None:
    """The same data is never the same cookie twice."""
    cookie = SessionStorageSecureCookie(SECRET)

    assert len({sealed(cookie, DATA, NOW).split("~")[0] for _ in range(10)}) == 10


def test_expiry_is_written_and_read() -> None:
    """The session's deadline is the cookie's, authenticated and carried over."""
    cookie = SessionStorageSecureCookie(SECRET)
    record = record_of(DATA, NOW)
    record.options = {"expires": NOW + 60}

    value = cookie.seal(record, CONTEXT)["session"]

    assert value.split("~")[1] == str(NOW + 60)
    assert read(cookie, value, NOW).options == {"expires": NOW + 60}
    assert read(cookie, value, NOW + 60).data == DATA  # as the original has it: good up to and with that second
    assert refused(cookie, value, NOW + 61) == "expired"


def test_default_duration() -> None:
    """A duration of the other system's configuration bounds what is written here."""
    cookie = SessionStorageSecureCookie(SECRET, default_duration="1 hour")

    assert sealed(cookie, DATA, NOW).split("~")[1] == str(NOW + 3600)


def test_a_remembered_cookie_still_expires_and_is_a_copy() -> None:
    """What an authentic cookie held is kept, but not beyond its expiry, and nobody can change it."""
    cookie = SessionStorageSecureCookie(SECRET, default_duration=60)
    value = sealed(cookie, DATA, NOW)
    first = read(cookie, value, NOW)

    first.data["n"].append("more")

    assert read(cookie, value, NOW).data == DATA
    assert refused(cookie, value, NOW + 61) == "expired"
    assert refused(cookie, value[:-1] + "1", NOW) == "malformed"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many cookies nor big ones fill the memory."""
    monkeypatch.setattr(module, "_RECENT", 3)
    cookie = SessionStorageSecureCookie(SECRET)

    for number in range(5):
        read(cookie, sealed(cookie, {"n": number}), None)
        assert len(cookie._recent) <= 3
    cookie._recent.clear()
    read(cookie, sealed(cookie, {"n": "x" * 4096}))

    assert cookie._recent == {}


def test_nothing_is_remembered_of_a_cookie_that_is_not_authentic() -> None:
    """A forger cannot fill or read what is remembered."""
    cookie = SessionStorageSecureCookie(SECRET)
    value = sealed(SessionStorageSecureCookie("another secret"), DATA)

    assert refused(cookie, value) == "tampered"
    assert cookie._recent == {}


def test_old_secrets_are_read_only() -> None:
    """Cookies of a former secret open, new ones are made with the current."""
    old, new = SessionStorageSecureCookie("old"), SessionStorageSecureCookie("new", old_secrets=["older", "old"])

    assert read(new, sealed(old, DATA)).data == DATA
    assert refused(old, sealed(new, DATA)) == "tampered"


FIELDS = {
    "": "no field",
    "a~b~c": "three fields",
    "a~b~c~d~2~x": "six fields",
    "a~~c~d~2": "a salt of one character",
    "AAAA~~c~d~2": "a salt of three bytes",
    "~~c~d~2": "an empty salt",
    "~~c~d": "an empty number",
    "01~~c~d": "a number with a zero before it",
    "1x~~c~d": "no number",
    "12345678901~~c~d~1": "a number of more than 32 bits",
    f"{'A' * 43}~~c~d~3": "version 3",
    f"{'A' * 43}~~c~d~02": "version 02",
    f"{'A' * 43}~~c~d~2.0": "version 2.0",
    f"{'A' * 43}~~c~d~": "an empty version",
    f"{'A' * 42}B~~c~d~2": "stray bits in the salt",
    f"{'A' * 43}=~~c~d~2": "a padded salt",
}


@pytest.mark.parametrize("value", FIELDS, ids=FIELDS.values())
def test_field_that_is_malformed(value: str) -> None:
    """Each field has one spelling."""
    assert refused(SessionStorageSecureCookie(SECRET), value) == "malformed"


@pytest.mark.parametrize("mac", ["", "A" * 43, "ž", "\ud800"])
def test_mac_that_is_wrong(mac: str) -> None:
    """Whatever stands where the MAC should: it is not it."""
    assert refused(SessionStorageSecureCookie(SECRET), f"{'A' * 43}~~AAAA~{mac}~2") == "tampered"


AUTHENTIC = {
    "an expiry that is no number": (made("soon", b"=\xf3rl\x05\x00\x50"), "malformed"),
    "a negative expiry": (made("-1", b"=\xf3rl\x05\x00\x50"), "malformed"),
    "an expiry of Arabic digits": (made("١٧", b"=\xf3rl\x05\x00\x50"), "malformed"),
    "an endless expiry": (made("9" * 16, b"=\xf3rl\x05\x00\x50"), "malformed"),
    "an object": (made("", b"=\xf3rl\x05\x00\x51\x61a\x2c\x61X\x28\x2a\x00"), "object"),
    "an array": (made("", b"=\xf3rl\x05\x00\x40"), "malformed"),
    "no ciphertext": (resealed(bytes(32), "~"), "malformed"),
    "half a block": (resealed(bytes(32), "~AAAA"), "malformed"),
    "ciphertext that is not base64": (resealed(bytes(32), "~A*AA"), "malformed"),
    "too deep": (made("", b"=\xf3rl\x05\x00\x51\x61a" + b"\x41" * 64 + b"\x01"), "deep"),
}


@pytest.mark.parametrize("case", AUTHENTIC)
def test_authentic_value_that_is_refused(case: str) -> None:
    """A true MAC is not enough: what stands under it is checked as well."""
    value, reason = AUTHENTIC[case]

    assert refused(SessionStorageSecureCookie(SECRET), value) == reason


def test_text_that_a_session_cannot_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that MessagePack cannot carry would be lost at the next commit: it is refused while reading."""

    def cannot(data: object) -> bytes:
        raise UnsupportedValue("a", "str", "it is made up")

    cookie = SessionStorageSecureCookie(SECRET)
    value = sealed(cookie, DATA)
    monkeypatch.setattr(values, "pack", cannot)

    assert refused(cookie, value) == "malformed"


SETTINGS: list[dict[str, Any]] = [
    {"secret": ""},
    {"secret": SECRET, "old_secrets": "one secret"},
    {"secret": SECRET, "old_secrets": [""]},
    {"secret": SECRET, "protocol_version": 3},
    {"secret": SECRET, "separator": ""},
    {"secret": SECRET, "separator": "-"},
    {"secret": SECRET, "separator": "é"},
    {"secret": SECRET, "separator": None},
    {"secret": SECRET, "separator": ";"},
    {"secret": SECRET, "default_duration": "a while"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_settings_that_are_wrong(settings: dict[str, Any]) -> None:
    """A setting that cannot work is a ConfigError when the cookie is configured."""
    with pytest.raises(ConfigError):
        SessionStorageSecureCookie(**settings)


def test_what_cannot_be_written() -> None:
    """A value that Perl has no type for is named."""
    with pytest.raises(UnsupportedValue, match="a"):
        sealed(SessionStorageSecureCookie(SECRET), {"a": {1, 2}})

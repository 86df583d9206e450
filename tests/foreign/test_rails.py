"""RailsCookie and RailsSignedCookie beyond the golden cookies: the envelope, times, Marshal, and Devise's user."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.foreign.python_support import read, refused, sealed

from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign._keys import once, pbkdf2
from hardtack.foreign._text import percent_decode, percent_encode
from hardtack.foreign.rails import RailsCookie, RailsSignedCookie, devise_subject

SECRET = "0123456789abcdef" * 8
UNTIL = 1 << 40
COOKIE = RailsCookie(SECRET, until=UNTIL)
KEY = pbkdf2(SECRET.encode(), b"authenticated encrypted cookie", 1000, 32, "sha256")


def encrypted(plain: bytes, key: bytes = KEY) -> str:
    """Any payload at all under a good key."""
    nonce = os.urandom(12)
    raw = AESGCM(key).encrypt(nonce, plain, b"")
    return percent_encode("--".join(base64.b64encode(part).decode() for part in (raw[:-16], nonce, raw[-16:])))


def envelope(message: Any = None, **fields: Any) -> bytes:
    good = {"message": base64.b64encode(b'{"a":1}').decode(), "exp": None, "pur": "cookie._app_session"}
    return json.dumps({"_rails": {**good, **({} if message is None else {"message": message}), **fields}}).encode()


def signed_text(value: str) -> str:
    """What a signed cookie says."""
    return base64.b64decode(percent_decode(value).rpartition("--")[0]).decode()


def test_the_envelope_opens() -> None:
    """The helpers of this file make what Rails makes."""
    assert read(COOKIE, encrypted(envelope())).data == {"a": 1}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (envelope(pur="cookie.other"), "wrong_purpose"),
        (envelope(pur=None), "wrong_purpose"),
        (envelope(exp="2001-01-01T00:00:00.000Z"), "expired"),
        (envelope(exp="2099-01-01T00:00:00"), "malformed"),
        (envelope(exp="tomorrow"), "malformed"),
        (envelope(exp=4102444800), "malformed"),
        (envelope(message=1), "malformed"),
        (envelope(message="e30"), "malformed"),
        (envelope(message="bnVsbA=="), "malformed"),
        (envelope(message=base64.b64encode(b"\x04\x08{\x00").decode()), "unsafe"),
        (b"\x04\x08{\x00", "unsafe"),
        (b'{"_rails": []}', "malformed"),
        (b'{"a": 1}', "wrong_purpose"),
        (b"[]", "wrong_purpose"),
        (b"\xff", "malformed"),
    ],
)
def test_what_is_refused(payload: bytes, reason: str) -> None:
    """Each field of the envelope is checked, and Marshal has its own reason."""
    assert refused(COOKIE, encrypted(payload)) == reason


def test_without_metadata_both_kinds_are_read() -> None:
    """As Rails does while an application moves from 5.2 to 6."""
    bare = RailsCookie(SECRET, metadata=False, until=UNTIL)

    assert read(bare, encrypted(b'{"a": 1}')).data == {"a": 1}
    assert read(bare, encrypted(envelope())).data == {"a": 1}
    assert refused(COOKIE, sealed(bare, {"a": 1})) == "wrong_purpose"


@pytest.mark.parametrize("fields", [{"pur": None}, {}], ids=["null", "absent"])
def test_without_metadata_an_envelope_need_not_name_its_cookie(fields: dict[str, Any]) -> None:
    """Rails writes one where a cookie has an end: the end is kept, to the second."""
    bare = RailsCookie(SECRET, metadata=False, expire_after="1 hour")
    body = {"message": base64.b64encode(b'{"a":1}').decode(), "exp": "1970-01-01T03:46:40.000Z", **fields}
    value = encrypted(json.dumps({"_rails": body}).encode())

    record = read(bare, value, 13_599)

    assert (record.data, record.options) == ({"a": 1}, {"expires": 13_600})
    assert refused(bare, value, 13_600) == "expired"
    assert refused(COOKIE, value, 13_599) == "wrong_purpose"


@pytest.mark.parametrize("purpose", ["cookie.other", "", False, 0, [], "login"])
def test_without_metadata_another_name_is_refused(purpose: object) -> None:
    """What names something names this cookie."""
    bare = RailsCookie(SECRET, metadata=False, until=UNTIL)

    assert refused(bare, encrypted(envelope(pur=purpose))) == "wrong_purpose"


def test_the_end_is_carried_over() -> None:
    """A cookie with `exp` ends then, to the second, and needs no `until`."""
    cookie = RailsCookie(SECRET, expire_after="1 hour")
    value = sealed(cookie, {"a": 1}, 10_000)

    assert read(cookie, value, 13_599).options == {"expires": 13_600}
    assert refused(cookie, value, 13_600) == "expired"


@pytest.mark.parametrize("make", [RailsCookie, RailsSignedCookie])
def test_without_metadata_an_end_is_written(make: type[RailsCookie | RailsSignedCookie]) -> None:
    """In an envelope that names no cookie, as Rails does; without an end there is no envelope."""
    cookie = make(SECRET, metadata=False, expire_after="1 hour")
    value = sealed(cookie, {"a": 1}, 10_000)

    assert read(cookie, value, 13_599).options == {"expires": 13_600}
    assert read(cookie, value, 13_599).data["a"] == 1
    assert refused(cookie, value, 13_600) == "expired"
    assert refused(make(SECRET, until=UNTIL), value, 10_000) == "wrong_purpose"


def test_without_metadata_the_envelope_is_that_of_rails() -> None:
    """Each field of it, and in the order of Rails; where the cookie has no end, the session alone."""
    ended = sealed(RailsSignedCookie(SECRET, metadata=False, expire_after="1 hour"), {"session_id": "x"}, 10_000)
    endless = sealed(RailsSignedCookie(SECRET, metadata=False, until=UNTIL), {"session_id": "x"}, 10_000)

    assert signed_text(ended) == (
        '{"_rails":{"message":"eyJzZXNzaW9uX2lkIjoieCJ9","exp":"1970-01-01T03:46:40.000Z","pur":null}}'
    )
    assert signed_text(endless) == '{"session_id":"x"}'


def test_a_cookie_without_an_end_needs_until() -> None:
    """Where the application sets `expire_after`, an older cookie without an end is not good for ever."""
    assert refused(RailsCookie(SECRET, expire_after="1 hour"), sealed(COOKIE, {"a": 1})) == "undated"


def test_sharing_a_cookie_without_an_end() -> None:
    """Beside a Rails that has no `expire_after`, its cookies are read as it reads them: `until` is for taking over."""
    assert read(RailsCookie(SECRET), sealed(COOKIE, {"a": 1})).data["a"] == 1


def test_a_session_id_is_written() -> None:
    """Rails takes a session without `session_id` for empty; one that is there stays."""
    assert read(COOKIE, sealed(COOKIE, {"a": 1})).data == {"session_id": "00" * 16, "a": 1}
    assert read(COOKIE, sealed(COOKIE, {"session_id": "x"})).data == {"session_id": "x"}


def test_both_derivations_are_read_while_rails_rotates() -> None:
    """`old_digests` reads what the other derivation made."""
    old = RailsCookie(SECRET, digest="sha1", until=UNTIL)
    both = RailsCookie(SECRET, old_digests=["sha1"], until=UNTIL)

    assert read(both, sealed(old, {"a": 1})).data["a"] == 1
    assert refused(COOKIE, sealed(old, {"a": 1})) == "tampered"


def test_cbc_only_where_it_was_asked_for() -> None:
    """The cookies of 5.1 have another shape: without `legacy_cbc` they are of no format that is read."""
    legacy = RailsCookie(SECRET, legacy_cbc=True, until=UNTIL)

    assert refused(COOKIE, "YQ==--" + "0" * 40) == "malformed"
    assert refused(legacy, "YQ==--" + "0" * 40) == "tampered"


def cbc(plain: bytes, digest: str, cookies_digest: str = "sha1") -> str:
    """What Rails writes without `use_authenticated_cookie_encryption`."""
    key, mac_key = (
        hashlib.pbkdf2_hmac(digest, SECRET.encode(), salt, 1000, length)
        for salt, length in ((b"encrypted cookie", 32), (b"signed encrypted cookie", 64))
    )
    iv = os.urandom(16)
    size = 16 - len(plain) % 16
    ciphertext = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(plain + bytes([size]) * size)
    encoded = base64.b64encode(b"--".join(map(base64.b64encode, (ciphertext, iv)))).decode()
    return percent_encode(f"{encoded}--{hmac.new(mac_key, encoded.encode(), cookies_digest).hexdigest()}")


@pytest.mark.parametrize(
    ("settings", "read_too"),
    [
        ({}, {"sha256"}),
        ({"digest": "sha1"}, set()),
        ({"digest": "sha1", "old_digests": ["sha512"]}, {"sha512"}),
        ({"digest": "sha384", "old_digests": ["sha256", "sha1"]}, {"sha384", "sha256"}),
    ],
    ids=["default", "sha1", "old", "several"],
)
def test_the_keys_of_cbc_are_derived_as_rails_is_configured(settings: dict[str, Any], read_too: set[str]) -> None:
    """With the digests that are given, and always with SHA-1, since Rails 5.1 has no other. The MAC stays HMAC-SHA1."""
    legacy = RailsCookie(SECRET, legacy_cbc=True, until=UNTIL, **settings)

    for digest in ("sha1", "sha256", "sha384", "sha512"):
        value = cbc(b'{"a":1}', digest)
        if digest in {"sha1", *read_too}:
            assert read(legacy, value).data == {"a": 1}
        else:
            assert refused(legacy, value) == "tampered"


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_another_digest_of_the_mac_of_cbc(digest: str) -> None:
    """As `cookies_digest` says, and no other: it is not the one that the keys are derived with."""
    ours = RailsCookie(SECRET, legacy_cbc=True, cookies_digest=digest, until=UNTIL)
    value = cbc(b'{"a":1}', "sha1", digest)

    assert read(ours, value).data == {"a": 1}
    assert refused(RailsCookie(SECRET, legacy_cbc=True, until=UNTIL), value) == "tampered"
    assert refused(ours, cbc(b'{"a":1}', "sha1")) == "tampered"


@pytest.mark.parametrize("inner", [b"YQ==", b"YQ==--YQ==--YQ==", b"YQ==--YQ==", b"!--!"])
def test_cbc_of_another_shape_inside(inner: bytes) -> None:
    """An authentic cookie whose inside is not ciphertext and IV is refused."""
    legacy = RailsCookie(SECRET, legacy_cbc=True, until=UNTIL)
    encoded = base64.b64encode(inner).decode()
    key = pbkdf2(SECRET.encode(), b"signed encrypted cookie", 1000, 64, "sha1")

    assert refused(legacy, f"{encoded}--{RailsSignedCookie(SECRET, until=1)._mac(key, encoded)}") == "malformed"


def signed(plain: bytes) -> str:
    """Any payload at all under a good signature."""
    key = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), b"signed cookie", 1000, 64)
    encoded = base64.b64encode(plain).decode()
    return percent_encode(f"{encoded}--{hmac.new(key, encoded.encode(), 'sha1').hexdigest()}")


ALONE: list[Any] = [42, 0, -1.5, True, False, "zoë", "", "4\x08", [], [1, {"a": None}], 1 << 70]


@pytest.mark.parametrize("value", ALONE, ids=map(ascii, ALONE))
@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "bare"])
def test_a_signed_value_that_is_not_an_object(value: object, metadata: bool) -> None:
    """`cookies.signed[:session_id] = 42` is under the key `value`, and Rails gets back what it wrote."""
    cookie = RailsSignedCookie(SECRET, metadata=metadata, until=UNTIL)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    body = {"message": base64.b64encode(text).decode(), "exp": None, "pur": "cookie._app_session"}
    payload = json.dumps({"_rails": body}, separators=(",", ":")).encode() if metadata else text

    record = read(cookie, signed(payload))

    assert record.data == {"value": value}
    assert type(record.data["value"]) is type(value)
    assert sealed(cookie, record.data) == signed(payload)


@pytest.mark.parametrize(
    "data", [{"value": {"a": 1}}, {"value": None}, {"value": 42, "a": 1}, {"valu": 42}, {}], ids=ascii
)
def test_other_data_is_signed_as_an_object(data: dict[str, Any]) -> None:
    """What would not come back under `value` stays an object, with a session's id."""
    cookie = RailsSignedCookie(SECRET, until=UNTIL)

    assert read(cookie, sealed(cookie, data)).data == {"session_id": "00" * 16, **data}


def test_a_signed_null() -> None:
    """It is nothing to Rails."""
    assert refused(RailsSignedCookie(SECRET, until=UNTIL), signed(envelope(message="bnVsbA=="))) == "malformed"


def test_a_signed_value_with_an_end_that_moves() -> None:
    """A value that is not an object has no place for when the session began: it could go on for ever."""
    cookie = RailsSignedCookie(SECRET, expire_after="1 hour", sliding=True)
    value = sealed(cookie, {"value": 42})

    assert read(cookie, value).data == {"session_id": "00" * 16, "value": 42}
    assert refused(cookie, sealed(RailsSignedCookie(SECRET, expire_after="1 hour"), {"value": 42})) == "malformed"


def test_a_signed_value_that_json_does_not_carry() -> None:
    """The error names its place."""
    with pytest.raises(UnsupportedValue, match="value"):
        sealed(RailsSignedCookie(SECRET, until=UNTIL), {"value": b"x"})


def test_only_a_signed_cookie_holds_another_value() -> None:
    """A session of Rails is an object."""
    assert refused(COOKIE, encrypted(envelope(message="NDI="))) == "malformed"


def test_a_signed_cookie_without_signature() -> None:
    """It is of another shape."""
    assert refused(RailsSignedCookie(SECRET, until=UNTIL), "e30=") == "malformed"


@pytest.mark.parametrize(
    ("data", "subject"),
    [
        ({"warden.user.user.key": [[42], "$2a$12$abc"]}, "42"),
        ({"warden.user.user.key": [["0f-uuid"], "$2a$12$abc"]}, "0f-uuid"),
        ({"warden.user.admin.key": [[42], "$2a$12$abc"]}, None),
        ({"warden.user.user.key": [[1, 2], "$2a"]}, None),
        ({"warden.user.user.key": [[True], "$2a"]}, None),
        ({"warden.user.user.key": [[""], "$2a"]}, None),
        ({"warden.user.user.key": []}, None),
        ({"warden.user.user.key": "42"}, None),
        ({}, None),
    ],
)
def test_devise_names_the_user(data: dict[str, Any], subject: str | None) -> None:
    """The id of the logged-in user, and nobody where the session has another form."""
    assert devise_subject()(data) == subject


def test_devise_knows_scopes() -> None:
    """An application may have several kinds of users."""
    assert devise_subject("admin")({"warden.user.admin.key": [[7], "$2a"]}) == "7"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"digest": "md5"}, "digest='md5' is not known"),
        ({"old_digests": ["md5"]}, "old_digests='md5' is not known"),
        ({"old_digests": "sha1"}, "write \\['sha1'\\]"),
        ({"legacy_cbc": True}, "legacy_cbc=True needs until="),
        ({"cookies_digest": "md5"}, "cookies_digest='md5'"),
        ({"secret": ""}, "secret is empty"),
        ({"expire_after": "soon"}, "expire_after"),
        (
            {"encrypted_cookie_cipher": "aes-256-cbc"},
            "encrypted_cookie_cipher='aes-256-cbc' is not known; write one of aes",
        ),
        ({"encrypted_cookie_cipher": None}, "encrypted_cookie_cipher=None is not known"),
        ({"authenticated_encrypted_cookie_salt": ""}, "^authenticated_encrypted_cookie_salt is empty"),
        ({"encrypted_cookie_salt": None}, "^encrypted_cookie_salt is empty or neither str nor bytes"),
        ({"encrypted_signed_cookie_salt": ""}, "^encrypted_signed_cookie_salt is empty"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    """A wrong setting is a ConfigError that says what to do."""
    arguments: dict[str, Any] = {"secret": SECRET, **settings}

    with pytest.raises(ConfigError, match=message):
        RailsCookie(**arguments)


def test_the_signed_digest_is_checked() -> None:
    """Of a signed cookie as well."""
    with pytest.raises(ConfigError, match="signed_cookie_digest"):
        RailsSignedCookie(SECRET, signed_cookie_digest="md5")


def test_the_signed_salt_is_checked() -> None:
    """It has its own name in the error."""
    with pytest.raises(ConfigError, match="signed_cookie_salt is empty"):
        RailsSignedCookie(SECRET, signed_cookie_salt="")


@pytest.mark.parametrize(("cipher", "length"), [("aes-256-gcm", 32), ("aes-192-gcm", 24), ("aes-128-gcm", 16)])
def test_other_ciphers_and_salts(cipher: str, length: int) -> None:
    """The key is derived as long as the cipher's, with the salt of the application."""
    settings: dict[str, Any] = {"encrypted_cookie_cipher": cipher, "authenticated_encrypted_cookie_salt": "of ours"}
    cookie = RailsCookie(SECRET, until=UNTIL, **settings)
    key = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), b"of ours", 1000, length)

    assert read(cookie, encrypted(envelope(), key)).data == {"a": 1}
    assert refused(cookie, encrypted(envelope())) == "tampered"
    assert refused(COOKIE, sealed(cookie, {"a": 1})) == "tampered"


def test_a_percent_encoding_that_is_none() -> None:
    """Bytes that are no UTF-8, and characters that are no ASCII, are no cookie of Rails."""
    assert refused(COOKIE, "%ff--a--b") == "malformed"
    assert refused(COOKIE, "é--a--b") == "malformed"


def test_a_derived_key_is_made_once() -> None:
    """The same secret is stretched once a process."""
    assert pbkdf2(b"s", b"salt", 1, 32, "sha1") is pbkdf2(b"s", b"salt", 1, 32, "sha1")


def test_first_requests_at_once_derive_one_key() -> None:
    """Threads that come while a key is made wait for it: a burst of requests must not stretch it in each of them."""
    begun, made = threading.Event(), []

    def derive() -> bytes:
        begun.set()
        time.sleep(0.1)  # the others are at the lock by then
        made.append(1)
        return b"key"

    with ThreadPoolExecutor() as pool:
        first = pool.submit(once, ("test", id(begun)), derive)
        begun.wait()
        second = pool.submit(once, ("test", id(begun)), derive)
        assert first.result() == second.result() == b"key"

    assert made == [1]


def test_an_integer_of_too_many_digits() -> None:
    """Python neither prints nor reads it, so that it would not come back."""
    with pytest.raises(UnsupportedValue):
        sealed(COOKIE, {"a": 10**5000})

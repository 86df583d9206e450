"""The cookies of Phoenix beyond the golden ones, and Erlang's terms: what is read, what is refused, and no more memory."""

from __future__ import annotations

import base64
import hashlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tests.foreign.web_formats import TERMS
from tests.foreign.web_support import NOW, UNTIL, read, refused, seal, wrong_setting

from hardtack import Key, SessionManager, values
from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.events import Rejected
from hardtack.foreign import etf, phoenix
from hardtack.foreign.phoenix import PhoenixCookie, PhoenixEncryptedCookie, PhoenixTokenCookie

SECRET = "0123456789abcdef" * 4
COOKIE = PhoenixCookie(SECRET, "sign salt", until=UNTIL)
ENCRYPTED = PhoenixEncryptedCookie(SECRET, "enc salt", "sign salt", until=UNTIL)
TOKEN = PhoenixTokenCookie(SECRET, "user auth")


def test_a_token_of_bytes_stays_bytes() -> None:
    """Generated logins keep a random token in the session, which is no text."""
    data = {"user_token": b"\xff\x00" * 16, "live_socket_id": "users_sessions:x"}

    assert read(COOKIE, seal(COOKIE, data)).data == data


def test_keys_that_are_atoms_need_to_be_named() -> None:
    """An atom is refused, unless it is one of `atom_keys`."""
    value = phoenix.sign(b"\x83t\x00\x00\x00\x01w\x07user_ida\x2a", COOKIE._signing[0])

    assert refused(COOKIE, value) == "unsafe"
    named = PhoenixCookie(SECRET, "sign salt", atom_keys=["user_id"], until=UNTIL)
    assert read(named, value).data == {"user_id": 42}


@pytest.mark.parametrize("value", ["", "SFMyNTY", "SFMyNTY.a", "SFMyNTY.a.b.c", "SFMyNTX.a.b", "bm9uZQ.a."])
def test_another_shape_is_not_signed(value: str) -> None:
    """Three parts, of which the first names a digest that Plug has."""
    assert refused(COOKIE, value) == "malformed"


@pytest.mark.parametrize("value", ["", "XCP", "XCP.AA", "XCP.AA.AA", "QTEyOEdDTQ.AA.AA.AA", "QTEyOEdDTQ.AA.AA.AA.AA"])
def test_another_shape_is_not_encrypted(value: str) -> None:
    """Either of the two forms, each with all of its parts."""
    assert refused(ENCRYPTED, value) == "malformed"


def test_a_signed_cookie_is_not_an_encrypted_one() -> None:
    """The format that asks for less is never asked instead."""
    ((_, value),) = seal(COOKIE, {"a": 1}).items()

    assert refused(ENCRYPTED, value) == "malformed"


def token(content: bytes, signed_at: bytes, max_age: bytes) -> str:
    return phoenix.sign(b"\x83h\x03" + content + signed_at + max_age, TOKEN._signing[0])


def millis(seconds: int) -> bytes:
    return etf.write(seconds * 1000)[1:]


SIXTY_DAYS = 60 * 86400


def test_a_token_says_how_long_it_lives() -> None:
    """The "remember me" of generated logins says 60 days, as `put_resp_cookie` was told."""
    sixty = token(b"m\x00\x00\x00\x02\xff\x00", millis(NOW), etf.write(SIXTY_DAYS)[1:])
    minute = token(b"t\x00\x00\x00\x00", millis(NOW), etf.write(60)[1:])

    record = read(TOKEN, sixty, NOW + SIXTY_DAYS - 1)
    assert (record.data, record.created, record.options) == (
        {"value": b"\xff\x00"},
        NOW,
        {"expires": NOW + SIXTY_DAYS},
    )
    assert refused(TOKEN, sixty, NOW + SIXTY_DAYS) == "expired"
    assert read(TOKEN, minute, NOW + 59).data == {}
    assert refused(TOKEN, minute, NOW + 60) == "expired"


def test_the_readers_age_overrides_the_tokens() -> None:
    """As `Keyword.get(opts, :max_age, max_age)` does there: longer as well as shorter, and where there is no end."""
    hour = PhoenixTokenCookie(SECRET, "user auth", max_age="1 hour")
    for own in (etf.write(SIXTY_DAYS)[1:], etf.write(60)[1:], etf.write(0)[1:], b"w\x08infinity"):
        value = token(b"a\x2a", millis(NOW), own)

        assert read(hour, value, NOW + 3599).options == {"expires": NOW + 3600}
        assert refused(hour, value, NOW + 3600) == "expired"


@pytest.mark.parametrize("age", [0, -1, -86400, -(1 << 70)])
def test_a_token_that_never_lived(age: int) -> None:
    """Plug refuses it at once, whatever the clocks say."""
    value = token(b"a\x2a", millis(NOW + 100_000), etf.write(age)[1:])

    assert refused(TOKEN, value, NOW) == "expired"


@pytest.mark.parametrize("infinity", [b"d\x00\x08infinity", b"w\x08infinity"])
def test_a_token_without_an_end(infinity: bytes) -> None:
    """`:infinity` is the one atom that may stand there; without `until` nothing ends such a token, and it is not taken over."""
    dated = PhoenixTokenCookie(SECRET, "user auth", until=UNTIL)
    value = token(b"t\x00\x00\x00\x01m\x00\x00\x00\x01aa\x01", millis(NOW), infinity)
    record = read(TOKEN, value, NOW + 10 * SIXTY_DAYS)

    assert (record.created, record.options) == (NOW, {})
    assert TOKEN.is_undated(record)
    assert not dated.is_undated(read(dated, value))
    assert not TOKEN.is_undated(read(TOKEN, token(b"a\x2a", millis(NOW), etf.write(60)[1:])))


def test_a_token_is_taken_over_until_its_end() -> None:
    """A "remember me" of ten days ago leads to its session; one without an end does so with `until` alone."""
    now = [NOW + 10 * 86400]
    events: list[object] = []

    def opened(own: bytes, **settings: Any) -> dict[str, Any]:
        cookie = PhoenixTokenCookie(SECRET, "user auth", cookie_name="remember", **settings)
        sessions = SessionManager(Key.generate(), accept=[cookie], clock=lambda: now[0], on_event=events.append)
        return dict(sessions.open(f"remember={token(b'a*', millis(NOW), own)}"))

    assert opened(etf.write(SIXTY_DAYS)[1:]) == {"value": 42}
    assert opened(b"w\x08infinity", until=UNTIL) == {"value": 42}
    assert not [event for event in events if isinstance(event, Rejected)]
    assert opened(b"w\x08infinity") == {}
    assert [event.reason for event in events if isinstance(event, Rejected)] == ["undated"]


@pytest.mark.parametrize(
    "value",
    [
        token(b"a\x2a", b"m\x00\x00\x00\x00", b"a\x01"),
        token(b"a\x2a", millis(NOW), b"m\x00\x00\x00\x00"),
        token(b"a\x2a", millis(NOW), b"w\x03nil"),
        token(b"a\x2a", millis(NOW), etf.write(1 << 53)[1:]),
        token(b"a\x2a", etf.write(1 << 53)[1:], b"a\x01"),
        token(b"a\x2a", etf.write(-1)[1:], b"a\x01"),
        token(b"a\x2a", millis(NOW), b"a\x01a\x01"),
        phoenix.sign(b"\x83h\x01a\x01", TOKEN._signing[0]),
        phoenix.sign(b"\x84h\x02a\x01a\x01", TOKEN._signing[0]),
        phoenix.sign(b"\x83h\x02a\x01m\x00\x00\x00\x00", TOKEN._signing[0]),
        phoenix.sign(b"\x83h\x02a\x01" + millis(NOW) + b"a\x01", TOKEN._signing[0]),
        phoenix.sign(b"\x83t\x00\x00\x00\x02w\x04dataa\x01w\x04dataa\x01", TOKEN._signing[0]),
        phoenix.sign(b"\x83t\x00\x00\x00\x01w\x04dataa\x01", TOKEN._signing[0]),
        phoenix.sign(b"\x83t\x00\x00\x00\x02w\x04dataa\x01m\x00\x00\x00\x06signed" + millis(NOW), TOKEN._signing[0]),
        phoenix.sign(b"\x83t\x00\x00\x00\x02w\x04dataa\x01w\x06signed", TOKEN._signing[0]),
    ],
)
def test_what_is_no_token(value: str) -> None:
    """A tuple of three, of which two are numbers; of two; or a map of the two."""
    assert refused(TOKEN, value) == "malformed"


# Erlang/OTP 25 wrote the first two, of `{42, 1800000000000}` and `#{data => 42, signed => 1800000000000}`. Later ones write an
# atom in its new form, and the keys in any order.
OLD_TOKENS = {
    "plug_crypto 1.1": bytes.fromhex("836802612a6e060000505c18a301"),
    "Phoenix 1.4": bytes.fromhex("83740000000264000464617461612a6400067369676e65646e060000505c18a301"),
    "on OTP 26": bytes.fromhex("837400000002770673" + "69676e65646e060000505c18a301" + "770464617461612a"),
}


@pytest.mark.parametrize("system", OLD_TOKENS)
def test_tokens_of_old_are_read(system: str) -> None:
    """They say no age: Plug.Crypto gives them a day, and so does this."""
    value = phoenix.sign(OLD_TOKENS[system], TOKEN._signing[0])
    record = read(TOKEN, value)

    assert (record.data, record.created, record.options) == ({"value": 42}, NOW, {"expires": NOW + 86400})
    assert read(TOKEN, value, NOW + 86399).data == {"value": 42}
    assert refused(TOKEN, value, NOW + 86400) == "expired"


def test_no_other_atom_is_a_member_of_an_old_token() -> None:
    """Beside `data` and `signed`, and not by `atom_keys` either: those may be inside it."""
    named = PhoenixTokenCookie(SECRET, "user auth", atom_keys=["user_id"])
    inner = b"t\x00\x00\x00\x01w\x07user_ida\x2a"
    signed = b"w\x06signed" + millis(NOW)

    assert read(named, phoenix.sign(b"\x83t\x00\x00\x00\x02w\x04data" + inner + signed, named._signing[0])).data == {
        "user_id": 42
    }
    value = phoenix.sign(b"\x83t\x00\x00\x00\x02w\x07user_ida\x2a" + signed, named._signing[0])
    assert refused(named, value) == "unsafe"


# What a token of `Plug.Crypto.encrypt` is made with: its key, and for the form before 2.1 no second one.
TOKEN_KEY = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), b"user auth", 1000, 32)
ENCRYPTED_TOKEN = PhoenixTokenCookie(SECRET, "user auth", encrypted=True)


def b64u(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parts_of(value: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in value.split(".")]


def xchacha(plain: bytes) -> str:
    """As plug_crypto 2.1 encrypts it, by libsodium."""
    seal_aead = pytest.importorskip("nacl.bindings").crypto_aead_xchacha20poly1305_ietf_encrypt
    nonce = bytes(range(24))
    sealed = seal_aead(plain, b"A128GCM", nonce, TOKEN_KEY)
    return f"XCP.{b64u(nonce + sealed[-16:] + sealed[:-16])}"


def wrapped_gcm(plain: bytes) -> str:
    """As plug_crypto before 2.1 encrypts it: a key for this token, under the other with an empty `sign_secret`."""
    key, iv, wrapping = bytes(range(16)), bytes(range(12)), bytes(range(12, 24))
    body = AESGCM(key).encrypt(iv, plain, b"A128GCM")
    parts = (AESGCM(TOKEN_KEY).encrypt(wrapping, key, b"") + wrapping, iv, body[:-16], body[-16:])
    return ".".join(map(b64u, (b"A128GCM", *parts)))


def opened_xchacha(value: str) -> bytes:
    """What `xchacha` was given."""
    open_aead = pytest.importorskip("nacl.bindings").crypto_aead_xchacha20poly1305_ietf_decrypt
    (raw,) = parts_of(value.removeprefix("XCP."))
    plain: bytes = open_aead(raw[40:] + raw[24:40], b"A128GCM", raw[:24], TOKEN_KEY)
    return plain


def opened_gcm(value: str) -> bytes:
    """What `wrapped_gcm` was given."""
    _, wrapped, iv, text, tag = parts_of(value)
    return AESGCM(AESGCM(TOKEN_KEY).decrypt(wrapped[32:], wrapped[:32], b"")).decrypt(iv, text + tag, b"A128GCM")


@pytest.mark.parametrize("encrypted", [xchacha, wrapped_gcm])
def test_an_encrypted_token_is_read(encrypted: Callable[[bytes], str]) -> None:
    """`{42, signed, max_age}` in either form, with its end; under no other salt, and not after it was changed."""
    value = encrypted(b"\x83h\x03a\x2a" + millis(NOW) + etf.write(60)[1:])
    record = read(ENCRYPTED_TOKEN, value)

    assert (record.data, record.created, record.options) == ({"value": 42}, NOW, {"expires": NOW + 60})
    assert refused(ENCRYPTED_TOKEN, value, NOW + 60) == "expired"
    assert refused(PhoenixTokenCookie(SECRET, "other", encrypted=True), value) == "tampered"
    assert refused(ENCRYPTED_TOKEN, value[:-4] + ("AAAA" if value[-4:] != "AAAA" else "BBBB")) in (
        "tampered",
        "malformed",
    )
    with_old = PhoenixTokenCookie("another secret", "user auth", old_secrets=[SECRET], encrypted=True)
    assert read(with_old, value).data == {"value": 42}


def test_a_signed_token_is_not_an_encrypted_one() -> None:
    """Nor the other way round: who says `encrypt: true` there takes nothing less."""
    signed, encrypted = (seal(each, {"value": 42}) for each in (TOKEN, ENCRYPTED_TOKEN))

    assert refused(ENCRYPTED_TOKEN, signed) == refused(TOKEN, encrypted) == "malformed"


def test_an_encrypted_token_of_old_says_no_age() -> None:
    """As a signed one: a day."""
    record = read(ENCRYPTED_TOKEN, wrapped_gcm(OLD_TOKENS["plug_crypto 1.1"]))

    assert (record.data, record.options) == ({"value": 42}, {"expires": NOW + 86400})


LEGACY_TOKEN = PhoenixTokenCookie(SECRET, "user auth", encrypted=True, legacy=True)
WRITTEN: list[tuple[PhoenixTokenCookie, Callable[[str], bytes]]] = [
    (TOKEN, lambda value: parts_of(value)[1]),
    (ENCRYPTED_TOKEN, opened_xchacha),
    (LEGACY_TOKEN, opened_gcm),
]
ONE = b"t\x00\x00\x00\x01m\x00\x00\x00\x01aa\x01"  # %{"a" => 1}
CONTENTS = [
    ({"value": 42}, b"a\x2a"),
    ({"value": b"\xff"}, b"m\x00\x00\x00\x01\xff"),
    ({"value": {"a": 1}}, b"t\x00\x00\x00\x01m\x00\x00\x00\x05value" + ONE),
    ({"a": 1}, ONE),
]


@pytest.mark.parametrize(("cookie", "plain_of"), WRITTEN, ids=["signed", "encrypted", "legacy"])
@pytest.mark.parametrize(("data", "content"), CONTENTS, ids=["number", "bytes", "nested", "map"])
def test_tokens_are_written(
    cookie: PhoenixTokenCookie, plain_of: Callable[[str], bytes], data: dict[str, Any], content: bytes
) -> None:
    """`{content, signed, 86400}`, as `sign` and `encrypt` make it without options; a value under `value` is the content."""
    value = seal(cookie, data)[cookie.cookie_name]
    record = read(cookie, value)

    assert plain_of(value) == b"\x83h\x03" + content + millis(NOW) + etf.write(86400)[1:]
    assert (record.data, record.created, record.options) == (data, NOW, {"expires": NOW + 86400})


def test_a_token_ends_with_the_session_that_it_holds() -> None:
    """Also for a reader that has an age of its own: it counts as signed sooner."""
    hour = PhoenixTokenCookie(SECRET, "user auth", max_age="1 hour")
    value = seal(hour, {"a": 1}, expires=NOW + 60)

    for cookie in (hour, TOKEN):
        assert read(cookie, value, NOW + 59).data == {"a": 1}
        assert refused(cookie, value, NOW + 60) == "expired"


def test_settings_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(PhoenixCookie, "signing_salt is empty", SECRET, "")
    wrong_setting(PhoenixCookie, "iterations=0", SECRET, "salt", iterations=0)
    wrong_setting(PhoenixCookie, "key_length=8", SECRET, "salt", key_length=8)
    wrong_setting(PhoenixCookie, "key_digest='md5'", SECRET, "salt", key_digest="md5")
    wrong_setting(PhoenixCookie, "atom_keys is a list", SECRET, "salt", atom_keys="user_id")
    wrong_setting(PhoenixCookie, "atom_keys is a list", SECRET, "salt", atom_keys=[1])
    wrong_setting(PhoenixEncryptedCookie, "key_length=64", SECRET, "salt", "salt", key_length=64)
    wrong_setting(PhoenixTokenCookie, "max_age", SECRET, "salt", max_age="soon")
    wrong_setting(PhoenixTokenCookie, "key_length=64", SECRET, "salt", encrypted=True, key_length=64)
    wrong_setting(PhoenixTokenCookie, "give encrypted=True", SECRET, "salt", legacy=True)


# --- terms


def term(raw: bytes) -> Any:
    return etf.read(b"\x83" + raw)


def refused_term(document: bytes) -> str:
    with pytest.raises(InvalidToken) as caught:
        etf.read(document)
    return caught.value.reason


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"a\xff", 255),
        (b"b\xff\xff\xff\xff", -1),
        (b"n\x01\x01\x05", -5),
        (b"n\x08\x00" + b"\xff" * 8, (1 << 64) - 1),
        (b"o\x00\x00\x00\x01\x00\x05", 5),
        (b"F" + struct.pack(">d", 1.5), 1.5),
        (b"m\x00\x00\x00\x02\xc3\xab", "ë"),
        (b"m\x00\x00\x00\x01\xff", b"\xff"),
        (b"d\x00\x03nil", None),
        (b"s\x04true", True),
        (b"v\x00\x05false", False),
        (b"w\x03nil", None),
        (b"j", []),
        (b"k\x00\x02\x01\x02", [1, 2]),
        (b"l\x00\x00\x00\x01a\x01j", [1]),
        (b"t\x00\x00\x00\x01m\x00\x00\x00\x01aa\x01", {"a": 1}),
    ],
)
def test_terms_that_are_read(raw: bytes, value: Any) -> None:
    """Every tag of plain data, in the old form and in the new."""
    found = term(raw)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"h\x01a\x01",
        b"i\x00\x00\x00\x01a\x01",
        b"p",
        b"q",
        b"u",
        b"X",
        b"g",
        b"f",
        b"x",
        b"Y",
        b"Z",
        b"r",
        b"e",
        b"M",
        b"R",
        b"c",
        b"w\x05admin",
        b"d\x00\x05admin",
        b"l\x00\x00\x00\x01a\x01a\x02",
        b"t\x00\x00\x00\x01w\x01aa\x01",
    ],
)
def test_terms_that_are_not_plain(raw: bytes) -> None:
    """Tuples, functions, processes, references, atoms and improper lists have their own reason."""
    assert refused_term(b"\x83" + raw) == "unsafe"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\x83",
        b"\x82a\x01",
        b"\x83a",
        b"\x83a\x01a\x01",
        b"\x83\xff",
        b"\x83n\x00\x00",
        b"\x83n\x81\x00" + b"\x01" * 129,
        b"\x83n\x01\x02\x05",
        b"\x83F" + struct.pack(">d", float("nan")),
        b"\x83F" + struct.pack(">d", float("inf")),
        b"\x83m\x00\x00\x00\x05abc",
        b"\x83l\xff\xff\xff\xffa\x01",
        b"\x83t\xff\xff\xff\xffa\x01",
        b"\x83t\x00\x00\x00\x02m\x00\x00\x00\x01aa\x01m\x00\x00\x00\x01aa\x02",
        b"\x83t\x00\x00\x00\x01a\x01a\x01",
        b"\x83t\x00\x00\x00\x01m\x00\x00\x00\x01\xffa\x01",
        b"\x83" + b"l\x00\x00\x00\x01" * 70 + b"a\x01" + b"j" * 70,
        b"\x83P",
        b"\x83P\x00\x00\x00\x05junk",
        b"\x83P\x00\x00\x00\x05" + zlib.compress(b"a\x01"),
        b"\x83P\x00\x00\x00\x02" + zlib.compress(b"a\x01a\x01"),
        b"\x83P\x00\x00\x00\x02" + zlib.compress(b"a\x01") + b"x",
    ],
)
def test_terms_that_are_malformed(document: bytes) -> None:
    """Whatever is too short, too long, too deep or of no tag."""
    assert refused_term(document) == "malformed"


def test_a_compressed_term() -> None:
    """Of the length that it says, and within the bound."""
    inner = etf.write(["x" * 1000])[1:]

    assert etf.read(b"\x83P" + struct.pack(">I", len(inner)) + zlib.compress(inner)) == ["x" * 1000]
    assert refused_term(b"\x83P\xff\xff\xff\xff" + zlib.compress(inner)) == "too_large"


def test_a_small_term_takes_no_memory() -> None:
    """Counts and lengths are compared with what is there, before anything is made of them."""
    bomb = b"\x83P" + struct.pack(">I", 1000) + zlib.compress(bytes(50_000_000), 9)
    tracemalloc.start()
    try:
        for document in (bomb, b"\x83l\x7f\xff\xff\xff", b"\x83m\x7f\xff\xff\xff", b"\x83o\x7f\xff\xff\xff\x00"):
            assert refused_term(document) == "malformed"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(TERMS)
def test_terms_come_back(data: dict[str, Any]) -> None:
    """Whatever is written reads as it was, with its types."""
    found = etf.read(etf.write(data))

    assert found == data
    assert values.pack(found) == values.pack(data)


@given(st.binary())
def test_junk_is_never_another_error(raw: bytes) -> None:
    """Nothing but InvalidToken."""
    try:
        etf.read(b"\x83" + raw)
    except InvalidToken as error:
        assert error.reason in ("malformed", "unsafe", "too_large")  # noqa: PT017


@pytest.mark.parametrize(
    "value", [b"text", b"", {"a": [b"text"]}, 1 << 1025, float("inf"), {"a": {"b": 1 << 1025}}, {1: 2}]
)
def test_what_would_not_come_back_is_not_written(value: Any) -> None:
    """Bytes that are text, infinities, and numbers without a bound."""
    with pytest.raises(UnsupportedValue):
        etf.write(value)

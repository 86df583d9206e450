"""The cookies of Rack, gorilla, React Router, Hono and Rust beyond the golden ones."""

from __future__ import annotations

import base64
import hmac
import json
import zlib
from collections.abc import Callable
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.foreign.web_support import NOW, UNTIL, context, read, record_of, refused, seal, wrong_setting

from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign._text import percent_decode, percent_encode
from hardtack.foreign.authjs import AuthjsCookie, NextAuthCookie
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.beaker import BeakerCookie
from hardtack.foreign.cookie_rs import RustPrivateCookie, RustSignedCookie
from hardtack.foreign.fastify import FastifyCookie
from hardtack.foreign.gorilla import GorillaCookie
from hardtack.foreign.hono import HonoCookie
from hardtack.foreign.iron import H3Cookie, IronSessionCookie
from hardtack.foreign.rack import RackHmacCookie, RackSessionCookie
from hardtack.foreign.remix import RemixCookie, take_flashes

SECRET = "s" * 64


# --- Rack


def rack(payload: bytes, purpose: str = "rack.session") -> str:
    """Any padded payload at all under a good secret, as `Encryptor::V2` seals it; `purpose` is "" where Rack's is nil."""
    salt = bytes(32)
    key = hmac.digest(SECRET[:32].encode(), salt, "sha256")
    sealed = AESGCM(key).encrypt(bytes(12), payload, b"\x02" + salt + purpose.encode())
    return base64.b64encode(b"\x02" + salt + bytes(12) + sealed[-16:] + sealed[:-16]).decode()


def rack_1(payload: bytes, purpose: str = "rack.session") -> str:
    """The same of `Encryptor::V1`."""
    key = hmac.digest(SECRET[:32].encode(), bytes(32), "sha256")
    signed = b"\x01" + bytes(32) + bytes(16) + ciphers.ctr(key, bytes(16), payload)
    return base64.urlsafe_b64encode(signed + mac_of_rack_1(signed + purpose.encode())).decode()


def mac_of_rack_1(bound: bytes) -> bytes:
    return hmac.digest(SECRET[32:].encode(), bound, "sha256")


RACK = RackSessionCookie(SECRET, until=UNTIL)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x00\x00\x04\x08{\x00", "unsafe"),
        (b"\x01\x00x\x04\x08{\x00", "unsafe"),
        (b"\x05\x00{}", "malformed"),
        (b"", "malformed"),
        (b"\x00\x00[]", "malformed"),
        (b"\x00\x00{", "malformed"),
    ],
)
def test_payloads_of_rack_session(payload: bytes, reason: str) -> None:
    """Padding that is longer than it, Marshal, and what is no mapping."""
    assert refused(RACK, rack(payload)) == reason


@pytest.mark.parametrize("raw", [b"", b"\x03" + bytes(99), b"\x01" + bytes(50), b"\x02" + bytes(20)])
def test_another_shape_is_not_rack_session(raw: bytes) -> None:
    """Neither of the two versions, or too short for it."""
    assert refused(RACK, base64.b64encode(raw).decode()) == "malformed"


def test_both_alphabets_are_read() -> None:
    """base64 until rack-session 2.1.2, base64url since."""
    for url_safe in (False, True):
        cookie = RackSessionCookie(SECRET, url_safe=url_safe, until=UNTIL)
        for number in range(20):
            assert read(RACK, seal(cookie, {"a": number})).data == {"a": number}


def test_both_alphabets_are_one_cookie() -> None:
    """A copy that was written in the other one is the same to whoever ends the session."""
    value = seal(RACK, {"a": list(range(100))})[RACK.cookie_name]
    copy = percent_decode(value).replace("+", "-").replace("/", "_")

    assert copy != percent_decode(value)
    assert read(RACK, copy).data == read(RACK, value).data
    assert RACK._spelled(copy) == RACK._spelled(value)


def test_a_short_secret_reads_version_2_alone() -> None:
    """Version 1 takes 32 bytes for each of its keys."""
    short = RackSessionCookie("s" * 32, until=UNTIL)
    one = RackSessionCookie(SECRET, version=1, until=UNTIL)

    assert read(RACK, seal(short, {"a": 1})).data == {"a": 1}
    assert refused(short, seal(one, {"a": 1})) == "tampered"


@pytest.mark.parametrize("made", [rack_1, rack], ids=["1", "2"])
@pytest.mark.parametrize("settings", [{}, {"cookie_name": "rack.session"}], ids=["unnamed", "named"])
def test_rack_binds_to_the_key_that_it_was_given(made: Callable[..., str], settings: dict[str, Any]) -> None:
    """An application without `key:`, such as Sinatra's by default, has the same name and binds its cookie to none."""
    cookie = RackSessionCookie(SECRET, until=UNTIL, **settings)

    assert read(cookie, made(b'\0\0{"a":1}')).data == {"a": 1}
    assert read(cookie, made(b'\0\0{"a":1}', "")).data == {"a": 1}
    assert refused(cookie, made(b'\0\0{"a":1}', "other")) == "tampered"


@pytest.mark.parametrize("version", [1, 2])
def test_a_name_is_bound_where_it_was_given(version: Literal[1, 2]) -> None:
    """What is written is what Rack reads that was told the same."""
    unnamed = RackSessionCookie(SECRET, version=version, until=UNTIL)
    named = RackSessionCookie(SECRET, version=version, cookie_name="rack.session", until=UNTIL)
    bound = RackSessionCookie(SECRET, purpose="rack.session", until=UNTIL)
    free = RackSessionCookie(SECRET, purpose="", until=UNTIL)

    assert read(free, seal(unnamed, {"a": 1})).data == {"a": 1}
    assert refused(bound, seal(unnamed, {"a": 1})) == "tampered"
    assert read(bound, seal(named, {"a": 1})).data == {"a": 1}
    assert refused(free, seal(named, {"a": 1})) == "tampered"


@pytest.mark.parametrize("version", [1, 2])
def test_a_purpose_of_its_own(version: Literal[1, 2]) -> None:
    """It binds the cookie as its name does, and no other cookie is read then."""
    other = RackSessionCookie(SECRET, purpose="other", version=version, until=UNTIL)

    assert read(other, seal(other, {"a": 1})).data == {"a": 1}
    assert refused(RACK, seal(other, {"a": 1})) == "tampered"
    for made in (rack_1, rack):
        assert refused(other, made(b'\0\0{"a":1}')) == "tampered"
        assert refused(other, made(b'\0\0{"a":1}', "")) == "tampered"


def test_a_name_moved_into_a_cookie_makes_no_other_session() -> None:
    """Its MAC of version 1 stays right, and its text where the name decrypts to a space: a session that was ended stays so."""
    key = hmac.digest(SECRET[:32].encode(), bytes(32), "sha256")
    texts = [b'\0\0{"a":"%b"}' % (b"x" * size) for size in range(200)]
    spaces = {text: ciphers.ctr(key, bytes(16), text + b" ")[-1:] for text in texts}
    text, name = next((text, space.decode()) for text, space in spaces.items() if space.isalnum())
    cookie = RackSessionCookie(SECRET, cookie_name=name, until=UNTIL)
    theirs = rack_1(text, name)
    raw = base64.urlsafe_b64decode(theirs)

    moved = base64.urlsafe_b64encode(raw[:-32] + name.encode() + raw[-32:]).decode()

    assert moved != theirs
    assert read(cookie, moved).id == read(cookie, theirs).id


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x04\x08{\x00", "unsafe"),
        (zlib.compress(b"\x04\x08{\x00"), "unsafe"),
        (b"\x78junk", "malformed"),
        (zlib.compress(bytes(1 << 20)), "too_large"),
        (b"[]", "malformed"),
    ],
)
def test_payloads_of_rack_2(payload: bytes, reason: str) -> None:
    """Marshal, zipped or not, and what unpacks to more than a cookie can hold."""
    cookie = RackHmacCookie(SECRET, until=UNTIL)
    encoded = base64.b64encode(payload).decode()

    assert refused(cookie, f"{encoded}--{cookie._mac(SECRET.encode(), encoded)}") == reason
    assert refused(cookie, encoded) == "malformed"


@pytest.mark.parametrize("zipped", [False, True])
def test_base64_in_lines_is_read(zipped: bool) -> None:
    """Until Rack 2.0 a line ends after 60 characters, and the MAC is over it as it stands."""
    data = {"name": "zoë " * 30, "n": list(range(50))}
    text = json.dumps(data).encode()
    plain = base64.b64encode(zlib.compress(text) if zipped else text).decode()
    encoded = "".join(f"{plain[at : at + 60]}\n" for at in range(0, len(plain), 60))
    mac = hmac.digest(SECRET.encode(), encoded.encode(), "sha1").hex()
    cookie = RackHmacCookie(SECRET, until=UNTIL)

    assert read(cookie, percent_encode(f"{encoded}--{mac}")).data == data
    assert refused(cookie, f"{plain}--{mac}") == "tampered"


def test_settings_of_rack_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(RackSessionCookie, "version=3", SECRET, version=3)
    wrong_setting(RackSessionCookie, "url_safe='no'", SECRET, url_safe="no")
    wrong_setting(RackSessionCookie, "purpose is text", SECRET, purpose=b"rack.session")
    wrong_setting(RackHmacCookie, "zipped='no'", SECRET, zipped="no")
    wrong_setting(RackSessionCookie, "pad_size=1", SECRET, pad_size=1)
    wrong_setting(RackSessionCookie, "shorter than", "short")
    wrong_setting(RackSessionCookie, "shorter than", "s" * 63, version=1)
    wrong_setting(RackHmacCookie, "digest='md5'", SECRET, digest="md5")


# --- gorilla

GORILLA = GorillaCookie("hash key")


def test_the_age_of_a_gorilla_cookie() -> None:
    """`MaxAge` runs from when it was written; without one, it says when it was made all the same."""
    cookies = seal(GORILLA, {"a": 1})
    month = 30 * 86400

    record = read(GORILLA, cookies, NOW + month - 1)

    assert (record.created, record.options) == (NOW, {"expires": NOW + month})
    assert refused(GORILLA, cookies, NOW + month) == "expired"
    endless = GorillaCookie("hash key", max_age=0)
    assert read(endless, cookies, NOW + month).options == {}
    assert read(endless, seal(endless, {"a": 1})).created == NOW


def gorilla(value: bytes, date: bytes = str(NOW).encode()) -> str:
    encoded = base64.urlsafe_b64encode(value)
    mac = GORILLA._mac(b"hash key", date, encoded)
    return base64.urlsafe_b64encode(b"|".join((date, encoded, mac))).decode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (gorilla(b"\x0d\xff\x81\x04\x01\x02\xff\x82"), "unsafe"),
        (gorilla(b"\xff\x9f\xff\x81\x03"), "unsafe"),
        (gorilla(b"\r\x7f\x04\x01\x02\xff\x80"), "unsafe"),
        (gorilla(b"\x08\x0c\x00\x05hello"), "unknown_key"),
        (gorilla(b"[]"), "malformed"),
        ("+" + "0" * 22 + "/", "malformed"),  # the other alphabet: Python 3.15 warns, and later ones read it otherwise
        (gorilla(b""), "malformed"),
        (gorilla(b"{}", b"0"), "malformed"),
        (gorilla(b"{}", b"soon"), "malformed"),
        (base64.urlsafe_b64encode(b"1|e30=").decode(), "malformed"),
    ],
)
def test_gorilla_cookies_that_are_refused(value: str, reason: str) -> None:
    """Gob has its own reason; a date is a number."""
    assert refused(GORILLA, value) == reason


def test_too_short_to_be_encrypted() -> None:
    """An authentic value of fewer bytes than an IV has."""
    assert refused(GorillaCookie("hash key", "b" * 16), gorilla(b"{}")) == "malformed"


@pytest.mark.parametrize("block_key", [None, "b" * 16, "o" * 32], ids=["signed", "new", "old"])
def test_a_block_key_changes_and_the_hash_key_stays(block_key: str | None) -> None:
    """The MAC is right under each pair then; that which also decrypts is the one, as in `DecodeMulti`."""
    both = GorillaCookie("hash key", "b" * 16, old_keys=[("hash key", None), ("hash key", "o" * 32)])
    text = b'{"a":"zo\xc3\xab"}\n'
    if block_key is not None:
        encryptor = Cipher(algorithms.AES(block_key.encode()), modes.CTR(bytes(range(16)))).encryptor()
        text = bytes(range(16)) + encryptor.update(text)

    assert read(both, gorilla(text)).data == {"a": "zoë"}


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        ([None, "b" * 16], b"\x0d\xff\x81\x04", "unsafe"),
        (["b" * 16, None], b"\x0d\xff\x81\x04", "malformed"),
        ([None, None], b"[]", "malformed"),
    ],
)
def test_no_pair_decrypts(keys: list[str | None], value: bytes, reason: str) -> None:
    """What the first pair said whose MAC was right is told, also where one comes after it whose MAC is not."""
    pairs = [("hash key", each) for each in keys]
    cookie = GorillaCookie("another", old_keys=[*pairs, ("yet another", None)])

    assert refused(cookie, gorilla(value)) == reason


@pytest.mark.parametrize("block_key", [None, "o" * 32], ids=["none", "another"])
def test_another_block_key_is_named(block_key: str | None) -> None:
    """What the MAC says is authentic and nobody decrypts is no gob: that would send the reader to the wrong system."""
    encryptor = Cipher(algorithms.AES(b"b" * 16), modes.CTR(bytes(16))).encryptor()
    value = gorilla(bytes(16) + encryptor.update(b'{"a":1}'))

    with pytest.raises(InvalidToken, match="give it the block_key") as caught:
        read(GorillaCookie("hash key", block_key), value)
    assert caught.value.reason == "unknown_key"


def test_json_ends_in_a_newline() -> None:
    """As Go's encoder writes it."""
    assert read(GORILLA, gorilla(b'{"a":1}\n')).data == {"a": 1}


def test_settings_of_gorilla_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(GorillaCookie, "hash_key is empty", "")
    wrong_setting(GorillaCookie, "16, 24 or 32", "hash key", "short")
    wrong_setting(GorillaCookie, "list of pairs", "hash key", old_keys=["other"])
    wrong_setting(GorillaCookie, "max_age", "hash key", max_age="soon")
    wrong_setting(GorillaCookie, "block_key is empty", "hash key", "")
    wrong_setting(GorillaCookie, "hash_func='md5'", "hash key", hash_func="md5")


# --- React Router and Hono


def test_flashes_are_taken() -> None:
    """They are kept under names of their own, and are gone once they were taken."""
    data = {"a": 1, "__flash_notice__": "hi", "__flash___": 2, "__flash_x": 3}

    assert take_flashes(data) == {"notice": "hi"}
    assert data == {"a": 1, "__flash___": 2, "__flash_x": 3}


@pytest.mark.parametrize("cookie", [RemixCookie("s", until=UNTIL), HonoCookie("s", until=UNTIL)])
def test_without_a_signature(cookie: RemixCookie | HonoCookie) -> None:
    """It is of another shape."""
    assert refused(cookie, "e30=") == "malformed"


@pytest.mark.parametrize("data", [{}, {"value": 1}, {"value": "a", "b": 1}, {"other": "a"}])
def test_a_text_cookie_of_hono_carries_text(data: dict[str, Any]) -> None:
    """One key, and nothing beside it."""
    with pytest.raises(UnsupportedValue):
        seal(HonoCookie("s", content="text", until=UNTIL), data)


def test_settings_of_hono_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(HonoCookie, "content='xml'", "s", content="xml")


# --- Rust

KEY = bytes([89, 202, 200, 125, 230, 90, 197, 245, 166, 249, 34, 169, 135, 31, 20, 197, 94, 154, 254, 79, 60, 26, 8, 143,
             254, 24, 116, 138, 92, 225, 159, 60, 157, 41, 135, 129, 31, 226, 196, 16, 198, 168, 134, 4, 42, 1, 196, 24,
             57, 103, 241, 147, 201, 185, 233, 10, 180, 170, 187, 89, 252, 137, 110, 107])  # fmt: skip


def test_known_cookies_of_the_crate() -> None:
    """The values that its own tests keep, from an early version: the text inside is no JSON, but opens."""
    signed = RustSignedCookie(KEY, cookie_name="signed_with_ring014", until=UNTIL)
    private = RustPrivateCookie(KEY, cookie_name="encrypted_with_ring014", until=UNTIL)
    found: list[Any] = []
    for cookie, value in (
        (signed, "3tdHXEQ2kf6fxC7dWzBGmpSLMtJenXLKrZ9cHkSsl1w=Tamper-proof"),
        (private, "lObeZJorGVyeSWUA8khTO/8UCzFVBY9g0MGU6/J3NN1R5x11dn2JIA=="),
    ):
        cookie._data = found.append  # type: ignore[assignment]
        with pytest.raises(Exception, match="mapping"):
            cookie._read(value, context(cookie))

    assert found == ["Tamper-proof", b"Tamper-proof"]


def actix_cookie(text: str) -> str:
    """Any state at all of actix-session, signed."""
    mac = base64.b64encode(hmac.digest(bytes(32), text.encode(), "sha256")).decode()
    return percent_encode(mac + text)


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"string":"\\"hello\\"","num":"1","obj":"{\\"a\\":1}"}', {"string": "hello", "num": 1, "obj": {"a": 1}}),
        ('{"v":1,"state":{"s":"hello","n":42,"none":null}}', {"s": "hello", "n": 42, "none": None}),
        ('{"state":{},"v":1,"more":[]}', {}),
        ('{"string":"hello","num":1}', {"string": "hello", "num": 1}),
        ('{"v":true,"state":{"a":1}}', {"v": True, "state": {"a": 1}}),
        ('{"state":{"a":1}}', {"state": {"a": 1}}),
        ('{"v":2,"state":[]}', {"v": 2, "state": []}),
        ('{"v":"1","state":"{}"}', {"v": 1, "state": {}}),
        ("{}", {}),
    ],
)
def test_three_forms_of_actix_are_read(text: str, data: dict[str, Any], versioned: bool) -> None:
    """JSON in text until 0.11, versioned after it, and plain, told apart as actix-session itself does."""
    cookie = RustSignedCookie(bytes(64), content="actix", versioned=versioned, until=UNTIL)

    assert read(cookie, actix_cookie(text)).data == data


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"a": "{"}',
        "{",
        '{"v":2,"state":{}}',
        '{"v":1.0,"state":{}}',
        '{"v":-1,"state":{}}',
        '{"v":257,"state":{}}',
    ],
)
def test_a_state_that_actix_refuses(text: str) -> None:
    """No object, text that is no JSON where all values are text, and a version that nobody knows."""
    actix = RustSignedCookie(bytes(64), content="actix", until=UNTIL)

    assert refused(actix, actix_cookie(text)) == "malformed"


def test_actix_as_it_stands_in_the_cookie() -> None:
    """Text within text."""
    actix = RustSignedCookie(bytes(64), content="actix", until=UNTIL)
    ((_, value),) = actix.seal(record_of({"user": "zoë", "n": 1}), context(actix)).items()

    assert json.loads(percent_decode(value)[44:]) == {"user": '"zoë"', "n": "1"}


@pytest.mark.parametrize("make", [RustSignedCookie, RustPrivateCookie])
def test_the_versioned_form_is_written_where_it_is_asked_for(make: type[RustSignedCookie | RustPrivateCookie]) -> None:
    """As it stands in the cookie, whatever the data look like, and read back."""
    versioned = make(bytes(64), content="actix", versioned=True, until=UNTIL)
    plain = make(bytes(64), until=UNTIL)
    for data in ({"user": "zoë", "n": 1}, {"v": 2, "state": {"a": "1"}}, {}):
        cookies = seal(versioned, data)

        assert read(plain, cookies).data == {"v": 1, "state": data}
        assert read(versioned, cookies).data == data


@pytest.mark.parametrize("value", ["", "short", "A" * 44])
def test_without_a_signature_or_a_tag(value: str) -> None:
    """It is of another shape."""
    assert refused(RustSignedCookie(bytes(64), until=UNTIL), value) == "malformed"
    assert refused(RustPrivateCookie(bytes(64), until=UNTIL), value[:8]) == "malformed"


def test_a_private_cookie_is_bound_to_its_name() -> None:
    """A signed one is not, in Rust."""
    other = RustPrivateCookie(bytes(64), cookie_name="other", until=UNTIL)
    ((_, value),) = seal(RustPrivateCookie(bytes(64), until=UNTIL), {"a": 1}).items()

    assert refused(other, value) == "tampered"


@pytest.mark.parametrize("number", [1 << 64, -(1 << 63) - 1])
@pytest.mark.parametrize("settings", [{}, {"content": "actix"}, {"content": "actix", "versioned": True}])
def test_whole_numbers_of_more_than_64_bits_are_not_written_for_rust(settings: dict[str, Any], number: int) -> None:
    """serde_json reads them as doubles, which are others."""
    cookie = RustPrivateCookie(bytes(64), until=UNTIL, **settings)

    with pytest.raises(UnsupportedValue, match="64 bits"):
        seal(cookie, {"a": [number]})


def test_settings_of_rust_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(RustSignedCookie, "not the 64 bytes", bytes(63))
    wrong_setting(RustSignedCookie, "not the 64 bytes", bytes(31), derive=True)
    wrong_setting(RustSignedCookie, "not the 64 bytes", "text" * 16)
    wrong_setting(RustPrivateCookie, "old_keys is a list", bytes(64), old_keys=bytes(64))
    wrong_setting(RustPrivateCookie, "content='xml'", bytes(64), content="xml")
    wrong_setting(RustPrivateCookie, "versioned=True", bytes(64), versioned=True)
    wrong_setting(RustSignedCookie, "versioned=1", bytes(64), content="actix", versioned=1)


@pytest.mark.parametrize("cookie", [RackHmacCookie(SECRET, until=UNTIL), RackSessionCookie(SECRET * 8, until=UNTIL)])
def test_a_session_id_is_written_for_rack(cookie: ForeignCookie) -> None:
    """Rack takes a session without one for none; ours is no data, and keeps the session's id; another one stays data."""
    record = read(cookie, seal(cookie, {"a": 1}))

    assert (record.id, record.data) == (bytes(16), {"a": 1})
    assert read(cookie, seal(cookie, {"session_id": "x"})).data == {"session_id": "x"}
    assert read(cookie, seal(cookie, {"session_id": 5})).data == {"session_id": 5}


# --- what several have


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda given: GorillaCookie("hash key", old_keys=given), "old_keys"),
        (lambda given: RustPrivateCookie(bytes(64), old_keys=given), "old_keys"),
        (lambda given: FastifyCookie(bytes(32), old_keys=given), "old_keys"),
        (lambda given: BeakerCookie("validate", old_keys=given), "old_keys"),
        (lambda given: H3Cookie(SECRET, old_secrets=given), "old_secrets"),
        (lambda given: HonoCookie(SECRET, old_secrets=given), "old_secrets"),
    ],
)
@pytest.mark.parametrize("given", [None, "one", 5])
def test_a_list_of_keys_is_a_list(make: Callable[[Any], ForeignCookie], setting: str, given: object) -> None:
    """One key where a list belongs, or nothing, is told with the setting's name."""
    wrong_setting(make, f"{setting} is a list of .*, not {type(given).__name__}; write", given)


def test_names_and_ids_that_are_no_text_are_told() -> None:
    """What a key is derived from, and an id that is there twice, of which one would be forgotten."""
    wrong_setting(NextAuthCookie, "salt is text", SECRET, salt=None)
    wrong_setting(AuthjsCookie, "cookie_name is text", SECRET, cookie_name=5)
    wrong_setting(IronSessionCookie, "an id twice", {1: SECRET, "1": SECRET + "2"})

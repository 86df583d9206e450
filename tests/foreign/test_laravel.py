"""The cookies of Laravel beyond the golden ones, and PHP's serialize: what is read, and what is refused."""

from __future__ import annotations

import base64
import hmac
import json
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.foreign.web_formats import php as php_data
from tests.foreign.web_support import NOW, UNTIL, laravel_unprefixed, read, refused, seal, wrong_setting

import hardtack
from hardtack import values
from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign import _ciphers, laravel, php, php_reader
from hardtack.foreign._text import percent_decode, percent_encode
from hardtack.foreign.laravel import LaravelCookie, LaravelIdCookie, laravel_subject, read_laravel_data

APP_KEY = "base64:" + base64.b64encode(bytes(range(32))).decode()
COOKIE = LaravelCookie(APP_KEY)
ID = LaravelIdCookie(APP_KEY, until=UNTIL)
GCM = LaravelIdCookie(APP_KEY, cipher="aes-256-gcm", until=UNTIL)
SESSION_ID = "aB3" * 13 + "x"


def driver(content: Any, name: str = SESSION_ID) -> dict[str, str]:
    """The cookie driver's two cookies, with any content at all."""
    text = content if isinstance(content, str) else json.dumps(content)
    return {"laravel_session": COOKIE._encrypt("laravel_session", SESSION_ID), name: COOKIE._encrypt(name, text)}


def test_the_driver_has_two_cookies() -> None:
    """The second is named by the id in the first, and both are cleared on takeover."""
    cookies = seal(COOKIE, {"a": 1})
    names = list(cookies)

    assert names[0] == "laravel_session"
    assert len(names[1]) == 40
    assert COOKIE.cookie_names({name: [value] for name, value in {**cookies, "x" * 40: ""}.items()}) == names
    assert COOKIE.cookie_names({"laravel_session": ["junk"], names[1]: [""]}) == ["laravel_session"]
    assert COOKIE.cookie_names({"laravel_session": [cookies["laravel_session"]]}) == ["laravel_session"]
    assert COOKIE.cookie_names({}) == []


def test_without_its_data_a_session_is_incomplete() -> None:
    """The id alone is not the session."""
    assert refused(COOKIE, {"laravel_session": driver({})["laravel_session"]}) == "incomplete"


def test_the_data_of_another_session_is_refused() -> None:
    """A value is bound to the name of its cookie."""
    cookies = driver({"data": "a:0:{}", "expires": NOW + 60})
    cookies[SESSION_ID] = COOKIE._encrypt("x" * 40, '{"data":"a:0:{}","expires":1}')

    assert refused(COOKIE, cookies) == "wrong_purpose"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"data": "a:0:{}", "expires": NOW}, "expired"),
        ({"data": "a:0:{}", "expires": "soon"}, "malformed"),
        ({"data": "a:0:{}"}, "malformed"),
        ({"data": {}, "expires": NOW + 60}, "malformed"),
        ({"data": "i:1;", "expires": NOW + 60}, "malformed"),
        ({"data": 'O:8:"stdClass":0:{}', "expires": NOW + 60}, "unsafe"),
        ([], "malformed"),
        ("{", "malformed"),
    ],
)
def test_content_that_is_refused(content: Any, reason: str) -> None:
    """An end, and data that is a mapping without objects."""
    assert refused(COOKIE, driver(content)) == reason


def test_the_end_is_carried_over() -> None:
    """It is the driver's own, enforced to the second."""
    assert read(COOKIE, seal(COOKIE, {"a": 1})).options == {"expires": NOW + 7200}
    assert read(COOKIE, seal(COOKIE, {"a": 1}, expires=NOW + 5)).options == {"expires": NOW + 5}


def test_an_empty_session() -> None:
    """PHP does not tell an empty mapping from an empty list; a session is a mapping."""
    assert read(COOKIE, driver({"data": "a:0:{}", "expires": NOW + 60})).data == {}
    assert read(COOKIE, driver({"data": "[]", "expires": NOW + 60})).data == {}


def test_too_long_a_second_cookie_is_not_looked_at() -> None:
    """As the first."""
    cookies = driver({})
    cookies[SESSION_ID] = "A" * 8193

    assert refused(COOKIE, cookies) == "too_large"


def test_bytes_do_not_fit_into_json() -> None:
    """The driver keeps text."""
    with pytest.raises(UnsupportedValue, match="keeps text"):
        seal(COOKIE, {"a": b"\xff"})


def test_the_store_is_asked_for_an_authentic_id_alone() -> None:
    """`load` gets the id; both serializations are read."""
    found = {SESSION_ID: 'a:1:{s:1:"a";i:1;}'}
    cookie = LaravelIdCookie(APP_KEY, load=found.get, until=UNTIL)
    cookies = seal(ID, {"session_id": SESSION_ID})

    assert read(cookie, cookies).data == {"a": 1}
    found[SESSION_ID] = '{"a": 2}'
    assert read(cookie, cookies).data == {"a": 2}
    assert refused(cookie, seal(ID, {"session_id": "x" * 40})) == "unknown_id"


def test_data_of_a_store() -> None:
    """As bytes too."""
    assert read_laravel_data(b'a:1:{s:1:"a";i:1;}') == {"a": 1}


# Written by Laravel 8.83 under APP_KEY: `payload` of DatabaseSessionHandler, with Store and with EncryptedStore.
ROW = (
    "YTo0OntzOjY6Il90b2tlbiI7czo0MDoidHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dCI7czo1MDoibG9naW5fd2ViXzU5YmEzNmFk"
    "ZGMyYjJmOTQwMTU4MGYwMTRjN2Y1OGVhNGUzMDk4OWQiO2k6NDI7czo0OiJuYW1lIjtzOjQ6Inpvw6siO3M6NjoiX2ZsYXNoIjthOjI6e3M6Mzoib2xkIjth"
    "OjA6e31zOjM6Im5ldyI7YTowOnt9fX0="
)
ENCRYPTED_ROW = (
    "ZXlKcGRpSTZJbk5uUm1wNmFESkNVWG92VDNsWWVFaHlVMnRaU0djOVBTSXNJblpoYkhWbElqb2llbkEwWXpFd1RHTnlkR012UldnMVIydDBVRkpsUzNFMWJu"
    "UTNUMG95ZFRaamNEbHdOVUZKTVdkNk5FZDVjWEpOTlRCaFNYb3ZRMkVyY1RGbE1EYzRUbUpWY1VGUWRYVnRSa3MzWm5GWmJubzFNazFYTlRob2QwVlZZbE5C"
    "TVVSaFRFRk9OalIwWWxoV05VZDFSWHBsYTFoVlNVOHdNaTlMTjBVeldtdGliM1JwYmxadFpWazBORzV2U1VwTmRGTXhVaXM0ZUVVMVlYUTJabFF2ZEZZck1r"
    "RlhNVVJyWXpCWVoySnBNRlo0Wm0xTFRtSmpRVU5VWmxoeWNtZGxXV0UzWW14d2VGWlNXbE5STkZGS2FteG5SMjVEUzJKaFdHbzROMnBoYkhKa01EbE9RMGhz"
    "VEc0NFMyZ3pOMGRyVTA1cUsyTndRV0U1YTJrMlRteEVTV0l4ZG1wWkszcFJRWGd5U1RKemMyNWFVRUZ0ZEd0dWJtUkVVRFJ4T0dKRmRuRkpOM1ZYYlRKSFNV"
    "bzJObmM5SWl3aWJXRmpJam9pWWpaak9EQmxOREZrTWpKaE9HRmhZelJpTkRVMk9UZ3pOVE0yT0dRMU5UQTRNbVl4TVRreVlqVXhOR05pTW1KbFkyWXlNalUy"
    "T0dSak9UZzFaalZtTWlJc0luUmhaeUk2SWlKOQ=="
)
KEPT = {
    "_token": "t" * 40,
    "login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d": 42,
    "name": "zoë",
    "_flash": {"old": [], "new": []},
}
ENVELOPE = base64.b64decode(ENCRYPTED_ROW)
PLAIN = base64.b64decode(ROW)


def packed(text: bytes) -> bytes:
    """As Laravel's RedisStore keeps a string: PHP's serialize."""
    return b's:%d:"%b";' % (len(text), text)


def resealed(plain: bytes) -> bytes:
    """What EncryptedStore hands its store, with any content at all."""
    iv = base64.b64encode(bytes(16)).decode()
    value = base64.b64encode(_ciphers.seal_cbc(bytes(range(32)), bytes(16), plain)).decode()
    mac = hmac.digest(bytes(range(32)), (iv + value).encode(), "sha256").hex()
    return base64.b64encode(json.dumps({"iv": iv, "value": value, "mac": mac}).encode())


def stored(content: str | bytes, *, encrypted: bool = False, **settings: Any) -> LaravelIdCookie:
    """A format whose store has this under every id."""
    return LaravelIdCookie(APP_KEY, load=lambda identifier: content, encrypted=encrypted, until=UNTIL, **settings)


IN_STORES: dict[str, Callable[[bytes], str | bytes]] = {
    "a row": lambda text: base64.b64encode(text).decode(),
    "Redis": packed,
    "a file": bytes,
    "text": bytes.decode,
}


@pytest.mark.parametrize("place", IN_STORES)
@pytest.mark.parametrize("text", [PLAIN, json.dumps(KEPT).encode()], ids=["php", "json"])
def test_what_a_store_puts_around_a_session(place: str, text: bytes) -> None:
    """Base64 in a row, PHP's serialize in a cache, nothing in a file: with either serialization."""
    cookies = seal(ID, {"session_id": SESSION_ID})

    assert read(stored(ROW), cookies).data == KEPT
    assert read(stored(IN_STORES[place](text)), cookies).data == KEPT


@pytest.mark.parametrize("place", IN_STORES)
def test_an_encrypted_session_in_a_store(place: str) -> None:
    """An envelope without the name of a cookie in it, and in it text in PHP's serialize."""
    cookies = seal(ID, {"session_id": SESSION_ID})
    cookie = stored(IN_STORES[place](ENVELOPE), encrypted=True)

    assert read(stored(ENCRYPTED_ROW, encrypted=True), cookies).data == KEPT
    assert read(cookie, cookies).data == KEPT
    as_json = IN_STORES[place](resealed(packed(b'{"a": 1}')))
    assert read(stored(as_json, encrypted=True), cookies).data == {"a": 1}
    assert refused(stored(IN_STORES[place](ENVELOPE)), cookies) == "malformed"


def test_an_old_key_opens_a_stored_session() -> None:
    """As `APP_PREVIOUS_KEYS` does."""
    key = "base64:" + base64.b64encode(bytes(32)).decode()
    cookie = LaravelIdCookie(
        key, old_secrets=[APP_KEY], load=lambda identifier: ENCRYPTED_ROW, encrypted=True, until=UNTIL
    )
    other = LaravelIdCookie(key, load=lambda identifier: ENCRYPTED_ROW, encrypted=True, until=UNTIL)

    assert read(cookie, seal(ID, {"session_id": SESSION_ID})).data == KEPT
    assert refused(other, seal(other, {"session_id": SESSION_ID})) == "tampered"


def test_an_encrypted_session_is_told() -> None:
    """Otherwise everyone is logged out, and nobody knows why."""
    with pytest.raises(InvalidToken, match="encrypted=True"):
        read(stored(ENCRYPTED_ROW), seal(ID, {"session_id": SESSION_ID}))
    assert read(stored('{"iv": "mine", "_token": "t"}'), seal(ID, {"session_id": SESSION_ID})).data["iv"] == "mine"


@pytest.mark.parametrize(
    ("content", "encrypted", "reason"),
    [
        ("", False, "malformed"),
        (b"\xff", False, "malformed"),
        ("junk!", False, "malformed"),
        (ROW[:-1], False, "malformed"),
        (ROW + "\n", False, "malformed"),
        (base64.b64encode(ROW.encode()), False, "malformed"),
        (base64.b64encode(packed(PLAIN)), False, "malformed"),
        (packed(ROW.encode()), False, "malformed"),
        (packed(packed(PLAIN)), False, "malformed"),
        (packed(PLAIN)[:-1], False, "malformed"),
        ('s:17:"O:8:"stdClass":0:{}";', False, "malformed"),
        (packed(b'O:8:"stdClass":0:{}'), False, "unsafe"),
        ("i:1;", False, "malformed"),
        (ROW, True, "malformed"),
        (packed(PLAIN), True, "malformed"),
        (PLAIN, True, "malformed"),
        ("[]", True, "malformed"),
        ('{"a": 1}', True, "tampered"),
        (packed(b"\xff"), True, "malformed"),
        (packed(ENVELOPE[:-4]), True, "malformed"),
        (resealed(PLAIN), True, "malformed"),
        (resealed(b"i:1;"), True, "malformed"),
        (resealed(packed(packed(PLAIN))), True, "malformed"),
        (resealed(b"0" * 40 + b"|" + SESSION_ID.encode()), True, "malformed"),
    ],
    ids=range(24),
)
def test_what_is_in_no_store_of_laravels(content: str | bytes, encrypted: bool, reason: str) -> None:
    """One layer is taken off and no more; where sessions are encrypted, what has no MAC is not read."""
    assert refused(stored(content, encrypted=encrypted), seal(ID, {"session_id": SESSION_ID})) == reason


@pytest.mark.parametrize("data", [{}, {"session_id": "short"}, {"session_id": SESSION_ID, "a": 1}, {"session_id": 1}])
def test_the_cookie_carries_an_id_alone(data: dict[str, Any]) -> None:
    """Of Laravel's form; everything else is in the store."""
    with pytest.raises(UnsupportedValue):
        seal(ID, data)


def test_cookies_from_before_the_prefix_are_asked_for() -> None:
    """They are bound to no name; what is bound to another one stays refused, and what is bound to this one is read too."""
    old = LaravelIdCookie(APP_KEY, legacy_unprefixed=True, until=NOW + 60)
    data = {"session_id": SESSION_ID}

    assert read(old, laravel_unprefixed(SESSION_ID)).data == read(old, seal(ID, data)).data == data
    assert refused(old, laravel_unprefixed(SESSION_ID), NOW + 60) == "expired"
    assert refused(ID, laravel_unprefixed(SESSION_ID)) == "wrong_purpose"
    assert refused(old, ID._encrypt("other", SESSION_ID)) == "wrong_purpose"
    assert refused(old, laravel_unprefixed("0" * 40 + "|" + SESSION_ID)) == "wrong_purpose"
    assert refused(old, laravel_unprefixed("no id")) == "malformed"


def test_what_is_written_has_its_prefix() -> None:
    """Each Laravel of today reads it; before the prefix there was nothing to write."""
    old = LaravelIdCookie(APP_KEY, legacy_unprefixed=True, until=UNTIL)

    assert read(ID, seal(old, {"session_id": SESSION_ID})).data == {"session_id": SESSION_ID}


def test_an_id_of_another_form_is_refused() -> None:
    """It would be looked up in a store."""
    assert refused(ID, ID._encrypt("laravel_session", "../../etc/passwd")) == "malformed"


def envelope(tree: Any) -> str:
    return percent_encode(base64.b64encode(json.dumps(tree).encode()).decode())


def opened(value: str) -> dict[str, str]:
    tree: dict[str, str] = json.loads(base64.b64decode(percent_decode(value)))
    return tree


@pytest.mark.parametrize("tree", [[], {"iv": 1}, {"iv": "é"}, 1, "text"])
def test_another_shape_is_of_no_format(tree: Any) -> None:
    """Four members of text."""
    assert refused(ID, envelope(tree)) == "malformed"


def test_a_mac_is_demanded_with_cbc_and_a_tag_with_gcm() -> None:
    """An empty one is none."""
    cbc = opened(ID._encrypt("laravel_session", SESSION_ID))
    gcm = opened(GCM._encrypt("laravel_session", SESSION_ID))

    assert refused(ID, envelope({**cbc, "mac": ""})) == "tampered"
    assert refused(GCM, envelope({**gcm, "tag": ""})) == "malformed"
    assert refused(GCM, envelope({**gcm, "tag": gcm["tag"][:16]})) == "malformed"
    assert refused(GCM, envelope(cbc)) == "malformed"


def test_a_value_that_is_no_text() -> None:
    """Authentic, and still nothing that Laravel wrote."""
    key = bytes(range(32))
    iv = base64.b64encode(bytes(16)).decode()
    plain = laravel._prefix(key, "laravel_session") + b"|\xff"
    value = base64.b64encode(_ciphers.seal_cbc(key, bytes(16), plain)).decode()
    mac = hmac.digest(key, (iv + value).encode(), "sha256").hex()

    assert refused(ID, envelope({"iv": iv, "value": value, "mac": mac, "tag": ""})) == "malformed"
    plain = b"no prefix"
    value = base64.b64encode(_ciphers.seal_cbc(key, bytes(16), plain)).decode()
    mac = hmac.digest(key, (iv + value).encode(), "sha256").hex()
    assert refused(ID, envelope({"iv": iv, "value": value, "mac": mac, "tag": ""})) == "wrong_purpose"
    value = base64.b64encode(bytes(16)).decode()
    mac = hmac.digest(key, (iv + value).encode(), "sha256").hex()
    assert refused(ID, envelope({"iv": iv, "value": value, "mac": mac, "tag": ""})) == "malformed"
    mac = hmac.digest(key, b"AAAA", "sha256").hex()
    assert refused(ID, envelope({"iv": "", "value": "AAAA", "mac": mac, "tag": ""})) == "malformed"


LOGIN = "login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d"


@pytest.mark.parametrize(
    ("data", "subject"),
    [({LOGIN: 42}, "42"), ({LOGIN: "uuid"}, "uuid"), ({LOGIN: ""}, None), ({LOGIN: True}, None), ({}, None)],
)
def test_laravel_names_the_user(data: dict[str, Any], subject: str | None) -> None:
    """The id of the logged-in user, and nobody where the session has another form."""
    assert laravel_subject()(data) == subject


def test_laravel_knows_guards() -> None:
    """An application may have several kinds of users."""
    assert laravel_subject("admin")({"login_admin_59ba36addc2b2f9401580f014c7f58ea4e30989d": 7}) == "7"


def test_a_key_may_be_raw() -> None:
    """Without `base64:` it is its characters."""
    assert read(LaravelIdCookie("k" * 32, until=UNTIL), seal(LaravelIdCookie("k" * 32), {"session_id": SESSION_ID}))


def test_settings_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(LaravelCookie, "not an APP_KEY of 32 bytes", "short")
    wrong_setting(LaravelCookie, "not an APP_KEY of 32 bytes", "base64:!")
    wrong_setting(LaravelCookie, "not an APP_KEY of 16 bytes", APP_KEY, cipher="aes-128-cbc")
    wrong_setting(LaravelCookie, "not an APP_KEY", b"k" * 32)
    wrong_setting(LaravelCookie, "cipher='des'", APP_KEY, cipher="des")
    wrong_setting(LaravelCookie, "cipher=1", APP_KEY, cipher=1)
    wrong_setting(LaravelCookie, "old_secrets is a list", APP_KEY, old_secrets=APP_KEY)
    wrong_setting(LaravelCookie, "serialization='xml'", APP_KEY, serialization="xml")
    wrong_setting(LaravelCookie, "legacy_unprefixed=True needs until=", APP_KEY, legacy_unprefixed=True)
    wrong_setting(LaravelIdCookie, "load is a function", APP_KEY, load="redis")
    wrong_setting(LaravelIdCookie, "encrypted=1", APP_KEY, load=str, encrypted=1)
    wrong_setting(LaravelIdCookie, "encrypted=True", APP_KEY, encrypted=True)


# --- PHP's serialize


READERS = ("python", "pieces", "compiled")
each_reader = pytest.mark.parametrize("reader", READERS)


def reader_of(name: str) -> Callable[[bytes], Any]:
    """One of the ways of reading: by a search, piece by piece, or the latter compiled, where that is installed."""
    if name == "compiled":
        module = pytest.importorskip(
            "hardtack_speedups.php_reader", reason="hardtack-speedups is not installed, or an older one: make speedups"
        )
        compiled: Callable[[bytes], Any] = module.read
        return compiled
    return php.read_in_python if name == "python" else php_reader.read


def refused_document(document: bytes, reader: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        reader_of(reader)(document)
    return caught.value.reason


def speedups_installed(monkeypatch: pytest.MonkeyPatch, version: str) -> Callable[[bytes], Any]:
    """A compiled reader that says it is of this version."""
    package, compiled = ModuleType("hardtack_speedups"), ModuleType("hardtack_speedups.php_reader")
    monkeypatch.setattr(package, "__version__", version, raising=False)
    monkeypatch.setattr(compiled, "read", lambda document: document, raising=False)
    monkeypatch.setitem(sys.modules, "hardtack_speedups", package)
    monkeypatch.setitem(sys.modules, "hardtack_speedups.php_reader", compiled)
    read_one: Callable[[bytes], Any] = compiled.read
    return read_one


def test_the_compiled_reader_of_this_version_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another version may lack a correction, and nobody needs any."""
    compiled = speedups_installed(monkeypatch, hardtack.__version__)

    assert php.choose() is compiled
    speedups_installed(monkeypatch, "0.0.1")
    assert php.choose() is php.read_in_python
    monkeypatch.setitem(sys.modules, "hardtack_speedups", None)
    assert php.choose() is php.read_in_python
    assert php.read(b"i:1;") == 1


@each_reader
@pytest.mark.parametrize(
    "texts",
    [
        ["plain"],
        ["é"],
        ["", "é", "a", "", "€uro", b"\xff", "x" * 300, "ł", "end"],
        ["before", b"\x80", "é", "é"],
        ["x" * 9, "x" * 10, "é" * 5, "é" * 4 + "x", "after"],
    ],
    ids=["ascii", "wide", "mixed", "bytes", "lengths"],
)
def test_strings_of_every_kind_beside_each_other(texts: list[Any], reader: str) -> None:
    """Wherever a document has its bytes that are not ASCII, each string is read as what it is."""
    keyed = {text if type(text) is str and text else str(index): text for index, text in enumerate(texts)}

    assert reader_of(reader)(php.write(texts)) == texts
    assert reader_of(reader)(php.write({"key": keyed, "é": 1})) == {"key": keyed, "é": 1}


@each_reader
@pytest.mark.parametrize(
    ("document", "value"),
    [
        (b"N;", None),
        (b"b:0;", False),
        (b"i:-9223372036854775808;", -(1 << 63)),
        (b"d:0.1;", 0.1),
        (b"d:1.0E+25;", 1e25),
        (b"d:1;", 1.0),
        (b"d:-INF;", float("-inf")),
        ('s:3:"ë!";'.encode(), "ë!"),
        (b's:1:"\xff";', b"\xff"),
        (b's:4:"a";b";', 'a";b'),
        (b"a:0:{}", []),
        (b"a:2:{i:0;i:1;i:1;i:2;}", [1, 2]),
        (b"a:2:{i:1;i:1;i:0;i:2;}", {"1": 1, "0": 2}),
        (b"a:1:{i:17;i:2;}", {"17": 2}),
        (b'a:1:{s:2:"07";i:2;}', {"07": 2}),
        (b'a:1:{s:19:"9223372036854775808";i:2;}', {"9223372036854775808": 2}),
    ],
)
def test_documents_that_are_read(document: bytes, value: Any, reader: str) -> None:
    """Every kind of plain data."""
    found = reader_of(reader)(document)

    assert found == value
    assert type(found) is type(value)


@each_reader
@pytest.mark.parametrize(
    "document",
    [
        b'O:8:"stdClass":0:{}',
        b'C:11:"ArrayObject":21:{x:i:0;a:0:{};m:a:0:{}}',
        b'E:7:"A:Const";',
        b"a:2:{i:0;i:1;i:1;R:2;}",
        b"a:2:{i:0;i:1;i:1;r:2;}",
    ],
)
def test_objects_and_references_are_refused(document: bytes, reader: str) -> None:
    """With their own reason: reading them would build whatever class they name."""
    assert refused_document(document, reader) == "unsafe"


@each_reader
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"a",
        b"s:",
        b"s:1",
        b'a:1:{s:1:"a";',
        b"a:1:{x:1;N;}",
        b"a:1;{}",
        b"s:1;1;",
        b's:1:"a"x',
        b"s:1234567890:",
        b"b:1}",
        b"i:1}",
        b"i:-0;",
        b"i:-;",
        b"i:-9223372036854775809;",
        b"i:00;",
        b"N:",
        b"N",
        b"N;N;",
        b"x:1;",
        b"b:2;",
        b"i:;",
        b"i:01;",
        b"i:9223372036854775808;",
        b"i:99999999999999999999;",
        b"d:x;",
        b"d:;",
        b's:5:"abc";',
        b's:2:"abc";',
        b's:03:"abc";',
        b"s:3:abc;",
        b"a:1:{}",
        b"a:x:{}",
        b"a:0:{i:0;N;}",
        b"a:1:{i:0;N;",
        b"a:99999999:{i:0;N;}",
        b"a:1:{N;N;}",
        b"a:1:{d:1;N;i:0;}",
        b'a:1:{s:1:"7";i:2;}',
        b'a:1:{s:1:"\xff";i:2;}',
        b"a:2:{i:1;N;i:1;N;}",
        b"a:1:{i:0;" * 70 + b"N;" + b"}" * 70,
    ],
)
def test_documents_that_are_malformed(document: bytes, reader: str) -> None:
    """Whatever is too short, too long, too deep or of no kind."""
    assert refused_document(document, reader) == "malformed"


@each_reader
@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b's:1234567890:"x";', "a string has no length"),
        (b"i:12345678901234567890;", "not one of 64 bits"),
        (b"a:99999999:{i:0;N;}", "more items than bytes"),
        (b"a:1234567890:{i:0;N;}", "more items than bytes"),
    ],
)
def test_a_number_that_is_too_large_is_told(document: bytes, problem: str, reader: str) -> None:
    """Before anything is done that often, or made that large."""
    with pytest.raises(InvalidToken, match=problem):
        reader_of(reader)(document)


@each_reader
@given(php_data(binary=True))
def test_documents_come_back(reader: str, data: dict[str, Any]) -> None:
    """Whatever is written reads as it was, with its types."""
    found = reader_of(reader)(php.write(data))

    assert (found or {}) == data
    assert values.pack(found or {}) == values.pack(data)


@each_reader
@given(st.binary() | st.text('0123456789:;{}"aisbdNO-.').map(str.encode))
def test_junk_is_never_another_error(reader: str, raw: bytes) -> None:
    """Nothing but InvalidToken."""
    try:
        reader_of(reader)(raw)
    except InvalidToken as error:
        assert error.reason in ("malformed", "unsafe")  # noqa: PT017


@pytest.mark.parametrize(
    "value",
    [
        {"a": {}},
        {"a": {"0": 1}},
        {"0": 1, "1": 2},
        {"a": [b"text"]},
        {"a": 1 << 63},
        1 << 63,
    ],
)
def test_what_would_not_come_back_is_not_written(value: Any) -> None:
    """Mappings that look like lists, bytes that are text, and integers beyond 64 bits."""
    with pytest.raises(UnsupportedValue):
        php.write(value)


@pytest.mark.parametrize(("value", "text"), [(1e25, b"d:1E+25;"), (0.1, b"d:0.1;"), (float("inf"), b"d:INF;")])
def test_floats_as_php_writes_them(value: float, text: bytes) -> None:
    """With E, and infinity in capitals."""
    assert php.write(value) == text
    assert php.write(-float("inf")) == b"d:-INF;"
    assert php.write(float("nan")) == b"d:NAN;"


@each_reader
@pytest.mark.parametrize("text", ['a";i:1;s:1:"', '"', 'x";', 'é";', "a:1:{i:0;"])
def test_text_that_looks_like_the_end_of_one(text: str, reader: str) -> None:
    """A text ends where its length says, whatever stands in it."""
    assert reader_of(reader)(php.write({"k": text, "l": [text, 1]})) == {"k": text, "l": [text, 1]}
    assert reader_of(reader)(php.write({text: "v"})) == {text: "v"}


_KEYS = [b"a", b"user_id", b"_flash", b"0x", b"-1", b"", "kë".encode(), b"k\xff", b'q"q', b'x";y', b"5"]
_TEXTS = [b"", b"hello", "Zoë".encode(), b"\xff\x00", b'say "hi"', b'a";b', b";", b"}", b'"', b'";', b"\n{"]
_INTS = [0, 1, -1, 10**17, 10**18, (1 << 63) - 1, -(1 << 63), 1 << 63]
_SCALARS = [b"N;", b"b:0;", b"b:1;", b"a:0:{}", b"d:1.5;", b"d:-0;", b"d:NAN;", b"d:1.0E+25;", b"d:1.;", b"O:1:"]
_MARKS = b'0123456789:;{}"aisbdN-.O\xff'


def _php_string(text: bytes, chance: random.Random) -> bytes:
    return b's:%d:"%s";' % (len(text) + (chance.random() < 0.02), text)


def _php_value(chance: random.Random, depth: int) -> bytes:
    kind = chance.randrange(6 if depth < 5 else 4)
    if kind == 0:
        return chance.choice(_SCALARS[:6] if chance.random() < 0.8 else _SCALARS)
    if kind == 1:
        return b"i:%d;" % chance.choice(_INTS)
    if kind in (2, 3):
        return _php_string(chance.choice(_TEXTS), chance)
    return _php_array(chance, depth + 1)


def _php_array(chance: random.Random, depth: int) -> bytes:
    count = chance.randrange(5)
    keys = [b"i:%d;" % index for index in range(count)]
    if chance.random() < 0.5:
        keys = [_php_string(chance.choice(_KEYS[: chance.choice((3, 11))]), chance) for _ in range(count)]
    if chance.random() < 0.7:
        keys = list(dict.fromkeys(keys))
    items = b"".join(key + _php_value(chance, depth) for key in keys)
    return b"a:%d:{%s}" % (len(keys) + (chance.random() < 0.02), items)


def _damaged(document: bytes, chance: random.Random) -> bytes:
    raw = bytearray(document)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        place = chance.randrange(len(raw) + 1)
        raw[place : place + chance.randrange(3)] = bytes(chance.choices(_MARKS, k=chance.randrange(3)))
    return bytes(raw)


def _read_or_refused(document: bytes, reader: str) -> str:
    try:
        return repr(reader_of(reader)(document))
    except InvalidToken as error:
        return f"{error.reason}: {error}"


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["python", "compiled"])
@pytest.mark.parametrize("seed", range(4))
def test_each_way_reads_what_the_slowest_one_does(seed: int, reader: str) -> None:
    """Arrays that are found by one search are those that are read piece by piece, and what is refused there is here."""
    chance = random.Random(seed)
    documents = [_damaged(_php_array(chance, 0), chance) for _ in range(2000)]
    for levels in (63, 64, 65, 66):
        documents += [b"a:1:{i:0;" * levels + inner + b"}" * levels for inner in (b"N;", b"a:0:{}")]

    found = [_read_or_refused(document, reader) for document in documents]

    assert found == [_read_or_refused(document, "pieces") for document in documents]
    assert sum(php._plain_array(document) is not None for document in documents) > 200


@each_reader
@pytest.mark.parametrize(
    "document", [b"a:1:{i:0;N;}}", b"a:1:{i:0;N;}i:1;N;", b"a:1:{i:0;N;}i:1;N;}", b"a:1:{i:0;N;i:0;N;}"]
)
def test_an_array_ends_where_the_document_does(document: bytes, reader: str) -> None:
    """Nothing follows an array, and no key stands in it twice."""
    assert refused_document(document, reader) == "malformed"

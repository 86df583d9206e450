"""Rails, Rack, PHP with Laravel's encrypter, and Erlang: the real ones, in both directions, with made-up data."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.foreign.others.lines import OtherError, ask, call, require
from tests.foreign.python_support import now, read, record_of, refused, sealed
from tests.foreign.web_formats import TERMS, WIDE
from tests.foreign.web_formats import php as php_data

from hardtack.errors import InvalidToken
from hardtack.foreign import etf, php
from hardtack.foreign.laravel import LaravelCookie, LaravelIdCookie
from hardtack.foreign.rack import RackHmacCookie, RackSessionCookie
from hardtack.foreign.rails import RailsCookie, RailsSignedCookie
from hardtack.protocols import Context

SECRET = "0123456789abcdef" * 8
UNTIL = 1 << 40
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# --- Rails

RUBY = ("ruby", "rails.rb")


@pytest.fixture
def rails() -> None:
    require("ruby", "-raction_controller", "-e1")


def rails_cookie(kind: str, digest: str) -> RailsCookie | RailsSignedCookie:
    make = RailsCookie if kind == "encrypted" else RailsSignedCookie
    return make(SECRET, digest=digest.lower(), until=UNTIL)


def rails_call(op: str, kind: str, digest: str, **request: Any) -> Any:
    return call(RUBY, op=op, kind=kind, digest=digest, secret=SECRET, name="_app_session", **request)


KINDS = [(kind, digest) for kind in ("encrypted", "signed") for digest in ("SHA1", "SHA256")]
DATA: dict[str, Any] = {
    "session_id": "x",
    "user_id": 42,
    "name": "zoë <b>&\u2028",
    "list": [1, 2.5, None, True],
    "d": {},
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "digest"), KINDS)
@pytest.mark.usefixtures("rails")
def test_rails_in_both_directions(kind: str, digest: str) -> None:
    """A cookie jar of the real Rails, whichever version is installed: SHA-256 came with 7.0."""
    if digest == "SHA256" and not call(RUBY, op="sha256"):
        digest = "SHA1"
    cookie = rails_cookie(kind, digest)

    assert read(cookie, rails_call("write", kind, digest, data=DATA)).data == DATA
    assert rails_call("read", kind, digest, value=sealed(cookie, DATA)) == DATA


@pytest.mark.parametrize("kind", ["encrypted", "signed"])
@pytest.mark.usefixtures("rails")
def test_an_end_without_metadata(kind: str) -> None:
    """As Rails 5.2 writes where `expire_after` is set: an envelope that says when, and not which cookie it is of."""
    make = RailsCookie if kind == "encrypted" else RailsSignedCookie
    cookie = make(SECRET, digest="sha1", metadata=False, expire_after="1 hour")
    at = now()
    here = {"metadata": False, "expires": at + 600}

    record = read(cookie, rails_call("write", kind, "SHA1", data=DATA, **here), at)

    assert (record.data, record.options) == (DATA, {"expires": at + 600})
    assert refused(cookie, rails_call("write", kind, "SHA1", data=DATA, **here), at + 600) == "expired"
    assert rails_call("read", kind, "SHA1", value=sealed(cookie, DATA), metadata=False) == DATA
    assert rails_call("read", kind, "SHA1", value=sealed(cookie, DATA, at - 7200), metadata=False) is None


@pytest.mark.usefixtures("rails")
def test_an_end_of_a_cookie_in_cbc() -> None:
    """An application that has not moved to GCM says it too, and need not name the cookie."""
    cookie = RailsCookie(SECRET, legacy_cbc=True, until=UNTIL)
    at = now()
    cbc = {"authenticated": False, "metadata": False, "expires": at + 600}

    record = read(cookie, rails_call("write", "encrypted", "SHA1", data=DATA, **cbc), at)

    assert (record.data, record.options) == (DATA, {"expires": at + 600})


@pytest.mark.parametrize("digest", ["SHA1", "SHA256"])
@pytest.mark.usefixtures("rails")
def test_cbc_of_every_derivation(digest: str) -> None:
    """Rails derives the keys of CBC with the digest of its key generator; SHA-256 came with 7.0."""
    if digest == "SHA256" and not call(RUBY, op="sha256"):
        digest = "SHA1"
    cookie = RailsCookie(SECRET, digest="sha256", legacy_cbc=True, until=UNTIL)

    assert read(cookie, rails_call("write", "encrypted", digest, data=DATA, authenticated=False)).data == DATA


@pytest.mark.parametrize("value", [42, "zoë", "", True, False, 1.5, [1, None]], ids=ascii)
@pytest.mark.usefixtures("rails")
def test_a_signed_value_in_both_directions(value: object) -> None:
    """As a generated login of Rails 8 signs the id of a row, with an end in twenty years."""
    cookie = rails_cookie("signed", "SHA1")
    end = now() + 20 * 31_557_600

    record = read(cookie, rails_call("write", "signed", "SHA1", data=value, expires=end))

    assert (record.data, record.options) == ({"value": value}, {"expires": end})
    assert rails_call("read", "signed", "SHA1", value=sealed(cookie, record.data)) == value


@pytest.mark.parametrize("digest", ["SHA1", "SHA256", "SHA512"])
@pytest.mark.usefixtures("rails")
def test_digests_of_the_application(digest: str) -> None:
    """`cookies_digest` is of the MAC of CBC, which Rails reads beside GCM, and `signed_cookie_digest` of signed cookies."""
    ours = RailsCookie(SECRET, legacy_cbc=True, cookies_digest=digest.lower(), until=UNTIL)
    signed = RailsSignedCookie(SECRET, digest="sha1", signed_cookie_digest=digest.lower(), until=UNTIL)

    theirs = rails_call("cbc", "encrypted", "SHA1", data=DATA, cookies_digest=digest)

    assert read(ours, theirs).data == DATA
    assert rails_call("read", "encrypted", "SHA1", value=theirs, cookies_digest=digest) == DATA
    theirs = rails_call("write", "signed", "SHA1", data=DATA, signed_cookie_digest=digest)
    assert read(signed, theirs).data == DATA
    assert rails_call("read", "signed", "SHA1", value=sealed(signed, DATA), signed_cookie_digest=digest) == DATA


GCM = {"authenticated_encrypted_cookie_salt": "ours"}
CBC = {"encrypted_cookie_salt": "ours", "encrypted_signed_cookie_salt": "ours, signed"}


@pytest.mark.parametrize("cipher", ["aes-128-gcm", "aes-192-gcm", "aes-256-gcm"])
@pytest.mark.usefixtures("rails")
def test_ciphers_and_salts_of_the_application(cipher: str) -> None:
    """Whatever an application set for its encrypted cookies; the cipher is none of CBC's, whose salts are others."""
    settings: dict[str, Any] = {"encrypted_cookie_cipher": cipher, **GCM, **CBC}
    cookie = RailsCookie(SECRET, digest="sha1", legacy_cbc=True, until=UNTIL, **settings)

    theirs = rails_call("write", "encrypted", "SHA1", data=DATA, **settings)
    legacy = rails_call("write", "encrypted", "SHA1", data=DATA, authenticated=False, **settings)

    assert read(cookie, theirs).data == read(cookie, legacy).data == DATA
    assert rails_call("read", "encrypted", "SHA1", value=sealed(cookie, DATA), **settings) == DATA
    with_defaults = RailsCookie(SECRET, digest="sha1", legacy_cbc=True, until=UNTIL)
    assert refused(with_defaults, theirs) == refused(with_defaults, legacy) == "tampered"


@pytest.mark.usefixtures("rails")
def test_the_salt_of_signed_cookies() -> None:
    """Another one than that of the encrypted cookies."""
    cookie = RailsSignedCookie(SECRET, digest="sha1", signed_cookie_salt="ours", until=UNTIL)
    theirs = rails_call("write", "signed", "SHA1", data=DATA, signed_cookie_salt="ours")

    assert read(cookie, theirs).data == DATA
    assert rails_call("read", "signed", "SHA1", value=sealed(cookie, DATA), signed_cookie_salt="ours") == DATA
    assert refused(rails_cookie("signed", "SHA1"), theirs) == "tampered"


@many
@given(WIDE)
@pytest.mark.usefixtures("rails")
def test_rails_reads_made_up_data(data: dict[str, Any]) -> None:
    """Whatever JSON carries."""
    session = {"session_id": "x", **data}

    assert rails_call("read", "encrypted", "SHA1", value=sealed(rails_cookie("encrypted", "SHA1"), session)) == session


@many
@given(WIDE)
@pytest.mark.usefixtures("rails")
def test_made_up_data_of_rails_is_read(data: dict[str, Any]) -> None:
    """What Rails' own JSON makes of it, and we read."""
    session = {"session_id": "x", **data}

    assert (
        read(rails_cookie("encrypted", "SHA1"), rails_call("write", "encrypted", "SHA1", data=session)).data == session
    )


# --- Rack

RACK = ("ruby", "rack.rb")


@pytest.fixture
def rack() -> None:
    require("ruby", "-rrack", "-rrack/session/cookie", "-e1")


def rack_cookie() -> RackHmacCookie | RackSessionCookie:
    """As the installed Rack has it: signed in Rack 2, encrypted by rack-session beside Rack 3."""
    if call(RACK, op="release", secret=SECRET).startswith("2"):
        return RackHmacCookie(SECRET, until=UNTIL)
    return RackSessionCookie(SECRET, version=1, until=UNTIL)


@many
@given(WIDE)
@pytest.mark.usefixtures("rack")
def test_rack_in_both_directions(data: dict[str, Any]) -> None:
    """Whatever JSON carries; Rack writes the session's id with it."""
    session = {**data, "session_id": "x"}
    cookie = rack_cookie()
    cookie.max_length = 1 << 20  # a browser would not keep all of what is made up

    assert call(RACK, op="read", secret=SECRET, value=sealed(cookie, session)) == session
    try:
        written = call(RACK, op="write", secret=SECRET, data=data)
    except OtherError as error:
        # rack-session 2.1 pads the text with random bytes, and Ruby joins no such ones with characters beyond ASCII.
        assert "incompatible character encodings" in str(error)  # noqa: PT017
        assert not json.dumps(data, ensure_ascii=False).isascii()
        return
    assert read(cookie, written).data == session


@many
@given(WIDE)
@pytest.mark.usefixtures("rack")
def test_rack_in_lines(data: dict[str, Any]) -> None:
    """The base64 of Rack 1 and 2.0, signed and percent-encoded by the real one, which reads it as well."""
    if not call(RACK, op="release", secret=SECRET).startswith("2"):
        pytest.skip("not there: rack-session reads no such cookies but with legacy_hmac_secret")
    session = {**data, "session_id": "x"}
    cookie = rack_cookie()
    cookie.max_length = 1 << 20

    written = call(RACK, op="write", secret=SECRET, data=data, lines=True)

    assert "%0A--" in written
    assert read(cookie, written).data == call(RACK, op="read", secret=SECRET, value=written) == session


# --- PHP and Laravel

PHP = ("php", "laravel.php")
KEY = bytes(range(32))
APP_KEY = "base64:" + base64.b64encode(KEY).decode()


@pytest.fixture
def laravel() -> None:
    require("php", "-r", "require 'Illuminate/Encryption/autoload.php'; require 'Illuminate/Session/autoload.php';")


@many
@given(php_data(binary=True))
@pytest.mark.usefixtures("laravel")
def test_php_reads_and_writes_the_same(data: dict[str, Any]) -> None:
    """What we write, PHP unserializes; what it then serializes, we read as it was."""
    written = call(PHP, op="unserialize", document=php.write(data).hex())

    assert (php.read(bytes.fromhex(written)) or {}) == data


@pytest.mark.parametrize("cipher", ["aes-256-cbc", "aes-256-gcm"])
@pytest.mark.usefixtures("laravel")
def test_laravel_in_both_directions(cipher: str) -> None:
    """The encrypter, and the prefix that binds a value to its cookie."""
    cookie = LaravelIdCookie(APP_KEY, cipher=cipher, until=UNTIL)
    settings = {"key": base64.b64encode(KEY).decode(), "cipher": cipher, "name": "laravel_session"}
    data = {"session_id": "aB3" * 13 + "x"}

    theirs = call(PHP, op="encrypt", text=data["session_id"], **settings)

    assert read(cookie, theirs).data == data
    assert call(PHP, op="decrypt", value=sealed(cookie, data), **settings) == data["session_id"]
    with pytest.raises(OtherError):
        call(PHP, op="decrypt", value=sealed(cookie, data)[:-8], **settings)


@pytest.mark.usefixtures("laravel")
def test_the_cookie_driver_before_the_prefix() -> None:
    """What the encrypter makes of both cookies where nothing is put before their values, as until July 2020."""
    settings = {"key": base64.b64encode(KEY).decode(), "cipher": "aes-256-cbc", "name": "laravel_session"}
    data = {"user_id": 42, "name": "a|b", "list": [1, None]}
    here = Context("laravel_session", "", now())

    theirs = call(PHP, op="save", data=data, prefixed=False, **settings)
    cookies = {name: [value] for name, value in theirs.items()}

    record = LaravelCookie(APP_KEY, legacy_unprefixed=True, until=UNTIL).open(cookies, here)
    assert {key: record.data[key] for key in data} == data
    with pytest.raises(InvalidToken, match="wrong_purpose"):
        LaravelCookie(APP_KEY, until=UNTIL).open(cookies, here)


@pytest.fixture
def laravel_stores(laravel: None) -> None:
    parts = "".join(f"require 'Illuminate/{part}/autoload.php';" for part in ("Cache", "Database", "Redis"))
    require("php", "-r", f"{parts} new PDO('sqlite::memory:');")


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("cipher", ["aes-256-cbc", "aes-256-gcm"])
@pytest.mark.usefixtures("laravel_stores")
def test_laravels_stored_sessions_are_read(cipher: str, encrypted: bool) -> None:
    """A row of the real DatabaseSessionHandler, and what RedisStore makes of the same session."""
    settings = {"key": base64.b64encode(KEY).decode(), "cipher": cipher, "name": "laravel_session"}
    identifier = "aB3" * 13 + "x"
    data = {"user_id": 42, "name": "zoë", "cart": {"17": 2}, "list": [1, 2.5, None, True]}

    for stored in call(PHP, op="row", data=data, id=identifier, encrypted=encrypted, **settings):
        found = {identifier: stored}
        cookie = LaravelIdCookie(APP_KEY, cipher=cipher, load=found.get, encrypted=encrypted, until=UNTIL)
        record = read(cookie, sealed(cookie, {"session_id": identifier}))

        assert {key: record.data[key] for key in data} == data


@pytest.mark.usefixtures("laravel")
def test_the_cookie_driver_in_both_directions() -> None:
    """The store and the handler of the real Laravel: two cookies, with PHP's serialize in them."""
    cookie = LaravelCookie(APP_KEY)
    settings = {"key": base64.b64encode(KEY).decode(), "cipher": "aes-256-cbc", "name": "laravel_session"}
    data = {"user_id": 42, "name": "zoë", "cart": {"17": 2}, "list": [1, 2.5, None, True]}
    here = Context("laravel_session", "", now())

    theirs = call(PHP, op="save", data=data, **settings)
    record = cookie.open({name: [value] for name, value in theirs.items()}, here)
    loaded = call(PHP, op="load", cookies=cookie.seal(record_of(data), here), **settings)

    assert {key: record.data[key] for key in data} == data
    assert {key: loaded[key] for key in data} == data


@many
@given(php_data(binary=False))
@pytest.mark.usefixtures("laravel")
def test_made_up_data_under_the_cookie_driver(data: dict[str, Any]) -> None:
    """What the one writes the other reads: Laravel adds keys of its own."""
    cookie = LaravelCookie(APP_KEY)
    cookie.max_length = 1 << 20  # a browser would not keep all of what is made up
    settings = {"key": base64.b64encode(KEY).decode(), "cipher": "aes-256-cbc", "name": "laravel_session"}
    here = Context("laravel_session", "", now())
    session = {f"k.{key}": item for key, item in data.items()}

    loaded = call(PHP, op="load", cookies=cookie.seal(record_of(session), here), **settings)

    assert {key: loaded[key] for key in session} == session


# --- Erlang

ERLANG = ("escript", "terms.escript")


@pytest.fixture
def erlang() -> None:
    require("escript")


@pytest.mark.parametrize("how", ["p", "c"])
@many
@given(TERMS)
@pytest.mark.usefixtures("erlang")
def test_erlang_reads_and_writes_the_same(how: str, data: dict[str, Any]) -> None:
    """What we write, Erlang reads in its safe mode; what it then writes, plain or compressed, we read as it was."""
    written = ask(how + etf.write(data).hex(), *ERLANG)

    assert written != "error"
    assert etf.read(bytes.fromhex(written)) == data


@pytest.mark.usefixtures("erlang")
def test_a_long_text_is_compressed_by_erlang() -> None:
    """So that the other test has something of that form."""
    written = bytes.fromhex(ask("c" + etf.write({"pad": "x" * 1000}).hex(), *ERLANG))

    assert written[:2] == b"\x83P"
    assert etf.read(written) == {"pad": "x" * 1000}

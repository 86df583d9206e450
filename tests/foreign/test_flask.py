"""FlaskCookie against Flask itself, in both directions, and everything that it must refuse."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, session
from flask.sessions import SecureCookieSessionInterface
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer, TimestampSigner, URLSafeTimedSerializer
from markupsafe import Markup
from tests.foreign.python_support import (
    DATA,
    DAY,
    assert_every_mutation_refused,
    json_data,
    now,
    read,
    refused,
    sealed,
)

from hardtack import Cookie, CookieEngine, Key, SessionManager, values
from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign import _python
from hardtack.foreign.flask import FlaskCookie
from hardtack.protocols import Context

SECRET = "dev"
COOKIE = FlaskCookie(SECRET)

_moments = st.datetimes(
    min_value=dt.datetime(1000, 1, 1), max_value=dt.datetime(9999, 12, 31), timezones=st.just(dt.UTC)
).map(lambda moment: moment.replace(microsecond=0))
_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.text().map(Markup)
    | _moments
)
_keys = st.sampled_from([" t", " di", " d", " b__", " t__", "__"]) | st.text()
_trees = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(_keys, inner, max_size=3)
    ),
    max_leaves=12,
)
flask_data = st.dictionaries(_keys, _trees, max_size=4)


def real(secret: str = SECRET, fallbacks: list[str] | None = None) -> URLSafeTimedSerializer:
    """The serializer that Flask itself uses."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY=secret, SECRET_KEY_FALLBACKS=fallbacks)
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return serializer


def signed(payload: bytes, secret: str = SECRET) -> str:
    """Any payload at all under a good signature of now."""
    signer = TimestampSigner(secret, salt="cookie-session", key_derivation="hmac")
    return signer.sign(payload).decode()


def signed_json(text: str) -> str:
    return signed(_python.encode_payload(text.encode()).encode())


@given(flask_data)
def test_reads_what_flask_writes(data: dict[str, Any]) -> None:
    """Every type that Flask's sessions hold comes out as it went in."""
    value = str(real().dumps(data))

    assert read(COOKIE, value).data == data


@given(flask_data)
def test_flask_reads_what_is_written(data: dict[str, Any]) -> None:
    """Every type that Flask's sessions hold comes out of Flask as it went in here."""
    value = sealed(COOKIE, data)

    assert real().loads(value, max_age=31 * DAY) == data
    assert read(COOKIE, value).data == data


@given(json_data)
def test_compresses_as_flask_does(data: dict[str, Any]) -> None:
    """The payload is the one that Flask writes without an application context, byte for byte."""
    ours = sealed(COOKIE, data).split(".")[:-2]

    assert ours == str(real().dumps(data)).split(".")[:-2]


def test_round_trip_through_an_application() -> None:
    """A Flask application opens our cookie, changes it, and we read what its response sets."""
    app = Flask(__name__)
    app.secret_key = SECRET

    @app.get("/")
    def index() -> str:
        session["seen"] = (session["name"], 2)
        return "ok"

    client = app.test_client()
    client.set_cookie("session", sealed(COOKIE, DATA))

    client.get("/")

    cookie = client.get_cookie("session")
    assert cookie is not None
    assert read(COOKIE, cookie.value).data == {**DATA, "seen": ("zoë", 2)}


def test_types_are_exact() -> None:
    """A tuple stays a tuple, Markup stays Markup, and bytes stay bytes."""
    data = {"t": (1, (2,)), "m": Markup("<b>"), "b": b"\0\xff", "u": UUID(int=5), "list": [(1,)]}

    record = read(COOKIE, str(real().dumps(data)))

    assert [type(value) for value in record.data.values()] == [tuple, Markup, bytes, UUID, list]


def test_signed_time_is_the_time_of_creation() -> None:
    """The session counts as created when Flask signed it, and ends a max_age later."""
    at = now() - 1000
    value = sealed(COOKIE, DATA, at)

    record = read(COOKIE, value)

    assert (record.created, record.seen) == (at, at)
    assert record.options == {"expires": at + 31 * DAY}
    assert record.subject is None


def test_expires_in_the_second_in_which_it_does_in_flask() -> None:
    """A session is good for max_age seconds, the last one included."""
    cookie = FlaskCookie(SECRET, max_age="1 hour")
    value = sealed(cookie, DATA, 1_700_000_000)

    assert read(cookie, value, 1_700_003_600).data == DATA
    assert refused(cookie, value, 1_700_003_601) == "expired"


def test_flask_also_refuses_what_is_expired() -> None:
    """The time that we sign is the one that Flask checks."""
    value = sealed(COOKIE, DATA, now() - 31 * DAY - 100)

    with pytest.raises(Exception, match="Signature age"):
        real().loads(value, max_age=31 * DAY)


def test_a_clock_ahead_counts_as_now() -> None:
    """Another server's clock may run 60 seconds ahead: Flask itself logs such users out."""
    value = sealed(COOKIE, DATA, 1_700_000_060)

    assert read(COOKIE, value, 1_700_000_000).created == 1_700_000_000
    assert refused(COOKIE, value, 1_699_999_999) == "future"


def test_reads_fallbacks_and_signs_with_the_secret() -> None:
    """A fallback opens a session, and never signs one."""
    cookie = FlaskCookie("new", secret_fallbacks=[b"older", SECRET])

    assert read(cookie, str(real().dumps(DATA))).data == DATA
    assert real("new").loads(sealed(cookie, DATA)) == DATA
    assert refused(COOKIE, sealed(cookie, DATA)) == "tampered"


def test_refuses_another_secret() -> None:
    """A cookie of another application is refused before anything in it is read."""
    assert refused(FlaskCookie("other"), str(real().dumps(DATA))) == "tampered"
    assert refused(FlaskCookie(SECRET, salt="reset-password"), str(real().dumps(DATA))) == "tampered"


@pytest.mark.parametrize("data", [{"a": 1}, {"pad": "x" * 200, "t": (1,)}], ids=["plain", "compressed"])
def test_every_mutation_is_refused(data: dict[str, Any]) -> None:
    """No character of the cookie can be changed."""
    assert_every_mutation_refused(COOKIE, str(real().dumps(data)), data)


@pytest.mark.parametrize(
    ("derivation", "digest"), [("django-concat", "sha256"), ("concat", "sha512"), ("none", "sha1")]
)
def test_settings_of_a_subclassed_interface(derivation: str, digest: str) -> None:
    """An application that signs otherwise is read with the settings of its interface."""
    serializer = URLSafeTimedSerializer(
        SECRET, salt="s", signer_kwargs={"key_derivation": derivation, "digest_method": getattr(hashlib, digest)}
    )
    cookie = FlaskCookie(SECRET, salt="s", key_derivation=derivation, digest=digest)

    assert read(cookie, str(serializer.dumps({"a": 1}))).data == {"a": 1}
    assert serializer.loads(sealed(cookie, {"a": 1})) == {"a": 1}


def test_a_bomb_is_not_inflated() -> None:
    """An authentic payload that inflates to more than a session can be is refused."""
    bomb = zlib.compress(b'{"a":"' + b"x" * 5_000_000 + b'"}')
    cookie = FlaskCookie(SECRET)

    assert len(bomb) < 5000
    assert refused(cookie, signed(("." + values.encode_bytes(bomb)).encode())) == "too_large"


def test_a_long_cookie_is_not_looked_at() -> None:
    """More than any browser keeps is refused by its length."""
    assert refused(COOKIE, "A" * 8193) == "too_large"


def test_an_empty_request_has_no_cookie() -> None:
    """Another cookie's value is not read."""
    with pytest.raises(InvalidToken, match="missing"):
        COOKIE.open({"other": [sealed(COOKIE, DATA)]}, Context("session", "", now()))


@pytest.mark.parametrize(
    "value",
    ["", "no-separator", "a.b", "é.b.c", "a..c", ".", ".."],
)
def test_what_is_not_signed_is_refused(value: str) -> None:
    """Text without a good signature is refused whatever it looks like."""
    assert refused(COOKIE, value) in {"malformed", "tampered"}


def _no_time(signer: Callable[[str], bytes]) -> list[str]:
    payload = "eyJhIjoxfQ"
    return [signer(text).decode() for text in (payload, f"{payload}.", f"{payload}.AAAAAAAAAAAAAAAA", f"{payload}.!!!")]


def test_what_is_signed_without_a_time_is_refused() -> None:
    """An authentic text of another kind (itsdangerous without a time) is no session."""
    signer = Signer(SECRET, salt="cookie-session", key_derivation="hmac")

    assert {refused(COOKIE, value) for value in _no_time(signer.sign)} == {"malformed"}


@pytest.mark.parametrize("payload", [b"!", b"AB", b".AAAA", b".", b"eyJhIjox"])
def test_authentic_payload_that_does_not_decode_is_refused(payload: bytes) -> None:
    """Neither base64, zlib nor JSON can make the reader raise anything else."""
    assert refused(COOKIE, signed(payload)) == "malformed"


def test_trailing_bytes_after_zlib_are_refused() -> None:
    """What follows the compressed stream, or is missing at its end, is no session."""
    packed = zlib.compress(b'{"a":1}' * 20)

    for changed in (packed + b"x", packed[:-1]):
        assert refused(COOKIE, signed(b"." + values.encode_bytes(changed).encode())) == "malformed"


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{" t":"text"}}',
        '{"a":{" t":{"b":1}}}',
        '{"a":{" b":"*"}}',
        '{"a":{" b":1}}',
        '{"a":{" u":"zz"}}',
        '{"a":{" d":"yesterday"}}',
        '{"a":{" m":1}}',
        '{"a":{" di":1}}',
        '{"a":{" di":{}}}',
        '{"a":{" di":{" t":[]}}}',
        '{"a":{" di":{"x__":1}}}',
        "[1]",
        '"text"',
        '{" t":[1]}',
        '{"a":"\\ud800"}',
        '{"a":' + "[" * 70 + "]" * 70 + "}",
        '{"a":' + "[" * 900 + "]" * 900 + "}",
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a":' + "1" * 5000 + "}",
    ],
)
def test_authentic_payload_that_is_no_session_is_refused(text: str) -> None:
    """A tag whose content is not its own, a list, too deep a tree: each is refused with one word."""
    assert refused(COOKIE, signed_json(text)) == "malformed"


def test_a_date_without_a_zone_is_utc() -> None:
    """As Flask reads it."""
    text = '{"a":{" d":"Tue, 02 Jan 2024 03:04:05 -0000"},"b":{" d":"Tue, 02 Jan 2024 03:04:05 +0200"}}'

    record = read(COOKIE, signed_json(text))

    assert record.data == real().loads(signed_json(text))
    assert record.data["a"] == dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def test_markup_without_markupsafe_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where markupsafe is missing the text comes back as text, which templates escape."""
    value = str(real().dumps({"m": Markup("<b>")}))
    monkeypatch.setitem(sys.modules, "markupsafe", None)

    record = read(COOKIE, value)

    assert type(record.data["m"]) is str


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (dt.date(2024, 1, 2), "date"),
        (Decimal(1), "Decimal"),
        ({1}, "set"),
        (dt.datetime(2024, 1, 2), "datetime.datetime"),
        (dt.datetime(2024, 1, 2, microsecond=1, tzinfo=dt.UTC), "datetime.datetime"),
        (dt.datetime(999, 1, 2, tzinfo=dt.UTC), "datetime.datetime"),
        (object(), "object"),
        ("\ud800", "str"),
        ({1: 2}, "dict"),
    ],
)
def test_what_flask_would_change_is_not_written(value: object, type_name: str) -> None:
    """A value that Flask would give back changed is an error that names where it is."""
    with pytest.raises(UnsupportedValue) as caught:
        sealed(COOKIE, {"a": [{"b": value}]})

    assert caught.value.path.startswith("a[0].b")
    assert caught.value.type_name == type_name


def test_a_number_of_5000_digits_is_not_written() -> None:
    """Python would not read it back."""
    with pytest.raises(UnsupportedValue, match="digits"):
        sealed(COOKIE, {"a": 10**5000})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secret": ""}, "secret is empty"),
        ({"secret": None}, "secret is empty or neither"),
        ({"secret": "s", "secret_fallbacks": "old"}, r"secret_fallbacks is a list of secrets, not str; write"),
        ({"secret": "s", "secret_fallbacks": [""]}, "secret_fallbacks is empty"),
        ({"secret": "s", "digest": "crc32"}, "digest='crc32'"),
        ({"secret": "s", "key_derivation": "scrypt"}, "key_derivation='scrypt'"),
        ({"secret": "s", "max_age": "soon"}, "max_age='soon'"),
        ({"secret": "s", "cookie_name": "a b"}, "cookie_name"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    """A setting that cannot work is refused at once, by name."""
    secret = settings.pop("secret")

    with pytest.raises(ConfigError, match=message):
        FlaskCookie(secret, **settings)


def test_the_same_cookie_has_the_same_handle() -> None:
    """The id is derived from the cookie: the same for the same, another for another."""
    value = sealed(COOKIE, DATA, now() - 1)

    assert read(COOKIE, value).id == read(COOKIE, value).id
    assert read(COOKIE, value).id != read(COOKIE, sealed(COOKIE, DATA)).id


def test_a_manager_takes_a_session_over() -> None:
    """The data moves into a session of hardtack's own, with its user and its deadline, and Flask's cookie is cleared."""
    foreign = FlaskCookie(SECRET, subject=lambda data: str(data["user_id"]))
    manager = SessionManager(Key.generate(), accept=[foreign])
    value = str(real().dumps(DATA))

    session = manager.open(f"session={value}")
    lines = manager.commit(session).set_cookies if session["user_id"] else []

    assert (dict(session), session.subject) == (DATA, "42")
    assert session.expires_at is not None
    assert session.expires_at.timestamp() <= now() + 31 * DAY
    assert any(line.startswith("__Host-Http-session=") for line in lines)
    assert any(line.startswith("session=;") for line in lines)


def test_a_manager_writes_for_two_stacks_side_by_side() -> None:
    """What hardtack sets under Flask's own cookie name, Flask opens."""
    manager = SessionManager(CookieEngine(COOKIE), cookie=Cookie(name="session"))
    session = manager.open(f"session={sealed(COOKIE, DATA)}")
    session["cart"] = ("bread", 2)

    (line,) = manager.commit(session).set_cookies

    value = line.partition("=")[2].partition(";")[0]
    assert real().loads(value, max_age=31 * DAY) == {**DATA, "cart": ("bread", 2)}

"""What every foreign cookie does: its settings, its end, its bounds, and the record that it becomes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.foreign.python_support import read, record_of, refused, sealed
from tests.kit import KEY
from tests.subclasses import Claims, Level, Role

from hardtack import SessionManager
from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign import base
from hardtack.foreign.aiohttp_session import AiohttpSessionCookie
from hardtack.foreign.base import ForeignCookie, check_plain, parse_json, secret_bytes, unix_seconds
from hardtack.foreign.dancer import Dancer2Cookie, DancerCookie, DancerLegacyCookie
from hardtack.foreign.django import DjangoSignedCookie
from hardtack.foreign.flask import FlaskCookie
from hardtack.foreign.litestar import LitestarCookie
from hardtack.foreign.mojolicious import MojoliciousCookie, MojoliciousEncryptedCookie
from hardtack.foreign.plack import PlackCookie
from hardtack.foreign.pyramid import PyramidCookie
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.foreign.starlette import StarletteCookie
from hardtack.foreign.tornado import TornadoCookie
from hardtack.foreign.trickster import TricksterCookie
from hardtack.protocols import Context
from hardtack.record import Record

NOW = 1_700_000_000
CONTEXT = Context("plain", "", NOW)


class PlainCookie(ForeignCookie):
    """A format with nothing but what the base does: JSON as it is."""

    format_name = "plain"
    default_cookie_name = "plain"

    def _read(self, value: str, context: Context) -> Record:
        return self._record(parse_json(value), context, value)

    def _write(self, record: Record, context: Context) -> str:
        return str(self._deadline(record, context, 60 if record.data else None))


class ReadOnly(PlainCookie):
    writes = False


def test_record_of_a_cookie() -> None:
    """A record has the cookie's data, the time of the request, and an id that is the same for the same cookie."""
    first, again, other = (read(PlainCookie(), value, NOW) for value in ('{"a": 1}', '{"a": 1}', '{"a":1}'))

    assert first == again
    assert (first.data, first.created, first.seen, first.authenticated) == ({"a": 1}, NOW, NOW, None)
    assert (first.subject, first.options) == (None, {})
    assert len(first.id) == 16
    assert first.id != other.id
    assert first.is_kept_as({"a": 1})


class Dated(PlainCookie):
    """A format that says of its cookies that they carry a time."""

    authenticates_time = True


class SometimesEndless(Dated):
    ends_some = True


def test_a_format_with_times_refuses_a_cookie_without_one() -> None:
    """Whoever holds such a cookie could use it for ever: `until` ends it, and where some have no end that is asked later."""
    assert refused(Dated(), "{}", NOW) == "undated"
    assert read(Dated(until=NOW + 1), "{}", NOW).data == {}
    endless = read(SometimesEndless(), "{}", NOW)
    assert SometimesEndless().is_undated(endless)


def test_the_name_is_part_of_the_id() -> None:
    """The same value under another name is another session."""
    assert read(PlainCookie(), "{}", NOW).id != read(PlainCookie(cookie_name="other"), "{}", NOW).id


def test_no_cookie_is_missing() -> None:
    """Without its cookie a format has nothing to read."""
    with pytest.raises(InvalidToken, match="missing"):
        PlainCookie().open({}, CONTEXT)


def test_of_several_values_the_last_is_read() -> None:
    """Who wants to try each value passes one at a time."""
    record = PlainCookie().open({"plain": ["{", '{"a": 1}']}, CONTEXT)

    assert record.data == {"a": 1}


def test_length_is_bounded_before_decoding() -> None:
    """8192 characters are looked at, more are not."""
    assert read(PlainCookie(), '{"a":"' + "x" * 8184 + '"}', NOW).data["a"]
    assert refused(PlainCookie(), '{"a":"' + "x" * 8185 + '"}', NOW) == "too_large"


@pytest.mark.parametrize(
    "value", ["[]", "1", "null", '"a"', "{", "", "NaN", '{"a": NaN}', '{"a": Infinity}', "[" * 8000]
)
def test_what_is_no_session(value: str) -> None:
    """Anything but a JSON object is malformed."""
    assert refused(PlainCookie(), value, NOW) == "malformed"


@pytest.mark.parametrize("value", ['{"a": "\\ud800"}', '{"\\ud800": 1}', '{"a": ' + "[" * 65 + "]" * 65 + "}"])
def test_what_a_session_cannot_keep(value: str) -> None:
    """Data that could be read but not be committed again is refused while reading."""
    assert refused(PlainCookie(), value, NOW) == "malformed"


def test_keys_are_text() -> None:
    """A mapping with other than text as keys is no session."""
    cookie = PlainCookie()

    with pytest.raises(InvalidToken, match="malformed"):
        cookie._record({1: 2}, CONTEXT, b"")


def test_own_cookies_of_a_request() -> None:
    """A format finds its cookie among those of the request."""
    assert PlainCookie().cookie_names({"plain": ["x"], "other": ["y"]}) == ["plain"]
    assert PlainCookie().cookie_names({"other": ["y"]}) == []


def test_read_only_format() -> None:
    """A format that does not write says so as a setting that is wrong."""
    with pytest.raises(ConfigError, match="read only"):
        ReadOnly().seal(record_of({}), CONTEXT)


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        ({}, {}, None),
        ({}, {"expires": NOW + 10}, NOW + 10),
        ({"a": 1}, {}, NOW + 60),
        ({"a": 1}, {"expires": NOW + 10}, NOW + 10),
        ({"a": 1}, {"expires": NOW + 90}, NOW + 60),
    ],
)
def test_deadline(data: dict[str, Any], options: dict[str, Any], expected: int | None) -> None:
    """A cookie ends with the session, or after the other system's own duration where that is sooner."""
    record = record_of(data)
    record.options = options

    assert PlainCookie().seal(record, CONTEXT) == {"plain": str(expected)}


def test_sealed_under_the_own_name() -> None:
    """The cookie has the name that the other system gives it."""
    assert sealed(PlainCookie(cookie_name="other"), {}) == "None"


UNTIL = [
    (NOW, NOW - 1),
    (dt.datetime.fromtimestamp(NOW, dt.UTC), NOW - 1),
    (dt.date(2023, 11, 14), NOW - NOW % 86400 + 86399),
]


@pytest.mark.parametrize(("until", "last"), UNTIL)
def test_until(until: base.Until, last: int) -> None:
    """A format is read up to its end, which for a date is midnight UTC after it, and from then on not any more."""
    cookie = PlainCookie(until=until)

    assert read(cookie, "{}", last).data == {}
    assert refused(cookie, "{}", last + 1) == "expired"


@pytest.mark.parametrize("until", ["2027-01-31", dt.datetime(2027, 1, 31), True, 1.5])
def test_until_that_is_no_time(until: Any) -> None:
    """Text, a datetime without a zone and the like are a ConfigError that names the setting."""
    with pytest.raises(ConfigError, match="until"):
        unix_seconds(until)


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a=b", "a,b", "a\n", "ž", 1])
def test_cookie_name_that_is_none(name: Any) -> None:
    """A name that cannot stand in a header is a ConfigError."""
    with pytest.raises(ConfigError, match="cookie_name"):
        PlainCookie(cookie_name=name)


@pytest.mark.parametrize("name", ["koa:sess", "!#$%&'*+-.^_`|~09azAZ:"])
def test_cookie_name_with_a_colon(name: str) -> None:
    """No token of RFC 9110, and in the names of other systems' cookies all the same: browsers take it."""
    assert read(PlainCookie(cookie_name=name), "{}", NOW).data == {}


WRONG_PLACES: list[dict[str, Any]] = [
    {"path": "/;x"},
    {"path": "/\n"},
    {"path": None},
    {"path": "app"},
    {"path": ""},
    {"path": "/ž"},
    {"domain": "a,b"},
    {"domain": ""},
    {"domain": "example.org:8000"},
    {"domain": "https://example.org"},
    {"domain": 5},
    {"path": "/app", "cookie_name": "__Host-session"},
    {"path": "/app", "cookie_name": "__host-Http-session"},
    {"domain": "example.org", "cookie_name": "__Host-session"},
]

FOREIGN: list[Callable[..., ForeignCookie]] = [
    partial(AiohttpSessionCookie, b"k" * 32),
    partial(Dancer2Cookie, "secret"),
    partial(DancerCookie, "secret"),
    partial(DancerLegacyCookie, "secret", only=["user"], until=1),
    partial(DjangoSignedCookie, "secret"),
    partial(FlaskCookie, "secret"),
    partial(LitestarCookie, b"k" * 32),
    partial(MojoliciousCookie, "secret"),
    partial(MojoliciousEncryptedCookie, "secret", moniker="shop"),
    PlainCookie,
    partial(PlackCookie, "secret"),
    partial(PyramidCookie, "secret"),
    partial(SessionStorageSecureCookie, "secret", cookie_name="session"),
    partial(StarletteCookie, "secret"),
    partial(TornadoCookie, "secret"),
    partial(TricksterCookie, "secret"),
]


@pytest.mark.parametrize("settings", WRONG_PLACES, ids=repr)
@pytest.mark.parametrize("make", FOREIGN, ids=[getattr(each, "func", each).__name__ for each in FOREIGN])
def test_place_that_is_none(make: Callable[..., ForeignCookie], settings: dict[str, Any]) -> None:
    """A path, domain or name under which no browser keeps the cookie is told when the format is made, not to a visitor."""
    with pytest.raises(ConfigError, match=next(iter(settings))):
        make(**settings)


@pytest.mark.parametrize("make", FOREIGN, ids=[getattr(each, "func", each).__name__ for each in FOREIGN])
def test_a_place_that_is_right(make: Callable[..., ForeignCookie]) -> None:
    """What another system can set is taken, and can be cleared there."""
    cookie = make(path="/app", domain=".example.org", cookie_name="__Secure-session")
    make(cookie_name="__Host-session")

    assert (cookie.path, cookie.domain) == ("/app", ".example.org")
    SessionManager(KEY, accept=[make(path="/app", domain="example.org", until=1)])


@pytest.mark.parametrize("secret", ["", b"", None, 1])
def test_secret_that_is_none(secret: Any) -> None:
    """An empty secret authenticates nothing."""
    with pytest.raises(ConfigError, match="secret"):
        secret_bytes(secret)


def test_secret_as_utf8() -> None:
    """Text is hashed as its UTF-8, bytes as they are."""
    assert secret_bytes("ž") == b"\xc5\xbe"
    assert secret_bytes(b"\xff") == b"\xff"


PLAIN: list[tuple[Any, dict[str, Any], str]] = [
    ({"a": [1 << 64]}, {}, "a[0]"),
    ({"a": {"b": {1: 2}}}, {}, "a.b"),
    ({1: 2}, {}, "(root)"),
    ({"a": (1,)}, {}, "a"),
    ({"a": float("nan")}, {"finite": True}, "a"),
    ({"a": b""}, {"binary": False}, "a"),
]


@pytest.mark.parametrize(("data", "options", "path"), PLAIN)
def test_check_plain(data: Any, options: dict[str, Any], path: str) -> None:
    """What the other system cannot carry is named with its path."""
    with pytest.raises(UnsupportedValue) as caught:
        check_plain(data, **options)

    assert caught.value.path == path


@pytest.mark.parametrize("make", [FlaskCookie, StarletteCookie, LitestarCookie, PlackCookie, MojoliciousCookie])
def test_subclasses_are_written_as_what_they_are_underneath(make: Callable[..., ForeignCookie]) -> None:
    """The other system gets the plain values, as from its own programs."""
    cookie = make(b"k" * 32, until=2**40)
    data = {"role": Role.ADMIN, "user": Claims(sub="ada", levels=[Level.LOW])}
    context = Context(cookie.cookie_name, "", NOW)

    written = cookie.seal(record_of(data, NOW), context)
    read_again = cookie.open({name: [value] for name, value in written.items()}, context)

    assert read_again.data == {"role": "admin", "user": {"sub": "ada", "levels": [1]}}


def test_check_plain_lets_the_rest_through() -> None:
    """Plain data passes, and more of it where the system carries more."""
    check_plain({"a": [None, True, 1, 1.5, "x", b"x", {"b": []}, float("inf")]})
    check_plain({"a": 1 << 64}, wide=True)


def test_the_base_reads_and_writes_nothing() -> None:
    """A subclass says how its cookie is read and written."""

    class Nothing(ForeignCookie):
        format_name = "nothing"
        default_cookie_name = "nothing"

    with pytest.raises(NotImplementedError):
        read(Nothing(), "x")
    with pytest.raises(NotImplementedError):
        sealed(Nothing(), {})


@pytest.mark.parametrize(
    ("make", "settings", "problem"),
    [
        (FlaskCookie, {"subject": "alice"}, "subject is a function"),
        (FlaskCookie, {"salt": None}, "salt is text, not NoneType"),
        (FlaskCookie, {"secret_fallbacks": None}, "secret_fallbacks is a list of secrets, not NoneType"),
        (DjangoSignedCookie, {"fallbacks": "one"}, "fallbacks is a list of secrets, not str"),
        (DjangoSignedCookie, {"salt": 5}, "salt is text, not int"),
        (PyramidCookie, {"salt": None}, "salt is text, not NoneType"),
        (MojoliciousCookie, {"moniker": 5}, "moniker is text, not int"),
        (SessionStorageSecureCookie, {"old_secrets": None}, "old_secrets is a list of secrets, not NoneType"),
        (DancerLegacyCookie, {"only": 5, "until": 1}, "only is the set of keys"),
    ],
)
def test_a_setting_of_another_kind_is_refused(make: Any, settings: dict[str, Any], problem: str) -> None:
    """When the object is made, and not for each visitor with an old cookie."""
    with pytest.raises(ConfigError, match=problem):
        make("a secret of 32 characters or more.", **settings)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_json_is_read_in_each_encoding_that_it_may_have(encoding: str) -> None:
    """With white space around it, as Go's encoder writes a line's end."""
    for text in ('{"name": "Zoë"}', '{"name": "Zoë"}\n', ' \t{"name": "Zoë"} \r\n'):
        assert parse_json(text.encode(encoding)) == {"name": "Zoë"}


@pytest.mark.parametrize("text", ['{"a": 1}x', '{"a": 1}\xa0', '{"a": 1} {}', '\xa0{"a": 1}', "{", "", '{"a": NaN}'])
def test_what_is_around_json_is_not_read(text: str) -> None:
    """Nothing but JSON's own white space stands before or after it."""
    with pytest.raises(InvalidToken, match="not JSON"):
        parse_json(text)

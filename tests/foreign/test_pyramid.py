"""PyramidCookie against Pyramid's SignedCookieSessionFactory, in both directions, and everything it must refuse."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from tests.foreign.python_support import DATA, assert_every_mutation_refused, json_data, now, read, refused, sealed

from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.pyramid import PyramidCookie
from hardtack.protocols import Context
from hardtack.record import Record

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi, and Pyramid pkg_resources
    from pyramid.config import Configurator  # type: ignore[import-untyped]
    from pyramid.session import SignedCookieSessionFactory  # type: ignore[import-untyped]
    from webob.cookies import SignedSerializer  # type: ignore[import-untyped]
    from webtest import TestApp  # type: ignore[import-untyped]

SECRET = "dev"
COOKIE = PyramidCookie(SECRET)


class Pickled:
    """Pyramid's PickleSerializer, its default before 2.0, without its deprecation."""

    def dumps(self, value: object) -> bytes:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, value: bytes) -> object:
        raise NotImplementedError


class Raw:
    """Signs bytes as they are."""

    def dumps(self, value: bytes) -> bytes:
        return value

    def loads(self, value: bytes) -> bytes:
        return value


def signed(content: object, serializer: Any = None, secret: str = SECRET) -> str:
    """Any content at all under a good signature."""
    value: bytes = SignedSerializer(secret, "pyramid.session.", "sha512", serializer).dumps(content)
    return value.decode()


def application(view: Callable[[Any], Any]) -> TestApp:
    """A real application of one view, which returns what the response holds as JSON."""
    with Configurator() as config:
        config.set_session_factory(SignedCookieSessionFactory(SECRET))
        config.add_route("index", "/")
        config.add_view(view, route_name="index", renderer="json")
        return TestApp(config.make_wsgi_app())


def test_reads_what_the_factory_writes() -> None:
    """The Set-Cookie of a real response opens."""

    def view(request: Any) -> None:
        request.session.update(DATA)

    app = application(view)
    app.get("/")

    record = read(COOKIE, str(app.cookies["session"]))

    assert record.data == DATA
    assert now() - 5 <= record.created <= record.seen <= now()


def test_the_factory_reads_what_is_written() -> None:
    """A real application gets the session of our cookie, with its time of creation."""

    def view(request: Any) -> dict[str, Any]:
        return {"data": dict(request.session), "created": request.session.created, "new": request.session.new}

    record = Record(bytes(16), now() - 900, None, now() - 800, None, {}, DATA)
    app = application(view)

    cookie = COOKIE.seal(record, Context("session", "", now()))["session"]

    answer = app.get("/", headers={"Cookie": f"session={cookie}"})

    assert answer.json == {"data": DATA, "created": record.created, "new": False}


@given(json_data)
def test_round_trip_with_its_serializer(data: dict[str, Any]) -> None:
    """Whatever JSON carries comes out as it went in, both ways."""
    serializer = SignedSerializer(SECRET, "pyramid.session.")

    assert read(COOKIE, signed([now(), now() - 0.5, data])).data == data
    assert serializer.loads(sealed(COOKIE, data).encode())[2] == data


def test_timeout_is_since_the_last_use() -> None:
    """The time of creation is carried over; the timeout refuses, and gives no deadline to a session in use."""
    value = signed([5000, 1000.75, DATA])

    record = read(COOKIE, value, 6200)

    assert (record.created, record.seen, record.options) == (1000, 5000, {})
    assert refused(COOKIE, value, 6201) == "expired"
    assert read(PyramidCookie(SECRET, timeout=None), value, 10**9).data == DATA


def test_times_in_the_future() -> None:
    """Both times may be 60 seconds ahead, and no more."""
    assert read(COOKIE, signed([1060, 1060.9, {}]), 1000).created == 1000
    assert refused(COOKIE, signed([1061, 1000, {}]), 1000) == "future"
    assert refused(COOKIE, signed([1000, 1061, {}]), 1000) == "future"


@pytest.mark.parametrize(
    ("salt", "secret"), [("pyramid.session.", "zoë"), ("pyramid.session.", "пароль"), ("é", b"\xff")]
)
def test_secrets_are_encoded_as_in_webob(salt: str, secret: Any) -> None:
    """Latin-1 where it fits, UTF-8 otherwise."""
    cookie = PyramidCookie(secret, salt=salt, hashalg="sha256")
    serializer = SignedSerializer(secret, salt, "sha256")

    assert serializer.loads(sealed(cookie, DATA).encode())[2] == DATA


def test_every_mutation_is_refused() -> None:
    """No character of the cookie can be changed."""
    assert_every_mutation_refused(COOKIE, sealed(COOKIE, {"a": [1, 2]}), {"a": [1, 2]})


def test_a_pickle_is_refused_with_its_own_reason() -> None:
    """An authentic pickle is never read: it could run code."""
    assert refused(COOKIE, signed((now(), now(), DATA), Pickled())) == "unsafe"


def test_another_secret_or_salt_is_refused() -> None:
    """The signature is over both."""
    assert refused(PyramidCookie("other"), sealed(COOKIE, DATA)) == "tampered"
    assert refused(PyramidCookie(SECRET, salt="other"), sealed(COOKIE, DATA)) == "tampered"


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        [1, 2],
        [1, 2, {}, 4],
        ["1", 2, {}],
        [True, 2, {}],
        [1, None, {}],
        [-1, 2, {}],
        [1, float("nan"), {}],
        [float("inf"), 1, {}],
        [1, 2, []],
        [1, 2, None],
    ],
)
def test_authentic_content_that_is_no_session_is_refused(content: object) -> None:
    """Each is refused with one word."""
    assert refused(COOKIE, signed(content), 5) == "malformed"


@pytest.mark.parametrize("plain", [b"", b"[", b"\xff"])
def test_authentic_bytes_that_are_not_json_are_refused(plain: bytes) -> None:
    """Each is refused with one word."""
    assert refused(COOKIE, signed(plain, Raw())) == "malformed"


@pytest.mark.parametrize("value", ["", "é", "AAAA", "A", "null"])
def test_what_is_not_signed_is_refused(value: str) -> None:
    """Text without a good signature is refused whatever it looks like."""
    assert refused(COOKIE, value) in {"malformed", "tampered"}


def test_what_json_cannot_carry_is_not_written() -> None:
    """Pyramid would get a tuple back as a list."""
    with pytest.raises(UnsupportedValue):
        sealed(COOKIE, {"a": ()})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secret": ""}, "secret is empty"),
        ({"secret": 5}, "secret is empty or neither"),
        ({"hashalg": "crc"}, "hashalg='crc'"),
        ({"timeout": "soon"}, "timeout='soon'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    """A setting that cannot work is refused at once, by name."""
    arguments: dict[str, Any] = {"secret": SECRET, **settings}
    with pytest.raises(ConfigError, match=message):
        PyramidCookie(**arguments)


def test_the_cookie_is_pyramids_json() -> None:
    """Renewed, created, state: in this order."""
    plain = SignedSerializer(SECRET, "pyramid.session.", serializer=Raw()).loads(sealed(COOKIE, {"a": 1}, 7).encode())

    assert json.loads(plain) == [7, pytest.approx(now(), abs=5), {"a": 1}]

"""Every format of Node.js against the real library, in both directions, with made-up data."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.foreign.node import node
from tests.foreign.python_support import now, record_of
from tests.foreign.web_formats import DOUBLES, NAMES, json_objects

from hardtack import CookieEngine, SessionManager
from hardtack.errors import InvalidToken
from hardtack.foreign import _nacl as nacl
from hardtack.foreign.authjs import AuthjsCookie, NextAuthCookie
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.express import CookieSessionCookie, ExpressSessionCookie, KoaSessionCookie
from hardtack.foreign.fastify import FastifyCookie
from hardtack.foreign.hono import HonoCookie
from hardtack.foreign.iron import H3Cookie, HapiCookie, IronSessionCookie
from hardtack.foreign.remix import RemixCookie, take_flashes
from hardtack.protocols import Context
from hardtack.record import Record

SECRET = "a secret of forty characters and no less"
UNTIL = 1 << 40
FORMATS: dict[str, ForeignCookie] = {
    "cookie-session": CookieSessionCookie(SECRET, until=UNTIL),
    "koa-session": KoaSessionCookie(SECRET),
    "iron-session": IronSessionCookie(SECRET),
    "hapi": HapiCookie(SECRET, ttl=3600),
    "hapi-ctr": HapiCookie(SECRET, algorithm="aes-128-ctr", iterations=3, ttl=3600),
    "hapi-buffer": HapiCookie(bytes(range(32)), ttl=3600),
    "hapi-buffers": HapiCookie(
        {"k1": {"encryption": bytes(range(16)), "integrity": bytes(range(32))}}, algorithm="aes-128-ctr", ttl=3600
    ),
    "h3": H3Cookie(SECRET, max_age=3600),
    "fastify": FastifyCookie(bytes(range(32))),
    "authjs": AuthjsCookie(SECRET),
    "nextauth": NextAuthCookie(SECRET),
    "react-router": RemixCookie(SECRET, until=UNTIL),
    "hono": HonoCookie(SECRET, until=UNTIL),
}
DATA: dict[str, Any] = {"user_id": 42, "name": "zoë <b>&\u2028", "roles": ["a", 1.5, None, True], "nested": {"k": {}}}
BIG = {"pad": "x" * 6000}
ADDED = ("iat", "exp", "jti")

pytestmark = pytest.mark.usefixtures("_libraries")
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
each = pytest.mark.parametrize("system", FORMATS)


@pytest.fixture
def _libraries() -> None:
    node.require()


def context(cookie: ForeignCookie) -> Context:
    return Context(cookie.cookie_name, "", now())


def read(system: str, cookies: dict[str, str]) -> Record:
    cookie = FORMATS[system]
    return cookie.open({name: [value] for name, value in cookies.items()}, context(cookie))


def opened(cookie: ForeignCookie, cookies: dict[str, str]) -> dict[str, Any]:
    return cookie.open({name: [value] for name, value in cookies.items()}, context(cookie)).data


def written(system: str, data: dict[str, Any]) -> dict[str, str]:
    cookie = FORMATS[system]
    return cookie.seal(record_of(data), context(cookie))


def without_times(data: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in data.items() if key not in ADDED}


@pytest.mark.slow
@each
def test_both_directions(system: str) -> None:
    """Every type that JSON has, and characters that JavaScript and HTML treat on their own."""
    assert without_times(read(system, node.put(system, DATA)).data) == DATA
    assert without_times(node.get(system, written(system, DATA))) == DATA


# The JSON.parse of Node 24 takes a key that is an escape, as that of a line feed, for a backslash where the object before it
# had the key of one backslash: V8 compares the escape with that key unescaped.
_SESSIONS = json_objects(DOUBLES, NAMES.filter(lambda key: "\\" not in key))


@each
@many
@given(st.data())
def test_made_up_data(system: str, data: st.DataObject) -> None:
    """What we write, the real library reads as it was; and what it writes, we do."""
    session = data.draw(_SESSIONS)

    assert without_times(node.get(system, written(system, session))) == session
    theirs = node.put(system, session)
    if theirs:  # some set no cookie for a session without anything in it
        assert without_times(read(system, theirs).data) == session
    else:
        assert not session


@pytest.mark.parametrize("system", ["h3", "authjs", "nextauth"])
def test_chunks_of_ours_are_read(system: str) -> None:
    """A session that takes several cookies."""
    cookies = written(system, BIG)

    assert len(cookies) > 2
    assert without_times(node.get(system, cookies)) == BIG


COLONS: dict[str, ForeignCookie] = {
    "cookie-session-once": CookieSessionCookie(SECRET, until=UNTIL, cookie_name="express:sess"),
    "koa-session-once": KoaSessionCookie(SECRET, cookie_name="koa:sess"),
}


@pytest.mark.parametrize("system", COLONS)
def test_names_with_a_colon(system: str) -> None:
    """The defaults that both libraries had once, in both directions; who shares such a session writes it by that name."""
    cookie = COLONS[system]
    theirs = node.put(system, DATA)
    manager = SessionManager(CookieEngine(cookie))

    session = manager.open("; ".join(f"{name}={value}" for name, value in theirs.items()))
    assert dict(session) == DATA
    session["more"] = 1
    lines = manager.commit(session).set_cookies

    ours = {name: value for name, _, value in (line.partition(";")[0].partition("=") for line in lines)}
    assert list(ours) == list(theirs) == [cookie.cookie_name, f"{cookie.cookie_name}.sig"]
    assert node.get(system, ours) == {**DATA, "more": 1}


def test_chunks_of_h3_are_read() -> None:
    """As it splits them itself."""
    cookies = node.put("h3", BIG)

    assert len(cookies) > 2
    assert read("h3", cookies).data == BIG


def test_the_id_of_express_session() -> None:
    """Its cookie carries an id, which we read; and what we sign, it takes for its own."""
    cookie = ExpressSessionCookie(SECRET, until=UNTIL)
    cookies = node.put("express-session", DATA)

    record = cookie.open({name: [value] for name, value in cookies.items()}, context(cookie))

    assert node.get("express-session", cookie.seal(record_of(record.data), context(cookie))) == DATA
    assert node.get("express-session", cookie.seal(record_of({"session_id": "x"}), context(cookie))) == {}


@pytest.mark.parametrize("identifier", ["", "default", "second"])
@pytest.mark.parametrize("ids", [["default"], ["default", "second"]], ids="-".join)
def test_passwords_of_hapi_by_their_ids(ids: list[str], identifier: str) -> None:
    """A mapping without `current` opens what the real one does: a seal without an id is of `default`."""
    passwords = {"default": SECRET, "second": SECRET.upper()}
    cookie = HapiCookie({each: passwords[each] for each in ids}, ttl=3600)
    cookies = node.put("hapi-ids", {"id": identifier, "a": 1})

    assert next(iter(cookies.values())).split("*")[1] == identifier
    assert node.get("hapi-ids", cookies) == {"a": 1}
    if (identifier or "default") in ids:
        assert opened(cookie, cookies) == {"a": 1}
    else:
        with pytest.raises(InvalidToken, match="unknown_key"):
            opened(cookie, cookies)


def test_what_hapis_only_password_seals_is_read() -> None:
    """Under the id `default`, which the real one looks up as well."""
    cookie = HapiCookie({"default": SECRET}, ttl=3600)

    assert node.get("hapi-ids", cookie.seal(record_of({"a": 1}), context(cookie))) == {"a": 1}


def test_an_old_session_of_fastify() -> None:
    """A box without `__ts`, as old versions of the plugin wrote it: the new one reads it, and so do we up to `until`."""
    key = bytes(range(32))
    nonce = bytes(24)
    box = nacl.secretbox_seal(key, nonce, b'{"a":1}')
    cookies = {"session": quote(";".join(base64.b64encode(part).decode() for part in (box, nonce)))}
    cookie = FastifyCookie(key, until=UNTIL)

    assert node.get("fastify", cookies) == {"a": 1}
    assert opened(cookie, cookies) == {"a": 1}


def test_flashes_of_react_router() -> None:
    """They are under the names that the docs give them."""
    data = read("react-router", node.put("react-router", {"a": 1, "flash": "hi"})).data

    assert take_flashes(data) == {"notice": "hi"}
    assert data == {"a": 1}


@each
def test_what_is_changed_is_refused_by_both(system: str) -> None:
    """A flipped character opens neither there nor here: what we take for good is what they take for good."""
    cookies = written(system, {"a": 1})
    name, value = next(iter(cookies.items()))
    at = len(value) // 2
    changed = {**cookies, name: value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]}

    with pytest.raises(Exception, match=r"tampered|malformed"):
        read(system, changed)
    try:
        answer = node.get(system, changed)
    except AssertionError:  # some answer with an error
        return
    assert not answer

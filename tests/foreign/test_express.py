"""The cookies of Express and Koa beyond the golden ones: signatures, times, stores, and keys that JavaScript keeps."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from tests.foreign.web_support import NOW, UNTIL, context, read, refused, seal, wrong_setting

from hardtack import Key, SessionManager
from hardtack.errors import ConfigError, InvalidToken, StoreUnavailable, UnsupportedValue
from hardtack.foreign.express import (
    CookieSessionCookie,
    ExpressSessionCookie,
    KoaSessionCookie,
    read_express_record,
    write_express_record,
)

COOKIE = CookieSessionCookie("k1", until=UNTIL)
KOA = KoaSessionCookie("k1")


def signed(cookie: CookieSessionCookie | KoaSessionCookie, tree: Any) -> dict[str, str]:
    """Any JSON at all under a good key."""
    value = base64.b64encode(json.dumps(tree).encode()).decode()
    return {cookie.cookie_name: value, f"{cookie.cookie_name}.sig": cookie._mac(b"k1", value)}


def test_without_its_signature_a_cookie_is_incomplete() -> None:
    """The value alone proves nothing."""
    cookies = seal(COOKIE, {"a": 1})
    del cookies["session.sig"]

    assert refused(COOKIE, cookies) == "incomplete"


def test_both_cookies_belong_to_it() -> None:
    """Both are cleared on takeover, and no other cookie is."""
    assert COOKIE.cookie_names({"session": [""], "session.sig": [""], "session.x": [""]}) == ["session", "session.sig"]


@pytest.mark.parametrize("tree", [[], None, "text", 1])
def test_a_session_is_a_mapping(tree: Any) -> None:
    """JSON of another kind is no session."""
    assert refused(COOKIE, signed(COOKIE, tree)) == "malformed"
    assert refused(KOA, signed(KOA, tree)) in ("malformed", "undated")


@pytest.mark.parametrize(
    "cookie",
    [
        KoaSessionCookie("k1", cookie_name="koa:sess", path="/app"),
        CookieSessionCookie("k1", cookie_name="express:sess", path="/app", until=UNTIL),
    ],
    ids=["koa:sess", "express:sess"],
)
def test_former_default_names_have_a_colon(cookie: CookieSessionCookie | KoaSessionCookie) -> None:
    """koa-session's and cookie-session's: taken over, and cleared under that name, the signature too."""
    value = base64.b64encode(b'{"a":1,"_expire":9999999999999}').decode()
    mac = hmac.digest(b"k1", f"{cookie.cookie_name}={value}".encode(), "sha1")
    header = (
        f"{cookie.cookie_name}={value}; {cookie.cookie_name}.sig={base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    )
    sessions = SessionManager(Key.generate(), accept=[cookie])

    session = sessions.open(f"sess=x; {header}; koa=y")
    assert session["a"] == 1
    lines = sessions.commit(session).set_cookies

    ours = next(line for line in lines if line.startswith("__Host-Http-session="))
    assert [line for line in lines if line != ours] == [
        f"{cookie.cookie_name}{end}=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/app; HttpOnly"
        for end in ("", ".sig")
    ]
    assert sessions.open(ours.partition(";")[0])["a"] == 1


def test_koa_ends_when_it_says() -> None:
    """`_expire` counts milliseconds, and is enforced; it is no part of the session."""
    cookies = seal(KOA, {"a": 1})

    record = read(KOA, cookies, NOW + 86399)

    assert (record.data, record.options) == ({"a": 1}, {"expires": NOW + 86400})
    assert refused(KOA, cookies, NOW + 86400) == "expired"


def test_koa_without_an_end_needs_until() -> None:
    """`maxAge: 'session'` leaves no time in the cookie."""
    open_ended = KoaSessionCookie("k1", max_age="session", until=UNTIL)
    cookies = seal(open_ended, {"a": 1})

    assert json.loads(base64.b64decode(cookies["koa.sess"])) == {"a": 1, "_session": True}
    assert read(open_ended, cookies).data == {"a": 1}
    assert refused(KOA, cookies) == "undated"


@pytest.mark.parametrize("end", ["soon", -1, True, None, 1e300])
def test_koa_with_an_end_that_is_no_time(end: Any) -> None:
    """Such a cookie has no end that could be enforced."""
    assert refused(KOA, signed(KOA, {"a": 1, "_expire": end})) == "malformed"


def test_a_session_that_ends_sooner_ends_sooner_in_koa() -> None:
    """The end of a session that was taken over goes with it."""
    assert read(KOA, seal(KOA, {"a": 1}, expires=NOW + 60)).options == {"expires": NOW + 60}


@pytest.mark.parametrize(
    ("cookie", "key"),
    [
        (COOKIE, "isNew"),
        (COOKIE, "toString"),
        (COOKIE, "__proto__"),
        (KOA, "_expire"),
        (KOA, "maxAge"),
    ],
)
def test_keys_that_the_libraries_keep(cookie: CookieSessionCookie | KoaSessionCookie, key: str) -> None:
    """What would not come back as a key of the session cannot be written."""
    with pytest.raises(UnsupportedValue):
        seal(cookie, {key: 1})


def test_keys_that_javascript_keeps_at_any_depth() -> None:
    """`__proto__` is no key anywhere; as a text it may stand."""
    with pytest.raises(UnsupportedValue):
        seal(COOKIE, {"a": [{"__proto__": 1}]})
    assert read(COOKIE, seal(COOKIE, {"a": ["__proto__"]})).data == {"a": ["__proto__"]}


@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("inf"), b"bytes"])
def test_values_that_javascript_lacks(value: Any) -> None:
    """What JavaScript would read as another value cannot be written."""
    with pytest.raises(UnsupportedValue):
        seal(COOKIE, {"a": [value]})


# --- express-session


def express(**settings: Any) -> ExpressSessionCookie:
    return ExpressSessionCookie("keyboard cat", until=UNTIL, **settings)


STORED = '{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},"a":1}'
ENDS = '{"cookie":{"expires":"2027-01-15T08:01:00.000Z"},"a":1}'  # a minute after NOW


def test_the_store_is_asked_for_an_authentic_id_alone() -> None:
    """`load` gets the id, and is not called for one whose signature is wrong."""
    asked: list[str] = []

    def load(identifier: str) -> str:
        asked.append(identifier)
        return STORED

    cookies = seal(express(), {"session_id": "abc"})

    assert read(express(load=load), cookies).data == {"a": 1}
    assert refused(ExpressSessionCookie("other", load=load, until=UNTIL), cookies) == "tampered"
    assert asked == ["abc"]


def test_the_end_in_the_store_is_enforced() -> None:
    """A record that ends is not used afterwards, whatever the store does."""
    cookies = seal(express(), {"session_id": "abc"})

    assert read(express(load=lambda _: ENDS), cookies).options == {"expires": NOW + 60}
    assert refused(express(load=lambda _: ENDS), cookies, NOW + 60) == "expired"


def test_the_end_in_the_store_is_left_to_a_store_that_enforces_it() -> None:
    """A use that changes nothing does not move the end in the entry: who is active is not logged out."""
    cookies = seal(express(), {"session_id": "abc"})
    record = read(express(load=lambda _: ENDS, store_decides=True), cookies, NOW + 60)

    assert (record.data, record.options) == ({"a": 1}, {})
    with pytest.raises(ConfigError, match="store_decides"):
        express(store_decides="yes")


@pytest.mark.parametrize(
    ("stored", "reason"),
    [(None, "unknown_id"), ("[]", "malformed"), ("{", "malformed"), ('{"cookie": {"expires": "x"}}', "malformed")],
)
def test_what_the_store_may_not_have(stored: str | None, reason: str) -> None:
    """No record, or none of express-session's."""
    assert refused(express(load=lambda _: stored), seal(express(), {"session_id": "abc"})) == reason


def test_a_store_that_is_down_is_told() -> None:
    """What `load` raises is not hidden: the session may well exist."""

    def load(_: str) -> str:
        raise StoreUnavailable("redis is down")

    with pytest.raises(StoreUnavailable):
        read(express(load=load), seal(express(), {"session_id": "abc"}))


def test_a_record_for_the_store_has_a_cookie() -> None:
    """express-session refuses a record without one."""
    text = write_express_record({"a": 1}, expires=NOW + 60)

    assert json.loads(text)["cookie"]["expires"] == "2027-01-15T08:01:00.000Z"
    assert read_express_record(text, context(COOKIE)) == ({"a": 1}, NOW + 60)
    assert read_express_record(write_express_record({}), context(COOKIE)) == ({}, None)
    with pytest.raises(InvalidToken):
        read_express_record(text, context(COOKIE, NOW + 60))
    with pytest.raises(UnsupportedValue):
        write_express_record({"cookie": 1})


@pytest.mark.parametrize("data", [{}, {"session_id": 1}, {"session_id": ""}, {"session_id": "a", "b": 1}])
def test_the_cookie_carries_an_id_alone(data: dict[str, Any]) -> None:
    """Everything else is in the store."""
    with pytest.raises(UnsupportedValue):
        seal(express(), data)


@pytest.mark.parametrize("value", ["abc.def", "s:abc", "s:.abc", "j:abc.def"])
def test_another_shape_is_of_no_format(value: str) -> None:
    """Without `s:`, an id and a signature."""
    assert refused(express(), value) == "malformed"


def test_settings_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(CookieSessionCookie, "digest='md5'", "k1", digest="md5")
    wrong_setting(CookieSessionCookie, "old_secrets is a list", "k1", old_secrets="k2")
    wrong_setting(KoaSessionCookie, "max_age", "k1", max_age="soon")
    wrong_setting(ExpressSessionCookie, "load is a function", "k1", load="sess:")


def test_numbers_are_those_of_javascript() -> None:
    """A whole number that a double does not hold is a float, as it is there; NaN is no JSON."""
    value = base64.b64encode(b'{"a": 1152921504606847000, "b": 9007199254740991}').decode()
    data = read(COOKIE, {"session": value, "session.sig": COOKIE._mac(b"k1", value)}).data

    assert (data, type(data["a"]), type(data["b"])) == ({"a": 2.0**60, "b": 2**53 - 1}, float, int)
    assert refused(COOKIE, signed(COOKIE, {"a": float("nan")})) == "malformed"

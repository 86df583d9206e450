"""Seals of iron beyond the golden ones: their shape, passwords, ends, h3's two timeouts and its chunks."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from tests.foreign.web_support import NOW, UNTIL, read, refused, seal, wrong_setting

from hardtack import CookieEngine
from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.iron import H3Cookie, HapiCookie, IronSessionCookie

PASSWORD = "complex_password_at_least_32_characters_long"
OTHER = "another_password_that_is_32_chars_plus!!"
IRON = IronSessionCookie(PASSWORD)
H3 = H3Cookie(PASSWORD, iterations=1)


def sealed(tree: Any, cookie: Any = H3, expires: int | None = None) -> str:
    """Any JSON at all under a good password."""
    value: str = cookie._seal(json.dumps(tree), expires, 1)
    return value


def value_of(cookies: dict[str, str]) -> str:
    (value,) = cookies.values()
    return value


@pytest.mark.parametrize(
    ("part", "text"), [(0, "Fe26.1"), (2, "AB" * 32), (5, "soon"), (5, "-1"), (5, "0123"), (6, "ab"), (3, "a*b")]
)
def test_another_shape_is_of_no_format(part: int, text: str) -> None:
    """A seal has eight parts, salts in hex, and an end that is a number: nothing is derived for another."""
    parts = value_of(seal(IRON, {"a": 1})).split("*")
    parts[part] = text

    assert refused(IRON, "*".join(parts)) == "malformed"


def test_a_minute_of_grace_after_the_end() -> None:
    """As iron allows, for clocks that differ."""
    cookie = IronSessionCookie(PASSWORD, ttl=100)
    cookies = seal(cookie, {"a": 1})

    assert read(cookie, cookies, NOW + 159).options == {"expires": NOW + 160}
    assert refused(cookie, cookies, NOW + 160) == "expired"


def test_a_seal_without_an_end_needs_until() -> None:
    """With `ttl: 0` a seal has no time in it."""
    cookie = IronSessionCookie(PASSWORD, ttl=0, until=UNTIL)

    assert value_of(seal(cookie, {"a": 1})).split("*")[5] == ""
    assert refused(IRON, seal(cookie, {"a": 1})) == "undated"


def test_versions_of_iron_session() -> None:
    """Version 2 is the session; without a version it is under `persistent`; another version is unknown."""
    cookie = IronSessionCookie(PASSWORD, until=UNTIL)

    assert read(cookie, sealed({"a": 1}, cookie) + "~2").data == {"a": 1}
    assert read(cookie, sealed({"persistent": {"a": 1}}, cookie)).data == {"a": 1}
    assert refused(cookie, sealed({"a": 1}, cookie)) == "malformed"
    assert refused(cookie, sealed([], cookie)) == "malformed"
    assert refused(cookie, sealed({"a": 1}, cookie) + "~3") == "malformed"


def test_the_highest_number_seals() -> None:
    """Not the last in the order of the text, or of the mapping."""
    cookie = IronSessionCookie({10: PASSWORD, 9: OTHER})

    assert value_of(seal(cookie, {"a": 1})).split("*")[1] == "10"


def test_a_password_for_each_purpose() -> None:
    """hapi may encrypt and sign with two passwords."""
    cookie = HapiCookie({"k": {"encryption": PASSWORD, "integrity": OTHER}}, ttl=60)

    assert read(cookie, seal(cookie, {"a": 1})).data == {"a": 1}
    assert refused(HapiCookie({"k": PASSWORD}, ttl=60), seal(cookie, {"a": 1})) == "tampered"


def test_the_default_password_of_hapi() -> None:
    """A seal without an id is under the password that is called default."""
    one = HapiCookie(PASSWORD, ttl=60)
    several = HapiCookie({"default": PASSWORD, "new": OTHER}, current="new", ttl=60)

    assert read(several, seal(one, {"a": 1})).data == {"a": 1}


def test_hapis_default_may_be_the_only_password() -> None:
    """It seals under its id, and opens seals with that id and with none."""
    cookie = HapiCookie({"default": PASSWORD}, ttl=60)

    assert value_of(seal(cookie, {"a": 1})).split("*")[1] == "default"
    assert read(cookie, seal(cookie, {"a": 1})).data == {"a": 1}
    assert read(cookie, seal(HapiCookie(PASSWORD, ttl=60), {"a": 1})).data == {"a": 1}
    assert refused(cookie, seal(HapiCookie({"other": PASSWORD}, ttl=60), {"a": 1})) == "unknown_key"


KEY = bytes(range(32))
CTR = HapiCookie(PASSWORD, algorithm="aes-128-ctr", ttl=60)
BUFFER = HapiCookie(KEY, ttl=60)
BUFFERS = HapiCookie({"k": {"encryption": KEY[:16], "integrity": KEY}}, algorithm="aes-128-ctr", ttl=60)


def test_hapi_may_encrypt_with_another_algorithm() -> None:
    """`encryption.algorithm` of iron; what the other one made is authentic, and no JSON."""
    assert read(CTR, seal(CTR, {"a": 1})).data == {"a": 1}
    assert refused(HapiCookie(PASSWORD, ttl=60), seal(CTR, {"a": 1})) == "malformed"
    assert refused(CTR, seal(HapiCookie(PASSWORD, ttl=60), {"a": 1})) == "malformed"


def test_hapi_may_derive_its_keys_in_more_rounds() -> None:
    """`iterations` of iron; with another number the MAC is another one."""
    ten = HapiCookie(PASSWORD, iterations=10, ttl=60)

    assert read(ten, seal(ten, {"a": 1})).data == {"a": 1}
    assert refused(HapiCookie(PASSWORD, ttl=60), seal(ten, {"a": 1})) == "tampered"


def test_an_iv_of_another_length() -> None:
    """Also under a good MAC: CTR has no blocks that would tell."""
    parts = value_of(seal(BUFFERS, {"a": 1})).split("*")
    signed = "*".join([*parts[:3], "AAAA", *parts[4:6]])
    mac = base64.urlsafe_b64encode(hmac.digest(KEY, signed.encode(), "sha256")).decode().rstrip("=")

    assert refused(BUFFERS, f"{signed}**{mac}") == "malformed"


@pytest.mark.parametrize("cookie", [BUFFER, BUFFERS], ids=["one", "two"])
def test_a_buffer_is_the_key_itself(cookie: HapiCookie) -> None:
    """Its seals have no salts, and no other spelling: one beside the MAC would be under nothing."""
    value = value_of(seal(cookie, {"a": 1}))
    parts = value.split("*")
    signed = "*".join(parts[:6])

    assert (parts[2], parts[6]) == ("", "")
    assert parts[7] == base64.urlsafe_b64encode(hmac.digest(KEY, signed.encode(), "sha256")).decode().rstrip("=")
    assert read(cookie, value).data == {"a": 1}
    assert refused(cookie, f"{signed}*{'ab' * 32}*{parts[7]}") == "malformed"


def test_a_password_of_text_needs_its_salts() -> None:
    """What a Buffer sealed is of no such password, and the other way round."""
    text = HapiCookie(PASSWORD, ttl=60)

    assert refused(text, seal(BUFFER, {"a": 1})) == "malformed"
    assert refused(BUFFER, seal(text, {"a": 1})) == "malformed"


def test_a_buffer_beside_a_text() -> None:
    """Each of the two passwords may be either."""
    cookie = HapiCookie({"k": {"encryption": PASSWORD, "integrity": KEY}}, ttl=60)
    parts = value_of(seal(cookie, {"a": 1})).split("*")

    assert (len(parts[2]), parts[6]) == (64, "")
    assert read(cookie, "*".join(parts)).data == {"a": 1}


def test_settings_of_irons_options_are_checked() -> None:
    """Each wrong setting is told; a Buffer is hapi's alone."""
    wrong_setting(HapiCookie, "algorithm='aes-256-ctr'", PASSWORD, algorithm="aes-256-ctr")
    wrong_setting(HapiCookie, "iterations=0", PASSWORD, iterations=0)
    wrong_setting(HapiCookie, "iterations='2'", PASSWORD, iterations="2")
    wrong_setting(HapiCookie, "a Buffer of 16 bytes; copy the 32", KEY[:16])
    wrong_setting(HapiCookie, "a Buffer of 32 bytes; copy the 16", KEY, algorithm="aes-128-ctr")
    wrong_setting(HapiCookie, "32 characters", {"k": {"encryption": KEY, "integrity": KEY[:31]}})
    wrong_setting(HapiCookie, "32 characters", {"k": {"encryption": KEY}})
    wrong_setting(IronSessionCookie, "32 characters", {1: KEY})
    wrong_setting(H3Cookie, "32 characters", KEY)


def test_passwords_of_hapi_are_read_without_saying_which_seals() -> None:
    """Which one seals is asked where something is sealed: by an engine at once, not with the first session."""
    several = HapiCookie({"a": PASSWORD, "b": OTHER}, ttl=60)

    for each, password in {"a": PASSWORD, "b": OTHER}.items():
        assert read(several, seal(HapiCookie({each: password}, ttl=60), {"a": 1})).data == {"a": 1}
    with pytest.raises(ConfigError, match="give current=, the id of the password that seals"):
        seal(several, {"a": 1})
    with pytest.raises(ConfigError, match="give current=, the id of the password that seals"):
        CookieEngine(several)
    assert CookieEngine(HapiCookie({"a": PASSWORD, "b": OTHER}, current="b", ttl=60)).traits.writes


# --- h3


def session(**fields: Any) -> dict[str, Any]:
    return {"id": "x", "createdAt": NOW * 1000, "data": {"a": 1}, **fields}


def test_h3_says_when_it_began() -> None:
    """`createdAt` counts milliseconds; a clock that is ahead counts as now."""
    assert read(H3, sealed(session()), NOW + 5).created == NOW
    assert read(H3, sealed(session(createdAt=NOW * 1000 + 90_000)), NOW).created == NOW


@pytest.mark.parametrize(
    "tree",
    [
        [],
        session(id=""),
        session(id=1),
        session(createdAt=None),
        session(createdAt="x"),
        session(data=[]),
        session(data=None),
        session(lastSeenAt="x"),
    ],
)
def test_what_is_no_session_of_h3(tree: Any) -> None:
    """Each member is checked."""
    assert refused(H3, sealed(tree)) == "malformed"


def test_h3_ends_after_max_age() -> None:
    """It runs from the beginning."""
    cookie = H3Cookie(PASSWORD, max_age=100)

    assert read(cookie, sealed(session()), NOW + 99).options == {"expires": NOW + 100}
    assert refused(cookie, sealed(session(lastSeenAt=NOW * 1000 + 50_000)), NOW + 100) == "expired"


def test_h3_ends_after_idle_timeout() -> None:
    """It runs from the last use, or from the beginning where there was none."""
    cookie = H3Cookie(PASSWORD, idle_timeout=100)

    assert read(cookie, sealed(session(lastSeenAt=NOW * 1000 + 50_000)), NOW + 149).options == {"expires": NOW + 150}
    assert refused(cookie, sealed(session()), NOW + 100) == "expired"


def test_both_numbers_of_iterations_are_read() -> None:
    """h3 1 derived its keys once, h3 2 does it 8,192 times and still reads the others."""
    new = H3Cookie(PASSWORD)

    assert read(new, seal(H3, {"a": 1})).data == {"a": 1}
    assert read(H3, seal(new, {"a": 1})).data == {"a": 1}


BIG = {"pad": "x" * 6000}


def test_h3_in_chunks() -> None:
    """The cookie has their number, and they are counted from one."""
    cookies = seal(H3, BIG)

    assert list(cookies) == ["h3", "h3.1", "h3.2", "h3.3"]
    assert cookies["h3"] == "__chunked__3"
    assert read(H3, cookies).data == BIG
    assert H3.cookie_names({name: [""] for name in [*cookies, "h3.x", "h3.01", "h3x.1"]}) == list(cookies)


def test_h3_without_a_chunk() -> None:
    """A missing chunk, and a number of chunks that is none."""
    cookies = seal(H3, BIG)

    assert refused(H3, {**cookies, "h3": "__chunked__4"}) == "incomplete"
    assert refused(H3, {**cookies, "h3": "__chunked__0"}) == "malformed"
    assert refused(H3, {**cookies, "h3": "__chunked__100"}) == "too_large"
    assert refused(H3, {**cookies, "h3.1": "x" * 8193}) == "too_large"


def test_h3_with_too_many_chunks() -> None:
    """A session that would take more cookies than a browser sends is not written."""
    with pytest.raises(UnsupportedValue, match="10 cookies"):
        seal(H3, {"pad": "x" * 40_000})


def test_settings_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(IronSessionCookie, "not a password of 32", "short")
    wrong_setting(IronSessionCookie, "ids that are no numbers", {"a": PASSWORD})
    wrong_setting(IronSessionCookie, "by their ids, not int", 1)
    wrong_setting(IronSessionCookie, "ttl", PASSWORD, ttl="soon")
    wrong_setting(HapiCookie, "by their ids, not dict", {})
    wrong_setting(HapiCookie, "ids are letters", {"a*b": PASSWORD})
    wrong_setting(HapiCookie, "not a password", {"k": {"encryption": PASSWORD}})
    wrong_setting(HapiCookie, r"current='c' .* \['a', 'default'\]", {"a": PASSWORD, "default": OTHER}, current="c")
    wrong_setting(H3Cookie, "old_secrets is a list", PASSWORD, old_secrets=PASSWORD)
    wrong_setting(H3Cookie, "iterations=2", PASSWORD, iterations=2)

"""The cookie's attributes, reading the Cookie header, and what a response's headers become."""

from __future__ import annotations

import dataclasses
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack import Cookie, Key, SessionManager, StoreEngine, cookies
from hardtack.changes import SHARED_CACHE_HEADERS, Changes
from hardtack.cookies import MAX_AGE_LIMIT, MAX_SEEN, as_text, find_values, http_date, parse
from hardtack.errors import ConfigError
from hardtack.stores.memory import MemoryStore


def test_defaults_are_safe() -> None:
    """A __Host- name, Secure, HttpOnly, SameSite=Lax."""
    assert (
        Cookie().set_cookie("__Host-Http-session", "v")
        == "__Host-Http-session=v; Path=/; Secure; HttpOnly; SameSite=Lax"
    )


def test_all_attributes() -> None:
    """Every attribute that is set stands in the line; Expires goes with Max-Age for old clients."""
    cookie = Cookie("s", "/shop", "example.org", True, False, "None", True)

    assert cookie.set_cookie("s", "v", 60, 0) == (
        "s=v; Expires=Thu, 01 Jan 1970 00:01:00 GMT; Max-Age=60; Path=/shop; Domain=example.org; Secure; SameSite=None; "
        "Partitioned"
    )
    assert cookie.clear_cookie("s").startswith(
        "s=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/shop; Domain="
    )


@given(st.integers(0, 253_402_300_799))
def test_dates_are_as_the_standard_library_writes_them(seconds: int) -> None:
    """The same text as email.utils, for every second."""
    assert http_date(seconds) == formatdate(seconds, usegmt=True)


def test_max_age_is_clamped() -> None:
    """Browsers keep no cookie longer than 400 days."""
    assert f"Max-Age={MAX_AGE_LIMIT};" in Cookie().set_cookie("s", "v", 10**9)


def test_samesite_can_be_left_out_and_spelt_in_any_case() -> None:
    """Frameworks write it in lower case, and some leave it out."""
    assert Cookie(samesite="strict").samesite == "Strict"  # type: ignore[arg-type]
    assert "SameSite" not in Cookie(samesite=None).set_cookie("s", "v")


def test_for_development() -> None:
    """Plain http on one's own machine: no prefix, no Secure."""
    assert Cookie.for_development().set_cookie("session", "v") == "session=v; Path=/; HttpOnly; SameSite=Lax"
    assert Cookie.for_development(name="other").name == "other"


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "localhost",
            "shop.localhost",
            "127.0.0.1",
            "[::1]",
            "[fe80::1%eth0]",
            "192.168.1.5",
            "10.0.0.1",
            "testserver",
        ),
        *(
            "web",
            "nas.local",
            "shop.test",
            "shop.internal",
            "shop.example",
            "LOCALHOST.",
            "0.0.0.0",
            "box.home.arpa",
            "falconframework.org",
        ),
    ],
)
def test_a_cookie_for_development_is_for_hosts_of_ones_own(host: str) -> None:
    """This machine, a private network, a container's name, and names that nobody can have."""
    Cookie.for_development().check_place("http", host)


@pytest.mark.parametrize(
    ("scheme", "host", "why"),
    [
        ("https", "localhost", "this request came by https"),
        ("wss", "localhost", "this request came by https"),
        ("https", "www.shop.com", "this request came by https"),
        ("http", "www.shop.com", "this request is for the public host 'www.shop.com'"),
        ("http", "localhost.shop.com", "public host"),
        ("http", "example.com", "public host 'example.com'"),
        ("http", "shop.example.com", "public host"),
        ("http", "shop.example.net", "public host"),
        ("http", "shop.example.org", "public host 'shop.example.org'"),
        ("http", "EXAMPLE.org.", "public host"),
        ("http", "myexample.org", "public host"),
        ("http", "www.falconframework.org", "public host"),
        ("", "8.8.8.8", "public host '8.8.8.8'"),
        ("http", "[2606:4700::1111]", "public host"),
        ("http", f"{'x' * 300}.com", r"public host 'x{100}':"),
    ],
)
def test_a_cookie_for_development_is_refused_where_a_site_is(scheme: str, host: str, why: str) -> None:
    """Any other cookie goes there."""
    with pytest.raises(ConfigError, match=f"for plain http on one's own machine, and .*{why}"):
        Cookie.for_development().check_place(scheme, host)

    Cookie().check_place(scheme, host)
    Cookie("session", secure=False).check_place(scheme, host)


def test_planted_cookies_are_cleared_where_ours_does_not_live() -> None:
    """On each parent domain of the host and each beginning of the path, in at most eight places."""
    lines = Cookie("sid").clear_planted("shop.example.org", "/cart/add")

    places = [line.partition("Max-Age=0; ")[2].partition("; Secure")[0] for line in lines]
    assert places == [
        "Path=/; Domain=example.org",
        "Path=/; Domain=shop.example.org",
        "Path=/cart",
        "Path=/cart/add",
        "Path=/cart; Domain=example.org",
        "Path=/cart; Domain=shop.example.org",
        "Path=/cart/add; Domain=example.org",
        "Path=/cart/add; Domain=shop.example.org",
    ]
    assert all(line.startswith("sid=; ") for line in lines)


def test_our_own_place_is_never_cleared_as_planted() -> None:
    """That would leave the planted cookie alone, to be used by the next request."""
    lines = Cookie("sid", path="/shop", domain="example.org").clear_planted("www.example.org", "/shop/1/2/3/4")

    assert not [line for line in lines if "Path=/shop; Domain=example.org" in line]
    assert len(lines) == 8
    assert any("Path=/; Secure" in line for line in lines)


@pytest.mark.parametrize("domain", ["example.org", ".example.org", "Example.org", ".EXAMPLE.org"])
@pytest.mark.parametrize("host", ["www.example.org", "WWW.Example.org"])
def test_our_own_place_is_known_however_it_is_written(domain: str, host: str) -> None:
    """A browser compares domains in lower case and without the dot before them."""
    places = [
        line.partition("Max-Age=0; ")[2].partition("; Secure")[0]
        for line in Cookie("sid", domain=domain).clear_planted(host, "/")
    ]

    assert places == ["Path=/; Domain=www.example.org", "Path=/"]


def test_the_cookie_is_not_cleared_where_it_formerly_was_and_still_is() -> None:
    """The line that clears would follow the one that sets it, with the same place: nobody could log in."""
    former = [Cookie("sid", domain=".Example.org", samesite="Strict"), Cookie("sid", path="/old")]
    cookie = Cookie("sid", domain="example.org", formerly=former)

    assert [line.partition("; Path=")[2].partition(";")[0] for line in cookie.clear_all([])] == ["/old"]


@pytest.mark.parametrize("host", ["a." * 4000 + "org", "a" * 254, "a-" * 4000 + "a"])
def test_what_is_too_long_for_a_host_has_no_places(host: str) -> None:
    """Each label would be a place: one request with a long Host header would cost seconds."""
    assert Cookie("sid").clear_planted(host, "/p" * 4000) == []


def test_lines_for_planted_cookies_are_few_whatever_the_client_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more places are made than are cleared."""
    made: list[Any] = []

    def counted(*arguments: Any, **changes: Any) -> Any:
        made.append(changes)
        return dataclasses.replace(*arguments, **changes)

    monkeypatch.setattr(cookies, "replace", counted)

    lines = Cookie("sid").clear_planted("a." * 120 + "org", "/a/b/c/d")

    assert len(lines) == 8
    assert len(made) <= 10


@pytest.mark.parametrize("size", [1000, 1100, 5000])
def test_lines_for_planted_cookies_are_small_together(size: int) -> None:
    """Servers before the application refuse an answer with many headers; a Path of more than 1,024 bytes counts as none."""
    lines = Cookie("sid").clear_planted("www.example.org", "/" + "p" * size + "/q")

    assert sum(map(len, lines)) <= 3600
    assert all(len(line.partition("; Path=")[2].partition(";")[0]) <= 1024 for line in lines)
    assert not [line for line in lines if "Domain=" not in line and "Path=/;" in line]


@pytest.mark.parametrize("host", ["", "localhost", "192.0.2.1", "[::1]", "a b", "x;y"])
def test_a_host_without_parent_domains_has_paths_only(host: str) -> None:
    """And what is no host has nothing: a header of the client's decides nothing."""
    lines = Cookie("sid").clear_planted(host, "/cart")

    assert not [line for line in lines if "Domain=" in line]


def test_formerly_is_cleared_with_each_clear() -> None:
    """A browser keeps a cookie for each place, and sends all of them."""
    cookie = Cookie("sid", formerly=[Cookie("sid", domain="example.org"), Cookie("old", path="/shop")])

    lines = cookie.clear_all(["sid"])

    assert [line.partition("=")[0] for line in lines] == ["sid", "sid", "old"]
    assert "Domain=example.org" in lines[1]
    assert "Path=/shop" in lines[2]


@pytest.mark.parametrize("formerly", [Cookie("a"), ["a"], "a"])
def test_formerly_is_a_list_of_cookies(formerly: Any) -> None:
    """Anything else is told when the cookie is made."""
    with pytest.raises(ConfigError, match="formerly"):
        Cookie("sid", formerly=formerly)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"name": ""}, "name=''"),
        ({"name": "a b"}, "name="),
        ({"name": "a;b"}, "name="),
        ({"name": "a,b"}, "name="),
        ({"name": "a\n"}, "name="),
        ({"name": "é"}, "name="),
        ({"name": None}, "name="),
        ({"path": "shop"}, "path="),
        ({"path": "/a;b"}, "path="),
        ({"path": "/a,b"}, "path="),
        ({"path": "/a\r\nSet-Cookie: x"}, "path="),
        ({"path": None}, "path="),
        ({"name": "s", "domain": ""}, "domain="),
        ({"name": "s", "domain": "a b"}, "domain="),
        ({"name": "s", "domain": "a;b"}, "domain="),
        ({"name": "s", "domain": 5}, "domain="),
        ({"samesite": "Sometimes"}, "samesite="),
        ({"secure": "yes"}, "secure="),
        ({"httponly": 1}, "httponly="),
        ({"partitioned": None}, "partitioned="),
        ({"name": "s", "secure": False, "samesite": "None"}, "secure=True"),
        ({"name": "s", "secure": False, "partitioned": True}, "secure=True"),
        ({"secure": False}, "for_development"),
        ({"path": "/shop"}, "path='/'"),
        ({"domain": "example.org"}, "domain=None"),
        ({"name": "__HOST-s", "path": "/x"}, "path='/'"),
        ({"name": "__Secure-s", "secure": False}, "secure=True"),
        ({"name": "__Http-s", "httponly": False}, "httponly=True"),
        ({"name": "__Host-Http-s", "httponly": False}, "httponly=True"),
        ({"name": "__host-http-s", "domain": "example.org"}, "domain=None"),
    ],
)
def test_what_browsers_would_drop_is_refused(settings: dict[str, Any], named: str) -> None:
    """A cookie that a browser drops without a word is a ConfigError that names the setting."""
    with pytest.raises(ConfigError, match=named):
        Cookie(**settings)


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("", []),
        ("s=1", ["1"]),
        ("a=0; s=1; b=2", ["1"]),
        ("s=1; s=2", ["1", "2"]),
        ("xs=0; s=1", ["1"]),
        ("s2=0;s=1", ["1"]),
        ("x=s=0; s=1", ["1"]),
        ("x=s; s=1", ["1"]),
        (" \t s \t = \t 1 \t ", ["1"]),
        ("s=", [""]),
        ("s", []),
        ("s;s=1", ["1"]),
        ("s s=1", []),
        ("s=a=b", ["a=b"]),
        ('s="1"', ['"1"']),
        ("s=%41", ["%41"]),
        ("S=1", []),
        ("s=1,s=2", ["1,s=2"]),
        ("s\x0b=1", []),
        ("s=\x0b1", ["\x0b1"]),
        ("=s=1; s=2", ["2"]),
        ("; ".join(["s=1"] * 30), ["1"] * 17),
    ],
)
def test_find_values(header: str, values: list[str]) -> None:
    """Split at ";" only, blanks trimmed, byte for byte, nothing decoded, 17 at most; as the thorough parser does."""
    assert find_values(header, "s") == values
    assert parse(header).get("s", []) == values


@given(st.text(alphabet='s=; \tx"%,', max_size=40))
def test_search_and_parser_agree(header: str) -> None:
    """Searching for one name finds what splitting the whole header finds."""
    assert find_values(header, "s") == parse(header).get("s", [])


def test_a_colon_is_of_the_name() -> None:
    """Express and Koa have had it in theirs: it separates nothing."""
    header = "sess=1; koa:sess=2; koa=3; :sess=4; koa:sess.sig=5"

    assert [find_values(header, name) for name in ("sess", "koa:sess", "koa", ":sess")] == [["1"], ["2"], ["3"], ["4"]]
    assert parse(header)["koa:sess"] == ["2"]
    assert Cookie("koa:sess").clear_cookie("koa:sess").startswith("koa:sess=; Expires=")


def test_a_name_of_ours_has_no_colon() -> None:
    """The name of another system's cookie is not ours to choose; this one is."""
    with pytest.raises(ConfigError, match=r"'koa:sess' has a ':'.* name the other in accept="):
        SessionManager(Key.generate(), cookie=Cookie("koa:sess"))
    with pytest.raises(ConfigError, match="has a ':'"):
        SessionManager(StoreEngine(MemoryStore()), cookie=Cookie("koa:sess"))


def test_nameless_cookies_are_ignored() -> None:
    """A value without a name could pass for another cookie."""
    assert parse("=__Host-s=1; __Host-s; ; =") == {}


def test_header_as_bytes_and_none() -> None:
    """Each byte is one character, so that none is lost."""
    assert as_text(b"s=\xff") == "s=ÿ"
    assert as_text("s=1") == "s=1"
    assert as_text(None) == ""


def test_one_value_more_than_is_looked_at_is_parsed() -> None:
    """So that it shows where there are too many."""
    assert len(parse("; ".join(["s=1"] * 30))["s"]) == MAX_SEEN + 1


# --- Changes


def applied(changes: Changes, *headers: tuple[str, str]) -> list[tuple[str, str]]:
    """The headers after `apply`, as WSGI and as ASGI have them, which must agree."""
    text = list(headers)
    changes.apply(text)
    raw = [(name.encode(), value.encode()) for name, value in headers]
    changes.apply_raw(raw)
    assert [(name.decode().lower(), value.decode()) for name, value in raw] == [
        (name.lower(), value) for name, value in text
    ]
    return text


def test_untouched_changes_nothing() -> None:
    """No access, no header."""
    assert not Changes()
    assert list(Changes()) == []
    assert applied(Changes(), ("X", "1")) == [("X", "1")]


def test_accessed_says_that_the_response_is_private() -> None:
    """A response that depends on the cookie says so to caches."""
    changes = Changes(accessed=True)

    assert list(changes) == [("Vary", "Cookie"), ("Cache-Control", "private")]
    assert applied(changes) == [("Vary", "Cookie"), ("Cache-Control", "private")]


@pytest.mark.parametrize("changes", [Changes(accessed=True), Changes(["s=1"], accessed=True), Changes(["s=1"])])
@pytest.mark.parametrize("header", ["x", "vary"])
def test_pairs_of_bytes_are_known_by_the_first(changes: Changes, header: str) -> None:
    """`apply` takes either kind, and `apply_raw` bytes alone: both say the same."""
    raw, known = [(header.encode(), b"1")], [(header.encode(), b"1")]

    changes.apply(raw)
    changes.apply_raw(known)

    assert raw == known


def test_set_cookie_is_never_stored() -> None:
    """A cache that kept a Set-Cookie would hand one user's session to the next."""
    changes = Changes(["s=1", "t=2"], accessed=True)

    assert list(changes) == [
        ("Set-Cookie", "s=1"),
        ("Set-Cookie", "t=2"),
        ("Vary", "Cookie"),
        ("Cache-Control", "private, no-store"),
    ]
    assert applied(changes, ("Content-Type", "text/plain")) == [
        ("Content-Type", "text/plain"),
        ("Vary", "Cookie"),
        ("Cache-Control", "private, no-store"),
        ("Set-Cookie", "s=1"),
        ("Set-Cookie", "t=2"),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([("Vary", "Accept")], "Accept, Cookie"),
        ([("vary", "Accept"), ("VARY", "Origin")], "Accept, Origin, Cookie"),
        ([("Vary", "accept, COOKIE")], "accept, COOKIE"),
        ([("Vary", "*")], "*"),
        ([("Vary", "")], "Cookie"),
    ],
)
def test_vary_is_merged(before: list[tuple[str, str]], after: str) -> None:
    """Cookie joins what the response varies on already."""
    headers = applied(Changes(accessed=True), *before)

    assert ", ".join(value for name, value in headers if name.lower() == "vary") == after


@pytest.mark.parametrize(
    ("before", "set_cookies", "after"),
    [
        ("public, max-age=60", ["s=1"], "private, no-store"),
        ("max-age=60", ["s=1"], "private, no-store"),
        ("", ["s=1"], "private, no-store"),
        ("private, max-age=60", ["s=1"], "private, max-age=60"),
        ("no-store", ["s=1"], "no-store"),
        ("PRIVATE", ["s=1"], "PRIVATE"),
        ('private="set-cookie"', ["s=1"], "private, no-store"),
        ("public, max-age=60", [], "public, max-age=60"),
        ("", [], "private"),
    ],
)
def test_cache_control(before: str, set_cookies: list[str], after: str) -> None:
    """The application's own Cache-Control stands unless a cookie is set and caches could keep the response."""
    headers = applied(Changes(set_cookies, accessed=True), ("Cache-Control", before))

    assert dict(headers)["Cache-Control"] == after


def test_replaced_cache_control_is_told() -> None:
    """The application's own header is not replaced in silence."""
    told: list[tuple[str, str]] = []
    changes = Changes(["s=1"], accessed=True, on_replaced=lambda before, after: told.append((before, after)))

    changes.apply([("Cache-Control", "public")])
    changes.apply([])

    assert told == [("public", "private, no-store")]


def test_no_store_is_stricter_than_private() -> None:
    """What a degraded session has touched is kept nowhere."""
    changes = Changes(accessed=True, no_store=True)

    assert dict(applied(changes))["Cache-Control"] == "private, no-store"
    assert dict(applied(changes, ("Cache-Control", "private")))["Cache-Control"] == "private, no-store"
    assert dict(applied(changes, ("Cache-Control", "no-store")))["Cache-Control"] == "no-store"


def test_cookie_of_a_response_that_nobody_varied_on() -> None:
    """A Set-Cookie without an access (a 503 that clears the cookie) is added as it is."""
    changes = Changes(["s=1"])

    assert changes.vary("Accept") is None
    assert applied(changes, ("Vary", "Accept")) == [("Vary", "Accept"), ("Set-Cookie", "s=1")]


def test_paths_that_no_cookie_can_have_are_passed_over() -> None:
    """An empty part, or one with a character that no browser takes in an attribute."""
    lines = Cookie("sid").clear_planted("localhost", "//a;b/c")

    assert [line.partition("; Path=")[2].partition(";")[0] for line in lines] == ["/c"]


def test_a_place_is_cleared_once() -> None:
    """One where the cookie formerly was, and where somebody may have set it."""
    cookie = Cookie("sid", formerly=[Cookie("sid", path="/shop")])

    lines = cookie.clear_planted("localhost", "/shop/cart")

    assert [line.partition("; Path=")[2].partition(";")[0] for line in lines] == ["/shop", "/shop/cart"]


def test_a_cookie_is_added_to_what_says_nothing_of_caches() -> None:
    """Of an error that nobody's look belongs to: there is no Vary to add."""
    assert applied(Changes(["s=1"]), ("X-Frame", "1")) == [("X-Frame", "1"), ("Set-Cookie", "s=1")]


def test_headers_of_any_name_are_told_apart() -> None:
    """However many an application makes up."""
    named = [(f"X-Made-Up-{number}", "1") for number in range(2000)]

    for _ in range(2):
        assert applied(Changes(["s=1"]), *named, ("Made-Up-Cache-Control", "public")) == [*named, ("Set-Cookie", "s=1")]


@pytest.mark.parametrize(
    "name",
    [
        *sorted(SHARED_CACHE_HEADERS),
        *("X-LiteSpeed-Cache-Control", "Deno-CDN-Cache-Control", "Fastly-CDN-Cache-Control", "AZION-CACHE-CONTROL"),
    ],
)
def test_headers_for_shared_caches_go_with_a_cookie(name: str) -> None:
    """They overrule Cache-Control there; without a cookie they stay, and each that goes is told."""
    told: list[tuple[str, str]] = []
    changes = Changes(["s=1"], on_replaced=lambda before, after: told.append((before, after)))

    assert applied(changes, (name, "max-age=60"), ("X-Frame", "1")) == [("X-Frame", "1"), ("Set-Cookie", "s=1")]
    assert told == [(f"{name}: max-age=60", "(removed)")] * 2
    assert (name, "max-age=60") in applied(Changes(accessed=True), (name, "max-age=60"))

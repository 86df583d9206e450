"""Attacks by who knows the documentation: nobody is locked out, and nothing is bound to the wrong key."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.binding.kit import EVERY, GRACE, BoundSite, page
from tests.kit import KEY, START

from hardtack import Cookie, StoreEngine
from hardtack.binding.offer import url
from hardtack.events import Bound, ProofFailed
from hardtack.stores.memory import MemoryStore
from hardtack.testing import DbscClient
from hardtack.testing.dbsc import HeaderPairs, make_jwt

START_PATH = "https://example.org/hardtack/session/start"
REFRESH_PATH = "https://example.org/hardtack/session/refresh"


def cookies_of(browser: DbscClient) -> str:
    """The Cookie header of a browser."""
    return "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())


def offered(site: BoundSite) -> DbscClient:
    """A browser that has logged in and not registered yet."""
    browser = site.browser(registers=False)
    browser.post("/login")
    return browser


def registration(browser: DbscClient, key: ec.EllipticCurvePrivateKey | None = None) -> HeaderPairs:
    """A good registration of a key by who has the browser's cookies and its offer."""
    (_, challenge, _), *_ = browser.offers
    token = make_jwt(key or ec.generate_private_key(ec.SECP256R1()), challenge, registers=True)
    return [("Cookie", cookies_of(browser)), ("Secure-Session-Response", token)]


@pytest.mark.parametrize("value", ["", "null", "https://example.org"])
def test_an_origin_of_any_value_is_a_scripts(site: BoundSite, value: str) -> None:
    """A script cannot leave it out, and what it says does not matter."""
    browser = offered(site)

    status, headers, _ = site.wire("POST", START_PATH, [*registration(browser), ("Origin", value)], b"")

    assert status == 403
    assert not [name for name, _ in headers if name == "Set-Cookie"]
    browser.register()
    assert page(browser.get("/")) == "alice bound 0"


def test_a_thief_that_registers_before_the_browser_comes_back_gets_nothing(site: BoundSite) -> None:
    """He has the cookie from before, and a key: the first request with a bound cookie decides whose the session is."""
    browser = offered(site)
    thief = browser.copy()
    thief.offers = list(browser.offers)
    browser.register()
    thief.register()
    assert thief.bindings

    assert page(browser.get("/")) == "alice bound 0"
    (bound,) = site.told(Bound)
    assert bound.binding_id in browser.bindings

    assert page(thief.get("/")) in ("alice unbound 0", "None unbound 0")
    site.clock.now += 10
    for _ in range(2):
        assert page(thief.get("/")) == "None unbound 0"
    site.clock.now += EVERY + GRACE
    assert page(browser.get("/count")) == "alice bound 1"
    assert page(thief.get("/")) == "None unbound 0"


def test_a_registration_that_is_sent_again_registers_the_same_key(site: BoundSite) -> None:
    """Whoever has read it in a log has no key by it, and nobody is locked out."""
    browser = offered(site)
    headers = registration(browser)
    browser.register()
    assert page(browser.get("/")) == "alice bound 0"

    status, given, _ = site.wire("POST", START_PATH, headers, b"")

    site.clock.now += EVERY + GRACE
    assert status == 403
    assert not [name for name, _ in given if name == "Set-Cookie"]
    assert page(browser.get("/")) == "alice bound 0"


def test_a_proof_that_was_read_in_a_log_is_nothing_without_the_session(site: BoundSite) -> None:
    """And nothing at all a quarter of an hour later."""
    browser = site.logged_in()
    (session,) = browser.bindings.values()
    assert session.challenge is not None
    proof = [
        ("Sec-Secure-Session-Id", session.id),
        ("Secure-Session-Response", make_jwt(session.key, session.challenge)),
    ]
    other = site.browser()
    other.post("/login/mallory")

    for cookies in ("", cookies_of(other)):
        _, headers, _ = site.wire("POST", REFRESH_PATH, [*proof, ("Cookie", cookies)], b"")
        assert not [value for name, value in headers if name == "Set-Cookie" and "Max-Age=0" not in value]

    site.clock.now += 15 * 60
    status, headers, _ = site.wire("POST", REFRESH_PATH, [*proof, ("Cookie", cookies_of(browser))], b"")
    assert status == 403
    assert not [name for name, _ in headers if name == "Set-Cookie"]


def test_a_challenge_of_one_session_proves_nothing_in_another_of_the_same_user(site: BoundSite) -> None:
    """Two browsers of one user: neither's challenge is answered by the other's key, nor under the other's name."""
    one, other = site.logged_in(), site.logged_in()
    (mine,), (yours,) = one.bindings.values(), other.bindings.values()
    assert yours.challenge is not None

    for identifier, key in ((mine.id, mine.key), (yours.id, mine.key), (mine.id, yours.key)):
        headers = [
            ("Cookie", cookies_of(one)),
            ("Sec-Secure-Session-Id", identifier),
            ("Secure-Session-Response", make_jwt(key, yours.challenge)),
        ]
        _, given, _ = site.wire("POST", REFRESH_PATH, headers, b"")
        assert not [value for name, value in given if name == "Set-Cookie" and "Max-Age=0" not in value]

    site.clock.now += EVERY + GRACE
    assert page(one.get("/")) == page(other.get("/")) == "alice bound 0"


@pytest.mark.parametrize("path", ["/confirm", "/regenerate", "/login/alice"])
def test_the_request_that_binds_may_change_the_id_at_once(site: BoundSite, path: str) -> None:
    """The binding goes along, and the copy from before is as dead."""
    browser = offered(site)
    thief = browser.copy()
    browser.register()

    assert page(browser.post(path)) == "alice bound 0"
    assert list(browser.bindings) == [event.binding_id for event in site.told(Bound)]
    site.clock.now += EVERY + GRACE
    assert page(browser.get("/")) == "alice bound 0"
    assert page(thief.get("/")) == "None unbound 0"


@pytest.mark.parametrize("path", ["/confirm", "/regenerate"])
def test_a_new_id_between_the_login_and_the_registration(site: BoundSite, path: str) -> None:
    """The offer was for the former id: the next offer binds."""
    browser = offered(site)
    browser.post(path)
    browser.register()
    assert not browser.bindings

    site.clock.now += 30
    browser.get("/")
    browser.register()

    assert page(browser.get("/")) == "alice bound 0"


@pytest.mark.parametrize(
    "value",
    [
        'x";id="y',
        "a\r\nSet-Cookie: x=1",
        '"' * 30,
        "\u00e9" * 22,
        "A" * 21 + '"',
        "A" * 22 + ", " + "A" * 22,
        "A" * 100_000,
    ],
)
def test_headers_that_are_smuggled_are_no_answers(site: BoundSite, value: str) -> None:
    """Nothing that a client sends in the place of an id or a proof comes back in a header or the body."""
    browser = site.logged_in()
    for path, name in ((REFRESH_PATH, "Sec-Secure-Session-Id"), (START_PATH, "Secure-Session-Response")):
        status, headers, body = site.wire("POST", path, [("Cookie", cookies_of(browser)), (name, value)], b"")

        assert status in (400, 403)
        assert not [text for _, text in headers if value in text or "\n" in text]
        assert body == b""
    assert page(browser.get("/")) == "alice bound 0"


def test_a_mount_with_quotes_in_it_is_quoted() -> None:
    """The offer and the answers name it; none of it ends a header's text."""
    path = url('/a"b\r\nc', "/hardtack/session/start")

    assert path == "/a%22b%0D%0Ac/hardtack/session/start"


def test_many_proofs_at_once_agree(store_site: BoundSite) -> None:
    """Threads that prove the key and ask for pages at the same time: each is served to the same bound session."""
    browser = store_site.logged_in()
    store_site.clock.now += EVERY + GRACE
    said: list[Any] = []
    tabs = []
    for _ in range(8):
        tab = browser.copy()
        tab.bindings = {name: type(each)(**vars(each)) for name, each in browser.bindings.items()}
        tabs.append(tab)

    threads = [threading.Thread(target=lambda tab=tab: said.append(page(tab.get("/")))) for tab in tabs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert said == ["alice bound 0"] * 8


@pytest.mark.parametrize("moved", [-90, 90, -200, 400])
def test_a_clock_that_is_moved_logs_nobody_out(site: BoundSite, moved: int) -> None:
    """A proof from ahead counts for nothing, and the next one heals it: the browser's own clock runs as before."""
    ahead = 0.0
    browser = DbscClient(site.wire, clock=lambda: site.clock.now - ahead)
    browser.post("/login")
    assert page(browser.get("/")) == "alice bound 0"
    site.clock.now += 10

    site.clock.now += moved
    ahead = moved
    assert page(browser.get("/")) in ("alice bound 0", "None unproven 0")
    site.clock.now += EVERY

    assert page(browser.get("/")) == "alice bound 0"


def test_two_applications_on_one_host_with_one_key_and_purpose() -> None:
    """Under a path each, with cookies of their own: both bind, and neither's proof or logout touches the other."""
    store = MemoryStore()
    sites = {
        mount: BoundSite(StoreEngine(store, seal=KEY), mount=mount, cookie=Cookie(name, path=path))
        for mount, name, path in (("/shop", "sid", "/shop"), ("/forum", "sid", "/forum"), ("/wiki", "__Host-wiki", "/"))
    }

    def send(method: str, url: str, headers: HeaderPairs, body: bytes) -> Any:
        mount = "/" + url.removeprefix("https://example.org/").partition("/")[0]
        return sites[mount].wire(method, url, headers, body)

    browser = DbscClient(send, clock=lambda: START + later)
    later = 0
    for mount, site in sites.items():
        assert page(browser.post(f"{mount}/login/{mount[1:]}")) == f"{mount[1:]} bound 0"
        assert site.told(Bound)
    assert len(browser.bindings) == 3

    later = EVERY + GRACE
    for site in sites.values():
        site.clock.now += later
    for mount in sites:
        assert page(browser.get(f"{mount}/")) == f"{mount[1:]} bound 0"
    browser.post("/shop/logout")
    for mount in ("/forum", "/wiki"):
        assert page(browser.get(f"{mount}/")) == f"{mount[1:]} bound 0"
    assert not [event for site in sites.values() for event in site.told(ProofFailed)]


@pytest.mark.parametrize("alone", [False, True], ids=["pair", "session cookie alone"])
def test_the_word_of_the_client_reads_and_an_application_may_refuse_that(site: BoundSite, alone: bool) -> None:
    """Who says that the server or the quota failed is served to read, as "unproven": that is what a handler can ask.

    docs/device-binding.md says so, in the sentence that is looked for here.
    """
    said = "a thief can send it as well, and read what the session shows"
    assert said in (Path(__file__).parents[2] / "docs" / "device-binding.md").read_text(encoding="utf-8")
    browser = site.logged_in()
    thief = browser.copy()
    thief.keep_copies()
    if alone:
        thief.cookies = {place: each for place, each in thief.cookies.items() if "-bound-" not in place[0]}
    site.clock.now += EVERY + GRACE
    skipped = [("Secure-Session-Skipped", "quota_exceeded")]

    for _ in range(2):
        assert page(thief.get("/")) == "None unproven 0"
        answer = thief.request("GET", "/", headers=skipped)

        assert page(answer) == "alice unproven 0"
        assert answer.get("Set-Cookie") is None
        assert thief.request("POST", "/count", headers=skipped).status == 503
        site.clock.now += 86400
    assert page(browser.get("/")) == "alice bound 0"

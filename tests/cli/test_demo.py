"""The demo shop: cart, login and logout, the guards of its forms, and the Anatomy page with its experiments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.cli.support import ORIGIN, another_browser, demo_behind, demo_client
from tests.servers import MemcachedServer

from hardtack import events
from hardtack.cli.demo import reports, visitors
from hardtack.cli.demo.app import create_app
from hardtack.stores.memcached import MemcachedStore
from hardtack.stores.memory import MemoryStore

FORMS = [
    "/cart/add",
    "/cart/remove",
    "/login",
    "/logout",
    "/account/end",
    "/account/end-others",
    "/account/end-everywhere",
    "/account/copy",
    "/account/confirm",
    "/account/close",
    "/account/act",
    "/account/stop",
    "/device/steal",
    "/anatomy/flip",
    "/anatomy/replay",
    "/anatomy/rotate",
    "/anatomy/stale",
]


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A browser in front of a demo whose sessions are in cookies."""
    with demo_client() as client:
        yield client


@pytest.fixture
def store_client() -> Iterator[TestClient]:
    """A browser in front of a demo whose sessions are in a store."""
    with demo_client(MemoryStore()) as client:
        yield client


def add(client: TestClient, product: str = "biscuit") -> str:
    """Put something into the cart; the page that follows."""
    return client.post("/cart/add", data={"product": product}).text


def log_in(client: TestClient, name: str = "Ada", **fields: str) -> str:
    """Log in; the page that follows."""
    return client.post("/login", data={"name": name, **fields}).text


def test_reading_creates_no_session(client: TestClient) -> None:
    """A visitor who only looks gets the demo's own cookie, and none of a session."""
    for path in ("/", "/login", "/account", "/anatomy", "/anatomy/next"):
        assert client.get(path).status_code == 200

    assert set(client.cookies) == {"demo-visitor"}


def test_a_cart_needs_no_account(client: TestClient) -> None:
    """The second of a kind counts; the price is that of both."""
    add(client)

    page = add(client)

    assert "2&thinsp;×" in page
    assert "£3.60" in page
    assert "have not logged in" in page


def test_a_quantity_has_a_limit(client: TestClient) -> None:
    """A cookie has one as well."""
    for _ in range(12):
        add(client)

    page = add(client)

    assert "12&thinsp;×" in page


def test_a_product_that_does_not_exist_changes_nothing(client: TestClient) -> None:
    """Nor does a file in the place of the text."""
    add(client, "kraken")
    client.post("/cart/add", files={"product": b"biscuit"})

    assert "session" not in client.cookies


def test_removing_the_last_thing_ends_the_session(client: TestClient) -> None:
    """An empty session without a user is not kept."""
    add(client, "lime")
    add(client, "tea")

    client.post("/cart/remove", data={"product": "lime"})
    kept = "session" in client.cookies
    client.post("/cart/remove", data={"product": "tea"})

    assert kept
    assert "session" not in client.cookies


def test_login_keeps_the_cart_and_changes_the_id(client: TestClient) -> None:
    """And says so, once."""
    add(client, "lantern")

    page = log_in(client)

    assert "Welcome aboard, Ada. Your session has a new id" in page
    assert "your cart is still here" in page
    assert "£24.00" in page
    assert "Welcome aboard" not in client.get("/").text


def test_login_without_a_session_before(client: TestClient) -> None:
    """There is no id that could have changed, and no cart."""
    page = log_in(client)

    assert "Welcome aboard, Ada.</p>" in page


def test_another_user_does_not_get_the_cart(client: TestClient) -> None:
    """The data of a session belongs to its subject."""
    add(client)
    log_in(client, "Ada")

    page = log_in(client, "Grace")

    assert "Welcome aboard, Grace." in page
    assert "Nothing in it" in page


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\x07b"])
def test_a_name_must_be_one(client: TestClient, name: str) -> None:
    """The form comes back, and says what is wrong."""
    response = client.post("/login", data={"name": name})

    assert response.status_code == 422
    assert "A name of 1 to 40 letters" in response.text
    assert "session" not in client.cookies


def test_a_name_cannot_carry_markup_into_a_page(client: TestClient) -> None:
    """Everything that a visitor says is escaped, in flash messages too."""
    page = log_in(client, "<script>alert(1)</script>")

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_remember_me_keeps_the_cookie_over_a_restart(client: TestClient) -> None:
    """Max-Age is sent only then."""
    forgotten = client.post("/login", data={"name": "Ada"}, follow_redirects=False)
    remembered = client.post("/login", data={"name": "Ada", "remember": "yes"}, follow_redirects=False)

    assert "Max-Age" not in forgotten.headers["set-cookie"]
    assert "Max-Age" in remembered.headers["set-cookie"]
    assert "You asked to be remembered" in client.get("/anatomy").text


def test_logout_ends_the_session(client: TestClient) -> None:
    """User and cart are gone."""
    add(client)
    log_in(client)

    page = client.post("/logout").text

    assert "You are logged out" in page
    assert "Nothing in it" in page
    assert "session" not in client.cookies


def test_logout_of_nobody_does_nothing(client: TestClient) -> None:
    """The cart of a visitor without an account stays."""
    add(client)

    page = client.post("/logout").text

    assert "1&thinsp;×" in page


# --- guards


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "https://testserver"},
        {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://testserver", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(path: str, headers: dict[str, str]) -> None:
    """Cross-site request forgery: nothing is done for a page that is not the demo's own."""
    with TestClient(create_app(), headers=headers) as client:
        response = client.post(path, data={"product": "biscuit", "name": "Ada"}, follow_redirects=False)

    assert response.status_code == 403
    assert "session=" not in response.headers.get("set-cookie", "")


@pytest.mark.parametrize("headers", [ORIGIN, {"Sec-Fetch-Site": "same-origin"}])
def test_a_form_of_the_demo_is_accepted(headers: dict[str, str]) -> None:
    """Browsers say so in one header or the other."""
    with TestClient(create_app(), headers=headers) as client:
        response = client.post("/cart/add", data={"product": "biscuit"})

    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/", "/anatomy", "/static/demo.css", "/favicon.ico", "/nowhere"])
def test_every_response_has_the_security_headers(client: TestClient, path: str) -> None:
    """Pages, files and errors alike; and no page needs more than its own files."""
    response = client.get(path)

    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_change_is_made_by_post_only(client: TestClient) -> None:
    """A link or a picture cannot make one."""
    refused = {client.get(path).status_code for path in FORMS if path != "/login"}

    assert refused == {405}


# --- visitors


def test_a_visitor_id_that_is_unknown_is_not_adopted(client: TestClient) -> None:
    """The log of a visitor cannot be planted on another."""
    client.cookies.set("demo-visitor", "planted")

    response = client.get("/")

    assert response.headers["set-cookie"].startswith("demo-visitor=")
    assert "planted" not in response.headers["set-cookie"]


def test_visitors_have_a_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who was away longest is forgotten."""
    monkeypatch.setattr(visitors, "MAX_VISITORS", 2)
    client.get("/")
    mine = client.cookies["demo-visitor"]

    for _ in range(2):
        another_browser(client).get("/")
    client.get("/")

    assert client.cookies["demo-visitor"] != mine


def test_each_visitor_sees_their_own_requests(client: TestClient) -> None:
    """Not those of another browser."""
    add(client)

    page = another_browser(client).get("/anatomy").text

    assert "POST /cart/add" not in page
    assert "POST /cart/add" in client.get("/anatomy").text


def test_an_event_outside_a_request_is_nobodys(client: TestClient) -> None:
    """Such as of a session that is ended from the outside."""
    add(client)

    visitors.record(events.LateWrite("id"))

    assert "LateWrite" not in client.get("/anatomy").text


# --- anatomy, in cookies


def test_the_anatomy_of_a_cookie(client: TestClient) -> None:
    """Fields, attributes, deadlines, data with types, and events."""
    add(client)
    log_in(client)

    page = client.get("/anatomy").text

    for field in ("version", "key-id", "nonce-prefix", "nonce-rest", "ciphertext", "tag"):
        assert f'class="f-{field}' in page
    for text in ("HttpOnly", "SameSite=Lax", "no <code>Secure</code>", "idle deadline", "absolute deadline"):
        assert text in page
    assert '<span class="leaf">1.80</span> <span class="type">Decimal</span>' in page
    assert "IdChanged" in page
    assert "of 3600 bytes" in page


@pytest.mark.parametrize("button", ["flip", "replay", "rotate", "stale"])
@pytest.mark.parametrize("kind", ["client", "store_client"])
def test_an_experiment_needs_a_session(button: str, kind: str, request: pytest.FixtureRequest) -> None:
    """Without one the buttons are disabled, and a press does nothing."""
    client = request.getfixturevalue(kind)

    page = client.post(f"/anatomy/{button}").text

    assert 'id="happened"' not in page
    assert page.count("disabled>") == 4
    assert demo_behind(client).clock.ahead == 0


def test_a_flipped_bit_loses_the_session(client: TestClient) -> None:
    """The event is `tampered`, and the changed character is marked."""
    add(client)

    page = client.post("/anatomy/flip").text

    assert "You flipped one bit of the cookie" in page
    assert "The tag no longer matches" in page
    assert "not used: tampered" in page
    assert '<mark class="f-ciphertext"' in page
    assert "Nothing in it" in client.get("/").text
    assert "could not be used (tampered)" in client.get("/").text


def test_a_flipped_bit_wins_over_a_renewal(client: TestClient) -> None:
    """A session that is renewed in the very response of the button is lost all the same."""
    add(client)
    demo_behind(client).clock.advance(3 * 3600)

    page = client.post("/anatomy/flip").text

    assert "not used: tampered" in page


def test_the_old_cookie_of_a_cookie_session_still_opens(client: TestClient) -> None:
    """Which is what a session in a cookie means; the page says so."""
    add(client)
    log_in(client)
    client.post("/logout")

    page = client.post("/anatomy/replay").text

    assert "The old cookie still opens" in page
    assert '<span class="user" title="logged in">Ada</span>' in page
    assert "1&thinsp;×" in client.get("/").text


def test_a_replayed_cookie_of_a_dropped_key_does_not_open(client: TestClient) -> None:
    """Dropping the key ends what was sealed under it."""
    add(client)
    log_in(client)
    client.post("/logout")
    for _ in range(8):
        demo_behind(client).token.rotate()

    page = client.post("/anatomy/replay").text

    assert "made under a key that is no longer accepted" in page
    assert "not used: unknown_key" in page


def test_rotating_the_key_seals_the_session_anew(client: TestClient) -> None:
    """Same session, other key id, and the event says why."""
    add(client)
    before = client.cookies["session"]

    page = client.post("/anatomy/rotate").text

    assert "sealed under the new one" in page
    assert "Renewed" in page
    assert "<span>cause</span> key" in page
    assert client.cookies["session"][:8] != before[:8]
    assert "1&thinsp;×" in client.get("/").text


def test_a_stale_session_expires(client: TestClient) -> None:
    """By the demo's clock, which was put forward after the press of the button had been answered."""
    add(client)

    page = client.post("/anatomy/stale").text

    assert "A day and a minute went by" in page
    assert "<span>deadline</span> idle" in page
    assert re.search(r"passed 1 min( \d+ s)? ago", page)  # on a busy machine seconds go by
    assert "put forward by 1 d" in page
    assert "You were away for too long" in client.get("/").text


def test_an_experiment_that_something_else_disturbed_is_not_explained(client: TestClient) -> None:
    """The page says nothing that the requests did not show."""
    add(client)
    client.post("/anatomy/rotate", follow_redirects=False)
    client.cookies.delete("session")

    page = client.get("/anatomy/next").text

    assert "Something else changed the session meanwhile" in page


def test_a_cookie_of_nobody_is_shown_as_it_is(client: TestClient) -> None:
    """Junk is neither decoded nor trusted, and cannot be flipped."""
    client.cookies.set("session", "no~session<b>")

    page = client.post("/anatomy/flip").text

    assert "no~session&lt;b&gt;" in page
    assert "not base64url" in page
    assert "not used: malformed" in page
    client.post("/anatomy/stale")


def test_the_line_of_a_cookie_that_another_server_set(client: TestClient) -> None:
    """The demo that was restarted knows no Set-Cookie line; it shows what it would have sent."""
    add(client)
    value = client.cookies["session"]
    other = another_browser(client)
    other.cookies.set("session", value)

    page = other.get("/anatomy").text

    assert f"Size: {len(f'session={value}; Path=/; HttpOnly; SameSite=Lax')} of 3600 bytes" in page


# --- anatomy and account, in a store


def test_the_anatomy_of_a_store_session(store_client: TestClient) -> None:
    """The cookie is a random number; the record stands beside it."""
    add(store_client)
    log_in(store_client)

    page = store_client.get("/anatomy").text

    assert 'class="f-secret' in page
    assert "The record in the store" in page
    assert "<dt>version</dt>" in page
    assert '<span class="type">Decimal</span>' in page
    assert "MemoryStore" in page


def test_a_flipped_store_cookie_is_an_unknown_id(store_client: TestClient) -> None:
    """It is not adopted."""
    add(store_client)

    page = store_client.post("/anatomy/flip").text

    assert "such an id is never" in page
    assert "unknown_id" in page


def test_the_old_cookie_of_a_store_session_is_dead(store_client: TestClient) -> None:
    """The logout reached every copy; and the visitor can go on at once."""
    add(store_client)
    log_in(store_client)
    store_client.post("/logout")

    page = store_client.post("/anatomy/replay").text

    assert "every copy of its cookie is worth nothing" in page
    assert "<span>reason</span> ended" in page
    assert "1&thinsp;×" in add(store_client)


def test_a_stale_store_session_expires(store_client: TestClient) -> None:
    """By the deadline in the record, while the store still has it."""
    add(store_client)

    page = store_client.post("/anatomy/stale").text

    assert "idle deadline has passed" in page


def test_a_store_session_has_no_key_to_rotate(store_client: TestClient) -> None:
    """The button is disabled, and a press does nothing."""
    add(store_client)

    page = store_client.post("/anatomy/rotate").text

    assert 'id="happened"' not in page
    assert "A cookie that is a random number is not made with a key." in page


def test_the_account_lists_sessions_and_ends_the_others(store_client: TestClient) -> None:
    """In the other browser the user is logged out; here not."""
    log_in(store_client)
    other = another_browser(store_client)
    log_in(other)

    before = store_client.get("/account").text
    after = store_client.post("/account/end-others").text
    there = other.get("/").text

    assert before.count('data-label="Session"') == 2
    assert before.count("this browser</span>") == 1
    assert "Ended elsewhere: 1." in after
    assert after.count('data-label="Session"') == 1
    assert "This session was ended" in there
    assert "Log out" not in there


def test_ending_others_where_there_are_none(store_client: TestClient) -> None:
    """It says so."""
    log_in(store_client)

    page = store_client.post("/account/end-others").text

    assert "No other session was there." in page


def test_a_store_that_cannot_find_says_so(memcached_server: MemcachedServer) -> None:
    """The account page says why there is no list, and ending others does nothing."""
    with demo_client(MemcachedStore.from_url(memcached_server.url)) as client:
        log_in(client)

        page = client.post("/account/end-others").text

        assert "This store, a MemcachedStore, has no" in page
        assert "<table" not in page
        assert "Log out" in page


def test_a_cookie_session_cannot_list_others(client: TestClient) -> None:
    """The account page says what would, and ending others does nothing."""
    log_in(client)

    page = client.post("/account/end-others").text

    assert "--store memory://" in page
    assert "Ended" not in page


# --- words for events


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (events.Rejected("tampered", "session"), [("reason", "tampered")]),
        (
            events.IdChanged("a" * 22, "b" * 22, True),
            [("old id", "aaaaaaaa…"), ("new id", "bbbbbbbb…"), ("old still valid", "yes")],
        ),
        (events.Opened("a" * 22), [("id", "aaaaaaaa…")]),
        (events.StoreFailed("load", "Timeout"), [("operation", "load"), ("error", "Timeout")]),
    ],
)
def test_an_event_is_shown_by_its_fields(event: events.Event, shown: list[Any]) -> None:
    """Reasons and names in full, ids by their beginning."""
    assert list(reports.details(event)) == shown


def test_every_event_that_a_shop_can_meet_has_a_meaning() -> None:
    """All but the takeover of another system's cookie, which the demo does not do."""
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)}

    unexplained = {kind.__name__ for kind in kinds if kind not in reports._MEANINGS}

    assert unexplained == {"Event", "TakenOver"}
    assert reports.meaning(events.TakenOver("id", "flask")) == ""

"""The demo's account: devices, a copied cookie, closing the account, and "log in as"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.cli.support import another_browser, demo_behind, demo_client
from tests.servers import MemcachedServer

from hardtack import EndedSessions, Key
from hardtack.stores.memcached import MemcachedStore
from hardtack.stores.memory import MemoryStore

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A browser in front of a demo whose sessions are in cookies, and in nothing else."""
    with demo_client() as client:
        yield client


@pytest.fixture(params=["store", "list"])
def reached(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """A browser in front of a demo that can end sessions: in a store, or in cookies with a list of ended sessions."""
    store = MemoryStore() if request.param == "store" else None
    with demo_client(store, None if store is not None else EndedSessions.from_url("memory://")) as client:
        yield client


@pytest.fixture(params=["cookie", "store", "list"])
def any_client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """A browser in front of each of the three."""
    with demo_client(
        MemoryStore() if request.param == "store" else None,
        EndedSessions.from_url("memory://") if request.param == "list" else None,
    ) as client:
        yield client


def log_in(client: TestClient, name: str = "Ada", agent: str = FIREFOX) -> None:
    client.post("/login", data={"name": name}, headers={"User-Agent": agent})


def is_logged_in(client: TestClient) -> bool:
    return 'action="/logout"' in client.get("/").text


def confirm(client: TestClient, name: str = "Ada") -> str:
    return client.post("/account/confirm", data={"again": name}).text


# --- devices


def test_the_devices_have_names(reached: TestClient) -> None:
    """By what the browser said of itself at the login; which one is this is marked."""
    log_in(reached)
    log_in(another_browser(reached), agent="curl/8.5.0")

    page = reached.get("/account").text

    assert sorted(re.findall(r'<th scope="row">([^<]+)', page)) == ["Firefox on Linux ", "curl"]
    assert page.count('<span class="badge good">this browser</span>') == 1


def test_one_device_can_be_logged_out(reached: TestClient) -> None:
    """The button stands beside the others only; pressed twice, it says that there is nothing left to end."""
    log_in(reached)
    other = another_browser(reached)
    log_in(other)
    ids = re.findall(r'name="id" value="([^"]+)"', reached.get("/account").text)

    page = reached.post("/account/end", data={"id": ids[0]}).text

    assert len(ids) == 1
    assert "That device is logged out." in page
    assert (is_logged_in(reached), is_logged_in(other)) == (True, False)


def test_nobody_ends_a_session_of_somebody_else() -> None:
    """An id is public; in a store it is found, and is not the user's."""
    with demo_client(MemoryStore()) as client:
        other = another_browser(client)
        log_in(other, "Grace")
        (info,) = demo_behind(client).sessions.list("Grace")
        log_in(client)

        page = client.post("/account/end", data={"id": info.id}).text

        assert "That session had ended already." in page
        assert is_logged_in(other)


def test_the_others_can_be_logged_out(reached: TestClient) -> None:
    """All of them at once, and this browser stays."""
    log_in(reached)
    others = [another_browser(reached) for _ in range(2)]
    for other in others:
        log_in(other)

    page = reached.post("/account/end-others").text
    again = reached.post("/account/end-others").text

    assert "Ended elsewhere: 2." in page
    assert "No other session was there." in again
    assert [is_logged_in(each) for each in (reached, *others)] == [True, False, False]


def test_a_user_can_log_out_everywhere(reached: TestClient) -> None:
    """Here as well; other users stay."""
    log_in(reached)
    others = [another_browser(reached) for _ in range(2)]
    log_in(others[0])
    log_in(others[1], "Grace")

    page = reached.post("/account/end-everywhere").text

    assert "You are logged out, here and everywhere else." in page
    assert [is_logged_in(each) for each in (reached, *others)] == [False, False, True]


def test_a_list_ends_what_nobody_can_list(memcached_server: MemcachedServer) -> None:
    """A store that finds nothing, and a list of ended sessions beside it."""
    ended = EndedSessions.from_url("memory://", Key.generate())
    with demo_client(MemcachedStore.from_url(memcached_server.url), ended) as client:
        other = another_browser(client)
        for each in (client, other):
            log_in(each)
        page = client.get("/account").text
        client.post("/account/end-everywhere")

        assert "Nobody can list that here" in page
        assert (is_logged_in(client), is_logged_in(other)) == (False, False)


@pytest.mark.parametrize("path", ["end", "end-others", "end-everywhere"])
def test_where_nothing_can_be_ended_nothing_is(client: TestClient, path: str) -> None:
    """Sessions in cookies without a list: there is no button, and a press does nothing."""
    log_in(client)

    page = client.post(f"/account/{path}", data={"id": "x"}).text

    assert f'action="/account/{path}"' not in page
    assert is_logged_in(client)


@pytest.mark.parametrize("path", ["end", "end-others", "end-everywhere", "copy", "confirm", "close", "act", "stop"])
def test_nobody_can_press_nothing(any_client: TestClient, path: str) -> None:
    """A form that is sent after the session has ended, such as from another tab."""
    answer = any_client.post(f"/account/{path}", data={"id": "x", "again": "Ada", "name": "Ada"})

    assert answer.status_code == 200
    assert "Nobody is logged in." in answer.text
    assert "session" not in any_client.cookies


# --- a copied cookie


def copied(page: str) -> str:
    """What the page says of the copy."""
    found = re.search(r'id="copy".*?</section>', page, re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split())


def test_a_copy_dies_with_the_logout(reached: TestClient) -> None:
    """And the page says how soon; before that it is as good as the browser's own.

    Of further logouts nothing is said: what was copied had ended before.
    """
    log_in(reached)
    before = copied(reached.post("/account/copy").text)
    after = copied(reached.post("/logout").text)
    log_in(reached)
    later = copied(reached.post("/account/end-everywhere").text)

    assert "opens as Ada" in before
    assert re.search(r"was refused \d+ ms after the logout", after)
    assert later == after


@pytest.mark.slow
def test_a_copy_of_a_cookie_alone_outlives_the_logout(client: TestClient) -> None:
    """That is what a session in a cookie is; the page says what helps."""
    log_in(client)
    client.post("/account/copy")

    after = copied(client.post("/logout").text)

    assert "A second after the logout the second client is still Ada" in after
    assert "--ended memory://" in after
    log_in(client)
    assert "Copy this one" in client.get("/account").text
    assert client.post("/logout").url.path == "/"


@pytest.mark.parametrize("press", ["end-everywhere", "close"])
def test_a_copy_dies_with_every_other_end(reached: TestClient, press: str) -> None:
    """Logged out everywhere, or the account closed."""
    log_in(reached)
    confirm(reached)
    reached.post("/account/copy")

    assert re.search(r"was refused \d+ ms after the logout", copied(reached.post(f"/account/{press}").text))


def test_a_copy_dies_with_an_end_from_another_browser(reached: TestClient) -> None:
    """The browser that was copied is told at its next request."""
    log_in(reached)
    reached.post("/account/copy")
    other = another_browser(reached)
    log_in(other)
    other.post("/account/end-others")

    assert "has ended, or has another id by now" in copied(reached.get("/account").text)


# --- closing the account


def test_closing_the_account_needs_more_than_a_session(any_client: TestClient) -> None:
    """Whatever the page has shown: the handler asks."""
    log_in(any_client)

    page = any_client.post("/account/close").text

    assert "First show once more that it is you." in page
    assert 'action="/account/close"' not in page
    assert is_logged_in(any_client)


def test_a_wrong_answer_confirms_nothing(any_client: TestClient) -> None:
    """And may be tried again."""
    log_in(any_client)

    page = confirm(any_client, "Grace")

    assert "That is not the name that you have logged in with." in page
    assert 'action="/account/confirm"' in page


def test_who_has_confirmed_may_close_the_account(any_client: TestClient) -> None:
    """Where they can be reached, the user's other sessions end as well."""
    log_in(any_client)
    other = another_browser(any_client)
    log_in(other)
    shown = confirm(any_client)

    page = any_client.post("/account/close").text

    assert 'action="/account/close"' in shown
    assert "The account of Ada is closed" in page
    assert "Nobody is logged in." in page
    assert is_logged_in(other) is not demo_behind(any_client).ends


def test_a_confirmation_is_old_after_two_minutes(any_client: TestClient) -> None:
    """By the server's clock."""
    log_in(any_client)
    confirm(any_client)
    demo_behind(any_client).clock.advance(121)

    assert "First show once more that it is you." in any_client.post("/account/close").text
    assert is_logged_in(any_client)


# --- log in as


def test_the_administrator_acts_as_a_user(any_client: TestClient) -> None:
    """Each page says so; the way back leads to a session that has lost nothing."""
    log_in(any_client, "Captain")
    any_client.post("/cart/add", data={"product": "rope"})

    page = any_client.post("/account/act", data={"name": "Ada"}).text
    shop = any_client.get("/").text
    log = any_client.get("/anatomy").text
    back = any_client.post("/account/stop").text

    for each in (page, shop):
        assert "<strong>Captain</strong> acts as <strong>Ada</strong>" in each
    assert "Coil of rope</td>" not in shop
    assert "<span>actor</span> Captain" in log
    assert "You are Captain again." in back
    assert "acts as" not in back
    assert "Coil of rope</td>" in any_client.get("/").text


def test_who_acts_closes_no_account(any_client: TestClient) -> None:
    """Nor confirms in the user's place, nor acts as a third; a logout ends both."""
    log_in(any_client, "Captain")
    any_client.post("/account/act", data={"name": "Ada"})

    confirm(any_client)
    for path in ("close", "act"):
        page = any_client.post(f"/account/{path}", data={"name": "Grace"}).text
        assert "<strong>Captain</strong> acts as <strong>Ada</strong>" in page
    assert "Captain acts here, and closes nobody else" in page
    any_client.post("/logout")

    assert not is_logged_in(any_client)
    assert "session-actor" not in any_client.cookies


@pytest.mark.parametrize("name", ["", "Captain", "x" * 41, "a\x07b"])
def test_the_administrator_acts_as_nobody_in_particular(client: TestClient, name: str) -> None:
    """A name must be one, and another's."""
    log_in(client, "Captain")

    page = client.post("/account/act", data={"name": name}).text

    assert "A name of 1 to 40 letters, and not your own." in page
    assert "acts as" not in page


def test_nobody_else_acts_as_others(any_client: TestClient) -> None:
    """There is no form, and sending it does nothing."""
    log_in(any_client)

    page = any_client.post("/account/act", data={"name": "Captain"}).text

    assert 'action="/account/act"' not in page
    assert "acts as" not in page


def test_a_session_in_which_somebody_acts_is_marked_in_a_store() -> None:
    """The user sees it among the devices."""
    with demo_client(MemoryStore()) as client:
        log_in(client, "Captain")
        client.post("/account/act", data={"name": "Ada"})
        other = another_browser(client)
        log_in(other)

        page = other.get("/account").text

        assert '<span class="badge">Captain acts</span>' in page


def test_names_are_escaped(any_client: TestClient) -> None:
    """In the banner, in the messages and beside the copy."""
    name: Any = "<b>Ada</b>"
    log_in(any_client, "Captain")
    pages = any_client.post("/account/act", data={"name": name}).text + any_client.post("/account/copy").text

    assert "&lt;b&gt;Ada" in pages
    assert name not in pages

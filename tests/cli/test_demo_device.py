"""The demo's page about the device: the key, its proofs, and how a stolen cookie dies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.cli.support import demo_behind, demo_client

from hardtack import EndedSessions, Key
from hardtack.stores.memory import MemoryStore
from hardtack.testing import DbscClient
from hardtack.testing.dbsc import HeaderPairs

FORM = [("Content-Type", "application/x-www-form-urlencoded")]


@pytest.fixture(params=["store", "cookie"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """A browser in front of a demo whose sessions are in a store, or in cookies beside a list of ended sessions."""
    given: Any = (
        (MemoryStore(), None)
        if request.param == "store"
        else (None, EndedSessions.from_url("memory://", Key.generate()))
    )
    with demo_client(*given) as client:
        yield client


def bound(client: TestClient, **options: Any) -> DbscClient:
    """A browser that binds, in front of the same demo."""

    def send(method: str, url: str, headers: HeaderPairs, body: bytes) -> tuple[int, HeaderPairs, bytes]:
        client.cookies.clear()
        del client.headers["origin"]  # as a browser's own request has none
        try:
            answer = client.request(method, url, headers=headers, content=body, follow_redirects=False)
        finally:
            client.headers["origin"] = "http://testserver"
        return answer.status_code, answer.headers.multi_items(), answer.content

    browser = DbscClient(send, "http://testserver", clock=demo_behind(client).clock, **options)
    browser.request("POST", "/login", headers=FORM, body=b"name=Ada")
    return browser


def test_the_page_shows_the_key(client: TestClient) -> None:
    """Its thumbprint, and when it has to be proved again."""
    browser = bound(client)

    page = browser.get("/device").body.decode()

    assert "<strong>bound</strong>" in page
    assert "Thumbprint" in page
    assert "To be proved again in" in page


def test_a_stolen_cookie_dies(client: TestClient) -> None:
    """At once it is somebody's; without the bound cookie, and six minutes later, it is nobody's."""
    browser = bound(client)
    browser.get("/device")

    page = browser.post("/device/steal").body.decode()

    assert "<td>all cookies, at once</td><td>Ada</td><td>bound</td>" in page
    assert "<td>the session cookie alone</td><td>nobody</td><td>unproven</td>" in page
    assert "<td>all cookies, six minutes later</td><td>nobody</td><td>unproven</td>" in page


def test_a_browser_that_does_not_bind_is_told(client: TestClient) -> None:
    """And what is stolen from it works on."""
    browser = bound(client, registers=False)

    assert "this browser has not" in browser.get("/device").body.decode()
    assert "<td>Ada</td><td>unbound</td>" in browser.post("/device/steal").body.decode()


def test_nobody_has_nothing_to_steal(client: TestClient) -> None:
    """The page says what to do first."""
    assert "Log in</a> first" in client.get("/device").text
    assert "<td>" not in client.post("/device/steal").text


def test_a_cookie_from_before_the_logout_is_dead(client: TestClient) -> None:
    """Also where the sessions are in cookies: the list knows what has ended."""
    client.post("/login", data={"name": "Ada"})
    client.post("/logout")
    assert "You replayed" in client.post("/anatomy/replay").text

    page = client.get("/anatomy").text
    assert "every copy of its cookie is worth nothing" in page
    assert "worth nothing. (The demo has cleared the dead cookie again.)" in page


def test_sessions_in_cookies_without_a_list_are_not_bound() -> None:
    """The page says how the demo is to be started."""
    with demo_client() as client:
        assert "--ended memory://" in client.get("/device").text
        assert "<td>" not in client.post("/device/steal").text

"""Every framework answers the endpoints before the application, carries the offer, and answers what the session raises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import flask
import pytest
from tests.frameworks.harness import ASGISite, HTTPSite, Loop, Reply, Script, Site, WSGISite
from tests.frameworks.sites import SITES
from tests.kit import KEY, Clock

from hardtack import SessionManager, StoreEngine
from hardtack.adapters import asgi_device_answer
from hardtack.binding import DeviceBinding
from hardtack.frameworks.flask import SessionInterface
from hardtack.stores.memory import MemoryStore
from hardtack.testing import DbscClient
from hardtack.testing.dbsc import HeaderPairs, Send, http, wsgi

pytestmark = pytest.mark.filterwarnings("ignore:websockets.*is deprecated:DeprecationWarning")


class BoundScript(Script):
    """What the handlers of bound sessions do beside."""

    @staticmethod
    def bound(session: Any, key: str) -> Reply:
        inner = session if hasattr(session, "binding") else session.session.inner
        return Reply(f"{session.subject} {inner.binding}")

    @staticmethod
    def prove(session: Any, key: str) -> Reply:
        inner = session if hasattr(session, "binding") else session.session.inner
        return Reply(str(inner.prove()))


ELSEWHERE = "hardtack/elsewhere/start"
setattr(BoundScript, ELSEWHERE, staticmethod(lambda session, key: Reply("a page")))  # where one function is all pages


def asgi(site: ASGISite) -> Send:
    """Sends to an ASGI application."""

    async def call(method: str, url: str, headers: HeaderPairs, body: bytes) -> tuple[int, HeaderPairs, bytes]:
        parts = urlsplit(url)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [
                (b"host", b"example.org"),
                *((name.lower().encode(), value.encode()) for name, value in headers),
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("example.org", 443),
        }
        sent: list[Any] = []
        asked: list[int] = []
        finished = asyncio.Event()

        async def receive() -> dict[str, Any]:
            asked.append(1)
            if len(asked) > 1:
                await finished.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                finished.set()

        await site.app(scope, receive, send)
        lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return sent[0]["status"], lines, b"".join(message.get("body", b"") for message in sent[1:])

    return lambda *asked: site.loop.run(call(*asked))


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def sender(site: Any) -> tuple[Send, str]:
    """What sends to a site, and its address."""
    inner: Site = getattr(site, "site", site)
    if isinstance(inner, WSGISite):
        return wsgi(inner.app), "https://example.org"
    if isinstance(inner, ASGISite):
        return asgi(inner), "https://example.org"
    assert isinstance(inner, HTTPSite)
    return http(), f"http://127.0.0.1:{inner.port}"


class Visited:
    """A site of one framework, and a browser that binds."""

    def __init__(self, name: str, loop: Loop) -> None:
        self.clock = Clock()
        self.sessions = SessionManager(StoreEngine(MemoryStore(), seal=KEY), binding=DeviceBinding(), clock=self.clock)
        self.site: Any = SITES[name](self.sessions, BoundScript(), loop)
        send, base = sender(self.site)
        self.failing = False
        self.browser = DbscClient(self.guarded(send), base, clock=self.clock)

    def guarded(self, send: Send) -> Send:
        def guard(method: str, url: str, headers: HeaderPairs, body: bytes) -> Any:
            return (502, [], b"") if self.failing and "refresh" in url else send(method, url, headers, body)

        return guard

    def get(self, path: str) -> str:
        answer = self.browser.get(path)
        return f"{answer.status} {answer.body.decode()}"


@pytest.fixture(params=SITES)
def visited(request: pytest.FixtureRequest, loop: Loop) -> Iterator[Visited]:
    visited = Visited(request.param, loop)
    yield visited
    visited.site.close()


def test_a_login_binds(visited: Visited) -> None:
    """The offer goes out with the login, the endpoint answers, and the next page is bound, and bound again later."""
    assert visited.get("/login").startswith("200")
    assert visited.get("/bound") == "200 ann bound"

    visited.clock.now += 400

    thief = visited.browser.copy()
    assert visited.get("/bound") == "200 ann bound"
    assert thief.get("/bound").body == b"None unproven"


@pytest.mark.parametrize("name", SITES)
def test_a_rolled_back_deploy_keeps_the_keys(name: str, loop: Loop) -> None:
    """Without binding a proof is answered 503, which ends no binding, and any other page as it was."""
    visited = Visited(name, loop)
    visited.get("/login")
    assert visited.get("/bound") == "200 ann bound"
    visited.site.close()
    visited.clock.now += 400

    before = SessionManager(visited.sessions.engine, clock=visited.clock)
    site = SITES[name](before, BoundScript(), loop)
    send, base = sender(site)
    address, visited.browser.base = visited.browser.base, base
    visited.browser.send = lambda method, url, *rest: send(method, url.replace(address, base), *rest)

    assert visited.get("/bound") == "200 ann unbound"
    assert visited.browser.skipped == "server_error"
    assert len(visited.browser.bindings) == 1
    if name in ("litestar", "tornado"):  # whose endpoints are routes of their own
        assert visited.browser.post("/hardtack/session/start").status == 404
    site.close()


def test_the_endpoints_of_another_purpose_are_the_applications_own(visited: Visited) -> None:
    """Two applications on one host do not answer for one another: such a path is a page like any other."""
    answer = visited.browser.post(f"/{ELSEWHERE}")
    assert (answer.status, answer.body) == (200, b"a page") or answer.status == 404 or answer.status == 405
    assert answer.get("Cache-Control") is None, "the endpoint answered"
    assert visited.get("/login").startswith("200")
    assert visited.get("/bound") == "200 ann bound"


@pytest.mark.parametrize("left_in_the_path", [True, False])
def test_an_endpoint_below_a_mount(loop: Loop, left_in_the_path: bool) -> None:
    """Some ASGI servers leave the mount in the path, as the standard has it, and older ones take it away."""
    sessions = SessionManager(StoreEngine(MemoryStore(), seal=KEY), binding=DeviceBinding())
    path = "/hardtack/session/start"
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "root_path": "/shop",
        "path": f"/shop{path}" if left_in_the_path else path,
        "headers": [],
    }
    answer = loop.run(asgi_device_answer(sessions, scope))
    assert answer is not None
    assert (answer.status, ("Allow", "POST") in answer.headers) == (405, True)

    scope["path"] = f"/shop/cart{path}"
    assert loop.run(asgi_device_answer(sessions, scope)) is None, "a page of the application"


def test_a_proof_is_a_redirect(visited: Visited) -> None:
    """To the same URL, with its query."""
    visited.get("/login")
    visited.get("/bound")

    assert visited.get("/prove?a=1") == "200 True"


def test_a_write_that_is_to_come_again_is_503(visited: Visited) -> None:
    """Where the browser could not prove its key, as it says."""
    visited.get("/login")
    visited.get("/bound")
    visited.clock.now += 400
    visited.failing = True

    assert visited.get("/bound") == "200 ann unproven"
    answer = visited.browser.get("/write-x")
    assert answer.status == 503
    assert answer.get("Retry-After") == "5" or answer.get("retry-after") == "5"


def test_an_application_that_redirects_everything_does_no_harm() -> None:
    """The endpoints are answered before its own functions."""
    clock = Clock()
    sessions = SessionManager(StoreEngine(MemoryStore(), seal=KEY), binding=DeviceBinding(), clock=clock)
    app = flask.Flask("redirects")
    app.session_interface = SessionInterface(sessions)

    @app.before_request
    def ask() -> Any:
        if flask.request.path != "/login" and flask.session.subject is None:  # type: ignore[attr-defined]
            return flask.redirect("/login")
        return None

    @app.route("/login")
    def login() -> str:
        flask.session.login("alice")  # type: ignore[attr-defined]
        return "in"

    @app.route("/")
    def index() -> str:
        return str(flask.session.binding)  # type: ignore[attr-defined]

    browser = DbscClient(wsgi(app), clock=clock)
    browser.get("/login")
    assert browser.get("/").body == b"bound"
    clock.now += 400
    assert browser.get("/").body == b"bound"

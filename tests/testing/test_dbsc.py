"""The browser of the tests: what a real one does not take fails loudly, and it follows the rules for failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from hardtack.testing import DbscClient
from hardtack.testing.dbsc import DbscError, HeaderPairs, http, wsgi

OFFER = '(ES256 RS256);path="/start";challenge="c";authorization="a"'
ATTRIBUTES = "Path=/; Secure"


class Server:
    """Answers what a test says, and notes what it was asked."""

    def __init__(self, **said: Any) -> None:
        self.said = {
            "session_identifier": "s",
            "refresh_url": "/refresh",
            "credentials": [{"type": "cookie", "name": "bound", "attributes": ATTRIBUTES}],
            **said,
        }
        self.offer = OFFER
        self.line = f"bound=x; Max-Age=100; {ATTRIBUTES}"
        self.answers: list[tuple[int, HeaderPairs, bytes]] = []
        self.asked: list[tuple[str, HeaderPairs]] = []

    def good(self) -> tuple[int, HeaderPairs, bytes]:
        headers = [("Set-Cookie", self.line), ("Secure-Session-Challenge", '"next";id="s"')]
        return 200, headers, json.dumps(self.said).encode()

    def __call__(self, method: str, url: str, headers: HeaderPairs, body: bytes) -> Any:
        path = url.removeprefix("https://example.org")
        self.asked.append((path, headers))
        if path == "/start":
            return self.good()
        if path == "/refresh":
            answer = self.answers.pop(0) if self.answers else self.good()
            if answer[0] == 0:
                raise ConnectionResetError
            return answer
        return 200, [("Secure-Session-Registration", self.offer)] if path == "/login" else [], b""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bound(server: Server, clock: Clock, **options: Any) -> DbscClient:
    """A browser that has registered."""
    client = DbscClient(server, clock=clock, **options)
    client.get("/login")
    return client


@pytest.mark.parametrize(
    ("name", "attributes", "line"),
    [
        ("bound", ATTRIBUTES, "bound=x; Max-Age=100; Path=/; Secure; SameSite=Lax"),
        ("bound", ATTRIBUTES, "other=x"),
        ("bound", f"{ATTRIBUTES}; Partitioned", f"bound=x; {ATTRIBUTES}; Partitioned"),
        ("bound", f"{ATTRIBUTES}; Max-Age=3", f"bound=x; {ATTRIBUTES}; Max-Age=3"),
        ("__Host-Http-bound", ATTRIBUTES, f"__Host-Http-bound=x; {ATTRIBUTES}"),
    ],
)
def test_what_costs_a_proof_before_each_request_fails(clock: Clock, name: str, attributes: str, line: str) -> None:
    """Attributes that differ, a cookie that is missing, and those that browsers do not bind."""
    server = Server(credentials=[{"type": "cookie", "name": name, "attributes": attributes}])
    server.line = line

    with pytest.raises(DbscError):
        bound(server, clock)


@pytest.mark.parametrize("offer", ["(RS256);path=x", '(ES256);path="/start"', '(HS256);path="/start";challenge="c"'])
def test_an_offer_that_no_browser_understands_fails(clock: Clock, offer: str) -> None:
    """In silence it would bind nothing."""
    server = Server()
    server.offer = offer

    with pytest.raises(DbscError, match="Registration"):
        bound(server, clock)


def test_a_challenge_that_no_browser_understands_fails(clock: Clock) -> None:
    """The next proof would answer nothing."""
    client = bound(server := Server(), clock)
    server.answers = [(403, [("Secure-Session-Challenge", "bare")], b"")]

    with pytest.raises(DbscError, match="Challenge"):
        client.refresh(now=True)


def test_a_registration_may_be_declined(clock: Clock) -> None:
    """`"continue": false` binds nothing; so do any other status and a lost answer."""
    assert not bound(Server(**{"continue": False}), clock).bindings
    server, failures = Server(), [400, 0]

    def fail(method: str, url: str, headers: HeaderPairs, body: bytes) -> Any:
        if url.endswith("/start"):
            status = failures.pop()
            if not status:
                raise ConnectionResetError
            return status, [], b""
        return server(method, url, headers, body)

    client = DbscClient(fail, clock=clock)
    client.get("/login")
    client.get("/login")
    assert not failures
    assert not client.bindings


def test_a_proof_that_is_refused_is_made_again(clock: Clock) -> None:
    """With the new challenge, and not for ever."""
    client = bound(server := Server(), clock)
    again: tuple[int, HeaderPairs, bytes] = (403, [("Secure-Session-Challenge", '"other";id="s"')], b"")
    server.answers = [again]
    assert client.refresh(now=True) == ""
    assert len(client.signed) == 3

    foreign: tuple[int, HeaderPairs, bytes] = (403, [("Secure-Session-Challenge", '"other";id="t"')], b"")
    server.answers = [foreign, again, again]
    client.quota = False
    clock.now += 200
    assert client.refresh() == "server_error"
    server.answers = [again] * 9
    assert client.refresh() == "server_error"
    assert client.bindings


@pytest.mark.parametrize(("status", "skipped"), [(0, "unreachable"), (500, "server_error"), (429, "server_error")])
def test_a_failure_is_no_end(clock: Clock, status: int, skipped: str) -> None:
    """The request goes out without a proof, and says so."""
    client = bound(server := Server(), clock)
    clock.now += 200
    server.answers = [(status, [], b"")]

    client.get("/")

    assert client.bindings
    assert ("Secure-Session-Skipped", skipped) in server.asked[-1][1]


@pytest.mark.parametrize("status", [400, 404])
def test_a_refusal_is_an_end(clock: Clock, status: int) -> None:
    """So is `"continue": false`."""
    client = bound(server := Server(), clock)
    clock.now += 200
    server.answers = [(status, [], b"")]
    client.get("/")
    assert not client.bindings

    client = bound(server, clock)
    clock.now += 200
    server.answers = [(200, [], b'{"continue": false}')]
    client.get("/")
    assert not client.bindings


def test_an_empty_answer_keeps_the_binding(clock: Clock) -> None:
    """With the cookie it is enough."""
    client = bound(server := Server(), clock)
    clock.now += 200
    server.answers = [(200, [("Set-Cookie", server.line)], b"")]

    assert client.refresh() == ""
    assert client.bindings


def test_a_cookie_of_another_path_is_not_renewed_along(clock: Clock) -> None:
    """Two applications on one host: a request to one asks for no proof of the other's key."""
    attributes = "Secure; Path=/app"
    server = Server(credentials=[{"type": "cookie", "name": "bound", "attributes": attributes}])
    server.line = f"bound=x; Max-Age=100; {attributes}"
    client = bound(server, clock)
    client.get("/app/page")
    clock.now += 200
    server.asked.clear()

    for path in ("/other", "/apple"):
        client.get(path)
    assert [path for path, _ in server.asked if path == "/refresh"] == []
    client.get("/app/page")
    assert [path for path, _ in server.asked if path == "/refresh"] == ["/refresh"]
    client.get("/app")
    assert [path for path, _ in server.asked if path == "/refresh"] == ["/refresh"]


def test_the_quota_is_six_in_nine_minutes(clock: Clock) -> None:
    """The registration counts; and where there is none, anything goes."""
    client = bound(Server(), clock)
    for _ in range(5):
        client.refresh(now=True)
    clock.now += 200
    assert client.refresh() == "quota_exceeded"
    client.offers.append(("https://example.org/start", "c", None))
    client.register()
    assert len(client.bindings) == 1
    clock.now += 400
    assert client.refresh() == ""

    client = bound(Server(), clock, quota=False)
    for _ in range(20):
        client.refresh(now=True)
    assert len(client.signed) == 21


def test_a_cookie_that_is_about_to_end_is_renewed(clock: Clock) -> None:
    """As browsers do two minutes before."""
    client = bound(Server(), clock, early=50)
    client.get("/")
    assert len(client.signed) == 1
    clock.now += 60
    client.get("/")
    assert len(client.signed) == 2


def test_the_whole_site_may_be_cleared(clock: Clock) -> None:
    """`Clear-Site-Data: "cookies"` ends bindings as well."""
    server = Server()

    def send(method: str, url: str, headers: HeaderPairs, body: bytes) -> Any:
        status, given, content = server(method, url, headers, body)
        return status, [*given, ("Clear-Site-Data", '"cookies"')] if url.endswith("/leave") else given, content

    client = DbscClient(send, clock=clock)
    client.get("/login")
    client.get("/leave")
    assert not client.bindings
    assert not client.cookies
    assert client.cookie("bound") is None


def test_redirects_end() -> None:
    """A loop is a failure."""
    client = DbscClient(lambda method, url, headers, body: (307, [("Location", "/")], b""))

    with pytest.raises(DbscError, match="again and again"):
        client.get("/")


def test_a_wsgi_application_is_closed() -> None:
    """As a server closes its body."""
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a", b"b"])

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Body:
        start_response("200 OK", [])(b"")
        return Body()

    assert DbscClient(wsgi(app)).get("/").body == b"ab"
    assert closed == [True]


def test_a_server_is_asked_over_the_network() -> None:
    """A connection that breaks is an OSError."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/break":
                self.close_connection = True
                self.wfile.write(b"nonsense\r\n")
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, format: str, *args: Any) -> None:  # http.server's name
            """Nothing is logged."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        client = DbscClient(http(), f"http://127.0.0.1:{server.server_port}")
        assert client.get("/a?b=1").body == b"/a?b=1"
        with pytest.raises(OSError, match="nonsense"):
            client.get("/break")
        with pytest.raises(OSError, match="SSL"):
            DbscClient(http(), f"https://127.0.0.1:{server.server_port}").get("/")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

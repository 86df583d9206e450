"""Requests that are no activity of the user: `SessionMiddleware(…, passive=…)` says which, under ASGI and WSGI."""

from __future__ import annotations

import asyncio
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from tests.frameworks.gateway_kit import cookie_of, manager
from tests.kit import Clock

from hardtack import SessionManager
from hardtack.frameworks.asgi import SessionMiddleware as ASGIMiddleware
from hardtack.frameworks.wsgi import SessionMiddleware as WSGIMiddleware
from hardtack.stores.memory import MemoryStore


def ask_wsgi(sessions: SessionManager, cookie: str, path: str) -> list[str]:
    """The paths of which the middleware asked, of one request that reads the session."""
    asked: list[str] = []

    def passive(environ: dict[str, Any]) -> bool:
        asked.append(environ["PATH_INFO"])
        return bool(environ["PATH_INFO"] == "/poll")

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = str(environ["hardtack.session"]["n"]).encode()
        start_response("200 OK", [])
        return [body]

    environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_COOKIE": cookie}
    setup_testing_defaults(environ)
    body: Any = WSGIMiddleware(application, sessions, passive=passive)(environ, lambda *_: lambda _: None)
    assert b"".join(body) == b"1"
    return asked


def ask_asgi(sessions: SessionManager, cookie: str, path: str) -> list[str]:
    """The same under ASGI."""
    asked: list[str] = []

    def passive(scope: Any) -> bool:
        asked.append(scope["path"])
        return bool(scope["path"] == "/poll")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = str(scope["session"]["n"]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"cookie", cookie.encode())]}
    asyncio.run(ASGIMiddleware(application, sessions, passive=passive)(scope, receive, send))
    assert sent[1]["body"] == b"1"
    return asked


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_a_page_that_polls_keeps_no_session_alive(ask: Any) -> None:
    """It is served, and moves no deadline; another page does."""
    for path, lives in (("/poll", False), ("/page", True)):
        clock = Clock()
        sessions = manager(MemoryStore(), idle_timeout="1 hour", clock=clock)
        cookie = cookie_of(sessions, n=1)
        clock.now += 3_000

        assert ask(sessions, cookie, path) == [path]

        clock.now += 3_000
        assert (sessions.open(cookie).get("n") == 1) is lives

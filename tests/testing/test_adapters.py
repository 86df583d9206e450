"""The contract of an adapter over hardtack's own: the two generic ones, and one of each kind that is not built on them."""

from __future__ import annotations

import asyncio
from typing import Any

import bottle  # type: ignore[import-untyped]
import falcon.asgi
import flask
import pytest

from hardtack import SessionManager
from hardtack.frameworks import asgi, wsgi
from hardtack.frameworks.bottle import SessionPlugin
from hardtack.frameworks.falcon import SessionMiddleware as FalconMiddleware
from hardtack.frameworks.flask import SessionInterface
from hardtack.testing import AdapterContract, Answer, adapters, asgi_client, wsgi_client
from hardtack.testing.adapters import Client, Handle


class TestWSGI(AdapterContract):
    """The generic middleware around an application of a few lines."""

    def serve(self, sessions: SessionManager, handle: Handle) -> Client:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            reply = handle(environ["PATH_INFO"], lambda: environ[wsgi.SESSION])
            start_response(f"{reply.status} Said", list(reply.headers.items()))
            return [reply.text.encode()]

        return wsgi_client(wsgi.SessionMiddleware(app, sessions))


class TestASGI(AdapterContract):
    """Likewise."""

    asynchronous = True

    def serve(self, sessions: SessionManager, handle: Handle) -> Client:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            reply = handle(scope["path"], lambda: scope["session"])
            headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": reply.text.encode()})

        return asgi_client(asgi.SessionMiddleware(app, sessions))


class TestFlask(AdapterContract):
    """Its session is a proxy."""

    def serve(self, sessions: SessionManager, handle: Handle) -> Client:
        app = flask.Flask("contract")
        app.session_interface = SessionInterface(sessions)

        @app.route("/<name>", methods=["GET", "POST"])
        def page(name: str) -> Any:
            reply = handle(name, lambda: flask.session)
            return reply.text, reply.status, reply.headers

        return wsgi_client(app)


class TestBottle(AdapterContract):
    """Its plugin is around the whole application."""

    def serve(self, sessions: SessionManager, handle: Handle) -> Client:
        app: Any = bottle.Bottle()
        app.install(SessionPlugin(sessions))

        def page(name: str) -> Any:
            reply = handle(name, lambda: bottle.request.session)
            return bottle.HTTPResponse(reply.text, reply.status, reply.headers)

        app.route("/<name>", method=["GET", "POST"], callback=page)
        return wsgi_client(app)


class TestFalcon(AdapterContract):
    """Its middleware is asked before and after."""

    asynchronous = True

    def serve(self, sessions: SessionManager, handle: Handle) -> Client:
        class Page:
            async def on_get(self, req: Any, resp: Any, name: str) -> None:
                reply = handle(name, lambda: req.context.session)
                resp.text, resp.status = reply.text, reply.status
                resp.set_headers(reply.headers)

            on_post = on_get

        app = falcon.asgi.App(middleware=[FalconMiddleware(sessions)])
        app.add_route("/{name}", Page())
        return asgi_client(app)


def test_a_contract_without_an_application_says_what_is_missing() -> None:
    """By name."""
    with pytest.raises(NotImplementedError, match="serve"):
        AdapterContract().serve(None, None)  # type: ignore[arg-type]


def test_an_application_is_told_when_its_client_has_all_of_the_response() -> None:
    """As by a server: who waits for that gets it."""
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        received.append((await receive())["type"])

    assert asgi_client(app)("GET", "/", []).text == "ok"
    assert received == ["http.request", "http.disconnect"]


def test_the_store_for_async_code_is_the_other_one() -> None:
    """What is put into one is deleted from both."""
    inner = adapters._Store()
    store = adapters._AsyncStore(inner)

    async def use() -> bool:
        await store.put("key", b"data", expires_at=4_000_000_000, if_version=None, subject=None)
        deleted = await store.delete("key")
        await store.close()
        return deleted

    assert asyncio.run(use())
    assert inner.get("key") is None


def test_what_leaves_an_application_is_a_500() -> None:
    """As of a server."""

    def failing(*args: Any) -> Any:
        raise ZeroDivisionError

    assert [client(failing)("GET", "/", []) for client in (wsgi_client, asgi_client)] == [Answer(500, [])] * 2

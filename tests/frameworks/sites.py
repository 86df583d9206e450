"""One small application in each framework, all with the handlers of `harness.Script`."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import bottle  # type: ignore[import-untyped]
import falcon
import falcon.asgi
import fastapi
import flask
import litestar
import quart
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.frameworks.harness import ASGISite, HTTPSite, Loop, Reply, Script, Site, WSGISite

from hardtack import SessionManager
from hardtack.frameworks import aiohttp as hardtack_aiohttp
from hardtack.frameworks import asgi, starlette, wsgi
from hardtack.frameworks import fastapi as hardtack_fastapi
from hardtack.frameworks.bottle import SessionPlugin
from hardtack.frameworks.falcon import SessionMiddleware as FalconMiddleware
from hardtack.frameworks.flask import SessionInterface
from hardtack.frameworks.litestar import HardtackSessionConfig, get_session
from hardtack.frameworks.quart import SessionInterface as QuartInterface

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi
    from pyramid.config import Configurator  # type: ignore[import-untyped]
    from pyramid.response import Response as PyramidResponse  # type: ignore[import-untyped]

    from hardtack.frameworks.pyramid import SessionFactory


def wsgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Plain WSGI."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        reply = script.act(environ["PATH_INFO"], lambda: environ[wsgi.SESSION])
        start_response(f"{reply.status} Status", [("Content-Type", "text/plain"), *reply.headers.items()])
        return [reply.text.encode()]

    return WSGISite(wsgi.SessionMiddleware(app, sessions))


def asgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Plain ASGI."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reply = await script.aact(scope["path"], lambda: scope["session"])
        headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.text.encode()})

    return ASGISite(asgi.SessionMiddleware(app, sessions), loop)


def starlette_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Starlette, its handlers coroutines."""

    async def handle(request: Request) -> PlainTextResponse:
        reply = await script.aact(request.url.path, lambda: request.session)
        return PlainTextResponse(reply.text, reply.status, reply.headers)

    app = Starlette(routes=[Route("/{name}", handle)])
    app.add_middleware(starlette.SessionMiddleware, sessions=sessions)
    return ASGISite(app, loop)


def fastapi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """FastAPI, its endpoints plain functions, which run in threads."""
    app = fastapi.FastAPI()
    app.add_middleware(hardtack_fastapi.SessionMiddleware, sessions=sessions)

    @app.get("/{name}")
    def handle(name: str, request: fastapi.Request) -> fastapi.Response:
        reply = script.act(name, lambda: request.session)
        return fastapi.Response(reply.text, reply.status, reply.headers)

    return ASGISite(app, loop)


def flask_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Flask."""
    app = flask.Flask("behaviour")
    app.session_interface = SessionInterface(sessions)

    @app.get("/<name>")
    def handle(name: str) -> Any:
        reply = script.act(name, lambda: flask.session)
        return reply.text, reply.status, reply.headers

    return WSGISite(app)


def quart_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Quart."""
    app = quart.Quart("behaviour")
    app.session_interface = QuartInterface(sessions)  # type: ignore[assignment]

    @app.get("/<name>")
    async def handle(name: str) -> Any:
        reply = await script.aact(name, lambda: quart.session)
        return reply.text, reply.status, reply.headers

    return ASGISite(app, loop)


def litestar_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Litestar."""

    @litestar.get("/{name:str}")
    async def handle(request: litestar.Request[Any, Any, Any]) -> litestar.Response[str]:
        reply = await script.aact(request.path_params["name"], lambda: get_session(request))
        return litestar.Response(reply.text, status_code=reply.status, headers=reply.headers, media_type="text/plain")

    app = litestar.Litestar([handle], middleware=[HardtackSessionConfig(sessions).middleware], logging_config=None)
    return ASGISite(app, loop)


def falcon_wsgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Falcon under WSGI."""

    class Resource:
        def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
            _falcon(resp, script.act(name, lambda: req.context.session))

    app = falcon.App(middleware=[FalconMiddleware(sessions)])
    app.add_route("/{name}", Resource())
    return WSGISite(app)


def falcon_asgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Falcon under ASGI."""

    class Resource:
        async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
            _falcon(resp, await script.aact(name, lambda: req.context.session))

    app = falcon.asgi.App(middleware=[FalconMiddleware(sessions)])
    app.add_route("/{name}", Resource())
    return ASGISite(app, loop)


def _falcon(resp: falcon.Response, reply: Reply) -> None:
    resp.text = reply.text
    resp.status = reply.status
    resp.set_headers(reply.headers)


def bottle_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Bottle."""
    app = bottle.Bottle()
    app.install(SessionPlugin(sessions))

    def handle(name: str) -> Any:
        reply = script.act(name, lambda: bottle.request.session)
        return bottle.HTTPResponse(reply.text, reply.status, reply.headers)

    app.get("/<name>", callback=handle)
    return WSGISite(app)


def pyramid_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Pyramid."""

    def handle(request: Any) -> Any:
        reply = script.act(request.matchdict["name"], lambda: request.session)
        response = PyramidResponse(reply.text, reply.status)
        for header, value in reply.headers.items():
            response.headers[header] = value
        return response

    with Configurator(session_factory=SessionFactory(sessions)) as config:
        config.add_route("any", "/{name}")
        config.add_view(handle, route_name="any")
        return WSGISite(config.make_wsgi_app())


def aiohttp_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """aiohttp, with its own server."""

    async def handle(request: web.Request) -> web.Response:
        reply = await script.aact(request.path, lambda: hardtack_aiohttp.get_session(request))
        return web.Response(text=reply.text, status=reply.status, headers=reply.headers)

    app = web.Application()
    hardtack_aiohttp.setup(app, sessions)
    app.router.add_get("/{name}", handle)

    async def start() -> tuple[int, Callable[[], object]]:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        listening = _listening()
        await web.SockSite(runner, listening).start()
        return listening.getsockname()[1], lambda: loop.run(runner.cleanup())

    return HTTPSite(*loop.run(start()))


def _listening() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


SITES: dict[str, Callable[[SessionManager, Script, Loop], Site]] = {
    "asgi": asgi_site,
    "wsgi": wsgi_site,
    "starlette": starlette_site,
    "fastapi": fastapi_site,
    "flask": flask_site,
    "quart": quart_site,
    "litestar": litestar_site,
    "aiohttp": aiohttp_site,
    "falcon-wsgi": falcon_wsgi_site,
    "falcon-asgi": falcon_asgi_site,
    "bottle": bottle_site,
    "pyramid": pyramid_site,
}

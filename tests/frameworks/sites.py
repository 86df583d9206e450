"""One small application in each framework, all with the handlers of `harness.Script`."""

from __future__ import annotations

import itertools
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
import sanic
from aiohttp import web
from django.conf import settings  # type: ignore[import-untyped]
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import path as django_path  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.frameworks.harness import (
    NONE,
    Answer,
    ASGISite,
    Cookies,
    Headers,
    HTTPSite,
    Loop,
    Reply,
    Script,
    Site,
    WSGISite,
    polls,
)
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from hardtack import SessionManager, SignedToken
from hardtack.adapters import mark_login
from hardtack.frameworks import aiohttp as hardtack_aiohttp
from hardtack.frameworks import asgi, starlette, wsgi
from hardtack.frameworks import fastapi as hardtack_fastapi
from hardtack.frameworks import sanic as hardtack_sanic
from hardtack.frameworks.bottle import SessionPlugin
from hardtack.frameworks.falcon import SessionMiddleware as FalconMiddleware
from hardtack.frameworks.flask import SessionInterface
from hardtack.frameworks.litestar import HardtackSessionConfig, get_session
from hardtack.frameworks.quart import SessionInterface as QuartInterface
from hardtack.frameworks.tornado import SessionMixin, device_routes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi
    from pyramid.config import Configurator  # type: ignore[import-untyped]
    from pyramid.response import Response as PyramidResponse  # type: ignore[import-untyped]

    from hardtack.frameworks import pyramid as hardtack_pyramid

_numbers = itertools.count()

if not settings.configured:
    settings.configure(SECRET_KEY="dev")


def _polling_scope(scope: Any) -> bool:
    return polls(scope["path"])


def wsgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Plain WSGI."""
    shared = [("Content-Type", "text/plain")]

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        reply = script.act(environ["PATH_INFO"], lambda: environ[wsgi.SESSION])
        headers = shared if reply.shared else [("Content-Type", "text/plain"), *reply.headers.items()]
        start_response(f"{reply.status} Status", headers)
        return [reply.text.encode()]

    return WSGISite(wsgi.SessionMiddleware(app, sessions, passive=lambda environ: polls(environ["PATH_INFO"])))


def asgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Plain ASGI."""
    shared: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reply = await script.aact(scope["path"], lambda: scope["session"])
        headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
        start = {"type": "http.response.start", "status": reply.status, "headers": headers}
        await send(shared if reply.shared else start)
        await send({"type": "http.response.body", "body": reply.text.encode()})

    return ASGISite(asgi.SessionMiddleware(app, sessions, passive=_polling_scope), loop)


def starlette_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Starlette, its handlers coroutines."""
    shared = PlainTextResponse("ok")

    async def handle(request: Request) -> PlainTextResponse:
        reply = await script.aact(request.url.path, lambda: request.session)
        return shared if reply.shared else PlainTextResponse(reply.text, reply.status, reply.headers)

    app = Starlette(routes=[Route("/{name}", handle, methods=["GET", "POST"])])
    app.add_middleware(starlette.SessionMiddleware, sessions=sessions, passive=_polling_scope)
    return ASGISite(app, loop)


def fastapi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """FastAPI, its endpoints plain functions, which run in threads."""
    app = fastapi.FastAPI()
    shared = fastapi.Response("ok")
    app.add_middleware(hardtack_fastapi.SessionMiddleware, sessions=sessions, passive=_polling_scope)

    @app.api_route("/{name}", methods=["GET", "POST"], response_model=None)
    def handle(name: str, request: fastapi.Request) -> Any:
        reply = script.act(name, lambda: request.session)
        if reply.media is not None:
            return reply.media
        return shared if reply.shared else fastapi.Response(reply.text, reply.status, reply.headers)

    return ASGISite(app, loop)


class _FlaskInterface(SessionInterface):
    def is_passive(self, app: Any, request: Any) -> bool:
        return polls(request.path)


def flask_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Flask."""
    app = flask.Flask("behaviour")
    app.session_interface = _FlaskInterface(sessions)

    @app.route("/<name>", methods=["GET", "POST"])
    def handle(name: str) -> Any:
        reply = script.act(name, lambda: flask.session)
        return reply.text, reply.status, reply.headers

    return WSGISite(app)


class _QuartInterface(QuartInterface):
    def is_passive(self, app: Any, request: Any) -> bool:
        return polls(request.path)


def quart_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Quart."""
    app = quart.Quart("behaviour")
    app.session_interface = _QuartInterface(sessions)  # type: ignore[assignment]

    @app.route("/<name>", methods=["GET", "POST"])
    async def handle(name: str) -> Any:
        reply = await script.aact(name, lambda: quart.session)
        return reply.text, reply.status, reply.headers

    return ASGISite(app, loop)


def litestar_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Litestar."""
    shared = litestar.Response("ok", media_type="text/plain")

    @litestar.route("/{name:str}", http_method=["GET", "POST"])
    async def handle(request: litestar.Request[Any, Any, Any]) -> litestar.Response[Any]:
        reply = await script.aact(request.path_params["name"], lambda: get_session(request))
        if reply.media is not None:
            return litestar.Response({"session": dict(reply.media)})
        own = litestar.Response(reply.text, status_code=reply.status, headers=reply.headers, media_type="text/plain")
        return shared if reply.shared else own

    config = HardtackSessionConfig(sessions, passive=_polling_scope)
    app = litestar.Litestar([handle, config.device_endpoints], middleware=[config.middleware], logging_config=None)
    return ASGISite(app, loop)


def falcon_wsgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Falcon under WSGI."""

    class Resource:
        def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
            _falcon(resp, script.act(name, lambda: req.context.session))

        on_post = on_get

    app = falcon.App(middleware=[FalconMiddleware(sessions, passive=lambda req: polls(req.path))])
    app.add_route("/{name}", Resource())
    return WSGISite(app)


def falcon_asgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Falcon under ASGI."""

    class Resource:
        async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
            _falcon(resp, await script.aact(name, lambda: req.context.session))

        on_post = on_get

    app = falcon.asgi.App(middleware=[FalconMiddleware(sessions, passive=lambda req: polls(req.path))])
    app.add_route("/{name}", Resource())
    return ASGISite(app, loop)


def _falcon(resp: falcon.Response, reply: Reply) -> None:
    if reply.media is None:
        resp.text = reply.text
    else:
        resp.media = {"session": reply.media}
    resp.status = reply.status
    resp.set_headers(reply.headers)


def bottle_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Bottle."""
    app: Any = bottle.Bottle()
    app.install(SessionPlugin(sessions, passive=lambda environ: polls(environ["PATH_INFO"])))
    shared = bottle.HTTPResponse("ok")

    def handle(name: str) -> Any:
        reply = script.act(name, lambda: bottle.request.session)
        if reply.media is not None:
            return {"session": dict(reply.media)}
        return shared if reply.shared else bottle.HTTPResponse(reply.text, reply.status, reply.headers)

    app.route("/<name>", method=["GET", "POST"], callback=handle)
    return WSGISite(app)


def pyramid_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Pyramid."""

    def handle(request: Any) -> Any:
        reply = script.act(request.matchdict["name"], lambda: request.session)
        response = PyramidResponse(reply.text, reply.status)
        for header, value in reply.headers.items():
            response.headers[header] = value
        return response

    with Configurator() as config:
        hardtack_pyramid.setup(config, sessions, passive=lambda request: polls(request.path))
        config.add_route("any", "/{name}")
        config.add_view(handle, route_name="any")
        return WSGISite(config.make_wsgi_app())


def aiohttp_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """aiohttp, with its own server."""

    async def handle(request: web.Request) -> web.Response:
        reply = await script.aact(request.path, lambda: hardtack_aiohttp.get_session(request))
        return web.Response(text=reply.text, status=reply.status, headers=reply.headers)

    @web.middleware
    async def mark(request: web.Request, handler: Any) -> Any:
        request[hardtack_aiohttp.PASSIVE] = polls(request.path)
        return await handler(request)

    app = web.Application()
    hardtack_aiohttp.setup(app, sessions)
    app.middlewares.insert(0, mark)
    app.router.add_route("*", "/{name}", handle)

    async def start() -> tuple[int, Callable[[], object]]:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        listening = listening_socket()
        await web.SockSite(runner, listening).start()
        return listening.getsockname()[1], lambda: loop.run(runner.cleanup())

    return HTTPSite(*loop.run(start()))


class _DjangoSession:
    """Django's session, by the names that the handlers use; a login as `django.contrib.auth` does it."""

    USER = "_auth_user_id"

    def __init__(self, session: Any) -> None:
        self.session = session

    def get(self, key: str, default: Any = None) -> Any:
        return self.session.get(key, default)

    def __getitem__(self, key: str) -> Any:
        return self.session[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.session[key] = value

    def keys(self) -> list[str]:
        return [key for key in self.session.keys() if key != self.USER]  # noqa: SIM118  # it is no dict

    @property
    def id(self) -> Any:
        return self.session.session_key

    @property
    def subject(self) -> Any:
        return self.session.get(self.USER)

    def login(self, subject: str) -> None:
        self.session.cycle_key()
        self.session[self.USER] = subject
        mark_login(self.session.inner)  # as hardtack does where Django tells of a login

    def regenerate(self) -> None:
        self.session.cycle_key()

    def logout(self) -> None:
        self.session.flush()


class _DjangoSite:
    """A Django application under settings of its own, until it is closed."""

    def __init__(self, sessions: SessionManager, view: Any, make: Callable[[], Site]) -> None:
        token = getattr(sessions.engine, "token", None)
        engine = "store" if token is None else "signed_cookie" if isinstance(token, SignedToken) else "encrypted_cookie"
        self.settings = override_settings(
            ALLOWED_HOSTS=["*"],
            HARDTACK_PASSIVE=lambda request: polls(request.path),
            HARDTACK_SESSIONS=sessions,
            MIDDLEWARE=["hardtack.frameworks.django.SessionMiddleware"],
            ROOT_URLCONF=(django_path("<name>", view),),
            SESSION_EXPIRE_AT_BROWSER_CLOSE=not sessions.persistent,  # Django asks this for each session
            SESSION_ENGINE=f"hardtack.frameworks.django.{engine}",
        )
        self.settings.enable()
        self.site = make()

    def request(self, path: str, cookie: Cookies = None, method: str = "GET", headers: Headers = NONE) -> Answer:
        return self.site.request(path, cookie, method, headers)

    def close(self) -> None:
        self.settings.disable()


def django_wsgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Django under WSGI, with hardtack's middleware."""

    def handle(request: Any, name: str) -> Any:
        reply = script.act(name, lambda: _DjangoSession(request.session))
        return HttpResponse(reply.text.encode(), status=reply.status, headers=reply.headers)

    return _DjangoSite(sessions, handle, lambda: WSGISite(WSGIHandler()))


def django_asgi_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Django under ASGI: its handlers are plain functions, which it runs in threads."""

    def handle(request: Any, name: str) -> Any:
        reply = script.act(name, lambda: _DjangoSession(request.session))
        return HttpResponse(reply.text.encode(), status=reply.status, headers=reply.headers)

    return _DjangoSite(sessions, handle, lambda: ASGISite(ASGIHandler(), loop))


def sanic_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Sanic, with its own server."""
    app: Any = sanic.Sanic(f"behaviour{next(_numbers)}", configure_logging=False)
    app.config.TOUCHUP = False  # it rewrites Sanic's own methods, once a process
    hardtack_sanic.setup(app, sessions, passive=lambda request: polls(request.path))
    shared = sanic.text("ok")

    async def handle(request: Any, name: str) -> Any:
        reply = await script.aact(name, lambda: request.ctx.session)
        return shared if reply.shared else sanic.text(reply.text, reply.status, reply.headers)

    app.add_route(handle, "/<name>", methods=["GET", "POST"])

    async def start() -> tuple[int, Callable[[], object]]:
        listening = listening_socket()
        server = await app.create_server(sock=listening, return_asyncio_server=True, access_log=False)
        await server.startup()
        await server.start_serving()

        async def stop() -> None:
            await server.close()
            for connection in server.connections:
                connection.close_if_idle()

        return listening.getsockname()[1], lambda: loop.run(stop())

    return HTTPSite(*loop.run(start()))


def tornado_site(sessions: SessionManager, script: Script, loop: Loop) -> Site:
    """Tornado, with its own server."""

    class Page(SessionMixin, RequestHandler):
        async def get(self, name: str) -> None:
            reply = await script.aact(name, lambda: self.session)
            self.set_status(reply.status)
            for header, value in reply.headers.items():
                self.set_header(header, value)
            await self.finish(reply.text)

        post = get

        def session_is_passive(self) -> bool:
            return polls(self.request.path)

        def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
            """Not on the terminal: some requests are meant to fail."""

    async def start() -> tuple[int, Callable[[], object]]:
        listening = listening_socket()
        listening.setblocking(False)
        server = HTTPServer(
            Application(
                [*device_routes(sessions), ("/(.*)", Page)], sessions=sessions, log_function=lambda handler: None
            )
        )
        server.add_socket(listening)

        async def stop() -> None:
            server.stop()
            await server.close_all_connections()

        return listening.getsockname()[1], lambda: loop.run(stop())

    return HTTPSite(*loop.run(start()))


def listening_socket() -> socket.socket:
    """A socket that listens on a free port."""
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
    "django-wsgi": django_wsgi_site,
    "django-asgi": django_asgi_site,
    "litestar": litestar_site,
    "aiohttp": aiohttp_site,
    "sanic": sanic_site,
    "falcon-wsgi": falcon_wsgi_site,
    "falcon-asgi": falcon_asgi_site,
    "bottle": bottle_site,
    "pyramid": pyramid_site,
    "tornado": tornado_site,
}

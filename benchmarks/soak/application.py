"""The site that `benchmarks.soak` runs under several servers: a login, a counter, and who is logged in, as JSON.

SOAK_STORE is the URL of its store, or `cookie`; SOAK_KEYS its key file; SOAK_ENDED the URL of its list of
ended sessions, and SOAK_ENDED_KEY the list's key; SOAK_SCHEME how its users come to it.
`application` is Flask on a sync store, `asgi` Starlette on an async one.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, jsonify
from flask import session as flask_session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hardtack import Cookie, CookieEngine, EndedSessions, Key, Keyring, SessionManager, StoreEngine
from hardtack.frameworks.flask import SessionInterface
from hardtack.frameworks.starlette import SessionMiddleware, load
from hardtack.stores import from_url

URL = os.environ["SOAK_STORE"]


def sessions(*, asynchronous: bool) -> SessionManager:
    """As a site on this machine has them."""
    keyring = Keyring.from_file(os.environ["SOAK_KEYS"], reload="1 second")
    ended = os.environ.get("SOAK_ENDED")
    engine: Any = CookieEngine(keyring) if URL == "cookie" else StoreEngine(from_url(URL, asynchronous=asynchronous))
    return SessionManager(
        engine,
        cookie=Cookie() if os.environ["SOAK_SCHEME"] == "https" else Cookie.for_development(),
        lifetime="1 hour",
        idle_timeout="30 minutes",
        ended=EndedSessions.from_url(ended, key=Key.parse(os.environ["SOAK_ENDED_KEY"])) if ended else None,
    )


def make_wsgi() -> Flask:
    app = Flask(__name__)
    app.session_interface = SessionInterface(sessions(asynchronous=False))
    session: Any = flask_session

    @app.post("/login/<name>")
    def login(name: str) -> Any:
        session.login(name)
        session["number"] = 0
        return read()

    @app.post("/add")
    def add() -> Any:
        session["number"] = session.get("number", 0) + 1
        return read()

    @app.get("/")
    def read() -> Any:
        return jsonify(user=session.subject, number=session.get("number", 0))

    return app


def make_asgi() -> Starlette:
    async def login(request: Request) -> JSONResponse:
        session = await load(request)
        session.login(request.path_params["name"])
        session["number"] = 0
        return await read(request)

    async def add(request: Request) -> JSONResponse:
        session = await load(request)
        session["number"] = session.get("number", 0) + 1
        return await read(request)

    async def read(request: Request) -> JSONResponse:
        session = await load(request)
        return JSONResponse({"user": session.subject, "number": session.get("number", 0)})

    routes = [
        Route("/login/{name}", login, methods=["POST"]),
        Route("/add", add, methods=["POST"]),
        Route("/", read, methods=["GET"]),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(SessionMiddleware, sessions=sessions(asynchronous=True))
    return app


if os.environ.get("SOAK_KIND") == "asgi":
    asgi = make_asgi()
else:
    application = make_wsgi()

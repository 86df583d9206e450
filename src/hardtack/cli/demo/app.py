"""The demo as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hardtack import EndedSessions
from hardtack.cli.demo import account, device, experiments, shop
from hardtack.cli.demo.guards import SameOriginMiddleware, SecurityHeadersMiddleware
from hardtack.cli.demo.state import FOLDER, Demo
from hardtack.cli.demo.visitors import VisitorsMiddleware
from hardtack.frameworks.starlette import SessionMiddleware

STATIC: Final = FOLDER / "static"


async def _favicon(request: Request) -> Response:
    return FileResponse(STATIC / "favicon.svg")


ROUTES: Final = [
    Route("/", shop.show),
    Route("/cart/add", shop.add, methods=["POST"]),
    Route("/cart/remove", shop.remove, methods=["POST"]),
    Route("/login", shop.login_form),
    Route("/login", shop.login, methods=["POST"]),
    Route("/logout", shop.logout, methods=["POST"]),
    Route("/account", account.show),
    Route("/account/end", account.end_one, methods=["POST"]),
    Route("/account/end-others", account.end_others, methods=["POST"]),
    Route("/account/end-everywhere", account.end_everywhere, methods=["POST"]),
    Route("/account/copy", account.copy, methods=["POST"]),
    Route("/account/confirm", account.confirm, methods=["POST"]),
    Route("/account/close", account.close, methods=["POST"]),
    Route("/account/act", account.act, methods=["POST"]),
    Route("/account/stop", account.stop, methods=["POST"]),
    Route("/device", device.show),
    Route("/device/steal", device.steal, methods=["POST"]),
    Route("/anatomy", experiments.show),
    Route("/anatomy/next", experiments.following),
    Route("/anatomy/flip", experiments.flip, methods=["POST"]),
    Route("/anatomy/replay", experiments.replay, methods=["POST"]),
    Route("/anatomy/rotate", experiments.rotate, methods=["POST"]),
    Route("/anatomy/stale", experiments.stale, methods=["POST"]),
    Route("/favicon.ico", _favicon),
    Mount("/static", StaticFiles(directory=STATIC)),
]


def create_app(store: Any = None, ended: EndedSessions | None = None) -> Starlette:
    """The demo; with a store it keeps its sessions there, and closes it in the end, as it does a list of ended sessions."""
    demo = Demo(store, ended)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with demo.sessions:
            yield

    app = Starlette(
        routes=ROUTES,
        lifespan=lifespan,
        middleware=[
            Middleware(SecurityHeadersMiddleware),
            Middleware(VisitorsMiddleware, demo.sessions.cookie.name, ("/static/", "/favicon.ico")),
            Middleware(SameOriginMiddleware),
            Middleware(SessionMiddleware, sessions=demo.sessions),
        ],
    )
    app.state.demo = demo
    return app

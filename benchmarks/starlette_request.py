"""What a session adds to a request under Starlette, in process: hardtack's middleware beside Starlette's own."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.interleave import PAYLOADS, Times
from hardtack import CookieEngine, Key, SessionManager
from hardtack.frameworks.starlette import SessionMiddleware

REQUESTS = 50


async def fill(request: Request) -> Response:
    request.session.update(PAYLOADS["M"])
    return PlainTextResponse("")


async def untouched(request: Request) -> Response:
    return PlainTextResponse("")


async def read(request: Request) -> Response:
    return PlainTextResponse(str("session" in request.scope and request.session.get("user_id")))


async def written(request: Request) -> Response:
    if "session" in request.scope:
        request.session["user_id"] += 1
    return PlainTextResponse("")


def application(*middleware: Middleware) -> Starlette:
    routes = [Route(f"/{handler.__name__}", handler) for handler in (fill, untouched, read, written)]
    return Starlette(routes=routes, middleware=middleware)


async def call(app: Starlette, path: str, cookie: bytes) -> list[tuple[bytes, bytes]]:
    headers = [(b"host", b"localhost"), (b"accept", b"*/*"), (b"cookie", cookie)]
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("localhost", 443), "state": {},
    }  # fmt: skip
    sent: list[tuple[bytes, bytes]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.extend(message.get("headers", ()))

    await app(scope, receive, send)
    return sent


async def _measure(rounds: int) -> list[dict[str, float]]:
    apps = {
        "none": application(),
        "Starlette": application(Middleware(StarletteSessions, secret_key="benchmark secret of 32 characters")),
        "hardtack": application(Middleware(SessionMiddleware, sessions=SessionManager(CookieEngine(Key.generate())))),
    }
    cookies = {"none": b"x=1"}
    for name in ("Starlette", "hardtack"):
        line = dict(await call(apps[name], "/fill", b"x=1"))[b"set-cookie"]
        cookies[name] = line.partition(b";")[0]
    measured = []
    for _ in range(rounds):
        times = {}
        for path in ("/untouched", "/read", "/written"):
            for name, app in apps.items():
                begin = time.perf_counter_ns()
                for _ in range(REQUESTS):
                    await call(app, path, cookies[name])
                times[f"{name} {path[1:]}"] = (time.perf_counter_ns() - begin) / REQUESTS / 1000
        measured.append(times)
    return measured


def measure(rounds: int = 120) -> tuple[Times, dict[str, tuple[float, float, float]]]:
    """Microseconds a request, and for each kind of request what Starlette's and hardtack's sessions add, and the ratio."""
    times = Times(asyncio.run(_measure(rounds)))
    added = {}
    for kind in ("untouched", "read", "written"):
        base = times.of(f"none {kind}")
        theirs, ours = times.of(f"Starlette {kind}") - base, times.of(f"hardtack {kind}") - base
        added[kind] = (theirs, ours, ours / theirs)
    return times, added


if __name__ == "__main__":
    for kind, (theirs, ours, ratio) in measure()[1].items():
        print(f"{kind}: Starlette adds {theirs:.1f} µs, hardtack {ours:.1f} µs: {ratio:.2f}")

"""What a session adds to a request under Litestar, beside what Litestar's own encrypted cookie adds. Run it, or `measure()`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.middleware.session.client_side import CookieBackendConfig

from hardtack import CookieEngine, Key, SessionManager, StoreEngine
from hardtack.frameworks.litestar import HardtackSessionConfig
from hardtack.stores.memory import MemoryStore

ROUNDS = 40
REQUESTS = 100

PAYLOAD: dict[str, Any] = json.loads((Path(__file__).parent / "payloads.json").read_text())["M"]

AnyRequest = Request[Any, Any, State]


@get("/untouched")
async def untouched(request: AnyRequest) -> None:
    assert request


@get("/read")
async def read(request: AnyRequest) -> None:
    request.session.get("user_id")


@get("/write")
async def write(request: AnyRequest) -> None:
    request.session["n"] = request.session.get("n", 0) + 1


@get("/fill")
async def fill(request: AnyRequest) -> None:
    request.session.update(PAYLOAD)


def applications() -> dict[str, Litestar]:
    """The same handlers under each kind of session."""
    middleware: dict[str, list[Any]] = {
        "no session": [],
        "litestar cookie": [CookieBackendConfig(secret=bytes(32)).middleware],
        "hardtack cookie": [HardtackSessionConfig(SessionManager(CookieEngine(Key.generate()))).middleware],
        "hardtack memory": [HardtackSessionConfig(SessionManager(StoreEngine(MemoryStore()))).middleware],
    }
    return {
        name: Litestar([untouched, read, write, fill], middleware=entries, openapi_config=None, logging_config=None)
        for name, entries in middleware.items()
    }


async def call(app: Litestar, path: str, cookie: str) -> list[bytes]:
    """One request, as a server makes it; the Set-Cookie lines of the response."""
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"accept", b"*/*"), (b"cookie", cookie.encode())],
        "client": ("127.0.0.1", 50000),
        "server": ("example.org", 443),
    }
    lines: list[bytes] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            lines.extend(value for name, value in message["headers"] if name == b"set-cookie")

    await app(scope, receive, send)
    return lines


@contextmanager
def event_loop() -> Iterator[Callable[[Any], Any]]:
    loop = asyncio.new_event_loop()
    try:
        yield loop.run_until_complete
    finally:
        loop.close()


def measure(rounds: int = ROUNDS, requests: int = REQUESTS) -> dict[str, dict[str, float]]:
    """Microseconds a request, by the handler and the kind of session.

    The kinds take turns, and the fastest of the rounds counts: what else the machine does only adds to it.
    """
    apps = applications()
    paths = ["/untouched", "/read", "/write"]

    async def repeat(app: Litestar, path: str, cookie: str) -> float:
        start = time.perf_counter()
        for _ in range(requests):
            await call(app, path, cookie)
        return (time.perf_counter() - start) / requests * 1e6

    samples: dict[tuple[str, str], list[float]] = {(path, name): [] for path in paths for name in apps}
    with event_loop() as run:
        cookies = {}
        for name, app in apps.items():
            lines = [] if name == "no session" else run(call(app, "/fill", "a=b"))
            cookies[name] = "; ".join(["theme=dark", *(line.decode().partition(";")[0] for line in lines)])
        for _ in range(rounds):
            for path in paths:
                for name, app in apps.items():
                    if name == "no session" and path != "/untouched":
                        continue
                    samples[path, name].append(run(repeat(app, path, cookies[name])))
    return {path: {name: min(samples[path, name]) for name in apps if samples[path, name]} for path in paths}


def main() -> None:
    """Print the times, and what each session adds beside Litestar's own."""
    results = measure()
    bare = results["/untouched"]["no session"]
    print(f"no session: {bare:.1f} µs a request")
    for path, times in results.items():
        own = times["litestar cookie"] - bare
        for name, microseconds in times.items():
            if name != "no session":
                added = microseconds - bare
                print(f"{path:10} {name:16} adds {added:6.1f} µs  {added / own:5.2f} of Litestar's own")


if __name__ == "__main__":
    main()

"""Redis is killed and started again under load: nobody is served another's session, and nothing that was saved is lost."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx
import pytest
from tests.guarantees.kit import NAME
from tests.servers import RedisServer

from hardtack import SessionManager, StoreEngine
from hardtack.frameworks.asgi import SessionMiddleware
from hardtack.stores.redis import AsyncRedisStore, RedisStore

pytestmark = pytest.mark.program("redis")

BROWSERS = 40
RESTARTS = 4
UP = 0.6
DOWN = 0.3
"""Seconds that Redis runs and does not run, each time."""


class DurableRedis(RedisServer):
    """Writes each command to the disk before it answers, and is killed without notice."""

    options: ClassVar[list[str]] = ["--appendonly", "yes", "--appendfsync", "always"]
    stop_signal = "SIGKILL"


@pytest.fixture
def server() -> Iterator[DurableRedis]:
    """A Redis that loses nothing which it has acknowledged."""
    server = DurableRedis()
    yield server
    server.remove()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """/add/<name> counts up in the session of that name, /read only shows it, /leave logs out."""
    session = scope["session"]
    _, action, name = scope["path"].split("/")
    if action == "add":
        session.setdefault("owner", name)
        session["n"] = session.get("n", 0) + 1
    body = json.dumps({"owner": session.get("owner"), "n": session.get("n", 0)}).encode()
    if action == "leave":
        session.logout()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Load:
    """Browsers that count up, read, log out and lose their patience, all at once, and check what they are told."""

    def __init__(self, sessions: SessionManager) -> None:
        transport = httpx.ASGITransport(app=SessionMiddleware(application, sessions))
        self.client = httpx.AsyncClient(transport=transport, base_url="https://shop.example")
        self.running = True
        self.statuses = {200: 0, 503: 0}
        self.cancelled = 0
        self.ended: list[str] = []
        """The Cookie headers of sessions that a logout has ended."""

    async def get(self, path: str, header: str) -> httpx.Response | None:
        """The response; None where the browser has lost its patience, and the request was cancelled in the middle."""
        request = self.client.get(path, headers={"Cookie": header} if header else {})
        patience = random.choice([0.0005, 0.002, 60, 60, 60, 60])
        try:
            async with asyncio.timeout(patience):
                response = await request
        except TimeoutError:
            assert patience < 60
            self.cancelled += 1
            return None
        self.client.cookies.clear()
        self.statuses[response.status_code] += 1  # a KeyError for any other
        return response

    async def browse(self, name: str) -> None:
        """One browser: knows how often it has counted for sure, and how often it may have."""
        header, sure, unsure = "", 0, 0
        while self.running:
            action = random.choices(["add", "read", "leave"], [8, 8, 1])[0]
            response = await self.get(f"/{action}/{name}", header)
            if response is None or response.status_code == 503:
                if action == "leave":
                    header, sure, unsure = "", 0, 0  # whether it was done nobody knows
                elif header:
                    unsure += action == "add"
                continue
            told = response.json()
            assert told["owner"] == (name if header or action == "add" else None)
            shown = told["n"] - (action == "add")
            assert sure <= shown <= sure + unsure
            sure = told["n"]
            if action == "add":  # what was sent before and is carried out only now has an older version: a conflict
                unsure = 0
            header = self.next_header(action, header, response)
            if not header:
                sure = unsure = 0

    def next_header(self, action: str, header: str, response: httpx.Response) -> str:
        """The cookie that the browser has after the response; only a new session sets one, only a logout clears it."""
        line = response.headers.get("Set-Cookie")
        if action == "leave":
            if header:
                assert "Max-Age=0" in line
                self.ended.append(header)
            return ""
        assert (line is not None) == (action == "add" and not header)
        return header if line is None else str(line.partition(";")[0])


async def run(server: DurableRedis, store: RedisStore | AsyncRedisStore) -> Load:
    """The load over several restarts, then what the ended sessions have become."""
    sessions = SessionManager(StoreEngine(store))
    load = Load(sessions)
    async with asyncio.TaskGroup() as tasks:
        for number in range(BROWSERS):
            tasks.create_task(load.browse(f"browser{number}"))
        try:
            for _ in range(RESTARTS):
                await asyncio.sleep(UP)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(DOWN)
                await asyncio.to_thread(server.start)
            await asyncio.sleep(UP)
        finally:  # after a failure too: before Python 3.12 `wait_for` may swallow the cancellation of a browser
            load.running = False
    for header in load.ended:
        assert header.startswith(f"{NAME}=")
        assert dict(await sessions.aopen(header)) == {}
    await sessions.aclose()
    return load


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_a_restart_under_load(server: DurableRedis, kind: type[RedisStore | AsyncRedisStore]) -> None:
    """Every answer is right or a 503: no session is another's, none that was saved is missing, none that ended is back."""
    load = asyncio.run(run(server, kind.from_url(server.url)))

    assert load.statuses[200] > 200
    assert load.statuses[503] > 20
    assert load.cancelled > 20
    assert len(load.ended) > 5

"""The client's fixture of pytest-aiohttp, shortened, and which of aiohttp-session's tests hardtack fails on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

HERE = "tests/frameworks/aiohttp_session_suite/"

DIFFERENT = {
    "test_cookie_storage.py::test_clear_cookie_on_session_invalidation": "aiohttp-session itself fails it on aiohttp 3.14",
    "test_encrypted_cookie_storage.py::test_change_session": "the cookie is hardtack's token, not Fernet's",
    "test_encrypted_cookie_storage.py::test_clear_cookie_on_session_invalidation": "a cleared cookie stays HttpOnly",
    "test_encrypted_cookie_storage.py::test_encrypted_cookie_session_fixation": "what did not change is not set again",
    "test_response_types.py::test_stream_response": "SESSION_KEY is a RequestKey where aiohttp has them, not text",
    "test_session_dict.py::test_change": "a nested change is a change",
}

if not hasattr(web, "RequestKey"):  # aiohttp before 3.14
    del DIFFERENT["test_cookie_storage.py::test_clear_cookie_on_session_invalidation"]
    del DIFFERENT["test_response_types.py::test_stream_response"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that fail on purpose."""
    for item in items:
        place, _, name = item.nodeid.partition(HERE)
        if place or name not in DIFFERENT:
            continue
        item.add_marker(pytest.mark.xfail(reason=DIFFERENT[name], strict=True))


@pytest_asyncio.fixture
async def aiohttp_client() -> AsyncIterator[Callable[[web.Application], Awaitable[Any]]]:
    """Starts an application on a port of this machine, with a client."""
    clients: list[Any] = []

    async def start(app: web.Application) -> Any:
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield start
    for client in clients:
        await client.close()

"""What Starlette's tests call a test client's factory (starlette 1.10.0, tests/types.py, shortened; see LICENSE.md)."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.testclient import TestClient
from starlette.types import ASGIApp


class TestClientFactory(Protocol):
    """Makes a client of an application."""

    __test__ = False

    def __call__(self, app: ASGIApp, base_url: str = ..., *, cookies: Any = ...) -> TestClient: ...

"""What Starlette's tests call a test client's factory (starlette 1.10.0, tests/types.py, shortened; see LICENSE.md)."""

from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient

TestClientFactory = Callable[..., TestClient]

"""The fixture that Starlette's tests share (starlette 1.10.0, tests/conftest.py, shortened; see LICENSE.md)."""

from __future__ import annotations

import functools
from typing import Any, Literal

import pytest
from starlette.testclient import TestClient
from tests.frameworks.starlette_suite.types import TestClientFactory


@pytest.fixture
def test_client_factory(
    anyio_backend_name: Literal["asyncio", "trio"], anyio_backend_options: dict[str, Any]
) -> TestClientFactory:
    """A client's factory, on asyncio and on trio."""
    return functools.partial(TestClient, backend=anyio_backend_name, backend_options=anyio_backend_options)

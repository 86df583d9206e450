"""Every store, called as sync code and as async code would call it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.guarantees.kit import SHARED, WITH_ASYNC_TWIN, Calls, event_loop, opened_store, store_url
from tests.stores.conftest import broken_port, hanging_port, hanging_up_port, nonsense_port, refusing_port

from hardtack import SessionManager, StoreEngine
from hardtack.events import Event

__all__ = ["broken_port", "hanging_port", "hanging_up_port", "nonsense_port", "refusing_port"]

WAYS = [
    *((name, "sync") for name in ("memory", *SHARED)),
    *((name, "in a worker thread") for name in ("memory", *SHARED)),
    *((name, "async") for name in WITH_ASYNC_TWIN),
]
"""A store, and how it is called: by sync code; by async code, which does not wait for it; or with coroutines."""


@pytest.fixture
def told() -> list[Event]:
    """What the manager of `calls` told."""
    return []


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{way[1].replace(' ', '-')}")
def calls(request: pytest.FixtureRequest, tmp_path: Path, told: list[Event]) -> Iterator[Calls]:
    """A manager on each store, called in each way."""
    name, way = request.param
    asynchronous = way == "async"
    url = store_url(name, request, tmp_path, asynchronous=asynchronous)
    with (
        event_loop(asynchronous=way != "sync") as portal,
        opened_store(url, portal, asynchronous=asynchronous) as store,
    ):
        yield Calls(SessionManager(StoreEngine(store), on_event=told.append), portal)

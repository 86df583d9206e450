"""A store that answers with another's session: whoever asked is served as himself, or as nobody, and never as the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from tests.guarantees.kit import WITH_ASYNC_TWIN, Browser, Calls, event_loop, opened_store
from tests.stores.switch import Switch, switch

from hardtack import SessionManager, StoreEngine
from hardtack.events import Event, StoreFailed

TOLD: list[Event] = []


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def portal(request: pytest.FixtureRequest) -> Iterator[BlockingPortal | None]:
    """An event loop, if the store is an async one."""
    with event_loop(asynchronous=request.param) as portal:
        yield portal


@pytest.fixture(params=WITH_ASYNC_TWIN)
def address(request: pytest.FixtureRequest, portal: BlockingPortal | None) -> Iterator[tuple[Switch, str]]:
    """An address before the server, and the URL of the store there."""
    server = request.getfixturevalue(f"{request.param}_server")
    url = server.url if portal is None else getattr(server, "async_url", server.url)
    with switch(server.port) as address:
        yield address, url.replace(f":{server.port}", f":{address.port}")


@pytest.fixture
def site(address: tuple[Switch, str], portal: BlockingPortal | None) -> Iterator[tuple[Switch, Calls]]:
    """A manager on that store."""
    TOLD.clear()
    with opened_store(address[1], portal, asynchronous=portal is not None) as store:
        yield address[0], Calls(SessionManager(StoreEngine(store), on_event=TOLD.append), portal)


def two_logged_in(calls: Calls) -> tuple[Any, Any]:
    """Alice and Bob: their browsers, and the ids of their sessions."""
    browsers, ids = [], []
    for name in ("alice", "bob"):
        browser = Browser()
        session = calls.open(None)
        session.login(name)
        browser.take(calls.commit(session))
        browsers.append(browser)
        ids.append(session.id)
    return browsers, ids


def test_confused_connections_are_given_up(site: tuple[Switch, Calls]) -> None:
    """What came over a connection is somebody else's: over a fresh one comes the right record, and the user sees nothing."""
    address, calls = site
    browsers, ids = two_logged_in(calls)
    before = address.accepted

    address.swap(*ids, always=False)

    assert [calls.open(browser.header).subject for browser in browsers] == ["alice", "bob"]
    assert address.accepted > before
    assert [event for event in TOLD if isinstance(event, StoreFailed)] == []


def test_a_store_that_is_confused_serves_nobody_as_another(site: tuple[Switch, Calls]) -> None:
    """Asked once more, it says the same: nobody is logged in, the cookie is cleared, and an event says why."""
    address, calls = site
    browsers, ids = two_logged_in(calls)

    address.swap(*ids, always=True)
    sessions = [calls.open(browser.header) for browser in browsers]

    assert [session.subject for session in sessions] == [None, None]
    assert [(event.operation, event.error) for event in TOLD if isinstance(event, StoreFailed)] == [
        ("decode", "wrong_record")
    ] * 2
    assert all("Max-Age=0" in calls.commit(session).set_cookies[0] for session in sessions)

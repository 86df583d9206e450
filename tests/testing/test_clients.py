"""`cookie_header` and its twin: what they return is what a browser would send."""

from __future__ import annotations

import asyncio

import pytest
from tests.kit import KEY
from tests.servers import RedisServer

from hardtack import Cookie, CookieEngine, SessionManager, StoreEngine
from hardtack.errors import UnsupportedValue
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import AsyncRedisStore
from hardtack.testing import acookie_header, cookie_header


@pytest.mark.parametrize("engine", [CookieEngine(KEY), StoreEngine(MemoryStore())])
def test_the_header_opens_the_session(engine: CookieEngine | StoreEngine) -> None:
    """It holds the data, and belongs to the subject, whose login is now."""
    sessions = SessionManager(engine)

    session = sessions.open(cookie_header(sessions, {"cart": ["bread"]}, "alice"))

    assert dict(session) == {"cart": ["bread"]}
    assert session.subject == "alice"
    assert session.authenticated_at is not None


def test_without_a_subject_nobody_is_logged_in() -> None:
    """A visitor with a cart."""
    sessions = SessionManager(CookieEngine(KEY))

    session = sessions.open(cookie_header(sessions, {"cart": []}))

    assert (dict(session), session.subject) == ({"cart": []}, None)


def test_a_subject_without_data() -> None:
    """A user who has just logged in."""
    sessions = SessionManager(CookieEngine(KEY))

    assert sessions.open(cookie_header(sessions, {}, "alice")).subject == "alice"


def test_neither_data_nor_a_subject_is_no_cookie() -> None:
    """Nothing is stored of such a session, so its browser sends nothing."""
    assert cookie_header(SessionManager(CookieEngine(KEY)), {}) == ""


def test_a_session_in_chunks_is_several_cookies() -> None:
    """All of them are in the header, under the manager's own name."""
    sessions = SessionManager(CookieEngine(KEY, overflow="chunk"), cookie=Cookie(name="__Host-shop"))
    data = {"long": "x" * 5000}

    header = cookie_header(sessions, data)

    assert [part.partition("=")[0] for part in header.split("; ")] == ["__Host-shop.0", "__Host-shop.1"]
    assert dict(sessions.open(header)) == data


def test_what_cannot_be_stored_is_told() -> None:
    """A test is told of it as the application would be."""
    with pytest.raises(UnsupportedValue):
        cookie_header(SessionManager(CookieEngine(KEY)), {"a": object()})


def test_the_twin_reaches_an_async_store(redis_server: RedisServer) -> None:
    """For tests of async applications, on stores that only async code can reach."""

    async def main() -> tuple[dict[str, object], str | None]:
        async with SessionManager(StoreEngine(AsyncRedisStore.from_url(redis_server.url))) as sessions:
            session = await sessions.aopen(await acookie_header(sessions, {"a": 1}, "alice"))
            return dict(session), session.subject

    assert asyncio.run(main()) == ({"a": 1}, "alice")

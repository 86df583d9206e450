"""What these tests share: every store by name, sync or async calls of a manager, and a browser with a real cookie jar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from hardtack import Session, SessionManager
from hardtack.changes import Changes
from hardtack.stores import from_url
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore

NAME = "__Host-Http-session"
"""The cookie's name by default."""

SHARED = ("file", "sqlite", "postgresql", "mariadb", "redis", "memcached")
"""The stores that several processes can share."""

WITH_ASYNC_TWIN = ("postgresql", "mariadb", "redis", "memcached")


def store_url(name: str, request: pytest.FixtureRequest, directory: Path, *, asynchronous: bool = False) -> str:
    """The URL of a store; its server is started where it is not running yet."""
    if name == "memory":
        return "memory://"
    if name == "file":
        return f"file://{directory / 'sessions'}"
    if name == "sqlite":
        return f"sqlite:///{directory / 'sessions.sqlite'}"
    server = request.getfixturevalue(f"{name}_server")
    url: str = server.async_url if asynchronous and hasattr(server, "async_url") else server.url
    return url


class Calls:
    """A manager, called by the names of its sync methods: by these themselves, or by their async twins on an event loop.

    Args:
        sessions: the manager.
        portal: where the event loop runs; None: the sync methods are called.
    """

    def __init__(self, sessions: SessionManager, portal: BlockingPortal | None) -> None:
        self.sessions = sessions
        self._portal = portal

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._portal is None:
            return getattr(self.sessions, name)(*arguments)
        return self._portal.call(getattr(self.sessions, f"a{name}"), *arguments)

    def open(self, header: str | None) -> Session:
        """The session of a request, loaded."""
        session: Session = self._call("open", header)
        assert session.get("nothing") is None
        return session

    def commit(self, session: Session) -> Changes:
        """Commit, and finish as an adapter does after the body."""
        changes: Changes = self._call("commit", session)
        self._call("finish", session)
        return changes

    def end(self, id: str) -> bool:
        """End a session from outside a request."""
        ended: bool = self._call("end", id)
        return ended


@contextmanager
def event_loop(*, asynchronous: bool) -> Iterator[BlockingPortal | None]:
    """An event loop in another thread, if one is wanted."""
    if not asynchronous:
        yield None
        return
    with start_blocking_portal() as portal:
        yield portal


@contextmanager
def opened_store(url: str, portal: BlockingPortal | None = None, *, asynchronous: bool = False) -> Iterator[Any]:
    """The store of a URL, its table created; closed in the end."""
    store: Any = from_url(url, asynchronous=asynchronous)
    call: Any = (lambda method: method()) if portal is None or hasattr(store, "blocking") else portal.call
    if isinstance(store, SQLAlchemyStore | AsyncSQLAlchemyStore):
        call(store.create_table)
    yield store
    call(store.close)


class Browser:
    """Cookies as the standard library's jar keeps and sends them, over https.

    Args:
        header: the Cookie header of a browser whose only cookie this one has too.
    """

    def __init__(self, header: str = "") -> None:
        self._cookies = httpx.Cookies()
        if header:
            self.take(Changes([f"{header}; Path=/; Secure; HttpOnly; SameSite=Lax"]))

    def take(self, changes: Changes) -> Changes:
        """Receive a response."""
        headers = [("Set-Cookie", line) for line in changes.set_cookies]
        self._cookies.extract_cookies(httpx.Response(200, headers=headers, request=self._request()))
        return changes

    @property
    def header(self) -> str:
        """The Cookie header of the next request."""
        request = self._request()
        self._cookies.set_cookie_header(request)
        header: str = request.headers.get("Cookie", "")
        return header

    @staticmethod
    def _request() -> httpx.Request:
        return httpx.Request("GET", "https://shop.example/")

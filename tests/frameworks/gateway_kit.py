"""What the tests of ASGI, WSGI, Starlette and FastAPI share: managers, stores that fail, and a bare ASGI client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from hardtack import Cookie, CookieEngine, Key, SessionManager, StoreEngine
from hardtack.errors import StoreUnavailable
from hardtack.events import Event
from hardtack.protocols import Entry, Tombstone, Version
from hardtack.stores.memory import MemoryStore

KEY = Key(bytes(range(32)))

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
UNAVAILABLE = b"The session store cannot be reached. Try again soon.\n"

BODY = {"type": "http.response.body", "body": b"ok"}


class UnreliableStore(MemoryStore):
    """A store that can be switched off, for reading, for writing or both."""

    def __init__(self) -> None:
        super().__init__()
        self.readable = self.writable = True

    def get(self, key: str) -> Entry | None:
        if not self.readable:
            raise StoreUnavailable("switched off")
        return super().get(key)

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        if not self.writable:
            raise StoreUnavailable("switched off")
        return super().put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None = None,
    ) -> Version:
        if not self.writable:
            raise StoreUnavailable("switched off")
        return super().rename(
            old, new, data, expires_at=expires_at, if_version=if_version, subject=subject, tombstone=tombstone
        )


class AsyncMemoryStore:
    """MemoryStore for async code only."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    async def get(self, key: str) -> Entry | None:
        return self.store.get(key)

    async def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        return self.store.put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    async def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        return self.store.delete(key, if_version=if_version)

    async def close(self) -> None:
        self.store.close()


def manager(store: Any = None, *, events: list[Event] | None = None, **options: Any) -> SessionManager:
    """A manager of cookies, or of a store where one is given."""
    engine = CookieEngine(KEY) if store is None else StoreEngine(store)
    options.setdefault("cookie", Cookie.for_development())
    return SessionManager(engine, on_event=None if events is None else events.append, **options)


def cookie_of(sessions: SessionManager, **data: Any) -> str:
    """The Cookie header of a browser whose session holds `data`."""
    session = sessions.open()
    session.update(data)
    return sessions.commit(session).set_cookies[0].partition(";")[0]


def data_of(sessions: SessionManager, header: str | bytes) -> dict[str, Any]:
    """What a request with this Cookie header would find."""
    return dict(sessions.open(header))


async def receive() -> Message:
    """A request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


def scope_of(*cookies: str, kind: str = "http", **more: Any) -> Scope:
    """The scope of a request, with one Cookie header for each cookie."""
    headers = [(b"host", b"localhost"), *((b"cookie", cookie.encode()) for cookie in cookies)]
    return {"type": kind, "method": "GET", "path": "/", "scheme": "http", "headers": headers, **more}


async def call(
    app: App, scope: Scope, receive: Receive = receive, *, sent: list[Message] | None = None
) -> list[Message]:
    """The messages that an ASGI application sends; they are in `sent` also where it raises."""
    sent = [] if sent is None else sent

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def values(message: Message, name: bytes) -> list[str]:
    """The values of one header of a message, in order."""
    headers: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
    return [value.decode("latin-1") for key, value in headers if key == name]


def set_cookies(message: Message) -> list[str]:
    """The Set-Cookie lines of a message."""
    return values(message, b"set-cookie")

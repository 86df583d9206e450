"""ASGI: a middleware that opens a session for each http request and websocket, and commits it before the headers leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar, Final

from hardtack.cookies import Changes
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.manager import SessionManager
from hardtack.session import Session

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

SESSIONS: Final = "hardtack.sessions"
"""Where the manager is in `scope["state"]`."""

UNAVAILABLE: Final = b"The session store cannot be reached. Try again soon.\n"
RETRY_AFTER: Final = 5  # seconds

_NORMAL_CLOSURE_FAILED: Final = 1011  # RFC 6455 7.4.1: the server met a condition that it did not expect


class SessionMiddleware:
    """Puts the session into `scope["session"]`, and the manager into `scope["state"]["hardtack.sessions"]`.

    What the application did to the session is saved when it starts its response, and the cookie goes with that. An
    exception that escapes the application saves nothing. Where the store cannot be reached the answer is 503. A websocket
    can set a cookie only when it is accepted; later changes are saved in a store, or are the event `LateWrite`.

    Args:
        app: the ASGI application.
        sessions: the manager. The application closes it, not the middleware.

    Raises `ConfigError`, on a request, where two session middlewares share it, or `scope["session"]` was replaced.
    """

    kind: ClassVar[type[Session]] = Session
    """What sessions are made of: for frameworks that want a subclass."""

    disconnected: ClassVar[tuple[type[Exception], ...]] = ()
    """What a framework raises out of a websocket whose client has left: no failure of the application."""

    def __init__(self, app: ASGIApp, sessions: SessionManager) -> None:
        if not isinstance(sessions, SessionManager):
            message = f"SessionMiddleware(app, sessions) takes a SessionManager, not {type(sessions).__name__}"
            raise ConfigError(message)
        self.app = app
        self.sessions = sessions
        self.waits = sessions.engine.store is not None
        """Whether opening and saving can wait for a store; where they cannot, a coroutine for each would cost time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if "session" in scope:
            raise ConfigError(
                "there are two session middlewares on one request: remove the one of the mounted or the outer application; "
                "each would set a cookie from what the other has put into the scope"
            )
        sessions = self.sessions
        try:
            header = _cookie_header(scope)
            session = await sessions.aopen(header, self.kind) if self.waits else sessions.open(header, self.kind)
        except StoreUnavailable as error:
            await _refuse(scope, send, error)
            return
        scope["session"] = session
        scope.setdefault("state", {})[SESSIONS] = sessions
        response = _Response(self, session, scope, send)
        try:
            await self.app(scope, receive, response.send)
        except self.disconnected:
            await sessions.afinish(session)
            raise
        except Exception as error:
            failure = response.failure or error
            if response.started or not isinstance(failure, StoreUnavailable):
                raise
            await _refuse(scope, send, failure)
            return
        if response.started:
            if sessions.is_late(session):
                await sessions.afinish(session)
        elif response.failure is not None:  # the application swallowed the error and answered nothing
            await _refuse(scope, send, response.failure)


class _Response:
    """One response: commits the session when it starts."""

    __slots__ = ("failure", "middleware", "root_path", "scope", "server", "session", "started", "tried")

    def __init__(self, middleware: SessionMiddleware, session: Session, scope: Scope, send: Send) -> None:
        self.middleware = middleware
        self.session = session
        self.scope = scope
        self.root_path = scope.get("root_path", "")
        self.server = send
        self.tried = False  # one commit for each response, whether it succeeds or not
        self.started = False
        self.failure: StoreUnavailable | None = None

    async def send(self, message: Message) -> None:
        if not self.started and _begins_response(message):
            if self.scope.get("session", self.session) is not self.session:
                self._refuse_replacement()
            if not self.tried:
                self.tried = True
                changes = (
                    await self._commit() if self.middleware.waits else self.middleware.sessions.commit(self.session)
                )
            else:
                # The application's own page for a commit that failed, which may show the session. With a store that is
                # down a logout still clears the cookie.
                lines = [] if self.failure is None else list(self.failure.set_cookies)
                changes = Changes(lines, accessed=True, no_store=True)
            if changes:
                message = self._with(changes, message)
            self.started = True
        await self.server(message)

    def _refuse_replacement(self) -> None:
        if self.scope.get("root_path", "") != self.root_path:
            return  # of a mounted application, such as an administration site, which has sessions of its own
        raise ConfigError(
            "scope['session'] has been replaced: by another session middleware inside of this one, which is to be removed, "
            "or by the application, which is to fill the session that is there, or call its logout()"
        )

    async def _commit(self) -> Changes:
        try:
            return await self.middleware.sessions.acommit(self.session)
        except StoreUnavailable as error:
            self.failure = error
            raise

    def _with(self, changes: Changes, message: Message) -> Message:
        if changes.set_cookies:
            self.middleware.sessions.warn_plain_http(self.scope.get("scheme", "http"), _host(self.scope))
        # A copy: an application may send one constant message to everyone, and would hand out this cookie with it.
        headers: list[tuple[bytes, bytes]] = list(message.get("headers") or ())
        if message["type"] == "websocket.accept":
            headers.extend((b"set-cookie", value.encode("latin-1")) for value in changes.set_cookies)
        else:
            changes.apply_raw(headers)
        return {**message, "headers": headers}


def _begins_response(message: Message) -> bool:
    kind = message["type"]
    if kind == "http.response.start":
        return bool(message["status"] >= 200)  # a 1xx comes before the response
    return kind in ("websocket.accept", "websocket.http.response.start")


def _cookie_header(scope: Scope) -> bytes:
    # HTTP/2 may split the header (RFC 9113 8.2.3).
    return b"; ".join([value for name, value in scope["headers"] if name == b"cookie"])


def _host(scope: Scope) -> str:
    hosts: list[bytes] = [value for name, value in scope["headers"] if name == b"host"]
    return hosts[0].decode("latin-1") if hosts else ""


async def _refuse(scope: Scope, send: Send, error: StoreUnavailable) -> None:
    """Answer 503; a websocket is closed before it was accepted where its server cannot send a response."""
    if scope["type"] == "http":
        kind = "http.response"
    elif "websocket.http.response" in scope.get("extensions", {}):
        kind = "websocket.http.response"
    else:
        await send({"type": "websocket.close", "code": _NORMAL_CLOSURE_FAILED})
        return
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(UNAVAILABLE)).encode()),
        (b"retry-after", str(RETRY_AFTER).encode()),
        (b"cache-control", b"no-store"),
        *((b"set-cookie", value.encode("latin-1")) for value in error.set_cookies),
    ]
    await send({"type": f"{kind}.start", "status": 503, "headers": headers})
    await send({"type": f"{kind}.body", "body": UNAVAILABLE})

"""ASGI: a middleware that opens a session for each http request and websocket, and commits it before the headers leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar, Final

from hardtack.adapters import (
    FAILED,
    Answer,
    Changes,
    answer_to,
    asgi_request,
    check_manager,
    cookie_header,
    cookies_of,
    state_of,
    waits,
    warn_plain_http,
)
from hardtack.errors import ConfigError, HardtackError
from hardtack.manager import SessionManager
from hardtack.session import Session

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

SESSIONS: Final = "hardtack.sessions"
"""Where the manager is in `scope["state"]`."""

_NORMAL_CLOSURE_FAILED: Final = 1011  # RFC 6455 7.4.1: the server met a condition that it did not expect
_SERVER_ERROR: Final = 500


class SessionMiddleware:
    """Puts the session into `scope["session"]`, and the manager into `scope["state"]["hardtack.sessions"]`.

    What the application did to the session is saved when it starts its response, and the cookie goes with that. An
    exception that escapes the application saves nothing, but what it ended is ended. Where the store cannot be reached the
    answer is 503, where a save was dropped 409. A websocket can set a cookie only when it is accepted; later changes are
    saved in a store, or are the event `LateWrite`.

    Args:
        app: the ASGI application.
        sessions: the manager. The application closes it, not the middleware.
        commit_on_500: whether a response with status 500 saves what the request did. It is what a framework inside makes of
            an exception that nothing handled, and cannot be told from a page that the application made itself.
        passive: says of a scope whether the request is no activity of the user, such as a page that polls.

    Raises `ConfigError`, on a request, where two session middlewares share it, or `scope["session"]` was replaced.
    """

    kind: ClassVar[type[Session]] = Session
    """What sessions are made of: for frameworks that want a subclass."""

    disconnected: ClassVar[tuple[type[Exception], ...]] = ()
    """What a framework raises out of a websocket whose client has left: no failure of the application."""

    def __init__(
        self,
        app: ASGIApp,
        sessions: SessionManager,
        *,
        commit_on_500: bool = False,
        passive: Callable[[Scope], bool] | None = None,
    ) -> None:
        self.app = app
        self.sessions = check_manager(sessions, "SessionMiddleware(app, sessions)")
        self.commit_on_500 = commit_on_500
        self.passive = passive
        self.waits = waits(sessions)
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
        header = cookie_header(scope)
        request = asgi_request(scope)
        if self.passive is not None:
            request.passive = self.passive(scope)
        try:
            session = (
                await sessions.aopen(header, request, kind=self.kind)
                if self.waits
                else sessions.open(header, request, kind=self.kind)
            )
        except HardtackError as error:
            await _refuse(scope, send, answer_to(error))
            return
        scope["session"] = session
        scope.setdefault("state", {})[SESSIONS] = sessions
        response = _Response(self, session, scope, send)
        try:
            await self.app(scope, receive, response.send)
        except self.disconnected:
            await sessions.afinish(session)
            raise
        except BaseException as error:
            await self._failed(response, error)
            return
        if not response.started:
            await self._unanswered(response)
        elif response.state.accessed:
            if self.waits:
                await sessions.afinish(session)
            else:
                sessions.finish(session)

    async def _unanswered(self, response: _Response) -> None:
        """A websocket was refused, or the application has swallowed an error: nothing is saved."""
        if response.failure is not None:
            await _refuse(response.scope, response.server, answer_to(response.failure))
        elif response.session.accessed:
            await self.sessions.aabort(response.session)

    async def _failed(self, response: _Response, error: BaseException) -> None:
        """The application failed: what it ended is ended, and its answer is 503, 409 or 403 where an error says so."""
        lines: list[str] = []
        failure: BaseException = response.failure or error
        if response.failure is None and response.session.accessed:
            try:
                lines = (await self.sessions.aabort(response.session)).set_cookies
            except HardtackError as unavailable:
                lines = cookies_of(unavailable)
        answer = answer_to(failure)
        if response.started:
            raise error
        if answer is not None:
            await _refuse(response.scope, response.server, answer, lines)
            return
        if lines and isinstance(error, Exception):
            # A logout before the failure: whatever page is made outside of here could not clear the cookie.
            await _refuse(response.scope, response.server, FAILED, lines)
        raise error


class _Response:
    """One response: commits the session when it starts."""

    __slots__ = ("failure", "middleware", "root_path", "scope", "server", "session", "started", "state", "tried")

    def __init__(self, middleware: SessionMiddleware, session: Session, scope: Scope, send: Send) -> None:
        self.middleware = middleware
        self.session = session
        self.state = state_of(session)
        self.scope = scope
        self.root_path = scope.get("root_path", "")
        self.server = send
        self.tried = False  # one commit for each response, whether it succeeds or not
        self.started = False
        self.failure: HardtackError | None = None

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on. Where nothing has to be waited for, no coroutine of our own stands between: each costs time."""
        if not self.started and _begins_response(message):
            session = self.session
            if self.scope.get("session", session) is not session:
                self._refuse_replacement()
            if self.state.accessed:
                status = message.get("status")
                if self.middleware.waits or self.tried or status == _SERVER_ERROR:
                    return self._send_committed(message)
                self.tried = True
                try:
                    changes = self.middleware.sessions.commit(session, status)
                except HardtackError as error:
                    self.failure = error
                    raise
                message = self._with(changes, message)
            self.started = True
        return self.server(message)

    async def _send_committed(self, message: Message) -> None:
        message = await self._commit_with(message)
        self.started = True
        await self.server(message)

    async def _commit_with(self, message: Message) -> Message:
        """The message with what the response has to say of the session."""
        if self.tried:
            # The application's own page for a commit that failed, which may show the session.
            changes = Changes(
                cookies_of(self.failure) if self.failure is not None else [], accessed=True, no_store=True
            )
        else:
            self.tried = True
            try:
                changes = await self._commit(message.get("status"))
            except HardtackError as error:
                self.failure = error
                raise
        return self._with(changes, message) if changes else message

    async def _commit(self, status: int | None) -> Changes:
        sessions = self.middleware.sessions
        if status == _SERVER_ERROR and not self.middleware.commit_on_500:
            changes = await sessions.aabort(self.session)
            changes.accessed = True
            return changes
        return (
            await sessions.acommit(self.session, status)
            if self.middleware.waits
            else sessions.commit(self.session, status)
        )

    def _refuse_replacement(self) -> None:
        if self.scope.get("root_path", "") != self.root_path:
            return  # of a mounted application, such as an administration site, which has sessions of its own
        raise ConfigError(
            "scope['session'] has been replaced: by another session middleware inside of this one, which is to be removed, "
            "or by the application, which is to fill the session that is there, or call its logout()"
        )

    def _with(self, changes: Changes, message: Message) -> Message:
        scheme = self.scope.get("scheme", "http")
        if changes.set_cookies and scheme in ("http", "ws"):  # asked here, too: the host is dear to find out
            warn_plain_http(self.middleware.sessions, scheme, asgi_request(self.scope).host)
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


async def _refuse(scope: Scope, send: Send, answer: Answer | None, lines: list[str] | None = None) -> None:
    """Answer an error; a websocket is closed before it was accepted where its server cannot send a response."""
    assert answer is not None
    if scope["type"] == "http":
        kind = "http.response"
    elif "websocket.http.response" in scope.get("extensions", {}):
        kind = "websocket.http.response"
    else:
        await send({"type": "websocket.close", "code": _NORMAL_CLOSURE_FAILED})
        return
    pairs = [*answer.headers, *(("set-cookie", line) for line in lines or ())]
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.text.encode()})

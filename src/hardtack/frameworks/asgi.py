"""ASGI: a middleware that opens a session for each http request and websocket, and commits it before the headers leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, ClassVar, Final, NoReturn

from hardtack.adapters import (
    ENDPOINTS,
    FAILED,
    Answer,
    Changes,
    answer_to,
    asgi_device_answer,
    asgi_request,
    check_manager,
    cookie_header,
    discard,
    preload,
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
        if ENDPOINTS in scope["path"] and await self._answer_device(scope, send):
            return
        request = asgi_request(scope)
        if self.passive is not None:
            request.passive = self.passive(scope)
        session = sessions.open(cookie_header(scope), request, kind=self.kind)
        if self.waits:
            # A store that is down is told to who asks for the session: others need none, and frameworks have a page for that.
            await preload(session)
        scope["session"] = session
        scope.setdefault("state", {})[SESSIONS] = sessions
        response = Response(self, session, scope, receive, send)
        try:
            await self.app(scope, receive, response.send)
        except self.disconnected:
            await (sessions.afinish(session) if response.started else response.abort())
            raise
        except BaseException as error:
            if not await response.failed(error):
                raise
            return
        if not response.started:
            await response.unanswered()
        elif response.failure is not None:
            discard(session)
        elif self.waits and response.state.accessed:
            await sessions.afinish(session)
        else:
            sessions.finish(session)

    async def _answer_device(self, scope: Scope, send: Send) -> bool:
        """Answer a browser that registers or proves the key of its device; False for every other request."""
        device = await asgi_device_answer(self.sessions, scope)
        if device is None:
            return False
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in device.headers]
        await send({"type": "http.response.start", "status": device.status, "headers": headers})
        await send({"type": "http.response.body", "body": device.body})
        return True

    def is_page_of_failure(self, status: int) -> bool:
        """Whether a response is a framework's own page for an exception that nothing handled: such a one saves nothing."""
        return status == _SERVER_ERROR and not self.commit_on_500

    async def answer(self, response: Response, error: BaseException) -> bool:
        """Answer an error of the session that the application has not answered; False for one that is not of the session."""
        answer = answer_to(error)
        if answer is None:
            return False
        await response.refuse(answer)
        return True


class Response:
    """One response: commits the session when it starts.

    Attributes:
        scope, receive: of the request.
        started: its headers have left.
        lines: Set-Cookie lines of a commit that failed, or of what was ended although the application failed.
    """

    __slots__ = (
        "failure",
        "lines",
        "middleware",
        "receive",
        "root_path",
        "scope",
        "server",
        "session",
        "started",
        "state",
        "tried",
    )

    def __init__(
        self, middleware: SessionMiddleware, session: Session, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.middleware = middleware
        self.session = session
        self.state = state_of(session)
        self.scope = scope
        self.root_path = scope.get("root_path", "")
        self.receive = receive
        self.server = send
        self.tried = False  # one commit for each response, whether it succeeds or not
        self.started = False
        self.failure: HardtackError | None = None
        self.lines: Sequence[str] = ()

    def send(self, message: Message) -> Awaitable[None]:
        """What the application sends with. No coroutine of its own where there is nothing to wait for: each costs time."""
        if self.started or not _begins_response(message):
            return self.server(message)
        if self.scope.get("session", self.session) is not self.session:
            self._refuse_replacement(message)
        if self.state.accessed:
            status = message.get("status")
            if self.tried or self.middleware.waits or (status is not None and status >= _SERVER_ERROR):
                return self._begin(message)
            self.tried = True
            try:
                changes = self.middleware.sessions.commit(self.session, status)
            except HardtackError as error:
                self._fail(error)
            message = self._with(changes, message)
        self.started = True
        return self.server(message)

    async def _begin(self, message: Message) -> None:
        """Send the message that begins the response, with what that has to say of the session."""
        if self.tried:  # the application's own page for a commit that failed, which may show the session
            changes = Changes(list(self.lines), accessed=True, no_store=True)
        else:
            self.tried = True
            middleware, session, status = self.middleware, self.session, message.get("status")
            try:
                if status is not None and status >= _SERVER_ERROR and middleware.is_page_of_failure(status):
                    changes = await middleware.sessions.aabort(session)
                    changes.accessed = True
                elif middleware.waits:
                    changes = await middleware.sessions.acommit(session, status)
                else:
                    changes = middleware.sessions.commit(session, status)
            except HardtackError as error:
                self._fail(error)
        self.started = True
        await self.server(self._with(changes, message))

    def _fail(self, error: HardtackError) -> NoReturn:
        """Remember for the answer that a commit failed, and raise the error as the application knows it."""
        self.failure = error
        self.lines = error.set_cookies
        translated = self.session.translate(error)
        if translated is error:
            raise error
        raise translated from error

    def _refuse_replacement(self, message: Message) -> None:
        if self.scope.get("root_path", "") != self.root_path:
            # Of a mounted application, such as an administration site, which has sessions of its own.
            name = self.middleware.sessions.cookie.name
            if any(
                key.lower() == b"set-cookie" and value.startswith(f"{name}=".encode()) for key, value in _pairs(message)
            ):
                self.middleware.sessions.core.warn_once(_OVERWRITTEN % name)
            return
        raise ConfigError(
            "scope['session'] has been replaced: by another session middleware inside of this one, which is to be removed, "
            "or by the application, which is to fill the session that is there, or call its logout()"
        )

    def _with(self, changes: Changes, message: Message) -> Message:
        scheme = self.scope.get("scheme", "http")
        if changes.set_cookies and scheme in ("http", "ws"):  # asked here, too: the host is dear to find out
            warn_plain_http(self.middleware.sessions, scheme, asgi_request(self.scope).host)
        # A copy: an application may send one constant message to everyone, and would hand out this cookie with it.
        headers = _pairs(message)
        if message["type"] == "websocket.accept":
            headers.extend((b"set-cookie", value.encode("latin-1")) for value in changes.set_cookies)
        else:
            changes.apply_raw(headers)
        return {**message, "headers": headers}

    # --- an application that failed

    async def failed(self, error: BaseException) -> bool:
        """The application failed: what it ended is ended. Whether that was answered: with 503, 409 or 403, as an error says."""
        failure = self.failure or error
        await self.abort()
        if self.started or not isinstance(error, Exception):
            return False
        if await self.middleware.answer(self, failure):
            return True
        await self._say_what_was_ended()
        return False

    async def unanswered(self) -> None:
        """The application answered nothing, perhaps since it has swallowed an error; or it closed a websocket."""
        await self.abort()
        if self.scope["type"] == "http" or self.failure is not None:
            await self._say_what_was_ended()

    async def _say_what_was_ended(self) -> None:
        """Answer where a logout preceded the failure: whatever page is made outside of here could not clear the cookie."""
        if self.failure is not None and await self.middleware.answer(self, self.failure):
            return
        if self.lines:
            await self.refuse(FAILED)

    async def abort(self) -> None:
        """Nothing is saved, but what was ended is ended, unless that has been tried."""
        if self.failure is not None:
            discard(self.session)
        if self.failure is not None or not self.state.accessed:
            return
        try:
            self.lines = (await self.middleware.sessions.aabort(self.session)).set_cookies
        except HardtackError as error:
            self.lines = error.set_cookies
            self.failure = error

    async def refuse(self, answer: Answer) -> None:
        """Send a plain answer; a websocket is closed before it was accepted where its server cannot send a response."""
        self.started = True
        if self.scope["type"] == "http":
            kind = "http.response"
        elif "websocket.http.response" in self.scope.get("extensions", {}):
            kind = "websocket.http.response"
        else:
            await self.server({"type": "websocket.close", "code": _NORMAL_CLOSURE_FAILED})
            return
        pairs = dict.fromkeys([*answer.headers, *(("Set-Cookie", line) for line in self.lines)])
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
        await self.server({"type": f"{kind}.start", "status": answer.status, "headers": headers})
        await self.server({"type": f"{kind}.body", "body": answer.text.encode()})


_OVERWRITTEN: Final = (
    "a session middleware in a mounted application sets a cookie that is called %s too: each overwrites the other's, and users "
    "lose their session in both; give one of the two another name"
)


def _pairs(message: Message) -> list[tuple[bytes, bytes]]:
    return list(message.get("headers") or ())


def _begins_response(message: Message) -> bool:
    kind = message["type"]
    if kind == "http.response.start":
        return bool(message["status"] >= 200)  # a 1xx comes before the response
    return kind in ("websocket.accept", "websocket.http.response.start")

"""Litestar: a backend for its own session middleware, so that `request.session`, `SessionAuth` and flash messages work.

app = Litestar([…], middleware=[HardtackSessionConfig(sessions).middleware])
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast
from uuid import UUID

from hardtack._extras import explain
from hardtack.adapters import (
    Answer,
    Changes,
    answer_to,
    asgi_device_answer,
    asgi_request,
    check_manager,
    cookie_header,
    cookies_of,
    discard,
    hand_out,
    http_errors,
    known_id,
    preload,
    replace_data,
    state_of,
    waits,
    warn_plain_http,
)
from hardtack.errors import ConfigError, HardtackError
from hardtack.manager import SessionManager
from hardtack.session import Session

try:
    import msgspec
    from litestar import asgi
    from litestar.enums import ScopeType
    from litestar.exceptions import (
        HTTPException,
        NotFoundException,
        PermissionDeniedException,
        ServiceUnavailableException,
        WebSocketException,
    )
    from litestar.middleware._internal.exceptions import ExceptionHandlerMiddleware  # no public name; SessionAuth's too
    from litestar.middleware.base import DefineMiddleware
    from litestar.middleware.session.base import BaseBackendConfig, BaseSessionBackend, SessionMiddleware
    from litestar.types import Empty
    from litestar.utils import get_serializer_from_scope
    from litestar.utils.scope.state import ScopeState
except ImportError as error:
    message = explain("hardtack.frameworks.litestar", "litestar", error)
    raise ImportError(message) from error

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Message, Receive, Scope, Scopes, ScopeSession, Send

__all__ = ["HardtackSessionConfig", "HardtackBackend", "HardtackMiddleware", "get_session"]

_SESSION: Final = "hardtack.session"
"""Where the scope keeps the session, because an application may put something else into `scope["session"]`."""

_BEGINNINGS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})

_LITESTARS_ANSWER: Final = ExceptionHandlerMiddleware.__call__.__code__
"""What catches the exceptions of the application, and answers to them."""

_LITESTARS_SESSION: Final = SessionMiddleware.__module__
"""Whose code puts a session of Litestar's own into the scope; an application's `set_session` does it from elsewhere."""

_BESIDE: Final = (
    "a session middleware of Litestar's own is beside HardtackSessionConfig's: remove it from the middleware (and "
    "session_auth from on_app_init, or give it HardtackSessionConfig(sessions) as its session_backend_config); request.session "
    "would be of one of the two, and each would set a cookie"
)

_KEPT: Final = (bytes, dt.datetime, dt.date, dt.time, dt.timedelta, Decimal, UUID)
"""What a session keeps as it is, where msgspec would make text of it."""


def _init(error: Any, answer: Answer) -> None:
    headers = {"Cache-Control": "no-store", **answer.own}
    HTTPException.__init__(error, detail=answer.text.strip(), status_code=answer.status, headers=headers)


_BASES: Final = {
    503: ServiceUnavailableException,
    409: HTTPException,
    403: PermissionDeniedException,
    307: HTTPException,
}

ERRORS: Final = http_errors(_BASES, _init)
"""hardtack's errors as Litestar's: the application's exception handlers for 503, 409, 403 or `HTTPException` answer them."""


class LitestarSession(Session):
    """`hardtack.Session`; what it raises where the store is down, and its like, is Litestar's HTTP exception too."""

    __slots__ = ()

    errors = ERRORS


def get_session(connection: ASGIConnection[Any, Any, Any, Any]) -> Session:
    """The session of a request or a websocket, typed, and also where the application has put another `session`.

    Raises `ConfigError` where the middleware is missing.
    """
    session = cast("dict[str, Any]", connection.scope).get(_SESSION)
    if not isinstance(session, Session):
        raise ConfigError("no session on this connection: add HardtackSessionConfig(sessions).middleware to the layer")
    hand_out(session)  # as `request.session` does: msgspec reads a dict past its methods
    return session


class HardtackBackend(BaseSessionBackend["HardtackSessionConfig"]):
    """Opens and commits sessions for Litestar's middleware, `SessionAuth` and test clients."""

    def get_session_id(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
        """The session's public handle where it is known without opening a cookie: of a session in a store."""
        session = cast("dict[str, Any]", connection.scope).get(_SESSION)
        return None if session is None else known_id(session)

    async def load_from_connection(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Session:
        """The session, which loads itself when it is touched. Raises `StoreUnavailable`."""
        header = cookie_header(connection.scope)
        if not header:  # the test clients' connection has cookies, but no headers
            header = "; ".join(f"{name}={value}" for name, value in connection.cookies.items()).encode("latin-1")
        return await self.config.sessions.aopen(header, kind=LitestarSession)

    async def store_in_message(
        self, scope_session: ScopeSession, message: Message, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> None:
        """Commit `scope_session` in place of the session that the request brought, into the headers of the message.

        Raises `SessionTooLarge`, `UnsupportedValue`, `SessionConflict` and `StoreUnavailable`.
        """
        session: Session | None = cast("dict[str, Any]", connection.scope).get(_SESSION)
        if session is None:
            session = await self.load_from_connection(connection)
        raw = cast("dict[str, Any]", message)
        changes = await self.commit(session, scope_session, connection.scope, raw.get("status"))
        changes.apply_raw(raw["headers"])

    async def commit(
        self, session: Session, scope_session: ScopeSession, scope: Scope, status: int | None = None
    ) -> Changes:
        """Commit the session, or what an application has put in its place: a mapping, a model, or `Empty`."""
        if scope_session is not session:
            _replace(session, scope_session, scope)
        return await self.config.sessions.acommit(session, status)


@dataclass(eq=False)
class HardtackSessionConfig(BaseBackendConfig[HardtackBackend]):
    """What Litestar calls the configuration of a session backend: `middleware=[HardtackSessionConfig(sessions).middleware]`.

    Attributes:
        sessions: the manager; it also says name and attributes of the cookie. The application closes it.
        scopes: connections that get a session.
        exclude: patterns of paths that get none.
        exclude_opt_key: an option of handlers that get none.
        passive: says of a scope whether the request is no activity of the user, such as a page that polls.

    Raises `ConfigError`.
    """

    _backend_class = HardtackBackend

    sessions: SessionManager
    scopes: Scopes = field(default_factory=lambda: {ScopeType.HTTP, ScopeType.WEBSOCKET})
    exclude: str | list[str] | None = None
    exclude_opt_key: str = "skip_session"
    passive: Callable[[Any], bool] | None = None
    key: str = field(init=False)
    max_age: int = field(init=False)
    path: str = field(init=False)
    domain: str | None = field(init=False)
    secure: bool = field(init=False)
    httponly: bool = field(init=False)
    samesite: Literal["lax", "strict", "none"] = field(init=False)

    def __post_init__(self) -> None:
        check_manager(self.sessions, "HardtackSessionConfig(sessions)")
        cookie = self.sessions.cookie
        self.key, self.path, self.domain = cookie.name, cookie.path, cookie.domain
        self.secure, self.httponly = cookie.secure, cookie.httponly
        # What a browser does where the attribute is missing.
        self.samesite = cast("Literal['lax', 'strict', 'none']", (cookie.samesite or "Lax").lower())
        self.max_age = self.sessions.lifetime

    @property
    def middleware(self) -> DefineMiddleware:
        """What to put into the `middleware` of an application, a router, a controller or a handler."""
        return DefineMiddleware(HardtackMiddleware, backend=HardtackBackend(config=self))

    @property
    def device_endpoints(self) -> ASGIRouteHandler:
        """What to put into the `route_handlers` of an application whose manager has `binding=`: browsers prove keys there.

        It stays there in a deploy without binding, so that no browser gives its key up for a 404. No guard and no
        authentication of the application stands before it, and middleware of the application does.
        """
        beginning = self.sessions.core.endpoints
        options = {self.exclude_opt_key: True, "exclude_from_auth": True, "exclude_from_csrf": True}

        @asgi(beginning.rstrip("/"), is_mount=True, opt=options, copy_scope=True)
        async def endpoints(scope: Scope, receive: Receive, send: Send) -> None:
            raw = cast("dict[str, Any]", scope)
            path = f"{beginning}{raw['path'].rstrip('/').rpartition('/')[2]}"
            device = await asgi_device_answer(self.sessions, {**raw, "path": path})
            if device is None:
                raise NotFoundException
            headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in device.headers]
            await send({"type": "http.response.start", "status": device.status, "headers": headers})
            await send({"type": "http.response.body", "body": device.body, "more_body": False})

        return endpoints

    def __deepcopy__(self, memo: dict[int, Any]) -> HardtackSessionConfig:
        # Litestar copies the handlers of a route with their middleware; keys and stores are not for copying.
        return self


class HardtackMiddleware(SessionMiddleware[HardtackBackend]):
    """Litestar's session middleware, which also covers websockets, a store that is down, and sessions that cannot be saved.

    A response that the application makes is committed, and so is one to an `HTTPException`, or to an exception that the
    application has a handler for. Litestar's own answer to any other exception is not: that one saves nothing.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the session, call the application, commit when the response begins, finish after the body."""
        raw = cast("dict[str, Any]", scope)
        if _SESSION in raw:
            raise ConfigError(
                "two HardtackSessionConfig are in the middleware of one handler (SessionAuth brings its own): remove one; "
                "each would set a cookie of its own"
            )
        if "session" in raw:
            raise ConfigError(_BESIDE)
        config = self.backend.config
        sessions = config.sessions
        request = asgi_request(raw)
        if config.passive is not None:
            request.passive = config.passive(scope)
        session = sessions.open(cookie_header(raw), request, kind=LitestarSession)
        if waits(sessions):
            # A store that is down is told to who asks for the session: others need none, and the application has a page for it.
            await preload(session)
        raw["session"] = raw[_SESSION] = session
        ScopeState.from_scope(scope).session_id = known_id(session)
        scope = cast("Scope", _Scope(raw))
        response = _Response(self.backend, session, scope, send)
        try:
            await self.app(scope, receive, response.send)
        except BaseException as error:
            await response.failed(error)
            if response.failure is None or not isinstance(error, Exception):
                raise
        if response.failure is not None:
            discard(session)
            await _refuse(response.failure, scope, receive, send, response.lines)
        elif not response.begun:
            await response.abort()
        elif response.state.accessed:
            await sessions.afinish(session)
        else:
            sessions.finish(session)


class _Scope(dict[str, Any]):
    """A scope that loads the session when `request.session` asks for it: msgspec reads a dict past its methods.

    What is put into it is put into the server's scope, too: `before_send` hooks and outer middlewares look for it there.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        super().__init__(raw)
        self.raw = raw

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "session" and sys._getframe(1).f_globals.get("__name__") == _LITESTARS_SESSION:
            raise ConfigError(_BESIDE)
        dict.__setitem__(self, key, value)
        self.raw[key] = value

    def __delitem__(self, key: str) -> None:
        dict.__delitem__(self, key)
        self.raw.pop(key, None)

    # Through the three above and below, which a dict's own do not call.
    update = MutableMapping.update
    setdefault = MutableMapping.setdefault
    pop = MutableMapping.pop

    def __getitem__(self, key: str) -> Any:
        value = dict.__getitem__(self, key)
        if key == "session" and isinstance(value, Session):
            hand_out(value)
        return value


class _Response:
    """One response: commits the session when it begins."""

    __slots__ = ("backend", "begun", "failure", "lines", "scope", "server", "session", "state")

    def __init__(self, backend: HardtackBackend, session: Session, scope: Scope, send: Send) -> None:
        self.backend = backend
        self.session = session
        self.state = state_of(session)
        self.scope = scope
        self.server = send
        self.begun = False  # a response that the application made has begun
        self.failure: BaseException | None = None
        self.lines: Sequence[str] = ()  # of what was ended although the handler failed

    async def failed(self, error: BaseException) -> None:
        """The application failed, outside of what Litestar answers: what it ended is ended; `failure` is to be answered."""
        if self.failure is not None:
            return
        await self.abort()
        # After a logout the page is made here: one that is made outside of here could not clear the cookie.
        if not self.begun and isinstance(error, Exception) and (self.lines or answer_to(error) is not None):
            self.failure = error

    async def abort(self) -> None:
        """Nothing is saved, but what was ended is ended."""
        if not self.state.accessed:
            return
        try:
            self.lines = (await self.backend.config.sessions.aabort(self.session)).set_cookies
        except HardtackError as error:
            self.lines = error.set_cookies
            if not self.begun:
                self.failure = error

    def send(self, message: Message) -> Awaitable[None]:
        """What the application sends with. No coroutine of its own where it has nothing to do."""
        if self.failure is not None:
            return _nothing()  # no more of this response leaves: `_refuse` sends another one
        if message["type"] in _BEGINNINGS:
            if self.state.accessed or cast("dict[str, Any]", self.scope).get("session") is not self.session:
                return self._begin(message)
            self.begun = True
        elif message["type"] == "websocket.close" and self._escaped() is not None:
            self.begun = False  # nothing that was changed since the handshake is saved
        return self.server(message)

    async def _begin(self, message: Message) -> None:
        escaped = self._escaped()
        if escaped is None:
            await self.server(await self._commit(message))
            return
        await self.abort()
        if self.failure is None and answer_to(escaped) is not None:
            self.failure = escaped
        if self.failure is None:  # a page for any exception may show the session
            await self.server(_with(Changes(list(self.lines), accessed=True), message))

    def _escaped(self) -> BaseException | None:
        """The exception that nobody handles, where this is Litestar's own answer to one."""
        error = sys.exception()  # Litestar answers inside its except clause; the application may do so inside its own
        caught = None if error is None else error.__traceback__  # it begins where the exception was caught
        if caught is None or caught.tb_frame.f_code is not _LITESTARS_ANSWER:
            return None
        if isinstance(error, HTTPException | WebSocketException):
            return None
        handlers: Any = ScopeState.from_scope(self.scope).exception_handlers
        handled = any(kind in handlers for kind in type(error).__mro__ if kind is not Exception)
        return None if handled else error

    async def _commit(self, message: Message) -> Message:
        raw = cast("dict[str, Any]", self.scope)
        try:
            status = cast("dict[str, Any]", message).get("status")
            changes = await self.backend.commit(self.session, raw.get("session"), self.scope, status)
        except Exception as error:
            self.failure = error
            raise
        self.begun = True
        if changes.set_cookies:
            warn_plain_http(self.backend.config.sessions, raw.get("scheme", ""), asgi_request(raw).host)
        return _with(changes, message)


async def _nothing() -> None:
    """Send nothing."""


def _with(changes: Changes, message: Message) -> Message:
    # A copy: Litestar's response cache keeps the message, and would hand out this cookie with it.
    headers: list[tuple[bytes, bytes]] = list(cast("dict[str, Any]", message).get("headers") or ())
    if message["type"] == "websocket.accept":
        headers.extend((b"set-cookie", value.encode("latin-1")) for value in changes.set_cookies)
    else:
        changes.apply_raw(headers)
    return cast("Message", {**message, "headers": headers})


async def _refuse(
    failure: BaseException, scope: Scope, receive: Receive, send: Send, lines: Sequence[str] = ()
) -> None:
    """Answer through the application's exception handlers: 503, 409 or 403 where an error says so, 500 for anything else.

    The session that could not be saved is known only when the response begins, and Litestar takes the response for begun.
    """
    changes = Changes(list(dict.fromkeys([*lines, *cookies_of(failure)])), accessed=True, no_store=True)
    ScopeState.from_scope(scope).response_started = False

    async def fail(scope: Scope, receive: Receive, send: Send) -> NoReturn:
        raise LitestarSession.translate(failure) if isinstance(failure, HardtackError) else failure

    async def send_with_cookies(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = _with(changes, message)
        await send(message)

    await ExceptionHandlerMiddleware(fail, debug=None)(scope, receive, send_with_cookies)


def _replace(session: Session, value: Any, scope: Scope) -> None:
    """Let `set_session(value)` and `clear_session()` take the place of what the session holds; its id stays."""
    if value is Empty or value is None:
        session.destroy()
        return
    if not isinstance(value, Mapping):
        value = msgspec.to_builtins(value, builtin_types=_KEPT, enc_hook=get_serializer_from_scope(scope))
    replace_data(session, value)

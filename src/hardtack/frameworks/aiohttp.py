"""aiohttp: a middleware that opens sessions, a signal that commits them on streams and websockets too, and the names of
aiohttp-session, so that an application moves by changing one import.

    setup(app, sessions)
    session = await get_session(request)
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from hardtack._extras import explain
from hardtack.adapters import (
    ENDPOINTS,
    NO_CHANGES,
    Changes,
    adevice_answer,
    answer_to,
    cookies_of,
    discard,
    hand_out,
    preload,
    waits,
    warn_plain_http,
)
from hardtack.cookies import as_text
from hardtack.errors import ConfigError, HardtackError
from hardtack.manager import SessionManager
from hardtack.request import Request

try:
    from aiohttp import web
    from aiohttp.payload import AsyncIterablePayload
    from multidict import CIMultiDict
except ImportError as error:
    message = explain("hardtack.frameworks.aiohttp", "aiohttp", error)
    raise ImportError(message) from error

from hardtack.frameworks import _headers
from hardtack.frameworks._aiohttp_session import (
    SESSION_KEY,
    SESSION_NAME,
    STORAGE_KEY,
    AbstractStorage,
    EncryptedCookieStorage,
    ManagedStorage,
    Session,
    SessionData,
    SetupError,
    SimpleCookieStorage,
    cookie_header,
    request_key,
)

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = [
    "setup",
    "session_middleware",
    "get_session",
    "new_session",
    "Session",
    "SessionData",
    "AbstractStorage",
    "EncryptedCookieStorage",
    "SimpleCookieStorage",
    "SetupError",
    "KEY",
    "PASSIVE",
    "SESSION_KEY",
    "STORAGE_KEY",
]

KEY: Final = SESSION_KEY
"""Where a request keeps its session: `request[KEY]`."""

_SWITCHING_PROTOCOLS: Final = 101


def setup(app: web.Application, sessions: SessionManager | AbstractStorage) -> None:
    """Give every request of the application a session: `request[KEY]`, or `await get_session(request)`.

    The middleware becomes the outermost, so that others see the session, and what they do to it is saved. The application
    closes the manager: `app.on_cleanup.append(lambda app: sessions.aclose())`. Raises `SetupError`.
    """
    manager = _manager_of(sessions)
    if manager is None:
        app.middlewares.insert(0, session_middleware(sessions))
        return
    app.middlewares.insert(0, _managed(manager, hooked=True))
    app.on_response_prepare.append(_on_response_prepare)


def session_middleware(storage: SessionManager | AbstractStorage) -> Middleware:
    """The middleware alone, for `web.Application(middlewares=[…])`: without the signal it cannot save what is done before
    a stream or a websocket; `setup` can. Raises `SetupError`.
    """
    manager = _manager_of(storage)
    if manager is not None:
        return _managed(manager, hooked=False)
    assert isinstance(storage, AbstractStorage)
    return _unmanaged(storage)


async def get_session(request: web.Request) -> Session:
    """The session of a request, loaded, as far as the store can be read: its first use raises `StoreUnavailable` where not.

    Raises `SetupError` where the middleware is missing.
    """
    session: Session | None = request.get(SESSION_KEY)
    if session is None:
        session = _checked(await _storage(request).load_session(request), "load_session")
        request[SESSION_KEY] = session
    hand_out(session)  # orjson and its like, for web.json_response(dumps=…), read a dict past its methods
    return session


async def new_session(request: web.Request) -> Session:
    """A new session in the place of the request's, which is ended. Raises `SetupError` where the middleware is missing."""
    exchange: _Exchange | None = request.get(_EXCHANGE)
    if exchange is not None:
        exchange.session.destroy()
        return exchange.session
    session = request[SESSION_KEY] = _checked(await _storage(request).new_session(), "new_session")
    return session


def _storage(request: web.Request) -> AbstractStorage:
    storage: AbstractStorage | None = request.get(STORAGE_KEY)
    if storage is None:
        raise SetupError("no session on this request: call setup(app, sessions) when the application is made")
    return storage


def _checked(session: object, method: str) -> Session:
    if not isinstance(session, Session):
        message = f"{method}() of a storage must return a Session of hardtack.frameworks.aiohttp, not {type(session).__name__}"
        raise SetupError(message)
    return session


def _manager_of(sessions: object) -> SessionManager | None:
    if isinstance(sessions, SessionManager):
        return sessions
    if isinstance(sessions, ManagedStorage):
        return sessions.sessions
    if not isinstance(sessions, AbstractStorage):
        message = f"setup() takes a SessionManager or a storage, not {type(sessions).__name__}"
        raise SetupError(message)
    return None


# --- sessions of a manager


class _Exchange:
    """One request and its response."""

    __slots__ = ("applied", "changes", "escaped", "hooked", "session", "sessions")

    def __init__(self, sessions: SessionManager, session: Session, *, hooked: bool) -> None:
        self.sessions = sessions
        self.session = session
        self.hooked = hooked
        self.changes: Changes | None = None  # None: not committed
        self.applied = False
        self.escaped = False  # an exception left the handler: nothing is saved

    async def end(self, request: web.Request, response: object) -> None:
        """Commit to a response that has not begun; it gets its headers when it does. Raises a `web.HTTPException`."""
        if not isinstance(response, web.StreamResponse):
            await self.abort()  # aiohttp answers 500
        elif self.applied or response.prepared:
            await self._finish()
        else:
            try:
                if self.changes is None:
                    await self.commit(request, response.status)
            except HardtackError as error:
                raise self.refused(error) from error
            if not self.hooked:
                self.apply(response)
            await self._finish_with(response)

    async def _finish_with(self, response: web.StreamResponse) -> None:
        """The handler is done: what is left is a body, which may be code that runs while it is sent."""
        body = response.body if isinstance(response, web.Response) else None
        if isinstance(body, AsyncIterablePayload):
            response.body = self._streamed(body._value)  # type: ignore[attr-defined]
        else:
            await self._finish()

    async def _finish(self) -> None:
        """The request is over; where its commit has failed, nothing more is saved."""
        if self.escaped:
            discard(self.session)
        else:
            await self.sessions.afinish(self.session)

    async def _streamed(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        try:
            async for part in body:
                yield part
        finally:
            await self._finish()

    async def commit(self, request: web.BaseRequest, status: int) -> None:
        try:
            self.changes = await self.sessions.acommit(self.session, status)
        except BaseException as error:
            self.escaped = True
            # One commit for each response: the page that the application makes of this saves nothing. It may show the session.
            self.changes = Changes(cookies_of(error), accessed=True, no_store=True)
            raise
        if self.changes.set_cookies:
            warn_plain_http(self.sessions, request.scheme, request.host)

    async def abort(self) -> None:
        """The handler failed: nothing is saved, but what it ended is ended, also after a stream has begun."""
        if self.escaped:
            discard(self.session)
            return
        self.escaped = True
        try:
            changes = await self.sessions.aabort(self.session)
        except HardtackError as error:
            changes = Changes(cookies_of(error))
        if changes.set_cookies and self.changes is None:
            changes.accessed = True
            self.changes = changes

    def apply(self, response: web.StreamResponse) -> None:
        self.applied = True
        _apply(self.changes or NO_CHANGES, response)

    def refused(self, error: HardtackError) -> Exception:
        """The response to an error of the session; a logout still clears the cookie. The error itself, if it has none."""
        response = _response_to(error)
        discard(self.session)
        if response is None:
            return error
        lines = [] if self.changes is None else self.changes.set_cookies
        self.changes = Changes(list(dict.fromkeys([*lines, *cookies_of(error)])), accessed=True, no_store=True)
        if not self.hooked:
            self.apply(response)
        return response


_EXCHANGE: Final[web.RequestKey[_Exchange]] = request_key("hardtack", _Exchange)


def _managed(sessions: SessionManager, *, hooked: bool) -> Middleware:
    knows_name = False

    def share(request: web.Request, session: Session) -> None:
        nonlocal knows_name
        if knows_name:
            request[SESSION_NAME] = session
            return
        with warnings.catch_warnings():  # aiohttp warns of a text for a key, once for each text
            warnings.simplefilter("ignore")
            request[SESSION_NAME] = session
        knows_name = True

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        outer = request.get(_EXCHANGE)
        if outer is not None:
            if outer.sessions is sessions:
                return await handler(request)
            raise ConfigError(
                "the application and its sub-application have two session managers, and each would set a cookie: "
                "call setup() with one manager"
            )
        if request.path.startswith(ENDPOINTS):
            device = await _device_answer(sessions, request)
            if device is not None:
                return device
        session = sessions.open(cookie_header(request), _told(request), kind=Session)
        if waits(sessions):
            await preload(session)  # a store that is down is told to the handler that asks for its session
        assert isinstance(session, Session)
        request[SESSION_KEY] = session
        share(request, session)
        exchange = request[_EXCHANGE] = _Exchange(sessions, session, hooked=hooked)
        return await _handle(exchange, request, handler)

    return middleware


async def _handle(exchange: _Exchange, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as raised:  # a response
        await exchange.end(request, raised)
        raise
    except HardtackError as error:
        await exchange.abort()
        raise exchange.refused(error) from error
    except BaseException:
        await exchange.abort()
        raise
    await exchange.end(request, response)
    return response


async def _on_response_prepare(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Just before the headers leave: commit where the handler itself begins the response, and add the headers."""
    exchange = request.get(_EXCHANGE)
    if exchange is None or exchange.applied or (exchange.escaped and exchange.changes is None):
        return
    if exchange.changes is None:
        try:
            await exchange.commit(request, response.status)
        except BaseException:
            _rewind(request.writer)
            raise
    exchange.apply(response)


def _rewind(writer: Any) -> None:
    """Let another response go out in the place of one that could not begin: aiohttp has set the writer up for that one."""
    writer.chunked = False
    writer.length = None
    writer._compress = None


_TEMPORARY_REDIRECT: Final = 307
_RESPONSES: Final[dict[int, type[web.HTTPException]]] = {
    503: web.HTTPServiceUnavailable,
    409: web.HTTPConflict,
    403: web.HTTPForbidden,
}


def _response_to(error: HardtackError) -> web.HTTPException | None:
    """aiohttp's response to an error that a session or a commit has raised; None where it has none."""
    answer = answer_to(error)
    if answer is None:
        return None
    if answer.status == _TEMPORARY_REDIRECT:
        return web.HTTPTemporaryRedirect(answer.own["Location"], text=answer.text)
    return _RESPONSES[answer.status](headers=answer.own, text=answer.text)


async def _device_answer(sessions: SessionManager, request: web.Request) -> web.Response | None:
    """The answer of an endpoint of a binding, before the application's handlers."""

    def header(name: str) -> str | None:
        return as_text(cookie_header(request)) if name == "cookie" else request.headers.get(name)

    device = await adevice_answer(sessions, request.method, request.path, "", header, _told(request))
    return (
        None
        if device is None
        else web.Response(body=device.body, status=device.status, headers=CIMultiDict(device.headers))
    )


def _told(request: web.BaseRequest) -> Request:
    headers = request.headers
    return Request(
        request.method,
        request.scheme,
        request.host,
        headers.get("Origin"),
        headers.get("Sec-Fetch-Site"),
        request.path,
        request.remote or "",
        headers.get("User-Agent", ""),
        passive=request.get(PASSIVE, False),
        query=request.query_string,
        proof_skipped=headers.get("Secure-Session-Skipped"),
    )


PASSIVE: Final[web.RequestKey[bool]] = request_key("hardtack_passive", bool)
"""Set by an outer middleware on a request that is no activity of the user, such as a page that polls."""


def _apply(changes: Changes, response: web.StreamResponse) -> None:
    headers: CIMultiDict[str] = response.headers
    if response.status == _SWITCHING_PROTOCOLS:
        headers.extend([("Set-Cookie", line) for line in changes.set_cookies])
        return
    _headers.apply(changes, headers)


# --- sessions of a storage of one's own


def _unmanaged(storage: AbstractStorage) -> Middleware:
    """What aiohttp-session's own middleware does."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[STORAGE_KEY] = storage
        try:
            response = await handler(request)
        except web.HTTPException as raised:
            await _save(storage, request, raised)
            raise
        await _save(storage, request, response)
        return response

    return middleware


async def _save(storage: AbstractStorage, request: web.Request, response: Any) -> None:
    if not isinstance(response, web.StreamResponse):
        message = f"a handler must return a response, not {type(response).__name__}"
        raise SetupError(message)
    if not isinstance(response, web.Response):
        return  # a stream or a websocket: its headers have left
    if response.prepared:
        raise SetupError("the session cannot be saved: the handler has prepared its response")
    session = request.get(SESSION_KEY)
    if session is not None and session.is_changed:
        await storage.save_session(request, response, session)

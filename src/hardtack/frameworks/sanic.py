"""Sanic: a middleware that opens a session for each request, and commits it when the response begins.

setup(app, sessions)
request.ctx.session["cart"] = ["bread"]
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from inspect import isawaitable
from types import SimpleNamespace
from typing import Any, Final

from hardtack._extras import explain
from hardtack.adapters import (
    ENDPOINTS,
    Changes,
    adevice_answer,
    answer_to,
    check_manager,
    cookies_of,
    discard,
    hand_out,
    preload,
    waits,
    warn_plain_http,
)
from hardtack.errors import (
    ConfigError,
    CrossSiteRequest,
    HardtackError,
    ProofNeeded,
    ProofOutstanding,
    SessionConflict,
    StoreUnavailable,
)
from hardtack.frameworks import _headers
from hardtack.manager import SessionManager
from hardtack.request import Request as Told
from hardtack.session import Session

try:
    from sanic import Request, Sanic
    from sanic.compat import Header
    from sanic.exceptions import Forbidden, SanicException, ServiceUnavailable
    from sanic.http.constants import Stage
    from sanic.response import BaseHTTPResponse, HTTPResponse, ResponseStream
except ImportError as error:
    message = explain("hardtack.frameworks.sanic", "sanic", error)
    raise ImportError(message) from error

__all__ = ["setup", "get_session"]

_FIRST_AND_LAST: Final = 1000
"""The priority of our middleware: the first of a request and the last of a response, so that others see the session."""

AnyRequest = Request[Any, Any]
AnySanic = Sanic[Any, Any]
Response = BaseHTTPResponse | ResponseStream

# The event loop itself keeps no task alive.
_tasks: set[asyncio.Task[Any]] = set()


def setup(app: AnySanic, sessions: SessionManager, *, passive: Callable[[AnyRequest], bool] | None = None) -> None:
    """Give every request of the application a session: `request.ctx.session`.

    `passive` says of a request whether it is no activity of the user, such as a page that polls. The application closes the
    manager, in a listener for `after_server_stop`. Raises `ConfigError`.
    """
    check_manager(sessions, "setup(app, sessions)")
    if hasattr(app.ctx, "hardtack"):
        raise ConfigError("setup() was called for this application already, and each session would set a cookie")
    app.ctx.hardtack = sessions
    adapter = _Adapter(sessions, passive)
    app.register_middleware(adapter.open, "request", priority=_FIRST_AND_LAST)
    app.register_middleware(adapter.commit, "response", priority=_FIRST_AND_LAST)
    for error in (StoreUnavailable, SessionConflict, CrossSiteRequest, ProofOutstanding, ProofNeeded):
        app.error_handler.add(error, adapter.refuse)
    app.add_signal(adapter.on_exception, "http.lifecycle.exception")
    app.add_signal(adapter.on_response, "http.lifecycle.response")
    app.add_signal(_on_websocket, "websocket.handler.before")
    app.add_signal(adapter.after_websocket, "websocket.handler.after")
    app.add_signal(adapter.on_websocket_exception, "websocket.handler.exception")


def get_session(request: AnyRequest) -> Session:
    """The session of a request, typed. Raises `ConfigError` where `setup` was not called."""
    exchange = _exchange(request)
    if exchange is None:
        raise ConfigError("no session on this request: call setup(app, sessions) when the application is made")
    hand_out(exchange.session)
    return exchange.session


class _Context(SimpleNamespace):
    """Sanic's own kind of context, with a session that is loaded when it is asked for.

    Sanic encodes JSON by ujson, which reads a dict past its methods, and must not find a session that is not loaded.
    """

    hardtack: _Exchange

    @property
    def session(self) -> Session:
        hand_out(self.hardtack.session)
        return self.hardtack.session


class _Exchange:
    """One request and its response."""

    __slots__ = ("changes", "decided", "failure", "refused", "response", "session", "sessions", "task")

    def __init__(self, sessions: SessionManager, session: Session) -> None:
        self.sessions = sessions
        self.session = session
        self.decided = False  # committed, or not to be committed
        self.refused = False  # the commit has failed
        self.failure: BaseException | None = None  # what the handler raised
        self.changes: Changes | None = None
        self.response: Response | None = None  # the one that has the headers
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # a request is served by one
        self.task.add_done_callback(self._abandoned)

    def apply(self, changes: Changes, response: Response) -> Response:
        """The response to send: a copy if it has something to say about the session.

        An application may return one response to everybody: what is added to that one goes to the next visitor, too.
        """
        self.changes = changes
        self.response = _copy(response) if changes else response
        _headers.apply(changes, self.response.headers)
        return self.response

    async def finish(self) -> None:
        """The request is over; where its commit has failed, nothing more is saved."""
        self._let_go()
        if self.refused:
            discard(self.session)
        else:
            await self.sessions.afinish(self.session)

    async def abort(self) -> Sequence[str]:
        """The handler failed: nothing is saved, but what it ended is ended; the lines that clear its cookie."""
        self._let_go()
        self.decided = True
        try:
            return (await self.sessions.aabort(self.session)).set_cookies
        except HardtackError as error:
            return cookies_of(error)

    # Where the client of a stream or a websocket leaves, Sanic cancels the task of the connection, and tells nobody.

    def _let_go(self) -> None:
        self.task.remove_done_callback(self._abandoned)

    def _abandoned(self, task: asyncio.Task[Any]) -> None:
        work = task.get_loop().create_task(self.abort())
        _tasks.add(work)
        work.add_done_callback(_tasks.discard)


def _copy(response: Response) -> Response:
    own = copy(response)
    own.headers = Header(response.headers)
    own._cookies = None  # they belong to the other headers
    return own


def _send_instead(stream: Any, response: Any, own: Response) -> None:
    """Let the copy of a response leave where Sanic is about to call `response.send()`, and nobody can return another."""
    if own is response:
        return
    stream.respond(own)
    # Where the response is shared, another request may have connected it to its own stream meanwhile.
    response.stream = stream


def _exchange(request: AnyRequest) -> _Exchange | None:
    exchange: _Exchange | None = getattr(request.ctx, "hardtack", None)
    return exchange


class _Adapter:
    """The hooks of one application."""

    def __init__(self, sessions: SessionManager, passive: Callable[[AnyRequest], bool] | None) -> None:
        self.sessions = sessions
        self.passive = passive

    async def open(self, request: AnyRequest) -> HTTPResponse | None:
        told = _told(request)
        if request.path.startswith(ENDPOINTS):
            device = await _device_answer(self.sessions, request, told)
            if device is not None:
                return device
        told.passive = self.passive is not None and self.passive(request)
        header = _cookie_header(request)
        if request.headers.get("upgrade", "").lower() == "websocket":  # its handler begins when the handshake has left
            session = await self.sessions.aopen(header, told)
        else:
            session = self.sessions.open(header, told)
            if waits(self.sessions):
                await preload(session)  # a store that is down is told to the handler that asks for its session
        context: Any = request.ctx
        if type(context) is SimpleNamespace:
            context = request._ctx = _Context(**vars(context))
        else:  # of the application's own request class
            context.session = session
        context.hardtack = _Exchange(self.sessions, session)
        return None

    async def commit(self, request: AnyRequest, response: Response) -> HTTPResponse | None:
        """The last middleware of the response, a stream's included: Sanic asks it before the headers leave."""
        exchange = _exchange(request)
        if exchange is None or exchange.decided:
            return None
        try:
            own: Any = await self._commit(request, exchange, response)
        except Exception as failure:
            # Sanic logs what a response middleware raises, and sends the response all the same.
            exchange.refused = True
            refusal = await _refusal(request, failure, cookies_of(failure))
            exchange.response = refusal
            return refusal
        return None if own is response else own

    async def on_response(self, request: AnyRequest, response: Response) -> None:
        """The response is about to leave, or has left where it is a stream."""
        exchange = _exchange(request)
        if exchange is None:
            return
        stream: Any = request.stream
        if stream.stage is not Stage.HANDLER:
            await exchange.finish()
            return
        if not exchange.decided:
            # Another middleware answered, and Sanic asked no further ones.
            _send_instead(stream, response, await self._commit(request, exchange, response))
        elif exchange.changes is not None and exchange.response is not response:
            _send_instead(stream, response, exchange.apply(exchange.changes, response))
        await exchange.finish()

    async def after_websocket(self, request: AnyRequest, websocket: object) -> None:
        exchange = _exchange(request)
        if exchange is not None:
            await exchange.finish()

    async def on_websocket_exception(self, request: AnyRequest, websocket: object, exception: Exception) -> None:
        exchange = _exchange(request)
        if exchange is not None:
            await exchange.abort()

    async def on_exception(self, request: AnyRequest, exception: BaseException) -> None:
        exchange = _exchange(request)
        if exchange is None:
            return
        exchange.failure = exchange.failure or exception
        stream = request.stream
        if stream is not None and stream.stage is not Stage.HANDLER:
            await exchange.abort()  # no response comes after what has left of one

    async def refuse(self, request: AnyRequest, failure: Exception) -> HTTPResponse:
        """The page for what a session has raised in the handler."""
        exchange = _exchange(request)
        lines = () if exchange is None else await exchange.abort()
        return await _refusal(request, failure, [*lines, *cookies_of(failure)])

    async def _commit(self, request: AnyRequest, exchange: _Exchange, response: Response) -> Response:
        """The response to send."""
        exchange.decided = True
        if _escaped(request, exchange.failure):
            # A page for any exception may show the session, which is not saved: caches give it to nobody else.
            changes = await self.sessions.aabort(exchange.session)
            changes.accessed = exchange.session.accessed
        else:
            changes = await self.sessions.acommit(exchange.session, response.status)
        if changes.set_cookies:
            warn_plain_http(self.sessions, request.scheme, request.host)
        return exchange.apply(changes, response)


async def _on_websocket(request: AnyRequest, websocket: object) -> None:
    """The handshake has left, and could not carry a cookie."""
    exchange = _exchange(request)
    if exchange is not None:
        exchange.decided = True


def _escaped(request: AnyRequest, failure: BaseException | None) -> bool:
    """Whether the response is Sanic's own, or a page for any error, after an exception that nobody handles."""
    if failure is None:
        return False
    if isinstance(failure, SanicException):
        return failure.__traceback__ is None  # nobody raised it: the server gave up waiting for the handler
    errors = request.app.error_handler
    handler = errors.lookup(failure, request.name)
    return handler is None or handler is errors.lookup(Exception(), request.name)


_EXCEPTIONS: Final[dict[int, type[SanicException]]] = {503: ServiceUnavailable, 403: Forbidden}


class _Refusal(HTTPResponse):
    """A response in the place of one whose session could not be saved: what the handler sends on is not sent."""

    __slots__ = ()

    async def send(self, data: Any = None, end_stream: bool | None = None) -> None:
        await super().send(end_stream=True)  # the first time its own body, and nothing from then on


async def _refusal(request: AnyRequest, failure: Exception, lines: Sequence[str]) -> HTTPResponse:
    """The application's page for an error, or Sanic's: 503 for a store that is down, 409, 403, or 500 for anything else."""
    shown = failure
    answer = answer_to(failure)
    if answer is not None:
        headers = answer.own
        kind = _EXCEPTIONS.get(answer.status)
        if kind is None:
            shown = SanicException(answer.text.strip(), answer.status, headers=headers)
        else:
            shown = kind(answer.text.strip(), headers=headers)
    errors = request.app.error_handler
    page = errors.response(request, shown)
    if isawaitable(page):
        page = await page
    if not isinstance(page, HTTPResponse):
        page = errors.default(request, shown)
    refusal = _Refusal(page.body, page.status, page.headers, page.content_type)
    _headers.apply(Changes(list(dict.fromkeys(lines)), accessed=True, no_store=True), refusal.headers)
    return refusal


def _told(request: AnyRequest) -> Told:
    headers = request.headers
    return Told(
        request.method,
        request.scheme,
        request.host,
        headers.get("origin"),
        headers.get("sec-fetch-site"),
        request.path,
        request.client_ip,
        headers.get("user-agent", ""),
        query=request.query_string,
        proof_skipped=headers.get("secure-session-skipped"),
    )


async def _device_answer(sessions: SessionManager, request: AnyRequest, told: Told) -> HTTPResponse | None:
    """The answer of an endpoint of a binding, before the application's handlers."""

    def header(name: str) -> str | None:
        return _cookie_header(request).decode("latin-1") if name == "cookie" else request.headers.get(name)

    device = await adevice_answer(sessions, request.method, request.path, "", header, told)
    return None if device is None else HTTPResponse(device.body, device.status, Header(device.headers))


def _cookie_header(request: AnyRequest) -> bytes:
    # The raw bytes: Sanic has decoded them as UTF-8.
    return "; ".join(request.headers.getall("cookie", [])).encode(errors="surrogateescape")

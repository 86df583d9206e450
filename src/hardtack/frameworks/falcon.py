"""Falcon: one middleware for WSGI and ASGI applications, which puts the session into `req.context.session`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any, Final, NoReturn

from hardtack._extras import explain

try:
    import falcon
    import falcon.asgi
except ImportError as error:
    message = explain("hardtack.frameworks.falcon", "falcon", error)
    raise ImportError(message) from error

from hardtack.adapters import (
    Answer,
    Changes,
    DeviceAnswer,
    StreamedBody,
    asgi_device_answer,
    asgi_request,
    check_manager,
    cookies_of,
    discard,
    http_errors,
    is_merged,
    preload,
    waits,
    warn_plain_http,
    wsgi_device_answer,
    wsgi_request,
)
from hardtack.errors import ConfigError, HardtackError, StoreUnavailable
from hardtack.manager import SessionManager
from hardtack.request import Request
from hardtack.session import Session

_ERROR: Final = 1011  # RFC 6455 7.4.1: what Falcon closes a websocket with whose responder has failed


def _init(error: Any, answer: Answer) -> None:
    headers = {name: value for name, value in answer.headers if name in ("Cache-Control", "Retry-After", "Location")}
    falcon.HTTPError.__init__(error, answer.status, description=answer.text.strip(), headers=headers)


ERRORS: Final = http_errors(
    {503: falcon.HTTPServiceUnavailable, 409: falcon.HTTPConflict, 403: falcon.HTTPForbidden, 307: falcon.HTTPError},
    _init,
)
"""hardtack's errors as Falcon's: what the application registered for either of the two gets it."""

Unavailable = ERRORS[StoreUnavailable]


class FalconSession(Session):
    """`hardtack.Session`; what it raises where the store is down, and its like, is Falcon's HTTP error too."""

    __slots__ = ()

    errors = ERRORS


class SessionMiddleware:
    """`falcon.App(middleware=[SessionMiddleware(sessions)])`, and `falcon.asgi.App` likewise.

    The session is saved in `process_response`: name this middleware first, so that it sees what the others did. What a
    responder raises as an HTTP error or status is a response like any other, and so is that of an error handler of the
    application; a 500 after an exception saves nothing. Where the store cannot be reached the answer is 503. A websocket
    can set a cookie only when it is accepted.

    Args:
        sessions: the manager. The application closes it, not the middleware.

    Raises `ConfigError`, and on a request where two of these middlewares share it.
    """

    def __init__(self, sessions: SessionManager, *, passive: Callable[[falcon.Request], bool] | None = None) -> None:
        self.sessions = check_manager(sessions, "SessionMiddleware(sessions)")
        self.passive = passive

    # --- WSGI

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Put the session into `req.context.session`; it loads itself when it is touched."""
        _refuse_second(req)
        device = wsgi_device_answer(self.sessions, req.env)
        if device is not None:
            _answer_device(resp, device)
            return
        request = self._told(req, wsgi_request(req.env))
        session = self.sessions.open(req.env.get("HTTP_COOKIE"), request, kind=FalconSession)
        req.context.session = session
        req.context.session_watch = _watch_greenlet(self.sessions, session)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Save what changed, and put the cookie into the response."""
        session = _session_of(req)
        if session is None:
            return
        with req.context.session_watch:
            self._respond_now(req, resp, session, failed=_failed(resp, req_succeeded))

    def _respond_now(self, req: falcon.Request, resp: falcon.Response, session: Session, *, failed: bool) -> None:
        try:
            if resp.media is not None:
                resp.render_body()  # now, and not after the commit, because the session may be in it; Falcon keeps the result
            changes = self.sessions.abort(session) if failed else self.sessions.commit(session, resp.status_code)
            changes.accessed = session.accessed
        except Exception as error:
            self._apply(req, resp, _unsaved(error))
            _refuse(resp, session, error)
        self._apply(req, resp, changes)
        stream: Any = resp.stream
        if stream is not None and not hasattr(stream, "read"):
            resp.stream = StreamedBody(
                stream, partial(self.sessions.finish, session), partial(self.sessions.abort, session)
            )
        else:
            self.sessions.finish(session)

    # --- ASGI

    async def process_request_async(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Put the session into `req.context.session`, loaded if the request carries a cookie of it."""
        device = await asgi_device_answer(self.sessions, {**req.scope, "headers": _headers(req)})
        if device is not None:
            _answer_device(resp, device)
            return
        _refuse_second(req)
        session = self.sessions.open(_cookie_header(req), self._asgi_told(req), kind=FalconSession)
        req.context.session = session
        req.context.session_watch = _Watch(self.sessions, session)
        if waits(self.sessions):
            await preload(session)  # a store that is down is told to who asks for the session

    async def process_response_async(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Save what changed, and put the cookie into the response."""
        session = _session_of(req)
        if session is None:
            return
        with req.context.session_watch:
            await self._respond(req, resp, session, failed=_failed(resp, req_succeeded))

    async def _respond(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, session: Session, *, failed: bool
    ) -> None:
        try:
            if resp.media is not None:
                await resp.render_body()
            if failed:
                changes = await self.sessions.aabort(session)
            else:
                changes = await self.sessions.acommit(session, resp.status_code)
            changes.accessed = session.accessed
        except Exception as error:
            resp.sse = None
            self._apply(req, resp, _unsaved(error))
            _refuse(resp, session, error)
        self._apply(req, resp, changes)
        finish, abort = partial(self.sessions.afinish, session), partial(self.sessions.aabort, session)
        stream: Any = resp.stream
        streams = stream is not None and not hasattr(stream, "read")
        if streams:
            resp.stream = _streamed(stream, finish, abort)
        if resp.sse is not None:
            resp.sse = _streamed(resp.sse, finish, abort)
        elif not streams:
            await finish()

    async def process_request_ws(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Put the session into `req.context.session`, and see to it that the handshake carries its cookie."""
        _refuse_second(req)
        try:
            session = await self.sessions.aopen(_cookie_header(req), self._asgi_told(req), kind=FalconSession)
        except HardtackError as error:
            raise FalconSession.translate(error) from error
        req.context.session = session
        ws._asgi_send = _Websocket(self.sessions, session, ws._asgi_send).send

    def _asgi_told(self, req: falcon.asgi.Request) -> Request:
        return self._told(req, asgi_request({**req.scope, "headers": _headers(req)}))

    def _told(self, req: falcon.Request, request: Request) -> Request:
        request.passive = self.passive is not None and self.passive(req)
        return request

    def _apply(self, req: falcon.Request, resp: falcon.Response, changes: Changes) -> None:
        if not changes:
            return
        if changes.set_cookies:
            warn_plain_http(self.sessions, req.forwarded_scheme, req.host)
        headers = [pair for pair in resp.headers.items() if is_merged(pair[0])]
        present = [name for name, _ in headers]
        changes.apply(headers)
        for name in present:
            resp.delete_header(name)
        for name, value in headers:
            resp.append_header(name, value)


def _answer_device(resp: falcon.Response, device: DeviceAnswer) -> None:
    """Answer an endpoint of a binding before the application's responders, and its other middleware."""
    resp.status = device.status
    resp.data = device.body
    for name, value in device.headers:
        if name == "Content-Type":
            resp.content_type = value
        elif name != "Content-Length":
            resp.append_header(name, value)
    resp.complete = True


def _headers(req: falcon.asgi.Request) -> list[tuple[bytes, bytes]]:
    # The scope may have an iterator, as Falcon's test client makes one, and Falcon has used it up.
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in req.headers.items()]


def _cookie_header(req: falcon.asgi.Request) -> str | None:
    # HTTP/2 may split the header (RFC 9113 8.2.3), and Falcon keeps the last part only.
    parts = [value for name, value in req.scope["headers"] if name == b"cookie"]
    if parts:
        return b"; ".join(parts).decode("latin-1")
    # There is none; or the scope has an iterator, as Falcon's test client makes one, and Falcon has used it up.
    return req.get_header("Cookie")


def _refuse_second(req: falcon.Request) -> None:
    if _session_of(req) is not None:
        raise ConfigError("there are two session middlewares on one request, and each would set a cookie: remove one")


def _session_of(req: falcon.Request) -> Session | None:
    """The session of the request; None where it was not opened."""
    session = getattr(req.context, "session", None)
    return session if isinstance(session, Session) else None


def _failed(resp: falcon.Response, req_succeeded: bool) -> bool:
    """Whether an exception escaped, so that nothing is saved."""
    # Falcon does not say what was raised: an exception that nobody has a handler for has become a 500 by now.
    return not req_succeeded and resp.status_code == 500


def _unsaved(error: Exception) -> Changes:
    """For what an error handler answers to a failed commit: it may show the session, and no hook comes after it."""
    return Changes(cookies_of(error), accessed=True, no_store=True)


def _refuse(resp: falcon.Response, session: Session, error: Exception) -> NoReturn:
    """Raise what Falcon makes the response of; a stream would go before its body. Nothing of the session is saved later."""
    resp.stream = None
    discard(session)
    raise session.translate(error) if isinstance(error, HardtackError) else error


async def _streamed(
    body: Any, finish: Callable[[], Awaitable[object]], abort: Callable[[], Awaitable[object]]
) -> AsyncIterator[Any]:
    """The same for ASGI."""
    end = finish
    try:
        async for part in body:
            yield part
    except Exception:
        end = abort
        raise
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            await close()
        with suppress(HardtackError):
            await end()


# The event loop itself keeps no task alive.
_tasks: set[asyncio.Task[Any]] = set()


class _Watch:
    """A request until its response: where it is cancelled, or an error handler raises, Falcon calls no hook.

    What it ended has to end all the same.
    """

    def __init__(self, sessions: SessionManager, session: Session) -> None:
        self.sessions = sessions
        self.session = session
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # a request is served by one
        self.task.add_done_callback(self._done)

    def __enter__(self) -> None:
        """The response begins."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):  # else the task is about to end, and the callback sees to it
            self.task.remove_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        _in_background(task, self._abort())

    async def _abort(self) -> None:
        with suppress(HardtackError):  # nobody is left who could be told; the event has been sent
            await self.sessions.aabort(self.session)


def _in_background(task: asyncio.Task[Any], work: Coroutine[Any, Any, None]) -> None:
    begun = task.get_loop().create_task(work)
    _tasks.add(begun)
    begun.add_done_callback(_tasks.discard)


def _watch_greenlet(sessions: SessionManager, session: Session) -> AbstractContextManager[object]:
    """The same under WSGI, where gevent serves the request: what kills its greenlet is no `Exception`, and passes Falcon by.

    Without gevent nobody tells of a `SystemExit` or a `KeyboardInterrupt`, which end the process.
    """
    gevent: Any = sys.modules.get("gevent")
    if gevent is None:
        return nullcontext()
    greenlet = gevent.getcurrent()
    return _GreenletWatch(greenlet, sessions, session) if isinstance(greenlet, gevent.Greenlet) else nullcontext()


class _GreenletWatch:
    """A request until its response, as `_Watch`. Its greenlet may be that of a connection, which goes on with others."""

    def __init__(self, greenlet: Any, sessions: SessionManager, session: Session) -> None:
        self.greenlet = greenlet
        self.sessions = sessions
        self.session = session
        greenlet.link(self)  # gevent calls it in a greenlet of its own, which may wait for a store

    def __enter__(self) -> None:
        """The response begins."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):  # else the greenlet is about to end
            self.greenlet.unlink(self)

    def __call__(self, greenlet: object) -> None:
        """The greenlet has ended."""
        with suppress(HardtackError):  # nobody is left who could be told; the event has been sent
            self.sessions.abort(self.session)


class _Websocket:
    """One websocket: commits the session when it is accepted, and sees to later changes when it ends.

    Falcon has no hook for either; and where the client leaves, or the server stops, it sends nothing more.
    """

    def __init__(self, sessions: SessionManager, session: Session, send: Callable[[Any], Awaitable[None]]) -> None:
        self.sessions = sessions
        self.session = session
        self.server = send
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # a connection is served by one
        self.task.add_done_callback(self._left)

    async def send(self, event: Any) -> None:
        if event["type"] == "websocket.accept":
            event = await self._accept(event)
        await self.server(event)
        if event["type"] == "websocket.close":
            self.task.remove_done_callback(self._left)
            await self._end(failed=event.get("code") == _ERROR)

    async def _accept(self, event: Any) -> Any:
        try:
            changes = await self.sessions.acommit(self.session)
        except HardtackError as error:
            discard(self.session)
            raise self.session.translate(error) from error
        lines = [(b"set-cookie", line.encode("latin-1")) for line in changes.set_cookies]
        return {**event, "headers": [*event.get("headers", ()), *lines]}

    def _left(self, task: asyncio.Task[Any]) -> None:
        _in_background(task, self._end(failed=task.cancelled()))

    async def _end(self, *, failed: bool) -> None:
        if not failed:
            await self.sessions.afinish(self.session)
            return
        with suppress(HardtackError):  # nobody is left who could be told; the event has been sent
            await self.sessions.aabort(self.session)

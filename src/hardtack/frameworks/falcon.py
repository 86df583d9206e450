"""Falcon: one middleware for WSGI and ASGI applications, which puts the session into `req.context.session`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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
    SHARED_CACHE_HEADERS,
    Answer,
    Changes,
    DeviceAnswer,
    asgi_device_answer,
    asgi_request,
    check_manager,
    cookies_of,
    http_errors,
    warn_plain_http,
    wsgi_device_answer,
    wsgi_request,
)
from hardtack.errors import ConfigError, HardtackError, StoreUnavailable
from hardtack.manager import SessionManager
from hardtack.request import Request
from hardtack.session import Session

_MERGED: Final = ("Vary", "Cache-Control", *SHARED_CACHE_HEADERS)


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
        req.context.session = self.sessions.open(req.env.get("HTTP_COOKIE"), request, kind=FalconSession)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Save what changed, and put the cookie into the response."""
        session = _session_of(req)
        if session is None:
            return
        try:
            if resp.media is not None:
                resp.render_body()  # now, and not after the commit, because the session may be in it; Falcon keeps the result
            failed = _failed(resp, req_succeeded)
            changes = self.sessions.abort(session) if failed else self.sessions.commit(session, resp.status_code)
            changes.accessed = session.accessed
        except Exception as error:
            self._apply(req, resp, _unsaved(error))
            _refuse(resp, session, error)
        self._apply(req, resp, changes)
        stream: Any = resp.stream
        if stream is not None and not hasattr(stream, "read"):
            resp.stream = _Body(stream, partial(self.sessions.finish, session))
        else:
            self.sessions.finish(session)

    # --- ASGI

    async def process_request_async(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Put the session into `req.context.session`, loaded if the request carries a cookie of it."""
        device = await asgi_device_answer(self.sessions, {**req.scope, "headers": _headers(req)})
        if device is not None:
            _answer_device(resp, device)
            return
        req.context.session = await self._aopen(req)

    async def process_response_async(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Save what changed, and put the cookie into the response."""
        session = _session_of(req)
        if session is None:
            return
        try:
            if resp.media is not None:
                await resp.render_body()
            if _failed(resp, req_succeeded):
                changes = await self.sessions.aabort(session)
            else:
                changes = await self.sessions.acommit(session, resp.status_code)
            changes.accessed = session.accessed
        except Exception as error:
            resp.sse = None
            self._apply(req, resp, _unsaved(error))
            _refuse(resp, session, error)
        self._apply(req, resp, changes)
        finish = partial(self.sessions.afinish, session)
        stream: Any = resp.stream
        streams = stream is not None and not hasattr(stream, "read")
        if streams:
            resp.stream = _streamed(stream, finish)
        if resp.sse is not None:
            resp.sse = _streamed(resp.sse, finish)
        elif not streams:
            await finish()

    async def process_request_ws(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Put the session into `req.context.session`, and see to it that the handshake carries its cookie."""
        session = req.context.session = await self._aopen(req)
        send = ws._asgi_send  # Falcon has no hook for the end of a websocket, and none for the headers of its handshake

        async def commit_and_send(event: Any) -> None:
            if event["type"] == "websocket.accept":
                changes = await self._acommit_handshake(session)
                lines = [(b"set-cookie", line.encode("latin-1")) for line in changes.set_cookies]
                event = {**event, "headers": [*event.get("headers", ()), *lines]}
            await send(event)
            if event["type"] == "websocket.close":
                await self.sessions.afinish(session)

        ws._asgi_send = commit_and_send

    async def _aopen(self, req: falcon.asgi.Request) -> Session:
        _refuse_second(req)
        request = self._told(req, asgi_request({**req.scope, "headers": _headers(req)}))
        try:
            return await self.sessions.aopen(_cookie_header(req), request, kind=FalconSession)
        except HardtackError as error:
            raise FalconSession.translate(error) from error

    async def _acommit_handshake(self, session: Session) -> Changes:
        try:
            return await self.sessions.acommit(session)
        except HardtackError as error:
            raise session.translate(error) from error

    def _told(self, req: falcon.Request, request: Request) -> Request:
        request.passive = self.passive is not None and self.passive(req)
        return request

    def _apply(self, req: falcon.Request, resp: falcon.Response, changes: Changes) -> None:
        if not changes:
            return
        if changes.set_cookies:
            warn_plain_http(self.sessions, req.forwarded_scheme, req.host)
        headers = [(name, value) for name in _MERGED if (value := resp.get_header(name)) is not None]
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
    """Raise what Falcon makes the response of; a stream would go before its body."""
    resp.stream = None
    raise session.translate(error) if isinstance(error, HardtackError) else error


class _Body:
    """A streamed body; what it did to the session is seen to when the server closes it."""

    def __init__(self, body: Any, finish: Callable[[], None]) -> None:
        self.body = body
        self.finish = finish

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.body)

    def close(self) -> None:
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        finally:
            self.finish()


async def _streamed(body: Any, finish: Callable[[], Awaitable[None]]) -> AsyncIterator[Any]:
    """The same for ASGI."""
    try:
        async for part in body:
            yield part
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            await close()
        await finish()

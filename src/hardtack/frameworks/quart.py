"""Quart: a session interface, made from a SessionManager or from the application's own configuration."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from hardtack._extras import explain

try:
    from quart import Response, has_request_context, request
    from quart import globals as quart_globals
    from quart.sessions import SessionInterface as QuartInterface
    from quart.signals import (
        got_request_exception,
        got_websocket_exception,
        request_tearing_down,
        websocket_tearing_down,
    )
    from quart.wrappers.response import IterableBody, ResponseBody
    from werkzeug.exceptions import InternalServerError
except ImportError as error:
    message = explain("hardtack.frameworks.quart", "quart", error)
    raise ImportError(message) from error

from hardtack.adapters import (
    ENDPOINTS,
    Changes,
    answer_to,
    asgi_device_answer,
    cookies_of,
    discard,
    is_unattached,
    preload,
    warn_plain_http,
)
from hardtack.errors import HardtackError
from hardtack.frameworks._flask import FlaskSession, Interface, apply, conclude
from hardtack.request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from quart import Quart
    from quart.wrappers.base import BaseRequestWebsocket
    from werkzeug.wrappers import Response as WerkzeugResponse

    from hardtack.manager import SessionManager

__all__ = ["FlaskSession", "SessionInterface"]

_MERGED: Final = not hasattr(quart_globals, "request_ctx")
"""Whether Quart has merged its contexts into one (0.23): what handles an exception is then given the context first."""


class SessionInterface(Interface, QuartInterface):
    """`app.session_interface = SessionInterface(sessions)`.

    Without a manager, sessions are encrypted cookies under the application's own settings, which are Flask's: the two
    frameworks read each other's sessions, as with their own.

    A session in a store is loaded before the view runs, if the request carries a cookie. Where the store cannot be reached,
    the view that touches its session is a 503 (`werkzeug.exceptions.ServiceUnavailable`). An exception that no error handler
    of the application takes saves nothing. A websocket cannot set a cookie: a stored session is saved when it ends, other
    changes are the event `LateWrite`.

    Args:
        sessions: the manager; the application closes it.

    Raises `ConfigError`.
    """

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> FlaskSession | None:
        """The session of a request or a websocket; None where there is no SECRET_KEY."""
        manager = self._manager(app)
        if manager is None:
            return None
        if ENDPOINTS in request.path:
            self._answer_first(app, _device_response)
        # HTTP/2 lets a client send several Cookie headers (RFC 9113 8.2.3).
        header = "; ".join(request.headers.getlist("Cookie"))
        session = cast(FlaskSession, manager.open(header, self._told(app, request), kind=self.session_class))
        # A store that is down is told to the view that asks for its session: raised here it would go past the application's
        # error handlers, and fail pages that need none.
        await preload(session)
        return session

    def _told(self, app: Quart, request: BaseRequestWebsocket) -> Request:
        headers = request.headers
        return Request(
            request.method,
            request.scheme,
            request.host,
            headers.get("Origin"),
            headers.get("Sec-Fetch-Site"),
            request.path,
            request.remote_addr or "",
            headers.get("User-Agent", ""),
            passive=self.is_passive(app, request),
            mount=request.root_path.rstrip("/"),
            query=request.query_string.decode("latin-1"),
            proof_skipped=headers.get("Secure-Session-Skipped"),
        )

    def is_passive(self, app: Quart, request: BaseRequestWebsocket) -> bool:
        """Whether a request is no activity of the user, such as a page that polls: a subclass may say so."""
        return False

    async def save_session(self, app: Quart, session: Any, response: Response | WerkzeugResponse | None) -> None:
        """Save what changed, and put the cookie into the response. Raises what `SessionManager.acommit` does."""
        manager = self._manager(app)
        if response is None:
            if manager is not None:
                await _finish(manager, session)
            return
        try:
            before = self._prepare(app, session)
            if session.abandoned and manager is not None:
                changes = await manager.aabort(session)
                changes.accessed = session.accessed
            elif before is None or manager is None:
                changes = Changes(accessed=session.accessed)
            else:
                changes = await manager.acommit(session, response.status_code)
        except HardtackError as error:
            session.concluded = True
            if answer_to(error) is not None:
                await _answer(app, response, session, error)
                discard(session)
                return
            # One commit for each response: the page that the application makes of this saves nothing. Where this is that page,
            # after another exception, the framework logs what is raised here, and sends it.
            session.abandoned = True
            apply(Changes(cookies_of(error), accessed=True, no_store=True), response.headers)
            raise
        conclude(session, before, changes, response.headers)
        if manager is None:
            return
        # Asked here, too: the host is dear to find out, and https needs no warning.
        if changes.set_cookies and manager.cookie.secure and has_request_context() and request.scheme == "http":
            warn_plain_http(manager, "http", request.host)
        if isinstance(response, Response) and isinstance(response.response, IterableBody):
            response.response = _Body(response.response, manager, session)
        elif has_request_context() and not _looked_at(request.scope):
            await _finish(manager, session)


def _looked_at(scope: Any) -> bool:
    """Whether a test looks at the request after its response: `async with client:` keeps the context.

    There `get_flashed_messages()` and the like take things out of the session, and Quart's own sessions let them.
    """
    return bool(scope.get("_quart._preserve_context"))


async def _device_response() -> Any:
    """The answer of an endpoint of a binding, in the place of whatever the application would do."""
    app: Any = quart_globals.current_app
    manager = app.session_interface.manager_of(app)
    device = None if manager is None else await asgi_device_answer(manager, request.scope)
    return None if device is None else app.response_class(device.body, device.status, device.headers)


class _Body(ResponseBody):
    """A streamed body, after which late changes are saved."""

    def __init__(self, body: ResponseBody, manager: SessionManager, session: FlaskSession) -> None:
        self.body = body
        self.manager = manager
        self.session = session

    async def __aenter__(self) -> AsyncIterable[Any]:
        return await self.body.__aenter__()

    async def __aexit__(self, kind: type, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            await self.body.__aexit__(kind, error, traceback)  # type: ignore[arg-type]
        finally:
            if error is None:
                await _finish(self.manager, self.session)
            else:
                with suppress(HardtackError):  # the body has failed, and that is told
                    await self.manager.aabort(self.session)


async def _finish(manager: SessionManager, session: FlaskSession) -> None:
    """What was changed after the headers had left, or in a websocket."""
    if is_unattached(session) or session.abandoned:
        return
    session.concluded = True
    was_modified, session.was_modified = session.was_modified, False
    await manager.afinish(session)
    session.was_modified = was_modified


async def _answer(
    app: Quart, response: Response | WerkzeugResponse, session: FlaskSession, error: HardtackError
) -> None:
    """Turn the response into the application's answer to an error: an exception at this point would become a 500."""
    answer = await app.make_response(await _handled(app, session.translate(error)))
    data = await answer.get_data(as_text=False) if isinstance(answer, Response) else answer.get_data()
    if isinstance(response, Response) and isinstance(response.response, IterableBody):
        await response.response.__aexit__(None, None, None)  # type: ignore[arg-type]
    response.status = answer.status
    response.headers = answer.headers
    response.set_data(data)
    apply(Changes(cookies_of(error), accessed=True, no_store=True), response.headers)


async def _handled(app: Quart, error: Exception) -> Any:
    handle: Any = app.handle_http_exception
    return await (handle(_context(), error) if _MERGED else handle(error))


def _context(*, websocket: bool = False) -> Any:
    """Quart's context of the request or the websocket. None outside of one."""
    name = "_cv_app" if _MERGED else "_cv_websocket" if websocket else "_cv_request"
    return getattr(quart_globals, name).get(None)


def _session(*, websocket: bool = False) -> FlaskSession | None:
    # Where the contexts are one, the public attribute would mark the session as accessed.
    session = getattr(_context(websocket=websocket), "_session" if _MERGED else "session", None)
    return session if isinstance(session, FlaskSession) else None


async def _abandon(sender: Quart, **details: Any) -> None:
    """Quart tells of an exception that no error handler took; one for 500 is asked only after this."""
    of_request = has_request_context()
    session = _session(websocket=not of_request)
    if session is None:
        return
    if of_request and sender._find_error_handler(InternalServerError(), request.blueprints):
        return
    session.abandoned = True
    if not of_request:
        await _abort(sender, session)


async def _websocket_ended(sender: Quart, **details: Any) -> None:
    """A websocket whose client has left is cancelled: the interface is not called then."""
    session = _session(websocket=True)
    interface = sender.session_interface
    if session is not None and not session.concluded and isinstance(interface, SessionInterface):
        manager = interface.manager_of(sender)
        if manager is not None:  # None where SECRET_KEY was taken away since
            await _finish(manager, session)


async def _request_ended(sender: Quart, **details: Any) -> None:
    """The end of a request whose session was not saved, such as where an `after_request` function has failed."""
    session = _session()
    if session is not None and not session.concluded and session.accessed:
        await _abort(sender, session)


async def _abort(sender: Quart, session: FlaskSession) -> None:
    interface: Any = sender.session_interface
    manager = interface.manager_of(sender)
    if manager is None:  # SECRET_KEY was taken away since
        return
    with suppress(HardtackError):  # the response has left, or another error is on its way
        await manager.aabort(session)


got_request_exception.connect(_abandon)
got_websocket_exception.connect(_abandon)
websocket_tearing_down.connect(_websocket_ended)
request_tearing_down.connect(_request_ended)

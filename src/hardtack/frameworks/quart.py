"""Quart: a session interface, made from a SessionManager or from the application's own configuration."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from hardtack._extras import explain

try:
    from quart import Response, has_request_context, request
    from quart.globals import request_ctx, websocket_ctx
    from quart.sessions import SessionInterface as QuartInterface
    from quart.signals import got_request_exception, got_websocket_exception, websocket_tearing_down
    from quart.wrappers.response import IterableBody, ResponseBody
    from werkzeug.exceptions import InternalServerError
except ImportError as error:
    message = explain("hardtack.frameworks.quart", "quart", error)
    raise ImportError(message) from error

from hardtack.cookies import Changes
from hardtack.errors import StoreUnavailable
from hardtack.frameworks._flask import FlaskSession, Interface, Unavailable, apply, conclude

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from quart import Quart
    from quart.wrappers.base import BaseRequestWebsocket
    from werkzeug.wrappers import Response as WerkzeugResponse

__all__ = ["FlaskSession", "SessionInterface"]


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
        # HTTP/2 lets a client send several Cookie headers (RFC 9113 8.2.3).
        header = "; ".join(request.headers.getlist("Cookie"))
        try:
            return cast(FlaskSession, await manager.aopen(header, self.session_class))
        except StoreUnavailable as error:
            # Raised here it would go past the application's error handlers, and fail pages that need no session.
            session = cast(FlaskSession, manager.open(header, self.session_class))
            session._failure = error
            return session

    async def save_session(self, app: Quart, session: Any, response: Response | WerkzeugResponse | None) -> None:
        """Save what changed, and put the cookie into the response. Raises what `SessionManager.acommit` does."""
        if response is None:
            await _finish(session)
            return
        try:
            before = self._prepare(app, session)
            manager = session._state.manager
            changes = Changes(accessed=session.accessed) if before is None else await manager.acommit(session)
        except StoreUnavailable as error:
            await _answer_unavailable(app, response, error)
            return
        except Exception:
            # One commit for each response: the page that the application makes of this saves nothing. Where this is that page,
            # after another exception, the framework logs what is raised here, and sends it.
            session._abandoned = True
            apply(Changes(accessed=True, no_store=True), response.headers)
            raise
        conclude(session, before, changes, response.headers)
        # Asked here, too: the host is dear to find out, and https needs no warning.
        if changes.set_cookies and manager.cookie.secure and has_request_context() and request.scheme == "http":
            manager.warn_plain_http("http", request.host)
        if isinstance(response, Response) and isinstance(response.response, IterableBody):
            response.response = _Body(response.response, session)


class _Body(ResponseBody):
    """A streamed body, after which late changes are saved."""

    def __init__(self, body: ResponseBody, session: FlaskSession) -> None:
        self.body = body
        self.session = session

    async def __aenter__(self) -> AsyncIterable[Any]:
        return await self.body.__aenter__()

    async def __aexit__(self, kind: type, error: BaseException, traceback: TracebackType | None) -> None:
        try:
            await self.body.__aexit__(kind, error, traceback)  # type: ignore[arg-type]
        finally:
            await _finish(self.session)


async def _finish(session: FlaskSession) -> None:
    """What was changed after the headers had left, or in a websocket."""
    manager = session._state.manager
    if manager is None or session._abandoned:
        return
    session._state.committed = True
    was_modified, session._was_modified = session._was_modified, False
    await manager.afinish(session)
    session._was_modified = was_modified


async def _answer_unavailable(app: Quart, response: Response | WerkzeugResponse, error: StoreUnavailable) -> None:
    """Turn the response into the application's answer to a 503: an exception at this point would become a 500."""
    failure = error if isinstance(error, Unavailable) else Unavailable(error)
    answer = await app.make_response(await app.handle_http_exception(failure))
    data = await answer.get_data(as_text=False) if isinstance(answer, Response) else answer.get_data()
    if isinstance(response, Response) and isinstance(response.response, IterableBody):
        await response.response.__aexit__(None, None, None)  # type: ignore[arg-type]
    response.status = answer.status
    response.headers = answer.headers
    response.set_data(data)
    apply(Changes(list(error.set_cookies), accessed=True, no_store=True), response.headers)


async def _abandon(sender: Quart, **details: Any) -> None:
    """Quart tells of an exception that no error handler took; one for 500 is asked only after this."""
    of_request = has_request_context()
    session = (request_ctx if of_request else websocket_ctx).session
    if not isinstance(session, FlaskSession):
        return
    if of_request and sender._find_error_handler(InternalServerError(), request.blueprints):
        return
    session._abandoned = True


async def _websocket_ended(sender: Quart, **details: Any) -> None:
    """A websocket whose client has left is cancelled: the interface is not called then."""
    session = websocket_ctx.session
    if isinstance(session, FlaskSession):
        await _finish(session)


got_request_exception.connect(_abandon)
got_websocket_exception.connect(_abandon)
websocket_tearing_down.connect(_websocket_ended)

"""Flask: a session interface, made from a SessionManager or from the application's own configuration."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hardtack._extras import explain

try:
    from flask import got_request_exception, has_request_context, request
    from flask.globals import request_ctx
    from flask.sessions import SessionInterface as FlaskInterface
    from werkzeug.exceptions import InternalServerError
except ImportError as error:
    message = explain("hardtack.frameworks.flask", "flask", error)
    raise ImportError(message) from error

from hardtack.cookies import Changes
from hardtack.errors import StoreUnavailable
from hardtack.frameworks._flask import FlaskSession, Interface, Unavailable, apply, conclude

if TYPE_CHECKING:
    from flask import Flask, Request, Response

__all__ = ["FlaskSession", "SessionInterface"]


class SessionInterface(Interface, FlaskInterface):
    """`app.session_interface = SessionInterface(sessions)`.

    Without a manager, sessions are encrypted cookies under the application's own settings: SECRET_KEY,
    SECRET_KEY_FALLBACKS, SESSION_COOKIE_*, PERMANENT_SESSION_LIFETIME, SESSION_REFRESH_EACH_REQUEST, with Flask's defaults
    and meanings, and HARDTACK_LIFETIME for an absolute deadline.

    Where the store cannot be reached, the answer is 503 (`werkzeug.exceptions.ServiceUnavailable`). An exception that no
    error handler of the application takes saves nothing.

    Args:
        sessions: the manager; the application closes it.

    Raises `ConfigError`.
    """

    def open_session(self, app: Flask, request: Request) -> FlaskSession | None:
        """The session of a request, which loads itself when it is touched; None where there is no SECRET_KEY."""
        manager = self._manager(app)
        if manager is None:
            return None
        session: Any = manager.open(request.environ.get("HTTP_COOKIE"), self.session_class)
        return session  # type: ignore[no-any-return]

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        """Save what changed, and put the cookie into the response. Raises what `SessionManager.commit` does."""
        if session is None:  # it could not be opened, and the response says so
            return
        try:
            before = self._prepare(app, session)
            manager = session._state.manager
            changes = Changes(accessed=session.accessed) if before is None else manager.commit(session)
        except StoreUnavailable as error:
            _answer_unavailable(app, response, error)
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
        if response.is_streamed and manager is not None:
            response.call_on_close(partial(_finish, session))


def _finish(session: FlaskSession) -> None:
    """After the body: what a streamed response changed."""
    manager = session._state.manager
    assert manager is not None
    was_modified, session._was_modified = session._was_modified, False
    manager.finish(session)
    session._was_modified = was_modified


def _answer_unavailable(app: Flask, response: Response, error: StoreUnavailable) -> None:
    """Turn the response into the application's answer to a 503: an exception at this point would become a 500."""
    failure = error if isinstance(error, Unavailable) else Unavailable(error)
    answer = app.make_response(app.handle_http_exception(failure))
    close = getattr(response.response, "close", None)
    if close is not None:
        close()
    response.status = answer.status
    response.headers = answer.headers
    response.response = answer.response
    response.direct_passthrough = answer.direct_passthrough
    apply(Changes(list(error.set_cookies), accessed=True, no_store=True), response.headers)


def _abandon(sender: Flask, **details: Any) -> None:
    """Flask tells of an exception that no error handler took; one for 500 is asked only after this."""
    session = getattr(request_ctx, "_session", None)  # the public attribute would mark it as accessed
    if isinstance(session, FlaskSession) and not sender._find_error_handler(InternalServerError(), request.blueprints):
        session._abandoned = True


got_request_exception.connect(_abandon)

"""Flask: a session interface, made from a SessionManager or from the application's own configuration."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hardtack._extras import explain

try:
    from flask import globals as flask_globals
    from flask import got_request_exception, has_request_context, request
    from flask.sessions import SessionInterface as FlaskInterface
    from flask.signals import request_tearing_down
    from werkzeug.exceptions import InternalServerError
except ImportError as error:
    message = explain("hardtack.frameworks.flask", "flask", error)
    raise ImportError(message) from error

from hardtack.adapters import (
    ENDPOINTS,
    Changes,
    EnvironRequest,
    StreamedBody,
    answer_to,
    cookies_of,
    discard,
    warn_plain_http,
    wsgi_device_answer,
)
from hardtack.errors import HardtackError
from hardtack.frameworks._flask import FlaskSession, Interface, apply, conclude

if TYPE_CHECKING:
    from flask import Flask, Request, Response

    from hardtack.manager import SessionManager

__all__ = ["FlaskSession", "SessionInterface"]

_MERGED: Final = not hasattr(flask_globals, "_cv_request")
"""Whether Flask has merged its two contexts (3.2): what handles an exception is then given the context first."""


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
        if ENDPOINTS in request.path:
            self._answer_first(app, _device_response)
        environ = request.environ
        told = EnvironRequest(environ)
        told.passive = self.is_passive(app, request)
        session: Any = manager.open(environ.get("HTTP_COOKIE"), told, kind=self.session_class)
        if "werkzeug.debug.preserve_context" in environ:
            session.looked_at = True
        return session  # type: ignore[no-any-return]

    def is_passive(self, app: Flask, request: Request) -> bool:
        """Whether a request is no activity of the user, such as a page that polls: a subclass may say so."""
        return False

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        """Save what changed, and put the cookie into the response. Raises what `SessionManager.commit` does."""
        if session is None:  # it could not be opened, and the response says so
            return
        try:
            before = self._prepare(app, session)
            manager = self._manager(app)
            if session.abandoned and manager is not None:
                changes = manager.abort(session)
                changes.accessed = session.accessed
            elif before is None or manager is None:
                changes = Changes(accessed=session.accessed)
            else:
                changes = manager.commit(session, response.status_code)
        except HardtackError as error:
            session.concluded = True
            if answer_to(error) is not None:
                _answer(app, response, session, error)
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
        if response.is_streamed:
            finish, abort = partial(_finish, manager, session), partial(manager.abort, session)
            response.response = StreamedBody(response.response, finish, abort)  # type: ignore[arg-type]
        elif not session.looked_at:
            _finish(manager, session)


def _device_response() -> Response | None:
    """The answer of an endpoint of a binding, in the place of whatever the application would do."""
    interface: Any = flask_globals.current_app.session_interface
    manager = interface.manager_of(flask_globals.current_app)
    device = None if manager is None else wsgi_device_answer(manager, request.environ)
    return (
        None if device is None else flask_globals.current_app.response_class(device.body, device.status, device.headers)
    )


def _finish(manager: SessionManager, session: FlaskSession) -> None:
    """After the body: what a streamed response changed."""
    was_modified, session.was_modified = session.was_modified, False
    manager.finish(session)
    session.was_modified = was_modified


def _answer(app: Flask, response: Response, session: FlaskSession, error: HardtackError) -> None:
    """Turn the response into the application's answer to an error: an exception at this point would become a 500."""
    answer = app.make_response(_handled(app, session.translate(error)))
    close = getattr(response.response, "close", None)
    if close is not None:
        close()
    response.status = answer.status
    response.headers = answer.headers
    response.response = answer.response
    response.direct_passthrough = answer.direct_passthrough
    apply(Changes(cookies_of(error), accessed=True, no_store=True), response.headers)


def _handled(app: Flask, error: Exception) -> Any:
    handle: Any = app.handle_http_exception
    return handle(_context(), error) if _MERGED else handle(error)


def _context() -> Any:
    """Flask's context of the request. None outside of one."""
    return getattr(flask_globals, "_cv_app" if _MERGED else "_cv_request").get(None)


def _session() -> Any:
    """The session of the context, whoever has opened it; None where there is none."""
    # From 3.1.3 on the public attribute would mark the session as accessed; before, there is no other.
    context = _context()
    return getattr(context, "_session" if hasattr(context, "_session") else "session", None)


def _abandon(sender: Flask, **details: Any) -> None:
    """Flask tells of an exception that no error handler took; one for 500 is asked only after this."""
    session = _session()
    if isinstance(session, FlaskSession) and not sender._find_error_handler(InternalServerError(), request.blueprints):
        session.abandoned = True


def _tear_down(sender: Flask, **details: Any) -> None:
    """The end of a request whose session was not saved, such as where an `after_request` function has failed."""
    session = _session()
    if getattr(session, "concluded", True):  # nearly every request; and those whose session is not ours
        return
    interface: Any = sender.session_interface
    ours = isinstance(session, FlaskSession) and isinstance(interface, SessionInterface)
    if not ours or not session.accessed:
        return
    manager = interface.manager_of(sender)
    if manager is None:  # SECRET_KEY was taken away since
        return
    with suppress(HardtackError):  # the response has left, or another error is on its way
        manager.abort(session)


got_request_exception.connect(_abandon)
request_tearing_down.connect(_tear_down)

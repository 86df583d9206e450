"""Bottle: a plugin that gives each request its session, as `request.session`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, ClassVar, Final

from hardtack._extras import explain

try:
    import bottle  # type: ignore[import-untyped]
except ImportError as error:
    message = explain("hardtack.frameworks.bottle", "bottle", error)
    raise ImportError(message) from error

from hardtack.adapters import Answer, answer_to, check_manager, hand_out, http_errors
from hardtack.errors import ConfigError, HardtackError, StoreUnavailable
from hardtack.frameworks import wsgi
from hardtack.manager import SessionManager
from hardtack.session import Session

_REQUEST_ATTRIBUTE: Final = "bottle.request.ext.session"
"""Where Bottle looks for `request.session`."""


def _init(error: Any, answer: Answer) -> None:
    headers = {"Cache-Control": "no-store", **answer.own}
    bottle.HTTPError.__init__(error, answer.status, answer.text.strip(), error, **headers)


ERRORS: Final = http_errors(dict.fromkeys((503, 409, 403, 307), bottle.HTTPError), _init)
"""hardtack's errors as Bottle's: what the application has for `@error(503)`, 409 and 403 answers."""

Unavailable = ERRORS[StoreUnavailable]


class BottleSession(Session):
    """`hardtack.Session`; what it raises where the store is down, and its like, is Bottle's HTTP error too."""

    __slots__ = ()

    errors = ERRORS


class _RequestSession:
    """What Bottle finds as `request.session`; the session is loaded then, because ujson reads a dict past its methods.

    Where the store cannot be read, the first use of the session tells.
    """

    def __init__(self, session: BottleSession) -> None:
        self.session = session

    def __get__(self, request: object, owner: type | None = None) -> BottleSession:
        hand_out(self.session)
        return self.session


class SessionPlugin:
    """`app.install(SessionPlugin(sessions))`: handlers, hooks and error pages then have `request.session`.

    The session is saved when the headers are about to leave, whatever made the response: a returned value, a returned or
    raised `HTTPResponse`, `abort`, `redirect`, an error page, the first item of a generator. An exception saves nothing.
    Where the store cannot be reached the answer is 503. Install it on the application that is served.

    Args:
        sessions: the manager. The application closes it, not the plugin.

    Raises `ConfigError`.
    """

    name = "session"
    api = 2

    def __init__(self, sessions: SessionManager, *, passive: Callable[[wsgi.Environ], bool] | None = None) -> None:
        self.sessions = check_manager(sessions, "SessionPlugin(sessions)")
        self.passive = passive
        self._apps: list[Any] = []

    def setup(self, app: Any) -> None:
        """Bottle calls this when the plugin is installed.

        A plugin's own place is around the handlers of an application. Error pages and hooks lie outside of that, and a
        `HTTPResponse` that the handler returned may be one object for everybody, to which no cookie must be added. So the
        session is kept around the whole application.
        """
        if "wsgi" in vars(app):
            raise ConfigError("this application has a session plugin already: install one")
        app.wsgi = _Middleware(partial(_run, app.wsgi), self.sessions, passive=self.passive)
        self._apps.append(app)

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        """Bottle calls this for each route."""

        @wraps(callback)
        def with_session(*args: Any, **kwargs: Any) -> Any:
            if wsgi.SESSION not in bottle.request.environ:
                raise ConfigError(
                    "SessionPlugin is to be installed with install(), on the application that is served: the routes of a "
                    "mounted application are called by the one that it was mounted on"
                )
            answer = callback(*args, **kwargs)
            # Bottle encodes a dict with ujson where that is installed, which reads one past its methods.
            return dict(answer) if isinstance(answer, Session) else answer

        return with_session

    def close(self) -> None:
        """Bottle calls this when the plugin is uninstalled."""
        while self._apps:
            del self._apps.pop().wsgi


class _Middleware(wsgi.SessionMiddleware):
    """The WSGI middleware, for an application that may be mounted on one which has the same sessions."""

    kind: ClassVar[type[Session]] = BottleSession

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        if environ.get(wsgi.SESSIONS) is self.sessions:
            return self.app(environ, start_response)
        return super().__call__(environ, start_response)


class _Escape(BaseException):
    """Carries a failed save past Bottle, which would make a 500 of any other exception."""

    def __init__(self, error: HardtackError) -> None:
        self.error = error


def _run(app: wsgi.WSGIApp, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
    def start(*args: Any) -> wsgi.Write:
        try:
            return start_response(*args)
        except HardtackError as error:
            if answer_to(error) is None:
                raise
            raise _Escape(error) from error

    environ[_REQUEST_ATTRIBUTE] = _RequestSession(environ[wsgi.SESSION])
    try:
        return app(environ, start)
    except _Escape as escape:
        raise escape.error from None

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

from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.frameworks import wsgi
from hardtack.manager import SessionManager
from hardtack.session import Guard, Session

_REQUEST_ATTRIBUTE: Final = "bottle.request.ext.session"
"""Where Bottle looks for `request.session`."""


class Unavailable(StoreUnavailable, bottle.HTTPError):  # type: ignore[misc]
    """`StoreUnavailable` as Bottle's 503: what the application has for `@error(503)` answers."""

    def __init__(self, error: StoreUnavailable) -> None:
        headers = {"Retry-After": str(wsgi.RETRY_AFTER), "Cache-Control": "no-store"}
        bottle.HTTPError.__init__(self, 503, "The session store cannot be reached. Try again soon.", error, **headers)
        self.args = error.args


class _Guard(Guard):
    """Makes a store that is down, where the session is loaded inside a handler, a 503."""

    __slots__ = ()

    def _touch(self) -> None:
        try:
            super()._touch()
        except StoreUnavailable as error:
            raise Unavailable(error) from error


class BottleSession(Session):
    """`hardtack.Session`; where the store is down, what it raises is Bottle's 503 too."""

    __slots__ = ()

    _guard_base: ClassVar[type[Guard]] = _Guard

    def _refuse_degraded(self) -> None:
        try:
            super()._refuse_degraded()
        except StoreUnavailable as error:
            raise Unavailable(error) from error


class _RequestSession:
    """What Bottle finds as `request.session`; the session is loaded then, because ujson reads a dict past its methods."""

    def __init__(self, session: BottleSession) -> None:
        self.session = session

    def __get__(self, request: object, owner: type | None = None) -> BottleSession:
        self.session._open()
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

    def __init__(self, sessions: SessionManager) -> None:
        if not isinstance(sessions, SessionManager):
            message = f"SessionPlugin(sessions) takes a SessionManager, not {type(sessions).__name__}"
            raise ConfigError(message)
        self.sessions = sessions
        self._apps: list[Any] = []

    def setup(self, app: Any) -> None:
        """Bottle calls this when the plugin is installed.

        A plugin's own place is around the handlers of an application. Error pages and hooks lie outside of that, and a
        `HTTPResponse` that the handler returned may be one object for everybody, to which no cookie must be added. So the
        session is kept around the whole application.
        """
        if "wsgi" in vars(app):
            raise ConfigError("this application has a session plugin already: install one")
        app.wsgi = _Middleware(partial(_run, app.wsgi), self.sessions)
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
            return callback(*args, **kwargs)

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

    def __init__(self, error: StoreUnavailable) -> None:
        self.error = error


def _run(app: wsgi.WSGIApp, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
    def start(*args: Any) -> wsgi.Write:
        try:
            return start_response(*args)
        except StoreUnavailable as error:
            raise _Escape(error) from error

    environ[_REQUEST_ATTRIBUTE] = _RequestSession(environ[wsgi.SESSION])
    try:
        return app(environ, start)
    except _Escape as escape:
        raise escape.error from None

"""WSGI: a middleware that opens a session for each request, and commits it before the headers leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, ClassVar, Final

from hardtack.cookies import Changes
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.manager import SessionManager
from hardtack.protocols import is_async
from hardtack.session import Session

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

SESSION: Final = "hardtack.session"
SESSIONS: Final = "hardtack.sessions"
"""Where the session and the manager are in the environ."""

_FILE_WRAPPER: Final = "wsgi.file_wrapper"

UNAVAILABLE: Final = b"The session store cannot be reached. Try again soon.\n"
RETRY_AFTER: Final = 5  # seconds


class SessionMiddleware:
    """Puts the session into `environ["hardtack.session"]`, and the manager into `environ["hardtack.sessions"]`.

    What the application did to the session is saved when it calls `start_response`, and the cookie goes with that. An
    exception that escapes the application, or that it reports with `exc_info`, saves nothing. Where the store cannot be
    reached the answer is 503. What is changed while the body is made is saved in a store, or is the event `LateWrite`.

    Args:
        app: the WSGI application.
        sessions: the manager. The application closes it, not the middleware.

    Raises `ConfigError` for a store that only async code can reach and, on a request, where two session middlewares share it.
    """

    kind: ClassVar[type[Session]] = Session
    """What sessions are made of: for frameworks that want a subclass."""

    def __init__(self, app: WSGIApp, sessions: SessionManager) -> None:
        if not isinstance(sessions, SessionManager):
            message = f"SessionMiddleware(app, sessions) takes a SessionManager, not {type(sessions).__name__}"
            raise ConfigError(message)
        store = sessions.engine.store
        if store is not None and is_async(store):
            message = f"{type(store).__name__} is for async code, and WSGI is not: use the sync twin of the store"
            raise ConfigError(message)
        self.app = app
        self.sessions = sessions

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if SESSION in environ:
            raise ConfigError(
                "there are two session middlewares on one request: remove the one of the mounted or the outer application"
            )
        session = environ[SESSION] = self.sessions.open(environ.get("HTTP_COOKIE"), self.kind)
        environ[SESSIONS] = self.sessions
        wrapper = environ.get(_FILE_WRAPPER)
        if wrapper is not None and not isinstance(wrapper, type):
            environ[_FILE_WRAPPER] = _FileWrapper(wrapper)
        response = _Response(self.sessions, session, environ, start_response)
        try:
            body = self.app(environ, response.start)
        except Exception as error:
            failure = response.failure or error
            if not isinstance(failure, StoreUnavailable):
                raise
            return response.refuse(failure)
        if response.started and _runs_no_code(body, environ):
            self.sessions.finish(session)
            return body
        return _Body(body, response)


def _runs_no_code(body: Iterable[bytes], environ: Environ) -> bool:
    """Whether nothing can change the session any more. Such a body must reach the server as it is.

    Servers take the length of a list of one item for Content-Length, and send a file by `sendfile`.
    """
    if type(body) in (list, tuple):
        return True
    wrapper = environ.get(_FILE_WRAPPER)
    if isinstance(wrapper, _FileWrapper):
        return body is wrapper.made
    return isinstance(wrapper, type) and isinstance(body, wrapper)


class _FileWrapper:
    """A server's `wsgi.file_wrapper` that is a function (uWSGI), and what it has made last: no type tells."""

    __slots__ = ("made", "make")

    def __init__(self, make: Callable[..., Iterable[bytes]]) -> None:
        self.make = make
        self.made: Iterable[bytes] | None = None

    def __call__(self, *args: Any) -> Iterable[bytes]:
        self.made = self.make(*args)
        return self.made


class _Response:
    """One response: commits the session when it starts."""

    __slots__ = ("changes", "environ", "failure", "server", "session", "sessions", "started")

    def __init__(
        self, sessions: SessionManager, session: Session, environ: Environ, start_response: StartResponse
    ) -> None:
        self.sessions = sessions
        self.session = session
        self.environ = environ
        self.server = start_response
        self.changes: Changes | None = None  # what was committed, if it was
        self.failure: StoreUnavailable | None = None
        self.started = False

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        if self.changes is None:
            # One commit for each response, whether it succeeds or not. With exc_info the application reports that it failed:
            # that saves nothing, and the page may show the session all the same.
            self.changes = Changes(accessed=self.session.accessed)
            if exc_info is None:
                self._commit()
        if self.changes:
            # Once more where an error page replaces headers that had not left: what they said was saved.
            headers = list(headers)
            self.changes.apply(headers)
        write = self.server(status, headers) if exc_info is None else self.server(status, headers, exc_info)
        self.started = True
        return write

    def _commit(self) -> None:
        try:
            self.changes = self.sessions.commit(self.session)
        except Exception as error:
            # For the application's own page: a logout clears the cookie even if the store is down.
            lines: list[str] = list(getattr(error, "set_cookies", ()))
            self.changes = Changes(lines, accessed=True, no_store=True)
            if isinstance(error, StoreUnavailable):
                self.failure = error
            raise
        if self.changes.set_cookies:
            self.sessions.warn_plain_http(self.environ["wsgi.url_scheme"], self.environ.get("HTTP_HOST", ""))

    def refuse(self, error: StoreUnavailable) -> list[bytes]:
        """Answer 503. Raises `error` where the headers have left already."""
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(UNAVAILABLE))),
            ("Retry-After", str(RETRY_AFTER)),
            ("Cache-Control", "no-store"),
            *(("Set-Cookie", value) for value in error.set_cookies),
        ]
        if self.started:
            self.server("503 Service Unavailable", headers, (type(error), error, error.__traceback__))
        else:
            self.server("503 Service Unavailable", headers)
        return [UNAVAILABLE]


class _Body:
    """A body that runs code while it is sent: it may start the response late, and change the session after that."""

    __slots__ = ("body", "failed", "iterator", "response")

    def __init__(self, body: Iterable[bytes], response: _Response) -> None:
        self.body = body
        self.response = response
        self.iterator: Iterator[bytes] | None = None
        self.failed = False

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        try:
            if self.iterator is None:
                self.iterator = iter(self.body)
            return next(self.iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self.failed = True
            failure = self.response.failure or error
            if not isinstance(failure, StoreUnavailable):
                raise
            self.iterator = iter(self.response.refuse(failure))
            return next(self.iterator)

    def close(self) -> None:
        close = getattr(self.body, "close", None)
        if close is not None:
            close()
        if self.response.started and not self.failed:
            self.response.sessions.finish(self.response.session)

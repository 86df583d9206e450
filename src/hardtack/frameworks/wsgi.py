"""WSGI: a middleware that opens a session for each request, and commits it before the headers leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar, Final

from hardtack.adapters import (
    FAILED,
    Answer,
    Changes,
    answer_to,
    check_manager,
    cookies_of,
    warn_plain_http,
    wsgi_device_answer,
    wsgi_request,
)
from hardtack.errors import ConfigError, HardtackError
from hardtack.events import logger
from hardtack.manager import SessionManager
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

_SERVER_ERROR: Final = 500


class SessionMiddleware:
    """Puts the session into `environ["hardtack.session"]`, and the manager into `environ["hardtack.sessions"]`.

    What the application did to the session is saved when it calls `start_response`, and the cookie goes with that. An
    exception that escapes the application, or that it reports with `exc_info`, saves nothing, but what it ended is ended.
    Where the store cannot be reached the answer is 503, where a save was dropped 409. What is changed while the body is made
    is saved in a store, or is the event `LateWrite`.

    Args:
        app: the WSGI application.
        sessions: the manager. The application closes it, not the middleware.
        commit_on_500: whether a response with status 500 saves what the request did. It is what a framework inside makes of
            an exception that nothing handled, and cannot be told from a page that the application made itself.
        passive: says of an environ whether the request is no activity of the user, such as a page that polls.

    Raises `ConfigError` for a store that only async code can reach and, on a request, where two session middlewares share it.
    """

    kind: ClassVar[type[Session]] = Session
    """What sessions are made of: for frameworks that want a subclass."""

    def __init__(
        self,
        app: WSGIApp,
        sessions: SessionManager,
        *,
        commit_on_500: bool = False,
        passive: Callable[[Environ], bool] | None = None,
    ) -> None:
        self.app = app
        self.sessions = check_manager(sessions, "SessionMiddleware(app, sessions)", sync=True)
        self.commit_on_500 = commit_on_500
        self.passive = passive

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if SESSION in environ:
            raise ConfigError(
                "there are two session middlewares on one request: remove the one of the mounted or the outer application"
            )
        device = wsgi_device_answer(self.sessions, environ)
        if device is not None:
            start_response(f"{device.status} {HTTPStatus(device.status).phrase}", device.headers)
            return [device.body]
        request = wsgi_request(environ)
        if self.passive is not None:
            request.passive = self.passive(environ)
        session = environ[SESSION] = self.sessions.open(environ.get("HTTP_COOKIE"), request, kind=self.kind)
        environ[SESSIONS] = self.sessions
        wrapper = environ.get(_FILE_WRAPPER)
        if wrapper is not None and not isinstance(wrapper, type):
            environ[_FILE_WRAPPER] = _FileWrapper(wrapper)
        response = _Response(self, session, environ, start_response)
        try:
            body = self.app(environ, response.start)
        except BaseException as error:
            return response.failed(error)
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

    __slots__ = ("changes", "environ", "failure", "middleware", "server", "session", "sessions", "started")

    def __init__(
        self, middleware: SessionMiddleware, session: Session, environ: Environ, start_response: StartResponse
    ) -> None:
        self.middleware = middleware
        self.sessions = middleware.sessions
        self.session = session
        self.environ = environ
        self.server = start_response
        self.changes: Changes | None = None  # what was committed, if it was
        self.failure: HardtackError | None = None
        self.started = False

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        if self.changes is None and self.session.accessed:
            # One commit for each response, whether it succeeds or not. With exc_info the application reports that it failed:
            # that saves nothing, and the page may show the session all the same.
            self._commit(int(status[:3]), failed=exc_info is not None)
        if self.changes:
            # Once more where an error page replaces headers that had not left: what they said was saved.
            headers = list(headers)
            self.changes.apply(headers)
        write = self.server(status, headers) if exc_info is None else self.server(status, headers, exc_info)
        self.started = True
        return write

    def _commit(self, status: int, *, failed: bool) -> None:
        try:
            if failed or (status == _SERVER_ERROR and not self.middleware.commit_on_500):
                self.changes = self.sessions.abort(self.session)
                self.changes.accessed = True
            else:
                self.changes = self.sessions.commit(self.session, status)
        except HardtackError as error:
            # For the application's own page: a logout clears the cookie even if the store is down.
            self.changes = Changes(cookies_of(error), accessed=True, no_store=True)
            self.failure = error
            raise
        if self.changes.set_cookies:
            warn_plain_http(self.sessions, self.environ["wsgi.url_scheme"], self.environ.get("HTTP_HOST", ""))

    def failed(self, error: BaseException) -> list[bytes]:
        """The application failed: what it ended is ended. Raises the error where no answer of ours is called for."""
        lines: list[str] = []
        if self.failure is None and self.session.accessed:
            try:
                lines = self.sessions.abort(self.session).set_cookies
            except HardtackError as unavailable:
                lines = cookies_of(unavailable)
        answer = answer_to(self.failure or error)
        if answer is None and lines and not self.started and isinstance(error, Exception):
            # A logout before the failure: whatever page the server makes could not clear the cookie.
            logger.error("the application failed after it had ended the session", exc_info=error)
            answer = FAILED
        if answer is None:
            raise error
        return self.refuse(answer, lines, error)

    def refuse(self, answer: Answer, lines: list[str], error: BaseException) -> list[bytes]:
        """Answer an error. Raises it where the headers have left already."""
        headers = [*answer.headers, *(("Set-Cookie", line) for line in lines)]
        status = f"{answer.status} {answer.reason}"
        if self.started:
            self.server(status, headers, (type(error), error, error.__traceback__))
        else:
            self.server(status, headers)
        return [answer.text.encode()]


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
            self.iterator = iter(self.response.failed(error))
            return next(self.iterator)

    def close(self) -> None:
        close = getattr(self.body, "close", None)
        if close is not None:
            close()
        if self.response.started and not self.failed:
            self.response.sessions.finish(self.response.session)

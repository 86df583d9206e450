"""WSGI: a middleware that opens a session for each request, and commits it before the headers leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar, Final

from hardtack.adapters import (
    FAILED,
    Answer,
    Changes,
    answer_to,
    check_manager,
    discard,
    state_of,
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
            answer = response.failed(error)
            if answer is None:
                raise
            return answer
        if response.started and _runs_no_code(body, environ):
            response.finish()
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

    __slots__ = ("changes", "environ", "failure", "lines", "middleware", "server", "session", "started", "state")

    def __init__(
        self, middleware: SessionMiddleware, session: Session, environ: Environ, start_response: StartResponse
    ) -> None:
        self.middleware = middleware
        self.session = session
        self.state = state_of(session)
        self.environ = environ
        self.server = start_response
        self.changes: Changes | None = None  # what was committed, if it was
        self.failure: HardtackError | None = None
        self.lines: Sequence[str] = ()  # of a commit that failed, or of what was ended although the application failed
        self.started = False

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        if self.changes is None and self.state.accessed:
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
        sessions = self.middleware.sessions
        try:
            if failed or (status == _SERVER_ERROR and not self.middleware.commit_on_500):
                changes = sessions.abort(self.session)
                changes.accessed = True
            else:
                changes = sessions.commit(self.session, status)
        except HardtackError as error:
            # For the application's own page: a logout clears the cookie even if the store is down.
            self._note(error)
            self.changes = Changes(list(self.lines), accessed=True, no_store=True)
            translated = self.session.translate(error)
            if translated is error:
                raise
            raise translated from error
        self.changes = changes
        if changes.set_cookies:
            warn_plain_http(sessions, self.environ["wsgi.url_scheme"], self.environ.get("HTTP_HOST", ""))

    def _note(self, failure: HardtackError) -> None:
        self.failure = failure
        self.lines = failure.set_cookies

    def abort(self) -> None:
        """Nothing is saved, but what was ended is ended, unless that has been tried."""
        if self.failure is not None:
            discard(self.session)
        if self.failure is not None or not self.state.accessed:
            return
        try:
            self.lines = self.middleware.sessions.abort(self.session).set_cookies
        except HardtackError as error:
            self._note(error)

    def finish(self) -> None:
        """The request is over; where its commit has failed, nothing more is saved."""
        if self.failure is None:
            self.middleware.sessions.finish(self.session)
        else:
            discard(self.session)

    def failed(self, error: BaseException) -> list[bytes] | None:
        """The application failed: what it ended is ended. The body of an answer to that; None where the error is to go on."""
        failure = self.failure or error
        self.abort()
        if not isinstance(error, Exception):
            return None
        answer = answer_to(failure)
        if answer is None and not self.started:
            # After a logout: whatever page the server makes could not clear the cookie, or say that nobody was logged out.
            answer = None if self.failure is None else answer_to(self.failure)
            answer = FAILED if answer is None and self.lines else answer
            if answer is not None:
                logger.error("the application failed after it had ended the session", exc_info=error)
        return None if answer is None else self._refuse(answer, error)

    def _refuse(self, answer: Answer, error: BaseException) -> list[bytes]:
        """Answer an error. Raises it where the headers have left already."""
        headers = list(dict.fromkeys([*answer.headers, *(("Set-Cookie", line) for line in self.lines)]))
        status = f"{answer.status} {answer.reason}"
        if self.started:
            self.server(status, headers, (type(error), error, error.__traceback__))
        else:
            self.server(status, headers)
        self.started = True
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
            answer = self.response.failed(error)
            if answer is None:
                raise
            self.iterator = iter(answer)
            return next(self.iterator)

    def close(self) -> None:
        """After the last item, or where the client has left before."""
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        except BaseException:
            self.failed = True
            self.response.abort()
            raise
        if self.failed:
            return
        if self.response.started:
            self.response.finish()
        else:
            self.response.abort()

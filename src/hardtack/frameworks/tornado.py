"""Tornado: a mixin for request handlers, and one for websocket handlers, that give them `self.session`.

class Visits(SessionMixin, RequestHandler): …
app = Application([("/", Visits)], sessions=SessionManager(…))
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hardtack._extras import explain
from hardtack.adapters import (
    RETRY_AFTER,
    Changes,
    adevice_answer,
    answer_to,
    blocks,
    carries_cookie,
    cookies_of,
    discard,
    is_late,
    is_merged,
    preload,
    waits,
    warn_plain_http,
)
from hardtack.errors import ConfigError, HardtackError
from hardtack.manager import SessionManager
from hardtack.request import Request
from hardtack.session import Session

try:
    from tornado.web import HTTPError, RequestHandler
    from tornado.websocket import WebSocketHandler
except ImportError as error:
    message = explain("hardtack.frameworks.tornado", "tornado", error)
    raise ImportError(message) from error

__all__ = ["DeviceHandler", "SessionMixin", "WebSocketSessionMixin", "device_routes"]

T = TypeVar("T")

_SWITCHING_PROTOCOLS: Final = 101
_SERVICE_UNAVAILABLE: Final = 503

# The event loop itself keeps no task alive.
_tasks: set[asyncio.Future[Any]] = set()

if TYPE_CHECKING:
    _Handler = RequestHandler
    _WebSocket = WebSocketHandler
else:
    _Handler = _WebSocket = object


class _Exchange:
    """One request and its response."""

    __slots__ = ("changes", "commit", "escaped", "failed", "refused", "session", "sessions")

    def __init__(self, sessions: SessionManager, header: str, request: Request) -> None:
        self.sessions = sessions
        self.session = sessions.open(header, request)
        self.changes: Changes | None = None  # None: not committed
        self.escaped = False  # an exception left the handler: nothing is saved
        self.refused = False  # an error of the session is the response
        self.failed = False  # the commit has
        self.commit: asyncio.Future[None] | None = None

    @property
    def waits(self) -> bool:
        """Whether a commit may wait for a disk or a network, so that it must not be done in `finish()` itself."""
        return blocks(self.sessions) and self.session.accessed

    def save(self, status: int) -> None:
        self.failed = True
        self.changes = self.sessions.commit(self.session, status)
        self.failed = False

    async def asave(self, status: int) -> None:
        self.failed = True
        self.changes = await self.sessions.acommit(self.session, status)
        self.failed = False

    def fail(self, error: BaseException) -> None:
        """What the page for an error has to say of the session, which it may show."""
        answer = answer_to(error)
        self.refused = answer is not None
        lines = [] if self.changes is None else self.changes.set_cookies
        accessed = self.session.accessed or self.refused
        self.changes = Changes([*lines, *cookies_of(error)], accessed=accessed, no_store=True)
        if answer is not None and "Location" in answer.own:
            self.changes.headers = (("Location", answer.own["Location"]),)

    async def abort(self) -> None:
        """End what the handler has ended before it failed."""
        try:
            self.changes = await self.sessions.aabort(self.session)
        except HardtackError as error:
            self.changes = Changes(cookies_of(error))

    def abort_now(self) -> None:
        """The same with a store that nobody waits for."""
        try:
            self.changes = self.sessions.abort(self.session)
        except HardtackError as error:
            self.changes = Changes(cookies_of(error))


class DeviceHandler(RequestHandler):
    """Answers the endpoints of a binding to the device: `Application([*device_routes(sessions), …], sessions=sessions)`."""

    def check_xsrf_cookie(self) -> None:
        """A browser's own request has no token, and refuses what a page sends."""

    async def post(self) -> None:
        """Register a key, or prove one."""
        request = self.request
        headers = request.headers

        def header(name: str) -> str | None:
            return "; ".join(headers.get_list("Cookie")) if name == "cookie" else headers.get(name)

        sessions = self.application.settings["sessions"]
        device = await adevice_answer(sessions, request.method or "", request.path, "", header)
        if device is None:
            raise HTTPError(404)
        self.set_status(device.status)
        self.clear_header("Content-Type")
        for name, value in device.headers:
            if name != "Content-Length":
                self.add_header(name, value)
        self.finish(device.body)


def device_routes(sessions: SessionManager) -> list[tuple[str, type[RequestHandler]]]:
    """The routes of a manager's endpoints, to stand first in an application; without binding it answers proofs alone."""
    return [(f"{re.escape(sessions.core.endpoints)}.*", DeviceHandler)]


class SessionMixin(_Handler):
    """Gives a request handler `self.session`: `class Page(SessionMixin, RequestHandler)`.

    The manager is the application's setting `sessions`. The session is committed when the first byte of the response is
    sent, by `flush()` or `finish()`. A handler that overrides `prepare()` calls `super().prepare()`, and awaits what that
    returns where it is not None: a session in a store is loaded there. The same holds for `finish` and `flush`.

    With a store that may wait, `finish()` returns before the response has been sent: await its result where that matters.
    """

    _session_exchange: _Exchange | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises `ConfigError` where a handler class comes before the mixin: its `finish()` would save nothing."""
        super().__init_subclass__(**options)
        order = cls.__mro__
        if RequestHandler in order[: order.index(SessionMixin)]:
            message = (
                f"{cls.__name__} would save no session: name the mixin before the handler class, as in "
                f"class {cls.__name__}(SessionMixin, RequestHandler) or (WebSocketSessionMixin, WebSocketHandler)"
            )
            raise ConfigError(message)

    @property
    def session(self) -> Session:
        """The session of the request. Raises `ConfigError` where the application has no manager."""
        return self._open_session().session

    def _open_session(self) -> _Exchange:
        if self._session_exchange is None:
            sessions = self.application.settings.get("sessions")
            if not isinstance(sessions, SessionManager):
                message = f"Application(…, sessions=…) must be a SessionManager, not {type(sessions).__name__}"
                raise ConfigError(message)
            self._session_exchange = _Exchange(sessions, self._session_cookies(), self._session_request())
        return self._session_exchange

    def _session_request(self) -> Request:
        request = self.request
        headers = request.headers
        told = Request(
            request.method or "",
            request.protocol,
            request.host,
            headers.get("Origin"),
            headers.get("Sec-Fetch-Site"),
            request.path,
            request.remote_ip or "",
            headers.get("User-Agent", ""),
            query=request.query,
            proof_skipped=headers.get("Secure-Session-Skipped"),
        )
        told.passive = self.session_is_passive()
        return told

    def session_is_passive(self) -> bool:
        """Whether the request is no activity of the user, such as a page that polls: a handler may say so."""
        return False

    def _session_cookies(self) -> str:
        return "; ".join(self.request.headers.get_list("Cookie"))

    def prepare(self) -> Awaitable[None] | None:
        """Load the session where it is in a store, and the request carries a cookie of it."""
        exchange = self._open_session()
        if not waits(exchange.sessions) or not carries_cookie(exchange.sessions, self._session_cookies()):
            return super().prepare()
        return self._prepare_session(exchange)

    async def _prepare_session(self, exchange: _Exchange) -> None:
        await self._load_session(exchange)
        result = super().prepare()
        if result is not None:
            await result

    async def _load_session(self, exchange: _Exchange) -> None:
        await preload(exchange.session)  # a store that is down is told to the handler that asks for its session

    # --- the response

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Commit before the first byte. Raises what `SessionManager.commit` raises."""
        exchange = self._session_exchange
        if exchange is not None and not self._headers_written:
            if self._session_is_open(exchange):
                if exchange.waits:
                    return _keep(self._flush_session_later(self._commit_session(exchange), include_footers))
                exchange.save(self.get_status())
            self._apply_session(exchange)
        return super().flush(include_footers)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """Commit before the response leaves, and save in a store what was changed since its first byte."""
        exchange = self._session_exchange
        if exchange is None:
            return super().finish(chunk)
        if self._session_is_open(exchange) and not self._finished:
            if exchange.waits:
                if chunk is not None:
                    self.write(chunk)
                self._finished = True  # to the handler: nothing can be written or finished after this
                return _keep(self._finish_session_later(exchange))
            exchange.save(self.get_status())
        future = super().finish(chunk)
        self._finish_session(exchange)
        return future

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Send an error page: an `HTTPError` is a response of the application, any other exception saves nothing.

        What the handler had ended before it failed is ended.
        """
        exchange = self._session_exchange
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(sys.exception(), asyncio.CancelledError):
            error = sys.exception()  # Tornado does not pass it on
        if exchange is None or error is None or isinstance(error, HTTPError):
            super().send_error(status_code, **kwargs)
            return
        escaped, exchange.escaped = exchange.escaped, True
        answer = answer_to(error)
        if answer is not None and not self._headers_written:
            status_code = answer.status
        if exchange.failed:
            discard(exchange.session)
        elif not escaped and exchange.session.accessed and (exchange.changes is None or self._headers_written):
            if exchange.waits:
                self._finished = True  # to the handler: nothing can be written or finished after this
                _keep(self._send_error_later(exchange, error, status_code, kwargs))
                return
            exchange.abort_now()
        if not self._headers_written:
            exchange.fail(error)
        super().send_error(status_code, **kwargs)

    async def _send_error_later(
        self, exchange: _Exchange, error: BaseException, status_code: int, kwargs: dict[str, Any]
    ) -> None:
        await exchange.abort()
        self._finished = False
        if not self._headers_written:
            exchange.fail(error)
        super().send_error(status_code, **kwargs)

    def _session_is_open(self, exchange: _Exchange) -> bool:
        """Whether the session is still to be committed."""
        return not self._headers_written and not exchange.escaped and exchange.changes is None

    def _commit_session(self, exchange: _Exchange) -> asyncio.Future[None]:
        if exchange.commit is None:
            exchange.commit = _keep(exchange.asave(self.get_status()))
        return exchange.commit

    async def _flush_session_later(self, commit: asyncio.Future[None], include_footers: bool) -> None:
        await asyncio.shield(commit)  # who gives up waiting for the bytes does not take the session back
        await self.flush(include_footers)

    async def _finish_session_later(self, exchange: _Exchange) -> None:
        try:
            await asyncio.shield(self._commit_session(exchange))
            self._finished = False
            future = super().finish()
        except Exception as error:
            # The handler has returned, or does not wait: Tornado does not see it.
            self._finished = False
            self.log_exception(type(error), error, error.__traceback__)
            self.send_error(500, exc_info=sys.exc_info())
            return
        self._finish_session(exchange)
        await future

    def _apply_session(self, exchange: _Exchange) -> None:
        """Put what the response has to say about the session into its headers."""
        if exchange.refused and self._status_code == _SERVICE_UNAVAILABLE:
            self.set_header("Retry-After", str(RETRY_AFTER))
        changes = exchange.changes
        if not changes:
            return
        if changes.set_cookies:
            warn_plain_http(exchange.sessions, self.request.protocol, self.request.host)
        pairs = [pair for pair in self._headers.get_all() if is_merged(pair[0])]
        merged = {name for name, _ in pairs}
        changes.apply(pairs)
        for name in merged:
            self.clear_header(name)
        for name, value in pairs:
            if name == "Set-Cookie" or self._status_code != _SWITCHING_PROTOCOLS:
                self.add_header(name, value)

    def _finish_session(self, exchange: _Exchange) -> None:
        """After the body: a late change is saved where that needs no cookie, and an event otherwise."""
        if exchange.escaped or self._status_code == _SWITCHING_PROTOCOLS:
            return
        if exchange.waits and is_late(exchange.session):
            _keep(exchange.sessions.afinish(exchange.session))
        else:
            exchange.sessions.finish(exchange.session)


class WebSocketSessionMixin(SessionMixin, _WebSocket):
    """Gives a websocket handler `self.session`: `class Chat(WebSocketSessionMixin, WebSocketHandler)`.

    What `prepare()` did to the session goes with the handshake, which is the only response that can set a cookie. What
    `open()` and later callbacks do is saved in a store when the websocket is closed, and is the event `LateWrite` otherwise.
    """

    async def _load_session(self, exchange: _Exchange) -> None:
        # Raises where the store is down: after the handshake nobody could be told.
        exchange.session = await exchange.sessions.aopen(self._session_cookies(), self._session_request())

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Commit, and shake hands: Tornado gives the handshake no time to wait for a store."""
        exchange = self._session_exchange
        if exchange is not None and self._session_is_open(exchange):
            await self._commit_session(exchange)
        await super().get(*args, **kwargs)

    def on_connection_close(self) -> None:
        """The websocket was closed, by whomever."""
        super().on_connection_close()
        exchange = self._session_exchange
        if exchange is not None and exchange.changes is not None:
            _keep(exchange.abort() if exchange.escaped else exchange.sessions.afinish(exchange.session))

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """A callback raised: what it did to the session is not saved."""
        if self._session_exchange is not None and self._headers_written:
            self._session_exchange.escaped = True
        super().log_exception(typ, value, tb)


def _keep(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_let_go)
    return task


def _let_go(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # whoever awaits it gets it; nobody has to

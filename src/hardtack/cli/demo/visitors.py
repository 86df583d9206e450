"""Who clicks through the demo: each visitor's last requests, with the events of their sessions.

A visitor is known by a cookie of the demo's own, because a session that is lost cannot tell what became of it.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardtack import Cookie
from hardtack.cookies import find_values
from hardtack.events import Event

if TYPE_CHECKING:
    from hardtack.cli.demo.experiments import Experiment
    from hardtack.cli.demo.thief import Copy

MAX_VISITORS: Final = 256
MAX_EXCHANGES: Final = 10

COOKIE: Final = Cookie("demo-visitor", secure=False)


@dataclass
class Exchange:
    """One request and its response.

    Attributes:
        set_cookies: the Set-Cookie lines of the response that are about the session.
        extra_cookies: lines that an experiment adds after those of hardtack, which they so override.
        afterwards: called when the session was committed, just before the response leaves.
    """

    method: str
    path: str
    began: float
    status: int = 0
    events: list[Event] = field(default_factory=list)
    set_cookies: list[str] = field(default_factory=list)
    extra_cookies: list[str] = field(default_factory=list)
    afterwards: list[Callable[[], object]] = field(default_factory=list)


@dataclass
class Visitor:
    """What the demo remembers of one browser.

    Attributes:
        line: the last Set-Cookie line of a session.
        kept: the session cookie as it was before the last logout. No real site keeps it; somebody who copied it does.
        experiment: what was tried last.
        copy: the cookies that a second client has copied.
    """

    id: str
    exchanges: deque[Exchange] = field(default_factory=lambda: deque(maxlen=MAX_EXCHANGES))
    line: str = ""
    kept: str = ""
    experiment: Experiment | None = None
    copy: Copy | None = None


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def record(event: Event) -> None:
    """The manager's `on_event`: an event knows no request, so it belongs to the one that is being answered."""
    exchange = _current.get()
    if exchange is not None:
        exchange.events.append(event)


class VisitorsMiddleware:
    """Puts the visitor and the exchange into `request.state`. It stands outside the session middleware: it sees its work.

    Args:
        app: the application.
        cookie_name: the session cookie's name.
        unlogged: paths that begin so are none of a visitor's business: stylesheets and pictures.
    """

    def __init__(self, app: ASGIApp, cookie_name: str, unlogged: tuple[str, ...]) -> None:
        self.app = app
        self.cookie_name = cookie_name
        self.unlogged = unlogged
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self.unlogged):
            await self.app(scope, receive, send)
            return
        visitor, is_new = self._find(Headers(scope=scope).get("cookie", ""))
        exchange = Exchange(scope["method"], scope["path"], time.time())
        visitor.exchanges.append(exchange)
        scope.setdefault("state", {}).update(visitor=visitor, exchange=exchange)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(MutableHeaders(scope=message), visitor, exchange, is_new=is_new)
                exchange.status = message["status"]
            await send(message)

        token = _current.set(exchange)
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            _current.reset(token)

    def _find(self, header: str) -> tuple[Visitor, bool]:
        for value in find_values(header, COOKIE.name):
            if value in self._visitors:
                self._visitors.move_to_end(value)
                return self._visitors[value], False
        # As with sessions: an id that the client brings and that is unknown is never adopted.
        visitor = Visitor(secrets.token_urlsafe(16))
        self._visitors[visitor.id] = visitor
        if len(self._visitors) > MAX_VISITORS:
            self._visitors.popitem(last=False)
        return visitor, True

    def _note(self, headers: MutableHeaders, visitor: Visitor, exchange: Exchange, *, is_new: bool) -> None:
        for line in exchange.extra_cookies:
            headers.append("set-cookie", line)
        lines = [line for line in headers.getlist("set-cookie") if line.startswith(f"{self.cookie_name}=")]
        exchange.set_cookies = lines
        if lines:
            visitor.line = lines[-1]
        if is_new:
            headers.append("set-cookie", COOKIE.set_cookie(COOKIE.name, visitor.id))
        for action in exchange.afterwards:
            action()

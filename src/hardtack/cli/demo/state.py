"""What the demo's pages share: the session manager, its clock and its keys, and how a page is rendered."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from hardtack import (
    Cookie,
    CookieEngine,
    DeviceBinding,
    EncryptedToken,
    EndedSessions,
    Key,
    Keyring,
    Session,
    SessionManager,
    StoreEngine,
)
from hardtack.cli.demo import anatomy, reports
from hardtack.cli.demo.visitors import Exchange, Visitor, record
from hardtack.cookies import find_values
from hardtack.events import Event, Expired, Rejected
from hardtack.frameworks.starlette import load
from hardtack.stores.memory import MemoryStore

LIFETIME: Final = "14 days"
IDLE_TIMEOUT: Final = "1 day"
MAX_KEYS: Final = 8

FOLDER: Final = Path(__file__).parent


class Clock:
    """`time.time`, except that an experiment may put it forward."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def advance(self, seconds: int) -> None:
        """Put the clock forward, for every visitor."""
        self.ahead += seconds


class RotatingToken(EncryptedToken):
    """An encrypted token whose keys change while it is in use. A real site rotates by deploying another `Keyring`."""

    def rotate(self) -> None:
        """A new key issues; the ones before are still accepted."""
        before = list(self.keys)
        super().__init__(Keyring(Key.generate(), accept=before[: MAX_KEYS - 1]))


class Demo:
    """The session manager of the shop. With a store the cookie holds a random number; without one, the session."""

    def __init__(self, store: Any = None, ended: EndedSessions | None = None) -> None:
        self.clock = Clock()
        self.store = store
        self.ended = ended
        self.registry = MemoryStore() if store is None and ended is not None else None
        # A key of this process: when the demo ends, its cookies are worth nothing. A real site reads its key from where its
        # other secrets are.
        self.token = RotatingToken(Key.generate())
        self.sessions = SessionManager(
            self.engine(),
            # Plain http, on any host: on a real site, Cookie() with its defaults, __Host- and Secure.
            cookie=Cookie("session", secure=False),
            lifetime=LIFETIME,
            idle_timeout=IDLE_TIMEOUT,
            purpose="hardtack-demo",
            on_event=record,
            clock=self.clock,
            ended=self.ended,
            # Who is logged in, for the account's page: on a real site a store that outlives the process.
            registry=self.registry,
            binding=None if store is None and ended is None else DeviceBinding(keys=Key.generate()),
        )

    def engine(self) -> CookieEngine | StoreEngine:
        """Where sessions are."""
        return CookieEngine(self.token) if self.store is None else StoreEngine(self.store)

    @property
    def in_store(self) -> bool:
        """Whether sessions are kept in a store."""
        return self.store is not None

    @property
    def binds(self) -> bool:
        """Whether browsers that can bind their sessions to the device."""
        return self.sessions.settings.binding is not None

    @property
    def finds(self) -> bool:
        """Whether a user's sessions can be listed; memcached keeps no list of its keys."""
        return self.registry is not None or hasattr(self.store, "find")

    @property
    def ends(self) -> bool:
        """Whether a user's sessions in other browsers can be ended."""
        return self.finds or self.ended is not None


def demo_of(request: Request) -> Demo:
    """The demo that a request came to."""
    demo: Demo = request.app.state.demo
    return demo


def visitor_of(request: Request) -> Visitor:
    """Whom a request came from."""
    visitor: Visitor = request.state.visitor
    return visitor


def exchange_of(request: Request) -> Exchange:
    """The request as the visitor's log has it."""
    exchange: Exchange = request.state.exchange
    return exchange


def session_cookie(request: Request) -> str:
    """The value of the session cookie as the browser sent it, or nothing."""
    found = find_values(request.headers.get("cookie", ""), demo_of(request).sessions.cookie.name)
    return found[-1] if found else ""


def _environment() -> Jinja2Templates:
    templates = Jinja2Templates(directory=FOLDER / "templates")
    filters: dict[str, Any] = templates.env.filters
    filters.update(duration=anatomy.duration, details=reports.details, meaning=reports.meaning)
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    return templates


_templates = _environment()


async def render(request: Request, template: str, status_code: int = 200, **context: Any) -> Response:
    """A page. It asks for the session, so that a session that was lost is told of."""
    demo, session = demo_of(request), await load(request)
    context |= {
        "page": template.removesuffix(".html"),
        "demo": demo,
        "session": session,
        "items": item_count(session),
        "notices": [notice for event in exchange_of(request).events if (notice := _notice(event))],
        "flashes": session.flashes(),
    }
    return _templates.TemplateResponse(request, template, context, status_code)


def see_other(path: str) -> Response:
    """Where a form leads: a GET, so that reloading the page sends nothing twice."""
    return RedirectResponse(path, status_code=303)


def item_count(session: Session) -> int:
    """How many things are in the cart."""
    return sum(line["quantity"] for line in session.get("cart", {}).values())


def cart_total(session: Session) -> Decimal:
    """What they cost."""
    lines = session.get("cart", {}).values()
    return sum((line["quantity"] * line["price"] for line in lines), Decimal(0))


def _notice(event: Event) -> str:
    """What a shop would tell the customer of a session that could not be used."""
    if isinstance(event, Expired):
        return "You were away for too long, and your session has ended."
    if isinstance(event, Rejected):
        if event.reason in ("ended", "revoked"):
            return "This session was ended. For a minute this browser's old cookie cannot start another one."
        return f"Your session cookie could not be used ({event.reason}), and you start afresh."
    return ""

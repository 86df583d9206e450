"""A site whose sessions are bound, with a clock to turn, and browsers that can bind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.kit import KEY, Clock

from hardtack import CookieEngine, EndedSessions, Session, SessionManager, StoreEngine
from hardtack.binding import DeviceBinding
from hardtack.events import Event
from hardtack.frameworks.wsgi import SessionMiddleware
from hardtack.stores.memory import MemoryStore
from hardtack.testing import DbscClient
from hardtack.testing.dbsc import HeaderPairs, wsgi

EVERY = 300
GRACE = 60


def application(environ: Any, start: Any) -> Iterable[bytes]:
    """Pages that tell who is there, and do to the session what their path says."""
    session: Session = environ["hardtack.session"]
    path, _, argument = environ["PATH_INFO"].strip("/").partition("/")
    status, headers = "200 OK", []
    if path == "login":
        session.login(argument or "alice")
        status, headers = "303 See Other", [("Location", environ["SCRIPT_NAME"] + "/")]
    elif path == "logout":
        session.logout()
    elif path == "regenerate":
        session.regenerate()
    elif path == "confirm":
        session.confirm("password")
    elif path == "count":
        session["count"] = session.get("count", 0) + 1
    elif path == "act":
        session.impersonate(argument)
    elif path == "stop":
        session.stop_impersonating()
    elif path == "prove":
        body = f"{session.prove()} {environ['wsgi.input'].read().decode()}"
        start("200 OK", [])
        return [body.encode()]
    elif path == "fail":
        raise RuntimeError
    elif path == "still":  # never looks at its session
        start("200 OK", [])
        return [b"still"]
    body = f"{session.subject} {session.binding} {session.get('count', 0)}"
    start(status, headers)
    return [body.encode()]


class Wire:
    """What lies between a browser and the site: it notes what goes through, and may lose it or answer it itself."""

    def __init__(self, send: Callable[..., Any]) -> None:
        self.send = send
        self.sent: list[tuple[str, str, HeaderPairs]] = []
        self.lose: str = ""
        """The end of the path whose next answer is lost."""
        self.answer: dict[str, int] = {}
        """Statuses that the server answers in the place of the application, by the ends of paths."""

    def __call__(self, method: str, url: str, headers: HeaderPairs, body: bytes) -> Any:
        self.sent.append((method, url, headers))
        path = url.partition("?")[0]
        for end, status in self.answer.items():
            if path.endswith(end):
                return status, [], b""
        answer = self.send(method, url, headers, body)
        if self.lose and path.endswith(self.lose):
            self.lose = ""
            raise ConnectionResetError
        return answer


class BoundSite:
    """A manager, its clock and events, and an application of it."""

    def __init__(
        self, engine: Any = None, *, every: Any = EVERY, binding: Any = ..., mount: str = "", **options: Any
    ) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.engine = StoreEngine(MemoryStore(), seal=KEY) if engine is None else engine
        self.options: dict[str, Any] = options
        if isinstance(self.engine, CookieEngine):
            # Tests turn the clock by days: the list is not stale for that.
            self.options = {"ended": EndedSessions.from_url("memory://", max_stale="20 days"), **options}
        self.mount = mount
        self.sessions = self.manager(DeviceBinding(every=every) if binding is ... else binding)
        self.wire = Wire(self.deploy(self.sessions))

    @property
    def shares(self) -> bool:
        """Whether two copies of a cookie are one session; else each holds what its browser put in."""
        return isinstance(self.engine, StoreEngine)

    def manager(self, binding: DeviceBinding | None, engine: Any = None) -> SessionManager:
        """A manager of the same site: another server, or another deploy."""
        return SessionManager(
            engine or self.engine, binding=binding, clock=self.clock, on_event=self.events.append, **self.options
        )

    def deploy(self, sessions: SessionManager) -> Callable[..., Any]:
        """What sends to the application."""
        return wsgi(SessionMiddleware(application, sessions), self.mount)

    def browser(self, **options: Any) -> DbscClient:
        """A browser with DBSC that visits the site for the first time."""
        return DbscClient(self.wire, clock=self.clock, **options)

    def logged_in(self, **options: Any) -> DbscClient:
        """A browser whose session is bound."""
        browser = self.browser(**options)
        assert page(browser.post("/login")) == "alice bound 0"
        return browser

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


def page(response: Any) -> str:
    """What the page says."""
    assert response.status == 200, response
    return str(response.body.decode())

"""The contract of an adapter as a pytest class: inherit it, give it one method, and your adapter is tested.

    from hardtack.testing import AdapterContract, asgi_client

    class TestMyAdapter(AdapterContract):
        def serve(self, sessions, handle):
            app = MyFramework()
            setup(app, sessions)  # the adapter

            @app.route("/<name>", methods=["GET", "POST"])
            def page(request, name):
                reply = handle(name, lambda: request.session)
                return reply.text, reply.status, reply.headers

            return asgi_client(app)

`handle` is the handler of every page. It is given the name in the path and how one gets at the session, and says what to
answer; what it raises is to leave the handler. `serve` returns a client: `wsgi_client(app)`, `asgi_client(app)`, or a function
of your own that sends a method, a path and header pairs, and returns an `Answer`. Set `asynchronous = True` for an adapter
that awaits: a store that only async code can reach is then tried as well.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hardtack._extras import explain
from hardtack.cookies import Cookie
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.errors import SessionFinished, StoreUnavailable
from hardtack.events import Conflict, CrossSite, Event
from hardtack.manager import SessionManager
from hardtack.protocols import Entry, Version
from hardtack.request import Request
from hardtack.stores.memory import MemoryStore
from hardtack.tokens.keys import Key

try:
    import pytest
except ImportError as error:
    message = explain("hardtack.testing", "testing", error)
    raise ImportError(message) from error

TIMEOUT = 10.0
"""Seconds until a request that hangs fails its test."""

NAME = "__Host-Http-session"

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """What a page answers: the application under test makes its framework's response of it."""

    text: str = "ok"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came back: the status, header pairs, and the body."""

    status: int
    headers: Pairs
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def all(self, name: str) -> list[str]:
        """The values of a header, in order."""
        return [value.strip() for key, value in self.headers if key.lower() == name]

    def tokens(self, name: str) -> set[str]:
        """The members of a header that is a list."""
        return {token.strip().lower() for token in ",".join(self.all(name)).split(",") if token.strip()}

    @property
    def set_cookies(self) -> list[str]:
        """The Set-Cookie lines."""
        return self.all("set-cookie")


Handle = Callable[[str, Callable[[], Any]], Reply]
Client = Callable[[str, str, Pairs], Answer]


# --- ways to reach an application


def wsgi_client(app: Any) -> Client:
    """A client of a WSGI application; an exception that leaves it is a 500, as of a server."""

    def send(method: str, path: str, headers: Pairs) -> Answer:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [int(status.split()[0]), list(headers)]
            return started.append

        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": "0",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]}; {value}" if key in environ else value
        try:
            body = app(environ, start_response)
            try:
                content = b"".join(body)
            finally:
                getattr(body, "close", lambda: None)()
        except Exception:
            return Answer(500, [])
        return Answer(started[0], started[1], content)

    return send


def asgi_client(app: Any) -> Client:
    """A client of an ASGI application, which runs on one event loop for all; an exception that leaves it is a 500."""

    async def ask(method: str, path: str, headers: Pairs) -> Answer:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 50000),
            "server": ("localhost", 443),
        }
        sent: list[Any] = []
        over = asyncio.Event()
        waiting = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                over.set()

        with suppress(Exception):
            await app(scope, receive, send)
        if not sent:
            return Answer(500, [])
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return Answer(sent[0]["status"], pairs, b"".join(message.get("body", b"") for message in sent[1:]))

    def client(method: str, path: str, headers: Pairs) -> Answer:
        return asyncio.run_coroutine_threadsafe(ask(method, path, headers), _loop()).result(TIMEOUT)

    return client


_loops: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own, which ends with the process."""
    if not _loops:
        _loops.append(asyncio.new_event_loop())
        threading.Thread(target=_loops[0].run_forever, daemon=True).start()
    return _loops[0]


# --- a store that can be down


class _Store(MemoryStore):
    """A store that counts its reads, and can be told to be down: for reads, or for all that changes it."""

    reads = 0
    unreadable = unwritable = False

    def get(self, key: str) -> Entry | None:
        self.reads += 1
        _refuse(self.unreadable)
        return super().get(key)

    def put(self, *args: Any, **options: Any) -> Version:
        _refuse(self.unwritable)
        return super().put(*args, **options)

    def rename(self, *args: Any, **options: Any) -> Version:
        _refuse(self.unwritable)
        return super().rename(*args, **options)


def _refuse(down: bool) -> None:
    if down:
        raise StoreUnavailable("the store is down")


class _AsyncStore:
    """The same for async code alone, as a store over a network is."""

    def __init__(self, store: _Store) -> None:
        self.store = store

    async def get(self, key: str) -> Entry | None:
        return self.store.get(key)

    async def put(self, *args: Any, **options: Any) -> Version:
        return self.store.put(*args, **options)

    async def delete(self, *args: Any, **options: Any) -> bool:
        return self.store.delete(*args, **options)

    async def close(self) -> None:
        self.store.close()


# --- an application and its visitor


class _HandlerError(Exception):
    """What nobody handles."""


class _World:
    """One application, its manager and its store, and a browser."""

    def __init__(self, contract: AdapterContract, engine: str, **options: Any) -> None:
        self.store = _Store()
        self.engine = engine
        self.events: list[Event] = []
        engines: dict[str, Callable[[], Any]] = {
            "cookie": lambda: CookieEngine(Key.generate()),
            "store": lambda: StoreEngine(self.store),
            "async store": lambda: StoreEngine(_AsyncStore(self.store)),
            "anonymous": lambda: StoreEngine(self.store, on_store_error="anonymous"),
        }
        self.sessions = SessionManager(engines[engine](), cookie=Cookie(), on_event=self.events.append, **options)
        self.other = SessionManager(StoreEngine(self.store), cookie=Cookie())
        self.cookies: dict[str, str] = {}
        self.meanwhile = ""
        self.kept: Any = None
        self.client = contract.serve(self.sessions, self.handle)

    @property
    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def post(self, path: str, *headers: tuple[str, str]) -> Answer:
        return self.send("POST", path, *headers)

    def send(self, method: str, path: str, *headers: tuple[str, str]) -> Answer:
        cookie = [("Cookie", self.header)] if self.cookies else []
        answer = self.client(method, path, [("Host", "localhost"), *cookie, *headers])
        for line in answer.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if "max-age=0" not in line.lower():
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    def with_cookie(self, *headers: str) -> Answer:
        """What somebody gets who sends these Cookie headers."""
        return self.client("GET", "/read", [("Host", "localhost"), *(("Cookie", header) for header in headers)])

    def handle(self, path: str, get_session: Callable[[], Any]) -> Reply:
        """The handler of every page."""
        name = path.strip("/")
        if name == "untouched":
            return Reply()
        if name == "apology":
            with suppress(StoreUnavailable):
                get_session().get("n")
            return Reply(f"sorry, {get_session().get('n', 'stranger')}", 502)
        reply = getattr(self, f"on_{name}")(get_session())
        return Reply() if reply is None else reply

    def on_named(self, session: Any) -> None:
        """It has asked for the session, and does not use it."""

    def on_read(self, session: Any) -> Reply:
        return Reply(f"{session.get('n', 0)} {session.subject}")

    def on_write(self, session: Any) -> None:
        session["n"] = session.get("n", 0) + 1

    def on_nested(self, session: Any) -> None:
        session.setdefault("basket", {"items": []})["items"].append("bread")

    def on_basket(self, session: Any) -> Reply:
        return Reply(str(len(session["basket"]["items"])))

    def on_login(self, session: Any) -> None:
        session.login("ann")

    def on_logout(self, session: Any) -> None:
        session.logout()

    def on_public(self, session: Any) -> Reply:
        session["public"] = 1
        return Reply(headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})

    def on_teapot(self, session: Any) -> Reply:
        session["n"] = 418
        return Reply("short and stout", 418)

    def on_big(self, session: Any) -> None:
        session["big"] = [f"{number:06d}" for number in range(2_000)]

    def on_fail(self, session: Any) -> None:
        session["n"] = 500
        raise _HandlerError

    def on_leave(self, session: Any) -> None:
        session.logout()
        raise _HandlerError

    def on_broken(self, session: Any) -> None:
        session["n"] = 503
        raise StoreUnavailable("another store is down")

    def on_leave_broken(self, session: Any) -> None:
        session.logout()
        raise StoreUnavailable("another store is down")

    def on_keep(self, session: Any) -> None:
        session["kept"] = 1
        self.kept = getattr(session, "_get_current_object", lambda: session)()

    def on_late(self, session: Any) -> None:
        """It has read, and another request of the same browser is quicker."""
        session.get("n")
        beside = self.other.open(self.header, Request("POST"))
        getattr(self, f"on_{self.meanwhile}")(beside)
        self.other.commit(beside)
        self.on_write(session)

    def on_late_logout(self, session: Any) -> None:
        session.get("n")
        beside = self.other.open(self.header, Request("POST"))
        beside.login("ann")
        self.moved = self.other.commit(beside).set_cookies[0].partition(";")[0]
        session.logout()


ELSEWHERE = (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"))


class AdapterContract:
    """What every adapter does: `serve(sessions, handle)` makes an application with it, and returns a client of that."""

    asynchronous: ClassVar[bool] = False
    """Whether the adapter awaits, so that a store which only async code can reach works with it."""

    def serve(self, sessions: SessionManager, handle: Handle) -> Client:
        """An application whose every page, for GET and POST, is answered by `handle`, and a client of it."""
        raise NotImplementedError(
            "serve(self, sessions, handle) returns wsgi_client(app), asgi_client(app) or its like"
        )

    @pytest.fixture(params=["cookie", "store", "async store"])
    def world(self, request: pytest.FixtureRequest) -> _World:
        """An application over each engine."""
        if request.param == "async store" and not self.asynchronous:
            pytest.skip("the adapter is for sync code")
        return _World(self, request.param)

    @pytest.fixture(params=["store", "async store"])
    def over_stores(self, request: pytest.FixtureRequest) -> _World:
        """An application over each store."""
        if request.param == "async store" and not self.asynchronous:
            pytest.skip("the adapter is for sync code")
        return _World(self, request.param)

    @pytest.fixture
    def stored(self) -> _World:
        """An application over a store."""
        return _World(self, "store")

    # --- what is stored, and when

    def test_a_page_that_leaves_the_session_alone_has_nothing_to_say_of_it(self, world: _World) -> None:
        """No Set-Cookie, no Vary; and a visitor without a cookie costs no question to the store."""
        answers = [world.get("/untouched"), world.get("/read")]
        reads = world.store.reads
        world.get("/write")
        answers.append(world.get("/untouched"))

        assert [answer.status for answer in answers] == [200, 200, 200]
        assert [answer.set_cookies for answer in answers] == [[], [], []]
        assert not answers[0].all("vary")
        assert not answers[2].all("vary")
        assert reads == 0

    def test_what_is_written_is_read_by_the_next_request(self, world: _World) -> None:
        """The cookie has the attributes of the manager's, and is set once."""
        answer = world.get("/write")

        (line,) = answer.set_cookies
        assert line.startswith(f"{NAME}=")
        assert {"path=/", "secure", "httponly", "samesite=lax"} <= {part.strip().lower() for part in line.split(";")}
        assert world.get("/read").text == "1 None"

    def test_a_nested_change_is_saved(self, world: _World) -> None:
        """With nothing to mark."""
        for _ in range(2):
            world.get("/nested")

        assert world.get("/basket").text == "2"

    def test_a_page_that_was_made_from_the_session_is_for_one_visitor(self, world: _World) -> None:
        """No shared cache may keep it; with a cookie none at all, whatever the application has said."""
        world.get("/write")
        read, public = world.get("/read"), world.get("/public")

        assert read.set_cookies == []
        assert read.tokens("vary") == {"cookie"}
        assert "private" in read.tokens("cache-control")
        assert public.tokens("vary") == {"accept", "cookie"}
        assert public.tokens("cache-control") == (
            {"private", "no-store"} if public.set_cookies else {"public", "max-age=60"}
        )

    @pytest.mark.parametrize("value", ["", "x", "A" * 43, '"quoted"', "a=b", "%00%ff", "e30.e30.e30", "A" * 5000])
    def test_a_forged_cookie_is_a_new_session(self, world: _World, value: str) -> None:
        """And never an error."""
        answer = world.with_cookie(f"{NAME}={value}")

        assert (answer.status, answer.text) == (200, "0 None")

    def test_the_cookie_is_found_where_its_header_was_split(self, world: _World) -> None:
        """As HTTP/2 allows (RFC 9113 8.2.3)."""
        world.get("/write")

        assert world.with_cookie("a=1", world.header, "b=2").text == "1 None"

    def test_a_planted_cookie_does_not_choose_the_session(self, stored: _World) -> None:
        """Two of one name: neither is used, and ours is not cleared."""
        stored.get("/write")
        ours = stored.header
        stored.cookies.clear()
        stored.get("/write")

        answer = stored.with_cookie(f"{ours}; {stored.header}")

        assert answer.text == "0 None"
        assert all("max-age=0" in line.lower() for line in answer.set_cookies)
        assert stored.get("/read").text == "1 None"

    # --- logins and ends

    def test_a_login_has_a_new_cookie_and_the_data(self, world: _World) -> None:
        """An id from before the login is not good after it."""
        world.get("/write")
        before = world.header
        world.post("/login")

        assert world.header != before
        assert world.get("/read").text == "1 ann"
        if world.engine != "cookie":
            assert world.with_cookie(before).text == "0 None"

    def test_a_logout_clears_the_cookie(self, world: _World) -> None:
        """In a store every copy of it is dead."""
        world.post("/login")
        copy = world.header
        world.post("/logout")

        assert world.cookies == {}
        if world.engine != "cookie":
            assert world.with_cookie(copy).text == "0 None"

    def test_a_logout_before_an_exception_is_carried_out(self, world: _World) -> None:
        """With an error page that clears the cookie."""
        world.post("/login")
        copy = world.header

        answer = world.post("/leave")

        assert answer.status == 500
        assert world.cookies == {}
        if world.engine != "cookie":
            assert world.with_cookie(copy).text == "0 None"

    # --- errors

    def test_an_exception_saves_nothing(self, world: _World) -> None:
        """And sets nothing."""
        world.get("/write")

        answer = world.get("/fail")

        assert (answer.status, answer.set_cookies) == (500, [])
        assert world.get("/read").text == "1 None"

    def test_an_error_of_a_store_that_leaves_the_handler_saves_nothing(self, world: _World) -> None:
        """It is a 503, or a 500; but what was ended before is ended, and the page clears its cookie."""
        world.get("/write")
        broken, read, leaving = world.post("/broken"), world.get("/read"), world.post("/leave_broken")

        assert broken.status in (500, 503)
        assert broken.set_cookies == []
        assert read.text == "1 None"
        assert leaving.status in (500, 503)
        assert world.cookies == {}

    def test_an_error_that_the_application_answers_saves(self, world: _World) -> None:
        """Its status does not matter."""
        answer = world.get("/teapot")

        assert answer.status == 418
        assert world.get("/read").text == "418 None"

    def test_a_session_that_outgrows_its_cookie_is_an_error(self) -> None:
        """Browsers would drop the cookie without a word."""
        world = _World(self, "cookie")
        world.get("/write")

        answer = world.get("/big")

        assert (answer.status, answer.set_cookies) == (500, [])
        assert world.get("/read").text == "1 None"

    @pytest.mark.parametrize("unwritable", [False, True], ids=["saved", "refused"])
    def test_a_session_can_only_be_read_once_its_request_is_over(self, stored: _World, unwritable: bool) -> None:
        """A task or a thread that still has it would write into nothing, or what a client was told is not saved."""
        stored.get("/write")
        stored.store.unwritable = unwritable
        answer = stored.get("/keep")
        stored.store.unwritable = False

        assert answer.status == (503 if unwritable else 200)
        with pytest.raises(SessionFinished):
            stored.kept["n"] = 2
        assert stored.get("/read").text == "1 None"

    # --- parallel requests

    def test_a_form_that_lost_a_race_is_told_so(self, stored: _World) -> None:
        """It had read what another request changed: a 409, and nothing of it is saved."""
        stored.get("/write")
        stored.meanwhile = "write"

        answer = stored.post("/late")

        assert answer.status == 409
        assert "no-store" in answer.tokens("cache-control")
        assert answer.set_cookies == []
        assert stored.get("/read").text == "2 None"

    def test_a_page_that_lost_a_race_is_shown(self, stored: _World) -> None:
        """It promised no change: what it would have saved is dropped, and the event says so."""
        stored.get("/write")
        stored.meanwhile = "write"

        answer = stored.get("/late")

        assert (answer.status, answer.set_cookies) == (200, [])
        assert stored.get("/read").text == "2 None"
        assert any(isinstance(event, Conflict) and event.outcome == "stale" for event in stored.events)

    def test_a_write_after_a_logout_revives_nothing(self, stored: _World) -> None:
        """Nor does it set a cookie."""
        stored.get("/write")
        stored.meanwhile = "logout"

        answer = stored.post("/late")

        assert (answer.status, answer.set_cookies) == (409, [])
        assert stored.get("/read").text == "0 None"

    def test_a_logout_follows_a_change_of_the_id(self, stored: _World) -> None:
        """The user who is told "logged out" is."""
        stored.get("/write")

        answer = stored.post("/late_logout")

        assert answer.status == 200
        assert stored.with_cookie(stored.moved).text == "0 None"

    # --- requests that another site sent

    @pytest.mark.parametrize("path", ["/write", "/login", "/logout"])
    def test_another_site_cannot_change_a_session(self, path: str) -> None:
        """The answer is 403, and the session stays."""
        world = _World(self, "store", cross_site="refuse")
        world.get("/write")

        refused, served = world.post(path, *ELSEWHERE), world.post("/read", *ELSEWHERE)

        assert (refused.status, refused.set_cookies) == (403, [])
        assert "no-store" in refused.tokens("cache-control")
        assert (served.status, served.text) == (200, "0 None")
        assert world.post("/read", ("Sec-Fetch-Site", "same-origin")).text == "1 None"
        assert any(isinstance(event, CrossSite) for event in world.events)

    # --- a store that is down

    def test_a_store_that_cannot_be_read_is_a_503_for_who_asks(self, over_stores: _World) -> None:
        """And no reason to end the session; a page about the error may show it, and is shown an empty one."""
        world = over_stores
        world.get("/write")
        world.store.unreadable = world.store.unwritable = True
        read, untouched, apology = world.get("/read"), world.get("/untouched"), world.get("/apology")
        world.store.unreadable = world.store.unwritable = False

        assert (read.status, read.set_cookies) == (503, [])
        assert "no-store" in read.tokens("cache-control")
        assert read.all("retry-after")
        assert untouched.status == 200
        assert (apology.status, apology.text) == (502, "sorry, stranger")
        assert world.get("/read").text == "1 None"

    def test_a_store_that_cannot_be_read_fails_nobody_who_only_names_the_session(self, over_stores: _World) -> None:
        """It is handed out all the same: the error comes at the first use of it."""
        world = over_stores
        world.get("/write")
        world.store.unreadable = world.store.unwritable = True

        answer = world.get("/named")

        assert (answer.status, answer.set_cookies) == (200, [])

    def test_a_logout_while_the_store_cannot_be_read_clears_the_cookie(self, over_stores: _World) -> None:
        """It is the first use of the session, and never lost: in a 503, because a copy of the cookie is still good."""
        world = over_stores
        world.post("/login")
        copy = world.header
        world.store.unreadable = world.store.unwritable = True

        answer = world.post("/logout")
        world.store.unreadable = world.store.unwritable = False

        assert answer.status == 503
        assert "no-store" in answer.tokens("cache-control")
        assert world.cookies == {}
        assert world.with_cookie(copy).text == "0 ann"

    @pytest.mark.parametrize("path", ["/write", "/login", "/logout"])
    def test_a_store_that_cannot_be_written_is_a_503(self, over_stores: _World, path: str) -> None:
        """The client sees no cookie of what was not kept; but a logout clears the cookie."""
        world = over_stores
        world.get("/write")
        world.store.unwritable = True

        answer = world.post(path)
        world.store.unwritable = False

        assert answer.status == 503
        assert bool(answer.set_cookies) is (path == "/logout")
        assert bool(world.cookies) is (path != "/logout")

    def test_a_site_that_goes_on_without_its_store_refuses_changes(self) -> None:
        """Who reads is served as nobody, and no cache keeps that."""
        world = _World(self, "anonymous")
        world.get("/write")
        world.store.unreadable = world.store.unwritable = True

        reading, changing = world.get("/read"), world.post("/write")

        assert (reading.status, reading.text, reading.set_cookies) == (200, "0 None", [])
        assert "no-store" in reading.tokens("cache-control")
        assert (changing.status, changing.set_cookies) == (503, [])

"""Tornado, served on a port of this machine: cookies, stores that wait and stores that do not, streams, websockets."""

from __future__ import annotations

import asyncio
import json
import logging
import runpy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import tornado
from aiohttp import ClientSession, ClientTimeout, CookieJar, WSServerHandshakeError
from tests.frameworks.async_kit import READS, WRITES, AsyncMemoryStore, FailingStore, manager, plain, stored, without
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, Finish, HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from hardtack import CookieEngine, Key, SessionManager, StoreEngine
from hardtack.errors import ConfigError, SessionFinished
from hardtack.events import CacheControlReplaced, Event, LateWrite
from hardtack.foreign.tornado import TornadoCookie
from hardtack.frameworks.tornado import SessionMixin, WebSocketSessionMixin
from hardtack.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.asyncio

ROOT = Path(__file__).parents[2]


class Unplanned(Exception):
    """What nobody handles."""


class Page(SessionMixin, RequestHandler):
    """A handler with a session; what it does is a function of it."""

    action: Callable[[Page], Awaitable[None] | None]

    def initialize(self, action: Callable[[Page], Awaitable[None] | None]) -> None:
        self.action = action

    def get(self) -> Any:
        return self.action(self)


def untouched(page: Page) -> None:
    assert page.session is not None


def read(page: Page) -> None:
    page.write(dict(page.session))


def write(page: Page) -> None:
    page.session["n"] = page.session.get("n", 0) + 1
    page.session.setdefault("nested", {"list": []})["list"].append(page.session["n"])


def login(page: Page) -> None:
    page.session.login("ann")
    page.session.flash("welcome")


def flashes(page: Page) -> None:
    page.write({"all": [str(message) for message in page.session.flashes()]})


def logout(page: Page) -> None:
    page.session.logout()


def big(page: Page) -> None:
    page.session["big"] = "x" * 10_000
    page.finish("unreached")


def fail(page: Page) -> None:
    page.session["failed"] = 1
    raise Unplanned


def forbidden(page: Page) -> None:
    page.session["seen"] = 1
    raise HTTPError(403)


def finished(page: Page) -> None:
    page.session["seen"] = 1
    raise Finish("done")


def bad_gateway(page: Page) -> None:
    page.session["seen"] = 1
    try:
        raise Unplanned
    except Unplanned:
        page.send_error(502)


def away(page: Page) -> None:
    page.session["seen"] = 1
    page.redirect("/read")


def public(page: Page) -> None:
    page.session["n"] = 1
    page.set_header("Cache-Control", "public, max-age=60")
    page.set_header("Vary", "Accept")


async def stream(page: Page) -> None:
    page.session["streamed"] = 1
    page.write("a")
    await page.flush()
    page.session["late"] = 1
    page.write("b")


async def hasty_stream(page: Page) -> None:
    page.session["streamed"] = 1
    page.write("a")
    page.flush()
    page.write("b")
    page.flush()
    page.write("c")
    page.finish()


async def broken_stream(page: Page) -> None:
    page.session["begun"] = 1
    page.write("a")
    await page.flush()
    page.session["late"] = 1
    raise Unplanned


async def late_touch(page: Page) -> None:
    page.write("a")
    await page.flush()
    page.session["late"] = 1


def cookies(page: Page) -> None:
    page.session["n"] = 1
    page.set_cookie("own", "1")


ACTIONS = {
    "untouched": untouched,
    "read": read,
    "write": write,
    "login": login,
    "flashes": flashes,
    "logout": logout,
    "big": big,
    "fail": fail,
    "forbidden": forbidden,
    "finished": finished,
    "bad-gateway": bad_gateway,
    "away": away,
    "public": public,
    "stream": stream,
    "hasty-stream": hasty_stream,
    "broken-stream": broken_stream,
    "late-touch": late_touch,
    "cookies": cookies,
}


class Chat(WebSocketSessionMixin, WebSocketHandler):
    """A websocket that says what its session holds."""

    async def prepare(self) -> None:
        result = super().prepare()
        if result is not None:
            await result
        self.session["n"] = self.session.get("n", 0) + 1

    def open(self, *args: str, **kwargs: str) -> None:
        self.session["late"] = 1
        self.write_message(dict(self.session))

    def on_message(self, message: str | bytes) -> None:
        if message == "leave":
            self.session.logout()
        if message in ("fail", "leave"):
            raise Unplanned
        self.close()


class Quiet(WebSocketSessionMixin, WebSocketHandler):
    """A websocket that never looks at its session."""

    def prepare(self) -> None:
        """Loads nothing."""

    def on_message(self, message: str | bytes) -> None:
        raise Unplanned


def application(sessions: object, *more: Any, **settings: Any) -> Application:
    handlers = [(f"/{name}", Page, {"action": action}) for name, action in ACTIONS.items()]
    return Application([*handlers, ("/ws", Chat), ("/quiet-ws", Quiet), *more], sessions=sessions, **settings)


def page_of(action: Any, name: str = "/page") -> Any:
    return (name, Page, {"action": action})


@asynccontextmanager
async def serve(app: Application) -> AsyncIterator[ClientSession]:
    """A client of the application, which is served on a port of this machine."""
    server = HTTPServer(app)
    [socket] = bind_sockets(0, "127.0.0.1")
    server.add_sockets([socket])
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    try:
        async with ClientSession(url, cookie_jar=CookieJar(unsafe=True), timeout=ClientTimeout(10)) as client:
            yield client
    finally:
        server.stop()
        await server.close_all_connections()


@pytest.fixture(params=["cookie", "store", "blocking store", "async store"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionManager]:
    sqlite = SQLiteStore(tmp_path / "sessions.db")
    engines = {
        "cookie": None,
        "store": stored(),
        "blocking store": stored(sqlite),
        "async store": stored(AsyncMemoryStore()),
    }
    yield plain(engines[request.param])
    sqlite.close()


@pytest.fixture(params=["store", "async store"])
def store(request: pytest.FixtureRequest) -> Any:
    """A store that can be told to be down."""
    return FailingStore() if request.param == "store" else AsyncMemoryStore()


def down(store: Any, methods: frozenset[str]) -> None:
    getattr(store, "inner", store).down = methods


async def state(client: ClientSession) -> Any:
    return await (await client.get("/read")).json()


async def has(client: ClientSession, *names: str) -> bool:
    """Whether these are among what the session has; without names, whether it has nothing."""
    kept = await state(client)
    return all(name in kept for name in names) if names else kept == {}


async def seen(fact: bool) -> bool:
    return fact


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """What is done after the answer is seen a moment later."""
    for _ in range(200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it did not happen")


# --- what a handler does


async def test_a_session_that_nobody_touches_costs_no_header(sessions: SessionManager) -> None:
    """`self.session` alone neither reads nor writes."""
    async with serve(application(sessions)) as client:
        await client.get("/write")
        response = await client.get("/untouched")

    assert not {"Set-Cookie", "Vary", "Cache-Control"} & set(response.headers)


async def test_reading_varies_and_sets_nothing(sessions: SessionManager) -> None:
    """A response that depends on the session says so, and creates none."""
    async with serve(application(sessions)) as client:
        response = await client.get("/read")

    assert "Set-Cookie" not in response.headers
    assert (response.headers["Vary"], response.headers["Cache-Control"]) == ("Cookie", "private")


async def test_nested_changes_are_kept(sessions: SessionManager) -> None:
    """What a handler changes deep inside is there on the next request."""
    async with serve(application(sessions)) as client:
        await client.get("/write")
        await client.get("/write")

        assert await state(client) == {"n": 2, "nested": {"list": [1, 2]}}


async def test_the_cookie_has_the_managers_attributes() -> None:
    """Name and attributes are those of the manager's Cookie."""
    async with serve(application(manager())) as client:
        line = (await client.get("/write")).headers["Set-Cookie"]

    assert line.startswith("__Host-Http-session=")
    assert line.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")


async def test_other_cookies_stay(sessions: SessionManager) -> None:
    """What the handler sets with `set_cookie` goes beside ours."""
    async with serve(application(sessions)) as client:
        response = await client.get("/cookies")

    assert {"own", "session"} == set(response.cookies)


async def test_login_changes_the_cookie_and_keeps_the_data(sessions: SessionManager) -> None:
    """Against session fixation."""
    async with serve(application(sessions)) as client:
        before = (await client.get("/write")).cookies["session"].value
        after = (await client.get("/login")).cookies["session"].value

        assert before != after
        assert (await state(client))["n"] == 1


async def test_a_flash_message_is_shown_once(sessions: SessionManager) -> None:
    """The next page has it, the one after has not."""
    async with serve(application(sessions)) as client:
        await client.get("/login")

        assert await (await client.get("/flashes")).json() == {"all": ["welcome"]}
        assert await (await client.get("/flashes")).json() == {"all": []}


async def test_logout_clears_the_cookie(sessions: SessionManager) -> None:
    """And the session is gone."""
    async with serve(application(sessions)) as client:
        await client.get("/login")
        response = await client.get("/logout")

        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert await state(client) == {}


@pytest.mark.parametrize("value", ["forged", "%ff", "A" * 43, '"', "a=b", "é", "A" * 5000])
async def test_a_forged_cookie_is_a_new_session(sessions: SessionManager, value: str) -> None:
    """No cookie of any shape is an error."""
    async with serve(application(sessions)) as client:
        response = await client.get("/read", headers={"Cookie": f"session={value}"})

        assert (response.status, await response.json()) == (200, {})


async def test_cache_control_and_vary_are_merged() -> None:
    """A shared cache must not keep a response that sets a session cookie."""
    events: list[Event] = []

    async with serve(application(plain(on_event=events.append))) as client:
        response = await client.get("/public")

    assert response.headers.getall("Cache-Control") == ["private, no-store"]
    assert response.headers.getall("Vary") == ["Accept, Cookie"]
    assert CacheControlReplaced in map(type, events)


async def test_it_works_beside_compression(sessions: SessionManager) -> None:
    """Which is done when the first byte is sent, too."""
    text = "hardtack " * 1000

    async with serve(application(sessions, page_of(lambda page: page.finish(text)), compress_response=True)) as client:
        await client.get("/write")
        response = await client.get("/read", headers={"Accept-Encoding": "gzip"})
        long = await client.get("/page", headers={"Accept-Encoding": "gzip"})

        assert await long.text() == text
        assert response.headers["Vary"] in ("Accept-Encoding, Cookie", "Cookie, Accept-Encoding", "Cookie")


@pytest.mark.parametrize(
    ("path", "status"), [("/bad-gateway", 502), ("/forbidden", 403), ("/finished", 200), ("/away", 302)]
)
async def test_a_response_of_the_application_is_committed(sessions: SessionManager, path: str, status: int) -> None:
    """`send_error`, a raised HTTPError, Finish, a redirect."""
    async with serve(application(sessions)) as client:
        response = await client.get(path, allow_redirects=False)

        assert response.status == status
        assert await state(client) == {"seen": 1}


async def test_an_exception_saves_nothing(sessions: SessionManager) -> None:
    """Tornado answers 500 for it."""
    async with serve(application(sessions)) as client:
        await client.get("/write")
        response = await client.get("/fail")

        assert response.status == 500
        assert "Set-Cookie" not in response.headers
        assert "failed" not in await state(client)


async def test_a_handler_that_is_cancelled_saves_nothing(sessions: SessionManager) -> None:
    """Tornado answers 500 for its task, and before 6.6 nothing at all."""

    async def cancelled(page: Page) -> None:
        page.session["half"] = 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async with serve(application(sessions, page_of(cancelled))) as client:
        await client.get("/write")
        before = await state(client)

        if tornado.version_info < (6, 6):
            with pytest.raises(TimeoutError):
                await client.get("/page", timeout=ClientTimeout(0.5))
        else:
            response = await client.get("/page")
            assert response.status == 500
            assert "Set-Cookie" not in response.headers

        assert before
        assert await state(client) == before


async def test_prepare_and_get_current_user_have_the_session(sessions: SessionManager) -> None:
    """The mixin's `prepare` has loaded it, and goes on to the next class's."""

    class Base(RequestHandler):
        def prepare(self) -> Awaitable[None] | None:
            async def prepare() -> None:
                self.set_header("X-Prepared", "1")

            return prepare()

    class User(SessionMixin, Base):
        def get_current_user(self) -> Any:
            return self.session.get("n")

        def get(self) -> None:
            self.write(str(self.current_user))

    async with serve(application(sessions, ("/user", User))) as client:
        await client.get("/write")
        response = await client.get("/user")

        assert await response.text() == "1"
        assert response.headers["X-Prepared"] == "1"


async def test_a_handler_without_prepare_has_a_session_too() -> None:
    """It loads itself when it is touched, also before `prepare`, where no store stands behind a coroutine."""

    class Bare(SessionMixin, RequestHandler):
        def prepare(self) -> None:
            """Calls nobody."""

        def get(self) -> None:
            self.write(str(self.session.get("n")))

    class Early(SessionMixin, RequestHandler):
        def initialize(self) -> None:
            self.session["early"] = 1

        def get(self) -> None:
            self.write("ok")

    async with serve(application(plain(stored()), ("/bare", Bare), ("/early", Early))) as client:
        await client.get("/write")

        assert await (await client.get("/bare")).text() == "1"
        await client.get("/early")
        assert (await state(client))["early"] == 1


async def test_a_handler_that_never_asks_has_no_session() -> None:
    """Without `prepare` and without `self.session` the mixin does nothing."""

    class Bare(SessionMixin, RequestHandler):
        def prepare(self) -> None:
            """Calls nobody."""

        def get(self) -> None:
            if self.get_argument("fail", ""):
                raise Unplanned
            self.write("ok")

    async with serve(application("no manager", ("/bare", Bare))) as client:
        assert await (await client.get("/bare")).text() == "ok"
        assert (await client.get("/bare?fail=1")).status == 500


# --- the end of a response that has to wait


@pytest.mark.parametrize("second", ["write", "finish", "raise"])
async def test_after_finish_nothing_can_be_added(sessions: SessionManager, second: str) -> None:
    """Tornado's own rule, also while a store still saves: what follows a redirect by mistake must not be shown."""
    seen: list[str] = []

    async def page(page: Page) -> None:
        page.session["n"] = 1
        page.redirect("/elsewhere")
        try:
            if second == "write":
                page.write("secret")
            elif second == "finish":
                page.finish("secret")
        except RuntimeError as error:
            seen.append(str(error))
        if second == "raise":
            raise Unplanned

    async with serve(application(sessions, page_of(page))) as client:
        response = await client.get("/page", allow_redirects=False)

        assert (response.status, await response.text()) == (302, "")
        assert await state(client) == {"n": 1}
    assert len(seen) == (0 if second == "raise" else 1)


async def test_finish_can_be_awaited(sessions: SessionManager) -> None:
    """It is done when the response has been sent."""
    seen: list[bool] = []

    async def page(page: Page) -> None:
        page.session["n"] = 1
        await page.finish("text")
        seen.append(page._headers_written)

    async with serve(application(sessions, page_of(page))) as client:
        assert await (await client.get("/page")).text() == "text"

    assert seen == [True]


async def test_a_flush_that_is_cancelled_does_not_cancel_the_save(sessions: SessionManager) -> None:
    """A handler may give up waiting for its bytes to leave; the session is saved, and the response sent."""

    async def page(page: Page) -> None:
        page.session["n"] = 1
        page.write("text")
        flushing = page.flush()
        await asyncio.sleep(0)  # the store is asked by now
        flushing.cancel()

    async with serve(application(sessions, page_of(page))) as client:
        assert await (await client.get("/page")).text() == "text"
        assert await state(client) == {"n": 1}


async def test_a_response_that_tornado_refuses_is_a_500(sessions: SessionManager) -> None:
    """A 204 with a body: the session was saved by then, and its cookie goes with the error page."""

    def page(page: Page) -> None:
        page.session["n"] = 1
        page.set_status(204)
        page.write("text")

    async with serve(application(sessions, page_of(page))) as client:
        response = await client.get("/page")

        assert response.status == 500
        assert await state(client) == {"n": 1}


@pytest.mark.parametrize(
    "bases",
    [
        (RequestHandler, SessionMixin),
        (WebSocketHandler, WebSocketSessionMixin),
        (type("Base", (RequestHandler,), {}), type("Mixin", (SessionMixin,), {})),
    ],
)
async def test_a_mixin_behind_its_handler_class_is_refused(bases: tuple[type, ...]) -> None:
    """Tornado's own `finish()` would come first, and every session be lost without a word."""
    with pytest.raises(ConfigError, match=r"class Wrong\(SessionMixin, RequestHandler\)"):
        type("Wrong", bases, {})


# --- bodies


@pytest.mark.parametrize(("path", "body"), [("/stream", "ab"), ("/hasty-stream", "abc")])
async def test_a_stream_carries_the_cookie(sessions: SessionManager, path: str, body: str) -> None:
    """What was changed before the first byte goes with its headers, whether `flush` is awaited or not."""
    async with serve(application(sessions)) as client:
        response = await client.get(path)

        assert await response.text() == body
        assert (await state(client))["streamed"] == 1


@pytest.mark.parametrize("path", ["/stream", "/late-touch"])
async def test_a_late_change_is_saved_in_a_store(sessions: SessionManager, path: str) -> None:
    """After the body, by merging; a cookie engine tells."""
    events: list[Event] = []
    sessions.on_event = events.append

    async with serve(application(sessions)) as client:
        await client.get("/write")
        await (await client.get(path)).read()
        if sessions.engine.store is None:
            await eventually(lambda: seen(LateWrite in map(type, events)))
        else:
            await eventually(lambda: has(client, "late"))


async def test_a_body_that_fails_saves_nothing_more(sessions: SessionManager) -> None:
    """The headers and their cookie have left."""
    async with serve(application(sessions)) as client:
        await client.get("/write")
        response = await client.get("/broken-stream")
        await response.read()

        assert {"begun", "late"} & set(await state(client)) == {"begun"}


async def test_a_logout_in_a_stream_that_fails_ends_what_is_stored(sessions: SessionManager) -> None:
    """Its headers have left with the cookie as it was; that opens nothing any more, where there is a store."""

    async def leave(page: Page) -> None:
        page.write("a")
        await page.flush()
        page.session.logout()
        raise Unplanned

    async with serve(application(sessions, page_of(leave))) as client:
        await client.get("/write")
        response = await client.get("/page")
        await response.read()

        assert bool(await state(client)) is (sessions.engine.store is None)


async def test_a_logout_before_a_failure_that_the_store_did_not_hear_of_clears_the_cookie(store: Any) -> None:
    """The page for the failure carries the line."""

    def leave(page: Page) -> None:
        page.session.logout()
        raise Unplanned

    async with serve(application(plain(stored(store)), page_of(leave))) as client:
        await client.get("/write")
        down(store, WRITES)
        response = await client.get("/page")

        assert response.status in (500, 503)
        assert "Max-Age=0" in response.headers["Set-Cookie"]


async def test_a_session_whose_save_was_refused_is_not_saved_later(store: Any) -> None:
    """The client was told of an error: a task that goes on with the session is told, too."""
    kept: list[Any] = []

    def keep(page: Page) -> None:
        kept.append(page.session)
        page.session["n"] = 5

    async with serve(application(plain(stored(store)), page_of(keep))) as client:
        await client.get("/write")
        down(store, WRITES)
        response = await client.get("/page")
        down(store, frozenset())

        assert response.status == 503
        with pytest.raises(SessionFinished):
            kept[0]["n"] = 6
        assert (await state(client))["n"] == 1


async def test_a_logout_in_a_websocket_that_fails_ends_what_is_stored(store: Any) -> None:
    """The handshake could not clear the cookie."""
    async with serve(application(plain(stored(store)))) as client:
        await client.get("/write")
        async with client.ws_connect("/ws") as ws:
            await ws.receive_json()
            await ws.send_str("leave")
            await ws.receive()
        await eventually(lambda: has(client))


# --- sessions that cannot be loaded or saved


async def test_a_session_that_is_too_large_is_a_500() -> None:
    """It is known before the response begins."""
    async with serve(application(plain())) as client:
        response = await client.get("/big")

        assert response.status == 500
        assert "Set-Cookie" not in response.headers
        assert "unreached" not in await response.text()


@pytest.mark.parametrize("action", [big, fail])
async def test_an_error_page_depends_on_the_cookie(
    action: Callable[[Page], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application's page may show what is in the session, so no cache gives it to somebody else."""

    def write_error(page: Page, status_code: int, **details: Any) -> None:
        page.set_header("Cache-Control", "max-age=60")
        page.finish(dict(page.session))

    monkeypatch.setattr(Page, "write_error", write_error)

    async with serve(application(plain(), page_of(action))) as client:
        response = await client.get("/page")

        assert response.status == 500
        assert await response.json()
        assert response.headers["Vary"] == "Cookie"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "Set-Cookie" not in response.headers


async def test_an_error_page_of_an_untouched_session_is_left_alone() -> None:
    """It shows nothing of the session."""

    def fail_at_once(page: Page) -> None:
        raise Unplanned

    async with serve(application(plain(), page_of(fail_at_once))) as client:
        response = await client.get("/page")

        assert response.status == 500
        assert "Vary" not in response.headers


async def test_what_a_store_cannot_keep_is_a_500(sessions: SessionManager) -> None:
    """Also where the handler has returned when it shows."""

    def page(page: Page) -> None:
        page.session["thing"] = object()
        page.finish("unreached")

    async with serve(application(sessions, page_of(page))) as client:
        response = await client.get("/page")

        assert response.status == 500
        assert "unreached" not in await response.text()


async def test_a_large_session_is_chunked() -> None:
    """Where the engine may."""

    def large(page: Page) -> None:
        page.session["large"] = "x" * 5000

    sessions = plain(CookieEngine(Key.generate(), overflow="chunk"))

    async with serve(application(sessions, page_of(large))) as client:
        response = await client.get("/page")

        assert len(response.headers.getall("Set-Cookie")) == 2
        assert len((await state(client))["large"]) == 5000


@pytest.mark.parametrize("path", ["/read", "/write", "/stream", "/hasty-stream"])
async def test_a_store_that_is_down_is_a_503(store: Any, path: str) -> None:
    """Where the session cannot be loaded, and where it cannot be saved."""
    async with serve(application(plain(stored(store)))) as client:
        await client.get("/write")
        down(store, READS if path == "/read" else WRITES)
        response = await client.get(path)

        assert response.status == 503
        assert response.headers["Retry-After"] == "5"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "503" in await response.text()


async def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie(store: Any) -> None:
    """On the application's own page for errors."""

    class Own(SessionMixin, RequestHandler):
        def get(self) -> None:
            self.session.logout()

        def write_error(self, status_code: int, **kwargs: Any) -> None:
            self.finish(f"own page for {status_code}")

    async with serve(application(plain(stored(store)), ("/own", Own))) as client:
        await client.get("/login")
        down(store, WRITES)
        response = await client.get("/own")

        assert await response.text() == "own page for 503"
        assert "Max-Age=0" in response.headers["Set-Cookie"]


async def test_a_login_without_a_store_is_a_503(store: Any) -> None:
    """A session that stands in for one that could not be loaded cannot be logged in; one that is read goes on."""
    async with serve(application(plain(StoreEngine(store, on_store_error="anonymous")))) as client:
        await client.get("/write")
        down(store, READS)
        reading = await client.get("/read")
        login = await client.get("/login")

    assert (reading.status, reading.headers["Cache-Control"]) == (200, "private, no-store")
    assert login.status == 503


async def test_a_missing_manager_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The setting is `sessions`."""
    async with serve(application("secret")) as client:
        response = await client.get("/read")

    assert response.status == 500
    assert "must be a SessionManager, not str" in caplog.text


# --- several requests


async def test_two_parallel_requests_lose_nothing(store: Any) -> None:
    """What the other saved meanwhile is merged."""
    both = asyncio.Barrier(2)

    async def slow(page: Page) -> None:
        assert page.session["n"] == 1
        await both.wait()
        page.session[page.get_argument("key")] = 1

    async with serve(application(plain(stored(store)), page_of(slow))) as client:
        await client.get("/write")
        await asyncio.gather(client.get("/page?key=mine"), client.get("/page?key=theirs"))

        assert {"mine", "theirs"} <= set(await state(client))


async def test_a_write_after_logout_revives_nothing(store: Any) -> None:
    """And sets no cookie."""
    entered, gate = asyncio.Event(), asyncio.Event()

    async def slow(page: Page) -> None:
        page.session["slow"] = 1
        entered.set()
        await gate.wait()

    async with serve(application(plain(stored(store)), page_of(slow))) as client:
        await client.get("/write")
        task = asyncio.create_task(client.get("/page"))
        await entered.wait()
        await client.get("/logout")
        gate.set()
        response = await task

        assert "Set-Cookie" not in response.headers
        assert await state(client) == {}


# --- websockets


async def test_a_websocket_sets_its_cookie_with_the_handshake(sessions: SessionManager) -> None:
    """What `prepare` did; the handshake is not for caches."""
    async with serve(application(sessions)) as client:
        async with client.ws_connect("/ws") as ws:
            headers = ws._response.headers
            assert await ws.receive_json() == {"n": 1, "late": 1}
            await ws.send_str("bye")
            await ws.receive()

        assert "Vary" not in headers
        assert (await state(client))["n"] == 1


@pytest.mark.parametrize(("command", "late"), [("bye", True), ("fail", False)])
async def test_a_websocket_saves_late_changes_in_a_store(store: Any, command: str, late: bool) -> None:
    """When it is closed; an exception saves nothing more."""
    async with serve(application(plain(stored(store)))) as client:
        await client.get("/write")
        async with client.ws_connect("/ws") as ws:
            await ws.receive_json()
            await ws.send_str(command)
            await ws.receive()
        if late:
            await eventually(lambda: has(client, "late"))
        else:
            await asyncio.sleep(0.05)
            assert "late" not in await state(client)


@pytest.mark.parametrize("methods", [READS, WRITES])
async def test_a_websocket_without_a_store_is_refused(store: Any, methods: frozenset[str]) -> None:
    """The handshake is answered with 503."""
    async with serve(application(plain(stored(store)))) as client:
        await client.get("/write")
        down(store, methods)
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.ws_connect("/ws")

    assert caught.value.status == 503


async def test_a_websocket_that_never_looks_has_no_session() -> None:
    """Nothing is opened, and nothing saved."""
    async with serve(application(plain())) as client, client.ws_connect("/quiet-ws") as ws:
        headers = ws._response.headers
        await ws.send_str("fail")
        await ws.receive()

    assert "Set-Cookie" not in headers


async def test_a_plain_request_to_a_websocket_is_a_400(sessions: SessionManager) -> None:
    """Tornado's own answer, with the cookie that `prepare` made."""
    async with serve(application(sessions)) as client:
        response = await client.get("/ws")

        assert response.status == 400
        assert await state(client) == {"n": 1}


# --- the rest


async def test_a_signed_cookie_of_tornados_own_is_taken_over() -> None:
    """A visitor who brings one stays logged in, and loses it."""

    class Old(RequestHandler):
        def get(self) -> None:
            self.set_signed_cookie("old", json.dumps({"user": "ann"}))

    who = page_of(lambda page: page.write(f"{page.session.subject} {page.session['user']}"), "/who")
    token = TornadoCookie("secret", cookie_name="old", subject=lambda data: data.get("user"))

    async with serve(application(plain(accept=[token]), ("/old", Old), who, cookie_secret="secret")) as client:
        await client.get("/old")
        response = await client.get("/who")

        assert await response.text() == "ann ann"
        assert response.cookies["old"]["max-age"] == "0"
        assert await state(client) == {"user": "ann"}


async def test_a_secure_cookie_on_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A browser drops it without a word."""
    async with serve(application(manager())) as client:
        with caplog.at_level(logging.WARNING, "hardtack"):
            await client.get("/write", headers={"Host": "example.org"})

    assert "Secure session cookie" in caplog.text


async def test_the_example_runs() -> None:
    """A visit, a login with its greeting, a logout."""
    app = runpy.run_path(str(ROOT / "examples/tornado/app.py"))["make_app"]()

    async with serve(app) as client:
        assert "stranger, this is visit 1" in await (await client.get("/")).text()
        page = await (await client.post("/login", data={"user": "<ann>"})).text()
        assert "Welcome." in page
        assert "&lt;ann&gt;, this is visit 2" in page
        assert "stranger, this is visit 1" in await (await client.post("/logout")).text()


async def test_without_tornado_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    without("tornado", "tornado", monkeypatch)

    with pytest.raises(ImportError, match=r"hardtack\[tornado\]"):
        import hardtack.frameworks.tornado  # noqa: F401

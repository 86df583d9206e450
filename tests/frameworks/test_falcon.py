"""Falcon: what is its own about the middleware, under WSGI and ASGI. What all frameworks share is in test_behaviour.py."""

from __future__ import annotations

import asyncio
import io
import runpy
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest
from falcon.asgi import SSEvent
from tests.frameworks.async_kit import AsyncMemoryStore
from tests.frameworks.harness import (
    ALL_METHODS,
    ROOT,
    ASGISite,
    Browser,
    Loop,
    Site,
    WatchedStore,
    WSGISite,
    first_program,
)

from hardtack import Cookie, CookieEngine, Key, SessionManager, StoreEngine, errors, events
from hardtack.frameworks import falcon as adapter
from hardtack.frameworks.falcon import SessionMiddleware, Unavailable

KEY = Key(bytes(32))


class Kit:
    """One kind of Falcon application, its routes, and the manager behind it."""

    def __init__(self, kind: str, loop: Loop, engine: Any) -> None:
        self.is_async = kind == "asgi"
        self.events: list[events.Event] = []
        self.sessions = SessionManager(engine, on_event=self.events.append)
        application: Any = falcon.asgi.App if self.is_async else falcon.App
        self.app = application(middleware=[SessionMiddleware(self.sessions)])
        self.site: Site = ASGISite(self.app, loop) if self.is_async else WSGISite(self.app)
        self.browser = Browser(self.site)

    def route(self, path: str, handler: Any) -> None:
        """`handler(req, resp)` answers GET requests of a path, as a coroutine where the application wants one."""

        def on_get(_: Any, req: Any, resp: Any) -> None:
            handler(req, resp)

        async def on_get_async(_: Any, req: Any, resp: Any) -> None:
            handler(req, resp)

        responder = on_get_async if self.is_async else on_get
        self.app.add_route(path, type("Resource", (), {"on_get": responder})())


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(params=["wsgi", "asgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kit(kind: str, loop: Loop) -> Kit:
    """An application whose sessions are in cookies."""
    return Kit(kind, loop, CookieEngine(KEY))


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def stored(kind: str, loop: Loop, store: WatchedStore) -> Kit:
    """An application whose sessions are in a store."""
    return Kit(kind, loop, StoreEngine(store))


def write(req: Any, resp: Any) -> None:
    req.context.session["n"] = req.context.session.get("n", 0) + 1


def read(req: Any, resp: Any) -> None:
    resp.text = str(dict(req.context.session))


# --- which responses save


@pytest.mark.parametrize(
    "response",
    [falcon.HTTPForbidden(), falcon.HTTPFound("/elsewhere"), falcon.HTTPStatus(503), falcon.HTTPBadGateway()],
)
def test_what_a_responder_raises_as_a_response_saves(kit: Kit, response: Exception) -> None:
    """An HTTP error or status that the responder raised is a response of the application, 5xx included."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        raise response

    kit.route("/", handler)
    kit.route("/read", read)

    kit.browser.get("/")

    assert kit.browser.get("/read").text == "{'n': 1}"


def test_a_500_that_the_responder_set_saves(kit: Kit) -> None:
    """Without an exception, a 500 is a response like any other."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        resp.status = 500

    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.status == 500
    assert len(answer.set_cookies) == 1


def test_an_exception_that_escapes_saves_nothing(kit: Kit) -> None:
    """Falcon makes a 500 of it, which carries no cookie."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        raise RuntimeError

    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.status == 500
    assert answer.set_cookies == []


def test_an_exception_with_an_error_handler_saves(kit: Kit) -> None:
    """The response of an error handler of the application's is the application's."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        raise KeyError

    def on_key_error(req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status = 404

    async def on_key_error_async(req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status = 404

    kit.app.add_error_handler(KeyError, on_key_error_async if kit.is_async else on_key_error)
    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.status == 404
    assert len(answer.set_cookies) == 1


def test_a_path_without_a_route_is_a_404_that_sets_nothing(kit: Kit) -> None:
    """The middleware runs for it too."""
    answer = kit.browser.get("/nowhere")

    assert answer.status == 404
    assert answer.set_cookies == []


def test_the_session_sees_what_later_middleware_did(kit: Kit) -> None:
    """Named first, it commits last."""

    class Counter:
        def process_response(self, req: Any, resp: Any, resource: Any, req_succeeded: bool) -> None:
            req.context.session["seen"] = True

        async def process_response_async(self, req: Any, resp: Any, resource: Any, req_succeeded: bool) -> None:
            req.context.session["seen"] = True

    kit.app.add_middleware(Counter())
    kit.route("/read", read)

    kit.browser.get("/read")

    assert kit.browser.get("/read").text == "{'seen': True}"


def test_an_earlier_middleware_that_fails_is_answered_without_a_session(kind: str, loop: Loop) -> None:
    """Falcon calls every process_response, even where ours never opened a session."""

    class Closed:
        def process_request(self, req: Any, resp: Any) -> None:
            raise falcon.HTTPForbidden

        async def process_request_async(self, req: Any, resp: Any) -> None:
            raise falcon.HTTPForbidden

    middleware = [Closed(), SessionMiddleware(SessionManager(KEY))]
    application: Any = falcon.asgi.App if kind == "asgi" else falcon.App
    app = application(middleware=middleware)
    site: Site = ASGISite(app, loop) if kind == "asgi" else WSGISite(app)

    answer = site.request("/")

    assert answer.status == 403


# --- headers


def test_cookies_of_falcons_own_stay(kit: Kit) -> None:
    """Falcon keeps its cookies in a place of their own."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        resp.set_cookie("theme", "dark")
        resp.append_header("Set-Cookie", "raw=1")

    kit.route("/", handler)

    kit.browser.get("/")

    assert set(kit.browser.cookies) == {"theme", "raw", "__Host-Http-session"}


def test_vary_and_cache_control_are_merged(kit: Kit) -> None:
    """What the responder set stays, as far as it is safe beside a Set-Cookie."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        resp.vary = ("Accept",)
        resp.cache_control = ("public", "max-age=60")

    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.all("vary") == ["Accept, Cookie"]
    assert answer.all("cache-control") == ["private, no-store"]
    assert any(isinstance(event, events.CacheControlReplaced) for event in kit.events)


def test_several_cookie_headers_are_one(loop: Loop) -> None:
    """HTTP/2 may split the Cookie header, of which Falcon keeps the last part; its test client gives it as an iterator."""
    kit = Kit("asgi", loop, CookieEngine(KEY))
    kit.route("/", write)
    kit.route("/read", read)
    kit.browser.get("/")
    seen: list[Any] = []

    async def ask(headers: Any) -> None:
        scope = {**falcon.testing.create_scope(path="/read"), "headers": headers}
        collector = falcon.testing.ASGIResponseEventCollector()
        await kit.app(scope, falcon.testing.ASGIRequestEventEmitter(), collector)
        seen.append(b"".join(collector.body_chunks))

    own = (b"cookie", str(kit.browser.header).encode())
    loop.run(ask([own, (b"cookie", b"a=1")]))
    loop.run(ask(iter([own])))

    assert seen == [b"{'n': 1}", b"{'n': 1}"]


def test_a_proxy_that_ends_tls_is_believed_for_the_warning(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """Secure cookies on plain http are warned of once, unless the proxy says that it was https."""
    kit.route("/", write)
    client = falcon.testing.TestClient(kit.app)

    client.simulate_get("/", headers={"X-Forwarded-Proto": "https"})
    quiet = list(caplog.messages)
    client.simulate_get("/")

    assert not any("plain http" in message for message in quiet)
    assert any("plain http" in message for message in caplog.messages)


# --- streams


def test_a_stream_that_changes_a_stored_session_is_saved(stored: Kit) -> None:
    """After the body: on a store no cookie is needed for that. Falcon's own closing of the stream goes on."""
    closed: list[str] = []

    class Body:
        """Chunks that change the session; Falcon's WSGI servers close an iterable, its ASGI applications await it."""

        def __init__(self, session: Any) -> None:
            self.session = session

        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            self.session["late"] = True

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in self:
                yield part

        def close(self) -> Any:
            closed.append("body")
            return asyncio.sleep(0) if stored.is_async else None

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        resp.stream = Body(req.context.session)

    stored.route("/", handler)
    stored.route("/read", read)

    answer = stored.browser.get("/")

    assert answer.text == "a"
    assert closed == ["body"]
    assert stored.browser.get("/read").text == "{'n': 1, 'late': True}"


def test_a_generator_that_changes_a_session_in_a_cookie_is_told_of(kit: Kit) -> None:
    """The headers have left: the change is lost, and the event LateWrite says so."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        session = req.context.session

        def body() -> Iterator[bytes]:
            yield b"a"
            session["late"] = True

        async def body_async() -> AsyncIterator[bytes]:
            yield b"a"
            session["late"] = True

        resp.stream = body_async() if kit.is_async else body()

    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.text == "a"
    assert any(isinstance(event, events.LateWrite) for event in kit.events)


def test_an_iterable_without_close_is_streamed(loop: Loop) -> None:
    """A WSGI stream need not have a close method."""
    kit = Kit("wsgi", loop, CookieEngine(KEY))

    def handler(req: Any, resp: Any) -> None:
        resp.stream = [b"a", b"b"]

    kit.route("/", handler)

    assert kit.browser.get("/").text == "ab"


def test_a_file_stays_what_it_is(kit: Kit) -> None:
    """A server may send it with wsgi.file_wrapper; it cannot change the session."""

    class AsyncFile(io.BytesIO):
        async def read(self, size: int = -1) -> bytes:  # type: ignore[override]
            return super().read(size)

        async def close(self) -> None:  # type: ignore[override]
            super().close()

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        resp.stream = AsyncFile(b"file") if kit.is_async else io.BytesIO(b"file")

    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.text == "file"
    assert len(answer.set_cookies) == 1


def test_server_sent_events_that_change_a_stored_session_are_saved(loop: Loop, store: WatchedStore) -> None:
    """An event stream is a body as well."""
    kit = Kit("asgi", loop, StoreEngine(store))

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        session = req.context.session

        async def emit() -> AsyncIterator[SSEvent]:
            yield SSEvent(text="hello")
            session["late"] = True

        resp.sse = emit()

    kit.route("/", handler)
    kit.route("/read", read)

    answer = kit.browser.get("/")

    assert "hello" in answer.text
    assert kit.browser.get("/read").text == "{'n': 1, 'late': True}"


# --- two middlewares


def test_two_middlewares_on_one_request_are_refused(kit: Kit) -> None:
    """The second would win without a word, and the first clear its cookie."""
    kit.app.add_middleware(SessionMiddleware(kit.sessions))
    raised: list[Exception] = []

    def note(req: Any, resp: Any, error: Any, params: Any) -> None:
        raised.append(error)
        resp.status = 500

    async def note_async(req: Any, resp: Any, error: Any, params: Any) -> None:
        note(req, resp, error, params)

    kit.app.add_error_handler(errors.ConfigError, note_async if kit.is_async else note)
    kit.route("/", write)

    answer = kit.browser.get("/")

    assert (answer.status, answer.set_cookies) == (500, [])
    assert "two session middlewares" in str(raised[0])


# --- failures


def test_a_session_that_is_too_large_is_a_500_in_place_of_the_stream(kit: Kit) -> None:
    """Nothing of the response that could not be finished leaves."""

    def handler(req: Any, resp: Any) -> None:
        req.context.session["big"] = "x" * 5000
        if kit.is_async:
            resp.sse = iter(())
        resp.stream = io.BytesIO(b"secret")

    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.status == 500
    assert answer.set_cookies == []
    assert b"secret" not in answer.body


def test_media_that_cannot_be_made_saves_nothing(kit: Kit) -> None:
    """Falcon makes its own page of the exception."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        resp.media = {"object": object()}

    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert answer.status == 500
    assert answer.set_cookies == []


def test_an_error_page_may_have_the_session_in_its_media(kit: Kit) -> None:
    """No cache gives it to somebody else."""

    def handler(req: Any, resp: Any) -> None:
        raise KeyError

    def page(req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status = 500
        resp.media = req.context.session
        resp.stream = [b"unseen"]

    async def page_async(req: Any, resp: Any, error: Any, params: Any) -> None:
        page(req, resp, error, params)

    kit.app.add_error_handler(Exception, page_async if kit.is_async else page)
    kit.route("/", handler)
    kit.route("/write", write)
    kit.browser.get("/write")

    answer = kit.browser.get("/")

    assert (answer.status, answer.text) == (500, '{"n": 1}')
    assert answer.tokens("vary") == {"cookie"}


@pytest.mark.parametrize("fails", ["commit", "responder"])
def test_an_error_page_depends_on_the_cookie(kit: Kit, fails: str) -> None:
    """The application's page may show what is in the session, so no cache gives it to somebody else."""

    def handler(req: Any, resp: Any) -> None:
        req.context.session["big"] = "x" * 5000
        if fails == "responder":
            raise KeyError

    def page(req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status = 500
        resp.text = req.context.session["big"][:1]

    async def page_async(req: Any, resp: Any, error: Any, params: Any) -> None:
        page(req, resp, error, params)

    kit.app.add_error_handler(Exception, page_async if kit.is_async else page)
    kit.route("/", handler)

    answer = kit.browser.get("/")

    assert (answer.status, answer.text) == (500, "x")
    assert answer.tokens("vary") == {"cookie"}
    assert "private" in answer.tokens("cache-control")
    assert answer.set_cookies == []


def test_a_store_that_is_down_on_load_is_a_503(stored: Kit, store: WatchedStore) -> None:
    """The application's handler for StoreUnavailable need not exist."""
    stored.route("/", write)
    stored.browser.get("/")
    store.down = ALL_METHODS

    answer = stored.browser.get("/")

    assert answer.status == 503
    assert answer.all("retry-after") == ["5"]
    assert answer.all("cache-control") == ["no-store"]
    assert answer.set_cookies == []


def test_a_store_that_is_down_on_save_is_a_503_in_place_of_the_stream(stored: Kit, store: WatchedStore) -> None:
    """The store is written before the headers leave."""

    def handler(req: Any, resp: Any) -> None:
        write(req, resp)
        resp.cache_control = ("public",)
        resp.stream = io.BytesIO(b"body")

    stored.route("/", handler)
    store.down = frozenset({"put"})

    answer = stored.browser.get("/")

    assert answer.status == 503
    assert answer.all("cache-control") == ["no-store"]
    assert b"body" not in answer.body
    assert answer.set_cookies == []


def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie(stored: Kit, store: WatchedStore) -> None:
    """The 503 carries the Set-Cookie."""
    stored.route("/", write)
    stored.route("/logout", lambda req, resp: req.context.session.logout())
    stored.browser.get("/")
    store.down = frozenset({"put", "delete"})

    answer = stored.browser.get("/logout")

    assert answer.status == 503
    assert stored.browser.cookies == {}


def test_a_login_in_a_degraded_session_is_a_503(kind: str, loop: Loop, store: WatchedStore) -> None:
    """With on_store_error="anonymous" reading goes on, and what cannot be kept is refused."""
    kit = Kit(kind, loop, StoreEngine(store, on_store_error="anonymous"))
    kit.route("/", write)
    kit.route("/read", read)
    kit.route("/login", lambda req, resp: req.context.session.login("ann") if dict(req.context.session) == {} else None)
    kit.browser.get("/")
    store.down = ALL_METHODS

    statuses = [kit.browser.get(path).status for path in ("/read", "/login")]

    assert statuses == [200, 503]


def test_an_error_handler_for_store_unavailable_is_asked(stored: Kit, store: WatchedStore) -> None:
    """What the framework raises is hardtack's error as well."""
    seen: list[Any] = []

    def handler(req: Any, resp: Any, error: Any, params: Any) -> None:
        seen.append(error)
        resp.status = 503

    async def handler_async(req: Any, resp: Any, error: Any, params: Any) -> None:
        handler(req, resp, error, params)

    stored.app.add_error_handler(errors.StoreUnavailable, handler_async if stored.is_async else handler)
    stored.route("/", write)
    store.down = ALL_METHODS

    stored.browser.get("/")

    assert [type(error) for error in seen] == [Unavailable]


# --- websockets


class Chat:
    """A websocket that counts its visits before it is accepted, and says so; then changes the session."""

    async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket) -> None:
        session = req.context.session
        session["visits"] = session.get("visits", 0) + 1
        await ws.accept(headers=[("x-own", "1")])
        await ws.send_text(str(session["visits"]))
        await ws.receive_text()
        session["late"] = True


def _visit(kit: Kit) -> tuple[str, list[tuple[bytes, bytes]]]:
    """Open the websocket; its first message, and the headers of the handshake."""

    seen: list[Any] = []

    async def talk() -> None:
        async with falcon.testing.ASGIConductor(kit.app) as conductor:
            cookies = {"cookie": kit.browser.header} if kit.browser.header else {}
            async with conductor.simulate_ws("/chat", headers=cookies) as ws:
                seen.append(await ws.receive_text())
                seen.append(ws.headers)
                await ws.send_text("bye")
                with pytest.raises(falcon.WebSocketDisconnected):
                    await ws.receive_text()  # until the responder has ended

    assert isinstance(kit.site, ASGISite)
    kit.site.loop.run(talk())
    text, headers = seen
    return text, headers


def _keep(kit: Kit, headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"set-cookie":
            key, _, rest = value.decode().partition("=")
            kit.browser.cookies[key] = rest.partition(";")[0]


def test_a_websocket_sets_the_cookie_when_it_is_accepted(loop: Loop) -> None:
    """Its handshake is the one place for that; headers of the application stay."""
    kit = Kit("asgi", loop, CookieEngine(KEY))
    kit.app.add_route("/chat", Chat())

    first, headers = _visit(kit)
    _keep(kit, headers)
    second, _ = _visit(kit)

    assert (first, second) == ("1", "2")
    assert (b"x-own", b"1") in headers


def test_a_websocket_saves_late_changes_in_a_store(loop: Loop, store: WatchedStore) -> None:
    """When Falcon closes it, at the end of the responder."""
    kit = Kit("asgi", loop, StoreEngine(store))
    kit.app.add_route("/chat", Chat())
    kit.route("/read", read)

    _, headers = _visit(kit)
    _keep(kit, headers)

    assert kit.browser.get("/read").text == "{'visits': 1, 'late': True}"


async def _all_done() -> None:
    """What is carried out after a request's task, or at the end of a connection, is done by tasks of its own."""
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left)
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("moment", ["handler", "commit"])
def test_a_logout_is_carried_out_where_the_request_is_cancelled(loop: Loop, moment: str) -> None:
    """A server's timeout, or a client that has left: Falcon calls no hook then."""

    class Slow(AsyncMemoryStore):
        async def put(self, *args: Any, **named: Any) -> Any:
            if moment == "commit" and not reached.is_set():
                reached.set()
                await asyncio.sleep(0.05)
            return await super().put(*args, **named)

    class Leaving:
        async def on_get(self, req: Any, resp: Any) -> None:
            name = req.get_param("once")
            taken.append(req.context.session.once.take(name))
            if moment == "handler":
                req.context.session.logout()
                reached.set()
                await asyncio.sleep(60)
            req.context.session.logout()

    async def talk() -> tuple[Any, Any]:
        session = await sessions.aopen(None)
        session.login("ann")
        name = session.once.put("state")
        lines = (await sessions.acommit(session)).set_cookies
        cookie = lines[0].partition(";")[0]
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": [(b"cookie", cookie.encode())],
        }
        scope |= {"query_string": f"once={name}".encode(), "scheme": "http", "http_version": "1.1"}
        scope |= {"asgi": {"version": "3.0"}, "root_path": "", "server": ("localhost", 80)}
        reached.clear()
        task = asyncio.create_task(app(scope, receive, send))
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])
        await _all_done()
        session = await sessions.aopen(cookie)
        return session.subject, session.once.take(name)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: Any) -> None: ...

    reached = asyncio.Event()
    taken: list[Any] = []
    sessions = SessionManager(StoreEngine(Slow()), cookie=Cookie.for_development())
    app = falcon.asgi.App(middleware=[SessionMiddleware(sessions)])
    app.add_route("/", Leaving())

    assert loop.run(talk()) == (None, None)
    assert taken == ["state"]


def test_a_logout_is_carried_out_where_an_error_handler_raises(loop: Loop) -> None:
    """Falcon calls no hook then either, and the server answers for itself."""
    sessions = SessionManager(StoreEngine(AsyncMemoryStore()), cookie=Cookie.for_development())

    class Leaving:
        async def on_get(self, req: Any, resp: Any) -> None:
            req.context.session.logout()
            raise ValueError

    async def handle(req: Any, resp: Any, error: Exception, params: Any) -> None:
        raise RuntimeError

    app = falcon.asgi.App(middleware=[SessionMiddleware(sessions)])
    app.add_route("/", Leaving())
    app.add_error_handler(ValueError, handle)

    async def talk() -> Any:
        session = await sessions.aopen(None)
        session.login("ann")
        cookie = (await sessions.acommit(session)).set_cookies[0].partition(";")[0]
        answer = await asyncio.create_task(ASGISite(app, loop).call("/", cookie))
        assert answer.status == 500
        await _all_done()
        return (await sessions.aopen(cookie)).subject

    assert loop.run(talk()) is None


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["handler", "commit", "error handler"])
def test_a_logout_is_carried_out_where_a_greenlet_is_killed(moment: str) -> None:
    """By gevent: that is no exception that Falcon tells of. In a process of its own, for gevent stays where it has run."""
    pytest.importorskip("gevent")
    command = [sys.executable, "-m", "tests.frameworks.falcon_under_gevent", moment]

    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("fate", ["fails", "left", "cancelled", "forbidden"])
@pytest.mark.parametrize("action", ["write", "logout", "logout-unheard"])
def test_what_a_websocket_did_is_seen_to_however_it_ends(
    loop: Loop, store: WatchedStore, fate: str, action: str
) -> None:
    """A logout is carried out in any case; what was put in is saved, unless the responder has failed."""
    kit = Kit("asgi", loop, StoreEngine(store))
    kit.route("/", write)
    kit.route("/read", read)
    kit.browser.get("/")

    class Leaving:
        async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()
            if action == "write":
                req.context.session["late"] = True
            else:
                req.context.session.logout()
            if action == "logout-unheard":
                store.down = frozenset({"put"})
            acted.set()
            if fate == "fails":
                raise ZeroDivisionError
            if fate == "forbidden":
                raise falcon.HTTPForbidden
            await ws.receive_text()

    async def talk() -> None:
        task = asyncio.create_task(kit.app(scope, receive, send))
        await acted.wait()
        if fate == "cancelled":
            task.cancel()
        left.set()
        await asyncio.wait([task])
        await _all_done()

    async def receive() -> Any:
        if events:
            return events.pop()
        await left.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def send(event: Any) -> None: ...

    acted, left = asyncio.Event(), asyncio.Event()
    events = [{"type": "websocket.connect"}]
    cookie = (b"cookie", str(kit.browser.header).encode())
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/ws",
        "headers": [cookie],
        "query_string": b"",
        "scheme": "ws",
    }
    scope |= {"asgi": {"version": "3.0"}, "subprotocols": []}
    kit.app.add_route("/ws", Leaving())
    loop.run(talk())
    store.down = frozenset()

    expected = {"logout": "{}", "logout-unheard": "{'n': 1}"}.get(action, "{'n': 1, 'late': True}")
    if action == "write" and fate in ("fails", "cancelled"):
        expected = "{'n': 1}"
    assert kit.browser.get("/read").text == expected


@pytest.mark.parametrize(("action", "found"), [("write", "1"), ("logout", "None"), ("logout-unheard", "1")])
def test_a_stream_that_fails_saves_nothing_more(stored: Kit, store: WatchedStore, action: str, found: str) -> None:
    """The headers have left; a logout is carried out all the same, where the store hears of it."""

    def body(session: Any) -> Iterator[bytes]:
        yield b"a"
        if action == "write":
            session["n"] = 5
        else:
            session.logout()
        if action == "logout-unheard":
            store.down = frozenset({"put"})
        raise ZeroDivisionError

    async def abody(session: Any) -> AsyncIterator[bytes]:
        for part in body(session):
            yield part

    def stream(req: Any, resp: Any) -> None:
        resp.stream = (abody if stored.is_async else body)(req.context.session)

    stored.route("/", write)
    stored.route("/stream", stream)
    stored.route("/read", read)
    stored.browser.get("/")
    stored.browser.get("/stream")
    store.down = frozenset()

    assert stored.browser.get("/read").text == ("{}" if found == "None" else f"{{'n': {found}}}")


@pytest.mark.parametrize("down", [frozenset({"put"}), ALL_METHODS])
def test_a_websocket_is_refused_where_the_store_is_down(loop: Loop, store: WatchedStore, down: frozenset[str]) -> None:
    """Falcon closes it with 3000 and the status."""
    kit = Kit("asgi", loop, StoreEngine(store))
    kit.app.add_route("/chat", Chat())
    kit.route("/", write)
    kit.browser.get("/")
    store.down = down

    with pytest.raises(falcon.WebSocketDisconnected) as refused:
        _visit(kit)

    assert refused.value.code == 3503


# --- construction and documentation


def test_the_example_counts_visits() -> None:
    """examples/falcon runs, with falcon's own client."""
    example = runpy.run_path(str(ROOT / "examples/falcon/app.py"))
    client = falcon.testing.TestClient(example["app"])

    first = client.simulate_get("/")
    cookies = {name: cookie.value for name, cookie in first.cookies.items()}
    second = client.simulate_get("/", headers={"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())})

    assert (first.json["visits"], second.json["visits"]) == (1, 2)


def test_the_documentations_program_runs() -> None:
    """The first block of docs/frameworks/falcon.md is a whole program."""
    program = first_program(ROOT / "docs/frameworks/falcon.md")
    namespace: dict[str, Any] = {}

    exec(program, namespace)
    answer = WSGISite(namespace["app"]).request("/")

    assert answer.status == 200
    assert len(answer.set_cookies) == 1


def test_the_middleware_takes_a_manager_only() -> None:
    """A wrong argument is told at start-up."""
    with pytest.raises(errors.ConfigError, match="takes a SessionManager, not str"):
        SessionMiddleware("secret")  # type: ignore[arg-type]


def test_without_falcon_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "falcon", None)

    with pytest.raises(ImportError, match=r"hardtack\[falcon\]"):
        runpy.run_path(adapter.__file__)

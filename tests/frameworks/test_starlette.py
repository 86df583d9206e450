"""Starlette: sessions in real applications, and the arguments of Starlette's own middleware."""

from __future__ import annotations

import contextlib
import re
import runpy
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from authlib.integrations.starlette_client import OAuth  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import Secret
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.sessions import SessionMiddleware as StarletteSessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.frameworks.gateway_kit import (
    KEY,
    UNAVAILABLE,
    AsyncMemoryStore,
    UnreliableStore,
    cookie_of,
    data_of,
    manager,
)
from tests.servers import RedisServer

from hardtack import Cookie, CookieEngine, SessionManager
from hardtack.errors import ConfigError, SessionConflict, SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.events import Event, LateWrite
from hardtack.foreign.starlette import StarletteCookie
from hardtack.frameworks.starlette import Session, SessionMiddleware, load, sessions_of
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import AsyncRedisStore

ROOT = Path(__file__).parents[2]
SECRET = "a secret of thirty-two characters or more"

Client = Callable[..., TestClient]


@pytest.fixture
def client(anyio_backend_name: Literal["asyncio", "trio"], anyio_backend_options: dict[str, Any]) -> Client:
    """Makes a client of an application, on asyncio and on trio."""

    def make(app: Any, **options: Any) -> TestClient:
        return TestClient(app, backend=anyio_backend_name, backend_options=anyio_backend_options, **options)

    return make


@pytest.fixture(params=["cookie", "store", "async store"])
def sessions(request: pytest.FixtureRequest) -> SessionManager:
    """A manager of each engine."""
    store: dict[str, Callable[[], Any]] = {"store": MemoryStore, "async store": AsyncMemoryStore}
    return manager(store.get(request.param, lambda: None)())


def app_of(sessions: SessionManager, *routes: BaseRoute, outside: Any = None, inside: Any = None) -> Starlette:
    """An application with the session middleware between two others."""
    layers = [outside, Middleware(SessionMiddleware, sessions=sessions), inside]
    return Starlette(routes=list(routes), middleware=[layer for layer in layers if layer is not None])


async def count(request: Request) -> Response:
    """Counts visits."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(request.session)


def count_in_a_thread(request: Request) -> Response:
    """Counts visits, in an endpoint that is not async."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(request.session)


async def show(request: Request) -> Response:
    """Shows the session."""
    return JSONResponse(request.session)


def started_with(cookie: str) -> dict[str, str]:
    """The headers of a request that brings a cookie."""
    return {"cookie": cookie}


@pytest.mark.parametrize("endpoint", [count, count_in_a_thread])
def test_a_session_lasts_from_request_to_request(
    endpoint: Callable[..., Any], sessions: SessionManager, client: Client
) -> None:
    """`request.session` needs nothing else, in both kinds of endpoint."""
    browser = client(app_of(sessions, Route("/", endpoint)))

    bodies = [browser.get("/").json() for _ in range(3)]

    assert bodies == [{"visits": 1}, {"visits": 2}, {"visits": 3}]


def test_a_session_that_was_only_asked_for_makes_the_response_private(client: Client) -> None:
    """Starlette marks it as accessed; nothing is decrypted for that."""

    async def endpoint(request: Request) -> Response:
        assert request.session is not None
        return PlainTextResponse("ok")

    response = client(app_of(manager(), Route("/", endpoint))).get("/")

    assert response.headers["vary"] == "Cookie"
    assert response.headers["cache-control"] == "private"
    assert "set-cookie" not in response.headers


def test_nested_changes_count(sessions: SessionManager, client: Client) -> None:
    """Starlette's own middleware loses them without a word."""

    async def add(request: Request) -> Response:
        request.session.setdefault("cart", {"items": []})["items"].append("bread")
        return JSONResponse(request.session)

    browser = client(app_of(sessions, Route("/add", add), Route("/", show)))
    browser.get("/add")
    browser.get("/add")

    assert browser.get("/").json() == {"cart": {"items": ["bread", "bread"]}}


def test_login_and_logout(sessions: SessionManager, client: Client) -> None:
    """The id changes with the login, and the cookie goes with the logout."""

    async def login(request: Request) -> Response:
        session = await load(request)
        before = session.id
        session.login("alice")
        return JSONResponse({"changed": session.id != before})

    async def who(request: Request) -> Response:
        return JSONResponse((await load(request)).subject)

    async def logout(request: Request) -> Response:
        (await load(request)).logout()
        return PlainTextResponse("bye")

    browser = client(app_of(sessions, *(Route(f"/{view.__name__}", view) for view in (login, who, logout))))

    assert browser.get("/login").json() == {"changed": True}
    assert browser.get("/who").json() == "alice"
    browser.get("/logout")
    assert browser.get("/who").json() is None
    assert dict(browser.cookies) == {}


def test_the_manager_is_at_hand(client: Client) -> None:
    """For a page that lists where a user is logged in, and ends what is left open elsewhere."""
    sessions = manager(MemoryStore())
    for _ in range(2):
        elsewhere = sessions.open()
        elsewhere.login("alice")
        sessions.commit(elsewhere)

    async def end_others(request: Request) -> Response:
        session = await load(request)
        session.login("alice")
        return JSONResponse(await sessions_of(request).aend_all("alice", keep=session.id))

    assert client(app_of(sessions, Route("/", end_others))).get("/").json() == 2
    assert len(sessions.list("alice")) == 1


def test_a_mounted_application_shares_the_session(sessions: SessionManager, client: Client) -> None:
    """One middleware, outside."""
    browser = client(app_of(sessions, Mount("/shop", Starlette(routes=[Route("/", count)])), Route("/", show)))

    browser.get("/shop/")

    assert browser.get("/").json() == {"visits": 1}


def test_a_mounted_application_with_a_second_middleware_is_refused(client: Client) -> None:
    """Each would overwrite what the other had done."""
    sessions = manager()
    browser = client(app_of(sessions, Mount("/shop", app_of(sessions, Route("/", count)))))

    with pytest.raises(ConfigError, match="two session middlewares"):
        browser.get("/shop/")


class Visits(BaseHTTPMiddleware):
    """A middleware of the kind that Starlette's users write."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-visits"] = str(request.session.get("visits") if "session" in request.scope else None)
        return response


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_middleware_with_dispatch_on_either_side(place: str, sessions: SessionManager, client: Client) -> None:
    """`BaseHTTPMiddleware` runs the application in a task of its own."""
    browser = client(app_of(sessions, Route("/", count), **{place: Middleware(Visits)}))

    responses = [browser.get("/") for _ in range(2)]

    assert [response.headers["x-visits"] for response in responses] == ["1", "2"]
    assert "set-cookie" in responses[0].headers


def test_a_change_while_the_body_streams_is_saved_in_a_store(client: Client) -> None:
    """And so is one of a background task."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, begun=1)

    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            request.session["streamed"] = 1
            yield b"b"

        task = BackgroundTask(request.session.update, {"background": 1})
        return StreamingResponse(parts(), background=task)

    assert client(app_of(sessions, Route("/", endpoint))).get("/", headers=started_with(cookie)).text == "ab"

    assert data_of(sessions, cookie) == {"begun": 1, "streamed": 1, "background": 1}


def test_a_change_of_a_background_task_is_late_for_a_cookie(client: Client) -> None:
    """An event says so."""
    events: list[Event] = []

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("ok", background=BackgroundTask(request.session.update, {"late": 1}))

    client(app_of(manager(events=events), Route("/", endpoint))).get("/")

    assert LateWrite in [type(event) for event in events]


# --- exceptions


def test_an_http_exception_is_a_response_and_saves(sessions: SessionManager, client: Client) -> None:
    """The handler chose to answer 403."""

    async def endpoint(request: Request) -> Response:
        request.session["failures"] = 1
        raise HTTPException(403)

    browser = client(app_of(sessions, Route("/", endpoint), Route("/show", show)))

    assert browser.get("/").status_code == 403
    assert browser.get("/show").json() == {"failures": 1}


def test_another_exception_saves_nothing(sessions: SessionManager, client: Client) -> None:
    """The 500 comes from outside."""

    async def endpoint(request: Request) -> Response:
        request.session["half"] = 1
        raise ZeroDivisionError

    response = client(app_of(sessions, Route("/", endpoint)), raise_server_exceptions=False).get("/")

    assert response.status_code == 500
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(("value", "error"), [("x" * 10_000, SessionTooLarge), (object(), UnsupportedValue)])
@pytest.mark.parametrize("inside", [None, Middleware(Visits)])
def test_a_session_that_cannot_be_saved_is_a_500(
    value: object, error: type[Exception], inside: Any, client: Client
) -> None:
    """The developer sees the error, the user a page, and nothing was sent before."""

    async def endpoint(request: Request) -> Response:
        request.session["much"] = value
        return PlainTextResponse("ok")

    app = app_of(manager(), Route("/", endpoint), inside=inside)
    response = client(app, raise_server_exceptions=False).get("/")

    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert "set-cookie" not in response.headers
    with pytest.raises(error):
        client(app).get("/")


@pytest.mark.parametrize("inside", [None, Middleware(Visits)])
@pytest.mark.parametrize("fails", ["readable", "writable"])
def test_a_store_that_is_down_is_a_503(fails: str, inside: Any, client: Client) -> None:
    """Before and after the handler, with other middlewares in between."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    setattr(store, fails, False)

    response = client(app_of(sessions, Route("/", count), inside=inside)).get("/", headers=started_with(cookie))

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.headers["cache-control"] == "no-store"
    assert "set-cookie" not in response.headers


def test_a_logout_that_the_store_does_not_hear_of_clears_the_cookie(client: Client) -> None:
    """The user must not stay logged in at this browser."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.writable = False

    async def logout(request: Request) -> Response:
        (await load(request)).logout()
        return PlainTextResponse("bye")

    response = client(app_of(sessions, Route("/", logout))).get("/", headers=started_with(cookie))

    assert response.status_code == 503
    assert response.headers["set-cookie"].startswith("session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0")


# --- errors as pages of the application


def sorry(request: Request, error: Exception) -> Response:
    """The application's page for errors of its sessions, which shows who is logged in."""
    return PlainTextResponse(f"sorry, {request.session.get('name', 'stranger')}", getattr(error, "status_code", 500))


@pytest.mark.parametrize("handled", [StoreUnavailable, HTTPException, 503])
@pytest.mark.parametrize("fails", ["readable", "writable"])
def test_a_store_that_is_down_has_a_page_of_the_application(fails: str, handled: Any, client: Client) -> None:
    """By whichever name it is registered; also where the commit fails, which Starlette does not ask its handlers about."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, name="ann")
    setattr(store, fails, False)
    app = app_of(sessions, Route("/", count))
    app.add_exception_handler(handled, sorry)

    response = client(app).get("/", headers=started_with(cookie))

    assert response.status_code == 503
    assert response.text == ("sorry, stranger" if fails == "readable" else "sorry, ann")
    assert "no-store" in response.headers["cache-control"]


@pytest.mark.parametrize("shows_a_form", [False, True])
def test_a_page_about_the_store_may_load_the_session_once_more(redis_server: RedisServer, shows_a_form: bool) -> None:
    """Without a second failure: it shows that nobody is logged in. For a form it gets no token, and our own page is sent."""
    sessions = manager(AsyncRedisStore.from_url(redis_server.url))

    async def endpoint(request: Request) -> Response:
        (await load(request))["name"] = "ann"
        return PlainTextResponse("saved")

    async def apologize(request: Request, error: Exception) -> Response:
        session = await load(request)
        form = session.csrf_token() if shows_a_form else "no form"
        return PlainTextResponse(f"sorry, {session.get('name', 'stranger')}: {session.degraded}, {form}", 503)

    app = app_of(sessions, Route("/", endpoint))
    app.add_exception_handler(503, apologize)
    visitor = TestClient(app)  # on asyncio, as the store
    assert visitor.get("/").text == "saved"
    with redis_server.gone():
        response = visitor.get("/")

    assert response.status_code == 503
    assert response.text == (UNAVAILABLE.decode() if shows_a_form else "sorry, stranger: True, no form")
    assert "no-store" in response.headers["cache-control"]
    assert "set-cookie" not in response.headers


def test_a_page_about_the_store_that_fails_in_its_body_is_cut_off(client: Client) -> None:
    """Its headers have left: nothing can be sent in its place."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, name="ann")
    store.writable = False

    async def apologize(request: Request, error: Exception) -> Response:
        async def body() -> AsyncIterator[str]:
            yield "sorry"
            raise StoreUnavailable("that of another manager is down, too")

        return StreamingResponse(body(), 503)

    app = app_of(sessions, Route("/", count))
    app.add_exception_handler(503, apologize)

    with pytest.raises(StoreUnavailable):
        client(app).get("/", headers=started_with(cookie))


def test_a_logout_that_the_store_does_not_hear_of_clears_the_cookie_with_that_page(client: Client) -> None:
    """Whoever makes it."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, name="ann")
    store.writable = False

    async def logout(request: Request) -> Response:
        (await load(request)).logout()
        return PlainTextResponse("bye")

    app = app_of(sessions, Route("/", logout))
    app.add_exception_handler(503, sorry)
    response = client(app).get("/", headers=started_with(cookie))

    assert (response.status_code, response.text) == (503, "sorry, stranger")
    assert "Max-Age=0" in response.headers["set-cookie"]


def test_a_form_that_lost_a_race_has_a_page_of_the_application(client: Client) -> None:
    """Starlette's own without one, with the text that says what to do."""
    sessions = manager(MemoryStore())

    async def add(request: Request) -> Response:
        request.session["n"] += 1
        other = sessions.open(cookie)
        other["n"] += 1
        sessions.commit(other)
        return PlainTextResponse("added")

    responses = []
    for handlers in ({}, {SessionConflict: sorry}):
        cookie = cookie_of(sessions, n=1)
        app = app_of(sessions, Route("/", add, methods=["POST"]))
        app.exception_handlers.update(handlers)
        responses.append(client(app).post("/", headers=started_with(cookie)))

    assert [response.status_code for response in responses] == [409, 409]
    assert "Nothing was saved" in responses[0].text
    assert responses[1].text == "sorry, stranger"


def test_a_page_with_status_500_of_the_application_saves(sessions: SessionManager, client: Client) -> None:
    """It has made it; Starlette's own page for an exception is made outside of the middleware."""

    async def broken(request: Request) -> Response:
        request.session["attempts"] = 1
        return PlainTextResponse("broken", 500)

    browser = client(app_of(sessions, Route("/", broken), Route("/show", show)))
    browser.get("/")

    assert browser.get("/show").json() == {"attempts": 1}


@pytest.mark.parametrize("left", [False, True])
def test_a_middleware_around_the_application_knows_starlettes_own_page(
    left: bool, sessions: SessionManager, client: Client
) -> None:
    """What the failed handler wrote is not saved, and what it ended is ended."""
    cookie = cookie_of(sessions, visits=1) if not isinstance(sessions.engine.store, AsyncMemoryStore) else ""

    async def fail(request: Request) -> Response:
        if left:
            (await load(request)).logout()
        request.session["failed"] = 1
        raise ZeroDivisionError

    async def teapot(request: Request) -> Response:
        request.session["teapot"] = 1
        raise HTTPException(500)

    app = SessionMiddleware(Starlette(routes=[Route("/", fail), Route("/teapot", teapot)]), sessions=sessions)
    browser = client(app, raise_server_exceptions=False)
    failed = browser.get("/", headers=started_with(cookie))
    handled = browser.get("/teapot")

    assert (failed.status_code, failed.text) == (500, "Internal Server Error")
    assert ("set-cookie" in failed.headers) == (left and bool(cookie))
    assert "Max-Age=0" not in handled.headers["set-cookie"]


# --- websockets


async def chat(websocket: WebSocket) -> None:
    """Notes a visit before it accepts, and each message after."""
    websocket.session["before"] = 1
    await websocket.accept()
    while True:
        websocket.session["message"] = await websocket.receive_text()
        await websocket.send_json(websocket.session)


def test_a_websocket_has_the_session(sessions: SessionManager, client: Client) -> None:
    """What it changes before it accepts goes with the handshake; later changes stay where there is a store."""
    browser = client(app_of(sessions, WebSocketRoute("/chat", chat), Route("/", show)))

    websocket = browser.websocket_connect("/chat")
    with contextlib.suppress(WebSocketDisconnect), websocket:
        websocket.send_text("hello")
        assert websocket.receive_json() == {"before": 1, "message": "hello"}

    handshake: Any = websocket.extra_headers
    cookie = dict(handshake)[b"set-cookie"].decode().partition(";")[0]
    kept = browser.get("/", headers=started_with(cookie)).json()
    assert kept == {"before": 1} | ({} if sessions.engine.store is None else {"message": "hello"})


def test_a_websocket_whose_store_is_down_gets_a_503(client: Client) -> None:
    """The test client supports denial responses, as uvicorn does."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.readable = False
    browser = client(app_of(sessions, WebSocketRoute("/chat", chat)))

    with pytest.raises(WebSocketDisconnect) as denied:
        browser.websocket_connect("/chat", headers=started_with(cookie)).__enter__()

    assert denied.value.status_code == 503  # type: ignore[attr-defined]


# --- other packages


def test_a_mounted_application_may_have_sessions_of_its_own(client: Client) -> None:
    """As administration sites have, under Starlette's own middleware."""
    own = Middleware(StarletteSessionMiddleware, secret_key="secret", session_cookie="admin")
    admin = Starlette(routes=[Route("/", count)], middleware=[own])
    browser = client(app_of(manager(), Mount("/admin", admin), Route("/", count)))

    bodies = [browser.get(path).json()["visits"] for path in ("/", "/admin/", "/admin/", "/")]

    assert bodies == [1, 1, 2, 2]
    assert set(browser.cookies) == {"admin", "session"}


@pytest.mark.parametrize(("name", "warned"), [("session", True), ("admin", False)])
def test_a_mounted_application_with_a_cookie_of_our_name_is_warned_of(
    name: str, warned: bool, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of the two would overwrite the other's, and the only sign was a session that is lost now and then."""
    own = Middleware(StarletteSessionMiddleware, secret_key="secret", session_cookie=name)
    admin = Starlette(routes=[Route("/", count)], middleware=[own])
    browser = client(app_of(manager(), Mount("/admin", admin)))

    with caplog.at_level("WARNING", "hardtack"):
        browser.get("/admin/")

    said = [line for line in caplog.messages if "a cookie that is called session too" in line]
    assert len(said) == (1 if warned else 0)


def test_the_drop_in_and_a_library_with_starlettes_own_do_not_collide(client: Client) -> None:
    """Under their default names both keep their sessions."""
    admin = Starlette(
        routes=[Route("/", count)], middleware=[Middleware(StarletteSessionMiddleware, secret_key="secret")]
    )
    browser = client(
        SessionMiddleware(Starlette(routes=[Route("/", count), Mount("/admin", admin)]), secret_key=SECRET)
    )

    bodies = [browser.get(path).json()["visits"] for path in ("/", "/admin/", "/admin/", "/")]

    assert bodies == [1, 1, 2, 2]


def test_without_the_middleware_there_is_no_manager(client: Client) -> None:
    """The error says what to add."""

    async def manage(request: Request) -> Response:
        sessions_of(request)
        raise AssertionError("unreached")

    with pytest.raises(ConfigError, match=r"app\.add_middleware\(SessionMiddleware"):
        client(Starlette(routes=[Route("/", manage)])).get("/")


def test_authlib_keeps_its_state_in_the_session(sessions: SessionManager, client: Client) -> None:
    """OAuth clients store the state before the redirect and take it out after."""
    oauth: Any = OAuth()
    oauth.register("site", client_id="id", authorize_url="https://example.org/authorize")

    async def login(request: Request) -> Response:
        response: Response = await oauth.site.authorize_redirect(request, "http://testserver/back")
        return response

    async def back(request: Request) -> Response:
        state = request.query_params["state"]
        found = await oauth.site.framework.get_state_data(request.session, state)
        await oauth.site.framework.clear_state_data(request.session, state)
        return JSONResponse({"found": found["redirect_uri"], "left": request.session})

    browser = client(app_of(sessions, Route("/login", login), Route("/back", back)))
    location = browser.get("/login", follow_redirects=False).headers["location"]
    state = re.search(r"state=([^&]+)", location)
    assert state is not None

    assert browser.get(f"/back?state={state[1]}").json() == {"found": "http://testserver/back", "left": {}}


# --- moving over from Starlette's own middleware


def test_users_of_starlettes_own_middleware_stay_logged_in(sessions: SessionManager, client: Client) -> None:
    """Its cookie is read once, becomes one of hardtack's, and is cleared."""
    before = Starlette(
        routes=[Route("/", count)], middleware=[Middleware(StarletteSessionMiddleware, secret_key=SECRET)]
    )
    old = client(before)
    old.get("/")
    assert set(old.cookies) == {"session"}
    after = SessionManager(sessions.engine, cookie=Cookie(name="sid", secure=False), accept=[StarletteCookie(SECRET)])
    browser = client(app_of(after, Route("/", count)), cookies=old.cookies)

    bodies = [browser.get("/").json() for _ in range(2)]

    assert bodies == [{"visits": 2}, {"visits": 3}]
    assert set(browser.cookies) == {"sid"}


# --- the arguments of Starlette's own middleware


def drop_in(client: Client, *, clock: Callable[[], float] | None = None, **options: Any) -> TestClient:
    """A client of an application under `SessionMiddleware(secret_key=…)`."""
    app = Starlette(routes=[Route("/", count), Route("/show", show)])
    options.setdefault("secret_key", SECRET)
    middleware = SessionMiddleware(app, **options)
    if clock is not None:
        middleware.sessions.core.clock = clock
    return client(middleware)


def test_the_drop_in_sets_starlettes_cookie(client: Client) -> None:
    """The same attributes and spelling; the name is another one, and the value is encrypted."""
    line = drop_in(client).get("/").headers["set-cookie"]

    value, attributes = re.fullmatch(r"hardtack_session=([\w-]+); Expires=[^;]+; (.*)", line).groups()  # type: ignore[union-attr]
    assert attributes == "Max-Age=1209600; path=/; httponly; samesite=lax"
    assert len(value) > 80


def test_the_drop_in_takes_every_attribute(client: Client) -> None:
    """Under Starlette's names."""
    browser = drop_in(
        client,
        session_cookie="sid",
        max_age=None,
        path="/a",
        same_site="none",
        https_only=True,
        domain="example.org",
        partitioned=True,
    )

    line = browser.get("/").headers["set-cookie"]

    assert line.startswith("sid=")
    assert line.partition("; ")[2] == "path=/a; httponly; samesite=none; secure; domain=example.org; partitioned"


def test_the_drop_in_takes_a_secret_of_starlettes_config(client: Client) -> None:
    """`Secret` shows its text only to `str()`: the key is the same."""
    cookies = dict(drop_in(client).get("/").cookies)

    browser = drop_in(client, secret_key=Secret(SECRET))

    assert browser.get("/show", headers=started_with(f"hardtack_session={cookies['hardtack_session']}")).json() == {
        "visits": 1
    }


@pytest.mark.parametrize(
    ("max_age", "after", "lives"), [(60, 59, True), (60, 60, False), (None, 399 * 86400, True), (0, 0, False)]
)
def test_the_drop_ins_max_age_is_enforced(max_age: int | None, after: int, lives: bool, client: Client) -> None:
    """By what is sealed in the cookie, not by the browser."""
    now = 1_700_000_000.0
    browser = drop_in(client, max_age=max_age, clock=lambda: now)
    cookie = browser.get("/").headers["set-cookie"].partition(";")[0]

    now += after

    assert bool(browser.get("/show", headers=started_with(cookie)).json()) is lives


@pytest.mark.slow
def test_the_drop_ins_max_age_runs_from_the_last_write(client: Client) -> None:
    """As with Starlette's own; but no session outlives 400 days."""
    now = 1_700_000_000.0
    browser = drop_in(client, max_age=7 * 86400, clock=lambda: now)
    visits = []
    cookie = ""
    for _ in range(70):
        response = browser.get("/", headers=started_with(cookie))
        cookie = response.headers["set-cookie"].partition(";")[0]
        visits.append(response.json()["visits"])
        now += 6 * 86400

    assert visits == [*range(1, 68), 1, 2, 3]


@pytest.mark.parametrize("options", [{}, {"secret_key": SECRET, "sessions": manager()}])
def test_the_middleware_takes_a_manager_or_a_secret(options: dict[str, Any]) -> None:
    """Neither and both are refused."""
    with pytest.raises(ConfigError, match="sessions=SessionManager"):
        SessionMiddleware(Starlette(), **options)


def test_requests_have_the_session_class_that_the_module_exports(client: Client) -> None:
    """For `isinstance` and annotations."""
    kinds: list[type] = []

    async def endpoint(request: Request) -> Response:
        kinds.append(type(await load(request)))
        return PlainTextResponse("ok")

    client(app_of(manager(), Route("/", endpoint))).get("/")

    assert kinds == [Session]


def test_an_unattached_session_counts_from_what_it_was_made_of() -> None:
    """As Starlette's own does."""
    session = Session({"a": {"b": 1}}, c=2)
    assert (session.accessed, session.modified) == (False, False)

    session["a"]["b"] = 2

    assert (session.accessed, session.modified) == (True, True)


def test_load_reads_what_was_deferred(client: Client) -> None:
    """Also where nothing has touched the session before, in a middleware outside the routes."""
    sessions = manager(AsyncMemoryStore())
    found: list[dict[str, Any]] = []

    async def endpoint(request: HTTPConnection) -> Response:
        found.append(dict(await load(request)))
        return PlainTextResponse("ok")

    browser = client(app_of(sessions, Route("/count", count), Route("/", endpoint)))
    browser.get("/count")
    browser.get("/")

    assert found == [{"visits": 1}]


def test_a_cookie_engine_seals_under_the_key_it_was_given() -> None:
    """The key of the tests opens nothing of the drop-in's."""
    middleware = SessionMiddleware(Starlette(), secret_key=SECRET)

    header = cookie_of(middleware.sessions, visits=1)

    assert data_of(middleware.sessions, header) == {"visits": 1}
    assert data_of(SessionManager(CookieEngine(KEY), cookie=Cookie.for_development()), header) == {}


def test_the_example_knows_its_visitor(client: Client) -> None:
    """examples/starlette runs."""
    browser = client(runpy.run_path(str(ROOT / "examples/starlette/app.py"))["app"])

    assert "Hello guest, this is visit 1." in browser.get("/").text
    page = browser.post("/login", data={"name": "<alice>"}).text
    assert "Welcome aboard." in page
    assert "Hello &lt;alice&gt;, this is visit 2." in page
    assert "Hello guest, this is visit 1." in browser.post("/logout").text


def test_a_manager_in_the_place_of_the_secret_is_refused() -> None:
    """`str()` of a manager can be guessed: it must not become a key. The message says how a manager is given."""
    sessions: Any = SessionManager(CookieEngine(KEY))

    with pytest.raises(ConfigError, match="sessions="):
        SessionMiddleware(Starlette(), sessions)

"""Litestar, driven by its own test clients: its session API, `SessionAuth`, websockets, and what can go wrong."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime as dt
import logging
import runpy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Controller, Litestar, MediaType, Request, Response, Router, WebSocket, asgi, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.config.response_cache import ResponseCacheConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, WebSocketDisconnect
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.plugins.flash import FlashConfig, FlashPlugin, flash
from litestar.response import Stream, Template
from litestar.security.session_auth import SessionAuth
from litestar.template.config import TemplateConfig
from litestar.testing import TestClient
from litestar.types import Receive, Scope, Send
from pydantic import BaseModel
from tests.frameworks.async_kit import READS, WRITES, AsyncMemoryStore, FailingStore, manager, plain, stored, without
from tests.frameworks.gateway_kit import call, cookie_of, data_of, scope_of

from hardtack import Cookie, CookieEngine, Key, Session, SessionManager, StoreEngine
from hardtack.errors import ConfigError, SessionConflict
from hardtack.events import CacheControlReplaced, Event, LateWrite
from hardtack.foreign.litestar import LitestarCookie
from hardtack.frameworks.litestar import HardtackBackend, HardtackSessionConfig, get_session

Client = TestClient[Litestar]
AnyRequest = Request[Any, Any, State]
Connection = ASGIConnection[Any, Any, Any, Any]

ROOT = Path(__file__).parents[2]
URL = "https://testserver.local"
NAME = "__Host-Http-session"


@dataclasses.dataclass
class Visit:
    """What an application may set as its session."""

    page: str
    at: dt.datetime


class Visits(msgspec.Struct):
    """The same as a Struct."""

    pages: list[str]


class Shop(BaseModel):
    """The same as a pydantic model."""

    items: list[str]


class Unplanned(Exception):
    """What nobody handles."""


class Planned(Exception):
    """What the application has a handler for."""


@get(["/", "/untouched"])
async def untouched(request: AnyRequest) -> str:
    return "ok"


@get("/asked")
async def asked(request: AnyRequest) -> dict[str, Any]:
    return dict(request.session)


@get("/nested")
async def nested(request: AnyRequest) -> dict[str, Any]:
    return {"session": dict(request.session)}


@get("/read")
async def read(request: AnyRequest) -> dict[str, Any]:
    return dict(request.session)


@get("/write")
async def write(request: AnyRequest) -> str:
    request.session["n"] = request.session.get("n", 0) + 1
    request.session.setdefault("nested", {"list": []})["list"].append(request.session["n"])
    return "ok"


@get("/login")
async def login(request: AnyRequest) -> str:
    session = get_session(request)
    session.login("ann")
    session.flash("welcome")
    return session.id


@get("/flashes")
async def flashes(request: AnyRequest) -> list[str]:
    return [str(message) for message in get_session(request).flashes()]


@get("/logout")
async def logout(request: AnyRequest) -> str:
    request.clear_session()
    return "bye"


@get("/id", media_type=MediaType.TEXT)
async def session_id(request: AnyRequest) -> str:
    return request.get_session_id() or ""


@get("/big")
async def big(request: AnyRequest) -> str:
    request.session["big"] = "x" * 10_000
    return "unreached"


@get("/fail")
async def fail(request: AnyRequest) -> str:
    request.session["failed"] = 1
    raise Unplanned


@get("/http-error")
async def http_error(request: AnyRequest) -> str:
    request.session["seen"] = 1
    raise HTTPException(status_code=503, detail="closed")


@get("/planned")
async def planned(request: AnyRequest) -> str:
    request.session["planned"] = 1
    raise Planned


@get("/stream")
async def stream(request: AnyRequest) -> Stream:
    request.session["streamed"] = 1

    async def chunks() -> AsyncIterator[str]:
        yield "a"
        request.session["late"] = 1
        yield "b"

    return Stream(chunks())


@get("/background")
async def background(request: AnyRequest) -> Response[str]:
    request.session["n"] = request.session.get("n", 0) + 1

    async def later() -> None:
        request.session["background"] = 1

    return Response("ok", background=BackgroundTask(later))


@get("/broken-stream")
async def broken_stream(request: AnyRequest) -> Stream:
    request.session["begun"] = 1

    async def chunks() -> AsyncIterator[str]:
        yield "a"
        request.session["late"] = 1
        raise Unplanned

    return Stream(chunks())


@get("/set")
async def set_session(request: AnyRequest) -> str:
    values: dict[str, Any] = {
        "dict": {"page": "d"},
        "dataclass": Visit("c", dt.datetime(2030, 1, 1, tzinfo=dt.UTC)),
        "struct": Visits(["s"]),
        "model": Shop(items=["m"]),
        "none": None,
    }
    request.set_session(values[request.query_params["kind"]])
    return "ok"


@get("/public")
async def public(request: AnyRequest) -> Response[str]:
    request.session["n"] = 1
    return Response("ok", headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})


@get("/cached", cache=True)
async def cached(request: AnyRequest) -> str:
    request.session["n"] = 1
    return "cached"


HANDLERS = [
    untouched,
    asked,
    nested,
    read,
    write,
    login,
    flashes,
    logout,
    session_id,
    big,
    fail,
    http_error,
    planned,
    stream,
    background,
    broken_stream,
    set_session,
    public,
    cached,
]


def client_of(sessions: SessionManager, handlers: Any = HANDLERS, **options: Any) -> Client:
    config = HardtackSessionConfig(sessions)
    app = Litestar(
        handlers,
        middleware=[config.middleware],
        exception_handlers={Planned: lambda request, error: Response("planned", status_code=500)},
        openapi_config=None,
        logging_config=None,
        **options,
    )
    return TestClient(app, base_url=URL, session_config=config, raise_server_exceptions=False)


@pytest.fixture(params=["cookie", "store"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with client_of(manager(stored() if request.param == "store" else None)) as client:
        yield client


def session_of(client: Client) -> Any:
    return client.get("/read").json()


# --- what a handler does


@pytest.mark.parametrize(("path", "found"), [("/asked", {"n": 1, "nested": {"list": [1]}}), ("/nested", None)])
def test_a_session_can_be_the_answer(client: Client, path: str, found: Any) -> None:
    """As a dict of its own: msgspec reads one past its methods, where nobody could note what was read."""
    empty = client.get(path)
    client.get("/write")
    full = client.get(path)

    assert empty.json() == ({} if found else {"session": {}})
    assert full.json() == (found or {"session": {"n": 1, "nested": {"list": [1]}}})


def test_a_session_of_a_store_is_no_answer_itself() -> None:
    """What msgspec would read of it past the methods is an error, and never an empty session."""

    @get("/itself")
    async def itself(request: AnyRequest) -> dict[str, Any]:
        return request.session

    with client_of(manager(stored()), [write, itself]) as client:
        client.get("/write")

        assert client.get("/itself").status_code == 500


def test_a_session_that_nobody_touches_costs_no_header(client: Client) -> None:
    """`request.session` alone neither reads nor writes."""
    client.get("/write")

    response = client.get("/untouched")

    assert not {"set-cookie", "vary", "cache-control"} & set(response.headers)


def test_reading_varies_and_sets_nothing(client: Client) -> None:
    """A response that depends on the session says so, and creates none."""
    response = client.get("/read")

    assert response.json() == {}
    assert "set-cookie" not in response.headers
    assert (response.headers["vary"], response.headers["cache-control"]) == ("Cookie", "private")


def test_nested_changes_are_kept(client: Client) -> None:
    """What a handler changes deep inside is there on the next request."""
    client.get("/write")
    client.get("/write")

    assert session_of(client) == {"n": 2, "nested": {"list": [1, 2]}}


def test_the_cookie_has_the_managers_attributes(client: Client) -> None:
    """Name and attributes are those of the manager's Cookie."""
    line = client.get("/write").headers["set-cookie"]

    assert line.startswith(f"{NAME}=")
    assert line.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")


def test_login_changes_the_id_and_keeps_the_data(client: Client) -> None:
    """`get_session(request)` is hardtack's session."""
    client.get("/write")
    before = client.cookies[NAME]

    client.get("/login")

    assert client.cookies[NAME] != before
    assert session_of(client)["n"] == 1


def test_a_flash_message_is_shown_once(client: Client) -> None:
    """The next page has it, the one after has not."""
    client.get("/login")

    assert client.get("/flashes").json() == ["welcome"]
    assert client.get("/flashes").json() == []


def test_clear_session_ends_it(client: Client) -> None:
    """Litestar's own `clear_session()` is a logout."""
    client.get("/login")

    response = client.get("/logout")

    assert "Max-Age=0" in response.headers["set-cookie"]
    assert session_of(client) == {}


def test_a_forged_cookie_is_a_new_session(client: Client) -> None:
    """No cookie of any shape is an error."""
    for value in ("forged", "%ff", "A" * 43, '"', "a=b", "A" * 5000):
        response = client.get("/read", headers={"Cookie": f"{NAME}={value}"})

        assert (response.status_code, response.json()) == (200, {})


def test_the_cache_control_of_the_application_is_made_private() -> None:
    """A shared cache must not keep a response that sets a session cookie, and Vary is merged."""
    events: list[Event] = []

    with client_of(manager(on_event=events.append)) as client:
        response = client.get("/public")

    assert response.headers["cache-control"] == "private, no-store"
    assert response.headers["vary"] == "Accept, Cookie"
    assert CacheControlReplaced in map(type, events)


def test_the_response_cache_keeps_no_cookie() -> None:
    """Litestar's cache of responses must not hand one visitor's session to the next."""
    with client_of(manager(), response_cache_config=ResponseCacheConfig()) as client:
        first = client.get("/cached")
        client.cookies.clear()
        second = client.get("/cached")

    assert "set-cookie" in first.headers
    assert second.text == "cached"
    assert "set-cookie" not in second.headers


# --- what an application puts in the session's place


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("dict", {"page": "d"}),
        ("dataclass", {"page": "c", "at": "2030-01-01T00:00:00Z"}),
        ("struct", {"pages": ["s"]}),
        ("model", {"items": ["m"]}),
    ],
)
def test_set_session_takes_what_litestar_takes(client: Client, kind: str, expected: object) -> None:
    """A dict, a dataclass, a Struct or a model replaces what the session held."""
    client.get("/write")

    client.get(f"/set?kind={kind}")

    assert session_of(client) == expected


def test_set_session_none_ends_the_session(client: Client) -> None:
    """`set_session(None)` is `clear_session()`."""
    client.get("/write")

    response = client.get("/set?kind=none")

    assert "Max-Age=0" in response.headers["set-cookie"]


def test_the_session_id_is_known_where_the_session_is_in_a_store() -> None:
    """`get_session_id()` is the public handle; an encrypted cookie is not opened for it."""
    kept, sealed = client_of(manager(stored())), client_of(manager())

    with kept, sealed:
        kept.get("/login")
        sealed.get("/login")

        assert len(kept.get("/id").text) == 43
        assert sealed.get("/id").text == ""
        kept.cookies.clear()
        assert kept.get("/id").text == ""


# --- exceptions


def test_an_exception_saves_nothing(client: Client) -> None:
    """Litestar's own answer to an exception that nobody handles carries no cookie, and nothing was saved."""
    client.get("/write")

    response = client.get("/fail")

    assert response.status_code == 500
    assert "set-cookie" not in response.headers
    assert "failed" not in session_of(client)


@pytest.mark.parametrize(("path", "status", "key"), [("/http-error", 503, "seen"), ("/planned", 500, "planned")])
def test_a_response_to_an_exception_is_a_response(client: Client, path: str, status: int, key: str) -> None:
    """An HTTPException, and an exception with a handler: the application answers, and that is committed."""
    response = client.get(path)

    assert response.status_code == status
    assert session_of(client) == {key: 1}


def test_an_exception_around_the_application_is_none_of_its_own() -> None:
    """A middleware may call the application while it handles an exception."""

    class Fallback:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                raise Unplanned
            except Unplanned:
                await self.app(scope, receive, send)

    config = HardtackSessionConfig(manager())
    app = Litestar([write, read], middleware=[Fallback, config.middleware], openapi_config=None)

    with TestClient(app, base_url=URL) as client:
        client.get("/write")

        assert session_of(client)["n"] == 1


def test_an_answer_inside_an_except_clause_of_the_application_is_a_response() -> None:
    """A mounted Starlette makes its error pages so."""

    @asgi("/mounted", is_mount=True, copy_scope=False)
    async def mounted(scope: Any, receive: Receive, send: Send) -> None:
        try:
            raise Unplanned
        except Unplanned:
            scope["session"]["recovered"] = 1
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b"recovered", "more_body": False})

    with client_of(manager(), [mounted, read]) as client:
        response = client.get("/mounted")

        assert (response.status_code, session_of(client)) == (418, {"recovered": 1})


def test_what_is_put_into_the_scope_shows_in_before_send() -> None:
    """As without us: the user of `SessionAuth`, and what a handler changes there."""
    seen: list[Any] = []

    @get("/mark")
    async def mark(request: AnyRequest) -> str:
        scope: Any = request.scope
        scope["kept"] = scope.setdefault("first", 1)
        scope.update({"second": 2, "third": 3})
        del scope["second"]
        scope.pop("third")
        return "ok"

    async def before_send(message: Any, scope: Any) -> None:
        if message["type"] == "http.response.start":
            seen.append({key: scope.get(key) for key in ("kept", "first", "second", "third")})

    with client_of(manager(), [mark], before_send=[before_send]) as client:
        client.get("/mark")

    assert seen == [{"kept": 1, "first": 1, "second": None, "third": None}]


def test_an_exception_without_a_route_saves_nothing() -> None:
    """An ASGI application has no exception handlers of its own."""

    @asgi("/raw", is_mount=True, copy_scope=True)
    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["n"] = 1  # type: ignore[index]
        raise Unplanned

    with client_of(manager(), [raw, read]) as client:
        response = client.get("/raw")

    assert response.status_code == 500
    assert "set-cookie" not in response.headers


# --- sessions that cannot be saved


def test_a_session_that_is_too_large_is_an_error_page() -> None:
    """It is known before the response starts: the application's handler for 500 answers, without the handler's body."""
    with client_of(manager()) as client:
        response = client.get("/big")

    assert response.status_code == 500
    assert "unreached" not in response.text
    assert "set-cookie" not in response.headers


def test_the_page_for_any_error_depends_on_the_cookie() -> None:
    """The application's page may show what is in the session, so no cache gives it to somebody else."""

    def page(request: AnyRequest, error: Exception) -> Response[Any]:
        return Response(dict(request.session), status_code=404)

    with client_of(manager(), [Router("/", route_handlers=HANDLERS, exception_handlers={Exception: page})]) as client:
        response = client.get("/fail")

    assert response.json() == {"failed": 1}
    assert response.headers["vary"] == "Cookie"
    assert "set-cookie" not in response.headers


def test_the_page_for_an_error_that_has_nothing_to_do_with_the_session_is_left_alone() -> None:
    """It shows nothing of the session."""

    @get("/fail-at-once")
    async def fail_at_once() -> str:
        raise Unplanned

    with client_of(manager(), [fail_at_once]) as client:
        response = client.get("/fail-at-once")

    assert response.status_code == 500
    assert "vary" not in response.headers


def test_a_large_session_is_chunked() -> None:
    """Chunks are our engine's, and cleared when the session shrinks."""
    sessions = manager(CookieEngine(Key.generate(), overflow="chunk", max_header=16_000))

    with client_of(sessions) as client:
        client.get("/big")
        names = set(client.cookies)
        client.get("/set?kind=dict")

        assert names == {f"{NAME}.{number}" for number in range(4)}
        assert set(client.cookies) == {NAME}
        assert session_of(client) == {"page": "d"}


def test_a_page_that_polls_keeps_no_session_alive() -> None:
    """The application says of a scope whether it is no activity of the user."""
    now = 4_000_000_000.0
    sessions = manager(stored(), idle_timeout="1 hour", clock=lambda: now)
    config = HardtackSessionConfig(sessions, passive=lambda scope: scope["path"] == "/read")
    app = Litestar([read, write], middleware=[config.middleware], openapi_config=None, logging_config=None)

    with TestClient(app, base_url=URL, raise_server_exceptions=False) as client:
        client.get("/write")
        found = []
        for _ in range(2):
            now += 3_000
            found.append(client.get("/read").json())

    assert [bool(each) for each in found] == [True, False]


def test_a_store_that_is_down_is_a_503() -> None:
    """Both where the session cannot be loaded and where it cannot be saved."""
    store = FailingStore()

    with client_of(manager(stored(store))) as client:
        client.get("/write")
        store.down = frozenset({"put"})
        unsaved = client.get("/write")
        store.down = READS
        unloaded = client.get("/read")
        untouched = client.get("/untouched")

    assert untouched.text == "ok"
    for response in (unsaved, unloaded):
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert "no-store" in response.headers["cache-control"]
        assert "cannot be reached" in response.json()["detail"]


def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie() -> None:
    """The application's own page for a 503 carries the cookie as well."""
    store = FailingStore()
    config = HardtackSessionConfig(manager(stored(store)))
    app = Litestar(
        [login, logout],
        middleware=[config.middleware],
        exception_handlers={503: lambda request, error: Response("come back", status_code=503)},
        logging_config=None,
    )

    with TestClient(app, base_url=URL) as client:
        client.get("/login")
        store.down = WRITES
        response = client.get("/logout")

    assert (response.status_code, response.text) == (503, "come back")
    assert "Max-Age=0" in response.headers["set-cookie"]


@pytest.mark.parametrize("place", ["handler", "middleware"])
def test_a_login_without_a_store_is_a_503(place: str) -> None:
    """A session that stands in for one that could not be loaded cannot be logged in."""
    store = FailingStore()

    class SignIn:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if place == "middleware" and store.down >= READS:
                scope["session"].login("ann")  # type: ignore[union-attr]
            await self.app(scope, receive, send)

    config = HardtackSessionConfig(manager(StoreEngine(store, on_store_error="anonymous")))
    app = Litestar([write, login, read], middleware=[config.middleware, SignIn], logging_config=None)

    with TestClient(app, base_url=URL) as client:
        client.get("/write")
        store.down = READS | WRITES

        assert client.get("/login").status_code == 503


def test_a_visitor_goes_on_anonymously_without_a_store() -> None:
    """Where the manager was told to; no cache keeps the response."""
    store = FailingStore()

    with client_of(manager(StoreEngine(store, on_store_error="anonymous"))) as client:
        client.get("/write")
        store.down = READS
        response = client.get("/read")

    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["cache-control"] == "private, no-store"


def test_a_middleware_that_hides_the_failure_cannot_hide_it() -> None:
    """Nothing of the response left, and so the client still gets an answer."""

    class Quiet:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await self.app(scope, receive, send)
            except Exception:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    config = HardtackSessionConfig(manager())
    app = Litestar([big], middleware=[config.middleware, Quiet], openapi_config=None, logging_config=None)

    with TestClient(app, base_url=URL, raise_server_exceptions=False) as client:
        assert client.get("/big").status_code == 500


# --- the body, and after it


def test_a_stream_carries_the_cookie(client: Client) -> None:
    """What was changed before the first byte is committed."""
    response = client.get("/stream")

    assert response.text == "ab"
    assert session_of(client)["streamed"] == 1


def test_a_change_during_the_body_is_saved_in_a_store() -> None:
    """The session had a cookie: the store can keep what came later."""
    with client_of(manager(stored())) as client:
        client.get("/write")
        client.get("/background")

        assert session_of(client)["background"] == 1


def test_a_change_during_the_body_is_told_where_it_is_lost() -> None:
    """A cookie cannot be changed once the headers left."""
    events: list[Event] = []

    with client_of(manager(on_event=events.append)) as client:
        client.get("/background")

    assert LateWrite in map(type, events)


def test_a_body_that_fails_saves_nothing_more() -> None:
    """The headers and their cookie have left; the exception goes on."""
    with client_of(manager(stored())) as client:
        client.get("/write")
        client.get("/broken-stream")

        assert {"begun", "late"} & set(session_of(client)) == {"begun"}


# --- several requests


def test_a_write_after_logout_revives_nothing() -> None:
    """A slow request's session was ended meanwhile: it sets no cookie and brings nothing back."""
    sessions = manager(stored())

    @get("/slow")
    async def slow(request: AnyRequest) -> str:
        assert request.session["n"] == 1
        other = await sessions.aopen(request.headers["cookie"])
        other.logout()
        await sessions.acommit(other)
        request.session["n"] = 2
        return "ok"

    with client_of(sessions, [*HANDLERS, slow]) as client:
        client.get("/write")
        response = client.get("/slow")

        assert "set-cookie" not in response.headers
        assert session_of(client) == {}


def test_two_parallel_requests_lose_nothing() -> None:
    """What another request saved meanwhile is merged."""
    sessions = manager(stored())

    @get("/slow")
    async def slow(request: AnyRequest) -> str:
        assert request.session["n"] == 1
        other = await sessions.aopen(request.headers["cookie"])
        other["theirs"] = 1
        await sessions.acommit(other)
        request.session["mine"] = 1
        return "ok"

    with client_of(sessions, [*HANDLERS, slow]) as client:
        client.get("/write")
        client.get("/slow")

        assert {"theirs", "mine", "n"} <= set(session_of(client))


# --- SessionAuth and flash messages


def auth_app(sessions: SessionManager) -> Litestar:
    async def find_user(session: dict[str, Any], connection: Connection) -> str | None:
        user: str = session["user"]
        return user if user == "ann" else None

    @post("/login")
    async def sign_in(request: AnyRequest) -> str:
        get_session(request).login("ann")
        request.session["user"] = "ann"
        return "ok"

    @get("/me")
    async def me(request: Request[str, dict[str, Any], State]) -> str:
        assert request.auth is request.session
        return request.user

    @get("/become")
    async def become(request: AnyRequest) -> str:
        request.session["user"] = request.query_params["user"]
        return "ok"

    auth = SessionAuth[str, HardtackBackend](
        retrieve_user_handler=find_user, session_backend_config=HardtackSessionConfig(sessions), exclude=["/login"]
    )
    return Litestar([sign_in, me, become], on_app_init=[auth.on_app_init], logging_config=None)


@pytest.mark.parametrize("engine", ["cookie", "store"])
def test_session_auth_finds_the_user(engine: str) -> None:
    """Litestar's authentication reads our session, and refuses who has none."""
    with TestClient(auth_app(manager(stored() if engine == "store" else None)), base_url=URL) as client:
        refused = client.get("/me")
        client.post("/login")
        allowed = client.get("/me")

    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers
    assert allowed.text == "ann"


def test_session_auth_clears_a_session_without_a_user() -> None:
    """It puts `Empty` in the session's place and answers 401: that ends the session."""
    with TestClient(auth_app(manager()), base_url=URL) as client:
        client.post("/login")
        client.get("/become?user=bob")
        response = client.get("/me")

    assert response.status_code == 401
    assert "Max-Age=0" in response.headers["set-cookie"]


def test_the_flash_plugin_finds_the_session(tmp_path: Path) -> None:
    """Litestar's own flash messages live in the session."""
    try:
        from litestar.plugins.jinja import JinjaTemplateEngine
    except ImportError:  # its first place
        from litestar.contrib.jinja import JinjaTemplateEngine
    (tmp_path / "page.html").write_text("{% for m in get_flashes() %}{{ m.message }}{% endfor %}")

    @get("/flash")
    async def make(request: AnyRequest) -> str:
        flash(request, "hello", "info")
        return "ok"

    @get("/page")
    async def page() -> Template:
        return Template("page.html")

    templates = TemplateConfig(directory=tmp_path, engine=JinjaTemplateEngine)
    plugin = FlashPlugin(config=FlashConfig(template_config=templates))

    with client_of(manager(), [make, page], plugins=[plugin], template_config=templates) as client:
        client.get("/flash")

        assert client.get("/page").text == "hello"
        assert client.get("/page").text == ""


# --- what was ended is ended


class Broken:
    """A middleware between the session and the handler that fails once the handler has been called."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        get_session(ASGIConnection(scope)).logout()
        raise Unplanned


def test_a_logout_before_a_failure_outside_of_the_handler_is_carried_out() -> None:
    """Litestar answers it outside of the session, where nobody could clear the cookie: the page is made here."""
    config = HardtackSessionConfig(manager())
    app = Litestar([login, read, get("/broken", middleware=[Broken])(untouched.fn)], middleware=[config.middleware])

    with TestClient(app, base_url=URL, raise_server_exceptions=False) as client:
        client.get("/login")
        response = client.get("/broken")

    assert response.status_code == 500
    assert "Max-Age=0" in response.headers["set-cookie"]


def test_a_logout_before_a_failure_that_the_store_did_not_hear_of_is_a_503() -> None:
    """Copies of the cookie are good still; this browser's is cleared."""
    store = FailingStore()

    @get("/leave")
    async def leave(request: AnyRequest) -> str:
        get_session(request).logout()
        store.down = READS | WRITES
        raise Unplanned

    with client_of(manager(stored(store)), [login, leave]) as client:
        client.get("/login")
        response = client.get("/leave")

    assert response.status_code == 503
    assert "Max-Age=0" in response.headers["set-cookie"]


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.asyncio
async def test_a_logout_before_its_task_is_cancelled_is_carried_out(kind: str, reachable: bool) -> None:
    """In a websocket after it was accepted as well; the task is cancelled, whatever became of the logout."""
    store = FailingStore()
    sessions = manager(stored(store))
    left = asyncio.Event()

    @get("/http")
    async def over_http(request: AnyRequest) -> None:
        await leave(request.scope)

    @websocket("/websocket")
    async def over_websocket(socket: WebSocket[Any, Any, State]) -> None:
        await socket.accept()
        await leave(socket.scope)

    async def leave(scope: Any) -> None:
        get_session(ASGIConnection(scope)).logout()
        if not reachable:
            store.down = READS | WRITES
        left.set()
        await asyncio.sleep(60)

    config = HardtackSessionConfig(sessions)
    app: Any = Litestar([over_http, over_websocket], middleware=[config.middleware], logging_config=None)
    cookie = cookie_of(sessions, n=1)
    scope = {**scope_of(cookie, kind=kind, path=f"/{kind}"), "query_string": b"", "raw_path": b"", "root_path": ""}
    if kind == "websocket":
        del scope["method"]
    sent: list[Any] = []
    task = asyncio.ensure_future(call(app, scope, connecting, sent=sent))
    await asyncio.wait({task, waiting := asyncio.ensure_future(left.wait())}, timeout=30, return_when="FIRST_COMPLETED")
    waiting.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    store.down = frozenset()
    assert [message["type"] for message in sent] == (["websocket.accept"] if kind == "websocket" else [])
    assert (data_of(sessions, cookie) == {}) is reachable


async def connecting() -> Any:
    """The first message of a websocket."""
    return {"type": "websocket.connect"}


def test_a_form_that_lost_a_race_has_a_page_of_the_application() -> None:
    """By its status, or by the class of the error."""
    sessions = manager(stored())

    @post("/add", status_code=200)
    async def add(request: AnyRequest) -> str:
        request.session["n"] = request.session.get("n", 0) + 1
        other = sessions.open(request.headers["cookie"])
        other["n"] = 7
        sessions.commit(other)
        return "added"

    def sorry(request: AnyRequest, error: Exception) -> Response[str]:
        return Response(f"sorry, {request.session.get('n')}", status_code=409)

    texts = []
    choices: list[dict[int | type[Exception], Any]] = [{}, {409: sorry}, {SessionConflict: sorry}]
    for handlers in choices:
        config = HardtackSessionConfig(sessions)
        app = Litestar([write, add], middleware=[config.middleware], exception_handlers=handlers, logging_config=None)
        with TestClient(app, base_url=URL) as client:
            client.get("/write")
            response = client.post("/add")
        assert response.status_code == 409
        texts.append(response.text)

    assert "Nothing was saved" in texts[0]
    assert texts[1:] == ["sorry, 2"] * 2


# --- websockets


@websocket("/ws")
async def socket(socket: WebSocket[Any, Any, State]) -> None:
    socket.session["n"] = socket.session.get("n", 0) + 1
    await socket.accept()
    await socket.send_json(dict(socket.session))
    socket.session["late"] = 1
    command = await socket.receive_text()
    if command == "fail":
        raise Unplanned
    await socket.close()


def test_a_websocket_sets_its_cookie_with_the_handshake(client: Client) -> None:
    """The handshake is a response like others, and the only one that can carry a cookie."""
    client.app.register(socket)

    with client.websocket_connect("/ws") as ws:
        state = ws.receive_json()
        lines = [value.decode() for name, value in ws.extra_headers or () if name == b"set-cookie"]
        ws.send_text("bye")

    assert state == {"n": 1}
    assert [line.partition("=")[0] for line in lines] == [NAME]


def test_a_websocket_may_be_served_inside_an_except_clause_of_the_application() -> None:
    """The handshake and the end are the application's, and no answer to the exception."""

    @websocket("/recovering")
    async def recovering(socket: WebSocket[Any, Any, State]) -> None:
        try:
            raise Unplanned
        except Unplanned:
            socket.session["early"] = 1
            await socket.accept()
            await socket.send_text("hello")
            socket.session["late"] = 1
            await socket.close()

    with client_of(plain(stored()), [login, read, recovering]) as client:
        client.get("/login")
        with client.websocket_connect("/recovering") as ws:
            ws.receive_text()

        assert {"early": 1, "late": 1}.items() <= session_of(client).items()


@pytest.mark.parametrize(("command", "late"), [("bye", True), ("fail", False)])
def test_a_websocket_saves_late_changes_in_a_store(command: str, late: bool) -> None:
    """They need no cookie; an exception that nobody handles saves nothing more."""
    with client_of(plain(stored()), [*HANDLERS, socket]) as client:
        client.get("/write")
        with client.websocket_connect("/ws") as ws:
            ws.receive_json()
            ws.send_text(command)
            if command == "fail":
                with pytest.raises(WebSocketDisconnect):
                    ws.receive_text()

        assert ("late" in session_of(client)) is late


def test_a_websocket_of_a_store_that_is_down_is_refused() -> None:
    """It is closed before it was accepted."""
    store = FailingStore()

    with client_of(plain(stored(store)), [write, socket]) as client:
        client.get("/write")
        for down in ({"put"}, {"get"}):
            store.down = frozenset(down)
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
                pass  # pragma: no cover


# --- test clients, configuration, places


def test_the_test_client_sets_and_reads_session_data(client: Client) -> None:
    """Litestar's TestClient works with our configuration."""
    client.set_session_data({"n": 41})
    client.get("/write")

    assert client.get_session_data() == {"n": 42, "nested": {"list": [42]}}


def test_the_test_client_ends_a_session() -> None:
    """Setting nothing is how a test logs out."""
    with client_of(manager(stored())) as client:
        client.set_session_data({"n": 1})
        client.set_session_data({})

        assert session_of(client) == {}


def test_the_backend_works_on_a_request() -> None:
    """What Litestar's own middleware would ask of it gives the same session."""
    config = HardtackSessionConfig(manager(stored()))
    backend = HardtackBackend(config=config)

    @get("/")
    async def handler(request: AnyRequest) -> dict[str, Any]:
        message: Any = {"type": "http.response.start", "status": 200, "headers": []}
        loaded = await backend.load_from_connection(request)
        await backend.store_in_message(loaded | {"m": 1}, message, request)
        known = backend.get_session_id(request)
        return {"known": known == get_session(request).id, "headers": [name.decode() for name, _ in message["headers"]]}

    with TestClient(Litestar([handler, read, write], middleware=[config.middleware]), base_url=URL) as client:
        client.get("/write")
        answer = client.get("/").json()

        assert answer == {"known": True, "headers": ["vary", "cache-control"]}
        assert session_of(client) == {"n": 1, "nested": {"list": [1]}, "m": 1}


def errors_of(handlers: Any, middleware: Any = ()) -> list[Exception]:
    """What one request for `/` ran into."""
    errors: list[Exception] = []

    async def collect(error: Exception, scope: Scope) -> None:
        errors.append(error)

    app = Litestar(handlers, middleware=middleware, after_exception=[collect], logging_config=None)
    with TestClient(app) as client:
        assert client.get("/").status_code == 500
    return errors


def test_get_session_names_a_missing_middleware() -> None:
    """Without the middleware there is no session, and the error says what to add."""

    @get("/")
    async def handler(request: AnyRequest) -> str:
        get_session(request)
        return "unreached"

    [error] = errors_of([handler])

    assert isinstance(error, ConfigError)
    assert "HardtackSessionConfig" in str(error)


def test_two_configurations_on_one_request_are_refused() -> None:
    """Each would set a cookie of its own."""
    first, second = HardtackSessionConfig(manager()), HardtackSessionConfig(manager())

    [error] = errors_of([untouched], [first.middleware, second.middleware])

    assert isinstance(error, ConfigError)
    assert "two HardtackSessionConfig" in str(error)


@pytest.mark.parametrize("outer", [True, False])
def test_litestars_own_middleware_beside_ours_is_refused(outer: bool) -> None:
    """`request.session` would be of one of the two, and both would set a cookie without a word."""
    ours, own = HardtackSessionConfig(manager()).middleware, CookieBackendConfig(secret=b"x" * 32).middleware

    [error] = errors_of([untouched], [own, ours] if outer else [ours, own])

    assert isinstance(error, ConfigError)
    assert "Litestar's own is beside" in str(error)


def test_the_middleware_of_a_controller_shares_its_store() -> None:
    """Litestar copies handlers with their middleware; a copied store would be another one."""
    sessions = manager(stored())
    config = HardtackSessionConfig(sessions)

    class First(Controller):
        path = "/first"
        middleware = [config.middleware]  # noqa: RUF012

        @get("/write")
        async def write(self, request: AnyRequest) -> str:
            request.session["n"] = 1
            return "ok"

    @get("/second", middleware=[config.middleware])
    async def second(request: AnyRequest) -> dict[str, Any]:
        return dict(request.session)

    with TestClient(Litestar([First, second]), base_url=URL) as client:
        client.get("/first/write")

        assert client.get("/second").json() == {"n": 1}
    assert copy.deepcopy(config) is config
    assert copy.deepcopy(config.middleware).kwargs["backend"].config is config


def test_excluded_paths_and_handlers_get_no_session() -> None:
    """`exclude` and `exclude_opt_key` work as in Litestar's other backends."""

    @get("/skipped", skip_session=True)
    async def skipped(request: AnyRequest) -> bool:
        return "session" in request.scope

    @get("/health")
    async def health(request: AnyRequest) -> bool:
        return "session" in request.scope

    config = HardtackSessionConfig(manager(), exclude="^/health")

    with TestClient(Litestar([skipped, health], middleware=[config.middleware]), base_url=URL) as client:
        assert client.get("/skipped").json() is False
        assert client.get("/health").json() is False


def test_a_store_that_only_async_code_can_reach() -> None:
    """The session is loaded before the handler runs."""
    with client_of(manager(stored(AsyncMemoryStore()))) as client:
        client.get("/login")
        client.get("/write")

        assert session_of(client)["n"] == 1
        assert client.get_session_data()["n"] == 1


def test_a_split_cookie_header_is_one() -> None:
    """HTTP/2 may send the cookies in several headers."""

    class Split:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["headers"] = [(b"cookie", b"a=b"), *scope["headers"]]
            await self.app(scope, receive, send)

    config = HardtackSessionConfig(manager())

    with TestClient(Litestar([write, read], middleware=[Split, config.middleware]), base_url=URL) as client:
        client.get("/write")

        assert session_of(client)["n"] == 1


def test_a_secure_cookie_on_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A browser drops it without a word; the warning comes once."""
    config = HardtackSessionConfig(manager())

    app = Litestar([write], middleware=[config.middleware], logging_config=None)
    with TestClient(app) as client, caplog.at_level(logging.WARNING, "hardtack"):
        client.get("/write")
        client.get("/write")

    assert [record.message[:15] for record in caplog.records] == ["a Secure sessio"]


def test_the_configuration_says_what_the_cookie_is() -> None:
    """OpenAPI and others read it from there."""
    config = HardtackSessionConfig(manager(cookie=Cookie("s", "/a", "example.org", samesite=None), lifetime=60))

    assert (config.key, config.path, config.domain, config.max_age) == ("s", "/a", "example.org", 60)
    assert (config.secure, config.httponly, config.samesite) == (True, True, "lax")


def test_a_configuration_without_a_manager_is_refused() -> None:
    """The error names what is missing."""
    with pytest.raises(ConfigError, match="takes a SessionManager, not str"):
        HardtackSessionConfig("secret")  # type: ignore[arg-type]


def test_the_session_is_hardtacks() -> None:
    """Both ways to it give one object."""

    @get("/")
    async def handler(request: AnyRequest) -> bool:
        return isinstance(request.session, Session) and get_session(request) is request.session

    with client_of(manager(), [handler]) as client:
        assert client.get("/").json() is True


def test_a_message_without_a_host_is_no_error() -> None:
    """HTTP/1.0 has no Host."""

    class NoHost:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["headers"] = []
            await self.app(scope, receive, send)

    config = HardtackSessionConfig(manager())

    with TestClient(Litestar([write], middleware=[NoHost, config.middleware]), base_url=URL) as client:
        assert "set-cookie" in client.get("/write").headers


def test_without_litestar_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    without("litestar", "litestar", monkeypatch)

    with pytest.raises(ImportError, match=r"hardtack\[litestar\]"):
        import hardtack.frameworks.litestar  # noqa: F401


def test_the_example_runs() -> None:
    """A visit, a login with its greeting, a logout."""
    app = runpy.run_path(str(ROOT / "examples/litestar/app.py"))["app"]

    with TestClient(app) as client:
        assert "stranger, this is visit 1" in client.get("/").text
        page = client.post("/login", data={"user": "<ann>"}).text
        assert "Welcome." in page
        assert "&lt;ann&gt;, this is visit 2" in page
        assert "stranger, this is visit 1" in client.post("/logout").text


def test_a_cookie_of_litestars_own_is_taken_over() -> None:
    """A visitor with the old cookie stays logged in, gets a new session, and loses the old cookie."""
    secret = bytes(range(32))
    own = CookieBackendConfig(secret=secret)

    @get("/old")
    async def old(request: AnyRequest) -> str:
        request.session["user"] = "ann"
        return "ok"

    with TestClient(Litestar([old], middleware=[own.middleware])) as client:
        client.get("/old")
        cookie = client.cookies["session"]

    token = LitestarCookie(secret, subject=lambda data: data.get("user"))
    with client_of(manager(accept=[token])) as client:
        response = client.get("/read", headers={"Cookie": f"session={cookie}"})

    assert response.json() == {"user": "ann"}
    names = [line.partition("=")[0] for line in response.headers.get_list("set-cookie")]
    assert names == [NAME, "session"]

"""Sanic, served on a port of this machine and through its own ASGI client: streams, error pages, websockets."""

from __future__ import annotations

import asyncio
import itertools
import logging
import runpy
import socket as sockets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, CookieJar, WSServerHandshakeError
from sanic import Blueprint, HTTPResponse, Request, Sanic, Websocket
from sanic.exceptions import Forbidden, ServiceUnavailable
from sanic.response import BaseHTTPResponse, ResponseStream, file_stream, json, redirect, text
from tests.frameworks.async_kit import READS, WRITES, AsyncMemoryStore, FailingStore, manager, plain, stored, without

from hardtack import CookieEngine, Key, SessionManager, StoreEngine
from hardtack.errors import ConfigError, SessionFinished, StoreUnavailable
from hardtack.events import CacheControlReplaced, Destroyed, Event, LateWrite
from hardtack.frameworks.sanic import get_session, setup
from hardtack.protocols import Version

pytestmark = [
    pytest.mark.asyncio,
    # Sanic's test client imports what websockets has deprecated.
    pytest.mark.filterwarnings("ignore:websockets.*is deprecated:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
AnyRequest = Request[Any, Any]
App = Sanic[Any, Any]
Handler = Callable[[AnyRequest], Coroutine[Any, Any, Any]]
NAMES = itertools.count()


class Unplanned(Exception):
    """What nobody handles."""


class Planned(Exception):
    """What the application has a handler for."""


class SlowStore(AsyncMemoryStore):
    """A store that lets other requests go on while it writes."""

    async def put(self, *args: Any, **options: Any) -> Version:
        await asyncio.sleep(0.01)
        return await super().put(*args, **options)


async def untouched(request: AnyRequest) -> HTTPResponse:
    return text("ok")


async def read(request: AnyRequest) -> HTTPResponse:
    return json(dict(get_session(request)))


async def write(request: AnyRequest) -> HTTPResponse:
    session = get_session(request)
    session["n"] = session.get("n", 0) + 1
    session.setdefault("nested", {"list": []})["list"].append(session["n"])
    return text("ok")


async def login(request: AnyRequest) -> HTTPResponse:
    get_session(request).login("ann")
    get_session(request).flash("welcome")
    return text("ok")


async def flashes(request: AnyRequest) -> HTTPResponse:
    return json([str(message) for message in get_session(request).flashes()])


async def logout(request: AnyRequest) -> HTTPResponse:
    get_session(request).logout()
    return text("ok")


async def big(request: AnyRequest) -> HTTPResponse:
    get_session(request)["big"] = "x" * 10_000
    return text("unreached")


async def fail(request: AnyRequest) -> HTTPResponse:
    get_session(request)["failed"] = 1
    raise Unplanned


async def planned(request: AnyRequest) -> HTTPResponse:
    get_session(request)["seen"] = 1
    raise Planned


async def forbidden(request: AnyRequest) -> HTTPResponse:
    get_session(request)["seen"] = 1
    raise Forbidden("no")


async def bad_gateway(request: AnyRequest) -> HTTPResponse:
    get_session(request)["seen"] = 1
    return text("oh", status=502)


async def public(request: AnyRequest) -> HTTPResponse:
    get_session(request)["n"] = 1
    return text("ok", headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})


async def stream(request: AnyRequest) -> None:
    get_session(request)["streamed"] = 1
    response: Any = await request.respond(content_type="text/plain")
    await response.send("a")
    get_session(request)["late"] = 1
    await response.send("b")
    await response.eof()


async def broken_stream(request: AnyRequest) -> None:
    get_session(request)["begun"] = 1
    response: Any = await request.respond(content_type="text/plain")
    await response.send("a")
    get_session(request)["late"] = 1
    raise Unplanned


async def abandoned(request: AnyRequest) -> None:
    get_session(request)["begun"] = 1
    await request.respond(content_type="text/plain")
    raise Unplanned


async def big_stream(request: AnyRequest) -> None:
    get_session(request)["big"] = "x" * 10_000
    response: Any = await request.respond(content_type="text/plain")
    await response.send("unreached")
    await response.send("unreached")
    await response.eof()


async def quiet_stream(request: AnyRequest) -> None:
    response: Any = await request.respond(content_type="text/plain")
    await response.send("quiet")
    await response.eof()


async def file(request: AnyRequest) -> ResponseStream:
    get_session(request)["file"] = 1
    return await file_stream(__file__)


async def empty(request: AnyRequest) -> ResponseStream:
    get_session(request)["file"] = 1

    async def nothing(response: Any) -> None:
        """A stream of no bytes."""

    return ResponseStream(nothing)


async def socket(request: AnyRequest, ws: Websocket) -> None:
    await ws.send(str(dict(get_session(request))))
    get_session(request)["late"] = 1
    if await ws.recv() == "fail":
        raise Unplanned


async def bare_socket(request: AnyRequest, ws: Websocket) -> None:
    await ws.send("hello")


HANDLERS: dict[str, Handler] = {
    "untouched": untouched,
    "read": read,
    "write": write,
    "login": login,
    "flashes": flashes,
    "logout": logout,
    "big": big,
    "fail": fail,
    "planned": planned,
    "forbidden": forbidden,
    "bad-gateway": bad_gateway,
    "public": public,
    "stream": stream,
    "broken-stream": broken_stream,
    "abandoned": abandoned,
    "big-stream": big_stream,
    "quiet-stream": quiet_stream,
    "file": file,
    "empty": empty,
}


def application(sessions: SessionManager | None = None, **more: Handler) -> App:
    """An application with all the handlers; without sessions none are set up."""
    app: App = Sanic(f"hardtack_{next(NAMES)}", configure_logging=False)
    if sessions is not None:
        setup(app, sessions)
    for name, handler in {**HANDLERS, **more}.items():
        app.add_route(handler, f"/{name}", name=name.replace("-", "_"))
    app.add_websocket_route(socket, "/ws")
    app.add_websocket_route(bare_socket, "/bare-ws")
    app.exception(Planned)(lambda request, error: text("planned", status=500))
    return app


@asynccontextmanager
async def serve(app: App, *, touchup: bool = False) -> AsyncIterator[ClientSession]:
    """A client of the application, which is served on a port of this machine."""
    app.config.TOUCHUP = touchup  # it rewrites Sanic's own methods, once a process
    with sockets.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server: Any = await app.create_server(sock=sock, access_log=False, return_asyncio_server=True)
        await server.startup()
        await server.start_serving()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            async with ClientSession(url, cookie_jar=CookieJar(unsafe=True), timeout=ClientTimeout(10)) as client:
                yield client
        finally:
            server.close()
            await server.wait_closed()
            for connection in server.connections:
                connection.close_if_idle()


@pytest.fixture(params=["cookie", "store", "async store"])
def sessions(request: pytest.FixtureRequest) -> SessionManager:
    engines = {"cookie": None, "store": stored(), "async store": stored(AsyncMemoryStore())}
    return plain(engines[request.param])


async def state(client: ClientSession) -> Any:
    return await (await client.get("/read")).json()


# --- what a handler does


async def test_a_session_that_nobody_touches_costs_no_header(sessions: SessionManager) -> None:
    """A handler that does not ask for it."""
    async with serve(application(sessions)) as client:
        await client.get("/write")
        response = await client.get("/untouched")

    assert not {"Set-Cookie", "Vary", "Cache-Control"} & set(response.headers)


async def _through_context(request: AnyRequest) -> HTTPResponse:
    return json(dict(request.ctx.session))


async def _through_function(request: AnyRequest) -> HTTPResponse:
    return json({"session": dict(get_session(request))})


async def test_a_session_in_a_store_is_not_encoded_past_its_methods() -> None:
    """What a request reads is noted; Sanic's encoder would read it unnoticed, and fails instead of finding nothing."""
    async with serve(application(plain(stored()), direct=_direct)) as client:
        await client.get("/write")
        response = await client.get("/direct")

        assert response.status == 500


async def _direct(request: AnyRequest) -> HTTPResponse:
    return json(request.ctx.session)


async def test_a_session_can_be_answered_as_json(sessions: SessionManager) -> None:
    """As the plain dict of what it holds, be there one or not."""
    async with serve(application(sessions, context=_through_context, function=_through_function)) as client:
        empty = [await (await client.get(path)).json() for path in ("/context", "/function")]
        await client.get("/write")
        full = [await (await client.get(path)).json() for path in ("/context", "/function")]

    assert empty == [{}, {"session": {}}]
    data = {"n": 1, "nested": {"list": [1]}}
    assert full == [data, {"session": data}]


class _OwnContext:
    """What an application may have in the place of Sanic's context."""

    session: Any
    hardtack: Any


class _OwnRequest(Request[Any, Any]):
    @staticmethod
    def make_context() -> Any:
        return _OwnContext()


async def test_a_context_of_the_applications_own() -> None:
    """It gets the session as an attribute."""
    app: App = Sanic(f"hardtack_{next(NAMES)}", configure_logging=False, request_class=_OwnRequest)
    setup(app, plain())

    async def handle(request: AnyRequest) -> HTTPResponse:
        request.ctx.session["n"] = 1
        return text(type(request.ctx).__name__)

    app.add_route(handle, "/")
    async with serve(app) as client:
        response = await client.get("/")
        assert await response.text() == "_OwnContext"

    assert "Set-Cookie" in response.headers


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

        assert await (await client.get("/flashes")).json() == ["welcome"]
        assert await (await client.get("/flashes")).json() == []


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


@pytest.mark.parametrize(("path", "status"), [("/bad-gateway", 502), ("/forbidden", 403), ("/planned", 500)])
async def test_a_response_of_the_application_is_committed(sessions: SessionManager, path: str, status: int) -> None:
    """5xx, a SanicException, and an exception that the application has a handler for."""
    async with serve(application(sessions)) as client:
        response = await client.get(path)

        assert response.status == status
        assert await state(client) == {"seen": 1}


@pytest.mark.parametrize("catch_all", [False, True])
async def test_an_exception_saves_nothing(sessions: SessionManager, catch_all: bool) -> None:
    """Also where there is one page for all exceptions."""
    app = application(sessions)
    if catch_all:
        app.exception(Exception)(lambda request, error: text("sorry", status=500))

    async with serve(app) as client:
        await client.get("/write")
        response = await client.get("/fail")

        assert response.status == 500
        assert "Set-Cookie" not in response.headers
        assert "failed" not in await state(client)


async def test_a_handler_that_ran_out_of_time_saves_nothing() -> None:
    """Sanic answers for it; what it had half done is not kept."""

    async def slow(request: AnyRequest) -> HTTPResponse:
        get_session(request)["half"] = 1
        await asyncio.sleep(10)
        return text("unreached")

    app = application(plain(), slow=slow)
    app.config.RESPONSE_TIMEOUT = 0.2

    async with serve(app) as client:
        response = await client.get("/slow")

    assert response.status == ServiceUnavailable.status_code
    assert "Set-Cookie" not in response.headers


async def test_other_middlewares_see_the_session() -> None:
    """Ours is the first of the request and the last of the response, whenever they were added."""
    app: App = Sanic(f"hardtack_{next(NAMES)}", configure_logging=False)

    @app.on_request
    async def before(request: AnyRequest) -> None:
        get_session(request)["before"] = 1

    @app.on_response  # type: ignore[untyped-decorator]
    async def after(request: AnyRequest, response: HTTPResponse) -> None:
        get_session(request)["after"] = 1

    setup(app, plain())
    app.add_route(read, "/read")

    async with serve(app) as client:
        await client.get("/read")

        assert await state(client) == {"before": 1, "after": 1}


@pytest.mark.parametrize("path", ["/write", "/big"])
async def test_a_middleware_that_answers_cannot_hide_the_session(path: str) -> None:
    """Sanic asks no further middleware then; the session is committed all the same, or the error shown."""
    app = application(plain())

    @app.on_response  # type: ignore[untyped-decorator]
    async def answer(request: AnyRequest, response: HTTPResponse) -> HTTPResponse | None:
        return text("another") if request.path == path else None

    async with serve(app) as client:
        response = await client.get(path)

        assert ("Set-Cookie" in response.headers, response.status) == (
            (path == "/write"),
            200 if path == "/write" else 500,
        )
        assert ("n" in await state(client)) == (path == "/write")


async def test_what_a_middleware_answers_everybody_carries_nobodys_cookie() -> None:
    """One response object for all, which Sanic does not let us replace."""
    app = application(plain(stored(SlowStore())))
    shared = text("shared")

    @app.on_response  # type: ignore[untyped-decorator]
    async def answer(request: AnyRequest, response: HTTPResponse) -> HTTPResponse:
        return shared

    async with serve(app) as client:
        paths = ["/write", "/untouched"] * 3
        answers = await asyncio.gather(*map(client.get, paths))

        assert [await answer.text() for answer in answers] == ["shared"] * 6
        assert ["Set-Cookie" in answer.headers for answer in answers] == [True, False] * 3
        assert ["Vary" in answer.headers for answer in answers] == [True, False] * 3


async def test_requests_at_the_same_time_may_return_one_response() -> None:
    """Each is answered on its own connection, however long a store takes."""
    shared = text("shared")

    async def login_shared(request: AnyRequest) -> HTTPResponse:
        get_session(request).login("ann")
        return shared

    app = application(plain(stored(SlowStore())), login_shared=login_shared)
    async with serve(app) as client:
        answers = await asyncio.gather(*[client.get("/login_shared") for _ in range(5)])

        assert [await answer.text() for answer in answers] == ["shared"] * 5
        assert len({answer.headers["Set-Cookie"] for answer in answers}) == 5
        assert "Set-Cookie" not in shared.headers


async def test_a_middleware_that_answers_a_stream_leaves_an_event() -> None:
    """The headers have left when it shows."""
    events: list[Event] = []
    app = application(plain(on_event=events.append))

    @app.on_response  # type: ignore[untyped-decorator]
    async def answer(request: AnyRequest, response: HTTPResponse) -> HTTPResponse | None:
        return HTTPResponse(status=200, content_type="text/plain")

    async with serve(app) as client:
        await (await client.get("/stream")).text()
        await (await client.get("/quiet-stream")).text()

    assert [type(event) for event in events].count(LateWrite) == 1


async def test_a_blueprint_has_the_session() -> None:
    """Its middlewares run inside ours."""
    app, blueprint = application(plain()), Blueprint("admin", url_prefix="/admin")

    @blueprint.on_response  # type: ignore[untyped-decorator]
    async def after(request: AnyRequest, response: HTTPResponse) -> None:
        get_session(request)["blueprint"] = 1

    blueprint.add_route(write, "/write")
    app.blueprint(blueprint)

    async with serve(app) as client:
        await client.get("/admin/write")

        assert (await state(client))["blueprint"] == 1


async def test_a_path_that_is_not_there_is_a_404(sessions: SessionManager) -> None:
    """The session does not get in its way."""
    async with serve(application(sessions)) as client:
        assert (await client.get("/nowhere")).status == 404


# --- bodies and websockets


async def test_a_stream_carries_the_cookie(sessions: SessionManager) -> None:
    """What was changed before it began goes with its headers."""
    async with serve(application(sessions)) as client:
        response = await client.get("/stream")

        assert await response.text() == "ab"
        assert (await state(client))["streamed"] == 1


async def test_a_late_change_is_saved_in_a_store() -> None:
    """After the body, by merging."""
    async with serve(application(plain(stored()))) as client:
        await client.get("/write")
        await (await client.get("/stream")).read()

        assert (await state(client))["late"] == 1


async def test_a_late_change_is_told_where_it_is_lost() -> None:
    """A cookie cannot be changed once the headers left."""
    events: list[Event] = []

    async with serve(application(plain(on_event=events.append))) as client:
        await (await client.get("/stream")).read()

    assert LateWrite in map(type, events)


async def test_a_body_that_fails_saves_nothing_more() -> None:
    """The headers and their cookie have left."""
    async with serve(application(plain(stored()))) as client:
        await client.get("/write")
        response = await client.get("/broken-stream")
        await response.read()

        assert {"begun", "late"} & set(await state(client)) == {"begun"}


async def test_a_response_that_was_begun_and_dropped_keeps_its_cookie(sessions: SessionManager) -> None:
    """What was committed must reach the browser, on the error page then."""
    async with serve(application(sessions)) as client:
        response = await client.get("/abandoned")

        assert response.status == 500
        assert len(response.headers.getall("Set-Cookie")) == 1
        assert await state(client) == {"begun": 1}


@pytest.mark.parametrize(("path", "body"), [("/file", Path(__file__).read_bytes()), ("/empty", b"")])
async def test_a_response_stream_carries_the_cookie_once(sessions: SessionManager, path: str, body: bytes) -> None:
    """`file_stream` makes a response of another kind."""
    async with serve(application(sessions)) as client:
        response = await client.get(path)

        assert await response.read() == body
        assert len(response.headers.getall("Set-Cookie")) == 1
        assert await state(client) == {"file": 1}


async def test_a_websocket_reads_the_session(sessions: SessionManager) -> None:
    """Its handshake sets no cookie; without one a change is an event."""
    events: list[Event] = []
    sessions.on_event = events.append

    async with serve(application(sessions)) as client:
        async with client.ws_connect("/ws") as ws:
            assert await ws.receive_str() == "{}"
            await ws.send_str("bye")
            await ws.receive()

        assert await state(client) == {}

    assert LateWrite in map(type, events)


@pytest.mark.parametrize(("command", "late"), [("bye", True), ("fail", False)])
async def test_a_websocket_saves_in_a_store(command: str, late: bool) -> None:
    """Of a session that has its cookie; an exception saves nothing."""
    async with serve(application(plain(stored()))) as client:
        await client.get("/write")
        async with client.ws_connect("/ws") as ws:
            await ws.receive_str()
            await ws.send_str(command)
            await ws.receive()

        assert ("late" in await state(client)) is late


async def test_a_websocket_without_a_store_is_refused() -> None:
    """The handshake is answered with 503."""
    store = FailingStore()

    async with serve(application(plain(stored(store)))) as client:
        await client.get("/write")
        store.down = READS
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.ws_connect("/ws")

    assert caught.value.status == 503


# --- what was ended, whatever became of the request


@pytest.mark.parametrize("fate", ["fails", "left"])
async def test_a_logout_in_a_stream_ends_what_is_stored(fate: str) -> None:
    """Its headers have left with the cookie as it was; that opens nothing any more, also where the client has gone away."""
    ended = asyncio.Event()

    async def leave(request: AnyRequest) -> None:
        response: Any = await request.respond(content_type="text/plain")
        await response.send("a")
        get_session(request).logout()
        if fate == "fails":
            raise Unplanned
        await asyncio.sleep(60)

    sessions = plain(stored(), on_event=lambda event: ended.set() if isinstance(event, Destroyed) else None)
    async with serve(application(sessions, leave=leave)) as client:
        await client.get("/write")
        async with client.get("/leave") as response:
            await response.content.readany()
            if fate == "left":
                response.close()
            await asyncio.wait_for(ended.wait(), 5)

        assert await state(client) == {}


@pytest.mark.parametrize("fate", ["fail", "leave", "wait"])
async def test_a_logout_in_a_websocket_ends_what_is_stored(fate: str) -> None:
    """Whether its handler fails, sees the client leave, or is stopped with the connection."""
    ended = asyncio.Event()

    async def leaving(request: AnyRequest, ws: Websocket) -> None:
        get_session(request).logout()
        await ws.send("gone")
        if fate == "fail":
            raise Unplanned
        if fate == "wait":
            await asyncio.sleep(60)
        await ws.recv()

    sessions = plain(stored(), on_event=lambda event: ended.set() if isinstance(event, Destroyed) else None)
    app = application(sessions)
    app.add_websocket_route(leaving, "/leaving")
    async with serve(app) as client:
        await client.get("/write")
        ws = await client.ws_connect("/leaving")
        await ws.receive_str()
        if fate == "leave":
            await ws.close()
        elif fate == "wait":
            for task in app.websocket_tasks:
                task.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        await ws.close()

        assert await state(client) == {}


@pytest.mark.parametrize("down", [frozenset[str](), WRITES])
async def test_a_logout_before_another_error_of_the_store_is_carried_out(down: frozenset[str]) -> None:
    """The page for that error clears the cookie, whether the end could be stored or not."""
    store = FailingStore()

    async def leave(request: AnyRequest) -> HTTPResponse:
        get_session(request).logout()
        raise StoreUnavailable("another store")

    async with serve(application(plain(stored(store)), leave=leave)) as client:
        await client.get("/write")
        store.down = down
        response = await client.get("/leave")

        assert response.status == 503
        assert "Max-Age=0" in response.headers["Set-Cookie"]


async def test_a_session_whose_save_was_refused_is_not_saved_later() -> None:
    """The client was told of an error: a task that goes on with the session is told, too."""
    store = FailingStore()
    kept: list[Any] = []

    async def keep(request: AnyRequest) -> HTTPResponse:
        kept.append(get_session(request))
        kept[0]["n"] = 5
        return text("ok")

    async with serve(application(plain(stored(store)), keep=keep)) as client:
        await client.get("/write")
        store.down = WRITES
        response = await client.get("/keep")
        store.down = frozenset()

        assert response.status == 503
        with pytest.raises(SessionFinished):
            kept[0]["n"] = 6
        assert (await state(client))["n"] == 1


# --- sessions that cannot be loaded or saved


@pytest.mark.parametrize("path", ["/big", "/big-stream"])
async def test_a_session_that_is_too_large_is_a_500(path: str) -> None:
    """It is known before the response begins; what a stream sends on goes nowhere."""
    async with serve(application(plain())) as client:
        response = await client.get(path)

        assert response.status == 500
        assert "Set-Cookie" not in response.headers
        assert "unreached" not in await response.text()


async def test_the_page_for_any_error_depends_on_the_cookie() -> None:
    """The application's page may show what is in the session, so no cache gives it to somebody else."""
    app = application(plain())

    async def page(request: AnyRequest, exception: Exception) -> HTTPResponse:
        return json(dict(get_session(request)), status=404)

    app.error_handler.add(Exception, page)

    async with serve(app) as client:
        response = await client.get("/fail")

        assert await response.json() == {"failed": 1}
        assert response.headers["Vary"] == "Cookie"
        assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("path", ["/big", "/big-stream"])
async def test_the_page_after_a_failed_commit_is_nobody_elses(path: str) -> None:
    """No cache keeps it."""
    app = application(plain())

    async def page(request: AnyRequest, exception: Exception) -> HTTPResponse:
        return json(len(get_session(request)["big"]), status=404, headers={"Cache-Control": "max-age=60"})

    app.error_handler.add(Exception, page)

    async with serve(app) as client:
        response = await client.get(path)

        assert await response.json() == 10_000
        assert response.headers["Vary"] == "Cookie"
        assert response.headers["Cache-Control"] == "private, no-store"


async def test_a_large_session_is_chunked() -> None:
    """Where the engine may."""

    async def large(request: AnyRequest) -> HTTPResponse:
        get_session(request)["large"] = "x" * 5000
        return text("ok")

    sessions = plain(CookieEngine(Key.generate(), overflow="chunk"))

    async with serve(application(sessions, large=large)) as client:
        response = await client.get("/large")

        assert len(response.headers.getall("Set-Cookie")) == 2
        assert len((await state(client))["large"]) == 5000


@pytest.mark.parametrize("path", ["/read", "/write", "/stream", "/file"])
async def test_a_store_that_is_down_is_a_503(path: str) -> None:
    """Where the session cannot be loaded, and where it cannot be saved."""
    store = FailingStore()

    async with serve(application(plain(stored(store)))) as client:
        await client.get("/write")
        store.down = READS if path == "/read" else WRITES
        response = await client.get(path)

        assert response.status == 503
        assert response.headers["Retry-After"] == "5"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "cannot be reached" in await response.text()


@pytest.mark.parametrize("page", ["none", "async", "stream", "middleware"])
async def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie(page: str) -> None:
    """Whatever page the application has for a 503."""
    store = FailingStore()
    app = application(plain(stored(store)))

    async def own_page(request: AnyRequest, error: Exception) -> Any:
        if page == "async":
            return text("come back", status=503)
        return ResponseStream(lambda response: asyncio.sleep(0))

    async def answer(request: AnyRequest, response: BaseHTTPResponse) -> HTTPResponse | None:
        return text("another") if request.path == "/logout" else None

    if page in ("async", "stream"):
        app.exception(ServiceUnavailable)(own_page)
    if page == "middleware":
        app.register_middleware(answer, "response")

    async with serve(app) as client:
        await client.get("/login")
        store.down = WRITES
        response = await client.get("/logout")

        assert response.status == 503
        assert (await response.text() == "come back") is (page == "async")
        assert "Max-Age=0" in response.headers["Set-Cookie"]


async def test_a_login_without_a_store_is_a_503() -> None:
    """A session that stands in for one that could not be loaded cannot be logged in; one that is read goes on."""
    store = FailingStore()

    async with serve(application(plain(StoreEngine(store, on_store_error="anonymous")))) as client:
        await client.get("/write")
        store.down = READS
        reading = await client.get("/read")
        login = await client.get("/login")

    assert (reading.status, reading.headers["Cache-Control"]) == (200, "private, no-store")
    assert login.status == 503


# --- several requests


async def test_two_parallel_requests_lose_nothing() -> None:
    """What the other saved meanwhile is merged."""
    both = asyncio.Barrier(2)

    async def slow(request: AnyRequest) -> HTTPResponse:
        session = get_session(request)
        assert session["n"] == 1
        await both.wait()
        session[request.args["key"][0]] = 1
        return text("ok")

    async with serve(application(plain(stored()), slow=slow)) as client:
        await client.get("/write")
        await asyncio.gather(client.get("/slow?key=mine"), client.get("/slow?key=theirs"))

        assert {"mine", "theirs"} <= set(await state(client))


async def test_a_write_after_logout_revives_nothing() -> None:
    """And sets no cookie."""
    entered, gate = asyncio.Event(), asyncio.Event()

    async def slow(request: AnyRequest) -> HTTPResponse:
        get_session(request)["slow"] = 1
        entered.set()
        await gate.wait()
        return text("ok")

    async with serve(application(plain(stored()), slow=slow)) as client:
        await client.get("/write")
        task = asyncio.create_task(client.get("/slow"))
        await entered.wait()
        await client.get("/logout")
        gate.set()
        response = await task

        assert "Set-Cookie" not in response.headers
        assert await state(client) == {}


# --- the rest


async def test_it_works_under_asgi_as_well() -> None:
    """With sanic-testing's client, which calls the application as an ASGI server does."""
    app = application(manager())

    _, first = await app.asgi_client.get("https://localhost/login")
    cookie = first.headers["set-cookie"].partition(";")[0]
    _, second = await app.asgi_client.get("https://localhost/stream", headers={"cookie": cookie})
    _, big = await app.asgi_client.get("https://localhost/big-stream")

    assert cookie.startswith("__Host-Http-session=")
    assert second.text == "ab"
    assert second.headers["vary"] == "Cookie"
    assert big.status == 500


@pytest.mark.slow
async def test_it_works_after_sanic_has_rewritten_itself() -> None:
    """In production Sanic compiles its own methods anew without the signals that nobody listens to: in a process apart."""
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.frameworks.test_sanic import application, plain, serve, state, stored

async def main():
    async with serve(application(plain(stored())), touchup=True) as client:
        await client.get("/write")
        failed = await client.get("/fail")
        await (await client.get("/stream")).read()
        print(failed.status, "Set-Cookie" in failed.headers, await state(client))

asyncio.run(main())
"""

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    kept = {"n": 1, "nested": {"list": [1]}, "streamed": 1, "late": 1}
    assert output.decode().strip() == f"500 False {kept}"


async def test_a_redirect_carries_the_cookie(sessions: SessionManager) -> None:
    """It is a response."""

    async def away(request: AnyRequest) -> HTTPResponse:
        get_session(request)["seen"] = 1
        return redirect("/read")

    async with serve(application(sessions, away=away)) as client:
        response = await client.get("/away")

        assert await response.json() == {"seen": 1}


async def test_a_missing_setup_is_named() -> None:
    """Also where requests reach hooks without a session."""

    async def look(request: AnyRequest) -> HTTPResponse:
        with pytest.raises(ConfigError, match="call setup"):
            get_session(request)
        return text("named")

    async with serve(application(look=look)) as client:
        assert await (await client.get("/look")).text() == "named"


@pytest.mark.parametrize("path", ["/untouched", "/bare-ws", "/failing-ws", "/fail"])
async def test_a_request_that_another_middleware_answers_first_has_no_session(path: str) -> None:
    """One that runs before ours; the hooks leave it alone."""
    app = application(plain())

    async def barrier(request: AnyRequest) -> HTTPResponse | None:
        if path == "/fail":
            raise Forbidden
        return text("closed") if path == "/untouched" else None

    async def forget(request: AnyRequest) -> None:
        del request.ctx.hardtack

    async def failing(request: AnyRequest, ws: Websocket) -> None:
        await ws.send("hello")
        raise Unplanned

    app.add_websocket_route(failing, "/failing-ws")
    app.register_middleware(barrier, "request", priority=2000)
    app.register_middleware(forget, "request", priority=0)

    async with serve(app) as client:
        if path in ("/bare-ws", "/failing-ws"):
            async with client.ws_connect(path) as ws:
                assert await ws.receive_str() == "hello"
                await ws.receive()
            return
        response = await client.get(path)

    assert response.status == (200 if path == "/untouched" else 403)
    assert "Vary" not in response.headers


async def test_setting_up_twice_is_refused() -> None:
    """Each session would set a cookie."""
    app = application(plain())

    with pytest.raises(ConfigError, match="already"):
        setup(app, plain())


async def test_what_is_no_manager_is_refused() -> None:
    """The error names what is missing."""
    with pytest.raises(ConfigError, match="takes a SessionManager, not str"):
        setup(application(), "secret")  # type: ignore[arg-type]


async def test_a_secure_cookie_on_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A browser drops it without a word."""
    async with serve(application(manager())) as client:
        with caplog.at_level(logging.WARNING, "hardtack"):
            await client.get("/write", headers={"Host": "example.org"})

    assert "Secure session cookie" in caplog.text


async def test_the_example_runs() -> None:
    """A visit, a login with its greeting, a logout."""
    app = runpy.run_path(str(ROOT / "examples/sanic/app.py"))["app"]

    async with serve(app) as client:
        assert "stranger, this is visit 1" in await (await client.get("/")).text()
        page = await (await client.post("/login", data={"user": "<ann>"})).text()
        assert "Welcome." in page
        assert "&lt;ann&gt;, this is visit 2" in page
        assert "stranger, this is visit 1" in await (await client.post("/logout")).text()


async def test_without_sanic_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    without("sanic", "sanic", monkeypatch)

    with pytest.raises(ImportError, match=r"hardtack\[sanic\]"):
        import hardtack.frameworks.sanic  # noqa: F401

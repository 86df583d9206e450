"""aiohttp, driven by its own test client over a real socket: streams, websockets, errors, and the API of aiohttp-session."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import runpy
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp_session
import aiohttp_session.cookie_storage
import msgspec
import pytest
from aiohttp import CookieJar, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from cryptography.fernet import Fernet
from tests.frameworks.async_kit import READS, WRITES, AsyncMemoryStore, FailingStore, manager, plain, stored, without

from hardtack import CookieEngine, Key, SessionManager, StoreEngine
from hardtack.errors import ConfigError, SessionFinished, SessionTooLarge, StoreUnavailable
from hardtack.events import CacheControlReplaced, Event, LateWrite
from hardtack.frameworks.aiohttp import (
    KEY,
    AbstractStorage,
    EncryptedCookieStorage,
    Session,
    SetupError,
    SimpleCookieStorage,
    get_session,
    new_session,
    session_middleware,
    setup,
)

pytestmark = pytest.mark.asyncio

ROOT = Path(__file__).parents[2]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Client = TestClient[web.Request, web.Application]


class Unplanned(Exception):
    """What nobody handles."""


async def untouched(request: web.Request) -> web.Response:
    assert request[KEY] is not None
    return web.Response()


async def read(request: web.Request) -> web.Response:
    return web.json_response(dict(await get_session(request)))


async def write(request: web.Request) -> web.Response:
    session = await get_session(request)
    session["n"] = session.get("n", 0) + 1
    session.setdefault("nested", {"list": []})["list"].append(session["n"])
    return web.Response()


async def login(request: web.Request) -> web.Response:
    request[KEY].login("ann")
    request[KEY].flash("welcome")
    return web.Response()


async def flashes(request: web.Request) -> web.Response:
    return web.json_response([str(message) for message in request[KEY].flashes()])


async def logout(request: web.Request) -> web.Response:
    request[KEY].logout()
    return web.Response()


async def big(request: web.Request) -> web.Response:
    request[KEY]["big"] = "x" * 10_000
    return web.Response(text="unreached")


async def fail(request: web.Request) -> web.Response:
    request[KEY]["failed"] = 1
    raise Unplanned


async def redirect(request: web.Request) -> web.Response:
    request[KEY]["seen"] = 1
    raise web.HTTPFound("/read")


async def bad_gateway(request: web.Request) -> web.Response:
    request[KEY]["seen"] = 1
    return web.Response(status=502)


async def stream(request: web.Request) -> web.StreamResponse:
    request[KEY]["streamed"] = 1
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"a")
    request[KEY]["late"] = 1
    await response.write(b"b")
    return response


async def broken_stream(request: web.Request) -> web.StreamResponse:
    request[KEY]["begun"] = 1
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"a")
    request[KEY]["late"] = 1
    raise Unplanned


async def big_stream(request: web.Request) -> web.StreamResponse:
    request[KEY]["big"] = "x" * 10_000
    response = web.StreamResponse()
    response.enable_compression(web.ContentCoding.gzip)
    await response.prepare(request)
    raise AssertionError("unreached")


async def file(request: web.Request) -> web.StreamResponse:
    request[KEY]["n"] = 1
    return web.FileResponse(__file__)


async def public(request: web.Request) -> web.Response:
    request[KEY]["n"] = 1
    return web.Response(headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})


async def nothing(request: web.Request) -> web.Response:
    request[KEY]["n"] = 1
    return None  # type: ignore[return-value]


async def socket(request: web.Request) -> web.WebSocketResponse:
    request[KEY]["n"] = request[KEY].get("n", 0) + 1
    response = web.WebSocketResponse()
    await response.prepare(request)
    request[KEY]["late"] = 1
    message = await response.receive_str()
    if message == "fail":
        raise Unplanned
    await response.close()
    return response


HANDLERS: dict[str, Handler] = {
    "untouched": untouched,
    "read": read,
    "write": write,
    "login": login,
    "flashes": flashes,
    "logout": logout,
    "big": big,
    "fail": fail,
    "redirect": redirect,
    "bad-gateway": bad_gateway,
    "stream": stream,
    "broken-stream": broken_stream,
    "big-stream": big_stream,
    "file": file,
    "public": public,
    "nothing": nothing,
    "ws": socket,
}


def application(sessions: Any = None, **more: Handler) -> web.Application:
    """An application with all the handlers; without sessions none are set up."""
    app = web.Application()
    if sessions is not None:
        setup(app, sessions)
    for name, handler in {**HANDLERS, **more}.items():
        app.router.add_get(f"/{name}", handler)
    return app


@asynccontextmanager
async def serve(app: web.Application) -> AsyncIterator[Client]:
    """A client of the application, which runs on a port of this machine."""
    client = TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True))
    await client.start_server()
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(params=["cookie", "store", "async store"])
def sessions(request: pytest.FixtureRequest) -> SessionManager:
    engines = {"cookie": None, "store": stored(), "async store": stored(AsyncMemoryStore())}
    return plain(engines[request.param])


async def state(client: Client) -> Any:
    return await (await client.get("/read")).json()


# --- what a handler does


async def test_a_session_that_nobody_touches_costs_no_header(sessions: SessionManager) -> None:
    """`request[KEY]` alone neither reads nor writes."""
    async with serve(application(sessions)) as client:
        await client.get("/write")
        response = await client.get("/untouched")

    assert not {"Set-Cookie", "Vary", "Cache-Control"} & set(response.headers)


def _dumps(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _fast_json(request: web.Request) -> web.Response:
    return web.json_response({"session": dict(await get_session(request))}, dumps=_dumps)


async def test_a_session_can_be_answered_as_json(sessions: SessionManager) -> None:
    """As the plain dict of what it holds, by any encoder, be there a session or not."""
    async with serve(application(sessions, fast=_fast_json)) as client:
        empty = await (await client.get("/fast")).json()
        await client.get("/write")
        full = await (await client.get("/fast")).json()

    assert empty == {"session": {}}
    assert full["session"]["n"] == 1


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
    """It is hardtack's session, whatever else it can do."""
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


async def test_a_response_of_502_is_committed(sessions: SessionManager) -> None:
    """Any response that the application makes is."""
    async with serve(application(sessions)) as client:
        await client.get("/bad-gateway")

        assert await state(client) == {"seen": 1}


async def test_a_raised_response_is_committed(sessions: SessionManager) -> None:
    """`raise web.HTTPFound` is a response."""
    async with serve(application(sessions)) as client:
        response = await client.get("/redirect")

        assert await response.json() == {"seen": 1}


@pytest.mark.parametrize("path", ["/fail", "/nothing"])
async def test_an_exception_saves_nothing(sessions: SessionManager, path: str) -> None:
    """Nor does a handler that returns no response."""
    async with serve(application(sessions)) as client:
        await client.get("/write")
        response = await client.get(path)

        assert response.status == 500
        assert "Set-Cookie" not in response.headers
        assert (await state(client))["n"] == 1


async def test_an_error_page_of_another_middleware_carries_the_cookie() -> None:
    """A middleware around the session may answer with another response object; an exception still saves nothing."""

    @web.middleware
    async def pages(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPFound:
            return web.Response(text="page")
        except Unplanned:
            return web.Response(text="sorry", status=500)
        return response

    app = application(plain())
    app.middlewares.insert(0, pages)

    async with serve(app) as client:
        await client.get("/redirect")
        response = await client.get("/fail")

        assert "Set-Cookie" not in response.headers
        assert await state(client) == {"seen": 1}


async def test_an_error_page_of_a_middleware_inside_is_committed(sessions: SessionManager) -> None:
    """It is a response of the application, like any other."""

    @web.middleware
    async def pages(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except Unplanned:
            return web.Response(text="sorry", status=500)
        return response

    app = application(sessions)
    app.middlewares.append(pages)

    async with serve(app) as client:
        response = await client.get("/fail")

        assert response.status == 500
        assert await state(client) == {"failed": 1}


async def test_other_middlewares_see_the_session_whenever_they_were_added() -> None:
    """`setup` makes ours the outermost."""

    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        request[KEY]["after"] = 1
        return response

    app = web.Application(middlewares=[count])
    setup(app, plain())
    app.router.add_get("/read", read)

    async with serve(app) as client:
        await client.get("/read")

        assert await state(client) == {"after": 1}


async def test_a_sub_application_shares_the_session(sessions: SessionManager) -> None:
    """Also where it was set up with the same manager itself."""
    app, admin = application(sessions), web.Application()
    setup(admin, sessions)
    admin.router.add_get("/write", write)
    app.add_subapp("/admin", admin)

    async with serve(app) as client:
        response = await client.get("/admin/write")

        assert len(response.headers.getall("Set-Cookie")) == 1
        assert (await state(client))["n"] == 1


async def test_two_managers_on_one_request_are_refused() -> None:
    """Each would set a cookie of its own."""
    app, admin = application(plain()), web.Application()
    setup(admin, plain())
    admin.router.add_get("/write", write)
    app.add_subapp("/admin", admin)

    async with serve(app) as client:
        assert (await client.get("/admin/write")).status == 500


async def test_a_path_that_is_not_there_is_a_404(sessions: SessionManager) -> None:
    """The session does not get in its way."""
    async with serve(application(sessions)) as client:
        assert (await client.get("/nowhere")).status == 404


# --- bodies and websockets


async def test_a_stream_carries_the_cookie(sessions: SessionManager) -> None:
    """What was changed before it began goes with its headers; what came later needs a store and a cookie."""
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
        await client.get("/broken-stream")

        assert {"begun", "late"} & set(await state(client)) == {"begun"}


async def test_a_file_carries_the_cookie(sessions: SessionManager) -> None:
    """aiohttp sends it past the handler."""
    async with serve(application(sessions)) as client:
        response = await client.get("/file")

        assert await response.read() == Path(__file__).read_bytes()
        assert await state(client) == {"n": 1}


async def test_a_websocket_sets_its_cookie_with_the_handshake(sessions: SessionManager) -> None:
    """The handshake is a response like others, without what caches read."""
    async with serve(application(sessions)) as client:
        async with client.ws_connect("/ws") as ws:
            headers = ws._response.headers
            await ws.send_str("bye")
            assert (await ws.receive()).type is WSMsgType.CLOSE

        assert "Vary" not in headers
        assert (await state(client))["n"] == 1


@pytest.mark.parametrize(("command", "late"), [("bye", True), ("fail", False)])
async def test_a_websocket_saves_late_changes_in_a_store(command: str, late: bool) -> None:
    """They need no cookie; an exception saves nothing more."""
    async with serve(application(plain(stored()))) as client:
        await client.get("/write")
        async with client.ws_connect("/ws") as ws:
            await ws.send_str(command)
            await ws.receive()

        assert ("late" in await state(client)) is late


# --- sessions that cannot be loaded or saved


@pytest.mark.parametrize("path", ["/big", "/big-stream"])
async def test_a_session_that_is_too_large_is_a_500(path: str) -> None:
    """It is known before the response begins, also where a stream had set it up for compression and chunks."""
    async with serve(application(plain())) as client:
        response = await client.get(path)

        assert response.status == 500
        assert "Set-Cookie" not in response.headers
        assert "Internal Server Error" in await response.text()


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_page_after_a_failed_commit_saves_nothing_and_is_nobody_elses(streamed: bool) -> None:
    """Half of what the handler wanted would be worse than nothing; and what the page shows may be of the session."""

    async def caught(request: web.Request) -> web.StreamResponse:
        session = request[KEY]
        session["big"] = "x" * 10_000
        try:
            await web.StreamResponse().prepare(request)
        except SessionTooLarge:
            del session["big"]
            session["less"] = 1
        page = web.json_response(dict(session), headers={"Cache-Control": "max-age=60"})
        if streamed:
            await page.prepare(request)
        return page

    sessions = plain()

    async with serve(application(sessions, caught=caught)) as client:
        response = await client.get("/caught")

        assert await response.json() == {"less": 1}
        assert response.headers["Vary"] == "Cookie"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "Set-Cookie" not in response.headers


async def test_a_large_session_is_chunked() -> None:
    """Where the engine may; a server takes some 8 KB of headers."""

    async def large(request: web.Request) -> web.Response:
        request[KEY]["large"] = "x" * 5000
        return web.Response()

    sessions = plain(CookieEngine(Key.generate(), overflow="chunk"))

    async with serve(application(sessions, large=large)) as client:
        response = await client.get("/large")

        assert len(response.headers.getall("Set-Cookie")) == 2
        assert len((await state(client))["large"]) == 5000


@pytest.mark.parametrize("path", ["/read", "/write", "/stream"])
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


async def test_a_logout_in_a_stream_that_fails_ends_what_is_stored() -> None:
    """Its headers have left with the cookie as it was; that opens nothing any more."""

    async def leave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        request[KEY].logout()
        raise Unplanned

    async with serve(application(plain(stored()), leave=leave)) as client:
        await client.get("/write")
        await client.get("/leave")

        assert await state(client) == {}


@pytest.mark.parametrize("setup_app", [True, False])
async def test_a_body_that_is_made_while_it_is_sent_may_change_what_is_stored(setup_app: bool) -> None:
    """The request is over after it, and not when the handler has returned; from then on the session can only be read."""
    kept: list[Session] = []

    async def generate(request: web.Request) -> web.Response:
        session = request[KEY]
        session["begun"] = 1
        kept.append(session)

        async def body() -> AsyncIterator[bytes]:
            yield b"a"
            session["late"] = 1
            yield b"b"

        return web.Response(body=body())

    sessions = plain(stored())
    app = application(sessions if setup_app else None, generate=generate)
    if not setup_app:
        app.middlewares.append(session_middleware(sessions))

    async with serve(app) as client:
        await client.get("/write")
        response = await client.get("/generate")

        assert await response.text() == "ab"
        assert (await state(client))["late"] == 1
        with pytest.raises(SessionFinished):
            kept[0]["later"] = 1


async def test_a_handler_that_fails_after_its_save_was_refused_saves_nothing() -> None:
    """Its session can only be read from then on."""
    kept: list[Session] = []

    async def keep(request: web.Request) -> web.StreamResponse:
        kept.append(request[KEY])
        kept[0]["big"] = "x" * 10_000
        with contextlib.suppress(SessionTooLarge):
            await web.StreamResponse().prepare(request)
        raise Unplanned

    async with serve(application(plain(), kept=keep)) as client:
        response = await client.get("/kept")

        assert response.status == 500
        assert "Set-Cookie" not in response.headers
        with pytest.raises(SessionFinished):
            kept[0]["n"] = 6


@pytest.mark.parametrize("path", ["/kept", "/kept-stream"])
async def test_a_session_whose_save_was_refused_is_not_saved_later(path: str) -> None:
    """The client was told of an error: a task that goes on with the session is told, too."""
    store = FailingStore()
    kept: list[Session] = []

    async def keep(request: web.Request) -> web.StreamResponse:
        kept.append(await get_session(request))
        request[KEY]["n"] = 5
        response = web.StreamResponse() if path == "/kept-stream" else web.Response()
        if path == "/kept-stream":
            with contextlib.suppress(StoreUnavailable):
                await response.prepare(request)
            store.down = frozenset()
            response = web.Response(status=502)
            await response.prepare(request)
        return response

    app = application(plain(stored(store)), kept=keep)
    app.router.add_get("/kept-stream", keep)
    async with serve(app) as client:
        await client.get("/write")
        store.down = WRITES
        response = await client.get(path)
        store.down = frozenset()

        assert response.status == (503 if path == "/kept" else 502)
        with pytest.raises(SessionFinished):
            kept[0]["n"] = 6
        assert (await state(client))["n"] == 1


@pytest.mark.parametrize("down", [READS, WRITES])
async def test_a_websocket_without_a_store_is_refused(down: frozenset[str]) -> None:
    """The handshake is answered with 503."""
    store = FailingStore()

    async with serve(application(plain(stored(store)))) as client:
        await client.get("/write")
        store.down = down
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.ws_connect("/ws")

    assert caught.value.status == 503


@pytest.mark.parametrize("setup_app", [True, False])
async def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie(setup_app: bool) -> None:
    """The 503 carries the line."""
    store = FailingStore()
    sessions = plain(stored(store))
    app = application(sessions if setup_app else None)
    if not setup_app:
        app.middlewares.append(session_middleware(sessions))

    async with serve(app) as client:
        await client.get("/login")
        store.down = WRITES
        response = await client.get("/logout")

    assert response.status == 503
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

    async def slow(request: web.Request) -> web.Response:
        session = await get_session(request)
        assert session["n"] == 1
        await both.wait()
        session[request.query["key"]] = 1
        return web.Response()

    async with serve(application(plain(stored()), slow=slow)) as client:
        await client.get("/write")
        await asyncio.gather(client.get("/slow?key=mine"), client.get("/slow?key=theirs"))

        assert {"mine", "theirs"} <= set(await state(client))


async def test_a_write_after_logout_revives_nothing() -> None:
    """And sets no cookie."""
    entered, gate = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        request[KEY]["slow"] = 1
        entered.set()
        await gate.wait()
        return web.Response()

    async with serve(application(plain(stored()), slow=slow)) as client:
        await client.get("/write")
        task = asyncio.create_task(client.get("/slow"))
        await entered.wait()
        await client.get("/logout")
        gate.set()
        response = await task

        assert "Set-Cookie" not in response.headers
        assert await state(client) == {}


# --- the middleware alone


async def test_the_middleware_alone_commits_plain_responses(sessions: SessionManager) -> None:
    """`web.Application(middlewares=[session_middleware(…)])`, as with aiohttp-session."""
    app = application()
    app.middlewares.append(session_middleware(sessions))

    async with serve(app) as client:
        await client.get("/redirect")

        assert await state(client) == {"seen": 1}


@pytest.mark.parametrize(("path", "lost"), [("/stream", True), ("/quiet", False)])
async def test_the_middleware_alone_says_what_it_cannot_save(path: str, lost: bool) -> None:
    """A stream has left when it gets its turn."""

    async def quiet(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    events: list[Event] = []
    app = application(quiet=quiet)
    app.middlewares.append(session_middleware(plain(on_event=events.append)))

    async with serve(app) as client:
        await (await client.get(path)).read()

    assert (LateWrite in map(type, events)) is lost


# --- the API of aiohttp-session


async def test_what_aiohttp_session_calls_a_session() -> None:
    """Its members say what they say there, of a session that has a manager."""
    seen: list[Any] = []

    async def look(request: web.Request) -> web.Response:
        session = await get_session(request)
        seen.append((session.new, session.identity, session.empty, session.created, session._changed, repr(session)))
        session["n"] = 1
        return web.Response()

    now = int(time.time())
    async with serve(application(plain(stored()), look=look)) as client:
        await client.get("/look")
        await client.get("/look")

    (new, identity, empty, created, changed, shown), again = seen
    assert (new, identity, empty, changed) == (True, None, True, False)
    assert now <= created <= now + 5
    assert shown == f"<Session [new:True, changed:False, created:{created}] {{}}>"
    assert (again[0], len(again[1]), again[2], again[4]) == (False, 43, False, False)


async def test_invalidate_ends_the_session(sessions: SessionManager) -> None:
    """And what is put in afterwards is of a new one."""

    async def invalidate(request: web.Request) -> web.Response:
        session = await get_session(request)
        session.invalidate()
        session["fresh"] = 1
        return web.Response()

    async with serve(application(sessions, invalidate=invalidate)) as client:
        await client.get("/write")
        await client.get("/invalidate")

        assert await state(client) == {"fresh": 1}


async def test_new_session_replaces_the_old_one(sessions: SessionManager) -> None:
    """What aiohttp-session's users call at login, against session fixation."""

    async def renew(request: web.Request) -> web.Response:
        session = await new_session(request)
        session["user"] = "ann"
        return web.Response()

    async with serve(application(sessions, renew=renew)) as client:
        before = (await client.get("/write")).cookies["session"].value
        after = (await client.get("/renew")).cookies["session"].value

        assert before != after
        assert await state(client) == {"user": "ann"}


async def test_extensions_of_aiohttp_session_find_the_session(sessions: SessionManager) -> None:
    """They ask aiohttp-session for it, as aiohttp-security does."""

    async def remember(request: web.Request) -> web.Response:
        identity: Any = await aiohttp_session.get_session(request)
        identity["AIOHTTP_SECURITY"] = "ann"
        return web.Response()

    async with serve(application(sessions, remember=remember)) as client:
        for _ in range(2):
            assert (await client.get("/remember")).status == 200

        assert await state(client) == {"AIOHTTP_SECURITY": "ann"}


async def test_changed_forces_a_save() -> None:
    """Nested changes need it no more; it does no harm."""

    async def touch(request: web.Request) -> web.Response:
        (await get_session(request)).changed()
        return web.Response()

    async with serve(application(plain(), touch=touch)) as client:
        await client.get("/write")

        assert "Set-Cookie" in (await client.get("/touch")).headers


async def test_max_age_is_of_one_session(sessions: SessionManager) -> None:
    """Seconds that it lives and that the browser keeps the cookie; None: until the browser ends."""
    ages: list[int | None] = []

    async def age(request: web.Request) -> web.Response:
        session = await get_session(request)
        ages.append(session.max_age)
        session.max_age = int(request.query["age"]) if "age" in request.query else None
        session["n"] = 1
        return web.Response()

    async with serve(application(sessions, age=age)) as client:
        first = await client.get("/age?age=60")
        second = await client.get("/age")
        await client.get("/age")

    assert ages == [None, 60, None]
    assert "Max-Age=60" in first.headers["Set-Cookie"] or "Max-Age=59" in first.headers["Set-Cookie"]
    assert "Set-Cookie" not in second.headers or "Max-Age" not in second.headers["Set-Cookie"]


async def test_max_age_without_data_is_no_session() -> None:
    """And no late write either."""
    events: list[Event] = []

    async def age(request: web.Request) -> web.StreamResponse:
        (await get_session(request)).max_age = 60
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    async with serve(application(plain(on_event=events.append), age=age)) as client:
        response = await client.get("/age")

    assert "Set-Cookie" not in response.headers
    assert events == []


async def test_max_age_of_a_storage_is_the_default() -> None:
    """The manager says how long where the session does not."""
    storage = EncryptedCookieStorage(Fernet.generate_key(), max_age=90)
    session = await storage.new_session()

    assert session.max_age == 90


async def test_identities_are_hardtacks() -> None:
    """One that comes from anywhere else invites session fixation."""
    session = await SimpleCookieStorage().new_session()

    with pytest.raises(SetupError, match="draws the ids"):
        session.set_new_identity("mine")


async def test_encrypted_cookies_of_aiohttp_session_are_read_and_replaced() -> None:
    """Moving by one import logs nobody out."""
    secret = Fernet.generate_key()
    theirs = web.Application()
    aiohttp_session.setup(theirs, aiohttp_session.cookie_storage.EncryptedCookieStorage(secret.decode()))

    async def old(request: web.Request) -> web.Response:
        (await aiohttp_session.get_session(request))["user"] = "ann"
        return web.Response()

    theirs.router.add_get("/", old)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", web.NotAppKeyWarning)  # aiohttp-session's own key; told once a process
        async with serve(theirs) as client:
            cookie = (await client.get("/")).cookies["AIOHTTP_SESSION"].value

    for form in (
        secret.decode(),
        secret,
        Fernet(secret),
        bytearray(Fernet(secret)._signing_key + Fernet(secret)._encryption_key),
    ):
        async with serve(application(EncryptedCookieStorage(form))) as client:
            client.session.cookie_jar.update_cookies({"AIOHTTP_SESSION": cookie})
            response = await client.get("/read")

            assert await response.json() == {"user": "ann"}
            assert not response.cookies["AIOHTTP_SESSION"].value.startswith("gAAAA")
            assert await state(client) == {"user": "ann"}
            assert "Set-Cookie" not in (await client.get("/read")).headers


async def test_the_drop_in_cookie_has_the_arguments_attributes() -> None:
    """They are named as in aiohttp-session."""
    storage = EncryptedCookieStorage(
        Fernet.generate_key(), cookie_name="sid", path="/a", max_age=60, secure=True, httponly=False, samesite="Strict"
    )

    async with serve(application(storage)) as client:
        line = (await client.get("/write")).headers["Set-Cookie"]

    assert line.startswith("sid=")
    assert line.endswith("; Max-Age=60; Path=/a; Secure; SameSite=Strict")


async def test_encoders_are_refused() -> None:
    """Nothing would call them."""
    with pytest.raises(ConfigError, match="encoder"):
        EncryptedCookieStorage(Fernet.generate_key(), encoder=str)


async def test_the_storage_for_tests_does_not_trust_the_client() -> None:
    """aiohttp-session's SimpleCookieStorage reads any JSON."""
    planted = json.dumps({"created": int(time.time()), "session": {"user": "admin"}})

    async with serve(application(SimpleCookieStorage())) as client:
        await client.get("/write")
        assert (await state(client))["n"] == 1

        client.session.cookie_jar.clear()
        client.session.cookie_jar.update_cookies({"AIOHTTP_SESSION": planted})
        assert await state(client) == {}


async def test_a_managed_storage_can_be_called_as_a_storage() -> None:
    """load_session and save_session do what their names say."""
    storage = SimpleCookieStorage()
    response = web.Response()
    session = await storage.load_session(make_mocked_request("GET", "/"))
    session["n"] = 1

    await storage.save_session(make_mocked_request("GET", "/"), response, session)

    line = response.headers["Set-Cookie"]
    request = make_mocked_request("GET", "/", headers={"Cookie": line.partition(";")[0]})
    assert await storage.load_session(request) == {"n": 1}


class JsonStorage(AbstractStorage):
    """A storage of one's own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.kept: dict[str, Any] = {}

    async def load_session(self, request: web.Request) -> Session:
        identity = self.load_cookie(request)
        data = self.kept.get(identity or "")
        return Session(identity, data=data, new=data is None, max_age=self.max_age)

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        if session.empty:
            self.save_cookie(response, "")
            return
        if session.new:
            session.set_new_identity(f"id{len(self.kept)}")
        self.kept[session.identity] = self._get_session_data(session)
        self.save_cookie(response, session.identity, max_age=session.max_age)


async def test_a_storage_of_ones_own_works_as_before() -> None:
    """It keeps what it always kept."""
    storage = JsonStorage(max_age=60)

    async def limit(request: web.Request) -> web.Response:
        (await get_session(request)).max_age = 5
        (await get_session(request)).changed()
        raise web.HTTPFound("/untouched-by-session")

    async def drop(request: web.Request) -> web.Response:
        (await get_session(request)).invalidate()
        return web.Response()

    async def plain_page(request: web.Request) -> web.Response:
        return web.Response()

    async with serve(
        application(storage, limit=limit, drop=drop, **{"untouched-by-session": plain_page, "write": bump})
    ) as client:
        first = await client.get("/write")
        await client.get("/write")
        limited = await client.get("/limit", allow_redirects=False)
        dropped = await client.get("/drop")

    assert first.cookies["AIOHTTP_SESSION"].value == "id0"
    assert storage.kept["id0"]["session"] == {"n": 2}
    assert limited.cookies["AIOHTTP_SESSION"]["max-age"] == "5"
    assert dropped.cookies["AIOHTTP_SESSION"].value == ""


async def bump(request: web.Request) -> web.Response:
    session = await get_session(request)
    session["n"] = session.get("n", 0) + 1
    return web.Response()


async def test_an_old_session_of_a_storage_of_ones_own_is_empty() -> None:
    """`max_age` runs from its last change."""
    old = int(time.time()) - 100

    assert Session("a", data={"created": old, "session": {"n": 1}}, new=False, max_age=60) == {}
    assert Session("a", data={"created": old, "session": {"n": 1}}, new=False, max_age=600) == {"n": 1}


async def test_a_missing_setup_is_named() -> None:
    """With the error of aiohttp-session, and what to do."""
    request = make_mocked_request("GET", "/")

    for function in (get_session, new_session):
        with pytest.raises(RuntimeError, match="call setup"):
            await function(request)


async def test_what_is_no_storage_is_refused() -> None:
    """By `setup` and by `session_middleware`."""
    with pytest.raises(ConfigError, match="takes a SessionManager or a storage, not str"):
        setup(web.Application(), "secret")  # type: ignore[arg-type]


# --- the rest


async def test_a_secure_cookie_on_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A browser drops it without a word."""
    async with serve(application(manager())) as client:
        with caplog.at_level(logging.WARNING, "hardtack"):
            await client.get("/write", headers={"Host": "example.org"})

    assert "Secure session cookie" in caplog.text


async def test_the_example_runs() -> None:
    """A visit, a login with its greeting, a logout."""
    app = runpy.run_path(str(ROOT / "examples/aiohttp/app.py"))["make_app"]()

    async with serve(app) as client:
        assert "stranger, this is visit 1" in await (await client.get("/")).text()
        page = await (await client.post("/login", data={"user": "<ann>"})).text()
        assert "Welcome." in page
        assert "&lt;ann&gt;, this is visit 2" in page
        assert "stranger, this is visit 1" in await (await client.post("/logout")).text()


async def test_without_aiohttp_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    without("aiohttp", "aiohttp", monkeypatch)

    with pytest.raises(ImportError, match=r"hardtack\[aiohttp\]"):
        import hardtack.frameworks.aiohttp  # noqa: F401

"""Quart: hardtack's manager under it, its own configuration, streams, websockets, and a store that is down."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import quart
from quart import Quart, session, websocket
from quart.signals import got_websocket_exception, websocket_tearing_down
from quart.testing.connections import WebsocketResponseError
from quart.typing import TestClientProtocol as Client
from tests.frameworks.harness import WatchedStore
from tests.frameworks.support import load_example, without
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.wrappers import Response as WerkzeugResponse

from hardtack import Cookie, Key, SessionManager, StoreEngine
from hardtack.errors import SessionTooLarge
from hardtack.events import Event, LateWrite
from hardtack.frameworks.quart import FlaskSession, SessionInterface
from hardtack.protocols import Entry, Version
from hardtack.stores.memory import MemoryStore

SECRET = "a secret of Flask of 32 characters or more"

pytestmark = pytest.mark.anyio

site = quart.Blueprint("site", __name__)
"""The views that every application has."""


@pytest.fixture
def anyio_backend() -> str:
    """Quart runs on asyncio."""
    return "asyncio"


class AsyncStore:
    """A `WatchedStore` that only async code can reach."""

    def __init__(self) -> None:
        self.inner = WatchedStore()

    async def get(self, key: str) -> Entry | None:
        await asyncio.sleep(0)
        return self.inner.get(key)

    async def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        await asyncio.sleep(0)
        return self.inner.put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    async def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        await asyncio.sleep(0)
        return self.inner.delete(key, if_version=if_version)

    async def close(self) -> None:
        self.inner.close()


def application(interface: SessionInterface, **settings: Any) -> Quart:
    app = Quart(__name__)
    app.config.update(settings)
    app.session_interface = interface  # type: ignore[assignment]  # Quart's annotation is that of its default
    app.register_blueprint(site)
    return app


def configured(**settings: Any) -> Quart:
    """An application whose sessions are made from its own configuration."""
    return application(SessionInterface(), SECRET_KEY=SECRET, **settings)


def in_cookies(**options: Any) -> Quart:
    """An application with a manager of encrypted cookies."""
    return application(SessionInterface(SessionManager(Key.generate(), cookie=Cookie.for_development(), **options)))


def on_store(store: Any = None, **options: Any) -> Quart:
    """An application that keeps its sessions in a store."""
    engine = StoreEngine(MemoryStore() if store is None else store)
    return application(SessionInterface(SessionManager(engine, cookie=Cookie.for_development(), **options)))


def on_async_store() -> Quart:
    """An application whose store is async."""
    return on_store(AsyncStore())


@pytest.fixture(
    params=[configured, in_cookies, on_store, on_async_store], ids=["configured", "cookie", "store", "async store"]
)
def app(request: pytest.FixtureRequest) -> Quart:
    """An application with sessions, of each kind."""
    make: Callable[[], Quart] = request.param
    return make()


@pytest.fixture
def client(app: Quart) -> Client:
    """Its client."""
    return app.test_client()


def current() -> FlaskSession:
    proxy: Any = session
    found = proxy._get_current_object()
    assert isinstance(found, FlaskSession)
    return found


@site.get("/nothing")
async def nothing() -> str:
    return ""


@site.get("/set/<key>/<int:value>")
async def assign(key: str, value: int) -> str:
    session[key] = value
    return ""


@site.get("/dump")
async def dump() -> dict[str, Any]:
    return dict(session)


@site.get("/id")
async def identifier() -> str:
    return current().id


@site.get("/basket")
async def basket() -> str:
    session["basket"] = []
    return ""


@site.get("/nested")
async def nested() -> str:
    session["basket"].append("bread")
    return ""


@site.get("/login/<user>")
async def login(user: str) -> str:
    current().login(user)
    return ""


@site.get("/logout")
async def logout() -> str:
    current().destroy()
    return ""


@site.get("/redirect")
async def redirect() -> WerkzeugResponse:
    session["redirected"] = True
    return quart.redirect("/dump")


@site.get("/permanent")
async def permanent() -> str:
    session.permanent = True
    return ""


@site.get("/flash")
async def flash() -> str:
    await quart.flash("hello", "info")
    return ""


@site.get("/flashes")
async def flashes() -> list[Any]:
    return quart.get_flashed_messages(with_categories=True)


@site.get("/late")
async def late() -> quart.Response:
    @quart.stream_with_context
    async def body() -> AsyncIterator[str]:
        yield "a"
        session["late"] = 1
        if "fail" in quart.request.args:
            raise ValueError

    return quart.Response(body())


@site.get("/streamed")
async def streamed() -> quart.Response:
    session["a"] = 1

    async def body() -> AsyncIterator[str]:
        yield "never sent"

    return quart.Response(body())


@site.get("/fail")
async def fail() -> str:
    session["failed"] = True
    raise RuntimeError


@site.get("/handled")
async def handled() -> str:
    session["handled"] = True
    quart.abort(409)


@site.get("/big")
async def big() -> str:
    session["big"] = os.urandom(5000)
    return ""


@site.get("/load")
async def load() -> dict[str, Any]:
    await current().load()
    return dict(session)


@site.websocket("/socket/read")
async def socket_read() -> None:
    await websocket.send(str(session.get("a")))


@site.websocket("/socket/write")
async def socket_write() -> None:
    session["socket"] = await websocket.receive()
    await websocket.send("written")


@site.websocket("/socket/loop")
async def socket_loop() -> None:
    while True:
        session["socket"] = await websocket.receive()
        await websocket.send("written")


@site.websocket("/socket/fail")
async def socket_fail() -> None:
    session["socket"] = await websocket.receive()
    raise RuntimeError


@site.websocket("/socket/refused")
async def socket_refused() -> tuple[str, int]:
    session["refused"] = True
    return "no", 403


async def get(client: Client, path: str) -> quart.Response:
    answer = await client.get(path)
    assert isinstance(answer, quart.Response)
    return answer


async def data_of(client: Client) -> Any:
    return await (await get(client, "/dump")).get_json()


# --- what every kind does


async def test_data_comes_back(client: Client) -> None:
    """What a request puts into the session, the next one finds."""
    await client.get("/set/a/1")

    assert await data_of(client) == {"a": 1}


async def test_an_untouched_session_changes_no_header(client: Client) -> None:
    """A view that does not look at its session gets neither a cookie nor Vary nor Cache-Control."""
    await client.get("/set/a/1")

    answer = await client.get("/nothing")

    assert not {"set-cookie", "vary", "cache-control"} & {name.lower() for name, _ in answer.headers}


async def test_reading_sets_vary_and_no_cookie(client: Client) -> None:
    """A response that depends on the session says so to caches, and is private."""
    await client.get("/set/a/1")

    answer = await client.get("/dump")

    assert answer.headers["Vary"] == "Cookie"
    assert answer.headers["Cache-Control"] == "private"
    assert "Set-Cookie" not in answer.headers


async def test_a_nested_change_is_kept(client: Client) -> None:
    """Appending to a list in the session needs no `session.modified = True`."""
    await client.get("/basket")

    await client.get("/nested")

    assert await data_of(client) == {"basket": ["bread"]}


async def test_flash_messages_are_shown_once(client: Client) -> None:
    """`flash` and `get_flashed_messages` are Quart's own, on hardtack's session."""
    await client.get("/flash")

    assert await (await get(client, "/flashes")).get_json() == [["info", "hello"]]
    assert await (await get(client, "/flashes")).get_json() == []


async def test_login_changes_the_id_and_keeps_the_data(client: Client) -> None:
    """The id that an attacker may have planted before the login is worth nothing after it."""
    await client.get("/set/a/1")
    before = await (await get(client, "/id")).get_data()

    await client.get("/login/ann")

    assert await (await get(client, "/id")).get_data() != before
    assert await data_of(client) == {"a": 1}


async def test_another_user_does_not_get_the_data(client: Client) -> None:
    """Logging in over somebody else's session drops what was in it."""
    await client.get("/login/ann")
    await client.get("/set/a/1")

    await client.get("/login/bob")

    assert await data_of(client) == {}


async def test_logout_clears_the_cookie(client: Client) -> None:
    """After a logout the browser has no session cookie."""
    await client.get("/login/ann")

    answer = await client.get("/logout")

    assert answer.headers["Set-Cookie"].startswith("session=; ")


async def test_a_forged_cookie_is_an_empty_session(client: Client) -> None:
    """Junk in the cookie is no error of the application, and several Cookie headers are read as one."""
    answer = await client.get("/dump", headers=[("Cookie", "session=forged"), ("Cookie", "other=1")])

    assert await answer.get_json() == {}


async def test_an_exception_that_escapes_saves_nothing(client: Client) -> None:
    """What a view did before it failed is not half kept."""
    await client.get("/set/a/1")

    answer = await client.get("/fail")

    assert answer.status_code == 500
    assert "Set-Cookie" not in answer.headers
    assert await data_of(client) == {"a": 1}


@pytest.mark.parametrize("kind", [500, HTTPException, Exception])
async def test_a_page_of_the_application_for_any_error_is_committed(app: Quart, client: Client, kind: Any) -> None:
    """It is a response that the application made, like any other."""

    @app.errorhandler(kind)
    async def page(error: Exception) -> Any:
        quart.session["page"] = 1
        return "sorry", 500

    answer = await client.get("/fail")

    assert answer.status_code == 500
    assert await data_of(client) == {"failed": True, "page": 1}


async def test_a_page_for_any_error_that_cannot_be_committed_is_nobody_elses(app: Quart, client: Client) -> None:
    """It is sent without a cookie, and no cache keeps it."""

    @app.errorhandler(500)
    async def page(error: Exception) -> Any:
        quart.session["page"] = object()
        return "sorry", 500

    answer = await client.get("/fail")

    assert "Set-Cookie" not in answer.headers
    assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("Cookie", "private, no-store")
    assert await data_of(client) == {}


async def test_an_error_that_the_application_answers_is_committed(client: Client) -> None:
    """`abort` makes a response, and the session goes with it."""
    await client.get("/handled")

    assert await data_of(client) == {"handled": True}


async def test_a_redirect_carries_the_session(client: Client) -> None:
    """Quart answers with a werkzeug response there."""
    await client.get("/redirect")

    assert await data_of(client) == {"redirected": True}


async def test_a_test_looks_at_the_flashes_after_the_response(app: Quart) -> None:
    """`async with client:` keeps the context, and `get_flashed_messages()` takes them out there, as with Quart's own."""
    client = app.test_client()
    async with client:
        await client.get("/set/kept/1")
        await client.get("/flash")

        assert quart.get_flashed_messages() == ["hello"]
        session["afterwards"] = 1  # goes nowhere, as with Quart's own
        assert (await data_of(client))["kept"] == 1
        assert "afterwards" not in session


async def test_an_after_request_function_can_change_the_session(app: Quart, client: Client) -> None:
    """The session is saved after them."""

    @app.after_request
    async def change(response: quart.Response) -> quart.Response:
        session["after"] = 1
        return response

    await client.get("/nothing")

    assert await data_of(client) == {"after": 1}


@pytest.mark.parametrize("down", [frozenset[str](), frozenset({"put"})], ids=["up", "down"])
async def test_an_after_request_function_that_fails_saves_nothing(down: frozenset[str]) -> None:
    """Quart does not ask for the session to be saved then; a logout before it is carried out, where the store hears of it."""
    store = WatchedStore()
    app = on_store(store)
    client = app.test_client()
    await client.get("/set/a/1")

    @app.after_request
    async def fail(response: quart.Response) -> quart.Response:
        if quart.request.path == "/logout":
            current().logout()
            store.down = down
            raise ZeroDivisionError
        return response

    @app.get("/logout")
    async def nothing_yet() -> str:
        return ""

    answer = await client.get("/logout")
    store.down = frozenset()

    assert answer.status_code == 500
    assert await data_of(client) == ({"a": 1} if down else {})


@pytest.mark.parametrize("websocket", [False, True])
async def test_a_session_made_by_hand_is_not_saved_without_a_secret_key(websocket: bool) -> None:
    """There is no manager that could."""
    app = configured()
    app.secret_key = None
    response = None if websocket else quart.Response("")
    async with app.test_request_context("/"):
        await app.session_interface.save_session(app, FlaskSession({"n": 1}), response)

    assert response is None or "Set-Cookie" not in response.headers


async def test_a_session_made_by_hand_is_saved() -> None:
    """As Quart's own tests do: the interface that saves it gives it a manager."""
    app = configured()
    response = quart.Response("")
    async with app.test_request_context("/"):
        await app.session_interface.save_session(app, FlaskSession({"n": 1}), response)

    assert response.headers["Set-Cookie"].startswith("session=")


@pytest.mark.parametrize("accessed", [True, False])
async def test_a_session_made_by_hand_may_be_unmodified(accessed: bool) -> None:
    """As Quart's own tests do: what it had when it was declared unmodified is not saved."""
    app = configured()
    response = quart.Response("")
    made = FlaskSession({"n": 1})
    made.accessed = accessed
    made.modified = False
    async with app.test_request_context("/"):
        await app.session_interface.save_session(app, made, response)

    assert "Set-Cookie" not in response.headers
    assert ("Vary" in response.headers) is accessed


async def test_session_transaction_changes_the_session_of_the_client(client: Client) -> None:
    """The test client can prepare a session, and look into one."""
    async with client.session_transaction() as prepared:
        prepared["a"] = [1]

    assert await data_of(client) == {"a": [1]}
    async with client.session_transaction() as found:
        assert found["a"] == [1]


async def test_a_websocket_reads_the_session(client: Client) -> None:
    """The handshake carries the cookie."""
    answer = await client.get("/set/a/1")

    async with client.websocket("/socket/read", headers=_cookie(answer)) as socket:
        assert await socket.receive() == "1"


async def test_a_websocket_that_is_refused_can_set_the_cookie(client: Client) -> None:
    """Its answer is an ordinary response."""
    with pytest.raises(WebsocketResponseError) as refused:
        async with client.websocket("/socket/refused") as socket:
            await socket.receive()

    assert refused.value.response.headers["Set-Cookie"].startswith("session=")


def _cookie(answer: Any) -> dict[str, str]:
    """The header that a browser sends after this answer; the test client keeps its cookies from websockets."""
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


# --- websockets and streams


@pytest.mark.parametrize("path", ["/socket/write", "/socket/loop"])
async def test_a_websocket_saves_a_stored_session(path: str) -> None:
    """When its view ends, and when the client leaves."""
    client = on_async_store().test_client()
    answer = await client.get("/set/a/1")

    async with client.websocket(path, headers=_cookie(answer)) as socket:
        await socket.send("hello")
        assert await socket.receive() == "written"

    assert await data_of(client) == {"a": 1, "socket": "hello"}


async def test_a_websocket_that_fails_saves_nothing() -> None:
    """An exception that escapes the view, here as with requests."""
    app = on_store()
    client = app.test_client()
    answer = await client.get("/set/a/1")
    failed = asyncio.Event()

    async def fails(sender: Quart, **details: Any) -> None:
        failed.set()

    with got_websocket_exception.connected_to(fails, app):
        async with client.websocket("/socket/fail", headers=_cookie(answer)) as socket:
            await socket.send("hello")
            await asyncio.wait_for(failed.wait(), 10)

    assert await data_of(client) == {"a": 1}


async def test_a_websocket_cannot_change_a_cookie() -> None:
    """There is no response that could carry it: the event says that the change is lost."""
    events: list[Event] = []
    client = in_cookies(on_event=events.append).test_client()

    async with client.websocket("/socket/write") as socket:
        await socket.send("hello")
        await socket.receive()

    assert [event for event in events if isinstance(event, LateWrite)]


async def test_a_stream_can_change_a_stored_session() -> None:
    """What needs no new cookie is saved after the body."""
    client = on_async_store().test_client()
    await client.get("/set/a/1")

    await client.get("/late")

    assert await data_of(client) == {"a": 1, "late": 1}


async def test_a_stream_that_fails_changes_nothing() -> None:
    """Like a view that fails."""
    client = on_async_store().test_client()
    await client.get("/set/a/1")

    with pytest.raises((ValueError, ExceptionGroup)):  # Quart 0.23 has a group of tasks for each request
        await client.get("/late?fail")

    assert await data_of(client) == {"a": 1}


async def test_a_late_change_of_a_cookie_session_is_told() -> None:
    """A cookie cannot follow the headers."""
    events: list[Event] = []
    client = in_cookies(on_event=events.append).test_client()
    await client.get("/set/a/1")

    await client.get("/late")

    assert [event for event in events if isinstance(event, LateWrite)]


# --- a store that is down


async def test_a_store_that_is_down_is_a_503_where_the_session_is_read() -> None:
    """A view that needs no session still answers."""
    store = AsyncStore()
    client = on_store(store).test_client()
    await client.get("/set/a/1")
    store.inner.down = frozenset({"get"})

    answer = await client.get("/dump")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert (await client.get("/nothing")).status_code == 200
    assert (await client.get("/load")).status_code == 503


async def test_a_store_that_comes_back_is_asked_by_the_next_request() -> None:
    """One request asks it once, `await session.load()` too: a part of it would know the user, and another would not."""
    store = AsyncStore()
    app = on_store(store)
    client = app.test_client()
    await client.get("/set/a/1")

    @app.before_request
    async def recover() -> None:
        store.inner.down = frozenset()

    store.inner.down = frozenset({"get"})

    assert (await client.get("/load")).status_code == 503
    assert await (await get(client, "/load")).get_json() == {"a": 1}


@pytest.mark.parametrize("path", ["/set/a/1", "/streamed", "/redirect"])
async def test_a_store_that_is_down_is_a_503_when_the_session_is_saved(path: str) -> None:
    """The response of the view is replaced: it would promise what was not saved."""
    store = AsyncStore()
    client = on_store(store).test_client()
    store.inner.down = frozenset({"put"})

    answer = await get(client, path)

    assert answer.status_code == 503
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers
    assert "cannot be reached" in await answer.get_data(as_text=True)


async def test_a_logout_without_the_store_still_clears_the_cookie() -> None:
    """The browser forgets the session even if the store did not hear of it."""
    store = AsyncStore()
    client = on_store(store).test_client()
    await client.get("/login/ann")
    store.inner.down = frozenset({"put", "delete"})

    answer = await client.get("/logout")

    assert answer.status_code == 503
    assert answer.headers["Set-Cookie"].startswith("session=; ")


async def test_the_applications_own_page_for_a_503_is_used() -> None:
    """An error handler for ServiceUnavailable answers, whether loading or saving failed."""
    store = AsyncStore()
    app = on_store(store)

    @app.errorhandler(ServiceUnavailable)
    async def unavailable(error: Exception) -> tuple[str, int]:
        return "come again", 503

    client = app.test_client()
    await client.get("/set/a/1")

    store.inner.down = frozenset({"get"})
    assert await (await get(client, "/dump")).get_data(as_text=True) == "come again"
    store.inner.down = frozenset({"put"})
    assert await (await get(client, "/set/a/2")).get_data(as_text=True) == "come again"


async def test_a_session_that_is_too_large_is_an_error_of_the_application() -> None:
    """It is raised while there is still time to answer 500."""
    failures: list[Exception] = []
    app = in_cookies()

    async def note(sender: Quart, exception: Exception) -> None:
        failures.append(exception)

    with quart.got_request_exception.connected_to(note, app):
        answer = await app.test_client().get("/big")

    assert answer.status_code == 500
    assert [type(failure) for failure in failures] == [SessionTooLarge]


async def test_the_page_after_a_failed_commit_depends_on_the_cookie() -> None:
    """It may show what is in the session, so no cache gives it to somebody else."""
    app = in_cookies()

    @app.errorhandler(500)
    async def page(error: Exception) -> Any:
        return str(quart.session.get("a")), 404, {"Cache-Control": "max-age=60"}

    client = app.test_client()
    await client.get("/set/a/1")

    answer = await client.get("/big")

    assert (answer.status_code, await answer.get_data(as_text=True)) == (404, "1")
    assert answer.headers["Vary"] == "Cookie"


# --- the configuration


async def test_without_a_secret_key_there_is_a_null_session() -> None:
    """Quart's own behaviour: reading works, writing explains itself."""
    app = configured()
    app.secret_key = None

    assert await data_of(app.test_client()) == {}
    assert (await app.test_client().get("/set/a/1")).status_code == 500
    async with app.test_client().websocket("/socket/read") as socket:
        assert await socket.receive() == "None"


async def test_a_failure_without_a_session_is_a_failure() -> None:
    """Quart's null session has nothing to abandon."""
    app = configured()
    app.secret_key = None

    assert (await app.test_client().get("/fail")).status_code == 500


async def test_a_secret_that_is_taken_away_within_a_request() -> None:
    """A suite does so within a context whose session was used; the end of that is no error."""
    app = configured()

    async with app.test_request_context("/"):
        session["a"] = 1
        app.secret_key = None


@pytest.mark.parametrize("fails", [False, True])
async def test_a_secret_that_is_taken_away_while_a_websocket_is_open(fails: bool) -> None:
    """Neither the end by a client that leaves, nor that by a view that fails, is another error."""
    app = configured()
    ends: list[BaseException | None] = []
    ended = asyncio.Event()

    @app.websocket("/taken")
    async def taken() -> None:
        session["a"] = 1
        app.secret_key = None
        await websocket.send("taken")
        if fails:
            raise RuntimeError
        await websocket.receive()

    async def end(sender: Quart, exc: BaseException | None = None, **details: Any) -> None:
        ends.append(exc)
        ended.set()

    with websocket_tearing_down.connected_to(end, app):
        async with app.test_client().websocket("/taken") as socket:
            assert await socket.receive() == "taken"
            if fails:
                await asyncio.wait_for(ended.wait(), 10)
        await asyncio.wait_for(ended.wait(), 10)

    assert [type(each) for each in ends] == [type(None) if fails else asyncio.CancelledError]


async def test_a_permanent_session_is_refreshed_by_each_response() -> None:
    """SESSION_REFRESH_EACH_REQUEST, which is on, also where the view did not look at the session."""
    client = configured(PERMANENT_SESSION_LIFETIME=3600).test_client()
    await client.get("/permanent")

    answer = await client.get("/nothing")

    assert "Max-Age=3600" in answer.headers["Set-Cookie"]


async def test_flask_and_quart_read_each_others_sessions() -> None:
    """One SECRET_KEY, one cookie: as with the frameworks' own sessions."""
    import flask

    from hardtack.frameworks.flask import SessionInterface as FlaskInterface

    other = flask.Flask(__name__)
    other.secret_key = SECRET
    other.session_interface = FlaskInterface()
    answer = await configured().test_client().get("/set/a/1")

    with other.test_request_context(headers=_cookie(answer)):
        assert dict(flask.session) == {"a": 1}


async def test_a_secure_cookie_on_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Browsers drop such a cookie without a word."""
    app = application(SessionInterface(SessionManager(Key.generate())))

    await app.test_client().get("/set/a/1", headers={"Host": "shop.example"})

    assert "Secure session cookie" in caplog.text


async def test_the_example_runs() -> None:
    """examples/quart: a page for guests, a login, a logout."""
    client = load_example("quart/app.py").app.test_client()

    assert "Visit 1" in await (await client.get("/")).get_data(as_text=True)
    await client.post("/login", form={"name": "ann"})
    page = await (await client.get("/")).get_data(as_text=True)
    assert "Visit 2" in page
    assert "Hello, ann" in page
    await client.post("/logout")
    assert "Visit 1" in await (await client.get("/")).get_data(as_text=True)


async def test_quart_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra."""
    without("quart", "hardtack.frameworks.quart", monkeypatch)

    with pytest.raises(ImportError, match=r"hardtack\[quart\]"):
        import hardtack.frameworks.quart  # noqa: F401

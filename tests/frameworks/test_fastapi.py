"""FastAPI: the session as a dependency, plain and typed, in endpoints and websockets."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from fastapi.encoders import jsonable_encoder
from fastapi.testclient import TestClient
from starlette.requests import Request
from tests.frameworks.gateway_kit import AsyncMemoryStore, UnreliableStore, cookie_of, data_of, manager

from hardtack import SessionManager
from hardtack.errors import UnsupportedValue
from hardtack.frameworks.fastapi import CurrentSession, SessionMiddleware, Sessions, SessionView
from hardtack.stores.memory import MemoryStore

ROOT = Path(__file__).parents[2]

Client = Callable[[FastAPI], TestClient]


class Item(pydantic.BaseModel):
    """What lies in a cart."""

    sku: str
    quantity: int = 1


class Cart(pydantic.BaseModel):
    """A session as a pydantic model."""

    items: list[Item] = []
    coupon: str | None = None


@dataclasses.dataclass
class Counter:
    """A session as a dataclass."""

    visits: int = 0


class Seen(msgspec.Struct):
    """A session as a Struct."""

    pages: list[str] = msgspec.field(default_factory=list)


@pytest.fixture
def client(anyio_backend_name: Literal["asyncio", "trio"], anyio_backend_options: dict[str, Any]) -> Client:
    """Makes a client of an application, on asyncio and on trio."""
    return lambda app: TestClient(app, backend=anyio_backend_name, backend_options=anyio_backend_options)


@pytest.fixture(params=["cookie", "store", "async store"])
def sessions(request: pytest.FixtureRequest) -> SessionManager:
    """A manager of each engine."""
    store: dict[str, Callable[[], Any]] = {"store": MemoryStore, "async store": AsyncMemoryStore}
    return manager(store.get(request.param, lambda: None)())


def app_of(sessions: SessionManager) -> FastAPI:
    """An application with sessions."""
    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=sessions)
    return app


def test_a_session_as_a_model_is_saved(sessions: SessionManager, client: Client) -> None:
    """Nothing has to be assigned or returned; keys that the model does not have stay."""
    app = app_of(sessions)

    @app.post("/cart/{sku}")
    async def add(sku: str, cart: Annotated[Cart, SessionView(Cart)], session: CurrentSession) -> Cart:
        session["theme"] = "dark"
        cart.items.append(Item(sku=sku))
        return cart

    @app.get("/")
    async def show(session: CurrentSession) -> dict[str, Any]:
        return session

    browser = client(app)
    browser.post("/cart/bread")
    added = browser.post("/cart/cheese").json()

    items = [{"sku": "bread", "quantity": 1}, {"sku": "cheese", "quantity": 1}]
    assert added == {"items": items, "coupon": None}
    assert browser.get("/").json() == {"theme": "dark", "items": items}


def test_a_session_as_a_dataclass_or_a_struct_is_saved(sessions: SessionManager, client: Client) -> None:
    """In endpoints that are not async too, and several views of one session."""
    app = app_of(sessions)

    @app.get("/{page}")
    def visit(
        page: str, counter: Annotated[Counter, SessionView(Counter)], seen: Annotated[Seen, SessionView(Seen)]
    ) -> dict[str, Any]:
        counter.visits += 1
        seen.pages.append(page)
        return {"visits": counter.visits, "pages": seen.pages}

    browser = client(app)
    browser.get("/a")

    assert browser.get("/b").json() == {"visits": 2, "pages": ["a", "b"]}


@pytest.mark.parametrize("data", [{}, {"theme": "dark"}, {"items": [{"sku": "bread"}]}])
def test_a_view_that_is_only_read_sets_no_cookie(data: dict[str, Any], client: Client) -> None:
    """The defaults of its type would else store a session for every visitor."""
    sessions = manager()
    headers = {"cookie": cookie_of(sessions, **data)} if data else {}
    app = app_of(sessions)

    @app.get("/")
    async def show(cart: Annotated[Cart, SessionView(Cart)]) -> int:
        return len(cart.items)

    response = client(app).get("/", headers=headers)

    assert response.json() == len(data.get("items", ()))
    assert "set-cookie" not in response.headers
    assert response.headers["vary"] == "Cookie"


def test_a_view_does_not_undo_what_is_written_beside_it(client: Client) -> None:
    """Only the fields that were changed in the object are taken from it."""
    sessions = manager()
    app = app_of(sessions)

    @app.get("/")
    async def show(session: CurrentSession, cart: Annotated[Cart, SessionView(Cart)]) -> None:
        session["coupon"] = "spring"
        cart.items.append(Item(sku="bread"))

    response = client(app).get("/")

    cookie = response.headers["set-cookie"].partition(";")[0]
    assert data_of(sessions, cookie) == {"coupon": "spring", "items": [{"sku": "bread", "quantity": 1}]}


class Colour(enum.Enum):
    """A type of the application's own, which a session cannot keep."""

    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Design:
    """A view with a default that cannot be kept."""

    colour: Colour = Colour.RED


def test_a_field_that_cannot_be_kept_is_an_error_once_it_is_changed(client: Client) -> None:
    """As long as it is only read, nothing is to be kept."""
    app = app_of(manager())

    @app.get("/{colour}")
    async def paint(colour: int, design: Annotated[Design, SessionView(Design)]) -> None:
        design.colour = Colour(colour)

    browser = client(app)

    assert browser.get("/1").status_code == 200
    with pytest.raises(UnsupportedValue, match="colour"):
        browser.get("/2")


def test_dependencies_see_one_object(client: Client) -> None:
    """A dependency that changes the view and the endpoint work on the same."""
    app = app_of(manager())

    def counted(counter: Annotated[Counter, SessionView(Counter)]) -> None:
        counter.visits += 1

    @app.get("/", dependencies=[Depends(counted)])
    async def show(counter: Annotated[Counter, SessionView(Counter)]) -> int:
        return counter.visits

    browser = client(app)

    assert [browser.get("/").json() for _ in range(2)] == [1, 2]


def test_a_dependency_with_yield_ends_too_late_to_set_a_cookie(client: Client) -> None:
    """FastAPI runs what follows `yield` after the response; in a store it is saved all the same."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)
    app = app_of(sessions)

    def late(session: CurrentSession) -> Iterator[None]:
        yield
        session["late"] = True

    @app.get("/", dependencies=[Depends(late)])
    async def show(tasks: BackgroundTasks, session: CurrentSession) -> None:
        tasks.add_task(session.update, background=True)

    client(app).get("/", headers={"cookie": cookie})

    assert data_of(sessions, cookie) == {"visits": 1, "late": True, "background": True}


def test_a_session_can_be_returned_and_encoded(sessions: SessionManager, client: Client) -> None:
    """Each way to JSON sees what is in it, touched before or not."""
    app = app_of(sessions)

    @app.get("/set")
    async def fill(session: CurrentSession) -> None:
        session["a"] = [1, {"b": None}]

    @app.get("/untyped")
    async def untyped(session: CurrentSession):  # type: ignore[no-untyped-def]
        return session

    @app.get("/typed")
    async def typed(session: CurrentSession) -> dict[str, Any]:
        return session

    @app.get("/nested")
    async def nested(session: CurrentSession) -> dict[str, Any]:
        return {"session": session}

    @app.get("/encoder")
    async def encoder(request: Request) -> Any:
        return jsonable_encoder(request.session)

    @app.get("/request")
    async def request_session(request: Request) -> dict[str, Any]:
        return request.session

    @app.get("/request-nested")
    async def nested_request_session(request: Request) -> dict[str, Any]:
        return {"session": request.session}

    browser = client(app)
    assert browser.get("/request-nested").json() == {"session": {}}
    browser.get("/set")

    data = {"a": [1, {"b": None}]}
    assert browser.get("/untyped").json() == data
    assert browser.get("/typed").json() == data
    assert browser.get("/nested").json() == {"session": data}
    assert browser.get("/encoder").json() == data
    assert browser.get("/request").json() == data
    assert browser.get("/request-nested").json() == {"session": data}


def test_login_and_the_list_of_sessions(client: Client) -> None:
    """The manager is a dependency as well."""
    app = app_of(manager(AsyncFinding()))

    @app.post("/login")
    async def login(session: CurrentSession) -> None:
        session.login("alice")

    @app.get("/sessions")
    async def show(session: CurrentSession, sessions: Sessions) -> list[bool]:
        assert session.subject is not None
        return [info.id == session.id for info in await sessions.alist(session.subject)]

    browser = client(app)
    browser.post("/login")
    other = client(app)
    other.post("/login")

    assert sorted(browser.get("/sessions").json()) == [False, True]


class AsyncFinding(AsyncMemoryStore):
    """An async store that knows the sessions of a subject."""

    async def find(self, subject: str) -> list[str]:
        return list(self.store.find(subject))


def test_an_http_exception_saves_and_another_does_not(sessions: SessionManager, client: Client) -> None:
    """The first is a response, the second a failure."""
    app = app_of(sessions)

    @app.get("/forbidden")
    async def forbidden(session: CurrentSession) -> None:
        session["failures"] = 1
        raise HTTPException(403)

    @app.get("/broken")
    async def broken(session: CurrentSession) -> None:
        session["failures"] = 2
        raise ZeroDivisionError

    @app.get("/")
    async def show(session: CurrentSession) -> dict[str, Any]:
        return session

    browser = client(app)
    browser.get("/forbidden")
    with contextlib.suppress(ZeroDivisionError):
        browser.get("/broken")

    assert browser.get("/").json() == {"failures": 1}


def test_an_endpoint_is_called_while_the_store_cannot_be_read(client: Client) -> None:
    """It may log out, which clears the cookie; and one that only names its session answers."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    app = app_of(sessions)

    @app.get("/named")
    async def named(session: CurrentSession) -> str:
        return "ok"

    @app.get("/logout")
    async def logout(session: CurrentSession) -> None:
        session.logout()

    @app.get("/returned", response_model=None)
    async def returned(session: CurrentSession) -> Any:
        return {"session": session}

    store.readable = False
    browser = client(app)
    answers = [browser.get(path, headers={"cookie": cookie}) for path in ("/named", "/logout", "/returned")]

    assert [answer.status_code for answer in answers] == [200, 503, 503]
    assert ["max-age=0" in answer.headers.get("set-cookie", "").lower() for answer in answers] == [False, True, False]


def test_a_store_that_is_down_is_a_503(client: Client) -> None:
    """The endpoint does not answer when the session cannot be saved."""
    store = UnreliableStore()
    app = app_of(manager(store))

    @app.get("/")
    async def visit(counter: Annotated[Counter, SessionView(Counter)]) -> None:
        counter.visits += 1

    store.writable = False

    assert client(app).get("/").status_code == 503


def test_a_websocket_has_the_session_too(client: Client) -> None:
    """Plain and typed; later changes are kept by a store."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)
    app = app_of(sessions)

    @app.websocket("/ws")
    async def talk(
        websocket: WebSocket, session: CurrentSession, counter: Annotated[Counter, SessionView(Counter)]
    ) -> None:
        await websocket.accept()
        counter.visits += 1
        session["said"] = await websocket.receive_text()
        await websocket.close()

    with client(app).websocket_connect("/ws", headers={"cookie": cookie}) as websocket:
        websocket.send_text("hello")
        websocket.receive()

    assert data_of(sessions, cookie) == {"visits": 2, "said": "hello"}


def test_a_session_that_does_not_fit_its_model_is_an_error(client: Client) -> None:
    """It is not the client's fault, so it is no 422."""
    sessions = manager()
    cookie = cookie_of(sessions, items="no list")
    app = app_of(sessions)

    @app.get("/")
    async def show(cart: Annotated[Cart, SessionView(Cart)]) -> None: ...

    with pytest.raises(pydantic.ValidationError):
        client(app).get("/", headers={"cookie": cookie})


def test_dependencies_are_not_in_the_schema(client: Client) -> None:
    """They are no parameters that a caller can send."""
    app = app_of(manager())

    @app.get("/")
    async def show(session: CurrentSession, cart: Annotated[Cart, SessionView(Cart)], sessions: Sessions) -> None: ...

    operation = client(app).get("/openapi.json").json()["paths"]["/"]["get"]
    assert "parameters" not in operation
    assert "requestBody" not in operation


def test_the_example_keeps_a_cart(client: Client) -> None:
    """examples/fastapi runs."""
    browser = client(runpy.run_path(str(ROOT / "examples/fastapi/app.py"))["app"])

    assert browser.get("/cart").json() == {"items": []}
    browser.post("/cart", json={"sku": "bread"})
    assert browser.post("/login/alice").json() == "Hello alice."
    assert browser.get("/cart").json() == {"items": [{"sku": "bread", "quantity": 1}]}
    browser.post("/logout")
    assert browser.get("/cart").json() == {"items": []}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "adapter", "extra"),
    [("fastapi", "fastapi", "fastapi"), ("starlette", "fastapi", "fastapi"), ("starlette", "starlette", "starlette")],
)
def test_a_missing_package_is_named_with_the_extra_of_the_adapter(missing: str, adapter: str, extra: str) -> None:
    """Whoever wants FastAPI's is not told to install Starlette."""
    code = f"import sys; sys.modules['{missing}'] = None; import hardtack.frameworks.{adapter}"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert f"pip install 'hardtack[{extra}]'" in result.stderr.splitlines()[-1]

"""Bottle: what is its own about the plugin. What all frameworks share is in test_behaviour.py."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from bottle import Bottle, HTTPError, HTTPResponse, abort, redirect, request, response, static_file, template  # type: ignore[import-untyped]
from tests.frameworks.harness import ALL_METHODS, ROOT, Browser, WatchedStore, WSGISite, first_program

from hardtack import CookieEngine, Key, SessionManager, StoreEngine, errors, events
from hardtack.frameworks import bottle as adapter
from hardtack.frameworks.bottle import SessionPlugin

KEY = Key(bytes(32))


class Kit:
    """An application with the plugin, and a browser."""

    def __init__(self, engine: Any) -> None:
        self.events: list[events.Event] = []
        self.sessions = SessionManager(engine, on_event=self.events.append)
        self.app = Bottle()
        self.plugin = self.app.install(SessionPlugin(self.sessions))
        self.app.get("/read", callback=lambda: str(dict(request.session)))
        self.app.get("/write", callback=write)
        self.browser = Browser(WSGISite(self.app))


def write() -> str:
    request.session["n"] = request.session.get("n", 0) + 1
    return "written"


@pytest.fixture
def kit() -> Kit:
    """Sessions in cookies."""
    return Kit(CookieEngine(KEY))


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def stored(store: WatchedStore) -> Kit:
    """Sessions in a store."""
    return Kit(StoreEngine(store))


@pytest.mark.parametrize("engine", ["cookie", "store"])
def test_a_session_can_be_answered_as_json(engine: str, kit: Kit, stored: Kit) -> None:
    """Bottle encodes a dict by itself, with ujson where that is installed, which reads a dict past its methods."""
    used = kit if engine == "cookie" else stored
    used.app.get("/json", callback=lambda: request.session)

    empty = used.browser.get("/json")
    used.browser.get("/write")
    full = used.browser.get("/json")

    assert json.loads(empty.body) == {}
    assert json.loads(full.body) == {"n": 1}


# --- which responses save


def returned() -> Any:
    return HTTPResponse("body", 201)


def raised() -> Any:
    raise HTTPResponse("body", 202)


def returned_error() -> Any:
    return HTTPError(404, "no")


def aborted() -> Any:
    abort(503, "busy")


def redirected() -> Any:
    redirect("/elsewhere")


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda: "text", 200),
        (lambda: {"json": 1}, 200),
        (lambda: None, 200),
        (lambda: b"bytes", 200),
        (lambda: template("{{1 + 1}}"), 200),
        (returned, 201),
        (raised, 202),
        (returned_error, 404),
        (aborted, 503),
        (redirected, 303),
    ],
)
def test_every_kind_of_response_saves(kit: Kit, make: Any, status: int) -> None:
    """Bottle has many ways to answer; each carries the cookie."""

    def handler() -> Any:
        write()
        return make()

    kit.app.get("/", callback=handler)

    answer = kit.browser.get("/")

    assert answer.status == status
    assert kit.browser.get("/read").text == "{'n': 1}"


def test_a_response_that_is_one_object_for_everybody_keeps_no_cookie(kit: Kit) -> None:
    """Otherwise the next visitor would get the session of the one before."""
    constant = HTTPResponse("the same for all")

    def handler() -> Any:
        if request.query_string == "write":
            write()
        return constant

    kit.app.get("/", callback=handler)

    first = kit.browser.get("/?write")
    second = Browser(WSGISite(kit.app)).get("/")

    assert len(first.set_cookies) == 1
    assert second.set_cookies == []


def test_an_exception_saves_nothing(kit: Kit) -> None:
    """Bottle makes a 500 of it."""

    def handler() -> str:
        write()
        raise RuntimeError

    kit.app.get("/", callback=handler)

    answer = kit.browser.get("/")

    assert answer.status == 500
    assert answer.set_cookies == []


def test_an_exception_that_bottle_lets_out_saves_nothing(kit: Kit) -> None:
    """With catchall=False it reaches the server."""
    kit.app.config["catchall"] = False

    def handler() -> str:
        write()
        raise RuntimeError

    kit.app.get("/", callback=handler)

    answer = kit.browser.get("/")

    assert answer.set_cookies == []


def test_error_pages_and_hooks_have_the_session(kit: Kit) -> None:
    """They run outside of the routes, where plugins do not reach."""

    def not_found(error: Any) -> str:
        request.session["error"] = error.status_code
        return "nothing here"

    kit.app.add_hook("before_request", lambda: request.session.update(before=True))
    kit.app.add_hook("after_request", lambda: request.session.update(after=True))
    kit.app.error(404, callback=not_found)

    answer = kit.browser.get("/nowhere")

    assert answer.text == "nothing here"
    assert kit.browser.get("/read").text == "{'before': True, 'after': True, 'error': 404}"


def test_cookies_and_headers_of_the_application_stay(kit: Kit) -> None:
    """Vary is merged; a Cache-Control that is not safe beside a Set-Cookie is replaced."""

    def handler() -> str:
        write()
        response.set_cookie("theme", "dark")
        response.set_header("Vary", "Accept")
        response.set_header("Cache-Control", "public")
        return ""

    kit.app.get("/", callback=handler)

    answer = kit.browser.get("/")

    assert set(kit.browser.cookies) == {"theme", "__Host-Http-session"}
    assert answer.all("vary") == ["Accept, Cookie"]
    assert answer.all("cache-control") == ["private, no-store"]


# --- streams


def test_what_a_generator_does_before_its_first_item_is_saved(kit: Kit) -> None:
    """Bottle asks for that before it sends the headers."""

    def handler() -> Iterator[str]:
        write()
        yield "a"
        yield "b"

    kit.app.get("/", callback=handler)

    answer = kit.browser.get("/")

    assert answer.text == "ab"
    assert kit.browser.get("/read").text == "{'n': 1}"


def test_what_a_generator_does_later_is_saved_in_a_store(stored: Kit) -> None:
    """No cookie is needed for that."""

    def handler() -> Iterator[str]:
        session = request.session
        write()
        yield "a"
        session["late"] = True

    stored.app.get("/", callback=handler)

    stored.browser.get("/")

    assert stored.browser.get("/read").text == "{'n': 1, 'late': True}"


def test_what_a_generator_does_later_is_told_of_on_a_cookie_engine(kit: Kit) -> None:
    """The headers have left."""

    def handler() -> Iterator[str]:
        session = request.session
        write()
        yield "a"
        session["late"] = True

    kit.app.get("/", callback=handler)

    kit.browser.get("/")

    assert any(isinstance(event, events.LateWrite) for event in kit.events)


def test_a_static_file_comes_through(kit: Kit) -> None:
    """It neither needs nor gets a session."""
    kit.app.get("/static", callback=lambda: static_file("test_bottle.py", root=str(ROOT / "tests/frameworks")))

    answer = kit.browser.get("/static")

    assert answer.status == 200
    assert b"test_a_static_file_comes_through" in answer.body
    assert answer.set_cookies == []


# --- failures


def test_a_session_that_is_too_large_is_a_500(kit: Kit) -> None:
    """Nothing is set, and what the handler answered does not leave."""

    def handler() -> str:
        request.session["big"] = "x" * 5000
        return "secret"

    kit.app.get("/", callback=handler)

    answer = kit.browser.get("/")

    assert answer.status == 500
    assert answer.set_cookies == []
    assert b"secret" not in answer.body


def test_a_store_that_is_down_on_load_is_bottles_503(stored: Kit, store: WatchedStore) -> None:
    """The application's own error page answers."""
    stored.app.error(503, callback=lambda error: "our page")
    stored.browser.get("/write")
    store.down = ALL_METHODS

    answer = stored.browser.get("/read")

    assert answer.status == 503
    assert answer.text == "our page"
    assert answer.all("retry-after") == ["5"]
    assert answer.all("cache-control") == ["no-store"]


@pytest.mark.parametrize("catchall", [True, False])
def test_a_store_that_is_down_on_save_is_a_503(stored: Kit, store: WatchedStore, catchall: bool) -> None:
    """Bottle's own catch-all would make a 500 of it."""
    stored.app.config["catchall"] = catchall
    store.down = frozenset({"put"})

    answer = stored.browser.get("/write")

    assert answer.status == 503
    assert answer.set_cookies == []
    assert b"written" not in answer.body


def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie(stored: Kit, store: WatchedStore) -> None:
    """The 503 carries the Set-Cookie."""
    stored.app.get("/logout", callback=lambda: request.session.logout())
    stored.browser.get("/write")
    store.down = frozenset({"put", "delete"})

    answer = stored.browser.get("/logout")

    assert answer.status == 503
    assert stored.browser.cookies == {}


def test_a_login_in_a_degraded_session_is_a_503(store: WatchedStore) -> None:
    """With on_store_error="anonymous" reading goes on, and what cannot be kept is refused."""
    kit = Kit(StoreEngine(store, on_store_error="anonymous"))

    def login() -> None:
        assert dict(request.session) == {}
        request.session.login("ann")

    kit.app.get("/login", callback=login)
    kit.browser.get("/write")
    store.down = ALL_METHODS

    statuses = [kit.browser.get(path).status for path in ("/read", "/login")]

    assert statuses == [200, 503]


# --- mounted applications


def test_a_mounted_application_shares_the_session(kit: Kit) -> None:
    """Bottle takes its routes over; their own plugin finds the session of the parent."""
    child = Bottle()
    child.install(SessionPlugin(kit.sessions))
    child.get("/write", callback=write)
    kit.app.mount("/child/", child)

    kit.browser.get("/child/write")

    assert kit.browser.get("/read").text == "{'n': 1}"


def test_an_application_mounted_as_wsgi_shares_the_session(kit: Kit) -> None:
    """Then it is called as a whole, and must not open a second session."""
    child = Bottle()
    child.install(SessionPlugin(kit.sessions))
    child.get("/write", callback=write)
    kit.app.mount("/child/", lambda environ, start_response: child(environ, start_response))

    answer = kit.browser.get("/child/write")

    assert len(answer.set_cookies) == 1
    assert kit.browser.get("/read").text == "{'n': 1}"


def test_a_plugin_on_a_mounted_application_alone_is_a_configuration_error() -> None:
    """Its session would be saved by nobody."""
    child = Bottle()
    child.install(SessionPlugin(SessionManager(KEY)))
    child.get("/write", callback=write)
    parent = Bottle()
    parent.config["catchall"] = False
    parent.mount("/child/", child)

    with pytest.raises(errors.ConfigError, match="on the application that is served"):
        WSGISite(parent).call("/child/write")


# --- construction and documentation


def test_a_second_plugin_is_refused(kit: Kit) -> None:
    """Each would set a cookie of its own."""
    with pytest.raises(errors.ConfigError, match="a session plugin already"):
        kit.app.install(SessionPlugin(kit.sessions))


def test_an_uninstalled_plugin_is_gone(kit: Kit) -> None:
    """And another can be installed."""
    kit.app.uninstall(kit.plugin)
    kit.app.get("/asks", callback=lambda: str(hasattr(request, "session")))
    without = kit.browser.get("/asks").text
    kit.app.install(SessionPlugin(kit.sessions))

    answers = [without, kit.browser.get("/asks").text]

    assert answers == ["False", "True"]


def test_the_plugin_takes_a_manager_only() -> None:
    """A wrong argument is told at start-up."""
    with pytest.raises(errors.ConfigError, match="takes a SessionManager, not str"):
        SessionPlugin("secret")  # type: ignore[arg-type]


def test_without_bottle_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "bottle", None)

    with pytest.raises(ImportError, match=r"hardtack\[bottle\]"):
        runpy.run_path(adapter.__file__)


def test_the_example_counts_visits() -> None:
    """examples/bottle runs."""
    app = runpy.run_path(str(ROOT / "examples/bottle/app.py"))["app"]
    browser = Browser(WSGISite(app))

    texts = [browser.get("/").text for _ in range(2)]

    assert ["visit 1" in texts[0], "visit 2" in texts[1]] == [True, True]


def test_the_documentations_program_runs() -> None:
    """The first block of docs/frameworks/bottle.md is a whole program."""
    namespace: dict[str, Any] = {}

    exec(first_program(ROOT / "docs/frameworks/bottle.md"), namespace)
    answer = WSGISite(namespace["app"]).request("/")

    assert answer.text == "visit 1"
    assert len(answer.set_cookies) == 1

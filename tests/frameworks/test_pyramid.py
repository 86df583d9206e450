"""Pyramid: what is its own about the session and its factory. What all frameworks share is in test_behaviour.py.

Pyramid's own tests of its sessions run against hardtack's in pyramid_suite.
"""

from __future__ import annotations

import runpy
import sys
import warnings
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from tests.frameworks.harness import ALL_METHODS, ROOT, Browser, WatchedStore, WSGISite, first_program

from hardtack import CookieEngine, Key, SessionManager, StoreEngine, errors, events

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi
    from pyramid.config import Configurator  # type: ignore[import-untyped]
    from pyramid.csrf import get_csrf_token  # type: ignore[import-untyped]
    from pyramid.httpexceptions import HTTPFound, HTTPNotFound  # type: ignore[import-untyped]
    from pyramid.interfaces import ISession, ISessionFactory  # type: ignore[import-untyped]
    from pyramid.response import FileResponse, Response  # type: ignore[import-untyped]
    from zope.interface.verify import verifyObject  # type: ignore[import-untyped]

    from hardtack.frameworks import pyramid as adapter
    from hardtack.frameworks.pyramid import PyramidSession, SessionFactory, Unavailable, setup

KEY = Key(sha256(b"bread").digest())


class Kit:
    """The views of one application, and a browser. The application is made when the first request comes."""

    def __init__(self, engine: Any) -> None:
        self.events: list[events.Event] = []
        self.sessions = SessionManager(engine, on_event=self.events.append)
        self.config = Configurator()
        setup(self.config, self.sessions)
        self.route("read", lambda request: str(dict(request.session)))
        self.route("write", write)
        self._browser: Browser | None = None

    def route(self, name: str, view: Any) -> None:
        self.config.add_route(name, f"/{name}")
        self.config.add_view(view, route_name=name, renderer="string")

    @property
    def browser(self) -> Browser:
        if self._browser is None:
            self._browser = Browser(WSGISite(self.config.make_wsgi_app()))
        return self._browser


def write(request: Any) -> str:
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


def session_of(sessions: SessionManager, header: str | None = None) -> PyramidSession:
    session = sessions.open(header, kind=PyramidSession)
    assert isinstance(session, PyramidSession)
    return session


# --- ISession


@pytest.mark.parametrize("touched", [False, True])
def test_the_session_is_an_isession(kit: Kit, touched: bool) -> None:
    """zope.interface checks names and signatures, before the session is loaded and after."""
    session = session_of(kit.sessions)
    if touched:
        session["a"] = 1

    assert verifyObject(ISession, session)


def test_the_factory_is_an_isessionfactory(kit: Kit) -> None:
    """So that other packages can find it."""
    assert verifyObject(ISessionFactory, SessionFactory(kit.sessions))


def test_created_and_new_follow_what_is_stored() -> None:
    """`created` is whole Unix seconds; a session is new until it was stored."""
    now = [1_000_000.5]
    sessions = SessionManager(KEY, clock=lambda: now[0])
    first = session_of(sessions)
    first["a"] = 1
    before = (first.created, first.new)
    cookie = sessions.commit(first).set_cookies[0].partition(";")[0]
    now[0] += 60

    second = session_of(sessions, cookie)

    assert before == (1_000_000, True)
    assert (second.created, second.new) == (1_000_000, False)


def test_invalidate_begins_a_new_session_with_what_is_set_after(stored: Kit) -> None:
    """As Pyramid's documentation says: the data from before is gone, what comes after is kept under a new id."""

    def view(request: Any) -> str:
        before = request.session.id
        request.session.invalidate()
        request.session["fresh"] = True
        return str(before != request.session.id)

    stored.route("invalidate", view)
    stored.browser.get("/write")
    old = stored.browser.header

    changed = stored.browser.get("/invalidate").text

    assert changed == "True"
    assert stored.browser.get("/read").text == "{'fresh': True}"
    assert stored.browser.site.request("/read", old).text == "{}"


def test_invalidate_alone_clears_the_cookie(kit: Kit) -> None:
    """Nothing is kept of a session that nothing was put into."""
    kit.route("invalidate", lambda request: str(request.session.invalidate()))
    kit.browser.get("/write")

    kit.browser.get("/invalidate")

    assert kit.browser.cookies == {}


def test_changed_forces_a_save(kit: Kit) -> None:
    """Though nothing needs it: nested changes are seen without it."""
    kit.route("changed", lambda request: str(request.session.changed()))
    kit.browser.get("/write")

    read, changed = kit.browser.get("/read"), kit.browser.get("/changed")

    assert [len(read.set_cookies), len(changed.set_cookies)] == [0, 1]


def test_flash_messages_live_to_the_next_request(kit: Kit) -> None:
    """In queues, until they are popped."""

    def say(request: Any) -> str:
        request.session.flash("one")
        request.session.flash("two", "errors")
        request.session.flash("two", "errors", allow_duplicate=False)
        return ""

    kit.route("say", say)
    kit.route("peek", lambda request: str(request.session.peek_flash("errors")))
    kit.route("pop", lambda request: str(request.session.pop_flash("errors")))
    kit.browser.get("/say")

    texts = [kit.browser.get(path).text for path in ("/peek", "/pop", "/peek")]

    assert texts == ["['two']", "['two']", "[]"]


def test_flashes_takes_from_pyramids_queues(kit: Kit) -> None:
    """hardtack's own method sees the same messages, the queue as their category."""
    session = session_of(kit.sessions)
    session.flash("a")
    session.flash("b", "errors")
    session["other"] = 1

    errors_only = session.flashes("errors")
    rest = session.flashes()

    assert [(flash.category, str(flash)) for flash in errors_only + rest] == [("errors", "b"), ("", "a")]
    assert session == {"other": 1}


def test_pyramids_csrf_protection_keeps_its_token_here(kit: Kit) -> None:
    """The default storage policy asks the session for it."""
    kit.config.set_default_csrf_options(require_csrf=True)
    kit.route("token", lambda request: get_csrf_token(request))

    first, second = kit.browser.get("/token").text, kit.browser.get("/token").text

    assert first == second
    assert len(first) == 40


def test_the_json_renderer_takes_a_session(kit: Kit) -> None:
    """A session is a dict."""
    kit.config.add_route("json", "/json")
    kit.config.add_view(lambda request: request.session, route_name="json", renderer="json")
    kit.browser.get("/write")

    assert kit.browser.get("/json").text == '{"n": 1}'


# --- which responses save


def test_a_raised_http_exception_saves(kit: Kit) -> None:
    """It is a response of the application's."""

    def view(request: Any) -> str:
        write(request)
        raise HTTPFound("/read")

    kit.route("login", view)

    answer = kit.browser.get("/login")

    assert answer.status == 302
    assert kit.browser.get("/read").text == "{'n': 1}"


def test_an_exception_view_saves(kit: Kit) -> None:
    """What it answers is the application's response, whatever its status."""

    def failing(request: Any) -> str:
        write(request)
        raise KeyError

    kit.route("failing", failing)
    kit.config.add_exception_view(lambda request: Response("sorry", 500), context=KeyError)

    answer = kit.browser.get("/failing")

    assert answer.status == 500
    assert kit.browser.get("/read").text == "{'n': 1}"


def test_an_exception_without_a_view_saves_nothing(stored: Kit, store: WatchedStore) -> None:
    """It reaches the server."""

    def failing(request: Any) -> str:
        write(request)
        raise RuntimeError

    stored.route("failing", failing)

    answer = stored.browser.get("/failing")

    assert answer.set_cookies == []
    assert store.writes == 0


def leaving(request: Any) -> str:
    request.session.invalidate()
    raise ZeroDivisionError


seen: list[type[Exception]] = []


def watching_tween_factory(handler: Any, registry: Any) -> Any:
    """A tween that is told of failures, as that of a transaction is."""

    def tween(request: Any) -> Any:
        try:
            return handler(request)
        except Exception as error:
            seen.append(type(error))
            raise

    return tween


@pytest.mark.parametrize("down", [frozenset[str](), ALL_METHODS - {"get"}], ids=["up", "down"])
def test_a_logout_before_an_exception_without_a_view_clears_the_cookie(
    stored: Kit, store: WatchedStore, down: frozenset[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The page is Pyramid's; tweens and the log are told of the failure."""
    seen.clear()
    stored.config.add_tween(f"{__name__}.watching_tween_factory")
    stored.route("leaving", leaving)
    stored.browser.get("/write")
    store.down = down

    answer = stored.browser.get("/leaving")

    assert answer.status == (503 if down else 500)
    assert "no-store" in answer.tokens("cache-control")
    assert stored.browser.cookies == {}
    assert seen == [ZeroDivisionError]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_an_exception_without_a_view_that_ended_nothing_reaches_the_server(kit: Kit) -> None:
    """As without the tween, whether the session was looked at or not."""

    def failing(request: Any) -> str:
        if request.params:
            write(request)
        raise ZeroDivisionError

    kit.route("failing", failing)
    site = kit.browser.site
    assert isinstance(site, WSGISite)

    for path in ("/failing", "/failing?looks=1"):
        with pytest.raises(ZeroDivisionError):
            site.call(path)


def test_a_factory_alone_ends_what_was_ended(store: WatchedStore) -> None:
    """Without the tween the page is the server's, and the cookie that is left opens nothing."""
    sessions = SessionManager(StoreEngine(store))
    with Configurator(session_factory=SessionFactory(sessions)) as config:
        for view in (write, leaving):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__, renderer="string")
        site = WSGISite(config.make_wsgi_app())
    browser = Browser(site)
    browser.get("/write")

    with pytest.raises(ZeroDivisionError):
        site.call("/leaving", browser.header)

    assert dict(sessions.open(browser.header)) == {}


def test_a_session_whose_save_was_refused_is_not_saved_later(stored: Kit, store: WatchedStore) -> None:
    """The client was told of an error: a thread that goes on with the session is told, too."""
    kept: list[Any] = []

    def keep(request: Any) -> str:
        kept.append(request.session)
        return write(request)

    stored.route("keep", keep)
    stored.browser.get("/write")
    store.down = ALL_METHODS - {"get"}
    answer = stored.browser.get("/keep")
    store.down = frozenset()

    assert answer.status == 503
    with pytest.raises(errors.SessionFinished):
        kept[0]["n"] = 6
    assert stored.browser.get("/read").text == "{'n': 1}"


def tween_factory(handler: Any, registry: Any) -> Any:
    """A tween that changes the session when the view has answered."""

    def tween(request: Any) -> Any:
        response = handler(request)
        request.session["tween"] = True
        return response

    return tween


def test_tweens_and_later_callbacks_come_before_the_save(kit: Kit) -> None:
    """A callback that was added after the session was asked for still counts."""

    def view(request: Any) -> str:
        write(request)
        request.add_response_callback(lambda request, response: request.session.update(callback=True))
        return ""

    kit.config.add_tween(f"{__name__}.tween_factory")
    kit.route("view", view)

    kit.browser.get("/view")

    assert kit.browser.get("/read").text == "{'n': 1, 'tween': True, 'callback': True}"


def test_a_view_that_does_not_ask_for_the_session_opens_none(stored: Kit, store: WatchedStore) -> None:
    """`request.session` is made when it is first asked for."""
    stored.route("plain", lambda request: "plain")
    stored.browser.get("/write")
    store.reads = 0

    answer = stored.browser.get("/plain")

    assert answer.all("vary") == []
    assert store.reads == 0


def test_headers_of_the_response_are_merged(kit: Kit) -> None:
    """Its cookies stay; a Cache-Control that is not safe beside a Set-Cookie is replaced."""

    def view(request: Any) -> Any:
        write(request)
        response = Response("", vary=["Accept"], cache_control="public")
        response.set_cookie("theme", "dark")
        return response

    kit.route("view", view)

    answer = kit.browser.get("/view")

    assert set(kit.browser.cookies) == {"theme", "__Host-Http-session"}
    assert answer.all("vary") == ["Accept, Cookie"]
    assert answer.all("cache-control") == ["private, no-store"]


# --- streams


def _streaming(request: Any) -> Any:
    session = request.session
    write(request)

    def body() -> Iterator[bytes]:
        yield b"a"
        session["late"] = True

    return Response(app_iter=body(), content_length=1)


def test_a_generator_that_changes_a_stored_session_is_saved(stored: Kit) -> None:
    """After the body; the length that the application gave stays."""
    stored.route("stream", _streaming)

    answer = stored.browser.get("/stream")

    assert answer.text == "a"
    assert answer.all("content-length") == ["1"]
    assert stored.browser.get("/read").text == "{'n': 1, 'late': True}"


@pytest.mark.parametrize(("action", "found"), [("write", "{'n': 1}"), ("logout", "{}"), ("logout-unheard", "{'n': 1}")])
def test_a_generator_that_fails_saves_nothing_more(stored: Kit, store: WatchedStore, action: str, found: str) -> None:
    """The headers have left; a logout is carried out all the same, where the store hears of it."""

    def stream(request: Any) -> Any:
        session = request.session

        def body() -> Iterator[bytes]:
            yield b"a"
            if action == "write":
                session["n"] = 5
            else:
                session.logout()
            if action == "logout-unheard":
                store.down = ALL_METHODS - {"get"}
            raise ZeroDivisionError

        session.get("n")
        return Response(app_iter=body())

    stored.route("stream", stream)
    stored.browser.get("/write")
    stored.browser.get("/stream")
    store.down = frozenset()

    assert stored.browser.get("/read").text == found


def test_a_generator_that_changes_a_session_in_a_cookie_is_told_of(kit: Kit) -> None:
    """The headers have left."""
    kit.route("stream", _streaming)

    kit.browser.get("/stream")

    assert any(isinstance(event, events.LateWrite) for event in kit.events)


def test_a_file_comes_through(kit: Kit) -> None:
    """Its iterator stays what it is, so that ranges and wsgi.file_wrapper work."""

    def view(request: Any) -> Any:
        write(request)
        return FileResponse(__file__, request=request)

    kit.route("file", view)

    answer = kit.browser.get("/file")

    assert b"test_a_file_comes_through" in answer.body
    assert len(answer.set_cookies) == 1


# --- failures


def test_a_session_that_is_too_large_is_an_error(kit: Kit) -> None:
    """As with Pyramid's own sessions it reaches the server, which answers 500."""

    def view(request: Any) -> str:
        request.session["big"] = "x" * 5000
        return "secret"

    kit.route("big", view)
    app = kit.config.make_wsgi_app()

    with pytest.raises(errors.SessionTooLarge):
        WSGISite(app).call("/big")


def test_a_store_that_is_down_on_load_is_pyramids_503(stored: Kit, store: WatchedStore) -> None:
    """Views for HTTPException answer it, Pyramid's own among them."""
    stored.browser.get("/write")
    store.down = ALL_METHODS

    answer = stored.browser.get("/read")

    assert answer.status == 503
    assert answer.all("retry-after") == ["5"]
    assert answer.all("cache-control") == ["no-store"]


def test_an_exception_view_for_store_unavailable_is_asked(stored: Kit, store: WatchedStore) -> None:
    """What is raised in a view is hardtack's error as well."""
    stored.config.add_exception_view(
        lambda error, request: Response(type(error).__name__, 503), context=errors.StoreUnavailable
    )
    stored.browser.get("/write")
    store.down = ALL_METHODS

    assert stored.browser.get("/read").text == Unavailable.__name__


@pytest.mark.parametrize("make", [Response, HTTPNotFound])
def test_a_store_that_is_down_on_save_is_a_503(stored: Kit, store: WatchedStore, make: Any) -> None:
    """In place of the response that the view made; nothing of that is left."""

    def view(request: Any) -> Any:
        write(request)
        response = make()
        response.app_iter = iter([b"secret"])
        response.headers["X-Own"] = "1"
        return response

    stored.route("view", view)
    store.down = frozenset({"put"})

    answer = stored.browser.get("/view")

    assert answer.status == 503
    assert answer.all("x-own") == []
    assert answer.set_cookies == []
    assert b"cannot be reached" in answer.body


def test_a_stream_that_gives_way_to_a_503_is_closed(stored: Kit, store: WatchedStore) -> None:
    """Nobody else would: it never reaches the server."""
    closed: list[bool] = []

    class Body:
        """Never read."""

        def __iter__(self) -> Iterator[bytes]:
            return iter(())

        def close(self) -> None:
            closed.append(True)

    def view(request: Any) -> Any:
        write(request)
        return Response(app_iter=Body())

    stored.route("view", view)
    store.down = frozenset({"put"})

    stored.browser.get("/view")

    assert closed == [True]


def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie(stored: Kit, store: WatchedStore) -> None:
    """The 503 carries the Set-Cookie."""
    stored.route("logout", lambda request: str(request.session.invalidate()))
    stored.browser.get("/write")
    store.down = frozenset({"put", "delete"})

    answer = stored.browser.get("/logout")

    assert answer.status == 503
    assert stored.browser.cookies == {}


def test_a_login_in_a_degraded_session_is_a_503(store: WatchedStore) -> None:
    """With on_store_error="anonymous" reading goes on, and what cannot be kept is refused."""
    kit = Kit(StoreEngine(store, on_store_error="anonymous"))

    def login(request: Any) -> str:
        assert dict(request.session) == {}
        request.session.login("ann")
        return ""

    kit.route("login", login)
    kit.browser.get("/write")
    store.down = ALL_METHODS

    statuses = [kit.browser.get(path).status for path in ("/read", "/login")]

    assert statuses == [200, 503]


# --- construction


def _included(settings: dict[str, Any]) -> Any:
    config = Configurator(settings=settings)
    config.include("hardtack.frameworks.pyramid")
    config.commit()
    registry: Any = config.registry
    return registry.getUtility(ISessionFactory).sessions


def test_settings_make_the_manager() -> None:
    """As an ini file has them: all text."""
    sessions = _included(
        {"hardtack.key": KEY.export(), "hardtack.idle_timeout": "20 minutes", "hardtack.cookie_name": "__Host-shop"}
    )

    assert sessions.idle_timeout == 1200
    assert sessions.cookie.name == "__Host-shop"


@pytest.mark.slow
def test_a_secret_of_any_text_makes_the_key() -> None:
    """And sessions that were sealed under an earlier one are still accepted."""
    old = _included({"hardtack.secret": "a-secret-of-yesterday-without-any-space"})
    new = _included(
        {
            "hardtack.secret": "any text, and it may hold spaces",
            "hardtack.accept_secrets": "\n  a-secret-of-yesterday-without-any-space\n",
        }
    )

    def carries(issuer: Any, reader: Any) -> bool:
        session = issuer.open()
        session["a"] = 1
        cookie = issuer.commit(session).set_cookies[0].partition(";")[0]
        return bool(reader.open(cookie).get("a"))

    assert [carries(old, new), carries(new, new), carries(new, old)] == [True, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"in the settings hardtack\.\*:"),
        ({"hardtack.lifetme": "1 hour", "hardtack.key": KEY.export()}, "did you mean lifetime"),
        ({"hardtack.key": KEY.export(), "hardtack.secret": "x" * 40}, "secret and key are one setting"),
    ],
)
def test_wrong_settings_are_told_at_start_up(settings: dict[str, str], message: str) -> None:
    """The error says where to look."""
    with pytest.raises(errors.ConfigError, match=message):
        _included(settings)


def test_the_factory_takes_a_manager_only() -> None:
    """A wrong argument is told at start-up."""
    with pytest.raises(errors.ConfigError, match="takes a SessionManager, not str"):
        SessionFactory("secret")  # type: ignore[arg-type]


def test_without_pyramid_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "pyramid.interfaces", None)

    with pytest.raises(ImportError, match=r"hardtack\[pyramid\]"):
        runpy.run_path(adapter.__file__)


def test_the_example_counts_visits() -> None:
    """examples/pyramid runs."""
    app = runpy.run_path(str(ROOT / "examples/pyramid/app.py"))["app"]
    browser = Browser(WSGISite(app))

    texts = [browser.get("/").text for _ in range(2)]

    assert ["visit 1" in texts[0], "visit 2" in texts[1]] == [True, True]


def test_the_documentations_program_runs() -> None:
    """The first block of docs/frameworks/pyramid.md is a whole program."""
    namespace: dict[str, Any] = {}

    exec(first_program(ROOT / "docs/frameworks/pyramid.md"), namespace)
    answer = WSGISite(namespace["app"]).request("/")

    assert answer.text == "visit 1"
    assert len(answer.set_cookies) == 1

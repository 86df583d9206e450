"""Flask: its own sessions' behaviour by its own configuration, hardtack's manager under it, and Flask's own test suite."""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import flask
import pytest
from flask import Flask, session
from flask.sessions import SessionMixin
from flask.testing import FlaskClient
from tests.frameworks.harness import WatchedStore
from tests.frameworks.support import load_example, source_of, without
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from hardtack import Cookie, CookieEngine, Key, SessionManager, StoreEngine
from hardtack.changes import Changes
from hardtack.errors import ConfigError, SessionTooLarge
from hardtack.events import Event, LateWrite
from hardtack.frameworks._flask import apply
from hardtack.frameworks.flask import FlaskSession, SessionInterface
from hardtack.stores.memory import MemoryStore

SECRET = "a secret of Flask of 32 characters or more"
OLD_SECRET = "the secret of Flask that was used last year"


site = flask.Blueprint("site", __name__)
"""The views that every application has."""


def current() -> FlaskSession:
    proxy: Any = session
    found = proxy._get_current_object()
    assert isinstance(found, FlaskSession)
    return found


@site.get("/nothing")
def nothing() -> str:
    return ""


@site.get("/set/<key>/<int:value>")
def assign(key: str, value: int) -> str:
    session[key] = value
    return ""


@site.get("/dump")
def dump() -> dict[str, Any]:
    return dict(session)


@site.get("/id")
def identifier() -> str:
    return current().id


@site.get("/nested")
def nested() -> str:
    session["basket"].append("bread")
    return ""


@site.get("/basket")
def basket() -> str:
    session["basket"] = []
    return ""


@site.get("/login/<user>")
def login(user: str) -> str:
    current().login(user)
    return ""


@site.get("/remember")
def remember() -> str:
    current().login("ann", persistent=True)
    return ""


@site.get("/logout")
def logout() -> str:
    current().destroy()
    return ""


@site.get("/clear")
def clear() -> str:
    session.clear()
    return ""


@site.get("/permanent/<int:value>")
def permanent(value: int) -> str:
    session.permanent = bool(value)
    session["kept"] = True
    return str(session.permanent)


@site.get("/flash")
def flash() -> str:
    flask.flash("hello", "info")
    return ""


@site.get("/flashes")
def flashes() -> list[Any]:
    return flask.get_flashed_messages(with_categories=True)


@site.get("/stream")
def stream() -> flask.Response:
    session["before"] = 1

    def body() -> Iterator[str]:
        yield str(session["before"])
        session["after"] = 1

    return flask.Response(flask.stream_with_context(body()))


@site.get("/late")
def late() -> flask.Response:
    fails = "fail" in flask.request.args

    def body() -> Iterator[str]:
        yield ""
        session["late"] = 1
        if fails:
            raise ValueError

    return flask.Response(flask.stream_with_context(body()))


@site.get("/fail")
def fail() -> str:
    session["failed"] = True
    raise RuntimeError


@site.get("/handled")
def handled() -> str:
    session["handled"] = True
    flask.abort(409)


@site.get("/big")
def big() -> str:
    session["big"] = os.urandom(5000)
    return ""


@site.get("/public")
def public() -> flask.Response:
    session["public"] = True
    return flask.Response("", headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})


@site.get("/members")
def members() -> dict[str, Any]:
    return {"new": session.new, "mixin": isinstance(current(), SessionMixin), "subject": current().subject}


def configured(**settings: Any) -> Flask:
    """An application whose sessions are made from its own configuration."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, **settings)
    app.session_interface = SessionInterface()
    app.register_blueprint(site)
    return app


def managed(sessions: SessionManager) -> Flask:
    """An application with a manager."""
    app = Flask(__name__)
    app.session_interface = SessionInterface(sessions)
    app.register_blueprint(site)
    return app


def on_store(store: Any = None, **options: Any) -> Flask:
    """An application that keeps its sessions in a store."""
    engine = StoreEngine(MemoryStore() if store is None else store)
    return managed(SessionManager(engine, cookie=Cookie.for_development(), **options))


def in_cookies(**options: Any) -> Flask:
    """An application with a manager of encrypted cookies."""
    return managed(SessionManager(Key.generate(), cookie=Cookie.for_development(), **options))


@pytest.fixture(params=[configured, in_cookies, on_store], ids=["configured", "cookie", "store"])
def app(request: pytest.FixtureRequest) -> Flask:
    """An application with sessions, of each kind."""
    make: Callable[[], Flask] = request.param
    return make()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Its client."""
    return app.test_client()


def data_of(client: FlaskClient) -> Any:
    return client.get("/dump").get_json()


# --- what every kind does


def test_data_comes_back(client: FlaskClient) -> None:
    """What a request puts into the session, the next one finds."""
    client.get("/set/a/1")

    assert data_of(client) == {"a": 1}


def test_an_untouched_session_changes_no_header(client: FlaskClient) -> None:
    """A view that does not look at its session gets neither a cookie nor Vary nor Cache-Control."""
    client.get("/set/a/1")

    answer = client.get("/nothing")

    assert not {"Set-Cookie", "Vary", "Cache-Control"} & set(answer.headers.keys())


def test_reading_sets_vary_and_no_cookie(client: FlaskClient) -> None:
    """A response that depends on the session says so to caches, and is private."""
    client.get("/set/a/1")

    answer = client.get("/dump")

    assert answer.headers["Vary"] == "Cookie"
    assert answer.headers["Cache-Control"] == "private"
    assert "Set-Cookie" not in answer.headers


def test_reading_an_empty_session_creates_nothing(client: FlaskClient) -> None:
    """Without a cookie, looking makes none."""
    assert "Set-Cookie" not in client.get("/dump").headers


def test_a_response_with_a_cookie_is_kept_by_no_cache(client: FlaskClient) -> None:
    """A Cache-Control that would let a cache hand the cookie on is replaced, and Vary is merged."""
    answer = client.get("/public")

    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["Vary"] == "Accept, Cookie"


@pytest.mark.parametrize("path", ["/untouched", "/out"])
def test_an_after_request_function_that_fails_ends_what_was_ended(path: str) -> None:
    """A logout is carried out at the end of the request, and a page that asks for no session ends none."""
    store = MemoryStore()
    app = Flask(__name__)
    app.session_interface = SessionInterface(SessionManager(StoreEngine(store), cookie=Cookie.for_development()))
    app.add_url_rule("/in", "in", lambda: session.update(user=1) or "")
    app.add_url_rule("/out", "out", lambda: session.clear() or "")  # type: ignore[func-returns-value]
    app.add_url_rule("/untouched", "untouched", lambda: "")
    app.add_url_rule("/who", "who", lambda: str(session.get("user")))
    failing = ["/out", "/untouched"]

    @app.after_request
    def fail(response: flask.Response) -> flask.Response:
        if flask.request.path in failing:
            raise RuntimeError
        return response

    client = app.test_client()
    client.get("/in")

    assert client.get(path).status_code == 500

    assert client.get("/who").text == ("None" if path == "/out" else "1")


def test_headers_that_have_none_of_ours_get_them_beside_their_own() -> None:
    """The usual response: nothing of it is touched."""
    headers = Headers([("Content-Type", "text/html")])

    apply(Changes(["a=b"], accessed=True), headers)

    assert sorted(headers) == [
        ("Cache-Control", "private, no-store"),
        ("Content-Type", "text/html"),
        ("Set-Cookie", "a=b"),
        ("Vary", "Cookie"),
    ]


def test_headers_that_are_right_are_left_alone(app: Flask, client: FlaskClient) -> None:
    """Vary and Cache-Control are not repeated."""

    @app.get("/careful")
    def careful() -> flask.Response:
        session["a"] = 1
        return flask.Response("", headers={"Cache-Control": "no-store", "Vary": "Cookie"})

    answer = client.get("/careful")

    assert answer.headers.getlist("Vary") == ["Cookie"]
    assert answer.headers.getlist("Cache-Control") == ["no-store"]


def test_a_nested_change_is_kept(client: FlaskClient) -> None:
    """Appending to a list in the session needs no `session.modified = True`."""
    client.get("/basket")

    client.get("/nested")

    assert data_of(client) == {"basket": ["bread"]}


def test_flash_messages_are_shown_once(client: FlaskClient) -> None:
    """`flash` and `get_flashed_messages` are Flask's own, on hardtack's session."""
    client.get("/flash")

    assert client.get("/flashes").get_json() == [["info", "hello"]]
    assert client.get("/flashes").get_json() == []


def test_login_changes_the_id_and_keeps_the_data(client: FlaskClient) -> None:
    """The id that an attacker may have planted before the login is worth nothing after it."""
    client.get("/set/a/1")
    before = client.get("/id").text

    client.get("/login/ann")

    assert client.get("/id").text != before
    assert data_of(client) == {"a": 1}
    assert client.get("/members").get_json() == {"new": False, "mixin": True, "subject": "ann"}


def test_another_user_does_not_get_the_data(client: FlaskClient) -> None:
    """Logging in over somebody else's session drops what was in it."""
    client.get("/login/ann")
    client.get("/set/a/1")

    client.get("/login/bob")

    assert data_of(client) == {}


def test_logout_clears_the_cookie(client: FlaskClient) -> None:
    """After a logout the browser has no session cookie."""
    client.get("/login/ann")

    client.get("/logout")

    assert client.get_cookie("session") is None


def test_an_emptied_session_clears_the_cookie(client: FlaskClient) -> None:
    """`session.clear()` ends the session, as in Flask."""
    client.get("/set/a/1")

    client.get("/clear")

    assert client.get_cookie("session") is None


def test_a_forged_cookie_is_an_empty_session(client: FlaskClient) -> None:
    """Junk in the cookie is no error of the application."""
    client.set_cookie("session", "forged.cookie")

    assert data_of(client) == {}
    client.get("/set/a/1")
    assert data_of(client) == {"a": 1}


def test_an_exception_that_escapes_saves_nothing(client: FlaskClient) -> None:
    """What a view did before it failed is not half kept."""
    client.get("/set/a/1")

    answer = client.get("/fail")

    assert answer.status_code == 500
    assert "Set-Cookie" not in answer.headers
    assert data_of(client) == {"a": 1}


@pytest.mark.parametrize("kind", [500, HTTPException, Exception])
def test_a_page_of_the_application_for_any_error_is_committed(app: Flask, client: FlaskClient, kind: Any) -> None:
    """It is a response that the application made, like any other."""

    @app.errorhandler(kind)
    def page(error: Exception) -> Any:
        session["page"] = 1
        return "sorry", 500

    answer = client.get("/fail")

    assert answer.status_code == 500
    assert data_of(client) == {"failed": True, "page": 1}


def test_a_page_for_any_error_that_cannot_be_committed_is_nobody_elses(app: Flask, client: FlaskClient) -> None:
    """It is sent without a cookie, and no cache keeps it."""

    @app.errorhandler(500)
    def page(error: Exception) -> Any:
        session["page"] = object()
        return "sorry", 500

    answer = client.get("/fail")

    assert "Set-Cookie" not in answer.headers
    assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("Cookie", "private, no-store")
    assert data_of(client) == {}


def test_an_error_that_the_application_answers_is_committed(client: FlaskClient) -> None:
    """`abort` makes a response, and the session goes with it."""
    client.get("/handled")

    assert data_of(client) == {"handled": True}


def test_a_test_looks_at_the_flashes_after_the_response(app: Flask) -> None:
    """`with client:` keeps the context, and `get_flashed_messages()` takes them out there, as with Flask's own sessions."""
    with app.test_client() as client:
        client.get("/set/kept/1")
        client.get("/flash")

        assert flask.get_flashed_messages() == ["hello"]
        session["afterwards"] = 1  # goes nowhere, as with Flask's own
        assert client.get("/dump").get_json()["kept"] == 1
        assert "afterwards" not in session


def test_a_secret_that_is_taken_away_meanwhile(app: Flask) -> None:
    """A suite does so within a context whose session was used; the end of that is no error."""
    with app.test_request_context():
        session["a"] = 1
        app.secret_key = None


def test_an_after_request_function_can_change_the_session(app: Flask, client: FlaskClient) -> None:
    """The session is saved after them."""

    @app.after_request
    def change(response: flask.Response) -> flask.Response:
        session["after"] = 1
        return response

    client.get("/nothing")

    assert data_of(client) == {"after": 1}


def test_session_transaction_changes_the_session_of_the_client(client: FlaskClient) -> None:
    """The test client can prepare a session, and look into one."""
    with client.session_transaction() as prepared:
        prepared["a"] = [1]

    assert data_of(client) == {"a": [1]}
    with client.session_transaction() as found:
        assert found["a"] == [1]


def test_a_stream_reads_the_session(client: FlaskClient) -> None:
    """`stream_with_context` keeps the session for the body; what was set before the headers is saved."""
    answer = client.get("/stream")

    assert answer.text == "1"
    assert data_of(client)["before"] == 1


def test_modified_stays_true_after_the_response(client: FlaskClient) -> None:
    """A test that keeps the context sees whether the request changed the session."""
    with client:
        client.get("/set/a/1")
        assert session.modified

    with client:
        client.get("/dump")
        assert not session.modified


def test_modified_can_be_withdrawn_and_forced(client: FlaskClient) -> None:
    """`session.modified = True` forces a save."""
    client.get("/set/a/1")

    with client.session_transaction() as forced:
        forced.modified = True
        assert forced.modified
        forced.modified = False
        assert not forced.modified
        forced.get("a")
        forced.modified = True
        assert forced.modified
        forced.modified = False
        assert not forced.modified


def test_a_nested_request_context_has_a_session_of_its_own(app: Flask, client: FlaskClient) -> None:
    """A context that is pushed inside a request does not see the request's session."""

    @app.get("/outer")
    def outer() -> dict[str, Any]:
        session["outer"] = 1
        with app.test_request_context():
            inner = dict(session)
        return {"inner": inner, "outer": dict(session)}

    assert client.get("/outer").get_json() == {"inner": {}, "outer": {"outer": 1}}


def test_a_copied_context_shares_the_session(app: Flask) -> None:
    """`copy_current_request_context` carries the same session, not what was loaded first."""
    with app.test_request_context():
        session["a"] = 1

        @flask.copy_current_request_context
        def read() -> Any:
            return session["a"]

    assert read() == 1


# --- a manager


def test_the_manager_decides_about_the_cookie() -> None:
    """Name and attributes come from the manager's Cookie, whatever SESSION_COOKIE_* say."""
    app = managed(SessionManager(Key.generate()))
    app.config["SESSION_COOKIE_NAME"] = "other"

    answer = app.test_client().get("/set/a/1", base_url="https://localhost")

    assert answer.headers["Set-Cookie"].startswith("__Host-Http-session=")
    assert answer.headers["Set-Cookie"].endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")


def test_the_interface_tells_the_managers_cookie() -> None:
    """Extensions that ask the interface get what is true."""
    app = managed(SessionManager(Key.generate()))
    interface = app.session_interface
    assert isinstance(interface, SessionInterface)

    answers = [
        interface.get_cookie_name(app),
        interface.get_cookie_path(app),
        interface.get_cookie_domain(app),
        interface.get_cookie_secure(app),
        interface.get_cookie_httponly(app),
        interface.get_cookie_samesite(app),
        interface.get_cookie_partitioned(app),
    ]

    assert answers == ["__Host-Http-session", "/", None, True, True, "Lax", False]


def test_the_interface_tells_the_configured_cookie() -> None:
    """Without a manager, the same questions are answered from the configuration."""
    app = configured(SESSION_COOKIE_PATH="/shop", SESSION_COOKIE_DOMAIN="example.org", SESSION_COOKIE_SECURE=True)
    interface = app.session_interface
    assert isinstance(interface, SessionInterface)

    answers = [
        interface.get_cookie_name(app),
        interface.get_cookie_path(app),
        interface.get_cookie_domain(app),
        interface.get_cookie_secure(app),
        interface.get_cookie_httponly(app),
        interface.get_cookie_samesite(app),
        interface.get_cookie_partitioned(app),
    ]

    assert answers == ["session", "/shop", "example.org", True, True, None, False]


def test_permanent_under_a_manager_keeps_the_cookie_over_a_restart() -> None:
    """`session.permanent` is the manager's `persistent`, for this session."""
    client = in_cookies(lifetime="1 hour").test_client()

    permanent = client.get("/permanent/1").headers["Set-Cookie"]
    temporary = client.get("/permanent/0").headers["Set-Cookie"]

    assert "Max-Age=3600" in permanent
    assert "Max-Age" not in temporary


def test_login_with_persistent_is_permanent(client: FlaskClient) -> None:
    """ "Remember me" by hardtack's name shows under Flask's."""
    answer = client.get("/remember")

    assert "Max-Age=" in answer.headers["Set-Cookie"]
    assert data_of(client) == {"_permanent": True}


def test_a_store_that_is_down_is_a_503_when_the_session_is_read() -> None:
    """The view that needs its session is not run on, and the client is told to come again."""
    store = WatchedStore()
    client = on_store(store).test_client()
    client.get("/set/a/1")
    store.down = frozenset({"get"})

    answer = client.get("/dump")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert client.get("/nothing").status_code == 200


def test_a_store_that_is_down_is_a_503_when_the_session_is_saved() -> None:
    """The response of the view is replaced: it would promise what was not saved."""
    store = WatchedStore()
    client = on_store(store).test_client()
    store.down = frozenset({"put"})

    answer = client.get("/set/a/1")

    assert answer.status_code == 503
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers


def test_a_logout_without_the_store_still_clears_the_cookie() -> None:
    """The browser forgets the session even if the store did not hear of it."""
    store = WatchedStore()
    client = on_store(store).test_client()
    client.get("/login/ann")
    store.down = frozenset({"put", "delete"})

    answer = client.get("/logout")

    assert answer.status_code == 503
    assert client.get_cookie("session") is None


def test_the_applications_own_page_for_a_503_is_used() -> None:
    """An error handler for ServiceUnavailable answers, whether loading or saving failed."""
    store = WatchedStore()
    app = on_store(store)
    app.register_error_handler(ServiceUnavailable, lambda error: ("come again", 503))
    client = app.test_client()
    client.get("/set/a/1")
    store.down = frozenset({"get", "put"})

    assert client.get("/dump").text == "come again"
    store.down = frozenset({"put"})
    assert client.get("/set/a/2").text == "come again"


def test_one_context_as_in_flask_3_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """What handles an exception is given the context first there, and the session is found in the one that is left."""
    if not hasattr(flask.globals, "_cv_request"):
        pytest.skip("this Flask has one context, and all the other tests are of it")
    given: list[Any] = []

    def handle(context: Any, error: Any) -> Any:
        given.append(context)
        return error

    monkeypatch.setattr("hardtack.frameworks.flask._MERGED", True)
    monkeypatch.setattr(flask.globals, "_cv_app", vars(flask.globals)["_cv_request"])
    store = WatchedStore()
    app = on_store(store)
    client = app.test_client()
    client.get("/set/a/1")

    failed = client.get("/fail")
    kept = client.get("/dump").json
    monkeypatch.setattr(app, "handle_http_exception", handle)
    store.down = frozenset({"put"})
    unsaved = client.get("/set/a/2")

    assert failed.status_code == 500
    assert kept == {"a": 1}
    assert unsaved.status_code == 503
    assert [context.request.path for context in given] == ["/set/a/2"]


def test_a_stream_whose_session_cannot_be_saved_is_closed() -> None:
    """The body that is replaced by a 503 lets go of what it holds."""
    store = WatchedStore()
    store.down = frozenset({"put"})
    closed: list[bool] = []
    app = on_store(store)

    class Body:
        def __iter__(self) -> Iterator[str]:
            return iter(["never sent"])

        def close(self) -> None:
            closed.append(True)

    @app.get("/generator")
    def generator() -> flask.Response:
        session["a"] = 1
        return flask.Response(Body())

    answer = app.test_client().get("/generator")

    assert answer.status_code == 503
    assert closed == [True]


def test_a_stream_can_change_a_stored_session() -> None:
    """What needs no new cookie is saved after the body."""
    client = on_store().test_client()
    client.get("/set/a/1")

    client.get("/late", buffered=True)

    assert data_of(client) == {"a": 1, "late": 1}


def test_a_stream_that_fails_changes_nothing() -> None:
    """Like a view that fails."""
    client = on_store().test_client()
    client.get("/set/a/1")

    with pytest.raises(ValueError):
        client.get("/late?fail", buffered=True)

    assert data_of(client) == {"a": 1}


def test_a_late_change_of_a_cookie_session_is_told() -> None:
    """A cookie cannot follow the headers: the event says that the change is lost."""
    events: list[Event] = []
    client = in_cookies(on_event=events.append).test_client()
    client.get("/set/a/1")

    client.get("/late", buffered=True)

    assert [event for event in events if isinstance(event, LateWrite)]
    assert data_of(client) == {"a": 1}


def test_a_session_that_is_too_large_is_an_error_of_the_application() -> None:
    """It is raised while there is still time to answer 500."""
    app = in_cookies()
    assert app.test_client().get("/big").status_code == 500

    app.testing = True
    with pytest.raises(SessionTooLarge):
        app.test_client().get("/big")


def test_the_page_after_a_failed_commit_depends_on_the_cookie() -> None:
    """It may show what is in the session, so no cache gives it to somebody else."""
    app = in_cookies()

    @app.errorhandler(500)
    def page(error: Exception) -> Any:
        return str(session.get("a")), 404, {"Cache-Control": "max-age=60"}

    client = app.test_client()
    client.get("/set/a/1")

    answer = client.get("/big")

    assert (answer.status_code, answer.text) == (404, "1")
    assert answer.headers["Vary"] == "Cookie"


def test_a_secure_cookie_on_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Browsers drop such a cookie without a word."""
    client = managed(SessionManager(Key.generate())).test_client()

    with caplog.at_level(logging.WARNING, "hardtack"):
        client.get("/set/a/1", base_url="http://shop.example")

    assert "Secure session cookie" in caplog.text


def test_what_is_not_a_manager_is_refused() -> None:
    """An engine in the manager's place is a ConfigError that says what belongs there."""
    with pytest.raises(ConfigError, match="SessionManager"):
        SessionInterface(CookieEngine(Key.generate()))  # type: ignore[arg-type]


# --- the application's own configuration


def test_without_a_secret_key_there_is_a_null_session() -> None:
    """Reading works, writing explains itself: Flask's own behaviour."""
    app = configured()
    app.secret_key = None
    app.testing = True

    assert app.test_client().get("/dump").get_json() == {}
    with pytest.raises(RuntimeError, match="secret key"):
        app.test_client().get("/set/a/1")


def test_the_cookie_has_flasks_defaults() -> None:
    """`session`, for the application's root, HttpOnly, and until the browser ends."""
    line = configured().test_client().get("/set/a/1").headers["Set-Cookie"]

    assert re.fullmatch(r"session=[\w-]+; Path=/; HttpOnly", line)


def test_the_cookies_settings_are_honoured() -> None:
    """SESSION_COOKIE_*, as Flask and werkzeug read them."""
    app = configured(
        SESSION_COOKIE_NAME="s",
        SESSION_COOKIE_DOMAIN=".bücher.example:8080",
        SESSION_COOKIE_PATH="/ä",
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SAMESITE="strict",
        SESSION_COOKIE_PARTITIONED=True,
    )

    line = app.test_client().get("/set/a/1").headers["Set-Cookie"]

    assert line.startswith("s=")
    assert line.endswith("; Path=/%C3%A4; Domain=xn--bcher-kva.example; Secure; SameSite=Strict; Partitioned")


def test_settings_may_change() -> None:
    """As tests do it: the next request is under the new settings, and many of them are not kept for ever."""
    app = configured()
    client = app.test_client()

    for number in range(40):
        app.config["SESSION_COOKIE_NAME"] = f"s{number}"
        assert client.get("/set/a/1").headers["Set-Cookie"].startswith(f"s{number}=")


def test_a_fallback_key_still_opens_and_the_session_is_sealed_anew() -> None:
    """SECRET_KEY_FALLBACKS: the old cookie is good, and the response brings one under the new key."""
    app = configured()
    client = app.test_client()
    app.secret_key = OLD_SECRET
    client.get("/set/a/1")

    app.secret_key, app.config["SECRET_KEY_FALLBACKS"] = SECRET, [OLD_SECRET]
    answer = client.get("/dump")

    assert answer.get_json() == {"a": 1}
    assert "Set-Cookie" in answer.headers
    app.config["SECRET_KEY_FALLBACKS"] = None
    assert data_of(client) == {"a": 1}


def test_fallbacks_may_change_in_place() -> None:
    """A key that is taken off the list, or put onto it, is so for the next request."""
    app = configured(SECRET_KEY_FALLBACKS=[])
    client = app.test_client()
    app.secret_key = OLD_SECRET
    client.get("/set/a/1")
    cookie = client.get_cookie("session")
    assert cookie is not None
    app.secret_key = SECRET

    def opened() -> Any:
        client.set_cookie("session", cookie.value)
        return data_of(client)

    assert opened() == {}
    app.config["SECRET_KEY_FALLBACKS"].append(OLD_SECRET)
    assert opened() == {"a": 1}
    app.config["SECRET_KEY_FALLBACKS"].clear()
    assert opened() == {}


def test_the_secret_key_can_be_a_property() -> None:
    """An application's own `secret_key` is asked at each request, whatever the configuration says."""
    keys = [SECRET]

    class Tenants(Flask):
        secret_key = property(lambda self: keys[-1])

    app = Tenants(__name__)
    app.session_interface = SessionInterface()
    app.register_blueprint(site)
    client = app.test_client()
    client.get("/set/a/1")
    assert data_of(client) == {"a": 1}

    keys.append(OLD_SECRET)

    assert data_of(client) == {}


def test_another_secret_key_opens_nothing() -> None:
    """A key that is neither the current one nor a fallback."""
    app = configured()
    client = app.test_client()
    client.get("/set/a/1")

    app.secret_key = OLD_SECRET

    assert data_of(client) == {}


def test_fallbacks_that_are_one_str_are_refused() -> None:
    """Each character of it would be a key."""
    app = configured(SECRET_KEY_FALLBACKS=OLD_SECRET)
    app.testing = True

    with pytest.raises(ConfigError, match="SECRET_KEY_FALLBACKS must be a list"):
        app.test_client().get("/nothing")


def test_a_session_made_by_hand_is_saved() -> None:
    """As tests of extensions do: the interface that saves it gives it a manager."""
    app = configured()
    response = app.response_class()
    with app.test_request_context():
        app.session_interface.save_session(app, FlaskSession({"n": 1}), response)
    client = app.test_client()
    name, _, value = response.headers["Set-Cookie"].partition(";")[0].partition("=")
    client.set_cookie(name, value)

    assert client.get("/dump").json == {"n": 1}


def test_a_session_made_by_hand_without_a_secret_is_nothing() -> None:
    """No manager, no cookie, no failure."""
    app = configured()
    app.secret_key = None
    response = app.response_class(iter([b"x"]))
    with app.test_request_context():
        app.session_interface.save_session(app, FlaskSession({"n": 1}), response)

    assert "Set-Cookie" not in response.headers


def test_a_session_that_could_not_be_opened_adds_no_second_error(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the mistake in the settings, and not the AttributeError of saving nothing."""
    app = configured(SECRET_KEY_FALLBACKS=OLD_SECRET)

    response = app.test_client().get("/set/n/1")

    assert response.status_code == 500
    assert "must be a list" in caplog.text
    assert "AttributeError" not in caplog.text


def test_a_lifetime_of_nothing_is_refused() -> None:
    """The message names Flask's setting."""
    app = configured(PERMANENT_SESSION_LIFETIME=0)
    app.testing = True

    with pytest.raises(ConfigError, match="PERMANENT_SESSION_LIFETIME"):
        app.test_client().get("/nothing")


def test_a_permanent_session_lasts_over_a_restart() -> None:
    """Max-Age is PERMANENT_SESSION_LIFETIME."""
    client = configured(PERMANENT_SESSION_LIFETIME=dt.timedelta(days=2)).test_client()

    line = client.get("/permanent/1").headers["Set-Cookie"]

    assert "Max-Age=172800" in line
    assert "Expires=" in line


def test_a_permanent_session_is_refreshed_by_each_response() -> None:
    """SESSION_REFRESH_EACH_REQUEST, which is on: also where the view did not look at the session."""
    client = configured().test_client()
    client.get("/permanent/1")

    answer = client.get("/nothing")

    assert "Max-Age=" in answer.headers["Set-Cookie"]
    assert answer.headers["Vary"] == "Cookie"


def test_refreshing_can_be_turned_off() -> None:
    """Then only a change sets the cookie."""
    client = configured(SESSION_REFRESH_EACH_REQUEST=False).test_client()
    client.get("/permanent/1")

    assert "Set-Cookie" not in client.get("/nothing").headers
    assert "Set-Cookie" not in client.get("/dump").headers


def _turned(app: Flask, seconds: float) -> None:
    """Turn the clock of the application's managers."""
    interface = app.session_interface
    assert isinstance(interface, SessionInterface)
    for manager in interface._managers.values():
        before = manager.core.clock
        manager.core.clock = lambda before=before: before() + seconds  # type: ignore[misc]


def test_the_lifetime_runs_from_the_last_cookie() -> None:
    """Flask's meaning of PERMANENT_SESSION_LIFETIME; the server enforces it, for every session."""
    app = configured(PERMANENT_SESSION_LIFETIME=100, SESSION_REFRESH_EACH_REQUEST=False)
    client = app.test_client()
    client.get("/set/a/1")
    _turned(app, 60)
    client.get("/set/a/2")
    _turned(app, 60)

    assert data_of(client) == {"a": 2}
    _turned(app, 60)
    assert data_of(client) == {}


def test_an_absolute_lifetime_can_be_set() -> None:
    """HARDTACK_LIFETIME ends a session that is used all the time."""
    app = configured(PERMANENT_SESSION_LIFETIME=100, HARDTACK_LIFETIME="2 minutes")
    client = app.test_client()
    client.get("/permanent/1")
    _turned(app, 80)
    assert "Max-Age=40" in client.get("/nothing").headers["Set-Cookie"]
    _turned(app, 80)

    assert data_of(client) == {}


def test_assigning_what_was_there_sets_the_cookie() -> None:
    """Flask's meaning of `modified`, in the mode that follows its configuration."""
    client = configured().test_client()
    client.get("/set/a/1")

    assert "Set-Cookie" in client.get("/set/a/1").headers


def test_popping_what_was_not_there_changes_nothing() -> None:
    """As in Flask, and the same for a default that was not needed."""
    app = configured()

    @app.get("/pop")
    def pop() -> str:
        session.pop("missing", None)
        session.setdefault("a", 2)
        return ""

    client = app.test_client()
    client.get("/set/a/1")

    assert "Set-Cookie" not in client.get("/pop").headers


# --- subclasses


def test_a_cookie_name_can_depend_on_the_request() -> None:
    """`get_cookie_name` of a subclass is asked for each request: two sessions side by side."""

    class Dynamic(SessionInterface):
        def get_cookie_name(self, app: Flask) -> str:
            return "admin" if flask.request.args.get("admin") else super().get_cookie_name(app)

    for app in (configured(), in_cookies()):
        given = app.session_interface
        assert isinstance(given, SessionInterface)
        app.session_interface = Dynamic(given.sessions)
        client = app.test_client()
        client.get("/set/a/1")
        client.get("/set/a/2?admin=1")

        assert client.get("/dump").get_json() == {"a": 1}
        assert client.get("/dump?admin=1").get_json() == {"a": 2}


def test_should_set_cookie_can_refuse_and_insist() -> None:
    """`should_set_cookie` of a subclass is asked where there is something to save."""

    class Decided(SessionInterface):
        def should_set_cookie(self, app: Flask, session: Any) -> bool:
            return flask.request.path != "/set/b/1" and (super().should_set_cookie(app, session) or "a" in session)

    app = configured()
    app.session_interface = Decided()
    client = app.test_client()
    client.get("/set/a/1")

    refused = client.get("/set/b/1")
    insisted = client.get("/nothing")

    assert "Set-Cookie" not in refused.headers
    assert refused.headers["Vary"] == "Cookie"
    assert "Set-Cookie" in insisted.headers
    assert data_of(client) == {"a": 1}


def test_an_expiry_of_ones_own_is_sent_and_enforced() -> None:
    """`get_expiration_time` of a subclass: None leaves the end to the browser."""

    class Short(SessionInterface):
        def get_expiration_time(self, app: Flask, session: Any) -> dt.datetime | None:
            return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=50) if "short" in session else None

    app = configured()
    app.session_interface = Short()
    client = app.test_client()

    short = client.get("/set/short/1").headers["Set-Cookie"]
    assert re.search(r"Max-Age=(49|50);", short)
    _turned(app, 60)
    assert data_of(client) == {}
    assert "Max-Age" not in client.get("/set/a/1").headers["Set-Cookie"]


def test_a_session_class_of_ones_own() -> None:
    """`session_class` adds to what views get."""

    class Counted(FlaskSession):
        __slots__ = ()

        def count(self) -> int:
            self["count"] = self.get("count", 0) + 1
            return int(self["count"])

    class Counting(SessionInterface):
        session_class = Counted

    app = configured()
    app.session_interface = Counting()

    @app.get("/count")
    def count() -> str:
        found = current()
        assert isinstance(found, Counted)
        return str(found.count())

    client = app.test_client()

    assert [client.get("/count").text for _ in range(3)] == ["1", "2", "3"]


def test_flask_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra."""
    without("flask", "hardtack.frameworks.flask", monkeypatch)

    with pytest.raises(ImportError, match=r"hardtack\[flask\]"):
        import hardtack.frameworks.flask  # noqa: F401


def test_the_example_runs() -> None:
    """examples/flask: a page for guests, a login, a logout."""
    example = load_example("flask/app.py")
    client = example.app.test_client()

    assert "Visit 1" in client.get("/", base_url="https://localhost").text
    client.post("/login", data={"name": "ann"}, base_url="https://localhost")
    page = client.get("/", base_url="https://localhost").text
    assert "Visit 2" in page
    assert "Hello, ann" in page
    client.post("/logout", base_url="https://localhost")
    assert "Visit 1" in client.get("/", base_url="https://localhost").text


# --- Flask's own tests


def _failures(tree: Path, report: Path, **environ: str) -> tuple[set[str], int]:
    """Run Flask's suite; the names of the tests that failed, and how many ran."""
    here = Path(__file__).parent
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "hardtack_plugin",
    ]
    places = os.pathsep.join([str(here / "flask_suite"), str(here.parents[1] / "src")])
    outcome = subprocess.run(
        [*command, f"--junitxml={report}", "tests"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": places, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), outcome.stdout[-2000:] + outcome.stderr[-2000:]
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = {
        f"{case.get('classname')}.{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    return failed, len(cases)


@pytest.mark.slow
def test_flasks_own_suite_passes(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """All of Flask's tests pass with hardtack's sessions, but those that fail with Flask's own in this environment."""
    tree = source_of("flask", pytestconfig.cache.mkdir("sdists"))

    own, expected = _failures(tree, tmp_path / "own.xml")
    ours, ran = _failures(tree, tmp_path / "ours.xml", HARDTACK_SESSIONS="1")

    assert ran == expected > 480
    assert ours - own == set()

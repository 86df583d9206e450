"""The WSGI middleware: when it saves, what it sends, and what it lets pass; checked by wsgiref.validate and WebTest."""

from __future__ import annotations

import io
import runpy
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from tests.frameworks.gateway_kit import UNAVAILABLE, AsyncMemoryStore, UnreliableStore, cookie_of, data_of, manager

from hardtack import SessionManager
from hardtack.errors import ConfigError, SessionTooLarge, StoreUnavailable
from hardtack.events import Event, LateWrite
from hardtack.frameworks.wsgi import SESSIONS, SessionMiddleware
from hardtack.stores.memory import MemoryStore

with warnings.catch_warnings():  # WebOb imports cgi
    warnings.simplefilter("ignore", DeprecationWarning)
    import webtest  # type: ignore[import-untyped]

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, Start], Iterable[bytes]]

ROOT = Path(__file__).parents[2]
CLEARED = "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"


@pytest.fixture(params=["cookie", "store"])
def sessions(request: pytest.FixtureRequest) -> SessionManager:
    """A manager of each engine."""
    return manager(MemoryStore() if request.param == "store" else None)


class Answer:
    """What a server would send: it runs an application as PEP 3333 says, and minds its rules."""

    def __init__(self, app: App, cookie: str = "", environ: Environ | None = None) -> None:
        self.started: list[tuple[str, list[tuple[str, str]]]] = []
        self.sent = b""
        self.environ: Environ = {"QUERY_STRING": "", **(environ or {}), **({"HTTP_COOKIE": cookie} if cookie else {})}
        setup_testing_defaults(self.environ)
        self.body = app(self.environ, self._start)
        try:
            for part in self.body:
                assert self.started
                self.sent += part
        finally:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info is not None and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or not self.started, "start_response was called twice"
        self.started.append((status, list(headers)))
        return self._write

    def _write(self, data: bytes) -> None:
        self.sent += data

    @property
    def status(self) -> str:
        return self.started[-1][0]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.started[-1][1] if key == name]

    @property
    def set_cookies(self) -> list[str]:
        return self.values("Set-Cookie")


TEXT = [("Content-Type", "text/plain")]


def untouched(environ: Environ, start: Start) -> Iterable[bytes]:
    """An application that has no use for sessions."""
    start("200 OK", TEXT)
    return [b"ok"]


def count(environ: Environ, start: Start) -> Iterable[bytes]:
    """An application that counts visits."""
    session = environ["hardtack.session"]
    session["visits"] = session.get("visits", 0) + 1
    start("200 OK", [("Content-Type", "text/plain")])
    return [str(session["visits"]).encode()]


def count_lazily(environ: Environ, start: Start) -> Iterator[bytes]:
    """An application that does nothing before its first item is asked for."""
    yield from count(environ, start)


def count_in_an_iterator(environ: Environ, start: Start) -> Iterator[bytes]:
    """An application whose body has no `close`."""
    return iter(count(environ, start))


def log_out(environ: Environ, start: Start) -> Iterable[bytes]:
    """An application that ends the session."""
    environ["hardtack.session"].logout()
    start("200 OK", TEXT)
    return [b"bye"]


class Body:
    """A body that says whether it was closed."""

    def __init__(self, parts: list[bytes], at_end: Callable[[], object] = lambda: None) -> None:
        self.parts = iter(parts)
        self.at_end = at_end
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        self.at_end()

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("app", [count, count_lazily, count_in_an_iterator])
def test_a_session_lasts_from_request_to_request(app: App, sessions: SessionManager) -> None:
    """A real client gets the cookie and brings it back, and WebTest's lint finds no fault."""
    client = webtest.TestApp(SessionMiddleware(app, sessions))

    bodies = [client.get("/").text for _ in range(3)]

    assert bodies == ["1", "2", "3"]


@pytest.mark.parametrize("app", [count, count_lazily, untouched])
def test_the_middleware_keeps_the_rules_on_both_sides(app: App, sessions: SessionManager) -> None:
    """wsgiref's validator stands between server and middleware, and between middleware and application."""
    answer = Answer(validator(SessionMiddleware(validator(app), sessions)))

    assert answer.status == "200 OK"


def test_an_untouched_session_leaves_the_response_alone(sessions: SessionManager) -> None:
    """Not a header is added."""
    answer = Answer(SessionMiddleware(untouched, sessions))

    assert answer.started == [("200 OK", TEXT)]


def test_a_written_session_sets_a_cookie_and_keeps_caches_out(sessions: SessionManager) -> None:
    """The headers that the application gave are not changed in place: it may give the same list to everyone."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["a"] = 1
        start("200 OK", TEXT)
        return []

    answer = Answer(SessionMiddleware(app, sessions))

    assert [key for key, _ in answer.started[0][1]] == ["Content-Type", "Vary", "Cache-Control", "Set-Cookie"]
    assert answer.values("Cache-Control") == ["private, no-store"]
    assert TEXT == [("Content-Type", "text/plain")]


def test_the_manager_is_in_the_environ(sessions: SessionManager) -> None:
    """Handlers reach `list`, `end` and `update`."""
    answer = Answer(SessionMiddleware(untouched, sessions))

    assert answer.environ[SESSIONS] is sessions


def test_two_middlewares_on_one_request_are_refused(sessions: SessionManager) -> None:
    """Each would overwrite what the other had done."""
    with pytest.raises(ConfigError, match="two session middlewares"):
        Answer(SessionMiddleware(SessionMiddleware(count, sessions), sessions))


def test_the_manager_must_be_one() -> None:
    """A secret in its place is refused by name."""
    with pytest.raises(ConfigError, match="takes a SessionManager, not str"):
        SessionMiddleware(count, "secret")  # type: ignore[arg-type]


def test_a_store_for_async_code_is_refused() -> None:
    """At the start, and not at the first login."""
    with pytest.raises(ConfigError, match="AsyncMemoryStore is for async code"):
        SessionMiddleware(count, manager(AsyncMemoryStore()))


def test_the_write_callable_works(sessions: SessionManager) -> None:
    """Old applications send their body through it."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["a"] = 1
        write = start("200 OK", TEXT)
        write(b"written, ")
        return [b"returned"]

    answer = Answer(SessionMiddleware(app, sessions))

    assert answer.sent == b"written, returned"
    assert len(answer.set_cookies) == 1


# --- the body


def test_a_list_reaches_the_server_as_it_is(sessions: SessionManager) -> None:
    """wsgiref takes the length of a list of one for Content-Length."""
    output = io.BytesIO()
    environ: Environ = {}
    setup_testing_defaults(environ)
    handler = SimpleHandler(io.BytesIO(), output, sys.stderr, environ)

    handler.run(SessionMiddleware(count, sessions))

    assert b"Content-Length: 1\r\n" in output.getvalue()
    assert b"Set-Cookie: session=" in output.getvalue()


def test_a_file_reaches_the_server_as_it_is(sessions: SessionManager) -> None:
    """The server recognizes the class and sends the file itself."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["a"] = 1
        start("200 OK", TEXT)
        return FileWrapper(io.BytesIO(b"of a file"))

    answer = Answer(SessionMiddleware(app, sessions), environ={"wsgi.file_wrapper": FileWrapper})

    assert type(answer.body) is FileWrapper
    assert answer.sent == b"of a file"
    assert len(answer.set_cookies) == 1


def test_a_file_of_a_server_whose_wrapper_is_a_function_reaches_it_as_it_is(sessions: SessionManager) -> None:
    """uWSGI gives back the file itself, and sends that one by `sendfile`; it is not told apart by its type."""
    file, other = Body([b"of a file"]), Body([b"other"])

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["n"] = 1
        start("200 OK", TEXT)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 65536)
        return wrapped if environ["PATH_INFO"] == "/file" else other

    def wrap(file: Body, block_size: int) -> Body:
        return file

    answers = [
        Answer(SessionMiddleware(app, sessions), environ={"wsgi.file_wrapper": wrap, "PATH_INFO": path})
        for path in ("/file", "/other")
    ]

    assert answers[0].body is file
    assert answers[1].body is not other
    assert [answer.sent for answer in answers] == [b"of a file", b"other"]


def test_another_body_is_closed(sessions: SessionManager) -> None:
    """PEP 3333: whoever wraps a body passes `close` on."""
    body = Body([b"a", b"b"])

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", TEXT)
        return body

    answer = Answer(SessionMiddleware(app, sessions))

    assert answer.sent == b"ab"
    assert body.closed


def test_a_late_change_is_saved_in_a_store() -> None:
    """It needs no new cookie."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, early=0)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        session = environ["hardtack.session"]
        session["early"] = 1
        start("200 OK", TEXT)
        return Body([b"ok"], lambda: session.update(late=2))

    Answer(SessionMiddleware(app, sessions), cookie)

    assert data_of(sessions, cookie) == {"early": 1, "late": 2}


def test_a_change_between_start_and_list_is_saved_in_a_store() -> None:
    """There is no body left to wait for."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, early=0)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["early"] = 1
        start("200 OK", TEXT)
        environ["hardtack.session"]["late"] = 2
        return [b"ok"]

    Answer(SessionMiddleware(app, sessions), cookie)

    assert data_of(sessions, cookie) == {"early": 1, "late": 2}


def test_a_late_change_cannot_be_kept_in_a_cookie() -> None:
    """The cookie has left; an event says what was lost."""
    events: list[Event] = []

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", TEXT)
        return Body([b"ok"], lambda: environ["hardtack.session"].update(late=2))

    answer = Answer(SessionMiddleware(app, manager(events=events)))

    assert LateWrite in [type(event) for event in events]
    assert answer.set_cookies == []


# --- exceptions


def test_an_exception_saves_nothing(sessions: SessionManager) -> None:
    """The server answers 500."""
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["visits"] = 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Answer(SessionMiddleware(app, sessions), cookie)

    assert data_of(sessions, cookie) == {"visits": 1}


def test_an_exception_in_the_body_saves_nothing_more() -> None:
    """What was committed with the headers stays, what came later goes."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        environ["hardtack.session"]["visits"] = 2
        start("200 OK", TEXT)
        yield b"half"
        environ["hardtack.session"]["visits"] = 3
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Answer(SessionMiddleware(app, sessions), cookie)

    assert data_of(sessions, cookie) == {"visits": 2}


def test_an_error_that_the_application_reports_saves_nothing(sessions: SessionManager) -> None:
    """`exc_info` says that an exception ended the handler; its page may show the session."""
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            environ["hardtack.session"]["visits"] = 1 // 0
        except ZeroDivisionError:
            environ["hardtack.session"]["failed"] = True
            start("500 Oops", TEXT, sys.exc_info())
        return [b"oops"]

    answer = Answer(SessionMiddleware(app, sessions), cookie)

    assert answer.started == [("500 Oops", [*TEXT, ("Vary", "Cookie"), ("Cache-Control", "private")])]
    assert data_of(sessions, cookie) == {"visits": 1}


def test_an_error_page_that_replaces_the_headers_keeps_the_cookie() -> None:
    """The id was changed when the first headers were made: without the new cookie the user would be logged out."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"].login("alice")
        start("200 OK", TEXT)
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start("500 Oops", [("Vary", "Accept")], sys.exc_info())
        return [b"oops"]

    answer = Answer(SessionMiddleware(app, sessions), cookie)

    assert answer.status == "500 Oops"
    assert answer.values("Vary") == ["Accept, Cookie"]
    (line,) = answer.set_cookies
    assert sessions.open(line.partition(";")[0]).subject == "alice"


def test_a_second_start_is_left_to_the_server(sessions: SessionManager) -> None:
    """Which refuses it, as PEP 3333 asks."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", TEXT)
        start("200 OK", TEXT)
        return []

    with pytest.raises(AssertionError, match="called twice"):
        Answer(SessionMiddleware(app, sessions))


def test_a_session_that_is_too_large_fails_before_anything_was_sent() -> None:
    """And the error page that the application makes of it saves nothing, and is kept by no cache: it may show the session."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["much"] = "x" * 10_000
        try:
            start("200 OK", TEXT)
        except SessionTooLarge:
            environ["hardtack.session"]["much"] = ""
            start("404 Oops", [*TEXT, ("Cache-Control", "max-age=60")])
        return [b"oops"]

    answer = Answer(SessionMiddleware(app, manager()))

    assert answer.started == [
        ("404 Oops", [*TEXT, ("Vary", "Cookie"), ("Cache-Control", "private, no-store")]),
    ]


class Killed(BaseException):
    """As gevent's GreenletExit: no exception of the application."""


def leave_and(fail: Callable[[], object]) -> App:
    """An application that fails after it has ended the session."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"].logout()
        fail()
        start("200 OK", TEXT)
        return [b"ok"]

    return app


def fail() -> None:
    raise ZeroDivisionError


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("lazily", [False, True])
def test_a_logout_before_an_exception_is_carried_out(sessions: SessionManager, lazily: bool) -> None:
    """The page for the exception is ours then: the server's could not clear the cookie."""
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        yield from leave_and(fail)(environ, start)

    answer = Answer(SessionMiddleware(app if lazily else leave_and(fail), sessions), cookie)

    assert answer.status == "500 Internal Server Error"
    assert answer.set_cookies == [CLEARED]
    assert sessions.engine.store is None or data_of(sessions, cookie) == {}


@pytest.mark.parametrize("lazily", [False, True])
def test_a_logout_before_a_greenlet_is_killed_is_carried_out(lazily: bool) -> None:
    """Nothing is answered: who kills it knows why."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        yield from leave_and(kill)(environ, start)

    with pytest.raises(Killed):
        Answer(SessionMiddleware(app if lazily else leave_and(kill), sessions), cookie)

    assert data_of(sessions, cookie) == {}


def test_a_logout_before_an_exception_that_the_store_did_not_hear_of_is_a_503() -> None:
    """Copies of the cookie are good still; this browser's is cleared."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)

    def switch_off_and_fail() -> None:
        store.writable = False
        fail()

    answer = Answer(SessionMiddleware(leave_and(switch_off_and_fail), sessions), cookie)

    assert is_refusal(answer)
    assert answer.set_cookies == [CLEARED]


def test_what_was_ended_is_cleared_whatever_cannot_be_kept() -> None:
    """In a cookie engine the cookie is all there is."""
    sessions = manager()
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"].logout()
        environ["hardtack.session"]["value"] = object()
        start("200 OK", TEXT)
        return [b"ok"]

    answer = Answer(SessionMiddleware(app, sessions), cookie)

    assert answer.status == "500 Internal Server Error"
    assert answer.set_cookies == [CLEARED]


@pytest.mark.parametrize(("options", "committed"), [({}, False), ({"commit_on_500": True}, True)])
def test_a_page_with_status_500_saves_where_it_is_said_to(
    sessions: SessionManager, options: dict[str, Any], committed: bool
) -> None:
    """It is what a framework inside makes of an exception that nothing handled."""

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"]["failures"] = 1
        start("500 Oops", TEXT)
        return [b"oops"]

    assert len(Answer(SessionMiddleware(app, sessions, **options)).set_cookies) == committed


class BrokenAtTheEnd(Body):
    """A body whose `close` fails."""

    def close(self) -> None:
        raise ZeroDivisionError


def test_a_body_that_cannot_be_closed_saves_nothing_more() -> None:
    """But what it ended is ended."""
    sessions = manager(MemoryStore())
    kept, ended = cookie_of(sessions, visits=1), cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        session = environ["hardtack.session"]
        start("200 OK", TEXT)
        at_end = session.logout if environ["PATH_INFO"] == "/logout" else lambda: session.update(visits=2)
        return BrokenAtTheEnd([b"ok"], at_end)

    for path, cookie in (("/", kept), ("/logout", ended)):
        with pytest.raises(ZeroDivisionError):
            Answer(SessionMiddleware(app, sessions), cookie, {"PATH_INFO": path})

    assert (data_of(sessions, kept), data_of(sessions, ended)) == ({"visits": 1}, {})


def test_a_body_that_never_starts_a_response_ends_what_it_ended() -> None:
    """The server answers 500 then."""
    sessions = manager(MemoryStore())
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"].logout()
        return []

    Answer(SessionMiddleware(app, sessions), cookie)

    assert data_of(sessions, cookie) == {}


def test_a_request_may_be_no_activity_of_the_user() -> None:
    """A page that polls does not keep an abandoned session alive."""
    now = [4_000_000_000.0]
    sessions = manager(MemoryStore(), idle_timeout="1 hour", clock=lambda: now[0])
    cookie = cookie_of(sessions, visits=1)

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        environ["hardtack.session"].get("visits")
        start("200 OK", TEXT)
        return []

    middleware = SessionMiddleware(app, sessions, passive=lambda environ: environ["PATH_INFO"] == "/poll")
    seen = []
    for path in ("/poll", "/"):
        now[0] += 1000
        Answer(middleware, cookie, {"PATH_INFO": path})
        seen.append(sessions.open(cookie).seen_at)

    assert [int(each.timestamp()) - 4_000_000_000 for each in seen if each is not None] == [0, 2000]


# --- a store that is down


def is_refusal(answer: Answer) -> bool:
    """Whether the answer is our 503, and nothing else."""
    return (
        answer.status == "503 Service Unavailable"
        and answer.values("Retry-After") == ["5"]
        and answer.values("Cache-Control") == ["no-store"]
        and answer.values("Content-Length") == [str(len(UNAVAILABLE))]
        and answer.sent == UNAVAILABLE
    )


@pytest.mark.parametrize("app", [count, count_lazily])
@pytest.mark.parametrize("fails", ["readable", "writable"])
def test_a_store_that_is_down_is_a_503(app: App, fails: str) -> None:
    """Whether the session cannot be read or not be saved, at once or at the first item of the body."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    setattr(store, fails, False)

    answer = Answer(validator(SessionMiddleware(app, sessions)), cookie)

    assert is_refusal(answer)
    assert len(answer.started) == 1
    assert answer.set_cookies == []


def test_an_untouched_session_does_without_the_store() -> None:
    """It is loaded when it is touched, and not before."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.readable = store.writable = False

    assert Answer(SessionMiddleware(untouched, sessions), cookie).status == "200 OK"


def test_a_logout_that_the_store_does_not_hear_of_clears_the_cookie_all_the_same() -> None:
    """The user must not stay logged in at this browser."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.writable = False

    answer = Answer(SessionMiddleware(log_out, sessions), cookie)

    assert is_refusal(answer)
    assert answer.set_cookies == [CLEARED]


def test_the_applications_own_page_for_a_store_that_is_down_clears_the_cookie_too() -> None:
    """Frameworks turn exceptions into pages of their own."""
    store = UnreliableStore()
    sessions = manager(store)
    cookie = cookie_of(sessions, visits=1)
    store.writable = False

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            return log_out(environ, start)
        except StoreUnavailable:
            start("500 Oops", TEXT, sys.exc_info())
            return [b"oops"]

    answer = Answer(SessionMiddleware(app, sessions), cookie)

    assert answer.status == "500 Oops"
    assert answer.values("Cache-Control") == ["private, no-store"]
    assert answer.set_cookies == [CLEARED]


def test_a_failed_commit_is_a_503_whatever_the_application_makes_of_it() -> None:
    """Some code wraps the exceptions that it does not know."""
    store = UnreliableStore()
    store.writable = False

    def app(environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            return count(environ, start)
        except StoreUnavailable as error:
            raise RuntimeError from error

    assert is_refusal(Answer(SessionMiddleware(app, manager(store))))


def test_a_store_that_fails_after_the_start_replaces_the_headers() -> None:
    """They have not left before the first item of the body."""

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", TEXT)
        raise StoreUnavailable("down")
        yield b""

    assert is_refusal(Answer(SessionMiddleware(app, manager())))


def test_a_store_that_fails_after_the_headers_left_is_an_exception() -> None:
    """A second response cannot be sent."""

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", TEXT)
        yield b"half"
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        Answer(SessionMiddleware(app, manager()))


# --- plain http


@pytest.mark.parametrize(("scheme", "host", "warnings"), [("http", "example.org", 1), ("https", "example.org", 0)])
def test_a_secure_cookie_on_plain_http_is_warned_of_once(
    scheme: str, host: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Browsers drop it without a word."""
    app = SessionMiddleware(count, manager(cookie=None))

    for _ in range(2):
        Answer(app, environ={"HTTP_HOST": host, "wsgi.url_scheme": scheme})

    assert caplog.text.count("Secure session cookie") == warnings


def test_the_example_counts_and_forgets() -> None:
    """examples/wsgi runs."""
    client = webtest.TestApp(runpy.run_path(str(ROOT / "examples/wsgi/app.py"))["app"])

    texts = [client.get(path).text for path in ("/", "/", "/forget", "/")]

    assert texts == ["Visit 1.\n", "Visit 2.\n", "Forgotten.\n", "Visit 1.\n"]

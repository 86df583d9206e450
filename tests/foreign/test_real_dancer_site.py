"""A real Dancer application and a Python application on one cookie: who logs in on one is logged in on the other."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from tests.needs import find_program

from hardtack import Cookie, CookieEngine, Key, SessionManager
from hardtack.foreign.dancer import DancerCookie

pytestmark = pytest.mark.perl("Dancer", "Dancer::Session::Cookie", "HTTP::Server::Simple::PSGI")

SECRET = "this random key IS NOT very random"
SITE = Path(__file__).parent / "perl" / "dancer_site.pl"


class Quiet(WSGIRequestHandler):
    """A request handler that logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def application(sessions: SessionManager) -> Callable[..., Iterable[bytes]]:
    """The Dancer site's pages in Python."""

    def respond(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        session = sessions.open(environ.get("HTTP_COOKIE"))
        page, _, argument = environ["PATH_INFO"].strip("/").partition("/")
        body = "done"
        if page == "login":
            session["user"] = argument
        elif page == "add":
            session.setdefault("cart", []).append(argument)
        elif page == "whoami":
            body = session.get("user", "nobody")
        elif page == "cart":
            body = ",".join(session.get("cart", []))
        elif page == "logout":
            session.logout()
        start_response("200 OK", [("Content-Type", "text/plain"), *sessions.commit(session)])
        sessions.finish(session)
        return [body.encode()]

    return respond


def serve(sessions: SessionManager) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, application(sessions), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def python() -> Iterator[str]:
    """The Python site, on Dancer's own cookie."""
    cookie = Cookie(name="dancer.session", secure=False, samesite=None)
    yield from serve(SessionManager(CookieEngine(DancerCookie(SECRET)), cookie=cookie, lifetime="1 hour"))


@pytest.fixture
def successor() -> Iterator[str]:
    """A Python site with cookies of its own, which takes Dancer's sessions over."""
    cookie = Cookie(name="session", secure=False)
    yield from serve(SessionManager(Key.generate(), cookie=cookie, accept=[DancerCookie(SECRET)]))


@pytest.fixture(scope="module")
def dancer() -> Iterator[str]:
    """The Dancer site."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [find_program("perl"), str(SITE), str(port), SECRET]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
        else:
            return
    process.kill()
    assert process.stdout is not None
    pytest.fail(f"the Dancer site did not start: {process.stdout.read().decode()}")


class Browser:
    """Keeps cookies for 127.0.0.1, whatever the port: a browser does not look at it either."""

    def __init__(self) -> None:
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def get(self, url: str) -> str:
        with self._opener.open(url, timeout=10) as response:
            text: bytes = response.read()
        return text.decode()

    def names(self) -> set[str]:
        return {cookie.name for cookie in self.jar}


@pytest.fixture
def browser() -> Browser:
    return Browser()


def test_login_on_dancer_is_a_login_in_python(dancer: str, python: str, browser: Browser) -> None:
    """Who logs in on the Dancer site is logged in on the Python site."""
    browser.get(f"{dancer}/login/alice")

    assert browser.get(f"{python}/whoami") == "alice"


def test_login_in_python_is_a_login_on_dancer(dancer: str, python: str, browser: Browser) -> None:
    """Who logs in on the Python site is logged in on the Dancer site."""
    browser.get(f"{python}/login/bob")

    assert browser.get(f"{dancer}/whoami") == "bob"


def test_both_sites_write_one_session(dancer: str, python: str, browser: Browser) -> None:
    """A cart is filled on both sites in turn, and the login stays."""
    browser.get(f"{dancer}/login/alice")
    for site, item in ((dancer, "bread"), (python, "salt"), (dancer, "rum"), (python, "lime")):
        browser.get(f"{site}/add/{item}")

    assert browser.get(f"{dancer}/cart") == "bread,salt,rum,lime"
    assert browser.get(f"{python}/cart") == "bread,salt,rum,lime"
    assert browser.get(f"{dancer}/whoami") == "alice"
    assert browser.names() == {"dancer.session"}


@pytest.mark.parametrize("first", ["dancer", "python"])
def test_logout_on_one_is_a_logout_on_the_other(dancer: str, python: str, browser: Browser, first: str) -> None:
    """After a logout on either site neither knows the user."""
    browser.get(f"{dancer}/login/alice")

    browser.get(f"{dancer if first == 'dancer' else python}/logout")

    assert browser.get(f"{python}/whoami") == "nobody"
    assert browser.get(f"{dancer}/whoami") == "nobody"


def test_another_key_is_another_site(dancer: str, browser: Browser) -> None:
    """A site with another key does not know Dancer's users."""
    browser.get(f"{dancer}/login/alice")
    cookie = Cookie(name="dancer.session", secure=False, samesite=None)
    stranger = serve(SessionManager(CookieEngine(DancerCookie("another key")), cookie=cookie))

    assert browser.get(f"{next(stranger)}/whoami") == "nobody"
    assert next(stranger, None) is None


def test_a_site_that_moved_takes_the_session_over(dancer: str, successor: str, browser: Browser) -> None:
    """On the new site the user is still logged in, under a cookie of its own; Dancer's is cleared and does not return."""
    browser.get(f"{dancer}/login/alice")
    browser.get(f"{dancer}/add/bread")

    assert browser.get(f"{successor}/whoami") == "alice"
    assert browser.names() == {"session"}
    assert browser.get(f"{successor}/cart") == "bread"
    browser.get(f"{successor}/logout")
    assert browser.get(f"{successor}/whoami") == "nobody"

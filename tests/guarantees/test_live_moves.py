"""docs/moving-a-live-site.md on real servers under load: each deploy overlaps the one before it, and nobody is logged out."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.docs.examples import ROOT
from tests.needs import find_program
from tests.servers import free_port

from hardtack import Key

BROWSERS = 3
REQUESTS = 6
DEADLINE = 120.0
DANCER = ROOT / "tests" / "foreign" / "perl" / "dancer_site.pl"


class Browser:
    """One browser: its cookies by their places, and what it was told that it should not have been."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cookies: dict[tuple[str, str, str], str] = {}
        self.asked: dict[int, int] = {}
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def get(self, port: int, path: str, header: str | None = None) -> str:
        """Ask a server, with the cookies of now or of before."""
        header = self.header if header is None else header
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path, headers={"Cookie": header} if header else {})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        with self._lock:
            for line in response.headers.get_all("Set-Cookie") or []:
                self._take(line)
            self.asked[port] = self.asked.get(port, 0) + 1
        return body if response.status == 200 else f"{response.status}"

    @property
    def header(self) -> str:
        """All cookies, as a browser sends them."""
        return "; ".join(f"{name}={value}" for (name, _, _), value in self.cookies.items())

    def _take(self, line: str) -> None:
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        said = {key.strip().lower(): text for key, _, text in (each.partition("=") for each in attributes)}
        place = name, said.get("domain", ""), said.get("path", "/")
        gone = said.get("max-age") == "0" or "1970" in said.get("expires", "")
        self.cookies.pop(place, None)
        if not gone:
            self.cookies[place] = value

    def expect(self, what: str, answer: str, wanted: str) -> None:
        """Note what should not have been answered."""
        if answer != wanted:
            self.wrong.append(f"{what}: {answer!r}, and not {wanted!r}")


class Load:
    """Browsers that ask all servers there are, each several things at a time."""

    def __init__(self, *, dancer: bool) -> None:
        self._dancer = dancer
        self.ports: list[int] = []
        self.browsers: list[Browser] = []
        self._busy: dict[int, int] = {}
        self._condition = threading.Condition()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, name: str) -> None:
        """One more browser, which logs in first."""
        browser = Browser(name)
        browser.expect("login", self._get(browser, f"/login/{name}", random.Random(name)), name)
        self.browsers.append(browser)
        self._threads.append(threading.Thread(target=self._browse, args=(browser,)))
        self._threads[-1].start()

    def _get(self, browser: Browser, path: str, choose: random.Random, header: str | None = None) -> str:
        with self._condition:
            port = choose.choice(self.ports)
            self._busy[port] = self._busy.get(port, 0) + 1
        try:
            answer = browser.get(port, path, header)
            return browser.name if answer == "logged in" else answer  # as the Dancer site says it
        finally:
            with self._condition:
                self._busy[port] -= 1
                self._condition.notify_all()

    def _browse(self, browser: Browser) -> None:
        choose = random.Random(browser.name)
        turn = 0
        try:
            while not self._stopped.is_set():
                turn += 1
                self._turn(browser, choose, turn)
        except OSError as error:
            browser.wrong.append(f"turn {turn}: {error!r}")

    def _turn(self, browser: Browser, choose: random.Random, turn: int) -> None:
        header = browser.header
        answers: list[str] = []

        def ask(seed: int) -> None:
            own = random.Random(seed)
            answers.append(self._get(browser, "/whoami", own, header))

        # As a page asks for what belongs to it: together, and with the cookies that there were when it was loaded.
        together = [threading.Thread(target=ask, args=(choose.getrandbits(32),)) for _ in range(choose.choice((1, 3)))]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        for answer in answers:
            browser.expect(f"turn {turn}", answer, browser.name)
        if len(answers) != len(together):
            browser.wrong.append(f"turn {turn}: no answer")
        if turn % 7 == 0:
            self._get(browser, "/add/1" if self._dancer else f"/touch/{turn}", choose)
            browser.expect(f"turn {turn}, changed", self._get(browser, "/whoami", choose), browser.name)
        if turn % 11 == 0:
            self._get(browser, "/logout", choose)
            browser.expect(f"turn {turn}, logged out", self._get(browser, "/whoami", choose), "nobody")
            self._get(browser, f"/login/{browser.name}", choose)
            browser.expect(f"turn {turn}, logged in again", self._get(browser, "/whoami", choose), browser.name)

    def serve(self, *ports: int) -> None:
        """Ask these servers alone from now on, and wait until each has answered each browser several times."""
        with self._condition:
            self.ports = list(ports)
            self._condition.wait_for(lambda: all(not busy for port, busy in self._busy.items() if port not in ports))
        if not self.browsers:
            return
        for browser in self.browsers:
            browser.asked = {}
        until = time.monotonic() + DEADLINE
        while any(browser.asked.get(port, 0) < REQUESTS for browser in self.browsers for port in ports):
            assert time.monotonic() < until, [browser.wrong for browser in self.browsers]
            assert not self.wrong, self.wrong
            time.sleep(0.02)

    @property
    def wrong(self) -> list[str]:
        """What was answered that should not have been."""
        return [f"{browser.name}: {each}" for browser in self.browsers for each in browser.wrong]

    def stop(self) -> None:
        """No more requests."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def server(heading: str, deploy: str, environment: dict[str, str]) -> Iterator[int]:
    """A process that serves a deploy: its port."""
    command = [sys.executable, "-m", "tests.guarantees.live_worker", heading, deploy]
    port = free_port()
    if deploy == "dancer":
        command = [find_program("perl"), str(DANCER), str(port), environment["DANCER_KEY"]]
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        if deploy == "dancer":
            _wait_for(port)
        else:
            port = int(process.stdout.readline())
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


def play(heading: str, deploys: list[str], environment: dict[str, str]) -> None:
    """Deploy one after the other, each to two processes, one of them first."""
    load = Load(dancer="dancer" in deploys)
    with ExitStack() as stack:
        running: list[int] = []
        try:
            for stage, deploy in enumerate(deploys):
                for _ in range(2):
                    running.append(stack.enter_context(server(heading, deploy, environment)))
                    load.serve(*running[-2:])  # the oldest is not asked any more
                    load.add(f"user{stage}{len(load.browsers)}")
                    if len(load.browsers) < BROWSERS:
                        load.add(f"user{stage}{len(load.browsers)}")
            load.serve(*running[-2:])
        finally:
            load.stop()
    assert load.wrong == []


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the examples take from the environment."""
    return {
        "HARDTACK_KEY": Key.generate().export(),
        "SECRET_KEY": "the SECRET_KEY of the application",
        "DANCER_KEY": "the session_cookie_key of Dancer",
        "SQLITE_URL": f"sqlite:///{tmp_path / 'sessions.db'}",
    }


pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("heading", "deploys"),
    [
        ("From cookies to Redis", ["1", "2", "3"]),
        ("From Redis to cookies", ["1", "2", "3"]),
        ("From unsealed to sealed", ["1", "2", "3"]),
    ],
    ids=["cookies to Redis", "Redis to cookies", "unsealed to sealed"],
)
def test_moves_with_redis(heading: str, deploys: list[str], environment: dict[str, str], redis_server: Any) -> None:
    """From cookies to Redis, back, and to sealed records."""
    environment["REDIS_URL"] = redis_server.url
    play(heading, deploys, environment)


def test_from_one_database_to_another(environment: dict[str, str], postgresql_server: Any) -> None:
    """From SQLite to PostgreSQL."""
    environment["POSTGRESQL_URL"] = postgresql_server.url
    play("From SQLite to PostgreSQL", ["1", "2", "3"], environment)


def test_from_flask_and_back(environment: dict[str, str]) -> None:
    """Flask itself, the three deploys, and Flask again."""
    play("From Flask to hardtack, and back", ["flask", "1", "2", "3", "2", "1", "flask"], environment)


def test_from_flask_and_back_with_its_cookie_kept(environment: dict[str, str]) -> None:
    """Flask itself, the two deploys, and back."""
    play("From Flask, beside Flask", ["flask", "1", "2", "1", "flask"], environment)


class LoginsThere(Load):
    """Browsers that log in at one server, and ask and log out at any."""

    def __init__(self, there: int) -> None:
        super().__init__(dancer=False)
        self._there = there
        self.ports = [there]

    def _get(self, browser: Browser, path: str, choose: random.Random, header: str | None = None) -> str:
        if path.startswith("/login/"):
            return browser.get(self._there, path, header)
        return super()._get(browser, path, choose, header)


def test_flask_beside_hardtack(environment: dict[str, str]) -> None:
    """Flask, both, hardtack alone, and Flask alone again: who has logged in is, and who logs out at either is at both."""
    heading = "From Flask, beside Flask"
    with server(heading, "flask", environment) as flask, server(heading, "2", environment) as ours:
        load = LoginsThere(flask)
        try:
            for number in range(BROWSERS):
                load.add(f"user{number}")
            for ports in ((flask,), (flask, ours), (ours,), (flask,), (flask, ours)):
                load.serve(*ports)
        finally:
            load.stop()
    assert load.wrong == []


def test_without_keeping_it_flask_logs_out(environment: dict[str, str]) -> None:
    """What the date is for: the other second deploy clears Flask's cookie, and Flask knows nobody any more."""
    heading = "From Flask to hardtack, and back"
    with server(heading, "flask", environment) as flask, server(heading, "2", environment) as ours:
        browser = Browser("alice")
        browser.get(flask, "/login/alice")
        assert browser.get(ours, "/whoami") == "alice"
        assert browser.get(flask, "/whoami") == "nobody"


@pytest.mark.perl("Dancer", "Dancer::Session::Cookie", "HTTP::Server::Simple::PSGI")
def test_from_dancer_with_both_running(environment: dict[str, str]) -> None:
    """Dancer itself, both, and hardtack alone."""
    play("From Dancer, with both running", ["dancer", "1", "2", "3"], environment)


def test_to_another_domain(environment: dict[str, str]) -> None:
    """The cookie is where it was, or where it will be, and cleared in both."""
    play("To another Domain or name", ["1", "2", "3"], environment)


def test_the_load_sees_who_is_logged_out(environment: dict[str, str], redis_server: Any) -> None:
    """Without the deploy between, sessions in cookies are nobody's in Redis: else nothing here would be shown."""
    environment["REDIS_URL"] = redis_server.url
    with pytest.raises(AssertionError, match="nobody"):
        play("From cookies to Redis", ["1", "3"], environment)

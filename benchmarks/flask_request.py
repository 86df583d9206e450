"""What sessions add to a Flask request: hardtack's encrypted cookies against Flask's own signed ones, interleaved.

    python benchmarks/flask_request.py

Each variant answers the same requests through `Flask.wsgi_app`; what the same application takes for them without any
session is taken off. `measure()` returns the times in microseconds, and the ratios of hardtack to Flask: once with the
application's own configuration, which is Flask's too, and once with a `SessionManager`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import flask
from flask.sessions import SecureCookieSessionInterface, SessionMixin

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.flask import SessionInterface

SECRET = "benchmark secret of at least 32 characters"
PAYLOAD: dict[str, Any] = json.loads((Path(__file__).parent / "payloads.json").read_text(encoding="utf-8"))["M"]
ROUNDS = 60
REQUESTS = 50


class Plain(dict[str, Any], SessionMixin):
    """Stands in for a session, and is neither opened nor saved."""


class NoSessions(flask.sessions.SessionInterface):
    """What a request costs without sessions."""

    def open_session(self, app: flask.Flask, request: flask.Request) -> Plain:
        return Plain(user_id=1)

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        pass


def application(interface: flask.sessions.SessionInterface) -> flask.Flask:
    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, SESSION_COOKIE_SAMESITE="Lax")
    app.session_interface = interface

    @app.get("/fill")
    def fill() -> str:
        flask.session.update(PAYLOAD)
        return ""

    @app.get("/read")
    def read() -> str:
        return str(flask.session["user_id"])

    @app.get("/write")
    def write() -> str:
        flask.session["user_id"] += 1
        return ""

    return app


def requester(app: flask.Flask, path: str) -> Callable[[], None]:
    """A function that sends one request with a filled session, as a WSGI server does."""
    client = app.test_client()
    client.get("/fill")
    cookie = client.get_cookie("session")
    environ: dict[str, Any] = flask.testing.EnvironBuilder(app, path).get_environ()
    # The one without sessions gets a cookie as well: of a shop's own, and as long.
    environ["HTTP_COOKIE"] = f"other={'x' * 600}" if cookie is None else f"session={cookie.value}"
    call = app.wsgi_app

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        assert status == "200 OK"
        return lambda data: None

    def request() -> None:
        body = call(dict(environ), start_response)
        for _ in body:
            pass
        body.close()  # type: ignore[attr-defined]

    return request


def interleaved(requests: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Microseconds of processor time of each, round by round: what slows a round down slows all of its requests."""
    times: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(ROUNDS):
        for name, request in requests.items():
            begin = time.process_time()
            for _ in range(REQUESTS):
                request()
            times[name].append((time.process_time() - begin) / REQUESTS * 1e6)
    return times


def added(times: dict[str, list[float]], name: str) -> float:
    """What one adds to the request without sessions: the median of the differences within the rounds."""
    return median(mine - none for mine, none in zip(times[name], times["none"], strict=True))


def measure() -> dict[str, float]:
    """Microseconds that sessions add to a request, read and written, and the ratios."""
    result: dict[str, float] = {}
    applications = {
        "none": application(NoSessions()),
        "flask": application(SecureCookieSessionInterface()),
        "hardtack": application(SessionInterface()),
        "manager": application(SessionInterface(SessionManager(Key.generate(), cookie=Cookie.for_development()))),
    }
    for path in ("/read", "/write"):
        times = interleaved({name: requester(app, path) for name, app in applications.items()})
        scenario = path[1:]
        for name in ("flask", "hardtack", "manager"):
            result[f"{name}_{scenario}_us"] = added(times, name)
        for name in ("hardtack", "manager"):
            result[f"ratio_{name}_{scenario}"] = result[f"{name}_{scenario}_us"] / result[f"flask_{scenario}_us"]
    return result


if __name__ == "__main__":
    for label, value in measure().items():
        print(f"{label:24} {value:8.2f}")

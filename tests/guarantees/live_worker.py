"""One server of a live site: a deploy of docs/moving-a-live-site.md, or the Flask application that it came from.

    python -m tests.guarantees.live_worker HEADING NUMBER|flask

It prints its port. `/login/NAME` logs somebody in, `/touch/TEXT` changes the session, `/logout` logs out, and every page but
the last answers with the name of who is logged in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.docs.examples import PAGES, examples


class Server(ThreadingMixIn, WSGIServer):
    """Many requests at a time."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """A request handler that logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def deployed(heading: str, number: int) -> Any:
    """The manager that a deploy of the page makes."""
    page = next(each for each in PAGES if each.name == "moving-a-live-site.md")
    lines = page.read_text(encoding="utf-8").splitlines()
    starts = [at for at, line in enumerate(lines, 1) if line.startswith("## ")] + [len(lines) + 1]
    start = lines.index(f"## {heading}") + 1
    end = starts[starts.index(start) + 1]
    found = examples(page)
    names: dict[str, Any] = {}
    for example in [found[0], [each for each in found if start < each.line < end][number - 1]]:
        exec(example.compiled(), names)
    sessions = names["sessions"]
    for engine in (sessions.engine, *sessions.accept):
        create = getattr(getattr(engine, "store", None), "create_table", None)
        if create is not None:
            create()
    return sessions


def application(sessions: Any) -> Callable[..., Iterable[bytes]]:
    """The site, with hardtack."""

    def respond(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        session = sessions.open(environ.get("HTTP_COOKIE"))
        page, _, argument = environ["PATH_INFO"].strip("/").partition("/")
        if page == "login":
            session.login(argument)
            session["user"] = argument
        elif page == "touch":
            session["touched"] = argument
        elif page == "logout":
            session.logout()
        body = session.get("user", "nobody")
        if session.subject not in (None, body):
            body = f"{session.subject}, and not {body}"
        start_response("200 OK", [("Content-Type", "text/plain"), *sessions.commit(session)])
        sessions.finish(session)
        return [body.encode()]

    return respond


def flask_application() -> Any:
    """The site, as it was."""
    from flask import Flask, session

    app = Flask("site")
    app.secret_key = os.environ["SECRET_KEY"]

    @app.get("/<page>", defaults={"argument": ""})
    @app.get("/<page>/<argument>")
    def answer(page: str, argument: str) -> str:
        if page == "login":
            session.clear()
            session["user"] = argument
        elif page == "touch":
            session["touched"] = argument
        elif page == "logout":
            session.clear()
        return str(session.get("user", "nobody"))

    return app


if __name__ == "__main__":
    heading, number = sys.argv[1:]
    site = flask_application() if number == "flask" else application(deployed(heading, int(number)))
    with make_server("127.0.0.1", 0, site, Server, Quiet) as server:
        print(server.server_port, flush=True)
        server.serve_forever()

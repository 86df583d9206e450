"""A WSGI application that uses its store when it is loaded, before its server forks: the store's URL is in STORE_URL.

`/login?NAME` logs somebody in, and every other path answers with the name of who is logged in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from hardtack import Cookie, SessionManager, StoreEngine
from hardtack.frameworks.wsgi import Environ, SessionMiddleware, StartResponse
from hardtack.stores import from_url

store: Any = from_url(os.environ["STORE_URL"])
if hasattr(store, "create_table"):
    store.create_table()
store.get("nobody")
sessions = SessionManager(StoreEngine(store), cookie=Cookie.for_development())


def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Log in, or say who is."""
    session = environ["hardtack.session"]
    if environ["PATH_INFO"] == "/login":
        session.login(environ["QUERY_STRING"])
    text = f"{session.subject} {os.getpid()}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


application = SessionMiddleware(answer, sessions)

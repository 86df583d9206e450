"""A counter in raw WSGI: `python app.py`, then http://127.0.0.1:8000. /forget ends the session."""

import os
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import make_server

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.wsgi import SessionMiddleware, StartResponse

# In production the key comes from the environment: python -c "import hardtack; print(hardtack.Key.generate().export())"
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()
sessions = SessionManager(
    key, cookie=Cookie.for_development()
)  # behind https leave the cookie out: the default is safe


def counter(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Counts the visits of each browser."""
    session = environ["hardtack.session"]
    if environ["PATH_INFO"] == "/forget":
        session.destroy()
        text = "Forgotten.\n"
    else:
        session["visits"] = session.get("visits", 0) + 1
        text = f"Visit {session['visits']}.\n"
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


app = SessionMiddleware(counter, sessions)

if __name__ == "__main__":
    make_server("127.0.0.1", 8000, app).serve_forever()

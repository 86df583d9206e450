"""A counter in raw ASGI; /forget ends the session.

    pip install hardtack uvicorn

Then `uvicorn app:app` in this folder, and http://127.0.0.1:8000.
"""

import os

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.asgi import Receive, Scope, Send, SessionMiddleware

# In production the key comes from the environment: python -c "import hardtack; print(hardtack.Key.generate().export())"
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()
sessions = SessionManager(
    key, cookie=Cookie.for_development()
)  # behind https leave the cookie out: the default is safe


async def counter(scope: Scope, receive: Receive, send: Send) -> None:
    """Counts the visits of each browser."""
    if scope["type"] != "http":
        return
    session = scope["session"]
    if scope["path"] == "/forget":
        session.destroy()
        text = "Forgotten.\n"
    else:
        session["visits"] = session.get("visits", 0) + 1
        text = f"Visit {session['visits']}.\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


app = SessionMiddleware(counter, sessions)

"""A page that knows its visitor, with Starlette.

    pip install 'hardtack[starlette]' uvicorn python-multipart

Then `uvicorn app:app` in this folder, and http://127.0.0.1:8000. (Starlette reads forms with python-multipart.)

The session is one encrypted cookie. To keep it in a store, change the line that makes `sessions`:
`SessionManager(StoreEngine(SQLiteStore("sessions.db")), …)`.
"""

import os
from html import escape

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.starlette import SessionMiddleware, load

# In production the key comes from the environment: python -c "import hardtack; print(hardtack.Key.generate().export())"
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()
sessions = SessionManager(
    key,
    lifetime="14 days",
    idle_timeout="2 hours",
    cookie=Cookie.for_development(),  # behind https leave this out: the default is safe
)

PAGE = """<!doctype html><title>hardtack and Starlette</title>
<p>{messages}</p>
<p>Hello {name}, this is visit {visits}.</p>
<form method="post" action="/login"><input name="name" required> <button>Log in</button></form>
<form method="post" action="/logout"><button>Log out</button></form>"""


async def index(request: Request) -> HTMLResponse:
    """Counts the visit and shows what there is to say."""
    session = await load(request)
    session["visits"] = session.get("visits", 0) + 1
    messages = " ".join(escape(str(flash)) for flash in session.flashes())
    name = escape(session.subject or "guest")
    return HTMLResponse(PAGE.format(messages=messages, name=name, visits=session["visits"]))


async def login(request: Request) -> RedirectResponse:
    """A new id, and the user whom the session belongs to; a real one would ask for a password."""
    async with request.form() as form:
        session = await load(request)
        session.login(str(form["name"]))
    session.flash("Welcome aboard.")
    return RedirectResponse("/", status_code=303)


async def logout(request: Request) -> RedirectResponse:
    """The data goes, and so does the cookie."""
    session = await load(request)
    session.logout()
    return RedirectResponse("/", status_code=303)


app = Starlette(
    routes=[
        Route("/", index),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ],
    middleware=[Middleware(SessionMiddleware, sessions=sessions)],
)

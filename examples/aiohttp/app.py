"""A page that knows its visitor, with aiohttp: `python examples/aiohttp/app.py`, then http://127.0.0.1:8080."""

import os
from html import escape

from aiohttp import web

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.aiohttp import get_session, setup

PAGE = """<!doctype html><title>hardtack and aiohttp</title>
<p>{notices}</p>
<p>Hello {name}, this is visit {visits}.</p>
<form method="post" action="/login"><input name="user" placeholder="name"><button>Log in</button></form>
<form method="post" action="/logout"><button>Log out</button></form>"""

# In production: a key that is the same in every process, and the default cookie, which needs https.
key = os.environ.get("HARDTACK_KEY")
sessions = SessionManager(
    Key.parse(key) if key else Key.generate(), cookie=Cookie.for_development(), idle_timeout="2 hours"
)
routes = web.RouteTableDef()


@routes.get("/")
async def page(request: web.Request) -> web.Response:
    session = await get_session(request)
    session["visits"] = session.get("visits", 0) + 1
    notices = " ".join(escape(str(message)) for message in session.flashes())
    text = PAGE.format(notices=notices, name=escape(session.subject or "stranger"), visits=session["visits"])
    return web.Response(text=text, content_type="text/html")


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    form = await request.post()
    session = await get_session(request)
    session.login(str(form.get("user") or "anybody"))  # a real application checks a password first
    session.flash("Welcome.")
    raise web.HTTPFound("/")


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    (await get_session(request)).logout()
    raise web.HTTPFound("/")


def make_app() -> web.Application:
    app = web.Application()
    setup(app, sessions)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1")

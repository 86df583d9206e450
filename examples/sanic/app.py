"""A page that knows its visitor, with Sanic: `sanic app:app --dev` in this folder, then http://127.0.0.1:8000."""

import os
from html import escape

from sanic import HTTPResponse, Request, Sanic
from sanic.response import html, redirect

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.sanic import get_session, setup

PAGE = """<!doctype html><title>hardtack and Sanic</title>
<p>{notices}</p>
<p>Hello {name}, this is visit {visits}.</p>
<form method="post" action="/login"><input name="user" placeholder="name"><button>Log in</button></form>
<form method="post" action="/logout"><button>Log out</button></form>"""

# In production: a key that is the same in every process, and the default cookie, which needs https.
key = os.environ.get("HARDTACK_KEY")
sessions = SessionManager(
    Key.parse(key) if key else Key.generate(), cookie=Cookie.for_development(), idle_timeout="2 hours"
)

app = Sanic("hardtack_example")
setup(app, sessions)


@app.get("/")
async def page(request: Request) -> HTTPResponse:
    session = get_session(request)
    session["visits"] = session.get("visits", 0) + 1
    notices = " ".join(escape(str(message)) for message in session.flashes())
    return html(PAGE.format(notices=notices, name=escape(session.subject or "stranger"), visits=session["visits"]))


@app.post("/login")
async def login(request: Request) -> HTTPResponse:
    session = get_session(request)
    session.login((request.form and request.form.get("user")) or "anybody")  # a real one checks a password first
    session.flash("Welcome.")
    return redirect("/")


@app.post("/logout")
async def logout(request: Request) -> HTTPResponse:
    get_session(request).logout()
    return redirect("/")

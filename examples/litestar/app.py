"""A page that knows its visitor, with Litestar.

    pip install 'hardtack[litestar]' uvicorn

Then `uvicorn app:app` in this folder, and http://127.0.0.1:8000.
"""

import os
from html import escape
from typing import Annotated

from litestar import Litestar, MediaType, Request, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.litestar import HardtackSessionConfig, get_session

PAGE = """<!doctype html><title>hardtack and Litestar</title>
<p>{notices}</p>
<p>Hello {name}, this is visit {visits}.</p>
<form method="post" action="/login"><input name="user" placeholder="name"><button>Log in</button></form>
<form method="post" action="/logout"><button>Log out</button></form>"""

# In production: a key that is the same in every process, and the default cookie, which needs https.
key = os.environ.get("HARDTACK_KEY")
sessions = SessionManager(
    Key.parse(key) if key else Key.generate(), cookie=Cookie.for_development(), idle_timeout="2 hours"
)


@get("/", media_type=MediaType.HTML)
async def page(request: Request) -> str:
    session = get_session(request)
    session["visits"] = session.get("visits", 0) + 1
    notices = " ".join(escape(str(message)) for message in session.flashes())
    return PAGE.format(notices=notices, name=escape(session.subject or "stranger"), visits=session["visits"])


@post("/login")
async def login(
    request: Request, data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    session = get_session(request)
    session.login(data.get("user") or "anybody")  # a real application checks a password first
    session.flash("Welcome.")
    return Redirect("/")


@post("/logout")
async def logout(request: Request) -> Redirect:
    request.clear_session()
    return Redirect("/")


app = Litestar([page, login, logout], middleware=[HardtackSessionConfig(sessions).middleware])

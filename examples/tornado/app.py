"""A page that knows its visitor, with Tornado: `python examples/tornado/app.py`, then http://127.0.0.1:8888."""

import asyncio
import os
from html import escape

from tornado.web import Application, RequestHandler

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.tornado import SessionMixin

PAGE = """<!doctype html><title>hardtack and Tornado</title>
<p>{notices}</p>
<p>Hello {name}, this is visit {visits}.</p>
<form method="post" action="/login"><input name="user" placeholder="name"><button>Log in</button></form>
<form method="post" action="/logout"><button>Log out</button></form>"""

# In production: a key that is the same in every process, and the default cookie, which needs https.
key = os.environ.get("HARDTACK_KEY")
sessions = SessionManager(
    Key.parse(key) if key else Key.generate(), cookie=Cookie.for_development(), idle_timeout="2 hours"
)


class Page(SessionMixin, RequestHandler):
    def get(self) -> None:
        session = self.session
        session["visits"] = session.get("visits", 0) + 1
        notices = " ".join(escape(str(message)) for message in session.flashes())
        self.finish(PAGE.format(notices=notices, name=escape(session.subject or "stranger"), visits=session["visits"]))


class Login(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.login(self.get_body_argument("user") or "anybody")  # a real application checks a password first
        self.session.flash("Welcome.")
        self.redirect("/")


class Logout(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.logout()
        self.redirect("/")


def make_app() -> Application:
    return Application([("/", Page), ("/login", Login), ("/logout", Logout)], sessions=sessions)


async def main() -> None:
    make_app().listen(8888, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

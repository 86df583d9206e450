"""Pyramid with hardtack: counts visits, logs in and out. `python examples/pyramid/app.py`, then http://localhost:6543/"""

import os
from html import escape
from wsgiref.simple_server import make_server

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.response import Response

from hardtack import Key

# A key from the environment keeps sessions over a restart; `Key.generate().export()` makes one.
SETTINGS = {
    "hardtack.key": os.environ.get("HARDTACK_KEY") or Key.generate().export(),
    "hardtack.idle_timeout": "1 hour",
    # Plain http on one's own machine; in production leave these two out.
    "hardtack.cookie_name": "session",
    "hardtack.cookie_secure": "no",
}


def visits(request: Request) -> Response:
    """How often this browser came, and who it says it is."""
    session = request.session
    session["visits"] = session.get("visits", 0) + 1
    messages = "".join(f"<p><em>{escape(message)}</em>" for message in session.pop_flash())
    return Response(
        f"<p>visit {session['visits']}, {escape(session.subject or 'a stranger')}{messages}"
        '<form method="post" action="/login"><button>Log in as Ann</button></form>'
        '<form method="post" action="/logout"><button>Log out</button></form>'
    )


def login(request: Request) -> Response:
    """A real one would look at a password first."""
    request.session.login("Ann")
    request.session.flash("Welcome aboard.")
    return HTTPFound("/")


def logout(request: Request) -> Response:
    """Ends the session, and clears the cookie."""
    request.session.invalidate()
    return HTTPFound("/")


with Configurator(settings=SETTINGS) as config:
    config.include("hardtack.frameworks.pyramid")
    config.add_route("visits", "/")
    config.add_route("login", "/login", request_method="POST")
    config.add_route("logout", "/logout", request_method="POST")
    config.add_view(visits, route_name="visits")
    config.add_view(login, route_name="login")
    config.add_view(logout, route_name="logout")
    app = config.make_wsgi_app()

if __name__ == "__main__":
    with make_server("127.0.0.1", 6543, app) as server:
        server.serve_forever()

"""Falcon with hardtack: counts visits, logs in and out. `python examples/falcon/app.py`, then http://localhost:8000/"""

import os
from wsgiref.simple_server import make_server

import falcon

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.falcon import SessionMiddleware

# A key from the environment keeps sessions over a restart; `Key.generate().export()` makes one.
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()

# Plain http on one's own machine; in production leave `cookie` out.
sessions = SessionManager(key, cookie=Cookie.for_development(), idle_timeout="1 hour")


class Visits:
    """How often this browser came, and who it says it is."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        session = req.context.session
        session["visits"] = session.get("visits", 0) + 1
        resp.media = {"visits": session["visits"], "user": session.subject}


class Login:
    """POST logs in, DELETE logs out. A real one would look at a password first."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        req.context.session.login("ann")
        resp.status = falcon.HTTP_204

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        req.context.session.logout()
        resp.status = falcon.HTTP_204


app = falcon.App(middleware=[SessionMiddleware(sessions)])
app.add_route("/", Visits())
app.add_route("/login", Login())

if __name__ == "__main__":
    with make_server("127.0.0.1", 8000, app) as server:
        server.serve_forever()

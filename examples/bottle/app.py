"""Bottle with hardtack: counts visits, logs in and out. `python examples/bottle/app.py`, then http://localhost:8080/"""

import os

from bottle import Bottle, redirect, request, template

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.bottle import SessionPlugin

# A key from the environment keeps sessions over a restart; `Key.generate().export()` makes one.
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()

# Plain http on one's own machine; in production leave `cookie` out.
sessions = SessionManager(key, cookie=Cookie.for_development(), idle_timeout="1 hour")

app = Bottle()
app.install(SessionPlugin(sessions))

PAGE = """
<p>visit {{session["visits"]}}{{", " + session.subject if session.subject else ""}}
% for flash in session.flashes():
<p><em>{{flash}}</em>
% end
<form method="post" action="/login"><button>Log in as Ann</button></form>
<form method="post" action="/logout"><button>Log out</button></form>
"""


@app.get("/")
def visits() -> str:
    """How often this browser came, and who it says it is."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return str(template(PAGE, session=request.session))


@app.post("/login")
def login() -> None:
    """A real one would look at a password first."""
    request.session.login("Ann")
    request.session.flash("Welcome aboard.")
    redirect("/")


@app.post("/logout")
def logout() -> None:
    """Ends the session, and clears the cookie."""
    request.session.logout()
    redirect("/")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=8080)

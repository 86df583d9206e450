"""A Quart application with hardtack: a counter, a login, one-time messages.

    python examples/quart/app.py

The session is one encrypted cookie. To keep it in a store, change the line that makes `sessions`:
`SessionManager(StoreEngine(AsyncRedisStore.from_url("redis://localhost")))`.
"""

import os

from quart import Quart, flash, redirect, render_template_string, request, session
from werkzeug.wrappers import Response

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.quart import SessionInterface

# In production the key comes from the environment: python -c "import hardtack; print(hardtack.Key.generate().export())"
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()
# for_development: Quart's own server speaks plain http. Leave `cookie` out on a site with https.
sessions = SessionManager(key, cookie=Cookie.for_development(), lifetime="14 days", idle_timeout="2 hours")

app = Quart(__name__)
app.session_interface = SessionInterface(sessions)  # type: ignore[assignment]  # Quart annotates it as its default

PAGE = """
<!doctype html><title>hardtack and Quart</title>
{% for message in get_flashed_messages() %}<p><em>{{ message }}</em>{% endfor %}
<p>Visit {{ session.visits }}.
{% if session.subject %}
  <p>Hello, {{ session.subject }}. <form method="post" action="/logout"><button>Log out</button></form>
{% else %}
  <form method="post" action="/login"><input name="name" required> <button>Log in</button></form>
{% endif %}
"""


@app.get("/")
async def index() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return await render_template_string(PAGE)


@app.post("/login")
async def login() -> Response:
    form = await request.form
    session.login(form["name"])  # type: ignore[attr-defined]  # a new id, and the user whom it belongs to
    await flash("Welcome aboard.")
    return redirect("/")


@app.post("/logout")
async def logout() -> Response:
    session.destroy()  # type: ignore[attr-defined]
    return redirect("/")


if __name__ == "__main__":
    app.run()

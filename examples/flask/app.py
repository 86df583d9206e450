"""A Flask application with hardtack: a counter, a login, one-time messages.

    flask --app examples/flask/app.py run --cert adhoc

The session is one encrypted cookie. To keep it in a store, change the line that makes `sessions`:
`SessionManager(StoreEngine(SQLiteStore("sessions.db")))`.
"""

import os

from flask import Flask, flash, redirect, render_template_string, request, session
from werkzeug.wrappers import Response

from hardtack import Key, SessionManager
from hardtack.frameworks.flask import SessionInterface

# In production the key comes from the environment: python -c "import hardtack; print(hardtack.Key.generate().export())"
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()
sessions = SessionManager(key, lifetime="14 days", idle_timeout="2 hours")

app = Flask(__name__)
app.session_interface = SessionInterface(sessions)

PAGE = """
<!doctype html><title>hardtack and Flask</title>
{% for message in get_flashed_messages() %}<p><em>{{ message }}</em>{% endfor %}
<p>Visit {{ session.visits }}.
{% if session.subject %}
  <p>Hello, {{ session.subject }}. <form method="post" action="/logout"><button>Log out</button></form>
{% else %}
  <form method="post" action="/login"><input name="name" required> <button>Log in</button></form>
{% endif %}
"""


@app.get("/")
def index() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return render_template_string(PAGE)


@app.post("/login")
def login() -> Response:
    session.login(request.form["name"])  # type: ignore[attr-defined]  # a new id, and the user whom it belongs to
    flash("Welcome aboard.")
    return redirect("/")


@app.post("/logout")
def logout() -> Response:
    session.destroy()  # type: ignore[attr-defined]
    return redirect("/")

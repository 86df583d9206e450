"""A pytest plugin that puts the sessions of SUITE_SESSIONS into a suite that knows nothing of them.

`own-cookie` and `own-store` are the framework's own sessions, `cookie` and `store` are hardtack's. This module runs in the
environment of the suite, which has the framework that the suite needs, and no other.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

KIND = os.environ["SUITE_KIND"]
SESSIONS = os.environ["SUITE_SESSIONS"]
KEY = "a key of the suites, which is no secret, of 32 characters or more"

ENGINES = {
    "own-cookie": "django.contrib.sessions.backends.signed_cookies",
    "own-store": "django.contrib.sessions.backends.db",
    "cookie": "hardtack.frameworks.django.encrypted_cookie",
    "store": "hardtack.frameworks.django.store",
}
THEIR_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OUR_MIDDLEWARE = "hardtack.frameworks.django.SessionMiddleware"


def changed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a suite with another engine, and with hardtack's middleware where it is hardtack's."""
    settings["SESSION_ENGINE"] = ENGINES[SESSIONS]
    if not SESSIONS.startswith("own"):
        middleware = settings.get("MIDDLEWARE", ())
        settings["MIDDLEWARE"] = [OUR_MIDDLEWARE if each == THEIR_MIDDLEWARE else each for each in middleware]
    if SESSIONS == "cookie":
        settings |= {"HARDTACK_OVERFLOW": "chunk"}
    if SESSIONS == "store":
        settings |= {"HARDTACK_STORE": "memory://"}
    return settings


if KIND == "django":
    from django.conf import LazySettings

    _configure = LazySettings.configure

    def configure(self: Any, default_settings: Any = None, **options: Any) -> None:
        """What a suite without a settings module calls."""
        keywords = {} if default_settings is None else {"default_settings": default_settings}
        _configure(self, **keywords, **changed(options))

    LazySettings.configure = configure

if KIND == "django" and not SESSIONS.startswith("own"):
    from django.test.utils import override_settings

    _override = override_settings.__init__

    def override(self: Any, **options: Any) -> None:
        """What a test calls that wants sessions in a cookie, whatever the site has: it gets hardtack's."""
        if options.get("SESSION_ENGINE") == ENGINES["own-cookie"]:
            options["SESSION_ENGINE"] = ENGINES["cookie"]
        _override(self, **options)

    override_settings.__init__ = override

if KIND == "flask" and not SESSIONS.startswith("own"):
    import flask
    from itsdangerous import URLSafeTimedSerializer

    from hardtack import SessionManager, StoreEngine
    from hardtack.frameworks.flask import SessionInterface
    from hardtack.stores.memory import MemoryStore

    # What the sessions hold, by the value of their cookie: suites look into Flask's own, which is signed only.
    _held: dict[str, dict[str, Any]] = {}

    class Told(SessionInterface):
        """The session interface, which notes what it saves."""

        def save_session(self, app: Any, session: Any, response: Any) -> None:
            super().save_session(app, session, response)
            lines = response.headers.getlist("Set-Cookie")
            values = [line.partition(";")[0].partition("=") for line in lines]
            sent = [value for name, _, value in values if name == "session"]
            known = flask.request.cookies.get("session") if flask.has_request_context() else None
            for value in sent or [known]:
                if value:
                    _held[value] = dict(session)

    _loads_unsafe = URLSafeTimedSerializer.loads_unsafe

    def loads_unsafe(self: Any, text: Any, *arguments: Any, **options: Any) -> Any:
        """What a cookie holds, for a suite that decodes it itself."""
        return (True, _held[text]) if text in _held else _loads_unsafe(self, text, *arguments, **options)

    URLSafeTimedSerializer.loads_unsafe = loads_unsafe

    if SESSIONS == "cookie":
        flask.Flask.session_interface = Told()
    else:
        from hardtack import Cookie

        # Flask's name and defaults of the cookie: suites look for them.
        cookie = Cookie(name="session", secure=False, samesite=None)
        flask.Flask.session_interface = Told(SessionManager(StoreEngine(MemoryStore()), cookie=cookie))

if KIND == "social" and not SESSIONS.startswith("own"):
    from social_core.tests import strategy

    from hardtack import Key, SessionManager, StoreEngine
    from hardtack.stores.memory import MemoryStore

    # Once: a passphrase is made slow to try, and every test makes a strategy.
    _key = Key.from_passphrase(KEY, salt="the suites")

    class Kept(dict[str, Any]):
        """What a strategy keeps, saved and loaded at each change, as between two requests."""

        def __init__(self) -> None:
            super().__init__()
            engine: Any = StoreEngine(MemoryStore()) if SESSIONS == "store" else _key
            self.sessions = SessionManager(engine, max_size=None)

        def __setitem__(self, name: str, value: Any) -> None:
            session = self.sessions.open()
            session[name] = value
            lines = self.sessions.commit(session).set_cookies
            self.sessions.finish(session)
            loaded = self.sessions.open("; ".join(line.partition(";")[0] for line in lines))
            super().__setitem__(name, loaded[name])

    _init = strategy.TestStrategy.__init__

    def with_session(self: Any, *arguments: Any, **options: Any) -> None:
        _init(self, *arguments, **options)
        self._session = Kept()

    strategy.TestStrategy.__init__ = with_session


# Flask's and Django's older suites import a name that newer pytest has moved.
with suppress(ImportError):
    import _pytest.monkeypatch
    from _pytest.compat import NOTSET

    if not hasattr(_pytest.monkeypatch, "notset"):
        _pytest.monkeypatch.notset = NOTSET  # type: ignore[attr-defined]

"""A pytest plugin for Flask's own test suite: its applications get hardtack's sessions, if HARDTACK_SESSIONS is set."""

from __future__ import annotations

import os

import _pytest.monkeypatch
import flask
from _pytest.compat import NOTSET

# Flask 3.1's suite imports a name that pytest 9.1 has moved.
if not hasattr(_pytest.monkeypatch, "notset"):
    _pytest.monkeypatch.notset = NOTSET  # type: ignore[attr-defined]

if os.environ.get("HARDTACK_SESSIONS"):
    from hardtack.frameworks.flask import SessionInterface

    flask.Flask.session_interface = SessionInterface()

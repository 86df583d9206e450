"""SESSION_ENGINE = "hardtack.frameworks.django.store": sessions in HARDTACK_STORE; the cookie carries an id."""

from __future__ import annotations

from hardtack.frameworks.django import base


class SessionStore(base.SessionStore):
    """Sessions in HARDTACK_STORE; the cookie carries an id. Subclass it for a `get_session_cookie_age` of your own."""

    engine = "store"

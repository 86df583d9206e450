"""SESSION_ENGINE = "hardtack.frameworks.django.encrypted_cookie": the whole session in one encrypted cookie."""

from __future__ import annotations

from hardtack.frameworks.django import cookie


class SessionStore(cookie.SessionStore):
    """The whole session in one encrypted cookie. Subclass it for a `get_session_cookie_age` of your own."""

    engine = "encrypted"

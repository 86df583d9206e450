"""SESSION_ENGINE = "hardtack.frameworks.django.signed_cookie": the session in one signed cookie, which its user can read."""

from __future__ import annotations

from hardtack.frameworks.django import cookie


class SessionStore(cookie.SessionStore):
    """The whole session in one signed cookie. Subclass it for a `get_session_cookie_age` of your own."""

    engine = "signed"

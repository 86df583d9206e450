"""hardtack's middleware under the name of the cookie that Starlette's tests look for."""

from __future__ import annotations

from typing import Any

from hardtack.frameworks import asgi, starlette


class SessionMiddleware(starlette.SessionMiddleware):
    """The drop-in, told to call its cookie as Starlette's own."""

    def __init__(self, app: asgi.ASGIApp, /, secret_key: str, session_cookie: str = "session", **options: Any) -> None:
        super().__init__(app, secret_key, session_cookie, **options)

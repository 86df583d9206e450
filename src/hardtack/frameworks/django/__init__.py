"""Django: session engines for SESSION_ENGINE, and a middleware for what an engine alone cannot do.

The engines are `hardtack.frameworks.django.encrypted_cookie`, `.signed_cookie` and `.store`.
"""

from hardtack._extras import explain

try:
    import django  # type: ignore[import-untyped]  # noqa: F401
    from django.contrib.sessions.backends.base import UpdateError  # type: ignore[import-untyped]  # noqa: F401
except ImportError as error:
    message = explain("hardtack.frameworks.django", "django", error)
    raise ImportError(message) from error

from hardtack.frameworks.django.base import current_manager
from hardtack.frameworks.django.middleware import SessionMiddleware

__all__ = ["SessionMiddleware", "current_manager"]

"""Django: session engines for SESSION_ENGINE, and a middleware for what an engine alone cannot do.

The engines are `hardtack.frameworks.django.encrypted_cookie`, `.signed_cookie` and `.store`.
"""

try:
    import django  # type: ignore[import-untyped]  # noqa: F401
except ImportError as error:
    raise ImportError("hardtack.frameworks.django needs Django: pip install 'hardtack[django]'") from error

from hardtack.frameworks.django.base import current_manager
from hardtack.frameworks.django.middleware import SessionMiddleware

__all__ = ["SessionMiddleware", "current_manager"]

"""Django's system checks: settings that would fail at the first request, or be ignored, are found by `manage.py check`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from django.conf import settings  # type: ignore[import-untyped]
from django.core.checks import CheckMessage, Error  # type: ignore[import-untyped]
from django.core.checks import Warning as Caution
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from hardtack.frameworks.django.base import SessionStore
from hardtack.frameworks.django.middleware import SessionMiddleware

OURS: Final = "hardtack.frameworks.django.SessionMiddleware"

_OF_THE_MIDDLEWARE: Final = ("OVERFLOW", "CROSS_SITE", "COOKIE_PARTITIONED", "KNOWN_DEVICES")
"""Settings that do nothing under Django's own middleware."""


def check_settings(app_configs: Any = None, **options: Any) -> list[CheckMessage]:
    """What is wrong with the settings of sessions; no store is asked.

    E001: the engine cannot be made of the settings. E002: hardtack's middleware has another engine. E003: HARDTACK_PASSIVE
    cannot be imported. W001: a setting does nothing without hardtack's middleware.
    """
    kinds = [_middleware(path) for path in settings.MIDDLEWARE]
    ours = any(kind is not None and issubclass(kind, SessionMiddleware) for kind in kinds)
    kind, found = _engine()
    if kind is None:
        return found
    if not issubclass(kind, SessionStore):
        return [_other_engine()] if ours else []
    return [*found, *_passive(), *_manager(kind), *([] if ours else _without_ours())]


def _middleware(path: str) -> type | None:
    try:
        found = import_string(path)
    except ImportError:
        return None  # Django says so itself when it starts
    return found if isinstance(found, type) else None


def _engine() -> tuple[Any, list[CheckMessage]]:
    try:
        return import_module(settings.SESSION_ENGINE).SessionStore, []
    except (ImportError, AttributeError) as error:
        hint = "the engines are hardtack.frameworks.django.encrypted_cookie, .signed_cookie and .store"
        return None, [Error(f"SESSION_ENGINE cannot be imported: {error}", hint=hint, id="hardtack.E001")]


def _other_engine() -> CheckMessage:
    hint = "write SESSION_ENGINE = 'hardtack.frameworks.django.encrypted_cookie', '….signed_cookie' or '….store'"
    message = f"{OURS} needs an engine of hardtack, and SESSION_ENGINE is {settings.SESSION_ENGINE!r}"
    return Error(message, hint=hint, id="hardtack.E002")


def _manager(kind: type[SessionStore]) -> list[CheckMessage]:
    try:
        kind()
    except Exception as error:  # of a dotted path of the site's own, whatever it raises
        return [Error(f"sessions cannot be opened: {type(error).__name__}: {error}", id="hardtack.E001")]
    return []


def _passive() -> list[CheckMessage]:
    given = getattr(settings, "HARDTACK_PASSIVE", None)
    try:
        found = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        return [Error(f"HARDTACK_PASSIVE cannot be imported: {error}", id="hardtack.E003")]
    if found is None or callable(found):
        return []
    message = f"HARDTACK_PASSIVE must be a function of the request or its dotted path, not {type(found).__name__}"
    return [Error(message, id="hardtack.E003")]


def _without_ours() -> list[CheckMessage]:
    ignored = [name for name in _OF_THE_MIDDLEWARE if getattr(settings, f"HARDTACK_{name}", None)]
    if not ignored:
        return []
    names = ", ".join(f"HARDTACK_{name}" for name in ignored)
    hint = f"put {OURS} in the place of Django's own SessionMiddleware"
    return [Caution(f"{names} does nothing without hardtack's middleware", hint=hint, id="hardtack.W001")]

"""A SessionManager from Django's settings: made once, and anew when a test overrides a setting."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any, Final

from django.conf import settings  # type: ignore[import-untyped]
from django.core.signals import setting_changed  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from hardtack.cookies import Cookie
from hardtack.ended import EndedSessions
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.errors import ConfigError
from hardtack.known_devices import KnownDevices
from hardtack.lifetime import seconds
from hardtack.manager import SessionManager
from hardtack.protocols import Engine
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import Key, Keyring
from hardtack.tokens.signed import SignedToken

made: Final[dict[Any, SessionManager]] = {}
"""The managers there are, by the class of the session."""

_stores: Final[dict[str, Any]] = {}

_lists: Final[dict[Any, EndedSessions]] = {}

_PREFIX: Final = "HARDTACK_"

_NAMES: Final = (
    "LIFETIME",
    "IDLE_TIMEOUT",
    "MAX_SIZE",
    "MERGE",
    "ENDED",
    "OVERFLOW",
    "MAX_SET_COOKIE",
    "MAX_HEADER",
    "COOKIE_PARTITIONED",
    "CROSS_SITE",
    "TRUSTED_ORIGINS",
    "CROSS_SITE_PATHS",
    "PASSIVE",
    "KNOWN_DEVICES",
    "SESSIONS",
    "STORE",
)
"""Every setting of hardtack's own, without its prefix."""

_LONGEST: Final = 10 * 365 * 86400
"""Seconds: what `set_expiry` can reach where HARDTACK_LIFETIME does not limit it."""


class DjangoManager(SessionManager):
    """A manager of Django's settings.

    SESSION_COOKIE_AGE is then the lifetime of a session that has no expiry of its own: `set_expiry` may shorten it and, as
    in Django, lengthen it. HARDTACK_LIFETIME limits both.
    """

    default_age: int | None = None


def make_manager(kind: type, engine: str, cookie_age: int) -> SessionManager:
    """The manager of a SessionStore class: HARDTACK_SESSIONS, or one of the settings. Raises `ConfigError`.

    `engine` is "encrypted", "signed" or "store".
    """
    given = getattr(settings, "HARDTACK_SESSIONS", None)
    manager = _made(engine, cookie_age) if given is None else _given(given)
    made[kind] = manager
    return manager


def _forget(**changed: Any) -> None:
    made.clear()
    _passive.cache_clear()


setting_changed.connect(_forget)


def _given(given: Any) -> SessionManager:
    manager = import_string(given) if isinstance(given, str) else given
    if not isinstance(manager, SessionManager):
        message = f"HARDTACK_SESSIONS must be a SessionManager or the dotted path of one, not {type(manager).__name__}"
        raise ConfigError(message)
    return manager


def _made(engine: str, cookie_age: int) -> SessionManager:
    _check_names()
    lifetime = getattr(settings, "HARDTACK_LIFETIME", None)
    manager = DjangoManager(
        _engine(engine),
        cookie=_cookie(),
        lifetime=_LONGEST if lifetime is None else seconds(lifetime, "HARDTACK_LIFETIME"),
        idle_timeout=getattr(settings, "HARDTACK_IDLE_TIMEOUT", None),
        ended=_list(),
        known_devices=_known_devices(),
        **_given_settings("max_size", "cross_site", "trusted_origins", "cross_site_paths"),
    )
    if lifetime is None:
        manager.default_age = cookie_age
    return manager


def _list() -> Any:
    """The list of ended sessions of HARDTACK_ENDED: a URL, or an `EndedSessions`. Raises `ConfigError`."""
    given = getattr(settings, "HARDTACK_ENDED", None)
    if given is None:
        return None
    if not hasattr(settings, "HARDTACK_LIFETIME") and not hasattr(settings, "HARDTACK_IDLE_TIMEOUT"):
        raise ConfigError(
            "HARDTACK_ENDED needs HARDTACK_IDLE_TIMEOUT or HARDTACK_LIFETIME: without them set_expiry() lets a session live "
            "for years, and what has ended would have to be remembered for as long"
        )
    if not isinstance(given, str):
        return given
    name = given, settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS)
    if name not in _lists:  # one for all the managers that there are: they are one application
        _lists[name] = EndedSessions.from_url(given, _keyring())
    return _lists[name]


def _known_devices() -> KnownDevices | None:
    """HARDTACK_KNOWN_DEVICES: for how long after a login a browser is known to a user. Raises `ConfigError`."""
    given = getattr(settings, "HARDTACK_KNOWN_DEVICES", None)
    return None if given is None else KnownDevices(seconds(given, "HARDTACK_KNOWN_DEVICES"), _keyring())


def _check_names() -> None:
    """A misspelt setting would be ignored, and its default be in force without anybody knowing."""
    for name in dir(settings):
        rest = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and rest not in _NAMES:
            near = difflib.get_close_matches(rest, _NAMES, 1)
            names = ", ".join(f"{_PREFIX}{each}" for each in _NAMES)
            advice = f"did you mean {_PREFIX}{near[0]}?" if near else f"there are {names}"
            message = f"{name} is not a setting; {advice}"
            raise ConfigError(message)


def _engine(engine: str) -> Engine:
    if engine == "store":
        return StoreEngine(_store(), **_given_settings("merge"))
    ring = _keyring()
    token = SignedToken(ring) if engine == "signed" else EncryptedToken(ring)
    return CookieEngine(token, **_given_settings("max_set_cookie", "overflow", "max_header"))


def _given_settings(*names: str) -> dict[str, Any]:
    """The settings that are set, by hardtack's own names: the others keep their defaults."""
    given = {name: f"{_PREFIX}{name.upper()}" for name in names}
    return {name: getattr(settings, setting) for name, setting in given.items() if hasattr(settings, setting)}


def is_passive(request: Any) -> bool:
    """Whether HARDTACK_PASSIVE, a function or the dotted path of one, says that a request is no activity of the user."""
    asks = _passive()
    return asks is not None and bool(asks(request))


@cache
def _passive() -> Any:
    given = getattr(settings, "HARDTACK_PASSIVE", None)
    return import_string(given) if isinstance(given, str) else given


def _keyring() -> Keyring:
    fallbacks = settings.SECRET_KEY_FALLBACKS
    if isinstance(fallbacks, str | bytes):
        raise ConfigError(
            "SECRET_KEY_FALLBACKS must be a list of keys; of a single str each character would be a key that anyone can guess"
        )
    accept = [Key.from_framework_secret(each, "django") for each in fallbacks]
    return Keyring(Key.from_framework_secret(settings.SECRET_KEY, "django"), accept)


def _cookie() -> Cookie:
    return Cookie(
        name=settings.SESSION_COOKIE_NAME,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN or None,
        secure=bool(settings.SESSION_COOKIE_SECURE),
        httponly=bool(settings.SESSION_COOKIE_HTTPONLY),
        samesite=settings.SESSION_COOKIE_SAMESITE or None,
        partitioned=bool(getattr(settings, "HARDTACK_COOKIE_PARTITIONED", False)),
    )


def _store() -> Any:
    """The store of HARDTACK_STORE: an object, the dotted path of one or of what makes one, or a URL."""
    given = getattr(settings, "HARDTACK_STORE", None)
    if given is None:
        raise ConfigError(
            "HARDTACK_STORE is not set: write the URL of a store, such as 'redis://localhost', the dotted path of a store, or "
            "a store; or use SESSION_ENGINE = 'hardtack.frameworks.django.encrypted_cookie', which needs none"
        )
    if not isinstance(given, str):
        return given
    if given not in _stores:
        _stores[given] = _from_text(given)
    return _stores[given]


def _from_text(text: str) -> Any:
    if ":" in text:
        from hardtack.stores import from_url

        return from_url(text)
    found = import_string(text)
    return found() if isinstance(found, type) or not hasattr(found, "put") else found

"""What `Session.login` was told, checked, as the options of a record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hardtack.errors import ConfigError
from hardtack.lifetime import seconds

MAX_LABEL = 200
"""Characters of a label: a client chooses its User-Agent, and could fill a cookie with it."""


def login_options(
    subject: object, lifetime: str | int | timedelta | None, persistent: bool | None, label: str | None, sid: str | None
) -> dict[str, Any]:
    """The options of a session that somebody logs in to. Raises `TypeError` and `ConfigError`."""
    check_subject(subject, "login()")
    options: dict[str, Any] = {}
    if lifetime is not None:
        options["lifetime"] = seconds(lifetime, "login(lifetime)")
        if options["lifetime"] < 1:
            message = f"login(lifetime)={lifetime!r} must be a second or more; None: as the manager says"
            raise ConfigError(message)
    if persistent not in (None, True, False):
        message = f"login(persistent)={persistent!r} must be True, False, or None: as the manager says"
        raise ConfigError(message)
    if persistent is not None:
        options["persistent"] = bool(persistent)
    for name, option, text in (("label", "x-label", label), ("sid", "sid", sid)):
        if text is not None:
            if not isinstance(text, str):
                message = f"login({name})={text!r} must be a str, or None"
                raise ConfigError(message)
            plain = str.__str__(text)  # a SafeString's text: a record has no place for its class
            if (
                name == "label"
            ):  # a client may have chosen it, and is not to be kept from logging in by half a character
                plain = plain[:MAX_LABEL].encode("utf-8", "replace").decode()
            check_text(plain, f"login({name})")
            options[option] = plain
    return options


def login_limit(at_most: int | None, beyond: str) -> tuple[int, str]:
    """How many sessions a user may have, and what happens beyond that. Raises `ConfigError`."""
    if type(at_most) is not int or at_most < 1:
        message = f"login(at_most)={at_most!r} must be a whole number, 1 or more"
        raise ConfigError(message)
    if beyond not in ("end_oldest", "refuse"):
        message = f"login(beyond)={beyond!r} must be 'end_oldest' or 'refuse'"
        raise ConfigError(message)
    return at_most, beyond


def check_text(text: str, setting: str) -> None:
    """Raise `ConfigError` for text that cannot be written."""
    try:
        text.encode()
    except UnicodeEncodeError:
        message = (
            f"{setting} holds a lone surrogate: half of a character, as text has that was decoded from broken bytes"
        )
        raise ConfigError(message) from None


def check_subject(subject: object, taker: str) -> str:
    """The id of a user. Raises `TypeError` where it is none, and `ConfigError` for text that cannot be written."""
    if type(subject) is str and subject:
        check_text(subject, f"the user's id that {taker} takes")
        return subject
    given = "an empty one" if subject == "" else f"{type(subject).__name__}; use str(user.id)"
    message = f"{taker} takes the user's id as a str that is not empty, not {given}"
    raise TypeError(message)

"""The hardtack session inside of Django's: what kind it is, what its errors become, and where Django keeps what it knows."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.sessions.backends.base import UpdateError  # type: ignore[import-untyped]
from django.contrib.sessions.exceptions import SessionInterrupted  # type: ignore[import-untyped]
from django.core.exceptions import BadRequest, PermissionDenied  # type: ignore[import-untyped]

from hardtack.adapters import Answer, http_errors
from hardtack.session import Session

USER: Final = "_auth_user_id"
"""Where django.contrib.auth keeps the user: the subject of hardtack's record."""

EXPIRY: Final = "_session_expiry"
"""Where `set_expiry` keeps its value."""

MESSAGES: Final = "_messages"
"""Where django.contrib.messages keeps what it shows once."""

TAKEN_OVER: Final = "(a cookie of another system)"
"""The key of a session that another system's cookie may bring, until it is loaded."""

SERIALIZED: Final = "_serialized"
"""Where the data is, as one value, when SESSION_SERIALIZER is not Django's own."""


def _init(error: Any, answer: Answer) -> None:
    """Django's exceptions keep what they are told in `args`, which is the error's own."""


ERRORS: Final = http_errors({409: BadRequest, 403: PermissionDenied}, _init)
"""hardtack's errors as Django's: a site's handler400 and handler403 get them, where nothing else answers."""


class Interrupted(UpdateError, SessionInterrupted):  # type: ignore[misc]  # Django is not typed
    """The session was ended, or got another key, since this request has loaded it: Django answers 400."""

    def __init__(self) -> None:
        super().__init__(
            "The request's session was deleted before the request completed. The user may have logged out in a concurrent "
            "request, for example."  # Django's own words
        )


class DjangoSession(Session):
    """What a session store of Django holds; messages that two requests change at once make neither of them stale."""

    __slots__ = ()

    joined = (*Session.joined, MESSAGES)
    errors = ERRORS


class KeyedSession(DjangoSession):
    """One that is known by its key alone, as under Django's own middleware: no other cookie of the request is known."""

    __slots__ = ()

    knows_device = False


def name_and_value(line: str) -> tuple[str, str]:
    """Name and value of a Set-Cookie line."""
    name, _, value = line.partition(";")[0].partition("=")
    return name, value


def place_of(line: str) -> tuple[str, ...]:
    """What tells one cookie of a browser from another: its name, path and domain."""
    name, *attributes = line.split(";")
    where = [each.strip() for each in attributes if each.strip().startswith(("Path=", "Domain="))]
    return name.partition("=")[0], *where

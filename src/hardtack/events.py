"""What happened to a session: frozen values, given to `on_event` and logged by the logger `hardtack`.

An event holds no secret, no token and no session data: ids (public handles), reasons, names. The hooks of other
systems map onto them: see docs/events.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

logger = logging.getLogger("hardtack")


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events."""

    level: ClassVar[int] = logging.DEBUG

    def __str__(self) -> str:
        values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return f"{type(self).__name__}({values})"


@dataclass(frozen=True, slots=True)
class Created(Event):
    """A session was stored for the first time."""

    id: str


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """A request brought a session that is good, and touched it."""

    id: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Saved(Event):
    """What a session keeps was changed, and stored under the id that it had."""

    id: str


@dataclass(frozen=True, slots=True)
class Renewed(Event):
    """The idle deadline was moved, or the cookie was sealed anew under the key that issues now."""

    id: str
    cause: Literal["idle_timeout", "key"]


@dataclass(frozen=True, slots=True)
class IdChanged(Event):
    """The session has a new id (`regenerate`, `login`).

    `old_still_valid`: a copy of the old cookie still opens the old state (a cookie engine without revocations).
    """

    level = logging.INFO
    old_id: str
    new_id: str
    old_still_valid: bool


@dataclass(frozen=True, slots=True)
class Destroyed(Event):
    """The session was ended. `old_still_valid` as in `IdChanged`."""

    level = logging.INFO
    id: str
    old_still_valid: bool


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """A good session came after its deadline, and was not used."""

    level = logging.INFO
    id: str
    deadline: Literal["absolute", "idle"]


@dataclass(frozen=True, slots=True)
class Rejected(Event):
    """A cookie could not be used; the request got a new, empty session.

    Reasons: `malformed`, `unknown_key`, `tampered`, `wrong_purpose`, `too_large`, `ambiguous`, `incomplete`, `future`,
    `revoked`, `unknown_id` (no such session in the store), `ended` (it was ended less than a minute ago), …
    """

    level = logging.WARNING
    reason: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Conflict(Event):
    """Another request saved the session first.

    `outcome`: `merged` (nothing lost), `overwritten` (both changed the same `paths`; the later write won),
    `dropped` (the session was ended or got a new id meanwhile: this save was not done, and no cookie set).
    """

    level = logging.WARNING
    id: str
    outcome: Literal["merged", "overwritten", "dropped"]
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LateWrite(Event):
    """The session was changed after the headers had left, and the change could not be kept."""

    level = logging.WARNING
    id: str


@dataclass(frozen=True, slots=True)
class StoreFailed(Event):
    """The store could not be reached, or holds something under this id that cannot be decoded."""

    level = logging.ERROR
    operation: str
    error: str


@dataclass(frozen=True, slots=True)
class TakenOver(Event):
    """The cookie of another system was good, and its data moved into a new session."""

    level = logging.INFO
    id: str
    format: str


@dataclass(frozen=True, slots=True)
class CacheControlReplaced(Event):
    """A response that sets a session cookie had a Cache-Control that allowed shared caches to keep it."""

    level = logging.WARNING
    before: str
    after: str


Listener = Callable[[Event], object]

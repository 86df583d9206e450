"""Where the cookies of other languages' stacks are, and what they are sealed with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from hardtack.foreign.base import Until

Secret = str | bytes
"""A secret as the other system is configured with it; text is taken as UTF-8."""


class Place(TypedDict, total=False):
    """Where the other system's cookie is, and how long it is read: the settings of every `ForeignCookie`."""

    cookie_name: str | None
    path: str
    domain: str | None
    until: Until | None
    keep_until: Until | None
    subject: Callable[[dict[str, Any]], str | None] | None
    sliding: bool

"""What the endpoints of a binding are asked, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hardtack.request import Request

Headers = Callable[[str], str | None]
"""A request's headers: a name in lower case, and its value or None."""


class Asked(NamedTuple):
    """What an endpoint is asked."""

    method: str
    path: str
    mount: str
    headers: Headers
    request: Request | None = None


class DeviceAnswer(NamedTuple):
    """The answer of an endpoint."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

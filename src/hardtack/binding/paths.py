"""The paths at which browsers prove keys: they hang on the application's purpose alone, so that every deploy knows them."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from hardtack.binding.answers import Asked, DeviceAnswer

ENDPOINTS: Final = "/hardtack/"
"""What all of them begin with, below the mount."""

REFRESH: Final = "refresh"
START: Final = "start"

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")


def endpoints_of(purpose: str) -> str:
    """What the paths of an application begin with, which two on one host do not share."""
    slug = purpose or "session"
    if not _PLAIN.fullmatch(slug):
        slug = hashlib.sha256(purpose.encode()).hexdigest()[:16]
    return f"{ENDPOINTS}{slug}/"


def unbound_answer(beginning: str, asked: Asked) -> DeviceAnswer | None:
    """What a manager without binding answers a browser that proves a key; None for every other request.

    The application's own 404, or its redirect to a login page, would end the binding in the browser, and the session would
    be nobody's as soon as binding is back. 503 lets the browser send its requests without a proof, and keep its key.
    """
    proves = asked.method == "POST" and asked.path == beginning + REFRESH
    if not proves or asked.headers("sec-secure-session-id") is None:
        return None
    return DeviceAnswer(503, [("Cache-Control", "no-store"), ("Content-Length", "0"), ("Retry-After", "60")], b"")

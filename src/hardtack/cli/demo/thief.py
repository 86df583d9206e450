"""The thief: a second client on another machine, with cookies copied from a browser, and without the key of its device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hardtack import SessionManager
from hardtack.cli.demo.state import IDLE_TIMEOUT, LIFETIME, Demo
from hardtack.events import Event

PATIENCE: Final = 1.0
"""Seconds for which the second client goes on asking after a logout."""

_PAUSE: Final = 0.02


def second_client(demo: Demo, later: int = 0, on_event: Callable[[Event], object] | None = None) -> SessionManager:
    """What opens sessions as the demo does, in a process of its own; some seconds later, if so asked."""
    return SessionManager(
        demo.engine(),
        cookie=demo.sessions.cookie,
        lifetime=LIFETIME,
        idle_timeout=IDLE_TIMEOUT,
        purpose=demo.sessions.purpose,
        ended=demo.ended,
        binding=demo.sessions.settings.binding,
        on_event=on_event,
        clock=lambda: demo.clock() + later,
    )


@dataclass
class Copy:
    """The cookies of a browser, copied.

    Attributes:
        cookies: its Cookie header.
        left: when the browser has logged out, by the monotonic clock; None: it has not.
        refused_after: seconds from then until the copy opened nothing; None: it still opened something.
    """

    cookies: str
    left: float | None = None
    refused_after: float | None = None

    def leave(self) -> None:
        """The browser that was copied has logged out: the session is ended, and its answer is about to leave."""
        if self.left is None:
            self.left = time.monotonic()

    async def open(self, demo: Demo) -> str | None:
        """As whom the copy is logged in; after a logout it is tried again, until it is refused or a second has passed."""
        thief = second_client(demo)
        subject = (await thief.aopen(self.cookies)).subject
        if self.left is None:
            return subject
        while subject is not None and time.monotonic() < self.left + PATIENCE:
            await asyncio.sleep(_PAUSE)
            subject = (await thief.aopen(self.cookies)).subject
        if subject is None and self.refused_after is None:
            self.refused_after = time.monotonic() - self.left
        return subject

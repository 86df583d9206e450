"""What the tests of the core share: a clock to turn, a list of events, a browser's way with cookies, and a fork that ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from hardtack import CookieEngine, EncryptedToken, Key, SessionManager
from hardtack.changes import Changes
from hardtack.events import Event

START = 4_000_000_000  # far ahead: a store that looks at the real clock keeps what lives by this one

KEY = Key(bytes(range(32)))
OTHER_KEY = Key(bytes(range(1, 33)))


class NoKeys:
    """A format of somebody else that carries whole records, and says nothing of keys."""

    native = True
    name = "no keys"

    def __init__(self) -> None:
        self._inner = EncryptedToken(KEY)
        self.open, self.seal = self._inner.open, self._inner.seal


def fork(how: Callable[[], int] = os.fork) -> int:
    """Fork as `os.fork` does; the child is killed after a minute.

    One that hangs would go on after its test has failed, and with it the pipes that it has inherited: whoever reads to
    their end, such as `make test | tee`, would wait for it for ever.
    """
    child = how()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
    return child


class Clock:
    """Seconds since 1970 that stand still until the test turns them."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Jar:
    """The cookies of one browser, by name, as responses set and clear them."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def take(self, changes: Changes) -> Changes:
        for line in changes.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0;" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return changes

    @property
    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


class Site:
    """A manager with its clock, its events and one browser."""

    def __init__(self, engine: Any = None, **options: Any) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.jar = Jar()
        self.sessions = SessionManager(
            CookieEngine(KEY) if engine is None else engine,
            on_event=self.events.append,
            clock=self.clock,
            **options,
        )

    def open(self) -> Any:
        return self.sessions.open(self.jar.header)

    def commit(self, session: Any) -> Changes:
        return self.jar.take(self.sessions.commit(session))

    def visit(self, **changes: Any) -> Any:
        """One request that opens the session, changes it and commits it."""
        session = self.open()
        session.update(changes)
        self.commit(session)
        return session

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

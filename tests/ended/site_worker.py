"""One of several servers of a site whose sessions are in cookies.

    python -m tests.ended.site_worker URL PURPOSE

It reads lines on stdin, and answers each on stdout with a line: `login NAME` with a Cookie header; `logout HEADER` with the
time of the machine; `ask HEADER` with the time at which the session was refused; `race HEADER`, which gets a new id again and
again until it is nobody's, with how many times.
"""

from __future__ import annotations

import sys
import time

from tests.ended.kit import KEY

from hardtack import CookieEngine, EndedSessions, SessionManager


class Server:
    """The handlers."""

    def __init__(self, url: str, purpose: str) -> None:
        self.sessions = SessionManager(CookieEngine(KEY), purpose=purpose, ended=EndedSessions.from_url(url))
        self.sessions.start()

    def login(self, name: str) -> str:
        """Log in."""
        session = self.sessions.open()
        session.login(name)
        return self._commit(session)

    def logout(self, header: str) -> str:
        """Log out."""
        session = self.sessions.open(header)
        session.logout()
        self.sessions.commit(session)
        return str(time.time())

    def ask(self, header: str) -> str:
        """Ask until nobody is logged in."""
        while self.sessions.open(header).subject is not None:
            time.sleep(0.001)
        return str(time.time())

    def race(self, header: str) -> str:
        """Get a new id as fast as that can be."""
        turns, until = 0, time.monotonic() + 10
        while time.monotonic() < until:
            session = self.sessions.open(header)
            if session.subject is None:
                return str(turns)
            session.regenerate()
            header = self._commit(session) or header
            turns += 1
        return "it was never ended"

    def _commit(self, session: object) -> str:
        lines = self.sessions.commit(session).set_cookies  # type: ignore[arg-type]
        return lines[0].partition(";")[0] if lines else ""


def main(url: str, purpose: str) -> None:
    """Answer each line."""
    server = Server(url, purpose)
    print("ready", flush=True)
    for line in sys.stdin:
        command, argument = line.rstrip("\n").split(" ", 1)
        print(getattr(server, command)(argument), flush=True)
    server.sessions.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

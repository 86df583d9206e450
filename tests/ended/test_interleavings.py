"""Random interleavings of requests at two servers, of which neither hears at once of what the others end."""

from __future__ import annotations

import random
import time
from typing import Any, NamedTuple

import pytest
from tests.kit import KEY

from hardtack import CookieEngine, EndedSessions, Request, SessionManager, StoreEngine
from hardtack.ended.channels import memory
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.protocol import Batch
from hardtack.errors import SessionConflict
from hardtack.session import Session, state_of
from hardtack.stores.memory import MemoryStore

ACTIONS = (
    "write",
    "regenerate",
    "regenerate",
    "regenerate",
    "confirm",
    "alice",
    "alice",
    "bob",
    "logout",
    "logout and login",
)


class Late(MemoryChannel):
    """A channel whose followers read nothing for as long as it says; a login does."""

    late = True

    def read(self, position: str, wait: float) -> Batch:
        if wait:
            time.sleep(0.005)
            if self.late and position:
                return Batch([], position, memory._now(), self._origin)
        return super().read(position, 0)


class Pending(NamedTuple):
    """A request whose handler runs."""

    server: SessionManager
    session: Session
    action: str
    header: str
    loaded: str | None


class World:
    """Two servers, the cookies that they ever set, and what must have ended."""

    def __init__(self, kind: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.channel = Late()
        store = MemoryStore()
        self.servers = [
            SessionManager(
                CookieEngine(KEY) if kind == "cookie" else StoreEngine(store),
                ended=EndedSessions(lambda purpose: self.channel, key=KEY),
            )
            for _ in range(2)
        ]
        for each in self.servers:
            each.start()
        self.turn = 0
        self.pending: list[Pending] = []
        self.logins: dict[str, tuple[int, str | None]] = {}
        """Each cookie: when the login was committed that it comes from, and whose that was."""
        self.ends: dict[str | None, int] = {}
        self.left: set[str] = set()

    def step(self) -> None:
        """A request begins or ends, or all of a user's sessions do."""
        self.turn += 1
        chance = self.random.random()
        if self.pending and chance < 0.45:
            self.commit(self.pending.pop(self.random.randrange(len(self.pending))))
        elif chance < 0.9:
            self.begin()
        else:
            subject = self.random.choice(("alice", "bob"))
            self.random.choice(self.servers).end_all(subject)
            self.ends[subject] = self.turn

    def begin(self) -> None:
        server = self.random.choice(self.servers)
        header = self.random.choice(["", *self.logins, *self.logins])
        session = server.open(header, Request(method=self.random.choice(("GET", "POST"))))
        stored = session.get("x", "") is not None and state_of(session).record is not None
        action = self.random.choice(ACTIONS)
        self.pending.append(Pending(server, session, action, header, session.id if stored else None))

    def commit(self, request: Pending) -> None:
        login = self.act(request.session, request.action)
        try:
            lines = request.server.commit(request.session).set_cookies
        except SessionConflict:
            return
        if request.action == "logout" and request.loaded is not None:
            self.left.add(request.loaded)
        for line in lines:
            if "Max-Age=0" not in line:
                before = self.logins.get(request.header, (-1, None))
                self.logins[line.partition(";")[0]] = before if login is None else (self.turn, login)

    def act(self, session: Any, action: str) -> str | None:
        """What the handler does; who logs in."""
        if action.startswith("logout"):
            session.logout()
        elif action == "write":
            session["x"] = self.turn
        elif action == "regenerate":
            session.regenerate()
            session["x"] = self.turn
        elif action == "confirm" and session.subject is not None:
            session.confirm("totp")
        subject = {"alice": "alice", "bob": "bob", "logout and login": "alice"}.get(action)
        if subject is not None:
            session.login(subject)
        return subject

    def check(self) -> None:
        """Nothing lives that has ended, once everybody has heard of it."""
        self.channel.late = False
        for server in self.servers:
            ended: Any = server.core.ended
            ended._parts[0].read_to_end()
            for header, (login, subject) in self.logins.items():
                session = server.open(header)
                if session.subject is not None:
                    assert session.subject == subject
                    assert login >= self.ends.get(subject, -1)
                    assert session.id not in self.left

    def close(self) -> None:
        for each in self.servers:
            each.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cookie", "store"])
def test_what_was_ended_lives_under_no_interleaving(kind: str) -> None:
    """A login is of the user who logged in, and lives only if it was committed after all of the user's were ended."""
    for seed in range(40):
        world = World(kind, seed)
        try:
            for _ in range(25):
                world.step()
            world.check()
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            world.close()

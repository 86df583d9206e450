"""Random interleavings of requests at two servers, of which neither hears at once of what the others end."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.kit import KEY

from hardtack import CookieEngine, EndedSessions, Request, SessionManager, StoreEngine
from hardtack.adapters import end_own
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
        """The ids that were logged out."""
        self.former: dict[str, str] = {}
        """Of an id that a session got without a login, the one before."""

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
                if login is None and request.loaded not in (None, request.session.id):
                    self.former[request.session.id] = str(request.loaded)
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
        self.read()
        for server in self.servers:
            for header, (login, subject) in self.logins.items():
                session = server.open(header)
                if session.subject is not None:
                    assert session.subject == subject
                    assert login >= self.ends.get(subject, -1)
                    before: str | None = session.id
                    while before is not None:
                        assert before not in self.left
                        before = self.former.get(before)

    def read(self) -> None:
        """Let everybody hear of everything."""
        self.channel.late = False
        for server in self.servers:
            ended: Any = server.core.ended
            ended._parts[0].read_to_end()

    def close(self) -> None:
        for each in self.servers:
            each.close()


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Two servers of which neither hears of the other."""
    world = World(request.param, 0)
    yield world
    world.close()


@pytest.mark.parametrize("change", ["regenerate", "confirm", "impersonate"])
@pytest.mark.parametrize("logout", ["before", "at the same time", "after"])
@pytest.mark.parametrize("world", ["cookie", "store"], indirect=True)
def test_a_logout_at_another_server_ends_what_got_a_new_id_at_this_one(world: World, logout: str, change: str) -> None:
    """Neither has read of the other. On a store the second is told so at once."""
    here, there = world.servers
    session = here.open()
    session.login("alice")
    before = here.commit(session).set_cookies[0].partition(";")[0]
    leaves, changes = there.open(before), here.open(before)
    assert leaves.subject == changes.subject == "alice"

    def leave() -> None:
        session = there.open(before) if logout == "after" else leaves
        session.logout()
        there.commit(session)

    if logout == "before":
        leave()
    if change == "impersonate":
        changes.impersonate("bob")
    else:
        getattr(changes, change)()
    changed = here.commit(changes).set_cookies
    if logout != "before":
        assert changed
        leave()

    world.read()
    for server in world.servers:
        assert all(server.open(line.partition(";")[0]).subject is None for line in changed)


@pytest.mark.parametrize("world", ["cookie", "store"], indirect=True)
def test_a_framework_that_ends_what_it_finds_ends_no_new_id(world: World) -> None:
    """Django does over an old password hash: the tab in which the password was changed stays logged in."""
    here, there = world.servers
    session = here.open()
    session.login("alice")
    before = here.commit(session).set_cookies[0].partition(";")[0]
    other, changes = there.open(before), here.open(before)
    assert other.subject == "alice"
    changes.regenerate()
    after = here.commit(changes).set_cookies[0].partition(";")[0]
    end_own(other, follows=False)
    there.commit(other)

    world.read()
    for server in world.servers:
        assert (server.open(before).subject, server.open(after).subject) == (None, "alice")


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

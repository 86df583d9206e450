"""docs/key-rotation.md played on two servers: three deploys log nobody out, and leaving one out does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit import KEY, OTHER_KEY, Clock, Jar

from hardtack import CookieEngine, EncryptedToken, Keyring, SessionManager, SignedToken, StoreEngine
from hardtack.events import Rejected, Renewed
from hardtack.stores.memory import MemoryStore

OLD, NEW = KEY, OTHER_KEY
BEFORE = Keyring(OLD)
DEPLOY_1 = Keyring(current=OLD, accept=[NEW])
DEPLOY_2 = Keyring(current=NEW, accept=[OLD])
DEPLOY_3 = Keyring(current=NEW)


class Servers:
    """Two servers with one clock, each with its own keyring, and what they told."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock = Clock()
        self.events: list[Any] = []
        self.store = MemoryStore()
        self.servers: list[SessionManager] = []
        self.deploy(BEFORE, BEFORE)

    def deploy(self, *rings: Keyring) -> None:
        self.servers = [
            SessionManager(self.engine(ring), lifetime="14 days", on_event=self.events.append, clock=self.clock)
            for ring in rings
        ]

    def engine(self, ring: Keyring) -> Any:
        if self.kind == "store":
            return StoreEngine(self.store, seal=ring)
        return CookieEngine((EncryptedToken if self.kind == "encrypted" else SignedToken)(ring))

    def visit(self, jar: Jar, server: int) -> str | None:
        """One request to one of the servers: who the visitor is to it."""
        session = self.servers[server].open(jar.header)
        subject = session.subject
        jar.take(self.servers[server].commit(session))
        return subject

    def login(self, name: str, server: int = 0) -> Jar:
        jar = Jar()
        session = self.servers[server].open(None)
        session.login(name)
        jar.take(self.servers[server].commit(session))
        return jar

    def told(self, *expected: Any) -> int:
        return sum(isinstance(event, expected) for event in self.events)


@pytest.fixture(params=["encrypted", "signed", "store"])
def site(request: pytest.FixtureRequest) -> Servers:
    return Servers(request.param)


def test_three_deploys_log_nobody_out(site: Servers) -> None:
    """Whoever keeps coming is known to both servers at every moment, and so is who logs in on the way."""
    visitors = {"ada": site.login("ada")}
    stages = [(BEFORE, DEPLOY_1), (DEPLOY_1, DEPLOY_1), (DEPLOY_1, DEPLOY_2), (DEPLOY_2, DEPLOY_2)]

    for number, rings in enumerate(stages):
        site.deploy(*rings)
        for server in (0, 1):
            visitors[f"visitor {number}.{server}"] = site.login(f"visitor {number}.{server}", server)
        for server in (0, 1, 0, 1):
            for name, jar in visitors.items():
                assert site.visit(jar, server) == name
    site.deploy(DEPLOY_3, DEPLOY_3)

    assert [site.visit(jar, 0) for jar in visitors.values()] == list(visitors)
    assert not site.told(Rejected)


def test_sessions_move_to_the_new_key_as_they_are_used(site: Servers) -> None:
    """After the second deploy each session of the old key is sealed anew once, and an event counts it."""
    visitors = [site.login(name) for name in ("ada", "bob")]
    site.deploy(DEPLOY_1, DEPLOY_1)
    site.deploy(DEPLOY_2, DEPLOY_2)

    for _ in range(3):
        for jar in visitors:
            site.visit(jar, 1)

    renewed = [event for event in site.events if isinstance(event, Renewed)]
    assert [event.cause for event in renewed] == ["key", "key"]


def test_nothing_of_the_old_key_lives_when_the_wait_is_over(site: Servers) -> None:
    """A session that nobody used since the second deploy expires before the old key is dropped."""
    idler = site.login("ada")
    site.deploy(DEPLOY_2, DEPLOY_2)
    site.clock.now += 14 * 86400

    assert site.visit(idler, 0) is None


def test_the_deadline_does_not_move_with_the_key(site: Servers) -> None:
    """Sealing anew prolongs nothing."""
    jar = site.login("ada")
    before = site.servers[0].open(jar.header).expires_at
    site.deploy(DEPLOY_2, DEPLOY_2)

    site.visit(jar, 0)

    assert site.servers[0].open(jar.header).expires_at == before


def test_two_deploys_log_people_out() -> None:
    """Without the first deploy, a server that has not got the second yet refuses what the others seal."""
    site = Servers("encrypted")
    jar = site.login("ada")
    site.deploy(DEPLOY_2, BEFORE)

    known = [site.visit(jar, server) for server in (0, 1)]

    assert known == ["ada", None]
    assert site.events[-1] == Rejected("unknown_key", "__Host-Http-session", f"key {NEW.id.hex()}")


def test_a_leaked_key_opens_nothing_any_more() -> None:
    """Dropping the old key at once logs everybody out, whoever made the cookie."""
    site = Servers("encrypted")
    jar = site.login("mallory")

    site.deploy(DEPLOY_3, DEPLOY_3)

    assert [site.visit(jar, server) for server in (0, 1)] == [None, None]

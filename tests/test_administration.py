"""What a manager does to stored sessions outside of a request: change, list, count and end them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit import START, Site

from hardtack import StoreEngine
from hardtack.errors import ConfigError, SessionConflict
from hardtack.events import Destroyed, LoggedOut
from hardtack.flow import run
from hardtack.lifecycle.claims import remove
from hardtack.stores.memory import MemoryStore


class Uncounted:
    """A store that cannot count, of one that can."""

    blocking = False

    def __init__(self) -> None:
        store = MemoryStore()
        self.get, self.put, self.delete, self.find, self.close = (
            store.get,
            store.put,
            store.delete,
            store.find,
            store.close,
        )


@pytest.fixture
def site() -> Site:
    return Site(StoreEngine(MemoryStore()))


def login(site: Site, subject: str, **options: Any) -> Any:
    """A login in another browser."""
    session = site.sessions.open()
    session.login(subject, **options)
    site.sessions.commit(session)
    return session


def test_update_takes_no_coroutine_function(site: Site) -> None:
    """It would change nothing, and nobody would be told."""

    async def change(data: dict[str, Any]) -> None:
        data["n"] = 1

    with pytest.raises(TypeError, match="coroutine function would change nothing"):
        site.sessions.update(site.visit(n=0).id, change)


@pytest.mark.parametrize("wrong", [5, b"id", None])
def test_an_id_is_text(site: Site, wrong: Any) -> None:
    """What is none is a fault of the caller, not a session that has ended."""
    with pytest.raises(TypeError, match=r"is the id of a session, a str, not .*; use session\.id"):
        site.sessions.update(wrong, lambda data: None)
    with pytest.raises(TypeError, match=r"^id is the id of a session"):
        site.sessions.end(wrong)


def test_update_of_another_managers_session(site: Site) -> None:
    """It would be looked for in the wrong store."""
    with pytest.raises(ConfigError, match="another SessionManager"):
        site.sessions.update(Site(StoreEngine(MemoryStore())).visit(n=1), lambda data: None)


def test_update_of_an_ended_session_is_a_conflict(site: Site) -> None:
    """Nothing says that a change was made which was not."""
    ended = site.visit(n=1).id
    assert site.sessions.end(ended)

    with pytest.raises(SessionConflict, match="ended"):
        site.sessions.update(ended, lambda data: None)


def test_taking_a_value_of_a_session_that_ended_is_no_error(site: Site) -> None:
    """A request has taken it, the session ended meanwhile, and the request failed."""
    session = site.open()
    name = session.once.put("challenge")
    site.commit(session)
    session = site.open()
    assert session.once.take(name) == "challenge"
    assert site.sessions.end(session.id)

    site.sessions.abort(session)

    assert site.open().once.take(name) is None
    core = site.sessions.core
    assert run(remove(core, b"x" * 32, ("name",)), core.sync_store()) is None


def test_a_list_has_the_newest_login_first(site: Site) -> None:
    """Of one user alone, with what the login said of the browser."""
    first = login(site, "alice", label="Firefox")
    site.clock.now += 5
    second = login(site, "alice")
    login(site, "bob")

    found = site.sessions.list("alice")

    assert [info.id for info in found] == [second.id, first.id]
    assert [info.label for info in found] == [None, "Firefox"]
    assert [info.created_at.timestamp() for info in found] == [START + 5, START]


def test_a_list_leaves_out_what_has_ended() -> None:
    """Though the store still has it."""
    site = Site(StoreEngine(MemoryStore()), idle_timeout=60)
    login(site, "alice")
    site.clock.now += 60

    assert site.sessions.list("alice") == []
    assert site.sessions.count("alice") == 0


def test_count_of_a_user_and_of_all(site: Site) -> None:
    """A store that cannot count all says so, and still has those of a user."""
    login(site, "alice")
    login(site, "bob")

    other = Site(StoreEngine(Uncounted()))
    login(other, "alice")

    assert (site.sessions.count("alice"), site.sessions.count(), other.sessions.count("alice")) == (1, 2, 1)
    with pytest.raises(ConfigError, match=r"^Uncounted cannot count its sessions \(it has no count\(\)\)$"):
        other.sessions.count()


async def _acount(site: Site) -> list[int]:
    return [await site.sessions.acount("alice"), await site.sessions.acount("nobody")]


def test_count_under_async_code(site: Site) -> None:
    """The same number."""
    import asyncio

    login(site, "alice")

    assert asyncio.run(_acount(site)) == [1, 0]


def test_end_of_a_users_own_session_only(site: Site) -> None:
    """An id is public: whoever knows that of somebody else ends nothing with it."""
    session = login(site, "alice")
    site.events.clear()

    assert not site.sessions.end(session.id, "bob")
    assert site.events == []
    assert site.sessions.end(session.id, "alice")
    assert not site.sessions.end(session.id, "alice")
    assert not site.sessions.end("unknown")
    assert [type(event) for event in site.events] == [Destroyed, LoggedOut]


def test_an_end_that_was_asked_for_stays_one(site: Site) -> None:
    """Two logins after it do not make it an end that a request which fails takes back."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    session = site.open()
    session.destroy()
    session.login("bob")
    session.login("carol")

    site.sessions.abort(session)

    assert site.sessions.list("alice") == []

"""A registry: what a user's sessions in cookies are, for a page of devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from tests.kit import KEY, START, Jar, Site

from hardtack import CookieEngine, EndedSessions, SessionManager, StoreEngine
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.flow import run
from hardtack.lifecycle import registry
from hardtack.session import state_of
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import AsyncRedisStore


class Counted(MemoryStore):
    """Counts what it is asked, and can be down."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.down = False

    def put(self, key: str, data: bytes, **more: Any) -> Any:
        if self.down:
            raise StoreUnavailable("the registry is down")
        self.writes += 1
        return super().put(key, data, **more)


@pytest.fixture
def store() -> Counted:
    """The store of the entries."""
    return Counted()


@pytest.fixture
def site(store: Counted) -> Iterator[Site]:
    """A site whose sessions are in cookies."""
    site = Site(CookieEngine(KEY), ended=EndedSessions.from_url("memory://"), registry=store)
    yield site
    site.sessions.close()


def log_in(site: Site, jar: Jar | None = None, subject: str = "alice", **more: Any) -> str:
    """Log in, and return the session's id."""
    jar = site.jar if jar is None else jar
    session = site.sessions.open(jar.header)
    session.login(subject, **more)
    jar.take(site.sessions.commit(session))
    found: str = session.id
    return found


def ids(site: Site, subject: str = "alice") -> list[str]:
    """The ids of a user's sessions, as they are listed."""
    return [each.id for each in site.sessions.list(subject)]


def test_a_login_is_listed(site: Site) -> None:
    """With its label, times and id; newest first; not when it was seen, which nobody writes."""
    first = log_in(site, Jar(), label="Firefox")
    site.clock.now += 60
    second = log_in(site, Jar())
    log_in(site, Jar(), "bob")

    newest, oldest = site.sessions.list("alice")

    assert (newest.id, oldest.id) == (second, first)
    assert (oldest.label, oldest.seen_at, oldest.created_at.timestamp()) == ("Firefox", None, START)
    assert (site.sessions.count("alice"), site.sessions.count()) == (2, 3)


def test_it_costs_a_write_at_a_login_and_at_a_new_id(site: Site, store: Counted) -> None:
    """And nothing at what a session keeps, or for a visitor."""
    site.visit(a=1)
    log_in(site)
    site.visit(b=1)
    assert store.writes == 1
    session = site.open()
    session.confirm("totp")
    site.commit(session)
    site.visit(b=2)

    assert store.writes == 2
    assert ids(site) == [site.open().id]
    assert site.sessions.list("alice")[0].confirmed_at is not None


@pytest.mark.parametrize("end", ["logout", "end", "end of hers", "login", "end_all", "end_everything"])
def test_what_has_ended_is_listed_no_more(end: str, site: Site) -> None:
    """Whoever ended it."""
    other = log_in(site, Jar())
    session_id = log_in(site)
    if end == "logout":
        session = site.open()
        session.logout()
        site.commit(session)
    elif end == "end":
        assert site.sessions.end(session_id)
    elif end == "end of hers":
        assert site.sessions.end(session_id, "bob")
        assert len(ids(site)) == 2
        assert site.sessions.end(session_id, "alice")
    elif end == "login":
        log_in(site, subject="bob")
    elif end == "end_all":
        assert site.sessions.end_all("alice", keep=other) == 1
    else:
        site.sessions.end_everything()
        assert ids(site) == []
        return

    assert ids(site) == [other]
    assert site.sessions.count() == (2 if end == "login" else 1)


def test_it_forgets_at_the_deadline(site: Site) -> None:
    """The absolute one: nobody writes when a session is used."""
    log_in(site, lifetime="1 hour")
    site.clock.now += 3599
    assert len(ids(site)) == 1

    site.clock.now += 1

    assert ids(site) == []


def test_who_acts_as_another_is_not_a_device_of_hers(site: Site) -> None:
    """The administrator's own login stays listed."""
    log_in(site, subject="admin")
    session = site.open()
    session.impersonate("alice")
    site.commit(session)
    assert (ids(site), len(ids(site, "admin"))) == ([], 1)

    session = site.open()
    session.logout()
    site.commit(session)

    assert ids(site, "admin") == []


def test_a_session_that_was_bound_to_its_device_is_listed_under_its_new_id(site: Site, store: Counted) -> None:
    """With the commit that tells the browser of it, and not under the former one."""
    log_in(site)
    session = site.open()
    session["a"] = 1
    state = state_of(session)
    former, held = state.record, state.held
    assert former is not None
    assert held is not None
    bound = former.with_changes(id=bytes(16))
    held.record, held.replaces = bound, former
    state.record = state.base = state.meta = bound
    site.commit(session)

    assert ids(site) == [session.id] == [site.open().id]
    assert len(store.find("alice")) == 1


def test_a_login_that_cannot_be_noted_is_none(site: Site, store: Counted) -> None:
    """It could neither be listed nor found: a 503."""
    store.down = True

    with pytest.raises(StoreUnavailable):
        log_in(site)


def test_entries_are_sealed_and_open_nothing(site: Site, store: Counted) -> None:
    """They are under the hash of the id, encrypted, without the session's data."""
    session_id = log_in(site)
    (key,) = store.find("alice")
    entry = store.get(key)

    assert entry is not None
    assert session_id not in key
    assert b"alice" not in entry.data


def test_what_is_no_entry_is_passed_over(site: Site, store: Counted) -> None:
    """Another program has written it."""
    core = site.sessions.core
    engine = core.registry
    assert engine is not None
    other = Site(StoreEngine(store, seal=KEY))
    log_in(other)
    store.put("short", b"?", expires_at=START + 60, if_version=None, subject="alice")
    log_in(site)
    assert len(run(registry.sessions_of(core, "alice"), store)) == 1


def test_under_async_code(site: Site) -> None:
    """The same, by the async methods."""
    log_in(site)

    async def listed() -> tuple[int, int]:
        return len(await site.sessions.alist("alice")), await site.sessions.acount()

    assert anyio.run(listed) == (1, 1)


class Plain:
    """A store that can neither find nor count."""

    blocking = False

    def __init__(self) -> None:
        store = MemoryStore()
        self.get, self.put, self.delete, self.close = store.get, store.put, store.delete, store.close


class Finds(Plain):
    """One that can find."""

    def __init__(self) -> None:
        super().__init__()
        store = MemoryStore()
        self.get, self.put, self.delete, self.find = store.get, store.put, store.delete, store.find


def test_settings_that_do_not_fit() -> None:
    """Say why."""
    ended = EndedSessions.from_url("memory://", KEY)
    with pytest.raises(ConfigError, match="for sessions in cookies"):
        SessionManager(StoreEngine(MemoryStore()), ended=ended, registry=MemoryStore())
    with pytest.raises(ConfigError, match="needs ended="):
        SessionManager(KEY, registry=MemoryStore())
    with pytest.raises(ConfigError, match=r"registry=Plain must be a store"):
        SessionManager(KEY, ended=ended, registry=Plain())
    with pytest.raises(ConfigError, match="no count"):
        SessionManager(KEY, ended=ended, registry=Finds()).count()
    with pytest.raises(ConfigError, match="for async code"):
        SessionManager(KEY, ended=ended, registry=AsyncRedisStore.from_url("redis://localhost")).list("alice")
    with pytest.raises(TypeError, match="str"):
        SessionManager(KEY, ended=ended, registry=MemoryStore()).list(7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Use a StoreEngine"):
        SessionManager(KEY, ended=ended).list("alice")

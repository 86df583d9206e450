"""A registry: what a user's sessions in cookies are, for a page of devices."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.ended.kit import eventually
from tests.kit import KEY, START, Jar, Site

from hardtack import CookieEngine, EndedSessions, SessionManager, StoreEngine
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.events import Destroyed, LoggedOut
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


@pytest.mark.parametrize("subject", ["alice", None])
def test_an_end_by_an_old_id_ends_what_it_has_become(site: Site, subject: str | None) -> None:
    """An old page of devices has the id from before a step-up: who presses its button ends the session as it is now."""
    old = log_in(site)
    stepped_up = site.open()
    stepped_up.confirm("totp")
    site.commit(stepped_up)

    (listed,) = site.sessions.list("alice")
    told = site.sessions.end(old, subject=subject)

    assert told
    assert listed.id == stepped_up.id != old
    assert site.open().subject is None
    assert site.sessions.list("alice") == []


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


def test_the_oldest_login_ends_beyond_the_limit(site: Site) -> None:
    """Its cookie is used no more, and the newest ones go on."""
    jars = [Jar() for _ in range(4)]
    logins = [log_in(site, jar, at_most=2) for jar in jars]

    assert [site.sessions.open(jar.header).subject for jar in jars] == [None, None, "alice", "alice"]
    assert sorted(ids(site)) == sorted(logins[2:])
    assert [event.cause for event in site.told(LoggedOut)] == ["at_most", "at_most"]
    assert len(site.told(Destroyed)) == 2


def test_a_login_again_in_one_browser_counts_once(site: Site) -> None:
    """The session that becomes another is not one more; nor does another user's count."""
    other, bob = Jar(), Jar()
    log_in(site, bob, "bob", at_most=1)
    log_in(site, other, at_most=2)
    for _ in range(3):
        log_in(site, at_most=2)

    assert site.open().subject == "alice"
    assert [site.sessions.open(jar.header).subject for jar in (other, bob)] == ["alice", "bob"]
    assert len(ids(site)) == 2


def test_the_login_that_was_made_last_is_the_newest(site: Site, store: Counted) -> None:
    """Also where an older one was drawn by a clock ahead of ours: who has just logged in is not who is logged out."""
    ahead, jar = Jar(), Jar()
    log_in(site, ahead)
    (key,) = store.find("alice")
    core = site.sessions.core
    assert core.registry is not None
    (record,) = run(registry.sessions_of(core, "alice"), store)
    later = record.with_changes(options={**record.options, "drawn": record.options["drawn"] + 3_000_000})
    run(registry.forget(core, record.id), store)
    run(registry.note(core, later), store)
    assert store.find("alice") == [key]

    log_in(site, jar, at_most=1)

    assert (site.sessions.open(ahead.header).subject, site.sessions.open(jar.header).subject) == (None, "alice")


def test_of_logins_at_once_no_more_than_the_limit_are_left(tmp_path: Path) -> None:
    """As in several processes: each has a list of its own that follows one channel, and they share the store."""
    store, url = MemoryStore(), f"file://{tmp_path}/ended"
    sites = [Site(CookieEngine(KEY), ended=EndedSessions.from_url(url), registry=store) for _ in range(4)]
    lists = [ended for site in sites if (ended := site.sessions.core.ended) is not None]
    lists[0].create()
    try:
        for ended in lists:
            ended.start()
        eventually(lambda: all(ended.is_fresh for ended in lists), 60)
        for _ in range(5):
            jars = [Jar() for _ in sites]
            with ThreadPoolExecutor(len(sites)) as pool:
                found = list(pool.map(lambda pair: log_in(*pair, at_most=2), zip(sites, jars, strict=True)))
            assert len(sites[0].sessions.list("alice")) == 2
            assert {each.id for each in sites[0].sessions.list("alice")} < set(found)
    finally:
        for site in sites:
            site.sessions.close()


def test_the_limit_holds_while_the_channel_is_down(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the oldest is known here at once and told later; the login is not lost."""
    oldest, newest = Jar(), Jar()
    log_in(site, oldest)
    ended = site.sessions.core.ended
    assert ended is not None
    end_session = ended.end_session

    def fail(*args: Any) -> None:
        end_session(*args)
        raise StoreUnavailable("the channel is down")

    monkeypatch.setattr(ended, "end_session", fail)

    log_in(site, newest, at_most=1)

    assert (site.sessions.open(oldest.header).subject, site.sessions.open(newest.header).subject) == (None, "alice")


def test_a_login_in_a_cookie_cannot_be_refused_for_the_limit(site: Site) -> None:
    """It could not be taken back; nobody is logged in."""
    session = site.open()

    with pytest.raises(ConfigError, match="beyond='refuse'"):
        session.login("alice", at_most=1, beyond="refuse")

    assert session.subject is None


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

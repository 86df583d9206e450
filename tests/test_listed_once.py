"""`list` names a session once while it gets a new id, though both are found for a moment: sync, async, and in a registry."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kit import KEY, START, Clock, Jar, Site

from hardtack import CookieEngine, EndedSessions, SessionManager, StoreEngine
from hardtack.errors import SessionTooLarge
from hardtack.protocols import Entry
from hardtack.record import AFTER, Record, unpack
from hardtack.stores.file import FileStore
from hardtack.stores.memory import MemoryStore


class Held:
    """Where a write of a store is held, until it is let go."""

    def __init__(self) -> None:
        self.call = ""
        self.number = 0
        self.reached, self.go_on = threading.Event(), threading.Event()

    def at(self, call: str) -> None:
        """Wait here, if this is the call that is to be held."""
        if call == self.call:
            self.number -= 1
            if self.number == 0:
                self.reached.set()
                assert self.go_on.wait(30)


class TwoSteps:
    """A store without a rename: a new id is a `put` under it, and another in the place of the old one."""

    blocking = False

    def __init__(self, held: Held) -> None:
        self.inner, self.held = MemoryStore(), held

    def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    def find(self, subject: str) -> list[str]:
        return self.inner.find(subject)

    def put(self, key: str, data: bytes, **options: Any) -> Any:
        self.held.at("put")
        return self.inner.put(key, data, **options)

    def delete(self, key: str, **options: Any) -> bool:
        self.held.at("delete")
        return self.inner.delete(key, **options)

    def close(self) -> None:
        self.inner.close()


class TwoAsyncSteps:
    """The same for async code."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.number = 0
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    async def find(self, subject: str) -> list[str]:
        return self.inner.find(subject)

    async def put(self, key: str, data: bytes, **options: Any) -> Any:
        self.number -= 1
        if self.number == 0:
            self.reached.set()
            await asyncio.wait_for(self.go_on.wait(), 30)
        return self.inner.put(key, data, **options)

    async def delete(self, key: str, **options: Any) -> bool:
        return self.inner.delete(key, **options)

    async def close(self) -> None:
        self.inner.close()


class Files(FileStore):
    """Stops between its two files."""

    held: Held

    def _bury(self, key: str, data: bytes, expires_at: int) -> Any:
        self.held.at("bury")
        return super()._bury(key, data, expires_at)


@contextmanager
def changing(held: Held, call: str, number: int, change: Callable[[], object]) -> Iterator[None]:
    """Within it a thread stands in the middle of a change."""
    held.call, held.number = call, number
    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert held.reached.wait(30)
        yield
    finally:
        held.go_on.set()
        thread.join()


def new_id(site: Site) -> Any:
    session = site.open()
    session.regenerate()
    site.commit(session)
    return session


def log_in(site: Site) -> Any:
    session = site.open()
    session.login("alice")
    site.commit(session)
    return session


@pytest.mark.parametrize("act", [new_id, log_in], ids=["regenerate", "login"])
@pytest.mark.parametrize("store", ["two steps", "files"])
def test_a_session_that_gets_a_new_id_is_listed_once(store: str, act: Any, tmp_path: Path) -> None:
    """Under the new one, and it is counted once: a login is not refused for a session that is not there."""
    held = Held()
    made: Any = TwoSteps(held)
    if store == "files":
        made = Files(tmp_path)
        made.held = held
    site = Site(StoreEngine(made))
    old = log_in(site).id
    calls = ("put", 2) if store == "two steps" else ("bury", 1)
    with changing(held, *calls, lambda: act(site)):
        (listed,) = site.sessions.list("alice")
        assert listed.id != old
        assert site.sessions.count("alice") == 1
        assert len(made.find("alice")) == 2

    assert [each.id for each in site.sessions.list("alice")] == [site.open().id] == [listed.id]


def test_it_is_listed_once_in_async_code() -> None:
    """The same by a store that is awaited."""

    async def main() -> None:
        store, jar = TwoAsyncSteps(), Jar()
        sessions = SessionManager(StoreEngine(store), clock=Clock())
        session = await sessions.aopen("")
        session.login("alice")
        jar.take(await sessions.acommit(session))
        old = session.id
        session = await sessions.aopen(jar.header)
        session.regenerate()
        store.number = 2
        saving = asyncio.create_task(sessions.acommit(session))
        await asyncio.wait_for(store.reached.wait(), 30)

        (listed,) = await sessions.alist("alice")
        assert listed.id != old
        assert len(await store.find("alice")) == 2
        store.go_on.set()
        await saving
        assert [each.id for each in await sessions.alist("alice")] == [session.id] == [listed.id]

    asyncio.run(main())


def test_it_is_listed_once_by_a_registry() -> None:
    """A process that has not read the list of ended sessions yet finds both entries."""
    held = Held()
    store: Any = TwoSteps(held)
    sites = [
        Site(CookieEngine(KEY), ended=EndedSessions.from_url("memory://", key=KEY), registry=store) for _ in range(2)
    ]
    old = log_in(sites[0]).id
    with changing(held, "delete", 1, lambda: new_id(sites[0])):
        (listed,) = sites[1].sessions.list("alice")
        assert listed.id != old
        assert len(store.find("alice")) == 2
    for site in sites:
        site.sessions.close()


def test_an_id_that_changes_after_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index has named the old id, and its entry says by now where the session went: listed all the same."""
    store = MemoryStore()
    site = Site(StoreEngine(store))
    log_in(site)
    found = store.find("alice")
    new = new_id(site)
    monkeypatch.setattr(store, "find", lambda subject: found)

    assert [each.id for each in site.sessions.list("alice")] == [new.id]
    monkeypatch.setattr(store, "find", lambda subject: [*found, *store._keys_of[subject]])
    assert [each.id for each in site.sessions.list("alice")] == [new.id]


def test_a_new_id_that_an_accepted_store_was_not_told_of_yet() -> None:
    """The session moved and got a new id in one request: the old record goes last, and is not listed beside the new one."""
    held, clock, jar = Held(), Clock(), Jar()
    older, newer = TwoSteps(held), MemoryStore()
    before = SessionManager(StoreEngine(older), clock=clock)
    session = before.open("")
    session.login("alice")
    jar.take(before.commit(session))
    sessions = SessionManager(StoreEngine(newer), accept=[StoreEngine(older)], clock=clock)

    def move() -> None:
        moving = sessions.open(jar.header)
        moving.regenerate()
        jar.take(sessions.commit(moving))

    with changing(held, "delete", 1, move):
        (listed,) = sessions.list("alice")
        assert listed.id != session.id
    assert sessions.open(jar.header).id == listed.id


def test_the_mark_is_of_one_id_and_no_larger_than_it_may_be() -> None:
    """A further id names only the one before it; what is as large as `max_size` allows gets a new id all the same."""
    store: Any = TwoSteps(Held())
    site = Site(StoreEngine(store), max_size=600)
    session = log_in(site)
    session = site.open()
    session["text"] = ""
    room = 600 - len(_record(store, session).plain or b"") - 100
    session["text"] = "x" * room
    site.commit(session)
    while True:  # until nothing more goes in
        session = site.open()
        session["text"] += "x"
        try:
            site.commit(session)
        except SessionTooLarge:
            break
    first = site.open().id
    second = new_id(site)
    assert _record(store, second).options[AFTER] == [first]
    third = new_id(site)

    assert _record(store, third).options[AFTER] == [second.id]
    site.visit()
    assert third.created_at.timestamp() == START


def test_a_mark_of_another_form_hides_nothing() -> None:
    """Whoever can write to the store."""
    store = MemoryStore()
    site = Site(StoreEngine(store))
    log_in(site)
    (key,) = store.find("alice")
    entry = store.get(key)
    assert entry is not None
    engine: Any = site.sessions.engine
    for wrong in ("text", [1], {"a": 1}, None):
        record = unpack(entry.data)
        record = record.with_changes(options={**record.options, AFTER: wrong})
        put = engine.put(key, record, START + 1000, None, site.sessions.core)
        store.delete(key)
        store.put(key, put.data, expires_at=START + 1000, if_version=None, subject="alice")
        assert len(site.sessions.list("alice")) == 1


def _record(store: Any, session: Any) -> Record:
    entry = store.get(session.id)
    assert entry is not None
    return unpack(entry.data)

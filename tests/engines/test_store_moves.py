"""StoreEngine on stores that cannot change an id in one step: what comes between the two leaves no copy behind."""

from __future__ import annotations

import asyncio
from functools import cached_property, partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tests.kit import Site

from hardtack import StoreEngine
from hardtack.errors import StoreUnavailable
from hardtack.protocols import Entry
from hardtack.stores.memory import MemoryStore


class Interrupted(BaseException):
    """As gevent's GreenletExit, or KeyboardInterrupt: no error of a store."""


class Cut:
    """A store without a rename, which fails at one of its writes: before it is done, or when it is and was not answered."""

    blocking = False

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.at = 0
        """Which of the next writes fails, counted from 1; 0: none."""
        self.done = False
        self.error: BaseException = Interrupted()
        self.gone = False
        """Whether nothing is deleted either, once it has failed."""

    def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    def find(self, subject: str) -> Any:
        return self.inner.find(subject)

    def put(self, key: str, data: bytes, **options: Any) -> Any:
        self.at -= 1
        if self.at == 0 and not self.done:
            raise self.error
        version = self.inner.put(key, data, **options)
        if self.at == 0:
            raise self.error
        return version

    def delete(self, key: str, **options: Any) -> bool:
        if self.gone:
            raise StoreUnavailable("gone")
        return self.inner.delete(key, **options)

    def close(self) -> None:
        self.inner.close()


class Unable(Cut):
    """One whose rename cannot do this pair of keys, such as of a cluster."""

    def rename(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError


def logged_in(store: Any) -> Site:
    """A site whose visitor is logged in."""
    site = Site(StoreEngine(store))
    session = site.open()
    session.login("alice")
    site.commit(session)
    return site


@pytest.mark.parametrize("kind", [Cut, Unable])
@pytest.mark.parametrize("done", [False, True], ids=["not-done", "done"])
@pytest.mark.parametrize(
    ("step", "error"),
    [(1, Interrupted()), (2, Interrupted()), (2, StoreUnavailable("down"))],
    ids=["creating-interrupted", "ending-interrupted", "ending-unavailable"],
)
def test_a_change_of_the_id_that_is_cut_off_leaves_no_copy(
    kind: type[Cut], done: bool, step: int, error: BaseException
) -> None:
    """Under a key that nobody has it would stand in the list of the user's sessions, and count for `at_most`."""
    store = kind()
    site = logged_in(store)
    session = site.open()
    session.regenerate()

    store.at, store.done, store.error = step, done, error
    with pytest.raises(type(error)):
        site.sessions.commit(session)

    old_is_dead = done and step == 2
    assert [each.id for each in site.sessions.list("alice")] == ([] if old_is_dead else [site.open().id])
    assert site.sessions.count("alice") == (0 if old_is_dead else 1)
    assert site.open().subject == (None if old_is_dead else "alice")


def test_a_copy_that_cannot_be_taken_away_is_told_as_what_cut_it_off() -> None:
    """The store was gone, and is gone still: the visitor goes on with the session that was."""
    store = Cut()
    site = logged_in(store)
    session = site.open()
    session.regenerate()

    store.at, store.error, store.gone = 2, Interrupted(), True
    with pytest.raises(Interrupted):
        site.sessions.commit(session)

    assert site.open().subject == "alice"


class Slow:
    """A store for async code that stops at one of its writes until it is cancelled."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.at = 0

    @cached_property
    def stopped(self) -> anyio.Event:
        """That it has stopped. Older versions of anyio make none outside of an event loop."""
        return anyio.Event()

    async def get(self, key: str) -> Entry | None:
        await checkpoint()
        return self.inner.get(key)

    async def find(self, subject: str) -> Any:
        await checkpoint()
        return self.inner.find(subject)

    async def put(self, key: str, data: bytes, **options: Any) -> Any:
        await checkpoint()
        self.at -= 1
        if self.at == 0:
            self.stopped.set()
            await anyio.sleep_forever()
        return self.inner.put(key, data, **options)

    async def delete(self, key: str, **options: Any) -> bool:
        await checkpoint()
        return self.inner.delete(key, **options)

    async def close(self) -> None: ...


async def aborted(step: int, *, natively: bool) -> tuple[int, str | None]:
    """A change of the id whose task is cancelled at a step: how many sessions the user has then, and who is logged in."""
    store = Slow()
    site = Site(StoreEngine(store))
    session = await site.sessions.aopen()
    session.login("alice")
    site.jar.take(await site.sessions.acommit(session))
    session = await site.sessions.aopen(site.jar.header)
    session.regenerate()
    store.at = step
    if natively:
        task = asyncio.create_task(site.sessions.acommit(session))
        await store.stopped.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(site.sessions.acommit, session)
            await store.stopped.wait()
            group.cancel_scope.cancel()
    found = await site.sessions.aopen(site.jar.header)
    return len(await site.sessions.alist("alice")), found.subject


@pytest.mark.parametrize("step", [1, 2], ids=["creating", "ending"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_change_of_the_id_whose_scope_is_cancelled_leaves_no_copy(backend: str, step: int) -> None:
    """A scope cancels whatever is awaited in it, but for what cleans up."""
    assert anyio.run(partial(aborted, step, natively=False), backend=backend) == (1, "alice")


@pytest.mark.parametrize("step", [1, 2], ids=["creating", "ending"])
def test_a_change_of_the_id_whose_task_is_cancelled_leaves_no_copy(step: int) -> None:
    """By asyncio itself, as servers and timeouts do."""
    assert asyncio.run(aborted(step, natively=True)) == (1, "alice")


def test_a_change_of_the_id_that_nobody_goes_on_with_is_let_go() -> None:
    """Its event loop ended while it waited: nothing can be asked of the store any more."""
    store = Slow()
    site = Site(StoreEngine(store))

    async def begin() -> Any:
        session = await site.sessions.aopen()
        session["n"] = 1
        site.jar.take(await site.sessions.acommit(session))
        session = await site.sessions.aopen(site.jar.header)
        session.regenerate()
        store.at = 2
        work: Any = site.sessions.acommit(session)
        while store.at > 0:
            work.send(None)
        return work

    asyncio.run(begin()).close()

    async def read() -> dict[str, Any]:
        return dict(await site.sessions.aopen(site.jar.header))

    assert asyncio.run(read()) == {"n": 1}

"""Flows without a store, stepped by hand, and the two drivers that run them with one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hardtack import Record, errors
from hardtack import record as records
from hardtack.engines.store import StoreEngine
from hardtack.events import Rejected
from hardtack.flow import Close, Delete, Find, Flow, Get, Put, Rename, Request, Resolve, arun, run
from hardtack.manager import SessionManager
from hardtack.protocols import Context, Entry, Held, Kind, Saved, Saving, Tombstone, VersionConflict
from hardtack.stores.memory import MemoryStore
from hardtack.tracking import Tracking

EXPIRES = 4_000_000_000


class Recorder:
    """A store that remembers how it was called, and by which thread, and answers what it was told to."""

    def __init__(self, blocking: bool = False, answer: Any = "answer") -> None:
        self.blocking = blocking
        self.answer = answer
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.threads: list[int] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            self.threads.append(threading.get_ident())
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer

        return call


class AsyncRecorder:
    """The same with coroutines, and therefore without `blocking`."""

    def __init__(self, answer: Any = "answer") -> None:
        self.answer = answer

    async def get(self, key: str) -> Any:
        await asyncio.sleep(0)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def ask(*requests: Request) -> Flow[list[Any]]:
    """A flow that collects the answers, and each exception in the place of one."""
    answers = []
    for request in requests:
        try:
            answers.append((yield request))
        except Exception as error:
            answers.append(error)
    return answers


REQUESTS: list[tuple[Request, tuple[str, tuple[Any, ...], dict[str, Any]]]] = [
    (Get("k"), ("get", ("k",), {})),
    (
        Put("k", b"d", EXPIRES, 3, "alice"),
        ("put", ("k", b"d"), {"expires_at": EXPIRES, "if_version": 3, "subject": "alice"}),
    ),
    (Delete("k"), ("delete", ("k",), {"if_version": None})),
    (Delete("k", 3), ("delete", ("k",), {"if_version": 3})),
    (
        Rename("k", "n", b"d", EXPIRES, 3, None, {"tombstone": Tombstone(b"t", 5)}),
        (
            "rename",
            ("k", "n", b"d"),
            {"expires_at": EXPIRES, "if_version": 3, "subject": None, "tombstone": Tombstone(b"t", 5)},
        ),
    ),
    (Find("alice"), ("find", ("alice",), {})),
    (Resolve(b"handle"), ("resolve", (b"handle",), {})),
    (Close(), ("close", (), {})),
]


@pytest.mark.parametrize(("request_", "call"), REQUESTS, ids=lambda value: type(value).__name__)
def test_each_request_is_one_call(request_: Request, call: Any) -> None:
    """A request calls the store's method of its name, with its fields."""
    store: Any = Recorder()

    answers = run(ask(request_), store)

    assert (store.calls, answers) == ([call], ["answer"])


def test_a_flow_without_requests_needs_no_store() -> None:
    """What a flow returns is what the driver returns."""

    async def main() -> list[Any]:
        return await arun(ask())

    assert run(ask()) == asyncio.run(main()) == []


def test_the_driver_throws_what_the_store_raises() -> None:
    """An exception of the store comes up in the flow, which goes on with its next request."""
    store: Any = Recorder(answer=VersionConflict("changed"))

    answers = run(ask(Get("a"), Get("b")), store)

    assert answers == [store.answer, store.answer]
    assert len(store.calls) == 2


def test_what_a_flow_does_not_catch_comes_out() -> None:
    """An exception that the flow lets through is the caller's."""

    def flow() -> Flow[None]:
        yield Get("a")

    store: Any = Recorder(answer=errors.StoreUnavailable("down"))

    with pytest.raises(errors.StoreUnavailable):
        run(flow(), store)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_interruptions_run_the_cleanup_of_a_flow(interruption: type[BaseException]) -> None:
    """What is no `Exception` is thrown into the flow as well: its `finally` runs, at once."""
    cleaned = []

    def flow() -> Flow[None]:
        try:
            yield Get("a")
        finally:
            cleaned.append(True)

    store: Any = Recorder(answer=interruption())

    with pytest.raises(interruption):
        run(flow(), store)

    assert cleaned


def in_a_loop(flow: Callable[[], Flow[Any]], store: Any) -> Any:
    """Run the flow under asyncio; the result, and the thread of the loop."""

    async def main() -> tuple[Any, int]:
        return await arun(flow(), store), threading.get_ident()

    return asyncio.run(main())


def test_an_async_store_is_awaited() -> None:
    """A store with coroutines has no `blocking`, and is awaited."""
    answers, _ = in_a_loop(lambda: ask(Get("a"), Get("b")), AsyncRecorder())

    assert answers == ["answer", "answer"]


def test_an_async_store_that_raises_is_thrown() -> None:
    """Exceptions out of a coroutine come up in the flow."""
    error = VersionConflict("changed")

    answers, _ = in_a_loop(lambda: ask(Get("a"), Get("b")), AsyncRecorder(error))

    assert answers == [error, error]


def test_a_blocking_store_runs_in_another_thread() -> None:
    """A store that waits for a disk does not stop the event loop."""
    store = Recorder(blocking=True)

    answers, loop = in_a_loop(lambda: ask(Get("a")), store)

    assert answers == ["answer"]
    assert loop not in store.threads


def test_a_store_that_does_not_block_runs_on_the_loop() -> None:
    """A dict needs no thread."""
    store = Recorder(blocking=False)

    answers, loop = in_a_loop(lambda: ask(Get("a")), store)

    assert answers == ["answer"]
    assert store.threads == [loop]


def test_cancellation_is_thrown_into_the_flow() -> None:
    """A request that is cancelled while it waits for the store runs the flow's `finally`, and stays cancelled."""
    cleaned: list[type[BaseException]] = []
    waiting = asyncio.Event()

    class Slow:
        async def get(self, key: str) -> None:
            waiting.set()
            await asyncio.sleep(60)

    def flow() -> Flow[None]:
        try:
            yield Get("a")
        except BaseException as error:
            cleaned.append(type(error))
            raise

    async def main() -> None:
        store: Any = Slow()
        task = asyncio.create_task(arun(flow(), store))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert cleaned == [asyncio.CancelledError]


# --- the engine's own flows, with nothing behind them


def test_a_load_is_stepped_without_a_store() -> None:
    """Loading a store session asks for one key, the hash of the cookie, and takes None for an answer."""
    told: list[Any] = []
    engine = StoreEngine(MemoryStore())
    manager = SessionManager(engine, on_event=told.append)
    flow = engine.load("__Host-Http-session=" + "A" * 43, manager.core.context(), manager.core)

    request = next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send(None)

    assert isinstance(request, Get)
    assert len(request.key) == 43
    assert request.key != "A" * 43
    assert stop.value.value.record is None
    assert told == [Rejected("unknown_id", "__Host-Http-session")]


def record(manager: SessionManager, **data: Any) -> Record:
    """What is stored under the key of the cookie that the tests send."""
    engine: Any = manager.engine
    raw_key = engine.raw_key(bytes(32), "")
    return Record(raw_key, 1, None, 1, None, {}, data)


def save(manager: SessionManager) -> Flow[Any]:
    """The flow that saves `{"a": 1, "mine": True}` over `{"a": 1}`, which was loaded under version 7."""
    context = Context("__Host-Http-session", "", 2)
    load = manager.engine.load("__Host-Http-session=" + "A" * 43, context, manager.core)
    next(load)
    with pytest.raises(StopIteration) as stop:
        load.send(Entry(records.pack(record(manager, a=1)), 7))
    held: Held = stop.value.value
    old = held.record
    assert old is not None
    new = old.with_changes(data={"a": 1, "mine": True})
    saving = Saving(
        kind=Kind.UPDATE,
        held=held,
        old=old,
        new=new,
        base=old,
        tracking=Tracking({}),
        expires_at=EXPIRES,
        max_age=None,
        now=2,
    )
    return manager.engine.save(saving, context, manager.core)


def test_a_save_is_one_request() -> None:
    """Saving is one compare-and-set on the version that was loaded; the cookie stays as it is."""
    flow = save(SessionManager(StoreEngine(MemoryStore())))

    put = next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send("the next version")

    saved: Saved = stop.value.value
    assert isinstance(put, Put)
    assert put.if_version == 7
    assert saved.held.version == "the next version"
    assert saved.lines == []


def test_a_save_that_meets_the_end_of_the_session_is_dropped() -> None:
    """A save that is told of a conflict asks what is there now, and gives up where there is nothing any more."""
    flow = save(SessionManager(StoreEngine(MemoryStore())))

    put: Any = next(flow)
    get = flow.throw(VersionConflict("changed"))
    with pytest.raises(StopIteration) as stop:
        flow.send(None)

    assert get == Get(put.key)
    assert stop.value.value.dropped == "dead"


def test_a_save_that_meets_another_merges_with_it() -> None:
    """After a conflict the next `Put` has both changes, over the version that was found."""
    manager = SessionManager(StoreEngine(MemoryStore()))
    flow = save(manager)

    next(flow)
    flow.throw(VersionConflict("changed"))
    again = flow.send(Entry(records.pack(record(manager, a=1, theirs=True)), "their version"))

    assert isinstance(again, Put)
    assert again.if_version == "their version"
    assert records.unpack(again.data).data == {"a": 1, "theirs": True, "mine": True}

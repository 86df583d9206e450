"""Run one generator with a sync or an async store.

Load, decide and save are written once, as generators that yield requests to a store, or to the list of ended sessions,
instead of calling it. The two drivers
here carry the requests out, and throw every exception, cancellation included, back into the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import CoroutineType
from typing import Any, NamedTuple, TypeVar

from hardtack.protocols import AsyncStore, Store, Version

T = TypeVar("T")


class Get(NamedTuple):
    """`store.get`."""

    key: str

    def call(self, store: Any) -> Any:
        return store.get(self.key)


class Put(NamedTuple):
    """`store.put`."""

    key: str
    data: bytes
    expires_at: int
    if_version: Version | None
    subject: str | None

    def call(self, store: Any) -> Any:
        return store.put(
            self.key, self.data, expires_at=self.expires_at, if_version=self.if_version, subject=self.subject
        )


class Delete(NamedTuple):
    """`store.delete`."""

    key: str
    if_version: Version | None = None

    def call(self, store: Any) -> Any:
        return store.delete(self.key, if_version=self.if_version)


class Rename(NamedTuple):
    """`store.rename`; `extra` holds the tombstone where the store takes one."""

    old: str
    new: str
    data: bytes
    expires_at: int
    if_version: Version
    subject: str | None
    extra: dict[str, Any]

    def call(self, store: Any) -> Any:
        return store.rename(
            self.old,
            self.new,
            self.data,
            expires_at=self.expires_at,
            if_version=self.if_version,
            subject=self.subject,
            **self.extra,
        )


class Find(NamedTuple):
    """`store.find`, as a list."""

    subject: str

    def call(self, store: Any) -> Any:
        return store.find(self.subject)


class Resolve(NamedTuple):
    """`store.resolve`: the key of a public handle, in a store with native ids."""

    handle: bytes

    def call(self, store: Any) -> Any:
        return store.resolve(self.handle)


class Count(NamedTuple):
    """`store.count`."""

    subject: str | None

    def call(self, store: Any) -> Any:
        return store.count(self.subject)


class Reconnect(NamedTuple):
    """`store.reconnect`."""

    def call(self, store: Any) -> Any:
        return store.reconnect()


class Close(NamedTuple):
    """`store.close`."""

    def call(self, store: Any) -> Any:
        return store.close()


class Ask(NamedTuple):
    """A call of the list of ended sessions that may wait for its channel. It raises `StoreUnavailable`."""

    function: Callable[[], Any]

    def call(self, store: Any) -> Any:
        return self.function()


class On(NamedTuple):
    """A request to another store than the one that the flow is driven with."""

    store: Any
    request: Any

    def call(self, store: Any) -> Any:
        return self.request.call(self.store)


Request = On | Ask | Get | Put | Delete | Rename | Find | Resolve | Count | Reconnect | Close
Flow = Generator[Request, Any, T]


def on(store: AsyncStore | Store | None, flow: Flow[T]) -> Flow[T]:
    """The same flow, whose requests are carried out by another store."""
    try:
        request = next(flow)
        while True:
            try:
                answer = yield On(store, request)
            except BaseException as error:
                request = flow.throw(error)
            else:
                request = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


def run(flow: Flow[T], store: Store | None = None) -> T:
    """Drive a flow to its end; each request is carried out by a sync store."""
    try:
        request = next(flow)
        while True:
            try:
                answer = request.call(store)
            except BaseException as error:
                request = flow.throw(error)
            else:
                request = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def arun(flow: Flow[T], store: AsyncStore | Store | None = None, first: Request | None = None) -> T:
    """Drive a flow to its end; a store that is `blocking` runs in a worker thread, an async one is awaited.

    A store whose reads wait for nothing has `blocking_get = False` besides: these are then called on the event loop.
    What a flow asks for once it was cancelled is to clean up behind it, and no further cancellation interrupts that.
    `first`: what it has asked for already.
    """
    try:
        request = next(flow) if first is None else first
        while True:
            try:
                answer = await _carry_out(request, store)
            except Exception as error:
                request = flow.throw(error)
            except GeneratorExit:  # the loop is gone, and nothing can be awaited
                raise
            except BaseException as error:
                return await to_the_end(flow, store, flow.throw(error))
            else:
                request = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def to_the_end(flow: Flow[T], store: AsyncStore | Store | None = None, first: Request | None = None) -> T:
    """`arun`, which no cancellation interrupts: the task is cancelled when the flow is at its end."""
    import asyncio

    from anyio import CancelScope

    with CancelScope(shield=True):
        try:
            work = asyncio.get_running_loop().create_task(arun(flow, store, first))
        except RuntimeError:  # trio, where only scopes cancel
            return await arun(flow, store, first)
        cancelled: asyncio.CancelledError | None = None
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:  # asyncio's own, of a server or a timeout: no scope keeps it out
                cancelled = error
        if cancelled is None:
            return work.result()
        work.exception()  # what failed goes with the request
        raise cancelled
    raise AssertionError  # pragma: no cover - a scope that nobody cancels swallows nothing


async def _carry_out(request: Request, store: Any) -> Any:
    if type(request) is On:
        return await _carry_out(request.request, request.store)
    if type(request) is Ask:
        from anyio import to_thread

        # What was begun to be told is told, whatever becomes of the task.
        return await to_thread.run_sync(request.function, abandon_on_cancel=True)
    blocking = getattr(store, "blocking", None)
    if blocking is None:
        return await request.call(store)
    if blocking and (type(request) is not Get or getattr(store, "blocking_get", True)):
        from anyio import to_thread

        answer = await to_thread.run_sync(request.call, store)
    else:
        answer = request.call(store)
    return await answer if type(answer) is CoroutineType else answer  # an async store may have the attribute as well

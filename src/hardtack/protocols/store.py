"""What a store must do, and what it may do beside: the interface for the author of one.

`hardtack.testing.StoreContract` tests an implementation; docs/writing-a-store.md shows one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from hardtack.errors import ConfigError, HardtackError

Version = Any
"""What a store calls the state of one key: anything with `==`, meaningless to everyone else.

A version never comes back under the same key, not even after a delete and a new create: otherwise a slow writer could
save over a session that it never saw.
"""


class Entry(NamedTuple):
    """What a store holds under one key: the bytes it was given, and the version to compare with when saving."""

    data: bytes
    version: Version


class Tombstone(NamedTuple):
    """What `rename` leaves under the old key: bytes, and when they may be forgotten (whole Unix seconds)."""

    data: bytes
    expires_at: int


class VersionConflict(HardtackError):
    """The key does not have the version that was asked for: it was changed, deleted, or exists already."""


@runtime_checkable
class Store(Protocol):
    """Keeps bytes under a key, with an expiry, a version and a subject. Safe to use from many threads.

    Every method raises `StoreUnavailable` where the store cannot be reached, does not answer in time or answers
    nonsense. Keys are 43 characters of `A-Z a-z 0-9 - _` when they come from hardtack.
    """

    blocking: bool
    """True where a call can wait for a disk or a network: under async frameworks it then runs in a worker thread."""

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or it has expired."""
        ...

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        """Save and return the new version: one atomic compare-and-set, never an upsert.

        `if_version=None` creates, and an expired entry counts as none. `expires_at` is in whole Unix seconds: from then
        on the store may forget the entry. Raises `VersionConflict`.
        """
        ...

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just under this one. True if there was something to delete.

        Raises `VersionConflict` where `if_version` was given and the entry exists under another version.
        """
        ...

    def close(self) -> None:
        """Release what the store opened by itself, not what the application handed to it."""
        ...


@runtime_checkable
class AsyncStore(Protocol):
    """`Store` with coroutines."""

    async def get(self, key: str) -> Entry | None: ...

    async def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version: ...

    async def delete(self, key: str, *, if_version: Version | None = None) -> bool: ...

    async def close(self) -> None: ...


def is_async(store: Store | AsyncStore) -> bool:
    """Whether the methods of a store are coroutine functions."""
    return not hasattr(store, "blocking") or inspect.iscoroutinefunction(store.get)


class Renames(Protocol):
    """Optional: a store that moves an entry to a new key in one atomic step.

    The new key must not exist, the old one must have `if_version`: else `VersionConflict`, and nothing has changed.
    In the same step the old key goes, or holds `tombstone` where one is given (a store may lack that parameter).
    Where others may see both keys for a moment, the store has the attribute `renames_in_steps = True`.
    `NotImplementedError` says that this pair of keys cannot be renamed in one step (two slots of a Redis Cluster).
    """

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None = None,
    ) -> Version: ...


class Finds(Protocol):
    """Optional: a store that knows the keys of one subject (expired ones may be among them)."""

    def find(self, subject: str) -> Iterable[str]: ...


Progress = Callable[[int, int], object]
"""Is told how many are done, and how many there are."""


class Sweeps(Protocol):
    """Optional: a store that does not forget by itself. Deletes what expired, in bounded batches; returns how many.

    It may take `progress`, to be called with how many are done and how many there are: `hardtack sweep` then has a bar.
    """

    def sweep(self, now: float) -> int: ...


class Touches(Protocol):
    """Optional: a store that moves an expiry without writing the data again. Raises `VersionConflict`."""

    def touch(self, key: str, expires_at: int, if_version: Version) -> Version: ...


class Counts(Protocol):
    """Optional: a store that can say how many entries live, all or those of one subject, without reading them."""

    def count(self, subject: str | None = None) -> int: ...


class Reconnects(Protocol):
    """Optional: a store that can give up the connections that it would use next.

    Asked where an answer was somebody else's: what a connection says that answers another question is worth nothing.
    """

    def reconnect(self) -> None: ...


class TellsOfHanging(Protocol):
    """Optional: a store that leaves a server alone which hangs, as one with a `hardtack.stores.breaker.Breaker` does."""

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Call it, from any thread, with the server's name and True when it is left alone, and False when it answers."""
        ...


class NativeIds(Protocol):
    """Optional: the ids of another system that uses the store too. A store has them as its attribute `native_ids`.

    The cookie then carries the id as that system writes it, and the store's key is the id itself, not a hash of it. Such a
    store also has `resolve(handle: bytes) -> str | None`, which returns the key of the session with that public handle.
    """

    def accepts(self, text: str) -> bool:
        """Whether a cookie's value can be an id; asked before any look-up."""
        ...

    def new_id(self) -> str:
        """A new id that the other system accepts, of 32 bytes from the operating system's CSPRNG."""
        ...

    def handle(self, text: str) -> bytes:
        """The public handle of an id: 32 bytes, safe to log, that do not lead back to it."""
        ...


@runtime_checkable
class CookieIds(Protocol):
    """Optional: of `NativeIds` whose cookie carries an id in another form: signed, or encrypted."""

    def opened(self, text: str) -> str | None:
        """The id in a cookie's value; None for what the other system has not written."""
        ...

    def cookie(self, identifier: str) -> str:
        """The cookie's value of an id."""
        ...


class StoreTraits(NamedTuple):
    """What a store is and can do beside the four methods: asked once, here, when an engine is made.

    Attributes:
        asynchronous: its methods are coroutine functions.
        blocking: a call can wait for a disk or a network, and runs in a worker thread under async frameworks.
        renames: it has `rename`; where not, an id is changed by a create and a compare-and-set.
        renames_in_steps: others see the entry under both keys while it is renamed, as with a file each.
        leaves_tombstone: its `rename` takes `tombstone`, and leaves it in the same step.
        finds, sweeps, counts, reconnects, listens: it has the optional method of that name.
        native_ids: the ids of another system that uses the store too; None: hardtack's own.
        cookie_ids: the same, where the cookie carries them in another form. Default: None, as they are.
    """

    asynchronous: bool
    blocking: bool
    renames: bool
    renames_in_steps: bool
    leaves_tombstone: bool
    finds: bool
    sweeps: bool
    counts: bool
    reconnects: bool
    listens: bool
    native_ids: NativeIds | None
    cookie_ids: CookieIds | None


def store_traits(store: Any) -> StoreTraits:
    """The traits of a store. Raises `ConfigError` for what is no store."""
    if isinstance(store, type):
        message = f"StoreEngine takes a store, not the class {store.__name__}: {store.__name__}(…)"
        raise ConfigError(message)
    if isinstance(store, str):
        raise ConfigError("StoreEngine takes a store, not its URL: StoreEngine(hardtack.stores.from_url(…))")
    for method in ("get", "put", "delete", "close"):
        if not callable(getattr(store, method, None)):
            message = f"StoreEngine takes a store; {type(store).__name__} has no method {method}()"
            raise ConfigError(message)
    if not hasattr(store, "blocking") and not inspect.iscoroutinefunction(store.get):
        message = (
            f"{type(store).__name__} lacks the attribute `blocking` of a sync store (True where a call waits for a disk "
            "or a network), and its get() is not a coroutine function of an async one"
        )
        raise ConfigError(message)
    rename = getattr(store, "rename", None)
    native = getattr(store, "native_ids", None)
    return StoreTraits(
        asynchronous=is_async(store),
        blocking=bool(getattr(store, "blocking", False)),
        renames=rename is not None,
        renames_in_steps=rename is None or bool(getattr(store, "renames_in_steps", False)),
        leaves_tombstone=rename is not None and "tombstone" in inspect.signature(rename).parameters,
        finds=hasattr(store, "find"),
        sweeps=hasattr(store, "sweep"),
        counts=hasattr(store, "count"),
        reconnects=hasattr(store, "reconnect"),
        listens=hasattr(store, "listen"),
        native_ids=native,
        cookie_ids=native if isinstance(native, CookieIds) else None,
    )

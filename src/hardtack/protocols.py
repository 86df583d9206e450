"""The interfaces between the parts: what a store, a token format and an engine must do.

An author of a store implements `Store` or `AsyncStore`; of a cookie format, `TokenFormat`.
`hardtack.testing` has the contract tests for both.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from hardtack.errors import HardtackError

if TYPE_CHECKING:
    from hardtack.cookies import Cookie
    from hardtack.events import Event
    from hardtack.flow import Flow
    from hardtack.record import Record

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


class Sweeps(Protocol):
    """Optional: a store that does not forget by itself. Deletes what expired, in bounded batches; returns how many."""

    def sweep(self, now: float) -> int: ...


class Touches(Protocol):
    """Optional: a store that moves an expiry without writing the data again. Raises `VersionConflict`."""

    def touch(self, key: str, expires_at: int, if_version: Version) -> Version: ...


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


class Context(NamedTuple):
    """What a token is read or written for."""

    cookie_name: str
    purpose: str
    now: int
    """Whole Unix seconds."""


class TokenFormat(Protocol):
    """Turns a record into cookies and back. A format sees every cookie of the request and may write several."""

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        """The record that the cookies hold; raises `InvalidToken` where they cannot be used.

        `cookies` maps each name to its values in the order of the header, not decoded in any way.
        """
        ...

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """The cookies that hold the record: names to values. Raises `UnsupportedValue`."""
        ...


class Revocations(Protocol):
    """A list of sessions that were ended before their deadline, for `CookieEngine(…, revocations=…)`.

    Called on open and again on commit. The record has the id, the subject and the time of login.
    """

    def is_revoked(self, record: Record) -> bool: ...

    def revoke(self, record: Record, expires_at: int) -> None:
        """Remember the session until `expires_at`, Unix seconds: its own absolute deadline."""
        ...


@dataclass(slots=True)
class Held:
    """What an engine found in a request, and remembers until it saves.

    Attributes:
        record: the session, or None where there is none that can be used.
        names: the engine's cookies that the request carried: those to clear when they are no longer written.
        current: whether the cookie was sealed under the key that issues now.
        clear: whether the response must clear the cookies even if nothing is stored (`ambiguous`).
        ended: the session was ended less than a minute ago: nothing is saved, and no cookie is set or cleared.
        secret: a store session's 32 random bytes, or the bytes of its native id.
        version: a store session's version.
        key: the store's key under which the session is stored now.
    """

    record: Record | None = None
    names: Sequence[str] = ()
    current: bool = True
    clear: bool = False
    ended: bool = False
    secret: bytes = field(default=b"", repr=False)
    version: Version | None = None
    key: str = ""


Renewal = Literal["", "idle_timeout", "key"]


@dataclass(slots=True)
class Saving:
    """What an engine is asked to save with one response.

    Attributes:
        held: what `load` found.
        old: the record that is stored now, or None.
        new: the record to store, or None where the session was ended.
        rotated: `new` has another id than `old`, whose session goes on under it.
        destroyed: `old` was ended; `new`, if any, is another session.
        base: the record that `new` was made from: its `kept_data` is what both sides of a conflict began with.
        expires_at: the nearer deadline of `new`, Unix seconds.
        max_age: for the cookie, in seconds; None: until the browser ends.
        revoke_until: the absolute deadline of `old`, Unix seconds: no copy of it, however renewed, lives longer.
        now: when this was decided, Unix seconds.
        renewal: why the session is saved although the request changed nothing in it; empty where it did.
        emptied: `old` ends because the request left no data in it, not because of a logout.
    """

    held: Held
    old: Record | None
    new: Record | None
    rotated: bool
    destroyed: bool
    base: Record | None
    expires_at: int
    max_age: int | None
    now: int = 0
    headers_sent: bool = False
    revoke_until: int = 0
    emptied: bool = False
    renewal: Renewal = ""


class Policy(Protocol):
    """What an engine asks the manager."""

    cookie: Cookie
    purpose: str

    def admit(self, record: Record, context: Context) -> bool:
        """Whether the session may be used now; where not, an event says why."""
        ...

    def emit(self, event: type[Event], *values: Any) -> None:
        """Tell who listens."""
        ...


class Engine(Protocol):
    """Where the state of a session lives. `load` and `save` are flows: generators that yield requests to a store."""

    @property
    def store(self) -> Store | AsyncStore | None:
        """Where the state is; None for a cookie."""
        ...

    @property
    def old_still_valid(self) -> bool:
        """Whether a copy of a cookie still opens its state after the session was ended or got a new id."""
        ...

    def bind(self, policy: Policy) -> None:
        """Check the settings against the manager's. Raises `ConfigError`."""
        ...

    def carries(self, header: str, cookie: Cookie) -> bool:
        """Whether the request carries a cookie of the engine, valid or not."""
        ...

    def load(self, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """The session of a request. Raises `StoreUnavailable`, and nothing else."""
        ...

    def new_id(self, held: Held, policy: Policy) -> bytes:
        """The raw id of a session that will be stored. What belongs to it is kept in `held`."""
        ...

    def save(self, saving: Saving, context: Context, policy: Policy) -> Flow[tuple[Held, list[str]] | None]:
        """Save, and return what is held now, and the Set-Cookie lines; None where the save was dropped."""
        ...

    def close(self) -> Flow[None]: ...

"""The interfaces between the parts: what a store, a token format and an engine must do.

An author of a store implements `Store` or `AsyncStore`; of a cookie format, `TokenFormat`.
`hardtack.testing` has the contract tests for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from hardtack.errors import HardtackError

if TYPE_CHECKING:
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

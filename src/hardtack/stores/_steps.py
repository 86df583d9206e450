"""One logic for the sync and the async twin of a store: generators that yield requests, carried out by `hardtack.flow`.

A logic object never does I/O. It yields what is to be sent, and gets the answer, or the driver's exception, back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from typing import Any, Protocol, TypeVar

from hardtack import flow
from hardtack.protocols import Entry, Tombstone, Version
from hardtack.stores._common import Translation

T = TypeVar("T")

Steps = Generator[Any, Any, T]
"""Yields requests, is sent their answers, returns T."""


class Request:
    """What a logic asks its store to send: the arguments of the store's `_perform`."""

    __slots__ = ("arguments",)

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def call(self, store: Any) -> Any:
        """Carry it out; an async store returns an awaitable."""
        return store._perform(*self.arguments)


class Logic(Protocol):
    """What every logic object has; see `Store` for what the methods do."""

    def get(self, key: str) -> Steps[Entry | None]: ...

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Steps[Version]: ...

    def delete(self, key: str, *, if_version: Version | None) -> Steps[bool]: ...


class RenamingLogic(Logic, Protocol):
    """A logic that can also rename, find and count; see `Renames`, `Finds` and `Counts`."""

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None,
    ) -> Steps[Version]: ...

    def find(self, subject: str) -> Steps[list[str]]: ...

    def count(self, subject: str | None) -> Steps[int]: ...


class SteppedStore(ABC):
    """The methods of `Store`, made of a logic object."""

    blocking = True
    _logic: Logic
    _translation: Translation
    """Turns the driver's errors into `StoreUnavailable` and `VersionConflict`."""

    @abstractmethod
    def _perform(self, *arguments: Any) -> Any:
        """Send one request by the driver and return its answer."""

    @abstractmethod
    def close(self) -> None:
        """Release what the store opened by itself, not what the application handed to it."""

    def _run(self, steps: Steps[T]) -> T:
        with self._translation:
            return flow.run(steps, self)

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or it has expired."""
        return self._run(self._logic.get(key))

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        """Compare-and-set; see `Store.put`. Raises `VersionConflict`, `StoreUnavailable`."""
        return self._run(self._logic.put(key, data, expires_at=expires_at, if_version=if_version, subject=subject))

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        return self._run(self._logic.delete(key, if_version=if_version))


class SteppedRenamingStore(SteppedStore):
    """`SteppedStore` with the methods of `Renames` and `Finds`."""

    _logic: RenamingLogic  # pyright: ignore[reportIncompatibleVariableOverride]

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
    ) -> Version:
        """Move an entry to a new key in one atomic step; see `Renames`. Raises `VersionConflict`."""
        steps = self._logic.rename(
            old, new, data, expires_at=expires_at, if_version=if_version, subject=subject, tombstone=tombstone
        )
        return self._run(steps)

    def find(self, subject: str) -> Iterable[str]:
        """The keys of the subject's entries."""
        return self._run(self._logic.find(subject))


class AsyncSteppedStore(ABC):
    """The methods of `AsyncStore`, made of a logic object."""

    _logic: Logic
    _translation: Translation
    """See `SteppedStore`."""

    @abstractmethod
    async def _perform(self, *arguments: Any) -> Any:
        """Send one request by the driver and return its answer."""

    @abstractmethod
    async def close(self) -> None:
        """Release what the store opened by itself, not what the application handed to it."""

    async def _run(self, steps: Steps[T]) -> T:
        with self._translation:
            return await flow.arun(steps, self)

    async def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or it has expired."""
        return await self._run(self._logic.get(key))

    async def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        """Compare-and-set; see `Store.put`. Raises `VersionConflict`, `StoreUnavailable`."""
        steps = self._logic.put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)
        return await self._run(steps)

    async def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        return await self._run(self._logic.delete(key, if_version=if_version))


class AsyncSteppedRenamingStore(AsyncSteppedStore):
    """`AsyncSteppedStore` with the methods of `Renames` and `Finds`."""

    _logic: RenamingLogic  # pyright: ignore[reportIncompatibleVariableOverride]

    async def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None = None,
    ) -> Version:
        """Move an entry to a new key in one atomic step; see `Renames`. Raises `VersionConflict`."""
        steps = self._logic.rename(
            old, new, data, expires_at=expires_at, if_version=if_version, subject=subject, tombstone=tombstone
        )
        return await self._run(steps)

    async def find(self, subject: str) -> Iterable[str]:
        """The keys of the subject's entries."""
        return await self._run(self._logic.find(subject))

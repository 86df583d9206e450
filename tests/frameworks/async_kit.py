"""What the tests of the async frameworks share: managers, a store that can be down, and an import that fails."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from hardtack import Cookie, CookieEngine, Key, SessionManager, StoreEngine
from hardtack.errors import StoreUnavailable
from hardtack.protocols import Entry, Tombstone, Version
from hardtack.stores.memory import MemoryStore

READS = frozenset({"get"})
WRITES = frozenset({"put", "delete", "rename"})


class FailingStore(MemoryStore):
    """A `MemoryStore` that can be told which of its methods are down."""

    def __init__(self) -> None:
        super().__init__()
        self.down: frozenset[str] = frozenset()

    def _check(self, method: str) -> None:
        if method in self.down:
            raise StoreUnavailable("the store is down")

    def get(self, key: str) -> Entry | None:
        self._check("get")
        return super().get(key)

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        self._check("put")
        return super().put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

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
        self._check("rename")
        return super().rename(
            old, new, data, expires_at=expires_at, if_version=if_version, subject=subject, tombstone=tombstone
        )


class AsyncMemoryStore:
    """A store that only async code can reach, as one over a network is."""

    def __init__(self) -> None:
        self.inner = FailingStore()

    async def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    async def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        return self.inner.put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    async def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        return self.inner.delete(key, if_version=if_version)

    async def close(self) -> None:
        self.inner.close()


def manager(engine: Any = None, **options: Any) -> SessionManager:
    """A manager of encrypted cookies, or with another engine."""
    return SessionManager(CookieEngine(Key.generate()) if engine is None else engine, **options)


def plain(engine: Any = None, **options: Any) -> SessionManager:
    """The same with a cookie for plain http."""
    return manager(engine, cookie=Cookie("session", secure=False), **options)


def stored(store: Any = None) -> StoreEngine:
    """An engine over a store of its own."""
    return StoreEngine(MemoryStore() if store is None else store)


def without(name: str, adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make importing a package fail, as where it is not installed, and forget the adapter that has imported it."""
    for module in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"hardtack.frameworks.{adapter}", raising=False)

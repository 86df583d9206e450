"""MemoryStore: sessions in a dict of this process, bounded; for tests, for one process, and to try hardtack out."""

from __future__ import annotations

import heapq
import itertools
import logging
import secrets
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple

from hardtack.errors import ConfigError
from hardtack.protocols import Entry, Tombstone, Version, VersionConflict
from hardtack.stores._common import check_count

_log = logging.getLogger("hardtack")


class _Slot(NamedTuple):
    data: bytes
    version: int
    expires_at: int
    subject: str | None


class MemoryStore:
    """Keeps sessions in this process. They are lost when it ends, and no other process sees them.

    Expired entries leave when something is written. When `max_entries` live ones are kept and another comes, the least
    recently used one without a subject is evicted, and one with a subject only where there is none: visitors, of whom a
    robot can make any number, do not log out those who have an account. The first time a warning is logged.

    Raises:
        ConfigError: `max_entries` is no whole number, or below 1.
    """

    blocking = False

    def __init__(self, max_entries: int = 100_000) -> None:
        check_count(max_entries, "max_entries")
        self._max_entries = max_entries
        self._slots: dict[str, _Slot] = {}
        self._keys_of: dict[str, set[str]] = {}
        # The keys, the least recently used first: of entries without a subject, and of those with one.
        self._of_visitors: OrderedDict[str, None] = OrderedDict()
        self._of_subjects: OrderedDict[str, None] = OrderedDict()
        # (expires_at, version, key), the nearest expiry first; a line whose version is gone from _slots means nothing.
        self._expiries: list[tuple[int, int, str]] = []
        # One counter for all keys: a version never comes back, whatever was deleted.
        self._versions = itertools.count(secrets.randbits(62))
        self._lock = threading.Lock()
        self._warned = False

    @classmethod
    def from_url(cls, url: str) -> MemoryStore:
        """The store of `memory://`, a new one each time. Raises `ConfigError`."""
        if url.lower() not in ("memory://", "memory:"):
            raise ConfigError("the store's URL must be memory:// and nothing after it")
        return cls()

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or it has expired."""
        slot = self._slots.get(key)
        if slot is None or slot.expires_at <= time.time():
            return None
        with suppress(KeyError):  # another thread has just removed it, or given it a subject
            self._order(slot).move_to_end(key)
        return Entry(slot.data, slot.version)

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        """Compare-and-set; see `Store.put`. Raises `VersionConflict`."""
        with self._lock:
            self._require(key, if_version)
            self._make_room(key)
            return self._set(key, data, expires_at, subject)

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        with self._lock:
            entry = self.get(key)
            if entry is not None and if_version is not None and entry.version != if_version:
                raise VersionConflict("the entry was changed")
            self._remove(key)
            return entry is not None

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
        with self._lock:
            self._require(old, if_version)
            self._require(new, None)
            self._remove(old)
            self._make_room(new)
            version = self._set(new, data, expires_at, subject)
            if tombstone is not None:  # one over max_entries at most: the next put makes room for both
                self._set(old, tombstone.data, tombstone.expires_at, None)
            return version

    def find(self, subject: str) -> list[str]:
        """The keys of the subject's entries."""
        with self._lock:
            return list(self._keys_of.get(subject, ()))

    def sweep(self, now: float) -> int:
        """Forget what has expired at `now`; returns how many."""
        with self._lock:
            return self._forget_expired(now)

    def count(self, subject: str | None = None) -> int:
        """How many entries there are of a subject, or of all: tombstones of the last minute are among those."""
        with self._lock:
            self._forget_expired(time.time())
            return len(self._slots) if subject is None else len(self._keys_of.get(subject, ()))

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._slots.clear()
            self._keys_of.clear()
            self._of_visitors.clear()
            self._of_subjects.clear()
            self._expiries.clear()

    def _require(self, key: str, version: Version | None) -> None:
        entry = self.get(key)
        if (None if entry is None else entry.version) != version:
            raise VersionConflict("the entry exists already" if version is None else "the entry was changed or is gone")

    def _set(self, key: str, data: bytes, expires_at: int, subject: str | None) -> int:
        self._remove(key)
        slot = self._slots[key] = _Slot(bytes(data), next(self._versions), expires_at, subject)
        if subject is not None:
            self._keys_of.setdefault(subject, set()).add(key)
        self._order(slot)[key] = None
        heapq.heappush(self._expiries, (expires_at, slot.version, key))
        if len(self._expiries) > 2 * len(self._slots) + 64:  # mostly lines of entries that were written again
            self._expiries = [(slot.expires_at, slot.version, key) for key, slot in self._slots.items()]
            heapq.heapify(self._expiries)
        return slot.version

    def _remove(self, key: str) -> None:
        slot = self._slots.pop(key, None)
        if slot is None:
            return
        self._order(slot).pop(key, None)
        if slot.subject is not None:
            keys = self._keys_of[slot.subject]
            keys.discard(key)
            if not keys:
                del self._keys_of[slot.subject]

    def _make_room(self, new: str) -> None:
        self._forget_expired(time.time())
        if new in self._slots or len(self._slots) < self._max_entries:
            return
        if not self._warned:
            self._warned = True
            _log.warning(
                "MemoryStore holds its max_entries of %d live sessions and evicts the least recently used, those without a "
                "subject first: raise max_entries, or use a store that is not bounded by memory",
                self._max_entries,
            )
        while len(self._slots) >= self._max_entries:
            # One step: reads move keys meanwhile, without the lock.
            key, _ = (self._of_visitors or self._of_subjects).popitem(last=False)
            self._remove(key)

    def _order(self, slot: _Slot) -> OrderedDict[str, None]:
        return self._of_visitors if slot.subject is None else self._of_subjects

    def _forget_expired(self, now: float) -> int:
        before = len(self._slots)
        while self._expiries and self._expiries[0][0] <= now:
            self._forget_nearest()
        return before - len(self._slots)

    def _forget_nearest(self) -> None:
        _, version, key = heapq.heappop(self._expiries)
        slot = self._slots.get(key)
        if slot is not None and slot.version == version:
            self._remove(key)

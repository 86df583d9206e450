"""MemoryChannel: a list, for tests and for one process alone."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable

from hardtack.ended.protocol import Batch, Make

BATCH = 5000


class MemoryChannel:
    """Keeps entries in this process. Other processes do not see them, a forked one not what came after the fork."""

    alone = True

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._generation = secrets.token_hex(4)
        self._entries: list[tuple[int, bytes]] = []
        self._dropped = 0
        self._origin: bytes | None = None

    def append(self, make: Make, keep: int | None) -> None:
        """Append; see `Channel`."""
        with self._condition:
            now = _now()
            self._entries.extend((now, raw) for raw in make(now))
            if keep is not None:
                old = 0
                while old < len(self._entries) and self._entries[old][0] < now - keep * 1_000_000:
                    old += 1
                del self._entries[:old]
                self._dropped += old
            self._condition.notify_all()

    def read(self, position: str, wait: float) -> Batch:
        """Read; see `Channel`."""
        with self._condition:
            batch = self._look(position)
            if batch.origin is not None and not batch.entries and not batch.restarted:
                self._condition.wait(wait)
                batch = self._look(position)
            return batch

    def _look(self, position: str) -> Batch:
        generation, _, number = position.partition(":")
        at = int(number) - self._dropped if generation == self._generation else -1
        restarted = position != "" and at < 0
        at = max(at, 0)
        found = [raw for _, raw in self._entries[at : at + BATCH]]
        at += len(found)
        position = f"{self._generation}:{at + self._dropped}"
        return Batch(found, position, _now(), self._origin, at >= len(self._entries), restarted)

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        """Give a new identity; see `Channel`."""
        with self._condition:
            if self._origin != old:
                return False
            now = _now()
            self._entries.extend((now, raw) for raw in entries)
            self._origin = new
            self._condition.notify_all()
            return True

    def wake(self) -> None:
        """Let those who wait for entries return; see `WakingChannel`."""
        with self._condition:
            self._condition.notify_all()

    def empty(self) -> None:
        """Lose everything, for tests."""
        with self._condition:
            self._generation = secrets.token_hex(4)
            self._entries, self._dropped, self._origin = [], 0, None

    def close(self) -> None:
        """Nothing to close."""


def _now() -> int:
    return time.time_ns() // 1000

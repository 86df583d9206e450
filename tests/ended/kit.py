"""What the tests of the list share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from hardtack import Key
from hardtack.events import Event

KEY = Key(bytes(range(32)))
OTHER_KEY = Key(bytes(range(1, 33)))
SHARED = ("file", "sqlite", "postgresql", "mariadb", "redis", "redis_cluster")
"""The channels that several processes can share."""


class Events(list[Event]):
    """What a list told."""

    def of(self, kind: type[Event]) -> list[Event]:
        """Those of a kind."""
        return [event for event in self if type(event) is kind]


def new_id() -> bytes:
    """A session's raw id."""
    return os.urandom(16)


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait until a condition holds; how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen"
        time.sleep(0.002)
    return time.monotonic() - began

"""Sereal as the cookies read and write it: compiled, where `hardtack-speedups` is installed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from hardtack.foreign._speedups import compiled
from hardtack.foreign.perl import sereal


def choose() -> ModuleType:
    """The module `sereal`, compiled or not."""
    return compiled("sereal", sereal)


_chosen = choose()
read: Callable[[bytes], dict[str, Any]] = _chosen.read
write: Callable[[dict[str, Any]], bytes] = _chosen.write

"""Sereal as the cookies read and write it: by `hardtack-speedups`, compiled from the same sources, where that is installed.

Only those of this version are taken: a reader whose corrections are missing is worse than a slow one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import hardtack
from hardtack.foreign.perl import sereal


def choose() -> ModuleType:
    """The module `sereal`, compiled or not."""
    try:
        package = importlib.import_module("hardtack_speedups")
        compiled = importlib.import_module("hardtack_speedups.sereal")
    except ImportError:
        return sereal
    return compiled if package.__version__ == hardtack.__version__ else sereal


_chosen = choose()
read: Callable[[bytes], dict[str, Any]] = _chosen.read
write: Callable[[dict[str, Any]], bytes] = _chosen.write

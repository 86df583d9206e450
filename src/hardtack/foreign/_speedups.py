"""Readers that `hardtack-speedups` has compiled of hardtack's own sources, where it is installed.

Only those of this version are taken: a reader whose corrections are missing is worse than a slow one.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import hardtack


def compiled(name: str, source: ModuleType) -> ModuleType:
    """The compiled module of this name, or its source."""
    try:
        package = importlib.import_module("hardtack_speedups")
        module = importlib.import_module(f"hardtack_speedups.{name}")
    except ImportError:
        return source
    return module if package.__version__ == hardtack.__version__ else source

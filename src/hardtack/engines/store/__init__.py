"""The engine that keeps sessions in a store: the engine itself, how it saves, and how it remembers ids that ended."""

from hardtack.engines.store.engine import StoreEngine
from hardtack.engines.store.tombstones import TOMBSTONE_SECONDS

__all__ = ["TOMBSTONE_SECONDS", "StoreEngine"]

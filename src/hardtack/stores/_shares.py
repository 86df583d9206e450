"""The members that both twins of a store have where it is shared with another system."""

from __future__ import annotations

from typing import Any

from hardtack.protocols import NativeIds


class SharesLayout:
    """The ids of the other system, and the key of a handle."""

    _logic: Any
    _run: Any

    @property
    def native_ids(self) -> NativeIds | None:
        """The other system's rule for ids, where the store is shared with it."""
        return getattr(self._logic, "ids", None)

    def resolve(self, handle: bytes) -> Any:
        """The key of the session with that public handle; see `NativeIds`. Reads every key."""
        return self._run(self._logic.resolve(handle))

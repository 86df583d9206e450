"""Tracking: what one request read of a session and assigned in it, so that parallel requests never leave a torn state.

The rules are in docs/parallel-requests.md. What was not asked for yet is kept out of the session's own storage: C code that
reads a dict past its methods must not read a value unnoticed.
"""

from __future__ import annotations

from typing import Any


class Tracking:
    """What a request noted.

    Attributes:
        hidden: what was loaded and nobody has asked for yet.
        shown: what of it was asked for, as it was loaded.
        order: the names in the order in which they were loaded, without those that were deleted since.
        noted: names that were asked for, present or not, before this request assigned them itself.
        names: all names were asked for (iteration).
        number: how many there are was asked for, or whether there are any.
        everything: all names and all values were asked for.
        assigned: names that were assigned or deleted, be it with what was there before.
        stale: names that were read, and that another request is known to have changed since.
    """

    __slots__ = ("assigned", "everything", "hidden", "names", "noted", "number", "order", "shown", "stale")

    def __init__(self, loaded: dict[str, Any]) -> None:
        self.hidden = loaded
        self.shown: dict[str, Any] = {}
        self.order = dict.fromkeys(loaded)
        self.noted: set[str] = set()
        self.names = False
        self.number = False
        self.everything = False
        self.assigned: set[str] = set()
        self.stale: tuple[str, ...] = ()

    def so_far(self) -> Tracking:
        """What was noted by now: what a task notes while a commit waits for the store is none of that commit's."""
        copy = Tracking({})
        copy.order = dict(self.order)
        copy.noted = set(self.noted)
        copy.assigned = set(self.assigned)
        copy.names, copy.number, copy.everything = self.names, self.number, self.everything
        copy.stale = self.stale
        return copy

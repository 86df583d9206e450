"""What `hardtack doctor` found: one sentence on how it is, and one on what to do."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: `wrong`: to be put right; `look`: it may be meant, and has a price; `good`.
        what: how it is.
        do: what to do, with the rule that asks for it; empty where it is good.
    """

    level: Literal["wrong", "look", "good"]
    what: str
    do: str = ""


def wrong(what: str, do: str) -> Finding:
    """Something to be put right."""
    return Finding("wrong", what, do)


def look(what: str, do: str) -> Finding:
    """Something that has a price."""
    return Finding("look", what, do)


def good(what: str) -> Finding:
    """Something that is as it should be."""
    return Finding("good", what)

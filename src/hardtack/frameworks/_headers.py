"""Merges what a response has to say about the session into the multi-dictionary that aiohttp and Sanic keep headers in."""

from __future__ import annotations

from typing import Any, Final

from hardtack.adapters import SHARED_CACHE_HEADERS, Changes

_MERGED: Final = ("Vary", "Cache-Control", *SHARED_CACHE_HEADERS)


def apply(changes: Changes, headers: Any) -> None:
    """Merge into a `multidict.CIMultiDict`, in place. A Set-Cookie line that is there already is not added again."""
    if not changes:
        return
    pairs = [(name, value) for name in _MERGED for value in headers.getall(name, [])]
    changes.apply(pairs)
    for name in _MERGED:
        headers.popall(name, None)
    present = headers.getall("Set-Cookie", [])
    headers.extend([pair for pair in pairs if pair[0] != "Set-Cookie" or pair[1] not in present])

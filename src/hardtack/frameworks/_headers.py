"""Merges what a response has to say about the session into the multi-dictionary that aiohttp and Sanic keep headers in."""

from __future__ import annotations

from typing import Any

from hardtack.adapters import Changes, is_merged


def apply(changes: Changes, headers: Any) -> None:
    """Merge into a `multidict.CIMultiDict`, in place. A Set-Cookie line that is there already is not added again."""
    if not changes:
        return
    pairs = [pair for pair in headers.items() if is_merged(pair[0])]
    merged = {name for name, _ in pairs}
    changes.apply(pairs)
    for name in merged:
        headers.popall(name, None)
    present = headers.getall("Set-Cookie", [])
    headers.extend([pair for pair in pairs if pair[0] != "Set-Cookie" or pair[1] not in present])

"""Takes a session cookie apart: its fields, byte by byte and character by character, and its data as a tree of types."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

from hardtack import values
from hardtack.cookies import MAX_SET_COOKIE

MAX_SHOWN: Final = 4096
"""Characters of a cookie that are shown: a client can send any number."""


class Part(NamedTuple):
    """One field of a cookie's value. `size` in bytes; `name` is also its class in the stylesheet."""

    name: str
    label: str
    size: int
    meaning: str


class Run(NamedTuple):
    """Characters, or bytes in hexadecimal, that belong to one part; to two where a character has bits of both."""

    text: str
    part: str
    then: str | None
    flipped: bool


class Dissection(NamedTuple):
    """A cookie's value: its bytes, their parts, and both spellings cut along them."""

    size: int
    parts: list[Part]
    text: list[Run]
    hexadecimal: list[Run]


_HEADER = (
    Part("version", "version", 1, "which format this is: 01"),
    Part("key-id", "key id", 5, "picks the one key of the ring that is tried; public"),
    Part("nonce-prefix", "nonce, first half", 12, "derives the subkey of AES-256-GCM; shared by up to 4096 tokens"),
    Part("nonce-rest", "nonce, second half", 12, "random for each token, from the operating system"),
)
_TAG = Part("tag", "tag", 16, "authenticates every byte before it, the cookie's name and the application's purpose")
_HEADER_SIZE = sum(part.size for part in _HEADER)

SECRET_SIZE: Final = 32


def parts_of(raw: bytes, *, in_store: bool) -> list[Part]:
    """The fields of a cookie's bytes. What no engine of the demo would have made is one unknown part."""
    if in_store and len(raw) == SECRET_SIZE:
        return [Part("secret", "random", SECRET_SIZE, "its SHA-256 is the key in the store; it holds nothing else")]
    size = len(raw) - _HEADER_SIZE - _TAG.size
    if in_store or raw[:1] != b"\x01" or size < 0:
        return [Part("unknown", "unknown", len(raw), "not a cookie that this demo made")]
    return [*_HEADER, Part("ciphertext", "ciphertext", size, "the record: id, times, user, options and data"), _TAG]


def dissect(value: str, *, in_store: bool, flipped: int | None = None) -> Dissection | None:
    """Cut a cookie's value; `flipped` is the index of a character to be marked. None where it is not base64url."""
    try:
        raw = values.decode_bytes(value[:MAX_SHOWN])
    except ValueError:
        return None
    parts = parts_of(raw, in_store=in_store)
    owners = [part.name for part in parts for _ in range(part.size)]
    return Dissection(len(raw), parts, _text_runs(value, owners, flipped), _byte_runs(raw, owners))


def _text_runs(text: str, owners: list[str], flipped: int | None) -> list[Run]:
    # A character carries six bits: it may have the last bits of one byte and the first of the next.
    last = len(owners) - 1
    marked = (
        (character, owners[index * 6 // 8], owners[min((index * 6 + 5) // 8, last)], index == flipped)
        for index, character in enumerate(text[:MAX_SHOWN])
    )
    return [
        Run("".join(item[0] for item in group), first, None if first == then else then, is_flipped)
        for (first, then, is_flipped), group in groupby(marked, key=lambda item: item[1:])
    ]


def _byte_runs(raw: bytes, owners: list[str]) -> list[Run]:
    pairs = zip(raw, owners, strict=True)
    return [
        Run(bytes(item[0] for item in group).hex(" "), owner, None, False)
        for owner, group in groupby(pairs, key=lambda item: item[1])
    ]


def flip_a_bit(value: str) -> tuple[str, int] | None:
    """The value with one bit in its middle turned over, and the index of the character that differs."""
    try:
        raw = bytearray(values.decode_bytes(value))
    except ValueError:
        return None
    if not raw:
        return None
    middle = (len(raw) + _HEADER_SIZE - _TAG.size) // 2 if len(raw) > SECRET_SIZE else len(raw) // 2
    raw[middle] ^= 0x10
    changed = values.encode_bytes(bytes(raw))
    return changed, next(index for index, pair in enumerate(zip(value, changed, strict=True)) if pair[0] != pair[1])


class Segment(NamedTuple):
    """A piece of the size bar, in bytes of the Set-Cookie line."""

    part: str
    start: float
    width: float


def bar(line: str, dissection: Dissection | None) -> list[Segment]:
    """What a Set-Cookie line spends its bytes on: the name, the fields of the value, the attributes."""
    name, _, rest = line.partition("=")
    value = rest.partition(";")[0]
    widths = [("name", float(len(name) + 1))]
    if dissection is None:
        widths.append(("unknown", float(len(value))))
    else:
        characters = len(value) / max(dissection.size, 1)
        widths += [(part.name, part.size * characters) for part in dissection.parts]
    widths.append(("attributes", float(len(rest) - len(value))))
    return list(_segments(widths))


def _segments(widths: Iterable[tuple[str, float]]) -> Iterator[Segment]:
    start = 0.0
    for part, width in widths:
        shown = min(width, MAX_SET_COOKIE - start)
        yield Segment(part, round(start, 2), round(shown, 2))
        start += shown


class Node(NamedTuple):
    """A value of a session: its type, its text if it is a leaf, and its children, each with a key, if it is not."""

    type: str
    text: str
    children: list[tuple[str, Node]]


def tree(value: Any) -> Node:
    """Session data with the types that came out."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return Node(kind, "", [(str(key), tree(item)) for key, item in value.items()])
    if isinstance(value, list | tuple | set | frozenset):
        return Node(kind, "", [(str(index), tree(item)) for index, item in enumerate(value)])
    if isinstance(value, str):
        return Node(kind, json.dumps(value, ensure_ascii=False), [])
    return Node(kind, value.isoformat(" ") if isinstance(value, dt.datetime) else str(value), [])


_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """A duration in at most two units, such as `13 d 23 h`."""
    rest = round(abs(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts)) or "0 s"

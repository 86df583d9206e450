"""Chunks: a token that is larger than one cookie, in several.

Each begins with how many there are, and which generation they are of, so that those of two writes are never mixed up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from hardtack import values

MOST: Final = 9
"""As many are read and cleared; how many are written depends on what servers take."""

HEAD: Final = 7
"""Characters of each chunk's head: one digit, and six characters of base64url for four bytes."""


def names(name: str) -> list[str]:
    """The cookies that the chunks of one may be in."""
    return [f"{name}.{index}" for index in range(MOST)]


def head(token: str, count: int) -> str:
    """What each chunk of a token begins with."""
    return f"{count}{values.encode_bytes(hashlib.sha256(token.encode()).digest()[:4])}"


def split(token: str, room: int) -> list[str]:
    """The chunks of a token, each with its head, of `room` characters of the token at most."""
    count = -(-len(token) // room)
    beginning = head(token, count)
    return [beginning + token[index * room : (index + 1) * room] for index in range(count)]


def token_of(chunks: Sequence[str]) -> str:
    """The token of chunks that were just split, in their order."""
    return "".join(chunk[HEAD:] for chunk in chunks)


def joined(chunks: Sequence[Sequence[str]], incomplete: Callable[[], None]) -> Iterator[str]:
    """The tokens that the values of the chunk cookies put together are; `incomplete` is called for each that is not whole."""
    for beginning in dict.fromkeys(value[:HEAD] for value in chunks[0] or [""]):
        whole = _join(beginning, chunks)
        if whole is None:
            incomplete()
        else:
            yield whole


def _join(beginning: str, chunks: Sequence[Sequence[str]]) -> str | None:
    """The token of one generation of chunks; None where one is missing, foreign or of another generation."""
    if not beginning[:1].isdecimal() or not beginning.isascii() or not 1 <= int(beginning[0]) <= len(chunks):
        return None
    parts = []
    for present in chunks[: int(beginning[0])]:
        matching = [value for value in present if value.startswith(beginning)]
        if not matching:
            return None
        parts.append(matching[-1][HEAD:])
    whole = "".join(parts)
    # A server may pass bytes beyond ASCII on as lone surrogates, which cannot be hashed.
    return whole if whole.isascii() and head(whole, int(beginning[0])) == beginning else None

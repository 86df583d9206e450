"""Tokens against cross-site request forgery: a session's 16 secret bytes, masked anew each time they are shown.

A page that is compressed and repeats what an attacker chose leaks a fixed token byte by byte (BREACH); a masked one differs on
each page. The token is base64url of 16 random bytes, and of these XOR the secret.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from hardtack import values

SIZE: Final = 16


def masked(secret: bytes) -> str:
    """A token of the secret."""
    pad = secrets.token_bytes(SIZE)
    return values.encode_bytes(pad + _xor(pad, secret))


def matches(secret: bytes, token: object) -> bool:
    """Whether a token is one of the secret, whatever it is that a client sent."""
    if type(token) is not str:
        return False
    try:
        raw = values.decode_bytes(token)
    except ValueError:
        return False
    return len(raw) == 2 * SIZE and hmac.compare_digest(_xor(raw[:SIZE], raw[SIZE:]), secret)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(SIZE, "big")

"""Tokens against cross-site request forgery: a session's 16 secret bytes, masked anew each time they are shown.

A page that is compressed and repeats what an attacker chose leaks a fixed token byte by byte (BREACH); a masked one differs on
each page. The token is base64url of 16 random bytes, and of these XOR the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from hardtack import values
from hardtack.state import LOGIN, State

SIZE: Final = 16


def draw(state: State) -> bytes:
    """The secret of a session that has none yet.

    In a store it is made of the cookie's secret, so that two pages that ask for one at once agree; but not at a login: a token
    that somebody has planted before it is worth nothing afterwards.
    """
    cookie = b"" if state.held is None else state.held.secret
    if not cookie or state.begins is LOGIN:
        return secrets.token_bytes(SIZE)
    return hashlib.sha256(b"hardtack/1 csrf" + cookie).digest()[:SIZE]


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

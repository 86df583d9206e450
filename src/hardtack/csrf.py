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
from hardtack.state import KEEP, LOGIN, State

SIZE: Final = 16


def draw(state: State) -> bytes:
    """The secret of a session that has none yet.

    In a store it is made of the cookie's secret, so that two pages that ask for one at once agree; but not at a login: a token
    that somebody has planted before it is worth nothing afterwards.
    """
    return (b"" if state.begins is LOGIN else _derived(state)) or secrets.token_bytes(SIZE)


def known(state: State) -> bytes:
    """The secret of a session; empty where it has none.

    One that was never stored, since the save of the page that showed its token was dropped, is made of the cookie's again: only
    for a session that is stored, or whoever plants a cookie of his own could make tokens for it.
    """
    stored = state.meta.options.get("csrf")
    if stored is not None:
        return values.decode_bytes(stored)
    return _derived(state) if state.record is not None and state.fate is KEEP else b""


def _derived(state: State) -> bytes:
    cookie = b"" if state.held is None else state.held.secret
    return hashlib.sha256(b"hardtack/1 csrf" + cookie).digest()[:SIZE] if cookie else b""


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

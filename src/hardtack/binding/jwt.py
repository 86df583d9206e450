"""The proof that a browser sends: a JWT, of which only what DBSC says is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from hardtack import values

MAX_LENGTH: Final = 4096
"""Characters of a proof that are looked at: one of an RSA key of 4,096 bits has 1,600."""

_SHORT: Final = 64  # characters of a header that has no key in it

_TYPES: Final = ("dbsc+jwt", "jwt")  # the second is what browsers wrote before


class Proof(NamedTuple):
    """A proof, of which nothing was verified yet."""

    algorithm: str
    jwk: Any
    """What the browser says its public key is; anything."""

    challenge: str
    signed: bytes
    signature: bytes


def parse(header: str) -> Proof:
    """The proof in a Secure-Session-Response header, bare or quoted. Raises `ValueError` for everything else."""
    text = header.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if len(text) > MAX_LENGTH or not text.isascii():
        raise ValueError("too large, or not ASCII")
    parts = text.split(".")
    if len(parts) != 3:
        raise ValueError("not a JWT of three parts")
    head: Mapping[str, Any] = _short_object(parts[0]) if len(parts[0]) <= _SHORT else _object(parts[0])
    claims = _object(parts[1])
    algorithm, challenge = head.get("alg"), claims.get("jti")
    if type(algorithm) is not str or head.get("typ") not in _TYPES or "crit" in head:
        raise ValueError("not a JWT of DBSC")
    if type(challenge) is not str:
        raise ValueError("it answers no challenge")
    signed = f"{parts[0]}.{parts[1]}".encode()
    return Proof(algorithm, head.get("jwk"), challenge, signed, values.decode_bytes(parts[2]))


@lru_cache(maxsize=8)
def _short_object(part: str) -> Mapping[str, Any]:
    """The same for a text that is nearly always one of two: the header of a proof is the same in all of an algorithm."""
    return MappingProxyType(_object(part))


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(values.decode_bytes(part).decode())
    except RecursionError:
        raise ValueError("nested too deep") from None
    if type(value) is not dict:
        raise ValueError("not an object")
    return value

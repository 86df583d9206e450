"""The name of a device's key: the JWK thumbprint of RFC 7638."""

from __future__ import annotations

import hashlib

from hardtack import values


def thumbprint_of(raw: bytes) -> bytes:
    """32 bytes, of a key as `DeviceKey.raw` has it."""
    if raw[:1] == b"E":
        x, y = values.encode_bytes(raw[1:33]), values.encode_bytes(raw[33:])
        canonical = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    else:
        canonical = f'{{"e":"AQAB","kty":"RSA","n":"{values.encode_bytes(raw[1:])}"}}'
    return hashlib.sha256(canonical.encode()).digest()

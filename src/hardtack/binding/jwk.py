"""Public keys of devices: what a browser sends as a JWK, and how it signs with the other half.

ES256 (P-256) and RS256 (2,048 to 4,096 bits, e = 65537), and nothing else: the algorithm is the key's, never the message's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from hardtack import values
from hardtack.binding.thumbprint import thumbprint_of

_CURVE: Final = SECP256R1()
_EC: Final = b"E"
_RSA: Final = b"R"
_EXPONENT: Final = 65537
_KEPT: Final = 1024
_LEAST_BITS: Final = 2048
_MOST_BITS: Final = 4096


class DeviceKey:
    """The public half of a device's key.

    Attributes:
        algorithm: what it signs by.
        raw: its bytes, as the key cookie carries them: a letter, and x‖y or the modulus.
    """

    __slots__ = ("_key", "algorithm", "raw")

    def __init__(self, algorithm: str, raw: bytes, key: EllipticCurvePublicKey | RSAPublicKey) -> None:
        self.algorithm = algorithm
        self.raw = raw
        self._key = key

    @classmethod
    def from_jwk(cls, jwk: Any) -> DeviceKey:
        """The key of a JSON Web Key. Raises `ValueError` for what is none that hardtack takes."""
        if type(jwk) is not dict:
            raise ValueError("the jwk is no object")
        kind = jwk.get("kty")
        if kind == "EC" and jwk.get("crv") == "P-256":
            point = _field(jwk, "x") + _field(jwk, "y")
            return cls.from_raw(_EC + point)
        if kind == "RSA" and jwk.get("e") == "AQAB":
            return cls.from_raw(_RSA + _field(jwk, "n"))
        raise ValueError("the jwk is neither a P-256 key nor an RSA key with e = 65537")

    @classmethod
    def from_raw(cls, raw: bytes) -> DeviceKey:
        """The key of its bytes. Raises `ValueError`."""
        if raw[:1] == _EC and len(raw) == 65:
            # Refuses what is off the curve; it takes less time than by numbers.
            return cls("ES256", raw, EllipticCurvePublicKey.from_encoded_point(_CURVE, b"\x04" + raw[1:]))
        if raw[:1] == _RSA:
            modulus = int.from_bytes(raw[1:], "big")
            bits = modulus.bit_length()
            if _LEAST_BITS <= bits <= _MOST_BITS and len(raw) == 1 + (bits + 7) // 8 and modulus % 2:
                return cls("RS256", raw, RSAPublicNumbers(_EXPONENT, modulus).public_key())
        raise ValueError("not the bytes of a device's key")

    @classmethod
    def from_sealed(cls, raw: bytes) -> DeviceKey:
        """The same, of bytes that we have sealed or signed ourselves: the last 1,024 keys are kept as they were loaded.

        A browser proves its key every few minutes, and to load one, and use it for the first time, takes a third of the time of
        a signature's check. Nobody brings keys in here but those that a session was bound to, or registered with.
        """
        return _loaded(raw)

    def thumbprint(self) -> bytes:
        """32 bytes that name the key."""
        return thumbprint_of(self.raw)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the device has signed the message."""
        try:
            if isinstance(self._key, RSAPublicKey):
                self._key.verify(signature, message, PKCS1v15(), SHA256())
            else:
                if len(signature) != 64:
                    return False
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                self._key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


_loaded = lru_cache(maxsize=_KEPT)(DeviceKey.from_raw)
forget_keys = _loaded.cache_clear
"""Load all keys anew."""


def _field(jwk: dict[Any, Any], name: str) -> bytes:
    text = jwk.get(name)
    if type(text) is not str or len(text) > 700:  # 4,096 bits are 683 characters
        message = f"the jwk has no {name}"
        raise ValueError(message)
    raw = values.decode_bytes(text)
    if name != "n" and len(raw) != 32:
        message = f"the jwk's {name} is not of 32 bytes"
        raise ValueError(message)
    return raw

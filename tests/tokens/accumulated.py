"""Prints the accumulated hash of the XAES-256-GCM specification: `accumulated.py ITERATIONS`."""

from __future__ import annotations

import hashlib
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHAKE128, XOFHash

from hardtack.tokens.xaes import XAES256GCM


def accumulated(iterations: int) -> str:
    """The hash over the ciphertexts of random keys, nonces, plaintexts and associated data."""
    take = XOFHash(SHAKE128(digest_size=sys.maxsize)).squeeze
    ciphertexts = hashlib.shake_128()
    for _ in range(iterations):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        aad = take(take(1)[0])
        cipher = XAES256GCM(key)
        ciphertext = AESGCM(cipher.subkey(nonce[:12])).encrypt(nonce[12:], plaintext, aad)
        assert cipher.open(nonce + ciphertext, aad) == plaintext
        ciphertexts.update(ciphertext)
    return ciphertexts.hexdigest(32)


if __name__ == "__main__":
    print(accumulated(int(sys.argv[1])))

"""AES as the other stacks use it: CBC with PKCS #7, CTR, and GCM with its tag apart.

CBC and CTR authenticate nothing: check a MAC first.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hardtack.errors import InvalidToken
from hardtack.foreign.base import malformed

BLOCK = 16
GCM_NONCE = 12
TAG = 16


def open_cbc(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """The plain text, without its padding, or `InvalidToken("malformed")`."""
    if len(iv) != BLOCK or not ciphertext or len(ciphertext) % BLOCK:
        malformed("its ciphertext is not whole blocks")
    padded = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(ciphertext)
    size = padded[-1]
    if not 1 <= size <= BLOCK or padded[-size:] != bytes((size,)) * size:
        malformed("its padding is wrong")
    return padded[:-size]


def seal_cbc(key: bytes, iv: bytes, plain: bytes) -> bytes:
    """The ciphertext that `open_cbc` opens."""
    size = BLOCK - len(plain) % BLOCK
    return Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(plain + bytes((size,)) * size)


def ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """The other text of two, plain or encrypted. `iv` has 16 bytes."""
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


def open_gcm(key: bytes, nonce: bytes, ciphertext: bytes, tag: bytes, associated: bytes = b"") -> bytes:
    """The plain text; `InvalidToken("tampered")` where the tag does not fit.

    A short tag is refused before anything else: it would be guessed.
    """
    if len(nonce) != GCM_NONCE or len(tag) != TAG:
        malformed("its nonce has not 12 bytes, or its tag not 16")
    try:
        return AESGCM(key).decrypt(nonce, ciphertext + tag, associated)
    except InvalidTag:
        raise InvalidToken("tampered") from None


def seal_gcm(key: bytes, nonce: bytes, plain: bytes, associated: bytes = b"") -> tuple[bytes, bytes]:
    """Ciphertext and tag."""
    sealed = AESGCM(key).encrypt(nonce, plain, associated)
    return sealed[:-TAG], sealed[-TAG:]

"""AES as the other stacks use it: CBC with PKCS #7, CTR, and GCM with its tag apart.

CBC and CTR authenticate nothing: check a MAC first.
"""

from __future__ import annotations

import threading

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
    _check_blocks(iv, ciphertext)
    return _unpadded(Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(ciphertext))


class CbcKey(threading.local):
    """`open_cbc` under a configured key: each thread prepares it once, which takes longer than to decrypt a cookie.

    A block is decrypted with the one before it alone. So the IV is given as a block before the others, whatever this
    decryptor saw last, and what becomes of it is thrown away.
    """

    def __init__(self, key: bytes) -> None:
        self._update = Cipher(algorithms.AES(key), modes.CBC(bytes(BLOCK))).decryptor().update

    def open(self, iv: bytes, ciphertext: bytes) -> bytes:
        """The plain text, without its padding, or `InvalidToken("malformed")`."""
        _check_blocks(iv, ciphertext)  # so that no part of a block stays behind for the next cookie
        return _unpadded(self._update(iv + ciphertext)[BLOCK:])


def _check_blocks(iv: bytes, ciphertext: bytes) -> None:
    if len(iv) != BLOCK or not ciphertext or len(ciphertext) % BLOCK:
        malformed("its ciphertext is not whole blocks")


def _unpadded(padded: bytes) -> bytes:
    size = padded[-1]
    if not 1 <= size <= BLOCK or not padded.endswith(_PADDINGS[size]):
        malformed("its padding is wrong")
    return padded[:-size]


_PADDINGS = [bytes((size,)) * size for size in range(BLOCK + 1)]
"""Of each size, PKCS #7's."""


def seal_cbc(key: bytes, iv: bytes, plain: bytes) -> bytes:
    """The ciphertext that `open_cbc` opens."""
    size = BLOCK - len(plain) % BLOCK
    return Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(plain + _PADDINGS[size])


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

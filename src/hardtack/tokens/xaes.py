"""XAES-256-GCM (C2SP): AES-256-GCM with 24-byte nonces, safe to draw at random.

The first 12 bytes of the nonce choose a subkey, the last 12 are the GCM nonce under it.
Specification and vectors: https://c2sp.org/XAES-256-GCM
"""

from __future__ import annotations

import os
import threading
import weakref
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKENS_PER_PREFIX: Final = 1 << 12
CACHED_SUBKEYS: Final = 1024


class XAES256GCM:
    """One 32-byte key: seals under nonces that it draws itself, opens under nonces that it is given.

    Safe to use from many threads and after a fork.
    """

    def __init__(self, key: bytes) -> None:
        self._ecb = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - for CMAC
        self._lock = threading.Lock()
        self._k1 = self._cmac_subkey()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._sealing = self._draw()
        _instances.add(self)

    def _cmac_subkey(self) -> int:
        left = int.from_bytes(self._ecb.update(bytes(16)), "big")
        shifted = left << 1
        return shifted if shifted >> 128 == 0 else (shifted ^ 0x87) & ((1 << 128) - 1)

    def subkey(self, prefix: bytes) -> bytes:
        """The AES-256 key for nonces that begin with these 12 bytes: CMAC of two counter blocks (NIST SP 800-108)."""
        block = int.from_bytes(b"\x00\x01X\x00" + prefix, "big") ^ self._k1
        other = block ^ (3 << 112)  # the same with counter 2: 1 ^ 3
        with self._lock:  # an encryptor must not be entered by two threads
            return self._ecb.update(block.to_bytes(16, "big") + other.to_bytes(16, "big"))

    def _draw(self) -> tuple[bytes, AESGCM, count[int]]:
        # The prefix, its cipher and their use count are one immutable tuple, read once per seal: no thread can pair the
        # prefix of one draw with the cipher of another.
        prefix = os.urandom(12)
        return prefix, AESGCM(self.subkey(prefix)), count(1)

    def renew(self) -> None:
        """Draw a new prefix: after a fork, so that parent and child do not share one."""
        self._lock = threading.Lock()  # another thread may have held it at the moment of the fork
        self._sealing = self._draw()

    def seal(self, plaintext: bytes, aad: bytes | None, header: bytes = b"") -> bytes:
        """header ‖ nonce (24 bytes) ‖ ciphertext ‖ tag (16 bytes)."""
        prefix, cipher, uses = self._sealing
        if next(uses) >= TOKENS_PER_PREFIX:
            self._sealing = self._draw()
        # The last 12 bytes come from the operating system for every token, never from a buffer or a counter: safety
        # rests on this, and on nothing that a fork or a restored snapshot could repeat.
        nonce = os.urandom(12)
        return header + prefix + nonce + cipher.encrypt(nonce, plaintext, aad)

    def open(self, sealed: bytes, aad: bytes | None, start: int = 0) -> bytes:
        """The plaintext of what `seal` returned, after a header of `start` bytes.

        Raises `cryptography.exceptions.InvalidTag`.
        """
        if len(sealed) - start < 40:
            raise InvalidTag
        middle = start + 12
        prefix, nonce, ciphertext = sealed[start:middle], sealed[middle : start + 24], sealed[start + 24 :]
        cipher = self._ciphers.get(prefix)
        if cipher is not None:
            return cipher.decrypt(nonce, ciphertext, aad)
        cipher = AESGCM(self.subkey(prefix))
        plaintext = cipher.decrypt(nonce, ciphertext, aad)
        # Remembered only now: a prefix that proved authentic, so that nobody else can fill the cache.
        self._remember(prefix, cipher)
        return plaintext

    def _remember(self, prefix: bytes, cipher: AESGCM) -> None:
        with self._lock:  # a dict that another thread adds to cannot be asked for its oldest entry
            if len(self._ciphers) >= CACHED_SUBKEYS:
                del self._ciphers[next(iter(self._ciphers))]
            self._ciphers[prefix] = cipher


_instances: weakref.WeakSet[XAES256GCM] = weakref.WeakSet()


def _renew_all() -> None:
    for instance in list(_instances):
        instance.renew()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_renew_all)

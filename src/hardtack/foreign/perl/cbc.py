"""AES-256-CBC as Crypt::CBC and Session::Storage::Secure use it. It authenticates nothing: check a MAC first."""

from __future__ import annotations

import hashlib
import os

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hardtack.foreign.base import malformed

_BLOCK = 16
_SALTED = b"Salted__"


def open_ecb_iv(key: bytes, salt: bytes, ciphertext: bytes) -> bytes:
    """The plain text, where the IV is the salt's first block under AES itself (Session::Storage::Secure 2)."""
    aes = algorithms.AES256(key)
    iv = Cipher(aes, modes.ECB()).encryptor().update(salt[:_BLOCK])  # noqa: S305 - the format's derivation of its IV
    return _decrypt(aes, iv, ciphertext)


def seal_ecb_iv(key: bytes, salt: bytes, plain: bytes) -> bytes:
    """The ciphertext that `open_ecb_iv` opens."""
    # Under a zero IV the salt's block becomes the IV that the format asks for, and chains into the rest: one pass.
    return _encrypt(key, bytes(_BLOCK), salt[:_BLOCK] + plain)[_BLOCK:]


def open_salted(passphrase: bytes, ciphertext: bytes) -> bytes:
    """The plain text of Crypt::CBC with a passphrase; the ciphertext begins with its salt."""
    if len(ciphertext) < _BLOCK or ciphertext[:8] != _SALTED:
        malformed("its ciphertext does not begin with a salt")
    key, iv = _derive(passphrase, ciphertext[8:16])
    return _decrypt(algorithms.AES256(key), iv, ciphertext[16:])


def seal_salted(passphrase: bytes, plain: bytes) -> bytes:
    """The ciphertext that `open_salted` opens."""
    salt = os.urandom(8)
    key, iv = _derive(passphrase, salt)
    return _SALTED + salt + _encrypt(key, iv, plain)


def _derive(passphrase: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """OpenSSL's old EVP_BytesToKey with MD5, one round: what Crypt::CBC calls "opensslv1"."""
    derived = block = b""
    while len(derived) < 48:
        block = hashlib.md5(block + passphrase + salt).digest()  # noqa: S324 - the format's derivation
        derived += block
    return derived[:32], derived[32:48]


def _decrypt(aes: algorithms.AES256, iv: bytes, ciphertext: bytes) -> bytes:
    if not ciphertext or len(ciphertext) % _BLOCK:
        malformed("its ciphertext is not whole blocks")
    padded = Cipher(aes, modes.CBC(iv)).decryptor().update(ciphertext)
    size = padded[-1]
    if not 1 <= size <= _BLOCK or padded[-size:] != bytes((size,)) * size:
        malformed("its padding is wrong")
    return padded[:-size]


def _encrypt(key: bytes, iv: bytes, plain: bytes) -> bytes:
    size = _BLOCK - len(plain) % _BLOCK
    return Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor().update(plain + bytes((size,)) * size)

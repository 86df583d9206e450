"""XSalsa20-Poly1305 (NaCl's secretbox) and XChaCha20-Poly1305, which `cryptography` lacks.

Only what `cryptography` has no primitive for is written here: the Salsa20 core, and the two functions that turn a nonce
of 24 bytes into a key. Poly1305 and ChaCha20-Poly1305 are its own, the secretbox is libsodium's where PyNaCl
is installed, and nothing is decrypted before the MAC was found
right: a forged cookie costs two blocks. No step depends on a secret by a branch or a table.

The blocks of a text are made all at once: each of the 16 words is a Python int in which every block has a lane of 64 bits.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305

from hardtack.errors import InvalidToken

try:
    from nacl import bindings as _libsodium
    from nacl.exceptions import CryptoError as _CryptoError
except ImportError:  # without the extra `fastify` the secretbox is Python's: the same, and twenty times as slow
    _libsodium, _CryptoError = None, InvalidToken  # type: ignore[assignment,misc]
try:
    from nacl import _sodium  # pyright: ignore[reportAttributeAccessIssue]  # it is a compiled module

    # PyNaCl's own function copies text and box twice, for an older one of libsodium's: that takes as long as to decrypt.
    _from_buffer, _open_easy = _sodium.ffi.from_buffer, _sodium.lib.crypto_secretbox_open_easy
except (ImportError, AttributeError):  # it is not meant for others, and may be elsewhere in another version
    _open_easy = None

NONCE = 24
TAG = 16
_KEY = 32
_MASK = 0xFFFFFFFF
_BLOCK = 64
_SIGMA = struct.unpack("<4I", b"expand 32-byte k")

# The quarter rounds of a double round: columns, then rows (Salsa20) or diagonals (ChaCha20).
_SALSA = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11), (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))  # fmt: skip  # noqa: E501
_CHACHA = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))  # fmt: skip  # noqa: E501


def secretbox_open(key: bytes, nonce: bytes, box: bytes) -> bytes:
    """The plain text of NaCl's `crypto_secretbox_easy`: a MAC of 16 bytes, then the ciphertext.

    `key` has 32 bytes, `nonce` 24, `box` at least 16. Raises `InvalidToken("tampered")`.
    """
    if (
        _open_easy is not None and len(nonce) == NONCE and len(key) == _KEY and len(box) >= TAG
    ):  # nobody else would look
        plain = bytearray(len(box) - TAG)
        if _open_easy(_from_buffer(plain), box, len(box), nonce, key):
            raise InvalidToken("tampered")
        return bytes(plain)
    if _libsodium is not None:
        try:
            return _libsodium.crypto_secretbox_open(box, nonce, key)
        except _CryptoError:
            raise InvalidToken("tampered") from None
    subkey = _hsalsa20(key, nonce[:16])
    first = _salsa20_blocks(subkey, nonce[16:], range(1))
    try:
        Poly1305.verify_tag(first[:32], box[TAG:], box[:TAG])
    except InvalidSignature:
        raise InvalidToken("tampered") from None
    return _salsa20(subkey, nonce[16:], first, box[TAG:])


def secretbox_seal(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    """What `secretbox_open` opens. A nonce is used once."""
    if _libsodium is not None:
        return _libsodium.crypto_secretbox(plain, nonce, key)
    subkey = _hsalsa20(key, nonce[:16])
    first = _salsa20_blocks(subkey, nonce[16:], range(1))
    ciphertext = _salsa20(subkey, nonce[16:], first, plain)
    return Poly1305.generate_tag(first[:32], ciphertext) + ciphertext


def xchacha_open(key: bytes, nonce: bytes, ciphertext: bytes, tag: bytes, associated: bytes) -> bytes:
    """The plain text of XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03). Raises `InvalidToken("tampered")`."""
    try:
        return _chacha(key, nonce).decrypt(bytes(4) + nonce[16:], ciphertext + tag, associated)
    except InvalidTag:
        raise InvalidToken("tampered") from None


def xchacha_seal(key: bytes, nonce: bytes, plain: bytes, associated: bytes) -> tuple[bytes, bytes]:
    """Ciphertext and tag. A nonce is used once."""
    sealed = _chacha(key, nonce).encrypt(bytes(4) + nonce[16:], plain, associated)
    return sealed[:-TAG], sealed[-TAG:]


def _chacha(key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    state = [*_SIGMA, *struct.unpack("<8I4I", key + nonce[:16])]
    for _ in range(10):
        for a, b, c, d in _CHACHA:
            state[a] = (state[a] + state[b]) & _MASK
            state[d] = _rotated(state[d] ^ state[a], 16)
            state[c] = (state[c] + state[d]) & _MASK
            state[b] = _rotated(state[b] ^ state[c], 12)
            state[a] = (state[a] + state[b]) & _MASK
            state[d] = _rotated(state[d] ^ state[a], 8)
            state[c] = (state[c] + state[d]) & _MASK
            state[b] = _rotated(state[b] ^ state[c], 7)
    return ChaCha20Poly1305(struct.pack("<8I", *state[:4], *state[12:]))


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    state = _salsa_rounds(_salsa_state(key, nonce), _MASK)
    return struct.pack("<8I", state[0], state[5], state[10], state[15], *state[6:10])


def _salsa20(key: bytes, nonce: bytes, first: bytes, text: bytes) -> bytes:
    """The text under the key stream, of which the first 32 bytes were the MAC's key."""
    blocks = range(1, (32 + len(text) + _BLOCK - 1) // _BLOCK)
    stream = (first[32:] + _salsa20_blocks(key, nonce, blocks))[: len(text)]
    return (int.from_bytes(text, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(text), "big")


def _salsa20_blocks(key: bytes, nonce: bytes, numbers: range) -> bytes:
    """The blocks of the key stream that have these numbers, which are less than 2**32."""
    ones = sum(1 << 64 * lane for lane in range(len(numbers)))
    state = [word * ones for word in _salsa_state(key, nonce + bytes(8))]
    state[8] = sum(number << 64 * lane for lane, number in enumerate(numbers))
    mask = _MASK * ones
    mixed = _salsa_rounds(state, mask)
    words = [
        ((before + after) & mask).to_bytes(8 * len(numbers), "little")
        for before, after in zip(state, mixed, strict=True)
    ]
    return b"".join([word[at : at + 4] for at in range(0, 8 * len(numbers), 8) for word in words])


def _salsa_state(key: bytes, block: bytes) -> list[int]:
    words = struct.unpack("<8I4I", key + block)
    return [_SIGMA[0], *words[:4], _SIGMA[1], *words[8:], _SIGMA[2], *words[4:8], _SIGMA[3]]


def _salsa_rounds(state: list[int], mask: int) -> list[int]:
    """The state after 20 rounds. `mask` has the 32 bits of every lane; what a rotation moves over them is cut off."""
    words = list(state)
    for _ in range(10):
        for a, b, c, d in _SALSA:
            w, x, y, z = words[a], words[b], words[c], words[d]
            turned = (w + z) & mask
            x ^= (turned << 7 | turned >> 25) & mask
            turned = (x + w) & mask
            y ^= (turned << 9 | turned >> 23) & mask
            turned = (y + x) & mask
            z ^= (turned << 13 | turned >> 19) & mask
            turned = (z + y) & mask
            words[a], words[b], words[c], words[d] = w ^ (turned << 18 | turned >> 14) & mask, x, y, z
    return words


def _rotated(word: int, bits: int) -> int:
    return (word << bits) & _MASK | word >> (32 - bits)

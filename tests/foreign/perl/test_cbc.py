"""AES-CBC in its two Perl forms: what one side seals the other opens, and damage is malformed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hardtack.errors import InvalidToken
from hardtack.foreign.perl import cbc

KEY = bytes(range(32))
SALT = bytes(range(32, 64))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100])
def test_round_trip(size: int) -> None:
    """Texts of every length to the block come back."""
    plain = bytes(range(size))

    assert cbc.open_ecb_iv(KEY, SALT, cbc.seal_ecb_iv(KEY, SALT, plain)) == plain
    assert cbc.open_salted(KEY, cbc.seal_salted(KEY, plain)) == plain


def test_the_iv_is_the_salt_under_aes() -> None:
    """The one pass that seals gives what the format's own description gives in two."""
    iv = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(SALT[:16])
    expected = Cipher(algorithms.AES(KEY), modes.CBC(iv)).encryptor().update(b"x" * 15 + b"\x01")

    assert cbc.seal_ecb_iv(KEY, SALT, b"x" * 15) == expected


def padded(last: bytes) -> bytes:
    return Cipher(algorithms.AES(KEY), modes.CBC(bytes(16))).encryptor().update(last)


@pytest.mark.parametrize("last", [b"x" * 15 + b"\x00", b"x" * 15 + b"\x11", b"x" * 14 + b"\x03\x02"])
def test_wrong_padding(last: bytes) -> None:
    """Padding that is not PKCS #7 is refused."""
    iv_salt = Cipher(algorithms.AES(KEY), modes.ECB()).decryptor().update(bytes(16))

    with pytest.raises(InvalidToken, match="malformed"):
        cbc.open_ecb_iv(KEY, iv_salt, padded(last))


@pytest.mark.parametrize("ciphertext", [b"", b"x" * 32, b"Salted__" + bytes(8), b"Salted__" + bytes(9), b"Salted_"])
def test_damaged_ciphertext(ciphertext: bytes) -> None:
    """Less than whole blocks, or no salt, is refused."""
    with pytest.raises(InvalidToken, match="malformed"):
        cbc.open_salted(KEY, ciphertext)

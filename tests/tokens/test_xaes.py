"""XAES-256-GCM against the official vectors, and the rules on which its safety rests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.kit import fork

from hardtack.tokens import xaes
from hardtack.tokens.xaes import XAES256GCM

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "xaes.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: str(vector["name"]))
def test_official_vectors(vector: dict[str, str]) -> None:
    """Subkey, plaintext and ciphertext are those of the specification."""
    cipher = XAES256GCM(bytes.fromhex(vector["key"]))
    nonce, aad = bytes.fromhex(vector["nonce"]), bytes.fromhex(vector["aad"])
    subkey = cipher.subkey(nonce[:12])

    plaintext = cipher.open(nonce + bytes.fromhex(vector["ciphertext"]), aad)

    assert subkey.hex() == vector["derived_key"]
    assert plaintext.hex() == vector["plaintext"]
    assert AESGCM(subkey).encrypt(nonce[12:], plaintext, aad).hex() == vector["ciphertext"]


@pytest.mark.parametrize("vector", VECTORS["negative"], ids=lambda vector: str(vector["name"]))
def test_negative_vectors(vector: dict[str, str]) -> None:
    """What the specification says must not open does not."""
    cipher = XAES256GCM(bytes.fromhex(vector["key"]))
    sealed = bytes.fromhex(vector["nonce"]) + bytes.fromhex(vector["ciphertext"])

    with pytest.raises(InvalidTag):
        cipher.open(sealed, bytes.fromhex(vector["aad"]))


@pytest.mark.parametrize("iterations", [10_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_accumulated_vectors(iterations: int) -> None:
    """Random keys, nonces, plaintexts and associated data give the official hash."""
    program = Path(__file__).with_name("accumulated.py")
    # In a process of its own, which no coverage measurement slows down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}

    result = subprocess.run(
        [sys.executable, str(program), str(iterations)], capture_output=True, text=True, env=environment, check=True
    )

    assert result.stdout.strip() == VECTORS["accumulated"][f"iterations_{iterations}"]


def test_prefix_is_drawn_anew_after_its_tokens() -> None:
    """One prefix serves 2^12 tokens, and not one more."""
    cipher = XAES256GCM(bytes(32))

    prefixes = [cipher.seal(b"", None)[:12] for _ in range(xaes.TOKENS_PER_PREFIX + 1)]

    assert len(set(prefixes[:-1])) == 1
    assert prefixes[-1] != prefixes[0]


def test_nonce_ends_in_fresh_bytes_for_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last 12 bytes of each nonce are one call of os.urandom, and not taken from a buffer."""
    cipher = XAES256GCM(bytes(32))
    asked: list[int] = []

    def urandom(count: int) -> bytes:
        asked.append(count)
        return len(asked).to_bytes(count, "big")

    monkeypatch.setattr(os, "urandom", urandom)

    tails = [cipher.seal(b"", None)[12:24] for _ in range(5)]

    assert asked == [12] * 5
    assert tails == [number.to_bytes(12, "big") for number in range(1, 6)]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # threads of other tests
def test_fork_draws_a_new_prefix() -> None:
    """A child does not seal under the prefix of its parent, and can use a key whose lock the parent held."""
    cipher = XAES256GCM(bytes(32))
    before = cipher.seal(b"", None)[:12]
    reader, writer = os.pipe()
    with cipher._lock:
        child = fork()
        if child == 0:
            os.write(writer, cipher.seal(b"", None)[:12])
            os._exit(0)
    os.waitpid(child, 0)

    in_child = os.read(reader, 12)

    assert in_child != before
    assert cipher.seal(b"", None)[:12] == before
    os.close(reader)
    os.close(writer)


def test_renewing_keeps_prefix_and_cipher_together() -> None:
    """While threads seal and the prefix is renewed, everything that is sealed opens."""
    cipher = XAES256GCM(bytes(32))
    sealed: list[bytes] = []

    def work() -> None:
        for number in range(300):
            sealed.append(cipher.seal(b"data", b"aad"))
            if number % 50 == 0:
                cipher.renew()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {cipher.open(each, b"aad") for each in sealed} == {b"data"}


def test_cache_is_bounded_and_forgets_the_oldest() -> None:
    """Opening remembers 1,024 subkeys, whatever comes."""
    sender, receiver = XAES256GCM(bytes(32)), XAES256GCM(bytes(32))
    first = sender.seal(b"first", None)
    receiver.open(first, None)

    for _ in range(xaes.CACHED_SUBKEYS):
        sender.renew()
        receiver.open(sender.seal(b"", None), None)

    assert len(receiver._ciphers) == xaes.CACHED_SUBKEYS
    assert first[:12] not in receiver._ciphers
    assert receiver.open(first, None) == b"first"


def test_forged_prefix_is_not_remembered() -> None:
    """Only a token that proved authentic fills the cache: a stranger cannot push the good ones out."""
    cipher = XAES256GCM(bytes(32))

    with pytest.raises(InvalidTag):
        cipher.open(bytes(60), None)

    assert cipher._ciphers == {}


@pytest.mark.parametrize("size", [0, 11, 12, 24, 39])
def test_too_short_is_refused(size: int) -> None:
    """Less than a nonce and a tag is no ciphertext, whether its prefix is known or not."""
    cipher = XAES256GCM(bytes(32))
    good = cipher.seal(b"x", None)
    cipher.open(good, None)

    with pytest.raises(InvalidTag):
        cipher.open(bytes(size), None)
    with pytest.raises(InvalidTag):
        cipher.open(good[:size], None)

"""Secrets of other languages' stacks: those that are read beside the current one, and keys that are derived once a process."""

from __future__ import annotations

import functools
import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from hardtack.errors import ConfigError
from hardtack.foreign._place import Secret
from hardtack.foreign.base import secret_bytes, secrets_bytes


def all_secrets(secret: Secret, old_secrets: Sequence[Secret]) -> list[bytes]:
    """The secret that is written with, then those that are only read. Raises `ConfigError`."""
    return [secret_bytes(secret), *secrets_bytes(old_secrets, "old_secrets")]


def one_of(value: object, setting: str, allowed: Sequence[str]) -> str:
    """A setting that is one of a few words. Raises `ConfigError`."""
    if type(value) is str and value in allowed:
        return value
    message = f"{setting}={value!r} is not known; write one of {', '.join(allowed)}"
    raise ConfigError(message)


_derived: dict[tuple[object, ...], bytes] = {}
_deriving = threading.Lock()


def pbkdf2(secret: bytes, salt: bytes, iterations: int, length: int, digest: str) -> bytes:
    """PBKDF2-HMAC, once a process for the same arguments."""
    return once(
        ("pbkdf2", hashlib.sha256(secret).digest(), salt, iterations, length, digest),
        lambda: hashlib.pbkdf2_hmac(digest, secret, salt, iterations, length),
    )


def once(name: tuple[object, ...], derive: Callable[[], bytes]) -> bytes:
    """A derived key, made by the first who asks while the others wait. Of configured secrets only, which are few."""
    key = _derived.get(name)
    if key is None:
        with _deriving:
            key = _derived.get(name)
            if key is None:
                key = _derived[name] = derive()
    return key


def keyed_mac(key: bytes, message: bytes, digest: str) -> bytes:
    """HMAC under a configured key, whose blocks are hashed once a process. A key of one cookie alone goes to `hmac.digest`."""
    keyed = _keyed(key, digest).copy()
    keyed.update(message)
    return keyed.finalize()


@functools.lru_cache(maxsize=256)
def _keyed(key: bytes, digest: str) -> HMAC:
    return HMAC(key, _HASHES[digest]())


_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def same(expected: str | bytes, given: str) -> bool:
    """Whether a MAC is the one that was expected, as text, so that it has one spelling only; in constant time."""
    right = expected.encode() if isinstance(expected, str) else expected
    return hmac.compare_digest(right, given.encode("utf-8", "surrogatepass"))

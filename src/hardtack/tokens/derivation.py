"""The 32 bytes of a key from a passphrase or a framework's secret, by scrypt: 64 MB and about half a second each time."""

from __future__ import annotations

import logging
import os
import threading
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_SHORT_SECRET: Final = 32
_MAX_KEPT: Final = 64

logger = logging.getLogger("hardtack")


def stretch(secret: bytes, salt: bytes) -> bytes:
    """32 bytes, by scrypt with N=2^16, r=8, p=2."""
    return Scrypt(salt=b"hardtack/1 passphrase\x00" + salt, length=32, n=1 << 16, r=8, p=2).derive(secret)


# What was derived knows the secret by its hash only, and it is small: an application has a handful of secrets.
_Name = tuple[bytes, bytes]
_kept: dict[_Name, bytes] = {}
_locks: dict[_Name, threading.Lock] = {}


def stretch_once(secret: bytes, framework: bytes) -> bytes:
    """`stretch`, at most once a process for each secret, in whichever of its threads asks first; the others wait.

    Without that, the first requests of a server with 16 threads took a gigabyte and ten seconds. Threads that ask for
    another secret do not wait. A secret under 32 bytes is warned of once.
    """
    name = (sha256(secret).digest(), framework)
    found = _kept.get(name)
    if found is not None:
        return found
    with _locks.setdefault(name, threading.Lock()):
        found = _kept.get(name)
        if found is None:
            found = _derive(name, secret)
    return found


def _derive(name: _Name, secret: bytes) -> bytes:
    if len(secret) < _SHORT_SECRET:
        _warn_short(name[1])
    derived = stretch(secret, name[1])
    if len(_kept) >= _MAX_KEPT:
        _kept.clear()
    _kept[name] = derived
    _locks.pop(name, None)  # who still waits for it holds it; who comes now finds what is kept
    return derived


@lru_cache(maxsize=_MAX_KEPT)
def _warn_short(framework: bytes) -> None:
    logger.warning(
        "the secret of %s has fewer than %d characters: whoever has one cookie can try to guess it offline",
        framework.decode(),
        _SHORT_SECRET,
    )


# The thread that derives does not exist in a child process: its lock would never be released there.
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_locks.clear)

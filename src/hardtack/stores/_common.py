"""What every store needs: versions that never come back, and a digest of the subject."""

from __future__ import annotations

import hashlib
import secrets

VERSION_BYTES = 8


def new_version_bytes() -> bytes:
    """Eight random bytes: unlike a counter, they stay unique over a delete, a restart and a fail-over."""
    return secrets.token_bytes(VERSION_BYTES)


def new_version() -> int:
    """A random version that fits into a signed 64-bit column."""
    return secrets.randbits(63)


def subject_digest(subject: str) -> bytes:
    """SHA-256 of the subject: of one length for every subject, and exact where a database's collation is not."""
    return hashlib.sha256(subject.encode()).digest()

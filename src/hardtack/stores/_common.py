"""What every store needs: versions that never come back, a digest of the subject, and errors of our own."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from types import TracebackType

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


class Translation:
    """A context in which a driver's errors become ours; it may be used by many at once.

    Not one of `contextlib`, which takes a microsecond for each use, where a read of SQLite takes five.
    """

    __slots__ = ("_translate",)

    def __init__(self, translate: Callable[[BaseException], None]) -> None:
        """`translate` is given each error, and raises another or returns."""
        self._translate = translate

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._translate(error)

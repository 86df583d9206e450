"""Snapshots: the table in a file, so that two hundred processes of one machine do not all read millions of entries at once.

`hardtack-ended 2\\n`, then, under a MAC of the whole: identity, position, newest time, the limits and the records.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import ormsgpack

from hardtack.ended.entries import Limits
from hardtack.ended.table import SHARDS, Table

WORTHWHILE: Final = 100_000
"""Entries from which on there is a snapshot: fewer are read from the channel in a second."""
EVERY: Final = 300.0
"""Seconds between two snapshots of a machine."""
PATIENCE: Final = 60.0
"""Seconds to wait for another process that is reading the channel for the first snapshot."""

_MAGIC: Final = b"hardtack-ended 2\n"
_MAC: Final = 32
_LOOK: Final = 10.0


class Snapshots:
    """Saves and loads the table of one list.

    Args:
        directory: where; made with mode 0700. None: below the system's directory for temporary files, by user.
        key: 32 secret bytes: a file that somebody else has left there is not used.
        name: the list, such as its URL and purpose; only its hash is written.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, key: bytes, name: str) -> None:
        default = Path(tempfile.gettempdir()) / f"hardtack-{os.getuid()}"
        self._directory = default if directory is None else Path(directory)
        self._path = self._directory / f"ended-{hmac.digest(key, name.encode(), 'sha256').hex()[:32]}"
        self._key = key
        self._looked_at = -_LOOK
        self._reading_first = False

    def load(self, table: Table) -> tuple[bytes, str, int] | None:
        """Fill a table, and return the channel's identity, the position and the newest time; None: there is no snapshot."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not self._genuine(file):
                return None
            file.seek(len(_MAGIC))
            return _fill(table, file)

    @contextmanager
    def first(self) -> Iterator[None]:
        """Meanwhile no other process of this machine does the same, unless it has waited for `PATIENCE` seconds."""
        descriptor = self._open_lock()
        try:
            deadline = time.monotonic() + PATIENCE
            while descriptor is not None and not _lock(descriptor) and time.monotonic() < deadline:
                time.sleep(0.05)
            self._reading_first = True
            yield
        finally:
            self._reading_first = False
            if descriptor is not None:
                os.close(descriptor)

    def save(self, table: Table, identity: bytes, position: str, newest: int) -> None:
        """Write one, if the last is old, the table is big, and no other process is about to.

        The table has all entries up to the position. Without a snapshot the next process reads more, and nothing else: what
        goes wrong here is not told.
        """
        if len(table) < WORTHWHILE or time.monotonic() - self._looked_at < _LOOK:
            return
        self._looked_at = time.monotonic()
        with suppress(OSError), self._exclusive() as alone:
            if alone and self._is_old():
                self.write(table, identity, position, newest)

    @contextmanager
    def _exclusive(self) -> Iterator[bool]:
        """Whether no other process is writing one, or waits for us to."""
        if self._reading_first:
            yield True
            return
        descriptor = self._open_lock()
        try:
            yield descriptor is not None and _lock(descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _is_old(self) -> bool:
        try:
            return time.time() - self._path.stat().st_mtime > EVERY
        except OSError:
            return True

    def write(self, table: Table, identity: bytes, position: str, newest: int) -> None:
        """Write one. Raises `OSError`."""
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._make_directory()
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            mac = hmac.new(self._key, digestmod=hashlib.sha256)
            file.write(_MAGIC)
            for part in _parts(table, identity, position, newest):
                file.write(part)
                mac.update(part)
            file.write(mac.digest())
        temporary.replace(self._path)

    def _genuine(self, file: BinaryIO) -> bool:
        size = os.fstat(file.fileno()).st_size - len(_MAGIC) - _MAC
        if size < 0 or file.read(len(_MAGIC)) != _MAGIC:
            return False
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        while size > 0 and (part := file.read(min(size, 1 << 20))):
            mac.update(part)
            size -= len(part)
        return hmac.compare_digest(mac.digest(), file.read())

    def _open_lock(self) -> int | None:
        with suppress(OSError):
            self._make_directory()
            return os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return None

    def _make_directory(self) -> None:
        """Make the directory. Raises `OSError` where it is another user's, who could put files in the place of ours."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        found = self._directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _parts(table: Table, identity: bytes, position: str, newest: int) -> Iterator[bytes]:
    limits = [list(each) for each in table.limits.values()]
    head: list[Any] = [identity, position, newest, table.all_drawn, table.all_seen, table.named, limits]
    yield _block(ormsgpack.packb(head))
    for records in table.records():
        for number in range(SHARDS):
            yield _block(records.dump(number))


def _fill(table: Table, file: BinaryIO) -> tuple[bytes, str, int]:
    identity, position, newest, table.all_drawn, table.all_seen, table.named, limits = ormsgpack.unpackb(_next(file))
    table.limits = {tuple(each[1:]): Limits(*each) for each in limits}
    for records in table.records():
        for number in range(SHARDS):
            records.load(number, _next(file))
    return identity, position, newest


def _block(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


def _next(file: BinaryIO) -> bytes:
    return file.read(int.from_bytes(file.read(4), "big"))

"""FileChannel: one line an entry in a file on a local disk, for the processes of one machine.

The first line is `hardtack-ended 1 <generation> <identity>`, each other `<microseconds> <entry>`, the last fields base64url.
The time is for dropping old lines; what an entry says of time is under its MAC.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from hardtack import values
from hardtack.ended.protocol import Batch, Make
from hardtack.errors import ConfigError, StoreUnavailable

POLL: Final = 0.1
"""Seconds between two looks at the file."""
TIMEOUT: Final = 2.0
"""Seconds to wait for another writer."""
COMPACT: Final = 1 << 20
"""Bytes from which on old lines are dropped, when the file has doubled."""

_READ: Final = 1 << 20
_MAGIC: Final = b"hardtack-ended 1 "
_NETWORK: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "gfs2", "ocfs2", "lustre", "gpfs", "beegfs", "glusterfs")
)
_NETWORK_BY_FUSE: Final = frozenset(("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "gcsfuse", "juicefs"))


class FileChannel:
    """Keeps entries in a file, with a lock file beside it. POSIX only (flock).

    Args:
        path: the file; `reset` makes it, with mode 0600. Its directory must exist, on a local disk: the clock and the locks
            of a network file system are not those of all who use it.

    Raises `ConfigError`.
    """

    alone = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = self.file = Path(path).absolute()
        self._lock = self._path.with_name(self._path.name + ".lock")
        directory = self._path.parent
        if not directory.is_dir():
            message = f"the list of ended sessions cannot be kept in {str(directory)!r}: there is no such directory"
            raise ConfigError(message)
        kind = file_system(directory, _mounts())
        if kind in _NETWORK or kind.removeprefix("fuse.") in _NETWORK_BY_FUSE:
            message = (
                f"the list of ended sessions cannot be kept in {str(directory)!r}, which is on a network file system "
                f"({kind}): use Redis or a database"
            )
            raise ConfigError(message)
        self._compacted = 0

    @classmethod
    def from_url(cls, url: str, suffix: str = "") -> FileChannel:
        """The channel of `file:///absolute/path`. Raises `ConfigError`."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.netloc or parts.query or not path.strip("/") or "\0" in path:
            raise ConfigError("the URL of the list of ended sessions must be like file:///var/lib/app/ended")
        return cls(path + suffix)

    def append(self, make: Make, keep: int | None) -> None:
        """Append; see `Channel`."""
        with _translated(), self._locked(), open(self._path, "r+b") as file:
            now = _now()
            size = file.seek(0, os.SEEK_END)
            file.seek(size - 1)
            torn = file.read(1) != b"\n"  # somebody was killed while he wrote: his line must not swallow ours
            file.write(b"\n" * torn + b"".join(_line(now, raw) for raw in make(now)))
            file.flush()
            os.fdatasync(file.fileno())
            if keep is not None and size > max(COMPACT, 2 * self._compacted):
                self._compacted = self._compact(file, now - keep * 1_000_000)

    def read(self, position: str, wait: float) -> Batch:
        """Read; see `Channel`."""
        deadline = time.monotonic() + wait
        while True:
            batch = self._look(position)
            left = deadline - time.monotonic()
            if batch.entries or batch.restarted or batch.origin is None or left <= 0:
                return batch
            time.sleep(min(POLL, left))

    def _look(self, position: str) -> Batch:
        with _translated():
            try:
                with open(self._path, "rb") as file:
                    return self._read(file, position)
            except FileNotFoundError:
                return Batch([], "", _now(), None)

    def _read(self, file: BinaryIO, position: str) -> Batch:
        if not os.access(self._path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        size = os.fstat(file.fileno()).st_size
        header = file.readline(_READ)
        fields = header.split()
        if not header.startswith(_MAGIC) or len(fields) != 4:
            return Batch([], "", _now(), None)
        generation, origin = fields[2].decode("ascii", "replace"), _decoded(fields[3])
        was, _, offset = position.partition(":")
        known = was == generation and len(header) <= int(offset) <= size
        start = int(offset) if known else len(header)
        file.seek(start)
        raw = file.read(_READ)
        # What is still being written is left for the next time, but nobody writes a line as long as all this.
        end = raw.rfind(b"\n") + 1 if len(raw) < _READ or b"\n" in raw else len(raw)
        entries = [_decoded(line.rpartition(b" ")[2]) for line in raw[:end].splitlines()]
        complete = start + len(raw) >= size
        # The time after reading: of what was ended while this process stood still nothing is from ahead of its time.
        return Batch(entries, f"{generation}:{start + end}", _now(), origin, complete, position != "" and not known)

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        """Give a new identity; see `Channel`."""
        with _translated(), self._locked():
            if self._look("").origin != old:
                return False
            now = _now()
            lines = [line for line in self._lines() if not line.startswith(_MAGIC)]
            self._replace(new, [*lines, *(_line(now, raw) for raw in entries)])
            return True

    def _lines(self) -> list[bytes]:
        try:
            return [line + b"\n" for line in self._path.read_bytes().splitlines()]
        except FileNotFoundError:
            return []

    def _compact(self, file: BinaryIO, before: int) -> int:
        file.seek(0)
        header = file.readline()
        kept = [line for line in file if not _older(line, before)]
        return self._replace(_decoded(header.split()[3]), kept)

    def _replace(self, origin: bytes, lines: Iterable[bytes]) -> int:
        """Put another file in the place of this one; its size."""
        temporary = self._path.with_name(self._path.name + ".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            # Another generation: the number of an inode comes back, and an offset of the old file means nothing here.
            file.write(_MAGIC + secrets.token_hex(8).encode() + b" " + values.encode_bytes(origin).encode() + b"\n")
            file.writelines(lines)
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        return size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + TIMEOUT
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(errno.ETIMEDOUT, "its lock is held by another process") from None
                    time.sleep(0.002)
            yield
        finally:
            os.close(descriptor)  # which unlocks

    def close(self) -> None:
        """Nothing stays open between two calls."""


def _now() -> int:
    return time.time_ns() // 1000


def _line(now: int, raw: bytes) -> bytes:
    return f"{now} {values.encode_bytes(raw)}\n".encode()


def _decoded(field: bytes) -> bytes:
    """The bytes of a field; what cannot be read is a torn entry."""
    try:
        return values.decode_bytes(field.decode("ascii"))
    except ValueError:
        return b""


def _older(line: bytes, before: int) -> bool:
    field = line.partition(b" ")[0]
    return not field.isdigit() or int(field) < before


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return ""


def file_system(directory: Path, mounts: str) -> str:
    """The type of the file system that a directory is on, by the text of `/proc/self/mountinfo`; empty: not known."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].replace("\\040", " "))
        if directory.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split()[0]
    return kind


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the file of the ended sessions cannot be used: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            message += "; create it by: hardtack ended URL --create"
        raise StoreUnavailable(message) from error

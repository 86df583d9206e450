"""FileStore: one human-readable file a session, written so that a crash leaves the old file or the new one.

A file is replaced, never changed: written beside, synced to the disk, moved over. Writers of one session exclude each
other by a lock on one of 256 lock files, which are never deleted: deleting one would let two writers hold "the" lock.
Readers take no lock. POSIX only (flock).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from hardtack.errors import ConfigError, StoreError, StoreFull, StoreUnavailable
from hardtack.protocols import Entry, NativeIds, Progress, Tombstone, Version, VersionConflict
from hardtack.stores._common import is_full_disk, new_version_bytes
from hardtack.stores._shared_files import SharedFiles
from hardtack.stores.dancer_layout import Dancer2Layout, DancerLayout
from hardtack.stores.file_layout import Content, Damaged, HardtackLayout, Layout
from hardtack.stores.shared_layout import SharedFile

_log = logging.getLogger("hardtack")

_LAYOUTS = ("hardtack", "dancer2", "dancer")

_TOMBSTONES = HardtackLayout("json")

_BEING_WRITTEN = 0.1
"""Seconds for which an empty file is taken for one that Dancer has emptied and not filled yet."""


_LISTINGS: Final = 50
"""Listings of the directory after which `find` gives up on what is new: on a busy site there is always something."""


class FileStore:
    """Keeps each session in a file of its own in `directory`, for people to read.

    Args:
        directory: where the files go; it is made, with mode 0700, if it is not there. A relative path is taken from the
            directory that is current when the store is made.
        format: `json`, or `yaml` (needs `hardtack[yaml]`, but not in Dancer's layouts).
        layout: `hardtack`; `dancer2` or `dancer` for a directory that a Dancer2 or Dancer 1 application uses too
            (docs/coming-from-dancer.md), or a layout such as `hardtack.foreign.layouts.LaravelFiles`. The cookie then
            carries the other system's own id.
        lock_timeout: seconds to wait for another writer of the same session before `StoreUnavailable`.
        subject: for Dancer's layouts: returns the user whom the data belong to, or None, where Dancer has written them.

    Raises:
        ConfigError: a setting is unknown, or the directory cannot be made.
    """

    blocking = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        format: str = "json",
        *,
        layout: str | SharedFile = "hardtack",
        lock_timeout: float = 5.0,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        self._layout = _layout(layout, format, subject)
        try:
            self._directory = Path(directory).absolute()
        except TypeError:
            message = f"directory is of type {type(directory).__name__}; it must be the path of a directory"
            raise ConfigError(message) from None
        self._locks = self._directory / ".locks"
        self._lock_timeout = lock_timeout
        self._make_directories()

    @classmethod
    def from_url(cls, url: str) -> FileStore:
        """The store of `file:///directory`, with `?format=yaml` and `?layout=dancer2`. Raises `ConfigError`."""
        parts = urlsplit(url)
        options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.netloc not in ("", "localhost") or not parts.path or not options.keys() <= {"format", "layout"}:
            raise ConfigError("the store's URL must be like file:///var/lib/app/sessions?format=json")
        return cls(unquote(parts.path), **options)

    @property
    def native_ids(self) -> NativeIds | None:
        """Dancer's rule for ids, where the directory is Dancer's."""
        return self._layout.ids

    def resolve(self, handle: bytes) -> str | None:
        """The key of the session with that public handle; see `NativeIds`. Reads every file's name."""
        ids = self._layout.ids
        return next((key for key in self._keys() if ids is not None and ids.handle(key) == handle), None)

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or it has expired.

        A file that is damaged is an entry of no data: the session cannot be read, but can be replaced and deleted.
        """
        with _translated():
            found = self._read(key)
        if found is None:
            return None
        version, content = found
        return Entry(b"" if content is None else content.data, version)

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        """Compare-and-set; see `Store.put`. Raises `VersionConflict`, `StoreError` for a key that is no file name."""
        with self._locked(key):
            self._require(key, if_version)
            if self._layout.is_tombstone(data):
                return self._bury(key, data, expires_at)
            return self._write(key, data, expires_at, subject)

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        """Delete, under any version or just this one; see `Store.delete`. Raises `VersionConflict`."""
        if not self._layout.key_pattern.fullmatch(key):
            return False
        with self._locked(key):
            found = self._read(key)
            if found is not None and if_version is not None and found[0] != if_version:
                raise VersionConflict("the entry was changed")
            self._remove(key)
            self._sync_directory()
            return found is not None

    renames_in_steps = True
    """There is a moment with both files."""

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None = None,
    ) -> Version:
        """Move an entry to a new key; see `Renames`. Raises `VersionConflict`.

        No other writer sees a state in between. A crash may leave both files, which loses nothing: nobody was told the
        new id.
        """
        with self._locked(old, new):
            self._require(old, if_version)
            self._require(new, None)
            version = self._write(new, data, expires_at, subject)  # on the disk before the old one goes
            if tombstone is None:
                self._remove(old)
                self._sync_directory()
            else:
                self._bury(old, tombstone.data, tombstone.expires_at)
            return version

    def find(self, subject: str) -> list[str]:
        """The keys of the subject's entries. Reads every file: for now and then, not for every request."""
        found, seen = [], set[str]()
        with _translated():
            # A session that changes its id between the listing and the look is in the next listing, under its new key.
            for _ in range(_LISTINGS):
                new = [key for key in self._keys() if key not in seen]
                seen.update(new)
                for key in new:
                    content = self._load(key)[1]
                    if content is not None and content.subject == subject:
                        found.append(key)
                if not new:
                    break
        return found

    def count(self, subject: str | None = None) -> int:
        """How many entries there are, or how many of the subject's; see `Counts`. Reads every file, as `find` does."""
        with _translated():
            contents = [self._load(key)[1] for key in self._keys()]
        live = [content for content in contents if content is not None and content.expires_at > time.time()]
        return sum(1 for content in live if subject is None or content.subject == subject)

    def sweep(self, now: float, progress: Progress | None = None) -> int:
        """Delete the files that expired at `now`, and what a crash left behind; returns how many sessions went.

        A damaged file stays, for somebody to look at. `progress` as in `Sweeps`: of the files that were looked at.
        """
        swept = 0
        ended = self._keys(suffix=self._layout.ended_suffix) if self._layout.ended_suffix else ()
        keys = {*self._keys(), *ended}
        for looked_at, key in enumerate(keys, 1):
            with _translated():
                content = self._load(key)[1]
            if content is not None and content.expires_at <= now:
                swept += self._sweep(key, now)
            if progress is not None:
                progress(looked_at, len(keys))
        for key in self._keys(prefix=".", suffix=".tmp"):
            with self._locked(key):  # whoever holds the lock is the only writer: this is not being written
                self._temporary(key).unlink(missing_ok=True)
        return swept

    def close(self) -> None:
        """Nothing is held open."""

    def _sweep(self, key: str, now: float) -> int:
        with self._locked(key):
            content = self._load(key)[1]  # it may have been written again meanwhile
            if content is None or content.expires_at > now:
                return 0
            self._remove(key)
            return 1

    def _keys(self, prefix: str = "", suffix: str = "") -> Iterator[str]:
        suffix = suffix or self._layout.suffix
        with _translated(), os.scandir(self._directory) as files:
            names = [file.name for file in files]
        for name in names:
            key = name.removeprefix(prefix).removesuffix(suffix)
            if name == f"{prefix}{key}{suffix}" and self._layout.key_pattern.fullmatch(key):
                yield key

    def _require(self, key: str, version: Version | None) -> None:
        found = self._read(key)
        if (None if found is None else found[0]) != version:
            raise VersionConflict("the entry exists already" if version is None else "the entry was changed or is gone")

    def _read(self, key: str) -> tuple[str, Content | None] | None:
        """Version and content of the entry, which is None where the file is damaged; None where there is no entry."""
        if not self._layout.key_pattern.fullmatch(key):
            return None
        version, content = self._load(key)
        if not version or (content is not None and content.expires_at <= time.time()):
            return None
        return version, content

    def _load(self, key: str) -> tuple[str, Content | None]:
        """Version and content of the file, expired or not. The version is "" where there is no file."""
        if self._layout.ended_suffix and (ended := self._read_file(self._ended(key))) is not None:
            # It holds for as long as it is there: a slow request of Dancer's may have written the session once more.
            buried = ended[0]
            return self._decode(self._ended(key), buried, lambda: _TOMBSTONES.decode(buried))
        path = self._path(key)
        found = self._read_file(path)
        if found is None:
            if not self._locks.is_dir():
                # The whole directory is gone, or not mounted: that is not "no such session".
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return "", None
        raw, modified = found
        return self._decode(path, raw, lambda: self._layout.decode(raw, key, modified))

    def _decode(self, path: Path, raw: bytes, decode: Callable[[], Content]) -> tuple[str, Content | None]:
        # A digest of the whole file, so that an edit by hand is a new version, and a damaged file has one. The random
        # version inside sees to it that no version comes back.
        version = hashlib.blake2b(raw, digest_size=16).hexdigest()
        try:
            return version, decode()
        except Damaged:
            # A name in Dancer's layouts is a login: it does not go to the log.
            name = path.name if self._layout.ids is None else "of a session of Dancer"
            _log.warning("the session file %s is damaged: its session is treated as unreadable", name)
            return version, None

    def _read_file(self, path: Path) -> tuple[bytes, int] | None:
        """Bytes and time of the last write, in Unix seconds; None where there is no file."""
        deadline = time.monotonic() + _BEING_WRITTEN
        while True:
            try:
                with path.open("rb") as file:
                    found = self._read_open(file)
            except FileNotFoundError:
                return None
            if found[0] or not self._layout.shared or time.monotonic() >= deadline:
                return found
            time.sleep(0.001)  # Dancer2 empties a file first, and locks it then

    def _read_open(self, file: BinaryIO) -> tuple[bytes, int]:
        if self._layout.shared:
            self._wait_for(file.fileno(), fcntl.LOCK_SH)
        return file.read(), int(os.fstat(file.fileno()).st_mtime)

    def _write(self, key: str, data: bytes, expires_at: int, subject: str | None) -> str:
        raw = self._layout.encode(Content(data, expires_at, subject, new_version_bytes().hex()), key)
        version = self._replace(self._path(key), self._temporary(key), raw)
        if self._layout.ended_suffix:
            self._ended(key).unlink(missing_ok=True)
        return version

    def _bury(self, key: str, data: bytes, expires_at: int) -> str:
        """Leave a tombstone; where other programs read the session's file, in a file beside, which they do not."""
        if not self._layout.ended_suffix:
            return self._write(key, data, expires_at, None)
        raw = _TOMBSTONES.encode(Content(data, expires_at, None, new_version_bytes().hex()))
        version = self._replace(self._ended(key), self._temporary(key), raw)
        self._path(key).unlink(missing_ok=True)
        self._sync_directory()
        return version

    def _replace(self, path: Path, temporary: Path, raw: bytes) -> str:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            try:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(
                    missing_ok=True
                )  # the disk may be full: a saved session less, and a file more each time
                raise
        self._sync_directory()
        return hashlib.blake2b(raw, digest_size=16).hexdigest()

    def _remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)
        if self._layout.ended_suffix:  # last: it keeps away what is still in the other one
            self._ended(key).unlink(missing_ok=True)

    def _sync_directory(self) -> None:
        # A move or removal is on the disk only when the directory is.
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}{self._layout.suffix}"

    def _ended(self, key: str) -> Path:
        return self._directory / f"{key}{self._layout.ended_suffix}"

    def _temporary(self, key: str) -> Path:
        return self._directory / f".{key}.tmp"

    @contextmanager
    def _locked(self, *keys: str) -> Iterator[None]:
        """Hold the locks of the keys; in one order for all, so that two renames cannot deadlock."""
        if not all(map(self._layout.key_pattern.fullmatch, keys)):
            message = f"a key of this FileStore is {self._layout.key_rule}"
            raise StoreError(message)
        shards = sorted({hashlib.blake2b(key.encode(), digest_size=1).hexdigest() for key in keys})
        with _translated(), ExitStack() as stack:
            for shard in shards:
                descriptor = os.open(self._locks / shard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, descriptor)  # which unlocks
                self._wait_for(descriptor)
            yield

    def _wait_for(self, descriptor: int, kind: int = fcntl.LOCK_EX) -> None:
        deadline = time.monotonic() + self._lock_timeout
        pause = 0.0005
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, "the lock of the session is held by another process")
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def _make_directories(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._locks.mkdir(mode=0o700, exist_ok=True)
            mode = self._directory.stat().st_mode
        except (OSError, ValueError) as error:  # ValueError: a NUL in its name
            problem = error.strerror if isinstance(error, OSError) else error
            message = f"directory is {str(self._directory)!r}, and sessions cannot be kept there: {problem}"
            raise ConfigError(message) from error
        if mode & 0o022:
            _log.warning(
                "FileStore: others than its owner can write to %s, and so can impersonate every user; chmod it to 0700",
                self._directory,
            )


def _layout(
    layout: str | SharedFile, file_format: str, subject: Callable[[dict[str, Any]], str | None] | None
) -> Layout:
    if isinstance(layout, SharedFile):
        if subject is not None or file_format != "json":
            raise ConfigError("format= and subject= are for layouts that have a name; give them to the layout itself")
        return SharedFiles(layout)
    if layout not in _LAYOUTS:
        message = f"layout is {layout!r}; it must be one of {', '.join(map(repr, _LAYOUTS))}"
        raise ConfigError(message)
    if layout == "hardtack":
        if subject is not None:
            raise ConfigError(
                "subject= is for the layouts 'dancer2' and 'dancer'; hardtack's own files say it themselves"
            )
        return HardtackLayout(file_format)
    return DancerLayout(file_format, subject) if layout == "dancer" else Dancer2Layout(file_format, subject)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the directory of the sessions cannot be used: {error.strerror}"
        raise (StoreFull if is_full_disk(error) else StoreUnavailable)(message) from error

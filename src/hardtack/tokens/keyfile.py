"""A key file: read with care, written whole or not at all, and the ring that follows it while it changes."""

from __future__ import annotations

import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple
from weakref import WeakMethod

from hardtack import _toml
from hardtack._settings import fail
from hardtack.errors import ConfigError
from hardtack.events import KeysStale
from hardtack.lifetime import seconds
from hardtack.tokens import schedule as schedules
from hardtack.tokens.keys import Key, Keyring
from hardtack.tokens.schedule import Schedule

logger = logging.getLogger("hardtack")

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

MAX_SIZE: Final = 1 << 20
"""Bytes of a key file at most."""

Signature = tuple[int, int, int]
"""Inode, time of change in nanoseconds, and size: what tells one state of a file from another."""


def read(
    path: Path, known: Iterable[Key] = (), *, owner: int | None = None, any_owner: bool = False
) -> tuple[Schedule, os.stat_result]:
    """What a key file says now, and the file's state. Raises `ConfigError` where it cannot be read, or others may write it.

    `owner`: the user id of one whose it may be besides. `any_owner`: for commands, by which root tends the file of the user
    that a site runs as.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            found = os.fstat(file.fileno())
            _check_file(path, found, owner, any_owner=any_owner)
            _check_folders(path)
            text = file.read(MAX_SIZE).decode()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    else:
        return parse(path, text, known), found
    return fail(str(path), problem)


def parse(path: Path, text: str, known: Iterable[Key] = ()) -> Schedule:
    """What the text of a key file says. Raises `ConfigError`."""
    return schedules.read(_toml.parse(path, text), str(path), known)


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe in the file's place would hold the request until somebody writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # which Windows has not


def _signature(found: os.stat_result) -> Signature:
    return found.st_ino, found.st_mtime_ns, found.st_size


# Another user who could put keys of his own in would be whoever he likes to be. Elsewhere than on POSIX the mode says nothing.


def _check_file(path: Path, found: os.stat_result, owner: int | None, *, any_owner: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        fail(str(path), "is not a file")
    if os.name != "posix":  # pragma: no cover
        return
    if not any_owner and found.st_uid not in (0, os.geteuid(), owner):
        fail(
            str(path),
            f"belongs to another user (uid {found.st_uid}), who could then forge every session; chown it to root, or to the "
            "user that this process runs as",
        )
    if found.st_mode & _WRITABLE_BY_OTHERS:
        fail(str(path), "may be written by other users, who could then forge every session; chmod 600")


def _check_folders(path: Path) -> None:
    if os.name != "posix":  # pragma: no cover
        return
    for folder in dict.fromkeys((*path.absolute().parents, *path.resolve().parents)):
        nearest = folder in (path.absolute().parent, path.resolve().parent)
        _check_folder(
            path, folder, _WRITABLE_BY_OTHERS if nearest else stat.S_IWOTH
        )  # /usr/local is often the group staff's


def _check_folder(path: Path, folder: Path, forbidden: int) -> None:
    mode = folder.stat().st_mode
    if mode & forbidden and not mode & stat.S_ISVTX:  # in a sticky one nobody renames the files of others
        fail(str(path), f"is in {folder}, where other users may put another file in its place; chmod go-w {folder}")


# --- The ring that follows the file


class _State(NamedTuple):
    """What is known of the file, replaced as a whole: threads see one state or the next."""

    schedule: Schedule
    signature: Signature
    ring: Keyring
    looked_at: float
    problem: str | None = None


class FileKeyring(Keyring):
    """The keys of a file at the moment of asking; see `Keyring.from_file`.

    Each question is answered from one snapshot. There is no lock: a thread that looks at the file marks that first, so that the
    others go on with what there is, and a fork at any moment leaves nothing behind.
    """

    __slots__ = ("_listeners", "_needed", "_owner", "_path", "_reload", "_state")

    _path: Path
    _owner: int
    _reload: int
    _state: _State
    _needed: int
    _listeners: list[WeakMethod[Callable[..., object]]]

    def __init__(self, path: str | os.PathLike[str], reload: str | int | timedelta = "10 seconds") -> None:
        file = Path(path)
        self._set(_path=file, _reload=seconds(reload, "reload"), _needed=0, _listeners=[])
        now = time.time()
        # Into a container, whose processes are root, files are mounted as some user's of the host. Who owns the file at the
        # start knows its keys, as those do who may read it, and that is a warning too; nobody else's takes its place later.
        root = os.name == "posix" and os.geteuid() == 0
        schedule, found = read(file, any_owner=root)
        self._set(_state=_State(schedule, _signature(found), schedule.ring(now), now), _owner=found.st_uid)
        if found.st_mode & stat.S_IROTH:
            logger.warning("%s may be read by every user of this machine: each could forge sessions", file)
        if root and found.st_uid != 0:
            logger.warning("%s belongs to another user (uid %d), who could forge sessions", file, found.st_uid)

    def _set(self, **attributes: object) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    @property
    def lifetime(self) -> int:
        """Seconds that a session may live at most."""
        return self._state.schedule.lifetime

    @property
    def problem(self) -> str | None:
        """Why the file could not be read when it was last looked at; None: it could."""
        return self._state.problem

    def on_stale(self, emit: Callable[..., object]) -> None:
        """Have a method called as `emit(KeysStale, file, problem)` when the file cannot be read any more, instead of the log.

        Once for each problem, not each time that the file is looked at. The method's object is held weakly: a ring may be
        that of several managers, and outlive them.
        """
        if emit not in [known() for known in self._listeners]:
            self._listeners.append(WeakMethod(emit, self._listeners.remove))

    def check_lifetime(self, lifetime: int) -> None:
        """Raise `ConfigError` where the file drops keys before sessions of this many seconds have run out.

        From then on no file is taken that does.
        """
        _check_lifetime(self._path, self._state.schedule, lifetime)
        self._set(_needed=max(self._needed, lifetime))

    # --- What a ring answers

    def snapshot(self) -> Keyring:
        """The keys of now, which do not change."""
        state = self._state
        now = time.time()
        if not state.looked_at <= now < state.looked_at + self._reload:  # also where the clock was put back
            self._look(state, now)
        return self._state.ring

    @property
    def current(self) -> Key:  # type: ignore[override]
        """The key that issues now."""
        return self.snapshot().current

    def get(self, key_id: bytes) -> Key | None:
        """The key with this id, or None."""
        return self.snapshot().get(key_id)

    def finder(self) -> Callable[[bytes], Key | None]:
        """`get`: the file may change."""
        return self.get

    def __iter__(self) -> Iterator[Key]:
        return iter(self.snapshot())

    def __len__(self) -> int:
        return len(self.snapshot())

    def __repr__(self) -> str:
        return f"<Keyring of {self._path}: {self.snapshot()!r}>"

    # --- Looking at the file

    def _look(self, state: _State, now: float) -> None:
        self._set(_state=state._replace(looked_at=now))
        schedule, signature, problem = state.schedule, state.signature, None
        try:
            if state.problem is not None or _signature(self._path.stat()) != signature:
                schedule, found = read(self._path, [each.key for each in schedule.entries], owner=self._owner)
                signature = _signature(found)
                _check_lifetime(self._path, schedule, self._needed)
        except (ConfigError, OSError) as error:
            schedule, signature = state.schedule, state.signature
            problem = str(error) if isinstance(error, ConfigError) else f"{self._path} cannot be read: {error.strerror}"
        ring = schedule.ring(now)
        if ring.current is state.ring.current and set(ring) == set(state.ring):
            ring = state.ring
        self._set(_state=_State(schedule, signature, ring, now, problem))
        self._tell(state.problem, problem)

    def _tell(self, before: str | None, problem: str | None) -> None:
        if problem is not None and problem != before:
            event = KeysStale(str(self._path), problem)
            listeners = [emit for emit in (known() for known in tuple(self._listeners)) if emit is not None]
            for emit in listeners:
                emit(type(event), event.file, event.problem)
            if not listeners:
                logger.log(event.severity, "%s", event)
        elif problem is None and before is not None:
            logger.info("the session keys of %s were read again", self._path)


def _check_lifetime(path: Path, schedule: Schedule, lifetime: int) -> None:
    if lifetime > schedule.lifetime:
        fail(
            f"lifetime of {path}",
            f"is {schedule.lifetime} seconds, and the sessions of this manager live {lifetime}: their key would be dropped "
            "before they end; write the longer one into the file, and wait that long before you drop a key",
        )


# --- Writing


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a key file against other commands. It is that of its folder, so that no lock file is left behind."""
    import fcntl

    descriptor = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which unlocks


def write(path: Path, schedule: Schedule, *, new: bool = False) -> None:
    """Put a schedule into the file: a reader sees the file before or after, whole. Owner and mode stay; `new`: 0600.

    Raises `OSError`; of a `new` file, `FileExistsError` where there is one, and `ConfigError` where its folder is not safe.
    """
    target = path.resolve()
    if new:
        if target.exists():
            raise FileExistsError(17, "there is such a file", str(target))
        _check_folders(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            if not new:
                _take_owner(descriptor, target.stat())
            file.write(schedules.render(schedule))
            file.flush()
            os.fsync(descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _take_owner(descriptor: int, before: os.stat_result) -> None:
    with suppress(PermissionError):  # not root, and the file is another's: it then becomes ours
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

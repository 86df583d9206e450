"""AuditLog: who was logged in when, from where, and what ended it: one JSON line for each event, only ever appended.

It listens to a manager's events: `SessionManager(…, on_event=AuditLog("/var/log/shop/sessions.jsonl"))`. `hardtack audit`
reads it. ASVS 5.0 16.3.1.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from hardtack.errors import ConfigError
from hardtack.events import Confirmed, CrossSite, Event, Expired, IdChanged, LoggedIn, LoggedOut, TakenOver
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Store, store_traits
from hardtack.settings import size

KEPT: Final[tuple[type[Event], ...]] = (LoggedIn, LoggedOut, Confirmed, IdChanged, Expired, TakenOver, CrossSite)
"""The events that are written."""

SUBJECT: Final = "audit:"
"""What the index of a store finds the lines of a user by: this, and the user."""

_MAX_KEPT_FILES: Final = 1000


class AuditLog:
    """Writes what happens to logins. Give it as `on_event`; `also` gets each event too.

    Safe to use from many threads and processes. Where a line cannot be written, the manager logs the error, and the request
    goes on.

    Args:
        target: a file's path, or a `Store` for sync code that finds by subject.
        max_size: bytes of the file, such as "100 MiB", after which it is renamed to `….1`, `….1` to `….2`, and so on.
        keep: how many renamed files stay.
        retention: how long a store keeps a line; for a store alone.
        also: called with every event, as `on_event` is.
        clock: seconds since 1970.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | Store,
        *,
        max_size: str | int = "100 MiB",
        keep: int = 10,
        retention: Duration = "1 year",
        also: Callable[[Event], object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if type(keep) is not int or not 0 <= keep <= _MAX_KEPT_FILES:
            message = f"AuditLog(keep)={keep!r} must be a number from 0 to {_MAX_KEPT_FILES}"
            raise ConfigError(message)
        self._clock = clock
        self._also = also
        if isinstance(target, str | os.PathLike):
            limit = size(max_size, "AuditLog(max_size)")
            self._write: Callable[[dict[str, Any]], None] = _File(Path(target).absolute(), limit, keep).write
        else:
            self._write = _Stored(target, seconds(retention, "AuditLog(retention)"), clock).write

    def __call__(self, event: Event) -> None:
        """Write an event, if it is one that is kept."""
        try:
            if isinstance(event, KEPT):
                self._write(_line(event, self._clock()))
        finally:
            if self._also is not None:
                self._also(event)


def _line(event: Event, now: float) -> dict[str, Any]:
    moment = dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line: dict[str, Any] = {"time": moment, "event": type(event).__name__}
    line |= {name: getattr(event, name) for name in type(event).fields}
    if event.acting is not None:
        line["actor"], line["subject"] = event.acting
    if isinstance(event, LoggedIn):
        line["until"] = event.until
    request = event.request
    if request is not None:
        told = {"method": request.method, "path": request.path, "client": request.client, "agent": request.user_agent}
        line |= {name: text for name, text in told.items() if text}
    return {name: value for name, value in line.items() if value is not None}


class _File:
    """A file that is renamed when it is full. It is opened for each line: logins are rare, and nothing outlives a fork."""

    def __init__(self, path: Path, max_size: int, keep: int) -> None:
        if not path.parent.is_dir():
            message = f"AuditLog(target)={str(path)!r}: there is no folder {str(path.parent)!r}"
            raise ConfigError(message)
        self._path = path
        self._max_size = max_size
        self._keep = keep

    def write(self, line: dict[str, Any]) -> None:
        """Append a line. Raises `OSError`."""
        text = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "replace")
        with _locked(self._path.with_name(f"{self._path.name}.lock")):
            with suppress(FileNotFoundError):
                if self._path.stat().st_size > self._max_size - len(text):
                    self._rotate()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            with open(os.open(self._path, flags, 0o600), "ab", buffering=0) as file:
                file.write(text)

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1))]
        names[-1].unlink(missing_ok=True)
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect: two that rotate at once would rename a new file away."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows, where one process writes
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _Stored:
    """Lines in a store, each under a key of its own, found by the user."""

    def __init__(self, store: Store, retention: int, clock: Callable[[], float]) -> None:
        traits = store_traits(store)
        if traits.asynchronous or not traits.finds:
            message = (
                f"AuditLog(target) must be a file's path, or a store for sync code that finds by subject, not "
                f"{type(store).__name__}"
            )
            raise ConfigError(message)
        self._store = store
        self._retention = retention
        self._clock = clock

    def write(self, line: dict[str, Any]) -> None:
        """Put a line. Raises `StoreUnavailable`."""
        text = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace")
        expires_at = int(self._clock()) + self._retention
        subject = SUBJECT + line.get("subject", "")
        self._store.put(secrets.token_urlsafe(32), text, expires_at=expires_at, if_version=None, subject=subject)


# --- reading


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log and of its renamed files, oldest first; what is no line of a log is passed over."""
    numbered = sorted(
        (int(each.suffix[1:]), each) for each in path.parent.glob(f"{path.name}.*") if each.suffix[1:].isdecimal()
    )
    for file in (*(each for _, each in reversed(numbered)), path):
        if file.exists():
            with file.open(encoding="utf-8", errors="replace") as lines:
                yield from _parsed(lines)


def read_store(store: Any, subject: str) -> list[dict[str, Any]]:
    """The lines of a user in a store, and those of nobody in particular, oldest first. Raises `StoreUnavailable`."""
    found: list[str] = []
    for index in (SUBJECT + subject, SUBJECT):
        for key in store.find(index):
            entry = store.get(key)
            if entry is not None:
                found.append(entry.data.decode("utf-8", "replace"))
    return sorted(_parsed(found), key=lambda line: str(line["time"]))


def _parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and type(line.get("time")) is str and type(line.get("event")) is str:
            yield line


@dataclass(slots=True)
class Stay:
    """A login and what became of it. `ended` is None while it goes on."""

    id: str
    login: dict[str, Any]
    ended: str | None = None
    cause: str = ""

    def lasted_at(self, moment: dt.datetime) -> bool:
        """Whether the user was logged in then, as far as the log knows: an idle timeout ends a cookie without a word."""
        if moment < _moment(self.login["time"]) or (self.ended is not None and moment >= _moment(self.ended)):
            return False
        until = self.login.get("until")
        return type(until) is not int or moment.timestamp() < until


def stays(lines: Iterable[dict[str, Any]], subject: str | None = None) -> list[Stay]:
    """The logins of a log, by their beginning; of a user, or of one who acted as another, where that is asked for."""
    going: dict[str, Stay] = {}
    found: list[Stay] = []
    for line in lines:
        kind, session = line["event"], str(line.get("id"))
        if kind == "IdChanged" and line.get("old_id") in going:
            stay = going.pop(line["old_id"])
            stay.id = line["new_id"]
            going[stay.id] = stay
        elif kind == "LoggedIn":
            _end(going, session, line, "login")
            stay = going[session] = Stay(session, line)
            found.append(stay)
        elif kind in ("LoggedOut", "Expired"):
            _end(going, session, line, line.get("cause", "expired"))
    return [
        stay for stay in found if subject is None or subject in (stay.login.get("subject"), stay.login.get("actor"))
    ]


def _end(going: dict[str, Stay], session: str, line: dict[str, Any], cause: str) -> None:
    stay = going.pop(session, None)
    if stay is not None:
        stay.ended, stay.cause = line["time"], cause


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)

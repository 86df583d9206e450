"""`hardtack create-table` and `hardtack sweep`: what a store needs done from outside of the application."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import unquote, urlsplit

from hardtack.errors import ConfigError, StoreError
from hardtack.stores import from_url

_SESSION_FILE: Final = re.compile(r"[\w-]{16,}\.(json|ya?ml)", re.ASCII)
_WIDTH: Final = 40


def add_parsers(commands: Any) -> None:
    """Add both commands to the others."""
    create = commands.add_parser("create-table", help="create the table that a store in a database needs")
    create.add_argument("url", metavar="URL", help="the store, such as postgresql+psycopg://app@db/app")
    create.set_defaults(run=_create)

    sweep = commands.add_parser("sweep", help="delete the expired sessions of a store that does not forget by itself")
    sweep.add_argument("url", metavar="URL", help="the store, such as sqlite:////var/lib/shop/sessions.db")
    sweep.set_defaults(run=_sweep)


def _told(run: Callable[[], str]) -> int:
    """Print what a command answers; returns the exit code."""
    try:
        print(run())
    except (ConfigError, ImportError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 2
    except (StoreError, OSError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 1
    return 0


# --- create-table


def _create(arguments: argparse.Namespace) -> int:
    return _told(lambda: asyncio.run(create_table(arguments.url)))


async def create_table(url: str) -> str:
    """Create the store's table where it is not there. An own store: an async one belongs to its event loop."""
    store: Any = from_url(url)
    try:
        create = getattr(store, "create_table", None)
        if create is None:
            return f"{type(store).__name__} needs no table: there is nothing to create"
        await _awaited(create())
    finally:
        await _awaited(store.close())
    return "the table is there"


# --- sweep


def _sweep(arguments: argparse.Namespace) -> int:
    return _told(lambda: _swept(arguments.url))


def _swept(url: str) -> str:
    problem = _no_store(url)
    if problem is not None:
        message = f"{problem}: there is no store to sweep"
        raise OSError(message)
    kind, deleted = asyncio.run(_sweep_and_close(url))
    if deleted is None:
        return f"{kind} forgets expired sessions by itself: there is nothing to sweep"
    return f"deleted {deleted} expired session{'' if deleted == 1 else 's'}"


def _no_store(url: str) -> str | None:
    """Why the file or directory that a URL names is no store. To open it would make one: a misspelt path, swept every night,
    would look as if all were well.
    """
    scheme, _, driver = url.partition(":")[0].lower().partition("+")
    if scheme not in ("file", "sqlite") or "://" not in url:  # the latter is a mistake, of which the store tells
        return None
    path = urlsplit(url).path
    if scheme == "sqlite":
        path = path[1:]
    if driver:
        if path.startswith((":memory:", "file:")):
            return None
    else:
        path = unquote(path)  # SQLAlchemy decodes nothing
    if not Path(path).exists():
        return f"{path} does not exist"
    if scheme == "file" and not _has_sessions(Path(path)):
        return f"{path} has other files and no session"
    return None


def _has_sessions(directory: Path) -> bool:
    """Whether a directory is that of a `FileStore`, or of a Dancer application, or may become it."""
    names = [each.name for each in directory.iterdir()]
    return not names or ".locks" in names or any(map(_SESSION_FILE.fullmatch, names))


async def _sweep_and_close(url: str) -> tuple[str, int | None]:
    """The name of the store, and how many were deleted; None where the store has no `sweep`."""
    store: Any = from_url(url)
    try:
        sweep = getattr(store, "sweep", None)
        if sweep is None:
            return type(store).__name__, None
        bar = _Bar.on(sys.stderr) if "progress" in inspect.signature(sweep).parameters else None
        if bar is None:
            return type(store).__name__, await _awaited(sweep(time.time()))
        try:
            return type(store).__name__, await _awaited(sweep(time.time(), progress=bar.show))
        finally:
            bar.clear()
    finally:
        await _awaited(store.close())


class _Bar:
    """How far a sweep is, on a terminal: one line, written again where it has changed, and gone at the end."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._shown = ""

    @classmethod
    def on(cls, file: TextIO) -> _Bar | None:
        """A bar on a terminal; None where nobody looks: a log of cron's is to have one line."""
        return cls(file) if file.isatty() else None

    def show(self, done: int, total: int) -> None:
        """Draw it. More may expire during the sweep than there were: it is full, then."""
        part = min(done / total, 1.0) if total else 1.0
        full = int(part * _WIDTH)
        line = f"[{'#' * full}{'.' * (_WIDTH - full)}] {int(part * 100):3} %"
        if line != self._shown:
            self._shown = line
            self._terminal.write(f"\r{line}")
            self._terminal.flush()

    def clear(self) -> None:
        """Leave an empty line."""
        self._terminal.write(f"\r{' ' * len(self._shown)}\r")
        self._terminal.flush()


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result

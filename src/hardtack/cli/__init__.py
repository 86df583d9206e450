"""The command line: `hardtack audit`, `demo`, `ended`, `key`, `keys`, `sweep` and `takeover`."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from hardtack import EndedSessions, Key, __version__
from hardtack.cli import audit, ended, keys, takeover
from hardtack.errors import ConfigError, StoreError

_SESSION_FILE: Final = re.compile(r"[\w-]{16,}\.(json|ya?ml)", re.ASCII)

OK: Final = 0
FAILED: Final = 1
"""The command was understood and could not be carried out."""
USAGE: Final = 2
"""The command was wrong, or something that it needs is not installed; also argparse's own exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Argparse itself exits on `--help` and on arguments that it cannot read."""
    arguments = _parser().parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hardtack", description="Web sessions for Python.")
    parser.add_argument("--version", action="version", version=f"hardtack {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="start a small shop that shows what becomes of its visitors' sessions")
    demo.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    demo.add_argument("--port", type=_port, default=8000, help="0: any free one (default: %(default)s)")
    demo.add_argument(
        "--store", metavar="URL", help="keep the sessions in a store, such as memory:// (default: in the cookie)"
    )
    demo.add_argument("--ended", metavar="URL", help="keep a list of ended sessions, such as memory:// (default: none)")
    demo.set_defaults(run=_demo)

    key = commands.add_parser("key", help="print a new random key, to be kept with the application's other secrets")
    key.set_defaults(run=_key)

    keys.add_commands(commands)

    sweep = commands.add_parser("sweep", help="delete the expired sessions of a store that does not forget by itself")
    sweep.add_argument("url", metavar="URL", help="the store, such as sqlite:////var/lib/shop/sessions.db")
    sweep.set_defaults(run=_sweep)

    ended.add_parser(commands)
    takeover.add_parser(commands)
    audit.add_parser(commands)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _complain(problem: object, code: int) -> int:
    print(f"hardtack: {problem}", file=sys.stderr)
    return code


def _key(arguments: argparse.Namespace) -> int:
    print(Key.generate().export())
    return OK


def _demo(arguments: argparse.Namespace) -> int:
    try:
        from hardtack.cli.demo.server import serve

        store = ended_sessions = None
        if arguments.store:
            asyncio.run(_create_table(arguments.store))
            store = _open_store(arguments.store)
        if arguments.ended:
            # A key of its own: those of the demo's cookies change while it runs.
            ended_sessions = EndedSessions.from_url(arguments.ended, Key.generate())
    except (ConfigError, ImportError) as error:
        return _complain(error, USAGE)
    except (StoreError, OSError) as error:
        return _complain(error, FAILED)
    try:
        serve(arguments.host, arguments.port, store, ended_sessions)
    except OSError as error:
        return _complain(_cannot_listen(arguments, error), FAILED)
    return OK


async def _create_table(url: str) -> None:
    """Where the store is a table that somebody has to create. An own store: an async one belongs to its event loop."""
    store = _open_store(url)
    try:
        create_table = getattr(store, "create_table", None)
        if create_table is not None:
            await _awaited(create_table())
    finally:
        await _awaited(store.close())


def _cannot_listen(arguments: argparse.Namespace, error: OSError) -> str:
    problem = f"cannot listen on {arguments.host} port {arguments.port}: {error.strerror or error}"
    return f"{problem}; try another one, or --port 0 for any that is free"


def _sweep(arguments: argparse.Namespace) -> int:
    try:
        problem = _no_store(arguments.url)
        if problem is not None:
            return _complain(f"{problem}: there is no store to sweep", FAILED)
        kind, deleted = asyncio.run(_sweep_and_close(arguments.url))
    except (ConfigError, ImportError) as error:
        return _complain(error, USAGE)
    except (StoreError, OSError) as error:
        return _complain(error, FAILED)
    if deleted is None:
        print(f"{kind} forgets expired sessions by itself: there is nothing to sweep")
    else:
        print(f"deleted {deleted} expired session{'' if deleted == 1 else 's'}")
    return OK


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


def _open_store(url: str) -> Any:
    from hardtack.stores import from_url

    return from_url(url)


async def _sweep_and_close(url: str) -> tuple[str, int | None]:
    """The name of the store, and how many were deleted; None where the store has no `sweep`."""
    store = _open_store(url)
    try:
        sweep = getattr(store, "sweep", None)
        return type(store).__name__, None if sweep is None else await _awaited(sweep(time.time()))
    finally:
        await _awaited(store.close())


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result

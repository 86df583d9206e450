"""The command line `hardtack`: what each of its commands does is in a module of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from hardtack import EndedSessions, Key, __version__
from hardtack.cli import audit, doctor, ended, inspection, keys, stores, takeover
from hardtack.errors import ConfigError, StoreError
from hardtack.stores import from_url

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

    stores.add_parsers(commands)
    ended.add_parser(commands)
    takeover.add_parser(commands)
    inspection.add_parser(commands)
    doctor.add_parser(commands)
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
            asyncio.run(stores.create_table(arguments.store))
            store = from_url(arguments.store)
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


def _cannot_listen(arguments: argparse.Namespace, error: OSError) -> str:
    problem = f"cannot listen on {arguments.host} port {arguments.port}: {error.strerror or error}"
    return f"{problem}; try another one, or --port 0 for any that is free"

"""`hardtack keys`: makes key files and rotates their keys, never a step too early."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardtack import Key
from hardtack.errors import ConfigError
from hardtack.lifetime import seconds
from hardtack.tokens import keyfile, schedule
from hardtack.tokens.schedule import Entry, Schedule, written

Step = Callable[[Schedule, int], tuple[Schedule, list[str]]]


def add_commands(commands: Any) -> None:
    """Add `keys` and its own commands to the parser."""
    keys = commands.add_parser("keys", help="make a file of keys, and rotate them")
    steps = keys.add_subparsers(title="commands", required=True, metavar="COMMAND")

    init = _command(steps, "init", _init, "make a key file, with one key that issues")
    init.add_argument("--lifetime", default="14 days", help="of the longest sessions (default: %(default)s)")
    init.add_argument(
        "--spread", default=schedule.SPREAD, help="within it every process has a change (default: %(default)s)"
    )
    init.add_argument(
        "--stdin", action="store_true", help="read the key from standard input, in the place of a new one"
    )

    _command(steps, "list", _list, "show the keys' ids, states and dates")

    add = _command(steps, "add", _add, "accept a further key, which does not issue yet")
    add.add_argument("--stdin", action="store_true", help="read the key from standard input, in the place of a new one")

    issue = _command(steps, "issue", _issue, "let a key issue, as soon as every process surely accepts it")
    issue.add_argument("id", metavar="ID", help="the key's id, as `list` shows it")
    issue.add_argument("--now", action="store_true", help="at once: who meets a process without the key is logged out")

    drop = _command(steps, "drop", _drop, "remove a key that no session needs any more")
    drop.add_argument("id", metavar="ID", help="the key's id, as `list` shows it")
    drop.add_argument("--now", action="store_true", help="at once, for a key that leaked: its sessions end")

    rotate = _command(steps, "rotate", _rotate, "for cron: take the steps of a rotation that are due")
    rotate.add_argument("--every", required=True, help="how long a key issues, such as 30d")


def _command(steps: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> Any:
    parser = steps.add_parser(name, help=text)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.set_defaults(run=lambda arguments: _run(run, arguments))
    return parser


def _run(run: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """The exit code: 0, or 1 where the command could not be carried out and nothing was changed."""
    try:
        run(arguments)
    except ConfigError as error:
        print(f"hardtack: {error}", file=sys.stderr)
    except OSError as error:
        print(f"hardtack: {arguments.file}: {error.strerror}", file=sys.stderr)
    else:
        return 0
    return 1


def _init(arguments: argparse.Namespace) -> None:
    lifetime = schedule.duration(arguments.lifetime, "--lifetime")
    spread = schedule.duration(arguments.spread, "--spread")
    first = schedule.begun(_key(arguments), lifetime, spread, int(time.time()))
    with keyfile.locked(arguments.file):
        keyfile.write(arguments.file, first, new=True)
    print(f"{first.entries[0].key.id.hex()} issues")


def _list(arguments: argparse.Namespace) -> None:
    found, _ = keyfile.read(arguments.file, any_owner=True)
    now = time.time()
    for each in found.entries:
        print(f"{each.key.id.hex()}  {_state(found, each, now)}  (added {written(each.added)})")


def _state(found: Schedule, entry: Entry, now: float) -> str:
    if entry is found.current(now):
        return "issues"
    if schedule.is_over(entry, now):
        return "is dropped"
    if entry.accepted_until is not None:
        return f"is accepted until {written(entry.accepted_until)}"
    return "is accepted" if entry.issues_from is None else f"is accepted, and issues from {written(entry.issues_from)}"


def _add(arguments: argparse.Namespace) -> None:
    key = _key(arguments)
    _change(arguments.file, lambda found, now: (found.adding(key, now), [f"{key.id.hex()} is accepted"]))


def _issue(arguments: argparse.Namespace) -> None:
    def step(found: Schedule, now: int) -> tuple[Schedule, list[str]]:
        changed = found.issuing(found.find(arguments.id), now, at_once=arguments.now)
        entry = changed.find(arguments.id)
        return changed, [f"{entry.key.id.hex()} {_state(changed, entry, now)}"]

    _change(arguments.file, step)


def _drop(arguments: argparse.Namespace) -> None:
    def step(found: Schedule, now: int) -> tuple[Schedule, list[str]]:
        entry = found.find(arguments.id)
        return found.dropping(entry, now, at_once=arguments.now), [f"{entry.key.id.hex()} is dropped"]

    _change(arguments.file, step)


def _rotate(arguments: argparse.Namespace) -> None:
    every = seconds(arguments.every, "--every")
    _change(arguments.file, lambda found, now: found.rotated(every, now))


def _change(file: Path, step: Step) -> None:
    with keyfile.locked(file):
        found, _ = keyfile.read(file, any_owner=True)
        changed, told = step(found, int(time.time()))
        if changed != found:
            keyfile.write(file, changed)
    for line in told:
        print(line)


def _key(arguments: argparse.Namespace) -> Key:
    return Key.parse(sys.stdin.readline().strip()) if arguments.stdin else Key.generate()

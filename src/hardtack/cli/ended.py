"""`hardtack ended`: look at a list of ended sessions, create it, and end a user's sessions or everybody's."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from hardtack import Key, Keyring
from hardtack.ended import EndedSessions
from hardtack.ended.channels import check_url, open_channel
from hardtack.errors import ConfigError, StoreError, StoreUnavailable

VARIABLE: Final = "HARDTACK_KEY"


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    ended = commands.add_parser("ended", help="look at a list of ended sessions, create it, or end sessions by it")
    ended.add_argument("url", metavar="URL", help="the channel, such as redis://localhost:6379/0")
    ended.add_argument("--purpose", default="", help="the purpose of the manager, if it has one")
    ended.add_argument("--create", action="store_true", help="create it: once, before the first deploy")
    ended.add_argument("--subject", metavar="NAME", help="end all sessions of this user")
    ended.add_argument("--all", action="store_true", help="end everybody's sessions")
    ended.add_argument("--key", metavar="KEY", help=f"the key of the list; better by {VARIABLE} or --key-file")
    ended.add_argument("--key-file", metavar="FILE", type=Path, help="a file that has the key")
    ended.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code of `hardtack`."""
    try:
        print("\n".join(_run(arguments)))
    except (ConfigError, ImportError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 2
    except (StoreError, OSError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> list[str]:
    """Do what was asked for, and return what to print."""
    check_url(arguments.url)
    if not (arguments.create or arguments.all or arguments.subject is not None):
        return _describe(arguments.url, arguments.purpose)
    ended = EndedSessions.from_url(arguments.url, key=_keys(arguments))
    ended.bind(None, arguments.purpose, None, None)
    try:
        return _change(ended, arguments)
    finally:
        ended.close()


def _change(ended: EndedSessions, arguments: argparse.Namespace) -> list[str]:
    lines = []
    if arguments.create:
        lines.append("created" if ended.create() else "it was created before: nothing is changed")
    if arguments.subject is not None:
        ended.end_subject(arguments.subject)
        lines.append(f"all sessions of {arguments.subject!r} have ended")
    if arguments.all:
        ended.end_everything()
        lines.append("everybody's sessions have ended")
    return lines


def _keys(arguments: argparse.Namespace) -> Keyring:
    text = arguments.key
    if text is None and arguments.key_file is not None:
        text = arguments.key_file.read_text(encoding="utf-8")
    if text is None:
        text = os.environ.get(VARIABLE)
    if text is None:
        message = f"this needs the key of the list: {VARIABLE}, --key-file or --key"
        raise ConfigError(message)
    return Keyring(Key.parse(text.strip()))


def _describe(url: str, purpose: str) -> list[str]:
    """How many entries there are, and how old, by what they say themselves: without the key nothing can be verified."""
    channel = open_channel(url, purpose)
    began = time.monotonic()
    entries: list[bytes] = []
    try:
        batch = channel.read("", 0)
        entries += batch.entries
        while not batch.complete:
            batch = channel.read(batch.position, 0)
            entries += batch.entries
    finally:
        channel.close()
    took = time.monotonic() - began
    if batch.origin is None:
        raise StoreUnavailable(
            "it has no identity: it was lost, or never created; create it by: hardtack ended URL --create"
        )
    kinds = Counter(raw[1:2] for raw in entries)
    lines = [
        f"{len(entries)} entries: {kinds[b's']} of sessions, {kinds[b'u']} of users, {kinds[b'p']} of providers, "
        f"{kinds[b'a']} of all"
    ]
    ages = sorted(batch.now - int.from_bytes(raw[7:15], "big") for raw in entries if len(raw) > 15)
    if ages:
        lines.append(f"the oldest is {ages[-1] / 1e6:.0f} s old, the newest {ages[0] / 1e6:.0f} s")
    ahead = batch.now / 1e6 - time.time()
    lines.append(f"read to the end in {took:.3f} s")
    lines.append(f"the channel's clock is {abs(ahead):.1f} s {'behind' if ahead < 0 else 'ahead of'} this machine's")
    return lines

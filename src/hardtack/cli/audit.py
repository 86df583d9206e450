"""`hardtack audit`: who was logged in when, from the log that `hardtack.audit.AuditLog` writes."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hardtack.audit import Stay, read_file, read_store, stays
from hardtack.errors import ConfigError, StoreError
from hardtack.stores import from_url


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "audit", help="show from an audit log who logged in, and who was logged in at a moment"
    )
    parser.add_argument("log", metavar="FILE", help="the log, or the URL of the store that has it")
    parser.add_argument("--subject", help="of one user, or of one who acted as another")
    parser.add_argument(
        "--at",
        type=_moment,
        metavar="TIME",
        help="who was logged in then, such as 2026-11-24T09:00 (UTC, or with an offset)",
    )
    parser.add_argument("--events", action="store_true", help="every line of the log, in place of the logins")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for another program")
    parser.set_defaults(run=_run)


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a time such as 2026-11-24T09:00 or 2026-11-24T09:00+01:00"
        raise argparse.ArgumentTypeError(message) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def _run(arguments: argparse.Namespace) -> int:
    """The exit code: 0, 1 where the log cannot be read, 2 for wrong arguments."""
    try:
        lines = _lines(arguments)
        if arguments.events:
            for line in lines:
                if arguments.subject in (None, line.get("subject"), line.get("actor")):
                    print(json.dumps(line, ensure_ascii=True))
            return 0
        found = stays(lines, arguments.subject)
    except (ConfigError, ImportError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 2
    except (OSError, StoreError) as error:
        print(f"hardtack: the log cannot be read: {error}", file=sys.stderr)
        return 1
    if arguments.at is not None:
        found = [stay for stay in found if stay.lasted_at(arguments.at)]
    _show(found, as_json=arguments.json)
    return 0


def _lines(arguments: argparse.Namespace) -> Iterable[dict[str, Any]]:
    if "://" not in arguments.log:
        path = Path(arguments.log)
        if not path.exists():
            message = f"there is no file {arguments.log!r}"
            raise OSError(message)
        return read_file(path)
    if arguments.subject is None:
        raise ConfigError("a log in a store is found by its users: name one with --subject")
    store: Any = from_url(arguments.log)
    try:
        return read_store(store, arguments.subject)
    finally:
        store.close()


def _show(found: Iterable[Stay], *, as_json: bool) -> None:
    for stay in found:
        login = stay.login
        if as_json:
            print(json.dumps({**login, "id": stay.id, "ended": stay.ended, "cause": stay.cause or None}))
            continue
        who = login.get("subject", "")
        acting = f", as whom {login['actor']} acted," if login.get("actor") else ""
        device = ", on a new device," if login.get("known_device") is False else ""
        where = " ".join(_quoted(login[name]) for name in ("label", "client", "agent") if login.get(name))
        end = f"until {stay.ended} ({stay.cause})" if stay.ended is not None else _open_end(login)
        print(f"{login['time']} {end}: {_quoted(who)}{acting}{device} {where}".rstrip())


def _open_end(login: dict[str, Any]) -> str:
    until = login.get("until")
    if type(until) is not int:
        return "with no end in the log"
    return f"until {dt.datetime.fromtimestamp(until, dt.UTC):%Y-%m-%dT%H:%M:%SZ} at the latest"


def _quoted(text: object) -> str:
    """A client chose it: no escape sequence of it may reach the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))

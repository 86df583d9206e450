"""`hardtack takeover`: find out which system a cookie is of, show its session, and how it is taken over."""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hardtack.cli.shown import kind, moment
from hardtack.cli.takeover_attempts import Attempt, attempts, is_chunk
from hardtack.cookies import COOKIE_NAME
from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign.base import ForeignCookie
from hardtack.protocols import Context
from hardtack.record import Record

_DAYS_TO_READ = 90

_AUTHENTIC = ("expired", "undated", "unsafe", "wrong_purpose", "future")
"""Reasons of a cookie whose MAC was right."""

_TIMES = ("expired", "future")
"""Those of them that say which system it is of."""

_REASONS = {
    "tampered": "the signature, or the tag, is not of this secret",
    "unknown_key": "it was sealed with another key",
    "expired": "it is authentic, and has ended",
    "future": "it is authentic, and says that it begins later than now; look at the clocks",
}


class Refused(NamedTuple):
    """An attempt that did not open the cookie, and why, for a reader."""

    attempt: Attempt
    reason: str
    why: str


def add_parser(commands: Any) -> None:
    """Add the command to the others."""
    parser = commands.add_parser(
        "takeover",
        help="find out which system's session a cookie is, and how to take it over",
        description="Tries what the cookie's shape allows, with the secret of the other system.",
    )
    parser.add_argument(
        "cookie", metavar="COOKIE", help="NAME=VALUE; several as in a Cookie header; - reads them from stdin"
    )
    parser.add_argument("--secret-file", required=True, metavar="FILE", help="a file with the other system's secret")
    parser.add_argument("--name", help="which of several cookies it is (default: the first)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the other system, such as signing_salt=…; @FILE reads the value there; may be repeated",
    )
    parser.add_argument(
        "--show", action="store_true", help="show the values of the session as well, not only their types"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    try:
        cookies = parse_cookies(sys.stdin.read() if arguments.cookie == "-" else arguments.cookie)
        options, sources = _options(arguments.option)
        secret = Path(arguments.secret_file).read_bytes()
        name = _chosen(cookies, arguments.name)
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 2
    now = int(time.time())
    refused = []
    for attempt in attempts(cookies, name):
        settings = attempt.arguments(name, options)
        result = _tried(attempt, cookies, secret, settings, options, now)
        if isinstance(result, Refused):
            refused.append(result)
            if result.reason in _TIMES:  # it is this system's: one that asks less would read it as its own
                break
            continue
        cookie, record = result
        _show(attempt, record, now, show_values=arguments.show)
        written = [attempt.secret_source(secret, arguments.secret_file)]
        written += [f"{each}={sources.get(each, repr(value))}" for each, value in settings.items()]
        print(_configuration(attempt, written, now, needs_until=_needs_until(cookie, record, settings, now)))
        return 0
    print(_failure(name, refused))
    return 1


def parse_cookies(text: str) -> dict[str, str]:
    """The cookies of a Cookie header, by their names. Raises `ConfigError`."""
    cookies = {}
    for pair in text.strip().removeprefix("Cookie:").split(";"):
        name, separator, value = pair.strip().partition("=")
        if not separator or not COOKIE_NAME.fullmatch(name):
            message = "COOKIE is not NAME=VALUE, as it stands in a Cookie header; several are separated by '; '"
            raise ConfigError(message)
        cookies[name] = value
    return cookies


def _options(pairs: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The values of the options, and for those that are in a file the expression that reads it. Raises `ConfigError`."""
    values, sources = {}, {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            message = f"--option {name} is not NAME=VALUE, such as signing_salt=…"
            raise ConfigError(message)
        if value.startswith("@"):
            sources[name] = f"pathlib.Path({value[1:]!r}).read_text().strip()"
            value = Path(value[1:]).read_text(encoding="utf-8").strip()
        values[name] = value
    return values, sources


def _chosen(cookies: Mapping[str, str], wanted: str | None) -> str:
    """The name of the cookie that is asked for: without the number of a chunk, and not that of a signature."""
    if wanted is None:
        first = next((each for each in cookies if not each.endswith(".sig")), next(iter(cookies)))
        return re.sub(r"[.-][0-9]{1,2}$", "", first)
    if not any(each == wanted or is_chunk(each, wanted) for each in cookies):
        message = f"--name {wanted} is none of the cookies: {', '.join(cookies)}"
        raise ConfigError(message)
    return wanted


def _tried(
    attempt: Attempt,
    cookies: Mapping[str, str],
    secret: bytes,
    settings: Mapping[str, Any],
    options: Mapping[str, str],
    now: int,
) -> tuple[ForeignCookie, Record] | Refused:
    missing = attempt.missing(options)
    if missing:
        wanted = " and ".join(f"--option {each}=…" for each in missing)
        return Refused(attempt, "unasked", f"not tried; give {wanted}")
    try:
        cookie, record = _opened(attempt, cookies, secret, settings, now)
        if attempt.unlike:
            _, other = _opened(attempt, cookies, secret, {**settings, **attempt.unlike}, now)
            if other.data == record.data:
                return Refused(attempt, "malformed", "what it holds is another system's")
        return cookie, record
    except ConfigError as error:
        return Refused(attempt, "unasked", f"not tried: {error}")
    except InvalidToken as error:
        return Refused(attempt, error.reason, error.detail or _REASONS.get(error.reason) or error.reason)


def _opened(
    attempt: Attempt, cookies: Mapping[str, str], secret: bytes, settings: Mapping[str, Any], now: int
) -> tuple[ForeignCookie, Record]:
    cookie = attempt.cookie(secret, settings, now + 1)
    found = {each: [value] for each, value in cookies.items()}
    return cookie, cookie.open(found, Context(cookie.cookie_name, "", now))


def _show(attempt: Attempt, record: Record, now: int, *, show_values: bool) -> None:
    print(f"It is a session of {attempt.system}.")
    if record.created < now:
        print(f"It was made, or last written, at {moment(record.created)}.")
    ends = record.options.get("expires")
    print("It does not say when it ends." if ends is None else f"It ends at {moment(ends)}.")
    print()
    for key, value in record.data.items():
        print(f"    {key!r}: {value!r}" if show_values else f"    {key!r}: {kind(value)}")
    if not record.data:
        print("    (empty)")
    if not show_values:
        print("    (--show shows the values)")
    print()


def _needs_until(cookie: ForeignCookie, record: Record, settings: Mapping[str, Any], now: int) -> bool:
    dated = "expires" in record.options or (record.created < now and not cookie.ends_some)
    return not cookie.authenticates_time or not dated or not _LEGACY.isdisjoint(settings)


_LEGACY = frozenset({"legacy_cbc", "legacy_unprefixed"})
"""Settings that read what is not bound to enough, and so ask for `until` whatever the cookie says."""


def _configuration(attempt: Attempt, arguments: list[str], now: int, *, needs_until: bool) -> str:
    """Five lines of Python that take such cookies over."""
    if needs_until:
        last = dt.datetime.fromtimestamp(now, dt.UTC).date() + dt.timedelta(days=_DAYS_TO_READ)
        arguments = [*arguments, f"until=datetime.date({last.year}, {last.month}, {last.day})"]
    return "\n".join(
        (
            "import base64, datetime, os, pathlib",
            "from hardtack import CookieEngine, Key, SessionManager",
            f"from hardtack.foreign.{attempt.module} import {attempt.name}",
            f"old = {attempt.name}({', '.join(arguments)})",
            'sessions = SessionManager(CookieEngine(Key.parse(os.environ["HARDTACK_KEY"])), accept=[old])',
        )
    )


def _failure(name: str, refused: list[Refused]) -> str:
    """Which check failed: of those whose MAC was right, if there are any."""
    if not refused:
        return f"The cookie {name!r} has the shape of no system that hardtack knows."
    authentic = [each for each in refused if each.reason in _AUTHENTIC]
    if authentic:
        first = authentic[0]
        return f"It is of {first.attempt.system}, and cannot be used: {first.why}."
    lines = [f"Nobody can read the cookie {name!r} with this secret. By its shape it may be of:", ""]
    return "\n".join([*lines, *(f"    {each.attempt.system}: {each.why}" for each in refused)])

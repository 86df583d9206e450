"""`hardtack inspect`: what is in a session cookie, when it ends and which key sealed it, or why it cannot be used."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import inspect
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from hardtack import Key, Keyring, values
from hardtack.cli.shown import kind, moment
from hardtack.cookies import DEFAULT_NAME, find_values
from hardtack.ended import EndedSessions
from hardtack.engines import chunks
from hardtack.engines.store import StoreEngine
from hardtack.errors import ConfigError, InvalidToken, StoreError
from hardtack.lifecycle import listed
from hardtack.lifetime import MAX_SKEW, deadlines, seconds, unix_seconds
from hardtack.protocols import Context, TokenFormat
from hardtack.record import Record
from hardtack.stores import from_url
from hardtack.tokens import keyfile
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import PREFIX
from hardtack.tokens.signed import SignedToken

_ID_CHARACTERS = 43
_SECRET_OPTIONS = ("csrf",)

_WRITER = 10
"""Seconds to wait for whoever writes into a pipe of keys."""


class Question(NamedTuple):
    """What a manager knows, and a cookie alone does not say."""

    name: str
    purpose: str
    lifetime: int
    idle_timeout: int | None
    now: int
    unsealed_until: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A session that was read, or why there is none.

    Attributes:
        record: what is kept; None where it cannot be read.
        how: where it is kept and what sealed it, for a reader.
        problem: the check that failed, for a reader; None: there is none.
    """

    record: Record | None
    how: str = ""
    problem: str | None = None


def add_parser(commands: Any) -> None:
    """Add the command to the others."""
    parser = commands.add_parser(
        "inspect",
        help="show what is in a session cookie, when it ends and which key sealed it, or why it cannot be used",
        description="Exit code 0: a manager would use the session; 1: it would not, and why is printed.",
    )
    parser.add_argument(
        "cookie", metavar="COOKIE", help="NAME=VALUE, or a whole Cookie header; - reads it from stdin, out of `ps`"
    )
    parser.add_argument("--keys", type=Path, metavar="FILE", help="a key file, or one with a key (htk1_…) on each line")
    parser.add_argument("--store", metavar="URL", help="the store that has the session; sealed records need --keys too")
    parser.add_argument(
        "--ended", metavar="URL", help="the list of ended sessions, to look the session up; needs --keys"
    )
    parser.add_argument("--name", help=f"the cookie's name (default: the only one, or {DEFAULT_NAME})")
    parser.add_argument("--purpose", default="", help="the purpose of the manager, if it has one")
    parser.add_argument("--lifetime", default="14 days", help="that of the manager (default: %(default)s)")
    parser.add_argument("--idle-timeout", help="that of the manager (default: none)")
    parser.add_argument(
        "--unsealed-until",
        metavar="DATE",
        type=dt.date.fromisoformat,
        help="until= of the engine in accept=[…] that reads records without a seal beside (YYYY-MM-DD)",
    )
    parser.add_argument(
        "--show", action="store_true", help="show the user and the values as well, not only their types"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code of `hardtack`."""
    try:
        if arguments.keys is None and arguments.store is None:
            raise ConfigError("give --keys FILE for a session in the cookie, --store URL for one in a store")
        header = sys.stdin.read() if arguments.cookie == "-" else arguments.cookie
        header, question = _asked(header.strip().removeprefix("Cookie:").strip(), arguments)
        ring = None if arguments.keys is None else _ring(arguments.keys, question.now)
        if arguments.ended is not None and ring is None:
            raise ConfigError("--ended needs the keys of the list: give --keys FILE")
        answers = list(_answers(header, question, ring, arguments.store))
        if arguments.ended is not None:
            answers = list(_looked_up(answers, question, ring, arguments.ended))
    except (ConfigError, ImportError, UnicodeDecodeError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 2
    except (StoreError, OSError) as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 1
    for answer in answers:
        _print(answer, question, show_values=arguments.show)
    if len(answers) > 1:
        print(f"The request carries {len(answers)} cookies {question.name!r}; where two are good, none is used.")
    return 0 if len(answers) == 1 and answers[0].problem is None else 1


def _asked(header: str, arguments: argparse.Namespace) -> tuple[str, Question]:
    """The Cookie header, and what is asked. Raises `ConfigError`."""
    if "=" not in header and ";" not in header:
        header = f"{arguments.name or DEFAULT_NAME}={header}"
    names = list(dict.fromkeys(_plain(pair.partition("=")[0].strip()) for pair in header.split(";") if "=" in pair))
    name = arguments.name or (DEFAULT_NAME if DEFAULT_NAME in names else names[0] if len(names) == 1 else None)
    if name is None or name not in names:
        message = f"--name is to be one of the cookies: {', '.join(names) or 'there is none'}"
        raise ConfigError(message)
    idle = arguments.idle_timeout
    return header, Question(
        name,
        arguments.purpose,
        seconds(arguments.lifetime, "--lifetime"),
        None if idle is None else seconds(idle, "--idle-timeout"),
        int(time.time()),
        unix_seconds(arguments.unsealed_until),
    )


def _plain(name: str) -> str:
    """A cookie's name without the number of a chunk."""
    before, _, number = name.rpartition(".")
    return before if before and number in "012345678" and len(number) == 1 else name


def _ring(path: Path, now: int) -> Keyring:
    """The keys of a file, as `hardtack keys` writes it or one on each line. Raises `ConfigError` and `OSError`.

    It may be a pipe, which can be read once: a shell gives one for `<(…)`.
    """
    with open(path, "rb", opener=keyfile.open_at_once) as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISFIFO(mode) and not select.select([file], [], [], _WRITER)[0]:
            message = f"--keys {path} is a pipe into which nobody has written for {_WRITER} seconds"
            raise ConfigError(message)
        if not stat.S_ISREG(mode):
            os.set_blocking(file.fileno(), True)
        text = file.read(keyfile.MAX_SIZE).decode()
    keys = [line.strip() for line in text.splitlines() if line.strip().startswith(PREFIX)]
    if not keys:
        found = keyfile.read(path, any_owner=True)[0] if stat.S_ISREG(mode) else keyfile.parse(path, text)
        return found.ring(now)
    first, *others = [Key.parse(line) for line in keys]
    return Keyring(first, others)


def _answers(header: str, question: Question, ring: Keyring | None, url: str | None) -> Iterator[Answer]:
    """What each value of the cookie says; chunks are one value."""
    found = list(dict.fromkeys(find_values(header, question.name)))
    parts = [find_values(header, each) for each in chunks.names(question.name)]
    incomplete: list[None] = []
    if any(parts):
        found += chunks.joined(parts, lambda: incomplete.append(None))
    if incomplete:
        yield Answer(None, problem="a chunk is missing: a proxy or a browser dropped one of the cookies")
    for value in found:
        if url is not None:
            yield asyncio.run(_in_store(value, question, ring, url))
        else:
            assert ring is not None
            yield _in_cookie(value, question, ring)


# --- The list of ended sessions

_CAUSES = {
    "session": "this session was ended",
    "subject": "all sessions of its user, or of the one who acts as that, were ended",
    "provider": "the login's session at its OpenID provider was ended",
    "all": "everybody's sessions were ended",
}


def _looked_up(answers: list[Answer], question: Question, ring: Keyring | None, url: str) -> Iterator[Answer]:
    """The same answers, with what the list says of those that are good. Raises `StoreUnavailable` where it cannot be read."""
    ended = EndedSessions.from_url(url, key=ring)
    ended.bind(None, question.purpose, None, None)
    try:
        ended.start(timeout=10)
        for answer in answers:
            if answer.record is None or answer.problem is not None:
                yield answer
                continue
            found = listed.find(ended, answer.record)
            if found is None:
                yield replace(answer, how=f"{answer.how} It is not on the list of ended sessions.")
                continue
            why = "it goes on under another id" if found.kind == "changed" else _CAUSES[found.cause]
            yield replace(answer, problem=f"revoked: the list has it: {why}, at {moment(int(found.at))}")
    finally:
        ended.close()


# --- A session in the cookie itself


def _in_cookie(value: str, question: Question, ring: Keyring) -> Answer:
    token: TokenFormat = SignedToken(ring) if value.startswith("ht1.") else EncryptedToken(ring)
    key_id = _key_id(value)
    try:
        context = Context(question.name, question.purpose, question.now)
        record: Record = token.open({question.name: [value]}, context)
    except InvalidToken as error:
        return Answer(None, problem=_why(error.reason, value, key_id, ring))
    verb = "signed" if value.startswith("ht1.") else "sealed"
    how = f"It is in the cookie itself, {verb} with the key {_which(key_id, ring)}."
    return Answer(record, how, _over(record, question, trusted=False))


def _key_id(value: str) -> bytes:
    """The id of the key that stands in a token; nothing where it is none."""
    try:
        return values.decode_bytes(value.split(".")[1]) if value.startswith("ht1.") else values.decode_bytes(value)[1:6]
    except (ValueError, IndexError):
        return b""


def _which(key_id: bytes, ring: Keyring) -> str:
    return f"{key_id.hex()}, which {'issues' if key_id == ring.current.id else 'is accepted'}"


def _why(reason: str, value: str, key_id: bytes, ring: Keyring) -> str:
    if reason == "unknown_key":
        return f"unknown_key: it was sealed with the key {key_id.hex()}, and the file has {_ids(ring)}"
    if reason == "tampered":
        return (
            f"tampered: the key {key_id.hex()} is known, and the seal does not fit: it was changed or cut, or is of another "
            "--purpose or another name of the cookie"
        )
    if reason == "malformed" and len(value) == _ID_CHARACTERS:
        return "malformed: it is no token, and has the shape of the id of a session in a store: give --store URL"
    return f"{reason}: it is no session in a cookie of hardtack (`hardtack takeover` knows those of other systems)"


def _ids(ring: Keyring) -> str:
    return ", ".join(each.id.hex() for each in ring)


# --- A session in a store


async def _in_store(value: str, question: Question, ring: Keyring | None, url: str) -> Answer:
    store = from_url(url)
    try:
        engine = StoreEngine(store, seal=ring)
        secret = engine.secret_in(f"{question.name}={value}", question.name)
        if secret is None:
            return Answer(None, problem=_no_id(value))
        raw_key = engine.raw_key(secret, question.purpose)
        entry = await _awaited(store.get(engine.key(secret, raw_key)))
    finally:
        await _awaited(store.close())
    if entry is None:
        return Answer(
            None,
            problem=(
                "unknown_id: the store has no such session: it has ended, the store was emptied or evicts, it is another "
                "store, or the id is of another --purpose"
            ),
        )
    return _stored(engine, raw_key, entry.data, question)


def _no_id(value: str) -> str:
    if _key_id(value):
        return "malformed: it is no id, and has the shape of a session in the cookie itself: give --keys FILE alone"
    return "malformed: it is no id of a session in this store"


def _stored(engine: StoreEngine, raw_key: bytes, data: bytes, question: Question) -> Answer:
    sealed = engine.native is None and data[:1] == b"\x01"
    ring = engine.seal
    if sealed and ring is None:
        return Answer(
            None, problem=f"unknown_key: the record is sealed with the key {data[1:6].hex()}: give --keys FILE"
        )
    if not sealed and (ring is not None or question.unsealed_until is not None):
        refused = _refused_unsealed(question)
        if refused is not None:
            return Answer(None, problem=f"unknown_key: the record is not sealed, and {refused}")
        engine.beside = (StoreEngine(engine.store, until=question.unsealed_until),)
    policy: Any = SimpleNamespace(purpose=question.purpose)
    try:
        record, _ = engine.decode(raw_key, data, policy, question.now)
    except InvalidToken as error:
        if ring is not None and error.reason == "unknown_key":
            key_id = data[1:6].hex()
            return Answer(
                None, problem=f"unknown_key: the record was sealed with the key {key_id}, and the file has {_ids(ring)}"
            )
        return Answer(None, problem=f"{error.reason}: the record cannot be read: {error.detail}")
    if "ended" in record.options:
        until = moment(record.options["ended"])
        return Answer(None, problem=f"ended: the session was ended, or goes on under a new id; known until {until}")
    how = f"sealed with the key {_which(data[1:6], ring)}" if ring is not None and sealed else _unsealed(question)
    return Answer(record, f"It is in the store, {how}.", _over(record, question, trusted=True))


def _refused_unsealed(question: Question) -> str | None:
    """Why a manager with `seal=` refuses a record without one; None: it accepts it still."""
    until = question.unsealed_until
    if until is None:
        return "a manager with seal= refuses it; if it accepts such ones, say until when: --unsealed-until"
    return None if question.now < until else f"such ones are accepted no longer, since {moment(until)}"


def _unsealed(question: Question) -> str:
    until = question.unsealed_until
    if until is None:
        return "not sealed: a manager with seal= uses it only as long as it accepts such ones (until=)"
    return f"not sealed, and accepted until {moment(until)}"


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


# --- Both


def _over(record: Record, question: Question, *, trusted: bool) -> str | None:
    """Which check of the times fails, if one does."""
    latest = question.now + MAX_SKEW
    if not trusted and max(record.created, record.seen, record.authenticated or 0) > latest:
        return (
            "future: it was made more than 5 minutes ahead of this machine's clock; set the clocks of all servers (NTP)"
        )
    ends = deadlines(record, question.lifetime, question.idle_timeout)
    if question.now >= ends.absolute:
        return f"expired: its absolute deadline was {moment(ends.absolute)}"
    if ends.idle is not None and question.now >= ends.idle:
        return f"expired: its idle deadline was {moment(ends.idle)}"
    return None


def _print(answer: Answer, question: Question, *, show_values: bool) -> None:
    if answer.record is not None:
        for line in (answer.how, *_lines(answer.record, question, show_values=show_values)):
            print(line)
    if answer.problem is not None:
        print(f"The cookie {question.name!r} cannot be used: {answer.problem}.")


def _lines(record: Record, question: Question, *, show_values: bool) -> Iterator[str]:
    told = repr if show_values else kind
    ends = deadlines(record, question.lifetime, question.idle_timeout)
    yield f"  id              {values.encode_bytes(record.id)}"
    yield f"  user            {'nobody' if record.subject is None else told(record.subject)}"
    yield f"  created         {moment(record.created)}"
    yield f"  logged in       {'never' if record.authenticated is None else moment(record.authenticated)}"
    yield f"  last renewed    {moment(record.seen)}"
    yield f"  ends            {moment(ends.absolute)}, with --lifetime of {question.lifetime} s"
    yield f"  ends unused     {_idle(ends.idle, question)}"
    for name, value in record.options.items():
        yield f"  option {name!r}: {kind(value) if name in _SECRET_OPTIONS else told(value)}"
    for key, value in record.data.items():
        yield f"    {key!r}: {told(value)}"
    if not record.data:
        yield "    (empty)"
    if not show_values:
        yield "    (--show shows the values)"


def _idle(deadline: int | None, question: Question) -> str:
    if deadline is None:
        return "no --idle-timeout was given"
    return f"{moment(deadline)}, with --idle-timeout of {question.idle_timeout} s"

"""The page that takes the visitor's session apart, and what its buttons do to the cookie, the key and the clock.

A button is a POST that prepares; the browser then makes the next request, `/anatomy/next`, which meets what was prepared;
and the page shows what that request's events were.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from hardtack import Record, Session
from hardtack.cli.demo import anatomy
from hardtack.cli.demo.reports import report
from hardtack.cli.demo.state import (
    IDLE_TIMEOUT,
    Demo,
    demo_of,
    exchange_of,
    item_count,
    render,
    see_other,
    session_cookie,
    visitor_of,
)
from hardtack.cli.demo.visitors import Exchange, Visitor
from hardtack.cookies import MAX_SET_COOKIE
from hardtack.engines.store import StoreEngine
from hardtack.errors import InvalidToken
from hardtack.flow import Flow, Get, arun
from hardtack.frameworks.starlette import load
from hardtack.lifetime import deadlines, seconds
from hardtack.protocols import Context, Entry
from hardtack.values import decode_bytes

AWAY: Final = seconds(IDLE_TIMEOUT) + 60
"""How far the clock is put forward: a minute past the idle deadline."""


@dataclass(frozen=True)
class Facts:
    """What can be told apart before and after an experiment."""

    id: str | None
    subject: str | None
    items: int
    key_id: str


@dataclass
class Experiment:
    """One press of a button.

    Attributes:
        flipped: the index of the cookie's character that was changed, and the whole value after it.
        exchange: the request that met what was prepared.
    """

    name: str
    before: Facts
    after: Facts | None = None
    exchange: Exchange | None = None
    flipped: tuple[str, int] | None = None


async def _begin(request: Request, name: str) -> Experiment:
    experiment = Experiment(name, _facts(request, await load(request)))
    visitor_of(request).experiment = experiment
    return experiment


def _facts(request: Request, session: Session) -> Facts:
    key_id = "" if demo_of(request).in_store else _key_id(session_cookie(request))
    if session.is_new:
        return Facts(None, None, item_count(session), key_id)
    return Facts(session.id, session.subject, item_count(session), key_id)


def _key_id(value: str) -> str:
    try:
        return decode_bytes(value[:8])[1:].hex()
    except ValueError:
        return ""


def _plant(request: Request, value: str) -> None:
    """Give the browser this cookie, after whatever hardtack itself has set."""
    cookie = demo_of(request).sessions.cookie
    exchange_of(request).extra_cookies.append(cookie.set_cookie(cookie.name, value))


# --- the buttons


async def flip(request: Request) -> Response:
    """Hand the browser its own cookie with one bit turned over, as a client could do by itself."""
    changed = anatomy.flip_a_bit(session_cookie(request))
    if changed is None:
        return see_other("/anatomy")
    experiment = await _begin(request, "flip")
    experiment.flipped = changed
    _plant(request, changed[0])
    return see_other("/anatomy/next")


async def replay(request: Request) -> Response:
    """Hand the browser the cookie from before its last logout, as somebody who copied it would use it."""
    kept = visitor_of(request).kept
    if not kept:
        return see_other("/anatomy")
    await _begin(request, "replay")
    _plant(request, kept)
    return see_other("/anatomy/next")


async def rotate(request: Request) -> Response:
    """A new key issues from now on, and the old one is still accepted."""
    demo = demo_of(request)
    if demo.in_store or not session_cookie(request):
        return see_other("/anatomy")
    await _begin(request, "rotate")
    exchange_of(request).afterwards.append(demo.token.rotate)
    return see_other("/anatomy/next")


async def stale(request: Request) -> Response:
    """Let more than the idle timeout pass: once this very request's session is committed, which renews it."""
    demo = demo_of(request)
    if not session_cookie(request):
        return see_other("/anatomy")
    await _begin(request, "stale")
    exchange_of(request).afterwards.append(lambda: demo.clock.advance(AWAY))
    return see_other("/anatomy/next")


async def following(request: Request) -> Response:
    """The request that meets what was prepared. It does what any page does: it asks for the session."""
    session, experiment = await load(request), visitor_of(request).experiment
    if experiment is not None and experiment.exchange is None:
        experiment.exchange = exchange_of(request)
        if demo_of(request).binds and experiment.name == "replay" and session.is_new:
            # A cookie whose session was just ended is left alone by hardtack for a minute (a slow request may have sent
            # it): the visitor should not have to wait.
            cookie = demo_of(request).sessions.cookie
            exchange_of(request).extra_cookies.append(cookie.clear_cookie(cookie.name))
    return see_other("/anatomy#happened")


# --- the page


class Deadline(NamedTuple):
    """When a session ends, by one of its two limits."""

    name: str
    at: dt.datetime
    left: int


class Shown(NamedTuple):
    """A record, from the cookie or from the store."""

    record: Record | None
    refused: str
    deadlines: list[Deadline]
    data: anatomy.Node | None
    size: int
    version: str


async def show(request: Request) -> Response:
    """The page."""
    demo, visitor, session = demo_of(request), visitor_of(request), await load(request)
    value = session_cookie(request)
    experiment = visitor.experiment
    happened = None
    if experiment is not None and experiment.exchange is not None:
        experiment.after = experiment.after or _facts(request, session)
        happened = report(experiment, in_store=demo.in_store)
    line = _line(demo, visitor, value)
    dissection = anatomy.dissect(value, in_store=demo.in_store, flipped=_flipped(experiment, value)) if value else None
    return await render(
        request,
        "anatomy.html",
        value=value[: anatomy.MAX_SHOWN],
        line=line,
        persistent="; Max-Age=" in line,
        dissection=dissection,
        bar=anatomy.bar(line, dissection),
        most=MAX_SET_COOKIE,
        shown=await _stored(demo, session) if demo.in_store else _opened(demo, value),
        happened=happened,
        visitor=visitor,
        now=dt.datetime.fromtimestamp(demo.clock(), dt.UTC),
        away=AWAY,
        moment=lambda unix: dt.datetime.fromtimestamp(unix, dt.UTC),
    )


def _flipped(experiment: Experiment | None, value: str) -> int | None:
    if experiment is None or experiment.flipped is None or experiment.flipped[0] != value:
        return None
    return experiment.flipped[1]


def _line(demo: Demo, visitor: Visitor, value: str) -> str:
    """The Set-Cookie line that the browser has its cookie from, as far as the demo knows it."""
    cookie = demo.sessions.cookie
    if visitor.line.startswith(f"{cookie.name}={value};"):
        return visitor.line
    return cookie.set_cookie(cookie.name, value)


def _context(demo: Demo) -> Context:
    sessions = demo.sessions
    return Context(sessions.cookie.name, sessions.purpose, int(demo.clock()))


def _opened(demo: Demo, value: str) -> Shown:
    """What the token holds, as the engine reads it."""
    context = _context(demo)
    try:
        record = demo.token.open({context.cookie_name: [value]}, context)
    except InvalidToken as error:
        return Shown(None, error.reason, [], None, 0, "")
    return _shown(demo, record, len(record.plain or b""), "")


async def _stored(demo: Demo, session: Session) -> Shown:
    """What the store holds of the session."""
    entry = None if session.is_new else await arun(_get(session.id), demo.store)
    if entry is None:
        return Shown(None, "unknown_id", [], None, 0, "")
    core = demo.sessions.core
    assert isinstance(core.engine, StoreEngine)
    record, _ = core.engine.decode(decode_bytes(session.id), entry.data, core, core.now())
    return _shown(demo, record, len(entry.data), str(entry.version))


def _get(key: str) -> Flow[Entry | None]:
    entry: Entry | None = yield Get(key)
    return entry


def _shown(demo: Demo, record: Record, size: int, version: str) -> Shown:
    sessions, now = demo.sessions, int(demo.clock())
    limits = deadlines(record, sessions.lifetime, sessions.idle_timeout)
    assert limits.idle is not None
    both = (("idle", limits.idle), ("absolute", limits.absolute))
    shown = [Deadline(name, dt.datetime.fromtimestamp(at, dt.UTC), at - now) for name, at in both]
    return Shown(record, "", shown, anatomy.tree(record.data), size, version)

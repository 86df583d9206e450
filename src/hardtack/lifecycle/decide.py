"""Decide: what a commit is to do, of what is known. A pure function: it emits nothing and changes nothing."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hardtack import values
from hardtack.lifetime import absolute_deadline
from hardtack.protocols import Held, Kind, Renewal, Saving
from hardtack.record import Record
from hardtack.settings import Settings
from hardtack.state import END, KEEP, LOGIN, REPLACE, SAME, State

_new: Final = Saving.__new__
_UPDATE: Final = Kind.UPDATE  # looking a member up in its Enum takes as long as a call, in Python 3.11

UNSETTLED: Final = 10
"""Seconds after a change of id in which the browser is about to get the new cookie: what still comes with the old one and
is no login is not saved, and sets no cookie that would take the new one's place."""


class Nothing(NamedTuple):
    """Nothing is to be saved. `clears`: the cookie is to be cleared all the same."""

    clears: bool = False


class Lost(NamedTuple):
    """There is something to save, and nowhere to save it: the request came with an id that was just changed."""


Decision = Saving | Nothing | Lost

KEPT: Final = Nothing()
"""A session that is stored goes on as it is, and so does its cookie."""


def decide(
    state: State,
    data: dict[str, Any],
    settings: Settings,
    now: int,
    *,
    headers_sent: bool = False,
    always_renews: bool = False,
) -> Decision:
    """What a commit is to do. A record to be stored under an id that was not drawn yet has the id b"".

    Args:
        state: what the session knows of itself.
        data: all that it holds now.
        settings: the manager's.
        now: Unix seconds.
        headers_sent: no cookie can be set or cleared any more.
        always_renews: whatever is saved moves the idle deadline, as some frameworks have it.

    Raises `UnsupportedValue` for what cannot be kept, but not where the session is to end: an end happens first.
    """
    old = state.record
    if old is None or state.fate is not KEEP:
        return _begin_or_end(state, data, settings, now, headers_sent=headers_sent)
    # What is stored goes on under its id, as with nearly every request.
    held, meta = state.held or Held(), state.meta
    packed = old.packed_unless_kept(data, settings.strict_values)
    wanted = packed is not None or state.forced
    due = _is_due(state, settings, now)
    if not wanted and not due and held.current and not held.ahead:
        return KEPT
    renewal: Renewal = "" if wanted else "idle_timeout" if due else "clock" if held.ahead else "key"
    moves = not state.passive and (due or settings.idle_timeout is None or always_renews)
    new = _next(meta, data, now, moves=moves, packed=old.kept_data() if packed is None else packed)
    kind = Kind.EMPTY if packed is not None and not state.forced and _is_empty(meta, data) else _UPDATE
    return _saving(kind, state, held, new, settings, now, renewal=renewal, headers_sent=headers_sent)


def rests(state: State, settings: Settings, now: int) -> bool:
    """Whether nothing but a change of its data makes a session be saved."""
    return (
        state.record is not None
        and state.fate is KEEP
        and not state.forced
        and not _is_due(state, settings, now)
        and (state.held is None or (state.held.current and not state.held.ahead))
    )


def _is_due(state: State, settings: Settings, now: int) -> bool:
    """Whether the idle deadline is to be moved."""
    return not state.passive and (
        state.extends or (settings.idle_timeout is not None and settings.renewal_due(state.meta.seen, now))
    )


def _begin_or_end(state: State, data: dict[str, Any], settings: Settings, now: int, *, headers_sent: bool) -> Decision:
    """What is stored ends or gets another id, or nothing is stored yet."""
    held = state.held or Held()
    meta, old = state.meta, state.record
    empty = _is_empty(meta, data)
    if state.fate is END:
        new = None if empty else _next(meta, data, now, moves=True)
        if old is None and new is None and held.dead is None and not held.adopted:
            return Nothing(clears=held.clear)
        return _saving(Kind.END, state, held, new, settings, now, headers_sent=headers_sent)
    if old is None and empty and state.begins is SAME:
        return Nothing(clears=held.clear)
    if old is None and state.begins is not LOGIN and state.fate is KEEP and _is_unsettled(held, now):
        return Lost()
    kind = Kind.CREATE if old is None else Kind.REPLACE if state.fate is REPLACE else Kind.MOVE
    # What cannot be kept is to fail before anything ends.
    new = _next(meta, data, now, moves=True, packed=values.pack(data, strict=settings.strict_values))
    return _saving(kind, state, held, new, settings, now, headers_sent=headers_sent)


def _is_empty(meta: Record, data: dict[str, Any]) -> bool:
    return not data and meta.subject is None and "csrf" not in meta.options


def _is_unsettled(held: Held, now: int) -> bool:
    dead = held.dead
    return dead is not None and dead.changed and now - min(dead.at, now) < UNSETTLED


def _next(meta: Record, data: dict[str, Any], now: int, *, moves: bool, packed: bytes | None = None) -> Record:
    """The record to be stored; `packed` is the encoding of the data, where that was made already."""
    return Record(
        meta.id,
        meta.created or now,
        meta.authenticated,
        max(meta.seen, now) if moves else meta.seen or now,
        meta.subject,
        meta.options,
        data,
        None,
        packed,
    )


def _saving(
    kind: Kind,
    state: State,
    held: Held,
    new: Record | None,
    settings: Settings,
    now: int,
    *,
    renewal: Renewal = "",
    headers_sent: bool,
) -> Saving:
    expires_at, max_age = (0, None) if new is None else ends(new, settings, now)
    # As `Saving(…)` makes it, in a fifth of the time: the call of a class with so many names takes as long as sealing a token.
    saving = _new(Saving)
    saving.kind = kind
    saving.held = held
    saving.old = state.record
    saving.new = new
    saving.base = state.base
    saving.tracking = state.tracking
    saving.login = state.begins is LOGIN
    saving.follows = state.follows
    saving.expires_at = expires_at
    saving.max_age = max_age
    saving.now = now
    saving.renewal = renewal
    saving.unsafe = state.is_unsafe
    saving.headers_sent = headers_sent
    saving.joined = ()
    saving.max_size = settings.max_size
    saving.header = state.header
    saving.one_cookie = state.one_cookie
    saving.beside = saving.clearing = 0
    return saving


def ends(record: Record, settings: Settings, now: int) -> tuple[int, int | None]:
    """When a session is over, Unix seconds, and for how long the browser keeps its cookie; None: until it ends."""
    expires_at = absolute_deadline(record, settings.lifetime)
    if settings.idle_timeout is not None:
        expires_at = min(expires_at, record.seen + settings.idle_timeout)
    if not record.options.get("persistent", settings.persistent):
        return expires_at, None
    return expires_at, max(expires_at - now, 0)

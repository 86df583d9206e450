"""Decide: what a commit is to do, of what is known. A pure function: it emits nothing and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hardtack import values
from hardtack.lifetime import absolute_deadline
from hardtack.protocols import Held, Kind, Renewal, Saving
from hardtack.record import Record
from hardtack.settings import Settings
from hardtack.state import END, KEEP, LOGIN, REPLACE, SAME, State

UNSETTLED: Final = 10
"""Seconds after a change of id in which the browser is about to get the new cookie: what still comes with the old one and
is no login is not saved, and sets no cookie that would take the new one's place."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is to be saved. `clears`: the cookie is to be cleared all the same."""

    clears: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """There is something to save, and nowhere to save it: the request came with an id that was just changed."""


Decision = Saving | Nothing | Lost


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
    held = state.held or Held()
    meta, old = state.meta, state.record
    empty = not data and meta.subject is None and "csrf" not in meta.options
    if state.fate is END:
        new = None if empty else _next(meta, data, now, moves=True)
        if old is None and new is None and held.dead is None and not _taken_id(state):
            return Nothing(clears=held.clear)
        return _saving(Kind.END, state, held, new, settings, now, headers_sent=headers_sent)
    if old is None:
        if empty and state.begins is SAME:
            return Nothing(clears=held.clear)
        if held.dead is not None and state.begins is not LOGIN and state.fate is KEEP and _is_unsettled(held, now):
            return Lost()
        new = _next(meta, data, now, moves=True, packed=values.pack(data, strict=settings.strict_values))
        return _saving(Kind.CREATE, state, held, new, settings, now, headers_sent=headers_sent)
    if state.fate is not KEEP:
        kind = Kind.REPLACE if state.fate is REPLACE else Kind.MOVE
        # What cannot be kept is to fail before anything ends.
        new = _next(meta, data, now, moves=True, packed=values.pack(data, strict=settings.strict_values))
        return _saving(kind, state, held, new, settings, now, headers_sent=headers_sent)
    packed = old.packed_unless_kept(data, strict=settings.strict_values)
    wanted = packed is not None or state.forced
    due = not state.passive and (state.extends or settings.renewal_due(meta.seen, now))
    if not wanted and not due and held.current:
        return Nothing(clears=False)
    renewal: Renewal = "" if wanted else "idle_timeout" if due else "key"
    moves = not state.passive and (due or settings.idle_timeout is None or always_renews)
    new = _next(meta, data, now, moves=moves, packed=old.kept_data() if packed is None else packed)
    kind = Kind.EMPTY if empty and packed is not None and not state.forced else Kind.UPDATE
    return _saving(kind, state, held, new, settings, now, renewal=renewal, headers_sent=headers_sent)


def _taken_id(state: State) -> bytes:
    return b"" if state.taken is None else state.taken.id


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
    return Saving(
        kind=kind,
        held=held,
        old=state.record,
        new=new,
        base=state.base,
        tracking=state.tracking,
        login=state.begins is LOGIN,
        follows=state.follows,
        expires_at=expires_at,
        max_age=max_age,
        now=now,
        renewal=renewal,
        unsafe=state.is_unsafe,
        headers_sent=headers_sent,
        max_size=settings.max_size,
        header=state.header,
        taken_id=_taken_id(state),
    )


def ends(record: Record, settings: Settings, now: int) -> tuple[int, int | None]:
    """When a session is over, Unix seconds, and for how long the browser keeps its cookie; None: until it ends."""
    expires_at = absolute_deadline(record, settings.lifetime)
    if settings.idle_timeout is not None:
        expires_at = min(expires_at, record.seen + settings.idle_timeout)
    if not record.options.get("persistent", settings.persistent):
        return expires_at, None
    return expires_at, max(expires_at - now, 0)

"""Listed: what the list of ended sessions says of a session when it is loaded and again when it is saved, and what it is told.

A manager without a list comes past none of this.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from hardtack.errors import StoreUnavailable
from hardtack.events import Rejected
from hardtack.flow import Ask, Flow
from hardtack.merge import Declared, assigned_in
from hardtack.protocols import Context, Dead, Held, Kind, Saved, Saving
from hardtack.record import LEFT, MOVED, Record
from hardtack.state import State

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.ended import Ended, EndedSessions

DRAWN: Final = "drawn"
REMEMBERED: Final = 60
"""Seconds for which a dead id is more than nobody's: longer than any request runs that began before."""
_NEWEST: Final = 1 << 62
_MICROSECONDS: Final = 1_000_000


def drawn_of(record: Record) -> int:
    """When an id was drawn, by the channel's clock; by a server's, of a session that is older than the list."""
    drawn: int | None = record.options.get(DRAWN)
    return (record.authenticated or record.created) * _MICROSECONDS if drawn is None else drawn


def find(ended: EndedSessions, record: Record) -> Ended | None:
    """Whether the list says that a session was ended. Asks nobody."""
    sid = record.options.get("sid")
    return ended.check(
        record.id,
        record.subject,
        _actor(record),
        drawn_of(record),
        None if sid is None else ("", sid),
        record.seen,
    )


def is_id_listed(ended: EndedSessions, id: bytes) -> bool:
    """Whether the list has an id, whoever's it is."""
    return ended.check(id, None, None, _NEWEST) is not None


def _actor(record: Record) -> str | None:
    """Who acts as the session's user."""
    actor = record.options.get("actor")
    return str(actor[0]) if actor else None


def derived(core: Core, old: Record) -> dict[str, int]:
    """The options of a session that goes on under an id that is derived of its own: what spares that spares this one too."""
    if core.ended is None:
        return {}
    return {DRAWN: core.ended.draw_beside(drawn_of(old), old.id, old.subject, _actor(old))}


# --- load


def goes_on_as(ended: EndedSessions, id: bytes, successor: bytes) -> bool:
    """Whether an id has ended because its session was bound to the device, and is this one now."""
    first = ended.successor(id, bound=True)
    return bool(first) and successor.startswith(first)


def goes_on(ended: EndedSessions, former: Record) -> bool:
    """Whether the session of an id was bound to the device, and has not ended since, as far as its id says."""
    first = ended.successor(former.id, bound=True)
    if not first:
        return False
    found = ended.check(first, former.subject, None, drawn_of(former) + 1)
    return found is None or found.kind == "changed"


def claim(core: Core, old: Record, id: bytes, *, binds: bool = True) -> Flow[bool]:
    """Claim for a session that lives in its cookie the id that it goes on under; whether nobody was faster.

    Raises `StoreUnavailable`: then the session goes on as it was.
    """
    assert core.ended is not None
    return bool((yield Ask(partial(core.ended.claim, old.id, id, binds=binds))))


def is_alive(ended: EndedSessions, record: Record) -> bool:
    """Whether a session is known to be alive, without waiting for anything: nearly every request."""
    return ended.is_fresh and find(ended, record) is None


def judge(core: Core, state: State, held: Held, context: Context) -> Flow[Held]:
    """What is held of a good session: itself, or what is left where it was ended. Raises `StoreUnavailable`."""
    ended, record = core.ended, held.record
    assert ended is not None
    assert record is not None
    yield from refresh(core, state)
    found = find(ended, record)
    if found is None:
        return held
    core.emit(Rejected, "revoked", context.cookie_name, request=state.request)
    return Held(names=held.names, dead=_dead(found, record.id, context.now))


def refresh(core: Core, state: State) -> Flow[None]:
    """Wait for a list that is stale. Raises `StoreUnavailable`, unless it was told to stay open."""
    ended = core.ended
    assert ended is not None
    if not (ended.is_fresh or (yield Ask(ended.ensure_fresh))):
        state.passive = True  # nothing is renewed, so that no copy outlives the entry that ended it


def _dead(found: Ended, id: bytes, now: int) -> Dead | None:
    """What a request that comes with an ended id has to know: for a minute, as of an id in a store."""
    if found.cause != "session" or found.age >= REMEMBERED:
        return None
    return Dead(id, found.kind == "changed", now - int(found.age))


# --- save


def save(core: Core, saving: Saving, context: Context) -> Flow[Saved]:
    """Save by the engine what the list lets live, and tell the list what ends. Raises what the engine does."""
    if core.ended is None:
        return core.engine.save(saving, context, core)
    return _save(core, core.ended, saving, context)


def _save(core: Core, ended: EndedSessions, saving: Saving, context: Context) -> Flow[Saved]:
    yield from _draw(ended, saving)
    old = saving.old
    found = None if old is None else find(ended, old)
    if found is not None:
        instead = _without_it(core, saving, found)
        if instead is not None:
            return instead
    elif old is not None and saving.new is not None and saving.kind is Kind.UPDATE and not ended.is_fresh:
        saving.new.seen = old.seen  # so that no copy outlives the entry that ended it
    dead = saving.held.dead
    if saving.kind is Kind.END and not saving.follows and saving.new is None and dead is not None and dead.changed:
        # The browser has got, or is about to get, the cookie of what goes on: it is not to be cleared.
        return Saved(held=Held(dead=dead), record=None, lines=[])
    failure = None
    if saving.kind is Kind.END:  # first: it happens whatever was put in since
        failure = yield from _tell_end(ended, saving, found)
    saved: Saved = yield from core.engine.save(saving, context, core)
    claimed = False
    if old is not None and found is None and _may_be_bound(core, saving, old):
        assert saving.new is not None
        with suppress(StoreUnavailable):  # while the channel is away, nobody binds the session either
            claimed = yield from claim(core, old, saving.new.id, binds=False)
            if not claimed:
                dead = Dead(old.id, True, saving.now)
                return Saved(held=Held(dead=dead), record=None, lines=[], dropped="dead")
    moves = saving.kind in (Kind.MOVE, Kind.REPLACE)
    if old is not None and found is None and not saved.dropped and moves and not claimed:
        # Only now: where the new session cannot be kept, the old one goes on. A channel that is away for a moment loses
        # no login: what it could not be told is known here, and told later.
        brief = saving.login and old.subject is None
        yield from tell(ended, [old.id], changed=True, brief=brief, successor=_successor(core, saving))
    successors = [each for each in saved.ended if old is None or each != old.id]
    yield from tell(ended, successors, changed=saving.new is not None)
    if failure is not None and not core.stored:
        raise failure
    return saved


def _tell_end(ended: EndedSessions, saving: Saving, found: Ended | None) -> Flow[StoreUnavailable | None]:
    """Tell the list of a session that ends; why that could not be done, or None."""
    old, dead = saving.old, saving.held.dead
    if old is not None and found is None:
        # What is to reach no other id is told as a change: Django's flush over an old password hash must not end the tab
        # in which the password was changed.
        return (yield from tell(ended, [old.id], changed=saving.new is not None or not saving.follows))
    if saving.held.adopted:
        return (yield from tell(ended, [saving.held.adopted], changed=saving.new is not None))
    # A logout in a request that came with the id from before ends what that is now; a login does not.
    if dead is None or saving.login or not saving.follows or not ended.successor(dead.id):
        return None
    return (yield from tell(ended, [dead.id], changed=False))


def _may_be_bound(core: Core, saving: Saving, old: Record) -> bool:
    """Whether another server may be binding a session that gets a new id here, which then would go on unbound beside."""
    return (
        core.binding is not None
        and not core.stored
        and saving.kind is Kind.MOVE
        and not saving.login
        and "binding" not in old.options
        and old.authenticated is not None
        and saving.now - old.authenticated <= core.binding.registers_for
    )


def _successor(core: Core, saving: Saving) -> bytes:
    """The new id of a session that somebody may be logging out under the old one, at a server that has not read of it yet.

    A login has none: whoever logs out beside it may as well have been before. In a store the tombstone says it.
    """
    new = saving.new
    if core.stored or new is None or saving.kind is not Kind.MOVE or saving.login or new.subject is None:
        return b""
    return new.id


def tell(
    ended: EndedSessions, ids: Iterable[bytes], *, changed: bool, brief: bool = False, successor: bytes = b""
) -> Flow[StoreUnavailable | None]:
    """Tell the list that ids are dead; why that could not be done, or None."""
    failure = None
    for each in ids:
        failure = (yield Ask(partial(_try_to_tell, ended, each, changed, brief, successor))) or failure
    return failure


def _try_to_tell(
    ended: EndedSessions, id: bytes, changed: bool, brief: bool, successor: bytes
) -> StoreUnavailable | None:
    try:
        ended.end_session(id, "changed" if changed else "ended", None, brief, successor)
    except StoreUnavailable as error:
        return error
    return None


def _draw(ended: EndedSessions, saving: Saving) -> Flow[None]:
    """Say when a new id was drawn, which a not-before is compared with.

    Raises `StoreUnavailable`: a login must be after all that was ended before, and an id that changes must be told.
    """
    new, old = saving.new, saving.old
    if new is None or saving.kind is Kind.EMPTY or (saving.kind is Kind.UPDATE and not saving.login):
        return
    previous = 0 if old is None else drawn_of(old)
    if saving.login:
        # After all that the user has where their number is limited, so that this one is the newest: see `check_limit`.
        drawn = yield Ask(partial(ended.draw_time, max(previous, new.options.get(DRAWN, 0))))
    elif saving.kind is Kind.MOVE and old is not None:
        if not (ended.is_fresh or (yield Ask(ended.ensure_fresh))):
            # An end of the old id may be on its way, and the new one would outlive it.
            raise StoreUnavailable("the list of ended sessions is stale: a session cannot get a new id now")
        drawn = ended.draw_after(previous, old.subject, _actor(old))
    elif DRAWN in new.options:  # of what was taken over, as its old cookie had it
        return
    elif new.subject is not None:  # somebody begins to act as another: an end that was not read yet must find it older
        drawn = ended.draw_after(0, new.subject, _actor(new))
    else:
        drawn = ended.estimate()
    new.options = {**new.options, DRAWN: drawn}


def _without_it(core: Core, saving: Saving, found: Ended) -> Saved | None:
    """The session was ended since it was loaded. What is done in the place of the saving; None: it is done, as changed here."""
    old, new, now = saving.old, saving.new, saving.now
    assert old is not None
    dead = _dead(found, old.id, now)
    saving.held.dead = dead
    if saving.kind is Kind.END:
        return None
    assert new is not None
    if saving.kind is not Kind.REPLACE:
        base = {} if saving.base is None else saving.base.own_data()
        declared = Declared(core.traits.merge.names, saving.joined)
        assigned = assigned_in(new.own_data(), base, saving.tracking, declared)
        if saving.login:
            if found.kind == "ended":
                # Nothing of what was loaded goes on, or who was logged out everywhere would take it along.
                new = new.with_changes(data=assigned)
        elif saving.kind is Kind.MOVE and assigned:
            # `regenerate` and its like show no credential: who was ended must not come out of them as somebody.
            new = Record(new.id, now, None, now, None, {DRAWN: new.options[DRAWN]}, assigned)
        else:
            return Saved(held=Held(dead=dead), record=None, lines=[], dropped="" if saving.renewal else "dead")
    if new.id == old.id:
        new.id = core.engine.new_id(saving.held, core)
        new.options = {name: value for name, value in new.options.items() if name not in (MOVED, LEFT)}
    saving.kind, saving.old, saving.base, saving.new = Kind.CREATE, None, None, new
    return None

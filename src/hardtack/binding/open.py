"""Open: what becomes of a session that a request brings, given what the request proves of its device.

A session is bound by the first request that brings it together with a bound cookie: it goes on under an id that is made of the
old one and the binding, so that parallel requests agree on it, and all copies from before are copies of an id that has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardtack import values
from hardtack.binding.binding import LATE, REQUIRED, Binding, Bond, Status, bond_of, option_of, seed_of
from hardtack.binding.thumbprint import thumbprint_of
from hardtack.binding.tokens import short
from hardtack.engines.store import StoreEngine
from hardtack.errors import ProofOutstanding, StoreUnavailable
from hardtack.events import Bound as BoundEvent
from hardtack.events import IdChanged, ProofFailed
from hardtack.flow import Flow
from hardtack.lifecycle.listed import claim, derived, find, goes_on, goes_on_as, judge
from hardtack.protocols import Context, Held, Kind, Saving
from hardtack.record import LEFT, MOVED
from hardtack.session import Session, refuse_changes, state_of

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.record import Record
    from hardtack.request import Request
    from hardtack.state import State


class Device:
    """What a request's session knows of its device.

    Attributes:
        status: whether the session is bound, and the request proves the key.
        record: the session, with the binding where there is one.
        at: when the key was proved, milliseconds since 1970.
        skipped: the browser says that it could not prove its key now, and will come again.
        offer: the header that offers to bind the session, once it was made.
    """

    __slots__ = ("at", "offer", "record", "skipped", "status")

    def __init__(self, status: Status, record: Record | None = None, at: int = 0) -> None:
        self.status = status
        self.record = record
        self.at = at
        self.skipped = False
        self.offer = ""

    @property
    def bond(self) -> Bond | None:
        """The binding, where there is one."""
        return None if self.record is None else bond_of(self.record)


def open_flow(
    core: Core, binding: Binding, state: State, held: Held, former: Record | None, context: Context
) -> Flow[Held]:
    """What is held of the session, in the light of its device; `state.device` says what that is.

    `former`: what the engine has opened, also where the list says that it has ended.
    """
    header, request = state.header, state.request
    resend = False
    if held.record is None:
        healed = yield from late(core, binding, state, held, former, context)
        if healed is None:
            state.device = Device(Status.UNBOUND)
            return held
        held, resend = healed
        if not resend:  # a request that was on its way while the session was bound
            state.device = Device(Status.UNBOUND)
            return held
    record = held.record
    assert record is not None
    bond = bond_of(record)
    if bond is None:
        for each in binding.proofs(header):
            key = binding.key_of(header, each.binding)
            if each.session == short(record.id) and key is not None and "actor" not in record.options:
                bond = Bond(each.key, each.binding, key.key)
                return (yield from bind(core, binding, state, held, bond, each.at, context))
        device = Device(Status.UNBOUND)
        if is_required(binding, record, context.now):
            device.status = Status.UNPROVEN
    else:
        at = binding.proved_at(header, record.options["binding"])
        device = Device(Status.BOUND if at else Status.UNPROVEN, record, at)
    state.device = device
    if device.status is Status.UNPROVEN:
        return _unproven(core, binding, state, held, request)
    if resend:
        _resend(held)
    return held


def _unproven(core: Core, binding: Binding, state: State, held: Held, request: Request | None) -> Held:
    device = state.device
    assert device is not None
    assert held.record is not None
    core.emit(ProofFailed, held.record.id, "missing", request=request)
    if binding.device.observe:
        return held
    bond = device.bond
    if bond is not None and request is not None and _is_skipped(request.proof_skipped, bond):
        device.skipped = True  # what it holds can be read, and nothing can be changed: see `refuse`
        return held
    # Not ended, and its cookie stays: the browser may only have been too early. What is put in begins another session.
    return Held(names=held.names)


def _is_skipped(header: str | None, bond: Bond) -> bool:
    """Whether a browser says that it could not prove the key of this binding, and not that of another."""
    return header is not None and ("session_identifier" not in header or values.encode_bytes(bond.id) in header)


def refuse(session: Session) -> None:
    """Let a session be read only, whose browser says that it will prove its key later."""
    refuse_changes(
        session,
        ProofOutstanding(
            "the browser could not prove the key of this session just now, so nothing is changed in it; it will come again"
        ),
    )


def is_required(binding: Binding, record: Record, now: int) -> bool:
    """Whether the application wants a proof for an unbound session, and the browser has had the time for it."""
    required = binding.device.required
    if required is None or now - (record.authenticated or record.created) <= REQUIRED:
        return False
    shown = Session(record.data)
    state_of(shown).meta = record
    return bool(required(shown))


# --- a session is bound


def bind(core: Core, binding: Binding, state: State, held: Held, bond: Bond, at: int, context: Context) -> Flow[Held]:
    """The session goes on under the id that belongs to the binding. A parallel request may have been faster."""
    old = held.record
    assert old is not None
    new_id, moved = yield from core.engine.adopt(seed_of(held.secret or old.id, bond.id), context, state)
    if moved.record is None:
        if isinstance(core.engine, StoreEngine):
            moved = yield from _move(core, held, moved, _bound(core, old, new_id, bond), context)
        else:
            moved = yield from _claim(core, binding, state, held, new_id, bond, context)
        if moved.record is not None and moved is not held:
            core.emit(IdChanged, old.id, new_id, core.old_still_valid, request=state.request)
            core.emit(BoundEvent, new_id, bond.id, bond.thumbprint, request=state.request)
    if moved.record is None or moved is held:
        state.device = Device(Status.UNBOUND)
    else:
        state.device = Device(Status.BOUND, moved.record, at)
        _resend(moved)
    moved.names = held.names
    return moved


def _bound(core: Core, old: Record, id: bytes, bond: Bond) -> Record:
    """The session as it goes on with the binding."""
    options = {name: value for name, value in old.options.items() if name not in (MOVED, LEFT)}
    return old.with_changes(id=id, options=options | derived(core, old) | {"binding": option_of(bond)})


def _claim(
    core: Core, binding: Binding, state: State, held: Held, id: bytes, bond: Bond, context: Context
) -> Flow[Held]:
    """Bind a session that lives in its cookie, unless another server has bound it to another key, or it was ended there.

    Where the list cannot say so now, what is held stays unbound, and a later request binds it. Raises `StoreUnavailable` where
    it must be bound.
    """
    old = held.record
    assert old is not None
    assert core.ended is not None
    try:
        first = yield from claim(core, old, id)
    except StoreUnavailable as error:
        if is_required(binding, old, context.now):
            raise
        core.store_failed("bind", error, state.request)
        return held
    found = find(core.ended, old)  # by what was read with the claim
    if not first:
        core.emit(ProofFailed, old.id, "bound", request=state.request)
    if not first or (found is not None and found.kind == "ended"):
        return (yield from judge(core, state, held, context))
    bound = Held(record=_bound(core, old, id, bond), names=held.names, replaces=old)
    return (yield from judge(core, state, bound, context))


def _move(core: Core, held: Held, moved: Held, record: Record, context: Context) -> Flow[Held]:
    """Move what is stored, and leave behind where it went. What another request saves meanwhile is taken along."""
    at = Held(record=held.record, names=held.names, secret=moved.secret, version=held.version, key=held.key)
    saving = Saving(
        kind=Kind.MOVE,
        held=at,
        old=held.record,
        new=record,
        base=held.record,
        expires_at=core.deadlines(record).nearest,
        max_age=None,
        now=context.now,
        renewal="key",
        headers_sent=True,
    )
    saved = yield from core.engine.save(saving, context, core)
    if saved.record is not None:
        return saved.held
    # Bound by a parallel request, or ended.
    engine = core.engine
    assert isinstance(engine, StoreEngine)
    look, entry = yield from engine.ask(record.id, moved.key, context.now, core)
    if look.record is None or entry is None:
        return Held(names=held.names, dead=saved.held.dead)
    return Held(record=look.record, secret=moved.secret, version=entry.version, key=moved.key, current=look.current)


def _resend(held: Held) -> None:
    """The next commit tells the browser the session's id. Where a handler looks at no session, a later request's does."""
    held.resend = True
    held.current = False


# --- a request that comes with the id from before the binding


def late(
    core: Core, binding: Binding, state: State, held: Held, former: Record | None, context: Context
) -> Flow[tuple[Held, bool] | None]:
    """The bound session of a request that brings the id from before, and whether its browser is to be told the new id.

    Beside a bound cookie of that session always: the answer that said the new id was lost. Without one for some seconds:
    the request was on its way.
    """
    for proof in binding.proofs(state.header):
        found = yield from under(core, binding, state, proof.binding, former, context)
        if found is not None:
            return found, True
    dead = held.dead
    if dead is None or not dead.changed or context.now - min(dead.at, context.now) >= LATE:
        return None
    if isinstance(core.engine, StoreEngine):
        found = yield from _successor(core, state, dead.successor, context)
        return None if found is None else (found, False)
    if core.ended is None or former is None or not goes_on(core.ended, former):
        return None
    # It can be read: what it saves would take the place of the cookie that the browser is about to get.
    return Held(record=former, names=held.names), False


def under(
    core: Core, binding: Binding, state: State, id: bytes, former: Record | None, context: Context
) -> Flow[Held | None]:
    """The session that a binding has made of the one whose former cookie a request carries."""
    engine, header = core.engine, state.header
    if isinstance(engine, StoreEngine):
        secret = engine.secret_in(header, context.cookie_name)
        if secret is None:
            return None
        _, held = yield from engine.adopt(seed_of(secret, id), context, state)
        ours = _ours(held, id, context)
        return None if ours is None else (yield from _heeded(core, state, ours, context))
    kept = binding.key_of(header, id)
    if former is None or kept is None or kept.session != short(former.id):
        return None
    # Made again of the former cookie, as the request has made it whose answer was lost.
    new_id, _ = yield from engine.adopt(seed_of(former.id, id), context, state)
    if core.ended is None or not goes_on_as(core.ended, former.id, new_id):
        return None
    bond = Bond(thumbprint_of(kept.key), id, kept.key)
    made = Held(record=_bound(core, former, new_id, bond), names=(context.cookie_name,), replaces=former)
    found = yield from _heeded(core, state, made, context)
    return None if found.record is None else found


def _heeded(core: Core, state: State, held: Held, context: Context) -> Flow[Held]:
    """The same, or nothing where the list says that it has ended."""
    if core.ended is None or held.record is None:
        return held
    return (yield from judge(core, state, held, context))


def _successor(core: Core, state: State, successor: bytes, context: Context) -> Flow[Held | None]:
    engine = core.engine
    assert isinstance(engine, StoreEngine)
    if not successor:
        return None
    secret = engine.secret_in(state.header, context.cookie_name)
    look, _ = yield from engine.ask(successor, values.encode_bytes(successor), context.now, state)
    bond = None if look.record is None else bond_of(look.record)
    if secret is None or bond is None:
        return None
    new_id, held = yield from engine.adopt(seed_of(secret, bond.id), context, state)
    return _ours(held, bond.id, context) if new_id == successor else None


def _ours(held: Held, binding: bytes, context: Context) -> Held | None:
    bond = None if held.record is None else bond_of(held.record)
    if bond is None or bond.id != binding:
        return None
    held.names = (context.cookie_name,)
    return held

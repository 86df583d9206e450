"""Load: from a request's cookies to what its session holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardtack import record as records
from hardtack.binding.binding import Status
from hardtack.binding.open import Device, open_flow, refuse
from hardtack.cookies import DEFAULT_NAME, FORMER_DEFAULT_NAME, parse
from hardtack.engines import chunks
from hardtack.errors import StoreUnavailable
from hardtack.events import Opened
from hardtack.flow import Flow, arun, run
from hardtack.impersonation import ACTOR, acts
from hardtack.lifecycle import acting, keeping, moving, takeover
from hardtack.lifecycle.listed import is_alive, judge
from hardtack.protocols import Context, Held
from hardtack.session import Session, Unread, become_live, not_loaded, state_of
from hardtack.state import State, nothing
from hardtack.tracking import Tracking

if TYPE_CHECKING:
    from hardtack.core import Core


def load(core: Core, session: Session) -> None:
    """Load from sync code. Raises `StoreUnavailable` once in a request; `SessionNotLoaded` where only async code can."""
    state = state_of(session)
    if state.held is None:
        load_now = core.load_now
        if (
            load_now is not None
            and not core.settings.accept
            and not core.accepted
            and core.binding is None
            and not has_former(core, state.header)
        ):
            held = load_now(state.header, core.context(), state)
            if core.ended is None or held.record is None or is_alive(core.ended, held.record):
                if held.record is not None and held.record.options and ACTOR in held.record.options:
                    held = run(acting.find_waiting(core, state, held, core.context()), None)
                state.held = held
        if state.held is None:
            if core.asynchronous is not None and carries(core, state.header):
                not_loaded()
            run(load_flow(core, session), core.engine.store)  # type: ignore[arg-type]
    if isinstance(session, Unread):
        _begin(core, session, state)


async def aload(core: Core, session: Session) -> None:
    """`load` under async code; the session stays unread until somebody looks at it."""
    state = state_of(session)
    if state.held is None:
        await arun(load_flow(core, session), core.engine.store)
    if state.refusal is not None and not core.traits.anonymous and isinstance(session, Unread):
        _begin(core, session, state)


def load_flow(core: Core, session: Session) -> Flow[None]:
    """What the engine finds, as a flow; `state.held` is that."""
    state = state_of(session)
    context = core.context()
    try:
        held = yield from moving.load(core, state, context)
        if has_former(core, state.header):
            if held.names:  # both are there: what clears the one must not leave the other to the next request
                held.names = (*held.names, *former_names(state.header))
            else:
                held = yield from _load_former(core, state, context)
        if core.settings.accept and not held.names:
            adopted = yield from takeover.take_over(core, state, context)
            held = held if adopted is None else adopted
        former = held.record
        if core.ended is not None and held.record is not None:
            held = yield from judge(core, state, held, context)
        if core.settings.keeps:
            held = yield from keeping.follow(core, state, held, context)
        if core.binding is not None and held.names:
            yield from moving.settle(core, state, held, context)
            kept = None if held.record is None else held.record.options.get("binding")
            at = 0 if kept is None else core.binding.proved_at(state.header, kept)
            if at:
                state.device = Device(Status.BOUND, held.record, at)
            else:
                held = yield from open_flow(core, core.binding, state, held, former, context)
        if held.record is not None and ACTOR in held.record.options:
            held = yield from acting.find_waiting(core, state, held, context)
    except StoreUnavailable as error:
        core.store_failed("load", error, state.request)
        if state.held is None:
            state.refusal = error
            state.held = Held()
        return
    if state.held is None:  # another task of this request may have been faster, and changed the session since
        state.held = held


def has_former(core: Core, header: str) -> bool:
    """Whether a request may carry a cookie under the name that was the default before."""
    return FORMER_DEFAULT_NAME in header and core.cookie.name == DEFAULT_NAME


def former_names(header: str) -> list[str]:
    """The cookies under that name, its chunks among them, and no others: each is cleared with a line of the answer."""
    there = parse(header)
    return [name for name in (FORMER_DEFAULT_NAME, *chunks.names(FORMER_DEFAULT_NAME)) if name in there]


def _load_former(core: Core, state: State, context: Context) -> Flow[Held]:
    """A session under the name that was the default before: it goes on under today's."""
    held: Held = yield from core.engine.load(state.header, context._replace(cookie_name=FORMER_DEFAULT_NAME), state)
    if held.record is not None:
        held.current = False
        held.resend = True
    return held


def _begin(core: Core, session: Session, state: State) -> None:
    """What the engine found becomes what the session knows. Raises `StoreUnavailable` where it could not be asked."""
    assert state.held is not None
    if state.held.names:
        core.logins_alone = 0
    record = state.held.record
    if record is not None and state.refusal is None:
        state.record = state.base = state.meta = record
        if record.plain is None:
            records.pack(record)
        become_live(session, record.data, Tracking(record.data) if core.traits.remembers else None)
        if core.hears(Opened):
            core.emit(Opened, record.id, record.subject, request=state.request, acting=acts(record))
        if state.device is not None and state.device.skipped:
            refuse(session)
        return
    if state.refusal is not None:
        # From here on a read in this request gets an empty session, so that a page that shows the error can be made.
        state.accessed = True  # whoever reads it now cannot be seen
        state.meta = nothing()
        become_live(session, {}, None)
        if not core.traits.anonymous:
            raise state.refusal
        return
    if state.taken is None or state.taken.record is None:
        state.meta = nothing()
    data = state.meta.data
    become_live(session, data, Tracking(data) if core.traits.remembers else None)


def carries(core: Core, header: str) -> bool:
    """Whether a request carries a session cookie, of hardtack's or one to take over."""
    if core.engine.carries(header, core.cookie):
        return True
    if not header:
        return False
    if has_former(core, header) or moving.carries(core, header):
        return True
    if not core.settings.accept:
        return False
    cookies = parse(header)
    return any(each.traits.names_in(cookies, each.cookie.name) for each in core.settings.accept)

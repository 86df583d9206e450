"""Acting: what load and save do beside a session in which somebody acts as another user (`hardtack.impersonation`)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hardtack import values
from hardtack.errors import SessionConflict
from hardtack.events import Destroyed, LoggedIn, LoggedOut, Rejected
from hardtack.flow import Flow
from hardtack.impersonation import ACTOR, LINK, acts, waiting_id
from hardtack.lifecycle import listed, moving, registry
from hardtack.lifecycle.decide import decide
from hardtack.lifecycle.limit import check_limit, save_limited
from hardtack.lifetime import absolute_deadline
from hardtack.protocols import Context, Held, Kind, Saved, Saving, VersionConflict
from hardtack.record import Record
from hardtack.state import Beside, State

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.request import Request

_WAITING: Final = "-actor"
"""What the name of the cookie ends with in which the session of one who acts waits."""


def waiting_name(name: str) -> str:
    """The name of the cookie in which, on a cookie engine, the session of one who acts waits."""
    return name + _WAITING


def find_waiting(core: Core, state: State, held: Held, context: Context) -> Flow[Held]:
    """What is to be used of what was found: a session in which somebody acts is worth nothing without her own."""
    record = held.record
    assert record is not None
    raw_id, acting = waiting_id(record), acts(record)
    found = Held()
    if raw_id is not None and core.traits.impersonates:
        other = context._replace(cookie_name=waiting_name(context.cookie_name))
        found = yield from core.engine.waiting(raw_id, state.header, other, state)  # type: ignore[attr-defined]
    if found.record is not None and core.ended is not None and listed.find(core.ended, found.record) is not None:
        found = Held(names=found.names)
    if found.record is None or acting is None or found.record.subject != acting[0]:
        core.emit(Rejected, "actor_ended", context.cookie_name, request=state.request)
        return Held(names=(*held.names, *found.names), clear=True)
    state.waiting = found
    return held


def tell_login(core: Core, record: Record, known: bool | None, request: Request | None) -> None:
    """Who is logged in now, and who acts as them; `known` is whether this browser has logged them in before."""
    assert record.subject is not None
    who = acts(record)
    told = record.id, record.subject, who and who[0], record.options.get("x-label"), known
    core.emit(LoggedIn, *told, request=request, acting=who, until=core.deadlines(record).absolute)


def save_own(
    core: Core, saving: Saving, beside: Beside, context: Context, request: Request | None
) -> Flow[tuple[list[str], Saved | None]]:
    """Save the session of the one who begins to act: its lines; or, where she is logged in no longer, what was done instead.

    It is compared with what is stored even where she has changed nothing: who was logged out everywhere does not come out
    of an old request as somebody else.
    """
    own = beside.own
    assert own is not None
    assert saving.new is not None
    own.forced = True
    decision = decide(own, beside.data, core.settings, saving.now, headers_sent=core.stored)
    assert type(decision) is Saving  # it was forced, or begins with a login
    decision.joined = saving.joined
    if decision.tracking is not None:
        decision.tracking = decision.tracking.so_far()
    new = decision.new
    assert new is not None
    if not new.id:
        new.id = core.new_id(own)
        decision.held = own.held or decision.held
    ends = absolute_deadline(saving.new, core.lifetime)  # until then she may come back, and was idle in neither session
    decision.expires_at = max(decision.expires_at, ends)
    if decision.max_age is not None:
        decision.max_age = max(decision.max_age, ends - saving.now)
    if core.stored:
        new.options = {**new.options, LINK: values.encode_bytes(saving.new.id)}
    else:
        decision.held.names = ()  # the cookie of her session becomes that of the other
        context = context._replace(cookie_name=waiting_name(context.cookie_name))
    if own.limit is not None and decision.login:
        yield from check_limit(core, decision, *own.limit)
    saved: Saved = yield from save_limited(core, own.limit, decision, context)
    if saved.dropped == "stale":
        raise SessionConflict(
            "a parallel request changed what this one had read; nobody acts as another user", saved.paths
        )
    if saved.dropped or saved.record is None or saved.record.subject != new.subject:
        return [], _without_her(saving)
    if decision.login:  # she has logged in with the same request
        tell_login(core, saved.record, None, request)
    lines = [*saved.lines, *(() if own.taken is None else own.taken.clearing)]
    saving.new.options = {**saving.new.options, ACTOR: [new.subject, values.encode_bytes(saved.record.id)]}
    own.waiting = saved.held
    return lines, None


def _without_her(saving: Saving) -> Saved | None:
    """She was logged out meanwhile: what this request has put in begins a session of nobody's; with nothing, none."""
    new = saving.new
    assert new is not None
    if not new.data:
        return Saved(held=Held(), record=None, lines=[], dropped="dead")
    saving.new = Record(new.id, saving.now, None, saving.now, None, {}, new.data)
    return None


def end_others(
    core: Core, state: State, saving: Saving, ends: Iterable[tuple[Held, Record]], cause: str
) -> Flow[list[str]]:
    """End the sessions that end with this commit beside its own; the lines that clear their cookies."""
    lines: list[str] = []
    context = Context(core.cookie.name, core.purpose, saving.now)
    for held, record in ends:
        sent = saving.headers_sent or cause != "logout"
        ended = yield from end_session(core, state, held, record, cause, context, headers_sent=sent)
        lines += ended
    return lines


def end_session(
    core: Core, state: State, held: Held, record: Record, cause: str, context: Context, *, headers_sent: bool
) -> Flow[list[str]]:
    """End a session that is not the request's own, or is not ended by its handler: in all places, and tell of it."""
    ending = Saving(
        kind=Kind.END,
        held=held,
        old=record,
        new=None,
        base=record,
        follows=cause == "logout",
        expires_at=0,
        max_age=None,
        now=context.now,
        headers_sent=headers_sent,
        header=state.header,
    )
    saved: Saved = yield from moving.save(core, ending, context)
    yield from registry.keep_up(core, ending, saved)
    who = acts(record)
    for each in saved.ended or [record.id]:
        core.emit(Destroyed, each, core.old_still_valid, request=state.request, acting=who)
    if record.subject is not None:
        core.emit(LoggedOut, record.id, record.subject, cause, request=state.request, acting=who)
    return saved.lines


def follow_move(core: Core, waiting: Held, new: Record, context: Context) -> Flow[None]:
    """Name the new id of a session in which somebody acts in her own, for the list of her sessions."""
    record = waiting.record
    assert record is not None
    from hardtack.lifecycle.stored import store_engine

    linked = record.with_changes(options={**record.options, LINK: values.encode_bytes(new.id)})
    engine = store_engine(core)
    put = engine.put(waiting.key, linked, core.deadlines(linked).absolute, waiting.version, core)
    with suppress(
        VersionConflict
    ):  # she has changed her own session meanwhile: it is found by its old name for a minute
        waiting.version = yield put
        waiting.record = linked

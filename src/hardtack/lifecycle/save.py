"""Save: what a commit does, from the decision to what the session shows afterwards and the response says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from hardtack import record as records
from hardtack import values
from hardtack.changes import Changes
from hardtack.cookies import MAX_SET_COOKIE, that_fit
from hardtack.engines.store import StoreEngine
from hardtack.errors import (
    ConfigError,
    HardtackError,
    SessionConflict,
    SessionFinished,
    SessionTooLarge,
    StoreError,
    StoreUnavailable,
    TooManySessions,
    UnsupportedValue,
)
from hardtack.events import (
    Confirmed,
    Conflict,
    Created,
    Destroyed,
    IdChanged,
    LateWrite,
    LoggedIn,
    LoggedOut,
    Rejected,
    Renewed,
)
from hardtack.events import Saved as SavedEvent
from hardtack.flow import Flow, run
from hardtack.impersonation import acts
from hardtack.lifecycle import acting, claims, moving
from hardtack.lifecycle.decide import KEPT, Lost, Nothing, decide, rests
from hardtack.lifecycle.limit import check_limit, save_limited
from hardtack.merge import Declared, Merged, changed_reads, join_options, merge, same
from hardtack.protocols import Context, Held, Kind, Saved, Saving
from hardtack.record import Record
from hardtack.session import (
    Committed,
    Session,
    Unread,
    become_committed,
    become_finished,
    data_of,
    fill,
    fold_views,
    follow_views,
    is_untouched,
    refuse_changes,
    state_of,
)
from hardtack.state import COMMITTED, END, FINISHED, KEEP, LIVE, LOGIN, NEW, UNREAD, State, nothing
from hardtack.tracking import Tracking

if TYPE_CHECKING:
    from hardtack.core import Core

# Looking a member up in its Enum takes as long as a call, in Python 3.11.
_, _, _EMPTY, _MOVE, _REPLACE, _END = Kind

_SERVER_ERROR: Final = 500


def begin(core: Core, session: Session, status: int | None) -> Saving | Changes:
    """What is to be saved; or, where nothing is, what the response has to say.

    Raises `TypeError` for what is no session, `ConfigError` for one of another manager, `SessionFinished` for one that was
    changed after its request, `StoreUnavailable` for a page that may have taken a stand-in for the truth, and what `decide`
    raises.
    """
    try:
        state = state_of(session)
    except AttributeError:
        raise _no_session(session) from None
    if state.core is not core:
        _refuse_stranger(state)
    if not state.accessed:
        return Changes([])
    if state.phase is not LIVE or state.refusal is not None:
        changes = _without_deciding(core, session, state, status)
        if changes is not None:
            return changes
    if state.views is not None:
        fold_views(session)
    now = int(core.clock())
    if (
        state.tracking is not None
        and state.taken is None
        and is_untouched(session)
        and rests(state, core.settings, now)
    ):
        settle_phase(core, session, state)
        return _accessed(core, state, [])
    decision = decide(state, data_of(session), core.settings, now, always_renews=core.always_renews)
    if type(decision) is Saving:
        if decision.kind is Kind.END and decision.new is not None and decision.old is not None:
            _warn_of_lost_login(core, decision.old, decision.new)
        return prepare(core, session, decision)
    settle_phase(core, session, state)
    if decision is KEPT and state.taken is None:  # nearly every request: what is stored goes on as it is
        return _accessed(core, state, [])
    if type(decision) is Lost:
        return _drop(core, session, "dead", (), unsafe=state.is_unsafe)
    assert type(decision) is Nothing
    state.forced = False
    return _accessed(core, state, _lines_without_saving(core, state, clears=decision.clears))


def rest(core: Core, session: Session) -> Changes | None:
    """What the response has to say of a session that goes on as it is; None where `begin` has to be asked.

    For an adapter that has to know whether a session was changed before it commits it: its data is packed once for both.
    """
    state = state_of(session)
    if state.core is not core or core.binding is not None or state.taken is not None or state.refusal is not None:
        return None
    if state.phase is not LIVE or not rests(state, core.settings, int(core.clock())):
        return None
    fold_views(session)
    if state.tracking is None or not is_untouched(session):
        assert state.record is not None
        try:
            if state.record.packed_unless_kept(data_of(session), core.settings.strict_values) is not None:
                return None
        except UnsupportedValue:
            return None
    settle_phase(core, session, state)
    return _accessed(core, state, [])


def _warn_of_lost_login(core: Core, old: Record, new: Record) -> None:
    """Say it where all of a session was put back after its end: that idiom is older than ids which can be changed."""
    if old.subject is None or new.subject is not None:
        return
    before = old.own_data()
    if before and all(name in new.data and same(value, new.data[name]) for name, value in before.items()):
        core.warn_once(
            "a session was cleared and its data put back, which ends the login: to give the same session a new id, call "
            "session.regenerate()"
        )


def _without_deciding(core: Core, session: Session, state: State, status: int | None) -> Changes | None:
    """What the response says where there is nothing to decide; None where there is, after a first commit."""
    if isinstance(session, Unread):  # the session was handed out and not looked at
        return _accessed(core, state, [])
    if state.phase is FINISHED:
        return _finished_again(core, session, state)
    return _refused(core, state, status) if state.refusal is not None and state.fate is not END else None


def prepare(core: Core, session: Session, saving: Saving) -> Saving:
    """The same, with an id where one is to be drawn. Raises `ConfigError` for a cookie for development on a site."""
    if core.cookie.development and saving.kind is not _END:
        request = state_of(session).request
        core.cookie.check_place(*("", "") if request is None else (request.scheme, request.hostname))
    saving.joined = session.joined
    if saving.tracking is not None:
        saving.tracking = saving.tracking.so_far()
    if saving.kind is _EMPTY and not core.stored:  # it must not come back from another system's cookie
        core.clear_foreign(state_of(session))
    if saving.login and core.settings.keeps:  # who logs in here is no longer who the other system's cookie says
        core.clear_foreign(state_of(session))
    saving.clearing = sum(map(len, _foreign_lines(state_of(session))))
    if saving.new is not None and not saving.new.id:
        saving.new.id = core.new_id(state_of(session))
        moving.forget(saving.new)
        saving.held = state_of(session).held or saving.held
    return saving


def _lines_without_saving(core: Core, state: State, *, clears: bool) -> list[str]:
    held = state.held
    lines: list[str] = []
    if held is not None:
        if clears:
            lines += _lines_of_end(core, state, held)
            held.clear = False
        elif held.disputed:
            lines += planted_lines(core, state)
        held.disputed = False
    if state.taken is not None:
        lines += state.taken.clearing
        state.taken = None
    return lines


def _lines_of_end(core: Core, state: State, held: Held) -> list[str]:
    """The lines that clear the cookies of a session that ends.

    Of cookies that dispute each other ours goes only where the others go with it: alone, the planted one would be used by the
    next request.
    """
    if not held.disputed:
        return core.cookie.clear_all(held.names)
    planted = planted_lines(core, state)
    own = held.names if len(planted) > len(core.cookie.clearing_formerly) else ()
    return [*(core.cookie.clear_cookie(name) for name in own), *planted]


def planted_lines(core: Core, state: State) -> list[str]:
    """The lines that clear cookies of our name where somebody else may have set them."""
    request = state.request
    if request is None:
        return list(core.cookie.clearing_formerly)
    return core.cookie.clear_planted(request.hostname, request.path)


def save_flow(core: Core, session: Session, saving: Saving) -> Flow[Changes]:
    """Save with an engine that may wait."""
    sent = saving.new  # which the engine may replace
    context = Context(core.cookie.name, core.purpose, saving.now)
    state = state_of(session)
    try:
        yield from _permit(core, state, saving, context)
        if state.beside is not None or state.waiting is not None:
            saved = yield from _save_two(core, state, saving, context)
        else:
            saved = yield from save_limited(core, state.limit, saving, context)
    except SessionTooLarge as error:
        moved = not core.stored and saving.renewal and saving.held.moved is not None
        if not moved and (core.stored or not _was_only_taken_over(session)):
            raise failed(core, session, saving, error) from error.__cause__
        return _keep_the_other(core, session)
    except HardtackError as error:
        if isinstance(error, SessionConflict):
            yield from _remove_taken(core, state)
        raise failed(core, session, saving, error) from error.__cause__
    if saved.dropped:
        yield from _remove_taken(core, state)
    return settle(core, session, saving, sent, saved)


def _permit(core: Core, state: State, saving: Saving, context: Context) -> Flow[None]:
    """Ask for what may be refused, before anything is saved: one-time values, and the number of a user's sessions.

    An end is carried out all the same, without what was to begin after it.
    """
    try:
        yield from claims.claim(core, state, saving.now)
        if state.limit is not None and saving.login:
            yield from check_limit(core, saving, *state.limit)
    except (SessionConflict, TooManySessions):
        if saving.kind is not Kind.END:
            raise
        refused = saving.new is not None
        saving.new, saving.login = None, False
        if refused:
            saved = yield from moving.save(core, saving, context)
            _tell(core, state, saving, saved)
            raise


def _take(core: Core, state: State) -> Flow[None]:
    """Take what a request has taken that saves nothing."""
    with suppress(SessionConflict):
        yield from claims.claim(core, state, core.now())
    yield from _remove_taken(core, state)


def _remove_taken(core: Core, state: State) -> Flow[None]:
    """What was taken is gone, though nothing of its request was saved."""
    engine = core.engine
    if state.once and state.record is not None and isinstance(engine, StoreEngine):
        yield from claims.remove(core, engine, state.record.id, tuple(name for name, _ in state.once))


def _save_two(core: Core, state: State, saving: Saving, context: Context) -> Flow[Saved]:
    """Save where somebody acts as another user, or begins or ends that."""
    beside = state.beside
    lines: list[str] = []
    if beside is not None and beside.own is not None:
        lines, instead = yield from acting.save_own(core, saving, beside, context, state.request)
        if instead is not None:
            return instead
        saving.beside = sum(map(len, lines))
    saved: Saved = yield from save_limited(core, state.limit, saving, context)
    if beside is not None and beside.ends:
        cause = "stopped" if beside.stops and saving.kind is not Kind.END else "logout"
        lines += yield from acting.end_others(core, state, saving, beside.ends, cause)
        if saved.dropped and not saving.headers_sent:  # nobody is logged in any more
            raise SessionConflict("the session of the one who acted was ended meanwhile: nobody is logged in")
    elif core.stored and state.waiting is not None and saving.kind is Kind.MOVE and saved.record is not None:
        yield from acting.follow_move(core, state.waiting, saved.record, context)
    saved.lines += lines
    return saved


def save_now(core: Core, session: Session, saving: Saving) -> Changes:
    """Save with an engine that waits for nothing."""
    sent = saving.new
    if state_of(session).beside is not None:
        return run(save_flow(core, session, saving), None)
    try:
        saved = core.save_now(saving, Context(core.cookie.name, core.purpose, saving.now), core)  # type: ignore[misc]
    except SessionTooLarge as error:
        if not _was_only_taken_over(session):
            raise failed(core, session, saving, error) from error.__cause__
        return _keep_the_other(core, session)
    except HardtackError as error:
        raise failed(core, session, saving, error) from error.__cause__
    return settle(core, session, saving, sent, saved)


def _keep_the_other(core: Core, session: Session) -> Changes:
    """Another system's cookie can be smaller than ours, by compression: who only reads keeps that one."""
    state = state_of(session)
    core.emit(Rejected, "too_large", core.cookie.name, request=state.request)
    settle_phase(core, session, state)
    return _accessed(core, state, [])


def _was_only_taken_over(session: Session) -> bool:
    state = state_of(session)
    if state.taken is None or state.taken.record is None or state.fate is not KEEP or state.begins is LOGIN:
        return False
    return state.taken.record.is_kept_as(data_of(session))


def failed(core: Core, session: Session, saving: Saving, error: HardtackError) -> HardtackError:
    """The error of a commit, with the lines that its answer should carry: an end clears the cookie all the same."""
    state = state_of(session)
    if isinstance(error, StoreUnavailable):
        core.store_failed("save", error, state.request)
    if saving.kind is _END and not saving.headers_sent:
        error.set_cookies = [*_lines_of_end(core, state, saving.held), *_foreign_lines(state)]
    if isinstance(error, SessionConflict):
        outcome = "stale" if error.paths else "dropped"
        core.emit(Conflict, state.known_id, outcome, error.paths, request=state.request, acting=acts(state.meta))
    return error


def _foreign_lines(state: State) -> Sequence[str]:
    return () if state.taken is None else state.taken.clearing


def settle(core: Core, session: Session, saving: Saving, sent: Record | None, saved: Saved) -> Changes:
    """Tell what was saved, which is what later changes are compared with; what the response has to say of it."""
    state = state_of(session)
    lines = saved.lines
    lines += _foreign_lines(state)
    if saved.dropped:
        return _drop(core, session, saved.dropped, saved.paths, unsafe=saving.unsafe)
    if saving.renewal and saved.record is None:  # it is another's by now: this request shows what it loaded
        settle_phase(core, session, state)
        return _accessed(core, state, lines)
    if saving.held.disputed and not saving.headers_sent:
        room = MAX_SET_COOKIE - sum(map(len, lines))
        lines += that_fit([line for line in planted_lines(core, state) if line not in lines], room)
    known = _count_login(core, session, saving, saved) if saving.login else None
    if core.hears(LoggedIn) or saving.renewal == "clock":  # nothing else that a commit tells is of a higher level
        _tell(core, state, saving, saved, known)
    record, loaded = saved.record, state.base
    if state.beside is not None and state.beside.own is not None:
        state.waiting = state.beside.own.waiting
    state.settle(record, saved.held)
    if record is not None:
        if record.plain is None:  # it was written in another form than MessagePack
            records.pack(record)
        if record is not sent and sent is not None:  # it was merged with what another request had saved
            noted = set() if saving.tracking is None else saving.tracking.noted
            _show(session, sent, record, loaded, noted, Declared(core.traits.merge.names, session.joined))
    settle_phase(core, session, state)
    return _accessed(core, state, lines)


def _count_login(core: Core, session: Session, saving: Saving, saved: Saved) -> bool | None:
    """Count a login; whether the user has logged in with this browser before, which remembers it."""
    if not saving.held.names:
        core.count_login()
    record = saved.record
    if core.devices is None or record is None or record.subject is None or not session.knows_device:
        return None
    return core.devices.meet(core, state_of(session), record.subject, saved.lines, saving.now)


def _show(
    session: Session, sent: Record, saved: Record, loaded: Record | None, noted: set[str], declared: Declared
) -> None:
    """Show what was saved in the place of what was sent, and keep what a task or a thread has changed meanwhile.

    What it has read meanwhile, and another request had changed since it was loaded, makes what it has changed stale.
    """
    tracking = state_of(session).tracking
    if tracking is not None:
        base = {} if loaded is None else loaded.own_data()
        late = [name for name in tracking.noted - noted if not declared.has(name)]
        stale = [name for name in late if not same(base.get(name), saved.data.get(name))]
        tracking.stale = (*tracking.stale, *stale)
    shown = merge(sent.own_data(), saved.data, data_of(session), Tracking({}), declared)
    fill(session, shown.data if isinstance(shown, Merged) else saved.data)


def settle_phase(core: Core, session: Session, state: State) -> None:
    """The headers are about to leave."""
    if state.phase is LIVE or state.phase is COMMITTED:
        become_committed(session, told=not core.stored)


def _drop(
    core: Core, session: Session, dropped: Literal["stale", "dead"], paths: Sequence[str], *, unsafe: bool
) -> Changes:
    """A save is not done: an error where the browser would be told that it was, and an event in any case.

    What this request changes from now on is lost as well: to change it raises the same error.
    """
    if dropped == "stale":
        told = f"a parallel request changed what this one had read ({', '.join(map(repr, paths))}); nothing of it was saved"
    else:
        told = "the session was ended or got a new id meanwhile; nothing of this request was saved"
    state = state_of(session)
    error = SessionConflict(told, paths)
    outcome = "stale" if dropped == "stale" else "dropped"
    core.emit(Conflict, state.known_id, outcome, tuple(paths), request=state.request, acting=acts(state.meta))
    refuse_changes(session, error)
    if unsafe:
        raise session.translate(error)
    return _accessed(core, state, [], dropped)


def _accessed(core: Core, state: State, lines: list[str], dropped: str = "") -> Changes:
    if lines and core.on_lines is not None:
        core.on_lines(lines)
    return Changes(lines, True, False, state.cache_control_replaced, dropped)


def own_state(core: Core, session: Session) -> State:
    """The state of a session of this manager. Raises `TypeError` for what is no session, `ConfigError` for another's."""
    try:
        state = state_of(session)
    except AttributeError:
        raise _no_session(session) from None
    if state.core is not core:
        _refuse_stranger(state)
    return state


def _no_session(given: object) -> TypeError:
    return TypeError(f"commit, abort and finish take the session that open() has returned, not {type(given).__name__}")


def _refuse_stranger(state: State) -> NoReturn:
    if state.core is None:
        raise ConfigError("a Session(…) made by hand has no cookie and no store: fill one of sessions.open() instead")
    raise ConfigError("this session was opened by another SessionManager: commit it with the one that opened it")


def _finished_again(core: Core, session: Session, state: State) -> Changes:
    if session.modified:
        raise SessionFinished(
            "the session's request is over, and it was changed since: a handler must not keep a session for later. Open one "
            "for each request, or use sessions.update(id, function)"
        )
    return _accessed(core, state, [])


def _refused(core: Core, state: State, status: int | None) -> Changes:
    """The response of a request whose session is a stand-in."""
    error = state.refusal
    if isinstance(error, StoreUnavailable) and not core.traits.anonymous and (status is None or status < _SERVER_ERROR):
        # A page that takes "nobody" for an answer must not be sent.
        raise error
    changes = _accessed(core, state, list(error.set_cookies) if error is not None else [])
    changes.no_store = True
    state.phase = COMMITTED
    return changes


# --- what was done, told


def _tell(core: Core, state: State, saving: Saving, saved: Saved, known: bool | None = None) -> None:
    old, record, request = saving.old, saved.record, state.request
    valid = core.old_still_valid
    who = acts(record)
    if saving.kind in (_END, _REPLACE):
        for ended in saved.ended or ([old.id] if old is not None else []):
            core.emit(Destroyed, ended, valid, request=request, acting=acts(old))
        if old is not None and old.subject is not None:
            cause = "logout" if saving.kind is _END else "login"
            core.emit(LoggedOut, old.id, old.subject, cause, request=request, acting=acts(old))
    if record is None:
        return
    if saving.kind is _MOVE and old is not None and not saved.began:
        core.emit(IdChanged, old.id, record.id, valid, request=request, acting=who)
    elif old is None or saved.began or saving.kind in (_END, _REPLACE):
        core.emit(Created, record.id, request=request, acting=who)
    elif saving.renewal:
        core.emit(Renewed, record.id, saving.renewal, request=request, acting=who)
    else:
        core.emit(SavedEvent, record.id, request=request, acting=who)
    if saved.conflict and not saving.renewal:
        core.emit(Conflict, record.id, saved.conflict, saved.paths, request=request, acting=who)
    if (saving.login or (who is not None and old is None)) and record.subject is not None:
        acting.tell_login(core, record, known, request)
    if old is not None and record.options.get("confirmed", {}) != old.options.get("confirmed", {}):
        methods = tuple(sorted(record.options.get("confirmed", {})))
        core.emit(Confirmed, record.id, record.subject, methods, request=request, acting=who)


# --- a request that failed


def abort_flow(core: Core, session: Session) -> Flow[Changes]:
    """What a request that failed does all the same: it ends what the handler ended, and takes what was taken once."""
    state = own_state(core, session)
    refused = state.refusal is not None and state.fate is not END
    if isinstance(session, Unread) or state.phase in (UNREAD, FINISHED) or refused:
        lines = list(state.refusal.set_cookies) if state.refusal is not None else []
        return Changes(lines, state.accessed)
    conflict = state.refusal is not None and state.is_unsafe  # its commit has raised: the page for that is yet to come
    headers_sent = state.phase is COMMITTED and not conflict
    changes = Changes([], state.accessed)
    try:
        if state.fate is END:
            state.meta = nothing()
            state.begins, state.limit = NEW, None  # a login that was asked for after it is not carried out
            decision = decide(state, {}, core.settings, core.now(), headers_sent=headers_sent)
            if type(decision) is Saving:
                changes = yield from save_flow(core, session, decision)
            else:
                changes.set_cookies += _lines_without_saving(core, state, clears=True)
        else:
            yield from _take(core, state)
    finally:
        become_finished(session)
    return changes


# --- after the headers


def is_late(session: Session) -> bool:
    """Whether anything was changed since the commit: what `finish` is for. What cannot be encoded was."""
    state = state_of(session)
    if not state.accessed:
        return False
    if isinstance(session, Committed):
        # A method that was bound before does not tell; what it adds shows in the number of keys.
        return state.forced or state.fate is not KEEP or state.begins is LOGIN or len(session) != state.size
    if state.phase in (UNREAD, FINISHED):
        return False
    if state.refusal is not None:
        return state.fate is END
    try:
        return session.modified
    except UnsupportedValue:
        return True


def finish_flow(core: Core, session: Session) -> Flow[None]:
    """Save what was changed after the headers, as far as that needs no cookie; what cannot be saved is an event."""
    state = state_of(session)
    known = state.known_id
    if not _can_be_late(core, state):
        yield from _take(core, state)
        core.emit(LateWrite, known, request=state.request, acting=acts(state.meta))
        return
    try:
        fold_views(session)
        decision = decide(state, data_of(session), core.settings, core.now(), headers_sent=True)
        if type(decision) is not Saving:
            return
        decision = prepare(core, session, decision)
        decision.unsafe = False  # the browser was told already
        lost = decision.kind is _END and decision.new is not None  # it has no cookie for what was put in since
        if lost:
            decision.new = None
        changes: Changes = yield from save_flow(core, session, decision)
        if lost or changes.dropped:
            core.emit(LateWrite, known, request=state.request, acting=acts(state.meta))
    except (StoreError, SessionConflict, UnsupportedValue, SessionTooLarge) as error:
        core.store_failed("finish", error, state.request)
        core.emit(LateWrite, known, request=state.request, acting=acts(state.meta))


def _can_be_late(core: Core, state: State) -> bool:
    """Whether a late change needs no cookie, and something but a cookie to keep it."""
    if state.fate is END:
        return core.stored or not core.old_still_valid
    return core.stored and state.fate is KEEP and state.record is not None and state.begins is not LOGIN


# --- what `update` changed of a session


def refresh(session: Session, fetched: Record, record: Record, version: Any, declared: Declared) -> None:
    """Show what `update` saved in the request's own session, beside what that has changed and not saved yet.

    It counts as this request's own. What the request had read before, and another has changed, makes it stale all the same.
    """
    state = state_of(session)
    fold_views(session)
    base = {} if state.base is None else state.base.own_data()
    mine = data_of(session)
    tracking = state.tracking
    if tracking is not None:
        stale = changed_reads(base, fetched.data, tracking, Declared(joined=session.joined))
        tracking.stale = (*tracking.stale, *(name for name in stale if name not in tracking.stale))
    overlay = merge(base, record.data, mine, _blind(state, base), declared)
    _show_changed(session, mine, overlay.data if isinstance(overlay, Merged) else record.data)
    before, state.record, state.base = state.record, record, record
    assert before is not None
    state.meta = _with_changes(state, before, record)
    if len(state.once) > state.claimed:  # what is stored may look as if this request had taken it: the commit finds out
        state.forced = True
    assert state.held is not None  # what is stored was loaded, or saved, through the engine
    state.held.version = version


def change_unstored(session: Session, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """The same of a session that is not stored yet: all that it holds after the change."""
    fold_views(session)
    data = data_of(session)
    fill(session, change(data))
    follow_views(session)
    return data_of(session)


def _show_changed(session: Session, mine: dict[str, Any], data: dict[str, Any]) -> None:
    """Show data, by the objects that the session has of it already: the handler may hold them, and change them later."""
    fresh = values.unpack(values.pack({name: value for name, value in data.items() if not _has(mine, name, value)}))
    fill(session, {name: fresh[name] if name in fresh else mine[name] for name in data})
    follow_views(session)


def _has(data: dict[str, Any], name: str, value: Any) -> bool:
    return name in data and same(data[name], value)


def _with_changes(state: State, before: Record, now: Record) -> Record:
    """The fields to be stored next: what is stored now, with what this request has changed of them since before."""
    meta = state.meta
    if meta is before:
        return now
    if state.begins is LOGIN:
        return meta
    fields: dict[str, Any] = {"options": join_options(before.options, now.options, meta.options)}
    if meta.id != before.id:
        fields["id"] = meta.id
    if (meta.subject, meta.authenticated) != (before.subject, before.authenticated):
        fields |= {"subject": meta.subject, "authenticated": meta.authenticated}
    return now.with_changes(**fields)


def _blind(state: State, base: dict[str, Any]) -> Tracking:
    """Tracking of a request that read nothing: all that it changed is laid over."""
    blind = Tracking(base)
    if state.tracking is not None:
        blind.assigned = state.tracking.assigned
        blind.order = state.tracking.order
    return blind

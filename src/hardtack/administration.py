"""What a manager can do to stored sessions outside of a request: read-modify-write, list, count, end."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hardtack import values
from hardtack.errors import ConfigError, SessionConflict, StoreUnavailable
from hardtack.events import Destroyed, LoggedOut, Saved
from hardtack.flow import Ask, Count, Flow, on
from hardtack.impersonation import LINK
from hardtack.lifecycle import moving, registry
from hardtack.lifecycle.save import change_unstored, refresh
from hardtack.lifecycle.stored import (
    end_record,
    finds,
    goes_on_as,
    is_listed,
    keys_of,
    living,
    of_subject,
    sessions_of,
    store_engine,
)
from hardtack.lifetime import LATEST, Deadlines
from hardtack.login import check_subject
from hardtack.merge import Declared
from hardtack.protocols import VersionConflict
from hardtack.record import LEFT, Record
from hardtack.session import Session, changing, data_of
from hardtack.state import END, KEEP, REPLACE

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.ended import EndedSessions

Change = Callable[[dict[str, Any]], object]

MAX_ATTEMPTS: Final = 1000
"""Lost races after which `update` is a conflict: it is called where a change must not be lost."""


_COOKIE_ID: Final = 16
"""Bytes of the id of a session in a cookie."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a list of a user's sessions shows. The id is a public handle; times are UTC.

    `label` is what `login(label=…)` was given, `actor` who acts as the user, `confirmed_at` when a factor was shown again.
    `seen_at` is None where a registry lists sessions in cookies.
    """

    id: str
    created_at: dt.datetime
    authenticated_at: dt.datetime | None
    seen_at: dt.datetime | None
    expires_at: dt.datetime
    label: str | None = None
    actor: str | None = None
    confirmed_at: dt.datetime | None = None


SessionInfos = list[SessionInfo]


def update(core: Core, session: Session | str, function: Change) -> Flow[dict[str, Any]]:
    """`SessionManager.update`, as a flow."""
    engine, context = store_engine(core), core.context()
    if inspect.iscoroutinefunction(function):
        raise TypeError("update() and aupdate() take a plain function: a coroutine function would change nothing")
    own: Session | None = None
    if isinstance(session, Session):
        own = session
        state = changing(own)
        if state.core is not core:
            raise ConfigError("update() was given a session of another SessionManager, or one made by hand")
        if state.held is not None and state.held.moved is not None and state.fate not in (END, REPLACE):
            yield from moving.settle(core, state, state.held, context)
        begins = state.record is None or state.fate in (END, REPLACE)
        if begins:  # nothing is stored yet of what this request shows, so nobody else can change it
            dead = state.held is not None and state.held.dead is not None
            if dead and state.fate is KEEP and not data_of(own):
                raise SessionConflict("the session was ended")
            return change_unstored(own, partial(_changed, function))
        assert state.record is not None
        assert state.held is not None
        found: tuple[bytes, str] | None = (state.record.id, engine.stored_key(state.held, state.record.id))
    else:
        found = yield from engine.find_key(_id(session, "session"))
    for _ in range(MAX_ATTEMPTS):
        stored = None if found is None else (yield from living(core, *found, context))
        if found is None or stored is None:
            raise SessionConflict("the session was ended, or has expired")
        record, version = stored
        fetched = record.with_changes(data=record.own_data())
        record.data = _changed(function, record.data)
        put = engine.put(found[1], record, core.deadlines(record).nearest, version, core, _allowed(core, fetched))
        try:
            version = yield put
        except VersionConflict:
            continue
        core.emit(Saved, record.id)
        if own is not None:
            refresh(own, fetched, record, version, Declared(engine.merge.names, own.joined))
        return record.data
    raise SessionConflict("the session was saved by other requests again and again")


def list_sessions(core: Core, subject: str) -> Flow[SessionInfos]:
    """`SessionManager.list`, as a flow."""
    found = {info.id: info for info in (yield from _list(core, subject))}
    for view in moving.stored_elsewhere(core):
        if finds(view):
            for info in (yield from on(view.store, _list(view, subject))):
                if info.id not in found and not (yield from _has_ended_here(core, info.id)):
                    found[info.id] = info
    return _newest_first(list(found.values()))


def _has_ended_here(core: Core, id: str) -> Flow[bool]:
    """Whether an id that an accepted store still has was ended or changed in the manager's own, which is to tell it so."""
    if not core.stored:
        return False
    look, _ = yield from store_engine(core).ask(values.decode_bytes(id), id, core.now(), core)
    return look.dead is not None


def _list(core: Core, subject: str) -> Flow[SessionInfos]:
    """Those that one engine has."""
    context = core.context()
    found = []
    if core.registry is not None:
        records = yield from registry.sessions_of(core, check_subject(subject, "list()"))
        found = [replace(_info(record, core.deadlines(record)), seen_at=None) for record in records]
        return found
    for record, _ in (yield from sessions_of(core, subject)):
        if LEFT not in record.options:
            found.append(_info(record, core.deadlines(record)))
            acting = record.options.get(LINK)
            if acting is not None:  # the user acts as another in a session that the index has as the other's
                other = yield from of_subject(core, acting, subject, context)
                if other is not None and not is_listed(core, other):
                    found.append(_info(other, core.deadlines(other)))
    return found


def _newest_first(found: SessionInfos) -> SessionInfos:
    return sorted(found, key=lambda info: (info.authenticated_at or info.created_at, info.id), reverse=True)


def count(core: Core, subject: str | None) -> Flow[int]:
    """`SessionManager.count`, as a flow."""
    if subject is not None and core.accepted:
        return len((yield from list_sessions(core, subject)))
    total = yield from _count(core, subject)
    for view in moving.stored_elsewhere(core):
        total += yield from on(view.store, _count(view, subject))
    return total


def _count(core: Core, subject: str | None) -> Flow[int]:
    """How many one engine has."""
    if core.registry is not None:
        if subject is None:
            return (yield from registry.count(core))
        return len((yield from registry.sessions_of(core, check_subject(subject, "count()"))))
    if subject is not None:  # an index may be behind: each is looked at
        return len((yield from sessions_of(core, subject)))
    engine = store_engine(core)
    if not engine.traits.counts:
        message = f"{type(engine.store).__name__} cannot count its sessions (it has no count())"
        raise ConfigError(message)
    return int((yield Count(None)))


def end(core: Core, id: str, subject: str | None) -> Flow[bool]:
    """`SessionManager.end`, as a flow."""
    _id(id, "id")
    ended = yield from _end_here(core, id, subject)
    for view in moving.told_elsewhere(core):
        ended = (yield from on(view.store, _end_here(view, id, subject))) or ended
    if core.stored and not ended and any(moving.stored_elsewhere(core)):  # it may have moved between the two questions
        return (yield from _end_here(core, id, subject))
    return ended


def _end_here(core: Core, id: str, subject: str | None) -> Flow[bool]:
    """End a session of one engine."""
    if core.ended is not None and not core.stored:
        return (yield from _tell_end(core, core.ended, id, subject))
    engine, context = store_engine(core), core.context()
    found = yield from engine.find_key(id)
    if found is None:
        return False
    found = yield from goes_on_as(core, *found, context)  # whose it is says the session that lives
    if subject is not None:
        record = yield from of_subject(core, found[1], subject, context)
        if record is None:
            return False
    ended = yield from _end(core, *found)
    if ended and core.ended is not None:
        yield Ask(partial(core.ended.end_session, found[0], "ended", subject))
    return bool(ended)


def _tell_end(core: Core, ended: EndedSessions, id: str, subject: str | None) -> Flow[bool]:
    """Tell the list that a session in a cookie has ended, whether there is such a one or not."""
    raw_id = _raw(id)
    if raw_id is None or len(raw_id) != _COOKIE_ID:
        return False
    yield Ask(partial(ended.end_session, raw_id, "ended", subject))
    if subject is None:  # else it may be another's, and go on: `list` asks
        yield from registry.forget(core, raw_id)
    core.emit(Destroyed, raw_id, False)
    if subject is not None:
        core.emit(LoggedOut, raw_id, subject, "ended")
    return True


def end_all(core: Core, subject: str | None, keep: str | None, sid: str | None = None) -> Flow[int]:
    """`SessionManager.end_all`, as a flow."""
    if (subject is None) == (sid is None) or (keep is not None and sid is not None):
        raise TypeError("end_all() takes a subject, with the id to keep where one is, or a sid=")
    if sid is not None:
        yield Ask(partial(_list_of(core, "end_all(sid=…)").end_provider, "", _text(sid, "sid")))
        return 0
    assert subject is not None
    if core.ended is None:
        number = yield from _end_stored(core, subject, keep)
        return number + (yield from _end_elsewhere(core, subject, keep))
    spared = [raw_id for raw_id in map(_raw, _kept(core, keep)) if raw_id is not None and len(raw_id) >= _COOKIE_ID]
    before = [] if core.registry is None else (yield from registry.sessions_of(core, _text(subject, "subject")))
    ended, failure = 0, None
    try:
        # First: it also ends those that change their id as fast as the store is asked for them.
        yield Ask(partial(core.ended.end_subject, _text(subject, "subject"), spared))
    except StoreUnavailable as error:  # known here, told later
        failure = error
    if core.stored and finds(core):
        try:
            ended = yield from _end_stored(core, subject, keep)
        except StoreUnavailable as error:  # what the store cannot be told, the list can
            failure = error
    try:
        ended += yield from _end_elsewhere(core, subject, keep)
    except StoreUnavailable as error:
        failure = error
    if core.registry is not None:
        ended = len(before) - len((yield from registry.sessions_of(core, subject)))
    if failure is not None:
        raise failure
    return ended


def _end_elsewhere(core: Core, subject: str, keep: str | None) -> Flow[int]:
    """End the sessions of a user that accepted stores have. Raises `ConfigError` for one that cannot find them.

    And once more those that are here: one may have moved after it was looked for here, and before it was looked for there.
    """
    ended, asked = 0, False
    for view in moving.stored_elsewhere(core):
        if core.ended is None or finds(view):
            ended += yield from on(view.store, _end_stored(view, subject, keep))
            asked = True
    if asked and core.stored and finds(core):
        ended += yield from _end_stored(core, subject, keep)
    return ended


def _raw(id: str) -> bytes | None:
    """The raw id of a public one, or None for what cannot be one."""
    try:
        return values.decode_bytes(id)
    except ValueError:
        return None


def end_everything(core: Core) -> Flow[None]:
    """`SessionManager.end_everything`, as a flow."""
    yield Ask(_list_of(core, "end_everything()").end_everything)


def close(core: Core) -> Flow[None]:
    """`SessionManager.close`, as a flow."""
    if core.registry is not None:
        yield from core.registry.close()
    if core.ended is not None:
        yield Ask(core.ended.close)
    for view in moving.stored_elsewhere(core):
        yield from on(view.store, view.engine.close())
    yield from core.engine.close()


def _list_of(core: Core, call: str) -> EndedSessions:
    if core.ended is None:
        message = f"{call} needs a list of ended sessions: SessionManager(…, ended=EndedSessions.from_url(…))"
        raise ConfigError(message)
    return core.ended


def _kept(core: Core, keep: str | None) -> set[str]:
    """The ids of the session that is kept."""
    if keep is None:
        return set()
    kept = {_id(keep, "keep")}
    moving = core.moving.get(keep)
    if moving is not None and moving.record is not None:
        # The request that asks has a new id since `regenerate` or `login`, and is stored under the old one until then.
        kept.add(values.encode_bytes(moving.record.id))
    return kept


def _end_stored(core: Core, subject: str, keep: str | None) -> Flow[int]:
    """End the sessions of a user that are in the store."""
    context = core.context()
    kept = _kept(core, keep)
    ended = 0
    done: set[str] = set()
    # Until nothing new is found: a session that changes its id meanwhile is in the next round, and `end` follows it.
    while new := [key for key in (yield from keys_of(core, subject)) if key not in done]:
        done.update(new)
        for key in new:
            raw_key = store_engine(core).handle(key)
            if raw_key is None or values.encode_bytes(raw_key) in kept:
                continue
            if (yield from _is_anothers(core, raw_key, key, subject, context)):
                continue
            ended += yield from _end(core, raw_key, key)
    return ended


def _is_anothers(core: Core, raw_key: bytes, key: str, subject: str, context: Any) -> Flow[bool]:
    """Whether a living session under a key of the index is not the user's: the index of a store may be behind."""
    if (yield from of_subject(core, key, subject, context)) is not None:
        return False
    stored: tuple[Record, Any] | None = yield from living(core, raw_key, key, context)
    return stored is not None


def _end(core: Core, raw_key: bytes, key: str) -> Flow[int]:
    """End a session, whoever's it is, and tell. How many that were: 0 or 1."""
    stored: tuple[Record, Any] | None = yield from living(core, raw_key, key, core.context())
    ended = yield from end_record(core, raw_key, key)
    partner = b"" if stored is None else moving.partner_of(stored[0])
    if ended and partner and core.ended is not None:  # the cookie that it came from, for the deploy that reads that
        yield Ask(partial(core.ended.end_session, partner, "ended", None))
    for each in ended:
        core.emit(Destroyed, each, False)
        if stored is not None and stored[0].subject is not None:
            core.emit(LoggedOut, each, stored[0].subject, "ended")
    return len(ended)


def _allowed(core: Core, fetched: Record) -> int | None:
    limit = core.settings.max_size
    return None if limit is None else max(limit, len(fetched.plain or b""))


def _id(given: str, argument: str) -> str:
    if type(given) is str:
        return given
    message = f"{argument} is the id of a session, a str, not {type(given).__name__}; use session.id"
    raise TypeError(message)


def _text(given: str, argument: str) -> str:
    """The id of a user, or of a session at a provider. Raises `TypeError`."""
    return check_subject(given, f"end_all({argument}=…)")


def _changed(function: Change, data: dict[str, Any]) -> dict[str, Any]:
    result = function(data)
    return result if isinstance(result, dict) else data


def _info(record: Record, limits: Deadlines) -> SessionInfo:
    def moment(seconds: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)

    actor = record.options.get("actor")
    confirmed = record.options.get("confirmed")
    return SessionInfo(
        id=values.encode_bytes(record.id),
        created_at=moment(record.created),
        authenticated_at=None if record.authenticated is None else moment(record.authenticated),
        seen_at=moment(record.seen),
        expires_at=moment(min(limits.nearest, LATEST)),
        label=record.options.get("x-label"),
        actor=actor[0] if actor else None,
        confirmed_at=moment(max(confirmed.values())) if confirmed else None,
    )

"""What a manager can do to stored sessions outside a request: read-modify-write, list, end."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hardtack import values
from hardtack.engines.store import MAX_ATTEMPTS, StoreEngine
from hardtack.errors import ConfigError, SessionConflict
from hardtack.events import Destroyed, Saved
from hardtack.flow import Find, Flow, Get, arun, run
from hardtack.lifetime import LATEST, Deadlines
from hardtack.merge import merge
from hardtack.protocols import Context, Engine, VersionConflict
from hardtack.record import Record
from hardtack.session import Session, fill

if TYPE_CHECKING:
    from weakref import WeakValueDictionary

    from hardtack.cookies import Cookie
    from hardtack.events import Event
    from hardtack.session import State

Change = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a list of a user's sessions shows. The id is a public handle; times are UTC."""

    id: str
    created_at: dt.datetime
    authenticated_at: dt.datetime | None
    seen_at: dt.datetime
    expires_at: dt.datetime


SessionInfos = list[SessionInfo]


class Administration:
    """The part of `SessionManager` that works on stored sessions. Every method needs a `StoreEngine`."""

    engine: Engine

    if TYPE_CHECKING:
        cookie: Cookie
        purpose: str
        _moving: WeakValueDictionary[str, State]

        def admit(self, record: Record, context: Context) -> bool: ...
        def _context(self) -> Context: ...
        def _deadlines(self, record: Record) -> Deadlines: ...
        def _sync_store(self) -> Any: ...
        def emit(self, event: type[Event], *details: Any) -> None: ...

    def update(self, session: Session | str, function: Change) -> dict[str, Any]:
        """Change stored data at once, for counters and stock: nothing that another request does in between is lost.

        `function` gets the data and changes it, or returns a dict in its place; it may be called several times. `session` is
        the one of this request, which then shows the result, or an id. Returns the data as saved. Raises
        `SessionConflict` where the session was ended, and `StoreUnavailable`.
        """
        return run(self._update_flow(session, function), self._sync_store())

    async def aupdate(self, session: Session | str, function: Change) -> dict[str, Any]:
        """`update` under async code; `function` itself is a plain function."""
        if isinstance(session, Session):
            await session.load()
        return await arun(self._update_flow(session, function), self.engine.store)

    def list(self, subject: str) -> SessionInfos:
        """The living sessions of a user, newest login first. Raises `ConfigError` where the store cannot find them."""
        return run(self._list_flow(subject), self._sync_store())

    async def alist(self, subject: str) -> SessionInfos:
        """`list` under async code."""
        return await arun(self._list_flow(subject), self.engine.store)

    def end(self, id: str) -> bool:
        """End one session, by its id. False where there was none."""
        return run(self._end_flow(id), self._sync_store())

    async def aend(self, id: str) -> bool:
        """`end` under async code."""
        return await arun(self._end_flow(id), self.engine.store)

    def end_all(self, subject: str, keep: str | None = None) -> int:
        """End every session of a user but the one with the id `keep`; returns how many were ended.

        Raises `ConfigError` where the store cannot find them (ASVS 7.4.2, 7.4.3).
        """
        return run(self._end_all_flow(subject, keep), self._sync_store())

    async def aend_all(self, subject: str, keep: str | None = None) -> int:
        """`end_all` under async code."""
        return await arun(self._end_all_flow(subject, keep), self.engine.store)

    # --- flows

    def _stored(self) -> StoreEngine:
        if not isinstance(self.engine, StoreEngine):
            message = (
                f"sessions of a {type(self.engine).__name__} cannot be found, changed or ended from the server: the "
                "browser has them. Use a StoreEngine"
            )
            raise ConfigError(message)
        return self.engine

    def _find(self, engine: StoreEngine, subject: str) -> Flow[Any]:
        if type(subject) is not str:  # nobody has logged in as 7: nothing would be found, and nothing ended
            message = f"subject is the user's id as login() was given it, a str, not {type(subject).__name__}; use str(user.id)"
            raise TypeError(message)
        if not hasattr(engine.store, "find"):
            message = (
                f"{type(engine.store).__name__} cannot find the sessions of a user (it has no find()); use a store that can: "
                "Redis, SQLite, SQLAlchemy, file or memory"
            )
            raise ConfigError(message)
        return (yield Find(engine.indexed(subject, self)))

    def _record(
        self, engine: StoreEngine, raw_key: bytes, key: str, context: Context
    ) -> Flow[tuple[Record, Any] | None]:
        """The living session under a key, and its version."""
        entry = yield Get(key)
        record, _, _ = engine._look(raw_key, entry, context.now, self)
        if record is None or context.now >= self._deadlines(record).nearest:
            return None
        return record, entry.version

    def _list_flow(self, subject: str) -> Flow[SessionInfos]:
        engine, context = self._stored(), self._context()
        found = []
        for key in (yield from self._find(engine, subject)):
            record = yield from self._of_subject(engine, key, subject, context)
            if record is not None:
                found.append(_info(record, self._deadlines(record)))
        return sorted(found, key=lambda info: (info.authenticated_at or info.created_at, info.id), reverse=True)

    def _end_flow(self, id: str) -> Flow[bool]:
        engine, context = self._stored(), self._context()
        found = yield from engine.find_key(_id(id, "id"))
        return found is not None and (yield from self._end(engine, *found, context))

    def _end(self, engine: StoreEngine, raw_key: bytes, key: str, context: Context) -> Flow[bool]:
        ended = yield from engine.end(raw_key, key, None, context, self)
        if ended:
            self.emit(Destroyed, raw_key, False)
        return ended

    def _of_subject(self, engine: StoreEngine, key: str, subject: str, context: Context) -> Flow[Record | None]:
        raw_key = engine.handle(key)
        stored = None if raw_key is None else (yield from self._record(engine, raw_key, key, context))
        # The index of a store may be behind: a key that now belongs to somebody else is not theirs.
        return stored[0] if stored is not None and stored[0].subject == subject else None

    def _end_all_flow(self, subject: str, keep: str | None) -> Flow[int]:
        engine, context = self._stored(), self._context()
        kept = {keep if keep is None else _id(keep, "keep")}
        moving = self._moving.get(keep or "")
        if moving is not None and moving.record is not None:
            # The request that asks has a new id since `regenerate` or `login`, and is stored under the old one until then.
            kept.add(values.encode_bytes(moving.record.id))
        count = 0
        done: set[str] = set()
        # Until nothing new is found: a session that changes its id meanwhile is in the next round.
        while new := [key for key in (yield from self._find(engine, subject)) if key not in done]:
            done.update(new)
            for key in new:
                record = yield from self._of_subject(engine, key, subject, context)
                if record is not None and values.encode_bytes(record.id) not in kept:
                    count += yield from self._end(engine, record.id, key, context)
        return count

    def _update_flow(self, session: Session | str, function: Change) -> Flow[dict[str, Any]]:
        engine, context = self._stored(), self._context()
        if inspect.iscoroutinefunction(function):
            raise TypeError("update() and aupdate() take a plain function: a coroutine function would change nothing")
        if isinstance(session, Session):
            state = session._open()
            session._refuse_degraded()
            if state.held is not None and state.held.ended:
                raise SessionConflict("the session was ended")
            if state.record is None:  # nothing is stored yet, so nobody else can change it
                fill(session, _changed(function, dict(session)))
                return dict(session)
            assert state.held is not None
            found: tuple[bytes, str] | None = (state.record.id, engine.stored_key(state.held, state.record.id))
        else:
            found = yield from engine.find_key(_id(session, "session"))
        for _ in range(MAX_ATTEMPTS):
            stored = None if found is None else (yield from self._record(engine, *found, context))
            if found is None or stored is None:
                raise SessionConflict("the session was ended, or has expired")
            record, version = stored
            record.data = _changed(function, record.data)
            put = engine._put(found[1], record, self._deadlines(record).nearest, version, self)
            try:
                version = yield put
            except VersionConflict:
                continue
            self.emit(Saved, record.id)
            if isinstance(session, Session):
                _refresh(session, record, version)
            return record.data
        raise SessionConflict("the session was saved by other requests again and again")


def _id(given: str, argument: str) -> str:
    if type(given) is str:
        return given
    message = f"{argument} is the id of a session, a str, not {type(given).__name__}; use session.id"
    raise TypeError(message)


def _changed(function: Change, data: dict[str, Any]) -> dict[str, Any]:
    result = function(data)
    return result if isinstance(result, dict) else data


def _refresh(session: Session, record: Record, version: Any) -> None:
    """Show what was saved in the request's own session, beside what it has changed and not saved yet."""
    state = session._state
    base = values.unpack(state.record.kept_data()) if state.record is not None else {}
    session._fold_views()
    mine = dict.copy(session)
    merged, _ = merge(base, record.data, mine)
    fill(session, values.unpack(values.pack(merged)))
    state.views = None
    state.record = record
    assert state.held is not None  # what is stored was loaded, or saved, through the engine
    state.held.version = version


def _info(record: Record, limits: Deadlines) -> SessionInfo:
    def moment(seconds: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)

    return SessionInfo(
        id=values.encode_bytes(record.id),
        created_at=moment(record.created),
        authenticated_at=None if record.authenticated is None else moment(record.authenticated),
        seen_at=moment(record.seen),
        expires_at=moment(min(limits.nearest, LATEST)),
    )

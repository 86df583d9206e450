"""SessionManager: policy and entry point. Opens a session from a request's cookies, commits it to response headers."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final
from weakref import WeakValueDictionary

from hardtack import _administration, events, values
from hardtack import record as records
from hardtack.cookies import MAX_VALUES, Changes, Cookie, CookieMap, as_text, each_alone, parse
from hardtack.engines.cookie import CookieEngine, cookie_names, is_disputed
from hardtack.errors import (
    ConfigError,
    InvalidToken,
    SessionConflict,
    SessionTooLarge,
    StoreError,
    StoreUnavailable,
    UnsupportedValue,
)
from hardtack.events import (
    CacheControlReplaced,
    Conflict,
    Created,
    Destroyed,
    Event,
    Expired,
    IdChanged,
    LateWrite,
    Opened,
    Rejected,
    Renewed,
    Saved,
    StoreFailed,
    TakenOver,
)
from hardtack.flow import Flow, arun, run
from hardtack.lifetime import SKEW, Deadlines, Duration, absolute_deadline, deadlines, seconds
from hardtack.merge import merge
from hardtack.protocols import Context, Engine, Held, Renewal, Saving, TokenFormat, is_async
from hardtack.record import Record
from hardtack.session import Guard, Session, State, fill, not_loaded, nothing, unloaded
from hardtack.tokens.keys import Key, Keyring

RENEWALS_PER_IDLE_TIMEOUT: Final = 10


class SessionManager(_administration.Administration):
    """Opens and commits sessions. Make one when the application starts; it is safe to use from many threads and tasks.

    Args:
        engine: a `CookieEngine` or a `StoreEngine`; a `Keyring` or `Key` for a `CookieEngine` of encrypted tokens.
        cookie: the cookie's name and attributes.
        lifetime: how long a session lives at most, from the login, or before one from its beginning.
        idle_timeout: how long it lives without a request that uses it; None: no such limit.
        persistent: whether the browser keeps the cookie over a restart.
        purpose: names the application where several share a key: a session of one does not open in another.
        accept: formats of other systems whose sessions are taken over.
        on_event: called with each event (`hardtack.events`); what it raises is logged and goes no further.
        clock: seconds since 1970, like `time.time`.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        engine: Engine | Keyring | Key,
        *,
        cookie: Cookie | None = None,
        lifetime: Duration = "14 days",
        idle_timeout: Duration | None = None,
        persistent: bool = False,
        purpose: str = "",
        accept: Iterable[TokenFormat] = (),
        on_event: Callable[[Event], object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = _engine(engine)
        # A cookie engine waits for nothing: it is asked without a flow.
        self._load_now: Callable[[str, Context, SessionManager], Held] | None = getattr(self.engine, "load_now", None)
        self._save_now: Any = getattr(self.engine, "save_now", None)
        self._async_store = self.engine.store is not None and is_async(self.engine.store)
        default_cookie: Callable[[], Cookie] = getattr(self.engine, "default_cookie", Cookie)
        self.cookie = default_cookie() if cookie is None else cookie
        if not isinstance(self.cookie, Cookie):
            message = f"cookie={type(cookie).__name__} must be a Cookie(name=…)"
            raise ConfigError(message)
        self.lifetime = _positive(lifetime, "lifetime")
        self.idle_timeout = None if idle_timeout is None else _positive(idle_timeout, "idle_timeout")
        if not isinstance(persistent, bool):
            message = f"persistent={persistent!r} must be True or False"
            raise ConfigError(message)
        self.persistent = persistent
        self.purpose = _purpose(purpose)
        self.accept = _accepted(accept)
        for token in self.accept:
            if getattr(token, "cookie_name", None) == self.cookie.name:
                events.logger.warning(
                    "accept=[%s(…)] is never asked: its cookie %r has the name of this manager's own, and a request that "
                    "carries that is not taken over; give the manager another cookie, such as Cookie(name=…)",
                    type(token).__name__,
                    self.cookie.name,
                )
        if on_event is not None and (not callable(on_event) or inspect.iscoroutinefunction(on_event)):
            message = f"on_event={on_event!r} must be a plain function, or None"
            raise ConfigError(message)
        if not callable(clock):
            message = f"clock={clock!r} must be a function that returns seconds since 1970, such as time.time"
            raise ConfigError(message)
        self.on_event = on_event
        self.clock = clock
        self._warned_plain_http = False
        # Sessions whose new id was told and is not stored yet, while their requests last: see `end_all`.
        self._moving: WeakValueDictionary[str, State] = WeakValueDictionary()
        self.engine.bind(self)

    # --- the three calls of an adapter

    def open(self, header: str | bytes | None = None, kind: type[Session] = Session) -> Session:
        """The session of a request, from its raw Cookie header. Never raises for what a client sent.

        It loads itself when it is touched; with a store that only async code can reach, use `aopen`. `kind` is for adapters
        whose framework wants a subclass.
        """
        return unloaded(self, as_text(header), kind)

    async def aopen(self, header: str | bytes | None = None, kind: type[Session] = Session) -> Session:
        """`open` under async code: what is in a store is loaded now, if the request carries a cookie.

        Raises `StoreUnavailable`, unless the engine was told `on_store_error="anonymous"`.
        """
        session = unloaded(self, as_text(header), kind)
        if self.engine.store is not None and self.carries_cookie(session._state.header):
            await self._aload(session)
        return session

    def commit(self, session: Session) -> Changes:
        """Save what changed; what the response has to say about it. Call just before the headers leave.

        Raises `SessionTooLarge`, `UnsupportedValue`, `SessionConflict` and `StoreUnavailable`: then nothing was sent yet, and
        the response should be an error.
        """
        saving = self._quick(session)
        if isinstance(saving, Changes):
            return saving
        if self._save_now is not None:
            return self._save_at_once(session, saving)
        return run(self._save(session, saving), self._sync_store())

    async def acommit(self, session: Session) -> Changes:
        """`commit` under async code."""
        saving = self._quick(session)
        if isinstance(saving, Changes):
            return saving
        if self._save_now is not None:
            return self._save_at_once(session, saving)
        return await arun(self._save(session, saving), self.engine.store)

    def finish(self, session: Session) -> None:
        """After the body: a late change is saved where that needs no cookie, and an event otherwise."""
        if self.is_late(session):
            run(self._finish(session), self._sync_store())

    async def afinish(self, session: Session) -> None:
        """`finish` under async code."""
        if self.is_late(session):
            await arun(self._finish(session), self.engine.store)

    # --- closing

    def close(self) -> None:
        """Close the store, as far as it was opened by hardtack."""
        run(self.engine.close(), self._sync_store())

    async def aclose(self) -> None:
        """`close` under async code."""
        await arun(self.engine.close(), self.engine.store)

    def __enter__(self) -> SessionManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> SessionManager:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- what engines and adapters ask

    def carries_cookie(self, header: str) -> bool:
        """Whether a request carries a session cookie, of hardtack's or one to take over."""
        if self.engine.carries(header, self.cookie):
            return True
        if not self.accept or not header:
            return False
        cookies = parse(header)
        return any(cookie_names(token, cookies, _foreign_name(token)) for token in self.accept)

    def is_late(self, session: Session) -> bool:
        """Whether anything was changed since the commit: what `finish` is for. What cannot be encoded was."""
        state = session._state
        if not state.committed or not state.accessed or state.degraded or state.dropped or isinstance(session, Guard):
            return False
        try:
            return session.modified
        except UnsupportedValue:
            return True

    def admit(self, record: Record, context: Context) -> bool:
        """Whether the session may be used now; where not, an event says why."""
        now = context.now
        latest = now + SKEW
        if record.created > latest or record.seen > latest or (record.authenticated or 0) > latest:
            self.emit(Rejected, "future", context.cookie_name)
            return False
        if now >= absolute_deadline(record, self.lifetime):
            self.emit(Expired, record.id, "absolute")
            return False
        if self.idle_timeout is not None and now >= record.seen + self.idle_timeout:
            self.emit(Expired, record.id, "idle")
            return False
        return True

    def emit(self, event: type[Event], *details: Any) -> None:
        """Tell who listens; the event is built only if someone does. Ids may be given as bytes."""
        logged = events.logger.isEnabledFor(event.level)
        if not logged and self.on_event is None:
            return
        value = event(*(values.encode_bytes(detail) if type(detail) is bytes else detail for detail in details))
        if logged:
            events.logger.log(event.level, "%s", value)
        if self.on_event is not None:
            try:
                self.on_event(value)
            except Exception:
                events.logger.exception("on_event raised for %s", type(value).__name__)

    def _store_failed(self, operation: str, error: Exception) -> None:
        # Its message says why, and holds no password, key or session data; what it was raised from may.
        events.logger.error("the session store failed to %s: %s", operation, error)
        self.emit(StoreFailed, operation, type(error).__name__)

    def warn_plain_http(self, scheme: str, host: str) -> None:
        """Log once that a Secure cookie was set on a plain http response, which browsers drop (but for localhost)."""
        if scheme not in ("http", "ws") or not self.cookie.secure or self._warned_plain_http:
            return
        name = host.rsplit(":", 1)[0].strip("[]").lower() if not host.endswith("]") else host.strip("[]")
        if name in ("localhost", "127.0.0.1", "::1") or name.endswith(".localhost"):
            return
        self._warned_plain_http = True
        events.logger.warning(
            "a Secure session cookie was set on a plain http request: the browser drops it. Behind a proxy that ends TLS, "
            "pass the scheme on (X-Forwarded-Proto); during development use Cookie.for_development()"
        )

    # --- loading

    def _now(self) -> int:
        return int(self.clock())

    def _context(self) -> Context:
        return Context(self.cookie.name, self.purpose, int(self.clock()))

    def _deadlines(self, record: Record) -> Deadlines:
        return deadlines(record, self.lifetime, self.idle_timeout)

    def _new_id(self, state: State) -> bytes:
        if state.held is None:
            state.held = Held()
        new = self.engine.new_id(state.held, self)
        if state.rotated and self.engine.store is not None:
            self._moving[values.encode_bytes(new)] = state
        return new

    def _sync_store(self) -> Any:
        store = self.engine.store
        if self._async_store:
            message = f"{type(store).__name__} is for async code: use aopen, acommit and afinish, or the sync twin of the store"
            raise ConfigError(message)
        return store

    def _load(self, session: Session) -> None:
        """Load from sync code: what a guard calls when the session is touched."""
        state = session._state
        if not state.loaded:
            if self._load_now is not None:
                context = Context(self.cookie.name, self.purpose, int(self.clock()))
                self._loaded(state, self._load_now(state.header, context, self), context)
            else:
                if self._async_store and self.carries_cookie(state.header):
                    not_loaded()
                run(self._load_flow(session), self.engine.store)  # type: ignore[arg-type]
        fill(session, state.meta.data)
        if state.record is not None:
            self.emit(Opened, state.record.id, state.record.subject)

    async def _aload(self, session: Session) -> None:
        await arun(self._load_flow(session), self.engine.store)

    def _load_flow(self, session: Session) -> Flow[None]:
        state = session._state
        context = self._context()
        try:
            held = yield from self.engine.load(state.header, context, self)
        except StoreUnavailable as error:
            self._store_failed("load", error)
            if getattr(self.engine, "on_store_error", "raise") != "anonymous":
                raise
            held = Held(ended=True)
            state.degraded = True
        if not state.loaded:  # another task of this request may have been faster, and changed the session since
            self._loaded(state, held, context)

    def _loaded(self, state: State, held: Held, context: Context) -> None:
        """What the engine found becomes what the session knows."""
        state.held = held
        state.loaded = True
        record = held.record
        if record is not None:
            state.record = state.meta = record
            if record.plain is None:
                records.pack(record)
            return
        state.meta = nothing()
        if self.accept and not (held.names or held.ended or held.clear):
            self._take_over(state, context)

    # --- taking over from other systems

    def _take_over(self, state: State, context: Context) -> None:
        cookies = parse(state.header)
        refused: set[str] = set()
        for token in self.accept:
            name = _foreign_name(token)
            names = cookie_names(token, cookies, name)
            if not names or name in refused:
                continue
            foreign = Context(name, self.purpose, context.now)
            candidates = each_alone(cookies, name)
            opened = [self._open_foreign(token, each, foreign, refused) for each in candidates[:MAX_VALUES]]
            good = [record for record in opened if record is not None]
            if good and is_disputed(token, candidates, good, foreign):
                # A sibling subdomain can plant a cookie of this name: it must not be able to choose the session.
                self.emit(Rejected, "ambiguous", name)
                refused.add(name)
            elif good:
                self._adopt(state, token, max(good, key=lambda record: record.seen), names, context.now)
                return

    def _open_foreign(self, token: Any, cookies: CookieMap, context: Context, refused: set[str]) -> Record | None:
        name = context.cookie_name
        try:
            record: Record = token.open(cookies, context)
            if record.plain is None:  # of a format that is not hardtack's own
                records.pack(record)
        except UnsupportedValue:
            self.emit(Rejected, "malformed", name)
            return None
        except InvalidToken as error:
            self.emit(Rejected, error.reason, name)
            # Chosen by name and shape: only a value of another shape may be of another format under this name. A failed
            # MAC must not fall through to a reader that asks for less.
            if error.reason != "malformed":
                refused.add(name)
            return None
        if self.admit(record, context):
            return record
        refused.add(name)
        return None

    def _adopt(self, state: State, token: Any, record: Record, names: list[str], now: int) -> None:
        subject = records.find_subject(getattr(token, "subject", None), record.data, type(token).__name__)
        if (
            subject is None and not record.data
        ):  # nothing to take over, and no reason to clear the other system's cookie
            return
        created = min(record.created, now) if getattr(token, "authenticates_time", False) else now
        options = {key: value for key, value in record.options.items() if key == "expires"}
        authenticated = created if subject is not None else None
        state.meta = Record(b"", created, authenticated, now, subject, options, record.data)
        state.taken = record
        state.clearing = tuple(_foreign_cookie(token).clear_cookie(name) for name in names)
        state.meta.id = self._new_id(state)
        self.emit(TakenOver, state.meta.id, getattr(token, "format_name", type(token).__name__))

    def _clear_foreign(self, state: State) -> None:
        """A session that ends must not come back from another system's cookie."""
        if self.accept:
            cookies = parse(state.header)
            state.clearing = tuple(
                _foreign_cookie(token).clear_cookie(name)
                for token in self.accept
                for name in cookie_names(token, cookies, _foreign_name(token))
            )

    # --- saving

    def _quick(self, session: Session) -> Changes | Saving:
        """The changes where nothing is to be saved; otherwise what is."""
        state = session._state
        if state.manager is None:
            raise ConfigError(
                "a Session(…) made by hand has no cookie and no store: fill one of sessions.open() instead"
            )
        if not state.accessed:
            state.committed = True
            return Changes([])
        if isinstance(session, Guard):  # the session was handed out and not looked at
            state.committed = True
            return self._accessed([])
        if state.degraded:
            return self._commit_degraded(session)
        saving = self._decide(session)
        if isinstance(saving, Saving):
            return saving
        state.committed = True
        return self._accessed(saving)

    def _accessed(self, lines: list[str]) -> Changes:
        return Changes(lines, True, False, self._replaced)

    def _replaced(self, before: str, after: str) -> None:
        self.emit(CacheControlReplaced, before, after)

    def _commit_degraded(self, session: Session) -> Changes:
        session._fold_views()
        if len(session) or session._state.forced:
            raise StoreUnavailable("the session store cannot be reached, and the session was changed")
        session._state.committed = True
        return Changes([], accessed=True, no_store=True, on_replaced=self._replaced)

    def _decide(self, session: Session, *, headers_sent: bool = False) -> Saving | list[str]:
        """What is to be saved, or, where nothing is, the Set-Cookie lines all the same."""
        state = session._state
        if state.views is not None:
            session._fold_views()
        held, record, meta = state.held or Held(), state.record, state.meta
        data = dict.copy(session)
        empty = not data and meta.subject is None
        if held.ended:
            if not empty:
                self.emit(Conflict, meta.id, "dropped")
                state.dropped = True
            return []
        now = int(self.clock())
        new: Record | None = None
        ends = emptied = False
        renewal: Renewal = ""
        if record is None:
            if not empty:
                new = self._next(state, data, now, moves=True)
            elif state.destroyed is None:
                return self._clear_lines(state, held)
        elif empty and not record.is_kept_as(data):  # another system may keep empty sessions, and who reads ends none
            ends = True
            emptied = not state.rotated  # a new id was asked for: nothing may stay under the old one
            self._clear_foreign(state)
        else:
            wanted = state.rotated or state.touched_meta or state.forced or not record.is_kept_as(data)
            due = self.idle_timeout is not None and self._renewal_due(meta.seen, now)
            if not (wanted or due or not held.current):
                return list(state.clearing)
            if not wanted:
                renewal = "idle_timeout" if due else "key"
            new = self._next(state, data, now, moves=due or self.idle_timeout is None)
        if headers_sent and new is not None and record is None:
            self.emit(LateWrite, new.id)
            new = None
        return self._saving(state, new, now, ends=ends, emptied=emptied, renewal=renewal, headers_sent=headers_sent)

    def _clear_lines(self, state: State, held: Held) -> list[str]:
        lines = [self.cookie.clear_cookie(name) for name in held.names] if held.clear else []
        lines += state.clearing
        held.clear = state.forced = False
        state.clearing = ()
        return lines

    def _renewal_due(self, seen: int, now: int) -> bool:
        # At least a second apart, so that a short timeout does not write on every request.
        return (now - seen) * RENEWALS_PER_IDLE_TIMEOUT >= (self.idle_timeout or 0) and now > seen

    def _next(self, state: State, data: dict[str, Any], now: int, *, moves: bool) -> Record:
        """The record to be stored."""
        meta = state.meta
        return Record(
            meta.id or self._new_id(state),
            meta.created or now,
            meta.authenticated,
            max(meta.seen, now) if moves else meta.seen,
            meta.subject,
            meta.options,
            data,
        )

    def _saving(
        self,
        state: State,
        new: Record | None,
        now: int,
        *,
        ends: bool = False,
        emptied: bool = False,
        renewal: Renewal = "",
        headers_sent: bool = False,
    ) -> Saving:
        """What the engine is asked to save: `new` in the place of what is stored, which `ends` or goes on."""
        old = state.destroyed or state.record
        destroyed = ends or state.destroyed is not None
        limited = new or old or state.meta
        expires_at = absolute_deadline(limited, self.lifetime)
        if self.idle_timeout is not None:
            expires_at = min(expires_at, limited.seen + self.idle_timeout)
        revoke_until = 0
        if old is not None and (state.rotated or destroyed):
            revoke_until = absolute_deadline(old, self.lifetime)
        return Saving(
            held=state.held or Held(),
            old=old,
            new=new,
            rotated=state.rotated and old is not None and new is not None,
            destroyed=destroyed,
            base=state.record,
            expires_at=expires_at,
            max_age=self._max_age(new, expires_at, now),
            now=now,
            headers_sent=headers_sent,
            revoke_until=revoke_until,
            emptied=emptied,
            renewal=renewal,
        )

    def _max_age(self, record: Record | None, limit: int, now: int) -> int | None:
        if record is None or not record.options.get("persistent", self.persistent):
            return None
        return max(limit - now, 0)

    def _save(self, session: Session, saving: Saving) -> Flow[Changes]:
        new = saving.new  # which the engine may replace
        context = Context(self.cookie.name, self.purpose, saving.now)
        try:
            outcome = yield from self.engine.save(saving, context, self)
        except StoreUnavailable as error:
            self._store_failed("save", error)
            if saving.destroyed and not saving.emptied:  # a logout that the store did not hear of clears the cookie
                error.set_cookies = [self.cookie.clear_cookie(name) for name in saving.held.names]
            raise
        return self._saved(session, saving, new, outcome)

    def _save_at_once(self, session: Session, saving: Saving) -> Changes:
        """Save with an engine that waits for nothing."""
        new = saving.new
        try:
            outcome = self._save_now(saving, Context(self.cookie.name, self.purpose, saving.now), self)
        except SessionTooLarge:
            if not self._was_only_taken_over(session):
                raise
            # Another system's cookie can be smaller than ours, by compression: who only reads keeps that one.
            self.emit(Rejected, "too_large", self.cookie.name)
            session._state.committed = True
            return self._accessed([])
        return self._saved(session, saving, new, outcome)

    def _was_only_taken_over(self, session: Session) -> bool:
        state = session._state
        if state.taken is None or state.record is not None or state.touched_meta or state.destroyed is not None:
            return False
        state.initial = state.taken.kept_data()
        return not session.modified

    def _saved(
        self, session: Session, saving: Saving, new: Record | None, outcome: tuple[Held, list[str]] | None
    ) -> Changes:
        """Tell what was saved, which is what later changes are compared with; what the response has to say of it."""
        state = session._state
        state.committed = True
        if outcome is None:
            self.emit(Conflict, saving.old.id if saving.old is not None else b"", "dropped")
            state.held = Held(ended=True)
            state.dropped = True
            return self._accessed([])
        held, lines = outcome
        lines += state.clearing
        record = held.record or new
        self._tell(saving, record)
        state.held = held
        state.record = record
        state.destroyed = None
        state.rotated = state.touched_meta = state.forced = False
        state.clearing = ()
        if record is None:
            state.meta = nothing()
        else:
            state.meta = record
            if record is not new:  # it was merged with what another request had saved
                _merge_in(session, new, record)
            if record.plain is None:  # it was written in another form than MessagePack
                records.pack(record)
        return self._accessed(lines)

    def _tell(self, saving: Saving, record: Record | None) -> None:
        old = saving.old
        destroyed = saving.destroyed and not (saving.emptied and record is not None)  # somebody put something into it
        if destroyed and old is not None:
            self.emit(Destroyed, old.id, self.engine.old_still_valid)
        if record is None:
            return
        if saving.rotated and old is not None:
            self.emit(IdChanged, old.id, record.id, self.engine.old_still_valid)
        elif old is None or destroyed:
            self.emit(Created, record.id)
        elif saving.renewal:
            self.emit(Renewed, record.id, saving.renewal)
        else:
            self.emit(Saved, record.id)

    def _finish(self, session: Session) -> Flow[None]:
        state = session._state
        # The headers are gone: what needs no cookie can still be saved in a store.
        needs_cookie = state.record is None or state.rotated or state.touched_meta
        known = state.destroyed or state.record or state.meta
        if self.engine.store is None or (needs_cookie and state.destroyed is None):
            self.emit(LateWrite, known.id)
            return
        try:
            saving = self._decide(session, headers_sent=True)
            if isinstance(saving, Saving):
                yield from self._save(session, saving)
        except (StoreError, SessionConflict, UnsupportedValue) as error:
            self._store_failed("finish", error)
            self.emit(LateWrite, known.id)


def _merge_in(session: Session, sent: Record | None, saved: Record) -> None:
    """Show what was saved in the place of what was sent, and keep what a task or a thread has changed meanwhile."""
    now = dict.copy(session)
    base = {} if sent is None else values.unpack(sent.kept_data())
    fill(session, merge(base, saved.data, now)[0])


def _engine(engine: Engine | Keyring | Key) -> Engine:
    if isinstance(engine, Keyring | Key):
        return CookieEngine(engine)
    if (
        isinstance(engine, type)
        or not callable(getattr(engine, "load", None))
        or not callable(getattr(engine, "save", None))
    ):
        message = f"engine={type(engine).__name__} must be a CookieEngine, a StoreEngine, a Keyring or a Key"
        raise ConfigError(message)
    return engine


def _positive(duration: Duration, setting: str) -> int:
    result = seconds(duration, setting)
    if result < 1:
        message = f"{setting}={duration!r} must be a second or more"
        raise ConfigError(message)
    return result


def _purpose(purpose: Any) -> str:
    try:
        if isinstance(purpose, str) and len(purpose.encode()) <= 0xFFFF:
            return purpose
    except UnicodeEncodeError:  # a lone surrogate, which no token could be bound to
        pass
    raise ConfigError("purpose must be a short str, such as the name of the application")


def _accepted(formats: Iterable[TokenFormat]) -> tuple[Any, ...]:
    if not isinstance(formats, Iterable):
        message = f"accept={type(formats).__name__} must be a list of token formats, such as [FlaskCookie(…)]"
        raise ConfigError(message)
    accepted = tuple(formats)
    for token in accepted:
        if isinstance(token, type):
            message = f"accept holds the class {token.__name__}, not a token format: {token.__name__}(…)"
            raise ConfigError(message)
        if not callable(getattr(token, "open", None)):
            message = f"accept holds a {type(token).__name__}, which is not a token format"
            raise ConfigError(message)
        if not getattr(token, "authenticates_time", False) and getattr(token, "until", None) is None:
            message = (
                f"accept=[{type(token).__name__}(…)] needs until=<a date>: that cookie does not say when it was made, so "
                "whoever holds an old one would be let in for ever"
            )
            raise ConfigError(message)
    return accepted


def _foreign_name(token: Any) -> str:
    name: str = token.cookie_name
    return name


def _foreign_cookie(token: Any) -> Cookie:
    """The attributes under which another system set its cookie: clearing needs the same path and domain."""
    return Cookie(
        name=token.cookie_name,
        path=getattr(token, "path", "/"),
        domain=getattr(token, "domain", None),
        secure=token.cookie_name.lower().startswith("__"),
        samesite=None,
    )

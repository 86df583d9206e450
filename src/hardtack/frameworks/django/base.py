"""What the session engines share: Django's interface to a session, on top of hardtack's manager."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Literal

from asgiref.sync import sync_to_async
from django.conf import settings  # type: ignore[import-untyped]
from django.contrib.sessions.backends.base import SessionBase, UpdateError  # type: ignore[import-untyped]
from django.contrib.sessions.serializers import JSONSerializer  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from hardtack import record as records
from hardtack import values
from hardtack.cookies import MAX_SET_COOKIE, find_values
from hardtack.engines.store import StoreEngine
from hardtack.errors import SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.events import Destroyed
from hardtack.flow import Flow, arun, run
from hardtack.frameworks.django.configuration import made, make_manager
from hardtack.lifetime import absolute_deadline
from hardtack.manager import SessionManager
from hardtack.record import Record
from hardtack.session import Session, State

USER: str = "_auth_user_id"
"""Where django.contrib.auth keeps the user: the subject of hardtack's record."""

EXPIRY: str = "_session_expiry"
"""Where `set_expiry` keeps its value."""

TAKEN_OVER: str = "(a cookie of another system)"
"""The key of a session that another system's cookie may bring, until it is loaded."""

SERIALIZED: str = "_serialized"
"""Where the data is, as one value, when SESSION_SERIALIZER is not Django's own."""


def current_manager() -> SessionManager:
    """The manager that the engine of SESSION_ENGINE uses: `current_manager().list(str(user.pk))`, `end_all(…)` …"""
    store: SessionStore = import_module(settings.SESSION_ENGINE).SessionStore()
    return store.manager


class SessionStore(SessionBase):  # type: ignore[misc]  # Django is not typed
    """Django's session interface, sync and async; the engines are its subclasses.

    Beside Django's own rules: nested changes count as `modified`; a session that a renewal is due for is `modified` once
    it is read; a load never fails for what a client sent; the user of django.contrib.auth is the record's subject.
    """

    engine: ClassVar[Literal["encrypted", "signed", "store"]]

    _session_key: str | None
    _modified = False
    _base: Any = None  # the record that was loaded or saved, or an encoding of its data
    _made_state: State | None = None
    _carried: int | None = None  # the deadline of a cookie of another system that was taken over
    _failure: StoreUnavailable | None = None  # async code found the store down before the view asked for the session
    lines: Sequence[str] = ()
    """Set-Cookie lines of the last save, for hardtack's middleware."""

    def __init__(self, session_key: str | None = None, header: str | None = None) -> None:
        # What SessionBase.__init__ does, at half the cost: no access to a setting that another one can do without.
        self._session_key = session_key
        self.accessed = False
        self.serializer = _serializer(settings.SESSION_SERIALIZER)
        kind, chunks = type(self), header is not None
        manager = made.get((kind, chunks))
        if manager is None:
            manager = make_manager(kind, self.engine, self.get_session_cookie_age(), chunks=chunks)
        self.manager = manager
        self._header: str | None = header  # a request's Cookie header; None: the session is known by its key alone
        self.request_header = header or ""

    @classmethod
    def for_header(cls, header: str) -> SessionStore:
        """The session of a request, from its raw Cookie header, which may carry chunks."""
        session = cls(None, header)
        manager = session.manager
        name = manager.cookie.name
        if name in header and (found := find_values(header, name) or find_values(header, f"{name}.0")):
            session._session_key = found[0]
        elif manager.accept and manager.carries_cookie(header):
            session._session_key = TAKEN_OVER
        return session

    # --- modified: nested changes count

    @property
    def modified(self) -> bool:
        """Whether the session is to be saved. Assignable: False takes what there is now for unchanged."""
        if self._modified:
            return True
        data = self.__dict__.get("_session_cache")
        if data is None or self._base is None:
            return False
        return self._renewal_due() or not self._is_base(data)

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = bool(value)
        if not value:
            data = self.__dict__.get("_session_cache")
            if data is not None:
                self._base = self._encoded(data)

    def _is_base(self, data: dict[str, Any]) -> bool:
        """Whether the data is what was loaded or saved."""
        base = self._base
        if type(base) is not Record:
            return bool(self._encoded(data) == base)
        try:
            return base.is_kept_as(data)
        except UnsupportedValue:
            return False

    def _set_base(self, record: Record) -> None:
        """What later changes are compared with, where the data is kept as it is."""
        if record.plain is None:  # it was read from, or written in, another form than MessagePack
            records.pack(record)
        self._base = record

    @property
    def _state(self) -> State:
        if self._made_state is None:
            self._made_state = _new_state(self.manager)
        return self._made_state

    @_state.setter
    def _state(self, state: State) -> None:
        self._made_state = state

    @property
    def _stored(self) -> Record | None:
        """The record as it was loaded or saved."""
        return self._state.record

    def _renewal_due(self) -> bool:
        record, manager = self._stored, self.manager
        if record is None:
            return False
        if manager.idle_timeout is not None and manager._renewal_due(record.seen, manager._now()):
            return True
        held = self._state.held  # sealed under a key that no longer issues
        return held is not None and not held.current

    @property
    def _own_encoding(self) -> bool:
        return self.serializer is JSONSerializer

    def _encoded(self, data: dict[str, Any]) -> Any:
        """Something to compare data by; what cannot be encoded equals nothing."""
        try:
            return values.pack(data) if self._own_encoding else self.serializer().dumps(data)
        except UnsupportedValue:
            return object()

    # --- load

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        """The data, loaded on first use: Django's own method without its exception where there is none yet."""
        self.accessed = True
        data: dict[str, Any] | None = self.__dict__.get("_session_cache")
        if data is None:
            data = self._session_cache = {} if no_load or self.session_key is None else self.load()
        return data

    _session = property(_get_session)

    def load(self) -> dict[str, Any]:
        """The data; {} and no key where there is no such session. Raises `StoreUnavailable`."""
        if self._failure is not None:
            raise self._failure
        return self._loaded(run(self._load_flow(), self._sync_store()))

    async def aload(self) -> dict[str, Any]:
        """`load` under async code."""
        return self._loaded(await arun(self._load_flow(), self.manager.engine.store))

    async def preload(self) -> None:
        """Load before an async view runs, whose `request.session[...]` cannot wait for a store. That is no access yet."""
        engine = self.manager.engine
        if engine.store is None or self.session_key is None:
            return
        try:
            await self._aget_session()
        except StoreUnavailable as error:
            self._failure = error  # a view that needs no session still answers
        self.accessed = False

    def _sync_store(self) -> Any:
        return self.manager._sync_store()

    def _load_flow(self) -> Flow[State]:
        manager = self.manager
        inner = Session()
        state = inner._state = State(manager, self._cookie_header())
        yield from manager._load_flow(inner)
        return state

    def _cookie_header(self) -> str:
        key = self.session_key
        if self._header is not None:
            return self._header
        return "" if key is None else f"{self.manager.cookie.name}={key}"

    def _loaded(self, state: State) -> dict[str, Any]:
        self._state = state
        data = state.meta.data
        if state.record is None:
            self._session_key = None
            if not data:
                return {}
            self._modified = True  # taken over from another system's cookie
            self._carried = state.meta.options.get("expires")
            return data
        return self._take(state.record)

    def _take(self, record: Record) -> dict[str, Any]:
        """The data of a record that is good."""
        data = record.data
        if EXPIRY not in data:
            self._carried = record.options.get("expires")
        if SERIALIZED in data and not self._own_encoding:
            data = self.serializer().loads(data[SERIALIZED])
            self._base = self._encoded(data)
        else:
            self._set_base(record)
        return data

    # --- save

    def save(self, must_create: bool = False) -> None:
        """Save now. Raises `UpdateError` where the session was ended meanwhile, `StoreUnavailable`, `SessionTooLarge`."""
        data = self._get_session(no_load=must_create)
        run(self._save_flow(data, must_create=must_create), self._sync_store())

    async def asave(self, must_create: bool = False) -> None:
        """`save` under async code."""
        data = await self._aget_session(no_load=must_create)
        await arun(self._save_flow(data, must_create=must_create), self.manager.engine.store)

    def _save_flow(self, data: dict[str, Any], *, must_create: bool = False, rotate: bool = False) -> Flow[None]:
        manager = self.manager
        if self._state.degraded:
            raise StoreUnavailable("the session store cannot be reached, and the session was changed")
        if must_create:
            self._state = _new_state(manager)
        elif self._state.held is None and self.session_key is not None:
            # The data was replaced without a look at what is stored: clear().
            self._state = yield from self._load_flow()
        state = self._state
        if state.held is not None and state.held.ended:
            raise UpdateError
        if self.session_key is None and state.record is not None:  # another session begins
            state = self._state = _new_state(manager)
        new = self._record(data, state.record, manager._new_id(state) if state.record is None or rotate else None)
        inner = Session()
        inner._state = state
        state.rotated = rotate
        changes = yield from manager._save(inner, manager._saving(state, new, manager._now()))
        if state.record is None or (state.held is not None and state.held.ended):
            raise UpdateError
        self._saved(changes.set_cookies, data)

    def _record(self, data: dict[str, Any], old: Record | None, new_id: bytes | None) -> Record:
        """What is to be stored in the place of `old`."""
        now = self.manager._now()
        expiry = data.get(EXPIRY)
        closes = settings.SESSION_EXPIRE_AT_BROWSER_CLOSE if expiry is None else expiry == 0
        options: dict[str, Any] = {"persistent": not closes}
        ends = [] if self._carried is None else [self._carried]
        if expiry:
            ends.append(max(int(self.get_expiry_date(expiry=expiry).timestamp()), 0))
        elif (age := getattr(self.manager, "default_age", None)) is not None:
            options["lifetime"] = age
        if ends:
            options["expires"] = min(ends)
        subject = data.get(USER) or None
        subject = None if subject is None else str(subject)
        authenticated = None if subject is None else now
        if old is not None and old.subject == subject:
            authenticated = old.authenticated
        kept = data if self._own_encoding else {SERIALIZED: self.serializer().dumps(data)}
        if old is None:
            assert new_id is not None
            return Record(new_id, self._state.meta.created or now, authenticated, now, subject, options, kept)
        return Record(new_id or old.id, old.created, authenticated, max(old.seen, now), subject, options, kept)

    def _saved(self, lines: list[str], data: dict[str, Any]) -> None:
        state, manager = self._state, self.manager
        name = manager.cookie.name
        assert state.held is not None
        if manager.engine.store is not None:
            key = values.encode_bytes(state.held.secret)
            # Django sends the cookie with each save, and so moves what the browser knows of its end.
            mine = manager.cookie.set_cookie(name, key, self.cookie_age(), manager._now())
            lines = [mine, *(line for line in lines if not line.startswith(f"{name}="))]
        written = [pair for pair in map(name_and_value, lines) if pair[1]]
        if len(written) > 1 and self._header is None:
            raise SessionTooLarge(
                sum(len(value) for _, value in written),
                MAX_SET_COOKIE,
                advice="; several cookies need hardtack.frameworks.django.SessionMiddleware in MIDDLEWARE",
            )
        self._session_key = written[0][1]
        self.lines = lines
        if self._header is not None:
            self._header = "; ".join(f"{name}={value}" for name, value in written)
        merged = state.meta.data
        if merged is not data and self._own_encoding:  # with what another request has saved
            data.clear()
            data.update(merged)
        if self._own_encoding:
            assert state.record is not None
            self._set_base(state.record)
        else:
            self._base = self._encoded(data)

    def cookie_age(self) -> int | None:
        """Seconds that the browser keeps the cookie of the last save; None: until it ends."""
        manager, record = self.manager, self._stored
        assert record is not None
        return manager._max_age(record, manager._deadlines(record).nearest, manager._now())

    # --- create, cycle, delete

    def create(self) -> None:
        """A new session under a new key, saved at once."""
        self._session_key = None
        self.save(must_create=True)
        self.modified = True

    async def acreate(self) -> None:
        """`create` under async code."""
        self._session_key = None
        await self.asave(must_create=True)
        self.modified = True

    def cycle_key(self) -> None:
        """A new key for the same data, in one step where the store can; the old key is dead at once."""
        data = self._session
        if self.session_key is None:
            self.create()
        else:
            run(self._save_flow(data, rotate=True), self._sync_store())
        self.modified = True

    async def acycle_key(self) -> None:
        """`cycle_key` under async code."""
        data = await self._aget_session()
        if self.session_key is None:
            await self.acreate()
        else:
            await arun(self._save_flow(data, rotate=True), self.manager.engine.store)
        self.modified = True

    def delete(self, session_key: str | None = None) -> None:
        """End the session of a key, by default this one's.

        A copy of a cookie that holds the session lives to its deadline, unless its engine has `revocations`.
        """
        run(self._delete_flow(session_key), self._sync_store())

    async def adelete(self, session_key: str | None = None) -> None:
        """`delete` under async code."""
        await arun(self._delete_flow(session_key), self.manager.engine.store)

    def _delete_flow(self, session_key: str | None) -> Flow[None]:
        engine, manager = self.manager.engine, self.manager
        raw_key = self._raw_key(self.session_key if session_key is None else session_key)
        if isinstance(engine, StoreEngine) and raw_key is not None:
            yield from manager._end_flow(values.encode_bytes(raw_key))
        elif engine.store is None and session_key in (None, self.session_key):
            yield from self._tell_the_end()
            self._session_key = None
            self._session_cache = {}
            self._modified = True

    def _tell_the_end(self) -> Flow[None]:
        """What a cookie engine can do at a logout: the list of ended sessions, where it has one, and an event."""
        engine, manager = self.manager.engine, self.manager
        state = self._state
        if state.held is None and self.session_key is not None:
            state = yield from self._load_flow()
        if state.record is None:
            return
        revocations = getattr(engine, "revocations", None)
        if revocations is not None:
            revocations.revoke(state.record, absolute_deadline(state.record, manager.lifetime))
        manager.emit(Destroyed, state.record.id, engine.old_still_valid)

    def _raw_key(self, session_key: str | None) -> bytes | None:
        """The store's key of a cookie's value; None where it cannot be one."""
        engine = self.manager.engine
        try:
            secret = values.decode_bytes(session_key or "")
        except ValueError:
            return None
        if not isinstance(engine, StoreEngine) or len(secret) != 32:
            return None
        return engine._raw_key(secret, self.manager.purpose)

    def flush(self) -> None:
        """End the session, and forget its data; what is stored afterwards is a new session. Raises `StoreUnavailable`."""
        self._refuse_degraded()
        self.clear()
        try:
            self.delete()
        finally:  # a logout that the store did not hear of still clears the cookie
            self._forget()

    async def aflush(self) -> None:
        """`flush` under async code."""
        self._refuse_degraded()
        self.clear()
        try:
            await self.adelete()
        finally:
            self._forget()

    def _refuse_degraded(self) -> None:
        """The real session is still there, under a key that a stand-in for it does not know: it would not be ended."""
        if self._made_state is not None and self._made_state.degraded:
            raise StoreUnavailable("the session store cannot be reached, and the session cannot be ended")

    def _forget(self) -> None:
        self._session_key = None
        self._made_state = None

    def exists(self, session_key: str | None) -> bool:
        """Whether there is a living session under a key. In cookies only the one at hand can be known."""
        return run(self._exists_flow(session_key), self._sync_store())

    async def aexists(self, session_key: str | None) -> bool:
        """`exists` under async code."""
        return await arun(self._exists_flow(session_key), self.manager.engine.store)

    def _exists_flow(self, session_key: str | None) -> Flow[bool]:
        manager = self.manager
        engine = manager.engine
        if not isinstance(engine, StoreEngine):
            yield from ()
            return session_key is not None and session_key == self.session_key and self._stored is not None
        if session_key is None:
            return False
        inner = Session()
        inner._state = State(manager, f"{manager.cookie.name}={session_key}")
        yield from manager._load_flow(inner)
        return inner._state.record is not None

    # --- expired sessions

    @classmethod
    def clear_expired(cls) -> None:
        """What `manage.py clearsessions` does: sweep a store that does not forget by itself."""
        store = cls()._sync_store()
        if hasattr(store, "sweep"):
            store.sweep(time.time())

    @classmethod
    async def aclear_expired(cls) -> None:
        """`clear_expired` under async code."""
        store = cls().manager.engine.store
        sweep = getattr(store, "sweep", None)
        if sweep is None:
            return
        if inspect.iscoroutinefunction(sweep):
            await sweep(time.time())
        else:
            await sync_to_async(sweep, thread_sensitive=False)(time.time())


@cache
def _serializer(path: str) -> Any:
    """The class of SESSION_SERIALIZER."""
    return import_string(path)


def _new_state(manager: SessionManager) -> State:
    """The state of a session of which nothing is stored."""
    state = State(manager)
    state.meta = Record(b"", 0, None, 0)
    return state


def name_and_value(line: str) -> tuple[str, str]:
    """Name and value of a Set-Cookie line."""
    name, _, value = line.partition(";")[0].partition("=")
    return name, value

"""What the session engines share: Django's interface to a session, on top of a hardtack session.

The data that Django's methods work on is that session itself, so that what a view reads is noted as everywhere else.
"""

from __future__ import annotations

import datetime as dt
import inspect
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Any, ClassVar, Final, Literal, NoReturn

from asgiref.sync import sync_to_async
from django.conf import settings  # type: ignore[import-untyped]
from django.contrib.sessions.backends.base import SessionBase, UpdateError  # type: ignore[import-untyped]
from django.contrib.sessions.serializers import JSONSerializer  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from hardtack import values
from hardtack.adapters import (
    Changes,
    carries_cookie,
    cookie_value,
    create_empty,
    data_of,
    devices_in,
    drop,
    end_own,
    force_save,
    is_empty,
    is_unread,
    join_request,
    limit_to_one_cookie,
    loaded_from_taken_over,
    max_age_of,
    now_of,
    peek,
    preload,
    put,
    renewal_due,
    replace_data,
    rest,
    set_fields,
    state_of,
    touch,
)
from hardtack.cookies import find_values
from hardtack.engines import chunks
from hardtack.errors import HardtackError, SessionConflict, SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.frameworks.django.configuration import made, make_manager
from hardtack.frameworks.django.kind import (
    EXPIRY,
    SERIALIZED,
    TAKEN_OVER,
    USER,
    DjangoSession,
    Interrupted,
    KeyedSession,
    name_and_value,
    place_of,
)
from hardtack.manager import SessionManager
from hardtack.request import Request
from hardtack.session import Session
from hardtack.state import END, KEEP


def current_manager() -> SessionManager:
    """The manager that the engine of SESSION_ENGINE uses: `current_manager().list(str(user.pk))`, `end_all(…)` …"""
    store: SessionStore = import_module(settings.SESSION_ENGINE).SessionStore()
    return store.manager


_ONE_COOKIE: Final = (
    "; a session that is known by its key alone has one cookie: several need hardtack.frameworks.django.SessionMiddleware in "
    "MIDDLEWARE, and the session in request.session"
)

_SERVER_ERROR: Final = 500
_SHORTEST: Final = 8
"""Characters of a key that Django takes for one."""
_AUTH: Final = "django.contrib.auth"


class SessionStore(SessionBase):  # type: ignore[misc]  # Django is not typed
    """Django's session interface, sync and async; the engines are its subclasses.

    Beside Django's own rules: nested changes count as `modified`; a session that a renewal is due for is `modified` once
    it is read; a load never fails for what a client sent; the user of django.contrib.auth is the record's subject.

    In a request of hardtack's middleware a new key and an end are carried out with the response, which makes one step of
    them and of what the view puts in afterwards: a login that no parallel request takes apart. Elsewhere they are at once.
    """

    engine: ClassVar[Literal["encrypted", "signed", "store"]]

    _session_key: str | None
    _marked = False
    _unchanged: Any = None  # an encoding of the data that counts as unchanged, where that is not what was loaded
    _inner: Session | None = None
    _carried: int | None = None  # the deadline of a cookie of another system that was taken over
    _logs_out = False
    _keys: list[str] | tuple[()] = ()  # of which one may be that of the request's session
    lines: tuple[str, ...] = ()
    """Set-Cookie lines that the response is to carry, for hardtack's middleware."""

    def __init__(
        self, session_key: str | None = None, header: str | None = None, request: Request | None = None
    ) -> None:
        # What SessionBase.__init__ does, at half the cost: no access to a setting that another one can do without.
        self._session_key = session_key
        self.accessed = False
        self.serializer = _serializer(settings.SESSION_SERIALIZER)
        manager = made.get(type(self))
        if manager is None:
            manager = make_manager(type(self), self.engine, self.get_session_cookie_age())
        self.manager = manager
        self.request = request
        self._header = header  # a request's Cookie header; None: the session is known by its key alone

    @classmethod
    def for_request(cls, header: str, request: Request | None = None) -> SessionStore:
        """The session of a request, from its raw Cookie header, which may carry chunks."""
        session = cls(None, header, request)
        manager = session.manager
        name = manager.cookie.name
        if name in header and (keys := _keys_in(header, name)):
            session._session_key, session._keys = keys[0], keys
        elif carries_cookie(manager, header):
            session._session_key = TAKEN_OVER
        return session

    # --- the session inside

    @property
    def inner(self) -> Session:
        """The hardtack session, which loads itself when it is touched."""
        if self._inner is None:
            header = self._header
            if header is None and self.session_key is not None:
                header = f"{self.manager.cookie.name}={self.session_key}"
            self._inner = self._opened(header)
        return self._inner

    def _opened(self, header: str | None) -> Session:
        inner = self.manager.open(header, self.request, kind=self._kind)
        if self._header is None:
            limit_to_one_cookie(inner, _ONE_COOKIE)
        return inner

    @property
    def _kind(self) -> type[DjangoSession]:
        return KeyedSession if self._header is None else DjangoSession

    @property
    def is_touched(self) -> bool:
        """Whether anybody has looked at the session."""
        return self._inner is not None and not is_unread(self._inner)

    @property
    def is_of_request(self) -> bool:
        """Whether hardtack's middleware has made it, and saves it."""
        return self._header is not None

    def join(self, header: str, request: Request) -> None:
        """Become the session of a request, in whose place a view has put it: hardtack's middleware saves it, as its own.

        It is loaded already, by its key; from now on it may take several cookies, and those of the browser are known.
        """
        written = [name for name, value in map(name_and_value, self.lines) if value]
        join_request(self.inner, header, request, written)
        self._header, self.request = header, request

    @property
    def request_header(self) -> str:
        """The request's Cookie header."""
        return self._header or ""

    def touch(self) -> None:
        """Load the session."""
        self._get_session()

    async def atouch(self) -> None:
        """`touch` under async code. A session that could not be loaded is not asked for again."""
        if self.is_touched:
            self._get_session()
        else:
            await self._aget_session()

    def _begin_anew(self, data: dict[str, Any] | None = None) -> Session:
        """A session of which nothing is stored, in the place of the one inside."""
        devices = devices_in(self.manager, self.request_header)  # it begins in the same browser
        inner = self._inner = self._opened(devices)
        replace_data(inner, data or {})
        return inner

    # --- modified: nested changes count

    @property
    def modified(self) -> bool:
        """Whether the session is to be saved. Assignable: False takes what there is now for unchanged."""
        if self._marked:
            return True
        data = self.__dict__.get("_session_cache")
        if data is None or self._inner is None or state_of(self._inner).refusal is not None:
            return False
        return renewal_due(self._inner) or self._differs(data)

    @modified.setter
    def modified(self, value: bool) -> None:
        self._marked = bool(value)
        if not value:
            data = self.__dict__.get("_session_cache")
            if data is not None:
                self._unchanged = self._encoded(data)

    @property
    def is_withheld(self) -> bool:
        """Whether the view has taken back what it changed, by `modified = False`."""
        return self._unchanged is not None and not self._marked and not self._differs(self._session_cache)

    def _differs(self, data: Any) -> bool:
        """Whether the data is not what was loaded or saved, or taken for unchanged."""
        inner = self.inner
        if self._unchanged is not None:
            return bool(self._encoded(data) != self._unchanged)
        if state_of(inner).record is None:
            return False  # as in Django, which marks what is assigned
        if not self._own_encoding:
            return bool(self.serializer().dumps(data) != peek(inner, SERIALIZED))
        try:
            return inner.modified
        except UnsupportedValue:
            return True

    @property
    def _own_encoding(self) -> bool:
        return self.serializer is JSONSerializer

    def _encoded(self, data: Any) -> Any:
        """Something to compare data by; what cannot be encoded equals nothing."""
        try:
            return values.pack(data_of(data)) if self._own_encoding else self.serializer().dumps(data)
        except UnsupportedValue:
            return object()

    # --- load

    def _get_session(self, no_load: bool = False) -> Any:
        """The data, loaded on first use: Django's own method without its exception where there is none yet."""
        self.accessed = True
        data: Any = self.__dict__.get("_session_cache")
        if data is None:
            if no_load:
                self._begin_anew()
            else:
                try:
                    touch(self.inner)
                except StoreUnavailable:
                    self._clears_in_logout()
                    raise
            data = self._session_cache = self._loaded()
        return data

    async def _aget_session(self, no_load: bool = False) -> Any:
        self.accessed = True
        data: Any = self.__dict__.get("_session_cache")
        if data is None:
            if no_load:
                self._begin_anew()
            else:
                try:
                    await self.inner.load()
                except StoreUnavailable:
                    self._clears_in_logout()
                    raise
            data = self._session_cache = self._loaded()
        return data

    _session = property(_get_session)

    def _clears_in_logout(self) -> None:
        """The session cannot be read. A logout of django.contrib.auth, which first asks who logs out, clears the cookie."""
        if _is_in_logout():
            self._ends(follows=True)  # raises, with what clears the cookie

    def _loaded(self) -> Any:
        """The data of the session inside, which is loaded."""
        inner = self.inner
        state = touch(inner)
        if state.record is None:
            self._session_key = None
            if loaded_from_taken_over(inner):
                self._marked = True
            elif self._header is None and state.refusal is None:
                # Known by its key alone, and that is no session's: what is saved begins anew, as Django's own do.
                inner = self._begin_anew()
        elif len(self._keys) > 1:
            self._session_key = self._key_that_opened(inner)
        if peek(inner, EXPIRY) is None:
            self._carried = state.meta.options.get("expires")
        return inner if self._own_encoding else self._deserialized(inner)

    def _key_that_opened(self, inner: Session) -> str | None:
        """The one of several keys that is this session's: who opens it by its key is to find the same."""
        value = cookie_value(inner)
        if value is not None:
            return value
        opened, name = inner.id, self.manager.cookie.name
        return next((key for key in self._keys if self.manager.open(f"{name}={key}", self.request).id == opened), None)

    def _deserialized(self, inner: Session) -> dict[str, Any]:
        serialized = inner.get(SERIALIZED)  # noted as read: the view gets the whole of it
        if serialized is None:
            return data_of(inner)
        data: dict[str, Any] = self.serializer().loads(serialized)
        return data

    def load(self) -> dict[str, Any]:
        """What is stored now; {} and no key where there is no such session. Raises `StoreUnavailable`."""
        if "_session_cache" in self.__dict__:
            return _plain(type(self)(self.session_key)._get_session())
        return _plain(self._get_session())

    async def aload(self) -> dict[str, Any]:
        """`load` under async code."""
        if "_session_cache" in self.__dict__:
            return _plain(await type(self)(self.session_key)._aget_session())
        return _plain(await self._aget_session())

    async def preload(self) -> None:
        """Load before an async view runs, whose `request.session[...]` cannot wait for a store. That is no access yet."""
        if self.session_key is not None:
            await preload(self.inner)  # a view that needs no session still answers where the store is down

    # --- what Django asks for itself is no look of the view

    def is_empty(self) -> bool:
        """Whether there is neither a key nor data."""
        if self._session_key:
            return False
        data = self.__dict__.get("_session_cache")
        return is_empty(data) if isinstance(data, Session) else not data

    def _peek(self, name: str) -> Any:
        data = self._get_session()
        return peek(data, name) if isinstance(data, Session) else data.get(name)

    async def _apeek(self, name: str) -> Any:
        await self._aget_session()
        return self._peek(name)

    def get_expiry_age(self, **given: Any) -> int:
        """Seconds until the session expires."""
        return int(super().get_expiry_age(**(given if "expiry" in given else {**given, "expiry": self._peek(EXPIRY)})))

    async def aget_expiry_age(self, **given: Any) -> int:
        """`get_expiry_age` under async code."""
        return self.get_expiry_age(**{"expiry": await self._apeek(EXPIRY), **given})

    def get_expiry_date(self, **given: Any) -> Any:
        """When the session expires."""
        return super().get_expiry_date(**(given if "expiry" in given else {**given, "expiry": self._peek(EXPIRY)}))

    async def aget_expiry_date(self, **given: Any) -> Any:
        """`get_expiry_date` under async code."""
        return self.get_expiry_date(**{"expiry": await self._apeek(EXPIRY), **given})

    def get_expire_at_browser_close(self) -> bool:
        """Whether the session ends with the browser."""
        return _closes(self._peek(EXPIRY))

    async def aget_expire_at_browser_close(self) -> bool:
        """`get_expire_at_browser_close` under async code."""
        return _closes(await self._apeek(EXPIRY))

    def clear(self) -> None:
        """Remove the data. As in Django the session goes on; `flush()` ends it."""
        data = self._get_session()
        if isinstance(data, Session):
            replace_data(data, {})
        else:
            data.clear()
        self.modified = True

    # --- save

    def save(self, must_create: bool = False) -> None:
        """Save now.

        Raises `UpdateError` where the session was ended meanwhile, `SessionConflict` where the request had read what another
        changed, `StoreUnavailable`, `SessionTooLarge`.
        """
        self._get_session(no_load=must_create)
        inner, was_stored = self._prepared(must_create=must_create)
        try:
            changes = self.manager.commit(inner)
        except HardtackError as error:
            self._fail(error, was_stored=was_stored)
        self._saved(changes, was_stored=was_stored)

    async def asave(self, must_create: bool = False) -> None:
        """`save` under async code."""
        await self._aget_session(no_load=must_create)
        inner, was_stored = self._prepared(must_create=must_create)
        try:
            changes = await self.manager.acommit(inner)
        except HardtackError as error:
            self._fail(error, was_stored=was_stored)
        self._saved(changes, was_stored=was_stored)

    def rest(self, status: int) -> Changes | None:
        """What a response says of a session that is loaded and goes on as it is; None where `respond` has to be asked."""
        if self._marked or self._unchanged is not None or status >= _SERVER_ERROR or not self._own_encoding:
            return None
        return None if settings.SESSION_SAVE_EVERY_REQUEST else rest(self.inner)

    def respond(self, status: int, *, saves: bool) -> Changes:
        """What a response says of the session, for hardtack's middleware: saved, if Django would save it, or else aborted.

        Raises what `save` raises, but not for a dropped save that nobody has to be told of.
        """
        if self._is_aborted(status, saves=saves):
            return self.take(self.manager.abort(self.inner))
        inner, was_stored = self._before(saves=saves)
        try:
            changes = self.manager.commit(inner, status)
        except HardtackError as error:
            self._fail(error, was_stored=was_stored)
        return self._answered(changes, saves=saves, was_stored=was_stored)

    async def arespond(self, status: int, *, saves: bool) -> Changes:
        """`respond` under async code."""
        if self._is_aborted(status, saves=saves):
            return self.take(await self.manager.aabort(self.inner))
        inner, was_stored = self._before(saves=saves)
        try:
            changes = await self.manager.acommit(inner, status)
        except HardtackError as error:
            self._fail(error, was_stored=was_stored)
        return self._answered(changes, saves=saves, was_stored=was_stored)

    def _is_aborted(self, status: int, *, saves: bool) -> bool:
        """Whether nothing is saved but what was ended: as in Django with a 5xx, or since the view has taken it back."""
        return (status >= _SERVER_ERROR or (self.is_withheld and not saves)) and not self._is_refused

    def _before(self, *, saves: bool) -> tuple[Session, bool]:
        return self._prepared() if saves and not self._is_refused else (self.inner, self._is_stored)

    @property
    def _is_stored(self) -> bool:
        return state_of(self.inner).record is not None

    @property
    def _is_refused(self) -> bool:
        return state_of(self.inner).refusal is not None

    def _prepared(self, *, must_create: bool = False) -> tuple[Session, bool]:
        """The session inside with all that is to be saved, and whether anything is stored of it."""
        inner, data = self.inner, self._session_cache
        state = state_of(inner)
        if state.refusal is not None:
            raise inner.translate(state.refusal)
        if state.record is not None and state.fate is not END and (must_create or self.session_key is None):
            inner = self._begin_anew(data_of(inner))  # another session begins, and this one is left as it is
            state = state_of(inner)
            if self._own_encoding:
                data = self._session_cache = inner
        if not self._own_encoding:
            self._serialize(inner, data)
        self._set_fields(inner, data)
        create_empty(inner)
        if self.manager.engine.store is None:  # as in Django, a save makes a new cookie
            force_save(inner)
        return inner, state.record is not None

    def _serialize(self, inner: Session, data: dict[str, Any]) -> None:
        serialized = self.serializer().dumps(data) if data else None
        for name in [name for name in data_of(inner) if name != SERIALIZED or serialized is None]:
            drop(inner, name)
        if serialized is not None and serialized != peek(inner, SERIALIZED):
            put(inner, SERIALIZED, serialized)

    def _set_fields(self, inner: Session, data: Any) -> None:
        if isinstance(data, Session):
            expiry, user = peek(data, EXPIRY), peek(data, USER) or None
        else:
            expiry, user = data.get(EXPIRY), data.get(USER) or None
        expires, age = self._carried, None
        if expiry:
            now = dt.datetime.fromtimestamp(now_of(inner), dt.UTC if settings.USE_TZ else None)
            date = max(int(self.get_expiry_date(expiry=expiry, modification=now).timestamp()), 0)
            expires = date if expires is None else min(date, expires)
        else:
            age = getattr(self.manager, "default_age", None)
        subject = None if user is None else str(user)
        set_fields(inner, subject=subject, persistent=not _closes(expiry), lifetime=age, expires=expires)

    def _saved(self, changes: Changes, *, was_stored: bool) -> None:
        """A view, or Django's middleware, has asked for it: it is told where nothing was saved."""
        inner = self.inner
        refusal = state_of(inner).refusal
        if changes.dropped and refusal is not None:
            self._fail(refusal, was_stored=was_stored)
        self._answered(changes, saves=True, was_stored=was_stored)
        if not was_stored:
            self._marked = True  # as in Django: its middleware sends the cookie of what is modified only

    def _answered(self, changes: Changes, *, saves: bool, was_stored: bool) -> Changes:
        inner, name = self.inner, self.manager.cookie.name
        if changes.dropped == "dead" and was_stored:
            raise Interrupted
        value = cookie_value(inner)
        if saves and value is not None and not changes.dropped and self._is_stored:
            # Django sends the cookie with each save, and so moves what the browser knows of its end.
            mine = self.manager.cookie.set_cookie(name, value, self.cookie_age(), now_of(inner))
            lines = changes.set_cookies
            changes.set_cookies = [mine, *(line for line in lines if not line.startswith(f"{name}={value};"))]
        self._unchanged = None
        if not changes.dropped and not self._is_stored:
            self._session_key = None
        return self.take(changes)

    def take(self, changes: Changes) -> Changes:
        """Keep the cookies of a commit for the response, beside those of an earlier one, and the key that they carry."""
        lines = changes.set_cookies
        if self.lines or len(lines) > 1:  # a place that was written before is written anew
            lines = [*{place_of(line): line for line in (*self.lines, *lines)}.values()]
        written = [(name, value) for name, value in map(name_and_value, changes.set_cookies) if value]
        if len(written) > 1 and self._header is None:
            raise SessionTooLarge(
                sum(len(value) for _, value in written),
                self.manager.engine.max_set_cookie,  # type: ignore[attr-defined]
                advice=_ONE_COOKIE,
            )
        self.lines = tuple(lines)
        if written:
            chunked = [value for name, value in written if name.startswith(f"{self.manager.cookie.name}.")]
            self._session_key = chunks.token_of(chunked) if chunked else written[0][1]
        return changes

    def _fail(self, error: HardtackError, *, was_stored: bool) -> NoReturn:
        """Raise Django's own error where the session was ended, and the error as Django knows it otherwise."""
        if isinstance(error, SessionConflict) and not error.paths and was_stored and self._is_refused:
            raise Interrupted from error
        raise self.inner.translate(error) from error

    def cookie_age(self) -> int | None:
        """Seconds that the browser keeps the cookie of the last save; None: until it ends."""
        return max_age_of(self.inner)

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
        """A new key for the same data, in one step where the store can; the old key is dead then."""
        self._get_session()
        if self._cycles_at_once():
            try:
                self.save()
            except UpdateError:
                self._go_on_empty()
        self.modified = True

    async def acycle_key(self) -> None:
        """`cycle_key` under async code."""
        await self._aget_session()
        if self._cycles_at_once():
            try:
                await self.asave()
            except UpdateError:
                self._go_on_empty()
        self.modified = True

    def confirm(self, *methods: str) -> None:
        """The user has shown a factor again: `Session.confirm`. Raises `ConfigError` where nobody is logged in."""
        self._get_session()
        self.inner.confirm(*methods)
        self.modified = True

    def confirmed(self, within: str | int | dt.timedelta = "10 minutes", by: str | None = None) -> bool:
        """Whether the user has shown a factor again not longer ago than `within`: `Session.confirmed`."""
        self._get_session()
        return self.inner.confirmed(within, by)

    def _cycles_at_once(self) -> bool:
        """Ask for another key; whether it is to be saved now.

        Before a login it is not: that is one step with what says who has logged in.
        """
        inner = self.inner
        inner.regenerate()
        if self._header is None or self._peek(USER) is not None:
            return True
        create_empty(inner)
        _ = inner.id  # drawn now: who asks for the key of the session gets the one that the response will carry
        value = cookie_value(inner)
        if value is not None:
            self._session_key = value
        return False

    def _go_on_empty(self) -> None:
        """The session was ended since it was loaded: nothing of it goes on, and a login that follows begins another."""
        if self._peek(USER) is not None:
            raise Interrupted
        self._begins_anew_after_end()

    def delete(self, session_key: str | None = None) -> None:
        """End the session of a key, by default this one's. A copy of a cookie that holds the session lives to its deadline."""
        other = self._other(session_key)
        if other is not None:
            if touch(other).record is not None:
                end_own(other, follows=False)
                self.manager.commit(other)
        elif self.session_key is not None:
            self._end(follows=True)
            if self._header is None:
                self._end_now()

    async def adelete(self, session_key: str | None = None) -> None:
        """`delete` under async code."""
        other = self._other(session_key)
        if other is not None:
            await other.load()
            if touch(other).record is not None:
                end_own(other, follows=False)
                await self.manager.acommit(other)
        elif self.session_key is not None:
            await self._aend(follows=True)
            if self._header is None:
                await self._aend_now()

    def _other(self, session_key: str | None) -> Session | None:
        """The session of another key; in cookies only the one at hand can be ended."""
        if session_key is None or session_key == self.session_key:
            return None
        header = f"{self.manager.cookie.name}={session_key}" if self.manager.engine.store is not None else ""
        return self.manager.open(header, kind=DjangoSession)

    def flush(self) -> None:
        """End the session, and forget its data; what is stored afterwards is a new session. Raises `StoreUnavailable`."""
        self._end(follows=self._logs_out or not _asked_by_auth())
        if self._header is None:
            self._end_now()

    async def aflush(self) -> None:
        """`flush` under async code."""
        await self._aend(follows=self._logs_out or not _asked_by_auth())
        if self._header is None:
            await self._aend_now()

    @property
    def is_moving(self) -> bool:
        """Whether what is stored is to end or to get another key, or nothing is stored."""
        state = state_of(self.inner)
        return state.fate is not KEEP or state.record is None

    def logs_out(self) -> None:
        """The user logs out: the `flush` that follows reaches the session under whichever key it has by now.

        What django.contrib.auth flushes otherwise does not: it ends a session whose password hash is old, and must not end
        with it the one in which the password has just been changed.
        """
        self._logs_out = True

    def _end(self, *, follows: bool) -> None:
        with suppress(StoreUnavailable):  # which ending it says, with what clears the cookie
            touch(self.inner)
        self._ends(follows=follows)

    async def _aend(self, *, follows: bool) -> None:
        with suppress(StoreUnavailable):
            await self.inner.load()
        self._ends(follows=follows)

    def _ends(self, *, follows: bool) -> None:
        self.accessed = True
        end_own(self.inner, follows=follows)
        self._session_key = None
        self._session_cache = self.inner if self._own_encoding else {}
        self._carried = None
        self._unchanged = None
        self._logs_out = False
        self._marked = True

    def _end_now(self) -> None:
        try:
            self.manager.commit(self.inner)
        finally:  # a logout that the store did not hear of still clears the cookie
            self._begins_anew_after_end()

    async def _aend_now(self) -> None:
        try:
            await self.manager.acommit(self.inner)
        finally:
            self._begins_anew_after_end()

    def _begins_anew_after_end(self) -> None:
        self._session_key = None
        inner = self._begin_anew()
        self._session_cache = inner if self._own_encoding else {}

    def exists(self, session_key: str | None) -> bool:
        """Whether there is a living session under a key. In cookies only the one at hand can be known."""
        other = self._other(session_key)
        if other is not None:
            return touch(other).record is not None
        return session_key is not None and touch(self.inner).record is not None

    async def aexists(self, session_key: str | None) -> bool:
        """`exists` under async code."""
        other = self._other(session_key)
        if other is not None:
            await other.load()
            return touch(other).record is not None
        if session_key is None:
            return False
        await self.inner.load()
        return touch(self.inner).record is not None

    # --- expired sessions

    @classmethod
    def clear_expired(cls) -> None:
        """What `manage.py clearsessions` does: sweep a store that does not forget by itself."""
        store: Any = cls().manager.core.sync_store()
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


def _asked_by_auth() -> bool:
    """Whether django.contrib.auth asks for the end by itself, and not a view of the site."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name in ("flush", "aflush"):  # those of subclasses
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == _AUTH


def _is_in_logout() -> bool:
    """Whether `django.contrib.auth.logout` or `alogout` asks, to tell its signal who logs out."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None:
        if frame.f_code.co_name in ("logout", "alogout") and frame.f_globals.get("__name__") == _AUTH:
            return True
        frame = frame.f_back
    return False


def _plain(data: Any) -> dict[str, Any]:
    return data_of(data) if isinstance(data, Session) else data


def _closes(expiry: Any) -> bool:
    """Whether a session with this expiry ends with the browser."""
    return bool(settings.SESSION_EXPIRE_AT_BROWSER_CLOSE if expiry is None else expiry == 0)


def _keys_in(header: str, name: str) -> list[str]:
    """What may be the key of a request's session: each of its cookies, and what its chunks are put together.

    Nearly always it is one; where a stranger has planted another, only the load tells which.
    """
    found = [each for each in find_values(header, name) if len(each) >= _SHORTEST]
    if f"{name}.0" in header and (first := find_values(header, f"{name}.0")):
        values_of = [first, *(find_values(header, each) for each in chunks.names(name)[1:])]
        found.append(next(chunks.joined(values_of, _nothing), first[0]))  # what is not whole opens nothing
    return found


def _nothing() -> None:
    """The engine tells of chunks that are not whole."""

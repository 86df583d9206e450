"""Session: what a handler sees, a dict with a life of its own.

A session that nobody touched yet is of a private subclass whose every dict method loads it first. Touching it turns it into
a plain `Session`, which overrides no method of dict: from then on it costs what a dict costs.
"""

from __future__ import annotations

import datetime as dt
import secrets
from _thread import RLock
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, TypeVar

from hardtack import values
from hardtack._views import View
from hardtack.errors import ConfigError, SessionNotLoaded
from hardtack.lifetime import LATEST
from hardtack.record import Record

if TYPE_CHECKING:
    from hardtack.manager import SessionManager
    from hardtack.protocols import Held

T = TypeVar("T")

FLASHES = "_flashes"
"""Where flash messages are kept; Flask's own place, so that its `get_flashed_messages` finds them."""


class Flash(NamedTuple):
    """A one-time message. `str()` of it is the message."""

    category: str
    message: Any

    def __str__(self) -> str:
        return str(self.message)


class State:
    """What a session knows of itself beside its data. Private to hardtack; engines and the manager work on it.

    The defaults stand on the class: most requests change a few of them only.
    """

    held: Held | None = None  # what the engine found and must remember until it saves
    record: Record | None = None  # what is stored now, with its encoding; None: nothing is
    initial: bytes | None = None  # what the data is compared with where nothing is stored; None: with nothing
    taken: Record | None = None  # what another system's cookie held
    loaded = False
    accessed = False
    forced = False
    touched_meta = False  # a login changed the fields
    rotated = False  # the stored id is to be replaced
    destroyed: Record | None = None  # the stored record to be ended
    degraded = False
    committed = False
    dropped = False  # a commit has told that the session was ended meanwhile, and that nothing of it can be kept
    clearing: tuple[str, ...] = ()  # Set-Cookie lines that clear another system's cookies
    views: dict[type, View] | None = None

    # The fields to be stored next; its data is unused. The record itself, until one of them changes.
    meta: Record

    def __init__(self, manager: SessionManager | None = None, header: str = "") -> None:
        self.manager = manager
        self.header = header
        self.lock = RLock()  # held while the session loads itself


def nothing() -> Record:
    """The fields of a session of which nothing is stored."""
    return Record(b"", 0, None, 0)


class _NotLoaded:
    """The one item of an unloaded session. C code that reads dicts past their methods finds it, and fails."""

    def __repr__(self) -> str:
        return "<session not loaded>"


_SENTINEL: Any = _NotLoaded()


class Session(dict[str, Any]):
    """The session of one request. A real dict; nested changes count, and nothing needs to be marked.

    `Session(mapping)` works unattached as well, for tests and for code that runs outside a request.
    """

    __slots__ = ("_state",)

    _state: State

    def __init__(self, mapping: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        dict.__init__(self, mapping)
        self._state = State()
        self._state.meta = nothing()
        self._state.loaded = True

    def _open(self) -> State:
        """The state, loaded."""
        self._touch()
        state = self._state
        state.accessed = True
        return state

    def _touch(self) -> None:
        """Load the session, and let go of the guard."""

    # --- identity and times

    @property
    def id(self) -> str:
        """Public handle, base64url: safe to log and to list, never a credential. Asking for it creates nothing."""
        state = self._open()
        if not state.meta.id:
            manager = state.manager
            state.meta.id = secrets.token_bytes(16) if manager is None else manager._new_id(state)
        return values.encode_bytes(state.meta.id)

    @property
    def is_new(self) -> bool:
        """Whether nothing is stored of this session yet."""
        return self._open().record is None

    @property
    def accessed(self) -> bool:
        """Whether the handler looked at the session: then the response depends on the cookie."""
        return self._state.accessed

    @property
    def modified(self) -> bool:
        """Whether what would be stored differs from what was loaded, nested changes included.

        Assignable: True forces a save, False withdraws only that force.
        """
        state = self._state
        self._fold_views()
        if state.forced or state.rotated or state.touched_meta or state.destroyed is not None:
            return True
        if state.record is not None:
            return not state.record.is_kept_as(dict.copy(self))
        if state.initial is not None:
            return values.pack(dict.copy(self)) != state.initial
        return bool(dict.__len__(self)) or state.meta.subject is not None

    @modified.setter
    def modified(self, value: bool) -> None:
        if value:
            self._open()
        self._state.forced = bool(value)

    @property
    def created_at(self) -> dt.datetime | None:
        """When the session began, UTC; None while nothing is stored. Never moves."""
        return _moment(self._open().meta.created)

    @property
    def authenticated_at(self) -> dt.datetime | None:
        """When the user logged in, UTC, or None."""
        return _moment(self._open().meta.authenticated)

    @property
    def seen_at(self) -> dt.datetime | None:
        """When the session was last renewed, UTC; None while nothing is stored."""
        return _moment(self._open().meta.seen)

    @property
    def expires_at(self) -> dt.datetime | None:
        """The nearer deadline, UTC; None while nothing is stored."""
        state = self._open()
        if state.manager is None or not state.meta.created:
            return None
        return _moment(min(state.manager._deadlines(state.meta).nearest, LATEST))

    @property
    def subject(self) -> str | None:
        """The user whom the session belongs to, or None."""
        return self._open().meta.subject

    @property
    def degraded(self) -> bool:
        """Whether the store could not be reached and the manager was told to go on with an empty session."""
        return self._state.degraded

    # --- life

    def regenerate(self) -> None:
        """A new id for the same data: on any change of privilege (ASVS 7.2.4), against session fixation."""
        state = self._open()
        self._refuse_degraded()
        state.rotated = state.rotated or state.record is not None
        state.meta = state.meta.with_changes(id=b"")

    def login(
        self, subject: str, lifetime: str | int | dt.timedelta | None = None, persistent: bool | None = None
    ) -> None:
        """The session now belongs to `subject`, under a new id. That of another subject is destroyed first.

        `lifetime` can shorten the manager's, not exceed it. `persistent`: whether the browser keeps the cookie over a
        restart ("remember me"); None: as the manager says. Raises `ConfigError` for a lifetime that is not understood.
        """
        from hardtack.lifetime import seconds

        if type(subject) is not str or not subject:
            given = "an empty one" if subject == "" else f"{type(subject).__name__}; use str(user.id)"
            message = f"login() takes the user's id as a str that is not empty, not {given}"
            raise TypeError(message)
        if persistent not in (None, True, False):
            message = f"login(persistent)={persistent!r} must be True, False, or None: as the manager says"
            raise ConfigError(message)
        values.check(subject)
        options: dict[str, Any] = {}
        if lifetime is not None:
            options["lifetime"] = seconds(lifetime, "login(lifetime)")
            if options["lifetime"] < 1:
                message = f"login(lifetime)={lifetime!r} must be a second or more; None: as the manager says"
                raise ConfigError(message)
        if persistent is not None:
            options["persistent"] = bool(persistent)
        state = self._open()
        self._refuse_degraded()
        if state.meta.subject not in (None, subject):
            # Another user's session ends, and a new one begins: what a request of theirs saves meanwhile is not merged in.
            self._end()
        else:
            self.regenerate()
        meta = state.meta
        now = state.manager._now() if state.manager is not None else int(dt.datetime.now(dt.UTC).timestamp())
        meta.subject = subject
        meta.authenticated = now
        meta.created = meta.created or now
        meta.seen = max(meta.seen, now)
        meta.options = options
        state.touched_meta = True

    def destroy(self) -> None:
        """Data gone, record deleted, cookie cleared. The same request may start a new session."""
        self._open()
        self._refuse_degraded()
        self._end()

    def _end(self) -> None:
        state = self._state
        state.views = None
        dict.clear(self)
        if state.record is not None:
            state.destroyed = state.record
        elif state.held is not None and not state.held.ended:
            state.held.clear = True  # a cookie that does not open here may open on another server
        state.record = None
        state.rotated = False
        state.touched_meta = False
        state.meta = nothing()
        if state.manager is not None:
            state.manager._clear_foreign(state)

    def logout(self) -> None:
        """The same as `destroy`."""
        self.destroy()

    def _refuse_degraded(self) -> None:
        if self._state.degraded:
            from hardtack.errors import StoreUnavailable

            raise StoreUnavailable(
                "the session store cannot be reached; this session is a stand-in that cannot be saved"
            )

    # --- one-time messages

    def flash(self, message: Any, category: str = "message") -> None:
        """Keep a message for the next page that asks for it."""
        self[FLASHES] = [*self.get(FLASHES, ()), [category, message]]

    def flashes(self, category: str | None = None) -> list[Flash]:
        """The messages, of one category or all, oldest first; they are gone then."""
        kept = self.get(FLASHES)
        if not kept:
            return []
        flashes = [Flash(*item) for item in kept]
        rest = [list(flash) for flash in flashes if category is not None and flash.category != category]
        if rest:
            self[FLASHES] = rest
        else:
            del self[FLASHES]
        return [flash for flash in flashes if category is None or flash.category == category]

    # --- typed

    def view(self, kind: type[T]) -> T:
        """The session as a `msgspec.Struct`, a dataclass or a pydantic model.

        The session keeps the object, one of each type, and folds the fields that were changed back when it is committed.
        Keys that the type does not have are left alone. Raises what the type raises where the data does not fit it.
        """
        state = self._open()
        if state.views is None:
            state.views = {}
        if kind not in state.views:
            state.views[kind] = View(kind, dict(self))
        found: T = state.views[kind].object
        return found

    def _fold_views(self) -> None:
        for view in (self._state.views or {}).values():
            dict.update(self, view.changes())

    # --- loading

    async def load(self) -> None:
        """Load the session where that was deferred; nothing to do otherwise."""
        state = self._state
        if not state.loaded and state.manager is not None:
            await state.manager._aload(self)
        self._open()

    def mark_accessed(self) -> None:
        """The handler was given the session (Starlette calls this for `request.session`)."""
        self._state.accessed = True

    def mark_modified(self) -> None:
        """The same as `session.modified = True` (Starlette calls this)."""
        self.modified = True

    # --- copies are plain dicts: a copy has no cookie and no life

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        from copy import deepcopy

        return deepcopy(dict(self), memo)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __repr__(self) -> str:
        return f"<Session {dict.__repr__(self)}>"

    __str__ = __repr__


class Guard(Session):
    """What makes a session load itself: the dict methods of a session that nobody touched yet."""

    __slots__ = ()

    _kind: ClassVar[type[Session]] = Session

    def _touch(self) -> None:
        state = self._state
        manager = state.manager
        assert manager is not None
        # Threads of one request may touch it at once: the second must not load over what the first has changed.
        with state.lock:
            if isinstance(self, Guard):
                manager._load(self)
                state.accessed = True
                self.__class__ = self._kind  # type: ignore[assignment]

    @property
    def modified(self) -> bool:
        """Nothing was changed through a session that nobody touched, but by taking over another system's."""
        return self._state.forced

    @modified.setter
    def modified(self, value: bool) -> None:
        if value:
            self._touch()
        self._state.forced = bool(value)

    @property
    def degraded(self) -> bool:
        """Whether the store could be reached is known only when it was asked."""
        if not self._state.loaded:
            self._touch()
        return self._state.degraded

    def _fold_views(self) -> None:
        """Nobody has asked for a view."""

    def __repr__(self) -> str:
        return "<Session (not loaded)>"

    __str__ = __repr__


def _guarded(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    def guard(self: Guard, *args: Any, **kwargs: Any) -> Any:
        self._touch()
        for arg in args:  # dict compares and merges another dict past its methods
            if isinstance(arg, Guard):
                arg._touch()
        return method(self, *args, **kwargs)

    guard.__name__ = name
    return guard


_GUARDED = (
    "__getitem__ __setitem__ __delitem__ __contains__ __iter__ __reversed__ __len__ __eq__ __ne__ __or__ __ror__ __ior__ "
    "get keys values items pop popitem setdefault update clear copy"
)
for _name in _GUARDED.split():
    setattr(Guard, _name, _guarded(_name))

_guards: dict[type[Session], type[Guard]] = {Session: Guard}


def _guard_of(kind: type[Session]) -> type[Guard]:
    """The guard of a framework's subclass: the same, or the subclass's own (`_guard_base`); it lets go into that subclass."""
    guard = _guards.get(kind)
    if guard is None:
        base: type[Guard] = getattr(kind, "_guard_base", Guard)
        guard = _guards[kind] = type(kind.__name__, (base, kind), {"__slots__": (), "_kind": kind})
    return guard


def unloaded(manager: SessionManager, header: str, kind: type[Session] = Session) -> Session:
    """A session that loads itself when it is touched."""
    guard = _guard_of(kind)
    session = guard.__new__(guard)
    dict.__setitem__(session, _SENTINEL, _SENTINEL)
    session._state = State(manager, header)
    return session


def fill(session: Session, data: Mapping[str, Any]) -> None:
    """Put the loaded data in the place of the sentinel, or of what another request has changed meanwhile."""
    dict.clear(session)
    dict.update(session, data)


def not_loaded() -> NoReturn:
    """Raise the error of a session that was touched too early."""
    raise SessionNotLoaded(
        "the session is in a store that only async code can reach, and was touched before it was loaded; "
        "use `await session.load()` first, or open it with `aopen`"
    )


def _moment(seconds: int | None) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None

"""Session: what a handler sees, a dict with a life of its own.

Its phases are classes. A session that nobody touched yet is `Unread`: every dict method of it loads it first. Where parallel
requests can be told from each other it is then `Tracked`: its methods note what was read. Elsewhere it is a plain `Session`,
which costs what a dict costs. Once the request is over it is `Finished`: it can be read, and a write raises.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, TypeVar

from hardtack import values
from hardtack._views import View, names_of
from hardtack.errors import (
    ConfigError,
    HardtackError,
    ProofNeeded,
    SessionConflict,
    SessionFinished,
    SessionNotLoaded,
    StoreUnavailable,
)
from hardtack.lifetime import LATEST
from hardtack.state import COMMITTED, END, FINISHED, KEEP, LIVE, LOGIN, REPLACE, UNREAD, State, nothing

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.once import Once
    from hardtack.request import Request
    from hardtack.tracking import Tracking

T = TypeVar("T")

FLASHES = "_flashes"
"""Where flash messages are kept; Flask's own place, so that its `get_flashed_messages` finds them."""

ONCE = "_once"
"""Where values that are taken once are kept."""


class Flash(NamedTuple):
    """A one-time message. `str()` of it is the message."""

    category: str
    message: Any

    def __str__(self) -> str:
        return str(self.message)


class _NotLoaded:
    """The one item of an unloaded session. C code that reads dicts past their methods finds it, and fails."""

    def __repr__(self) -> str:
        return "<session not loaded>"

    @property
    def __pydantic_serializer__(self) -> Any:
        """For pydantic, which would write what it does not know as it is."""
        from hardtack._views import refusing_serializer

        return refusing_serializer()


SENTINEL: Any = _NotLoaded()

_set = dict.__setitem__
_set_once = dict.setdefault
_MISSING: Any = object()


class Session(dict[str, Any]):
    """The session of one request. A real dict; nested changes count, and nothing needs to be marked.

    `Session(mapping)` works unattached as well, for tests and for code that runs outside a request.
    """

    __slots__ = ("_state",)

    _state: State

    joined: ClassVar[tuple[str, ...]] = (FLASHES, ONCE)
    """For adapters: keys whose parallel changes are joined, and which nobody's decision rests on; "_f_": all that begin so."""

    knows_device: ClassVar[bool] = True
    """For adapters: whether it was opened with all of the request's cookies, and so with what they say of the device."""

    def __init__(self, mapping: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        dict.__init__(self, mapping)
        state = self._state = State(None, "", None)
        state.meta = nothing()
        state.phase = LIVE

    errors: ClassVar[Mapping[type[HardtackError], type[HardtackError]]] = {}
    """For adapters: the class that an error becomes which using the session raises, such as the framework's own 503."""

    @classmethod
    def translate(cls, error: HardtackError) -> Exception:
        """For adapters: an error as the framework answers it, by `errors`."""
        for kind, theirs in cls.errors.items():
            if isinstance(error, kind) and not isinstance(error, theirs):
                return theirs(error)
        return error

    def _open(self) -> State:
        """The state, loaded."""
        state = self._state
        state.accessed = True
        return state

    def _touch(self, *, uses: bool = True) -> None:
        """Load the session, and let go of the unread one. `uses`: where it cannot be loaded, somebody has to be told."""

    def _changing(self) -> State:
        """The state of a session that may be changed. Raises what forbids that."""
        state = self._open()
        if state.refusal is not None or state.phase is FINISHED:
            self._refuse()
        return state

    def _refuse(self) -> NoReturn:
        error = self._state.refusal
        if error is None:
            error = SessionFinished(
                "the session was changed after its request was over: nothing would save that. In a task or a thread, keep "
                "session.id and call sessions.update(id, function), or sessions.end(id)"
            )
        raise self.translate(error) from None

    # --- identity and times

    @property
    def id(self) -> str:
        """Public handle, base64url: safe to log and to list, never a credential. Asking for it creates nothing."""
        state = self._open()
        if not state.meta.id:
            state.meta.id = secrets.token_bytes(16) if state.core is None else state.core.new_id(state)
        return values.encode_bytes(state.meta.id)

    @property
    def is_new(self) -> bool:
        """Whether nothing is stored of this session yet."""
        state = self._open()
        return state.record is None or state.fate in (REPLACE, END)

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
        if state.forced or state.fate is not KEEP or state.begins is LOGIN:
            return True
        if state.base is not None and state.taken is None:
            if state.tracking is not None and is_untouched(self):
                return False
            return not state.base.is_kept_as(data_of(self))
        return bool(data_of(self)) or state.meta.subject is not None

    @modified.setter
    def modified(self, value: bool) -> None:
        if value:
            self._changing()
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
        if state.core is None or not state.meta.created:
            return None
        return _moment(min(state.core.deadlines(state.meta).nearest, LATEST))

    @property
    def subject(self) -> str | None:
        """The user whom the session belongs to, or None."""
        return self._open().meta.subject

    @property
    def degraded(self) -> bool:
        """Whether the store could not be reached, and this is an empty stand-in that cannot be changed."""
        return isinstance(self._state.refusal, StoreUnavailable)

    # --- life

    def regenerate(self) -> None:
        """A new id for the same data: on any change of privilege (ASVS 7.2.4), against session fixation."""
        self._changing().move()

    def login(
        self,
        subject: str,
        lifetime: str | int | dt.timedelta | None = None,
        persistent: bool | None = None,
        *,
        label: str | None = None,
        at_most: int | None = None,
        beyond: str = "end_oldest",
        sid: str | None = None,
    ) -> None:
        """The session now belongs to `subject`, under a new id. That of another subject ends first.

        A login is never lost: whatever parallel requests did, the commit stores a session of this user with a cookie.

        Args:
            subject: the user's id, a str that is not empty.
            lifetime: can shorten the manager's, not exceed it.
            persistent: whether the browser keeps the cookie over a restart ("remember me"); None: as the manager says.
            label: what a list of this user's sessions shows, such as "Firefox on Linux"; at most 200 characters.
            at_most: sessions that the user may have, this one included; needs a store that can find them, or a
                `registry=` of the manager for sessions in cookies.
            beyond: what happens beyond that: "end_oldest", or "refuse", where the commit raises `TooManySessions`;
                sessions in cookies can only have the oldest end.
            sid: the provider's session id (OpenID Connect), by which it may end this login later.

        Raises `ConfigError` for a setting that is not understood.
        """
        from hardtack.login import login_limit, login_options

        options = login_options(subject, lifetime, persistent, label, sid)
        limit = None if at_most is None and beyond == "end_oldest" else login_limit(at_most, beyond)
        state = self._changing()
        if limit is not None and state.core is not None:
            state.core.check_limits(limit[1])
        state.limit = limit
        if state.waiting is not None or state.beside is not None:
            from hardtack import impersonation

            impersonation.leave(self)
        if state.meta.subject not in (None, subject) or "actor" in state.meta.options:
            # Another user's session ends, and a new one begins: what a request of theirs saves meanwhile is not merged in.
            self._empty(state)
            state.end(REPLACE)
        state.move()
        meta = state.meta
        if "binding" in meta.options:  # the user has shown a credential on the device that the session is bound to
            options["binding"] = meta.options["binding"]
        now = state.now()
        meta.subject = subject
        meta.authenticated = now
        meta.created = meta.created or now
        meta.seen = max(meta.seen, now)
        meta.options = options
        state.begins = LOGIN

    def destroy(self) -> None:
        """Data gone, record deleted, cookie cleared. The same request may start a new session.

        This happens whatever else the request does: also if the handler fails afterwards.
        """
        try:
            state = self._open()
        except HardtackError as error:
            self._mark_cleared()
            if self._state.refusal is not None:
                error.set_cookies = self._state.refusal.set_cookies
            raise
        conflict = isinstance(
            state.refusal, SessionConflict
        )  # what was changed is not saved: an end happens all the same
        if (state.refusal is not None and not conflict) or state.phase is FINISHED:
            self._mark_cleared()
            self._refuse()
        if state.waiting is not None or state.beside is not None:
            from hardtack import impersonation

            impersonation.leave(self)
        self._empty(state)
        if state.record is None and state.held is not None and not state.held.dead:
            state.held.clear = True  # a cookie that does not open here may open on another server
        state.end(END)
        if state.core is not None:
            state.core.clear_foreign(state)

    def logout(self) -> None:
        """The same as `destroy`."""
        self.destroy()

    def clear(self) -> None:
        """The same as `destroy`: it is the logout of many a tutorial, and a user who is told so must be logged out."""
        self.destroy()

    def _mark_cleared(self) -> None:
        """The session cannot be ended now: its cookie is cleared with the answer that says so."""
        state = self._state
        if state.core is not None and state.refusal is not None:
            state.core.mark_cleared(state, state.refusal)

    def _empty(self, state: State) -> None:
        dict.clear(self)
        if state.tracking is not None:
            state.tracking.hidden = {}

    def passive(self) -> None:
        """This request is no activity of the user, such as a page that polls: it moves no deadline."""
        self._open().passive = True

    # --- the device

    @property
    def binding(self) -> str:
        """What the request proves of the device: "bound" (the key of this session), "unproven" (not the key that it needs), or
        "unbound": the session is bound to none."""
        device = self._open().device
        return "unbound" if device is None else device.status.value

    def prove(self) -> bool:
        """Whether the browser proves the device's key for this very request: at a dangerous action, such as a payment.

        The first time it raises `ProofNeeded`, which frameworks answer with a redirect to the same URL: the browser proves its
        key and sends the request again, with its body. False where it could not, and at once where the session is not bound.
        A browser can do that six times in nine minutes, its regular proofs included.
        """
        from hardtack.binding.prove import prove

        try:
            return prove(self._open())
        except ProofNeeded as error:
            raise self.translate(error) from None

    # --- step-up

    def confirm(self, *methods: str) -> None:
        """The user has shown a factor again, such as "password" or "totp": a new id, the same deadline (ASVS 7.5.3)."""
        state = self._changing()
        meta = state.meta
        if meta.subject is None:
            raise ConfigError("confirm() needs a session that somebody is logged in to: call login(subject) first")
        if not all(type(method) is str and method for method in methods):
            raise TypeError("confirm() takes the names of the methods that were used, such as confirm('password')")
        now = state.now()
        confirmed = {**meta.options.get("confirmed", {}), **dict.fromkeys(methods or ("",), now)}
        state.move()
        state.meta.options = {**meta.options, "confirmed": confirmed}
        state.forced = True

    def confirmed(self, within: str | int | dt.timedelta = "10 minutes", by: str | None = None) -> bool:
        """Whether the user has shown a factor again not longer ago than `within`: any, or the one named by `by`."""
        from hardtack.lifetime import seconds

        state = self._open()
        limit = seconds(within, "confirmed(within)")
        known: dict[str, int] = state.meta.options.get("confirmed", {})
        times = known.values() if by is None else [known[by]] if by in known else []
        now = state.now()
        return any(now - limit <= min(at, now) for at in times)

    # --- log in as

    @property
    def actor(self) -> str | None:
        """Who acts as the subject (`impersonate`), or None."""
        found = self._open().meta.options.get("actor")
        return None if not found else str(found[0])

    def impersonate(self, subject: str, lifetime: str | int | dt.timedelta = "30 minutes") -> None:
        """ "Log in as": from here on this is a session of `subject`, in which the user who is logged in acts.

        It begins with no data and a new id. Her own session waits untouched until `stop_impersonating`; a logout ends both,
        and where hers is ended, so is this. It shows no credential: call it only after checking that she may, and
        keep what may be done in it in mind (`session.actor`).

        Args:
            subject: whose session it is, a str that is not empty.
            lifetime: after it the session ends.

        Raises `ConfigError` where nobody is logged in, within an impersonation, and on engines that cannot keep two
        sessions of one browser: those of other systems' formats.
        """
        from hardtack import impersonation

        impersonation.begin(self, subject, lifetime)

    def stop_impersonating(self) -> None:
        """The session of the one who acts goes on, under a new id, with the data that it had; where nobody acts, nothing.

        Where it was ended meanwhile nobody is logged in.
        """
        from hardtack import impersonation

        impersonation.stop(self)

    # --- one-time values and messages

    @property
    def once(self) -> Once:
        """Values of one flow, each taken once: OAuth state, PKCE verifiers, WebAuthn challenges, password resets."""
        from hardtack.once import Once

        return Once(self)

    def flash(self, message: Any, category: str = "message") -> None:
        """Keep a message for the next page that asks for it."""
        kept = peek(self, FLASHES)
        put(self, FLASHES, [*(kept if type(kept) is list else ()), [category, message]])

    def flashes(self, category: str | None = None) -> list[Flash]:
        """The messages, of one category or all, oldest first; they are gone then."""
        kept = peek(self, FLASHES)
        if not kept or type(kept) is not list:  # or the application has a key of this name
            return []
        flashes = [Flash(*item) for item in kept]
        rest = [list(flash) for flash in flashes if category is not None and flash.category != category]
        if rest:
            put(self, FLASHES, rest)
        else:
            drop(self, FLASHES)
        return [flash for flash in flashes if category is None or flash.category == category]

    # --- cross-site request forgery

    def csrf_token(self) -> str:
        """The token for forms of this session, masked anew each time (BREACH). Asking for one stores a session.

        Raises `StoreUnavailable` where the session is a stand-in (`degraded`), as each write does: its secret is in the store,
        and a form with another token would be refused once it is sent. A page about a store that is down has no form.
        """
        from hardtack.csrf import draw, masked

        state = self._changing()
        secret = state.meta.options.get("csrf")
        if secret is None:
            secret = values.encode_bytes(draw(state))
            if state.meta is state.record:
                state.meta = state.meta.with_changes()
            state.meta.options = {**state.meta.options, "csrf": secret}
            state.forced = True
        return masked(values.decode_bytes(secret))

    def check_csrf(self, token: object) -> bool:
        """Whether a form's token is this session's, in constant time."""
        from hardtack.csrf import known, matches

        secret = known(self._open())
        return bool(secret) and matches(secret, token)

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
            fields = {name: self[name] for name in names_of(kind) if name in self}
            state.views[kind] = View(kind, fields)
        found: T = state.views[kind].object
        return found

    def _fold_views(self) -> None:
        for view in (self._state.views or {}).values():
            for name, value in view.changes().items():
                put(self, name, value)

    # --- loading

    async def load(self) -> None:
        """Load the session where that was deferred; nothing to do otherwise.

        Raises `StoreUnavailable` once in a request. After that the store is not asked again: as everywhere, reads get the empty
        stand-in (`degraded`), so that a page that shows the error can be made.
        """
        state = self._state
        if state.phase is UNREAD and state.core is not None:
            try:
                await state.core.aload(self)
            except HardtackError as error:
                raise self.translate(error) from error
        self._open()

    def mark_accessed(self) -> None:
        """The handler was given the session (Starlette calls this for `request.session`)."""
        self._state.accessed = True

    def mark_modified(self) -> None:
        """The same as `session.modified = True` (Starlette calls this)."""
        self.modified = True

    @property
    def __pydantic_serializer__(self) -> Any:
        """For pydantic, which reads a dict past its methods: an endpoint may return the session."""
        from hardtack._views import pydantic_serializer

        return pydantic_serializer()

    # --- copies are plain dicts: a copy has no cookie and no life

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        from copy import deepcopy

        return deepcopy(dict(self), memo)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __repr__(self) -> str:
        return f"<Session {self.copy()!r}>"

    __str__ = __repr__


state_of: Callable[[Session], State] = attrgetter("_state")
"""For the parts of hardtack: what a session knows of itself."""


def touch(session: Session) -> State:
    """For the parts of hardtack: the state, loaded, as if a handler had looked at it."""
    return session._open()


def hand_out(session: Session) -> None:
    """Load a session that a handler has named, before it is used: C code that reads a dict past its methods finds it whole.

    While the store cannot be read this raises nothing, and the session stays unread: its first use raises `StoreUnavailable`.
    So a page that only names it is served, and a `logout()` that is its first use clears the cookie. The store is asked once.
    """
    session._touch(uses=False)
    session._state.accessed = True


def fold_views(session: Session) -> None:
    """For the parts of hardtack: put what was changed in the objects of `view()` into the session."""
    session._fold_views()


def follow_views(session: Session) -> None:
    """For the parts of hardtack: have the objects of `view()`, which the application may hold, show what the session holds."""
    state = session._state
    if state.views is not None:
        data = data_of(session)
        for view in state.views.values():
            view.follow(data)


def changing(session: Session) -> State:
    """For the parts of hardtack: the state of a session that may be changed. Raises what forbids that."""
    return session._changing()


# --- data, past what is noted


_IMMUTABLE = frozenset[type]({type(None), bool, int, float, str, bytes})


def is_untouched(session: Session) -> bool:
    """Whether it is sure, without a look at all of it, that a tracked session holds what was loaded.

    What nobody has asked for is hidden from everybody, C code included; what was shown must be the same objects still, of
    types that cannot change, and nothing else may be there.
    """
    state = session._state
    tracking: Any = state.tracking
    if state.lent or tracking.assigned or tracking.everything:
        return False
    shown = tracking.shown
    if dict.__len__(session) != len(shown) + 1 or not dict.__contains__(session, SENTINEL):
        return False
    for name, value in tuple(shown.items()):  # another thread may be reading
        if type(value) not in _IMMUTABLE or dict.get(session, name, _MISSING) is not value:
            return False
    return True


def is_empty(session: Session) -> bool:
    """Whether a session holds nothing. Noted by nobody."""
    tracking = session._state.tracking
    return not (tracking is not None and tracking.hidden) and dict.__len__(session) == dict.__contains__(
        session, SENTINEL
    )


def data_of(session: Session) -> dict[str, Any]:
    """All that a session holds, in the order that it has for whoever iterates. Noted by nobody."""
    state = session._state
    tracking = state.tracking
    if tracking is None and type(session).__iter__ is dict.__iter__:
        return dict.copy(session)  # nearly every session: the copy asks no method of its class
    stored: Any = dict.items(session)  # what is in the dict's own storage: its other methods are the session's
    if tracking is None:
        return dict(stored)
    while True:
        given = tracking.hidden
        hidden = dict(given)  # first: what another thread reads meanwhile goes from here to the storage
        visible = dict(stored)
        if tracking.hidden is given:
            break
    if visible.pop(SENTINEL, _MISSING) is _MISSING and not hidden:
        return visible
    state.lent = True
    data: dict[str, Any] = {**tracking.order, **hidden, **visible}
    if len(data) == len(hidden) + len(visible):
        return data
    data = {}  # something was taken out past its methods, or read meanwhile
    for name in tracking.order:
        if name in visible:
            data[name] = visible.pop(name)
        elif name in hidden:
            data[name] = hidden[name]
    return {**data, **{name: hidden[name] for name in hidden if name not in data}, **visible}


def reveal(session: Session) -> None:
    """Put all that a session holds into its own storage. Noted by nobody."""
    state = session._state
    tracking = state.tracking
    if tracking is None or not dict.__contains__(session, SENTINEL):
        return
    with state.lock:
        if dict.__contains__(session, SENTINEL):
            data = data_of(session)
            tracking.hidden = dict(data)  # where another thread finds it, while it is not in the storage
            dict.clear(session)
            dict.update(session, data)
            tracking.hidden = {}


def peek(session: Session, name: str, default: Any = None) -> Any:
    """A value, without noting that it was read: for what hardtack and the adapters ask for themselves."""
    tracking = session._open().tracking
    if tracking is not None:
        value = tracking.hidden.get(name, _MISSING)
        if value is not _MISSING:
            if type(value) not in _IMMUTABLE:
                session._state.lent = True
            return value
    return dict.get(session, name, default)


def put(session: Session, name: str, value: Any) -> None:
    """Set a value, past a subclass's own methods."""
    tracking = session._changing().tracking
    if tracking is not None:
        tracking.hidden.pop(name, None)
        tracking.assigned.add(name)
    _set(session, name, value)


def drop(session: Session, name: str) -> None:
    """Remove a value, if it is there, without noting that it was read."""
    tracking = session._changing().tracking
    if tracking is not None:
        tracking.hidden.pop(name, None)
        tracking.order.pop(name, None)
        tracking.assigned.add(name)
    dict.pop(session, name, None)


# --- the phases


class Unread(Session):
    """What makes a session load itself: the dict methods of a session that nobody touched yet."""

    __slots__ = ()

    def _open(self) -> State:
        self._touch()
        return Session._open(self)  # by now it is no `Unread` any more, of which `super()` would take it to be one

    def _touch(self, *, uses: bool = True) -> None:
        state = self._state
        # Threads of one request may touch it at once: the second must not load over what the first has changed.
        state.lock.acquire()  # by `with` it would take as long as all that it guards
        try:
            if isinstance(self, Unread):
                assert state.core is not None
                state.core.load(self)
                state.accessed = True
        except HardtackError as error:
            if uses or not isinstance(error, StoreUnavailable):
                raise self.translate(error) from error
            _hide(self)  # what was found out is kept: the first use does not ask again
        finally:
            state.lock.release()

    @property
    def modified(self) -> bool:
        """Nothing was changed through a session that nobody touched."""
        return self._state.forced

    @modified.setter
    def modified(self, value: bool) -> None:
        if value:
            self._changing()
        self._state.forced = bool(value)

    @property
    def degraded(self) -> bool:
        """Whether the store could be reached is known only when it was asked."""
        with suppress(StoreUnavailable):
            self._touch()
        return not isinstance(self, Unread) and self.degraded

    def _fold_views(self) -> None:
        """Nobody has asked for a view."""

    def __bool__(self) -> bool:
        self._touch()
        return bool(self)

    def __repr__(self) -> str:
        return "<Session (not loaded)>"

    __str__ = __repr__


def _guarded(name: str) -> Callable[..., Any]:
    def guard(self: Unread, *args: Any, **kwargs: Any) -> Any:
        self._touch()
        for arg in args:  # dict compares and merges another dict past its methods
            if isinstance(arg, Unread):
                arg._touch()
        return getattr(self, name)(*args, **kwargs)

    guard.__name__ = name
    return guard


_READING = (
    "__getitem__ __contains__ __iter__ __reversed__ __len__ __eq__ __ne__ __or__ __ror__ get keys values items copy"
)
_WRITING = "__setitem__ __delitem__ __ior__ pop popitem setdefault update"
for _name in (*_READING.split(), *_WRITING.split()):
    setattr(Unread, _name, _guarded(_name))


class _Keys(KeysView[str]):
    """The keys as `dict.keys` gives them, asked for by the session's own methods."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._session)


class Tracked(Session):
    """Notes what is read and assigned. What nobody asked for yet is not in the dict's own storage.

    Several threads of a request may read it at once. So a value is put into the storage before it is taken out of what is
    hidden; and who finds it in neither looks again if `reveal`, which gives `hidden` another dict, has come in between.
    """

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        tracking: Any = self._state.tracking
        hidden = tracking.hidden
        value = hidden.get(name, _MISSING)
        if value is not _MISSING:
            tracking.shown[name] = value
            value = _set_once(self, name, value)
            hidden.pop(name, None)
            tracking.noted.add(name)
            return value
        if name not in tracking.assigned:
            tracking.noted.add(name)
        try:
            return dict.__getitem__(self, name)
        except KeyError:
            if tracking.hidden is hidden:
                raise
        return Tracked.__getitem__(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        tracking: Any = self._state.tracking
        hidden = tracking.hidden
        value = hidden.get(name, _MISSING)
        if value is not _MISSING:
            tracking.shown[name] = value
            value = _set_once(self, name, value)
            hidden.pop(name, None)
            tracking.noted.add(name)
            return value
        if name not in tracking.assigned:
            tracking.noted.add(name)
        value = dict.get(self, name, _MISSING)
        if value is not _MISSING:
            return value
        return default if tracking.hidden is hidden else Tracked.get(self, name, default)

    def __contains__(self, name: object) -> bool:
        tracking: Any = self._state.tracking
        if name not in tracking.assigned:
            tracking.noted.add(name)
        if name is SENTINEL:
            return False
        while True:
            hidden = tracking.hidden
            if name in hidden or dict.__contains__(self, name):
                return True
            if tracking.hidden is hidden:
                return False

    def __setitem__(self, name: str, value: Any) -> None:
        tracking: Any = self._state.tracking
        _set(self, name, value)
        tracking.assigned.add(name)
        tracking.hidden.pop(name, None)

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def pop(self, name: str, *default: Any) -> Any:
        tracking: Any = self._state.tracking
        if name not in tracking.assigned:
            tracking.noted.add(name)
        found = tracking.hidden.pop(name, _MISSING)
        if found is _MISSING:
            found = dict.pop(self, name, _MISSING)
        if found is not _MISSING:
            tracking.assigned.add(name)
            tracking.order.pop(name, None)
            return found
        return dict.pop(self, name, *default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name in self:
            return self[name]
        self[name] = default
        return default

    def update(self, *args: Any, **named: Any) -> None:
        for name, value in dict(*args, **named).items():
            self[name] = value

    def popitem(self) -> tuple[str, Any]:
        names = self._names()
        if not names:
            return dict.popitem({})  # its own KeyError
        return names[-1], self.pop(names[-1])

    def _names(self) -> list[str]:
        tracking: Any = self._state.tracking
        tracking.names = True
        with self._state.lock:
            there = {**tracking.hidden, **dict.fromkeys(dict.keys(self))}
            order = {name: None for name in tuple(tracking.order) if name in there}
        order.update(dict.fromkeys(there))
        order.pop(SENTINEL, None)
        return list(order)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._names())

    def keys(self) -> Any:
        return _Keys(self)

    def __len__(self) -> int:
        tracking: Any = self._state.tracking
        tracking.number = True
        with self._state.lock:
            there = {*tracking.hidden, *dict.keys(self)}
        return len(there) - (SENTINEL in there)

    def __bool__(self) -> bool:
        tracking: Any = self._state.tracking
        tracking.number = True
        return bool(tracking.hidden) or dict.__len__(self) > dict.__contains__(self, SENTINEL)

    # --- what asks for everything: from then on the dict's own storage holds it, as any dict's does

    def _whole(self) -> dict[str, Any]:
        tracking: Any = self._state.tracking
        if not tracking.everything:
            with self._state.lock:
                reveal(self)
                tracking.everything = True
        return self

    def items(self) -> Any:
        return dict.items(self._whole())

    def values(self) -> Any:
        return dict.values(self._whole())

    def copy(self) -> dict[str, Any]:
        return dict(dict.items(self._whole()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Tracked):
            other._whole()
        return dict.__eq__(self._whole(), other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> Any:
        return dict(self.items()) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self.items())

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self


class Finished(Session):
    """Can be read, and refuses to be changed: the request is over, or nothing can be saved in it."""

    __slots__ = ()


def _refused(name: str) -> Callable[..., Any]:
    def refuse(self: Finished, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse()

    refuse.__name__ = name
    return refuse


class Committed(Session):
    """Its headers have left, and nothing but a cookie keeps it: a change is noted, so that it can be told."""

    __slots__ = ()


def _noted(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    def note(self: Committed, *args: Any, **kwargs: Any) -> Any:
        self._state.forced = True
        return method(self, *args, **kwargs)

    note.__name__ = name
    return note


for _name in _WRITING.split():
    setattr(Finished, _name, _refused(_name))
    setattr(Committed, _name, _noted(_name))


class Phases(NamedTuple):
    """The classes that a session of one kind turns into: each has the layout of the kind."""

    unread: type[Session]
    live: type[Session]
    tracked: type[Session]
    committed: type[Session]
    finished: type[Session]


_OWN = Phases(Unread, Session, Tracked, Committed, Finished)
_phases: dict[type[Session], Phases] = dict.fromkeys(_OWN, _OWN)


def phases_of(kind: type[Session]) -> Phases:
    """The classes of a session, whichever of them is given; those of a framework's subclass are made once."""
    found = _phases.get(kind)
    if found is None:
        made = [type(kind.__name__, (base, kind), {"__slots__": ()}) for base in (Unread, Tracked, Committed, Finished)]
        found = Phases(made[0], kind, made[1], made[2], made[3])
        _phases.update(dict.fromkeys(found, found))
    return found


def unread(core: Core, header: str, request: Request | None, kind: type[Session] = Session) -> Session:
    """A session that loads itself when it is touched."""
    phases = _phases.get(kind) or phases_of(kind)
    session = phases.unread.__new__(phases.unread)
    _set(session, SENTINEL, SENTINEL)
    session._state = State(core, header, request)
    return session


def _hide(session: Session) -> None:
    """Whoever uses the session next loads it."""
    session._state.phase = UNREAD
    dict.clear(session)
    _set(session, SENTINEL, SENTINEL)
    session.__class__ = phases_of(type(session)).unread


def become_live(session: Session, data: dict[str, Any], tracking: Tracking | None) -> None:
    """The session is loaded: it holds its data, or hides what nobody asked for yet."""
    phases = phases_of(type(session))
    state = session._state
    if state.phase is FINISHED:  # nobody had looked at it while its request lasted
        dict.clear(session)
        dict.update(session, data)
        session.__class__ = phases.finished
        return
    state.phase = LIVE
    state.tracking = tracking
    if state.refusal is not None:
        dict.clear(session)
        session.__class__ = phases.finished
    elif tracking is None:
        dict.clear(session)
        dict.update(session, data)
        session.__class__ = phases.live
    elif not tracking.hidden:
        dict.clear(session)
        dict.update(session, data)
        session.__class__ = phases.tracked
    else:
        session.__class__ = phases.tracked


def show(session: Session, data: dict[str, Any], tracking: Tracking | None) -> None:
    """Another session takes the place of the one that is shown, as if it was loaded just now."""
    dict.clear(session)
    if tracking is not None and tracking.hidden:
        _set(session, SENTINEL, SENTINEL)
    session._state.lent = True  # who had its values before may have them still
    become_live(session, data, tracking)


def become_committed(session: Session, *, told: bool) -> None:
    """The headers have left. `told`: only by its own methods can a late change be seen, and nothing could save it."""
    session._state.phase = COMMITTED
    if told:
        session._state.size = dict.__len__(session)
        session.__class__ = phases_of(type(session)).committed


def refuse_changes(session: Session, error: HardtackError) -> None:
    """From here on the session of this request can be read only: to change it raises the error."""
    become_finished(session)
    session._state.phase = COMMITTED
    session._state.refusal = error


def become_finished(session: Session) -> None:
    """The request is over."""
    state = session._state
    if state.phase is FINISHED or isinstance(session, Unread):  # which is finished when somebody looks at it
        state.phase = FINISHED
        return
    if state.tracking is not None:
        reveal(session)  # nothing is noted any more, and a task may still read
    state.phase = FINISHED
    session.__class__ = phases_of(type(session)).finished


def fill(session: Session, data: Mapping[str, Any]) -> None:
    """Show what was saved in the place of what the session held; what nobody asked for stays hidden."""
    tracking = session._state.tracking
    dict.clear(session)
    if tracking is None or tracking.everything:
        dict.update(session, data)
        return
    known = tracking.noted | tracking.assigned
    tracking.order = dict.fromkeys(data)
    tracking.hidden = {name: value for name, value in data.items() if name not in known}
    if tracking.hidden:
        _set(session, SENTINEL, SENTINEL)
    dict.update(session, {name: value for name, value in data.items() if name in known})


def not_loaded() -> NoReturn:
    """Raise the error of a session that was touched too early."""
    raise SessionNotLoaded(
        "the session is in a store that only async code can reach, and was touched before it was loaded; "
        "use `await session.load()` first, or open it with `aopen`"
    )


def _moment(seconds: int | None) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds else None

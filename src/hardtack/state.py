"""State: what a session knows of itself beside its data: a phase, and two answers about what its commit will do."""

from __future__ import annotations

import time
from _thread import RLock
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from hardtack.events import CacheControlReplaced
from hardtack.record import Record

if TYPE_CHECKING:
    from hardtack._views import View
    from hardtack.binding.open import Device
    from hardtack.cookies import Cookie
    from hardtack.core import Core
    from hardtack.errors import HardtackError
    from hardtack.events import Event
    from hardtack.protocols import Context, Held
    from hardtack.request import Request
    from hardtack.tracking import Tracking


class Phase(Enum):
    """How far the request has come with its session."""

    UNREAD = "unread"
    """Nobody has looked at it: nothing was loaded."""

    LIVE = "live"
    COMMITTED = "committed"
    """The headers have left: what needs a cookie comes too late."""

    FINISHED = "finished"
    """The request is over: nothing is saved any more."""


class Fate(Enum):
    """What becomes of what is stored."""

    KEEP = "keep"
    """It goes on under its id."""

    MOVE = "move"
    """It goes on under a new id."""

    REPLACE = "replace"
    """It ends because somebody else logs in. A request that fails does not carry this out."""

    END = "end"
    """It ends because the handler said so. This happens whatever else the request does."""


class Begins(Enum):
    """What begins with the commit."""

    SAME = "same"
    """The session that is stored goes on; where nothing is stored, whatever was put in begins one."""

    NEW = "new"
    """What was put in since the end of the stored one begins another session; with nothing put in, nothing begins. Where
    nothing was stored, a framework has asked for a session that may be empty."""

    LOGIN = "login"
    """A user has shown a credential: a session begins, or goes on, that is not to be lost."""


class Taken:
    """What was taken over from another system's cookie, and the lines that clear such cookies."""

    __slots__ = ("clearing", "record")

    def __init__(self, record: Record | None = None, clearing: tuple[str, ...] = ()) -> None:
        self.record = record
        self.clearing = clearing


class Beside:
    """What a commit does beside saving its session, where somebody acts as another user (`hardtack.impersonation`).

    Attributes:
        own: what the session of the one who acts knows of itself, which is saved first; None: it is not to be saved.
        data: all that it holds.
        ends: what is held of other sessions that end, and their records.
        stops: nobody acts any more: her own session goes on.
    """

    __slots__ = ("data", "ends", "own", "stops")

    def __init__(
        self,
        own: State | None = None,
        data: dict[str, Any] | None = None,
        ends: Sequence[tuple[Held, Record]] = (),
        *,
        stops: bool = False,
    ) -> None:
        self.own = own
        self.data = data or {}
        self.ends = ends
        self.stops = stops


class State:
    """Private to hardtack: the manager, the engines and the adapters work on it.

    Attributes:
        core: the manager's; None for a session made by hand.
        header: the request's Cookie header.
        request: what else is known of the request, or None.
        lock: held while the session loads itself.
        phase: how far the request has come.
        fate: what becomes of what is stored.
        begins: what begins.
        held: what the engine found and must remember until it saves.
        record: what is stored now, with its encoding; None: nothing is.
        base: what this request loaded, or saved last: its changes and what it noted are compared with it.
        meta: the fields to be stored next; its data is unused. The record itself, until one of them changes.
        accessed: the handler looked at the session.
        extends: the deadline is to move, as by a renewal.
        follows: an end reaches the session under whichever id it has by now.
        forced: a save was asked for, whether anything was changed or not.
        passive: this request is no activity of the user.
        lent: values that nobody has asked for were given to who may change them without that being seen.
        size: how many keys a session in a cookie had when its headers left.
        tracking: what was read and assigned; None: that is not noted here.
        refusal: why nothing can be changed: the store was down, or another site sent the request.
        once: one-time values that this request has taken, and until when each may be taken.
        claimed: how many of them it has claimed.
        limit: how many sessions the user who logged in may have, and what happens beyond that; None: any number.
        taken: what concerns cookies of other systems; None: nothing does.
        beside: what the commit does beside saving this session; None: nothing.
        waiting: what was found of the session of the one who acts in this one; None: nobody does.
        views: the objects of `view()`.
        device: what the request proves of the device that the session is bound to; None: nothing was asked for.
        one_cookie: the advice of the error where the session has only one cookie, and outgrows it; empty: it may have several.
    """

    __slots__ = (
        "__weakref__",
        "accessed",
        "base",
        "begins",
        "beside",
        "claimed",
        "core",
        "device",
        "extends",
        "fate",
        "follows",
        "forced",
        "header",
        "held",
        "lent",
        "limit",
        "lock",
        "meta",
        "once",
        "one_cookie",
        "passive",
        "phase",
        "record",
        "refusal",
        "request",
        "size",
        "taken",
        "tracking",
        "views",
        "waiting",
    )

    meta: Record

    def __init__(self, core: Core | None, header: str, request: Request | None) -> None:
        self.core = core
        self.header = header
        self.request = request
        self.lock = RLock()
        self.phase = UNREAD
        self.fate = KEEP
        self.begins = SAME
        self.held: Held | None = None
        self.record: Record | None = None
        self.base: Record | None = None
        self.accessed = False
        self.forced = False
        self.extends = False
        self.follows = True
        self.lent = False
        self.size = 0
        self.passive = request is not None and request.passive
        self.tracking: Tracking | None = None
        self.refusal: HardtackError | None = None
        self.limit: tuple[int, str] | None = None
        self.once: tuple[tuple[str, int], ...] = ()
        self.claimed = 0
        self.taken: Taken | None = None
        self.views: dict[type, View] | None = None
        self.device: Device | None = None
        self.beside: Beside | None = None
        self.waiting: Held | None = None
        self.one_cookie = ""

    # --- what the handler asks for

    def move(self) -> None:
        """The session is to go on under a new id."""
        if self.record is not None and self.fate is KEEP:
            self.fate = MOVE
        self.meta = self.meta.with_changes(id=b"")

    def end(self, fate: Fate) -> None:
        """What is stored is to end, and nothing of it goes on."""
        if self.fate is not END:  # an end that the handler asked for stays one
            self.fate = fate
        self.begins = NEW
        self.forced = False
        self.views = None
        self.meta = nothing()
        if self.tracking is not None:
            self.tracking.hidden = {}
            self.tracking.order = {}

    def settle(self, record: Record | None, held: Held) -> None:
        """The commit is done: this is what later changes are compared with."""
        self.held = held
        self.record = self.base = record
        self.meta = nothing() if record is None else record
        self.fate = KEEP
        self.begins = SAME
        self.forced = False
        self.extends = False
        self.follows = True
        self.limit = None
        self.taken = None
        self.once = ()
        self.claimed = 0
        self.beside = None
        if "actor" not in self.meta.options:
            self.waiting = None

    # --- another session in the place of this one

    def copy(self) -> State:
        """What this session knows of itself, for later."""
        copy = State(self.core, self.header, self.request)
        copy.assume(self)
        return copy

    def assume(self, other: State) -> None:
        """Know what another state knows."""
        for name in _COPIED:
            setattr(self, name, getattr(other, name))

    def restart(self, record: Record | None, held: Held) -> None:
        """Nothing was changed yet of what is stored, which is this."""
        self.settle(record, held)
        self.views = None
        self.waiting = None

    # --- the manager as an engine knows it while it loads: a `Policy`, which tells of which request an event is

    @property
    def cookie(self) -> Cookie:
        """The manager's."""
        return self._manager.cookie

    @property
    def purpose(self) -> str:
        """The manager's."""
        return self._manager.purpose

    @property
    def lifetime(self) -> int:
        """The manager's."""
        return self._manager.lifetime

    @property
    def idle_timeout(self) -> int | None:
        """The manager's."""
        return self._manager.idle_timeout

    @property
    def _manager(self) -> Core:
        assert self.core is not None  # whoever loads has one
        return self.core

    def admit(self, record: Record, context: Context, *, trusted: bool = False) -> bool:
        """As the manager says; where it does not, the event has the request."""
        return self.core.admit(record, context, trusted, self.request)  # type: ignore[union-attr]  # as in _manager

    def emit(self, event: type[Event], *details: Any) -> None:
        """Tell who listens, with the request: it is looked at where somebody does, and not before."""
        self._manager.emit(event, *details, request=self.request)

    def cache_control_replaced(self, before: str, after: str) -> None:
        """A response was kept from shared caches."""
        self.emit(CacheControlReplaced, before, after)

    # --- what is known

    def now(self) -> int:
        """Whole Unix seconds, by the manager's clock; by the machine's for a session made by hand."""
        return int(time.time()) if self.core is None else self.core.now()

    @property
    def is_unsafe(self) -> bool:
        """Whether the request asked for a change, so that a save which is dropped must be told."""
        return self.request is not None and self.request.is_unsafe

    @property
    def known_id(self) -> bytes:
        """The id of what is stored, or of what would be."""
        return self.meta.id if self.record is None else self.record.id


_COPIED = [name for name in State.__slots__ if name not in ("__weakref__", "lock")]

UNREAD, LIVE, COMMITTED, FINISHED = Phase
KEEP, MOVE, REPLACE, END = Fate
SAME, NEW, LOGIN = Begins


def nothing() -> Record:
    """The fields of a session of which nothing is stored."""
    return Record(b"", 0, None, 0)

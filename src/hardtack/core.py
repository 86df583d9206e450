"""Core: what a manager and its sessions share: the settings, the engine, the clock, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from hardtack import values
from hardtack.binding.binding import Binding
from hardtack.binding.paths import endpoints_of
from hardtack.errors import ConfigError, HardtackError, StoreUnavailable
from hardtack.events import CookiesLost, Event, Expired, Rejected, StoreFailed, logger
from hardtack.lifecycle import load, moving, takeover
from hardtack.lifetime import MAX_SKEW, Deadlines, absolute_deadline, deadlines
from hardtack.protocols import Context, Engine, Held, engine_traits, is_async
from hardtack.record import Record
from hardtack.request import Request
from hardtack.session import Session
from hardtack.settings import Settings, list_terms
from hardtack.state import MOVE, State
from hardtack.tell import Teller

if TYPE_CHECKING:
    from hardtack.ended import EndedSessions
    from hardtack.engines.store import StoreEngine


_LOGINS_ALONE: Final = 20
"""Logins without a cookie in between that nobody takes for chance."""


class Core:
    """The one object that a manager, its sessions and its engine know: it decides nothing by itself.

    It is the `Policy` of the engine.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        teller: Teller,
        ended: EndedSessions | None = None,
        registry: StoreEngine | None = None,
    ) -> None:
        self.engine = engine
        self.traits = engine_traits(engine)
        self.settings = settings
        self.teller = teller
        self.hears = teller.hears
        self.cookie = settings.cookie
        self.purpose = settings.purpose
        self.lifetime = settings.lifetime
        self.idle_timeout = settings.idle_timeout
        self.clock = settings.clock
        self.ended = ended
        """The list of ended sessions, or None."""
        self.registry = registry
        """What keeps a list of the sessions in cookies, or None."""
        self.store = engine.store if registry is None else registry.store
        """What flows ask: the engine's store, or that of the registry."""
        self.accepted: tuple[Core, ...] = ()
        """What works with the engines of ours whose sessions move to this one."""
        self.places = moving.places_of(settings.cookie)
        """The cookies that such sessions may come with."""
        self.load_now = self.traits.load_now
        self._context = Context(self.cookie.name, self.purpose, 0)
        self.save_now = None if ended is not None else self.traits.save_now  # what is saved may have to be told
        self.stored = engine.store is not None
        """Whether sessions are in a store; else they are in the cookies themselves."""
        self.waits = self.stored or ended is not None
        """Whether opening and saving may wait: for a store, or for the channel of the list."""
        self.old_still_valid = self.traits.old_still_valid and ended is None
        self.binding = None if settings.binding is None else Binding(settings.binding, engine, settings, ended)
        self.devices = None if settings.known_devices is None else settings.known_devices.of(engine, settings)
        """What tells known devices from new ones, or None."""
        self.endpoints = endpoints_of(settings.purpose)
        """What the paths begin with at which browsers prove keys, also of sessions that another deploy has bound."""
        self.always_renews = False
        """For adapters whose framework moves the idle deadline with every save."""
        # Sessions whose new id was told and is not stored yet, while their requests last: see `end_all`.
        self.moving: WeakValueDictionary[str, State] = WeakValueDictionary()
        self._warned: set[str] = set()
        self.on_lines: Callable[[Sequence[str]], object] | None = None
        """Is told the Set-Cookie lines of each response that has some; None: nobody is."""
        self.logins_alone = 0
        """Logins since a request has brought a cookie of ours."""
        engine.bind(self)
        moving.accept(self)
        self.asynchronous = moving.asynchronous_store(self)
        """A store that only async code can reach, or None."""
        if ended is not None:
            ended.bind(*list_terms(engine, settings), emit=teller.tell)

    # --- time

    def now(self) -> int:
        """Whole Unix seconds."""
        return int(self.clock())

    def context(self) -> Context:
        """What tokens are read and written for, now."""
        now = int(self.clock())
        context = self._context
        if context.now != now:  # many requests of one second have one
            context = self._context = context._replace(now=now)
        return context

    def deadlines(self, record: Record) -> Deadlines:
        """When a session ends under this manager's limits."""
        return deadlines(record, self.lifetime, self.idle_timeout)

    def admit(self, record: Record, context: Context, trusted: bool = False, request: Request | None = None) -> bool:
        """Whether a session may be used now; where not, an event says why, and for which request."""
        now = context.now
        seen = record.seen
        begin = record.created if record.authenticated is None else record.authenticated
        if (
            record.created <= begin <= now < begin + self.lifetime
            and seen <= now
            and (self.idle_timeout is None or now < seen + self.idle_timeout)
            and (not record.options or ("lifetime" not in record.options and "expires" not in record.options))
        ):
            return True  # nearly every session: no time of it is ahead, no deadline has passed, and none is its own
        if not trusted:
            latest = now + MAX_SKEW
            if record.created > latest or record.seen > latest or (record.authenticated or 0) > latest:
                self.emit(Rejected, "future", context.cookie_name, request=request)
                return False
        if now >= absolute_deadline(record, self.lifetime):
            self.emit(Expired, record.id, "absolute", request=request)
            return False
        if self.idle_timeout is not None and now >= record.seen + self.idle_timeout:
            self.emit(Expired, record.id, "idle", request=request)
            return False
        return True

    # --- who is told

    def emit(
        self,
        event: type[Event],
        *details: Any,
        request: Request | None = None,
        acting: tuple[str, str] | None = None,
        until: int | None = None,
    ) -> None:
        """Tell who listens; the event is built only if someone does."""
        self.teller.emit(event, *details, request=request, acting=acting, until=until)

    def store_failed(self, operation: str, error: Exception, request: Request | None) -> None:
        """The store did not do what it was asked for: why stands in the log, that it was in the event."""
        self.teller.log_failure(operation, error)
        self.emit(StoreFailed, operation, type(error).__name__, request=request)

    def count_login(self) -> None:
        """Somebody without a cookie has logged in. Whoever has, brings one with the next request, if nothing takes it away."""
        self.logins_alone += 1
        if self.logins_alone == _LOGINS_ALONE:
            self.teller.tell(CookiesLost(self.logins_alone, self.cookie.name))

    def warn_once(self, message: str) -> None:
        """Log a warning once for this manager."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)

    # --- the store

    def sync_store(self) -> Any:
        """The store, for sync code. Raises `ConfigError` where only async code can reach it."""
        asynchronous = self.asynchronous
        if self.registry is not None and is_async(self.registry.store):
            asynchronous = self.registry.store
        if asynchronous is not None:
            store = type(asynchronous).__name__
            message = f"{store} is for async code: use aopen, acommit and afinish, or the sync twin of the store"
            raise ConfigError(message)
        return self.store

    def loads_first(self, header: str) -> bool:
        """Whether async code loads before the handler runs: what is in a store, and where a list has to be waited for."""
        if self.stored or any(each.stored for each in self.accepted):
            return True
        if self.ended is None:
            return False
        return (
            self.settings.keeps
            or not self.ended.is_fresh
            or (self.binding is not None and self.binding.may_bind(header))
        )

    # --- what sessions ask

    load = load.load  # what an unread session does when it is touched

    async def aload(self, session: Session) -> None:
        """`load` under async code."""
        await load.aload(self, session)

    def new_id(self, state: State) -> bytes:
        """The raw id that a session will be stored under."""
        if state.held is None:
            state.held = Held()
        new = self.engine.new_id(state.held, self)
        if state.fate is MOVE and self.waits:
            self.moving[values.encode_bytes(new)] = state
        return new

    def check_limits(self, beyond: str) -> None:
        """Raise `ConfigError` where the sessions of a user cannot be found, and so not be limited."""
        from hardtack.lifecycle.limit import check_limits

        check_limits(self, beyond)

    def check_impersonates(self) -> None:
        """Raise `ConfigError` where the engine cannot keep the session of one who acts as another beside that."""
        if not self.traits.impersonates:
            message = (
                f"impersonate() needs sessions in hardtack's own form: this {type(self.engine).__name__} keeps them as "
                "another system does, which has no place for who acts"
            )
            raise ConfigError(message)

    def clear_foreign(self, state: State) -> None:
        """A session that ends must not come back from another system's cookie."""
        if self.settings.accept:
            takeover.clear(self, state)

    def mark_cleared(self, state: State, error: HardtackError) -> None:
        """A logout that cannot be carried out clears the cookie with the answer to the error that says so."""
        if isinstance(error, StoreUnavailable):
            former = load.former_names(state.header) if load.has_former(self, state.header) else ()
            lines = self.cookie.clear_all([self.cookie.name, *former])
            error.set_cookies = [*lines, *(takeover.clearing(self, state.header) if self.settings.keeps else ())]

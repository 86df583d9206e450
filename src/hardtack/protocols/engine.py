"""Where the state of a session lives: what an engine must do, what it is asked to save, and what it answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from hardtack.merge import Declared
from hardtack.protocols.store import AsyncStore, Store, Version
from hardtack.protocols.token import Context
from hardtack.tokens.keys import Keyring

if TYPE_CHECKING:
    from hardtack.cookies import Cookie
    from hardtack.core import Core
    from hardtack.events import Event
    from hardtack.flow import Flow
    from hardtack.record import Record
    from hardtack.tracking import Tracking


class Dead(NamedTuple):
    """What is remembered of an id for a minute after its session was ended, or went on under another."""

    id: bytes
    changed: bool
    """The session went on, or another began in its place; False: it was ended, and nothing followed."""

    at: int
    """When that was, Unix seconds."""

    successor: bytes = b""
    """The raw id that the session goes on under; empty where none is named."""


class Moved(NamedTuple):
    """Where a session is that comes from another engine of ours, and is not saved by this one yet."""

    core: Core
    """What works with that engine."""

    key: str
    """The store's key there; empty where it is a cookie."""

    version: Version | None
    record: Record
    """As it is there."""


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Held:
    """What an engine found in a request, and remembers until it saves.

    Attributes:
        record: the session, or None where there is none that can be used.
        names: the engine's cookies that the request carried: those to clear when they are no longer written.
        current: whether the cookie was sealed under the key that issues now.
        ahead: a clock that was ahead has written the record: it is to be written again, with the times that it has here.
        disputed: several good sessions, or too many values: the response clears the places where another may have set one.
        clear: the response clears the cookie even if nothing is stored.
        dead: the id that the request carried, where it is remembered as ended or changed.
        secret: a store session's 32 random bytes, or the bytes of its native id.
        version: a store session's version.
        key: the store's key under which the session is stored now.
        resend: the cookie is to be sent with the next response, whatever that saves: the request came without it.
        replaces: the session whose place this one takes with the next save, and that ends by it.
        adopted: the raw id that was made of another system's cookie, under which nothing is stored yet.
        moved: where the session comes from, if the manager's own engine has not saved it yet.
    """

    record: Record | None = None
    names: Sequence[str] = ()
    current: bool = True
    ahead: bool = False
    disputed: bool = False
    clear: bool = False
    dead: Dead | None = None
    secret: bytes = b""
    version: Version | None = None
    key: str = ""
    resend: bool = False
    replaces: Record | None = None
    adopted: bytes = b""
    moved: Moved | None = None


_new: Final = Held.__new__


def hold(
    record: Record | None,
    name: str,
    current: bool = True,
    *,
    secret: bytes = b"",
    version: Version | None = None,
    key: str = "",
) -> Held:
    """What is held of one cookie: `Held(…)` without the call of its class, which is the dearer half, for each request."""
    held = _new(Held)
    held.record = record
    held.names = (name,)
    held.current = current
    held.secret = secret
    held.version = version
    held.key = key
    held.disputed = held.clear = held.resend = held.ahead = False
    held.dead = held.replaces = held.moved = None
    held.adopted = b""
    return held


class Kind(Enum):
    """What becomes of a session with one commit."""

    CREATE = "create"
    """Nothing is stored: a session begins."""

    UPDATE = "update"
    """The session goes on under its id."""

    EMPTY = "empty"
    """The same, and nothing is left in it: a cookie is cleared, a store keeps it as it is."""

    MOVE = "move"
    """The session goes on under a new id: `regenerate`, `confirm`, or a `login` of the same user."""

    REPLACE = "replace"
    """Somebody else logs in: the session of the other ends, and a new one begins."""

    END = "end"
    """The handler ended the session. What it has put in since begins a new one."""


Renewal = Literal["", "idle_timeout", "key", "clock"]


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Saving:
    """What an engine is asked to save with one response.

    Attributes:
        kind: what becomes of the session.
        held: what `load` found.
        old: the record that is stored now, or None.
        new: the record to store, or None where nothing begins and nothing goes on.
        base: what this request loaded and everything that it noted is compared with; None: nothing was.
        tracking: what this request read and assigned; None: that was not noted.
        login: the request has shown a credential, and is not to lose its session whatever others did.
        follows: an end reaches the session under whichever id it has by now.
        expires_at: the nearer deadline of `new`, Unix seconds.
        max_age: for the cookie, in seconds; None: until the browser ends.
        now: when this was decided, Unix seconds.
        renewal: why the session is saved although the request changed nothing in it; empty where it did.
        unsafe: the request's method promises a change: a save that is dropped must be told as an error.
        headers_sent: no cookie can be set or cleared any more.
        joined: names whose parallel changes are joined for every application (flash messages); "_f_" is all that begin so.
        max_size: bytes that the stored record may have; None: any.
        header: the request's Cookie header, which the browser sends again with what is set now.
        one_cookie: the advice of `SessionTooLarge` where only one cookie can be sent; empty: there may be several.
        beside: bytes of Set-Cookie lines of another session that go with the same answer.
        clearing: bytes of Set-Cookie lines that clear another system's cookies with the same answer.
    """

    kind: Kind
    held: Held
    old: Record | None
    new: Record | None
    base: Record | None = None
    tracking: Tracking | None = None
    login: bool = False
    follows: bool = True
    expires_at: int
    max_age: int | None
    now: int
    renewal: Renewal = ""
    unsafe: bool = False
    headers_sent: bool = False
    joined: tuple[str, ...] = ()
    max_size: int | None = None
    header: str = ""
    one_cookie: str = ""
    beside: int = 0
    clearing: int = 0


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Saved:
    """What an engine did with a `Saving`.

    Attributes:
        held: what it holds of the session now.
        record: what is stored now, or None.
        lines: Set-Cookie lines.
        ended: the ids that were ended, oldest first.
        began: another session than the one that was loaded is stored now.
        dropped: why the save was not done: "stale" (this request had read what another changed) or "dead" (its id was
            ended or changed meanwhile); empty where it was done.
        paths: the keys that were overwritten, or that made it stale.
        conflict: another request had saved first: "merged" where both are kept, "overwritten" where the later write was.
    """

    held: Held
    record: Record | None
    lines: list[str]
    ended: list[bytes] = field(default_factory=list)
    began: bool = False
    dropped: Literal["", "stale", "dead"] = ""
    paths: tuple[str, ...] = ()
    conflict: Literal["", "merged", "overwritten"] = ""


_new_saved: Final = Saved.__new__


def saved(held: Held, record: Record | None, lines: list[str], began: bool = False) -> Saved:
    """What was done where nobody came in between: `Saved(…)` without the call of its class."""
    done = _new_saved(Saved)
    done.held = held
    done.record = record
    done.lines = lines
    done.ended = []
    done.began = began
    done.dropped = done.conflict = ""
    done.paths = ()
    return done


class Policy(Protocol):
    """What an engine asks of the manager that it works for."""

    @property
    def cookie(self) -> Cookie:
        """The cookie that sessions come with."""
        ...

    @property
    def purpose(self) -> str:
        """What the sessions are for."""
        ...

    @property
    def lifetime(self) -> int:
        """Seconds from the login, or from the beginning, to the absolute deadline."""
        ...

    @property
    def idle_timeout(self) -> int | None:
        """Seconds without a request after which a session ends; None: it may be idle."""
        ...

    def admit(self, record: Record, context: Context, *, trusted: bool = False) -> bool:
        """Whether the session may be used now; where not, an event says why.

        `trusted`: only servers of ours write it (a store), so that a time ahead of ours is a clock that is off.
        """
        ...

    def emit(self, event: type[Event], *values: Any) -> None:
        """Tell who listens: of the request that is being loaded, where there is one."""
        ...


class Engine(Protocol):
    """Where the state of a session lives. `load` and `save` are flows: generators that yield requests to a store.

    These methods are all that it must have; `EngineTraits` lists what it may have beside.
    """

    @property
    def store(self) -> Store | AsyncStore | None:
        """Where the state is; None for a cookie."""
        ...

    def bind(self, policy: Policy) -> None:
        """Check the settings against the manager's. Raises `ConfigError`."""
        ...

    def carries(self, header: str, cookie: Cookie) -> bool:
        """Whether the request carries a cookie of the engine, valid or not."""
        ...

    def load(self, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """The session of a request. Raises `StoreUnavailable`, and nothing else."""
        ...

    def adopt(self, seed: bytes, context: Context, policy: Policy) -> Flow[tuple[bytes, Held]]:
        """The raw id of the session that takes the place of another system's, and what is held of it.

        The id is derived from the seed, 32 bytes that only the holder of the old cookie can make, so that parallel first
        requests make one session: it may be there already.
        """
        ...

    def new_id(self, held: Held, policy: Policy) -> bytes:
        """The raw id of a session that will be stored. What belongs to it is kept in `held`."""
        ...

    def save(self, saving: Saving, context: Context, policy: Policy) -> Flow[Saved]:
        """Save. Raises `StoreUnavailable`, `SessionConflict`, `SessionTooLarge` and `UnsupportedValue`."""
        ...

    def close(self) -> Flow[None]: ...


class EngineTraits(NamedTuple):
    """The optional attributes of an engine: asked once, here, when a manager is made.

    Attributes:
        asynchronous: its store can only be reached by async code. Default: as the store says.
        blocking: its store can wait for a disk or a network. Default: as the store says.
        remembers: it knows, of an id that was ended or changed, that it was, so that what a request read and assigned is
            worth noting. Default: no.
        old_still_valid: a copy of a cookie opens its state after the session was ended or got a new id. Default: no.
        merge: names whose parallel changes the engine joins. Default: none.
        anonymous: where the store cannot be reached, requests go on without a session. Default: no, they fail.
        load_now, save_now: `load` and `save` of an engine that waits for nothing, as plain functions. Default: None.
        default_cookie: the cookie of a manager that was given none. Default: None, `Cookie()`.
        impersonates: it can keep the session of one who acts as another beside that, and has `waiting`. Default: no.
        idle_timeout: that of a manager that was given none, in seconds. Default: None, no such limit.
    """

    asynchronous: bool
    blocking: bool
    remembers: bool
    old_still_valid: bool
    merge: Declared
    anonymous: bool
    load_now: Callable[[str, Context, Policy], Held] | None
    save_now: Callable[[Saving, Context, Policy], Saved] | None
    default_cookie: Callable[[], Cookie] | None
    impersonates: bool
    idle_timeout: int | None


def engine_traits(engine: Any) -> EngineTraits:
    """The traits of an engine."""
    store = engine.store
    return EngineTraits(
        asynchronous=store is not None and (not hasattr(store, "blocking") or inspect.iscoroutinefunction(store.get)),
        blocking=store is not None and bool(getattr(store, "blocking", True)),
        remembers=getattr(engine, "remembers", False),
        old_still_valid=getattr(engine, "old_still_valid", False),
        merge=getattr(engine, "merge", Declared()),
        anonymous=getattr(engine, "on_store_error", "raise") == "anonymous",
        load_now=getattr(engine, "load_now", None),
        save_now=getattr(engine, "save_now", None),
        default_cookie=getattr(engine, "default_cookie", None),
        impersonates=getattr(engine, "impersonates", False),
        idle_timeout=getattr(engine, "idle_timeout", None),
    )


def rings_of(engine: Any) -> list[Keyring]:
    """The keyrings that an engine seals with: its own `seal`, and the `keys` of its token format."""
    rings = (getattr(engine, "seal", None), getattr(getattr(engine, "token", None), "keys", None))
    return [ring for ring in rings if isinstance(ring, Keyring)]

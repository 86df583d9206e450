"""SessionManager: policy and entry point. Opens a session from a request's cookies, commits it to response headers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from hardtack import administration, cross_site
from hardtack.administration import Change, SessionInfos
from hardtack.binding import offer
from hardtack.binding.settings import DeviceBinding, as_binding
from hardtack.changes import Changes
from hardtack.cookies import Cookie, as_text
from hardtack.core import Core
from hardtack.engines.cookie import CookieEngine
from hardtack.errors import ConfigError
from hardtack.events import Event
from hardtack.flow import Flow, arun, run, to_the_end
from hardtack.lifecycle import load, moving, save
from hardtack.lifecycle.registry import make_registry
from hardtack.lifetime import Duration
from hardtack.protocols import AsyncStore, Engine, Store, TokenFormat, engine_traits, rings_of
from hardtack.request import Request
from hardtack.session import Session, Unread, become_finished, state_of, unread
from hardtack.settings import check_kept, check_list, check_name, listener, make_settings
from hardtack.state import END, UNREAD
from hardtack.tell import Teller
from hardtack.tokens.keys import Key, Keyring

if TYPE_CHECKING:
    from hardtack.ended import EndedSessions
    from hardtack.known_devices import KnownDevices

T = TypeVar("T")


_ELSEWHERE = {
    "open_session": "write app.session_interface = SessionInterface(sessions), of hardtack.frameworks.flask or .quart",
    "get": "this is the manager; the session of a request is what sessions.open(header) returns, or the framework's own name",
}
"""What a manager is taken for, by the attribute that is asked for then, and what to write."""


def _time() -> float:
    return time.time()  # looked up each time: tests freeze it


class SessionManager:
    """Opens and commits sessions. Make one when the application starts; it is safe to use from many threads and tasks.

    Args:
        engine: a `CookieEngine` or a `StoreEngine`; a `Keyring` or `Key` for a `CookieEngine` of encrypted tokens.
        cookie: the cookie's name and attributes.
        lifetime: how long a session lives at most, from the login, or before one from its beginning.
        idle_timeout: how long it lives without a request that uses it; None: no such limit.
        persistent: whether the browser keeps the cookie over a restart.
        purpose: names the application where several share a key: a session of one does not open in another.
        accept: formats of other systems whose sessions are taken over; and engines and tokens of hardtack's own, whose
            sessions move here (docs/moving-a-live-site.md).
        ended: the list of ended sessions, `EndedSessions.from_url(…)`: what was ended is refused everywhere within a second.
        registry: a store that lists the logins of sessions in cookies, for `list` and `count`: one write at each.
        max_size: bytes that a stored session may have, such as "256 KiB"; None: any.
        cross_site: "refuse" serves requests that another site made the browser send, and that ask for a change, without
            the session; "allow" leaves that to SameSite and to tokens.
        trusted_origins: origins whose requests count as this site's, such as "https://login.example.org".
        cross_site_paths: paths that other sites may send requests to (SAML, payment returns, `form_post`).
        strict_values: a subclass of a type that is kept (an enum, an OAuth library's dict) is refused, instead of being kept
            as what it is underneath.
        binding: `DeviceBinding(…)` binds sessions to the device that they began on, where the browser can.
        known_devices: `KnownDevices(…)` lets the event `LoggedIn` tell whether the user has logged in with this browser before.
        on_event: called with each event (`hardtack.events`); what it raises is logged and goes no further.
        mask_addresses: events carry the client's network instead of its address.
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
        accept: Iterable[TokenFormat | Engine] = (),
        ended: EndedSessions | None = None,
        registry: Store | AsyncStore | None = None,
        max_size: str | int | None = "256 KiB",
        cross_site: Literal["allow", "refuse"] = "allow",
        trusted_origins: Iterable[str] = (),
        cross_site_paths: Iterable[str] = (),
        strict_values: bool = False,
        binding: DeviceBinding | None = None,
        known_devices: KnownDevices | None = None,
        on_event: Callable[[Event], object] | None = None,
        mask_addresses: bool = False,
        clock: Callable[[], float] = _time,
    ) -> None:
        checked: Engine = _engine(engine)
        traits = engine_traits(checked)
        moving.check_engine(checked)
        settings = make_settings(
            cookie=(traits.default_cookie or Cookie)() if cookie is None else cookie,
            lifetime=lifetime,
            idle_timeout=traits.idle_timeout if idle_timeout is None else idle_timeout,
            persistent=persistent,
            purpose=purpose,
            accept=accept,
            own=moving.own_engine,
            max_size=max_size,
            cross_site=cross_site,
            trusted_origins=trusted_origins,
            cross_site_paths=cross_site_paths,
            strict_values=strict_values,
            clock=clock,
            binding=as_binding(binding),
            known_devices=known_devices,
        )
        check_name(settings, checked)
        check_kept(settings, checked)
        for ring in rings_of(checked):
            ring.check_lifetime(settings.lifetime)
        teller = Teller(listener(on_event), mask_addresses=mask_addresses)
        kept = make_registry(registry, checked, listed=ended is not None)
        self.core = Core(checked, settings, teller, check_list(ended, checked), kept)
        self.engine: Engine = checked
        self.settings = settings
        self._refuses = settings.cross_site == "refuse"
        beside = (settings.binding, settings.known_devices, self.core.ended)
        for ring in (
            *(ring for each in (self.core, *self.core.accepted) for ring in rings_of(each.engine)),
            *(each.keys for each in beside if each is not None and each.keys is not None),
        ):
            ring.on_stale(self.core.emit)

    # --- the calls of an adapter

    def open(
        self, header: str | bytes | None = None, request: Request | None = None, *, kind: type[Session] = Session
    ) -> Session:
        """The session of a request, from its raw Cookie header. Never raises for what a client sent.

        It loads itself when it is touched; with a store that only async code can reach, use `aopen`. `request`: what else
        is known of the request; without it nothing is refused across sites, and a save that is dropped is no error. `kind` is
        for adapters whose framework wants a subclass.
        """
        if request is not None and not isinstance(request, Request):
            message = f"open(header, request) takes a hardtack.Request, or None, not {type(request).__name__}"
            raise TypeError(message)
        if type(header) is bytes:
            header = header.decode("latin-1")  # one character a byte
        session = unread(self.core, header if type(header) is str else as_text(header), request, kind)
        if self._refuses and request is not None:
            cross_site.check(self.core, session, request)
        return session

    async def aopen(
        self, header: str | bytes | None = None, request: Request | None = None, *, kind: type[Session] = Session
    ) -> Session:
        """`open` under async code: what is in a store is loaded now, if the request carries a cookie.

        Raises `StoreUnavailable`, unless the engine was told `on_store_error="anonymous"`.
        """
        session = self.open(header, request, kind=kind)
        state = state_of(session)
        if self.core.loads_first(state.header) and state.phase is UNREAD and load.carries(self.core, state.header):
            await self.core.aload(session)
        return session

    def commit(self, session: Session, status: int | None = None) -> Changes:
        """Save what changed; what the response has to say about it. Call just before the headers leave.

        `status`: the response's, where it is known: a page that shows that the store is down (5xx) may be sent.

        Raises `SessionTooLarge`, `UnsupportedValue`, `SessionConflict` and `StoreUnavailable`: nothing was sent yet, and the
        response should be an error, with the error's `set_cookies`.
        """
        if self.core.binding is None:
            return self._commit(session, status)
        device = offer.Told(self.core, self.core.binding, session)
        return device.tell(self._commit(session, status))

    def _commit(self, session: Session, status: int | None) -> Changes:
        saving = save.begin(self.core, session, status)
        if isinstance(saving, Changes):
            return saving
        if self.core.save_now is not None:
            return save.save_now(self.core, session, saving)
        return run(save.save_flow(self.core, session, saving), self.core.sync_store())

    async def acommit(self, session: Session, status: int | None = None) -> Changes:
        """`commit` under async code. An end is carried out even if the task is cancelled meanwhile."""
        if self.core.binding is None:
            return await self._acommit(session, status)
        device = offer.Told(self.core, self.core.binding, session)
        return device.tell(await self._acommit(session, status))

    async def _acommit(self, session: Session, status: int | None) -> Changes:
        saving = save.begin(self.core, session, status)
        if isinstance(saving, Changes):
            return saving
        if self.core.save_now is not None:
            return save.save_now(self.core, session, saving)
        flow = save.save_flow(self.core, session, saving)
        if state_of(session).fate is END:
            return await to_the_end(flow, self.core.store)
        return await arun(flow, self.core.store)

    def abort(self, session: Session) -> Changes:
        """The handler failed: nothing is saved, but what it ended is ended; the response's page carries what is returned.

        Raises `StoreUnavailable`, with `set_cookies`.
        """
        return run(save.abort_flow(self.core, session), self._store_of(session))

    async def aabort(self, session: Session) -> Changes:
        """`abort` under async code; not interrupted by a cancellation."""
        return await to_the_end(save.abort_flow(self.core, session), self.core.store)

    def finish(self, session: Session) -> None:
        """After the body: a late change is saved where that needs no cookie, and an event otherwise.

        From then on the session can only be read: a write raises `SessionFinished`.
        """
        save.own_state(self.core, session)
        if save.is_late(session):
            run(save.finish_flow(self.core, session), self.core.sync_store())
        become_finished(session)

    async def afinish(self, session: Session) -> None:
        """`finish` under async code. An end is carried out even if the task is cancelled meanwhile."""
        save.own_state(self.core, session)
        if save.is_late(session):
            flow = save.finish_flow(self.core, session)
            if state_of(session).fate is END:
                await to_the_end(flow, self.core.store)
            else:
                await arun(flow, self.core.store)
        become_finished(session)

    def _store_of(self, session: Session) -> Any:
        return None if isinstance(session, Unread) else self.core.sync_store()

    # --- stored sessions, outside of their requests

    def update(self, session: Session | str, function: Change) -> dict[str, Any]:
        """Change stored data at once, for counters and stock: nothing that another request does in between is lost.

        `function` gets the data and changes it, or returns a dict in its place; it may be called several times. `session` is
        the one of this request, which then shows the result, or an id. Returns the data as saved. Raises
        `SessionConflict` where the session was ended, and `StoreUnavailable`.
        """
        return self._run(administration.update(self.core, session, function))

    async def aupdate(self, session: Session | str, function: Change) -> dict[str, Any]:
        """`update` under async code; `function` itself is a plain function."""
        if isinstance(session, Session):
            await session.load()
        return await self._arun(administration.update(self.core, session, function))

    def list(self, subject: str) -> SessionInfos:
        """The living sessions of a user, newest login first. Raises `ConfigError` where the store cannot find them."""
        return self._run(administration.list_sessions(self.core, subject))

    async def alist(self, subject: str) -> SessionInfos:
        """`list` under async code."""
        return await self._arun(administration.list_sessions(self.core, subject))

    def count(self, subject: str | None = None) -> int:
        """How many sessions are stored, all or those of a user. Raises `ConfigError` where the store cannot count."""
        return self._run(administration.count(self.core, subject))

    async def acount(self, subject: str | None = None) -> int:
        """`count` under async code."""
        return await self._arun(administration.count(self.core, subject))

    def end(self, id: str, subject: str | None = None) -> bool:
        """End one session, by its id; with `subject`, only if it is this user's. False where there was none.

        An id is public: an action of a user should always give the subject. Of sessions in cookies nobody knows which there
        are: True means that the list of ended sessions was told, also where the session goes on under an id that another
        server has given it meanwhile. Take the id from a fresh `list()`, or use `end_all`. Raises `ConfigError` for those
        without a list.
        """
        return self._run(administration.end(self.core, id, subject))

    async def aend(self, id: str, subject: str | None = None) -> bool:
        """`end` under async code."""
        return await self._arun(administration.end(self.core, id, subject))

    def end_all(self, subject: str | None = None, keep: str | None = None, *, sid: str | None = None) -> int:
        """End every session of a user but the one with the id `keep`; returns how many were found and ended.

        `sid`, in the place of a user: those that a `login(sid=…)` began (OpenID Connect back-channel logout), which needs a
        list of ended sessions. Of sessions in cookies nobody knows how many there are: 0. Raises `ConfigError` where neither
        the store can find them nor a list be told (ASVS 7.4.2, 7.4.3).
        """
        return self._run(administration.end_all(self.core, subject, keep, sid))

    async def aend_all(self, subject: str | None = None, keep: str | None = None, *, sid: str | None = None) -> int:
        """`end_all` under async code."""
        return await self._arun(administration.end_all(self.core, subject, keep, sid))

    def end_everything(self) -> None:
        """End everybody's sessions, anonymous ones too. Raises `ConfigError` without a list of ended sessions."""
        self._run(administration.end_everything(self.core))

    async def aend_everything(self) -> None:
        """`end_everything` under async code."""
        await self._arun(administration.end_everything(self.core))

    def _run(self, flow: Flow[T]) -> T:
        return run(flow, self.core.sync_store())

    async def _arun(self, flow: Flow[T]) -> T:
        return await arun(flow, self.core.store)

    # --- starting and closing

    def start(self, timeout: float = 30.0) -> None:
        """Read the list of ended sessions before the first request, where there is one; that starts it else.

        Raises `StoreUnavailable` where it cannot be read within `timeout` seconds.
        """
        if self.core.ended is not None:
            self.core.ended.start(timeout)

    async def astart(self, timeout: float = 30.0) -> None:
        """`start` under async code."""
        if self.core.ended is not None:
            await self.core.ended.astart(timeout)

    def close(self) -> None:
        """Close the store, as far as it was opened by hardtack, and stop following the list of ended sessions."""
        self._run(administration.close(self.core))

    async def aclose(self) -> None:
        """`close` under async code."""
        await self._arun(administration.close(self.core))

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

    # --- a manager in the place of something else

    if not TYPE_CHECKING:  # pragma: no branch - the checkers know which attributes there are

        def __getattr__(self, name: str) -> NoReturn:
            wanted = _ELSEWHERE.get(name)
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message if wanted is None else f"{message}: {wanted}")

    # --- the settings, to look at

    @property
    def cookie(self) -> Cookie:
        """The cookie's name and attributes."""
        return self.settings.cookie

    @property
    def lifetime(self) -> int:
        """Seconds that a session lives at most."""
        return self.settings.lifetime

    @property
    def idle_timeout(self) -> int | None:
        """Seconds that it lives without a request that uses it, or None."""
        return self.settings.idle_timeout

    @property
    def persistent(self) -> bool:
        """Whether the browser keeps the cookie over a restart, if a login says nothing else."""
        return self.settings.persistent

    @property
    def purpose(self) -> str:
        """What names the application where several share a key."""
        return self.settings.purpose

    @property
    def accept(self) -> tuple[TokenFormat | Engine, ...]:
        """The formats of other systems whose sessions are taken over, and engines of ours whose sessions move here."""
        return (*(each.token for each in self.settings.accept), *self.settings.moves)

    @property
    def on_event(self) -> Callable[[Event], object] | None:
        """Who is told."""
        return self.core.teller.given

    @on_event.setter
    def on_event(self, on_event: Callable[[Event], object] | None) -> None:
        self.core.teller.given = listener(on_event)

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970."""
        return self.settings.clock


def _engine(engine: Any) -> Any:
    if isinstance(engine, Keyring | Key):
        return CookieEngine(engine)
    methods = (getattr(engine, name, None) for name in ("load", "save"))
    if isinstance(engine, type) or not all(map(callable, methods)):
        message = f"engine must be a CookieEngine, a StoreEngine, a Keyring or a Key, not {_instead(engine)}"
        raise ConfigError(message)
    return engine


def _instead(given: Any) -> str:
    """What was given in the place of an engine, and what to write where that can be told."""
    kind = type(given).__name__
    if isinstance(given, type):
        return f"the class {given.__name__}: {given.__name__}(…) makes one"
    if isinstance(given, str):
        if "://" in given:
            return "a URL: StoreEngine(hardtack.stores.from_url(…)) makes an engine of it"
        return "a text; of a key that stands in the environment: Key.parse(os.environ['HARDTACK_KEY'])"
    if isinstance(given, bytes | bytearray):
        return f"{kind}: Key.parse(…) takes the text of a key, Key(…) 32 random bytes"
    if given is None:
        return "None: was the variable set that it is read from?"
    if callable(getattr(given, "get", None)) and callable(getattr(given, "put", None)):
        return f"a store: StoreEngine({kind}(…))"
    if callable(getattr(given, "open", None)) and callable(getattr(given, "seal", None)):
        return f"a token format: CookieEngine({kind}(…))"
    return kind

"""Move: a session of hardtack's own goes on in another engine: from cookies to a store, back, from one store to another.

The manager's own engine is asked first, and the accepted ones where it cannot read the cookie, or does not know it. What one of
them finds is judged as it is there: by its times, its deadlines and the list of ended sessions. It is the same session each
time it comes, by an id that is made of the one it has there, so that parallel requests and a deploy of two versions agree on
it. Only when it is saved here does the old one end.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hardtack import record as records
from hardtack import values
from hardtack.cookies import DEFAULT_NAME, FORMER_DEFAULT_NAME, Cookie, find_values
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.engines.store.tombstones import TOMBSTONE_SECONDS, tombstone
from hardtack.errors import ConfigError, StoreFull, StoreUnavailable
from hardtack.events import Event, Rejected, StoreFailed, TakenOver, logger
from hardtack.flow import Delete, Flow, on
from hardtack.lifecycle import listed
from hardtack.lifecycle.burying import bury, bury_beside, bury_kept
from hardtack.lifecycle.decide import UNSETTLED
from hardtack.lifetime import absolute_deadline
from hardtack.protocols import (
    Context,
    Dead,
    Engine,
    Held,
    Kind,
    Moved,
    Saved,
    Saving,
    VersionConflict,
    engine_traits,
    token_traits,
)
from hardtack.record import AFTER, LEFT, MOVED, Record

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.state import State

_FALLS: Final = frozenset({"malformed", "unknown_key", "unknown_id"})
"""Why a cookie of the manager's own name may be another engine's. A failed MAC is no such reason, nor is a deadline."""

_OF_THE_ID: Final = frozenset({AFTER, MOVED, LEFT})
"""The options that say what became of an id, and are none of the next one's."""

_ROUNDS: Final = 2
"""Times that the engines are asked for a session: between two questions a parallel request may have moved it."""


# --- settings


def own_engine(given: Any) -> Engine | None:
    """The engine of hardtack's own sessions that was given, or that reads a token of its own; None for anything else."""
    if isinstance(given, StoreEngine):
        if given.native is not None:
            message = (
                f"accept=[StoreEngine({type(given.store).__name__}(…))] keeps sessions as another program does, whose ids are "
                "no others'; share them by layout=, or take over the other program's cookie"
            )
            raise ConfigError(message)
        return given
    if isinstance(given, CookieEngine):
        return given if given.native else None
    if isinstance(given, type) or not callable(getattr(given, "open", None)):
        return None
    traits = token_traits(given)
    return CookieEngine(given) if traits.native and traits.writes and traits.cookie_name is None else None


def check_engine(engine: Any) -> None:
    """Raise `ConfigError` where the manager's own engine was given an end, which only an accepted one can have."""
    if isinstance(engine, CookieEngine | StoreEngine) and engine.until is not None:
        message = (
            f"until= of a {type(engine).__name__} says when its sessions are no longer taken over: give it to the one in "
            "accept=[…], not to the one that sessions are written with"
        )
        raise ConfigError(message)


def places_of(cookie: Cookie) -> tuple[Cookie, ...]:
    """The cookies that a session of another engine may come with: the manager's own, and those where it formerly was."""
    places = {each.name: each for each in reversed(cookie.formerly)}
    if cookie.name == DEFAULT_NAME:
        places.setdefault(FORMER_DEFAULT_NAME, Cookie(FORMER_DEFAULT_NAME))
    places.pop(cookie.name, None)
    return cookie, *places.values()


def accept(core: Core) -> None:
    """Make what works with the engines whose sessions move to the manager's own. Raises `ConfigError`."""
    engine = core.engine
    accepted = []
    for given in core.settings.moves:
        if not isinstance(engine, CookieEngine | StoreEngine) or (
            isinstance(engine, StoreEngine) and engine.native is not None
        ):
            what = type(engine if engine.store is None else engine.store).__name__
            message = (
                f"accept=[{type(given).__name__}(…)] moves sessions to hardtack's own engines, not to a {what}, which keeps "
                "them as another program does"
            )
            raise ConfigError(message)
        view = copy.copy(core)
        if isinstance(given, StoreEngine) and given.store is engine.store:
            assert isinstance(engine, StoreEngine)
            if given is not engine:
                _read_beside(engine, given)
        else:
            view.engine = given
        view.traits = engine_traits(given)
        view.store, view.stored = given.store, given.store is not None
        view.load_now = view.save_now = view.registry = None
        view.accepted = ()
        if view.engine is not engine:
            given.bind(view)
        accepted.append(view)
    core.accepted = tuple(accepted)
    if any(view.stored for view in accepted):
        core.waits, core.save_now = True, None  # what is left in a store is seen to with the save


def asynchronous_store(core: Core) -> Any:
    """A store that only async code can reach, or None."""
    for each in (core, *core.accepted):
        if each.stored and each.traits.asynchronous:
            return each.store
    return None


def _read_beside(engine: StoreEngine, other: StoreEngine) -> None:
    """The same store: what is sealed otherwise, or not at all, is read beside, and written anew when it is saved."""
    if engine.seal is not None and other.seal is None and other.until is None:
        logger.warning(
            "accept=[StoreEngine(…)] reads records without a seal for ever: whoever can write to the store logs in as anyone; "
            "give it until=<a date>"
        )
    if other not in engine.beside:
        engine.beside = (*engine.beside, other)


# --- load


class _Asked:
    """The manager, as an engine knows it, that keeps back what is told until it is known which engine has the session."""

    def __init__(self, core: Core, state: State) -> None:
        self.cookie = core.cookie
        self.purpose = core.purpose
        self.lifetime = core.lifetime
        self.idle_timeout = core.idle_timeout
        self._state = state
        self.refused = False
        self.disputed: list[str] = []
        """The cookies of an engine that found several sessions in them."""
        self.told: list[tuple[type[Event], tuple[Any, ...]]] = []

    def admit(self, record: Record, context: Context, *, trusted: bool = False) -> bool:
        """As the manager says."""
        admitted = self._state.admit(record, context, trusted=trusted)
        self.refused = self.refused or not admitted
        return admitted

    def emit(self, event: type[Event], *details: Any) -> None:
        """Keep it."""
        self.told.append((event, details))

    def tell(self) -> None:
        """What was kept back: where something was wrong with a cookie that could be read, that alone."""
        falls = self.falls
        for event, details in self.told:
            if falls or not _is_fall(event, details):
                self._state.emit(event, *details)

    @property
    def falls(self) -> bool:
        """Whether all that was wrong with the cookies is that this engine cannot read them, or does not know them."""
        return not self.refused and all(_is_fall(event, details) for event, details in self.told)


def _is_fall(event: type[Event], details: tuple[Any, ...]) -> bool:
    if event is Rejected:
        return details[0] in _FALLS
    return event is not StoreFailed or details[1] in _FALLS


class _Found(NamedTuple):
    """A session that an accepted engine has."""

    core: Core
    held: Held
    ids: tuple[bytes, ...]
    """The raw id that it has, or will have, here; and those that it has where another key had sealed its cookie."""

    secrets: tuple[bytes, ...] = ()
    """In a store, the bytes that the ids are made of."""


def carries(core: Core, header: str) -> bool:
    """Whether a request carries a cookie of an engine whose sessions move here."""
    return any(view.engine.carries(header, place) for view in core.accepted for place in core.places)


def load(core: Core, state: State, context: Context) -> Flow[Held]:
    """The session of a request: the manager's own engine's, or one that another engine has. Raises `StoreUnavailable`."""
    return _load(core, state, context) if core.accepted else core.engine.load(state.header, context, state)


def _load(core: Core, state: State, context: Context) -> Flow[Held]:
    own = _Asked(core, state)
    held: Held = yield from core.engine.load(state.header, context, own)
    asked = own
    if held.record is not None and _is_partner_ended(core, held, held.record):
        core.emit(Rejected, "revoked", context.cookie_name, request=state.request)
        return Held(names=held.names)
    if held.record is not None:
        if len(set(find_values(state.header, context.cookie_name))) > 1:
            others = (yield from _ask(core, state, context, own_name=True))[0]
            if any(held.record.id not in each.ids for each in others):
                return _ambiguous(state, held.names, context)
    elif not held.disputed and held.dead is None:
        for _ in range(_ROUNDS):
            found, asked = yield from _ask(core, state, context, own_name=own.falls)
            if asked.disputed or len({frozenset(each.ids) for each in found}) > 1:
                names = [name for each in found for name in each.held.names]
                return _ambiguous(state, [*held.names, *names, *asked.disputed], context)
            if found:
                return (yield from _move(core, state, held, found[0], context))
            if not core.stored or not held.names or not own.falls or not asked.falls:
                break
            own = _Asked(core, state)
            held = yield from core.engine.load(state.header, context, own)
            if held.record is not None or held.dead is not None:
                asked = own
                break
    (own if asked.falls else asked).tell()
    return held


def _ask(core: Core, state: State, context: Context, *, own_name: bool) -> Flow[tuple[list[_Found], _Asked]]:
    """What the accepted engines have of the request's cookies, and what was wrong with those that they do not use."""
    found: list[_Found] = []
    asked = _Asked(core, state)
    for view in core.accepted:
        until = view.engine.until  # type: ignore[attr-defined]
        if until is not None and context.now >= until:
            continue
        for place in core.places:
            elsewhere = place is not core.cookie
            if not (elsewhere or (own_name and view.engine is not core.engine)):
                continue
            if not view.engine.carries(state.header, place):
                continue
            there = context._replace(cookie_name=place.name)
            held: Held = yield from on(view.store, view.engine.load(state.header, there, asked))
            if held.disputed:
                asked.disputed = [*asked.disputed, *held.names]
            if held.record is not None:
                found.append(_found(core, view, state.header, held, there))
    return found, asked


def _ambiguous(state: State, names: Sequence[str], context: Context) -> Held:
    # A sibling subdomain can plant a cookie of another engine: it must not be able to choose the session.
    state.emit(Rejected, "ambiguous", context.cookie_name)
    return Held(names=tuple(dict.fromkeys(names)), disputed=True)


def _found(core: Core, view: Core, header: str, held: Held, there: Context) -> _Found:
    record = held.record
    assert record is not None
    if isinstance(core.engine, StoreEngine):
        secrets = [held.secret]
        if not view.stored:
            assert isinstance(view.engine, CookieEngine)
            partner = _partner(record, 32)
            secrets = [partner] if partner else view.engine.seeds(header, record, there)
        return _Found(view, held, tuple(core.engine.raw_key(each, core.purpose) for each in secrets), tuple(secrets))
    if not view.stored:
        return _Found(view, held, (record.id,))
    return _Found(view, held, (_cookie_id(core, record, held.secret),))


def _is_partner_ended(core: Core, held: Held, record: Record) -> bool:
    """Whether the list has a session by the id that it has in an accepted engine: a deploy beside may have told that."""
    if core.ended is None:
        return False
    raw_id = b""
    if core.stored:
        raw_id = _cookie_id(core, record, held.secret)
    elif secret := _partner(record, 32):
        views = stored_elsewhere(core)
        raw_id = next((view.engine.raw_key(secret, core.purpose) for view in views), b"")  # type: ignore[attr-defined]
    return bool(raw_id) and listed.is_id_listed(core.ended, raw_id)


def _cookie_id(core: Core, record: Record, secret: bytes) -> bytes:
    """The id of a stored session in a cookie: the one that it came from, or one that is made of its own."""
    purpose = core.purpose.encode()
    framed = b"hardtack/1 moved" + len(purpose).to_bytes(2, "big") + purpose
    return _partner(record, 16) or hashlib.sha256(framed + secret).digest()[:16]


def _partner(record: Record, size: int) -> bytes:
    """What the session is in the engine that it came from, or nothing."""
    given = record.options.get(MOVED)
    with suppress(ValueError):
        raw = values.decode_bytes(given) if type(given) is str else b""
        return raw if len(raw) == size else b""
    return b""


def _move(core: Core, state: State, own: Held, found: _Found, context: Context) -> Flow[Held]:
    """What is held of a session that another engine has: as if it were stored here, but for its entry and its cookie."""
    view, there = found.core, found.held
    record = there.record
    assert record is not None
    names = tuple(dict.fromkeys([*own.names, *there.names]))
    if view.engine is core.engine:  # under another name
        there.names, there.current, there.resend = names, False, True
        return there
    if core.ended is not None:
        judged: Held = yield from listed.judge(core, state, Held(record=record, names=names), context)
        if judged.record is None:
            return judged
    return (yield from _here(core, state, found, names, record, context))


def _here(
    core: Core, state: State, found: _Found, names: tuple[str, ...], record: Record, context: Context
) -> Flow[Held]:
    """What is held of it here: what a parallel request has stored, or what the other engine has."""
    view, there = found.core, found.held
    options = {name: value for name, value in record.options.items() if name not in (MOVED, LEFT)}
    moved = Moved(view, there.key, there.version, record)
    held = Held(names=names, current=False, resend=True, moved=moved)
    new_id = found.ids[0]
    if isinstance(core.engine, StoreEngine):
        held.secret, held.key = found.secrets[0], values.encode_bytes(new_id)
        if view.stored:
            held.resend = tuple(there.names) != (
                core.cookie.name,
            )  # under its own name the browser has it: the id stays what it was
        else:
            options[MOVED] = values.encode_bytes(record.id)
            stored = yield from _stored(core, state, found, context)
            if stored.dead is not None:
                return Held(names=names, dead=stored.dead)
            if stored.record is not None:
                held.secret, held.key, held.version = stored.secret, stored.key, stored.version
                new_id = stored.record.id
                if core.ended is not None and listed.find(core.ended, stored.record) is not None:
                    pass  # the list has spared this one, and not the other
                elif LEFT not in stored.record.options and stored.record.seen >= record.seen:
                    # A parallel request was faster: what is stored is what goes on.
                    stored.names, stored.current, stored.resend, stored.adopted = names, False, True, b""
                    return stored
    elif view.stored and core.engine.native:  # type: ignore[attr-defined]
        options[MOVED] = values.encode_bytes(there.secret)
        left = record.options.get(LEFT)
        # Its request began before the browser got the cookie that a parallel one has sent: to read is not to overwrite that.
        held.current = type(left) is int and 0 <= context.now - left < UNSETTLED
    if new_id != record.id:
        options |= listed.derived(core, record)  # what spares the one spares the other
    held.record = record.with_changes(id=new_id, options=options)
    records.pack(held.record)
    if not held.current:
        core.emit(TakenOver, new_id, type(view.engine).__name__, request=state.request)
    return held


def _stored(core: Core, state: State, found: _Found, context: Context) -> Flow[Held]:
    """What is stored of it, or was: a copy of its cookie may have come before that another key of the ring had sealed."""
    engine = core.engine
    assert isinstance(engine, StoreEngine)
    held = Held()
    for secret in found.secrets:
        held = (yield from engine.find(secret, context, state))[1]
        if held.record is not None or held.dead is not None:
            break
    return held


def settle(core: Core, state: State, held: Held, context: Context) -> Flow[None]:
    """Store what comes from another engine now, for what needs an entry before the commit."""
    if not isinstance(core.engine, StoreEngine) or held.version is not None or held.moved is None:
        return
    record = held.record
    assert record is not None
    try:
        yield from core.engine.store_moved(held, record, context.now, state)
    except VersionConflict:  # a parallel request was faster
        look, entry = yield from core.engine.ask(record.id, held.key, context.now, state)
        held.record, held.dead = look.record, look.dead
        held.version = None if entry is None else entry.version


# --- save


def forget(record: Record) -> None:
    """A record that gets a new id is no longer what it was in another engine."""
    if not record.options.keys().isdisjoint(_OF_THE_ID):
        record.options = {name: value for name, value in record.options.items() if name not in _OF_THE_ID}


def save(core: Core, saving: Saving, context: Context) -> Flow[Saved]:
    """Save by the engine, and then see to what is left in the others. Raises what the engine does."""
    saved: Saved
    if not core.accepted:
        saved = yield from listed.save(core, saving, context)
        if core.settings.keeps:
            yield from bury_kept(core, saving, context)
        return saved
    old, moved, dead = saving.old, saving.held.moved, saving.held.dead
    if core.stored and saving.new is not None and LEFT in saving.new.options:
        saving.new.options = {
            name: value for name, value in saving.new.options.items() if name != LEFT
        }  # it is used again
    secrets = [] if old is None or saving.kind is Kind.UPDATE else _secrets_elsewhere(core, saving, old, context)
    if old is None and saving.kind is Kind.END and dead is not None and core.stored:
        old = Record(dead.id, 0, None, 0)  # what an engine that was down could not be told the first time
    saved = yield from listed.save(core, saving, context)
    if core.settings.keeps:
        yield from bury_kept(core, saving, context)
    if saved.dropped or old is None:
        return saved
    if saving.kind is Kind.UPDATE or (saving.kind is Kind.EMPTY and core.stored):
        if moved is not None and (yield from _leave(core, moved, saving.now)):
            if core.stored:
                yield Delete(saved.held.key)
            gone = Dead(moved.record.id, False, saving.now)
            return Saved(held=Held(dead=gone), record=None, lines=[], dropped="dead")
        return saved
    failure = yield from _end(core, old, moved, secrets, saving.now, changed=saving.new is not None)
    failure = (yield from bury_beside(core, saving, context)) or failure
    yield from _remember(core, old, failure, saving.now)
    _check_ended(core, saving, failure)
    return saved


def _remember(core: Core, old: Record, failure: StoreUnavailable | None, now: int) -> Flow[None]:
    """Know of a dead id for as long as its session would live, where it still is in a store that could not be told.

    Else it would come back from there by its old cookie, as soon as nobody remembers here that it has ended.
    """
    if failure is None or not core.stored:
        return
    engine, key = core.engine, values.encode_bytes(old.id)
    assert isinstance(engine, StoreEngine)
    until = absolute_deadline(old, core.lifetime) if old.created else now + core.lifetime
    with suppress(VersionConflict, StoreFull, StoreUnavailable):  # that something failed is told as it is
        look, entry = yield from engine.ask(old.id, key, now, core)
        dead = look.dead or Dead(old.id, False, now)
        grave = tombstone(old.id, dead.at, changed=dead.changed, successor=dead.successor, until=until)
        yield engine.bury(key, grave, None if entry is None else entry.version, core)


def _check_ended(core: Core, saving: Saving, failure: StoreUnavailable | None) -> None:
    """Raise where a logout did not reach an old record; a login counts all the same."""
    if failure is None:
        return
    if saving.kind is Kind.END:
        raise failure
    core.store_failed("save", failure, None)


def _leave(core: Core, moved: Moved, now: int) -> Flow[bool]:
    """The session is saved here, so the one that it was ends; where it is a cookie now, a minute later.

    Whether that had ended, or had got another id, since it was loaded: then it must not come back from here.
    """
    view, record = moved.core, moved.record
    if not view.stored or LEFT in record.options:
        return False
    assert isinstance(view.engine, StoreEngine)
    request: Any = Delete(moved.key, moved.version)
    if not core.stored:
        left = record.with_changes(options={**record.options, LEFT: now})
        left.prepared = record.kept_data()
        request = view.engine.put(moved.key, left, now + TOMBSTONE_SECONDS, moved.version, view)
    try:
        yield from on(view.store, _once(request))
    except VersionConflict:  # it was saved there meanwhile, by the deploy that writes to it, or it was ended there
        return (yield from _has_ended(core, moved, now))
    except StoreFull:
        return False
    except StoreUnavailable as error:  # it is taken over again, or ends with this one
        core.store_failed("save", error, None)
    return False


def _has_ended(core: Core, moved: Moved, now: int) -> Flow[bool]:
    """Whether nothing is left of a session where it was. A logout here leaves nothing there; a store here has what tells."""
    view = moved.core
    engine: Any = view.engine
    try:
        look, entry = yield from on(view.store, engine.ask(moved.record.id, moved.key, now, view))
    except StoreUnavailable as error:
        core.store_failed("save", error, None)
        return False
    return look.dead is not None or (entry is None and not core.stored)


def _secrets_elsewhere(core: Core, saving: Saving, old: Record, context: Context) -> list[bytes]:
    """What a session in a cookie is made of in a store, where a deploy beside has stored it."""
    if core.stored or not core.engine.native:  # type: ignore[attr-defined]
        return []
    secret = _partner(old, 32)
    if secret or saving.held.moved is not None:
        return [secret] if secret else []
    seeds: list[bytes] = core.engine.seeds(saving.header, old, context)  # type: ignore[attr-defined]
    return seeds


def _end(
    core: Core, old: Record, moved: Moved | None, secrets: Sequence[bytes], now: int, *, changed: bool
) -> Flow[StoreUnavailable | None]:
    """The session ended here, or got another id: so it does where it came from. Why that could not be, or None.

    One that lives in a cookie is buried for as long as copies of that can live: the deploy beside, which keeps sessions in the
    store, would take such a copy for a session that it does not know yet.
    """
    failure = None
    until = 0 if core.stored else absolute_deadline(old, core.lifetime)
    dead = set()
    for view in core.accepted:
        if not view.stored or view.engine is core.engine:
            continue
        assert isinstance(view.engine, StoreEngine)
        raw_keys = set()
        if moved is not None and moved.core is view:
            raw_keys.add(moved.record.id)
            dead.add(moved.record.id)
        if core.stored:
            raw_keys.add(old.id)
        else:
            derived = {view.engine.raw_key(each, core.purpose) for each in secrets}
            raw_keys |= derived
            dead |= derived
        for raw_key in sorted(raw_keys):
            gone = (
                _once(Delete(values.encode_bytes(raw_key)))
                if core.stored
                else bury(view, raw_key, now, until, changed=changed)
            )
            try:
                yield from on(view.store, gone)
            except StoreUnavailable as error:
                failure = error
    if core.stored and (partner := _partner(old, 16)):
        dead.add(partner)
    if core.ended is not None:
        yield from listed.tell(core.ended, sorted(dead - {old.id}), changed=changed)
    return failure


def _once(request: Any) -> Flow[Any]:
    return (yield request)


def told_elsewhere(core: Core) -> Iterator[Core]:
    """What works with accepted engines that can be told of an end: stores, and cookies where there is a list."""
    return (
        view for view in core.accepted if view.engine is not core.engine and (view.stored or core.ended is not None)
    )


def partner_of(record: Record) -> bytes:
    """The id of the cookie that a stored session came from, or nothing."""
    return _partner(record, 16)


def stored_elsewhere(core: Core) -> Iterator[Core]:
    """What works with the stores of accepted engines."""
    return (view for view in core.accepted if view.stored and view.engine is not core.engine)

"""Stored: what a store has of a user, found and ended: what `list`, `end`, `end_all` and a limit of logins rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardtack import values
from hardtack.engines.store import StoreEngine
from hardtack.engines.store.save import end_id
from hardtack.errors import ConfigError
from hardtack.flow import Find, Flow
from hardtack.impersonation import LINK
from hardtack.lifecycle import listed
from hardtack.login import check_text
from hardtack.protocols import Context
from hardtack.record import AFTER, Record

if TYPE_CHECKING:
    from hardtack.core import Core


def store_engine(core: Core) -> StoreEngine:
    """The engine, whose sessions can be found and changed. Raises `ConfigError` for one that keeps them in cookies."""
    engine = core.engine
    if not isinstance(engine, StoreEngine):
        message = (
            f"sessions of a {type(engine).__name__} cannot be found, changed or ended from the server: the "
            "browser has them. Use a StoreEngine"
        )
        raise ConfigError(message)
    return engine


def finding_engine(core: Core) -> StoreEngine:
    """The engine, whose store finds the sessions of a user. Raises `ConfigError`."""
    engine = store_engine(core)
    if not engine.traits.finds:
        message = (
            f"{type(engine.store).__name__} cannot find the sessions of a user (it has no find()); use a store that can: "
            "Redis, SQLite, SQLAlchemy, file or memory"
        )
        raise ConfigError(message)
    return engine


def finds(core: Core) -> bool:
    """Whether the sessions of a user can be found."""
    return isinstance(core.engine, StoreEngine) and bool(core.engine.traits.finds)


def is_listed(core: Core, record: Record) -> bool:
    """Whether the list of ended sessions has a stored session."""
    return core.ended is not None and listed.find(core.ended, record) is not None


def keys_of(core: Core, subject: str) -> Flow[list[str]]:
    """The store's keys of the sessions of a user, as its index has them. Raises `ConfigError` where it has none."""
    store_engine(core)
    if type(subject) is not str:  # nobody has logged in as 7: nothing would be found, and nothing ended
        message = (
            f"subject is the user's id as login() was given it, a str, not {type(subject).__name__}; use str(user.id)"
        )
        raise TypeError(message)
    check_text(subject, "subject")
    engine = finding_engine(core)
    return list((yield Find(engine.indexed(subject, core))))


def living(core: Core, raw_key: bytes, key: str, context: Context) -> Flow[tuple[Record, Any] | None]:
    """The living session under a key, and its version."""
    look, entry = yield from store_engine(core).ask(raw_key, key, context.now, core)
    if look.record is None or entry is None:
        return None
    limits = core.deadlines(look.record)
    # One that waits while its user acts as another is not idle: that user's browser uses the other session.
    if context.now >= (limits.absolute if LINK in look.record.options else limits.nearest):
        return None
    return look.record, entry.version


def goes_on_as(core: Core, raw_key: bytes, key: str, context: Context) -> Flow[tuple[bytes, str]]:
    """The raw id and the key under which a session is stored now, where its id was changed just now: else what was given."""
    seen: set[bytes] = set()
    while raw_key not in seen:
        seen.add(raw_key)
        look, _ = yield from store_engine(core).ask(raw_key, key, context.now, core)
        if look.dead is None or not look.dead.successor:
            break
        raw_key = look.dead.successor
        key = values.encode_bytes(raw_key)
    return raw_key, key


def of_subject(core: Core, key: str, subject: str, context: Context) -> Flow[Record | None]:
    """The living session under a key, if it is this user's, or one that acts as the user or is acted through."""
    raw_key = store_engine(core).handle(key)
    stored = None if raw_key is None else (yield from living(core, raw_key, key, context))
    # The index of a store may be behind: a key that now belongs to somebody else is not theirs.
    if stored is None or not is_of(stored[0], subject):
        return None
    return stored[0]


def is_of(record: Record, subject: str) -> bool:
    """Whether a session is a user's own, or one in which the user acts as somebody else."""
    actor = record.options.get("actor")
    return record.subject == subject or (actor is not None and bool(actor) and actor[0] == subject)


def sessions_of(core: Core, subject: str) -> Flow[list[tuple[Record, str]]]:
    """The living sessions of a user, each once and with its key in the store.

    One that gets a new id meanwhile may be found under both, or under the old one alone, which then says where it went.
    """
    engine, context = store_engine(core), core.context()
    found: dict[str, Record] = {}
    for listed_key in (yield from keys_of(core, subject)):
        key, record = listed_key, (yield from of_subject(core, listed_key, subject, context))
        raw_key = engine.handle(key)
        if record is None and raw_key is not None and engine.native is None:
            _, key = yield from goes_on_as(core, raw_key, key, context)
            if key != listed_key:
                record = yield from of_subject(core, key, subject, context)
        if record is not None and not is_listed(core, record):
            found[key] = record
    return [(record, found_key) for found_key, record in without_former(found)]


def without_former(found: dict[str, Record]) -> list[tuple[str, Record]]:
    """The same without the ids that another of them had just before."""
    former: set[Any] = set()
    for record in found.values():
        after = record.options.get(AFTER)
        if type(after) is list:
            former.update(each for each in after if type(each) is str)
    return [(key, record) for key, record in found.items() if values.encode_bytes(record.id) not in former]


def end_record(core: Core, raw_key: bytes, key: str) -> Flow[list[bytes]]:
    """End a session, and the one that it goes on as where it has just got another id. The raw ids that were ended."""
    return (yield from end_id(store_engine(core), raw_key, key, core.context(), core))

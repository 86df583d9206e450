"""Registry: which sessions in cookies a user has, in a store: one write at a login, and at each change of an id.

It is for a page of devices, and opens nothing: a session lives by its cookie, and ends by the list of ended sessions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from hardtack import values
from hardtack.engines.store import StoreEngine
from hardtack.errors import ConfigError
from hardtack.flow import Count, Delete, Find, Flow
from hardtack.impersonation import acts
from hardtack.lifecycle import listed
from hardtack.lifecycle.stored import without_former
from hardtack.protocols import Engine, Kind, Saved, Saving, VersionConflict, rings_of
from hardtack.record import AFTER, Record

if TYPE_CHECKING:
    from hardtack.core import Core

_ID: Final = "x-id"
"""The option of an entry that has the session's id: the entry has one of its own, from which nothing follows."""


def make_registry(store: Any, engine: Engine, *, listed: bool) -> StoreEngine | None:
    """The engine of the entries, which are sealed as the cookies are. Raises `ConfigError`."""
    if store is None:
        return None
    if engine.store is not None:
        raise ConfigError("registry= is for sessions in cookies: a store knows which sessions it has; remove it")
    if not listed:
        raise ConfigError("registry= needs ended=EndedSessions.from_url(…): what it lists could not be ended")
    rings = rings_of(engine)
    registry = StoreEngine(store, seal=rings[0] if rings else None)
    if registry.native is not None or not registry.traits.finds:
        message = f"registry={type(store).__name__} must be a store of hardtack's own sessions that has find()"
        raise ConfigError(message)
    return registry


def keep_up(core: Core, saving: Saving, saved: Saved) -> Flow[None]:
    """Note what a commit began, moved or ended. Raises `StoreUnavailable`."""
    registry = core.registry
    if registry is None or saved.dropped:
        return
    old, new = saving.old, saved.record
    replaced = saving.held.replaces  # by the one that was bound to the device
    comes = replaced is not None or saving.held.moved is not None
    begins = saving.login or comes or saving.kind in (Kind.CREATE, Kind.MOVE, Kind.REPLACE, Kind.END)
    if new is not None and new.subject is not None and begins and acts(new) is None:
        yield from note(core, new, [each.id for each in (old, replaced) if each is not None and each.id != new.id])
    for ended in (old, replaced):
        if ended is not None and ended.subject is not None and begins and (new is None or new.id != ended.id):
            yield Delete(_key(core, ended.id))


def note(core: Core, record: Record, former: Iterable[bytes] = ()) -> Flow[None]:
    """Note a session of a user, and the ids that it had before, which are forgotten next. Raises `StoreUnavailable`."""
    registry = core.registry
    assert registry is not None
    entry = _entry(core, record)
    if before := [values.encode_bytes(each) for each in former]:
        entry.options[AFTER] = before
    put = registry.put(values.encode_bytes(entry.id), entry, core.deadlines(entry).absolute, None, core)
    with suppress(VersionConflict):  # a parallel request has made the same of another system's cookie
        yield put


def forget(core: Core, raw_id: bytes) -> Flow[None]:
    """A session was ended from outside of a request."""
    if core.registry is not None:
        yield Delete(_key(core, raw_id))


def sessions_of(core: Core, subject: str) -> Flow[list[Record]]:
    """A user's sessions that have not ended, as far as the list knows; what has ended is removed."""
    registry, ended = core.registry, core.ended
    assert registry is not None
    assert ended is not None
    found: dict[str, Record] = {}
    now = core.now()
    for key in list((yield Find(registry.indexed(subject, core)))):
        raw_key = registry.handle(key)
        if raw_key is None:
            continue
        look, _ = yield from registry.ask(raw_key, key, now, core)
        record = None if look.record is None else _session(look.record)
        if record is None or record.subject != subject or now >= core.deadlines(record).absolute:
            continue
        if listed.find(ended, record) is None:
            found[key] = record
        else:
            yield Delete(key)
    return [record for _, record in without_former(found)]


def count(core: Core) -> Flow[int]:
    """How many entries there are: logins that have not ended, nor come to their absolute deadline."""
    registry = core.registry
    assert registry is not None
    if not registry.traits.counts:
        message = f"{type(registry.store).__name__} cannot count its sessions (it has no count())"
        raise ConfigError(message)
    return int((yield Count(None)))


def _raw_key(core: Core, raw_id: bytes) -> bytes:
    purpose = core.purpose.encode()
    return hashlib.sha256(b"hardtack/1 registry" + len(purpose).to_bytes(2, "big") + purpose + raw_id).digest()


def _key(core: Core, raw_id: bytes) -> str:
    return values.encode_bytes(_raw_key(core, raw_id))


def _entry(core: Core, record: Record) -> Record:
    """What is kept of a session: everything but its data and its token against forgeries."""
    options = {name: value for name, value in record.options.items() if name != "csrf"}
    options[_ID] = values.encode_bytes(record.id)
    raw_key = _raw_key(core, record.id)
    return Record(raw_key, record.created, record.authenticated, record.seen, record.subject, options)


def _session(entry: Record) -> Record | None:
    """The session of an entry; None for an entry of something else."""
    given = entry.options.get(_ID)
    if type(given) is not str:
        return None
    options = {name: value for name, value in entry.options.items() if name != _ID}
    return entry.with_changes(id=values.decode_bytes(given), options=options)

"""Limit: how many sessions a user has at once (`login(at_most=…)`), counted when the login is committed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hardtack import values
from hardtack.errors import ConfigError, TooManySessions
from hardtack.events import Destroyed, LoggedOut
from hardtack.flow import Delete, Flow
from hardtack.impersonation import acts
from hardtack.lifecycle import listed, moving, registry
from hardtack.lifecycle.listed import DRAWN, drawn_of
from hardtack.lifecycle.stored import end_record, finding_engine, sessions_of, store_engine
from hardtack.protocols import Context, Kind, Saved, Saving, VersionConflict
from hardtack.record import Record

if TYPE_CHECKING:
    from hardtack.core import Core


def check_limits(core: Core, beyond: str) -> None:
    """Raise `ConfigError` where the sessions of a user cannot be found, or a login not be taken back."""
    if core.registry is None:
        finding_engine(core)
    elif beyond == "refuse":
        message = (
            "login(beyond='refuse') needs a StoreEngine: of two logins at once in cookies neither can be taken back; leave it "
            "out, and the oldest session ends"
        )
        raise ConfigError(message)


def save_limited(core: Core, limit: tuple[int, str] | None, saving: Saving, context: Context) -> Flow[Saved]:
    """Save, and see to it that who logs in has not more sessions than the limit. Raises `TooManySessions`."""
    saved: Saved = yield from moving.save(core, saving, context)
    if core.registry is not None:
        yield from registry.keep_up(core, saving, saved)
    if limit is not None and saving.login and saved.record is not None:
        yield from _keep_limit(core, saving, saved, *limit)
    return saved


def check_limit(core: Core, saving: Saving, at_most: int, beyond: str) -> Flow[None]:
    """Raise `TooManySessions` before anything is saved, where a further login is to be refused.

    Where it is not, the login is the last of all that are known: in the order that `_keep_limit` counts by.
    """
    new = saving.new
    assert new is not None
    assert new.subject is not None
    living = yield from _own_sessions(core, new.subject)
    own = {new.id, b"" if saving.old is None else saving.old.id}
    others = [record for record, _ in living if record.id not in own]
    if beyond == "refuse" and len(others) >= at_most:
        # The session of a first click on "Log in", whose answer was lost, ends with this one.
        ghosts = yield from _successors(core, saving)
        if len([record for record in others if record.id not in ghosts]) >= at_most:
            raise _too_many(at_most)
    latest = max((drawn_of(record) for record in others), default=0)
    # With a list of ended sessions the time is the channel's, which an end of all sessions is compared with.
    drawn = latest if core.ended is not None else max(saving.now * 1_000_000, latest + 1)
    new.options = {**new.options, DRAWN: drawn}


def _successors(core: Core, saving: Saving) -> Flow[set[bytes]]:
    """The ids that the session which the request came with goes on under by now."""
    engine = store_engine(core)
    dead = saving.held.dead
    raw_id = b"" if dead is None else dead.successor
    if saving.old is not None and engine.native is None:
        raw_id = saving.old.id
    found: set[bytes] = set()
    while raw_id and raw_id not in found:
        found.add(raw_id)
        look, _ = yield from engine.ask(raw_id, values.encode_bytes(raw_id), saving.now, core)
        raw_id = b"" if look.dead is None else look.dead.successor
    return found


def _keep_limit(core: Core, saving: Saving, saved: Saved, at_most: int, beyond: str) -> Flow[None]:
    """End what is beyond the limit: the oldest logins, or, where logins are refused, this one.

    The list is read again after the own write: after the later of two logins at once there are no more than that. Both
    count in one order, so that neither ends what the other keeps.
    """
    new = saved.record
    assert new is not None
    assert new.subject is not None
    living = yield from _own_sessions(core, new.subject)
    ordered = sorted(living, key=lambda pair: (drawn_of(pair[0]), pair[0].id))
    surplus = ordered[at_most:] if beyond == "refuse" else ordered[: max(len(ordered) - at_most, 0)]
    if beyond == "refuse" and new.id in [record.id for record, _ in surplus]:
        yield from _take_back(core, saving, saved)
        raise _too_many(at_most)
    for record, key in surplus:
        if (yield from _end(core, record, key)):
            core.emit(Destroyed, record.id, False)
            core.emit(LoggedOut, record.id, new.subject, "at_most")


def _end(core: Core, record: Record, key: str) -> Flow[bool]:
    """End a session that is one too many; whether there was one."""
    if core.registry is None:
        return bool((yield from end_record(core, record.id, key)))
    assert core.ended is not None
    yield from listed.tell(core.ended, [record.id], changed=False)
    yield from registry.forget(core, record.id)
    return True


def _take_back(core: Core, saving: Saving, saved: Saved) -> Flow[None]:
    """The login is refused, and the session that it had moved is what it was; unless somebody has ended it meanwhile."""
    engine, old, new = store_engine(core), saving.old, saved.record
    assert new is not None
    try:
        deleted = yield Delete(saved.held.key, saved.held.version)
    except VersionConflict:
        deleted = False
    if not deleted:
        yield Delete(saved.held.key)
    elif saving.kind is Kind.MOVE and old is not None and engine.native is None:
        key = values.encode_bytes(old.id)
        look, entry = yield from engine.ask(old.id, key, saving.now, core)
        if look.dead is not None and look.dead.successor == new.id and entry is not None:
            with suppress(VersionConflict):
                yield engine.put(key, old, core.deadlines(old).nearest, entry.version, core)


def _own_sessions(core: Core, subject: str) -> Flow[list[tuple[Record, str]]]:
    """The sessions of a user and their keys in the store, without those in which somebody else acts as the user.

    A registry has the sessions in cookies, which have no key, and none in which somebody acts.
    """
    if core.registry is not None:
        return [(record, "") for record in (yield from registry.sessions_of(core, subject))]
    found = yield from sessions_of(core, subject)
    return [pair for pair in found if pair[0].subject == subject and acts(pair[0]) is None]


def _too_many(at_most: int) -> TooManySessions:
    return TooManySessions(f"this user has {at_most} sessions already; one must end before another begins")

"""Limit: how many sessions a user has at once (`login(at_most=…)`), counted when the login is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardtack.errors import TooManySessions
from hardtack.events import Destroyed, LoggedOut
from hardtack.flow import Flow
from hardtack.impersonation import acts
from hardtack.lifecycle import listed
from hardtack.lifecycle.stored import end_record, sessions_of
from hardtack.protocols import Context, Saved, Saving
from hardtack.record import Record

if TYPE_CHECKING:
    from hardtack.core import Core


def save_limited(core: Core, limit: tuple[int, str] | None, saving: Saving, context: Context) -> Flow[Saved]:
    """Save, and see to it that who logs in has not more sessions than the limit. Raises `TooManySessions`."""
    if limit is not None and saving.login:
        yield from check_limit(core, saving, *limit)
    saved: Saved = yield from listed.save(core, saving, context)
    if limit is not None and saved.record is not None:
        yield from keep_limit(core, saved.record, *limit)
    return saved


def check_limit(core: Core, saving: Saving, at_most: int, beyond: str) -> Flow[None]:
    """Raise `TooManySessions` before anything is saved, where a further login is to be refused."""
    assert saving.new is not None
    subject = saving.new.subject
    assert subject is not None
    living = yield from _own_sessions(core, subject)
    own = {saving.new.id, b"" if saving.old is None else saving.old.id}
    others = [record for record, _ in living if record.id not in own]
    if beyond == "refuse" and len(others) >= at_most:
        raise _too_many(at_most)


def keep_limit(core: Core, new: Record, at_most: int, beyond: str) -> Flow[None]:
    """End what is beyond the limit: the oldest logins, or, where logins are refused, this one.

    The list is read again after the own write: after the later of two logins at once there are no more than that.
    """
    assert new.subject is not None
    living = yield from _own_sessions(core, new.subject)
    ordered = sorted(living, key=lambda pair: (pair[0].authenticated or pair[0].created, pair[0].id))
    beyond_limit = len(ordered) - at_most
    if beyond_limit <= 0:
        return
    if beyond == "refuse":
        key = next((key for record, key in ordered if record.id == new.id), None)
        if key is not None:
            yield from end_record(core, new.id, key)
        raise _too_many(at_most)
    for record, key in [pair for pair in ordered if pair[0].id != new.id][:beyond_limit]:
        if (yield from end_record(core, record.id, key)):
            core.emit(Destroyed, record.id, False)
            core.emit(LoggedOut, record.id, new.subject, "at_most")


def _own_sessions(core: Core, subject: str) -> Flow[list[tuple[Record, str]]]:
    """The sessions of a user, without those in which somebody else acts as the user."""
    found = yield from sessions_of(core, subject)
    return [pair for pair in found if pair[0].subject == subject and acts(pair[0]) is None]


def _too_many(at_most: int) -> TooManySessions:
    return TooManySessions(f"this user has {at_most} sessions already; one must end before another begins")

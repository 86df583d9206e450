"""Keep: the cookie of another system stays beside ours until a date, and leads.

A session that was taken over from such a cookie carries a mark: the cookie's name, and a digest of what was in it. With each
request the cookie is looked at again. Gone, or of another user: the other system has ended its session, and ours ends. With
other data: whichever was written later goes on, under our session's id, times and deadlines, so that the cookie makes no
second session and extends none. Where ours ends, the cookie goes with it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from hardtack import record as records
from hardtack import values
from hardtack.events import Rejected, TakenOver
from hardtack.flow import Flow
from hardtack.impersonation import acts
from hardtack.lifecycle import acting, takeover
from hardtack.protocols import Context, Held
from hardtack.record import KEPT, Record
from hardtack.settings import Accepted
from hardtack.state import State, Taken

if TYPE_CHECKING:
    from hardtack.core import Core


def is_kept(accepted: Accepted, now: int) -> bool:
    """Whether a cookie stays where it is when its session is taken over: while its format is read, until a date."""
    keep_until, until = accepted.traits.keep_until, accepted.traits.until
    return keep_until is not None and now < keep_until and (until is None or now < until)


def mark(accepted: Accepted, found: Record, now: int) -> list[str | int]:
    """The option of a session that goes on with what was in a cookie."""
    digest = hashlib.sha256(found.kept_data()).digest()[:16]
    return [accepted.cookie.name, values.encode_bytes(digest), _written(accepted, found, now)]


def _written(accepted: Accepted, found: Record, now: int) -> int:
    """When a cookie was written; one that does not say counts as written now."""
    return found.created if accepted.traits.authenticates_time else now


def follow(core: Core, state: State, held: Held, context: Context) -> Flow[Held]:
    """What is held of a session, in the light of the cookies that are kept beside it. Raises `StoreUnavailable`."""
    if not held.names or held.disputed or state.taken is not None:  # without a cookie of ours, `takeover` has decided
        return held
    formats = [each for each in core.settings.accept if is_kept(each, context.now)]
    record = held.record
    if record is None:
        # A session that is over must not begin anew from the cookie beside it; one that got a new id has not ended.
        if formats and takeover.clearing(core, state.header) and (held.dead is None or not held.dead.changed):
            takeover.clear(core, state)
            held.clear = True
        return held
    leading = _mark_of(record)[0]
    if leading:
        formats = [each for each in formats if each.cookie.name == leading]
        if not formats:  # it is kept no longer
            if lines := takeover.clearing(core, state.header):
                state.taken = Taken(None, lines)
            return held
    found, ambiguous = takeover.find(core, state, context, formats, beside=True)
    if found is not None:
        return (yield from _compare(core, state, held, found, context))
    if ambiguous and leading:
        return _refuse(core, state, held, ambiguous)
    if leading:
        yield from _end(core, state, held, record, context)
        return Held(names=held.names, clear=True)
    return held


def _compare(core: Core, state: State, held: Held, found: takeover.Found, context: Context) -> Flow[Held]:
    """What is held of a session that came with a good cookie of the other system."""
    record = held.record
    assert record is not None
    accepted, theirs, _, _ = found
    leading = bool(_mark_of(record)[0])
    subject = records.find_subject(accepted.traits.subject, theirs.data, type(accepted.token).__name__)
    who = acts(record)
    own = record.subject if who is None else who[0]
    if not leading and subject is None:  # a visitor there, who may have logged in here
        return held
    if subject == own:
        return held if who is not None else _go_on(core, state, held, accepted, theirs, context)
    yield from _end(core, state, held, record, context)
    if not leading and own is not None:
        # Logged in here as one, and there as another: which of the two it is cannot be told, and a cookie that was planted
        # must not decide it.
        core.emit(Rejected, "other_subject", accepted.cookie.name, request=state.request)
        return Held(names=held.names, clear=True)
    adopted = yield from takeover.take_over(core, state, context)
    if adopted is None:  # it is too old to begin a session
        return Held(names=held.names, clear=True)
    adopted.names = held.names
    return adopted


def _mark_of(record: Record) -> tuple[str, str, int]:
    """The name of the cookie that leads a session, the digest of what was in it, and when it was written; or nothing."""
    given = record.options.get(KEPT)
    if type(given) is list and [type(each) for each in given] == [str, str, int]:
        return given[0], given[1], given[2]
    return "", "", 0


def _refuse(core: Core, state: State, held: Held, name: str) -> Held:
    """Of several cookies one was planted: the session is not used, and the cookie cleared where others can set it."""
    accepted = next(each for each in core.settings.accept if each.cookie.name == name)
    request = state.request
    planted = () if request is None else accepted.cookie.clear_planted(request.hostname, request.path)
    state.taken = Taken(None, tuple(planted))
    return Held(names=held.names, disputed=True)


def _go_on(core: Core, state: State, held: Held, accepted: Accepted, theirs: Record, context: Context) -> Held:
    """What is held of a session of one user here and there: with the data of whichever was written later."""
    record = held.record
    assert record is not None
    wanted = mark(accepted, theirs, context.now)
    name, digest, before = _mark_of(record)
    written = _written(accepted, theirs, context.now)
    if [name, digest] == wanted[:2] or written < before:  # nothing was changed there, or this is the cookie of before
        return held
    newer = written >= record.seen
    data: Any = theirs.data if newer else record.data
    held.record = record.with_changes(options={**record.options, KEPT: wanted}, data=data)
    records.pack(held.record)
    held.current = False  # it is to be written, as a session that was sealed under another key
    if newer:
        state.taken = Taken(theirs)
        core.emit(TakenOver, record.id, accepted.traits.name, request=state.request)
    return held


def _end(core: Core, state: State, held: Held, record: Record, context: Context) -> Flow[None]:
    """End a session because of the cookie that leads it, in all places, and clear that cookie with it."""
    # The response clears the cookies, if it does not set them anew.
    yield from acting.end_session(core, state, held, record, "elsewhere", context, headers_sent=True)
    takeover.clear(core, state)

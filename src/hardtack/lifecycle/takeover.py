"""Take over: a session of another system's cookie begins to be one of ours."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from hardtack import record as records
from hardtack.cookies import MAX_VALUES, each_alone, parse
from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.events import Rejected, TakenOver
from hardtack.flow import Flow
from hardtack.lifecycle import keeping, listed
from hardtack.lifecycle.burying import seed_of
from hardtack.protocols import Context, CookieMap, Held
from hardtack.record import KEPT, Record
from hardtack.settings import Accepted
from hardtack.state import State, Taken

if TYPE_CHECKING:
    from hardtack.core import Core


def take_over(core: Core, state: State, context: Context) -> Flow[Held | None]:
    """What is held of the session of another system's cookie, or None where there is none that is good.

    The new id is derived from the old cookie, so that parallel first requests make one session: a second one may find what
    the first has stored. It is drawn where the cookie may be that of other visitors too, and belongs to nobody.
    """
    found, _ = find(core, state, context, core.settings.accept)
    if found is None:
        return None
    accepted, record, names, cookies = found
    subject = records.find_subject(accepted.traits.subject, record.data, type(accepted.token).__name__)
    if subject is None and not record.data:  # nothing to take over, and no reason to clear the other system's cookie
        return None
    if subject is None and not accepted.traits.distinct:
        # Two visitors may have the very same cookie, such as one with a language alone: neither gets the other's session.
        seed = secrets.token_bytes(32)
    else:
        seed = seed_of(context.purpose, {name: cookies[name] for name in names}, accepted.traits)
    new_id, held = yield from core.engine.adopt(seed, context, state)
    clearing = tuple(accepted.cookie.clear_cookie(name) for name in names)
    kept = keeping.is_kept(accepted, context.now) and (held.dead is None or held.dead.changed)
    if kept:
        clearing = ()
    if held.record is not None or held.dead is not None:  # a parallel request was faster, or it was ended since
        held.resend = held.record is not None
        held.current = held.record is None
        state.taken = Taken(None, clearing)
        return held
    created = min(record.created, context.now) if accepted.traits.authenticates_time else context.now
    options = {key: value for key, value in record.options.items() if key == "expires"}
    if kept:
        options[KEPT] = keeping.mark(accepted, record, context.now)
    authenticated = created if subject is not None else None
    meta = Record(new_id, created, authenticated, context.now, subject, options, record.data)
    if core.ended is not None:
        # A cookie that does not say when it was made counts as made now, and is older than every end.
        says = created < context.now or _is_of_this_second(accepted, cookies, context)
        options[listed.DRAWN] = listed.drawn_of(meta) if says else 0
        dead = yield from listed.judge(core, state, Held(record=meta), context)
        if dead.record is None:
            state.taken = Taken(None, tuple(accepted.cookie.clear_cookie(name) for name in names))
            return dead
    state.meta = meta
    state.base = record
    state.taken = Taken(record, clearing)
    core.emit(TakenOver, new_id, accepted.traits.name, request=state.request)
    return held


def _is_of_this_second(accepted: Accepted, cookies: CookieMap, context: Context) -> bool:
    """Whether a cookie says that it was made now, as after a login that leads here: in a second it will still say so."""
    there = context._replace(cookie_name=accepted.cookie.name, now=context.now + 1)
    with suppress(InvalidToken):  # then it has ended
        return accepted.traits.authenticates_time and accepted.token.open(cookies, there).created <= context.now
    return False


def clear(core: Core, state: State) -> None:
    """Remember the lines that clear every other system's cookie that the request carries."""
    state.taken = Taken(None, clearing(core, state.header))


def clearing(core: Core, header: str) -> tuple[str, ...]:
    """The lines that clear every other system's cookie of a request."""
    cookies = parse(header)
    return tuple(
        each.cookie.clear_cookie(name)
        for each in core.settings.accept
        for name in each.traits.names_in(cookies, each.cookie.name)
    )


Found = tuple[Accepted, Record, list[str], CookieMap]


def find(
    core: Core, state: State, context: Context, formats: Iterable[Accepted], *, beside: bool = False
) -> tuple[Found | None, str]:
    """The session of another system's cookie, or None; and the name of a cookie that came with several sessions, or "".

    Args:
        formats: those that are asked, in this order.
        beside: for a session of ours, whose deadlines hold, and not those that the cookie would have alone.
    """
    ambiguous = ""
    cookies = parse(state.header)
    refused: set[str] = set()
    for accepted in formats:
        name = accepted.cookie.name
        names = accepted.traits.names_in(cookies, name)
        if not names or name in refused:
            continue
        foreign = Context(name, core.purpose, context.now)
        candidates = each_alone(cookies, name)
        if len(candidates) > MAX_VALUES:
            core.emit(Rejected, "ambiguous", name, request=state.request)
            refused.add(name)
            ambiguous = name
            continue
        opened = [(_open(state, accepted, each, foreign, refused, beside=beside), each) for each in candidates]
        good = [(record, each) for record, each in opened if record is not None]
        if len({record.id for record, _ in good}) > 1:
            # A sibling subdomain can plant a cookie of this name: it must not be able to choose the session.
            core.emit(Rejected, "ambiguous", name, request=state.request)
            refused.add(name)
            ambiguous = name
        elif good:
            record, each = max(good, key=lambda pair: pair[0].seen)
            return (accepted, record, names, each), ""
    return None, ambiguous


def _open(
    state: State, accepted: Accepted, cookies: CookieMap, context: Context, refused: set[str], *, beside: bool
) -> Record | None:
    name = context.cookie_name
    try:
        record = accepted.token.open(cookies, context)
        if record.plain is None:  # of a format that is not hardtack's own
            records.pack(record)
        if accepted.traits.is_undated is not None and accepted.traits.is_undated(record):
            raise InvalidToken("undated", event_detail="it does not say when it ends; give the format until=<a date>")
    except UnsupportedValue:
        state.emit(Rejected, "malformed", name)
        return None
    except InvalidToken as error:
        state.emit(Rejected, error.reason, name, error.event_detail)
        # Chosen by name and shape: only a value of another shape may be of another format under this name. A failed
        # MAC must not fall through to a reader that asks for less.
        if error.reason != "malformed":
            refused.add(name)
        return None
    if beside or state.admit(record, context):
        return record
    refused.add(name)
    return None

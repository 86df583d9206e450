"""Impersonation: "log in as", with a way back. The session of the one who acts waits, and two are saved with one commit.

In a store her session waits under its own key; on a cookie engine in a second sealed cookie. The session in which she acts
names both, and ends at once where hers has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hardtack import values
from hardtack.errors import ConfigError
from hardtack.lifetime import Duration, absolute_deadline, seconds
from hardtack.login import check_subject
from hardtack.protocols import Held
from hardtack.record import KEPT, Record
from hardtack.session import changing, data_of, fold_views, show, state_of
from hardtack.state import MOVE, NEW, Beside
from hardtack.tracking import Tracking

if TYPE_CHECKING:
    from hardtack.session import Session

ACTOR: Final = "actor"
"""The option of the session in which somebody acts: her subject, and the raw id under which her own session waits."""

LINK: Final = "x-acting"
"""The option of the session that waits: the id of the one in which its user acts, for a list of her sessions."""


def begin(session: Session, subject: str, lifetime: Duration) -> None:
    """`Session.impersonate`."""
    check_subject(subject, "impersonate()")
    limit = seconds(lifetime, "impersonate(lifetime)")
    if limit < 1:
        message = f"impersonate(lifetime)={lifetime!r} must be a second or more"
        raise ConfigError(message)
    state = changing(session)
    meta, core = state.meta, state.core
    if meta.subject is None:
        raise ConfigError("impersonate() needs a session that somebody is logged in to: call login(subject) first")
    if ACTOR in meta.options:
        raise ConfigError("impersonate() within an impersonation: call stop_impersonating() first")
    if meta.subject == subject:
        message = f"impersonate({subject!r}): that is who is logged in already"
        raise ConfigError(message)
    if core is not None:
        core.check_impersonates()
    fold_views(session)
    own, data = state.copy(), data_of(session)
    now = state.now()
    options: dict[str, Any] = {"lifetime": limit, ACTOR: [meta.subject, ""]}
    if core is not None:
        options["expires"] = absolute_deadline(meta.with_changes(created=meta.created or now), core.lifetime)
    for name in ("persistent", "binding", KEPT):  # it is the same browser, on the same device
        if name in meta.options:
            options[name] = meta.options[name]
    before = state.beside or Beside()
    state.restart(None, Held(names=() if state.held is None else state.held.names))
    state.begins = NEW
    state.meta = Record(b"", now, now, now, subject, options)
    state.beside = Beside(own, data, before.ends, stops=before.stops)
    show(session, {}, None if own.tracking is None else Tracking({}))


def stop(session: Session) -> None:
    """`Session.stop_impersonating`."""
    state = changing(session)
    if ACTOR not in state.meta.options:
        return
    if state.beside is not None and state.beside.own is not None:  # begun in this very request
        give_up(session)
        return
    waiting = state.waiting
    assert waiting is not None  # without hers the session would not have been opened
    assert waiting.record is not None
    assert state.held is not None
    assert state.record is not None
    ending = (state.held, state.record)
    waiting.names = (*state.held.names, *waiting.names)
    record = waiting.record
    own = {name: value for name, value in record.options.items() if name != LINK}
    state.restart(record, waiting)
    state.fate = MOVE
    state.meta = record.with_changes(id=b"", options=own)
    state.beside = Beside(ends=[ending], stops=True)
    tracking = None if state.tracking is None else Tracking(record.data)
    show(session, record.data, tracking)


def give_up(session: Session) -> None:
    """Take an `impersonate` of this request back: her own session is what it was."""
    state = state_of(session)
    beside = state.beside
    if beside is None or beside.own is None:
        return
    state.assume(beside.own)
    tracking = beside.own.tracking
    if tracking is not None:
        tracking.hidden = {}
    show(session, beside.data, tracking)


def leave(session: Session) -> None:
    """Somebody logs out or in: the session that waits ends with the one in which its user acts."""
    give_up(session)
    state = state_of(session)
    waiting = state.waiting
    if waiting is not None and waiting.record is not None and state.beside is None:
        state.beside = Beside(ends=[(waiting, waiting.record)])


def acts(record: Record | None) -> tuple[str, str] | None:
    """Who acts in a session, and as whom; None where nobody does."""
    actor = None if record is None else record.options.get(ACTOR)
    if not actor or record is None or record.subject is None:
        return None
    return str(actor[0]), record.subject


def waiting_id(record: Record) -> bytes | None:
    """The raw id of the session that waits; None where nobody acts in this one, or the option is not of that form."""
    actor = record.options.get(ACTOR)
    if type(actor) is not list or len(actor) != 2 or not all(type(each) is str for each in actor):
        return None
    try:
        return values.decode_bytes(actor[1])
    except ValueError:
        return None

"""What happened: the words for an experiment's outcome and for each event. The facts come from the requests themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from hardtack import events
from hardtack.events import Event

if TYPE_CHECKING:
    from hardtack.cli.demo.experiments import Experiment


class Row(NamedTuple):
    """One fact before and after."""

    name: str
    before: str
    after: str


class Report(NamedTuple):
    """What the page says of an experiment."""

    title: str
    text: str
    events: list[Event]
    rows: list[Row]


_TITLES: Final = {
    "flip": "You flipped one bit of the cookie",
    "replay": "You replayed the cookie from before the logout",
    "rotate": "You rotated the key",
    "stale": "A day and a minute went by",
}

# (experiment, whether sessions are in a store, or what else was at work, whether there was a session afterwards)
_TEXTS: Final = {
    ("flip", False, False): (
        "The tag no longer matches, so no byte of the contents reached a parser. The request got a new, empty session, and "
        "the event says why. Nothing is stored until there is something to store, so the broken cookie stays in your "
        "browser until then."
    ),
    ("flip", True, False): (
        "The cookie is a random number. Another number is just an id that the store has never seen, and such an id is never "
        "adopted: the request got a new, empty session."
    ),
    ("replay", False, True): (
        "The old cookie still opens. That is what a session in a cookie means: the server remembers nothing, so a logout "
        "reaches the browser that made it, and nobody who copied the cookie before. Such a copy lives until its deadline. "
        "Where that is not good enough, give the manager a list of ended sessions, or keep the sessions in a store: "
        "hardtack demo --store memory://"
    ),
    (
        "replay",
        False,
        False,
    ): "The old cookie is past its deadline, or was made under a key that is no longer accepted.",
    ("replay", True, False): (
        "The session was deleted from the store when you logged out, so every copy of its cookie is worth nothing. (The demo "
        "has cleared the dead cookie again.)"
    ),
    ("replay", "ended", False): (
        "The logout put the session on the list of ended sessions, which the server asks without a query: every copy of its "
        "cookie is worth nothing. (The demo has cleared the dead cookie again.)"
    ),
    ("rotate", False, True): (
        "The old cookie was opened with the old key, which the ring still accepts, and the response carried the same session "
        "sealed under the new one: same id, same data, another key id. Once no old cookie can be alive, the old key is dropped."
    ),
    ("stale", False, False): (
        "The demo's clock was put forward. The cookie is authentic and your browser still sends it, but its idle deadline is "
        "enforced by the server, from the time that is sealed inside. The request got a new, empty session."
    ),
    ("stale", True, False): (
        "The demo's clock was put forward. Your browser still sends the cookie, but the record's idle deadline has passed. "
        "The request got a new, empty session."
    ),
}
_UNEXPECTED: Final = "Something else changed the session meanwhile; the log below has all that happened."


def report(experiment: Experiment, *, in_store: bool) -> Report:
    """The words for what happened, and the facts before and after."""
    before, after, exchange = experiment.before, experiment.after, experiment.exchange
    assert after is not None
    assert exchange is not None
    rows = [
        Row("session id", _short(before.id), _short(after.id)),
        Row("user", before.subject or "nobody", after.subject or "nobody"),
        Row("things in the cart", str(before.items), str(after.items)),
    ]
    if not in_store:
        rows.append(Row("key id in the cookie", before.key_id or "none", after.key_id or "none"))
    is_listed = any(isinstance(event, events.Rejected) and event.reason == "revoked" for event in exchange.events)
    kind = "ended" if is_listed and not in_store else in_store
    text = _TEXTS.get((experiment.name, kind, after.id is not None), _UNEXPECTED)
    return Report(_TITLES[experiment.name], text, list(exchange.events), rows)


def _short(identifier: str | None) -> str:
    return f"{identifier[:8]}…" if identifier else "none"


_MEANINGS: Final[dict[type[Event], str]] = {
    events.Created: "stored for the first time",
    events.Opened: "the cookie was good",
    events.Saved: "changed, and stored again",
    events.Renewed: "the same session, sealed or saved anew",
    events.IdChanged: "same session, new id",
    events.Destroyed: "the session was ended",
    events.LoggedIn: "a credential was shown",
    events.LoggedOut: "the session of a user ended",
    events.Confirmed: "a factor was shown again",
    events.Expired: "good, but past its deadline: not used",
    events.Rejected: "the cookie could not be used",
    events.Conflict: "another request had saved first",
    events.LateWrite: "changed after the headers had left",
    events.StoreFailed: "the store could not be reached or read",
    events.Bound: "bound to the device of the browser: copies of the cookie die within minutes",
    events.ProofFailed: "the key of the device was not proved, and the session not used",
    events.StoreHangs: "left alone while it hangs, or answers again",
    events.KeysStale: "the key file cannot be read: the keys stay as they were",
    events.ListStale: "the list of ended sessions cannot be read: sessions wait",
    events.ListFresh: "the list of ended sessions is read again",
    events.ChannelLost: "what the list had is gone where it was kept, and is written back",
    events.EndsKept: "ends that could not be told are told when that can be done again",
    events.EntriesSkipped: "entries of the list that nobody with the key has written",
    events.LimitsRaised: "sessions may live longer than the list remembers ends: those are ended once more",
    events.CookiesLost: "no cookie comes back",
    events.CacheControlReplaced: "the response must not be cached",
    events.CrossSite: "sent by another site: served without the session",
}

_DETAILS: Final = ("reason", "deadline", "cause", "outcome", "actor", "subject", "operation", "error")


def meaning(event: Event) -> str:
    """A few words on an event."""
    return _MEANINGS.get(type(event), "")


def details(event: Event) -> Iterable[tuple[str, str]]:
    """The fields of an event that are worth showing: reasons and names in full, ids by their beginning."""
    for name in (name for name in _DETAILS if getattr(event, name, None)):
        yield name, str(getattr(event, name))
    for name in (name for name in ("old_id", "new_id", "id") if getattr(event, name, None)):
        yield name.replace("_", " "), _short(getattr(event, name))
    if getattr(event, "old_still_valid", False):
        yield "old still valid", "yes"

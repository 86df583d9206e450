"""What happened to a session: frozen values, given to `on_event` and logged by the logger `hardtack`.

An event holds no secret, no token and no session data: ids (public handles), reasons, names. `str()` of one is a sentence
that says what to do. The hooks of other systems map onto them: see docs/events.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, dataclass_transform

if TYPE_CHECKING:
    from hardtack.request import Request

logger = logging.getLogger("hardtack")


@dataclass_transform(frozen_default=True)
class Event:
    """The base of all events: a frozen value whose fields are the annotations of its class, in their order.

    Attributes:
        request: the request that it belongs to, where the adapter has told it; text from the client is escaped and cut.
            It does not count for equality.
        acting: who acts in the session, and as whom (`impersonate`); None: nobody does. It does not count either.
    """

    # One set of methods for all: a dataclass compiles its own for each, which was a third of importing hardtack.
    level: ClassVar[int] = logging.DEBUG
    fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    request: ClassVar[Request | None] = None
    acting: ClassVar[tuple[str, str] | None] = None

    def __init_subclass__(cls) -> None:
        own = [name for name, kind in cls.__annotations__.items() if not str(kind).startswith("ClassVar")]
        cls.fields = (*cls.fields, *own)
        cls.__match_args__ = cls.fields  # type: ignore[misc, attr-defined]  # the checkers know it
        cls._defaults = {name: getattr(cls, name) for name in cls.fields if hasattr(cls, name)}

    if not TYPE_CHECKING:  # pragma: no branch

        def __init__(self, *values: Any, **named: Any) -> None:
            names = type(self).fields
            if len(values) > len(names) or not named.keys() <= set(names[len(values) :]):
                message = f"{type(self).__name__} takes {', '.join(names) or 'nothing'}"
                raise TypeError(message)
            given = {**self._defaults, **dict(zip(names, values, strict=False)), **named}
            missing = [name for name in names if name not in given]
            if missing:
                message = f"{type(self).__name__} lacks {', '.join(missing)}"
                raise TypeError(message)
            self.__dict__.update(given)

    def with_request(self, request: Request | None) -> Event:
        """The same event, with the request that it belongs to."""
        self.__dict__["request"] = request
        return self

    def with_acting(self, acting: tuple[str, str]) -> Event:
        """The same event, with who acts in its session, and as whom."""
        self.__dict__["acting"] = acting
        return self

    def with_until(self, until: int) -> Event:
        """The same event, with the absolute deadline of its session."""
        self.__dict__["until"] = until
        return self

    loudest: ClassVar[int] = 0
    """The highest level that one of the kind is logged at, where that depends on the event; 0: always at `level`."""

    @property
    def severity(self) -> int:
        """The level that the event is logged at."""
        return type(self).level

    @property
    def log_key(self) -> tuple[object, ...]:
        """What events have in common that are logged once a minute: the kind and the reason, not the session."""
        values = (getattr(self, name) for name in type(self).fields if name != "id" and not name.endswith("_id"))
        return (type(self).__name__, *values)

    def _sentence(self) -> str:
        return " ".join((type(self).__doc__ or "").partition("\n\n")[0].split())

    def __str__(self) -> str:
        acting = "" if self.acting is None else f" ({self.acting[0]} acts as {self.acting[1]})"
        told = "" if self.request is None else f" [{_where(self.request)}]"
        return f"{self._sentence()}{acting}{told}"

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).fields)
        return f"{type(self).__name__}({given})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).fields)

    def __hash__(self) -> int:
        return hash((type(self).__name__, *(getattr(self, name) for name in type(self).fields)))

    def __setattr__(self, name: str, value: object) -> None:
        message = f"{type(self).__name__} is frozen"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)


def _where(request: Request) -> str:
    parts = (f"{request.method} {request.path}".strip(), request.client and f"from {request.client}")
    return " ".join(part for part in parts if part)


class Created(Event):
    """A session was stored for the first time."""

    id: str


class Opened(Event):
    """A request brought a session that is good, and touched it."""

    id: str
    subject: str | None = None


class Saved(Event):
    """What a session keeps was changed, and stored under the id that it had."""

    id: str


class Renewed(Event):
    """The idle deadline was moved, the session was sealed anew under the key that issues now, or a clock that was ahead had
    written it."""

    loudest = logging.WARNING
    id: str
    cause: Literal["idle_timeout", "key", "clock"]

    @property
    def severity(self) -> int:
        """Clocks that do not agree end sessions at the wrong time; the other two are everyday."""
        return logging.WARNING if self.cause == "clock" else logging.DEBUG

    def _sentence(self) -> str:
        if self.cause != "clock":
            return super()._sentence()
        return (
            f"session {self.id} was saved by a clock more than 5 minutes ahead of this server's: sessions end at the wrong "
            "time; set the clocks of all servers (NTP)"
        )


class IdChanged(Event):
    """The session has a new id (`regenerate`, `confirm`, `login`).

    `old_still_valid`: a copy of the old cookie still opens the old state (a cookie engine without a list of ended sessions).
    """

    level = logging.INFO
    old_id: str
    new_id: str
    old_still_valid: bool

    def _sentence(self) -> str:
        return f"session {self.old_id} goes on as {self.new_id}{_copies(self.old_still_valid)}"


class Destroyed(Event):
    """The session was ended. `old_still_valid` as in `IdChanged`."""

    level = logging.INFO
    id: str
    old_still_valid: bool

    def _sentence(self) -> str:
        return f"session {self.id} was ended{_copies(self.old_still_valid)}"


class LoggedIn(Event):
    """A user has shown a credential, and the session is theirs.

    Attributes:
        known_device: whether the user has logged in with this browser before (`KnownDevices`); None: that is not known.
        until: the absolute deadline of the session, in Unix seconds, where it is known. It does not count for equality.
    """

    level = logging.INFO
    id: str
    subject: str
    actor: str | None = None
    label: str | None = None
    known_device: bool | None = None
    until: ClassVar[int | None] = None

    def _sentence(self) -> str:
        acting = f", as whom {self.actor} acts," if self.actor is not None else ""
        device = ", on a device that is new to this user" if self.known_device is False else ""
        return f"{self.subject}{acting} is logged in with session {self.id}{device}"


class LoggedOut(Event):
    """The session of a user ended.

    Causes: `logout` (by the handler), `login` (somebody else logged in), `ended` (from the server, by `end` or `end_all`),
    `at_most` (the user has logged in elsewhere, and has too many sessions), `expired`, `stopped` (who acted as the user does
    so no longer), `elsewhere` (the cookie of another system that `keep_until=` leaves beside ours is gone, or another
    user's).
    """

    level = logging.INFO
    id: str
    subject: str
    cause: Literal["logout", "login", "ended", "at_most", "expired", "stopped", "elsewhere"]

    def _sentence(self) -> str:
        return f"session {self.id} of {self.subject} ended: {self.cause}"


class Confirmed(Event):
    """The user has shown a factor again (`confirm`)."""

    level = logging.INFO
    id: str
    subject: str | None
    methods: tuple[str, ...] = ()


class Expired(Event):
    """A good session came after its deadline, and was not used."""

    level = logging.INFO
    id: str
    deadline: Literal["absolute", "idle"]

    def _sentence(self) -> str:
        setting = "lifetime" if self.deadline == "absolute" else "idle_timeout"
        return f"session {self.id} came after its {self.deadline} deadline and was not used; {setting} says how long it lives"


_REJECTED = {
    "malformed": "it is no session cookie of this engine; another engine or program may use the same cookie name",
    "unknown_key": "its key is not in the keyring; if keys were changed, keep the old one in accept= until its sessions end",
    "tampered": (
        "its seal does not fit: it was changed, or was sealed for another purpose or cookie name; another system's cookies are "
        "all so where the format has another secret, salt or digest than that system (hardtack takeover tells)"
    ),
    "wrong_purpose": "it was sealed for another purpose: two applications share a key and a cookie name",
    "unsafe": "it holds objects of another system, which are never built",
    "undated": "whoever holds a copy of it would be let in for ever",
    "too_large": "it is larger than any that was written",
    "ambiguous": (
        "the browser sent several different sessions; if Domain or Path was changed, say where it was: Cookie(formerly=[…])"
    ),
    "incomplete": "a chunk of it is missing; a proxy or a browser dropped one of the cookies",
    "future": "it was made more than 5 minutes ahead of this server's clock; set the clocks of all servers (NTP)",
    "revoked": "it was ended before its deadline",
    "ended": "it was ended or replaced less than a minute ago",
    "actor_ended": "in it somebody acted as this user, whose own session has ended",
    "other_subject": (
        "another system's cookie beside ours, which keep_until= leaves there, is of another user: both were ended; the user "
        "logs in once more"
    ),
    "unknown_id": (
        "no such session is stored: it has ended, the store was emptied or evicts, each worker has a MemoryStore, it is of "
        "another purpose or store, or a clock that is behind had it expire early"
    ),
    "expired": "its time is over, or the format is no longer read",
}


class Rejected(Event):
    """A cookie could not be used; the request got a new, empty session, or its device is not known (`KnownDevices`).

    Reasons: `malformed`, `unknown_key`, `tampered`, `wrong_purpose`, `too_large`, `ambiguous`, `incomplete`, `future`,
    `revoked`, `unknown_id` (no such session in the store), `ended` (it was ended less than a minute ago), `actor_ended` (the
    session of the one who acted in it has ended), …
    `detail` names what helps to find the cause, such as the id of a key that is not in the ring.
    """

    level = logging.WARNING
    reason: str
    cookie: str
    detail: str = ""

    @property
    def log_key(self) -> tuple[object, ...]:
        """Without the detail: a client that makes key ids up gets one line a minute."""
        return (type(self).__name__, self.reason, self.cookie)

    def _sentence(self) -> str:
        why = _REJECTED.get(self.reason, self.reason)
        detail = f" ({self.detail})" if self.detail else ""
        return f"cookie {self.cookie} was not used ({self.reason}): {why}{detail}"


class Conflict(Event):
    """Another request saved the session first.

    `outcome`: `merged` (both are kept), `overwritten` (both changed the declared keys `paths` in ways that cannot be joined, or
    the engine was told `last_write_wins`), `stale` (the request had read `paths`, which another changed: its save was not
    done), `dropped` (the session was ended or got a new id meanwhile: its save was not done, and no cookie set).
    """

    level = logging.INFO
    loudest = logging.WARNING
    id: str
    outcome: Literal["merged", "overwritten", "stale", "dropped"]
    paths: tuple[str, ...] = ()

    @property
    def severity(self) -> int:
        """A merge is everyday; a save that was not done is not."""
        return logging.WARNING if self.outcome in ("stale", "dropped") else logging.INFO

    def _sentence(self) -> str:
        keys = ", ".join(map(repr, self.paths))
        if self.outcome == "stale":
            return (
                f"a request's changes to session {self.id} were not saved: it had read {keys}, which a parallel request "
                "changed; docs/parallel-requests.md says what to declare with merge=, and when to use update()"
            )
        if self.outcome == "dropped":
            return f"a request's changes to session {self.id} were not saved: the session was ended or got a new id meanwhile"
        if self.outcome == "overwritten":
            return f"two parallel requests changed {keys or 'the same keys'} of session {self.id}: the later write was kept"
        return f"two parallel requests changed session {self.id}, and both are kept"


class Bound(Event):
    """A session was bound to a device: from now on it opens only where the browser proves the device's key.

    `thumbprint` names the key (RFC 7638), `binding_id` the binding, which stays while the session's id changes.
    """

    level = logging.INFO
    id: str
    binding_id: str
    thumbprint: str

    def _sentence(self) -> str:
        return f"session {self.id} is bound to the device with the key {self.thumbprint}"


_PROOFS = {
    "missing": "the request carried no proof: the browser was too early or has lost its key, or the cookie was copied",
    "script": "a browser sends its own without Origin and Sec-Fetch headers: this is a script, or a proxy adds them",
    "malformed": "it is no proof that a browser would send",
    "signature": "the key of the binding did not make it",
    "challenge": "it answers a challenge of another session, or one that is too old",
    "late": "a browser may bind a session in the first minutes after a login only",
    "bound": "the session is bound to a key already",
    "unknown": "its session does not open",
}


class ProofFailed(Event):
    """A device's key was not proved, and the session was not used, or not bound.

    Reasons: `missing` (a request without a proof), `script`, `malformed`, `signature`, `challenge`, `late`, `bound`,
    `unknown`. `id` is empty where no session is known.
    """

    level = logging.WARNING
    id: str
    reason: str

    def _sentence(self) -> str:
        which = f"session {self.id}" if self.id else "a session"
        return f"{which}: the device's key was not proved ({self.reason}): {_PROOFS.get(self.reason, self.reason)}"


class LateWrite(Event):
    """The session was changed after the headers had left, and the change could not be kept."""

    level = logging.WARNING
    id: str

    def _sentence(self) -> str:
        which = f"session {self.id}" if self.id else "a new session"
        return (
            f"{which} was changed after the response's headers had left, and the change is lost; change it before, or in a "
            "store with sessions.update()"
        )


class StoreFailed(Event):
    """The store could not be reached, or holds something under this id that cannot be decoded.

    `detail` names what helps to find the cause, such as the id of the key that a record was sealed under.
    """

    level = logging.ERROR
    operation: str
    error: str
    detail: str = ""

    @property
    def log_key(self) -> tuple[object, ...]:
        """Without the detail."""
        return (type(self).__name__, self.operation, self.error)

    def _sentence(self) -> str:
        if self.error == "wrong_record":
            return (
                "the store answered with another session's record, twice: nobody was logged in by it; look for a connection "
                "that is shared by processes or threads, or a proxy that mixes answers up"
            )
        if self.operation == "decode":
            detail = f" ({self.detail})" if self.detail else ""
            return (
                f"a stored session cannot be read ({self.error}): wrong seal= key, or another program writes to this "
                f"store{detail}"
            )
        if self.operation == "bind":
            return (
                f"the list of ended sessions could not be told that a session is bound to its device ({self.error}): it stays "
                "unbound, and a later request binds it; look at the list's channel"
            )
        return f"the session store failed to {self.operation} ({self.error}); requests that need it are answered 503"


class StoreHangs(Event):
    """A server of the store did not answer several times in a row, and is left alone; or it answers again."""

    level = logging.WARNING
    server: str
    hangs: bool

    def _sentence(self) -> str:
        if not self.hangs:
            return f"{self.server} no longer hangs"
        return (
            f"{self.server} did not answer several times in a row: calls fail at once, and one now and then tries again; see "
            "what it is busy with, and whether the network drops packets"
        )


class KeysStale(Event):
    """A key file cannot be read any more: the keys that were read before go on."""

    level = logging.ERROR
    file: str
    problem: str

    def _sentence(self) -> str:
        return (
            f"the session keys are those that were read before: {self.problem}; the file is read again as soon as that is put "
            "right, and until then no change of it takes effect"
        )


class TakenOver(Event):
    """The cookie of another system was good, and its data moved into a new session."""

    level = logging.INFO
    id: str
    format: str

    def _sentence(self) -> str:
        return f"a session of {self.format} was taken over as {self.id}"


class CacheControlReplaced(Event):
    """A response that sets a session cookie had a Cache-Control that allowed shared caches to keep it."""

    level = logging.WARNING
    before: str
    after: str

    def _sentence(self) -> str:
        return (
            f"a response that sets a session cookie said {self.before!r} to caches, and says {self.after!r} now: do not touch "
            "the session in responses that are for everybody"
        )


class CookiesLost(Event):
    """Users log in, one after another, and no request brings a session cookie back.

    `logins`: how many since one did, in this process.
    """

    level = logging.WARNING
    logins: int
    cookie: str

    def _sentence(self) -> str:
        return (
            f"{self.logins} users have logged in, and no request has brought the cookie {self.cookie} since: a proxy or a "
            "cache removes Cookie from requests or Set-Cookie from answers, or browsers drop it (Secure over http, a Domain "
            "that is not the site's); see what a browser is sent, and docs/behind-a-proxy.md"
        )


class CrossSite(Event):
    """Another site made the browser send a request that asks for a change: it was served without the session."""

    level = logging.WARNING
    origin: str
    host: str

    def _sentence(self) -> str:
        return (
            f"a request from {self.origin or 'another site'} to {self.host} was served without its session; if that is meant, "
            "name it in trusted_origins=, or the path in cross_site_paths="
        )


# --- the list of ended sessions


class ListStale(Event):
    """The channel of the list of ended sessions was not read for longer than `max_stale`.

    `age`: seconds since it was read to its end; -1: it never was. `policy`: what requests get meanwhile.
    """

    level = logging.ERROR
    age: int
    policy: Literal["closed", "open"]

    def _sentence(self) -> str:
        since = "was never read" if self.age < 0 else f"was not read for {self.age} seconds"
        meanwhile = "requests with a session get a 503" if self.policy == "closed" else "no session is renewed"
        return (
            f"the list of ended sessions {since}, and {meanwhile}; see that its channel can be reached and takes writes"
        )


class ListFresh(Event):
    """The channel of the list of ended sessions is read again, after it was stale. `age` as in `ListStale`."""

    level = logging.WARNING
    age: int

    def _sentence(self) -> str:
        return f"the list of ended sessions is read again, after {self.age} seconds"


class ChannelLost(Event):
    """The channel of the list of ended sessions has no identity: it was emptied, or never created.

    `restored`: this process had the whole list, and wrote it back.
    """

    level = logging.ERROR
    restored: bool

    def _sentence(self) -> str:
        if self.restored:
            return (
                "the channel of the list of ended sessions was emptied, and was written back whole; see who empties it"
            )
        return (
            "the channel of the list of ended sessions is empty; if it is new, create it: hardtack ended URL --create; if it "
            "was lost, add --all, since what was ended before would come back"
        )


_SKIPPED = {
    "torn": "they are incomplete",
    "foreign": "no key of ours fits: another application uses this channel, a key is missing, or somebody else can write to it",
    "version": "they are of a newer version",
    "ahead": "they are more than a minute ahead of the channel's clock",
    "origin": "the channel was made with another key, and nobody gets in until that is put right",
}


class EntriesSkipped(Event):
    """Entries of the list of ended sessions were not used.

    Reasons: `torn`, `foreign`, `version`, `ahead`; `origin`: the channel itself was made with a key that is not ours.
    """

    level = logging.ERROR
    reason: Literal["torn", "foreign", "version", "ahead", "origin"]
    count: int

    @property
    def log_key(self) -> tuple[object, ...]:
        """Without the number."""
        return (type(self).__name__, self.reason)

    def _sentence(self) -> str:
        return (
            f"{self.count} entries of the list of ended sessions were not used ({self.reason}): {_SKIPPED[self.reason]}"
        )


class EndsKept(Event):
    """Ends could not be appended, and are known in this process alone until the channel is back.

    `lost`: how many were given up, because too many were waiting.
    """

    level = logging.ERROR
    waiting: int
    lost: int = 0

    @property
    def log_key(self) -> tuple[object, ...]:
        """Without the number that waits."""
        return (type(self).__name__, self.lost)

    def _sentence(self) -> str:
        lost = f", {self.lost} were given up" if self.lost else ""
        return f"{self.waiting} ends wait for the channel of the list of ended sessions{lost}; see that it takes writes"


class LimitsRaised(Event):
    """Sessions may live longer than the list remembered: those not seen within the old limits were ended, once.

    Seconds that a copy can live: `before` and `after`.
    """

    level = logging.WARNING
    before: int
    after: int

    def _sentence(self) -> str:
        return (
            f"sessions may live {self.after} seconds now, and the list of ended sessions remembered {self.before}: those not "
            "seen within the old limits were ended, once"
        )


def _copies(old_still_valid: bool) -> str:
    return "; copies of the old cookie stay valid to its deadline" if old_still_valid else ""


Listener = Callable[[Event], object]

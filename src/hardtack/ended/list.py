"""EndedSessions: what was ended before its deadline, followed in memory by every process and asked without a query."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from hardtack.ended.channels import check_url, open_channel
from hardtack.ended.entries import (
    ID,
    MAX_SPARED,
    NOBODY,
    All,
    Codec,
    Entry,
    Limits,
    Provider,
    Session,
    Skipped,
    SkipReason,
    Subject,
)
from hardtack.ended.follower import SECOND, Follower, clock
from hardtack.ended.protocol import Channel
from hardtack.ended.runner import Runner
from hardtack.ended.table import BIT_OF, Table, bound_successor, claim_name, claim_of, successor_in
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.events import Event, logger
from hardtack.lifetime import seconds
from hardtack.tokens.keys import Key, Keyring, as_keyring

if TYPE_CHECKING:
    from hardtack.ended.snapshot import Snapshots

PATIENCE: Final = 1.0
"""Seconds for which a request that finds the list stale waits for it."""
_MAX_HASHES: Final = 10_000
_T = TypeVar("_T")


class Ended(NamedTuple):
    """That a session was ended.

    Attributes:
        kind: `changed`: it goes on under another id; `ended`.
        cause: what the entry names: this `session`, all of the `subject` (or of its actor), of the `provider`, or `all`.
        at: when, by the channel's clock, in seconds since 1970.
        age: seconds since.
    """

    kind: Literal["changed", "ended"]
    cause: Literal["session", "subject", "provider", "all"]
    at: float
    age: float


class Stats(NamedTuple):
    """What the list of this process is like, for a page of metrics.

    Attributes:
        sessions, subjects, providers: how many entries of each kind are in memory.
        age: seconds since the channel was read to its end; None: it never was.
        waiting: entries that could not be appended yet.
        life: seconds for which entries are kept; 0: nobody told limits yet.
    """

    sessions: int
    subjects: int
    providers: int
    age: float | None
    waiting: int
    life: int


class EndedSessions:
    """The list of ended sessions of one manager.

    Args:
        open_channel: makes the channel for a purpose; called again in each forked process.
        key: the key or keyring of the entries. None: the engine's.
        max_stale: for how long a process that cannot read the channel goes on. Seconds, a timedelta, or text; 5 s or more.
        on_stale: what requests with a session get then. `closed`: `StoreUnavailable`, the cookie is kept. `open`: they go on,
            and nothing is renewed meanwhile, so that no copy outlives the entry that ended it.
        snapshots: where the list is kept for the next process of this machine, from some 100,000 entries on; `None`: below
            the system's directory for temporary files.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        open_channel: Callable[[str], Channel],
        *,
        key: Keyring | Key | None = None,
        max_stale: str | int | timedelta = "1 minute",
        on_stale: Literal["closed", "open"] = "closed",
        snapshots: str | os.PathLike[str] | None = None,
    ) -> None:
        if not callable(open_channel):
            raise ConfigError(
                "EndedSessions takes a function that opens a channel; with a URL it is EndedSessions.from_url"
            )
        self._max_stale = seconds(max_stale, "max_stale")
        if self._max_stale < 5:
            message = (
                f"max_stale={self._max_stale} is too short: a restarted server is away for some seconds; 5 or more"
            )
            raise ConfigError(message)
        if on_stale not in ("closed", "open"):
            message = f"on_stale={on_stale!r} must be 'closed' or 'open'"
            raise ConfigError(message)
        self._open_channel = open_channel
        self._key = None if key is None else as_keyring(key)
        self._on_stale: Literal["closed", "open"] = on_stale
        self._directory = snapshots
        self._table = Table()
        self._codec: Codec | None = None
        self._purpose = ""
        self._name = ""  # of the channel: a snapshot's position means something on the same one only
        self._hashes: dict[str, tuple[bytes, ...]] = {}
        self._hashed_under: tuple[Key, ...] = ()
        self._creating = threading.Lock()
        self._parts: tuple[Follower, Runner] | None = None
        self._fresh: Follower | None = None  # the follower, once its thread runs
        self._parent: Follower | None = None
        self._taking: dict[bytes, object] = {}
        self._limits: Limits | None = None
        self._emit_event: Callable[[Event], object] = lambda event: logger.log(event.level, "%s", event)
        _lists.add(self)

    @classmethod
    def from_url(
        cls,
        url: str,
        key: Keyring | Key | None = None,
        max_stale: str | int | timedelta = "1 minute",
        on_stale: Literal["closed", "open"] = "closed",
        snapshots: str | os.PathLike[str] | None = None,
    ) -> EndedSessions:
        """The list on the channel of a URL: `redis://`, `postgresql+psycopg://`, `file:///`, `memory://` …

        Raises `ConfigError`.
        """
        check_url(url)

        def of_url(purpose: str) -> Channel:
            return open_channel(url, purpose)

        ended = cls(of_url, key=key, max_stale=max_stale, on_stale=on_stale, snapshots=snapshots)
        ended._name = url
        return ended

    @property
    def keys(self) -> Keyring | None:
        """The ring that the list was given; None: it takes that of the manager's engine."""
        return self._key

    @property
    def max_stale(self) -> int:
        """Seconds for which a process that cannot read the channel goes on."""
        return self._max_stale

    @property
    def on_stale(self) -> Literal["closed", "open"]:
        """What requests with a session get where the list is stale."""
        return self._on_stale

    @property
    def life(self) -> int:
        """Seconds for which this application's entries are kept at least; 0: it has told no limits."""
        return 0 if self._limits is None else self._limits.life

    # --- With a manager

    def bind(
        self,
        keys: Keyring | Key | None,
        purpose: str,
        lifetime: int | None,
        idle_timeout: int | None,
        emit: Callable[[Event], object] | None = None,
    ) -> None:
        """Belong to a manager: its engine's keys, its purpose, its limits in seconds. Connects to nothing.

        `lifetime=None`: nothing lives here (a command). Raises `ConfigError`: no keys, or another manager's list.
        """
        ring = self._key if self._key is not None else None if keys is None else as_keyring(keys)
        if ring is None:
            raise ConfigError(
                "the list of ended sessions needs a key, and the engine has none: EndedSessions.from_url(url, key=…)"
            )
        if self._codec is None:
            self._codec, self._purpose = Codec(ring, purpose), purpose
        elif purpose != self._purpose or not _same(ring, self._codec.keys):
            raise ConfigError("this list of ended sessions belongs to another manager; give each its own EndedSessions")
        if emit is not None:
            self._emit_event = emit
        if lifetime is not None:
            self.tell_limits(lifetime, idle_timeout)

    def tell_limits(self, lifetime: int, idle_timeout: int | None) -> None:
        """For how long copies of sessions can live here, in seconds; the longer, where it is said twice.

        The channel is told before the list counts as fresh. Where others knew shorter limits, what could come back is ended.
        """
        told = Limits(0, lifetime, idle_timeout or 0, self._max_stale)
        if self._limits is None or told.life > self._limits.life:
            self._limits = told
            if self._parts is not None:
                self._parts[0].tell(told)

    def _running(self) -> tuple[Follower, Runner]:
        """The follower and its runner, made at first need. Raises `StoreUnavailable` where a channel cannot be opened yet."""
        with self._creating:
            if self._parts is None:
                self._parts = self._make()
            return self._parts

    def _make(self) -> tuple[Follower, Runner]:
        codec = self._get_codec()
        channel = self._open_channel(self._purpose)
        snapshots: Snapshots | None = None
        if not channel.alone and hasattr(os, "getuid"):
            from hardtack.ended.snapshot import Snapshots

            key = codec.keys.current.mac(b"hardtack/1 ended snapshot")
            snapshots = Snapshots(self._directory, key, f"{self._name}\0{self._purpose}")
        follower = Follower(channel, codec, self._table, self._max_stale, self._emit, snapshots)
        follower.own = self._limits
        if self._parent is not None:
            follower.inherit(self._parent)
        return follower, Runner(follower, self._max_stale, self._on_stale, self._emit)

    def _get_codec(self) -> Codec:
        if self._codec is None:
            raise ConfigError("this list of ended sessions has no manager yet: SessionManager(…, ended=…), or bind(…)")
        return self._codec

    def _followed(self) -> tuple[Follower, Runner]:
        """The same, and the thread runs. Raises `ConfigError` where none can."""
        follower, runner = self._running()
        runner.start()
        self._fresh = follower
        return follower, runner

    def _emit(self, event: Event) -> None:
        try:
            self._emit_event(event)
        except Exception:
            logger.exception("the listener of the list of ended sessions failed")

    def start(self, timeout: float = 30.0) -> None:
        """Follow the channel, and wait until it was read: for those who want it before the first request.

        Raises `StoreUnavailable` if it cannot be within `timeout` seconds, and `ConfigError` where no thread can run.
        """
        follower, runner = self._followed()
        if not runner.wait(lambda: follower.fresh_at > 0, timeout):
            raise runner.failure or StoreUnavailable("the list of ended sessions could not be read in time")

    def close(self) -> None:
        """Stop following, and close the channel. The list may be started again."""
        with self._creating:
            parts, self._parts, self._fresh = self._parts, None, None
        if parts is not None:
            parts[1].stop()
            parts[0].channel.close()

    def _leave_to_parent(self) -> None:
        """In the child of a fork: locks may be held by threads that are not here, and connections are the parent's."""
        if self._parts is not None:
            _inherited.append(self._parts)
            self._parent = self._parts[0]
        self._parts = self._fresh = None
        self._taking = {}
        self._creating = threading.Lock()

    # --- Asking

    @property
    def is_fresh(self) -> bool:
        """Whether what `check` answers is not older than `max_stale`, without waiting for anything."""
        fresh = self._fresh
        return fresh is not None and clock() - fresh.fresh_at <= self._max_stale

    def ensure_fresh(self) -> bool:
        """True: what `check` answers is not older than `max_stale`. False: it is, and `on_stale` is `open`: renew nothing.

        A stale list is waited for, for up to a second. Raises `StoreUnavailable` where it stays stale and `on_stale` is
        `closed`.
        """
        return self.is_fresh or self._refresh()

    def _refresh(self) -> bool:
        failure: StoreUnavailable | None
        try:
            follower, runner = self._followed()
            if runner.wait(lambda: clock() - follower.fresh_at <= self._max_stale, PATIENCE):
                return True
            failure = runner.failure
        except StoreUnavailable as error:
            failure = error
        if self._on_stale == "open":
            return False
        message = f"the list of ended sessions is stale: {failure or 'it is still being read'}"
        raise StoreUnavailable(message)

    def check(
        self,
        id: bytes,
        subject: str | None = None,
        actor: str | None = None,
        drawn: int = 0,
        sid: tuple[str, str] | None = None,
        seen: int | None = None,
    ) -> Ended | None:
        """Whether a session was ended. Takes no lock and asks nobody; see `ensure_fresh` first.

        Args:
            id: the session's id, of which the first 8 bytes count.
            subject: who it belongs to.
            actor: who acts as the subject.
            drawn: when the id was drawn, as `draw_time` returned it; 0, older than everything, where it does not say.
            sid: issuer and `sid` of the login at an OpenID provider.
            seen: when the session was renewed, in seconds since 1970; None: when its id was drawn.
        """
        table = self._table
        bits = table.sessions.bits[id[0]]
        if bits[(id[1] | id[2] << 8) & (len(bits) - 1)] & BIT_OF[id[3]]:
            found = self._check_id(id[:ID], subject, actor)
            if found is not None:
                return found
        # Nearly every request comes here, and nearly every one goes without a look at any entry.
        if not table.named:
            return None
        if drawn < table.all_drawn:
            return self._ended("ended", "all", table.all_drawn)
        if table.all_seen and (drawn if seen is None else seen * SECOND) < table.all_seen:
            return self._ended("ended", "all", table.all_seen)
        found = None if subject is None else self._check_name(subject, id, drawn)
        if found is None and actor is not None:
            found = self._check_name(actor, id, drawn)
        if found is None and sid is not None:
            found = self._check_provider(sid, drawn)
        return found

    def _check_id(self, id: bytes, subject: str | None, actor: str | None) -> Ended | None:
        best = None
        for owner, changed, at in self._table.find_session(id):
            if owner == NOBODY[: len(owner)] or self._is_one_of(owner, subject, actor):
                best = self._ended("changed" if changed else "ended", "session", at * SECOND)
                if not changed:
                    break
        return best

    def _is_one_of(self, owner: bytes, *names: str | None) -> bool:
        return any(each.startswith(owner) for name in names if name is not None for each in self._hashes_of(name))

    def _check_name(self, name: str, id: bytes, drawn: int) -> Ended | None:
        codec = self._codec
        # As `_hashes_of` does, without the call: this is asked for each request once any user's sessions were ended.
        known = self._hashes.get(name) if codec is not None and codec.all_keys is self._hashed_under else None
        subjects = self._table.subjects
        for who in known or self._hashes_of(name):
            bits = subjects.bits[who[0]]
            if bits[(who[1] | who[2] << 8) & (len(bits) - 1)] & BIT_OF[who[3]]:  # hardly any user
                at = self._table.find_subject(who, id[:ID], drawn)
                if at is not None:
                    return self._ended("ended", "subject", at)
        return None

    def _check_provider(self, sid: tuple[str, str], drawn: int) -> Ended | None:
        for login in self._get_codec().provider_hashes(*sid):
            at = self._table.find_provider(login, drawn)
            if at is not None:
                return self._ended("ended", "provider", at)
        return None

    def _ended(self, kind: Any, cause: Any, at: int) -> Ended:
        now = self._parts[0].estimate() if self._parts is not None else at
        return Ended(kind, cause, at / SECOND, max(now - at, 0) / SECOND)

    def _hashes_of(self, name: str) -> tuple[bytes, ...]:
        """The hashes of a name under all keys, remembered: they take longer than all else."""
        codec = self._get_codec()
        if codec.all_keys is self._hashed_under:
            hashes = self._hashes.get(name)
            if hashes is not None:
                return hashes
        if codec.all_keys is not self._hashed_under or len(self._hashes) >= _MAX_HASHES:
            self._hashes, self._hashed_under = {}, codec.all_keys
        hashes = self._hashes[name] = codec.subject_hashes(name)
        return hashes

    def draw_after(self, previous: int, subject: str | None = None, actor: str | None = None) -> int:
        """A time for the new id of a session that goes on (`regenerate`, `confirm`), without asking the channel.

        It is after all ends of these two, and of everybody, that were read here and spare the session. Not after any
        others, nor after this process's clock: an end that was not read yet must find the new id drawn before it. Call it
        *before* the last `check` of the session: an entry that comes between the two then ends it, and is not passed by.
        """
        latest = max(previous + 1, self._table.all_drawn)
        for name in (subject, actor) if self._table.named else ():
            for who in () if name is None else self._hashes_of(name):
                latest = max(latest, self._table.latest_of_subject(who))
        return latest

    def draw_beside(self, previous: int, id: bytes, subject: str | None = None, actor: str | None = None) -> int:
        """A time for an id that is derived of another: after what spares that one, and no other end. It may be asked again."""
        latest = previous + 1
        for name in (subject, actor) if self._table.named else ():
            for who in () if name is None else self._hashes_of(name):
                latest = max(latest, self._table.latest_that_spares(who, _id(id)))
        return latest

    def estimate(self) -> int:
        """The channel's time in microseconds, as far as it is known without asking: for the id of an anonymous session."""
        parts = self._parts
        return time.time_ns() // 1000 if parts is None else parts[0].estimate()

    def draw_time(self, previous: int = 0) -> int:
        """A time for the new id of a login, in microseconds: the channel's, after all that was appended before this call.

        At least `previous` plus one. Reads the channel to its end. Where that cannot be done: by what was read last, if the
        list is not stale, or `on_stale` is `open`; else raises `StoreUnavailable`.
        """
        try:
            follower, runner = self._followed()
            runner.wait(lambda: follower.fresh_at > 0, PATIENCE)
            if follower.fresh_at < 0:
                raise runner.failure or StoreUnavailable("the list of ended sessions is still being read")
            follower.read_to_end()
        except StoreUnavailable:
            self.ensure_fresh()
        follower = self._running()[0]
        return max(follower.estimate(), follower.draw_after(previous))

    # --- Ending

    def end_session(
        self,
        id: bytes,
        kind: Literal["changed", "ended"] = "ended",
        subject: str | None = None,
        brief: bool = False,
        successor: bytes = b"",
    ) -> None:
        """End one id; with a subject, only if the session is hers, or of one who acts as her.

        `brief`: the id that an anonymous session had before its login; it is kept for `max_stale` and two minutes.
        `successor`: the id under which a changed one goes on, which an end of this one, before or after, ends too. Raises
        `StoreUnavailable` where the channel could not be told: this process knows all the same, and tells it later.
        """
        if kind not in ("changed", "ended"):
            message = f"kind={kind!r} must be 'changed' or 'ended'"
            raise ValueError(message)
        owner = NOBODY if subject is None else self._get_codec().hash_subject(subject)
        entries = [Session(0, _id(id), owner, kind == "changed", brief)]
        if successor:
            entries.append(Session(0, claim_name(_id(id)), claim_of(successor, binds=False), changed=True))
        self._append(*entries)

    def take(self, id: bytes) -> bool:
        """Take what can be taken once, by an id of its own: True for the first who takes it, as far as is known here.

        Of two in one process one gets it; in several processes both may, until they have read of each other. Raises as
        `end_session`: it is taken then, and was not told.
        """
        short, mine = _id(id), object()
        if self._taking.setdefault(short, mine) is not mine:
            return False
        try:
            if self.is_taken(short):
                return False
            self._append(Session(0, short))
        finally:
            del self._taking[short]
        return True

    def is_taken(self, id: bytes) -> bool:
        """Whether something that can be taken once is known to be taken."""
        return bool(self._table.find_session(_id(id)))

    def claim(self, id: bytes, successor: bytes, *, binds: bool = True) -> bool:
        """End an id whose session goes on under another; whether nobody has claimed it for a third one before.

        `binds`: because the session is bound to the device; else it got another id, as by `end_session(…, successor=…)`.
        Of servers that claim an id for different ones at once, one gets True, and always the same. Appends, and reads the
        channel to its end. Raises `StoreUnavailable`: the id has not ended, as far as is known here, and may be claimed again.
        """
        follower, runner = self._followed()
        if runner.failure is not None:  # nobody waits for a channel that is known to be away
            raise runner.failure
        # The claim first: an id that has ended, and of which nobody knows as what it goes on, would be nobody's.
        mine, name = claim_of(successor, binds=binds), claim_name(_id(id))
        follower.claim([Session(0, name, mine, changed=True), Session(0, _id(id), changed=True)])
        first = self._table.find_claim(name)
        if not first:
            raise StoreUnavailable("the list of ended sessions has lost what was just appended to it")
        return mine.startswith(first)

    def successor(self, id: bytes, *, bound: bool = False) -> bytes:
        """The first 9 bytes of the id under which a session goes on, where that is known; else nothing.

        `bound`: only where it does because it was bound to the device.
        """
        found = self._table.find_claim(claim_name(_id(id)))
        return bound_successor(found) if bound else successor_in(found)

    def end_subject(self, subject: str, keep: bytes | Iterable[bytes] = ()) -> None:
        """End all sessions of a user, and of those who act as her, but for the ids in `keep`. Raises as `end_session`."""
        spared = tuple(map(_id, [keep] if isinstance(keep, bytes) else keep))
        if len(spared) > MAX_SPARED:
            message = f"keep has {len(spared)} ids, and {MAX_SPARED} are allowed"
            raise ValueError(message)
        self._append(Subject(0, self._get_codec().hash_subject(subject), spared))

    def end_provider(self, issuer: str, sid: str) -> None:
        """End the sessions that a login with this `sid` began (OpenID Connect back-channel logout). Raises as `end_session`."""
        self._append(Provider(0, self._get_codec().hash_provider(issuer, sid)))

    def end_everything(self) -> None:
        """End everybody's sessions. Raises as `end_session`."""
        self._append(All(0))

    def _append(self, *entries: Entry) -> None:
        self._running()[0].append(entries)

    def create(self) -> bool:
        """Create the channel, once, before the first deploy: an empty one is taken for lost. False: it was created before."""
        return self._running()[0].create()

    def new_channel(self) -> Channel:
        """A channel of its own to the list, for who looks at that by itself, and closes it.

        Raises `ConfigError`, and `StoreUnavailable` where it cannot be opened yet.
        """
        return self._open_channel(self._purpose)

    def unusable(self, entries: Iterable[bytes]) -> dict[SkipReason, int]:
        """How many of these entries could not be used here, by the reason."""
        codec, found = self._get_codec(), dict[SkipReason, int]()
        for raw in entries:
            try:
                codec.open(raw)
            except Skipped as skipped:
                found[skipped.reason] = found.get(skipped.reason, 0) + 1
        return found

    def stats(self) -> Stats:
        """What the list of this process is like."""
        table, follower = self._table, self._fresh
        never = follower is None or follower.fresh_at < 0
        return Stats(
            len(table.sessions),
            len(table.subjects),
            len(table.providers),
            None if follower is None or never else clock() - follower.fresh_at,
            0 if follower is None else follower.waiting,
            table.life,
        )

    # --- The same for async code: what may wait for the channel runs in a worker thread

    async def astart(self, timeout: float = 30.0) -> None:
        """`start`."""
        await _in_thread(lambda: self.start(timeout))

    async def aensure_fresh(self) -> bool:
        """`ensure_fresh`."""
        return self.is_fresh or await _in_thread(self._refresh)

    async def adraw_time(self, previous: int = 0) -> int:
        """`draw_time`."""
        return await _in_thread(lambda: self.draw_time(previous))

    async def aend_session(
        self,
        id: bytes,
        kind: Literal["changed", "ended"] = "ended",
        subject: str | None = None,
        brief: bool = False,
        successor: bytes = b"",
    ) -> None:
        """`end_session`."""
        await _in_thread(lambda: self.end_session(id, kind, subject, brief, successor))

    async def aend_subject(self, subject: str, keep: bytes | Iterable[bytes] = ()) -> None:
        """`end_subject`."""
        await _in_thread(lambda: self.end_subject(subject, keep))

    async def aend_provider(self, issuer: str, sid: str) -> None:
        """`end_provider`."""
        await _in_thread(lambda: self.end_provider(issuer, sid))

    async def aend_everything(self) -> None:
        """`end_everything`."""
        await _in_thread(self.end_everything)

    async def aclose(self) -> None:
        """`close`."""
        await _in_thread(self.close)


async def _in_thread(function: Callable[[], _T]) -> _T:
    import anyio.to_thread

    # An end happens whatever becomes of the request: the thread goes on after a cancellation.
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


def _same(one: Keyring, other: Keyring) -> bool:
    return one is other or (one.current == other.current and set(one) == set(other))


def _id(id: bytes) -> bytes:
    if not isinstance(id, bytes) or len(id) < ID:
        message = f"an id is the session's raw id, of {ID} bytes or more"
        raise ValueError(message)
    return id[:ID]


_lists: weakref.WeakSet[EndedSessions] = weakref.WeakSet()
# A connection that is closed here would say goodbye in the parent's name: so those that came over a fork are kept.
_inherited: list[Any] = []


def _leave_to_parent() -> None:
    for each in list(_lists):
        each._leave_to_parent()


getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_leave_to_parent)

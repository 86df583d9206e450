"""How the store engine saves: one flow for each kind of saving, and what each does where another request was faster.

`docs/parallel-requests.md` has the rules, each with what goes wrong without it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

from hardtack import values
from hardtack.engines.store.tombstones import tombstone
from hardtack.errors import SessionConflict, SessionTooLarge, StoreFull, StoreUnavailable
from hardtack.flow import Delete, Flow, Put, Rename
from hardtack.lifetime import absolute_deadline
from hardtack.merge import Declared, Stale, assigned_in, join_options, merge
from hardtack.protocols import (
    Context,
    Dead,
    Entry,
    Held,
    Kind,
    Policy,
    Saved,
    Saving,
    Tombstone,
    Version,
    VersionConflict,
    hold,
)
from hardtack.record import AFTER, MOVED, Record

if TYPE_CHECKING:
    from hardtack.engines.store.engine import StoreEngine

_UPDATE: Final = Kind.UPDATE  # looking a member up in its Enum takes as long as a call, in Python 3.11

MAX_ATTEMPTS: Final = 16
"""Lost races after which a save is a conflict: each costs a merge, and an attacker can have many requests at once."""


def save(engine: StoreEngine, saving: Saving, context: Context, policy: Policy) -> Flow[Saved]:
    """Carry out a saving. Raises `StoreUnavailable`, `SessionConflict`, `SessionTooLarge`, `UnsupportedValue`."""
    work = _Work(engine, saving, context, policy)
    if saving.kind is _UPDATE:
        return work.update()
    if saving.held.moved is not None and saving.held.version is None and saving.old is not None:
        return work.settle_first()
    return work.carry_out()


class _Work:
    """One saving in progress."""

    __slots__ = ("conflict", "context", "engine", "held", "mine", "overwritten", "policy", "saving")

    def __init__(self, engine: StoreEngine, saving: Saving, context: Context, policy: Policy) -> None:
        self.engine = engine
        self.saving = saving
        self.held = saving.held
        self.mine = saving.new  # as the request left it, whatever is laid under it meanwhile
        self.context = context
        self.policy = policy
        self.conflict: Literal["", "merged", "overwritten"] = ""
        self.overwritten: tuple[str, ...] = ()

    def carry_out(self) -> Flow[Saved]:
        """By its kind."""
        match self.saving.kind:
            case Kind.EMPTY:
                return self.update()
            case Kind.CREATE:
                return self.create()
            case Kind.MOVE:
                return self.move()
            case Kind.REPLACE:
                return self.replace()
            case _:
                return self.end()

    # --- the session comes from another engine of ours

    def settle_first(self) -> Flow[Saved]:
        """It is to end, or to get another id, and is not stored here yet: a parallel request that stores it must find that."""
        saving, old = self.saving, self.saving.old
        assert old is not None
        try:
            yield from self.engine.store_moved(self.held, old, self.context.now, self.policy)
        except VersionConflict:  # one has stored it, and may have changed it
            if saving.kind is Kind.MOVE:
                reconciled = yield from self.reconcile(self.engine.stored_key(self.held, old.id))
                if type(reconciled) is Saved:
                    return reconciled
                self.held.version = reconciled
        except StoreFull:
            if saving.kind is Kind.MOVE:
                raise
        return (yield from self.carry_out())

    # --- the session goes on under its id

    def update(self) -> Flow[Saved]:
        """One compare-and-set."""
        saving, held, engine = self.saving, self.held, self.engine
        old = saving.old
        assert old is not None
        key = engine.stored_key(held, old.id)
        version = held.version
        known = self.known_stale()
        if known and not saving.renewal:
            return (yield from self.stale(key, known))
        for _ in range(MAX_ATTEMPTS):
            new = saving.new
            assert new is not None
            try:
                version = yield engine.put(key, new, saving.expires_at, version, self.policy, self.allowed())
            except VersionConflict:
                reconciled = yield from self.reconcile(key)
                if type(reconciled) is Saved:
                    return reconciled
                version = reconciled
                continue
            except SessionTooLarge as error:
                raise self.too_large(error) from None
            sends = held.resend or (saving.max_age is not None and new.seen != old.seen)
            return self.saved(version, key, sends=sends)
        raise _outrun()

    def allowed(self) -> int | None:
        """Bytes that the record may have: one whose data is no larger than it was is never refused.

        What hardtack itself keeps beside the data (whose it is, a token, a label) is no fault of the application's.
        """
        saving = self.saving
        if saving.max_size is None or saving.renewal:
            return None
        old, new = saving.old, saving.new
        if old is None or new is None or old.plain is None or len(old.plain) < saving.max_size // 2:
            return saving.max_size
        return max(saving.max_size, len(old.plain) + max(0, new.overhead() - old.overhead()))

    def allowed_for(self, record: Record | None) -> int | None:
        """The same for a record that is marked."""
        allowed = self.allowed()
        return allowed if allowed is None or record is self.saving.new else allowed + _MARK

    def too_large(self, error: SessionTooLarge) -> Exception:
        """A merge that outgrows the limit is a conflict: this request's own data is not too large."""
        if not self.conflict:
            return error
        return SessionConflict("the changes of parallel requests together are more than max_size allows")

    # --- a session begins

    def create(self) -> Flow[Saved]:
        """A session begins. The one that a login left behind under a dead id ends, if it is of the same user."""
        saving, held, engine = self.saving, self.held, self.engine
        new = saving.new
        assert new is not None
        if saving.login and held.dead is not None:
            yield from self.end_successor(held.dead, new.subject)
        key = engine.key(held.secret, new.id)
        version: Version | None = None
        for _ in range(MAX_ATTEMPTS):
            assert saving.new is not None
            try:
                version = yield engine.put(key, saving.new, saving.expires_at, version, self.policy, self.allowed())
            except VersionConflict:
                if saving.base is None:
                    # 32 random bytes do not meet twice: the store answered for a write that it had done already.
                    raise StoreUnavailable("the store has a session under an id that was just drawn") from None
                # It takes the place of another system's session, and a parallel request was faster.
                reconciled = yield from self.reconcile(key)
                if type(reconciled) is Saved:
                    return reconciled
                version = reconciled
                continue
            return self.saved(version, key, sends=True, began=True)
        raise _outrun()

    def begin(self, record: Record, key: str) -> Flow[Version]:
        """Store a record under an id that was just drawn."""
        try:
            return (
                yield self.engine.put(key, record, self.saving.expires_at, None, self.policy, self.allowed_for(record))
            )
        except VersionConflict:
            raise StoreUnavailable("the store has a session under an id that was just drawn") from None

    # --- it goes on under a new id

    def move(self) -> Flow[Saved]:
        """The session goes on under a new id, and the old one is remembered with where it went."""
        saving, held, engine = self.saving, self.held, self.engine
        old, new = saving.old, saving.new
        assert old is not None
        assert new is not None
        old_key = engine.stored_key(held, old.id)
        new_key = engine.key(held.secret, new.id)
        grave = tombstone(
            old.id,
            self.context.now,
            changed=True,
            successor=b"" if engine.native else new.id,
            until=_until(old, self.policy),
        )
        version = held.version
        known = self.known_stale()
        if known:
            return (yield from self.stale(old_key, known))
        for _ in range(MAX_ATTEMPTS):
            try:
                version = yield from self.rename(old_key, new_key, grave, version)
            except VersionConflict:
                reconciled = yield from self.reconcile(old_key)
                if type(reconciled) is Saved:
                    return reconciled
                version = reconciled
                continue
            except SessionTooLarge as error:
                raise self.too_large(error) from None
            return self.saved(version, new_key, sends=True)
        raise _outrun()

    def rename(self, old_key: str, new_key: str, grave: Record, version: Version) -> Flow[Version]:
        """Move the record in one step, or, where the store cannot, in two. Raises `VersionConflict`."""
        saving, engine, policy = self.saving, self.engine, self.policy
        assert saving.new is not None
        new = self.marked() if engine.traits.renames_in_steps else saving.new
        put = engine.put(new_key, new, saving.expires_at, None, policy, self.allowed_for(new))
        bury = engine.bury(old_key, grave, version, policy)
        if engine.traits.renames:
            extra: dict[str, Any] = {}
            if engine.traits.leaves_tombstone:
                extra["tombstone"] = Tombstone(bury.data, bury.expires_at)
            try:
                moved = yield Rename(old_key, new_key, put.data, put.expires_at, version, put.subject, extra)
            except NotImplementedError:
                pass
            else:
                if not extra:
                    yield from self.remember(bury)
                return moved
        # Create under the new key, then end the old under its version. A crash between the two leaves the old session as
        # it was, and a copy under a key that nobody knows. Whatever else comes between them takes the copy away: it would
        # stand in the list of the user's sessions, and count.
        created: Version | None = None
        try:
            created = yield from self.begin(self.marked(), new_key)
            yield from self.bury(bury)
        except GeneratorExit:  # nobody carries out what is asked for any more
            raise
        except BaseException as error:
            if created is not None or not isinstance(error, Exception):  # cancelled, perhaps while it was being created
                with suppress(StoreUnavailable):
                    yield Delete(new_key)
            raise
        return created

    def marked(self) -> Record:
        """The record to store under the new id, which says which one it had: both are found for a moment, and listed once."""
        old, new = self.saving.old, self.saving.new
        assert old is not None
        assert new is not None
        if not self.engine.traits.finds or self.engine.native is not None or old.subject != new.subject:
            return new
        return new.with_changes(options={**new.options, AFTER: [values.encode_bytes(old.id)]})

    def remember(self, bury: Put) -> Flow[None]:
        """Leave a tombstone where nothing stands any more."""
        with suppress(VersionConflict, StoreFull):  # somebody else has ended it as well; or it is forgotten at once
            yield bury._replace(if_version=None)

    def bury(self, bury: Put) -> Flow[None]:
        """Put a tombstone in the place of a record; where the store is full, delete the record."""
        try:
            yield bury
        except StoreFull:
            yield Delete(bury.key, bury.if_version)

    # --- somebody else logs in

    def replace(self) -> Flow[Saved]:
        """The session of the other ends, under the id that this request holds and no other, and a new one begins.

        The id counts as changed: a late background request must not take the place of the login's cookie. Never its
        successor: whoever holds a stolen old id could end the victim's session by logging in as himself.
        """
        saving = self.saving
        old = saving.old
        assert old is not None
        ended = yield from self.end_one(old.id, self.engine.stored_key(self.held, old.id), changed=True)
        return (yield from self.after_end([old.id] if ended else []))

    # --- the handler ended it

    def end(self) -> Flow[Saved]:
        """The session ends, whatever others save meanwhile, and under a new id that it got meanwhile.

        Unless this request logs in afterwards: then it may be that very login that was repeated.
        """
        saving, held = self.saving, self.held
        ended: list[bytes] = []
        dead = held.dead
        if saving.old is not None:
            key = self.engine.stored_key(held, saving.old.id)
            if saving.login or not saving.follows:
                found = yield from self.end_one(saving.old.id, key, changed=True)
                ended = [saving.old.id] if found is True else []
                dead = found if isinstance(found, Dead) else None
            else:
                ended = yield from self.end_chain(saving.old.id, key)
        elif dead is not None and not saving.login and saving.follows:
            ended = yield from self.end_chain(dead.successor, values.encode_bytes(dead.successor))
        elif held.adopted:
            ended = yield from self.end_adopted(held.adopted)
        if saving.login and dead is not None and saving.new is not None:
            yield from self.end_successor(dead, saving.new.subject)
        if not saving.follows and saving.new is None and dead is not None and dead.changed:
            # The browser has got, or is about to get, the cookie of what goes on: it is not to be cleared.
            return Saved(held=Held(dead=dead), record=None, lines=[])
        return (yield from self.after_end(ended))

    def end_adopted(self, raw_key: bytes) -> Flow[list[bytes]]:
        """End another system's session that this request was the first to bring: a parallel one must not store it."""
        key = values.encode_bytes(raw_key)
        grave = tombstone(raw_key, self.context.now, changed=self.saving.new is not None)
        try:
            yield self.engine.bury(key, grave, None, self.policy)
        except VersionConflict:  # it has, meanwhile
            return (yield from self.end_chain(raw_key, key))
        except StoreFull:
            pass
        return []

    def end_chain(self, raw_key: bytes, key: str) -> Flow[list[bytes]]:
        """End a session, under whichever id it has by now; the raw ids that were ended."""
        seen: set[bytes] = set()
        while raw_key and raw_key not in seen:
            seen.add(raw_key)
            found = yield from self.end_one(raw_key, key, changed=self.saving.new is not None)
            if found is True:
                return [raw_key]
            if not isinstance(found, Dead):
                break
            raw_key = found.successor
            key = values.encode_bytes(raw_key)
        return []

    def end_one(self, raw_key: bytes, key: str, *, changed: bool, successor: bytes = b"") -> Flow[bool | Dead]:
        """End what is stored under one id. True if it was; what is remembered of it where it was dead already; else False."""
        engine = self.engine
        old = self.saving.old
        record = old if old is not None and old.id == raw_key else None
        version = None if record is None else self.held.version
        for _ in range(MAX_ATTEMPTS):
            if version is None:
                look, entry = yield from engine.ask(raw_key, key, self.context.now, self.policy)
                if look.record is None or entry is None:
                    return look.dead or False
                version, record = entry.version, look.record
            assert record is not None
            until = _until(record, self.policy)
            grave = tombstone(raw_key, self.context.now, changed=changed, successor=successor, until=until)
            try:
                yield from self.bury(engine.bury(key, grave, version, self.policy))
            except VersionConflict:
                version = None
            else:
                return True
        # Others save again and again: an end must not be lost to that, and what a delete does not remember is less than that.
        yield Delete(key)
        return True

    def after_end(self, ended: list[bytes]) -> Flow[Saved]:
        """What was put in after an end begins a new session; with nothing put in, the cookie is cleared."""
        saving, held, engine = self.saving, self.held, self.engine
        new = saving.new
        if new is None:
            lines = [] if saving.headers_sent else self.policy.cookie.clear_all(held.names)
            return Saved(held=Held(), record=None, lines=lines, ended=ended)
        key = engine.key(held.secret, new.id)
        version = yield from self.begin(new, key)
        saved = self.saved(version, key, sends=True, began=True)
        saved.ended = ended
        return saved

    def end_successor(self, dead: Dead, subject: str | None) -> Flow[None]:
        """End the session that an earlier click on "Log in" has made: its answer was lost, and nobody has its cookie.

        Only one of the same user: of another's, the id that this request holds is no business of its.
        """
        engine = self.engine
        seen: set[bytes] = set()
        raw_key = dead.successor
        while raw_key and raw_key not in seen:
            seen.add(raw_key)
            key = values.encode_bytes(raw_key)
            look, _ = yield from engine.ask(raw_key, key, self.context.now, self.policy)
            if look.record is not None:
                if look.record.subject == subject:
                    # Named in its place: a third click must find the session of the second.
                    successor = b"" if engine.native or self.saving.new is None else self.saving.new.id
                    yield from self.end_one(raw_key, key, changed=True, successor=successor)
                return
            raw_key = b"" if look.dead is None else look.dead.successor

    # --- another request was faster

    def known_stale(self) -> list[str]:
        """What this request had read before something of it was saved, and another is known to have changed since."""
        tracking = self.saving.tracking
        return [] if tracking is None else list(tracking.stale)

    def reconcile(self, key: str) -> Flow[Version | Saved]:
        """What is stored now, with this request's changes laid over it: the version to try next; or what was done instead."""
        saving, engine = self.saving, self.engine
        assert saving.new is not None
        asked = saving.old if saving.old is not None else saving.new
        look, entry = yield from engine.ask(asked.id, key, self.context.now, self.policy)
        theirs = look.record
        if theirs is None or entry is None or _is_others(asked, theirs):
            return (yield from self.without_it(look.dead))
        return (yield from self.beside(theirs, entry, key))

    def without_it(self, dead: Dead | None) -> Flow[Saved]:
        """The session was ended, or goes on under another id."""
        saving = self.saving
        new = saving.new
        assert new is not None
        if saving.kind is Kind.MOVE and (saving.login or self.assigned()):
            if not saving.login:
                return (yield from self.begin_without_subject())
            if dead is None or not dead.changed:
                # Ended: nothing of what was loaded goes on, or who was logged out everywhere would take it along.
                saving.new = new.with_changes(data=self.assigned())
            else:
                yield from self.end_successor(dead, new.subject)
            return (yield from self.begin_anew())
        if saving.renewal:  # this request has nothing of its own to save
            return Saved(held=Held(dead=dead), record=None, lines=[])
        return Saved(held=Held(dead=dead), record=None, lines=[], dropped="dead")

    def assigned(self) -> dict[str, Any]:
        """What this request has assigned, of what it wants to save."""
        saving = self.saving
        assert saving.new is not None
        base = {} if saving.base is None else saving.base.own_data()
        declared = Declared(self.engine.merge.names, saving.joined)
        return assigned_in(saving.new.own_data(), base, saving.tracking, declared)

    def begin_without_subject(self) -> Flow[Saved]:
        """`regenerate` and its like show no credential: who was logged out must not come out of them as somebody."""
        saving = self.saving
        assert saving.new is not None
        now = self.context.now
        saving.new = Record(saving.new.id, now, None, now, None, {}, self.assigned())
        return (yield from self.begin_anew())

    def begin_anew(self) -> Flow[Saved]:
        saving = self.saving
        assert saving.new is not None
        key = self.engine.key(self.held.secret, saving.new.id)
        version = yield from self.begin(saving.new, key)
        return self.saved(version, key, sends=True, began=True)

    def beside(self, theirs: Record, entry: Entry, key: str) -> Flow[Version | Saved]:
        """Another request has saved into the session, which lives."""
        saving, engine = self.saving, self.engine
        new = saving.new
        assert new is not None
        if saving.renewal:  # nothing to merge and nothing to fight over
            self.lay(theirs, theirs.data)
            return entry.version
        if engine.on_conflict == "raise" and not saving.login:
            raise SessionConflict("another request changed the session meanwhile")
        if engine.on_conflict == "last_write_wins":
            self.conflict = "overwritten"
            self.keep_seen(theirs)
            return entry.version
        base = {} if saving.base is None else saving.base.own_data()
        if engine.native is not None and _was_taken_twice(base, theirs.data, new.data):
            raise SessionConflict("a parallel request has taken the same one-time value", [_ONCE])
        declared = Declared(engine.merge.names, saving.joined)
        # As it was sent: a task may have gone on with the objects in the session since.
        mine = new.own_data()
        outcome = merge(base, theirs.data, mine, saving.tracking, declared)
        if isinstance(outcome, Stale):
            return (yield from self.stale(key, outcome.paths))
        self.overwritten = (*self.overwritten, *outcome.overwritten)
        self.conflict = "overwritten" if self.overwritten else "merged"
        self.lay(theirs, outcome.data)
        return entry.version

    def stale(self, key: str, paths: list[str]) -> Flow[Saved]:
        """This request had read what another has changed."""
        saving = self.saving
        if saving.login:
            # A login counts: with its own data as a whole, never laid over another's; and the old id is dead (fixation).
            assert saving.old is not None
            yield from self.end_one(saving.old.id, key, changed=True)
            saving.new = self.mine
            return (yield from self.begin_anew())
        if saving.kind is Kind.MOVE:
            raise SessionConflict("a parallel request changed what this one had read; its id was not changed", paths)
        return Saved(held=self.held, record=saving.old, lines=[], dropped="stale", paths=tuple(sorted(paths, key=repr)))

    def lay(self, theirs: Record, data: dict[str, Any]) -> None:
        """The record to try next: what is stored now is what further changes are compared with."""
        saving = self.saving
        new, base = saving.new, saving.old if saving.old is not None else saving.base
        assert new is not None
        fields: dict[str, Any] = {"data": data, "created": min(new.created, theirs.created)}
        if base is None or (new.subject, new.authenticated) == (base.subject, base.authenticated):
            fields |= {"subject": theirs.subject, "authenticated": theirs.authenticated}
        if not saving.login:
            before = {} if base is None else base.options
            fields["options"] = join_options(before, theirs.options, new.options)
        saving.base = theirs
        if saving.old is not None:
            saving.old = theirs
        saving.new = new.with_changes(**fields)
        self.keep_seen(theirs)

    def keep_seen(self, theirs: Record) -> None:
        """Take back no renewal of the other request, nor let the store forget before the deadline that it moved."""
        saving = self.saving
        assert saving.new is not None
        later = theirs.seen - saving.new.seen
        if later > 0:
            saving.new = saving.new.with_changes(seen=theirs.seen)
            saving.expires_at += later

    def saved(self, version: Version, key: str, *, sends: bool, began: bool = False) -> Saved:
        """What was stored, and the cookie where the browser has to get it."""
        saving, held = self.saving, self.held
        new = saving.new
        assert new is not None
        name = self.context.cookie_name
        lines: list[str] = []
        if sends and not saving.headers_sent:
            cookie = self.policy.cookie
            value = self.engine.cookie_value(held.secret)
            lines = [cookie.set_cookie(name, value, saving.max_age, self.context.now)]
            lines += cookie.clear_all([other for other in held.names if other != name])
        after = hold(new, name, secret=held.secret, version=version, key=key)
        return Saved(held=after, record=new, lines=lines, began=began, conflict=self.conflict, paths=self.overwritten)


def end_id(engine: StoreEngine, raw_key: bytes, key: str, context: Context, policy: Policy) -> Flow[list[bytes]]:
    """End the session under an id from outside of a request, and the one that it goes on as; the raw ids that were ended."""
    saving = Saving(
        kind=Kind.END, held=Held(), old=None, new=None, expires_at=0, max_age=None, now=context.now, headers_sent=True
    )
    return (yield from _Work(engine, saving, context, policy).end_chain(raw_key, key))


def _until(record: Record, policy: Policy) -> int:
    """Until when a dead id is remembered: of a session that came from a cookie, for as long as copies of that can live."""
    partner = record.options.get(MOVED)
    return absolute_deadline(record, policy.lifetime) if type(partner) is str and len(partner) == _COOKIE_ID else 0


_COOKIE_ID: Final = 22
"""Characters of the id of a session in a cookie."""

_MARK: Final = 64
"""Bytes that a mark adds to a record at most, which are no fault of the application's."""

_ONCE: Final = "_once"
"""The key of one-time values. Where another program reads the store too, only the session itself can tell that one is gone."""


def _was_taken_twice(base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]) -> bool:
    """Whether a one-time value that this request has taken was taken by the other as well."""
    before, now, left = (found if type(found) is dict else {} for found in (d.get(_ONCE) for d in (base, theirs, mine)))
    return any(name not in left and name not in now for name in before)


def _is_others(mine: Record, theirs: Record) -> bool:
    """Whether another program has logged another user in under the same id."""
    return mine.subject is not None and theirs.subject not in (None, mine.subject)


def _outrun() -> SessionConflict:
    return SessionConflict("the session was saved by other requests again and again")

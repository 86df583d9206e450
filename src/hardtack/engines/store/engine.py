"""StoreEngine: the state stays in a store, under the hash of 32 random bytes that the cookie carries."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from weakref import WeakMethod

from cryptography.exceptions import InvalidTag

from hardtack import record as records
from hardtack import values
from hardtack.cookies import MAX_VALUES, Cookie, find_values
from hardtack.engines.store import save
from hardtack.engines.store.tombstones import TOMBSTONE_SECONDS, dead
from hardtack.errors import ConfigError, InvalidToken, SessionTooLarge
from hardtack.events import Rejected, StoreFailed, StoreHangs
from hardtack.flow import Close, Flow, Get, Put, Reconnect, Resolve
from hardtack.lifetime import MAX_SKEW, Until, absolute_deadline, unix_seconds
from hardtack.merge import Declared
from hardtack.protocols import (
    AsyncStore,
    Context,
    Dead,
    Entry,
    Held,
    Policy,
    Saved,
    Saving,
    Store,
    Version,
    hold,
    store_traits,
)
from hardtack.record import Record
from hardtack.settings import choice, instance
from hardtack.tokens.keys import Key, Keyring, as_keyring, unknown_key

_SECRET_SIZE: Final = 32
_SECRET_CHARACTERS: Final = 43
_SEALED: Final = b"\x01"


class Look(NamedTuple):
    """What an entry of the store says: a session, or that its id is dead, or neither."""

    record: Record | None = None
    current: bool = True
    dead: Dead | None = None
    ahead: bool = False
    """It was written by a clock that is far ahead of this one."""

    broken: bool = False
    """What is stored is not of this session, or was changed: its cookie is worth nothing."""


_NONE: Final = Look()


@lru_cache(maxsize=64)
def _framed(purpose: str) -> bytes:
    raw = purpose.encode()
    return b"hardtack/1 store" + len(raw).to_bytes(2, "big") + raw


class StoreEngine:
    """Keeps sessions in a store. A logout ends every copy of the cookie, and parallel requests leave no torn state.

    Args:
        store: any `Store` or `AsyncStore`: those of `hardtack.stores`, or your own (docs/writing-a-store.md).
        on_conflict: what happens to a save when another request saved first: "merge" keeps both where no request had read
            what the other changed (docs/parallel-requests.md), "raise" raises `SessionConflict` always, "last_write_wins"
            overwrites the session as a whole.
        merge: keys whose parallel changes are joined, such as "cart": nothing else may be derived from them.
        on_store_error: "raise" `StoreUnavailable` when a session cannot be loaded, or go on with an "anonymous" one.
        seal: a keyring that encrypts the records, bound to their keys. Without it, whoever can write the store can
            impersonate anyone, and whoever can read it can read every session.
        until: for `accept=`: when its sessions are no longer taken over.
    """

    old_still_valid = False

    def __init__(
        self,
        store: Store | AsyncStore,
        *,
        on_conflict: Literal["merge", "raise", "last_write_wins"] = "merge",
        merge: Iterable[str] = (),
        on_store_error: Literal["raise", "anonymous"] = "raise",
        seal: Keyring | Key | None = None,
        until: Until | None = None,
    ) -> None:
        self.traits = store_traits(store)
        self.store: Store | AsyncStore = store
        self.on_conflict = choice(on_conflict, "on_conflict", "merge", "raise", "last_write_wins")
        self.on_store_error = choice(on_store_error, "on_store_error", "raise", "anonymous")
        self.merge = _declared(merge, on_conflict)
        if seal is not None:
            instance(seal, (Keyring, Key), "seal", "Keyring or a Key: Key.parse(…) makes one of its text")
        self.seal = None if seal is None else as_keyring(seal)
        self.until = unix_seconds(until)
        self.beside: tuple[StoreEngine, ...] = ()
        """Engines on the same store that seal otherwise, whose records are read too."""
        self.native = self.traits.native_ids
        self.cookie_ids = self.traits.cookie_ids
        if self.native is not None and self.seal is not None:
            message = (
                f"seal= cannot be used with this {type(store).__name__}: another program reads its sessions as they are"
            )
            raise ConfigError(message)

    @property
    def remembers(self) -> bool:
        """Whether what a request reads and assigns is noted."""
        return bool(self.on_conflict != "last_write_wins")

    @property
    def impersonates(self) -> bool:
        """Whether its records can say who acts in a session; those of another program cannot."""
        return self.native is None

    def bind(self, policy: Policy) -> None:
        """Have the manager told when the store leaves a server alone. None of its settings is out of reach of a store."""
        if self.traits.listens:
            emit = WeakMethod(policy.emit)  # a store may outlive its managers

            def tell(server: str, hangs: bool) -> None:
                emit_now = emit()
                if emit_now is not None:
                    emit_now(StoreHangs, server, hangs)

            self.store.listen(tell)  # type: ignore[union-attr]

    def carries(self, header: str, cookie: Cookie) -> bool:
        """Whether the request carries a cookie of the engine, valid or not."""
        return cookie.name in header and bool(find_values(header, cookie.name))

    # --- the cookie's bytes, the store's key

    def raw_key(self, secret: bytes, purpose: str) -> bytes:
        """The raw id of the session of a cookie."""
        if self.native is not None:
            return self.native.handle(secret.decode())
        # The store knows the hash only: a stolen database opens no session.
        return hashlib.sha256(_framed(purpose) + secret).digest()

    def key(self, secret: bytes, raw_key: bytes) -> str:
        """The store's key of a session."""
        return values.encode_bytes(raw_key) if self.native is None else secret.decode()

    def stored_key(self, held: Held, raw_key: bytes) -> str:
        """The key under which a session is stored now, whatever id was drawn for it meanwhile."""
        return values.encode_bytes(raw_key) if self.native is None else held.key

    def cookie_value(self, secret: bytes) -> str:
        """What the cookie carries."""
        if self.cookie_ids is not None:
            return self.cookie_ids.cookie(secret.decode())
        return values.encode_bytes(secret) if self.native is None else secret.decode()

    def handle(self, key: str) -> bytes | None:
        """The raw id of what the store has under a key; None for what cannot be a key."""
        if self.native is not None:
            return self.native.handle(key)
        try:
            raw = values.decode_bytes(key)
        except ValueError:
            return None
        return raw if len(raw) == 32 else None

    def find_key(self, id: str) -> Flow[tuple[bytes, str] | None]:
        """The raw id and the store's key of the session with a public id; None for what cannot be one."""
        try:
            raw_key = values.decode_bytes(id)
        except ValueError:
            return None
        if len(raw_key) != 32:
            return None
        key = id if self.native is None else (yield Resolve(raw_key))
        return None if key is None else (raw_key, key)

    def indexed(self, subject: str, policy: Policy) -> str:
        """What the store finds the sessions of a user by: of this application's user, where several share the store."""
        if not policy.purpose or self.native is not None:
            return subject
        return f"{len(policy.purpose)}:{policy.purpose}{subject}"

    # --- the stored bytes

    def put(
        self,
        key: str,
        record: Record,
        expires_at: int,
        version: Version | None,
        policy: Policy,
        allowed: int | None = None,
    ) -> Put:
        """The request to save a record. Raises `UnsupportedValue`, and `SessionTooLarge` above `allowed` bytes."""
        plain = records.pack(record)
        if allowed is not None and len(plain) > allowed:
            raise SessionTooLarge(len(plain), allowed, biggest(record.data), _KEEP_LESS, what="in its store")
        subject = None if record.subject is None else self.indexed(record.subject, policy)
        return Put(key, self.sealed(record.id, plain, policy), expires_at, version, subject)

    def bury(self, key: str, record: Record, version: Version | None, policy: Policy) -> Put:
        """The request to save a tombstone."""
        plain = records.pack(record)
        return Put(key, self.sealed(record.id, plain, policy), record.options["ended"], version, None)

    def sealed(self, raw_key: bytes, plain: bytes, policy: Policy) -> bytes:
        """The bytes to be stored: the record, encrypted where the engine has a `seal`."""
        if self.seal is None:
            return plain
        key = self.seal.current
        header = _SEALED + key.id
        return key.encrypting.seal(plain, _associated(header, raw_key, policy), header)

    def decode(self, raw_key: bytes, data: bytes, policy: Policy, now: int) -> tuple[Record, bool]:
        """The stored record, and whether it is sealed under the key that issues now. Raises `InvalidToken`.

        `now` says which of the engines beside are still read.
        """
        try:
            return self._decode(raw_key, data, policy)
        except InvalidToken as error:
            if error.reason not in ("unknown_key", "malformed"):
                raise  # what was changed under a key of ours is read by nobody who asks for less
            for other in self.beside:
                if other.until is None or now < other.until:
                    with suppress(InvalidToken):
                        return other._decode(raw_key, data, policy)[0], False
            raise

    def _decode(self, raw_key: bytes, data: bytes, policy: Policy) -> tuple[Record, bool]:
        current = True
        if self.seal is not None:
            header = data[:6]
            if header[:1] != _SEALED:  # what follows is no id then
                raise InvalidToken("unknown_key", "the record was not sealed", "the record is not sealed")
            key = self.seal.get(header[1:])
            if key is None:
                raise unknown_key(header[1:], "the record was not sealed under a key of the ring")
            try:
                data = key.encrypting.open(data[6:], _associated(header, raw_key, policy))
            except InvalidTag:
                raise InvalidToken("tampered", "the record was changed, or moved from another key") from None
            current = key is self.seal.current
        record = records.unpack(data)
        if record.id != raw_key:
            if self.native is None:
                raise InvalidToken("wrong_record", "the record is of another session")
            record = record.with_changes(id=raw_key)  # another program wrote it, and knows nothing of our ids
            records.pack(record)
        return record, current

    def ask(self, raw_key: bytes, key: str, now: int, policy: Policy) -> Flow[tuple[Look, Entry | None]]:
        """What the store has under a key.

        An answer that is another session's is asked for once more over a fresh connection, and then refused: it came over
        a connection that somebody else uses as well, and logs nobody in.
        """
        entry: Entry | None = yield Get(key)
        try:
            return self.look(raw_key, entry, now, policy), entry
        except InvalidToken as error:
            reason, detail = error.reason, error.event_detail
        if reason in ("wrong_record", "tampered"):
            if self.traits.reconnects:
                yield Reconnect()
            entry = yield Get(key)
            try:
                return self.look(raw_key, entry, now, policy), entry
            except InvalidToken as error:
                reason, detail = error.reason, error.event_detail
        # Not the client's fault, and no reason to fail on each of its requests: it gets a new session.
        policy.emit(StoreFailed, "decode", reason, detail)
        return Look(broken=reason in ("wrong_record", "tampered")), entry

    def look(self, raw_key: bytes, entry: Entry | None, now: int, policy: Policy) -> Look:
        """What an entry says. Raises `InvalidToken`."""
        if entry is None:
            return _NONE
        record, current = self.decode(raw_key, entry.data, policy, now)
        if "ended" in record.options:
            return Look(None, True, dead(record, now))
        latest = now + MAX_SKEW
        if (
            record.seen <= latest
            and record.created <= latest
            and (record.authenticated is None or record.authenticated <= latest)
            and (not record.options or all(at <= latest for at in record.options.get("confirmed", {}).values()))
        ):
            return Look(
                record, current
            )  # as fast as clocks of servers are, or of requests that began before this one's end
        record = _by(record, now)
        records.pack(record)
        return Look(record, current, ahead=True)

    # --- load

    def load(self, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """The session of a request: one `get` for its one cookie. Raises `StoreUnavailable`."""
        name = context.cookie_name
        found = find_values(header, name) if name in header else []
        if not found:
            return Held()
        if len(found) > 1:
            found = list(dict.fromkeys(found))
            if len(found) > MAX_VALUES:
                return self._disputed(name, policy)
        good: list[Held] = []
        ended: Dead | None = None
        broken = False
        for text in found:
            secret = self._secret(text)
            if secret is None:
                policy.emit(Rejected, "malformed", name)
                continue
            if good and secret == good[-1].secret:  # two cookies that say the same id in two ways
                continue
            raw_key = self.raw_key(secret, context.purpose)
            key = self.key(secret, raw_key)
            look, entry = yield from self.ask(raw_key, key, context.now, policy)
            if look.record is None:
                ended = ended or look.dead
                broken = broken or look.broken
                policy.emit(Rejected, "unknown_id" if look.dead is None else "ended", name)
            elif policy.admit(look.record, context, trusted=True):
                assert entry is not None
                held = hold(look.record, name, current=look.current, secret=secret, version=entry.version, key=key)
                held.ahead = look.ahead
                good.append(held)
        if len(good) == 1:
            return good[0]
        if not good:
            return Held(names=(name,), dead=ended, clear=broken)
        return self._disputed(name, policy)

    @staticmethod
    def _disputed(name: str, policy: Policy) -> Held:
        # A sibling subdomain can plant a cookie of this name: it must not be able to choose the session.
        policy.emit(Rejected, "ambiguous", name)
        return Held(names=(name,), disputed=True)

    def secret_in(self, header: str, name: str) -> bytes | None:
        """The bytes of the one cookie of a request, whether anything is stored under them or not."""
        found = set(find_values(header, name))
        return self._secret(found.pop()) if len(found) == 1 else None

    def _secret(self, text: str) -> bytes | None:
        if self.cookie_ids is not None:
            text = self.cookie_ids.opened(text) or ""
        if self.native is not None:
            return text.encode() if self.native.accepts(text) else None
        if len(text) != _SECRET_CHARACTERS:
            return None
        try:
            return values.decode_bytes(text)
        except ValueError:
            return None

    def adopt(self, seed: bytes, context: Context, policy: Policy) -> Flow[tuple[bytes, Held]]:
        """The session that takes the place of another system's: under a secret that is made of the old cookie."""
        if self.native is not None:  # ids of another program cannot be derived
            held = Held()
            return self.new_id(held, policy), held
        return (yield from self.find(_adopted(seed), context, policy))

    def adopted_id(self, seed: bytes, purpose: str) -> bytes:
        """The raw id of the session that takes the place of another system's, where ids are ours."""
        return self.raw_key(_adopted(seed), purpose)

    def find(self, secret: bytes, context: Context, policy: Policy) -> Flow[tuple[bytes, Held]]:
        """What is held of the session under a secret that no cookie has brought, and its raw id."""
        raw_key = self.raw_key(secret, context.purpose)
        key = self.key(secret, raw_key)
        look, entry = yield from self.ask(raw_key, key, context.now, policy)
        if look.record is not None and entry is not None and policy.admit(look.record, context, trusted=True):
            return raw_key, Held(
                record=look.record,
                current=look.current,
                ahead=look.ahead,
                secret=secret,
                version=entry.version,
                key=key,
            )
        return raw_key, Held(secret=secret, key=key, dead=look.dead, adopted=raw_key)

    def store_moved(self, held: Held, record: Record, now: int, policy: Policy) -> Flow[None]:
        """Store a session that comes from another engine as it was loaded, for a moment: what is done next needs an entry.

        Raises `VersionConflict` where a parallel request was faster.
        """
        loaded = record.with_changes()
        loaded.prepared = record.kept_data()  # what the session holds may have been changed since
        put = self.put(self.stored_key(held, record.id), loaded, now + TOMBSTONE_SECONDS, None, policy)
        held.version = yield put

    def waiting(self, raw_id: bytes, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """What is held of the session that waits while its user acts as another. That use of the browser keeps it."""
        key = values.encode_bytes(raw_id)
        look, entry = yield from self.ask(raw_id, key, context.now, policy)
        record = look.record
        if record is None or entry is None or context.now >= absolute_deadline(record, policy.lifetime):
            return Held()
        return Held(record=record, current=look.current, version=entry.version, key=key)

    # --- save

    def new_id(self, held: Held, policy: Policy) -> bytes:
        """The raw id of 32 new random bytes, which `held` keeps for the cookie."""
        if self.native is None:
            held.secret = secrets.token_bytes(_SECRET_SIZE)
        else:
            held.secret = self.native.new_id().encode()
        return self.raw_key(held.secret, policy.purpose)

    def save(self, saving: Saving, context: Context, policy: Policy) -> Flow[Saved]:
        """One compare-and-set, and the Set-Cookie line where the id is new. Raises `StoreUnavailable`, `SessionConflict`."""
        return save.save(self, saving, context, policy)

    def close(self) -> Flow[None]:
        """Close the store, as far as it was opened by hardtack."""
        yield Close()


def _by(record: Record, now: int) -> Record:
    """A record with each time that is ahead taken as now: only servers write it, so a clock was off, and its deadlines hold."""
    options = dict(record.options)
    if "confirmed" in options:
        options["confirmed"] = {method: min(at, now) for method, at in options["confirmed"].items()}
    return record.with_changes(
        created=min(record.created, now),
        authenticated=None if record.authenticated is None else min(record.authenticated, now),
        seen=min(record.seen, now),
        options=options,
    )


def _associated(header: bytes, raw_key: bytes, policy: Policy) -> bytes:
    return b"hardtack/1 record" + header + raw_key + policy.purpose.encode()


def _declared(names: Iterable[str], on_conflict: str) -> Declared:
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        message = f"merge={names!r} must be a list of keys, such as merge=['cart']"
        raise ConfigError(message)
    given = frozenset(names)
    if not all(type(name) is str for name in given):
        raise ConfigError("merge= must be a list of keys, each a str")
    if given and on_conflict == "last_write_wins":
        raise ConfigError("merge= means nothing with on_conflict='last_write_wins': remove one of them")
    return Declared(given)


_KEEP_LESS: Final = "; keep less in the session, or raise SessionManager(max_size=…)"


def biggest(data: dict[str, object]) -> list[tuple[str, int]]:
    """The three biggest keys, with the bytes that each takes."""
    sizes = [(key, len(values.pack({key: value}))) for key, value in data.items()]
    return sorted(sizes, key=lambda pair: -pair[1])[:3]


def _adopted(seed: bytes) -> bytes:
    """The secret of the session that takes the place of another system's."""
    return hashlib.sha256(b"hardtack/1 adopted" + seed).digest()

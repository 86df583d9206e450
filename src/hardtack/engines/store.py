"""StoreEngine: the state stays in a store, under the hash of 32 random bytes that the cookie carries."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import secrets
from functools import lru_cache
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidTag

from hardtack import record as records
from hardtack import values
from hardtack.cookies import MAX_SEEN, MAX_VALUES, Cookie, find_values
from hardtack.errors import ConfigError, InvalidToken, SessionConflict, StoreUnavailable
from hardtack.events import Conflict, Rejected, StoreFailed
from hardtack.flow import Close, Delete, Flow, Get, Put, Rename, Resolve
from hardtack.merge import merge
from hardtack.protocols import (
    AsyncStore,
    Context,
    Entry,
    Held,
    NativeIds,
    Policy,
    Saving,
    Store,
    Tombstone,
    Version,
    VersionConflict,
)
from hardtack.record import Record
from hardtack.tokens.keys import Key, Keyring, as_keyring

TOMBSTONE_SECONDS: Final = 60
"""How long a session that was ended is remembered: longer than any request that began before runs on."""

MAX_ATTEMPTS: Final = 1000
"""Compare-and-set is lock-free: each failure means that another request has saved. So many in a row mean a broken store."""

_SECRET_SIZE = 32
_SECRET_CHARACTERS = 43
_SEALED = b"\x01"


@lru_cache(maxsize=64)
def _framed(purpose: str) -> bytes:
    raw = purpose.encode()
    return b"hardtack/1 store" + len(raw).to_bytes(2, "big") + raw


class StoreEngine:
    """Keeps sessions in a store. A logout ends every copy of the cookie, and parallel requests lose nothing.

    Args:
        store: any `Store` or `AsyncStore`: those of `hardtack.stores`, or your own (docs/writing-a-store.md).
        on_conflict: what happens to a save when another request saved first: "merge" the two, "raise"
            `SessionConflict`, or "last_write_wins".
        on_store_error: "raise" `StoreUnavailable` when a session cannot be loaded, or go on with an "anonymous" one.
        seal: a keyring that encrypts the records, bound to their keys. Without it, whoever can write the store can
            impersonate anyone, and whoever can read it can read every session.
    """

    old_still_valid = False

    def __init__(
        self,
        store: Store | AsyncStore,
        *,
        on_conflict: Literal["merge", "raise", "last_write_wins"] = "merge",
        on_store_error: Literal["raise", "anonymous"] = "raise",
        seal: Keyring | Key | None = None,
    ) -> None:
        if isinstance(store, type):
            message = f"StoreEngine takes a store, not the class {store.__name__}: {store.__name__}(…)"
            raise ConfigError(message)
        for method in ("get", "put", "delete", "close"):
            if not callable(getattr(store, method, None)):
                message = f"StoreEngine takes a store; {type(store).__name__} has no method {method}()"
                raise ConfigError(message)
        if not hasattr(store, "blocking") and not inspect.iscoroutinefunction(getattr(store, "get", None)):
            message = (
                f"{type(store).__name__} lacks the attribute `blocking` of a sync store (True where a call waits for a disk "
                "or a network), and its get() is not a coroutine function of an async one"
            )
            raise ConfigError(message)
        if on_conflict not in ("merge", "raise", "last_write_wins"):
            message = f"on_conflict={on_conflict!r} must be 'merge', 'raise' or 'last_write_wins'"
            raise ConfigError(message)
        if on_store_error not in ("raise", "anonymous"):
            message = f"on_store_error={on_store_error!r} must be 'raise' or 'anonymous'"
            raise ConfigError(message)
        self.store: Store | AsyncStore = store
        self.on_conflict = on_conflict
        self.on_store_error = on_store_error
        if seal is not None and not isinstance(seal, Keyring | Key):
            message = f"seal={type(seal).__name__} must be a Keyring or a Key: Key.parse(…) makes one of its text"
            raise ConfigError(message)
        self.seal = None if seal is None else as_keyring(seal)
        self._native: NativeIds | None = getattr(store, "native_ids", None)
        if self._native is not None and self.seal is not None:
            message = (
                f"seal= cannot be used with this {type(store).__name__}: another program reads its sessions as they are"
            )
            raise ConfigError(message)
        rename = getattr(store, "rename", None)
        self._renames = rename is not None
        self._leaves_tombstone = rename is not None and "tombstone" in inspect.signature(rename).parameters

    def bind(self, policy: Policy) -> None:
        """Nothing of the manager's settings is out of reach of a store."""

    def carries(self, header: str, cookie: Cookie) -> bool:
        """Whether the request carries a cookie of the engine, valid or not."""
        return bool(find_values(header, cookie.name))

    # --- the cookie's bytes, the store's key, the stored bytes

    def _raw_key(self, secret: bytes, purpose: str) -> bytes:
        if self._native is not None:
            return self._native.handle(secret.decode())
        # The store knows the hash only: a stolen database opens no session.
        return hashlib.sha256(_framed(purpose) + secret).digest()

    def _key(self, secret: bytes, raw_key: bytes) -> str:
        """The store's key of a session."""
        return values.encode_bytes(raw_key) if self._native is None else secret.decode()

    def stored_key(self, held: Held, raw_key: bytes) -> str:
        """The key under which a session is stored now, whatever id was drawn for it meanwhile."""
        return values.encode_bytes(raw_key) if self._native is None else held.key

    def _cookie_value(self, secret: bytes) -> str:
        return values.encode_bytes(secret) if self._native is None else secret.decode()

    def handle(self, key: str) -> bytes | None:
        """The raw id of what the store has under a key; None for what cannot be a key."""
        if self._native is not None:
            return self._native.handle(key)
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
        key = id if self._native is None else (yield Resolve(raw_key))
        return None if key is None else (raw_key, key)

    def encode(self, record: Record, policy: Policy) -> bytes:
        """The bytes to be stored: the record, encrypted where the engine has a `seal`."""
        plain = records.pack(record)
        if self.seal is None:
            return plain
        key = self.seal.current
        header = _SEALED + key.id
        return key.encrypting.seal(plain, self._associated(header, record.id, policy), header)

    def decode(self, raw_key: bytes, data: bytes, policy: Policy) -> tuple[Record, bool]:
        """The stored record, and whether it is sealed under the key that issues now. Raises `InvalidToken`."""
        current = True
        if self.seal is not None:
            header = data[:6]
            key = self.seal.get(header[1:])
            if header[:1] != _SEALED or key is None:
                raise InvalidToken("unknown_key", "the record was not sealed under a key of the ring")
            try:
                data = key.encrypting.open(data[6:], self._associated(header, raw_key, policy))
            except InvalidTag:
                raise InvalidToken("tampered", "the record was changed, or moved from another key") from None
            current = key is self.seal.current
        record = records.unpack(data)
        if record.id != raw_key:
            record = record.with_changes(id=raw_key)
            records.pack(record)
        return record, current

    @staticmethod
    def _associated(header: bytes, raw_key: bytes, policy: Policy) -> bytes:
        return b"hardtack/1 record" + header + raw_key + policy.purpose.encode()

    # --- load

    def load(self, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """The session of a request: one `get` for its one cookie. Raises `StoreUnavailable`."""
        name = context.cookie_name
        found = find_values(header, name)
        good: list[Held] = []
        ended = False
        considered = self._secrets(found[:MAX_VALUES], name, policy)
        for secret in considered:
            raw_key = self._raw_key(secret, context.purpose)
            key = self._key(secret, raw_key)
            entry = yield Get(key)
            record, current, buried = self._look(raw_key, entry, context.now, policy)
            ended = ended or buried
            if record is None:
                policy.emit(Rejected, "ended" if buried else "unknown_id", name)
            elif policy.admit(record, context):
                good.append(Held(record, [name], current, False, False, secret, entry.version, key))
        if len(good) == 1 and (len(found) <= MAX_VALUES or not self._is_disputed(found, considered)):
            return good[0]
        if not good:
            return Held(names=[name] if found else [], ended=ended)
        # A sibling subdomain can plant a cookie of this name: it must not be able to choose the session.
        policy.emit(Rejected, "ambiguous", name)
        return Held(names=[name], clear=True)

    def _is_disputed(self, found: list[str], considered: list[bytes]) -> bool:
        """Whether beyond those that were considered is what may be another session: not worth more calls of the store."""
        if len(found) > MAX_SEEN:
            return True
        for text in found[MAX_VALUES:]:
            try:
                if self._secret(text) not in considered:
                    return True
            except ValueError:
                continue
        return False

    def _secrets(self, found: list[str], name: str, policy: Policy) -> list[bytes]:
        known: dict[bytes, None] = {}
        for text in found:
            try:
                known[self._secret(text)] = None
            except ValueError:
                policy.emit(Rejected, "malformed", name)
        return list(known)

    def _secret(self, text: str) -> bytes:
        if self._native is not None:
            if not self._native.accepts(text):
                raise ValueError
            return text.encode()
        if len(text) != _SECRET_CHARACTERS:
            raise ValueError
        return values.decode_bytes(text)

    def _look(self, raw_key: bytes, entry: Entry | None, now: int, policy: Policy) -> tuple[Record | None, bool, bool]:
        """The record of an entry, whether its key is current, and whether it says that the session was ended."""
        if entry is None:
            return None, True, False
        try:
            record, current = self.decode(raw_key, entry.data, policy)
        except InvalidToken as error:
            # Not the client's fault, and no reason to fail on each of its requests: it gets a new session.
            policy.emit(StoreFailed, "decode", error.reason)
            return None, True, False
        until = record.options.get("ended")
        if until is not None:
            return None, True, now < until
        return record, current, False

    # --- save

    def new_id(self, held: Held, policy: Policy) -> bytes:
        """The store's key of 32 new random bytes, which `held` keeps for the cookie."""
        if self._native is None:
            held.secret = secrets.token_bytes(_SECRET_SIZE)
        else:
            held.secret = self._native.new_id().encode()
        return self._raw_key(held.secret, policy.purpose)

    def save(self, saving: Saving, context: Context, policy: Policy) -> Flow[tuple[Held, list[str]] | None]:
        """One compare-and-set, and the Set-Cookie line where the id is new. Raises `StoreUnavailable`, `SessionConflict`."""
        held, old, new = saving.held, saving.old, saving.new
        cookie = policy.cookie
        if saving.emptied:
            return (yield from self._save_emptied(saving, context, policy))
        if saving.destroyed and old is not None:
            if new is not None:
                records.pack(new)  # what cannot be kept is to fail before the old session ends
            key = self.stored_key(held, old.id)
            ended = yield from self.end(old.id, key, held.version, context, policy, follow=new is None)
            if not ended and new is not None:
                return None  # it was ended, or has a new id: what begins here must not take the place of that
        if new is None:
            return Held(), [cookie.clear_cookie(name) for name in held.names]
        key = self._key(held.secret, new.id)
        if old is None or saving.destroyed:
            version = yield from self._create(saving, policy)
            moved = True
        elif saving.rotated:
            version = yield from self._change_id(saving, context, policy)
            moved = True
        else:
            version = yield from self._update(key, saving, context, policy)
            moved = False
        if version is None:
            return None
        new = saving.new  # with what another request had saved, maybe
        assert new is not None
        after = Held(new, [context.cookie_name], True, False, False, held.secret, version, key)
        if not moved and (saving.max_age is None or old is None or new.seen == old.seen):
            return after, []
        return after, [
            cookie.set_cookie(context.cookie_name, self._cookie_value(held.secret), saving.max_age, context.now)
        ]

    def _save_emptied(self, saving: Saving, context: Context, policy: Policy) -> Flow[tuple[Held, list[str]] | None]:
        """Nothing is left of the session in this request: it ends, unless another has put something into it meanwhile.

        Unlike a logout, which means it: the message that was shown must not take the cart of a parallel request along,
        nor clear the cookie of a login that was faster.
        """
        held, old = saving.held, saving.old
        assert old is not None
        key = self.stored_key(held, old.id)
        saving.new = old.with_changes(data={})
        version = held.version
        for _ in range(MAX_ATTEMPTS):
            ends = not saving.new.data
            tombstone = self._tombstone(old.id, context, policy)
            if ends:
                put = Put(key, tombstone.data, tombstone.expires_at, version, None)
            else:
                put = self._put(key, saving.new, saving.expires_at, version, policy)
            try:
                version = yield put
            except VersionConflict:
                version = yield from self._reconcile(saving, context, policy)
                if version is None:
                    return None
                continue
            if ends:
                return Held(), [policy.cookie.clear_cookie(name) for name in held.names]
            return Held(saving.new, held.names, secret=held.secret, version=version, key=key), []
        raise SessionConflict("the session was saved by other requests again and again")

    def _put(self, key: str, record: Record, expires_at: int, version: Version | None, policy: Policy) -> Put:
        subject = None if record.subject is None else self.indexed(record.subject, policy)
        return Put(key, self.encode(record, policy), expires_at, version, subject)

    def indexed(self, subject: str, policy: Policy) -> str:
        """What the store finds the sessions of a user by: of this application's user, where several share the store."""
        if not policy.purpose or self._native is not None:
            return subject
        return f"{len(policy.purpose)}:{policy.purpose}{subject}"

    def _put_new(self, saving: Saving, version: Version | None, policy: Policy) -> Put:
        assert saving.new is not None
        return self._put(self._key(saving.held.secret, saving.new.id), saving.new, saving.expires_at, version, policy)

    def _create(self, saving: Saving, policy: Policy) -> Flow[Version]:
        try:
            return (yield self._put_new(saving, None, policy))
        except VersionConflict:
            # 32 random bytes do not meet twice: the store answered for a write that it had done already.
            raise StoreUnavailable("the store has a session under an id that was just drawn") from None

    def _update(self, key: str, saving: Saving, context: Context, policy: Policy) -> Flow[Version | None]:
        version = saving.held.version
        for _ in range(MAX_ATTEMPTS):
            new = saving.new
            assert new is not None
            try:
                return (yield self._put(key, new, saving.expires_at, version, policy))
            except VersionConflict:
                pass
            version = yield from self._reconcile(saving, context, policy)
            if version is None:
                return None
        raise SessionConflict("the session was saved by other requests again and again")

    def _reconcile(self, saving: Saving, context: Context, policy: Policy) -> Flow[Version | None]:
        """Another request saved first: what is there now, merged into what is to be saved. None: it was ended."""
        assert saving.new is not None
        assert saving.old is not None
        raw_key = saving.old.id
        entry = yield Get(self.stored_key(saving.held, raw_key))
        theirs, _, _ = self._look(raw_key, entry, context.now, policy)
        if theirs is None or (saving.old.subject is not None and theirs.subject not in (None, saving.old.subject)):
            return None  # ended; or another program has logged another user in under the same id
        name = values.encode_bytes(raw_key)
        login = self._login(saving, theirs)
        unchanged = saving.base is not None and saving.base.is_kept_as(saving.new.data)
        if unchanged and not (saving.rotated and self.on_conflict == "raise"):
            # A renewal, or a new id for the same data: there is nothing to merge and nothing to fight over.
            saving.base = theirs
            saving.new = saving.new.with_changes(data=theirs.data, **login)
            self._keep_seen(saving, theirs)
            return entry.version
        if self.on_conflict == "raise":
            raise SessionConflict("another request changed the session meanwhile")
        if self.on_conflict == "last_write_wins":
            policy.emit(Conflict, name, "overwritten")
            self._keep_seen(saving, theirs)
            return entry.version
        base = values.unpack(saving.base.kept_data()) if saving.base is not None else {}
        merged, paths = merge(base, theirs.data, saving.new.data)
        policy.emit(Conflict, name, "overwritten" if paths else "merged", tuple(paths))
        saving.base = theirs
        saving.new = saving.new.with_changes(data=merged, **login)
        self._keep_seen(saving, theirs)
        return entry.version

    @staticmethod
    def _login(saving: Saving, theirs: Record) -> dict[str, Any]:
        """Who is logged in, where this request changed nothing in that: another program may have, under the same id."""
        base, new = saving.base, saving.new
        assert new is not None
        if base is None or (new.subject, new.authenticated) != (base.subject, base.authenticated):
            return {}
        return {"subject": theirs.subject, "authenticated": theirs.authenticated}

    @staticmethod
    def _keep_seen(saving: Saving, theirs: Record) -> None:
        """Take back no renewal of the other request, nor let the store forget before the deadline that it moved."""
        assert saving.new is not None
        later = theirs.seen - saving.new.seen
        if later > 0:
            saving.new = saving.new.with_changes(seen=theirs.seen)
            saving.expires_at += later

    # --- change of id

    def _change_id(self, saving: Saving, context: Context, policy: Policy) -> Flow[Version | None]:
        if not self._renames:
            return (yield from self._move(saving, context, policy))
        assert saving.old is not None
        assert saving.new is not None
        tombstone = self._tombstone(saving.old.id, context, policy, saving.new.id)
        extra = {"tombstone": tombstone} if self._leaves_tombstone else {}
        version = saving.held.version
        for _ in range(MAX_ATTEMPTS):
            put = self._put_new(saving, version, policy)
            old_key = self.stored_key(saving.held, saving.old.id)
            try:
                version = yield Rename(old_key, put.key, put.data, put.expires_at, version, put.subject, extra)
            except NotImplementedError:
                return (yield from self._move(saving, context, policy))
            except VersionConflict:
                version = yield from self._reconcile(saving, context, policy)
                if version is None:
                    return None
                continue
            if not self._leaves_tombstone:
                yield from self._bury(old_key, tombstone)
            return version
        raise SessionConflict("the session was saved by other requests again and again")

    def _bury(self, old_key: str, tombstone: Tombstone) -> Flow[None]:
        with contextlib.suppress(VersionConflict):  # somebody else has ended it as well
            yield Put(old_key, tombstone.data, tombstone.expires_at, None, None)

    def _move(self, saving: Saving, context: Context, policy: Policy) -> Flow[Version | None]:
        """The fallback of a store that cannot rename: create under the new key, then end the old under its version.

        A crash between the two leaves the old session as it was, and a copy under a key that nobody knows.
        """
        assert saving.new is not None
        assert saving.old is not None
        old_key = self.stored_key(saving.held, saving.old.id)
        new_key = self._key(saving.held.secret, saving.new.id)
        tombstone = self._tombstone(saving.old.id, context, policy, saving.new.id)
        created = yield from self._create(saving, policy)
        version = saving.held.version
        for _ in range(MAX_ATTEMPTS):
            try:
                yield Put(old_key, tombstone.data, tombstone.expires_at, version, None)
            except VersionConflict:
                try:
                    version = yield from self._reconcile(saving, context, policy)
                except SessionConflict:
                    yield Delete(new_key)
                    raise
                if version is None:
                    yield Delete(new_key)
                    return None
                try:
                    created = yield self._put_new(saving, created, policy)
                except VersionConflict:  # nobody has its cookie yet: all sessions of the user were ended
                    return None
            else:
                return created
        raise SessionConflict("the session was saved by other requests again and again")

    # --- the end

    def _tombstone(self, raw_key: bytes, context: Context, policy: Policy, successor: bytes = b"") -> Tombstone:
        """What tells a slow request that its session was ended: it must neither revive it nor set a cookie.

        `successor` is the new id of a session that goes on: who logs out at the same moment means that one too.
        """
        until = context.now + TOMBSTONE_SECONDS
        data = {"successor": successor} if successor and self._native is None else {}
        ended = Record(raw_key, context.now, None, context.now, None, {"ended": until}, data)
        return Tombstone(self.encode(ended, policy), until)

    def end(
        self,
        raw_key: bytes,
        key: str,
        version: Version | None,
        context: Context,
        policy: Policy,
        *,
        follow: bool = True,
    ) -> Flow[bool]:
        """End a session, whatever others save meanwhile. False where there was none any more.

        `follow`: where another request has just given it a new id, it ends under that.
        """
        for _ in range(MAX_ATTEMPTS):
            if version is None:
                entry = yield Get(key)
                record, _, _ = self._look(raw_key, entry, context.now, policy)
                if record is None:
                    raw_key = self._successor(raw_key, entry, policy) if follow else b""
                    if not raw_key:
                        return False
                    key = values.encode_bytes(raw_key)
                    continue
                version = entry.version
            tombstone = self._tombstone(raw_key, context, policy)
            try:
                yield Put(key, tombstone.data, tombstone.expires_at, version, None)
            except VersionConflict:
                version = None
            else:
                return True
        raise SessionConflict("the session was saved by other requests again and again")

    def _successor(self, raw_key: bytes, entry: Entry | None, policy: Policy) -> bytes:
        """The id that a session got in the place of this one, less than a minute ago; empty where there is none."""
        if entry is None:
            return b""
        try:
            record, _ = self.decode(raw_key, entry.data, policy)
        except InvalidToken:
            return b""
        successor: bytes = record.data.get("successor", b"") if "ended" in record.options else b""
        return successor

    def close(self) -> Flow[None]:
        """Close the store, as far as it was opened by hardtack."""
        yield Close()

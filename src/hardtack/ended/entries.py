"""The wire form of an entry: version, kind, key id, time, body, MAC. docs/ended-sessions.md has the bytes.

Who can write to the channel can neither log anybody out nor in: what is not under one of our keys is skipped.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

from hardtack.tokens.keys import Key, Keyring

ID: Final = 8
"""Bytes of a session's id that an entry carries."""
HASH: Final = 16
"""Bytes of the hash of a subject, or of an issuer with its sid."""
MAX_SPARED: Final = 1000
NOBODY: Final = bytes(HASH)
"""In the place of a subject's hash: the entry holds whoever the session belongs to."""

_VERSION: Final = b"\x01"
_MAC: Final = 16
_HEAD: Final = 15  # version, kind, key id, time
_MAX_TIME: Final = (1 << 56) - 1  # the table keeps seven bytes


class Session(NamedTuple):
    """One id ended. `changed`: the session goes on under another one. `brief`: an anonymous one, before its login."""

    time: int
    id: bytes
    owner: bytes = NOBODY
    changed: bool = False
    brief: bool = False


class Subject(NamedTuple):
    """All sessions of a user whose id was drawn before `time` ended, but for the spared ids."""

    time: int
    hash: bytes
    spared: tuple[bytes, ...] = ()


class Provider(NamedTuple):
    """The sessions that a login with this sid of an OpenID provider began before `time` ended."""

    time: int
    hash: bytes


class All(NamedTuple):
    """Everybody's sessions ended whose id was drawn before `time`; `unseen`: which were last seen before."""

    time: int
    unseen: bool = False


class Limits(NamedTuple):
    """How long copies can live in an application, in seconds; `idle` 0: there is no idle timeout."""

    time: int
    lifetime: int
    idle: int
    max_stale: int

    @property
    def life(self) -> int:
        """Seconds for which a copy of a session can be alive after its end, by what the application said."""
        return self.idle + self.max_stale + 60 if self.idle else self.lifetime


class Origin(NamedTuple):
    """The identity of a channel: 16 random bytes."""

    time: int
    identity: bytes


Entry: TypeAlias = Session | Subject | Provider | All | Limits | Origin
SkipReason: TypeAlias = Literal["torn", "foreign", "version"]


class Skipped(Exception):
    """An entry that cannot be used."""

    def __init__(self, reason: SkipReason) -> None:
        self.reason: SkipReason = reason
        super().__init__(reason)


class Codec:
    """Seals entries under the current key, opens them under each, and hashes names, for one purpose."""

    def __init__(self, keys: Keyring, purpose: str) -> None:
        self.keys = keys
        self.all_keys = tuple(keys)
        """The keys that names are looked up under, as `refresh` found them: the same object while they are the same."""
        self._purpose = _framed(purpose)
        self._derived: dict[bytes, tuple[bytes, bytes]] = {}

    def refresh(self) -> None:
        """Look whether the keys have changed, as those of a key file do."""
        keys = tuple(self.keys)
        if keys != self.all_keys:
            self.all_keys = keys

    def seal(self, entry: Entry) -> bytes:
        """The bytes of an entry."""
        key = self.keys.current
        kind, body = _body(entry)
        message = _VERSION + kind + key.id + entry.time.to_bytes(8, "big") + body
        return message + self._mac(key, message)

    def open(self, raw: bytes) -> Entry:
        """The entry. Raises `Skipped`."""
        if raw[:1] != _VERSION:
            raise Skipped("version" if raw[:1] and len(raw) >= _HEAD + _MAC else "torn")
        if len(raw) < _HEAD + _MAC:
            raise Skipped("torn")
        key = self.keys.get(raw[2:7])
        message = raw[:-_MAC]
        if key is None or not hmac.compare_digest(self._mac(key, message), raw[-_MAC:]):
            raise Skipped("foreign")
        # From here on it was written by one who has the key.
        time = int.from_bytes(raw[7:_HEAD], "big")
        entry = _entry(raw[1:2], time, message[_HEAD:]) if time <= _MAX_TIME else None
        if entry is None:
            raise Skipped("version")
        return entry

    def is_current(self, raw: bytes) -> bool:
        """Whether an entry was sealed under the key that seals now."""
        return raw[2:7] == self.keys.current.id

    def hash_subject(self, subject: str) -> bytes:
        """The hash of a user's name under the current key."""
        return self._hash(self.keys.current, b"subject", _framed(subject))

    def subject_hashes(self, subject: str) -> tuple[bytes, ...]:
        """The hashes of a user's name under every key."""
        name = _framed(subject)
        return tuple(self._hash(key, b"subject", name) for key in self.all_keys)

    def hash_provider(self, issuer: str, sid: str) -> bytes:
        """The hash of a provider's session under the current key."""
        return self._hash(self.keys.current, b"provider", _framed(issuer) + _framed(sid))

    def provider_hashes(self, issuer: str, sid: str) -> tuple[bytes, ...]:
        """The hashes of a provider's session under every key."""
        name = _framed(issuer) + _framed(sid)
        return tuple(self._hash(key, b"provider", name) for key in self.all_keys)

    def _hash(self, key: Key, kind: bytes, name: bytes) -> bytes:
        # Keyed, or somebody could choose a name that collides; with the purpose, or two applications on one channel would
        # end each other's alice.
        return hmac.digest(self._keys_of(key)[1], kind + self._purpose + name, "sha256")[:HASH]

    def _mac(self, key: Key, message: bytes) -> bytes:
        return hmac.digest(self._keys_of(key)[0], self._purpose + message, "sha256")[:_MAC]

    def _keys_of(self, key: Key) -> tuple[bytes, bytes]:
        derived = self._derived.get(key.id)
        if derived is None:
            derived = key.mac(b"hardtack/1 ended entry"), key.mac(b"hardtack/1 ended name")
            self._derived[key.id] = derived
        return derived


def _framed(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(4, "big") + raw


def _body(entry: Entry) -> tuple[bytes, bytes]:
    if isinstance(entry, Session):
        return b"s", entry.id + entry.owner + bytes([entry.changed | entry.brief << 1])
    if isinstance(entry, Subject):
        return b"u", entry.hash + b"".join(entry.spared)
    if isinstance(entry, Provider):
        return b"p", entry.hash
    if isinstance(entry, All):
        return b"a", bytes([entry.unseen])
    if isinstance(entry, Limits):
        return b"l", b"".join(each.to_bytes(8, "big") for each in entry[1:])
    return b"o", entry.identity


def _entry(kind: bytes, time: int, body: bytes) -> Entry | None:
    """The entry of a good MAC; None for what only a newer hardtack can have written."""
    size = len(body)
    if kind == b"s" and size == ID + HASH + 1 and body[-1] < 4:
        return Session(time, body[:ID], body[ID:-1], bool(body[-1] & 1), bool(body[-1] & 2))
    if kind == b"u" and size >= HASH and (size - HASH) % ID == 0:
        return Subject(time, body[:HASH], tuple(_split(body[HASH:])))
    if kind == b"p" and size == HASH:
        return Provider(time, body)
    if kind == b"a" and body in (b"\0", b"\1"):
        return All(time, body == b"\1")
    if kind == b"l" and size == 24:
        return Limits(time, *(int.from_bytes(each, "big") for each in _split(body)))
    if kind == b"o" and size == HASH:
        return Origin(time, body)
    return None


def _split(raw: bytes) -> Iterable[bytes]:
    return (raw[at : at + ID] for at in range(0, len(raw), ID))

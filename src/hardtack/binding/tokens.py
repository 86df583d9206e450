"""Tokens of a binding: challenges, bound cookies and key cookies. The server keeps none of them.

Each is base64url of a version, the id of the key that made it, a time in milliseconds, an id of 16 bytes and what it says
beside, and then base64url of a MAC of 16 bytes over that text, its kind, the application's purpose and the session cookie's
name.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NamedTuple

from pybase64 import b64decode, b64encode_as_string

from hardtack import values
from hardtack.tokens.encrypted import binding as framed
from hardtack.tokens.keys import Key, Keyring

CHALLENGE_SECONDS: Final = 15 * 60
"""How long a challenge may be answered."""

MARK_SECONDS: Final = 60
"""How long the mark in the URL of a request that was sent back for a proof is good."""

ID_SIZE: Final = 16
ID_CHARACTERS: Final = 22

_VERSION: Final = b"\x01"
_MAC_SIZE: Final = 16
_TIME_SIZE: Final = 6
_MAC_CHARACTERS: Final = 22
_HEAD: Final = 6  # the version and the key's id
_HEAD_CHARACTERS: Final = 8
_FRONT: Final = _HEAD + _TIME_SIZE
_FRONT_CHARACTERS: Final = 16  # of the twelve bytes before the id, which so begins with a character of its own
_COMPARED: Final = 21
"""Characters of an id that stand in a token as they stand alone: 126 of its 128 bits."""
_SHORTEST: Final = _FRONT_CHARACTERS + 22 + _MAC_CHARACTERS
_SKEW: Final = 60_000
"""Milliseconds by which the clock of another of our servers may run ahead."""


class Said(NamedTuple):
    """What a good token says."""

    id: bytes
    at: int
    """Milliseconds since 1970."""

    more: bytes


class Bound(NamedTuple):
    """What a bound cookie says, or, with the key's bytes in the place of its thumbprint, a key cookie."""

    binding: bytes
    at: int
    session: bytes
    """The short form of the id of the session that it was given to."""

    key: bytes


class Tokens:
    """Issues and reads the tokens of one application."""

    __slots__ = ("_framed", "_keys")

    def __init__(self, keys: Keyring, purpose: str, cookie_name: str) -> None:
        self._keys = keys
        self._framed = framed(purpose, cookie_name)

    # --- challenges

    def registration(self, session_id: bytes, now: int) -> str:
        """A challenge for the browser of a session that is not bound. `now` in milliseconds, here and below."""
        return self._issue(b"registration", short(session_id), now)

    def answers_registration(self, token: str, session_id: bytes, now: int) -> bool:
        """Whether a challenge was for this session, not longer ago than it may be."""
        return bool(self._answers(b"registration", token, short(session_id), now))

    def challenge(self, binding: bytes, now: int) -> str:
        """A challenge for the browser of a binding."""
        return self._issue(b"challenge", binding, now)

    def answers_challenge(self, token: str, binding: bytes, now: int) -> bool | None:
        """Whether a challenge was for this binding, not longer ago than it may be; None where it was, and is too old."""
        return self._answers(b"challenge", token, binding, now)

    def _answers(self, kind: bytes, token: str, asked: bytes, now: int) -> bool | None:
        said = self._read(kind, token)
        if said is None or said.id != asked or said.more:
            return False
        return _is_within(said.at, now, CHALLENGE_SECONDS) or None

    # --- cookies

    def bound(self, binding: bytes, thumbprint: bytes, session_id: bytes, now: int) -> str:
        """The value of a bound cookie: a proof of the key at this time."""
        return self._issue(b"bound", binding, now, short(session_id) + thumbprint)

    def read_bound(self, token: str, now: int, seconds: int) -> Bound | None:
        """What a bound cookie says that is not older than `seconds`."""
        said = self._read(b"bound", token)
        if said is None or len(said.more) != ID_SIZE + 32 or not _is_within(said.at, now, seconds):
            return None
        return Bound(said.id, said.at, said.more[:ID_SIZE], said.more[ID_SIZE:])

    def proved_at(self, token: str, binding: str, now: int, seconds: int) -> int:
        """When a bound cookie of a binding, whose id is given as text, was made; 0 for any other, and for one that is older.

        For each request: it decodes no more than it needs.
        """
        if token[_FRONT_CHARACTERS : _FRONT_CHARACTERS + _COMPARED] != binding[:_COMPARED]:
            return 0
        at = self._made(b"bound", token)
        return at if at is not None and _is_within(at, now, seconds) else 0

    def key(self, binding: bytes, key: bytes, session_id: bytes, now: int) -> str:
        """The value of a key cookie: the public key that a binding began with."""
        return self._issue(b"key", binding, now, short(session_id) + key)

    def read_key(self, token: str) -> Bound | None:
        """What a key cookie says, however old it is."""
        said = self._read(b"key", token)
        if said is None or len(said.more) <= ID_SIZE:
            return None
        return Bound(said.id, said.at, said.more[:ID_SIZE], said.more[ID_SIZE:])

    # --- marks

    def mark(self, binding: bytes, now: int) -> str:
        """What stands in the URL of a request that was sent back for a proof."""
        return self._issue(b"mark", binding, now)

    def read_mark(self, token: str, binding: bytes, now: int) -> int | None:
        """When a good mark was made; None for any other."""
        said = self._read(b"mark", token)
        if said is None or said.id != binding or said.more or not _is_within(said.at, now, MARK_SECONDS):
            return None
        return said.at

    # --- the bytes

    def _issue(self, kind: bytes, about: bytes, now: int, more: bytes = b"") -> str:
        key = self._keys.current
        said = values.encode_bytes(_VERSION + key.id + now.to_bytes(_TIME_SIZE, "big") + about + more)
        return said + self._mac(key, kind, said)

    def _read(self, kind: bytes, token: str) -> Said | None:
        at = self._made(kind, token)
        if at is None:
            return None
        try:
            raw = values.decode_bytes(token[:-_MAC_CHARACTERS])
        except ValueError:  # pragma: no cover - a text that was signed is one that was encoded
            return None
        return Said(raw[_FRONT : _FRONT + ID_SIZE], at, raw[_FRONT + ID_SIZE :])

    def _made(self, kind: bytes, token: str) -> int | None:
        """When a token of ours was made, milliseconds since 1970; None for every other."""
        if len(token) < _SHORTEST or not token.isascii():
            return None
        key = self._keys.current
        if not token.startswith(key.beginning):
            found = self._key_of(token)
            if found is None:
                return None
            key = found
        # The texts are compared, of which each has one spelling.
        if not hmac.compare_digest(self._mac(key, kind, token[:-_MAC_CHARACTERS]), token[-_MAC_CHARACTERS:]):
            return None
        return int.from_bytes(b64decode(token[_HEAD_CHARACTERS:_FRONT_CHARACTERS], b"-_"), "big")

    def _key_of(self, token: str) -> Key | None:
        try:
            head = values.decode_bytes(token[:_HEAD_CHARACTERS])
        except ValueError:
            return None
        return self._keys.get(head[1:]) if head[:1] == _VERSION else None

    def _mac(self, key: Key, kind: bytes, said: str) -> str:
        # The length of the kind stands before it: no kind is the beginning of another's message.
        message = b"hardtack/1 binding%c%b%b%b" % (len(kind), kind, self._framed, said.encode())
        return b64encode_as_string(key.mac(message)[:_MAC_SIZE], b"-_")[:_MAC_CHARACTERS]


def _is_within(at: int, now: int, seconds: int) -> bool:
    return at - _SKEW <= now < at + 1000 * seconds


def short(session_id: bytes) -> bytes:
    """16 bytes that stand for a session's id, of which a store's have 32."""
    return session_id if len(session_id) == ID_SIZE else hashlib.sha256(session_id).digest()[:ID_SIZE]


def binding_id(session_id: bytes, thumbprint: bytes) -> bytes:
    """The id of a binding: of the session that it began with, and the key. It stays while the binding lives."""
    return hashlib.sha256(b"hardtack/1 binding id" + short(session_id) + thumbprint).digest()[:ID_SIZE]


def parse_id(text: str | None) -> bytes | None:
    """The id of a binding as a browser sends it, bare or quoted; None for what is none."""
    text = (text or "").strip(' \t"')
    if len(text) != ID_CHARACTERS:
        return None
    try:
        return values.decode_bytes(text)
    except ValueError:
        return None

"""EncryptedToken: a record that nobody but the holder of the key can read or change. docs/token-format.md has the bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from pybase64 import b64decode, b64encode_as_string

from hardtack.errors import InvalidToken
from hardtack.protocols import Context
from hardtack.record import Record, pack, unpack
from hardtack.tokens.keys import VERSION, Key, Keyring, as_keyring, unknown_key

MAX_LENGTH: Final = 9 * 4096
"""Characters of a token that are looked at: as many cookies as `CookieEngine(max_chunks=…)` may write."""

_SHORTEST = 6 + 24 + 16  # header, nonce, tag


def binding(purpose: str, cookie_name: str) -> bytes:
    """What ties a token to one application and one cookie: each text framed by its length, so that none runs over."""
    return b"".join(len(raw).to_bytes(2, "big") + raw for raw in (purpose.encode(), cookie_name.encode()))


class EncryptedToken:
    """XAES-256-GCM under a keyring, version 1. Made for cookies: one canonical spelling in `A-Z a-z 0-9 - _`."""

    name: Final = "encrypted"
    native: Final = True

    def __init__(self, keys: Keyring | Key) -> None:
        self._keys = as_keyring(keys)
        self._find = self._keys.finder()
        # What the last context ties a token to: a manager has one purpose and one cookie, and asks with each request.
        self._bound = "", "", binding("", "")

    @property
    def keys(self) -> Keyring:
        """The key that issues, and those that are accepted."""
        return self._keys

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        """The record in the cookie. Raises `InvalidToken`: `malformed`, `too_large`, `unknown_key` or `tampered`."""
        name, purpose, _ = context
        raw = _decode(last_value(cookies, name))
        bound = self._bound
        if bound[0] != name or bound[1] != purpose:
            bound = self._bind(name, purpose)
        header = raw[:6]
        key = self._find(header[1:])
        if key is None:
            raise unknown_key(header[1:], "no key of the ring has the token's key id")
        try:
            plaintext = key.encrypting.open(raw, header + bound[2], 6)
        except InvalidTag:
            raise InvalidToken("tampered", "the token was changed, or is of another cookie or purpose") from None
        return unpack(plaintext)

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """One cookie, `{cookie_name: token}`. Raises `UnsupportedValue`."""
        name, purpose, _ = context
        bound = self._bound
        if bound[0] != name or bound[1] != purpose:
            bound = self._bind(name, purpose)
        key = self._keys.current
        header = key.header
        sealed = key.encrypting.seal(pack(record), header + bound[2], header)
        return {name: b64encode_as_string(sealed, b"-_").rstrip("=")}

    def _bind(self, name: str, purpose: str) -> tuple[str, str, bytes]:
        bound = self._bound = name, purpose, binding(purpose, name)
        return bound

    def is_current(self, cookies: Mapping[str, Sequence[str]], context: Context) -> bool:
        """Whether the (good) token in the cookie was sealed under the key that issues now."""
        return cookies[context.cookie_name][-1].startswith(self._keys.current.beginning)

    def sealed_by(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Key:
        """The key that the (good) token in the cookie was sealed under."""
        key = self._find(_decode(last_value(cookies, context.cookie_name))[1:6])
        assert key is not None
        return key


def last_value(cookies: Mapping[str, Sequence[str]], name: str) -> str:
    """The last value of a cookie. Raises `InvalidToken("missing")`."""
    found = cookies.get(name)
    if not found:
        raise InvalidToken("missing", "the request has no such cookie")
    return found[-1]


# By the length of a token's last group, the characters that may end it: the others have stray bits, or no group has one.
_LAST = (frozenset[str](), frozenset[str](), frozenset("AQgw"), frozenset("AEIMQUYcgkosw048"))
_PADDING = ("", "", "==", "=")


def _decode(token: str) -> bytes:
    """The bytes of a token in its one spelling."""
    length = len(token)
    if length > MAX_LENGTH:
        raise InvalidToken("too_large", f"a token has at most {MAX_LENGTH} characters")
    # A decoder of base64url may also take "+", "/", padding and stray trailing bits; a token has one spelling.
    group = length % 4
    if "+" in token or "/" in token or "=" in token or (group and token[-1] not in _LAST[group]):
        raise InvalidToken("malformed", "not canonical base64url")
    try:
        raw = b64decode(token + _PADDING[group], b"-_", True)  # by name it takes a fifth longer
    except ValueError:  # binascii.Error is a ValueError
        raise InvalidToken("malformed", "not base64url") from None
    if len(raw) < _SHORTEST or raw[0] != VERSION[0]:
        raise InvalidToken("malformed", "not a version 1 token")
    return raw

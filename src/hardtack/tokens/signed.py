"""SignedToken: a record that the client may read and cannot change. docs/token-format.md has the bytes."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from hardtack import record as records
from hardtack import values
from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.protocols import Context
from hardtack.record import Record
from hardtack.tokens.encrypted import MAX_LENGTH, binding, last_value
from hardtack.tokens.keys import Key, Keyring, as_keyring, unknown_key

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class SignedToken:
    """JSON and HMAC-SHA256 under a keyring, version 1: `ht1.<key id>.<payload>.<MAC>`, each field base64url."""

    name: Final = "signed"
    native: Final = True

    def __init__(self, keys: Keyring | Key) -> None:
        self._keys = as_keyring(keys)
        self._find = self._keys.finder()

    @property
    def keys(self) -> Keyring:
        """The key that issues, and those that are accepted."""
        return self._keys

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        """The record in the cookie. Raises `InvalidToken`: `malformed`, `too_large`, `unknown_key` or `tampered`."""
        token = last_value(cookies, context.cookie_name)
        if len(token) > MAX_LENGTH:
            raise InvalidToken("too_large", f"a token has at most {MAX_LENGTH} characters")
        signed, _, mac = token.rpartition(".")
        parts = signed.split(".")
        if len(parts) != 3 or parts[0] != "ht1" or not token.isascii():
            raise InvalidToken("malformed", "not a version 1 signed token")
        key_id = _field(parts[1])
        key = self._find(key_id)
        if key is None:
            raise unknown_key(key_id, "no key of the ring has the token's key id")
        # The MAC comes before anything is decoded or parsed, and is compared as bytes of one spelling.
        if not hmac.compare_digest(_mac(key, signed, context).encode(), mac.encode()):
            raise InvalidToken("tampered", "the token was changed, or is of another cookie or purpose")
        try:
            fields = json.loads(values.decode_bytes(parts[2]), parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise InvalidToken("malformed", "the payload is not JSON") from None
        record = records.from_json(fields)
        try:
            records.pack(record)
        except (UnsupportedValue, TypeError):  # a lone surrogate, too deep: JSON that another writer signed
            raise InvalidToken("malformed", "the payload holds what a session cannot keep") from None
        return record

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """One cookie, `{cookie_name: token}`. Raises `UnsupportedValue`."""
        key = self._keys.current
        payload = values.encode_bytes(_dumps(records.to_json(record)).encode())
        signed = f"ht1.{values.encode_bytes(key.id)}.{payload}"
        return {context.cookie_name: f"{signed}.{_mac(key, signed, context)}"}

    def is_current(self, cookies: Mapping[str, Sequence[str]], context: Context) -> bool:
        """Whether the (good) token in the cookie was sealed under the key that issues now."""
        prefix = f"ht1.{values.encode_bytes(self._keys.current.id)}."
        return last_value(cookies, context.cookie_name).startswith(prefix)

    def sealed_by(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Key:
        """The key that the (good) token in the cookie was signed under."""
        key = self._find(_field(last_value(cookies, context.cookie_name).split(".")[1]))
        assert key is not None
        return key


def _mac(key: Key, signed: str, context: Context) -> str:
    message = b"hardtack/1 signed" + binding(context.purpose, context.cookie_name) + signed.encode()
    return values.encode_bytes(key.mac(message))


def _field(text: str) -> bytes:
    try:
        return values.decode_bytes(text)
    except ValueError:
        raise InvalidToken("malformed", "the key id is not canonical base64url") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)

"""Perl's Session::Storage::Secure, protocols 1 and 2: Sereal in AES-256-CBC, authenticated with HMAC-SHA256.

It is what Dancer::Session::Cookie and Dancer2::Session::Cookie put into their cookies. To the byte:

    version 2   b64url(salt, 32 bytes) ~ expires ~ b64url(ciphertext) ~ b64url(mac) ~ 2
    version 1   decimal salt ~ expires ~ b64url("Salted__" salt8 ciphertext) ~ b64url(mac)

    key = HMAC-SHA256(secret, salt), mac = HMAC-SHA256(key, expires ~ the encoded ciphertext)
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pybase64

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign.base import ForeignCookie, Until, malformed, secret_bytes, secrets_bytes
from hardtack.foreign.perl import cbc, documents
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_DIGITS = frozenset("0123456789")
_SEPARATORS = "!#$%&'()*+./:<=>?@[]^`{|}~"
_RECENT = 1024
_RECENT_SIZE = 4096  # so that what is remembered stays below 4 MB


class SessionStorageSecureCookie(ForeignCookie):
    """A cookie of Session::Storage::Secure, read and written. Both protocols are read, whichever is written.

    Reading is stricter than the original, which takes altered salts and versions (`02`, junk in the base64) as well.

    Args:
        secret: `secret_key`; text is taken as UTF-8.
        old_secrets: `old_secrets`; read, never written with.
        protocol_version: what is written, 1 or 2.
        separator: `separator`; it is authenticated with the rest.
        default_duration: `default_duration`; a cookie written here ends no later than this.
        cookie_name, path, domain, until, keep_until, subject, sliding: see `ForeignCookie`. A cookie without an expiry is not
            taken over without `until` (`undated`).

    Raises `ConfigError`.
    """

    format_name = "session-storage-secure"
    distinct = True
    default_cookie_name = "session"
    authenticates_time = True
    ends_some = True
    ends_after = "default_duration"

    def __init__(
        self,
        secret: str | bytes,
        *,
        old_secrets: Sequence[str | bytes] = (),
        protocol_version: Literal[1, 2] = 2,
        separator: str = "~",
        default_duration: Duration | None = None,
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
        sliding: bool = False,
    ) -> None:
        super().__init__(
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            until=until,
            keep_until=keep_until,
            subject=subject,
            sliding=sliding,
        )
        if protocol_version not in (1, 2):
            message = f"protocol_version={protocol_version!r} must be 1 or 2"
            raise ConfigError(message)
        if type(separator) is not str or not separator or not set(_SEPARATORS).issuperset(separator):
            message = f"separator must be of characters that cookies carry and the fields do not use: {_SEPARATORS}"
            raise ConfigError(message)
        self._secrets = all_secrets(secret, old_secrets)
        self._version = protocol_version
        self._separator = separator
        self._recent: dict[str, bytes] = {}
        self._duration = None if default_duration is None else seconds(default_duration, "default_duration")
        self._slide(self._duration)

    def _current_secrets(self) -> Sequence[bytes]:
        return self._secrets

    def _read(self, value: str, context: Context) -> Record:
        data, packed, expires = self._decode(value, context.now)
        record = self._to_record(data, expires, value, context)
        if record.data is data:
            record.keep(packed)
        return record

    def _to_record(self, data: dict[str, Any], expires: int | None, value: str, context: Context) -> Record:
        return self._record(data, context, value, expires=expires)

    def _decode(self, value: str, now: int) -> tuple[dict[str, Any], bytes, int | None]:
        """The data, its MessagePack form, and when it expires, in Unix seconds."""
        fields = value.split(self._separator)
        if not 4 <= len(fields) <= 5:
            malformed("it does not have four or five fields")
        version = fields[4] if len(fields) == 5 else "1"
        salt = _salt(fields[0], version)
        expires, encoded = fields[1], fields[2]
        key = self._key(salt, f"{expires}{self._separator}{encoded}", fields[3])
        deadline = None
        if expires:
            if not _DIGITS.issuperset(expires) or len(expires) > 15:
                malformed("its expiry is not a number")
            deadline = int(expires)
            if deadline < now:
                raise InvalidToken("expired")
        known = self._recent.get(fields[3])
        if known is not None:
            return values.unpack(known), known, deadline
        data = self._decrypt(key, salt, encoded, version)
        return data, self._remember(fields[3], data), deadline

    def _decrypt(self, key: bytes, salt: bytes, encoded: str, version: str) -> dict[str, Any]:
        try:
            ciphertext = pybase64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
        except ValueError:
            malformed("its ciphertext is not base64")
        plain = cbc.open_ecb_iv(key, salt, ciphertext) if version == "2" else cbc.open_salted(key, ciphertext)
        return documents.read(plain)

    def _remember(self, mac: str, data: dict[str, Any]) -> bytes:
        """Keep what an authentic cookie holds, as MessagePack: a browser sends the same one until the session changes.

        Only the MAC, which was just found to be right, names it; the MAC and the expiry are checked every time.
        """
        try:
            packed = values.pack(data)
        except UnsupportedValue:
            malformed("the data holds what a session cannot keep")
        if len(packed) <= _RECENT_SIZE:
            if len(self._recent) >= _RECENT:
                self._recent.clear()
            self._recent[mac] = packed
        return packed

    def _key(self, salt: bytes, signed: str, mac: str) -> bytes:
        for secret in self._current_secrets():
            key = hmac.digest(secret, salt, "sha256")
            expected = _encode(hmac.digest(key, signed.encode("utf-8", "surrogatepass"), "sha256"))
            if hmac.compare_digest(expected.encode(), mac.encode("utf-8", "surrogatepass")):
                return key
        raise InvalidToken("tampered")

    def _write(self, record: Record, context: Context) -> str:
        return self._encode(record.data, self._deadline(record, context, self._duration))

    def _encode(self, data: dict[str, Any], expires: int | None) -> str:
        """The value of data that ends at `expires`, in Unix seconds."""
        plain = documents.write(data)
        secret = self._current_secrets()[0]
        if self._version == 2:
            salt = os.urandom(32)
            key = hmac.digest(secret, salt, "sha256")
            head, ciphertext, tail = _encode(salt), cbc.seal_ecb_iv(key, salt, plain), f"{self._separator}2"
        else:
            head = str(secrets.randbits(32))
            key = hmac.digest(secret, head.encode(), "sha256")
            ciphertext, tail = cbc.seal_salted(key, plain), ""
        signed = f"{'' if expires is None else expires}{self._separator}{_encode(ciphertext)}"
        mac = _encode(hmac.digest(key, signed.encode(), "sha256"))
        return f"{head}{self._separator}{signed}{self._separator}{mac}{tail}"


def all_secrets(secret: str | bytes, old_secrets: Sequence[str | bytes]) -> list[bytes]:
    """The secret that is written with, then those that are only read. Raises `ConfigError`."""
    return [secret_bytes(secret), *secrets_bytes(old_secrets, "old_secrets")]


def _salt(text: str, version: str) -> bytes:
    """The salt, in its one spelling: no MAC covers the text, and altered ones would be other names of one cookie."""
    if version == "2":
        try:
            salt = values.decode_bytes(text)
        except ValueError:
            malformed("its salt is not base64")
        if len(salt) == 32:
            return salt
    elif version == "1":
        if _DIGITS.issuperset(text) and 0 < len(text) <= 10 and str(int(text)) == text:
            return text.encode()
    else:
        malformed("its version is neither 1 nor 2")
    raise InvalidToken("malformed", "its salt is not one")


def _encode(raw: bytes) -> str:
    return pybase64.b64encode_as_string(raw, b"-_").rstrip("=")

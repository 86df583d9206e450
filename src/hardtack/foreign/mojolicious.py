"""The session cookies of Perl's Mojolicious: JSON, signed with HMAC-SHA256 or encrypted with ChaCha20-Poly1305."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import pybase64
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign._keys import keyed_mac
from hardtack.foreign.base import ForeignCookie, Until, check_plain, malformed, parse_json, text
from hardtack.foreign.session_storage_secure import all_secrets
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_KNOWN = frozenset({b"mojolicious", b"mojolicious_lite", b"my_app", b"myapp", b"hello", b"app"})
"""Names that the guides and generators give to applications: an application without secrets signs with its name."""

_DIGITS = re.compile("[0-9]{1,15}")


class _MojoliciousSession(ForeignCookie):
    """What both cookies have in common: the JSON, its times, and Mojolicious's flash messages.

    `expires` is no part of the data, it becomes the session's deadline. Mojolicious stores `new_flash` and shows it as
    `flash`: so it is here, and a `flash` that is still there when the session is written is kept for its next request.
    """

    default_cookie_name = "mojolicious"
    authenticates_time = True
    ends_some = True  # with default_expiration=0

    def __init__(
        self,
        secret: str | bytes,
        *,
        old_secrets: Sequence[str | bytes],
        moniker: str | None,
        default_expiration: Duration,
        cookie_name: str | None,
        path: str,
        domain: str | None,
        until: Until | None,
        keep_until: Until | None,
        subject: Callable[[dict[str, Any]], str | None] | None,
    ) -> None:
        super().__init__(
            cookie_name=cookie_name, path=path, domain=domain, until=until, keep_until=keep_until, subject=subject
        )
        self._secrets = all_secrets(secret, old_secrets)
        names = _KNOWN if moniker is None else _KNOWN | {text(moniker, "moniker").encode()}
        if not names.isdisjoint(self._secrets):
            message = (
                "the secret is the name of the application, Mojolicious's default, which everyone can guess; "
                "cookies signed with it prove nothing: set app->secrets in Mojolicious first"
            )
            raise ConfigError(message)
        self._expiration = seconds(default_expiration, "default_expiration")

    def _parse(self, payload: bytes, value: str, context: Context) -> Record:
        try:
            text = pybase64.b64decode(payload.replace(b"-", b"="), validate=True)
        except ValueError:
            malformed("not base64")
        data = parse_json(text.rstrip(b"Z"))  # 9.19 to 9.38 pad it
        if type(data) is not dict:
            malformed("not a JSON object")
        expires = _expires(data.pop("expires", None), self._duration(data), context.now)
        if data.get("new_flash"):
            data["flash"] = data.pop("new_flash")
        return self._record(data, context, value, expires=expires)

    def _duration(self, data: dict[str, Any]) -> int:
        """Seconds that a session lasts from its last write; 0: until the browser is closed."""
        expiration = data.get("expiration")
        if expiration is None:
            return self._expiration
        duration = _number(expiration)
        if duration is not None and 0 <= duration < 1 << 40:
            return int(duration)
        raise InvalidToken("malformed", "its expiration is not a number of seconds")

    def _payload(self, record: Record, context: Context) -> bytes:
        check_plain(record.data, finite=True, binary=False)
        data = dict(record.data)
        for key in ("expires", "new_flash"):
            if key in data:
                raise UnsupportedValue(key, type(data[key]).__name__, "Mojolicious keeps something else under this key")
        try:
            duration = self._duration(data)
        except InvalidToken:
            expiration = type(data["expiration"]).__name__
            raise UnsupportedValue("expiration", expiration, "Mojolicious takes it as a number of seconds") from None
        expires = self._deadline(record, context, duration or None)
        if expires is not None:
            data["expires"] = expires
        if data.get("flash"):
            data["new_flash"] = data.pop("flash")
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return pybase64.b64encode(text.encode()).replace(b"=", b"-")


def _expires(expires: object, duration: int, now: int) -> int | None:
    """The deadline in the JSON, as Mojolicious reads it: from that second on it is expired."""
    if expires is None:
        if duration:
            raise InvalidToken("expired", "it has no expiry, and Mojolicious would drop it")
        return None
    end = _number(expires)
    if end is None or not 0 <= end < 1 << 50:
        malformed("its expiry is not a time")
    if end <= now:
        raise InvalidToken("expired")
    return int(end)


def _number(value: object) -> int | float | None:
    """A number of the JSON; also one that is written as text, which is the same to Perl."""
    if type(value) is str and _DIGITS.fullmatch(value):
        return int(value)
    return value if type(value) in (int, float) else None  # type: ignore[return-value]


class MojoliciousCookie(_MojoliciousSession):
    """Mojolicious's signed session cookie, with and without the padding of 9.19 to 9.38; read and written.

    Its name is signed with it: give `cookie_name` where the application changed it.

    Args:
        secret: the first of `app->secrets`. The application's name, Mojolicious's default, is refused.
        old_secrets: the others; read, never signed with.
        moniker: the application's name (`app->moniker`), so that it can be refused as a secret.
        default_expiration: `app->sessions->default_expiration`, one hour; 0: cookies need not have an expiry.
        cookie_name, path, domain: `app->sessions->cookie_name`, `cookie_path`, `cookie_domain`.
        until, keep_until, subject: see `ForeignCookie`.

    Raises `ConfigError`.
    """

    format_name = "mojolicious"

    def __init__(
        self,
        secret: str | bytes,
        *,
        old_secrets: Sequence[str | bytes] = (),
        moniker: str | None = None,
        default_expiration: Duration = 3600,
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        super().__init__(
            secret,
            old_secrets=old_secrets,
            moniker=moniker,
            default_expiration=default_expiration,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            until=until,
            keep_until=keep_until,
            subject=subject,
        )

    def _read(self, value: str, context: Context) -> Record:
        payload, dashes, mac = value.encode("utf-8", "surrogatepass").rpartition(b"--")
        if not dashes or not mac:
            raise InvalidToken("unsigned")
        if not any(hmac.compare_digest(self._mac(secret, payload), mac) for secret in self._secrets):
            raise InvalidToken("tampered")
        return self._parse(payload, value, context)

    def _write(self, record: Record, context: Context) -> str:
        payload = self._payload(record, context)
        return (payload + b"--" + self._mac(self._secrets[0], payload)).decode()

    def _mac(self, secret: bytes, payload: bytes) -> bytes:
        return keyed_mac(secret, self.cookie_name.encode() + b"=" + payload, "sha256").hex().encode()


class MojoliciousEncryptedCookie(_MojoliciousSession):
    """Mojolicious's encrypted session cookie (9.39 and later, `app->sessions->encrypted`), read and written.

    Args:
        secret: the first of `app->secrets`. The application's name is refused.
        moniker: the application's name (`app->moniker`); the keys are derived with it.
        old_secrets, default_expiration, cookie_name, path, domain, until, keep_until, subject: as for `MojoliciousCookie`. The
            cookie's name is not bound: one secret, one cookie.

    Raises `ConfigError`.
    """

    format_name = "mojolicious-encrypted"
    distinct = True
    max_length = 16384  # base64 of base64: what a session of 5 KB takes

    def __init__(
        self,
        secret: str | bytes,
        *,
        moniker: str,
        old_secrets: Sequence[str | bytes] = (),
        default_expiration: Duration = 3600,
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        if type(moniker) is not str or not moniker:
            raise ConfigError(
                "moniker is the application's name, as app->moniker gives it; it is needed to derive the key"
            )
        super().__init__(
            secret,
            old_secrets=old_secrets,
            moniker=moniker,
            default_expiration=default_expiration,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            until=until,
            keep_until=keep_until,
            subject=subject,
        )
        salt = moniker.encode()
        self._ciphers = [
            ChaCha20Poly1305(hashlib.pbkdf2_hmac("sha256", each, salt, 5000, 32)) for each in self._secrets
        ]

    def _read(self, value: str, context: Context) -> Record:
        fields = [_canonical(field) for field in value.split("-")]
        if [len(field) for field in fields[1:]] != [12, 16]:
            malformed("it is not ciphertext, nonce and tag")
        ciphertext, nonce, tag = fields
        for cipher in self._ciphers:
            try:
                payload = cipher.decrypt(nonce, ciphertext + tag, None)
            except InvalidTag:
                continue
            return self._parse(payload, value, context)
        raise InvalidToken("tampered")

    def _write(self, record: Record, context: Context) -> str:
        nonce = os.urandom(12)
        sealed = self._ciphers[0].encrypt(nonce, self._payload(record, context), None)
        return "-".join(pybase64.b64encode(part).decode() for part in (sealed[:-16], nonce, sealed[-16:]))


def _canonical(text: str) -> bytes:
    """Base64 in its one spelling: else one cookie would have many names, and its record many ids."""
    try:
        raw = pybase64.b64decode(text, validate=True)
    except ValueError:
        malformed("not base64")
    if pybase64.b64encode_as_string(raw) != text:
        malformed("not canonical base64")
    return raw

"""Django's session cookie where SESSION_ENGINE is signed_cookies: JSON under the signature of django.core.signing."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from hardtack.errors import ConfigError
from hardtack.foreign import _python as shared
from hardtack.foreign.base import ForeignCookie, Until, malformed, secret_bytes, secrets_bytes, text
from hardtack.lifetime import Duration
from hardtack.protocols import Context
from hardtack.record import Record

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGESTS = ("sha256", "sha1")


class DjangoSignedCookie(ForeignCookie):
    """The cookie of `django.contrib.sessions.backends.signed_cookies`, read and written.

    The time in it is that of the last write: the session counts as created then, and ends `max_age` later. A session
    that `PickleSerializer` (before Django 5) wrote is refused as `unsafe`. The user is `data["_auth_user_id"]`.

    Parameters:
        secret: `SECRET_KEY`.
        fallbacks: `SECRET_KEY_FALLBACKS`; read, never signed with.
        digest: `sha256`; `sha1` before Django 3.1.
        max_age: `SESSION_COOKIE_AGE`, by default 14 days.
        cookie_name, path, domain, until, keep_until, subject: see `ForeignCookie`; `SESSION_COOKIE_NAME` and so on.

    Raises `ConfigError`.
    """

    format_name = "django-signed-cookies"
    default_cookie_name = "sessionid"
    authenticates_time = True

    def __init__(
        self,
        secret: str | bytes,
        *,
        fallbacks: Sequence[str | bytes] = (),
        salt: str = "django.contrib.sessions.backends.signed_cookies",
        digest: str = "sha256",
        max_age: Duration | None = dt.timedelta(days=14),
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        super().__init__(
            cookie_name=cookie_name, path=path, domain=domain, until=until, keep_until=keep_until, subject=subject
        )
        if digest not in _DIGESTS:
            message = f"digest={digest!r} is not one of Django's; write one of {', '.join(_DIGESTS)}"
            raise ConfigError(message)
        secrets = [secret_bytes(secret), *secrets_bytes(fallbacks, "fallbacks")]
        current, *accept = [
            hashlib.new(digest, text(salt, "salt").encode() + b"signer" + each).digest() for each in secrets
        ]
        self._signer = shared.Signer(current, accept, digest=digest, separator=":")
        self._max_age = shared.max_age_seconds(max_age)

    def _read(self, value: str, context: Context) -> Record:
        payload, separator, stamp = self._signer.unsign(value).rpartition(":")
        if not separator:
            malformed("it has no time")
        created, expires = shared.begin_and_end(decode_base62(stamp), context, self._max_age)
        plain = shared.decode_payload(payload)
        shared.refuse_pickle(plain)
        data = shared.read_json(plain.decode("latin-1"))
        return self._record(data, context, value, created=created, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        text = shared.write_json(record.data)
        return self._signer.sign(f"{shared.encode_payload(text.encode())}:{encode_base62(context.now)}")


def encode_base62(number: int) -> str:
    """A number that is not negative in Django's base 62."""
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = _BASE62[digit] + text
    return text or "0"


def decode_base62(text: str) -> int:
    """The number, or `InvalidToken("malformed")`: a time is neither negative nor longer than ten digits."""
    digits = [_BASE62.find(digit) for digit in text]
    if not 0 < len(digits) <= 10 or -1 in digits:
        malformed("its time is not a number")
    number = 0
    for digit in digits:
        number = number * 62 + digit
    return number

"""The cookie of Pyramid's SignedCookieSessionFactory: an HMAC and JSON in one base64 text."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _python as shared
from hardtack.foreign.base import ForeignCookie, Until, check_plain, malformed, secret_bytes, text
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_DIGESTS = ("sha512", "sha384", "sha256", "sha1")


class PyramidCookie(ForeignCookie):
    """The cookie of `pyramid.session.SignedCookieSessionFactory`, read and written.

    It holds when the session was created, which is carried over, and when it was last used: after `timeout` without use
    it is refused. `timeout` says nothing about a session that is in use, and so gives the record no deadline. A session
    that `PickleSerializer` (the default before Pyramid 2) wrote is refused as `unsafe`.

    Parameters:
        secret: the factory's `secret`.
        salt, hashalg: the factory's settings of these names.
        timeout: the factory's `timeout`, by default 20 minutes; None: no limit.
        cookie_name, path, domain, until, keep_until, subject: see `ForeignCookie`.

    Raises `ConfigError`.
    """

    format_name = "pyramid-signed"
    default_cookie_name = "session"
    authenticates_time = True

    def __init__(
        self,
        secret: str | bytes,
        *,
        salt: str = "pyramid.session.",
        hashalg: str = "sha512",
        timeout: Duration | None = 1200,
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
        if hashalg not in _DIGESTS:
            message = f"hashalg={hashalg!r} is not known; write one of {', '.join(_DIGESTS)}"
            raise ConfigError(message)
        self._digest = hashalg
        self._key = _salted(salt, secret)
        self._timeout = None if timeout is None else seconds(timeout, "timeout")

    def _read(self, value: str, context: Context) -> Record:
        raw = shared.decode_base64(value)
        size = hashlib.new(self._digest).digest_size
        signature, plain = raw[:size], raw[size:]
        if not hmac.compare_digest(signature, hmac.digest(self._key, plain, self._digest)):
            raise InvalidToken("tampered")
        shared.refuse_pickle(plain)
        content = shared.read_json(plain)
        if type(content) is not list or len(content) != 3:
            malformed("it is not what SignedCookieSessionFactory writes")
        used_at, created_at = map(_time, content[:2])
        used, _ = shared.begin_and_end(used_at, context, self._timeout)
        created, _ = shared.begin_and_end(created_at, context, None)
        record = self._record(content[2], context, raw, created=min(created, used))
        record.seen = used
        return record

    def _write(self, record: Record, context: Context) -> str:
        check_plain(record.data, binary=False, wide=True)
        plain = shared.dump_json([context.now, record.created, record.data], compact=False).encode()
        return values.encode_bytes(hmac.digest(self._key, plain, self._digest) + plain)


def _salted(salt: str, secret: str | bytes) -> bytes:
    """Salt and secret as WebOb joins them: Latin-1, or UTF-8 where one of them does not fit into Latin-1."""
    secret_bytes(secret)
    text(salt, "salt")
    try:
        return salt.encode("latin-1") + (secret.encode("latin-1") if isinstance(secret, str) else secret)
    except UnicodeEncodeError:
        return salt.encode() + secret_bytes(secret)


def _time(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 1 << 40:
        malformed("its time is not a number")
    return int(number)

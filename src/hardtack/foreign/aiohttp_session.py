"""The cookie of aiohttp-session's EncryptedCookieStorage: JSON in a Fernet token."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from cryptography import fernet

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _python as shared
from hardtack.foreign.base import ForeignCookie, Until, check_plain, malformed
from hardtack.lifetime import Duration
from hardtack.protocols import Context
from hardtack.record import Record

_HEADER = 9
"""Bytes of a Fernet token before its IV: the version and the time, big-endian."""


class AiohttpSessionCookie(ForeignCookie):
    """The cookie of `aiohttp_session.cookie_storage.EncryptedCookieStorage`, read and written.

    It holds two times, of the last change and of the last write, and both hold: the session counts as created at the
    earlier one, and ends `max_age` after it.

    Parameters:
        secret: the storage's `secret_key`: 32 bytes, their base64url (44 characters), or a `Fernet` object.
        max_age: the storage's `max_age`, by default None: no limit.
        cookie_name, path, domain, until, keep_until, subject: see `ForeignCookie`.

    Raises `ConfigError`.
    """

    format_name = "aiohttp-session-fernet"
    distinct = True
    default_cookie_name = "AIOHTTP_SESSION"
    authenticates_time = True

    def __init__(
        self,
        secret: str | bytes | fernet.Fernet,
        *,
        max_age: Duration | None = None,
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
        self._fernet = _fernet(secret)
        self._max_age = shared.max_age_seconds(max_age)

    def _read(self, value: str, context: Context) -> Record:
        raw = shared.decode_padded(shared.unquote(value), url_safe=True)
        try:
            plain = self._fernet.decrypt(base64.urlsafe_b64encode(raw))
        except fernet.InvalidToken:
            raise InvalidToken("tampered") from None
        content = shared.read_json(plain)
        sealed_at = int.from_bytes(raw[1:_HEADER], "big")
        if type(content) is not dict or content.keys() != {"created", "session"}:
            malformed("it is not what EncryptedCookieStorage writes")
        changed_at = content["created"]
        if type(changed_at) is not int or changed_at < 0:
            malformed("its time is not a number")
        shared.begin_and_end(max(sealed_at, changed_at), context, None)
        created, expires = shared.begin_and_end(min(sealed_at, changed_at), context, self._max_age)
        return self._record(content["session"], context, raw, created=created, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        check_plain(record.data, binary=False, wide=True)
        # EncryptedCookieStorage moves `created` at every change, and so does this: two stacks must not end one session
        # at two different times.
        text = shared.dump_json({"created": context.now, "session": record.data}, compact=False)
        return self._fernet.encrypt_at_time(text.encode(), context.now).decode()


def _fernet(secret: object) -> fernet.Fernet:
    if isinstance(secret, fernet.Fernet):
        return secret
    if isinstance(secret, bytes) and len(secret) == 32:
        return fernet.Fernet(base64.urlsafe_b64encode(secret))
    if isinstance(secret, str | bytes):
        try:
            return fernet.Fernet(secret)
        except ValueError:  # said below, without the words of another library around a secret
            pass
    message = "secret is not a Fernet key; give the 32 bytes, their base64url (44 characters), or the Fernet object"
    raise ConfigError(message)

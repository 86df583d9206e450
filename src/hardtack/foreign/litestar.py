"""The cookies of Litestar's client-side sessions: JSON under AES-GCM, in one cookie or in numbered chunks."""

from __future__ import annotations

import base64
import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign import _python as shared
from hardtack.foreign.base import ForeignCookie, Until, check_plain, malformed, parse_json, secret_bytes
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_MARKER = b"additional_authenticated_data="
_NONCE = 12
_CHUNK = 4096 - 64
"""Characters of a chunk that Litestar writes."""

_CHUNK_WRITTEN = 4096 - 256
"""Characters of a chunk of ours: whole Set-Cookie lines have 4096 bytes, and Litestar reads chunks of any length."""

_MAX_CHUNKS = 10
"""Litestar joins its chunks in the order of their names as text, so that from the eleventh on it reads none."""


class LitestarCookie(ForeignCookie):
    """The cookies of Litestar's `CookieBackendConfig`, read and written: `session`, or `session-0`, `session-1` …

    They hold when the session ends, which is carried over, and nothing about when it began.

    Parameters:
        secret: the configuration's `secret`: 16, 24 or 32 bytes.
        max_age: the configuration's `max_age`, by default 14 days; used for writing.
        cookie_name, path, domain, until, keep_until, subject: see `ForeignCookie`; Litestar calls the name `key`.

    Raises `ConfigError`.
    """

    format_name = "litestar-client"
    distinct = True
    default_cookie_name = "session"
    authenticates_time = True

    def __init__(
        self,
        secret: str | bytes,
        *,
        max_age: Duration = dt.timedelta(days=14),
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
        key = secret_bytes(secret)
        if len(key) not in (16, 24, 32):
            message = "secret is not 16, 24 or 32 bytes long; copy the secret of Litestar's CookieBackendConfig"
            raise ConfigError(message)
        self._cipher = AESGCM(key)
        self._max_age = seconds(max_age, "max_age")

    def cookie_names(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """The cookie and its chunks, in their order."""
        chunks = [name for name in cookies if self._number(name) is not None]
        return super().cookie_names(cookies) + sorted(chunks, key=lambda name: (len(name), name))

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """One cookie, or chunks; raises `UnsupportedValue`."""
        value = self._write(record.with_changes(data=values.plain(record.data)), context)
        chunks = [value[start : start + _CHUNK_WRITTEN] for start in range(0, len(value), _CHUNK_WRITTEN)]
        if len(chunks) > _MAX_CHUNKS:
            problem = f"Litestar cannot read more than {_MAX_CHUNKS} cookies of {_CHUNK_WRITTEN} characters"
            raise UnsupportedValue("(root)", "dict", problem)
        if len(chunks) == 1:
            return {self.cookie_name: value}
        return {f"{self.cookie_name}-{number}": chunk for number, chunk in enumerate(chunks)}

    def _number(self, name: str) -> int | None:
        prefix, separator, number = name.rpartition("-")
        if prefix != self.cookie_name or not separator or not (number.isascii() and number.isdigit()):
            return None
        return int(number) if len(number) <= 4 and str(int(number)) == number else None

    def _value(self, cookies: Mapping[str, Sequence[str]]) -> str:
        names = self.cookie_names(cookies)
        if not names or names == [self.cookie_name]:
            return shared.unquote(super()._value(cookies))
        if names[0] == self.cookie_name:
            # Litestar clears the one form when it writes the other: here is a leftover, or a planted cookie.
            raise InvalidToken("ambiguous", "a whole cookie and chunks")
        if len(names) > _MAX_CHUNKS:
            raise InvalidToken("too_large", f"more than {_MAX_CHUNKS} chunks")
        if [self._number(name) for name in names] != list(range(len(names))):
            raise InvalidToken("incomplete", "a chunk is missing")
        chunks = [shared.unquote(cookies[name][-1]) for name in names]
        if any(len(chunk) > _CHUNK for chunk in chunks):
            raise InvalidToken("too_large", f"a chunk of more than {_CHUNK} characters")
        return "".join(chunks)

    def _read(self, value: str, context: Context) -> Record:
        raw = shared.decode_padded(value)
        sealed, marker, associated = raw.rpartition(_MARKER)
        if not marker or len(sealed) < _NONCE + 16:
            malformed("it is not what Litestar writes")
        try:
            plain = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], associated)
        except InvalidTag:
            raise InvalidToken("tampered") from None
        times = parse_json(associated)
        expires = times.get("expires_at") if type(times) is dict else None
        if type(expires) is not int or expires < 0:
            malformed("it has no time")
        if context.now >= expires:
            raise InvalidToken("expired")
        return self._record(parse_json(plain), context, raw, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        check_plain(record.data, finite=True, binary=False, wide=True)
        plain = shared.dump_json(record.data).encode()
        associated = shared.dump_json({"expires_at": self._deadline(record, context, self._max_age)}).encode()
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, plain, associated)
        return base64.b64encode(sealed + _MARKER + associated).decode()

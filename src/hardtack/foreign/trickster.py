"""The cookie of Perl's Trickster::Session: percent-encoded JSON, signed with HMAC-SHA256."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from hardtack.errors import InvalidToken
from hardtack.foreign.base import ForeignCookie, Until, check_plain, parse_json, secret_bytes
from hardtack.protocols import Context
from hardtack.record import Record


class TricksterCookie(ForeignCookie):
    """The cookie of Trickster::Session, read and written: `uri_escape(JSON).hmac`.

    Trickster itself trusts a value that has no signature at all; here it is `InvalidToken("unsigned")`. Nothing in the
    cookie says when it was made or when it ends, and its name is not signed: one secret, one cookie.

    Args:
        secret: `secret`.
        cookie_name, path, domain: `name`, `path`, `domain`.
        until, keep_until, subject: see `ForeignCookie`.

    Raises `ConfigError`.
    """

    format_name = "trickster"
    default_cookie_name = "trick_session"

    def __init__(
        self,
        secret: str | bytes,
        *,
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
        self._secret = secret_bytes(secret)

    def _read(self, value: str, context: Context) -> Record:
        escaped, dot, mac = value.encode("utf-8", "surrogatepass").rpartition(b".")
        if not dot or not mac:
            raise InvalidToken("unsigned")
        if not hmac.compare_digest(self._mac(escaped), mac):
            raise InvalidToken("tampered")
        return self._record(parse_json(unquote_to_bytes(escaped)), context, escaped)

    def _write(self, record: Record, context: Context) -> str:
        check_plain(record.data, finite=True, binary=False)
        text = json.dumps(record.data, ensure_ascii=False, separators=(",", ":"))
        escaped = quote(text, safe="").encode()
        return (escaped + b"." + self._mac(escaped)).decode()

    def _mac(self, escaped: bytes) -> bytes:
        return hmac.digest(self._secret, escaped, "sha256").hex().encode()

"""The cookie of Perl's Plack::Middleware::Session::Cookie: Storable in base64, signed with HMAC-SHA1."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pybase64

from hardtack.errors import InvalidToken
from hardtack.foreign.base import ForeignCookie, Until, malformed, secret_bytes
from hardtack.foreign.perl import storable
from hardtack.protocols import Context
from hardtack.record import Record


class PlackCookie(ForeignCookie):
    """The cookie of Plack::Middleware::Session::Cookie, read and written: `time:base64(nfreeze(hash)):hmac`.

    The time in it is not signed, and neither Plack nor this class looks at it: nothing in the cookie says when it was
    made or when it ends. Storable in network order carries floats and big integers as text.

    Args:
        secret: `secret`.
        cookie_name, path, domain: `session_key`, `path`, `domain`.
        until, keep_until, subject: see `ForeignCookie`.

    Raises `ConfigError`.
    """

    format_name = "plack"
    default_cookie_name = "plack_session"

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

    def _spelled(self, value: str) -> str:
        """Without the first field, which nothing authenticates."""
        return super()._spelled(value).partition(":")[2]

    def _read(self, value: str, context: Context) -> Record:
        fields = unquote_to_bytes(value.encode("utf-8", "surrogatepass")).split(b":")
        if len(fields) != 3:
            malformed("it does not have three fields")
        _, encoded, mac = fields
        if not hmac.compare_digest(self._mac(encoded), mac):
            raise InvalidToken("tampered")
        try:
            image = pybase64.b64decode(encoded, validate=True)
        except ValueError:
            malformed("not base64")
        return self._record(storable.read(image), context, encoded)

    def _write(self, record: Record, context: Context) -> str:
        encoded = pybase64.b64encode(storable.write(record.data))
        return quote(b"%d.00000:%b:%b" % (context.now, encoded, self._mac(encoded)), safe="")

    def _mac(self, encoded: bytes) -> bytes:
        return hmac.digest(self._secret, encoded, "sha1").hex().encode()

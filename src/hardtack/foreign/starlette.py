"""The cookie of Starlette's (and FastAPI's) SessionMiddleware: base64 of JSON under an itsdangerous signature."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from typing import Any

from hardtack.foreign import _python as shared
from hardtack.foreign.base import ForeignCookie, Until, secret_bytes
from hardtack.foreign.flask import itsdangerous_signer, read_timed, write_timed
from hardtack.lifetime import Duration
from hardtack.protocols import Context
from hardtack.record import Record


class StarletteCookie(ForeignCookie):
    """The cookie of Starlette's `SessionMiddleware`, read and written.

    The time in it is that of the last write: the session counts as created then, and ends `max_age` later.

    Parameters:
        secret: the middleware's `secret_key`.
        max_age: the middleware's `max_age`, by default 14 days; None: no limit.
        cookie_name, path, domain, until, keep_until, subject: see `ForeignCookie`; `session_cookie` and so on.

    Raises `ConfigError`.
    """

    format_name = "starlette"
    default_cookie_name = "session"
    authenticates_time = True

    def __init__(
        self,
        secret: str | bytes,
        *,
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
        self._max_age = shared.max_age_seconds(max_age)
        self._signer = itsdangerous_signer(
            secret_bytes(secret), (), salt="itsdangerous.Signer", key_derivation="django-concat", digest="sha1"
        )

    def _read(self, value: str, context: Context) -> Record:
        payload, signed_at = read_timed(self._signer.unsign(value))
        created, expires = shared.begin_and_end(signed_at, context, self._max_age)
        data = shared.read_json(shared.decode_padded(payload))
        return self._record(data, context, value, created=created, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        text = shared.write_json(record.data, compact=False)
        return self._signer.sign(write_timed(base64.b64encode(text.encode()).decode(), context.now))

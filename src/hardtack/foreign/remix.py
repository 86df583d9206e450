"""The session cookie of Remix and React Router: JSON under a signature.

encodeURIComponent(b64(JSON) "." b64(HMAC-SHA256) without "=")
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Unpack

from hardtack.errors import InvalidToken
from hardtack.foreign._keys import all_secrets, keyed_mac, same
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import JAVASCRIPT_SAFE, percent_decode, percent_encode, read_javascript, write_javascript
from hardtack.foreign.base import ForeignCookie, malformed
from hardtack.protocols import Context
from hardtack.record import Record


class RemixCookie(ForeignCookie):
    """The cookie of `createCookieSessionStorage`, of Remix and of React Router 7, read and written.

    It says nothing about its age: `until` is required. Flash messages are under `__flash_NAME__`; see `take_flashes`.

    Parameters:
        secret: the first of `secrets`.
        old_secrets: the others; read, never signed with. Without any, Remix signs nothing, and such cookies are refused.
        place: see `ForeignCookie`; `name`, by default `__session`.

    Raises `ConfigError`.
    """

    format_name = "remix"
    default_cookie_name = "__session"

    def __init__(self, secret: Secret, *, old_secrets: Sequence[Secret] = (), **place: Unpack[Place]) -> None:
        super().__init__(**place)
        self._secrets = all_secrets(secret, old_secrets)

    def _read(self, value: str, context: Context) -> Record:
        text = percent_decode(value)
        encoded, separator, mac = text.rpartition(".")
        if not separator:
            malformed("it has no signature")
        if not any(same(_mac(secret, encoded), mac) for secret in self._secrets):
            raise InvalidToken("tampered")
        return self._record(read_javascript(decode_padded(encoded)), context, text)

    def _write(self, record: Record, context: Context) -> str:
        encoded = base64.b64encode(write_javascript(record.data).encode()).decode()
        return percent_encode(f"{encoded}.{_mac(self._secrets[0], encoded)}", safe=JAVASCRIPT_SAFE)


def take_flashes(data: dict[str, Any]) -> dict[str, Any]:
    """The messages that Remix left for the next page, by their names; they are taken out of the data."""
    names = [key for key in data if key.startswith("__flash_") and key.endswith("__") and len(key) > len("__flash___")]
    return {key.removeprefix("__flash_").removesuffix("__"): data.pop(key) for key in names}


def _mac(secret: bytes, encoded: str) -> str:
    digest = keyed_mac(secret, encoded.encode("utf-8", "surrogatepass"), "sha256")
    return base64.b64encode(digest).decode().rstrip("=")

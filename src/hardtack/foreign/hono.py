"""The signed cookies of Hono: text under a signature.

encodeURIComponent(text "." b64(HMAC-SHA256))
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal, Unpack

from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign._keys import all_secrets, keyed_mac, one_of, same
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._text import JAVASCRIPT_SAFE, percent_decode, percent_encode, read_javascript, write_javascript
from hardtack.foreign.base import ForeignCookie, check_plain, malformed
from hardtack.protocols import Context
from hardtack.record import Record


class HonoCookie(ForeignCookie):
    """A cookie of Hono's `setSignedCookie`, read and written. It says nothing about its age: `until` is required.

    Parameters:
        secret: the secret that `setSignedCookie` was given.
        old_secrets: earlier ones; read, never signed with.
        content: `json`: the text is a JSON object, which is the session; `text`: any text, which the session has under the
            key `value`.
        place: see `ForeignCookie`; the name has no default there.

    Raises `ConfigError`.
    """

    format_name = "hono"
    default_cookie_name = "session"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        content: Literal["json", "text"] = "json",
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        self._secrets = all_secrets(secret, old_secrets)
        self._is_json = one_of(content, "content", ("json", "text")) == "json"

    def _read(self, value: str, context: Context) -> Record:
        signed = percent_decode(value)
        text, separator, mac = signed.rpartition(".")
        if not separator:
            malformed("it has no signature")
        if not any(same(_mac(secret, text), mac) for secret in self._secrets):
            raise InvalidToken("tampered")
        return self._record(read_javascript(text) if self._is_json else {"value": text}, context, signed)

    def _write(self, record: Record, context: Context) -> str:
        if self._is_json:
            text = write_javascript(record.data)
        else:
            check_plain(record.data, binary=False)
            value = record.data.get("value")
            if type(value) is not str or len(record.data) > 1:
                raise UnsupportedValue("(root)", "dict", "a cookie of text carries the key value alone, a str")
            text = value
        return percent_encode(f"{text}.{_mac(self._secrets[0], text)}", safe=JAVASCRIPT_SAFE)


def _mac(secret: bytes, text: str) -> str:
    return base64.b64encode(keyed_mac(secret, text.encode(), "sha256")).decode()

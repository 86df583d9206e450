"""Go's gorilla/securecookie with JSON: signed, and encrypted where there is a block key.

b64url(date | b64url(value) | mac)      mac = HMAC(hash key, name | date | b64url(value)), by default with SHA-256
value     JSON, or iv16 ‖ AES-CTR of it
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from collections.abc import Sequence
from typing import Unpack

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign._keys import keyed_mac, one_of
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import EXACT_IN_A_DOUBLE, write_json
from hardtack.foreign._times import began, not_expired
from hardtack.foreign.base import ForeignCookie, listed, malformed, parse_json, secret_bytes
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_HASHES = ("sha256", "sha1", "sha384", "sha512")
_DATE = re.compile(b"[1-9][0-9]{0,14}")

_JSON_BEGINS = {bytes((first,)) for first in b'{["-0123456789tfn'} | {b""}

_GOB = re.compile(rb"(?s:[\1-\x7f]|\xff.|\xfe..)(?:\x7f|\xff|\xfe)")
"""A length, and the negative number of a type that the application's values have, of which Go counts from 64."""

Keys = tuple[Secret, Secret | None]
"""A hash key, and the block key beside it, or None."""


class GorillaCookie(ForeignCookie):
    """A cookie of gorilla/securecookie whose serializer is `JSONEncoder`, read and written.

    Gob is refused by name (`unsafe`): it is what gorilla/sessions' CookieStore always writes, so that its sessions have to be
    handed over by the Go side.

    The time in it is that of the last write: the session counts as created then, and ends `max_age` later.

    Parameters:
        hash_key, block_key: as given to `securecookie.New`; block_key None where it has none.
        old_keys: further pairs of both, as of `CodecsFromPairs`; read, never written with. A hash key may stand in several,
            with another block key, or None, in each.
        hash_func: `HashFunc` of the codecs: `sha256`, as by default, `sha1`, `sha384` or `sha512`.
        max_age: `MaxAge` of the codec, by default 30 days after the cookie was written; 0 or None for no limit.
        place: see `ForeignCookie`; the cookie's name is signed with it, and has no default there.

    Raises `ConfigError`.
    """

    format_name = "gorilla-securecookie"
    default_cookie_name = "session"
    authenticates_time = True

    def __init__(
        self,
        hash_key: Secret,
        block_key: Secret | None = None,
        *,
        old_keys: Sequence[Keys] = (),
        hash_func: str = "sha256",
        max_age: Duration | None = "30 days",
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        self._keys = [_pair(hash_key, block_key)]
        for pair in listed(old_keys, "old_keys", "pairs"):
            if not isinstance(pair, tuple) or len(pair) != 2:
                message = "old_keys is a list of pairs; write [(hash_key, block_key)], with None for no block key"
                raise ConfigError(message)
            self._keys.append(_pair(*pair))
        self.distinct = all(block for _, block in self._keys)  # whose IV is random
        self._hash = one_of(hash_func, "hash_func", _HASHES)
        self._max_age = seconds(max_age, "max_age") if max_age else None

    def _read(self, value: str, context: Context) -> Record:
        parts = decode_padded(value, url_safe=True).split(b"|", 2)
        if len(parts) != 3 or not _DATE.fullmatch(parts[0]):
            malformed("it is not a date, a value and a MAC")
        date, encoded, mac = parts
        refused: InvalidToken | None = None
        for hash_key, block_key in self._keys:
            if hmac.compare_digest(self._mac(hash_key, date, encoded), mac):
                made = int(date)
                expires = None if self._max_age is None else not_expired(made + self._max_age, context)
                try:
                    plain = _opened(block_key, decode_padded(encoded.decode("latin-1"), url_safe=True))
                    return self._record(parse_json(plain), context, mac, created=began(made, context), expires=expires)
                except InvalidToken as error:  # another pair may have this hash key too: DecodeMulti goes on as well
                    refused = refused or error
        raise refused or InvalidToken("tampered")

    def _mac(self, key: bytes, date: bytes, encoded: bytes) -> bytes:
        return keyed_mac(key, b"%b|%b|%b" % (self.cookie_name.encode(), date, encoded), self._hash)

    def _write(self, record: Record, context: Context) -> str:
        plain = write_json(record.data, largest_int=EXACT_IN_A_DOUBLE).encode()
        hash_key, block_key = self._keys[0]
        if block_key is not None:
            iv = os.urandom(ciphers.BLOCK)
            plain = iv + ciphers.ctr(block_key, iv, plain)
        date, encoded = str(context.now).encode(), base64.urlsafe_b64encode(plain)
        return base64.urlsafe_b64encode(b"|".join((date, encoded, self._mac(hash_key, date, encoded)))).decode()


def _pair(hash_key: Secret, block_key: Secret | None) -> tuple[bytes, bytes | None]:
    block = None if block_key is None else secret_bytes(block_key, "block_key")
    if block is not None and len(block) not in (16, 24, 32):
        message = "block_key is not 16, 24 or 32 bytes long; copy the block key of securecookie.New"
        raise ConfigError(message)
    return secret_bytes(hash_key, "hash_key"), block


def _opened(block_key: bytes | None, value: bytes) -> bytes:
    if block_key is not None:
        if len(value) < ciphers.BLOCK:
            malformed("it is too short")
        value = ciphers.ctr(block_key, value[: ciphers.BLOCK], value[ciphers.BLOCK :])
    if value.strip()[:1] in _JSON_BEGINS:
        return value
    if _GOB.match(value):
        raise InvalidToken("unsafe", "it is a gob; let the other system write JSON (securecookie.JSONEncoder)")
    raise InvalidToken("unknown_key", "it is authentic, and encrypted; give it the block_key of securecookie.New")

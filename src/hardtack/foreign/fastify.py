"""The cookie of @fastify/secure-session: JSON in NaCl's secretbox, with the time of the last change.

encodeURIComponent(b64(mac16 ‖ ciphertext) ";" b64(nonce24))      XSalsa20-Poly1305
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import Unpack

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _nacl as nacl
from hardtack.foreign._keys import once
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import (
    JAVASCRIPT_SAFE,
    percent_decode,
    percent_encode,
    read_javascript,
    write_javascript,
    write_json,
)
from hardtack.foreign._times import began, not_expired, seconds_of
from hardtack.foreign.base import ForeignCookie, listed, malformed, secret_bytes
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_CENTURY = 100 * 365 * 86400  # as long as a duration may be here; the plugin's may be longer
_DEFAULT_SALT = base64.b64decode("mq9hDxBVDbspDR6nLfFT1g==")  # of the plugin, where the application gives none


class FastifyCookie(ForeignCookie):
    """The cookie of @fastify/secure-session, read and written.

    The time in it is that of the last write: the session counts as created then, and ends `expiry` later. Old versions of the
    plugin wrote none: such a cookie is read with `until` alone.

    Parameters:
        key: `key`, or the first of several: 32 bytes, or their base64.
        old_keys: the others; read, never written with.
        secret: `secret`, where the plugin has no `key`: text of 32 bytes or more. The key is made of it by Argon2id, which
            takes 256 MiB and half a second, once a process, with the first cookie.
        salt: `salt`, beside `secret`: 16 characters, or bytes.
        expiry: `expiry`, by default 86401 seconds after the last change of the session.
        place: see `ForeignCookie`; `cookieName`, by default `session`.

    Raises `ConfigError`.
    """

    format_name = "fastify-secure-session"
    distinct = True
    default_cookie_name = "session"
    authenticates_time = True

    def __init__(
        self,
        key: Secret | None = None,
        *,
        old_keys: Sequence[Secret] = (),
        secret: Secret | None = None,
        salt: Secret | None = None,
        expiry: Duration = 86401,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        if (key is None) == (secret is None) or (salt is not None and secret is None):
            message = "give key=…, or secret=… and perhaps its salt=…, as the plugin has it"
            raise ConfigError(message)
        others = listed(old_keys, "old_keys", "keys")
        self._keys = [_key(each) for each in (others if key is None else [key, *others])]
        self._secret = None if secret is None else _long_enough(secret_bytes(secret))
        self._salt = _DEFAULT_SALT if salt is None else secret_bytes(salt, "salt")
        if len(self._salt) != 16:
            message = "salt has not 16 bytes; copy the plugin's salt"
            raise ConfigError(message)
        self._expiry = seconds(min(expiry, _CENTURY) if type(expiry) is int else expiry, "expiry")

    def _accepted(self) -> list[bytes]:
        """The key that is written with, then the others."""
        return self._keys if self._secret is None else [_argon2id(self._secret, self._salt), *self._keys]

    def _read(self, value: str, context: Context) -> Record:
        sealed, separator, drawn = percent_decode(value).partition(";")
        if not separator or ";" in drawn:
            malformed("it is not a box and a nonce")
        box, nonce = decode_padded(sealed), decode_padded(drawn)
        if len(box) < nacl.TAG or len(nonce) != nacl.NONCE:
            malformed("its box or its nonce is too short")
        data = read_javascript(self._opened(box, nonce))
        if type(data) is not dict or "__ts" not in data:
            return self._record(data, context, nonce)
        made = seconds_of(data.pop("__ts"))
        expires = not_expired(made + self._expiry, context)
        return self._record(data, context, nonce, created=began(made, context), expires=expires)

    def _opened(self, box: bytes, nonce: bytes) -> bytes:
        for key in self._accepted():
            try:
                return nacl.secretbox_open(key, nonce, box)
            except InvalidToken:
                continue
        raise InvalidToken("tampered")

    def _write(self, record: Record, context: Context) -> str:
        write_javascript(record.data, reserved=("__ts",))
        plain = write_json({**record.data, "__ts": context.now})
        nonce = os.urandom(nacl.NONCE)
        box = nacl.secretbox_seal(self._accepted()[0], nonce, plain.encode())
        text = ";".join(base64.b64encode(part).decode() for part in (box, nonce))
        return percent_encode(text, safe=JAVASCRIPT_SAFE)


def _key(key: object) -> bytes:
    raw = b""
    if isinstance(key, bytes):
        raw = key
    elif type(key) is str:
        try:
            raw = base64.b64decode(key, validate=True)
        except ValueError:
            raw = b""
    if len(raw) != 32:
        message = "key has not 32 bytes, nor is it the base64 of them; copy the plugin's key"
        raise ConfigError(message)
    return raw


def _long_enough(secret: bytes) -> bytes:
    if len(secret) < 32:
        message = "secret is shorter than the 32 bytes that the plugin demands; copy its secret"
        raise ConfigError(message)
    return secret


def _argon2id(secret: bytes, salt: bytes) -> bytes:
    """libsodium's `crypto_pwhash` with its "moderate" limits."""
    try:
        kdf = Argon2id(salt=salt, length=32, iterations=3, lanes=1, memory_cost=256 * 1024)
    except UnsupportedAlgorithm:  # an OpenSSL before 3.2
        message = "secret= needs Argon2id, which this OpenSSL lacks; install a newer cryptography, or give key="
        raise ConfigError(message) from None
    name = ("argon2id", hashlib.sha256(secret).digest(), salt)
    return once(name, lambda: kdf.derive(secret))

"""Beaker's cookie sessions with JSON: signed, and encrypted where there is a key for it.

    hex(HMAC-SHA1(validate key, payload)) ‖ payload
    payload   b64(zlib(JSON)), or nonce ‖ b64(iv12 ‖ tag16 ‖ AES-256-GCM of it)

The key is PBKDF2-SHA1 of the encryption key, with the validate key and the nonce as the salt.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import zlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Unpack

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign import _python as shared
from hardtack.foreign._keys import one_of, same
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._times import began, not_expired, seconds_of
from hardtack.foreign.base import ForeignCookie, listed, malformed, secret_bytes
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_MAC_LENGTH = 40
_OWN = ("_id", "_creation_time", "_accessed_time", "_domain", "_path")


class BeakerKeys(NamedTuple):
    """`session.validate_key`, and `session.encrypt_key` beside it, or None."""

    validate_key: Secret
    encrypt_key: Secret | None = None


class _Keys(NamedTuple):
    validate: bytes
    encrypt: bytes | None


class BeakerCookie(ForeignCookie):
    """A session of Beaker with `session.type = cookie` and `data_serializer = json`, read and written.

    Pickle, the default serializer, is refused (`unsafe`): reading it would run whatever it says.

    Parameters:
        validate_key: `session.validate_key`.
        encrypt_key: `session.encrypt_key`; None where the cookie is only signed.
        old_keys: earlier pairs; read, never written with.
        timeout: `session.timeout`: how long after its last use a session ends; None, as in Beaker, for no limit.
        crypto_type: the cipher of the library that Beaker has: `cryptography` (GCM) or `pycryptodome` (CTR).
        nonce_bits: `session.encrypt_nonce_bits`, by default 128; 48 for cookies of before 1.8.
        place: see `ForeignCookie`; `session.key`, by default `beaker.session.id`.

    Raises `ConfigError`.
    """

    format_name = "beaker"
    distinct = True
    default_cookie_name = "beaker.session.id"
    authenticates_time = True

    def __init__(
        self,
        validate_key: Secret,
        encrypt_key: Secret | None = None,
        *,
        old_keys: Sequence[BeakerKeys] = (),
        timeout: Duration | None = None,
        crypto_type: Literal["cryptography", "pycryptodome"] = "cryptography",
        nonce_bits: int = 128,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        pairs = [BeakerKeys(validate_key, encrypt_key), *listed(old_keys, "old_keys", "keys")]
        if not all(isinstance(pair, BeakerKeys) for pair in pairs):
            message = "old_keys is a list of keys; write [BeakerKeys(validate_key, encrypt_key)]"
            raise ConfigError(message)
        self._keys = [_keys(pair) for pair in pairs]
        self._timeout = None if timeout is None else seconds(timeout, "timeout")
        self._gcm = one_of(crypto_type, "crypto_type", ("cryptography", "pycryptodome")) == "cryptography"
        if type(nonce_bits) is not int or nonce_bits % 8 or not 8 <= nonce_bits <= 512:
            message = f"nonce_bits={nonce_bits!r} is not a multiple of 8 from 8 to 512; Beaker's default is 128"
            raise ConfigError(message)
        self._nonce = nonce_bits // 8
        self._nonce_length = (4 * self._nonce // 3 + 3) & ~3  # as Beaker counts the characters of its base64

    def _read(self, value: str, context: Context) -> Record:
        value = shared.unquote(value)
        mac, payload = value[:_MAC_LENGTH], value[_MAC_LENGTH:]
        if not value.isascii() or not payload:
            malformed("it is not a signature and a payload")
        refused: InvalidToken | None = None
        for keys in self._keys:
            if same(_mac(keys.validate, payload), mac):
                try:
                    return self._opened(self._payload(keys, payload), context)
                except InvalidToken as error:  # another pair may have this validate key too, and another one beside it
                    refused = refused or error
        raise refused or InvalidToken("tampered")

    def _payload(self, keys: _Keys, payload: str) -> bytes:
        if keys.encrypt is None:
            return shared.decode_padded(payload)
        nonce, raw = payload[: self._nonce_length], shared.decode_padded(payload[self._nonce_length :])
        key = _cipher_key(keys, keys.encrypt, nonce)
        return ciphers.open_gcm(key, raw[:12], raw[28:], raw[12:28]) if self._gcm else ciphers.ctr(key, bytes(16), raw)

    def _opened(self, plain: bytes, context: Context) -> Record:
        shared.refuse_pickle(plain)
        data = shared.read_json(shared.inflate(plain))
        if type(data) is not dict or type(data.get("_id")) is not str:
            malformed("it is not a session of Beaker's")
        created = seconds_of(data.get("_creation_time"))
        seen = seconds_of(data.get("_accessed_time", created))
        expires = None
        if self._timeout is not None:
            expires = not_expired(seen + self._timeout + 1, context)
        content = {key: item for key, item in data.items() if key not in _OWN}
        return self._record(content, context, data["_id"], created=began(created, context), expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        for key in record.data:
            if key in _OWN:
                raise UnsupportedValue(key, "dict", "Beaker keeps this key for itself; use another")
        own: dict[str, Any] = {"_domain": self.domain, "_path": self.path, "_id": record.id[:16].hex()}
        own["_creation_time"] = float(record.created)
        own["_accessed_time"] = float(self._accessed(record, context))
        plain = zlib.compress(shared.write_json({**own, **record.data}).encode())
        keys = self._keys[0]
        payload = self._sealed(keys, plain)
        return f'"{_mac(keys.validate, payload)}{payload}"'

    def _accessed(self, record: Record, context: Context) -> int:
        """The time of the last use; earlier, where the session ends sooner than Beaker would end it."""
        if self._timeout is None:
            return context.now
        return max(0, (self._deadline(record, context, self._timeout, grace=1) or 0) - self._timeout)

    def _sealed(self, keys: _Keys, plain: bytes) -> str:
        if keys.encrypt is None:
            return base64.b64encode(plain).decode()
        nonce = base64.b64encode(os.urandom(self._nonce)).decode()[: self._nonce_length]
        key = _cipher_key(keys, keys.encrypt, nonce)
        if self._gcm:
            iv = os.urandom(ciphers.GCM_NONCE)
            ciphertext, tag = ciphers.seal_gcm(key, iv, plain)
            return nonce + base64.b64encode(iv + tag + ciphertext).decode()
        return nonce + base64.b64encode(ciphers.ctr(key, bytes(16), plain)).decode()


def _keys(pair: BeakerKeys) -> _Keys:
    encrypt = None if pair.encrypt_key is None else secret_bytes(pair.encrypt_key, "encrypt_key")
    return _Keys(secret_bytes(pair.validate_key, "validate_key"), encrypt)


def _cipher_key(keys: _Keys, encrypt: bytes, nonce: str) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", encrypt, keys.validate + nonce.encode(), 1, 32)


def _mac(key: bytes, payload: str) -> str:
    return hmac.digest(key, payload.encode(), "sha1").hex()

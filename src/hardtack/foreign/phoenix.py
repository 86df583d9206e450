"""The session cookies of Plug and Phoenix, signed or encrypted, and the tokens of `Phoenix.Token`.

    signed      b64url("HS256") . b64url(term) . b64url(HMAC(key of signing_salt, the first two parts))
    encrypted   XCP . b64url(nonce24 ‖ tag16 ‖ ciphertext)             XChaCha20-Poly1305, since plug_crypto 2.1
                b64url("A128GCM") . wrapped key . nonce . ciphertext . tag        before

The keys are PBKDF2-HMAC-SHA256 of `secret_key_base`. A term is Erlang's external term format.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, Unpack

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign import _nacl as nacl
from hardtack.foreign import etf
from hardtack.foreign._keys import all_secrets, keyed_mac, one_of, pbkdf2, same
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_base64
from hardtack.foreign._times import began, not_expired, seconds_of
from hardtack.foreign.base import ForeignCookie, malformed, secret_bytes
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_PROTECTED = {"SFMyNTY": "sha256", "SFMzODQ": "sha384", "SFM1MTI": "sha512"}
_HS256 = "SFMyNTY"
_A128GCM = "QTEyOEdDTQ"
_XCP = "XCP"
_VALUE = "value"
_ASSOCIATED = b"A128GCM"  # of both kinds: plug_crypto kept it when it changed the cipher


class _Plug(ForeignCookie):
    """What the three have in common: the secrets, and terms with a limit."""

    default_cookie_name = "_app_key"

    def __init__(
        self, secret: Secret, old_secrets: Sequence[Secret], atom_keys: Collection[str], **place: Unpack[Place]
    ) -> None:
        super().__init__(**place)
        if isinstance(atom_keys, str) or not all(type(key) is str for key in atom_keys):
            message = "atom_keys is a list of names, without their colons; write ['user_id']"
            raise ConfigError(message)
        self._secrets = all_secrets(secret, old_secrets)
        self._atom_keys = frozenset(atom_keys)

    def _keys(self, salt: Secret, setting: str, *, iterations: int, length: int, digest: str) -> list[bytes]:
        raw = secret_bytes(salt, setting)
        return [pbkdf2(each, raw, iterations, length, digest) for each in self._secrets]

    def _term(self, payload: bytes) -> Any:
        return etf.read(payload, atom_keys=self._atom_keys)


class PhoenixCookie(_Plug):
    """The signed session cookie of Plug and Phoenix (`store: :cookie`), read and written.

    It says nothing about its age: `until` is required.

    Parameters:
        secret: `secret_key_base`.
        signing_salt: of the session's options.
        old_secrets: earlier ones; read, never signed with.
        iterations, key_length, key_digest: `key_iterations`, `key_length` and `key_digest`, where they are not the default.
        atom_keys: keys that may be atoms in the session; they are read as text. Plug makes text of the session's own keys.
        place: see `ForeignCookie`; `key` of the session's options. Phoenix names the cookie after the application:
            `_shop_key`.

    Raises `ConfigError`.
    """

    format_name = "phoenix"

    def __init__(
        self,
        secret: Secret,
        signing_salt: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        iterations: int = 1000,
        key_length: int = 32,
        key_digest: str = "sha256",
        atom_keys: Collection[str] = (),
        **place: Unpack[Place],
    ) -> None:
        super().__init__(secret, old_secrets, atom_keys, **place)
        settings = _derivation(iterations, key_length, key_digest)
        self._signing = self._keys(signing_salt, "signing_salt", **settings)

    def _read(self, value: str, context: Context) -> Record:
        return self._record(self._term(verify(value, self._signing)), context, value)

    def _write(self, record: Record, context: Context) -> str:
        return sign(etf.write(record.data), self._signing[0])


class PhoenixEncryptedCookie(_Plug):
    """The encrypted session cookie of Plug and Phoenix, read and written. It says nothing about its age: `until` is required.

    Both forms are read. A cookie that is only signed is not: an application that began to encrypt takes those with
    `PhoenixCookie` under `accept=`, for as long as it must.

    Parameters:
        secret, old_secrets, iterations, key_length, key_digest, atom_keys, place: see `PhoenixCookie`.
        encryption_salt, signing_salt: of the session's options.
        legacy: write the form of plug_crypto before 2.1.

    Raises `ConfigError`.
    """

    format_name = "phoenix-encrypted"

    def __init__(
        self,
        secret: Secret,
        encryption_salt: Secret,
        signing_salt: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        iterations: int = 1000,
        key_length: int = 32,
        key_digest: str = "sha256",
        legacy: bool = False,
        atom_keys: Collection[str] = (),
        **place: Unpack[Place],
    ) -> None:
        super().__init__(secret, old_secrets, atom_keys, **place)
        settings = _derivation(iterations, key_length, key_digest)
        _check_encrypting(key_length)
        encryption = self._keys(encryption_salt, "encryption_salt", **settings)
        signing = self._keys(signing_salt, "signing_salt", **settings)
        self._pairs = list(zip(encryption, signing, strict=True))
        self._legacy = legacy

    def _read(self, value: str, context: Context) -> Record:
        return self._record(self._term(decrypt(value, self._pairs)), context, value)

    def _write(self, record: Record, context: Context) -> str:
        return encrypt(etf.write(record.data), self._pairs[0], legacy=self._legacy)


class PhoenixTokenCookie(_Plug):
    """A cookie with a token of `Phoenix.Token` or `Plug.Crypto`, read and written: a generated login's "remember me" is one.

    A map is the session's data; any other value is under the key `value`, and data with that key alone is written as the
    value itself. Tokens of plug_crypto before 1.2, and of Phoenix before that, are read as well.

    Parameters:
        secret, old_secrets, iterations, key_length, key_digest, atom_keys: see `PhoenixCookie`.
        salt: what the token was signed or encrypted with; of a cookie that `put_resp_cookie` signed or encrypted, its name
            and `_cookie`.
        encrypted: the token is one of `encrypt`, or a cookie of `put_resp_cookie` with `encrypt: true`; one that is only
            signed is refused then.
        legacy: of an encrypted one, write the form of plug_crypto before 2.1. Both are read.
        max_age: `max_age` where the application gives one to `verify` or `decrypt`: it overrides what the token says. None,
            as there: the token's own, or a day where it says none. One that says `:infinity` has no end: it is not taken
            over without `until` or `max_age`. A token that is written here says this age, or a day.
        place: see `ForeignCookie`.

    Raises `ConfigError`.
    """

    format_name = "phoenix-token"
    authenticates_time = True
    ends_some = True  # with max_age: :infinity

    def __init__(
        self,
        secret: Secret,
        salt: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        encrypted: bool = False,
        legacy: bool = False,
        max_age: Duration | None = None,
        iterations: int = 1000,
        key_length: int = 32,
        key_digest: str = "sha256",
        atom_keys: Collection[str] = (),
        **place: Unpack[Place],
    ) -> None:
        super().__init__(secret, old_secrets, atom_keys, **place)
        settings = _derivation(iterations, key_length, key_digest)
        if encrypted:
            _check_encrypting(key_length)
        elif legacy:
            message = "legacy=True is a form of encrypted tokens; give encrypted=True beside it, or leave it out"
            raise ConfigError(message)
        self._legacy = legacy
        self._signing = self._keys(salt, "salt", **settings)
        self._pairs = [(key, b"") for key in self._signing] if encrypted else []
        self._max_age = None if max_age is None else seconds(max_age, "max_age")

    def _read(self, value: str, context: Context) -> Record:
        plain = decrypt(value, self._pairs) if self._pairs else verify(value, self._signing)
        content, signed_at, own = etf.read_token(plain, atom_keys=self._atom_keys)
        signed = seconds_of(signed_at, per_second=1000)
        created = began(signed, context)
        allowed = own if self._max_age is None else self._max_age
        if allowed is not None and allowed <= 0:  # also where it was signed by a clock that is ahead
            raise InvalidToken("expired")
        expires = None if allowed is None else not_expired(signed + seconds_of(allowed), context)
        data = content if type(content) is dict else {_VALUE: content}
        return self._record(data, context, value, created=created, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        data = record.data
        content = data[_VALUE] if data.keys() == {_VALUE} and type(data[_VALUE]) is not dict else data
        age = etf.DEFAULT_AGE if self._max_age is None else self._max_age
        ends = self._deadline(record, context, age)
        assert ends is not None
        # A reader may have an age of its own: what ends sooner was signed sooner.
        plain = etf.write_token(content, (ends - age) * 1000, age)
        return encrypt(plain, self._pairs[0], legacy=self._legacy) if self._pairs else sign(plain, self._signing[0])


def verify(value: str, keys: Sequence[bytes]) -> bytes:
    """What `Plug.Crypto.MessageVerifier` signed. Raises `InvalidToken`."""
    parts = value.split(".")
    digest = _PROTECTED.get(parts[0])
    if digest is None or len(parts) != 3:
        malformed("it is not signed by Plug")
    signed, mac = f"{parts[0]}.{parts[1]}", parts[2]
    raw = signed.encode("utf-8", "surrogatepass")
    if any(same(values.encode_bytes(keyed_mac(key, raw, digest)), mac) for key in keys):
        return decode_base64(parts[1])
    raise InvalidToken("tampered")


def sign(payload: bytes, key: bytes) -> str:
    """What `verify` reads."""
    signed = f"{_HS256}.{values.encode_bytes(payload)}"
    return f"{signed}.{values.encode_bytes(keyed_mac(key, signed.encode(), 'sha256'))}"


def decrypt(value: str, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """What `Plug.Crypto.MessageEncryptor` encrypted, in either form, under a pair of `secret` and `sign_secret`.

    Raises `InvalidToken`.
    """
    head, *parts = value.split(".")
    if head == _XCP and len(parts) == 1:
        raw = decode_base64(parts[0])
        if len(raw) < nacl.NONCE + nacl.TAG:
            malformed("it is too short")
        return _open_xchacha(raw, pairs)
    if head == _A128GCM and len(parts) == 4:
        wrapped, nonce, ciphertext, tag = map(decode_base64, parts)
        return _open_gcm(wrapped, nonce, ciphertext, tag, pairs)
    return malformed("it is not encrypted by Plug")


def _open_xchacha(raw: bytes, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    nonce, tag, ciphertext = raw[: nacl.NONCE], raw[nacl.NONCE : nacl.NONCE + nacl.TAG], raw[nacl.NONCE + nacl.TAG :]
    for key, _ in pairs:
        try:
            return nacl.xchacha_open(key, nonce, ciphertext, tag, _ASSOCIATED)
        except InvalidToken:
            continue
    raise InvalidToken("tampered")


def _open_gcm(
    wrapped: bytes, nonce: bytes, ciphertext: bytes, tag: bytes, pairs: Sequence[tuple[bytes, bytes]]
) -> bytes:
    if len(wrapped) != 16 + ciphers.TAG + ciphers.GCM_NONCE:
        malformed("its key is not one of 16 bytes")
    for key, associated in pairs:
        try:
            content_key = ciphers.open_gcm(key, wrapped[32:], wrapped[:16], wrapped[16:32], associated)
        except InvalidToken:
            continue
        return ciphers.open_gcm(content_key, nonce, ciphertext, tag, _ASSOCIATED)
    raise InvalidToken("tampered")


def encrypt(plain: bytes, pair: tuple[bytes, bytes], *, legacy: bool) -> str:
    """What `decrypt` reads; `legacy`: in the form of plug_crypto before 2.1."""
    key, associated = pair
    if not legacy:
        nonce = os.urandom(nacl.NONCE)
        ciphertext, tag = nacl.xchacha_seal(key, nonce, plain, _ASSOCIATED)
        return f"{_XCP}.{values.encode_bytes(nonce + tag + ciphertext)}"
    content_key, nonce, key_nonce = os.urandom(16), os.urandom(12), os.urandom(12)
    wrapped, key_tag = ciphers.seal_gcm(key, key_nonce, content_key, associated)
    ciphertext, tag = ciphers.seal_gcm(content_key, nonce, plain, _ASSOCIATED)
    parts = (wrapped + key_tag + key_nonce, nonce, ciphertext, tag)
    return ".".join((_A128GCM, *map(values.encode_bytes, parts)))


def _check_encrypting(key_length: int) -> None:
    if key_length != 32:
        message = f"key_length={key_length} does not encrypt: both ciphers have keys of 32 bytes"
        raise ConfigError(message)


def _derivation(iterations: object, key_length: object, key_digest: object) -> dict[str, Any]:
    if type(iterations) is not int or not 0 < iterations <= 10_000_000:
        message = f"iterations={iterations!r} is not a number of rounds; leave it out where Plug has the default, 1000"
        raise ConfigError(message)
    if type(key_length) is not int or not 16 <= key_length <= 128:
        message = f"key_length={key_length!r} is not from 16 to 128 bytes; leave it out where Plug has the default, 32"
        raise ConfigError(message)
    digest = one_of(key_digest, "key_digest", ("sha256", "sha384", "sha512"))
    return {"iterations": iterations, "length": key_length, "digest": digest}

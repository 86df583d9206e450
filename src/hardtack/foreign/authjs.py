"""The session cookies of Auth.js 5 and NextAuth 4: an encrypted JWT, in one cookie or in chunks.

    b64url(header) . . b64url(iv) . b64url(ciphertext) . b64url(tag)

The header names the cipher (`A256CBC-HS512`, or `A256GCM`) and in Auth.js 5 the key (`kid`); the keys are HKDF-SHA256 of the
secret, with the cookie's name as the salt.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hardtack import values
from hardtack.errors import InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign._chunks import join_chunks, numbered, split_chunks
from hardtack.foreign._keys import all_secrets
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_base64
from hardtack.foreign._text import read_javascript, write_javascript, write_json
from hardtack.foreign._times import began, not_expired, seconds_of
from hardtack.foreign.base import ForeignCookie, malformed, text
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_CBC = "A256CBC-HS512"
_GCM = "A256GCM"
_KEY_SIZES = {_CBC: 64, _GCM: 32}
_LEEWAY = 15
"""Seconds after its end that a token is still read, and before its beginning."""

_TIMES = ("iat", "exp", "jti")
_CHUNK_WRITTEN = 3840
"""Characters of a chunk of ours, so that whole Set-Cookie lines have 4096 bytes; chunks of any length are read."""


class _Key(NamedTuple):
    raw: bytes
    thumbprint: str


class _Jwe(ForeignCookie):
    """Encrypted JWTs under keys of both ciphers."""

    authenticates_time = True
    ends_after = "max_age"

    def __init__(
        self, keys: dict[str, list[_Key]], written: str, name_the_key: bool, max_age: Duration, **place: Unpack[Place]
    ) -> None:
        super().__init__(**place)
        self._keys = keys
        self._written = written
        self._name_the_key = name_the_key
        self._max_age = seconds(max_age, "max_age")
        self._slide(self._max_age)

    def cookie_names(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """The cookie and its chunks."""
        return [*super().cookie_names(cookies), *numbered(cookies, self.cookie_name)]

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """One cookie, or chunks; raises `UnsupportedValue`."""
        value = self._write(self._stamped(record), context)
        if len(value) <= _CHUNK_WRITTEN:
            return {self.cookie_name: value}
        chunks = split_chunks(value, _CHUNK_WRITTEN)
        return {f"{self.cookie_name}.{number}": chunk for number, chunk in enumerate(chunks)}

    def _value(self, cookies: Mapping[str, Sequence[str]]) -> str:
        chunks = numbered(cookies, self.cookie_name)
        if not chunks:
            return super()._value(cookies)
        if self.cookie_name in cookies:
            # Auth.js clears the one form when it writes the other: here is a leftover, or a planted cookie.
            raise InvalidToken("ambiguous", "a whole cookie and chunks")
        return join_chunks(cookies, chunks, 0, self.max_length)

    def _read(self, value: str, context: Context) -> Record:
        parts = value.split(".")
        if not value.isascii() or len(parts) != 5 or parts[1]:
            malformed("it is not an encrypted JWT with a direct key")
        header = read_javascript(decode_base64(parts[0]))
        iv, ciphertext, tag = map(decode_base64, parts[2:])
        cipher, keys = self._chosen(header)
        open_one = _open_cbc_hs512 if cipher == _CBC else _open_gcm
        for key in keys:
            plain = open_one(key.raw, parts[0].encode(), iv, ciphertext, tag)
            if plain is not None:
                return self._claims(read_javascript(plain), tag, context)
        raise InvalidToken("tampered")

    def _chosen(self, header: object) -> tuple[str, list[_Key]]:
        """The cipher that the header names, among those that are configured, and the keys that may fit."""
        # Nothing else may stand in it: `zip` would inflate, `crit` would demand what we do not know.
        if (
            type(header) is not dict
            or not header.keys() <= {"alg", "enc", "kid", "typ", "cty"}
            or header.get("alg") != "dir"
        ):
            malformed("its header is not one of Auth.js'")
        cipher, thumbprint = header.get("enc"), header.get("kid")
        keys = self._keys.get(cipher) if type(cipher) is str else None
        if keys is None:
            malformed("its header names another cipher")
        if thumbprint is not None:
            keys = [key for key in keys if key.thumbprint == thumbprint]
            if not keys:
                raise InvalidToken("unknown_key", "no secret has its kid")
        return str(cipher), keys

    def _claims(self, claims: object, handle: bytes, context: Context) -> Record:
        if type(claims) is not dict:
            malformed("its claims are not a mapping")
        if claims.get("nbf") is not None and seconds_of(claims["nbf"]) > context.now + _LEEWAY:
            raise InvalidToken("future")
        created = expires = None
        if claims.get("iat") is not None:
            created = began(seconds_of(claims["iat"]), context)
        if claims.get("exp") is not None:
            expires = not_expired(seconds_of(claims["exp"]) + _LEEWAY, context)
        return self._record(claims, context, handle, created=created, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        data = {key: item for key, item in record.data.items() if key not in _TIMES}
        write_javascript(data, reserved=("nbf",))
        ends = self._deadline(record, context, self._max_age, grace=_LEEWAY)
        times = {"iat": context.now, "exp": ends, "jti": str(uuid.uuid4())}
        plain = write_json({**data, **times}).encode()
        key = self._keys[self._written][0]
        header = {"alg": "dir", "enc": self._written, **({"kid": key.thumbprint} if self._name_the_key else {})}
        head = values.encode_bytes(json.dumps(header, separators=(",", ":")).encode())
        if self._written == _CBC:
            iv = os.urandom(ciphers.BLOCK)
            ciphertext = ciphers.seal_cbc(key.raw[32:], iv, plain)
            tag = _hs512(key.raw[:32], head.encode(), iv, ciphertext)
        else:
            iv = os.urandom(ciphers.GCM_NONCE)
            ciphertext, tag = ciphers.seal_gcm(key.raw, iv, plain, head.encode())
        return ".".join((head, "", *map(values.encode_bytes, (iv, ciphertext, tag))))


class AuthjsCookie(_Jwe):
    """The session cookie of Auth.js 5 (`strategy: "jwt"`), read and written. The data are the token's claims.

    Parameters:
        secret: `AUTH_SECRET`, or the first of several.
        old_secrets: the others; read, never written with.
        max_age: `session.maxAge`, by default 30 days; a cookie written here ends then.
        place: see `ForeignCookie`; the name is `authjs.session-token`, with `__Secure-` before it under https.

    `iat`, `exp` and `jti` are written anew. Raises `ConfigError`.
    """

    format_name = "authjs"
    distinct = True
    default_cookie_name = "authjs.session-token"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        max_age: Duration = "30 days",
        **place: Unpack[Place],
    ) -> None:
        name = text(place.get("cookie_name") or self.default_cookie_name, "cookie_name")
        info = f"Auth.js Generated Encryption Key ({name})"
        secrets = all_secrets(secret, old_secrets)
        keys = {enc: [_derive(each, name, info, size) for each in secrets] for enc, size in _KEY_SIZES.items()}
        super().__init__(keys, _CBC, True, max_age, **place)


class NextAuthCookie(_Jwe):
    """The session cookie of NextAuth 4 (`strategy: "jwt"`), read and written. The data are the token's claims.

    Parameters:
        secret: `NEXTAUTH_SECRET`.
        old_secrets: earlier ones; read, never written with.
        salt: of `jwt`'s own settings; NextAuth has none.
        max_age: `session.maxAge`, by default 30 days; a cookie written here ends then.
        place: see `ForeignCookie`; the name is `next-auth.session-token`, with `__Secure-` before it under https.

    `iat`, `exp` and `jti` are written anew. Raises `ConfigError`.
    """

    format_name = "nextauth-4"
    distinct = True
    default_cookie_name = "next-auth.session-token"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        salt: str = "",
        max_age: Duration = "30 days",
        **place: Unpack[Place],
    ) -> None:
        info = "NextAuth.js Generated Encryption Key" + (f" ({text(salt, 'salt')})" if salt != "" else "")
        keys = {_GCM: [_derive(each, salt, info, 32) for each in all_secrets(secret, old_secrets)]}
        super().__init__(keys, _GCM, False, max_age, **place)


def authjs_subject(data: dict[str, Any]) -> str | None:
    """A `subject=` for sessions of Auth.js and NextAuth: the claim `sub`, or None."""
    subject = data.get("sub")
    return subject if type(subject) is str and subject else None


def _derive(secret: bytes, salt: str, info: str, size: int) -> _Key:
    raw = HKDF(SHA256(), size, salt.encode(), info.encode()).derive(secret)
    jwk = json.dumps({"k": values.encode_bytes(raw), "kty": "oct"}, separators=(",", ":"))
    return _Key(raw, values.encode_bytes(hashlib.new(f"sha{size * 8}", jwk.encode()).digest()))


def _open_cbc_hs512(key: bytes, head: bytes, iv: bytes, ciphertext: bytes, tag: bytes) -> bytes | None:
    if len(iv) != ciphers.BLOCK or not hmac.compare_digest(_hs512(key[:32], head, iv, ciphertext), tag):
        return None
    return ciphers.open_cbc(key[32:], iv, ciphertext)


def _open_gcm(key: bytes, head: bytes, iv: bytes, ciphertext: bytes, tag: bytes) -> bytes | None:
    try:
        return ciphers.open_gcm(key, iv, ciphertext, tag, head)
    except InvalidToken as error:
        if error.reason != "tampered":
            raise
        return None


def _hs512(key: bytes, head: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    length = (len(head) * 8).to_bytes(8, "big")
    return hmac.digest(key, head + iv + ciphertext + length, "sha512")[:32]

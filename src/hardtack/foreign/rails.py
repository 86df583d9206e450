"""Rails' session cookie, encrypted or signed, with JSON in it: of Rails 5.2 to 8, and read-only the CBC of 5.1 and before.

    encrypted   b64(ciphertext) -- b64(nonce) -- b64(tag)      AES-GCM, of 256 bits by default
    signed      b64(payload) -- hex(HMAC)
    before 5.2  b64(b64(ciphertext) -- b64(iv)) -- hex(HMAC)      AES-256-CBC

All of it percent-encoded; the keys are PBKDF2 of `secret_key_base`. Inside is an envelope that names the cookie and may
say when it ends: `{"_rails": {"message": b64(JSON), "exp": …, "pur": "cookie.NAME"}}`. Without metadata, as in Rails 5.2,
there is no envelope, or where the cookie ends, one whose `pur` is null.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign._keys import all_secrets, keyed_mac, one_of, pbkdf2, same
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import percent_decode, percent_encode, write_json
from hardtack.foreign._times import iso_seconds, iso_text, not_expired
from hardtack.foreign.base import ForeignCookie, malformed, parse_json, secret_bytes
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_CIPHERS = {"aes-256-gcm": 32, "aes-192-gcm": 24, "aes-128-gcm": 16}
_DIGESTS = ("sha1", "sha256", "sha384", "sha512")
_ITERATIONS = 1000
_SEPARATOR = "--"
_VALUE = "value"


class _Rails(ForeignCookie):
    """What both kinds have in common: the envelope and what is in it."""

    default_cookie_name = "_app_session"
    ends_after = "expire_after"

    def __init__(self, *, metadata: bool, expire_after: Duration | None, **place: Unpack[Place]) -> None:
        super().__init__(**place)
        self._metadata = metadata
        self._expire_after = None if expire_after is None else seconds(expire_after, "expire_after")
        self.authenticates_time = expire_after is not None
        self._slide(self._expire_after)

    def _opened(self, payload: bytes, handle: bytes, context: Context, *, bare: bool = False) -> Record:
        """The record of an authentic payload: an envelope, or where that may be (`bare`) the session itself."""
        refuse_marshal(payload)
        tree = parse_json(payload)
        expires = None
        if type(tree) is dict and tree.keys() == {"_rails"}:
            message, expires = self._envelope(tree["_rails"], context, nameless=bare or not self._metadata)
            refuse_marshal(message)
            tree = parse_json(message)
        elif self._metadata and not bare:
            raise InvalidToken("wrong_purpose", "it does not name its cookie; metadata=False reads those of Rails 5.2")
        return self._record(self._data(tree), context, handle, expires=expires)

    def _data(self, tree: Any) -> Any:
        """What a session of this value holds."""
        return tree

    def _text(self, record: Record) -> str:
        """The session as Rails reads it. Without a `session_id` Rails takes it for empty."""
        data = record.data
        if "session_id" not in data:
            data = {"session_id": record.id[:16].hex(), **data}
        return write_json(data)

    def _envelope(self, envelope: object, context: Context, *, nameless: bool) -> tuple[bytes, int | None]:
        """The message and its end. `nameless`: the envelope need not name the cookie, if it names no other one."""
        if type(envelope) is not dict or type(envelope.get("message")) is not str:
            malformed("its envelope is not one of Rails")
        purpose = envelope.get("pur")
        if purpose is None and not nameless:
            raise InvalidToken("wrong_purpose", "it does not name its cookie; metadata=False reads those of Rails 5.2")
        if purpose is not None and purpose != f"cookie.{self.cookie_name}":
            raise InvalidToken("wrong_purpose", "it was made for another cookie")
        expires = None
        if envelope.get("exp") is not None:
            expires = not_expired(iso_seconds(envelope["exp"]), context)
        return decode_padded(envelope["message"]), expires

    def _payload(self, record: Record, context: Context) -> bytes:
        message = self._text(record).encode()
        expires = self._deadline(record, context, self._expire_after)
        if not self._metadata and expires is None:
            return message
        envelope = {
            "message": base64.b64encode(message).decode(),
            "exp": None if expires is None else iso_text(expires),
            "pur": f"cookie.{self.cookie_name}" if self._metadata else None,
        }
        return json.dumps({"_rails": envelope}, separators=(",", ":")).encode()


class RailsCookie(_Rails):
    """The encrypted session cookie of Rails (`cookie_store`), read and written; the serializer is `:json`.

    Marshal, the serializer of old applications, is refused (`unsafe`): reading it would build any object.

    Parameters:
        secret: `secret_key_base`, as text: hex is not decoded.
        old_secrets: earlier ones; read, never written with.
        digest: `config.active_support.key_generator_hash_digest_class`: `sha256` since `load_defaults 7.0`, else `sha1`.
        old_digests: further ones that are read, while Rails rotates its cookies.
        metadata: `use_cookies_with_metadata`. False, as in Rails 5.2: cookies that do not name their cookie are read too,
            and written.
        expire_after: of `session_store`; a cookie written here ends then. None, as in Rails: the cookie says nothing about
            its age, and is read up to `until`.
        legacy_cbc: also read the cookies of Rails 5.1 and before, and of later ones without
            `use_authenticated_cookie_encryption`, up to `until`, which is then required. Their keys are derived with SHA-1
            (5.1) or one of `digest` and `old_digests`.
        cookies_digest: `config.action_dispatch.cookies_digest`, of the MAC of `legacy_cbc`; Rails' own default is `sha1`.
        encrypted_cookie_cipher: of `config.action_dispatch`, as are the salts: `aes-256-gcm`, `aes-192-gcm` or
            `aes-128-gcm`. The cookies of `legacy_cbc` have AES-256-CBC.
        authenticated_encrypted_cookie_salt: of the cookies' key.
        encrypted_cookie_salt, encrypted_signed_cookie_salt: of the two keys of `legacy_cbc`.
        place: see `ForeignCookie`. Rails names the cookie after the application: `_shop_session`.

    Raises `ConfigError`.
    """

    format_name = "rails"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        digest: str = "sha256",
        old_digests: Sequence[str] = (),
        metadata: bool = True,
        expire_after: Duration | None = None,
        legacy_cbc: bool = False,
        cookies_digest: str = "sha1",
        encrypted_cookie_cipher: str = "aes-256-gcm",
        authenticated_encrypted_cookie_salt: Secret = "authenticated encrypted cookie",
        encrypted_cookie_salt: Secret = "encrypted cookie",
        encrypted_signed_cookie_salt: Secret = "signed encrypted cookie",
        **place: Unpack[Place],
    ) -> None:
        super().__init__(metadata=metadata, expire_after=expire_after, **place)
        accepted = all_secrets(secret, old_secrets)
        names = _digests(digest, old_digests)
        length = _CIPHERS[one_of(encrypted_cookie_cipher, "encrypted_cookie_cipher", list(_CIPHERS))]
        salt = secret_bytes(authenticated_encrypted_cookie_salt, "authenticated_encrypted_cookie_salt")
        cbc_salt = secret_bytes(encrypted_cookie_salt, "encrypted_cookie_salt")
        mac_salt = secret_bytes(encrypted_signed_cookie_salt, "encrypted_signed_cookie_salt")
        self._keys = [_derive(each, salt, length, name) for each in accepted for name in names]
        self._legacy_hmac = one_of(cookies_digest, "cookies_digest", _DIGESTS)
        self._legacy: list[tuple[bytes, bytes]] = []
        if legacy_cbc:
            if self.until is None:
                message = "legacy_cbc=True needs until=<a date>: such a cookie does not say when it was made"
                raise ConfigError(message)
            # Rails 5.1 derives with SHA-1 alone; a later one that still writes CBC with its key generator's digest.
            self._legacy = [
                (_derive(each, cbc_salt, 32, name), _derive(each, mac_salt, 64, name))
                for each in accepted
                for name in dict.fromkeys((*names, "sha1"))
            ]

    def _read(self, value: str, context: Context) -> Record:
        text = percent_decode(value)
        parts = text.split(_SEPARATOR)
        if len(parts) == 2 and self._legacy:
            return self._read_cbc(parts[0], parts[1], context)
        if len(parts) != 3:
            malformed("it does not have three parts")
        ciphertext, nonce, tag = map(decode_padded, parts)
        for key in self._keys:
            try:
                plain = ciphers.open_gcm(key, nonce, ciphertext, tag)
            except InvalidToken as error:
                if error.reason != "tampered":
                    raise
            else:
                return self._opened(plain, nonce + tag, context)
        raise InvalidToken("tampered")

    def _read_cbc(self, encoded: str, mac: str, context: Context) -> Record:
        for key, mac_key in self._legacy:
            if same(keyed_mac(mac_key, encoded.encode(), self._legacy_hmac).hex(), mac):
                parts = decode_padded(encoded).decode("latin-1").split(_SEPARATOR)
                if len(parts) != 2:
                    malformed("its ciphertext and IV are not two parts")
                ciphertext, iv = map(decode_padded, parts)
                return self._opened(ciphers.open_cbc(key, iv, ciphertext), mac.encode(), context, bare=True)
        raise InvalidToken("tampered")

    def _write(self, record: Record, context: Context) -> str:
        nonce = os.urandom(ciphers.GCM_NONCE)
        ciphertext, tag = ciphers.seal_gcm(self._keys[0], nonce, self._payload(record, context))
        return percent_encode(_SEPARATOR.join(base64.b64encode(part).decode() for part in (ciphertext, nonce, tag)))


class RailsSignedCookie(_Rails):
    """A cookie of Rails' `cookies.signed`, read and written: the `session_id` of a generated login is one.

    An object is the session's data; any other value is under the key `value`, and data with that key alone is written as
    the value itself. A null is nothing to Rails, and refused. With `sliding` only objects are read and written, since the
    others have no place for its times.

    Parameters:
        secret, old_secrets, digest, old_digests, metadata, expire_after, place: see `RailsCookie`.
        signed_cookie_digest: `config.action_dispatch.signed_cookie_digest`, which Rails 5.1 and before called
            `cookies_digest`; Rails' own default is `sha1`.
        signed_cookie_salt: `config.action_dispatch.signed_cookie_salt`.

    Raises `ConfigError`.
    """

    format_name = "rails-signed"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        digest: str = "sha256",
        old_digests: Sequence[str] = (),
        signed_cookie_digest: str = "sha1",
        signed_cookie_salt: Secret = "signed cookie",
        metadata: bool = True,
        expire_after: Duration | None = None,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(metadata=metadata, expire_after=expire_after, **place)
        self._hmac = one_of(signed_cookie_digest, "signed_cookie_digest", _DIGESTS)
        salt = secret_bytes(signed_cookie_salt, "signed_cookie_salt")
        self._keys = [
            _derive(each, salt, 64, name)
            for each in all_secrets(secret, old_secrets)
            for name in _digests(digest, old_digests)
        ]

    def _read(self, value: str, context: Context) -> Record:
        encoded, separator, mac = percent_decode(value).rpartition(_SEPARATOR)
        if not separator:
            malformed("it has no signature")
        if not any(same(self._mac(key, encoded), mac) for key in self._keys):
            raise InvalidToken("tampered")
        return self._opened(decode_padded(encoded), mac.encode(), context)

    def _write(self, record: Record, context: Context) -> str:
        encoded = base64.b64encode(self._payload(record, context)).decode()
        return percent_encode(f"{encoded}{_SEPARATOR}{self._mac(self._keys[0], encoded)}")

    def _data(self, tree: Any) -> Any:
        if not _stands_alone(tree):
            return tree
        if self.sliding is not None:
            malformed("its value is not an object, and so has no place for the times of sliding=True")
        return {_VALUE: tree}

    def _text(self, record: Record) -> str:
        data = record.data
        if data.keys() == {_VALUE} and _stands_alone(data[_VALUE]):
            return write_json(data).removeprefix(f'{{"{_VALUE}":').removesuffix("}")
        return super()._text(record)

    def _mac(self, key: bytes, encoded: str) -> str:
        return keyed_mac(key, encoded.encode("utf-8", "surrogatepass"), self._hmac).hex()


def _stands_alone(value: object) -> bool:
    """Whether a signed cookie holds this value instead of a session's object."""
    return value is not None and type(value) is not dict


def devise_subject(scope: str = "user") -> Callable[[dict[str, Any]], str | None]:
    """A `subject=` for sessions of Devise (Warden): the id of the user who is logged in under `scope`, or None.

    Warden keeps `[[id], "$2a$10$…"]` under `warden.user.SCOPE.key`. The second part is the beginning of the password's
    hash, by which Devise ends the sessions of a changed password: compare it with the user's where that matters to you.
    """
    name = f"warden.user.{scope}.key"

    def subject(data: dict[str, Any]) -> str | None:
        kept = data.get(name)
        ids = kept[0] if type(kept) is list and kept else None
        identifier = ids[0] if type(ids) is list and len(ids) == 1 else None
        return str(identifier) if type(identifier) in (int, str) and identifier != "" else None

    return subject


def refuse_marshal(payload: bytes) -> None:
    """`InvalidToken("unsafe")` for Ruby's Marshal, which builds whatever object it names."""
    if payload.startswith(b"\x04\x08"):
        raise InvalidToken("unsafe", "it is Ruby's Marshal; let the other system write JSON")


def _digests(digest: str, old_digests: Sequence[str]) -> list[str]:
    if isinstance(old_digests, str):
        message = f"old_digests={old_digests!r} is a list of digests; write [{old_digests!r}]"
        raise ConfigError(message)
    return [
        one_of(digest, "digest", _DIGESTS),
        *(one_of(each, "old_digests", _DIGESTS) for each in old_digests),
    ]


def _derive(secret: bytes, salt: bytes, length: int, digest: str) -> bytes:
    return pbkdf2(secret, salt, _ITERATIONS, length, digest)

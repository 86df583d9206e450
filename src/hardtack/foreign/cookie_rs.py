"""The private and signed cookies of Rust's cookie crate: of axum-extra, actix-session and Rocket.

    private   b64(nonce12 ‖ ciphertext ‖ tag16)      AES-256-GCM, bound to the cookie's name
    signed    b64(HMAC-SHA256(value)) ‖ value

Percent-encoded. A key has 64 bytes: 32 that sign, 32 that encrypt.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from typing import Any, Literal, Unpack

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign._keys import keyed_mac, one_of, same
from hardtack.foreign._place import Place
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import percent_decode, percent_encode, write_json
from hardtack.foreign.base import ForeignCookie, listed, malformed, parse_json
from hardtack.protocols import Context
from hardtack.record import Record

_INFO = b"COOKIE;SIGNED:HMAC-SHA256;PRIVATE:AEAD-AES-256-GCM"
_MAC_LENGTH = 44
_VERSION = 1

Content = Literal["json", "actix"]


class _CookieRs(ForeignCookie):
    """What both have in common: the keys, and JSON."""

    default_cookie_name = "id"

    def __init__(
        self,
        key: bytes,
        *,
        old_keys: Sequence[bytes] = (),
        derive: bool = False,
        content: Content = "json",
        versioned: bool = False,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        self._keys = [_key(each, derive) for each in (key, *listed(old_keys, "old_keys", "keys"))]
        self._is_actix = one_of(content, "content", ("json", "actix")) == "actix"
        if type(versioned) is not bool or (versioned and not self._is_actix):
            message = f"versioned={versioned!r} is True or False, and True beside content='actix' alone"
            raise ConfigError(message)
        self._versioned = versioned

    def _data(self, payload: str | bytes) -> Any:
        data = parse_json(payload)
        return _state(data) if self._is_actix else data

    def _text(self, record: Record) -> str:
        text = write_json(record.data, wide=False)  # serde_json makes a double of more than 64 bits
        if not self._is_actix:
            return text
        if self._versioned:
            return f'{{"v":{_VERSION},"state":{text}}}'
        state = {name: json.dumps(item, ensure_ascii=False) for name, item in record.data.items()}
        return json.dumps(state, ensure_ascii=False, separators=(",", ":"))


def _state(data: Any) -> Any:
    """The session in what actix-session keeps, which reads three forms: versioned, text within text, and plain."""
    if type(data) is not dict:
        malformed("it is not the state of a session of actix")
    version, state = data.get("v"), data.get("state")
    if type(state) is dict and type(version) in (int, float):
        if type(version) is not int or version != _VERSION:
            malformed("its state is of a version of actix that is not known")
        return state
    if all(type(item) is str for item in data.values()):
        return {name: parse_json(item) for name, item in data.items()}
    return data


class RustPrivateCookie(_CookieRs):
    """A private (encrypted) cookie of Rust's cookie crate with JSON in it, read and written.

    It says nothing about its age: `until` is required.

    Parameters:
        key: the bytes that `Key::from` was given: 64, of which the last 32 encrypt.
        old_keys: earlier ones; read, never written with.
        derive: the bytes were given to `Key::derive_from` (Rocket's `secret_key` of 32 bytes, and 32 or more elsewhere).
        content: `json`: an object, which is the session (axum-extra, Rocket: whatever the application put there); `actix`: as
            actix-session keeps it, in each form that it reads itself: an object whose values are JSON in text, a versioned
            one (`{"v":1,"state":{…}}`), and the values as they are.
        versioned: with `actix`, write the versioned form, as actix-session after 0.11 does; it reads the other one too, and
            0.11 and before read no versioned one.
        place: see `ForeignCookie`; actix-session's name is `id`, the others have none.

    Raises `ConfigError`.
    """

    format_name = "cookie-rs-private"
    distinct = True

    def _read(self, value: str, context: Context) -> Record:
        raw = decode_padded(percent_decode(value))
        if len(raw) < ciphers.GCM_NONCE + ciphers.TAG:
            malformed("it is too short")
        nonce, ciphertext, tag = raw[: ciphers.GCM_NONCE], raw[ciphers.GCM_NONCE : -ciphers.TAG], raw[-ciphers.TAG :]
        for key in self._keys:
            try:
                plain = ciphers.open_gcm(key[32:], nonce, ciphertext, tag, self.cookie_name.encode())
            except InvalidToken:
                continue
            return self._record(self._data(plain), context, raw)
        raise InvalidToken("tampered")

    def _write(self, record: Record, context: Context) -> str:
        plain, nonce = self._text(record).encode(), os.urandom(ciphers.GCM_NONCE)
        ciphertext, tag = ciphers.seal_gcm(self._keys[0][32:], nonce, plain, self.cookie_name.encode())
        return percent_encode(base64.b64encode(nonce + ciphertext + tag).decode())


class RustSignedCookie(_CookieRs):
    """A signed cookie of Rust's cookie crate with JSON in it, read and written.

    It says nothing about its age: `until` is required. The name is not signed: the same value is good under every name.

    Parameters:
        key: the bytes that `Key::from` was given: 64, of which the first 32 sign.
        old_keys, derive, content, versioned, place: see `RustPrivateCookie`.

    Raises `ConfigError`.
    """

    format_name = "cookie-rs-signed"

    def _read(self, value: str, context: Context) -> Record:
        signed = percent_decode(value)
        mac, text = signed[:_MAC_LENGTH], signed[_MAC_LENGTH:]
        if len(mac) < _MAC_LENGTH or not mac.endswith("="):
            malformed("it has no signature")
        if not any(same(_mac(key, text), mac) for key in self._keys):
            raise InvalidToken("tampered")
        return self._record(self._data(text), context, signed)

    def _write(self, record: Record, context: Context) -> str:
        text = self._text(record)
        return percent_encode(_mac(self._keys[0], text) + text)


def _mac(key: bytes, text: str) -> str:
    return base64.b64encode(keyed_mac(key[:32], text.encode(), "sha256")).decode()


def _key(key: object, derive: bool) -> bytes:
    """The 64 bytes: signing key, encryption key. Raises `ConfigError`."""
    if not isinstance(key, bytes) or len(key) < (32 if derive else 64):
        message = "key is not the 64 bytes of Key::from, nor with derive=True the 32 or more of Key::derive_from"
        raise ConfigError(message)
    return HKDFExpand(SHA256(), 64, _INFO).derive(key) if derive else key[:64]

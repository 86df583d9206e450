"""Rack's session cookies with JSON in them: rack-session's two encrypted forms, and the signed one of Rack 2.

    version 2   b64(02 ‖ salt32 ‖ nonce12 ‖ tag16 ‖ ciphertext)      AES-256-GCM, key = HMAC-SHA256(secret, salt)
    version 1   b64(01 ‖ random32 ‖ iv16 ‖ ciphertext ‖ mac32)      AES-256-CTR, then HMAC-SHA256
    Rack 2      b64(data) -- hex(HMAC)      until 2.0 with a line end after 60 characters each, and at the end

All of it percent-encoded. Inside the first two: the length of the padding (2 bytes, little-endian), the padding, the data.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import zlib
from collections.abc import Sequence
from typing import Any, Literal, Unpack

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign._keys import all_secrets, keyed_mac, one_of, same
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_padded, inflate
from hardtack.foreign._text import percent_decode, percent_encode, write_json
from hardtack.foreign.base import ForeignCookie, malformed, parse_json, text
from hardtack.foreign.rails import refuse_marshal
from hardtack.protocols import Context
from hardtack.record import Record
from hardtack.settings import switch

_URL_SAFE = frozenset("-_")
_STANDARD = str.maketrans("-_", "+/")
_MAX_PADDING = 4096
_OWN = "hardtack-"
_OWN_ID = re.compile(f"{_OWN}[0-9a-f]{{32}}")


class RackSessionCookie(ForeignCookie):
    """The cookie of `Rack::Session::Cookie` of rack-session, read and written, with `serialize_json: true`.

    Both versions are read, in both alphabets. Marshal, the default serializer, is refused (`unsafe`). The cookie says
    nothing about its age: `until` is required.

    Parameters:
        secret: `secret` or the first of `secrets`: 64 bytes or more; 32 are enough for version 2.
        old_secrets: the others; read, never written with.
        purpose: what the cookie is bound to, and no other is read then; "" for nothing. By default both are read that Rack
            makes of `key`: a cookie bound to its name, which is written where `cookie_name` was given, and one bound to
            nothing, which is written where it was not.
        version: what is written, 1 or 2.
        url_safe: write base64url, as rack-session does after 2.1.2. Version 1 was always so.
        pad_size: the length is padded to a multiple of this; None for no padding.
        place: see `ForeignCookie`; `key`, by default `rack.session`.

    Raises `ConfigError`.
    """

    format_name = "rack-session"
    distinct = True
    default_cookie_name = "rack.session"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        purpose: str | None = None,
        version: Literal[1, 2] = 2,
        url_safe: bool = False,
        pad_size: int | None = 32,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        if version not in (1, 2):
            message = f"version={version!r} must be 1 or 2"
            raise ConfigError(message)
        if pad_size is not None and not (type(pad_size) is int and 2 <= pad_size <= _MAX_PADDING):
            message = f"pad_size={pad_size!r} is not from 2 to {_MAX_PADDING} bytes, as in rack-session, or None"
            raise ConfigError(message)
        self._secrets = all_secrets(secret, old_secrets)
        if any(len(each) < (64 if version == 1 else 32) for each in self._secrets):
            message = "secret is shorter than rack-session takes: 64 bytes, or 32 for version 2 alone"
            raise ConfigError(message)
        self._purposes = _purposes(purpose, self.cookie_name, named=place.get("cookie_name") is not None)
        self._version = version
        self._url_safe = switch(url_safe, "url_safe") or version == 1
        self._pad_size = pad_size

    def _spelled(self, value: str) -> str:
        """In one of the two alphabets, both of which are read."""
        return super()._spelled(value).translate(_STANDARD)

    def _read(self, value: str, context: Context) -> Record:
        text = percent_decode(value)
        raw = decode_padded(text, url_safe=not _URL_SAFE.isdisjoint(text))
        if raw[:1] == b"\x02":
            padded = self._open_2(raw)
        elif raw[:1] == b"\x01":
            padded = self._open_1(raw)
        else:
            malformed("its version is neither 1 nor 2")
        size = int.from_bytes(padded[:2], "little")
        payload = padded[2 + size :]
        if len(padded) < 2 + size:
            malformed("its padding is longer than it")
        refuse_marshal(payload)
        # A MAC of version 1 is over the purpose as if that stood behind the cookie: moved into it, it must not make another id.
        handle = raw if raw[0] == 2 else raw[-32:]
        return _own_id(self._record(parse_json(payload), context, handle))

    def _open_2(self, raw: bytes) -> bytes:
        salt, nonce, tag, ciphertext = raw[1:33], raw[33:45], raw[45:61], raw[61:]
        for secret in self._secrets:
            key = hmac.digest(secret[:32], salt, "sha256")
            for purpose in self._purposes:
                try:
                    return ciphers.open_gcm(key, nonce, ciphertext, tag, b"\x02" + salt + purpose)
                except InvalidToken as error:
                    if error.reason != "tampered":
                        raise
        raise InvalidToken("tampered")

    def _open_1(self, raw: bytes) -> bytes:
        signed, mac = raw[:-32], raw[-32:]
        if len(signed) < 1 + 32 + ciphers.BLOCK:
            malformed("it is too short")
        for secret in self._secrets:
            if len(secret) >= 64 and any(
                hmac.compare_digest(_mac_1(secret, signed + purpose), mac) for purpose in self._purposes
            ):
                key = hmac.digest(secret[:32], signed[1:33], "sha256")
                return ciphers.ctr(key, signed[33:49], signed[49:])
        raise InvalidToken("tampered")

    def _write(self, record: Record, context: Context) -> str:
        payload = write_json(_with_id(record)).encode()
        size = 0 if self._pad_size is None else -(2 + len(payload)) % self._pad_size
        plain = size.to_bytes(2, "little") + os.urandom(size) + payload
        secret, salt = self._secrets[0], os.urandom(32)
        key = hmac.digest(secret[:32], salt, "sha256")
        if self._version == 2:
            nonce = os.urandom(ciphers.GCM_NONCE)
            ciphertext, tag = ciphers.seal_gcm(key, nonce, plain, b"\x02" + salt + self._purposes[0])
            raw = b"\x02" + salt + nonce + tag + ciphertext
        else:
            iv = os.urandom(ciphers.BLOCK)
            signed = b"\x01" + salt + iv + ciphers.ctr(key, iv, plain)
            raw = signed + _mac_1(secret, signed + self._purposes[0])
        return percent_encode(base64.b64encode(raw, b"-_" if self._url_safe else None).decode())


def _purposes(purpose: str | None, name: str, *, named: bool) -> tuple[bytes, ...]:
    """What a cookie may be bound to, first what is written."""
    if purpose is not None:
        return (text(purpose, "purpose").encode(),)
    # Rack binds to `key` as the application gave it: its default comes after that.
    return (name.encode(), b"") if named else (b"", name.encode())


def _mac_1(secret: bytes, bound: bytes) -> bytes:
    return keyed_mac(secret[32:], bound, "sha256")


class RackHmacCookie(ForeignCookie):
    """The cookie of `Rack::Session::Cookie` of Rack 2, signed, read and written; its coder is JSON, or zipped JSON.

    Those of Rack 1 and 2.0, whose base64 has line ends in it, are read as well; what is written has none, as from Rack 2.1 on.
    Marshal, the default coder, is refused (`unsafe`). The cookie says nothing about its age: `until` is required.

    Parameters:
        secret: `secret`.
        old_secrets: `old_secret`; read, never signed with.
        digest: `hmac`, by default `sha1`.
        zipped: write as `Base64::ZipJSON`; both are read.
        place: see `ForeignCookie`; `key`, by default `rack.session`.

    Raises `ConfigError`.
    """

    format_name = "rack-hmac"
    distinct = True  # by its session_id
    default_cookie_name = "rack.session"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        digest: str = "sha1",
        zipped: bool = False,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        self._secrets = all_secrets(secret, old_secrets)
        self._digest = one_of(digest, "digest", ("sha1", "sha256", "sha384", "sha512"))
        self._zipped = switch(zipped, "zipped")

    def _read(self, value: str, context: Context) -> Record:
        encoded, separator, mac = percent_decode(value).rpartition("--")
        if not separator:
            malformed("it has no signature")
        if not any(same(self._mac(secret, encoded), mac) for secret in self._secrets):
            raise InvalidToken("tampered")
        payload = decode_padded(encoded.replace("\n", ""))  # one after each 60 characters, until Rack 2.0
        refuse_marshal(payload)
        if payload[:1] == b"\x78":  # of zlib; JSON begins otherwise
            payload = inflate(payload)
            refuse_marshal(payload)
        return _own_id(self._record(parse_json(payload), context, encoded))

    def _write(self, record: Record, context: Context) -> str:
        payload = write_json(_with_id(record)).encode()
        encoded = base64.b64encode(zlib.compress(payload) if self._zipped else payload).decode()
        return percent_encode(f"{encoded}--{self._mac(self._secrets[0], encoded)}")

    def _mac(self, secret: bytes, encoded: str) -> str:
        return keyed_mac(secret, encoded.encode("utf-8", "surrogatepass"), self._digest).hex()


def _with_id(record: Record) -> dict[str, Any]:
    """The data as Rack reads it, which takes a session without `session_id` for none."""
    if "session_id" in record.data:
        return record.data
    return {"session_id": f"{_OWN}{record.id[:16].hex()}", **record.data}


def _own_id(record: Record) -> Record:
    """The record without a `session_id` that was written here: the session keeps its id over a change."""
    identifier = record.data.get("session_id")
    if type(identifier) is str and _OWN_ID.fullmatch(identifier):
        record.id = bytes.fromhex(identifier.removeprefix(_OWN))
        record.data = {key: item for key, item in record.data.items() if key != "session_id"}
    return record

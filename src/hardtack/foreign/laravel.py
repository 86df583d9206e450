"""Laravel's cookies: the session under the `cookie` driver, and the id of a session that is in a store.

    percent-encoded b64 of {"iv": b64, "value": b64, "mac": hex, "tag": b64}
    AES-256-CBC   mac = HMAC-SHA256(key, iv ‖ value), both as base64; tag is ""       (the default)
    AES-256-GCM   tag of 16 bytes; mac is ""
    inside        hex(HMAC-SHA1(key, name ‖ "v2")) | value          (before Laravel 6.18.27 and 7.22.2 the value alone)

The `cookie` driver sets a second cookie, named by the session's id, whose value is `{"data": …, "expires": …}`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Unpack

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign import php
from hardtack.foreign._keys import keyed_mac, one_of
from hardtack.foreign._place import Place
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import percent_decode, percent_encode, write_json
from hardtack.foreign._times import not_expired, seconds_of
from hardtack.foreign.base import UNREAD, ForeignCookie, malformed, parse_json, quick_json
from hardtack.lifetime import Duration
from hardtack.protocols import Context
from hardtack.record import Record
from hardtack.settings import positive, switch

_ID = re.compile("[A-Za-z0-9]{40}")
_OWN = "hardtack"
_OWN_ID = re.compile(f"{_OWN}([0-9a-f]{{32}})")
_CIPHERS: Final = {"aes-128-cbc": 16, "aes-256-cbc": 32, "aes-128-gcm": 16, "aes-256-gcm": 32}
_ENVELOPE = frozenset({"iv", "value", "mac", "tag"})
_PREFIXED = re.compile(b"[0-9a-f]{40}[|]")
_SEALED = b"eyJpdiI6"  # base64 of `{"iv":`, which every envelope begins with
_SESSION_GUARD = "Illuminate\\Auth\\SessionGuard"


class _Laravel(ForeignCookie):
    """Laravel's encrypter, and the prefix that binds a value to the cookie's name."""

    default_cookie_name = "laravel_session"
    distinct = True

    def __init__(
        self, secret: str, old_secrets: Sequence[str], cipher: str, legacy_unprefixed: bool, **place: Unpack[Place]
    ) -> None:
        super().__init__(**place)
        if switch(legacy_unprefixed, "legacy_unprefixed") and self.until is None:
            message = "legacy_unprefixed=True needs until=<a date>: what is read then is good under every cookie's name"
            raise ConfigError(message)
        self._legacy_unprefixed = legacy_unprefixed
        self._cipher = one_of(cipher.lower() if isinstance(cipher, str) else cipher, "cipher", tuple(_CIPHERS))
        self._is_cbc = self._cipher.endswith("cbc")
        if isinstance(old_secrets, str | bytes) or not isinstance(old_secrets, Iterable):
            message = "old_secrets is a list of keys; split APP_PREVIOUS_KEYS at the commas"
            raise ConfigError(message)
        self._keys = [_app_key(each, _CIPHERS[self._cipher]) for each in (secret, *old_secrets)]
        self._cbc = {key: ciphers.CbcKey(key) for key in self._keys}
        self._prefixes = {(key, self.cookie_name): _prefix(key, self.cookie_name) for key in self._keys}

    def _spelled(self, value: str) -> str:
        """What the MAC is over, without the JSON around it, which has many spellings."""
        iv, ciphertext, _, _ = _parts(decode_padded(percent_decode(value)))
        return iv + ciphertext

    def _decrypt(self, name: str, value: str) -> bytes:
        """What the cookie of this name holds. Raises `InvalidToken`."""
        key, plain = self._unsealed(decode_padded(percent_decode(value)))
        prefix, separator, text = plain.partition(b"|")
        expected = self._prefixes.get((key, name)) or _prefix(key, name)
        if separator and hmac.compare_digest(prefix, expected):
            return text
        if self._legacy_unprefixed and not _PREFIXED.match(plain):
            return plain
        raise InvalidToken("wrong_purpose", "it was made for another cookie")

    def _unsealed(self, envelope: bytes) -> tuple[bytes, bytes]:
        """The key that an envelope was sealed with, and the plain text. Raises `InvalidToken`."""
        parts = _parts(envelope)
        for key in self._keys:
            plain = self._opened(key, *parts)
            if plain is not None:
                return key, plain
        raise InvalidToken("tampered")

    def _opened(self, key: bytes, iv: str, value: str, mac: str, tag: str) -> bytes | None:
        """The plain text, or None where the MAC is not this key's."""
        if self._is_cbc:
            if not hmac.compare_digest(keyed_mac(key, (iv + value).encode(), "sha256").hex(), mac):
                return None
            return self._cbc[key].open(decode_padded(iv), decode_padded(value))
        try:
            return ciphers.open_gcm(key, decode_padded(iv), decode_padded(value), decode_padded(tag))
        except InvalidToken as error:
            if error.reason != "tampered":
                raise
            return None

    def _encrypt(self, name: str, text: str) -> str:
        key = self._keys[0]
        plain = _prefix(key, name) + b"|" + text.encode()
        mac = tag = ""
        if self._is_cbc:
            raw_iv = os.urandom(ciphers.BLOCK)
            iv, value = _base64(raw_iv), _base64(ciphers.seal_cbc(key, raw_iv, plain))
            mac = keyed_mac(key, (iv + value).encode(), "sha256").hex()
        else:
            raw_iv = os.urandom(ciphers.GCM_NONCE)
            ciphertext, raw_tag = ciphers.seal_gcm(key, raw_iv, plain)
            iv, value, tag = _base64(raw_iv), _base64(ciphertext), _base64(raw_tag)
        envelope = json.dumps({"iv": iv, "value": value, "mac": mac, "tag": tag}, separators=(",", ":"))
        return percent_encode(_base64(envelope.encode()))

    def _id(self, value: str) -> str:
        identifier = _text(self._decrypt(self.cookie_name, value))
        if not _ID.fullmatch(identifier):
            malformed("it is not the id of a session of Laravel's")
        return identifier


class LaravelCookie(_Laravel):
    """A session of Laravel's `cookie` driver, in two cookies, read and written.

    Parameters:
        secret: `APP_KEY`, with its `base64:`.
        old_secrets: `APP_PREVIOUS_KEYS`, split at the commas; read, never written with.
        cipher: `cipher` of `config/app.php`, by default `aes-256-cbc`.
        serialization: `session.serialization`, `php` or `json`; both are read, PHP's objects never.
        lifetime: `session.lifetime` as a duration, by default 120 minutes; a cookie written here ends then.
        legacy_unprefixed: also read the cookies of Laravel before 6.18.27 and 7.22.2 (July 2020), up to `until`, which is then
            required: they are bound to no name, so that who gets an application to encrypt a text in any cookie has a
            session of it.
        place: see `ForeignCookie`; `session.cookie`, by default the application's name and `_session`, or `-session` since
            Laravel 12.

    Raises `ConfigError`.
    """

    format_name = "laravel"
    authenticates_time = True
    ends_after = "lifetime"

    def __init__(
        self,
        secret: str,
        *,
        old_secrets: Sequence[str] = (),
        cipher: str = "aes-256-cbc",
        serialization: str = "php",
        lifetime: Duration = "120 minutes",
        legacy_unprefixed: bool = False,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(secret, old_secrets, cipher, legacy_unprefixed, **place)
        self._serialization = one_of(serialization, "serialization", ("php", "json"))
        self._lifetime = positive(lifetime, "lifetime")
        self._slide(self._lifetime)

    def cookie_names(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """The cookie with the id, and those that may be of a session: 40 letters and digits."""
        if self.cookie_name not in cookies:
            return []
        try:
            identifier = self._id(super()._value(cookies))
        except InvalidToken:
            return [self.cookie_name]
        return [self.cookie_name, *([identifier] if identifier in cookies else [])]

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """Both cookies; raises `UnsupportedValue`."""
        identifier = _identifier(record.id)
        record = self._stamped(record)
        packed = php.write(record.data)  # with either serialization: what PHP would not get back equal is refused
        try:
            data = packed.decode() if self._serialization == "php" else write_json(record.data)
        except UnicodeDecodeError:
            raise UnsupportedValue("(root)", "bytes", "Laravel's cookie driver keeps text only; use base64") from None
        content = {"data": data, "expires": self._deadline(record, context, self._lifetime)}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return {
            self.cookie_name: self._encrypt(self.cookie_name, identifier),
            identifier: self._encrypt(identifier, text),
        }

    def _value(self, cookies: Mapping[str, Sequence[str]]) -> str:
        """The id, and the value of the cookie that it names."""
        identifier = self._id(super()._value(cookies))
        found = cookies.get(identifier)
        if not found:
            raise InvalidToken("incomplete", "the cookie named by the session's id is missing")
        if len(found[-1]) > self.max_length:
            raise InvalidToken("too_large", f"more than {self.max_length} characters")
        return f"{identifier}={found[-1]}"

    def _spelled(self, value: str) -> str:
        identifier, _, sealed = value.partition("=")
        return identifier + super()._spelled(sealed)

    def _read(self, value: str, context: Context) -> Record:
        identifier, _, sealed = value.partition("=")
        raw = self._decrypt(identifier, sealed)
        content = quick_json(raw)  # which reads UTF-8 only
        if content is UNREAD:
            content = parse_json(_text(raw), numbers=False)
        data = content.get("data") if type(content) is dict else None
        if type(data) is not str:
            malformed("it is not what the cookie driver writes")
        expires = not_expired(seconds_of(content.get("expires")), context)
        record = self._record(read_laravel_data(data), context, identifier, expires=expires)
        if own := _OWN_ID.fullmatch(identifier):
            # The session keeps its id over a change, and Laravel the name of its cookie.
            record.id = bytes.fromhex(own[1])
        return record


class LaravelIdCookie(_Laravel):
    """The cookie of Laravel's other drivers, read and written: the id of a session that is in a store.

    The session's data is `{"session_id": …}`, unless `load` finds more.

    Parameters:
        secret, old_secrets, cipher, place: see `LaravelCookie`. `until` is required: the cookie says nothing about its age.
        load: a function that takes the id and returns what the store has under it, as it is there (the column `payload` of
            a row, the value of Redis or of another cache, the content of a file), or None where there is nothing. It is
            called while a request is answered, and only for an authentic id; what it raises, the request does.
        legacy_unprefixed: see `LaravelCookie`.
        encrypted: `session.encrypt`; True: what is not sealed with one of the keys is refused, as there.

    Raises `ConfigError`.
    """

    format_name = "laravel-id"

    def __init__(
        self,
        secret: str,
        *,
        old_secrets: Sequence[str] = (),
        cipher: str = "aes-256-cbc",
        load: Callable[[str], str | bytes | bytearray | memoryview | None] | None = None,
        encrypted: bool = False,
        legacy_unprefixed: bool = False,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(secret, old_secrets, cipher, legacy_unprefixed, **place)
        if load is not None and not callable(load):
            message = "load is a function that takes the session's id and returns what the store has of it, or None"
            raise ConfigError(message)
        self._load = load
        self._encrypted = switch(encrypted, "encrypted")
        if encrypted and load is None:
            message = "encrypted=True, as session.encrypt, says how load's data is kept: give load= as well"
            raise ConfigError(message)

    def _read(self, value: str, context: Context) -> Record:
        identifier = self._id(value)
        if self._load is None:
            return self._record({"session_id": identifier}, context, identifier)
        stored = self._load(identifier)
        if stored is None:
            raise InvalidToken("unknown_id", "the other system's store has no such session")
        if isinstance(stored, bytearray | memoryview):  # some drivers return a column of bytes so
            stored = bytes(stored)
        if not isinstance(stored, str | bytes):
            message = (
                f"load of {type(self).__name__} must return what the store has, as str or bytes, or None, not "
                f"{type(stored).__name__}; of a row that is its column payload"
            )
            raise ConfigError(message)
        return self._record(self._stored(stored), context, identifier)

    def _stored(self, stored: str | bytes) -> Any:
        """The session in what `load` found. Raises `InvalidToken`."""
        kept = _kept(stored)
        if self._encrypted:
            # A file has the envelope's base64, which was unwrapped as a row's is; the others have it inside their own form.
            envelope = kept if kept[:1] == b"{" else decode_padded(_text(kept))
            return read_laravel_data(read_php_text(self._unsealed(envelope)[1]))
        data = None if kept.startswith(_SEALED) else read_laravel_data(kept)
        if data is None or (type(data) is dict and "mac" in data and _ENVELOPE.issuperset(data)):
            malformed("it is encrypted, as session.encrypt asks for; give the format encrypted=True")
        return data

    def _write(self, record: Record, context: Context) -> str:
        identifier = record.data.get("session_id")
        if type(identifier) is not str or not _ID.fullmatch(identifier) or len(record.data) > 1:
            problem = (
                "the cookie carries the key session_id alone, of 40 letters and digits; the rest is in Laravel's store"
            )
            raise UnsupportedValue("(root)", "dict", problem)
        return self._encrypt(self.cookie_name, identifier)


def read_laravel_data(stored: str | bytes) -> Any:
    """The session that Laravel's stores keep, as PHP's `serialize` or as JSON. Raises `InvalidToken`."""
    raw = _bytes(stored)
    data = parse_json(raw) if raw[:1] in (b"{", b"[") else php.read(raw)
    return {} if data == [] else data


def read_payload(payload: bytes) -> bytes:
    """The session in the column `payload` of Laravel's table `sessions`. Raises `InvalidToken`."""
    return decode_padded(_text(payload))


def read_php_text(document: bytes) -> bytes:
    """The string that Laravel's cache keeps, and its encrypter: in PHP's `serialize` again. Raises `InvalidToken`."""
    inner = php.read(document)
    if type(inner) not in (str, bytes):
        malformed("it is not text in PHP's serialize, as Laravel's cache and its encrypter keep it")
    return _bytes(inner)


def _kept(stored: str | bytes) -> bytes:
    """What Laravel gave its store, without what the store put around it: one layer. Raises `InvalidToken`."""
    raw = _bytes(stored)
    if raw[:2] == b"s:":
        return read_php_text(raw)
    # Neither a document of PHP's, `a:…`, nor one of JSON is base64.
    return raw if raw[:1] in (b"{", b"[") or raw[1:2] == b":" else read_payload(raw)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def laravel_subject(guard: str = "web", guard_class: str = _SESSION_GUARD) -> Callable[[dict[str, Any]], str | None]:
    """A `subject=` for sessions of Laravel: the id of the user who is logged in under `guard`, or None."""
    name = f"login_{guard}_{hashlib.sha1(guard_class.encode(), usedforsecurity=False).hexdigest()}"

    def subject(data: dict[str, Any]) -> str | None:
        identifier = data.get(name)
        return str(identifier) if type(identifier) in (int, str) and identifier != "" else None

    return subject


def _parts(envelope: bytes) -> tuple[str, str, str, str]:
    """IV, ciphertext, MAC and tag of an envelope. Raises `InvalidToken`."""
    fields = parse_json(envelope, numbers=False)
    if type(fields) is not dict:
        malformed("it is not an envelope of Laravel's")
    get = fields.get
    parts = (get("iv", ""), get("value", ""), get("mac", ""), get("tag", ""))
    try:
        is_ascii = "".join(parts).isascii()
    except TypeError:  # one of them is no text
        is_ascii = False
    if not is_ascii:
        malformed("it is not an envelope of Laravel's")
    return parts


def _app_key(secret: object, length: int) -> bytes:
    """The bytes of an `APP_KEY`. Raises `ConfigError`."""
    key = b""
    if type(secret) is str:
        try:
            encoded = secret.removeprefix("base64:")
            key = secret.encode() if encoded == secret else base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
    if len(key) != length:
        message = f"secret is not an APP_KEY of {length} bytes for this cipher; copy it from .env, with its base64:"
        raise ConfigError(message)
    return key


def _prefix(key: bytes, name: str) -> bytes:
    return keyed_mac(key, name.encode() + b"v2", "sha1").hex().encode()


def _identifier(handle: bytes) -> str:
    """An id of the form of Laravel's that holds the session's own. It is no credential: the cookie is sealed."""
    return f"{_OWN}{handle[:16].hex()}"


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        malformed("it is not UTF-8")


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

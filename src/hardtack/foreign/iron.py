"""Seals of iron (Fe26.2), in the cookies of hapi, iron-session and h3 (Nuxt, Nitro).

    Fe26.2 * password id * salt * b64url(iv16) * b64url(ciphertext) * end in milliseconds * salt * b64url(mac32)

AES-256-CBC, or AES-128-CTR where hapi is told so, and HMAC-SHA256; the keys are PBKDF2-SHA1 of the password and the salts,
which are taken as the text they are. A password of bytes is the key itself, and its salt is empty.
The end may be empty, and then a seal says nothing about its age.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign._chunks import join_chunks, numbered, split_chunks
from hardtack.foreign._keys import one_of, same
from hardtack.foreign._place import Place
from hardtack.foreign._python import decode_base64
from hardtack.foreign._text import percent_decode, read_javascript, write_javascript, write_json
from hardtack.foreign._times import began, not_expired, seconds_of
from hardtack.foreign.base import ForeignCookie, listed, malformed
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_PREFIX = "Fe26.2"
_SKEW = 60
"""Seconds after its end that a seal is still read."""

_SALT = re.compile("(?:[0-9a-f]{64})?")
_END = re.compile("[1-9][0-9]{0,15}")
_PASSWORD_ID = re.compile("[A-Za-z0-9_]*")
_SHORTEST = 32
_MOST_ROUNDS = 1_000_000
_SHA1 = hashes.SHA1()  # noqa: S303 - the format's derivation

_KEY_SIZES = {"aes-256-cbc": 32, "aes-128-ctr": 16}

Password = str | bytes | Mapping[str, str | bytes]
"""A password of 32 characters or more, or a key of bytes; or one for encryption and one for integrity, under those names."""


class _Pair(NamedTuple):
    """Passwords of text, from which keys are derived, or of bytes, which are keys."""

    encryption: str | bytes
    integrity: str | bytes


class _Iron(ForeignCookie):
    """Seals under passwords that have ids."""

    _any_id = False
    _algorithm = "aes-256-cbc"
    ends_after = "ttl"

    def __init__(self, passwords: dict[str, _Pair], current: str | None, ttl: int, **place: Unpack[Place]) -> None:
        super().__init__(**place)
        self._passwords = passwords
        self._current = current
        self.writes = current is not None
        self._ttl = ttl
        self.authenticates_time = ttl > 0
        self._slide(ttl)

    def _unseal(self, text: str, context: Context, rounds: Sequence[int]) -> tuple[Any, int | None]:
        """What was sealed, and when it ends (Unix seconds) or None. Raises `InvalidToken`."""
        parts = text.split("*")
        if len(parts) != 8 or parts[0] != _PREFIX or not _SALT.fullmatch(parts[2]) or not _SALT.fullmatch(parts[6]):
            malformed("it is not a seal of Fe26.2")
        if parts[5] and not _END.fullmatch(parts[5]):
            malformed("its end is not a number")
        signed = text[: -len(parts[6]) - len(parts[7]) - 2]
        password, iterations = _signed_with(self._candidates(parts[1]), parts[6], signed, parts[7], rounds)
        expires = int(parts[5]) // 1000 + _SKEW if parts[5] else None
        if expires is not None:
            not_expired(expires, context)
        key = _key(password.encryption, parts[2], iterations, _KEY_SIZES[self._algorithm])
        iv, ciphertext = decode_base64(parts[3]), decode_base64(parts[4])
        if self._algorithm == "aes-256-cbc":
            return read_javascript(ciphers.open_cbc(key, iv, ciphertext)), expires
        if len(iv) != ciphers.BLOCK:
            malformed("its IV has not 16 bytes")
        return read_javascript(ciphers.ctr(key, iv, ciphertext)), expires

    def _candidates(self, identifier: str) -> Sequence[_Pair]:
        password = self._passwords.get("" if self._any_id else identifier)
        if password is None:
            raise InvalidToken("unknown_key", "no password has its id")
        return [password]

    def _seal(self, plain: str, expires: int | None, iterations: int) -> str:
        assert self._current is not None
        password = self._passwords[self._current]
        salt, mac_salt = map(_new_salt, password)
        iv, key = os.urandom(ciphers.BLOCK), _key(password.encryption, salt, iterations, _KEY_SIZES[self._algorithm])
        encrypt = ciphers.seal_cbc if self._algorithm == "aes-256-cbc" else ciphers.ctr
        ciphertext = encrypt(key, iv, plain.encode())
        end = "" if expires is None else str(expires * 1000)
        fields = (_PREFIX, self._current, salt, values.encode_bytes(iv), values.encode_bytes(ciphertext), end)
        signed = "*".join(fields)
        return f"{signed}*{mac_salt}*{_mac(password.integrity, mac_salt, signed, iterations)}"

    def _ends(self, record: Record, context: Context) -> int | None:
        return self._deadline(record, context, self._ttl or None, grace=_SKEW)


class IronSessionCookie(_Iron):
    """The cookie of iron-session, read and written; the form of its versions 4 and 5 is read as well.

    Parameters:
        secret: `password`: one, or several by their ids, which are numbers; the highest seals.
        ttl: `ttl`, by default 14 days; a cookie written here ends then. 0, as in iron-session: it has no end, and is read
            up to `until`, which is then required.
        place: see `ForeignCookie`; `cookieName`, which has no default there.

    Raises `ConfigError`.
    """

    format_name = "iron-session"
    distinct = True
    default_cookie_name = "session"

    def __init__(
        self,
        secret: str | Mapping[int, str] | Mapping[str, str],
        *,
        ttl: Duration = "14 days",
        **place: Unpack[Place],
    ) -> None:
        by_id = {"1": secret} if isinstance(secret, str) else _by_id(secret)
        if not all(re.fullmatch("[0-9]{1,9}", each) for each in by_id):
            message = "secret has ids that are no numbers; write {1: …, 2: …} as iron-session's password has it"
            raise ConfigError(message)
        passwords = {each: _pair(password) for each, password in by_id.items()}
        super().__init__(passwords, max(passwords, key=int), _ttl(ttl), **place)

    def _read(self, value: str, context: Context) -> Record:
        text = percent_decode(value)
        sealed, delimiter, version = text.partition("~")
        if delimiter and version != "2":
            malformed("its version is not 2")
        data, expires = self._unseal(sealed, context, (1,))
        if not delimiter:
            data = data.get("persistent") if type(data) is dict else None
        return self._record(data, context, sealed, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        plain = write_javascript(record.data, reserved=("save", "destroy", "updateConfig"))
        return self._seal(plain, self._ends(record, context), 1) + "~2"


class HapiCookie(_Iron):
    """A cookie of hapi with `encoding: 'iron'` (as of yar and @hapi/cookie), read and written.

    Parameters:
        secret: the password, as text, or as bytes where it is a Buffer there; or several by their ids, each such a password or
            `{"encryption": …, "integrity": …}`. A seal without an id is of the one called `default`.
        current: the id that seals, where there are several; without it they are read only.
        algorithm: `encryption.algorithm` of `iron`'s settings, `aes-256-cbc` or `aes-128-ctr`. A Buffer that encrypts has 32
            bytes for the first, and 16 for the second; one for integrity has 32 or more.
        iterations: of `encryption` and of `integrity`, where they are not 1.
        ttl: of `iron`'s settings, where it is in milliseconds, in hapi 0: it has no end, and is read up to `until`, which is
            then required.
        place: see `ForeignCookie`; by default `sid`.

    Raises `ConfigError`.
    """

    format_name = "hapi-iron"
    distinct = True
    to_write = ", or give current=, the id of the password that seals"
    default_cookie_name = "sid"

    def __init__(
        self,
        secret: str | bytes | Mapping[str, Password],
        *,
        current: str | None = None,
        algorithm: str = "aes-256-cbc",
        iterations: int = 1,
        ttl: Duration = 0,
        **place: Unpack[Place],
    ) -> None:
        self._algorithm = one_of(algorithm, "algorithm", list(_KEY_SIZES))
        self._iterations = _rounds(iterations)
        self._any_id = isinstance(secret, str | bytes)
        by_id = {"": secret} if isinstance(secret, str | bytes) else _by_id(secret)
        passwords = {each: _pair(password, _KEY_SIZES[self._algorithm]) for each, password in by_id.items()}
        if current is None and len(passwords) == 1:
            (current,) = passwords
        if "default" in passwords:
            passwords[""] = passwords["default"]
        if current is not None and current not in passwords:
            message = f"current={current!r} does not say which password seals; give one of {sorted(by_id)}"
            raise ConfigError(message)
        super().__init__(passwords, current, _ttl(ttl), **place)

    def _read(self, value: str, context: Context) -> Record:
        text = percent_decode(value)
        data, expires = self._unseal(text, context, (self._iterations,))
        return self._record(data, context, text, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        return self._seal(write_javascript(record.data), self._ends(record, context), self._iterations)


class H3Cookie(_Iron):
    """The session cookie of h3 (`useSession`, of Nuxt and Nitro too), in one cookie or in chunks, read and written.

    It says when the session began, and so needs no `until`.

    Parameters:
        secret: `password`.
        old_secrets: earlier ones; read, never written with.
        max_age: `maxAge`, None for no limit.
        idle_timeout: `idleTimeout`, None for no limit.
        iterations: what is written: 8192, as h3 2 does, or 1, as h3 1. Both are read.
        place: see `ForeignCookie`; `name`, by default `h3`.

    Raises `ConfigError`.
    """

    format_name = "h3"
    distinct = True
    default_cookie_name = "h3"
    _chunk = 3840
    ends_after = ""  # the idle timeout is kept in the cookie

    def __init__(
        self,
        secret: str,
        *,
        old_secrets: Sequence[str] = (),
        max_age: Duration | None = None,
        idle_timeout: Duration | None = None,
        iterations: int = 8192,
        **place: Unpack[Place],
    ) -> None:
        others = listed(old_secrets, "old_secrets", "passwords")
        if iterations not in (1, 8192):
            message = f"iterations={iterations!r} must be 8192, as in h3 2, or 1, as in h3 1"
            raise ConfigError(message)
        self._max_age = None if max_age is None else seconds(max_age, "max_age")
        self._idle_timeout = None if idle_timeout is None else seconds(idle_timeout, "idle_timeout")
        super().__init__({"": _pair(secret)}, "", self._max_age or self._idle_timeout or 0, **place)
        self._accepted = [*self._passwords.values(), *map(_pair, others)]
        self._iterations = iterations
        self.authenticates_time = True

    def cookie_names(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """The cookie and its chunks."""
        return [*super().cookie_names(cookies), *numbered(cookies, self.cookie_name)]

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """One cookie, or a count and chunks; raises `UnsupportedValue`."""
        value = self._write(record, context)
        if len(value) <= self._chunk:
            return {self.cookie_name: value}
        chunks = split_chunks(value, self._chunk)
        counted = {self.cookie_name: f"__chunked__{len(chunks)}"}
        return counted | {f"{self.cookie_name}.{number}": chunk for number, chunk in enumerate(chunks, 1)}

    def _value(self, cookies: Mapping[str, Sequence[str]]) -> str:
        value = super()._value(cookies)
        if not value.startswith("__chunked__"):
            return value
        count = value.removeprefix("__chunked__")
        if not re.fullmatch("[1-9][0-9]{0,2}", count):
            malformed("its number of chunks is not one")
        names = [f"{self.cookie_name}.{number}" for number in range(1, int(count) + 1)]
        return join_chunks(cookies, names, 1, self.max_length)

    def _candidates(self, identifier: str) -> Sequence[_Pair]:
        return self._accepted

    def _read(self, value: str, context: Context) -> Record:
        session, expires = self._unseal(percent_decode(value), context, (8192, 1))
        if type(session) is not dict or type(session.get("id")) is not str or not session["id"]:
            malformed("it is not a session of h3's")
        created = seconds_of(session.get("createdAt"), per_second=1000)
        seen = created
        if session.get("lastSeenAt") is not None:
            seen = seconds_of(session["lastSeenAt"], per_second=1000)
        limits = [] if expires is None else [expires]
        if self._max_age is not None:
            limits.append(not_expired(created + self._max_age, context))
        if self._idle_timeout is not None:
            limits.append(not_expired(seen + self._idle_timeout, context))
        ends = min(limits, default=None)
        return self._record(session.get("data"), context, session["id"], created=began(created, context), expires=ends)

    def _write(self, record: Record, context: Context) -> str:
        write_javascript(record.data)
        session: dict[str, Any] = {"id": str(UUID(bytes=record.id[:16])), "createdAt": record.created * 1000}
        session["data"] = record.data
        if self._idle_timeout is not None:
            session["lastSeenAt"] = context.now * 1000
        return self._seal(write_json(session), self._ends(record, context), self._iterations)


def _by_id(secret: object) -> dict[str, Any]:
    if not isinstance(secret, Mapping) or not secret:
        message = f"secret is text, or passwords by their ids, not {type(secret).__name__}"
        raise ConfigError(message)
    by_id = {str(each): password for each, password in secret.items()}
    if len(by_id) < len(secret):
        message = f"secret has an id twice, as a number and as text: {sorted(by_id)}; write each once"
        raise ConfigError(message)
    if not all(_PASSWORD_ID.fullmatch(each) for each in by_id):
        message = "secret has an id that a seal cannot carry; ids are letters, digits and _"
        raise ConfigError(message)
    return by_id


def _pair(password: object, key_size: int | None = None) -> _Pair:
    """Both passwords. `key_size`: they may be keys of bytes, and one that encrypts has this length. Raises `ConfigError`."""
    both: list[Any] = (
        [password.get(each) for each in _Pair._fields] if isinstance(password, Mapping) else [password] * 2
    )
    if key_size is not None and isinstance(both[0], bytes) and len(both[0]) != key_size:
        message = (
            f"secret encrypts with a Buffer of {len(both[0])} bytes; copy the {key_size} bytes of the other system's"
        )
        raise ConfigError(message)
    for each, shortest in zip(both, (key_size or 0, _SHORTEST), strict=True):
        is_text = isinstance(each, str) and len(each) >= _SHORTEST
        is_key = key_size is not None and isinstance(each, bytes) and len(each) >= shortest
        if not (is_text or is_key):
            message = (
                f"secret is not a password of {_SHORTEST} characters or more; copy it from the other system's settings"
            )
            raise ConfigError(message)
    return _Pair(*both)


def _ttl(ttl: Duration) -> int:
    return 0 if ttl == 0 else seconds(ttl, "ttl")


def _signed_with(
    passwords: Sequence[_Pair], salt: str, signed: str, mac: str, rounds: Sequence[int]
) -> tuple[_Pair, int]:
    """The password and the number of iterations with which the MAC is right; raises `InvalidToken("tampered")`."""
    for iterations in rounds:
        for password in passwords:
            if same(_mac(password.integrity, salt, signed, iterations), mac):
                return password, iterations
    raise InvalidToken("tampered")


def _mac(password: str | bytes, salt: str, signed: str, iterations: int) -> str:
    return values.encode_bytes(hmac.digest(_key(password, salt, iterations), signed.encode(), "sha256"))


def _key(password: str | bytes, salt: str, iterations: int, size: int = 32) -> bytes:
    if bool(salt) == isinstance(password, bytes):
        malformed("its salt is not as its password asks for")  # one beside a key would not be under the MAC
    if isinstance(password, bytes):
        return password
    # Every seal has its own salts: there is nothing to keep. `cryptography` brings its own OpenSSL, whose 8,192 rounds take
    # half as long as those of the one that Python is built with.
    return PBKDF2HMAC(_SHA1, size, salt.encode(), iterations).derive(password.encode())


def _new_salt(password: str | bytes) -> str:
    return "" if isinstance(password, bytes) else os.urandom(32).hex()


def _rounds(iterations: object) -> int:
    if type(iterations) is int and 0 < iterations <= _MOST_ROUNDS:
        return iterations
    message = f"iterations={iterations!r} is not from 1 to {_MOST_ROUNDS}; leave it out where iron has the default, 1"
    raise ConfigError(message)

"""The session cookies of Express and Koa: cookie-session and koa-session, which hold the session, and express-session's id.

cookie-session, koa-session   NAME=b64(JSON); NAME.sig=b64url(HMAC-SHA1(key, "NAME=" value))      (keygrip)
express-session               encodeURIComponent("s:" id "." b64(HMAC-SHA256(secret, id)) without "=")
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Unpack

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign._keys import all_secrets, keyed_mac, one_of, same
from hardtack.foreign._place import Place, Secret
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import JAVASCRIPT_SAFE, percent_decode, percent_encode, read_javascript, write_javascript
from hardtack.foreign._times import iso_seconds, iso_text, not_expired, seconds_of
from hardtack.foreign.base import ForeignCookie, malformed
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record

_DIGESTS = ("sha1", "sha256", "sha384", "sha512")

# Keys that the session objects of these libraries do not take from a cookie: names of their own members.
_OBJECT = frozenset(
    {"constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf"}
    | {"__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"}
)
_COOKIE_SESSION_KEYS = _OBJECT | {"isNew", "isChanged", "isPopulated", "_ctx"}
_EXPRESS_SESSION_KEYS = _OBJECT | {
    "cookie",
    "req",
    "id",
    "touch",
    "resetMaxAge",
    "save",
    "reload",
    "destroy",
    "regenerate",
}
_KOA_KEYS = frozenset(
    {
        "isNew",
        "maxAge",
        "length",
        "populated",
        "externalKey",
        "toJSON",
        "save",
        "commit",
        "regenerate",
        "manuallyCommit",
    }
)


class _Keygrip(ForeignCookie):
    """Base64 of JSON, and beside it a cookie `NAME.sig` that signs name and value."""

    default_cookie_name = "session"

    def __init__(self, secret: Secret, old_secrets: Sequence[Secret], digest: str, **place: Unpack[Place]) -> None:
        super().__init__(**place)
        self._secrets = all_secrets(secret, old_secrets)
        self._digest = one_of(digest, "digest", _DIGESTS)
        self._signature_name = f"{self.cookie_name}.sig"

    def cookie_names(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """The cookie and the one with its signature."""
        return [name for name in (self.cookie_name, self._signature_name) if name in cookies]

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """Both cookies; raises `UnsupportedValue`."""
        value = self._write(self._stamped(record), context)
        return {self.cookie_name: value, self._signature_name: self._mac(self._secrets[0], value)}

    def _value(self, cookies: Mapping[str, Sequence[str]]) -> str:
        """The value, whose signature was found to be right: what is parsed is authentic."""
        value = super()._value(cookies)
        given = cookies.get(self._signature_name)
        if not given:
            raise InvalidToken("incomplete", f"{self._signature_name} is missing")
        if not any(same(self._mac(secret, value), given[-1]) for secret in self._secrets):
            raise InvalidToken("tampered")
        return value

    def spelled(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """With the signature: anybody may know a value."""
        return [*super().spelled(cookies), cookies[self._signature_name][-1]]

    def _mac(self, secret: bytes, value: str) -> str:
        signed = f"{self.cookie_name}={value}".encode("utf-8", "surrogatepass")
        return values.encode_bytes(keyed_mac(secret, signed, self._digest))


class CookieSessionCookie(_Keygrip):
    """The cookies of Express' cookie-session, read and written. They say nothing about their age: `until` is required.

    Parameters:
        secret: the first of `keys`, or `secret`.
        old_secrets: the other `keys`; read, never signed with.
        digest: `sha1`, unless the application gives a Keygrip of its own.
        place: see `ForeignCookie`; `name`, by default `session`, and before cookie-session 2.0 `express:sess`.

    Raises `ConfigError`.
    """

    format_name = "cookie-session"

    def __init__(
        self, secret: Secret, *, old_secrets: Sequence[Secret] = (), digest: str = "sha1", **place: Unpack[Place]
    ) -> None:
        super().__init__(secret, old_secrets, digest, **place)

    def _read(self, value: str, context: Context) -> Record:
        return self._record(read_javascript(decode_padded(value)), context, value)

    def _write(self, record: Record, context: Context) -> str:
        return base64.b64encode(write_javascript(record.data, reserved=_COOKIE_SESSION_KEYS).encode()).decode()


class KoaSessionCookie(_Keygrip):
    """The cookies of koa-session where it has no store, read and written.

    Parameters:
        secret: the first of `app.keys`.
        old_secrets: the other keys; read, never signed with.
        digest: `sha1`, unless `app.keys` is a Keygrip of its own.
        max_age: `maxAge`, which is in milliseconds there, by default a day: a cookie written here ends then. `"session"`, as
            in Koa: the cookie says nothing about its age, and is read up to `until`, which is then required.
        place: see `ForeignCookie`; `key`, by default `koa.sess`, and in older versions `koa:sess`.

    Raises `ConfigError`.
    """

    format_name = "koa-session"
    default_cookie_name = "koa.sess"
    ends_after = "max_age"
    stamp = "hardtack"  # Koa drops keys that begin with "_"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        digest: str = "sha1",
        max_age: Duration | Literal["session"] = 86400,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(secret, old_secrets, digest, **place)
        self._max_age = None if max_age == "session" else seconds(max_age, "max_age")
        self.authenticates_time = self._max_age is not None
        self._slide(self._max_age)

    def _read(self, value: str, context: Context) -> Record:
        data = read_javascript(decode_padded(value))
        expires = None
        if type(data) is dict:
            if "_expire" in data:
                expires = not_expired(seconds_of(data.pop("_expire"), per_second=1000), context)
            data.pop("_maxAge", None)
            data.pop("_session", None)
        return self._record(data, context, value, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        for key in record.data:
            if key.startswith("_") or key in _KOA_KEYS:
                raise UnsupportedValue(key, "dict", "koa-session keeps this key for itself; use another")
        expires = self._deadline(record, context, self._max_age)
        times: dict[str, Any] = {"_session": True}
        if expires is not None:
            times = {"_expire": expires * 1000, "_maxAge": max(0, expires - context.now) * 1000}
        return base64.b64encode(write_javascript({**record.data, **times}).encode()).decode()


class ExpressSessionCookie(ForeignCookie):
    """The cookie of express-session: an id, under a signature, of a session that is in a store.

    The id alone is read and written: the session's data is `{"session_id": …}`, unless `load` finds more.

    Parameters:
        secret: `secret`, or the first of several.
        old_secrets: the others; read, never signed with.
        load: a function that takes the id and returns what the other system's store has under it (with connect-redis the
            bytes at `sess:ID`), or None where there is nothing; `read_express_record` makes the session of it. It is called
            while a request is answered, and only for an id whose signature is right.
        store_decides: `load` finds nothing of a session that has ended, as with connect-redis. Then the end in the entry is
            not enforced, which with `resave: false` lies an age after the last change, and not after the last use.
        place: see `ForeignCookie`; `name`, by default `connect.sid`. `until` is required: the cookie says nothing about its
            age.

    Raises `ConfigError`.
    """

    format_name = "express-session"
    distinct = True
    default_cookie_name = "connect.sid"

    def __init__(
        self,
        secret: Secret,
        *,
        old_secrets: Sequence[Secret] = (),
        load: Callable[[str], str | bytes | None] | None = None,
        store_decides: bool = False,
        **place: Unpack[Place],
    ) -> None:
        super().__init__(**place)
        if load is not None and not callable(load):
            message = "load is a function that takes the session's id and returns what the store has of it, or None"
            raise ConfigError(message)
        if type(store_decides) is not bool:
            message = f"store_decides={store_decides!r} is True or False: whether load finds nothing of what has ended"
            raise ConfigError(message)
        self._secrets = all_secrets(secret, old_secrets)
        self._load = load
        self._store_decides = store_decides

    def _read(self, value: str, context: Context) -> Record:
        text = percent_decode(value)
        identifier, separator, mac = text[2:].rpartition(".")
        if not text.startswith("s:") or not separator or not identifier:
            malformed("it is not s:, an id and a signature")
        if not any(same(_express_mac(secret, identifier), mac) for secret in self._secrets):
            raise InvalidToken("tampered")
        if self._load is None:
            return self._record({"session_id": identifier}, context, identifier)
        stored = self._load(identifier)
        if stored is None:
            raise InvalidToken("unknown_id", "the other system's store has no such session")
        if self._store_decides:
            return self._record(_express_members(stored)[0], context, identifier)
        data, expires = read_express_record(stored, context)
        return self._record(data, context, identifier, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        identifier = record.data.get("session_id")
        if type(identifier) is not str or not identifier or len(record.data) > 1:
            problem = "the cookie of express-session carries the key session_id alone, a str; the rest is in its store"
            raise UnsupportedValue("(root)", "dict", problem)
        values.check(record.data)
        signed = f"s:{identifier}.{_express_mac(self._secrets[0], identifier)}"
        return percent_encode(signed, safe=JAVASCRIPT_SAFE)


def read_express_record(stored: str | bytes, context: Context) -> tuple[dict[str, Any], int | None]:
    """The session that express-session's stores keep as JSON, without its `cookie`, and when it ends (Unix seconds).

    Raises `InvalidToken`, also where it has ended.
    """
    data, cookie = _express_members(stored)
    expires = cookie.get("expires") if type(cookie) is dict else None
    return data, None if expires is None else not_expired(iso_seconds(expires), context)


def _express_members(stored: str | bytes) -> tuple[dict[str, Any], Any]:
    """The session in an entry, and its `cookie`."""
    data = read_javascript(stored)
    if type(data) is not dict:
        malformed("a session is a mapping")
    return data, data.pop("cookie", None)


def write_express_record(data: dict[str, Any], *, expires: int | None = None, path: str = "/") -> str:
    """What express-session's stores keep of a session that ends at `expires`. Raises `UnsupportedValue`.

    express-session refuses a record without `cookie`.
    """
    text = None if expires is None else iso_text(expires)
    cookie = {"originalMaxAge": None, "expires": text, "httpOnly": True, "path": path}
    write_javascript(data, reserved=_EXPRESS_SESSION_KEYS)
    return write_javascript({"cookie": cookie, **data})


def _express_mac(secret: bytes, identifier: str) -> str:
    return base64.b64encode(keyed_mac(secret, identifier.encode(), "sha256")).decode().rstrip("=")

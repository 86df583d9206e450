"""The sessions of Perl's Dancer and Dancer2: their cookies, old and new, and what Dancer keeps in memcached."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import pybase64

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign.base import ForeignCookie, Until, malformed, secret_bytes
from hardtack.foreign.perl import cbc, storable
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.lifetime import Duration
from hardtack.protocols import Context
from hardtack.record import Record

_OWN_ID = re.compile(r"[0-9a-f]{32}")


class DancerCookie(SessionStorageSecureCookie):
    """The cookie of Dancer::Session::Cookie 0.16 and later (Dancer 1), read and written.

    Dancer keeps a random `id` in the session's hash. It is no part of the data here: the record's id is made of it, and
    Dancer finds one in what is written.

    Args:
        secret: `session_cookie_key`.
        old_secrets: former keys, read only. Dancer itself knows one key.
        default_duration: `session_expires`.
        cookie_name, path, domain: `session_name`, `session_cookie_path`, `session_domain`.
        until, keep_until, subject: see `ForeignCookie`. Without `session_expires` cookies have no end: they need `until`.
        sliding: each use moves the end, as in Dancer, up to the manager's `lifetime`.

    Raises `ConfigError`.
    """

    format_name = "dancer"
    default_cookie_name = "dancer.session"

    def __init__(
        self,
        secret: str | bytes,
        *,
        old_secrets: Sequence[str | bytes] = (),
        default_duration: Duration | None = None,
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
        sliding: bool = False,
    ) -> None:
        super().__init__(
            secret,
            old_secrets=old_secrets,
            default_duration=default_duration,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            until=until,
            keep_until=keep_until,
            subject=subject,
            sliding=sliding,
        )

    def _to_record(self, data: dict[str, Any], expires: int | None, value: str, context: Context) -> Record:
        identifier = data.get("id")
        data = {key: item for key, item in data.items() if key != "id"}
        if type(identifier) is not str:
            return self._record(data, context, value, expires=expires)
        record = self._record(data, context, identifier, expires=expires)
        if _OWN_ID.fullmatch(identifier):
            record.id = bytes.fromhex(identifier)  # written here: the session keeps its id over a change
        return record

    def _write(self, record: Record, context: Context) -> str:
        if "id" in record.data:
            raise UnsupportedValue("id", type(record.data["id"]).__name__, "Dancer keeps its own id under this key")
        return self._encode({"id": record.id.hex(), **record.data}, self._deadline(record, context, self._duration))


class Dancer2Cookie(SessionStorageSecureCookie):
    """The cookie of Dancer2::Session::Cookie, read and written.

    Args:
        secret: `secret_key`.
        with_request_address: where that option is set, the address of the client, or a function that returns the one of
            the current request: Dancer2 then adds it to the secret.
        old_secrets: former keys, read only.
        default_duration: `cookie_duration`, or else `default_duration`.
        cookie_name, path, domain: `cookie_name`, `cookie_path`, `cookie_domain`.
        until, keep_until, subject: see `ForeignCookie`. Without a duration cookies have no end: they need `until`.
        sliding: each use moves the end, as in Dancer2, up to the manager's `lifetime`.

    Raises `ConfigError`.
    """

    format_name = "dancer2"
    default_cookie_name = "dancer.session"

    def __init__(
        self,
        secret: str | bytes,
        *,
        with_request_address: str | Callable[[], str] | None = None,
        old_secrets: Sequence[str | bytes] = (),
        default_duration: Duration | None = None,
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
        sliding: bool = False,
    ) -> None:
        super().__init__(
            secret,
            old_secrets=old_secrets,
            default_duration=default_duration,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            until=until,
            keep_until=keep_until,
            subject=subject,
            sliding=sliding,
        )
        if not (
            with_request_address is None or isinstance(with_request_address, str) or callable(with_request_address)
        ):
            message = (
                "with_request_address is the client's address, or a function that returns it for the current request"
            )
            raise ConfigError(message)
        self._address = with_request_address

    def _current_secrets(self) -> Sequence[bytes]:
        if self._address is None:
            return self._secrets
        address = self._address if isinstance(self._address, str) else self._address()
        return [secret + b"-" + address.encode() for secret in self._secrets]


class DancerLegacyCookie(ForeignCookie):
    """The cookie of Dancer::Session::Cookie up to 0.15: read only, and nothing in it is to be trusted.

    A CRC inside AES-CBC is no authentication: who has one cookie of his own can make any other. So only the named keys
    come through, as what an anonymous visitor might have typed; there is no subject, and the class cannot be given one.
    Objects, code and everything else that Perl's Storable would run or build are refused.

    Args:
        secret: `session_cookie_key`.
        only: the keys that are read, such as `{"cart"}`; never one that says who the user is or what he may do.
        until: a date after which these cookies are no longer read.
        cookie_name, path, domain: `session_name`, `session_cookie_path`, `session_domain`.

    Raises `ConfigError`.
    """

    format_name = "dancer-legacy"
    distinct = True
    default_cookie_name = "dancer.session"
    writes = False

    def __init__(
        self,
        secret: str | bytes,
        *,
        only: Collection[str],
        until: Until | None,
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        subject: None = None,
    ) -> None:
        if subject is not None:
            message = (
                "subject= is not for DancerLegacyCookie: anyone can forge these cookies, so they never say who it is"
            )
            raise ConfigError(message)
        if until is None:
            raise ConfigError("DancerLegacyCookie needs until=<a date>: these cookies have no end of their own")
        super().__init__(cookie_name=cookie_name, path=path, domain=domain, until=until)
        if (
            isinstance(only, str)
            or not isinstance(only, Iterable)
            or not only
            or not all(type(key) is str for key in only)
        ):
            raise ConfigError('only is the set of keys to be read, such as {"cart"}; name at least one')
        self._only = frozenset(only)
        self._secret = secret_bytes(secret)

    def _read(self, value: str, context: Context) -> Record:
        plain = cbc.open_salted(self._secret, _from_base64(value))
        if zlib.crc32(plain[4:]).to_bytes(4, "little") != plain[:4]:
            raise InvalidToken("tampered")
        data = storable.read(plain[4:], classes=("Dancer::Session::Cookie",))
        return self._record({key: item for key, item in data.items() if key in self._only}, context, value)


def _from_base64(value: str) -> bytes:
    raw = unquote_to_bytes(value.encode("utf-8", "surrogatepass")).rstrip(b"_=")
    try:
        return pybase64.b64decode(raw.translate(_TO_STANDARD) + b"=" * (-len(raw) % 4), validate=True)
    except ValueError:
        malformed("not base64")


_TO_STANDARD = bytes.maketrans(b"*-", b"+/")


def read_memcached_record(raw: bytes) -> dict[str, Any]:
    """The data of a session that Dancer and Dancer2 keep in memcached, from the bytes under the session's id.

    Dancer 1 keeps the whole session object, whose `id` is left out; Dancer2 keeps the data alone, where `id` is a key like
    any other. Raises `InvalidToken`: objects and code are refused, because who can write to memcached chooses these bytes.
    """
    data, blessed = storable.read_root(raw, ("Dancer::Session::Memcached",))
    if blessed is not None:
        data.pop("id", None)
    return data

"""What the cookies of other languages' stacks share: percent-encoding, their JSON, keys derived once, and times.

Two rules are kept here: a secret is stretched once a process, and a cookie that does not say how old it is, is only read
up to a date.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict
from urllib.parse import quote, unquote

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign.base import ForeignCookie, Until, check_plain, malformed, secret_bytes, secrets_bytes
from hardtack.lifetime import SKEW
from hardtack.protocols import Context
from hardtack.record import Record

Secret = str | bytes
"""A secret as the other system is configured with it; text is taken as UTF-8."""


class Place(TypedDict, total=False):
    """Where the other system's cookie is, and how long it is read: the settings of every `ForeignCookie`."""

    cookie_name: str | None
    path: str
    domain: str | None
    until: Until | None
    subject: Callable[[dict[str, Any]], str | None] | None


class SometimesDated(ForeignCookie):
    """A format of which some cookies say when they were made or end, and some do not.

    One that does not is refused (`InvalidToken("undated")`) unless `until` was given: who holds it could otherwise use
    it for ever. A subclass sets `authenticates_time` by its settings, so that the manager can ask for `until` at once.
    """

    def _record(
        self,
        data: object,
        context: Context,
        handle: str | bytes,
        *,
        created: int | None = None,
        expires: int | None = None,
    ) -> Record:
        if created is None and expires is None and self.until is None:
            raise InvalidToken("undated", "it does not say when it ends; give the format until=<a date>")
        return super()._record(data, context, handle, created=created, expires=expires)


# --- secrets


def all_secrets(secret: Secret, old_secrets: Sequence[Secret]) -> list[bytes]:
    """The secret that is written with, then those that are only read. Raises `ConfigError`."""
    return [secret_bytes(secret), *secrets_bytes(old_secrets, "old_secrets")]


def one_of(value: object, setting: str, allowed: Sequence[str]) -> str:
    """A setting that is one of a few words. Raises `ConfigError`."""
    if type(value) is str and value in allowed:
        return value
    message = f"{setting}={value!r} is not known; write one of {', '.join(allowed)}"
    raise ConfigError(message)


_derived: dict[tuple[object, ...], bytes] = {}
_deriving = threading.Lock()


def pbkdf2(secret: bytes, salt: bytes, iterations: int, length: int, digest: str) -> bytes:
    """PBKDF2-HMAC, once a process for the same arguments."""
    return once(
        ("pbkdf2", hashlib.sha256(secret).digest(), salt, iterations, length, digest),
        lambda: hashlib.pbkdf2_hmac(digest, secret, salt, iterations, length),
    )


def once(name: tuple[object, ...], derive: Callable[[], bytes]) -> bytes:
    """A derived key, made by the first who asks while the others wait. Of configured secrets only, which are few."""
    key = _derived.get(name)
    if key is None:
        with _deriving:
            key = _derived.get(name)
            if key is None:
                key = _derived[name] = derive()
    return key


def same(expected: str | bytes, given: str) -> bool:
    """Whether a MAC is the one that was expected, as text, so that it has one spelling only; in constant time."""
    right = expected.encode() if isinstance(expected, str) else expected
    return hmac.compare_digest(right, given.encode("utf-8", "surrogatepass"))


# --- text

JAVASCRIPT_SAFE = "!~*'()"
"""What `encodeURIComponent` leaves as it is, beside letters, digits and `-_.`."""


def percent_decode(value: str) -> str:
    """The value without its percent-encoding, or `InvalidToken("malformed")`."""
    if not value.isascii():
        malformed("it is not ASCII")
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        malformed("its percent-encoding is not UTF-8")


def percent_encode(value: str, *, safe: str = "") -> str:
    """The value as it may stand in a Cookie header."""
    return quote(value, safe=safe)


# --- JSON

EXACT_IN_A_DOUBLE = (1 << 53) - 1
"""JavaScript and Go read every JSON number as a double: beyond this an int would come back as another one."""


def write_json(data: dict[str, Any], *, largest_int: int | None = None) -> str:
    """Compact JSON of a session; `UnsupportedValue` for what would not come back equal.

    `largest_int`: the greatest magnitude that the other system keeps exactly.
    """
    check_plain(data, finite=True, binary=False, wide=True)
    if largest_int is not None and any(abs(number) > largest_int for number in _ints(data)):
        raise UnsupportedValue(
            "(root)", "int", f"the other system rounds whole numbers beyond {largest_int}; use a str"
        )
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    except ValueError:  # Python refuses to print an int of more than 4300 digits, and to read it
        raise UnsupportedValue("(root)", "int", "it has too many digits for JSON") from None


def _ints(value: Any) -> Iterator[int]:
    if type(value) is dict:
        value = list(value.values())
    if type(value) is list:
        for item in value:
            yield from _ints(item)
    elif type(value) is int:
        yield value


# --- times

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def iso_seconds(value: object) -> int:
    """The whole Unix seconds of an ISO 8601 time with its zone, or `InvalidToken("malformed")`."""
    try:
        moment = dt.datetime.fromisoformat(value)  # type: ignore[arg-type]  # a TypeError is caught
    except (TypeError, ValueError):
        malformed("its time is not one of ISO 8601")
    if moment.tzinfo is None:
        malformed("its time has no zone")
    return (moment - _EPOCH) // dt.timedelta(seconds=1)


def iso_text(seconds: int) -> str:
    """A time as JavaScript and Rails write it: in UTC, with milliseconds."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def seconds_of(value: object, *, per_second: int = 1) -> int:
    """The whole Unix seconds of a JSON number, which may count milliseconds, or `InvalidToken("malformed")`."""
    if not (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= EXACT_IN_A_DOUBLE):
        malformed("its time is not a number")
    return int(value // per_second)


def not_expired(expires: int, context: Context) -> int:
    """When it ends; `InvalidToken("expired")` where that was."""
    if context.now >= expires:
        raise InvalidToken("expired")
    return expires


def not_future(created: int, context: Context) -> int:
    """When it was made, at most now; `InvalidToken("future")` where another clock is far ahead."""
    if created > context.now + SKEW:
        raise InvalidToken("future")
    return min(created, context.now)

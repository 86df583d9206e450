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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypedDict
from urllib.parse import quote, unquote

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign.base import ForeignCookie, Until, check_plain, malformed, secret_bytes, secrets_bytes
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

    A subclass sets `authenticates_time` by its settings. Where it is False, whoever takes sessions over asks for `until`
    at once. Where it is True, a cookie without a time is refused (`InvalidToken("undated")`) unless `until` was given:
    who holds it could otherwise use it for ever.
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
        if self.authenticates_time and created is None and expires is None and self.until is None:
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


# --- chunks

MAX_CHUNKS = 10


def numbered(cookies: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """The names `NAME.0`, `NAME.1` … that a request has, in the order of their numbers.

    Not every name that begins alike: a cookie that somebody else can set beside ours is no chunk of it.
    """
    found = [(int(tail), each) for each in cookies if (tail := _chunk_number(each, name)) is not None]
    return [each for _, each in sorted(found)]


def _chunk_number(each: str, name: str) -> str | None:
    prefix, separator, tail = each.rpartition(".")
    good = (
        prefix == name and separator and tail.isascii() and tail.isdigit() and len(tail) <= 2 and str(int(tail)) == tail
    )
    return tail if good else None


def join_chunks(cookies: Mapping[str, Sequence[str]], names: Sequence[str], first: int, max_length: int) -> str:
    """The text of chunks that are numbered from `first`; raises `InvalidToken`."""
    if len(names) > MAX_CHUNKS:
        raise InvalidToken("too_large", f"more than {MAX_CHUNKS} chunks")
    if any(int(name.rpartition(".")[2]) != first + index or name not in cookies for index, name in enumerate(names)):
        raise InvalidToken("incomplete", "a chunk is missing")
    chunks = [cookies[name][-1] for name in names]
    if any(len(chunk) > max_length for chunk in chunks):
        raise InvalidToken("too_large", f"a chunk of more than {max_length} characters")
    return "".join(chunks)


def split_chunks(value: str, size: int) -> list[str]:
    """Chunks of at most `size` characters. Raises `UnsupportedValue` where there would be too many."""
    chunks = [value[start : start + size] for start in range(0, len(value), size)]
    if len(chunks) > MAX_CHUNKS:
        raise UnsupportedValue("(root)", "dict", f"it takes more than {MAX_CHUNKS} cookies of {size} characters")
    return chunks


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


def write_javascript(data: dict[str, Any], *, reserved: Collection[str] = ()) -> str:
    """Compact JSON of a session for JavaScript. `reserved`: keys that the other system keeps for itself."""
    for key in data:
        if key in reserved:
            raise UnsupportedValue(key, "dict", "the other system keeps this key for itself; use another")
    text = write_json(data, largest_int=EXACT_IN_A_DOUBLE)
    if "__proto__" in text and _has_key(data, "__proto__"):
        raise UnsupportedValue("(root)", "dict", "JavaScript does not read __proto__ as a key; use another")
    return text


def read_javascript(text: str | bytes) -> Any:
    """What JavaScript makes of JSON: a whole number that a double does not hold is a float, as it is there.

    Raises `InvalidToken("malformed")`.
    """
    try:
        return json.loads(text, parse_int=_number, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InvalidToken("malformed", "not JSON") from None


def _number(text: str) -> int | float:
    """JavaScript writes 2**60 as 1152921504606847000: read as an int it would be another number than there."""
    number = float(text)
    return int(text) if abs(number) <= EXACT_IN_A_DOUBLE else number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _has_key(value: Any, name: str) -> bool:
    if type(value) is dict:
        return name in value or any(_has_key(item, name) for item in value.values())
    return type(value) is list and any(_has_key(item, name) for item in value)


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


def began(created: int, context: Context) -> int:
    """When it was made. No other system refuses a time that is ahead of its own clock, and it counts as now."""
    return min(created, context.now)

"""What the cookies of other systems have in common: their place, their end, size limits, and the record they become.

A format of another system is a subclass with `_read` and `_write`; this class does the rest. No such class says what a
cookie means: who the user is, is told by the explicit `subject` function alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import json
import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import unquote

from hardtack import record as records
from hardtack import values
from hardtack.cookies import COOKIE_NAME, Cookie
from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.lifetime import Until as Until
from hardtack.lifetime import unix_seconds as unix_seconds
from hardtack.protocols import Context
from hardtack.record import Record

UNDATED: Final = "it does not say when it ends; give the format until=<a date>"
_STAMP = re.compile(r"([0-9]{1,12}) ([0-9]{1,12})")


class ForeignCookie:
    """The session cookie of another system, as a token format (`hardtack.protocols.TokenFormat`).

    Parameters:
        cookie_name: the cookie's name, where the other system was told another than its default.
        path, domain: where the other system sets it, so that it can be cleared there. A `__Host-` name has path "/" and no
            domain.
        until: after it the format is not read any more (`InvalidToken("expired")`).
        keep_until: until then a cookie that is taken over stays in the browser, and leads: where it is gone, or another
            user's, the session ends. For `accept=[…]`, with `subject`.
        subject: returns the user whom the data belongs to, or None; asked only when a session is taken over.
        sliding: each use moves the end that the cookie carries, as the other system does, up to the manager's `lifetime`
            from the session's beginning. Only for formats whose cookies end, with the setting that says how soon.

    Raises `ConfigError`.
    """

    format_name: ClassVar[str]
    """What events call it."""

    default_cookie_name: ClassVar[str]

    carries_times: ClassVar[bool] = False
    """Whether the cookie can carry our times (created, authenticated, seen); no other system's can."""

    authenticates_time: bool = False
    """Whether the other system seals a time of creation or expiry; where it does not, taking over demands `until`.

    Where it does, a cookie without either is refused (`InvalidToken("undated")`), unless `until` was given: who holds it
    could otherwise use it for ever.
    """

    distinct: bool = False
    """Whether no two sessions have the same cookie: the other system puts something random into each."""

    ends_some: ClassVar[bool] = False
    """Some of its cookies say when they end, some say nothing: those are not refused, but not taken over without `until`."""

    ends_after: ClassVar[str] = ""
    """The setting that says how long after each use a cookie ends; empty where none does, or the end cannot be moved."""

    stamp: ClassVar[str] = "__hardtack"
    """The key under which `sliding` keeps when a session began and was last used: no other system's cookie says both."""

    sliding: int | None = None
    """Seconds from each use to the end that is written then; None: the end stays where it is."""

    writes: bool = True
    """False: `seal` raises `ConfigError`."""

    to_write: str = ""
    """What that error says beside, where a setting would let it write."""

    max_length: int = 8192
    """Characters of a cookie that are looked at at all; a browser keeps 4096."""

    def __init__(
        self,
        *,
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
        sliding: bool = False,
    ) -> None:
        name = self.default_cookie_name if cookie_name is None else cookie_name
        if type(name) is not str or not COOKIE_NAME.fullmatch(name):
            message = "cookie_name is not a cookie name; write it as the other system's Set-Cookie header does"
            raise ConfigError(message)
        self._check_place(name, path, domain)
        if subject is not None and not callable(subject):
            message = "subject is a function that takes the data and returns the user's id as a str, or None"
            raise ConfigError(message)
        if type(sliding) is not bool or (sliding and not self.ends_after):
            message = f"sliding={sliding!r} is True or False, and True for formats alone that write when a cookie ends"
            raise ConfigError(message)
        self._slides = sliding
        self.cookie_name = name
        self._handle_of = b"hardtack/1 foreign" + name.encode()
        self.path = path
        self.domain = domain
        self.until = unix_seconds(until)
        self.keep_until = unix_seconds(keep_until)
        self.subject = subject

    def _check_place(self, name: str, path: str, domain: str | None) -> None:
        """Raise for what cannot be cleared: otherwise the first visitor with an old cookie would be the one to find out."""
        try:
            Cookie(name, path, domain, secure=name.startswith("__"), samesite=None)
        except ConfigError as error:
            message = f"{type(self).__name__}: {error}"
            raise ConfigError(message) from None

    def cookie_names(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """Those of the request's cookies that belong to this format: companions and chunks as well."""
        return [self.cookie_name] if self.cookie_name in cookies else []

    def spelled(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        """What good cookies hold, in one spelling: a copy of those of an ended session must not become another session's.

        With a seal or a signature, so that only who has them knows it, and without what is not read.
        """
        return [self.cookie_name, self._spelled(self._value(cookies))]

    def _spelled(self, value: str) -> str:
        return unquote(value.strip('"'), errors="surrogateescape")

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        """The record that the cookie holds; raises `InvalidToken`.

        Of several values of one name the last is read; who wants to try each passes them one by one.
        """
        if self.until is not None and context.now >= self.until:
            raise InvalidToken("expired", "this format is no longer read")
        try:
            record = self._read(self._value(cookies), context)
        except InvalidToken as error:
            error.event_detail = error.event_detail or error.detail  # in our words: nothing of it is the client's
            raise
        try:
            if record.plain is None:
                records.pack(record)
        except UnsupportedValue:
            malformed("the data holds what a session cannot keep")
        return record

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """The cookies that the other system reads; raises `UnsupportedValue`."""
        if not self.writes:
            message = f"{type(self).__name__} is read only; write sessions with another format{self.to_write}"
            raise ConfigError(message)
        record = record.with_changes(data=values.plain(record.data))
        return {self.cookie_name: self._write(self._stamped(record), context)}

    def _value(self, cookies: Mapping[str, Sequence[str]]) -> str:
        found = cookies.get(self.cookie_name)
        if not found:
            raise InvalidToken("missing")
        value = found[-1]
        if len(value) > self.max_length:
            raise InvalidToken("too_large", f"more than {self.max_length} characters")
        return value

    def _read(self, value: str, context: Context) -> Record:
        """The record of one cookie value. Raises nothing but `InvalidToken`, and checks the MAC before it parses."""
        raise NotImplementedError

    def _write(self, record: Record, context: Context) -> str:
        """The cookie value of a record."""
        raise NotImplementedError

    def _record(
        self,
        data: object,
        context: Context,
        handle: str | bytes,
        *,
        created: int | None = None,
        expires: int | None = None,
    ) -> Record:
        """A record of what an authentic cookie held.

        `handle` is the cookie's value, or the session id inside it: the record's id is derived from it, and so the same
        for the same cookie, but is no credential. `created` and `expires` are Unix seconds that the cookie
        authenticates.
        """
        if (
            created is None
            and expires is None
            and self.until is None
            and self.authenticates_time
            and not self.ends_some
        ):
            raise InvalidToken("undated", UNDATED)
        if type(data) is not dict or not _TEXT.issuperset(map(type, data)):
            malformed("a session is a mapping with text as its keys")
        raw = handle.encode("utf-8", "surrogatepass") if isinstance(handle, str) else handle
        identifier = hashlib.sha256(self._handle_of + raw).digest()[:16]
        began = context.now if created is None else created
        options = {} if expires is None or self.sliding is not None else {"expires": expires}
        record = Record(identifier, began, None, began, None, options, data)
        used = self._take_stamp(record, context) if self.ends_after and self.stamp in data else 0
        if self.sliding is not None:
            self._slide_to(record, used, expires, self.sliding, context)
        return record

    def _take_stamp(self, record: Record, context: Context) -> int:
        """Take the stamp out of the data, and the beginning from it; return when the session was used last, or 0."""
        written = record.data[self.stamp]
        found = _STAMP.fullmatch(written) if type(written) is str else None
        if found or self.sliding is not None:
            record.data = {key: item for key, item in record.data.items() if key != self.stamp}
        if not found:
            return 0
        record.created = min(int(found[1]), context.now)
        return int(found[2])

    def _slide_to(self, record: Record, used: int, expires: int | None, duration: int, context: Context) -> None:
        """Say in the record when it was used last: the end of its cookie is the idle deadline, not the last one."""
        if expires is None and self.until is None:
            raise InvalidToken("undated", UNDATED)
        tenth = -(-duration // 10)
        by_end = context.now - tenth if expires is None else expires - duration  # without one it is due to be given one
        record.seen = min(max(used, by_end), context.now)

    def is_undated(self, record: Record) -> bool:
        """Whether the cookie of this record does not say when it ends, as others of its format do, and nothing else ends it."""
        return self.ends_some and self.until is None and self.sliding is None and "expires" not in record.options

    def _slide(self, duration: int | None) -> None:
        """Move the end by this many seconds, where `sliding` asks for it. Raises `ConfigError` where there is no end."""
        if self._slides and not duration:
            message = f"sliding=True needs {self.ends_after}: how long after each use the cookie ends"
            raise ConfigError(message)
        self.sliding = duration if self._slides else None

    def _stamped(self, record: Record) -> Record:
        """The record as it is written, with the times that `sliding` needs."""
        if self.sliding is None:
            return record
        if self.stamp in record.data:
            _unsupported(self.stamp, type(record.data[self.stamp]).__name__, "this key is taken where the end moves")
        began = record.created if record.authenticated is None else record.authenticated
        return record.with_changes(data={**record.data, self.stamp: f"{began} {record.seen}"})

    def _deadline(self, record: Record, context: Context, duration: int | None, *, grace: int = 0) -> int | None:
        """The end that a cookie says which is written now: after the other system's own duration, or sooner with the session.

        `grace`: seconds for which it is still read then. The session's end has them in it: it would move with each write.
        """
        ends = None if duration is None else context.now + duration
        if "expires" in record.options:
            last = max(record.options["expires"] - grace, 1)
            ends = last if ends is None else min(ends, last)
        return ends


def secret_bytes(secret: str | bytes, setting: str = "secret") -> bytes:
    """The secret as the other system hashes it: text as UTF-8. Raises `ConfigError` where it is empty or not text."""
    try:
        raw = secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:  # a lone surrogate is no text
        raw = b""
    if not isinstance(raw, bytes) or not raw:
        message = f"{setting} is empty or neither str nor bytes; copy it from the other system's configuration"
        raise ConfigError(message)
    return raw


def secrets_bytes(secrets: Sequence[str | bytes], setting: str) -> list[bytes]:
    """Each secret as the other system hashes it. Raises `ConfigError`, also for one secret where a list belongs."""
    return [secret_bytes(secret, setting) for secret in listed(secrets, setting, "secrets")]


def listed(given: Iterable[Any], setting: str, of: str) -> list[Any]:
    """A setting that is a list. Raises `ConfigError`, also for one text or bytes where several belong."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        message = f"{setting} is a list of {of}, not {type(given).__name__}; write [one] or []"
        raise ConfigError(message)
    return list(given)


def text(value: str, setting: str) -> str:
    """A setting that is text. Raises `ConfigError` where it is not."""
    if type(value) is str:
        return value
    message = f"{setting} is text, not {type(value).__name__}; leave it out where the other system has the default"
    raise ConfigError(message)


def malformed(detail: str) -> NoReturn:
    """The cookie is authentic, or has no MAC to check, and still cannot be read."""
    raise InvalidToken("malformed", detail)


def find_orjson() -> Callable[[bytes], Any] | None:
    """Its decoder. Without the extra `fast` all JSON is Python's to read: the same, and three times as slow."""
    try:
        loads: Callable[[bytes], Any] = importlib.import_module("orjson").loads
    except ImportError:
        return None
    return loads


_orjson = find_orjson()

UNREAD: Final = object()
"""What `quick_json` returns where it leaves the text to Python."""


def quick_json(raw: bytes) -> Any:
    """What orjson reads in a text without long numbers, or `UNREAD`.

    Where it reads at all, Python reads the same. What it refuses and Python does not (lone surrogates, NaN, 1e999, other
    encodings than UTF-8), and what neither reads, is left to Python.
    """
    if _orjson is not None:
        try:
            return _orjson(raw)
        except ValueError:
            pass
    return UNREAD


def has_long_number(raw: bytes) -> bool:
    """Whether 16 digits follow each other: a number that a double, or 64 bits, may not hold. Fewer digits are exact in both.

    Where all digits are alike it is found as a text is: a regular expression takes longer than the decoder. Four of the 16
    are among every fourth byte, which are soon looked at.
    """
    return b"0000" in raw[::4].translate(_ALIKE) and _LONG_NUMBER in raw.translate(_ALIKE)


_ALIKE = bytes(ord("0") if chr(byte) in string.digits else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * 16


def parse_json(text: str | bytes, *, constants: bool = False, numbers: bool = True) -> Any:
    """Strict JSON: no NaN or Infinity, unless `constants`. Raises `InvalidToken("malformed")`.

    `numbers=False`: whole numbers beyond 64 bits may come out rounded.
    """
    try:
        if _orjson is not None:
            raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
            if not (numbers and has_long_number(raw)) and (value := quick_json(raw)) is not UNREAD:
                return value
        if isinstance(text, bytes):
            encoding = "utf-8" if _OBJECT.match(text) else json.detect_encoding(text)
            text = text.decode(encoding, "surrogatepass")
        return decode_json(_ANY_JSON if constants else _STRICT_JSON, text)
    except (ValueError, RecursionError):
        raise InvalidToken("malformed", "not JSON") from None


def decode_json(decoder: json.JSONDecoder, text: str) -> Any:
    """`decoder.decode`, for an object without its two searches for white space, which take a tenth of a session's time."""
    if not text.startswith("{"):
        return decoder.decode(text)
    value, end = decoder.raw_decode(text)
    if text[end:].strip(_WHITE):
        message = "something follows the JSON"
        raise ValueError(message)
    return value


_OBJECT = re.compile(rb"\{[^\0]")
_WHITE = " \t\n\r"


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


_STRICT_JSON = json.JSONDecoder(parse_constant=_no_constant)
_ANY_JSON = json.JSONDecoder()


def check_plain(
    data: object, *, finite: bool = False, binary: bool = True, wide: bool = False, instants: bool = False
) -> None:
    """Raise the `UnsupportedValue` of the first value that the other system's data format cannot carry.

    It carries None, bool, int of 64 bits, float, str, list and dict with str keys; `binary`: bytes as well; `finite`:
    no NaN and no infinity; `wide`: int of any size; `instants`: datetime as well, in `datetime.UTC` alone.
    """
    values.check(data)
    _check_plain(data, "", finite, binary, wide, instants)


def _check_plain(value: Any, path: str, finite: bool, binary: bool, wide: bool, instants: bool) -> None:
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                _unsupported(path, "dict", "the other system's keys are text")
            _check_plain(item, f"{path}.{key}" if path else key, finite, binary, wide, instants)
    elif kind is list:
        for index, item in enumerate(value):
            _check_plain(item, f"{path}[{index}]", finite, binary, wide, instants)
    elif kind is int and not wide and not -(1 << 63) <= value < 1 << 64:
        _unsupported(path, "int", "the other system's integers have 64 bits")
    elif kind is float and finite and not math.isfinite(value):
        _unsupported(path, "float", "JSON has neither NaN nor infinity")
    elif instants and isinstance(value, dt.datetime):
        if value.tzinfo is not dt.UTC:
            problem = "the other system keeps an instant without its zone: write value.astimezone(datetime.UTC)"
            _unsupported(path, kind.__qualname__, problem)
    elif kind not in _PLAIN and not (binary and kind is bytes):
        _unsupported(path, kind.__qualname__, "the other system has no such type; convert it")


_TEXT = frozenset({str})
_PLAIN = frozenset({type(None), bool, int, float, str})


def _unsupported(path: str, type_name: str, problem: str) -> NoReturn:
    raise UnsupportedValue(path or "(root)", type_name, problem)

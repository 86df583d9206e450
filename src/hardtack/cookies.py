"""The cookie's name and attributes, reading a Cookie header, and the headers that a response gets.

Follows RFC 6265bis, more strictly where servers and browsers differ; prefixes also of the layered-cookies draft.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

from hardtack.errors import ConfigError

MAX_SET_COOKIE: Final = 4096
"""Bytes of a whole Set-Cookie line: browsers drop larger ones without a word."""

MAX_AGE_LIMIT: Final = 400 * 86400
"""RFC 6265bis 5.5: browsers clamp longer ages."""

MAX_VALUES: Final = 4
"""Cookies of one name that are considered: an attacker on a sibling subdomain can plant many."""

MAX_SEEN: Final = 16
"""Cookies of one name among which another session is looked for, so that planted ones cannot push it out of those four."""

# RFC 9110 token: what a cookie's name may be made of.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DOMAIN = re.compile(r"\.?[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")
_PATH = re.compile(r"/[!-+\--:<-~]*")  # printable ASCII but ";" and ","
_EQUALS = re.compile(r"[ \t]*=")
_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


@dataclass(frozen=True)
class Cookie:
    """The cookie's name and attributes; the defaults are the safe ones.

    Attributes:
        name: a `__Host-` name (the default) cannot be planted by a sibling subdomain; it needs `secure`, `path="/"` and no
            `domain`. `__Secure-`, `__Http-` and `__Host-Http-` are checked likewise.
        domain: None: this host alone. Otherwise every subdomain gets the cookie, and can set it.
        samesite: "Lax", "Strict" or "None" (which needs `secure`), or None to leave the attribute out.
        partitioned: CHIPS: one cookie for each top-level site that embeds this one; needs `secure`.
    """

    name: str = "__Host-session"
    path: str = "/"
    domain: str | None = None
    secure: bool = True
    httponly: bool = True
    samesite: Literal["Lax", "Strict", "None"] | None = "Lax"
    partitioned: bool = False

    def __post_init__(self) -> None:
        for setting in ("secure", "httponly", "partitioned"):
            if not isinstance(getattr(self, setting), bool):
                message = f"cookie {setting}={getattr(self, setting)!r} must be True or False"
                raise ConfigError(message)
        if self.samesite is not None:
            samesite = str(self.samesite).capitalize()
            if samesite not in ("Lax", "Strict", "None"):
                message = f"cookie samesite={self.samesite!r} must be 'Lax', 'Strict' or 'None'"
                raise ConfigError(message)
            object.__setattr__(self, "samesite", samesite)
        self._check_text()
        self._check_prefix()
        if self.samesite == "None" and not self.secure:
            raise ConfigError("cookie samesite='None' needs secure=True: browsers drop the cookie otherwise")
        if self.partitioned and not self.secure:
            raise ConfigError("cookie partitioned=True needs secure=True: browsers drop the cookie otherwise")

    def _check_text(self) -> None:
        if not isinstance(self.name, str) or not _TOKEN.fullmatch(self.name):
            message = f"cookie name={self.name!r} must be made of letters, digits and !#$%&'*+-.^_`|~"
            raise ConfigError(message)
        if not isinstance(self.path, str) or not _PATH.fullmatch(self.path):
            message = f"cookie path={self.path!r} must begin with '/' and be printable ASCII without ';' and ','"
            raise ConfigError(message)
        if self.domain is not None and (not isinstance(self.domain, str) or not _DOMAIN.fullmatch(self.domain)):
            message = f"cookie domain={self.domain!r} must be a host name such as 'example.org', or None"
            raise ConfigError(message)

    def _check_prefix(self) -> None:
        name = self.name.lower()
        if not name.startswith(("__host-", "__secure-", "__http-")):
            return
        needs = []
        if not self.secure:
            needs.append("secure=True")
        if name.startswith("__host-") and self.path != "/":
            needs.append("path='/'")
        if name.startswith("__host-") and self.domain is not None:
            needs.append("domain=None")
        if name.startswith(("__http-", "__host-http-")) and not self.httponly:
            needs.append("httponly=True")
        if needs:
            message = f"cookie name={self.name!r} needs {', '.join(needs)}; browsers drop the cookie otherwise"
            if "secure=True" in needs:
                message += " (on plain http during development: Cookie.for_development())"
            raise ConfigError(message)

    @classmethod
    def for_development(cls, **attributes: Any) -> Cookie:
        """A cookie for plain http on one's own machine: named `session`, without Secure. Never for production."""
        settings: dict[str, Any] = {"name": "session", "secure": False, **attributes}
        return cls(**settings)

    @cached_property
    def attributes(self) -> str:
        """The attributes as they stand in Set-Cookie, but Max-Age."""
        parts = [f"; Path={self.path}"]
        if self.domain is not None:
            parts.append(f"; Domain={self.domain}")
        if self.secure:
            parts.append("; Secure")
        if self.httponly:
            parts.append("; HttpOnly")
        if self.samesite is not None:
            parts.append(f"; SameSite={self.samesite}")
        if self.partitioned:
            parts.append("; Partitioned")
        return "".join(parts)

    def set_cookie(self, name: str, value: str, max_age: int | None = None, now: float | None = None) -> str:
        """The value of a Set-Cookie header. `max_age` in seconds; None: until the browser ends."""
        if max_age is None:
            return f"{name}={value}{self.attributes}"
        max_age = min(max_age, MAX_AGE_LIMIT)
        expires = "" if now is None else f"; Expires={http_date(now + max_age)}"
        return f"{name}={value}{expires}; Max-Age={max_age}{self.attributes}"

    def clear_cookie(self, name: str) -> str:
        """The value of a Set-Cookie header that makes the browser forget the cookie."""
        return f"{name}=; Expires={_EPOCH}; Max-Age=0{self.attributes}"

    def renamed(self, name: str) -> Cookie:
        """The same attributes under another name."""
        return replace(self, name=name)


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=64)
def http_date(seconds: float) -> str:
    """A time as RFC 9110 5.6.7 writes it, whatever the locale (`email.utils` takes as long to import as half of us)."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def as_text(header: str | bytes | None) -> str:
    """A raw Cookie header as text, one character a byte."""
    if isinstance(header, str):
        return header
    if isinstance(header, bytes):
        return header.decode("latin-1")
    if header is None:
        return ""
    message = (
        f"open() takes the raw Cookie header, as str or bytes, or None where there is none; not {type(header).__name__}"
    )
    raise TypeError(message)


def find_values(header: str, name: str) -> list[str]:
    """The values of the first cookies of one name, `MAX_SEEN` and one, at the cost of searching the header for the name.

    The header is split at ";" only, spaces and tabs are trimmed, names match byte for byte and nothing is decoded.
    """
    found: list[str] = []
    size = len(name)
    searched = 0
    start = header.find(name)
    while start >= 0:
        end = start + size
        if header[end : end + 1] == "=" and (start == 0 or header[start - 2 : start] == "; "):
            after = end + 1  # as every browser writes it
        else:
            after = _after_equals(header, start, end, searched)
        if after:
            stop = header.find(";", after)
            found.append(header[after : stop if stop >= 0 else None].strip(" \t"))
            if len(found) > MAX_SEEN:
                break
        searched = end
        start = header.find(name, searched)
    return found


def _after_equals(header: str, start: int, end: int, searched: int) -> int:
    """Where the value begins, if a cookie's name stands here; 0 where not: "a-session" is not "session"."""
    equals = _EQUALS.match(header, end)
    before = header.rfind(";", searched, start) + 1
    # Between the last ";" (or the beginning) and the name stand blanks only.
    if equals is None or not (before or not searched) or header[before:start].strip(" \t"):
        return 0
    return equals.end()


def parse(header: str) -> dict[str, list[str]]:
    """Every cookie of a header: names to their first `MAX_SEEN` and one values; nameless ones are left out."""
    cookies: dict[str, list[str]] = {}
    for pair in header.split(";"):
        name, separator, value = pair.partition("=")
        name = name.strip(" \t")
        if separator and name:
            values = cookies.setdefault(name, [])
            if len(values) <= MAX_SEEN:
                values.append(value.strip(" \t"))
    return cookies


CookieMap = Mapping[str, Sequence[str]]


def each_alone(cookies: CookieMap, name: str) -> list[CookieMap]:
    """The same cookies once for each value of a name, with that one alone."""
    found = cookies.get(name, ())
    return [cookies] if len(found) < 2 else [{**cookies, name: [value]} for value in found]


Headers = MutableSequence[tuple[str, str]] | MutableSequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Changes:
    """What a response has to say about the session. Iterates as header pairs.

    Attributes:
        set_cookies: values of Set-Cookie headers.
        accessed: the handler looked at the session: the response depends on the cookie.
        no_store: no cache may keep the response, whether it sets a cookie or not.
    """

    set_cookies: list[str] = field(default_factory=list, repr=False)
    accessed: bool = False
    no_store: bool = False
    on_replaced: Callable[[str, str], None] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for value in self.set_cookies:
            yield "Set-Cookie", value
        if self.accessed:
            yield "Vary", "Cookie"
            yield "Cache-Control", self.cache_control(None)

    def __bool__(self) -> bool:
        return bool(self.set_cookies) or self.accessed

    def vary(self, present: str | None) -> str | None:
        """What Vary becomes, given the response's own; None: leave it alone."""
        if not self.accessed:
            return None
        names = [name.strip().lower() for name in (present or "").split(",")]
        if "cookie" in names or "*" in names:
            return None
        return f"{present}, Cookie" if present and present.strip() else "Cookie"

    def cache_control(self, present: str | None) -> str:
        """What Cache-Control becomes, given the response's own.

        A cache that kept a response with a Set-Cookie would hand one user's session to the next.
        """
        directives = {directive.strip().lower() for directive in (present or "").split(",")}
        strict = self.no_store or bool(self.set_cookies)
        if self.no_store and "no-store" not in directives:
            return "private, no-store"
        if present is not None and present.strip():
            return present if not strict or directives & {"private", "no-store"} else "private, no-store"
        return "private, no-store" if strict else "private"

    def apply(self, headers: Headers) -> None:
        """Merge into a response's headers, in place: a list of pairs, of str (WSGI) or of bytes (ASGI)."""
        if not self:
            return
        pairs: Any = headers
        raw = bool(pairs) and isinstance(pairs[0][0], bytes)
        self._apply(pairs, raw=raw)

    def apply_raw(self, headers: MutableSequence[tuple[bytes, bytes]]) -> None:
        """`apply` to a list of pairs of bytes that may be empty, as ASGI has it."""
        if self:
            self._apply(headers, raw=True)

    def _apply(self, headers: Any, *, raw: bool) -> None:
        if self.accessed and self._apply_new(headers, raw=raw):
            return
        encode: Callable[[str], Any] = (lambda text: text.encode("latin-1")) if raw else str
        decode: Callable[[Any], str] = (lambda data: data.decode("latin-1")) if raw else str
        if self.accessed:
            self._merge(headers, "vary" if raw else "Vary", self.vary, encode, decode)
            self._merge(headers, "cache-control" if raw else "Cache-Control", self._replace, encode, decode)
        name = encode("set-cookie" if raw else "Set-Cookie")
        headers.extend((name, encode(value)) for value in self.set_cookies)

    def _apply_new(self, headers: Any, *, raw: bool) -> bool:
        """The common case, at a fraction of the cost: a response that has neither header yet."""
        names = (b"vary", b"cache-control") if raw else ("vary", "cache-control")
        for key, _ in headers:
            if key.lower() in names:
                return False
        cache_control = "private, no-store" if self.no_store or self.set_cookies else "private"
        if raw:
            headers.extend([(b"vary", b"Cookie"), (b"cache-control", cache_control.encode())])
            headers.extend([(b"set-cookie", value.encode("latin-1")) for value in self.set_cookies])
        else:
            headers.extend([("Vary", "Cookie"), ("Cache-Control", cache_control)])
            headers.extend([("Set-Cookie", value) for value in self.set_cookies])
        return True

    def _replace(self, present: str | None) -> str | None:
        after = self.cache_control(present)
        if present is not None and after != present and self.on_replaced is not None:
            self.on_replaced(present, after)
        return after if after != present else None

    @staticmethod
    def _merge(
        headers: Any,
        name: str,
        change: Callable[[str | None], str | None],
        encode: Callable[[str], Any],
        decode: Callable[[Any], str],
    ) -> None:
        lower = name.lower()
        found = [index for index, (key, _) in enumerate(headers) if decode(key).lower() == lower]
        present = ", ".join(decode(headers[index][1]) for index in found) if found else None
        after = change(present)
        if after is None:
            return
        for index in reversed(found):
            del headers[index]
        headers.append((encode(name), encode(after)))


NO_CHANGES: Final = Changes()

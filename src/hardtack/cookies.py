"""The cookie's name and attributes, and reading a Cookie header.

Follows RFC 6265bis, more strictly where servers and browsers differ; prefixes also of the layered-cookies draft.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

from hardtack.errors import ConfigError
from hardtack.protocols.token import CookieMap

LARGEST_SET_COOKIE: Final = 4096
"""Bytes of a whole Set-Cookie line: browsers drop larger ones without a word (RFC 6265bis 5.6)."""

MAX_SET_COOKIE: Final = 3600
"""Bytes of a whole Set-Cookie line that are safe: nginx reads all headers of an answer into 4 KB, and answers 502 beyond."""

MAX_HEADER: Final = 8000
"""Bytes of a request's Cookie header that are safe: servers refuse a request whose headers exceed 8 KB."""

MAX_CLEARED: Final = 8
"""Set-Cookie lines that clear planted cookies with one response."""

MAX_HOST: Final = 253
"""Characters of a host name (RFC 1035): a Host header may have any number, and each label is a place to clear."""

MAX_AGE_LIMIT: Final = 400 * 86400
"""RFC 6265bis 5.5: browsers clamp longer ages."""

MAX_VALUES: Final = 4
"""Different values of one name that are looked at; with more, none is used: somebody on a sibling subdomain plants them."""

MAX_SEEN: Final = 16
"""Cookies of one name that are read out of a header at all."""

DEFAULT_NAME: Final = "__Host-Http-session"
"""A script on the page cannot set a cookie of this name, nor can a sibling subdomain (layered-cookies draft)."""

FORMER_DEFAULT_NAME: Final = "__Host-session"
"""What the default was before: a manager on the default name also accepts sessions under this one."""

_PREFIXES: Final = ("__host-http-", "__host-", "__secure-", "__http-")

COOKIE_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z:]+")
"""RFC 9110 token, and ":": Express and Koa have had it in the names of their cookies, and browsers take it."""

_DOMAIN = re.compile(r"\.?[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")
_PATH = re.compile(r"/[!-+\--:<-~]*")  # printable ASCII but ";" and ","
_EQUALS = re.compile(r"[ \t]*=")
# RFC 6265bis 5.6: browsers ignore a longer attribute; one that clears "/" + 1,024 characters would clear our own place.
_MAX_ATTRIBUTE = 1024
_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


# RFC 6761, 6762, 8375 and 2606: no site that others can reach has such a name. "internal" is ICANN's for private networks.
# Not example.com, example.net and example.org: those names are in the public DNS, and are what stands in for a site's own.
_PRIVATE = re.compile(
    r"[^.]*|(.*\.)?(localhost|local|localdomain|internal|lan|test|example|invalid|home\.arpa)"
    r"|falconframework\.org"  # what Falcon's test client says where its test says nothing
)


@lru_cache(maxsize=64)
def is_private_host(host: str) -> bool:
    """Whether a host, without its port, is this machine or in a private network, or nothing that could be reached at all."""
    from ipaddress import ip_address  # which takes as long to import as the rest of this module

    host = host.strip("[]").removesuffix(".").lower()
    try:
        return not ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return _PRIVATE.fullmatch(host) is not None


@dataclass(frozen=True)
class Cookie:
    """The cookie's name and attributes; the defaults are the safe ones.

    Attributes:
        name: a `__Host-Http-` name (the default) can be planted neither by a sibling subdomain nor by a script on the page;
            it needs `secure`, `httponly`, `path="/"` and no `domain`. `__Host-`, `__Secure-` and `__Http-` are checked
            likewise. A ":" may be in it where the session is shared with another system, whose cookie has it.
        domain: None: this host alone. Otherwise every subdomain gets the cookie, and can set it.
        samesite: "Lax", "Strict" or "None" (which needs `secure`), or None to leave the attribute out.
        partitioned: CHIPS: one cookie for each top-level site that embeds this one; needs `secure`.
        formerly: where the cookie was before its name, path or domain was changed: it is cleared there with each
            Set-Cookie, since a browser keeps both and would send both.
        development: as `for_development` sets it: no session is stored for a request by https, or to a public host.
    """

    name: str = DEFAULT_NAME
    path: str = "/"
    domain: str | None = None
    secure: bool = True
    httponly: bool = True
    samesite: Literal["Lax", "Strict", "None"] | None = "Lax"
    partitioned: bool = False
    formerly: Sequence[Cookie] = ()
    development: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.formerly, Cookie) or not all(isinstance(each, Cookie) for each in self.formerly):
            raise ConfigError("cookie formerly= is a list of Cookies: [Cookie(name=…, path=…, domain=…)]")
        object.__setattr__(self, "formerly", tuple(self.formerly))
        for setting in ("secure", "httponly", "partitioned", "development"):
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
        if not isinstance(self.name, str) or not COOKIE_NAME.fullmatch(self.name):
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
        """A cookie for plain http on one's own machine: named `session`, without Secure.

        In production it is refused: saving a session for a request that came by https, or to a host that others can
        reach by its name, raises `ConfigError`. So a setting that was forgotten is noticed at the first login.
        """
        settings: dict[str, Any] = {"name": "session", "secure": False, "development": True, **attributes}
        return cls(**settings)

    def check_place(self, scheme: str, host: str) -> None:
        """Raise `ConfigError` where a cookie for development meets a request of a site: `host` without port, "": unknown."""
        if not self.development:
            return
        if scheme in ("https", "wss"):
            where = "this request came by https"
        elif not is_private_host(host):
            where = f"this request is for the public host {host[:100]!r}"
        else:
            return
        message = (
            f"Cookie.for_development() is for plain http on one's own machine, and {where}: use Cookie() there, whose cookie "
            "goes over https alone"
        )
        raise ConfigError(message)

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

    def clear_all(self, names: Iterable[str]) -> list[str]:
        """The lines that clear cookies of these names here, and the cookie in all places where it formerly was."""
        return [*(self.clear_cookie(name) for name in names), *self.clearing_formerly]

    @cached_property
    def clearing_formerly(self) -> tuple[str, ...]:
        """The lines that clear the cookie where it formerly was; where it still is, it stays."""
        own = self.place
        return tuple(each.clear_cookie(each.name) for each in self.formerly if each.place != own)

    @cached_property
    def place(self) -> tuple[str, str | None, str]:
        """Where a browser keeps the cookie: name, domain and path, by which it tells one cookie from another."""
        return self.name, None if self.domain is None else self.domain.removeprefix(".").lower(), self.path

    def clear_planted(self, host: str, path: str) -> list[str]:
        """The lines that clear a cookie of this name where somebody else may have set it, never where it is ours.

        Those places are every parent domain of the host and every beginning of the path, at most `MAX_CLEARED` of them
        and `MAX_SET_COOKIE` bytes; `host` is without a port, and empty where it is not known: then nothing is cleared but
        the `formerly` places.
        """
        lines = list(self.clearing_formerly[:MAX_CLEARED])
        if not host or len(host) > MAX_HOST or not _DOMAIN.fullmatch(host) or host.replace(".", "").isdigit():
            return lines
        bare = replace(self, name="x", formerly=(), partitioned=False)
        room = MAX_SET_COOKIE - sum(map(len, lines))
        for domain, path_there in _places(host.lower(), path):
            if (self.name, domain, path_there) == self.place:
                continue
            elsewhere = replace(bare, domain=domain, path=path_there)
            line = f"{self.name}=; Expires={_EPOCH}; Max-Age=0{elsewhere.attributes}"
            if line in lines:
                continue
            room -= len(line)
            if len(lines) == MAX_CLEARED or room < 0:  # the client chooses its Host and its path
                break
            lines.append(line)
        return lines


def that_fit(lines: Iterable[str], room: int) -> list[str]:
    """As many Set-Cookie lines, from the first on, as have `room` bytes: nginx answers 502 where an answer has more."""
    fitting = []
    for line in lines:
        room -= len(line)
        if room < 0:
            break
        fitting.append(line)
    return fitting


def _places(host: str, path: str) -> Iterator[tuple[str | None, str]]:
    """Domains and paths where a cookie that a request carries may have been set, the likeliest first."""
    labels = host.split(".")
    parents = [".".join(labels[start:]) for start in range(len(labels) - 1)]  # no browser takes a bare top-level domain
    paths = ["/"]
    for part in path.split("/", 4)[1:4]:
        longer = f"{paths[-1].rstrip('/')}/{part}"
        if part and len(longer) <= _MAX_ATTRIBUTE and _PATH.fullmatch(longer):
            paths.append(longer)
    yield from ((domain, "/") for domain in reversed(parents))
    yield from ((None, place) for place in paths)
    yield from ((domain, place) for place in paths[1:] for domain in reversed(parents))


def split_prefix(name: str) -> tuple[str, str]:
    """The prefix of a cookie's name that browsers heed, as it is written there or empty, and the rest of the name."""
    lower = name.lower()
    size = next((len(prefix) for prefix in _PREFIXES if lower.startswith(prefix)), 0)
    return name[:size], name[size:]


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
    before, is_there, rest = header.partition(f"{name}=")
    if is_there and name not in rest and (before == "" or (before[-2:] == "; " and name not in before)):
        return [rest.partition(";")[0].strip(" \t")]  # nearly every request: the name once, as every browser writes it
    found: list[str] = []
    size = len(name)
    searched = 0
    start = header.find(name)
    while start >= 0:
        end = start + size
        if header[end : end + 1] == "=" and (start == 0 or header[start - 2 : start] == "; "):
            begins = end + 1  # as every browser writes it
        else:
            begins = _after_equals(header, start, end, searched)
        if begins:
            stop = header.find(";", begins)
            found.append(header[begins : stop if stop >= 0 else None].strip(" \t"))
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


def each_alone(cookies: CookieMap, name: str) -> list[CookieMap]:
    """The same cookies once for each different value of a name, with that one alone."""
    found = cookies.get(name, ())
    return [cookies] if len(found) < 2 else [{**cookies, name: [value]} for value in dict.fromkeys(found)]

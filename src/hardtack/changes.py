"""Changes: what a response has to say about a session, and how it is merged into the response's headers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableSequence
from typing import Any, Final

Headers = MutableSequence[tuple[str, str]] | MutableSequence[tuple[bytes, bytes]]

SHARED_CACHE_HEADERS: Final = frozenset(
    {
        "cdn-cache-control",  # RFC 9213
        "cloudflare-cdn-cache-control",
        "vercel-cdn-cache-control",
        "netlify-cdn-cache-control",
        "akamai-cache-control",
        "edge-control",
        "surrogate-control",
        "x-accel-expires",
    }
)
"""What tells a shared cache to keep a response past its Cache-Control: gone from one that sets a session cookie.

These are the known ones; `is_shared_cache_header` says it of any.
"""

_SHARED: Final = (
    "public",
    "s-maxage",
    "max-age",
    "immutable",
    "private",
    "no-store",
    "stale-while-revalidate",
    "stale-if-error",
)
"""Directives that let a shared cache keep a response, or that are said anew."""


def is_shared_cache_header(name: str) -> bool:
    """Whether a header, in any case, tells a shared cache to keep a response past its Cache-Control.

    That is each of `SHARED_CACHE_HEADERS`, and whatever ends in `-Cache-Control`: RFC 9213 has each CDN put its own name
    before that.
    """
    lower = name.lower()
    return lower in SHARED_CACHE_HEADERS or lower.endswith("-cache-control")


class _Merged(dict[str | bytes, bool]):
    """`is_merged` of each name that was seen: asked for each header of a response, it takes no longer than a `lower()`."""

    def __missing__(self, name: str | bytes) -> bool:
        lower = name.decode("latin-1").lower() if isinstance(name, bytes) else name.lower()
        if len(self) >= _MAX_NAMES:  # an application that makes up names
            self.clear()
        merged = self[name] = lower in ("vary", "cache-control") or is_shared_cache_header(lower)
        return merged


_MAX_NAMES: Final = 512
_MERGED: Final = _Merged()


def is_merged(name: str | bytes) -> bool:
    """Whether a response's own header, in any case, is one that `Changes.apply` may change or remove."""
    return _MERGED[name]


class Changes:
    """What a response has to say about the session. Iterates as header pairs.

    Attributes:
        set_cookies: values of Set-Cookie headers.
        accessed: the handler looked at the session: the response depends on the cookie.
        no_store: no cache may keep the response, whether it sets a cookie or not.
        dropped: why what the request changed was not saved, where nobody had to be told by an error: "stale" (another
            request changed what this one had read) or "dead" (the session was ended, or has a new id); else empty.
        headers: other headers of the response, such as the offer to bind the session to the device.
        on_replaced: called with what a header said and what it says now, where a shared cache could have kept the response.
    """

    __slots__ = ("accessed", "dropped", "headers", "no_store", "on_replaced", "set_cookies")

    def __init__(
        self,
        set_cookies: list[str] | None = None,
        accessed: bool = False,
        no_store: bool = False,
        on_replaced: Callable[[str, str], None] | None = None,
        dropped: str = "",
    ) -> None:
        self.set_cookies: list[str] = [] if set_cookies is None else set_cookies
        self.accessed = accessed
        self.no_store = no_store
        self.on_replaced = on_replaced
        self.dropped = dropped
        self.headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Changes accessed={self.accessed} no_store={self.no_store} dropped={self.dropped!r} "
            f"set_cookies={len(self.set_cookies)}>"  # their number: a cookie's value is a credential
        )

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for value in self.set_cookies:
            yield "Set-Cookie", value
        yield from self.headers
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

        A cache that kept a response with a Set-Cookie would hand one user's session to the next. Directives that let a
        shared cache keep it are replaced; all others, such as no-transform, stay.
        """
        strict = self.no_store or bool(self.set_cookies)
        if present is None or not present.strip():
            return "private, no-store" if strict else "private"
        if not strict:
            return present
        directives = [part.strip() for part in present.split(",")]
        names = [directive.partition("=")[0].strip().lower() for directive in directives]
        if "no-store" in names and "public" not in names and "s-maxage" not in names:
            return present
        alone = "private" in (directive.lower() for directive in directives)  # and not private="set-cookie"
        if not self.no_store and alone and "public" not in names and "s-maxage" not in names:
            return present  # kept by this browser alone, for as long as the application says
        kept = [part for part, name in zip(directives, names, strict=True) if part and name not in _SHARED]
        return ", ".join(["private", "no-store", *kept])

    def apply(self, headers: Headers) -> None:
        """Merge into a response's headers, in place: a list of pairs, of str (WSGI) or of bytes (ASGI)."""
        if self:
            pairs: Any = headers
            self._apply(pairs, raw=bool(pairs) and isinstance(pairs[0][0], bytes))

    def apply_raw(self, headers: MutableSequence[tuple[bytes, bytes]]) -> None:
        """`apply` to a list of pairs of bytes that may be empty, as ASGI has it."""
        lines = self.set_cookies
        if not lines and not self.accessed:
            return
        for key, _ in headers:
            if _MERGED[key]:
                self._apply(headers, raw=True)
                return
        # Nearly every response has none of the headers that are to be merged.
        if self.accessed:
            headers.extend(_STRICT_RAW if lines or self.no_store else _PRIVATE_RAW)
        for line in lines:
            headers.append((b"set-cookie", line.encode("latin-1")))
        for name, value in self.headers:
            headers.append((name.lower().encode(), value.encode("latin-1")))

    def _apply(self, headers: Any, *, raw: bool) -> None:
        lines = self.set_cookies
        for key, _ in headers:
            if _MERGED[key]:
                self._merge(headers, raw=raw)
                break
        else:  # the usual case, at a fraction of the cost: a response that has none of these headers
            if self.accessed:
                strict = lines or self.no_store
                if raw:
                    headers.extend(_STRICT_RAW if strict else _PRIVATE_RAW)
                else:
                    headers.extend(_STRICT if strict else _PRIVATE)
        if raw:
            headers.extend([(b"set-cookie", line.encode("latin-1")) for line in lines])
            headers.extend([(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers])
        else:
            headers.extend([("Set-Cookie", line) for line in lines])
            headers.extend(self.headers)

    def _merge(self, headers: Any, *, raw: bool) -> None:
        encode: Callable[[str], Any] = (lambda text: text.encode("latin-1")) if raw else str
        decode: Callable[[Any], str] = (lambda data: data.decode("latin-1")) if raw else str
        if self.set_cookies or self.no_store:
            for index in reversed(range(len(headers))):
                name = decode(headers[index][0])
                if is_shared_cache_header(name):
                    self.removed(name, decode(headers[index][1]))
                    del headers[index]
        if self.accessed:
            _replace(headers, "vary" if raw else "Vary", self.vary, encode, decode)
            _replace(headers, "cache-control" if raw else "Cache-Control", self.replaced, encode, decode)

    def replaced(self, present: str | None) -> str | None:
        """What Cache-Control becomes, or None where it stays; who listens is told of a response that was shared."""
        after = self.cache_control(present)
        if after == present:
            return None
        if present is not None:
            self._tell(present, after)
        return after

    def removed(self, name: str, value: str) -> None:
        """Tell who listens that a header for a shared cache was taken out of the response."""
        self._tell(f"{name}: {value}", "(removed)")

    def _tell(self, before: str, after: str) -> None:
        if self.on_replaced is not None:
            self.on_replaced(before, after)


_PRIVATE: Final = (("Vary", "Cookie"), ("Cache-Control", "private"))
_STRICT: Final = (("Vary", "Cookie"), ("Cache-Control", "private, no-store"))
_PRIVATE_RAW: Final = ((b"vary", b"Cookie"), (b"cache-control", b"private"))
_STRICT_RAW: Final = ((b"vary", b"Cookie"), (b"cache-control", b"private, no-store"))


def _replace(
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
"""Of a session that nobody touched."""

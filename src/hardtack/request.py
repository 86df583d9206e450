"""Request: what an adapter tells of the request that a session belongs to. Everything in it is optional."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", ""})
"""RFC 9110 9.2.1: methods that ask for no change."""

MAX_TEXT: Final = 200
"""Characters of what a client sent that an event carries."""


class Request:
    """What is known of a request beside its cookies.

    Attributes:
        method: as the client sent it; unsafe ones are told where a save is dropped, and refused across sites.
        scheme: `http`, `https`, `ws` or `wss`, as the client used it (behind a proxy: as that passes it on).
        host: the Host header, with a port where it has one.
        origin, sec_fetch_site: the headers of these names, or None.
        path: without the query, beginning with "/".
        client: the address that the request came from.
        user_agent: the header of this name.
        passive: this request is no activity of the user, such as a page that polls: it renews nothing.
        mount: what stands before the application's own paths (SCRIPT_NAME, root_path), which `path` begins with.
        query: what follows the "?"; it is not told to events.
        proof_skipped: the header Secure-Session-Skipped, or None.
    """

    __slots__ = (
        "client",
        "host",
        "method",
        "mount",
        "origin",
        "passive",
        "path",
        "proof_skipped",
        "query",
        "scheme",
        "sec_fetch_site",
        "user_agent",
    )

    def __init__(
        self,
        method: str = "",
        scheme: str = "",
        host: str = "",
        origin: str | None = None,
        sec_fetch_site: str | None = None,
        path: str = "",
        client: str = "",
        user_agent: str = "",
        *,
        passive: bool = False,
        mount: str = "",
        query: str = "",
        proof_skipped: str | None = None,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.host = host
        self.origin = origin
        self.sec_fetch_site = sec_fetch_site
        self.path = path
        self.client = client
        self.user_agent = user_agent
        self.passive = passive
        self.mount = mount
        self.query = query
        self.proof_skipped = proof_skipped

    @property
    def is_unsafe(self) -> bool:
        """Whether the method promises a change, so that a browser must not be told "done" where it was not."""
        return self.method.upper() not in _SAFE

    @property
    def is_websocket(self) -> bool:
        """Whether this is the handshake of a websocket, which no browser keeps to one origin."""
        return self.scheme in ("ws", "wss")

    @property
    def hostname(self) -> str:
        """The host without its port, in lower case; empty where there is none that could be a domain."""
        host = self.host.strip().lower()
        if host.startswith("["):  # an IPv6 address
            return host.partition("]")[0] + "]"
        return host.partition(":")[0].rstrip(".")

    def told(self, *, mask: bool = False) -> Request:
        """A copy for events: text from the client escaped and cut, the address masked where that was asked for.

        A masked address keeps its network: 24 bits of IPv4, 48 bits of IPv6.
        """
        client = _masked(self.client) if mask else self.client
        told = (_told(text) for text in (self.method, self.scheme, self.host))
        method, scheme, host = told
        return Request(
            method,
            scheme,
            host,
            None if self.origin is None else _told(self.origin),
            None if self.sec_fetch_site is None else _told(self.sec_fetch_site),
            _told(self.path),
            _told(client),
            _told(self.user_agent),
            passive=self.passive,
        )

    def __repr__(self) -> str:
        given = (f"{name}={getattr(self, name)!r}" for name in Request.__slots__ if getattr(self, name))
        return f"Request({', '.join(given)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Request.__slots__)

    def __hash__(self) -> int:
        return hash((self.method, self.host, self.path, self.client))


def wsgi_request(environ: Mapping[str, Any]) -> Request:
    """What a WSGI environ tells of its request."""
    get = environ.get
    return Request(
        get("REQUEST_METHOD", ""),
        get("wsgi.url_scheme", ""),
        get("HTTP_HOST") or get("SERVER_NAME", ""),
        get("HTTP_ORIGIN"),
        get("HTTP_SEC_FETCH_SITE"),
        f"{get('SCRIPT_NAME', '')}{get('PATH_INFO', '')}",
        get("REMOTE_ADDR") or "",
        get("HTTP_USER_AGENT", ""),
        mount=get("SCRIPT_NAME", ""),
        query=get("QUERY_STRING", ""),
        proof_skipped=get("HTTP_SECURE_SESSION_SKIPPED"),
    )


class EnvironRequest(Request):
    """The same of an environ that nothing else changes or puts the session into: what is rarely asked for is looked up then.

    A session that is in the environ, which this holds, would hold this, and they would wait for the garbage collector.
    """

    __slots__ = ("environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        # At once what some sites rewrite for an application inside of them: later, in a thread, it is that one's.
        get = environ.get
        self.method = get("REQUEST_METHOD", "")
        self.scheme = get("wsgi.url_scheme", "")
        self.mount = get("SCRIPT_NAME", "")
        self.path = f"{self.mount}{get('PATH_INFO', '')}"
        self.passive = False
        self.environ = environ

    def __getattr__(self, name: str) -> Any:
        """Called for what is not set yet: all of it is set at once."""
        if name not in Request.__slots__:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        self.look_up()
        return getattr(self, name)

    def look_up(self) -> None:
        """Set what stands in the headers, and beside them."""
        found = wsgi_request(self.environ)
        for each in _LOOKED_UP:
            setattr(self, each, getattr(found, each))

    def __getstate__(self) -> Any:
        """All that a request is made of: what a server puts into its environ beside the headers cannot be pickled."""
        return None, {name: getattr(self, name) for name in Request.__slots__}


_LOOKED_UP: Final = ("client", "host", "origin", "proof_skipped", "query", "sec_fetch_site", "user_agent")


_NAMES: Final = ("type", "method", "scheme", "path", "client", "headers", "root_path", "query_string")
_TOLD: Final = itemgetter(*_NAMES)


class ScopeRequest(Request):
    """The request of an ASGI scope. Most are asked for no more than their method: the rest is taken apart when one is."""

    __slots__ = ("_told",)

    def __init__(self, scope: Mapping[str, Any]) -> None:
        # Not the scope: it holds the session, which holds this, and they would wait for the garbage collector.
        try:
            told = _TOLD(scope)
        except KeyError:  # a websocket, which has no method, or a server that leaves out what it may
            told = tuple(map(scope.get, _NAMES))
        self._told: Any = told
        self.method = "GET" if told[0] == "websocket" else told[1] or ""
        self.passive = False

    def __getattr__(self, name: str) -> Any:
        """Called for what is not set yet: all that the headers tell is set at once, or all that stands beside them."""
        if name in _IN_HEADERS:
            found = dict(self._told[5])
            self.host = _text(found.get(b"host")) or ""
            self.origin = _text(found.get(b"origin"))
            self.sec_fetch_site = _text(found.get(b"sec-fetch-site"))
            self.user_agent = _text(found.get(b"user-agent")) or ""
            self.proof_skipped = _text(found.get(b"secure-session-skipped"))
        elif name in Request.__slots__:
            kind, _, scheme, path, client, _, mount, query = self._told
            self.mount = mount or ""
            self.query = (query or b"").decode("latin-1")
            self.scheme = scheme or ("ws" if kind == "websocket" else "http")
            self.path = path or ""
            self.client = client[0] if client else ""
        else:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(self, name)


_IN_HEADERS: Final = frozenset({"host", "origin", "proof_skipped", "sec_fetch_site", "user_agent"})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _told(text: str) -> str:
    # A line break or a terminal's escape in a path would write lines of its own into a log.
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)[: 4 * MAX_TEXT]


def _masked(address: str) -> str:
    import ipaddress

    try:
        given = ipaddress.ip_address(address)
    except ValueError:
        return ""
    bits = 24 if given.version == 4 else 48
    return str(ipaddress.ip_network((given, bits), strict=False).network_address)

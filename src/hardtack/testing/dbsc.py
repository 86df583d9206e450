"""A browser that has Device Bound Session Credentials, for tests: it registers a key, proves it, and keeps cookies."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from hardtack import values

HeaderPairs = list[tuple[str, str]]

_SIGNATURES: Final = 6
_QUOTA_SECONDS: Final = 9 * 60
_TURNS: Final = 5
_MOVED: Final = (301, 302, 303, 307, 308)
_TRANSIENT: Final = (403, 407, 429)
_QUOTED: Final = re.compile(r'([a-z_]+)="([^"]*)"')


class Response(NamedTuple):
    """What the server has answered."""

    status: int
    headers: HeaderPairs
    body: bytes

    def get(self, name: str) -> str | None:
        """A header's first value, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Send = Callable[[str, str, HeaderPairs, bytes], tuple[int, Iterable[tuple[str, str]], bytes]]
"""Sends a method, a URL, headers and a body; what it gets is a status, headers and a body. An OSError is a network's."""


class DbscError(AssertionError):
    """The server has answered what a browser does not take, or what costs a proof before each request."""


@dataclass
class StoredCookie:
    """A cookie in the browser. `expires` in seconds of the client's clock; None: until the browser ends."""

    value: str
    path: str
    attributes: str
    expires: float | None = None


@dataclass
class BoundSession:
    """A binding, as the browser keeps it."""

    id: str
    refresh_url: str
    cookie: str
    attributes: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    challenge: str | None = None


class DbscClient:
    """A browser on a device of its own.

    Args:
        send: sends a request: `wsgi(app)`, `http(address)`, or a function of yours, which may lose answers.
        base: scheme and host of the site; paths are relative to it.
        clock: seconds, like `time.time`: the manager's, where tests set that.
        quota: whether the sixth proof in nine minutes is the last, as in browsers.
        registers: whether it registers a key as soon as that is offered; otherwise `register()` does.
        early: seconds before the end of a bound cookie in which it is renewed along with a request.

    Attributes:
        bindings: the bindings, by their ids.
        offers: registrations that were offered and are not made yet.
        signed: when a key was used.
        skipped: the last reason why a request went out without a proof; empty where it had one.
    """

    def __init__(
        self,
        send: Send,
        base: str = "https://example.org",
        *,
        clock: Callable[[], float] = time.time,
        quota: bool = True,
        registers: bool = True,
        early: float = 0,
    ) -> None:
        self.send = send
        self.base = base
        self.clock = clock
        self.quota = quota
        self.registers = registers
        self.early = early
        self.cookies: dict[tuple[str, str], StoredCookie] = {}
        self.bindings: dict[str, BoundSession] = {}
        self.offers: list[tuple[str, str, str | None]] = []
        self.signed: list[float] = []
        self.skipped = ""

    # --- what a test asks for

    def get(self, path: str, **headers: str) -> Response:
        """GET, with redirects followed."""
        return self.request("GET", path, headers=list(headers.items()))

    def post(self, path: str, body: bytes = b"", **headers: str) -> Response:
        """POST, with redirects followed: 307 with the body once more."""
        return self.request("POST", path, body=body, headers=list(headers.items()))

    def request(self, method: str, path: str, *, headers: HeaderPairs | None = None, body: bytes = b"") -> Response:
        """A request of the site's own pages: the key is proved before, where it has to be."""
        url = urljoin(self.base, path)
        for _ in range(10):
            skipped = self.refresh(url)
            sent = [*(headers or []), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "navigate")]
            if skipped:
                sent.append(("Secure-Session-Skipped", skipped))
            response = self._send(method, url, sent, body)
            self._note_offer(url, response)
            if self.registers:
                self.register()
            location = response.get("Location")
            if response.status not in _MOVED or location is None:
                return response
            url = urljoin(url, location)
            if response.status not in (307, 308):
                method, body = "GET", b""
        raise DbscError("the server redirects again and again")

    def copy(self) -> DbscClient:
        """A thief: a browser without DBSC on another device, with the cookies of this one."""
        thief = DbscClient(self.send, self.base, clock=self.clock, registers=False)
        thief.cookies = {place: replace(cookie) for place, cookie in self.cookies.items()}
        return thief

    def keep_copies(self) -> None:
        """Let cookies live on past their Max-Age, as a thief does."""
        for cookie in self.cookies.values():
            cookie.expires = None

    def restart(self) -> None:
        """End the browser and start it again: cookies without Max-Age are gone, keys and bindings are not."""
        self.cookies = {place: cookie for place, cookie in self.cookies.items() if cookie.expires is not None}

    def cookie(self, name: str) -> str | None:
        """The value of a cookie, or None."""
        return next((cookie.value for (each, _), cookie in self._living("/") if each == name), None)

    # --- registration

    def register(self) -> None:
        """Make a key for each registration that was offered."""
        offers, self.offers = self.offers, []
        for url, challenge, authorization in offers:
            key = ec.generate_private_key(ec.SECP256R1())
            if not self._may_sign():
                continue
            token = make_jwt(key, challenge, authorization=authorization, registers=True)
            try:
                response = self._send("POST", url, [("Secure-Session-Response", token)], b"")
            except OSError:
                continue
            if response.status == 200:
                self._take(url, response, key)

    def _note_offer(self, url: str, response: Response) -> None:
        for name, value in response.headers:
            if name.lower() != "secure-session-registration":
                continue
            parameters = dict(_QUOTED.findall(value))
            if "ES256" not in value.partition(")")[0] or not {"path", "challenge"} <= parameters.keys():
                message = f"a browser does not understand Secure-Session-Registration: {value}"
                raise DbscError(message)
            self.offers.append(
                (urljoin(url, parameters["path"]), parameters["challenge"], parameters.get("authorization"))
            )

    def _take(self, url: str, response: Response, key: ec.EllipticCurvePrivateKey) -> None:
        said = self._said(response)
        if said is None:
            return
        credential = said["credentials"][0]
        session = BoundSession(
            said["session_identifier"],
            urljoin(url, said["refresh_url"]),
            credential["name"],
            credential["attributes"],
            key,
        )
        self._check(session, response)
        self._note_challenge(session, response)
        self.bindings[session.id] = session

    def _said(self, response: Response) -> dict[str, Any] | None:
        said: dict[str, Any] = json.loads(response.body)
        return None if said.get("continue") is False else said

    def _check(self, session: BoundSession, response: Response) -> None:
        """Fail where the bound cookie is not set, or not as the server says: a browser would ask before every request."""
        if session.cookie.lower().startswith("__host-http-"):
            raise DbscError("browsers refuse to bind a cookie whose name begins with __Host-Http-")
        if "partitioned" in session.attributes.lower() or "max-age" in session.attributes.lower():
            message = f"browsers refuse credentials with the attributes {session.attributes!r}"
            raise DbscError(message)
        lines = [value for name, value in response.headers if name.lower() == "set-cookie"]
        line = next((line for line in lines if line.startswith(f"{session.cookie}=")), None)
        if line is None:
            message = f"the answer sets no cookie {session.cookie}"
            raise DbscError(message)
        given, said = _attributes(line.partition(";")[2]), _attributes(session.attributes)
        if given != said:
            message = f"Set-Cookie has the attributes {sorted(given)}, and the JSON says {sorted(said)}"
            raise DbscError(message)

    # --- refresh

    def refresh(self, url: str = "", *, now: bool = False) -> str:
        """Prove each key whose cookie is gone or about to end, and goes along to the URL; `now`: each.

        Returns why it could not, or nothing.
        """
        self.skipped = ""
        for session in list(self.bindings.values()):
            place = _path(session.attributes)
            if url and not _is_within(urlsplit(url).path, place):
                continue  # the cookie of an application under another path
            cookie = next((each for (name, _), each in self._living(place) if name == session.cookie), None)
            left = None if cookie is None else cookie.expires
            missing = cookie is None
            soon = left is not None and left - self.clock() < self.early
            if now or missing or soon:
                skipped = self._refresh(session)
                if missing:
                    self.skipped = skipped
        return self.skipped

    def _refresh(self, session: BoundSession) -> str:
        for _ in range(_TURNS):
            headers = [("Sec-Secure-Session-Id", session.id)]
            if session.challenge is not None:
                if not self._may_sign():
                    return "quota_exceeded"
                headers.append(("Secure-Session-Response", make_jwt(session.key, session.challenge)))
                session.challenge = None
            try:
                response = self._send("POST", session.refresh_url, headers, b"")
            except OSError:
                return "unreachable"
            self._note_challenge(session, response)
            if response.status == 200:
                if response.body and self._said(response) is None:
                    del self.bindings[session.id]
                else:
                    self._check(session, response)
                return ""
            if response.status == 403 and session.challenge is not None:
                continue
            if 400 <= response.status < 500 and response.status not in _TRANSIENT:
                del self.bindings[session.id]
                return ""
            return "server_error"
        return "server_error"

    def _note_challenge(self, session: BoundSession, response: Response) -> None:
        value = response.get("Secure-Session-Challenge")
        if value is not None:
            challenge = re.match(r'"([^"]*)"', value)
            identifier = dict(_QUOTED.findall(value)).get("id", session.id)
            if challenge is None:
                message = f"a browser does not understand Secure-Session-Challenge: {value}"
                raise DbscError(message)
            if identifier == session.id:
                session.challenge = challenge[1]

    def _may_sign(self) -> bool:
        now = self.clock()
        recent = [at for at in self.signed if now - at < _QUOTA_SECONDS]
        if self.quota and len(recent) >= _SIGNATURES:
            return False
        self.signed.append(now)
        return True

    # --- cookies

    def _send(self, method: str, url: str, headers: HeaderPairs, body: bytes) -> Response:
        found = self._living(urlsplit(url).path)
        pairs = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in found)
        status, given, content = self.send(method, url, [*headers, *([("Cookie", pairs)] if pairs else [])], body)
        response = Response(status, [(name, value.strip()) for name, value in given], content)
        for name, value in response.headers:
            if name.lower() == "set-cookie":
                self._keep(value)
            elif name.lower() == "clear-site-data" and "cookies" in value:
                self.cookies.clear()
                self.bindings.clear()
        return response

    def _living(self, path: str) -> list[tuple[tuple[str, str], StoredCookie]]:
        now = self.clock()
        return [
            (place, cookie)
            for place, cookie in self.cookies.items()
            if (cookie.expires is None or cookie.expires > now) and _is_within(path, cookie.path)
        ]

    def _keep(self, line: str) -> None:
        pair, _, attributes = line.partition(";")
        name, _, value = pair.partition("=")
        given = {key.strip().lower(): text.strip() for key, _, text in map(_split, attributes.split(";"))}
        path = given.get("path", "/")
        age = given.get("max-age")
        if age is not None and int(age) <= 0:
            self.cookies.pop((name, path), None)
        else:
            expires = None if age is None else self.clock() + int(age)
            self.cookies[name, path] = StoredCookie(value, path, attributes, expires)


def _split(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _path(attributes: str) -> str:
    """The Path among attributes."""
    return next((part.strip()[5:] for part in attributes.split(";") if part.strip().lower().startswith("path=")), "/")


def _is_within(path: str, place: str) -> bool:
    """Whether a cookie of a Path goes along to a path (RFC 6265 5.1.4)."""
    return path == place or path.startswith(place.rstrip("/") + "/")


def _attributes(text: str) -> set[str]:
    parts = {part.strip().lower() for part in text.split(";") if part.strip()}
    return {part for part in parts if not part.startswith(("max-age", "expires"))}


def make_jwt(
    key: ec.EllipticCurvePrivateKey, challenge: str, *, authorization: str | None = None, registers: bool = False
) -> str:
    """The proof of a key, as Chromium writes it."""
    head: dict[str, Any] = {"alg": "ES256", "typ": "dbsc+jwt"}
    if registers:
        numbers = key.public_key().public_numbers()
        x, y = (values.encode_bytes(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        head["jwk"] = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    claims = {"jti": challenge, **({} if authorization is None else {"authorization": authorization})}
    signed = ".".join(values.encode_bytes(json.dumps(part).encode()) for part in (head, claims))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{values.encode_bytes(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


# --- ways to send


def wsgi(app: Callable[..., Iterable[bytes]], mount: str = "") -> Send:
    """Sends to a WSGI application in this process, at the beginning of paths that `mount` is."""
    import io

    def send(method: str, url: str, headers: HeaderPairs, body: bytes) -> tuple[int, HeaderPairs, bytes]:
        parts = urlsplit(url)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": mount,
            "PATH_INFO": parts.path.removeprefix(mount),
            "QUERY_STRING": parts.query,
            "SERVER_NAME": parts.hostname or "",
            "SERVER_PORT": str(parts.port or 443),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": parts.netloc,
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": parts.scheme,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers}
        started: list[tuple[str, HeaderPairs]] = []

        def start_response(status: str, headers: HeaderPairs, exc_info: Any = None) -> Callable[[bytes], object]:
            started[:] = [(status, headers)]
            return lambda data: None

        result = app(environ, start_response)
        try:
            content = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        status, given = started[0]
        return int(status[:3]), given, content

    return send


def http(timeout: float = 10) -> Send:
    """Sends over the network; https without looking at the certificate."""
    import ssl
    from http import client

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def send(method: str, url: str, headers: HeaderPairs, body: bytes) -> tuple[int, HeaderPairs, bytes]:
        parts = urlsplit(url)
        connection: client.HTTPConnection
        if parts.scheme == "https":
            connection = client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
        else:
            connection = client.HTTPConnection(parts.netloc, timeout=timeout)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        except client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    return send

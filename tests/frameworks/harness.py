"""What the tests of the frameworks share: the handlers' one logic, ways to reach an application, and a browser's cookies."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import re
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from hardtack.errors import StoreUnavailable
from hardtack.protocols import Entry, Tombstone, Version
from hardtack.stores.memory import MemoryStore

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

BIG = 5700  # characters: more than one cookie holds, and less than the 8 KB of headers that servers take

CDN_HEADERS = ("Surrogate-Control", "CDN-Cache-Control", "Fastly-CDN-Cache-Control", "X-LiteSpeed-Cache-Control")
"""Headers of a response that its Cache-Control has no say over, two of them by how their names end."""

TIMEOUT = 10.0  # seconds until a request that hangs fails its test


# --- what a handler does


@dataclass
class Reply:
    """What a handler answers; each framework's application makes its own response of it."""

    text: str = "ok"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    shared: bool = False
    """By the response that the application made once for everybody, where the framework lets it."""
    media: Any = None
    """What the framework shall make JSON of, after the handler has returned, where it does such."""


class HandlerError(Exception):
    """What the handler of `/fail` raises."""


class Script:
    """The handlers: `/<action>` or `/<action>-<key>`, the same in every framework.

    `/untouched-shared` and `/login-shared` return one response to everybody.

    A handler of `/slow-<key>` has loaded its session, says so, and waits for the gate before it writes. One of
    `/linger-<key>` does the same, but only reads; one of `/late-<action>` does anything.
    """

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.kept: Any = None
        """The session of the request that was for `/keep`."""

    def act(self, path: str, get_session: Callable[[], Any]) -> Reply:
        """What one request does. A request that leaves the session alone does not ask for it."""
        action, _, key = path.strip("/").partition("-")
        if action == "untouched":
            return Reply(shared=key == "shared")
        if action == "apology":
            with suppress(StoreUnavailable):
                get_session().get("n")
        session = get_session()
        if action in _WAITING:
            session.get("n")
            self._wait()
            action, key = _WAITING[action] or key, key
        reply: Reply = getattr(self, action)(session, key)
        return reply

    async def aact(self, path: str, get_session: Callable[[], Any]) -> Reply:
        """`act` for handlers that are coroutines: waiting must not block the others."""
        action, _, key = path.strip("/").partition("-")
        if action == "untouched":
            return Reply(shared=key == "shared")
        if action == "apology":
            with suppress(StoreUnavailable):
                (await _taken(get_session())).get("n")
        session = await _taken(get_session())
        if action in _WAITING:
            session.get("n")
            await asyncio.to_thread(self._wait)
            path = f"{_WAITING[action] or key}-{key}"
        return self.act(path, lambda: session)

    def _wait(self) -> None:
        self.entered.release()
        assert self.gate.wait(TIMEOUT)

    @staticmethod
    def named(session: Any, key: str) -> Reply:
        """It has asked for the session, and does not use it."""
        return Reply()

    @staticmethod
    def read(session: Any, key: str) -> Reply:
        return Reply(str(session.get(key, 0)))

    poll = read
    """By a page that polls: each site's settings say that requests for `/poll` are no activity of the user."""

    @staticmethod
    def write(session: Any, key: str) -> Reply:
        session[key] = session.get(key, 0) + 1
        return Reply()

    @staticmethod
    def basket(session: Any, key: str) -> Reply:
        session["basket"] = {"items": []}
        return Reply()

    @staticmethod
    def nested(session: Any, key: str) -> Reply:
        session["basket"]["items"].append(key)
        return Reply()

    @staticmethod
    def big(session: Any, key: str) -> Reply:
        session["big"] = "".join(f"{number:06d}" for number in range(BIG // 6))
        return Reply()

    @staticmethod
    def login(session: Any, key: str) -> Reply:
        session.login("ann")
        return Reply(shared=key == "shared")

    @staticmethod
    def logout(session: Any, key: str) -> Reply:
        session.logout()
        return Reply()

    @staticmethod
    def dump(session: Any, key: str) -> Reply:
        state = {"id": session.id, "subject": session.subject, "data": dict(session)}
        return Reply(json.dumps(state))

    @staticmethod
    def media(session: Any, key: str) -> Reply:
        return Reply(media=session)

    @staticmethod
    def flash(session: Any, key: str) -> Reply:
        session.flash(key)
        return Reply()

    @staticmethod
    def flashes(session: Any, key: str) -> Reply:
        return Reply(" ".join(str(flash.message) for flash in session.flashes()))

    @staticmethod
    def regenerate(session: Any, key: str) -> Reply:
        session.regenerate()
        return Reply()

    @staticmethod
    def fail(session: Any, key: str) -> Reply:
        session["failed"] = True
        raise HandlerError

    @staticmethod
    def quit(session: Any, key: str) -> Reply:
        """A logout, and then a mistake."""
        session.logout()
        raise HandlerError

    def unkept(self, session: Any, key: str) -> Reply:
        """Log out, and put in what cannot be kept."""
        session.logout()
        session["x"] = object()
        return Reply("gone")

    def crowd(self, session: Any, key: str) -> Reply:
        """A login that is one too many."""
        session.login("ann", at_most=1, beyond="refuse")
        return Reply("in")

    @staticmethod
    def broken(session: Any, key: str) -> Reply:
        """Something else is down, after a change or a logout."""
        if key == "logout":
            session.logout()
        else:
            session["failed"] = True
        raise StoreUnavailable("another store is down")

    def keep(self, session: Any, key: str) -> Reply:
        session[key] = 1
        self.kept = getattr(session, "_get_current_object", lambda: session)()  # Flask's is a proxy
        return Reply()

    @staticmethod
    def apology(session: Any, key: str) -> Reply:
        """A page about a store that was down at the first look, which shows who is logged in; `key` is its status."""
        return Reply(f"sorry, {session.get('n', 'stranger')}", status=int(key))

    @staticmethod
    def teapot(session: Any, key: str) -> Reply:
        session["teapot"] = 1
        return Reply("short and stout", status=418)

    @staticmethod
    def public(session: Any, key: str) -> Reply:
        session["public"] = 1
        own = dict.fromkeys(CDN_HEADERS, "max-age=60")
        return Reply(headers={"Cache-Control": "public, max-age=60", "Vary": "Accept", **own})


async def _taken(session: Any) -> Any:
    """A session, which some frameworks let one wait for."""
    return await session if asyncio.iscoroutine(session) else session


_WAITING = {"slow": "write", "linger": "read", "late": ""}
"""What a handler does once the gate is open; empty: what its path names."""


def polls(path: str) -> bool:
    """Whether a request for this path is no activity of the user."""
    return path.startswith("/poll")


# --- what comes back


@dataclass
class Answer:
    """A response: its status, its headers with lower-case names, its body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def set_cookies(self) -> list[str]:
        return self.all("set-cookie")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def tokens(self, name: str) -> set[str]:
        """The members of a header that is a list."""
        return {token.strip().lower() for token in ",".join(self.all(name)).split(",") if token.strip()}


Cookies = str | bytes | list[str] | None
"""A Cookie header, or the parts of one that was split, as HTTP/2 allows (RFC 9113 8.2.3)."""


Headers = Mapping[str, str]
"""What a request carries beside its cookies."""

NONE: Headers = {}


class Site(Protocol):
    """An application that can be asked."""

    def request(self, path: str, cookie: Cookies = None, method: str = "GET", headers: Headers = NONE) -> Answer: ...

    def close(self) -> None: ...


class Browser:
    """A visitor: keeps cookies of the whole host as responses set and clear them, and sends them, Secure or not."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}

    @property
    def header(self) -> str | None:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def post(self, path: str, headers: Headers = NONE) -> Answer:
        return self.send("POST", path, headers)

    def send(self, method: str, path: str, headers: Headers = NONE) -> Answer:
        answer = self.site.request(path, self.header, method, headers)
        self.take(answer)
        return answer

    def take(self, answer: Answer) -> None:
        for line in answer.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if is_elsewhere(line):
                continue
            if "max-age=0" in line.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def state(self) -> Any:
        """The session as the application sees it: id, subject, data."""
        return json.loads(self.get("/dump").text)


def is_elsewhere(line: str) -> bool:
    """Whether a Set-Cookie line is about a cookie of another domain or path than these applications' own."""
    attributes = [part.strip().lower() for part in line.split(";")[1:]]
    return any(part.startswith("domain=") or (part.startswith("path=") and part != "path=/") for part in attributes)


# --- ways to reach an application


def _parts(cookie: Cookies) -> list[bytes]:
    if cookie is None:
        return []
    return [part if isinstance(part, bytes) else part.encode("latin-1") for part in _listed(cookie)]


def _listed(cookie: str | bytes | list[str]) -> list[str] | list[bytes]:
    if isinstance(cookie, bytes):
        return [cookie]
    return [cookie] if isinstance(cookie, str) else cookie


class WSGISite:
    """A WSGI application, called as a server would."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(self, path: str, cookie: Cookies = None, method: str = "GET", headers: Headers = NONE) -> Answer:
        try:
            return self.call(path, cookie, method, headers)
        except Exception:
            return Answer(500, [], b"")

    def call(self, path: str, cookie: Cookies = None, method: str = "GET", headers: Headers = NONE) -> Answer:
        """`request`, where an exception of the application comes out."""
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if cookie is not None:
            environ["HTTP_COOKIE"] = "; ".join(part.decode("latin-1") for part in _parts(cookie))
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [int(status.split()[0]), [(name.lower(), value.strip()) for name, value in headers]]
            return io.BytesIO().write

        body = self.app(environ, start_response)
        try:
            content = b"".join(body)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        return Answer(started[0], started[1], content)

    def close(self) -> None:
        """Nothing runs."""


class Loop:
    """An event loop in a thread of its own, so that plain tests can ask async applications, several at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT)

    def close(self) -> None:
        async def stop() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.loop.shutdown_asyncgens()
            await self.loop.shutdown_default_executor()

        self.run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TIMEOUT)
        self.loop.close()


class ASGISite:
    """An ASGI application, called as a server would."""

    def __init__(self, app: Any, loop: Loop) -> None:
        self.app = app
        self.loop = loop

    def request(self, path: str, cookie: Cookies = None, method: str = "GET", headers: Headers = NONE) -> Answer:
        return self.loop.run(self.call(path, cookie, method, headers))

    async def call(self, path: str, cookie: Cookies = None, method: str = "GET", headers: Headers = NONE) -> Answer:
        path, _, query = path.partition("?")
        raw = [(b"host", b"localhost")]
        raw += [(b"cookie", part) for part in _parts(cookie)]
        raw += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": raw,
            "client": ("127.0.0.1", 50000),
            "server": ("localhost", 80),
        }
        asked = False
        finished = asyncio.Event()
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                await finished.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                finished.set()

        try:
            await self.app(scope, receive, send)
        except Exception:
            if not sent:
                return Answer(500, [], b"")
        start = sent[0]
        lines = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
        return Answer(start["status"], lines, b"".join(message.get("body", b"") for message in sent[1:]))

    def close(self) -> None:
        """Nothing runs."""


class HTTPSite:
    """A server on a port of this machine."""

    def __init__(self, port: int, stop: Callable[[], object]) -> None:
        self.port = port
        self.stop = stop

    def request(self, path: str, cookie: Cookies = None, method: str = "GET", headers: Headers = NONE) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.putrequest(method, path, skip_host=True)
            length = {} if method == "GET" else {"Content-Length": "0"}
            for name, value in {"Host": "localhost", **length, **headers}.items():
                connection.putheader(name, value)
            for part in _parts(cookie):
                connection.putheader("Cookie", part)
            connection.putheader("Connection", "close")
            connection.endheaders()
            response = connection.getresponse()
            lines = [(name.lower(), value) for name, value in response.getheaders()]
            return Answer(response.status, lines, response.read())
        finally:
            connection.close()

    def close(self) -> None:
        self.stop()


# --- a store that counts, and that can be down


class WatchedStore:
    """A `MemoryStore` that counts what is asked of it, and can be told to be down."""

    blocking = False

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.reads = 0
        self.writes = 0
        self.down: frozenset[str] = frozenset()
        """The methods that fail."""

    def _count(self, method: str) -> None:
        if method in self.down:
            raise StoreUnavailable("the store is down")
        if method == "get":
            self.reads += 1
        else:
            self.writes += 1

    def get(self, key: str) -> Entry | None:
        self._count("get")
        return self.inner.get(key)

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        self._count("put")
        return self.inner.put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        self._count("delete")
        return self.inner.delete(key, if_version=if_version)

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None = None,
    ) -> Version:
        self._count("rename")
        return self.inner.rename(
            old, new, data, expires_at=expires_at, if_version=if_version, subject=subject, tombstone=tombstone
        )

    def find(self, subject: str) -> list[str]:
        return list(self.inner.find(subject))

    def close(self) -> None:
        self.inner.close()


ALL_METHODS = frozenset({"get", "put", "delete", "rename"})


def in_background(call: Callable[[], T]) -> Callable[[], T]:
    """Start a call in another thread; what is returned waits for its result."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def wait() -> T:
        thread.join(TIMEOUT)
        if errors:
            raise errors[0]
        return results[0]

    return wait


def first_program(page: Path) -> str:
    """The first Python block of a page of the documentation."""
    block = re.search(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]

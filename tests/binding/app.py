"""The site that a real browser visits: `python -m tests.binding.app PORT ENGINE EVERY CERTIFICATE`.

Its pages tell what the server knows. `/control`, which no browser asks, tells what was asked, and lets answers fail or get
lost; each host is a site of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from hardtack import Cookie, CookieEngine, EndedSessions, Key, SessionManager, StoreEngine
from hardtack.binding import DeviceBinding
from hardtack.frameworks.wsgi import SessionMiddleware
from hardtack.stores.memory import MemoryStore

KEY = Key(bytes(range(32)))
IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


class Site:
    """The application, and what lies before it: what is asked is noted, and some answers are lost or fail."""

    def __init__(self, sessions: SessionManager, before: SessionManager) -> None:
        self.inner = SessionMiddleware(self.page, sessions)
        self.before = SessionMiddleware(self.page, before)
        """The deploy before, whose manager does not bind."""
        self.rolled_back: set[str] = set()
        """The hosts that are served by it."""
        self.seen: dict[str, list[Any]] = defaultdict(list)
        self.broken: dict[tuple[str, str], int] = {}
        """How many answers fail, by host and the end of the path; what fails is not asked."""
        self.lost: dict[tuple[str, str], int] = {}
        """How many answers are lost after they were made."""

    def page(self, environ: Any, start: Any) -> Iterable[bytes]:
        session = environ["hardtack.session"]
        path, _, argument = environ["PATH_INFO"].strip("/").partition("/")
        status, headers, body = "200 OK", [("Content-Type", "text/html; charset=utf-8")], b""
        if path == "login":
            session.login(argument or "alice", persistent=True)
            status, headers = "303 See Other", [("Location", "/images" if argument == "images" else "/")]
        elif path == "logout":
            session.logout()
        elif path == "image":
            session.get("count")
            headers = [("Content-Type", "image/png")]
            body = IMAGE
        elif path == "images":
            body = "".join(f'<img src="/image/{number}?{time.time()}">' for number in range(8)).encode()
        elif path == "count":
            session["count"] = session.get("count", 0) + 1
        elif path == "upload":
            size = len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
            body = f"<b>{size}</b>".encode()
        elif path == "prove":
            body = f"<b>{session.prove()}</b>".encode()
        known = f"<p>{session.subject} {session.binding} {session.get('count', 0)}</p>"
        start(status, headers)
        return [body + (known.encode() if headers[0][1] != "image/png" else b"")]

    def __call__(self, environ: Any, start: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/favicon.ico":
            start("404 Not Found", [])
            return [b""]
        host = environ["HTTP_HOST"].partition(":")[0]
        if path == "/control":
            asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self.broken.update({(host, end): times for end, times in asked.get("broken", {}).items()})
            self.lost.update({(host, end): times for end, times in asked.get("lost", {}).items()})
            if "rolled_back" in asked:
                (self.rolled_back.add if asked["rolled_back"] else self.rolled_back.discard)(host)
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self.seen.pop(host, [])).encode()]
        names = [pair.partition("=")[0].strip() for pair in environ.get("HTTP_COOKIE", "").split(";")]
        entry = [environ["REQUEST_METHOD"], path, environ.get("HTTP_SECURE_SESSION_SKIPPED", ""), 0, sorted(names)]
        self.seen[host].append(entry)
        end = path.rpartition("/")[2]
        if self.broken.get((host, end), 0) > 0:
            self.broken[host, end] -= 1
            entry[3] = 502
            start("502 Bad Gateway", [])
            return [b""]

        def noted(status: str, headers: Any, *rest: Any) -> Any:
            entry[3] = int(status[:3])
            return start(status, headers, *rest)

        inner = self.before if host in self.rolled_back else self.inner
        result = list(inner(environ, noted))
        if self.lost.get((host, end), 0) > 0:
            self.lost[host, end] -= 1
            raise ConnectionResetError
        return result


def main() -> None:
    """Serve until the process ends."""
    from tests.binding.serve import serve

    port, engine, every, certificate = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    cookie = Cookie() if certificate != "-" else Cookie.for_development()
    made = engines(engine)
    ended = EndedSessions.from_url("memory://") if engine == "cookie" else None
    sessions = SessionManager(made(), cookie=cookie, ended=ended, binding=DeviceBinding(every=every))
    serve(Site(sessions, SessionManager(made(), cookie=cookie, ended=ended)), port, certificate)


def engines(name: str) -> Callable[[], Any]:
    """Makes engines that share their sessions."""
    if name == "cookie":
        return lambda: CookieEngine(KEY)
    store = MemoryStore()
    return lambda: StoreEngine(store, seal=KEY)


if __name__ == "__main__":
    main()

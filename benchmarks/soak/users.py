"""Who uses the site: browsers that know what it has confirmed to them, and count where it says otherwise."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx

PAUSE = 0.2  # seconds between an answer and the next request
PATIENCE = 20  # seconds until a user gives up on an answer


class Way(Protocol):
    """How requests reach the site."""

    def ask(self, method: str, path: str, cookie: str) -> tuple[int, list[str], bytes]:
        """Status (0: there was no answer), the Set-Cookie lines, the body."""

    def close(self) -> None:
        """Close its connections."""


class Plain:
    """http/1.1, each request on a connection of its own, as most proxies make them."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, cookie: str) -> tuple[int, list[str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers={"Cookie": cookie, "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.headers.get_all("Set-Cookie", []), response.read()
        except (OSError, http.client.HTTPException):
            return 0, [], b""
        finally:
            connection.close()

    def close(self) -> None:
        pass


class Secure:
    """HTTP/2 over TLS, all requests on one connection, as a browser makes them. What is not HTTP/2 is an error."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.transport = httpx.HTTPTransport(
            verify=ssl.create_default_context(cafile=certificate), http1=False, http2=True
        )

    def ask(self, method: str, path: str, cookie: str) -> tuple[int, list[str], bytes]:
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), PATIENCE)
        headers = {"Cookie": cookie} if cookie else {}
        request = httpx.Request(method, self.url + path, headers=headers, extensions={"timeout": timeouts})
        try:
            response = self.transport.handle_request(request)
            body = response.read()
        except httpx.TransportError:
            return 0, [], b""
        if response.http_version != "HTTP/2":
            raise AssertionError(f"the site was to be asked by HTTP/2, and answered by {response.http_version}")
        return response.status_code, response.headers.get_list("Set-Cookie"), body

    def close(self) -> None:
        self.transport.close()


class Answer(NamedTuple):
    """What a user knows of one request."""

    when: float
    """On the monotonic clock."""
    status: int
    """0: there was none."""
    waited: float
    """Seconds."""


@dataclass
class User:
    """One browser: a cookie, and what the site has confirmed."""

    name: str
    way: Way
    cookie: str = ""
    confirmed: int = 0
    answers: list[Answer] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def ask(self, method: str, path: str) -> None:
        """One request, and a look at its answer."""
        began = time.monotonic()
        status, cookies, body = self.way.ask(method, path, self.cookie)
        for each in cookies:
            self.cookie = each.partition(";")[0]
        self.answers.append(Answer(ended := time.monotonic(), status, ended - began))
        if status == 200:
            self.look(json.loads(body), path)

    def look(self, answer: dict[str, Any], path: str) -> None:
        """Whether this is what this user may see."""
        if path.startswith("/login"):
            self.confirmed = 0
        if answer["user"] is None:
            self.faults["logged out"] += 1
        elif answer["user"] != self.name:
            self.faults["another's"] += 1
        elif answer["number"] < self.confirmed:
            self.faults["lost"] += 1
        self.confirmed = answer["number"]

    def stay(self, until: float) -> None:
        """By turns a write and a read, and in the end a write."""
        turn = 0
        while time.monotonic() < until:
            self.ask(*(("POST", "/add") if turn % 2 else ("GET", "/")))
            turn += 1
            time.sleep(PAUSE)
        self.ask("POST", "/add")

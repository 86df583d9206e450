"""What a list of ended sessions does among eight processes: how soon all refuse, what is asked of the channel, and a start.

    python -m benchmarks.ended_processes [ENDS [SECONDS [ENTRIES]]]

ENDS (1,000) sessions are ended in SECONDS (60) of load, evenly, each by one of eight processes in turn: on a file, PostgreSQL
and Redis. Each process goes on serving requests meanwhile, and asks for what is due until it refuses it. How long that took is
counted from when the call that ended it had returned to when the slowest of the eight refused it. Processes on few cores wait
for each other as well: "a request beside" says for how long one of that run waited for its plain answer. Then eight processes
begin at once with ENTRIES (300,000) in the channel: without a snapshot, and with one.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests import needs
from tests.servers import PostgreSQLServer, RedisServer

from hardtack import CookieEngine, EndedSessions, Key, Keyring, SessionManager
from hardtack.ended import Batch, Channel
from hardtack.ended.channels import open_channel
from hardtack.ended.entries import Codec, Session

KEY = Key(bytes(range(32)))
PROCESSES = 8
LOGINS = 20
PAUSE = 0.005  # seconds between the rounds of a process: eight of them share the machine


class Counted:
    """A channel that counts what the requests of this process ask of it; the list's own thread is none of them."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.alone = channel.alone
        self.during = ""
        self.asked: Counter[str] = Counter()

    def _count(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.asked[self.during] += 1

    def append(self, make: Any, keep: int | None) -> None:
        self._count()
        self.channel.append(make, keep)

    def read(self, position: str, wait: float) -> Batch:
        self._count()
        return self.channel.read(position, wait)

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        self._count()
        return self.channel.reset(old, new, entries)

    def close(self) -> None:
        self.channel.close()


def make_sessions(url: str, directory: str) -> tuple[SessionManager, Counted]:
    """A server of the site, and what counts."""
    counted = Counted(open_channel(url, ""))
    ended = EndedSessions(lambda purpose: counted, snapshots=directory)
    return SessionManager(CookieEngine(KEY), idle_timeout="2 hours", ended=ended), counted


def log_in(sessions: SessionManager, name: str) -> str:
    """The Cookie header of a login."""
    session = sessions.open()
    session.login(name)
    return sessions.commit(session).set_cookies[0].partition(";")[0]


# --- one of eight


class Server:
    """One process: ends what is its own, asks for what is due, and serves others meanwhile."""

    def __init__(self, url: str, directory: str, number: int) -> None:
        self.sessions, self.counted = make_sessions(url, directory)
        self.sessions.start()
        self.number = number
        self.done: Counter[str] = Counter()
        self.slowest = 0.0
        self.ended: dict[int, float] = {}
        self.refused: dict[int, float] = {}

    def serve(self, kind: str, call: Callable[[], Any]) -> Any:
        """One request, counted by its kind."""
        self.counted.during = kind
        self.done[kind] += 1
        began = time.monotonic()
        found = call()
        self.slowest = max(self.slowest, time.monotonic() - began)
        return found

    def end(self, number: int, header: str) -> None:
        """Log out with a session."""

        def log_out() -> None:
            session = self.sessions.open(header)
            session.logout()
            self.sessions.commit(session)

        self.serve("logout", log_out)
        self.ended[number] = time.time()

    def run(self, headers: list[str], bystander: str, begin: float, seconds: float) -> dict[str, Any]:
        """All of it; what became of each session."""
        step = seconds / len(headers)
        waiting, due, next_login = set[int](), 0, begin
        while due < len(headers) or waiting:
            now = time.time()
            while due < len(headers) and begin + due * step <= now:
                if due % PROCESSES == self.number:
                    self.end(due, headers[due])
                waiting.add(due)
                due += 1
            for number in sorted(waiting):
                header = headers[number]
                if self.serve("request", lambda header=header: self.sessions.open(header).subject) is None:
                    self.refused[number] = time.time()
                    waiting.discard(number)
            assert self.serve("request", lambda: self.sessions.open(bystander).subject) == "bystander"
            if now >= next_login:
                self.serve("login", lambda: log_in(self.sessions, "visitor"))
                next_login += seconds / LOGINS
            time.sleep(PAUSE)
        self.sessions.close()
        return {
            "ended": self.ended,
            "refused": self.refused,
            "done": self.done,
            "asked": self.counted.asked,
            "slowest": self.slowest,
        }


def run_worker(kind: str, url: str, directory: str, number: str) -> None:
    """`load`: say ready, read when to begin, and answer in JSON. `start`: begin, and say how long it took."""
    logging.getLogger("hardtack").setLevel(logging.ERROR)  # every refusal is one, and meant to be
    if kind == "start":
        sys.stdin.readline()
        began = time.monotonic()
        ended = EndedSessions.from_url(url, KEY, snapshots=directory)
        ended.bind(None, "", 14 * 86400, 7200)
        ended.start(timeout=600)
        print(json.dumps([time.monotonic() - began, ended.stats().sessions]), flush=True)
        sys.stdin.readline()
        ended.close()
        return
    server = Server(url, directory, int(number))
    print("ready", flush=True)
    begin, seconds, bystander = json.loads(sys.stdin.readline())
    headers = (Path(directory) / "headers").read_text().split("\n")
    print(json.dumps(server.run(headers, bystander, begin, seconds)), flush=True)


# --- all


def spawn(stack: ExitStack, kind: str, url: str, directory: str) -> list[subprocess.Popen[str]]:
    """Eight processes."""
    command = [sys.executable, "-m", "benchmarks.ended_processes", "worker", kind, url, directory]
    return [
        stack.enter_context(
            subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        for number in range(PROCESSES)
    ]


def say(processes: list[subprocess.Popen[str]], line: str) -> None:
    """The same to each."""
    for each in processes:
        assert each.stdin is not None
        each.stdin.write(line + "\n")
        each.stdin.flush()


def hear(processes: list[subprocess.Popen[str]]) -> list[str]:
    """A line of each."""
    return [each.stdout.readline() for each in processes if each.stdout is not None]


def measure_load(name: str, url: str, ends: int, seconds: float) -> float:
    """Print a line; the slowest refusal, in seconds."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        sessions, _ = make_sessions(url, directory)
        ended = sessions.core.ended
        assert ended is not None
        ended.create()
        headers = [log_in(sessions, f"user {number}") for number in range(ends)]
        bystander = log_in(sessions, "bystander")
        (Path(directory) / "headers").write_text("\n".join(headers))
        sessions.close()
        processes = spawn(stack, "load", url, directory)
        hear(processes)
        say(processes, json.dumps([time.time() + 1, seconds, bystander]))
        results = [json.loads(line) for line in hear(processes)]

    ended_at = {number: at for each in results for number, at in each["ended"].items()}
    waits = sorted(max(each["refused"][number] for each in results) - at for number, at in ended_at.items())
    assert len(waits) == ends
    done, asked = Counter[str](), Counter[str]()
    for each in results:
        done.update(each["done"])
        asked.update(each["asked"])
    print(
        f"{name}: {ends:,} ends in {seconds:.0f} s, refused by all {PROCESSES} after {statistics.median(waits) * 1e3:.0f} ms"
        f" (median), 99 % {waits[int(ends * 0.99)] * 1e3:.0f} ms, the slowest {waits[-1] * 1e3:.0f} ms;"
        f" a request beside took {max(each['slowest'] for each in results) * 1e3:.0f} ms at most"
    )
    per = ", ".join(f"{done[kind]:,} {kind}s {asked[kind]:,}" for kind in ("request", "login", "logout"))
    print(f"    asked of the channel, by {per}", flush=True)
    return waits[-1]


def measure_start(name: str, url: str, entries: int) -> None:
    """Print a line for eight that begin at once, twice."""
    channel, codec = open_channel(url, ""), Codec(Keyring(KEY), "")
    for _ in range(0, entries, 10_000):

        def make(now: int) -> list[bytes]:
            return [codec.seal(Session(now, os.urandom(8), os.urandom(16))) for _ in range(10_000)]

        channel.append(make, None)
    channel.close()
    with tempfile.TemporaryDirectory() as directory:
        for how in ("without a snapshot", "with one"):
            with ExitStack() as stack:
                processes = spawn(stack, "start", url, directory)
                say(processes, "")
                found = [json.loads(line) for line in hear(processes)]
                left = any(Path(directory).iterdir())
                say(processes, "")
            took = sorted(each[0] for each in found)
            print(
                f"{name}: {PROCESSES} processes begin at once with {found[0][1]:,} entries, {how}:"
                f" the first after {took[0]:.1f} s, the last after {took[-1]:.1f} s; a snapshot is left: {left}",
                flush=True,
            )


def main(ends: int = 1000, seconds: float = 60, entries: int = 300_000) -> None:
    """Measure on each channel, and print."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before this began", flush=True)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        urls = {"file": f"file://{directory}/ended"}
        for name, kind in (("PostgreSQL", PostgreSQLServer), ("Redis", RedisServer)):
            needs.allow(name.lower())
            server: Any = kind()
            stack.callback(server.remove)
            urls[name] = server.url
        for name, url in urls.items():
            measure_load(name, url, ends, seconds)
        measure_start("Redis", urls["Redis"], entries)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        run_worker(*sys.argv[2:])
    else:
        main(*(int(each) for each in sys.argv[1:]))

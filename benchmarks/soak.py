"""Ten minutes of an operator's bad days: each deployment under load while its servers fail, and what its users saw.

    python -m benchmarks.soak [SECONDS]        (or `make soak`; SECONDS of load for each row, 25 by default)

Every server is real and started for this run, on loopback. Twenty users log in; each then asks for something every 0.2 s,
by turns a write that counts and a read, and never before it has its answer. A fault comes after a fifth of the time, and what
it broke is well again after half of it. A user knows the number that was last confirmed: "lost" is an answer with a lower
one, "another's" an answer with another name, "logged out" one with none. Writes the table in `docs/operations.md`.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import redis
from tests import needs
from tests.servers import (
    MariaDBServer,
    MemcachedServer,
    PgBouncerServer,
    PostgreSQLServer,
    RedisCluster,
    RedisClusterNode,
    RedisServer,
    SentinelServer,
    free_port,
)

from hardtack import Key
from hardtack.stores import from_url

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
USERS = 20
PAUSE = 0.2
PATIENCE = 20  # seconds until a user gives up on an answer
Fault = Callable[["Site"], Callable[[], object]]
"""Breaks something, and returns what makes it well again."""


class DurableRedis(RedisServer):
    """Keeps what it has confirmed over its own end."""

    options: ClassVar[list[str]] = ["--appendonly", "yes", "--enable-debug-command", "local"]


class DurableNode(RedisClusterNode):
    """The same in a cluster."""

    options: ClassVar[list[str]] = [*RedisClusterNode.options, "--appendonly", "yes"]


class DurableCluster(RedisCluster):
    """Three masters that keep what they have confirmed."""

    node: ClassVar[type[RedisClusterNode]] = DurableNode


class ReplicatedRedis(DurableRedis):
    """A master, a replica of it, and a Sentinel that makes one of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.replica = DurableRedis()
        redis.Redis(port=self.replica.port).replicaof(self.host, self.port)
        self.sentinel = SentinelServer(self)
        while len(redis.Redis(port=self.sentinel.port).sentinel_slaves("main")) != 1:
            time.sleep(0.1)

    @property
    def site_url(self) -> str:
        return f"redis+sentinel://{self.host}:{self.sentinel.port}/main"

    def remove(self) -> None:
        for each in (self.sentinel, self.replica):
            each.remove()
        super().remove()


@dataclass
class User:
    """One browser: a cookie, and what the site has confirmed."""

    name: str
    cookie: str = ""
    confirmed: int = 0
    answers: list[tuple[float, int]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def ask(self, port: int, method: str, path: str) -> None:
        """One request, on a connection of its own, as the proxies make them."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        status = 0
        try:
            connection.request(method, path, headers={"Cookie": self.cookie, "Connection": "close"})
            response = connection.getresponse()
            body = response.read()
            status = response.status
            for each in response.headers.get_all("Set-Cookie", []):
                self.cookie = each.partition(";")[0]
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
            self.answers.append((time.monotonic(), status))
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

    def stay(self, port: int, until: float) -> None:
        """By turns a write and a read."""
        turn = 0
        while time.monotonic() < until:
            self.ask(port, *(("POST", "/add") if turn % 2 else ("GET", "/")))
            turn += 1
            time.sleep(PAUSE)


@dataclass
class Site:
    """A running deployment."""

    process: subprocess.Popen[bytes]
    port: int
    keys: Path
    store: Any

    def workers(self) -> list[int]:
        """The processes below the first one, or it alone."""
        found, waiting = [], [self.process.pid]
        while waiting:
            text = Path(f"/proc/{(pid := waiting.pop())}/task/{pid}/children").read_text()
            children = [int(each) for each in text.split()]
            found += children
            waiting += children
        return found or [self.process.pid]

    def memory(self) -> float:
        """Megabytes, of all processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.workers())
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def connections(self) -> int:
        """Sockets that these processes have open, but for those that they listen on or were asked on."""
        sockets = set()
        for pid in self.workers():
            with suppress(OSError):
                for each in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        sockets.add(os.readlink(each))
        established = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = f":{self.port:04X}"
        return sum(
            1
            for _, local, _, state, *rest in established
            if state == "01" and not local.endswith(ours) and f"socket:[{rest[5]}]" in sockets
        )


COMMANDS = {
    "gunicorn": "gunicorn --workers 2 --threads 8 --bind 127.0.0.1:{port} benchmarks.soak_site:application",
    "uWSGI": "uwsgi --master --processes 2 --threads 8 --enable-threads --die-on-term --need-app --disable-logging "
    "--http-socket 127.0.0.1:{port} --module benchmarks.soak_site:application --home {home} --pythonpath {root}",
    "uvicorn": "uvicorn --workers 2 --port {port} --log-level error benchmarks.soak_site:asgi",
    "hypercorn": "hypercorn --workers 2 --bind 127.0.0.1:{port} benchmarks.soak_site:asgi",
}


@contextmanager
def running(server: str, store: str, ended: str, servers: Any) -> Iterator[Site]:
    """The site under this server, until it answers."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hardtack-soak-") as folder:
        keys = Path(folder) / "keys.toml"
        command = [
            sys.executable,
            "-m",
            "hardtack",
            "keys",
            "init",
            str(keys),
            "--lifetime",
            "1 hour",
            "--spread",
            "2 seconds",
        ]
        subprocess.run(command, check=True, capture_output=True)
        places = {"port": port, "home": sys.prefix, "root": str(ROOT)}
        parts = COMMANDS[server].format(**places).split()
        kind = "asgi" if server in ("uvicorn", "hypercorn") else "wsgi"
        environment = {
            "SOAK_STORE": store,
            "SOAK_KEYS": str(keys),
            "SOAK_KIND": kind,
            "PYTHONPATH": f"{ROOT}:{ROOT}/src",
        }
        if ended:
            (key := Path(folder) / "ended.key").write_text(Key.generate().export())
            key.chmod(0o600)
            environment |= {"SOAK_ENDED": ended, "SOAK_ENDED_KEY": key.read_text()}
            create = [sys.executable, "-m", "hardtack", "ended", ended, "--create", "--key-file", str(key)]
            subprocess.run(create, check=True, capture_output=True)
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [f"{Path(sys.executable).parent}/{parts[0]}", *parts[1:]],
                env=os.environ | environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 60
            while True:
                probe = User("probe")
                probe.ask(port, "GET", "/")
                if probe.answers[-1][1] == 200:
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{server} did not start:\n{(Path(folder) / 'log').read_text()[-3000:]}")
                time.sleep(0.1)
            yield Site(process, port, keys, servers)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


# --- what goes wrong


def nothing(site: Site) -> Callable[[], object]:
    """For comparison."""
    return lambda: None


def killed(site: Site) -> Callable[[], object]:
    """The store's server is gone, and comes back with what it had."""
    site.store.stop()
    return lambda: site.store.start()


def frozen(site: Site) -> Callable[[], object]:
    """The store's server takes connections and does not answer."""
    held = site.store.frozen()
    held.__enter__()
    return lambda: held.__exit__(None, None, None)


def worker_killed(site: Site) -> Callable[[], object]:
    """SIGKILL for one worker, which its server starts again."""
    os.kill(site.workers()[-1], signal.SIGKILL)
    return lambda: None


def full(site: Site) -> Callable[[], object]:
    """Redis takes no more writes."""
    client = redis.Redis.from_url(site.store.url)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1mb")
    return lambda: client.config_set("maxmemory", "0")


def rotated(site: Site) -> Callable[[], object]:
    """A key is added and issues as soon as it may, on the running site."""

    def keys(what: str, *arguments: str) -> str:
        command = [sys.executable, "-m", "hardtack", "keys", what, str(site.keys), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    new = keys("add").split()[0]
    time.sleep(2.5)
    keys("issue", new)
    return lambda: keys("list")


def slots_moved(site: Site) -> Callable[[], object]:
    """A third of a master's slots go to another, keys and all, under load."""
    first, second, _ = site.store.nodes
    cli = needs.find_program("redis-cli", "valkey-cli")
    names = [redis.Redis(port=node.port).execute_command("CLUSTER MYID").decode() for node in (first, second)]
    options = ["--cluster-from", names[0], "--cluster-to", names[1], "--cluster-slots", "1800", "--cluster-yes"]
    moving = subprocess.Popen(
        [cli, "--cluster", "reshard", f"127.0.0.1:{first.port}", *options], stdout=subprocess.DEVNULL
    )

    def moved() -> None:
        assert moving.wait(60) == 0, "redis-cli could not move the slots"

    return moved


def master_killed(site: Site) -> Callable[[], object]:
    """One of three masters is gone, and comes back with what it had."""
    site.store.nodes[2].stop()
    return lambda: site.store.nodes[2].start()


# --- the rows


@dataclass
class Row:
    """A deployment and its fault."""

    server: str
    store: str
    fault: Fault
    ended: bool = False
    note: str = ""


ROWS = [
    Row("gunicorn", "redis", nothing),
    Row("gunicorn", "redis", killed),
    Row("gunicorn", "redis", frozen),
    Row("gunicorn", "redis", full),
    Row("gunicorn", "redis", worker_killed),
    Row("uvicorn", "redis", killed),
    Row("uvicorn", "redis", frozen),
    Row("gunicorn", "sentinel", killed),
    Row("uvicorn", "sentinel", killed),
    Row("gunicorn", "cluster", slots_moved),
    Row("gunicorn", "cluster", master_killed),
    Row("uvicorn", "cluster", master_killed),
    Row("gunicorn", "postgresql", killed),
    Row("uvicorn", "postgresql", killed),
    Row("hypercorn", "postgresql", frozen),
    Row("uvicorn", "pgbouncer", killed),
    Row("uWSGI", "mariadb", killed),
    Row("uWSGI", "sqlite", worker_killed),
    Row("uvicorn", "sqlite", worker_killed),
    Row("gunicorn", "memcached", killed, note="memcached keeps nothing over a restart"),
    Row("gunicorn", "cookie", rotated),
    Row("uvicorn", "cookie", worker_killed),
    Row("gunicorn", "cookie", killed, ended=True),
    Row("hypercorn", "cookie", rotated, ended=True),
]


@contextmanager
def stores(name: str, asynchronous: bool, *, ended: bool) -> Iterator[tuple[str, str, Any]]:
    """The URL of a store and of a list, and the server that can fail."""
    server: Any = None
    ended_url = ""
    if name == "cookie":
        url = "cookie"
        if ended:
            needs.allow("redis")
            server = DurableRedis()
            ended_url = server.url
    elif name == "sqlite":
        with tempfile.TemporaryDirectory(prefix="hardtack-soak-") as folder:
            yield f"sqlite:///{folder}/sessions.sqlite", "", None
        return
    else:
        needs.allow("redis" if name in ("cluster", "sentinel") else name)
        if name == "pgbouncer":
            needs.allow("postgresql")
            behind = PostgreSQLServer()
            server = PgBouncerServer(behind)
        else:
            server = {
                "redis": DurableRedis,
                "cluster": DurableCluster,
                "sentinel": ReplicatedRedis,
                "postgresql": PostgreSQLServer,
                "mariadb": MariaDBServer,
                "memcached": MemcachedServer,
            }[name]()
        url = getattr(server, "site_url", server.url)
        if name in ("postgresql", "pgbouncer", "mariadb"):
            store: Any = from_url(url)
            store.create_table()
            store.close()
        if asynchronous and name in ("postgresql", "pgbouncer"):
            url = server.async_url
    try:
        yield url, ended_url, server
    finally:
        if server is not None:
            server.remove()
        if name == "pgbouncer":
            behind.remove()


def soak(row: Row, seconds: float) -> str:
    """One row of the table."""
    asynchronous = row.server in ("uvicorn", "hypercorn")
    with (
        stores(row.store, asynchronous, ended=row.ended) as (url, ended, server),
        running(row.server, url, ended, server) as site,
    ):
        users = [User(f"user{number}") for number in range(USERS)]
        for each in users:
            each.ask(site.port, "POST", f"/login/{each.name}")
            each.answers.clear()
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=each.stay, args=(site.port, until)) for each in users]
        for thread in threads:
            thread.start()
        time.sleep(seconds / 5)
        before = site.memory(), site.connections()
        heal = row.fault(site)
        time.sleep(max(0.0, until - time.monotonic() - seconds / 2))
        heal()
        for thread in threads:
            thread.join()
        after = site.memory(), site.connections()
    return line(row, users, before, after)


def line(row: Row, users: list[User], before: tuple[float, int], after: tuple[float, int]) -> str:
    """What the users saw."""
    answers = sorted(answer for each in users for answer in each.answers)
    statuses = Counter(status for _, status in answers)
    bad = [when for when, status in answers if status != 200]
    faults: Counter[str] = sum((each.faults for each in users), Counter())
    told = ", ".join(
        f"{count} × {status or 'no answer'}"
        for status, count in sorted(statuses.items(), reverse=True)
        if status != 200
    )
    name = row.store + (" and a list on Redis" if row.ended else "")
    cells = [
        f"{row.server}, {name}",
        row.fault.__name__.replace("_", " "),
        f"{statuses[200]:,}",
        told or "none",
        f"{bad[-1] - bad[0]:.1f}" if bad else "0",
        *(f"{faults[each]}" for each in ("logged out", "another's", "lost")),
        f"{before[1]} → {after[1]}",
        f"{before[0]:.0f} → {after[0]:.0f}",
    ]
    if row.note:
        cells[1] += f" ({row.note})"
    return f"| {' | '.join(cells)} |"


HEAD = [
    "| deployment | fault | 200 | other answers | seconds from the first to the last of them | logged out | another's | lost "
    "| connections | MB |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def main(seconds: float = 25) -> None:
    """All rows, and the page."""
    began = time.monotonic()
    lines = []
    for row in ROWS:
        lines.append(soak(row, seconds))
        print(lines[-1], flush=True)
    took = (time.monotonic() - began) / 60
    rows = f"{len(ROWS)} rows of {seconds:g} s in {took:.0f} minutes, {os.cpu_count()} cores"
    table = "\n".join([f"`make soak`, {dt.datetime.now(dt.UTC):%Y-%m-%d}: {rows}.", "", *HEAD, *lines])
    before, mark, rest = PAGE.read_text("utf-8").partition("<!-- soak -->\n")
    end = rest[rest.index("<!-- /soak -->") :]
    PAGE.write_text(f"{before}{mark}\n{table}\n\n{end}", "utf-8")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))

"""The stores of the table: servers that keep what they have confirmed, and what they have beside them to fail with."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from tests import needs
from tests.servers import (
    MariaDBServer,
    MemcachedServer,
    PgBouncerServer,
    PostgreSQLServer,
    PostgreSQLStandby,
    RedisCluster,
    RedisClusterNode,
    RedisServer,
    SentinelServer,
)
from tests.stores.full_disk import fill
from tests.stores.switch import Switch

from hardtack.stores import from_url

WAIT = 30  # seconds


def wait_until(condition: Callable[[], bool]) -> None:
    """Until it is true, or a `TimeoutError`."""
    deadline = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


class DurableRedis(RedisServer):
    """Keeps what it has confirmed over its own end."""

    options: ClassVar[list[str]] = ["--appendonly", "yes"]


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
        wait_until(lambda: len(redis.Redis(port=self.sentinel.port).sentinel_slaves("main")) == 1)

    @property
    def site_url(self) -> str:
        return f"redis+sentinel://{self.host}:{self.sentinel.port}/main"

    def remove(self) -> None:
        for each in (self.sentinel, self.replica):
            each.remove()
        super().remove()


# --- two servers behind one address


class RedisBehindAnAddress:
    """A primary and its replica; the address leads to one of them, and connections that exist stay where they are."""

    def __init__(self) -> None:
        self.primary, self.replica = DurableRedis(), DurableRedis()
        client = redis.Redis(port=self.replica.port)
        client.replicaof(self.primary.host, self.primary.port)
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        self.address = Switch(self.primary.port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.address.port}/0"

    def fail_over(self) -> None:
        """As a managed service does for its upgrades: the primary is demoted, and the address follows a second later."""
        client = redis.Redis(port=self.replica.port)
        primary: Any = redis.Redis(port=self.primary.port)
        primary.execute_command("FAILOVER", "TO", "127.0.0.1", self.replica.port)
        wait_until(lambda: client.info("replication")["role"] == "master")
        time.sleep(1)
        self.address.target = self.replica.port

    def remove(self) -> None:
        self.address.close()
        for each in (self.primary, self.replica):
            each.remove()


class PostgreSQLBehindAnAddress:
    """The same with a standby that has what is confirmed, because the primary waits for it."""

    def __init__(self) -> None:
        self.primary = PostgreSQLServer()
        self.standby = PostgreSQLStandby(self.primary)
        with self._session(self.primary) as session:
            session.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            session.execute("SELECT pg_reload_conf()")
            query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            wait_until(lambda: session.execute(query).fetchone() == (1,))
        self.address = Switch(self.primary.port)

    @staticmethod
    def _session(server: PostgreSQLServer) -> Any:
        import psycopg  # which the newest Python may not have yet

        return psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True)

    @property
    def url(self) -> str:
        return self.primary.url.replace(f":{self.primary.port}/", f":{self.address.port}/")

    @property
    def async_url(self) -> str:
        return self.primary.async_url.replace(f":{self.primary.port}/", f":{self.address.port}/")

    def fail_over(self) -> None:
        """The primary is killed, a second later the standby is promoted, and then the address leads to it."""
        self.primary.stop()
        time.sleep(1)
        with self._session(self.standby) as session:
            session.execute("SELECT pg_promote()")
        self.address.target = self.standby.port

    def remove(self) -> None:
        self.address.close()
        for each in (self.standby, self.primary):
            each.remove()


# --- a small disk


class SmallDisk:
    """32 megabytes of memory on this directory, for a process that is started with it and those below."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        needs.allow("unshare")
        alone = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        mount = 'mount -t tmpfs -o size=32m tmpfs "$0" && cd "$0" && exec "$@"'
        self._prefix = [needs.find_program("unshare"), *alone, "sh", "-c", mount, str(directory)]
        if subprocess.run(self.wrap(["true"]), capture_output=True, check=False).returncode != 0:
            pytest.skip("not allowed here: to mount a small disk")

    def wrap(self, command: list[str]) -> list[str]:
        """The command on the disk."""
        return [*self._prefix, *command]

    def fill(self, pid: int) -> Callable[[], object]:
        """Leave no byte on the disk that this process has, and return what makes room again."""
        disk = f"/proc/{pid}/root{self.directory}"
        fill(disk)
        return lambda: os.unlink(f"{disk}/junk")


class RedisOnASmallDisk(DurableRedis):
    """Its append-only file is there."""

    def prepare(self) -> None:
        self.disk = SmallDisk(self.directory)

    def command(self) -> list[str]:
        return self.disk.wrap(super().command())

    def fill_disk(self, site: int) -> Callable[[], object]:
        """Redis' own disk."""
        assert self._process is not None
        return self.disk.fill(self._process.pid)


class SQLite:
    """A file, which the processes of the site have in common."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hardtack-soak-")
        self.directory = Path(self._folder.name)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.directory}/sessions.sqlite"

    def remove(self) -> None:
        self._folder.cleanup()


class SQLiteOnASmallDisk(SQLite):
    """The site is started with the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = SmallDisk(self.directory)
        self.wrap = self.disk.wrap

    def fill_disk(self, site: int) -> Callable[[], object]:
        """The site's disk."""
        return self.disk.fill(site)


# --- by name


@dataclass
class Store:
    """What the site is told, and the server that can fail."""

    url: str
    ended: str = ""
    server: Any = None


def _pgbouncer(stack: ExitStack) -> PgBouncerServer:
    behind = PostgreSQLServer()
    stack.callback(behind.remove)
    return PgBouncerServer(behind)


KINDS: dict[str, tuple[type[Any], list[str]]] = {
    "redis": (DurableRedis, ["redis"]),
    "redis on a small disk": (RedisOnASmallDisk, ["redis"]),
    "redis behind an address": (RedisBehindAnAddress, ["redis"]),
    "cluster": (DurableCluster, ["redis"]),
    "sentinel": (ReplicatedRedis, ["redis"]),
    "postgresql": (PostgreSQLServer, ["postgresql"]),
    "postgresql behind an address": (PostgreSQLBehindAnAddress, ["postgresql"]),
    "mariadb": (MariaDBServer, ["mariadb"]),
    "memcached": (MemcachedServer, ["memcached"]),
    "sqlite": (SQLite, []),
    "sqlite on a small disk": (SQLiteOnASmallDisk, []),
}
"""The servers, and what `tests.needs` must find for each."""


@contextmanager
def started(name: str, *, asynchronous: bool) -> Iterator[Store]:
    """The store of this name; `cookie and a list` has a list of ended sessions on Redis, and `cookie` nothing."""
    if name == "cookie":
        yield Store("cookie")
        return
    with ExitStack() as stack:
        if name == "pgbouncer":
            needs.allow("pgbouncer")
            needs.allow("postgresql")
            server: Any = _pgbouncer(stack)
        else:
            make, programs = KINDS["redis" if name == "cookie and a list" else name]
            for each in programs:
                needs.allow(each)
            server = make()
        stack.callback(server.remove)
        if name == "cookie and a list":
            yield Store("cookie", server.url, server)
            return
        url = getattr(server, "site_url", server.url)
        if url.startswith(("postgresql", "mysql")):
            store: Any = from_url(url)
            store.create_table()
            store.close()
        if asynchronous:
            url = getattr(server, "async_url", url)
        yield Store(url, server=server)

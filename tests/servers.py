"""Real Redis, Memcached, PostgreSQL and MariaDB for the tests: started on a free port, in a temporary directory."""

from __future__ import annotations

import atexit
import datetime as dt
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.needs import find_program

START_TIMEOUT = 60


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def unprivileged_user(*names: str) -> str | None:
    """The first of these users that exists, if we are root: some servers refuse to run as root."""
    if os.geteuid() != 0:
        return None
    import pwd  # not on Windows

    users = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in (*names, "nobody") if name in users)


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def certify(directory: Path, host: x509.GeneralName = LOOPBACK) -> None:
    """A certificate that signs itself, and its key: `certificate.pem` and `key.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(private)


class Server(ABC):
    """A server process with a directory and a port of its own, which may be stopped and started again."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hardtack-server-", dir="/tmp"))
        self.port = free_port()
        self.user: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)  # also where a test fails before it stops its server
        self.prepare()
        self.start()

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for `hardtack.stores.from_url`."""

    @abstractmethod
    def command(self) -> list[str]:
        """The server's command line; it stays in the foreground."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what the server needs before its first start."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers."""

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            self.command(), stdout=log, stderr=log, user=self.user, cwd=self.directory, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + START_TIMEOUT
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{self.command()[0]} did not start:\n{(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server at once. Its data stay where it keeps them on the disk."""
        if self._process is not None:
            self._process.send_signal(getattr(signal, self.stop_signal))
            self._process.wait(timeout=START_TIMEOUT)
            self._process = None

    stop_signal: ClassVar[str] = "SIGTERM"  # by name: Windows lacks some

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Meanwhile the server is stopped."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Meanwhile the server is stopped in its tracks: the system accepts connections, and nothing answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            state = Path(f"/proc/{self._process.pid}/stat")
            while state.read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop the server and delete its directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run_as_server(self, *command: str) -> None:
        """Run a program that prepares the directory, as the server's user."""
        result = subprocess.run(command, user=self.user, cwd=self.directory, capture_output=True, check=False)
        if result.returncode != 0:
            pytest.fail(f"{command[0]} failed:\n{result.stdout.decode()}{result.stderr.decode()}")

    def answers(self, question: bytes, answer: bytes) -> bool:
        """Whether a TCP connection that sends `question` is sent something that begins with `answer`."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(question)
                return connection.recv(64).startswith(answer)
        except OSError:
            return False


class RedisServer(Server):
    """redis-server or valkey-server, without persistence."""

    options: ClassVar[list[str]] = []

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def command(self) -> list[str]:
        program = find_program("redis-server", "valkey-server")
        return [program, "--port", str(self.port), "--bind", self.host, "--save", "", *self.options]

    def ready(self) -> bool:
        return self.answers(b"PING\r\n", b"+PONG")


class SentinelServer(Server):
    """A Redis Sentinel that watches one master."""

    def __init__(self, master: RedisServer) -> None:
        self.master = master
        super().__init__()

    @property
    def url(self) -> str:
        return ""

    def prepare(self) -> None:
        (self.directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind {self.host}\nsentinel monitor main {self.master.host} {self.master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\n"
        )

    def command(self) -> list[str]:
        return [find_program("redis-server", "valkey-server"), "sentinel.conf", "--sentinel"]

    def ready(self) -> bool:
        return self.answers(b"PING\r\n", b"+PONG")


class RedisClusterNode(RedisServer):
    """One node of a Redis Cluster."""

    options: ClassVar[list[str]] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]

    def command(self) -> list[str]:
        return [*super().command(), "--cluster-port", str(self.bus_port)]

    def prepare(self) -> None:
        self.bus_port = free_port()


class RedisCluster:
    """Three masters, no replicas."""

    node: ClassVar[type[RedisClusterNode]] = RedisClusterNode

    def __init__(self) -> None:
        self.nodes = [self.node() for _ in range(3)]
        addresses = [f"{node.host}:{node.port}" for node in self.nodes]
        self.nodes[0].run_as_server(
            find_program("redis-cli", "valkey-cli"),
            *("--cluster", "create", *addresses, "--cluster-replicas", "0", "--cluster-yes"),
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not all(node.answers(b"CLUSTER INFO\r\n", b"$") and self._ok(node) for node in self.nodes):
            assert time.monotonic() < deadline, "the Redis Cluster did not come up"
            time.sleep(0.1)

    @staticmethod
    def _ok(node: RedisServer) -> bool:
        with socket.create_connection((node.host, node.port), timeout=1) as connection:
            connection.sendall(b"CLUSTER INFO\r\n")
            return b"cluster_state:ok" in connection.recv(4096)

    @property
    def url(self) -> str:
        """The URL for `hardtack.stores.from_url`."""
        return f"redis+cluster://{self.nodes[0].host}:{self.nodes[0].port}"

    def remove(self) -> None:
        """Stop the nodes and delete their directories."""
        for node in self.nodes:
            node.remove()


class MemcachedServer(Server):
    """memcached, with its default limit of 1 MB an item."""

    def prepare(self) -> None:
        self.user = None  # it drops root itself, with -u

    @property
    def url(self) -> str:
        return f"memcached://{self.host}:{self.port}"

    def command(self) -> list[str]:
        command = [find_program("memcached"), "-l", self.host, "-p", str(self.port), "-m", "64"]
        user = unprivileged_user("memcache")
        return command if user is None else [*command, "-u", user]

    def ready(self) -> bool:
        return self.answers(b"version\r\n", b"VERSION")


class PostgreSQLServer(Server):
    """PostgreSQL, with trust authentication on the loopback interface."""

    stop_signal = "SIGQUIT"  # without waiting for its clients

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://hardtack@{self.host}:{self.port}/postgres"

    @property
    def async_url(self) -> str:
        """The same for an async driver."""
        return self.url.replace("psycopg", "asyncpg")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Meanwhile it is stopped in its tracks, and so are its processes for each connection, which have left its group."""
        with super().frozen():
            assert self._process is not None
            stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
            fields = {int(stat.split()[0]): stat.rpartition(")")[2].split() for stat in stats}
            children = [process for process, (_, parent, *_) in fields.items() if int(parent) == self._process.pid]
            for process in children:
                os.kill(process, signal.SIGSTOP)
            try:
                yield
            finally:
                for process in children:
                    os.kill(process, signal.SIGCONT)

    def prepare(self) -> None:
        self.user = unprivileged_user("postgres")
        if self.user is not None:
            shutil.chown(self.directory, self.user)
        data = str(self.directory / "data")
        options = ["--username=hardtack", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self.run_as_server(find_program("initdb"), "-D", data, *options)

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [find_program("postgres"), "-D", str(self.directory / "data"), *options]

    def ready(self) -> bool:
        program = find_program("pg_isready")
        command = [program, "-q", "-h", self.host, "-p", str(self.port), "-U", "hardtack", "-d", "postgres"]
        return subprocess.run(command, check=False).returncode == 0


class PostgreSQLStandby(PostgreSQLServer):
    """A copy of a server that follows it."""

    def __init__(self, primary: PostgreSQLServer) -> None:
        self.primary = primary
        super().__init__()

    def prepare(self) -> None:
        self.user = unprivileged_user("postgres")
        if self.user is not None:
            shutil.chown(self.directory, self.user)
        source = ["-h", self.primary.host, "-p", str(self.primary.port), "-U", "hardtack"]
        self.run_as_server(
            find_program("pg_basebackup"), *source, "-D", str(self.directory / "data"), "-R", "-c", "fast", "--no-sync"
        )


class PgBouncerServer(Server):
    """pgbouncer in transaction mode: each transaction may go to another of four connections to PostgreSQL."""

    def __init__(self, postgresql: PostgreSQLServer) -> None:
        self.postgresql = postgresql
        super().__init__()

    @property
    def url(self) -> str:
        return self.postgresql.url.replace(f":{self.postgresql.port}/", f":{self.port}/")

    @property
    def async_url(self) -> str:
        """The same for an async driver."""
        return self.url.replace("psycopg", "asyncpg")

    def prepare(self) -> None:
        self.user = unprivileged_user("postgres")
        if self.user is not None:
            shutil.chown(self.directory, self.user)
        (self.directory / "users").write_text('"hardtack" ""\n')
        (self.directory / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"postgres = host={self.host} port={self.postgresql.port} dbname=postgres user=hardtack\n"
            "[pgbouncer]\n"
            f"listen_addr = {self.host}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\nauth_file = {self.directory / 'users'}\n"
            "pool_mode = transaction\ndefault_pool_size = 4\n"
        )

    def command(self) -> list[str]:
        return [find_program("pgbouncer"), "-q", str(self.directory / "pgbouncer.ini")]

    def ready(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True


class MariaDBServer(Server):
    """MariaDB or MySQL, with a user `hardtack` who needs no password, and a user `application` who has no special rights."""

    stop_signal = "SIGKILL"  # InnoDB recovers; a shutdown takes its time

    @property
    def url(self) -> str:
        return f"mysql+pymysql://hardtack@{self.host}:{self.port}/test"

    @property
    def async_url(self) -> str:
        """The same for an async driver."""
        return self.url.replace("pymysql", "asyncmy")

    def prepare(self) -> None:
        self.user = unprivileged_user("mysql")
        if self.user is not None:
            shutil.chown(self.directory, self.user)
        (self.directory / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS test;\n"
            "CREATE USER IF NOT EXISTS hardtack@'127.0.0.1';\n"
            "GRANT ALL ON *.* TO hardtack@'127.0.0.1';\n"
            "CREATE USER IF NOT EXISTS application@'127.0.0.1';\n"
            "GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO application@'127.0.0.1';\n"
        )
        options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        self.run_as_server(find_program("mariadb-install-db"), *options, f"--datadir={self.directory / 'data'}")

    def command(self) -> list[str]:
        return [
            find_program("mariadbd", "mysqld"),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--init-file={self.directory / 'init.sql'}",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--skip-ssl",  # 11.4 makes itself a certificate, and a proxy of the tests could not see what it passes on
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=32M",
        ]

    def ready(self) -> bool:
        import pymysql

        try:
            pymysql.connect(host=self.host, port=self.port, user="hardtack", database="test", connect_timeout=1).close()
        except pymysql.MySQLError:
            return False
        return True

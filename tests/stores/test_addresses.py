"""Where a URL can say that a server is: a Unix socket, an IPv6 address, behind Sentinels, over TLS, a node of a Cluster."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.servers import MemcachedServer, RedisCluster, RedisServer, SentinelServer, certify

from hardtack.errors import StoreUnavailable
from hardtack.stores import from_url
from hardtack.testing.stores import create, in_an_hour, new_key, read

pytestmark = [pytest.mark.program(name) for name in ("redis", "memcached")]


class RedisOnASocket(RedisServer):
    """redis-server that listens on a Unix socket as well."""

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/redis.sock"

    def command(self) -> list[str]:
        return [*super().command(), "--unixsocket", "redis.sock"]


class RedisOnIPv6(RedisServer):
    """redis-server on the loopback address of IPv6."""

    host = "::1"

    @property
    def url(self) -> str:
        return f"redis://[::1]:{self.port}/1"


class RedisOverTLS(RedisServer):
    """redis-server that speaks TLS only."""

    def prepare(self) -> None:
        self.plain_port = self.port
        certify(self.directory)

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={self.directory}/certificate.pem"

    def command(self) -> list[str]:
        command = super().command()
        command[command.index("--port") + 1] = "0"
        files = [
            "--tls-cert-file",
            "certificate.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-ca-cert-file",
            "certificate.pem",
        ]
        return [*command, "--tls-port", str(self.port), *files, "--tls-auth-clients", "no"]

    def ready(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True


class MemcachedOnASocket(MemcachedServer):
    """memcached on a Unix socket alone."""

    def prepare(self) -> None:
        super().prepare()
        self.directory.chmod(0o777)  # for the user that it becomes

    @property
    def url(self) -> str:
        return f"memcached+unix://{self.directory}/memcached.sock"

    def command(self) -> list[str]:
        command = super().command()
        start = command.index("-l")
        return [*command[:start], *command[start + 4 :], "-s", f"{self.directory}/memcached.sock", "-a", "777"]

    def ready(self) -> bool:
        return (self.directory / "memcached.sock").exists()


class MemcachedOnIPv6(MemcachedServer):
    """memcached on the loopback address of IPv6."""

    host = "::1"

    @property
    def url(self) -> str:
        return f"memcached://[::1]:{self.port}"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A server of the kind that the test asks for."""
    kind = request.param
    if kind.host == "::1":
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    server = kind()
    yield server
    server.remove()


KINDS = [RedisOnASocket, RedisOnIPv6, RedisOverTLS, MemcachedOnASocket, MemcachedOnIPv6]


@pytest.mark.parametrize("server", KINDS, indirect=True)
def test_a_server_is_reached_by_its_url(server: Any) -> None:
    """By the sync store and by the async one."""
    store: Any = from_url(server.url)
    key = new_key()

    version = create(store, key, b"by its URL")

    assert read(store, key).version == version
    store.close()

    async def main() -> bytes:
        store: Any = from_url(server.url, asynchronous=True)
        entry = await store.get(key)
        await store.put(key, b"", expires_at=in_an_hour(), if_version=entry.version, subject=None)
        await store.close()
        data: bytes = entry.data
        return data

    assert asyncio.run(main()) == b"by its URL"


@pytest.mark.parametrize("server", [RedisOverTLS], indirect=True)
def test_a_certificate_that_nobody_vouches_for_is_refused(server: Any) -> None:
    """TLS that is not told otherwise checks whom it speaks to."""
    store: Any = from_url(server.url.partition("?")[0])

    with pytest.raises(StoreUnavailable):
        store.get("key")
    store.close()


def test_a_master_is_found_by_its_sentinels(redis_server: RedisServer) -> None:
    """The first of them may be down; sync and async."""
    sentinel = SentinelServer(redis_server)
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main/3"
    store: Any = from_url(url)
    key = new_key()
    create(store, key)

    async def main() -> bool:
        store: Any = from_url(url, asynchronous=True)
        found = await store.get(key) is not None
        await store.close()
        return found

    assert asyncio.run(main())
    assert store._client.connection_pool.connection_kwargs["db"] == 3
    store.close()
    sentinel.remove()


def test_a_service_that_the_sentinels_do_not_know_is_unavailable(redis_server: RedisServer) -> None:
    """As one whose master is down."""
    sentinel = SentinelServer(redis_server)
    store: Any = from_url(f"redis+sentinel://127.0.0.1:{sentinel.port}/other")

    with pytest.raises(StoreUnavailable, match="MasterNotFoundError"):
        store.get("key")
    store.close()
    sentinel.remove()


def test_a_cluster_is_found_by_any_of_its_nodes() -> None:
    """The first that is named may be down."""
    cluster = RedisCluster()
    store: Any = from_url(f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.nodes[1].port}")
    key = new_key()

    create(store, key)

    assert read(store, key).data == b"data"
    store.close()
    cluster.remove()

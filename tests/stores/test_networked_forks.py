"""A fork under stores on a network: parent and children must never read each other's answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers import MemcachedServer, RedisCluster, RedisServer
from tests.stores.test_redis import SentinelServer

PROGRAM = str(Path(__file__).with_name("forking.py"))


def fork(kind: str, where: object) -> None:
    """Run the program; it must find nothing wrong."""
    result = subprocess.run([sys.executable, PROGRAM, kind, str(where)], capture_output=True, text=True, timeout=60)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("kind", ["redis_client", "redis_single", "redis_blocking", "async_redis_client"])
def test_a_redis_client_is_not_shared_with_the_children(redis_server: RedisServer, kind: str) -> None:
    """Whatever pool it has, and where it has one connection only."""
    fork(kind, redis_server.port)


def test_a_sentinel_client_is_not_shared_with_the_children(redis_server: RedisServer) -> None:
    """Neither its connections to the master nor those to the Sentinels."""
    sentinel = SentinelServer(redis_server)
    try:
        fork("redis_sentinel", sentinel.port)
    finally:
        sentinel.remove()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters."""
    cluster = RedisCluster()
    yield cluster
    cluster.remove()


@pytest.mark.parametrize("kind", ["redis_cluster", "by_url", "async_by_url"])
def test_a_cluster_is_not_shared_with_the_children(cluster: RedisCluster, kind: str) -> None:
    """The connections to no node are."""
    fork(kind, cluster.url if kind.endswith("url") else cluster.nodes[0].port)


@pytest.mark.parametrize("kind", ["memcached_client", "memcached_pooled", "memcached_hash", "async_memcached_client"])
def test_a_memcached_client_is_not_shared_with_the_children(memcached_server: MemcachedServer, kind: str) -> None:
    """Each of the three kinds of pymemcache, and that of aiomcache."""
    fork(kind, memcached_server.port)


@pytest.mark.parametrize("kind", ["by_url", "async_by_url"])
@pytest.mark.parametrize("server", ["redis_server", "memcached_server"])
def test_a_store_from_a_url_is_not_shared_with_the_children(
    request: pytest.FixtureRequest, kind: str, server: str
) -> None:
    """Nor what the store itself has opened."""
    made: Any = request.getfixturevalue(server)

    fork(kind, made.url)

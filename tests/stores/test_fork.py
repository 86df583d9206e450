"""Every store, used before a fork: no child is ever answered what another one asked for.

Not the memory store: each process has its own, and nothing is shared but what was there before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers import MemcachedServer, RedisCluster, RedisServer, SentinelServer

from hardtack.stores import from_url

pytestmark = [pytest.mark.program(name) for name in ("postgresql", "mariadb", "redis", "memcached")]

STORES: dict[str, tuple[str, str, str]] = {
    "file": ("file", "", ""),
    "sqlite": ("sqlite", "", ""),
    "pysqlite": ("sqlalchemy", "sqlite+pysqlite", "engine"),
    "aiosqlite": ("sqlalchemy", "sqlite+aiosqlite", "engine"),
    "psycopg": ("postgresql", "postgresql+psycopg", "engine"),
    "psycopg2": ("postgresql", "postgresql+psycopg2", "engine"),
    "asyncpg": ("postgresql", "postgresql+asyncpg", "engine"),
    "pymysql": ("mariadb", "mysql+pymysql", "engine"),
    "aiomysql": ("mariadb", "mysql+aiomysql", "engine"),
    "asyncmy": ("mariadb", "mysql+asyncmy", "engine"),
    "redis": ("redis", "", "redis"),
    "async redis": ("redis", "", "redis"),
    "memcached": ("memcached", "", "PooledClient"),
    "async memcached": ("memcached", "", "aiomcache"),
}
"""A store or driver: where its entries are, the scheme of its URL where it is another, and the client that it may be given."""

ASYNC = ("aiosqlite", "asyncpg", "aiomysql", "asyncmy", "async redis", "async memcached")


def put_users(url: str) -> None:
    """Leave the entries of five users in a store."""
    store: Any = from_url(url)
    if hasattr(store, "create_table"):
        store.create_table()
    for number in range(5):
        store.delete(f"user{number}")
        in_an_hour = int(time.time()) + 3600
        store.put(f"user{number}", b"user%d" % number, expires_at=in_an_hour, if_version=None, subject=None)
    store.close()


def url_with_users(place: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of a store with the entries of five users."""
    if place in ("file", "sqlite"):
        url = f"{'sqlite:///' if place == 'sqlite' else 'file://'}{directory / 'sessions'}"
    elif place == "sqlalchemy":
        url = f"sqlite+pysqlite:///{directory / 'sessions'}"
    else:
        url = request.getfixturevalue(f"{place}_server").url
    put_users(url)
    return url


def read_in_children(url: str, kind: str, *client: str) -> None:
    """Run the program: each reads often, and nothing else than its own."""
    command = [sys.executable, "-m", "tests.stores.forking", url, kind, *filter(None, client)]

    result = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found.pop("reads") > 20
    assert found == {}


@pytest.mark.parametrize(
    ("given", "fork"),
    [(False, "python"), (False, "c"), (True, "python")],
    ids=["by url", "by url, fork in C", "given a client"],
)
@pytest.mark.parametrize("name", STORES)
def test_children_read_their_own(
    name: str, given: bool, fork: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """By `os.fork`, and by a server in C that does not tell Python; with a client of the store's own, and a given one."""
    place, scheme, client = STORES[name]
    if given and not client:
        pytest.skip("it takes no client")
    if name == "psycopg2":
        pytest.importorskip(name)
    url = url_with_users(place, request, tmp_path)
    if scheme:
        url = f"{scheme}:{url.partition(':')[2]}"

    read_in_children(url, f"{'async' if name in ASYNC else 'sync'} {fork}", client if given else "")


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("client", ["redis single", "redis blocking"])
def test_children_read_their_own_by_any_pool_of_redis(redis_server: RedisServer, client: str, kind: str) -> None:
    """Also where there is one connection only."""
    put_users(redis_server.url)

    read_in_children(redis_server.url, f"{kind} c", client)


@pytest.mark.parametrize("client", ["Client", "HashClient"])
def test_children_read_their_own_by_any_client_of_pymemcache(memcached_server: MemcachedServer, client: str) -> None:
    """Each of its kinds."""
    put_users(memcached_server.url)

    read_in_children(memcached_server.url, "sync c", client)


@pytest.fixture(scope="module")
def sentinel(redis_server: RedisServer) -> Iterator[SentinelServer]:
    """A Sentinel of the server."""
    sentinel = SentinelServer(redis_server)
    yield sentinel
    sentinel.remove()


@pytest.mark.parametrize("given", ["", "redis sentinel"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_children_read_their_own_behind_a_sentinel(
    redis_server: RedisServer, sentinel: SentinelServer, kind: str, given: str
) -> None:
    """Neither the connections to the master nor those to the Sentinels are shared."""
    put_users(redis_server.url)

    read_in_children(f"redis+sentinel://{sentinel.host}:{sentinel.port}/main", f"{kind} python", given)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters."""
    cluster = RedisCluster()
    yield cluster
    cluster.remove()


@pytest.mark.parametrize(("kind", "given"), [("sync", ""), ("async", ""), ("sync", "redis cluster")])
def test_children_read_their_own_of_a_cluster(cluster: RedisCluster, kind: str, given: str) -> None:
    """The connections to no node are shared."""
    put_users(cluster.url)

    read_in_children(cluster.url, f"{kind} c", given)

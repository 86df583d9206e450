"""A server that uses its store, and forks its workers then: each must read its own user, and nobody else.

    python -m tests.stores.forking URL python|c [client]

The entries `user0` to `user4` hold their own names. Four children read one each for a second, and so does the parent;
with the name of a client of `CLIENTS` the store is given that one, and does not make its own. It prints what else they got.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.kit import fork

from hardtack.stores import from_url

SECONDS = 1.0
CHILDREN = 4


def _redis(asynchronous: bool, *, blocking: bool = False, **settings: Any) -> Any:
    import redis
    import redis.asyncio

    from hardtack.stores.redis import AsyncRedisStore, RedisStore

    package: Any = redis.asyncio if asynchronous else redis
    store: Any = AsyncRedisStore if asynchronous else RedisStore
    if blocking:
        return store(package.Redis(connection_pool=package.BlockingConnectionPool(**settings, timeout=5)))
    return store(package.Redis(**settings))


def _sentinel(host: str, port: int, asynchronous: bool) -> Any:
    import redis.asyncio.sentinel
    import redis.sentinel

    from hardtack.stores.redis import AsyncRedisStore, RedisStore

    package: Any = redis.asyncio.sentinel if asynchronous else redis.sentinel
    client = package.Sentinel([(host, port)], socket_timeout=5).master_for("main", socket_timeout=5)
    return AsyncRedisStore(client) if asynchronous else RedisStore(client)


def _cluster(host: str, port: int, asynchronous: bool) -> Any:
    import redis

    from hardtack.stores.redis import RedisStore

    return RedisStore(redis.RedisCluster(host=host, port=port))


def _memcached(place: tuple[str, int], kind: str) -> Any:
    import pymemcache  # type: ignore[import-untyped]

    from hardtack.stores.memcached import MemcachedStore

    return MemcachedStore(getattr(pymemcache, kind)([place] if kind == "HashClient" else place))


def _aiomcache(host: str, port: int) -> Any:
    import aiomcache

    from hardtack.stores.memcached import AsyncMemcachedStore

    return AsyncMemcachedStore(aiomcache.Client(host, port))


def _sqlalchemy(url: str) -> Any:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import create_async_engine

    from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, is_async

    return AsyncSQLAlchemyStore(create_async_engine(url)) if is_async(url) else SQLAlchemyStore(sa.create_engine(url))


CLIENTS: dict[str, Callable[[str, str, int, bool], Any]] = {
    "engine": lambda url, host, port, asynchronous: _sqlalchemy(url),
    "redis": lambda url, host, port, asynchronous: _redis(asynchronous, host=host, port=port),
    "redis single": lambda url, host, port, asynchronous: _redis(
        asynchronous, host=host, port=port, single_connection_client=True
    ),
    "redis blocking": lambda url, host, port, asynchronous: _redis(asynchronous, blocking=True, host=host, port=port),
    "redis sentinel": lambda url, host, port, asynchronous: _sentinel(host, port, asynchronous),
    "redis cluster": lambda url, host, port, asynchronous: _cluster(host, port, asynchronous),
    "Client": lambda url, host, port, asynchronous: _memcached((host, port), "Client"),
    "PooledClient": lambda url, host, port, asynchronous: _memcached((host, port), "PooledClient"),
    "HashClient": lambda url, host, port, asynchronous: _memcached((host, port), "HashClient"),
    "aiomcache": lambda url, host, port, asynchronous: _aiomcache(host, port),
}
"""Stores on a client that the application has made, by the kind of the client."""


def given_client(name: str, url: str, asynchronous: bool) -> Any:
    """The store of the URL, on a client of that name."""
    parts = urlsplit(url)
    return CLIENTS[name](url, parts.hostname or "", parts.port or 0, asynchronous)


async def read_often(store: Any, name: str, seconds: float) -> dict[str, int]:
    """What the reads of that user brought that is not that user, and how often; and how many there were."""
    found: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + seconds
    while True:
        try:
            entry = store.get(name)
            if inspect.isawaitable(entry):
                entry = await entry
            text = "nobody" if entry is None else entry.data.decode()
        except Exception as error:
            text = f"{type(error).__name__} from {error.__cause__!r:.200}"
        found["reads" if text == name else text] += 1
        if time.monotonic() > end:
            return dict(found)


def main(url: str, kind: str, given: str = "") -> None:
    """Use the store, fork, read, and print what was found."""
    asynchronous = kind.startswith("async")
    store: Any = given_client(given, url, asynchronous) if given else from_url(url, asynchronous=asynchronous)
    before = asyncio.run(read_often(store, "user4", 0))
    assert before == {"reads": 1}, before
    how = ctypes.PyDLL(None).fork if kind.endswith("c") else os.fork
    pipes = []
    for number in range(CHILDREN):
        reading, writing = os.pipe()
        if fork(how) == 0:
            try:
                found = asyncio.run(read_often(store, f"user{number}", SECONDS))
            except BaseException as error:
                found = {repr(error): 1}
            os.write(writing, json.dumps(found).encode())
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    total = collections.Counter(asyncio.run(read_often(store, "user4", SECONDS)))
    for pipe in pipes:
        with open(pipe, "rb") as file:
            total.update(json.loads(file.read() or '{"died": 1}'))
    print(json.dumps(total), flush=True)
    os._exit(0)  # what is still open belongs to an event loop that is closed


if __name__ == "__main__":
    main(*sys.argv[1:])

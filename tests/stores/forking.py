"""A program for the tests of a fork: a store is used, four children each read their own user, and the parent reads on.

    python forking.py KIND PORT

Exit code 0: nobody was answered with another's entry, and there was no error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

from hardtack.testing.stores import in_an_hour, new_key

READS = 150
CHILDREN = 4
KEYS = [new_key() for _ in range(CHILDREN + 1)]


def redis_client(port: int) -> Any:
    import redis

    from hardtack.stores.redis import RedisStore

    return RedisStore(redis.Redis(port=port))


def redis_single(port: int) -> Any:
    import redis

    from hardtack.stores.redis import RedisStore

    return RedisStore(redis.Redis(port=port, single_connection_client=True))


def redis_blocking(port: int) -> Any:
    import redis

    pool: Any = redis.BlockingConnectionPool

    from hardtack.stores.redis import RedisStore

    return RedisStore(redis.Redis(connection_pool=pool(port=port, timeout=1)))


def redis_sentinel(port: int) -> Any:
    from redis.sentinel import Sentinel

    from hardtack.stores.redis import RedisStore

    make: Any = Sentinel
    return RedisStore(make([("127.0.0.1", port)], socket_timeout=5).master_for("main", socket_timeout=5))


def redis_cluster(port: int) -> Any:
    import redis

    from hardtack.stores.redis import RedisStore

    return RedisStore(redis.RedisCluster(host="127.0.0.1", port=port))


def memcached_client(port: int) -> Any:
    import pymemcache  # type: ignore[import-untyped]

    from hardtack.stores.memcached import MemcachedStore

    return MemcachedStore(pymemcache.Client(("127.0.0.1", port)))


def memcached_pooled(port: int) -> Any:
    import pymemcache

    from hardtack.stores.memcached import MemcachedStore

    return MemcachedStore(pymemcache.PooledClient(("127.0.0.1", port)))


def memcached_hash(port: int) -> Any:
    import pymemcache

    from hardtack.stores.memcached import MemcachedStore

    return MemcachedStore(pymemcache.HashClient([("127.0.0.1", port)]))


def async_redis_client(port: int) -> Any:
    import redis.asyncio

    from hardtack.stores.redis import AsyncRedisStore

    return AsyncRedisStore(redis.asyncio.Redis(port=port))


def async_memcached_client(port: int) -> Any:
    import aiomcache

    from hardtack.stores.memcached import AsyncMemcachedStore

    return AsyncMemcachedStore(aiomcache.Client("127.0.0.1", port))


def by_url(url: str) -> Any:
    from hardtack.stores import from_url

    return from_url(url, asynchronous=False)


def async_by_url(url: str) -> Any:
    from hardtack.stores import from_url

    return from_url(url, asynchronous=True)


def run(call: Callable[[], Any], loop: asyncio.AbstractEventLoop | None) -> Any:
    result = call()
    return result if loop is None else loop.run_until_complete(result)


def read_often(store: Any, number: int, loop: asyncio.AbstractEventLoop | None) -> int:
    """How often something else came than what this user has."""
    wrong = 0
    for _ in range(READS):
        try:
            entry = run(lambda: store.get(KEYS[number]), loop)
        except Exception as error:
            print(f"{number}: {error!r} from {error.__cause__!r}", file=sys.stderr)
            wrong += 1
        else:
            wrong += entry is None or entry.data != b"%d" % number
    return min(wrong, 100)


def main(kind: str, where: str) -> int:
    asynchronous = kind.startswith("async")
    store = globals()[kind](where if kind.endswith("url") else int(where))
    loop = asyncio.new_event_loop() if asynchronous else None
    for number, key in enumerate(KEYS):
        data = b"%d" % number
        run(
            lambda key=key, data=data: store.put(  # type: ignore[misc]
                key, data, expires_at=in_an_hour(), if_version=None, subject=None
            ),
            loop,
        )
    children = []
    for number in range(CHILDREN):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                code = read_often(store, number, asyncio.new_event_loop() if asynchronous else None)
            finally:
                os._exit(code)
        children.append(child)
    wrong = read_often(store, CHILDREN, loop)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(f"wrong in the parent: {wrong}, in the children: {codes}")
    sys.stdout.flush()
    os._exit(bool(wrong or any(codes)))  # sockets are closed by the system: their collection would warn


if __name__ == "__main__":
    main(*sys.argv[1:])

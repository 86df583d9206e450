"""A server that uses its store, and forks its workers then: each must read its own user, and nobody else.

    python -m tests.stores.forking URL python|c [client]

The entries `user0` to `user4` hold their own names. Four children read one each for a second, and so does the parent;
with `client` the store is given a client or an engine, and does not make it. It prints what else they got.
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
from typing import Any
from urllib.parse import urlsplit

from hardtack.stores import from_url

SECONDS = 1.0
CHILDREN = 4


def given_client(url: str, asynchronous: bool) -> Any:
    """The store of the URL, on a client that was made by the application."""
    scheme, parts = url.partition(":")[0], urlsplit(url)
    if scheme == "redis":
        import redis
        import redis.asyncio

        from hardtack.stores.redis import AsyncRedisStore, RedisStore

        if asynchronous:
            return AsyncRedisStore(redis.asyncio.Redis.from_url(url))
        return RedisStore(redis.Redis.from_url(url))
    if scheme == "memcached":
        import aiomcache
        import pymemcache  # type: ignore[import-untyped]

        from hardtack.stores.memcached import AsyncMemcachedStore, MemcachedStore

        assert parts.hostname is not None
        assert parts.port is not None
        if asynchronous:
            return AsyncMemcachedStore(aiomcache.Client(parts.hostname, parts.port))
        return MemcachedStore(pymemcache.PooledClient((parts.hostname, parts.port)))
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import create_async_engine

    from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, is_async

    return AsyncSQLAlchemyStore(create_async_engine(url)) if is_async(url) else SQLAlchemyStore(sa.create_engine(url))


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
    store: Any = given_client(url, asynchronous) if given else from_url(url, asynchronous=asynchronous)
    before = asyncio.run(read_often(store, "user4", 0))
    assert before == {"reads": 1}, before
    fork = ctypes.PyDLL(None).fork if kind.endswith("c") else os.fork
    pipes = []
    for number in range(CHILDREN):
        reading, writing = os.pipe()
        if fork() == 0:
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

"""A Redis that evicts, as the store beside a list on another channel: what it forgets, the list does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
import redis
from tests.kit import KEY, Jar, Site
from tests.servers import RedisServer

from hardtack import EndedSessions, StoreEngine
from hardtack.stores.redis import RedisStore

pytestmark = pytest.mark.program("redis")


class EvictingRedis(RedisServer):
    """redis-server that drops what was not used for the longest time, in four megabytes."""

    options: ClassVar[list[str]] = [
        *("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "64"),
    ]


@pytest.fixture
def evicting() -> Iterator[EvictingRedis]:
    server = EvictingRedis()
    yield server
    server.remove()


@pytest.mark.slow
def test_a_redis_that_evicts_its_index_keeps_no_session_from_its_end(
    evicting: EvictingRedis, channel_url: Callable[[str], str]
) -> None:
    """Nobody knows any more which sessions the user has: without the list they live, with it none does."""
    store = RedisStore.from_url(evicting.url)
    url = channel_url("file")
    ended = EndedSessions.from_url(url, KEY)
    site = Site(StoreEngine(store), ended=ended)
    ended.create()
    without, beside = Site(StoreEngine(store)), Site(StoreEngine(store), ended=EndedSessions.from_url(url, KEY))
    jars = [Jar() for _ in range(8)]
    for jar in jars:
        session = site.sessions.open()
        session.login("alice")
        jar.take(site.sessions.commit(session))

    def living(where: Site) -> int:
        return sum(where.sessions.open(jar.header).subject == "alice" for jar in jars)

    until = time.monotonic() + 120
    with redis.Redis.from_url(evicting.url) as client:
        while list(client.scan_iter(_type="zset")):  # the index of her sessions: looking for it does not use it
            assert time.monotonic() < until, "nothing was evicted"
            visitor = site.sessions.open()
            visitor["basket"] = os.urandom(20_000)
            site.sessions.commit(visitor)
            assert living(site)
        assert int(client.info("stats")["evicted_keys"]) > 0

    assert without.sessions.end_all("alice") == 0
    before = living(without)
    site.sessions.end_all("alice")

    assert before > 0
    assert living(site) == 0
    beside.sessions.start()
    assert living(beside) == 0
    for each in (site, beside):
        each.sessions.close()
    store.close()

"""The contract of an engine, on both engines, and on stores that are called in each way."""

from __future__ import annotations

import pytest
from tests.kit import KEY
from tests.servers import MemcachedServer, RedisServer

from hardtack import CookieEngine, EndedSessions, SignedToken, StoreEngine
from hardtack.stores.memcached import MemcachedStore
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.testing import EngineContract


class TestCookieEngine(EngineContract):
    """Encrypted cookies."""

    @pytest.fixture
    def engine(self) -> CookieEngine:
        """The state is in the cookie."""
        return CookieEngine(KEY)


class TestSignedCookieEngine(EngineContract):
    """Signed cookies, in chunks where they are too long."""

    @pytest.fixture
    def engine(self) -> CookieEngine:
        """The state is in the cookie, for everyone to read."""
        return CookieEngine(SignedToken(KEY), overflow="chunk")


class _WithAList(EngineContract):
    @pytest.fixture
    def ended(self) -> EndedSessions:
        """A list of ended sessions."""
        return EndedSessions.from_url("memory://", KEY)


class TestCookieEngineWithAList(_WithAList):
    """The state is in the cookie, and what was ended is on a list."""

    @pytest.fixture
    def engine(self) -> CookieEngine:
        """The state is in the cookie."""
        return CookieEngine(KEY)


class TestCookieEngineWithAListUnderAsyncCode(TestCookieEngineWithAList):
    """The same, by the async methods."""

    asynchronous = True


class TestStoreEngineWithAList(_WithAList):
    """The state is in a store, and what was ended is on a list as well."""

    @pytest.fixture
    def engine(self) -> StoreEngine:
        """The state is in this process."""
        return StoreEngine(MemoryStore())


class TestStoreEngineOnMemory(EngineContract):
    """A store in memory, which renames."""

    @pytest.fixture
    def engine(self) -> StoreEngine:
        """The state is in this process."""
        return StoreEngine(MemoryStore())


class TestSealedStoreEngine(EngineContract):
    """A store whose records are encrypted."""

    @pytest.fixture
    def engine(self) -> StoreEngine:
        """The state is in this process, and cannot be read in the store."""
        return StoreEngine(MemoryStore(), seal=KEY)


class TestStoreEngineOnMemcached(EngineContract):
    """A real server, which cannot rename."""

    @pytest.fixture
    def engine(self, memcached_server: MemcachedServer) -> StoreEngine:
        """The state is in memcached."""
        return StoreEngine(MemcachedStore.from_url(memcached_server.url))


class TestStoreEngineOnRedisUnderAsyncCode(EngineContract):
    """A blocking store under async code."""

    asynchronous = True

    @pytest.fixture
    def engine(self, redis_server: RedisServer) -> StoreEngine:
        """The state is in Redis."""
        return StoreEngine(RedisStore.from_url(redis_server.url))


class TestStoreEngineOnAsyncRedis(EngineContract):
    """A store that only async code can reach."""

    @pytest.fixture
    def engine(self, redis_server: RedisServer) -> StoreEngine:
        """The state is in Redis."""
        return StoreEngine(AsyncRedisStore.from_url(redis_server.url))

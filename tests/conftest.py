"""The servers that tests all over the suite use: each is started once a run, when the first test asks for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import needs
from tests.servers import MariaDBServer, MemcachedServer, PostgreSQLServer, RedisServer

if importlib.util.find_spec("fcntl") is None:  # FileStore is for POSIX systems: Windows runs the tests of all else
    _tests = Path(__file__).parent.rglob("test_*.py")
    collect_ignore = [str(file) for file in _tests if "\nfrom hardtack.stores.file import" in file.read_text("utf-8")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` chooses."""
    for item in items:
        needs.mark(item)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the first fixture."""
    needs.check(item)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server."""
    server = RedisServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    """A memcached server."""
    server = MemcachedServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server."""
    server = PostgreSQLServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """A MariaDB server."""
    server = MariaDBServer()
    yield server
    server.remove()

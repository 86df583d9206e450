"""Every store, used before a fork: no child is ever answered what another one asked for.

Not the memory store: each process has its own, and nothing is shared but what was there before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hardtack.stores import from_url

pytestmark = [pytest.mark.program(name) for name in ("postgresql", "mariadb", "redis")]

STORES: dict[str, tuple[str, str]] = {
    "file": ("file", ""),
    "sqlite": ("sqlite", ""),
    "pysqlite": ("sqlalchemy", "sqlite+pysqlite"),
    "aiosqlite": ("sqlalchemy", "sqlite+aiosqlite"),
    "psycopg": ("postgresql", "postgresql+psycopg"),
    "psycopg2": ("postgresql", "postgresql+psycopg2"),
    "asyncpg": ("postgresql", "postgresql+asyncpg"),
    "pymysql": ("mariadb", "mysql+pymysql"),
    "aiomysql": ("mariadb", "mysql+aiomysql"),
    "asyncmy": ("mariadb", "mysql+asyncmy"),
    "redis": ("redis", ""),
}
"""A store or driver, where its entries are, and the scheme of its URL where it is another."""

ASYNC = ("aiosqlite", "asyncpg", "aiomysql", "asyncmy")

CLIENTLESS = ("file", "sqlite")


def url_with_users(place: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of a store with the entries of five users."""
    if place in CLIENTLESS:
        url = f"{'sqlite:///' if place == 'sqlite' else 'file://'}{directory / 'sessions'}"
    elif place == "sqlalchemy":
        url = f"sqlite+pysqlite:///{directory / 'sessions'}"
    else:
        url = request.getfixturevalue(f"{place}_server").url
    store: Any = from_url(url)
    if hasattr(store, "create_table"):
        store.create_table()
    for number in range(5):
        store.delete(f"user{number}")
        in_an_hour = int(time.time()) + 3600
        store.put(f"user{number}", b"user%d" % number, expires_at=in_an_hour, if_version=None, subject=None)
    store.close()
    return url


@pytest.mark.parametrize(
    ("given", "fork"),
    [("", "python"), ("", "c"), ("client", "python")],
    ids=["by url", "by url, fork in C", "given a client"],
)
@pytest.mark.parametrize("name", STORES)
def test_children_read_their_own(
    name: str, given: str, fork: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """By `os.fork`, and by a server in C that does not tell Python; with a client of the store's own, and a given one."""
    if given and name in CLIENTLESS:
        pytest.skip("it takes no client")
    if name == "psycopg2":
        pytest.importorskip(name)
    place, scheme = STORES[name]
    url = url_with_users(place, request, tmp_path)
    if scheme:
        url = f"{scheme}:{url.partition(':')[2]}"
    kind = f"{'async' if name in ASYNC else 'sync'} {fork}"
    command = [sys.executable, "-m", "tests.stores.forking", url, kind, *([given] if given else [])]

    result = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found.pop("reads") > 20
    assert found == {}

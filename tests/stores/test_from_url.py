"""`hardtack.stores.from_url`: which store each URL gives, what it imports, and what it refuses."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hardtack.errors import ConfigError
from hardtack.stores import from_url
from hardtack.stores.file import FileStore
from hardtack.stores.memcached import AsyncMemcachedStore, MemcachedStore
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing.stores import create

SQLALCHEMY = tuple(int(part) for part in metadata.version("sqlalchemy").split(".")[:2])

SYNC: dict[str, Any] = {
    "memory://": MemoryStore,
    "memory:": MemoryStore,
    "redis://:secret@localhost:1/0": RedisStore,
    "rediss://localhost": RedisStore,
    "memcached://localhost:1": MemcachedStore,
    "postgresql+psycopg://user:secret@localhost/db": SQLAlchemyStore,
    "mysql+pymysql://localhost/db": SQLAlchemyStore,
    "mariadb+pymysql://localhost/db": SQLAlchemyStore,
}

ASYNC: dict[str, Any] = {
    "redis://localhost:1/0": AsyncRedisStore,
    "memcached://localhost:1": AsyncMemcachedStore,
    "postgresql+asyncpg://localhost/db": AsyncSQLAlchemyStore,
    "mysql+asyncmy://localhost/db": AsyncSQLAlchemyStore,
    "sqlite+aiosqlite:///file": AsyncSQLAlchemyStore,
}


def test_memory_takes_nothing_else() -> None:
    """A size or a name in the URL would be lost without a word."""
    with pytest.raises(ConfigError, match="nothing after it"):
        from_url("memory://?max_entries=5")


@pytest.mark.parametrize(("url", "kind"), SYNC.items(), ids=SYNC)
def test_a_url_gives_its_store(url: str, kind: Any) -> None:
    """The scheme picks the class; nothing is connected yet."""
    store: Any = from_url(url)

    assert type(store) is kind
    store.close()


@pytest.mark.parametrize(("url", "kind"), ASYNC.items(), ids=ASYNC)
def test_asynchronous_gives_the_async_twin(url: str, kind: Any) -> None:
    """Where there is one."""
    store: Any = from_url(url, asynchronous=True)

    assert type(store) is kind
    asyncio.run(store.close())


def test_an_async_driver_gives_an_async_store_unasked() -> None:
    """A sync store could not use it."""
    store: Any = from_url("postgresql+asyncpg://localhost/db")

    assert type(store) is AsyncSQLAlchemyStore
    asyncio.run(store.close())


def test_a_sync_driver_cannot_be_asynchronous() -> None:
    """The message names drivers that can."""
    with pytest.raises(ConfigError, match=r"postgresql\+asyncpg"):
        from_url("postgresql+psycopg2://localhost/db", asynchronous=True)


def test_stores_without_an_async_twin_are_given_as_they_are() -> None:
    """The engine runs them in a worker thread."""
    assert type(from_url("memory://", asynchronous=True)) is MemoryStore


def test_a_file_url_names_the_directory_and_the_format(tmp_path: Path) -> None:
    """Percent signs are decoded."""
    store = from_url(f"file://{tmp_path}/my%20sessions?format=yaml")

    create(store, "key")

    assert isinstance(store, FileStore)
    assert (tmp_path / "my sessions" / "key.yaml").exists()


def test_an_sqlite_url_has_three_slashes_for_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And four for an absolute one, as in SQLAlchemy."""
    monkeypatch.chdir(tmp_path)
    relative, absolute = from_url("sqlite:///one.sqlite"), from_url(f"sqlite:///{tmp_path}/two.sqlite")

    assert isinstance(relative, SQLiteStore)
    assert isinstance(absolute, SQLiteStore)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.sqlite", "two.sqlite"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "mongodb://user:hunter2@host",
        "file://host/hunter2",
        "file:",
        "file:///tmp/x?mode=hunter2",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/hunter2",
        "sqlite:///x?mode=hunter2",
        "redis://:hunter2@host:port",
        "memcached://user:hunter2@host",
        "postgresql+unknown://:hunter2@host/db",
        "postgresql://user:part@2:hunter2@host/db",
        "mysql+pymysql://user:password@host:hunter2/db",
    ],
)
def test_a_url_that_names_no_store_is_a_config_error(url: str) -> None:
    """The message says what would do, and shows nothing that may be a password."""
    with pytest.raises(ConfigError, match=r"URL|url") as raised:
        from_url(url)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host/0?socket_timeot=5",
        "rediss://:hunter2@host/0?socket_timeot=5",
        "redis://:hunter2@host/0?protocol=9",
        "rediss://:hunter2@host/0?ssl_cert_reqs=perhaps",
    ],
)
def test_an_option_that_redis_does_not_know_is_found_at_once(url: str, asynchronous: bool) -> None:
    """Not at the first request, and with nothing that may be a password."""
    with pytest.raises(ConfigError, match="url has an option that redis-py does not take") as raised:
        from_url(url, asynchronous=asynchronous)

    assert "hunter2" not in str(raised.value)
    assert raised.value.__context__ is None


def test_an_option_that_the_client_of_a_cluster_does_not_know() -> None:
    """The async client says so; nothing is asked for its nodes."""
    with pytest.raises(ConfigError, match="url has an option that redis-py does not take"):
        from_url("redis+cluster://127.0.0.1:1/0?socket_timeot=5", asynchronous=True)


def test_an_unknown_scheme_is_told_the_known_ones() -> None:
    """All of them."""
    with pytest.raises(ConfigError, match="'mongodb'; it must begin with one of memory://, file://, redis://"):
        from_url("mongodb://host")


@pytest.mark.parametrize("url", [None, ""])
def test_a_url_that_is_missing_is_said_to_be(url: Any) -> None:
    """That of an environment variable that is not set."""
    with pytest.raises(ConfigError, match=r"URL is missing; .* one that begins with memory://, file://, redis://"):
        from_url(url)


def test_a_url_is_text() -> None:
    """Not bytes, a path or a store."""
    with pytest.raises(ConfigError, match="URL is of type bytes, not text"):
        from_url(b"memory://")  # type: ignore[arg-type]


def test_a_url_without_a_scheme_is_told_the_known_ones() -> None:
    """Nothing of it is shown: it may be a password."""
    with pytest.raises(ConfigError, match="URL has no scheme; it must begin with one of memory://") as raised:
        from_url("hunter2:hunter2")

    assert "hunter2" not in str(raised.value)


def test_nothing_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    """A site with files needs neither redis-py nor SQLAlchemy."""
    code = (
        "import sys; from hardtack.stores import from_url; from_url('memory://'); from_url('sqlite:///x');"
        f"from_url('file://{tmp_path}/sessions');"
        "print(sorted({'redis', 'sqlalchemy', 'pymemcache', 'aiomcache', 'yaml'} & set(sys.modules)))"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)

    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [
        ("redis", "hardtack.stores.redis", "redis"),
        ("sqlalchemy", "hardtack.stores.sqlalchemy", "sqlalchemy"),
        ("pymemcache", "hardtack.stores.memcached", "memcached"),
        ("aiomcache", "hardtack.stores.memcached", "memcached"),
        ("pytest", "hardtack.testing.stores", "testing"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, package: str, module: str, extra: str
) -> None:
    """The import tells what to install."""
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ImportError, match=rf"pip install 'hardtack\[{extra}\]'"):
        importlib.import_module(module)


@pytest.mark.skipif(SQLALCHEMY < (2, 1), reason="SQLAlchemy 2.0 brings greenlet, and says nothing without it")
def test_missing_greenlet_is_named_with_the_extra(tmp_path: Path) -> None:
    """SQLAlchemy 2.1 is installed without it, unless it is asked for as the extra does."""
    code = "import sys; sys.modules['greenlet'] = None; import hardtack.stores.sqlalchemy"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)

    error = result.stderr.splitlines()[-1]
    assert error.startswith("ImportError: SQLAlchemyStore does not work with sqlalchemy ")
    assert "'greenlet'" in error
    assert error.endswith(
        "it needs sqlalchemy[asyncio]>=2: pip install 'hardtack[sqlalchemy]', and your database's driver"
    )


def test_the_sqlalchemy_extra_brings_greenlet() -> None:
    """Without it not even the sync store can be imported."""
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert settings["project"]["optional-dependencies"]["sqlalchemy"] == ["sqlalchemy[asyncio]>=2"]

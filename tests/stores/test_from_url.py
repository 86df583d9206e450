"""`hardtack.stores.from_url`: which store each URL gives, what it imports, and what it refuses."""

from __future__ import annotations

import asyncio
import importlib
import re
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
    "redis://localhost:1": RedisStore,
    "redis://[::1]:1/2": RedisStore,
    "unix:///run/redis.sock?db=1": RedisStore,
    "redis+unix://:secret@/run/redis.sock": RedisStore,
    "redis+sentinel://one,two:1/main/2?sentinel_username=u&sentinel_password=p": RedisStore,
    "rediss+sentinel://[::1]/main": RedisStore,
    "memcached://localhost:1": MemcachedStore,
    "memcached://one,[::1]:2": MemcachedStore,
    "memcached+unix:///run/memcached.sock": MemcachedStore,
    "postgresql+psycopg://user:secret@localhost/db": SQLAlchemyStore,
    "mysql+pymysql://localhost/db": SQLAlchemyStore,
    "mariadb+pymysql://localhost/db": SQLAlchemyStore,
}

ASYNC: dict[str, Any] = {
    "redis://localhost:1/0": AsyncRedisStore,
    "unix:///run/redis.sock": AsyncRedisStore,
    "redis+cluster://one,two:1": AsyncRedisStore,
    "rediss+sentinel://one,two/main": AsyncRedisStore,
    "memcached://localhost:1": AsyncMemcachedStore,
    "memcached+unix:///run/memcached.sock": AsyncMemcachedStore,
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
    assert sorted(path.name for path in tmp_path.glob("*.sqlite")) == ["one.sqlite", "two.sqlite"]


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
    ("url", "problem"),
    [
        (
            "redis://:hunter2@host/0?socket_timeot=5",
            "the option socket_timeot, which is unknown; did you mean socket_tim",
        ),
        ("redis+cluster://:hunter2@host/0?socket_timeot=5", "the option socket_timeot, which is unknown"),
        ("redis://:hunter2@host/0?hunter2=5", "an option that is unknown; there are breaker, client_name, db, "),
        ("redis://:hunter2@host/0?protocol=9", "the option protocol, which must be 2 or 3"),
        ("rediss://:hunter2@host/0?ssl_cert_reqs=perhaps", "ssl_cert_reqs, which must be required or optional or none"),
        ("redis://:hunter2@host/0?ssl_cert_reqs=none", "an option that is unknown"),
        ("redis+cluster://host?db=0", "an option that is unknown"),
        ("redis://host?db=hunter2", "the option db, which must be a whole number"),
        ("redis://host?db=-1", "the option db, which must be a whole number"),
        ("redis://host?socket_timeout=hunter2", "the option socket_timeout, which must be a number of seconds above 0"),
        ("redis://host?socket_timeout=inf", "a number of seconds above 0"),
        ("redis://host?socket_timeout=0", "a number of seconds above 0"),
        ("redis://host?max_connections=0", "the option max_connections, which must be a whole number from 1"),
        ("redis://host?socket_keepalive=hunter2", "the option socket_keepalive, which must be yes or no"),
        ("redis://host/0?socket_keepalive=yes&db=1", "names the database twice"),
        ("redis://host?client_name=", "the option client_name, which must be text"),
        ("redis://host?breaker=x", "the option breaker, which must be a whole number"),
        ("redis://host?db=1&db=2", "an option twice: db"),
        ("redis://host?a-b=1&a-b=2", "an option twice: one whose name is none"),
        ("redis://host/1?db=2", "names the database twice"),
        ("redis://host/hunter2", "a database that is no number"),
        ("redis+cluster://host/2", "a Redis Cluster has none but 0"),
        ("redis://one,two/0", r"several hosts; with redis\+sentinel://"),
        ("redis+sentinel://one", "names no Sentinel or no service"),
        ("redis+sentinel:///main", "names no Sentinel or no service"),
        ("redis+sentinel://one/main/hunter2", "a database that is no number"),
        ("redis+sentinel://one/main?sentinel_pasword=hunter2", "did you mean sentinel_password"),
        ("unix://host/hunter2", "names no socket: unix:///run/redis/redis.sock"),
        ("unix:///", "names no socket"),
        ("redis://host?hunter2", "cannot be read: redis://user:password@host:6379/0"),
        ("redis://host#hunter2", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://::1", "cannot be read"),
        ("redis:hunter2", "cannot be read"),
        ("memcached://host?timeout=hunter2", "the option timeout, which must be a number of seconds"),
        ("memcached://host?max_size=0", "the option max_size, which must be a whole number from 1"),
        ("memcached://host?maxsize=1", "the option maxsize, which is unknown; did you mean max_size"),
        ("memcached://host?breaker=-1", "the option breaker, which must be a whole number"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_at_once(url: str, problem: str, asynchronous: bool) -> None:
    """Not at the first request; by name, and with nothing that may be a password."""
    with pytest.raises(ConfigError, match=problem) as raised:
        from_url(url, asynchronous=asynchronous)

    assert "hunter2" not in str(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_options_of_a_url_are_those_of_its_connections(asynchronous: bool) -> None:
    """As values, not as text; a password is percent-decoded, once."""
    url = (
        "rediss://us%2Fer:p%40ss%2525@host:7/2?socket_timeout=1.5&max_connections=3&socket_keepalive=no&client_name=a%20b"
        "&protocol=3&ssl_cert_reqs=none&ssl_check_hostname=off&health_check_interval=0"
    )
    store: Any = from_url(url, asynchronous=asynchronous)
    pool = store._client.connection_pool

    wanted = {
        "host": "host",
        "port": 7,
        "db": 2,
        "username": "us/er",
        "password": "p@ss%25",
        "socket_timeout": 1.5,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": False,
        "client_name": "a b",
        "protocol": 3,
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
        "health_check_interval": 0,
    }
    assert {name: pool.connection_kwargs[name] for name in wanted} == wanted
    assert pool.max_connections == 3


@pytest.mark.parametrize("timeout", ["5", None, -1])
def test_the_timeout_of_memcached_is_a_number(timeout: Any) -> None:
    """As text it would fail at the first request."""
    for store in (MemcachedStore, AsyncMemcachedStore):
        with pytest.raises(ConfigError, match="timeout is"):
            store.from_url("memcached://host", timeout=timeout)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgres://hunter2@host/db", r"write postgresql\+psycopg://, or postgresql\+asyncpg:// for async"),
        ("postgres+asyncpg://hunter2@host/db", r"write postgresql\+asyncpg://;"),
        ("memcache://hunter2", "write memcached://"),
        ("valkey://hunter2", "write redis://"),
        ("sentinel://hunter2", r"write redis\+sentinel://"),
        ("redis+socket:///hunter2", "write unix://"),
        ("sqlite3:///hunter2", "write sqlite://"),
        ("rediis://hunter2", r"did you mean redis://\?"),
    ],
)
def test_a_scheme_of_others_is_told_what_to_write(url: str, advice: str) -> None:
    """Those of Heroku and of other libraries."""
    with pytest.raises(ConfigError, match=advice) as raised:
        from_url(url)

    assert "hunter2" not in str(raised.value)


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


@pytest.mark.slow
@pytest.mark.skipif(SQLALCHEMY < (2, 1), reason="SQLAlchemy 2.0 brings greenlet, and says nothing without it")
def test_missing_greenlet_is_named_with_the_extra(tmp_path: Path) -> None:
    """SQLAlchemy 2.1 is installed without it, unless it is asked for as the extra does."""
    code = "import sys; sys.modules['greenlet'] = None; import hardtack.stores.sqlalchemy"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)

    error = result.stderr.splitlines()[-1]
    assert error.startswith("ImportError: SQLAlchemyStore does not work with sqlalchemy ")
    assert "'greenlet'" in error
    needed = (
        r"it needs sqlalchemy\[asyncio\]>=2[.\d]*: pip install 'hardtack\[sqlalchemy\]', and your database's driver$"
    )
    assert re.search(needed, error)


def test_the_sqlalchemy_extra_brings_greenlet() -> None:
    """Without it not even the sync store can be imported."""
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    (needed,) = settings["project"]["optional-dependencies"]["sqlalchemy"]
    assert needed.startswith("sqlalchemy[asyncio]>=2")

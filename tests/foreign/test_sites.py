"""A real site of another stack and a Python site on one cookie: who logs in on one is logged in on the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import sqlalchemy as sa
from tests.foreign.node.node import program as node_program
from tests.foreign.node.node import require as require_node
from tests.foreign.others.lines import require
from tests.foreign.test_real_dancer_site import Browser, serve, wait_for
from tests.servers import RedisServer, free_port

from hardtack import Cookie, CookieEngine, SessionManager, StoreEngine
from hardtack.foreign.laravel import LaravelCookie
from hardtack.foreign.layouts import (
    ExpressLayout,
    ExpressMysqlTable,
    ExpressPostgresTable,
    LaravelFiles,
    LaravelLayout,
    LaravelTable,
)
from hardtack.foreign.rack import RackHmacCookie, RackSessionCookie
from hardtack.protocols import Engine
from hardtack.stores._shared_sql import ENDED
from hardtack.stores.file import FileStore
from hardtack.stores.redis import RedisStore
from hardtack.stores.shared_layout import SharedTable
from hardtack.stores.sqlalchemy import SQLAlchemyStore

SITES = Path(__file__).parent / "sites"
SECRET = "a secret of forty characters and no less"
APP_KEY = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
UNTIL = 1 << 40

Servers = Callable[[str], Any]
"""The server that a fixture of this name starts."""


def user(data: dict[str, Any]) -> str | None:
    return data.get("user")


class Pair(NamedTuple):
    """Two sites on one cookie."""

    theirs: str
    ours: str
    cookie: str
    age: Callable[[], None] = lambda: None
    """Lets the entries that both share say that they have ended, though their store does not."""


@contextmanager
def started(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A site's process; it ends when its standard input does, or is killed."""
    process = subprocess.Popen(
        command,
        cwd=SITES,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


@contextmanager
def telling(command: list[str], **environment: str) -> Iterator[str]:
    """A site that prints its port when it listens."""
    with started(command, **environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip().isdigit(), (line + process.stdout.read()).decode()
        yield f"http://127.0.0.1:{int(line)}"


@contextmanager
def laravel(driver: str, place: str = "") -> Iterator[str]:
    """The Laravel site, with this session driver."""
    require("php", "-r", 'require "Illuminate/Session/autoload.php";')
    port = free_port()
    command = [shutil.which("php") or "php", "-S", f"127.0.0.1:{port}", "laravel.php"]
    with started(command, DRIVER=driver, PLACE=place, APP_KEY=APP_KEY) as process:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def ours(engine: Engine, name: str) -> Iterator[str]:
    """The Python site, on the other's cookie."""
    cookie = Cookie(name=name, secure=False, samesite=None)
    site = serve(SessionManager(engine, cookie=cookie, lifetime="1 hour"))
    yield next(site)
    assert next(site, None) is None


@contextmanager
def rack(_: Servers) -> Iterator[Pair]:
    """Rack::Session::Cookie with JSON: signed in Rack 2, encrypted by rack-session beside Rack 3."""
    require("ruby", "-rrack", "-rrack/session/cookie", "-rwebrick", "-e1")
    ruby = shutil.which("ruby") or "ruby"
    command = [ruby, "rack.rb"]
    release = subprocess.run([ruby, "-rrack", "-e", "print Rack.release"], capture_output=True, text=True, check=True)
    signed = release.stdout.startswith("2")
    encrypted = RackSessionCookie(SECRET * 2, version=1, until=UNTIL)
    engine = CookieEngine(RackHmacCookie(SECRET, until=UNTIL) if signed else encrypted)
    with telling(command, SECRET=SECRET) as theirs, ours(engine, "rack.session") as python:
        yield Pair(theirs, python, "rack.session")


def express_site(url: str) -> AbstractContextManager[str]:
    """express-session with this store, and a cookie that ends an hour after its last use."""
    command = [node_program(), "../node/express_site.mjs"]
    return telling(command, SECRET=SECRET, STORE=url, MAX_AGE="3600000")


@contextmanager
def express(servers: Servers) -> Iterator[Pair]:
    """express-session with connect-redis."""
    require_node()
    server: RedisServer = servers("redis_server")
    with redis.Redis.from_url(server.url) as client:

        def age() -> None:
            for key in client.keys("sess:*"):
                raw: Any = client.get(key)
                client.set(key, re.sub(rb'"expires":"20[0-9]{2}', b'"expires":"2020', raw), keepttl=True)

        engine = StoreEngine(RedisStore(client, layout=ExpressLayout(SECRET, subject=user)))
        with express_site(server.url) as theirs, ours(engine, "connect.sid") as python:
            yield Pair(theirs, python, "connect.sid", age)


@contextmanager
def express_table(url: str, layout: SharedTable, aging: str) -> Iterator[Pair]:
    """express-session with a table, which its store makes."""
    require_node()
    engine = sa.create_engine(url)

    def age() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(aging)

    store = SQLAlchemyStore(engine, layout=layout)
    store.create_table()
    address = sa.make_url(url).set(drivername=sa.make_url(url).get_backend_name())
    try:
        with (
            express_site(address.render_as_string()) as theirs,
            ours(StoreEngine(store), "connect.sid") as python,
        ):
            yield Pair(theirs, python, "connect.sid", age)
    finally:
        with engine.begin() as connection:
            for name in (layout.table, ENDED):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        engine.dispose()


def express_postgresql(servers: Servers) -> AbstractContextManager[Pair]:
    """express-session with connect-pg-simple."""
    aging = 'UPDATE session SET sess = regexp_replace(sess::text, \'"expires":"20..\', \'"expires":"2020\')::json'
    return express_table(servers("postgresql_server").url, ExpressPostgresTable(SECRET, subject=user), aging)


def express_mysql(servers: Servers) -> AbstractContextManager[Pair]:
    """express-session with express-mysql-session."""
    aging = 'UPDATE sessions SET data = regexp_replace(data, \'"expires":"20..\', \'"expires":"2020\')'
    return express_table(servers("mariadb_server").url, ExpressMysqlTable(SECRET, subject=user), aging)


@contextmanager
def laravel_cookie(_: Servers) -> Iterator[Pair]:
    """Laravel's `cookie` driver."""
    engine = CookieEngine(LaravelCookie(APP_KEY))
    with laravel("cookie") as theirs, ours(engine, "laravel_session") as python:
        yield Pair(theirs, python, "laravel_session")


@contextmanager
def laravel_redis(servers: Servers) -> Iterator[Pair]:
    """Laravel's `redis` driver."""
    server: RedisServer = servers("redis_server")
    require("php", "-r", 'require "Illuminate/Redis/autoload.php"; require "Illuminate/Cache/autoload.php"; new Redis;')
    with redis.Redis.from_url(server.url) as client:
        layout = LaravelLayout(APP_KEY, prefix="laravel_database_laravel_cache:", subject=user)
        engine = StoreEngine(RedisStore(client, layout=layout))
        with laravel("redis", str(server.port)) as theirs, ours(engine, "laravel_session") as python:
            yield Pair(theirs, python, "laravel_session")


@contextmanager
def laravel_database(_: Servers) -> Iterator[Pair]:
    """Laravel's `database` driver, on SQLite."""
    require("php", "-r", 'require "Illuminate/Database/autoload.php"; new PDO("sqlite::memory:");')
    with tempfile.TemporaryDirectory() as directory:
        place = f"{directory}/laravel.sqlite"
        engine = sa.create_engine(f"sqlite:///{place}")
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE sessions (id varchar PRIMARY KEY, user_id integer, ip_address varchar(45), user_agent text, "
                "payload text NOT NULL, last_activity integer NOT NULL)"
            )
        store = SQLAlchemyStore(engine, layout=LaravelTable(APP_KEY, subject=user))
        store.create_table()
        with laravel("database", place) as theirs, ours(StoreEngine(store), "laravel_session") as python:
            yield Pair(theirs, python, "laravel_session")
        engine.dispose()


@contextmanager
def laravel_files(_: Servers) -> Iterator[Pair]:
    """Laravel's `file` driver."""
    require("php", "-r", 'require "Illuminate/Filesystem/autoload.php"; new Illuminate\\Filesystem\\Filesystem;')
    with tempfile.TemporaryDirectory() as directory:
        store = FileStore(directory, layout=LaravelFiles(APP_KEY, subject=user))
        with laravel("file", directory) as theirs, ours(StoreEngine(store), "laravel_session") as python:
            yield Pair(theirs, python, "laravel_session")


STACKS: dict[str, Callable[[Servers], Any]] = {
    "rack": rack,
    "express": express,
    "express-postgresql": express_postgresql,
    "express-mysql": express_mysql,
    "laravel-cookie": laravel_cookie,
    "laravel-redis": laravel_redis,
    "laravel-database": laravel_database,
    "laravel-files": laravel_files,
}


SERVERS = {
    "express": "redis",
    "express-postgresql": "postgresql",
    "express-mysql": "mariadb",
    "laravel-redis": "redis",
}


def with_marks(stack: str) -> Any:
    return pytest.param(stack, marks=[pytest.mark.program(SERVERS[stack])] if stack in SERVERS else [])


@pytest.fixture(scope="module", params=[with_marks(stack) for stack in STACKS])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The two sites."""
    with STACKS[request.param](request.getfixturevalue) as sites:
        yield sites


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.mark.slow
def test_a_login_there_is_one_here(pair: Pair, browser: Browser) -> None:
    """The user of the other site is the user of ours."""
    browser.get(f"{pair.theirs}/login/alice")

    assert browser.get(f"{pair.ours}/whoami") == "alice"


@pytest.mark.slow
def test_a_login_here_is_one_there(pair: Pair, browser: Browser) -> None:
    """And the other way round."""
    browser.get(f"{pair.ours}/login/bob")

    assert browser.get(f"{pair.theirs}/whoami") == "bob"


def test_both_write_one_session(pair: Pair, browser: Browser) -> None:
    """A cart is filled on both in turn, and the login stays."""
    browser.get(f"{pair.theirs}/login/alice")
    for site, item in ((pair.theirs, "bread"), (pair.ours, "salt"), (pair.theirs, "rum"), (pair.ours, "lime")):
        browser.get(f"{site}/add/{item}")

    assert browser.get(f"{pair.theirs}/cart") == "bread,salt,rum,lime"
    assert browser.get(f"{pair.ours}/cart") == "bread,salt,rum,lime"
    assert browser.get(f"{pair.theirs}/whoami") == "alice"


@pytest.mark.parametrize("login", ["theirs", "ours"])
@pytest.mark.parametrize("logout", ["theirs", "ours"])
def test_a_logout_on_either_is_one_on_both(pair: Pair, browser: Browser, login: str, logout: str) -> None:
    """Wherever the login was."""
    browser.get(f"{getattr(pair, login)}/login/alice")
    assert browser.get(f"{pair.ours}/whoami") == browser.get(f"{pair.theirs}/whoami") == "alice"

    browser.get(f"{getattr(pair, logout)}/logout")

    assert browser.get(f"{pair.ours}/whoami") == "nobody"
    assert browser.get(f"{pair.theirs}/whoami") == "nobody"


@pytest.mark.slow
def test_another_login_there_is_another_user_here(pair: Pair, browser: Browser) -> None:
    """What our site knew of the first user is not believed of the second."""
    browser.get(f"{pair.ours}/login/alice")
    browser.get(f"{pair.theirs}/login/bob")

    assert browser.get(f"{pair.ours}/whoami") == "bob"


@pytest.mark.parametrize("pair", [with_marks(stack) for stack in STACKS if "express" in stack], indirect=True)
def test_a_session_that_is_only_read_there_stays_one_here(pair: Pair, browser: Browser) -> None:
    """With `resave: false` a mere use moves the end in Express' store, and not the one in the entry."""
    browser.get(f"{pair.theirs}/login/alice")
    pair.age()  # as it is after an hour of reading

    assert browser.get(f"{pair.ours}/whoami") == "alice"
    assert browser.get(f"{pair.theirs}/whoami") == "alice"

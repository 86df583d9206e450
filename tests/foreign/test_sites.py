"""A real site of another stack and a Python site on one cookie: who logs in on one is logged in on the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from hardtack.foreign.layouts import ExpressLayout, LaravelFiles, LaravelLayout, LaravelTable
from hardtack.foreign.rack import RackHmacCookie, RackSessionCookie
from hardtack.protocols import Engine
from hardtack.stores.file import FileStore
from hardtack.stores.redis import RedisStore
from hardtack.stores.sqlalchemy import SQLAlchemyStore

SITES = Path(__file__).parent / "sites"
SECRET = "a secret of forty characters and no less"
APP_KEY = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
UNTIL = 1 << 40


def user(data: dict[str, Any]) -> str | None:
    return data.get("user")


class Pair(NamedTuple):
    """Two sites on one cookie."""

    theirs: str
    ours: str
    cookie: str


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
def rack(_: RedisServer) -> Iterator[Pair]:
    """Rack::Session::Cookie with JSON: signed in Rack 2, encrypted by rack-session beside Rack 3."""
    require("ruby", "-rrack", "-rrack/session/cookie", "-rwebrick", "-e1")
    ruby = shutil.which("ruby") or "ruby"
    command = [ruby, "rack.rb"]
    release = subprocess.run([ruby, "-rrack", "-e", "print Rack.release"], capture_output=True, text=True, check=True)
    signed = release.stdout.startswith("2")
    # Its middleware is given no key:, and so binds its cookies to none.
    encrypted = RackSessionCookie(SECRET * 2, purpose="", version=1, until=UNTIL)
    engine = CookieEngine(RackHmacCookie(SECRET, until=UNTIL) if signed else encrypted)
    with telling(command, SECRET=SECRET) as theirs, ours(engine, "rack.session") as python:
        yield Pair(theirs, python, "rack.session")


@contextmanager
def express(server: RedisServer) -> Iterator[Pair]:
    """express-session with connect-redis."""
    require_node()
    with redis.Redis.from_url(server.url) as client:
        engine = StoreEngine(RedisStore(client, layout=ExpressLayout(SECRET, subject=user)))
        command = [node_program(), "../node/express_site.mjs"]
        with telling(command, SECRET=SECRET, REDIS_URL=server.url) as theirs, ours(engine, "connect.sid") as python:
            yield Pair(theirs, python, "connect.sid")


@contextmanager
def laravel_cookie(_: RedisServer) -> Iterator[Pair]:
    """Laravel's `cookie` driver."""
    engine = CookieEngine(LaravelCookie(APP_KEY))
    with laravel("cookie") as theirs, ours(engine, "laravel_session") as python:
        yield Pair(theirs, python, "laravel_session")


@contextmanager
def laravel_redis(server: RedisServer) -> Iterator[Pair]:
    """Laravel's `redis` driver."""
    require("php", "-r", 'require "Illuminate/Redis/autoload.php"; require "Illuminate/Cache/autoload.php"; new Redis;')
    with redis.Redis.from_url(server.url) as client:
        layout = LaravelLayout(APP_KEY, prefix="laravel_database_laravel_cache:", subject=user)
        engine = StoreEngine(RedisStore(client, layout=layout))
        with laravel("redis", str(server.port)) as theirs, ours(engine, "laravel_session") as python:
            yield Pair(theirs, python, "laravel_session")


@contextmanager
def laravel_database(_: RedisServer) -> Iterator[Pair]:
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
def laravel_files(_: RedisServer) -> Iterator[Pair]:
    """Laravel's `file` driver."""
    require("php", "-r", 'require "Illuminate/Filesystem/autoload.php"; new Illuminate\\Filesystem\\Filesystem;')
    with tempfile.TemporaryDirectory() as directory:
        store = FileStore(directory, layout=LaravelFiles(APP_KEY, subject=user))
        with laravel("file", directory) as theirs, ours(StoreEngine(store), "laravel_session") as python:
            yield Pair(theirs, python, "laravel_session")


STACKS: dict[str, Callable[[RedisServer], Any]] = {
    "rack": rack,
    "express": express,
    "laravel-cookie": laravel_cookie,
    "laravel-redis": laravel_redis,
    "laravel-database": laravel_database,
    "laravel-files": laravel_files,
}


@pytest.fixture(scope="module", params=STACKS)
def pair(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Pair]:
    """The two sites."""
    with STACKS[request.param](redis_server) as sites:
        yield sites


@pytest.fixture
def browser() -> Browser:
    return Browser()


def test_a_login_there_is_one_here(pair: Pair, browser: Browser) -> None:
    """The user of the other site is the user of ours."""
    browser.get(f"{pair.theirs}/login/alice")

    assert browser.get(f"{pair.ours}/whoami") == "alice"


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


def test_another_login_there_is_another_user_here(pair: Pair, browser: Browser) -> None:
    """What our site knew of the first user is not believed of the second."""
    browser.get(f"{pair.ours}/login/alice")
    browser.get(f"{pair.theirs}/login/bob")

    assert browser.get(f"{pair.ours}/whoami") == "bob"

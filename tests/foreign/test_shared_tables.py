"""Tables that are shared with Django and Laravel, with the real Django, and on every path of the statements."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pybase64
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from tests.servers import MariaDBServer, PostgreSQLServer

from hardtack import Cookie, SessionManager, StoreEngine
from hardtack import record as records
from hardtack.errors import ConfigError, StoreError, UnsupportedValue
from hardtack.events import Rejected, StoreFailed
from hardtack.foreign import php
from hardtack.foreign.laravel import LaravelIdCookie
from hardtack.foreign.layouts import DjangoTable, ExpressLayout, ExpressMysqlTable, ExpressPostgresTable, LaravelTable
from hardtack.protocols import Context, VersionConflict
from hardtack.record import Record
from hardtack.stores.shared_layout import STAMP, SharedTable
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore

SECRET = "the SECRET_KEY of a Django site"
APP_KEY = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SITE = Path(__file__).parent / "sites" / "django_sessions.py"
LARAVEL_TABLE = (
    "CREATE TABLE sessions (id varchar(255) PRIMARY KEY, payload {text} NOT NULL, last_activity integer NOT NULL)"
)


class Site:
    """Python's side of a table."""

    def __init__(self, engine: sa.Engine, layout: SharedTable) -> None:
        self.events: list[Any] = []
        self.store = SQLAlchemyStore(engine, layout=layout)
        self.store.create_table()
        self.manager = SessionManager(
            StoreEngine(self.store),
            cookie=Cookie(name="sid", secure=False),
            lifetime="1 hour",
            on_event=self.events.append,
        )

    def open(self, value: str | None) -> Any:
        return self.manager.open(None if value is None else f"sid={value}")

    def save(self, session: Any) -> str | None:
        lines = self.manager.commit(session).set_cookies
        return lines[0].partition(";")[0].partition("=")[2] if lines else None


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/site.sqlite")
    yield engine
    engine.dispose()


# --- Django


class Django:
    """The real one, in a process of its own."""

    def __init__(self, file: Path) -> None:
        command = [sys.executable, str(SITE), str(file), SECRET]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def ask(self, **request: Any) -> list[Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: list[Any] = json.loads(self._line())
        return answer

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def django(tmp_path: Path) -> Iterator[Django]:
    site = Django(tmp_path / "site.sqlite")
    yield site
    site.close()


def test_a_session_of_django_is_read_with_its_user(django: Django, engine: sa.Engine) -> None:
    """By the key that Django's cookie carries as it is."""
    key, _ = django.ask(data={"_auth_user_id": "42", "cart": ["bread", {"n": 1}]})

    session = Site(engine, DjangoTable(SECRET)).open(key)

    assert session == {"_auth_user_id": "42", "cart": ["bread", {"n": 1}]}
    assert session.subject == "42"


def test_django_reads_what_was_written(django: Django, engine: sa.Engine) -> None:
    """A session that began here, one that began there, and both go on."""
    site = Site(engine, DjangoTable(SECRET))
    session = site.open(None)
    session["a"] = "é" * 300
    key = site.save(session)
    assert key is not None

    assert django.ask(key=key)[1].keys() == {"a", STAMP}
    django.ask(key=key, data={"b": 2})
    again = site.open(key)
    assert again == {"a": "é" * 300, "b": 2}
    again["c"] = 3
    assert site.save(again) is None
    assert django.ask(key=key)[1].keys() == {"a", "b", "c", STAMP}


def test_a_logout_on_either_is_one_on_both(django: Django, engine: sa.Engine) -> None:
    """Django's `flush` deletes the row, and so does ours."""
    site = Site(engine, DjangoTable(SECRET))
    key, _ = django.ask(data={"_auth_user_id": "42"})
    session = site.open(key)
    session.logout()
    assert site.save(session) == ""
    assert django.ask(key=key)[1] == {}

    key, _ = django.ask(data={"_auth_user_id": "42"})
    assert site.open(key).subject == "42"
    django.ask(key=key, flush=True)
    assert site.open(key) == {}


def test_another_secret_opens_nothing(django: Django, engine: sa.Engine) -> None:
    """A row that somebody else has signed is damage, and the log does not name its key."""
    key, _ = django.ask(data={"_auth_user_id": "42"})
    site = Site(engine, DjangoTable("another"))

    assert site.open(key) == {}
    assert any(isinstance(event, StoreFailed) for event in site.events)
    assert Site(engine, DjangoTable("another", fallbacks=[SECRET])).open(key).subject == "42"


def test_what_json_cannot_carry_is_refused(django: Django, engine: sa.Engine) -> None:
    """When it is written."""
    site = Site(engine, DjangoTable(SECRET))
    session = site.open(None)
    session["when"] = b"x"
    with pytest.raises(UnsupportedValue, match="when"):
        site.manager.commit(session)


# --- Laravel's rows


ID = "a" * 40


def cookie(identifier: str) -> str:
    ids = LaravelIdCookie(APP_KEY, until=1)
    record = Record(b"", 0, None, 0, None, {}, {"session_id": identifier})
    return ids.seal(record, Context("laravel_session", "", 0))["laravel_session"]


def payload(data: dict[str, Any]) -> str:
    return pybase64.b64encode(php.write(data)).decode()


def user(data: dict[str, Any]) -> str | None:
    return data.get("user")


@pytest.fixture
def laravel(engine: sa.Engine) -> Site:
    with engine.begin() as connection:
        connection.exec_driver_sql(LARAVEL_TABLE.format(text="text"))
    return Site(engine, LaravelTable(APP_KEY, subject=user))


def put(site: Site, text: str, *, key: str = ID, at: float | None = None) -> None:
    with site.store._engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM sessions WHERE id = :id"), {"id": key})
        connection.execute(
            sa.text("INSERT INTO sessions (id, payload, last_activity) VALUES (:id, :payload, :at)"),
            {"id": key, "payload": text, "at": int(time.time() if at is None else at)},
        )


def rows(site: Site) -> list[Any]:
    with site.store._engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT id, payload, last_activity FROM sessions")))


def test_a_row_that_laravel_would_not_read_is_none(laravel: Site) -> None:
    """After `session.lifetime` without a use."""
    put(laravel, payload({"user": "alice"}), at=time.time() - 7201)
    assert laravel.open(cookie(ID)) == {}
    put(laravel, payload({"user": "alice"}), at=time.time() - 7190)
    assert laravel.open(cookie(ID)) == {"user": "alice"}


@pytest.mark.parametrize("text", ["", "é", "AAAA", "****", pybase64.b64encode(b'O:8:"stdClass":0:{}').decode()])
def test_what_cannot_be_read_is_no_session(laravel: Site, text: str) -> None:
    """Junk, or an object, is nobody's login and no error; it can be ended."""
    put(laravel, text)

    assert laravel.open(cookie(ID)) == {}
    assert any(isinstance(event, StoreFailed) for event in laravel.events)
    assert laravel.manager.list("alice") == []
    assert laravel.store.delete(ID)


def test_a_write_over_a_damaged_row(laravel: Site) -> None:
    """It is replaced under its version."""
    put(laravel, "junk")
    entry = laravel.store.get(ID)
    assert entry is not None

    laravel.store.put(ID, data(1), expires_at=soon(), if_version=entry.version, subject=None)

    assert laravel.open(cookie(ID)) == {"n": 1}


def test_a_slow_request_brings_nobody_back(laravel: Site) -> None:
    """The other system writes the row once more after our logout."""
    put(laravel, payload({"user": "alice"}))
    session = laravel.open(cookie(ID))
    session.logout()
    laravel.save(session)
    assert rows(laravel) == []

    put(laravel, payload({"user": "alice"}))

    assert laravel.open(cookie(ID)) == {}
    assert [event.reason for event in laravel.events if isinstance(event, Rejected)] == ["ended"]


def test_sessions_of_a_user_are_listed_counted_and_ended(laravel: Site) -> None:
    """Every row is read; those whose key cannot be an id are left alone."""
    put(laravel, payload({"user": "alice"}))
    put(laravel, payload({"user": "bob"}), key="b" * 40)
    put(laravel, "junk", key="c" * 40)
    put(laravel, payload({"user": "alice"}), key="not an id")

    (listed,) = laravel.manager.list("alice")
    assert (laravel.manager.count(), laravel.store.count("bob")) == (2, 1)
    laravel.manager.end(listed.id)
    assert laravel.manager.list("alice") == []
    assert laravel.store.resolve(bytes(32)) is None


def test_a_login_gives_a_new_id(laravel: Site) -> None:
    """The old row goes, and its id opens nothing."""
    put(laravel, payload({"cart": [1]}))
    session = laravel.open(cookie(ID))
    session.login("alice")

    value = laravel.save(session)

    assert laravel.open(cookie(ID)) == {}
    assert laravel.open(value) == {"cart": [1]}
    assert [row.id for row in rows(laravel)] != [ID]


def test_sealed_records_are_refused(laravel: Site) -> None:
    """The other system could not read them."""
    with pytest.raises(StoreError, match="sealed"):
        laravel.store.put(ID, b"\x01sealed", expires_at=soon(), if_version=None, subject=None)


def test_parallel_writes_are_merged(laravel: Site) -> None:
    """The other system was faster; nothing of either is lost."""
    put(laravel, payload({"a": 1}))
    session = laravel.open(cookie(ID))
    session["b"] = 1
    put(laravel, payload({"a": 2}))
    laravel.save(session)

    assert laravel.open(cookie(ID)) == {"a": 2, "b": 1}


def data(n: int) -> bytes:
    layout = LaravelTable(APP_KEY)
    now = int(time.time())
    return records.pack(Record(layout.ids.handle(ID), now, None, now, None, {}, {"n": n}))


def grave(n: int) -> bytes:
    return records.pack(Record(LaravelTable(APP_KEY).ids.handle(ID), n, None, n, None, {"ended": soon()}, {}))


def soon() -> int:
    return int(time.time()) + 60


def check_contract(store: SQLAlchemyStore) -> None:
    """Create, update, end, revive and delete, each under the version alone."""
    first = store.put(ID, data(1), expires_at=soon(), if_version=None, subject=None)
    with pytest.raises(VersionConflict):
        store.put(ID, data(2), expires_at=soon(), if_version=None, subject=None)
    second = store.put(ID, data(2), expires_at=soon(), if_version=first, subject=None)
    for write in (data(3), grave(1)):
        with pytest.raises(VersionConflict):
            store.put(ID, write, expires_at=soon(), if_version=first, subject=None)
    with pytest.raises(VersionConflict):
        store.delete(ID, if_version=first)
    ended = store.put(ID, grave(1), expires_at=soon(), if_version=second, subject=None)
    entry = store.get(ID)
    assert entry is not None
    assert (entry.data, entry.version) == (grave(1), ended) or entry.version == ended
    again = store.put(ID, grave(2), expires_at=soon(), if_version=ended, subject=None)
    with pytest.raises(VersionConflict):
        store.put(ID, data(4), expires_at=soon(), if_version=ended, subject=None)
    third = store.put(ID, data(4), expires_at=soon(), if_version=again, subject=None)
    assert store.delete(ID, if_version=third)
    assert not store.delete(ID, if_version=third)
    assert not store.delete(ID)
    assert store.get(ID) is None


def test_an_entry_is_compared_and_set(laravel: Site) -> None:
    """On SQLite."""
    check_contract(laravel.store)


def test_an_expired_row_is_replaced(laravel: Site) -> None:
    """Laravel takes such rows away now and then."""
    put(laravel, payload({"n": 0}), at=0)

    laravel.store.put(ID, data(1), expires_at=soon(), if_version=None, subject=None)

    assert laravel.open(cookie(ID)) == {"n": 1}


def test_an_expired_row_that_was_ended_once_goes(laravel: Site) -> None:
    """`sweep` takes the ids that were ended, and leaves the other system's rows to it."""
    put(laravel, payload({"n": 0}))
    laravel.store.put(ID, grave(1), expires_at=int(time.time()) - 1, if_version=None, subject=None)

    assert laravel.store.sweep(time.time()) == 1
    assert len(rows(laravel)) == 1


def test_postgresql(postgresql_server: PostgreSQLServer) -> None:
    """The same statements there, with Django's column of a time with its zone."""
    engine = sa.create_engine(postgresql_server.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text NOT NULL, "
            "expire_date timestamptz NOT NULL); " + LARAVEL_TABLE.format(text="text")
        )
    try:
        check_contract(Site(engine, LaravelTable(APP_KEY)).store)
        site = Site(engine, DjangoTable(SECRET))
        session = site.open(None)
        session["a"] = 1
        key = site.save(session)
        assert site.open(key) == {"a": 1}
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE django_session, sessions, hardtack_ended")
        engine.dispose()


def test_mariadb(mariadb_server: MariaDBServer) -> None:
    """Whose collations take A for a: a version is told from one in other letters all the same."""
    engine = sa.create_engine(mariadb_server.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(LARAVEL_TABLE.format(text="longtext"))
    try:
        site = Site(engine, LaravelTable(APP_KEY))
        check_contract(site.store)
        version = site.store.put(ID, data(1), expires_at=soon(), if_version=None, subject=None)
        with pytest.raises(VersionConflict):
            site.store.put(ID, data(2), expires_at=soon(), if_version=("row", version[1].swapcase()), subject=None)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE sessions, hardtack_ended")
        engine.dispose()


@pytest.mark.asyncio
async def test_the_asynchronous_twin(laravel: Site, tmp_path: Path) -> None:
    """One logic, both ways."""
    put(laravel, payload({"user": "alice"}))
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/site.sqlite")
    store = AsyncSQLAlchemyStore(engine, layout=LaravelTable(APP_KEY, subject=user))
    manager = SessionManager(StoreEngine(store), cookie=Cookie(name="sid", secure=False))
    session = await manager.aopen(f"sid={cookie(ID)}")
    await session.load()
    assert session == {"user": "alice"}
    (listed,) = await manager.alist("alice")
    await manager.aend(listed.id)
    assert await manager.acount() == 0
    await engine.dispose()


# --- Express


EXPRESS_TABLES = {
    "postgresql": (
        ExpressPostgresTable(SECRET),
        "CREATE TABLE session (sid varchar PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL)",
    ),
    "mariadb": (
        ExpressMysqlTable(SECRET),
        "CREATE TABLE sessions (session_id varchar(128) COLLATE utf8mb4_bin PRIMARY KEY, expires int unsigned NOT NULL, "
        "data mediumtext COLLATE utf8mb4_bin)",
    ),
}


def check_express(url: str, system: str) -> None:
    """The contract, on the table as the library makes it."""
    layout, create = EXPRESS_TABLES[system]
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(create)
        check_contract(Site(engine, layout).store)
    finally:
        with engine.begin() as connection:
            for name in (layout.table, "hardtack_ended"):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        engine.dispose()


def test_express_on_postgresql(postgresql_server: PostgreSQLServer) -> None:
    """JSON keeps its text, and the time is the connection's."""
    check_express(postgresql_server.url, "postgresql")


def test_express_on_mariadb(mariadb_server: MariaDBServer) -> None:
    """With Unix seconds."""
    check_express(mariadb_server.url, "mariadb")


@pytest.mark.asyncio
async def test_express_on_postgresql_without_blocking(postgresql_server: PostgreSQLServer) -> None:
    """asyncpg sends types that the others leave to the server; the time zone of the connection is not UTC."""
    layout, create = EXPRESS_TABLES["postgresql"]
    settings = {"server_settings": {"timezone": "America/St_Johns"}}
    engine = create_async_engine(postgresql_server.async_url, connect_args=settings)
    store = AsyncSQLAlchemyStore(engine, layout=layout)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(create)
        await store.create_table()
        first = await store.put(ID, data(1), expires_at=soon(), if_version=None, subject=None)
        await store.put(ID, data(2), expires_at=soon(), if_version=first, subject=None)
        entry = await store.get(ID)
        assert entry is not None
        with pytest.raises(VersionConflict):
            await store.put(ID, data(3), expires_at=soon(), if_version=first, subject=None)
        await store.put(ID, data(2), expires_at=int(time.time()) - 5, if_version=entry.version, subject=None)
        assert await store.get(ID) is None
    finally:
        async with engine.begin() as connection:
            for name in (layout.table, "hardtack_ended"):
                await connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        await engine.dispose()


@pytest.mark.parametrize(
    ("cookie", "expires_at", "end"),
    [
        ({"expires": None}, 1 << 40, 1000 + 86400),
        ({"expires": None}, 2000, 2000),
        ({"expires": "1970-01-01T00:30:00.000Z"}, 1 << 40, 1800),
        ({"expires": "1970-01-01T00:30:00.000Z"}, 1700, 1700),
        ({"expires": "junk"}, 1 << 40, 1000 + 86400),
        ("junk", 1 << 40, 1000 + 86400),
    ],
)
def test_the_time_of_a_row_of_express(cookie: Any, expires_at: int, end: int) -> None:
    """What the library would write: the cookie's end or `ttl`; and no later than our own."""
    text = json.dumps({"cookie": cookie})

    assert ExpressMysqlTable(SECRET).time(text, expires_at, 1000) == end
    assert ExpressPostgresTable(SECRET, ttl="1 day").time(text, expires_at, 1000).timestamp() == end


def test_wrong_settings(engine: sa.Engine) -> None:
    """A ConfigError that says what to do."""
    with pytest.raises(ConfigError, match="such as DjangoTable"):
        SQLAlchemyStore(engine, layout=ExpressLayout("x"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="table= is not for layout="):
        SQLAlchemyStore(engine, sa.Table("x", sa.MetaData()), layout=DjangoTable(SECRET))
    with pytest.raises(ConfigError, match="secret"):
        DjangoTable("")

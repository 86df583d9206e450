"""`hardtack doctor`: each thing that is wrong is found, with what to do; a configuration that is right has nothing wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.servers import RedisServer, free_port

from hardtack import Key
from hardtack.cli import FAILED, OK, USAGE, main
from hardtack.cli.doctor_servers import check_store, clock
from hardtack.cli.findings import Finding
from hardtack.stores._sql_logic import sessions_table
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import RedisStore
from hardtack.stores.sqlalchemy import SQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore

KEY = Key.generate().export()
GOOD = {"idle_timeout": "1 hour", "lifetime": "24 hours", "purpose": "shop"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that only its owner may write, with a key that only its owner may read."""
    tmp_path.chmod(0o700)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    return tmp_path


def written(folder: Path, settings: dict[str, Any]) -> Path:
    path = folder / "hardtack.toml"
    lines = [
        f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for name, value in settings.items()
    ]
    path.write_text("\n".join(["[hardtack]", *lines, ""]))
    path.chmod(0o600)
    return path


def ran(capsys: pytest.CaptureFixture[str], folder: Path, settings: dict[str, Any], *more: str) -> tuple[int, str]:
    file = written(folder, {"key_file": str(folder / "key"), **GOOD, **settings})
    code = main(["doctor", "--config", str(file), *more])
    return code, capsys.readouterr().out


def test_a_configuration_that_is_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong; what has a price is said all the same."""
    code, out = ran(capsys, folder, {}, "--aal", "2")

    assert code == OK
    assert "wrong" not in out
    assert "good   no sibling subdomain can plant the cookie" in out
    assert "good   the deadlines are within those of AAL2" in out
    assert "look   a copy of a cookie outlives the logout" in out
    assert "       do: set ended, the URL" in out
    assert "shares its sessions" not in out
    assert KEY not in out


def test_a_list_of_ended_sessions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With it a logout reaches the copies of a cookie."""
    code, out = ran(capsys, folder, {"ended": "memory://"})

    assert code == OK
    assert "outlives the logout" not in out


@pytest.mark.parametrize(
    ("settings", "more", "said"),
    [
        ({"cookie_secure": False, "cookie_name": "sid"}, [], "wrong  the cookie goes over plain http"),
        ({"cookie_name": "sid"}, [], "wrong  a sibling subdomain can plant the cookie sid"),
        ({"cookie_name": "__Host-sid", "cookie_httponly": False}, [], "wrong  scripts on the page read the cookie"),
        ({"lifetime": "31 days"}, [], "wrong  a session lives 31 days"),
        ({"lifetime": "1 day 1 minute"}, ["--aal", "2"], "wrong  a session lives 1441 minutes"),
        ({"idle_timeout": 3601}, ["--aal", "2"], "wrong  an unused session lives 3601 seconds"),
        ({"lifetime": "12 hours"}, ["--aal", "3"], "wrong  an unused session lives 1 hour"),
        ({"lifetme": "12 hours"}, [], "did you mean lifetime?"),
        ({"store": "memory://"}, [], "wrong  each process has a MemoryStore of its own"),
    ],
)
def test_what_is_wrong(
    settings: dict[str, Any], more: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, with what to do, and the exit code tells."""
    code, out = ran(capsys, folder, settings, *more)

    assert code == FAILED
    assert said in out
    assert "       do: " in out


def test_a_level_without_an_idle_timeout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AAL1 asks for none; the next one does."""
    file = written(folder, {"key_file": str(folder / "key"), "lifetime": "24 hours"})

    assert main(["doctor", "--config", str(file)]) == OK
    assert "look   a session that nobody uses lives as long as any" in capsys.readouterr().out
    assert main(["doctor", "--config", str(file), "--aal", "2"]) == FAILED
    assert "wrong  an unused session lives 1 day" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cookie_domain": "example.org", "cookie_name": "sid"}, "every subdomain of example.org gets the cookie"),
        ({"cookie_samesite": "None"}, "other sites make the browser send the cookie"),
        ({"persistent": True}, "the browser keeps the cookie after it was closed"),
        ({"purpose": ""}, "whose cookie is __Host-Http-session too, shares its sessions and logins"),
        ({"token": "signed"}, "reads what is in the session"),
        ({"max_set_cookie": 4096}, "nginx answers 502"),
        ({"overflow": "chunk"}, "a session may take several cookies"),
        ({"store": "STORE", "seal": False}, "whoever can read the store reads every session"),
        ({"store": "STORE", "on_store_error": "anonymous"}, "everybody looks logged out"),
        ({"store": "STORE", "max_size": "2 MiB"}, "a session may be larger than 1 MiB"),
    ],
)
def test_what_has_a_price(
    settings: dict[str, Any], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no mistake, and is said."""
    if "store" in settings:
        settings = {**settings, "store": f"sqlite:///{folder / 'sessions.db'}"}

    code, out = ran(capsys, folder, settings)

    assert code == OK
    assert any(line.startswith("look   ") and said in line for line in out.splitlines())


def test_files_that_others_may_touch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To write a key is to be anybody; to read it as well, where there is anybody else."""
    key = folder / "key"
    key.chmod(0o644)
    readable = ran(capsys, folder, {})
    key.chmod(0o662)
    writable = ran(capsys, folder, {})
    key.chmod(0o600)
    folder.chmod(0o777)
    replaceable = ran(capsys, folder, {})
    folder.chmod(0o1777)
    sticky = ran(capsys, folder, {})

    assert readable[0] == sticky[0] == OK
    assert f"look   key_file: every user of this machine may read {key}" in readable[1]
    assert writable[0] == replaceable[0] == FAILED
    assert f"wrong  key_file: other users may write {key}" in writable[1]
    assert f"wrong  key_file: other users may put another file in the place of {key}" in replaceable[1]


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "file"])
def test_a_store_that_others_may_touch(scheme: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its file or folder, and what that is in: to write it is to change the sessions, to read it is to know them."""
    place = folder / "place"
    place.mkdir()
    store = place / "sessions"
    if scheme == "file":
        store.mkdir()
    else:
        store.touch()
    settings = {"store": f"file://{store}" if scheme == "file" else f"{scheme}:///{store}"}
    if scheme == "sqlite+pysqlite":
        with closing(SQLAlchemyStore.from_url(settings["store"])) as made:
            made.create_table()
    answers = []
    for mode, mode_of_place in ((0o700, 0o755), (0o705, 0o755), (0o777, 0o777), (0o700, 0o777), (0o700, 0o1777)):
        store.chmod(mode)
        place.chmod(mode_of_place)
        answers.append(ran(capsys, folder, settings))
    good, readable, writable, replaceable, sticky = answers

    assert (good[0], readable[0], writable[0], replaceable[0]) == (OK, OK, FAILED, FAILED)
    assert f"good   nobody else may write {store}" in good[1]
    assert f"look   every user of this machine may read {store}" in readable[1]
    assert f"wrong  other users may write {store}, and with it the sessions" in writable[1]
    assert f"wrong  other users may write {place}, and put other sessions in the place of {store}" in replaceable[1]
    assert sticky == (good if scheme == "file" else replaceable)


def test_a_key_in_the_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It belongs apart, and is not shown."""
    file = written(folder, {"key": KEY, **GOOD})

    assert main(["doctor", "--config", str(file)]) == OK
    out = capsys.readouterr().out
    assert f"look   the key stands in {file}" in out
    assert KEY not in out


def test_the_environment(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --config it is looked at, with the files that it names."""
    monkeypatch.setenv("HARDTACK_KEY_FILE", str(folder / "key"))

    assert main(["doctor"]) == OK
    assert "good   key_file: nobody else may write" in capsys.readouterr().out


def test_a_configuration_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That is the command's mistake."""
    assert main(["doctor", "--config", str(folder / "none.toml")]) == USAGE
    assert "there is no file" in capsys.readouterr().err


def test_a_package_that_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the extra."""

    def missing(*arguments: Any) -> None:
        raise ImportError("pip install 'hardtack[redis]'")

    monkeypatch.setattr("hardtack.config.from_file", missing)

    assert main(["doctor", "--config", str(written(folder, {}))]) == USAGE
    assert "hardtack[redis]" in capsys.readouterr().err


# --- servers


def findings(store: Any) -> list[Finding]:
    async def found() -> list[Finding]:
        return [finding async for finding in check_store(store)]

    result = asyncio.run(found())
    if not isinstance(store, MemoryStore):
        store.close()
    return result


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.level for finding in found}


def test_redis(redis_server: RedisServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its clock, its policy, and that it takes sessions."""
    code, out = ran(capsys, folder, {"store": redis_server.url})

    assert code == OK
    assert "good   RedisStore takes a session, and gives it back" in out
    assert "good   the clock of Redis agrees with this one's" in out
    assert "good   Redis drops nothing before its end" in out


def test_a_redis_that_evicts(redis_server: RedisServer) -> None:
    """It logs users out when it is full."""
    store = RedisStore.from_url(redis_server.url)
    store._perform("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = findings(RedisStore.from_url(redis_server.url))
    finally:
        store._perform("CONFIG", "SET", "maxmemory-policy", "noeviction")
        store.close()

    assert [f.what for f in found if f.level == "wrong"] == [
        "Redis has maxmemory-policy allkeys-lru: when its memory is full it drops sessions, and logs users out"
    ]


def test_a_redis_that_does_not_say(redis_server: RedisServer) -> None:
    """A user who may not ask is no failure."""
    admin = RedisStore.from_url(redis_server.url)
    admin._perform("ACL", "SETUSER", "shop", "on", ">secret", "~*", "+@all", "-info", "-time")
    try:
        found = findings(RedisStore.from_url(redis_server.url.replace("redis://", "redis://shop:secret@")))
    finally:
        admin._perform("ACL", "DELUSER", "shop")
        admin.close()

    assert "Redis does not say its time and its policy (NoPermissionError)" in levels(found)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("ahead", "level", "said"),
    [
        (0.2, "good", "agrees"),
        (-4.9, "good", "agrees"),
        (6, "look", "6 seconds ahead of this one's"),
        (-90, "wrong", "90 seconds behind this one's"),
    ],
)
def test_clocks(ahead: float, level: str, said: str) -> None:
    """Some seconds are worth a look, and a minute is wrong."""
    finding = clock("the database", ahead)

    assert finding.level == level
    assert said in finding.what


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "postgresql+psycopg", "postgresql+asyncpg"])
def test_a_server_that_is_down(scheme: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is wrong, without a traceback and without the password."""
    code, out = ran(capsys, folder, {"store": f"{scheme}://user:hunter2@127.0.0.1:{free_port()}/0"})

    assert code == FAILED
    assert "hunter2" not in out
    assert "wrong  " in out


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLAlchemyStore]:
    """A store without its table."""
    url = f"sqlite+pysqlite:///{tmp_path / 'sessions.db'}"
    (tmp_path / "sessions.db").touch(0o600)  # SQLite takes the mode that is there, and else one that others may read
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_server").url
    engine = sa.create_engine(url)
    table = sessions_table(sa.MetaData(), "doctor_sessions")
    yield SQLAlchemyStore(engine, table=table)
    table.drop(engine, checkfirst=True)
    engine.dispose()


def test_a_database(store: SQLAlchemyStore) -> None:
    """Without its table nothing works; with it all is well."""
    before = findings(store)
    store.create_table()
    after = levels(findings(store))

    assert "there is no table doctor_sessions" in levels(before)
    assert before[-1].level == "wrong"
    assert after["the table doctor_sessions has its columns and indexes"] == "good"
    assert after["SQLAlchemyStore takes a session, and gives it back"] == "good"
    assert after["nothing lies there that expired more than a week ago"] == "good"
    assert set(after.values()) == {"good"}


def test_a_driver_that_waits_for_ever(store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has no timeout for an answer."""
    store.create_table()
    monkeypatch.setattr(store._engine.dialect, "driver", "psycopg2")

    found = [finding for finding in findings(store) if "psycopg2" in finding.what]

    assert [finding.level for finding in found] == ["look"]
    assert found[0].what.startswith("SQLAlchemyStore waits for an answer as long as PostgreSQL stands still")
    assert found[0].do.startswith("postgresql+psycopg:// in its URL")


def test_a_table_without_indexes(store: SQLAlchemyStore) -> None:
    """A migration by hand that forgot them: ending a user's sessions reads the whole table."""
    store.create_table()
    for index in list(store.table.indexes):
        index.drop(store._engine)

    found = levels(findings(store))

    what = "the table doctor_sessions has no index of expires_at, subject_hash"
    assert found[f"{what}: ending a user's sessions and sweeping read all rows"] == "wrong"


def test_a_table_without_a_column(store: SQLAlchemyStore) -> None:
    """One of an earlier version, or of somebody else."""
    with store._engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE doctor_sessions (expires_at BIGINT, data VARCHAR(9))"))

    found = levels(findings(store))

    assert found["the table doctor_sessions lacks key, version, subject_hash"] == "wrong"


def test_a_database_that_nobody_sweeps(store: SQLAlchemyStore) -> None:
    """It grows, and says nothing."""
    store.create_table()
    store.put("old", b"", expires_at=int(time.time()) - 8 * 86400, if_version=None, subject=None)

    assert levels(findings(store))["sessions that expired more than a week ago are still there"] == "look"


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
def test_sqlite_by_url(scheme: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways to keep sessions in a file; nothing of the doctor's is left there."""
    url = f"{scheme}:///{folder / 'sessions.db'}"
    assert main(["create-table", url]) == OK

    code, out = ran(capsys, folder, {"store": url})

    assert code == OK
    assert "takes a session, and gives it back" in out
    if scheme == "sqlite":
        store = SQLiteStore(folder / "sessions.db")
        assert store.count() == 0
        store.close()


class Forgets:
    """A store that takes everything and keeps nothing."""

    blocking = False

    def get(self, key: str) -> None:
        return None

    def put(self, key: str, data: bytes, **rest: Any) -> int:
        return 1

    def delete(self, key: str) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""


def test_a_store_that_keeps_nothing() -> None:
    """It answers well, and is not one."""
    found = levels(findings(Forgets()))

    assert found == {"Forgets cannot be used: what was written could not be read": "wrong"}

"""The log of logins: what stands in it, where it goes when it is full, and who was logged in at a moment."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from tests.kit import KEY, Clock, Jar, Site

from hardtack import CookieEngine, StoreEngine
from hardtack.audit import AuditLog, read_file, read_store, stays
from hardtack.errors import ConfigError
from hardtack.events import IdChanged, LoggedIn, LoggedOut, Saved
from hardtack.request import Request
from hardtack.stores.memcached import MemcachedStore
from hardtack.stores.memory import MemoryStore
from hardtack.stores.sqlite import SQLiteStore

REQUEST = Request(method="POST", path="/login", client="192.0.2.1", user_agent="Browser/1\n")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return list(read_file(path))


def at(clock: Clock, offset: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(clock.now + offset, dt.UTC)


def logged(path: Path, engine: Any = None, **options: Any) -> Site:
    """A site that keeps a log in a file."""
    site = Site(engine, **options)
    site.sessions.on_event = AuditLog(path, clock=site.clock, also=site.events.append)
    return site


def log_in(site: Site, subject: str) -> str:
    session = site.sessions.open(site.jar.header, REQUEST)
    session.login(subject, label="Firefox")
    site.commit(session)
    return str(session.id)


# --- what is written


def test_a_login_is_a_line_of_json(tmp_path: Path) -> None:
    """With the user, the end at the latest, and where it came from."""
    site = logged(tmp_path / "log")
    session = log_in(site, "alice")

    (line,) = lines_of(tmp_path / "log")

    assert line == {
        "time": "2096-10-02T07:06:40.000Z",
        "event": "LoggedIn",
        "id": session,
        "subject": "alice",
        "label": "Firefox",
        "until": site.clock.now + 14 * 86_400,
        "method": "POST",
        "path": "/login",
        "client": "192.0.2.1",
        "agent": "Browser/1\\n",
    }


def test_what_is_no_login_is_not_written(tmp_path: Path) -> None:
    """Reads and saves come by the thousand; who listens besides hears them."""
    site = logged(tmp_path / "log")
    site.visit(x=1)
    site.visit(x=2)

    assert (lines_of(tmp_path / "log"), Saved in {type(event) for event in site.events}) == ([], True)


def test_who_acts_as_another_is_written(tmp_path: Path) -> None:
    """Both users, in each line of that session."""
    site = logged(tmp_path / "log", StoreEngine(MemoryStore()))
    log_in(site, "agent")
    for call in ("impersonate", "logout"):
        session = site.open()
        getattr(session, call)(*(["bob"] if call == "impersonate" else []))
        site.commit(session)
    told = [(line["event"], line.get("subject"), line.get("actor")) for line in lines_of(tmp_path / "log")]

    assert told == [
        ("LoggedIn", "agent", None),
        ("LoggedIn", "bob", "agent"),
        ("LoggedOut", "agent", None),
        ("LoggedOut", "bob", "agent"),
    ]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """It says who is logged in from where."""
    logged_in = logged(tmp_path / "log")
    log_in(logged_in, "alice")

    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


# --- where it goes when it is full


def test_a_full_file_is_renamed(tmp_path: Path) -> None:
    """Three are kept beside it, the oldest goes, and no line is cut."""
    log = AuditLog(tmp_path / "log", max_size=400, keep=3)
    for number in range(60):
        log(LoggedOut(f"s{number}", "alice", "logout"))
    names = sorted(each.name for each in tmp_path.iterdir())
    kept = [line["id"] for line in lines_of(tmp_path / "log")]

    assert names == ["log", "log.1", "log.2", "log.3", "log.lock"]
    assert all(each.stat().st_size <= 400 for each in tmp_path.iterdir())
    assert kept == [f"s{number}" for number in range(60 - len(kept), 60)]
    assert len(kept) > 8


def test_without_any_kept_the_full_file_goes(tmp_path: Path) -> None:
    """Where another program has read it already."""
    log = AuditLog(tmp_path / "log", max_size=200, keep=0)
    for number in range(10):
        log(LoggedOut(f"s{number}", "alice", "logout"))

    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.lock"]


def write_many(path: str, name: str) -> None:
    log = AuditLog(path, max_size=5_000, keep=900)
    for number in range(200):
        log(LoggedOut(f"{name}{number}", "alice", "logout"))


def test_processes_that_write_and_rename_at_once_lose_nothing(tmp_path: Path) -> None:
    """Four workers of a server; each line is whole, and there once."""
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=write_many, args=(str(tmp_path / "log"), name)) for name in "abcd"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    ids = [line["id"] for line in lines_of(tmp_path / "log")]

    assert sorted(ids) == sorted(f"{name}{number}" for name in "abcd" for number in range(200))


def test_a_log_that_cannot_be_written_fails_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, and the user is logged in."""
    site = logged(tmp_path / "log")
    (tmp_path / "log").mkdir()
    log_in(site, "alice")

    assert site.open().subject == "alice"
    assert "on_event raised" in caplog.text
    assert len(site.told(LoggedIn)) == 1


# --- in a store


def test_a_store_has_the_lines_of_each_user(tmp_path: Path) -> None:
    """And those of nobody in particular, for the chain of ids; sessions in the same store are not in the way."""
    store = SQLiteStore(tmp_path / "audit.db")
    site = Site(StoreEngine(MemoryStore()))
    site.sessions.on_event = AuditLog(store, clock=site.clock)
    log_in(site, "alice")
    site.jar = Jar()
    log_in(site, "bob")
    session = site.open()
    session.regenerate()
    site.commit(session)

    assert [line["event"] for line in read_store(store, "alice")] == ["LoggedIn", "IdChanged"]
    assert [line["subject"] for line in read_store(store, "bob") if "subject" in line] == ["bob"]
    store.close()


class Forgetful(MemoryStore):
    """A store whose index names what it has no more."""

    def get(self, key: str) -> Any:
        return None


def test_an_index_that_is_behind_is_no_error() -> None:
    """Redis names for a while what has expired."""
    store = Forgetful()
    AuditLog(store)(LoggedOut("i", "alice", "logout"))

    assert read_store(store, "alice") == []


# --- who was logged in


def test_who_was_logged_in_at_a_moment(tmp_path: Path) -> None:
    """Through a change of the id, up to the logout; another user is not shown."""
    site = logged(tmp_path / "log", StoreEngine(MemoryStore()))
    log_in(site, "alice")
    site.clock.now += 100
    session = site.open()
    session.regenerate()
    site.commit(session)
    site.clock.now += 100
    session = site.open()
    session.logout()
    site.commit(session)
    log_in(site, "bob")

    (stay,) = stays(lines_of(tmp_path / "log"), "alice")

    moments = [stay.lasted_at(at(site.clock, offset)) for offset in (-201, -200, -50, -1, 0)]
    assert moments == [False, True, True, True, False]
    assert stay.cause == "logout"


def test_a_session_ends_at_its_deadline(tmp_path: Path) -> None:
    """Of one that nobody ended the log knows the latest end."""
    site = logged(tmp_path / "log", lifetime="1 hour")
    log_in(site, "alice")

    (stay,) = stays(lines_of(tmp_path / "log"))

    assert [stay.lasted_at(at(site.clock, offset)) for offset in (3_599, 3_600)] == [True, False]


def test_a_login_again_begins_another_stay(tmp_path: Path) -> None:
    """In one browser; the first ends with the second."""
    site = logged(tmp_path / "log", StoreEngine(MemoryStore()))
    log_in(site, "alice")
    site.clock.now += 10
    log_in(site, "alice")

    causes = [stay.cause for stay in stays(lines_of(tmp_path / "log"), "alice")]
    assert causes == ["login", ""]


def test_an_expired_session_has_ended(tmp_path: Path) -> None:
    """When it came too late."""
    site = logged(tmp_path / "log", CookieEngine(KEY), idle_timeout=60)
    log_in(site, "alice")
    site.clock.now += 61
    assert site.open().subject is None

    assert [stay.cause for stay in stays(lines_of(tmp_path / "log"))] == ["expired"]


def test_who_acted_is_found_as_well(tmp_path: Path) -> None:
    """By either name."""
    log = AuditLog(tmp_path / "log")
    log(LoggedIn("i", "bob", "agent"))
    log(LoggedOut("other", "bob", "ended"))
    log(IdChanged("unknown", "other", False))

    assert [len(stays(lines_of(tmp_path / "log"), who)) for who in ("bob", "agent", "carol")] == [1, 1, 0]


def test_what_is_no_line_is_passed_over(tmp_path: Path) -> None:
    """A line that was cut by a full disk, or that somebody wrote by hand."""
    path = tmp_path / "log"
    AuditLog(path)(LoggedOut("i", "alice", "logout"))
    with path.open("a") as file:
        file.write('{"time": "20\n[1]\n{"time": 5, "event": "x"}\n\n')
    AuditLog(path)(LoggedOut("j", "alice", "logout"))

    assert [line["id"] for line in lines_of(path)] == ["i", "j"]


# --- settings


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((["/no/such/folder/log"], {}), "no folder"),
        ((["log"], {"max_size": "big"}), "max_size"),
        ((["log"], {"keep": -1}), "keep"),
        (([MemoryStore()], {"retention": "soon"}), "retention"),
        (([MemcachedStore.from_url("memcached://127.0.0.1:1")], {}), "finds by subject"),
        (([5], {}), "get"),
    ],
)
def test_a_wrong_setting_is_told(arguments: Any, told: str) -> None:
    """When the log is made."""
    with pytest.raises(ConfigError, match=told):
        AuditLog(*arguments[0], **arguments[1])


def test_lines_are_json_of_one_line(tmp_path: Path) -> None:
    """Whatever a client or an application has put into its names."""
    AuditLog(tmp_path / "log")(LoggedIn("i", "al\nice\ud800", None, "\u2028"))
    text = (tmp_path / "log").read_bytes()

    assert (text.count(b"\n"), json.loads(text)["label"]) == (1, "\u2028")

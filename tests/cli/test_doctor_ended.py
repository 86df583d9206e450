"""`hardtack doctor` on the list of ended sessions: whether it can be used, by whom it was made, and who may touch it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.cli.test_doctor import GOOD, folder, ran
from tests.servers import RedisServer, free_port

from hardtack import EndedSessions, Key
from hardtack.cli import FAILED, OK
from hardtack.cli.doctor_ended import check_list
from hardtack.cli.findings import Finding
from hardtack.ended.protocol import Batch

__all__ = ["folder"]

KEY, OTHER_KEY = Key.generate(), Key.generate()


def made(url: str, key: Key = KEY, *, create: bool = True, users: int = 0, **settings: Any) -> EndedSessions:
    """A list under a key, with so many users whose sessions were ended."""
    ended = EndedSessions.from_url(url, key=key, **settings)
    ended.bind(None, "", None, None)
    if create:
        ended.create()
        for number in range(users):
            ended.end_subject(f"user {number}")
    return ended


def found(ended: EndedSessions) -> list[Finding]:
    """What is said of it. A list that was looked at is closed."""
    result = list(check_list(ended))
    ended.close()
    return result


def texts(findings: list[Finding], level: str) -> list[str]:
    return [finding.what for finding in findings if finding.level == level]


@pytest.fixture(params=["file", "sqlite", "redis", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each kind of channel, new."""
    tmp_path.chmod(0o700)
    if request.param == "file":
        yield f"file://{tmp_path}/ended"
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ended.sqlite"
    else:
        server = request.getfixturevalue(f"{request.param}_server")
        yield server.url
        if request.param == "redis":
            redis.Redis(port=server.port).flushall()
        else:
            channel: Any = EndedSessions.from_url(server.url).new_channel()
            channel._metadata.drop_all(channel._engine)
            channel.close()


def test_a_list_that_is_right(url: str) -> None:
    """What it has, how long that takes to read, and that its clock agrees."""
    findings = found(made(url, users=3))

    assert texts(findings, "wrong") == texts(findings, "look") == []
    said = texts(findings, "good")
    assert "the clock of the list of ended sessions agrees with this one's" in said
    assert any(each.startswith("the list of ended sessions has 3 ends, and is read in ") for each in said)


def test_a_list_that_was_not_created(url: str) -> None:
    """It is not told apart from one that was lost: what to do in either case."""
    (finding,) = [each for each in found(made(url, create=False)) if each.level == "wrong"]

    assert finding.what == "the channel of the list of ended sessions is empty"
    assert "hardtack ended URL --create" in finding.do
    assert "add --all" in finding.do


def test_a_list_of_other_keys(url: str) -> None:
    """Nobody gets in, and the log of the application says so; here it is known before."""
    made(url, OTHER_KEY).close()

    (said,) = texts(found(made(url, create=False)), "wrong")

    assert "(origin): the channel was made with another key" in said


def test_entries_of_another_application(tmp_path: Path) -> None:
    """Somebody else writes to the channel."""
    url = f"file://{tmp_path}/ended"
    ended = made(url, users=1)
    other = made(url, OTHER_KEY, create=False)
    raw = other._get_codec().seal(other_entry(other))
    ended.new_channel().append(lambda now: [raw, raw, b"torn"], None)
    other.close()

    said = texts(found(ended), "wrong")

    assert [each.partition(": ")[0] for each in said] == [
        "2 entries of the list of ended sessions were not used (foreign)",
        "1 entries of the list of ended sessions were not used (torn)",
    ]


def other_entry(ended: EndedSessions) -> Any:
    from hardtack.ended.entries import All

    return All(time.time_ns() // 1000)


def test_a_list_in_memory() -> None:
    """Each process has its own."""
    assert texts(found(made("memory://")), "look") == [
        "each process has a list of ended sessions of its own, which is empty after a start"
    ]


@pytest.mark.skipif(os.name != "posix", reason="there are no permissions")
@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_a_file_that_others_may_write(kind: str, tmp_path: Path) -> None:
    """They take out what was ended."""
    path = tmp_path / "ended"
    url = f"file://{path}" if kind == "file" else f"sqlite:///{path}"
    made(url).close()
    tmp_path.chmod(0o700)
    path.chmod(0o660)
    writable = texts(found(made(url, create=False)), "wrong")
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    replaceable = texts(found(made(url, create=False)), "wrong")
    tmp_path.chmod(0o1777)
    sticky = texts(found(made(url, create=False)), "wrong")

    assert writable == [f"other users may write {path}, and take ends out of the list"]
    assert replaceable == [f"other users may put another list in the place of {path}"]
    assert sticky == []


def test_a_driver_that_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of as that of a store is."""
    ended = made(f"sqlite:///{tmp_path}/ended.sqlite")
    channel: Any = ended.new_channel()
    monkeypatch.setattr(channel._engine.dialect, "driver", "psycopg2")
    monkeypatch.setattr(ended, "new_channel", lambda: channel)

    assert "the list of ended sessions waits for an answer as long as PostgreSQL stands still" in str(found(ended))


def test_a_redis_that_evicts(redis_server: RedisServer) -> None:
    """What was ended comes back when its memory is full."""
    client = redis.Redis(port=redis_server.port)
    client.config_set("maxmemory-policy", "volatile-ttl")
    try:
        findings = found(made(redis_server.url))
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.flushall()
        client.close()

    assert texts(findings, "wrong") == [
        "the Redis of the list of ended sessions has maxmemory-policy volatile-ttl: when its memory is full it drops ends, and "
        "whoever has a copy of a cookie is back"
    ]


def test_a_redis_that_does_not_say(redis_server: RedisServer) -> None:
    """A user who may not ask is no failure."""
    client = redis.Redis(port=redis_server.port)
    client.acl_setuser("list", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"])
    try:
        findings = found(made(redis_server.url.replace("redis://", "redis://list:secret@")))
    finally:
        client.acl_deluser("list")
        client.flushall()
        client.close()

    assert texts(findings, "look") == [
        "the Redis of the list of ended sessions does not say its policy (NoPermissionError)"
    ]
    assert "secret" not in str(findings)


class Slow:
    """A channel that takes long, in pieces, as the time that is looked at tells."""

    alone = False

    def __init__(self, monkeypatch: pytest.MonkeyPatch, origin: bytes) -> None:
        self.origin = origin
        self.now = 0.0
        monkeypatch.setattr("hardtack.cli.doctor_ended.time.monotonic", lambda: self.now)

    def read(self, position: str, wait: float) -> Batch:
        self.now += 20
        return Batch([], "2", time.time_ns() // 1000, self.origin, complete=position == "2")

    def close(self) -> None:
        pass


def test_a_list_that_is_stale_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts has no answer for so long."""
    ended = made(f"file://{tmp_path}/ended")
    origin = ended.new_channel().read("", 0).origin
    assert origin is not None
    monkeypatch.setattr(ended, "_open_channel", lambda purpose: Slow(monkeypatch, origin))

    assert texts(list(check_list(ended)), "look") == [
        "the list of ended sessions takes 40.0 seconds to read, and counts as stale after 60"
    ]
    ended.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "postgresql+psycopg"])
def test_a_list_that_is_down(scheme: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its configuration, as one that is right is."""
    url = f"{scheme}://shop:hunter2@127.0.0.1:{free_port()}/0"
    code, out = ran(capsys, folder, {"ended": url})

    assert code == FAILED
    assert "wrong  the list of ended sessions cannot be read: " in out
    assert "hunter2" not in out


def test_a_list_that_can_be_nowhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The application would say so with its first request."""
    code, out = ran(capsys, folder, {"ended": f"file://{folder}/missing/ended"})

    assert code == FAILED
    assert "wrong  the list of ended sessions cannot be kept in" in out


def test_a_configuration_with_a_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is created by the command that the finding names."""
    from hardtack.cli import main

    url = f"file://{folder}/ended"
    before, _ = ran(capsys, folder, {"ended": url})
    created = main(["ended", url, "--create", "--purpose", GOOD["purpose"], "--key-file", str(folder / "key")])
    after, out = ran(capsys, folder, {"ended": url})

    assert (before, created, after) == (FAILED, OK, OK)
    assert f"good   nobody else may write the list of ended sessions, {folder}/ended" in out

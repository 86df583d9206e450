"""`hardtack keys`: the commands, and a rotation by cron over two months in which no session is lost."""

from __future__ import annotations

import io
import os
import shutil
import time
from hashlib import sha256
from pathlib import Path

import pytest
from tests.kit import Clock

from hardtack import EncryptedToken, Key, Keyring, Record
from hardtack.cli import main
from hardtack.protocols import Context

DAY = 86400
HOUR = 3600
NOW = 2_000_000_000
KNOWN = Key(sha256(b"bread").digest())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The machine's clock, in the test's hand."""
    found = Clock(NOW)
    monkeypatch.setattr(time, "time", found)
    return found


@pytest.fixture
def file(tmp_path: Path, clock: Clock) -> str:
    return str(tmp_path / "keys.toml")


def ids(capsys: pytest.CaptureFixture[str], file: str) -> dict[str, str]:
    """What `list` says of each key."""
    capsys.readouterr()
    assert main(["keys", "list", file]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.partition("  ")[0]: line.partition("  ")[2].partition("  (added ")[0] for line in lines}


def test_a_file_from_the_first_key_to_the_second(file: str, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says what it did, `list` what there is, and none of them shows a key."""
    assert main(["keys", "init", file, "--lifetime", "10 days", "--spread", "1 hour"]) == 0
    (first,) = ids(capsys, file)
    assert main(["keys", "add", file]) == 0
    (_, second) = ids(capsys, file)
    assert ids(capsys, file) == {first: "issues", second: "is accepted"}

    assert main(["keys", "issue", file, second]) == 0
    assert ids(capsys, file) == {
        first: "is accepted until 2033-05-28T04:53:20Z",
        second: "is accepted, and issues from 2033-05-18T04:43:20Z",
    } | {first: "issues"}
    clock.now += 2 * HOUR
    assert ids(capsys, file) == {first: "is accepted until 2033-05-28T04:53:20Z", second: "issues"}
    clock.now += 10 * DAY
    assert ids(capsys, file) == {first: "is dropped", second: "issues"}
    assert main(["keys", "drop", file, first]) == 0
    assert ids(capsys, file) == {second: "issues"}

    assert "htk1_" not in capsys.readouterr().out


def test_a_site_brings_its_key_along(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that a site has becomes the first of its file, so that nobody is logged out."""
    monkeypatch.setattr("sys.stdin", io.StringIO(KNOWN.export() + "\n"))

    assert main(["keys", "init", file, "--stdin"]) == 0

    assert Keyring.from_file(file).current == KNOWN


def test_root_tends_the_file_of_a_site(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner is the user that the site runs as, and nobody else could read a session with it."""
    main(["keys", "init", file])
    owner = os.geteuid() or 4321
    if os.geteuid() == 0:
        os.chown(file, owner, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert main(["keys", "add", file]) == 0

    assert len(ids(capsys, file)) == 2
    assert Path(file).stat().st_uid == owner


def test_a_key_that_leaked(file: str, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Another issues at once, and the one that leaked is gone."""
    main(["keys", "init", file])
    main(["keys", "add", file])
    first, second = ids(capsys, file)
    clock.now += 60

    assert main(["keys", "issue", "--now", file, second]) == 0
    assert main(["keys", "drop", "--now", file, first]) == 0

    assert ids(capsys, file) == {second: "issues"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["list", "FILE.missing"], "cannot be read"),
        (["init", "FILE"], "there is such a file"),
        (["init", "/no/such/folder/keys.toml"], "No such file"),
        (["init", "FILE.other", "--spread", "0"], "--spread is missing or nothing"),
        (["init", "FILE.other", "--lifetime", "soon"], "--lifetime='soon' is not a duration"),
        (["issue", "FILE", "abc"], "is not in the file"),
        (["drop", "FILE", "abc"], "is not in the file"),
        (["rotate", "FILE", "--every", "1 hour"], "every must be more than"),
    ],
)
def test_what_cannot_be_done(file: str, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str) -> None:
    """The exit code is 1, the reason is told, and the file stays as it was."""
    main(["keys", "init", file])
    before = Path(file).read_text("utf-8")

    code = main(["keys", *(each.replace("FILE", file) for each in arguments)])

    assert code == 1
    assert problem in capsys.readouterr().err
    assert Path(file).read_text("utf-8") == before


def version_of(file: str) -> tuple[int, int, int]:
    """What processes look at; not when it was read last, which looking changes."""
    status = Path(file).stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def test_cron_says_nothing_where_nothing_is_due(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And leaves the file alone: no process reads it again."""
    main(["keys", "init", file])
    before = version_of(file)
    capsys.readouterr()

    assert main(["keys", "rotate", file, "--every", "30d"]) == 0

    assert capsys.readouterr().out == ""
    assert version_of(file) == before


class Server:
    """A process that gets the file late, and seals and opens with it."""

    def __init__(self, source: str, copy: Path, delay: int) -> None:
        self._source = Path(source)
        self._delay = delay
        self._copy = copy
        self._versions: list[tuple[float, bytes]] = []
        shutil.copy(source, copy)
        self.token = EncryptedToken(Keyring.from_file(copy, reload=0))

    def receive(self, now: float) -> None:
        """Have the file as it was `delay` seconds ago."""
        self._versions.append((now, self._source.read_bytes()))
        arrived = [content for then, content in self._versions if then <= now - self._delay]
        if arrived and self._copy.read_bytes() != arrived[-1]:
            temporary = self._copy.with_suffix(".new")
            temporary.write_bytes(arrived[-1])
            temporary.chmod(0o600)
            temporary.replace(self._copy)


@pytest.mark.slow
def test_a_rotation_loses_no_session(
    file: str, tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sessions sealed at any moment, by a process that has the file at once or one that has it a day late, open in both."""
    main(["keys", "init", file, "--lifetime", "14 days", "--spread", "1 day"])
    servers = [Server(file, tmp_path / f"server{delay}.toml", delay) for delay in (0, DAY)]
    sealed: list[tuple[float, str]] = []
    issued: set[str] = set()

    for hour in range(0, 24 * 75, 6):
        clock.now = NOW + hour * HOUR
        if hour % 24 == 0:
            assert main(["keys", "rotate", file, "--every", "30d"]) == 0
        for server in servers:
            server.receive(clock.now)
        context = Context("session", "", int(clock.now))
        for server in servers:
            record = Record(bytes(16), int(clock.now), None, int(clock.now), None, {}, {"a": hour})
            sealed.append((clock.now, server.token.seal(record, context)["session"]))
            issued.add(sealed[-1][1][:8])
        sealed = [(then, value) for then, value in sealed if clock.now < then + 14 * DAY]
        for server in servers:
            for _, value in sealed:
                server.token.open({"session": [value]}, context)

    assert len(issued) == 3
    assert list(ids(capsys, file).values()).count("issues") == 1
    assert len(ids(capsys, file)) == 2  # the first is gone; the second is still needed

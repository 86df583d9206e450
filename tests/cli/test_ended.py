"""`hardtack ended`: what it prints, what it ends, and how it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers import free_port

from hardtack import Key
from hardtack.cli import FAILED, OK, USAGE, main
from hardtack.ended import EndedSessions

KEY = Key.generate()
ID = b"0123456789abcdef"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A channel that was never created."""
    return f"file://{tmp_path / 'ended'}"


@pytest.fixture
def followed(url: str, tmp_path: Path) -> Iterator[Callable[[], EndedSessions]]:
    """The list as an application follows it, once there is one."""
    made: list[EndedSessions] = []

    def follow() -> EndedSessions:
        ended = EndedSessions.from_url(url, KEY, snapshots=tmp_path)
        ended.bind(None, "", 86400, 7200)
        made.append(ended)
        ended.start()
        return ended

    yield follow
    for each in made:
        each.close()


def test_create(url: str, capsys: pytest.CaptureFixture[str], followed: Callable[[], EndedSessions]) -> None:
    """Once; the second time changes nothing."""
    codes = [main(["ended", url, "--create", "--key", KEY.export()]) for _ in range(2)]

    assert codes == [OK, OK]
    assert capsys.readouterr().out == "created\nit was created before: nothing is changed\n"
    assert followed().check(ID) is None


def test_end_a_user_and_everybody(
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    followed: Callable[[], EndedSessions],
) -> None:
    """With the key in a file, or in the environment, as the application has it."""
    key_file = tmp_path / "key"
    key_file.write_text(KEY.export() + "\n")

    assert main(["ended", url, "--create", "--subject", "alice", "--key-file", str(key_file)]) == OK
    ended = followed()
    found = ended.check(ID, "alice", drawn=1)
    assert found is not None
    assert found.cause == "subject"
    assert ended.check(ID, "bob", drawn=1) is None

    monkeypatch.setenv("HARDTACK_KEY", KEY.export())
    assert main(["ended", url, "--all"]) == OK
    ended.draw_time()
    assert ended.check(ID, "bob", drawn=1)
    assert capsys.readouterr().out == "created\nall sessions of 'alice' have ended\neverybody's sessions have ended\n"


def test_what_there_is(url: str, capsys: pytest.CaptureFixture[str], followed: Callable[[], EndedSessions]) -> None:
    """How many entries of each kind, how old, and the clocks; without a key, and without telling any limits."""
    main(["ended", url, "--create", "--subject", "alice", "--all", "--key", KEY.export()])
    ended = followed()
    ended.end_session(ID)
    ended.end_provider("op", "1")
    capsys.readouterr()

    code = main(["ended", url])

    lines = capsys.readouterr().out.splitlines()
    assert code == OK
    assert lines[0] == "6 entries: 1 of sessions, 1 of users, 1 of providers, 1 of all"
    assert lines[1].startswith("the oldest is ")
    assert lines[2].startswith("read to the end in ")
    assert lines[3].startswith("the channel's clock is 0.")


def test_more_entries_than_one_read_returns(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are counted."""
    monkeypatch.setattr("hardtack.ended.channels.file._READ", 300)
    for number in range(10):
        main(["ended", url, "--create", "--subject", f"user{number}", "--key", KEY.export()])
    capsys.readouterr()

    main(["ended", url])

    assert capsys.readouterr().out.startswith("11 entries: 0 of sessions, 10 of users,")


def test_a_channel_that_was_never_created(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Says what to do; nothing is made by looking."""
    code = main(["ended", url])

    assert code == FAILED
    assert "--create" in capsys.readouterr().err
    assert not Path(url.removeprefix("file://")).exists()


def test_entries_that_cannot_be_read(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Are counted, and nothing is known of their age."""
    (tmp_path / "ended").write_text("hardtack-ended 1 a aWRlbnRpdHk\n1 \n2 eA\n")

    code = main(["ended", url])

    lines = capsys.readouterr().out.splitlines()
    assert code == OK
    assert lines[0] == "2 entries: 0 of sessions, 0 of users, 0 of providers, 0 of all"
    assert lines[1].startswith("read to the end in ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--all"], "HARDTACK_KEY, --key-file or --key"),
        (["--all", "--key", "hunter2"], "not a hardtack key"),
    ],
)
def test_a_key_that_is_missing_or_none(
    arguments: list[str],
    problem: str,
    url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command was wrong; the key is not shown."""
    monkeypatch.delenv("HARDTACK_KEY", raising=False)

    code = main(["ended", url, *arguments])

    printed = capsys.readouterr()
    assert code == USAGE
    assert problem in printed.err
    assert "hunter2" not in printed.err


def test_a_key_file_that_is_not_there(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""
    code = main(["ended", url, "--all", "--key-file", str(tmp_path / "nothing")])

    assert code == FAILED
    assert capsys.readouterr().err.count("\n") == 1


def test_a_channel_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""
    code = main(["ended", "kraken://deep"])

    assert code == USAGE
    assert capsys.readouterr().err.startswith("hardtack: the URL of the list of ended sessions begins with 'kraken'")


@pytest.mark.parametrize("arguments", [[], ["--all"]])
def test_a_channel_that_cannot_be_reached(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The end did not happen, and the exit code says so."""
    url = f"redis://user:hunter2@127.0.0.1:{free_port()}/0"

    code = main(["ended", url, "--key", KEY.export(), *arguments])

    printed = capsys.readouterr()
    assert code == FAILED
    assert printed.out == ""
    assert "hunter2" not in printed.err

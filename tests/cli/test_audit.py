"""`hardtack audit`: who logged in, and who was logged in at a moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardtack.audit import AuditLog
from hardtack.cli import main
from hardtack.events import LoggedIn, LoggedOut
from hardtack.stores.sqlite import SQLiteStore

NINE = 1_795_510_800  # 2026-11-24T09:00:00Z


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Alice was logged in from eight to ten, an agent as bob from half past nine."""
    now = [0.0]
    written = AuditLog(tmp_path / "log", clock=lambda: now[0])
    for time, event in (
        (NINE - 3_600, LoggedIn("a", "alice", None, "Firefox").with_until(NINE + 86_400)),
        (NINE + 1_800, LoggedIn("b", "bob", "agent")),
        (NINE + 3_600, LoggedOut("a", "alice", "logout")),
    ):
        now[0] = time
        written(event)
    return tmp_path / "log"


def test_all_logins_are_shown(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With their ends."""
    assert main(["audit", str(log)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-24T08:00:00.000Z until 2026-11-24T10:00:00.000Z (logout): alice Firefox",
        "2026-11-24T09:30:00.000Z with no end in the log: bob, as whom agent acted,",
    ]


@pytest.mark.parametrize(
    ("moment", "who"),
    [("2026-11-24T09:00", ["alice"]), ("2026-11-24T10:45+01:00", ["alice", "bob"]), ("2026-11-24T10:00Z", ["bob"])],
)
def test_who_was_logged_in_at_a_moment(
    log: Path, moment: str, who: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """In UTC, or in the time that is given."""
    assert main(["audit", str(log), "--at", moment, "--json"]) == 0
    assert [json.loads(line)["subject"] for line in capsys.readouterr().out.splitlines()] == who


def test_the_lines_of_one_user(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As they stand in the log."""
    assert main(["audit", str(log), "--subject", "alice", "--events"]) == 0
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["LoggedIn", "LoggedOut"]


def test_an_open_end_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the deadline, where the log has one; what a client chose brings no escape sequence."""
    AuditLog(tmp_path / "log", clock=lambda: NINE)(LoggedIn("a", "zoë\x1b[2J").with_until(NINE + 60))

    assert main(["audit", str(tmp_path / "log")]) == 0
    assert capsys.readouterr().out == "2026-11-24T09:00:00.000Z until 2026-11-24T09:01:00Z at the latest: zoë\\x1b[2J\n"


def test_a_log_in_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the user who is named."""
    url = f"sqlite:///{tmp_path}/audit.db"
    store = SQLiteStore(tmp_path / "audit.db")
    AuditLog(store)(LoggedIn("a", "alice"))
    store.close()

    assert main(["audit", url, "--subject", "alice"]) == 0
    assert "alice" in capsys.readouterr().out
    assert main(["audit", url]) == 2
    assert "--subject" in capsys.readouterr().err


def test_what_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there; a time that is none."""
    assert main(["audit", str(tmp_path / "none")]) == 1
    assert "no file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["audit", str(tmp_path / "none"), "--at", "Tuesday"])
    assert "is not a time" in capsys.readouterr().err

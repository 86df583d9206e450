"""docs/operations.md: the table is that of `make soak`, which fails where a user saw what nobody may see."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks.soak import __main__ as program
from benchmarks.soak import faults, stores
from benchmarks.soak.__main__ import Outcome, Row
from benchmarks.soak.users import Answer, User
from tests import needs

ROW = Row("gunicorn", "redis", faults.killed)
FORGETFUL = Row("gunicorn", "memcached", faults.killed, forgets="it keeps nothing")


class Nowhere:
    """A way to a site that has nobody and nothing."""

    def ask(self, method: str, path: str, cookie: str) -> tuple[int, list[str], bytes]:
        return 200, [], b'{"user": null, "number": 0}'

    def close(self) -> None:
        """Nothing is open."""


def a_user(*seen: dict[str, Any], status: int = 200) -> User:
    """Who has been shown this, and got that status in the end."""
    user = User("alice", Nowhere())
    for each in seen:
        user.look(each, "/")
    user.answers.append(Answer(time.monotonic(), status, 0.25))
    return user


def outcome(row: Row, user: User) -> Outcome:
    return program.outcome(row, [user], (100.0, 4), (101.0, 5))


def test_the_page_has_a_line_for_each_row() -> None:
    """Whoever changes the rows has to run them."""
    table = program.PAGE.read_text("utf-8").partition("<!-- soak -->")[2].partition("<!-- /soak -->")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]

    assert [line[:2] for line in lines[1:]] == [row.names for row in program.ROWS]
    assert {len(line) for line in lines} == {11}


@pytest.mark.parametrize(
    ("then", "wrong"),
    [
        ({"user": None, "number": 0}, "logged out"),
        ({"user": "bob", "number": 7}, "another's"),
        ({"user": "alice", "number": 6}, "lost"),
    ],
)
def test_what_no_user_may_see_is_counted(then: dict[str, Any], wrong: str) -> None:
    """After seven was confirmed."""
    found = outcome(ROW, a_user({"user": "alice", "number": 7}, then))

    assert found.wrong == [f"gunicorn, redis, killed: 1 × {wrong}"]


def test_nothing_is_wrong_with_a_number_that_was_not_confirmed() -> None:
    """A write that was answered with 503 may have been carried out."""
    found = outcome(ROW, a_user({"user": "alice", "number": 7}, {"user": "alice", "number": 8}))

    assert found == Outcome("| gunicorn, redis | killed | 1 | none | 0 | 0.2 | 0 | 0 | 0 | 4 → 5 | 100 → 101 |", [])


def test_a_user_who_has_no_answer_in_the_end_is_wrong() -> None:
    """What was broken is well again for half of the time by then."""
    assert outcome(ROW, a_user(status=503)).wrong == ["gunicorn, redis, killed: 1 × no answer in the end"]


def test_a_store_that_forgets_logs_out_and_confuses_nobody() -> None:
    """Its row may have users who are logged out, and none who is another."""
    logged_out = a_user({"user": None, "number": 0})
    confused = a_user({"user": "bob", "number": 0})

    assert outcome(FORGETFUL, logged_out).wrong == []
    assert outcome(FORGETFUL, confused).wrong == ["gunicorn, memcached, killed (it keeps nothing): 1 × another's"]


@pytest.mark.parametrize(("wrong", "code"), [([], 0), (["a row: 1 × lost"], 1)])
def test_the_program_fails_where_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
    code: int,
) -> None:
    """The page says what was seen either way."""
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- soak -->\nold\n<!-- /soak -->\nAfter.\n", "utf-8")
    monkeypatch.setattr(program, "PAGE", page)
    monkeypatch.setattr(program, "ROWS", [ROW])
    monkeypatch.setattr(program, "soak", lambda row, seconds: Outcome("| a row |", wrong))

    assert program.main("1") == code

    lines = page.read_text("utf-8").splitlines()
    assert (lines[0], lines[-4:]) == ("Before.", ["| a row |", "", "<!-- /soak -->", "After."])
    assert "1 rows of 1 s, 2 at a time" in lines[3]
    assert capsys.readouterr().err == "".join(f"wrong: {each}\n" for each in wrong)


def test_some_rows_alone_leave_the_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that have the words."""
    monkeypatch.setattr(program, "soak", lambda row, seconds: Outcome(f"{seconds:g} s: {', '.join(row.names)}", []))
    before = program.PAGE.read_bytes()

    program.main("3", "granian", "failed")

    assert capsys.readouterr().out.splitlines()[0] == "3 s: granian, redis behind an address, failed over"
    assert program.PAGE.read_bytes() == before


def test_a_row_says_by_name_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not wrong."""
    monkeypatch.setattr(needs, "PROGRAMS", {"redis": [("there-is-no-such-program",)]})

    found = program.soak(ROW, 1)

    assert found.line.startswith("| gunicorn, redis | killed | not installed: there-is-no-such-program | – |")
    assert (found.line.count("|"), found.wrong) == (12, [])


def test_a_disk_that_nobody_may_mount_is_said_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in most containers."""
    monkeypatch.setattr(needs, "allow", lambda program: None)
    monkeypatch.setattr(needs, "find_program", lambda *names: "false")

    with pytest.raises(pytest.skip.Exception, match="not allowed here: to mount a small disk"):
        stores.SmallDisk(tmp_path)

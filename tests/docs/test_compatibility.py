"""docs/compatibility.md: the table is what `make suites` has found, and that command tells an unexplained difference."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tools.suites import __main__ as suites

REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a.Case" name="test_good"/>
<testcase classname="tests.test_a.Case" name="test_skipped"><skipped/></testcase>
{}
</testsuite></testsuites>"""
FAILURE = '<testcase classname="tests.test_a.Case" name="{}"><{} message="{}&#10;more"/></testcase>'
SUITE = {"name": "Flask-Thing", "kind": "flask", "paths": ["tests"]}


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of reports: one test fails everywhere, and one on hardtack's cookie only."""
    monkeypatch.setattr(suites, "WORK", tmp_path)
    (tmp_path / "reports").mkdir()
    everywhere = FAILURE.format("test_network", "error", "no network")
    for kind in suites.KINDS:
        new = FAILURE.format("test_new", "failure", "TypeError: no") if kind == "cookie" else ""
        (tmp_path / "reports" / f"Flask-Thing-{kind}.xml").write_text(REPORT.format(everywhere + new), "utf-8")
    return tmp_path / "reports"


SESSIONS = """
import os

def test_sessions():
    assert os.environ["SUITE_SESSIONS"] == "none"
"""

UNSTEADY = """
import os, pathlib

def test_unsteady():
    seen = pathlib.Path("seen")
    if os.environ["SUITE_SESSIONS"] == "store" and not seen.exists():
        seen.touch()
        raise AssertionError

def test_different():
    assert os.environ["SUITE_SESSIONS"] != "store"
"""


def explained(**changed: Any) -> list[dict[str, Any]]:
    return [
        {
            "suite": "Flask-Thing",
            "sessions": ["cookie"],
            "tests": ["tests.test_a.Case::test_new"],
            "why": "It is new.\n",
            **changed,
        }
    ]


def test_the_page_is_what_the_runs_have_found() -> None:
    """Results, explanations and page are of one state."""
    listed = tomllib.loads((suites.HERE / "suites.toml").read_text("utf-8"))["suite"]
    told = tomllib.loads((suites.HERE / "explained.toml").read_text("utf-8")).get("difference", [])
    results = json.loads(suites.RESULTS.read_text("utf-8"))

    assert (
        suites.PAGE.read_text("utf-8").partition(suites.MARKER)[2]
        == suites.page(listed, results, told).partition(suites.MARKER)[2]
    )
    assert [fault for name in results for fault in suites.judge(name, results[name]["differences"], told)] == []


def test_what_fails_everywhere_is_no_difference(reports: Path) -> None:
    """Only what the framework's own sessions of the same kind pass is."""
    result = suites.result_of(SUITE, "1.0")

    assert result["ran"] == 2
    assert result["failed"] == {"own-cookie": 1, "cookie": 2, "own-store": 1, "store": 1}
    assert result["differences"] == {"cookie": {"tests.test_a.Case::test_new": "TypeError: no"}, "store": {}}


def test_a_difference_has_to_be_explained(reports: Path) -> None:
    """For the sessions that it is of; and an explanation that nothing needs is a fault too."""
    differences = suites.result_of(SUITE, "1.0")["differences"]

    assert suites.judge("Flask-Thing", differences, explained()) == []
    [unexplained] = suites.judge("Flask-Thing", differences, [])
    assert "test_new fails, and explained.toml does not say why: TypeError: no" in unexplained
    [needless] = suites.judge("Flask-Thing", differences, explained(sessions=["cookie", "store"]))
    assert "store" in needless
    assert "no longer differs" in needless


def run_kinds(folder: Path, monkeypatch: pytest.MonkeyPatch, tests: str) -> None:
    """Run a suite of one file on each kind of sessions."""
    monkeypatch.setattr(suites, "WORK", folder)
    (folder / "reports").mkdir()
    tree = folder / "thing"
    (tree / "tests").mkdir(parents=True)
    (tree / "pytest.ini").write_text("[pytest]\n", "utf-8")
    (tree / "tests" / "test_thing.py").write_text(tests, "utf-8")

    suites.run_kinds(SUITE, tree, Path(sys.executable))


@pytest.mark.slow
def test_the_one_kind_of_sessions_that_flask_has_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outcome is that of both kinds, and hardtack's two kinds are both run."""
    run_kinds(tmp_path, monkeypatch, SESSIONS)

    told = {kind: next(iter(suites.outcome_of(SUITE, kind).failed.values())) for kind in suites.KINDS}
    assert {kind: text.split("'")[1] for kind, text in told.items()} == {
        "own-cookie": "own-cookie",
        "cookie": "cookie",
        "own-store": "own-cookie",
        "store": "store",
    }


@pytest.mark.slow
def test_what_differs_is_run_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that passes by itself is no difference; one that fails again is."""
    run_kinds(tmp_path, monkeypatch, UNSTEADY)

    result = suites.result_of(SUITE, "1.0")
    assert result["failed"] == {"own-cookie": 0, "cookie": 0, "own-store": 0, "store": 1}
    assert list(result["differences"]["store"]) == ["tests.test_thing::test_different"]


def test_the_page_names_each_difference(reports: Path) -> None:
    """The row has the counts, and below it stand the test and the reason."""
    page = suites.page([SUITE], {"Flask-Thing": suites.result_of(SUITE, "1.0")}, explained())

    assert "| 2 | 1 | 2 | 1 | 1 | 1 | 0 |" in page
    assert "**Flask-Thing, on a cookie**: It is new.\n\n- `Case.test_new`" in page
    assert "There is none." in suites.page([SUITE], {"Flask-Thing": suites.result_of(SUITE, "1.0")}, [])


def test_a_suite_that_has_not_run_is_told(reports: Path) -> None:
    """With the end of its log, and not as a suite without failures."""
    (reports / "Flask-Thing-store.xml").unlink()
    (reports / "Flask-Thing-store.log").write_text("ImportError: no module\n", "utf-8")

    with pytest.raises(SystemExit, match=r"Flask-Thing has not run on store\nImportError: no module"):
        suites.result_of(SUITE, "1.0")

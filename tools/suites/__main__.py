"""`make suites`: the test suites of libraries that nobody here wrote, on the framework's own sessions and on hardtack's.

Each suite is run from its source distribution, in a virtual environment of its own under build/suites, four times: on the
framework's own sessions in a cookie and in a store, and on hardtack's. A test that fails on hardtack's and not on the
framework's own of the same kind is a difference, and explained.toml has to say why; one that is not explained makes the
command fail, as does an explanation that nothing needs any more. What came out is
kept in results.json, and the table of docs/compatibility.md is made of it.

Arguments are names of suites; without any, all are run. Each row of the page has the day when that suite was run. With
`--report` nothing is run: what the last runs have left in build/suites/reports is looked at.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "suites"
RESULTS = HERE / "results.json"
PAGE = ROOT / "docs" / "compatibility.md"
MARKER = "<!-- what follows is written by `make suites` -->\n"
KINDS = ("own-cookie", "cookie", "own-store", "store")
LIMIT = 3600  # seconds for one run of a suite


@dataclass
class Outcome:
    """How one run of a suite ended."""

    ran: int
    skipped: int
    failed: dict[str, str] = field(default_factory=dict)
    """The failed tests, each with the first line of what it says."""


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], text=True, **options)


def checked(*command: str | Path) -> None:
    outcome = run(*command, capture_output=True, check=False)
    if outcome.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{outcome.stdout}{outcome.stderr}")


def uv() -> Path:
    """The installer, which the machine need not have."""
    tools = WORK / "tools"
    program = tools / "bin" / "uv"
    if not program.is_file():
        venv.create(tools, with_pip=True)
        checked(tools / "bin" / "python", "-m", "pip", "install", "--quiet", "uv")
    return program


def source_of(name: str) -> Path:
    """The unpacked source distribution of the newest version; one that is there is kept, so that a second run has the same."""
    folder = WORK / "sources" / name
    if not folder.is_dir():
        downloads = WORK / "downloads" / name
        downloads.mkdir(parents=True, exist_ok=True)
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name)
        checked(*pip, "--dest", downloads, name)
        [archive] = downloads.glob("*.tar.gz")
        folder.mkdir(parents=True)
        with tarfile.open(archive) as opened:
            # Debian 12's Python 3.11.2 has no filters yet, and later ones warn without one.
            opened.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]
    [tree] = folder.iterdir()
    return tree


def environment_of(suite: dict[str, Any], tree: Path) -> Path:
    """The suite's own virtual environment, with the package, what its tests need, and hardtack."""
    folder = WORK / "environments" / suite["name"]
    python: Path = folder / "bin" / "python"
    ready = folder / "ready.json"
    told = json.dumps(suite)
    if not ready.is_file() or ready.read_text("utf-8") != told:
        checked(uv(), "venv", "--quiet", "--clear", "--python", sys.executable, folder)
        extras = f"[{','.join(suite['extras'])}]" if "extras" in suite else ""
        groups = [part for name in suite.get("groups", ()) for part in ("--group", f"{tree / 'pyproject.toml'}:{name}")]
        framework = {"django": ["django"], "flask": ["flask"]}.get(suite["kind"], [])
        packages = [f"{tree}{extras}", "pytest", *framework, *suite.get("needs", ())]
        checked(uv(), "pip", "install", "--quiet", "--python", python, *groups, *packages, "--editable", ROOT)
        ready.write_text(told, "utf-8")
    return python


def carries_configuration(tree: Path) -> bool:
    """Whether a suite configures pytest; where it does not, pytest would find our own pyproject.toml above it."""
    places = {
        "pytest.ini": "[pytest]",
        "pyproject.toml": "[tool.pytest",
        "tox.ini": "[pytest]",
        "setup.cfg": "[tool:pytest]",
    }
    return any((tree / name).is_file() and mark in (tree / name).read_text("utf-8") for name, mark in places.items())


def report_of(suite: dict[str, Any], kind: str) -> Path:
    return WORK / "reports" / f"{suite['name']}-{kind}.xml"


def again_of(suite: dict[str, Any], kind: str) -> Path:
    """The report of the tests that were run once more."""
    return WORK / "reports" / f"{suite['name']}-{kind}-again.xml"


def run_suite(suite: dict[str, Any], tree: Path, python: Path, kind: str, only: Iterable[str] = ()) -> None:
    """One run, which leaves a report and a log; `only`: once more, of these tests."""
    names = sorted({test.rpartition("::")[2].partition("[")[0] for test in only})
    report = again_of(suite, kind) if names else report_of(suite, kind)
    report.unlink(missing_ok=True)
    again_of(suite, kind).unlink(missing_ok=True)
    path = os.pathsep.join([str(HERE), str(HERE / "own"), str(tree)])
    told = {"SUITE_KIND": suite["kind"], "SUITE_SESSIONS": kind, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    plugins = ("-p", "suite_plugin", "-p", "no:cacheprovider")
    command: list[str | Path] = [python, "-m", "pytest", "-q", "--tb=no", *plugins, "-o", "addopts="]
    if "settings" in suite:
        told["SUITE_SETTINGS"] = suite["settings"]
        command += ["--ds=suite_settings"]
    if "own" in suite or not carries_configuration(tree):
        command += ["-c", HERE / "pytest.ini", f"--rootdir={tree}"]
    if names:
        command += ["-k", " or ".join(names)]
    paths = [HERE / "own" / suite["own"]] if "own" in suite else suite["paths"]
    with report.with_suffix(".log").open("w", encoding="utf-8") as log:
        streams = {"stdout": log, "stderr": subprocess.STDOUT}
        places = {"cwd": tree, "env": {**os.environ, **told}}
        run(*command, f"--junitxml={report}", *paths, **places, **streams, check=False, timeout=LIMIT)


def run_kinds(suite: dict[str, Any], tree: Path, python: Path) -> None:
    """All runs of a suite. Outside of Django there is one kind of sessions that is not hardtack's: its run stands for both.

    What differs is run once more: on a busy machine, tests that measure time fail at random.
    """
    for kind in KINDS:
        if kind == "own-store" and suite["kind"] != "django":
            shutil.copy2(report_of(suite, "own-cookie"), report_of(suite, kind))
        else:
            run_suite(suite, tree, python, kind)
    run_again(suite, tree, python)


def run_again(suite: dict[str, Any], tree: Path, python: Path) -> None:
    """The tests that differ, by themselves."""
    for kind, failed in differences_of({kind: outcome_of(suite, kind) for kind in KINDS}).items():
        if failed:
            run_suite(suite, tree, python, kind, failed)


def outcome_of(suite: dict[str, Any], kind: str) -> Outcome:
    """What the last run of a suite has left."""
    report = report_of(suite, kind)
    if not report.is_file():
        log = report.with_suffix(".log")
        told = log.read_text("utf-8").splitlines()[-20:] if log.is_file() else []
        sys.exit("\n".join([f"{suite['name']} has not run on {kind}", *told]))
    outcome = Outcome(0, 0)
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        outcome.ran += 1
        broken = case.find("failure") if case.find("failure") is not None else case.find("error")
        if broken is not None:
            first = ((broken.get("message") or broken.text or "").strip().splitlines() or [""])[0]
            outcome.failed[f"{case.get('classname')}::{case.get('name')}"] = first[:200]
        outcome.skipped += case.find("skipped") is not None
    again = again_of(suite, kind)
    for case in ElementTree.parse(again).getroot().iter("testcase") if again.is_file() else ():
        if case.find("failure") is None and case.find("error") is None:
            outcome.failed.pop(f"{case.get('classname')}::{case.get('name')}", None)
    return outcome


def differences_of(outcomes: dict[str, Outcome]) -> dict[str, dict[str, str]]:
    """For `cookie` and `store`: the tests that fail, and do not on the framework's own, each with what it says."""
    found = {}
    for kind in ("cookie", "store"):
        theirs = outcomes[f"own-{kind}"].failed
        found[kind] = {name: text for name, text in outcomes[kind].failed.items() if name not in theirs}
    return found


def judge(name: str, differences: dict[str, dict[str, str]], explained: list[dict[str, Any]]) -> list[str]:
    """The faults: differences without an explanation, and explanations without a difference."""
    faults: list[str] = []
    ours = [each for each in explained if each["suite"] == name]
    for kind, failed in differences.items():
        known = {test for each in ours if kind in each["sessions"] for test in each["tests"]}
        new, gone = sorted(failed.keys() - known), sorted(known - failed.keys())
        faults += [f"{name}, {kind}: {test} fails, and explained.toml does not say why: {failed[test]}" for test in new]
        faults += [f"{name}, {kind}: {test} no longer differs: take it out of explained.toml" for test in gone]
    return faults


def result_of(suite: dict[str, Any], version: str) -> dict[str, Any]:
    """What the page shows of a suite: counts, and the tests that only hardtack's sessions fail."""
    outcomes = {kind: outcome_of(suite, kind) for kind in KINDS}
    return {
        "version": version,
        "date": dt.datetime.fromtimestamp(report_of(suite, "store").stat().st_mtime, dt.UTC).date().isoformat(),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "ran": outcomes["store"].ran - outcomes["store"].skipped,
        "failed": {kind: len(outcome.failed) for kind, outcome in outcomes.items()},
        "differences": differences_of(outcomes),
    }


def page(suites: list[dict[str, Any]], results: dict[str, dict[str, Any]], explained: list[dict[str, Any]]) -> str:
    """What is written below the marker of the page."""
    lines = [
        MARKER,
        "Written by `make suites`.",
        "",
        "| suite | run on | tests | cookie: fail on the framework's own | on hardtack's | only on hardtack's "
        "| store: fail on the framework's own | on hardtack's | only on hardtack's |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    shown = [suite for suite in suites if suite["name"] in results]
    for suite in shown:
        each = results[suite["name"]]
        counts = []
        for kind in ("cookie", "store"):
            counts += [each["failed"][f"own-{kind}"], each["failed"][kind], len(each["differences"][kind])]
        tests = f"{each['ran']:,}{' (ours)' if 'own' in suite else ''}"
        cells = [
            f"{suite['name']} {each['version']}",
            f"{each['date']}, Python {each['python']}",
            tests,
            *map(str, counts),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Every difference", ""]
    told = [each for suite in shown for each in explained if each["suite"] == suite["name"]]
    for each in told:
        lines += [f"**{each['suite']}, on a {' and on a '.join(each['sessions'])}**: {each['why'].strip()}", ""]
        lines += [f"- `{test.rpartition('.')[2].replace('::', '.')}`" for test in each["tests"]] + [""]
    if not told:
        lines += ["There is none.", ""]
    return "\n".join(lines)


def main(*arguments: str) -> int:
    suites = tomllib.loads((HERE / "suites.toml").read_text("utf-8"))["suite"]
    explained = tomllib.loads((HERE / "explained.toml").read_text("utf-8")).get("difference", [])
    chosen = {each for each in arguments if each != "--report"} or {suite["name"] for suite in suites}
    unknown = chosen - {suite["name"] for suite in suites}
    if unknown:
        sys.exit(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(each['name'] for each in suites)}")
    (WORK / "reports").mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    for suite in suites:
        name = suite["name"]
        if name not in chosen:
            continue
        tree = source_of(name)
        if "--report" not in arguments:
            run_kinds(suite, tree, environment_of(suite, tree))
        results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
        results[name] = result_of(suite, tree.name.rpartition("-")[2])
        found = judge(name, results[name]["differences"], explained)
        faults += found
        print(f"{name}: {results[name]['failed']}", *found, sep="\n", flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
        PAGE.write_text(PAGE.read_text("utf-8").partition(MARKER)[0] + page(suites, results, explained), "utf-8")
    print(f"{len(chosen)} suites, {len(faults)} differences that are not explained")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""What a test needs of the machine: its marks `program` and `perl` name it, and without them it can start no program.

So `-m "not program and not perl"` are the tests that run on every machine. A fixture or a parameter that is called as a
server is brings the mark with it. The mark `slow` is for what takes seconds: `make quick` leaves it out.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS: dict[str, list[tuple[str, ...]]] = {
    "apache": [("apache2",)],
    "chromium": [("chromium",)],
    "mariadb": [("mariadbd", "mysqld"), ("mariadb-install-db",)],
    "memcached": [("memcached",)],
    "nginx": [("nginx",)],
    "node": [("node",)],
    "pgbouncer": [("pgbouncer",)],
    "postgresql": [("postgres",), ("initdb",), ("pg_isready",), ("pg_basebackup",)],
    "redis": [("redis-server", "valkey-server"), ("redis-cli", "valkey-cli")],
    "unshare": [("unshare",)],
}
"""What a mark `program` may name, and its programs; of each group one must be installed."""

SLOW = {"hanging_port", "test_an_entry_expires_when_its_time_comes"}
"""Fixtures, and tests that others inherit, that wait for seconds to pass; so are those that try hundreds of examples."""

_TESTS = Path(__file__).parent

SLOW_FILES = {
    *(
        "cli/test_cli",
        "docs/test_promises",
        "docs/test_token_format",
        "docs/test_writing_a_store",
        "ended/test_channels",
        "ended/test_failures",
    ),
    *(
        "ended/test_processes",
        "ended/test_sessions",
        "foreign/test_shared_tables",
        "foreign/test_shipping",
        "frameworks/test_sanic",
    ),
    *("guarantees/test_ended", "guarantees/test_failures", "stores/test_dancer2_layout", "stores/test_file"),
    *("stores/test_full_disk", "stores/test_registry", "stores/test_sql_failures", "stores/test_sqlalchemy"),
    *(
        "stores/test_sqlite",
        "test_audit",
        "test_impersonation",
        "test_moving",
        "testing/test_channel_contract",
        "testing/test_engines",
    ),
}
"""Files whose tests start processes, or wait for others, one by one: half of the time of all that need no server."""

_named: set[str] = set()


def mark(item: pytest.Item) -> None:
    """Give a test the marks of the servers that its fixtures and parameters name."""
    names: set[Any] = {*getattr(item, "fixturenames", ()), getattr(item, "originalname", None)}
    given = getattr(item, "callspec", None)
    if given is not None:
        names.update(_texts(given.params.values()))
    for program in PROGRAMS:
        if names & {program, f"{program}_server", f"{program}_cluster", f"{program}_url"}:
            item.add_marker(pytest.mark.program(program))
    file = item.path.relative_to(_TESTS).with_suffix("").as_posix() if item.path.is_relative_to(_TESTS) else ""
    if file in SLOW_FILES or names & SLOW or getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        item.add_marker(pytest.mark.slow)


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from _texts(value)


def check(item: pytest.Item) -> None:
    """Skip a test where what it needs is missing, and say by name what; fail it where CI runs, for all must run there."""
    programs = {name for each in item.iter_markers("program") for name in each.args}
    modules = {name for each in item.iter_markers("perl") for name in each.args}
    groups = [group for program in programs for group in PROGRAMS[program]]
    missing = [group[0] for group in groups if _path(*group) is None]
    if modules:
        groups.append(("perl",))
        if _path("perl") is None:
            missing.append("perl")
        else:
            missing += [f"the Perl module {name}" for name in modules if not _has_module(name)]
    if missing:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"not installed: {', '.join(sorted(missing))}")
    _named.clear()
    _named.update(name for group in groups for name in group)


def allow(program: str) -> None:
    """Let what is no test, such as a benchmark, start the programs that a mark stands for. Skips where one is missing."""
    groups = PROGRAMS[program]
    missing = [group[0] for group in groups if _path(*group) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    _named.update(name for group in groups for name in group)


def find_program(*names: str) -> str:
    """The path of the first of these programs that is installed; a mark of the running test must stand for it."""
    assert _named.issuperset(names), (
        f"the test that starts {names[0]} needs the mark `program` or `perl`: tests/needs.py"
    )
    path = _path(*names)
    assert path is not None
    return path


def _path(*names: str) -> str | None:
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    places += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    paths = (shutil.which(name, path=os.pathsep.join(places)) for name in names)
    return next((path for path in paths if path is not None), None)


@functools.cache
def _has_module(name: str) -> bool:
    return subprocess.run(["perl", f"-M{name}", "-e1"], capture_output=True, check=False).returncode == 0

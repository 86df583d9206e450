"""Eight processes work on one session at once, on every store that processes can share: nothing that was saved gets lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.guarantees.kit import SHARED, opened_store, store_url

from hardtack import SessionManager, StoreEngine
from hardtack.testing import cookie_header

pytestmark = pytest.mark.slow

PROCESSES = 8
TIMES = 250

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each store."""
    return store_url(request.param, request, tmp_path)


@pytest.fixture
def sessions(url: str) -> Iterator[SessionManager]:
    """A manager on that store."""
    with opened_store(url) as store:
        yield SessionManager(StoreEngine(store))


def work(url: str, header: str, task: str) -> None:
    """Run the processes, and wait until all have succeeded."""
    command = [sys.executable, "-m", "tests.guarantees.worker", url, header, task]
    # Without measuring coverage: on two cores it takes these eight processes several times as long.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    workers = [
        subprocess.Popen(
            [*command, chr(ord("a") + number), str(TIMES)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"go\n")
            worker.stdin.flush()
        for worker in workers:
            _, errors = worker.communicate(timeout=200)
            assert worker.returncode == 0, errors.decode()
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_keys_that_eight_processes_add_are_all_there(sessions: SessionManager, url: str) -> None:
    """Each adds 250 keys of its own by open, change and commit, anew after a conflict: all 2,000 are there."""
    header = cookie_header(sessions, {"n": 0})

    work(url, header, "add")

    names = [chr(ord("a") + number) for number in range(PROCESSES)]
    expected = {f"{name}{number}": f"{name}:{number}" for name in names for number in range(TIMES)}
    assert dict(sessions.open(header)) == {"n": 0, **expected}


def test_a_counter_that_eight_processes_update_is_exact(sessions: SessionManager, url: str) -> None:
    """Each adds 1 to one counter 250 times by `update`: the counter is exactly 2,000."""
    header = cookie_header(sessions, {"n": 0})

    work(url, header, "count")

    assert dict(sessions.open(header)) == {"n": PROCESSES * TIMES}

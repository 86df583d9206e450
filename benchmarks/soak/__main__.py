"""Each deployment under load while its servers fail, and what its users saw.

    python -m benchmarks.soak [SECONDS] [WORD…]        (or `make soak`; SECONDS of load for each row, 20 by default)

Every server is real and started for this run, on loopback; two rows run at a time. In each, twenty users log in; each then
asks for something every 0.2 s, by turns a write that counts and a read, and never before it has its answer. A fault comes after
a fifth of the time, and what it broke is well again after half of it. A user knows the number that was last confirmed: "lost"
is an answer with a lower one, "another's" an answer with another name, "logged out" one with none. Writes the table in
`docs/operations.md`, and ends with 1 if a user saw one of these, or had no session in the end.

With words, only the rows that have all of them are run, and the page stays as it is.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from benchmarks.soak import ROOT, stores
from benchmarks.soak.deployments import NGINX, is_asynchronous, running
from benchmarks.soak.faults import (
    Fault,
    disk_full,
    failed_over,
    frozen,
    key_rotated,
    killed,
    master_killed,
    memory_full,
    nothing,
    restarted,
    slots_moved,
    worker_killed,
)
from benchmarks.soak.users import User

PAGE = ROOT / "docs" / "operations.md"
USERS = 20
AT_A_TIME = 2


@dataclass
class Row:
    """A deployment and its fault."""

    deployment: str
    store: str
    fault: Fault
    forgets: str = ""
    """Why its users may be logged out."""

    @property
    def names(self) -> list[str]:
        """The first two cells."""
        fault = self.fault.__name__.replace("_", " ")
        return [f"{self.deployment}, {self.store}", f"{fault} ({self.forgets})" if self.forgets else fault]


ROWS = [
    Row("gunicorn", "redis", nothing),
    Row("gunicorn", "redis", killed),
    Row("gunicorn", "redis", frozen),
    Row("gunicorn", "redis", memory_full),
    Row("gunicorn", "redis on a small disk", disk_full),
    Row("gunicorn", "redis", worker_killed),
    Row(f"{NGINX}gunicorn", "redis", killed),
    Row(f"{NGINX}gunicorn", "redis", restarted),
    Row("mod_wsgi", "postgresql", killed),
    Row("mod_wsgi", "sqlite", worker_killed),
    Row("granian", "redis", killed),
    Row("granian (WSGI)", "sqlite", worker_killed),
    Row("uvicorn", "redis", killed),
    Row("uvicorn", "redis", frozen),
    Row("gunicorn", "redis behind an address", failed_over),
    Row("granian", "redis behind an address", failed_over),
    Row("gunicorn", "sentinel", killed),
    Row("uvicorn", "sentinel", killed),
    Row("gunicorn", "cluster", slots_moved),
    Row("gunicorn", "cluster", master_killed),
    Row("uvicorn", "cluster", master_killed),
    Row("gunicorn", "postgresql", killed),
    Row("uvicorn", "postgresql", killed),
    Row("hypercorn", "postgresql", frozen),
    Row("uvicorn", "postgresql behind an address", failed_over),
    Row("uvicorn", "pgbouncer", killed),
    Row("uWSGI", "mariadb", killed),
    Row("uWSGI", "sqlite", worker_killed),
    Row("uWSGI", "sqlite on a small disk", disk_full),
    Row("uvicorn", "sqlite", worker_killed),
    Row("gunicorn", "memcached", killed, forgets="memcached keeps nothing over a restart"),
    Row("gunicorn", "cookie", key_rotated),
    Row("uvicorn", "cookie", worker_killed),
    Row("gunicorn", "cookie and a list", killed),
    Row("hypercorn", "cookie and a list", key_rotated),
]

HEAD = [
    "| deployment | fault | 200 | other answers | seconds from the first to the last of them | longest wait, s | logged out "
    "| another's | lost | connections | MB |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
]


@dataclass
class Outcome:
    """A line of the table, and what must not be in it."""

    line: str
    wrong: list[str]


def soak(row: Row, seconds: float) -> Outcome:
    """One row of the table, which says by name what is not installed."""
    try:
        with (
            stores.started(row.store, asynchronous=is_asynchronous(row.deployment)) as store,
            running(row.deployment, store) as site,
        ):
            users = [User(f"user{number}", site.way()) for number in range(USERS)]
            for each in users:
                each.ask("POST", f"/login/{each.name}")
                each.answers.clear()
            until = time.monotonic() + seconds
            threads = [threading.Thread(target=each.stay, args=(until,)) for each in users]
            for thread in threads:
                thread.start()
            time.sleep(seconds / 5)
            before = site.memory(), site.connections()
            heal = row.fault(site)
            time.sleep(max(0.0, until - time.monotonic() - seconds / 2))
            heal()
            for thread in threads:
                thread.join()
            after = site.memory(), site.connections()
            for each in users:
                each.way.close()
    except pytest.skip.Exception as reason:
        return Outcome(f"| {' | '.join([*row.names, str(reason), *['–'] * 8])} |", [])
    return outcome(row, users, before, after)


def outcome(row: Row, users: list[User], before: tuple[float, int], after: tuple[float, int]) -> Outcome:
    """What the users saw."""
    answers = sorted(answer for each in users for answer in each.answers)
    statuses = Counter(answer.status for answer in answers)
    bad = [answer.when for answer in answers if answer.status != 200]
    faults: Counter[str] = sum((each.faults for each in users), Counter())
    told = ", ".join(
        f"{count} × {status or 'no answer'}"
        for status, count in sorted(statuses.items(), reverse=True)
        if status != 200
    )
    cells = [
        *row.names,
        f"{statuses[200]:,}",
        told or "none",
        f"{bad[-1] - bad[0]:.1f}" if bad else "0",
        f"{max(answer.waited for answer in answers):.1f}",
        *(f"{faults[each]}" for each in ("logged out", "another's", "lost")),
        f"{before[1]} → {after[1]}",
        f"{before[0]:.0f} → {after[0]:.0f}",
    ]
    allowed = {"logged out", "lost"} if row.forgets else set()
    wrong = [f"{count} × {each}" for each, count in faults.items() if each not in allowed]
    waiting = sum(each.answers[-1].status != 200 for each in users)
    if waiting:
        wrong.append(f"{waiting} × no answer in the end")
    return Outcome(f"| {' | '.join(cells)} |", [f"{', '.join(row.names)}: {each}" for each in wrong])


def main(*arguments: str) -> int:
    """All rows, and the page; 1 if something is wrong."""
    seconds = float(arguments[0]) if arguments else 20.0
    words = arguments[1:]
    rows = [row for row in ROWS if all(word in ", ".join(row.names) for word in words)]
    began = time.monotonic()
    outcomes = []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for each in pool.map(lambda row: soak(row, seconds), rows):
            outcomes.append(each)
            print(each.line, flush=True)
    took = (time.monotonic() - began) / 60
    told = f"{len(rows)} rows of {seconds:g} s, {AT_A_TIME} at a time, in {took:.1f} minutes, {os.cpu_count()} cores"
    print(told)
    if not words:
        write(f"`make soak`, {dt.datetime.now(dt.UTC):%Y-%m-%d}: {told}.", [each.line for each in outcomes])
    wrong = [each for outcome in outcomes for each in outcome.wrong]
    for fault in wrong:
        print(f"wrong: {fault}", file=sys.stderr)
    return 1 if wrong else 0


def write(title: str, lines: list[str]) -> None:
    """The table of the page."""
    before, mark, rest = PAGE.read_text("utf-8").partition("<!-- soak -->\n")
    end = rest[rest.index("<!-- /soak -->") :]
    table = "\n".join([title, "", *HEAD, *lines])
    PAGE.write_text(f"{before}{mark}\n{table}\n\n{end}", "utf-8")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""What `make bench` found each time: history.csv beside this file, and the table of docs/benchmarks.md that is made of it.

Only ratios are kept, of things that were measured in turns in one process: the times of two days are of two machines.
"""

from __future__ import annotations

import csv
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import hardtack

HERE = Path(__file__).parent
HISTORY = HERE / "history.csv"
PAGE = HERE.parent / "docs" / "benchmarks.md"
MARKER = "<!-- what follows is written by `make bench` -->\n"
SHOWN = 6
"""Runs that the page shows, the newest last."""

_ROW = re.compile(r"^\| (?P<what>.+?) \| (?P<measured>[\d.]+) \| (?P<target>[≤≥] [\d.]+) \|", re.MULTILINE)


class Ratio(NamedTuple):
    """One ratio of one run; `target` begins with ≤ or ≥."""

    date: str
    version: str
    python: str
    what: str
    measured: str
    target: str


def ratios_of(results: str) -> list[tuple[str, str, str]]:
    """What was measured, how much it was and what it is held to, from the targets in the text of results.md."""
    targets = results.partition("\n## Targets\n")[2].partition("\n## ")[0]
    return [(row["what"].replace("`", ""), row["measured"], row["target"]) for row in _ROW.finditer(targets)]


def read(file: Path = HISTORY) -> list[Ratio]:
    """All that was kept, the oldest first."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [Ratio(*row) for row in csv.reader(lines)][1:]


def append(ratios: Iterable[tuple[str, str, str]], date: str, file: Path = HISTORY, page: Path = PAGE) -> None:
    """Add a run, and write the page anew. A second run on one day takes the place of the first."""
    version, python = hardtack.__version__, platform.python_version()
    kept = [ratio for ratio in read(file) if ratio.date != date]
    kept += [Ratio(date, version, python, *ratio) for ratio in ratios]
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows([Ratio._fields, *kept])
    head = page.read_text("utf-8").partition(MARKER)[0]
    page.write_text(head + MARKER + table(kept), "utf-8")


def table(kept: list[Ratio]) -> str:
    """The last runs, a column each; a ratio that a run has not measured is a dash."""
    runs = list(dict.fromkeys(ratio.date for ratio in kept))[-SHOWN:]
    newest = {ratio.what: ratio for ratio in kept if ratio.date in runs}
    measured = {(ratio.date, ratio.what): ratio.measured for ratio in kept}
    versions = {ratio.date: ratio.version for ratio in kept}
    lines = [
        f"| what | target | {' | '.join(f'{run} ({versions[run]})' for run in runs)} |",
        f"|---|---|{'--:|' * len(runs)}",
    ]
    for what, ratio in newest.items():
        cells = " | ".join(measured.get((run, what), "–") for run in runs)
        lines.append(f"| {what} | {ratio.target} | {cells} |")
    return "\n".join([*lines, ""])

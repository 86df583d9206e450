"""Times several functions in turns, because machines are noisy: what one round measures, it measures for all of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

PAYLOADS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "payloads.json").read_text(encoding="utf-8"))


class Times:
    """Microseconds a call, for each round and function."""

    def __init__(self, rounds: list[dict[str, float]]) -> None:
        self.rounds = rounds

    def of(self, name: str) -> float:
        """The median over the rounds."""
        return median(times[name] for times in self.rounds)

    def ratio(self, name: str, to: str) -> float:
        """The median over the rounds of how many times `to` it took."""
        return median(times[name] / times[to] for times in self.rounds)

    def sum_ratio(self, names: list[str], to: list[str]) -> float:
        """The same for sums."""
        return median(sum(map(times.get, names)) / sum(map(times.get, to)) for times in self.rounds)  # type: ignore[arg-type]


def interleave(functions: Mapping[str, Callable[[], object]], rounds: int = 60, seconds: float = 0.004) -> Times:
    """Call each function in turn, for `seconds` a turn, `rounds` times over."""
    loops: dict[str, int] = {}
    for name, function in functions.items():
        function()
        begin = time.perf_counter()
        for _ in range(20):
            function()
        loops[name] = max(1, int(seconds * 20 / (time.perf_counter() - begin)))
    measured = []
    for _ in range(rounds):
        times = {}
        for name, function in functions.items():
            count = range(loops[name])
            begin = time.perf_counter_ns()
            for _ in count:
                function()
            times[name] = (time.perf_counter_ns() - begin) / loops[name] / 1000
        measured.append(times)
    return Times(measured)

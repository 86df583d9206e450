"""What the fuzzers of documents share: their command line, the seeds that they start from, and the figures at the end."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris


def run(
    description: str | None,
    test_one_input: Callable[[bytes], None],
    seeds: Callable[[Path], None],
    figures: Callable[[int], str],
    *,
    max_len: int,
    readers: Sequence[str] = (),
    choose: Callable[[str], None] | None = None,
) -> None:
    """Fuzz until `--runs` inputs were tried.

    Args:
        description: what the command is for.
        test_one_input: tries one input; what it raises is a finding.
        seeds: writes the inputs to start from into a directory.
        figures: what is printed after that many inputs.
        max_len: bytes of the longest input.
        readers: what `--reader` may name.
        choose: is given the name, before the first input.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=100_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="libFuzzer's random seed; 0 chooses one")
    if choose is not None:
        parser.add_argument("--reader", choices=readers, help="try this one alone")
        parser.add_argument("--list", action="store_true", help="print the names of all readers, and end")
    arguments = parser.parse_args()
    if choose is not None and arguments.list:
        print(*readers)
        return
    if choose is not None and arguments.reader:
        choose(arguments.reader)
    done = 0
    directory = Path(tempfile.mkdtemp(prefix="hardtack-fuzz-"))

    def counted(raw: bytes) -> None:
        nonlocal done
        test_one_input(raw)
        done += 1
        if done == arguments.runs:  # libFuzzer ends the process without returning here
            shutil.rmtree(directory)
            print(figures(done), flush=True)

    seeds(directory)
    tracemalloc.start()
    # reload=0: libFuzzer would look into the directory once more, and fail where it is gone by then.
    options = [
        f"-runs={arguments.runs}",
        f"-max_len={max_len}",
        f"-seed={arguments.seed}",
        "-print_final_stats=1",
        "-reload=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(directory)], counted)
    atheris.Fuzz()

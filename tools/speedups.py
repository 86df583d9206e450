"""Compile and install `speedups`, which reads Perl's and Laravel's cookies faster, where a C compiler and Python's headers are.

Without them the tests that need it are skipped by name, and the benchmarks measure Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parents[1]


def main() -> int:
    """The exit code: 0 where it was installed, or cannot be here."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not header.exists():
        print(f"no C compiler, or no {header}: speedups is not compiled", file=sys.stderr)
        return 0
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--force-reinstall",
        str(HERE / "speedups"),
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

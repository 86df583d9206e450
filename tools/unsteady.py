"""Runs what failed among seventeen thousand tests by itself: who holds three times does not stop a landing, and is named.

    coverage run -m pytest -o cache_dir=CACHE || python tools/unsteady.py CACHE $?

Tests that start real servers, browsers and races share two cores with whatever else the machine does; one in some ten thousand
waits too long then. Ends with pytest's own code where more than `FEW` failed, or where one fails again: such a test is a fault.
One that is named is not well either. It is a race, in the test or in what it tests, and is looked into before the next change.
"""

import json
import subprocess
import sys
from pathlib import Path

FEW = 3
TIMES = 3


def main() -> int:
    """Run each that failed alone; 0 where each holds."""
    cache, code = Path(sys.argv[1]), int(sys.argv[2])
    try:
        failed = list(json.loads((cache / "v/cache/lastfailed").read_bytes()))
    except FileNotFoundError:  # pytest did not come as far
        failed = []
    if code != 1 or not 0 < len(failed) <= FEW:
        return code
    for test in failed:
        for number in range(1, TIMES + 1):
            print(f"\nby itself, {number} of {TIMES}: {test}", flush=True)
            command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
            again = subprocess.run(command, check=False).returncode
            if again:
                return again
    for test in failed:
        print(f"UNSTEADY {test} failed among the others, and held {TIMES} times by itself", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

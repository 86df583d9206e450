"""Print the path of a Chromium that binds sessions to the device; fetch it into build/ where it is not there yet.

Those of 2026 from version 153 on ignore an offer to bind on Linux, under every flag, and Debian's security archive has only
such. Debian 12's `main` has version 150: its two packages are unpacked beside the one that is installed, whose libraries it
uses. Where it cannot be had, the reason is printed and the exit status is 1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build" / "chromium-dbsc"
PROGRAM = BUILD / "usr" / "lib" / "chromium" / "chromium"
KNOWN = range(149, 153)
"""The versions that bind sessions on Linux."""


def version() -> str | None:
    """The newest such version that apt knows, as Debian writes it."""
    told = subprocess.run(["apt-cache", "madison", "chromium"], capture_output=True, text=True, check=False).stdout
    found = [line.split("|")[1].strip() for line in told.splitlines() if line.count("|") >= 2]
    return next((each for each in found if re.match(r"[0-9]+", each) and int(each.partition(".")[0]) in KNOWN), None)


def fetch() -> str | None:
    """Unpack it into build/. Why that cannot be done, or None."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return "apt-get and dpkg are needed"
    wanted = version()
    if wanted is None:
        return "apt knows no chromium of version 149 to 152 (Debian 12's main has 150)"
    packages = BUILD / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    names = [f"{name}={wanted}" for name in ("chromium", "chromium-common")]
    done = subprocess.run(
        ["apt-get", "download", "-q", *names], cwd=packages, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"apt-get download failed: {done.stderr.strip().splitlines()[-1:]}"
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(BUILD)], check=True)
    shutil.rmtree(packages)
    return None


def main() -> int:
    """The command."""
    problem = None if PROGRAM.exists() else fetch()
    if problem is None:
        told = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
        problem = None if told.returncode == 0 else f"it does not run: {told.stderr.strip()[-300:]}"
    print(problem or PROGRAM, file=sys.stderr if problem else sys.stdout)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())

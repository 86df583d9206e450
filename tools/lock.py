"""`make lock`: writes requirements-dev.txt, the versions of the development environment with their hashes.

One file for every Python that hardtack supports. `make` does not read it: what it installs is what pyproject.toml allows, so
that a new version which breaks something is seen. `--check` says whether the file has been made of today's pyproject.toml.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "lock"
LOCK = ROOT / "requirements-dev.txt"
STAMP = "# of "


def wanted(settings: dict[str, Any]) -> list[str]:
    """What the group `dev` asks for, with the extras of hardtack that it names spelled out."""
    project = settings["project"]
    found = list(project["dependencies"])
    for each in settings["dependency-groups"]["dev"]:
        own = re.fullmatch(r"hardtack\[(.*)\]", each)
        if own is None:
            found.append(each)
        else:
            found += [need for extra in own[1].split(",") for need in project["optional-dependencies"][extra]]
    return list(dict.fromkeys(found))


def header(needs: list[str]) -> str:
    stamp = hashlib.sha256("\n".join(needs).encode()).hexdigest()[:16]
    return (
        "# The development environment, with hashes, for every Python that hardtack supports; written by `make lock`.\n"
        f"# How it is used: CONTRIBUTING.md.\n{STAMP}{stamp}\n"
    )


def main(*arguments: str) -> int:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needs = wanted(settings)
    if "--check" in arguments:
        if LOCK.is_file() and LOCK.read_text("utf-8").startswith(header(needs)):
            return 0
        print("requirements-dev.txt was made of another pyproject.toml: make lock", file=sys.stderr)
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    uv = WORK / "tools" / "bin" / "uv"
    if not uv.is_file():
        venv.create(WORK / "tools", with_pip=True)
        subprocess.run([uv.with_name("python"), "-m", "pip", "install", "--quiet", "uv"], check=True)
    asked = WORK / "dev.in"
    asked.write_text("\n".join(needs) + "\n", encoding="utf-8")
    lowest = settings["project"]["requires-python"].removeprefix(">=")
    made = WORK / "dev.txt"
    made.unlink(missing_ok=True)  # or the versions that it names would be kept
    options = ("--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url")
    command = [uv, "pip", "compile", *options, "--python-version", lowest, "--output-file", made, asked]
    subprocess.run(command, check=True)
    LOCK.write_text(header(needs) + made.read_text("utf-8"), encoding="utf-8")
    print(LOCK)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

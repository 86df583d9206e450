"""Runs the tests that need no server with the lowest versions that pyproject.toml allows; arguments go to pytest.

The extra `demo` is left out: it asks for a newer Starlette than the extra `starlette`, and both cannot be installed. So is
`testing`: our own tests need a newer pytest than the contract tests do.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "oldest"
PYTHON = FOLDER / "bin" / "python"
LEFT_OUT = {"cli", "demo", "testing"}
TOOLS_LEFT_OUT = ("hardtack", "mypy", "pyright", "ruff", "types-", "playwright")


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def main(*arguments: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = settings["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name not in LEFT_OUT}
    ours = {name_of(each) for needs in (project["dependencies"], *extras.values()) for each in needs}
    tools = [each for each in settings["dependency-groups"]["dev"] if not each.startswith(TOOLS_LEFT_OUT)]

    venv.create(FOLDER, with_pip=True)
    run(PYTHON, "-m", "pip", "install", "--quiet", "uv")
    uv = [PYTHON, "-m", "uv", "pip"]
    lowest = FOLDER / "lowest.txt"
    chosen = [part for name in extras for part in ("--extra", name)]
    output = ("--no-header", "--no-annotate", "--quiet", "--output-file", lowest)
    run(*uv, "compile", "--python", PYTHON, "--resolution", "lowest-direct", *chosen, *output, "pyproject.toml")
    pinned = [line for line in lowest.read_text("utf-8").splitlines() if line.partition("==")[0] in ours]
    pinned.append("websockets<14")  # newer ones do not go with Sanic 24.12, which sends broken frames with them
    lowest.write_text("\n".join(pinned) + "\n", encoding="utf-8")
    print("the lowest versions:", *pinned, flush=True)

    packages = (f".[{','.join(extras)}]", "uvicorn", "python-multipart", *tools)  # the last two: what the pages use
    run(*uv, "install", "--quiet", "--python", PYTHON, "--constraints", lowest, "--editable", *packages)
    # A warning of an old package is no fault of hardtack.
    browser = "--ignore=tests/binding/test_browser.py"  # playwright is left out
    tests = ("-q", "-m", "not program and not perl", "-o", "filterwarnings=", "--ignore=tests/cli", browser)
    run(PYTHON, "-m", "pytest", *tests, *arguments)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)

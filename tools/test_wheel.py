"""Runs the tests that need no server on the wheel in dist/; arguments go to pytest.

They run in a copy of the tree without src/, so that nothing but the wheel can be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "wheel"
TREE = FOLDER / "tree"
PYTHON = FOLDER / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
COPIED = (
    "tests",
    "docs",
    "examples",
    "benchmarks",
    "pyproject.toml",
    "LICENSE",
    *(page.name for page in ROOT.glob("*.md")),
)

LINKS = "tests/docs/test_examples.py::test_links_inside_the_repository_lead_somewhere"
"""Pages link to files of src/ as well."""


def run(*command: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(part) for part in command], cwd=TREE, env=environment, check=True)


def main(*arguments: str) -> None:
    wheels = list((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"dist/ has {len(wheels)} wheels, not one: make wheel")
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, TREE / name)

    venv.create(FOLDER / "venv", with_pip=True)
    run(PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", *wheels)
    run(PYTHON, "-m", "pip", "install", "--quiet", "--group", "dev", *wheels)
    run(PYTHON, "-c", "import hardtack; print('testing', hardtack.__file__, flush=True)")
    tests = ("-q", "-m", "not program and not perl", "--deselect", LINKS)
    run(PYTHON, "-m", "pytest", *tests, *arguments)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)

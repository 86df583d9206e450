"""What the tests of Flask, Quart and Django share: the frameworks' own test suites, and a package that is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import pytest


def source_of(package: str, cache: Path) -> Path:
    """The unpacked source distribution of the installed version; kept in `cache`.

    The test is skipped where PyPI is out of reach; under CI it fails, so that nothing is left out without notice.
    """
    wanted = f"{package}-{version(package)}"
    tree = cache / wanted
    if tree.is_dir():
        return tree
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--dest",
        str(cache),
    ]
    outcome = subprocess.run([*command, wanted.replace("-", "==")], capture_output=True, text=True, check=False)
    if outcome.returncode:
        _missing(f"the source distribution of {wanted} cannot be downloaded: {outcome.stderr.strip()[-200:]}")
    # Older ones have the project's name as its authors write it.
    [file] = [each for each in cache.glob("*.tar.gz") if each.name.lower() == f"{wanted}.tar.gz"]
    with tarfile.open(file) as archive:
        top = archive.getnames()[0].partition("/")[0]
        # Debian 12's Python 3.11.2 has no filters yet, and later ones warn without one.
        archive.extractall(cache, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]
    return (cache / top).rename(tree)


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def without(package: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make importing `package` fail, as where it is not installed, and have `module` imported anew."""
    for name in list(sys.modules):
        if name.split(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module)


def load_example(path: str) -> Any:
    """A module of the folder examples/."""
    file = Path(__file__).parents[2] / "examples" / path
    spec = importlib.util.spec_from_file_location(f"examples.{path.replace('/', '_')[:-3]}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

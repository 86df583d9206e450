"""Foreign formats are part of the distribution, and cost those who do not use them nothing but the room on the disk."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import hardtack

PACKAGE = Path(hardtack.__file__).parent
USERS = {"stores", "cli", "foreign", "config.py", "frameworks"}
"""What may import them: shared stores, the command that names a cookie, `from_dancer`, and the port of aiohttp-session."""


def test_importing_hardtack_loads_none_of_them() -> None:
    """Nor does a manager on either engine."""
    program = (
        "import sys, hardtack; from hardtack.stores.memory import MemoryStore;"
        "hardtack.SessionManager(hardtack.Key.generate()); hardtack.SessionManager(hardtack.StoreEngine(MemoryStore()));"
        "print([name for name in sys.modules if name.startswith('hardtack.foreign')])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_core_imports_none_of_them() -> None:
    """Not even where a function is called: who reads the core reads no other system's format."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        top = file.relative_to(PACKAGE).parts[0]
        if top in USERS:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [f"{file.name}: {name}" for name in names if name.startswith("hardtack.foreign")]

    assert found == []


def test_they_are_a_fifth_of_the_wheel() -> None:
    """docs/moving.md says how much room they take."""
    files = list(PACKAGE.rglob("*.py"))

    def zipped(paths: list[Path]) -> int:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, path.relative_to(PACKAGE))
        return len(buffer.getvalue())

    share = zipped([file for file in files if file.is_relative_to(PACKAGE / "foreign")]) / zipped(files)

    assert share < 0.25

"""The pages of promises name the tests that hold them: each of those is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("page", ["security.md", "server-sessions.md"])
def test_the_named_tests_are_there(page: str) -> None:
    """Under their names; each row names one at least."""
    _, _, table = (ROOT / "docs" / page).read_text().partition("## The tests that hold it")
    rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
    named = [NAMED.findall(row) for row in rows]

    assert rows
    assert all(named)
    assert [f"{file}::{name}" for tests in named for file, name in tests if name not in names_in(file)] == []


def names_in(file: str) -> set[str]:
    """The names of the tests of a file, and of the classes in it."""
    path = ROOT / "tests" / file
    if not path.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}

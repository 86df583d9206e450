"""The table of docs/values.md is what the libraries do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.docs import values_matrix

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def computed() -> Any:
    """Every row, computed in a process of its own: the libraries are many, and some change what they find."""
    command = [sys.executable, "-m", "tests.docs.values_matrix"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_the_page_has_every_row() -> None:
    """In the order of the program that writes it."""
    assert list(values_matrix.on_the_page()) == [row.label for row in values_matrix.ROWS]


@pytest.mark.parametrize("row", values_matrix.ROWS, ids=[row.label for row in values_matrix.ROWS])
@pytest.mark.slow
def test_the_page_has_what_the_libraries_do(computed: Any, row: values_matrix.Row) -> None:
    """`python -m tests.docs.values_matrix --write` puts a new table in."""
    cells = computed[row.label]
    if isinstance(cells, str):
        pytest.skip(f"{cells} is not installed")

    page = values_matrix.on_the_page()[row.label]
    assert page == [written if cell is None else cell for cell, written in zip(cells, page, strict=True)]
    if None in cells:
        pytest.skip(f"{list(values_matrix.COLUMNS)[cells.index(None)]} is not installed; the other cells are right")

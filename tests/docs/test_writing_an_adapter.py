"""The adapter of docs/writing-an-adapter.md, taken from the page together with its tests."""

from __future__ import annotations

import re

import pytest
from tests.docs.examples import ROOT, examples, run_page

from hardtack import adapters

pytest.importorskip("microdot")

PAGE = ROOT / "docs" / "writing-an-adapter.md"
CODE = [example.code for example in examples(PAGE)]

TestMicrodot = run_page(PAGE)["TestMicrodot"]


def test_it_is_as_short_as_the_page_says() -> None:
    """Sixty lines, blank ones not counted."""
    lines = "".join(CODE[:2]).splitlines()

    assert len([line for line in lines if line.strip()]) <= 60


def test_it_uses_public_names_alone() -> None:
    """What an adapter may use is in hardtack.adapters, and in what hardtack itself exports."""
    names = re.search(r"^from hardtack.adapters import (.*)$", CODE[0], re.MULTILINE)

    assert names is not None
    assert set(names[1].split(", ")) <= set(adapters.__all__)
    assert not re.search(r"(?<!\w)_\w", "".join(CODE))

"""The README's links and pictures work where there are no files beside it."""

from __future__ import annotations

import re

import pytest
from tests.docs.examples import ROOT
from tools.pypi_readme import mended


def test_nothing_in_it_is_relative() -> None:
    """Every link and every picture of it begins with a scheme."""
    text = mended((ROOT / "README.md").read_text(encoding="utf-8"), "1.2.3")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)

    targets = re.findall(r"\]\(([^)\s]+)\)", prose)

    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[a](docs/a.md#b)", "[a](https://github.com/hardtack/hardtack/blob/v1.2.3/docs/a.md#b)"),
        ("![a](docs/a.png)", "![a](https://raw.githubusercontent.com/hardtack/hardtack/v1.2.3/docs/a.png)"),
        ("[a](https://example.org/)", "[a](https://example.org/)"),
        ("[a](#b)", "[a](#b)"),
        ("session[key](value text)", "session[key](value text)"),
    ],
)
def test_a_link_leads_to_the_version(before: str, after: str) -> None:
    """Not to what the repository has by then; a picture to its file, and not to the page about it."""
    assert mended(before, "1.2.3") == after

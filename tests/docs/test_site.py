"""The documentation site has every page, and its links lead out of docs/ where they should; `make docs` checks the rest."""

from __future__ import annotations

import importlib
import re
from types import SimpleNamespace

import pytest
from tests.docs.examples import ROOT
from tools import docs_hooks

CONFIG = ROOT / "mkdocs.yml"


def test_the_navigation_has_every_page_once() -> None:
    """What is not in it is not found; a page that it does not name is put at the end of the how-tos."""
    configuration = CONFIG.read_text(encoding="utf-8")
    listed = docs_hooks.listed_in(configuration)
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]

    assert sorted(listed + docs_hooks.unlisted(configuration)) == sorted(pages)


def test_a_new_page_is_put_into_the_navigation() -> None:
    """Whoever writes it need not know of the site."""
    configuration = CONFIG.read_text(encoding="utf-8").replace("      - Values: values.md\n", "")

    assert "values.md" in docs_hooks.unlisted(configuration)


@pytest.mark.parametrize(
    ("link", "mended"),
    [
        ("../README.md", "https://example.org/blob/main/README.md"),
        ("../tests", "https://example.org/tree/main/tests"),
        ("../README.md#why", "https://example.org/blob/main/README.md#why"),
        ("values.md", "values.md"),
        ("https://example.org/", "https://example.org/"),
    ],
)
def test_links_out_of_the_pages_lead_to_the_repository(link: str, mended: str) -> None:
    """The site has no README and no sources."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="sessions.md"))
    config = SimpleNamespace(extra={"repository": "https://example.org"})

    assert docs_hooks.on_page_markdown(f"see [this]({link})", page, config, None) == f"see [this]({mended})"


def test_a_link_from_a_folder_to_another_page_is_left_alone() -> None:
    """It stays inside docs/."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="frameworks/flask.md"))

    assert docs_hooks.on_page_markdown("[a](../values.md)", page, None, None) == "[a](../values.md)"


def test_the_api_reference_names_what_can_be_imported() -> None:
    """Each name of each page."""
    for page in docs_hooks.API:
        text = docs_hooks.page_of(page)
        for module in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
            for name in docs_hooks.names(module):
                assert f"'{name}'" in text
            if not module.startswith("hardtack.frameworks."):
                assert not [
                    name for name in docs_hooks.names(module) if not hasattr(importlib.import_module(module), name)
                ]


def test_the_version_is_the_packages() -> None:
    """The footer says which version the pages are of."""
    config = SimpleNamespace(copyright="", nav=[{"How to": []}, {"Reference": [{"API": []}]}])

    docs_hooks.on_config(config)

    assert re.fullmatch(r"hardtack \d+\.\d+\.\d+\S*", config.copyright)
    assert len(config.nav[1]["Reference"][-1]["API"]) == len(docs_hooks.API)

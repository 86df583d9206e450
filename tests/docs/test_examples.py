"""Every Python example on the project's pages runs, and every link leads somewhere."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from tests.docs.examples import PAGES, ROOT, Example, examples, run_page

import hardtack
from hardtack import Key, events

EXAMPLES = [example for page in PAGES for example in examples(page)]

NEEDS = {"writing-an-adapter.md": "microdot", "recipes.md": "freezegun"}
"""What the examples of a page need beside hardtack and its extras."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a reader has: a key in the environment, and a directory of his own."""
    monkeypatch.setenv("HARDTACK_KEY", Key.generate().export())
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name)
@pytest.mark.usefixtures("surroundings")
def test_the_examples_of_a_page_run(page: Path) -> None:
    """The blocks of a page are one program; what needs a server is compiled, and a comment says so."""
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name])
    # A process for each: a page may set up logging, Django, or an event loop, which is nothing for the other tests.
    command = [sys.executable, "-m", "tests.docs.examples", str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_python_block_is_found(page: Path) -> None:
    """No block hides from the tests, by an indentation or a spelling of its own."""
    text = page.read_text(encoding="utf-8")

    assert len(examples(page)) == len(re.findall(r"^\s*[`~]{3,}\s*(?:python|py)", text, re.MULTILINE | re.IGNORECASE))
    assert len([each for each in examples(page) if each.compile_only]) == text.count("<!-- compile only")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{name(example.page)}:{example.line}")
def test_an_example_imports_public_names_only(example: Example) -> None:
    """What a page tells people to import begins with no underscore."""
    imported = [
        part
        for node in ast.walk(ast.parse(example.code))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hardtack")
        for part in [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    ]

    assert not [part for part in imported if part.startswith("_")]


LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    """Every relative link is a file or a directory, and every anchor a heading."""
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            broken.append(target)

    assert broken == []


def test_the_index_has_every_page() -> None:
    """docs/index.md leads to all of them."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text(encoding="utf-8"))}

    assert [name(page) for page in PAGES if page.is_relative_to(index.parent) and page not in {index, *linked}] == []


def test_the_page_of_events_has_every_event() -> None:
    """Each event stands in the table of docs/events.md with all of its fields, and with its level."""
    text = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    kinds = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, events.Event)]

    for kind in kinds[1:]:
        fields = ", ".join(kind.fields)
        level = {10: "debug", 20: "info", 30: "warning", 40: "error"}[kind.level]
        assert f"| `{kind.__name__}({fields})` | {level} |" in text


def test_the_changelog_has_this_version() -> None:
    """What is released is described."""
    assert f"## [{hardtack.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- the README's program without a framework


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of a wsgiref server with this application."""
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures("surroundings")
def test_the_program_without_a_framework_counts_visits() -> None:
    """Served by wsgiref as the README says, it knows a visitor who brings his cookie, and nobody else."""
    app = run_page(ROOT / "README.md")["app"]

    with served(app) as address:
        with urllib.request.urlopen(address) as first:
            assert first.read() == b"visit 1\n"
            cookie = SimpleCookie(first.headers["Set-Cookie"])["session"]
        request = urllib.request.Request(address, headers={"Cookie": f"session={cookie.value}"})
        with urllib.request.urlopen(request) as second:
            assert second.read() == b"visit 2\n"
        with urllib.request.urlopen(address) as stranger:
            assert stranger.read() == b"visit 1\n"


def test_the_program_without_a_framework_has_ten_lines_at_most() -> None:
    """With the line that serves it, blank ones not counted."""
    blocks = [each.code for each in examples(ROOT / "README.md") if "make_server" in each.code]

    assert len([line for line in "".join(blocks).splitlines() if line.strip()]) <= 10

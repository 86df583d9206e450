"""The store of docs/writing-a-store.md, taken from the page together with its tests."""

from __future__ import annotations

import os
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.docs.examples import ROOT, examples, run_page

from hardtack import Key, SessionManager
from hardtack.errors import StoreUnavailable

PAGE = ROOT / "docs" / "writing-a-store.md"


def _run() -> dict[str, Any]:
    environment = {"HARDTACK_KEY": Key.generate().export()}
    with tempfile.TemporaryDirectory() as directory, chdir(directory), mock.patch.dict(os.environ, environment):
        return run_page(PAGE)


_names = _run()
TestTableStore = _names["TestTableStore"]


def test_it_is_as_short_as_the_page_says() -> None:
    """Some sixty lines, blank ones not counted."""
    code = examples(PAGE)[0].code

    assert len([line for line in code.splitlines() if line.strip()]) <= 65


def test_it_keeps_sessions(tmp_path: Path) -> None:
    """With the engine around it, what one request stored is there for the next, and a login ends with `end_all`."""
    engine = _names["StoreEngine"](_names["TableStore"](tmp_path / "sessions.db"))
    sessions = SessionManager(engine)
    session = sessions.open(None)
    session.login("alice")
    session["cart"] = ["bread"]
    header = sessions.commit(session).set_cookies[0].partition(";")[0]

    found = dict(sessions.open(header))

    assert found == {"cart": ["bread"]}
    assert sessions.end_all("alice") == 1
    assert sessions.open(header).subject is None


def test_it_says_when_it_cannot_be_reached(tmp_path: Path) -> None:
    """A database that cannot be opened is `StoreUnavailable`, whatever SQLite calls it."""
    store = _names["TableStore"](tmp_path / "sessions.db")
    store.path = tmp_path

    with pytest.raises(StoreUnavailable):
        store.get("a")

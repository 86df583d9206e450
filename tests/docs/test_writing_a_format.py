"""The formats of docs/writing-a-format.md, taken from the page together with their tests, and attacked."""

from __future__ import annotations

import os
import tempfile
from contextlib import chdir
from typing import Any
from unittest import mock

import pytest
from tests.docs.examples import ROOT, run_page

from hardtack import Key, SessionManager
from hardtack.events import Event, Rejected
from hardtack.testing.engines import MALFORMED


def _run() -> dict[str, Any]:
    environment = {"HARDTACK_KEY": Key.generate().export()}
    with tempfile.TemporaryDirectory() as directory, chdir(directory), mock.patch.dict(os.environ, environment):
        return run_page(ROOT / "docs" / "writing-a-format.md")


_names = _run()
TestFernetToken = _names["TestFernetToken"]


@pytest.mark.parametrize("value", [*MALFORMED, "AAAA.", "é.é", "bm90anNvbg.00"])
def test_what_the_old_site_has_not_signed_is_nobodys(value: str) -> None:
    """An event says so, and nothing raises."""
    heard: list[Event] = []
    sessions = SessionManager(Key.generate(), accept=[_names["OldSiteCookie"](_names["secret"])], on_event=heard.append)

    session = sessions.open(f"oldsite={value}")

    assert (dict(session), session.subject) == ({}, None)
    assert [event.reason for event in heard if isinstance(event, Rejected)] == ["tampered"]


def test_a_cookie_of_the_old_site_ends_when_it_says() -> None:
    """The end is under its signature."""
    sessions = SessionManager(Key.generate(), accept=[_names["OldSiteCookie"](_names["secret"])])

    session = sessions.open(_names["old_cookie"](_names["secret"], {"user": "alice", "until": 1}))

    assert session.subject is None

"""The engine of docs/writing-an-engine.md, taken from the page together with its tests."""

from __future__ import annotations

import os
import tempfile
from contextlib import chdir
from typing import Any
from unittest import mock

import pytest
from tests.docs.examples import ROOT, run_page

from hardtack import Key
from hardtack.errors import SessionTooLarge
from hardtack.events import Rejected


def _run() -> dict[str, Any]:
    environment = {"HARDTACK_KEY": Key.generate().export()}
    with tempfile.TemporaryDirectory() as directory, chdir(directory), mock.patch.dict(os.environ, environment):
        return run_page(ROOT / "docs" / "writing-an-engine.md")


_names = _run()
TestOneCookieEngine = _names["TestOneCookieEngine"]


def _cookie(sessions: Any, **data: Any) -> str:
    session = sessions.open(None)
    session.update(data)
    line: str = sessions.commit(session).set_cookies[0]
    return line.partition(";")[0]


def test_two_good_cookies_of_one_name_are_no_session() -> None:
    """One of them was planted."""
    heard: list[Any] = []
    sessions = _names["SessionManager"](_names["sessions"].engine, on_event=heard.append)
    mine, planted = _cookie(sessions, a=1), _cookie(sessions, b=2)

    session = sessions.open(f"{mine}; {planted}")

    assert dict(session) == {}
    assert [event.reason for event in heard if isinstance(event, Rejected)] == ["ambiguous"]


def test_what_browsers_drop_is_refused() -> None:
    """A session that outgrows its cookie."""
    with pytest.raises(SessionTooLarge):
        _cookie(_names["sessions"], text="x" * 4000)

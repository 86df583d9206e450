"""What docs/foreign-python.md says of sizes is so."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from tests.kit import KEY

from hardtack import CookieEngine, SessionManager, StoreEngine
from hardtack.errors import SessionTooLarge
from hardtack.events import Event, LateWrite, Rejected
from hardtack.foreign.flask import FlaskCookie
from hardtack.stores.memory import MemoryStore

SECRET = "the SECRET_KEY of the old site"
TEXT = "x" * 5000


@pytest.fixture
def header() -> str:
    """The Cookie header of a Flask site's visitor: a small cookie, for Flask compresses it, of a session that is not."""
    old_site = Flask("old site")
    old_site.secret_key = SECRET
    signer = SecureCookieSessionInterface().get_signing_serializer(old_site)
    assert signer is not None
    return f"session={signer.dumps({'text': TEXT})}"


def test_a_session_that_was_compressed_may_not_fit(header: str) -> None:
    """Who only reads keeps the old cookie, request for request."""
    told: list[Event] = []
    sessions = SessionManager(CookieEngine(KEY), accept=[FlaskCookie(SECRET)], on_event=told.append)
    session = sessions.open(header)

    assert session["text"] == TEXT
    assert sessions.commit(session).set_cookies == []
    assert told[-1] == Rejected("too_large", "__Host-Http-session")
    sessions.finish(session)
    assert not [event for event in told if isinstance(event, LateWrite)]


@pytest.mark.parametrize("change", [{"more": 1}, {"text": TEXT + "y"}])
def test_a_session_that_does_not_fit_cannot_be_changed(header: str, change: dict[str, Any]) -> None:
    """It is an error, not a lost session."""
    sessions = SessionManager(CookieEngine(KEY), accept=[FlaskCookie(SECRET)])
    session = sessions.open(header)
    session.update(change)

    with pytest.raises(SessionTooLarge, match="'text'"):
        sessions.commit(session)


def test_a_login_into_a_session_that_does_not_fit_is_told(header: str) -> None:
    """It changes more than the data."""
    sessions = SessionManager(CookieEngine(KEY), accept=[FlaskCookie(SECRET)])
    session = sessions.open(header)
    session.login("alice")

    with pytest.raises(SessionTooLarge):
        sessions.commit(session)


@pytest.mark.parametrize(
    "engine", [CookieEngine(KEY, overflow="chunk"), StoreEngine(MemoryStore())], ids=["chunks", "store"]
)
def test_chunks_and_a_store_have_room(header: str, engine: CookieEngine | StoreEngine) -> None:
    """As the page recommends."""
    sessions = SessionManager(engine, accept=[FlaskCookie(SECRET)])
    session = sessions.open(header)
    session.get("text")

    lines = sessions.commit(session).set_cookies

    own = "; ".join(line.partition(";")[0] for line in lines if line.startswith("__Host-"))
    assert sessions.open(own)["text"] == TEXT

"""Helpers for the tests of an application: a test client that is logged in, or has a cart, without a request for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardtack.changes import Changes
from hardtack.manager import SessionManager
from hardtack.session import Session


def cookie_header(sessions: SessionManager, data: Mapping[str, Any], subject: str | None = None) -> str:
    """Store a session, and return what its browser sends as the Cookie header.

    Args:
        sessions: the manager of the application under test, or one with the same engine, cookie and purpose.
        data: what the session holds.
        subject: the user who is logged in, if one is.

    Returns:
        The header's value, for any test client: `client.get("/", headers={"Cookie": …})`. It is empty where there is
        neither data nor a subject, because no session is stored then.

    Raises:
        What `SessionManager.commit` raises, such as `UnsupportedValue` and `SessionTooLarge`.
    """
    session = sessions.open()
    _fill(session, data, subject)
    return _header(sessions.commit(session))


async def acookie_header(sessions: SessionManager, data: Mapping[str, Any], subject: str | None = None) -> str:
    """`cookie_header` under async code, and for stores that only async code can reach."""
    session = await sessions.aopen()
    _fill(session, data, subject)
    return _header(await sessions.acommit(session))


def _fill(session: Session, data: Mapping[str, Any], subject: str | None) -> None:
    session.update(data)
    if subject is not None:
        session.login(subject)


def _header(changes: Changes) -> str:
    return "; ".join(line.partition(";")[0] for line in changes.set_cookies)

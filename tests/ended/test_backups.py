"""A backup of the store is restored: who was logged out after it was made stays so by the list of ended sessions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.kit import KEY, Site

from hardtack import EndedSessions, StoreEngine
from hardtack.stores.sqlite import SQLiteStore


def site_of(folder: Path, *, listed: bool) -> Site:
    """A site that begins anew on the files of `folder`."""
    ended = EndedSessions.from_url(f"file://{folder}/ended", key=KEY) if listed else None
    site = Site(StoreEngine(SQLiteStore(folder / "sessions.sqlite")), ended=ended)
    if ended is not None:
        ended.create()
    return site


def back_up(folder: Path) -> None:
    connection = sqlite3.connect(folder / "sessions.sqlite")
    connection.execute("VACUUM INTO ?", (str(folder / "backup.sqlite"),))
    connection.close()


def restore(folder: Path) -> None:
    for suffix in ("-wal", "-shm"):
        (folder / f"sessions.sqlite{suffix}").unlink(missing_ok=True)
    (folder / "backup.sqlite").replace(folder / "sessions.sqlite")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["logout", "end", "end_all"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_restored_backup_brings_no_ended_session_back_where_there_is_a_list(
    tmp_path: Path, how: str, listed: bool
) -> None:
    """Without a list the old cookie is logged in again, which is what the list is for."""
    site = site_of(tmp_path, listed=listed)
    session = site.open()
    session.login("alice")
    site.commit(session)
    old = site.jar.header
    back_up(tmp_path)
    if how == "logout":
        session = site.open()
        session.logout()
        site.commit(session)
    elif how == "end":
        site.sessions.end(session.id, "alice")
    else:
        site.sessions.end_all("alice")
    site.sessions.close()
    restore(tmp_path)

    again = site_of(tmp_path, listed=listed)
    assert again.sessions.open(old).subject == (None if listed else "alice")
    again.sessions.close()

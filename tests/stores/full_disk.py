"""Sessions on a small disk that somebody else fills: who wants to be logged out is, and what is saved is refused.

    unshare --mount python -m tests.stores.full_disk URL DIRECTORY [JOURNAL]

In a mount namespace of its own: the disk is a tmpfs on the directory, which goes with the process. Prints what became of it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

from hardtack import SessionManager, StoreEngine
from hardtack.errors import StoreFull
from hardtack.stores import from_url
from hardtack.testing.stores import create, new_key

USERS = 40


def fill(directory: str) -> None:
    """Leave no byte."""
    with open(f"{directory}/junk", "wb", buffering=0) as junk:
        for size in (4096, 1):
            try:
                while True:
                    junk.write(b"x" * size)
            except OSError:
                pass


def log_in(sessions: SessionManager, name: str) -> str:
    """The Cookie header of that user."""
    session = sessions.open()
    session.login(name)
    session["cart"] = ["bread"] * 50
    return sessions.commit(session).set_cookies[0].partition(";")[0]


def main(url: str, directory: str, journal: str = "") -> None:
    """Fill the disk, log everybody out, and make room again. `journal`: that of the database of SQLite."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], check=True)
    store: Any = from_url(url)
    if hasattr(store, "create_table"):
        store.create_table()
    if journal:
        with closing(sqlite3.connect(f"{directory}/s")) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}")
    sessions = SessionManager(StoreEngine(store))
    cookies = [log_in(sessions, f"user{number}") for number in range(USERS)]
    fill(directory)

    try:
        create(store, new_key(), b"x" * 100_000)
        print("saved")
    except StoreFull as error:
        print("full:", error)
    for cookie in cookies:
        session = sessions.open(cookie)
        assert session.subject is not None
        session.logout()
        sessions.commit(session)
    print("logged in:", sum(sessions.open(cookie).subject is not None for cookie in cookies))

    os.unlink(f"{directory}/junk")
    store.sweep(0)
    cookie = log_in(sessions, "alice")
    print("afterwards:", sessions.open(cookie).subject, [name for name in os.listdir(directory) if "reserve" in name])
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

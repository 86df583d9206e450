"""Sessions on a small disk that somebody else fills: who wants to be logged out is, and what is saved is refused.

    unshare --mount python -m tests.stores.full_disk URL DIRECTORY [log|sweep]

In a mount namespace of its own: the disk is a tmpfs on the directory, which goes with the process. Prints what became of it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

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


def fill_but(directory: str, left: int) -> None:
    """Leave that many bytes, and nothing in SQLite's log."""
    with closing(sqlite3.connect(f"{directory}/s")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    fill(directory)
    os.truncate(f"{directory}/junk", os.path.getsize(f"{directory}/junk") - left)


def sweep(directory: str, store: Any) -> None:
    """More than what is free has room for in the log, and the sweep was told at its start that there is more."""
    for number in range(300):
        store.put(f"{number}", b"x" * 600, expires_at=1, if_version=None, subject=f"{number * 7919 % 300}")
    fill_but(directory, 96 * 1024)
    with patch("shutil.disk_usage", lambda _: SimpleNamespace(free=2**30)):
        print("swept:", store.sweep(time.time()))


def save_until_the_log_has_filled_the_disk(directory: str, sessions: SessionManager, cookies: list[str]) -> None:
    """Sessions that the file has room for, and a megabyte for SQLite's log of four, which is on the disk as well."""
    fill_but(directory, 2**20)
    refused = 0
    for number in range(400):
        session = sessions.open(cookies[number % USERS])
        session["number"] = number
        try:
            sessions.commit(session)
        except StoreFull:
            refused += 1
    print("refused:", refused)
    print("number:", sessions.open(cookies[-1])["number"])


def main(url: str, directory: str, what: str = "") -> None:
    """Fill the disk, log everybody out, and make room again."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], check=True)
    store: Any = from_url(url)
    sessions = SessionManager(StoreEngine(store))
    cookies = [log_in(sessions, f"user{number}") for number in range(USERS)]
    if what:
        if what == "sweep":
            sweep(directory, store)
        else:
            save_until_the_log_has_filled_the_disk(directory, sessions, cookies)
        store.close()
        return
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

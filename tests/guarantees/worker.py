"""One of the processes that work on one session at once: adds keys of its own, or counts.

    python -m tests.guarantees.worker URL COOKIE_HEADER add|count NAME TIMES

It waits for a line on stdin, so that all begin together, and each of its steps is a request of its own.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from hardtack import SessionManager, StoreEngine
from hardtack.errors import SessionConflict
from hardtack.stores import from_url
from hardtack.stores.file import FileStore


def store_of(url: str) -> Any:
    """The store, which waits for a lock as long as a machine takes that has other work as well."""
    return FileStore(url.removeprefix("file://"), lock_timeout=60) if url.startswith("file:") else from_url(url)


def add_keys(sessions: SessionManager, header: str, name: str, times: int) -> None:
    """Each request loads the session, adds one key and commits; one that lost too many races is sent again."""
    for number in range(times):
        while True:
            session = sessions.open(header)
            session[f"{name}{number}"] = f"{name}:{number}"
            with suppress(SessionConflict):
                sessions.commit(session)
                sessions.finish(session)
                break


def count(sessions: SessionManager, header: str, times: int) -> None:
    """Each request adds one to a counter."""
    for _ in range(times):
        session = sessions.open(header)
        sessions.update(session, lambda data: data.update(n=data["n"] + 1))
        sessions.commit(session)
        sessions.finish(session)


def main(url: str, header: str, task: str, name: str, times: str) -> None:
    """Run the task."""
    with SessionManager(StoreEngine(store_of(url))) as sessions:
        sessions.open(header).get("n")  # connect first
        print("ready", flush=True)
        sys.stdin.readline()
        if task == "add":
            add_keys(sessions, header, name, int(times))
        else:
            count(sessions, header, int(times))


if __name__ == "__main__":
    main(*sys.argv[1:])

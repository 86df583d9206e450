"""All of a user's sessions are ended while each of them changes its id as fast as it can: how many outrun that, on every store.

    python -m benchmarks.end_all_race [RUNS]

RUNS is 100. Four threads hold a session of hers each, and get a new id again and again; after some time, another one in each
run, `end_all` is called, once. A session that is nobody's before its thread has had TURNS more new ids was ended; any other one
has outrun its end. The stores have no list of ended sessions beside them; cookies, which need one, have it.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from tests import needs
from tests.servers import MariaDBServer, PostgreSQLServer, RedisServer

from hardtack import CookieEngine, EndedSessions, Key, SessionManager, StoreEngine
from hardtack.errors import SessionConflict
from hardtack.stores import from_url
from hardtack.stores.sqlalchemy import SQLAlchemyStore

RACERS = 4
TURNS = 50
PATIENCE = 60.0
"""Seconds after which a session that has neither ended nor changed its id so often counts as one that outran its end."""


class Racer(threading.Thread):
    """A browser whose session gets new ids until it is nobody's, or has had `TURNS` of them since the end."""

    def __init__(self, sessions: SessionManager, subject: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.sessions, self.over = sessions, over
        self.turns = 0
        self.survived = True
        self.header = ""
        session = sessions.open()
        session.login(subject)
        self._take(sessions.commit(session).set_cookies)

    def run(self) -> None:
        """Change the id again and again."""
        left, until = TURNS, float("inf")
        while left and time.monotonic() < until:
            session = self.sessions.open(self.header)
            if session.subject is None:
                self.survived = False
                return
            session.regenerate()
            with suppress(SessionConflict):
                self._take(self.sessions.commit(session).set_cookies)
            self.turns += 1
            if self.over.is_set():
                left, until = left - 1, min(until, time.monotonic() + PATIENCE)

    def _take(self, lines: Any) -> None:
        for line in lines:
            self.header = line.partition(";")[0]


def race(sessions: SessionManager, runs: int) -> tuple[int, int]:
    """How many sessions outran their end, and how many ids there were before it."""
    survived = turns = 0
    for run in range(runs):
        subject, over = f"user {run}", threading.Event()
        racers = [Racer(sessions, subject, over) for _ in range(RACERS)]
        for each in racers:
            each.start()
        time.sleep(0.001 * (1 + run % 20))
        turns += sum(each.turns for each in racers)
        sessions.end_all(subject)
        over.set()
        for each in racers:
            each.join()
        survived += sum(each.survived for each in racers)
    return survived, turns


def make_sessions(url: str) -> tuple[SessionManager, Callable[[], object]]:
    """A manager on the store of a URL, or for `cookies` with a list; and what closes it."""
    if url == "cookies":
        sessions = SessionManager(CookieEngine(Key.generate()), ended=EndedSessions.from_url("memory://"))
        return sessions, sessions.close
    store = from_url(url)
    if isinstance(store, SQLAlchemyStore):
        store.create_table()
    return SessionManager(StoreEngine(store)), store.close


def main(runs: int = 100) -> None:
    """Race on every store that can find a user's sessions, and print a line for each."""
    logging.getLogger("hardtack").setLevel(logging.CRITICAL)
    print(f"{runs} runs of {RACERS} sessions each; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        urls = {
            "cookies": "cookies",
            "memory": "memory://",
            "file": f"file://{directory}/sessions",
            "sqlite": f"sqlite:///{directory}/sessions.sqlite",
        }
        for name, kind in (("redis", RedisServer), ("postgresql", PostgreSQLServer), ("mariadb", MariaDBServer)):
            try:
                needs.allow(name)
                server: Any = kind()
            except (pytest.skip.Exception, pytest.fail.Exception) as error:
                print(f"{name}: {error}")
                continue
            stack.callback(server.remove)
            urls[name] = server.url
        for name, url in urls.items():
            sessions, close = make_sessions(url)
            survived, turns = race(sessions, runs)
            close()
            print(f"{name}: {survived} of {runs * RACERS} outran their end, after {turns:,} new ids", flush=True)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))

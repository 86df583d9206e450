"""The part of a store's contract that is about trouble: a server that is gone, and a server that forks."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from hardtack.errors import StoreUnavailable
from hardtack.testing.entries import create, in_an_hour, new_key, read, save

CHILDREN = 3
READS = 100
PATIENCE = 30.0
"""Seconds that the children of the fork may take."""


class TroubleContract:
    """What `StoreContract` has of it."""

    @pytest.fixture
    def break_store(self) -> Callable[[], AbstractContextManager[Any]] | None:
        """Override it: returns a function that gives a context, in which the store cannot do its work.

        As by stopping its server, moving its directory, or taking its table away. When the context ends all is well again;
        what was stored may be gone. The store should have short timeouts.
        """
        return None

    def test_a_store_that_is_broken_is_unavailable(
        self, tested_store: Any, break_store: Callable[[], AbstractContextManager[Any]] | None
    ) -> None:
        """Every method raises `StoreUnavailable`, and no error of a driver; afterwards the store works again."""
        if break_store is None:
            pytest.skip("how the store is broken is not known: give the class a fixture break_store")
        key = new_key()
        version = create(tested_store, key)
        calls: dict[str, Callable[[], Any]] = {
            "get": lambda: tested_store.get(key),
            "put": lambda: create(tested_store, new_key()),
            "put, if_version": lambda: save(tested_store, key, b"", version),
            "delete": lambda: tested_store.delete(key),
            "delete, if_version": lambda: tested_store.delete(key, if_version=version),
        } | self._further_calls(tested_store, key, version)

        with break_store():
            outcomes = {name: _outcome(call) for name, call in calls.items()}

        assert outcomes == dict.fromkeys(calls, "StoreUnavailable")
        again = new_key()
        create(tested_store, again, b"again")
        assert read(tested_store, again).data == b"again"

    @staticmethod
    def _further_calls(store: Any, key: str, version: Any) -> dict[str, Callable[[], Any]]:
        """Those of the methods that not every store has."""
        real = getattr(store, "_store", store)
        calls: dict[str, Callable[[], Any]] = {
            "rename": lambda: store.rename(
                key, new_key(), b"", expires_at=in_an_hour(), if_version=version, subject=None
            ),
            "find": lambda: list(store.find("alice")),
            "sweep": lambda: store.sweep(time.time()),
            "count": lambda: store.count(),
        }
        return {name: call for name, call in calls.items() if hasattr(real, name)}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
    def test_a_fork_shares_no_connection(self, tested_store: Any) -> None:
        """Children of a process that has used the store, and the parent, each read their own entries and no others.

        A server that loads the application before it forks is such a process. With one connection for all, each may be
        answered what another one asked for: somebody else's session.
        """
        keys = [new_key() for _ in range(CHILDREN + 1)]
        for key in keys:
            create(tested_store, key, key.encode())
        tested_store.get(keys[0])

        children = [self._fork(tested_store, key) for key in keys[1:]]
        mine = [read(tested_store, keys[0]).data for _ in range(READS)]
        deadline = time.monotonic() + PATIENCE
        codes = [_end_of(child, deadline) for child in children]

        assert codes == [0] * CHILDREN, "a child was answered something else than its own entry (1), or died"
        assert mine == [keys[0].encode()] * READS

    def _fork(self, store: Any, key: str) -> int:
        """A child that reads, and ends with the code 0 if it was never told anything else."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of threads: they are what a server has as well
            child = os.fork()
        if child == 0:  # pragma: no cover - it ends without a word to who measures
            code = 1
            try:
                code = int(not self._reads_its_own(store, key))
            finally:
                os._exit(code)
        return child

    def _reads_its_own(self, store: Any, key: str) -> bool:  # pragma: no cover - in the child
        return all(store.get(key).data == key.encode() for _ in range(READS))


async def reads_its_own(store: Any, key: str) -> bool:  # pragma: no cover - in the child
    """The same for an async store, on an event loop of the child's."""
    return all([(await store.get(key)).data == key.encode() for _ in range(READS)])


class AsyncTroubleContract(TroubleContract):
    """What `AsyncStoreContract` has of it."""

    def _reads_its_own(self, store: Any, key: str) -> bool:  # pragma: no cover - in the child
        return asyncio.new_event_loop().run_until_complete(reads_its_own(store._store, key))


def _outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except StoreUnavailable:  # or StoreFull, which is one
        return "StoreUnavailable"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def _end_of(child: int, deadline: float) -> int:
    """The exit code of a child; one that hangs is killed."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:  # pragma: no cover - in the process of the tests of this contract
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGKILL
        time.sleep(0.005)

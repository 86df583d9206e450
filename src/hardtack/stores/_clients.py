"""One client a process, or one an event loop: a connection is of use to no other.

After a fork the child makes a client of its own, in one atomic step and without a lock, which a thread that the child does
not have may hold; it never looks at the one that it inherited. How a fork is noticed: `hardtack.stores._forks`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from hardtack.errors import StoreError
from hardtack.stores import _forks

T = TypeVar("T")


class ProcessClients(Generic[T]):
    """The client of this process.

    Args:
        first: the one of the process that makes this.
        another: makes one for another process.
    """

    def __init__(self, first: T, another: Callable[[], T]) -> None:
        self._clients: dict[Hashable, T] = {os.getpid(): first}
        self._another = another
        _forks.watch(self)

    def here(self) -> T:
        """The client to use."""
        pid = os.getpid()
        client = self._clients.get(pid)
        return self._add(pid) if client is None else client

    def before_fork(self) -> None:
        """Nothing: what a child does not use does the parent no harm."""

    def after_fork(self) -> None:
        """Let go of the parent's.

        It is kept: to close it, or to have it collected, would take locks that may be held, or the parent's sockets out of
        a selector that both processes share.
        """
        pid = os.getpid()
        for key in list(self._clients):
            if key != pid:
                _forks.leave_alone(self._clients.pop(key, None))

    def _add(self, pid: int) -> T:
        client = self._clients.setdefault(pid, self._another())  # of threads that meet here, one wins
        self.after_fork()
        return client


class LoopClients(Generic[T]):
    """The client of this event loop, in this process.

    Args:
        first: the one that the first loop takes, in the process that makes this.
        another: makes one for another loop.
        discard: gives up the connections of one whose loop is closed.
    """

    def __init__(self, first: T, another: Callable[[], T], discard: Callable[[T], None]) -> None:
        self._first: list[T] = [first]
        self._pid = os.getpid()
        self._another = another
        self._discard = discard
        self._clients: dict[tuple[int, asyncio.AbstractEventLoop], T] = {}
        _forks.watch(self)

    def here(self) -> T:
        """The client to use. Raises `StoreError` where no asyncio event loop runs."""
        try:
            key = os.getpid(), asyncio.get_running_loop()
        except RuntimeError:
            raise StoreError("an async store works on asyncio, and no event loop of asyncio is running") from None
        client = self._clients.get(key)
        return self._add(*key) if client is None else client

    def take(self) -> T | None:
        """The client of this loop, which is then no more its; None where it has none."""
        self.after_fork()
        self._leave_closed_loops()
        return self._clients.pop((os.getpid(), asyncio.get_running_loop()), None)

    def before_fork(self) -> None:
        """Nothing: what a child does not use does the parent no harm."""

    def after_fork(self) -> None:
        """Let go of the parent's, which is kept as that of `ProcessClients` is."""
        pid = os.getpid()
        for key in list(self._clients):
            if key[0] != pid:
                _forks.leave_alone(self._clients.pop(key, None))
        if pid != self._pid:
            self._pid = pid
            _forks.leave_alone(self._first)
            self._first = []

    def _add(self, pid: int, loop: asyncio.AbstractEventLoop) -> T:
        self.after_fork()
        self._leave_closed_loops()
        try:
            client = self._first.pop()
        except IndexError:
            client = self._another()
        return self._clients.setdefault((pid, loop), client)

    def _leave_closed_loops(self) -> None:
        for key in list(self._clients):
            if key[1].is_closed() and (left := self._clients.pop(key, None)) is not None:
                self._discard(left)


def drop(writer: Any) -> None:
    """Close a stream whose event loop is closed, which asyncio has no way to do: it would stay until it is collected, and
    then warn."""
    transport = writer.transport
    with suppress(RuntimeError):  # the loop is closed: it can call nobody back
        transport.abort()
    sock = getattr(transport, "_sock", None)
    if sock is not None:
        sock.close()
        transport._sock = None

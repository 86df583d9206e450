"""Clients of a store: one a process and one an event loop, and what a child or a loop that is closed has left is let go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from hardtack.stores import _forks
from hardtack.stores._clients import LoopClients, ProcessClients, drop


@pytest.fixture
def in_child(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this process look like a child, of a server that does not tell Python."""
    return lambda: monkeypatch.setattr(os, "getpid", lambda: -1)


def test_a_child_makes_a_client_of_its_own(in_child: Callable[[], None]) -> None:
    """Once; the parent's is never looked at again, and not collected: that would close the parent's sockets."""
    made: list[object] = []
    first = object()

    def another() -> object:
        made.append(object())
        return made[-1]

    clients = ProcessClients(first, another)
    before = [clients.here(), clients.here()]
    in_child()

    assert before == [first, first]
    assert [clients.here(), clients.here()] == made * 2
    assert any(left is first for left in _forks._left_alone)


def test_a_fork_that_python_knows_of_lets_go_at_once(in_child: Callable[[], None]) -> None:
    """Before the child does anything."""
    first = object()
    clients = ProcessClients(first, object)
    in_child()

    _forks._after_in_child()

    assert clients._clients == {}


def test_a_child_makes_clients_for_its_own_loops(in_child: Callable[[], None]) -> None:
    """Neither what the parent has taken nor what it has not is for the child."""
    discarded: list[object] = []
    first = object()
    clients: LoopClients[object] = LoopClients(first, object, discarded.append)
    untaken: LoopClients[object] = LoopClients(first, object, discarded.append)

    async def here(of: LoopClients[Any]) -> object:
        return of.here()

    async def take() -> object:
        return clients.take()

    assert asyncio.run(here(clients)) is first
    in_child()

    assert asyncio.run(here(clients)) is not first
    assert asyncio.run(here(untaken)) is not first
    assert asyncio.run(take()) is None
    assert first not in discarded
    assert any(left is first for left in _forks._left_alone)


def test_what_a_closed_loop_has_left_is_given_up() -> None:
    """By the next loop that asks."""
    discarded: list[object] = []
    first = object()
    clients: LoopClients[object] = LoopClients(first, object, discarded.append)

    async def here() -> object:
        return clients.here()

    one = asyncio.run(here())
    two = asyncio.run(here())

    assert one is first
    assert two is not first
    assert discarded == [first]


def test_a_stream_without_a_socket_is_dropped() -> None:
    """As that of TLS, which asyncio wraps."""
    aborted: list[bool] = []

    class Transport:
        def abort(self) -> None:
            aborted.append(True)
            raise RuntimeError("Event loop is closed")

    class Writer:
        transport = Transport()

    drop(Writer())

    assert aborted == [True]

"""Forks: what a store holds open belongs to the process that opened it, and a child must not use it.

A server that loads the application first and forks its workers then (gunicorn --preload, uWSGI) would let them all read
from one connection: each may get the answer that another one asked for, which is somebody else's session.

A fork is noticed in two ways. The handlers of `os.register_at_fork` run in the child's only thread before any of its
other code, so that nothing can race with them; but a server in C may fork without telling Python (uWSGI without
threads). Each call therefore compares the process id besides. There two threads may both find that it is another one,
and both let go: that is done by putting something new in the place of the old, which does no harm twice.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Forks(Protocol):
    """What holds something open that is not for the child of a fork."""

    def before_fork(self) -> None:
        """In the parent: give up what a child could not get rid of unharmed."""
        ...

    def after_fork(self) -> None:
        """In the child: let go of what belongs to the parent."""
        ...


_watched: weakref.WeakSet[Forks] = weakref.WeakSet()

_left_alone: list[Any] = []

_lock = threading.RLock()


def watch(holder: Forks) -> None:
    """Call the holder's methods at every fork that Python knows of, for as long as it lives."""
    _watched.add(holder)


def leave_alone(inherited: Any) -> None:
    """Keep what belongs to the parent from being collected: its `__del__` may say goodbye on the parent's connection."""
    _left_alone.append(inherited)


def held_off() -> AbstractContextManager[object]:
    """No thread forks meanwhile: for work that a fork would find in the middle again and again. A fork waits for its end.

    The lock itself: no interrupt comes between it and what is done under it.
    """
    return _lock


def _before() -> None:
    _lock.acquire()
    for holder in list(_watched):
        holder.before_fork()


def _after_in_parent() -> None:
    _lock.release()


def _after_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for holder in list(_watched):
        holder.after_fork()


getattr(os, "register_at_fork", lambda **_: None)(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)

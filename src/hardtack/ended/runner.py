"""Runner: the thread that follows a channel, from the first need on and again after a fork."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from hardtack.ended.follower import Follower, clock
from hardtack.ended.protocol import WakingChannel
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.events import Event, ListFresh, ListStale, logger

WAIT: Final = 0.5
"""Seconds that one read waits for entries; a channel that is read is never older than that."""
_GATHER: Final = 0.02  # seconds after entries came: many at once are read at once
_AWAKE: Final = 0.02  # seconds for a thread that was woken to end
_PAUSE: Final = 0.05  # seconds after the first fault, doubled up to WAIT


class Runner:
    """Runs a follower, and tells when it is stale.

    Args:
        follower: what is run.
        max_stale: seconds since the last read from which on the list is stale.
        policy: what requests get then, for the event.
        emit: tells an event.
    """

    def __init__(self, follower: Follower, max_stale: int, policy: Any, emit: Callable[[Event], object]) -> None:
        self.failure: StoreUnavailable | None = None
        """Why the last turn failed, or None."""
        self._follower = follower
        self._max_stale = max_stale
        self._policy = policy
        self._emit = emit
        self._failing_since = float("inf")
        self._stale_since: float | None = None
        self._began = clock()
        self._stop = threading.Event()
        self._turned = threading.Condition()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs. Raises `ConfigError` where threads cannot run."""
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                check_threads()
                self._stop.clear()
                # A daemon: a process that ends does not wait for it. Under gevent's monkey patch it is a greenlet.
                self._thread = threading.Thread(target=self._run, name="hardtack-ended", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for it."""
        self._stop.set()
        with self._starting:
            if self._thread is not None:
                channel = self._follower.channel
                while isinstance(channel, WakingChannel) and self._thread.is_alive():
                    channel.wake()  # again where it was about to wait only
                    self._thread.join(_AWAKE)
                self._thread.join()
                self._thread = None

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is true, for up to `seconds`; not at all where turns have failed for as long. Whether it is."""
        self.start()
        with self._turned:
            self._turned.wait_for(lambda: until() or clock() - self._failing_since > seconds, seconds)
        return until()

    def _run(self) -> None:
        begun = False
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                busy = False
                if begun:
                    busy = self._follower.turn(WAIT)
                else:
                    self._follower.begin()
                    begun = True
                failure, pause = None, _GATHER if busy else 0.0
            except Exception as error:
                # Whatever it is: without this thread nobody would be ended any more, or let in.
                failure = error if isinstance(error, StoreUnavailable) else _unknown(error)
                pause = min(max(2 * pause, _PAUSE), WAIT)
            with self._turned:
                if failure is None:
                    self._failing_since = float("inf")
                elif self.failure is None:
                    self._failing_since = clock()
                self.failure = failure
                self._turned.notify_all()
            self._report()

    def _report(self) -> None:
        """Tell once that the list has become stale, and that it is fresh again."""
        fresh_at = self._follower.fresh_at
        if clock() - max(fresh_at, self._began) > self._max_stale:
            if self._stale_since is None:
                self._stale_since = max(fresh_at, self._began)
                self._emit(ListStale(_age(fresh_at), self._policy))
        elif self._stale_since is not None:
            self._emit(ListFresh(int(clock() - self._stale_since)))
            self._stale_since = None


def _age(fresh_at: float) -> int:
    return int(clock() - fresh_at) if fresh_at > 0 else -1


def _unknown(error: Exception) -> StoreUnavailable:
    logger.error("the channel of the ended sessions failed", exc_info=error)
    return StoreUnavailable(f"the channel of the ended sessions failed: {type(error).__name__}")


def check_threads() -> None:
    """Raise `ConfigError` under a uWSGI that lets no thread run."""
    options = getattr(sys.modules.get("uwsgi"), "opt", None)
    if options is None:
        return
    names = {name.decode() if isinstance(name, bytes) else name for name in options}
    if not names & {"enable-threads", "threads", "gevent"}:
        raise ConfigError(
            "uWSGI runs without threads here, and the list of ended sessions is followed in one: "
            "start it with --enable-threads (enable-threads = true)"
        )

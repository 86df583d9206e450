"""Breaker: a store that hangs is left alone for a moment, so that requests do not all wait for it.

A server that hangs is worse than one that is down: each request waits for its timeout, until every thread of the
application waits, and requests that need no session wait behind them.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.events import StoreHangs
from hardtack.stores._common import check_count, check_seconds

_log = logging.getLogger("hardtack")

TIMEOUTS = 5
"""Timeouts in a row after which a store is left alone, where nothing else is said."""

PAUSE = 1.0
"""Seconds for which it is."""

_UNNAMED = "the store"

_LONGEST_TRY = 60.0
"""Seconds after which a try that has not come back counts no more: its thread may have been lost in a fork."""


class Breaker:
    """Answers "unavailable" at once while a server hangs, and lets one call a `pause` find out whether it still does.

    Used as a context around each call, by any number of threads and tasks at once; it may hold several calls open. It
    has no lock: one that another thread held during a fork would stay locked in the child.

    Args:
        timeouts: so many calls in a row that ended by a timeout open it. One that ended in time closes it.
        pause: seconds until the next try.
        on_change: called with True when it opens and with False when it closes, by the thread that found out. What it
            raises is logged.
        name: what messages call the server; where nothing is said, the store that it is given to says which one it is.

    Raises:
        ConfigError: `timeouts` is no whole number from 1, or `pause` no number of seconds.
    """

    def __init__(
        self,
        timeouts: int = TIMEOUTS,
        pause: float = PAUSE,
        on_change: Callable[[bool], object] | None = None,
        name: str = _UNNAMED,
    ) -> None:
        check_count(timeouts, "timeouts")
        check_seconds(pause, "pause")
        self.name = name
        self._limit = timeouts
        self._pause = pause
        self._on_change = on_change
        self._listeners: list[Callable[[str, bool], object]] = []
        self._in_a_row = 0
        self._next_try: float | None = None  # None: closed
        self._winners: dict[tuple[int, float], object] = {}

    @property
    def is_open(self) -> bool:
        """Whether calls are refused now, but for those that try."""
        return self._next_try is not None

    def another(self, name: str) -> Breaker:
        """A breaker with the same settings and listeners, for another server."""
        other = Breaker(self._limit, self._pause, self._on_change, name)
        other._listeners = self._listeners
        return other

    def listen(self, listener: Callable[[str, bool], object]) -> None:
        """Have it called as `on_change` is, with the name before; see `TellsOfHanging`."""
        self._listeners.append(listener)

    def __enter__(self) -> None:
        due = self._next_try
        if due is not None:
            self._try(due)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            if self._in_a_row:
                self._no_longer_hangs()
        elif isinstance(error, Exception):
            if _is_timeout(error):
                self._timed_out()
            elif self._next_try is not None:  # a connection that is refused costs no time
                self._no_longer_hangs()
        elif self._next_try is not None:  # the call was given up, maybe the one that tried: the next one may
            self._next_try = time.monotonic()

    def _try(self, due: float) -> None:
        """Return for the one call that may try now; raise `StoreUnavailable` for all others."""
        now = time.monotonic()
        if now >= due:
            mine = object()
            # One step, and so one winner; by process, since the winner may have been a thread that is not in the child.
            if self._winners.setdefault((os.getpid(), due), mine) is mine:
                self._next_try = now + _LONGEST_TRY
                self._winners = {(os.getpid(), due): mine}  # kept for those who have read `due` and come late
                return
        message = f"{self.name} did not answer {self._in_a_row} times in a row, and is left alone for a moment"
        raise StoreUnavailable(message)

    def _no_longer_hangs(self) -> None:
        was_open = self._next_try is not None
        self._in_a_row = 0
        self._next_try = None
        if was_open:
            self._tell(False)

    def _timed_out(self) -> None:
        self._in_a_row += 1
        if self._in_a_row < self._limit:
            return
        was_open = self._next_try is not None
        self._next_try = time.monotonic() + self._pause
        if not was_open:
            self._tell(True)

    def _tell(self, is_open: bool) -> None:
        for listener in self._listeners:
            listener(self.name, is_open)
        if not self._listeners:  # a manager logs its event
            _log.warning("%s", StoreHangs(self.name, is_open))
        if self._on_change is not None:
            try:
                self._on_change(is_open)
            except Exception:
                _log.exception("on_change of the breaker failed")


class _Closed:
    """The breaker that never opens."""

    def another(self, name: str) -> _Closed:
        return self

    def listen(self, listener: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def as_breaker(value: Any, name: str) -> Any:
    """What `breaker=` of a store means: a `Breaker`, a number of timeouts in a row, or 0 for none. Raises `ConfigError`.

    `name` is that of the server, with where it is.
    """
    if isinstance(value, Breaker) and value.name == _UNNAMED:
        value.name = name
    if isinstance(value, Breaker | _Closed):
        return value
    if type(value) is not int or value < 0:
        message = (
            f"breaker is {value!r}; it must be a Breaker, or a whole number: after how many timeouts in a row the store "
            "is left alone, 0 for never"
        )
        raise ConfigError(message)
    return Breaker(value, name=name) if value else _Closed()


_TIMEOUT_NAMES = {"TimeoutError", "ConnectionTimeout"}
"""What timeouts are called that are none of Python's: of a pool of SQLAlchemy, and of psycopg when it connects."""


_CANCELED = "57014"
"""PostgreSQL's SQLSTATE of a statement that took longer than `statement_timeout`, or that was cancelled otherwise."""

_LIBPQ_TIMEOUTS = ("timeout expired", "Connection timed out", "Operation timed out")
"""What libpq says when a connection is not made in time, or `tcp_user_timeout` is over: psycopg2 has no code for these."""

_LOST = 2013
_TOO_LONG = {1969, 3024}
"""MariaDB's and MySQL's errors of a statement that took longer than `max_statement_time` or `max_execution_time`."""


def _is_drivers_timeout(error: BaseException) -> bool:
    """Whether a driver of a database says so by its own error alone: none of the system's is behind it."""
    if _CANCELED in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None)):
        return True
    code, text = (error.args[0], str(error.args[-1])) if error.args else (None, "")
    match type(error).__module__.partition(".")[0]:
        case "psycopg2":
            return any(each in text for each in _LIBPQ_TIMEOUTS)
        case "MySQLdb" if code == _LOST:
            # That a server hangs or has crashed in a query is one error to its C library; after a crash the next one differs.
            return "during query" in text or text.endswith(f"system error: {errno.ETIMEDOUT}")
        case "MySQLdb" | "pymysql" | "aiomysql" | "asyncmy":
            return code in _TOO_LONG
        case _:
            return False


def _is_timeout(error: BaseException) -> bool:
    """Whether the error, or what it was raised from, is a timeout: every driver wraps that of the system."""
    seen = 0
    step: BaseException | None = error
    while step is not None and seen < 20:  # a chain may be a ring
        if isinstance(step, TimeoutError) or type(step).__name__ in _TIMEOUT_NAMES or _is_drivers_timeout(step):
            return True
        step = step.__cause__ or step.__context__
        seen += 1
    return False

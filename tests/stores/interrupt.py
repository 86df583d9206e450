"""What stops a thread in the middle of a call, and is no `Exception`: the timeout of a worker, or Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """As gevent's Timeout, or KeyboardInterrupt."""


def interrupted(call: Callable[[], Any], after: float = 0.1) -> bool:
    """Whether the call was still running `after` seconds; then it was interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        call()
    except Interrupted:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return False

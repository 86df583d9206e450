"""One of several processes that follow one channel.

    python -m tests.ended.worker URL PURPOSE

It reads lines on stdin: `end ID`, `ask ID`: answers each on stdout with a line; `ask` waits until the id is ended,
and answers with the time of the machine.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from tests.ended.kit import KEY

from hardtack.ended import EndedSessions
from hardtack.errors import StoreUnavailable


def main(url: str, purpose: str) -> None:
    """Answer each line."""
    ended = EndedSessions.from_url(url, KEY)
    ended.bind(None, purpose, 86400, 7200)
    ended.start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, argument = line.split()
        if command == "end":
            with suppress(StoreUnavailable):  # on a busy machine: it is kept, and appended later
                ended.end_session(bytes.fromhex(argument))
        else:
            while not ended.check(bytes.fromhex(argument)):
                time.sleep(0.001)
        print(time.time(), flush=True)
    ended.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

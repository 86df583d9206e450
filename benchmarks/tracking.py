"""What it costs to note which values a request has read, which only a session in a store needs: microseconds a request.

    python -m benchmarks.tracking

A request opens a session of payload M in memory, reads some of it and commits it, and another changes it too. Each is measured
beside the same one under `last_write_wins`, which notes nothing, in turns; the difference is the median over the rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from benchmarks.interleave import PAYLOADS, interleave
from hardtack import SessionManager, StoreEngine
from hardtack.stores.memory import MemoryStore

PAYLOAD = PAYLOADS["M"]
NAMES = list(PAYLOAD)


def site(*, notes: bool) -> tuple[SessionManager, list[str]]:
    """A manager, and the cookie of a session that is in its store."""
    store = MemoryStore()
    sessions = SessionManager(StoreEngine(store) if notes else StoreEngine(store, on_conflict="last_write_wins"))
    session = sessions.open(None)
    session.update(PAYLOAD)
    (line,) = sessions.commit(session).set_cookies
    return sessions, [line.partition(";")[0]]


def request(reads: int, *, notes: bool, writes: bool = False) -> Callable[[], object]:
    """A request that reads so many of its values, or all by iteration, and may change one."""
    sessions, (cookie,) = site(notes=notes)
    names = NAMES[:reads]
    number = 0

    def answer() -> None:
        nonlocal number
        session = sessions.open(cookie)
        for name in names:
            session[name]
        if not names:
            list(session.items())
        if writes:
            session["number"] = number = number + 1
        sessions.commit(session)

    return answer


def main() -> None:
    """One line for each kind of request."""
    kinds = {
        "one value": (1, False),
        "three values": (3, False),
        "all": (0, False),
        "three values, and writes": (3, True),
    }
    functions = {
        f"{kind}, {notes}": request(reads, notes=notes, writes=writes)
        for kind, (reads, writes) in kinds.items()
        for notes in (True, False)
    }
    times = interleave(functions, rounds=200)
    for kind in kinds:
        more = median(each[f"{kind}, True"] - each[f"{kind}, False"] for each in times.rounds)
        print(f"reads {kind}: {more:.1f} µs more than the {times.of(f'{kind}, False'):.1f} of who notes nothing")


if __name__ == "__main__":
    main()

"""Claims: a value that is taken once is taken by one request, whatever becomes of its session.

The session of two parallel requests may go on under two ids, or one save may be dropped: so who takes a value says so in the
store, or in the list of ended sessions, under a name that is made of the value's own, and only one of two can.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from hardtack import values
from hardtack.engines.store import StoreEngine
from hardtack.engines.store.tombstones import tombstone
from hardtack.errors import SessionConflict, StoreFull
from hardtack.flow import Ask, Flow
from hardtack.protocols import VersionConflict
from hardtack.session import ONCE
from hardtack.state import State

if TYPE_CHECKING:
    from hardtack.core import Core


def once_id(name: str) -> bytes:
    """The id of a value that is taken once: 32 bytes in a store, the first 16 in the list."""
    return hashlib.sha256(b"hardtack/1 once" + name.encode("utf-8", "surrogatepass")).digest()


def claim(core: Core, state: State, now: int) -> Flow[None]:
    """Claim what this request has taken. Raises `SessionConflict` where another was faster, and `StoreUnavailable`."""
    while state.claimed < len(state.once):
        name, until = state.once[state.claimed]
        state.claimed += 1
        if not (yield from _claim(core, name, max(until, now + 1), now)):
            raise SessionConflict("a parallel request has taken the same one-time value", [ONCE])


def _claim(core: Core, name: str, until: int, now: int) -> Flow[bool]:
    raw_id = once_id(name)
    if not core.stored:
        assert core.ended is not None
        return bool((yield Ask(partial(core.ended.take, raw_id[:16]))))
    engine = core.engine
    if not isinstance(engine, StoreEngine) or engine.native is not None:
        return True  # another program reads what is in its store: two takers meet in the session alone
    grave = tombstone(raw_id, now, changed=False)
    grave.options["ended"] = until
    try:
        yield engine.bury(values.encode_bytes(raw_id), grave, None, core)
    except VersionConflict:
        return False
    except StoreFull:  # no room to remember it; what was taken is removed from the session all the same
        return True
    return True


def remove(core: Core, engine: StoreEngine, raw_id: bytes, names: tuple[str, ...]) -> Flow[None]:
    """Take values out of a stored session of which a request has taken them that saved nothing, under whichever id it has."""
    from hardtack import administration

    def take(data: dict[str, Any]) -> None:
        kept = {name: entry for name, entry in data.get(ONCE, {}).items() if name not in names}
        if kept:
            data[ONCE] = kept
        else:
            data.pop(ONCE, None)

    now = core.now()
    seen: set[bytes] = set()
    while raw_id and raw_id not in seen:
        seen.add(raw_id)
        look, _ = yield from engine.ask(raw_id, values.encode_bytes(raw_id), now, core)
        if look.record is not None:
            if any(name in look.record.data.get(ONCE, {}) for name in names):
                with suppress(SessionConflict):  # it ended meanwhile, and its values with it
                    yield from administration.update(core, values.encode_bytes(raw_id), take)
            return
        raw_id = b"" if look.dead is None else look.dead.successor

"""Once: values of one flow (OAuth state, PKCE verifiers, WebAuthn challenges), each with its own name and end, taken once.

They lie in the session beside its data, and are read by nobody else: parallel flows in several tabs do not overwrite each
other, and two requests that take one at once do not both succeed.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from hardtack.errors import ConfigError
from hardtack.lifecycle.claims import once_id
from hardtack.lifetime import Duration, seconds
from hardtack.session import ONCE, changing, drop, peek, put, state_of

if TYPE_CHECKING:
    from hardtack.session import Session


class Once:
    """`session.once`."""

    __slots__ = ("_list", "_session")

    def __init__(self, session: Session) -> None:
        core = state_of(session).core
        if core is not None and not core.stored and core.ended is None:
            raise ConfigError(
                "session.once needs a StoreEngine, or a manager with a list of ended sessions (ended=…): whoever keeps a copy "
                "of a cookie that holds the session could take a value twice"
            )
        self._session = session
        self._list = None if core is None or core.stored else core.ended

    def put(self, value: Any, ttl: Duration = "10 minutes", at_most: int = 5) -> str:
        """Keep a value for `ttl`, and return its name: 22 random characters, such as the `state` of OAuth.

        Of more than `at_most` values the oldest goes first. Raises `ConfigError`, also where the session lives in a cookie and
        there is no list of ended sessions.
        """
        lasts = seconds(ttl, "once.put(ttl)")
        if lasts < 1 or type(at_most) is not int or at_most < 1:
            raise ConfigError("once.put(ttl, at_most) must be a second or more, and 1 or more")
        now = state_of(self._session).now()
        if self._list is not None:  # a name is forgotten there, and a copy of the cookie could take it again
            lasts = min(lasts, self._list.life)
        kept = {name: entry for name, entry in self._entries().items() if entry[0] > now}
        while len(kept) >= at_most:
            del kept[min(kept, key=lambda name: kept[name][1])]
        name = secrets.token_urlsafe(16)
        latest = max((entry[1] for entry in kept.values()), default=0)
        kept[name] = [now + lasts, latest + 1, value]
        put(self._session, ONCE, kept)
        return name

    def take(self, name: object, default: Any = None) -> Any:
        """The value under a name, which is gone then; `default` where there is none, or its time is over.

        Where a parallel request takes it too, the commit of one of the two raises `SessionConflict`. Of sessions in cookies:
        of two in one process; in several processes both may, within the second that the list of ended sessions takes.
        """
        entries = dict(self._entries())
        entry = entries.pop(name, None) if type(name) is str else None
        if entry is None:
            return default
        state = changing(self._session)
        if self._list is not None and self._list.is_taken(once_id(str(name))[:16]):
            return default
        state.once = (*state.once, (str(name), entry[0]))
        if entries:
            put(self._session, ONCE, entries)
        else:
            drop(self._session, ONCE)
        return entry[2] if entry[0] > state_of(self._session).now() else default

    def _entries(self) -> dict[str, Any]:
        found = peek(self._session, ONCE)
        return found if type(found) is dict else {}

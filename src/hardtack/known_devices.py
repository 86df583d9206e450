"""KnownDevices: a browser remembers who has logged in there, in a cookie of its own, so that a login on a new one can be told.

The cookie is no session and no credential: it opens nothing, outlives the session, and is read at a login alone.
docs/token-format.md has its bytes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hardtack.cookies import MAX_AGE_LIMIT, MAX_SET_COOKIE, MAX_VALUES, find_values, split_prefix
from hardtack.errors import ConfigError, InvalidToken
from hardtack.events import Rejected
from hardtack.lifetime import MAX_SKEW, Duration
from hardtack.protocols import Context, rings_of
from hardtack.record import Record
from hardtack.settings import fail, instance, positive
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import Key, Keyring, as_keyring

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.settings import Settings
    from hardtack.state import State

MOST: Final = 8
"""Users whom one browser remembers; of more, those who have not logged in for longest are forgotten."""

_MAX_LENGTH: Final = 1024
"""Characters of a value that are looked at: eight users take some 330."""

_HASH_SIZE: Final = 8
"""Bytes. Nobody chooses what is hashed: a user's id, and a salt that only the sealed cookie has."""

_LOGINS: Final = "logins"


class KnownDevices:
    """Lets `LoggedIn` tell whether the user has logged in with this browser before.

    The browser keeps a sealed cookie beside the session's: for each of the last eight users a salted hash of the id, and when
    that was. It stays after a logout. It is no credential: whoever copies it is taken for that device.

    Args:
        lifetime: for how long after a login the browser is known, at most 400 days, which is as long as browsers keep a cookie.
        keys: the ring under which the cookie is sealed; None: the engine's own.

    Raises `ConfigError`.
    """

    __slots__ = ("keys", "lifetime")

    def __init__(self, lifetime: Duration = "1 year", keys: Keyring | Key | None = None) -> None:
        self.lifetime = positive(lifetime, "KnownDevices(lifetime)")
        if self.lifetime > MAX_AGE_LIMIT:
            fail("KnownDevices(lifetime)", lifetime, "400 days or less: browsers keep no cookie for longer")
        if keys is not None:
            instance(keys, (Keyring, Key), "KnownDevices(keys)", "Keyring or a Key")
        self.keys = None if keys is None else as_keyring(keys)

    def __repr__(self) -> str:
        return f"KnownDevices(lifetime={self.lifetime})"

    def of(self, engine: Any, settings: Settings) -> Devices:
        """What a manager knows of them. Raises `ConfigError` where there is no key."""
        keys = self.keys or next(iter(rings_of(engine)), None)
        if keys is None:
            raise ConfigError(
                "KnownDevices needs keys=: the engine has none of its own to seal the cookie under; give it a Keyring or a "
                "Key, the same on every server"
            )
        return Devices(self.lifetime, keys, settings)


class Devices:
    """The cookie of known devices of one manager.

    Attributes:
        cookie: its name and attributes: the session cookie's, but that no script ever reads it.
    """

    __slots__ = ("_lifetime", "_purpose", "_token", "cookie")

    def __init__(self, lifetime: int, keys: Keyring, settings: Settings) -> None:
        self._lifetime = lifetime
        self._token = EncryptedToken(keys)
        # Not the manager's own: a manager whose session cookie has this very name must not open it as a session.
        self._purpose = f"hardtack/1 known devices {hashlib.sha256(settings.purpose.encode()).hexdigest()}"
        # The session cookie's name is no part of it: to be found in a header, a name that stands once is the quickest.
        prefix, rest = split_prefix(settings.cookie.name)
        self.cookie = replace(settings.cookie, name=f"{prefix}device-{rest}", httponly=True, formerly=())

    def header_of(self, header: str) -> str:
        """What a Cookie header says of them, as a header."""
        name = self.cookie.name
        return "; ".join(f"{name}={value}" for value in find_values(header, name))

    def meet(self, core: Core, state: State, subject: str, lines: list[str], now: int) -> bool | None:
        """Whether the browser knows a user who has just logged in; it does from now on, by a further Set-Cookie line.

        None: it does not, and the answer has no room for the line.
        """
        records = list(self._read(core, state, now))
        match = next((record for record in records if self._knows(record, subject, now)), None)
        newest = max(records, key=lambda record: record.seen, default=None)
        line = self._line(match or newest, subject, now)
        # As with the session's own line: nginx answers 502 where an answer's headers do not fit into its buffer.
        room = getattr(core.engine, "max_set_cookie", MAX_SET_COOKIE)
        if sum(map(len, lines)) + len(line) <= room:
            lines.append(line)
            return match is not None
        core.warn_once(
            f"a login's session is so large that the cookie {self.cookie.name} does not fit beside it into {room} bytes: the "
            "browser does not remember the user; keep less in the session"
        )
        return True if match is not None else None

    # --- the cookie

    def _read(self, core: Core, state: State, now: int) -> Iterator[Record]:
        """What the good cookies of a request say. There may be several: of two paths, or from a sibling subdomain."""
        name = self.cookie.name
        values = dict.fromkeys(find_values(state.header, name))
        if len(values) > MAX_VALUES:
            core.emit(Rejected, "ambiguous", name, request=state.request)
            return
        for value in values:
            try:
                yield self._open(value, now)
            except InvalidToken as error:
                core.emit(Rejected, error.reason, name, error.event_detail, request=state.request)

    def _open(self, value: str, now: int) -> Record:
        """What a cookie says. Raises `InvalidToken`."""
        if len(value) > _MAX_LENGTH:
            raise InvalidToken("too_large", f"the cookie has at most {_MAX_LENGTH} characters")
        record = self._token.open({self.cookie.name: [value]}, self._context(now))
        if record.seen > now + MAX_SKEW:
            raise InvalidToken("future", "it was sealed by a clock that is ahead")
        logins = record.data.get(_LOGINS)
        if type(logins) is not list or not all(map(_is_login, logins)):
            raise InvalidToken("malformed", "it does not say who has logged in")
        return record

    def _line(self, record: Record | None, subject: str, now: int) -> str:
        """The Set-Cookie line that adds a login to a cookie, or begins one."""
        if record is None:
            record = Record(secrets.token_bytes(16), now, None, now, data={_LOGINS: []})
        mine = _hash(record, subject)
        logins = [login for login in record.data[_LOGINS] if login[0] != mine and self._lasts(login[1], now)]
        after = record.with_changes(seen=now, data={_LOGINS: [*logins[1 - MOST :], [mine, now]]})
        sealed = self._token.seal(after, self._context(now))
        return self.cookie.set_cookie(self.cookie.name, sealed[self.cookie.name], self._lifetime, now)

    def _knows(self, record: Record, subject: str, now: int) -> bool:
        mine = _hash(record, subject)
        return any(login == mine and self._lasts(at, now) for login, at in record.data[_LOGINS])

    def _lasts(self, at: int, now: int) -> bool:
        """Whether a login counts; that browsers forget the cookie in time is their word."""
        return now < at + self._lifetime

    def _context(self, now: int) -> Context:
        return Context(self.cookie.name, self._purpose, now)


def _hash(record: Record, subject: str) -> bytes:
    """What stands for a user in one browser. Salted, and not keyed: a key that is rotated would forget everybody."""
    return hashlib.sha256(b"hardtack/1 known device" + record.id + subject.encode()).digest()[:_HASH_SIZE]


def _is_login(login: Any) -> bool:
    return type(login) is list and len(login) == 2 and type(login[0]) is bytes and type(login[1]) is int

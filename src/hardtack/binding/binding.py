"""Binding: what one manager knows of device keys: names, cookies, tokens, and what a request's cookies prove."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hardtack import values
from hardtack.binding.paths import REFRESH, START, endpoints_of
from hardtack.binding.settings import DeviceBinding
from hardtack.binding.tokens import ID_CHARACTERS, Bound, Tokens, short
from hardtack.cookies import MAX_VALUES, Cookie, find_values, parse, split_prefix
from hardtack.errors import ConfigError
from hardtack.protocols import rings_of

if TYPE_CHECKING:
    from hardtack.ended import EndedSessions
    from hardtack.record import Record
    from hardtack.settings import Settings

OFFERED: Final = 300
"""Seconds after a login in which a browser may bind the session: later, whoever holds a copied cookie could."""

AGAIN: Final = 20
"""Seconds after a login from which the offer is made again, where nothing came of the first: sooner, a browser would make two
keys."""

REQUIRED: Final = 60
"""Seconds after a login from which a session that must be bound is nobody's without a proof."""

LATE: Final = 10
"""Seconds in which the id from before the binding still opens the session: requests that were on their way carry it."""

_LATEST: Final = 60  # more than OFFERED, for an answer to the last offer

_TAG: Final = 8
_KEPT: Final = 3


class Status(Enum):
    """What a request proves of the device that its session is bound to."""

    UNBOUND = "unbound"
    BOUND = "bound"
    UNPROVEN = "unproven"


class Bond(NamedTuple):
    """A session's binding, as its record keeps it."""

    thumbprint: bytes
    id: bytes
    key: bytes
    """The public key's own bytes."""


class Binding:
    """The binding of one manager.

    Attributes:
        tokens: issues and reads challenges and cookies.
        cookie: the bound cookie's attributes; its name is `bound_name(id)`.
        attributes: the same as text, but Max-Age, as a browser is told them.
        start, refresh: the paths of the endpoints, below the application's mount.
        beginning: what both paths begin with.
        registers_for: seconds after a login in which a session may be bound by a key that was registered in time.
    """

    def __init__(self, device: DeviceBinding, engine: Any, settings: Settings, ended: EndedSessions | None) -> None:
        check(engine, settings, ended)
        keys = device.keys or next(iter(rings_of(engine)), None)
        if keys is None:
            raise ConfigError(
                "DeviceBinding needs keys=: the engine has none of its own to issue challenges and bound cookies under; give "
                "it a Keyring or a Key, the same on every server"
            )
        self.device = device
        self._good_for = device.every + device.grace
        self.registers_for = OFFERED + _LATEST + self._good_for
        self.tokens = Tokens(keys, settings.purpose, settings.cookie.name)
        self.settings = settings
        beginning = _beginning(settings.cookie)
        self._bound, self._key = f"{beginning}-bound-", f"{beginning}-key-"
        # A script must read neither: it could carry both to another machine. Places of the session's own cookie are not theirs.
        self.cookie = replace(settings.cookie, name=f"{beginning}-bound", httponly=True, formerly=())
        self.attributes = self.cookie.attributes.removeprefix("; ")
        self.beginning = endpoints_of(settings.purpose)
        self.start = self.beginning + START
        self.refresh = self.beginning + REFRESH

    def now(self) -> int:
        """Milliseconds since 1970."""
        return int(self.settings.clock() * 1000)

    # --- cookies: each binding has its own two, so that two bindings of one browser never overwrite each other's

    def bound_name(self, binding: bytes) -> str:
        """The name of a binding's bound cookie."""
        return self._bound + values.encode_bytes(binding)[:_TAG]

    def key_name(self, binding: bytes) -> str:
        """The name of the cookie that holds its public key until the session is bound, which then does."""
        return self._key + values.encode_bytes(binding)[:_TAG]

    def names_of(self, binding: str) -> tuple[str, str]:
        """Both names, where the id is at hand as text."""
        tag = binding[:_TAG]
        return self._bound + tag, self._key + tag

    def proved_at(self, header: str, kept: Any) -> int:
        """When the key of a session was proved, milliseconds since 1970; 0 where the request does not show it.

        `kept` is what its record has of the binding. The id of that stands for the key: it is made of its thumbprint.
        """
        binding = kept[1] if type(kept) is list and len(kept) == _KEPT else None
        if type(binding) is not str or len(binding) != ID_CHARACTERS:
            return 0
        for value in find_values(header, self._bound + binding[:_TAG])[:MAX_VALUES]:
            at = self.tokens.proved_at(value, binding, self.now(), self._good_for)
            if at:
                return at
        return 0

    def proofs(self, header: str) -> list[Bound]:
        """Every good bound cookie of a request."""
        if self._bound not in header:
            return []
        return [bound for bound in map(self._read, _values_of(header, self._bound)) if bound is not None]

    def _read(self, value: str) -> Bound | None:
        return self.tokens.read_bound(value, self.now(), self._good_for)

    def key_of(self, header: str, binding: bytes) -> Bound | None:
        """What the key cookie of a binding says."""
        for value in find_values(header, self.key_name(binding))[:MAX_VALUES]:
            key = self.tokens.read_key(value)
            if key is not None and key.binding == binding:
                return key
        return None

    def is_registering(self, header: str, session_id: bytes) -> bool:
        """Whether the browser has registered a key for this session already."""
        if self._key not in header:
            return False
        keys = map(self.tokens.read_key, _values_of(header, self._key))
        return any(key is not None and key.session == short(session_id) for key in keys)

    def may_bind(self, header: str) -> bool:
        """Whether a request may bind its session: it has a key cookie, as until the browser proves the key again."""
        return self._key in header

    def names_in(self, header: str) -> list[str]:
        """The cookies of bindings that a request carries."""
        if self._bound not in header and self._key not in header:
            return []
        return [name for name in parse(header) if name.startswith((self._bound, self._key))]


def bond_of(record: Record) -> Bond | None:
    """The binding of a session, or None. What is unreadable binds to a key that nobody has."""
    kept = record.options.get("binding")
    if kept is None:
        return None
    try:
        thumbprint, identifier, key = map(values.decode_bytes, kept)
    except (ValueError, TypeError):
        return Bond(b"", b"", b"")
    return Bond(thumbprint, identifier, key)


def option_of(bond: Bond) -> list[str]:
    """What a record keeps of a binding."""
    return [values.encode_bytes(part) for part in bond]


def seed_of(secret: bytes, binding: bytes) -> bytes:
    """What the id of a session is drawn from when it is bound: parallel requests agree on it."""
    return hashlib.sha256(b"hardtack/1 bound" + binding + secret).digest()


def check(engine: Any, settings: Settings, ended: EndedSessions | None) -> None:
    """Raise `ConfigError` where sessions of an engine, or with such a cookie, cannot be bound."""
    native = getattr(engine, "native", None)
    if engine.store is None:
        if not native:
            raise ConfigError(
                "DeviceBinding needs hardtack's own sessions: another system would not look at the binding"
            )
        if ended is None:
            raise ConfigError(
                "DeviceBinding with a CookieEngine needs ended=: a cookie that was copied before the browser had registered "
                "its key opens the session to its deadline, unless a list says that its id has ended; give the manager "
                "ended=EndedSessions.from_url(…), or keep sessions in a store"
            )
    elif native is not None:
        raise ConfigError("DeviceBinding needs hardtack's own sessions: another program reads those of this store")
    if settings.cookie.partitioned:
        raise ConfigError(
            "DeviceBinding cannot be used with Cookie(partitioned=True): browsers refuse to bind such cookies"
        )


def _beginning(cookie: Cookie) -> str:
    _, name = split_prefix(cookie.name)
    # Browsers refuse to bind a cookie named __Host-Http-.
    return f"__Host-{name}" if cookie.secure and cookie.path == "/" and cookie.domain is None else name


def _values_of(header: str, beginning: str) -> Iterator[str]:
    """The values of the first cookies whose names begin so."""
    found = [values for name, values in parse(header).items() if name.startswith(beginning)]
    yield from [value for values in found for value in values[:MAX_VALUES]][: 2 * MAX_VALUES]

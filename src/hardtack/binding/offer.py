"""Offer: what a response says of a session's device: that the browser may bind the session, or has a new cookie to keep."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from hardtack.binding.binding import AGAIN, OFFERED, Binding, Status
from hardtack.binding.open import Device
from hardtack.changes import Changes
from hardtack.session import Session, state_of
from hardtack.state import END, LOGIN

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.record import Record

REGISTRATION: Final = "Secure-Session-Registration"
_ALGORITHMS: Final = "ES256 RS256"


class Told:
    """What is known before a commit of what the response will say after it."""

    __slots__ = ("_binding", "_core", "_ends", "_login", "_state")

    def __init__(self, core: Core, binding: Binding, session: Session) -> None:
        self._core = core
        self._binding = binding
        state = self._state = state_of(session)
        self._login = state.begins is LOGIN
        self._ends = state.fate is END

    def tell(self, changes: Changes) -> Changes:
        """The changes of the commit, with what there is to say."""
        state, binding = self._state, self._binding
        record, device = state.record, state.device
        if record is None:
            if self._ends:
                # Else the browser would prove the key of a session that is over.
                changes.set_cookies += [binding.cookie.clear_cookie(name) for name in binding.names_in(state.header)]
            return changes
        if device is not None and device.offer:
            changes.headers = ((REGISTRATION, device.offer),)
        elif self._is_offered(record):
            offer = registration(binding, record, "" if state.request is None else state.request.mount)
            changes.headers = ((REGISTRATION, offer),)
            # Some frameworks commit twice, and send what the second commit says.
            device = state.device = device or Device(Status.UNBOUND)
            device.offer = offer
        return changes

    def _is_offered(self, record: Record) -> bool:
        if record.authenticated is None or not record.options.keys().isdisjoint(("actor", "binding")):
            return False
        if self._login:
            return True
        now = self._core.now()
        age = now - min(record.authenticated, now)
        return AGAIN <= age <= OFFERED and not self._binding.is_registering(self._state.header, record.id)


def registration(binding: Binding, record: Record, mount: str) -> str:
    """The header that offers to bind a session."""
    challenge = binding.tokens.registration(record.id, binding.now())
    return f'({_ALGORITHMS});path="{url(mount, binding.start)}";challenge="{challenge}"'


@lru_cache(maxsize=64)
def url(mount: str, path: str) -> str:
    """The path of an endpoint as a browser is told it."""
    return quote(mount.rstrip("/"), safe="/~!$&'()*+,;=:@-._") + path

"""Web sessions for Python. The public names, and nothing else; docs/ and the README show how they fit together."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hardtack import errors, events
from hardtack.binding import DeviceBinding
from hardtack.cookies import Cookie
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.manager import SessionManager
from hardtack.record import Record
from hardtack.request import Request
from hardtack.session import Session
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import Key, Keyring

if TYPE_CHECKING:
    from hardtack.ended import EndedSessions
    from hardtack.known_devices import KnownDevices
    from hardtack.tokens.signed import SignedToken

__all__ = [
    "Session",
    "DeviceBinding",
    "SessionManager",
    "CookieEngine",
    "StoreEngine",
    "EncryptedToken",
    "SignedToken",
    "Key",
    "Keyring",
    "Cookie",
    "Record",
    "Request",
    "EndedSessions",
    "KnownDevices",
    "errors",
    "events",
]

__version__ = "0.1.0"

# What few applications use is imported when it is asked for: it would take a sixth of importing hardtack.
_LATER = {
    "EndedSessions": "hardtack.ended",
    "KnownDevices": "hardtack.known_devices",
    "SignedToken": "hardtack.tokens.signed",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

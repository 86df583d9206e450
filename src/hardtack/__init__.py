"""Web sessions for Python. The public names, and nothing else; docs/ and the README show how they fit together."""

from hardtack import errors, events
from hardtack.binding import DeviceBinding
from hardtack.cookies import Cookie
from hardtack.ended import EndedSessions
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.manager import SessionManager
from hardtack.record import Record
from hardtack.request import Request
from hardtack.session import Session
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import Key, Keyring
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
    "errors",
    "events",
]

__version__ = "0.1.0"

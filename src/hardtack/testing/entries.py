"""What the contracts of a store say to it: keys and expiries, and the calls that they make again and again."""

from __future__ import annotations

import secrets
import time
from typing import Any

from hardtack.protocols import Entry, Version


def new_key() -> str:
    """A key as hardtack makes them: 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def in_an_hour() -> int:
    """An expiry that no test lives to see."""
    return int(time.time()) + 3600


def create(store: Any, key: str, data: bytes = b"data", subject: str | None = None) -> Version:
    """Put a new entry that lives for an hour."""
    return store.put(key, data, expires_at=in_an_hour(), if_version=None, subject=subject)


def save(store: Any, key: str, data: bytes, version: Version) -> Version:
    """Put over that version."""
    return store.put(key, data, expires_at=in_an_hour(), if_version=version, subject=None)


def read(store: Any, key: str) -> Entry:
    """The entry, which must be there."""
    entry = store.get(key)
    assert isinstance(entry, Entry)
    return entry

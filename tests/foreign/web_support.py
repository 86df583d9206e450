"""What the tests of the other languages' cookies share: opening and refusing one cookie or several, and settings."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign.base import ForeignCookie
from hardtack.protocols import Context
from hardtack.record import Record

NOW = 1_800_000_000
UNTIL = 1 << 40


def context(cookie: ForeignCookie, at: int = NOW) -> Context:
    return Context(cookie.cookie_name, "", at)


def record_of(data: dict[str, Any], *, created: int = NOW, expires: int | None = None) -> Record:
    options = {} if expires is None else {"expires": expires}
    return Record(bytes(16), created, None, created, None, options, data)


def seal(cookie: ForeignCookie, data: dict[str, Any], at: int = NOW, *, expires: int | None = None) -> dict[str, str]:
    """The cookies that hold the data, made at `at`."""
    return cookie.seal(record_of(data, created=at, expires=expires), context(cookie, at))


def read(cookie: ForeignCookie, cookies: Mapping[str, str] | str, at: int = NOW) -> Record:
    """The record of cookies, or of one value."""
    found = {cookie.cookie_name: cookies} if isinstance(cookies, str) else cookies
    return cookie.open({name: [value] for name, value in found.items()}, context(cookie, at))


def refused(cookie: ForeignCookie, cookies: Mapping[str, str] | str, at: int = NOW) -> str:
    """The reason why cookies, or one value, are refused."""
    with pytest.raises(InvalidToken) as caught:
        read(cookie, cookies, at)
    return caught.value.reason


def wrong_setting(make: Any, message: str, *arguments: Any, **settings: Any) -> None:
    """A wrong setting is a ConfigError that says what to do."""
    with pytest.raises(ConfigError, match=message):
        make(*arguments, **settings)


def laravel_unprefixed(text: str) -> str:
    """A cookie of Laravel before July 2020, under the key 00 01 02 …: the text itself, encrypted, put together here."""
    key, iv = bytes(range(32)), base64.b64encode(bytes(range(16))).decode()
    size = 16 - len(text) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(range(16)))).encryptor()
    value = base64.b64encode(encryptor.update(text.encode() + bytes([size]) * size)).decode()
    mac = hmac.new(key, (iv + value).encode(), "sha256").hexdigest()
    envelope = json.dumps({"iv": iv, "value": value, "mac": mac}, separators=(",", ":"))
    return quote(base64.b64encode(envelope.encode()).decode(), safe="")

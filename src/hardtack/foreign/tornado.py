"""Tornado's signed cookies, version 2, with JSON in them."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import _python as shared
from hardtack.foreign.base import ForeignCookie, Until, malformed, secret_bytes
from hardtack.lifetime import Duration
from hardtack.protocols import Context
from hardtack.record import Record

_KEY_VERSION = re.compile(r"2\|[0-9]{1,2}:([0-9]{1,10})\|")


class TornadoCookie(ForeignCookie):
    """A cookie of Tornado's `set_signed_cookie` (`set_secure_cookie`) whose value is a JSON object, read and written.

    The time in it is that of the last write: the session counts as created then, and ends `max_age` later. Version 1 is
    refused: its signature covers the fields without their borders.

    Parameters:
        secret: `cookie_secret`: one secret, or the secrets by their key versions.
        key_version: the version that signs, where `secret` holds several.
        max_age: `max_age_days` as a duration, by default 31 days.
        cookie_name: the name of the cookie; Tornado has no default.
        path, domain, until, keep_until, subject: see `ForeignCookie`.

    Raises `ConfigError`.
    """

    format_name = "tornado-v2"
    default_cookie_name = "session"
    authenticates_time = True

    def __init__(
        self,
        secret: str | bytes | Mapping[int, str | bytes],
        *,
        key_version: int | None = None,
        max_age: Duration = dt.timedelta(days=31),
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        super().__init__(
            cookie_name=cookie_name, path=path, domain=domain, until=until, keep_until=keep_until, subject=subject
        )
        self._max_age = shared.max_age_seconds(max_age)
        self._secrets: dict[int, bytes] | None = None
        if isinstance(secret, Mapping):
            self._secrets = {version: secret_bytes(each) for version, each in secret.items()}
            self._version = _issuing(self._secrets, key_version)
            self._current = self._secrets[self._version]
        else:
            self._version = 0 if key_version is None else _number(key_version)
            self._current = secret_bytes(secret)

    def _read(self, value: str, context: Context) -> Record:
        value = shared.unquote(value)
        signed, separator, signature = value.rpartition("|")
        version = _KEY_VERSION.match(value)
        if not value.isascii() or version is None:
            malformed("it is not version 2 of Tornado's signed values")
        secret = self._current if self._secrets is None else self._secrets.get(int(version[1]))
        if secret is None:
            raise InvalidToken("unknown_key")
        signed += separator
        if not hmac.compare_digest(_signature(secret, signed), signature.encode()):
            raise InvalidToken("tampered")
        stamp, name, encoded = _fields(signed)
        if name != self.cookie_name:
            raise InvalidToken("wrong_purpose", "it was signed for another cookie")
        if not re.fullmatch("[0-9]{1,15}", stamp):
            malformed("its time is not a number")
        created, expires = shared.begin_and_end(int(stamp), context, self._max_age)
        data = shared.read_json(shared.decode_padded(encoded))
        return self._record(data, context, value, created=created, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        text = shared.write_json(record.data, compact=False)
        encoded = base64.b64encode(text.encode()).decode()
        fields = [str(self._version), str(context.now), self.cookie_name, encoded]
        signed = "2|" + "".join(f"{len(field)}:{field}|" for field in fields)
        return signed + _signature(self._current, signed).decode()


def _number(version: object) -> int:
    if type(version) is int and 0 <= version < 10**10:
        return version
    message = f"key version {version!r} is not a whole number from 0; write secret={{0: …, 1: …}} as in Tornado"
    raise ConfigError(message)


def _issuing(secrets: Mapping[int, bytes], key_version: int | None) -> int:
    versions = sorted(map(_number, secrets))
    if key_version not in versions:
        message = f"key_version={key_version!r} does not say which secret signs; give one of {versions}"
        raise ConfigError(message)
    return key_version


def _signature(secret: bytes, signed: str) -> bytes:
    return hmac.digest(secret, signed.encode(), "sha256").hex().encode()


def _fields(signed: str) -> list[str]:
    """Time, name and value of `2|LENGTH:TEXT|…`, after the key version, or `InvalidToken("malformed")`."""
    fields = []
    rest = signed[2:]
    while rest:
        length, _, rest = rest.partition(":")
        end = int(length) if re.fullmatch("[0-9]{1,5}", length) else len(rest)
        if rest[end : end + 1] != "|":
            malformed("a field does not have its length")
        fields.append(rest[:end])
        rest = rest[end + 1 :]
    if len(fields) != 4:
        malformed("it does not have four fields")
    return fields[1:]

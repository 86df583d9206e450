"""The readers of the golden cookies of the Python frameworks: the token format that an entry's settings describe."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hardtack.foreign.aiohttp_session import AiohttpSessionCookie
from hardtack.foreign.django import DjangoSignedCookie
from hardtack.foreign.flask import FlaskCookie
from hardtack.foreign.layouts import DjangoTable
from hardtack.foreign.litestar import LitestarCookie
from hardtack.foreign.pyramid import PyramidCookie
from hardtack.foreign.starlette import StarletteCookie
from hardtack.foreign.tornado import TornadoCookie
from hardtack.protocols import Context, TokenFormat
from hardtack.record import Record

Entry = dict[str, Any]


def _secrets(entry: Entry) -> tuple[str, list[str]]:
    """The secret that signs, and those that are read as well."""
    secret = entry["secret"]
    current, *old = secret if isinstance(secret, list) else [secret]
    return current, [*old, *entry.get("old_secrets", [])]


def _chosen(entry: Entry, **names: str) -> dict[str, Any]:
    """The options that the entry has, under the names of our parameters."""
    options = entry.get("options", {})
    return {parameter: options[option] for parameter, option in names.items() if option in options}


def flask(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    settings = _chosen(entry, salt="salt", key_derivation="kd", digest="digest", max_age="max_age_default")
    return FlaskCookie(secret, secret_fallbacks=old, cookie_name=entry["cookie_name"], **settings)


def starlette(entry: Entry) -> TokenFormat:
    return StarletteCookie(entry["secret"], cookie_name=entry["cookie_name"], **_chosen(entry, max_age="max_age"))


def django(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    settings = _chosen(entry, salt="salt", digest="digest", max_age="max_age")
    return DjangoSignedCookie(secret, fallbacks=old, cookie_name=entry["cookie_name"], **settings)


class _DjangoRow:
    """What the column `session_data` holds, as if a cookie had brought it."""

    def __init__(self, entry: Entry) -> None:
        secret, old = _secrets(entry)
        self._table = DjangoTable(secret, fallbacks=old)

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        ((row,),) = cookies.values()
        return Record(bytes(16), 0, None, 0, None, {}, self._table.load(row.encode()))

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        raise NotImplementedError


def aiohttp_session(entry: Entry) -> TokenFormat:
    settings = _chosen(entry, max_age="max_age")
    return AiohttpSessionCookie(entry["secret"], cookie_name=entry["cookie_name"], **settings)


def pyramid(entry: Entry) -> TokenFormat:
    settings = _chosen(entry, salt="salt", hashalg="hashalg", timeout="timeout")
    return PyramidCookie(entry["secret"], cookie_name=entry["cookie_name"], **settings)


def litestar(entry: Entry) -> TokenFormat:
    encoding = entry.get("options", {}).get("key_encoding", "text")
    decode: Callable[[str], bytes] = {"hex": bytes.fromhex, "base64": base64.b64decode, "text": str.encode}[encoding]
    settings = _chosen(entry, max_age="max_age")
    return LitestarCookie(decode(entry["secret"]), cookie_name=entry["cookie_name"], **settings)


def tornado(entry: Entry) -> TokenFormat:
    secret = entry["secret"]
    version = None
    if isinstance(secret, dict):
        secret = {int(number): each for number, each in secret.items()}
        version = max(secret)
    days = entry.get("options", {}).get("max_age_days", 31)
    return TornadoCookie(secret, key_version=version, max_age=round(days * 86400), cookie_name=entry["cookie_name"])


python_readers: dict[str, Callable[[Entry], TokenFormat]] = {
    "flask": flask,
    "starlette": starlette,
    "django-signed-cookies": django,
    "django-session-data": _DjangoRow,
    "aiohttp-session-fernet": aiohttp_session,
    "pyramid-signed": pyramid,
    "litestar-client": litestar,
    "tornado-v2": tornado,
}

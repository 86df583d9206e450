"""The readers of the golden cookies of other languages' stacks: the token format that an entry's settings describe."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hardtack.foreign.authjs import AuthjsCookie, NextAuthCookie
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.express import CookieSessionCookie, ExpressSessionCookie, KoaSessionCookie
from hardtack.foreign.fastify import FastifyCookie
from hardtack.foreign.gorilla import GorillaCookie
from hardtack.foreign.hono import HonoCookie
from hardtack.foreign.iron import H3Cookie, HapiCookie, IronSessionCookie
from hardtack.foreign.laravel import LaravelCookie, LaravelIdCookie
from hardtack.foreign.phoenix import PhoenixCookie, PhoenixEncryptedCookie, PhoenixTokenCookie
from hardtack.foreign.rack import RackHmacCookie, RackSessionCookie
from hardtack.foreign.rails import RailsCookie, RailsSignedCookie
from hardtack.foreign.remix import RemixCookie
from hardtack.protocols import Context, TokenFormat
from hardtack.record import Record

Entry = dict[str, Any]

FAR = 1 << 40


def _secrets(entry: Entry) -> tuple[str, list[str]]:
    """The secret that is written with, and those that are read as well."""
    secret = entry["secret"]
    current, *old = secret if isinstance(secret, list) else [secret]
    return current, [*old, *entry.get("old_secrets", [])]


def rails(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    options = entry["options"]
    settings: dict[str, Any] = {
        "old_secrets": old,
        "digest": options["digest"].lower(),
        "metadata": options["metadata"],
        "cookie_name": entry["cookie_name"],
        "until": FAR,
    }
    if entry["format"] == "rails-signed":
        settings["signed_cookie_salt"] = options.get("salt", "signed cookie")
        return RailsSignedCookie(secret, signed_cookie_digest=options["hmac_digest"].lower(), **settings)
    is_cbc = options["cipher"].endswith("cbc")
    salts = {"encrypted_cookie_salt": "salt", "encrypted_signed_cookie_salt": "signed_salt"}
    if not is_cbc:
        settings["encrypted_cookie_cipher"] = options["cipher"]
        salts = {"authenticated_encrypted_cookie_salt": "salt"}
    settings |= {parameter: options[option] for parameter, option in salts.items() if option in options}
    return RailsCookie(secret, legacy_cbc=is_cbc, **settings)


def rack_session(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    purpose = entry["options"]["purpose"] or ""
    return RackSessionCookie(
        secret, old_secrets=old, purpose=purpose, cookie_name=entry["cookie_name"], until=FAR, url_safe=True
    )


def rack_hmac(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    return RackHmacCookie(secret, old_secrets=old, digest=entry["options"]["hmac"].lower(), until=FAR)


def cookie_session(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    options: dict[str, Any] = {
        "old_secrets": old,
        "digest": entry["options"]["hash"],
        "cookie_name": entry["cookie_name"],
        "until": FAR,
    }
    if entry["format"] == "koa-session":
        return KoaSessionCookie(secret, **options)
    return CookieSessionCookie(secret, **options)


def express_session(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    return ExpressSessionCookie(secret, old_secrets=old, cookie_name=entry["cookie_name"], until=FAR)


def iron(entry: Entry) -> TokenFormat:
    name = entry["cookie_name"]
    if entry["format"] == "h3-session":
        options = entry.get("options", {})
        ages = {setting: options[setting] for setting in ("max_age", "idle_timeout") if options.get(setting)}
        return H3Cookie(entry["secret"], cookie_name=name, until=FAR, **ages)
    if entry["format"] == "hapi-iron":
        return HapiCookie(entry["secret"], cookie_name=name, until=FAR)
    return IronSessionCookie(entry["secret"], cookie_name=name, until=FAR)


def fastify(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    options = entry["options"]
    settings = {"expiry": options["expiry"], "cookie_name": entry["cookie_name"]}
    if "salt" in options:
        return FastifyCookie(secret=secret, salt=options["salt"], **settings)
    decode = base64.b64decode if options.get("key_encoding") == "base64" else bytes.fromhex
    return FastifyCookie(decode(secret), old_keys=[decode(each) for each in old], **settings)


def authjs(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    salt = entry["options"]["salt"]
    if entry["format"] == "nextauth-v4-jwe":
        return NextAuthCookie(secret, old_secrets=old, salt=salt, cookie_name=entry["cookie_name"])
    # The salt is the cookie's name: under another salt it is looked for under another name.
    return _Renamed(AuthjsCookie(secret, old_secrets=old, cookie_name=salt), entry["cookie_name"])


class _Renamed:
    """A format that finds the cookies of one name under another."""

    def __init__(self, cookie: ForeignCookie, name: str) -> None:
        self._cookie = cookie
        self._name = name

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        name = self._cookie.cookie_name
        renamed = {name + each.removeprefix(self._name): values for each, values in cookies.items()}
        return self._cookie.open(renamed, context._replace(cookie_name=name))

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        raise NotImplementedError


def phoenix(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    options = entry["options"]
    settings: dict[str, Any] = {"old_secrets": old, "until": FAR}
    if entry["format"] == "plug-token":
        return PhoenixTokenCookie(secret, options["salt"], max_age=options.get("max_age"), **settings)
    settings |= {
        "cookie_name": entry["cookie_name"],
        "iterations": options["iterations"],
        "key_length": options["key_length"],
        "key_digest": options["digest"],
    }
    if entry["format"] == "plug-encrypted":
        return PhoenixEncryptedCookie(secret, options["encryption_salt"], options["signing_salt"], **settings)
    return PhoenixCookie(secret, options["signing_salt"], **settings)


def laravel(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    settings: dict[str, Any] = {"old_secrets": old, "cipher": entry["options"]["cipher"], "until": FAR}
    if entry["format"] == "laravel-encrypted":
        return LaravelIdCookie(secret, cookie_name=entry["cookie_name"], **settings)
    return _WithId(secret, settings)


class _WithId:
    """The cookie driver, where the file has the cookie of the data alone: the one with the id is made here."""

    def __init__(self, secret: str, settings: dict[str, Any]) -> None:
        self._driver = LaravelCookie(secret, **settings)
        self._id = LaravelIdCookie(secret, **settings)

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        (identifier,) = cookies
        record = Record(bytes(16), 0, None, 0, None, {}, {"session_id": identifier})
        both = {name: [value] for name, value in self._id.seal(record, context).items()} | dict(cookies)
        return self._driver.open(both, context)

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        raise NotImplementedError


def gorilla(entry: Entry) -> TokenFormat:
    secret = entry["secret"]
    (hash_key, block_key), *old_keys = [
        (each["hash_key"], each["block_key"] or None)
        for each in [*(secret if isinstance(secret, list) else [secret]), *entry.get("old_secrets", [])]
    ]
    return GorillaCookie(
        hash_key,
        block_key,
        old_keys=old_keys,
        max_age=entry["options"]["max_age"],
        cookie_name=entry["cookie_name"],
    )


def remix(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    return RemixCookie(secret, old_secrets=old, cookie_name=entry["cookie_name"], until=FAR)


def hono(entry: Entry) -> TokenFormat:
    return HonoCookie(entry["secret"], content="text", cookie_name=entry["cookie_name"], until=FAR)


web_readers: dict[str, Callable[[Entry], TokenFormat]] = {
    "rails-encrypted": rails,
    "rails-signed": rails,
    "rack-session-v1": rack_session,
    "rack-session-v2": rack_session,
    "rack-hmac-cookie": rack_hmac,
    "cookie-session": cookie_session,
    "koa-session": cookie_session,
    "express-session": express_session,
    "iron-session": iron,
    "hapi-iron": iron,
    "h3-session": iron,
    "fastify-secure-session": fastify,
    "authjs-jwe": authjs,
    "nextauth-v4-jwe": authjs,
    "plug-signed": phoenix,
    "plug-encrypted": phoenix,
    "plug-token": phoenix,
    "laravel-encrypted": laravel,
    "laravel-cookie-driver": laravel,
    "gorilla-securecookie": gorilla,
    "gorilla-sessions-gob": gorilla,
    "remix-cookie": remix,
    "hono-signed": hono,
}


def _without_times(data: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in data.items() if key not in ("_expire", "_maxAge", "_session")}


WEB_EXPECTED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "koa-session": _without_times,
    "h3-session": lambda data: dict(data["data"]),
    "plug-token": lambda data: {"value": data},
    "hono-signed": lambda data: {"value": data},
}
"""What a session holds where the golden file writes down more than the session, or another thing than a mapping."""

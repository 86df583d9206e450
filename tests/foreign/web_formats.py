"""One cookie format of each kind of the other languages' stacks, with what it carries: the contract tests run over all."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from hardtack.foreign.authjs import AuthjsCookie, NextAuthCookie
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.beaker import BeakerCookie, BeakerKeys
from hardtack.foreign.cookie_rs import RustPrivateCookie, RustSignedCookie
from hardtack.foreign.express import (
    _COOKIE_SESSION_KEYS,
    _EXPRESS_SESSION_KEYS,
    _KOA_KEYS,
    CookieSessionCookie,
    ExpressSessionCookie,
    KoaSessionCookie,
)
from hardtack.foreign.fastify import FastifyCookie
from hardtack.foreign.gorilla import GorillaCookie
from hardtack.foreign.hono import HonoCookie
from hardtack.foreign.iron import H3Cookie, HapiCookie, IronSessionCookie
from hardtack.foreign.laravel import LaravelCookie, LaravelIdCookie
from hardtack.foreign.phoenix import PhoenixCookie, PhoenixEncryptedCookie, PhoenixTokenCookie
from hardtack.foreign.rack import RackHmacCookie, RackSessionCookie
from hardtack.foreign.rails import RailsCookie, RailsSignedCookie
from hardtack.foreign.remix import RemixCookie

SECRET = "a secret of eighty characters, which is as long as the longest of them demands.."
OTHER = "another secret of eighty characters, as long as the longest of all of them asks."
UNTIL = 1 << 40


def json_objects(integers: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Sessions as JSON carries them, with these whole numbers and keys."""
    leaves = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    trees = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )
    return st.dictionaries(keys, trees, max_size=5)


DOUBLES = st.integers(-(1 << 53) + 1, (1 << 53) - 1)
WIDE = json_objects(st.integers(), st.text())
BITS_64 = json_objects(st.integers(-(1 << 63), (1 << 64) - 1), st.text())
NO_OWN = json_objects(st.integers(), st.text().filter(lambda key: not key.startswith("_")))
# Keys that one library or another keeps for itself.
_RESERVED = _COOKIE_SESSION_KEYS | _EXPRESS_SESSION_KEYS | _KOA_KEYS | {"iat", "exp", "nbf", "jti", "updateConfig"}
NAMES = st.text().filter(lambda key: not key.startswith("_") and key not in _RESERVED)
JAVASCRIPT = json_objects(DOUBLES, NAMES)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


# Bytes that are no UTF-8: other ones are text to Elixir and PHP.
BINARY = st.binary(min_size=1).filter(lambda raw: not _is_text(raw))
_TERM_LEAVES = st.none() | st.booleans() | st.integers(-(1 << 1000), 1 << 1000) | FLOATS | st.text() | BINARY
TERMS = st.dictionaries(
    st.text(),
    st.recursive(
        _TERM_LEAVES,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


def php(binary: bool) -> st.SearchStrategy[dict[str, Any]]:
    """What PHP tells apart: no empty mappings below the first level, and none that look like lists."""
    leaves: st.SearchStrategy[Any] = (
        st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | FLOATS | st.text()
    )
    if binary:
        leaves |= BINARY
    keys = st.text(min_size=1).filter(lambda key: key != "0") | st.integers(1, 1 << 63).map(str)
    trees = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, min_size=1, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(keys, trees, max_size=5)


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda text: {"session_id": text})
LARAVEL_IDS = st.from_regex("[A-Za-z0-9]{40}", fullmatch=True).map(lambda text: {"session_id": text})


def app_key(secret: str) -> str:
    return "base64:" + base64.b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def key(secret: str, size: int = 32) -> bytes:
    return hashlib.sha512(secret.encode()).digest()[:size]


def number(secret: str) -> int:
    """An id for each of the two secrets, the newer of which has the higher."""
    return 1 if secret == SECRET else 2


@dataclass(frozen=True)
class Format:
    """A format as its contract test needs it.

    Attributes:
        make: the format under a secret and older ones.
        carries: data that comes back equal.
        sample: some of it, small.
        second: other data of another session.
        adds: keys that the writer adds where they are not in the data.
    """

    name: str
    make: Callable[[str, list[str]], ForeignCookie]
    carries: st.SearchStrategy[dict[str, Any]] = JAVASCRIPT
    sample: dict[str, Any] = field(default_factory=lambda: {"a": 1})
    second: dict[str, Any] = field(default_factory=lambda: {"a": 2})
    adds: frozenset[str] = frozenset()

    @property
    def cookie(self) -> ForeignCookie:
        return self.make(SECRET, [])

    @property
    def stranger(self) -> ForeignCookie:
        return self.make(OTHER, [])

    @property
    def rotated(self) -> ForeignCookie:
        return self.make(OTHER, [SECRET])


FORMATS = [
    Format(
        "rails",
        lambda secret, old: RailsCookie(secret, old_secrets=old, until=UNTIL),
        WIDE,
        adds=frozenset({"session_id"}),
    ),
    Format(
        "rails-expire-after",
        lambda secret, old: RailsCookie(secret, old_secrets=old, digest="sha1", expire_after="1 day"),
        WIDE,
        adds=frozenset({"session_id"}),
    ),
    Format(
        "rails-signed",
        lambda secret, old: RailsSignedCookie(secret, old_secrets=old, metadata=False, until=UNTIL),
        WIDE,
    ),
    Format("rack", lambda secret, old: RackSessionCookie(secret, old_secrets=old, until=UNTIL), WIDE),
    Format(
        "rack-1",
        lambda secret, old: RackSessionCookie(secret, old_secrets=old, version=1, pad_size=None, until=UNTIL),
        WIDE,
    ),
    Format("rack-hmac", lambda secret, old: RackHmacCookie(secret, old_secrets=old, until=UNTIL), WIDE),
    Format("rack-zip", lambda secret, old: RackHmacCookie(secret, old_secrets=old, zipped=True, until=UNTIL), WIDE),
    Format("cookie-session", lambda secret, old: CookieSessionCookie(secret, old_secrets=old, until=UNTIL)),
    Format("koa", lambda secret, old: KoaSessionCookie(secret, old_secrets=old), JAVASCRIPT),
    Format(
        "koa-session",
        lambda secret, old: KoaSessionCookie(secret, old_secrets=old, max_age="session", digest="sha256", until=UNTIL),
        JAVASCRIPT,
    ),
    Format(
        "express-session",
        lambda secret, old: ExpressSessionCookie(secret, old_secrets=old, until=UNTIL),
        IDS,
        {"session_id": "abc.def"},
        {"session_id": "abc.deg"},
    ),
    Format("iron-session", lambda secret, old: IronSessionCookie({number(each): each for each in (secret, *old)})),
    Format(
        "hapi",
        lambda secret, old: HapiCookie(
            {f"k{number(each)}": each for each in (secret, *old)}, current=f"k{number(secret)}", ttl="1 hour"
        ),
    ),
    Format("h3", lambda secret, old: H3Cookie(secret, old_secrets=old, max_age="1 hour")),
    Format("h3-1", lambda secret, old: H3Cookie(secret, old_secrets=old, idle_timeout="1 hour", iterations=1)),
    Format("fastify", lambda secret, old: FastifyCookie(key(secret), old_keys=list(map(key, old)))),
    Format("authjs", lambda secret, old: AuthjsCookie(secret, old_secrets=old), adds=frozenset({"iat", "exp", "jti"})),
    Format(
        "nextauth", lambda secret, old: NextAuthCookie(secret, old_secrets=old), adds=frozenset({"iat", "exp", "jti"})
    ),
    Format("phoenix", lambda secret, old: PhoenixCookie(secret, "salt", old_secrets=old, until=UNTIL), TERMS),
    Format(
        "phoenix-encrypted",
        lambda secret, old: PhoenixEncryptedCookie(secret, "salt", "other", old_secrets=old, until=UNTIL),
        TERMS,
    ),
    Format(
        "phoenix-legacy",
        lambda secret, old: PhoenixEncryptedCookie(secret, "salt", "x", old_secrets=old, legacy=True, until=UNTIL),
        TERMS,
    ),
    Format("phoenix-token", lambda secret, old: PhoenixTokenCookie(secret, "salt", old_secrets=old), TERMS),
    Format(
        "phoenix-token-encrypted",
        lambda secret, old: PhoenixTokenCookie(secret, "salt", old_secrets=old, encrypted=True),
        TERMS,
    ),
    Format(
        "laravel", lambda secret, old: LaravelCookie(app_key(secret), old_secrets=list(map(app_key, old))), php(False)
    ),
    Format(
        "laravel-gcm-json",
        lambda secret, old: LaravelCookie(
            app_key(secret), old_secrets=list(map(app_key, old)), cipher="AES-256-GCM", serialization="json"
        ),
        php(False),
    ),
    Format(
        "laravel-id",
        lambda secret, old: LaravelIdCookie(app_key(secret), old_secrets=list(map(app_key, old)), until=UNTIL),
        LARAVEL_IDS,
        {"session_id": "aB3" * 13 + "x"},
        {"session_id": "aB3" * 13 + "y"},
    ),
    Format("gorilla", lambda secret, old: GorillaCookie(secret, old_keys=[(each, None) for each in old])),
    Format(
        "gorilla-block",
        lambda secret, old: GorillaCookie(secret, key(secret), old_keys=[(each, key(each)) for each in old]),
    ),
    Format("remix", lambda secret, old: RemixCookie(secret, old_secrets=old, until=UNTIL)),
    Format("hono", lambda secret, old: HonoCookie(secret, old_secrets=old, until=UNTIL)),
    Format(
        "hono-text",
        lambda secret, old: HonoCookie(secret, old_secrets=old, content="text", until=UNTIL),
        st.text().map(lambda text: {"value": text}),
        {"value": "a.b"},
        {"value": "a.c"},
    ),
    Format(
        "rust-private",
        lambda secret, old: RustPrivateCookie(
            key(secret), old_keys=list(map(key, old)), derive=True, content="actix", until=UNTIL
        ),
        BITS_64,
    ),
    Format(
        "rust-versioned",
        lambda secret, old: RustPrivateCookie(
            key(secret, 64), old_keys=[key(each, 64) for each in old], content="actix", versioned=True, until=UNTIL
        ),
        BITS_64,
    ),
    Format(
        "rust-signed",
        lambda secret, old: RustSignedCookie(key(secret, 64), old_keys=[key(each, 64) for each in old], until=UNTIL),
        BITS_64,
    ),
    Format(
        "beaker",
        lambda secret, old: BeakerCookie(secret, old_keys=[BeakerKeys(each) for each in old]),
        NO_OWN,
    ),
    Format(
        "beaker-encrypted",
        lambda secret, old: BeakerCookie(
            secret,
            "encrypting " + secret,
            old_keys=[BeakerKeys(each, "encrypting " + each) for each in old],
            timeout=60,
        ),
        NO_OWN,
    ),
    Format(
        "beaker-ctr",
        lambda secret, old: BeakerCookie(
            secret,
            "e" + secret,
            old_keys=[BeakerKeys(each, "e" + each) for each in old],
            crypto_type="pycryptodome",
            nonce_bits=48,
        ),
        NO_OWN,
    ),
]

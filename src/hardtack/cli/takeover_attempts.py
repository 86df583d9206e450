"""Which systems a cookie may be of, by its shape alone, and how each of them would be configured.

An attempt is a class in `hardtack.foreign` and its settings. Nothing is tried whose shape the cookie does not have: what is
tried costs a key derivation, and what is told of it should help.
"""

from __future__ import annotations

import base64
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from hardtack.foreign.base import ForeignCookie

_BASE64 = "[A-Za-z0-9+/]+={0,2}"
_URL_SAFE = "[A-Za-z0-9_-]+={0,2}"
_HEX_MAC = "(?:[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})"
_DIGESTS = {40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
_SIGNATURES = {27: "sha1", 43: "sha256", 64: "sha384", 86: "sha512"}


@dataclass(frozen=True)
class Attempt:
    """One way to read a cookie.

    Attributes:
        system: the system and its version, as people call it.
        module: in `hardtack.foreign`.
        name: the class.
        settings: keyword arguments that the shape tells.
        needs: settings that nobody can guess: they are given with `--option`.
        optional: settings that may be given so as well.
        form: what the secret is: `text`, `bytes` (also as hex or base64), or `password` (one of several, by `identifier`).
        parameter: the keyword of the secret, where it is not the first argument.
        unlike: settings of a likelier system, whose cookie it is if they read the same in it.
    """

    system: str
    module: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    form: str = "text"
    parameter: str = ""
    identifier: str = ""
    unlike: Mapping[str, Any] = field(default_factory=dict)

    def missing(self, options: Mapping[str, str]) -> list[str]:
        """What has to be given with `--option` first."""
        return [name for name in self.needs if name not in options]

    def arguments(self, cookie_name: str, options: Mapping[str, str]) -> dict[str, Any]:
        """The keyword arguments, beside the secret and `until`."""
        given = {name: options[name] for name in (*self.needs, *self.optional) if name in options}
        lists = {name: text.split(",") for name, text in given.items() if name == "atom_keys"}
        return {**self.settings, **given, **lists, "cookie_name": cookie_name}

    def cookie(self, secret: bytes, arguments: Mapping[str, Any], until: int) -> ForeignCookie:
        """The format. Raises `ConfigError`."""
        kind: type[Any] = getattr(importlib.import_module(f"hardtack.foreign.{self.module}"), self.name)
        value = self._secret(secret, "")[0]
        made: ForeignCookie
        if self.parameter:
            made = kind(**{self.parameter: value}, **arguments, until=until)
        else:
            made = kind(value, **arguments, until=until)
        return made

    def secret_source(self, content: bytes, path: str) -> str:
        """The first argument: a Python expression that reads the secret from its file."""
        source = self._secret(content, path)[1]
        return f"{self.parameter}={source}" if self.parameter else source

    def _secret(self, content: bytes, path: str) -> tuple[Any, str]:
        """The secret that a file with this content holds, and the expression that reads it from there."""
        text = f"pathlib.Path({path!r}).read_text().strip()"
        stripped = content.strip()
        if self.form == "bytes":
            return _bytes_of(stripped, content, path)
        try:
            value = stripped.decode()
        except UnicodeDecodeError:
            return content, f"pathlib.Path({path!r}).read_bytes()"
        if self.form == "password":
            return {self.identifier: value}, f"{{{self.identifier!r}: {text}}}"
        return value, text


def _bytes_of(stripped: bytes, content: bytes, path: str) -> tuple[bytes, str]:
    text = f"pathlib.Path({path!r}).read_text()"
    if re.fullmatch(b"(?:[0-9a-fA-F]{2}){32,}", stripped):
        return bytes.fromhex(stripped.decode()), f"bytes.fromhex({text})"
    if len(stripped) in (44, 88) and re.fullmatch(b"[A-Za-z0-9+/]+={0,2}", stripped):
        return base64.b64decode(stripped), f"base64.b64decode({text})"
    return content, f"pathlib.Path({path!r}).read_bytes()"


def _decoded(text: str, *, url_safe: bool = False) -> bytes:
    """The bytes of base64, or none where it is not."""
    if url_safe:
        text = text.replace("+", "-").replace("/", "_")  # of which Python 3.15 warns
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_" if url_safe else None)
    except ValueError:
        return b""


def attempts(cookies: Mapping[str, str], name: str) -> Iterator[Attempt]:
    """What the cookie of this name may be, the likeliest first."""
    text = unquote(_whole(cookies, name)).strip('"')
    signature = cookies.get(f"{name}.sig")
    if signature is not None:
        yield from _keygrip(signature, text)
    for shape, found in _SHAPES:
        if re.fullmatch(shape, text, re.DOTALL):
            yield from found(text)


def _whole(cookies: Mapping[str, str], name: str) -> str:
    """The value of a cookie, or of its chunks, which other systems number in three ways."""
    value = cookies.get(name, "")
    if value and not value.startswith("__chunked__"):
        return value
    chunks = [(int(each.removeprefix(name)[1:]), each) for each in cookies if is_chunk(each, name)]
    return "".join(cookies[each] for _, each in sorted(chunks))


def is_chunk(each: str, name: str) -> bool:
    """Whether a cookie's name is that of another, and a number."""
    return re.fullmatch(re.escape(name) + r"[.-][0-9]{1,2}", each) is not None


def _keygrip(signature: str, text: str) -> Iterator[Attempt]:
    name = _SIGNATURES.get(len(signature), "sha1")
    digest = {} if name == "sha1" else {"digest": name}
    if b'"_expire":' in _decoded(text) or b'"_session":' in _decoded(text):
        yield Attempt("Koa (koa-session)", "express", "KoaSessionCookie", digest)
    yield Attempt("Express (cookie-session)", "express", "CookieSessionCookie", digest)


def _rails_gcm(text: str) -> Iterator[Attempt]:
    for version, digest in (("7.0 and later", {}), ("5.2 to 6.1", {"digest": "sha1"})):
        yield Attempt(f"Rails {version} (encrypted)", "rails", "RailsCookie", digest)
        settings = {**digest, "metadata": False}
        yield Attempt(f"Rails {version} (encrypted, without metadata)", "rails", "RailsCookie", settings)


def _hex_mac(text: str) -> Iterator[Attempt]:
    mac = _DIGESTS.get(len(text.rpartition("--")[2]), "")
    hmac = {} if mac == "sha1" else {"signed_cookie_digest": mac}
    cbc = {"legacy_cbc": True} if mac == "sha1" else {"legacy_cbc": True, "cookies_digest": mac}
    yield Attempt("Rails 5.1 and before (encrypted)", "rails", "RailsCookie", cbc)
    for version, digest in (("7.0 and later", {}), ("6.1 and before", {"digest": "sha1"})):
        for metadata in ({}, {"metadata": False}):
            settings = {**digest, **hmac, **metadata}
            yield Attempt(f"Rails {version} (signed)", "rails", "RailsSignedCookie", settings)
    yield from _rack_hmac(text)


def _rack_hmac(text: str) -> Iterator[Attempt]:
    mac = _DIGESTS.get(len(text.rpartition("--")[2]), "")
    system = "Rack 1 and 2.0" if "\n" in text else "Rack 2"
    settings = {} if mac == "sha1" else {"digest": mac}
    yield Attempt(f"{system} (Rack::Session::Cookie)", "rack", "RackHmacCookie", settings)


def _mojolicious(text: str) -> Iterator[Attempt]:
    yield Attempt("Mojolicious (signed)", "mojolicious", "MojoliciousCookie", optional=("moniker",))


def _mojolicious_encrypted(text: str) -> Iterator[Attempt]:
    yield Attempt("Mojolicious (encrypted)", "mojolicious", "MojoliciousEncryptedCookie", needs=("moniker",))


def _rack(text: str) -> Iterator[Attempt]:
    version = 1 if text[1] in "QRSTUVWXYZabcdef" else 2
    settings = {"purpose": ""}
    yield Attempt(f"rack-session (version {version}, bound to no name)", "rack", "RackSessionCookie", settings)
    # It would read that one too: so it comes second, and what is told is what the cookie is.
    yield Attempt(f"rack-session (version {version})", "rack", "RackSessionCookie", optional=("purpose",))


def _express_session(text: str) -> Iterator[Attempt]:
    yield Attempt("Express (express-session: an id)", "express", "ExpressSessionCookie")


_HAPI: Mapping[str, Mapping[str, Any]] = {"hapi": {}, "hapi (AES-128-CTR)": {"algorithm": "aes-128-ctr"}}


def _iron(text: str) -> Iterator[Attempt]:
    identifier = text.split("*")[1]
    if text.endswith("~2"):
        yield Attempt(
            f"iron-session, password {identifier}", "iron", "IronSessionCookie", form="password", identifier=identifier
        )
        return
    if identifier:
        if identifier.isdigit():
            system = f"iron-session 4 and 5, password {identifier}"
            yield Attempt(system, "iron", "IronSessionCookie", form="password", identifier=identifier)
        for system, settings in _HAPI.items():
            name = f"{system}, password {identifier}"
            yield Attempt(name, "iron", "HapiCookie", settings, form="password", identifier=identifier)
        return
    yield Attempt("h3 (Nuxt, Nitro)", "iron", "H3Cookie", optional=("max_age", "idle_timeout"))
    for system, settings in _HAPI.items():
        yield Attempt(system, "iron", "HapiCookie", settings)
    yield Attempt("hapi, a Buffer", "iron", "HapiCookie", form="bytes")


def _fastify(text: str) -> Iterator[Attempt]:
    name, optional = "FastifyCookie", ("expiry", "salt")
    yield Attempt("Fastify (secure-session, key)", "fastify", name, optional=optional[:1], form="bytes")
    yield Attempt("Fastify (secure-session, secret)", "fastify", name, optional=optional, parameter="secret")


def _jwe(text: str) -> Iterator[Attempt]:
    if b"A256GCM" in _decoded(text.partition(".")[0], url_safe=True):
        yield Attempt("NextAuth 4", "authjs", "NextAuthCookie", optional=("salt",))
    yield Attempt("Auth.js 5", "authjs", "AuthjsCookie")


def _plug_signed(text: str) -> Iterator[Attempt]:
    optional = ("atom_keys",)
    yield Attempt("Phoenix (signed)", "phoenix", "PhoenixCookie", needs=("signing_salt",), optional=optional)
    yield Attempt("Phoenix.Token", "phoenix", "PhoenixTokenCookie", needs=("salt",), optional=("max_age",))


def _plug_encrypted(text: str) -> Iterator[Attempt]:
    version = "plug_crypto 2.1 and later" if text.startswith("XCP.") else "plug_crypto before 2.1"
    needs = ("encryption_salt", "signing_salt")
    yield Attempt(f"Phoenix (encrypted, {version})", "phoenix", "PhoenixEncryptedCookie", needs=needs)
    name, settings = "PhoenixTokenCookie", {"encrypted": True}
    yield Attempt(f"Phoenix.Token ({version})", "phoenix", name, settings, needs=("salt",), optional=("max_age",))


def _laravel(text: str) -> Iterator[Attempt]:
    mode = "cbc" if re.search(rb'"mac":"[0-9a-f]{64}"', _decoded(text)) else "gcm"
    for system, legacy in (("Laravel", {}), ("Laravel before July 2020", {"legacy_unprefixed": True})):
        for bits in (256, 128):
            settings = {**legacy, **({} if (mode, bits) == ("cbc", 256) else {"cipher": f"aes-{bits}-{mode}"})}
            yield Attempt(f"{system} (cookie driver, AES-{bits}-{mode.upper()})", "laravel", "LaravelCookie", settings)
            yield Attempt(f"{system} (an id, AES-{bits}-{mode.upper()})", "laravel", "LaravelIdCookie", settings)


def _gorilla(text: str) -> Iterator[Attempt]:
    optional = ("block_key", "hash_func", "max_age")
    yield Attempt("gorilla/securecookie", "gorilla", "GorillaCookie", optional=optional, parameter="hash_key")


def _remix(text: str) -> Iterator[Attempt]:
    yield Attempt("React Router, Remix", "remix", "RemixCookie")


def _hono(text: str) -> Iterator[Attempt]:
    yield Attempt("Hono (signed, JSON)", "hono", "HonoCookie")
    yield Attempt("Hono (signed, text)", "hono", "HonoCookie", {"content": "text"})


def _rust_signed(text: str) -> Iterator[Attempt]:
    yield from _rust("Rust's cookie crate (signed)", "RustSignedCookie")


def _rust_private(text: str) -> Iterator[Attempt]:
    yield from _rust("Rust's cookie crate (private)", "RustPrivateCookie")


def _rust(system: str, name: str) -> Iterator[Attempt]:
    for derived, derive in (("", {}), (", derived key", {"derive": True})):
        actix, plain = {**derive, "content": "actix"}, {"content": "json"}
        # actix-session reads plain JSON as well, which it never writes: that is another's.
        yield Attempt(f"{system}, actix-session{derived}", "cookie_rs", name, actix, form="bytes", unlike=plain)
        yield Attempt(f"{system}{derived}", "cookie_rs", name, derive, form="bytes")


def _beaker(text: str) -> Iterator[Attempt]:
    optional = ("encrypt_key", "timeout", "crypto_type")
    yield Attempt("Beaker", "beaker", "BeakerCookie", optional=optional, parameter="validate_key")


def _itsdangerous(text: str) -> Iterator[Attempt]:
    yield Attempt("Flask", "flask", "FlaskCookie", optional=("salt", "key_derivation", "digest", "max_age"))
    yield Attempt("Starlette, FastAPI", "starlette", "StarletteCookie", optional=("max_age",))


def _django(text: str) -> Iterator[Attempt]:
    yield Attempt("Django (signed cookies)", "django", "DjangoSignedCookie", optional=("salt", "max_age"))


def _tornado(text: str) -> Iterator[Attempt]:
    yield Attempt("Tornado", "tornado", "TornadoCookie", optional=("max_age",))


def _fernet(text: str) -> Iterator[Attempt]:
    yield Attempt("aiohttp-session", "aiohttp_session", "AiohttpSessionCookie", optional=("max_age",))


def _pyramid(text: str) -> Iterator[Attempt]:
    yield Attempt("Pyramid", "pyramid", "PyramidCookie", optional=("salt", "hashalg", "timeout"))


def _litestar(text: str) -> Iterator[Attempt]:
    if b"additional_authenticated_data=" in _decoded(text):
        yield Attempt("Litestar", "litestar", "LitestarCookie", optional=("max_age",), form="bytes")


def _storage_secure(text: str) -> Iterator[Attempt]:
    yield Attempt("Dancer, Dancer2 (Session::Storage::Secure)", "session_storage_secure", "SessionStorageSecureCookie")


def _trickster(text: str) -> Iterator[Attempt]:
    yield Attempt("Trickster", "trickster", "TricksterCookie")


def _plack(text: str) -> Iterator[Attempt]:
    yield Attempt("Plack", "plack", "PlackCookie")


_SHAPES = (
    (f"{_BASE64}--[A-Za-z0-9+/]{{16}}--[A-Za-z0-9+/=]{{24}}", _rails_gcm),
    (f"{_BASE64}--{_HEX_MAC}", _hex_mac),
    (f"[A-Za-z0-9+/\n]+={{0,2}}\n--{_HEX_MAC}", _rack_hmac),
    (r"[A-Za-z0-9+/-]+--[0-9a-f]{64}", _mojolicious),
    (f"{_BASE64}-[A-Za-z0-9+/]{{16}}-[A-Za-z0-9+/]{{22}}==", _mojolicious_encrypted),
    (r".+\.[0-9a-f]{64}", _trickster),
    (r"s:.+\.[A-Za-z0-9+/]{43}", _express_session),
    (r"Fe26\.2\*[^*]*(?:\*[^*]*){6}", _iron),
    (f"{_BASE64};[A-Za-z0-9+/]{{32}}", _fastify),
    (r"eyJ[\w-]+\.\.[\w-]+\.[\w-]+\.?[\w-]*", _jwe),
    (r"SFM(?:yNTY|zODQ|1MTI)\.[\w-]+\.[\w-]+", _plug_signed),
    (r"(?:XCP|QTEyOEdDTQ)\..+", _plug_encrypted),
    (r"eyJpdiI6(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", _laravel),
    (r"M[A-Za-z0-9_-]{60,}={0,2}", _gorilla),
    (r"2\|.+", _tornado),
    (r"gAAAA[\w-]+={0,2}", _fernet),
    (r".+~.*~.+~.+", _storage_secure),
    (r"\d+(?:\.\d+)?:.*:[0-9a-f]{40}", _plack),
    (r"\.?[\w-]+:[0-9A-Za-z]+:[\w-]+", _django),
    (r"\.?[\w=+/-]*\.[\w-]{4,12}\.[\w-]{27,86}", _itsdangerous),
    (f"{_BASE64}\\.[A-Za-z0-9+/]{{43}}", _remix),
    (r".*\.[A-Za-z0-9+/]{43}=", _hono),
    (r"[0-9a-f]{40}[A-Za-z0-9+/=]+", _beaker),
    (r"[A-Za-z0-9+/]{43}=\{.*", _rust_signed),
    ("[AI-L][A-Za-z0-9+/_-]{80,}={0,2}", _rack),
    (f"{_BASE64}", _litestar),
    (f"{_URL_SAFE}", _pyramid),
    (f"{_BASE64}", _rust_private),
)
"""Shapes of a value without its percent-encoding and quotes, and what has them. Those that say little come last."""

"""A SessionManager from the `config.yml` of a Dancer 1 or Dancer2 application: same cookie, secret and lifetime.

What the application says is kept. Where it says nothing, Dancer's default is replaced by hardtack's where that one is the
safer (Secure, SameSite, an end that the server enforces), and the logger `hardtack` says so, by the name of the setting.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from hardtack import _settings, _yaml
from hardtack._extras import explain
from hardtack.cookies import Cookie
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.errors import ConfigError
from hardtack.foreign.dancer import Dancer2Cookie, DancerCookie
from hardtack.lifetime import seconds
from hardtack.manager import SessionManager
from hardtack.protocols import Store
from hardtack.stores.file import FileStore
from hardtack.stores.memory import MemoryStore

_log = logging.getLogger("hardtack")

DANCER_SETTINGS: Final = (
    "session",
    "session_name",
    "session_cookie_key",
    "session_cookie_path",
    "session_expires",
    "session_domain",
    "session_secure",
    "session_is_http_only",
    "session_same_site",
    "session_dir",
    "memcached_servers",
)
"""The settings of Dancer 1 that are read. All others of the file belong to other parts of the application."""

DANCER2_OPTIONS: Final = (
    "cookie_name",
    "cookie_domain",
    "cookie_path",
    "cookie_duration",
    "session_duration",
    "cookie_same_site",
    "is_secure",
    "is_http_only",
    "session_dir",
    "log_cb",
    "secret_key",
    "default_duration",
    "with_request_address",
    "memcached_servers",
    "fatal_cluster_unreachable",
)
"""The options of Dancer2's session engines, under `engines: session: ENGINE:`."""


def from_dancer(path: str | os.PathLike[str], *, environment: str | None = None, **overrides: Any) -> SessionManager:
    """A manager from a Dancer 1 application's `config.yml` (or the directory that it is in).

    `environment`: merges `environments/NAME.yml` over it, as Dancer does. `overrides` are arguments of `SessionManager`.
    Raises `ConfigError`.
    """
    _check_overrides(overrides)
    source = _Source.read(path, environment)
    engine = _camelize(source.text("session") or source.fail("session", "is not set: this application has no sessions"))
    # The file is the whole application's: only what is called like a setting of sessions can be a misspelt one.
    of_sessions = [name for name in source.settings if str(name).startswith("session")]
    _warn_unknown(source, of_sessions, DANCER_SETTINGS, "setting of Dancer's sessions")
    place = "session_cookie_path"
    if engine != "Cookie" and source.text(place):
        _differs(place, f"in {source.where} is for the Cookie engine alone: Path=/ is sent, as Dancer does")
    cookie = overrides.pop("cookie", None) or _cookie(
        source,
        name="session_name",
        path=place if engine == "Cookie" else None,
        domain="session_domain",
        secure="session_secure",
        samesite="session_same_site",
        is_secure=source.truth("session_secure"),
        is_http_only=source.number("session_is_http_only"),
    )
    expires = source.duration("session_expires")
    given = _lifetime(overrides)
    slides = engine == "Cookie" and bool(expires)
    lifetime = given or (max(expires or 0, _DEFAULT_SECONDS) if slides else expires)
    if given is None:
        _tell_lifetime("session_expires", slides=slides, session_expires=expires)
    overrides = {"cookie": cookie, "lifetime": lifetime or _DEFAULT_LIFETIME, "persistent": bool(expires), **overrides}
    if engine == "Cookie":
        token = DancerCookie(
            source.secret("session_cookie_key"),
            default_duration=expires or lifetime or _DEFAULT_LIFETIME,
            cookie_name=cookie.name,
            path=cookie.path,
            domain=cookie.domain,
            sliding=slides,
        )
        return SessionManager(CookieEngine(token), **overrides)
    return SessionManager(StoreEngine(_store(source, engine, "dancer")), **overrides)


def from_dancer2(
    path: str | os.PathLike[str],
    *,
    environment: str | None = None,
    request_address: Callable[[], str] | None = None,
    **overrides: Any,
) -> SessionManager:
    """A manager from a Dancer2 application's `config.yml` (or the directory that it is in).

    `config_local.yml` and, with `environment`, `environments/NAME.yml` and `environments/NAME_local.yml` are merged over it,
    as Dancer2 does. `request_address` returns the client's address of the current request, and is needed where the
    application has set `with_request_address`. `overrides` are arguments of `SessionManager`. Raises `ConfigError`.
    """
    _check_overrides(overrides)
    whole = _Source.read(path, environment, local=True)
    name = whole.text("session") or "simple"
    engine = _camelize(name)
    source = whole.section("engines", "session", name, engine)
    _warn_unknown(source, source.settings, DANCER2_OPTIONS, "option of Dancer2's session engines")
    cookie = overrides.pop("cookie", None) or _cookie(
        source,
        name="cookie_name",
        path="cookie_path",
        domain="cookie_domain",
        secure="is_secure",
        samesite="cookie_same_site",
        is_secure=source.switch("is_secure"),
        is_http_only=source.switch("is_http_only"),
    )
    given = _lifetime(overrides)
    in_session, in_cookie = source.duration("session_duration"), source.duration("cookie_duration")
    default = source.duration("default_duration")
    moved = in_cookie or default
    slides = engine == "Cookie" and bool(moved)
    lifetime = given or in_session or (max(moved or 0, _DEFAULT_SECONDS) if slides else moved)
    overrides = {
        "cookie": cookie,
        "lifetime": lifetime or _DEFAULT_LIFETIME,
        "persistent": bool(in_cookie),
        **overrides,
    }
    if engine == "Cookie":
        token = Dancer2Cookie(
            source.secret("secret_key"),
            with_request_address=_address(source, request_address),
            default_duration=moved or lifetime or _DEFAULT_LIFETIME,
            cookie_name=cookie.name,
            path=cookie.path,
            domain=cookie.domain,
            sliding=slides,
        )
        if given is None:
            _tell_lifetime(
                "cookie_duration",
                slides=slides,
                cookie_duration=in_cookie,
                default_duration=default,
                session_duration=in_session,
            )
        return SessionManager(CookieEngine(token), **overrides)
    if in_session and in_cookie and in_cookie < in_session:
        overrides.setdefault("idle_timeout", in_cookie)  # Dancer2 moves it with each use
    if given is None:
        _tell_lifetime(
            "cookie_duration", session_duration=in_session, cookie_duration=in_cookie, default_duration=default
        )
    return SessionManager(StoreEngine(_store(source, engine, "dancer2")), **overrides)


_DEFAULT_LIFETIME: Final = "14 days"
_DEFAULT_SECONDS: Final = 14 * 86400
_OVERRIDES: Final = (
    *("cookie", "lifetime", "idle_timeout", "persistent", "purpose", "accept", "ended", "registry", "max_size"),
    *(
        "cross_site",
        "trusted_origins",
        "cross_site_paths",
        "strict_values",
        "binding",
        "known_devices",
        "on_event",
        "mask_addresses",
        "clock",
    ),
)
_FALSE: Final = (None, "", "0")
_SWITCH: Final = {**dict.fromkeys((*_FALSE, "null", "false"), False), "1": True, "true": True}
_SUPPORTED: Final = "Cookie, YAML, JSON, Simple or Memcached"


@dataclass(frozen=True)
class _Source:
    """Settings by name, and where they come from. Every value is text or None, as Perl sees it."""

    where: str
    directory: Path
    settings: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str], environment: str | None, *, local: bool = False) -> _Source:
        """The settings of `config.yml`, and of the environment's file merged over them."""
        file = Path(path)
        if file.is_dir():
            file /= "config.yml"
        files = [file]
        if environment is not None:
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", environment):
                message = f"environment={environment!r} must be the name of a file in {file.parent / 'environments'}"
                raise ConfigError(message)
            files.append(file.parent / "environments" / f"{environment}{file.suffix}")
        settings: dict[str, Any] = {}
        for each in files:
            settings = _merge(settings, _load(each))
            beside = each.with_name(f"{each.stem}_local{each.suffix}")
            if local and beside.exists():
                settings = _merge(settings, _load(beside))
        return cls(str(file), file.parent, settings)

    def section(self, *names: str) -> _Source:
        """The options of an engine: under its name as it is written, or camelized."""
        *outer, written, camelized = names
        inner: Any = self.settings
        for name in outer:
            inner = inner.get(name) if isinstance(inner, Mapping) else None
        engines = inner if isinstance(inner, Mapping) else {}
        options = engines.get(written, engines.get(camelized))
        where = f"{self.where} ({': '.join([*outer, written])})"
        if options is None or options == "":
            options = {}
        if not isinstance(options, Mapping):
            message = f"{where} must be a section that holds the engine's options"
            raise ConfigError(message)
        return _Source(where, self.directory, options)

    def text(self, name: str) -> str | None:
        """The text of a setting; None where it is absent or empty."""
        value = self.settings.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.fail(name, "must be one value, and is a list or a section")
        return value

    def truth(self, name: str) -> bool | None:
        """Whether Perl takes a setting for true, as it does `no` and `false`; None where it is absent."""
        return self.settings[name] not in _FALSE if name in self.settings else None

    def number(self, name: str) -> bool | None:
        """Whether a setting is, for Perl, a number other than 0; None where it is absent or undef.

        `yes`, which is 0 in Perl, is on: it is meant so, and safer.
        """
        value = self.settings.get(name)
        if not isinstance(value, str):
            return None  # a list is its address
        if value in ("yes", "true", "on"):
            _differs(name, f"in {self.where} is {value!r}, and on; in Dancer it is the number 0, and off")
            return True
        begin = re.match(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", value)
        return begin is not None and float(begin[0]) != 0

    def switch(self, name: str) -> bool | None:
        """Whether an option of Dancer2 is on; None where it is absent. Dancer2 dies of other values, as we do."""
        if name not in self.settings:
            return None
        value = self.settings[name]
        if isinstance(value, list | dict) or value not in _SWITCH:
            self.fail(name, "is no switch that Dancer2 takes; write 1 or 0")
        return _SWITCH[value]

    def duration(self, name: str) -> int | None:
        """A duration in seconds, in the grammar of Dancer, Dancer2 and Time::Duration::Parse; None where it is absent."""
        value = self.text(name)
        if value is None:
            return None
        value = re.sub(r"^\s*\+\s*", "", value)
        value = re.sub(r"(?i)(?<![a-z])(?:mo|mons?)(?![a-z])", "months", value)
        value = re.sub(r"(?i)(?<![a-z])hrs(?![a-z])", "hours", value)
        result = seconds(value, f"{name} in {self.where}")
        if result < 1:
            self.fail(name, "must be a second or more")
        return result

    def secret(self, name: str) -> bytes:
        """The bytes that Perl hashes for a setting that must be there, and never stands in a message.

        Perl's YAML modules decode the file, and its HMAC takes one byte a character: é is one byte, € is an error.
        """
        text = self.text(name) or self.fail(name, "is not set, and the Cookie engine needs it")
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            pass  # and out of the handler: the exception holds the secret
        return self.fail(name, "has a character above U+00FF, which Perl's HMAC dies of; set another secret there")

    def fail(self, name: str, problem: str) -> NoReturn:
        message = f"{name} in {self.where} {problem}"
        raise ConfigError(message)


def _load(file: Path) -> dict[str, Any]:
    """A YAML file in which every scalar is text: a secret of digits, or a date, must not become a number."""
    content = _yaml.parse(file, _settings.read_file(file, str(file)), untyped=True)
    if content is None:
        return {}
    if not isinstance(content, dict):
        message = f"{file} holds no settings"
        raise ConfigError(message)
    return content


def _merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """As Hash::Merge::Simple: the right one wins, and sections are merged."""
    merged = dict(left)
    for name, value in right.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merge(merged[name], value) if both else value
    return merged


def _camelize(name: str) -> str:
    """`session: yaml_file` is `…::Session::YamlFile`, as in Dancer."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _cookie(
    source: _Source,
    *,
    name: str,
    path: str | None,
    domain: str,
    secure: str,
    samesite: str,
    is_secure: bool | None,
    is_http_only: bool | None,
) -> Cookie:
    """The cookie that the application sets; the arguments of text are how each attribute is called there."""
    if is_secure is None:
        _differs(secure, "is not set: Secure is sent, and Dancer sends none; set it to 0 for a site on plain http")
    same_site = source.text(samesite)
    if same_site is None:
        _differs(samesite, "is not set: SameSite=Lax is sent, and Dancer sends none, or None")
    try:
        return Cookie(
            name=source.text(name) or "dancer.session",
            path=(source.text(path) if path else None) or "/",
            domain=source.text(domain),
            secure=is_secure is not False,
            httponly=is_http_only is not False,
            samesite=same_site or "Lax",  # type: ignore[arg-type]
        )
    except ConfigError as error:
        message = f"{source.where}: {error}"
        raise ConfigError(message) from None


def _store(source: _Source, engine: str, layout: str) -> Store:
    if engine == "Simple":
        return MemoryStore()
    if engine in ("YAML", "JSON"):
        directory = source.directory / (source.text("session_dir") or "sessions")
        return FileStore(directory, format=engine.lower(), layout=layout)
    if engine == "Memcached":
        return _memcached(source)
    return source.fail(
        "session", f"is {engine!r}; hardtack knows {_SUPPORTED}. Use a store of hardtack.stores in its place"
    )


def _memcached(source: _Source) -> Store:
    servers = source.settings.get("memcached_servers") or ""
    names = servers.split(",") if isinstance(servers, str) else servers
    if not names or not isinstance(names, list) or not all(isinstance(each, str) and each.strip() for each in names):
        source.fail("memcached_servers", "must be 'server:port', or several separated by commas")
    try:
        from pymemcache.client.hash import HashClient  # type: ignore[import-untyped]
    except ImportError as error:
        message = explain("session: Memcached", "memcached", error)
        raise ImportError(message) from None
    from hardtack.stores.memcached import TIMEOUT, MemcachedStore

    addresses = [_server(source, each.strip()) for each in names]
    client = HashClient(addresses, use_pooling=True, timeout=TIMEOUT, connect_timeout=TIMEOUT, no_delay=True)
    return MemcachedStore(client)


def _server(source: _Source, server: str) -> str | tuple[str, int]:
    if server.startswith("/"):
        return server
    host, separator, port = server.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit()):
        source.fail("memcached_servers", f"has {server!r}, whose port is missing; write 'server:port'")
    return host.strip("[]"), int(port)


def _address(source: _Source, request_address: Callable[[], str] | None) -> Callable[[], str] | None:
    if not source.switch("with_request_address"):
        return None
    if request_address is None:
        source.fail(
            "with_request_address", "is set: pass request_address=, a function that returns the client's address"
        )
    return request_address


def _check_overrides(overrides: Mapping[str, Any]) -> None:
    for name in overrides:
        if name not in _OVERRIDES:
            _settings.unknown(name, name, _OVERRIDES)


def _lifetime(overrides: dict[str, Any]) -> int | None:
    return seconds(overrides.pop("lifetime"), "lifetime") if "lifetime" in overrides else None


def _tell_lifetime(missing: str, *, slides: bool = False, **durations: int | None) -> None:
    """Say what becomes of the first of these settings that is set, in seconds, or that `missing` is.

    `slides`: each use moves the end that the cookie carries.
    """
    name = next((name for name, duration in durations.items() if duration), None)
    if name is None:
        _differs(missing, f"is not set: a session ends after {_DEFAULT_LIFETIME}, and never in Dancer; pass lifetime=")
    elif slides:
        last = durations.get("session_duration") or max(durations[name] or 0, _DEFAULT_SECONDS)
        _differs(
            name,
            f"is moved by each use, as Dancer does, but for {last} seconds after a session's beginning or its login at "
            "most, and Dancer has no such limit; pass lifetime= for another",
        )
    else:
        _differs(
            name,
            f"is enforced by the server: a session ends {durations[name]} seconds after its beginning or its login, used "
            "or not; Dancer moves the end with each use",
        )


def _warn_unknown(source: _Source, names: Iterable[object], known: tuple[str, ...], kind: str) -> None:
    """Dancer ignores what it does not know, so that `same_site: Strict` is believed to work."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            _log.warning("%s in %s is no %s, and is ignored%s", name, source.where, kind, hint)


def _differs(name: str, problem: str) -> None:
    """Say once, when the application starts, where hardtack does not do what Dancer does."""
    _log.warning("%s %s", name, problem)

"""Settings: what a manager was told, checked once and frozen."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hardtack.cookies import Cookie
from hardtack.errors import ConfigError
from hardtack.events import logger
from hardtack.lifetime import Duration, seconds
from hardtack.protocols.engine import Engine, engine_traits, rings_of
from hardtack.protocols.token import TokenFormat, TokenTraits, token_traits
from hardtack.tokens.keys import Keyring, quoted

if TYPE_CHECKING:
    from hardtack.ended import EndedSessions

RENEWALS_PER_IDLE_TIMEOUT: Final = 10

if TYPE_CHECKING:
    from hardtack.binding.settings import DeviceBinding
    from hardtack.known_devices import KnownDevices

_SIZES: Final = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "KIB": 1024, "MIB": 1024**2}


class Accepted(NamedTuple):
    """A format of another system whose sessions are taken over, and where that system has its cookie."""

    token: TokenFormat
    traits: TokenTraits
    cookie: Cookie


class Settings(NamedTuple):
    """A manager's settings. Durations in whole seconds, sizes in bytes. `moves`: engines of ours whose sessions move here."""

    cookie: Cookie
    lifetime: int
    idle_timeout: int | None
    persistent: bool
    purpose: str
    accept: tuple[Accepted, ...]
    moves: tuple[Engine, ...]
    max_size: int | None
    cross_site: str
    trusted_origins: frozenset[str]
    cross_site_paths: tuple[str, ...]
    strict_values: bool
    clock: Callable[[], float]
    binding: DeviceBinding | None = None
    renews_when_read: bool = True
    known_devices: KnownDevices | None = None

    @property
    def keeps(self) -> bool:
        """Whether some cookie of another system stays where it is when its session is taken over."""
        return any(each.traits.keep_until is not None for each in self.accept)

    def renewal_due(self, seen: int, now: int) -> bool:
        """Whether the idle deadline is to be moved: at most once in a tenth of the timeout, and in a second."""
        idle = self.idle_timeout
        if idle is None or now <= seen or not self.renews_when_read:
            return False
        return (now - seen) * RENEWALS_PER_IDLE_TIMEOUT >= idle


def make_settings(
    *,
    cookie: Cookie,
    lifetime: Duration,
    idle_timeout: Duration | None,
    persistent: bool,
    purpose: str,
    accept: Iterable[TokenFormat | Engine],
    own: Callable[[Any], Engine | None],
    max_size: str | int | None,
    cross_site: str,
    trusted_origins: Iterable[str],
    cross_site_paths: Iterable[str],
    strict_values: bool,
    clock: Callable[[], float],
    binding: DeviceBinding | None,
    known_devices: KnownDevices | None,
) -> Settings:
    """The settings, or the `ConfigError` of the first that is wrong: it names the setting and says what to write."""
    instance(cookie, Cookie, "cookie", "Cookie(name=…)")
    foreign, engines = _accepted(accept, cookie, own)
    if not callable(clock):
        fail("clock", clock, "a function that returns seconds since 1970, such as time.time")
    return Settings(
        cookie=cookie,
        lifetime=positive(lifetime, "lifetime"),
        idle_timeout=None if idle_timeout is None else positive(idle_timeout, "idle_timeout"),
        persistent=switch(persistent, "persistent"),
        purpose=_purpose(purpose),
        accept=foreign,
        moves=engines,
        max_size=None if max_size is None else size(max_size, "max_size"),
        cross_site=choice(cross_site, "cross_site", "allow", "refuse"),
        trusted_origins=frozenset(map(_origin, _texts(trusted_origins, "trusted_origins"))),
        cross_site_paths=tuple(map(_path, _texts(cross_site_paths, "cross_site_paths"))),
        strict_values=switch(strict_values, "strict_values"),
        clock=clock,
        binding=binding,
        known_devices=_known_devices(known_devices),
    )


def check_name(settings: Settings, engine: Engine) -> None:
    """Raise `ConfigError` for a ":" in the name of a cookie of ours: only another system's name is not ours to choose."""
    if ":" in settings.cookie.name and engine_traits(engine).impersonates:
        message = (
            f"cookie name={settings.cookie.name!r} has a ':', which belongs to the cookies of other systems alone: give "
            "this manager's own another name, and name the other in accept=[…], with cookie_name="
        )
        raise ConfigError(message)


def check_kept(settings: Settings, engine: Engine) -> None:
    """Raise `ConfigError` for `keep_until=` where no cookie can stay beside ours, or nobody could tell whose it is."""
    token = getattr(engine, "token", None)
    if token is not None and token_traits(token).keep_until is not None:
        message = (
            f"keep_until= of {type(token).__name__} is for accept=[…]: sessions are written with that format here, and so its "
            "cookie stays in any case; leave it out"
        )
        raise ConfigError(message)
    for each in settings.accept:
        if each.traits.keep_until is None:
            continue
        name = type(each.token).__name__
        if each.traits.subject is None:
            message = f"keep_until= of {name} needs subject=: without it nobody can tell whose the cookie is that leads"
            raise ConfigError(message)
        if each.cookie.name == settings.cookie.name:
            message = (
                f"keep_until= of {name} needs another cookie name than {settings.cookie.name!r}, which this manager's own "
                "has: two cookies of one name cannot stay side by side; write Cookie(name=…)"
            )
            raise ConfigError(message)
        if not engine_traits(engine).impersonates:
            message = (
                f"keep_until= of {name} needs sessions in hardtack's own form: this {type(engine).__name__} keeps them as "
                "another program does, which has no place for what the session came from"
            )
            raise ConfigError(message)


# --- the list of ended sessions


def check_list(ended: Any, engine: Engine) -> EndedSessions | None:
    """The list, which the engine can be asked to heed. Raises `ConfigError`."""
    if ended is None:
        return None
    from hardtack.ended import EndedSessions

    instance(ended, EndedSessions, "ended", "EndedSessions, such as EndedSessions.from_url('redis://…')")
    token = getattr(engine, "token", None)
    foreign = getattr(engine, "native", None) if engine.store is not None else not token_traits(token).native
    if foreign:
        name = type(engine.store if token is None else token).__name__
        message = (
            f"ended= cannot be used with {name}: what another program can read does not carry the id and the times that the "
            "list is asked by; write sessions with EncryptedToken or SignedToken, or keep them in another store"
        )
        raise ConfigError(message)
    found: EndedSessions = ended
    return found


def list_terms(engine: Engine, settings: Settings) -> tuple[Keyring | None, str, int, int | None]:
    """What the list is bound to: the engine's keys, the purpose, and for how long copies can live.

    A cookie of another system need not say when it was made: then no idle timeout ends it, and no lifetime before its
    format's `until`.
    """
    rings = rings_of(engine)
    ring = rings[0] if rings else None
    foreign = [each.traits for each in settings.accept if not each.traits.native]
    if not foreign:
        return ring, settings.purpose, settings.lifetime, settings.idle_timeout
    now = int(settings.clock())
    return ring, settings.purpose, max(settings.lifetime, *((each.until or now) - now for each in foreign)), None


# --- what settings are checked with, everywhere


def fail(setting: str, given: object, wanted: str) -> Any:
    """Raise the `ConfigError` of a setting."""
    message = f"{setting}={quoted(given)} must be {wanted}"
    raise ConfigError(message)


def instance(given: object, kind: type | tuple[type, ...], setting: str, wanted: str) -> None:
    """Raise unless a setting is of a type; a value that may be a secret is told by its type alone."""
    if not isinstance(given, kind):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        message = f"{setting}={what} must be a {wanted}"
        raise ConfigError(message)


def choice(given: Any, setting: str, *allowed: str) -> Any:
    """The value, which is one of a few words."""
    return given if given in allowed else fail(setting, given, " or ".join(map(repr, allowed)))


def switch(given: Any, setting: str) -> bool:
    """The value, which is True or False."""
    return given if isinstance(given, bool) else bool(fail(setting, given, "True or False"))


def positive(duration: Duration, setting: str) -> int:
    """A duration in whole seconds, a second or more."""
    result = seconds(duration, setting)
    return result if result >= 1 else int(fail(setting, duration, "a second or more"))


def size(given: str | int, setting: str) -> int:
    """A size in bytes: a number, or text such as "256 KiB"."""
    if isinstance(given, str):
        digits = given.rstrip("BbKkMmIi ")
        unit = _SIZES.get(given[len(digits) :].strip().upper())
        if digits.strip().isdecimal() and unit is not None:
            given = int(digits) * unit
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= 1 << 40:
        fail(setting, given, "a number of bytes, or text such as '256 KiB'")
    return int(given)


def listener(on_event: Any) -> Any:
    """The function that events are given to, or None."""
    if on_event is not None and (not callable(on_event) or inspect.iscoroutinefunction(on_event)):
        fail("on_event", on_event, "a plain function, or None")
    return on_event


def _purpose(purpose: Any) -> str:
    try:
        if isinstance(purpose, str) and len(purpose.encode()) <= 0xFFFF:
            return purpose
    except UnicodeEncodeError:  # a lone surrogate, which no token could be bound to
        pass
    raise ConfigError("purpose must be a short str, such as the name of the application")


def _known_devices(given: Any) -> KnownDevices | None:
    if given is None:
        return None
    from hardtack.known_devices import KnownDevices

    instance(given, KnownDevices, "known_devices", "KnownDevices(…), or None")
    found: KnownDevices = given
    return found


def _texts(given: Any, setting: str) -> tuple[str, ...]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        fail(setting, given, "a list of str")
    texts: tuple[Any, ...] = tuple(given)
    return texts if all(type(text) is str for text in texts) else fail(setting, given, "a list of str")


def _origin(text: str) -> str:
    scheme, separator, host = text.partition("://")
    if not separator or scheme.lower() not in ("http", "https") or not host or set(host) & set("/?# "):
        fail("trusted_origins", text, "made of origins such as 'https://login.example.org': scheme and host, no path")
    return text.lower()


def _path(text: str) -> str:
    return text if text.startswith("/") else str(fail("cross_site_paths", text, "made of paths that begin with '/'"))


def _accepted(
    formats: Iterable[TokenFormat | Engine], cookie: Cookie, own: Callable[[Any], Engine | None]
) -> tuple[tuple[Accepted, ...], tuple[Engine, ...]]:
    """What is accepted: formats of other systems, and engines of ours."""
    if not isinstance(formats, Iterable):
        message = f"accept={type(formats).__name__} must be a list of token formats, such as [FlaskCookie(…)]"
        raise ConfigError(message)
    foreign, engines = [], []
    for given in formats:
        engine = own(given)
        if engine is None:
            foreign.append(_accept(getattr(given, "token", given), cookie))
        else:
            engines.append(engine)
    return tuple(foreign), tuple(engines)


def _accept(token: Any, cookie: Cookie) -> Accepted:
    if isinstance(token, type):
        message = f"accept holds the class {token.__name__}, not a token format: {token.__name__}(…)"
        raise ConfigError(message)
    if not callable(getattr(token, "open", None)):
        message = f"accept holds a {type(token).__name__}, which is not a token format"
        raise ConfigError(message)
    traits = token_traits(token)
    if not traits.authenticates_time and not traits.native and traits.until is None:
        message = (
            f"accept=[{type(token).__name__}(…)] needs until=<a date>: that cookie does not say when it was made, so "
            "whoever holds an old one would be let in for ever"
        )
        raise ConfigError(message)
    name = cookie.name if traits.cookie_name is None else traits.cookie_name
    if name == cookie.name:
        logger.warning(
            "accept=[%s(…)] is never asked: its cookie %r has the name of this manager's own, and a request that "
            "carries that is not taken over; give the manager another cookie, such as Cookie(name=…)",
            type(token).__name__,
            cookie.name,
        )
    # The attributes under which another system set its cookie: clearing needs the same path and domain.
    secure = name.lower().startswith("__")
    return Accepted(token, traits, Cookie(name, traits.path, traits.domain, secure, samesite=None))

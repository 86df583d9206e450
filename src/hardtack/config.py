"""A SessionManager from a mapping, a TOML or YAML file, or the environment.

An edge of the library, like the frameworks: nothing else imports it. docs/configuration.md lists the settings. A setting
that is unknown, misspelt, of the wrong type or at odds with another one is a `ConfigError` that says where it was set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from hardtack import _settings, _toml, _yaml
from hardtack._settings import FOR_BINDING, FOR_COOKIES, FOR_LISTS, FOR_STORES, FROM_FILE, NAMES, fail, named, unknown
from hardtack.binding import DeviceBinding
from hardtack.cookies import Cookie
from hardtack.ended import EndedSessions
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.errors import ConfigError
from hardtack.known_devices import KnownDevices
from hardtack.manager import SessionManager
from hardtack.protocols import Engine
from hardtack.stores import from_url
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import Keyring
from hardtack.tokens.signed import SignedToken


def from_mapping(mapping: Mapping[str, Any], **overrides: Any) -> SessionManager:
    """A manager from settings by name: `{"key": "htk1_…", "lifetime": "8 hours", "cookie_name": "__Host-shop"}`.

    The cookie's settings may also stand in a mapping of their own: `{"cookie": {"name": …}}`. `overrides` are further
    settings, which win, and what only code can give: `accept`, `registry`, `on_event`, `clock`, `asynchronous=True` for the
    async twin of a store that is given by its URL, and objects in place of text (`key=Key`, `store=Store`, `cookie=Cookie`).
    Raises `ConfigError`.
    """
    if not isinstance(mapping, Mapping):
        message = f"settings are of type {type(mapping).__name__}; from_mapping takes a mapping of names to values"
        raise ConfigError(message)
    return _manager(_collect(mapping, str), overrides, str)


def from_file(path: str | os.PathLike[str], **overrides: Any) -> SessionManager:
    """A manager from a file: `.toml`, or `.yaml` and `.yml` (needs `hardtack[yaml]`).

    The settings are the whole file, or its section `hardtack` where it has one. `overrides` as in `from_mapping`. Raises
    `ConfigError`.
    """
    file = Path(path)
    content = read_settings(file)
    section = content.get("hardtack", content)
    if not isinstance(section, Mapping):
        fail(f"hardtack in {file}", "must be a section that holds settings")

    def label(name: str) -> str:
        return f"{name} in {file}"

    return _manager(_collect(section, label), overrides, label)


def from_env(environ: Mapping[str, str] | None = None, prefix: str = "HARDTACK_", **overrides: Any) -> SessionManager:
    """A manager from environment variables: `HARDTACK_KEY`, `HARDTACK_LIFETIME`, `HARDTACK_COOKIE_NAME` …

    `environ` is `os.environ` where it is None. Every variable that begins with the prefix must be a setting; those that
    Kubernetes adds for a Service of such a name (`SHOP_REDIS_SERVICE_HOST`, `SHOP_PORT`) are passed over.
    `HARDTACK_KEY_FILE` names a file that holds the key (a Docker or Kubernetes secret), or a key file of `hardtack keys`,
    which ends in `.toml` and is followed; likewise, for secrets, `…_ACCEPT_KEYS_FILE`, `…_STORE_FILE` and `…_ENDED_FILE`.
    `overrides` as in `from_mapping`. Raises `ConfigError`.
    """

    def label(name: str) -> str:
        return prefix + name.upper()

    known = {label(name): name for name in NAMES}
    given: dict[str, _Given] = {}
    variables = os.environ if environ is None else environ
    for variable, value in variables.items():
        if variable.startswith(prefix):
            if variable not in known:
                if _is_of_kubernetes(variable, variables):
                    continue
                unknown(variable, variable, known)
            given[known[variable]] = _Given(value, variable)
    return _manager(given, overrides, label)


def from_dancer(path: str | os.PathLike[str], *, environment: str | None = None, **overrides: Any) -> SessionManager:
    """A manager from a Dancer 1 application's `config.yml`; see `hardtack.foreign.dancer_config`."""
    from hardtack.foreign import dancer_config

    return dancer_config.from_dancer(path, environment=environment, **overrides)


def from_dancer2(
    path: str | os.PathLike[str],
    *,
    environment: str | None = None,
    request_address: Callable[[], str] | None = None,
    **overrides: Any,
) -> SessionManager:
    """A manager from a Dancer2 application's `config.yml`; see `hardtack.foreign.dancer_config`."""
    from hardtack.foreign import dancer_config

    return dancer_config.from_dancer2(path, environment=environment, request_address=request_address, **overrides)


# "Discovering services" in the documentation of Kubernetes: what each container is told of each Service.
_OF_A_SERVICE = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def _is_of_kubernetes(variable: str, variables: Mapping[str, str]) -> bool:
    """Whether a variable tells of a Service; of each there is the host, so that no misspelt setting is taken for one."""
    return any(
        f"{variable[:at]}_SERVICE_HOST" in variables
        for at in range(len(variable))
        if _OF_A_SERVICE.fullmatch(variable, at)
    )


_POLICY: Final = (
    *("lifetime", "idle_timeout", "persistent", "purpose", "max_size"),
    *("cross_site", "trusted_origins", "cross_site_paths", "strict_values"),
)

_CODE_ONLY: Final = ("accept", "registry", "on_event", "clock")


class _Given(NamedTuple):
    value: Any
    label: str


# --- From what was given to a manager


def _collect(mapping: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for name, written, value in _flat(mapping):
        if name not in NAMES:
            unknown(written, label(written), NAMES)
        if name in given:
            fail(label(written), f"and {given[name].label} are one setting; remove one of them")
        given[name] = _Given(value, label(written))
    return given


def _flat(mapping: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Name, name as it was written, and value; those of a `cookie` as `cookie_…`."""
    for name, value in mapping.items():
        if name == "cookie":
            attributes = asdict(value) if isinstance(value, Cookie) else value
            if not isinstance(attributes, Mapping):
                fail("cookie", "must be a section with name, path and so on")
            yield from ((f"cookie_{inner}", f"cookie.{inner}", each) for inner, each in attributes.items())
        else:
            yield str(name), str(name), value


def _manager(given: dict[str, _Given], overrides: dict[str, Any], label: Callable[[str], str]) -> SessionManager:
    code = {name: overrides.pop(name) for name in _CODE_ONLY if name in overrides}
    asynchronous = bool(overrides.pop("asynchronous", False))
    extra = _collect(overrides, str)
    replaced = {FROM_FILE.get(name, name) for name in extra}
    given = {name: each for name, each in given.items() if FROM_FILE.get(name, name) not in replaced} | extra
    given = _secrets_from_files(given)
    read = {name: _settings.read(name, *each) for name, each in given.items()}
    attributes = {name.removeprefix("cookie_"): read[name] for name in read if name.startswith("cookie_")}
    with named(label("cookie_…")):
        cookie = Cookie.for_development(**attributes) if attributes.get("development") else Cookie(**attributes)
    policy = _chosen(read, *_POLICY)
    _check_together(given)
    if "store" in read:
        engine: Engine = _store_engine(read, given, label, asynchronous=asynchronous)
    else:
        engine = _cookie_engine(read, given, label)
    ended, binding = _list(read, given, label), _binding(read, given, label)
    devices = _known_devices(read, given, label)
    return SessionManager(engine, cookie=cookie, ended=ended, binding=binding, known_devices=devices, **policy, **code)


def _list(read: dict[str, Any], given: dict[str, _Given], label: Callable[[str], str]) -> Any:
    """The list of ended sessions: what was given, or the one of a URL, under the same keys as the sessions."""
    ended = read.get("ended")
    if not isinstance(ended, str):
        return ended
    options = {name.removeprefix("ended_"): read[name] for name in FOR_LISTS if name in read}
    with named(given["ended"].label):
        return EndedSessions.from_url(ended, _keyring(read, given, label), **options)


def _binding(read: dict[str, Any], given: dict[str, _Given], label: Callable[[str], str]) -> DeviceBinding | None:
    """What binds sessions to the device: what was given, or one under the same keys as the sessions."""
    binding = read.get("binding", False)
    if isinstance(binding, DeviceBinding):
        return binding
    if not binding:
        return None
    ring = _keyring(read, given, label)
    if ring is None:
        fail(given["binding"].label, f"needs {label('key')}: challenges are issued under it, on every server the same")
    if "store" not in read and "ended" not in read:
        fail(given["binding"].label, f"needs {label('ended')}: copies from before the binding have to end")
    options = {name.removeprefix("binding_"): read[name] for name in FOR_BINDING if name in read}
    with named(given["binding"].label):
        return DeviceBinding(keys=ring, **options)


def _known_devices(read: dict[str, Any], given: dict[str, _Given], label: Callable[[str], str]) -> KnownDevices | None:
    """What tells known devices from new ones: what was given, or for how long one is known, under the same keys."""
    devices = read.get("known_devices")
    if devices is None or isinstance(devices, KnownDevices):
        return devices
    ring = _keyring(read, given, label)
    if ring is None:
        fail(given["known_devices"].label, f"needs {label('key')}: the cookie of known devices is sealed under it")
    with named(given["known_devices"].label):
        return KnownDevices(devices, ring)


def _secrets_from_files(given: dict[str, _Given]) -> dict[str, _Given]:
    """The same settings, with what `…_file` names in place of its path."""
    result = dict(given)
    for in_file, name in FROM_FILE.items():
        if in_file not in given:
            continue
        path, label = result.pop(in_file)
        if name in given:
            fail(label, f"and {given[name].label} are one setting; remove one of them")
        read = _settings.read_key_file if name == "key" else _settings.read_secret
        result[name] = _Given(read(path, label), f"{label} ({path})")
    return result


def _cookie_engine(read: dict[str, Any], given: dict[str, _Given], label: Callable[[str], str]) -> CookieEngine:
    ring = _keyring(read, given, label)
    if ring is None:
        command = 'python -c "from hardtack import Key; print(Key.generate().export())"'
        fail(label("key"), f"is missing, and so is {label('store')}; make a key with: {command}")
    token = SignedToken(ring) if read.get("token") == "signed" else EncryptedToken(ring)
    return CookieEngine(token, **_chosen(read, "overflow", "max_set_cookie", "max_header"))


def _store_engine(
    read: dict[str, Any], given: dict[str, _Given], label: Callable[[str], str], *, asynchronous: bool
) -> StoreEngine:
    seal = _seal(_keyring(read, given, label), read, given)
    store = read["store"]
    with named(given["store"].label):
        if isinstance(store, str):
            store = from_url(store, asynchronous=asynchronous)
        return StoreEngine(store, seal=seal, **_chosen(read, "on_conflict", "merge", "on_store_error"))


def _chosen(read: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: read[name] for name in names if name in read}


def _check_together(given: dict[str, _Given]) -> None:
    """Raise for a setting that means nothing beside the others: whoever set it expects something of it."""
    if "store" in given:
        where = given["store"].label
        for name in FOR_COOKIES:
            if name in given:
                fail(
                    given[name].label,
                    f"is for sessions in the cookie itself, and {where} keeps them in a store; remove one",
                )
    else:
        for name in FOR_STORES:
            if name in given:
                fail(given[name].label, "is for sessions in a store, and no store is set; set one, or remove it")

    if not isinstance(given["ended"].value if "ended" in given else None, str):
        for name in FOR_LISTS:
            if name in given:
                fail(
                    given[name].label,
                    "is for a list of ended sessions that is given by its URL; set ended, or remove it",
                )

    binding = given["binding"].value if "binding" in given else None
    for name in FOR_BINDING:
        if name in given and (binding is None or isinstance(binding, DeviceBinding)):
            fail(
                given[name].label,
                "is for sessions that are bound to the device by binding = yes; set it, or remove this",
            )


def _keyring(read: dict[str, Any], given: dict[str, _Given], label: Callable[[str], str]) -> Keyring | None:
    key = read.get("key")
    if key is None:
        if read.get("accept_keys"):
            fail(given["accept_keys"].label, f"needs {label('key')}, the key that issues")
        return None
    if isinstance(key, Keyring):
        if read.get("accept_keys"):
            fail(
                given["accept_keys"].label, f"is said by {given['key'].label} already, which holds all keys; remove it"
            )
        return key
    return Keyring(current=key, accept=read.get("accept_keys", ()))


def _seal(ring: Keyring | None, read: dict[str, Any], given: dict[str, _Given]) -> Keyring | None:
    # With a key at hand, records are sealed unless that was refused: a stolen or writable store is then worth nothing.
    wanted = read.get("seal", ring is not None)
    if wanted and ring is None:
        fail(given["seal"].label, "needs a key to encrypt the records with; set key")
    return ring if wanted else None


# --- Files


def read_settings(file: Path) -> Mapping[str, Any]:
    """What a `.toml`, `.yaml` or `.yml` file says, before any of it is looked at. Raises `ConfigError`."""
    if file.suffix not in (".toml", ".yaml", ".yml"):
        fail(str(file), "is neither a .toml, .yaml nor .yml file")
    text = _settings.read_file(file, str(file))
    content = _toml.parse(file, text) if file.suffix == ".toml" else _yaml.parse(file, text)
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        fail(str(file), "holds no settings: write name: value")
    return content

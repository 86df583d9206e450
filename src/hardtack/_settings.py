"""What each setting of `hardtack.config` may be: how its value is read, and the error that says what is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, NoReturn

from hardtack.binding import DeviceBinding
from hardtack.cookies import Cookie
from hardtack.errors import ConfigError
from hardtack.known_devices import KnownDevices
from hardtack.lifetime import seconds
from hardtack.tokens.keys import Key, Keyring, quoted

Reader = Callable[[Any, str], Any]
"""Gives what a value means. The text is how the setting is called where it was set: errors begin with it."""


@contextmanager
def named(label: str) -> Iterator[None]:
    """Put how the setting is called before a `ConfigError` of what is built from it."""
    try:
        yield
    except ConfigError as error:
        message = f"{label}: {error}"
        raise ConfigError(message) from None


def fail(label: str, problem: str) -> NoReturn:
    """Raise the `ConfigError` of one setting."""
    message = f"{label} {problem}"
    raise ConfigError(message)


def unknown(name: str, label: str, known: Iterable[str]) -> NoReturn:
    """Raise the `ConfigError` of a setting that does not exist; it names the nearest one that does."""
    plain = {_plain(each): each for each in known}
    near = difflib.get_close_matches(_plain(name), plain, 1)
    if near:
        fail(label, f"is not a setting; did you mean {plain[near[0]]}?")
    nearest = max(plain, key=lambda each: difflib.SequenceMatcher(None, _plain(name), each).ratio())
    fail(label, f"is not a setting; the nearest is {plain[nearest]}, and docs/configuration.md lists them all")


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _text(value: Any, label: str) -> str:
    if not isinstance(value, str):
        fail(label, f"is of type {type(value).__name__}; write text")
    return value


def _switch(value: Any, label: str) -> bool:
    if isinstance(value, bool):
        return value
    words = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
    answer = words.get(str(value).strip().lower())
    if answer is None:
        fail(label, f"is {quoted(value)}; write yes or no")
    return answer


def _number(value: Any, label: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return int(value)
    if type(value) is not int:
        fail(label, f"is {quoted(value)}; write a whole number")
    return value


def _duration(value: Any, label: str) -> int:
    result = seconds(value, label)
    if result < 1:
        fail(label, f"is {quoted(value)}; write a second or more, such as '14 days'")
    return result


def _maybe_duration(value: Any, label: str) -> int | None:
    return None if value is None else _duration(value, label)


def _maybe_text(value: Any, label: str) -> str | None:
    return None if value is None else _text(value, label)


def _one_of(*choices: str) -> Callable[[Any, str], str]:
    def read(value: Any, label: str) -> str:
        word = str(value).strip().lower()
        if word not in choices:
            near = difflib.get_close_matches(word, choices, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            fail(label, f"is {quoted(value)}{hint}; write {' or '.join(choices)}")
        return word

    return read


def _key(value: Any, label: str) -> Key:
    if isinstance(value, Key):
        return value
    text = _text(value, label).strip()
    with named(label):
        return Key.parse(text)


def _key_or_ring(value: Any, label: str) -> Key | Keyring:
    return value if isinstance(value, Keyring) else _key(value, label)


def _keys(value: Any, label: str) -> list[Key]:
    if isinstance(value, Key):
        value = [value]
    if isinstance(value, str):
        value = re.split(r"[,\s]+", value.strip(", \t\r\n")) if value.strip(", \t\r\n") else []
    if not isinstance(value, list | tuple):
        fail(label, f"is of type {type(value).__name__}; write a list of keys, or keys separated by commas")
    return [_key(each, label) for each in value]


def _words(value: Any, label: str) -> list[str]:
    if isinstance(value, str):
        value = re.split(r"[,\s]+", value.strip(", \t\r\n")) if value.strip(", \t\r\n") else []
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        fail(label, f"is {quoted(value)}; write a list of words, or words separated by commas")
    return list(value)


def _size(value: Any, label: str) -> int | str:
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,12}\s*", value):
        return int(value)
    return value if isinstance(value, str) else _number(value, label)


def _places(value: Any, label: str) -> list[Cookie]:
    if isinstance(value, Cookie | Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(each, Cookie | Mapping) for each in value):
        fail(label, f"is {quoted(value)}; write a list of sections with name, path and domain")
    with named(label):
        return [each if isinstance(each, Cookie) else _place(each, label) for each in value]


def _place(attributes: Mapping[str, Any], label: str) -> Cookie:
    known = {field.name for field in fields(Cookie)}
    wrong = sorted(set(map(str, attributes)) - known)
    if wrong:
        fail(label, f"has {wrong[0]!r}, which is no attribute of a cookie")
    return Cookie(**attributes)


def _store(value: Any, label: str) -> Any:
    return value.strip() if isinstance(value, str) else value  # a URL, or a store, which StoreEngine checks


def _binding(value: Any, label: str) -> bool | DeviceBinding:
    return value if isinstance(value, DeviceBinding) else _switch(value, label)


def _known_devices(value: Any, label: str) -> int | KnownDevices:
    return value if isinstance(value, KnownDevices) else _duration(value, label)


def read_key_file(path: Any, label: str) -> str | Keyring:
    """The key that a file holds, or the ring of a key file, which is a `.toml`. Raises `ConfigError`."""
    if not str(path).endswith(".toml"):
        return read_secret(path, label)
    with named(f"{label} ({path})"):
        return Keyring.from_file(path)


def read_secret(path: Any, label: str) -> str:
    """What a file holds, without the white space around it. Raises `ConfigError`."""
    file = Path(path if isinstance(path, os.PathLike) else _text(path, label))
    return read_file(file, label, f"names the file {path}, which ").strip()


def read_file(file: Path, label: str, what: str = "") -> str:
    """The text of a file. Raises `ConfigError`, in which `what` stands before the problem."""
    try:
        return file.read_text("utf-8")
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    except ValueError:
        problem = "has a name that no file can have"
    return fail(label, what + problem)


SETTINGS: Final[dict[str, Reader]] = {
    "key": _key_or_ring,
    "accept_keys": _keys,
    "store": _store,
    "token": _one_of("encrypted", "signed"),
    "overflow": _one_of("raise", "chunk"),
    "max_set_cookie": _number,
    "max_header": _number,
    "seal": _switch,
    "on_conflict": _one_of("merge", "raise", "last_write_wins"),
    "merge": _words,
    "on_store_error": _one_of("raise", "anonymous"),
    "ended": _store,
    "ended_max_stale": _duration,
    "ended_on_stale": _one_of("closed", "open"),
    "binding": _binding,
    "binding_every": _duration,
    "binding_observe": _switch,
    "known_devices": _known_devices,
    "lifetime": _duration,
    "idle_timeout": _maybe_duration,
    "persistent": _switch,
    "purpose": _text,
    "max_size": _size,
    "cross_site": _one_of("allow", "refuse"),
    "trusted_origins": _words,
    "cross_site_paths": _words,
    "strict_values": _switch,
    "cookie_name": _text,
    "cookie_path": _text,
    "cookie_domain": _maybe_text,
    "cookie_secure": _switch,
    "cookie_httponly": _switch,
    "cookie_samesite": _maybe_text,
    "cookie_partitioned": _switch,
    "cookie_development": _switch,
    "cookie_formerly": _places,
}
"""Every setting, in the order of docs/configuration.md."""

FROM_FILE: Final = {f"{name}_file": name for name in ("key", "accept_keys", "store", "ended")}
"""Settings that name a file, and the setting that it holds."""

NAMES: Final = (*SETTINGS, *FROM_FILE)

FOR_COOKIES: Final = ("token", "overflow", "max_set_cookie", "max_header")
"""Settings that mean something only where sessions are in the cookie."""

FOR_STORES: Final = ("seal", "on_conflict", "merge", "on_store_error", "max_size")
"""Settings that mean something only where sessions are in a store."""

FOR_LISTS: Final = ("ended_max_stale", "ended_on_stale")
"""Settings that mean something only where there is a list of ended sessions, by its URL."""

FOR_BINDING: Final = ("binding_every", "binding_observe")
"""Settings that mean something only where sessions are bound to the device, and not by an object of code."""

_MAY_BE_EMPTY: Final = ("accept_keys", "purpose", "merge", "trusted_origins", "cross_site_paths", "cookie_formerly")


def read(name: str, value: Any, label: str) -> Any:
    """What the value of a setting means; raises `ConfigError`. None is a value only where None is a default."""
    reader = SETTINGS[name]
    empty = value is None or (isinstance(value, str) and not value.strip())
    if empty and name not in _MAY_BE_EMPTY and not (value is None and reader in (_maybe_text, _maybe_duration)):
        fail(label, "is empty; give it a value, or remove it")
    return reader(value, label)

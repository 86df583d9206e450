"""The URL of a store on a server, taken apart: any number of hosts, and options whose names and values are checked.

No message shows a value: it may be a password, or a part of one that was not percent-encoded.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl, unquote

from hardtack.errors import ConfigError

Reader = Callable[[str], Any]
"""Makes the value of an option from its text. Raises `ValueError` with what it must be."""


class StoreURL(NamedTuple):
    """What a URL says; nothing in it is percent-encoded any more."""

    scheme: str
    username: str | None
    password: str | None
    hosts: list[tuple[str, int | None]]
    """Each with its port, where it has one. An IPv6 address is without its brackets."""
    path: str
    options: dict[str, str]


def split(url: str, example: str) -> StoreURL:
    """Take a URL apart. Raises `ConfigError`, which shows `example` and nothing of the URL."""
    scheme, separator, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    # The last @, for a password may hold one; a path may not come before it.
    authority, slash, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    if not separator or "#" in url:
        _fail(example)
    readable = True
    options: list[tuple[str, str]] = []
    addresses: list[tuple[str, int | None]] = []
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
        addresses = [_address(each) for each in hosts.split(",")] if hosts else []
    except ValueError:
        readable = False
    if not readable:
        _fail(example)
    names = [name for name, _ in options]
    for name in names:
        if names.count(name) > 1:
            _refuse(f"an option twice: {name if name.isidentifier() else 'one whose name is none'}")
    username, _, password = (unquote(part) for part in user.partition(":"))
    return StoreURL(scheme.lower(), username or None, password or None, addresses, unquote(slash + path), dict(options))


def read_options(options: Mapping[str, str], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The options by name, as values. Raises `ConfigError`, which names the one that is unknown or wrong."""
    values = {}
    for name, text in options.items():
        reader = readers.get(name)
        if reader is None:
            _unknown(name, readers)
        try:
            values[name] = reader(text)
            problem = ""
        except ValueError as error:
            problem = str(error)
        if problem:
            _refuse(f"the option {name}, which must be {problem}")
    return values


def whole_number(text: str) -> int:
    """A number from 0, in decimal digits."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("a whole number")
    return int(text)


def positive_number(text: str) -> int:
    """A number from 1, in decimal digits."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ValueError("a whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds above 0: nothing waits for ever."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("a number of seconds above 0")
    return number


def switch(text: str) -> bool:
    """`yes`, `true`, `on` or `1`; `no`, `false`, `off` or `0`."""
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no")


def words(text: str) -> str:
    """Any text but none."""
    if not text:
        raise ValueError("text")
    return text


def one_of(*allowed: str) -> Reader:
    """One of these."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return read


def _address(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, colon, port = text, "", ""
    if host.startswith("[") != host.endswith("]") or (not host.startswith("[") and ":" in host):
        raise ValueError
    host = unquote(host.removeprefix("[").removesuffix("]"))
    if not host or (colon and not 0 < whole_number(port) < 65536):
        raise ValueError
    return host, int(port) if colon else None


def _fail(example: str) -> NoReturn:
    message = (
        f"the store's URL cannot be read: {example}; in a password @, :, / and ? are written %40, %3A, %2F and %3F"
    )
    raise ConfigError(message)


def _unknown(name: str, readers: Mapping[str, Reader]) -> NoReturn:
    near = difflib.get_close_matches(name, readers, 1)
    if near:
        _refuse(f"the option {name}, which is unknown; did you mean {near[0]}?")
    # Not shown: it may be the rest of a password that holds a question mark.
    _refuse(f"an option that is unknown; there are {', '.join(sorted(readers))}")


def _refuse(problem: str) -> NoReturn:
    message = f"the store's URL has {problem}"
    raise ConfigError(message)

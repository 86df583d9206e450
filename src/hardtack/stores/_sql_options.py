"""The options of a database's URL: text, turned into what the driver takes, and refused where it does not take them.

A driver would say so when it connects: with a TypeError, at every request.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import ArgumentError

from hardtack.errors import ConfigError


def _some_seconds(text: str) -> float:
    if _seconds(text) == 0:
        raise ValueError(text)
    return float(text)


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _threshold(text: str) -> int | None:
    return None if text.lower() == "none" else _count(text)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


_KINDS: list[tuple[Callable[[str], Any], str, str]] = [
    (
        _count,
        "a whole number",
        "connect_timeout read_timeout write_timeout keepalives keepalives_idle keepalives_interval keepalives_count "
        "tcp_user_timeout statement_cache_size prepared_statement_cache_size max_cacheable_statement_size "
        "max_cached_statement_lifetime max_allowed_packet client_flag detect_types cached_statements stmt_cache_size",
    ),
    (_seconds, "a number of seconds", "timeout"),
    (_some_seconds, "a number of seconds above 0", "command_timeout"),
    (_flag, "true or false", "local_infile use_unicode binary_prefix direct_tls uri check_same_thread compress echo"),
    (_threshold, "a whole number or none", "prepare_threshold"),
]
_OPTIONS = {name: (convert, words) for convert, words, names in _KINDS for name in names.split()}

_TLS = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
_CHOICES = {
    "sslmode": _TLS,
    "ssl": _TLS,  # asyncpg's: MySQL's drivers take none in a URL
    "target_session_attrs": ["any", "primary", "standby", "prefer-standby", "read-write", "read-only"],
    "gssencmode": ["disable", "prefer", "require"],
    "channel_binding": ["disable", "prefer", "require"],
}
"""Words that a driver looks at when it connects: at every request."""

_SQLITE = {"uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}

_NO_TEXT = {
    *("server_settings", "loop", "connection_class", "record_class", "conv", "cursorclass", "cursor_cls", "sock"),
    *("password_creator", "auth_plugin_map", "query_callback"),
}
"""What can only be said in Python."""

_DECIDED = {"autocommit", "defer_connect"}
"""What the store decides: a rename is one transaction, on a connection that is open."""


def take_breaker(url: str) -> tuple[str | URL, int | None]:
    """The URL without the option `breaker`, which is the store's and no driver's; and its value. Raises `ConfigError`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url, None  # whoever makes an engine of it says what is wrong
    if "breaker" not in parsed.query:
        return parsed, None
    text = parsed.query["breaker"]
    if not (isinstance(text, str) and text.isascii() and text.isdecimal()):
        raise ConfigError("url: its option breaker must be a whole number")
    return parsed.difference_update_query(["breaker"]), int(text)


def typed(url: URL) -> dict[str, Any]:
    """The options that are no text, as what they are. Raises `ConfigError`, which shows no value."""
    query: Mapping[str, Any] = url.query
    if url.get_backend_name() == "sqlite" and "uri" not in query:
        _refuse(set(query) - _SQLITE, url.get_driver_name())
    options = {}
    for name in _OPTIONS.keys() & query.keys():
        convert, words = _OPTIONS[name]
        try:
            options[name] = convert(cast("str", query[name]))
        except (ValueError, KeyError, TypeError, AttributeError):  # the last two: it is there twice, as a tuple
            message = f"url: its option {name} must be {words}"
            raise ConfigError(message) from None
    if url.get_backend_name() in ("mysql", "mariadb"):
        for name in options:
            if name.endswith("_timeout") and not options[name]:
                message = f"url: its option {name} must be a whole number from 1"
                raise ConfigError(message)
    for name in _CHOICES.keys() & query.keys():
        if query[name] not in _CHOICES[name] and (name != "ssl" or url.get_driver_name() == "asyncpg"):
            message = f"url: its option {name} must be one of {', '.join(_CHOICES[name])}"
            raise ConfigError(message)
    return options


def check(dialect: Dialect, url: URL) -> None:
    """Raise `ConfigError` for options that the dialect's driver does not take."""
    driver = dialect.driver
    given = set(url.query)
    unknown = given & _DECIDED
    if driver in ("psycopg", "psycopg2"):
        unknown |= {name for name in given if not _libpq_takes(driver, name)}
    elif dialect.name != "sqlite":
        _, arguments = dialect.create_connect_args(url)  # SQLAlchemy takes some for itself
        module: Any = getattr(dialect.dbapi, driver, dialect.dbapi)
        connect = module.connect
        unknown |= set(arguments) - set(inspect.signature(connect).parameters) - {"prepared_statement_cache_size"}
        unknown |= given & (_NO_TEXT if driver == "asyncpg" else _NO_TEXT | {"ssl"})
    _refuse(unknown, driver)
    if "charset" in given and driver in _CHARSETS and not _knows_charset(driver, url.query["charset"]):
        message = f"url: its option charset must be one that {driver} knows, such as utf8mb4"
        raise ConfigError(message)


_CHARSETS = {"pymysql": "pymysql.charset", "aiomysql": "pymysql.charset", "asyncmy": "asyncmy.charset"}
"""Where drivers look one up when they connect, and fail with an AttributeError. That of mysqlclient asks the server."""


def _knows_charset(driver: str, name: Any) -> bool:
    try:  # older versions raise KeyError; where it is there twice, it is a tuple
        return isinstance(name, str) and import_module(_CHARSETS[driver]).charset_by_name(name) is not None
    except KeyError:
        return False


def _refuse(names: set[str], driver: str) -> None:
    if names:
        message = f"url: {driver} takes no option {', '.join(sorted(names))} in a URL"
        raise ConfigError(message)


def _libpq_takes(driver: str, name: str) -> bool:
    if driver == "psycopg" and name == "prepare_threshold":
        return True
    # By name, since only one of the two need be installed.
    module, describe = _DESCRIBERS[driver]
    try:
        getattr(import_module(module), describe)(**{name: "1"})
    except import_module(driver).ProgrammingError:
        return False
    return True


_DESCRIBERS = {"psycopg": ("psycopg.conninfo", "make_conninfo"), "psycopg2": ("psycopg2.extensions", "make_dsn")}

"""What `hardtack doctor` says of a manager's settings: OWASP's Session Management Cheat Sheet, ASVS 5 and NIST SP 800-63B-4."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from hardtack import SessionManager
from hardtack.cli.findings import Finding, good, look, wrong
from hardtack.cookies import MAX_SET_COOKIE, Cookie
from hardtack.engines.cookie import CookieEngine
from hardtack.engines.store import StoreEngine
from hardtack.tokens.signed import SignedToken

_HOUR: Final = 3600
_MIB: Final = 1024 * 1024
_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class Level(NamedTuple):
    """Seconds that an authentication assurance level allows at most; None: no limit."""

    lifetime: int
    idle_timeout: int | None


LEVELS: Final = {1: Level(30 * 24 * _HOUR, None), 2: Level(24 * _HOUR, _HOUR), 3: Level(12 * _HOUR, _HOUR // 4)}
"""NIST SP 800-63B-4, 2.1.3, 2.2.3 and 2.3.3."""


def check(sessions: SessionManager, level: int) -> Iterator[Finding]:
    """What is to be said of the settings, for a site of an assurance level."""
    yield from _cookie(sessions.cookie)
    yield from _times(sessions, level)
    yield from _purpose(sessions)
    engine = sessions.core.engine
    if isinstance(engine, CookieEngine):
        yield from _cookie_engine(engine, sessions)
    else:
        assert isinstance(engine, StoreEngine)  # hardtack.config makes no other
        yield from _store_engine(engine, sessions)


def _cookie(cookie: Cookie) -> Iterator[Finding]:
    name = cookie.name.lower()
    if not cookie.secure:
        yield wrong(
            "the cookie goes over plain http, where anybody on the way reads it", "cookie_secure = yes (ASVS 3.3.1)"
        )
    elif name.startswith("__host-"):
        yield good(f"no sibling subdomain can plant the cookie {cookie.name}")
    elif cookie.domain is None:
        yield wrong(
            f"a sibling subdomain can plant the cookie {cookie.name}",
            "leave cookie_name out, or let it begin with __Host- (ASVS 3.3.3)",
        )
    if cookie.domain is not None:
        yield look(
            f"every subdomain of {cookie.domain} gets the cookie, and can set it",
            "leave cookie_domain out, if one host is enough (OWASP: Domain attribute)",
        )
    if not cookie.httponly:
        yield wrong("scripts on the page read the cookie", "cookie_httponly = yes (ASVS 3.3.4)")
    if cookie.samesite is None or cookie.samesite == "None":
        yield look(
            "other sites make the browser send the cookie",
            "cookie_samesite = Lax, or cross_site = refuse, and tokens in forms (ASVS 3.3.2, 3.5.1)",
        )


def _times(sessions: SessionManager, level: int) -> Iterator[Finding]:
    allowed = LEVELS[level]
    lifetime, idle = sessions.settings.lifetime, sessions.settings.idle_timeout
    rule = f"(NIST SP 800-63B-4, AAL{level}; ASVS 7.3)"
    met = True
    if lifetime > allowed.lifetime:
        met = False
        yield wrong(f"a session lives {_span(lifetime)}", f"lifetime = {_span(allowed.lifetime)} or less {rule}")
    if allowed.idle_timeout is not None and (idle is None or idle > allowed.idle_timeout):
        met = False
        yield wrong(
            f"an unused session lives {_span(lifetime if idle is None else idle)}",
            f"idle_timeout = {_span(allowed.idle_timeout)} or less {rule}",
        )
    elif idle is None:
        yield look("a session that nobody uses lives as long as any", "set idle_timeout (ASVS 7.3.1)")
    if met:
        yield good(f"the deadlines are within those of AAL{level}")
    if sessions.settings.persistent:
        yield look(
            "the browser keeps the cookie after it was closed, also on a shared computer",
            'leave persistent out, and ask at the login: login(…, persistent=True) (OWASP: "remember me")',
        )


def _span(seconds: int) -> str:
    for size, unit in ((24 * _HOUR, "day"), (_HOUR, "hour"), (60, "minute")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{seconds} seconds"


def _purpose(sessions: SessionManager) -> Iterator[Finding]:
    if not sessions.settings.purpose:
        yield look(
            f"another application with this key or store, whose cookie is {sessions.cookie.name} too, shares its sessions "
            "and logins",
            "set purpose, the application's name, or give each a key of its own; setting it ends today's sessions "
            "(docs/recipes.md)",
        )


def _cookie_engine(engine: CookieEngine, sessions: SessionManager) -> Iterator[Finding]:
    if sessions.core.ended is None:
        yield look(
            "a copy of a cookie outlives the logout, to its deadline",
            "set ended, the URL of a list of ended sessions, or store (ASVS 7.4.1)",
        )
    if isinstance(engine.token, SignedToken):
        yield look("whoever has the browser reads what is in the session", "token = encrypted")
    if engine.max_set_cookie > MAX_SET_COOKIE:
        yield look(
            f"a Set-Cookie line may have {engine.max_set_cookie} bytes, and nginx answers 502 above 4 KB of headers",
            "see that proxy_buffer_size is 8k or more there, or leave max_set_cookie out",
        )
    if engine.chunked:
        yield look(
            "a session may take several cookies, which go with every request",
            "keep less in the session, or set store; see docs/behind-a-proxy.md for what servers take",
        )


def _store_engine(engine: StoreEngine, sessions: SessionManager) -> Iterator[Finding]:
    if engine.seal is None:
        yield look(
            "whoever can read the store reads every session, and who can write it is any user he likes",
            "set key_file: the records are then encrypted (ASVS 14.2)",
        )
    if engine.on_store_error == "anonymous":
        yield look(
            "while the store is down everybody looks logged out, and may log in again for nothing",
            "leave on_store_error out, if a 503 is better",
        )
    size = sessions.settings.max_size
    if size is None or size > _MIB:
        yield look(
            "a session may be larger than 1 MiB, and is read and written as a whole by each request",
            "max_size = 256 KiB, and keep what is larger elsewhere",
        )


# --- Files


def check_files(file: Path | None, given: Mapping[str, Any]) -> Iterator[Finding]:
    """What is to be said of the permissions of the configuration and of the files that it names; there are none on Windows."""
    if os.name != "posix":  # pragma: no cover
        return
    if file is not None:
        yield from _permissions(file, "the configuration", secret="key" in given or "accept_keys" in given)
    for name in ("key_file", "accept_keys_file", "store_file", "ended_file"):
        if name in given:
            yield from _permissions(Path(str(given[name])), name, secret=True)
    if isinstance(given.get("key"), str) and file is not None:
        yield look(f"the key stands in {file}", "keep it apart, in a file of its own: key_file (ASVS 13.3.1)")


def others_may(path: Path, *, sticky: bool) -> str:
    """What other users may do to a file or folder: "write", "replace" (in its folder) or "read" it, or nothing.

    `sticky`: a folder where each may create files and remove only his own, such as /tmp, keeps it from being replaced.
    """
    mode, in_folder = path.stat().st_mode, path.resolve().parent.stat().st_mode
    if mode & _WRITE:
        return "write"
    if in_folder & _WRITE and not (sticky and in_folder & stat.S_ISVTX):
        return "replace"
    return "read" if mode & stat.S_IROTH else ""


def _permissions(path: Path, label: str, *, secret: bool) -> Iterator[Finding]:
    folder = path.resolve().parent
    others = others_may(path, sticky=True)
    if others == "write":
        yield wrong(f"{label}: other users may write {path}, and be any user of the site", f"chmod go-w {path}")
    elif others == "replace":
        yield wrong(f"{label}: other users may put another file in the place of {path}", f"chmod go-w {folder}")
    elif secret and others == "read":
        yield look(
            f"{label}: every user of this machine may read {path}, and forge sessions",
            f"chmod o-r {path}; in a container there is nobody else",
        )
    else:
        yield good(f"{label}: nobody else may write {path}")

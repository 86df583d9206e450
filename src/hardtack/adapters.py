"""All that an adapter of a framework needs beside a `SessionManager`: public, documented and stable.

An adapter opens a session from the raw Cookie header and what it knows of the request, hands it to the handler, commits it just
before the headers leave (or aborts it where the handler failed), merges what that returns into the response's headers, and
finishes it after the body. frameworks/bottle.py is a short one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from hardtack import values
from hardtack.binding.answers import Asked, DeviceAnswer, Headers
from hardtack.binding.paths import ENDPOINTS, unbound_answer
from hardtack.changes import NO_CHANGES, SHARED_CACHE_HEADERS, Changes, is_merged, is_shared_cache_header
from hardtack.cookies import Cookie, parse
from hardtack.core import Core
from hardtack.engines import chunks
from hardtack.engines.store import StoreEngine
from hardtack.errors import (
    ConfigError,
    CrossSiteRequest,
    HardtackError,
    ProofNeeded,
    ProofOutstanding,
    SessionConflict,
    StoreUnavailable,
    TooManySessions,
)
from hardtack.flow import arun, run
from hardtack.lifecycle import takeover
from hardtack.lifecycle.decide import ends
from hardtack.lifecycle.load import carries, load_flow
from hardtack.lifecycle.save import is_late
from hardtack.lifecycle.save import rest as _rest
from hardtack.manager import SessionManager
from hardtack.record import Record, pack
from hardtack.request import EnvironRequest, Request, ScopeRequest, wsgi_request
from hardtack.session import (
    Session,
    Unread,
    become_finished,
    changing,
    data_of,
    drop,
    hand_out,
    is_empty,
    peek,
    put,
    state_of,
    touch,
)
from hardtack.state import LOGIN, NEW, SAME, State

RETRY_AFTER: Final = 5
"""Seconds after which a client may ask again, where the store could not be reached."""

__all__ = [
    "ENDPOINTS",
    "FAILED",
    "NO_CHANGES",
    "RETRY_AFTER",
    "SHARED_CACHE_HEADERS",
    "Answer",
    "Changes",
    "StreamedBody",
    "DeviceAnswer",
    "EnvironRequest",
    "adevice_answer",
    "answer_to",
    "asgi_device_answer",
    "asgi_request",
    "attach",
    "blocks",
    "carries_cookie",
    "check_manager",
    "cookie_header",
    "cookie_value",
    "cookies_of",
    "create_empty",
    "data_of",
    "device_answer",
    "devices_in",
    "discard",
    "drop",
    "end_own",
    "force_save",
    "foreign_lines",
    "hand_out",
    "http_errors",
    "end_at_once",
    "is_empty",
    "is_late",
    "is_merged",
    "is_shared_cache_header",
    "is_unattached",
    "is_unread",
    "join_request",
    "known_id",
    "limit_to_one_cookie",
    "loaded_from_taken_over",
    "look",
    "mark_accessed",
    "mark_login",
    "mark_modified",
    "max_age_of",
    "now_of",
    "peek",
    "preload",
    "put",
    "renew_only_when_saved",
    "renewal_due",
    "rest",
    "replace_data",
    "replace_state",
    "set_fields",
    "state_of",
    "take_as_loaded",
    "touch",
    "waits",
    "warn_plain_http",
    "with_cookie",
    "wsgi_device_answer",
    "wsgi_request",
]


# --- the manager


def check_manager(sessions: Any, taker: str, *, sync: bool = False) -> SessionManager:
    """The manager that an adapter was given. Raises `ConfigError`; `sync`: also for a store that only async code can reach."""
    if not isinstance(sessions, SessionManager):
        given = f"the class {sessions.__name__}" if isinstance(sessions, type) else type(sessions).__name__
        message = f"{taker} takes a SessionManager, not {given}"
        raise ConfigError(message)
    if sync and sessions.core.asynchronous:
        store = type(sessions.core.asynchronous).__name__
        message = f"{store} is for async code, and {taker.partition('(')[0]} is not: use the sync twin of the store"
        raise ConfigError(message)
    return sessions


def waits(sessions: SessionManager) -> bool:
    """Whether opening and saving can wait for a store or a list; where they cannot, a coroutine for each would cost time."""
    return sessions.core.waits


def blocks(sessions: SessionManager) -> bool:
    """Whether a save can wait for a disk or a network, so that it must not be done on an event loop."""
    core = sessions.core
    stores = [each.traits for each in (core, *core.accepted) if each.stored]
    return core.ended is not None or any(each.asynchronous or each.blocking for each in stores)


def carries_cookie(sessions: SessionManager, header: str) -> bool:
    """Whether a request carries a session cookie, of hardtack's or one to take over."""
    return carries(sessions.core, header)


def devices_in(sessions: SessionManager, header: str) -> str:
    """What of a Cookie header says who has logged in with the browser before, for another session that begins in it."""
    devices = sessions.core.devices
    return "" if devices is None else devices.header_of(header)


def limit_to_one_cookie(session: Session, advice: str) -> None:
    """The framework can read and set one cookie only: a session that outgrows it is a `SessionTooLarge`, also with chunks.

    `advice` is the end of its message, such as "; several cookies need …".
    """
    state_of(session).one_cookie = advice


def join_request(session: Session, header: str, request: Request | None = None, written: Iterable[str] = ()) -> None:
    """Let a session that was opened by the value of its cookie alone be that of a request, whose response will carry it.

    It may then have several cookies, and those of the browser that are none of it any more are cleared. `header`: the request's
    Cookie header; `written`: the names of cookies that the response sets already. From sync code; under async code load the
    session first.
    """
    state = touch(session)
    state.header, state.request, state.one_cookie = header, request, ""
    state.passive = request is not None and request.passive
    if state.core is not None and state.core.engine.store is None and state.held is not None:
        name, there = state.core.cookie.name, {*parse(header), *written}
        own = dict.fromkeys([name, *chunks.names(name), *state.held.names])
        state.held.names = [each for each in own if each in there]


def renew_only_when_saved(sessions: SessionManager) -> None:
    """Let the idle deadline move with each save, and with nothing else, as Flask has it."""
    core = sessions.core
    core.settings = sessions.settings = core.settings._replace(renews_when_read=False)
    core.always_renews = True


def end_at_once(sessions: SessionManager) -> None:
    """Let each session end as soon as it was stored, as `max_age=0` does in some frameworks."""
    core = sessions.core
    core.settings = sessions.settings = core.settings._replace(idle_timeout=0)
    core.idle_timeout = 0


def foreign_lines(sessions: SessionManager, header: str) -> tuple[str, ...]:
    """The lines that clear every other system's cookie that a request carries and that the manager takes over."""
    return takeover.clearing(sessions.core, header)


def warn_plain_http(sessions: SessionManager, scheme: str, host: str) -> None:
    """Log once that a Secure cookie was set on a plain http response, which browsers drop."""
    if scheme not in ("http", "ws") or not sessions.cookie.secure:
        return
    name = Request(host=host).hostname.strip("[]")
    local = name in ("localhost", "127.0.0.1", "::1") or name.endswith(".localhost")
    sessions.core.warn_once(_LOCAL if local else _PLAIN)


_PLAIN: Final = (
    "a Secure session cookie was set on a plain http request: the browser drops it. Behind a proxy that ends TLS, "
    "pass the scheme on (X-Forwarded-Proto); during development use Cookie.for_development()"
)
_LOCAL: Final = (
    "a Secure session cookie was set on http://localhost: Chrome and Firefox keep it there, Safari, httpx and requests drop "
    "it; during development use Cookie.for_development()"
)


# --- the request


def asgi_request(scope: Mapping[str, Any]) -> Request:
    """What an ASGI scope tells of its request."""
    return ScopeRequest(scope)


def cookie_header(scope: Mapping[str, Any]) -> bytes:
    """The Cookie header of an ASGI scope, which HTTP/2 may have split (RFC 9113 8.2.3)."""
    headers = scope["headers"]
    if type(headers) is list:
        first: dict[bytes, bytes] = dict(headers)
        if len(first) == len(headers):  # nearly every request: no name stands twice
            return first.get(b"cookie", b"")
    parts = [value for name, value in headers if name == b"cookie"]
    return parts[0] if len(parts) == 1 else b"; ".join(parts)


# --- the endpoints of a binding to the device, which an adapter answers before the application


def device_answer(
    sessions: SessionManager, method: str, path: str, mount: str, headers: Headers, request: Request | None = None
) -> DeviceAnswer | None:
    """The answer to a browser that registers or proves a device's key; None for every other request.

    Their paths begin with `ENDPOINTS`. A manager without binding answers proofs too: another deploy has bound those sessions.

    Args:
        sessions: the manager.
        method: the request's.
        path: below the mount, beginning with "/".
        mount: what stands before it in the URL; empty where nothing does.
        headers: gives a header's value by its name in lower case, or None; "cookie" joins several by "; ".
        request: what an event says of it.
    """
    core, asked = sessions.core, Asked(method, path, mount, headers, request)
    if not path.startswith(core.endpoints):
        return None
    if core.binding is None:
        return unbound_answer(core.endpoints, asked)
    from hardtack.binding.endpoints import respond  # with what verifies signatures, which few need

    return run(respond(core, core.binding, asked), core.sync_store())


async def adevice_answer(
    sessions: SessionManager, method: str, path: str, mount: str, headers: Headers, request: Request | None = None
) -> DeviceAnswer | None:
    """`device_answer` under async code."""
    core, asked = sessions.core, Asked(method, path, mount, headers, request)
    if not path.startswith(core.endpoints):
        return None
    if core.binding is None:
        return unbound_answer(core.endpoints, asked)
    from hardtack.binding.endpoints import respond

    return await arun(respond(core, core.binding, asked), core.engine.store)


def wsgi_device_answer(sessions: SessionManager, environ: Mapping[str, Any]) -> DeviceAnswer | None:
    """`device_answer` to a WSGI environ."""
    mount, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    if not path.startswith(ENDPOINTS):
        return None

    def header(name: str) -> str | None:
        key = name.upper().replace("-", "_")
        value = environ.get(key if key == "CONTENT_LENGTH" else f"HTTP_{key}")
        return value or None if key == "CONTENT_LENGTH" else value

    return device_answer(sessions, environ.get("REQUEST_METHOD", ""), path, mount, header, wsgi_request(environ))


async def asgi_device_answer(sessions: SessionManager, scope: Mapping[str, Any]) -> DeviceAnswer | None:
    """`device_answer` to an ASGI scope."""
    if scope["type"] != "http" or ENDPOINTS not in scope["path"]:
        return None

    def header(name: str) -> str | None:
        if name == "cookie":
            return cookie_header(scope).decode("latin-1")
        raw = name.encode()
        return next((value.decode("latin-1") for key, value in scope["headers"] if key == raw), None)

    mount, path = scope.get("root_path", ""), scope["path"]
    if mount and path.startswith(f"{mount}/"):  # servers leave it in the path
        path = path[len(mount) :]
    return await adevice_answer(sessions, scope["method"], path, mount, header, asgi_request(scope))


# --- the session


def mark_modified(session: Session, *, modified: bool) -> None:
    """What assigning `session.modified` does, for a subclass that has a property of its own."""
    if modified:
        changing(session)
    state_of(session).forced = modified


def now_of(session: Session) -> int:
    """The manager's clock, Unix seconds."""
    return state_of(session).now()


def mark_accessed(session: Session, accessed: bool = True) -> None:
    """Say whether the handler looked at the session, where the framework knows better."""
    state_of(session).accessed = accessed


async def preload(session: Session) -> None:
    """Load under async code, without looking: where the store is down, whoever looks at the session is told."""
    state = state_of(session)
    core = state.core
    if core is not None and state.held is None and core.loads_first(state.header) and carries(core, state.header):
        await arun(load_flow(core, session), core.engine.store)


def look(session: Session) -> Mapping[str, Any]:
    """What the session holds, without that counting as a look of the handler. From sync code."""
    state = state_of(session)
    if not isinstance(session, Unread):
        return data_of(session)
    if state.held is None and state.core is not None:
        run(load_flow(state.core, session), state.core.sync_store())
    if state.held is not None and state.held.record is not None:
        state.lent = True
        return state.held.record.data
    return {} if state.taken is None or state.taken.record is None else state.meta.data


def discard(session: Session) -> None:
    """The commit failed, and is answered by an error: from now on the session can only be read, and nothing of it is saved."""
    become_finished(session)


def is_unread(session: Session) -> bool:
    """Whether nobody has looked at the session yet."""
    return isinstance(session, Unread)


def attach(session: Session, sessions: SessionManager) -> None:
    """Let a session that was made by hand be one of a manager's."""
    state_of(session).core = sessions.core


def with_cookie(sessions: SessionManager, cookie: Cookie) -> SessionManager:
    """The same manager with another cookie."""
    other = copy(sessions)
    core = sessions.core
    other.settings = core.settings._replace(cookie=cookie)
    other.core = Core(core.engine, other.settings, core.teller, core.ended, core.registry)
    other.core.always_renews = core.always_renews
    return other


def known_id(session: Session) -> str | None:
    """The id of what is stored, as far as that is known without loading the session; this is no look at it."""
    held = state_of(session).held
    return None if held is None or held.record is None else values.encode_bytes(held.record.id)


def replace_data(session: Session, data: Mapping[str, Any]) -> None:
    """Let the session hold this instead of what it holds, as a framework's `set_session` does: that is no logout."""
    touch(session)
    for name in data_of(session):
        if name not in data:
            drop(session, name)
    for name, value in data.items():
        put(session, name, value)


def loaded_from_taken_over(session: Session) -> bool:
    """Whether the session holds what another system's cookie held, and is not stored yet."""
    taken = touch(session).taken
    return taken is not None and taken.record is not None


def is_unattached(session: Session) -> bool:
    """Whether the session was made by hand, and belongs to no manager."""
    return state_of(session).core is None


def replace_state(session: Session, state: State) -> None:
    """Give a session that is made by hand a state that knows more, of a subclass."""
    session._state = state  # pyright: ignore[reportPrivateUsage]


def take_as_loaded(session: Session) -> None:
    """Take what a session made by hand holds now for unchanged: later changes are compared with it."""
    state = state_of(session)
    state.base = Record(b"", 0, None, 0, data=data_of(session))
    pack(state.base)


def create_empty(session: Session) -> None:
    """Store a new session with the next commit, also if nothing is put into it."""
    state = touch(session)
    if state.record is None and state.begins is SAME:
        state.begins = NEW


def force_save(session: Session) -> None:
    """Save with the next commit, whether anything was changed or not."""
    changing(session).forced = True


def end_own(session: Session, *, follows: bool) -> None:
    """End the session with the next commit; `follows`: under whichever id it has by now, as a logout does."""
    session.destroy()
    state_of(session).follows = follows


def rest(session: Session) -> Changes | None:
    """What a response has to say of a session that goes on as it is; None where it is to be committed.

    For an adapter that has to know whether anything was changed before it commits: the data is looked at once for both.
    """
    state = state_of(session)
    return None if state.core is None else _rest(state.core, session)


def renewal_due(session: Session) -> bool:
    """Whether the session is to be saved for its idle deadline's sake, or since a key that no longer issues has sealed it."""
    state = state_of(session)
    if state.core is None or state.record is None or state.held is None:
        return False
    due = not state.passive and state.core.settings.renewal_due(state.meta.seen, state.core.now())
    return due or not state.held.current


def max_age_of(session: Session) -> int | None:
    """Seconds that the browser keeps the cookie of the stored session; None: until it ends."""
    state = state_of(session)
    if state.core is None or state.record is None:
        return None
    return ends(state.record, state.core.settings, state.core.now())[1]


def cookie_value(session: Session) -> str | None:
    """What the cookie of a session in a store carries; None where the cookie holds the session itself."""
    state = state_of(session)
    if state.core is None or state.held is None or not isinstance(state.core.engine, StoreEngine):
        return None
    return state.core.engine.cookie_value(state.held.secret)


def set_fields(
    session: Session,
    *,
    subject: str | None,
    persistent: bool | None = None,
    lifetime: int | None = None,
    expires: int | None = None,
) -> None:
    """Set what a framework keeps in the session's data under rules of its own, as fields of the record.

    A user who was not there before has logged in; `lifetime` in seconds, `expires` in Unix seconds. None: as it is without.
    An `expires` that moves and nothing else is a renewal, which no parallel request makes stale.
    """
    state = touch(session)
    meta = state.meta
    given = {"persistent": persistent, "lifetime": lifetime, "expires": expires}
    options = {**meta.options, **given}
    for name, value in given.items():
        if value is None:
            del options[name]
    if subject == meta.subject and options == meta.options:
        return
    if meta is state.record:
        meta = meta.with_changes()
    if subject != meta.subject:
        meta.authenticated = None if subject is None else now_of(session)
        meta.subject = subject
        if subject is not None:
            state.begins = LOGIN
    moved = {**options, "expires": None} == {**meta.options, "expires": None} and "expires" in meta.options
    if moved and "expires" in options and state.begins is not LOGIN and state.record is not None:
        state.extends = True
    else:
        state.forced = True
    meta.options = options
    state.meta = meta


def mark_login(session: Session) -> None:
    """A user has shown a credential, where the framework says so by itself: such a session is never lost to other requests."""
    state = changing(session)
    if state.meta is state.record:
        state.meta = state.meta.with_changes()
    state.meta.authenticated = now_of(session)
    state.begins = LOGIN


class StreamedBody:
    """The body of a streamed response under WSGI; what it did to the session is seen to when the server closes it.

    Args:
        body: any iterable of bytes; it is closed as well, if it can be.
        finish, abort: called at the end; `abort` where the body has failed, so that nothing of it is saved.
    """

    def __init__(self, body: Iterable[bytes], finish: Callable[[], object], abort: Callable[[], object]) -> None:
        self.body = body
        self.finish = finish
        self.abort = abort

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.body
        except Exception:
            self.finish = self.abort
            raise

    def close(self) -> None:
        """Close the body, and see to the session."""
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        finally:
            with suppress(HardtackError):  # the body has failed, and that is told
                self.finish()


# --- errors as responses


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to an error of a session: a status, a text for people, and headers."""

    status: int
    reason: str
    text: str
    headers: tuple[tuple[str, str], ...]

    @property
    def own(self) -> dict[str, str]:
        """The headers that belong to the status: Retry-After of a 503, Location of a 307."""
        return {name: value for name, value in self.headers if name in ("Retry-After", "Location")}


FAILED: Final = Answer(
    500,
    "Internal Server Error",
    "Internal Server Error\n",
    (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "22"), ("Cache-Control", "no-store")),
)
"""The response of an application that failed after it had ended the session, where nobody else can clear the cookie."""


def answer_to(error: BaseException) -> Answer | None:
    """The response to an error that a session or a commit has raised; None for one that is the application's fault.

    503 where the store cannot be reached, 409 where a save was dropped or a login is one too many, 403 for a request that
    another site sent. No cache may keep it, and it carries the cookies of the error: a logout clears the cookie, whatever
    else failed.
    """
    if isinstance(error, StoreUnavailable):
        status, reason, text = 503, "Service Unavailable", "The session store cannot be reached. Try again soon.\n"
    elif isinstance(error, SessionConflict):
        status, reason, text = (
            409,
            "Conflict",
            "Another request changed the session meanwhile. Nothing was saved; try again.\n",
        )
    elif isinstance(error, TooManySessions):
        status, reason, text = 409, "Conflict", "You are logged in too often. Log out elsewhere, and try again.\n"
    elif isinstance(error, ProofOutstanding):
        status, reason, text = (
            503,
            "Service Unavailable",
            "The browser could not prove its key just now. Try again soon.\n",
        )
    elif isinstance(error, ProofNeeded):
        status, reason, text = 307, "Temporary Redirect", "The browser proves its key, and asks again.\n"
    elif isinstance(error, CrossSiteRequest):
        status, reason, text = 403, "Forbidden", "This request came from another site and may not change the session.\n"
    else:
        return None
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    if status == 503:
        headers.append(("Retry-After", str(RETRY_AFTER)))
    if isinstance(error, ProofNeeded):
        headers.append(("Location", error.location))
    headers += [("Cache-Control", "no-store"), *(("Set-Cookie", line) for line in cookies_of(error))]
    return Answer(status, reason, text, tuple(headers))


def http_errors(
    bases: Mapping[int, type[Exception]], init: Callable[[Any, Answer], None]
) -> dict[type[HardtackError], type[HardtackError]]:
    """The errors that have an answer as a framework's own exceptions: each is both, and the application may handle either.

    Args:
        bases: the framework's exceptions, by their status: 503, 409, 403 and 307, as far as it has one.
        init: initializes such an exception, given the answer that it stands for.
    """
    return {kind: _http_error(kind, bases[status], init) for kind, status in _STATUSES.items() if status in bases}


_STATUSES: Final[dict[type[HardtackError], int]] = {
    StoreUnavailable: 503,
    ProofOutstanding: 503,
    SessionConflict: 409,
    TooManySessions: 409,
    CrossSiteRequest: 403,
    ProofNeeded: 307,
}


def _http_error(
    kind: type[HardtackError], base: type[Exception], init: Callable[[Any, Answer], None]
) -> type[HardtackError]:
    def __init__(self: Any, error: HardtackError) -> None:  # noqa: N807  # of the class that is made here
        answer = answer_to(error)
        assert answer is not None
        init(self, answer)
        self.args = error.args
        self.set_cookies = error.set_cookies
        if isinstance(error, SessionConflict):
            self.paths = error.paths
        if isinstance(error, ProofNeeded):
            self.location = error.location

    return type(kind.__name__, (kind, base), {"__init__": __init__, "__doc__": kind.__doc__})


def cookies_of(error: BaseException) -> list[str]:
    """The Set-Cookie lines that the response to an error should carry."""
    return list(error.set_cookies) if isinstance(error, HardtackError) else []

"""What the session interfaces of Flask and Quart share: the session, the manager of an application, and the response."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from flask.config import ConfigAttribute
from flask.sessions import SessionMixin
from werkzeug.exceptions import Conflict, Forbidden, HTTPException, ServiceUnavailable

from hardtack.adapters import (
    RETRY_AFTER,
    Answer,
    Changes,
    attach,
    carries_cookie,
    check_manager,
    http_errors,
    is_empty,
    is_merged,
    is_unattached,
    is_unread,
    look,
    mark_accessed,
    mark_modified,
    peek,
    renew_only_when_saved,
    state_of,
    take_as_loaded,
    touch,
    with_cookie,
)
from hardtack.cookies import Cookie
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.lifetime import seconds
from hardtack.manager import SessionManager
from hardtack.record import Record
from hardtack.session import Session
from hardtack.state import KEEP, LOGIN
from hardtack.tokens.keys import Key, Keyring

if TYPE_CHECKING:
    from werkzeug.datastructures import Headers

PERMANENT: Final = "_permanent"
"""Where Flask keeps `session.permanent`."""

_LONGEST: Final = 400 * 86400  # seconds that browsers keep a cookie (RFC 6265bis 5.5)
_MAX_MANAGERS: Final = 32
_PATH_SAFE: Final = "%!$&'()*+,/:=@"  # what werkzeug leaves alone in a cookie's path

_SETTINGS: Final = (
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "PERMANENT_SESSION_LIFETIME",
    "HARDTACK_LIFETIME",
    "SESSION_COOKIE_NAME",
    "SESSION_COOKIE_PATH",
    "APPLICATION_ROOT",
    "SESSION_COOKIE_DOMAIN",
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SAMESITE",
    "SESSION_COOKIE_PARTITIONED",
)
"""What a manager is made from where the application gives none."""

_COOKIE_METHODS: Final = (
    "get_cookie_name",
    "get_cookie_path",
    "get_cookie_domain",
    "get_cookie_secure",
    "get_cookie_httponly",
    "get_cookie_samesite",
    "get_cookie_partitioned",
)


class Application(Protocol):
    """What is asked of a `Flask` or a `Quart`."""

    @property
    def config(self) -> Any: ...
    @property
    def secret_key(self) -> Any: ...
    @property
    def permanent_session_lifetime(self) -> Any: ...


def _init(error: Any, answer: Answer) -> None:
    if answer.status == 503:
        ServiceUnavailable.__init__(error, answer.text.strip(), retry_after=RETRY_AFTER)
    else:
        HTTPException.__init__(error, answer.text.strip())


class TemporaryRedirect(HTTPException):
    """A redirect that the browser follows with the same method and body."""

    code = 307
    location = ""

    def get_headers(self, *args: Any, **named: Any) -> list[tuple[str, str]]:
        """The headers of the response."""
        return [*super().get_headers(*args, **named), ("Location", self.location)]


ERRORS: Final = http_errors({503: ServiceUnavailable, 409: Conflict, 403: Forbidden, 307: TemporaryRedirect}, _init)
"""hardtack's errors as HTTP exceptions: the framework answers them, or what the application has registered for them."""

Unavailable = ERRORS[StoreUnavailable]


class FlaskSession(Session, SessionMixin):
    """hardtack's session with the attributes of Flask's. Nested changes count, unlike in Flask's own."""

    # A slot of its own gives the classes of its phases this class's layout, without which it could not turn into them. What
    # follows stands on the class: most sessions never change it.
    __slots__ = ("_layout",)

    errors = ERRORS

    was_modified = False
    """It was changed before the response, and saved: `modified` does not forget that."""

    abandoned = False
    """An exception escaped the view."""

    concluded = False
    """The response has what there is to say about the session."""

    looked_at = False
    """A test looks at the request after its response: `with client:` keeps the context. There `get_flashed_messages()` and the
    like take things out of the session, and the framework's own sessions let them."""

    def __init__(self, mapping: Any = ()) -> None:
        """A session made by hand, as tests do; the interface that saves it gives it its manager."""
        super().__init__(mapping)
        mark_accessed(self)

    @property
    def permanent(self) -> bool:
        """Whether the browser keeps the cookie over a restart. Assignable; kept in the session as `_permanent`."""
        return bool(peek(self, PERMANENT, False))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self[PERMANENT] = bool(value)

    @property
    def new(self) -> bool:  # type: ignore[override]
        """The same as `is_new`."""
        return self.is_new

    @property
    def accessed(self) -> bool:
        """Whether the view looked at the session. Assignable: Flask sets it for `flask.session`."""
        return super().accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        # The frameworks set it for whoever mentions `session`, and some do so themselves for each response; what a view does
        # with a session is noted anyway.
        if not is_unread(self):
            mark_accessed(self, bool(value))

    @property
    def modified(self) -> bool:
        """Whether the session was changed in this request, nested changes included.

        Assignable: True forces a save, False withdraws only that force.
        """
        return self.was_modified or super().modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self.was_modified = False
        if value:
            touch(self)
        elif is_unattached(self):  # made by hand: what it has by now is no change
            take_as_loaded(self)
        mark_modified(self, modified=value)

    def login(self, subject: str, lifetime: Any = None, persistent: bool | None = None, **options: Any) -> None:
        """See `hardtack.Session.login`; `persistent` is the same as `permanent`."""
        super().login(subject, lifetime, **options)
        if persistent is not None:
            self.permanent = persistent


def _tells(name: str) -> Callable[..., Any]:
    """A method of dict that also notes that the session was written."""
    method = getattr(Session, name)

    def write(self: WrittenSession, *args: Any, **kwargs: Any) -> Any:
        before = len(self)
        result = method(self, *args, **kwargs)
        # As in Flask, pop() of a missing key and setdefault() of a present one change nothing.
        if name not in ("pop", "setdefault") or len(self) != before:
            self.was_modified = True
        return result

    write.__name__ = name
    return write


class WrittenSession(FlaskSession):
    """A session under Flask's own rule: whatever was assigned was modified, be it what was there before."""

    __slots__ = ()


for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(WrittenSession, _name, _tells(_name))


class Interface:
    """Finds the manager of an application, and says what its settings mean for one session.

    Args:
        sessions: the manager, which decides about cookie and lifetimes. None: a manager of encrypted cookies is made from the
            application's configuration, with the framework's defaults.

    Raises `ConfigError`.
    """

    session_class: type[FlaskSession] = FlaskSession
    """What sessions are made of. A subclass needs `__slots__ = ()`."""

    def __init__(self, sessions: SessionManager | None = None) -> None:
        if sessions is not None:
            check_manager(sessions, "SessionInterface(sessions)")
        self.sessions = sessions
        if sessions is None and self.session_class is FlaskSession:
            self.session_class = WrittenSession
        self._managers: dict[Any, SessionManager] = {}
        # The kind of application, the settings and the manager of the last request: nearly always the next one's too.
        self._last: tuple[Any, tuple[Any, ...], SessionManager | None] = (None, (), None)
        self._own_cookie = any(self._overrides(name) for name in _COOKIE_METHODS)
        self._own_expiry = self._overrides("get_expiration_time")
        self._own_decision = self._overrides("should_set_cookie")

    def _overrides(self, method: str) -> bool:
        """Whether an application's subclass has a method of its own; without one, nothing needs to be called."""
        owner = next(kind for kind in type(self).__mro__ if method in vars(kind))
        return not owner.__module__.startswith(("hardtack.", "flask.", "quart."))

    # --- the cookie

    def get_cookie_name(self, app: Any) -> str:
        """The cookie's name: the manager's, or SESSION_COOKIE_NAME."""
        name: str = app.config["SESSION_COOKIE_NAME"] if self.sessions is None else self.sessions.cookie.name
        return name

    def get_cookie_domain(self, app: Any) -> str | None:
        """The cookie's domain: the manager's, or SESSION_COOKIE_DOMAIN."""
        return app.config["SESSION_COOKIE_DOMAIN"] or None if self.sessions is None else self.sessions.cookie.domain

    def get_cookie_path(self, app: Any) -> str:
        """The cookie's path: the manager's, or SESSION_COOKIE_PATH, or APPLICATION_ROOT."""
        if self.sessions is not None:
            return self.sessions.cookie.path
        path: str = app.config["SESSION_COOKIE_PATH"] or app.config["APPLICATION_ROOT"]
        return path

    def get_cookie_httponly(self, app: Any) -> bool:
        """Whether scripts cannot read the cookie: as the manager says, or SESSION_COOKIE_HTTPONLY."""
        return bool(app.config["SESSION_COOKIE_HTTPONLY"]) if self.sessions is None else self.sessions.cookie.httponly

    def get_cookie_secure(self, app: Any) -> bool:
        """Whether the cookie needs https: as the manager says, or SESSION_COOKIE_SECURE."""
        return bool(app.config["SESSION_COOKIE_SECURE"]) if self.sessions is None else self.sessions.cookie.secure

    def get_cookie_samesite(self, app: Any) -> Any:
        """The cookie's SameSite: the manager's, or SESSION_COOKIE_SAMESITE."""
        return app.config["SESSION_COOKIE_SAMESITE"] if self.sessions is None else self.sessions.cookie.samesite

    def get_cookie_partitioned(self, app: Any) -> bool:
        """Whether the cookie is partitioned: as the manager says, or SESSION_COOKIE_PARTITIONED."""
        if self.sessions is not None:
            return self.sessions.cookie.partitioned
        return bool(app.config.get("SESSION_COOKIE_PARTITIONED"))  # Flask has it since 3.1

    def should_set_cookie(self, app: Any, session: Any) -> bool:
        """Whether the session is saved with this response: it was changed, or is permanent and refreshed each time."""
        return session.modified or (self._refreshes(app) and session.permanent)

    # --- the manager

    def _manager(self, app: Application) -> SessionManager | None:
        """The manager under the settings of now; None where there is no SECRET_KEY."""
        sessions = self.sessions
        if sessions is None:
            kind, settings, last = self._last
            if type(app) is kind and tuple(map(app.config.get, _SETTINGS)) == settings:
                return last
            return self._remembered(app)
        return self._find_manager(app) if self._own_cookie else sessions

    def manager_of(self, app: Application) -> SessionManager | None:
        """The manager under the settings of now; None where there is no SECRET_KEY."""
        return self._manager(app)

    @staticmethod
    def _answer_first(app: Any, function: Any) -> None:
        """Let the application ask a function before its own that run before a request.

        A session is opened before those: so the request that wants it finds it. A page that redirects everything to its
        login must not end bindings.
        """
        functions = app.before_request_funcs.get(None, [])
        if function not in functions:
            app.before_request_funcs[None] = [
                function,
                *functions,
            ]  # another thread may be going through the former list

    def _remembered(self, app: Application) -> SessionManager | None:
        """The manager, kept for the next request if only the configuration decides which it is."""
        manager = self._find_manager(app)
        kind: Any = type(app)
        if not self._own_cookie and _is_configured(kind.secret_key) and _is_configured(kind.permanent_session_lifetime):
            # A copy: SECRET_KEY_FALLBACKS is a list, and may be changed in place.
            self._last = (kind, tuple(copy(app.config.get(name)) for name in _SETTINGS), manager)
        return manager

    def _find_manager(self, app: Application) -> SessionManager | None:
        if self.sessions is None:
            secret = app.secret_key
            if not secret:
                return None
            config = app.config
            keys = (secret, _fallbacks(config.get("SECRET_KEY_FALLBACKS")))
            times = (app.permanent_session_lifetime, config.get("HARDTACK_LIFETIME"))
            settings: Any = (keys, times, self._cookie_settings(app))
        else:
            settings = (None, None, self._cookie_settings(app))
        manager = self._managers.get(settings)
        return self._make_manager(settings) if manager is None else manager

    def _cookie_settings(self, app: Application) -> tuple[Any, ...]:
        if self._own_cookie:
            return tuple(getattr(self, name)(app) for name in _COOKIE_METHODS)
        config = app.config
        return (
            config["SESSION_COOKIE_NAME"],
            config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"],
            config["SESSION_COOKIE_DOMAIN"],
            config["SESSION_COOKIE_SECURE"],
            config["SESSION_COOKIE_HTTPONLY"],
            config["SESSION_COOKIE_SAMESITE"],
            config.get("SESSION_COOKIE_PARTITIONED"),
        )

    def _make_manager(self, settings: Any) -> SessionManager:
        keys, times, cookie_settings = settings
        cookie = _cookie(*cookie_settings)
        manager = _configured(keys, times, cookie) if self.sessions is None else with_cookie(self.sessions, cookie)
        if len(self._managers) >= _MAX_MANAGERS:  # settings that change all the time: a test suite
            self._managers.clear()
        self._managers[settings] = manager
        return manager

    def _refreshes(self, app: Any) -> bool:
        return self.sessions is None and bool(app.config["SESSION_REFRESH_EACH_REQUEST"])

    # --- one session

    def _prepare(self, app: Any, session: FlaskSession) -> tuple[bool, Record | None] | None:
        """What the settings say before the commit; whether the session was marked, and what is stored. None: no commit."""
        state = state_of(session)
        if is_unattached(session):  # made by hand, as tests do
            manager = self._manager(app)
            if manager is not None:
                attach(session, manager)
            if state.base is not None and not session.modified:
                return None
        else:
            manager = self._manager(app)
        if session.abandoned or manager is None:
            return None
        if self._own_decision and (state.accessed or carries_cookie(manager, state.header)):
            accessed = state.accessed
            if session and not self.should_set_cookie(app, session):
                mark_accessed(session, accessed)
                return None
        if is_unread(session):
            if not self._refreshes(app) or not carries_cookie(manager, state.header):
                return False, None
            # A look that does not count as one: without a permanent session the response does not depend on the cookie.
            if not look(session).get(PERMANENT):
                return False, None
            touch(session)
        if state.refusal is not None:
            return False, None
        marked = session.was_modified or state.forced or state.fate is not KEEP or state.begins is LOGIN
        self._settle_times(app, session, manager)
        return marked, state.record

    def _settle_times(self, app: Any, session: FlaskSession, manager: SessionManager) -> None:
        state = state_of(session)
        options = state.meta.options
        permanent = peek(session, PERMANENT)
        holds = not is_empty(session)
        if self._own_expiry and holds:
            expires = self.get_expiration_time(app, session)  # type: ignore[attr-defined]
            settled = {**options, "persistent": expires is not None}
            settled.pop("expires", None)
            if expires is not None:
                settled["expires"] = int(expires.timestamp())
            state.meta = state.meta.with_changes(options=settled)
        elif permanent is not None or self.sessions is None:
            persistent = bool(permanent)
            # What the manager does anyway is not said in each record.
            if options.get("persistent", manager.persistent) is not persistent:
                state.meta = state.meta.with_changes(options={**options, "persistent": persistent})
        if holds and (session.was_modified or self._own_decision or (permanent and self._refreshes(app))):
            state.forced = True


def conclude(
    session: FlaskSession, before: tuple[bool, Record | None] | None, changes: Changes, headers: Headers
) -> None:
    """Put the changes into the response's headers, and remember whether the session was changed."""
    session.concluded = True
    if before is not None:
        marked, old = before
        new = state_of(session).record
        if marked or (new is not old and not _same_data(old, new)):
            session.was_modified = True
    if changes.accessed:
        apply(changes, headers)


def _same_data(old: Record | None, new: Record | None) -> bool:
    """Whether a commit that stored another record kept the data: a renewal is not a change."""
    return old is not None and new is not None and old.kept_data() == new.kept_data()


def apply(changes: Changes, headers: Headers) -> None:
    """Merge into werkzeug's headers what a response has to say about the session."""
    for name, _ in headers:
        if is_merged(name):
            pairs = list(headers)
            changes.apply(pairs)
            headers.clear()
            headers.extend(pairs)
            return
    # The usual case, at a fraction of the cost: a response that has none of these headers yet.
    for name, value in changes:
        headers.add(name, value)


def _cookie(
    name: str, path: str, domain: str | None, secure: Any, httponly: Any, samesite: Any, partitioned: Any
) -> Cookie:
    return Cookie(
        name=name,
        path=quote(path, safe=_PATH_SAFE),
        domain=_domain(domain) if domain else None,
        secure=bool(secure or partitioned),  # as werkzeug has it: a partitioned cookie must be secure
        httponly=bool(httponly),
        samesite=samesite or None,
        partitioned=bool(partitioned),
    )


def _domain(domain: str) -> str:
    """The domain as werkzeug writes it: no port, no leading dot (RFC 6265 5.2.3), no letters beyond ASCII."""
    return domain.partition(":")[0].lstrip(".").encode("idna").decode("ascii")


def _is_configured(attribute: Any) -> bool:
    """Whether an application's attribute is what its configuration says, and not a property of a subclass's own."""
    return isinstance(attribute, ConfigAttribute)


def _fallbacks(setting: Any) -> Sequence[Any]:
    if not setting:
        return ()
    if isinstance(setting, str | bytes):
        raise ConfigError(
            "SECRET_KEY_FALLBACKS must be a list of keys; of a single str each character would be a key that anyone can guess"
        )
    return tuple(setting)


def _configured(keys: tuple[Any, Sequence[Any]], times: tuple[dt.timedelta, Any], cookie: Cookie) -> SessionManager:
    current = Key.from_framework_secret(keys[0], "flask")
    accept = [Key.from_framework_secret(key, "flask") for key in keys[1]]
    idle = seconds(times[0], "PERMANENT_SESSION_LIFETIME")
    if idle < 1:
        raise ConfigError("PERMANENT_SESSION_LIFETIME must be a second or more")
    lifetime = max(_LONGEST, idle) if times[1] is None else seconds(times[1], "HARDTACK_LIFETIME")
    manager = SessionManager(Keyring(current, accept), cookie=cookie, lifetime=lifetime, idle_timeout=idle)
    # PERMANENT_SESSION_LIFETIME runs from the last Set-Cookie: reading alone renews nothing, and every new cookie does.
    renew_only_when_saved(manager)
    return manager

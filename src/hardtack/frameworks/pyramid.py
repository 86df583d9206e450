"""Pyramid: a session factory, and `config.include("hardtack.frameworks.pyramid")` to make one from the settings."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, ClassVar, Final

from hardtack._extras import explain

try:
    from pyramid.httpexceptions import HTTPServiceUnavailable  # type: ignore[import-untyped]
    from pyramid.interfaces import ISession, ISessionFactory  # type: ignore[import-untyped]
    from zope.interface import implementer  # type: ignore[import-untyped]
except ImportError as error:
    message = explain("hardtack.frameworks.pyramid", "pyramid", error)
    raise ImportError(message) from error

from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.manager import SessionManager
from hardtack.session import Flash, Guard, Session
from hardtack.tokens.keys import Key

RETRY_AFTER: Final = 5  # seconds

SETTINGS_PREFIX: Final = "hardtack."

# Where Pyramid's own sessions keep them.
_FLASHES: Final = "_f_"
_CSRF_TOKEN: Final = "_csrft_"  # noqa: S105  # the name of a key


class Unavailable(StoreUnavailable, HTTPServiceUnavailable):  # type: ignore[misc]
    """`StoreUnavailable` as Pyramid's 503: an exception view for either of the two answers."""

    def __init__(self, error: StoreUnavailable) -> None:
        headers = [("Retry-After", str(RETRY_AFTER)), ("Cache-Control", "no-store")]
        HTTPServiceUnavailable.__init__(self, "The session store cannot be reached.", headers=headers)
        self.args = error.args
        self.set_cookies = error.set_cookies


class _Guard(Guard):
    """Makes a store that is down, where the session is loaded inside a view, a 503."""

    __slots__ = ()

    def _touch(self) -> None:
        try:
            super()._touch()
        except StoreUnavailable as error:
            raise Unavailable(error) from error


@implementer(ISession)
class PyramidSession(Session):
    """`hardtack.Session` as Pyramid's `ISession`. Flash messages and CSRF tokens are kept where Pyramid keeps them."""

    __slots__ = ()

    _guard_base: ClassVar[type[Guard]] = _Guard

    @property
    def created(self) -> int:
        """When the session began, whole Unix seconds; now, while nothing is stored."""
        state = self._open()
        assert state.manager is not None
        return state.meta.created or state.manager._now()

    @property
    def new(self) -> bool:
        """Whether nothing is stored of this session yet."""
        return self.is_new

    def invalidate(self) -> None:
        """End the session: data gone, record deleted, cookie cleared. What is set after that begins a new one."""
        self.destroy()

    def changed(self) -> None:
        """Force a save. Nested changes are seen without it."""
        self.modified = True

    def flash(  # pyright: ignore[reportIncompatibleMethodOverride]  # ISession wants these names
        self, msg: Any, queue: str = "", allow_duplicate: bool = True
    ) -> None:
        """Keep a message in a queue, unless it is there and must not be there twice."""
        storage = self.setdefault(_FLASHES + queue, [])
        if allow_duplicate or msg not in storage:
            storage.append(msg)

    def pop_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue; they are gone then."""
        messages: list[Any] = self.pop(_FLASHES + queue, [])
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue, which stay."""
        messages: list[Any] = self.get(_FLASHES + queue, [])
        return messages

    def flashes(self, category: str | None = None) -> list[Flash]:
        """The messages of one queue, or of all, queue by queue; they are gone then."""
        queues = [name.removeprefix(_FLASHES) for name in self if name.startswith(_FLASHES)]
        return [
            Flash(queue, message)
            for queue in queues
            if category is None or queue == category
            for message in self.pop_flash(queue)
        ]

    def new_csrf_token(self) -> str:
        """A new token against cross-site request forgery, 40 hexadecimal characters, kept in the session."""
        token = self[_CSRF_TOKEN] = secrets.token_hex(20)
        return token

    def get_csrf_token(self) -> str:
        """The session's token, which is made where there is none."""
        token: str | None = self.get(_CSRF_TOKEN)
        return self.new_csrf_token() if token is None else token

    def _refuse_degraded(self) -> None:
        try:
            super()._refuse_degraded()
        except StoreUnavailable as error:
            raise Unavailable(error) from error


@implementer(ISessionFactory)
class SessionFactory:
    """`config.set_session_factory(SessionFactory(sessions))`.

    The session is saved by a response callback: after the tweens, whatever view or exception view made the response. An
    exception without a view saves nothing. Where the store cannot be reached the answer is 503.

    Args:
        sessions: the manager. The application closes it, not the factory.

    Raises `ConfigError`.
    """

    def __init__(self, sessions: SessionManager) -> None:
        if not isinstance(sessions, SessionManager):
            message = f"SessionFactory(sessions) takes a SessionManager, not {type(sessions).__name__}"
            raise ConfigError(message)
        self.sessions = sessions

    def __call__(self, request: Any) -> PyramidSession:
        """The session of a request; Pyramid calls this when `request.session` is first asked for."""
        session = self.sessions.open(request.environ.get("HTTP_COOKIE"), PyramidSession)
        assert isinstance(session, PyramidSession)
        request.add_response_callback(_Save(self.sessions, session))
        return session


def includeme(config: Any) -> None:
    """Make a manager from the settings that begin with `hardtack.`, and set its factory.

    They are those of `hardtack.config`, and two more: `hardtack.secret`, of any text, from which a key is made, and
    `hardtack.accept_secrets`, earlier ones, separated by white space. Raises `ConfigError`.
    """
    from hardtack.config import from_mapping

    given = {
        name.removeprefix(SETTINGS_PREFIX): value
        for name, value in config.get_settings().items()
        if name.startswith(SETTINGS_PREFIX)
    }
    try:
        config.set_session_factory(SessionFactory(from_mapping(_with_keys(given))))
    except ConfigError as error:
        message = f"in the settings {SETTINGS_PREFIX}*: {error}"
        raise ConfigError(message) from None


def _with_keys(given: dict[str, Any]) -> dict[str, Any]:
    """The settings, with keys in the place of secrets."""
    accepted = given.pop("accept_secrets", "")
    if "secret" in given:
        if "key" in given:
            raise ConfigError("secret and key are one setting; remove one of them")
        given["key"] = _key(given.pop("secret"))
    earlier = [_key(secret) for secret in re.findall(r"\S+", accepted)]
    if earlier:
        given["accept_keys"] = earlier
    return given


def _key(secret: Any) -> Key:
    return Key.from_framework_secret(secret, framework="pyramid")


class _Save:
    """The response callback of one request."""

    __slots__ = ("deferred", "session", "sessions")

    def __init__(self, sessions: SessionManager, session: PyramidSession) -> None:
        self.sessions = sessions
        self.session = session
        self.deferred = False

    def __call__(self, request: Any, response: Any) -> None:
        if not self.deferred and any(callback is not self for callback in request.response_callbacks):
            # Callbacks that were added after this one may change the session: they go first.
            self.deferred = True
            request.add_response_callback(self)
            return
        try:
            changes = self.sessions.commit(self.session)
        except StoreUnavailable as error:
            _answer_unavailable(request, response, error)
            return
        changes.apply(response.headerlist)
        if changes.set_cookies:
            self.sessions.warn_plain_http(
                request.environ.get("wsgi.url_scheme", ""), request.environ.get("HTTP_HOST", "")
            )
        if isinstance(response.app_iter, Generator):
            length = response.content_length  # which setting app_iter drops
            response.app_iter = _Body(response.app_iter, partial(self.sessions.finish, self.session))
            response.content_length = length


def _answer_unavailable(request: Any, response: Any, error: StoreUnavailable) -> None:
    """Turn the response into a 503: what a callback raises would pass by all exception views."""
    answer = Unavailable(error)
    answer.prepare(request.environ)
    close = getattr(response.app_iter, "close", None)
    if close is not None:
        close()
    response.conditional_response = False
    response.app_iter = answer.app_iter
    response.status = answer.status
    response.headerlist = [*answer.headerlist, *(("Set-Cookie", line) for line in error.set_cookies)]


class _Body:
    """A body that a generator makes; what it did to the session is seen to when the server closes it."""

    def __init__(self, body: Generator[bytes, None, None], finish: Callable[[], None]) -> None:
        self.body = body
        self.finish = finish

    def __iter__(self) -> Iterator[bytes]:
        return self.body

    def close(self) -> None:
        self.body.close()
        self.finish()

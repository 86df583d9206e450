"""Pyramid: a session factory, and `config.include("hardtack.frameworks.pyramid")` to make one from the settings."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final

from hardtack._extras import explain

try:
    from pyramid.httpexceptions import (  # type: ignore[import-untyped]
        HTTPConflict,
        HTTPException,
        HTTPForbidden,
        HTTPInternalServerError,
        HTTPServiceUnavailable,
        HTTPTemporaryRedirect,
    )
    from pyramid.interfaces import ISession, ISessionFactory, ITweens  # type: ignore[import-untyped]
    from pyramid.response import Response  # type: ignore[import-untyped]
    from pyramid.tweens import INGRESS  # type: ignore[import-untyped]
    from zope.interface import implementer  # type: ignore[import-untyped]
except ImportError as error:
    message = explain("hardtack.frameworks.pyramid", "pyramid", error)
    raise ImportError(message) from error

from hardtack.adapters import (
    Answer,
    StreamedBody,
    check_manager,
    cookies_of,
    data_of,
    discard,
    drop,
    http_errors,
    now_of,
    peek,
    put,
    touch,
    warn_plain_http,
    wsgi_device_answer,
    wsgi_request,
)
from hardtack.errors import ConfigError, HardtackError, StoreUnavailable
from hardtack.manager import SessionManager
from hardtack.session import FLASHES, ONCE, Flash, Session
from hardtack.tokens.keys import Key

logger = logging.getLogger("hardtack")

SETTINGS_PREFIX: Final = "hardtack."

# Where Pyramid's own sessions keep them.
_FLASHES: Final = "_f_"
_CSRF_TOKEN: Final = "_csrft_"  # noqa: S105  # the name of a key


def _init(error: Any, answer: Answer) -> None:
    headers = [("Cache-Control", "no-store"), *answer.own.items()]
    if answer.status == HTTPTemporaryRedirect.code:
        # Its own initializer takes the location first.
        HTTPException.__init__(error, answer.text.strip(), headers=headers)
    else:
        _BASES[answer.status].__init__(error, answer.text.strip(), headers=headers)


_BASES: Final = {503: HTTPServiceUnavailable, 409: HTTPConflict, 403: HTTPForbidden, 307: HTTPTemporaryRedirect}

ERRORS: Final = http_errors(_BASES, _init)
"""hardtack's errors as Pyramid's responses: an exception view for either of the two answers."""

Unavailable = ERRORS[StoreUnavailable]


@implementer(ISession)
class PyramidSession(Session):
    """`hardtack.Session` as Pyramid's `ISession`. Flash messages and CSRF tokens are kept where Pyramid keeps them."""

    __slots__ = ()

    errors = ERRORS
    joined = (FLASHES, ONCE, _FLASHES)

    @property
    def created(self) -> int:
        """When the session began, whole Unix seconds; now, while nothing is stored."""
        return touch(self).meta.created or now_of(self)

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
        storage = peek(self, _FLASHES + queue, [])
        if allow_duplicate or msg not in storage:
            put(self, _FLASHES + queue, [*storage, msg])

    def pop_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue; they are gone then."""
        messages: list[Any] = peek(self, _FLASHES + queue, [])
        if messages:
            drop(self, _FLASHES + queue)
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue, which stay."""
        messages: list[Any] = peek(self, _FLASHES + queue, [])
        return messages

    def flashes(self, category: str | None = None) -> list[Flash]:
        """The messages of one queue, or of all, queue by queue; they are gone then."""
        touch(self)
        queues = [name.removeprefix(_FLASHES) for name in data_of(self) if name.startswith(_FLASHES)]
        return [
            Flash(queue, message)
            for queue in queues
            if category is None or queue == category
            for message in self.pop_flash(queue)
        ]

    def new_csrf_token(self) -> str:
        """A new token against cross-site request forgery, 40 hexadecimal characters, kept in the session."""
        token = secrets.token_hex(20)
        put(self, _CSRF_TOKEN, token)
        return token

    def get_csrf_token(self) -> str:
        """The session's token, which is made where there is none."""
        token: str | None = peek(self, _CSRF_TOKEN)
        return self.new_csrf_token() if token is None else token


@implementer(ISessionFactory)
class SessionFactory:
    """`setup(config, sessions)`, or `config.set_session_factory(SessionFactory(sessions))`.

    The session is saved by a response callback: after the tweens, whatever view or exception view made the response. An
    exception without a view saves nothing, but what the request ended is ended. Where the store cannot be reached the answer
    is 503, where a save was dropped 409.

    Args:
        sessions: the manager. The application closes it, not the factory.
        passive: says of a request whether it is no activity of the user, such as a page that polls.

    Raises `ConfigError`.
    """

    def __init__(self, sessions: SessionManager, *, passive: Callable[[Any], bool] | None = None) -> None:
        self.sessions = check_manager(sessions, "SessionFactory(sessions)")
        self.passive = passive

    def __call__(self, request: Any) -> PyramidSession:
        """The session of a request; Pyramid calls this when `request.session` is first asked for."""
        told = wsgi_request(request.environ)
        told.passive = self.passive is not None and self.passive(request)
        session = self.sessions.open(request.environ.get("HTTP_COOKIE"), told, kind=PyramidSession)
        assert isinstance(session, PyramidSession)
        save = _Save(self.sessions, session)
        request.add_response_callback(save)
        request.add_finished_callback(save.end)
        return session


def setup(config: Any, sessions: SessionManager, *, passive: Callable[[Any], bool] | None = None) -> None:
    """Give every request of the application a session: `request.session`.

    It sets a `SessionFactory`, and adds the tween. The application closes the manager. Raises `ConfigError`.
    """
    config.set_session_factory(SessionFactory(sessions, passive=passive))
    # As the last one it is around all others, such as that of a transaction, which are to see the failure.
    config.action(None, partial(_add_tween, config.registry), order=_LAST)


_LAST: Final = 10_000


def _add_tween(registry: Any) -> None:
    registry.getUtility(ITweens).add_implicit(f"{__name__}.tween_factory", tween_factory, under=INGRESS)


def tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """A tween around all others: it answers browsers that prove the key of their device, before any view.

    It is also around the exception views: where none of them answers, the server does. Its page could not clear the cookie of
    a session that was ended before the failure. A page of Pyramid's does, then.
    """

    def tween(request: Any) -> Any:
        device = _device_response(registry, request)
        if device is not None:
            return device
        try:
            return handler(request)
        except Exception as error:
            page = next((save.page(error) for save in request.response_callbacks if isinstance(save, _Save)), None)
            if page is None:
                raise
            return page

    return tween


def _device_response(registry: Any, request: Any) -> Any:
    """The response of an endpoint of a binding; None for every other request."""
    sessions = getattr(registry.queryUtility(ISessionFactory), "sessions", None)
    device = wsgi_device_answer(sessions, request.environ) if isinstance(sessions, SessionManager) else None
    if device is None:
        return None
    response = Response(device.body, device.status)
    response.headerlist = device.headers
    return response


def includeme(config: Any) -> None:
    """Make a manager from the settings that begin with `hardtack.`, and set it up.

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
        setup(config, from_mapping(_with_keys(given)))
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

    __slots__ = ("committed", "deferred", "session", "sessions", "streams")

    def __init__(self, sessions: SessionManager, session: PyramidSession) -> None:
        self.sessions = sessions
        self.session = session
        self.deferred = False
        self.committed = False
        self.streams = False

    def __call__(self, request: Any, response: Any) -> None:
        if self.committed:
            return
        if not self.deferred and any(callback is not self for callback in request.response_callbacks):
            # Callbacks that were added after this one may change the session: they go first.
            self.deferred = True
            request.add_response_callback(self)
            return
        self.committed = True
        try:
            changes = self.sessions.commit(self.session, response.status_code)
        except HardtackError as error:
            discard(self.session)
            lines = cookies_of(error)
            translated = self.session.translate(error)
            if translated is error and not isinstance(error, tuple(ERRORS.values())):
                if not lines:
                    raise
                # What is raised here passes by all views: the server's page could not clear the cookie of what was ended.
                logger.error("the session was ended, and what was put in after that cannot be kept", exc_info=error)
                translated = HTTPInternalServerError("The application failed after it had ended the session.")
            _answer(request, response, translated, lines)
            return
        changes.apply(response.headerlist)
        if changes.set_cookies:
            environ = request.environ
            warn_plain_http(self.sessions, environ.get("wsgi.url_scheme", ""), environ.get("HTTP_HOST", ""))
        if isinstance(response.app_iter, Generator):
            length = response.content_length  # which setting app_iter drops
            finish, abort = partial(self.sessions.finish, self.session), partial(self.sessions.abort, self.session)
            response.app_iter = StreamedBody(response.app_iter, finish, abort)
            response.content_length = length
            self.streams = True

    def page(self, error: Exception) -> Any:
        """No view has answered: what the request has ended is ended. A page that clears the cookie of that, or None."""
        self.committed = True
        page: Any = HTTPInternalServerError("The application failed after it had ended the session.")
        try:
            lines = self.sessions.abort(self.session).set_cookies
        except HardtackError as failure:
            lines = cookies_of(failure)
            page = self.session.translate(failure) if isinstance(failure, StoreUnavailable) else page
        if not lines:
            return None
        logger.error("the application failed after it had ended the session", exc_info=error)
        page.headers["Cache-Control"] = "no-store"
        page.headerlist.extend(("Set-Cookie", line) for line in lines)
        return page

    def end(self, request: Any) -> None:
        """The end of the request: what has failed has had no response to commit to."""
        if not self.committed:
            with suppress(HardtackError):  # another error is on its way to the server
                self.sessions.abort(self.session)
        elif not self.streams:
            self.sessions.finish(self.session)


def _answer(request: Any, response: Any, answer: Any, lines: list[str]) -> None:
    """Turn the response into that to an error: what a callback raises would pass by all exception views."""
    answer.prepare(request.environ)
    close = getattr(response.app_iter, "close", None)
    if close is not None:
        close()
    response.conditional_response = False
    response.app_iter = answer.app_iter
    response.status = answer.status
    response.headerlist = [*answer.headerlist, *(("Set-Cookie", line) for line in lines)]

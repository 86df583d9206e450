"""Starlette: the ASGI middleware, which also takes the arguments of Starlette's own `SessionMiddleware`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, NoReturn

from hardtack._extras import explain
from hardtack.adapters import (
    Answer,
    answer_to,
    end_at_once,
    hand_out,
    http_errors,
    state_of,
    take_as_loaded,
)
from hardtack.cookies import Cookie
from hardtack.engines.cookie import CookieEngine
from hardtack.errors import ConfigError, HardtackError, StoreUnavailable
from hardtack.frameworks import asgi
from hardtack.manager import SessionManager
from hardtack.session import Session as CoreSession
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import Key, Keyring

try:
    from starlette.datastructures import Secret
    from starlette.exceptions import HTTPException
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware
    from starlette.requests import HTTPConnection
    from starlette.websockets import WebSocketDisconnect
except ImportError as error:
    message = explain("hardtack.frameworks.starlette", "starlette", error)
    raise ImportError(message) from error

LONGEST: Final = "400 days"
"""How long a session of the drop-in constructor lives at most, however often it is written: Starlette has no such limit."""


_STARLETTES_PAGE: Final = ServerErrorMiddleware.__call__.__code__
"""What answers the exceptions that nothing else has handled."""


def _init(error: Any, answer: Answer) -> None:
    HTTPException.__init__(error, answer.status, answer.text.strip(), {"Cache-Control": "no-store", **answer.own})


ERRORS: Final = http_errors(dict.fromkeys((503, 409, 403, 307), HTTPException), _init)
"""hardtack's errors as Starlette's: the application's exception handlers for 503, 409, 403 or `HTTPException` answer them."""

Unavailable = ERRORS[StoreUnavailable]


class Session(CoreSession):
    """`hardtack.Session`; unattached, it counts from what it was made of, as Starlette's own does."""

    __slots__ = ()

    errors = ERRORS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(dict(*args, **kwargs))
        take_as_loaded(self)

    def mark_accessed(self) -> None:
        """The handler asked for `request.session`, and gets it loaded, as far as the store can be read."""
        hand_out(self)

    @property
    def accessed(self) -> bool:
        """Whether the handler looked at the session, or changed it."""
        state = state_of(self)
        return state.accessed or (state.core is None and self.modified)


class SessionMiddleware(asgi.SessionMiddleware):
    """Puts the session into `request.session`: `app.add_middleware(SessionMiddleware, sessions=SessionManager(…))`.

    With the arguments of Starlette's own middleware it takes that one's place: an encrypted cookie instead of a signed one,
    of the same attributes, under a key made from `secret_key`, and under a name of its own: libraries bring Starlette's own
    middleware along, whose `session` would overwrite it. As there, `max_age` runs from the last write, and is
    renewed by reading too; None means until the browser ends. No session outlives 400 days.

    What a session or its commit raises is an `HTTPException` as well, which the application's exception handlers answer.
    Starlette's own page for an exception that nothing handled saves nothing; any other response is saved, whatever its status.

    Args:
        commit_on_500: False where another framework is mounted whose page for such an exception cannot be told apart.
        passive: says of a scope whether the request is no activity of the user, such as a page that polls.

    Raises `ConfigError`.
    """

    kind: ClassVar[type[CoreSession]] = Session
    disconnected = (WebSocketDisconnect,)

    def __init__(
        self,
        app: asgi.ASGIApp,
        secret_key: str | Secret | None = None,
        session_cookie: str = "hardtack_session",
        max_age: int | None = 14 * 24 * 60 * 60,
        path: str = "/",
        same_site: Literal["lax", "strict", "none"] = "lax",
        https_only: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
        *,
        sessions: SessionManager | None = None,
        commit_on_500: bool = True,
        passive: Callable[[asgi.Scope], bool] | None = None,
    ) -> None:
        if (sessions is None) == (secret_key is None):
            raise ConfigError("SessionMiddleware takes sessions=SessionManager(…), or secret_key=… as Starlette's own")
        if sessions is None:
            # Not str() of whatever comes: SessionMiddleware(app, manager) would make its key of a repr that can be guessed.
            if not isinstance(secret_key, str | Secret):
                message = f"secret_key is a {type(secret_key).__name__}, and must be a str or Secret; sessions= takes a manager"
                raise ConfigError(message)
            cookie = _Cookie(
                name=session_cookie,
                path=path,
                domain=domain,
                secure=https_only,
                samesite=same_site.capitalize(),  # type: ignore[arg-type]
                partitioned=partitioned,
            )
            sessions = _drop_in(str(secret_key), cookie, max_age)
        super().__init__(app, sessions, commit_on_500=commit_on_500, passive=passive)

    def is_page_of_failure(self, status: int) -> bool:
        """Whether Starlette itself answers an exception that nothing handled, as it does where the middleware is around it."""
        error = sys.exception()  # it answers inside its except clause; the application may do so inside its own
        caught = None if error is None else error.__traceback__  # it begins where the exception was caught
        of_starlette = caught is not None and caught.tb_frame.f_code is _STARLETTES_PAGE
        return of_starlette or super().is_page_of_failure(status)

    async def answer(self, response: asgi.Response, error: BaseException) -> bool:
        """Answer by the application's exception handlers: what a commit raises comes too late for Starlette to ask them."""
        scope = response.scope
        if scope["type"] != "http" or not isinstance(error, HardtackError) or answer_to(error) is None:
            return await super().answer(response, error)
        translated = self.kind.translate(error)

        async def fail(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> NoReturn:
            raise translated

        response.tried = True  # its page saves nothing, and carries the cookies of the error
        response.lines = list(dict.fromkeys([*error.set_cookies, *response.lines]))
        by_class, by_status = scope.get("starlette.exception_handlers", ({}, {}))
        try:
            await ExceptionMiddleware(fail, {**by_class, **by_status})(scope, response.receive, response.send)
        except StoreUnavailable:  # the page itself has written to the session, such as by asking for a form's token
            if response.started:
                raise
            return await super().answer(response, error)
        return True


class _Cookie(Cookie):
    """The attributes in Starlette's own spelling and order."""

    @cached_property
    def attributes(self) -> str:
        """The attributes as they stand in Set-Cookie, but Max-Age."""
        text = f"; path={self.path}; httponly; samesite={str(self.samesite).lower()}"
        if self.secure:
            text += "; secure"
        if self.domain is not None:
            text += f"; domain={self.domain}"
        if self.partitioned:
            text += "; partitioned"
        return text


def _drop_in(secret: str, cookie: Cookie, max_age: int | None) -> SessionManager:
    ring = Keyring(current=Key.from_framework_secret(secret, framework="starlette"))
    sessions = SessionManager(
        CookieEngine(EncryptedToken(ring)),
        cookie=cookie,
        lifetime=LONGEST,
        idle_timeout=max_age if max_age is None else max(max_age, 1),
        persistent=max_age is not None,
    )
    if max_age is not None and max_age < 1:
        end_at_once(sessions)  # Starlette takes it
    return sessions


async def load(connection: HTTPConnection) -> CoreSession:
    """The session of a request or a websocket, loaded."""
    session: CoreSession = connection.session  # type: ignore[assignment]
    await session.load()
    return session


def sessions_of(connection: HTTPConnection) -> SessionManager:
    """The manager, for what it does beside requests: `list`, `end`, `end_all`, `update`, and their async twins.

    Raises `ConfigError` where the middleware is missing.
    """
    sessions = connection.scope.get("state", {}).get(asgi.SESSIONS)
    if not isinstance(sessions, SessionManager):
        raise ConfigError(
            "no sessions on this connection: app.add_middleware(SessionMiddleware, sessions=SessionManager(…))"
        )
    return sessions

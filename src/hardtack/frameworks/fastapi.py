"""FastAPI: Starlette's middleware, and dependencies that hand the session to an endpoint, plain or typed."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from hardtack._extras import explain

try:
    from fastapi import Depends
    from fastapi.requests import HTTPConnection
except ImportError as error:
    message = explain("hardtack.frameworks.fastapi", "fastapi", error)
    raise ImportError(message) from error

from hardtack.frameworks.starlette import SessionMiddleware, load, sessions_of
from hardtack.manager import SessionManager
from hardtack.session import Session

__all__ = ["CurrentSession", "SessionMiddleware", "SessionView", "Sessions", "load", "sessions_of"]

T = TypeVar("T")


async def _session(connection: HTTPConnection) -> Session:
    session: Any = (
        connection.session
    )  # loaded by that, as far as the store can be read: its first use tells where it cannot
    return session  # type: ignore[no-any-return]


async def _sessions(connection: HTTPConnection) -> SessionManager:
    return sessions_of(connection)


CurrentSession = Annotated[Session, Depends(_session)]
"""The session of a request or a websocket: `async def endpoint(session: CurrentSession)`."""

Sessions = Annotated[SessionManager, Depends(_sessions)]
"""The manager: `async def endpoint(sessions: Sessions)`."""


def SessionView(kind: type[T]) -> Any:  # noqa: N802 — written like FastAPI's own Depends, Body and Query
    """A dependency on the session as `kind`: `async def endpoint(cart: Annotated[Cart, SessionView(Cart)])`.

    `kind` is a pydantic model, a dataclass or a `msgspec.Struct`. What the endpoint changes in the object is saved with the
    response; nothing is to be returned or assigned. Raises, in the request, what `Session.view` raises.
    """

    async def view(connection: HTTPConnection) -> T:
        return (await load(connection)).view(kind)

    return Depends(view)

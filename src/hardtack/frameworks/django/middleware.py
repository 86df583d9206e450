"""Django's SessionMiddleware with what an engine alone cannot do: one step for a login, chunks, Cache-Control, 503, async."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings  # type: ignore[import-untyped]
from django.contrib import auth  # type: ignore[import-untyped]
from django.contrib.auth.signals import user_logged_in, user_logged_out  # type: ignore[import-untyped]
from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]

from hardtack.adapters import (
    ENDPOINTS,
    FAILED,
    NO_CHANGES,
    Changes,
    DeviceAnswer,
    EnvironRequest,
    adevice_answer,
    cookies_of,
    device_answer,
    discard,
    mark_login,
    put,
    warn_plain_http,
)
from hardtack.errors import ConfigError, CrossSiteRequest, HardtackError
from hardtack.events import logger
from hardtack.frameworks.django.base import SessionStore
from hardtack.frameworks.django.configuration import is_passive
from hardtack.frameworks.django.response import answer, conclude, device_response, may_clear, set_cookies


class SessionMiddleware(DjangoMiddleware):  # type: ignore[misc]  # Django is not typed
    """In the place of `django.contrib.sessions.middleware.SessionMiddleware`, with one of hardtack's engines.

    As Django's, it saves a session that was modified, unless the response is a 5xx, and answers 400
    (`SessionInterrupted`) where the session was ended meanwhile. What a view ended is ended, whatever else happens.

    Raises `ConfigError` where SESSION_ENGINE is not hardtack's.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if not issubclass(self.SessionStore, SessionStore):
            message = (
                f"SESSION_ENGINE={settings.SESSION_ENGINE!r} is not an engine of hardtack: use "
                "'hardtack.frameworks.django.encrypted_cookie', '….signed_cookie' or '….store'"
            )
            raise ConfigError(message)

    def __call__(self, request: Any) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        device = _device_answer(request, self.SessionStore)
        if device is not None:
            return device_response(device)
        try:
            return super().__call__(request)
        except BaseException:  # GreenletExit too: no response will come
            session = _session_of(request)
            if session is not None:
                with suppress(HardtackError):
                    session.manager.abort(session.inner)
            raise

    async def __acall__(self, request: Any) -> Any:
        device = await _adevice_answer(request, self.SessionStore)
        if device is not None:
            return device_response(device)
        self.process_request(request)
        try:
            await request.session.preload()
            response = await self.get_response(request)
            return await self.aprocess_response(request, response)
        except BaseException:  # the client has left, and the task is cancelled
            session = _session_of(request)
            if session is not None:
                with suppress(HardtackError):
                    await session.manager.aabort(session.inner)
            raise

    def process_request(self, request: Any) -> None:
        """Give the request its session, which loads itself when it is touched."""
        request.session = self.SessionStore.for_request(_cookie_header(request), _Told(request))

    def process_exception(self, request: Any, exception: Exception) -> Any:
        """A view that found the store down is a 503, one whose save was dropped a 409."""
        if isinstance(exception, CrossSiteRequest):
            return None  # Django's own 403, by the site's handler403
        return answer(exception)

    def process_response(self, request: Any, response: Any) -> Any:
        """Save a session that was modified, and put the cookie into the response."""
        session = _session_of(request)
        if session is None:
            return super().process_response(request, response)
        changes, clears = NO_CHANGES, False
        try:
            if _asks(session):
                session.touch()
                if not session.is_of_request:
                    session.join(_cookie_header(request), _Told(request))
                clears = may_clear(session)
                rests = session.rest(response.status_code)
                changes = session.respond(response.status_code, saves=_saves(session)) if rests is None else rests
        except HardtackError as error:
            page = _failed(error)
            discard(session.inner)
            return self._conclude(request, session, page, Changes(no_store=True), clears=False)
        response = self._conclude(request, session, response, changes, clears=clears)
        if session.is_touched:
            if _streams(response):
                response.streaming_content = _Body(response.streaming_content, session)
            else:
                session.manager.finish(session.inner)
        return response

    async def aprocess_response(self, request: Any, response: Any) -> Any:
        """`process_response` under ASGI."""
        session = _session_of(request)
        if session is None:
            return await sync_to_async(super().process_response, thread_sensitive=True)(request, response)
        changes, clears = NO_CHANGES, False
        try:
            if _asks(session):
                await session.atouch()
                if not session.is_of_request:
                    session.join(_cookie_header(request), _Told(request))
                clears = may_clear(session)
                rests = session.rest(response.status_code)
                changes = (
                    await session.arespond(response.status_code, saves=_saves(session)) if rests is None else rests
                )
        except HardtackError as error:
            page = _failed(error)
            discard(session.inner)
            return self._conclude(request, session, page, Changes(no_store=True), clears=False)
        response = self._conclude(request, session, response, changes, clears=clears)
        if session.is_touched:
            if _streams(response):
                finished = _streamed if response.is_async else _Body
                response.streaming_content = finished(response.streaming_content, session)
            else:
                await session.manager.afinish(session.inner)
        return response

    def _conclude(self, request: Any, session: SessionStore, response: Any, changes: Changes, *, clears: bool) -> Any:
        if session.lines and session.manager.cookie.secure:
            warn_plain_http(session.manager, request.scheme, request.META.get("HTTP_HOST", ""))
        clears = clears and session.is_empty() and may_clear(session)
        return conclude(session, response, changes, clears=clears)


def _asked(request: Any) -> tuple[str, str, str, Any]:
    def header(name: str) -> str | None:
        if name == "cookie":
            return _cookie_header(request)
        value = request.headers.get(name)
        return value or None if name == "content-length" else value

    return request.method or "", request.path_info, request.META.get("SCRIPT_NAME", "").rstrip("/"), header


def _device_answer(request: Any, kind: type[SessionStore]) -> DeviceAnswer | None:
    if not request.path_info.startswith(ENDPOINTS):
        return None
    return device_answer(kind().manager, *_asked(request), _Told(request))


async def _adevice_answer(request: Any, kind: type[SessionStore]) -> DeviceAnswer | None:
    if not request.path_info.startswith(ENDPOINTS):
        return None
    return await adevice_answer(kind().manager, *_asked(request), _Told(request))


def _session_of(request: Any) -> SessionStore | None:
    """The session of the request: that of the middleware, or one that a view has put in its place, as django-allauth does.

    None where the view has removed it, or its session is of another engine.
    """
    session = getattr(request, "session", None)
    return session if isinstance(session, SessionStore) else None


def _asks(session: SessionStore) -> bool:
    """Whether anything is to be saved of the session, or said of it."""
    if session.is_touched:
        return True
    if session.is_empty():
        return not session.is_of_request  # a view has put it there: what the request carries is the session no more
    return session.modified or settings.SESSION_SAVE_EVERY_REQUEST


def _saves(session: SessionStore) -> bool:
    """Whether Django would save it, now that it is loaded: a key that opened nothing has left an empty session."""
    modified = session.modified and not session.is_withheld
    return (modified or settings.SESSION_SAVE_EVERY_REQUEST) and not session.is_empty()


def _failed(error: HardtackError) -> Any:
    """The response to a save that failed. Raises the error where it has none, and ends no session either."""
    response = answer(error)
    if response is not None:
        return response
    if not cookies_of(error):
        raise error
    # Django's own page for an exception could not clear the cookie of what was ended.
    logger.error("the session was ended, and what was put in after that cannot be kept", exc_info=error)
    response = HttpResponse(FAILED.text.encode(), status=FAILED.status, content_type="text/plain; charset=utf-8")
    set_cookies(response, cookies_of(error))
    return response


def _cookie_header(request: Any) -> str:
    scope = getattr(request, "scope", None)
    if scope is not None:
        parts: list[bytes] = [value for name, value in scope["headers"] if name == b"cookie"]
        if len(parts) > 1:  # HTTP/2 may split the header (RFC 9113 8.2.3), and Django joins the parts with commas
            return b"; ".join(parts).decode("latin-1")
    header: str = request.META.get("HTTP_COOKIE", "")
    # None may also be one that a test has put into COOKIES.
    return header or "; ".join(f"{name}={value}" for name, value in request.COOKIES.items())


class _Told(EnvironRequest):
    """What hardtack is told of a request: scheme and host are those of the browser, as far as Django trusts the proxy."""

    __slots__ = ()

    def __init__(self, request: Any) -> None:
        # Not the request: it has the session, which has this, and they must not keep each other alive. So what Django alone
        # knows of it is asked for now: a thread that goes on after the response tells of the same scheme and path.
        self.method, self.scheme, self.path = request.method or "", request.scheme, request.path
        self.passive = is_passive(request)
        self.environ = request.META
        self.mount = self.environ.get("SCRIPT_NAME", "")

    def look_up(self) -> None:
        """Set what stands in the headers, and beside them."""
        super().look_up()
        if settings.USE_X_FORWARDED_HOST:
            self.host = self.environ.get("HTTP_X_FORWARDED_HOST") or self.host


def _streams(response: Any) -> bool:
    """Whether the body may still read the session; a file does not."""
    return response.streaming and getattr(response, "file_to_stream", None) is None


class _Body:
    """A streamed body; what it did to the session is seen to when the server closes it."""

    def __init__(self, body: Any, session: SessionStore) -> None:
        self.body = body
        self.session = session
        self.failed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.body
        except Exception:
            self.failed = True
            raise

    def close(self) -> None:
        manager, inner = self.session.manager, self.session.inner
        if not self.failed:
            manager.finish(inner)
            return
        with suppress(HardtackError):  # the body has failed, and that is told
            manager.abort(inner)


async def _streamed(body: Any, session: SessionStore) -> AsyncIterator[bytes]:
    """The same for ASGI."""
    failed = False
    try:
        async for part in body:
            yield part
    except Exception:
        failed = True
        raise
    finally:
        if failed:
            with suppress(HardtackError):
                await session.manager.aabort(session.inner)
        else:
            await session.manager.afinish(session.inner)


def _log_in(sender: Any, request: Any, **details: Any) -> None:
    """django.contrib.auth tells of a login after it has put the user into the session."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        if session.is_of_request and not session.is_moving:
            session.cycle_key()  # Django leaves the key of one who was logged in before (ASVS 7.2.4)
        mark_login(session.inner)
        # Assigned by this request, also where it is what was there before: that may be ended by now.
        for name in (auth.SESSION_KEY, auth.BACKEND_SESSION_KEY, auth.HASH_SESSION_KEY):
            if name in session:
                put(session.inner, name, session[name])


def _log_out(sender: Any, request: Any, **details: Any) -> None:
    """django.contrib.auth tells of a logout before it flushes the session."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session.logs_out()


user_logged_in.connect(_log_in)
user_logged_out.connect(_log_out)

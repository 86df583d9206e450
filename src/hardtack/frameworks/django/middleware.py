"""Django's SessionMiddleware with what an engine alone cannot do: chunks, Partitioned, Cache-Control, 503, native async."""

from __future__ import annotations

from functools import lru_cache
from http.cookies import Morsel
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings  # type: ignore[import-untyped]
from django.contrib.sessions.backends.base import UpdateError  # type: ignore[import-untyped]
from django.contrib.sessions.exceptions import SessionInterrupted  # type: ignore[import-untyped]
from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.utils.cache import patch_vary_headers  # type: ignore[import-untyped]

from hardtack.cookies import Changes, parse
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.frameworks.django.base import SessionStore, name_and_value
from hardtack.session import State

RETRY_AFTER = 5  # seconds


class SessionMiddleware(DjangoMiddleware):  # type: ignore[misc]  # Django is not typed
    """In the place of `django.contrib.sessions.middleware.SessionMiddleware`, with one of hardtack's engines.

    As Django's, it saves a session that was modified, unless the response is a 5xx, and answers 400
    (`SessionInterrupted`) where the session was ended meanwhile.

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

    async def __acall__(self, request: Any) -> Any:
        self.process_request(request)
        await request.session.preload()
        response = await self.get_response(request)
        return await self.aprocess_response(request, response)

    def process_request(self, request: Any) -> None:
        """Give the request its session, which loads itself when it is touched."""
        request.session = self.SessionStore.for_header(_cookie_header(request))

    def process_exception(self, request: Any, exception: Exception) -> Any:
        """A view that found the store down is a 503."""
        return _unavailable() if isinstance(exception, StoreUnavailable) else None

    def process_response(self, request: Any, response: Any) -> Any:
        """Save a session that was modified, and put the cookie into the response."""
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):  # none, or the view's own
            return super().process_response(request, response)
        try:
            if _asks_for_save(session):
                session._get_session()
                if _to_save(session, response):
                    session.save()
                    return _conclude(session, response, saved=True)
        except StoreUnavailable:
            return _conclude(session, _unavailable(), saved=False)
        except UpdateError:
            raise SessionInterrupted(_INTERRUPTED) from None
        return _conclude(session, response, saved=False)

    async def aprocess_response(self, request: Any, response: Any) -> Any:
        """`process_response` under ASGI."""
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):
            return await sync_to_async(super().process_response, thread_sensitive=True)(request, response)
        try:
            if _asks_for_save(session):
                await session._aget_session()
                if _to_save(session, response):
                    await session.asave()
                    return _conclude(session, response, saved=True)
        except StoreUnavailable:
            return _conclude(session, _unavailable(), saved=False)
        except UpdateError:
            raise SessionInterrupted(_INTERRUPTED) from None
        return _conclude(session, response, saved=False)


_INTERRUPTED = (  # Django's own words
    "The request's session was deleted before the request completed. The user may have logged out in a concurrent request, "
    "for example."
)


def _cookie_header(request: Any) -> str:
    scope = getattr(request, "scope", None)
    if scope is not None:
        parts: list[bytes] = [value for name, value in scope["headers"] if name == b"cookie"]
        if len(parts) > 1:  # HTTP/2 may split the header (RFC 9113 8.2.3), and Django joins the parts with commas
            return b"; ".join(parts).decode("latin-1")
    header: str = request.META.get("HTTP_COOKIE", "")
    # None may also be one that a test has put into COOKIES.
    return header or "; ".join(f"{name}={value}" for name, value in request.COOKIES.items())


def _asks_for_save(session: SessionStore) -> bool:
    return (session.modified or settings.SESSION_SAVE_EVERY_REQUEST) and not session.is_empty()


def _to_save(session: SessionStore, response: Any) -> bool:
    """Whether it is saved, now that it is loaded: a key that opened nothing has left an empty session."""
    return response.status_code < 500 and not session.is_empty()


def _conclude(session: SessionStore, response: Any, *, saved: bool) -> Any:
    """The cookies, Vary and Cache-Control."""
    state = session._made_state
    degraded = state is not None and state.degraded
    if saved:
        _set_cookies(session, response)
        changed = True
    elif degraded or (state is not None and state.held is not None and state.held.ended):
        # The session may be there all the same; or a faster response has replaced it, and its cookie must survive this one.
        changed = False
    else:
        changed = session.is_empty() and _clear_cookies(session, response)
    if not (changed or session.accessed):
        return response
    headers = response.headers
    cache_control = _NO_STORE if changed or degraded else _PRIVATE
    # The dict inside Django's headers, which costs a tenth of asking them. Nearly every response has neither header yet.
    inside = getattr(headers, "_store", None)
    if inside is not None and "vary" not in inside and "cache-control" not in inside:
        inside["vary"], inside["cache-control"] = _VARY, cache_control
        return response
    patch_vary_headers(response, ("Cookie",))
    present = headers.get("Cache-Control")
    if present is None:
        headers["Cache-Control"] = cache_control[1]
    else:
        changes = Changes(["changed"] if changed else [], True, degraded, session.manager._replaced)
        headers["Cache-Control"] = changes._replace(present) or present
    return response


_VARY = ("Vary", "Cookie")
_PRIVATE = ("Cache-Control", "private")
_NO_STORE = ("Cache-Control", "private, no-store")


def _set_cookies(session: SessionStore, response: Any) -> None:
    name = session.manager.cookie.name
    for line in session.lines:
        each, value = name_and_value(line)
        if value or not (each == name or _is_chunk(each, name)):  # ours, or another system's, which is cleared
            response.cookies[each] = _Line(line)
        else:
            _delete_cookie(session, response, each)


def _clear_cookies(session: SessionStore, response: Any) -> bool:
    """Clear what the request carried of an ended session; whether there was anything."""
    name = session.manager.cookie.name
    carried = [each for each in parse(session.request_header) if each == name or _is_chunk(each, name)]
    for each in carried:
        _delete_cookie(session, response, each)
    foreign = State(session.manager, session.request_header)
    session.manager._clear_foreign(foreign)
    for line in foreign.clearing:
        response.cookies[name_and_value(line)[0]] = _Line(line)
    return bool(carried or foreign.clearing)


def _is_chunk(each: str, name: str) -> bool:
    return each.startswith(f"{name}.") and each[len(name) + 1 :].isdecimal()


def _delete_cookie(session: SessionStore, response: Any, name: str) -> None:
    cookie = session.manager.cookie
    if cookie.partitioned:  # without the attribute the browser would clear another cookie
        response.cookies[name] = _Line(cookie.clear_cookie(name))
    else:
        response.delete_cookie(name, path=cookie.path, domain=cookie.domain, samesite=cookie.samesite)


class _Line(Morsel[str]):
    """A cookie of Django's response that is sent as the line that hardtack wrote."""

    def __init__(self, line: str) -> None:
        super().__init__()
        pair, _, attributes = line.partition("; ")
        name, _, value = pair.partition("=")
        self.set(name, value, value)
        dict.update(self, _attributes(attributes))
        self._line = line

    def OutputString(self, attrs: Any = None) -> str:  # noqa: N802 - the name of the standard library
        """The line."""
        return self._line

    def __reduce__(self) -> Any:
        return _Line, (self._line,)


@lru_cache(maxsize=64)
def _attributes(text: str) -> dict[str, str | bool]:
    """The attributes of a Set-Cookie line, as far as this Python knows them: the same for all lines of one second."""
    known: Morsel[str] = Morsel()
    pairs = (attribute.partition("=") for attribute in text.split("; "))
    return {key.lower(): value or True for key, _, value in pairs if known.isReservedKey(key)}


def _unavailable() -> Any:
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "private, no-store"}
    return HttpResponse(
        b"The session store cannot be reached. Try again soon.\n",
        status=503,
        content_type="text/plain",
        headers=headers,
    )

"""The cookies and cache headers of Django's responses, as hardtack writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from http.cookies import Morsel
from typing import Any

from django.http import HttpResponse  # type: ignore[import-untyped]
from django.utils.cache import patch_vary_headers  # type: ignore[import-untyped]

from hardtack.adapters import (
    Changes,
    DeviceAnswer,
    answer_to,
    cookies_of,
    foreign_lines,
    is_shared_cache_header,
    state_of,
)
from hardtack.cookies import parse
from hardtack.engines import chunks
from hardtack.frameworks.django.base import SessionStore
from hardtack.frameworks.django.kind import name_and_value
from hardtack.protocols import Held


def answer(error: BaseException) -> Any:
    """The response to an error of the session: 503, 409 or 403; None where it has none."""
    told = answer_to(error)
    if told is None:
        return None
    response = HttpResponse(
        told.text.encode(), status=told.status, content_type="text/plain; charset=utf-8", headers=told.own
    )
    set_cookies(response, cookies_of(error))
    return response


def conclude(session: SessionStore, response: Any, changes: Changes, *, clears: bool) -> Any:
    """Put the cookies, Vary and Cache-Control into a response.

    `clears`: where nothing is left of the session, what the request carried of it is cleared, as Django does.
    """
    if session.lines:
        _put(session, response, session.lines)
    for name, value in changes.headers:
        response.headers[name] = value
    cleared = clears and _clear_cookies(session, response)
    if not (cleared or session.lines or session.accessed):
        return response
    lines = ["changed"] if cleared or session.lines else []
    told = Changes(lines, True, changes.no_store, state_of(session.inner).cache_control_replaced)
    headers = response.headers
    present = {
        name.lower() for name in headers
    }  # asking Django for one that is not there takes as long as all of these
    if lines or changes.no_store:
        for name in filter(is_shared_cache_header, present):
            told.removed(name, headers[name])
            del headers[name]
    if "vary" in present:
        patch_vary_headers(response, ("Cookie",))
    else:
        headers["Vary"] = "Cookie"
    after = told.replaced(headers["Cache-Control"] if "cache-control" in present else None)
    if after is not None:
        headers["Cache-Control"] = after
    return response


def device_response(device: DeviceAnswer) -> Any:
    """The response of an endpoint of a binding."""
    response = HttpResponse(device.body, status=device.status)
    del response.headers["Content-Type"]
    set_cookies(response, [value for name, value in device.headers if name == "Set-Cookie"])
    for name, value in device.headers:
        if name not in ("Set-Cookie", "Content-Length"):
            response.headers[name] = value
    return response


def set_cookies(response: Any, lines: Sequence[str], taken: Iterable[str] = ()) -> None:
    """Put Set-Cookie lines into a response, each in the place of an earlier one of its name, and beside those `taken`."""
    names = set(taken)
    for line in lines:
        name, _ = name_and_value(line)
        # Several of one name are for several places, and Django's mapping knows one for each of its keys.
        response.cookies[name if name not in names else line] = Line(line)
        names.add(name)


def may_clear(session: SessionStore) -> bool:
    """Whether an empty session says that there is none.

    Not so where it is a stand-in for one that may be there; nor where a faster response has replaced it, whose cookie must
    survive this one; nor where several good sessions came with one request: our own place keeps its cookie then.
    """
    state = state_of(session.inner)
    held: Held | None = state.held
    return state.refusal is None and (held is None or (held.dead is None and not held.disputed))


def _clear_cookies(session: SessionStore, response: Any) -> bool:
    """Clear what the request carried of a session that is not there; whether there was anything."""
    cookie, header = session.manager.cookie, session.request_header
    name = cookie.name
    names = {name, *chunks.names(name)}  # no others are ours, and there may be any number that look like chunks
    carried = [each for each in parse(header) if each in names]
    lines = [*(cookie.clear_cookie(each) for each in carried), *foreign_lines(session.manager, header)]
    _put(session, response, lines)
    return bool(lines)


def _put(session: SessionStore, response: Any, lines: Sequence[str]) -> None:
    """Set cookies, and delete our own in Django's way, which is what a site may compare."""
    cookie, cleared, others = session.manager.cookie, [], []
    for line in lines:
        name, value = name_and_value(line)
        if value or cookie.partitioned or line != cookie.clear_cookie(name):
            others.append(line)
            continue
        response.cookies.pop(name, None)
        response.delete_cookie(name, path=cookie.path, domain=cookie.domain, samesite=cookie.samesite)
        cleared.append(name)
    set_cookies(response, others, cleared)


class Line(Morsel[str]):
    """A cookie of Django's response that is sent as the line that hardtack wrote, unless somebody changes it afterwards."""

    _line: str | None = None

    def __init__(self, line: str) -> None:
        # Morsel.__init__ would set each attribute to "" by itself, which takes as long as all of this.
        pair, _, attributes = line.partition("; ")
        name, _, value = pair.partition("=")
        dict.update(self, _attributes(attributes))
        self.set(name, value, value)
        self._line = line

    def OutputString(self, attrs: Any = None) -> str:  # noqa: N802 - the name of the standard library
        """The line."""
        return super().OutputString(attrs) if self._line is None else self._line

    def set(self, key: str, val: str, coded_val: str) -> None:
        """Another value, as `response.delete_cookie()` sets it."""
        super().set(key, val, coded_val)
        self._line = None

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._line = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return super().__reduce_ex__(protocol) if self._line is None else (Line, (self._line,))


@lru_cache(maxsize=64)
def _attributes(text: str) -> dict[str, str | int]:
    """All attributes of a cookie, as a Set-Cookie line has them and this Python knows them: the same for a second's lines."""
    known: Morsel[str] = Morsel()
    pairs = (attribute.partition("=") for attribute in text.split("; "))
    given = {key.lower(): value or True for key, _, value in pairs if known.isReservedKey(key)}
    attributes: dict[str, str | int] = {**known, **given}
    if "max-age" in given:
        attributes["max-age"] = int(attributes["max-age"])  # a number, as `response.set_cookie()` leaves it
    return attributes

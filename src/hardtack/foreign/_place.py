"""Where the cookies of other languages' stacks are, what they are sealed with, and whether they say how old they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from hardtack.errors import InvalidToken
from hardtack.foreign.base import UNDATED, ForeignCookie, Until
from hardtack.protocols import Context
from hardtack.record import Record

Secret = str | bytes
"""A secret as the other system is configured with it; text is taken as UTF-8."""


class Place(TypedDict, total=False):
    """Where the other system's cookie is, and how long it is read: the settings of every `ForeignCookie`."""

    cookie_name: str | None
    path: str
    domain: str | None
    until: Until | None
    keep_until: Until | None
    subject: Callable[[dict[str, Any]], str | None] | None
    sliding: bool


class SometimesDated(ForeignCookie):
    """A format of which some cookies say when they were made or end, and some do not.

    A subclass sets `authenticates_time` by its settings. Where it is False, whoever takes sessions over asks for `until`
    at once. Where it is True, a cookie without a time is refused (`InvalidToken("undated")`) unless `until` was given:
    who holds it could otherwise use it for ever.
    """

    def _record(
        self,
        data: object,
        context: Context,
        handle: str | bytes,
        *,
        created: int | None = None,
        expires: int | None = None,
    ) -> Record:
        if self.authenticates_time and created is None and expires is None and self.until is None:
            raise InvalidToken("undated", UNDATED)
        return super()._record(data, context, handle, created=created, expires=expires)

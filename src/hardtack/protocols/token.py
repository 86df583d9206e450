"""What a token format must do, and every trait that the core asks of one, each with its default.

`hardtack.testing.EngineContract` tests an implementation, in a `CookieEngine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from hardtack.record import Record
    from hardtack.tokens.keys import Key

CookieMap = Mapping[str, Sequence[str]]
"""Every cookie of a request: names to values in the order of the header, not decoded in any way."""


class Context(NamedTuple):
    """What a token is read or written for."""

    cookie_name: str
    purpose: str
    now: int
    """Whole Unix seconds."""


class TokenFormat(Protocol):
    """Turns a record into cookies and back. A format sees every cookie of the request and may write several.

    These two methods are all that it must have; `TokenTraits` lists the attributes that it may have beside.
    """

    def open(self, cookies: CookieMap, context: Context) -> Record:
        """The record that the cookies hold; raises `InvalidToken` where they cannot be used."""
        ...

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        """The cookies that hold the record: names to values. Raises `UnsupportedValue`."""
        ...


class TokenTraits(NamedTuple):
    """The optional attributes of a token format: asked once, here, when an engine or a manager is made.

    Attributes:
        name: what events and messages call it: the format's `format_name`, else `name`, else the name of its class.
        native: it carries a whole record: id, times, subject and options (hardtack's own formats). Default: no.
        writes: it has a `seal` that works. Default: yes.
        authenticates_time: its cookies say, under a MAC, when they were made or when they end. Default: no.
        until: after it the format is not read any more, in Unix seconds. Default: None, for ever.
        keep_until: until then a cookie that is taken over stays where it is, and leads, in Unix seconds. Default: None, it is
            cleared.
        cookie_name, path, domain: where the other system keeps its cookie. Default: the manager's own name, "/", None.
        subject: says whose the data is where a session is taken over. Default: None, nobody's.
        cookie_names: those of a request's cookies that belong to it. Default: the one of its name.
        sliding: seconds from each use to the end that its cookies carry, where each use moves it: the idle timeout of a manager
            that was given none. Default: None, the end stays.
        distinct: no two sessions have the same cookie, since there is something random in each. Default: no, and what is
            nobody's is a session of its own each time it is taken over.
        spelled: what good cookies hold, in one spelling, with what only who has them knows. Default: as they are.
        is_undated: whether the cookie of a record says nothing of its age, and no `until` ends it. Default: as the format.
        is_current: whether a good token was sealed under the key that issues now. Default: always.
        sealed_by: the key that a good token was sealed under: the id in a store is made of it where the session moves there.
            Default: None, of the token itself.
    """

    name: str
    native: bool
    writes: bool
    authenticates_time: bool
    until: int | None
    keep_until: int | None
    cookie_name: str | None
    path: str
    domain: str | None
    subject: Callable[[dict[str, Any]], str | None] | None
    cookie_names: Callable[[CookieMap], Iterable[str]] | None
    sliding: int | None
    distinct: bool
    spelled: Callable[[CookieMap], Iterable[str]] | None
    is_undated: Callable[[Record], bool] | None
    is_current: Callable[[CookieMap, Context], bool] | None
    sealed_by: Callable[[CookieMap, Context], Key] | None

    def names_in(self, cookies: CookieMap, name: str) -> list[str]:
        """Those of a request's cookies that belong to the format, which is read under `name`."""
        if self.cookie_names is not None:
            return list(self.cookie_names(cookies))
        return [name] if name in cookies else []


def token_traits(token: Any) -> TokenTraits:
    """The traits of a token format."""
    return TokenTraits(
        name=getattr(token, "format_name", getattr(token, "name", type(token).__name__)),
        native=getattr(token, "native", False),
        writes=getattr(token, "writes", True),
        authenticates_time=getattr(token, "authenticates_time", False),
        until=getattr(token, "until", None),
        keep_until=getattr(token, "keep_until", None),
        cookie_name=getattr(token, "cookie_name", None),
        path=getattr(token, "path", "/"),
        domain=getattr(token, "domain", None),
        subject=getattr(token, "subject", None),
        cookie_names=getattr(token, "cookie_names", None),
        sliding=getattr(token, "sliding", None),
        distinct=getattr(token, "distinct", False),
        spelled=getattr(token, "spelled", None),
        is_undated=getattr(token, "is_undated", None),
        is_current=getattr(token, "is_current", None),
        sealed_by=getattr(token, "sealed_by", None),
    )

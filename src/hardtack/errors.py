"""Every error that hardtack raises: one small tree under `HardtackError`.

No message holds a secret, a token or session data: they are safe to log and to show.
"""

from __future__ import annotations

from collections.abc import Sequence


class HardtackError(Exception):
    """The base of all errors that hardtack raises."""


class ConfigError(HardtackError, ValueError):
    """A setting is wrong; the message names the setting and says what to do."""


class SessionTooLarge(HardtackError):
    """The session does not fit into its cookie.

    Attributes:
        size: bytes of the whole `Set-Cookie` line that would have been sent.
        limit: bytes that were allowed.
        biggest: the biggest keys of the session, with the bytes that each takes, biggest first.
    """

    def __init__(self, size: int, limit: int, biggest: Sequence[tuple[str, int]] = (), advice: str = "") -> None:
        self.size = size
        self.limit = limit
        self.biggest = list(biggest)
        self._advice = advice
        keys = ", ".join(f"{key!r} ({length} bytes)" for key, length in self.biggest)
        message = f"the session takes {size} bytes of Set-Cookie, and {limit} are allowed"
        if keys:
            message += f"; its biggest keys are {keys}"
        message += advice or (
            "; keep less in the session, use CookieEngine(…, overflow='chunk'), or keep it in a store with StoreEngine"
        )
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.size, self.limit, self.biggest, self._advice)


class UnsupportedValue(HardtackError, TypeError):
    """A session holds something that would not come out as it went in.

    Attributes:
        path: where it is, such as `cart[2].price`.
        type_name: the type of the value, such as `decimal.Context`.
    """

    def __init__(self, path: str, type_name: str, problem: str) -> None:
        self.path = path
        self.type_name = type_name
        self.problem = problem
        super().__init__(f"session value {path} ({type_name}) cannot be kept: {problem}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.type_name, self.problem)


class StoreError(HardtackError):
    """A store did not do what it was asked to."""


class StoreUnavailable(StoreError):
    """A store could not be reached, did not answer in time, or answered nonsense. Frameworks answer 503.

    Attributes:
        set_cookies: Set-Cookie lines that the 503 should carry: a logout clears the cookie even if the store is down.
    """

    set_cookies: Sequence[str] = ()


class StoreFull(StoreUnavailable):
    """The store takes no more, and still deletes: ends are carried out by deleting."""


class SessionConflict(HardtackError):
    """Another request changed or ended the session, and the changes of this one cannot be saved."""


class SessionNotLoaded(HardtackError):
    """A session was used before it was loaded; `await session.load()` first."""


class InvalidToken(HardtackError):
    """A cookie cannot be used. Only token formats raise it; `SessionManager.open` never does.

    Attributes:
        reason: one word for programs and events: `malformed`, `unknown_key`, `tampered`, `wrong_purpose`,
            `too_large`, `incomplete`, `expired`, `future`, …
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.detail)

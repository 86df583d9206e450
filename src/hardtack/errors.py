"""Every error that hardtack raises: one small tree under `HardtackError`.

No message holds a secret, a token or session data: they are safe to log and to show.
"""

from __future__ import annotations

from collections.abc import Sequence


class HardtackError(Exception):
    """The base of all errors that hardtack raises.

    Attributes:
        set_cookies: Set-Cookie lines that the answer to the error should carry: a logout clears the cookie, whatever
            else of the commit failed.
    """

    set_cookies: Sequence[str] = ()


class ConfigError(HardtackError, ValueError):
    """A setting is wrong; the message names the setting and says what to do."""


class SessionTooLarge(HardtackError):
    """The session does not fit into its cookie, or is larger than a store may be asked to keep.

    Attributes:
        size: bytes of the whole `Set-Cookie` line that would have been sent, or of the record that would have been stored.
        limit: bytes that were allowed.
        biggest: the biggest keys of the session, with the bytes that each takes, biggest first.
    """

    def __init__(
        self,
        size: int,
        limit: int,
        biggest: Sequence[tuple[str, int]] = (),
        advice: str = "",
        what: str = "of Set-Cookie",
    ) -> None:
        self.size = size
        self.limit = limit
        self.biggest = list(biggest)
        self._advice = advice
        self._what = what
        keys = ", ".join(f"{key!r} ({length} bytes)" for key, length in self.biggest)
        message = f"the session takes {size} bytes {what}, and {limit} are allowed"
        if keys:
            message += f"; its biggest keys are {keys}"
        message += advice or (
            "; keep less in the session, use CookieEngine(…, overflow='chunk'), or keep it in a store with StoreEngine"
        )
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.size, self.limit, self.biggest, self._advice, self._what)


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
    """A store could not be reached, did not answer in time, or answered nonsense. Frameworks answer 503."""


class StoreFull(StoreUnavailable):
    """A store takes no more: its memory or its disk is full. A session can still be ended there, by deleting it."""


class SessionConflict(HardtackError):
    """Another request changed or ended the session, and the changes of this one were not saved. Frameworks answer 409.

    Attributes:
        paths: the keys that this request had read, or written, and another has changed; empty where the session was ended.
    """

    def __init__(self, message: str, paths: Sequence[str] = ()) -> None:
        self.paths = tuple(paths)
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.paths)


class SessionFinished(HardtackError):
    """A session was changed after its request was over, from a task or a thread: use `sessions.update(session.id, …)`."""


class TooManySessions(HardtackError):
    """A user has as many sessions as `login(at_most=…, beyond="refuse")` allows; the login was undone."""


class CrossSiteRequest(HardtackError):
    """Another site made the browser send this request, and it may not change the session. Frameworks answer 403."""


class ProofOutstanding(HardtackError):
    """The browser could not prove the key of its session just now, and will come again. Frameworks answer 503."""


class ProofNeeded(HardtackError):
    """The handler asked for a proof of the device's key: the browser sends the request again with one. Frameworks answer 307.

    Attributes:
        location: where it sends it.
    """

    def __init__(self, message: str, location: str) -> None:
        self.location = location
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.location)


class SessionNotLoaded(HardtackError):
    """A session was used before it was loaded; `await session.load()` first."""


class InvalidToken(HardtackError):
    """A cookie cannot be used. Only token formats raise it; `SessionManager.open` never does.

    Attributes:
        reason: one word for programs and events: `malformed`, `unknown_key`, `tampered`, `wrong_purpose`,
            `too_large`, `incomplete`, `expired`, `future`, …
        detail: more for the message.
        event_detail: what the event and the log say beside the reason, such as the id of an unknown key; short, and what a
            client can choose of it escaped.
    """

    def __init__(self, reason: str, detail: str = "", event_detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        self.event_detail = event_detail
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.detail, self.event_detail)

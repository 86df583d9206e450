"""Tell: events to who listens, and to the log, where the same cause stands once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from hardtack import values
from hardtack.events import Event, logger

if TYPE_CHECKING:
    from hardtack.request import Request

QUIET: Final = 60.0
"""Seconds in which one cause is logged once: a broken cookie comes with each request of a page."""

_MAX_CAUSES: Final = 1000


class Teller:
    """Builds an event only where somebody listens, logs it as a sentence, and calls `on_event`.

    What `on_event` raises is logged and goes no further. `mask_addresses`: clients are told by their network only.
    """

    __slots__ = ("_beside", "_given", "_logged", "_mask", "on_event")

    def __init__(self, on_event: Callable[[Event], object] | None, *, mask_addresses: bool = False) -> None:
        self._given = self.on_event = on_event
        self._beside: Callable[[Event], object] | None = None
        self._mask = mask_addresses
        self._logged: dict[tuple[object, ...], tuple[float, int]] = {}

    @property
    def given(self) -> Callable[[Event], object] | None:
        """The application's `on_event`."""
        return self._given

    @given.setter
    def given(self, on_event: Callable[[Event], object] | None) -> None:
        self._given = on_event
        self._join()

    def listen_beside(self, listener: Callable[[Event], object] | None) -> None:
        """Have another told before the application's `on_event`, whatever becomes of that; None: nobody."""
        self._beside = listener
        self._join()

    def _join(self) -> None:
        given, beside = self._given, self._beside

        def both(event: Event) -> None:
            assert beside is not None
            assert given is not None
            beside(event)
            given(event)

        # One attribute for both: it is looked at for each event that nobody hears.
        self.on_event = both if given is not None and beside is not None else given or beside

    def hears(self, event: type[Event]) -> bool:
        """Whether anybody listens to events of a kind: asked first, it spares the call that would tell nobody."""
        return self.on_event is not None or logger.isEnabledFor(event.loudest or event.level)

    def emit(
        self,
        event: type[Event],
        *details: Any,
        request: Request | None = None,
        acting: tuple[str, str] | None = None,
        until: int | None = None,
    ) -> None:
        """Tell who listens. Ids may be given as bytes."""
        if self.on_event is None and not logger.isEnabledFor(event.loudest or event.level):
            return
        value = event(*(values.encode_bytes(detail) if type(detail) is bytes else detail for detail in details))
        if request is not None:
            value.with_request(request.told(mask=self._mask))
        if acting is not None:
            value.with_acting(acting)
        if until is not None:
            value.with_until(until)
        self.tell(value)

    def tell(self, value: Event) -> None:
        """Tell an event that was made already."""
        if logger.isEnabledFor(value.severity):
            self._log(value)
        if self.on_event is not None:
            try:
                self.on_event(value)
            except Exception:
                logger.exception("on_event raised for %s", type(value).__name__)

    def _log(self, event: Event) -> None:
        level = event.severity
        if level < 30:  # what is no warning is logged each time, by who asked for it
            logger.log(level, "%s", event)
            return
        more = self._is_due(event.log_key)
        if more is not None:
            logger.log(level, "%s%s", event, f" (and {more} more times since the last line)" if more else "")

    def _is_due(self, cause: tuple[object, ...]) -> int | None:
        """How often a cause came since it was logged last; None where that was less than a minute ago."""
        now = time.monotonic()
        last, more = self._logged.get(cause, (-QUIET, 0))
        if now - last < QUIET:
            self._logged[cause] = (last, more + 1)
            return None
        if len(self._logged) >= _MAX_CAUSES:
            self._logged.clear()
        self._logged[cause] = (now, 0)
        return more

    def log_failure(self, operation: str, error: Exception) -> None:
        """Log why a store failed: its message says why, and holds no password, key or session data."""
        if self._is_due((operation, type(error).__name__, str(error))) is not None:
            logger.error("the session store failed to %s: %s", operation, error)

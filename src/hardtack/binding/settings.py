"""DeviceBinding: what a manager is told about sessions that are bound to a device."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from hardtack.errors import ConfigError
from hardtack.lifetime import Duration
from hardtack.session import Session
from hardtack.settings import fail, instance, positive, switch
from hardtack.tokens.keys import Key, Keyring, as_keyring

Required = Callable[[Session], bool]

MAX_EVERY: Final = 3600
"""Seconds that a bound cookie may live: a copy of it lives as long."""


class DeviceBinding:
    """Binds sessions to the device that they began on, where the browser can (Device Bound Session Credentials).

    Args:
        every: how long a proof of the key is good, at most an hour: a copied cookie is refused that long after the copy, and
            a minute later at the latest. Browsers sign six times in nine minutes: below 5 minutes they run out of that.
        keys: the ring under which challenges and bound cookies are issued; None: the engine's own.
        required: says of a session, which it can only read, whether it must be bound: such a one is nobody's from a minute
            after its login on, unless the browser has proved a key.
        observe: nothing is refused; events and `session.binding` tell what would be.

    Raises `ConfigError`.
    """

    __slots__ = ("every", "grace", "keys", "observe", "required")

    def __init__(
        self,
        every: Duration = "5 minutes",
        keys: Keyring | Key | None = None,
        required: Required | None = None,
        *,
        observe: bool = False,
    ) -> None:
        self.every = positive(every, "DeviceBinding(every)")
        if self.every > MAX_EVERY:
            fail("DeviceBinding(every)", every, "an hour or less: a copy of the cookies lives as long")
        self.grace = min(60, self.every)
        """Seconds beyond that in which a server whose clock is off takes a proof."""
        if keys is not None:
            instance(keys, (Keyring, Key), "DeviceBinding(keys)", "Keyring or a Key")
        self.keys = None if keys is None else as_keyring(keys)
        if required is not None and (not callable(required) or inspect.iscoroutinefunction(required)):
            fail("DeviceBinding(required)", required, "a plain function of the session, or None")
        self.required = required
        self.observe = switch(observe, "DeviceBinding(observe)")


def as_binding(given: Any) -> DeviceBinding | None:
    """The setting `binding=` of a manager. Raises `ConfigError`."""
    if given is not None and not isinstance(given, DeviceBinding):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        message = f"binding={what} must be a DeviceBinding(…), or None"
        raise ConfigError(message)
    binding: DeviceBinding | None = given
    return binding

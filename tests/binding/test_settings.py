"""What a binding may be told, and with which sessions it works."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit import KEY

from hardtack import Cookie, CookieEngine, Key, Keyring, SessionManager, StoreEngine
from hardtack.binding import DeviceBinding
from hardtack.errors import ConfigError
from hardtack.stores.memory import MemoryStore


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"every": 0}, "every"),
        ({"every": "2 hours"}, "every"),
        ({"keys": "secret"}, "keys"),
        ({"required": True}, "required"),
        ({"observe": 1}, "observe"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], named: str) -> None:
    """In the message of a ConfigError."""
    with pytest.raises(ConfigError, match=named):
        DeviceBinding(**settings)


async def _required(session: object) -> bool:
    return True


def test_required_is_a_plain_function() -> None:
    """A coroutine function would always be true."""
    with pytest.raises(ConfigError, match="required"):
        DeviceBinding(required=_required)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [DeviceBinding, True, "yes"])
def test_binding_takes_a_device_binding(given: Any) -> None:
    """And nothing else."""
    with pytest.raises(ConfigError, match="binding="):
        SessionManager(StoreEngine(MemoryStore(), seal=KEY), binding=given)


def test_a_store_without_keys_needs_some() -> None:
    """Challenges are issued under a key that all servers share."""
    with pytest.raises(ConfigError, match="keys="):
        SessionManager(StoreEngine(MemoryStore()), binding=DeviceBinding())
    for keys in (KEY, Keyring(KEY)):
        SessionManager(StoreEngine(MemoryStore()), binding=DeviceBinding(keys=keys))
    SessionManager(StoreEngine(MemoryStore(), seal=KEY), binding=DeviceBinding())


def test_a_cookie_engine_needs_a_list() -> None:
    """A copy from before the binding would open the session for ever."""
    with pytest.raises(ConfigError, match="ended="):
        SessionManager(CookieEngine(KEY), binding=DeviceBinding())


def test_another_systems_sessions_cannot_be_bound() -> None:
    """It would not look at the binding."""
    from hardtack.foreign.django import DjangoSignedCookie

    with pytest.raises(ConfigError, match="own sessions"):
        SessionManager(CookieEngine(DjangoSignedCookie("x" * 50)), binding=DeviceBinding(keys=KEY))


def test_a_partitioned_cookie_cannot_be_bound() -> None:
    """Browsers refuse it."""
    with pytest.raises(ConfigError, match="partitioned"):
        SessionManager(
            StoreEngine(MemoryStore(), seal=Key.generate()), binding=DeviceBinding(), cookie=Cookie(partitioned=True)
        )


def test_a_store_of_another_program_cannot_be_bound() -> None:
    """It names its sessions itself, and the id of a bound session is made of the former one."""
    engine = StoreEngine(MemoryStore())
    engine.native = object()  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="another program"):
        SessionManager(engine, binding=DeviceBinding(keys=KEY))

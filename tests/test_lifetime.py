"""Durations by Dancer2's grammar and ISO 8601, and the deadlines of a session."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtack import Key, Session, SessionManager
from hardtack.errors import ConfigError
from hardtack.lifetime import deadlines, seconds
from hardtack.record import Record

DURATIONS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "durations.json").read_text())


@pytest.mark.parametrize("vector", DURATIONS, ids=lambda vector: repr(vector["input"]))
def test_dancer2_durations(vector: dict[str, Any]) -> None:
    """What Dancer2 understands is as many seconds here; what it passes through verbatim is an error, and a century too much."""
    text, expected = vector["input"], vector["dancer2_seconds"]
    try:
        understood = int(expected) >= 0 and text.isascii()
    except (TypeError, ValueError):
        understood = False

    if understood and int(expected) <= 36_500 * 86_400:
        assert seconds(text) == int(expected)
    else:
        with pytest.raises(ConfigError, match=r"is not a duration|is more than 100 years"):
            seconds(text)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0, 0),
        (90, 90),
        (dt.timedelta(hours=1, seconds=1), 3601),
        ("1 hour", 3600),
        ("2 days", 172_800),
        ("1h 30m", 5400),
        ("+2h", 7200),
        ("90", 90),
        ("2.5s", 2),
        ("3.5s", 4),
        ("1 M", 2_592_000),
        ("1 m", 60),
        ("1 hour, 5 minutes and 3 seconds", 3903),
        ("PT1H", 3600),
        ("P1DT2H3M4S", 93_784),
        ("P2W", 1_209_600),
        ("P1Y2M3D", 365 * 86_400 + 60 * 86_400 + 3 * 86_400),
        ("PT0.5H", 1800),
    ],
)
def test_durations(duration: Any, expected: int) -> None:
    """Seconds, timedeltas, text and ISO 8601."""
    assert seconds(duration) == expected


@pytest.mark.parametrize(
    "duration",
    [
        "soon",
        "1H",
        "1 fortnight",
        "1h 30",
        "-1h",
        "-5",
        -5,
        "P",
        "PT",
        "P1",
        "P1H",
        "PT1.2.3H",
        "1h!",
        "x" * 1000,
        "1" * 30,
        dt.timedelta(seconds=-1),
        True,
        1.5,
        None,
        [],
        "1:2:3:4",
        "٣h",
    ],
)
def test_what_is_not_understood_is_quoted(duration: Any) -> None:
    """A wrong duration is a ConfigError that names the setting and quotes what was given."""
    with pytest.raises(ConfigError) as caught:
        seconds(duration, "idle_timeout")

    assert f"idle_timeout={duration!r}" in str(caught.value)


@pytest.mark.parametrize("most", ["100 years", "P100Y", 36_500 * 86_400, dt.timedelta(days=36_500)])
def test_a_century_is_the_most(most: Any) -> None:
    """And may be meant."""
    assert seconds(most) == 36_500 * 86_400


@pytest.mark.parametrize(
    "duration", ["101 years", "30000 years", "P200Y", "9" * 150, 36_500 * 86_400 + 1, dt.timedelta(days=36_501)]
)
@pytest.mark.parametrize(
    ("setting", "use"),
    [
        ("lifetime", lambda given: SessionManager(Key.generate(), lifetime=given)),
        ("idle_timeout", lambda given: SessionManager(Key.generate(), idle_timeout=given)),
        ("login(lifetime)", lambda given: Session().login("alice", lifetime=given)),
        ("confirmed(within)", lambda given: Session().confirmed(within=given)),
        ("once.put(ttl)", lambda given: Session().once.put(1, ttl=given)),
    ],
)
def test_more_than_a_century_is_a_mistake(duration: Any, setting: str, use: Callable[[Any], object]) -> None:
    """Such as of milliseconds for seconds; wherever a duration is given."""
    with pytest.raises(ConfigError, match=re.escape(f"{setting}=") + ".*is more than 100 years"):
        use(duration)


def record(authenticated: int | None = None, **options: Any) -> Record:
    return Record(b"", 1000, authenticated, 1500, None, options)


@pytest.mark.parametrize(
    ("session", "absolute", "idle"),
    [
        (record(), 1600, 1800),
        (record(authenticated=1200), 1800, 1800),
        (record(lifetime=50), 1050, 1800),
        (record(lifetime=5000), 1600, 1800),
        (record(authenticated=1200, lifetime=50), 1250, 1800),
        (record(expires=1010), 1010, 1800),
        (record(expires=9999), 1600, 1800),
    ],
)
def test_deadlines(session: Record, absolute: int, idle: int) -> None:
    """The absolute deadline runs from the login or the beginning and can only be shortened; the idle one from `seen`."""
    limits = deadlines(session, 600, 300)

    assert (limits.absolute, limits.idle) == (absolute, idle)
    assert limits.nearest == min(absolute, idle)


def test_no_idle_timeout_is_no_deadline() -> None:
    """Without an idle timeout the absolute deadline is the only one."""
    limits = deadlines(record(), 600, None)

    assert limits.idle is None
    assert limits.nearest == 1600


def test_a_key_in_the_place_of_a_duration_is_not_quoted() -> None:
    """It would be in the log for everyone to read."""
    with pytest.raises(ConfigError, match=r"lifetime=.a key, which is not shown") as caught:
        seconds(Key.generate().export(), "lifetime")

    assert "htk1_" not in str(caught.value)

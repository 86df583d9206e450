"""The short name of a browser, out of a header that anybody may write."""

from __future__ import annotations

import importlib
import sys

import pytest
from tests.kit import KEY, Site
from ua_parser import parse_user_agent

from hardtack import CookieEngine
from hardtack.devices import UNKNOWN, describe

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)
EDGE = f"{CHROME} Edg/140.0.0.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
)


@pytest.mark.parametrize(
    ("user_agent", "text"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (EDGE, "Edge on Windows"),
        (SAFARI, "Safari on macOS"),
        (IPHONE, "Safari on iOS"),
        (ANDROID, "Chrome on Android"),
        ("curl/8.5.0", "curl"),
        ("Something (X11; Linux x86_64)", "Linux"),
    ],
)
def test_browsers_have_the_names_that_people_know(user_agent: str, text: str) -> None:
    """The browser on its system; one of them, where the header does not say the other."""
    assert describe(user_agent) == text


@pytest.mark.parametrize("user_agent", [None, "", " ", "\x00\r\n", "Ж" * 9, "\ud800", b"curl/8.5.0", 7])
def test_what_says_nothing_is_an_unknown_device(user_agent: str | None) -> None:
    """No header, an empty one, and what is none at all."""
    assert describe(user_agent) == UNKNOWN


@pytest.mark.parametrize(
    "user_agent",
    [
        f"{FIREFOX} {'x' * 10_000_000}",
        f"{'(' * 10_000_000}",
        f"Mozilla/5.0 (X11; Linux x86_64) {'Mozilla/5.0 ' * 1000}",
        f"{'A' * 300}Bot/1.0 (X11; Linux)",
        f"{'spider-' * 60}bot",
        FIREFOX.replace("Firefox/", "Fire\r\n\x1b[31mfox/").replace("; ", ";\x00 "),
        f"\ud800{FIREFOX}\u202e",
    ],
)
def test_a_hostile_header_makes_a_label_all_the_same(user_agent: str) -> None:
    """Of any length and with any characters: one short line of printable text, which a login takes."""
    text = describe(user_agent)

    assert 1 <= len(text) <= 84
    assert text.isascii()
    assert text.isprintable()
    Site(CookieEngine(KEY)).open().login("alice", label=text)


def test_a_family_that_quotes_the_client_is_cut() -> None:
    """Some names come out of the header itself."""
    user_agent = f"{'Z' * 200}bot/1.0"
    found = parse_user_agent(user_agent)
    assert found is not None
    assert len(found.family) > 40

    assert describe(user_agent) == found.family[:40]


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module needs one that hardtack itself does without."""
    monkeypatch.delitem(sys.modules, "hardtack.devices")
    monkeypatch.setitem(sys.modules, "ua_parser", None)

    with pytest.raises(ImportError, match=r"^hardtack\.devices .*pip install 'hardtack\[devices\]'"):
        importlib.import_module("hardtack.devices")

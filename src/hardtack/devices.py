"""Devices: the short name of a browser, for the label of a login and the page "where you are logged in".

Needs ua-parser: `pip install 'hardtack[devices]'`.
"""

from __future__ import annotations

from typing import Final

from hardtack._extras import explain

try:
    from ua_parser import parse_os, parse_user_agent
except ImportError as error:
    message = explain("hardtack.devices", "devices", error)
    raise ImportError(message) from error

UNKNOWN: Final = "Unknown device"
"""What `describe` says of a browser that does not say what it is."""

_MAX_READ: Final = 400
"""Characters that are read: real ones have fewer, and the expressions of ua-parser take their time on long ones."""
_MAX_NAME: Final = 40
_NAMES: Final = {"Mac OS X": "macOS", "Chrome Mobile": "Chrome", "Firefox Mobile": "Firefox", "Mobile Safari": "Safari"}
"""How people call what ua-parser has another name for."""


def describe(user_agent: str | None) -> str:
    """What a `User-Agent` header says of the browser and its system: "Firefox on Linux".

    It is what the client claims, so it proves nothing: show it to users, and decide nothing by it. A template has to escape
    it, as any text of a client.

    Args:
        user_agent: the header, or None where there was none. Anything is taken, of any length; 400 characters are read.

    Returns:
        Printable text of 1 to 84 characters, which fits `login(label=…)`: "Firefox on Linux", "curl", "Linux", or
        "Unknown device".
    """
    if not isinstance(user_agent, str):
        return UNKNOWN
    # What is no ASCII is in no browser's header; a line break or a lone surrogate would end up in the label.
    text = "".join(sign for sign in user_agent[:_MAX_READ] if " " <= sign <= "~")
    browser, system = parse_user_agent(text), parse_os(text)
    names = [_name(each.family) for each in (browser, system) if each is not None]
    return " on ".join(filter(None, names)) or UNKNOWN


def _name(family: str) -> str:
    """A family under the name that people know; some families quote the client, so the length is bounded."""
    return _NAMES.get(family, family)[:_MAX_NAME].strip()

"""The readers of the golden cookies of other languages' stacks: the token format that an entry's settings describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hardtack.foreign.rails import RailsCookie, RailsSignedCookie
from hardtack.protocols import TokenFormat

Entry = dict[str, Any]

FAR = 1 << 40


def _secrets(entry: Entry) -> tuple[str, list[str]]:
    """The secret that is written with, and those that are read as well."""
    secret = entry["secret"]
    current, *old = secret if isinstance(secret, list) else [secret]
    return current, [*old, *entry.get("old_secrets", [])]


def rails(entry: Entry) -> TokenFormat:
    secret, old = _secrets(entry)
    options = entry["options"]
    settings: dict[str, Any] = {
        "old_secrets": old,
        "digest": options["digest"].lower(),
        "metadata": options["metadata"],
        "cookie_name": entry["cookie_name"],
        "until": FAR,
    }
    if entry["format"] == "rails-signed":
        return RailsSignedCookie(secret, signed_cookie_digest=options["hmac_digest"].lower(), **settings)
    return RailsCookie(secret, legacy_cbc=options["cipher"] == "aes-256-cbc", **settings)


web_readers: dict[str, Callable[[Entry], TokenFormat]] = {
    "rails-encrypted": rails,
    "rails-signed": rails,
}

WEB_EXPECTED: dict[str, Callable[[Any], dict[str, Any]]] = {}
"""What a session holds where the golden file writes down more than the session, or another thing than a mapping."""

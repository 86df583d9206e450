"""The readers of the golden cookies of the Perl family: the token format that an entry's settings describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hardtack.foreign.dancer import DancerLegacyCookie
from hardtack.foreign.mojolicious import MojoliciousCookie, MojoliciousEncryptedCookie
from hardtack.foreign.plack import PlackCookie
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.foreign.trickster import TricksterCookie
from hardtack.protocols import TokenFormat

Entry = dict[str, Any]

FAR = 1 << 40


def session_storage_secure(entry: Entry) -> TokenFormat:
    return SessionStorageSecureCookie(
        entry["secret"],
        old_secrets=entry["old_secrets"],
        separator=entry["options"].get("separator", "~"),
        cookie_name=entry.get("cookie_name"),
    )


def dancer_legacy(entry: Entry) -> TokenFormat:
    keys = set(entry["data"] or {}) or {"any"}
    return DancerLegacyCookie(entry["secret"], only=keys, until=FAR)


def plack(entry: Entry) -> TokenFormat:
    return PlackCookie(entry["secret"])


def trickster(entry: Entry) -> TokenFormat:
    return TricksterCookie(entry["secret"], cookie_name=entry["options"]["name"])


def _mojolicious(entry: Entry) -> dict[str, Any]:
    options = entry["options"]
    return {
        "old_secrets": entry["old_secrets"],
        "cookie_name": options["cookie_name"],
        "default_expiration": options.get("default_expiration", 3600),
    }


def mojolicious_signed(entry: Entry) -> TokenFormat:
    return MojoliciousCookie(entry["secret"], **_mojolicious(entry))


def mojolicious_encrypted(entry: Entry) -> TokenFormat:
    return MojoliciousEncryptedCookie(entry["secret"], moniker=entry["options"]["moniker"], **_mojolicious(entry))


perl_readers: dict[str, Callable[[Entry], TokenFormat]] = {
    "session-storage-secure": session_storage_secure,
    "dancer-cookie-old": dancer_legacy,
    "plack-session-cookie": plack,
    "trickster": trickster,
    "mojolicious-signed": mojolicious_signed,
    "mojolicious-encrypted": mojolicious_encrypted,
}

EITHER_ACCEPTED = {
    "plack-tamper-time": "the time is not signed: no reader can tell one from another, and neither is it looked at",
    "JSON::PP::Boolean": "Dancer applications keep JSON's booleans in sessions; exactly this class is read as a bool",
    "sereal": "an application may choose an older Sereal protocol, or zlib, by its options",
}
"""Entries that a strict reader may refuse and we accept: what their name or `why` contains, and the reason."""

"""What the session cookies of Python frameworks share: signatures with a time, base64, bounded zlib, JSON, ages."""

from __future__ import annotations

import hmac
import json
import zlib
from collections.abc import Sequence
from typing import Any

from pybase64 import b64decode

from hardtack import values
from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.foreign._keys import keyed_mac
from hardtack.foreign.base import check_plain, malformed, parse_json
from hardtack.lifetime import SKEW, Duration, seconds
from hardtack.protocols import Context

MAX_INFLATED = 1 << 18
"""Bytes that a compressed payload may take: 64 times what a browser keeps of a cookie."""


class Signer:
    """`text SEPARATOR base64url(HMAC)`, the shape of itsdangerous and of `django.core.signing`.

    `current` signs; `accept` are further keys whose signatures are good.
    """

    def __init__(self, current: bytes, accept: Sequence[bytes], *, digest: str, separator: str) -> None:
        self._current = current
        self._accept = (current, *accept)
        self._digest = digest
        self._separator = separator

    def sign(self, text: str) -> str:
        return f"{text}{self._separator}{self._signature(self._current, text).decode()}"

    def unsign(self, signed: str) -> str:
        """The text that was signed; `InvalidToken("tampered")` where no key made the signature."""
        if not signed.isascii():
            malformed("it is not ASCII")
        text, separator, signature = signed.rpartition(self._separator)
        if not separator:
            malformed("it has no signature")
        # The signature is compared as text, so that it has one spelling only.
        for key in self._accept:
            if hmac.compare_digest(self._signature(key, text), signature.encode()):
                return text
        raise InvalidToken("tampered")

    def _signature(self, key: bytes, text: str) -> bytes:
        return values.encode_bytes(keyed_mac(key, text.encode(), self._digest)).encode()


def max_age_seconds(max_age: Duration | None) -> int | None:
    """`max_age` in seconds, None for no limit. Raises `ConfigError`."""
    return None if max_age is None else seconds(max_age, "max_age")


def begin_and_end(signed_at: int, context: Context, max_age: int | None) -> tuple[int, int | None]:
    """When a cookie that was signed at `signed_at` counts as made, and when it ends. Raises `InvalidToken`."""
    if signed_at > context.now + SKEW:
        raise InvalidToken("future")
    if max_age is None:
        return min(signed_at, context.now), None
    if context.now - signed_at > max_age:
        raise InvalidToken("expired")
    return min(signed_at, context.now), signed_at + max_age


def decode_base64(text: str) -> bytes:
    """Base64url without padding, in its one spelling, or `InvalidToken("malformed")`."""
    try:
        return values.decode_bytes(text)
    except ValueError:
        malformed("not base64url")


def decode_padded(text: str, *, url_safe: bool = False) -> bytes:
    """Base64 with padding, in its one spelling, or `InvalidToken("malformed")`."""
    altchars = b"-_" if url_safe else None
    if url_safe and ("+" in text or "/" in text):  # read as well by some decoders, and with a warning by Python 3.15
        malformed("not base64url")
    try:
        raw: bytes = b64decode(text, altchars, True)
    except ValueError:
        malformed("not base64")
    # Four characters are three bytes, and no others can be those. Where fewer bytes are left, the last character has bits to
    # spare, which are 0 in the one spelling.
    size = len(raw)
    left = size % 3
    if len(text) != (size + 2) // 3 * 4 or (left and text[left - 4] not in values.LAST_CHARACTERS[left + 1]):
        malformed("not base64 in its one spelling")
    return raw


def inflate(packed: bytes) -> bytes:
    """What zlib packed, of at most `MAX_INFLATED` bytes: a small cookie must not fill the memory."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed, MAX_INFLATED)
    except zlib.error:
        malformed("not zlib")
    if inflater.unconsumed_tail:
        raise InvalidToken("too_large", f"more than {MAX_INFLATED} bytes uncompressed")
    if not inflater.eof or inflater.unused_data:
        malformed("not one whole zlib stream")
    return plain


def encode_payload(plain: bytes) -> str:
    """Base64url, after a dot and compressed where that is shorter: as itsdangerous and Django write it."""
    packed = zlib.compress(plain)
    if len(packed) < len(plain) - 1:
        return "." + values.encode_bytes(packed)
    return values.encode_bytes(plain)


def decode_payload(payload: str) -> bytes:
    """What `encode_payload` was given, or `InvalidToken`."""
    if payload.startswith("."):
        return inflate(decode_base64(payload[1:]))
    return decode_base64(payload)


def refuse_pickle(plain: bytes) -> None:
    """`InvalidToken("unsafe")` for a pickle: reading it would run whatever it says, for whoever has the secret."""
    if plain.startswith(b"\x80"):  # every pickle of protocol 2 and later
        raise InvalidToken("unsafe", "it is a pickle; let the other system write JSON")


def read_json(text: str | bytes) -> Any:
    """JSON as Python's own module writes it, NaN and Infinity included; `InvalidToken("malformed")`."""
    return parse_json(text, constants=True)


def write_json(data: dict[str, Any], *, compact: bool = True) -> str:
    """JSON as Python's own module writes it; `UnsupportedValue` for what would not come back."""
    check_plain(data, binary=False, wide=True)
    return dump_json(data, compact=compact)


def dump_json(tree: Any, *, compact: bool = True) -> str:
    """The text of a tree that JSON can carry."""
    try:
        return json.dumps(tree, separators=(",", ":") if compact else None)
    except ValueError:  # Python refuses to print an int of more than 4300 digits, and to read it
        raise UnsupportedValue("(root)", "int", "it has too many digits for JSON") from None


def unquote(value: str) -> str:
    """The value without the double quotes that `http.cookies` puts around '=' and '/'; browsers send them back."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value

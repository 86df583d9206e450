"""Flask's session cookie: tagged JSON under a signature with a time, as itsdangerous writes it."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from hardtack import values
from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign import _python as shared
from hardtack.foreign.base import ForeignCookie, Until, malformed, secret_bytes, secrets_bytes, text
from hardtack.lifetime import Duration
from hardtack.protocols import Context
from hardtack.record import Record

_DIGESTS = ("sha1", "sha256", "sha384", "sha512")


class FlaskCookie(ForeignCookie):
    """Flask's session cookie, read and written; the types of its `TaggedJSONSerializer` both ways.

    The time in it is that of the last write: the session counts as created then, and ends `max_age` later.

    Parameters:
        secret: `SECRET_KEY`.
        secret_fallbacks: `SECRET_KEY_FALLBACKS`; read, never signed with.
        salt, key_derivation, digest: where the application subclassed `SecureCookieSessionInterface`.
        max_age: `PERMANENT_SESSION_LIFETIME`, by default 31 days. Flask holds every session to it, permanent or not.
        cookie_name, path, domain, until, keep_until, subject: see `ForeignCookie`; `SESSION_COOKIE_NAME` and so on.

    Raises `ConfigError`.
    """

    format_name = "flask"
    default_cookie_name = "session"
    authenticates_time = True

    def __init__(
        self,
        secret: str | bytes,
        *,
        secret_fallbacks: Sequence[str | bytes] = (),
        salt: str = "cookie-session",
        key_derivation: str = "hmac",
        digest: str = "sha1",
        max_age: Duration = dt.timedelta(days=31),
        cookie_name: str | None = None,
        path: str = "/",
        domain: str | None = None,
        until: Until | None = None,
        keep_until: Until | None = None,
        subject: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        super().__init__(
            cookie_name=cookie_name, path=path, domain=domain, until=until, keep_until=keep_until, subject=subject
        )
        current = secret_bytes(secret)
        accept = secrets_bytes(secret_fallbacks, "secret_fallbacks")
        self._max_age = shared.max_age_seconds(max_age)
        salt = text(salt, "salt")
        self._signer = itsdangerous_signer(current, accept, salt=salt, key_derivation=key_derivation, digest=digest)

    def _read(self, value: str, context: Context) -> Record:
        payload, signed_at = read_timed(self._signer.unsign(value))
        created, expires = shared.begin_and_end(signed_at, context, self._max_age)
        data = untag(shared.read_json(shared.decode_payload(payload)))
        return self._record(data, context, value, created=created, expires=expires)

    def _write(self, record: Record, context: Context) -> str:
        values.check(record.data)
        text = shared.dump_json(tag(record.data))
        return self._signer.sign(write_timed(shared.encode_payload(text.encode()), context.now))


def itsdangerous_signer(
    current: bytes, accept: Sequence[bytes], *, salt: str, key_derivation: str, digest: str
) -> shared.Signer:
    """The signer that itsdangerous makes of its settings of the same names. Raises `ConfigError`."""
    if digest not in _DIGESTS:
        message = f"digest={digest!r} is not known; write one of {', '.join(_DIGESTS)}"
        raise ConfigError(message)
    derive = _DERIVATIONS.get(key_derivation)
    if derive is None:
        message = f"key_derivation={key_derivation!r} is not known; write one of {', '.join(_DERIVATIONS)}"
        raise ConfigError(message)
    keys = [derive(secret, salt.encode(), digest) for secret in (current, *accept)]
    return shared.Signer(keys[0], keys[1:], digest=digest, separator=".")


_DERIVATIONS: dict[str, Callable[[bytes, bytes, str], bytes]] = {
    "hmac": lambda secret, salt, digest: hmac.digest(secret, salt, digest),
    "django-concat": lambda secret, salt, digest: hashlib.new(digest, salt + b"signer" + secret).digest(),
    "concat": lambda secret, salt, digest: hashlib.new(digest, salt + secret).digest(),
    "none": lambda secret, salt, digest: secret,
}


def read_timed(text: str) -> tuple[str, int]:
    """Payload and time (Unix seconds) of the text under an itsdangerous signature."""
    payload, separator, stamp = text.rpartition(".")
    raw = shared.decode_base64(stamp)
    if not separator or not 0 < len(raw) <= 8:
        malformed("it has no time")
    return payload, int.from_bytes(raw, "big")


def write_timed(payload: str, now: int) -> str:
    """Payload and time as itsdangerous signs them."""
    stamp = now.to_bytes(8, "big").lstrip(b"\0")
    return f"{payload}.{values.encode_bytes(stamp)}"


# --- Tagged JSON: a dict whose one key is a tag stands for a value of another type


def tag(value: Any, path: str = "") -> Any:
    """The tree as Flask's TaggedJSONSerializer writes it. Raises `UnsupportedValue` for what would not come back."""
    kind = type(value)
    if kind is dict:
        return _tag_dict(value, path)
    if kind is list:
        return [tag(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if kind is tuple:
        return {" t": [tag(item, f"{path}[{index}]") for index, item in enumerate(value)]}
    if kind is bytes:
        return {" b": base64.b64encode(value).decode()}
    if kind is UUID:
        return {" u": value.hex}
    if kind is dt.datetime:
        return {" d": _http_date(value, path)}
    if kind in (type(None), bool, int, float, str):
        return value
    if hasattr(value, "__html__"):  # Markup: the only other such type that a session may hold
        return {" m": str.__str__(value)}
    raise UnsupportedValue(path, kind.__qualname__, f"Flask would not get it back as {kind.__qualname__}")


def _tag_dict(value: dict[Any, Any], path: str) -> dict[str, Any]:
    members = {}
    for key, item in value.items():
        if type(key) is not str:
            raise UnsupportedValue(path or "(root)", "dict", "Flask keeps JSON, whose keys are text")
        members[key] = tag(item, f"{path}.{key}" if path else key)
    if len(members) == 1:
        ((key, item),) = members.items()
        if key in _UNTAG:
            return {" di": {f"{key}__": item}}
    return members


def _http_date(value: dt.datetime, path: str) -> str:
    if value.tzinfo is dt.UTC and not value.microsecond and value.year >= 1000:
        return email.utils.format_datetime(value, usegmt=True)
    problem = "Flask keeps whole seconds in UTC; use value.astimezone(datetime.UTC).replace(microsecond=0)"
    raise UnsupportedValue(path, "datetime.datetime", problem)


def untag(value: Any) -> Any:
    """What `tag` was given; `InvalidToken("malformed")` for a tag whose content is not its own."""
    try:
        return _untag(value)
    except (ValueError, TypeError, RecursionError):
        malformed("a tagged value is not what its tag says")


def _untag(value: Any) -> Any:
    if type(value) is list:
        return [_untag(item) for item in value]
    if type(value) is dict:
        members = {key: _untag(item) for key, item in value.items()}
        if len(members) == 1:
            ((key, item),) = members.items()
            content, build = _UNTAG.get(key, (object, None))
            if build is not None:
                return build(_of_type(item, content))
        return members
    return value


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _untag_dict(value: dict[str, Any]) -> dict[str, Any]:
    ((key, item),) = value.items()
    if key[-2:] != "__" or key[:-2] not in _UNTAG:
        raise ValueError
    return {key[:-2]: item}


def _untag_date(text: str) -> dt.datetime:
    moment = email.utils.parsedate_to_datetime(text)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _untag_markup(text: str) -> str:
    try:
        from markupsafe import Markup
    except ImportError:  # plain text is escaped wherever it is shown: the safe reading
        return text
    return Markup(text)  # noqa: S704 - it was Markup when Flask signed it


_UNTAG: dict[str, tuple[type, Callable[[Any], Any]]] = {
    " di": (dict, _untag_dict),
    " t": (list, tuple),
    " b": (str, lambda text: base64.b64decode(text, validate=True)),
    " m": (str, _untag_markup),
    " u": (str, UUID),
    " d": (str, _untag_date),
}

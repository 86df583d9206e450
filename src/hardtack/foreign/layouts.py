"""Sessions in the stores of other systems, shared in both directions: `layout=` of our stores.

    RedisStore(client, layout=ExpressLayout("the secret"))

The cookie is the other system's, and so is the entry: who logs in on one is logged in on the other, and a logout on either
ends both. Members of an entry that are the other system's own stay where they are, and do not show in the session.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import string
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

import ormsgpack
import pybase64

from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign import php
from hardtack.foreign._text import EXACT_IN_A_DOUBLE, read_javascript, write_javascript, write_json
from hardtack.foreign._times import iso_seconds, iso_text
from hardtack.foreign.base import ForeignCookie, check_plain, malformed, parse_json
from hardtack.foreign.django import DjangoSignedCookie
from hardtack.foreign.express import ExpressSessionCookie, write_express_record
from hardtack.foreign.laravel import LaravelIdCookie, read_laravel_data, read_payload, read_php_text
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import Context
from hardtack.record import Record
from hardtack.stores.file_layout import Content
from hardtack.stores.shared_layout import NEVER, FindSubject, Ids, SharedFile, SharedLayout, SharedTable

_ALPHANUMERIC: Final = string.ascii_letters + string.digits
_URL_SAFE: Final = "[A-Za-z0-9_-]{1,256}"

_INSTANTS: Final = ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT
"""MessagePack's timestamps, as which Flask-Session's msgspec writes a datetime that has a zone."""


class _SealedIds(Ids):
    """Ids that the cookie carries signed or encrypted, as a format of `hardtack.foreign` does with `session_id` alone."""

    def __init__(self, cookie: ForeignCookie, rule: str, draw: Any) -> None:
        super().__init__(rule, draw)
        self._cookie = cookie
        self._context = Context(cookie.cookie_name, "", 0)

    def opened(self, text: str) -> str | None:
        """The id in a cookie's value."""
        try:
            found: str = self._cookie.open({self._cookie.cookie_name: [text]}, self._context).data["session_id"]
        except InvalidToken:
            return None
        return found

    def cookie(self, identifier: str) -> str:
        """The cookie's value of an id."""
        record = Record(b"", 0, None, 0, None, {}, {"session_id": identifier})
        return self._cookie.seal(record, self._context)[self._cookie.cookie_name]


class ExpressLayout(SharedLayout):
    """express-session with connect-redis: JSON under `sess:ID`, whose member `cookie` is Express' own.

    Args:
        secret: `secret`, or the first of several.
        old_secrets: the others; read, never signed with.
        prefix: the store's `prefix`.
        max_age: `cookie.maxAge`, which is in milliseconds there, for sessions that begin here; None, as there: until the
            browser is closed.
        subject: who the user is, by the data: Express knows nothing of our subject.

    Raises `ConfigError`.
    """

    hidden = ("cookie",)
    store_decides = True

    def __init__(
        self,
        secret: str | bytes,
        *,
        old_secrets: Sequence[str | bytes] = (),
        prefix: str = "sess:",
        max_age: Duration | None = None,
        subject: FindSubject | None = None,
    ) -> None:
        super().__init__(prefix, subject)
        cookie = ExpressSessionCookie(secret, old_secrets=old_secrets, until=1)
        self.ids = _SealedIds(cookie, "[!-~]{1,256}", lambda: secrets.token_urlsafe(32))
        self._max_age = None if max_age is None else seconds(max_age, "max_age") * 1000

    def load(self, raw: bytes) -> dict[str, Any]:
        """The members of the JSON. Raises `InvalidToken`."""
        return _mapping(read_javascript(raw))

    def dump(self, tree: dict[str, Any]) -> bytes:
        """JSON."""
        return write_javascript(tree).encode()

    def check(self, data: dict[str, Any]) -> None:
        """What JavaScript keeps, and no member of Express' own session objects."""
        write_express_record(data)

    def members(self, previous: dict[str, Any] | None, content: Content, now: int) -> dict[str, Any]:
        """`cookie`, without which Express refuses a session; a use moves its end, as there."""
        kept = {} if previous is None else previous.get("cookie")
        fresh = {"originalMaxAge": self._max_age, "expires": None, "httpOnly": True, "path": "/"}
        cookie: dict[str, Any] = {**fresh, **(kept if type(kept) is dict else {})}
        age = cookie["originalMaxAge"]
        if type(age) in (int, float) and 0 <= age <= EXACT_IN_A_DOUBLE:  # one below has ended, and says so itself
            cookie["expires"] = iso_text(min(now + int(age // 1000), content.expires_at))
        return {"cookie": cookie}

    def ends(self, tree: dict[str, Any]) -> int:
        """`cookie.expires`."""
        cookie = tree.get("cookie")
        expires = cookie.get("expires") if type(cookie) is dict else None
        return NEVER if expires is None else iso_seconds(expires)


class ExpressPostgresTable(ExpressLayout, SharedTable):
    """express-session with connect-pg-simple: rows of the table `session`, with JSON and a time without its zone.

    Args:
        secret, old_secrets, max_age, subject: see `ExpressLayout`.
        table: `tableName`.
        ttl: `ttl`, for sessions whose cookie says no end: by default a day after each use.

    Raises `ConfigError`.
    """

    key_column = "sid"
    data_column = "sess"
    time_column = "expire"
    time_is_date = True
    is_json = True

    def __init__(
        self, secret: str | bytes, *, table: str = "session", ttl: Duration = "1 day", **settings: Any
    ) -> None:
        super().__init__(secret, prefix="", **settings)
        self.table = table
        self._ttl = seconds(ttl, "ttl")

    def ends(self, tree: dict[str, Any]) -> int:
        """The column says it: a use that changes nothing moves that alone."""
        return NEVER

    def time(self, text: str, expires_at: int, now: int) -> Any:
        """When it ends, by its cookie or `ttl`."""
        return dt.datetime.fromtimestamp(self._end(text, expires_at, now), dt.UTC)

    def ends_at(self, moment: int) -> int:
        """Then."""
        return moment

    def _end(self, text: str, expires_at: int, now: int) -> int:
        try:
            end = super().ends(self.load(text.encode()))
        except InvalidToken:  # a planted row, whose members are kept
            end = NEVER
        return min(expires_at, now + self._ttl if end == NEVER else end)


class ExpressMysqlTable(ExpressPostgresTable):
    """express-session with express-mysql-session: rows of the table `sessions`, with JSON and Unix seconds.

    Args:
        secret, old_secrets, max_age, subject: see `ExpressLayout`.
        table: `schema.tableName`.
        ttl: `expiration` as a duration, for sessions whose cookie says no end: by default a day after each use.

    Raises `ConfigError`.
    """

    key_column = "session_id"
    data_column = "data"
    time_column = "expires"
    time_is_date = False
    is_json = False

    def __init__(self, secret: str | bytes, *, table: str = "sessions", **settings: Any) -> None:
        super().__init__(secret, table=table, **settings)

    def time(self, text: str, expires_at: int, now: int) -> int:
        """When it ends, by its cookie or `ttl`."""
        return self._end(text, expires_at, now)


class LaravelLayout(SharedLayout):
    """Laravel's `redis` driver: PHP's serialize, or JSON, inside the string that Laravel's cache keeps.

    Args:
        secret: `APP_KEY`, with its `base64:`.
        old_secrets: `APP_PREVIOUS_KEYS`, split at the commas.
        cookie_name: `session.cookie`, which the cookie is bound to.
        prefix: `database.redis.options.prefix` and the cache's prefix, such as `laravel_database_laravel_cache:`; `KEYS *`
            of redis-cli shows it.
        serialization: `session.serialization`, `php` or `json`: what is written; both are read, PHP's objects never.
        cipher: `cipher` of `config/app.php`.
        subject: who the user is, by the data: `hardtack.foreign.laravel.laravel_subject()`.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        secret: str,
        *,
        prefix: str,
        old_secrets: Sequence[str] = (),
        cookie_name: str = "laravel_session",
        serialization: Literal["php", "json"] = "php",
        cipher: str = "aes-256-cbc",
        subject: FindSubject | None = None,
    ) -> None:
        super().__init__(prefix, subject)
        if serialization not in ("php", "json"):
            message = f"serialization={serialization!r} must be 'php' or 'json', as session.serialization"
            raise ConfigError(message)
        cookie = LaravelIdCookie(secret, old_secrets=old_secrets, cipher=cipher, cookie_name=cookie_name, until=1)
        self.ids = _SealedIds(cookie, "[A-Za-z0-9]{40}", lambda: _drawn(_ALPHANUMERIC, 40))
        self._php = serialization == "php"

    def load(self, raw: bytes) -> dict[str, Any]:
        """The session in the cache's string. Raises `InvalidToken`."""
        return _mapping(read_laravel_data(read_php_text(raw)))

    def dump(self, tree: dict[str, Any]) -> bytes:
        """The string that Laravel's cache keeps."""
        inner = self.serialized(tree)
        return b's:%d:"%b";' % (len(inner), inner)

    def serialized(self, tree: dict[str, Any]) -> bytes:
        """The session as `session.serialization` says."""
        return php.write(tree) if self._php else write_json(tree).encode()

    def check(self, data: dict[str, Any]) -> None:
        """What PHP gets back equal."""
        php.write(data)
        if not self._php:
            write_json(data)


class LaravelTable(LaravelLayout, SharedTable):
    """Laravel's `database` driver: base64 of the session in the table `sessions`, whose other columns stay.

    Args:
        secret, old_secrets, cookie_name, serialization, cipher, subject: see `LaravelLayout`.
        table: `session.table`.
        lifetime: `session.lifetime` as a duration, by default 120 minutes after the last use.

    Raises `ConfigError`.
    """

    key_column = "id"
    data_column = "payload"
    time_column = "last_activity"
    time_is_date = False

    def __init__(
        self, secret: str, *, table: str = "sessions", lifetime: Duration = "120 minutes", **settings: Any
    ) -> None:
        super().__init__(secret, prefix="", **settings)
        self.table = table
        self._lifetime = seconds(lifetime, "lifetime")

    def load(self, raw: bytes) -> dict[str, Any]:
        """The session in the column `payload`. Raises `InvalidToken`."""
        return _mapping(read_laravel_data(read_payload(raw)))

    def dump(self, tree: dict[str, Any]) -> bytes:
        """What the column `payload` keeps."""
        return pybase64.b64encode(self.serialized(tree))

    def time(self, text: str, expires_at: int, now: int) -> int:
        """When it was used last."""
        return now

    def ends_at(self, moment: int) -> int:
        """After `session.lifetime`."""
        return moment + self._lifetime


class LaravelFiles(LaravelLayout, SharedFile):
    """Laravel's `file` driver: a file a session, in `storage/framework/sessions`.

    Args:
        secret, old_secrets, cookie_name, serialization, cipher, subject: see `LaravelLayout`.
        lifetime: `session.lifetime` as a duration, by default 120 minutes after the file was written.

    Raises `ConfigError`.
    """

    def __init__(self, secret: str, *, lifetime: Duration = "120 minutes", **settings: Any) -> None:
        super().__init__(secret, prefix="", **settings)
        self._lifetime = seconds(lifetime, "lifetime")

    def load(self, raw: bytes) -> dict[str, Any]:
        """The session in the file. Raises `InvalidToken`."""
        return _mapping(read_laravel_data(raw))

    def dump(self, tree: dict[str, Any]) -> bytes:
        """What the file holds."""
        return self.serialized(tree)

    def ends_at(self, moment: int) -> int:
        """After `session.lifetime`."""
        return moment + self._lifetime


class DjangoTable(SharedTable):
    """Django's `db` sessions: signed JSON in the table `django_session`.

    Args:
        secret: `SECRET_KEY`.
        fallbacks: `SECRET_KEY_FALLBACKS`.
        table: the table's name.
        subject: who the user is, by the data: by default `_auth_user_id`.

    Raises `ConfigError`.
    """

    ids = Ids("[a-z0-9]{8,40}", lambda: _drawn(string.ascii_lowercase + string.digits, 40))
    key_column = "session_key"
    data_column = "session_data"
    time_column = "expire_date"
    time_is_date = True

    def __init__(
        self,
        secret: str | bytes,
        *,
        fallbacks: Sequence[str | bytes] = (),
        table: str = "django_session",
        subject: FindSubject | None = None,
    ) -> None:
        super().__init__("", subject or (lambda data: data.get("_auth_user_id")))
        self.table = table
        self._signed = DjangoSignedCookie(
            secret, fallbacks=fallbacks, salt="django.contrib.sessions.SessionStore", max_age=None
        )
        self._signed.max_length = 1 << 20  # a row is no cookie

    def load(self, raw: bytes) -> dict[str, Any]:
        """The session in the column `session_data`. Raises `InvalidToken`."""
        return dict(self._signed.open({"sessionid": [raw.decode()]}, self._context()).data)

    def dump(self, tree: dict[str, Any]) -> bytes:
        """What the column `session_data` keeps."""
        record = Record(b"", 0, None, 0, None, {}, tree)
        return self._signed.seal(record, self._context())["sessionid"].encode()

    def check(self, data: dict[str, Any]) -> None:
        """What JSON carries."""
        check_plain(data, finite=True, binary=False, wide=True)

    def time(self, text: str, expires_at: int, now: int) -> dt.datetime:
        """When it ends."""
        return dt.datetime.fromtimestamp(expires_at, dt.UTC)

    def ends_at(self, moment: int) -> int:
        """Then."""
        return moment

    @staticmethod
    def _context() -> Context:
        return Context("sessionid", "", int(time.time()))


class FlaskSessionLayout(SharedLayout):
    """Flask-Session's Redis records: MessagePack, or JSON, under `session:ID`; `_permanent` is Flask's own.

    Where `SESSION_USE_SIGNER` is set its cookie is another one, which is not read. Pickle, which it still falls back to, is
    never read. A datetime with a zone is an instant in MessagePack: it comes out in UTC, and is written in UTC alone.

    Args:
        prefix: `SESSION_KEY_PREFIX`.
        serialization: `SESSION_SERIALIZATION_FORMAT`, `msgpack` or `json`: what is written; both are read.
        permanent: `SESSION_PERMANENT`, for sessions that begin here.
        subject: who the user is, by the data.

    Raises `ConfigError`.
    """

    hidden = ("_permanent",)
    ids = Ids(_URL_SAFE, lambda: secrets.token_urlsafe(32))

    def __init__(
        self,
        *,
        prefix: str = "session:",
        serialization: Literal["msgpack", "json"] = "msgpack",
        permanent: bool = True,
        subject: FindSubject | None = None,
    ) -> None:
        super().__init__(prefix, subject)
        if serialization not in ("msgpack", "json"):
            message = f"serialization={serialization!r} must be 'msgpack' or 'json', as SESSION_SERIALIZATION_FORMAT"
            raise ConfigError(message)
        self._json = serialization == "json"
        self._permanent = bool(permanent)

    def load(self, raw: bytes) -> dict[str, Any]:
        """The members, of either form. Raises `InvalidToken`, and `ValueError`."""
        if raw[:1] == b"\x80" and len(raw) > 1:
            raise InvalidToken("unsafe", "it is a pickle: let Flask-Session write MessagePack, as it does from 0.7 on")
        return _mapping(parse_json(raw) if raw[:1] == b"{" else ormsgpack.unpackb(raw, option=_INSTANTS))

    def dump(self, tree: dict[str, Any]) -> bytes:
        """MessagePack, or JSON."""
        packed: bytes = json.dumps(tree).encode() if self._json else ormsgpack.packb(tree, option=_INSTANTS)
        return packed

    def check(self, data: dict[str, Any]) -> None:
        """Plain values; bytes, and times in UTC, where MessagePack carries them."""
        check_plain(data, finite=self._json, binary=not self._json, instants=not self._json)

    def members(self, previous: dict[str, Any] | None, content: Content, now: int) -> dict[str, Any]:
        """`_permanent`, which says whether the browser keeps the cookie."""
        if previous is None:
            return {"_permanent": True} if self._permanent else {}
        return super().members(previous, content, now)


class StarsessionsLayout(SharedLayout):
    """starsessions' Redis records: JSON under `starsessions.ID`; `__metadata__` is its own.

    Args:
        prefix: the store's `prefix`.
        lifetime: the middleware's `lifetime`; 0, as there: until the browser is closed.
        rolling: the middleware's `rolling`: a session ends a lifetime after its last use, and not after its beginning.
        subject: who the user is, by the data.

    Raises `ConfigError`.
    """

    hidden = ("__metadata__",)
    ids = Ids(_URL_SAFE, lambda: secrets.token_hex(32))

    def __init__(
        self,
        *,
        prefix: str = "starsessions.",
        lifetime: Duration = 0,
        rolling: bool = False,
        subject: FindSubject | None = None,
    ) -> None:
        super().__init__(prefix, subject)
        self._lifetime = seconds(lifetime, "lifetime")
        if type(rolling) is not bool:
            message = f"rolling={rolling!r} is True or False, as of starsessions' middleware"
            raise ConfigError(message)
        self._begins = "last_access" if rolling else "created"

    def load(self, raw: bytes) -> dict[str, Any]:
        """The members of the JSON. Raises `InvalidToken`."""
        return _mapping(parse_json(raw))

    def dump(self, tree: dict[str, Any]) -> bytes:
        """JSON."""
        return json.dumps(tree).encode()

    def check(self, data: dict[str, Any]) -> None:
        """What JSON carries."""
        check_plain(data, finite=True, binary=False, wide=True)

    def members(self, previous: dict[str, Any] | None, content: Content, now: int) -> dict[str, Any]:
        """`__metadata__`: when it began, was used last, and how long it may live."""
        kept = None if previous is None else previous.get("__metadata__")
        fresh = {"lifetime": self._lifetime, "created": now}
        return {"__metadata__": {**fresh, **(kept if type(kept) is dict else {}), "last_access": now}}

    def ends(self, tree: dict[str, Any]) -> int:
        """`created`, or `last_access`, and `lifetime` of its metadata."""
        kept = tree.get("__metadata__")
        if type(kept) is not dict or not kept.get("lifetime"):
            return NEVER
        return min(int(kept[self._begins] + kept["lifetime"]), NEVER)


def _mapping(value: Any) -> dict[str, Any]:
    if type(value) is not dict or not all(type(name) is str for name in value):
        malformed("a session is a mapping with text as its keys")
    found: dict[str, Any] = value
    return found


def _drawn(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))

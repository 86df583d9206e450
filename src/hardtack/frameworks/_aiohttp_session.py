"""The API of aiohttp-session on hardtack: its `Session`, its storages, and `AbstractStorage` for those of one's own."""

from __future__ import annotations

import abc
import base64
import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NotRequired, TypedDict

from aiohttp import web
from cryptography.fernet import Fernet

from hardtack.adapters import replace_state, set_fields, state_of, touch
from hardtack.cookies import Cookie
from hardtack.engines.cookie import CookieEngine
from hardtack.errors import ConfigError
from hardtack.foreign.aiohttp_session import AiohttpSessionCookie
from hardtack.lifetime import seconds
from hardtack.manager import SessionManager
from hardtack.protocols import Context
from hardtack.record import Record
from hardtack.session import Session as CoreSession
from hardtack.state import LIVE, State, nothing
from hardtack.tokens.encrypted import EncryptedToken, last_value
from hardtack.tokens.keys import Key, Keyring

COOKIE_NAME: Final = "AIOHTTP_SESSION"

LONGEST: Final = "400 days"
"""How long a session of a drop-in storage lives at most, however often it is written: aiohttp-session has no such limit."""

_FERNET: Final = ("gAAAA", '"gAAAA')
"""How a Fernet token begins until 2106, in quotes or not: version and upper bytes of the time. Ours begin with "AQ"."""


class SetupError(ConfigError, RuntimeError):
    """A `ConfigError` where aiohttp-session raises `RuntimeError`."""


class SessionData(TypedDict, total=False):
    """What a storage of one's own keeps of a session."""

    created: int
    session: dict[str, Any]


class _OwnState(State):
    """What a session of a storage of one's own knows of itself."""

    def __init__(self, identity: Any, new: bool, created: int, max_age: int | None, before: dict[str, Any]) -> None:
        super().__init__(None, "", None)
        self.meta = nothing()
        self.phase = LIVE
        self.identity = identity
        self.new = new
        self.created = created
        self.max_age = max_age
        self.before = before


class Session(CoreSession):
    """`hardtack.Session` with the members of aiohttp-session's.

    `Session(identity, data=…, new=…)` is for storages of one's own, and has no manager.
    """

    __slots__ = ()

    def __init__(
        self, identity: Any = None, *, data: SessionData | None = None, new: bool = True, max_age: int | None = None
    ) -> None:
        now = int(time.time())
        known = data or {}
        created = known.get("created")
        kept = known.get("session") or {}
        if max_age is not None and created and now - created > max_age:
            kept = {}
        super().__init__(kept)
        is_new = new or data == {}
        own = _OwnState(
            identity=None if data == {} else identity,
            new=is_new,
            created=created if created and not is_new else now,
            max_age=max_age,
            before=copy.deepcopy(dict(kept)),
        )
        replace_state(self, own)

    @property
    def new(self) -> bool:
        """Whether nothing is stored of this session yet."""
        state = state_of(self)
        return state.new if isinstance(state, _OwnState) else self.is_new

    @property
    def identity(self) -> Any:
        """The session's public handle, None while it is new; in a storage of one's own what that has set."""
        state = state_of(self)
        if isinstance(state, _OwnState):
            return state.identity
        return None if self.is_new else self.id

    @property
    def created(self) -> int:
        """When the session began, Unix seconds; in a storage of one's own when it was last changed."""
        state = state_of(self)
        if isinstance(state, _OwnState):
            return state.created if dict(self) == state.before else int(time.time())
        return touch(self).meta.created or int(time.time())

    @property
    def empty(self) -> bool:
        """Whether the session holds nothing."""
        return not len(self)

    @property
    def max_age(self) -> int | None:
        """Seconds that the session lives and the browser keeps its cookie; None: until the browser ends.

        Assignable; it runs from the beginning of the session, and cannot be longer than the manager's.
        """
        state = touch(self)
        if isinstance(state, _OwnState):
            return state.max_age
        assert state.core is not None
        settings, options = state.core.settings, state.meta.options
        if not options.get("persistent", settings.persistent):
            return None
        age: int = options.get("lifetime", settings.idle_timeout or settings.lifetime)
        return age

    @max_age.setter
    def max_age(self, value: int | None) -> None:
        state = touch(self)
        if isinstance(state, _OwnState):
            state.max_age = value
            return
        set_fields(
            self,
            subject=state.meta.subject,
            persistent=value is not None,
            lifetime=None if value is None else seconds(value, "max_age"),
            expires=state.meta.options.get("expires"),
        )

    def changed(self) -> None:
        """Force a save. Changes are found without it, nested ones included."""
        self.modified = True

    def invalidate(self) -> None:
        """End the session; what is put into it from now on belongs to a new one."""
        state = state_of(self)
        if not isinstance(state, _OwnState):
            self.destroy()
            return
        self.clear()
        state.before = {}
        state.forced = True

    def set_new_identity(self, identity: Any) -> None:
        """Set the identity of a new session of a storage of one's own. Raises `SetupError`.

        Hardtack draws the ids of its sessions itself: one that comes from anywhere else invites session fixation.
        """
        if not self.new:
            raise SetupError("the identity of a session that is not new cannot be changed; use session.regenerate()")
        state = state_of(self)
        if not isinstance(state, _OwnState):
            raise SetupError("hardtack draws the ids of its sessions itself; leave set_new_identity() out")
        state.identity = identity

    @property
    def is_changed(self) -> bool:
        """Whether there is something to save, nested changes included."""
        state = state_of(self)
        if isinstance(state, _OwnState):
            return state.forced or dict(self) != state.before
        return self.modified

    @property
    def _changed(self) -> bool:
        """What storages written for aiohttp-session call it."""
        return self.is_changed

    @property
    def _mapping(self) -> dict[str, Any]:
        return dict(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [new:{self.new}, changed:{self.is_changed}, created:{self.created}] {dict(self)!r}>"

    __str__ = __repr__


class _CookieParams(TypedDict):
    domain: str | None
    max_age: int | None
    path: str
    secure: bool | None
    httponly: bool
    samesite: str | None
    expires: NotRequired[str]


class AbstractStorage(abc.ABC):
    """What a storage of one's own inherits: `load_session` and `save_session` as aiohttp-session calls them.

    Such a storage keeps what it always kept, and gets nothing of hardtack's own: no deadlines, no merging, no ended
    sessions. A `hardtack.protocols.AsyncStore` in a `StoreEngine` is the way to all that.
    """

    def __init__(
        self,
        *,
        cookie_name: str = COOKIE_NAME,
        domain: str | None = None,
        max_age: int | None = None,
        path: str = "/",
        secure: bool | None = None,
        httponly: bool = True,
        samesite: str | None = None,
        encoder: Callable[[object], str] = json.dumps,
        decoder: Callable[[str], Any] = json.loads,
    ) -> None:
        self._cookie_name = cookie_name
        self._cookie_params = _CookieParams(
            domain=domain, max_age=max_age, path=path, secure=secure, httponly=httponly, samesite=samesite
        )
        self._max_age = max_age
        self._encoder = encoder
        self._decoder = decoder

    @property
    def cookie_name(self) -> str:
        """The cookie's name."""
        return self._cookie_name

    @property
    def max_age(self) -> int | None:
        """Seconds that a session lives after its last change; None: no limit."""
        return self._max_age

    @property
    def cookie_params(self) -> _CookieParams:
        """The cookie's attributes, as `StreamResponse.set_cookie` takes them."""
        return self._cookie_params

    def _get_session_data(self, session: Session) -> SessionData:
        return {} if session.empty else {"created": session.created, "session": session._mapping}

    async def new_session(self) -> Session:
        """A session of which nothing is stored."""
        return Session(None, data=None, new=True, max_age=self.max_age)

    @abc.abstractmethod
    async def load_session(self, request: web.Request) -> Session:
        """The session of a request."""

    @abc.abstractmethod
    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Save the session, and set its cookie on the response."""

    def load_cookie(self, request: web.Request) -> str | None:
        """The value of the request's cookie."""
        return request.cookies.get(self._cookie_name)

    def save_cookie(self, response: web.StreamResponse, cookie_data: str, *, max_age: int | None = None) -> None:
        """Set the cookie on the response, or clear it where there is no data. `max_age` in seconds."""
        params = self._cookie_params.copy()
        if max_age is not None:
            params["max_age"] = max_age
            params["expires"] = time.strftime("%a, %d-%b-%Y %T GMT", time.gmtime(time.time() + max_age))
        if cookie_data:
            response.set_cookie(self._cookie_name, cookie_data, **params)
        else:
            response.del_cookie(self._cookie_name, domain=params["domain"], path=params["path"])


class ManagedStorage(AbstractStorage):
    """A storage whose sessions are a manager's; the middleware uses the manager."""

    sessions: SessionManager

    async def load_session(self, request: web.Request) -> Session:
        """The session of a request, which loads itself when it is touched."""
        session = await self.sessions.aopen(cookie_header(request), kind=Session)
        assert isinstance(session, Session)
        return session

    async def new_session(self) -> Session:
        """A session of which nothing is stored."""
        session = self.sessions.open(None, kind=Session)
        assert isinstance(session, Session)
        return session

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Commit the session to the headers of the response. Raises what `SessionManager.acommit` raises."""
        response.headers.extend(await self.sessions.acommit(session))


class EncryptedCookieStorage(ManagedStorage):
    """Sessions in an encrypted cookie, in the place of aiohttp-session's storage of this name, with its arguments.

    It writes hardtack's own tokens, under a key made from `secret_key`, and reads Fernet cookies as well, so that nobody is
    logged out; they are replaced when they are used. `max_age` runs from the last use; without it the session lives until
    the browser ends. No session outlives 400 days.

    Args:
        secret_key: 32 bytes, their base64url (44 characters), or a `Fernet` object.

    Raises `ConfigError`.
    """

    def __init__(
        self,
        secret_key: str | bytes | bytearray | Fernet,
        *,
        cookie_name: str = COOKIE_NAME,
        domain: str | None = None,
        max_age: int | None = None,
        path: str = "/",
        secure: bool | None = None,
        httponly: bool = True,
        samesite: str | None = None,
        encoder: Callable[[object], str] = json.dumps,
        decoder: Callable[[str], Any] = json.loads,
    ) -> None:
        super().__init__(
            cookie_name=cookie_name,
            domain=domain,
            max_age=max_age,
            path=path,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )
        if encoder is not json.dumps or decoder is not json.loads:
            raise ConfigError(
                "encoder and decoder are not used: sessions keep the types of their values; leave them out"
            )
        secret = bytes(secret_key) if isinstance(secret_key, bytearray) else secret_key
        old = AiohttpSessionCookie(secret, cookie_name=cookie_name, path=path, domain=domain, max_age=max_age)
        key = Key.from_framework_secret(_text(secret), framework="aiohttp-session")
        self.sessions = _manager(_TokenOrFernet(Keyring(current=key), old), self)


class SimpleCookieStorage(ManagedStorage):
    """For tests: sessions in a cookie under a key that ends with the process.

    aiohttp-session's storage of this name trusts whatever the client sends; this one encrypts.
    """

    def __init__(
        self,
        *,
        cookie_name: str = COOKIE_NAME,
        domain: str | None = None,
        max_age: int | None = None,
        path: str = "/",
        secure: bool | None = None,
        httponly: bool = True,
        samesite: str | None = None,
    ) -> None:
        super().__init__(
            cookie_name=cookie_name,
            domain=domain,
            max_age=max_age,
            path=path,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )
        self.sessions = _manager(EncryptedToken(Key.generate()), self)


class _TokenOrFernet(EncryptedToken):
    """Our token; a cookie of Fernet's shape is read by the old format, and counts as sealed under an old key."""

    def __init__(self, keys: Keyring, old: AiohttpSessionCookie) -> None:
        super().__init__(keys)
        self._old = old

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        """The record in the cookie. Raises `InvalidToken`."""
        # The shape decides, and a failed MAC never falls through to the other reader.
        if last_value(cookies, context.cookie_name).startswith(_FERNET):
            return self._old.open(cookies, context)
        return super().open(cookies, context)

    def is_current(self, cookies: Mapping[str, Sequence[str]], context: Context) -> bool:
        """Whether the (good) token in the cookie is ours."""
        return not last_value(cookies, context.cookie_name).startswith(_FERNET)


def _manager(token: EncryptedToken, storage: AbstractStorage) -> SessionManager:
    params = storage.cookie_params
    samesite: Literal["Lax", "Strict", "None"] | None = params["samesite"]  # type: ignore[assignment]
    return SessionManager(
        CookieEngine(token),
        cookie=Cookie(
            name=storage.cookie_name,
            path=params["path"],
            domain=params["domain"],
            secure=bool(params["secure"]),
            httponly=params["httponly"],
            samesite=samesite,
        ),
        lifetime=LONGEST,
        idle_timeout=storage.max_age,
        persistent=storage.max_age is not None,
    )


def _text(secret: str | bytes | Fernet) -> str:
    """The 44 characters of a Fernet key, in whatever form it was given."""
    if isinstance(secret, Fernet):
        return base64.urlsafe_b64encode(secret._signing_key + secret._encryption_key).decode()
    if isinstance(secret, bytes) and len(secret) == 32:
        return base64.urlsafe_b64encode(secret).decode()
    return secret if isinstance(secret, str) else secret.decode()


def cookie_header(request: web.BaseRequest) -> bytes:
    """The raw Cookie header; the bytes, because aiohttp decodes as UTF-8."""
    return b"; ".join([value for name, value in request.raw_headers if name.lower() == b"cookie"])


# Before aiohttp 3.14 the keys of requests are text.
request_key: Any = getattr(web, "RequestKey", lambda name, kind: name)

SESSION_NAME: Final = "aiohttp_session"
"""Where aiohttp-session itself keeps the session, and extensions of it look for one: aiohttp-security."""

SESSION_KEY: Final[web.RequestKey[Session]] = request_key(SESSION_NAME, Session)
STORAGE_KEY: Final[web.RequestKey[AbstractStorage]] = request_key("aiohttp_session_storage", AbstractStorage)

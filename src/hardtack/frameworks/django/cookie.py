"""What the two cookie engines share: the short way for the usual case, one cookie and nothing beside it."""

from __future__ import annotations

import secrets
from typing import Any

from hardtack.cookies import MAX_SET_COOKIE
from hardtack.engines.cookie import CookieEngine
from hardtack.errors import InvalidToken
from hardtack.events import Created, IdChanged, Opened, Rejected
from hardtack.frameworks.django import base
from hardtack.protocols import Context
from hardtack.record import Record

_ATTRIBUTES = 1024  # more than the attributes of a cookie take: a value that leaves them as much room fits


class SessionStore(base.SessionStore):
    """A session in its cookie. Whatever is unusual takes the long way, which gives the same answer."""

    _found: Record | None = None  # what the short way opened or sealed
    _found_current = True

    def _short(self) -> Any:
        """The token format where the short way is open: no chunks, no other system's cookie, no list of ended sessions."""
        manager, header = self.manager, self._header
        engine: Any = manager.engine
        if manager.accept or type(engine) is not CookieEngine or engine.revocations is not None or not engine.native:
            return None
        if header is not None:
            name = manager.cookie.name
            if header.count(name) > 1 or f"{name}." in header:
                return None
        return engine.token

    @property
    def _stored(self) -> Record | None:
        return self._found or super()._stored

    def _renewal_due(self) -> bool:
        record, manager = self._found, self.manager
        if record is None:
            return super()._renewal_due()
        if manager.idle_timeout is not None and manager._renewal_due(record.seen, manager._now()):
            return True
        return not self._found_current

    def load(self) -> dict[str, Any]:
        """The data; {} and no key where there is no such session."""
        token, key = self._short(), self.session_key
        return super().load() if token is None or key is None else self._open(token, key)

    async def aload(self) -> dict[str, Any]:
        """`load` under async code."""
        token, key = self._short(), self.session_key
        return await super().aload() if token is None or key is None else self._open(token, key)

    def _open(self, token: Any, key: str) -> dict[str, Any]:
        record = self._opened(token, key)
        if record is None:
            self._session_key = None
            self._found = None
            return {}
        return self._take(record)

    def _opened(self, token: Any, key: str) -> Record | None:
        manager = self.manager
        name = manager.cookie.name
        context = Context(name, manager.purpose, manager._now())
        cookies = {name: (key,)}
        try:
            record: Record = token.open(cookies, context)
        except InvalidToken as error:
            manager.emit(Rejected, error.reason, name)
            return None
        if not manager.admit(record, context):
            return None
        self._found = record
        self._found_current = token.is_current(cookies, context)
        manager.emit(Opened, record.id, record.subject)
        return record

    def save(self, must_create: bool = False) -> None:
        """Seal the session; its key is then the new cookie. Raises `SessionTooLarge`, `UnsupportedValue`."""
        if not self._seal(self._get_session(no_load=must_create), must_create=must_create):
            super().save(must_create)
        self.modified = True  # as in Django: the response is to carry the new cookie

    async def asave(self, must_create: bool = False) -> None:
        """`save` under async code."""
        if not self._seal(await self._aget_session(no_load=must_create), must_create=must_create):
            await super().asave(must_create)
        self.modified = True

    def cycle_key(self) -> None:
        """A new key for the same data. A cookie that somebody copied lives to its deadline."""
        data = self._session
        if self.session_key is None or not self._seal(data, rotate=True):
            super().cycle_key()
        self.modified = True

    async def acycle_key(self) -> None:
        """`cycle_key` under async code."""
        data = await self._aget_session()
        if self.session_key is None or not self._seal(data, rotate=True):
            await super().acycle_key()
        self.modified = True

    def _seal(self, data: dict[str, Any], *, must_create: bool = False, rotate: bool = False) -> bool:
        """Seal by the short way; False where that is closed, or the cookie would be too large."""
        token, key, manager = self._short(), self.session_key, self.manager
        if token is None:
            return False
        if must_create or key is None:
            self._found = None
        elif self._found is None:  # the data was replaced without a look at what was there: clear()
            self._opened(token, key)
        old = self._found
        new = self._record(data, old, secrets.token_bytes(16) if old is None or rotate else None)
        context = manager._context()
        name = context.cookie_name
        value: str = token.seal(new, context)[name]
        lines: list[str] = []
        if self._header is not None or len(value) > MAX_SET_COOKIE - _ATTRIBUTES:
            age = manager._max_age(new, manager._deadlines(new).nearest, context.now)
            lines = [manager.cookie.set_cookie(name, value, age, context.now)]
            if len(lines[0]) > MAX_SET_COOKIE:
                return False
        self._found, self._found_current = new, True
        if self._own_encoding:
            self._set_base(new)
        else:
            self._base = self._encoded(data)
        self._session_key = value
        self.lines = lines
        if self._header is not None:
            self._header = f"{name}={value}"
        if old is None:
            manager.emit(Created, new.id)
        elif rotate:
            manager.emit(IdChanged, old.id, new.id, manager.engine.old_still_valid)
        return True

    def _forget(self) -> None:
        super()._forget()
        self._found = None

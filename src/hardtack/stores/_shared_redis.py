"""Redis shared with another system: the entry under its key, in its form, and beside it the ids that were ended.

The version of an entry is a digest of its bytes. An id that was ended is remembered under a key of hardtack's own, where the
other system does not take it for a session; for as long as it is there, what is under the id is none.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

from hardtack import record as records
from hardtack.errors import ConfigError, InvalidToken, StoreUnavailable
from hardtack.protocols import Entry, NativeIds, Tombstone, Version, VersionConflict
from hardtack.stores._common import new_version_bytes
from hardtack.stores._steps import Request, Steps
from hardtack.stores.file_layout import Content, Damaged
from hardtack.stores.shared_layout import SharedLayout

_log = logging.getLogger("hardtack")

ENDED = b"hardtack:ended:"
"""What the key of an ended id begins with, before the other system's key."""

_SCAN = 500  # keys that Redis looks at in one step, in which it does nothing else

_STATE = """\
local function state()
  local value = redis.call('GET', KEYS[2]) or redis.call('GET', KEYS[1])
  return value and redis.sha1hex(value) or ''
end
"""
# Each looks first whether it has been carried out already: redis-py sends a command again when the connection broke before
# the answer, and that must not look like a conflict with ourselves.
_PUT = (
    _STATE
    + """\
local old = state()
if old == redis.sha1hex(ARGV[2]) then return 1 end
if old ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[3], ARGV[2])
redis.call('EXPIREAT', KEYS[3], ARGV[3])
if KEYS[3] == KEYS[2] then redis.call('DEL', KEYS[1]) else redis.call('DEL', KEYS[2]) end
return 1
"""
)
_DELETE = (
    _STATE
    + """\
local old = state()
if ARGV[1] ~= '' and old ~= '' and old ~= ARGV[1] then return 2 end
redis.call('DEL', KEYS[1], KEYS[2])
return old == '' and 0 or 1
"""
)


class SharedLogic:
    """What is sent to Redis, for both twins."""

    def __init__(self, layout: SharedLayout, cluster: bool) -> None:
        if not isinstance(layout, SharedLayout):
            message = (
                f"layout={type(layout).__name__} must be one of hardtack.foreign.layouts, such as ExpressLayout(secret)"
            )
            raise ConfigError(message)
        if cluster:
            raise ConfigError("layout= is not for a Redis Cluster: a session and its end would be on two nodes")
        self._layout = layout
        self._prefix = layout.prefix.encode()

    @property
    def ids(self) -> NativeIds:
        """The other system's."""
        return self._layout.ids

    def get(self, key: str) -> Steps[Entry | None]:
        session, ended = yield Request("MGET", *self._keys(key))
        raw = session if ended is None else ended
        if raw is None:
            return None
        if not isinstance(raw, bytes):
            raise StoreUnavailable("Redis answered an MGET with something that is no string")
        if ended is not None:
            return Entry(ended, _version(ended))
        content = self._decoded(session, key)
        if content is None:
            return Entry(b"", _version(session))  # it cannot be read, but replaced and deleted
        alive = yield from self._is_alive(content, key)
        return Entry(content.data, _version(session)) if alive else None

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Steps[Version]:
        keys = self._keys(key)
        if _is_tombstone(data):
            return (yield from self._change([*keys, keys[1]], if_version, data, expires_at))
        previous = yield Request("GET", keys[0])
        content = Content(data, expires_at, subject, new_version_bytes().hex())
        raw = self._layout.encode(content, previous, int(time.time()))
        return (yield from self._change([*keys, keys[0]], if_version, raw, expires_at))

    def delete(self, key: str, *, if_version: Version | None) -> Steps[bool]:
        reply = yield Request("EVAL", _DELETE, 2, *self._keys(key), if_version or "")
        if reply == 2:
            raise VersionConflict("the entry was changed")
        return bool(reply)

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Version,
        subject: str | None,
        tombstone: Tombstone | None,
    ) -> Steps[Version]:
        yield from ()
        raise NotImplementedError("the other system begins its own members anew under a new id")

    def find(self, subject: str) -> Steps[list[str]]:
        """Reads every entry: for now and then, not for every request."""
        return [key for key, content in (yield from self._live()) if content.subject == subject]

    def count(self, subject: str | None) -> Steps[int]:
        """Reads every entry, as `find` does."""
        live = yield from self._live()
        return sum(1 for _, content in live if subject is None or content.subject == subject)

    def resolve(self, handle: bytes) -> Steps[str | None]:
        """The id with that public handle. Reads every key."""
        for key in (yield from self._all()):
            if self._layout.ids.handle(key) == handle:
                return key
        return None

    def _live(self) -> Steps[list[tuple[str, Content]]]:
        live = []
        for key in (yield from self._all()):
            session, ended = yield Request("MGET", *self._keys(key))
            if session is None or ended is not None:
                continue
            content = self._decoded(session, key)
            if content is not None and (yield from self._is_alive(content, key)):
                live.append((key, content))
        return live

    def _is_alive(self, content: Content, key: str) -> Steps[bool]:
        """Whether an entry has not ended: by what is in it, or by the end that its key has where that decides."""
        if content.expires_at > time.time():
            return True
        if not self._layout.store_decides:
            return False
        return int((yield Request("PTTL", self._keys(key)[0]))) > 0

    def _all(self) -> Steps[list[str]]:
        """The ids of all entries. SCAN may tell one twice."""
        pattern = re.sub(rb"([*?\[\]\\^-])", rb"\\\1", self._prefix) + b"*"
        found: dict[str, None] = {}
        cursor: Any = 0
        while True:
            cursor, keys = yield Request("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN)
            found.update(dict.fromkeys(self._ids_of(keys)))
            if not int(cursor):
                return list(found)

    def _ids_of(self, keys: list[bytes]) -> Iterator[str]:
        for key in keys:
            text = key[len(self._prefix) :].decode("utf-8", "replace")
            if self._layout.ids.accepts(text):
                yield text

    def _decoded(self, raw: bytes, key: str) -> Content | None:
        try:
            return self._layout.decode(raw, key, int(time.time()))
        except Damaged:
            # Not its key: that is a login.
            _log.warning(
                "an entry in Redis of another system is damaged, or of a form that is refused: %s",
                type(self._layout).__name__,
            )
            return None

    def _change(self, keys: list[bytes], version: Version | None, raw: bytes, expires_at: int) -> Steps[Version]:
        reply = yield Request("EVAL", _PUT, len(keys), *keys, version or "", raw, expires_at)
        if reply == 0:
            raise VersionConflict("the entry was changed, is gone, or exists already")
        if reply != 1:
            raise StoreUnavailable("Redis answered a script with something that the script does not return")
        return _version(raw)

    def _keys(self, key: str) -> list[bytes]:
        """The key of the session, and the one that says that it was ended."""
        raw = self._prefix + key.encode()
        return [raw, ENDED + raw]


def _version(raw: bytes) -> str:
    return hashlib.sha1(raw, usedforsecurity=False).hexdigest()


def _is_tombstone(data: bytes) -> bool:
    try:
        return "ended" in records.unpack(data).options
    except InvalidToken:
        return False


def logic(otherwise: Any, layout: SharedLayout | None, *, cluster: bool) -> Any:
    """The logic of a store with this layout, or the store's own."""
    return otherwise if layout is None else SharedLogic(layout, cluster)

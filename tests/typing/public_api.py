"""Never run, only type-checked, by both checkers: the public names have the types that an application expects of them.

`assert_type` states what a call gives; a `type: ignore` that is not needed is an error, and so states what is refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import Any, assert_type

import msgspec
from pydantic import BaseModel

from hardtack import (
    Cookie,
    CookieEngine,
    EncryptedToken,
    Key,
    Keyring,
    Record,
    Session,
    SessionManager,
    SignedToken,
    StoreEngine,
    errors,
    events,
)
from hardtack.changes import Changes
from hardtack.protocols import AsyncStore, Entry, Store, TokenFormat, Version
from hardtack.session import Flash
from hardtack.stores.memory import MemoryStore


@dataclass
class Cart:
    """A view as a dataclass."""

    items: list[str] = field(default_factory=list)


class Visits(msgspec.Struct):
    """A view as a Struct."""

    count: int = 0


class Basket(BaseModel):
    """A view as a model."""

    items: list[str] = []


def keys() -> Keyring:
    """Keys are made of text, and rings of keys."""
    key = assert_type(Key.generate(), Key)
    assert_type(key.export(), str)
    assert_type(key.id, bytes)
    assert_type(Key.parse("htk1_…"), Key)
    assert_type(Key.from_passphrase("correct horse battery staple", salt="example.org"), Key)
    assert_type(Key.from_framework_secret(b"secret", framework="flask"), Key)
    assert_type(Keyring.from_file("keys.toml", reload="10 seconds"), Keyring)
    assert_type(Keyring(key).snapshot(), Keyring)
    Keyring("htk1_…")  # type: ignore[arg-type]
    Keyring(accept=[key])  # type: ignore[call-arg]
    return Keyring(current=key, accept=[Key.generate()])


def managers(ring: Keyring, store: Store, async_store: AsyncStore, token: TokenFormat) -> None:
    """Engines take tokens and stores, managers take engines and durations."""
    SessionManager(Key.generate())
    SessionManager(ring)
    SessionManager(CookieEngine(ring))
    SessionManager(CookieEngine(EncryptedToken(ring), overflow="chunk", max_header=6000))
    SessionManager(CookieEngine(SignedToken(ring)))
    SessionManager(CookieEngine(token))
    SessionManager(StoreEngine(store, on_conflict="raise", on_store_error="anonymous", seal=ring))
    SessionManager(StoreEngine(async_store), accept=[token])
    SessionManager(
        StoreEngine(MemoryStore()),
        cookie=Cookie(name="__Host-shop", samesite="Strict", partitioned=True),
        lifetime=dt.timedelta(days=14),
        idle_timeout=7200,
        persistent=True,
        purpose="shop",
        on_event=print,
        clock=lambda: 0.0,
    )
    CookieEngine(ring, overflow="drop")  # type: ignore[arg-type]
    StoreEngine(store, on_conflict="ignore")  # type: ignore[arg-type]
    SessionManager(ring, lifetime=1.5)  # type: ignore[arg-type]
    Cookie(samesite="Sometimes")  # type: ignore[arg-type]


def request(sessions: SessionManager) -> None:
    """The three calls of a request."""
    session = assert_type(sessions.open("__Host-Http-session=…"), Session)
    sessions.open(b"bytes")
    sessions.open(None)
    changes = assert_type(sessions.commit(session), Changes)
    assert_type(changes.set_cookies, list[str])
    headers: list[tuple[str, str]] = [*changes]
    raw: list[tuple[bytes, bytes]] = []
    changes.apply(headers)
    changes.apply(raw)
    sessions.finish(session)
    sessions.open({"Cookie": "a"})  # type: ignore[arg-type]


async def async_request(sessions: SessionManager) -> None:
    """The same under async code."""
    async with sessions:
        session = assert_type(await sessions.aopen(None), Session)
        await session.load()
        assert_type(await sessions.acommit(session), Changes)
        await sessions.afinish(session)
        waiting: Awaitable[dict[str, Any]] = sessions.aupdate(session, lambda data: data.update(a=1))
        await waiting
        assert_type(await sessions.aend("id"), bool)
        assert_type(await sessions.aend_all("alice", keep=session.id), int)
        assert_type([info.id for info in await sessions.alist("alice")], list[str])


def handler(session: Session) -> None:
    """A session is a dict of anything under text."""
    session["cart"] = ["bread"]
    plain: dict[str, Any] = session
    session[1] = 2  # type: ignore[index]
    assert_type(plain["cart"], Any)
    assert_type(session.id, str)
    assert_type(session.subject, str | None)
    assert_type(session.is_new, bool)
    assert_type(session.accessed, bool)
    assert_type(session.degraded, bool)
    assert_type(session.created_at, dt.datetime | None)
    assert_type(session.authenticated_at, dt.datetime | None)
    assert_type(session.seen_at, dt.datetime | None)
    assert_type(session.expires_at, dt.datetime | None)
    session.modified = True
    session.login("alice", lifetime="1 hour", persistent=True)
    session.login(7)  # type: ignore[arg-type]
    session.regenerate()
    session.flash("Welcome", category="greeting")
    assert_type(session.flashes("greeting"), list[Flash])
    session.logout()
    session.destroy()
    Session({"a": 1})
    Session()


def views(session: Session) -> None:
    """A view has the type that it was asked for."""
    assert_type(session.view(Cart), Cart).items.append("bread")
    assert_type(session.view(Visits), Visits).count += 1
    assert_type(session.view(Basket), Basket).items.append("bread")
    session.view(Cart).price  # type: ignore[attr-defined] # noqa: B018


def administration(sessions: SessionManager) -> None:
    """What a manager does beside requests."""
    with sessions:
        assert_type(sessions.update("id", lambda data: None), dict[str, Any])
        assert_type(sessions.end("id"), bool)
        assert_type(sessions.end_all("alice"), int)
        for info in sessions.list("alice"):
            assert_type(info.id, str)
            assert_type(info.created_at, dt.datetime)
            assert_type(info.authenticated_at, dt.datetime | None)


def listener(event: events.Event) -> str:
    """Events are matched by their class, and know their fields."""
    match event:
        case events.Rejected(reason=reason):
            return assert_type(reason, str)
        case events.Conflict(paths=paths):
            return ", ".join(assert_type(paths, tuple[str, ...]))
        case events.IdChanged(old_still_valid=valid):
            return str(assert_type(valid, bool))
        case _:
            return str(event)


def failures(sessions: SessionManager, session: Session) -> Iterable[str]:
    """Errors carry data."""
    try:
        sessions.commit(session)
    except errors.SessionTooLarge as error:
        yield assert_type(error.biggest, list[tuple[str, int]])[0][0]
    except errors.UnsupportedValue as error:
        yield assert_type(error.path, str)
    except errors.StoreUnavailable as error:
        yield from error.set_cookies
    except errors.HardtackError as error:
        yield str(error)


class OwnStore:
    """A store that is none of ours is one by its methods."""

    blocking = True

    def get(self, key: str) -> Entry | None:
        return None

    def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        return 1

    def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        return False

    def close(self) -> None:
        """Nothing."""


class HalfAStore:
    """This is none."""

    blocking = True

    def get(self, key: str) -> Entry | None:
        return None


def stores(record: Record) -> None:
    """Stores are taken by what they do."""
    StoreEngine(OwnStore())
    StoreEngine(HalfAStore())  # type: ignore[arg-type]
    assert_type(record.id, bytes)
    assert_type(record.data, dict[str, Any])

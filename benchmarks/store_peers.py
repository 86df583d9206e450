"""What other libraries' session stores do for one request: a load, a read, a change and a save of payload M."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from tests.servers import MemcachedServer, PostgreSQLServer, RedisServer, Server

from benchmarks.interleave import PAYLOADS

PAYLOAD = PAYLOADS["M"]
LIFETIME = 14 * 86400

Call = Callable[[], object]


def flask_session(client: Any) -> Call:
    """Flask-Session's interface on Redis; the request and the response are ready, and cost nothing."""
    import flask.testing
    from flask_session.redis import RedisSessionInterface  # type: ignore[import-untyped]

    app = flask.Flask("benchmark")
    interface = RedisSessionInterface(app, client=client)
    session = interface.session_class(PAYLOAD, sid="0" * 43)
    interface._upsert_session(timedelta(seconds=LIFETIME), session, f"session:{session.sid}")
    request = flask.Request(flask.testing.EnvironBuilder(app).get_environ() | {"HTTP_COOKIE": f"session={session.sid}"})
    response = flask.Response()

    def turn() -> None:
        response.headers.clear()
        session = interface.open_session(app, request)
        session["user_id"] += 1
        interface.save_session(app, session, response)

    return turn


async def starsessions(client: Any) -> Callable[[], Awaitable[object]]:
    """The handler of starsessions, which its middleware loads and saves with."""
    from starlette.requests import HTTPConnection
    from starsessions import JsonSerializer
    from starsessions.session import SessionHandler
    from starsessions.stores.redis import RedisStore as StarsessionsStore

    store, serializer, key = StarsessionsStore(connection=client), JsonSerializer(), "0" * 32
    await store.write(key, serializer.serialize(PAYLOAD), LIFETIME, LIFETIME)

    async def turn() -> None:
        connection = HTTPConnection({"type": "http", "headers": []})
        handler = SessionHandler(connection, key, store, serializer, LIFETIME)
        await handler.load()
        connection.session["user_id"] += 1
        await handler.save(LIFETIME)

    return turn


class Database:
    """Django's router: all of it goes to the database that is measured."""

    alias = "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias

    db_for_write = db_for_read


database = Database()


def configure_django(directory: Path, servers: Mapping[type[Server], Server]) -> None:
    """Tell Django of the servers; its SQLite has the pragmas of SQLiteStore. Settings not named are Django's own."""
    databases: dict[str, Any] = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(directory / "django.sqlite"),
            "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"},
        }
    }
    if server := servers.get(PostgreSQLServer):
        databases["postgresql"] = {
            "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "hardtack",
            "HOST": server.host, "PORT": server.port,
        }  # fmt: skip
    caches: dict[str, Any] = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    if server := servers.get(RedisServer):
        caches["redis"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": server.url}
    if server := servers.get(MemcachedServer):
        location = f"{server.host}:{server.port}"
        caches["memcached"] = {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": location,
            "OPTIONS": {"no_delay": True},
        }
    settings.configure(
        SECRET_KEY="benchmark secret of at least 32 characters",
        INSTALLED_APPS=["django.contrib.sessions"],
        DATABASES=databases,
        DATABASE_ROUTERS=[database],
        CACHES=caches,
    )
    django.setup()


def django_db(alias: str) -> Call:
    """Django's database backend, on the database with this alias."""
    from django.contrib.sessions.backends.db import SessionStore  # type: ignore[import-untyped]
    from django.core.management import call_command  # type: ignore[import-untyped]

    database.alias = alias
    call_command("migrate", database=alias, verbosity=0)
    return _django(SessionStore)


def django_cache(alias: str) -> Call:
    """Django's cache backend, on the cache with this alias."""
    from django.contrib.sessions.backends.cache import SessionStore  # type: ignore[import-untyped]

    settings.SESSION_CACHE_ALIAS = alias
    return _django(SessionStore)


def _django(kind: Any) -> Call:
    first = kind()
    first.update(PAYLOAD)
    first.save()

    def turn() -> None:
        session = kind(first.session_key)
        session["user_id"] += 1
        session.save()

    return turn

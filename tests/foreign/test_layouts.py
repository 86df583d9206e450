"""Stores that are shared with other systems: their entries as they write them, in both directions, on a real Redis."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ormsgpack
import pytest
import redis
import redis.asyncio
from tests.servers import RedisServer

from hardtack import Cookie, Key, SessionManager, StoreEngine
from hardtack import record as records
from hardtack.errors import ConfigError, SessionConflict, StoreError, StoreUnavailable, UnsupportedValue
from hardtack.events import Rejected, StoreFailed
from hardtack.foreign import php
from hardtack.foreign.express import ExpressSessionCookie
from hardtack.foreign.laravel import LaravelIdCookie, laravel_subject
from hardtack.foreign.layouts import ExpressLayout, FlaskSessionLayout, LaravelFiles, LaravelLayout, StarsessionsLayout
from hardtack.protocols import Context, VersionConflict
from hardtack.record import Record
from hardtack.stores._shared_redis import ENDED, SharedLogic
from hardtack.stores.file import FileStore
from hardtack.stores.file_layout import Content
from hardtack.stores.redis import AsyncRedisStore, RedisStore
from hardtack.stores.shared_layout import STAMP, SharedLayout

SECRET = "keyboard cat"
APP_KEY = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HOUR = 3600


def user(data: dict[str, Any]) -> str | None:
    return data.get("user")


class System:
    """What a test has to know of another system."""

    def __init__(
        self,
        layout: Callable[..., SharedLayout],
        known: str,
        cookie: Callable[[str], str],
        write: Callable[[dict[str, Any]], bytes],
        read: Callable[[bytes], Any],
        own: dict[str, Any],
    ) -> None:
        self.layout = layout
        self.id = known
        self.cookie = cookie
        self.write = write
        self.read = read
        self.own = own


def sealed(cookie: Any) -> Callable[[str], str]:
    def value(known: str) -> str:
        name: str = cookie.cookie_name
        made: str = cookie.seal(Record(b"", 0, None, 0, None, {}, {"session_id": known}), Context(name, "", 0))[name]
        return made

    return value


def laravel_text(data: dict[str, Any]) -> bytes:
    inner = php.write(data)
    return b's:%d:"%b";' % (len(inner), inner)


EXPRESS_COOKIE = {"originalMaxAge": None, "expires": None, "httpOnly": True, "path": "/"}

SYSTEMS = {
    "express": System(
        lambda **more: ExpressLayout(SECRET, **more),
        "RPb_BWrMETxmGLvKk3BLGrFhfUOImQ22",
        sealed(ExpressSessionCookie(SECRET, until=1)),
        lambda data: json.dumps(data).encode(),
        json.loads,
        {"cookie": EXPRESS_COOKIE},
    ),
    "laravel": System(
        lambda **more: LaravelLayout(APP_KEY, prefix="laravel_database_laravel_cache_", **more),
        "a" * 40,
        sealed(LaravelIdCookie(APP_KEY, until=1)),
        laravel_text,
        lambda raw: php.read(php.read(raw).encode()),
        {},
    ),
    "flask-session": System(
        FlaskSessionLayout, "f" * 43, str, ormsgpack.packb, ormsgpack.unpackb, {"_permanent": True}
    ),
    "starsessions": System(
        StarsessionsLayout,
        "0" * 32,
        str,
        lambda data: json.dumps(data).encode(),
        json.loads,
        {"__metadata__": {"lifetime": 0, "created": 1_700_000_000.5, "last_access": 1_700_000_001.5}},
    ),
}


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    return SYSTEMS[request.param]


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_server.url)
    client.flushall()
    yield client
    client.close()


class Site:
    """Python's side of a shared store, and what it tells."""

    def __init__(self, client: redis.Redis, layout: SharedLayout) -> None:
        self.events: list[Any] = []
        self.manager = SessionManager(
            StoreEngine(RedisStore(client, layout=layout)),
            cookie=Cookie(name="sid", secure=False),
            on_event=self.events.append,
            lifetime="1 hour",
        )

    def open(self, value: str | None) -> Any:
        return self.manager.open(None if value is None else f"sid={value}")

    def save(self, session: Any) -> str | None:
        """What a browser keeps of the response; None where nothing was set, "" where it was cleared."""
        lines = self.manager.commit(session).set_cookies
        return lines[0].partition(";")[0].partition("=")[2] if lines else None


def key_of(layout: SharedLayout, known: str) -> bytes:
    return (layout.prefix + known).encode()


# --- what the other system wrote


def test_the_other_systems_session_is_read(system: System, client: redis.Redis) -> None:
    """By its own cookie, without its own members, and with the user whom the application sees in the data."""
    layout = system.layout(subject=user)
    client.set(key_of(layout, system.id), system.write({**system.own, "user": "alice", "n": [1, {"a": None}]}))

    session = Site(client, layout).open(system.cookie(system.id))

    assert session == {"user": "alice", "n": [1, {"a": None}]}
    assert session.subject == "alice"


def test_reading_writes_nothing(system: System, client: redis.Redis) -> None:
    """The entry stays as it is, to the byte, and no cookie is set."""
    layout = system.layout()
    raw = system.write({**system.own, "user": "alice"})
    client.set(key_of(layout, system.id), raw)
    site = Site(client, layout)
    session = site.open(system.cookie(system.id))
    assert session["user"] == "alice"

    assert site.save(session) is None
    assert client.get(key_of(layout, system.id)) == raw


def test_a_write_keeps_the_other_systems_members(system: System, client: redis.Redis) -> None:
    """And the other system reads what was written beside them."""
    layout = system.layout()
    client.set(key_of(layout, system.id), system.write({**system.own, "user": "alice"}))
    site = Site(client, layout)
    session = site.open(system.cookie(system.id))
    session["n"] = 1

    assert site.save(session) is None  # the id is the same

    tree = system.read(client.get(key_of(layout, system.id)))  # type: ignore[arg-type]
    tree.pop(STAMP)
    tree.get("__metadata__", {}).pop("last_access", None)
    own = json.loads(json.dumps(system.own))
    own.get("__metadata__", {}).pop("last_access", None)
    assert tree == {**own, "user": "alice", "n": 1}
    assert 0 < client.ttl(key_of(layout, system.id)) <= HOUR


def test_a_session_that_begins_here_is_one_there(system: System, client: redis.Redis) -> None:
    """Under an id of the other system's form, in its cookie, with the members that it asks for."""
    layout = system.layout()
    site = Site(client, layout)
    session = site.open(None)
    session["n"] = 1

    value = site.save(session)

    assert value is not None
    ids: Any = layout.ids
    opened = ids.opened(value) if hasattr(ids, "opened") else value
    tree = system.read(client.get(key_of(layout, opened)))  # type: ignore[arg-type]
    assert tree.keys() == {*system.own, "n", STAMP}
    assert site.open(value) == {"n": 1}


def test_what_the_other_system_changed_is_seen(system: System, client: redis.Redis) -> None:
    """It carries the stamp along; the subject is then what the data says, not what it was."""
    layout = system.layout(subject=user)
    site = Site(client, layout)
    session = site.open(None)
    session["user"] = "alice"
    session.login("alice")
    value = site.save(session)
    assert value is not None
    (key,) = client.keys(layout.prefix + "*")
    tree = system.read(client.get(key))  # type: ignore[arg-type]

    client.set(key, system.write({**tree, "user": "bob"}))
    assert site.open(value).subject == "bob"
    client.set(key, system.write({name: item for name, item in tree.items() if name != "user"}))
    assert site.open(value).subject is None
    client.set(key, system.write(tree))
    assert site.open(value).subject == "alice"


def test_a_logout_here_is_one_there(system: System, client: redis.Redis) -> None:
    """The entry is gone; and a slow request of the other system's, which writes it once more, logs nobody in here."""
    layout = system.layout(subject=user)
    raw = system.write({**system.own, "user": "alice"})
    client.set(key_of(layout, system.id), raw)
    site = Site(client, layout)
    session = site.open(system.cookie(system.id))
    session.logout()

    assert site.save(session) == ""
    assert client.get(key_of(layout, system.id)) is None
    client.set(key_of(layout, system.id), raw)
    assert site.open(system.cookie(system.id)) == {}
    assert [event.reason for event in site.events if isinstance(event, Rejected)] == ["ended"]


def test_a_logout_there_is_one_here(system: System, client: redis.Redis) -> None:
    """What the other system deleted is no session."""
    layout = system.layout()
    site = Site(client, layout)
    session = site.open(None)
    session["n"] = 1
    value = site.save(session)
    (key,) = client.keys(layout.prefix + "*")
    client.delete(key)

    assert site.open(value) == {}


def test_a_login_gives_a_new_id(system: System, client: redis.Redis) -> None:
    """The id from before the login opens nothing, here or there."""
    layout = system.layout(subject=user)
    client.set(key_of(layout, system.id), system.write({**system.own, "cart": [1]}))
    site = Site(client, layout)
    session = site.open(system.cookie(system.id))
    session.login("alice")
    session["user"] = "alice"

    value = site.save(session)

    assert value
    assert client.get(key_of(layout, system.id)) is None
    assert site.open(system.cookie(system.id)) == {}
    assert site.open(value) == {"cart": [1], "user": "alice"}


def test_sessions_of_a_user_are_listed_and_ended(system: System, client: redis.Redis) -> None:
    """Also those that the other system wrote: every entry is read."""
    layout = system.layout(subject=user)
    client.set(key_of(layout, system.id), system.write({**system.own, "user": "alice"}))
    site = Site(client, layout)
    other = site.open(None)
    other["user"] = "bob"
    other.login("bob")
    site.save(other)

    (listed,) = site.manager.list("alice")
    assert [each.id for each in site.manager.list("bob")] == [other.id]
    site.manager.end(listed.id)

    assert site.open(system.cookie(system.id)) == {}
    assert site.manager.list("alice") == []


def test_a_write_that_the_other_system_overtook_is_merged(system: System, client: redis.Redis) -> None:
    """Nothing of either is lost; where both changed one key, it is a conflict."""
    layout = system.layout()
    client.set(key_of(layout, system.id), system.write({**system.own, "a": 1}))
    site = Site(client, layout)
    session = site.open(system.cookie(system.id))
    session["b"] = 1
    client.set(key_of(layout, system.id), system.write({**system.own, "a": 2}))

    site.save(session)

    assert site.open(system.cookie(system.id)) == {"a": 2, "b": 1}


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[1]", b"\x80\x04}", b"null", b'O:8:"stdClass":0:{}', b"i:1;"])
def test_what_cannot_be_read_is_no_session(system: System, client: redis.Redis, raw: bytes) -> None:
    """A pickle, an object or junk is nobody's login and no error; the log does not name the key."""
    layout = system.layout(subject=user)
    client.set(key_of(layout, system.id), raw)
    site = Site(client, layout)

    session = site.open(system.cookie(system.id))

    assert session == {}
    assert any(isinstance(event, StoreFailed) for event in site.events)
    assert site.manager.list("alice") == []


def test_its_own_members_are_taken(system: System, client: redis.Redis) -> None:
    """An application's value under them would be lost, or take the other system in."""
    for name in (STAMP, *system.own):
        site = Site(client, system.layout())
        session = site.open(None)
        session[name] = 1
        with pytest.raises(UnsupportedValue, match=name):
            site.manager.commit(session)


def test_what_it_cannot_carry_is_refused(system: System, client: redis.Redis) -> None:
    """When it is written, not when the other system reads it."""
    site = Site(client, system.layout())
    session = site.open(None)
    session["when"] = {1, 2}
    with pytest.raises(UnsupportedValue, match="when"):
        site.manager.commit(session)


def test_a_stamp_that_somebody_wrote_is_damage(system: System, client: redis.Redis) -> None:
    """Members of the wrong type open nothing."""
    layout = system.layout()
    for stamp in ("", "{}", "[]", "null", json.dumps({"created": "x", "digest": 1, "version": "", "expires_at": 1})):
        client.set(key_of(layout, system.id), system.write({**system.own, "user": "a", STAMP: stamp}))
        assert Site(client, layout).open(system.cookie(system.id)) == {}


# --- cookies


@pytest.mark.parametrize("value", ["", "x" * 300, "s%3Aabc.def", "%00", "a b", "é", "../x", "ended:x"])
def test_a_cookie_that_is_none_asks_nothing(system: System, client: redis.Redis, value: str) -> None:
    """It is malformed before anything is looked up, or an id under which there is nothing."""
    site = Site(client, system.layout())

    assert site.open(value) == {}


@pytest.mark.parametrize("name", ["express", "laravel"])
def test_an_id_without_its_seal_opens_nothing(client: redis.Redis, name: str) -> None:
    """Who reads an id in the store cannot make the cookie of it."""
    system = SYSTEMS[name]
    layout = system.layout()
    client.set(key_of(layout, system.id), system.write({**system.own, "user": "alice"}))

    assert Site(client, layout).open(system.id) == {}
    assert Site(client, layout).open(f"s%3A{system.id}.AAAA") == {}


def test_two_cookies_of_one_id_are_one_session(client: redis.Redis) -> None:
    """Laravel seals its cookie anew with every response."""
    system = SYSTEMS["laravel"]
    layout = system.layout()
    client.set(key_of(layout, system.id), system.write({"user": "alice"}))
    site = Site(client, layout)

    assert site.open(f"{system.cookie(system.id)}; sid={system.cookie(system.id)}") == {"user": "alice"}


def test_two_sessions_cancel_each_other(client: redis.Redis) -> None:
    """A sibling subdomain cannot choose the session."""
    system = SYSTEMS["laravel"]
    layout = system.layout()
    for known in ("a" * 40, "b" * 40):
        client.set(key_of(layout, known), system.write({"user": known}))

    assert Site(client, layout).open(f"{system.cookie('a' * 40)}; sid={system.cookie('b' * 40)}") == {}


# --- Express


def test_a_use_moves_express_end(client: redis.Redis) -> None:
    """`cookie.expires` and the entry's own expiry go together, by `originalMaxAge`, as `rolling` has it."""
    layout = ExpressLayout(SECRET)
    known = SYSTEMS["express"].id
    cookie = {**EXPRESS_COOKIE, "originalMaxAge": 600_000, "expires": "2099-01-02T03:04:05.000Z", "secure": True}
    client.set(key_of(layout, known), json.dumps({"cookie": cookie, "n": 1}))
    site = Site(client, layout)
    session = site.open(SYSTEMS["express"].cookie(known))
    session["n"] = 2
    site.save(session)

    kept = json.loads(client.get(key_of(layout, known)))["cookie"]  # type: ignore[arg-type]
    assert kept.pop("expires") < time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime(time.time() + 601))
    assert kept == {"originalMaxAge": 600_000, "httpOnly": True, "path": "/", "secure": True}


def test_an_express_session_that_has_ended_is_none(client: redis.Redis) -> None:
    """Whatever Redis still has of it."""
    layout = ExpressLayout(SECRET)
    known = SYSTEMS["express"].id
    client.set(
        key_of(layout, known), json.dumps({"cookie": {**EXPRESS_COOKIE, "expires": "2020-01-01T00:00:00Z"}, "n": 1})
    )

    assert Site(client, layout).open(SYSTEMS["express"].cookie(known)) == {}


def test_an_express_session_that_redis_lets_live_is_one(client: redis.Redis) -> None:
    """A use that changes nothing moves the end of the key alone (`EXPIRE`): who is active stays logged in, and is listed."""
    layout = ExpressLayout(SECRET, subject=user)
    known = SYSTEMS["express"].id
    ended = {"cookie": {**EXPRESS_COOKIE, "expires": "2020-01-01T00:00:00Z"}, "user": "alice"}
    client.set(key_of(layout, known), json.dumps(ended), ex=600)
    site = Site(client, layout)

    assert site.open(SYSTEMS["express"].cookie(known)) == {"user": "alice"}
    assert len(site.manager.list("alice")) == 1
    client.persist(key_of(layout, known))
    assert site.manager.list("alice") == []


def test_an_age_that_is_no_number_of_seconds_moves_nothing(client: redis.Redis) -> None:
    """JSON has room for more than a double has: what reads as infinity is not counted with."""
    layout = ExpressLayout(SECRET)
    known = SYSTEMS["express"].id
    client.set(key_of(layout, known), '{"cookie": {"originalMaxAge": 1e999, "expires": null}, "n": 1}')
    site = Site(client, layout)
    session = site.open(SYSTEMS["express"].cookie(known))
    session["n"] = 2
    site.save(session)

    entry = json.loads(client.get(key_of(layout, known)))  # type: ignore[arg-type]
    assert (entry["n"], entry["cookie"]) == (2, EXPRESS_COOKIE)


def test_the_max_age_of_sessions_that_begin_here(client: redis.Redis) -> None:
    """Express reads when its cookie ends from the session."""
    site = Site(client, ExpressLayout(SECRET, max_age="10 minutes"))
    session = site.open(None)
    session["n"] = 1
    site.save(session)
    (key,) = client.keys("sess:*")

    cookie = json.loads(client.get(key))["cookie"]  # type: ignore[arg-type]
    assert cookie["originalMaxAge"] == 600_000
    assert cookie["expires"] is not None


def test_a_damaged_entry_is_replaced_with_fresh_members(client: redis.Redis) -> None:
    """What cannot be read has no members to keep."""
    layout = ExpressLayout(SECRET)
    store = RedisStore(client, layout=layout)
    known = SYSTEMS["express"].id
    client.set(key_of(layout, known), b"junk")
    entry = store.get(known)
    assert entry is not None

    data = records.pack(Record(layout.ids.handle(known), 1, None, 1, None, {}, {"n": 1}))
    store.put(known, data, expires_at=int(time.time()) + 60, if_version=entry.version, subject=None)

    assert json.loads(client.get(key_of(layout, known)))["cookie"] == EXPRESS_COOKIE  # type: ignore[arg-type]


# --- others


def test_laravels_user_is_found(client: redis.Redis) -> None:
    """By the key of its guard."""
    name = "login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d"
    layout = LaravelLayout(APP_KEY, prefix="p:", subject=laravel_subject())
    client.set(key_of(layout, "a" * 40), laravel_text({name: 42, "_token": "x"}))

    assert Site(client, layout).open(SYSTEMS["laravel"].cookie("a" * 40)).subject == "42"


def test_laravels_json_is_written_where_it_is_its_own(client: redis.Redis) -> None:
    """And PHP's serialize is read all the same."""
    layout = LaravelLayout(APP_KEY, prefix="p:", serialization="json")
    client.set(key_of(layout, "a" * 40), laravel_text({"n": 1}))
    site = Site(client, layout)
    session = site.open(SYSTEMS["laravel"].cookie("a" * 40))
    session["m"] = "é"
    site.save(session)

    inner = php.read(client.get(key_of(layout, "a" * 40)))  # type: ignore[arg-type]
    assert {name: item for name, item in json.loads(inner).items() if name != STAMP} == {"n": 1, "m": "é"}


def test_flask_sessions_json_is_written_where_it_is_its_own(client: redis.Redis) -> None:
    """And not permanent, where Flask's are not."""
    site = Site(client, FlaskSessionLayout(serialization="json", permanent=False))
    session = site.open(None)
    session["n"] = 1
    site.save(session)
    (key,) = client.keys("session:*")

    assert json.loads(client.get(key)).keys() == {"n", STAMP}  # type: ignore[arg-type]


INSTANTS = {
    "d6ff695735a5": "2026-01-02T03:04:05+00:00",
    "d7ff1d6f280069571985": "2026-01-02T01:04:05.123456+00:00",
    "c70cff3b9ac618ffffffffffffffff": "1969-12-31T23:59:59.999999+00:00",
    "c70cff000000000000000400000000": "2514-05-30T01:53:04+00:00",
}


@pytest.mark.parametrize("packed", INSTANTS)
def test_flask_sessions_instants_are_read_and_stay(packed: str, client: redis.Redis) -> None:
    """MessagePack's timestamps in their three lengths, as msgspec 0.22 wrote them: nothing is lost by a write beside them."""
    moment = dt.datetime.fromisoformat(INSTANTS[packed])
    raw = bytes.fromhex(packed)
    layout = FlaskSessionLayout()
    client.set(key_of(layout, "f" * 43), b"\x81\xa4seen\x92" + raw + b"\x81\xa1t" + raw)
    site = Site(client, layout)
    session = site.open("f" * 43)
    assert session == {"seen": [moment, {"t": moment}]}
    assert session["seen"][0].tzinfo is dt.UTC
    session["n"] = 1
    site.save(session)

    entry: Any = client.get(key_of(layout, "f" * 43))
    assert b"\xa4seen\x92" + raw + b"\x81\xa1t" + raw in entry
    assert site.open("f" * 43) == {"seen": [moment, {"t": moment}], "n": 1}


@pytest.mark.parametrize(
    "packed", [b"\xc7\x03\xff\0\0\0", b"\xc7\x0c\xff\x3b\x9a\xca\x00" + bytes(8), b"\xd4\x05x"], ids=["3", "nano", "5"]
)
def test_a_flask_session_with_another_extension_cannot_be_read(packed: bytes, client: redis.Redis) -> None:
    """No timestamp, one of a second and more of nanoseconds, and a type that Flask-Session never writes: none is guessed."""
    layout = FlaskSessionLayout()
    client.set(key_of(layout, "f" * 43), b"\x81\xa1t" + packed)
    site = Site(client, layout)

    assert site.open("f" * 43) == {}
    assert any(isinstance(event, StoreFailed) for event in site.events)


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(2026, 1, 2, 3, 4, 5),
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=ZoneInfo("Europe/London")),
    ],
    ids=["none", "offset", "zone"],
)
def test_a_zone_that_flask_session_would_lose_is_refused(moment: dt.datetime, client: redis.Redis) -> None:
    """London is at UTC in winter, and is not UTC; the error says what to write, and that works."""
    site = Site(client, FlaskSessionLayout())
    session = site.open(None)
    session["seen"] = {"at": [moment]}
    with pytest.raises(UnsupportedValue, match=r"seen\.at\[0\].*value\.astimezone\(datetime\.UTC\)"):
        site.save(session)
    session["seen"] = moment.astimezone(dt.UTC)
    site.save(session)
    with pytest.raises(UnsupportedValue, match=r"seen.*no such type"):
        FlaskSessionLayout(serialization="json").check({"seen": moment.astimezone(dt.UTC)})


def test_a_starsession_that_is_rolling_ends_after_its_last_use() -> None:
    """With `rolling=True` the middleware lets it live a lifetime longer with each response."""
    metadata = {"lifetime": 60, "created": 1_000_000.5, "last_access": 1_000_050.5}
    raw = json.dumps({"user": "ann", "__metadata__": metadata}).encode()

    assert StarsessionsLayout(lifetime=60).decode(raw, "k", 1_000_055).expires_at == 1_000_060
    assert StarsessionsLayout(lifetime=60, rolling=True).decode(raw, "k", 1_000_055).expires_at == 1_000_110
    with pytest.raises(ConfigError, match="rolling='yes' is True or False"):
        StarsessionsLayout(rolling="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layout", "entry", "kept"),
    [
        (ExpressLayout(SECRET), '{"cookie":{"originalMaxAge":-1e300,"secure":true}}', {"secure": True}),
        (ExpressLayout(SECRET), '{"cookie":{"originalMaxAge":-1e15}}', {"expires": None}),
        (ExpressLayout(SECRET), '{"cookie":{"secure":true,"x":1e400}}', EXPRESS_COOKIE),
        (ExpressLayout(SECRET), '{"cookie":{"secure":true,"__proto__":1}}', EXPRESS_COOKIE),
        (StarsessionsLayout(), '{"__metadata__":{"lifetime":1e400,"created":1}}', {"lifetime": 0}),
    ],
)
def test_members_that_cannot_be_written_are_made_anew(layout: SharedLayout, entry: str, kept: dict[str, Any]) -> None:
    """What an application has set is kept, whatever the other system's own members of an entry have become."""
    now = int(time.time())
    record = Record(bytes(32), now, None, now, None, {}, {"a": 1})

    written = layout.load(layout.encode(Content(records.pack(record), now + 60, None, "1"), entry.encode(), now))

    assert written["a"] == 1
    assert written[layout.hidden[0]].items() >= kept.items()


def test_a_starsession_that_has_ended_is_none(client: redis.Redis) -> None:
    """By its own metadata; without any it ends when Redis lets it."""
    layout = StarsessionsLayout(lifetime=60)
    client.set(key_of(layout, "1"), json.dumps({"n": 1, "__metadata__": {"lifetime": 60, "created": 1_700_000_000.5}}))
    client.set(key_of(layout, "2"), json.dumps({"n": 2}))
    site = Site(client, layout)

    assert site.open("1") == {}
    assert site.open("2") == {"n": 2}


# --- the store itself


def test_an_entry_is_compared_and_set(client: redis.Redis) -> None:
    """Create, update and delete go under the version alone."""
    layout = StarsessionsLayout()
    store = RedisStore(client, layout=layout)

    def data(n: int) -> bytes:
        return records.pack(Record(layout.ids.handle("k"), 1, None, 1, None, {}, {"n": n}))

    soon = int(time.time()) + 60
    first = store.put("k", data(1), expires_at=soon, if_version=None, subject=None)
    with pytest.raises(VersionConflict):
        store.put("k", data(2), expires_at=soon, if_version=None, subject=None)
    second = store.put("k", data(2), expires_at=soon, if_version=first, subject=None)
    assert second != first
    with pytest.raises(VersionConflict):
        store.put("k", data(3), expires_at=soon, if_version=first, subject=None)
    with pytest.raises(VersionConflict):
        store.delete("k", if_version=first)
    assert store.delete("k", if_version=second)
    assert not store.delete("k")
    assert store.get("k") is None


def test_only_one_of_many_writers_wins(client: redis.Redis) -> None:
    """Each read the same version."""
    layout = StarsessionsLayout()
    store = RedisStore(client, layout=layout)
    data = records.pack(Record(layout.ids.handle("k"), 1, None, 1, None, {}, {"n": 1}))
    version = store.put("k", data, expires_at=int(time.time()) + 60, if_version=None, subject=None)
    won: list[int] = []

    def write(number: int) -> None:
        try:
            store.put("k", data, expires_at=int(time.time()) + 60, if_version=version, subject=None)
        except VersionConflict:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1


def test_live_sessions_are_counted(client: redis.Redis) -> None:
    """Of all users, or of one; ended and damaged ones are none."""
    layout = StarsessionsLayout(subject=user)
    for number in range(3):
        client.set(key_of(layout, f"k{number}"), json.dumps({"user": f"u{number % 2}"}))
    client.set(key_of(layout, "junk"), b"junk")
    Site(client, layout).manager.end(Site(client, layout).open("k2").id)
    store = RedisStore(client, layout=layout)

    assert store.count() == 2
    assert store.count("u0") == 1
    assert store.resolve(bytes(32)) is None


def test_sealed_records_are_refused(client: redis.Redis) -> None:
    """The other system could not read them."""
    with pytest.raises(StoreError, match="sealed"):
        RedisStore(client, layout=StarsessionsLayout()).put(
            "k", b"\x01sealed", expires_at=1, if_version=None, subject=None
        )


def test_an_id_that_was_ended_and_written_once_more_is_not_listed(client: redis.Redis) -> None:
    """A slow request of the other system's brings nobody back."""
    layout = StarsessionsLayout(subject=user)
    client.set(key_of(layout, "k"), json.dumps({"user": "alice"}))
    site = Site(client, layout)
    site.manager.end(site.open("k").id)
    client.set(key_of(layout, "k"), json.dumps({"user": "alice"}))

    assert site.manager.list("alice") == []


def test_a_cluster_is_refused() -> None:
    """A session and the end of its id would be on two nodes."""
    with pytest.raises(ConfigError, match="Cluster"):
        SharedLogic(StarsessionsLayout(), cluster=True)


def test_a_conflict_that_cannot_be_merged_is_told(client: redis.Redis) -> None:
    """With `on_conflict="raise"` nothing is overwritten."""
    layout = StarsessionsLayout()
    client.set(key_of(layout, "k"), json.dumps({"n": 1}))
    manager = SessionManager(
        StoreEngine(RedisStore(client, layout=layout), on_conflict="raise"), cookie=Cookie(name="sid", secure=False)
    )
    session = manager.open("sid=k")
    session["n"] = 2
    client.set(key_of(layout, "k"), json.dumps({"n": 3}))

    with pytest.raises(SessionConflict):
        manager.commit(session)


def test_answers_that_make_no_sense_are_the_stores_failure(client: redis.Redis) -> None:
    """A script that answers something else, and a value that is no string."""

    class Odd(redis.Redis):
        def execute_command(self, *args: Any, **options: Any) -> Any:
            return [7, None] if args[0] == "MGET" else 7

    store = RedisStore(Odd(), layout=StarsessionsLayout())
    with pytest.raises(StoreUnavailable, match="MGET"):
        store.get("k")
    buried = records.pack(Record(bytes(32), 1, None, 1, None, {"ended": 2}, {}))
    with pytest.raises(StoreUnavailable, match="script"):
        store.put("k", buried, expires_at=1, if_version=None, subject=None)


def test_an_ended_id_is_hardtacks_own_key(client: redis.Redis) -> None:
    """The other system does not find it, and it goes with its time."""
    layout = StarsessionsLayout()
    client.set(key_of(layout, "k"), json.dumps({"n": 1}))
    site = Site(client, layout)
    site.manager.end(site.open("k").id)

    assert client.keys("*") == [ENDED + b"starsessions.k"]
    assert client.ttl(ENDED + b"starsessions.k") > 0


def test_more_entries_than_one_step_looks_at(client: redis.Redis) -> None:
    """A prefix with characters that a pattern has a meaning for is taken as it is."""
    layout = StarsessionsLayout(prefix="a*[b]?\\^-:", subject=user)
    for number in range(1200):
        client.set(key_of(layout, f"k{number}"), json.dumps({"user": f"u{number}"}))
    client.set("axb:other", b"x")
    client.set(layout.prefix + "not an id", b"x")
    site = Site(client, layout)

    assert len(site.manager.list("u1199")) == 1
    assert RedisStore(client, layout=layout).find("u7") == ["k7"]


async def _asynchronous(url: str) -> None:
    client = redis.asyncio.Redis.from_url(url)
    layout = ExpressLayout(SECRET, subject=user)
    system = SYSTEMS["express"]
    await client.set(key_of(layout, system.id), system.write({**system.own, "user": "alice"}))
    manager = SessionManager(
        StoreEngine(AsyncRedisStore(client, layout=layout)), cookie=Cookie(name="sid", secure=False)
    )
    session = await manager.aopen(f"sid={system.cookie(system.id)}")
    await session.load()
    assert session == {"user": "alice"}
    session["n"] = 1
    await manager.acommit(session)
    again = await manager.aopen(f"sid={system.cookie(system.id)}")
    await again.load()
    assert again == {"user": "alice", "n": 1}
    (listed,) = await manager.alist("alice")
    await manager.aend(listed.id)
    assert await client.get(key_of(layout, system.id)) is None
    await client.aclose()


@pytest.mark.asyncio
async def test_the_asynchronous_twin(redis_server: RedisServer) -> None:
    """One logic, both ways."""
    await _asynchronous(redis_server.url)


# --- the real ones


@pytest.mark.parametrize("serialization", ["msgpack", "json"])
def test_the_real_flask_session(client: redis.Redis, serialization: Any) -> None:
    """A login there is one here, a write here is one there, and a logout here ends both."""
    flask: Any = pytest.importorskip("flask")
    flask_session = pytest.importorskip("flask_session.redis")
    app = flask.Flask("site")
    app.session_interface = flask_session.RedisSessionInterface(app, client, serialization_format=serialization)

    @app.get("/<name>/<value>")  # type: ignore[untyped-decorator]
    def put(name: str, value: str) -> str:
        flask.session[name] = value
        return "done"

    @app.get("/<name>")  # type: ignore[untyped-decorator]
    def get(name: str) -> str:
        return str(flask.session.get(name))

    browser = app.test_client()
    browser.get("/user/alice")
    value = browser.get_cookie("session").value
    site = Site(client, FlaskSessionLayout(serialization=serialization, subject=user))

    session = site.open(value)
    assert (session, session.subject) == ({"user": "alice"}, "alice")
    session["cart"] = "bread"
    site.save(session)
    assert browser.get("/cart").text == "bread"
    browser.get("/cart/salt")
    session = site.open(value)
    assert session == {"user": "alice", "cart": "salt"}
    session.logout()
    site.save(session)
    assert browser.get("/user").text == "None"


def test_the_real_flask_sessions_instants(client: redis.Redis) -> None:
    """Of any zone there, in UTC here; and what is written here is the same there."""
    flask: Any = pytest.importorskip("flask")
    flask_session = pytest.importorskip("flask_session.redis")
    app = flask.Flask("site")
    app.session_interface = flask_session.RedisSessionInterface(app, client)
    moment = dt.datetime(2026, 7, 1, 12, 30, 15, 250_001, tzinfo=ZoneInfo("Europe/Berlin"))

    @app.get("/put")  # type: ignore[untyped-decorator]
    def put() -> str:
        flask.session["seen"] = moment
        return "done"

    @app.get("/<name>")  # type: ignore[untyped-decorator]
    def get(name: str) -> str:
        return repr(flask.session.get(name))

    browser = app.test_client()
    browser.get("/put")
    value = browser.get_cookie("session").value
    site = Site(client, FlaskSessionLayout())
    session = site.open(value)
    assert session["seen"] == moment
    session["next"] = session["seen"] + dt.timedelta(days=1)
    site.save(session)

    assert (
        browser.get("/seen").text == "datetime.datetime(2026, 7, 1, 10, 30, 15, 250001, tzinfo=datetime.timezone.utc)"
    )
    assert (
        browser.get("/next").text == "datetime.datetime(2026, 7, 2, 10, 30, 15, 250001, tzinfo=datetime.timezone.utc)"
    )


@pytest.mark.asyncio
async def test_the_real_starsessions(redis_server: RedisServer, client: redis.Redis) -> None:
    """The same with its own handler, whose metadata stay."""
    starsessions = pytest.importorskip("starsessions", reason="starsessions is not installed")
    handlers = pytest.importorskip("starsessions.session")
    stores = pytest.importorskip("starsessions.stores.redis")
    connection = redis.asyncio.Redis.from_url(redis_server.url)
    store = stores.RedisStore(connection=connection)

    def handler(known: str | None) -> Any:
        from starlette.requests import HTTPConnection

        scope = {"type": "http", "headers": [], "session": {}}
        return handlers.SessionHandler(HTTPConnection(scope), known, store, starsessions.JsonSerializer(), 3600)

    theirs = handler(None)
    await theirs.load()
    theirs.connection.session["user"] = "alice"
    known = await theirs.save(3600)
    site = Site(client, StarsessionsLayout(lifetime=3600, subject=user))
    session = site.open(known)
    assert (session, session.subject) == ({"user": "alice"}, "alice")
    session["n"] = 1
    site.save(session)
    theirs = handler(known)
    await theirs.load()
    assert {name: item for name, item in theirs.connection.session.items() if name != STAMP} == {
        "user": "alice",
        "n": 1,
    }
    assert theirs.metadata["lifetime"] == 3600
    await theirs.destroy()
    assert site.open(known) == {}
    await connection.aclose()


# --- settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RedisStore(redis.Redis(), layout="express"), "ExpressLayout"),  # type: ignore[arg-type]
        (lambda: ExpressLayout(""), "secret"),
        (lambda: ExpressLayout(SECRET, prefix=b"x"), "prefix is text"),  # type: ignore[arg-type]
        (lambda: ExpressLayout(SECRET, subject="user"), "subject is a function"),  # type: ignore[arg-type]
        (lambda: LaravelLayout("x", prefix=""), "APP_KEY"),
        (lambda: LaravelLayout(APP_KEY, prefix="", serialization="xml"), "'php' or 'json'"),  # type: ignore[arg-type]
        (lambda: FlaskSessionLayout(serialization="pickle"), "'msgpack' or 'json'"),  # type: ignore[arg-type]
        (lambda: StoreEngine(RedisStore(redis.Redis(), layout=StarsessionsLayout()), seal=Key.generate()), "seal="),
    ],
)
def test_wrong_settings(make: Callable[[], object], message: str) -> None:
    """A ConfigError that says what to do, when the object is made."""
    with pytest.raises(ConfigError, match=message):
        make()


# --- files


def test_laravels_files(tmp_path: Path) -> None:
    """Read and written by their id; one that was not written for `session.lifetime` is none, and a damaged one is too."""
    layout = LaravelFiles(APP_KEY, subject=user)
    store = FileStore(tmp_path, layout=layout)
    manager = SessionManager(StoreEngine(store), cookie=Cookie(name="sid", secure=False))
    known, header = "a" * 40, f"sid={SYSTEMS['laravel'].cookie('a' * 40)}"
    file = tmp_path / known
    file.write_bytes(php.write({"user": "alice"}))
    session = manager.open(header)
    assert (session, session.subject) == ({"user": "alice"}, "alice")
    session["n"] = 1
    manager.commit(session)
    assert php.read(file.read_bytes()).keys() == {"user", "n", STAMP}
    assert len(manager.list("alice")) == 1

    os.utime(file, (0, time.time() - 7201))
    assert manager.open(header) == {}
    file.write_bytes(b"junk")
    assert manager.open(header) == {}
    file.write_bytes(php.write({"user": "alice"}))
    session = manager.open(header)
    session.logout()
    manager.commit(session)
    assert not file.exists()
    file.write_bytes(php.write({"user": "alice"}))
    assert manager.open(header) == {}


def test_settings_of_files(tmp_path: Path) -> None:
    """What a layout says itself is not said twice."""
    with pytest.raises(ConfigError, match="the layout itself"):
        FileStore(tmp_path, layout=LaravelFiles(APP_KEY), subject=user)

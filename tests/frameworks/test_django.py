"""Django: hardtack's engines and middleware on a real site, through its test clients; and Django's own session tests."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.signing import JSONSerializer  # type: ignore[import-untyped]
from django.http import QueryDict  # type: ignore[import-untyped]
from django.test import AsyncClient, Client, override_settings  # type: ignore[import-untyped]
from django.utils.safestring import SafeString  # type: ignore[import-untyped]
from tests.frameworks import django_site
from tests.frameworks.harness import WatchedStore
from tests.frameworks.support import source_of

from hardtack import Cookie, CookieEngine, Key, Record, SessionManager, StoreEngine
from hardtack.errors import ConfigError, SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.events import Created, Destroyed, Event, IdChanged, Opened, Rejected
from hardtack.foreign.django import DjangoSignedCookie
from hardtack.protocols import Entry, Version
from hardtack.stores.memory import MemoryStore

django_site.configure()

from django.contrib.sessions.backends.base import UpdateError  # type: ignore[import-untyped]  # noqa: E402

from hardtack.frameworks.django import SessionMiddleware, current_manager  # noqa: E402
from hardtack.frameworks.django.middleware import _Line  # noqa: E402

PACKAGE = "hardtack.frameworks.django"
ENGINES = ["encrypted_cookie", "signed_cookie", "store"]
DJANGOS = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

made_store = MemoryStore()


class AsyncStore:
    """A store that only async code can reach."""

    def __init__(self) -> None:
        self.inner = WatchedStore()
        self.swept = 0

    async def get(self, key: str) -> Entry | None:
        await asyncio.sleep(0)
        return self.inner.get(key)

    async def put(
        self, key: str, data: bytes, *, expires_at: int, if_version: Version | None, subject: str | None
    ) -> Version:
        return self.inner.put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    async def delete(self, key: str, *, if_version: Version | None = None) -> bool:
        return self.inner.delete(key, if_version=if_version)

    async def sweep(self, now: float) -> int:
        self.swept += 1
        return 0

    async def close(self) -> None:
        self.inner.close()


def browser() -> Any:
    """A client of the site."""
    return Client()


def async_browser() -> Any:
    """A client of the site under ASGI."""
    return AsyncClient()


def engine(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


def using(name: str, **more: Any) -> Any:
    """Settings for one engine."""
    return override_settings(SESSION_ENGINE=f"{PACKAGE}.{name}", **{"HARDTACK_STORE": MemoryStore(), **more})


@pytest.fixture(
    params=[(name, ours) for name in ENGINES for ours in (True, False)], ids=lambda each: "-".join(map(str, each))
)
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of the site, with each engine, under hardtack's middleware and under Django's."""
    name, ours = request.param
    more = {} if ours else {"MIDDLEWARE": DJANGOS}
    with using(name, **more):
        yield browser()


@pytest.fixture(params=ENGINES)
def under_ours(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of the site, with each engine, under hardtack's middleware."""
    with using(request.param):
        yield browser()


@pytest.fixture(params=ENGINES)
def new_session(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The SessionStore of each engine."""
    with using(request.param):
        yield engine(request.param).SessionStore


# --- on a site


def test_data_comes_back(client: Any) -> None:
    """What a request puts into the session, the next one finds."""
    client.get("/set/a/1")

    assert client.get("/dump").json() == {"a": 1}


def test_an_untouched_session_changes_no_header(client: Any) -> None:
    """A view that does not look at its session gets neither a cookie nor Vary nor Cache-Control."""
    client.get("/set/a/1")

    answer = client.get("/nothing")

    assert not answer.cookies
    assert "Vary" not in answer.headers
    assert "Cache-Control" not in answer.headers


def test_reading_sets_vary_and_no_cookie(client: Any) -> None:
    """A response that depends on the session says so to caches."""
    client.get("/set/a/1")

    answer = client.get("/dump")

    assert answer.headers["Vary"] == "Cookie"
    assert not answer.cookies


def test_reading_an_empty_session_creates_nothing(client: Any) -> None:
    """Without a cookie, looking makes none."""
    assert not client.get("/dump").cookies


def test_a_nested_change_is_kept(client: Any) -> None:
    """Appending to a list in the session needs no `session.modified = True`."""
    client.get("/basket")

    client.get("/nested")

    assert client.get("/dump").json() == {"basket": ["bread"]}


@pytest.mark.parametrize("view", ["nested-and-saved", "nested-and-asaved"])
def test_a_view_that_saves_by_itself_loses_nothing(client: Any, view: str) -> None:
    """Where the session is the cookie, the response carries what `save()` and `asave()` sealed."""
    client.get("/basket")

    client.get(f"/{view}")

    assert client.get("/dump").json() == {"basket": ["bread"]}


def test_login_changes_the_key_and_keeps_the_data(client: Any) -> None:
    """`auth.login` cycles the key."""
    client.get("/set/a/1")
    before = client.cookies["sessionid"].value

    client.get("/login/ann")

    assert client.cookies["sessionid"].value != before
    assert client.get("/whoami").content == b"ann"
    assert client.get("/dump").json() == {"a": 1}


def test_another_user_does_not_get_the_data(client: Any) -> None:
    """`auth.login` of another user flushes."""
    client.get("/login/ann")
    client.get("/set/a/1")

    client.get("/login/bob")

    assert client.get("/whoami").content == b"bob"
    assert client.get("/dump").json() == {}


def test_logout_clears_the_cookie(client: Any) -> None:
    """After a logout the browser has no session cookie."""
    client.get("/login/ann")

    answer = client.get("/logout")

    assert answer.cookies["sessionid"].value == ""
    assert client.get("/whoami").content == b"AnonymousUser"


def test_messages_are_shown_once(client: Any) -> None:
    """django.contrib.messages keeps them in the session."""
    client.get("/message")

    assert client.get("/messages").json() == ["hello"]
    assert client.get("/messages").json() == []


def test_a_stream_carries_the_session(client: Any) -> None:
    """The session is saved before the body; the body reads it."""
    answer = client.get("/stream")

    assert b"".join(answer.streaming_content) == b"1"
    assert client.get("/dump").json() == {"streamed": 1}


def test_a_view_that_raises_saves_nothing(client: Any) -> None:
    """Django's rule: nothing is saved with a 5xx."""
    client.raise_request_exception = False
    client.get("/set/a/1")

    assert client.get("/fail").status_code == 500
    assert client.get("/error/503").status_code == 503
    assert client.get("/dump").json() == {"a": 1}


def test_an_error_of_the_client_is_saved(client: Any) -> None:
    """A 4xx that the view answers is a response like any other."""
    client.get("/error/404")

    assert client.get("/dump").json() == {"error": 404}


@pytest.mark.parametrize("junk", ["forged", "x" * 5000, "1", "A" * 43, "ht1.a.b.c", "..", "\x7f"])
def test_a_forged_cookie_is_an_empty_session(client: Any, junk: str) -> None:
    """Junk in the cookie is never a 500, and the cookie is cleared."""
    answer = client.get("/dump", headers={"cookie": f"sessionid={junk}"})

    assert answer.status_code == 200
    assert answer.json() == {}
    assert answer.cookies["sessionid"].value == ""


def test_the_client_can_prepare_a_session(client: Any) -> None:
    """`client.session`, as Django documents it."""
    session = client.session
    session["a"] = 1
    session.save()
    client.cookies["sessionid"] = session.session_key

    assert client.get("/dump").json() == {"a": 1}


def test_force_login_and_logout_of_the_client(client: Any) -> None:
    """The test client's own way in and out."""
    client.force_login(django_site.user("ann"))
    assert client.get("/whoami").content == b"ann"

    client.logout()
    assert client.get("/whoami").content == b"AnonymousUser"


def test_set_expiry_is_sent_and_enforced(client: Any) -> None:
    """Seconds of inactivity, also beyond SESSION_COOKIE_AGE, as in Django."""
    answer = client.get(f"/expiry/{40 * 86400}")
    assert int(answer.cookies["sessionid"]["max-age"]) == 40 * 86400
    _turn(15 * 86400)
    assert client.get("/dump").json()["a"] == 1

    client.get("/expiry/100")
    _turn(200)
    assert "a" not in client.get("/dump").json()


def test_an_expiry_of_zero_ends_with_the_browser(client: Any) -> None:
    """No Max-Age is sent."""
    answer = client.get("/expiry/0")

    assert answer.cookies["sessionid"]["max-age"] == ""


def test_the_lifetime_is_absolute(client: Any) -> None:
    """SESSION_COOKIE_AGE runs from the beginning, whatever is saved in between."""
    client.get("/set/a/1")
    _turn(10 * 86400)
    client.get("/set/a/2")
    _turn(10 * 86400)

    assert client.get("/dump").json() == {}


def test_an_idle_timeout_is_renewed_by_reading(client: Any) -> None:
    """HARDTACK_IDLE_TIMEOUT: a session that is used stays, one that is not ends."""
    with override_settings(HARDTACK_IDLE_TIMEOUT="100 seconds"):
        client.get("/set/a/1")
        for _ in range(3):
            _turn(60)
            assert client.get("/dump").json() == {"a": 1}
        _turn(110)

        assert client.get("/dump").json() == {}


def test_a_lifetime_of_ones_own_limits_set_expiry(client: Any) -> None:
    """HARDTACK_LIFETIME is the longest that a session lives."""
    with override_settings(HARDTACK_LIFETIME="1 hour"):
        answer = client.get("/expiry/86400")
        _turn(3700)

        assert client.get("/dump").json() == {}
        assert int(answer.cookies["sessionid"]["max-age"]) <= 86400


def test_saving_every_request(client: Any) -> None:
    """SESSION_SAVE_EVERY_REQUEST sets the cookie anew, and makes nothing out of a stale one."""
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        client.get("/set/a/1")

        assert client.get("/nothing").cookies["sessionid"].value


def _turn(seconds: int) -> None:
    """Turn the clock of every manager in use."""
    from hardtack.frameworks.django.configuration import made

    for manager in made.values():
        before = manager.clock
        manager.clock = lambda before=before: before() + seconds  # type: ignore[misc]


# --- under hardtack's middleware


def test_saving_every_request_does_not_revive_a_stale_cookie(under_ours: Any) -> None:
    """Django's own middleware would store an empty session for it."""
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        answer = under_ours.get("/nothing", headers={"cookie": f"sessionid={'A' * 43}"})

        assert answer.cookies["sessionid"].value == ""


def test_caches_keep_no_response_with_a_cookie(under_ours: Any) -> None:
    """Vary is merged, and a public Cache-Control replaced."""
    answer = under_ours.get("/public")

    assert answer.headers["Vary"] == "Accept, Cookie"
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_response_that_used_the_session_is_private(under_ours: Any) -> None:
    """Also where it sets no cookie."""
    under_ours.get("/set/a/1")

    assert under_ours.get("/dump").headers["Cache-Control"] == "private"


def test_a_request_whose_session_was_removed(under_ours: Any) -> None:
    """As under Django's middleware, nothing happens."""
    assert under_ours.get("/without", headers={"cookie": "sessionid=junk"}).status_code == 200


def test_a_host_cookie() -> None:
    """A `__Host-` name with the attributes that browsers ask for; cleared with the same."""
    with using("encrypted_cookie", SESSION_COOKIE_NAME="__Host-sessionid", SESSION_COOKIE_SECURE=True):
        client = browser()
        answer = client.get("/set/a/1", secure=True)

        assert answer.cookies["__Host-sessionid"]["secure"]
        assert client.get("/dump", secure=True).json() == {"a": 1}
        assert client.get("/flush", secure=True).cookies["__Host-sessionid"]["secure"]


def test_a_host_cookie_without_secure_is_refused() -> None:
    """Browsers would drop it without a word."""
    with using("encrypted_cookie", SESSION_COOKIE_NAME="__Host-sessionid"), pytest.raises(ConfigError, match="secure"):
        browser().get("/set/a/1")


def test_a_partitioned_cookie() -> None:
    """CHIPS, which Django 5 cannot write: set, and cleared, with the attribute."""
    with using("encrypted_cookie", SESSION_COOKIE_SECURE=True, HARDTACK_COOKIE_PARTITIONED=True):
        client = browser()
        assert client.get("/set/a/1", secure=True).cookies["sessionid"].OutputString().endswith("; Partitioned")
        assert client.get("/flush", secure=True).cookies["sessionid"].OutputString().endswith("; Partitioned")


def test_a_cookie_of_ours_survives_pickle() -> None:
    """Django's cache pickles responses."""
    line = "a=b; Max-Age=1; Path=/; Secure; SameSite=Lax; Partitioned"

    restored = pickle.loads(pickle.dumps(_Line(line)))

    assert restored.OutputString() == line
    assert (restored.value, restored["secure"], restored["samesite"]) == ("b", True, "Lax")


def test_chunks() -> None:
    """HARDTACK_OVERFLOW: a session of several cookies, that shrinks to one, and ends."""
    with using("encrypted_cookie", HARDTACK_OVERFLOW="chunk"):
        client = browser()

        many = client.get("/big/5000")
        assert {name for name, morsel in many.cookies.items() if morsel.value} == {"sessionid.0", "sessionid.1"}
        assert set(client.get("/big/10").cookies) == {"sessionid", "sessionid.0", "sessionid.1"}
        client.get("/set/a/1")
        assert client.session["a"] == 1
        client.get("/big/5000")
        assert client.get("/set/b/1").status_code == 200
        assert set(client.get("/flush").cookies) >= {"sessionid.0", "sessionid.1"}


def test_a_session_that_is_too_large(under_ours: Any) -> None:
    """Raised while there is still time to answer 500; a store takes it."""
    if isinstance(current_manager().engine, StoreEngine):
        under_ours.get("/big/5000")
    else:
        with pytest.raises(SessionTooLarge):
            under_ours.get("/big/5000")


def test_several_cookies_need_our_middleware() -> None:
    """An engine alone has one cookie."""
    manager = SessionManager(
        CookieEngine(Key.generate(), overflow="chunk"), cookie=Cookie.for_development(name="sessionid")
    )
    settings = using("encrypted_cookie", HARDTACK_SESSIONS=manager, MIDDLEWARE=DJANGOS)

    with settings, pytest.raises(SessionTooLarge, match="SessionMiddleware"):
        browser().get("/big/5000")


def test_another_engine_under_our_middleware_is_refused() -> None:
    """The message names the engines."""
    settings = override_settings(SESSION_ENGINE="django.contrib.sessions.backends.file")

    with settings, pytest.raises(ConfigError, match="encrypted_cookie"):
        SessionMiddleware(lambda request: None)


# --- the store


def test_two_requests_are_merged() -> None:
    """Each changed another key; nothing is lost."""
    with using("store"):
        store = engine("store").SessionStore
        first = store()
        first["a"] = [1]
        first.save()
        second = store(first.session_key)
        second["b"] = 2

        first["a"].append(2)
        first.save()
        second.save()

        assert dict(second.items()) == {"a": [1, 2], "b": 2}
        assert dict(store(first.session_key).items()) == {"a": [1, 2], "b": 2}


def test_a_session_that_was_ended_is_not_revived() -> None:
    """UpdateError, also for one that was cleared without being looked at, and for a slow request with the old key."""
    with using("store"):
        store = engine("store").SessionStore
        session = store()
        session["a"] = 1
        session.save()
        late = store(session.session_key)
        session.cycle_key()

        late.clear()
        with pytest.raises(UpdateError):
            late.save()
        loaded = store(session.session_key)
        loaded["a"] = 2
        store(session.session_key).delete()
        with pytest.raises(UpdateError):
            loaded.save()


def test_a_request_whose_session_was_ended_is_a_400() -> None:
    """As under Django's own middleware: SessionInterrupted."""
    with using("store"):
        client = browser()
        client.get("/set/a/1")
        old = client.cookies["sessionid"].value
        client.get("/login/ann")

        assert client.get("/set/b/1", headers={"cookie": f"sessionid={old}"}).status_code == 400
        assert client.get("/dump").json() == {"a": 1}


def test_a_slow_reader_with_the_old_key_does_not_clear_the_new_cookie() -> None:
    """Its response may come after the one that carried the new cookie."""
    with using("store"):
        client = browser()
        client.get("/set/a/1")
        old = client.cookies["sessionid"].value
        client.get("/login/ann")

        answer = client.get("/dump", headers={"cookie": f"sessionid={old}"})

        assert answer.json() == {}
        assert not answer.cookies
        assert client.get("/whoami").content == b"ann"


def test_an_anonymous_session_while_the_store_is_down() -> None:
    """`on_store_error="anonymous"`: who only reads keeps the cookie and is cached by nobody; who changes it gets a 503."""
    store = WatchedStore()
    sessions = SessionManager(
        StoreEngine(store, on_store_error="anonymous"), cookie=Cookie.for_development(name="sessionid")
    )
    with using("store", HARDTACK_SESSIONS=sessions):
        client = browser()
        client.get("/login/ann")
        store.down = frozenset({"get"})
        read, written, ended = client.get("/whoami"), client.get("/set/a/1"), client.get("/logout")
        store.down = frozenset()

        assert (read.status_code, read.content) == (200, b"AnonymousUser")
        assert read.headers["Cache-Control"] == "private, no-store"
        assert written.status_code == ended.status_code == 503
        assert not read.cookies
        assert not written.cookies
        assert not ended.cookies
        assert client.get("/whoami").content == b"ann"


@pytest.mark.parametrize("ours", [True, False])
def test_a_managers_cookie_may_have_a_name_of_its_own(ours: bool) -> None:
    """hardtack's middleware sends that one; Django's own knows SESSION_COOKIE_NAME only. Both find it again."""
    sessions = SessionManager(Key.generate(), cookie=Cookie.for_development(name="mine"))
    more = {} if ours else {"MIDDLEWARE": DJANGOS}
    with using("encrypted_cookie", HARDTACK_SESSIONS=sessions, **more):
        client = browser()
        client.get("/set/a/1")

        assert set(client.cookies) == {"mine" if ours else "sessionid"}
        assert client.get("/dump").json() == {"a": 1}


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("HARDTACK_LIFETME", r"did you mean HARDTACK_LIFETIME\?"),
        ("HARDTACK_SESSION", r"did you mean HARDTACK_SESSIONS\?"),
        ("HARDTACK_KEY", "there are HARDTACK_LIFETIME, HARDTACK_IDLE_TIMEOUT, .*, HARDTACK_STORE"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(name: str, advice: str) -> None:
    """It would be ignored, and a default be in force that nobody wants."""
    with (
        using("encrypted_cookie", **{name: "8 hours"}),
        pytest.raises(ConfigError, match=f"{name} is not a .*{advice}"),
    ):
        engine("encrypted_cookie").SessionStore().save()


def test_beside_a_manager_a_name_is_the_sites_own() -> None:
    """Settings may hold the key that the manager was made of."""
    key = Key.generate()
    sessions = SessionManager(key, cookie=Cookie.for_development(name="sessionid"))
    with using("encrypted_cookie", HARDTACK_SESSIONS=sessions, HARDTACK_KEY=key):
        assert browser().get("/set/a/1").status_code == 200


def test_an_id_of_the_clients_own_is_not_adopted() -> None:
    """Against session fixation, also where the data is replaced without a look."""
    with using("store"):
        planted = "A" * 43
        session = engine("store").SessionStore(planted)
        session.clear()
        session["a"] = 1
        session.save()

        assert session.session_key != planted
        assert not session.exists(planted)


def test_a_store_that_is_down_is_a_503() -> None:
    """When the session is read and when it is saved; a view that needs no session answers."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.get("/set/a/1")
        store.down = frozenset({"get"})
        assert client.get("/dump").status_code == 503
        assert client.get("/nothing").status_code == 200

        store.down = frozenset({"put"})
        answer = client.get("/set/a/2")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert not answer.cookies


def test_a_logout_without_the_store_still_clears_the_cookie() -> None:
    """The browser forgets the session even if the store did not hear of it."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.get("/login/ann")
        store.down = frozenset({"put", "delete"})

        answer = client.get("/logout")

        assert answer.status_code == 503
        assert answer.cookies["sessionid"].value == ""


def test_sessions_of_a_user_can_be_listed_and_ended() -> None:
    """The user of django.contrib.auth is the record's subject."""
    with using("store"):
        client, other = browser(), browser()
        client.get("/login/ann")
        other.get("/login/ann")
        ann = str(django_site.user("ann").pk)

        assert len(current_manager().list(ann)) == 2
        assert current_manager().end_all(ann) == 2
        assert client.get("/whoami").content == b"AnonymousUser"


def test_clearsessions_sweeps_the_store() -> None:
    """`manage.py clearsessions`."""
    from django.core.management import call_command  # type: ignore[import-untyped]

    store = MemoryStore()
    with using("store", HARDTACK_STORE=store):
        session = engine("store").SessionStore()
        session["a"] = 1
        session.set_expiry(-10)
        session.save()
        call_command("clearsessions")

        assert store.sweep(2**40) == 0


def test_clearsessions_has_nothing_to_do_for_cookies_and_stores_that_forget() -> None:
    """No sweep, no error."""
    for name, store in (("encrypted_cookie", None), ("store", WatchedStore())):
        with using(name, HARDTACK_STORE=store):
            engine(name).SessionStore.clear_expired()
            asyncio.run(engine(name).SessionStore.aclear_expired())


def test_an_async_store_is_swept() -> None:
    """And a sync one, in a thread."""
    store = AsyncStore()
    with using("store", HARDTACK_STORE=store):
        asyncio.run(engine("store").SessionStore.aclear_expired())
    with using("store"):
        asyncio.run(engine("store").SessionStore.aclear_expired())

    assert store.swept == 1


@pytest.mark.parametrize("where", ["made_store", "AsyncStore"])
def test_a_store_by_its_dotted_path(where: str) -> None:
    """Of a store, or of what makes one; the same store for every engine class."""
    path = f"{__name__}.{where}"
    with using("store", HARDTACK_STORE=path):
        first = current_manager().engine.store
    with using("store", HARDTACK_STORE=path):
        assert current_manager().engine.store is first


def test_a_store_by_its_url(tmp_path: Path) -> None:
    """As `hardtack.stores.from_url` reads it."""
    pytest.importorskip("hardtack.stores.sqlite")
    with using("store", HARDTACK_STORE=f"sqlite:///{tmp_path / 'sessions.db'}"):
        client = browser()
        client.get("/set/a/1")
        assert client.get("/dump").json() == {"a": 1}
        current_manager().close()


def test_a_store_is_asked_for() -> None:
    """The message says what to write."""
    with using("store", HARDTACK_STORE=None), pytest.raises(ConfigError, match="HARDTACK_STORE is not set"):
        browser().get("/nothing")


def test_sync_code_cannot_reach_an_async_store() -> None:
    """It is told so."""
    with using("store", HARDTACK_STORE=AsyncStore()), pytest.raises(ConfigError, match="async"):
        engine("store").SessionStore().save()


# --- keys and managers


def test_a_fallback_key_opens_and_the_session_is_sealed_anew() -> None:
    """SECRET_KEY_FALLBACKS: reading a session under an old key brings a cookie under the new one."""
    with using("encrypted_cookie"):
        client = browser()
        client.get("/set/a/1")
        with override_settings(
            SECRET_KEY="the next secret of 32 characters or more", SECRET_KEY_FALLBACKS=[django_site.SECRET]
        ):
            assert client.get("/dump").json() == {"a": 1}
        with override_settings(SECRET_KEY="the next secret of 32 characters or more"):
            assert client.get("/dump").json() == {"a": 1}


def test_fallbacks_that_are_one_str_are_refused() -> None:
    """Each character of it would be a key."""
    with using("encrypted_cookie", SECRET_KEY_FALLBACKS="secret"), pytest.raises(ConfigError, match="must be a list"):
        browser().get("/nothing")


manager = SessionManager(Key.generate(), cookie=Cookie.for_development(name="sessionid"), lifetime="1 hour")


def test_a_manager_by_its_dotted_path() -> None:
    """HARDTACK_SESSIONS: the application's own manager, for everything."""
    with using("encrypted_cookie", HARDTACK_SESSIONS=f"{__name__}.manager"):
        assert current_manager() is manager
        client = browser()
        assert int(client.get("/set/a/1").cookies["sessionid"]["max-age"]) == 3600
        assert client.get("/dump").json() == {"a": 1}
        client.get("/login/ann")
        assert client.get("/whoami").content == b"ann"


class Ended:
    """A list of ended sessions."""

    def __init__(self) -> None:
        self.until: dict[bytes, int] = {}

    def revoke(self, record: Record, expires_at: int) -> None:
        self.until[record.id] = expires_at

    def is_revoked(self, record: Record) -> bool:
        return record.id in self.until


@pytest.mark.parametrize("path", ["logout", "flush"])
def test_a_logout_reaches_copies_of_the_cookie_by_a_list_of_ended_sessions(path: str) -> None:
    """A cookie engine with `revocations`, whether the view has looked at the session before or not."""
    ended, events = Ended(), list[Event]()
    sessions = SessionManager(
        CookieEngine(Key.generate(), revocations=ended),
        cookie=Cookie.for_development(name="sessionid"),
        on_event=events.append,
    )
    with using("encrypted_cookie", HARDTACK_SESSIONS=sessions):
        client = browser()
        client.get("/login/ann")
        copied = client.cookies["sessionid"].value
        client.get(f"/{path}")

        assert client.get("/whoami", headers={"cookie": f"sessionid={copied}"}).content == b"AnonymousUser"
        assert [event.old_still_valid for event in events if isinstance(event, Destroyed)] == [False]
        assert list(ended.until.values()) == [pytest.approx(time.time() + 14 * 86400, abs=30)]
        assert client.get(f"/{path}").status_code == 200  # with nothing to end


def test_what_is_not_a_manager_is_refused() -> None:
    """The message names the setting."""
    with (
        using("encrypted_cookie", HARDTACK_SESSIONS=Key.generate()),
        pytest.raises(ConfigError, match="HARDTACK_SESSIONS"),
    ):
        browser().get("/nothing")


def test_sessions_of_django_are_taken_over() -> None:
    """A manager that accepts Django's signed cookies moves a site without logging anyone out."""
    taking = SessionManager(
        Key.generate(),
        cookie=Cookie.for_development(name="session"),
        accept=[DjangoSignedCookie(django_site.SECRET)],
    )
    old = importlib.import_module("django.contrib.sessions.backends.signed_cookies").SessionStore()
    old["a"] = 1
    old.save()
    with using("encrypted_cookie", HARDTACK_SESSIONS=taking, SESSION_COOKIE_NAME="session"):
        client = browser()
        client.cookies["sessionid"] = old.session_key

        answer = client.get("/dump")

        assert answer.json() == {"a": 1}
        assert answer.cookies["session"].value
        assert answer.cookies["sessionid"].value == ""
        gone = client.get("/flush", headers={"cookie": f"sessionid={old.session_key}"})
        assert gone.cookies["sessionid"].value == ""
        assert browser().get("/dump", headers={"cookie": f"session={answer.cookies['session'].value}"}).json() == {
            "a": 1
        }


def test_events_tell_what_happens() -> None:
    """To a listener of the manager, by the short way of the cookie engines too."""
    told: list[Event] = []
    with using("encrypted_cookie"):
        store = engine("encrypted_cookie").SessionStore
        session = store()
        session.manager.on_event = told.append
        session["a"] = 1
        session.save()
        session.cycle_key()
        again = store(session.session_key)
        again["a"]
        store("forged cookie").get("a")

    assert [type(event) for event in told] == [Created, IdChanged, Opened, Rejected]


# --- one session


def test_modified_forgets_what_it_was_told(new_session: Any) -> None:
    """Assigning False takes what there is for unchanged; later nested changes count again."""
    session = new_session()
    session["a"] = []
    session.modified = False
    assert not session.modified

    session["a"].append(1)
    assert session.modified


def test_modified_can_be_withdrawn_before_there_is_data(new_session: Any) -> None:
    """What was assigned to `modified` before the session was touched is forgotten likewise."""
    session = new_session()
    session.modified = True

    session.modified = False

    assert not session.modified


def test_what_cannot_be_kept_cannot_be_declared_unchanged(new_session: Any) -> None:
    """So that saving says what is wrong, whatever was assigned to `modified`."""
    session = new_session()
    session["a"] = object()

    session.modified = False

    assert session.modified


def test_what_cannot_be_kept_is_modified(new_session: Any) -> None:
    """So that saving says what is wrong."""
    session = new_session()
    session["a"] = 1
    session.save()
    again = new_session(session.session_key)
    again["a"]
    again._session["b"] = object()

    assert again.modified


def test_types_come_back(new_session: Any) -> None:
    """Beyond what Django's JSON carries."""
    session = new_session()
    session["when"] = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    session["pair"] = (1, {2})
    session.save()

    again = new_session(session.session_key)
    assert again["when"] == dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    assert again["pair"] == (1, {2})


class Reversed:
    """A SESSION_SERIALIZER of one's own."""

    def dumps(self, data: Any) -> bytes:
        return json.dumps(data, sort_keys=True).encode()[::-1]

    def loads(self, raw: bytes) -> Any:
        return json.loads(raw[::-1])


def test_a_serializer_of_ones_own(new_session: Any) -> None:
    """SESSION_SERIALIZER, where it is not Django's JSON, makes the data one value."""
    with override_settings(SESSION_SERIALIZER=f"{__name__}.Reversed"):
        session = new_session()
        session["a"] = [1]
        session.save()
        again = new_session(session.session_key)
        assert again["a"] == [1]
        assert not again.modified
        again["a"].append(2)
        assert again.modified
        again.save()

        assert new_session(again.session_key)["a"] == [1, 2]


class Plain(JSONSerializer):  # type: ignore[misc]
    """Django's own under another name."""


def test_what_only_json_takes_is_kept_by_a_subclass_of_djangos_serializer(new_session: Any) -> None:
    """As with Django's engines; without it, a value that would come back as another than it is, is refused."""
    session = new_session()
    session["v"] = {SafeString("a"): None, 1.5: OrderedDict(b=1)}
    session.save()
    assert new_session(session.session_key)["v"] == {"a": None, 1.5: {"b": 1}}
    session["v"] = QueryDict("a=1&a=2")
    with pytest.raises(UnsupportedValue, match="plain dict"):
        session.save()

    with override_settings(SESSION_SERIALIZER=f"{__name__}.Plain"):
        session = new_session()
        session["v"] = {SafeString("a"): None, 1.5: OrderedDict(b=1)}
        session.save()

        assert new_session(session.session_key)["v"] == {"a": None, "1.5": {"b": 1}}


def test_deleting_by_key(new_session: Any) -> None:
    """A key that is none does nothing."""
    session = new_session()
    session["a"] = 1
    session.save()

    session.delete("no such key")
    assert new_session(session.session_key)["a"] == 1


def test_existing(new_session: Any) -> None:
    """A stored session exists; of cookies only the one at hand is known."""
    session = new_session()
    assert not session.exists(None)
    session.save()

    assert session.exists(session.session_key)
    assert asyncio.run(session.aexists(session.session_key))
    assert not session.exists("A" * 43)


def test_a_key_taken_away_begins_another_session(new_session: Any) -> None:
    """The data goes on under a new key."""
    session = new_session()
    session["a"] = 1
    session.save()
    before = session.session_key

    session._session_key = None
    session.save()

    assert session.session_key != before
    assert new_session(session.session_key)["a"] == 1


def test_a_cleared_session_that_was_not_looked_at(new_session: Any) -> None:
    """Saved in the place of the old data."""
    session = new_session()
    session["a"] = 1
    session.save()
    again = new_session(session.session_key)

    again.clear()
    again["b"] = 2
    again.save()

    assert dict(new_session(again.session_key).items()) == {"b": 2}


def test_an_age_of_ones_own() -> None:
    """`get_session_cookie_age` of a subclass is the lifetime."""
    with using("encrypted_cookie"):

        class Short(engine("encrypted_cookie").SessionStore):  # type: ignore[misc]
            def get_session_cookie_age(self) -> int:
                return 60

        session = Short()
        session.save()
        assert session.cookie_age() == 60


# --- async


@pytest.mark.parametrize("store", [MemoryStore, AsyncStore])
@pytest.mark.parametrize("name", ENGINES)
def test_an_async_site(name: str, store: Any) -> None:
    """The same under ASGI: the session is loaded before the view, and saved without a thread."""

    async def visit() -> None:
        client = async_browser()
        await client.get("/async/set/a/1")
        assert (await client.get("/async/sync")).content == b"1"
        assert (await client.get("/nothing")).headers.get("Vary") is None
        answer = await client.get("/stream")
        assert [part async for part in answer.streaming_content] == [b"1"]
        assert (await client.get("/dump")).json() == {"a": 1, "streamed": 1}
        assert (await client.get("/without")).status_code == 200
        assert (await client.get("/error/503")).status_code == 503
        session = engine(name).SessionStore(client.cookies["sessionid"].value)
        assert await session.aget("a") == 1
        await session.aset("big", "x" * 10)
        await session.asave()

    with using(name, HARDTACK_STORE=store()):
        asyncio.run(visit())


def test_an_async_session_that_is_too_large() -> None:
    """As under sync code."""

    async def fill() -> None:
        session = engine("encrypted_cookie").SessionStore()
        await session.aset("big", "x" * 5000)
        await session.asave()

    with using("encrypted_cookie"), pytest.raises(SessionTooLarge):
        asyncio.run(fill())


@pytest.mark.parametrize("name", ENGINES)
def test_async_cycling_and_flushing(name: str) -> None:
    """The a-twins."""

    async def life() -> None:
        session = engine(name).SessionStore()
        await session.acycle_key()
        await session.aset("a", 1)
        await session.asave()
        before = session.session_key
        await session.acycle_key()
        assert session.session_key != before
        await session.aflush()
        assert session.session_key is None

    with using(name, HARDTACK_STORE=AsyncStore()):
        asyncio.run(life())


def test_an_async_store_that_is_down_is_a_503() -> None:
    """When the session is touched and when it is saved; a view that needs no session answers."""
    store = AsyncStore()

    async def visit() -> None:
        client = async_browser()
        await client.get("/async/set/a/1")
        store.inner.down = frozenset({"get"})
        assert (await client.get("/async/sync")).status_code == 503
        assert (await client.get("/nothing")).status_code == 200
        store.inner.down = frozenset({"put"})
        assert (await client.get("/async/set/a/2")).status_code == 503

    with using("store", HARDTACK_STORE=store):
        asyncio.run(visit())


def test_an_async_request_whose_session_was_ended_is_a_400() -> None:
    """SessionInterrupted, as under WSGI; a stale cookie creates nothing."""

    async def visit() -> None:
        client = async_browser()
        await client.get("/async/set/a/1")
        session = engine("store").SessionStore(client.cookies["sessionid"].value)
        await session.acycle_key()
        assert (await client.get("/async/set/b/1")).status_code == 400
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
            stale = await async_browser().get("/nothing", headers={"cookie": f"sessionid={'A' * 43}"})
            assert stale.cookies["sessionid"].value == ""

    with using("store"):
        asyncio.run(visit())


def test_loading_an_async_store_that_is_down_is_the_stores_error() -> None:
    """For code that loads by itself."""
    store = AsyncStore()
    with using("store", HARDTACK_STORE=store):
        session = engine("store").SessionStore("A" * 43)
        store.inner.down = frozenset({"get"})
        asyncio.run(session.preload())

        with pytest.raises(StoreUnavailable):
            session.get("a")


# --- the rest


def test_the_example_runs() -> None:
    """examples/django: in a process of its own, because Django has one set of settings a process."""
    root = Path(__file__).parents[2]
    script = """
import sys; sys.path.insert(0, "examples/django")
import site_ as site
from django.test import Client
client = Client()
assert b"Visit 1" in client.get("/").content
client.post("/login", {"name": "ann"})
page = client.get("/").content
assert b"Visit 2" in page and b"Hello, ann" in page, page
client.post("/logout")
assert b"Visit 1" in client.get("/").content
"""
    outcome = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr


def test_django_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "django", None)
    monkeypatch.delitem(sys.modules, PACKAGE)

    with pytest.raises(ImportError, match=r"hardtack\[django\]"):
        importlib.import_module(PACKAGE)


def test_djangos_own_session_tests_pass(pytestconfig: pytest.Config) -> None:
    """SessionTestsMixin on each engine, and SessionMiddlewareTests under Django's middleware and under hardtack's."""
    tree = source_of("django", pytestconfig.cache.mkdir("sdists"))
    here = Path(__file__).parent
    command = [sys.executable, str(here / "django_suite" / "run.py"), str(tree / "tests")]
    environ = {**os.environ, "PYTHONPATH": str(here.parents[1] / "src")}

    outcome = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr[-2000:]
    report = json.loads(outcome.stdout)
    assert {label: part["failed"] for label, part in report.items()} == {label: {} for label in report}
    assert [part["ran"] for part in report.values()] == [191, 33, 33]

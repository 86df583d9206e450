"""Django: hardtack's engines and middleware on a real site, through its test clients; and Django's own session tests."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import importlib
import json
import os
import pickle
import subprocess
import sys
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings  # type: ignore[import-untyped]
from django.core.signing import JSONSerializer  # type: ignore[import-untyped]
from django.http import HttpResponse, QueryDict  # type: ignore[import-untyped]
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory, override_settings  # type: ignore[import-untyped]
from django.utils.safestring import SafeString  # type: ignore[import-untyped]
from tests.frameworks import django_site
from tests.frameworks.harness import WatchedStore
from tests.frameworks.support import source_of
from tests.servers import RedisServer

from hardtack import Cookie, CookieEngine, EndedSessions, Key, KnownDevices, SessionManager, StoreEngine
from hardtack.errors import ConfigError, SessionFinished, SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.events import Conflict, Created, Event, IdChanged, LoggedIn, Opened, Rejected
from hardtack.foreign.django import DjangoSignedCookie
from hardtack.protocols import Entry, Version
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import AsyncRedisStore

django_site.configure()

from django.contrib.sessions.backends.base import UpdateError  # type: ignore[import-untyped]  # noqa: E402

from hardtack.frameworks.django import SessionMiddleware, current_manager  # noqa: E402
from hardtack.frameworks.django.response import Line  # noqa: E402

PACKAGE = "hardtack.frameworks.django"
ENGINES = ["encrypted_cookie", "signed_cookie", "store"]
OURS = django_site.MIDDLEWARE
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
    assert answer.cookies["sessionid"]["max-age"] == 40 * 86400
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
        assert answer.cookies["sessionid"]["max-age"] <= 86400


LISTED = {"HARDTACK_ENDED": "memory://", "HARDTACK_IDLE_TIMEOUT": "2 hours"}


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("name", ENGINES)
def test_a_list_of_ended_sessions_ends_every_copy(name: str, ours: bool) -> None:
    """HARDTACK_ENDED, under both middlewares: a copied cookie is nobody's after the logout."""
    with using(name, **LISTED, **({} if ours else {"MIDDLEWARE": DJANGOS})):
        client, thief = browser(), browser()
        client.get("/login/ann")
        thief.cookies["sessionid"] = client.cookies["sessionid"].value
        assert thief.get("/whoami").content == client.get("/whoami").content == b"ann"

        client.get("/logout")

        assert thief.get("/whoami").content == b"AnonymousUser"


def test_a_list_of_ended_sessions_needs_a_limit() -> None:
    """`set_expiry` reaches years, and the list would have to remember as long."""
    with (
        using("encrypted_cookie", HARDTACK_ENDED="memory://"),
        pytest.raises(ConfigError, match="HARDTACK_IDLE_TIMEOUT"),
    ):
        engine("encrypted_cookie").SessionStore().save()


def test_one_list_for_all_engines_of_a_site() -> None:
    """And one that was made by the application is its own."""
    with using("encrypted_cookie", **LISTED):
        managers = [engine(name).SessionStore().manager for name in ENGINES]
        assert len({id(each.core.ended) for each in managers}) == 1
    ended = EndedSessions.from_url("memory://")
    with using("encrypted_cookie", **{**LISTED, "HARDTACK_ENDED": ended}):
        assert engine("encrypted_cookie").SessionStore().manager.core.ended is ended


def test_saving_every_request(client: Any) -> None:
    """SESSION_SAVE_EVERY_REQUEST sets the cookie anew, and makes nothing out of a stale one."""
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        client.get("/set/a/1")

        assert client.get("/nothing").cookies["sessionid"].value


def _turn(seconds: int) -> None:
    """Turn the clock of every manager in use."""
    from hardtack.frameworks.django.configuration import made

    for manager in made.values():
        before = manager.core.clock
        manager.core.clock = lambda before=before: before() + seconds  # type: ignore[misc]


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
    with using("encrypted_cookie", SESSION_COOKIE_NAME="__Host-Http-sessionid", SESSION_COOKIE_SECURE=True):
        client = browser()
        answer = client.get("/set/a/1", secure=True)

        assert answer.cookies["__Host-Http-sessionid"]["secure"]
        assert client.get("/dump", secure=True).json() == {"a": 1}
        assert client.get("/flush", secure=True).cookies["__Host-Http-sessionid"]["secure"]


def test_a_host_cookie_without_secure_is_refused() -> None:
    """Browsers would drop it without a word."""
    with (
        using("encrypted_cookie", SESSION_COOKIE_NAME="__Host-Http-sessionid"),
        pytest.raises(ConfigError, match="secure"),
    ):
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

    restored = pickle.loads(pickle.dumps(Line(line)))

    assert restored.OutputString() == line
    assert (restored.value, restored["secure"], restored["samesite"]) == ("b", True, "Lax")
    restored["samesite"] = "Strict"
    changed = pickle.loads(pickle.dumps(restored))
    assert (changed.key, changed.value, changed["samesite"]) == ("a", "b", "Strict")
    assert changed.OutputString() == restored.OutputString()


def test_the_attributes_of_a_cookie_of_ours_are_what_django_would_have_set(client: Any) -> None:
    """Middleware and tests that look into `response.cookies` find the same kinds: `max-age` is a number."""
    theirs = HttpResponse()
    theirs.set_cookie("sessionid", "a", max_age=100, httponly=True, samesite="Lax")

    ours = client.get("/expiry/100").cookies["sessionid"]

    # Without the end, as the two may have been made in different seconds.
    assert {**ours, "expires": ""} == {**theirs.cookies["sessionid"], "expires": ""}
    assert {key: type(value) for key, value in ours.items()} == {
        key: type(value) for key, value in theirs.cookies["sessionid"].items()
    }
    assert client.get("/flush").cookies["sessionid"]["max-age"] == 0


def test_a_cookie_of_ours_may_be_changed_by_others() -> None:
    """A middleware further out deletes it, or gives it another attribute, by Django's own means."""
    response = HttpResponse()
    response.cookies["a"] = Line("a=b; Max-Age=1; Path=/; SameSite=Lax")
    response.cookies["a"]["samesite"] = "None"
    assert response.cookies["a"].OutputString() == "a=b; Max-Age=1; Path=/; SameSite=None"

    response.cookies["a"] = Line("a=b; Max-Age=1; Path=/")
    response.delete_cookie("a")
    assert response.cookies["a"].OutputString().startswith('a=""; expires=')


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


def test_no_more_is_cleared_than_a_session_may_be_in() -> None:
    """A sibling subdomain can plant any number of cookies that look like chunks: a proxy takes no answer with as many lines."""
    with using("encrypted_cookie", HARDTACK_OVERFLOW="chunk"):
        client = browser()
        for number in range(120):
            client.cookies[f"sessionid.{number}"] = "9planted"
        answer = client.get("/dump")

        assert sorted(answer.cookies) == [f"sessionid.{number}" for number in range(9)]
        assert {morsel["max-age"] for morsel in answer.cookies.values()} == {0}


def test_the_key_of_a_chunked_session_opens_it() -> None:
    """As django-allauth opens it again at the end of a social login; of chunks that are not whole there is a key to nothing."""
    with using("encrypted_cookie", HARDTACK_OVERFLOW="chunk"):
        store = engine("encrypted_cookie").SessionStore
        session = store.for_request("")
        session["text"] = os.urandom(2500).hex()
        session.save()
        header = "; ".join(line.partition(";")[0] for line in session.lines)
        assert header.count("sessionid.") > 1

        again = store.for_request(header)

        assert again["text"] == session["text"]
        for key in (session.session_key, again.session_key):
            assert store(key)["text"] == session["text"]
        torn = store.for_request(header.partition("; ")[0])
        assert torn.session_key
        assert dict(torn.items()) == {}
        assert torn.session_key is None


# --- a session that a view has put in the place of the request's own, opened by its key, as django-allauth does


def names_of(client: Any) -> set[str]:
    """The cookies that a browser has: Django's test client keeps what was cleared, as empty."""
    return {name for name, morsel in client.cookies.items() if morsel.value}


@pytest.fixture(params=[False, True], ids=["wsgi", "asgi"])
def visit(request: pytest.FixtureRequest) -> Any:
    """Visits a page of the site as a browser, whose cookies stay; under both kinds of server."""

    def through(client: Any, path: str) -> Any:
        if not request.param:
            return client.get(path)
        return asyncio.run(_through_asgi(client, path))

    return through


@pytest.mark.parametrize("name", ["encrypted_cookie", "signed_cookie"])
def test_a_session_that_a_view_has_put_there_may_take_several_cookies(name: str, visit: Any) -> None:
    """What a social login tells of a user can be larger than one cookie: it was an error of the whole login."""
    with using(name, HARDTACK_OVERFLOW="chunk"):
        client = browser()

        visit(client, "/reopened/10/3000")

        assert names_of(client) == {"sessionid.0", "sessionid.1"}
        assert client.get("/dump").json()["after"] == 3000


def test_what_the_browser_has_of_a_session_goes_where_another_takes_its_place(visit: Any) -> None:
    """Chunks that stayed beside one cookie would be the session of the next request, or dispute it."""
    with using("encrypted_cookie", HARDTACK_OVERFLOW="chunk"):
        client = browser()
        client.get("/big/5000")
        assert names_of(client) == {"sessionid.0", "sessionid.1"}

        visit(client, "/reopened/3000/20")
        assert names_of(client) == {"sessionid"}
        assert client.get("/dump").json()["after"] == 20

        visit(client, "/reopened/10/3000")
        assert names_of(client) == {"sessionid.0", "sessionid.1"}
        assert client.get("/dump").json()["after"] == 3000

        visit(client, "/reopened/3000/0")
        assert names_of(client) == set()


def test_a_cookie_of_an_earlier_save_does_not_stay_beside_chunks(visit: Any) -> None:
    """The view has saved the session that it put there, in one cookie, before it grew."""
    with using("encrypted_cookie", HARDTACK_OVERFLOW="chunk"):
        client = browser()

        visit(client, "/reopened-and-saved/3000")

        assert names_of(client) == {"sessionid.0", "sessionid.1"}
        assert client.get("/dump").json()["after"] == 10


def test_chunks_of_a_session_that_a_view_has_put_there_fit_into_a_request(visit: Any) -> None:
    """`HARDTACK_MAX_HEADER` counts the site's other cookies too; nothing is sent, and what was there stays."""
    with using("encrypted_cookie", HARDTACK_OVERFLOW="chunk"):
        client = browser()
        client.get("/set/a/1")
        client.cookies["other"] = "x" * 4000
        client.raise_request_exception = False

        with pytest.raises(SessionTooLarge, match="max_header"):
            SessionMiddleware(lambda request: django_site.reopened(request, 10, 3000))(
                RequestFactory().get("/", headers={"Cookie": f"other={'x' * 4000}"})
            )
        assert visit(client, "/reopened/10/3000").status_code == 500
        assert client.get("/dump").json() == {"a": 1}


def test_reading_a_session_that_a_view_has_put_there_sets_no_cookie(client: Any, visit: Any) -> None:
    """A response that depends on it says so to caches; one that does not look at it says nothing."""
    client.get("/set/a/1")

    answer = visit(client, "/reopened-and-read")
    assert answer.json() == {"a": 1}
    assert answer.headers["Vary"] == "Cookie"
    assert not answer.cookies

    answer = visit(client, "/reopened-for-nobody")
    assert "Vary" not in answer.headers
    assert "Cache-Control" not in answer.headers
    assert not answer.cookies


def test_a_session_that_is_none_takes_the_place_of_the_requests_own(client: Any, visit: Any) -> None:
    """As Django has it, the cookie goes; and nothing is cleared of who has none."""
    assert not visit(client, "/nobodys").cookies
    client.get("/set/a/1")

    assert visit(client, "/nobodys").cookies["sessionid"].value == ""
    assert names_of(client) == set()


def test_a_session_of_another_engine_is_saved_as_that_engine_does(under_ours: Any, visit: Any) -> None:
    """The view knows what it does; the next request cannot read it."""
    assert visit(under_ours, "/of-django").cookies["sessionid"].value

    assert under_ours.get("/dump").json() == {}


def test_a_store_that_is_down_answers_503_for_a_session_that_a_view_has_put_there(visit: Any) -> None:
    """Not Django's page for an exception that nobody handles."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.get("/set/a/1")
        client.raise_request_exception = False
        django_site.meanwhile = lambda: setattr(store, "down", frozenset({"get", "put"}))

        assert visit(client, "/reopened-slowly").status_code == 503


@pytest.mark.parametrize("name", ["encrypted_cookie", "signed_cookie"])
def test_a_session_that_is_known_by_its_key_has_one_cookie(name: str) -> None:
    """Who saves one elsewhere hands its key on as one value. Nothing has ended by then: the key opens the session as before."""
    with using(name, HARDTACK_OVERFLOW="chunk", **LISTED):
        store = engine(name).SessionStore
        session = store()
        session["a"] = 1
        session.save()
        key = session.session_key
        session["big"] = os.urandom(4000)

        with pytest.raises(SessionTooLarge, match="SessionMiddleware in MIDDLEWARE"):
            session.cycle_key()

        assert store(key)["a"] == 1


def test_who_acts_as_another_user_needs_two_cookies() -> None:
    """Her own session waits in the second one, which a key does not tell of."""
    with using("encrypted_cookie"):
        session = engine("encrypted_cookie").SessionStore()
        session["_auth_user_id"] = "ann"
        session.save()
        session.inner.impersonate("bob")
        session["_auth_user_id"] = "bob"

        with pytest.raises(SessionTooLarge, match="SessionMiddleware in MIDDLEWARE"):
            session.save()


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
    """UpdateError for what had loaded it before; what opens the dead key later gets another, as with Django's engines."""
    with using("store"):
        store = engine("store").SessionStore
        session = store()
        session["a"] = 1
        session.save()
        late = store(session.session_key)
        session.cycle_key()

        late.clear()
        late["a"] = 3
        late.save()
        assert late.session_key not in (None, session.session_key)
        loaded = store(session.session_key)
        loaded["a"] = 2
        store(session.session_key).delete()
        with pytest.raises(UpdateError):
            loaded.save()


@pytest.mark.parametrize("middleware", [OURS, DJANGOS], ids=["ours", "djangos"])
def test_a_request_whose_session_was_ended_is_a_400(middleware: list[str]) -> None:
    """As with Django's own engines: SessionInterrupted, whatever the method was."""
    with using("store", MIDDLEWARE=middleware):
        client, other = browser(), browser()
        client.get("/set/a/1")
        other.cookies.load(client.cookies.output(header=""))
        django_site.meanwhile = lambda: other.get("/logout")

        assert client.get("/race/a/b").status_code == 400


def test_what_comes_with_a_dead_key_is_not_saved() -> None:
    """Just after an id change the browser is about to get the new cookie: no other may take its place."""
    with using("store"):
        client = browser()
        client.get("/set/a/1")
        old = {"cookie": f"sessionid={client.cookies['sessionid'].value}"}
        client.get("/login/ann")

        read, written = client.get("/set/b/1", headers=old), client.post("/set/b/1", headers=old)

        assert (read.status_code, written.status_code) == (200, 409)
        assert not read.cookies
        assert not written.cookies
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
    """`on_store_error="anonymous"`: who only reads keeps the cookie and is cached by nobody; who changes it gets a 503.

    A logout that the store did not hear of clears the cookie all the same.
    """
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
        assert ended.cookies["sessionid"].value == ""


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


@pytest.mark.parametrize("planted", ["x", "garbage", "a long piece of garbage"])
@pytest.mark.parametrize("name", ["store", "encrypted_cookie"])
def test_a_planted_cookie_does_not_hide_the_session_of_a_request(name: str, planted: str) -> None:
    """Although it comes first, the key is that of the cookie that opened, and an end ends that session."""
    with using(name):
        visitor = browser()
        visitor.get("/set/a/1")
        good = visitor.cookies["sessionid"].value
        header = f"sessionid={planted}; sessionid={good}"

        session = engine(name).SessionStore.for_request(header)
        assert (session["a"], session.session_key) == (1, good)
        ended = browser().get("/delete", headers={"cookie": header})

        assert ended.cookies["sessionid"]["max-age"] == 0
        if name == "store":
            assert not engine(name).SessionStore().exists(good)


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


@pytest.mark.parametrize(("path", "status"), [("/logout", 503), ("/flush", 503), ("/logout-and-apologize", 502)])
def test_a_logout_while_the_store_cannot_be_read_clears_the_cookie(path: str, status: int) -> None:
    """`django.contrib.auth.logout` asks first who logs out: that it cannot be told is no reason to keep the cookie."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.get("/login/ann")
        store.down = frozenset({"get"})

        answer = client.get(path)

        assert answer.status_code == status
        assert answer.cookies["sessionid"].value == ""


def test_asking_who_is_logged_in_while_the_store_cannot_be_read_is_no_logout() -> None:
    """The cookie stays."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.get("/login/ann")
        store.down = frozenset({"get"})
        answer = client.get("/whoami")
        store.down = frozenset()

        assert (answer.status_code, dict(answer.cookies)) == (503, {})
        assert client.get("/whoami").content == b"ann"


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


def test_a_login_counts_where_all_of_the_users_sessions_were_ended_meanwhile() -> None:
    """The session that the request had loaded was the same user's: the login begins another, under another key."""
    with using("store"):
        client = browser()
        client.get("/login/ann")
        before = client.cookies["sessionid"].value

        client.get("/login-after-all-ended/ann")

        assert client.get("/whoami").content == b"ann"
        assert client.cookies["sessionid"].value != before


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
        assert client.get("/set/a/1").cookies["sessionid"]["max-age"] == 3600
        assert client.get("/dump").json() == {"a": 1}
        client.get("/login/ann")
        assert client.get("/whoami").content == b"ann"


@pytest.mark.parametrize("asgi", [False, True])
@pytest.mark.parametrize("name", ["encrypted_cookie", "store"])
def test_a_session_that_a_view_has_put_there_has_the_cookie_of_the_manager(name: str, asgi: bool) -> None:
    """As django-allauth's social login does: under SESSION_COOKIE_NAME, nobody would ask for it again."""
    kept: Any = StoreEngine(MemoryStore()) if name == "store" else Key.generate()
    sessions = SessionManager(kept, cookie=Cookie.for_development(name="shop"))
    with using(name, HARDTACK_SESSIONS=sessions):
        client = browser()
        answer = asyncio.run(_through_asgi(client, "/replaced")) if asgi else client.get("/replaced")

        assert set(answer.cookies) == {"shop"}
        assert "no-store" in answer.headers["Cache-Control"]
        assert client.get("/dump").json() == {"state": 1, "after": 2}


async def _through_asgi(client: Any, path: str) -> Any:
    """An answer of the asynchronous middleware, whose cookies the other client keeps."""
    asynchronous = async_browser()
    asynchronous.cookies.update(client.cookies)
    asynchronous.raise_request_exception = client.raise_request_exception
    answer = await asynchronous.get(path)
    client.cookies.update(asynchronous.cookies)
    return answer


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
def test_a_user_who_has_shown_a_factor_again(name: str) -> None:
    """The session goes on under a new key; it says so by factor and age, and not in its data."""
    with using(name, HARDTACK_STORE=MemoryStore()):
        store = engine(name).SessionStore
        session = store()
        with pytest.raises(ConfigError, match="logged in"):
            session.confirm("totp")
        session["_auth_user_id"] = "7"
        session.save()
        before = session.session_key

        asked = session.confirmed()
        session.confirm("totp")
        session.save()

        again = store(session.session_key)
        assert (asked, again.confirmed(by="totp"), again.confirmed(by="password")) == (False, True, False)
        assert session.session_key != before
        assert dict(again.items()) == {"_auth_user_id": "7"}


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


@pytest.mark.parametrize("path", ["/async/logout", "/logout", "/flush"])
@pytest.mark.parametrize("kind", [WatchedStore, AsyncStore])
def test_an_async_logout_while_the_store_cannot_be_read_clears_the_cookie(path: str, kind: type[Any]) -> None:
    """`alogout` asks first who logs out, as `logout` does; the page that asks only that keeps the cookie."""
    store = kind()
    inner = store.inner if kind is AsyncStore else store

    async def visit() -> None:
        client = async_browser()
        await client.get("/async/set/a/1")
        inner.down = frozenset({"get"})
        for asking in (await client.get("/async/sync"), await client.get("/async/race/a/b")):
            assert (asking.status_code, dict(asking.cookies)) == (503, {})
        leaving = await client.get(path)
        assert leaving.status_code == 503
        assert leaving.cookies["sessionid"].value == ""

    with using("store", HARDTACK_STORE=store):
        asyncio.run(visit())


def test_an_async_request_whose_session_was_ended_is_a_400() -> None:
    """SessionInterrupted, as under WSGI; a stale cookie creates nothing."""

    async def visit() -> None:
        client = async_browser()
        await client.get("/async/set/a/1")
        django_site.ameanwhile = engine("store").SessionStore(client.cookies["sessionid"].value).aflush
        assert (await client.get("/async/race/a/b")).status_code == 400
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


# --- known devices


def told_of_logins(name: str, header: str | None = "") -> list[Any]:
    """What the events of a site's logins say of the device, as they come in."""
    told: list[Any] = []

    def on_event(event: Event) -> None:
        if isinstance(event, LoggedIn):
            told.append(event.known_device)

    engine(name).SessionStore(None, header).manager.on_event = on_event
    return told


@pytest.mark.parametrize("name", ENGINES)
def test_a_login_on_a_known_device_is_told(name: str) -> None:
    """By a cookie beside the session's, which a logout, another user and a flush of the view leave."""
    with using(name, HARDTACK_KNOWN_DEVICES="90 days"):
        told, client = told_of_logins(name), browser()
        answer = client.get("/login/ann")
        client.get("/logout")
        client.get("/login/bob")
        client.get("/login/ann")
        client.get("/flush")
        client.get("/login/bob")

        assert client.get("/whoami").content == b"bob"
    assert sorted(answer.cookies) == ["device-sessionid", "sessionid"]
    assert answer.cookies["device-sessionid"]["max-age"] == 90 * 86_400
    assert told == [False, False, True, True]


@pytest.mark.parametrize("name", ENGINES)
def test_async_django_is_told_the_same(name: str) -> None:
    """With `alogin`, in an async view."""
    users = [django_site.user(each).pk for each in ("ann", "bob")]

    async def visit() -> Any:
        client = async_browser()
        for user in (*users, users[0]):
            await client.get(f"/async/login/{user}")

    with using(name, HARDTACK_KNOWN_DEVICES="90 days"):
        told = told_of_logins(name)
        asyncio.run(visit())

    assert told == [False, False, True]


def test_a_session_that_begins_anew_is_in_the_same_browser(under_ours: Any) -> None:
    """`create()` in a view, and then a login: what the request's cookies say of the device is not lost."""
    name = settings.SESSION_ENGINE.rpartition(".")[2]
    with using(name, HARDTACK_KNOWN_DEVICES="90 days"):
        told = told_of_logins(name)
        for path in ("/login/ann", "/create-and-login/ann", "/create-and-login/bob", "/login/ann"):
            under_ours.get(path)

    assert told == [False, True, False, True]


@pytest.mark.parametrize("name", ENGINES)
def test_of_a_session_known_by_its_key_nobody_says_what_the_device_is(name: str) -> None:
    """Under Django's own middleware, and for the test client's `force_login`: they see and set one cookie."""
    sessions = SessionManager(
        StoreEngine(MemoryStore()) if name == "store" else CookieEngine(Key(bytes(range(32)))),
        cookie=Cookie.for_development(name="sessionid"),
        known_devices=KnownDevices(keys=Key(bytes(range(32)))),
    )
    with using(name, MIDDLEWARE=DJANGOS, HARDTACK_SESSIONS=sessions):
        told, client = told_of_logins(name, None), browser()
        client.get("/login/ann")
        client.get("/login/bob")
        client.force_login(django_site.user("ann"))

        assert client.get("/whoami").content == b"ann"
    assert told == [None, None, None]
    assert set(client.cookies) == {"sessionid"}


# --- parallel requests, under hardtack's middleware


@pytest.fixture
def stored() -> Iterator[Any]:
    """A client of the site with sessions in a store; `told` has the events."""
    with using("store"):
        client = browser()
        client.told = []
        current_manager()
        engine("store").SessionStore(None, "").manager.on_event = client.told.append
        yield client


def twin(client: Any) -> Any:
    """Another client with the same cookies, such as a second tab."""
    other = browser()
    other.cookies.load(client.cookies.output(header=""))
    return other


def outcomes(client: Any) -> list[str]:
    return [event.outcome for event in client.told if isinstance(event, Conflict)]


def test_a_post_that_lost_a_race_is_a_409(stored: Any) -> None:
    """It had read what another request changed: the browser is not told that it was saved."""
    stored.get("/set/a/1")
    django_site.meanwhile = lambda: twin(stored).get("/set/a/2")

    answer = stored.post("/race/a/b")

    assert answer.status_code == 409
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert not answer.cookies
    assert outcomes(stored) == ["stale"]
    assert stored.get("/dump").json() == {"a": 2}


def test_a_get_that_lost_a_race_is_dropped(stored: Any) -> None:
    """The page is shown, and an event tells of what was not saved."""
    stored.get("/set/a/1")
    django_site.meanwhile = lambda: twin(stored).get("/set/a/2")

    answer = stored.get("/race/a/b")

    assert answer.status_code == 200
    assert not answer.cookies
    assert outcomes(stored) == ["stale"]
    assert stored.get("/dump").json() == {"a": 2}


def test_what_django_asks_for_itself_makes_nothing_stale(stored: Any) -> None:
    """A request that assigns blindly is kept beside another: `is_empty`, the expiry and the like are no reads of the view."""
    stored.get("/expiry/1000")
    django_site.meanwhile = lambda: twin(stored).get("/expiry/2000")

    assert stored.post("/race/b/c").status_code == 200
    assert stored.get("/dump").json() == {"a": 1, "_session_expiry": 2000, "c": None}


def test_a_save_that_only_moves_the_deadline_loses_no_race(stored: Any) -> None:
    """SESSION_SAVE_EVERY_REQUEST with seconds of inactivity: nothing of this request could be lost."""
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        stored.get("/expiry/1000")
        _turn(10)
        django_site.meanwhile = lambda: twin(stored).get("/set/a/2")

        assert stored.post("/read-slowly/a").status_code == 200
        assert stored.get("/dump").json()["a"] == 2


def test_django_middleware_says_that_a_save_was_dropped() -> None:
    """It knows 400 only: a page that says so, and no lost update."""
    with using("store", MIDDLEWARE=DJANGOS):
        client = browser()
        client.get("/set/a/1")
        django_site.meanwhile = lambda: twin(client).get("/set/a/2")

        assert client.post("/race/a/b").status_code == 400
        assert client.get("/dump").json() == {"a": 2}


def test_a_view_that_saves_is_told_that_nothing_was_saved(stored: Any) -> None:
    """`session.save()` raises whatever the method is; what nobody catches is a 409."""
    stored.get("/set/a/1")
    django_site.meanwhile = lambda: twin(stored).get("/set/a/2")

    assert stored.get("/race-and-save/a/b").status_code == 409
    assert stored.get("/dump").json() == {"a": 2}


def test_messages_of_parallel_requests_make_nobody_stale(stored: Any) -> None:
    """django.contrib.messages reads and writes them on each request that has one."""
    stored.get("/set/a/1")
    django_site.meanwhile = lambda: twin(stored).post("/message")

    assert stored.post("/message-slowly").status_code == 200


def test_both_of_two_logins_at_once_are_logged_in(stored: Any) -> None:
    """A double click on "Log in": each answer carries a cookie that is good."""
    stored.get("/set/a/1")
    other = twin(stored)
    django_site.meanwhile = lambda: other.post("/login/ann")

    slow = stored.post("/login-slowly/ann")

    assert slow.status_code == 200
    assert slow.cookies["sessionid"].value
    assert stored.get("/whoami").content == b"ann"
    assert stored.get("/dump").json() == {"a": 1}
    assert (
        len(current_manager().list(str(django_site.user("ann").pk))) == 1
    )  # the other answer was lost with its cookie


def test_a_login_over_another_user_is_not_lost(stored: Any) -> None:
    """`auth.login` flushes the session of the other; twice at once, both are logged in."""
    stored.get("/login/bob")
    other = twin(stored)
    django_site.meanwhile = lambda: other.post("/login/ann")

    slow = stored.post("/login-slowly/ann")

    assert slow.status_code == 200
    assert stored.get("/whoami").content == b"ann"


def test_what_a_background_request_saves_late_keeps_the_cookie_of_a_login(stored: Any) -> None:
    """It came with the id of before the login as another user."""
    stored.get("/login/bob")
    background = twin(stored)
    stored.get("/login/ann")

    assert not background.get("/set/a/1").cookies
    assert stored.get("/whoami").content == b"ann"


@pytest.mark.parametrize("path", ["/logout-slowly", "/flush-slowly"])
def test_a_logout_beside_an_id_change_logs_out(stored: Any, path: str) -> None:
    """Both the session and what it has become meanwhile: whoever was told "logged out" is."""
    stored.get("/login/ann")
    other = twin(stored)
    django_site.meanwhile = lambda: other.post("/password/new")

    answer = stored.post(path)

    assert answer.cookies["sessionid"].value == ""
    assert other.get("/whoami").content == b"AnonymousUser"


def test_an_old_password_hash_does_not_end_the_tab_that_changed_the_password(stored: Any) -> None:
    """`get_user` flushes the session that it has met; its response leaves the new cookie alone."""
    stored.get("/login/ann")
    other = twin(stored)
    django_site.meanwhile = lambda: other.post("/password/newer")

    answer = stored.get("/whoami-slowly")

    assert answer.content == b"AnonymousUser"
    assert not answer.cookies
    assert other.get("/whoami").content == b"ann"


@pytest.mark.parametrize("path", ["/logout-and-fail", "/async/logout-and-fail"])
def test_a_logout_before_an_exception_is_carried_out(under_ours: Any, path: str) -> None:
    """What the view put in afterwards is not saved, and the page of the exception clears the cookie."""
    under_ours.raise_request_exception = False
    under_ours.get("/login/ann")
    copied = under_ours.cookies["sessionid"].value

    answer = under_ours.get(path)

    assert answer.status_code == 500
    assert answer.cookies["sessionid"].value == ""
    if current_manager().engine.store is not None:
        who = browser().get("/whoami", headers={"cookie": f"sessionid={copied}"})
        assert who.content == b"AnonymousUser"


def test_a_logout_before_the_client_leaves_is_carried_out() -> None:
    """The task of the request is cancelled: there is no answer, and no session."""

    async def visit() -> None:
        client = async_browser()
        await client.get("/async/set/a/1")
        key = client.cookies["sessionid"].value
        with pytest.raises(asyncio.CancelledError):
            await client.get("/async/logout-and-leave")
        assert not await engine("store").SessionStore().aexists(key)

    with using("store", HARDTACK_STORE=AsyncStore()):
        asyncio.run(visit())


class Left(BaseException):
    """What ends a worker, as GreenletExit does."""


def test_a_logout_before_the_worker_ends_is_carried_out(stored: Any) -> None:
    """BaseException passes Django's handlers: no response, and no session."""
    stored.get("/login/ann")
    key = stored.cookies["sessionid"].value

    def leave(request: Any) -> Any:
        request.session.flush()
        raise Left

    request = RequestFactory().get("/", headers={"cookie": f"sessionid={key}"})
    with pytest.raises(Left):
        SessionMiddleware(leave)(request)

    assert not engine("store").SessionStore().exists(key)


def test_a_logout_before_an_exception_while_the_store_is_down() -> None:
    """503, and the browser forgets the session."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.raise_request_exception = False
        client.get("/login/ann")
        store.down = frozenset({"put", "delete"})

        answer = client.get("/logout-and-fail")

        assert answer.status_code == 503
        assert answer.cookies["sessionid"].value == ""


# --- a site of its own


def test_a_site_that_logs_in_by_itself_tells_by_the_signal(stored: Any) -> None:
    """It keeps the user's id alone: that is a login as any other."""
    stored.get("/login-of-ones-own/ann")

    (known,) = current_manager().list(str(django_site.user("ann").pk))
    assert known.authenticated_at is not None


def test_the_key_of_a_login_is_known_at_once(stored: Any) -> None:
    """Sites note it in `user_logged_in`: it is the key that the browser gets."""
    answer = stored.post("/key-after-login/ann")

    assert answer.content.decode() == answer.cookies["sessionid"].value


def test_four_requests_of_a_cart_are_one_visitor(stored: Any) -> None:
    """`if not session.session_key: session.save()`: the cookie is set with the response."""
    keys = {stored.get("/visitor").content for _ in range(4)}

    assert len(keys) == 1
    assert b"" not in keys


def test_a_second_save_without_a_change_changes_nothing(client: Any) -> None:
    """A view that saves twice, and the middleware once more: one cookie, and what it carries is good."""
    for count in (1, 2):
        answer = client.get("/save-and-save")
        assert answer.cookies["sessionid"].value
        assert client.get("/dump").json() == {"a": count}


def test_a_page_about_the_store_may_read_the_session_again() -> None:
    """A view that answers for itself where the store is down: who is logged in is nobody, and that is no second failure."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.get("/login/ann")
        store.down = frozenset({"get"})

        answer = client.get("/patient")

        assert (answer.status_code, answer.content) == (503, b"None AnonymousUser")
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert not answer.cookies


def test_an_async_page_about_the_store_may_read_the_session_again(redis_server: RedisServer) -> None:
    """As one that is not async."""

    async def visit() -> Any:
        client = async_browser()
        await client.get("/async/set/a/1")
        assert (await client.get("/async/patient")).status_code == 200
        with redis_server.gone():
            return await client.get("/async/patient")

    with using("store", HARDTACK_STORE=AsyncRedisStore.from_url(redis_server.url)):
        answer = asyncio.run(visit())

    assert (answer.status_code, answer.content) == (503, b"None AnonymousUser")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert not answer.cookies


def test_a_page_that_takes_nobody_for_an_answer_is_not_sent() -> None:
    """It swallowed the error and went on with a stand-in: 503."""
    store = WatchedStore()
    with using("store", HARDTACK_STORE=store):
        client = browser()
        client.get("/login/ann")
        store.down = frozenset({"get"})

        assert client.get("/impatient").status_code == 503


def test_a_write_after_the_request_is_refused(stored: Any) -> None:
    """A task or a thread that kept the session is told that nothing would save it; reading goes on."""
    stored.get("/set/a/1")
    stored.get("/late")
    session = django_site.kept.pop()

    assert session["a"] == 1
    with pytest.raises(SessionFinished):
        session["a"] = 2


def test_what_a_stream_changes_is_saved_in_a_store(stored: Any) -> None:
    """The session is there to its end, and finished with it."""
    b"".join(stored.get("/late-stream").streaming_content)

    assert stored.get("/dump").json() == {"a": 2}


def test_what_an_async_stream_changes_is_saved_in_a_store() -> None:
    """The same under ASGI."""

    async def visit() -> None:
        client = async_browser()
        answer = await client.get("/late-stream")
        assert [part async for part in answer.streaming_content] == [b""]
        assert (await client.get("/dump")).json() == {"a": 2}

    with using("store", HARDTACK_STORE=AsyncStore()):
        asyncio.run(visit())


def test_what_a_stream_that_fails_changes_is_not_saved(stored: Any) -> None:
    """Like a view that fails."""
    answer = stored.get("/late-stream?fail")
    with pytest.raises(ValueError):
        b"".join(answer.streaming_content)
    answer.close()

    assert stored.get("/dump").json() == {"a": 1}


def test_what_an_async_stream_that_fails_changes_is_not_saved() -> None:
    """The same under ASGI."""

    async def visit() -> None:
        client = async_browser()
        answer = await client.get("/late-stream?fail")
        with pytest.raises(ValueError):
            [part async for part in answer.streaming_content]
        assert (await client.get("/dump")).json() == {"a": 1}

    with using("store", HARDTACK_STORE=AsyncStore()):
        asyncio.run(visit())


def test_a_file_stays_a_file(stored: Any) -> None:
    """A server may send it in its own way: its body is not wrapped."""
    answer = SessionMiddleware(django_site.file)(RequestFactory().get("/file"))

    assert answer.file_to_stream is not None
    assert b"".join(answer) == b"file"


@pytest.mark.parametrize("name", ["encrypted_cookie", "store"])
def test_requests_of_other_sites_are_refused(name: str) -> None:
    """HARDTACK_CROSS_SITE: no login, no logout and no write, by Django's own 403; a page without the session otherwise."""
    with using(name, HARDTACK_CROSS_SITE="refuse", HARDTACK_TRUSTED_ORIGINS=["https://login.example.org"]):
        client = browser()
        client.get("/login/ann")
        foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}

        answers = [client.post(path, headers=foreign) for path in ("/login/bob", "/logout", "/set/a/1")]
        page = client.post("/whoami", headers=foreign)

        assert [answer.status_code for answer in answers] == [403, 403, 403]
        assert not any(answer.cookies for answer in (*answers, page))
        assert (page.status_code, page.content) == (200, b"AnonymousUser")
        assert client.get("/whoami").content == b"ann"
        assert client.post("/set/a/1", headers={"origin": "https://login.example.org"}).status_code == 200


def test_the_host_behind_a_proxy_is_the_browsers() -> None:
    """USE_X_FORWARDED_HOST: the site's own forms are not taken for another site's."""
    with using("encrypted_cookie", HARDTACK_CROSS_SITE="refuse", USE_X_FORWARDED_HOST=True):
        headers = {"origin": "http://shop.example", "x-forwarded-host": "shop.example"}

        assert browser().post("/set/a/1", headers=headers).status_code == 200


@pytest.mark.parametrize("alive", [True, False], ids=["during", "after"])
def test_what_is_told_of_a_request_outlives_it(alive: bool) -> None:
    """An event may tell of it in a thread that goes on after the response, and it keeps no request in memory for that.

    Behind a proxy, which only Django knows of, it is told of the same scheme and path as before.
    """
    with using("encrypted_cookie", SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        middleware = SessionMiddleware(lambda request: HttpResponse())
        headers = {"user-agent": "Firefox", "x-forwarded-proto": "https"}
        request: Any = RequestFactory().get("//cart?a=1", headers=headers, SCRIPT_NAME="/shop/")
        path = request.path
        middleware.process_request(request)
        told, gone = request.session.request, weakref.ref(request)
        if not alive:
            del request

        assert (gone() is not None) == alive
        assert (told.method, told.scheme, told.host, told.path) == ("GET", "https", "testserver", path)
        assert (told.query, told.user_agent, told.client, told.passive) == ("a=1", "Firefox", "127.0.0.1", False)
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            told.nothing  # noqa: B018


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda told: pickle.loads(pickle.dumps(told))], ids=["copy", "deep", "pickle"]
)
def test_a_copy_of_what_is_told_of_a_request(copied: Any) -> None:
    """Whoever hands an event on to another process gets all of it, and none of what the server put beside the headers."""
    with using("encrypted_cookie"):
        more: Any = {"wsgi.errors": sys.stderr}
        request: Any = RequestFactory().get("/cart", headers={"user-agent": "Firefox"}, **more)
        SessionMiddleware(lambda request: HttpResponse()).process_request(request)
        told = request.session.request

        assert copied(told) == told
        assert copied(told).user_agent == "Firefox"


def test_cookies_that_somebody_planted_are_cleared_and_ours_is_not() -> None:
    """Two good sessions in one request: neither is used, and the places where another may have set one are cleared."""
    with using("store"):
        one, other = browser(), browser()
        one.get("/login/ann")
        other.get("/login/bob")
        both = "; ".join(f"sessionid={each.cookies['sessionid'].value}" for each in (one, other))

        answer = browser().get("/whoami", headers={"cookie": both, "host": "shop.example.org"})

        assert answer.content == b"AnonymousUser"
        lines = [morsel.OutputString() for morsel in answer.cookies.values()]
        assert len(lines) > 1
        assert all("Domain=" in line or "Path=/whoami" in line for line in lines)


def only_dump(request: Any) -> bool:
    """A request that is no activity of the user."""
    return bool(request.path == "/dump")


@pytest.mark.parametrize("given", [only_dump, f"{__name__}.only_dump"])
def test_a_page_that_polls_keeps_nobody_logged_in(given: Any) -> None:
    """HARDTACK_PASSIVE, a function or its dotted path."""
    with using("store", HARDTACK_IDLE_TIMEOUT=100, HARDTACK_PASSIVE=given):
        client = browser()
        client.get("/set/a/1")
        _turn(60)
        assert client.get("/dump").json() == {"a": 1}
        _turn(60)

        assert client.get("/dump").json() == {}


def test_a_session_has_a_largest_size() -> None:
    """HARDTACK_MAX_SIZE, in a store; HARDTACK_MAX_SET_COOKIE, in a cookie."""
    for name, setting in (
        ("store", {"HARDTACK_MAX_SIZE": 2000}),
        ("encrypted_cookie", {"HARDTACK_MAX_SET_COOKIE": 2000}),
    ):
        with using(name, **setting):
            assert browser().get("/big/1000").status_code == 200
            with pytest.raises(SessionTooLarge):
                browser().get("/big/2500")


def test_declared_keys_of_parallel_requests_are_joined() -> None:
    """HARDTACK_MERGE: both additions to a list are kept."""
    with using("store", HARDTACK_MERGE=["basket"]):
        client = browser()
        client.get("/basket")
        django_site.meanwhile = lambda: twin(client).post("/nested")

        assert client.post("/nested-slowly").status_code == 200
        assert client.get("/dump").json() == {"basket": ["bread", "bread"]}


def test_a_change_that_is_taken_back_is_not_saved(under_ours: Any) -> None:
    """`modified = False` takes what there is for unchanged."""
    under_ours.get("/set/a/1")

    assert not under_ours.get("/taken-back").cookies
    assert under_ours.get("/dump").json() == {"a": 1}


# --- a session by its key, where others end it


def test_another_key_for_a_session_that_was_ended_carries_nothing_on() -> None:
    """The data goes on nowhere, and a login after it begins a session; of somebody who was logged in nothing is left."""
    with using("store"):
        store = engine("store").SessionStore
        for user, dies in ((None, False), ("7", True)):
            session = store()
            session["a"] = 1
            if user is not None:
                session["_auth_user_id"] = user
            session.save()
            slow = store(session.session_key)
            assert slow["a"] == 1
            store(session.session_key).delete()

            if dies:
                with pytest.raises(UpdateError):
                    slow.cycle_key()
            else:
                slow.cycle_key()
                slow["_auth_user_id"] = "7"
                slow.save()
                assert dict(store(slow.session_key).items()) == {"_auth_user_id": "7"}


def test_another_key_under_async_code_carries_nothing_on_either() -> None:
    """The same with `acycle_key`."""

    async def life() -> None:
        store = engine("store").SessionStore
        session = store()
        await session.aset("a", 1)
        await session.asave()
        slow = store(session.session_key)
        assert await slow.aget("a") == 1
        await store().adelete(session.session_key)
        await slow.acycle_key()
        assert dict(await slow.aitems()) == {}

    with using("store", HARDTACK_STORE=AsyncStore()):
        asyncio.run(life())


@pytest.mark.parametrize("name", ENGINES)
def test_sessions_are_created_and_deleted_by_key(name: str) -> None:
    """`create` begins an empty one beside what is there; a key that is none ends nothing."""

    async def life() -> None:
        store = engine(name).SessionStore
        session = store()
        await session.aset("a", 1)
        await session.asave()
        other = store(session.session_key)
        await other.acreate()
        assert other.session_key not in (None, session.session_key)
        assert await other.aget("a") is None
        assert await store(session.session_key).aget("a") == 1
        await session.adelete("no such key")
        await session.adelete(other.session_key)
        await session.adelete()
        await session.adelete()
        assert session.session_key is None
        assert not await session.aexists(None)

    with using(name, HARDTACK_STORE=AsyncStore()):
        asyncio.run(life())


@pytest.mark.parametrize("name", ENGINES)
def test_loading_gives_what_is_stored(name: str) -> None:
    """A plain dict, without what the session at hand has changed since."""

    async def life() -> None:
        session = engine(name).SessionStore(key)
        assert await session.aload() == {"a": 1}
        await session.aset("a", 2)
        assert await session.aload() == {"a": 1}
        assert await session.aget_expire_at_browser_close() is False
        assert await session.aget_expiry_age() == 14 * 86400
        assert (await session.aget_expiry_date()).tzinfo is not None

    with using(name):
        session = engine(name).SessionStore()
        session["a"] = 1
        session.save()
        key = session.session_key
        session["a"] = 2
        assert session.load() == {"a": 1}
        assert engine(name).SessionStore(key).load() == {"a": 1}
        with override_settings(SESSION_SERIALIZER=f"{__name__}.Reversed"):
            assert engine(name).SessionStore(key).load() == {"a": 1}
        asyncio.run(life())


def test_a_session_is_deleted_by_its_key() -> None:
    """From another one, and by itself."""
    with using("store"):
        store = engine("store").SessionStore
        one, other = store(), store()
        one.create()
        other.create()
        other.delete("A" * 43)
        other.delete(one.session_key)
        assert not other.exists(one.session_key)
        other.delete()
        other.delete()
        assert not one.exists(other.session_key)


def test_a_request_may_begin_another_session(under_ours: Any) -> None:
    """`create`, and the browser has the new one."""
    under_ours.get("/set/a/1")
    before = under_ours.cookies["sessionid"].value

    under_ours.get("/create")

    assert under_ours.cookies["sessionid"].value != before
    assert under_ours.get("/dump").json() == {}


@pytest.mark.parametrize("path", ["/delete", "/async/delete"])
def test_a_request_may_delete_its_session(under_ours: Any, path: str) -> None:
    """The response clears the cookie."""
    under_ours.get("/set/a/1")

    assert under_ours.get(path).cookies["sessionid"].value == ""
    assert under_ours.get("/dump").json() == {}


def test_an_async_login_changes_the_key() -> None:
    """`alogin`, and `alogout` after it."""

    async def visit() -> None:
        client = async_browser()
        await client.get("/async/set/a/1")
        before = client.cookies["sessionid"].value
        ann = await sync_to_async(django_site.user)("ann")
        await client.post(f"/async/login/{ann.pk}")
        assert client.cookies["sessionid"].value != before
        assert (await client.get("/async/sync")).content == b"1"

    with using("store", HARDTACK_STORE=AsyncStore()):
        asyncio.run(visit())


def test_saving_a_stand_in_says_that_the_store_is_down() -> None:
    """`save()` in a view, under `on_store_error="anonymous"`: 503."""
    store = WatchedStore()
    sessions = SessionManager(
        StoreEngine(store, on_store_error="anonymous"), cookie=Cookie.for_development(name="sessionid")
    )
    with using("store", HARDTACK_SESSIONS=sessions):
        client = browser()
        client.get("/visitor")
        store.down = frozenset({"get"})

        assert client.get("/save").status_code == 503


def test_a_serializer_that_is_new_takes_what_was_there(new_session: Any) -> None:
    """SESSION_SERIALIZER changed on a living site; what is cleared under it is gone."""
    session = new_session()
    session["a"] = [1]
    session.save()
    with override_settings(SESSION_SERIALIZER=f"{__name__}.Reversed"):
        again = new_session(session.session_key)
        assert again["a"] == [1]
        again["b"] = 2
        again.save()
        assert new_session(again.session_key)["b"] == 2
        again._session_key = None
        again.save()
        assert new_session(again.session_key)["a"] == [1]
        again.clear()
        again["c"] = 3
        again.save()
        assert dict(new_session(again.session_key).items()) == {"c": 3}
        again.flush()
        assert list(again.keys()) == []


def test_a_logout_from_another_engine_is_none_of_ours() -> None:
    """The signal of django.contrib.auth comes for each session of the process."""
    from django.contrib import auth  # type: ignore[import-untyped]

    request: Any = RequestFactory().get("/")
    request.session = importlib.import_module("django.contrib.sessions.backends.signed_cookies").SessionStore()

    auth.logout(request)


def test_a_view_that_removes_its_session_may_fail(under_ours: Any) -> None:
    """There is nothing to end, whoever ends the worker."""

    def leave(request: Any) -> Any:
        del request.session
        raise Left

    async def aleave(request: Any) -> Any:
        leave(request)

    with pytest.raises(Left):
        SessionMiddleware(leave)(RequestFactory().get("/"))
    with pytest.raises(Left):
        asyncio.run(SessionMiddleware(aleave)(AsyncRequestFactory().get("/")))


def test_headers_of_shared_caches_go_from_a_response_with_a_cookie(under_ours: Any) -> None:
    """RFC 9213 and its like tell a cache to keep what Cache-Control forbids; a response that is private stays as it is."""
    answer = under_ours.get("/cdn")
    assert "CDN-Cache-Control" not in answer.headers
    assert answer.headers["Cache-Control"] == "private, no-store"

    assert under_ours.get("/private").headers["Cache-Control"] == "private"


# --- the rest


@pytest.mark.slow
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


@pytest.mark.slow
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
    source = (tree / "tests" / "sessions_tests" / "tests.py").read_text()
    of_middleware = (
        source.partition("\nclass SessionMiddlewareTests")[2].partition("\nclass ")[0].count("    def test_")
    )
    assert of_middleware >= 11  # in Django 5.1; one of them looks into the table of Django's own engine
    on_each_engine = 3 * (of_middleware - 1)
    assert [part["ran"] for part in report.values()] == [191, 2 * 65, on_each_engine, on_each_engine]

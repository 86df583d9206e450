"""Each cause of "I am logged out again and again" has its sentence in the default log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.servers import RedisServer

from hardtack import CookieEngine, Key, SessionManager, StoreEngine
from hardtack.adapters import warn_plain_http
from hardtack.errors import SessionTooLarge, StoreUnavailable
from hardtack.stores.memory import MemoryStore
from hardtack.stores.redis import RedisStore

KEY = Key.generate()


@pytest.fixture(autouse=True)
def default_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a program sees that has set nothing: warnings and errors."""
    with caplog.at_level(logging.WARNING, "hardtack"):
        yield


def login(sessions: SessionManager, header: str = "") -> str:
    """A user logs in; the Cookie header of the requests to come."""
    session = sessions.open(header)
    session.login("ada")
    return sessions.commit(session).set_cookies[0].partition(";")[0]


def visit(sessions: SessionManager, header: str) -> str | None:
    """A later request; who is logged in by it."""
    session = sessions.open(header)
    subject = session.subject
    sessions.commit(session)
    return subject


def test_a_wrong_key(caplog: pytest.LogCaptureFixture) -> None:
    """Two servers have different keys."""
    assert visit(SessionManager(Key.generate()), login(SessionManager(KEY))) is None
    assert "its key is not in the keyring" in caplog.text
    assert f"(key {KEY.id.hex()})" in caplog.text


def test_a_wrong_key_of_records_in_a_store(caplog: pytest.LogCaptureFixture) -> None:
    """Two servers with one store have different keys for its records."""
    store = MemoryStore()
    header = login(SessionManager(StoreEngine(store, seal=KEY)))

    assert visit(SessionManager(StoreEngine(store, seal=Key.generate())), header) is None
    assert f"wrong seal= key, or another program writes to this store (key {KEY.id.hex()})" in caplog.text


@pytest.mark.parametrize(("host", "said"), [("shop.example.org", "X-Forwarded-Proto"), ("localhost", "Safari")])
def test_a_secure_cookie_over_http(host: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """Browsers drop it, some on localhost too."""
    warn_plain_http(SessionManager(KEY), "http", host)

    assert "a Secure session cookie was set on" in caplog.text
    assert said in caplog.text


def test_more_than_fits() -> None:
    """Nobody is logged out by it: the request fails, and says by what."""
    sessions = SessionManager(KEY)
    session = sessions.open("")
    session["cart"] = "x" * 5000

    with pytest.raises(SessionTooLarge, match="cart"):
        sessions.commit(session)


@pytest.mark.parametrize("kind", ["cookie", "store"])
@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("first", ["right", "off"])
def test_clocks_that_do_not_agree(kind: str, hours: int, first: str, caplog: pytest.LogCaptureFixture) -> None:
    """One of two servers is ahead, or behind, and the user goes from one to the other and back: the one behind tells."""
    engine: Any = CookieEngine(KEY) if kind == "cookie" else StoreEngine(MemoryStore())
    right, off = (
        SessionManager(engine, idle_timeout="30 minutes", clock=lambda seconds=seconds: time.time() + seconds)  # type: ignore[misc]
        for seconds in (0, hours * 3600)
    )
    servers = [right, off, right] if first == "right" else [off, right, off]
    header = ""
    logins = 0

    for server in servers:
        if visit(server, header) is None:
            header = login(server, header)
            logins += 1

    assert logins > 1
    said = "it was made more than" if kind == "cookie" else "was saved by a clock more than"
    assert f"{said} 5 minutes ahead of this server's" in caplog.text
    assert "set the clocks of all servers (NTP)" in caplog.text


def test_a_clock_that_is_ahead_logs_nobody_out_of_a_store(caplog: pytest.LogCaptureFixture) -> None:
    """The session lives on, and whoever is to set the clock is told."""
    engine = StoreEngine(MemoryStore())
    ahead = SessionManager(engine, clock=lambda: time.time() + 3600)

    assert visit(SessionManager(engine), login(ahead)) == "ada"
    assert "was saved by a clock more than 5 minutes ahead" in caplog.text


def test_a_clock_that_is_behind_the_stores(caplog: pytest.LogCaptureFixture) -> None:
    """What it saves has expired, and is found nowhere: who looks for the cause is sent to the clocks, too."""
    behind = SessionManager(StoreEngine(MemoryStore()), idle_timeout="30 minutes", clock=lambda: time.time() - 3600)

    assert visit(behind, login(behind)) is None
    assert "a clock that is behind had it expire early" in caplog.text


@pytest.mark.parametrize("engine", [CookieEngine(KEY), StoreEngine(MemoryStore())])
def test_a_proxy_that_strips_cookies(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Of Cookie or of Set-Cookie: users log in again and again, and no cookie comes."""
    sessions = SessionManager(engine)
    for _ in range(19):
        login(sessions)
    assert caplog.text == ""

    login(sessions)
    login(sessions)

    assert caplog.text.count("no request has brought the cookie __Host-Http-session since") == 1


def test_users_whose_cookies_come(caplog: pytest.LogCaptureFixture) -> None:
    """Many may log in, if one comes back now and then; and whoever logs in with a cookie does not count."""
    sessions = SessionManager(KEY)
    header = login(sessions)
    for _ in range(30):
        login(sessions)
        header = login(sessions, header)

    assert caplog.text == ""


def test_a_redis_that_evicts(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """It says so at the first save; what it has dropped is told as well."""
    store = RedisStore.from_url(redis_server.url)
    store._perform("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        sessions = SessionManager(StoreEngine(store))
        header = login(sessions)
        store._perform("FLUSHDB")

        assert visit(sessions, header) is None
    finally:
        store._perform("CONFIG", "SET", "maxmemory-policy", "noeviction")
        store.close()
    assert "set it to noeviction" in caplog.text
    assert "the store was emptied or evicts" in caplog.text


def test_a_redis_that_is_full(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can log in, and the log says why."""
    store = RedisStore.from_url(redis_server.url)
    store._perform("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            login(SessionManager(StoreEngine(store)))
    finally:
        store._perform("CONFIG", "SET", "maxmemory", "0")
        store.close()
    assert "the session store failed to save" in caplog.text


def test_two_workers_with_a_memory_store(caplog: pytest.LogCaptureFixture) -> None:
    """Each knows its own sessions only."""
    one, two = (SessionManager(StoreEngine(MemoryStore())) for _ in range(2))

    assert visit(two, login(one)) is None
    assert "each worker has a MemoryStore" in caplog.text


@pytest.mark.parametrize("engine", [CookieEngine(KEY), StoreEngine(MemoryStore())])
def test_another_purpose(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Two applications with one key and one name of the cookie."""
    header = login(SessionManager(engine, purpose="shop"))

    assert visit(SessionManager(engine, purpose="blog"), header) is None
    assert "another purpose" in caplog.text


@pytest.mark.parametrize("to_store", [True, False])
def test_the_other_engine(to_store: bool, caplog: pytest.LogCaptureFixture) -> None:
    """One server was changed to a store, the other was not."""
    servers = [SessionManager(CookieEngine(KEY)), SessionManager(StoreEngine(MemoryStore()))]
    old, new = servers if to_store else reversed(servers)

    assert visit(new, login(old)) is None
    assert "another engine or program may use the same cookie name" in caplog.text

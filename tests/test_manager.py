"""The manager: life of a session from request to request, deadlines, rotation, takeover, events. Cookies alone, no store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit import KEY, OTHER_KEY, START, Site

from hardtack import (
    Cookie,
    CookieEngine,
    EncryptedToken,
    Keyring,
    Record,
    Request,
    SessionManager,
    SignedToken,
    StoreEngine,
    events,
)
from hardtack.adapters import carries_cookie, warn_plain_http
from hardtack.errors import ConfigError, InvalidToken, SessionTooLarge, StoreUnavailable, UnsupportedValue
from hardtack.events import (
    CacheControlReplaced,
    Created,
    Destroyed,
    Event,
    Expired,
    IdChanged,
    LateWrite,
    Opened,
    Rejected,
    Renewed,
    TakenOver,
)
from hardtack.protocols import Context
from hardtack.stores.memory import MemoryStore
from hardtack.testing import cookie_header

NAME = "__Host-Http-session"
DAY = 86_400


def reasons(site: Site) -> list[str]:
    return [event.reason for event in site.told(Rejected)]


# --- what sets a cookie, and what does not


def test_reading_never_creates() -> None:
    """A session that was only read is not stored."""
    site = Site()
    session = site.open()
    session.get("cart")

    changes = site.commit(session)

    assert list(changes) == [("Vary", "Cookie"), ("Cache-Control", "private")]
    assert site.events == []


def test_first_value_creates() -> None:
    """The first value that is stored sets the cookie."""
    site = Site()

    session = site.visit(cart=["bread"])

    assert site.told(Created) == [Created(session.id)]
    assert dict(site.open()) == {"cart": ["bread"]}


def test_unchanged_session_is_not_sent_again() -> None:
    """Reading, and writing what is there already, sets no cookie."""
    site = Site()
    site.visit(cart=["bread"])

    assert site.commit(site.visit()).set_cookies == []
    session = site.open()
    session["cart"] = ["bread"]
    assert site.commit(session).set_cookies == []


def test_nested_change_is_saved() -> None:
    """A change deep inside counts like any other."""
    site = Site()
    site.visit(cart=[{"sku": "bread", "qty": 1}])
    session = site.open()
    session["cart"][0]["qty"] = 2
    site.commit(session)

    assert site.open()["cart"][0]["qty"] == 2


def test_emptied_session_in_a_cookie_takes_its_cookie_along() -> None:
    """Without data and without a subject there is nothing that a cookie need carry; that is no logout."""
    site = Site()
    site.visit(a=1)
    session = site.open()
    del session["a"]
    site.commit(session)

    assert site.jar.cookies == {}
    assert site.told(Destroyed) == []


def test_subject_alone_keeps_a_session() -> None:
    """A logged-in user without data stays logged in."""
    site = Site()
    session = site.open()
    session.login("alice")
    site.commit(session)

    assert site.open().subject == "alice"
    assert dict(site.open()) == {}


def test_commit_raises_before_anything_is_sent() -> None:
    """What cannot be kept is told at commit, with its path."""
    site = Site()
    session = site.open()
    session["user"] = {"profile": object()}

    with pytest.raises(UnsupportedValue, match=r"user\.profile"):
        site.commit(session)


def test_committing_twice_sends_once() -> None:
    """A second commit of the same state has nothing to say about cookies."""
    site = Site()
    session = site.open()
    session["a"] = 1
    site.commit(session)

    assert site.sessions.commit(session).set_cookies == []


def test_async_calls_do_the_same() -> None:
    """aopen, acommit and afinish are the same three calls."""
    site = Site()

    async def visit() -> None:
        async with site.sessions as sessions:
            session = await sessions.aopen(site.jar.header)
            session["a"] = session.get("a", 0) + 1
            site.jar.take(await sessions.acommit(session))
            await sessions.afinish(session)
            await sessions.afinish(await sessions.aopen())

    asyncio.run(visit())
    asyncio.run(visit())

    assert dict(site.open()) == {"a": 2}
    with site.sessions as sessions:
        assert sessions is site.sessions


@pytest.mark.parametrize("call", ["acommit", "aabort", "afinish"])
@pytest.mark.parametrize("fails", [False, True], ids=["carried-out", "store-fails"])
def test_an_end_is_carried_out_whoever_cancels_its_task(call: str, fails: bool) -> None:
    """By asyncio itself, as servers and timeouts do, and more than once: the user was told "logged out"."""
    asked = asyncio.Event()

    class SlowStore:
        inner = MemoryStore()

        async def get(self, key: str) -> Any:
            return self.inner.get(key)

        async def put(self, key: str, data: bytes, **options: Any) -> Any:
            asked.set()
            await asyncio.sleep(0.01)
            if fails:
                raise StoreUnavailable("down")
            return self.inner.put(key, data, **options)

        async def delete(self, key: str, **options: Any) -> bool:
            return self.inner.delete(key, **options)

        async def close(self) -> None: ...

    async def main() -> dict[str, Any]:
        nonlocal fails
        site, after, fails = Site(StoreEngine(SlowStore())), fails, False
        first = await site.sessions.aopen()
        first["n"] = 1
        site.jar.take(await site.sessions.acommit(first))
        session = await site.sessions.aopen(site.jar.header)
        assert session["n"] == 1
        if call == "afinish":
            await site.sessions.acommit(session)
        session.logout()
        asked.clear()
        fails = after

        task = asyncio.create_task(getattr(site.sessions, call)(session))
        await asked.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task

        return dict(await site.sessions.aopen(site.jar.header))

    assert asyncio.run(main()) == ({"n": 1} if fails else {})


# --- login, logout, change of id


def test_login_changes_the_id_and_keeps_the_cart() -> None:
    """The session id changes at login, the data stays, and both times are kept."""
    site = Site()
    before = site.visit(cart=["bread"])
    site.clock.now += 60
    session = site.open()
    session.login("alice")
    assert session.id != before.id
    site.commit(session)

    after = site.open()

    assert after.id == session.id
    assert dict(after) == {"cart": ["bread"]}
    assert after.subject == "alice"
    assert after.created_at.timestamp() == START
    assert after.authenticated_at.timestamp() == START + 60
    assert site.told(IdChanged) == [IdChanged(before.id, after.id, old_still_valid=True)]


def test_login_as_another_drops_the_data() -> None:
    """What one user left is not shown to the next."""
    site = Site()
    session = site.open()
    session["secret"] = 1
    session.login("alice")
    site.commit(session)
    session = site.open()
    session.login("bob")
    session["own"] = 2
    site.commit(session)

    assert dict(site.open()) == {"own": 2}
    assert site.open().subject == "bob"


def test_login_again_as_the_same_user() -> None:
    """Logging in again is a new login: new id, new time, same data."""
    site = Site()
    session = site.open()
    session["a"] = 1
    session.login("alice")
    site.commit(session)
    first = session.id
    site.clock.now += 100
    session = site.open()
    session.login("alice")
    site.commit(session)

    assert site.open().id != first
    assert dict(site.open()) == {"a": 1}
    assert site.open().authenticated_at.timestamp() == START + 100


def test_regenerate_keeps_everything_but_the_id() -> None:
    """Data, times and subject stay."""
    site = Site()
    before = site.visit(a=1)
    site.clock.now += 5
    session = site.open()
    session.regenerate()
    site.commit(session)

    after = site.open()

    assert after.id == session.id != before.id
    assert dict(after) == {"a": 1}
    assert after.created_at.timestamp() == START


def test_regenerating_a_new_session_is_nothing() -> None:
    """There is no old id to end."""
    site = Site()
    session = site.open()
    early = session.id
    session.regenerate()
    assert session.id != early

    assert site.commit(session).set_cookies == []


@pytest.mark.parametrize("end", ["logout", "destroy"])
def test_logout_clears_the_cookie(end: str) -> None:
    """Data gone, cookie cleared with the attributes it was set with, and an event that says what a copy can do."""
    site = Site()
    before = site.visit(a=1)
    session = site.open()
    getattr(session, end)()
    assert session.is_new
    changes = site.commit(session)

    assert changes.set_cookies == [
        f"{NAME}=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"
    ]
    assert dict(changes)["Cache-Control"] == "private, no-store"
    assert site.told(Destroyed) == [Destroyed(before.id, old_still_valid=True)]


def test_logout_and_a_new_session_in_one_request() -> None:
    """After a logout the same request may begin a session, with nothing of the old one."""
    site = Site()
    before = site.visit(a=1)
    session = site.open()
    session.logout()
    session["b"] = 2
    site.commit(session)

    after = site.open()

    assert dict(after) == {"b": 2}
    assert after.id not in (before.id, "")
    assert [type(event) for event in site.events if isinstance(event, Created | Destroyed)] == [
        Created,
        Destroyed,
        Created,
    ]


def test_logout_of_nobody() -> None:
    """Without a session there is nothing to clear."""
    site = Site()
    session = site.open()
    session.logout()

    assert site.commit(session).set_cookies == []


def test_copied_cookie_still_opens_after_logout() -> None:
    """What the documentation says of cookie sessions, and the event with it."""
    site = Site()
    site.visit(a=1)
    copied = site.jar.header
    session = site.open()
    session.logout()
    site.commit(session)

    assert dict(site.sessions.open(copied)) == {"a": 1}


# --- deadlines


def test_absolute_deadline_to_the_second() -> None:
    """The second before the deadline it opens; from the deadline on it is expired."""
    site = Site(lifetime="1 hour")
    site.visit(a=1)

    site.clock.now = START + 3599.9
    assert dict(site.open()) == {"a": 1}
    site.clock.now = START + 3600
    assert dict(site.open()) == {}
    assert [event.deadline for event in site.told(Expired)] == ["absolute"]


def test_idle_deadline_to_the_second() -> None:
    """The same for the idle timeout, from the last renewal."""
    site = Site(idle_timeout="10 minutes")
    site.visit(a=1)

    site.clock.now = START + 599
    assert dict(site.open()) == {"a": 1}
    site.clock.now = START + 600
    assert dict(site.open()) == {}
    assert [event.deadline for event in site.told(Expired)] == ["idle"]


def test_expired_session_is_replaced_not_revived() -> None:
    """What is written after the deadline is a new session with a new id."""
    site = Site(lifetime=60)
    old = site.visit(a=1)
    site.clock.now += 60
    new = site.visit(b=2)

    assert new.id != old.id
    assert dict(site.open()) == {"b": 2}
    assert site.open().created_at.timestamp() == START + 60


def test_renewal_at_most_once_per_tenth_of_the_idle_timeout() -> None:
    """`seen` moves when a tenth has passed, and not before; `created` never does."""
    site = Site(idle_timeout=1000)
    site.visit(a=1)

    sent = []
    for second in range(1, 250):
        site.clock.now = START + second
        if site.commit(site.visit()).set_cookies or site.told(Renewed):
            sent.append(second)
            site.events.clear()

    assert sent == [100, 200]
    assert site.open().created_at.timestamp() == START
    assert site.open().seen_at.timestamp() == START + 200


def test_change_within_a_tenth_does_not_move_seen() -> None:
    """A save for other reasons keeps the rule."""
    site = Site(idle_timeout=1000)
    site.visit(a=1)
    site.clock.now += 50
    site.visit(a=2)

    assert site.open().seen_at.timestamp() == START


def test_idle_session_lives_as_long_as_it_is_used_and_no_longer_than_its_lifetime() -> None:
    """Use moves the idle deadline, never the absolute one."""
    site = Site(idle_timeout=100, lifetime=1000)
    site.visit(a=1)

    while dict(site.visit()) == {"a": 1}:
        site.clock.now += 50

    assert site.clock.now == START + 1000


def test_login_starts_the_absolute_deadline_anew() -> None:
    """It runs from the login, once there was one; neither a new id nor a renewal moves it."""
    site = Site(lifetime=1000, idle_timeout=900)
    site.visit(a=1)
    site.clock.now += 600
    session = site.open()
    session.login("alice")
    site.commit(session)
    site.clock.now += 600
    session = site.open()
    session.regenerate()
    site.commit(session)

    assert site.open().expires_at.timestamp() == START + 1600


def test_lifetime_of_a_login_can_only_shorten() -> None:
    """A longer one than the manager's has no effect; a shorter one holds, and the next login forgets it."""
    site = Site(lifetime=1000)
    for given_lifetime, deadline in (("5000", 1000), ("10 minutes", 600), (None, 1000)):
        session = site.open()
        session.login("alice", lifetime=given_lifetime)
        site.commit(session)

        assert site.open().expires_at.timestamp() == START + deadline


def test_shorter_lifetime_of_the_manager_holds_for_old_sessions() -> None:
    """All deadlines are enforced from what is sealed and what is configured now, never from the browser."""
    site = Site(lifetime="14 days")
    site.visit(a=1)
    stricter = Site(lifetime="1 hour")
    stricter.clock.now = START + 3600

    assert dict(stricter.sessions.open(site.jar.header)) == {}


def test_clocks_apart() -> None:
    """Up to 5 minutes from the future count as now; more is refused."""
    ahead, behind = Site(idle_timeout=100), Site(idle_timeout=100)
    ahead.clock.now = START + 300
    ahead.visit(a=1)

    behind.jar = ahead.jar
    session = behind.visit()
    assert dict(session) == {"a": 1}
    assert session.seen_at.timestamp() == START + 300

    behind.clock.now = START - 1
    assert dict(behind.open()) == {}
    assert reasons(behind) == ["future"]


def test_short_idle_timeout_does_not_write_in_the_same_second() -> None:
    """A tenth of a second is no time."""
    site = Site(idle_timeout=1)
    site.visit(a=1)

    assert site.commit(site.visit()).set_cookies == []


# --- the cookie's age


def test_browser_session_by_default() -> None:
    """Without `persistent` no age is sent: the browser forgets."""
    site = Site()
    session = site.open()
    session["a"] = 1

    assert "Max-Age" not in site.commit(session).set_cookies[0]


def test_persistent_cookie_has_the_age_of_the_nearer_deadline() -> None:
    """Max-Age never exceeds what the server enforces."""
    cases: list[tuple[dict[str, Any], int]] = [
        ({"lifetime": 500}, 500),
        ({"lifetime": 500, "idle_timeout": 90}, 90),
        ({"lifetime": "2 years"}, 400 * DAY),
    ]
    for options, age in cases:
        site = Site(persistent=True, **options)
        session = site.open()
        session["a"] = 1

        assert f"; Max-Age={age};" in site.commit(session).set_cookies[0]


def test_remember_me_is_sealed_and_survives_renewal() -> None:
    """`persistent` given at login holds for this session, whatever the manager's default."""
    site = Site(idle_timeout=1000)
    session = site.open()
    session.login("alice", persistent=True)
    assert "Max-Age=1000" in site.commit(session).set_cookies[0]
    site.clock.now += 500
    session = site.open()
    session.get("x")
    assert "Max-Age=1000" in site.commit(session).set_cookies[0]

    site = Site(persistent=True)
    session = site.open()
    session.login("alice", persistent=False)
    assert "Max-Age" not in site.commit(session).set_cookies[0]


# --- keys


def test_rotation_on_a_running_site() -> None:
    """A token under an accepted key opens, and is sealed anew under the current one with the response, once."""
    before = Site()
    first = before.visit(a=1)
    site = Site(CookieEngine(Keyring(OTHER_KEY, accept=[KEY])))
    site.jar = before.jar

    session = site.visit()
    assert dict(session) == {"a": 1}
    assert site.told(Renewed) == [Renewed(first.id, "key")]
    assert site.commit(site.visit()).set_cookies == []

    dropped = Site(CookieEngine(OTHER_KEY))
    assert dict(dropped.sessions.open(site.jar.header)) == {"a": 1}


def test_dropped_key_is_a_new_session_and_an_event() -> None:
    """Nobody gets an error; the operator gets an event."""
    before = Site()
    before.visit(a=1)
    site = Site(CookieEngine(OTHER_KEY))

    assert dict(site.sessions.open(before.jar.header)) == {}
    assert reasons(site) == ["unknown_key"]


def test_purpose_separates_applications_with_one_key() -> None:
    """A session of one application does not open in another that shares the key."""
    shop, forum = Site(purpose="shop"), Site(purpose="forum")
    shop.visit(a=1)

    assert dict(forum.sessions.open(shop.jar.header)) == {}
    assert reasons(forum) == ["tampered"]


# --- several cookies of one name


def test_junk_beside_a_good_cookie() -> None:
    """Junk before or after does not cost the session, and is told."""
    site = Site()
    site.visit(a=1)
    for header in (f"{NAME}=junk; {site.jar.header}", f"{site.jar.header}; {NAME}=junk"):
        site.events.clear()

        assert dict(site.sessions.open(header)) == {"a": 1}
        assert reasons(site) == ["malformed"]


def test_two_cookies_of_one_session() -> None:
    """The newer one counts."""
    site = Site()
    site.visit(a=1)
    older = site.jar.header
    site.clock.now += 1
    site.visit(a=2)

    for header in (f"{older}; {site.jar.header}", f"{site.jar.header}; {older}"):
        assert dict(site.sessions.open(header)) == {"a": 2}


def test_two_sessions_cancel_each_other() -> None:
    """A sibling subdomain must not be able to choose the session: none is used.

    Nor is our own place cleared: that would leave the planted one alone, to be used by the next request.
    """
    site, other = Site(), Site()
    site.visit(a=1)
    other.visit(b=2)

    session = site.sessions.open(f"{site.jar.header}; {other.jar.header}")
    changes = site.sessions.commit(session)
    assert changes.set_cookies == []

    session.get("a")
    changes = site.sessions.commit(session)
    assert dict(session) == {}
    assert reasons(site) == ["ambiguous"]
    assert changes.set_cookies == []


@pytest.mark.parametrize("make", [lambda: CookieEngine(KEY), lambda: StoreEngine(MemoryStore())])
@pytest.mark.parametrize(
    ("header", "data"),
    [
        ("theirs theirs theirs theirs mine", {}),
        ("junk0 junk0 junk0 theirs junk0 mine", {}),
        (" ".join(["theirs"] * 16 + ["mine"]), {}),
        ("junk0 junk0 junk0 junk0 mine", {"whose": "mine"}),
        ("junk0 junk1 junk2 mine", {"whose": "mine"}),
        ("junk0 junk1 junk2 junk3 mine", {}),
        ("mine junk0 junk1 junk2 junk3", {}),
        ("mine mine mine mine mine mine", {"whose": "mine"}),
    ],
)
def test_so_many_cookies_that_the_right_one_is_not_considered(make: Any, header: str, data: dict[str, Any]) -> None:
    """Of one name's different values four are looked at; with more, none is used, whichever comes first."""
    site = Site(make())
    cookies = {whose: cookie_header(site.sessions, {"whose": whose}) for whose in ("mine", "theirs")}
    cookies |= {f"junk{number}": f"{NAME}=junk{number}" for number in range(4)}

    session = site.sessions.open("; ".join(cookies[each] for each in header.split(" ")))

    assert dict(session) == data
    assert ("ambiguous" in reasons(site)) == (not data)


def test_expired_cookie_beside_a_good_one() -> None:
    """One that cannot be used does not count."""
    site = Site(lifetime=100)
    site.visit(a=1)
    expired = site.jar.header
    site.jar.cookies.clear()
    site.clock.now += 100
    site.visit(b=2)

    assert dict(site.sessions.open(f"{expired}; {site.jar.header}")) == {"b": 2}


# --- whatever comes


@settings(max_examples=500, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"__Host-Http-session=", b"__Host-Http-session.0=", b"; __Host-Http-session=ht1."]),
)
def test_any_header_opens_a_session(junk: bytes, prefix: bytes) -> None:
    """Whatever bytes come, open and commit raise nothing, and nothing is set."""
    for token in (EncryptedToken(KEY), SignedToken(KEY)):
        site = Site(CookieEngine(token, overflow="chunk"))
        session = site.sessions.open(prefix + junk)

        assert dict(session) == {}
        assert site.sessions.commit(session).set_cookies == []


def test_cookie_of_another_shape_is_no_error() -> None:
    """Other systems' cookies under our name are a new session and an event."""
    site = Site()
    for value in ("eyJ1c2VyIjogMX0.ZVPxAA.x", "s%3Aabc.def", "a" * 20_000, "\xff\xfe", '"quoted"', "1" * 43):
        assert dict(site.sessions.open(f"{NAME}={value}")) == {}

    assert len(site.told(Rejected)) == 6


# --- after the headers


def test_late_write_of_a_cookie_session_is_an_event() -> None:
    """A change after the headers left cannot be kept, and is not lost in silence."""
    site = Site()
    session = site.visit(a=1)
    session["late"] = 1
    site.sessions.finish(session)

    assert site.told(LateWrite) == [LateWrite(session.id)]
    assert dict(site.open()) == {"a": 1}


def test_late_value_that_cannot_be_kept_is_an_event_too() -> None:
    """finish raises nothing."""
    site = Site()
    session = site.visit(a=1)
    session["late"] = object()
    site.sessions.finish(session)

    assert len(site.told(LateWrite)) == 1


def test_forced_save_of_an_empty_session_is_no_late_write() -> None:
    """There is nothing to save, and nothing was changed after the commit."""
    site = Site()
    session = site.open()
    session.modified = True

    changes = site.commit(session)
    site.sessions.finish(session)

    assert changes.set_cookies == []
    assert site.events == []


def test_finish_of_a_quiet_request_says_nothing() -> None:
    """No late change, or no touch: no event. What was changed and never committed is lost, and told."""
    site = Site()
    site.sessions.finish(site.visit(a=1))
    site.sessions.finish(site.open())
    assert site.told(LateWrite) == []

    uncommitted = site.open()
    uncommitted["b"] = 2
    site.sessions.finish(uncommitted)

    assert len(site.told(LateWrite)) == 1


# --- events


def test_an_on_event_that_raises_does_not_break_the_request(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the request goes on."""

    def broken(event: Event) -> None:
        raise RuntimeError("broken listener")

    sessions = SessionManager(KEY, on_event=broken)
    session = sessions.open()
    session["a"] = 1

    assert len(sessions.commit(session).set_cookies) == 1
    assert "on_event raised for Created" in caplog.text


def test_events_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The logger `hardtack` gets each event at its level; tampering is a warning."""
    caplog.set_level(logging.DEBUG, "hardtack")
    sessions = SessionManager(KEY)
    dict(sessions.open(f"{NAME}=junk"))

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"cookie {NAME} was not used (malformed): it is no session cookie of this engine; another engine or program may "
            "use the same cookie name",
        )
    ]


def test_events_are_built_only_for_listeners(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a listener, an event below the logger's level is not even built."""
    caplog.set_level(logging.ERROR, "hardtack")
    built: list[Any] = []
    monkeypatch.setattr(Opened, "__init__", lambda self, *_: built.append(self))
    site = Site()
    site.visit(a=1)
    sessions = SessionManager(KEY, clock=site.clock)

    assert dict(sessions.open(site.jar.header)) == {"a": 1}
    assert built == []


def test_replaced_cache_control_is_an_event() -> None:
    """The application's Cache-Control is not replaced in silence."""
    site = Site()
    session = site.open()
    session["a"] = 1
    headers = [("Cache-Control", "public")]
    site.commit(session).apply(headers)

    assert site.told(CacheControlReplaced) == [CacheControlReplaced("public", "private, no-store")]


def test_events_hold_no_secrets() -> None:
    """Neither tokens nor data stand in any event."""
    site = Site(accept=[])
    site.visit(password="hunter2")
    token = site.jar.cookies[NAME]
    site.open().get("x")
    dict(site.sessions.open(f"{NAME}={token}x"))

    text = " ".join(map(str, site.events))
    assert "hunter2" not in text
    assert token not in text
    assert events.logger.name == "hardtack"


@pytest.mark.parametrize("header", [{"session": "x"}, 5, ["session=x"]])
def test_open_takes_the_raw_header(header: Any) -> None:
    """A framework's parsed cookies would be an empty session without a word."""
    with pytest.raises(TypeError, match="raw Cookie header"):
        Site().sessions.open(header)


def test_a_late_change_is_told_with_the_id() -> None:
    """Also after a logout or a new id, which a cookie engine cannot keep any more."""
    for late in ("logout", "regenerate"):
        site = Site()
        before = site.visit(a=1)
        session = site.open()
        assert session["a"] == 1
        site.commit(session)
        getattr(session, late)()
        site.sessions.finish(session)

        assert site.told(LateWrite) == [LateWrite(before.id)]


# --- plain http


PUBLIC = Request(method="POST", scheme="https", host="www.shop.com")


def test_a_cookie_for_development_saves_nothing_on_a_site() -> None:
    """Whoever left it in the settings is told by the first session; reading and logging out go on."""
    site = Site(cookie=Cookie.for_development())
    site.visit(cart=1)

    session = site.sessions.open(None, PUBLIC)
    session["cart"] = 1
    with pytest.raises(ConfigError, match=r"Cookie\.for_development"):
        site.sessions.commit(session)
    read = site.sessions.open(site.jar.header, PUBLIC)
    assert read["cart"] == 1
    assert site.sessions.commit(read).set_cookies == []
    leaving = site.sessions.open(site.jar.header, PUBLIC)
    leaving.logout()
    site.jar.take(site.sessions.commit(leaving))

    assert site.jar.cookies == {}


def test_a_cookie_for_development_saves_on_ones_own_machine() -> None:
    """And where nothing is known of the request."""
    site = Site(cookie=Cookie.for_development())

    for request in (None, Request(), Request(scheme="http", host="localhost:8000")):
        session = site.sessions.open(None, request)
        session["cart"] = 1
        assert len(site.sessions.commit(session).set_cookies) == 1


def test_secure_cookie_on_plain_http_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Browsers drop it."""
    sessions = SessionManager(KEY)
    warn_plain_http(sessions, "https", "example.org")
    assert caplog.records == []

    warn_plain_http(sessions, "http", "example.org")
    warn_plain_http(sessions, "http", "example.org")
    warn_plain_http(SessionManager(KEY, cookie=Cookie.for_development()), "http", "example.org")

    assert len(caplog.records) == 1
    assert "for_development" in caplog.text


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "[::1]", "shop.localhost"])
def test_secure_cookie_on_localhost_is_warned_of(host: str, caplog: pytest.LogCaptureFixture) -> None:
    """Chrome and Firefox keep it there; Safari and most clients of tests do not, and nobody would know why."""
    warn_plain_http(SessionManager(KEY), "http", host)

    assert "Safari" in caplog.text
    assert "for_development" in caplog.text


def test_untouched_session_under_async_code() -> None:
    """Nothing is committed for a request that nobody touched."""
    site = Site()
    changes = asyncio.run(site.sessions.acommit(site.open()))

    assert not changes
    assert changes.set_cookies == []


# --- taking over


class Theirs:
    """Another system's cookie: its data in plain sight, which is all that taking over needs here."""

    cookie_name = "theirs"
    path = "/app"
    domain = "example.org"
    authenticates_time = True
    format_name = "theirs"

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        value = cookies[self.cookie_name][-1]
        if not value.startswith("ok"):
            raise InvalidToken(value)
        return Record(b"x" * 16, START - 100, None, START - 50, None, {"expires": START + 500}, {"user": value})

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        return {self.cookie_name: record.data["user"]}


def test_takeover_moves_the_data_into_a_new_session() -> None:
    """A new id, the times that the cookie proves, no subject unless asked for, and the old cookie cleared."""
    site = Site(accept=[Theirs()])
    session = site.sessions.open("theirs=ok1")
    changes = site.jar.take(site.sessions.commit(session))
    assert not changes.set_cookies

    session.get("user")
    changes = site.jar.take(site.sessions.commit(session))

    assert len(changes.set_cookies) == 2
    assert changes.set_cookies[1] == (
        "theirs=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/app; Domain=example.org; HttpOnly"
    )
    after = site.open()
    assert dict(after) == {"user": "ok1"}
    assert after.subject is None
    assert after.created_at.timestamp() == START - 100
    assert after.expires_at.timestamp() == START + 500
    assert site.told(TakenOver) == [TakenOver(after.id, "theirs")]


def test_takeover_with_a_subject() -> None:
    """A subject comes only through an explicit function; the login is as old as the cookie."""
    site = Site(accept=[Theirs(subject=lambda data: data["user"])])
    session = site.sessions.open("theirs=ok1")

    assert session.subject == "ok1"
    assert session.authenticated_at is not None
    assert session.authenticated_at.timestamp() == START - 100


def test_takeover_of_what_a_session_cannot_keep() -> None:
    """Another author's format may return anything: that is told when it is read, and never an error."""

    class Odd(Theirs):
        def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
            record = super().open(cookies, context)
            record.data["odd"] = object()
            return record

    site = Site(accept=[Odd()])

    assert dict(site.sessions.open("theirs=ok1")) == {}
    assert site.told(Rejected) == [Rejected("malformed", "theirs")]


class ReadsRecords:
    """A format that carries whole records and has no name of its own, but is only read: no engine of ours can be made of it."""

    native = True
    writes = False
    name = "reads records"

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [Theirs, ReadsRecords])
def test_a_format_that_is_never_asked_is_warned_of(caplog: pytest.LogCaptureFixture, kind: type[Any]) -> None:
    """Under one name the manager's own cookie always comes first."""
    Site(accept=[kind()], cookie=Cookie.for_development(name=Theirs().cookie_name))

    assert f"accept=[{kind.__name__}(…)] is never asked" in caplog.text


@pytest.mark.parametrize(
    ("header", "data", "told"),
    [
        ("theirs=ok1; theirs=ok2", {}, ["ambiguous"]),
        ("theirs=ok1; theirs=ok1", {"user": "ok1"}, []),
        ("theirs=malformed; theirs=ok1", {"user": "ok1"}, ["malformed"]),
        ("theirs=ok1; theirs=tampered", {"user": "ok1"}, ["tampered"]),
        ("theirs=ok1; theirs=1; theirs=2; theirs=3", {"user": "ok1"}, ["1", "2", "3"]),
        ("theirs=ok1; theirs=1; theirs=2; theirs=3; theirs=4", {}, ["ambiguous"]),
    ],
)
def test_takeover_of_several_cookies_of_one_name(header: str, data: dict[str, Any], told: list[str]) -> None:
    """The rules are those of hardtack's own cookies."""

    class Several(Theirs):
        def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
            record = super().open(cookies, context)
            return record.with_changes(id=record.data["user"].encode().ljust(16))

    site = Site(accept=[Several(), Theirs()])

    assert dict(site.sessions.open(header)) == data
    assert reasons(site) == told


def test_takeover_only_without_a_cookie_of_our_own() -> None:
    """With a cookie of our name, valid or not, the other is not looked at."""
    site = Site(accept=[Theirs()])

    assert dict(site.sessions.open(f"{NAME}=junk; theirs=ok1")) == {}
    assert site.told(TakenOver) == []


def test_refused_cookie_of_another_system_falls_through_by_shape_only() -> None:
    """Another shape may be another format under the same name; a failed MAC may not."""
    site = Site(accept=[Theirs(), Theirs()])
    dict(site.sessions.open("theirs=tampered"))
    assert reasons(site) == ["tampered"]

    site.events.clear()
    dict(site.sessions.open("theirs=malformed"))
    assert reasons(site) == ["malformed", "malformed"]


def test_expired_cookie_of_another_system_is_not_taken_over() -> None:
    """The deadline that it proves is enforced, and no second format gets a try."""
    site = Site(accept=[Theirs(), Theirs()])
    site.clock.now = START + 500

    assert dict(site.sessions.open("theirs=ok1")) == {}
    assert len(site.told(Expired)) == 1


def test_logout_clears_the_other_cookie_as_well() -> None:
    """Otherwise the session would come back from it with the next request."""
    site = Site(accept=[Theirs()])
    site.visit(a=1)
    session = site.sessions.open(f"{site.jar.header}; theirs=ok1")
    session.logout()

    lines = site.sessions.commit(session).set_cookies

    assert [line.partition("=")[0] for line in lines] == [NAME, "theirs"]


def test_emptied_session_does_not_come_back_from_the_other_cookie() -> None:
    """A session that is emptied ends like one that is destroyed: the other system's cookie is cleared as well."""
    site = Site(accept=[Theirs()])
    site.visit(a=1)
    session = site.sessions.open(f"{site.jar.header}; theirs=ok1")

    session.clear()
    changes = site.commit(session)

    assert [line.partition("=")[0] for line in changes.set_cookies] == ["__Host-Http-session", "theirs"]


def test_taken_over_and_emptied_session_is_cleared_once() -> None:
    """What was taken over and emptied in one request is not stored; a second commit has nothing to add."""
    site = Site(accept=[Theirs()])
    session = site.sessions.open("theirs=ok1")
    session.clear()

    first, second = site.commit(session), site.commit(session)

    assert [line.partition("=")[0] for line in first.set_cookies] == ["theirs"]
    assert second.set_cookies == []


@pytest.mark.parametrize("subject", [5, ""])
def test_subject_of_a_taken_over_session_is_text(subject: Any) -> None:
    """A number would be sealed, and the session refused ever after: the setting is told at once."""
    site = Site(accept=[Theirs(subject=lambda _: subject)])

    with pytest.raises(ConfigError, match="subject= of Theirs"):
        len(site.sessions.open("theirs=ok1"))


def test_logout_right_after_takeover_clears_it() -> None:
    """A takeover that is not stored must not be repeated for ever."""
    site = Site(accept=[Theirs()])
    session = site.sessions.open("theirs=ok1")
    session.logout()

    assert [line.partition("=")[0] for line in site.sessions.commit(session).set_cookies] == ["theirs"]


def test_takeover_of_a_cookie_without_times_needs_an_end() -> None:
    """Whoever holds an old one would be let in for ever."""
    with pytest.raises(ConfigError, match="until="):
        SessionManager(KEY, accept=[Theirs(authenticates_time=False)])
    sessions = SessionManager(KEY, accept=[Theirs(authenticates_time=False, until=START)], clock=lambda: START)

    session = sessions.open("theirs=ok1")
    assert session.get("user") == "ok1"
    sessions.commit(session)
    assert session.created_at is not None
    assert session.created_at.timestamp() == START


def test_request_that_carries_a_cookie_to_take_over() -> None:
    """An adapter may ask before it loads."""
    sessions = Site(accept=[Theirs()]).sessions

    assert carries_cookie(sessions, "theirs=ok1")
    assert not carries_cookie(sessions, "other=1")
    assert not carries_cookie(sessions, "")
    assert carries_cookie(sessions, f"{NAME}=x")


class Companions(Theirs):
    """A format of two cookies, as some systems sign in a second one."""

    def cookie_names(self, cookies: Mapping[str, Sequence[str]]) -> list[str]:
        return [name for name in ("theirs", "theirs.sig") if name in cookies]

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        return {"theirs": record.data["user"], "theirs.sig": "s"}


def test_format_of_two_cookies() -> None:
    """Both are written, and both are cleared."""
    site = Site(CookieEngine(Companions()), cookie=Cookie("theirs"))
    site.jar.cookies = {"theirs": "ok1", "theirs.sig": "s"}
    site.visit(user="ok2")
    assert site.jar.cookies == {"theirs": "ok2", "theirs.sig": "s"}

    session = site.open()
    session.logout()
    site.commit(session)
    assert site.jar.cookies == {}

    taking = Site(accept=[Companions()])
    session = taking.sessions.open("theirs=ok1; theirs.sig=s")
    session.get("user")
    lines = taking.sessions.commit(session).set_cookies
    assert [line.partition("=")[0] for line in lines] == [NAME, "theirs", "theirs.sig"]


def test_engine_of_a_foreign_format_has_its_cookie() -> None:
    """Without cookie= it is the format's own name and place; another name would never be found, and is refused."""
    sessions = SessionManager(CookieEngine(Theirs()))
    assert sessions.cookie == Cookie("theirs", "/app", "example.org")

    with pytest.raises(ConfigError, match="'theirs'"):
        SessionManager(CookieEngine(Theirs()), cookie=Cookie("other"))


def test_engine_of_a_foreign_format_writes_it() -> None:
    """Two stacks side by side: the other system's cookie is read and written as it is."""
    site = Site(CookieEngine(Theirs()), cookie=Cookie("theirs"))
    session = site.sessions.open("theirs=ok1")
    session["user"] = "ok2"

    changes = site.sessions.commit(session)

    assert changes.set_cookies[0].startswith("theirs=ok2; ")
    assert site.commit(site.sessions.open("x=1")).set_cookies == []
    assert dict(site.sessions.open("theirs=ok1; theirs=tampered")) == {"user": "ok1"}
    assert dict(site.sessions.open("my-theirs=ok1")) == {}


def test_foreign_format_refuses_what_it_cannot_carry() -> None:
    """An idle timeout that nobody could enforce, and chunks that nobody would find."""
    with pytest.raises(ConfigError, match="idle_timeout"):
        Site(CookieEngine(Theirs()), idle_timeout=60)
    with pytest.raises(ConfigError, match="chunk"):
        CookieEngine(Theirs(), overflow="chunk")


# --- settings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"lifetime": 0}, "lifetime"),
        ({"lifetime": "soon"}, "lifetime"),
        ({"lifetime": None}, "lifetime"),
        ({"idle_timeout": "0"}, "idle_timeout"),
        ({"cookie": "session"}, "cookie"),
        ({"purpose": None}, "purpose"),
        ({"purpose": "x" * 70_000}, "purpose"),
        ({"purpose": "\ud800"}, "purpose"),
        ({"accept": ["flask"]}, "accept"),
        ({"accept": [Theirs]}, "the class Theirs"),
        ({"accept": None}, "accept"),
        ({"persistent": "false"}, "persistent"),
        ({"on_event": "print"}, "on_event"),
        ({"clock": None}, "clock"),
        ({"trusted_origins": "https://example.org"}, "trusted_origins"),
        ({"cross_site_paths": [5]}, "cross_site_paths"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], named: str) -> None:
    """A wrong setting is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=named):
        SessionManager(KEY, **settings)


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (None, "was the variable set"),
        (KEY.export(), "Key.parse"),
        (b"k" * 32, "Key.parse"),
        ("redis://127.0.0.1", "from_url"),
        (MemoryStore(), r"StoreEngine\(MemoryStore"),
        (EncryptedToken(KEY), r"CookieEngine\(EncryptedToken"),
        (CookieEngine, r"CookieEngine\(…\) makes one"),
        (object(), "not object"),
    ],
    ids=["nothing", "text", "bytes", "url", "store", "token", "class", "anything"],
)
def test_what_is_no_engine_is_told_what_to_write(engine: Any, told: str) -> None:
    """A key's text, a store, a class: each is one step from an engine."""
    with pytest.raises(ConfigError, match=told):
        SessionManager(engine)


@pytest.mark.parametrize(
    ("name", "told"), [("open_session", "SessionInterface"), ("get", "open"), ("other", "no attribute")]
)
def test_a_manager_in_the_place_of_something_else_says_what_it_is(name: str, told: str) -> None:
    """Of Flask's interface, or of a session."""
    with pytest.raises(AttributeError, match=told):
        getattr(SessionManager(KEY), name)


def test_short_forms() -> None:
    """A key or a keyring stands for an encrypted cookie."""
    for engine in (KEY, Keyring(KEY), CookieEngine(KEY), CookieEngine(Keyring(KEY)), CookieEngine(EncryptedToken(KEY))):
        sessions = SessionManager(engine)
        assert isinstance(sessions.engine, CookieEngine)
        assert isinstance(sessions.engine.token, EncryptedToken)


def test_stored_sessions_are_out_of_reach_of_cookies() -> None:
    """list, end and update say what they need."""
    sessions = SessionManager(KEY)
    for call in (
        lambda: sessions.list("alice"),
        lambda: sessions.end("x"),
        lambda: sessions.end_all("alice"),
        lambda: sessions.update("x", len),
    ):
        with pytest.raises(ConfigError, match="StoreEngine"):
            call()


def test_a_format_of_ones_own_says_when_it_was_made(caplog: pytest.LogCaptureFixture) -> None:
    """It needs no `until`, and has the manager's cookie."""
    token = EncryptedToken(Keyring(OTHER_KEY))

    (engine,) = SessionManager(KEY, accept=[token]).accept

    assert isinstance(engine, CookieEngine)
    assert engine.token is token
    assert caplog.text == ""


def test_too_large_names_the_biggest_keys() -> None:
    """A session that outgrows its cookie is told before the response starts, with what takes the room."""
    site = Site()
    session = site.open()
    session.update(small=1, cart="x" * 3000, notes="y" * 1000)

    with pytest.raises(SessionTooLarge, match="'cart'") as caught:
        site.commit(session)

    assert [key for key, _ in caught.value.biggest] == ["cart", "notes", "small"]
    assert caught.value.limit == 3600 < caught.value.size


def test_open_takes_no_other_request() -> None:
    """A framework's own is told so, before anything is decided by it."""
    wrong: Any = {"method": "POST"}

    with pytest.raises(TypeError, match=r"takes a hardtack\.Request, or None, not dict"):
        SessionManager(KEY).open("", wrong)


def test_settings_to_look_at() -> None:
    """The formats that are taken over, and who is told, which can be another from now on."""
    site, accepted = Site(), Theirs()
    assert SessionManager(KEY, accept=[accepted]).accept == (accepted,)
    told: list[Event] = []

    site.sessions.on_event = told.append
    site.visit(n=1)

    assert site.events == []
    assert site.sessions.on_event == told.append
    assert any(isinstance(event, Created) for event in told)
    wrong: Any = "print"
    with pytest.raises(ConfigError, match="on_event"):
        site.sessions.on_event = wrong


def test_a_manager_without_a_list_has_nothing_to_start() -> None:
    """It can be told to all the same, so that a site need not ask what it has."""
    site = Site()

    site.sessions.start()
    asyncio.run(site.sessions.astart())

    assert not site.events

"""`sliding=True`: each use moves the end that a cookie carries, as the other system does, up to `lifetime`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.foreign.web_support import NOW, read, record_of, refused, seal, wrong_setting

from hardtack import CookieEngine, Key, SessionManager
from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.events import Rejected
from hardtack.foreign.authjs import AuthjsCookie, NextAuthCookie
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.beaker import BeakerCookie
from hardtack.foreign.dancer import Dancer2Cookie, DancerCookie
from hardtack.foreign.express import CookieSessionCookie, KoaSessionCookie
from hardtack.foreign.iron import H3Cookie, HapiCookie, IronSessionCookie
from hardtack.foreign.laravel import LaravelCookie
from hardtack.foreign.rails import RailsCookie
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.protocols import Context

SECRET = "a secret of at least 32 characters, of a test"
APP_KEY = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HOUR = 3600

FORMATS: dict[str, Callable[..., ForeignCookie]] = {
    "session-storage-secure": lambda **more: SessionStorageSecureCookie(SECRET, default_duration=HOUR, **more),
    "dancer": lambda **more: DancerCookie(SECRET, default_duration=HOUR, **more),
    "dancer2": lambda **more: Dancer2Cookie(SECRET, default_duration=HOUR, **more),
    "rails": lambda **more: RailsCookie(SECRET, expire_after=HOUR, **more),
    "rails-5.2": lambda **more: RailsCookie(SECRET, metadata=False, expire_after=HOUR, **more),
    "koa": lambda **more: KoaSessionCookie(SECRET, max_age=HOUR, **more),
    "iron-session": lambda **more: IronSessionCookie(SECRET, ttl=HOUR, **more),
    "hapi": lambda **more: HapiCookie(SECRET, ttl=HOUR, **more),
    "authjs": lambda **more: AuthjsCookie(SECRET, max_age=HOUR, **more),
    "laravel": lambda **more: LaravelCookie(APP_KEY, lifetime=HOUR, **more),
}


@pytest.fixture(params=FORMATS)
def make(request: pytest.FixtureRequest) -> Callable[..., ForeignCookie]:
    """A format whose cookies end an hour after each use."""
    return FORMATS[request.param]


class Browser:
    """A visitor of a site whose clock stands where it is put."""

    def __init__(self, cookie: ForeignCookie, lifetime: str = "1 day") -> None:
        self.now = NOW
        self.events: list[Any] = []
        self.jar: dict[str, str] = {}
        self.manager = SessionManager(
            CookieEngine(cookie), lifetime=lifetime, clock=lambda: self.now, on_event=self.events.append
        )

    def request(self, write: int | None = None, *, passive: bool = False) -> dict[str, Any]:
        """What the session held, and what the response sets is kept."""
        session = self.manager.open("; ".join(f"{name}={value}" for name, value in self.jar.items()))
        held = dict(session)
        if passive:
            session.passive()
        if write is not None:
            session["n"] = write
        for line in self.manager.commit(session).set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            self.jar[name] = value
        return {key: item for key, item in held.items() if key == "n"}


def test_each_use_moves_the_end(make: Callable[..., ForeignCookie]) -> None:
    """Who comes each half an hour stays, by reading alone, long after the first end."""
    browser = Browser(make(sliding=True))
    browser.request(write=1)

    for _ in range(10):
        browser.now += HOUR // 2
        assert browser.request() == {"n": 1}


def test_who_does_not_come_is_logged_out(make: Callable[..., ForeignCookie]) -> None:
    """An hour after the last use, and a minute that iron and Auth.js allow, it is over."""
    browser = Browser(make(sliding=True))
    browser.request(write=1)
    browser.now += HOUR // 2
    browser.request()
    browser.now += HOUR + 61

    assert browser.request() == {}


def test_the_lifetime_is_the_last_end(make: Callable[..., ForeignCookie]) -> None:
    """However much it is used, a session ends a lifetime after its beginning."""
    browser = Browser(make(sliding=True), "3 hours")
    browser.request(write=1)

    for _ in range(8):
        browser.now += 20 * 60
        assert browser.request(write=1) == {"n": 1}
    browser.now += 20 * 60 + 61

    assert browser.request() == {}


FIXED: dict[str, Callable[[], ForeignCookie]] = {
    **FORMATS,
    "h3": lambda: H3Cookie(SECRET, max_age=HOUR, iterations=1),
    "h3-idle": lambda: H3Cookie(SECRET, idle_timeout=HOUR, iterations=1),
    "nextauth": lambda: NextAuthCookie(SECRET, max_age=HOUR),
    "beaker": lambda: BeakerCookie(SECRET, timeout=HOUR),
}


@pytest.mark.parametrize("minutes", [30, 60])
@pytest.mark.parametrize("make_fixed", FIXED.values(), ids=FIXED)
def test_writing_moves_no_end(make_fixed: Callable[[], ForeignCookie], minutes: int) -> None:
    """The seconds for which some systems still read what has ended are given once, and not again with each write."""
    browser = Browser(make_fixed(), f"{minutes} minutes")
    browser.request(write=0)

    for minute in range(1, minutes):
        browser.now += 60
        assert browser.request(write=minute) == {"n": minute - 1}
    browser.now += 60 + 61

    assert browser.request() == {}


def test_a_use_soon_after_another_sets_no_cookie() -> None:
    """The end is moved once in a tenth of the duration, so that not every response sets a cookie."""
    browser = Browser(DancerCookie(SECRET, default_duration=HOUR, sliding=True))
    browser.request(write=1)
    before = dict(browser.jar)
    browser.now += HOUR // 10 - 1
    browser.request()

    assert browser.jar == before


def test_a_passive_request_moves_no_end() -> None:
    """Polling is no activity of the user."""
    browser = Browser(DancerCookie(SECRET, default_duration=HOUR, sliding=True))
    browser.request(write=1)
    before = dict(browser.jar)
    browser.now += HOUR // 2
    browser.request(passive=True)

    assert browser.jar == before


def test_near_the_lifetime_a_use_sets_no_cookie() -> None:
    """Where the end cannot move, the cookie says when it was used last, and is not written again and again."""
    browser = Browser(DancerCookie(SECRET, default_duration=HOUR, sliding=True), "2 hours")
    browser.request(write=1)
    browser.now += HOUR // 2
    browser.request()
    browser.now += HOUR * 3 // 4
    browser.request()
    before = dict(browser.jar)
    browser.now += 5
    browser.request()

    assert browser.jar == before


def test_what_the_other_system_moved_counts() -> None:
    """Dancer keeps the stamp, and seals a later end: that is when the session was used last."""
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)
    plain = DancerCookie(SECRET, default_duration=HOUR)
    theirs = seal(plain, {"a": 1, "__hardtack": f"{NOW} {NOW}"}, NOW + 600)

    record = read(cookie, theirs, NOW + 700)

    assert (record.created, record.seen, record.data) == (NOW, NOW + 600, {"a": 1})


def test_the_other_systems_longer_duration_is_no_use_in_the_future() -> None:
    """A site with a duration of a day beside one of an hour was used now at the latest."""
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)

    assert read(cookie, seal(DancerCookie(SECRET, default_duration=86400), {"a": 1})).seen == NOW


@pytest.mark.parametrize("stamp", ["", "1", "x y", 5, None, "1 2 3", f"{'9' * 13} 1"])
def test_a_stamp_that_is_none_is_dropped(stamp: object) -> None:
    """A session whose stamp cannot be read begins now."""
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)
    value = seal(DancerCookie(SECRET, default_duration=HOUR), {"a": 1, "__hardtack": stamp})

    record = read(cookie, value, NOW + 60)

    assert (record.created, record.seen, record.data) == (NOW + 60, NOW, {"a": 1})


def test_a_stamp_of_any_depth_is_dropped() -> None:
    """It is no text, and nobody has to print it to find out."""
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]

    record = cookie._record({"a": 1, "__hardtack": deep}, Context("dancer.session", "", NOW), "x", expires=NOW + 60)

    assert record.data == {"a": 1}


def test_a_stamp_in_the_future_is_now() -> None:
    """A beginning that is still to come would make a session last longer."""
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)
    value = seal(DancerCookie(SECRET, default_duration=HOUR), {"__hardtack": f"{NOW + 999} {NOW + 999}"})

    record = read(cookie, value)

    assert (record.created, record.seen) == (NOW, NOW)


def test_the_key_of_the_stamp_is_taken() -> None:
    """An application's own value under it would be lost."""
    with pytest.raises(UnsupportedValue, match="__hardtack"):
        seal(DancerCookie(SECRET, default_duration=HOUR, sliding=True), {"__hardtack": 1})


def test_a_login_begins_the_lifetime_anew() -> None:
    """The lifetime runs from the login, and the cookie carries that."""
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)
    record = record_of({"a": 1}).with_changes(authenticated=NOW + 500)

    assert read(cookie, cookie.seal(record, Context("dancer.session", "", NOW + 500)), NOW + 600).created == NOW + 500


def test_a_session_that_is_taken_over_does_not_end_with_the_old_cookie() -> None:
    """The old end was that of the last use; the new session has the manager's own deadlines."""
    now = [NOW]
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)
    manager = SessionManager(Key.generate(), accept=[cookie], lifetime="1 day", clock=lambda: now[0])
    session = manager.open(f"dancer.session={seal(cookie, {'a': 1})['dancer.session']}")
    assert session == {"a": 1}
    (line,) = [each for each in manager.commit(session).set_cookies if not each.startswith("dancer.session")]
    now[0] += 5 * HOUR

    assert manager.open(line.partition(";")[0]) == {"a": 1}


def test_a_format_that_does_not_slide_drops_the_stamp() -> None:
    """Where sessions were shared and are then taken over, the session is as it was, and began when it did."""
    sliding = DancerCookie(SECRET, default_duration=HOUR, sliding=True)
    plain = DancerCookie(SECRET, default_duration=HOUR)

    record = read(plain, seal(sliding, {"a": 1}), NOW + 60)

    assert (record.created, record.data, record.options) == (NOW, {"a": 1}, {"expires": NOW + HOUR})
    assert read(plain, seal(plain, {"__hardtack": "mine"})).data == {"__hardtack": "mine"}


# --- cookies without an end


def test_an_undated_cookie_slides_only_up_to_until() -> None:
    """Each use would otherwise give an old copy another hour, for ever."""
    undated = seal(DancerCookie(SECRET), {"a": 1})

    assert refused(DancerCookie(SECRET, default_duration=HOUR, sliding=True), undated) == "undated"
    record = read(DancerCookie(SECRET, default_duration=HOUR, sliding=True, until=NOW + 1), undated)
    assert record.seen == NOW - HOUR // 10  # its first use gives it an end


UNDATED: dict[str, Callable[..., ForeignCookie]] = {
    "session-storage-secure": lambda **more: SessionStorageSecureCookie(SECRET, **more),
    "dancer": lambda **more: DancerCookie(SECRET, **more),
    "dancer2": lambda **more: Dancer2Cookie(SECRET, **more),
}


@pytest.mark.parametrize("make_undated", UNDATED.values(), ids=UNDATED)
def test_an_undated_cookie_is_not_taken_over(make_undated: Callable[..., ForeignCookie]) -> None:
    """Whoever holds it would be let in for ever; one that ends is taken over by the same format, and so is it by `until`."""
    events: list[Any] = []
    cookie = make_undated()
    name = cookie.cookie_name
    undated, dated = seal(cookie, {"a": 1})[name], seal(cookie, {"a": 1}, expires=NOW + 60)[name]

    def taken(each: ForeignCookie, value: str) -> dict[str, Any]:
        manager = SessionManager(Key.generate(), accept=[each], clock=lambda: NOW, on_event=events.append)
        return dict(manager.open(f"{name}={value}"))

    assert taken(cookie, undated) == {}
    assert [event.reason for event in events if isinstance(event, Rejected)] == ["undated"]
    assert taken(cookie, dated) == taken(make_undated(until=NOW + 1), undated) == {"a": 1}


def test_a_shared_cookie_without_an_end_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The other system reads it for as long as it lives; the log says what to set there."""
    cookie = DancerCookie(SECRET)
    manager = SessionManager(CookieEngine(cookie), clock=lambda: NOW)
    value = seal(cookie, {"a": 1})["dancer.session"]

    assert [dict(manager.open(f"dancer.session={value}")) for _ in range(2)] == [{"a": 1}] * 2

    (message,) = caplog.messages
    assert "until=" in message


# --- settings


def test_sliding_needs_an_end() -> None:
    """A format whose cookies do not end, or not by its settings, has nothing to move."""
    wrong_setting(DancerCookie, "needs default_duration", SECRET, sliding=True)
    wrong_setting(RailsCookie, "needs expire_after", SECRET, sliding=True)
    wrong_setting(IronSessionCookie, "needs ttl", SECRET, ttl=0, sliding=True)
    wrong_setting(CookieSessionCookie, "True for formats alone", SECRET, sliding=True)
    wrong_setting(H3Cookie, "True for formats alone", SECRET, sliding=True)
    wrong_setting(DancerCookie, "True or False", SECRET, default_duration=HOUR, sliding="yes")


def test_the_duration_is_the_idle_timeout() -> None:
    """Another idle timeout could not be told from the end in the cookie; the same one may be said."""
    cookie = DancerCookie(SECRET, default_duration=HOUR, sliding=True)

    assert SessionManager(CookieEngine(cookie)).idle_timeout == HOUR
    assert SessionManager(CookieEngine(cookie), idle_timeout="1 hour").idle_timeout == HOUR
    with pytest.raises(ConfigError, match="sliding=True moves"):
        SessionManager(CookieEngine(cookie), idle_timeout="2 hours")

"""Known devices: the browser remembers who has logged in there, and `LoggedIn` tells a login on a new one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest
from tests.kit import KEY, OTHER_KEY, START, Jar, Site

from hardtack import Cookie, CookieEngine, EncryptedToken, Key, Keyring, KnownDevices, Record, SignedToken, StoreEngine
from hardtack.ended import EndedSessions
from hardtack.errors import ConfigError, HardtackError, SessionConflict, TooManySessions
from hardtack.events import LoggedIn, Rejected
from hardtack.protocols import Context
from hardtack.request import Request
from hardtack.stores.memory import MemoryStore

SESSION = "__Host-Http-session"
DEVICE = "__Host-Http-device-session"

ENGINES: dict[str, Callable[[], Any]] = {
    "encrypted": lambda: CookieEngine(KEY),
    "signed": lambda: CookieEngine(SignedToken(KEY)),
    "chunks": lambda: CookieEngine(KEY, overflow="chunk"),
    "store": lambda: StoreEngine(MemoryStore()),
    "sealed-store": lambda: StoreEngine(MemoryStore(), seal=Keyring(KEY)),
    "listed": lambda: CookieEngine(KEY),
}


def make(engine: Any = None, *, keys: Any = KEY, **options: Any) -> Site:
    return Site(engine, known_devices=KnownDevices(keys=keys), **options)


@pytest.fixture(params=ENGINES)
def site(request: pytest.FixtureRequest) -> Any:
    """A site on each engine, and on cookies with a list of ended sessions."""
    ended = EndedSessions.from_url("memory://") if request.param == "listed" else None
    yield make(ENGINES[request.param](), ended=ended)
    if ended is not None:
        ended.close()


def log_in(site: Site, subject: str = "alice", jar: Jar | None = None) -> bool | None:
    """Log in, with the site's browser or another; what the event says of the device."""
    jar = site.jar if jar is None else jar
    session = site.sessions.open(jar.header, Request(method="POST", path="/login"))
    session.login(subject)
    jar.take(site.sessions.commit(session))
    told = site.told(LoggedIn)[-1]
    assert (told.id, told.subject) == (session.id, subject)
    known: bool | None = told.known_device
    return known


def log_out(site: Site) -> None:
    session = site.open()
    session.logout()
    site.commit(session)


# --- known and new


def test_a_second_login_is_on_a_known_device(site: Site) -> None:
    """After a logout, which leaves the cookie; and as known where nobody has logged out."""
    first = log_in(site)
    log_out(site)
    kept = set(site.jar.cookies)
    second, third = log_in(site), log_in(site)

    assert (first, second, third) == (False, True, True)
    assert kept == {DEVICE}


def test_another_browser_is_new(site: Site) -> None:
    """And stays so for this user only."""
    log_in(site)

    assert log_in(site, jar=Jar()) is False


def test_another_user_is_new_in_the_same_browser(site: Site) -> None:
    """Each of those who share it is remembered by it."""
    known = [log_in(site, name) for name in ("alice", "bob", "alice", "bob")]

    assert known == [False, False, True, True]


def test_without_the_setting_nothing_is_known() -> None:
    """And no cookie is set: it would outlive the session, which nobody has asked for."""
    site = Site()

    assert log_in(site) is None
    assert set(site.jar.cookies) == {SESSION}


def test_it_is_told_in_words() -> None:
    """In the log: a login on a new device, and nothing where it is known or nobody can say."""
    new, known, unknown = (LoggedIn("i", "alice", known_device=known) for known in (False, True, None))

    assert str(new) == "alice is logged in with session i, on a device that is new to this user"
    assert str(known) == str(unknown) == "alice is logged in with session i"


def test_async_code_is_told_the_same(site: Site) -> None:
    """By the calls of an async framework."""

    async def log_in_twice() -> None:
        for _ in range(2):
            session = await site.sessions.aopen(site.jar.header)
            session.login("alice")
            site.jar.take(await site.sessions.acommit(session))

    anyio.run(log_in_twice)

    assert [event.known_device for event in site.told(LoggedIn)] == [False, True]


def test_a_login_in_place_of_another_keeps_what_the_browser_knows(site: Site) -> None:
    """Also after `logout()` in the same request."""
    log_in(site)
    session = site.open()
    session.logout()
    session.login("bob")
    site.commit(session)

    assert [log_in(site), log_in(site, "bob")] == [True, True]


def test_a_request_that_logs_nobody_in_leaves_the_cookie_alone(site: Site) -> None:
    """It is neither read nor set: a browser sends it with every request."""
    log_in(site)
    site.jar.cookies[DEVICE] = "junk"
    session = site.open()
    session["n"] = 1
    changes = site.commit(session)
    session = site.open()
    session.regenerate()
    session.confirm("totp")
    more = site.commit(session)

    assert not [line for line in (*changes.set_cookies, *more.set_cookies) if line.startswith(DEVICE)]
    assert site.told(Rejected) == []


def test_who_acts_as_another_marks_nothing(site: Site) -> None:
    """The agent's browser is not the user's; nor is it by the way back."""
    log_in(site, "agent")
    before = site.jar.cookies[DEVICE]
    session = site.open()
    session.impersonate("alice")
    site.commit(session)
    acting = site.told(LoggedIn)[-1]
    session = site.open()
    session.stop_impersonating()
    site.commit(session)

    assert (acting.subject, acting.actor, acting.known_device) == ("alice", "agent", None)
    assert site.jar.cookies[DEVICE] == before
    assert log_in(site) is False
    assert log_in(site, "agent") is True


def test_a_login_that_was_refused_marks_nothing() -> None:
    """Neither at the door nor after a logout in the same request, which is carried out."""
    site = make(StoreEngine(MemoryStore()))
    log_in(site, jar=Jar())
    for logs_out in (False, True):
        session = site.open()
        session["n"] = 1
        if logs_out:
            session.logout()
        session.login("alice", at_most=1, beyond="refuse")
        with pytest.raises(TooManySessions):
            site.commit(session)

    assert DEVICE not in site.jar.cookies
    assert log_in(site) is False


def test_a_dropped_save_marks_nothing() -> None:
    """A session that was ended meanwhile, and nobody has logged in."""
    site = make(StoreEngine(MemoryStore()))
    log_in(site)
    header = site.jar.header
    slow = site.sessions.open(header, Request(method="POST"))
    slow["n"] = 1
    log_out(site)

    with pytest.raises(SessionConflict) as raised:
        site.sessions.commit(slow)

    assert not any(line.startswith(DEVICE) for line in raised.value.set_cookies)


# --- the cookie


def test_the_cookie_has_the_sessions_place_and_an_age_of_its_own() -> None:
    """A prefix that browsers heed stays in front; no script reads it, whatever the session's own is."""
    site = make()
    session = site.open()
    session.login("alice")
    (line,) = [line for line in site.commit(session).set_cookies if line.startswith(f"{DEVICE}=")]
    _, _, attributes = line.partition("; ")
    plain = make(
        cookie=Cookie("shop", path="/shop", domain="example.org", secure=False, httponly=False, samesite="Strict")
    ).sessions.core.devices

    assert attributes == (
        "Expires=Wed, 02 Oct 2097 07:06:40 GMT; Max-Age=31536000; Path=/; Secure; HttpOnly; SameSite=Lax"
    )
    assert plain is not None
    assert (plain.cookie.name, plain.cookie.attributes) == (
        "device-shop",
        "; Path=/shop; Domain=example.org; HttpOnly; SameSite=Strict",
    )


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("__Host-shop", "__Host-device-shop"),
        ("__Secure-shop", "__Secure-device-shop"),
        ("__Http-shop", "__Http-device-shop"),
        ("__HOST-HTTP-shop", "__HOST-HTTP-device-shop"),
    ],
)
def test_each_prefix_stays_in_front(name: str, device: str) -> None:
    """A browser takes a name for one with a prefix by its beginning alone."""
    devices = make(cookie=Cookie(name)).sessions.core.devices

    assert devices is not None
    assert devices.cookie.name == device


def test_the_cookie_reveals_nobody() -> None:
    """It is encrypted; and inside there is a salted hash, another in each browser."""
    site = make()
    log_in(site)
    other = Jar()
    log_in(site, jar=other)
    inside = [opened(site, jar.cookies[DEVICE]) for jar in (site.jar, other)]

    assert b"alice" not in repr(inside).encode()
    hashes = [record.data["logins"][0][0] for record in inside]
    assert [len(each) for each in hashes] == [8, 8]
    assert hashes[0] != hashes[1]


def opened(site: Site, value: str) -> Record:
    """What a cookie of known devices holds."""
    devices = site.sessions.core.devices
    assert devices is not None
    return devices._open(value, int(site.clock.now))


def test_the_one_who_was_away_for_longest_is_forgotten() -> None:
    """Eight are remembered: a library's computer would else carry its whole town along."""
    site = make()
    for number in range(8):
        site.clock.now += 1
        log_in(site, f"user-{number}")
    again = log_in(site, "user-0")
    log_in(site, "user-8")
    value = site.jar.cookies[DEVICE]

    assert again is True
    assert [log_in(site, f"user-{number}", jar_with(value)) for number in (0, 1, 2, 8)] == [True, False, True, True]
    assert len(value) < 400


def jar_with(value: str) -> Jar:
    jar = Jar()
    jar.cookies[DEVICE] = value
    return jar


def test_a_device_is_known_for_as_long_as_was_set() -> None:
    """From the last login on it, and by the server's clock: a copy is not known for longer either."""
    site = Site(known_devices=KnownDevices("30 days"))
    log_in(site)
    site.clock.now += 30 * 86400 - 1
    in_time = log_in(site)
    site.clock.now += 30 * 86400
    too_late = log_in(site)

    assert (in_time, too_late) == (True, False)
    assert site.told(Rejected) == []
    assert len(opened(site, site.jar.cookies[DEVICE]).data["logins"]) == 1


def test_a_key_that_is_rotated_forgets_nobody() -> None:
    """The cookie opens under the old key, and is sealed under the new one with the next login; then the old one can go."""
    site = make(keys=None)
    log_in(site)
    rotated = Site(CookieEngine(Keyring(OTHER_KEY, [KEY])), known_devices=KnownDevices())
    rotated.jar.cookies[DEVICE] = site.jar.cookies[DEVICE]
    during = log_in(rotated)
    done = Site(CookieEngine(OTHER_KEY), known_devices=KnownDevices())
    done.jar.cookies[DEVICE] = rotated.jar.cookies[DEVICE]

    assert (during, log_in(done)) == (True, True)
    assert done.told(Rejected) == []


def test_a_key_of_its_own_is_used() -> None:
    """Where the engine has another, or none."""
    site = make(StoreEngine(MemoryStore()), keys=Key.generate())
    log_in(site)

    assert log_in(site) is True
    with pytest.raises(ConfigError, match=r"KnownDevices needs keys=: the engine has none of its own"):
        make(StoreEngine(MemoryStore()), keys=None)


# --- what a client may send


def sealed(site: Site, data: dict[str, Any], seen: int | None = None) -> str:
    """A cookie that was sealed as ours, of other data or at another time."""
    devices = site.sessions.core.devices
    assert devices is not None
    now = int(site.clock.now)
    record = Record(bytes(16), now, None, now if seen is None else seen, data=data)
    return devices._token.seal(record, devices._context(now))[DEVICE]


def of_another(name: str, purpose: str, key: Key = KEY) -> str:
    record = Record(bytes(16), START, None, START, data={"logins": []})
    return EncryptedToken(key).seal(record, Context(name, purpose, START))[name]


BAD: dict[str, tuple[str, Callable[[Site], str]]] = {
    "junk": ("malformed", lambda site: "junk"),
    "empty": ("malformed", lambda site: ""),
    "not ASCII": ("malformed", lambda site: "é" * 80),
    "oversized": ("too_large", lambda site: "A" * 1025),
    "cut": ("tampered", lambda site: sealed(site, {"logins": []})[:-4]),
    "changed": ("tampered", lambda site: sealed(site, {"logins": []})[:-8] + "AAAAAAAA"),
    "of another key": ("unknown_key", lambda site: of_another(DEVICE, "", OTHER_KEY)),
    "of another purpose": ("tampered", lambda site: of_another(DEVICE, "shop")),
    "a session": ("tampered", lambda site: of_another(SESSION, "")),
    "no logins": ("malformed", lambda site: sealed(site, {})),
    "other logins": ("malformed", lambda site: sealed(site, {"logins": ["alice"]})),
    "half a login": ("malformed", lambda site: sealed(site, {"logins": [[b"12345678"]]})),
    "a login at no time": ("malformed", lambda site: sealed(site, {"logins": [[b"12345678", None]]})),
    "a login of text": ("malformed", lambda site: sealed(site, {"logins": [["alice", 5]]})),
    "of a clock that is ahead": ("future", lambda site: sealed(site, {"logins": []}, START + 301)),
}


@pytest.mark.parametrize(("reason", "value"), BAD.values(), ids=BAD)
def test_a_cookie_that_cannot_be_used_is_not_known(reason: str, value: Callable[[Site], str]) -> None:
    """Never an exception: the login counts, an event says why, and the browser gets a good one."""
    site = make()
    site.jar.cookies[DEVICE] = value(site)

    assert log_in(site) is False
    (told,) = site.told(Rejected)
    assert (told.reason, told.cookie, told.request.path) == (reason, DEVICE, "/login")
    assert told.detail == (f"key {OTHER_KEY.id.hex()}" if reason == "unknown_key" else "")
    assert log_in(site) is True
    assert len(site.told(Rejected)) == 1


def test_a_clock_that_is_a_little_ahead_is_believed() -> None:
    """As with sessions: up to five minutes count as now."""
    site = make()
    log_in(site)
    site.clock.now -= 300

    assert log_in(site) is True


def test_the_cookie_is_no_session() -> None:
    """Not even under a name at which a session is expected: it has a purpose of its own."""
    site = make()
    log_in(site)
    other = Site(cookie=Cookie(DEVICE))
    session = other.sessions.open(f"{DEVICE}={site.jar.cookies[DEVICE]}")

    assert (dict(session), session.subject) == ({}, None)
    assert [event.reason for event in other.told(Rejected)] == ["tampered"]


def test_applications_with_another_purpose_do_not_know_each_others_devices() -> None:
    """Though they share a key and a cookie's name; a purpose may be as long as it likes."""
    shop, office = make(purpose="shop"), make(purpose="o" * 65_535)
    log_in(shop)
    office.jar.cookies[DEVICE] = shop.jar.cookies[DEVICE]

    assert log_in(office) is False
    assert log_in(office) is True


def test_of_several_cookies_any_may_know_the_user() -> None:
    """A browser has two after the path was changed; what a sibling subdomain plants beside ours hides nobody."""
    site, planted = make(), Jar()
    log_in(site)
    site.clock.now += 1
    log_in(site, "mallory", planted)
    both = "; ".join(f"{DEVICE}={jar.cookies[DEVICE]}" for jar in (planted, site.jar))
    session = site.sessions.open(f"{DEVICE}=junk; {both}")
    session.login("alice")
    changes = site.sessions.commit(session)

    assert site.told(LoggedIn)[-1].known_device is True
    assert [event.reason for event in site.told(Rejected)] == ["malformed"]
    (line,) = [line for line in changes.set_cookies if line.startswith(DEVICE)]
    assert log_in(site, "mallory", jar_with(line.partition("=")[2].partition(";")[0])) is False


def test_too_many_cookies_are_not_looked_at() -> None:
    """More than four different values of one name: somebody plants them."""
    site = make()
    log_in(site)
    header = "; ".join(f"{DEVICE}={value}" for value in ("a", "b", "c", "d", site.jar.cookies[DEVICE]))
    session = site.sessions.open(header)
    session.login("alice")
    site.sessions.commit(session)

    assert site.told(LoggedIn)[-1].known_device is False
    assert [event.reason for event in site.told(Rejected)] == ["ambiguous"]


# --- the room in an answer


@pytest.mark.parametrize("engine", ["encrypted", "chunks"])
def test_a_session_that_leaves_no_room_is_not_made_too_large(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    """nginx answers 502 where the headers exceed 4 KB: the cookie is left out, nobody is called new for it, and the log
    says so once."""
    site = make(ENGINES[engine]())
    lines: list[str] = []
    for _ in range(2):
        session = site.open()
        session["text"] = "x" * 2_400
        session.login("alice")
        lines = site.commit(session).set_cookies

    assert 0 < sum(map(len, lines)) <= 3_600
    assert [event.known_device for event in site.told(LoggedIn)] == [None, None]
    assert DEVICE not in site.jar.cookies
    assert [record.message for record in caplog.records if DEVICE in record.message] == [
        f"a login's session is so large that the cookie {DEVICE} does not fit beside it into 3600 bytes: the browser does not "
        "remember the user; keep less in the session"
    ]


def test_a_browser_that_knows_the_user_is_known_where_there_is_no_room() -> None:
    """It has said so; that it cannot be told anew is another matter."""
    site = make()
    log_in(site)
    session = site.open()
    session["text"] = "x" * 2_400
    session.login("alice")
    site.commit(session)

    assert site.told(LoggedIn)[-1].known_device is True


# --- the setting


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"lifetime": 0}, r"KnownDevices\(lifetime\)=0 must be a second or more"),
        ({"lifetime": "soon"}, r"KnownDevices\(lifetime\)"),
        ({"lifetime": "401 days"}, r"KnownDevices\(lifetime\)='401 days' must be 400 days or less"),
        ({"keys": "htk1_"}, r"KnownDevices\(keys\)=str must be a Keyring or a Key"),
    ],
)
def test_a_wrong_setting_is_told(wrong: dict[str, Any], names: str) -> None:
    """By its name, when it is made."""
    with pytest.raises(ConfigError, match=names):
        KnownDevices(**wrong)


@pytest.mark.parametrize("given", [True, "1 year", KnownDevices])
def test_the_manager_takes_an_object(given: Any) -> None:
    """Or None."""
    with pytest.raises(ConfigError, match=r"known_devices=.* must be a KnownDevices\(…\), or None"):
        Site(known_devices=given)


def test_it_shows_no_key() -> None:
    """What is logged of a setting."""
    assert repr(KnownDevices(timedelta(days=400), KEY)) == "KnownDevices(lifetime=34560000)"


def test_an_error_of_a_commit_has_no_cookie_of_the_device() -> None:
    """The login is not stored, so that the browser has nothing to remember."""
    site = make()
    session = site.open()
    session.login("alice")
    session["x"] = object()

    with pytest.raises(HardtackError) as raised:
        site.commit(session)

    assert list(raised.value.set_cookies) == []

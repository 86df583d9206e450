"""Events: frozen values that say what happened, hold no secret, and are built only when someone listens."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.kit import KEY, Site

from hardtack import CookieEngine, Request, SessionManager, StoreEngine, events
from hardtack.events import (
    Bound,
    CacheControlReplaced,
    ChannelLost,
    Confirmed,
    Conflict,
    CookiesLost,
    Created,
    CrossSite,
    Destroyed,
    EndsKept,
    EntriesSkipped,
    Event,
    Expired,
    IdChanged,
    KeysStale,
    LateWrite,
    LimitsRaised,
    ListFresh,
    ListStale,
    LoggedIn,
    LoggedOut,
    Opened,
    ProofFailed,
    Rejected,
    Renewed,
    Saved,
    StoreFailed,
    StoreHangs,
    TakenOver,
)
from hardtack.stores.memory import MemoryStore
from hardtack.tell import Teller

EXAMPLES: list[tuple[Event, int, str, str]] = [
    # the event, its level, its repr, a part of its sentence
    (Created("a"), logging.DEBUG, "Created(id='a')", "stored for the first time"),
    (Opened("a"), logging.DEBUG, "Opened(id='a', subject=None)", "touched it"),
    (Saved("a"), logging.DEBUG, "Saved(id='a')", "was changed"),
    (Renewed("a", "key"), logging.DEBUG, "Renewed(id='a', cause='key')", "under the key that issues now"),
    (Renewed("a", "clock"), logging.WARNING, "Renewed(id='a', cause='clock')", "set the clocks of all servers"),
    (
        CookiesLost(20, "s"),
        logging.WARNING,
        "CookiesLost(logins=20, cookie='s')",
        "no request has brought the cookie s",
    ),
    (
        IdChanged("a", "b", True),
        logging.INFO,
        "IdChanged(old_id='a', new_id='b', old_still_valid=True)",
        "goes on as b",
    ),
    (Destroyed("a", False), logging.INFO, "Destroyed(id='a', old_still_valid=False)", "session a was ended"),
    (
        LoggedIn("a", "alice"),
        logging.INFO,
        "LoggedIn(id='a', subject='alice', actor=None, label=None, known_device=None)",
        "alice is logged in",
    ),
    (
        LoggedOut("a", "alice", "login"),
        logging.INFO,
        "LoggedOut(id='a', subject='alice', cause='login')",
        "ended: login",
    ),
    (
        Confirmed("a", "alice", ("totp",)),
        logging.INFO,
        "Confirmed(id='a', subject='alice', methods=('totp',))",
        "factor",
    ),
    (
        Bound("a", "b", "c"),
        logging.INFO,
        "Bound(id='a', binding_id='b', thumbprint='c')",
        "is bound to the device with the key c",
    ),
    (
        ProofFailed("a", "missing"),
        logging.WARNING,
        "ProofFailed(id='a', reason='missing')",
        "session a: the device's key was not proved (missing): the request carried no proof",
    ),
    (ProofFailed("", "x"), logging.WARNING, "ProofFailed(id='', reason='x')", "a session: the device's key"),
    (Expired("a", "idle"), logging.INFO, "Expired(id='a', deadline='idle')", "idle_timeout says how long"),
    (
        Rejected("tampered", "session"),
        logging.WARNING,
        "Rejected(reason='tampered', cookie='session', detail='')",
        "its seal does not fit",
    ),
    (Conflict("a", "merged"), logging.INFO, "Conflict(id='a', outcome='merged', paths=())", "both are kept"),
    (
        Conflict("a", "stale", ("n",)),
        logging.WARNING,
        "Conflict(id='a', outcome='stale', paths=('n',))",
        "had read 'n'",
    ),
    (
        Conflict("a", "dropped"),
        logging.WARNING,
        "Conflict(id='a', outcome='dropped', paths=())",
        "got a new id meanwhile",
    ),
    (
        Conflict("a", "overwritten"),
        logging.INFO,
        "Conflict(id='a', outcome='overwritten', paths=())",
        "later write was kept",
    ),
    (LateWrite("a"), logging.WARNING, "LateWrite(id='a')", "after the response's headers had left"),
    (LateWrite(""), logging.WARNING, "LateWrite(id='')", "a new session was changed"),
    (
        StoreFailed("load", "OSError"),
        logging.ERROR,
        "StoreFailed(operation='load', error='OSError', detail='')",
        "failed to load (OSError)",
    ),
    (
        StoreFailed("decode", "wrong_record"),
        logging.ERROR,
        "StoreFailed(operation='decode', error='wrong_record', detail='')",
        "another session's record",
    ),
    (
        StoreFailed("decode", "tampered"),
        logging.ERROR,
        "StoreFailed(operation='decode', error='tampered', detail='')",
        "cannot be read (tampered)",
    ),
    (
        StoreFailed("decode", "unknown_key", "key 0102030405"),
        logging.ERROR,
        "StoreFailed(operation='decode', error='unknown_key', detail='key 0102030405')",
        "another program writes to this store (key 0102030405)",
    ),
    (
        StoreHangs("Redis", True),
        logging.WARNING,
        "StoreHangs(server='Redis', hangs=True)",
        "Redis did not answer several times in a row",
    ),
    (StoreHangs("Redis", False), logging.WARNING, "StoreHangs(server='Redis', hangs=False)", "Redis no longer hangs"),
    (
        KeysStale("/k", "/k is not TOML"),
        logging.ERROR,
        "KeysStale(file='/k', problem='/k is not TOML')",
        "are those that were read before: /k is not TOML; the file is read again",
    ),
    (TakenOver("a", "flask"), logging.INFO, "TakenOver(id='a', format='flask')", "a session of flask"),
    (
        CacheControlReplaced("public", "private"),
        logging.WARNING,
        "CacheControlReplaced(before='public', after='private')",
        "do not touch the session in responses that are for everybody",
    ),
    (
        CrossSite("https://evil.example", "shop"),
        logging.WARNING,
        "CrossSite(origin='https://evil.example', host='shop')",
        "trusted_origins=",
    ),
    (ListStale(-1, "closed"), logging.ERROR, "ListStale(age=-1, policy='closed')", "never read, and requests"),
    (ListStale(61, "open"), logging.ERROR, "ListStale(age=61, policy='open')", "for 61 seconds, and no session is"),
    (ListFresh(61), logging.WARNING, "ListFresh(age=61)", "read again, after 61 seconds"),
    (ChannelLost(True), logging.ERROR, "ChannelLost(restored=True)", "written back whole"),
    (ChannelLost(False), logging.ERROR, "ChannelLost(restored=False)", "hardtack ended URL --create"),
    (
        EntriesSkipped("foreign", 3),
        logging.ERROR,
        "EntriesSkipped(reason='foreign', count=3)",
        "3 entries of the list of ended sessions were not used (foreign): no key of ours fits",
    ),
    (EndsKept(2), logging.ERROR, "EndsKept(waiting=2, lost=0)", "2 ends wait for the channel"),
    (EndsKept(2, 1), logging.ERROR, "EndsKept(waiting=2, lost=1)", "1 were given up; see that it takes writes"),
    (LimitsRaised(60, 90), logging.WARNING, "LimitsRaised(before=60, after=90)", "may live 90 seconds now"),
]


@pytest.fixture(params=["cookie", "store"])
def site(request: pytest.FixtureRequest) -> Site:
    engine = CookieEngine(KEY) if request.param == "cookie" else StoreEngine(MemoryStore())
    return Site(engine, idle_timeout="1 hour")


def test_all_events_are_here() -> None:
    """No event is left out of the table above."""
    kinds = {each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event)}

    assert {type(event) for event, *_ in EXAMPLES} == kinds - {Event}


@pytest.mark.parametrize(("event", "level", "text", "sentence"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_event_is_a_frozen_value(event: Event, level: int, text: str, sentence: str) -> None:
    """Equal by its fields, unchangeable, with a sentence for logs and a level."""
    given = {name: getattr(event, name) for name in event.fields}

    with pytest.raises(AttributeError, match="frozen"):
        setattr(event, event.fields[0], "other")
    with pytest.raises(AttributeError, match="frozen"):
        delattr(event, event.fields[0])

    again: Any = type(event)
    assert event == again(**given)
    assert hash(event) == hash(again(*given.values()))
    assert event != object()
    assert event.severity == level
    assert repr(event) == text
    assert sentence in str(event)


def test_an_event_takes_its_fields_and_nothing_else() -> None:
    """By position or by name, as a dataclass does."""
    kind: Any = Rejected

    for arguments, named in (((), {}), (("a",), {}), (("a", "b", "c", "d"), {}), (("a", "b"), {"other": 1})):
        with pytest.raises(TypeError, match="Rejected"):
            kind(*arguments, **named)
    match Rejected("tampered", "sid"):
        case Rejected(reason, "sid"):
            assert reason == "tampered"
        case _:
            pytest.fail("an event matches by position")


@pytest.mark.parametrize(("event", "level", "text", "sentence"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_event_is_logged_at_its_level(
    event: Event, level: int, text: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The logger `hardtack` has each of them as a sentence, without a listener."""
    caplog.set_level(logging.DEBUG, logger="hardtack")

    Teller(None).emit(type(event), *(getattr(event, name) for name in event.fields))

    assert caplog.record_tuples == [("hardtack", level, str(event))]


def test_the_same_cause_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken cookie comes with each request of a page; another reason is another line, and who listens gets all."""
    now = [1000.0]
    monkeypatch.setattr("hardtack.tell.time.monotonic", lambda: now[0])
    told: list[Event] = []
    teller = Teller(told.append)

    for reason in ("tampered", "tampered", "unknown_key", "tampered"):
        teller.emit(Rejected, reason, "sid")
    teller.emit(Rejected, "unknown_key", "sid", "key 0102030405")
    for detail in ("key 0102030405", "key 0504030201"):
        teller.emit(StoreFailed, "decode", "unknown_key", detail)
    now[0] += 61
    teller.emit(Rejected, "tampered", "sid")

    assert [record.getMessage()[:35] for record in caplog.records] == [
        "cookie sid was not used (tampered):",
        "cookie sid was not used (unknown_ke",
        "a stored session cannot be read (un",
        "cookie sid was not used (tampered):",
    ]
    assert "2 more times" in caplog.records[3].getMessage()
    assert len(told) == 8


def test_what_is_remembered_of_the_log_is_bounded() -> None:
    """A client can choose the path of its request, not how much of it is kept."""
    teller = Teller(None)
    for number in range(3000):
        teller.log_failure("load", OSError(str(number)))

    assert len(teller._logged) <= 1000


def test_a_store_that_fails_again_and_again_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With the reason, which holds no password."""
    teller = Teller(None)
    for _ in range(3):
        teller.log_failure("load", OSError("connection refused"))

    assert [record.getMessage() for record in caplog.records] == [
        "the session store failed to load: connection refused"
    ]


def test_an_event_carries_its_request() -> None:
    """Text from the client is escaped and cut, and its address masked where that was asked for."""
    told: list[Event] = []
    request = Request("GET", "https", "shop", path="/a\nb" + "x" * 300, client="192.0.2.77", user_agent="A\x1b[31m")

    Teller(told.append).emit(Created, b"12", request=request)
    Teller(told.append, mask_addresses=True).emit(Created, b"12", request=request)

    plain, masked = (event.request for event in told)
    assert plain is not None
    assert masked is not None
    assert plain.path.startswith("/a\\nbxxx")
    assert len(plain.path) <= 201
    assert plain.user_agent == "A\\x1b[31m"
    assert (plain.client, masked.client) == ("192.0.2.77", "192.0.2.0")
    assert "GET /a" in str(told[0])
    assert "from 192.0.2.0" in str(told[1])
    assert told[0] == told[1]


def test_nothing_is_built_when_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    """Without `on_event` and below the logger's level, the event's class is not even called."""
    caplog.set_level(logging.CRITICAL, logger="hardtack")

    class Costly(Event):
        def __init__(self) -> None:
            raise AssertionError

    Teller(None).emit(Costly)

    assert caplog.records == []


def test_a_listener_that_raises_breaks_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """Its exception is logged, and the request goes on."""

    def listen(event: Event) -> None:
        raise RuntimeError("the metrics server is down")

    sessions = SessionManager(KEY, on_event=listen)
    session = sessions.open(None)
    session["a"] = 1

    changes = sessions.commit(session)

    assert changes.set_cookies
    assert "on_event raised for Created" in caplog.text
    assert "the metrics server is down" in caplog.text


def test_the_life_of_a_session_is_told_in_order(site: Site) -> None:
    """First stored, opened, renewed, changed, logged in, logged out: each once, with ids that fit together."""
    first = site.visit(cart=["bread"])
    begun = first.id
    site.clock.now += 600
    again = site.open()
    assert again["cart"] == ["bread"]
    site.commit(again)
    site.visit(cart=["bread", "butter"])
    login = site.open()
    login.login("alice")
    site.commit(login)
    logout = site.open()
    logout.logout()
    site.commit(logout)

    valid = site.sessions.core.traits.old_still_valid
    assert site.events == [
        Created(begun),
        Opened(begun, None),
        Renewed(begun, "idle_timeout"),
        Opened(begun, None),
        Saved(begun),
        Opened(begun, None),
        IdChanged(begun, login.id, valid),
        LoggedIn(login.id, "alice"),
        Opened(login.id, "alice"),
        Destroyed(login.id, valid),
        LoggedOut(login.id, "alice", "logout"),
    ]


def test_a_change_is_told_once_it_is_saved(site: Site) -> None:
    """A session of its old id with other data: `Saved`, whether its idle deadline moved with it or not."""
    begun = site.visit(cart=["bread"]).id
    for seconds in (1, 600):
        site.clock.now += seconds
        site.events.clear()
        session = site.open()
        session["cart"].append("butter")

        site.commit(session)

        assert site.events == [Opened(begun, None), Saved(begun)]


def test_an_update_is_told() -> None:
    """What `update` saves outside of a request is told too."""
    site = Site(StoreEngine(MemoryStore()))
    begun = site.visit(count=1).id
    site.events.clear()

    site.sessions.update(begun, lambda data: data.update(count=2))

    assert site.events == [Saved(begun)]


def test_a_session_that_is_not_touched_tells_nothing(site: Site) -> None:
    """Opening is lazy: what no handler looks at is not opened."""
    site.visit(a=1)
    site.events.clear()

    site.commit(site.open())

    assert site.events == []


@pytest.mark.parametrize(("seconds", "deadline"), [(3600, "idle"), (14 * 86400, "absolute")])
def test_a_session_that_comes_too_late_says_which_deadline(site: Site, seconds: int, deadline: Any) -> None:
    """The absolute deadline is named where both have passed."""
    identifier = site.visit(a=1).id
    site.clock.now += seconds
    site.events.clear()

    site.open().get("a")

    expected: list[Event] = [Expired(identifier, deadline)]
    assert [event for event in site.events if isinstance(event, Expired)] == expected


def test_no_event_shows_a_cookie(site: Site) -> None:
    """Whatever happens, neither a cookie's value nor the data appear in the text of an event."""
    secrets: list[str] = []
    for step in ("visit", "login", "junk", "logout"):
        session = site.open()
        session.get("a")
        if step == "visit":
            session["a"] = "confidential"
        elif step == "login":
            session.login("alice")
        elif step == "junk":
            site.sessions.open(site.jar.header[:-1] + "!").get("a")
        else:
            session.logout()
        site.commit(session)
        secrets += site.jar.cookies.values()

    told = " ".join(map(str, site.events))

    assert len(site.events) >= 6
    assert "confidential" not in told
    assert not [secret for secret in secrets if secret in told]

"""Events: frozen values that say what happened, hold no secret, and are built only when someone listens."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest
from tests.kit import KEY, Site

from hardtack import CookieEngine, SessionManager, StoreEngine, events
from hardtack.events import (
    CacheControlReplaced,
    Conflict,
    Created,
    Destroyed,
    Event,
    Expired,
    IdChanged,
    LateWrite,
    Opened,
    Rejected,
    Renewed,
    Saved,
    StoreFailed,
    TakenOver,
)
from hardtack.stores.memory import MemoryStore

EXAMPLES: list[tuple[Event, int, str]] = [
    (Created("a"), logging.DEBUG, "Created(id='a')"),
    (Opened("a"), logging.DEBUG, "Opened(id='a', subject=None)"),
    (Saved("a"), logging.DEBUG, "Saved(id='a')"),
    (Renewed("a", "key"), logging.DEBUG, "Renewed(id='a', cause='key')"),
    (IdChanged("a", "b", True), logging.INFO, "IdChanged(old_id='a', new_id='b', old_still_valid=True)"),
    (Destroyed("a", False), logging.INFO, "Destroyed(id='a', old_still_valid=False)"),
    (Expired("a", "idle"), logging.INFO, "Expired(id='a', deadline='idle')"),
    (Rejected("tampered", "session"), logging.WARNING, "Rejected(reason='tampered', cookie='session')"),
    (Conflict("a", "merged"), logging.WARNING, "Conflict(id='a', outcome='merged', paths=())"),
    (LateWrite("a"), logging.WARNING, "LateWrite(id='a')"),
    (StoreFailed("load", "OSError"), logging.ERROR, "StoreFailed(operation='load', error='OSError')"),
    (TakenOver("a", "flask"), logging.INFO, "TakenOver(id='a', format='flask')"),
    (
        CacheControlReplaced("public", "private"),
        logging.WARNING,
        "CacheControlReplaced(before='public', after='private')",
    ),
]


@pytest.fixture(params=["cookie", "store"])
def site(request: pytest.FixtureRequest) -> Site:
    engine = CookieEngine(KEY) if request.param == "cookie" else StoreEngine(MemoryStore())
    return Site(engine, idle_timeout="1 hour")


def test_all_events_are_here() -> None:
    """No event is left out of the table above."""
    kinds = {each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event)}

    assert {type(event) for event, _, _ in EXAMPLES} == kinds - {Event}


@pytest.mark.parametrize(("event", "level", "text"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_event_is_a_frozen_value(event: Event, level: int, text: str) -> None:
    """Equal by its fields, unchangeable, with a text for logs and a level."""
    name = dataclasses.fields(event)[0].name

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, name, "other")

    assert event == dataclasses.replace(event)
    assert event.level == level
    assert str(event) == text


@pytest.mark.parametrize(("event", "level", "text"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_event_is_logged_at_its_level(event: Event, level: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """The logger `hardtack` has each of them, without a listener."""
    caplog.set_level(logging.DEBUG, logger="hardtack")

    SessionManager(KEY).emit(type(event), *dataclasses.astuple(event))

    assert caplog.record_tuples == [("hardtack", level, text)]


def test_nothing_is_built_when_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    """Without `on_event` and below the logger's level, the event's class is not even called."""
    caplog.set_level(logging.CRITICAL, logger="hardtack")

    class Costly(Event):
        def __init__(self) -> None:
            raise AssertionError

    SessionManager(KEY).emit(Costly)

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

    valid = site.sessions.engine.old_still_valid
    assert site.events == [
        Created(begun),
        Opened(begun, None),
        Renewed(begun, "idle_timeout"),
        Opened(begun, None),
        Saved(begun),
        Opened(begun, None),
        IdChanged(begun, login.id, valid),
        Opened(login.id, "alice"),
        Destroyed(login.id, valid),
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

"""What was ended stays dead, on every store: neither a slow request nor a late one revives a session or sets a cookie.

Two responses of one browser may arrive in either order. Whichever comes last, the jar holds the new cookie.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from tests.guarantees.kit import Browser, Calls

from hardtack import Session
from hardtack.cookies import Changes
from hardtack.events import Conflict, Event, Rejected


def change_nothing(session: Session) -> None:
    """A request that only reads."""


def add_a_key(session: Session) -> None:
    """A request that changes the data."""
    session["late"] = 1


def change_the_id(session: Session) -> None:
    """A request that asks for a new id."""
    session.regenerate()


def log_in(session: Session) -> None:
    """A request that logs somebody in."""
    session.login("mallory")


LATE = [change_nothing, add_a_key, change_the_id, log_in]
"""What the slow request and the late one try."""


@pytest.fixture
def browser(calls: Calls) -> Browser:
    """A browser whose session holds a cart."""
    browser = Browser()
    session = calls.open("")
    session["cart"] = ["bread"]
    browser.take(calls.commit(session))
    return browser


def state(calls: Calls, header: str) -> tuple[dict[str, object], str | None]:
    """The data and the subject that a Cookie header opens."""
    session = calls.open(header)
    return dict(session), session.subject


NOTHING: tuple[dict[str, object], None] = ({}, None)


def slow_and_late(
    calls: Calls, old: str, end: Callable[[], object], attempt: Callable[[Session], None]
) -> tuple[Changes, Changes]:
    """The responses of a request that began before the end and of one that came after it; both commit after it."""
    slow = calls.open(old)
    attempt(slow)
    end()
    late = calls.open(old)
    assert dict(late) == {}
    attempt(late)
    return calls.commit(slow), calls.commit(late)


@pytest.mark.parametrize("attempt", LATE)
def test_after_a_logout_the_session_stays_dead(
    calls: Calls, browser: Browser, told: list[Event], attempt: Callable[[Session], None]
) -> None:
    """Neither request saves anything or sets a cookie, and the events say what was dropped."""
    old = browser.header

    def end() -> None:
        session = calls.open(old)
        session.logout()
        browser.take(calls.commit(session))

    slow, late = slow_and_late(calls, old, end, attempt)

    assert slow.set_cookies == late.set_cookies == []
    assert state(calls, old) == NOTHING
    assert browser.header == ""
    assert Rejected("ended", "__Host-session") in told
    outcomes = {event.outcome for event in told if isinstance(event, Conflict)}
    assert outcomes == (set() if attempt is change_nothing else {"dropped"})


@pytest.mark.parametrize("attempt", LATE)
def test_after_an_end_by_the_server_the_session_stays_dead(
    calls: Calls, browser: Browser, attempt: Callable[[Session], None]
) -> None:
    """The same where an administrator or the user's other device has ended it."""
    old = browser.header
    handle = calls.open(old).id
    ended = []

    slow, late = slow_and_late(calls, old, lambda: ended.append(calls.end(handle)), attempt)

    assert ended == [True]
    assert slow.set_cookies == late.set_cookies == []
    assert state(calls, old) == NOTHING


@pytest.mark.parametrize("attempt", LATE)
@pytest.mark.parametrize("subject", [None, "alice"], ids=["regenerate", "login"])
def test_the_new_cookie_survives_whichever_response_comes_last(
    calls: Calls, browser: Browser, subject: str | None, attempt: Callable[[Session], None]
) -> None:
    """In any order of the responses the jar holds the new id's cookie at the end, which opens all the data."""
    old = browser.header
    new: list[Changes] = []

    def end() -> None:
        session = calls.open(old)
        if subject is None:
            session.regenerate()
        else:
            session.login(subject)
        new.append(calls.commit(session))

    slow, late = slow_and_late(calls, old, end, attempt)

    for order in permutations([*new, slow, late]):
        jar = Browser(old)
        for response in order:
            jar.take(response)
        assert jar.header not in ("", old)
        assert state(calls, jar.header) == ({"cart": ["bread"]}, subject)
    assert slow.set_cookies == late.set_cookies == []
    assert state(calls, old) == NOTHING


@pytest.mark.parametrize("subject", [None, "alice"], ids=["regenerate", "login"])
def test_a_logout_that_loaded_the_old_id_revives_nothing(calls: Calls, browser: Browser, subject: str | None) -> None:
    """Whoever logs out means it: his response clears the cookie, though another has given the session a new id."""
    old = browser.header
    session, leaving = calls.open(old), calls.open(old)
    leaving.logout()
    session.login(subject) if subject else session.regenerate()
    calls.commit(session)

    browser.take(calls.commit(leaving))

    assert browser.header == ""
    assert state(calls, old) == NOTHING


def test_a_logout_wins_over_a_save_in_between(calls: Calls, browser: Browser) -> None:
    """The logout has loaded another version than it ends; what was saved meanwhile does not keep the session alive."""
    old = browser.header
    leaving, saving = calls.open(old), calls.open(old)
    leaving.logout()
    saving["late"] = 1

    browser.take(calls.commit(saving))
    browser.take(calls.commit(leaving))

    assert browser.header == ""
    assert state(calls, old) == NOTHING


def test_a_login_keeps_what_was_saved_in_between(calls: Calls, browser: Browser) -> None:
    """What a parallel request puts into the cart is there under the new id."""
    logging_in, saving = calls.open(browser.header), calls.open(browser.header)
    logging_in.login("alice")
    saving["cart"].append("milk")

    browser.take(calls.commit(saving))
    browser.take(calls.commit(logging_in))

    assert state(calls, browser.header) == ({"cart": ["bread", "milk"]}, "alice")

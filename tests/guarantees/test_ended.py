"""What was ended stays dead, on every store: neither a slow request nor a late one revives a session.

Two responses of one browser may arrive in either order. Whichever comes last, the jar holds the new cookie.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from tests.guarantees.kit import Browser, Calls

from hardtack import Session
from hardtack.changes import Changes
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


def opened_by(calls: Calls, response: Changes) -> tuple[dict[str, object], str | None] | None:
    """What a browser that has only this response opens; None: the response sets no cookie."""
    jar = Browser()
    jar.take(response)
    return state(calls, jar.header) if jar.header else None


AFTER_AN_END: list[tuple[Callable[[Session], None], object, object]] = [
    (change_nothing, None, None),
    (add_a_key, None, ({"late": 1}, None)),
    (change_the_id, None, None),
    (log_in, ({}, "mallory"), ({}, "mallory")),
]
"""What the slow request's response opens, and the late one's: a plain write that had loaded the session is dropped, one that
came later begins a session, and a login always counts."""


def end_by(calls: Calls, browser: Browser, who: str) -> Callable[[], object]:
    """A logout of the visitor, or an end by an administrator or the user's other device."""
    header = browser.header

    def log_out() -> None:
        session = calls.open(header)
        session.logout()
        browser.take(calls.commit(session))

    handle = calls.open(header).id
    return log_out if who == "the visitor" else lambda: calls.end(handle)


@pytest.mark.parametrize("who", ["the visitor", "the server"])
@pytest.mark.parametrize(("attempt", "by_slow", "by_late"), AFTER_AN_END)
def test_after_an_end_nothing_of_the_session_comes_back(
    calls: Calls,
    browser: Browser,
    told: list[Event],
    who: str,
    attempt: Callable[[Session], None],
    by_slow: object,
    by_late: object,
) -> None:
    """Nothing is saved into it, whatever begins afterwards is new, and the events say what was dropped."""
    old = browser.header

    slow, late = slow_and_late(calls, old, end_by(calls, browser, who), attempt)

    assert state(calls, old) == NOTHING
    assert opened_by(calls, slow) == by_slow
    assert opened_by(calls, late) == by_late
    assert Rejected("ended", "__Host-Http-session") in told
    outcomes = [event.outcome for event in told if isinstance(event, Conflict)]
    assert outcomes == (["dropped"] if slow.dropped else [])
    assert bool(slow.dropped) is (attempt in (add_a_key, change_the_id))


def test_a_logout_clears_the_cookie_before_a_later_end_is_told(calls: Calls, browser: Browser) -> None:
    """The browser that logged out holds no cookie, and one that logs out twice is told the same."""
    old = browser.header
    for _ in range(2):
        leaving = calls.open(old)
        leaving.logout()
        jar = Browser(old)
        jar.take(calls.commit(leaving))
        assert jar.header == ""


@pytest.mark.parametrize("attempt", [change_nothing, add_a_key, change_the_id])
@pytest.mark.parametrize("subject", [None, "alice"], ids=["regenerate", "login"])
def test_the_new_cookie_survives_whichever_response_comes_last(
    calls: Calls, browser: Browser, subject: str | None, attempt: Callable[[Session], None]
) -> None:
    """In any order of the responses the jar holds the new id's cookie at the end, which opens all the data."""
    old = browser.header
    slow, late, new = around_a_change(calls, old, subject, attempt)

    for order in permutations([new, slow, late]):
        jar = Browser(old)
        for response in order:
            jar.take(response)
        assert jar.header not in ("", old)
        assert state(calls, jar.header) == ({"cart": ["bread"]}, subject)
    assert slow.set_cookies == late.set_cookies == []
    assert state(calls, old) == NOTHING


@pytest.mark.parametrize("subject", [None, "alice"], ids=["regenerate", "login"])
def test_a_login_on_an_id_that_was_changed_counts(calls: Calls, browser: Browser, subject: str | None) -> None:
    """It gets a session of its own: of what its request had loaded, or of nothing where that came too late."""
    old = browser.header
    slow, late, new = around_a_change(calls, old, subject, log_in)

    assert opened_by(calls, slow) == ({"cart": ["bread"]}, "mallory")
    assert opened_by(calls, late) == ({}, "mallory")
    assert opened_by(calls, new) == ({"cart": ["bread"]}, subject)
    assert state(calls, old) == NOTHING


def around_a_change(
    calls: Calls, old: str, subject: str | None, attempt: Callable[[Session], None]
) -> tuple[Changes, Changes, Changes]:
    """The responses of a slow request, a late one, and of the one between them that changes the id."""
    new: list[Changes] = []

    def change() -> None:
        session = calls.open(old)
        session.login(subject) if subject else session.regenerate()
        new.append(calls.commit(session))

    return (*slow_and_late(calls, old, change, attempt), new[0])


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

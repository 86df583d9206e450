"""One-time values of a flow, tokens for forms, and what is shown of either."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit import KEY, Site

from hardtack import CookieEngine, StoreEngine, csrf, values
from hardtack.errors import ConfigError, SessionConflict
from hardtack.session import Session
from hardtack.stores.memory import MemoryStore


def stored() -> Site:
    return Site(StoreEngine(MemoryStore()))


@pytest.fixture(params=["store", "cookie"])
def site(request: pytest.FixtureRequest) -> Site:
    """A site on a store, or on cookies."""
    return stored() if request.param == "store" else Site(CookieEngine(KEY))


# --- once


def test_a_value_is_taken_once() -> None:
    """By its name, on a later request; after that there is none."""
    site = stored()
    session = site.open()
    name = session.once.put({"verifier": "v", "next": "/cart"})
    site.commit(session)

    found = []
    for _ in range(2):
        session = site.open()
        found.append(session.once.take(name, "nothing"))
        site.commit(session)

    assert found == [{"verifier": "v", "next": "/cart"}, "nothing"]
    assert len(name) == 22


def test_values_lie_beside_the_data() -> None:
    """The flows of two tabs do not disturb each other, and each has its own value."""
    site = stored()
    session = site.open()
    one, other = session.once.put(1), session.once.put(2)
    site.commit(session)
    session = site.open()

    taken = session.once.take(other), session.once.take("unknown"), session.once.take(5), session.once.take(one)

    assert taken == (2, None, None, 1)


def test_a_value_ends_with_its_time() -> None:
    """To the second; what has ended is not counted among the kept."""
    site = stored()
    session = site.open()
    short, long = session.once.put("short", ttl=10, at_most=2), session.once.put("long", ttl="1 hour", at_most=2)
    site.commit(session)
    site.clock.now += 10
    session = site.open()
    third = session.once.put("third", at_most=2)

    taken = [session.once.take(name) for name in (short, long, third)]

    assert taken == [None, "long", "third"]


def test_the_oldest_goes_first() -> None:
    """Of more than `at_most`: whoever begins flow after flow does not fill the cookie."""
    site = stored()
    session = site.open()
    names = [session.once.put(number, at_most=3) for number in range(5)]

    assert [session.once.take(name) for name in names] == [None, None, 2, 3, 4]


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"ttl": "soon"}, {"at_most": 0}, {"at_most": True}, {"at_most": 1.0}])
def test_a_wrong_limit_is_told(wrong: dict[str, Any]) -> None:
    """Where it is given."""
    with pytest.raises(ConfigError, match=r"once\.put"):
        stored().open().once.put(1, **wrong)


def test_of_two_that_take_one_the_second_fails() -> None:
    """Two parallel callbacks must not both succeed."""
    site = stored()
    session = site.open()
    name = session.once.put("state")
    site.commit(session)
    one, other = site.open(), site.open()
    assert one.once.take(name) == other.once.take(name) == "state"
    one["user"] = "alice"
    site.commit(one)

    with pytest.raises(SessionConflict):
        site.commit(other)

    assert site.open()["user"] == "alice"


def test_parallel_flows_are_both_kept() -> None:
    """Two tabs begin a flow at once: both find their values."""
    site = stored()
    site.visit(n=1)
    one, other = site.open(), site.open()
    names = [one.once.put("one"), other.once.put("other")]
    for session in (one, other):
        assert not site.commit(session).dropped

    session = site.open()

    assert [session.once.take(name) for name in names] == ["one", "other"]


def test_a_taken_value_is_gone_though_the_request_fails() -> None:
    """An attempt is an attempt: whoever makes it fail does not get a second one."""
    site = stored()
    session = site.open()
    name = session.once.put("challenge")
    kept = session.once.put("other")
    site.commit(session)
    session = site.open()
    assert session.once.take(name) == "challenge"
    session["n"] = 1

    site.sessions.abort(session)

    session = site.open()
    assert session.once.take(name) is None
    assert session.once.take(kept) == "other"
    assert "n" not in session


def test_a_session_of_no_manager_has_them_too() -> None:
    """Such as one in a test of a handler."""
    session = Session()
    name = session.once.put("value")

    assert session.once.take(name) == "value"


def test_cookies_cannot_have_them() -> None:
    """Whoever keeps a copy of the cookie would take a value twice."""
    session = Site(CookieEngine(KEY)).open()

    with pytest.raises(ConfigError, match="StoreEngine"):
        session.once.put(1)
    with pytest.raises(ConfigError, match="StoreEngine"):
        session.once.take("name")


# --- tokens for forms


def test_a_form_of_the_session_is_accepted(site: Site) -> None:
    """A token of an earlier page too; each page shows another."""
    session = site.open()
    tokens = {session.csrf_token() for _ in range(3)}
    site.commit(session)
    session = site.open()
    later = session.csrf_token()

    assert len({*tokens, later}) == 4
    assert all(session.check_csrf(token) for token in (*tokens, later))
    assert site.commit(session).set_cookies == []


def test_asking_for_a_token_stores_a_session(site: Site) -> None:
    """Which the form's answer needs."""
    session = site.open()
    session.csrf_token()

    assert site.commit(session).set_cookies != []


@pytest.mark.parametrize("token", ["", "x", "\udcff", None, 5, b"x", "A" * 43, "A" * 42, "A" * 10_000])
def test_what_is_no_token_is_refused(site: Site, token: Any) -> None:
    """Whatever a client sends."""
    session = site.open()
    assert not session.check_csrf(token)
    session.csrf_token()

    assert not session.check_csrf(token)


def test_a_token_of_another_session_is_refused() -> None:
    """It is bound to its own."""
    one, other = Site().open(), Site().open()
    other.csrf_token()

    assert not other.check_csrf(one.csrf_token())


def test_a_new_id_keeps_the_tokens_and_a_login_does_not(site: Site) -> None:
    """A form in another tab outlives `regenerate()`; what could have been planted before a login is worth nothing after it."""
    session = site.open()
    before = session.csrf_token()
    site.commit(session)
    session = site.open()
    session.regenerate()
    site.commit(session)
    regenerated = site.open()
    kept = regenerated.check_csrf(before)
    regenerated.login("alice")
    at_login = regenerated.csrf_token()
    site.commit(regenerated)
    session = site.open()

    assert kept
    assert [session.check_csrf(token) for token in (before, at_login, session.csrf_token())] == [False, True, True]


def test_two_first_pages_at_once_show_one_secret() -> None:
    """Two parallel requests for the first token of a stored session: the forms of both are accepted."""
    site = stored()
    site.visit(n=1)
    one, other = site.open(), site.open()
    tokens = [one.csrf_token(), other.csrf_token()]
    for session in (one, other):
        site.commit(session)

    assert [site.open().check_csrf(token) for token in tokens] == [True, True]


def test_a_session_of_no_manager_has_tokens() -> None:
    """Such as one in a test of a handler."""
    session = Session()

    assert session.check_csrf(session.csrf_token())


def test_a_masked_secret_is_the_secret_for_who_knows_the_mask() -> None:
    """16 random bytes, and of these XOR the secret."""
    secret = bytes(range(16))
    raw = values.decode_bytes(csrf.masked(secret))

    assert bytes(one ^ other for one, other in zip(raw[:16], raw[16:], strict=True)) == secret
    assert csrf.masked(secret) != csrf.masked(secret)


def test_the_last_taken_value_leaves_nothing_behind() -> None:
    """A request that failed has taken the only one: the session holds no empty place for it."""
    site = stored()
    session = site.open()
    session["n"] = 1
    name = session.once.put("challenge")
    site.commit(session)
    session = site.open()
    assert session.once.take(name) == "challenge"

    site.sessions.abort(session)

    assert dict(site.open()) == {"n": 1}

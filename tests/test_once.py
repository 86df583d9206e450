"""One-time values of a flow, tokens for forms, and what is shown of either."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit import KEY, Site

from hardtack import CookieEngine, StoreEngine, csrf, values
from hardtack.errors import ConfigError, SessionConflict, StoreFull
from hardtack.request import Request
from hardtack.session import Session, state_of
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


@pytest.mark.parametrize("act", ["login", "regenerate"])
@pytest.mark.parametrize("on_conflict", ["merge", "last_write_wins"])
def test_of_two_that_take_one_and_get_new_ids_the_second_fails(act: str, on_conflict: Any) -> None:
    """Their sessions go on apart, and neither shows what the other has taken."""
    site = Site(StoreEngine(MemoryStore(), on_conflict=on_conflict))
    session = site.open()
    name = session.once.put("state")
    site.commit(session)
    header = site.jar.header
    pair = [site.sessions.open(header) for _ in range(2)]
    for each in pair:
        assert each.once.take(name) == "state"
        getattr(each, act)(*(["alice"] if act == "login" else []))
        each["x"] = 1
    site.commit(pair[0])

    with pytest.raises(SessionConflict):
        site.sessions.commit(pair[1])


def test_a_logout_is_carried_out_though_a_value_was_taken_by_another() -> None:
    """Of two that take one the second logs out; a login after that is none."""
    for then in ("nothing", "login"):
        site = stored()
        session = site.open()
        session.login("alice")
        name = session.once.put("state")
        site.commit(session)
        header = site.jar.header
        one, other = site.sessions.open(header), site.sessions.open(header)
        assert one.once.take(name) == other.once.take(name) == "state"
        one["x"] = 1
        site.commit(one)
        other.logout()
        if then == "login":
            other.login("bob")
            with pytest.raises(SessionConflict) as caught:
                site.sessions.commit(other)
            assert "Max-Age=0" in caught.value.set_cookies[0]
        else:
            site.sessions.commit(other)

        assert site.sessions.open(header).subject is None
        assert site.sessions.count("bob") == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_was_taken_is_gone_though_nothing_was_saved(method: str) -> None:
    """Of a request that lost a race: dropped in silence, or told."""
    site = stored()
    session = site.open()
    session["theme"] = "light"
    name = session.once.put("state")
    site.commit(session)
    slow = site.sessions.open(site.jar.header, Request(method=method))
    slow["seen"] = slow["theme"], slow.once.take(name)
    site.visit(theme="dark")
    try:
        dropped = site.sessions.commit(slow).dropped
    except SessionConflict:
        dropped = "told"

    assert dropped == ("stale" if method == "GET" else "told")
    assert site.open().once.take(name) is None


def test_what_was_taken_is_gone_under_the_id_that_the_session_has_by_now() -> None:
    """The request fails, and another has changed the id meanwhile."""
    site = stored()
    session = site.open()
    name, other = session.once.put("state"), session.once.put("other")
    site.commit(session)
    failing = site.open()
    assert failing.once.take(name) == "state"
    session = site.open()
    session.regenerate()
    site.commit(session)

    site.sessions.abort(failing)

    session = site.open()
    assert (session.once.take(name), session.once.take(other)) == (None, "other")


def test_what_was_taken_after_the_headers_is_gone() -> None:
    """In a stream, which can set no cookie for what it begins."""
    site = stored()
    session = site.open()
    session["x"] = 1
    name = session.once.put("state")
    site.commit(session)
    session = site.open()
    site.commit(session)
    assert session.once.take(name) == "state"
    session.regenerate()
    site.sessions.finish(session)

    assert site.open().once.take(name) is None


def test_a_full_store_lets_values_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot remember who was first; the value goes with the session's save."""
    site = stored()
    session = site.open()
    name = session.once.put("state")
    site.commit(session)
    session = site.open()
    taken = session.once.take(name)
    store: Any = site.sessions.engine.store
    put = store.put

    def full(key: str, data: bytes, *, expires_at: int, if_version: Any, subject: str | None) -> Any:
        if if_version is None:
            raise StoreFull("no room")
        return put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    monkeypatch.setattr(store, "put", full)
    site.commit(session)

    assert (taken, site.open().once.take(name)) == ("state", None)


def test_flows_of_a_session_that_was_ended_are_not_taken_along() -> None:
    """A login after the end keeps the messages and values that its own request has put in, and no others."""
    site = stored()
    session = site.open()
    session.login("alice")
    session.flash("your balance is 5")
    name = session.once.put("old")
    site.commit(session)
    session = site.open()
    session.flash("welcome")
    new = session.once.put("new")
    session.login("alice")
    site.sessions.end_all("alice")
    site.commit(session)

    session = site.open()
    assert [str(flash) for flash in session.flashes()] == ["welcome"]
    assert (session.once.take(name), session.once.take(new)) == (None, "new")


def test_keys_of_the_applications_own_that_begin_alike_are_not_joined() -> None:
    """Two requests spend `_once_only`: the second had read what the first changed."""
    site = stored()
    site.visit(_once_only=True)
    one, other = site.open(), site.open()
    for each in (one, other):
        if each["_once_only"]:
            each["_once_only"] = False
    site.commit(one)

    assert site.sessions.commit(other).dropped == "stale"


def test_an_applications_own_value_under_our_names_is_no_error() -> None:
    """Messages and values of flows take the place of what is none."""
    site = stored()
    site.visit(_flashes="x", _once=5)
    session = site.open()
    found = session.flashes(), session.once.take("name")
    session.flash("hello")
    name = session.once.put("state")
    site.commit(session)
    session = site.open()

    assert found == ([], None)
    assert ([str(flash) for flash in session.flashes()], session.once.take(name)) == (["hello"], "state")


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


def test_a_token_of_a_page_whose_save_was_dropped_is_good() -> None:
    """The page is there, and its form is sent; nothing was stored of the token that it shows."""
    site = stored()
    site.visit(n=1)
    page = site.sessions.open(site.jar.header, Request("GET"))
    assert page["n"] == 1
    token = page.csrf_token()
    site.visit(n=2)
    dropped = site.commit(page).dropped

    sent = site.open()

    assert (dropped, sent.check_csrf(token)) == ("stale", True)
    sent.login("alice")
    assert not sent.check_csrf(token)
    site.commit(sent)
    assert not site.open().check_csrf(token)


@pytest.mark.parametrize("end", ["logout", "login", "unknown"])
def test_a_token_that_was_never_stored_is_good_for_a_stored_session_alone(end: str) -> None:
    """Who plants a cookie of his own can make tokens of it."""
    site = stored()
    session = site.open()
    session.login("bob")
    site.commit(session)
    session = site.open()
    token = csrf.masked(csrf.draw(state_of(touched(session))))
    if end == "logout":
        session.logout()
    elif end == "login":
        session.login("alice")
    else:
        invented = values.encode_bytes(bytes(32))
        session = site.sessions.open(f"__Host-Http-session={invented}")
        touched(session)
        held = state_of(session).held
        assert held is not None
        held.secret = bytes(32)
        token = csrf.masked(csrf.draw(state_of(session)))

    assert not session.check_csrf(token)


def touched(session: Any) -> Any:
    """The session, loaded."""
    assert session.subject in (None, "bob")
    return session


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

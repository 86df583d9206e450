"""Sessions that are bound to the device: what a browser gets, and what a thief gets."""

from __future__ import annotations

from typing import Any

import pytest
from tests.binding.kit import EVERY, GRACE, BoundSite, page
from tests.kit import OTHER_KEY

from hardtack import Cookie
from hardtack.binding import DeviceBinding
from hardtack.events import Bound, IdChanged, LoggedOut, ProofFailed


def test_a_login_binds_the_session(site: BoundSite) -> None:
    """The browser registers its key after the login, and the next page is served to a bound session, under a new id."""
    browser = site.browser()

    answer = browser.post("/login")

    assert page(answer) == "alice bound 0"
    (bound,) = site.told(Bound)
    (changed,) = site.told(IdChanged)
    assert bound.id == changed.new_id
    assert list(browser.bindings) == [bound.binding_id]


def test_a_browser_without_dbsc_notices_nothing(site: BoundSite) -> None:
    """Its session is unbound, for as long as it lives."""
    browser = site.browser(registers=False)

    assert page(browser.post("/login")) == "alice unbound 0"
    site.clock.now += 86400
    assert page(browser.get("/count")) == "alice unbound 1"


def test_a_manager_without_binding_says_unbound() -> None:
    """Nothing is offered, and the endpoints are the application's own paths, but for browsers that prove a key."""
    site = BoundSite(binding=None)
    browser = site.browser()

    assert page(browser.post("/login")) == "alice unbound 0"
    for path in ("start", "refresh"):
        assert page(browser.post(f"/hardtack/session/{path}")) == "alice unbound 0"
    for path in ("hardtack/session/start", "hardtack/shop/refresh", "app/hardtack/session/refresh"):
        asked = browser.request("POST", f"/{path}", headers=[("Sec-Secure-Session-Id", "A" * 22)])
        assert page(asked) == "alice unbound 0"
    proof = browser.request("POST", "/hardtack/session/refresh", headers=[("Sec-Secure-Session-Id", "A" * 22)])
    assert (proof.status, proof.get("Retry-After"), proof.get("Set-Cookie")) == (503, "60", None)
    assert not browser.bindings


def test_the_binding_is_proved_again_and_again(site: BoundSite) -> None:
    """A user who is away for hours comes back to a session that is bound."""
    browser = site.logged_in()

    for away in (10, EVERY + 1, 3600, 86400):
        site.clock.now += away
        assert page(browser.get("/")) == "alice bound 0"
    assert not site.told(ProofFailed)


def test_a_copied_pair_is_refused_after_its_time(site: BoundSite) -> None:
    """At the latest a minute after the age of a proof, whatever the browser does meanwhile."""
    browser = site.logged_in()
    thief = browser.copy()
    thief.keep_copies()
    assert page(thief.get("/")) == "alice bound 0"

    site.clock.now += EVERY + GRACE

    assert page(thief.get("/")) == "None unproven 0"
    assert page(browser.get("/")) == "alice bound 0"
    assert site.told(ProofFailed)[-1].reason == "missing"


def test_a_copied_session_cookie_alone_is_refused_at_once(site: BoundSite) -> None:
    """Without the bound cookie it opens nothing."""
    browser = site.logged_in()
    thief = browser.copy()
    thief.cookies = {place: cookie for place, cookie in thief.cookies.items() if "bound" not in place[0]}

    assert page(thief.get("/")) == "None unproven 0"


def test_a_copy_from_before_the_binding_ends(site: BoundSite) -> None:
    """The id that was copied between the login and the registration opens for some seconds more, and then nothing."""
    browser = site.browser(registers=False)
    browser.post("/login")
    thief = browser.copy()
    browser.register()
    assert page(browser.get("/")) == "alice bound 0"
    assert page(thief.get("/")) == "alice unbound 0"

    site.clock.now += 10

    assert page(thief.get("/")) == "None unbound 0"
    site.clock.now += 120
    assert page(thief.get("/")) == "None unbound 0"
    assert page(browser.get("/")) == "alice bound 0"


def test_a_thief_in_the_last_seconds_of_the_old_id_gets_no_cookie(site: BoundSite) -> None:
    """What is saved under the old id is kept in a store, and tells nobody the new one."""
    browser = site.browser(registers=False)
    browser.post("/login")
    thief = browser.copy()
    browser.register()
    browser.get("/")

    answer = thief.get("/count")

    assert page(answer) == "alice unbound 1"
    assert answer.get("Set-Cookie") is None
    assert page(browser.get("/")) == f"alice bound {1 if site.shares else 0}"


def test_a_thief_cannot_prove_the_key(site: BoundSite) -> None:
    """All cookies together answer no challenge."""
    browser = site.logged_in()
    thief = browser.copy()
    (binding,) = browser.bindings
    answer = thief._send(
        "POST", "https://example.org/hardtack/session/refresh", [("Sec-Secure-Session-Id", binding)], b""
    )

    assert answer.status == 403
    assert answer.get("Set-Cookie") is None


def test_the_binding_stays_while_the_id_changes(site: BoundSite) -> None:
    """`regenerate`, `confirm` and another login of the same user keep the key, and the browser notices nothing."""
    browser = site.logged_in()
    (binding,) = browser.bindings

    for path in ("/regenerate", "/confirm", "/login/alice"):
        assert page(browser.post(path)) == "alice bound 0"
        site.clock.now += EVERY + GRACE
        assert page(browser.get("/")) == "alice bound 0"
    assert list(browser.bindings) == [binding]
    assert len(site.told(Bound)) == 1


def test_a_logout_ends_the_binding(site: BoundSite) -> None:
    """The cookies of the binding are cleared, and the next proof is told that it is over."""
    browser = site.logged_in()

    browser.post("/logout")

    assert not browser.cookies
    assert page(browser.get("/")) == "None unbound 0"
    assert not browser.bindings


def test_another_users_login_begins_another_binding(site: BoundSite) -> None:
    """The former binding ends with the session, and the browser registers a new key for the new one."""
    browser = site.logged_in()
    (former,) = browser.bindings

    assert page(browser.post("/login/bob")) == "bob bound 0"
    site.clock.now += EVERY + 1
    assert page(browser.get("/")) == "bob bound 0"
    assert len(browser.bindings) == 1
    assert former not in browser.bindings
    assert [event.subject for event in site.told(LoggedOut)] == ["alice"]


def test_an_unproven_session_is_nobodys_and_stays(site: BoundSite) -> None:
    """Who has lost the key reads an empty session and gets no cookie; a login begins another session."""
    browser = site.logged_in()
    other = browser.copy()
    other.registers = True
    site.clock.now += EVERY + GRACE

    answer = other.get("/")

    assert page(answer) == "None unproven 0"
    assert answer.get("Set-Cookie") is None
    assert page(other.post("/login")) == "alice bound 0"
    assert page(browser.get("/")) == "alice bound 0"


def test_what_is_put_into_an_unproven_session_begins_another(site: BoundSite) -> None:
    """A lost key must not keep a login form from storing its token; the bound session goes on elsewhere."""
    browser = site.logged_in()
    browser.get("/count")
    lost = browser.copy()
    site.clock.now += EVERY + GRACE

    assert page(lost.get("/count")) == "None unproven 1"
    assert page(lost.get("/count")) == "None unbound 2"
    assert page(browser.get("/count")) == "alice bound 2"


def test_a_logout_in_an_unproven_session_clears_its_cookie_alone(site: BoundSite) -> None:
    """A thief cannot log anybody out."""
    browser = site.logged_in()
    thief = browser.copy()
    site.clock.now += EVERY + GRACE

    thief.post("/logout")

    assert thief.cookie("__Host-Http-session") is None
    assert page(browser.get("/")) == "alice bound 0"


def test_a_bound_cookie_of_another_session_proves_nothing(site: BoundSite) -> None:
    """Somebody's own binding does not open another's session, bound or not."""
    alice, bob = site.logged_in(), site.browser()
    bob.post("/login/bob")
    (session,) = [place for place in alice.cookies if place[0] == "__Host-Http-session"]
    bob.cookies[session] = alice.cookies[session]

    assert page(bob.copy().get("/")) == "None unproven 0"


def test_a_bound_cookie_does_not_bind_another_session(site: BoundSite) -> None:
    """An unbound session stays unbound beside the bound cookie of another."""
    alice, bob = site.browser(registers=False), site.logged_in()
    alice.post("/login")
    mixed = bob.copy()
    mixed.cookies["__Host-Http-session", "/"] = alice.cookies["__Host-Http-session", "/"]

    assert page(mixed.get("/")) == "alice unbound 0"


@pytest.mark.parametrize("away", [21, 300])
def test_the_offer_is_made_again_in_the_first_minutes(site: BoundSite, away: int) -> None:
    """Where nothing came of the first."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.offers.clear()
    site.clock.now += away

    browser.get("/")
    browser.register()

    assert page(browser.get("/")) == "alice bound 0"


@pytest.mark.parametrize("away", [1, 19, 301, 86400])
def test_the_offer_is_not_made_twice_at_once_nor_later(site: BoundSite, away: int) -> None:
    """A browser would make two keys; and later, the holder of a copied cookie could bind the session to his own."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.offers.clear()
    site.clock.now += away

    browser.get("/")

    assert not browser.offers


def test_nothing_is_offered_while_a_key_is_registered(site: BoundSite) -> None:
    """The browser that has registered a key and not come back yet is not asked for another."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    site.clock.now += 30

    assert site.sessions.commit(opened(site, browser)).headers == ()


def opened(site: BoundSite, browser: Any) -> Any:
    """A session beside the key cookie, as where the bound cookie is gone already."""
    pairs = "; ".join(f"{name}={each.value}" for (name, _), each in browser.cookies.items() if "bound" not in name)
    session = site.sessions.open(pairs)
    assert session.subject == "alice"
    return session


def test_a_session_that_nobody_looks_at_is_bound_by_the_next_request(site: BoundSite) -> None:
    """A page that does not touch its session changes nothing."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()

    browser.get("/still")
    assert not site.told(Bound)
    assert page(browser.get("/")) == "alice bound 0"


def test_an_anonymous_session_is_not_bound(site: BoundSite) -> None:
    """Only a login offers it."""
    browser = site.browser()

    assert page(browser.get("/count")) == "None unbound 1"
    assert not browser.bindings


def test_a_required_binding_is_asked_for_after_a_minute() -> None:
    """Staff without a bound session are nobody; all others are served."""
    site = BoundSite(binding=DeviceBinding(required=lambda session: session.subject == "root"))
    staff, user = site.browser(registers=False), site.browser(registers=False)
    assert page(staff.post("/login/root")) == "root unbound 0"
    user.post("/login")

    site.clock.now += 61

    assert page(staff.get("/")) == "None unproven 0"
    assert page(user.get("/")) == "alice unbound 0"


def test_a_required_binding_is_satisfied_by_one() -> None:
    """A bound session is served, at any age."""
    site = BoundSite(binding=DeviceBinding(required=lambda session: True))
    browser = site.logged_in()

    site.clock.now += 3600

    assert page(browser.get("/")) == "alice bound 0"


def test_observing_refuses_nothing() -> None:
    """The event and `session.binding` tell what would be refused."""
    site = BoundSite(binding=DeviceBinding(observe=True))
    browser = site.logged_in()
    thief = browser.copy()
    site.clock.now += EVERY + GRACE

    assert page(thief.get("/")) == "alice unproven 0"
    assert site.told(ProofFailed)


def test_the_cookies_of_a_binding_follow_the_session_cookie() -> None:
    """Their place is the session cookie's; a script reads neither, and browsers bind none named __Host-Http-."""
    cookie = Cookie(
        "sid", path="/app", domain="example.org", samesite="Strict", httponly=False, formerly=[Cookie("old")]
    )
    site = BoundSite(cookie=cookie, mount="/app")
    browser = site.browser()
    assert page(browser.post("/app/login")) == "alice bound 0"

    (binding,) = browser.bindings.values()
    assert binding.cookie.startswith("sid-bound-")
    assert binding.refresh_url == "https://example.org/app/hardtack/session/refresh"
    assert binding.attributes == "Path=/app; Domain=example.org; Secure; HttpOnly; SameSite=Strict"


def test_a_persistent_session_keeps_its_key_over_a_restart() -> None:
    """The key cookie lives as long as the session, and the browser proves its key when it is back."""
    site = BoundSite(persistent=True)
    browser = site.logged_in()
    site.clock.now += EVERY + 1
    browser.restart()

    assert page(browser.get("/")) == "alice bound 0"


def test_a_session_that_ends_with_the_browser_ends_its_binding() -> None:
    """No session cookie comes, so that the binding is over."""
    site = BoundSite()
    browser = site.logged_in()
    browser.restart()
    site.clock.now += EVERY + 1

    assert page(browser.get("/")) == "None unbound 0"
    assert not browser.bindings


def test_two_applications_on_one_host_do_not_meet() -> None:
    """Their endpoints and tokens are their own."""
    one, other = BoundSite(purpose="shop"), BoundSite(purpose="a forum, with spaces")
    browser = one.logged_in()
    (binding,) = browser.bindings.values()

    assert binding.refresh_url == "https://example.org/hardtack/shop/refresh"
    assert other.sessions.core.binding is not None
    assert other.sessions.core.binding.refresh.startswith("/hardtack/")
    browser.send = other.wire
    site = other.wire("POST", binding.refresh_url, [], b"")
    assert site[2] == b"None unbound 0"  # the other application's own page


def test_a_rotated_key_is_still_accepted() -> None:
    """Challenges, bound cookies and key cookies of the former key are good while the ring accepts it."""
    from tests.kit import KEY

    from hardtack import Keyring

    site = BoundSite(binding=DeviceBinding(keys=KEY))
    browser = site.logged_in()
    site.wire.send = site.deploy(site.manager(DeviceBinding(keys=Keyring(OTHER_KEY, [KEY]))))

    assert page(browser.get("/")) == "alice bound 0"
    site.clock.now += EVERY + 1
    assert page(browser.get("/")) == "alice bound 0"
    site.wire.send = site.deploy(site.manager(DeviceBinding(keys=OTHER_KEY)))
    assert page(browser.get("/")) == "alice bound 0"


def test_who_acts_as_another_stays_bound(site: BoundSite) -> None:
    """It is the same browser: the key is proved in the session of the other user, and in her own after it."""
    browser = site.logged_in()
    (binding,) = browser.bindings
    assert page(browser.post("/act/bob")) == "bob bound 0"
    thief = browser.copy()

    site.clock.now += EVERY + GRACE

    assert page(browser.get("/")) == "bob bound 0"
    assert page(thief.get("/")) == "None unproven 0"
    assert page(browser.post("/stop")) == "alice bound 0"
    assert list(browser.bindings) == [binding]


def test_who_acts_as_another_unbound_is_not_bound_meanwhile(site: BoundSite) -> None:
    """The session of the other user is neither offered to be bound, nor bound: her own would be left behind."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.offers.clear()
    site.clock.now += 30

    assert page(browser.post("/act/bob")) == "bob unbound 0"
    site.clock.now += 30
    assert page(browser.get("/")) == "bob unbound 0"

    assert not browser.offers


def test_a_former_id_that_was_not_bound_does_not_open(site: BoundSite) -> None:
    """The seconds of grace are for requests that were on their way while the session was bound, and for no other change."""
    browser = site.browser(registers=False)
    browser.post("/login")
    thief = browser.copy()
    browser.post("/regenerate")
    assert page(thief.get("/")) == "None unbound 0"

    thief = browser.copy()
    browser.post("/login/bob")
    assert page(thief.get("/")) == "None unbound 0"


def test_several_cookies_of_one_name_are_nobodys(store_site: BoundSite) -> None:
    """Beside a bound cookie as well: none is taken for the former one."""
    browser = store_site.logged_in()
    pairs = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items() if "bound" in name)
    header = f"__Host-Http-session={'A' * 43}; __Host-Http-session={'B' * 42}A; {pairs}"

    assert store_site.sessions.open(header).subject is None


def test_one_of_several_bound_cookies_is_enough(site: BoundSite) -> None:
    """Junk beside the good one does not matter."""
    browser = site.logged_in()
    (binding,) = browser.bindings.values()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())
    junk = f"{binding.cookie}={'A' * 120}; {binding.cookie}=x"

    assert site.sessions.open(f"{junk}; {header}").binding == "bound"


def test_another_commit_of_the_same_request_makes_the_same_offer(site: BoundSite) -> None:
    """Some frameworks commit twice, and send what the second says."""
    session = site.sessions.open()
    session.login("alice")
    first = site.sessions.commit(session)
    session["more"] = 1

    assert [*first][-1] != ()
    assert site.sessions.commit(session).headers == first.headers != ()


def test_a_logout_that_was_not_bound_clears_its_own_cookie_alone(site: BoundSite) -> None:
    """There is nothing of a binding to clear."""
    browser = site.browser(registers=False)
    browser.post("/login")

    answer = browser.post("/logout")

    assert [value.partition("=")[0] for name, value in answer.headers if name == "Set-Cookie"] == [
        "__Host-Http-session"
    ]


def test_one_of_several_key_cookies_is_enough(site: BoundSite) -> None:
    """Junk beside the good one does not keep the session from being bound."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    (key,) = [name for name, _ in browser.cookies if "-key-" in name]
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())

    assert site.sessions.open(f"{key}=x; {header}").binding == "bound"

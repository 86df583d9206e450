"""What goes wrong between a browser and the site, and logs nobody out."""

from __future__ import annotations

from typing import Any

import pytest
from tests.binding.kit import EVERY, GRACE, BoundSite, page
from tests.kit import OTHER_KEY

from hardtack import EndedSessions
from hardtack.binding import DeviceBinding
from hardtack.events import Bound, Rejected
from hardtack.testing import DbscClient


def lost(site: BoundSite, browser: DbscClient, path: str, asked: str) -> None:
    """The answer to `path` is lost, while the browser asks for a page."""
    site.wire.lose = path
    try:
        browser.get(asked)
    except ConnectionResetError:
        assert path == asked
    assert not site.wire.lose


def test_a_lost_answer_to_the_login(site: BoundSite) -> None:
    """The user logs in again."""
    browser = site.browser()
    lost(site, browser, "/login", "/login")

    assert page(browser.post("/login")) == "alice bound 0"


def test_a_lost_answer_to_the_registration(site: BoundSite) -> None:
    """The session goes on unbound, and is bound by the next offer."""
    browser = site.browser()
    site.wire.lose = "/start"
    assert page(browser.post("/login")) == "alice unbound 0"
    assert not browser.bindings

    site.clock.now += 30
    browser.get("/")

    assert page(browser.get("/")) == "alice bound 0"


def test_a_lost_answer_to_the_request_that_binds(site: BoundSite) -> None:
    """The browser comes with the former cookie beside the bound one, and is told the new one again, however late."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    lost(site, browser, "/count", "/count")

    site.clock.now += 200

    lost_too = 0 if site.shares else 1
    assert page(browser.get("/count")) == f"alice bound {2 - lost_too}"
    assert page(browser.get("/count")) == f"alice bound {3 - lost_too}"
    assert len(site.told(Bound)) == 1


def test_a_lost_answer_to_the_request_that_binds_and_hours_of_silence(site: BoundSite) -> None:
    """The bound cookie is gone by then: the former cookie and the key are enough to prove it again."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    lost(site, browser, "/", "/")

    site.clock.now += 7200

    assert page(browser.get("/")) == "alice bound 0"


def test_hours_of_silence_between_the_registration_and_the_first_request(site: BoundSite) -> None:
    """The key is proved again before the session is bound at all."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()

    site.clock.now += 7200

    assert page(browser.get("/")) == "alice bound 0"


def test_a_lost_answer_to_a_proof(site: BoundSite) -> None:
    """The page goes out without a proof, and is served to read; the next one is proved."""
    browser = site.logged_in()
    site.clock.now += EVERY + GRACE
    site.wire.lose = "/refresh"

    answer = browser.get("/")

    assert browser.skipped == "unreachable"
    assert page(answer) == "alice unproven 0"
    assert page(browser.get("/count")) == "alice bound 1"


def test_a_write_without_a_proof_is_to_come_again(site: BoundSite) -> None:
    """Where the browser says that it could not prove its key, nothing is changed, and nothing is said to be."""
    browser = site.logged_in()
    site.clock.now += EVERY + GRACE
    site.wire.answer["/refresh"] = 502

    answer = browser.post("/count")

    assert browser.skipped == "server_error"
    assert answer.status == 503
    assert answer.get("Set-Cookie") is None
    site.wire.answer.clear()
    assert page(browser.post("/count")) == "alice bound 1"


@pytest.mark.parametrize("path", ["/login/mallory", "/logout", "/regenerate", "/confirm"])
def test_the_word_of_the_client_lets_nothing_pass(site: BoundSite, path: str) -> None:
    """A thief that says it was skipped reads what was copied, and changes nothing."""
    browser = site.logged_in()
    thief = browser.copy()
    site.clock.now += EVERY + GRACE

    answer = thief.request("POST", path, headers=[("Secure-Session-Skipped", "server_error")])

    assert answer.status == 503
    assert page(browser.get("/")) == "alice bound 0"


def test_an_unproven_request_that_comes_early(site: BoundSite) -> None:
    """A frozen tab, or a browser that has not read its bindings yet: it sees nobody, and the next request is proved."""
    browser = site.logged_in()
    early = browser.copy()
    site.clock.now += EVERY + GRACE

    answer = early.get("/")

    assert page(answer) == "None unproven 0"
    assert answer.get("Set-Cookie") is None
    assert page(browser.get("/")) == "alice bound 0"


def test_two_tabs_that_prove_at_once(site: BoundSite) -> None:
    """The answer to a challenge that was answered already is as good, and so is one to an older challenge."""
    browser = site.logged_in()
    tab = browser.copy()
    tab.bindings = dict(browser.bindings)
    site.clock.now += EVERY + 1

    assert browser.refresh(now=True) == ""
    assert tab.refresh(now=True) == ""
    assert page(tab.get("/")) == page(browser.get("/")) == "alice bound 0"


def test_two_tabs_that_bind_at_once(site: BoundSite) -> None:
    """Both come with the former cookie beside the bound one, and agree on the id."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    tab = browser.copy()
    tab.bindings = dict(browser.bindings)

    assert page(browser.get("/count")) == "alice bound 1"
    assert page(tab.get("/count")) == f"alice bound {2 if site.shares else 1}"
    assert page(browser.get("/")).startswith("alice bound")
    assert page(tab.get("/")).startswith("alice bound")
    assert len(site.told(Bound)) == 1


def test_requests_that_open_at_once_agree(store_site: BoundSite) -> None:
    """Both have read the store before either has bound the session: the slower finds what the faster has made."""
    site = store_site
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())
    store: Any = site.engine.store
    get, other = store.get, []

    def get_slowly(key: str) -> object:
        entry = get(key)
        store.get = get
        other.append(site.sessions.open(header).binding)
        return entry

    store.get = get_slowly
    session = site.sessions.open(header)

    assert session.binding == "bound"
    assert other == ["bound"]
    assert session.subject == "alice"


def test_what_is_saved_while_the_session_is_bound_is_kept(store_site: BoundSite) -> None:
    """A request that opened it before, and saves after, has its data in the bound session, or is told."""
    site = store_site
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())
    plain = "; ".join(pair for pair in header.split("; ") if "bound" not in pair)
    store: Any = site.engine.store
    get = store.get

    def get_slowly(key: str) -> object:
        entry = get(key)
        store.get = get
        before = site.sessions.open(plain)
        before["count"] = 7
        site.sessions.commit(before)
        return entry

    store.get = get_slowly
    session = site.sessions.open(header)

    assert session.binding == "bound"
    assert session["count"] == 7


def test_a_session_that_ends_while_it_is_bound_is_over(store_site: BoundSite) -> None:
    """A logout in another tab wins."""
    site = store_site
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())
    store: Any = site.engine.store
    get = store.get

    def get_slowly(key: str) -> object:
        entry = get(key)
        store.get = get
        site.sessions.end_all("alice")
        return entry

    store.get = get_slowly
    session = site.sessions.open(header)

    assert (session.subject, session.binding) == (None, "unbound")
    assert not site.told(Bound)


def test_a_failed_page_that_binds(site: BoundSite) -> None:
    """An exception in the handler saves nothing, and the next page finds the session bound."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    with pytest.raises(RuntimeError):
        browser.get("/fail")

    assert page(browser.get("/")) == "alice bound 0"


def test_a_session_that_has_just_changed_its_id_is_asked_again(site: BoundSite) -> None:
    """A proof that was on its way while another tab got a new id is answered by a challenge, not by an end."""
    browser = site.logged_in()
    tab = browser.copy()
    tab.bindings = dict(browser.bindings)
    browser.post("/regenerate")
    site.clock.now += 5

    tab.refresh(now=True)

    assert tab.bindings
    assert page(browser.get("/")) == "alice bound 0"


def test_a_server_with_another_key_is_no_end(site: BoundSite) -> None:
    """A proof that reaches a server that cannot read the tokens is asked for again, and its cookie is good nowhere else."""
    browser = site.logged_in()
    right = site.wire.send
    site.wire.send = site.deploy(site.manager(DeviceBinding(keys=OTHER_KEY)))
    site.clock.now += EVERY + GRACE

    browser.get("/")
    assert browser.bindings
    site.wire.send = right
    site.clock.now += EVERY + 1
    assert page(browser.get("/")) == "alice bound 0"


def test_a_rolled_back_deploy(site: BoundSite) -> None:
    """Without binding the session opens as any other, the browser keeps its key, and proves it when binding is back."""
    browser = site.logged_in()
    (binding,) = browser.bindings
    site.wire.send = site.deploy(site.manager(None))
    site.clock.now += EVERY + GRACE

    assert page(browser.get("/count")) == "alice unbound 1"
    assert browser.skipped == "server_error"
    for path in ("/regenerate", "/confirm", "/login/alice"):
        assert page(browser.post(path)) == "alice unbound 1"
    site.wire.send = site.deploy(site.sessions)
    assert page(browser.get("/count")) == "alice bound 2"
    assert list(browser.bindings) == [binding]


def test_a_deploy_that_is_rolled_back_between_the_registration_and_the_first_request(site: BoundSite) -> None:
    """The session is bound when binding is back, and to the key that was registered."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    (binding,) = browser.bindings
    site.wire.send = site.deploy(site.manager(None))
    site.clock.now += EVERY + GRACE
    assert page(browser.get("/count")) == "alice unbound 1"

    site.wire.send = site.deploy(site.sessions)

    assert page(browser.get("/")) == "alice bound 1"
    assert [event.binding_id for event in site.told(Bound)] == [binding]


def test_a_deploy_that_is_rolled_back_and_changes_the_id_of_an_unbound_session(site: BoundSite) -> None:
    """The key was registered for the former id: the session goes on unbound, and the browser forgets the key."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    site.wire.send = site.deploy(site.manager(None))
    assert page(browser.post("/regenerate")) == "alice unbound 0"
    site.clock.now += EVERY + GRACE

    site.wire.send = site.deploy(site.sessions)

    assert page(browser.get("/")) == "alice unbound 0"
    assert not browser.bindings


@pytest.mark.parametrize("path", ["/logout", "/login/bob"])
def test_a_session_that_ends_while_the_deploy_is_rolled_back_ends_its_binding(site: BoundSite, path: str) -> None:
    """Nothing of the next user's session is asked of the former one's key."""
    browser = site.logged_in()
    site.wire.send = site.deploy(site.manager(None))
    browser.post(path)
    site.wire.send = site.deploy(site.sessions)
    site.clock.now += EVERY + GRACE

    assert page(browser.get("/")) == ("None unbound 0" if path == "/logout" else "bob unbound 0")
    assert not browser.bindings


def test_a_store_that_cannot_answer_is_no_end(store_site: BoundSite) -> None:
    """The proof is answered 503."""
    site = store_site
    from hardtack.errors import StoreUnavailable

    browser = site.logged_in()
    store: Any = site.engine.store
    site.clock.now += EVERY + GRACE
    get = store.get

    def fail(key: str) -> object:
        raise StoreUnavailable("down")

    store.get = fail
    assert browser.refresh(now=True) == "server_error"
    assert browser.bindings
    store.get = get
    assert page(browser.get("/")) == "alice bound 0"


def test_a_quota_that_is_used_up_reads(site: BoundSite) -> None:
    """The browser says so, and its requests are served to read."""
    browser = site.logged_in()
    for _ in range(5):
        browser.refresh(now=True)
    site.clock.now += EVERY + GRACE

    assert page(browser.get("/")) == "alice unproven 0"
    assert browser.skipped == "quota_exceeded"
    site.clock.now += 200
    assert page(browser.get("/")) == "alice bound 0"


def test_an_expired_session_ends_the_binding(site: BoundSite) -> None:
    """Nothing would ever prove it again."""
    browser = site.logged_in()
    site.clock.now += 15 * 86400

    assert page(browser.get("/")) == "None unbound 0"
    assert not browser.bindings
    assert site.told(Rejected)[-1].reason == "unknown_id" if site.told(Rejected) else True


def test_requests_that_bind_at_the_same_moment_agree(store_site: BoundSite) -> None:
    """Both are about to move the session: the slower finds what the faster has made."""
    site = store_site
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())
    store: Any = site.engine.store
    rename, other = store.rename, []

    def rename_slowly(*args: Any, **named: Any) -> Any:
        store.rename = rename
        other.append(site.sessions.open(header).id)
        return rename(*args, **named)

    store.rename = rename_slowly
    session = site.sessions.open(header)

    assert session.binding == "bound"
    assert other == [session.id]


def test_a_key_cookie_that_is_lost_before_the_session_is_bound(site: BoundSite) -> None:
    """The binding ends in the browser, and the session goes on unbound."""
    browser = site.browser(registers=False)
    browser.post("/login")
    browser.register()
    browser.cookies = {place: cookie for place, cookie in browser.cookies.items() if "-key-" not in place[0]}
    site.clock.now += EVERY + 1

    assert page(browser.get("/")) == "alice unbound 0"
    assert not browser.bindings


def test_a_restarted_server(site: BoundSite) -> None:
    """Nothing of a binding is in its memory."""
    browser = site.logged_in()
    waiting = site.browser(registers=False)
    waiting.post("/login")
    waiting.register()
    if not site.shares:
        site.options["ended"] = EndedSessions.from_url("memory://", max_stale="20 days")

    site.wire.send = site.deploy(site.manager(DeviceBinding(every=EVERY)))

    assert page(waiting.get("/")) == "alice bound 0"
    site.clock.now += EVERY + 1
    assert page(browser.get("/")) == "alice bound 0"
    assert page(waiting.get("/")) == "alice bound 0"

"""A proof at the moment of a dangerous action."""

from __future__ import annotations

import pytest
from tests.binding.kit import EVERY, BoundSite, page

from hardtack import Request, errors
from hardtack.binding.prove import PARAMETER


def test_the_browser_proves_its_key_and_sends_the_request_again(site: BoundSite) -> None:
    """With its body, and its query."""
    browser = site.logged_in()
    signed = len(browser.signed)

    answer = browser.post("/prove?amount=100", b"pay")

    assert page(answer) == "True pay"
    assert len(browser.signed) == signed + 1
    assert [url for _, url, _ in site.wire.sent if "/prove" in url][-1].startswith(
        f"https://example.org/prove?amount=100&{PARAMETER}="
    )


def test_an_unbound_session_proves_nothing(site: BoundSite) -> None:
    """Without a redirect."""
    browser = site.browser(registers=False)
    browser.post("/login")

    assert page(browser.post("/prove")) == "False "


def test_an_unproven_session_proves_nothing(site: BoundSite) -> None:
    """Nor does a manager without binding."""
    assert page(BoundSite(binding=None).browser().post("/prove")) == "False "


def test_a_copied_pair_proves_nothing(site: BoundSite) -> None:
    """The thief is sent back too, and has no key."""
    browser = site.logged_in()
    thief = browser.copy()
    kept = {place: cookie for place, cookie in thief.cookies.items() if "bound" in place[0]}
    site.clock.now += 1

    moved = thief._send("POST", "https://example.org/prove", [], b"")
    assert moved.status == 307
    thief.cookies.update(kept)  # what the answer cleared
    location = moved.get("Location")
    assert location is not None

    assert page(thief.request("POST", location)) == "False "


@pytest.mark.parametrize("mark", ["", "x", "AAAA", "%00", "é"])
def test_a_mark_of_ones_own_proves_nothing(site: BoundSite, mark: str) -> None:
    """It is none, and the request is not sent back for ever."""
    browser = site.logged_in()

    assert page(browser.post(f"/prove?{PARAMETER}={mark}")) == "False "


def test_a_mark_is_good_for_a_minute_and_for_its_own_binding(site: BoundSite) -> None:
    """Neither an old one nor another browser's counts."""
    browser, other = site.logged_in(), site.logged_in()
    assert page(browser.post("/prove")) == "True "
    marked = site.wire.sent[-1][1]
    site.clock.now += 1

    assert page(other.post(marked)) == "False "
    assert page(browser.post(marked)) == "True "
    site.clock.now += 60
    assert page(browser.post(marked)) == "False "


def test_a_path_with_two_slashes_is_no_other_host(site: BoundSite) -> None:
    """The redirect stays on the site."""
    browser = site.logged_in()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())
    session = site.sessions.open(header, Request(method="POST", path="//evil.example/\r\nx é", query="a=1"))

    with pytest.raises(errors.ProofNeeded) as raised:
        session.prove()

    assert raised.value.location.startswith("/evil.example/%0D%0Ax%20%C3%A9?a=1&")


def test_without_a_path_there_is_nowhere_to_send_it(site: BoundSite) -> None:
    """The adapter has to say where the request went."""
    browser = site.logged_in()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())

    for request in (None, Request()):
        with pytest.raises(errors.ConfigError, match="path="):
            site.sessions.open(header, request).prove()


def test_a_browser_that_cannot_prove_now_is_told(site: BoundSite) -> None:
    """The server fails at the proof: the session can be read, and proves nothing."""
    browser = site.logged_in()
    site.wire.answer["/refresh"] = 500
    site.clock.now += EVERY

    assert page(browser.post("/prove")) == "False "

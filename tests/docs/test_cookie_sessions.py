"""What docs/cookie-sessions.md says of cookie sessions is so: the limits as well as the promises."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit import KEY, Site

from hardtack import CookieEngine, EndedSessions, StoreEngine
from hardtack.errors import SessionTooLarge
from hardtack.events import Destroyed, Rejected
from hardtack.stores.memory import MemoryStore


def copied_before_logout(site: Site) -> str | None:
    """Who a copy of the cookie is after the logout of the browser that it was copied from."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    copy = site.jar.header
    session = site.open()
    session.logout()
    site.commit(session)
    subject: str | None = site.sessions.open(copy).subject
    return subject


def test_a_copied_cookie_survives_the_logout() -> None:
    """The page says it plainly, and so does the event."""
    site = Site()

    assert copied_before_logout(site) == "alice"
    assert site.told(Destroyed)[-1].old_still_valid


def test_a_copied_cookie_dies_at_its_deadline() -> None:
    """Not later than the lifetime allows."""
    site = Site(lifetime="1 hour")
    session = site.open()
    session.login("alice")
    site.commit(session)

    site.clock.now += 3600

    assert site.open().subject is None


def test_a_list_of_ended_sessions_ends_the_copy() -> None:
    """With a list of ended sessions the copy is refused, and an event says why."""
    site = Site(ended=EndedSessions.from_url("memory://"))

    assert copied_before_logout(site) is None
    assert site.told(Rejected)[-1] == Rejected("revoked", "__Host-Http-session")
    assert not site.told(Destroyed)[-1].old_still_valid
    site.sessions.close()


def test_a_store_ends_the_copy() -> None:
    """The same on a store, without a list."""
    assert copied_before_logout(Site(StoreEngine(MemoryStore()))) is None


def test_an_older_cookie_has_the_older_data() -> None:
    """What must only go forward does not belong into a cookie."""
    site = Site()
    site.visit(tries=3)
    before = site.jar.header
    site.visit(tries=0)

    assert site.sessions.open(before)["tries"] == 3


@pytest.mark.parametrize(("engine", "kept"), [("cookie", {"b"}), ("store", {"a", "b"})])
def test_of_two_requests_at_once_a_cookie_keeps_one(engine: str, kept: set[str]) -> None:
    """The browser keeps the answer that came last; a store merges."""
    site = Site(StoreEngine(MemoryStore()) if engine == "store" else None)
    site.visit(begun=True)
    one, other = site.open(), site.open()

    one["a"] = 1
    other["b"] = 1
    site.commit(one)
    site.commit(other)

    assert set(site.open()) == {"begun"} | kept


@pytest.mark.parametrize(
    ("settings", "fits"), [({}, 2500), ({"max_set_cookie": 4096}, 2900), ({"overflow": "chunk"}, 5800)]
)
def test_some_bytes_fit(settings: dict[str, Any], fits: int) -> None:
    """As many as the page says, of one text, with the default cookie; a hundred bytes more do not."""
    site = Site(CookieEngine(KEY, **settings))
    site.visit(text="x" * fits)

    with pytest.raises(SessionTooLarge, match="'text'"):
        site.visit(text="x" * (fits + 100))

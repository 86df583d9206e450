"""Sites on both engines: what is stored, and what is in the cookies themselves beside a list of what has ended."""

from __future__ import annotations

import threading

import pytest
from tests.binding.kit import BoundSite
from tests.kit import KEY, START

from hardtack import CookieEngine
from hardtack.ended import follower
from hardtack.ended import list as ended_list
from hardtack.ended.channels import memory


@pytest.fixture(params=["store", "cookie"])
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BoundSite:
    """A site; the list's clock runs with the test's."""
    if request.param == "store":
        return BoundSite()
    site = BoundSite(CookieEngine(KEY))
    clock, now, seen = follower.clock, memory._now, threading.local()

    def channels() -> int:
        seen.ahead = site.clock.now - START
        return now() + int(seen.ahead * 1_000_000)

    def own() -> float:
        # Where a test turns the clock while the list's thread has just read the channel's, that thread sees one time.
        in_tests = threading.current_thread() is threading.main_thread()
        return clock() + (site.clock.now - START if in_tests else getattr(seen, "ahead", 0.0))

    monkeypatch.setattr(follower, "clock", own)
    monkeypatch.setattr(ended_list, "clock", own)
    monkeypatch.setattr(memory, "_now", channels)
    return site


@pytest.fixture
def store_site() -> BoundSite:
    """A site whose sessions are in a store."""
    return BoundSite()

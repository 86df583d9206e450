"""Sites on both engines: what is stored, and what is in the cookies themselves beside a list of what has ended."""

from __future__ import annotations

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
    clock, now = follower.clock, memory._now

    def ahead() -> float:
        return site.clock.now - START

    monkeypatch.setattr(follower, "clock", lambda: clock() + ahead())
    monkeypatch.setattr(ended_list, "clock", lambda: clock() + ahead())
    monkeypatch.setattr(memory, "_now", lambda: now() + int(ahead() * 1_000_000))
    return site


@pytest.fixture
def store_site() -> BoundSite:
    """A site whose sessions are in a store."""
    return BoundSite()

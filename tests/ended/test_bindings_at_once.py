"""Two servers bind one session in its cookie at the same moment, to two keys: the channel says who was first, and one is bound."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.binding.kit import EVERY, GRACE, BoundSite, page
from tests.ended.kit import SHARED

from hardtack import CookieEngine, EndedSessions
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.events import Bound, ProofFailed
from hardtack.session import Session
from hardtack.testing import DbscClient
from tests.kit import KEY

Servers = tuple[BoundSite, BoundSite]


def server(ended: EndedSessions, purpose: str) -> BoundSite:
    """One of several servers of a site."""
    return BoundSite(CookieEngine(KEY), ended=ended, purpose=purpose)


@pytest.fixture(params=["memory", *SHARED])
def servers(
    request: pytest.FixtureRequest, channel_url: Callable[[str], str], purpose: str, tmp_path: Any
) -> Iterator[Servers]:
    """Two servers of a site, each with its own list on one channel."""
    if request.param == "memory":
        channel = MemoryChannel()
        lists = [EndedSessions(lambda purpose: channel) for _ in range(2)]
    else:
        url = channel_url(request.param)
        lists = [EndedSessions.from_url(url, snapshots=tmp_path / "snapshots") for _ in range(2)]
    one, other = (server(each, purpose) for each in lists)
    lists[0].create()
    for each in lists:
        each.start()
    yield one, other
    for each in lists:
        each.close()


def cookies_of(browser: DbscClient) -> str:
    """The Cookie header of a browser."""
    return "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())


def user_and_thief(site: BoundSite) -> tuple[DbscClient, DbscClient]:
    """Two browsers with one unbound session, each of which has registered a key of its own for it."""
    user = site.browser(registers=False)
    user.post("/login")
    thief = user.copy()
    thief.offers = list(user.offers)
    user.register()
    thief.register()
    assert user.bindings
    assert thief.bindings
    assert user.bindings.keys() != thief.bindings.keys()
    return user, thief


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return that begin at the same moment."""
    barrier = threading.Barrier(len(calls))

    def call(function: Callable[[], Any]) -> Any:
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_of_two_keys_at_two_servers_one_is_bound(servers: Servers) -> None:
    """On every channel: whose claim the channel has first; the other's cookie is dead, and he is told so by an event."""
    one, other = servers
    for _ in range(5):
        user, thief = user_and_thief(one)
        headers = [cookies_of(user), cookies_of(thief)]

        def visit(site: BoundSite, header: str) -> Session:
            session = site.sessions.open(header)
            session["seen"] = True
            return session

        sessions = at_once(lambda: visit(one, headers[0]), lambda: visit(other, headers[1]))

        assert sorted(each.binding for each in sessions) == ["bound", "unbound"]
        bound = next(each for each in sessions if each.binding == "bound")
        loser = next(each for each in sessions if each.binding != "bound")
        assert (bound.subject, loser.subject) == ("alice", None)

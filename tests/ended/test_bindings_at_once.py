"""Two servers bind one session in its cookie at the same moment, to two keys: the channel says which of them is bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.binding.kit import BoundSite, page
from tests.ended.kit import SHARED, eventually
from tests.kit import KEY

from hardtack import CookieEngine, EndedSessions, Session
from hardtack.adapters import preload
from hardtack.binding import DeviceBinding
from hardtack.binding import open as binding_open
from hardtack.ended.channels import memory
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.protocol import Batch
from hardtack.errors import StoreUnavailable
from hardtack.events import Bound, ProofFailed, Rejected, StoreFailed
from hardtack.testing import DbscClient

Servers = tuple[BoundSite, BoundSite]


class Slow(MemoryChannel):
    """A channel whose followers read nothing, as if all of them were late; who does not wait for entries reads them."""

    alone = False
    late = True
    down = False
    """Neither appends nor reads."""
    silent = False
    """What is appended is kept, and the answer gets lost."""
    swallows = False
    """What is appended is gone, as after a server that took over."""

    def append(self, make: Any, keep: Any) -> None:
        self._check()
        if self.swallows:
            make(memory._now())
            return
        super().append(make, keep)
        if self.silent:
            raise StoreUnavailable("the answer was lost")

    def read(self, position: str, wait: float) -> Batch:
        self._check()
        if wait and self.late:
            time.sleep(0.005)
            return Batch([], position, memory._now(), self._origin)
        return super().read(position, min(wait, 0.05))

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("down")


def server(ended: EndedSessions, purpose: str = "", **options: Any) -> BoundSite:
    """One of several servers of a site."""
    return BoundSite(CookieEngine(KEY), ended=ended, purpose=purpose, **options)


@pytest.fixture
def channel() -> Slow:
    """A channel whose followers are late."""
    return Slow()


@pytest.fixture
def make(channel: Slow, tmp_path: Path) -> Iterator[Callable[..., BoundSite]]:
    """Makes servers that share the channel."""
    lists: list[EndedSessions] = []

    def make(**options: Any) -> BoundSite:
        ended = EndedSessions(lambda purpose: channel, snapshots=tmp_path / "snapshots")
        lists.append(ended)
        made = server(ended, **options)
        ended.create()
        ended.start()
        return made

    yield make
    for each in lists:
        each.close()


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


def visit(site: BoundSite, header: str) -> tuple[Session, list[str]]:
    """A page of a browser with these cookies, which looks at its session; and its Set-Cookie lines."""
    session = site.sessions.open(header)
    session.get("seen")
    return session, site.sessions.commit(session).set_cookies


def in_header(lines: list[str]) -> str:
    """The cookies that were set, as a browser sends them."""
    return "; ".join(line.partition(";")[0] for line in lines if "Max-Age=0" not in line)


def proofs(header: str) -> str:
    """What a Cookie header has beside the session."""
    return "; ".join(pair for pair in header.split("; ") if "-bound-" in pair or "-key-" in pair)


# --- two keys


def test_of_two_keys_at_two_servers_one_is_bound(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every channel: whose claim it has first. The other's cookie is dead on both servers, and an event tells of him."""
    monkeypatch.setattr(binding_open, "LATE", 0)
    one, other = servers
    for turn in range(3):
        headers = list(map(cookies_of, user_and_thief(one)))
        answers = at_once(lambda: visit(one, headers[0]), lambda: visit(other, headers[1]))  # noqa: B023

        winner, loser = sorted(range(2), key=lambda number: answers[number][0].binding)
        (bound, lines), (nobody, nothing) = answers[winner], answers[loser]
        assert (bound.subject, bound.binding) == ("alice", "bound")
        assert (nobody.subject, nobody.binding, nothing) == (None, "unbound", [])
        # Whose claim came second is told so; who has come after the other's was read finds an id that has ended.
        told = [event.reason for kind in (ProofFailed, Rejected) for event in servers[loser].told(kind)]
        assert told
        assert set(told) <= {"bound", "revoked"}
        assert len([event for site in servers for event in site.told(Bound)]) == turn + 1
        good = f"{in_header(lines)}; {proofs(headers[winner])}"
        for site in servers:
            assert visit(site, good)[0].binding == "bound"
            eventually(lambda: visit(site, headers[loser])[0].subject is None)  # noqa: B023
            eventually(lambda: visit(site, headers[winner])[0].id == bound.id)  # noqa: B023


def test_a_server_that_has_read_nothing_yet_asks_the_channel(make: Callable[..., BoundSite]) -> None:
    """Its own list still lets the former id live: what counts is what the channel has."""
    one, other = make(), make()
    user, thief = user_and_thief(one)
    assert visit(one, cookies_of(user))[0].binding == "bound"

    session, lines = visit(other, cookies_of(thief))

    assert (session.subject, session.binding, lines) == (None, "unbound", [])
    assert [event.reason for event in other.told(ProofFailed)] == ["bound"]


def test_a_thief_that_lost_cannot_renew_his_proof(
    make: Callable[..., BoundSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    """He is given a challenge and no cookie, and the user's binding goes on."""
    monkeypatch.setattr(binding_open, "LATE", 0)
    one, other = make(), make()
    user, thief = user_and_thief(one)
    assert page(user.get("/")) == "alice bound 0"
    thief.send = other.wire
    assert page(thief.get("/")) == "None unbound 0"
    cookies = cookies_of(thief)

    thief.refresh(now=True)

    assert other.told(ProofFailed)[-1].reason == "unknown"
    assert cookies_of(thief) == cookies
    user.refresh(now=True)
    assert page(user.get("/count")) == "alice bound 1"


def test_one_key_at_two_servers_is_one_session(servers: Servers) -> None:
    """Two tabs of the browser: both are bound, and agree on the id."""
    one, other = servers
    user, _ = user_and_thief(one)
    header = cookies_of(user)

    (first, lines), (second, more) = at_once(lambda: visit(one, header), lambda: visit(other, header))

    assert first.binding == second.binding == "bound"
    assert first.id == second.id
    for site in servers:
        assert visit(site, f"{in_header(lines)}; {proofs(header)}")[0].subject == "alice"
        assert visit(site, f"{in_header(more)}; {proofs(header)}")[0].subject == "alice"


# --- a new id at another server


def test_who_changes_the_id_at_a_server_that_has_not_read_of_the_binding_gets_nothing(
    make: Callable[..., BoundSite],
) -> None:
    """A thief with the copied cookie would else go on unbound, and bind a key of his own with the next offer."""
    one, other = make(), make()
    user, thief = user_and_thief(one)
    assert page(user.get("/")) == "alice bound 0"
    thief.send = other.wire
    thief.bindings.clear()
    thief.cookies = {place: each for place, each in thief.cookies.items() if "-bound-" not in place[0]}
    before = cookies_of(thief)

    assert thief.post("/regenerate").status == 409

    assert cookies_of(thief) == before
    assert page(thief.get("/")) in ("None unbound 0", "alice unbound 0")
    assert page(user.get("/count")) == "alice bound 1"


def test_a_session_that_got_another_id_at_another_server_is_not_bound(
    make: Callable[..., BoundSite], channel: Slow
) -> None:
    """Whose server has not read of it yet. It goes on under the other id, and is bound by the next offer."""
    one, other = make(), make()
    user, thief = user_and_thief(one)
    session = other.sessions.open(cookies_of(user).partition("; ")[0])
    session.regenerate()
    moved = in_header(other.sessions.commit(session).set_cookies)

    assert visit(one, cookies_of(thief))[0].subject is None
    assert not one.told(Bound)
    channel.late = False
    for site in (one, other):
        eventually(lambda: visit(site, moved)[0].subject == "alice")  # noqa: B023
        eventually(lambda: visit(site, cookies_of(user))[0].subject is None)  # noqa: B023
        assert visit(site, f"{moved}; {proofs(cookies_of(user))}")[0].binding == "unbound"


def test_a_new_id_asks_nobody_where_nothing_can_be_bound(make: Callable[..., BoundSite], channel: Slow) -> None:
    """Of a session that is bound, of one whose time to register is over, and with a manager without binding."""
    reads: list[float] = []
    read = channel.read

    def counted(position: str, wait: float) -> Batch:
        if not wait:
            reads.append(wait)
        return read(position, wait)

    one, plain = make(), make(binding=None)
    user, _ = user_and_thief(one)
    assert page(user.get("/")) == "alice bound 0"
    old = one.browser(registers=False)
    old.post("/login")
    one.clock.now += 3600
    user.refresh(now=True)
    session = plain.sessions.open()
    session.login("alice")
    header = in_header(plain.sessions.commit(session).set_cookies)
    channel.read = counted  # type: ignore[method-assign]

    assert page(user.post("/regenerate")) == "alice bound 0"
    assert page(old.post("/regenerate")) == "alice unbound 0"
    session = plain.sessions.open(header)
    session.regenerate()
    assert plain.sessions.commit(session).set_cookies
    assert not reads


def test_a_new_id_while_the_channel_is_away(make: Callable[..., BoundSite], channel: Slow) -> None:
    """As ever: it is known here, and told later. Nobody binds the session meanwhile."""
    one = make()
    user = one.browser(registers=False)
    user.post("/login")
    former = cookies_of(user)
    channel.down = True

    assert page(user.post("/regenerate")) == "alice unbound 0"
    assert one.sessions.open(former).subject is None
    channel.down = False
    assert page(user.get("/")) == "alice unbound 0"


# --- a session that ends meanwhile


@pytest.mark.parametrize("end", ["logout", "end", "end_all"])
def test_a_session_that_ended_at_another_server_is_not_bound(make: Callable[..., BoundSite], end: str) -> None:
    """The end is in the channel, and not read yet by the server that binds: the claim reads it."""
    one, other = make(), make()
    user, _ = user_and_thief(one)
    header = cookies_of(user)
    session = other.sessions.open(header.partition("; ")[0])
    assert session.subject == "alice"
    if end == "logout":
        session.logout()
        other.sessions.commit(session)
    elif end == "end":
        other.sessions.end(session.id)
    else:
        other.sessions.end_all("alice")

    session, _ = visit(one, header)

    assert (session.subject, session.binding) == (None, "unbound")
    assert not one.told(Bound)


@pytest.mark.parametrize("end", ["logout", "end", "end if it is hers"])
def test_an_end_at_a_server_that_has_not_read_the_binding_reaches_the_bound_session(
    make: Callable[..., BoundSite], channel: Slow, end: str
) -> None:
    """It names the id from before: once everybody has read it, the session is nobody's under the new one too."""
    one, other = make(), make()
    user, _ = user_and_thief(one)
    session = other.sessions.open(cookies_of(user).partition("; ")[0])
    assert session.subject == "alice"
    assert page(user.get("/")) == "alice bound 0"
    if end == "logout":
        session.logout()
        other.sessions.commit(session)
    else:
        assert other.sessions.end(session.id, subject=None if end == "end" else "alice")

    channel.late = False

    for site in (one, other):
        eventually(lambda: visit(site, cookies_of(user))[0].subject is None)  # noqa: B023


def test_an_end_of_another_user_does_not_reach_the_bound_session(make: Callable[..., BoundSite], channel: Slow) -> None:
    """What an end asks of the former session it asks of the bound one."""
    one = make()
    user, _ = user_and_thief(one)
    former = one.sessions.open(cookies_of(user).partition("; ")[0]).id
    assert page(user.get("/")) == "alice bound 0"

    one.sessions.end(former, subject="bob")

    assert page(user.get("/")) == "alice bound 0"


@pytest.mark.parametrize("late", [10, 0])
def test_a_logout_that_comes_with_the_id_from_before_the_binding_ends_the_bound_session(
    make: Callable[..., BoundSite], monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """It was on its way while the session was bound, as on a store; a login in its place ends nothing."""
    monkeypatch.setattr(binding_open, "LATE", late)
    one = make()
    user, _ = user_and_thief(one)
    former = cookies_of(user).partition("; ")[0]
    assert page(user.get("/")) == "alice bound 0"
    for action in ("login", "logout"):
        assert page(user.get("/")) == "alice bound 0"
        session = one.sessions.open(former)
        assert session.subject == ("alice" if late else None)
        session.login("bob") if action == "login" else session.logout()
        one.sessions.commit(session)

    assert visit(one, cookies_of(user))[0].subject is None


def test_a_session_that_is_spared_at_another_server_is_bound(make: Callable[..., BoundSite]) -> None:
    """All others of the user have ended, which the server that binds has not read: the claim reads it, and spares it too."""
    one, other = make(), make()
    user, _ = user_and_thief(one)
    header = cookies_of(user)
    other.sessions.end_all("alice", keep=other.sessions.open(header.partition("; ")[0]).id)

    assert (visit(one, header)[0].subject, visit(one, header)[0].binding) == ("alice", "bound")


def test_the_former_id_of_a_bound_session_that_has_ended_opens_nothing(make: Callable[..., BoundSite]) -> None:
    """Not in the seconds either in which requests are served that were on their way."""
    one = make()
    user, _ = user_and_thief(one)
    former = cookies_of(user).partition("; ")[0]
    assert page(user.get("/")) == "alice bound 0"
    assert one.sessions.open(former).subject == "alice"

    user.post("/logout")

    assert one.sessions.open(former).subject is None


def test_the_former_id_of_a_bound_session_that_has_another_id_opens_for_some_seconds(
    make: Callable[..., BoundSite],
) -> None:
    """The session goes on."""
    one = make()
    user, _ = user_and_thief(one)
    former = cookies_of(user).partition("; ")[0]
    assert page(user.get("/")) == "alice bound 0"

    user.post("/regenerate")

    assert one.sessions.open(former).subject == "alice"


# --- the channel fails


def test_a_channel_that_is_away_binds_nothing_and_logs_nobody_out(
    make: Callable[..., BoundSite], channel: Slow
) -> None:
    """The session stays unbound and good, an event says why, and it is bound when the channel is back."""
    one = make()
    user, thief = user_and_thief(one)
    channel.down = True

    assert page(user.get("/count")) == "alice unbound 1"
    (failed,) = one.told(StoreFailed)
    assert failed.operation == "bind"
    assert "stays unbound, and a later request binds it" in str(failed)
    channel.down = False

    def binds() -> bool:
        return page(user.get("/")) == "alice bound 1"

    eventually(binds)
    assert page(thief.get("/")) in ("None unbound 0", "alice unbound 0")


def test_nobody_waits_for_a_channel_that_is_known_to_be_away(make: Callable[..., BoundSite], channel: Slow) -> None:
    """Each request of an unbound session would else wait for it."""
    one = make()
    user, _ = user_and_thief(one)
    channel.down = True
    ended: EndedSessions = one.options["ended"]
    eventually(lambda: ended._running()[1].failure)
    tried: list[object] = []
    channel.append = lambda make, keep: tried.append(make)  # type: ignore[method-assign]

    assert page(user.get("/")) == "alice unbound 0"
    assert not tried


def test_a_session_that_must_be_bound_is_503_while_the_channel_is_away(
    make: Callable[..., BoundSite], channel: Slow
) -> None:
    """Whether this key is the right one, nobody can say: it is neither let in nor logged out."""
    one = make(binding=DeviceBinding(required=lambda session: True))
    user, _ = user_and_thief(one)
    one.clock.now += 61
    channel.down = True

    assert user.get("/").status == 503
    channel.down = False

    eventually(lambda: user.get("/").body == b"alice bound 0")


def test_a_claim_whose_answer_was_lost_is_made_again_by_the_same_key(
    make: Callable[..., BoundSite], channel: Slow
) -> None:
    """It is in the channel: the same key is bound by the next request, and no other."""
    one, other = make(), make()
    user, thief = user_and_thief(one)
    channel.silent = True
    assert page(user.get("/")) == "alice unbound 0"
    channel.silent = False

    session, _ = visit(other, cookies_of(thief))
    assert (session.subject, session.binding) == (None, "unbound")
    assert page(user.get("/")) == "alice bound 0"


def test_a_claim_that_the_channel_has_lost_binds_nothing(make: Callable[..., BoundSite], channel: Slow) -> None:
    """It took the entries and has none of them, as after a server that took over: the session stays unbound and good."""
    one = make()
    user, _ = user_and_thief(one)
    channel.swallows = True
    assert page(user.get("/")) == "alice unbound 0"
    assert [event.operation for event in one.told(StoreFailed)] == ["bind"]
    channel.swallows = False

    assert page(user.get("/")) == "alice bound 0"


# --- what it costs


def test_a_binding_appends_once_and_reads_once_and_a_refresh_asks_nobody(
    make: Callable[..., BoundSite], channel: Slow
) -> None:
    """The commit has nothing more to tell, and nor has any later request of a bound session."""
    one = make()
    user, _ = user_and_thief(one)
    calls: list[str] = []
    append, read = channel.append, channel.read

    def counted_append(make: Any, keep: Any) -> None:
        calls.append("append")
        append(make, keep)

    def counted_read(position: str, wait: float) -> Batch:
        if not wait:  # else it is the thread's
            calls.append("read")
        return read(position, wait)

    channel.append, channel.read = counted_append, counted_read  # type: ignore[method-assign]

    assert page(user.get("/count")) == "alice bound 1"
    assert calls == ["append", "read"]
    user.refresh(now=True)
    assert page(user.get("/count")) == "alice bound 2"
    assert calls == ["append", "read"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("way", ["aopen", "preload"])
def test_under_async_code_a_claim_is_no_wait_of_the_loop(
    make: Callable[..., BoundSite], channel: Slow, backend: str, way: str
) -> None:
    """A request that may bind its session is loaded before the handler runs, and the channel is asked in a thread."""
    one = make()
    user, _ = user_and_thief(one)
    header = cookies_of(user)
    threads: list[int] = []
    append = channel.append

    def noted(make: Any, keep: Any) -> None:
        threads.append(threading.get_ident())
        append(make, keep)

    channel.append = noted  # type: ignore[method-assign]

    async def visit() -> list[str]:
        if way == "aopen":
            session = await one.sessions.aopen(header)
        else:
            session = one.sessions.open(header)
            await preload(session)
        assert threads
        assert threading.get_ident() not in threads
        assert (session.subject, session.binding) == ("alice", "bound")
        return (await one.sessions.acommit(session)).set_cookies

    lines = anyio.run(visit, backend=backend)

    session = one.sessions.open(f"{in_header(lines)}; {proofs(header)}")
    assert session.binding == "bound"
    assert len(threads) == 1

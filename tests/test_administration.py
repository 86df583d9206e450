"""What a manager does to stored sessions outside of a request: change, list, count and end them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from tests.guarantees.kit import store_url
from tests.kit import START, Site

from hardtack import Request, StoreEngine, values
from hardtack.adapters import set_fields
from hardtack.engines.store.tombstones import tombstone
from hardtack.errors import ConfigError, SessionConflict
from hardtack.events import Destroyed, LoggedOut
from hardtack.flow import run
from hardtack.lifecycle.claims import remove
from hardtack.record import pack
from hardtack.stores import from_url
from hardtack.stores.memory import MemoryStore


class Uncounted:
    """A store that cannot count, of one that can."""

    blocking = False

    def __init__(self) -> None:
        store = MemoryStore()
        self.get, self.put, self.delete, self.find, self.close = (
            store.get,
            store.put,
            store.delete,
            store.find,
            store.close,
        )


@pytest.fixture
def site() -> Site:
    return Site(StoreEngine(MemoryStore()))


def login(site: Site, subject: str, **options: Any) -> Any:
    """A login in another browser."""
    session = site.sessions.open()
    session.login(subject, **options)
    site.sessions.commit(session)
    return session


def test_update_takes_no_coroutine_function(site: Site) -> None:
    """It would change nothing, and nobody would be told."""

    async def change(data: dict[str, Any]) -> None:
        data["n"] = 1

    with pytest.raises(TypeError, match="coroutine function would change nothing"):
        site.sessions.update(site.visit(n=0).id, change)


@pytest.mark.parametrize("wrong", [5, b"id", None])
def test_an_id_is_text(site: Site, wrong: Any) -> None:
    """What is none is a fault of the caller, not a session that has ended."""
    with pytest.raises(TypeError, match=r"is the id of a session, a str, not .*; use session\.id"):
        site.sessions.update(wrong, lambda data: None)
    with pytest.raises(TypeError, match=r"^id is the id of a session"):
        site.sessions.end(wrong)


def test_update_of_another_managers_session(site: Site) -> None:
    """It would be looked for in the wrong store."""
    with pytest.raises(ConfigError, match="another SessionManager"):
        site.sessions.update(Site(StoreEngine(MemoryStore())).visit(n=1), lambda data: None)


def test_update_of_an_ended_session_is_a_conflict(site: Site) -> None:
    """Nothing says that a change was made which was not."""
    ended = site.visit(n=1).id
    assert site.sessions.end(ended)

    with pytest.raises(SessionConflict, match="ended"):
        site.sessions.update(ended, lambda data: None)


def test_taking_a_value_of_a_session_that_ended_is_no_error(site: Site) -> None:
    """A request has taken it, the session ended meanwhile, and the request failed."""
    session = site.open()
    name = session.once.put("challenge")
    site.commit(session)
    session = site.open()
    assert session.once.take(name) == "challenge"
    assert site.sessions.end(session.id)

    site.sessions.abort(session)

    assert site.open().once.take(name) is None
    core = site.sessions.core
    engine = core.engine
    assert isinstance(engine, StoreEngine)
    assert run(remove(core, engine, b"x" * 32, ("name",)), core.sync_store()) is None


def test_a_list_has_the_newest_login_first(site: Site) -> None:
    """Of one user alone, with what the login said of the browser."""
    first = login(site, "alice", label="Firefox")
    site.clock.now += 5
    second = login(site, "alice")
    login(site, "bob")

    found = site.sessions.list("alice")

    assert [info.id for info in found] == [second.id, first.id]
    assert [info.label for info in found] == [None, "Firefox"]
    assert [info.created_at.timestamp() for info in found] == [START + 5, START]


def test_a_list_leaves_out_what_has_ended() -> None:
    """Though the store still has it."""
    site = Site(StoreEngine(MemoryStore()), idle_timeout=60)
    login(site, "alice")
    site.clock.now += 60

    assert site.sessions.list("alice") == []
    assert site.sessions.count("alice") == 0


def test_count_of_a_user_and_of_all(site: Site) -> None:
    """A store that cannot count all says so, and still has those of a user."""
    login(site, "alice")
    login(site, "bob")

    other = Site(StoreEngine(Uncounted()))
    login(other, "alice")

    assert (site.sessions.count("alice"), site.sessions.count(), other.sessions.count("alice")) == (1, 2, 1)
    with pytest.raises(ConfigError, match=r"^Uncounted cannot count its sessions \(it has no count\(\)\)$"):
        other.sessions.count()


async def _acount(site: Site) -> list[int]:
    return [await site.sessions.acount("alice"), await site.sessions.acount("nobody")]


def test_count_under_async_code(site: Site) -> None:
    """The same number."""
    import asyncio

    login(site, "alice")

    assert asyncio.run(_acount(site)) == [1, 0]


def test_end_of_a_users_own_session_only(site: Site) -> None:
    """An id is public: whoever knows that of somebody else ends nothing with it."""
    session = login(site, "alice")
    site.events.clear()

    assert not site.sessions.end(session.id, "bob")
    assert site.events == []
    assert site.sessions.end(session.id, "alice")
    assert not site.sessions.end(session.id, "alice")
    assert not site.sessions.end("unknown")
    assert [type(event) for event in site.events] == [Destroyed, LoggedOut]


def test_an_end_that_was_asked_for_stays_one(site: Site) -> None:
    """Two logins after it do not make it an end that a request which fails takes back."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    session = site.open()
    session.destroy()
    session.login("bob")
    session.login("carol")

    site.sessions.abort(session)

    assert site.sessions.list("alice") == []


# --- update, within the request whose session it changes


@pytest.fixture(params=["memory", "sqlite", "file", "redis"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on one of the stores."""
    store: Any = from_url(store_url(request.param, request, tmp_path))
    site = Site(StoreEngine(store))
    yield site
    store.close()


def begin(site: Site, subject: str | None = None, **data: Any) -> Any:
    """A request of a browser that has a session; the method asks for a change."""
    session = site.open()
    if subject is not None:
        session.login(subject)
    session.update(data)
    site.commit(session)
    return site.sessions.open(site.jar.header, Request("POST"))


@pytest.mark.parametrize("end", ["logout", "login"])
def test_update_after_an_end_changes_what_begins(stored: Site, end: str) -> None:
    """Not what has ended: its data would come out in the next user's hands, or be changed for nobody."""
    session = begin(stored, "alice", secret="hers", visits=41)
    session.logout() if end == "logout" else session.login("bob")
    seen: list[dict[str, Any]] = []

    def visit(data: dict[str, Any]) -> None:
        seen.append(dict(data))
        data["visits"] = data.get("visits", 0) + 1

    result = stored.sessions.update(session, visit)
    shown = dict(session)
    stored.commit(session)

    assert (seen, result, shown) == ([{}], {"visits": 1}, {"visits": 1})
    after = stored.open()
    assert (dict(after), after.subject) == ({"visits": 1}, None if end == "logout" else "bob")


def test_update_after_a_logout_with_a_dead_id_begins_a_session(site: Site) -> None:
    """As whatever is put in after a logout does."""
    session = begin(site, "alice")
    site.sessions.end(session.id)
    session = site.open()
    session.logout()

    site.sessions.update(session, lambda data: data.update(n=1))
    site.commit(session)

    assert dict(site.open()) == {"n": 1}


def test_a_value_that_is_held_over_an_update_still_counts(stored: Site) -> None:
    """A list that the handler got before it is the session's own after it, whatever else was changed; and pending ones too."""
    session = begin(stored, cart=["a"], n=0)
    cart = session["cart"]
    session["new"] = new = ["x"]

    stored.sessions.update(session, lambda data: data.update(n=1))
    cart.append("b")
    new.append("y")
    stored.commit(session)

    assert dict(stored.open()) == {"cart": ["a", "b"], "n": 1, "new": ["x", "y"]}


def test_keys_stay_in_their_order_over_an_update(site: Site) -> None:
    """Whoever iterates sees what was there before where it was before."""
    session = begin(site, a=1, b=2, c=3)
    session["a"] = 5

    site.sessions.update(session, lambda data: data.update(c=4, d=1))

    assert list(session.items()) == [("a", 5), ("b", 2), ("c", 4), ("d", 1)]


@dataclasses.dataclass
class Preferences:
    theme: str = "light"
    size: int = 1

    def __post_init__(self) -> None:
        if self.theme == "red":
            raise ValueError


class Struct(msgspec.Struct):
    theme: str = "light"
    width: int = msgspec.field(default=1, name="size")


class Model(pydantic.BaseModel):
    theme: str = "light"
    width: int = pydantic.Field(1, alias="size")


@dataclasses.dataclass(frozen=True)
class Frozen:
    theme: str = "light"
    size: int = 1

    def __post_init__(self) -> None:
        if self.theme == "red":
            raise ValueError


@pytest.mark.parametrize("kind", [Preferences, Struct, Model])
def test_a_view_that_is_held_over_an_update_still_counts(site: Site, kind: type[Any]) -> None:
    """It shows what the update has changed, and what is changed in it afterwards is saved."""
    session = begin(site, theme="light", size=1)
    view = session.view(kind)

    site.sessions.update(session, lambda data: data.update(size=2))
    seen = view.size if kind is Preferences else view.width
    view.theme = "dark"
    site.commit(session)

    assert seen == 2
    assert session.view(kind) is view
    assert dict(site.open()) == {"theme": "dark", "size": 2}


@pytest.mark.parametrize("kind", [Preferences, Frozen])
def test_a_view_is_kept_where_the_data_does_not_fit_it_any_more(site: Site, kind: type[Any]) -> None:
    """It was made of what did; and one that cannot be changed is made anew."""
    session = begin(site, theme="light")
    view = session.view(kind)
    fitting = site.sessions.update(session, lambda data: data.update(theme="dark"))
    after = session.view(kind)

    site.sessions.update(session, lambda data: data.update(theme="red"))

    assert fitting["theme"] == after.theme == "dark"
    assert (after is view) is (kind is Preferences)
    assert session.view(kind) is after


def test_a_view_of_a_session_that_is_not_stored_follows_an_update(site: Site) -> None:
    """And what was changed in it before counts."""
    session = site.sessions.open("")
    view = session.view(Preferences)
    view.theme = "dark"

    site.sessions.update(session, lambda data: data.update(size=len(data["theme"])))
    view.size += 1
    site.commit(session)

    assert dict(site.open()) == {"theme": "dark", "size": 5}


def test_what_is_no_data_is_kept_over_an_update(stored: Site) -> None:
    """A token that was drawn is on the page already, and so is what another request has drawn meanwhile."""
    session = begin(stored, "alice", n=0)
    token = session.csrf_token()

    stored.sessions.update(session, lambda data: data.update(n=1))
    stored.commit(session)

    after = stored.open()
    assert after.check_csrf(token)
    assert (after.subject, dict(after)) == ("alice", {"n": 1})


def test_an_update_keeps_what_another_has_drawn_for_a_session_whose_id_changes(site: Site) -> None:
    """The page with its token was sent."""
    session = begin(site, "alice", n=0)
    session.confirm("totp")
    other = site.sessions.open(site.jar.header)
    other.login("alice", label="laptop")
    other.csrf_token()
    token = site.sessions.open(site.jar.header)
    shown = token.csrf_token()
    site.sessions.commit(token)

    site.sessions.update(session, lambda data: data.update(n=1))
    site.commit(session)

    after = site.open()
    assert after.check_csrf(shown)
    assert after.confirmed(by="totp")
    assert (after.subject, dict(after)) == ("alice", {"n": 1})


def test_a_subject_that_was_taken_away_stays_away_over_an_update(site: Site) -> None:
    """As Django's adapter does it where an application deletes the user's key."""
    session = begin(site, "alice", n=0)
    set_fields(session, subject=None)

    site.sessions.update(session, lambda data: data.update(n=1))
    site.commit(session)

    assert (site.open().subject, dict(site.open())) == (None, {"n": 1})


@pytest.mark.parametrize("then", ["nothing", "login"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_value_that_another_has_taken_is_not_taken_again_over_an_update(stored: Site, method: str, then: str) -> None:
    """The update shows what is stored now: that the value is gone must not go unnoticed with it."""
    session = stored.open()
    name = session.once.put("state")
    stored.commit(session)
    mine, theirs = (stored.sessions.open(stored.jar.header, Request(method)) for _ in range(2))
    assert (mine.once.take(name), theirs.once.take(name)) == ("state", "state")
    theirs["n"] = 1
    stored.sessions.commit(theirs)

    stored.sessions.update(mine, lambda data: data.update(n=2))
    if then == "login":
        mine.login("alice")

    with pytest.raises(SessionConflict, match="one-time value"):
        stored.sessions.commit(mine)


def test_a_value_of_ones_own_is_taken_over_an_update(site: Site) -> None:
    """It was never stored, so nobody else has taken it."""
    session = begin(site, n=0)
    name = session.once.put("state")
    taken = session.once.take(name)

    site.sessions.update(session, lambda data: data.update(n=1))
    site.commit(session)

    assert (taken, dict(site.open())) == ("state", {"n": 1})


# --- end, by an id that is not the session's any more


@pytest.mark.parametrize("changes", [1, 3])
def test_an_end_follows_a_session_to_its_new_id(stored: Site, changes: int) -> None:
    """A list of devices that was shown a moment ago has the old one."""
    old = begin(stored, "alice").id
    for _ in range(changes):
        session = stored.open()
        session.regenerate()
        stored.commit(session)

    assert not stored.sessions.end(old, subject="bob")
    assert stored.open().subject == "alice"
    assert stored.sessions.end(old, subject="alice")

    assert stored.open().subject is None
    assert stored.told(LoggedOut)[-1].cause == "ended"
    assert not stored.sessions.end(old, subject="alice")


def test_an_id_that_goes_on_as_itself_is_no_session(site: Site) -> None:
    """Nobody writes that but one who can write the store; it keeps no request for ever."""
    session = site.visit(n=1)
    store: Any = site.sessions.engine.store
    entry = store.get(session.id)
    raw_key = values.decode_bytes(session.id)
    grave = tombstone(raw_key, START, changed=True, successor=raw_key)
    store.put(session.id, pack(grave), expires_at=START + 60, if_version=entry.version, subject=None)

    assert not site.sessions.end(session.id)

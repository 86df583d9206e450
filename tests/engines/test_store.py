"""StoreEngine on a store in memory: ids, conflicts, ends, failures; sync and async by the same flows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.kit import KEY, OTHER_KEY, START, Site

from hardtack import CookieEngine, Keyring, Request, Session, SessionManager, StoreEngine, values
from hardtack.adapters import end_own
from hardtack.errors import (
    ConfigError,
    SessionConflict,
    SessionFinished,
    SessionNotLoaded,
    StoreError,
    StoreUnavailable,
)
from hardtack.events import (
    Conflict,
    Created,
    Destroyed,
    Expired,
    IdChanged,
    LateWrite,
    LoggedOut,
    Rejected,
    Renewed,
    StoreFailed,
)
from hardtack.protocols import Entry, VersionConflict
from hardtack.stores.memory import MemoryStore

NAME = "__Host-Http-session"


class Plain:
    """A third party's store: the three methods, and nothing else. Counts its calls; fails when told to."""

    blocking = False

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int, str | None, int]] = {}
        self.calls: list[str] = []
        self.count = 0
        self.broken: set[str] = set()
        self.fail_at = 0
        self.before: dict[str, Callable[[], None]] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self.fail_at:
            raise StoreUnavailable("crash")
        before = self.before.pop(name, None)
        if before is not None:
            before()
        if name in self.broken:
            raise StoreUnavailable("down")

    def get(self, key: str) -> Entry | None:
        self._call("get")
        entry = self.entries.get(key)
        return None if entry is None else Entry(entry[0], entry[1])

    def put(self, key: str, data: bytes, *, expires_at: int, if_version: Any, subject: str | None) -> int:
        self._call("put")
        entry = self.entries.get(key)
        if (None if entry is None else entry[1]) != if_version:
            raise VersionConflict
        self.count += 1
        self.entries[key] = (data, self.count, subject, expires_at)
        return self.count

    def delete(self, key: str, *, if_version: Any = None) -> bool:
        self._call("delete")
        return self.entries.pop(key, None) is not None

    def close(self) -> None:
        self._call("close")


class Renaming(Plain):
    """The same, with a rename that knows nothing of tombstones, and find."""

    def rename(self, old: str, new: str, data: bytes, *, expires_at: int, if_version: Any, subject: str | None) -> int:
        self._call("rename")
        entry = self.entries.get(old)
        if entry is None or entry[1] != if_version:
            raise VersionConflict
        del self.entries[old]
        self.count += 1
        self.entries[new] = (data, self.count, subject, expires_at)
        return self.count

    def find(self, subject: str) -> list[str]:
        return [key for key, entry in self.entries.items() if entry[2] == subject]


class Unable(Plain):
    """A store whose rename cannot do this pair of keys in one step."""

    def rename(self, *args: Any, **options: Any) -> int:
        self._call("rename")
        raise NotImplementedError


class Async:
    """Any of the above with coroutines."""

    def __init__(self, store: Plain) -> None:
        self.store = store

    async def get(self, key: str) -> Entry | None:
        return self.store.get(key)

    async def put(self, key: str, data: bytes, **options: Any) -> int:
        return self.store.put(key, data, **options)

    async def delete(self, key: str, **options: Any) -> bool:
        return self.store.delete(key, **options)

    async def close(self) -> None:
        self.store.close()


STORES: dict[str, Callable[[], Any]] = {
    "plain": Plain,
    "renaming": Renaming,
    "unable": Unable,
    "memory": MemoryStore,
}


@pytest.fixture(params=list(STORES))
def site(request: pytest.FixtureRequest) -> Site:
    return Site(StoreEngine(STORES[request.param]()))


def plain_site(**options: Any) -> tuple[Site, Plain]:
    store = Plain()
    return Site(StoreEngine(store, **options)), store


def reasons(site: Site) -> list[str]:
    return [event.reason for event in site.told(Rejected)]


# --- ids


def test_store_knows_only_the_hash(site: Site) -> None:
    """The cookie's 32 bytes are not in the store: a stolen database opens no session."""
    session = site.visit(a=1)
    secret = site.jar.cookies[NAME]

    assert len(values.decode_bytes(secret)) == 32
    assert session.id != secret
    assert len(session.id) == 43
    assert dict(site.open()) == {"a": 1}
    assert dict(site.sessions.open(f"{NAME}={session.id}")) == {}


def test_invented_id_is_never_adopted(site: Site) -> None:
    """An id that nobody gave out is a new session with a new id."""
    invented = values.encode_bytes(bytes(32))
    session = site.sessions.open(f"{NAME}={invented}")
    session["a"] = 1
    site.commit(session)

    assert site.jar.cookies[NAME] != invented
    assert reasons(site) == ["unknown_id"]
    assert dict(site.sessions.open(f"{NAME}={invented}")) == {}


@pytest.mark.parametrize("value", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "B", "é" * 43, "=" * 43, "../../etc/passwd"])
def test_malformed_id_never_reaches_the_store(value: str) -> None:
    """Length, alphabet and spelling are checked before any look-up."""
    site, store = plain_site()

    assert dict(site.sessions.open(f"{NAME}={value}")) == {}
    assert store.calls == []
    assert reasons(site) == ["malformed"]


def test_purpose_separates_applications_with_one_store() -> None:
    """The cookie of one application is unknown to another that shares the store."""
    store = Plain()
    shop, forum = Site(StoreEngine(store), purpose="shop"), Site(StoreEngine(store), purpose="forum")
    shop.visit(a=1)

    assert dict(forum.sessions.open(shop.jar.header)) == {}


def test_two_sessions_cancel_each_other(site: Site) -> None:
    """Two good cookies of different sessions: none is used, and ours stays; junk beside one does not matter."""
    site.visit(a=1)
    first = site.jar.header
    site.jar.cookies.clear()
    site.visit(b=2)

    session = site.sessions.open(f"{first}; {site.jar.header}")
    assert dict(session) == {}
    assert site.sessions.commit(session).set_cookies == []
    assert dict(site.sessions.open(f"{first}; {NAME}=junk; {first}")) == {"a": 1}


# --- how often the store is asked


def test_calls_of_the_store() -> None:
    """None without a cookie or a touch, one to open, none to close when nothing changed, one to save."""
    site, store = plain_site()
    site.sessions.commit(site.open())
    site.open().get("a")
    assert store.calls == []

    site.visit(a=1)
    assert store.calls == ["put"]
    store.calls.clear()
    site.sessions.commit(site.open())
    assert store.calls == []

    session = site.visit()
    site.sessions.finish(session)
    assert store.calls == ["get"]
    store.calls.clear()
    site.visit(a=2)
    assert store.calls == ["get", "put"]
    store.calls.clear()
    site.sessions.close()
    assert store.calls == ["close"]


def test_data_change_sets_no_cookie(site: Site) -> None:
    """The cookie holds the id only: it is set when the id is new."""
    site.visit(a=1)
    session = site.open()
    session["a"] = 2

    assert site.commit(session).set_cookies == []
    assert dict(site.open()) == {"a": 2}


def test_renewal_of_a_persistent_cookie_is_sent() -> None:
    """Where the browser counts down, a renewal tells it the new age."""
    site = Site(StoreEngine(Plain()), idle_timeout=1000, persistent=True)
    site.visit(a=1)
    site.clock.now += 100
    session = site.open()
    session.get("a")

    assert "Max-Age=1000" in site.commit(session).set_cookies[0]
    assert site.told(Renewed) == [Renewed(session.id, "idle_timeout")]


def test_the_store_may_forget_at_the_nearer_deadline() -> None:
    """expires_at follows the deadlines, which the engine enforces from the record itself."""
    store = Plain()
    site = Site(StoreEngine(store), idle_timeout=100, lifetime=150)
    site.visit(a=1)
    assert [entry[3] for entry in store.entries.values()] == [START + 100]
    site.clock.now += 90
    site.visit()
    assert [entry[3] for entry in store.entries.values()] == [START + 150]

    site.clock.now = START + 150
    assert dict(site.open()) == {}
    assert [event.deadline for event in site.told(Expired)] == ["absolute"]


# --- parallel requests


def test_parallel_changes_that_rest_on_nothing_are_merged(site: Site) -> None:
    """Two requests that loaded the same state, and had read nothing that the other changed: both are there at the end."""
    site.visit(theme="dark", n=0)
    one, two = site.open(), site.open()
    one["size"] = 1
    two["n"] = 1
    two["lang"] = "de"

    site.commit(one)
    site.commit(two)

    assert dict(site.open()) == {"theme": "dark", "size": 1, "n": 1, "lang": "de"}
    assert dict(two) == dict(site.open())
    assert site.told(Conflict) == [Conflict(one.id, "merged")]


@pytest.mark.parametrize("make", [Plain, Renaming, Unable, MemoryStore])
def test_declared_keys_are_joined(make: Callable[[], Any]) -> None:
    """Both changes of a key that is declared are kept; where they cannot be joined the later write is, and is told."""
    site = Site(StoreEngine(make(), merge=["cart", "prefs", "theme"]))
    site.visit(cart=["bread"], prefs={"size": 1}, theme="dark")
    one, two = site.open(), site.open()
    one["cart"].append("milk")
    one["prefs"]["lang"] = "de"
    one["theme"] = "light"
    two["cart"].append("eggs")
    two["prefs"]["size"] += 1
    two["theme"] = "blue"

    site.commit(one)
    site.commit(two)

    assert dict(site.open()) == {"cart": ["bread", "milk", "eggs"], "prefs": {"size": 2, "lang": "de"}, "theme": "blue"}
    assert site.told(Conflict) == [Conflict(one.id, "overwritten", ("theme",))]


def test_what_rests_on_a_value_that_another_changed_is_not_saved(site: Site) -> None:
    """Merged key by key, the second factor of one login would count for the user of another."""
    site.visit(user="mallory", verified=False)
    login, factor = site.open(), site.open()
    login["user"] = "victim"
    login["verified"] = False
    if factor["user"] == "mallory":
        factor["verified"] = True

    site.commit(login)
    changes = site.commit(factor)

    assert dict(site.open()) == {"user": "victim", "verified": False}
    assert changes.dropped == "stale"
    assert site.told(Conflict) == [Conflict(factor.id, "stale", ("user",))]


def test_a_stale_save_is_an_error_where_the_browser_would_be_told_that_it_was_done(site: Site) -> None:
    """Under POST the page would say "added"; what this request changes from then on is refused as well."""
    site.visit(n=1)
    one = site.open()
    two = site.sessions.open(site.jar.header, Request(method="POST"))
    one["n"] += 1
    two["n"] += 1
    site.commit(one)

    with pytest.raises(SessionConflict) as caught:
        site.commit(two)

    assert caught.value.paths == ("n",)
    assert dict(site.open()) == {"n": 2}
    with pytest.raises(SessionConflict):
        two["n"] = 3
    site.sessions.finish(two)
    assert site.told(LateWrite) == []


def test_on_conflict_raise() -> None:
    """The application is told, before anything is sent."""
    site, _ = plain_site(on_conflict="raise")
    site.visit(a=1)
    one, two = site.open(), site.open()
    one["b"] = 1
    two["c"] = 1
    site.commit(one)

    with pytest.raises(SessionConflict):
        site.commit(two)
    assert dict(site.open()) == {"a": 1, "b": 1}


def test_on_conflict_last_write_wins() -> None:
    """The later state replaces the earlier, and an event says so."""
    site, _ = plain_site(on_conflict="last_write_wins")
    site.visit(a=1)
    one, two = site.open(), site.open()
    one["b"] = 1
    two["c"] = 1
    site.commit(one)
    site.commit(two)

    assert dict(site.open()) == {"a": 1, "c": 1}
    assert [event.outcome for event in site.told(Conflict)] == ["overwritten"]


@pytest.mark.parametrize("on_conflict", ["merge", "last_write_wins"])
def test_slow_request_takes_no_renewal_back(on_conflict: str) -> None:
    """`seen` never moves back, and the store may forget no sooner than the deadline says."""
    store = Plain()
    site = Site(StoreEngine(store, on_conflict=on_conflict), idle_timeout=1000)  # type: ignore[arg-type]
    site.visit(a=1)
    site.clock.now += 99  # not due yet
    slow = site.open()
    slow["slow"] = 1
    store.before["put"] = lambda: _renew(site)
    site.commit(slow)

    session = site.open()

    assert session.seen_at.timestamp() == START + 100
    assert [entry[3] for entry in store.entries.values()] == [START + 1100]


def _renew(site: Site) -> None:
    site.clock.now += 1
    site.visit(b=1)


def test_change_during_a_commit_that_merges_is_not_undone() -> None:
    """A background task may go on with the session while the commit waits for the store."""
    site, store = plain_site()
    site.visit(cart={"bread": 1})
    session = site.open()
    session["mine"] = 1
    site.visit(cart={"bread": 1, "milk": 1})

    def meanwhile() -> None:
        session["later"] = 1
        session["cart"]["salt"] = 1  # of the cart as it was loaded

    store.before["get"] = meanwhile  # what is there now is read after the first write has met a conflict
    site.commit(session)

    assert dict(site.open()) == {"cart": {"bread": 1, "milk": 1}, "mine": 1}

    # What it did rests on a cart that another had changed: it is told, and takes no milk away.
    site.sessions.finish(session)

    assert dict(site.open()) == {"cart": {"bread": 1, "milk": 1}, "mine": 1}
    assert len(site.told(LateWrite)) == 1


def test_finish_after_a_merge_takes_nothing_back(site: Site) -> None:
    """What a merge brought in is not seen as a late change that removes it."""
    site.visit(a=1)
    one, two = site.open(), site.open()
    one["b"] = 1
    two["c"] = 1
    site.commit(one)
    site.commit(two)
    site.sessions.finish(one)
    site.sessions.finish(two)

    assert dict(site.open()) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("seal", [None, KEY])
def test_another_sessions_record_logs_nobody_in(seal: Any) -> None:
    """A connection that two processes share answers with what the other asked for: nobody's session, and loudly."""
    site, store = plain_site(seal=seal)
    site.visit(a=1)
    (copied,) = store.entries
    session = site.sessions.open()
    session["b"] = 2
    site.commit(session)
    (key,) = store.entries.keys() - {copied}
    store.entries[key] = (store.entries[copied][0], *store.entries[key][1:])
    store.calls.clear()
    again = site.open()

    assert (dict(again), again.is_new) == ({}, True)
    assert store.calls == ["get", "get"]
    assert [event.operation for event in site.told(StoreFailed)] == ["decode"]
    assert "Max-Age=0" in site.commit(again).set_cookies[0]


def test_a_wrong_answer_is_asked_for_once_more_over_a_fresh_connection() -> None:
    """The right record may be a connection away."""
    reconnected: list[bool] = []

    class Confused(Plain):
        def reconnect(self) -> None:
            reconnected.append(True)
            self.entries[mine] = right

    store = Confused()
    site = Site(StoreEngine(store))
    site.visit(a=1)
    (mine,) = store.entries
    other = site.sessions.open()
    other["b"] = 2
    site.sessions.commit(other)
    (key,) = store.entries.keys() - {mine}
    right = store.entries[mine]
    store.entries[mine] = store.entries[key]

    assert dict(site.open()) == {"a": 1}
    assert reconnected == [True]
    assert site.told(StoreFailed) == []


# --- what was ended stays dead


def end_by_logout(site: Site) -> None:
    session = site.open()
    session.logout()
    site.commit(session)


def end_by_login(site: Site) -> None:
    session = site.open()
    session.login("alice")
    site.commit(session)


def end_by_regenerate(site: Site) -> None:
    session = site.open()
    session.regenerate()
    site.commit(session)


def end_by_administration(site: Site) -> None:
    assert site.sessions.end(site.open().id)


ENDS = [end_by_logout, end_by_login, end_by_regenerate, end_by_administration]


@pytest.mark.parametrize("end", ENDS)
def test_slow_request_revives_nothing(site: Site, end: Callable[[Site], None]) -> None:
    """A request that loaded before the end and commits after it saves nothing and sets no cookie."""
    site.visit(a=1)
    slow, renaming, leaving = site.open(), site.open(), site.open()
    slow["late"] = 1
    renaming.regenerate()
    leaving.logout()
    old = site.jar.header
    end(site)
    jar = dict(site.jar.cookies)

    for late in (slow, renaming):
        assert site.commit(late).set_cookies == []
    assert dict(site.sessions.open(old)) == {}
    assert site.jar.cookies == jar
    assert [event.outcome for event in site.told(Conflict)] == ["dropped", "dropped"]
    site.sessions.finish(slow)
    assert dict(site.sessions.open(old)) == {}
    if end in (end_by_login, end_by_regenerate):
        assert dict(site.open()) == {"a": 1}


@pytest.mark.parametrize("end", [end_by_login, end_by_regenerate])
def test_plain_write_with_an_id_that_was_just_changed_is_lost(site: Site, end: Callable[[Site], None]) -> None:
    """The browser is about to get the new cookie: another one would take its place. Ten seconds later it has it."""
    site.visit(a=1)
    old = site.jar.header
    end(site)
    site.clock.now += 9
    late = site.sessions.open(old)
    assert dict(late) == {}
    late["b"] = 2
    changes = site.sessions.commit(late)

    assert (changes.set_cookies, changes.dropped) == ([], "dead")
    assert [event.outcome for event in site.told(Conflict)] == ["dropped"]
    posted = site.sessions.open(old, Request(method="POST"))
    posted["b"] = 2
    with pytest.raises(SessionConflict):
        site.sessions.commit(posted)

    site.clock.now += 1
    later = site.sessions.open(old)
    later["b"] = 2
    assert len(site.sessions.commit(later).set_cookies) == 1
    assert dict(site.open()) == {"a": 1}


@pytest.mark.parametrize("end", [end_by_logout, end_by_administration])
def test_write_with_an_id_that_was_ended_begins_a_new_session(site: Site, end: Callable[[Site], None]) -> None:
    """After a lost answer to a logout the login form stores a token: it must not be dropped for a minute."""
    site.visit(a=1)
    old = site.jar.header
    end(site)
    late = site.sessions.open(old)
    assert dict(late) == {}
    late["b"] = 2

    assert len(site.sessions.commit(late).set_cookies) == 1
    assert "ended" in reasons(site)
    assert dict(site.sessions.open(old)) == {}


@pytest.mark.parametrize("end", ENDS)
def test_login_with_a_dead_id_counts(site: Site, end: Callable[[Site], None]) -> None:
    """Two clicks on "Log in", a lost answer, or end_all and then a login: the user was told that it worked."""
    site.visit(a=1)
    old = site.jar.header
    end(site)
    again = site.sessions.open(old)
    again.login("alice")
    again["cart"] = ["bread"]
    site.commit(again)

    assert (site.open().subject, dict(site.open())) == ("alice", {"cart": ["bread"]})


def test_after_the_minute_an_old_id_is_unknown() -> None:
    """A tombstone answers for a minute, even in a store that forgets nothing by itself."""
    site, _ = plain_site()
    site.visit(a=1)
    old = site.jar.header
    end_by_logout(site)
    site.clock.now += 59
    dict(site.sessions.open(old))
    site.clock.now += 1
    session = site.sessions.open(old)
    session["b"] = 2

    assert len(site.sessions.commit(session).set_cookies) == 1
    assert reasons(site) == ["ended", "unknown_id"]


def test_login_moves_the_session(site: Site) -> None:
    """New id, same data, both deadlines; the old id is dead, and the subject was never written under it."""
    before = site.visit(cart=["bread"])
    session = site.open()
    session.login("alice")
    changes = site.commit(session)

    assert len(changes.set_cookies) == 1
    after = site.open()
    assert dict(after) == {"cart": ["bread"]}
    assert (after.id, after.subject) == (session.id, "alice")
    assert site.told(IdChanged) == [IdChanged(before.id, after.id, old_still_valid=False)]
    store = site.sessions.engine.store
    if isinstance(store, Plain):
        assert store.entries[before.id][2] is None
        assert ("rename" in store.calls) == hasattr(store, "rename")


def test_login_as_another_takes_nothing_of_what_the_first_user_saves_meanwhile(site: Site) -> None:
    """Bob's session is not a continuation of Alice's: a slow request of hers is dropped, not merged in."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    bob, slow = site.open(), site.open()
    bob.login("bob")
    slow["card"] = "hers"
    site.sessions.commit(slow)
    site.commit(bob)
    late = site.sessions.commit(slow)

    after = site.open()
    assert (after.subject, dict(after)) == ("bob", {})
    assert late.set_cookies == []
    assert site.told(Destroyed) == [Destroyed(session.id, old_still_valid=False)]


@pytest.mark.parametrize("faster", ["logout", "regenerate", "login"])
def test_slow_login_as_another_counts_and_ends_only_the_id_that_it_holds(site: Site, faster: str) -> None:
    """Whoever shows a credential is logged in; but a stolen old id must not end the victim's session."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    slow, fast = site.open(), site.open()
    slow.login("bob")
    fast.login("carol") if faster == "login" else getattr(fast, faster)()
    site.commit(fast)
    hers = site.jar.header
    site.commit(slow)

    assert site.open().subject == "bob"
    assert site.sessions.open(hers).subject == {"logout": None, "regenerate": "alice", "login": "carol"}[faster]


@pytest.mark.parametrize("times", [1, 2])
def test_logout_ends_a_session_that_just_got_a_new_id(site: Site, times: int) -> None:
    """Both came from one browser: whoever logs out means the session, not the id that it had a moment ago."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    leaving = site.open()
    assert leaving.subject == "alice"
    for _ in range(times):
        renewed = site.open()
        renewed.regenerate()
        site.commit(renewed)
    leaving.logout()
    changes = site.sessions.commit(leaving)

    assert site.open().subject is None
    assert [line.partition("=")[0] for line in changes.set_cookies] == [NAME]


def test_a_tombstone_that_cannot_be_read_has_no_successor() -> None:
    """Somebody has written over it: the session that it was is gone all the same."""
    site, store = plain_site()
    session = site.visit(a=1)
    leaving = site.open()
    leaving.logout()
    store.entries[session.id] = (b"junk", 77, None, START)

    assert site.sessions.commit(leaving).set_cookies != []
    del store.entries[session.id]
    assert not site.sessions.end(session.id)


def test_second_click_on_log_in_ends_the_session_of_the_first(site: Site) -> None:
    """Its answer may have got lost: nobody has its cookie, and it would count as one of the user's devices."""
    site.visit(cart=["bread"])
    one, two = site.open(), site.open()
    one.login("alice")
    two.login("alice")
    first = site.sessions.commit(one)
    site.commit(two)

    assert (site.open().subject, dict(site.open())) == ("alice", {"cart": ["bread"]})
    assert site.sessions.open(first.set_cookies[0].partition(";")[0]).subject is None


def test_id_change_merges_what_another_request_saved(site: Site) -> None:
    """A login does not lose what a parallel request has put into the cart; of what it had read, its own state counts."""
    site.visit(cart=["bread"])
    login, other = site.open(), site.open()
    login.login("alice")
    other["cart"].append("milk")
    site.commit(other)
    site.commit(login)

    assert (dict(site.open()), site.open().subject) == ({"cart": ["bread", "milk"]}, "alice")

    stale, other = site.open(), site.open()
    assert stale["cart"] == ["bread", "milk"]
    stale.login("alice")
    other["cart"].append("eggs")
    site.commit(other)
    site.commit(stale)

    assert (dict(site.open()), site.open().subject) == ({"cart": ["bread", "milk"]}, "alice")


@pytest.mark.parametrize("make", [Plain, Renaming, Unable])
def test_crash_in_the_middle_of_an_id_change(make: Callable[[], Plain]) -> None:
    """Wherever the store fails, no data is lost, and the old id is no way in that was not there before."""
    for failing in range(1, 5):
        store = make()
        site = Site(StoreEngine(store))
        site.visit(a=1)
        old = site.jar.header
        session = site.open()
        session.login("alice")
        store.fail_at = len(store.calls) + failing
        try:
            site.commit(session)
            crashed = False
        except StoreUnavailable:
            crashed = True
        store.fail_at = 0

        if not crashed:
            assert dict(site.open()) == {"a": 1}
            continue
        survivor = site.sessions.open(old)
        assert survivor.subject is None
        assert dict(survivor) in ({"a": 1}, {})
        assert b"\xa1a\x01" in b"".join(entry[0] for entry in store.entries.values())


def test_on_conflict_raise_during_an_id_change() -> None:
    """The copy under the new key is taken back when the change is refused."""
    site, store = plain_site(on_conflict="raise")
    site.visit(a=1)
    session, other = site.open(), site.open()
    session.regenerate()
    other["b"] = 1
    site.commit(other)

    with pytest.raises(SessionConflict):
        site.commit(session)
    assert len(store.entries) == 1
    assert dict(site.open()) == {"a": 1, "b": 1}


def test_logout_wins_over_a_parallel_save(site: Site) -> None:
    """A save in between does not keep the session alive."""
    site.visit(a=1)
    old = site.jar.header
    leaving, saving = site.open(), site.open()
    leaving.logout()
    saving["b"] = 1
    site.commit(saving)
    site.commit(leaving)

    assert dict(site.sessions.open(old)) == {}


def test_logout_twice_is_one(site: Site) -> None:
    """The second of two logouts finds nothing, and clears the cookie as well."""
    site.visit(a=1)
    one, two = site.open(), site.open()
    one.logout()
    two.logout()

    assert len(site.sessions.commit(one).set_cookies) == len(site.sessions.commit(two).set_cookies) == 1


# --- after the headers


def test_late_change_is_saved(site: Site) -> None:
    """A change after the headers left needs no cookie on a store, and is saved by finish, merged like any other."""
    site.visit(a=1)
    session = site.visit()
    site.visit(other=1)
    session["late"] = 1
    site.sessions.finish(session)

    assert dict(site.open()) == {"a": 1, "other": 1, "late": 1}


def test_late_logout_ends_the_session(site: Site) -> None:
    """A late logout deletes the record, though the cookie can no longer be cleared."""
    site.visit(a=1)
    session = site.visit()
    session.logout()
    session["b"] = 1
    site.sessions.finish(session)

    assert dict(site.open()) == {}
    assert len(site.told(LateWrite)) == 1


@pytest.mark.parametrize("late", ["new", "regenerate", "login"])
def test_late_change_that_needs_a_cookie_is_an_event(site: Site, late: str) -> None:
    """A new session or id cannot reach the browser any more."""
    if late != "new":
        site.visit(a=1)
    session = site.visit()
    {
        "new": lambda: session.update(b=1),
        "regenerate": session.regenerate,
        "login": lambda: session.login("alice"),
    }[late]()
    site.sessions.finish(session)

    assert len(site.told(LateWrite)) == 1
    assert dict(site.open()) == ({} if late == "new" else {"a": 1})


def test_late_change_with_the_store_down_is_an_event() -> None:
    """finish raises nothing."""
    site, store = plain_site()
    site.visit(a=1)
    session = site.visit()
    session["late"] = 1
    store.broken = {"put"}
    site.sessions.finish(session)

    assert len(site.told(LateWrite)) == 1
    assert [event.operation for event in site.told(StoreFailed)] == ["save", "finish"]


def test_late_change_that_the_store_refuses_is_an_event() -> None:
    """finish raises nothing either where the store is up and does not take the session: memcached, of one too large."""
    site, store = plain_site()
    site.visit(a=1)
    session = site.visit()
    session["late"] = 1

    def refuse() -> None:
        raise StoreError("too large")

    store.before["put"] = refuse
    site.sessions.finish(session)

    assert len(site.told(LateWrite)) == 1
    assert site.told(StoreFailed) == [StoreFailed("finish", "StoreError")]


class Assigned(Session):
    """A framework's session, under a rule of its own for what was modified."""

    __slots__ = ()

    @property
    def modified(self) -> bool:
        return True

    @modified.setter
    def modified(self, value: bool) -> None:
        raise NotImplementedError


def test_finish_saves_nothing_that_is_the_same() -> None:
    """What a framework calls modified, as Flask does after any assignment, is not for that a late change."""
    site, store = plain_site()
    site.visit(a=1)
    session = site.sessions.open(site.jar.header, kind=Assigned)
    session["a"] = 1
    site.sessions.commit(session)
    writes = store.calls.count("put")
    site.sessions.finish(session)

    assert store.calls.count("put") == writes
    assert site.told(LateWrite) == []


@pytest.mark.parametrize("opened", ["before the change", "after the change"])
def test_a_save_that_was_dropped_is_told_once(opened: str) -> None:
    """finish does not tell again, as a late change, what the commit has told to be lost."""
    site, _ = plain_site()
    site.visit(a=1)
    before = site.jar.header
    slow = site.sessions.open(before)
    if opened == "before the change":
        slow["b"] = 1
    session = site.open()
    session.regenerate()
    site.commit(session)
    slow["b"] = 1
    site.sessions.commit(slow)
    site.sessions.finish(slow)

    assert [event.outcome for event in site.told(Conflict)] == ["dropped"]
    assert site.told(LateWrite) == []


# --- administration


def test_list_and_end() -> None:
    """A user's sessions, newest login first, with their times; ending one, and all others."""
    site = Site(StoreEngine(Renaming()))
    ids = []
    for number in range(3):
        site.clock.now = START + number
        site.jar.cookies.clear()
        session = site.open()
        session.login("alice")
        site.commit(session)
        ids.append(session.id)
    current = site.jar.header

    infos = site.sessions.list("alice")
    assert [info.id for info in infos] == ids[::-1]
    assert infos[0].authenticated_at is not None
    assert infos[0].authenticated_at.timestamp() == START + 2
    assert site.sessions.list("bob") == []

    assert site.sessions.end(ids[0])
    assert not site.sessions.end(ids[0])
    assert not site.sessions.end("junk")
    assert not site.sessions.end(values.encode_bytes(bytes(32)))
    assert site.sessions.end_all("alice", keep=ids[2]) == 1
    assert [info.id for info in site.sessions.list("alice")] == [ids[2]]
    assert site.sessions.open(current).subject == "alice"
    assert [event.id for event in site.told(Destroyed)] == ids[:2]
    assert site.sessions.end_all("alice") == 1


@pytest.mark.parametrize("change", ["regenerate", "login"])
def test_end_all_keeps_a_session_that_just_got_its_id(change: str) -> None:
    """After a change of password: a new id for this session, and the end of every other, in one request."""
    site = Site(StoreEngine(Renaming()))
    for _ in range(2):
        site.jar.cookies.clear()
        session = site.open()
        session.login("alice")
        site.commit(session)
    session = site.open()
    session.regenerate() if change == "regenerate" else session.login("alice")

    ended = site.sessions.end_all("alice", keep=session.id)
    site.commit(session)

    assert ended == 1
    assert site.open().subject == "alice"
    assert [info.id for info in site.sessions.list("alice")] == [session.id]


def test_two_applications_on_one_store_do_not_find_each_others_users() -> None:
    """User 7 of the shop is not user 7 of the back office."""
    store = MemoryStore()
    shop, office = (Site(StoreEngine(store), purpose=purpose) for purpose in ("shop", "office"))
    for site in (shop, office):
        session = site.open()
        session.login("7")
        site.commit(session)
        site.sessions.update(session.id, lambda data: {"seen": 1})

    assert office.sessions.end_all("7") == 1
    assert len(shop.sessions.list("7")) == 1
    assert shop.open().subject == "7"


def test_end_all_ends_a_session_that_changes_its_id_meanwhile() -> None:
    """It was found under an id that is gone when its turn comes."""
    store = Renaming()
    site = Site(StoreEngine(store))
    session = site.open()
    session.login("alice")
    site.commit(session)

    def rotate() -> None:
        stolen = site.open()
        stolen.regenerate()
        site.commit(stolen)

    store.before["get"] = rotate

    assert site.sessions.end_all("alice") == 1
    assert site.open().subject is None


@pytest.mark.parametrize(
    "call",
    [
        lambda sessions: sessions.list(7),
        lambda sessions: sessions.end_all(7),
        lambda sessions: sessions.end_all("7", keep=sessions.open()),
        lambda sessions: sessions.end(sessions.open()),
        lambda sessions: sessions.update(None, lambda data: None),
        lambda sessions: sessions.update("7", _never_awaited),
    ],
)
def test_what_is_not_an_id_is_an_error(site: Site, call: Callable[[Any], Any]) -> None:
    """Where login() took str(user.id), nobody would be found under user.id, and nothing ended."""
    with pytest.raises(TypeError, match=r"str|plain function"):
        call(site.sessions)


async def _never_awaited(data: dict[str, Any]) -> None:
    raise AssertionError


def test_list_trusts_the_record_and_not_the_index() -> None:
    """Keys that the store's index has by mistake, expired ones and such that are none are left out."""
    store = Renaming()
    site = Site(StoreEngine(store), lifetime=100)
    session = site.open()
    session.login("alice")
    site.commit(session)
    entry = store.entries[session.id]
    store.entries[values.encode_bytes(bytes(32))] = (b"junk", 77, "alice", START)
    store.entries["not a key"] = (entry[0], 78, "alice", START)
    store.find = lambda subject: list(store.entries)  # type: ignore[method-assign]

    assert [info.id for info in site.sessions.list("alice")] == [session.id]
    assert site.sessions.list("bob") == []
    assert site.sessions.end_all("bob") == 0
    site.clock.now += 100
    assert site.sessions.list("alice") == []


def test_store_that_cannot_find_says_so() -> None:
    """Listing on a store without find() is a ConfigError that names the store."""
    site, _ = plain_site()

    with pytest.raises(ConfigError, match="Plain cannot find"):
        site.sessions.list("alice")


def test_update_is_retried_until_nothing_is_lost() -> None:
    """A read-modify-write that another request interrupts starts again from what is there then."""
    site, store = plain_site()
    session = site.visit(n=0)

    def increment(data: dict[str, Any]) -> None:
        data["n"] += 1

    store.before["put"] = lambda: (site.sessions.update(session.id, increment), None)[1]

    assert site.sessions.update(session.id, increment) == {"n": 2}
    assert dict(site.open()) == {"n": 2}


def test_update_of_this_requests_session_shows_the_result() -> None:
    """The session then has what was saved, beside what it has changed and not saved yet."""
    site, _ = plain_site()
    site.visit(n=0, a=1)
    session = site.open()
    session["mine"] = 1
    site.visit(theirs=1)

    site.sessions.update(session, lambda data: {**data, "n": data["n"] + 1})

    assert dict(session) == {"n": 1, "a": 1, "theirs": 1, "mine": 1}
    site.commit(session)
    assert dict(site.open()) == {"n": 1, "a": 1, "theirs": 1, "mine": 1}
    assert site.told(Conflict) == []


def test_update_of_a_new_session_is_local() -> None:
    """Nobody else can change what is not stored yet."""
    site, store = plain_site()
    session = site.open()

    assert site.sessions.update(session, lambda data: data.update(n=1)) == {"n": 1}
    assert store.calls == []
    site.commit(session)
    assert dict(site.open()) == {"n": 1}


def test_update_of_what_was_ended() -> None:
    """There is nothing to update, and the caller must know."""
    site, _ = plain_site()
    session = site.visit(n=1)
    end_by_logout(site)

    for target in (session.id, values.encode_bytes(bytes(32)), "junk"):
        with pytest.raises(SessionConflict):
            site.sessions.update(target, len)


# --- failures


@pytest.mark.parametrize("broken", ["get", "put"])
def test_store_that_is_down_is_told(broken: str) -> None:
    """What cannot be loaded or saved is StoreUnavailable, for the adapter's 503."""
    site, store = plain_site()
    site.visit(a=1)
    store.broken = {broken}

    with pytest.raises(StoreUnavailable):
        site.visit(b=1)
    assert len(site.told(StoreFailed)) == 1


def stale_site(site: Site, method: str) -> Session:
    """A site with a user whose request has lost to another, and cannot be saved."""
    session = site.open()
    session.login("alice")
    session["n"] = 0
    site.commit(session)
    session = site.sessions.open(site.jar.header, Request(method))
    session["n"] += 1
    site.visit(n=5)
    return session


@pytest.mark.parametrize("carried_out_by", ["commit", "abort", "finish"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_logout_after_a_save_that_was_not_done_ends(site: Site, method: str, carried_out_by: str) -> None:
    """In the page for the conflict, or in the stream of a page that was dropped in silence."""
    session = stale_site(site, method)
    if method == "POST":
        with pytest.raises(SessionConflict):
            site.sessions.commit(session)
    else:
        assert site.sessions.commit(session).dropped == "stale"

    session.logout()
    changes = getattr(site.sessions, carried_out_by)(session)

    assert (session.subject, dict(session)) == (None, {})
    assert site.open().subject is None
    assert site.told(LoggedOut)[-1].subject == "alice"
    if carried_out_by == "abort":  # the headers of the page for a conflict are yet to be sent
        assert bool(changes.set_cookies) is (method == "POST")
    with pytest.raises((SessionConflict, SessionFinished)):
        session["n"] = 1


def test_a_logout_after_a_conflict_ends_the_session_under_its_new_id(site: Site) -> None:
    """The page for the conflict is all that the user sees of what the other request did."""
    session = stale_site(site, "POST")
    moving = site.open()
    moving.regenerate()
    site.commit(moving)
    with pytest.raises(SessionConflict):
        site.sessions.commit(session)

    session.logout()
    site.sessions.abort(session)

    assert site.open().subject is None


def test_nothing_begins_in_the_page_for_a_conflict(site: Site) -> None:
    """Not after a logout either: the handler's own changes were refused."""
    session = stale_site(site, "POST")
    with pytest.raises(SessionConflict):
        site.sessions.commit(session)
    session.logout()

    with pytest.raises(SessionConflict):
        session.login("alice")

    assert site.jar.take(site.sessions.abort(session)).set_cookies
    assert site.open().subject is None


def test_logout_with_the_store_down_still_clears_the_cookie() -> None:
    """The error carries the line for the 503."""
    site, store = plain_site()
    site.visit(a=1)
    session = site.open()
    session.logout()
    store.broken = {"put"}

    with pytest.raises(StoreUnavailable) as caught:
        site.commit(session)

    assert "Max-Age=0" in caught.value.set_cookies[0]


@pytest.mark.parametrize("method", ["logout", "destroy", "clear"])
def test_logout_as_the_first_use_of_a_session_that_cannot_be_loaded_clears_the_cookie(method: str) -> None:
    """The handler did nothing else: the error that it gets carries the line, and so does the page of one that swallows it."""
    site, store = plain_site()
    site.visit(a=1)
    session = site.open()
    store.broken = {"get"}

    with pytest.raises(StoreUnavailable) as caught:
        getattr(session, method)()

    assert "Max-Age=0" in caught.value.set_cookies[0]
    assert list(site.sessions.abort(session).set_cookies) == list(caught.value.set_cookies)


def test_a_flush_as_the_first_use_of_a_session_that_cannot_be_loaded_clears_the_cookie() -> None:
    """As Django's `logout` does it."""
    site, store = plain_site()
    site.visit(a=1)
    session = site.open()
    store.broken = {"get"}

    with pytest.raises(StoreUnavailable) as caught:
        end_own(session, follows=True)

    assert "Max-Age=0" in caught.value.set_cookies[0]


def test_logout_of_a_session_that_only_async_code_can_load_clears_nothing() -> None:
    """It was not asked for in vain: the handler is to load the session first."""
    site = Site(StoreEngine(Async(Plain())))
    session = site.sessions.open(f"{NAME}={'A' * 43}")

    with pytest.raises(SessionNotLoaded) as caught:
        session.logout()

    assert caught.value.set_cookies == ()


def test_anonymous_on_store_error() -> None:
    """The request goes on with an empty, degraded session; the response is stored nowhere and clears nothing."""
    site, store = plain_site(on_store_error="anonymous")
    site.visit(a=1)
    store.broken = {"get"}
    session = site.open()

    assert dict(session) == {}
    assert session.degraded
    assert list(site.commit(session)) == [("Vary", "Cookie"), ("Cache-Control", "private, no-store")]
    site.sessions.finish(session)


def test_asking_whether_a_session_is_degraded_loads_it() -> None:
    """The answer is right before anything else was asked of the session."""
    site, store = plain_site(on_store_error="anonymous")
    site.visit(a=1)
    store.broken = {"get"}

    session = site.open()

    assert session.degraded


def test_degraded_session_refuses_to_be_changed() -> None:
    """A write, a login, a new id or an end that would get lost raises all the same."""
    site, store = plain_site(on_store_error="anonymous")
    site.visit(a=1)
    store.broken = {"get"}
    for change in (
        lambda session: session.login("alice"),
        lambda session: session.regenerate(),
        lambda session: session.destroy(),
        lambda session: session.update(b=1),
        lambda session: session.clear(),
        lambda session: (session.mark_modified(), site.commit(session)),
    ):
        with pytest.raises(StoreUnavailable):
            change(site.open())


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x97" + b"\xc0" * 7])
def test_record_that_cannot_be_decoded_is_a_new_session(junk: bytes) -> None:
    """An event and a new session, never an error on each request of that browser."""
    site, store = plain_site()
    session = site.visit(a=1)
    store.entries[session.id] = (junk, 9, None, START)

    fresh = site.open()
    assert dict(fresh) == {}
    fresh["b"] = 2
    site.commit(fresh)
    assert dict(site.open()) == {"b": 2}
    assert [event.error for event in site.told(StoreFailed)] == ["malformed"]


def test_drawn_id_that_exists_already_is_not_used() -> None:
    """A create that finds something is a store that answered twice, not a session to share."""
    site, store = plain_site()
    session = site.open()
    session["a"] = 1
    store.entries[session.id] = (b"", 1, None, START)

    with pytest.raises(StoreUnavailable):
        site.commit(session)


@pytest.mark.parametrize("change", ["save", "regenerate", "move", "update"])
def test_store_that_never_agrees_is_not_tried_for_ever(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lost race costs a merge; after sixteen a save is a conflict."""
    store = Renaming() if change == "regenerate" else Plain()
    site = Site(StoreEngine(store))
    saved = site.visit(a=1)
    session = site.open()
    session["b"] = 1

    def refuse(key: str, *args: Any, **options: Any) -> int:
        if options["if_version"] is None:
            return 1
        raise VersionConflict

    monkeypatch.setattr(store, "put", refuse)
    if isinstance(store, Renaming):
        monkeypatch.setattr(store, "rename", refuse)
    if change in ("regenerate", "move"):
        session.regenerate()
        created: list[str] = []

        def create(key: str, *args: Any, **options: Any) -> int:
            if key == saved.id:
                raise VersionConflict
            created.append(key)
            return 1

        monkeypatch.setattr(store, "put", create)

    attempts: dict[str, Callable[[], object]] = {
        "update": lambda: site.sessions.update(saved.id, lambda data: data.update(c=1)),
    }

    with pytest.raises(SessionConflict, match="again and again"):
        attempts.get(change, lambda: site.commit(session))()


@pytest.mark.parametrize("by", ["logout", "administration"])
def test_an_end_that_never_wins_its_race_is_carried_out_all_the_same(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever saves again and again must not keep a session alive by that."""
    site, store = plain_site()
    saved = site.visit(a=1)
    leaving = site.open()
    leaving.logout()

    def refuse(key: str, *args: Any, **options: Any) -> int:
        raise VersionConflict

    monkeypatch.setattr(store, "put", refuse)

    if by == "logout":
        assert "Max-Age=0" in site.sessions.commit(leaving).set_cookies[0]
    else:
        assert site.sessions.end(saved.id)
    assert store.entries == {}


# --- seal


def test_sealed_records_are_encrypted_and_bound_to_their_key() -> None:
    """Whoever reads the store sees nothing, whoever writes it can put nothing in the place of another."""
    site, store = plain_site(seal=KEY)
    session = site.visit(password="hunter2")
    mine = store.entries[session.id]
    site_two = Site(StoreEngine(store, seal=KEY))
    other = site_two.visit(a=1)

    assert b"hunter2" not in mine[0]
    assert dict(site.open()) == {"password": "hunter2"}
    store.entries[other.id] = mine
    assert dict(site_two.open()) == {}
    assert [event.error for event in site_two.told(StoreFailed)] == ["tampered"]
    end_by_logout(site)
    assert reasons(site) == []


def test_seal_rotates_its_keys() -> None:
    """A record under an accepted key opens and is sealed anew; under a dropped key it is a new session."""
    store = Plain()
    first = Site(StoreEngine(store, seal=KEY))
    session = first.visit(a=1)
    rotated = Site(StoreEngine(store, seal=Keyring(OTHER_KEY, [KEY])))
    rotated.jar = first.jar
    assert dict(rotated.visit()) == {"a": 1}
    assert rotated.told(Renewed) == [Renewed(session.id, "key")]

    assert dict(Site(StoreEngine(store, seal=OTHER_KEY)).sessions.open(first.jar.header)) == {"a": 1}
    dropped = Site(StoreEngine(store, seal=KEY))
    assert dict(dropped.sessions.open(first.jar.header)) == {}
    assert dropped.told(StoreFailed) == [StoreFailed("decode", "unknown_key", f"key {OTHER_KEY.id.hex()}")]


def test_seal_refuses_records_in_the_clear() -> None:
    """Otherwise whoever can write the store could still put in what he likes."""
    store = Plain()
    clear = Site(StoreEngine(store))
    clear.visit(a=1)

    sealed = Site(StoreEngine(store, seal=KEY))
    assert dict(sealed.sessions.open(clear.jar.header)) == {}
    assert sealed.told(StoreFailed) == [StoreFailed("decode", "unknown_key", "the record is not sealed")]


# --- async


def test_async_store_by_the_same_flows() -> None:
    """Load, save, conflict, login, late change, update and end, awaited."""
    store = Plain()
    site = Site(StoreEngine(Async(store)))
    sessions = site.sessions

    async def scenario() -> None:
        session = await sessions.aopen()
        session["n"] = 1
        site.jar.take(await sessions.acommit(session))
        one, two = await sessions.aopen(site.jar.header), await sessions.aopen(site.jar.header)
        assert not one.accessed
        one["a"] = 1
        two["b"] = 2
        await sessions.acommit(one)
        await sessions.acommit(two)
        three = await sessions.aopen(site.jar.header)
        assert dict(three) == {"n": 1, "a": 1, "b": 2}
        await sessions.aupdate(three, lambda data: data.update(n=data["n"] + 1))
        assert three["n"] == 2
        three.login("alice")
        site.jar.take(await sessions.acommit(three))
        three["late"] = 1
        await sessions.afinish(three)
        four = await sessions.aopen(site.jar.header)
        assert dict(four) == {"n": 2, "a": 1, "b": 2, "late": 1}
        assert await sessions.aend(four.id)
        assert dict(await sessions.aopen(site.jar.header)) == {}
        with pytest.raises(ConfigError, match="find"):
            await sessions.alist("alice")
        with pytest.raises(ConfigError, match="find"):
            await sessions.aend_all("alice")
        await sessions.aclose()

    asyncio.run(scenario())
    assert len(site.told(Created)) == 1


def test_async_untouched_session_without_a_cookie_asks_nothing() -> None:
    """Under async code the store is asked before the handler runs, and only for a request with a cookie."""
    store = Plain()
    sessions = SessionManager(StoreEngine(Async(store)))

    async def scenario() -> None:
        session = await sessions.aopen("other=1")
        assert session.get("a") is None
        await sessions.acommit(session)
        await sessions.aopen(f"{NAME}=junk")

    asyncio.run(scenario())
    assert store.calls == []


def test_async_store_under_sync_code() -> None:
    """Touching what only async code can load says what to do; so does committing it."""
    store = Plain()
    site = Site(StoreEngine(store))
    site.visit(a=1)
    sessions = SessionManager(StoreEngine(Async(store)), clock=site.clock)

    session = sessions.open(site.jar.header)
    with pytest.raises(SessionNotLoaded, match="aopen"):
        session.get("a")
    assert sessions.commit(session).set_cookies == []

    async def load() -> None:
        await session.load()

    asyncio.run(load())
    assert dict(session) == {"a": 1}
    session["b"] = 1
    with pytest.raises(ConfigError, match="acommit"):
        sessions.commit(session)


def test_blocking_store_runs_in_a_worker_thread() -> None:
    """Under async code a store that waits for a disk does not hold the event loop up."""
    import threading

    threads: set[int] = set()

    class Blocking(Plain):
        blocking = True

        def _call(self, name: str) -> None:
            threads.add(threading.get_ident())
            super()._call(name)

    site = Site(StoreEngine(Blocking()))
    site.visit(a=1)
    threads.clear()

    async def scenario() -> Session:
        return await site.sessions.aopen(site.jar.header)

    assert dict(asyncio.run(scenario())) == {"a": 1}
    assert threads
    assert threading.get_ident() not in threads


def test_async_open_with_the_store_down() -> None:
    """The adapter gets the error before the handler runs, or a degraded session."""
    store = Plain()
    Site(StoreEngine(store)).visit(a=1)
    header = f"{NAME}={values.encode_bytes(bytes(32))}"
    store.broken = {"get"}

    with pytest.raises(StoreUnavailable):
        asyncio.run(SessionManager(StoreEngine(Async(store))).aopen(header))
    degraded = asyncio.run(SessionManager(StoreEngine(Async(store), on_store_error="anonymous")).aopen(header))
    assert degraded.degraded
    assert dict(degraded) == {}


def test_async_update_by_id() -> None:
    """aupdate takes an id as well as a session."""
    site, store = plain_site()
    session = site.visit(n=1)
    sessions = SessionManager(StoreEngine(Async(store)), clock=site.clock)

    assert asyncio.run(sessions.aupdate(session.id, lambda data: {**data, "n": 2})) == {"n": 2}
    assert dict(site.open()) == {"n": 2}


def test_reading_after_the_end_is_no_conflict(site: Site) -> None:
    """A late request that only reads has nothing to lose."""
    site.visit(a=1)
    old = site.jar.header
    end_by_logout(site)
    late = site.sessions.open(old)

    assert dict(late) == {}
    assert site.sessions.commit(late).set_cookies == []
    assert site.told(Conflict) == []


@pytest.mark.parametrize("blocking", [True, False])
def test_async_store_may_say_that_it_does_not_block(blocking: bool) -> None:
    """The protocol of sync stores has the attribute; what counts is how the methods are called."""
    store: Any = Async(Plain())
    store.blocking = blocking
    sessions = SessionManager(StoreEngine(store))
    session = asyncio.run(sessions.aopen())
    session["a"] = 1
    changes = asyncio.run(sessions.acommit(session))
    header = changes.set_cookies[0].partition(";")[0]

    assert dict(asyncio.run(sessions.aopen(header))) == {"a": 1}
    with pytest.raises(SessionNotLoaded):
        sessions.open(header)["a"]
    session["b"] = 1
    with pytest.raises(ConfigError, match="async code"):
        sessions.commit(session)


def test_two_tasks_load_one_session() -> None:
    """The second answer does not take the place of what the first task has changed since."""

    class Slow(Async):
        async def get(self, key: str) -> Entry | None:
            entry = await super().get(key)
            slow = len(self.store.calls) > 2
            await asyncio.sleep(0.02 if slow else 0)
            return entry

    store = Plain()
    site = Site(StoreEngine(store))
    site.visit(a=1)
    store.calls.clear()
    sessions = SessionManager(StoreEngine(Slow(store)), clock=site.clock)

    async def both() -> None:
        session = sessions.open(site.jar.header)

        async def first() -> None:
            await session.load()
            session.login("alice")

        store.calls += ["get"]
        await asyncio.gather(first(), session.load())
        await sessions.acommit(session)
        assert session.subject == "alice"

    asyncio.run(both())


def test_update_of_a_session_that_is_ended_or_unknown() -> None:
    """It says so, in place of changing what will never be stored."""
    store = Plain()
    site = Site(StoreEngine(store, on_store_error="anonymous"))
    site.visit(n=0)
    old = site.jar.header
    end_by_logout(site)

    with pytest.raises(SessionConflict):
        site.sessions.update(site.sessions.open(old), dict.clear)
    store.broken.add("get")
    with pytest.raises(StoreUnavailable):
        site.sessions.update(site.sessions.open(old), dict.clear)


def test_why_a_store_failed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The operator needs more than "503"."""
    site, store = plain_site()
    site.visit(a=1)
    store.broken.add("get")

    with pytest.raises(StoreUnavailable):
        site.open().get("a")

    assert "the session store failed to load: down" in caplog.text


# --- settings


@pytest.mark.parametrize(
    ("store", "settings", "named"),
    [
        (None, {}, "no method get"),
        ({}, {}, "no method put"),
        (type("Half", (), {"get": print, "put": print, "delete": print, "close": print})(), {}, "blocking"),
        (Plain(), {"on_conflict": "ignore"}, "on_conflict"),
        (Plain(), {"on_store_error": "ignore"}, "on_store_error"),
        (Plain(), {"seal": "secret"}, "seal=str must be a Keyring or a Key"),
        (Plain, {}, "the class Plain"),
        ("redis://127.0.0.1", {}, "not its URL"),
    ],
)
def test_wrong_settings(store: Any, settings: dict[str, Any], named: str) -> None:
    """A store that lacks something, and a wrong setting, are told at construction."""
    with pytest.raises(ConfigError, match=named):
        StoreEngine(store, **settings)


def test_engines_say_where_the_state_is() -> None:
    """A cookie engine has no store."""
    assert CookieEngine(KEY).store is None
    assert StoreEngine(Plain()).store is not None


def test_emptied_session_keeps_what_another_request_saved(site: Site) -> None:
    """The request that shows the last message must not take the cart of a parallel one along."""
    site.visit(message="hello")
    reading, buying = site.open(), site.open()
    del reading["message"]
    buying["cart"] = ["bread"]

    site.sessions.commit(buying)
    changes = site.commit(reading)

    assert changes.set_cookies == []
    assert dict(site.open()) == {"cart": ["bread"]}
    assert site.told(Destroyed) == []


def test_emptied_session_does_not_clear_the_cookie_of_a_login() -> None:
    """The new cookie survives, whichever response comes last."""
    site = Site(StoreEngine(MemoryStore()))
    site.visit(message="hello")
    reading, logging_in = site.open(), site.open()
    del reading["message"]
    logging_in.login("alice")

    site.commit(logging_in)
    changes = site.commit(reading)

    assert changes.set_cookies == []
    assert site.open().subject == "alice"


@pytest.mark.parametrize("on_conflict", ["merge", "raise", "last_write_wins"])
def test_renewal_fights_over_nothing(on_conflict: Any) -> None:
    """A request that changed no data neither fails for a parallel save nor takes it back."""
    site = Site(StoreEngine(MemoryStore(), on_conflict=on_conflict), idle_timeout=1000)
    site.visit(a=1)
    site.clock.now += 200
    reading, writing = site.open(), site.open()
    reading.get("a")
    writing["b"] = 2

    site.commit(writing)
    site.commit(reading)

    assert dict(site.open()) == {"a": 1, "b": 2}


def test_new_id_of_an_emptied_session_ends_it_for_good(site: Site) -> None:
    """Where a new id was asked for, nothing that another request saved may stay under the old one."""
    site.visit(message="hello")
    old = site.jar.header
    leaving, buying = site.open(), site.open()
    leaving.regenerate()
    leaving.clear()
    buying["cart"] = ["bread"]

    site.sessions.commit(buying)
    site.commit(leaving)

    assert dict(site.sessions.open(old)) == {}


def test_emptied_session_while_the_store_is_down_keeps_its_cookie() -> None:
    """It was no logout: the next request finds it."""
    store = Plain()
    site = Site(StoreEngine(store))
    site.visit(message="hello")
    session = site.open()
    del session["message"]
    store.broken = {"put"}

    with pytest.raises(StoreUnavailable) as caught:
        site.sessions.commit(session)

    assert not caught.value.set_cookies


# --- a clock that was ahead


@pytest.fixture(params=list(STORES))
def hour(request: pytest.FixtureRequest) -> Site:
    """A site whose sessions live an hour, written to by a server whose clock is ten hours ahead until the test turns it."""
    site = Site(StoreEngine(STORES[request.param]()), lifetime="1 hour", idle_timeout="10 minutes")
    site.clock.now = START + 36_000
    return site


def test_a_session_of_a_clock_that_was_ahead_lives_as_long_as_any(hour: Site) -> None:
    """Its times are taken as now, and written: else it would live ten hours longer, and idle as long."""
    session = hour.open()
    session.login("alice")
    session.confirm("totp")
    hour.commit(session)
    hour.clock.now = START
    session = hour.open()
    assert session.subject == "alice"
    assert session.expires_at.timestamp() == START + 600

    hour.commit(session)

    assert [event.cause for event in hour.told(Renewed)] == ["clock"]
    for passed in (540, 1080, 1620, 2160, 2700, 3240):
        hour.clock.now = START + passed
        session = hour.open()
        assert (session.subject, session.confirmed()) == ("alice", passed <= 600)
        hour.commit(session)
    hour.clock.now = START + 3600
    assert hour.open().subject is None


def test_a_passive_request_writes_the_times_of_a_clock_that_was_ahead(hour: Site) -> None:
    """A page that polls is all that some browsers send."""
    hour.visit(n=1)
    hour.clock.now = START
    session = hour.sessions.open(hour.jar.header, Request(passive=True))
    assert session["n"] == 1
    hour.commit(session)

    hour.clock.now = START + 600

    assert dict(hour.open()) == {}


@pytest.mark.parametrize("ahead", [1, 60, 300])
def test_a_clock_that_is_a_little_ahead_costs_no_save(site: Site, ahead: int) -> None:
    """Servers are never quite of one mind, and a slow request would take another's renewal back."""
    site.clock.now += ahead
    session = site.open()
    session.login("alice")
    site.commit(session)
    site.clock.now -= ahead
    session = site.open()

    assert session.subject == "alice"
    site.commit(session)
    assert site.told(Renewed) == []
    session = site.open()
    session["n"] = 1
    site.commit(session)
    assert dict(site.open()) == {"n": 1}


@pytest.mark.parametrize(("ahead", "dropped"), [(0, "dead"), (30, "dead"), (36_000, "")])
def test_an_id_that_changed_by_a_clock_that_was_far_ahead_is_no_news(site: Site, ahead: int, dropped: str) -> None:
    """Else nothing that comes with it would be saved for ten hours; a little ahead is what two servers always are."""
    site.visit(n=1)
    before = site.jar.header
    site.clock.now += ahead
    session = site.open()
    session.regenerate()
    site.commit(session)
    site.clock.now = START + 5
    session = site.sessions.open(before)
    session["n"] = 2

    changes = site.sessions.commit(session)

    assert (changes.dropped, bool(changes.set_cookies)) == (dropped, not dropped)

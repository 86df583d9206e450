"""StoreEngine where another request comes in between, and where the store refuses, at a chosen call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.kit import KEY, START, Jar, Site

from hardtack import Cookie, Request, StoreEngine, values
from hardtack import record as records
from hardtack.adapters import max_age_of, set_fields
from hardtack.errors import ConfigError, SessionConflict, SessionTooLarge, StoreFull, StoreUnavailable
from hardtack.events import Conflict, Rejected
from hardtack.protocols import Context, Entry, Tombstone, VersionConflict
from hardtack.record import Record
from hardtack.stores.memory import MemoryStore

POST = Request("POST", "https", "shop.example")


class Meanwhile(MemoryStore):
    """A store in memory that does something else first, once, when a method is called: `before["put"] = function`."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], object]] = {}

    def _first(self, method: str) -> None:
        before = self.before.pop(method, None)
        if before is not None:
            before()

    def get(self, key: str) -> Entry | None:
        self._first("get")
        return super().get(key)

    def put(self, key: str, data: bytes, *, expires_at: int, if_version: Any, subject: str | None) -> Any:
        self._first("put")
        return super().put(key, data, expires_at=expires_at, if_version=if_version, subject=subject)

    def rename(
        self,
        old: str,
        new: str,
        data: bytes,
        *,
        expires_at: int,
        if_version: Any,
        subject: str | None,
        tombstone: Tombstone | None = None,
    ) -> Any:
        self._first("rename")
        return super().rename(
            old, new, data, expires_at=expires_at, if_version=if_version, subject=subject, tombstone=tombstone
        )


def racing(**options: Any) -> tuple[Site, Meanwhile]:
    store = Meanwhile()
    return Site(StoreEngine(store), **options), store


def raises(error: Exception) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


# --- a session goes on


def test_a_merge_that_outgrows_the_limit_is_a_conflict() -> None:
    """Neither request's own data is too large: only both together are."""
    site, _ = racing(max_size=1_000)
    site.visit(n=1)
    one, other = site.open(), site.open()
    one["a"], other["b"] = "x" * 600, "x" * 600
    site.commit(one)

    with pytest.raises(SessionConflict, match="together are more than max_size"):
        site.commit(other)

    assert set(site.open()) == {"n", "a"}


def test_an_id_change_that_merges_beyond_the_limit_is_a_conflict() -> None:
    """And the session keeps its id."""
    site, _ = racing(max_size=1_000)
    site.visit(n=1)
    one, other = site.open(), site.open()
    one["a"], other["b"] = "x" * 600, "x" * 600
    other.regenerate()
    site.commit(one)

    with pytest.raises(SessionConflict, match="together are more than max_size"):
        site.commit(other)

    assert set(site.open()) == {"n", "a"}


def test_a_new_id_for_too_much_is_refused() -> None:
    """A session that is too large by itself is no conflict, and nothing is stored."""
    site, _ = racing(max_size=1_000)
    site.visit(n=1)
    session = site.open()
    session["a"] = "x" * 2_000
    session.regenerate()

    with pytest.raises(SessionTooLarge):
        site.commit(session)

    assert dict(site.open()) == {"n": 1}


def test_a_new_id_that_rests_on_stale_reads_is_refused() -> None:
    """What was read and changed by another before the commit makes `regenerate` a conflict: it shows no credential."""
    site, _ = racing()
    site.visit(n=1)
    session, other = site.open(), site.open()
    session["m"] = session["n"]
    session.regenerate()
    other["n"] = 2
    site.commit(other)

    with pytest.raises(SessionConflict, match="its id was not changed"):
        site.commit(session)

    assert dict(site.open()) == {"n": 2}


def test_a_new_id_is_a_conflict_where_an_update_showed_a_stale_read() -> None:
    """`update` brings in what another has changed: what was read before of it is known to be stale already."""
    site, _ = racing()
    site.visit(n=1)
    session, other = site.open(), site.open()
    session["m"] = session["n"]
    other["n"] = 2
    site.commit(other)
    site.sessions.update(session, lambda data: data.update(k=1))
    session.regenerate()

    with pytest.raises(SessionConflict, match="its id was not changed"):
        site.commit(session)

    assert dict(site.open()) == {"n": 2, "k": 1}


@pytest.mark.parametrize("on_conflict", ["merge", "last_write_wins"])
def test_a_new_id_on_an_ended_session_begins_one_of_nobody(on_conflict: Any) -> None:
    """`regenerate` shows no credential: who was logged out everywhere must not come out of it as alice."""
    site = Site(StoreEngine(MemoryStore(), on_conflict=on_conflict))
    site.visit(secret=1)
    session = site.open()
    session.login("alice")
    site.commit(session)
    slow = site.open()
    assert slow.subject == "alice"
    slow["cart"] = ["bread"]
    slow.regenerate()
    assert site.sessions.end_all("alice") == 1

    site.commit(slow)

    again = site.open()
    assert (dict(again), again.subject) == ({"cart": ["bread"]}, None)


def test_a_renewal_of_an_ended_session_is_no_conflict() -> None:
    """Who only read has nothing to lose, and is not told of it."""
    site, _ = racing(idle_timeout="30 minutes")
    site.visit(n=1)
    site.clock.now += 1_000
    slow = site.open()
    assert slow["n"] == 1
    site.sessions.end(slow.id)

    changes = site.sessions.commit(slow)

    assert (changes.dropped, site.told(Conflict)) == ("", [])
    assert dict(site.open()) == {}


# --- a session begins


def test_a_second_session_under_a_drawn_id_is_an_error() -> None:
    """The store answered for a write that it had done already: a session that begins after an end is never shared."""
    site, store = racing()
    site.visit(n=1)
    session = site.open()
    session.clear()
    session["user"] = "alice"

    # The first put is the tombstone, the second the new session.
    store.before["put"] = lambda: store.before.update(put=raises(VersionConflict("exists")))

    with pytest.raises(StoreUnavailable, match="just drawn"):
        site.commit(session)


def test_a_full_store_deletes_what_ends() -> None:
    """Where there is no room for a tombstone, a logout ends the session all the same."""
    site, store = racing()
    session = site.visit(n=1)
    old = site.jar.header
    session = site.open()
    session.logout()
    store.before["put"] = raises(StoreFull("full"))

    site.commit(session)

    assert dict(site.sessions.open(old)) == {}
    assert store.get(session.id) is None


# --- ends


def test_a_logout_before_a_login_ends_only_the_id_that_it_holds() -> None:
    """The request logs in afterwards, and the data of the first user does not go on."""
    site, _ = racing()
    session = site.open()
    session.login("alice")
    session["secret"] = 1
    site.commit(session)
    old = site.jar.header
    session = site.open()
    session.logout()
    session.login("bob")

    site.commit(session)

    again = site.open()
    assert (again.subject, dict(again)) == ("bob", {})
    assert site.sessions.open(old).subject is None


@pytest.mark.parametrize("subject", ["alice", "bob"])
def test_a_second_logout_and_login_ends_the_session_of_the_first_for_the_same_user(subject: str) -> None:
    """The answer of the first click was lost; a session of another user is left alone."""
    site, _ = racing()
    site.visit(n=1)
    old = site.jar.header
    first = site.open()
    first.login("alice")
    lost = Jar()
    slow = site.open()
    slow.logout()
    slow.login(subject)
    lost.take(site.sessions.commit(first))

    site.commit(slow)

    assert site.open().subject == subject
    assert site.sessions.open(lost.header).subject == (None if subject == "alice" else "alice")
    assert site.sessions.open(old).subject is None


def test_a_login_follows_a_dead_id_through_two_changes() -> None:
    """A ghost whose id was changed again is found and ended."""
    site, _ = racing()
    site.visit(n=1)
    slow = site.open()
    slow.login("alice")
    session = site.open()
    session.login("alice")
    site.commit(session)
    session = site.open()
    session.regenerate()
    site.commit(session)
    ghost = site.jar.header

    site.commit(slow)

    assert site.open().subject == "alice"
    assert site.sessions.open(ghost).subject is None
    assert site.sessions.count("alice") == 1


def test_a_logout_with_a_dead_id_ends_its_successor() -> None:
    """The request came after the change: the old id is only remembered, and where it went as well."""
    site, _ = racing()
    session = site.visit(n=1)
    old = site.jar.header
    session = site.open()
    session.login("alice")
    site.commit(session)
    late = site.sessions.open(old)
    assert dict(late) == {}
    late.logout()

    site.sessions.commit(late)

    assert site.open().subject is None
    assert site.sessions.count("alice") == 0


# --- settings of the session itself


def test_a_login_again_takes_no_confirmation_along() -> None:
    """A new login has shown no second factor, though another request has saved the session with one meanwhile."""
    site, _ = racing()
    session = site.open()
    session.login("alice")
    session.confirm("totp")
    site.commit(session)
    one, other = site.open(), site.open()
    assert other.confirmed(by="totp")
    one["a"] = 1
    site.commit(one)
    other.login("alice")

    site.commit(other)

    again = site.open()
    assert (again.subject, again.confirmed(by="totp")) == ("alice", False)


def test_what_one_request_takes_back_is_not_kept_by_the_other() -> None:
    """A framework's "remember me" that is taken back stays so, though another request saved first."""
    site, _ = racing()
    session = site.open()
    session["n"] = 1
    session.csrf_token()
    set_fields(session, subject=None, persistent=True)
    site.commit(session)
    one, other = site.open(), site.open()
    assert (one["n"], other["n"]) == (1, 1)
    assert max_age_of(other) is not None
    one["a"] = 1
    site.commit(one)
    set_fields(other, subject=None)

    site.commit(other)

    again = site.open()
    assert (dict(again), max_age_of(again)) == ({"n": 1, "a": 1}, None)


# --- a store of another system's ids


class Ids:
    """Ids of 8 letters or more."""

    def accepts(self, text: str) -> bool:
        return text.isalpha()

    def new_id(self) -> str:
        import secrets

        return "".join(chr(97 + byte % 26) for byte in secrets.token_bytes(32))

    def handle(self, text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()


class Native(MemoryStore):
    """A store that another system uses too."""

    native_ids = Ids()

    def resolve(self, handle: bytes) -> str | None:
        return next((key for key in self._slots if Ids().handle(key) == handle), None)


class Old:
    """A cookie of a system before: its data in plain sight."""

    cookie_name = "old"
    path = "/"
    domain = None
    authenticates_time = True
    format_name = "old"

    def open(self, cookies: Mapping[str, Sequence[str]], context: Context) -> Record:
        return Record(b"x" * 16, START - 100, None, START - 50, None, {}, {"user": cookies["old"][-1]})

    def seal(self, record: Record, context: Context) -> dict[str, str]:
        return {"old": record.data["user"]}


NATIVE_COOKIE = Cookie(name="theirs", secure=False, samesite=None)


@pytest.mark.parametrize("taken", ["both", "one"])
def test_of_two_that_take_one_value_where_another_system_reads_too_the_second_fails(taken: str) -> None:
    """Nothing but sessions may be put into its store: who was first is seen in the session itself."""
    site = Site(StoreEngine(Native()), cookie=NATIVE_COOKIE)
    session = site.open()
    name, other = session.once.put("state"), session.once.put("other")
    site.commit(session)
    first, second = site.open(), site.open()
    assert first.once.take(name) == "state"
    assert second.once.take(name if taken == "both" else other) is not None
    site.commit(first)

    if taken == "both":
        with pytest.raises(SessionConflict):
            site.commit(second)
    else:
        site.commit(second)
    session = site.open()
    assert (session.once.take(name), session.once.take(other)) == (None, "other" if taken == "both" else None)


def test_an_id_of_another_system_is_the_stores_key() -> None:
    """The cookie carries it, it is never looked up where it cannot be one, and sessions are found and ended by handle."""
    store = Native()
    site = Site(StoreEngine(store), cookie=NATIVE_COOKIE)
    session = site.open()
    session.login("alice")
    site.commit(session)

    assert site.jar.cookies["theirs"] in store._slots
    (info,) = site.sessions.list("alice")
    assert dict(site.sessions.open("theirs=1234")) == {}
    assert [event.reason for event in site.told(Rejected)] == ["malformed"]
    assert site.sessions.end(info.id)
    assert not site.sessions.end(values.encode_bytes(bytes(32)))
    assert site.open().subject is None


def test_a_record_that_another_program_wrote_gets_its_id_from_its_key() -> None:
    """That program knows nothing of our ids."""
    store = Native()
    site = Site(StoreEngine(store), cookie=NATIVE_COOKIE)
    data = records.pack(Record(bytes(32), START, None, START, None, {}, {"cart": ["bread"]}))
    store.put("abcdefgh", data, expires_at=START + 1_000, if_version=None, subject=None)

    session = site.sessions.open("theirs=abcdefgh")

    assert dict(session) == {"cart": ["bread"]}
    assert session.id == values.encode_bytes(Ids().handle("abcdefgh"))


def test_a_session_that_is_taken_over_gets_a_drawn_id_where_ids_are_another_systems() -> None:
    """Such an id cannot be derived from the old cookie."""
    store = Native()
    site = Site(StoreEngine(store), cookie=NATIVE_COOKIE, accept=[Old()])
    session = site.sessions.open("old=alice")
    session["n"] = 1

    site.commit(session)

    assert dict(site.open()) == {"user": "alice", "n": 1}
    assert site.jar.cookies["theirs"].isalpha()


def test_another_systems_records_are_not_sealed() -> None:
    """The other program reads them as they are."""
    with pytest.raises(ConfigError, match="Native"):
        StoreEngine(Native(), seal=KEY)


@pytest.mark.parametrize("id", ["?", "abc"])
def test_what_cannot_be_an_id_ends_nothing(id: str) -> None:
    """Without asking the store."""
    site, store = racing()
    store.before["get"] = raises(StoreUnavailable("asked"))

    assert site.sessions.end(id) is False


@pytest.mark.parametrize("key", ["?", "abc"])
def test_an_index_with_what_is_no_key_is_no_session(key: str) -> None:
    """What somebody else put into the index of the store is skipped."""
    site, store = racing()
    session = site.open()
    session.login("alice")
    site.commit(session)
    store._keys_of["alice"].add(key)

    assert [info.id for info in site.sessions.list("alice")] == [site.open().id]
    assert site.sessions.count("alice") == 1


@pytest.mark.parametrize("wrong", ["cart", b"cart", 5])
def test_declared_keys_are_a_list(wrong: Any) -> None:
    """A text would declare each of its letters."""
    with pytest.raises(ConfigError, match="list of keys"):
        StoreEngine(MemoryStore(), merge=wrong)


@pytest.mark.parametrize(("merge", "on_conflict"), [([5], "merge"), (["cart"], "last_write_wins")])
def test_declared_keys_that_mean_nothing_are_told(merge: Any, on_conflict: Any) -> None:
    """A key that is no str, or keys where nothing is merged."""
    with pytest.raises(ConfigError, match="merge="):
        StoreEngine(MemoryStore(), merge=merge, on_conflict=on_conflict)


@pytest.mark.parametrize("text", ["short", "é" * 43, "!" * 43])
def test_a_malformed_cookie_is_told_and_not_looked_up(text: str) -> None:
    """The visitor is nobody."""
    site, store = racing()
    store.before["get"] = raises(StoreUnavailable("asked"))

    assert dict(site.sessions.open(f"__Host-Http-session={text}")) == {}
    assert [event.reason for event in site.told(Rejected)] == ["malformed"]

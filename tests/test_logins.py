"""What a login may be told: a label, a limit of sessions; and confirming that it is still the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.kit import KEY, START, Jar, Site

from hardtack import CookieEngine, StoreEngine
from hardtack.errors import ConfigError, SessionFinished, SessionTooLarge, TooManySessions
from hardtack.events import Confirmed, Destroyed, LoggedIn, LoggedOut
from hardtack.protocols import Entry
from hardtack.session import Session, state_of
from hardtack.stores.memory import MemoryStore


def stored(**options: Any) -> Site:
    return Site(StoreEngine(MemoryStore()), **options)


@pytest.fixture(params=["store", "cookie"])
def site(request: pytest.FixtureRequest) -> Site:
    """A site on a store, or on cookies."""
    return stored() if request.param == "store" else Site(CookieEngine(KEY))


def log_in(site: Site, subject: str = "alice", **options: Any) -> Jar:
    """Another browser of the user."""
    site.clock.now += 1
    jar = Jar()
    session = site.sessions.open("")
    session.login(subject, **options)
    jar.take(site.sessions.commit(session))
    return jar


# --- what a login says


def test_a_label_is_listed() -> None:
    """And cut, because a client chooses it."""
    site = stored()
    log_in(site, label="Firefox on Linux")
    log_in(site, label="x" * 1_000)

    labels = [info.label for info in site.sessions.list("alice")]

    assert labels == ["x" * 200, "Firefox on Linux"]


def test_persistent_is_the_logins_own(site: Site) -> None:
    """ "Remember me" by one visitor, where the manager's cookies end with the browser; and the other way around."""
    session = site.open()
    session.login("alice", persistent=True)
    (kept, *_) = site.commit(session).set_cookies
    session = site.open()
    session.login("alice", persistent=False)
    (forgotten, *_) = site.commit(session).set_cookies

    assert ("Max-Age" in kept, "Max-Age" in forgotten) == (True, False)


def test_a_lifetime_is_the_logins_own(site: Site) -> None:
    """Shorter than the manager's, to the second."""
    session = site.open()
    session.login("alice", lifetime="10 minutes")
    site.commit(session)
    site.clock.now += 599
    before = site.open().subject
    site.clock.now += 1

    assert (before, site.open().subject) == ("alice", None)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"lifetime": 0}, "lifetime"),
        ({"lifetime": "soon"}, "lifetime"),
        ({"persistent": "yes"}, "persistent"),
        ({"label": 5}, "label"),
        ({"sid": b"x"}, "sid"),
        ({"at_most": 0}, "at_most"),
        ({"at_most": True}, "at_most"),
        ({"at_most": 1, "beyond": "ask"}, "beyond"),
        ({"beyond": "refuse"}, "at_most"),
    ],
)
def test_a_wrong_setting_is_told(wrong: dict[str, Any], names: str) -> None:
    """By its name, and nobody is logged in."""
    session = Site().open()

    with pytest.raises(ConfigError, match=names):
        session.login("alice", **wrong)

    assert session.subject is None


class Safe(str):
    """As Django's SafeString and Markup: text that remains of its class."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __getitem__(self, key: Any) -> Safe:
        return Safe(super().__getitem__(key))


def test_a_label_is_plain_text(site: Site) -> None:
    """Whatever class it is of, and whatever a client has sent as its name."""
    session = site.open()
    session.login("alice", label=Safe("Fire\udcfffox" + "x" * 300), sid=Safe("s1"))
    site.commit(session)

    again = site.open()
    assert again.subject == "alice"
    options = state_of(again).meta.options
    assert options == {"x-label": "Fire?fox" + "x" * 192, "sid": "s1"}
    assert {type(text) for text in options.values()} == {str}
    assert site.told(LoggedIn)[0].label == options["x-label"]


@pytest.mark.parametrize(
    "use",
    [
        lambda site, text: site.open().login(text),
        lambda site, text: site.open().login("alice", sid=text),
        lambda site, text: site.sessions.list(text),
        lambda site, text: site.sessions.end_all(text),
        lambda site, text: site.sessions.count(text),
    ],
    ids=["login", "sid", "list", "end_all", "count"],
)
def test_half_a_character_is_told(use: Callable[[Site, str], object]) -> None:
    """By the name of what holds it, and not by what each store makes of it."""
    with pytest.raises(
        ConfigError, match=r"(the user's id that login\(\) takes|login\(sid\)|subject) holds a lone surrogate"
    ):
        use(stored(), "a\udcff")


@pytest.mark.parametrize("subject", ["", 7, None, b"alice"])
def test_a_subject_is_a_text(subject: Any) -> None:
    """A number would be another user's than its text."""
    with pytest.raises(TypeError, match="str"):
        Site().open().login(subject)


def test_login_and_logout_are_told(site: Site) -> None:
    """As events of their own, beside those of the session."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    session = site.open()
    session.logout()
    site.commit(session)

    assert [event.subject for event in site.told(LoggedIn)] == ["alice"]
    assert [event.subject for event in site.told(LoggedOut)] == ["alice"]


# --- how many


def test_the_oldest_login_ends() -> None:
    """Of more than `at_most`; the others go on."""
    site = stored()
    jars = [log_in(site, at_most=2) for _ in range(4)]

    subjects = [site.sessions.open(jar.header).subject for jar in jars]

    assert subjects == [None, None, "alice", "alice"]
    assert len(site.told(Destroyed)) == 2
    assert site.sessions.count("alice") == 2


def test_a_login_that_ended_by_itself_meanwhile_is_not_told_of_twice() -> None:
    """It was one too many when the list was read, and had gone when its turn came."""

    class Outrun(MemoryStore):
        """A store in which a session ends before it is read for the third time."""

        key = ""
        reads = 0

        def get(self, key: str) -> Entry | None:
            self.reads += key == self.key
            if self.reads == 3:
                self.delete(key)
            return super().get(key)

    store = Outrun()
    site = Site(StoreEngine(store))
    log_in(site)
    (store.key,) = (info.id for info in site.sessions.list("alice"))

    log_in(site, at_most=1)

    assert site.told(LoggedOut) == []
    assert site.sessions.count("alice") == 1


def test_a_login_beyond_the_limit_is_refused() -> None:
    """With an error at the commit; the sessions that are there go on, and so does the one that wanted to log in."""
    site = stored()
    first = log_in(site, at_most=1, beyond="refuse")
    site.visit(cart=["bread"])
    session = site.open()
    session.login("alice", at_most=1, beyond="refuse")

    with pytest.raises(TooManySessions, match="1 sessions already"):
        site.commit(session)

    assert site.sessions.open(first.header).subject == "alice"
    again = site.open()
    assert (dict(again), again.subject) == ({"cart": ["bread"]}, None)


def test_a_login_again_in_one_browser_counts_once() -> None:
    """The session that becomes another is not one more."""
    site = stored()
    for _ in range(3):
        session = site.open()
        session.login("alice", at_most=1, beyond="refuse")
        site.commit(session)

    assert site.open().subject == "alice"
    assert site.sessions.count("alice") == 1


def test_another_user_has_a_limit_of_his_own() -> None:
    """Counted by subject."""
    site = stored()
    alice, bob = log_in(site, "alice", at_most=1), log_in(site, "bob", at_most=1)

    assert [site.sessions.open(jar.header).subject for jar in (alice, bob)] == ["alice", "bob"]


def test_a_limit_needs_a_store_that_finds() -> None:
    """A cookie engine cannot know how many there are, and says so at once."""
    session = Site(CookieEngine(KEY)).open()

    with pytest.raises(ConfigError, match="StoreEngine"):
        session.login("alice", at_most=1)

    assert session.subject is None


# --- confirming


def test_who_confirmed_is_confirmed_for_a_while(site: Site) -> None:
    """By any factor or by the one that is asked for; the id is another, the deadline is not."""
    session = site.open()
    session.login("alice")
    site.commit(session)
    session = site.open()
    before, id_before, expires = session.confirmed(), session.id, session.expires_at
    session.confirm("totp")
    site.commit(session)
    session = site.open()

    assert not before
    assert (session.id != id_before, session.expires_at) == (True, expires)
    assert session.confirmed()
    assert (session.confirmed(by="totp"), session.confirmed(by="password")) == (True, False)
    site.clock.now += 601
    session = site.open()
    assert (session.confirmed(), session.confirmed(within="1 hour")) == (False, True)
    assert [event.methods for event in site.told(Confirmed)] == [("totp",)]


def test_a_confirmation_is_listed() -> None:
    """So that a user sees it beside the others."""
    site = stored()
    session = site.open()
    session.login("alice")
    session.confirm()
    site.commit(session)

    (info,) = site.sessions.list("alice")

    assert info.confirmed_at is not None
    assert info.confirmed_at.timestamp() == START


def test_nobody_cannot_confirm(site: Site) -> None:
    """There is no user to ask for a factor."""
    with pytest.raises(ConfigError, match="login"):
        site.open().confirm("password")


def test_a_method_is_a_name(site: Site) -> None:
    """A number would not be found again."""
    session = site.open()
    session.login("alice")
    with pytest.raises(TypeError, match="confirm"):
        session.confirm(5)


def test_a_login_is_no_confirmation_and_ends_one(site: Site) -> None:
    """The next user of the browser has shown nothing."""
    session = site.open()
    session.login("alice")
    session.confirm("password")
    site.commit(session)
    session = site.open()
    session.login("bob")
    site.commit(session)

    assert not site.open().confirmed()


def test_a_session_of_no_manager_can_log_in() -> None:
    """Such as one in a test of a handler."""
    session = Session()
    session.login("alice")
    session.confirm("password")

    assert session.subject == "alice"
    assert session.confirmed(by="password")


# --- how large, how long


def test_a_session_beyond_max_size_is_refused() -> None:
    """Before it is stored; what was there stays, may shrink, and may end."""
    site = stored(max_size="1 KiB")
    site.visit(n=1, text="x" * 900)
    session = site.open()
    session["more"] = "y" * 500

    with pytest.raises(SessionTooLarge, match="max_size"):
        site.commit(session)

    session = site.open()
    assert "more" not in session
    session["text"] = "x"
    site.commit(session)
    session = site.open()
    assert session["text"] == "x"
    session.logout()
    site.commit(session)
    assert dict(site.open()) == {}


def test_a_session_that_was_larger_may_stay_as_large() -> None:
    """A limit that is lowered on a running site logs nobody out, and does not fail who shrinks or renews."""
    store = MemoryStore()
    site, lower = Site(StoreEngine(store)), Site(StoreEngine(store), max_size=200)
    site.visit(text="x" * 900, n=1)
    lower.jar = site.jar
    session = lower.open()
    session["n"] = 2
    lower.commit(session)

    assert lower.open()["n"] == 2
    session = lower.open()
    session["n"] = 1_000_000
    with pytest.raises(SessionTooLarge, match="max_size"):
        lower.commit(session)


@pytest.mark.parametrize("limit", [200, 960])
@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.csrf_token(),
        lambda session: session.login("alice", label="x" * 200),
        lambda session: session.login("alice", label="x" * 200) or session.confirm("totp"),
    ],
    ids=["token", "login", "confirm"],
)
def test_what_is_no_data_is_kept_beyond_max_size(use: Callable[[Any], object], limit: int) -> None:
    """A user whose session was larger, or nearly as large, can log in, and forms have their tokens; data may not grow."""
    store = MemoryStore()
    site, lower = Site(StoreEngine(store)), Site(StoreEngine(store), max_size=limit)
    site.visit(text="x" * 900, n=1)
    lower.jar = site.jar
    session = lower.open()
    use(session)
    lower.commit(session)

    assert len(lower.open()["text"]) == 900
    session = lower.open()
    session.csrf_token()
    session["more"] = "y" * 400
    with pytest.raises(SessionTooLarge, match="max_size"):
        lower.commit(session)


@pytest.mark.parametrize("size", [0, -1, "many", "1 GB per user", True, 1.5, 1 << 50])
def test_a_wrong_size_is_told(size: Any) -> None:
    """With an example of a right one."""
    with pytest.raises(ConfigError, match="max_size"):
        Site(max_size=size)


def test_a_finished_session_can_be_read_and_not_changed(site: Site) -> None:
    """A task that outlives the response is told, where it would lose what it writes."""
    session = site.visit(n=1)
    site.sessions.finish(session)

    assert (session["n"], session.get("m"), dict(session), len(session)) == (1, None, {"n": 1}, 1)
    for change in (
        lambda: session.update(n=2),
        lambda: session.__setitem__("n", 2),
        lambda: session.pop("n"),
        lambda: session.setdefault("m", 2),
        session.clear,
        session.popitem,
        session.logout,
        session.regenerate,
        lambda: session.login("alice"),
        lambda: session.flash("late"),
    ):
        with pytest.raises(SessionFinished):
            change()
    assert dict(site.open()) == {"n": 1}

"""One behaviour in all frameworks: the same requests to the same handlers, through each framework and over each engine.

What a framework does differently from all others, for a reason of its own, is in its own test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.frameworks.harness import (
    ALL_METHODS,
    BIG,
    CDN_HEADERS,
    ROOT,
    Answer,
    Browser,
    Loop,
    Script,
    Site,
    WatchedStore,
    in_background,
    is_elsewhere,
)
from tests.frameworks.sites import SITES
from tests.kit import Clock

from hardtack import (
    Cookie,
    CookieEngine,
    EndedSessions,
    Key,
    KnownDevices,
    SessionManager,
    SignedToken,
    StoreEngine,
    events,
)
from hardtack.errors import SessionFinished

# Sanic imports what websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:websockets.*is deprecated:DeprecationWarning")

KEY = Key(bytes(range(32)))
DEVICE = "__Host-Http-device-session"
MAX_SET_COOKIE = 4096  # bytes of a line that browsers keep

ENGINES: dict[str, Callable[[WatchedStore], Any]] = {
    "encrypted": lambda store: CookieEngine(KEY),
    "signed": lambda store: CookieEngine(SignedToken(KEY)),
    "chunked": lambda store: CookieEngine(KEY, overflow="chunk"),
    "store": StoreEngine,
}

LENIENT: dict[str, Callable[[WatchedStore], Any]] = {
    "anonymous": lambda store: StoreEngine(store, on_store_error="anonymous"),
}


LISTED: dict[str, Callable[[WatchedStore], Any]] = {"cookie with a list": lambda store: CookieEngine(KEY)}


class World:
    """One framework's application, its manager, its store and a browser."""

    def __init__(self, framework: str, engine: Any, store: WatchedStore, loop: Loop, **options: Any) -> None:
        self.framework = framework
        self.store = store
        self.events: list[events.Event] = []
        self.sessions = SessionManager(engine, on_event=self.events.append, **options)
        self.script = Script()
        self.site: Site = SITES[framework](self.sessions, self.script, loop)
        self.browser = Browser(self.site)

    def told(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


Make = Callable[..., World]


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(params=SITES)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(framework: str, loop: Loop) -> Iterator[Make]:
    """Builds the world of an engine, by its name."""
    worlds: list[World] = []

    def make(engine: str, **options: Any) -> World:
        store = WatchedStore()
        ended = EndedSessions.from_url("memory://") if engine in LISTED else None
        world = World(framework, (ENGINES | LENIENT | LISTED)[engine](store), store, loop, ended=ended, **options)
        worlds.append(world)
        return world

    yield make
    for world in reversed(worlds):  # Django's settings are put back in turn
        world.script.gate.set()
        world.site.close()
        if world.sessions.core.ended is not None:
            world.sessions.core.ended.close()


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest, make: Make) -> World:
    """Every framework over every engine."""
    return make(request.param)


@pytest.fixture
def stored(make: Make) -> World:
    """Every framework over a store."""
    return make("store")


@pytest.fixture(params=["store", *LISTED])
def ending(request: pytest.FixtureRequest, make: Callable[[str], World]) -> World:
    """Every framework over what ends every copy of a cookie."""
    return make(request.param)


# --- creation


def test_an_untouched_session_sets_nothing_and_writes_nothing(world: World) -> None:
    """Not for a new visitor, and not for one who has a session; the response does not depend on the cookie."""
    first = world.browser.get("/untouched")
    world.browser.get("/write-n")
    writes = world.store.writes
    second = world.browser.get("/untouched")

    for answer in (first, second):
        assert answer.status == 200
        assert answer.set_cookies == []
        assert answer.tokens("vary") == set()
        assert answer.tokens("cache-control") == set()
    assert world.store.writes == writes


def test_reading_creates_nothing(world: World) -> None:
    """But the response depends on the cookie, and says so."""
    answer = world.browser.get("/read-n")

    assert answer.text == "0"
    assert answer.set_cookies == []
    assert world.store.writes == 0
    assert "cookie" in answer.tokens("vary")
    assert answer.tokens("cache-control") == {"private"}


@pytest.mark.parametrize("framework", ["fastapi", "litestar", "falcon-wsgi", "falcon-asgi", "bottle"], indirect=True)
def test_a_session_that_the_framework_makes_json_of_was_read(world: World) -> None:
    """The handler only names it (or makes a dict of it, for msgspec and ujson), and the response depends on the cookie."""
    world.browser.get("/write-n")

    answer = world.browser.get("/media")

    assert '"n":1' in answer.text.replace(" ", "")
    assert "cookie" in answer.tokens("vary")
    assert answer.tokens("cache-control") == {"private"}


def test_what_is_written_is_read_on_the_next_request(world: World) -> None:
    """And reading it sets no cookie again."""
    world.browser.get("/write-n")
    world.browser.get("/write-n")

    answer = world.browser.get("/read-n")

    assert answer.text == "2"
    assert answer.set_cookies == []


def test_a_nested_change_is_kept(world: World) -> None:
    """Nothing needs to be marked."""
    world.browser.get("/basket")
    world.browser.get("/nested-bread")

    assert world.browser.state()["data"] == {"basket": {"items": ["bread"]}}


def test_an_id_that_the_client_made_up_is_never_adopted(stored: World) -> None:
    """The session that begins then has another one."""
    invented = "A" * 43
    stored.browser.cookies["__Host-Http-session"] = invented

    stored.browser.get("/write-n")

    assert stored.browser.cookies["__Host-Http-session"] != invented
    assert stored.told(events.Rejected)


@pytest.mark.parametrize("engine", ["encrypted", "store"])
def test_a_page_that_polls_keeps_no_session_alive(make: Make, engine: str) -> None:
    """The framework's setting says which one does: it is served and renews nothing, and any other page renews."""
    for path, lives in (("/poll-n", False), ("/read-n", True)):
        clock = Clock()
        world = make(engine, idle_timeout="1 hour", clock=clock)
        world.browser.get("/write-n")
        writes = world.store.writes
        clock.now += 3_000

        answer = world.browser.get(path)

        assert answer.text == "1"
        assert bool(answer.set_cookies or world.store.writes > writes) is lives
        clock.now += 3_000
        assert world.browser.get("/read-n").text == ("1" if lives else "0")


# --- the cookie


def test_the_cookie_has_the_safe_attributes(world: World) -> None:
    """Nobody has to ask for them."""
    answer = world.browser.get("/write-n")

    [line] = answer.set_cookies
    name, *attributes = line.split("; ")
    assert name.startswith("__Host-Http-session")
    assert set(attributes) == {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"}


def test_the_cookie_has_the_attributes_that_were_asked_for(framework: str, loop: Loop) -> None:
    """The manager decides, not the framework's own settings."""
    cookie = Cookie(name="sid", path="/", secure=False, httponly=False, samesite="Strict")
    sessions = SessionManager(CookieEngine(KEY), cookie=cookie, persistent=True)
    site = SITES[framework](sessions, Script(), loop)

    [line] = site.request("/write-n").set_cookies
    site.close()

    attributes = [part.partition("=")[0] for part in line.split("; ")]
    assert attributes == ["sid", "Expires", "Max-Age", "Path", "SameSite"]


def test_a_response_with_a_cookie_is_not_cached(world: World) -> None:
    """A shared cache would hand one user's session to the next; what the application said otherwise is told of."""
    answer = world.browser.get("/public")

    assert answer.set_cookies
    assert answer.tokens("cache-control") == {"private", "no-store"}
    assert answer.tokens("vary") == {"accept", "cookie"}
    assert [name for name, _ in answer.headers if name in {each.lower() for each in CDN_HEADERS}] == []
    told = {event.before.partition(":")[0].lower() for event in world.told(events.CacheControlReplaced)}
    assert told == {"public, max-age=60", *map(str.lower, CDN_HEADERS)}


@pytest.mark.parametrize("engine", ["encrypted", "signed"])
def test_a_session_that_outgrows_its_cookie_is_an_error(make: Make, engine: str) -> None:
    """Browsers would drop the cookie without a word: nothing is set, and the session that there was stays."""
    world = make(engine)
    world.browser.get("/write-n")

    answer = world.browser.get("/big")

    assert answer.status == 500
    assert answer.set_cookies == []
    assert world.browser.get("/read-n").text == "1"


# Flask, Quart, Django and Pyramid set cookies in the response object, whoever else it may belong to, and their own sessions
# do as well; aiohttp sends a response once only, and in Falcon and Tornado an application has none to make.
@pytest.mark.parametrize(
    "framework",
    ["asgi", "wsgi", "starlette", "fastapi", "litestar", "sanic", "bottle"],
    indirect=True,
)
def test_a_response_that_is_shared_carries_nobodys_cookie_to_others(world: World) -> None:
    """An application may make one "ok" at its start, and return it to everybody."""
    visitor = Browser(world.site)

    before = visitor.get("/untouched-shared")
    world.browser.get("/login-shared")
    after = visitor.get("/untouched-shared")

    assert world.browser.state()["subject"] == "ann"
    assert (before.set_cookies, after.set_cookies) == ([], [])
    assert after.tokens("vary") == after.tokens("cache-control") == set()


def test_a_large_session_is_kept_in_several_cookies(make: Make) -> None:
    """Each of a size that browsers keep."""
    world = make("chunked")

    answer = world.browser.get("/big")

    assert answer.status == 200
    assert len(answer.set_cookies) > 1
    assert max(map(len, answer.set_cookies)) <= MAX_SET_COOKIE
    assert len(world.browser.state()["data"]["big"]) == BIG


def test_a_large_session_is_kept_in_a_store(stored: World) -> None:
    """The cookie has the same size as ever."""
    stored.browser.get("/big")

    assert len(stored.browser.state()["data"]["big"]) == BIG


JUNK: dict[str, bytes] = {
    "empty": b"__Host-Http-session=",
    "nothing": b"",
    "text": b"__Host-Http-session=hello",
    "binary": b"__Host-Http-session=" + bytes(range(0x80, 0x100)),
    "quotes": b'__Host-Http-session="a\\"b"; other="',
    "no-name": b"=x; ; ;=; __Host-Http-session",
    "huge": b"__Host-Http-session=" + b"A" * 6000,
    "right-length": b"__Host-Http-session=" + b"_" * 43,
    "percent": b"__Host-Http-session=%00%0d%0aSet-Cookie:%20a=b",
    "flask": b"__Host-Http-session=eyJhIjoxfQ.ZVPIAA.7iZo8l2mcvOQ0w8VfH3Nc7Qd3mM",
    "django": b"__Host-Http-session=.eJxVjDsOwjAQBe_iGlle_1lKes5g7Xo3JIASKU4qxN1JpBTQvpl5b1Ro2:1r4b3a:0xq8v0",
    "jwt": b"__Host-Http-session=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.",
    "fernet": b"__Host-Http-session=gAAAAABlU8gAq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeA==",
    "dancer": b"__Host-Http-session=U2FsdGVkX1-53F2w4T0xK4C8cT0j3Kp0",
    "signed": b"__Host-Http-session=ht1.AAAAAAA.e30.AAAA",
    "chunks": b"__Host-Http-session.0=3AAAAAAabc; __Host-Http-session.2=9zzzzzzabc",
    "many": b"; ".join([b"__Host-Http-session=x"] * 50),
}


@pytest.mark.slow
@pytest.mark.parametrize("cookie", JUNK.values(), ids=JUNK)
def test_no_cookie_of_another_shape_is_an_error(world: World, cookie: bytes) -> None:
    """The request gets a new, empty session, in which it can write."""
    read = world.site.request("/read-n", cookie)
    written = world.site.request("/write-n", cookie)

    assert (read.status, read.text) == (200, "0")
    assert written.status == 200
    assert written.set_cookies


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0], ids=["start", "middle", "end"])
def test_a_forged_cookie_opens_nothing(world: World, place: float) -> None:
    """A real cookie of which one character was changed: the visitor is a stranger, and gets no error."""
    world.browser.get("/login")
    name, _, value = str(world.browser.header).partition("=")
    at = round(place * (len(value) - 1))
    forged = value[:at] + ("B" if value[at] == "A" else "A") + value[at + 1 :]

    answer = world.site.request("/dump", f"{name}={forged}")

    state = json.loads(answer.text)
    assert (answer.status, state["subject"], state["data"]) == (200, None, {})
    assert world.browser.state()["subject"] == "ann"


def test_the_cookie_is_found_among_those_of_others(world: World) -> None:
    """Whatever they look like: Python's own parser gives up at several of these."""
    world.browser.get("/write-n")
    cookie = f'a[b]=1; {{"json": [1, 2]}}; c="x; y; {world.browser.header}; d=ü; e'

    answer = world.site.request("/read-n", cookie)

    assert answer.text == "1"


def test_the_cookie_is_found_where_the_header_was_split(world: World) -> None:
    """HTTP/2 allows it, and some servers pass the parts on as they are."""
    world.browser.get("/write-n")
    own = str(world.browser.header)

    answers = [world.site.request("/read-n", parts) for parts in ([own, "a=1"], ["a=1", own], ["a=1", own, "b=2"])]

    assert [answer.text for answer in answers] == ["1", "1", "1"]


def test_two_sessions_in_one_request_cancel_each_other(world: World) -> None:
    """A sibling subdomain that plants a cookie of the name must not be able to choose the session.

    Nor to end the visitor's, or to have ours cleared, which would leave the planted one alone: it is cleared where somebody
    else could have set it.
    """
    other = Browser(world.site)
    for browser in (world.browser, other):
        browser.get("/write-n")

    answer = world.site.request("/read-n", f"{world.browser.header}; {other.header}")

    assert answer.text == "0"
    assert answer.set_cookies
    assert all("Max-Age=0" in line and is_elsewhere(line) for line in answer.set_cookies)
    assert world.browser.get("/read-n").text == "1"


# --- one-time messages


# Django has messages of its own, which test_django.py tests.
@pytest.mark.parametrize("framework", [name for name in SITES if not name.startswith("django")], indirect=True)
def test_a_flash_message_is_shown_once(world: World) -> None:
    """On the next page that asks, which may be a later one."""
    world.browser.get("/flash-saved")
    world.browser.get("/read-n")
    shown = [world.browser.get("/flashes").text for _ in range(2)]

    assert shown == ["saved", ""]


# --- which responses save


def test_an_exception_saves_nothing(world: World) -> None:
    """It is a 500 that sets no cookie."""
    world.browser.get("/write-n")

    answer = world.browser.get("/fail")

    assert answer.status == 500
    assert answer.set_cookies == []
    assert world.browser.state()["data"] == {"n": 1}


def test_a_logout_before_an_exception_is_carried_out(world: World) -> None:
    """The handler may have told the user before it failed; and a cookie that is left is a login that was ended."""
    world.browser.get("/login")
    copy = world.browser.header

    answer = world.browser.post("/quit")

    assert answer.status == 500
    assert world.browser.cookies == {}
    if world.sessions.engine.store is not None:
        assert json.loads(world.site.request("/dump", copy).text)["subject"] is None


def test_an_error_of_a_store_that_leaves_the_handler_saves_nothing(world: World) -> None:
    """It is a 503, or a 500; but what was ended before is ended, and the page clears its cookie."""
    world.browser.get("/write-n")
    broken, state, leaving = (
        world.browser.post("/broken-n"),
        world.browser.state(),
        world.browser.post("/broken-logout"),
    )

    assert broken.status in (500, 503)
    assert broken.set_cookies == []
    assert state["data"] == {"n": 1}
    assert leaving.status in (500, 503)
    assert world.browser.cookies == {}


def test_a_session_cannot_be_written_once_its_request_is_over(world: World) -> None:
    """A task or a thread that still has it would write into nothing."""
    world.browser.get("/keep-n")
    assert world.browser.get("/read-n").text == "1"  # and the request before is over, also where that is after its body

    with pytest.raises(SessionFinished):
        world.script.kept["n"] = 2

    assert world.browser.get("/read-n").text == "1"


def test_a_session_whose_save_was_refused_is_not_saved_later(stored: World) -> None:
    """The client was told of an error: a task or a thread that goes on with the session is told, too."""
    stored.browser.get("/write-n")
    stored.store.down = ALL_METHODS - {"get"}

    answer = stored.browser.get("/keep-kept")
    stored.store.down = frozenset()

    assert answer.status == 503
    with pytest.raises(SessionFinished):
        stored.script.kept["n"] = 2
    assert stored.browser.state()["data"] == {"n": 1}


def test_an_error_that_the_application_answered_saves(world: World) -> None:
    """Its status does not matter."""
    answer = world.browser.get("/teapot")

    assert answer.status == 418
    assert world.browser.state()["data"] == {"teapot": 1}


# --- login and logout


def test_login_changes_the_id_and_keeps_the_data(world: World) -> None:
    """Against session fixation: who knew the id from before knows nothing."""
    world.browser.get("/write-n")
    before = world.browser.state()

    answer = world.browser.get("/login")
    after = world.browser.state()

    assert answer.set_cookies
    assert after["id"] != before["id"]
    assert (after["subject"], after["data"]) == ("ann", {"n": 1})


def test_the_id_from_before_a_login_is_dead(ending: World) -> None:
    """A cookie that an attacker planted opens nothing afterwards."""
    ending.browser.get("/write-n")
    old = ending.browser.header

    ending.browser.get("/login")

    assert ending.site.request("/read-n", old).text == "0"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_login_on_a_known_device_is_told(make: Make, engine: str) -> None:
    """By a cookie of its own beside the session's, with the same response; a logout leaves it."""
    world = make(engine, known_devices=KnownDevices(keys=KEY))
    answer = world.browser.get("/login")
    world.browser.get("/logout")
    left = set(world.browser.cookies)
    world.browser.get("/login")
    world.browser.get("/write-n")
    known = [event.known_device for event in world.told(events.LoggedIn)]

    assert sorted(line.partition("=")[0] for line in answer.set_cookies) == [DEVICE, "__Host-Http-session"]
    assert left == {DEVICE}
    assert known == [False, True]
    assert world.browser.state()["subject"] == "ann"


def test_logout_clears_the_cookie_and_the_data(world: World) -> None:
    """The next request begins with nothing."""
    world.browser.get("/write-n")
    world.browser.get("/login")

    world.browser.get("/logout")

    assert world.browser.cookies == {}
    assert world.browser.get("/read-n").text == "0"


def test_a_logout_ends_every_copy_of_the_cookie(ending: World) -> None:
    """Nobody can bring it back."""
    ending.browser.get("/write-n")
    copy = ending.browser.header

    ending.browser.get("/logout")

    assert ending.site.request("/read-n", copy).text == "0"


# --- requests at the same time


def test_parallel_requests_lose_nothing(stored: World) -> None:
    """Both have loaded the session before either saves."""
    stored.browser.get("/write-n")
    cookie = stored.browser.header
    one = in_background(lambda: stored.site.request("/slow-a", cookie))
    two = in_background(lambda: stored.site.request("/slow-b", cookie))
    assert stored.script.entered.acquire(timeout=30)
    assert stored.script.entered.acquire(timeout=30)

    stored.script.gate.set()
    statuses = [one().status, two().status]

    assert statuses == [200, 200]
    assert stored.browser.state()["data"] == {"n": 1, "a": 1, "b": 1}


def race(world: World, first: str, second: str, method: str = "GET") -> list[Answer]:
    """Two requests of one browser, both of which have loaded the session before the first, and then the second, goes on."""
    cookie = world.browser.header
    slow = in_background(lambda: world.site.request(second, cookie, method))
    assert world.script.entered.acquire(timeout=30)
    quick = world.site.request(first, cookie, method)
    world.script.gate.set()
    return [quick, slow()]


def subject_of(world: World, answer: Answer) -> Any:
    """Whom the cookie that a response sets is of."""
    browser = Browser(world.site)
    browser.take(answer)
    return browser.state()["subject"]


def test_a_form_that_lost_a_race_is_told_so(stored: World) -> None:
    """Both counted from one: without a 409 the browser would be told that two were added."""
    stored.browser.get("/write-n")

    won, lost = race(stored, "/write-n", "/slow-n", "POST")

    assert (won.status, lost.status) == (200, 409)
    assert "no-store" in lost.tokens("cache-control")
    assert lost.set_cookies == []
    assert stored.browser.get("/read-n").text == "2"
    assert [event.outcome for event in stored.told(events.Conflict)] == ["stale"]


def test_a_page_that_lost_a_race_is_shown(stored: World) -> None:
    """It promised no change. What it would have saved is dropped, and the event says so."""
    stored.browser.get("/write-n")

    won, lost = race(stored, "/write-n", "/slow-n")

    assert (won.status, lost.status) == (200, 200)
    assert lost.set_cookies == []
    assert stored.browser.get("/read-n").text == "2"
    assert [event.outcome for event in stored.told(events.Conflict)] == ["stale"]


def test_a_login_that_is_clicked_twice_logs_in_twice(stored: World) -> None:
    """Whichever answer the browser keeps, its cookie is good."""
    stored.browser.get("/write-n")

    answers = race(stored, "/login", "/late-login", "POST")

    assert [answer.status for answer in answers] == [200, 200]
    assert [subject_of(stored, answer) for answer in answers][1] == "ann"
    assert answers[0].set_cookies


@pytest.mark.parametrize("meanwhile", ["/login", "/regenerate"])
def test_a_logout_ends_what_has_got_another_id_meanwhile(stored: World, meanwhile: str) -> None:
    """A request beside it changed the id: the user who is told "logged out" is."""
    stored.browser.get("/login")

    moved, left = race(stored, meanwhile, "/late-logout", "POST")

    assert left.status == 200
    assert subject_of(stored, moved) is None


# --- requests that another site sent


ELSEWHERE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("path", ["/write-n", "/login", "/logout"])
def test_another_site_cannot_change_a_session(make: Make, path: str) -> None:
    """Nor log somebody in or out: the answer is 403, and the session stays."""
    world = make("store", cross_site="refuse")
    world.browser.get("/write-n")

    refused = world.browser.post(path, ELSEWHERE)

    assert refused.status == 403
    assert refused.set_cookies == []
    assert "no-store" in refused.tokens("cache-control")
    assert world.browser.state()["data"] == {"n": 1}
    assert world.told(events.CrossSite)


def test_what_another_site_sent_is_served_without_the_session(make: Make) -> None:
    """As to a stranger; and what this site sends has the session."""
    world = make("store", cross_site="refuse")
    world.browser.get("/write-n")

    foreign = world.browser.post("/read-n", ELSEWHERE)
    own = world.browser.post("/read-n", {"Sec-Fetch-Site": "same-origin"})

    assert (foreign.status, foreign.text, foreign.set_cookies) == (200, "0", [])
    assert (own.status, own.text) == (200, "1")


def test_a_write_after_a_logout_revives_nothing(ending: World) -> None:
    """A slow request that began before the logout neither brings the session back nor sets a cookie."""
    ending.browser.get("/login")
    ending.browser.get("/write-n")
    copy = ending.browser.header
    slow = in_background(lambda: ending.site.request("/slow-a", copy))
    assert ending.script.entered.acquire(timeout=30)

    ending.browser.get("/logout")
    ending.script.gate.set()
    answer = slow()

    assert answer.set_cookies == []
    assert ending.site.request("/read-n", copy).text == "0"
    assert ending.browser.state()["data"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", ["/login", "/logout"])
def test_a_slow_request_that_only_reads_leaves_the_cookie_alone(ending: World, meanwhile: str) -> None:
    """Another one has replaced the id or ended the session: the cookie that it has set is the newer one."""
    ending.browser.get("/write-n")
    copy = ending.browser.header
    slow = in_background(lambda: ending.site.request("/linger-n", copy))
    assert ending.script.entered.acquire(timeout=30)

    ending.browser.get(meanwhile)
    ending.script.gate.set()
    answer = slow()

    assert (answer.status, answer.text) == (200, "1")
    assert answer.set_cookies == []


@pytest.mark.slow
@pytest.mark.parametrize("ended", ["/login", "/logout"])
def test_a_late_request_with_the_id_from_before_leaves_the_cookie_alone(ending: World, ended: str) -> None:
    """It was sent before the response that replaced the id was seen."""
    ending.browser.get("/write-n")
    copy = ending.browser.header
    ending.browser.get(ended)

    answer = ending.site.request("/read-n", copy)

    assert (answer.status, answer.text) == (200, "0")
    assert answer.set_cookies == []


# --- a store that is down


def test_a_store_that_cannot_be_read_is_a_503(stored: World) -> None:
    """And no reason to end the session."""
    stored.browser.get("/write-n")
    stored.store.down = ALL_METHODS

    answer = stored.browser.get("/read-n")
    stored.store.down = frozenset()

    assert answer.status == 503
    assert answer.set_cookies == []
    assert stored.browser.get("/read-n").text == "1"


def test_a_page_about_a_store_that_is_down_may_show_the_session(stored: World) -> None:
    """It is an empty one then. A page that is no error, and takes nobody for an answer, is not sent."""
    stored.browser.get("/write-n")
    stored.store.down = ALL_METHODS

    apology, welcome = stored.browser.get("/apology-502"), stored.browser.get("/apology-200")
    stored.store.down = frozenset()

    assert (apology.status, apology.text) == (502, "sorry, stranger")
    assert "no-store" in apology.tokens("cache-control")
    assert welcome.status == 503
    assert stored.browser.get("/read-n").text == "1"


def test_a_store_that_is_down_fails_no_page_that_needs_none(stored: World) -> None:
    """Whoever has a session is served what does not ask for it."""
    stored.browser.get("/write-n")
    stored.store.down = ALL_METHODS

    answer = stored.browser.get("/untouched")

    assert (answer.status, answer.set_cookies) == (200, [])


def test_a_store_that_cannot_be_written_is_a_503(stored: World) -> None:
    """The client does not see a cookie of something that was not kept."""
    stored.store.down = ALL_METHODS - {"get"}

    answer = stored.browser.get("/write-n")

    assert answer.status == 503
    assert answer.set_cookies == []


@pytest.mark.parametrize("path", ["/write-n", "/login", "/logout"])
def test_a_site_that_goes_on_without_its_store_refuses_changes(make: Make, path: str) -> None:
    """With a 503; who only reads is served, keeps the cookie, and is cached by nobody. A logout clears the cookie."""
    world = make("anonymous")
    world.browser.get("/write-n")
    world.store.down = ALL_METHODS

    reading, changing = world.browser.get("/read-n"), world.browser.get(path)
    world.store.down = frozenset()

    assert (reading.status, reading.text) == (200, "0")
    assert "no-store" in reading.tokens("cache-control")
    assert changing.status == 503
    assert "no-store" in changing.tokens("cache-control")
    assert reading.set_cookies == []
    # A logout clears the cookie, because copies of it are still good: the visitor's next page must be nobody's.
    assert bool(changing.set_cookies) is (path == "/logout")
    assert world.browser.get("/read-n").text == ("0" if path == "/logout" else "1")


def test_a_logout_that_the_store_did_not_hear_of_clears_the_cookie(stored: World) -> None:
    """With a 503, because copies of the cookie are still good."""
    stored.browser.get("/write-n")
    stored.store.down = ALL_METHODS - {"get"}

    answer = stored.browser.get("/logout")

    assert answer.status == 503
    assert stored.browser.cookies == {}


def test_a_logout_while_the_store_cannot_be_read_clears_the_cookie(stored: World) -> None:
    """With a 503, because copies of it are still good. It is the first use of the session: nothing has read it before."""
    stored.browser.get("/write-n")
    copy = stored.browser.header
    stored.store.down = ALL_METHODS

    answer = stored.browser.get("/logout")
    stored.store.down = frozenset()

    assert answer.status == 503
    assert "no-store" in answer.tokens("cache-control")
    assert stored.browser.cookies == {}
    assert stored.site.request("/read-n", copy).text == "1"


def test_a_store_that_cannot_be_read_fails_nobody_who_only_names_the_session(stored: World) -> None:
    """The error comes at the first use of it."""
    stored.browser.get("/write-n")
    stored.store.down = ALL_METHODS

    answer = stored.browser.get("/named")

    assert (answer.status, answer.set_cookies) == (200, [])


@pytest.mark.parametrize("down", [frozenset(), ALL_METHODS - {"get"}], ids=["up", "down"])
def test_a_logout_before_a_failure_is_carried_out(stored: World, down: frozenset[str]) -> None:
    """The cookie is cleared, also where the store does not hear of it, and the page is one of an error."""
    stored.browser.get("/write-n")
    before = stored.browser.header
    stored.store.down = down

    answer = stored.browser.get("/quit")
    stored.store.down = frozenset()

    assert answer.status in (500, 503)
    assert stored.browser.cookies == {}
    assert stored.site.request("/read-n", before).text == ("1" if down else "0")


def test_a_logout_before_what_cannot_be_kept_is_carried_out(world: World) -> None:
    """The page is one of an error, and clears the cookie; on a store the session has ended."""
    world.browser.get("/write-n")
    before = world.browser.header

    answer = world.browser.get("/unkept")

    assert answer.status == 500
    assert world.browser.cookies == {}
    if world.sessions.engine.store is not None:
        assert world.site.request("/read-n", before).text == "0"


def test_a_login_that_is_one_too_many_is_a_409(make: Make) -> None:
    """Like every save that was not done: no page says that it was."""
    world = make("store")
    if world.framework.startswith("django"):
        pytest.skip("django.contrib.auth logs in, and takes no limit")
    other = Browser(world.site)
    other.get("/login")

    answer = world.browser.get("/crowd")

    assert answer.status == 409
    assert (world.browser.state()["subject"], other.state()["subject"]) == (None, "ann")


# --- documentation


def test_every_framework_has_its_page() -> None:
    """docs/frameworks.md links to each, and each is there."""
    index = ROOT / "docs/frameworks.md"

    linked = set(re.findall(r"\]\(frameworks/(\w+)\.md\)", index.read_text()))
    pages = {page.stem for page in (ROOT / "docs/frameworks").glob("*.md")}

    assert linked == pages == {name.partition("-")[0] for name in SITES}

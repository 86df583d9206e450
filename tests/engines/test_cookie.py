"""CookieEngine: chunks, and what an engine refuses to be built from."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from typing import Any

import pytest
from tests.kit import KEY, OTHER_KEY, START, NoKeys, Site

from hardtack import Cookie, CookieEngine, EncryptedToken, Key, Keyring, Record, SessionManager, SignedToken
from hardtack.errors import ConfigError, SessionTooLarge
from hardtack.events import Rejected
from hardtack.foreign.dancer import DancerCookie, DancerLegacyCookie
from hardtack.foreign.flask import FlaskCookie
from hardtack.foreign.litestar import LitestarCookie
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.foreign.trickster import TricksterCookie
from hardtack.protocols import Context
from hardtack.request import Request
from hardtack.tokens.encrypted import binding

NAME = "__Host-Http-session"


def noise(size: int) -> str:
    """Text that does not shrink."""
    return os.urandom(size // 2).hex()


@pytest.fixture
def site() -> Site:
    return Site(CookieEngine(KEY, overflow="chunk", max_header=16_000))


def reasons(site: Site) -> list[str]:
    return [event.reason for event in site.told(Rejected)]


def test_big_session_is_chunked(site: Site) -> None:
    """A session over 3600 bytes travels in numbered cookies, each small enough for a browser."""
    text = noise(6000)
    session = site.open()
    session["text"] = text
    changes = site.commit(session)

    assert list(site.jar.cookies) == [f"{NAME}.0", f"{NAME}.1", f"{NAME}.2"][: len(changes.set_cookies)]
    assert len(changes.set_cookies) in (2, 3)
    assert max(map(len, changes.set_cookies)) <= 4096
    assert dict(site.open()) == {"text": text}


@pytest.mark.parametrize("limit", [3600, 4096])
def test_limit_is_exact(limit: int) -> None:
    """The largest session whose whole line has that many bytes is sent in one cookie; one byte more is not."""
    site = Site(CookieEngine(KEY, max_set_cookie=limit))
    sent, refused = [], []
    for size in range(limit * 3 // 4 - 250, limit * 3 // 4):
        session = site.open()
        session["text"] = "x" * size
        try:
            sent.append(len(site.sessions.commit(session).set_cookies[0]))
        except SessionTooLarge as error:
            refused.append(error.size)

    assert limit - 3 <= max(sent) <= limit < min(refused) <= limit + 4


def lines_of(site: Site, size: int, header: str = "") -> list[str]:
    """The lines of an answer that stores a session of so many characters, for a request of example.org with these cookies."""
    session = site.sessions.open(header, Request(host="www.example.org", path="/shop/cart"))
    session["text"] = "x" * size
    return site.sessions.commit(session).set_cookies


def test_what_clears_former_places_counts() -> None:
    """nginx reads all headers of an answer into one buffer: a session that fits alone may not fit beside these lines."""
    formerly = [Cookie("sid", domain="example.org", path=path) for path in ("/", "/a", "/b", "/c")]
    cookie = Cookie("sid", formerly=formerly)
    site = Site(CookieEngine(KEY), cookie=cookie)
    beside = sum(map(len, cookie.clearing_formerly))
    sent, refused = [], []
    for size in range(2200, 2600):
        try:
            sent.append(sum(map(len, lines_of(site, size))))
        except SessionTooLarge as error:
            refused.append(error)

    assert 3597 <= max(sent) <= 3600 < min(error.size for error in refused) <= 3604
    assert {error.limit for error in refused} == {3600}
    assert f"; {beside} of them are what clears the places of formerly=; nginx answers 502" in str(refused[0])


def test_what_clears_another_systems_cookies_counts() -> None:
    """As the places of formerly= do: what is taken over goes with them in one answer."""
    old = FlaskCookie("x" * 32, cookie_name="old", path=f"/{'a' * 200}")
    site = Site(CookieEngine(KEY), accept=[old])
    value = old.seal(Record(b"", START, None, START, None, {}, {"cart": ["rum"]}), Context("old", "", START))["old"]
    sent, refused = [], []
    for size in range(2100, 2600, 3):
        try:
            sent.append(lines_of(site, size, f"old={value}"))
        except SessionTooLarge as error:
            refused.append(error)

    clearing = sent[0][1]
    assert clearing.startswith("old=; ")
    assert 3590 <= max(sum(map(len, lines)) for lines in sent) <= 3600
    assert f"; {len(clearing)} of them are what clears another system's cookies; nginx" in str(refused[0])


@pytest.mark.parametrize("options", [{"max_set_cookie": 4096}, {"overflow": "chunk"}], ids=str)
def test_whoever_has_enlarged_nginxs_buffer_has_room(options: dict[str, Any]) -> None:
    """There each line counts alone."""
    cookie = Cookie("sid", formerly=[Cookie("sid", domain="example.org", path=f"/{number}") for number in range(4)])

    assert sum(map(len, lines_of(Site(CookieEngine(KEY, **options), cookie=cookie), 2500))) > 3600


def test_cookies_that_a_client_adds_do_not_make_the_answer_too_large() -> None:
    """They are cleared as far as there is room, and the session is saved: a client cannot make nginx answer 502."""
    former = "; ".join(f"__Host-session{rest}=x" for rest in ("", *(f".{number}" for number in range(40))))
    site = Site(CookieEngine(KEY))
    ours = lines_of(site, 1)[0].partition(";")[0]
    small, large = (lines_of(site, size, f"{ours}; {former}") for size in (10, 2400))

    assert (len(small), small[0].startswith(f"{NAME}=")) == (11, True)  # the former name and its nine chunks
    assert 1 < len(large) < 11
    assert sum(map(len, large)) <= 3600


def test_planted_cookies_do_not_make_the_answer_too_large() -> None:
    """They are cleared as far as there is room beside the session that begins in their place."""
    cookie = Cookie("sid", formerly=[Cookie("sid", path="/old")])
    site = Site(CookieEngine(KEY), cookie=cookie)
    two = "; ".join(lines_of(site, size)[0].partition(";")[0] for size in (1, 2))
    small, large = (lines_of(site, size, two) for size in (10, 2400))

    assert len(small) == len(set(small)) > len(large) > 2
    assert sum(map(len, large)) <= 3600


def test_session_shrinks_back_without_stale_chunks(site: Site) -> None:
    """Each write clears the other form and the higher numbers."""
    sizes = [8000, 4000, 100, 8000, 6000, 10]
    for size in sizes:
        text = noise(size)
        site.visit(text=text)

        assert dict(site.open()) == {"text": text}
        numbered = [name for name in site.jar.cookies if name != NAME]
        assert (NAME in site.jar.cookies) != bool(numbered)
    assert list(site.jar.cookies) == [NAME]
    assert site.told(Rejected) == []


def test_logout_clears_every_chunk(site: Site) -> None:
    """No chunk stays behind."""
    site.visit(text=noise(8000))
    session = site.open()
    session.logout()
    site.commit(session)

    assert site.jar.cookies == {}


def test_chunks_fit_into_the_requests_header() -> None:
    """Servers refuse a request with more than 8 KB of headers, and its visitor could not even log out."""
    site = Site(CookieEngine(KEY, overflow="chunk"))
    site.visit(text=noise(5000))
    session = site.open()
    session["text"] = noise(8000)

    with pytest.raises(SessionTooLarge, match="max_header=8000") as caught:
        site.commit(session)

    assert caught.value.limit == 8000
    assert len(site.open()["text"]) == 5000


def test_the_sites_other_cookies_count() -> None:
    """They come with each request as well; our own old ones do not, since these take their place."""
    site = Site(CookieEngine(KEY, overflow="chunk"))
    site.visit(text=noise(5000))
    ours = site.jar.header
    beside = site.sessions.open(f"{ours}; analytics={'x' * 200}")
    beside["text"] = noise(5000)
    assert site.sessions.commit(beside).set_cookies

    crowded = site.sessions.open(f"{ours}; analytics={'x' * 3000}")
    crowded["text"] = noise(5000)

    with pytest.raises(SessionTooLarge):
        site.sessions.commit(crowded)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_missing_chunk_is_incomplete(site: Site, missing: int) -> None:
    """Without one of its chunks a session is gone, and the event says why."""
    site.visit(text=noise(8000))
    assert len(site.jar.cookies) == 4
    del site.jar.cookies[f"{NAME}.{missing}"]

    assert dict(site.open()) == {}
    assert reasons(site) == ["incomplete"]


def test_generations_never_mix(site: Site) -> None:
    """Chunks of two writes are no session, even of the same length."""
    site.visit(text=noise(8000))
    first = dict(site.jar.cookies)
    site.visit(text=noise(8000))
    for index in range(4):
        mixed = {**site.jar.cookies, f"{NAME}.{index}": first[f"{NAME}.{index}"]}
        header = "; ".join(f"{name}={value}" for name, value in mixed.items())

        assert dict(site.sessions.open(header)) == {}
    assert reasons(site) == ["incomplete"] * 4


def test_two_generations_of_every_chunk(site: Site) -> None:
    """Where a browser sends both, the last complete one of one generation is put together."""
    text = noise(8000)
    site.visit(text=text)
    old = "; ".join(f"{name}=9AAAAAA{value}" for name, value in site.jar.cookies.items())

    assert dict(site.sessions.open(f"{old}; {site.jar.header}")) == {"text": text}


@pytest.mark.parametrize(
    "value", ["", "x", "0AAAAAA", "9AAAAAAtext", "3AAAAAA", "²AAAAAA", "1AAAAAAtext", "1AAAAAA\udcff"]
)
def test_junk_chunks_are_incomplete(site: Site, value: str) -> None:
    """Whatever stands in a chunk, it is an event and no error."""
    assert dict(site.sessions.open(f"{NAME}.0={value}")) == {}
    assert reasons(site) == ["incomplete"]


def test_both_forms_of_one_session(site: Site) -> None:
    """Two responses that crossed: the newer of the two counts, and the next write leaves one form."""
    site.visit(text="small")
    small = site.jar.header
    site.clock.now += 1
    site.visit(text=noise(8000))
    site.jar.cookies[NAME] = small.partition("=")[2]

    session = site.open()
    assert len(session["text"]) == 8000
    session["text"] = "tiny"
    site.commit(session)
    assert list(site.jar.cookies) == [NAME]


def test_two_sessions_in_chunks_cancel_each_other(site: Site) -> None:
    """Chunks that were planted do not take the place of the session's own, wherever they stand."""
    site.visit(big=noise(6000))
    other = Site(CookieEngine(KEY, overflow="chunk", max_header=16_000))
    other.visit(planted=noise(6000))

    for header in (f"{site.jar.header}; {other.jar.header}", f"{other.jar.header}; {site.jar.header}"):
        assert dict(site.sessions.open(header)) == {}
        assert site.told(Rejected)[-1].reason == "ambiguous"


def test_chunks_are_rotated_with_their_key(site: Site) -> None:
    """Chunks under an accepted key are sealed anew like a single cookie."""
    from hardtack import Keyring

    site.visit(text=noise(6000))
    rotated = Site(CookieEngine(Keyring(OTHER_KEY, [KEY]), overflow="chunk", max_header=16_000))
    rotated.jar = site.jar
    rotated.visit()
    final = Site(CookieEngine(OTHER_KEY, overflow="chunk", max_header=16_000))

    assert len(final.sessions.open(rotated.jar.header)["text"]) == 6000


def test_chunks_are_not_read_where_they_are_not_written() -> None:
    """With overflow="raise", numbered cookies are somebody else's."""
    site = Site(CookieEngine(KEY, overflow="chunk", max_header=16_000))
    site.visit(text=noise(6000))

    assert dict(Site().sessions.open(site.jar.header)) == {}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"overflow": "ignore"}, "overflow"),
        ({"max_set_cookie": 499}, "max_set_cookie=499"),
        ({"max_set_cookie": 4097}, "max_set_cookie=4097 must be a number from 500 to 4096"),
        ({"max_set_cookie": "3600"}, "max_set_cookie"),
        ({"overflow": "chunk", "max_header": True}, "max_header"),
        ({"max_header": 4000}, "max_header=4000 needs overflow='chunk'"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], named: str) -> None:
    """A wrong setting is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=named):
        CookieEngine(KEY, **settings)


def test_a_format_that_cannot_be_written_is_no_engine() -> None:
    """It is told at once, not with the first session."""
    legacy = DancerLegacyCookie("secret", only={"cart"}, until=dt.date(2100, 1, 1))

    with pytest.raises(ConfigError, match="read only"):
        CookieEngine(legacy)


@pytest.mark.parametrize("make", [DancerCookie, SessionStorageSecureCookie, LitestarCookie])
def test_a_format_that_carries_a_deadline_carries_the_managers(make: Any) -> None:
    """When the session began is not in it; what would come back as "now" would never end."""
    secret = b"k" * 32
    site = Site(CookieEngine(make(secret)), lifetime="1 hour")
    site.visit(a=1)
    site.clock.now += 3599
    assert dict(site.visit(b=2)) == {"a": 1, "b": 2}
    site.clock.now += 1

    assert dict(site.open()) == {}


def test_a_format_without_times_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Its sessions have no end, unless it is read until a date only."""
    SessionManager(CookieEngine(TricksterCookie("secret", until=dt.date(2100, 1, 1))))
    SessionManager(CookieEngine(DancerCookie("secret")))
    assert caplog.records == []

    SessionManager(CookieEngine(TricksterCookie("secret")))

    assert "until=" in caplog.text


def test_reading_an_empty_session_of_another_system_ends_nothing() -> None:
    """Dancer has one for each visitor: a parallel login there must not lose its cookie to a request that only read."""
    perl = Site(CookieEngine(FlaskCookie("secret")))
    empty = FlaskCookie("secret").seal(Record(bytes(16), 1, None, 1), Context("session", "", int(perl.clock.now)))
    header = f"session={empty['session']}"
    session = perl.sessions.open(header)
    assert session.get("user") is None
    assert perl.sessions.commit(session).set_cookies == []

    site = Site(accept=[FlaskCookie("secret")])
    session = site.sessions.open(header)
    assert session.get("user") is None
    assert site.sessions.commit(session).set_cookies == []
    assert site.events == []


@pytest.mark.parametrize("token", [None, "secret", object(), Cookie(), EncryptedToken])
def test_wrong_token(token: Any) -> None:
    """A secret, a cookie or a class in the place of a token is told so."""
    with pytest.raises(ConfigError, match="token format"):
        CookieEngine(token)


@pytest.mark.parametrize("kind", [EncryptedToken, SignedToken])
def test_what_is_written_in_nine_chunks_can_be_read(kind: Any) -> None:
    """A token is never longer than what is looked at."""
    site = Site(CookieEngine(kind(KEY), overflow="chunk", max_header=36_000, max_set_cookie=4096))
    site.visit(text=noise(24_000))

    assert len(site.jar.cookies) > 4
    assert len(site.open()["text"]) == 24_000


@pytest.mark.parametrize(
    "engine", [CookieEngine(KEY, overflow="chunk", max_header=16_000), CookieEngine(FlaskCookie("secret"))]
)
def test_what_carries_a_cookie_is_known_without_opening_it(engine: CookieEngine) -> None:
    """By its name alone, good or not; a name in the middle of another is none."""
    cookie = Cookie.for_development()

    assert [
        engine.carries(header, cookie) for header in ("session=junk", "a=1; session=", "", "a=session", "my-session=1")
    ] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("token", [NoKeys, lambda: EncryptedToken(KEY)], ids=["no-keys", "encrypted"])
def test_seeds_hang_on_what_the_request_has_brought(token: Callable[[], Any]) -> None:
    """Only who has a cookie of the session can make them: its id is public. Without a cookie there are none."""
    engine = CookieEngine(token())
    context = Context("sid", "", START)
    record = Record(bytes(16), START, None, START)
    cookie = f"sid={engine.token.seal(record, context)['sid']}"

    seeds = engine.seeds(cookie, record, context)

    assert seeds == engine.seeds(cookie, record, context)
    assert all(len(seed) == 32 for seed in seeds)
    another = Record(bytes(15) + b"1", START, None, START)
    assert not set(seeds) & set(engine.seeds(f"sid={engine.token.seal(another, context)['sid']}", another, context))
    assert engine.seeds("", record, context) == []


def test_the_seeds_of_a_session_that_the_request_has_not_brought_are_those_of_the_ring() -> None:
    """A login has changed the id: what the cookie was sealed under says nothing of the new one."""
    old = CookieEngine(Keyring(OTHER_KEY, [KEY]))
    new = CookieEngine(Keyring(KEY, [OTHER_KEY]))
    context = Context("sid", "", START)
    record = Record(bytes(16), START, None, START)
    cookie = f"sid={old.token.seal(record, context)['sid']}"
    other = Record(bytes(15) + b"1", START, None, START)

    def seed(key: Key, of: Record) -> bytes:
        return key.mac(b"hardtack/1 moved" + binding("", "sid") + of.id)

    assert new.seeds(cookie, other, context) == [seed(KEY, other), seed(OTHER_KEY, other)]
    assert new.seeds(cookie, record, context) == [seed(OTHER_KEY, record), seed(KEY, record)]

"""What every cookie format of the other languages' stacks does: the same tests for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.foreign.python_support import mutations, now, record_of
from tests.foreign.web_formats import FORMATS, UNTIL, Format

from hardtack import Cookie, CookieEngine, Key, SessionManager, StoreEngine
from hardtack.errors import ConfigError, InvalidToken
from hardtack.foreign.base import ForeignCookie
from hardtack.protocols import Context
from hardtack.record import Record
from hardtack.stores.memory import MemoryStore

pytestmark = pytest.mark.parametrize("format", FORMATS, ids=lambda each: each.name)

many = settings(
    max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


def context(cookie: ForeignCookie, at: int | None = None) -> Context:
    return Context(cookie.cookie_name, "", now() if at is None else at)


def seal(cookie: ForeignCookie, data: dict[str, Any]) -> dict[str, str]:
    return cookie.seal(record_of(data), context(cookie))


def read(cookie: ForeignCookie, cookies: Mapping[str, str], at: int | None = None) -> Record:
    return cookie.open({name: [value] for name, value in cookies.items()}, context(cookie, at))


def spelled(cookie: ForeignCookie, cookies: Mapping[str, str]) -> list[str]:
    return cookie.spelled({name: [value] for name, value in cookies.items()})


def refused(cookie: ForeignCookie, cookies: Mapping[str, str], at: int | None = None) -> str:
    with pytest.raises(InvalidToken) as caught:
        read(cookie, cookies, at)
    return caught.value.reason


def without_added(format: Format, record: Record, data: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in record.data.items() if key in data or key not in format.adds}


@many
@given(st.data())
def test_what_was_sealed_opens_to_the_same(format: Format, data: st.DataObject) -> None:
    """Whatever the format carries comes out as it went in."""
    session = data.draw(format.carries)
    cookie = format.cookie

    record = read(cookie, seal(cookie, session))

    assert without_added(format, record, session) == session


def test_the_record_does_not_depend_on_when_it_is_read(format: Format) -> None:
    """The same cookie is the same session: two requests at once make one, not two."""
    cookie = format.cookie
    cookies = seal(cookie, format.sample)

    assert read(cookie, cookies).id == read(cookie, cookies, now() + 5).id
    assert len(read(cookie, cookies).id) == 16


def test_two_cookies_are_two_sessions(format: Format) -> None:
    """Cookies of different sessions have different handles."""
    cookie = format.cookie

    other = cookie.seal(replace(record_of(format.second), id=b"2" * 16), context(cookie))

    assert read(cookie, seal(cookie, format.sample)).id != read(cookie, other).id


@pytest.mark.slow
def test_every_mutation_is_refused(format: Format) -> None:
    """Whatever is changed in a cookie: it is refused, or it is another spelling of the same session."""
    cookie = format.cookie
    cookies = seal(cookie, format.sample)
    original = read(cookie, cookies)

    opened = []
    for name, value in cookies.items():
        for text in mutations(value):
            changed = {**cookies, name: text}
            try:
                opened.append((read(cookie, changed), changed))
            except InvalidToken as error:
                assert error.reason  # noqa: PT017 - most are refused, and the others are compared below

    for record, changed in opened:
        record.created = original.created
        record.seen = original.seen
        assert record == original
        assert spelled(cookie, changed) == spelled(cookie, cookies)


@many
@given(st.data())
def test_junk_is_refused(format: Format, data: st.DataObject) -> None:
    """Whatever stands in the cookies, nothing but InvalidToken is raised."""
    cookie = format.cookie
    good = seal(cookie, format.sample)
    text = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)) | st.text()
    junk = {name: data.draw(text) for name in good}

    assert refused(cookie, junk)


def test_a_missing_cookie_is_missing(format: Format) -> None:
    """Nothing is read where nothing is."""
    assert refused(format.cookie, {}) == "missing"


def test_another_secret_opens_nothing(format: Format) -> None:
    """A cookie of another secret is refused, and not as if it were of another format: no other reader is asked then."""
    reason = refused(format.stranger, seal(format.cookie, format.sample))

    assert reason in ("tampered", "unknown_key")


def test_an_old_secret_is_read_and_not_written(format: Format) -> None:
    """While the other system changes its secret, cookies of both are read, and new ones are under the new."""
    rotated = format.rotated

    record = read(rotated, seal(format.cookie, format.sample))

    assert without_added(format, record, format.sample) == format.sample
    assert read(format.stranger, seal(rotated, format.sample)).data.items() >= format.sample.items()
    assert refused(format.cookie, seal(rotated, format.sample))


def test_too_long_a_cookie_is_not_looked_at(format: Format) -> None:
    """A cookie beyond what browsers keep is refused before any work."""
    cookie = format.cookie
    cookies = {name: value + "A" * 9000 for name, value in seal(cookie, format.sample).items()}

    assert refused(cookie, cookies) == "too_large"


def test_until_ends_the_format(format: Format) -> None:
    """After `until` no cookie is read any more."""
    cookie = format.cookie
    cookie.until = now() - 1

    assert refused(cookie, seal(cookie, format.sample)) == "expired"


def test_a_manager_takes_it_over(format: Format) -> None:
    """A request with the other system's cookie has its session, and the answer clears that cookie and sets ours."""
    cookie = format.cookie
    foreign = seal(cookie, format.sample)
    sessions = SessionManager(CookieEngine(Key.generate()), accept=[cookie])
    session = sessions.open(header_of(foreign))

    assert {key: session[key] for key in format.sample} == format.sample
    lines = sessions.commit(session).set_cookies
    cleared = {line.partition("=")[0] for line in lines if "Max-Age=0" in line}
    assert cleared == set(foreign)


def header_of(cookies: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def escaped(value: str) -> str:
    """The value with an escape for each of its characters."""
    return "".join(f"%{byte:02x}" for byte in unquote(value).encode())


def test_an_ended_session_does_not_come_back_in_another_spelling(format: Format) -> None:
    """Whoever copied the cookie of somebody who has logged out would log in with it, its letters escaped, or beside junk."""
    cookie = format.cookie
    cookie.subject = lambda _: "alice"
    foreign = seal(cookie, format.sample)
    sessions = SessionManager(StoreEngine(MemoryStore()), accept=[cookie])
    session = sessions.open(header_of(foreign))
    assert session.subject == "alice"
    sessions.commit(session)
    session = sessions.open(header_of(foreign))
    session.logout()
    sessions.commit(session)

    copies = [{**foreign, name: write(value)} for name, value in foreign.items() for write in (str, escaped, unquote)]
    more = [{**foreign, f"{cookie.cookie_name}{end}": "junk"} for end in (".0", ".1", ".7", "-0", "-7")]
    for copy in (*copies, *more):
        assert sessions.open(header_of(copy)).subject is None


def test_two_visitors_with_the_same_cookie(format: Format) -> None:
    """Where nothing in it is random, each has a session of her own, if it is nobody's; else it is one visitor, twice."""
    cookie = format.cookie
    foreign = header_of(seal(cookie, format.sample))
    sessions = SessionManager(StoreEngine(MemoryStore()), accept=[cookie])
    first = sessions.open(foreign)
    sessions.commit(first)

    second = sessions.open(foreign)

    assert (second.id == first.id) == cookie.distinct


def test_one_user_has_one_session_of_one_cookie(format: Format) -> None:
    """Parallel first requests of somebody who is logged in make one, whatever the cookie."""
    cookie = format.cookie
    cookie.subject = lambda _: "alice"
    foreign = header_of(seal(cookie, format.sample))
    sessions = SessionManager(StoreEngine(MemoryStore()), accept=[cookie])
    first = sessions.open(foreign)
    sessions.commit(first)

    assert sessions.open(foreign).id == first.id


def test_no_two_cookies_are_the_same_where_the_format_says_so(format: Format) -> None:
    """Two sessions with the same data, written at one moment: something in the cookie is random, or it is an id."""
    cookie = format.cookie
    at = now()
    first, second = (
        cookie.seal(replace(record_of(format.sample), id=identifier * 16), context(cookie, at))
        for identifier in (b"1", b"2")
    )

    assert first != second or not cookie.distinct or "session_id" in format.sample


def test_until_is_demanded_where_a_cookie_has_no_time(format: Format) -> None:
    """Without a time in the cookie, and without `until`, a manager refuses the setting, and the format every cookie."""
    cookie = format.cookie
    if cookie.until != UNTIL:
        assert cookie.authenticates_time
        return
    cookie.until = None

    with pytest.raises(ConfigError, match="until"):
        SessionManager(CookieEngine(Key.generate()), accept=[cookie])


def test_a_manager_works_on_it(format: Format) -> None:
    """Beside the other stack: the session is read from its cookies, and written into them."""
    cookie = format.cookie
    place = Cookie(name=cookie.cookie_name, secure=cookie.cookie_name.startswith("__"))
    sessions = SessionManager(CookieEngine(cookie), cookie=place)
    session = sessions.open()
    session.update(format.sample)
    lines = sessions.commit(session).set_cookies
    header = "; ".join(line.partition(";")[0] for line in lines)

    again = sessions.open(header)

    assert {key: again[key] for key in format.sample} == format.sample

"""Keys with dates: which issues when, and that no step of a rotation is taken too early."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from hashlib import sha256

import pytest

from hardtack import Key
from hardtack.errors import ConfigError
from hardtack.tokens import schedule
from hardtack.tokens.schedule import CLOCKS, Entry, Schedule

DAY = 86400
NOW = 2_000_000_000
LIFETIME, SPREAD = 14 * DAY, DAY
OLD, NEW, NEXT = (Key(sha256(name).digest()) for name in (b"old", b"new", b"next"))
ALONE = schedule.begun(OLD, LIFETIME, SPREAD, NOW)


def rotated(found: Schedule, now: int, key: Key = NEW) -> tuple[Schedule, list[str]]:
    return found.rotated(30 * DAY, now, lambda: key)


def test_one_key_issues() -> None:
    """A new file has one key, which issues at once and for good."""
    for now in (NOW, NOW + 1000 * DAY):
        ring = ALONE.ring(now)

        assert ring.current is OLD
        assert list(ring) == [OLD]


def test_by_a_late_clock_the_first_key_issues() -> None:
    """A process whose clock is behind has a key as well."""
    assert ALONE.ring(NOW - 60).current is OLD


def test_a_key_issues_from_its_date_and_the_one_before_is_dropped_a_lifetime_after() -> None:
    """The three steps of a rotation: accepted by all, then it issues, then the one before is dropped."""
    begin = NOW + SPREAD + CLOCKS
    over = begin + LIFETIME + CLOCKS

    found = ALONE.adding(NEW, NOW)
    found = found.issuing(found.find(NEW.id.hex()), NOW)

    assert [(found.ring(now).current, set(found.ring(now))) for now in (NOW, begin - 1, begin, over - 1, over)] == [
        (OLD, {OLD, NEW}),
        (OLD, {OLD, NEW}),
        (NEW, {OLD, NEW}),
        (NEW, {OLD, NEW}),
        (NEW, {NEW}),
    ]


def test_a_key_that_all_have_issues_at_once_and_the_one_before_is_kept_for_those_that_do_not_know() -> None:
    """Until a process reads the file again, it seals under the key before: that one is needed a spread longer."""
    later = NOW + 2 * DAY
    found = ALONE.adding(NEW, NOW)

    found = found.issuing(found.find(NEW.id.hex()), later)

    assert found.find(NEW.id.hex()).issues_from == later
    assert found.find(OLD.id.hex()).accepted_until == later + SPREAD + LIFETIME + CLOCKS


def test_in_need_a_key_issues_at_once() -> None:
    """Where the old key leaked, somebody logged out is better than waiting."""
    found = ALONE.adding(NEW, NOW)

    found = found.issuing(found.find(NEW.id.hex()), NOW, at_once=True)

    assert found.current(NOW + 1).key is NEW  # after the second in which the other one has begun


def test_steps_that_are_refused() -> None:
    """Each with the reason: what issues already, what is in the file, what is not, and what another waits for."""
    pending = rotated(ALONE, NOW + 31 * DAY)[0]
    further = pending.adding(NEXT, NOW + 31 * DAY)

    with pytest.raises(ConfigError, match=r"issues from .* already"):
        ALONE.issuing(ALONE.entries[0], NOW)
    with pytest.raises(ConfigError, match="in the file already"):
        ALONE.adding(OLD, NOW)
    with pytest.raises(ConfigError, match=f"'abc' is not in the file; there are {OLD.id.hex()}"):
        ALONE.find("abc")
    with pytest.raises(ConfigError, match="another key is to issue already"):
        further.issuing(further.find(NEXT.id.hex()), NOW + 31 * DAY)
    with pytest.raises(ConfigError, match="every must be more than 87000 seconds"):
        ALONE.rotated(SPREAD, NOW)


def test_no_key_is_dropped_too_early() -> None:
    """The key that issues never; one that will, while nobody misses it; one that did, when its last session has ended."""
    added = ALONE.adding(NEW, NOW)
    pending = added.issuing(added.find(NEW.id.hex()), NOW)
    old, new = pending.entries

    with pytest.raises(ConfigError, match="issues; let another one issue first"):
        ALONE.dropping(ALONE.entries[0], NOW, at_once=True)
    with pytest.raises(ConfigError, match="no process may miss it by then"):
        pending.dropping(new, new.issues_from - SPREAD if new.issues_from else 0)
    with pytest.raises(ConfigError, match="is needed until"):
        pending.dropping(old, NOW + 3 * DAY)
    assert pending.dropping(old, NOW + 3 * DAY, at_once=True).entries == (new,)
    assert pending.dropping(old, NOW + 30 * DAY).entries == (new,)
    assert added.dropping(added.entries[1], NOW) == ALONE


def test_a_key_that_was_to_issue_can_be_taken_back() -> None:
    """Then the one that issues goes on, and has no end."""
    added = ALONE.adding(NEW, NOW)
    pending = added.issuing(added.find(NEW.id.hex()), NOW)

    assert pending.dropping(pending.entries[1], NOW) == ALONE
    assert pending.dropping(pending.entries[1], NOW + DAY, at_once=True) == ALONE


def test_rotate_takes_the_steps_that_are_due_and_no_others() -> None:
    """Nothing for 30 days, then a new key, nothing while it waits, and at last the old key is dropped."""
    assert rotated(ALONE, NOW + 30 * DAY - 1) == (ALONE, [])

    begun, told = rotated(ALONE, NOW + 30 * DAY)
    assert [line.partition(" ")[0] for line in told] == ["added", NEW.id.hex()]
    assert begun.pending(NOW + 30 * DAY) == begun.find(NEW.id.hex())

    over = begun.entries[0].accepted_until or 0
    for now in (NOW + 30 * DAY, NOW + 31 * DAY, NOW + 40 * DAY, over - 1):
        assert rotated(begun, now, NEXT) == (begun, [])
    dropped, told = rotated(begun, over, NEXT)
    assert [each.key for each in dropped.entries] == [NEW]
    assert told == [f"dropped {OLD.id.hex()}: its last session has ended"]


def test_rotate_takes_a_key_that_was_added_by_hand() -> None:
    """Which every process may have by now; then it issues at once."""
    added = ALONE.adding(NEXT, NOW)

    found, told = rotated(added, NOW + 30 * DAY)

    assert found.current(NOW + 30 * DAY).key is NEXT
    assert len(told) == 1


def test_a_schedule_is_written_and_read() -> None:
    """The text of the file says it all, and a key that is known stays the same object."""
    found = rotated(ALONE, NOW + 31 * DAY)[0].adding(NEXT, NOW)

    back = schedule.read(tomllib.loads(schedule.render(found)), "keys.toml", known=[OLD, NEW])

    assert back == found
    assert back.entries[0].key is OLD
    assert back.entries[2].key is not NEXT


GOOD = schedule.render(ALONE.adding(NEW, NOW))
ENTRY = f'[[keys]]\nkey = "{NEXT.export()}"\nadded = 2031-05-09T00:00:00Z\n'

WRONG: list[tuple[str, str, str]] = [
    ('lifetime = "1209600 seconds"', "", "lifetime in keys.toml is missing"),
    ('lifetime = "1209600 seconds"', 'lifetime = "soon"', "lifetime in keys.toml='soon' is not a duration"),
    ('lifetime = "1209600 seconds"', 'lifetime = "101 years"', "is more than 100 years"),
    ('spread = "86400 seconds"', "spread = 0", "spread in keys.toml is missing"),
    ('spread = "86400 seconds"', 'spred = "1 day"', "spred in keys.toml is not a setting; did you mean spread?"),
    ("issues_from = ", "issue_from = ", "issue_from of key 1 in keys.toml is not a setting; did you mean issues_from?"),
    ("issues_from = ", "accepted_until = ", "has no key that issues"),
    (OLD.export(), "htk1_short", "key 1 in keys.toml: this is not a hardtack key"),
    (OLD.export(), Key(bytes(32)).export(), "key 1 in keys.toml: this key is an example"),
    (f'"{OLD.export()}"', "5", "key 1 in keys.toml: this is not a hardtack key"),
    (OLD.export(), NEW.export(), "has a key twice"),
    ("added = 2033-05-18T03:33:20Z\nissues", "issues", "key 1 in keys.toml has no date added"),
    ("issues_from = 2033-05-18T03:33:20Z", 'issues_from = "2033-05-18T03:33:20Z"', "without quotes"),
    ("issues_from = 2033-05-18T03:33:20Z", "issues_from = 2033-05-18T03:33:20", "a time with a zone"),
]


@pytest.mark.parametrize(("before", "after", "problem"), WRONG, ids=[each[2] for each in WRONG])
def test_a_file_that_is_wrong(before: str, after: str, problem: str) -> None:
    """Each mistake is told with its place, and no key is shown."""
    text = GOOD.replace(before, after, 1)
    assert text != GOOD

    with pytest.raises(ConfigError) as caught:
        schedule.read(tomllib.loads(text), "keys.toml")

    assert problem in str(caught.value)
    assert "htk1_" not in str(caught.value).replace("'htk1_'", "")


def test_a_file_that_does_not_say_its_spread() -> None:
    """It is a day, as of a file that `hardtack keys init` makes."""
    text = GOOD.replace('spread = "86400 seconds"\n', "")
    assert text != GOOD

    assert schedule.read(tomllib.loads(text), "keys.toml").spread == 86400


@pytest.mark.parametrize("text", ['lifetime = "1 day"', 'keys = "htk1_"', "keys = []", "keys = [5]"])
def test_a_file_without_keys(text: str) -> None:
    """Another file in the place of the key file is told so."""
    with pytest.raises(ConfigError, match=r"has no \[\[keys\]\]"):
        schedule.read(tomllib.loads(text), "keys.toml")


def test_two_keys_cannot_issue_from_the_same_second() -> None:
    """Which of them issues would be left to chance."""
    both = replace(ALONE, entries=(*ALONE.entries, Entry(NEW, NOW, NOW)))

    with pytest.raises(ConfigError, match="issue from the same second"):
        schedule.read(tomllib.loads(schedule.render(both)), "keys.toml")

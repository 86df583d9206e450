"""Keys with dates: which issues and which are accepted at a time, and the steps of a rotation, none of which comes too early.

Nothing here reads or writes a file. Times are whole Unix seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from hardtack._settings import fail, named, unknown
from hardtack.lifetime import Duration, seconds
from hardtack.tokens.keys import Key, Keyring

CLOCKS: Final = 600
"""Seconds by which the clocks of two processes may differ."""

SPREAD: Final = "1 day"
"""The `spread` of a file that does not say it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a file.

    Attributes:
        added: since when it is in the file, and so accepted.
        issues_from: from when it issues, until another does; None: it does not.
        accepted_until: when it is dropped; None: not yet said.
    """

    key: Key
    added: int
    issues_from: int | None = None
    accepted_until: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The keys of a file.

    Attributes:
        lifetime: seconds that a session lives at most: how long a key is accepted after it has ceased to issue.
        spread: seconds within which every process surely has a change of the file.
    """

    lifetime: int
    spread: int
    entries: tuple[Entry, ...]

    def current(self, now: float) -> Entry:
        """The key that issues: the last that has begun to. Before any has, by a clock that is late, the first."""
        issuing = sorted((each for each in self.entries if each.issues_from is not None), key=_begin)
        begun = [each for each in issuing if _begin(each) <= now]
        return begun[-1] if begun else issuing[0]

    def pending(self, now: float) -> Entry | None:
        """The key that is to issue, if one is."""
        return min(
            (each for each in self.entries if each.issues_from is not None and each.issues_from > now),
            key=_begin,
            default=None,
        )

    def ring(self, now: float) -> Keyring:
        """The keys as they are at this time."""
        current = self.current(now)
        return Keyring(current.key, [each.key for each in self.entries if each is current or not is_over(each, now)])

    def find(self, key_id: str) -> Entry:
        """The key with an id, in hexadecimal. Raises `ConfigError`."""
        for each in self.entries:
            if each.key.id.hex() == key_id.lower():
                return each
        known = ", ".join(each.key.id.hex() for each in self.entries)
        return fail(f"the key {key_id[:20]!r}", f"is not in the file; there are {known}")

    # --- Steps. Each returns another schedule, which may be put in force at `now`.

    def adding(self, key: Key, now: int) -> Schedule:
        """A further key is accepted."""
        if any(each.key == key for each in self.entries):
            fail(f"the key {key.id.hex()}", "is in the file already")
        return replace(self, entries=(*self.entries, Entry(key, now)))

    def issuing(self, entry: Entry, now: int, *, at_once: bool = False) -> Schedule:
        """A key will issue, as soon as every process surely accepts it; the one before is accepted until its sessions end."""
        if entry.issues_from is not None:
            fail(f"the key {entry.key.id.hex()}", f"issues from {written(entry.issues_from)} already")
        if self.pending(now) is not None:
            fail("another key", "is to issue already, and each needs its time; try again later")
        before = self.current(now)
        begin = max(now if at_once else entry.added + self.spread + CLOCKS, now, _begin(before) + 1)
        # Until it has this change, a process issues under the key before.
        over = max(begin, now + self.spread) + self.lifetime + CLOCKS
        return self._changed({before: replace(before, accepted_until=over), entry: replace(entry, issues_from=begin)})

    def dropping(self, entry: Entry, now: int, *, at_once: bool = False) -> Schedule:
        """A key is gone, if no session needs it any more; `at_once`: if one does, too. `ConfigError` if it is too early."""
        label = f"the key {entry.key.id.hex()}"
        if entry is self.current(now):
            fail(label, "issues; let another one issue first")
        if not at_once and not is_over(entry, now):
            if entry.accepted_until is not None:
                fail(label, f"is needed until {written(entry.accepted_until)}: then it is dropped by itself")
            if entry.issues_from is not None and entry.issues_from <= now + self.spread:
                fail(label, f"issues from {written(entry.issues_from)}, and no process may miss it by then")
        kept = self._changed({entry: None})
        if entry.issues_from is None or entry.issues_from <= now:
            return kept
        current = kept.current(now)  # goes on to issue
        return kept._changed({current: replace(current, accepted_until=None)})

    def rotated(self, every: int, now: int, generate: Callable[[], Key] = Key.generate) -> tuple[Schedule, list[str]]:
        """The steps that are due, and what they are: keys that are over are dropped; after `every` seconds another issues."""
        if every <= self.spread + CLOCKS:
            fail("every", f"must be more than {self.spread + CLOCKS} seconds: the spread of the file, and ten minutes")
        result, told = self, list[str]()
        for each in self.entries:
            if is_over(each, now) and each is not self.current(now):
                result = result._changed({each: None})
                told.append(f"dropped {each.key.id.hex()}: its last session has ended")
        if result.pending(now) is None and now >= _begin(result.current(now)) + every:
            waiting = [each for each in result.entries if each.issues_from is None and each.accepted_until is None]
            if not waiting:
                result = result.adding(generate(), now)
                waiting = [result.entries[-1]]
                told.append(f"added {waiting[0].key.id.hex()}")
            result = result.issuing(waiting[0], now)
            told.append(
                f"{waiting[0].key.id.hex()} issues from {written(_begin(result.find(waiting[0].key.id.hex())))}"
            )
        return result, told

    def _changed(self, changes: Mapping[Entry, Entry | None]) -> Schedule:
        changed = (changes.get(each, each) for each in self.entries)
        return replace(self, entries=tuple(each for each in changed if each is not None))


def begun(key: Key, lifetime: int, spread: int, now: int) -> Schedule:
    """A schedule of one key, which issues from now on."""
    return Schedule(lifetime, spread, (Entry(key, now, now),))


def _begin(entry: Entry) -> int:
    return -1 if entry.issues_from is None else entry.issues_from


def is_over(entry: Entry, now: float) -> bool:
    """Whether a key is dropped."""
    return entry.accepted_until is not None and now >= entry.accepted_until


# --- The form of the file


def written(moment: int) -> str:
    """A time as the file has it: RFC 3339, UTC."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat().replace("+00:00", "Z")


def render(schedule: Schedule) -> str:
    """The text of a key file."""
    lines = [
        "# The keys of a site's sessions. Whoever can read this file can forge them all.",
        "# Written by `hardtack keys`, which knows when each step of a rotation is safe.",
        f'lifetime = "{schedule.lifetime} seconds"',
        f'spread = "{schedule.spread} seconds"',
    ]
    for each in schedule.entries:
        lines += ["", "[[keys]]", f'key = "{each.key.export()}"', f"added = {written(each.added)}"]
        dates = {"issues_from": each.issues_from, "accepted_until": each.accepted_until}
        lines += [f"{name} = {written(date)}" for name, date in dates.items() if date is not None]
    return "\n".join(lines) + "\n"


_NAMES: Final = ("lifetime", "spread", "keys")
_KEY_NAMES: Final = ("key", "added", "issues_from", "accepted_until")


def read(content: Mapping[str, Any], label: str, known: Iterable[Key] = ()) -> Schedule:
    """The schedule in a parsed file. Keys that are `known` stay the same objects. Raises `ConfigError`."""
    for name in content:
        if name not in _NAMES:
            unknown(name, f"{name} in {label}", _NAMES)
    keys = content.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(each, dict) for each in keys):
        fail(label, "has no [[keys]]; `hardtack keys init` makes a key file")
    objects = {key.export(): key for key in known}
    entries = tuple(_entry(each, f"key {number} in {label}", objects) for number, each in enumerate(keys, 1))
    lifetime = duration(content.get("lifetime", 0), f"lifetime in {label}")
    schedule = Schedule(lifetime, duration(content.get("spread", SPREAD), f"spread in {label}"), entries)
    _check(schedule, label)
    return schedule


def _check(schedule: Schedule, label: str) -> None:
    ids = [each.key.id for each in schedule.entries]
    if len(set(ids)) != len(ids):
        fail(label, "has a key twice; remove one of them")
    begins = [each.issues_from for each in schedule.entries if each.issues_from is not None]
    if not begins:
        fail(label, "has no key that issues; give one of them an issues_from")
    if len(set(begins)) != len(begins):
        fail(label, "has two keys that issue from the same second; one has to come after the other")


def duration(value: Duration, label: str) -> int:
    """A duration of a key file in seconds. Raises `ConfigError`."""
    found = seconds(value, label)
    if found < 1:
        fail(label, "is missing or nothing; write a second or more, such as '14 days'")
    return found


def _entry(fields: Mapping[str, Any], label: str, known: Mapping[str, Key]) -> Entry:
    for name in fields:
        if name not in _KEY_NAMES:
            unknown(name, f"{name} of {label}", _KEY_NAMES)
    text = fields.get("key")
    with named(label):
        key = known[text] if isinstance(text, str) and text in known else Key.parse(text)  # type: ignore[arg-type]
    added = _date(fields, "added", label)
    if added is None:
        fail(label, "has no date added: since when every process may have it")
    return Entry(key, added, _date(fields, "issues_from", label), _date(fields, "accepted_until", label))


def _date(fields: Mapping[str, Any], name: str, label: str) -> int | None:
    found = fields.get(name)
    if found is None:
        return None
    if not isinstance(found, dt.datetime) or found.tzinfo is None:
        fail(f"{name} of {label}", "is not a time with a zone; write 2031-05-09T12:00:00Z, without quotes")
    return int(found.timestamp())

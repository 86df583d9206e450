"""Golden cookies, made by the real systems: each opens to its data, or does not open at all.

`HARDTACK_VECTORS` may name another directory of the same schema, which is read beside ours. What was checked is counted
by directory and format, and formats without a reader are named.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.foreign.perl_readers import EITHER_ACCEPTED
from tests.foreign.readers import EXPECTED, READERS

from hardtack.errors import InvalidToken
from hardtack.foreign.dancer import read_memcached_record
from hardtack.protocols import Context
from hardtack.record import Record

Entry = dict[str, Any]

ANY_TIME = 1_800_000_000

OWN = Path(__file__).parents[1] / "vectors"
DIRECTORIES = [OWN] + ([Path(os.environ["HARDTACK_VECTORS"])] if "HARDTACK_VECTORS" in os.environ else [])


def _entries(directory: Path) -> list[tuple[str, Entry]]:
    found = []
    for path in sorted(directory.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, list):
            found += [(path.name, entry) for entry in map(_as_cookie, content) if "expect" in entry]
    return found


def _as_cookie(entry: Entry) -> Entry:
    """An id whose session is in a store, or a row of one, as a cookie that holds it."""
    if "expect" in entry or "cookie_value" not in entry:
        return entry
    clock = {"now": entry["verify_at"]} if "verify_at" in entry else {}
    return {**entry, **clock, "expect": "accept" if entry["valid"] else "refuse", "data": entry["plaintext_data"]}


ENTRIES = {directory: _entries(directory) for directory in DIRECTORIES}
READABLE = [
    pytest.param(entry, id=f"{file}-{entry['name']}")
    for entries in ENTRIES.values()
    for file, entry in entries
    if entry["format"] in READERS
]


def _open(entry: Entry) -> Record:
    token = READERS[entry["format"]](entry)
    name = str(entry.get("cookie_name") or getattr(token, "cookie_name", "session"))
    cookies = {name: [entry["cookie_value"]]} if entry["cookie_value"] is not None else {}
    for companion, value in _companions(entry):
        cookies[companion] = [value]
    return token.open(cookies, Context(name, "", _clock(entry)))


def _clock(entry: Entry) -> int:
    """The time to read it at: its own, or where it has none any, after every cookie was made that has ended since."""
    now = entry.get("now")
    if now is not None:
        return int(now // 1)
    if "signed_at" in entry.get("options", {}):
        return int(entry["options"]["signed_at"]) + 1
    return min(ANY_TIME, int(entry.get("valid_before_ms") or ANY_TIME * 1000) // 1000) - 1


def _companions(entry: Entry) -> list[tuple[str, str]]:
    companion = entry.get("companion") or {}
    if isinstance(companion, dict):
        return list(companion.items())
    return [(each["name"], each["value"]) for each in companion]


def _accepted(entry: Entry) -> bool:
    """Whether we open it: a strict reader refuses an `either`, unless there is a reason."""
    if entry["expect"] == "either":
        text = f"{entry['name']} {entry.get('why', '')}".lower()
        return "zstd" not in text and any(part.lower() in text for part in EITHER_ACCEPTED)
    return bool(entry["expect"] == "accept")


@pytest.mark.parametrize("entry", READABLE)
def test_golden_cookie(entry: Entry) -> None:
    """A cookie of a real system opens to exactly its data, and one that must be refused does not open."""
    if _accepted(entry):
        expected = EXPECTED.get(entry["format"], dict)(entry["data"])

        record = _open(entry)

        assert record.data == expected
        assert record.subject is None
    else:
        with pytest.raises(InvalidToken):
            _open(entry)


@pytest.mark.parametrize("directory", DIRECTORIES, ids=str)
def test_no_format_is_skipped_in_silence(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every entry is counted, and formats without a reader are named; of our own copies none lacks one."""
    formats = [entry["format"] for _, entry in ENTRIES[directory]]
    checked = Counter(each for each in formats if each in READERS)
    unread = Counter(each for each in formats if each not in READERS)

    with capsys.disabled():
        print(f"\ngolden cookies of {directory} checked: {sum(checked.values())} {dict(sorted(checked.items()))}")
        print(f"of formats without a reader: {sum(unread.values())} {dict(sorted(unread.items()))}")

    assert formats, f"{directory} has no golden cookies"
    if directory == OWN:
        assert not unread
        assert sum(checked.values()) > 400


MEMCACHED = [
    pytest.param(entry, id=entry["name"])
    for directory in DIRECTORIES
    for path in directory.glob("dancer_memcached.json")
    for entry in json.loads(path.read_text("utf-8"))
]


@pytest.mark.parametrize("entry", MEMCACHED)
def test_memcached_record(entry: Entry) -> None:
    """What Dancer::Session::Memcached stored reads as its data, without the id."""
    data = read_memcached_record(bytes.fromhex(entry["value_hex"]))

    assert data == {key: item for key, item in entry["plaintext_data"].items() if key != "id"}

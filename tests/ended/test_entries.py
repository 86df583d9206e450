"""The wire form of an entry: what is written comes back, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ended.kit import KEY, OTHER_KEY

from hardtack import Keyring
from hardtack.ended.entries import All, Codec, Entry, Limits, Origin, Provider, Session, Skipped, Subject

ID, HASH = bytes(range(8)), bytes(range(16))
TIME = 1_795_817_486_831_033
ENTRIES: list[Entry] = [
    Session(TIME, ID),
    Session(TIME, ID, HASH, changed=True),
    Session(TIME, ID, HASH, changed=True, brief=True),
    Session(TIME, ID, HASH, brief=True),
    Subject(TIME, HASH),
    Subject(TIME, HASH, (ID, ID[::-1])),
    Provider(TIME, HASH),
    All(TIME),
    All(TIME, unseen=True),
    Limits(TIME, 86400, 7200, 60),
    Limits(TIME, 86400, 0, 60),
    Origin(TIME, HASH),
]


@pytest.fixture
def codec() -> Codec:
    """Under the one key."""
    return Codec(Keyring(KEY), "shop")


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_an_entry_comes_back(entry: Any, codec: Codec) -> None:
    """Of its kind, with all its fields."""
    assert codec.open(codec.seal(entry)) == entry


def test_the_bytes_of_an_entry(codec: Codec) -> None:
    """As docs/ended-sessions.md has them: version, kind, key id, time, body, and a MAC of 16 bytes."""
    raw = codec.seal(Session(TIME, ID, HASH, changed=True))

    assert raw[:2] == b"\x01s"
    assert raw[2:7] == KEY.id
    assert int.from_bytes(raw[7:15], "big") == TIME
    assert raw[15:-16] == ID + HASH + b"\x01"


def test_the_same_entry_has_the_same_bytes(codec: Codec) -> None:
    """Adding it twice is adding it once."""
    assert codec.seal(ENTRIES[0]) == codec.seal(ENTRIES[0])


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_no_byte_can_be_changed(entry: Any, codec: Codec) -> None:
    """Who can write to the channel can neither log anybody out nor in."""
    raw = codec.seal(entry)

    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(Skipped):
            codec.open(changed)


def test_a_torn_entry_is_no_entry(codec: Codec) -> None:
    """At whatever byte it was cut off."""
    raw = codec.seal(ENTRIES[5])

    for size in range(len(raw)):
        with pytest.raises(Skipped) as problem:
            codec.open(raw[:size])
        assert problem.value.reason in ("torn", "foreign")
    with pytest.raises(Skipped, match="torn"):
        codec.open(b"")


@pytest.mark.parametrize(("keys", "purpose"), [(Keyring(OTHER_KEY), "shop"), (Keyring(KEY), "forum")])
def test_an_entry_of_another_key_or_purpose_is_foreign(keys: Keyring, purpose: str, codec: Codec) -> None:
    """Two applications on one channel do not end each other's sessions."""
    with pytest.raises(Skipped, match="foreign"):
        Codec(keys, purpose).open(codec.seal(ENTRIES[0]))


def test_an_entry_under_an_accepted_key_is_good(codec: Codec) -> None:
    """So that a key can be changed."""
    rotated = Codec(Keyring(OTHER_KEY, accept=[KEY]), "shop")

    raw = codec.seal(ENTRIES[0])

    assert rotated.open(raw) == ENTRIES[0]
    assert not rotated.is_current(raw)
    assert rotated.is_current(rotated.seal(ENTRIES[0]))


def test_a_newer_entry_is_told_as_that(codec: Codec) -> None:
    """Whether its version is unknown, its kind, its time or the length of its body: an older process says why it skips."""
    raw = codec.seal(ENTRIES[0])
    with pytest.raises(Skipped, match="version"):
        codec.open(b"\x02" + raw[1:])

    wrong: list[Any] = [
        Session(TIME, ID + ID),
        Session(TIME, ID, HASH, changed=4),  # type: ignore[arg-type]
        Subject(TIME, HASH, (b"four",)),
        Subject(TIME, ID),
        Provider(TIME, ID),
        All(TIME, unseen=2),  # type: ignore[arg-type]
        Origin(TIME, ID),
        Origin(1 << 60, HASH),
        _LongLimits(TIME, 1, 1, 1, 1),
    ]
    for entry in wrong:
        with pytest.raises(Skipped, match="version"):
            codec.open(codec.seal(entry))


class _LongLimits(Limits):
    """With a field that this version does not know."""

    def __new__(cls, *fields: int) -> Any:
        return tuple.__new__(cls, fields)


def test_a_name_is_hashed_under_key_and_purpose(codec: Codec) -> None:
    """Nobody can choose a name that collides, and two applications' alice are two."""
    hashes = {
        codec.hash_subject("alice"),
        codec.hash_subject("bob"),
        Codec(Keyring(OTHER_KEY), "shop").hash_subject("alice"),
        Codec(Keyring(KEY), "forum").hash_subject("alice"),
        codec.hash_provider("alice", ""),
        codec.hash_provider("", "alice"),
    }

    assert len(hashes) == 6
    assert {len(each) for each in hashes} == {16}


def test_a_name_is_looked_up_under_every_key(codec: Codec) -> None:
    """What was written under the old key is found after the change."""
    rotated = Codec(Keyring(OTHER_KEY, accept=[KEY]), "shop")

    assert set(rotated.subject_hashes("alice")) == {codec.hash_subject("alice"), rotated.hash_subject("alice")}
    assert set(rotated.provider_hashes("op", "1")) == {codec.hash_provider("op", "1"), rotated.hash_provider("op", "1")}


def test_any_text_can_be_hashed(codec: Codec) -> None:
    """A lone surrogate too: an end must not fail for the user's name."""
    assert codec.hash_subject("\ud800") != codec.hash_subject("?")


def test_how_long_a_copy_can_live() -> None:
    """With an idle timeout, that, and for how long a process may be stale, and a minute; else the lifetime."""
    assert Limits(0, 86400, 7200, 30).life == 7200 + 30 + 60
    assert Limits(0, 86400, 0, 30).life == 86400

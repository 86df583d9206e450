"""The list in memory: what is in it is found, what cannot matter any more is dropped, and it stays small."""

from __future__ import annotations

import random
import sys
import time
from itertools import permutations
from typing import Any

import pytest

from hardtack.ended.entries import NOBODY, All, Limits, Provider, Session, Subject
from hardtack.ended.table import BIT_OF, RECORD, SHARDS, Records, Table, claim_name, claim_of

SECOND = 1_000_000
NOW = 1_795_817_486 * SECOND
LIMITS = Limits(NOW, 86400, 7200, 60)
ID, OTHER = b"identity" * 2, b"another!"
HASH = bytes(range(16))


@pytest.fixture
def table() -> Table:
    """A table whose sessions live for 7320 seconds."""
    table = Table()
    table.add(LIMITS)
    return table


def sweep(table: Table, now: int, brief: int = 180) -> None:
    """Go once through the whole table."""
    for _ in range(SHARDS):
        table.forget(now, brief)


def test_what_was_added_is_found() -> None:
    """Each of many thousand records, in whatever bucket, before and after these were split; and nothing else."""
    randomness = random.Random(7)
    records = Records()
    added = [randomness.randbytes(RECORD) for _ in range(50_000)]

    for record in added:
        records.add(record)

    assert len(records) == 50_000
    assert sorted(records) == sorted(added)
    assert all(records.find(record[:8]) == [record] for record in added)
    assert not any(records.find(randomness.randbytes(8)) for _ in range(10_000))


def may_be_in(records: Records, key: bytes) -> bool:
    """Whether the bits say that a key may be there, as `EndedSessions.check` asks them."""
    bits = records.bits[key[0]]
    return bool(bits[(key[1] | key[2] << 8) & (len(bits) - 1)] & BIT_OF[key[3]])


def test_what_is_there_has_its_bit_set() -> None:
    """While the table grows, while it is forgotten and added to again, and after it was loaded: else an end is passed by."""
    randomness = random.Random(3)
    records, loaded = Records(), Records()
    kept: list[bytes] = []

    for turn in range(4):
        added = [randomness.randbytes(RECORD - 1) + bytes([turn]) for _ in range(20_000)]
        for record in added:
            records.add(record)
            assert may_be_in(records, record)
        for _ in range(SHARDS):
            records.forget(lambda record, turn=turn: record[-1] < turn)  # type: ignore[misc]
        kept = added
        assert sorted(records) == sorted(kept)
        assert all(may_be_in(records, record) for record in kept)
    for number in range(SHARDS):
        loaded.load(number, records.dump(number))

    assert all(may_be_in(loaded, record) for record in kept)
    for each in (records, loaded):
        passed = sum(may_be_in(each, randomness.randbytes(8)) for _ in range(10_000))
        assert passed < 2500  # what was forgotten has its bit no more, but for some of the last
    assert sum(map(len, records.bits)) < 20_000 * 2


def test_the_first_records_of_a_shard() -> None:
    """Those of one first byte, from none to thousands: as many buckets as they need, and each found."""
    randomness = random.Random(4)
    records = Records()
    added = [b"\xff" + randomness.randbytes(RECORD - 1) for _ in range(5_000)]
    assert not any(may_be_in(records, record) for record in added)

    for count, record in enumerate(added, 1):
        records.add(record)
        assert len(records.shards[0xFF]) <= max(count / 4, 1)

    assert max(map(len, records.shards[0xFF])) < 50 * RECORD
    assert all(records.find(record[:8]) == [record] for record in added)


def test_a_record_across_two_others_is_not_found() -> None:
    """What ends one record and begins the next may look like an id."""
    records = Records()
    records.add(b"aaaa" + bytes(4) + bytes(11) + b"aaaa")
    records.add(b"aaaa" + bytes(4) + bytes(11) + b"bbbb")

    # the last four bytes of the first, and the first four of the second
    assert records.find(b"aaaaaaaa") == []
    assert records.find(b"aaaa" + bytes(4)) == list(records)


def test_twice_is_once(table: Table) -> None:
    """What this process has added comes back by the channel."""
    for _ in range(2):
        for entry in (Session(NOW, ID[:8]), Subject(NOW, HASH, (OTHER,)), Provider(NOW, HASH), All(NOW)):
            table.add(entry)

    assert len(table) == 3
    assert len(table.spared) == 1


def test_a_session_with_another_owner_is_another_entry(table: Table) -> None:
    """An entry for somebody else's session must not hide the real one."""
    table.add(Session(NOW, OTHER, b"x" * 16))
    table.add(Session(NOW, OTHER, b"y" * 16))

    assert [owner[:1] for owner, _, _ in table.find_session(OTHER)] == [b"x", b"y"]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)], ids=str)
@pytest.mark.parametrize("owner", [NOBODY, HASH], ids=["whoever", "hers"])
def test_an_end_reaches_the_id_that_was_claimed_first(table: Table, order: tuple[int, ...], owner: bytes) -> None:
    """Whichever of them comes first, and with what it asks of the owner. A second claim reaches nothing, nor does a change."""
    first, second, changed = b"first id" * 2, b"second i" * 2, b"changed!"
    name = claim_name(ID[:8])
    entries = [
        Session(NOW, name, claim_of(first, binds=True), changed=True),
        Session(NOW, name, claim_of(second, binds=True), changed=True),
        Session(NOW + SECOND, ID[:8], owner),
    ]

    for number in order:
        table.add(entries[number])
    table.add(Session(NOW, changed, changed=True))
    table.add(Session(NOW, claim_name(changed), claim_of(b"elsewher" * 2, binds=True), changed=True))

    assert table.find_claim(name) == claim_of(first, binds=True)[:10]
    assert table.find_session(first[:8]) == [(owner[:10], False, NOW // SECOND + 1)]
    assert table.find_session(second[:8]) == table.find_session(b"elsewher") == []
    again = Table()
    for entry in table.entries():
        again.add(entry)
    assert again.find_session(first[:8]) == table.find_session(first[:8])
    assert again.find_claim(name) == table.find_claim(name)


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_an_end_reaches_each_id_that_a_session_got(table: Table, order: tuple[int, ...]) -> None:
    """Of each server that gave it one at the same time, and what became of that; the one in the middle says a change only."""
    ids = [b"id %04d " % number for number in range(4)]
    entries = [
        Session(NOW, claim_name(ids[0]), claim_of(ids[1] * 2, binds=False), changed=True),
        Session(NOW, claim_name(ids[0]), claim_of(ids[2] * 2, binds=False), changed=True),
        Session(NOW, claim_name(ids[2]), claim_of(ids[3] * 2, binds=False), changed=True),
        Session(NOW, ids[0], HASH),
    ]

    for each in ids[:3]:
        table.add(Session(NOW, each, changed=True))
    for number in order:
        table.add(entries[number])

    for each in ids[1:]:
        assert (HASH[:10], False, NOW // SECOND) in table.find_session(each)


def test_an_end_that_changes_reaches_nothing(table: Table) -> None:
    """As Django's flush over an old password hash, which must not end the tab that has just changed the password."""
    claim = Session(NOW, claim_name(ID[:8]), claim_of(b"new id" * 3, binds=False), changed=True)

    for entry in (claim, Session(NOW, ID[:8], changed=True), claim):
        table.add(entry)

    assert table.find_session(b"new idne") == []


def test_claims_in_a_circle_come_to_an_end(table: Table) -> None:
    """Nobody draws such ids; who has the key could write them, and every process would stand still."""
    table.add(Session(NOW, claim_name(ID[:8]), claim_of(OTHER + b"123456789", binds=False), changed=True))
    table.add(Session(NOW, claim_name(OTHER), claim_of(ID[:8] + b"123456789", binds=False), changed=True))

    table.add(Session(NOW, ID[:8]))

    assert [changed for _, changed, _ in table.find_session(OTHER)] == [False]


def test_sessions_of_a_user(table: Table) -> None:
    """Those drawn before end, but for the spared; a later end of the same user ends these too."""
    table.add(Subject(NOW, HASH, (OTHER,)))

    assert table.find_subject(HASH, ID[:8], NOW - 1) == NOW
    assert table.find_subject(HASH, ID[:8], NOW) is None
    assert table.find_subject(HASH, OTHER, 0) is None
    assert table.find_subject(HASH[::-1], ID[:8], 0) is None

    table.add(Subject(NOW + 5, HASH))

    assert table.find_subject(HASH, OTHER, NOW - 1) == NOW + 5


def test_who_was_spared_for_another_user_is_not_spared(table: Table) -> None:
    """An id is spared by the entry that names it, and by no other."""
    table.add(Subject(NOW, HASH, (ID[:8],)))
    table.add(Subject(NOW, HASH[::-1], (OTHER,)))

    assert table.find_subject(HASH, OTHER, 0) == NOW


def test_sessions_of_a_provider(table: Table) -> None:
    """Those drawn before end."""
    table.add(Provider(NOW, HASH))

    assert table.find_provider(HASH, NOW - 1) == NOW
    assert table.find_provider(HASH, NOW) is None


def test_the_newest_end_of_everybody_counts(table: Table) -> None:
    """In whatever order they come."""
    for at in (NOW, NOW - 5, NOW + 5, NOW):
        table.add(All(at))
        table.add(All(at - 100, unseen=True))

    assert (table.all_drawn, table.all_seen) == (NOW + 5, NOW - 95)


@pytest.mark.parametrize("entry", [Session(NOW, OTHER), Subject(NOW, HASH, (OTHER,)), Provider(NOW, HASH)])
def test_an_entry_is_kept_for_as_long_as_a_copy_can_live(entry: Any, table: Table) -> None:
    """And dropped soon after."""
    table.add(entry)

    sweep(table, NOW + 7319 * SECOND)
    assert len(table) == 1

    sweep(table, NOW + 7322 * SECOND)
    assert len(table) == 0


def test_who_is_spared_is_remembered_longer_than_the_entry(table: Table) -> None:
    """The table is gone through in parts: an entry must not lose the ids that it spares before it is dropped itself."""
    table.add(Subject(NOW, HASH, (OTHER,)))

    sweep(table, NOW + 7322 * SECOND)
    assert len(table.spared) == 1

    table.add(LIMITS._replace(time=NOW + 7322 * SECOND))
    sweep(table, NOW + (7322 + 3600) * SECOND)
    assert len(table.spared) == 0


def test_an_anonymous_session_before_its_login_is_kept_for_minutes(table: Table) -> None:
    """They are five sixths of all."""
    table.add(Session(NOW, OTHER, brief=True))
    table.add(Session(NOW, b"another2"))

    sweep(table, NOW + 179 * SECOND)
    assert len(table) == 2

    sweep(table, NOW + 182 * SECOND)
    assert [bool(table.find_session(each)) for each in (OTHER, b"another2")] == [False, True]


def test_the_longest_limits_count(table: Table) -> None:
    """Another application on the channel may let its sessions live longer."""
    table.add(Limits(NOW, 86400 * 14, 0, 60))

    assert table.life == 86400 * 14


def test_without_limits_nothing_is_forgotten() -> None:
    """Nobody has said how long copies live."""
    table = Table()
    table.add(Session(1, OTHER))

    sweep(table, NOW)

    assert len(table) == 1


def test_limits_that_nobody_tells_any_more_are_forgotten(table: Table) -> None:
    """They are told again by whoever has them."""
    table.add(Limits(NOW - 2 * 86400 * SECOND, 86400, 0, 60))
    assert table.life == 86400
    table.add(Limits(NOW - 3 * 86400 * SECOND, 86400, 0, 60))

    sweep(table, NOW)

    assert table.limits == {LIMITS[1:]: LIMITS}


def test_the_entries_of_a_table_make_the_same_table(table: Table) -> None:
    """With them a lost channel is written back."""
    for entry in (
        Session(NOW, OTHER, b"owner" * 3 + b"!", changed=True),
        Session(NOW, ID[:8], brief=True),
        Subject(NOW + 1, HASH, (OTHER, ID[:8])),
        Subject(NOW + 2, HASH),
        Provider(NOW + 3, HASH),
        All(NOW + 4),
        All(NOW + 5, unseen=True),
    ):
        table.add(entry)

    other = Table()
    for each in table.entries():
        other.add(each)

    for one, two in zip(table.records(), other.records(), strict=True):
        assert sorted(one) == sorted(two)
    assert (other.all_drawn, other.all_seen, other.limits) == (table.all_drawn, table.all_seen, table.limits)


@pytest.mark.slow
def test_an_entry_takes_at_most_thirty_bytes() -> None:
    """At a million, by what the interpreter says its objects take; less where buckets are just about to be split."""
    records = Records()
    randomness = random.Random(1)
    slowest = 0.0
    for _ in range(300_000):
        record = randomness.randbytes(RECORD)
        began = time.thread_time()
        records.add(record)
        slowest = max(slowest, time.thread_time() - began)

    shards = records.shards
    blocks = [bucket for shard in shards for bucket in shard if bucket]
    size = sum(-(-sys.getsizeof(bucket) // 16) * 16 for bucket in blocks)
    size += sum(map(sys.getsizeof, shards)) + sum(map(sys.getsizeof, records.bits))

    assert size / len(records) <= 30
    assert slowest < 0.2  # of the processor: a dictionary of a million doubles for longer; the benchmark measures


def test_a_dump_can_be_loaded_beside_what_is_there() -> None:
    """An end that this process has added before it read the snapshot is not lost."""
    randomness = random.Random(2)
    first, second = Records(), Records()
    added = [randomness.randbytes(RECORD) for _ in range(20_000)]
    for record in added:
        first.add(record)
    mine = b"\x55" + bytes(RECORD - 1)
    second.add(mine)

    for number in range(SHARDS):
        second.load(number, first.dump(number))

    assert sorted(second) == sorted([*added, mine])
    assert all(second.find(record[:8]) == [record] for record in added)
    assert len(second) == 20_001

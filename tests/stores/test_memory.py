"""MemoryStore: the contract, the bound, and that it forgets."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hardtack.errors import ConfigError
from hardtack.protocols import Tombstone
from hardtack.stores.memory import MemoryStore
from hardtack.testing import FindsContract, RenamesContract, StoreContract, SweepsContract
from hardtack.testing.stores import create, in_an_hour


class TestMemoryStore(StoreContract, RenamesContract, FindsContract, SweepsContract):
    """The contract."""

    @pytest.fixture
    def store(self) -> Iterator[MemoryStore]:
        """A store in this process."""
        store = MemoryStore()
        yield store
        store.close()


def test_max_entries_must_be_one_or_more() -> None:
    """A bound that holds nothing is refused by name."""
    with pytest.raises(ConfigError, match="max_entries is 0"):
        MemoryStore(max_entries=0)


def held(store: MemoryStore, *keys: str) -> list[str]:
    """Those of the keys that are there; unlike `get` this is no use of them."""
    return [key for key in keys if key in store._slots]


def test_visitors_log_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    """Those without a subject are evicted, whoever was there first; a full store says so once."""
    store = MemoryStore(max_entries=4)
    create(store, "alice", b"", "alice")
    create(store, "bob", b"", "bob")

    with caplog.at_level(logging.WARNING, "hardtack"):
        for number in range(1000):
            create(store, f"visitor{number}")

    assert held(store, "alice", "bob", "visitor998", "visitor999") == ["alice", "bob", "visitor998", "visitor999"]
    assert store.count() == 4
    assert [record.name for record in caplog.records] == ["hardtack"]
    assert "max_entries of 4" in caplog.text


def test_the_visitor_who_was_used_least_recently_goes_first() -> None:
    """A read and a save are uses."""
    store = MemoryStore(max_entries=3)
    version = create(store, "saved")
    create(store, "read")
    create(store, "neither")
    store.put("saved", b"", expires_at=in_an_hour(), if_version=version, subject=None)
    store.get("read")

    create(store, "new")

    assert held(store, "saved", "read", "neither", "new") == ["saved", "read", "new"]


def test_without_visitors_the_session_that_was_used_least_recently_goes() -> None:
    """The bound holds all the same."""
    store = MemoryStore(max_entries=2)
    for subject in ("alice", "bob"):
        create(store, subject, b"", subject)
    store.get("alice")

    create(store, "carol", b"", "carol")

    assert held(store, "alice", "bob", "carol") == ["alice", "carol"]
    assert store.find("bob") == []


def test_a_visitor_who_logs_in_is_none_any_more() -> None:
    """By a save or by a rename."""
    store = MemoryStore(max_entries=3)
    saved, renamed = create(store, "saved"), create(store, "old")
    store.put("saved", b"", expires_at=in_an_hour(), if_version=saved, subject="alice")
    store.rename("old", "renamed", b"", expires_at=in_an_hour(), if_version=renamed, subject="bob")

    for number in range(5):
        create(store, f"visitor{number}")

    assert held(store, "saved", "renamed", "visitor4") == ["saved", "renamed", "visitor4"]


def test_an_eviction_takes_as_long_in_a_big_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list is gone through: of ten times as many entries, no more are looked at."""
    looked: list[str] = []
    real = MemoryStore._remove

    def remove(self: MemoryStore, key: str) -> None:
        looked.append(key)
        real(self, key)

    store = MemoryStore(max_entries=5000)
    for number in range(5000):
        create(store, f"visitor{number}")
    monkeypatch.setattr(MemoryStore, "_remove", remove)

    create(store, "new")

    assert looked == ["visitor0", "new"]


def test_a_read_beside_a_removal_is_no_error() -> None:
    """Another thread may take an entry away, or log its visitor in, between the look and the note of its use."""
    store = MemoryStore()
    create(store, "key", b"data")
    store._of_visitors.clear()

    entry = store.get("key")

    assert entry is not None
    assert entry.data == b"data"


def test_count_counts_what_lives() -> None:
    """Of a subject, or all."""
    store = MemoryStore()
    for number, subject in enumerate(("alice", "alice", None)):
        create(store, str(number), b"", subject)
    store.put("dead", b"", expires_at=int(time.time()) - 1, if_version=None, subject="alice")

    assert [store.count(), store.count("alice"), store.count("bob")] == [3, 2, 0]


def test_a_save_in_a_full_store_evicts_nothing() -> None:
    """An entry that is there already needs no room."""
    store = MemoryStore(max_entries=1)
    version = create(store, "key", b"first")

    store.put("key", b"second", expires_at=in_an_hour(), if_version=version, subject=None)

    entry = store.get("key")
    assert entry is not None
    assert entry.data == b"second"


def test_expired_entries_leave_first() -> None:
    """What has expired makes room before anything that lives."""
    store = MemoryStore(max_entries=2)
    create(store, "live")
    store.put("dead", b"", expires_at=int(time.time()) - 1, if_version=None, subject=None)

    create(store, "new")

    assert store.get("live") is not None
    assert store.get("new") is not None


def test_a_rename_in_a_full_store_keeps_the_session_and_its_tombstone() -> None:
    """The tombstone does not evict the session that was just renamed."""
    store = MemoryStore(max_entries=1)
    version = create(store, "old")

    store.rename(
        "old",
        "new",
        b"",
        expires_at=in_an_hour(),
        if_version=version,
        subject=None,
        tombstone=Tombstone(b"", in_an_hour() + 1),
    )

    assert store.get("new") is not None
    assert store.get("old") is not None


def test_many_saves_of_one_entry_do_not_grow_the_store() -> None:
    """The list of expiries is rebuilt when most of its lines are old."""
    store = MemoryStore()
    version = create(store, "key")

    for _ in range(500):
        version = store.put("key", b"", expires_at=in_an_hour(), if_version=version, subject=None)

    assert len(store._expiries) < 100


def test_close_forgets_everything() -> None:
    """A closed store holds no session data."""
    store = MemoryStore()
    create(store, "key", b"data", "alice")

    store.close()

    assert store.get("key") is None
    assert store.find("alice") == []


@pytest.mark.parametrize("number", [0, "5", 2.5, True, None])
def test_the_bound_is_a_whole_number(number: Any) -> None:
    """One as text would fail when the first session is kept."""
    with pytest.raises(ConfigError, match=r"max_entries is .*; it must be 1 or more"):
        MemoryStore(number)

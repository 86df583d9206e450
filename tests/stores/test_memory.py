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


def test_the_entry_nearest_to_its_expiry_is_evicted_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A full store stays within its bound and says so once."""
    store = MemoryStore(max_entries=3)
    for number in range(3):
        store.put(f"k{number}", b"", expires_at=in_an_hour() - number, if_version=None, subject="alice")

    with caplog.at_level(logging.WARNING, "hardtack"):
        create(store, "k3")
        create(store, "k4")

    assert [store.get(f"k{number}") is None for number in range(5)] == [False, True, True, False, False]
    assert store.find("alice") == ["k0"]
    assert [record.name for record in caplog.records] == ["hardtack"]
    assert "max_entries of 3" in caplog.text


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

"""The contract of a store as pytest classes: inherit them, give them one fixture, and your store is tested.

    import pytest
    from hardtack.testing import FindsContract, RenamesContract, StoreContract, SweepsContract

    class TestMyStore(StoreContract, RenamesContract, FindsContract, SweepsContract):
        @pytest.fixture
        def store(self):
            store = MyStore()
            yield store
            store.close()

`StoreContract` is what every store must do. A store that also has `rename`, `find` or `sweep` inherits the class of
that name too, and one test sees to it that none is forgotten. For an `AsyncStore` begin with `AsyncStoreContract`: the
same tests then drive its coroutines on an event loop in another thread, so no asyncio plugin is needed.

The store need not be empty: every test makes up its own keys. The tests wait for an expiry where it cannot be helped,
some three seconds in all. With a fixture `break_store` it is tested too what the store says when it cannot do its work:

        @pytest.fixture
        def break_store(self, store, monkeypatch):
            @contextmanager
            def broken():
                with monkeypatch.context() as patch:
                    patch.setattr(store, "path", "/nowhere")
                    yield

            return broken
"""

from __future__ import annotations

import functools
import inspect
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from hardtack._extras import explain
from hardtack.protocols import AsyncStore, Entry, Store, Tombstone, Version, VersionConflict

try:
    import anyio
    import pytest
    from anyio.from_thread import BlockingPortal, start_blocking_portal

    from hardtack.testing.entries import create, in_an_hour, new_key, read, save
    from hardtack.testing.trouble import AsyncTroubleContract, TroubleContract
except ImportError as error:
    message = explain("hardtack.testing", "testing", error)
    raise ImportError(message) from error

__all__ = [
    "AsyncStoreContract",
    "FindsContract",
    "RenamesContract",
    "StoreContract",
    "SweepsContract",
    "create",
    "in_an_hour",
    "new_key",
    "read",
    "save",
]

EVERY_BYTE = bytes(range(256))

SUBJECTS = {
    "empty": "",
    "plain": "alice",
    "unicode": "Ælfgifu 北京 🚢",
    "controls": "a\nb\x00c:d/e",
    "long": "x" * 1000,
    "long-unicode": "船" * 1000,
}


class _Portal:
    """Gives an async store the look of a sync one: every call runs on the event loop of another thread."""

    def __init__(self, store: Any, portal: BlockingPortal) -> None:
        self._store = store
        self._portal = portal

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return lambda *args, **kwargs: self._portal.call(functools.partial(method, *args, **kwargs))


class StoreContract(TroubleContract):
    """What every `Store` must do. The class that inherits it has a fixture `store`, which returns the store.

    Attributes:
        max_data: the size in bytes of the biggest entry that is tried.
        threads: how many threads race on one key.
    """

    max_data = 1_000_000
    threads = 32

    @pytest.fixture
    def tested_store(self, store: Any) -> Any:
        """The store as the tests call it."""
        return store

    def test_the_store_has_the_methods_of_its_protocol(self, tested_store: Any) -> None:
        """`get`, `put`, `delete` and `close`, and `blocking` says whether a call may wait."""
        assert isinstance(tested_store, Store)
        assert isinstance(tested_store.blocking, bool)

    def test_every_capability_of_the_store_is_tested(self, tested_store: Any) -> None:
        """A store that renames, finds or sweeps inherits that contract, and no other store does."""
        contracts = {"rename": RenamesContract, "find": FindsContract, "sweep": SweepsContract}

        for name, contract in contracts.items():
            assert hasattr(tested_store, name) == isinstance(self, contract), f"{name} goes with {contract.__name__}"

    def test_an_unknown_key_has_no_entry(self, tested_store: Any) -> None:
        """`get` of a key that was never put is None."""
        assert tested_store.get(new_key()) is None

    def test_an_entry_comes_back_as_it_was_put(self, tested_store: Any) -> None:
        """`get` has the bytes and the version that `put` returned."""
        key = new_key()

        version = create(tested_store, key, b"one")

        assert read(tested_store, key) == Entry(b"one", version)

    def test_data_of_every_byte_comes_back(self, tested_store: Any) -> None:
        """Data are bytes, not text: all 256 of them, NUL, line ends and invalid UTF-8 included."""
        key = new_key()

        create(tested_store, key, EVERY_BYTE * 3)

        assert read(tested_store, key).data == EVERY_BYTE * 3

    @pytest.mark.parametrize("data", [b"data\0\0", b"\0\0data", b"data \r\n", b" data", b"\0"], ids=repr)
    def test_what_is_cut_elsewhere_comes_back(self, tested_store: Any, data: bytes) -> None:
        """NULs, spaces and line ends at either end, which columns of text and paddings of some databases lose."""
        key = new_key()

        create(tested_store, key, data)

        assert read(tested_store, key).data == data

    def test_data_come_back_as_bytes(self, tested_store: Any) -> None:
        """Not as the `bytearray`, `memoryview` or buffer of a driver: an engine with `seal=` cannot open those."""
        key = new_key()
        version = create(tested_store, key)
        created = read(tested_store, key).data
        save(tested_store, key, b"more", version)

        assert [type(created), type(read(tested_store, key).data)] == [bytes, bytes]

    def test_empty_data_comes_back(self, tested_store: Any) -> None:
        """An entry may be empty, and is not taken for none."""
        key = new_key()

        version = create(tested_store, key, b"")

        assert read(tested_store, key) == Entry(b"", version)

    def test_big_data_comes_back(self, tested_store: Any) -> None:
        """An entry of `max_data` bytes comes back whole."""
        key = new_key()
        data = secrets.token_bytes(self.max_data)

        create(tested_store, key, data)

        assert read(tested_store, key).data == data

    def test_create_refuses_a_key_that_exists(self, tested_store: Any) -> None:
        """`put` with no version is a create, never an upsert."""
        key = new_key()
        version = create(tested_store, key, b"first")

        with pytest.raises(VersionConflict):
            create(tested_store, key, b"second")

        assert read(tested_store, key) == Entry(b"first", version)

    def test_put_replaces_the_version_it_names(self, tested_store: Any) -> None:
        """A save over the version that was loaded succeeds and gives another version."""
        key = new_key()
        first = create(tested_store, key, b"first")

        second = save(tested_store, key, b"second", first)

        assert second != first
        assert read(tested_store, key) == Entry(b"second", second)

    def test_put_refuses_a_version_that_is_gone(self, tested_store: Any) -> None:
        """A save over an older version is a conflict and changes nothing."""
        key = new_key()
        first = create(tested_store, key, b"first")
        second = save(tested_store, key, b"second", first)

        with pytest.raises(VersionConflict):
            save(tested_store, key, b"third", first)

        assert read(tested_store, key) == Entry(b"second", second)

    def test_put_refuses_a_version_of_a_deleted_entry(self, tested_store: Any) -> None:
        """A save does not bring a deleted session back."""
        key = new_key()
        version = create(tested_store, key)
        tested_store.delete(key)

        with pytest.raises(VersionConflict):
            save(tested_store, key, b"revived", version)

        assert tested_store.get(key) is None

    def test_a_version_does_not_come_back_after_delete_and_create(self, tested_store: Any) -> None:
        """A slow writer must not save over a session that it never saw, though the key and the bytes are the same."""
        key = new_key()
        versions = []

        for _ in range(5):
            versions.append(create(tested_store, key, b"same"))
            tested_store.delete(key)
        create(tested_store, key, b"same")

        for version in versions:
            with pytest.raises(VersionConflict):
                save(tested_store, key, b"stale", version)
        assert read(tested_store, key).data == b"same"

    def test_delete_says_whether_there_was_something(self, tested_store: Any) -> None:
        """True the first time, False when there is nothing left."""
        key = new_key()
        create(tested_store, key)

        assert tested_store.delete(key) is True
        assert tested_store.delete(key) is False
        assert tested_store.get(key) is None

    def test_delete_under_a_version(self, tested_store: Any) -> None:
        """Only the entry under that version is deleted; another is a conflict and stays."""
        key = new_key()
        first = create(tested_store, key)
        second = save(tested_store, key, b"second", first)

        with pytest.raises(VersionConflict):
            tested_store.delete(key, if_version=first)

        assert read(tested_store, key) == Entry(b"second", second)
        assert tested_store.delete(key, if_version=second) is True
        assert tested_store.get(key) is None

    def test_delete_of_nothing_under_a_version_is_no_conflict(self, tested_store: Any) -> None:
        """Where there is no entry there is nothing to delete, whatever the version."""
        key = new_key()
        version = create(tested_store, key)
        tested_store.delete(key)

        assert tested_store.delete(key, if_version=version) is False

    def test_a_key_can_be_created_again_after_a_delete_under_its_version(self, tested_store: Any) -> None:
        """A compare-and-delete leaves nothing that stands in the way of a create."""
        key = new_key()
        version = create(tested_store, key, b"first")
        tested_store.delete(key, if_version=version)

        second = create(tested_store, key, b"second")

        assert read(tested_store, key) == Entry(b"second", second)

    def test_keys_that_differ_in_case_are_two_keys(self, tested_store: Any) -> None:
        """Keys are compared byte for byte."""
        key = new_key()[:-1]
        upper, lower = f"{key}A", f"{key}a"

        create(tested_store, upper, b"upper")
        create(tested_store, lower, b"lower")

        assert read(tested_store, upper).data == b"upper"
        assert read(tested_store, lower).data == b"lower"

    @pytest.mark.parametrize("subject", [None, *SUBJECTS.values()], ids=["none", *SUBJECTS])
    def test_any_subject_is_accepted(self, tested_store: Any, subject: str | None) -> None:
        """A subject is None or any text, of 1,000 characters and more."""
        key = new_key()

        create(tested_store, key, b"data", subject)

        assert read(tested_store, key).data == b"data"

    def test_an_entry_that_has_expired_is_none(self, tested_store: Any) -> None:
        """An entry put with an expiry that has passed cannot be read, deleted or saved over, but created anew."""
        key = new_key()
        version = tested_store.put(key, b"old", expires_at=int(time.time()) - 5, if_version=None, subject="alice")

        assert tested_store.get(key) is None
        assert tested_store.delete(key) is False
        with pytest.raises(VersionConflict):
            save(tested_store, key, b"revived", version)
        create(tested_store, key, b"new")
        assert read(tested_store, key).data == b"new"

    def test_an_entry_expires_when_its_time_comes(self, tested_store: Any) -> None:
        """It can be read before, not after; then a save is a conflict and a create succeeds."""
        key = new_key()
        expires_at = int(time.time()) + 2
        version = tested_store.put(key, b"old", expires_at=expires_at, if_version=None, subject=None)
        before = tested_store.get(key)

        while tested_store.get(key) is not None and time.time() < expires_at + 5:
            time.sleep(
                0.1
            )  # a server may count in whole seconds, and looks at its clock later where the machine is busy

        assert before == Entry(b"old", version)
        assert tested_store.get(key) is None
        with pytest.raises(VersionConflict):
            save(tested_store, key, b"revived", version)
        create(tested_store, key, b"new")
        assert read(tested_store, key).data == b"new"

    def test_an_expiry_in_years_is_kept(self, tested_store: Any) -> None:
        """Whole Unix seconds mean a date, however far: memcached takes up to 30 days for a duration."""
        key = new_key()
        ten_years = int(time.time()) + 10 * 365 * 86400

        version = tested_store.put(key, b"data", expires_at=ten_years, if_version=None, subject=None)

        assert read(tested_store, key) == Entry(b"data", version)

    def test_a_save_moves_the_expiry(self, tested_store: Any) -> None:
        """The expiry is that of the last save, also where it is nearer."""
        key = new_key()
        version = create(tested_store, key)

        tested_store.put(key, b"data", expires_at=int(time.time()) - 5, if_version=version, subject=None)

        assert tested_store.get(key) is None

    def test_racing_creates_have_one_winner(self, tested_store: Any) -> None:
        """Of many threads that create one key, one succeeds, and the others get a conflict."""
        key = new_key()
        start = threading.Barrier(self.threads)

        def attempt(number: int) -> bool:
            start.wait()
            try:
                create(tested_store, key, b"%d" % number)
            except VersionConflict:
                return False
            return True

        won = self._in_threads(attempt)

        assert won.count(True) == 1
        assert read(tested_store, key).data == b"%d" % won.index(True)

    def test_racing_saves_lose_nothing(self, tested_store: Any) -> None:
        """Many threads add one to a number by compare-and-set: in the end every addition is there."""
        key = new_key()
        create(tested_store, key, b"0")
        start = threading.Barrier(self.threads)

        def add_one(_: int) -> None:
            start.wait()
            while True:
                entry = read(tested_store, key)
                with suppress(VersionConflict):
                    save(tested_store, key, b"%d" % (int(entry.data) + 1), entry.version)
                    return

        self._in_threads(add_one)

        assert read(tested_store, key).data == b"%d" % self.threads

    def test_racing_deletes_have_one_winner(self, tested_store: Any) -> None:
        """Of many threads that delete one version, one is told that there was something."""
        key = new_key()
        version = create(tested_store, key)
        start = threading.Barrier(self.threads)

        def attempt(_: int) -> bool:
            start.wait()
            with suppress(VersionConflict):
                deleted: bool = tested_store.delete(key, if_version=version)
                return deleted
            return False

        won = self._in_threads(attempt)

        assert won.count(True) == 1
        assert tested_store.get(key) is None

    def _in_threads(self, function: Callable[[int], Any]) -> list[Any]:
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(function, range(self.threads)))


class AsyncStoreContract(AsyncTroubleContract, StoreContract):
    """What every `AsyncStore` must do. The fixture `store` returns the store, or a coroutine that makes it.

    The store is used, and closed at the end, on one asyncio event loop in another thread.
    """

    @pytest.fixture
    def portal(self) -> Iterator[BlockingPortal]:
        """The event loop in another thread."""
        with start_blocking_portal("asyncio") as portal:
            yield portal

    @pytest.fixture
    def tested_store(self, store: Any, portal: BlockingPortal) -> Iterator[Any]:
        """The store as the tests call it: each coroutine is run to its end on the event loop."""
        if inspect.iscoroutine(store):
            store = portal.call(self._wait_for, store)
        facade = _Portal(store, portal)
        yield facade
        facade.close()

    @staticmethod
    async def _wait_for(awaitable: Any) -> Any:
        return await awaitable

    def test_the_store_has_the_methods_of_its_protocol(self, tested_store: Any) -> None:
        """`get`, `put`, `delete` and `close` are coroutine functions."""
        store = tested_store._store

        assert isinstance(store, AsyncStore)
        for name in ("get", "put", "delete", "close"):
            assert inspect.iscoroutinefunction(getattr(store, name))

    def test_every_capability_of_the_store_is_tested(self, tested_store: Any) -> None:
        """A store that renames, finds or sweeps inherits that contract, and no other store does."""
        super().test_every_capability_of_the_store_is_tested(tested_store._store)

    def test_a_cancelled_call_spoils_nothing(self, tested_store: Any, portal: BlockingPortal) -> None:
        """A request that is cancelled while the store works never gives its answer to another request."""
        keys = [new_key() for _ in range(20)]
        for number, key in enumerate(keys):
            create(tested_store, key, b"%d" % number)

        portal.call(self._cancel_often, tested_store._store, keys)

        assert [tested_store.get(key).data for key in keys] == [b"%d" % number for number in range(20)]

    @staticmethod
    async def _cancel_often(store: AsyncStore, keys: list[str]) -> None:
        """Cancel reads at many moments: before anything was sent, while the answer is awaited, just before it came."""
        for attempt in range(60):
            with anyio.move_on_after(attempt * 0.0001):
                await store.get(keys[attempt % len(keys)])


class RenamesContract:
    """What a store with `rename` must do besides; see `hardtack.protocols.Renames`."""

    def test_rename_moves_an_entry(self, tested_store: Any) -> None:
        """The new key has the new data under a new version, the old key nothing."""
        old, new = new_key(), new_key()
        version = create(tested_store, old, b"old")

        renamed = self._rename(tested_store, old, new, version)

        assert renamed != version
        assert tested_store.get(old) is None
        assert read(tested_store, new) == Entry(b"renamed", renamed)

    def test_an_entry_can_be_saved_after_a_rename(self, tested_store: Any) -> None:
        """The version that `rename` returned is the one to save over; the one before it is not."""
        old, new = new_key(), new_key()
        version = create(tested_store, old)
        renamed = self._rename(tested_store, old, new, version)

        save(tested_store, new, b"saved", renamed)

        assert read(tested_store, new).data == b"saved"
        with pytest.raises(VersionConflict):
            save(tested_store, old, b"late", version)

    def test_rename_refuses_another_version(self, tested_store: Any) -> None:
        """The old entry was saved meanwhile: a conflict, and nothing has changed."""
        old, new = new_key(), new_key()
        first = create(tested_store, old, b"first")
        second = save(tested_store, old, b"second", first)

        with pytest.raises(VersionConflict):
            self._rename(tested_store, old, new, first)

        assert read(tested_store, old) == Entry(b"second", second)
        assert tested_store.get(new) is None

    def test_rename_refuses_a_deleted_entry(self, tested_store: Any) -> None:
        """A session that was ended is not brought back under a new key."""
        old, new = new_key(), new_key()
        version = create(tested_store, old)
        tested_store.delete(old)

        with pytest.raises(VersionConflict):
            self._rename(tested_store, old, new, version)

        assert tested_store.get(new) is None

    def test_rename_refuses_an_expired_entry(self, tested_store: Any) -> None:
        """An entry that has expired counts as none."""
        old, new = new_key(), new_key()
        version = tested_store.put(old, b"old", expires_at=int(time.time()) - 5, if_version=None, subject=None)

        with pytest.raises(VersionConflict):
            self._rename(tested_store, old, new, version)

        assert tested_store.get(new) is None

    def test_rename_refuses_a_new_key_that_exists(self, tested_store: Any) -> None:
        """Another session is never overwritten; nothing has changed."""
        old, new = new_key(), new_key()
        version = create(tested_store, old, b"old")
        other = create(tested_store, new, b"other")

        with pytest.raises(VersionConflict):
            self._rename(tested_store, old, new, version)

        assert read(tested_store, old) == Entry(b"old", version)
        assert read(tested_store, new) == Entry(b"other", other)

    def test_rename_takes_a_new_key_that_has_expired(self, tested_store: Any) -> None:
        """What has expired under the new key counts as none."""
        old, new = new_key(), new_key()
        version = create(tested_store, old)
        tested_store.put(new, b"other", expires_at=int(time.time()) - 5, if_version=None, subject=None)

        self._rename(tested_store, old, new, version)

        assert read(tested_store, new).data == b"renamed"

    def test_rename_leaves_a_tombstone(self, tested_store: Any) -> None:
        """The old key holds the tombstone in the same step, under a version of its own."""
        old, new = new_key(), new_key()
        version = create(tested_store, old, b"old")

        renamed = self._rename(tested_store, old, new, version, tombstone=Tombstone(b"gone", in_an_hour()))

        entry = read(tested_store, old)
        assert entry.data == b"gone"
        assert entry.version not in (version, renamed)
        assert read(tested_store, new) == Entry(b"renamed", renamed)

    def test_a_tombstone_expires(self, tested_store: Any) -> None:
        """A tombstone has an expiry of its own."""
        old, new = new_key(), new_key()
        version = create(tested_store, old, b"old")

        self._rename(tested_store, old, new, version, tombstone=Tombstone(b"gone", int(time.time()) - 5))

        assert tested_store.get(old) is None
        assert read(tested_store, new).data == b"renamed"

    def test_racing_renames_have_one_winner(self, tested_store: Any) -> None:
        """Of many renames of one entry one succeeds, and there is one entry in the end."""
        old = new_key()
        version = create(tested_store, old)
        new_keys = [new_key() for _ in range(16)]
        start = threading.Barrier(16)

        def attempt(new: str) -> bool:
            start.wait()
            try:
                self._rename(tested_store, old, new, version)
            except VersionConflict:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(attempt, new_keys))

        assert won.count(True) == 1
        assert [tested_store.get(new) is not None for new in new_keys] == won
        assert tested_store.get(old) is None

    @staticmethod
    def _rename(store: Any, old: str, new: str, version: Version, tombstone: Tombstone | None = None) -> Version:
        return store.rename(
            old, new, b"renamed", expires_at=in_an_hour(), if_version=version, subject=None, tombstone=tombstone
        )


class FindsContract:
    """What a store with `find` must do besides; see `hardtack.protocols.Finds`."""

    @pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
    def test_find_has_the_keys_of_a_subject(self, tested_store: Any, subject: str) -> None:
        """All keys put under the subject, and no other."""
        mine = {new_key() for _ in range(3)}
        unique = f"{subject}{new_key()}"
        for key in mine:
            create(tested_store, key, b"data", unique)
        create(tested_store, new_key(), b"data", f"{unique}2")
        create(tested_store, new_key(), b"data", None)

        assert set(tested_store.find(unique)) == mine

    def test_find_of_an_unknown_subject_is_empty(self, tested_store: Any) -> None:
        """A subject that has no session has no keys."""
        assert list(tested_store.find(new_key())) == []

    def test_find_compares_subjects_exactly(self, tested_store: Any) -> None:
        """Neither case nor trailing spaces are folded: else alice would be shown the sessions of ALICE."""
        subject, key = new_key(), new_key()
        create(tested_store, key, b"data", subject)

        for other in (subject.swapcase(), f"{subject} ", f" {subject}", f"{subject}\x00"):
            assert list(tested_store.find(other)) == []

    def test_find_forgets_what_was_deleted(self, tested_store: Any) -> None:
        """A deleted entry is no longer found."""
        subject, key, kept = new_key(), new_key(), new_key()
        create(tested_store, key, b"data", subject)
        create(tested_store, kept, b"data", subject)

        tested_store.delete(key)

        assert list(tested_store.find(subject)) == [kept]

    def test_find_follows_a_change_of_subject(self, tested_store: Any) -> None:
        """A save under another subject moves the entry: the first subject no longer has it."""
        key, first, second = new_key(), new_key(), new_key()
        version = create(tested_store, key, b"data", first)

        version = tested_store.put(key, b"data", expires_at=in_an_hour(), if_version=version, subject=second)
        moved = list(tested_store.find(second))
        tested_store.put(key, b"data", expires_at=in_an_hour(), if_version=version, subject=None)

        assert moved == [key]
        assert list(tested_store.find(first)) == []
        assert list(tested_store.find(second)) == []

    def test_a_conflict_changes_no_subject(self, tested_store: Any) -> None:
        """A save that was refused leaves the entry to the subject it had."""
        key, owner, other = new_key(), new_key(), new_key()
        create(tested_store, key, b"data", owner)

        with pytest.raises(VersionConflict):
            create(tested_store, key, b"data", other)

        assert list(tested_store.find(owner)) == [key]
        assert list(tested_store.find(other)) == []

    def test_find_follows_a_rename(self, tested_store: Any) -> None:
        """After a rename the subject has the new key; neither the old one nor its tombstone."""
        if not hasattr(tested_store, "rename"):
            pytest.skip("the store does not rename")
        old, new, subject = new_key(), new_key(), new_key()
        version = create(tested_store, old, b"data", subject)

        tested_store.rename(
            old,
            new,
            b"data",
            expires_at=in_an_hour(),
            if_version=version,
            subject=subject,
            tombstone=Tombstone(b"gone", in_an_hour()),
        )

        assert list(tested_store.find(subject)) == [new]


class SweepsContract:
    """What a store with `sweep` must do besides; see `hardtack.protocols.Sweeps`.

    Attributes:
        many: how many entries one test sweeps; set it above the size of the store's batch.
        crowd: how many are swept while others save; 0 where that many take too long to write.
    """

    many = 50
    crowd = 3000

    def test_sweep_deletes_what_expired_and_nothing_else(self, tested_store: Any) -> None:
        """Only entries whose expiry is at or before `now` go; the number of them is returned."""
        now = time.time()
        tested_store.sweep(now)
        dead, live = [new_key() for _ in range(7)], [new_key() for _ in range(3)]
        for key in live:
            create(tested_store, key, b"live")
        for key in dead:
            tested_store.put(key, b"dead", expires_at=in_an_hour() + 3600, if_version=None, subject="alice")

        swept_now = tested_store.sweep(now)
        for key, entry in [(key, read(tested_store, key)) for key in dead]:
            tested_store.put(key, b"dead", expires_at=int(now) + 1, if_version=entry.version, subject="alice")
        swept_later = tested_store.sweep(int(now) + 1)

        assert swept_now == 0
        assert swept_later == 7
        assert [tested_store.get(key) for key in dead] == [None] * 7
        assert [read(tested_store, key).data for key in live] == [b"live"] * 3

    def test_sweep_of_many_takes_all(self, tested_store: Any) -> None:
        """A sweep goes on until nothing that expired is left, more than one batch if need be."""
        now = int(time.time())
        tested_store.sweep(now)
        for _ in range(self.many):
            tested_store.put(new_key(), b"dead", expires_at=now + 60, if_version=None, subject=None)

        assert tested_store.sweep(now + 60) == self.many
        assert tested_store.sweep(now + 60) == 0

    def test_those_who_save_do_not_wait_for_a_sweep(self, tested_store: Any) -> None:
        """It goes in steps: in one transaction it would keep all others from saving until it is done.

        What takes no time is not judged: below a quarter of a second nobody waits long.
        """
        if not self.crowd:
            pytest.skip("the attribute crowd is 0")
        now = int(time.time())
        tested_store.sweep(now)
        for _ in range(self.crowd):
            tested_store.put(new_key(), b"dead" * 50, expires_at=now + 60, if_version=None, subject=None)

        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            sweep = pool.submit(tested_store.sweep, now + 60)
            saved = [began]
            while not sweep.done():
                create(tested_store, new_key())
                saved.append(time.monotonic())
        took = time.monotonic() - began

        assert sweep.result() == self.crowd
        longest = max((later - earlier for earlier, later in itertools.pairwise(saved)), default=took)
        assert took < 0.25 or longest < 0.7 * took, f"a save waited {longest:.2f} of the {took:.2f} seconds of a sweep"

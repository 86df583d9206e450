"""ChannelContract: what every channel of the list of ended sessions must do."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hardtack.ended.protocol import Batch, Channel

try:
    import pytest
except ImportError as error:
    message = "hardtack.testing needs pytest: pip install 'hardtack[testing]'"
    raise ImportError(message) from error

SECOND = 1_000_000


def put(channel: Channel, *entries: bytes, keep: int | None = None) -> None:
    """Append entries."""
    channel.append(lambda now: entries, keep)


def read_all(channel: Channel, position: str = "") -> tuple[list[bytes], str]:
    """All entries after a position, and the position after them."""
    entries: list[bytes] = []
    while True:
        batch = channel.read(position, 0)
        entries += batch.entries
        position = batch.position
        if batch.complete:
            return entries, position


class ChannelContract:
    """What every `Channel` must do. The class that inherits it has a fixture `channel`: an empty one, never created.

    A second fixture, `other`, is the same channel as another process sees it; by default, the same object.

    Attributes:
        threads: how many threads append at once.
        many: more entries than one read returns.
        slack: seconds by which the channel's clock may differ from this machine's, for tests on one machine.
    """

    threads = 8
    many = 12_000
    slack = 5

    @pytest.fixture
    def other(self, channel: Any) -> Any:
        """The channel as another process sees it."""
        return channel

    @pytest.fixture
    def created(self, channel: Any) -> Any:
        """The channel, with an identity and one entry."""
        assert channel.reset(None, b"identity", [b"first"])
        return channel

    def test_the_channel_has_the_methods_of_its_protocol(self, channel: Any) -> None:
        """`append`, `read`, `reset` and `close`; `alone` says whether other processes see it."""
        assert isinstance(channel, Channel)
        assert isinstance(channel.alone, bool)

    def test_an_empty_channel_has_no_identity(self, channel: Any) -> None:
        """It was never created, or lost: who reads it must know."""
        batch = channel.read("", 0)

        assert (batch.origin, list(batch.entries), batch.complete) == (None, [], True)

    def test_a_reset_gives_an_identity(self, created: Any, other: Any) -> None:
        """And everybody reads it, with the entries that came with it."""
        batch = other.read("", 0)

        assert batch.origin == b"identity"
        assert b"first" in batch.entries

    def test_one_reset_succeeds(self, created: Any, other: Any) -> None:
        """Whoever expected another identity comes too late, and is not asked for entries."""
        asked: list[bytes] = []
        entries = map(asked.append, [b"one", b"two"])

        assert not other.reset(None, b"mine", entries)
        assert not other.reset(b"another", b"mine", entries)
        assert asked == []
        assert created.read("", 0).origin == b"identity"

    def test_of_many_resets_one_succeeds(self, channel: Any) -> None:
        """Processes that find an empty channel all try to write the list back."""
        barrier = threading.Barrier(self.threads)

        def reset(number: int) -> bool:
            barrier.wait()
            done: bool = channel.reset(None, b"identity %d" % number, [b"entry %d" % number])
            return done

        with ThreadPoolExecutor(self.threads) as pool:
            done = list(pool.map(reset, range(self.threads)))

        assert sum(done) == 1
        assert channel.read("", 0).origin == b"identity %d" % done.index(True)

    def test_an_identity_can_be_replaced(self, created: Any) -> None:
        """By who knows it; the entries stay."""
        assert created.reset(b"identity", b"new", [])

        batch = created.read("", 0)
        assert batch.origin == b"new"
        assert b"first" in batch.entries

    def test_entries_come_in_their_order(self, created: Any, other: Any) -> None:
        """As they were appended, each once."""
        _, position = read_all(created)

        put(created, b"one", b"two")
        put(created, b"three")

        assert read_all(other, position)[0] == [b"one", b"two", b"three"]

    def test_a_position_is_where_the_next_read_goes_on(self, created: Any) -> None:
        """What was read is not read again, and nothing is left out."""
        put(created, b"one")
        _, position = read_all(created)

        put(created, b"two")

        entries, position = read_all(created, position)
        assert entries == [b"two"]
        assert read_all(created, position) == ([], position)

    def test_every_byte_comes_back(self, created: Any) -> None:
        """Entries are bytes: NUL, line ends and invalid UTF-8 included."""
        entry = bytes(range(256)) * 4

        put(created, entry)

        assert read_all(created)[0][-1] == entry

    def test_more_than_one_read_returns(self, created: Any) -> None:
        """A read that did not come to the end says so, and the next goes on."""
        entries = [number.to_bytes(4, "big") for number in range(self.many)]
        _, position = read_all(created)

        put(created, *entries)

        assert read_all(created, position)[0] == entries

    def test_the_time_is_the_channels(self, created: Any) -> None:
        """In microseconds, the same for who appends and who reads, and it goes on."""
        told: list[int] = []

        def make(now: int) -> list[bytes]:
            told.append(now)
            return [b"entry"]

        before = created.read("", 0).now
        created.append(make, None)
        after = created.read("", 0).now

        assert before <= told[-1] <= after
        assert abs(after / SECOND - time.time()) < self.slack

    def test_a_read_waits_for_an_entry(self, created: Any, other: Any) -> None:
        """It returns soon after one was appended."""
        _, position = read_all(created)
        appending = threading.Timer(0.2, put, (other, b"entry"))
        began = time.monotonic()

        appending.start()
        batch = created.read(position, 5)

        assert list(batch.entries) == [b"entry"]
        assert 0.1 < time.monotonic() - began < 2
        appending.join()

    def test_a_read_does_not_wait_longer_than_it_was_told(self, created: Any) -> None:
        """Nothing came: it says so, and what time it is."""
        _, position = read_all(created)
        began = time.monotonic()

        batch = created.read(position, 0.3)

        assert (list(batch.entries), batch.complete, batch.restarted) == ([], True, False)
        assert time.monotonic() - began < 1.5

    def test_a_position_that_is_gone_begins_again(self, created: Any) -> None:
        """Where entries were dropped that were not read yet, that is told, and all that is there is read."""
        put(created, b"one")
        _, position = read_all(created)
        time.sleep(1.1)
        for number in range(250):
            put(created, b"x" * 8000, b"%d" % number, keep=0)

        batch: Batch = created.read(position, 0)

        entries, _ = read_all(created)
        after, _ = read_all(created, position)
        assert entries[-1] == b"249"
        assert after == (entries if batch.restarted else entries[entries.index(b"one") + 1 :])

    def test_old_entries_may_be_dropped_and_new_ones_never(self, created: Any) -> None:
        """`keep` is in seconds: what is younger stays."""
        put(created, b"young")

        for _ in range(250):
            put(created, secrets.token_bytes(8000), keep=60)

        assert b"young" in read_all(created)[0]

    def test_of_many_who_claim_at_once_all_agree_who_was_first(self, created: Any, other: Any) -> None:
        """Each appends and then reads to the end: a browser's key is bound to a session in its cookie by who comes first.

        `append_in_turn` is asked, where the channel has it: see `Channel`.
        """
        barrier = threading.Barrier(4, timeout=60)

        def claim(number: int) -> list[bytes]:
            channel = (created, other)[number % 2]
            append = getattr(channel, "append_in_turn", channel.append)
            firsts = []
            for turn in range(20):
                _, position = read_all(channel)
                barrier.wait()
                append(lambda now, mine=b"%d/%d" % (turn, number): [mine], None)
                entries = read_all(channel, position)[0]
                firsts.append(next(entry for entry in entries if entry.startswith(b"%d/" % turn)))
                barrier.wait()
            return firsts

        with ThreadPoolExecutor(barrier.parties) as pool:
            firsts = list(pool.map(claim, range(barrier.parties)))

        assert firsts == [firsts[0]] * barrier.parties

    def test_parallel_appends_all_arrive(self, created: Any, other: Any) -> None:
        """A reader who follows meanwhile sees each of them, whichever is done first."""
        done = threading.Event()
        seen: set[bytes] = set()

        def follow() -> None:
            position = ""
            while True:
                last = done.is_set()
                entries, position = read_all(other, position)
                seen.update(entries)
                if last:
                    return
                time.sleep(0.001)

        def append(number: int) -> None:
            for count in range(20):
                put(created, b"%d/%d" % (number, count))

        reader = threading.Thread(target=follow)
        reader.start()
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(append, range(self.threads)))
        done.set()
        reader.join()

        assert seen >= {b"first", *(b"%d/%d" % (n, c) for n in range(self.threads) for c in range(20))}

"""The contract of a channel finds what is wrong: channels that break a rule fail the test of that rule."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.protocol import Batch, Make
from hardtack.testing import ChannelContract


class NeverLost(MemoryChannel):
    """Has an identity that nobody gave it."""

    def read(self, position: str, wait: float) -> Batch:
        batch = super().read(position, wait)
        return batch._replace(origin=batch.origin or b"of its own")


class AlwaysReset(MemoryChannel):
    """Gives whoever asks a new identity."""

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        return super().reset(self._origin, new, entries)


class Emptied(MemoryChannel):
    """Loses its entries with its identity."""

    def reset(self, old: bytes | None, new: bytes, entries: Iterable[bytes]) -> bool:
        kept = list(entries)
        if self._origin == old:
            self._entries.clear()
        return super().reset(old, new, kept)


class Backwards(MemoryChannel):
    """The last comes first."""

    def append(self, make: Make, keep: int | None) -> None:
        super().append(lambda now: list(reversed(make(now))), keep)


class Forgetful(MemoryChannel):
    """Passes the first entry after a position over."""

    def read(self, position: str, wait: float) -> Batch:
        batch = super().read(position, wait)
        return batch._replace(entries=batch.entries[1:]) if position else batch


class Textual(MemoryChannel):
    """Takes entries for text."""

    def append(self, make: Make, keep: int | None) -> None:
        super().append(lambda now: [raw.decode("ascii", "replace").encode() for raw in make(now)], keep)


class Complete(MemoryChannel):
    """Says that it came to the end when it did not."""

    def read(self, position: str, wait: float) -> Batch:
        return super().read(position, wait)._replace(complete=True)


class TwoClocks(MemoryChannel):
    """Tells writers another time than readers."""

    def append(self, make: Make, keep: int | None) -> None:
        super().append(lambda now: make(now - 60_000_000), keep)


class Impatient(MemoryChannel):
    """Does not wait."""

    def read(self, position: str, wait: float) -> Batch:
        return super().read(position, 0)


class Patient(MemoryChannel):
    """Waits for longer than it was told to."""

    def read(self, position: str, wait: float) -> Batch:
        return super().read(position, wait and 2)


class Careless(MemoryChannel):
    """Drops what is young."""

    def append(self, make: Make, keep: int | None) -> None:
        super().append(make, None)
        if keep is not None:
            with self._condition:
                dropped = len(self._entries) - 1
                del self._entries[:dropped]
                self._dropped += dropped


class Restless(MemoryChannel):
    """Goes on after a position that is gone, as if nothing had been dropped."""

    def read(self, position: str, wait: float) -> Batch:
        batch = super().read(position, wait)
        if not batch.restarted:
            return batch
        return batch._replace(entries=batch.entries[-1:])


class Overtaken(MemoryChannel):
    """Lets an entry be read only after a later one, whose position is beyond it."""

    def append(self, make: Make, keep: int | None) -> None:
        time.sleep(0.002)
        entries = make(time.time_ns() // 1000)
        if entries[0].endswith(b"/7"):
            with self._condition:
                self._entries.insert(1, (time.time_ns() // 1000, entries[0]))
            return
        super().append(lambda now: entries, keep)


class Contrary(MemoryChannel):
    """Has another order for every second reader."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[int, int] = {}

    def read(self, position: str, wait: float) -> Batch:
        batch = super().read(position, wait)
        number = self._readers.setdefault(threading.get_ident(), len(self._readers))
        return batch._replace(entries=list(reversed(batch.entries))) if number % 2 else batch


class Attached(MemoryChannel):
    """Does not say whether it is alone."""

    alone = None  # type: ignore[assignment]


RULES = {
    NeverLost: "test_an_empty_channel_has_no_identity",
    AlwaysReset: "test_one_reset_succeeds",
    Emptied: "test_an_identity_can_be_replaced",
    Backwards: "test_entries_come_in_their_order",
    Forgetful: "test_a_position_is_where_the_next_read_goes_on",
    Textual: "test_every_byte_comes_back",
    Complete: "test_more_than_one_read_returns",
    TwoClocks: "test_the_time_is_the_channels",
    Impatient: "test_a_read_waits_for_an_entry",
    Patient: "test_a_read_does_not_wait_longer_than_it_was_told",
    Careless: "test_old_entries_may_be_dropped_and_new_ones_never",
    Restless: "test_a_position_that_is_gone_begins_again",
    Overtaken: "test_parallel_appends_all_arrive",
    Contrary: "test_of_many_who_claim_at_once_all_agree_who_was_first",
    Attached: "test_the_channel_has_the_methods_of_its_protocol",
}


def run(rule: str, channel: Any) -> None:
    """Run one test of the contract on a channel, as pytest would."""
    contract = ChannelContract()
    test: Callable[..., None] = getattr(contract, rule)
    wanted = inspect.signature(test).parameters
    if "created" in wanted:
        channel.reset(None, b"identity", [b"first"])
    fixtures = {"channel": channel, "created": channel, "other": channel}
    test(**{name: fixtures[name] for name in wanted})


@pytest.mark.parametrize(("broken", "rule"), RULES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_channel_fails(broken: type[MemoryChannel], rule: str) -> None:
    """The test that states the rule; a channel that keeps it passes."""
    run(rule, MemoryChannel())

    with ThreadPoolExecutor(1) as pool, pytest.raises((AssertionError, pytest.fail.Exception)):
        pool.submit(run, rule, broken()).result(60)


def test_every_rule_was_broken() -> None:
    """But for those of which another one is a part."""
    rules = {name for name in vars(ChannelContract) if name.startswith("test_")}

    assert rules - set(RULES.values()) == {
        "test_a_reset_gives_an_identity",
        "test_of_many_resets_one_succeeds",
    }

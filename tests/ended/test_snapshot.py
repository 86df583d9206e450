"""Snapshots: a process begins with what another one of the machine has read, and with nothing that somebody else wrote."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.ended.kit import KEY, OTHER_KEY, eventually, new_id

from hardtack.ended import snapshot as module
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.ended.entries import All, Limits, Provider, Session, Subject
from hardtack.ended.snapshot import Snapshots
from hardtack.ended.table import Table

Make = Callable[..., Any]
HASH = bytes(range(16))
SECRET = b"k" * 32


@pytest.fixture
def table() -> Table:
    """With an entry of each kind."""
    table = Table()
    for entry in (
        Session(1_000_000, b"12345678", HASH, changed=True),
        Subject(2, HASH, (b"87654321",)),
        Provider(3, HASH),
        All(4),
        All(5, unseen=True),
        Limits(6, 86400, 7200, 60),
    ):
        table.add(entry)
    return table


@pytest.fixture
def always(monkeypatch: Any) -> None:
    """However few entries there are."""
    monkeypatch.setattr(module, "WORTHWHILE", 1)


class Counting(MemoryChannel):
    """A channel that others share, and that counts from where it is read."""

    alone = False

    def __init__(self) -> None:
        super().__init__()
        self.whole_reads = 0

    def read(self, position: str, wait: float) -> Any:
        self.whole_reads += position == ""
        return super().read(position, wait)


def files(directory: Path) -> list[Path]:
    """The snapshots in a directory."""
    return [path for path in directory.glob("ended-*") if path.suffix not in (".lock", ".tmp")]


def test_a_snapshot_comes_back(table: Table, tmp_path: Path) -> None:
    """All of it, with the position that it was read up to."""
    Snapshots(tmp_path, SECRET, "shop").write(table, HASH, "a:1", 7)

    other = Table()
    found = Snapshots(tmp_path, SECRET, "shop").load(other)

    assert found == (HASH, "a:1", 7)
    assert set(other.entries()) == set(table.entries())
    assert other.named
    assert len(other) == 3


@pytest.mark.parametrize(("secret", "name"), [(b"x" * 32, "shop"), (SECRET, "forum")])
def test_of_another_key_or_list_there_is_none(secret: bytes, name: str, table: Table, tmp_path: Path) -> None:
    """Each has a file of its own."""
    Snapshots(tmp_path, SECRET, "shop").write(table, HASH, "a:1", 7)

    assert Snapshots(tmp_path, secret, name).load(Table()) is None


def test_no_byte_of_it_can_be_changed(table: Table, tmp_path: Path) -> None:
    """Nor can it be cut off, or longer: what somebody else has left there is not used."""
    snapshots = Snapshots(tmp_path, SECRET, "shop")
    snapshots.write(table, HASH, "a:1", 7)
    (path,) = files(tmp_path)
    raw = path.read_bytes()

    changed = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in (0, 17, 30, len(raw) // 2, len(raw) - 1)]
    for wrong in [*changed, b"", raw[:20], raw[:-1], raw + b"\0"]:
        path.write_bytes(wrong)
        assert snapshots.load(Table()) is None


def test_a_link_in_its_place_is_not_followed(table: Table, tmp_path: Path) -> None:
    """Neither to read nor to write: the directory may be one where others can write."""
    snapshots = Snapshots(tmp_path, SECRET, "shop")
    snapshots.write(table, HASH, "a:1", 7)
    (path,) = files(tmp_path)
    target = tmp_path / "target"
    path.rename(target)
    path.symlink_to(target)

    assert snapshots.load(Table()) is None


def test_a_directory_of_another_user_is_not_used(table: Table, tmp_path: Path, monkeypatch: Any) -> None:
    """He could put old files in the place of ours. The list works without."""
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    snapshots = Snapshots(tmp_path, SECRET, "shop")

    with pytest.raises(PermissionError):
        snapshots.write(table, HASH, "a:1", 7)
    monkeypatch.setattr(module, "WORTHWHILE", 1)
    snapshots.save(table, HASH, "a:1", 7)
    with snapshots.first():
        assert snapshots.load(Table()) is None


def test_where_it_is_by_default(table: Table, tmp_path: Path, monkeypatch: Any) -> None:
    """Below the directory for temporary files, in one of the user's own."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    Snapshots(None, SECRET, "shop").write(table, HASH, "a:1", 7)

    directory = tmp_path / f"hardtack-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in files(directory)] == [0o600]


def test_a_small_list_leaves_none(table: Table, tmp_path: Path) -> None:
    """It is read in no time."""
    Snapshots(tmp_path, SECRET, "shop").save(table, HASH, "a:1", 7)

    assert files(tmp_path) == []


@pytest.mark.usefixtures("always")
def test_one_is_left_every_few_minutes(table: Table, tmp_path: Path, monkeypatch: Any) -> None:
    """By one of the processes: the others see that it is young."""

    def saved(snapshots: Snapshots) -> bool:
        before = [path.stat().st_ino for path in files(tmp_path)]
        snapshots.save(table, HASH, "a:1", 7)
        return [path.stat().st_ino for path in files(tmp_path)] != before

    one, two = Snapshots(tmp_path, SECRET, "shop"), Snapshots(tmp_path, SECRET, "shop")

    assert saved(one)
    assert not saved(two)
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    assert not saved(two)  # it has just looked
    monkeypatch.setattr(module, "_LOOK", -1.0)
    with Snapshots(tmp_path, SECRET, "shop").first():
        assert not saved(two)  # another process is at it
    assert saved(two)


@pytest.mark.usefixtures("always")
def test_a_process_begins_with_the_snapshot(make_list: Make, tmp_path: Path) -> None:
    """It reads on from there, and knows all that the others know; what it ended before it began is not forgotten."""
    channel, before, after = Counting(), new_id(), new_id()
    one = make_list(channel)
    one.create()
    one.end_session(before)
    one.start()
    eventually(lambda: files(tmp_path / "snapshots"))
    one.end_session(after)
    reads, mine = channel.whole_reads, new_id()

    two = make_list(channel)
    two.end_session(mine)
    two.start()

    assert channel.whole_reads == reads
    for handle in (before, after, mine):
        assert two.check(handle)


@pytest.mark.usefixtures("always")
def test_a_snapshot_of_another_channel(make_list: Make, tmp_path: Path) -> None:
    """What it says has ended stays so, and the channel that is there is read from its beginning."""
    old, new, before, after = Counting(), Counting(), new_id(), new_id()
    one = make_list(old)
    one.create()
    one.end_session(before)
    one.start()
    eventually(lambda: files(tmp_path / "snapshots"))
    other = make_list(new, snapshots=tmp_path / "elsewhere")
    other.create()
    other.end_session(after)

    two = make_list(new)
    two.start()

    assert two.check(before)
    assert two.check(after)


@pytest.mark.usefixtures("always")
def test_of_processes_that_start_at_once_one_reads(make_list: Make, tmp_path: Path) -> None:
    """The others wait for its snapshot: two hundred that read millions of entries would be the outage."""
    channel = Counting()
    make_list(channel, snapshots=tmp_path / "elsewhere").create()
    channel.whole_reads = 0
    lists = [make_list(channel) for _ in range(8)]
    handle = new_id()
    lists[0].end_session(handle)
    threads = [threading.Thread(target=each.start) for each in lists]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(each.check(handle) for each in lists)
    assert channel.whole_reads == 1


def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: Any) -> None:
    """A process that hangs while it reads keeps the others waiting for a minute at most."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    began = time.monotonic()

    with Snapshots(tmp_path, SECRET, "").first(), Snapshots(tmp_path, SECRET, "").first():
        took = time.monotonic() - began

    assert 0.2 <= took < 2


def test_the_key_of_the_list_is_the_key_of_its_snapshots(make_list: Make, tmp_path: Path, monkeypatch: Any) -> None:
    """A process with another key reads for itself."""
    monkeypatch.setattr(module, "WORTHWHILE", 0)
    for key in (KEY, OTHER_KEY):
        channel = Counting()
        ended = make_list(channel, key=key)
        ended.create()
        ended.start()

    eventually(lambda: len(files(tmp_path / "snapshots")) == 2)


@pytest.mark.usefixtures("always")
def test_each_channel_has_a_snapshot_of_its_own(channel_url: Any, make_list: Make, tmp_path: Path) -> None:
    """A position in one means nothing in another: a site that moves from a file to a database reads that whole."""
    for name in ("file", "sqlite"):
        ended, handle = make_list(channel_url(name)), new_id()
        ended.create()
        ended.end_session(handle)
        ended.start()
        assert ended.check(handle)

    eventually(lambda: len(files(tmp_path / "snapshots")) == 2)

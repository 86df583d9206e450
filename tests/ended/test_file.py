"""FileChannel: what is dropped from it, what it is refused for, and how it is written."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hardtack.ended.channels import file as module
from hardtack.ended.channels import open_channel
from hardtack.ended.channels.file import FileChannel, file_system
from hardtack.errors import ConfigError, StoreUnavailable
from hardtack.testing.channels import put, read_all


@pytest.fixture
def channel(tmp_path: Path) -> FileChannel:
    """A file, created."""
    channel = FileChannel(tmp_path / "ended")
    assert channel.reset(None, b"identity", [b"first"])
    return channel


def test_it_is_for_its_owner_alone(channel: FileChannel) -> None:
    """Who can read it learns who was ended when; who can write to it can take entries away."""
    assert channel._path.stat().st_mode & 0o777 == 0o600
    assert channel._lock.stat().st_mode & 0o777 == 0o600


def test_each_line_is_an_entry(channel: FileChannel) -> None:
    """As docs/ended-sessions.md has it."""
    put(channel, b"entry")

    lines = channel._path.read_text().splitlines()
    assert lines[0].startswith("hardtack-ended 1 ")
    assert lines[0].endswith(" aWRlbnRpdHk")
    assert [line.split(" ")[1] for line in lines[1:]] == ["Zmlyc3Q", "ZW50cnk"]


def test_what_is_appended_while_the_reader_stands_still_is_not_ahead_of_its_time(
    channel: FileChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was suspended while it read: such entries would be skipped, and never be read again."""
    now, stood, decoded = module._now, [0], module._decoded

    def suspended(line: bytes) -> bytes:
        stood[0] += 600_000_000
        return decoded(line)

    monkeypatch.setattr(module, "_now", lambda: now() + stood[0])
    monkeypatch.setattr(module, "_decoded", suspended)

    assert channel.read("", 0).now >= now() + 590_000_000


@pytest.mark.slow
def test_old_lines_are_dropped_when_it_has_doubled(channel: FileChannel, monkeypatch: Any) -> None:
    """The identity and what is young stay, whoever was in the middle begins again, and what cannot be read goes."""
    monkeypatch.setattr(module, "COMPACT", 1000)
    put(channel, *(b"old" * 100 for _ in range(5)))
    with channel._path.open("ab") as file:
        file.write(b"noise\n")
    _, position = read_all(channel)
    time.sleep(1.05)

    put(channel, b"young", keep=1)

    assert channel._path.stat().st_size < 200
    batch = channel.read(position, 0)
    assert (batch.restarted, batch.origin, list(batch.entries)) == (True, b"identity", [b"young"])
    size = channel._path.stat().st_size
    put(channel, b"more", keep=1)
    assert channel._path.stat().st_size > size


def test_a_writer_that_holds_the_lock_for_too_long(channel: FileChannel, monkeypatch: Any) -> None:
    """Is not waited for, for longer than a request can."""
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    descriptor = os.open(channel._lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with pytest.raises(StoreUnavailable, match="lock is held"):
        put(channel, b"entry")

    os.close(descriptor)
    put(channel, b"entry")


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /srv rw,nosuid - nfs4 server:/export rw
24 23 0:22 / /srv/with\\040space rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv", "nfs4"),
        ("/srv/app", "nfs4"),
        ("/srv2", "ext4"),
        ("/var/lib/app", "ext4"),
        ("/srv/with space/a", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    """That of the nearest mount above it."""
    assert file_system(Path(path), MOUNTS) == kind
    assert file_system(Path(path), "") == ""


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    """Its clock and its locks are not those of all who use it."""
    monkeypatch.setattr(module, "_mounts", lambda: MOUNTS.replace("/srv ", f"{tmp_path} "))

    with pytest.raises(ConfigError, match=r"network file system \(nfs4\)"):
        FileChannel(tmp_path / "ended")


def test_a_system_that_does_not_tell_its_mounts(tmp_path: Path, monkeypatch: Any) -> None:
    """Is trusted."""

    def fail(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)

    FileChannel(tmp_path / "ended")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file:///", "file:///var/lib/app/ended"),
        ("file://host/path", "file:///var/lib/app/ended"),
        ("file:///a%00b", "file:///var/lib/app/ended"),
        ("file:///x?y=1", "file:///var/lib/app/ended"),
        ("file:///no/such/directory/ended", "no such directory"),
    ],
)
def test_urls_that_cannot_be_used(url: str, problem: str) -> None:
    """Say what they must be like."""
    with pytest.raises(ConfigError, match=problem):
        open_channel(url, "")


def test_a_path_with_spaces(tmp_path: Path) -> None:
    """Is written as in any URL; each purpose has a file of its own."""
    shop, forum = (open_channel(f"file://{tmp_path}/the%20ended", purpose) for purpose in ("shop", "forum"))

    shop.reset(None, b"identity", [])

    assert forum.read("", 0).origin is None
    assert len(list(tmp_path.glob("the ended_*"))) == 2  # and the lock

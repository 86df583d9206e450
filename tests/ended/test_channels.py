"""Every channel: the contract, on its real server."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.ended.kit import SHARED

from hardtack.ended.channels import open_channel
from hardtack.ended.channels.memory import MemoryChannel
from hardtack.testing import ChannelContract
from hardtack.testing.channels import put, read_all

Url = Callable[[str], str]


class _OnServer(ChannelContract):
    name = ""

    @pytest.fixture
    def channel(self, channel_url: Url, purpose: str) -> Iterator[Any]:
        """The channel of the URL."""
        channel = open_channel(channel_url(self.name), purpose)
        yield channel
        channel.close()

    @pytest.fixture
    def other(self, channel_url: Url, purpose: str, channel: Any) -> Iterator[Any]:
        """A second one, as another process has it."""
        other = open_channel(channel_url(self.name), purpose)
        yield other
        other.close()


class TestMemory(ChannelContract):
    """Within one process."""

    @pytest.fixture
    def channel(self) -> Any:
        """The channel of the URL."""
        return open_channel("memory://", "")


class TestFile(_OnServer):
    """A file."""

    name = "file"


class TestSQLite(_OnServer):
    """A table in a file."""

    name = "sqlite"


@pytest.mark.program("postgresql")
class TestPostgreSQL(_OnServer):
    """A table on a server."""

    name = "postgresql"


@pytest.mark.program("mariadb")
class TestMariaDB(_OnServer):
    """A table on a server whose snapshots are repeatable reads."""

    name = "mariadb"


@pytest.mark.program("redis")
class TestRedis(_OnServer):
    """A stream."""

    name = "redis"


@pytest.mark.program("redis")
class TestRedisCluster(_OnServer):
    """A stream on one node of a Cluster."""

    name = "redis_cluster"


def test_every_shared_channel_is_tested() -> None:
    """By a class of its own."""
    assert {each.name for each in _OnServer.__subclasses__()} == set(SHARED)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("redis://localhost", "redis", "redis"), ("sqlite:////tmp/x", "sqlalchemy", "sqlalchemy")],
)
def test_a_missing_package_is_named_by_its_extra(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line can be copied into a terminal."""
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("redis", "sql"):
        monkeypatch.delitem(sys.modules, f"hardtack.ended.channels.{name}", raising=False)

    with pytest.raises(ImportError, match=rf"pip install 'hardtack\[{extra}\]'"):
        open_channel(url, "")


def test_the_contract_needs_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says how to get it."""
    monkeypatch.setitem(sys.modules, "pytest", None)
    monkeypatch.delitem(sys.modules, "hardtack.testing.channels")

    with pytest.raises(ImportError, match=r"hardtack\[testing\]"):
        importlib.import_module("hardtack.testing.channels")


def test_a_channel_in_memory_can_lose_what_it_has() -> None:
    """For tests of what an application does then; old entries are dropped, and whoever had not read them begins again."""
    channel = MemoryChannel()
    put(channel, b"old")
    _, position = read_all(channel)
    put(channel, b"unread")
    time.sleep(1.01)
    put(channel, b"young", keep=1)

    batch = channel.read(position, 0)
    assert (batch.restarted, list(batch.entries)) == (True, [b"young"])

    channel.empty()
    batch = channel.read(batch.position, 0)
    assert (batch.restarted, list(batch.entries), batch.origin) == (True, [], None)

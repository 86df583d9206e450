"""Every channel: the contract, on its real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.ended.kit import SHARED

from hardtack.ended.channels import open_channel
from hardtack.testing import ChannelContract

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


class TestPostgreSQL(_OnServer):
    """A table on a server."""

    name = "postgresql"


class TestMariaDB(_OnServer):
    """A table on a server whose snapshots are repeatable reads."""

    name = "mariadb"


class TestRedis(_OnServer):
    """A stream."""

    name = "redis"


class TestRedisCluster(_OnServer):
    """A stream on one node of a Cluster."""

    name = "cluster"


def test_every_shared_channel_is_tested() -> None:
    """By a class of its own."""
    assert {each.name for each in _OnServer.__subclasses__()} == set(SHARED)

"""Every channel on its real server, empty; and lists on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ended.kit import KEY, SHARED, Events
from tests.servers import RedisCluster

from hardtack import Key
from hardtack.ended import EndedSessions, runner

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is closed waits for the end of a read; its thread does that in all tests."""
    monkeypatch.setattr(runner, "WAIT", 0.1)


@pytest.fixture
def purpose() -> str:
    """A purpose of the test's own: its stream and its tables are empty, whatever ran before on that server."""
    return f"test {next(_numbers)}"


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters."""
    cluster = RedisCluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def channel_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of a channel by its name; its server is started where it is not running yet."""

    def url(name: str) -> str:
        if name == "file":
            return f"file://{tmp_path / 'ended'}"
        if name == "sqlite":
            return f"sqlite:///{tmp_path / 'ended.sqlite'}"
        server = request.getfixturevalue(name if name == "redis_cluster" else f"{name}_server")
        found: str = server.url
        return found

    return url


Make = Callable[..., EndedSessions]


@pytest.fixture
def make_list(purpose: str, tmp_path: Path) -> Iterator[Make]:
    """Makes lists, bound, with a list of their events as `list.told`; closed in the end."""
    made: list[EndedSessions] = []

    def make(
        url: Any,
        *,
        key: Key = KEY,
        purpose: str = purpose,
        lifetime: int = 86400,
        idle: int | None = 7200,
        **options: Any,
    ) -> EndedSessions:
        options.setdefault("snapshots", tmp_path / "snapshots")
        ended = (
            EndedSessions.from_url(url, key=key, **options)
            if isinstance(url, str)
            else EndedSessions(lambda purpose: url, key=key, **options)
        )
        events = Events()
        ended.bind(None, purpose, lifetime, idle, events.append)
        ended.told = events  # type: ignore[attr-defined]
        made.append(ended)
        return ended

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=SHARED)
def shared_url(request: pytest.FixtureRequest, channel_url: Callable[[str], str]) -> str:
    """The URL of each channel that several processes can share."""
    return channel_url(request.param)
